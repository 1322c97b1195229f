"""The SMS endpoints, from the bytes of a request to the envelope, on a real store (sms.md §2, §4, §5)."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from aurorasend import sms_signature, sms_template
from aurorasend.account import Accounts
from aurorasend.allowance import Allowances
from aurorasend.api import mail as api_mail
from aurorasend.api import sms as api_sms
from aurorasend.api import sms_template as api_sms_template
from aurorasend.clock import SECOND, ManualClock
from aurorasend.config import Settings
from aurorasend.endpoint import Catalogue, Request, Server
from aurorasend.gateways.simulator import SimulatorGateway
from aurorasend.ids import Ids
from aurorasend.node import Authentication, CallLimits, Node
from aurorasend.sandbox import Sandbox
from aurorasend.secret import Vault, hash_key
from aurorasend.sms import SmsSubmissions
from aurorasend.sms_login import SmsLogin
from aurorasend.sms_template import Wanted
from aurorasend.source import Sources
from aurorasend.store import schema
from aurorasend.store.migrate import migrate
from aurorasend.store.sqlite import SqliteStore
from aurorasend.store.tx import Statement, Tx
from aurorasend.wake import Alone, Wake

NOW = 1_767_225_600 * SECOND
USER, KEY = "acme_sms", "k9Zt3QwLxV7bN2mE"
SMS = {"smsUser": USER, "smsKey": KEY}
CALL = {**SMS, "templateId": "123456", "phone": "+6591234111", "vars": '{"code":"123456"}'}
FORM = "application/x-www-form-urlencoded"


@dataclass
class Api:
    server: Server
    node: Node
    clock: ManualClock

    async def raw(self, path: str, body: str, content_type: str = FORM, query: str = "") -> dict[str, Any]:
        found = self.server.catalogue.find(path)
        assert found is not None, path
        request = Request(query.encode(), content_type, body.encode(), "us", "127.0.0.1", "id")
        _, answer = await self.server.answer(found, request)
        return json.loads(answer)  # type: ignore[no-any-return]

    async def call(self, path: str = "/smsapi/send", **params: object) -> dict[str, Any]:
        return await self.raw(path, urlencode({name: str(value) for name, value in params.items() if value is not None}))

    async def code(self, **changes: object) -> int:
        """Of a send that differs from the sample by `changes`; None leaves one out."""
        answer = await self.call(**{**CALL, **changes})
        if answer["statusCode"] not in (200, 311, 312):
            assert answer["info"] == {} and answer["result"] is False
        return int(answer["statusCode"])

    async def manage(self, action: str, **params: object) -> dict[str, Any]:
        return await self.call(f"/smsapi/{action}", **SMS, **params)

    async def count(self, table: str) -> int:
        (row,) = await self.node.store.read(lambda tx: tx.rows(Statement(f"SELECT count(*) FROM {table}")))
        return int(row[0])


async def fill(tx: Tx, vault: Vault) -> None:
    """An account with SMS, one without, one that is frozen; SMS users and an email API user of region sg."""
    accounts = [(1, "acme", "sg", b"", 1, 0), (2, "mailer", "sg", b"", 0, 0), (3, "gone", "sg", b"", 1, 1)]
    await tx.insert(schema.account, ("id", "name", "region", "app_key", "sms", "frozen"), accounts)
    users = [(1, 11, USER, KEY, 1), (1, 12, "off_sms", KEY, 0), (2, 13, "mailer_sms", KEY, 1), (3, 14, "gone_sms", KEY, 1)]
    rows = [(account_id, number, name, vault.seal(key.encode(), "sms"), on) for account_id, number, name, key, on in users]
    await tx.insert(schema.sms_user, ("account_id", "id", "name", "key", "enabled"), rows)
    await tx.insert(schema.domain, ("account_id", "id", "name", "verified", "rsa_key"), [(1, 21, "mail.example.com", 7, b"")])
    api_user = ("account_id", "id", "name", "domain_id", "key_hash", "enabled")
    await tx.insert(schema.api_user, api_user, [(1, 22, "acme_trigger", 21, hash_key("apikey"), 1)])
    logins = [("sms", name, account_id, number) for account_id, number, name, _, _ in users]
    await tx.insert(schema.login, ("kind", "name", "account_id", "ref"), [*logins, ("api", "acme_trigger", 1, 22)])
    await sms_template.put_approved(tx, 1, 123456, Wanted("login", 0, "Your code is %code%"), NOW)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    await migrate("sqlite", tmp_path)
    clock = ManualClock(NOW)
    store = SqliteStore(tmp_path / "aurorasend.db", clock, synchronous="OFF")
    vault, settings, ids = Vault(bytes(32)), Settings(tmp_path), Ids(store)
    await store.write(lambda tx: fill(tx, vault))
    accounts = Accounts(store, clock, vault)
    node = Node(
        settings=settings,
        clock=clock,
        zone=settings.zone,
        store=store,
        vault=vault,
        resolver=None,  # type: ignore[arg-type]
        outside=None,  # type: ignore[arg-type]
        domains=None,  # type: ignore[arg-type]
        accounts=accounts,
        authenticator=Authentication(accounts, SmsLogin(accounts, settings.sms.timestamp_tolerance)),
        allowance=CallLimits(Allowances(store, clock, 1), settings),
        sources=Sources(store, clock),
        submissions=None,  # type: ignore[arg-type]
        sms=SmsSubmissions(store, clock, ids, settings, Wake(Alone()), SimulatorGateway()),
        sandbox=Sandbox(store, 10, 10_000),
    )
    server = Server(node, Catalogue((api_mail.send, *api_sms.ENDPOINTS, *api_sms_template.ENDPOINTS)))
    yield Api(server, node, clock)
    assert list(server.faults) == []
    await store.close()


def signed(algorithm: str, **params: str) -> dict[str, str]:
    sent = {"smsUser": USER, **params}
    return {**sent, "signature": sms_signature.sign(algorithm, KEY, sent.items())}


# -- the contract's own sample


async def test_the_sample_works_as_printed_with_its_raw_plus(api: Api) -> None:
    body = f'smsUser={USER}&smsKey={KEY}&templateId=123456&phone=+1234567890&vars={{"code":"123456"}}'
    answer = await api.raw("/smsapi/send", body)
    assert (answer["result"], answer["statusCode"], answer["message"]) == (True, 200, "request was successful")
    assert answer["info"]["successCount"] == 1 and "failedCount" not in answer["info"]
    assert answer["info"]["smsIds"][0].endswith("$+1234567890")


async def test_the_samples_python_sends_the_plus_encoded(api: Api) -> None:
    assert (await api.call(**CALL))["info"]["smsIds"][0].endswith("$+6591234111")


# -- credentials


async def test_key_mode_says_one_code_for_everything_that_does_not_fit(api: Api) -> None:
    for wrong in ({"smsUser": None}, {"smsKey": None}, {"smsKey": "wrong"}, {"smsUser": "nobody"}, {"smsUser": "off_sms"}):
        assert await api.code(**wrong) == 40005
    assert await api.code(smsUser="gone_sms") == 40005
    assert await api.code(smsUser="\0", smsKey="李") == 40005
    assert (await api.raw("/smsapi/send", "smsUser=%ff&smsKey=%fe"))["statusCode"] == 40005
    assert await api.code(smsUser="mailer_sms") == 473
    assert (await api.raw("/smsapi/send", ""))["statusCode"] == 40005


async def test_signature_mode_in_both_hashes(api: Api) -> None:
    params = {"templateId": "123456", "phone": "+6591234111", "vars": '{"code":"李雷"}', "unknown": "a&b=c", "tag": ""}
    for algorithm in ("md5", "sha256"):
        assert (await api.call(**signed(algorithm, **params)))["statusCode"] == 200
    raw = urlencode(signed("md5", **params)).replace("%2B", "+")
    assert (await api.raw("/smsapi/send", raw))["info"]["smsIds"][0].endswith("$+6591234111")
    assert (await api.raw("/smsapi/send", "", query=urlencode(signed("sha256", **params))))["statusCode"] == 200


SIGNATURE_CODES: list[tuple[dict[str, str | None], int]] = [
    ({"signature": "abc"}, 421),
    ({"signature": "z" * 32}, 421),
    ({"signature": "0" * 32}, 422),
    ({"signature": "0" * 64}, 422),
    ({"signature": "0" * 64, "smsUser": "nobody"}, 471),
    ({"signature": "0" * 64, "smsUser": "off_sms"}, 471),
    ({"signature": "0" * 64, "smsUser": "gone_sms"}, 474),
    ({"signature": "0" * 64, "smsUser": None}, 472),
    ({"signature": "0" * 64, "smsKey": KEY}, 200),
    ({"signature": ""}, 40005),
]


async def test_signature_codes(api: Api) -> None:
    for changes, code in SIGNATURE_CODES:
        assert await api.code(**{"smsKey": None, **changes}) == code, changes


async def test_a_signature_cannot_be_made_over_json(api: Api) -> None:
    params = signed("md5", templateId="123456", phone="+6591234111")
    assert (await api.raw("/smsapi/send", json.dumps(params), "application/json"))["statusCode"] == 421


async def test_timestamps(api: Api) -> None:
    now_ms = NOW // 1000
    for wrong in (now_ms - 61_000, now_ms + 61_000, now_ms // 1000 + 120, "yesterday", "1e12", "nan"):
        assert (await api.manage("list", timestamp=wrong))["statusCode"] == 461, wrong
    for right in (now_ms - 59_000, now_ms // 1000 + 59, f"{now_ms / 1000:.3f}", ""):
        assert (await api.manage("list", timestamp=right))["statusCode"] == 200, right
    assert (await api.manage("list", timestamp="yesterday", smsKey2="x", smsUser2="y"))["statusCode"] == 461


@pytest.mark.parametrize(("user", "key"), [("api_user", "api_key"), ("apiUser", "apiKey"), ("sms_user", "sms_key")])
async def test_other_names_of_the_credentials(api: Api, user: str, key: str) -> None:
    pairs = [(USER, KEY)] if user == "sms_user" else [(USER, KEY), ("acme_trigger", "apikey")]
    for name, secret in pairs:
        assert (await api.call("/smsapi/list", **{user: name, key: secret}))["statusCode"] == 200
        assert (await api.call("/smsapi/list", **{user: name, key: "wrong"}))["statusCode"] == 40005


async def test_an_email_pair_sends_too_from_the_url_of_another_region(api: Api) -> None:
    assert await api.code(smsUser=None, smsKey=None, api_user="acme_trigger", api_key="apikey") == 200
    assert await api.code(smsUser=None, api_user="acme_trigger", api_key="apikey") == 200  # a key alone is no user


# -- send


SEND_CODES: list[tuple[dict[str, str | None], int]] = [
    ({"templateId": None}, 433),
    ({"templateId": "abc"}, 433),
    ({"templateId": "2000000000"}, 431),
    ({"templateId": "1.0"}, 433),
    ({"templateId": "99999999999999999999"}, 431),
    ({"templateId": "-3"}, 431),
    ({"phone": None}, 411),
    ({"phone": "  "}, 411),
    ({"phone": "1312"}, 412),
    ({"phone": ",".join(f"+65{n}" for n in range(2001))}, 412),
    ({"phone": "+6591234111,+6591234222,+6591234111", "templateId": "9"}, 413),
    ({"phone": "+8613800138111,13800138111", "templateId": "9"}, 413),
    ({"vars": "not json"}, 441),
    ({"vars": "[1]"}, 441),
    ({"vars": '"text"'}, 441),
    ({"vars": "[" * 100_000}, 441),
    ({"vars": '{"bad key": "x"}'}, 441),
    ({"vars": '{"code": {}}'}, 441),
    ({"vars": '{"code": null}'}, 441),
    ({"vars": '{"code": NaN}'}, 441),
    ({"vars": '{"code": "see HTTP://x.example"}'}, 441),
    ({"vars": '{"code": "\\ud800"}'}, 441),
    ({"vars": '{"code": "\\u0000"}'}, 441),
    ({"vars": json.dumps({f"n{n}": "" for n in range(201)})}, 441),
    ({"vars": '{"code": "%s"}' % ("v" * 33), "templateId": "9"}, 483),
    ({"vars": '{"code": "%s"}' % ("v" * 33), "senderID": "AB"}, 441),
    ({"vars": '{"code": "%s"}' % ("v" * 33), "phone": "+6591234111,+6591234111"}, 483),
    ({"senderID": "AB"}, 441),
    ({"senderID": "A" * 12}, 441),
    ({"msgType": "6"}, 441),
    ({"msgType": "x"}, 441),
    ({"customArgs": "plain"}, 441),
    ({"customArgs": '{"a":"%s"}' % ("x" * 128)}, 441),
    ({"customArgs": '{"a":NaN}'}, 441),
    ({"customArgs": '{"a":"\\ud800"}'}, 441),
    ({"customArgs": "{" * 128}, 441),
    ({"tag": "[1]"}, 441),
    ({"sendRequestId": "r" * 129}, 441),
    ({"labelId": "5"}, 40103),
    ({"labelId": "abc"}, 40103),
]


async def test_codes_of_send(api: Api) -> None:
    for changes, code in SEND_CODES:
        assert await api.code(**changes) == code, changes
    assert await api.count("sms_submission") == 0


async def test_forms_of_vars(api: Api) -> None:
    for given in ('{"%code%": "1"}', '"{\\"code\\":\\"1\\"}"', '{"code": 1, "extra": true}', None, quote('{"code":"1"}')):
        assert await api.code(vars=given) == 200
    stored = await api.node.store.read(lambda tx: tx.rows(Statement("SELECT vars FROM sms_message ORDER BY id")))
    assert [row[0] for row in stored] == ['{"code":"1"}'] * 3 + ["{}", '{"code":"1"}']


async def test_json_body_with_nested_values(api: Api) -> None:
    nested = {"vars": {"code": 1.50, "flag": True}, "customArgs": {"order": "A7"}}
    body = {**SMS, "templateId": 123456, "phone": "+6591234111", **nested}
    assert (await api.raw("/smsapi/send", json.dumps(body), "application/json"))["statusCode"] == 200
    rows = await api.node.store.read(lambda tx: tx.rows(Statement("SELECT custom FROM sms_submission")))
    assert json.loads(rows[0][0]) == {"order": "A7"}


async def test_some_numbers_refused(api: Api) -> None:
    answer = await api.call(**{**CALL, "phone": "1312,+6591234111"})
    assert (answer["result"], answer["statusCode"], answer["message"]) == (True, 311, "part of the numbers were accepted")
    info = answer["info"]
    assert info["items"] == [{"phone": "1312", "vars": {"code": "123456"}, "message": "invalid phone number"}]
    assert (info["successCount"], info["failedCount"], len(info["smsIds"])) == (1, 1, 1)


async def test_all_of_several_numbers_refused(api: Api) -> None:
    answer = await api.call(**{**CALL, "phone": "1312,+99", "vars": None})
    assert (answer["result"], answer["statusCode"]) == (False, 312)
    items = [{"phone": phone, "vars": {}, "message": "invalid phone number"} for phone in ("1312", "+99")]
    assert answer["info"] == {"successCount": 0, "failedCount": 2, "items": items, "smsIds": []}


async def test_a_message_type_two_takes_bare_digits_with_their_country(api: Api) -> None:
    assert await api.code(phone="13800138111") == 200
    assert await api.code(phone="13800138111", msgType="2") == 200
    rows = await api.node.store.read(lambda tx: tx.rows(Statement("SELECT e164 FROM sms_message ORDER BY id")))
    assert [row[0] for row in rows] == ["+8613800138111", "+13800138111"]


async def test_the_sixth_message_in_a_minute(api: Api) -> None:
    assert [await api.code() for _ in range(6)] == [200] * 5 + [496]
    api.clock.advance(timedelta(minutes=1))
    assert await api.code() == 200


async def test_the_fifty_first_message_of_a_day(api: Api) -> None:
    for _ in range(10):
        assert [await api.code() for _ in range(5)] == [200] * 5
        api.clock.advance(timedelta(minutes=2))
    assert await api.code() == 498
    api.clock.advance(timedelta(days=1))
    assert await api.code() == 200


async def test_a_repeated_request_id(api: Api) -> None:
    first = await api.call(**CALL, sendRequestId="r1")
    assert await api.call(**CALL, sendRequestId="r1") == first
    assert await api.code(phone="+6591234222", sendRequestId="r1") == 40000
    assert await api.code(phone="+6591234222", sendRequestId="r1", templateId="9") == 40000
    assert await api.count("sms_message") == 1


async def test_aliases_of_paths_and_parameters(api: Api) -> None:
    for path in ("/sms/send", "/api/sms/send", "/SMSAPI/Send/"):
        assert (await api.call(path, **CALL))["statusCode"] == 200
    snake = {"sms_user": USER, "sms_key": KEY, "template_id": "123456", "to": "+6591234222", "template_vars": '{"code":"1"}'}
    assert (await api.call(**snake))["info"]["smsIds"][0].endswith("$+6591234222")
    assert (await api.raw("/smsapi/send", "", query=urlencode(CALL)))["statusCode"] == 200


async def test_a_message_parameter_is_ignored(api: Api) -> None:
    assert await api.code(message="Hello", templateId=None, to="+6591234111") == 433


async def test_a_vendor_sdk_posts_sms_to_the_mail_url(api: Api) -> None:
    params = signed("md5", templateId="123456", phone="+6591234111", vars='{"code":"1"}', msgType="0")
    assert (await api.call("/apiv2/mail/send", **params))["info"]["successCount"] == 1
    mail = {"apiUser": "acme_trigger", "apiKey": "apikey", "to": "c@example.net", "phone": "+6591234111"}
    assert (await api.call("/mail/send", **mail))["statusCode"] == 40005  # another region's URL, which counts for mail
    assert (await api.call("/mail/send", **mail, **SMS))["statusCode"] == 40005


async def test_the_servers_clock_needs_no_credentials(api: Api) -> None:
    assert (await api.raw("/smsapi/timestamp/get", ""))["info"] == {"timestamp": NOW // 1000}


# -- templates


async def test_life_of_a_template(api: Api) -> None:
    added = await api.manage("addsms", templateName="hello", templateText="Hello %name%", smsTypeStr="2")
    number = added["info"]["templateId"]
    assert number > 123456
    shown = (await api.manage("get", templateIdStr=number))["info"]
    assert shown == {
        "templateId": number,
        "templateName": "hello",
        "msgType": "Domestic SMS",
        "smsType": "Marketing",
        "templateContent": "Hello %name%",
        "isVerify": "Draft",
        "createTime": "2026-01-01",
        "updateTime": "2026-01-01",
    }
    assert await api.code(templateId=number) == 432
    assert (await api.manage("submitsms", templateIdStr=number))["info"] == {}
    assert (await api.manage("get", templateId=number))["info"]["isVerify"] == "Approved"
    assert (await api.manage("submitsms", templateIdStr=number))["statusCode"] == 40227
    listed = (await api.manage("list", isVerifyStr="1"))["info"]
    assert (listed["total"], [one["templateId"] for one in listed["list"]]) == (2, [number, 123456])
    assert listed["list"][0]["templateCreateTime"] == listed["list"][0]["templateUpdateTime"] == "2026-01-01"
    assert (await api.manage("list", isVerifyStr="-1"))["info"] == {"total": 0, "list": []}
    changed = await api.manage("updatesms", templateIdStr=number, templateName="hello", smsTypeStr="1", signPositionStr="1")
    assert changed["info"] == {}
    shown = (await api.manage("get", templateIdStr=number))["info"]
    assert (shown["isVerify"], shown["smsType"], shown["templateContent"]) == ("Draft", "Notice", "Hello %name%")
    assert (await api.manage("deletesms", templateIdStr=number))["info"] == {}
    assert (await api.manage("get", templateIdStr=number))["statusCode"] == 431


ADD_CODES: list[tuple[dict[str, str | None], int]] = [
    ({"templateName": None}, 40207),
    ({"templateName": "n" * 65}, 40208),
    ({"templateName": "a\nb"}, 40208),
    ({"templateName": "LOGIN"}, 40220),
    ({"templateText": None}, 40213),
    ({"templateText": "x" * 501}, 40214),
    ({"templateText": "x\0"}, 40214),
    ({"templateText": "see:http://x.example now"}, 40214),
    ({"templateText": "看 http://x.example。"}, 40214),
    ({"templateText": "see http://x.example now"}, 200),
    ({"templateText": "http://x.example"}, 200),
    ({"templateText": "x" * 500}, 200),
    ({"smsTypeStr": None}, 40203),
    ({"smsTypeStr": "7"}, 40204),
    ({"signPositionStr": "2"}, 441),
    ({"signName": "nobody"}, 431),
    ({"signId": "5"}, 431),
]


async def test_codes_of_addsms(api: Api) -> None:
    for number, (changes, code) in enumerate(ADD_CODES):
        params = {"templateName": f"n{number}", "templateText": "x", "smsTypeStr": "0", **changes}
        assert (await api.manage("addsms", **params))["statusCode"] == code, changes


async def test_codes_of_the_other_template_calls(api: Api) -> None:
    for action in ("get", "submitsms", "deletesms"):
        assert (await api.manage(action))["statusCode"] == 433
        assert (await api.manage(action, templateIdStr="x"))["statusCode"] == 433
        assert (await api.manage(action, templateIdStr="9"))["statusCode"] == 431
    assert (await api.manage("updatesms", templateIdStr="9", templateName="n", smsTypeStr="0"))["statusCode"] == 431
    other = await api.manage("addsms", templateName="other", templateText="x", smsTypeStr="0")
    number = other["info"]["templateId"]
    assert (await api.manage("updatesms", templateIdStr=number, templateName="Login", smsTypeStr="0"))["statusCode"] == 40220
    assert (await api.manage("list", isVerifyStr="x"))["statusCode"] == 441


async def test_a_template_under_review_can_be_neither_changed_nor_sent(api: Api) -> None:
    number = (await api.manage("addsms", templateName="n", templateText="x", smsTypeStr="0"))["info"]["templateId"]
    await api.node.store.write(lambda tx: sms_template.submit(tx, 1, number, NOW, auto=False))
    assert (await api.manage("get", templateIdStr=number))["info"]["isVerify"] == "Pending review"
    assert (await api.manage("submitsms", templateIdStr=number))["statusCode"] == 40226
    assert (await api.manage("deletesms", templateIdStr=number))["statusCode"] == 40223
    assert (await api.manage("updatesms", templateIdStr=number, templateName="m", smsTypeStr="0"))["statusCode"] == 40223
    assert await api.code(templateId=number) == 432
