"""A process among the nodes of a store."""

import asyncio
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import asyncpg
import pytest

from aurorasend.clock import HOUR, SECOND, SystemClock
from aurorasend.codes import Unavailable
from aurorasend.membership import Membership
from aurorasend.store import node as nodes
from aurorasend.store.postgres import PostgresStore
from aurorasend.store.tx import Engine, Statement, Store, Tx, Unit
from tests.open_files import open_files
from tests.postgres import Server

T = TypeVar("T")

LIVE = Statement("SELECT id FROM node WHERE until > 0 ORDER BY id")
OVER = Statement("UPDATE node SET until = 1 WHERE id = $1")
END = Statement("UPDATE node SET until = 0 WHERE id = $1")


class Away:
    """The store, until it is away for who writes."""

    is_away = False

    def __init__(self, store: Store) -> None:
        self._store = store
        self.engine: Engine = store.engine

    async def write(self, unit: Unit[T]) -> T:
        if self.is_away:
            raise Unavailable("away")
        return await self._store.write(unit)

    async def read(self, unit: Unit[T]) -> T:
        return await self._store.read(unit)

    async def close(self) -> None:
        await self._store.close()


def member(store: Store, tmp_path: Path) -> Membership:
    """It beats when told."""
    return Membership(store, SystemClock(), tmp_path / "run", HOUR, delivers=True)


async def live(store: Store) -> list[int]:
    return [row[0] for row in await store.read(lambda tx: tx.rows(LIVE))]


async def end_lease(store: Store, worker: int) -> None:
    await store.write(lambda tx: tx.run(END, worker))


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "run").iterdir())


def die(membership: Membership) -> None:
    """As a kill does it."""
    assert membership._keeper is not None
    membership._keeper.cancel()
    os.close(membership._lock)


