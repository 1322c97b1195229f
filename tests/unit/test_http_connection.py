"""A head that never ends, or is too large, ends the connection; slow bodies are http.py's matter."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn

from aurorasend.http_connection import Connection


class Hasty(Connection):
    head_s = 0.3
    head_bytes = 2000


async def hello(scope: dict[str, object], receive: object, send: object) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": b"ok"})  # type: ignore[operator]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = uvicorn.Server(uvicorn.Config(hello, port=0, http=Hasty, ws="none", lifespan="off", log_config=None, loop="none"))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 uvicorn offers nothing to wait for
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def talk(port: int, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(reader.read())
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
    assert b" 408 " in await talk(port, b"GET / HTTP/1.1\r\n", *(b"X: y\r\n" for _ in range(8)), pause_s=0.06)


@pytest.mark.parametrize("piece", [b"X-A: " + b"a" * 100 + b"\r\n", b"a" * 100])
async def test_a_head_that_is_too_large_is_refused(port: int, piece: bytes) -> None:
    assert b" 431 " in await talk(port, b"GET / HTTP/1.1\r\nX-B: " + piece * 40)


async def test_a_connection_between_requests_is_not_cut_by_the_head_limit(port: int) -> None:
    answer = await talk(port, REQUEST, LAST, pause_s=0.5)
    assert answer.count(b"HTTP/1.1 200") == 2
