"""This process as a node: its worker number, the lease that keeps its work its own, and the burial of dead nodes.

Called by app and dispatch. Calls store. A node is alive as long as it prolongs its lease. A node that did not is
buried by whoever notices: all that it had leased is due again (design invariant 2). On one machine a lock file, which
the kernel frees when a process dies, tells at once.
"""

import asyncio
import fcntl
import logging
import os
import socket
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
        self._lock = -1
        self._until = 0
        self._keeper: asyncio.Task[None] | None = None
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
        worker, now_us = self.worker, self._clock.now_us()
        await self._store.write(lambda tx: rows.bury(tx, worker, now_us))
        await self._register()
        self._path(worker).unlink(missing_ok=True)

    async def leave(self) -> None:
        """Give everything back."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        worker, now_us = self.worker, self._clock.now_us()
        try:
            await self._store.write(lambda tx: rows.bury(tx, worker, now_us))
        except Unavailable as error:
            log.warning("no farewell, the lease will end by itself: %s", error)
        self._path(worker).unlink(missing_ok=True)
        self._unlock()

    def _unlock(self) -> None:
        """Once: by then the number of the file may be that of another one."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _path(self, worker: int) -> Path:
        return self._folder / f"{worker}.lock"

    async def _register(self) -> None:
        now_us = self._clock.now_us()
        until_us = now_us + self._lease_us
        self.worker = await self._store.write(lambda tx: rows.add(tx, self._host, self._delivers, now_us, until_us))
        self._unlock()
        draft = self._path(self.worker).with_suffix(".new")
        self._lock = os.open(draft, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(self._path(self.worker))  # held before anybody can look: else we would count as killed
        self._until = until_us

    async def _bury_killed(self) -> None:
        for worker in await self._store.read(lambda tx: rows.of_host(tx, self._host)):
            if worker != self.worker and self._is_killed(worker):
                now_us = self._clock.now_us()
                await self._store.write(lambda tx, dead=worker, at=now_us: rows.bury(tx, dead, at))  # type: ignore[misc]
                self._path(worker).unlink(missing_ok=True)

    def _is_killed(self, worker: int) -> bool:
        """Whether the lock file is there and nobody holds it. A process that has not made it yet counts as alive."""
        try:
            handle = os.open(self._path(worker), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
        return True

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._lease_us / 1e6 / 4)
            try:
                await self._beat()
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
        now_us = self._clock.now_us()
        until_us = now_us + self._lease_us
        worker = self.worker

        async def unit(tx: Tx) -> tuple[bool, tuple[int, int]]:
            kept = await rows.keep(tx, worker, until_us)
            for dead in await rows.dead(tx, now_us):
                if dead != worker:
                    await rows.bury(tx, dead, now_us)
            return kept, await rows.share(tx, now_us)

        kept, share = await self._store.write(unit)
        self._counted(share, now_us)
        if kept:
            self._until = until_us
        else:
            log.warning("the lease of worker %d had ended; going on as a new one", worker)
            await self._register()
