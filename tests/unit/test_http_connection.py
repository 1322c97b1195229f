"""A head that never ends, or is too large, ends the connection; slow bodies are http.py's matter. Calls of the API, which go
past ASGI, and pages share a connection."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from aurorasend.clock import SystemClock
from aurorasend.config import Settings
from aurorasend.endpoint import Auth, Call, Catalogue, Info, Server, changed, endpoint
from aurorasend.http import Budget, HttpApp
from aurorasend.http_connection import Connection
from aurorasend.http_listener import Listening, Occupancy

LARGE = 20_000_000  # bytes: more than all buffers on the way take


class Hasty(Connection):
    head_s = 0.3
    head_bytes = 2000
    read_s = 0.3


@dataclass(frozen=True, kw_only=True)
class Nothing:
    pass


@endpoint("wait/long", auth=Auth.NONE)
async def wait(call: Call[None], p: Nothing) -> Info:
    await asyncio.sleep(0.2)
    return changed(int(call.raw.text("n")))


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
async def served(bound: socket.socket) -> AsyncIterator[Listening]:
    app = HttpApp(
        Server(SimpleNamespace(settings=Settings(Path()), clock=SystemClock()), Catalogue((wait,))),  # type: ignore[arg-type]
        region="sg",
        pages=[
            Route("/", lambda request: PlainTextResponse("ok")),
            Route("/large", lambda request: PlainTextResponse("x" * LARGE)),
        ],
    )
    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, loop="none", proxy_headers=False)
    server = Listening(config, Hasty, Occupancy(1))
    serving = asyncio.create_task(server.serve([bound]))
    while not server.started:  # noqa: ASYNC110 uvicorn offers nothing to wait for
        await asyncio.sleep(0.01)
    yield server
    server.should_exit = True
    await serving


@pytest.fixture
def port(served: Listening, bound: socket.socket) -> int:
    number: int = bound.getsockname()[1]
    return number


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """Until the end, or until the server has closed while we were still writing, which resets the connection."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(1 << 16):
            got += piece
    return got


