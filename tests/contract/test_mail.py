"""Each code of mail/send, sendtemplate and sendcalendar, as a client is told it (mail.md §2.3, §3, §4, §5, §9.6)."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from aurorasend.codes import Code
from aurorasend.endpoint import Request
from aurorasend.store.tx import Store
from tests.mail_request import many, packed
from tests.management import KEY, Api, managing

FORM = "application/x-www-form-urlencoded"
EMPTY_FILE = b'--b\r\nContent-Disposition: form-data; name="attachments"; filename="a.txt"\r\n\r\n\r\n--b--\r\n'
LARGE_FILE = EMPTY_FILE.replace(b"\r\n\r\n\r\n", b"\r\n\r\n" + b"x" * (10 * 1024 * 1024 + 1) + b"\r\n")
LIST = "news@maillist.example.org"
MAIL = {"from": "shop@one.example", "to": "ann@example.net", "subject": "Hi", "html": "<p>Hi</p>"}
TEMPLATED = {"from": "shop@one.example", "to": "ann@example.net", "templateInvokeName": "welcome"}
INVITED = {
    **MAIL,
    "startTime": "2031-01-15 09:00:00",
    "endTime": "2031-01-15 10:30:00",
    "title": "Review",
    "organizerName": "Ann Lee",
    "organizerEmail": "ann@one.example",
    "location": "Room 7",
    "participatorNames": "Bob",
}
TO_LISTS = {"useAddressList": "true"}

OF_SEND: tuple[tuple[dict[str, Any], int], ...] = (
    ({"from": " "}, 40801),
    ({"from": "nobody"}, 40802),
    ({"from": "n" * 60 + " <" + "a" * 50 + "@" + "b" * 30 + ".example.com>"}, 40257),
    ({"fromName": " "}, 40803),
    ({"fromName": "Ann\r\nBcc: x@example.net"}, 40804),
    ({"to": None}, 40805),
    ({"to": "ann@example.net;nobody"}, 40806),
    ({"to": many(101)}, 40807),
    ({"cc": " "}, 40852),
    ({"cc": "nobody"}, 40853),
    ({"cc": many(101)}, 40854),
    ({"bcc": " "}, 40855),
    ({"bcc": "nobody"}, 40856),
    ({"bcc": many(101)}, 40857),
    ({"subject": " "}, 40808),
    ({"subject": "a\nb"}, 40809),
    ({"html": None}, 40870),
    ({"html": b"\xff\xfe"}, 40871),
    ({"plain": " "}, 40830),
    ({"plain": b"\xff"}, 40831),
    ({"contentSummary": " "}, 40877),
    ({"contentSummary": "s" * 201}, 40878),
    ({"replyTo": " "}, 40810),
    ({"replyTo": "nobody"}, 40811),
    ({"replyTo": many(4)}, 40879),
    ({"labelName": "n" * 256}, 40105),
    ({"labelId": "seven"}, 40103),
    ({"labelId": "7"}, 40106),
    ({"labelId": "0"}, 40106),
    ({"labelId": "9" * 99}, 40106),
    ({"labelId": "0", "headers": "x"}, 40869),
    ({"headers": " "}, 40868),
    ({"headers": "X-A: b"}, 40869),
    ({"headers": '{"SC-Custom-a": "b.c"}'}, 40902),
    ({"attachments": "text"}, 40867),
    ({"embeddedCid": "logo"}, 40875),
    ({"xsmtpapi": " "}, 40812),
    ({"xsmtpapi": "[1]"}, 40813),
    ({"xsmtpapi": "null"}, 40814),
    ({"xsmtpapi": '{"sub": {"%n%": ["a"]}}'}, 40815),
    ({"xsmtpapi": '{"to": []}'}, 40816),
    ({"xsmtpapi": "{"}, 40817),
    ({"xsmtpapi": msgspec.json.encode({"to": many(101).split(";")})}, 40827),
    ({"xsmtpapi": '{"to": ["nobody"]}'}, 40880),
    ({"xsmtpapi": '{"to": ["ann@example.net"], "send_domain": "two.example"}'}, 41014),
    ({"respEmailId": " "}, 40858),
    ({"respEmailId": "maybe"}, 40859),
    ({"useNotification": "maybe"}, 40829),
    ({"dispositionNotificationTo": " "}, 40828),
    ({"dispositionNotificationTo": "nobody"}, 40829),
    ({"useAddressList": " "}, 40873),
    ({"useAddressList": "maybe"}, 40874),
    ({"gzipCompress": " "}, 40860),
    ({"gzipCompress": "maybe"}, 40861),
    ({"gzipCompress": "true"}, 40865),
    ({"gzipCompress": "true", "html": None, "plain": "text"}, 40866),
    ({"gzipCompress": "true", "html": packed("<p>Hi</p>")}, 200),
)
OF_LISTS = (
    ({"to": None}, 40872),
    ({"to": "no alias"}, 40862),
    ({"to": "other@maillist.example.org"}, 40863),
    ({"to": many(6)}, 40864),
    ({"to": LIST}, 40255),
)
OF_TEMPLATE: tuple[tuple[dict[str, Any], int], ...] = (
    ({"templateInvokeName": None}, 40201),
    ({"templateInvokeName": "nothing"}, 40823),
    ({"templateInvokeName": "draft"}, 40824),
    ({"templateInvokeName": "batch"}, 40825),
    ({"subject": "a\nb"}, 40809),
    ({}, 200),
)
OF_CALENDAR: tuple[tuple[dict[str, Any], int], ...] = (
    ({"startTime": " "}, 40832),
    ({"startTime": "tomorrow"}, 40833),
    ({"endTime": " "}, 40834),
    ({"endTime": "2031-01-14 10:30:00"}, 40835),
    ({"endTime": "2031-01-14 10:30:00", "title": " "}, 40835),
    ({"title": " "}, 40836),
    ({"title": "a\nb"}, 40837),
    ({"organizerName": " "}, 40838),
    ({"organizerName": "a\nb"}, 40839),
    ({"organizerEmail": " "}, 40840),
    ({"organizerEmail": "nobody"}, 40841),
    ({"location": " "}, 40842),
    ({"location": "a\nb"}, 40843),
    ({"description": " "}, 40844),
    ({"description": "a\0b"}, 40845),
    ({"participatorNames": " "}, 40846),
    ({"participatorNames": "a\nb"}, 40847),
    ({"participatorEmails": " "}, 40848),
    ({"participatorEmails": "nobody"}, 40849),
    ({"participatorEmails": "bob@example.net;cy@example.net"}, 40850),
    ({"participatorEmails": "bob@example.net;cy@example.net", "isCancel": "maybe"}, 40850),
    ({"isCancel": "true"}, 40851),
    ({"isUpdate": "true", "uid": "unknown"}, 40851),
    ({"isCancel": "maybe"}, 40876),
    ({"useAddressList": "true"}, 40820),
    ({}, 200),
)


@pytest.fixture
async def api(store: Store, tmp_path: Path) -> AsyncIterator[Api]:
    async with managing(store, tmp_path) as found:
        await found.sql("UPDATE domain SET verified = 7 WHERE name = 'one.example'")
        await found.sql("UPDATE account SET calendar = 1")
        yield found


async def post(api: Api, path: str, body: bytes, content_type: str = FORM, query: bytes = b"") -> int:
    found = api.server.catalogue.find(f"/{path}")
    assert found is not None, path
    _, answer = await api.server.answer(found, Request(query, content_type, body, "sg", "", "id"))
    assert api.server.fault_count == 0, api.server.faults
    envelope = msgspec.json.decode(answer)
    assert envelope["result"] or envelope["info"] == {}
    return int(envelope["statusCode"])


async def check(api: Api, path: str, right: dict[str, str], cases: tuple[tuple[dict[str, Any], int], ...], user: str) -> None:
    for change, code in cases:
        given = {"apiUser": user, "apiKey": KEY, **right, **change}
        body = urlencode({name: value for name, value in given.items() if value is not None}).encode()
        assert await post(api, path, body) == code, repr(change)[:100]


async def told_v1(api: Api, given: dict[str, str], user: str = "one_batch") -> str:
    """What a client of v1 reads: the error, or success."""
    found = api.server.catalogue.find("/webapi/mail.send.json")
    assert found is not None
    body = urlencode({"api_user": user, "api_key": KEY, **given}).encode()
    _, answer = await api.server.answer(found, Request(b"", FORM, body, "sg", "", "id"))
    told: dict[str, Any] = msgspec.json.decode(answer)
    return str(told["errors"][0] if told["message"] == "error" else told["message"])


async def test_codes_of_send(api: Api) -> None:
    await check(api, "mail/send", MAIL, OF_SEND, "one_trigger")


async def test_codes_of_files(api: Api) -> None:
    query = urlencode({"apiUser": "one_trigger", "apiKey": KEY, **MAIL}).encode()
    for body, code in ((EMPTY_FILE, 40818), (LARGE_FILE, 40819)):
        assert await post(api, "mail/send", body, "multipart/form-data; boundary=b", query) == code
    await api.sql("UPDATE account SET attachment_limit = 10485761")
    api.node.accounts.forget(1)
    assert await post(api, "mail/send", LARGE_FILE, "multipart/form-data; boundary=b", query) == 200


async def test_codes_of_list_sends(api: Api) -> None:
    await api.call("addresslist/add", address=LIST, name="News")
    await check(api, "mail/send", {**MAIL, **TO_LISTS}, OF_LISTS, "one_batch")
    await api.call("addressmember/add", address=LIST, members="ann@example.net")
    await check(api, "mail/send", {**MAIL, **TO_LISTS}, (({"to": LIST}, 40821),), "one_batch")
    await check(api, "mail/send", {**MAIL, **TO_LISTS}, (({"to": LIST}, 40820),), "one_trigger")


async def test_codes_of_sendtemplate(api: Api) -> None:
    new = {"name": "Welcome", "html": "<p>Hi</p>", "subject": "Hi", "templateType": 0}
    await api.call("template/add", invokeName="welcome", **new, isSubmitAudit=1)
    await api.call("template/add", invokeName="batch", **{**new, "templateType": 1}, isSubmitAudit=1)
    await api.call("template/add", invokeName="draft", **new, isSubmitAudit=0)
    await check(api, "mail/sendtemplate", TEMPLATED, OF_TEMPLATE, "one_trigger")
    await api.sql("UPDATE template SET subject = '' WHERE invoke_name = 'welcome'")
    await check(api, "mail/sendtemplate", TEMPLATED, (({}, 40826),), "one_trigger")


async def test_a_repeat_is_answered_before_its_template_is_looked_for(api: Api) -> None:
    """conventions.md §11, steps 8 and 9."""
    new = {"name": "Welcome", "html": "<p>Hi</p>", "subject": "Hi", "templateType": 0, "isSubmitAudit": 1}
    await api.call("template/add", invokeName="welcome", **new)
    first = await api.call("mail/sendtemplate", **TEMPLATED, sendRequestId="r1")
    await api.call("template/delete", invokeName="welcome")
    assert await api.call("mail/sendtemplate", **TEMPLATED, sendRequestId="r1") == first
    cases: tuple[tuple[dict[str, Any], int], ...] = (
        ({"sendRequestId": "r1", "to": "bob@example.net"}, 40000),
        ({"sendRequestId": "r1", "templateInvokeName": "nothing"}, 40000),
        ({"sendRequestId": "r2"}, 40823),
        ({"sendRequestId": "r1", "headers": "x"}, 40869),
    )
    await check(api, "mail/sendtemplate", TEMPLATED, cases, "one_trigger")
    api.clock.advance(timedelta(hours=1))
    await check(api, "mail/sendtemplate", TEMPLATED, (({"sendRequestId": "r1"}, 40823),), "one_trigger")


async def test_codes_of_sendcalendar(api: Api) -> None:
    await check(api, "mail/sendcalendar", INVITED, OF_CALENDAR, "one_trigger")


async def test_an_unknown_label_is_told_before_what_else_is_unknown(api: Api) -> None:
    """conventions.md §11, step 9."""
    label = {"labelId": "7"}
    await check(api, "mail/sendtemplate", TEMPLATED, ((label, 40106),), "one_trigger")
    await check(api, "mail/sendcalendar", INVITED, (({**label, "isUpdate": "true", "uid": "unknown"}, 40106),), "one_trigger")
    v1 = {**MAIL, "use_maillist": "true", "to": LIST, "resp_email_id": "true"}
    refused = await told_v1(api, {**v1, "label": "7"}), await told_v1(api, v1)
    assert [first.partition(":")[0] for first in refused] == [Code.LABEL_UNKNOWN.message, Code.LIST_ALIAS_UNKNOWN.message]


async def test_a_repeat_is_answered_before_its_appointment_is_looked_for(api: Api) -> None:
    first = {"sendRequestId": "r1"}
    changed = {**first, "isUpdate": "true", "uid": "unknown"}
    await check(api, "mail/sendcalendar", INVITED, ((changed, 40851), (first, 200), (changed, 40000)), "one_trigger")


async def test_v1_needs_html(api: Api) -> None:
    """mail.md §11."""
    assert await told_v1(api, {**MAIL, "html": "", "plain": "text"}, "one_trigger") == Code.CONTENT_EMPTY.message
    assert await told_v1(api, {**MAIL, "html": "text"}, "one_trigger") == "success"


async def test_codes_of_taskinfo(api: Api) -> None:
    cases: tuple[tuple[dict[str, Any], int], ...] = (
        ({}, 40231),
        ({"maillistTaskId": "x"}, 40231),
        ({"maillistTaskId": "7"}, 40252),
        ({"maillistTaskId": "-1"}, 40252),
        ({"maillistTaskId": "9" * 99}, 40252),
    )
    await check(api, "mail/taskinfo", {}, cases, "one_batch")


async def test_another_domain_needs_enabling(api: Api) -> None:
    """mail.md §8.1; permission is asked before the parameters (conventions.md §11)."""
    asked = {"xsmtpapi": '{"to": ["ann@example.net"], "send_domain": "one.example"}'}
    right = {"mail/send": MAIL, "mail/sendtemplate": TEMPLATED, "mail/sendcalendar": INVITED}
    await check(api, "mail/send", MAIL, ((asked, 200),), "one_trigger")
    await api.sql("UPDATE account SET send_domain = 0")
    api.clock.advance(timedelta(seconds=2))  # a caller is trusted for one
    for path, given in right.items():
        refused: tuple[tuple[dict[str, Any], int], ...] = ((asked, 6001), ({**asked, "from": None}, 6001))
        await check(api, path, given, refused, "one_trigger")
    unknown = {"xsmtpapi": '{"to": ["ann@example.net"], "send_domain": "none.example"}'}
    none = {"xsmtpapi": '{"to": ["ann@example.net"], "send_domain": ""}'}
    await check(api, "mail/send", MAIL, ((unknown, 6001), (none, 200), ({}, 200)), "one_trigger")


async def test_a_test_domain_sends_little(api: Api) -> None:
    """management.md §5.2; what was refused uses up nothing."""
    await api.sql("UPDATE domain SET type = 0 WHERE name = 'one.example'")
    await api.sql("UPDATE account SET daily_quota = 250")
    fifty = many(50)
    cases: tuple[tuple[dict[str, Any], int], ...] = (
        *[({"to": fifty}, 200)] * 3,
        ({"to": f"{fifty};ann@example.net"}, 40913),
        ({"to": fifty}, 200),
        ({"to": "ann@example.net"}, 40913),
    )
    await check(api, "mail/send", MAIL, cases, "one_trigger")
    await check(api, "mail/send", MAIL, (({}, 40913),), "one_batch")  # it is the domain's
    assert (await api.call("userinfo/get"))["todayUsedQuota"] == 200
    api.clock.advance(timedelta(days=1))
    await check(api, "mail/send", MAIL, (({}, 200),), "one_trigger")


async def test_codes_of_what_an_account_may_use(api: Api) -> None:
    """Each comes before the next (conventions.md §11, steps 10-13)."""
    await check(api, "mail/send", MAIL, (({}, 40886),), "one_test")
    await api.sql("UPDATE account SET check_balance = 1, balance = 0, daily_quota = 0")
    await api.sql("UPDATE api_user SET content_match = 1")
    for relief, code in (("check_balance = 0", 40912), ("daily_quota = 5", 40913), ("frozen = 0", 40908)):
        api.clock.advance(timedelta(seconds=2))  # a caller is trusted for one
        await check(api, "mail/send", MAIL, (({}, code),), "one_trigger")
        await api.sql(f"UPDATE account SET {relief}")


async def test_a_mail_from_a_template_must_match_with_its_own_subject(api: Api) -> None:
    """mail.md §12: what is matched is what is sent."""
    new = {"name": "Welcome", "html": "<p>Hi %name%</p>", "subject": "Order %id%", "templateType": 0, "isSubmitAudit": 1}
    await api.call("template/add", invokeName="welcome", **new)
    await api.sql("UPDATE api_user SET content_match = 1")
    api.clock.advance(timedelta(seconds=2))  # a caller is trusted for one
    cases: tuple[tuple[dict[str, Any], int], ...] = (({}, 200), ({"subject": "Order 7"}, 200), ({"subject": "Invoice 7"}, 40908))
    await check(api, "mail/sendtemplate", TEMPLATED, cases, "one_trigger")
