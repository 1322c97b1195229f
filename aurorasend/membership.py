"""This process as a node: its worker number, the lease that keeps its work its own, and the burial of dead nodes.

Called by app and dispatch. Calls store. A node is alive as long as it prolongs its lease. A node that did not is
buried by whoever notices: all that it had leased is due again (design invariant 2). On one machine a lock file, which
the kernel frees when a process dies, tells at once. Who cannot make one goes on, and makes it when it can.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from aurorasend.clock import Clock
from aurorasend.codes import Unavailable
from aurorasend.store import node as rows
from aurorasend.store.tx import Store, Tx

log = logging.getLogger(__name__)


class Membership:
    """`worker` is never used twice; it changes when the lease was lost, and with it ends all that was claimed before."""

    def __init__(self, store: Store, clock: Clock, folder: Path, lease_us: int, *, delivers: bool) -> None:
        self._store = store
        self._clock = clock
        self._folder = folder
        self._lease_us = lease_us
        self._delivers = delivers
        self._host = f"{socket.gethostname()}:{folder.resolve()}"
        self._lock = -1  # held by an open file of this number; -1 while there is none
        self._in_turn = asyncio.Lock()  # one at a time prolongs the lease or comes to another number
        self._until = 0
        self._keeper: asyncio.Task[None] | None = None
        self._burying: asyncio.Task[None] | None = None
        self.worker = 0
        self.nodes = 1  # live nodes that deliver, this one among them
        self.lanes = 0  # lanes with any work
        self.counted_us = 0  # when both were

    @property
    def alive(self) -> bool:
        """Whether what is claimed is still ours. Nothing is sent when it is not."""
        return self._clock.now_us() < self._until

    async def join(self) -> None:
        """Get a worker number; bury the processes of this data directory that were killed. Raises Unavailable."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self._register()
        await self._bury_killed()
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def renew(self) -> None:
        """Give back all that is leased to us, and go on under a new worker number. Raises Unavailable."""
        async with self._in_turn:
            worker, now_us = self.worker, self._clock.now_us()
            await self._store.write(lambda tx: rows.bury(tx, worker, now_us))
            await self._register()

    async def leave(self) -> None:
        """Give everything back."""
        tasks = [task for task in (self._keeper, self._burying) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        worker, now_us = self.worker, self._clock.now_us()
        try:
            await self._store.write(lambda tx: rows.bury(tx, worker, now_us))
            _remove(self._path(worker))
        except Unavailable as error:
            log.warning("no farewell, who starts here next or the end of the lease tells: %s", error)
        self._unlock()

    def _unlock(self) -> None:
        """Once: by then the number of the file may be that of another one."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def _path(self, worker: int) -> Path:
        return self._folder / f"{worker}.lock"

    async def _register(self) -> None:
        before, now_us = self.worker, self._clock.now_us()
        until_us = now_us + self._lease_us
        self.worker = await self._store.write(lambda tx: rows.add(tx, self._host, self._delivers, now_us, until_us))
        self._until = until_us
        _remove(self._path(before))
        self._unlock()
        self._make_lock()

    def _make_lock(self) -> None:
        """Where it fails the next beat tries again: until then a kill would go unnoticed up to the end of the lease."""
        path = self._path(self.worker)
        draft, lock = path.with_suffix(".new"), -1
        try:
            lock = os.open(draft, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.rename(path)  # held before anybody can look: else we would count as killed
        except OSError as error:
            log.warning("no lock file: %s", error)
            if lock >= 0:
                _remove(draft)
                os.close(lock)
        else:
            self._lock = lock

    async def _bury_killed(self) -> None:
        for worker in await self._store.read(lambda tx: rows.of_host(tx, self._host)):
            if worker != self.worker and self._is_killed(worker):
                now_us = self._clock.now_us()
                await self._store.write(lambda tx, dead=worker, at=now_us: rows.bury(tx, dead, at))  # type: ignore[misc]
                _remove(self._path(worker))

    def _is_killed(self, worker: int) -> bool:
        """Whether the lock file is there and nobody holds it. A process that has not made it yet counts as alive, and so does
        one whose file tells nothing: the end of its lease will."""
        try:
            handle = os.open(self._path(worker), os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(handle)
        return True

    async def _keep(self) -> None:
        usual_s = wait_s = self._lease_us / 1e6 / 4
        while True:
            await asyncio.sleep(wait_s)
            wait_s = usual_s / 4  # when it fails
            try:
                await self._beat()
                wait_s = usual_s
            except Unavailable as error:
                log.warning("lease not prolonged: %s", error)
            except Exception:  # nobody else would prolong it ever again
                log.exception("lease not prolonged")

    async def recount(self) -> None:
        """Learn now, and not at the next beat, how many nodes share how many lanes. Raises Unavailable."""
        now_us = self._clock.now_us()
        self._counted(await self._store.read(lambda tx: rows.share(tx, now_us)), now_us)

    def _counted(self, share: tuple[int, int], now_us: int) -> None:
        self.nodes, self.lanes, self.counted_us = max(1, share[0]), share[1], now_us

    async def _beat(self) -> None:
        async with self._in_turn:
            worker, now_us = self.worker, self._clock.now_us()
            until_us = now_us + self._lease_us
            kept, dead = await self._store.write(lambda tx: _prolong(tx, worker, now_us, until_us))
            if kept:
                self._until = until_us
                if self._lock < 0:
                    self._make_lock()
            else:
                log.warning("the lease of worker %d had ended; going on as a new one", worker)
                await self._register()
        if dead and (self._burying is None or self._burying.done()):
            self._burying = asyncio.get_running_loop().create_task(self._bury(dead))
        await self.recount()

    async def _bury(self, dead: Sequence[int]) -> None:
        """Beside the beat: it may wait for a transaction of a node that stands still. What fails the next beat tries again."""
        for each in dead:
            now_us = self._clock.now_us()
            try:
                await self._store.write(lambda tx, each=each, at=now_us: rows.bury_dead(tx, each, at))  # type: ignore[misc]
            except Unavailable as error:
                log.warning("worker %d not buried: %s", each, error)
            except Exception:  # the others shall be
                log.exception("worker %d not buried", each)


async def _prolong(tx: Tx, worker: int, now_us: int, until_us: int) -> tuple[bool, list[int]]:
    """False when the lease of `worker` had ended; and the others whose lease has."""
    return await rows.keep(tx, worker, until_us), [dead for dead in await rows.dead(tx, now_us) if dead != worker]


def _remove(path: Path) -> None:
    """A lock file that stays does no harm: its worker is buried, or nobody looks at a draft."""
    with contextlib.suppress(OSError):
        path.unlink()
