"""Bounce, unsubscribe, complaint, block and allow lists (data.md §7-§11) on both engines."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aurorasend import suppression
from aurorasend.clock import DAY, HOUR
from aurorasend.outcome import Reply, Stage, judge
from aurorasend.store import suppression as rows
from aurorasend.store.tx import Statement, Store
from tests.management import Api, managing

ANN = "ann@example.net"
NOBODY = judge(Reply(550, "5.1.1 nobody"), Stage.RCPT)
LATER = "2026-03-01 00:00:00"
PARAMETERS: tuple[tuple[str, dict[str, object], int], ...] = (
    ("bounce/list", {}, 40007),
    ("bounce/list", {"email": " "}, 40011),
    ("bounce/list", {"email": "@example.net"}, 40012),
    ("bounce/list", {"email": "a\0@example.net"}, 40012),
    ("bounce/list", {"days": 0}, 40006),
    ("bounce/list", {"days": 101}, 40006),
    ("bounce/list", {"days": "1.5"}, 40006),
    ("bounce/list", {"startDate": "2026-01-01"}, 40008),
    ("bounce/list", {"endDate": "2026-01-01"}, 40007),
    ("bounce/list", {"startDate": "2026-01-02", "endDate": "2026-01-01"}, 40008),
    ("bounce/list", {"startDate": "2025-01-01", "endDate": "2026-01-01"}, 40008),
    ("bounce/list", {"startDate": "9999-12-31", "endDate": "9999-12-31"}, 40008),
    ("bounce/list", {"days": 1, "start": -1}, 40002),
    ("bounce/list", {"days": 1, "limit": 101}, 40004),
    ("bounce/list", {"limit": 101}, 40007),
    ("bounce/list", {"days": 101, "limit": 101}, 40006),
    ("bounce/list", {"email": ANN, "days": "x", "limit": 101}, 40004),
    ("bounce/delete", {}, 40011),
    ("bounce/delete", {"email": "none at all"}, 40012),
    ("bounce/delete", {"days": "never"}, 40006),
    ("bounce/count", {}, 40007),
    ("complaint/delete", {}, 40011),
    ("complaint/list", {"startDate": "May", "endDate": "2026-01-01"}, 40007),
    ("spamreported/delete", {"email": "x"}, 40012),
    ("unsubscribe/list", {}, 40007),
    ("unsubscribe/list", {"startDate": "2026-01-01", "apiUserList": " "}, 40008),
    ("unsubscribe/list", {"days": 1, "apiUserList": " "}, 40010),
    ("unsubscribe/list", {"days": 1, "apiUserList": ";"}, 40010),
    ("unsubscribe/list", {"days": 1, "apiUserList": "a b"}, 40016),
    ("unsubscribe/list", {"days": 1, "apiUserList": "one_batch;short"}, 40016),
    ("unsubscribe/list", {"days": 1, "apiUserList": "x" * 33}, 40016),
    ("unsubscribe/list", {"days": 1, "apiUserList": "a.b@c.example"}, 40016),
    ("unsubscribe/list", {"days": 1, "labelIdList": " "}, 40009),
    ("unsubscribe/list", {"days": 1, "labelIdList": "1;x"}, 40015),
    ("unsubscribe/list", {"days": 1, "labelNameList": "a\0"}, 40015),
    ("unsubscribe/add", {}, 40011),
    ("unsubscribe/add", {"email": "x"}, 40012),
    ("unsubscribe/delete", {}, 40011),
    ("block/list", {"startDate": "x", "endDate": "2026-01-01"}, 40007),
    ("block/list", {"startDate": "2026-01-01", "limit": "x"}, 40008),
    ("block/list", {"email": "x", "domainName": "no domain", "days": "x"}, 41003),
    ("block/list", {"email": "x", "days": "x"}, 40012),
    ("block/add", {"expireTime": LATER}, 40011),
    ("block/add", {"email": "x", "expireTime": LATER}, 40012),
    ("block/add", {"domainName": "no domain", "expireTime": LATER}, 41003),
    ("block/add", {"email": ANN}, 40008),
    ("block/add", {"email": ANN, "expireTime": "next week"}, 40008),
    ("block/add", {"email": ANN, "expireTime": "2026-02-01 08:59:59"}, 40008),
    ("block/add", {"email": ANN, "expireTime": "2099-1-31 12:00:00"}, 40008),
    ("block/add", {"email": ANN, "expireTime": "0001-01-01 00:00:00"}, 40008),
    ("block/add", {"email": ANN, "expireTime": LATER, "apiUserBlock": "two_trigger"}, 40016),
    ("block/add", {"email": ANN, "expireTime": LATER, "apiUserBlock": "a\0"}, 40016),
    ("block/delete", {}, 40011),
    ("unintercept/add", {}, 40011),
    ("unintercept/add", {"domainName": "no domain"}, 41003),
    ("unintercept/add", {"email": ANN, "apiUserName": "two_trigger"}, 40016),
    ("unintercept/add", {"domainName": "no domain", "email": "x"}, 41003),
    ("unintercept/delete", {}, 40011),
    ("unintercept/list", {"start": " "}, 40001),
    ("unintercept/list", {"limit": "x"}, 40004),
)


@pytest.fixture
async def api(store: Store, tmp_path: Path) -> AsyncIterator[Api]:
    async with managing(store, tmp_path) as made:
        yield made


async def bounce(api: Api, *addresses: str, account_id: int = 1) -> None:
    for address in addresses:
        now_us = api.clock.now_us()
        await api.node.store.write(lambda tx, a=address, n=now_us: suppression.bounced(tx, account_id, a, NOBODY, n))  # type: ignore[misc]


async def verdict(api: Api, address: str, api_user: str = "one_trigger") -> int:
    listed = await api.node.store.read(lambda tx: suppression.look_up(tx, 1, [address], api.clock.now_us()))
    ids = dict(await api.node.store.read(lambda tx: tx.rows(Statement("SELECT name, id FROM api_user"))))
    found = listed.verdict(address, ids[api_user], bounces=True)
    return found.sub_status if found else 0


def emails(info: Any) -> list[str]:
    assert info["count"] == len(info["dataList"])
    return [each["email"] for each in info["dataList"]]


async def test_each_parameter(api: Api) -> None:
    for path, given, code in PARAMETERS:
        assert await api.call(path, **given) == code, (path, given)


async def test_with_an_address_the_range_is_ignored(api: Api) -> None:
    for part in ("bounce", "unsubscribe", "complaint"):
        for given in ({"days": "x"}, {"days": 101}, {"startDate": "x"}, {"startDate": "2026-01-01"}, {"endDate": "x"}):
            assert await api.call(f"{part}/list", email=ANN, **given) == {"count": 0, "dataList": []}, (part, given)
            assert await api.call(f"{part}/delete", email=ANN, **given) == {"count": 0}, (part, given)


async def test_bounces_are_listed_by_range_or_address_and_counted(api: Api) -> None:
    await bounce(api, "b@example.net", "A@Example.ORG")
    await bounce(api, "c@example.net", account_id=2)
    shown = await api.call("bounce/list", days=1)
    assert emails(shown) == ["a@example.org", "b@example.net"]
    row = shown["dataList"][0]
    assert row["reason"] == "550 5.1.1 nobody" and row["domain"] == "example.org"
    assert (row["bounceTime"], row["expireTime"]) == ("2026-02-01 09:00:00", "2026-02-01 10:00:00")
    assert emails(await api.call("bounce/list", days=1, start=1, limit=1)) == ["b@example.net"]
    assert emails(await api.call("bounce/list", days=1, limit=0)) == []
    assert emails(await api.call("bounce/list", startDate="2026-01-31", endDate="2026-01-31")) == []
    assert emails(await api.call("bounce/list", email="a@EXAMPLE.org", startDate="2026-01-31", endDate="2026-01-31")) == [
        "a@example.org"
    ]
    assert await api.call("bounce/count", start_date="2026-02-01", end_date="2026-02-01") == {"count": 2}
    assert await api.call("bounce/count", "two_trigger", days=1) == {"count": 1}


async def test_each_of_many_bounces_at_once_counts(api: Api) -> None:
    await asyncio.gather(*(bounce(api, ANN) for _ in range(5)))
    row = (await api.call("bounce/list", email=ANN))["dataList"][0]
    assert (row["bounceTime"], row["expireTime"]) == ("2026-02-01 09:00:00", "2026-02-03 09:00:00")


def test_the_bounce_list_keeps_an_address_longer_each_time() -> None:
    """data.md §7.4"""
    usual = [suppression.bounce_life("ann@example.net", "mx.example.net", n) for n in (*range(1, 14), 10**6)]
    assert usual == [HOUR, 4 * HOUR, 8 * HOUR, *(days * DAY for days in (1, 2, 4, 8, 16, 32, 64, 128, 180, 180, 180))]
    for key, mx in (("ann@foxmail.com", ""), ("ann@vip.qq.com", "mx.example.net"), ("ann@example.net", "MXbiz1.qq.com")):
        tencent = [suppression.bounce_life(key, mx, n) for n in (*range(1, 8), 10**6)]
        assert tencent == [days * DAY for days in (1, 2, 4, 8, 16, 30, 30, 30)]


async def test_what_leaves_the_bounce_list_is_allowed_against_it_alone(api: Api) -> None:
    await bounce(api, ANN, ANN)
    assert await verdict(api, ANN) == 401
    assert await api.call("bounce/delete", "two_trigger", email=ANN) == {"count": 0}
    assert await api.call("bounce/delete", email="ANN@example.net") == {"count": 1}
    assert await api.call("bounce/delete", email=ANN) == {"count": 0}
    assert emails(await api.call("unintercept/list")) == [ANN]
    await bounce(api, ANN)  # the strikes began anew
    row = (await api.call("bounce/list", email=ANN))["dataList"][0]
    assert row["expireTime"][11:13] == f"{int(row['bounceTime'][11:13]) + 1:02}"
    assert await verdict(api, ANN) == 0
    await api.call("unsubscribe/add", email=ANN)
    assert await verdict(api, ANN) == 402
    assert await api.call("unintercept/add", email=ANN) == {"dataList": []}  # it is there; now it is against all lists
    assert await verdict(api, ANN) == 0


async def test_an_allowance_outweighs_what_leaves_the_bounce_list_at_once(api: Api) -> None:
    await api.call("block/add", email=ANN, expireTime=LATER)
    for _ in range(20):
        await bounce(api, ANN)
        await asyncio.gather(api.call("unintercept/add", email=ANN), api.call("bounce/delete", email=ANN))
        assert await verdict(api, ANN) == 0
        await api.call("unintercept/delete", email=ANN)


async def test_an_installation_may_only_forget_what_leaves_the_bounce_list(api: Api) -> None:
    api.settle("api", unbounced_allowed=False)
    await bounce(api, ANN)
    assert await api.call("bounce/delete", email=ANN) == {"count": 1}
    assert emails(await api.call("unintercept/list")) == []
    await bounce(api, ANN)
    assert await verdict(api, ANN) == 401


async def test_a_range_is_deleted(api: Api) -> None:
    await bounce(api, "a@example.net", "b@example.net")
    assert await api.call("bounce/delete", startDate="2026-01-01", endDate="2026-01-31") == {"count": 0}
    assert await api.call("bounce/delete", days=1) == {"count": 2}
    assert set(emails(await api.call("unintercept/list"))) == {"a@example.net", "b@example.net"}
    for path in ("unsubscribe", "complaint"):
        assert await api.call(f"{path}/delete", days=1) == {"count": 0}


async def test_unsubscribing(api: Api) -> None:
    first = (await api.call("unsubscribe/add", email="Left@Example.net"))["data"]
    assert first == {
        "email": "left@example.net",
        "domain": "example.net",
        "labelId": 0,
        "apiUser": "one_trigger",
        "unsubscribeTime": "2026-02-01 09:00:01",
    }
    assert (await api.call("unsubscribe/add", email="left@example.net"))["data"] == first
    assert (await api.call("unsubscribe/add", "one_batch", email="left@example.net"))["data"]["apiUser"] == "one_batch"
    listed = await api.call("unsubscribe/list", days=1)
    assert [each["apiUser"] for each in listed["dataList"]] == ["one_trigger", "one_batch"]
    assert listed["dataList"][0]["unsubscribeTypeDesc"] == "I don't want to receive such mail anymore"
    assert (await api.call("unsubscribe/list", days=1, apiUserList="[one_batch；;nobody]"))["count"] == 1
    assert (await api.call("unsubscribe/list", days=1, labelIdList="7"))["count"] == 0
    assert (await api.call("unsubscribe/list", days=1, labelIdList="0", labelNameList="none"))["count"] == 2
    assert (await api.call("unsubscribe/list", days=1, labelNameList="none"))["count"] == 0
    assert (await api.call("unsubscribe/list", "two_trigger", days=1))["count"] == 0
    assert await verdict(api, "left@example.net", "one_test") == 0
    assert await verdict(api, "left@example.net", "one_batch") == 402
    assert await api.call("unsubscribe/delete", email="left@example.net") == {"count": 2}


async def test_the_account_says_whose_mail_an_unsubscription_ends(api: Api) -> None:
    """data.md §8.4"""
    senders = ("one_trigger", "one_batch", "one_test")

    async def ended(scope: int) -> list[str]:
        await api.sql(f"UPDATE account SET unsubscribe_scope = {scope} WHERE id = 1")
        return [name for name in senders if await verdict(api, ANN, name) == 402]

    await api.call("unsubscribe/add", email=ANN)
    assert await ended(1) == ["one_trigger"]
    assert await ended(2) == ["one_trigger", "one_batch", "one_test"]
    assert await ended(3) == ["one_trigger"]  # nothing is said to be covered yet
    ids = dict(await api.node.store.read(lambda tx: tx.rows(Statement("SELECT name, id FROM api_user"))))

    async def cover(name: str, *others: str) -> None:
        await api.node.store.write(lambda tx: rows.set_covers(tx, 1, ids[name], [ids[other] for other in others]))

    await cover("one_trigger", "one_batch")
    await cover("one_batch", "one_test")
    assert await ended(3) == ["one_trigger", "one_batch"]  # not what the covered one covers
    await api.call("unsubscribe/add", "one_batch", email=ANN)
    assert await ended(3) == ["one_trigger", "one_batch", "one_test"]
    await cover("one_trigger")
    await cover("one_batch")
    assert await ended(3) == ["one_trigger", "one_batch"]
    await api.call("unsubscribe/delete", email=ANN)
    assert await ended(2) == []


async def test_the_scope_of_unsubscriptions_is_that_of_no_other_list(api: Api) -> None:
    await api.sql("UPDATE account SET unsubscribe_scope = 2")
    await api.call("block/add", email=ANN, apiUserBlock="one_batch", expireTime=LATER)
    assert [await verdict(api, ANN, name) for name in ("one_batch", "one_trigger")] == [401, 0]
    await api.call("unsubscribe/add", email=ANN)
    await api.call("unintercept/add", email=ANN, apiUserName="one_test")
    assert [await verdict(api, ANN, name) for name in ("one_test", "one_trigger")] == [0, 402]


async def test_equal_unsubscriptions_at_once_make_one_record(api: Api) -> None:
    answers = await asyncio.gather(*(api.call("unsubscribe/add", email=ANN) for _ in range(8)))
    assert len({each["data"]["unsubscribeTime"] for each in answers}) == 1
    assert (await api.call("unsubscribe/list", email=ANN))["count"] == 1


async def test_what_unsubscribes_while_it_is_deleted_has_a_record(api: Api) -> None:
    for _ in range(20):
        calls = (api.call(f"unsubscribe/{action}", email=ANN) for action in ("add", "delete") * 4)
        assert all("data" in each or "count" in each for each in await asyncio.gather(*calls))


async def test_complaints(api: Api) -> None:
    now_us = api.clock.now_us()
    columns = "account_id, key, list, api_user_id, reason, created, expires"
    values = f"1, '{ANN}', 'complaint', 0, 'FROM ESP', {now_us}, {now_us + 180 * DAY}"
    await api.sql(f"INSERT INTO suppression ({columns}) VALUES ({values})")
    expected = {
        "email": ANN,
        "receiver": ANN,
        "reason": "FROM ESP",
        "domain": "example.net",
        "spamReportedTime": "2026-02-01 09:00:00",
        "complaintTime": "2026-02-01 09:00:00",
        "expireTime": "2026-07-31 09:00:00",
    }
    for path in ("complaint/list", "spamreported/list", "apiv2/spamreported/list"):
        assert await api.call(path) == {"count": 1, "dataList": [expected]}
    assert (await api.call("complaint/list", startDate="2026-01-01", endDate="2026-01-31"))["count"] == 0
    assert await verdict(api, ANN, "one_batch") == 401
    assert await api.call("complaint/delete", email=ANN) == {"count": 1}
    assert await verdict(api, ANN, "one_batch") == 0


async def test_blocking(api: Api) -> None:
    assert await api.call("block/add", email="Ann@example.net", domainName="@Example.ORG", expireTime=LATER) == {
        "addSuccessCount": 2
    }
    assert await api.call("block/add", email=ANN, expireTime="2099-01-01 00:00:00", apiUserBlock="all") == {"addSuccessCount": 1}
    assert await api.call("block/add", email=ANN, expireTime=LATER, apiUserBlock="one_batch") == {"addSuccessCount": 1}
    listed = (await api.call("block/list"))["dataList"]
    assert [(each["apiUserBlock"], each["email"], each["domain"]) for each in listed] == [
        ("all", ANN, ""),
        ("all", "", "example.org"),
        ("one_batch", ANN, ""),
    ]
    assert (listed[0]["createTime"], listed[0]["expireTime"]) == ("2026-02-01 09:00:01", "2099-01-01 00:00:00")
    assert (await api.call("block/list", email=ANN, apiUserBlock="one_batch"))["count"] == 1
    assert (await api.call("block/list", email=ANN, domainName="example.org"))["count"] == 0
    assert (await api.call("block/list", startDate="2026-01-31", endDate="2026-01-31"))["count"] == 0
    assert await verdict(api, "bob@example.org") == 401
    assert await verdict(api, "bob@sub.example.org") == 0
    assert (await api.call("block/list", "two_trigger"))["count"] == 0
    assert await api.call("block/delete", "two_trigger", email=ANN) == {"deleteSuccessCount": 0}
    assert await api.call("block/delete", email=ANN, domainName="example.org") == {"deleteSuccessCount": 3}


async def test_a_block_ends(api: Api) -> None:
    await api.call("block/add", email=ANN, expireTime="2026-02-01 09:00:03")
    assert await verdict(api, ANN) == 401
    assert (await api.call("block/list"))["count"] == 1
    await api.call("block/list")
    assert await verdict(api, ANN) == 0
    assert (await api.call("block/list"))["count"] == 1  # it stays listed


async def test_allowing(api: Api) -> None:
    made = (await api.call("unintercept/add", email="Vip@example.net", domainName="Example.ORG"))["dataList"]
    assert [(each["apiUserName"], each["email"], each["domain"]) for each in made] == [
        ("all", "vip@example.net", ""),
        ("all", "", "example.org"),
    ]
    assert emails(await api.call("unintercept/list")) == ["", "vip@example.net"]
    assert (await api.call("unintercept/add", email="vip@example.net"))["dataList"] == []
    assert len((await api.call("unintercept/add", email="vip@example.net", apiUserName="one_batch"))["dataList"]) == 1
    assert [each["apiUserName"] for each in (await api.call("unintercept/list"))["dataList"]] == ["one_batch", "all", "all"]
    assert (await api.call("unintercept/list", apiUserName="all", email="vip@example.net"))["count"] == 1
    assert (await api.call("unintercept/list", "two_trigger"))["count"] == 0
    await api.call("block/add", email="bob@example.org", expireTime=LATER)
    assert await verdict(api, "bob@example.org") == 0
    assert await api.call("unintercept/delete", email="vip@example.net", domainName="example.org") == {"count": 2}
    assert [each["apiUserName"] for each in (await api.call("unintercept/list"))["dataList"]] == ["one_batch"]
    assert await verdict(api, "bob@example.org") == 401


async def test_an_international_domain_is_one_however_it_is_written(api: Api) -> None:
    await api.call("block/add", domainName="BÜCHER.example", expireTime=LATER)
    assert await verdict(api, "ann@xn--bcher-kva.example") == 401
    assert (await api.call("block/list", domainName="xn--bcher-kva.example"))["count"] == 1
