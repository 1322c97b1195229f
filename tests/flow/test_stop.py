"""docs/flow.md: the process ends."""

import asyncio
import functools
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest

from aurorasend import app
from aurorasend.mx import Hop
from aurorasend.smtp_client import Timeouts
from tests.cluster.server import Node
from tests.running import Place, Served, serving
from tests.scripted_peer import playing

# What is said in place of the second arrows does not matter.
TAKEN = """
    <- 220 hi
    -> EHLO
    <- 250 peer
    -> MAIL
    <- 250 ok
    -> RCPT
    <- 250 ok
    -> DATA
    <- 354 go on
    ...
"""
HELD = f"{TAKEN}hold\n<- 250 taken\n-> QUIT\n<- 221 bye"


def settings(place: Place, hop: Hop, **more: str) -> dict[str, str]:
    """One mail at a time to this hop."""
    route = {"delivery.route": f"smtp://{hop.address}:{hop.port}", "delivery.concurrency": "1", "delivery.shards": "1"}
    return {"store.url": place.url, **route, **{f"node.{name}": value for name, value in more.items()}}


async def waiting(node: Served) -> list[bool]:
    """Of each entry whether it is due now and nobody's."""
    now_us = node.clock.now_us()
    return [lease == 0 and due <= now_us for lease, due in await node.rows("SELECT lease, due FROM work")]


class Talk:
    """A connection to a node, on which one request was answered."""

    @classmethod
    async def begin(cls, port: int) -> "Talk":
        talk = cls()
        talk.reader, talk.writer = await asyncio.open_connection("127.0.0.1", port)
        talk.writer.write(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await talk.answer()).startswith(b"HTTP/1.1 404")
        return talk

    async def answer(self) -> bytes:
        """Up to the end of its envelope."""
        return await asyncio.wait_for(self.reader.readuntil(b"}}"), 10)

    def post_half(self, fields: dict[str, str]) -> bytes:
        """Half of a mail; the rest of its request."""
        body = urlencode(fields).encode()
        head = f"POST /mail/send HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        self.writer.write(f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode() + body[:20])
        return body[20:]


async def refuses(port: int) -> bool:
    try:
        (await asyncio.open_connection("127.0.0.1", port))[1].close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("workers", [1, 2])
async def test_f44_a_stop_takes_no_more_finishes_and_gives_back(place: Place, workers: int) -> None:
    """One mail is under way, two wait behind it, and half of a request was read."""
    api = ("node.roles=api", "delivery.shards=1")
    async with playing(HELD) as (peer, hop), serving(place.data, *api, url=place.url) as node:
        stopping = Node(place.data, settings(place, hop), workers=workers)
        stopping.start()
        try:
            await stopping.ready()
            await node.accepted(to=";".join(f"a{n}@example.net" for n in range(3)))
            await asyncio.wait_for(peer.holds.wait(), 10)
            idle, busy = [await Talk.begin(stopping.port) for _ in range(2)]
            rest = busy.post_half(node.mail(to="late@example.net"))
            ending = asyncio.create_task(stopping.stop())
            await node.until(lambda: refuses(stopping.port))
            assert await asyncio.wait_for(idle.reader.read(), 10) == b""
            assert stopping.lives and set((await node.recipients()).values()) == {(0, 0, 0)}
            busy.writer.write(rest)
            assert b'"statusCode":200' in await busy.answer()
            assert stopping.lives
            peer.go.set()
            assert await ending == 0
            assert sorted((await node.recipients()).values()) == [(0, 0, 0)] * 3 + [(1, 0, 1)]
            assert await waiting(node) == [True] * 3
            assert not [wrong for wrong in peer.wrong if "QUIT" in wrong]  # it was given no second mail
        finally:
            stopping.kill()


async def test_f44_a_stop_does_not_wait_longer_than_its_deadline(place: Place) -> None:
    """For a peer that does not answer the final dot, and a client that sends half a request. The next process tries again
    at once."""
    async with playing(HELD) as (peer, hop):
        stopping = Node(place.data, settings(place, hop, stop_deadline="1s"))
        stopping.start()
        try:
            await stopping.ready()
            async with serving(place.data, "node.roles=api", url=place.url) as node:
                await node.accepted()
                await asyncio.wait_for(peer.holds.wait(), 10)
                client = await Talk.begin(stopping.port)
                client.post_half(node.mail())
                began = time.monotonic()
                assert await stopping.stop() == 0
                assert 1 <= time.monotonic() - began < 10  # the peer has ten minutes, and a stop has 30 s if nobody says less
                assert await node.recipients() == {"ann@example.net": (0, 0, 0)}
                assert await waiting(node) == [True]
        finally:
            stopping.kill()
        peer.go.set()
        async with serving(place.data, f"delivery.route=smtp://{hop.address}:{hop.port}", url=place.url) as node:
            await node.settled()
            assert await node.recipients() == {"ann@example.net": (1, 0, 2)}


async def test_f44_what_is_given_back_does_not_wait_for_the_answers_to_quit(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "Timeouts", functools.partial(Timeouts, quit_s=60))
    async with playing(f"{TAKEN}<- 250 taken\n-> QUIT\n-> nothing") as (peer, hop), asyncio.timeout(20):
        async with serving(data, f"delivery.route=smtp://{hop.address}:{hop.port}", stop_s=1.0) as node:
            await node.accepted()
            await node.settled()
        await peer.done.wait()
        assert "at -> nothing" in peer.wrong[-1] and not [wrong for wrong in peer.wrong if "instead of QUIT" in wrong]
