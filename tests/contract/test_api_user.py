"""API users and account information (management.md §7, §9) on both engines."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aurorasend.permission import BadPermission, check_permission, denied_calls
from aurorasend.store import bootstrap
from aurorasend.store.tx import Statement, Store
from tests.management import TRACK, Api, managing

LONG = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 55, "com"])  # 251 characters
NEW = {"name": "shopmail01", "emailType": 0, "domainName": "one.example"}
PARAMETERS: tuple[tuple[str, dict[str, object], int], ...] = (
    ("add", {"name": None}, 41110),
    ("add", {"name": " "}, 41110),
    ("add", {"name": "five5"}, 41111),
    ("add", {"name": "n" * 33}, 41111),
    ("add", {"name": "has-hyphen"}, 41111),
    ("add", {"name": "has_underscore"}, 200),
    ("add", {"name": "_____"}, 41111),
    ("add", {"name": "größer"}, 41111),
    ("add", {"emailType": None}, 41101),
    ("add", {"emailType": 2}, 41102),
    ("add", {"domainName": None}, 41105),
    ("add", {"domainName": "not a domain"}, 41106),
    ("add", {"domainName": LONG}, 41107),
    ("add", {"domainName": "a" * 251}, 41106),
    ("add", {"domainName": "none.example"}, 41108),
    ("add", {"domainName": "two.example"}, 41108),
    ("add", {"open": " "}, 41113),
    ("add", {"open": 2}, 41114),
    ("add", {"open": 1}, 41114),
    ("add", {"click": " "}, 41115),
    ("add", {"click": "on"}, 41116),
    ("add", {"click": 1}, 41116),
    ("add", {"unsubscribe": " "}, 41117),
    ("add", {"unsubscribe": 3}, 41118),
    ("add", {"unsubscribePageId": 7}, 41118),
    ("add", {"unsubscribePageId": -1}, 200),
    ("add", {"trackDomainName": "none.example"}, 41119),
    ("add", {"trackDomainName": TRACK.upper()}, 200),
    ("add", {"name": "one_trigger"}, 41119),
    ("add", {"name": "two_trigger"}, 41119),
    ("add", {"permission": "[1]"}, 41119),
    ("add", {"permission": "{"}, 41119),
    ("add", {"permission": '{"a":"' + "x" * 4000 + '"}'}, 41119),
    ("add", {"notifyEmail": "nobody"}, 41119),
    ("add", {"isNotify": "maybe"}, 41119),
    ("create", {"subApiUser": "short", "name": None}, 41111),
    ("create", {"emailType": "x"}, 41102),
    ("get", {"name": None}, 41110),
    ("get", {"name": "none"}, 41109),
    ("get", {"name": "a\0b"}, 41109),
    ("get", {"name": "two_trigger"}, 41109),
    ("delete", {"name": None}, 41110),
    ("delete", {"name": "two_trigger"}, 41109),
    ("delete", {"name": "one_trigger"}, 6001),
    ("reset", {"name": None}, 41110),
    ("reset", {"name": " ; "}, 41110),
    ("reset", {"name": "two_trigger"}, 41109),
    ("reset", {"name": "one_batch;two_trigger"}, 41109),
    ("update", {"name": None}, 41110),
    ("update", {"name": "none"}, 41109),
    ("update", {"name": "two_trigger"}, 41109),
    ("update", {"name": "one_batch", "newName": "bad!name"}, 41111),
    ("update", {"name": "one_batch", "newName": "one_batch"}, 200),
    ("update", {"name": "one_batch", "newName": "one_test"}, 41119),
    ("update", {"name": "one_batch", "domainName": "two.example"}, 41108),
    ("update", {"name": "one_batch", "domainName": " "}, 41105),
    ("update", {"name": "one_batch", "open": 5}, 41114),
    ("update", {"name": "one_batch", "click": 1}, 41116),
    ("list", {"emailType": " "}, 41101),
    ("list", {"emailType": "x"}, 41102),
    ("list", {"cType": " "}, 41103),
    ("list", {"cType": 9}, 41104),
    ("list", {"domainName": " "}, 41105),
    ("list", {"domainName": "not a domain"}, 41106),
    ("list", {"domainName": LONG}, 41107),
)


@pytest.fixture
async def api(store: Store, tmp_path: Path) -> AsyncIterator[Api]:
    async with managing(store, tmp_path) as made:
        yield made


async def add(api: Api, name: str, _as: str = "one_trigger", **given: object) -> Any:
    return await api.call("apiuser/add", _as, **(NEW | {"name": name} | given))


async def listed(api: Api, **given: object) -> list[str]:
    return [each["name"] for each in (await api.call("apiuser/list", **given))["dataList"]]


async def works(api: Api, name: str, key: str) -> bool:
    answer = await api.call("userinfo/get", name, key)
    assert answer == 40005 or answer["apiUser"] == name
    return answer != 40005


async def test_parameters(api: Api) -> None:
    for action, given, code in PARAMETERS:
        base = NEW if action in ("add", "create") else {}
        parameters = {key: value for key, value in (base | given).items() if value is not None}
        answer = await api.call(f"apiuser/{action}", **parameters)
        assert (200 if isinstance(answer, dict) else answer) == code, (action, given)
        if code == 200 and action == "add":
            await api.call("apiuser/delete", name=parameters["name"])
    assert len(await listed(api)) == 3


async def test_a_domain_that_was_added_anew_is_bound_by_its_name(api: Api) -> None:
    """Until then it keeps sending with the deleted one's key, which the new one does not have (§5.7)."""
    bound, renamed = "anew.example", "renamed.example"
    await api.call("domain/add", name=bound)
    await add(api, "shopmail01", domainName=bound)
    await api.call("domain/delete", name=bound)
    assert (await api.call("apiuser/update", name="shopmail01", domainName=bound))["data"]["domainName"] == bound
    await api.call("domain/add", name=bound)
    await api.call("apiuser/update", name="shopmail01", domainName=bound)
    await api.call("domain/update", name=bound, newName=renamed)  # whoever is bound to it follows
    assert (await api.call("apiuser/get", name="shopmail01"))["domainName"] == renamed


