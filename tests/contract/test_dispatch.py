"""The dispatcher on both engines, with a crew that only takes notes."""

import asyncio
from pathlib import Path

import pytest

from aurorasend import dispatch, queue
from aurorasend.clock import HOUR, SECOND
from aurorasend.queue import Kind, Work
from aurorasend.store.tx import EVER, Statement, Store, Tx
from tests.dispatching import CLOCK, LEFT, Lossy, Notes, dispatching, is_tried, put, until

ALL = Statement("SELECT id, tries, lease, due FROM work")
GIVEN_BACK = Statement("UPDATE work SET lease = 0, due = $1 WHERE id IN ids($2)")
WAITS = Statement("SELECT due, tries, lease FROM work")


async def work_off(store: Store, folder: Path, crew: Notes, entries: int, until_left: int) -> None:
    """Put `entries`, and dispatch until no more than `until_left` of them are left."""
    await put(store, "lane", range(entries))

    async def are_left() -> bool:
        return await store.read(lambda tx: tx.row(LEFT)) == (until_left,)

    async with dispatching(store, folder, crew):
        await until(are_left)


async def test_every_entry_is_tried_once(store: Store, tmp_path: Path) -> None:
    crew = Notes()
    await work_off(store, tmp_path, crew, 100, 0)
    assert sorted(crew.tried) == list(range(100))


