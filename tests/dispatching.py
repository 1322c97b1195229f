"""A dispatcher with a crew that only takes notes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aurorasend import queue
from aurorasend.clock import SECOND, SystemClock
from aurorasend.codes import Unavailable
from aurorasend.dispatch import Dispatcher, Result
from aurorasend.lanes import Lanes, Sizes
from aurorasend.membership import Membership
from aurorasend.queue import Claimed, Kind, Later, Work
from aurorasend.store.tx import Engine, Statement, Store, T, Tx, Unit
from aurorasend.wake import Alone, Wake

CLOCK = SystemClock()
LEFT = Statement("SELECT count(*) FROM work")


class Notes:
    """A crew whose attempts all end the matter."""

    def __init__(self, attempt_s: float = 0.0) -> None:
        self.attempt_s = attempt_s
        self.tried: list[int] = []
        self.recorded: list[int] = []  # in the last transaction
        self.unrecordable: set[int] = set()
        self.stalled: dict[int, asyncio.Event] = {}  # attempts that end only then
        self.faulty: set[int] = set()
        self.again: set[int] = set()  # tried once more, after so long:
        self.again_us = SECOND // 10
        self.loading = asyncio.Event()
        self.load_waits: asyncio.Event | None = None

    async def load(self, claimed: Sequence[Claimed], known: Sequence[object]) -> Sequence[Claimed]:
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
        if loaded.id in self.again and loaded.tries == 1:
            return Result(loaded, Later(loaded, CLOCK.now_us() + self.again_us), "again")
        return Result(loaded, None, "done")

    async def prepare(self, results: Sequence[Result]) -> None:
        return None

    async def record(self, tx: Tx, results: Sequence[Result], prepared: Any) -> None:
        if any(result.claimed.id in self.unrecordable for result in results):
            raise ValueError("cannot be written")
        self.recorded = [result.claimed.id for result in results]

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


@dataclass(frozen=True, slots=True)
class Dispatching:
    dispatcher: Dispatcher
    wake: Wake
    membership: Membership
    lanes: Lanes


@asynccontextmanager
async def dispatching(
    store: Store, folder: Path, crew: Notes, lease_us: int = 10 * SECOND
) -> AsyncIterator[Dispatching]:
    membership = Membership(store, CLOCK, folder / "run", lease_us, delivers=True)
    await membership.join()
    wake = Wake(Alone())
    lanes = Lanes(CLOCK, membership, Sizes(batch=10, window=30, runners=3))
    dispatcher = Dispatcher(store, CLOCK, wake, membership, {Kind.MAIL: crew}, lanes)
    running = asyncio.create_task(dispatcher.run())
    try:
        yield Dispatching(dispatcher, wake, membership, lanes)
    finally:
        await dispatcher.drain(5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await membership.leave()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 another task changes it
            await asyncio.sleep(0.02)


def is_tried(crew: Notes, ids: set[int]) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return ids <= set(crew.tried)

    return holds