async def test_an_api_user_lives(api: Api) -> None:
    made = (await add(api, "shopmail01"))["data"]
    key = made.pop("nameKey")
    assert len(key) == 32
    shown = {
        "name": "shopmail01",
        "cType": "non-test",
        "emailType": "Trigger",
        "domainName": "one.example",
        "trackDomainName": TRACK,
        "click": 0,
        "open": 0,
        "unsubscribe": 1,
        "unsubscribePage": -1,
    }
    assert made == shown | {"domain": "one.example"}
    assert (await api.call("apiuser/list"))["dataList"][0] == shown
    assert await works(api, "shopmail01", key)
    assert not await works(api, "shopmail01", key + "x")
    assert not await works(api, "ShopMail01", key)
    assert await api.call("apiuser/delete", name="shopmail01") == {"count": 1}
    assert not await works(api, "shopmail01", key)
    assert await listed(api) == ["one_test", "one_batch", "one_trigger"]
    assert await api.call("apiuser/delete", name="shopmail01") == 41109
    assert "data" in await add(api, "shopmail01", "two_trigger", domainName="two.example")  # the name is free again


async def test_a_key_is_kept_as_a_hash_only(api: Api, store: Store) -> None:
    key = (await add(api, "shopmail01"))["data"]["nameKey"]
    kept = await store.read(lambda tx: tx.rows(Statement("SELECT * FROM api_user WHERE name = 'shopmail01'")))
    assert key not in str(kept)
    assert hashlib.sha256(key.encode()).digest() in [bytes(value) for value in kept[0] if not isinstance(value, int | str | None)]
    assert key not in str(await api.call("apiuser/list")) + str(await api.call("apiuser/get", name="shopmail01"))