@contextmanager
def obstacle(kind: str, folder: Path, worker: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What keeps `worker` from making its lock file."""
    draft, path = folder / f"{worker}.new", folder / f"{worker}.lock"
    match kind:
        case "open":
            draft.mkdir()
            yield
            draft.rmdir()
        case "flock":
            given = fcntl.flock

            def flock(handle: int, operation: int) -> None:
                if operation & fcntl.LOCK_NB:  # those of the store wait
                    raise OSError(errno.ENOLCK, "No locks available")
                given(handle, operation)

            with monkeypatch.context() as patched:
                patched.setattr(fcntl, "flock", flock)
                yield
        case "rename":
            path.mkdir()
            yield
            path.rmdir()


@pytest.mark.parametrize("kind", ["open", "flock", "rename"])
@pytest.mark.parametrize("how", ["join", "renew", "beat"])
async def test_a_lock_file_that_cannot_be_made_is_made_by_a_later_beat(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, kind: str
) -> None:
    """Until then the node works without one, and nothing of a failed try is left."""
    (tmp_path / "run").mkdir()
    membership, worker = member(store, tmp_path), 1
    if how != "join":
        await membership.join()
        worker = 2
    with obstacle(kind, tmp_path / "run", worker, monkeypatch):
        if how == "join":
            await membership.join()
        elif how == "renew":
            await membership.renew()
        else:
            await end_lease(store, 1)
            await membership._beat()
        await membership._beat()
        assert (membership.worker, membership.alive, open_files(tmp_path / "run")) == (worker, True, [])
    assert files(tmp_path) == []

    await membership._beat()
    await membership._beat()
    assert files(tmp_path) == open_files(tmp_path / "run") == [f"{worker}.lock"]
    other = member(store, tmp_path)
    await other.join()
    assert await live(store) == [worker, other.worker]  # it is held
    die(membership)
    await other._bury_killed()
    assert await live(store) == [other.worker] and files(tmp_path) == [f"{other.worker}.lock"]
    await other.leave()
    assert await live(store) == files(tmp_path) == open_files(tmp_path / "run") == []


async def test_a_lock_file_that_cannot_be_made_costs_no_other_file(store: Store, tmp_path: Path) -> None:
    """The one that it gave up is closed once: its number soon belongs to another file."""
    membership, others = member(store, tmp_path), list[int]()
    await membership.join()
    number = membership._lock
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    await membership.renew()
    while number not in others:
        others.append(os.open(os.devnull, os.O_RDONLY))
        assert len(others) < 100
    await membership.renew()
    await membership._beat()
    await membership.leave()
    for other in others:
        os.close(other)  # raises when somebody else has closed it


async def test_a_worker_whose_lease_had_ended_leaves_no_lock_file(store: Store, tmp_path: Path) -> None:
    membership = member(store, tmp_path)
    await membership.join()
    await end_lease(store, 1)
    await membership._beat()
    assert files(tmp_path) == open_files(tmp_path / "run") == ["2.lock"]
    await membership.leave()


async def test_a_beat_beside_a_renewal_makes_no_second_worker(store: Store, tmp_path: Path) -> None:
    """It would find the lease ended that the renewal had given back."""
    membership = member(store, tmp_path)
    await membership.join()
    await asyncio.gather(membership.renew(), membership._beat())
    assert await live(store) == [membership.worker] and files(tmp_path) == [f"{membership.worker}.lock"]
    await membership.leave()


async def test_who_could_not_say_farewell_is_buried_by_who_starts_next(store: Store, tmp_path: Path) -> None:
    away = Away(store)
    first, second = member(away, tmp_path), member(store, tmp_path)
    await first.join()
    away.is_away = True
    await first.leave()
    await second.join()
    assert await live(store) == [second.worker] and files(tmp_path) == open_files(tmp_path / "run") == [f"{second.worker}.lock"]
    await second.leave()


async def test_a_lock_file_that_cannot_be_looked_at_keeps_nobody_from_starting(store: Store, tmp_path: Path) -> None:
    """Its worker counts as alive: the end of its lease tells."""
    first, second = member(store, tmp_path), member(store, tmp_path)
    await first.join()
    die(first)
    (tmp_path / "run" / "1.lock").unlink()
    (tmp_path / "run" / "1.lock").mkdir()  # as one of another user: root may open any file
    await second.join()
    assert await live(store) == [1, 2]
    await second.leave()


async def test_who_has_prolonged_a_lease_that_had_ended_is_not_buried(store: Store, tmp_path: Path) -> None:
    """It was found dead before, and buried only then."""
    one, other = (Membership(store, SystemClock(), tmp_path / name, HOUR, delivers=True) for name in ("one", "two"))
    await one.join()
    await other.join()
    await store.write(lambda tx: tx.run(OVER, other.worker))
    worker = other.worker
    await other._beat()
    await one._bury([worker])
    assert await live(store) == [one.worker, worker]
    await store.write(lambda tx: tx.run(OVER, worker))
    await one._bury([worker])
    assert await live(store) == [one.worker]
    await one.leave()
    await other.leave()


async def test_who_cannot_be_buried_keeps_no_other_from_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nodes_here = [Membership(store, SystemClock(), tmp_path / str(n), HOUR, delivers=True) for n in range(3)]
    for each in nodes_here:
        await each.join()
    one, first, second = nodes_here
    bury = nodes.bury_dead

    async def fails(tx: Tx, node: int, now_us: int) -> bool:
        if node == first.worker:
            raise ValueError("cannot be buried")
        return await bury(tx, node, now_us)

    monkeypatch.setattr(nodes, "bury_dead", fails)
    for each in (first, second):
        await store.write(lambda tx, worker=each.worker: tx.run(OVER, worker))  # type: ignore[misc]
    await one._bury([first.worker, second.worker])
    assert await live(store) == [one.worker, first.worker]
    assert "not buried" in caplog.text
    for each in nodes_here:
        await each.leave()


async def test_who_stands_still_in_a_transaction_costs_no_other_its_lease(postgres: Server, tmp_path: Path) -> None:
    """It has asked whether it is alive, and not committed: its burial waits for that, and nothing else does."""
    url = postgres.create("still", "migrated")
    store = PostgresStore(url, SystemClock())
    still, other = (Membership(store, SystemClock(), tmp_path / name, SECOND, delivers=True) for name in ("one", "two"))
    await still.join()
    assert still._keeper is not None
    still._keeper.cancel()
    connection = await asyncpg.connect(url)
    await connection.execute("BEGIN")
    await connection.fetch("SELECT 1 FROM node WHERE id = $1 FOR SHARE", still.worker)
    await other.join()
    for _ in range(30):
        await asyncio.sleep(0.1)
        assert other.alive
        assert await asyncio.wait_for(store.write(lambda tx: nodes.is_alive(tx, other.worker)), 1)
    assert await live(store) == [still.worker, other.worker]
    await connection.execute("ROLLBACK")
    async with asyncio.timeout(5):
        while await live(store) != [other.worker]:  # noqa: ASYNC110 a beat changes it
            await asyncio.sleep(0.02)
    await connection.close()
    await other.leave()
    await store.close()
