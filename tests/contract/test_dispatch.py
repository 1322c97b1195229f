"""The dispatcher on both engines, with a crew that only takes notes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aurorasend import queue
from aurorasend.clock import SystemClock
from aurorasend.codes import Unavailable
from aurorasend.dispatch import Dispatcher, Result, Sizes
from aurorasend.membership import Membership
from aurorasend.queue import Claimed, Kind, Work
from aurorasend.store.tx import Engine, Statement, Store, T, Tx, Unit
from aurorasend.wake import Alone, Wake

CLOCK = SystemClock()
LEFT = Statement("SELECT count(*) FROM work")


class Notes:
    """A crew whose attempts all end the matter."""

    def __init__(self, attempt_s: float = 0.0) -> None:
        self.attempt_s = attempt_s
        self.tried: list[int] = []
        self.unrecordable: set[int] = set()

    async def load(self, claimed: Sequence[Claimed]) -> Sequence[Claimed]:
        return claimed

    async def attempt(self, loaded: Claimed) -> Result:
        await asyncio.sleep(self.attempt_s)
        self.tried.append(loaded.id)
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


async def work_off(store: Store, folder: Path, crew: Notes, entries: int, until_left: int) -> None:
    """Put `entries`, and dispatch until no more than `until_left` of them are left."""
    await store.write(lambda tx: queue.put(tx, [Work(1, n, Kind.MAIL, "lane", CLOCK.now_us(), 0, n) for n in range(entries)]))
    membership = Membership(store, CLOCK, folder / "run", 10_000_000, delivers=True)
    await membership.join()
    dispatcher = Dispatcher(store, CLOCK, Wake(Alone()), membership, {Kind.MAIL: crew}, Sizes(batch=10, window=30, runners=3))
    running = asyncio.create_task(dispatcher.run())
    try:
        async with asyncio.timeout(20):
            while await store.read(lambda tx: tx.row(LEFT)) != (until_left,):  # noqa: ASYNC110 another task changes it
                await asyncio.sleep(0.05)
    finally:
        await dispatcher.drain(5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await membership.leave()


async def test_every_entry_is_tried_once(store: Store, tmp_path: Path) -> None:
    crew = Notes()
    await work_off(store, tmp_path, crew, 100, 0)
    assert sorted(crew.tried) == list(range(100))


async def test_what_a_lost_claim_took_comes_back(store: Store, tmp_path: Path) -> None:
    crew, lossy = Notes(), Lossy(store)
    await work_off(lossy, tmp_path, crew, 25, 0)
    assert lossy.lost == 1
    assert sorted(crew.tried) == list(range(25))


async def test_what_a_lost_claim_took_comes_back_when_other_work_went_on(store: Store, tmp_path: Path) -> None:
    """The answer is lost while attempts are under way, and later claims succeed."""
    crew, lossy = Notes(attempt_s=0.05), Lossy(store, kept=1)
    await work_off(lossy, tmp_path, crew, 100, 0)
    assert lossy.lost == 1
    assert sorted(crew.tried) == list(range(100))


async def test_an_outcome_that_cannot_be_recorded_holds_up_no_other(store: Store, tmp_path: Path) -> None:
    crew = Notes()
    crew.unrecordable = {7}
    await work_off(store, tmp_path, crew, 40, 1)
    assert sorted(crew.tried) == list(range(40))
