"""The app of a listener: reads a call within limits, has its endpoint answer, and hands every other path to the pages.

One per listener. Called by http_connection for calls of the API, which are spared the ASGI interface and what it costs,
and by uvicorn for all else. Calls endpoint. Always: no request is held in memory beyond the budget, none longer than the
deadline to arrive; what is answered is an envelope (conventions.md §5.1) with an X-Request-Id, which log lines name too.
Log lines hold no parameter: run uvicorn with `access_log=False`, its own lines show the query string.
"""

import asyncio
import ipaddress
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Router
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from aurorasend.codes import Code
from aurorasend.endpoint import Endpoint, Envelope, Request, Server

log = logging.getLogger(__name__)

MEBIBYTE = 1024 * 1024
CONTENT_TYPE = "application/json;charset=UTF-8"  # conventions.md §5
DRAIN_S = 10.0  # ours: how long a refused body may still arrive, so that its sender comes to read the answer

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Limits:
    body_bytes: int = 32 * MEBIBYTE  # conventions.md §4
    budget_bytes: int = 256 * MEBIBYTE  # ours: bodies in memory at one time, all requests together
    body_s: float = 60.0  # ours: for a body to arrive, and for its place in the budget
    uncounted_bytes: int = 64 * 1024  # what uvicorn keeps of a body unasked: so much needs no place, however full the budget is


class TooLarge(Exception):
    """The body is over the limit: 413."""


class TooSlow(Exception):
    """The body did not arrive in time, or found no place in the budget."""


class Gone(Exception):
    """The client hung up."""


class Budget:
    """Bytes of bodies that may be in memory. Requests that know their size wait in line; one that does not is refused
    when the budget is used up, so that half-read bodies never wait for each other."""

    def __init__(self, limit: int) -> None:
        self.free = limit
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def try_take(self, size: int) -> bool:
        if self._waiting or size > self.free:
            return False
        self.free -= size
        return True

    async def take(self, size: int) -> None:
        if self.try_take(size):
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            self.give_back(0 if turn.cancelled() else size)  # perhaps it was our turn just then; else it is the next one's
            raise

    def give_back(self, size: int) -> None:
        self.free += size
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.cancelled():
                if wanted > self.free:
                    return
                self.free -= wanted
                turn.set_result(None)
            self._waiting.popleft()


@dataclass(frozen=True, slots=True)
class Regions:
    """The region of a request: by its Host where that is known, else the listener's (conventions.md §1)."""

    listener: str
    hosts: Mapping[str, str]

    def of(self, host: str) -> str:
        return self.hosts.get(host.lower().partition(":")[0], self.listener) if self.hosts else self.listener


