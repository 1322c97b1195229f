"""What goes when it is old, and what stays (data.md §14, §18; mail.md §17), on both engines."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from aurorasend import retention
from aurorasend.clock import HOUR
from aurorasend.event import Kind
from aurorasend.retention import Expiry
from aurorasend.store import statistics as sums
from aurorasend.store.tx import Row, Statement, Store
from tests.management import Api, Teller, fold, managing

CONTENT, EVENTS = timedelta(days=30), timedelta(days=180)
MAIL = {"from": "kit@one.example", "subject": "S", "html": "<p>x</p>"}


@pytest.fixture
async def api(store: Store, tmp_path: Path) -> AsyncIterator[Api]:
    async with managing(store, tmp_path) as made:
        await made.sql("UPDATE domain SET vouched = 1, verified = 23")
        yield made


async def rows(api: Api, sql: str) -> list[Row]:
    return await api.node.store.read(lambda tx: tx.rows(Statement(sql)))


async def count(api: Api, table: str) -> int:
    return int((await rows(api, f"SELECT count(*) FROM {table}"))[0][0])


async def counts(api: Api) -> dict[str, int]:
    return {table: await count(api, table) for table in ("content", "recipient", "submission", "event")}


async def expire(api: Api) -> None:
    await Expiry(api.node.store, api.clock, api.node.settings.retention).expire()


async def test_content_goes_after_its_time_and_the_rest_after_its_own(api: Api) -> None:
    await api.call("mail/send", to="ann@example.net;bob@example.net", **MAIL)
    await api.sql("DELETE FROM work")
    before = await counts(api)
    assert before == {"content": before["content"], "recipient": 2, "submission": 1, "event": 1} and before["content"] > 0
    api.clock.advance(CONTENT - timedelta(minutes=1))
    await expire(api)
    assert await counts(api) == before
    api.clock.advance(timedelta(minutes=2))
    await expire(api)
    assert await counts(api) == {**before, "content": 0}
    api.clock.advance(EVENTS - CONTENT)
    await expire(api)
    assert await counts(api) == {"content": 0, "recipient": 0, "submission": 0, "event": 0}
    assert await rows(api, "SELECT kind, n FROM counter") == [(18, 2)]


async def test_nothing_goes_of_what_is_queued(api: Api) -> None:
    await api.call("mail/send", to="ann@example.net;bob@example.net", **MAIL)
    await api.call("mail/send", to="eve@example.net", **MAIL)
    await api.sql("DELETE FROM work WHERE ref IN (SELECT id FROM recipient WHERE address <> 'bob@example.net')")
    api.clock.advance(EVENTS + timedelta(minutes=1))
    await expire(api)
    assert await rows(api, "SELECT address FROM recipient ORDER BY id") == [("ann@example.net",), ("bob@example.net",)]
    assert await count(api, "content") == 1 and await count(api, "submission") == 1
    await api.sql("DELETE FROM work")
    await expire(api)
    assert await counts(api) == {"content": 0, "recipient": 0, "submission": 0, "event": 0}


async def test_list_sends_of_one_request_share_its_content_until_all_are_done(api: Api) -> None:
    for name in ("one", "two"):
        address = f"{name}@maillist.one.example"
        await api.call("addresslist/add", address=address, name=name)
        await api.call("addressmember/add", address=address, members="ann@example.net")
    to = "one@maillist.one.example;two@maillist.one.example"
    await api.call("mail/send", "one_batch", to=to, useAddressList="true", **MAIL)
    await api.sql("DELETE FROM work")
    assert await count(api, "list_send") == 2
    await api.sql("UPDATE list_send SET state = 2 WHERE id = (SELECT min(id) FROM list_send)")
    api.clock.advance(EVENTS + timedelta(minutes=1))
    await expire(api)
    assert await count(api, "content") > 0 and await count(api, "submission") == await count(api, "list_send") == 2
    await api.sql("UPDATE list_send SET state = 3 WHERE state <> 2")
    await expire(api)
    assert await counts(api) == {"content": 0, "recipient": 0, "submission": 0, "event": 0}
    assert await count(api, "list_send") == 0


async def test_a_large_submission_goes_in_portions(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS", 3)
    monkeypatch.setattr(retention, "SUBMISSIONS", 2)
    for size in (1, 10, 2, 2, 1):
        await api.call("mail/send", to=";".join(f"n{n}@example.net" for n in range(size)), **MAIL)
    await api.sql("DELETE FROM work")
    api.clock.advance(EVENTS + timedelta(minutes=1))
    await api.call("mail/send", to="new@example.net", **MAIL)
    await expire(api)
    assert await rows(api, "SELECT address FROM recipient") == [("new@example.net",)]
    assert await counts(api) == {"content": 1, "recipient": 1, "submission": 1, "event": 1}


async def test_suppression_lists_stay(api: Api) -> None:
    await api.call("unsubscribe/add", email="ann@example.net")
    api.clock.advance(10 * EVENTS)
    await expire(api)
    assert (await api.call("unsubscribe/list", email="ann@example.net"))["count"] == 1


async def test_statistics_are_the_same_before_and_after_they_are_folded(api: Api) -> None:
    label = (await api.call("label/add", labelName="june"))["data"]["labelId"]
    start, teller = api.clock.now_us(), Teller(api)

    async def tell(number: int, hour: int, kind: Kind, domain: str, sub: int = 0) -> None:
        await teller.tell(kind, domain, number + 1, sub=sub, label=label if hour % 2 else 0, at=start - hour * HOUR)

    kinds = ((Kind.REQUEST, 0), (Kind.REQUEST, 0), (Kind.DELIVER, 0), (Kind.INVALID, 406), (Kind.OPEN, 1))
    for number in range(60):
        kind, sub = kinds[number % 5]
        await tell(number, number // 5 * 7, kind, ("a.example", "b.example")[number % 2], sub)

    async def shown() -> list[object]:
        filters = (
            {},
            {"labelIdList": label},
            {"domainList": "b.example"},
            {"aggregate": 1},
            {"aggregate": 1, "domainList": "a.example"},
        )
        paths = [(path, given) for path in ("statday/list", "invalidstat/list") for given in filters]
        asked = [*paths, ("stathour/list", {}), ("stathour/list", {"labelIdList": 0})]
        answers = [await api.call(path, **{"days": days, **given}) for path, given in asked for days in (1, 3, 30)]
        totals = [
            (await api.call("data/emailStatus", **given, days=30, limit=0))["total"]
            for given in ({}, {"status": 4}, {"status": 18})
        ]
        return [*answers, *totals, await api.call("queue/status")]

    before, now = await shown(), start // HOUR
    assert before[0]["dataList"] and before[-2] != "0"  # type: ignore[index]

    folded = await fold(api, now - 40, 7)
    assert folded == 7 and await shown() == before  # in the middle of it
    while folded:
        folded = await fold(api, now - 40, 7)
    assert await rows(api, f"SELECT count(*) FROM counter WHERE hour < {now - 40}") == [(0,)]
    assert await count(api, "tally_line") > 0 and await count(api, "tally_state") > 0 and await count(api, "counter") > 0
    assert await shown() == before
    await tell(100, 70, Kind.DELIVER, "a.example")  # late
    late = await shown()
    assert late != before
    assert await api.node.store.read(lambda tx: sums.to_fold(tx, now - 40)) == [1]
    assert await fold(api, now - 40, 7) == 1
    assert await shown() == late
