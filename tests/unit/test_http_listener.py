"""Connections are spread evenly over the workers that share a listening socket, and none is left standing."""

import asyncio
import copy
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import pytest

from aurorasend.http_listener import ABSENT, EXHAUSTED_S, Door, Occupancy

MANY = 40


class Worker(asyncio.Protocol):
    """What a worker of the node has for a connection: it counts itself, and says whose it is."""

    def __init__(self, number: int, occupancy: Occupancy) -> None:
        self._number = number
        self._occupancy = occupancy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._occupancy.change(+1)
        cast(asyncio.Transport, transport).write(b"%d" % self._number)  # uvloop's own class

    def connection_lost(self, exc: Exception | None) -> None:
        self._occupancy.change(-1)


def copied(listening: socket.socket) -> socket.socket:
    """Of the same class, as `dup` is not."""
    return type(listening)(fileno=os.dup(listening.fileno()))


class Tired(socket.socket):
    """A listening socket of a process that has no file left, at first."""

    refusals = 2

    def accept(self) -> tuple[socket.socket, object]:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


class Watching:
    """Stands for `add_reader` of the running loop, for which the system has no memory in the calls marked `x`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fates: str) -> None:
        loop = asyncio.get_running_loop()
        self._given = loop.add_reader
        self.left = fates
        monkeypatch.setattr(loop, "add_reader", self)

    def __call__(self, *args: Any) -> None:
        fate, self.left = self.left[:1], self.left[1:]
        if fate == "x":
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        self._given(*args)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        yield bound


@asynccontextmanager
async def workers(listening: socket.socket, count: int) -> AsyncIterator[list[tuple[Occupancy, Callable[[], Door]]]]:
    """As if each were a process: its own idea of who it is and its own file of the socket, one memory. They open their doors
    when asked."""
    shared = Occupancy(count)
    found: list[tuple[Occupancy, Callable[[], Door]]] = []
    async with AsyncExitStack() as doors:
        for number in range(count):
            mine = copy.copy(shared)
            mine.be(number)

            own = doors.enter_context(copied(listening))

            def open_door(number: int = number, mine: Occupancy = mine, own: socket.socket = own) -> Door:
                mine.enter()
                door = Door(own, lambda: Worker(number, mine), mine)
                doors.push_async_callback(door.close)
                return door

            found.append((mine, open_door))
        yield found


async def whose(listening: socket.socket, kept: list[asyncio.StreamWriter]) -> int:
    """The number of the worker that takes a new connection, which is kept open."""
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        kept.append(writer)
        return int(await reader.readexactly(1))


@pytest.mark.parametrize("at_once", [True, False])
async def test_connections_are_spread_evenly(listening: socket.socket, at_once: bool) -> None:
    kept: list[asyncio.StreamWriter] = []
    async with workers(listening, 2) as both:
        for _, open_door in both:
            open_door()
        if at_once:
            taken = await asyncio.gather(*(whose(listening, kept) for _ in range(MANY)))
        else:
            taken = [await whose(listening, kept) for _ in range(MANY)]
        assert abs(taken.count(0) - taken.count(1)) <= MANY // 4
        for writer in kept:
            writer.close()


async def test_who_lost_its_connections_gets_the_next_ones(listening: socket.socket) -> None:
    kept: list[asyncio.StreamWriter] = []
    async with workers(listening, 2) as both:
        for _, open_door in both:
            open_door()
        taken = [await whose(listening, kept) for _ in range(MANY)]
        for writer, number in zip(kept, taken, strict=True):
            if number == 0:
                writer.close()
        while not both[1][0].is_fuller():  # noqa: ASYNC110 what the doors see
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        further = [await whose(listening, kept) for _ in range(MANY // 2)]
        assert further.count(0) > MANY * 3 // 8  # who is just taking one may be too late for the next
        for writer in kept:
            writer.close()


async def test_a_worker_that_stands_still_or_is_not_there_holds_up_nobody(listening: socket.socket) -> None:
    kept: list[asyncio.StreamWriter] = []
    async with workers(listening, 3) as three:
        three[0][1]()
        three[1][0].enter()  # counts as there, and takes none
        assert [await whose(listening, kept) for _ in range(MANY)] == [0] * MANY
        three[1][0].leave()
        assert not three[0][0].is_fuller()
        for writer in kept:
            writer.close()


async def test_what_waits_when_a_door_is_closed_is_taken_by_another(listening: socket.socket) -> None:
    kept: list[asyncio.StreamWriter] = []
    async with workers(listening, 2) as both:
        await both[0][1]().close()
        both[0][0].leave()
        waiting = asyncio.create_task(whose(listening, kept))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        both[1][1]()
        assert await waiting == 1
        kept[0].close()


@pytest.mark.parametrize("fates", ["", ".xx"], ids=["files", "then memory to watch the socket"])
async def test_connections_go_on_after_files_were_short(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fates: str
) -> None:
    kept: list[asyncio.StreamWriter] = []
    watching = Watching(monkeypatch, fates)
    with Tired(socket.AF_INET) as tired:
        tired.bind(("127.0.0.1", 0))
        tired.listen()
        async with workers(tired, 1) as one:
            one[0][1]()
            assert await whose(tired, kept) == 0
            assert not watching.left
            assert caplog.text.count("no connection can be taken: [Errno 24]") == 1
            assert caplog.text.count("no connection can be taken") == 1  # it is one lack
            kept[0].close()


@pytest.mark.parametrize("fates", ["xx", ".xx"], ids=["at the start", "after a moment for another worker"])
async def test_who_has_no_memory_to_watch_its_socket_tries_again(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fates: str
) -> None:
    kept: list[asyncio.StreamWriter] = []
    watching = Watching(monkeypatch, fates)
    async with workers(listening, 2) as both:
        both[0][1]()
        both[1][0].enter()  # has fewer, and takes none
        assert [await whose(listening, kept) for _ in range(3)] == [0, 0, 0]
        assert not watching.left
        assert caplog.text.count("no connection can be taken: [Errno 12]") == 1
        for writer in kept:
            writer.close()


async def test_a_closed_door_does_not_try_again(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Watching(monkeypatch, "x" * 1000)
    async with workers(listening, 1) as one:
        await one[0][1]().close()
        left = watching.left
        await asyncio.sleep(3 * EXHAUSTED_S)
        assert watching.left == left != ""


def test_the_number_of_a_worker_that_leaves_counts_for_nobody() -> None:
    occupancy = Occupancy(2)
    occupancy.be(1)
    occupancy.change(+3)  # it has not entered: nobody waits for it
    assert not occupancy.is_fuller() and min(occupancy._numbers) == ABSENT
    occupancy.enter()
    assert list(occupancy._numbers) == [ABSENT, 3]
    other = copy.copy(occupancy)
    other.be(0)
    other._own = 0
    other.enter()
    assert occupancy.is_fuller() and not other.is_fuller()
    occupancy.leave(0)  # as the parent does when it has died
    assert not occupancy.is_fuller()