async def test_a_replaced_key_works_for_15_minutes(api: Api) -> None:
    old = (await add(api, "shopmail01"))["data"]["nameKey"]
    reset = await api.call("apiuser/reset", subApiUser="shopmail01")
    assert reset["apiUser"] == "shopmail01"
    new = reset["newApiKey"]
    api.clock.advance(timedelta(minutes=14))
    assert await works(api, "shopmail01", old)
    assert await works(api, "shopmail01", new)
    api.clock.advance(timedelta(minutes=1))
    assert not await works(api, "shopmail01", old)
    assert await works(api, "shopmail01", new)


async def test_only_the_newest_two_keys_work(api: Api) -> None:
    first = (await add(api, "shopmail01"))["data"]["nameKey"]
    second = (await api.call("apiuser/reset", name="shopmail01"))["newApiKey"]
    third = (await api.call("apiuser/reset", name="shopmail01"))["newApiKey"]
    assert [await works(api, "shopmail01", key) for key in (first, second, third)] == [False, True, True]
    api.settle("limits", key_grace=timedelta(0))
    fourth = (await api.call("apiuser/reset", name="shopmail01"))["newApiKey"]
    assert [await works(api, "shopmail01", key) for key in (third, fourth)] == [False, True]


async def test_several_get_the_same_key_at_once_or_none_does(api: Api) -> None:
    await add(api, "shopmail01")
    assert await api.call("apiuser/reset", name="shopmail01;two_batch") == 41109
    reset = await api.call("apiuser/reset", name=" shopmail01; one_batch;shopmail01")
    assert reset["apiUser"] == "shopmail01;one_batch"
    assert await works(api, "shopmail01", reset["newApiKey"])
    assert await works(api, "one_batch", reset["newApiKey"])
    assert not await works(api, "one_test", reset["newApiKey"])


async def test_a_new_name_is_the_login_at_once(api: Api) -> None:
    key = (await add(api, "shopmail01", emailType=1))["data"]["nameKey"]
    assert await works(api, "shopmail01", key)
    updated = await api.call("apiuser/update", name="shopmail01", newName="shopmail02")
    assert updated["data"] | {"name": "shopmail02", "cType": 1, "emailType": 1} == updated["data"]
    assert (updated["apiUser"], updated["updatedFields"]) == ("shopmail02", ["newName"])
    assert await works(api, "shopmail02", key)
    assert not await works(api, "shopmail01", key)
    assert await api.call("apiuser/update", name="shopmail02", newName="shopmail03", open=1) == 41114
    assert await works(api, "shopmail02", key)  # a refused call changes nothing
    await add(api, "shopmail01", "two_trigger", domainName="two.example")
    assert await api.call("apiuser/update", name="shopmail02", newName="shopmail01") == 41119


async def test_what_is_listed_for_one_stays_so_under_a_new_name(api: Api) -> None:
    await add(api, "shopmail01")
    for who in ("one_trigger", "shopmail01"):
        await api.call("block/add", email="both@example.net", apiUserBlock=who, expireTime="2026-03-01 00:00:00")
    for address, until in (("ann@example.net", "2026-03-01 00:00:00"), ("bob@example.net", "2026-04-01 00:00:00")):
        await api.call("block/add", email=address, apiUserBlock="shopmail01", expireTime=until)
    await api.call("apiuser/update", name="shopmail01", newName="shopmail02")
    listed = (await api.call("block/list", days=1))["dataList"]
    assert sorted((each["email"], each["apiUserBlock"]) for each in listed) == [
        ("ann@example.net", "shopmail02"),
        ("bob@example.net", "shopmail02"),
        ("both@example.net", "one_trigger"),
        ("both@example.net", "shopmail02"),
    ]
    assert (await api.call("block/list", apiUserBlock="shopmail02", days=1))["count"] == 3
    assert (await api.call("block/list", apiUserBlock="shopmail01", days=1))["count"] == 0
    assert (await api.call("block/delete", email="ann@example.net", apiUserBlock="nobody"))["deleteSuccessCount"] == 0
    assert (await api.call("block/delete", email="ann@example.net", apiUserBlock="shopmail02"))["deleteSuccessCount"] == 1


