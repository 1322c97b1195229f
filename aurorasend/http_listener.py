"""Takes the connections of clients, as many in each worker as in any other.

Called by app. The workers of a node listen on one socket, and a client keeps its connection for long: who happened to be idle
when it came would often have nearly all, and then work alone. So who has more connections than another waits a moment
before it takes a further one, in which the other can.
"""

import asyncio
import contextlib
import logging
import mmap
import socket
from collections.abc import Callable, Iterator
from functools import partial

import uvicorn

log = logging.getLogger(__name__)

MOMENT_S = 0.001
AT_ONCE = 16  # connections taken before requests have their turn
EXHAUSTED_S = 0.1  # when no file or memory is left for a connection, it waits for so long
ABSENT = 2**32 - 1  # of a worker that takes none


class Occupancy:
    """The connections that each worker has, in memory that a parent shares with the workers that it forks."""

    def __init__(self, workers: int) -> None:
        self._numbers = memoryview(mmap.mmap(-1, 4 * workers)).cast("I")
        self._worker = 0
        self._own = 0
        for worker in range(workers):
            self.leave(worker)

    def be(self, worker: int) -> None:
        """This process is `worker`, from 0."""
        self._worker = worker

    def enter(self) -> None:
        """This worker takes connections from now on."""
        self._numbers[self._worker] = self._own

    def leave(self, worker: int | None = None) -> None:
        """This worker, or another one, takes none any more."""
        self._numbers[self._worker if worker is None else worker] = ABSENT

    def change(self, by: int) -> None:
        self._own += by
        if self._numbers[self._worker] != ABSENT:
            self._numbers[self._worker] = self._own

    def is_fuller(self, coming: int = 0) -> bool:
        """Whether this worker has more connections than another, with `coming` ones that are not counted yet."""
        others = (number for worker, number in enumerate(self._numbers) if worker != self._worker)
        return self._own + coming > min(others, default=ABSENT)


class Listening(uvicorn.Server):
    """A uvicorn server that takes its connections through a Door, and leaves signals to us. `connection` makes their
    protocol, of (config, server_state, app_state, occupancy) by name."""

    def __init__(self, config: uvicorn.Config, connection: Callable[..., asyncio.Protocol], occupancy: Occupancy) -> None:
        super().__init__(config)
        self._new_connection = connection
        self._occupancy = occupancy
        self.doors: list[Door] = []

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        connection = partial(
            self._new_connection,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            occupancy=self._occupancy,
        )
        self._occupancy.enter()
        self.doors = [Door(one, connection, self._occupancy) for one in sockets or ()]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._occupancy.leave()
        for door in self.doors:
            await door.close()
        await super().shutdown(sockets)


class Door:
    """Takes the connections of a listening socket, from now until `close`."""

    def __init__(self, listening: socket.socket, connection: Callable[[], asyncio.Protocol], occupancy: Occupancy) -> None:
        listening.setblocking(False)
        self._listening = listening
        self._connection = connection
        self._occupancy = occupancy
        self._loop = asyncio.get_running_loop()
        self._coming: set[asyncio.Task[None]] = set()  # taken, and not yet with their protocol
        self._pause: asyncio.TimerHandle | None = None
        self._is_short = False  # of files or memory
        self._open()

    async def close(self) -> None:
        """What waits to be taken is left to other workers. The socket stays open."""
        self._loop.remove_reader(self._listening)
        if self._pause is not None:
            self._pause.cancel()
        await asyncio.gather(*self._coming)

    def _open(self) -> bool:
        """False when there is no memory to be told of connections; then it tries again."""
        try:
            self._loop.add_reader(self._listening, self._knock)
        except OSError as error:
            self._run_short(error)
            return False
        return True

    def _knock(self) -> None:
        """There is a connection, or was a moment ago."""
        for _ in range(AT_ONCE):
            if self._occupancy.is_fuller(len(self._coming)):
                self._rest(MOMENT_S, self._take_left)
                return
            if not self._take():
                return

    def _run_short(self, error: OSError) -> None:
        if not self._is_short:
            log.warning("no connection can be taken: %s", error)
        self._is_short = True
        self._rest(EXHAUSTED_S, self._open)

    def _rest(self, for_s: float, then: Callable[[], object]) -> None:
        self._loop.remove_reader(self._listening)
        self._pause = self._loop.call_later(for_s, then)

    def _take_left(self) -> None:
        """What no other worker has taken."""
        if self._open():
            self._take()

    def _take(self) -> bool:
        """False when there is none, or nothing to take it with."""
        try:
            taken, _ = self._listening.accept()
        except (BlockingIOError, ConnectionError):
            return False  # another worker was faster, or the client has gone
        except OSError as error:
            self._run_short(error)
            return False
        self._is_short = False
        coming = self._loop.create_task(self._connect(taken))
        self._coming.add(coming)
        coming.add_done_callback(self._coming.discard)
        return True

    async def _connect(self, taken: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._connection, taken)
        except OSError as error:
            log.debug("a connection is gone: %s", error)
            taken.close()
        except Exception:
            log.exception("a connection could not be taken")
            taken.close()
