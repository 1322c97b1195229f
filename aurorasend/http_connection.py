"""uvicorn's connection with two limits that it lacks: how long and how large the head of a request may be.

Called by app (uvicorn.Config). Without them a peer that never ends its head holds a connection, or memory, for ever.
Calls of the API go straight to http; uvicorn keeps their order, keep-alive, back pressure and graceful stop.
"""

import asyncio
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from aurorasend.http import HttpApp

HEAD_S = 30.0  # from the connection, or the first byte of a later request, to the end of the head
HEAD_BYTES = 64 * 1024  # request line and fields; what is read at once may end a little above it
REQUEST_LINE = 4096  # bytes of a head that are kept, for the answer when it cannot be parsed

_not_ascii = re.compile(rb"[\x80-\xff]")
_upgrade = re.compile(rb"\nUpgrade:", re.IGNORECASE)
_request_line = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}) ([^\s?#]+)\S* HTTP/1\.[01]\r?\n").match


class Connection(HttpToolsProtocol):
    head_s = HEAD_S
    head_bytes = HEAD_BYTES

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_size = 0
        self._begins = b""
        self._head_until = 0.0
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_head = False
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_before_request() and (not data.isascii() or data.find(b"pgrade:", 0, REQUEST_LINE) > 0):
            data = _parsable(data)
        if self._in_head and not self._head_size:
            self._begins = data[:REQUEST_LINE]
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_size += len(data)
            if self._head_size > self.head_bytes:
                self._refuse(b"431 Request Header Fields Too Large")

    def _is_before_request(self) -> bool:
        """Whether what comes now is the first of a request."""
        return not self._begins or (self.cycle is not None and self.cycle.response_complete and not self.cycle.more_body)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._in_head:
            self._begin_head()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        call = app.call(cycle) if isinstance(app, HttpApp) else None
        if call is None:
            super()._start_asgi_task(cycle, app)
            return
        task = self.loop.create_task(call)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def send_400_response(self, msg: str) -> None:
        """What the parser cannot take. A request line in order with a method that it does not know is answered as any
        other wrong method is."""
        line, answer = _request_line(self._begins), None
        is_next = self._in_head and (self.cycle is None or self.cycle.response_complete)
        if line and is_next and isinstance(self.app, HttpApp):
            answer = self.app.wrong_method(line[1].decode(), line[2].decode("latin-1"))
        if answer is None:
            self._refuse(b"400 Bad Request")
        elif not self.transport.is_closing():
            self._in_head = False
            self.transport.write(answer)
            self.transport.close()

    def _begin_head(self) -> None:
        self._in_head, self._head_size, self._head_until = True, 0, self.loop.time() + self.head_s
        if self._watch is None:
            self._watch = self.loop.call_later(self.head_s, self._look)

    def _look(self) -> None:
        """One timer serves many heads: it is set again only when it has run out."""
        self._watch = None
        if not self._in_head:
            return
        left = self._head_until - self.loop.time()
        if left > 0:
            self._watch = self.loop.call_later(left, self._look)
        else:
            self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        """No envelope: what was sent is no request yet."""
        self._in_head = False
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.transport.close()


def _parsable(data: bytes) -> bytes:
    """The beginning of a request without what the parser takes amiss.

    Java's client offers HTTP/2 by Upgrade, which nobody needs to accept (RFC 9110 §7.8): the parser would take the body
    for what comes after it. curl sends the UTF-8 of an address as it was typed; the parser wants it percent-encoded
    (RFC 3986 §2.5).
    """
    head, end, body = data.partition(b"\r\n\r\n")
    line, feed, fields = head.partition(b"\n")
    line = _not_ascii.sub(lambda octet: b"%%%02X" % octet[0][0], line)
    return line + _upgrade.sub(b"\nX-Upgrade:", feed + fields) + end + body