async def test_names_are_unique_in_the_installation_even_at_once(api: Api) -> None:
    answers = await asyncio.gather(
        *(add(api, "samename", f"{who}_trigger", domainName=f"{who}.example") for who in ("one", "two") for _ in range(4))
    )
    assert answers.count(41119) == 7
    assert await add(api, "samename") == 41119


async def test_an_account_has_as_many_as_it_may_even_at_once(api: Api) -> None:
    answers = await asyncio.gather(*(add(api, f"user{n:04}") for n in range(10)))
    assert answers.count(41112) == 2  # two are there already; the test user does not count
    made = next(answer["data"]["name"] for answer in answers if answer != 41112)
    assert await add(api, made) == 41119
    await api.call("apiuser/delete", name=made)
    assert "data" in await add(api, made)
    await api.sql("UPDATE account SET api_user_limit = 11")
    api.node.accounts.forget(1)
    assert "data" in await add(api, "eleventh")
    assert await add(api, "twelfth") == 41112


async def test_tracking_needs_a_domain_of_ones_own(api: Api) -> None:
    tracking = (await api.call("trackDomain/add", name="t.one.example"))["data"]
    mine = {"trackDomainName": "T.one.example"}
    assert (await add(api, "opens1", open=1, **mine))["data"]["trackDomainName"] == "t.one.example"
    assert await add(api, "clicks1", click=1, **mine) == 41116  # its CNAME was not seen yet
    api.names.add("t.one.example", "CNAME", f"{TRACK}.")
    await api.call("trackDomain/checkConfig", id=tracking["id"])
    assert (await add(api, "clicks1", click=1, **mine))["data"]["click"] == 1
    assert await api.call("apiuser/update", name="clicks1", trackDomainName=TRACK) == 41116
    updated = await api.call("apiuser/update", name="clicks1", trackDomainName=TRACK, click=0)
    assert (updated["data"]["trackDomainName"], updated["updatedFields"]) == (TRACK, ["trackDomainName", "click"])
    assert "data" in await api.call("apiuser/update", name="clicks1", trackDomainName="t.one.example", click=1)
    api.names.remove("t.one.example")
    await api.call("trackDomain/checkConfig", id=tracking["id"])
    renamed = await api.call("apiuser/update", name="clicks1", newName="clicks2")  # which asks nothing of the switch
    assert renamed["data"]["click"] == 1
    assert await api.call("apiuser/update", name="clicks2", click=1) == 41116
    await api.call("trackDomain/delete", id=tracking["id"])
    left = next(each for each in (await api.call("apiuser/list"))["dataList"] if each["name"] == "opens1")
    assert (left["trackDomainName"], left["open"]) == (TRACK, 0)


async def test_the_operator_may_allow_tracking_on_the_default_host(api: Api) -> None:
    api.settle("tracking", by_default_host=True)
    assert (await add(api, "opens1", open=1, click=1))["data"]["click"] == 1


async def test_free_accounts_always_have_the_unsubscribe_link(api: Api) -> None:
    await api.sql("UPDATE account SET paying = 0")
    assert (await add(api, "shopmail01", unsubscribe=0))["data"]["unsubscribe"] == 1


async def test_list_filters(api: Api) -> None:
    await api.call("domain/add", name="other.example")
    await add(api, "elsewhere", domainName="other.example", emailType=1)
    assert await listed(api, emailType=1) == ["elsewhere", "one_batch"]
    assert await listed(api, cType=0) == ["one_test"]
    assert await listed(api, domainName="Other.example") == ["elsewhere"]
    assert await listed(api, domainName="two.example") == []
    assert set(await listed(api, _as="two_trigger")) == {"two_trigger", "two_batch", "two_test"}