async def talk(port: int, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(read_all(reader))
    for piece in pieces:
        if reading.done():
            break
        writer.write(piece)
        await asyncio.sleep(pause_s)
    async with asyncio.timeout(5):
        answer = await reading
    writer.close()
    return answer


REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def test_a_request_in_time_is_answered(port: int) -> None:
    assert (await talk(port, LAST[:10], LAST[10:], pause_s=0.05)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("head", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-A:"])
async def test_a_head_that_does_not_end_is_timed_out(port: int, head: bytes) -> None:
    assert (await talk(port, head)).startswith(b"HTTP/1.1 408")


async def test_a_second_head_has_its_own_time(port: int) -> None:
    answer = await talk(port, REQUEST, b"GET / HTTP", pause_s=0.2)
    assert answer.startswith(b"HTTP/1.1 200") and b"HTTP/1.1 408" in answer


async def test_drops_that_come_in_time_each_do_not_prolong_it(port: int) -> None:
    async with asyncio.timeout(5):
        answer = await talk(port, b"GET / HTTP/1.1\r\n", *[b"X: y\r\n"] * 200, pause_s=0.06)
    assert b" 408 " in answer or not answer  # a drop that comes just as the connection ends takes the answer along


@pytest.mark.parametrize("piece", [b"X-A: " + b"a" * 100 + b"\r\n", b"a" * 100])
async def test_a_head_that_is_too_large_is_refused(port: int, piece: bytes) -> None:
    assert b" 431 " in await talk(port, b"GET / HTTP/1.1\r\nX-B: " + piece * 40)


CHUNKED = b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nn=1\r\n0\r\n"


@pytest.mark.parametrize("path", [b"/wait/long", b"/nowhere"])
@pytest.mark.parametrize("piece", [b"X: y\r\n", b"a" * 100])
async def test_fields_without_end_after_a_body_are_refused(port: int, path: bytes, piece: bytes) -> None:
    async with asyncio.timeout(5):
        await talk(port, CHUNKED % path + b"X: ", *[piece] * 2000, pause_s=0.0001)


async def test_a_body_in_tiny_chunks_is_no_head(port: int) -> None:
    head = b"POST /wait/long HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await talk(port, head + b"4\r\nn=1&\r\n", *[b"1\r\na\r\n"] * 1000, b"0\r\nX: y\r\n\r\n", pause_s=0.0001)
    assert b'"count":1' in answer


@pytest.mark.parametrize("drop", [b"\r\n", b"a"])
async def test_what_comes_after_an_answer_holds_no_connection(port: int, drop: bytes) -> None:
    request = REQUEST if drop == b"\r\n" else b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n"
    assert (await talk(port, request, *[drop] * 8, pause_s=0.1)).startswith(b"HTTP/1.1 ")


async def test_a_wrong_method_after_a_call_is_answered_in_the_envelope(port: int) -> None:
    answer = await talk(port, call(1), b"FROB /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", pause_s=0.25)
    assert b"HTTP/1.1 404 " in answer and b'"statusCode":404' in answer


async def test_a_connection_between_requests_is_not_cut_by_the_head_limit(port: int) -> None:
    answer = await talk(port, REQUEST, LAST, pause_s=0.5)
    assert answer.count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize("reads", [True, False])
async def test_who_does_not_read_the_answer_is_left(port: int, *, reads: bool) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await asyncio.sleep(0 if reads else 1.0)
    got = 0
    with contextlib.suppress(ConnectionError):
        while piece := await asyncio.wait_for(reader.read(1 << 20), 5):
            got += len(piece)
    assert (got > LARGE) is reads
    writer.close()


def call(n: int, *fields: str, version: str = "1.1") -> bytes:
    head = [f"POST /wait/long HTTP/{version}", "Host: x", "Content-Length: 3", *fields]
    return ("\r\n".join(head) + f"\r\n\r\nn={n}").encode()


def order(answer: bytes, *pieces: bytes) -> list[bytes]:
    return sorted(pieces, key=lambda piece: answer.index(piece))


async def test_calls_and_pages_sent_at_once_are_answered_in_their_order(port: int) -> None:
    expected = [b'"count":1', b'"count":2', b"\r\nok", b'"count":3']
    answer = await talk(port, call(1) + call(2) + REQUEST + call(3, "Connection: close"))
    assert answer.count(b"HTTP/1.1 200 OK") == 4
    assert order(answer, *reversed(expected)) == expected
    assert answer.count(b"connection: close") == 1


async def test_an_address_in_raw_utf8_is_read_and_what_follows_it_left_alone(port: int) -> None:
    get = "GET /wait/long?n=３ HTTP/1.1\r\nHost: x\r\nX-A: ä\r\n\r\n".encode()
    post = "POST /wait/long HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 8\r\n\r\nn=４４".encode()
    answer = await talk(port, get, get, post[:-3], post[-3:-1], post[-1:], pause_s=0.25)
    assert answer.count(b'"count":3') == 2 and answer.count(b'"count":44') == 1


async def test_a_body_after_the_offer_of_another_protocol_is_read(port: int) -> None:
    """As Java's HttpClient begins each connection over plain HTTP."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAA")
    first, last = call(1, *offer), call(3, "upgrade: h2c", "Connection: close, upgrade")
    answer = await talk(port, first[:-3], first[-3:], call(2), last, pause_s=0.25)
    expected = [b'"count":1', b'"count":2', b'"count":3']
    assert order(answer, *reversed(expected)) == expected


async def test_an_answer_to_a_call_has_the_date(port: int) -> None:
    assert b"\r\ndate: " in await talk(port, call(1, "Connection: close"))


async def test_http_1_0_ends_after_a_call(port: int) -> None:
    answer = await talk(port, call(1, version="1.0"))
    assert b'"count":1' in answer and b"connection: close" in answer


async def test_a_body_that_waits_for_100_continue_gets_it(port: int) -> None:
    whole = call(7, "Expect: 100-continue", "Connection: close")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(whole[:-3])
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(whole[-3:])
        assert b'"count":7' in await reader.read()
    writer.close()


async def test_a_stop_waits_for_the_calls_under_way(served: Listening, port: int) -> None:
    answering = asyncio.create_task(talk(port, call(4)))
    async with asyncio.timeout(5):
        while not served.server_state.tasks:  # noqa: ASYNC110 uvicorn offers nothing to wait for
            await asyncio.sleep(0.01)
    served.should_exit = True
    answer = await answering
    assert b'"count":4' in answer and b"connection: close" in answer


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"FROB /wait/long HTTP/1.1", 405),
        (b"post /wait/long HTTP/1.1", 405),
        (b"FROB /nowhere HTTP/1.1", 404),
        (b"CONNECT example.net:80 HTTP/1.1", 404),
        (b"POST /\xc3\xa4 HTTP/1.1\r\nConnection: close", 404),
    ],
)
async def test_what_the_parser_cannot_take_is_answered_in_the_envelope(port: int, line: bytes, status: int) -> None:
    head, _, body = (await talk(port, line + b"\r\nHost: x\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(body)["statusCode"] == status
    assert (b"allow: GET, POST" in head) == (status == 405)


@pytest.mark.parametrize(
    "head", [b"\x16\x03\x01\x02", b"POST /wait/long HTTP/1.1\r\nHost : x\r\n\r\n", b"POST /wait/long HTTP/9.9\r\n\r\n"]
)
async def test_what_is_no_request_is_refused(port: int, head: bytes) -> None:
    assert (await talk(port, head)).startswith(b"HTTP/1.1 400 ")


async def test_who_gives_up_waiting_lets_the_next_one_pass() -> None:
    budget = Budget(100)
    await budget.take(60)
    large, small = asyncio.create_task(budget.take(90)), asyncio.create_task(budget.take(30))
    await asyncio.sleep(0)
    large.cancel()
    await asyncio.wait_for(small, 5)
    assert budget.free == 10