class HttpApp:
    """One listener. `hosts` maps Host names to regions; `proxies` are the networks whose X-Forwarded-For is believed."""

    def __init__(  # noqa: PLR0913 built once, by name, from settings
        self,
        server: Server,
        *,
        region: str,
        hosts: Mapping[str, str] | None = None,
        pages: Sequence[BaseRoute] = (),
        budget: Budget | None = None,
        limits: Limits | None = None,
        proxies: Sequence[Network] = (),
    ) -> None:
        self._server = server
        self._regions = Regions(region, {name.lower(): where for name, where in (hosts or {}).items()})
        self._limits = limits or Limits()
        self._budget = budget or Budget(self._limits.budget_bytes)
        self._proxies = tuple(proxies)
        self._pages = Router(routes=list(pages), default=self._not_found, redirect_slashes=False)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Whatever `call` leaves."""
        if scope["type"] != "http":
            return
        found = self._server.catalogue.find(scope["path"])
        if found is None:
            await self._page(scope, receive, send)
        elif scope["method"] in found.methods:
            raise RuntimeError("calls come by http_connection.Connection, with no middleware before this app")
        else:
            await _send_error(send, Code.METHOD_NOT_ALLOWED, {"allow": ", ".join(found.methods)})

    async def _page(self, scope: Message, receive: Receive, send: Send) -> None:
        # Where there is an "app", a route raises a wrong method, which else it answers in plain text.
        try:
            await self._pages({**scope, "app": self}, receive, send)
        except HTTPException as wrong:
            if wrong.status_code != Code.METHOD_NOT_ALLOWED.number:
                raise
            await _send_error(send, Code.METHOD_NOT_ALLOWED, {"allow": (wrong.headers or {}).get("Allow", "")})

    async def _not_found(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _send_error(send, Code.NOT_FOUND)

    def call(self, cycle: RequestResponseCycle) -> Coroutine[Any, Any, None] | None:
        """What answers the request of `cycle`; None when it is no call of the API."""
        found = self._server.catalogue.find(cycle.scope["path"])
        return None if found is None or cycle.scope["method"] not in found.methods else self._call(found, cycle)

    def wrong_method(self, method: str, path: str) -> bytes | None:
        """The whole answer to a request that the parser could not take, when a method that nobody knows or a path that
        nobody has explains it."""
        found = self._server.catalogue.find(path)
        if found is not None and method in found.methods:
            return None
        code = Code.NOT_FOUND if found is None else Code.METHOD_NOT_ALLOWED
        more = {} if found is None else {"allow": ", ".join(found.methods)}
        body = _routing_error(code)
        fields = "".join(f"{name}: {value}\r\n" for name, value in _error_fields(body, more).items())
        return STATUS_LINE[code.number] + f"{fields}connection: close\r\n\r\n".encode() + body

    async def _call(self, found: Endpoint, cycle: RequestResponseCycle) -> None:
        request_id, begin, headers = _new_id(), time.perf_counter(), dict(cycle.scope["headers"])
        body = Body(cycle, headers, self._budget, self._limits)
        status, code = 200, Code.SUCCESS
        try:
            request = Request(
                query=cycle.scope["query_string"],
                content_type=headers.get(b"content-type", b"").decode("latin-1"),
                body=await body.read(),
                region=self._regions.of(headers.get(b"host", b"").decode("latin-1")),
                peer=self._peer(cycle.scope["client"], headers),
                request_id=request_id,
            )
            code, answer = await self._server.answer(found, request)
            del request
            body.release()  # who does not read the answer shall not keep the place of others
            await _reply(cycle, status, answer, request_id)
        except TooLarge:
            status, code, cycle.keep_alive = 413, Code.BODY_TOO_LARGE, False
            await _write(cycle, status, _routing_error(code), request_id)
            await body.drain()
            _end(cycle)
        except TooSlow as problem:
            code, cycle.keep_alive = found.unreadable, False
            await _reply(cycle, status, found.envelope.wrap(code, f"{code.message}: {problem}", {}), request_id)
        except Gone:
            log.debug("%s %s: the client hung up", request_id, found.path)
        finally:
            body.release()
            if not cycle.response_complete:
                cycle.transport.close()
        log.debug("%s %s %d %s %.1f ms", request_id, found.path, status, code.name, (time.perf_counter() - begin) * 1e3)

    def _peer(self, client: tuple[str, int] | None, headers: Mapping[bytes, bytes]) -> str:
        """The client's address: the socket's, or what trusted proxies say that they saw (conventions.md §3.4)."""
        peer = client[0] if client else ""
        if not self._proxies:
            return peer
        for hop in reversed(headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")):
            if not self._trusted(peer) or not hop.strip():
                break
            peer = hop.strip()
        return peer

    def _trusted(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)


class Body:
    """The body of one request, read within the limits, holding its share of the budget until released."""

    def __init__(self, cycle: RequestResponseCycle, headers: Mapping[bytes, bytes], budget: Budget, limits: Limits) -> None:
        self._cycle = cycle
        self._budget = budget
        self._limits = limits
        length = headers.get(b"content-length", b"")
        self._length = int(length) if length.isdigit() else None
        self._held = 0
        self._complete = False

    async def read(self) -> bytes:
        """Raises TooLarge, TooSlow, Gone."""
        if self._length is not None and self._length > self._limits.body_bytes:
            raise TooLarge
        cycle = self._cycle
        size = len(cycle.body)
        is_here = not cycle.more_body and not cycle.disconnected  # it came with the head, as most do
        if is_here and size <= self._limits.uncounted_bytes:
            body, cycle.body = bytes(cycle.body), bytearray()
            return body
        try:
            async with asyncio.timeout(self._limits.body_s):
                return await self._whole()
        except TimeoutError as problem:
            raise TooSlow("the request did not arrive in time") from problem

    async def _whole(self) -> bytes:
        if self._length is not None and self._length > self._limits.uncounted_bytes:
            await self._budget.take(self._length)
            self._held = self._length
        chunks: list[bytes] = []
        size = 0
        while not self._complete:
            chunk = await self._next()
            size += len(chunk)
            if size > self._limits.body_bytes:
                raise TooLarge
            self._hold(size)
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _next(self) -> bytes:
        message = await self._cycle.receive()
        if message["type"] != "http.request":
            raise Gone
        self._complete = not message["more_body"]
        return message["body"]

    def _hold(self, size: int) -> None:
        if size <= max(self._held, self._limits.uncounted_bytes):
            return
        if not self._budget.try_take(size - self._held):
            raise TooSlow("the server is busy")
        self._held = size

    async def drain(self) -> None:
        """After the answer: reads on and forgets, so that a client that sends before it reads gets it and no reset connection.
        One that waits for a 100 (Continue) sends nothing."""
        if self._cycle.waiting_for_100_continue:
            return
        left = 2 * self._limits.body_bytes
        try:
            async with asyncio.timeout(DRAIN_S):
                while not self._complete and left > 0:
                    left -= len(await self._next())
        except (TimeoutError, Gone):
            return

    def release(self) -> None:
        self._budget.give_back(self._held)
        self._held = 0


def _new_id() -> str:
    """Unique, and so hard to guess as the log's reader needs: it is no secret."""
    return f"{random.getrandbits(64):016x}"