async def test_a_permission_denies_what_it_says(api: Api) -> None:
    permission = '{"mail":{"send":false,"sendtemplate":true},"label":{"create":false},"maillist":{"list":false}}'
    made = await api.call(
        "apiuser/create", subApiUser="limited", permission=permission, notifyEmail="ops@example.com", isNotify="true"
    )
    key = made["apiKey"]
    assert made | {"permission": permission, "notifyEmail": "ops@example.com", "isNotify": True} == made
    mail = {"from": "hi@one.example", "to": "ann@example.net", "subject": "S", "html": "<p>x</p>"}
    for path in ("mail/send", "label/add", "addresslist/list"):
        assert await api.call(path, "limited", key, **mail) == 6001
    assert (await api.call("label/list", "limited", key))["total"] == 0
    assert await api.call("apiuser/delete", "limited", key, name="limited") == 6001
    updated = await api.call("apiuser/update", subApiUser="limited", permission={"mail": {}}, notifyEmail="")
    assert updated["updatedFields"] == ["permission", "notifyEmail"]
    read = await api.call("apiuser/get", subApiUser="limited")
    assert (read["notifyEmail"], read["isNotify"], read["domainName"]) == ("", True, "one.example")
    assert "emailIdList" in await api.call("mail/send", "limited", key, **mail)


async def test_the_older_form_finds_a_domain_by_itself(api: Api) -> None:
    assert (await api.call("apiuser/create", name="plain01"))["apiUser"] == "plain01"
    await api.call("domain/delete", name="one.example")
    assert await api.call("apiuser/create", name="plain02") == 41108
    assert (await api.call("apiuser/get", name="plain01"))["domainName"] == "one.example"


async def test_the_test_domain_is_taken_when_there_is_no_other(api: Api) -> None:
    """management.md §7.6"""
    await api.node.store.write(lambda tx: bootstrap.add_test_domain(tx, 1, "try.mail.test", "mail", ("", b"")))
    for name, domain in (("plain01", "one.example"), ("plain02", "try.mail.test")):
        await api.call("apiuser/create", name=name)
        assert (await api.call("apiuser/get", name=name))["domainName"] == domain
        await api.call("domain/delete", name="one.example")


async def test_account_information(api: Api) -> None:
    profile = "company = 'Grüße Ltd', contact_phone = '13912345678', daily_quota = 10, balance = 5"
    await api.sql(f"UPDATE account SET {profile} WHERE id = 1")
    api.node.accounts.forget(1)
    mail = {"from": "hi@one.example", "to": "ann@example.net;bob@example.net", "subject": "S", "html": "<p>x</p>"}
    await api.call("mail/send", **mail)
    read = await api.call("userinfo/get")
    expected = {
        "apiUser": "one_trigger",
        "accountType": "standard",
        "companyName": "Grüße Ltd",
        "contactPhone": "139****5678",
        "remainingQuota": 8,
        "totalQuota": 10,
        "quota": 10,
        "todayUsedQuota": 2,
        "restNum": 8,
        "gmtCreated": "2026-02-01 09:00:00",
        "regTime": "2026-02-01",
        "balance": 5,
    }
    assert read | expected == read
    assert await api.call("apiv2/user/info") == read
    api.clock.advance(timedelta(days=1))
    assert (await api.call("userinfo/get"))["todayUsedQuota"] == 0
    limits = await api.call("user/configuration")
    assert limits | {"sendSpeedLimit": 40000, "maxRecipientsPerEmail": 100, "maxAttachmentSize": 10} == limits
    await api.sql("UPDATE account SET attachment_limit = 20971520")
    api.node.accounts.forget(1)
    assert (await api.call("user/configuration"))["maxAttachmentSize"] == 20


@pytest.mark.parametrize("text", ["", "null", "[]", "1", '"x"', "{", "{}x", "\ud800", "[" * 3000])
def test_what_is_no_permission(text: str) -> None:
    with pytest.raises(BadPermission):
        check_permission(text)


def test_only_false_denies() -> None:
    text = '{"Mail":{"Send":false,"a":0,"b":null,"c":"false"},"x":false,"y":[false]}'
    assert denied_calls(check_permission(text)) == {"mail/send"}
    assert denied_calls('{"spamReported": {"list": false}}') == {"complaint/list"}