async def test_the_next_turn_comes_when_there_is_room_for_what_waits(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And when something waits again; what is settled and leaves nothing that waits is no news."""
    monkeypatch.setattr(dispatch, "POLL_S", 60.0)
    crew, look, looked = Notes(), queue.look, 0
    crew.again, crew.stalled[200] = {300}, asyncio.Event()
    await put(store, "lane", range(100))

    async def counted(tx: Tx, node: int, now_us: int, limit: int) -> tuple[list[queue.Key], int | None]:
        nonlocal looked
        looked += 1
        return await look(tx, node, now_us, limit)

    async def is_quiet() -> bool:
        before = looked
        await asyncio.sleep(0.3)
        return looked == before

    monkeypatch.setattr(queue, "look", counted)

    async def is_done() -> bool:
        return await store.read(lambda tx: tx.row(LEFT)) == (0,)

    async with dispatching(store, tmp_path, crew) as node:
        await until(is_done)
        await put(store, "lane", [300])
        node.wake.work_here()
        await until(is_done)
        await put(store, "lane", [200])
        node.wake.work_here()
        await until(is_tried(crew, {200}))
        await until(is_quiet)
        before = looked
        crew.stalled[200].set()
        await until(is_done)
        await asyncio.sleep(0.1)
        assert looked == before
    assert sorted(crew.tried) == [*range(100), 200, 300, 300]


async def test_what_of_a_key_is_due_later_than_what_was_claimed_is_not_forgotten(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look sees the first of each key only."""
    monkeypatch.setattr(dispatch, "POLL_S", 60.0)
    crew, now_us = Notes(), CLOCK.now_us()
    works = [Work(1, n, Kind.MAIL, "lane", now_us + n * SECOND // 10, 0, n) for n in range(5)]
    await store.write(lambda tx: queue.put(tx, works))
    async with dispatching(store, tmp_path, crew):
        await until(is_tried(crew, set(range(5))))


async def test_a_node_that_joins_has_its_share_long_before_the_first_ones_next_beat(store: Store, tmp_path: Path) -> None:
    first, second = Notes(0.02), Notes(0.02)
    for lane in range(8):
        await put(store, f"lane{lane}", range(1000 * lane, 1000 * lane + 1000))

    async def has_begun(crew: Notes) -> bool:
        return len(crew.tried) > 10

    async with dispatching(store, tmp_path / "first", first, HOUR):
        await until(lambda: has_begun(first))
        async with dispatching(store, tmp_path / "second", second, HOUR):
            await until(lambda: has_begun(second))
    assert not set(first.tried) & set(second.tried)


async def test_f24_what_a_lost_claim_took_comes_back(store: Store, tmp_path: Path) -> None:
    crew, lossy = Notes(), Lossy(store)
    await work_off(lossy, tmp_path, crew, 25, 0)
    assert lossy.lost == 1
    assert sorted(crew.tried) == list(range(25))


async def test_f24_what_a_lost_claim_took_comes_back_when_other_work_went_on(store: Store, tmp_path: Path) -> None:
    """The answer is lost while attempts are under way; new claims wait for these."""
    crew, lossy = Notes(attempt_s=0.05), Lossy(store, kept=1)
    await work_off(lossy, tmp_path, crew, 100, 0)
    assert lossy.lost == 1
    assert sorted(crew.tried) == list(range(100))


async def test_f24_a_stalled_attempt_does_not_keep_a_lane_of_a_lost_claim(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lost claim leased a lane. Claims wait for what is under way, but not for ever: then mail of that lane goes on,
    and what the lost claim took comes back when nothing is under way."""
    monkeypatch.setattr(dispatch, "DOUBT_S", 0.8)
    crew, lossy = Notes(), Lossy(store, kept=1)
    crew.stalled[0] = asyncio.Event()
    await put(store, "other", [0])
    async with dispatching(lossy, tmp_path, crew) as node:

        async def are_tried(ids: set[int]) -> bool:
            return set(crew.tried) == ids

        async def is_lost() -> bool:
            return lossy.lost == 1

        await until(lambda: are_tried({0}))
        await put(store, "lane", [1, 2])
        node.wake.work_here()
        await until(is_lost)
        await put(store, "lane", [3])
        node.wake.work_here()
        await asyncio.sleep(0.3)
        assert not await are_tried({0, 3})
        await until(lambda: are_tried({0, 3}))
        crew.stalled[0].set()
        await until(lambda: are_tried({0, 1, 2, 3}))
    assert sorted(crew.tried) == [0, 1, 2, 3]


async def test_an_attempt_that_meets_a_fault_of_ours_waits_an_hour(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crew = Notes()
    crew.faulty = {3}
    begun = CLOCK.now_us()
    await work_off(store, tmp_path, crew, 20, 1)
    ((due, tries, lease),) = await store.read(lambda tx: tx.rows(WAITS))
    assert begun + HOUR <= due <= CLOCK.now_us() + HOUR
    assert (tries, lease, crew.tried.count(3)) == (1, 0, 1)
    assert "entry 3 of account 1 could not be tried" in caplog.text


async def test_an_outcome_that_cannot_be_recorded_holds_up_no_other(store: Store, tmp_path: Path) -> None:
    crew = Notes()
    crew.unrecordable = {7}
    await work_off(store, tmp_path, crew, 40, 1)
    assert sorted(crew.tried) == list(range(40))


async def test_results_of_several_accounts_are_settled_together(store: Store, tmp_path: Path) -> None:
    crew, go_on = Notes(), asyncio.Event()
    crew.stalled = dict.fromkeys(range(3), go_on)
    works = [Work(1 + n, n, Kind.MAIL, "lane", CLOCK.now_us(), 0, n) for n in range(3)]
    await store.write(lambda tx: queue.put(tx, works))

    async def is_done() -> bool:
        return await store.read(lambda tx: tx.row(LEFT)) == (0,)

    async with dispatching(store, tmp_path, crew):
        await until(is_tried(crew, set(range(3))))
        go_on.set()
        await until(is_done)
        assert sorted(crew.recorded) == [0, 1, 2]


async def test_f42_of_results_that_come_together_only_those_still_ours_are_recorded(store: Store, tmp_path: Path) -> None:
    """Of two accounts, some final and some to be tried again; two were given back meanwhile: whoever has them now tries again."""
    crew, go_on = Notes(), asyncio.Event()
    crew.stalled, crew.again, crew.again_us = dict.fromkeys(range(1, 7), go_on), {5, 6}, HOUR
    works = [Work(1 + n % 2, n, Kind.MAIL, f"lane{n % 2}", CLOCK.now_us(), 0, n) for n in range(1, 7)]
    await store.write(lambda tx: queue.put(tx, works))
    async with dispatching(store, tmp_path, crew) as node:
        await until(is_tried(crew, set(range(1, 7))))
        await store.write(lambda tx: tx.run(GIVEN_BACK, EVER - 1, tx.many([2, 5])))
        go_on.set()

        async def is_settled() -> bool:
            return not any(lane.busy for lane in node.lanes)

        await until(is_settled)
        assert sorted(crew.recorded) == [1, 3, 4, 6]
        left = {row[0]: row[1:] for row in await store.read(lambda tx: tx.rows(ALL))}
        assert left[2] == left[5] == (1, 0, EVER - 1)
        assert set(left) == {2, 5, 6}


async def test_the_outcome_of_a_lost_lease_ends_nothing_that_was_claimed_anew(store: Store, tmp_path: Path) -> None:
    """By the same process, which has another number now."""
    crew, first = Notes(), asyncio.Event()
    crew.stalled[1] = first
    await put(store, "lane", [1])
    async with dispatching(store, tmp_path, crew) as node:
        await until(is_tried(crew, {1}))
        second = crew.stalled[1] = asyncio.Event()
        await node.membership.renew()
        node.wake.work_here()

        async def is_tried_again() -> bool:
            return crew.tried == [1, 1]

        await until(is_tried_again)
        first.set()
        await asyncio.sleep(0.3)
        assert await store.read(lambda tx: tx.row(LEFT)) == (1,) and not crew.recorded
        second.set()

        async def is_done() -> bool:
            return await store.read(lambda tx: tx.row(LEFT)) == (0,)

        await until(is_done)


async def test_what_is_claimed_during_a_stop_without_grace_is_not_tried(store: Store, tmp_path: Path) -> None:
    """The stop comes while what was claimed is being loaded: it is left, since who would try it has closed."""
    crew, go_on = Notes(), asyncio.Event()
    crew.load_waits = go_on
    await put(store, "lane", range(5))
    async with dispatching(store, tmp_path, crew) as node:
        await asyncio.wait_for(crew.loading.wait(), 10)
        await node.dispatcher.drain(0)
        go_on.set()
        await asyncio.sleep(0.1)
        assert crew.tried == []
    assert await store.read(lambda tx: tx.row(LEFT)) == (5,)