def _routing_error(code: Code) -> bytes:
    return Envelope.STANDARD.wrap(code, code.message, {})


def _error_fields(body: bytes, more: Mapping[str, str]) -> dict[str, str]:
    return {"content-type": CONTENT_TYPE, "content-length": str(len(body)), "x-request-id": _new_id(), **more}


async def _send_error(send: Send, code: Code, more: Mapping[str, str] | None = None) -> None:
    """By ASGI."""
    body = _routing_error(code)
    encoded = [(name.encode(), value.encode()) for name, value in _error_fields(body, more or {}).items()]
    await send({"type": "http.response.start", "status": code.number, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


async def _reply(cycle: RequestResponseCycle, status: int, body: bytes, request_id: str) -> None:
    """What uvicorn's `send` does, in one write; nothing when the client is gone."""
    await _write(cycle, status, body, request_id)
    _end(cycle)


async def _write(cycle: RequestResponseCycle, status: int, body: bytes, request_id: str) -> None:
    if cycle.flow.write_paused:
        await cycle.flow.drain()
    if cycle.disconnected:
        return
    head = [STATUS_LINE[status]]
    for name, value in cycle.default_headers:
        head += (name, b": ", value, b"\r\n")
    close = "" if cycle.keep_alive else "connection: close\r\n"
    ours = f"content-type: {CONTENT_TYPE}\r\ncontent-length: {len(body)}\r\nx-request-id: {request_id}\r\n{close}\r\n"
    cycle.transport.write(b"".join((*head, ours.encode(), body)))


def _end(cycle: RequestResponseCycle) -> None:
    if cycle.disconnected:
        return
    cycle.response_complete = True
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
