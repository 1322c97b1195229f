"""The dispatcher on both engines, with a crew that only takes notes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aurorasend import dispatch, queue
from aurorasend.clock import HOUR, SECOND, SystemClock
from aurorasend.codes import Unavailable
from aurorasend.dispatch import Dispatcher, Result, Sizes
from aurorasend.membership import Membership
from aurorasend.queue import Claimed, Kind, Work
from aurorasend.store.tx import Engine, Statement, Store, T, Tx, Unit
from aurorasend.wake import Alone, Wake

CLOCK = SystemClock()
LEFT = Statement("SELECT count(*) FROM work")
WAITS = Statement("SELECT due, tries, lease FROM work")


class Notes:
    """A crew whose attempts all end the matter."""

    def __init__(self, attempt_s: float = 0.0) -> None:
        self.attempt_s = attempt_s
        self.tried: list[int] = []
        self.unrecordable: set[int] = set()
        self.stalled: dict[int, asyncio.Event] = {}  # attempts that end only then
        self.faulty: set[int] = set()
        self.loading = asyncio.Event()
        self.load_waits: asyncio.Event | None = None

    async def load(self, claimed: Sequence[Claimed]) -> Sequence[Claimed]:
        self.loading.set()
        if self.load_waits is not None:
            await self.load_waits.wait()
        return claimed

    async def attempt(self, loaded: Claimed) -> Result:
        await asyncio.sleep(self.attempt_s)
        self.tried.append(loaded.id)
        if loaded.id in self.faulty:
            raise ValueError("cannot be tried")
        if loaded.id in self.stalled:
            await self.stalled[loaded.id].wait()
        return Result(loaded, None, "done")

    async def prepare(self, results: Sequence[Result]) -> None:
        return None

    async def record(self, tx: Tx, results: Sequence[Result], prepared: Any) -> None:
        if any(result.claimed.id in self.unrecordable for result in results):
            raise ValueError("cannot be written")

    async def close(self) -> None:
        return None


class Lossy:
    """A store that loses the answer to one transaction that claims something, after `kept` of them."""

    def __init__(self, store: Store, kept: int = 0) -> None:
        self._store = store
        self.engine: Engine = store.engine
        self.kept = kept
        self.lost = 0

    async def write(self, unit: Unit[T]) -> T:
        result = await self._store.write(unit)
        if not self.lost and isinstance(result, list) and result:
            if self.kept:
                self.kept -= 1
                return result
            self.lost += 1
            raise Unavailable("the connection broke during the commit")
        return result

    async def read(self, unit: Unit[T]) -> T:
        return await self._store.read(unit)

    async def close(self) -> None:
        await self._store.close()


async def put(store: Store, lane: str, ids: Iterable[int]) -> None:
    await store.write(lambda tx: queue.put(tx, [Work(1, n, Kind.MAIL, lane, CLOCK.now_us(), 0, n) for n in ids]))


@asynccontextmanager
async def dispatching(
    store: Store, folder: Path, crew: Notes, lease_us: int = 10 * SECOND
) -> AsyncIterator[tuple[Dispatcher, Wake]]:
    membership = Membership(store, CLOCK, folder / "run", lease_us, delivers=True)
    await membership.join()
    wake = Wake(Alone())
    dispatcher = Dispatcher(store, CLOCK, wake, membership, {Kind.MAIL: crew}, Sizes(batch=10, window=30, runners=3))
    running = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher, wake
    finally:
        await dispatcher.drain(5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await membership.leave()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 another task changes it
            await asyncio.sleep(0.02)


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
    monkeypatch.setattr(dispatch, "DOUBT_S", 0.3)
    crew, lossy = Notes(), Lossy(store, kept=1)
    crew.stalled[0] = asyncio.Event()
    await put(store, "other", [0])
    async with dispatching(lossy, tmp_path, crew) as (_, wake):

        async def are_tried(ids: set[int]) -> bool:
            return set(crew.tried) == ids

        async def is_lost() -> bool:
            return lossy.lost == 1

        await until(lambda: are_tried({0}))
        await put(store, "lane", [1, 2])
        wake.work_here()
        await until(is_lost)
        await put(store, "lane", [3])
        wake.work_here()
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


async def test_what_is_claimed_during_a_stop_without_grace_is_not_tried(store: Store, tmp_path: Path) -> None:
    """The stop comes while what was claimed is being loaded: it is left, since who would try it has closed."""
    crew, go_on = Notes(), asyncio.Event()
    crew.load_waits = go_on
    await put(store, "lane", range(5))
    async with dispatching(store, tmp_path, crew) as (dispatcher, _):
        await asyncio.wait_for(crew.loading.wait(), 10)
        await dispatcher.drain(0)
        go_on.set()
        await asyncio.sleep(0.1)
        assert crew.tried == []
    assert await store.read(lambda tx: tx.row(LEFT)) == (5,)
