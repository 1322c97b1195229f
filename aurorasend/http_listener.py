"""Takes the connections of clients, as many in each worker as in any other.

Called by app. The workers of a node listen on one socket, and a client keeps its connection for long: whoever is first at
it would often take nearly all, and then work alone. So who has more connections than another waits a moment before it
takes a further one, in which the other can.
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
EXHAUSTED_S = 0.1  # no file or memory is left for a connection: it waits for so long
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

    def is_fuller(self) -> bool:
        """Whether this worker has more connections than another."""
        return self._numbers[self._worker] > min(self._numbers)


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
    """Takes one connection at a time from a listening socket, from now until `close`."""

    def __init__(self, listening: socket.socket, connection: Callable[[], asyncio.Protocol], occupancy: Occupancy) -> None:
        listening.setblocking(False)
        self._listening = listening
        self._connection = connection
        self._occupancy = occupancy
        self._loop = asyncio.get_running_loop()
        self._taking = self._loop.create_task(self._take_all())

    async def close(self) -> None:
        """What waits to be taken is left to other workers. The socket stays open."""
        self._loop.remove_reader(self._listening)
        self._taking.cancel()
        await asyncio.gather(self._taking, return_exceptions=True)

    async def _take_all(self) -> None:
        while True:
            await self._knocked()
            if self._occupancy.is_fuller():
                await asyncio.sleep(MOMENT_S)
            try:
                await self._take()
            except (BlockingIOError, ConnectionError):
                continue  # another worker was faster, or the client has gone
            except OSError as error:
                log.warning("no connection can be taken: %s", error)
                await asyncio.sleep(EXHAUSTED_S)
            except Exception:  # nobody else would take any more
                log.exception("a connection could not be taken")

    async def _take(self) -> None:
        taken, _ = self._listening.accept()
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.shield(self._loop.connect_accepted_socket(self._connection, taken))

    async def _knocked(self) -> None:
        """Until there is a connection."""
        knocked = self._loop.create_future()

        def knock() -> None:
            self._loop.remove_reader(self._listening)
            if not knocked.done():
                knocked.set_result(None)

        self._loop.add_reader(self._listening, knock)
        await knocked
