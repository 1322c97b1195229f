"""What a message looks like when it leaves, and how long replies are waited for."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from aurorasend.smtp_wire import Wire, wire_form

message_octets = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"\r\n.\r\n", b"\n.\n", b"\n.\r\n", b"\r.\r"]), max_size=30
).map(b"".join)
Run = Callable[[Coroutine[Any, Any, None]], None]
on_both_loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


@given(message_octets)
def test_no_bare_line_end_leaves_and_only_the_last_dot_stands_alone(message: bytes) -> None:
    got = wire_form(message)
    assert re.search(rb"\r(?!\n)|(?<!\r)\n", got) is None
    assert got.endswith(b".\r\n")
    assert (b"\r\n" + got).find(b"\r\n.\r\n") == len(got) - 3
    lines = got[:-3].split(b"\r\n")
    plain = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)
    expected = re.sub(rb"\r\n|\r|\n", b"\r\n", message)
    assert plain == (expected if not expected or expected.endswith(b"\r\n") else expected + b"\r\n")


def test_a_clean_message_is_sent_as_it_is() -> None:
    assert wire_form(b"Subject: hello\r\n\r\nHello\r\n") == b"Subject: hello\r\n\r\nHello\r\n.\r\n"
    assert wire_form([b"a\r", b"\nb\r\n"]) == b"a\r\nb\r\n.\r\n"


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Wire, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A greeted wire, and its peer."""
    peers: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append((reader, writer))
        writer.write(b"220 hi\r\n")

    async with asyncio.timeout(10):
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        _, wire = await asyncio.get_running_loop().create_connection(Wire, *server.sockets[0].getsockname()[:2])
        assert [reply.code for reply in await wire.replies(1, 5)] == [220]
        reader, writer = peers[0]
        yield wire, reader, writer
        wire.end("over")
        writer.close()
        server.close()


@on_both_loops
def test_who_comes_behind_one_whose_time_is_over_gets_nothing(run: Run) -> None:
    async def main() -> None:
        async with connected() as (wire, _, _):
            wire.write(b"A\r\nB\r\n", 2)
            ahead, behind = asyncio.create_task(wire.replies(1, 0.0)), asyncio.create_task(wire.replies_behind(1, 5, 5))
            assert (await ahead, await behind, wire.late, wire.deserted) == ([], [], True, False)

    run(main())


@on_both_loops
def test_who_is_ahead_keeps_its_own_time_when_who_is_behind_deserts(run: Run) -> None:
    async def main() -> None:
        async with connected() as (wire, _, _):
            wire.write(b"A\r\nB\r\n", 2)
            ahead, behind = asyncio.create_task(wire.replies(1, 0.3)), asyncio.create_task(wire.replies_behind(1, 5, 0.05))
            assert (await behind, wire.deserted, wire.lost, ahead.done()) == ([], True, "", False)
            assert (await ahead, wire.lost, wire.late) == ([], "no reply in time", True)

    run(main())


@on_both_loops
def test_who_was_behind_has_its_own_time_once_it_is_first(run: Run) -> None:
    async def main() -> None:
        async with connected() as (wire, _, peer):
            wire.write(b"A\r\nB\r\n", 2)
            ahead, behind = asyncio.create_task(wire.replies(1, 5)), asyncio.create_task(wire.replies_behind(1, 5, 0.1))
            await asyncio.sleep(0.02)
            peer.write(b"250 a\r\n")
            assert [reply.text for reply in await ahead] == ["a"]
            await asyncio.sleep(0.2)
            assert (behind.done(), wire.deserted) == (False, False)
            peer.write(b"250 b\r\n")
            assert [reply.text for reply in await behind] == ["b"]

    run(main())


@on_both_loops
def test_a_message_that_is_taken_too_slowly_in_all_never_has_its_end(run: Run) -> None:
    """However steadily the peer reads: of what never ended it is certain that it was not taken."""

    async def main() -> None:
        octets, read = (b"x" * 70 + b"\r\n") * 400_000 + b".\r\n", 0
        async with connected() as (wire, reader, _):
            until = asyncio.get_running_loop().time() + 0.3
            writing = asyncio.create_task(wire.write_message(octets, 5, until))
            while some := await reader.read(256 * 1024):
                read += len(some)
                await asyncio.sleep(0.01)
            assert (await writing, wire.late, read < len(octets)) == (False, True, True)

    run(main())
