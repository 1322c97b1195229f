"""uvicorn's connection with limits that it lacks: how long and how large the head of a request may be, and what stands after
the body in its place; how long an answer may wait to be read.

Called by http_listener, for app. Without them a peer that never ends its head holds a connection, or memory, for ever.
Calls of the API go straight to http; uvicorn keeps their order, keep-alive, back pressure and graceful stop.
"""

import asyncio
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from aurorasend.http import HttpApp
from aurorasend.http_listener import Occupancy

HEAD_S = 30.0  # from the connection, or the first byte after an answer, to the end of the head
HEAD_BYTES = 64 * 1024  # request line and fields, or fields after a body; what is read at once may end a little above it
READ_S = 300.0  # for a client to read so much of an answer that more can be written
REQUEST_LINE = 4096  # bytes of a head that are kept, for the answer when it cannot be parsed

_not_ascii = re.compile(rb"[\x80-\xff]")
_upgrade = re.compile(rb"\nUpgrade:", re.IGNORECASE)
_request_line = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}) ([^\s?#]+)\S* HTTP/1\.[01]\r?\n").match


class Connection(HttpToolsProtocol):
    head_s = HEAD_S
    head_bytes = HEAD_BYTES
    read_s = READ_S

    def __init__(self, *args: Any, occupancy: Occupancy, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._occupancy = occupancy
        self._in_head = True
        self._size = 0  # bytes since the head began, or since the last one of a body
        self._begins = b""
        self._head_until: float | None = None  # when the head must be here, once it is waited for
        self._watch: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._occupancy.change(+1)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_head, self._head_until = False, None
        if self._watch is not None:
            self._watch.cancel()
        self._is_read()
        self._occupancy.change(-1)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.read_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._is_before_request() and (not data.isascii() or data.find(b"pgrade:", 0, REQUEST_LINE) > 0):
            data = _parsable(data)
        if not self._in_head or not self._size:
            self._begins = data[:REQUEST_LINE]
        self._size += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._size > self.head_bytes:
            self._refuse(b"431 Request Header Fields Too Large")
        elif self._head_until is None and self.cycle is not None and self.cycle.response_complete:
            self._await_head()  # blank lines, or the rest of a body that was answered before it came

    def _is_before_request(self) -> bool:
        """Whether what comes now is the first of a request."""
        return not self._begins or (self.cycle is not None and self.cycle.response_complete and not self.cycle.more_body)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._in_head:
            self._begin_head()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head, self._head_until = False, None

    def on_body(self, body: bytes) -> None:
        self._size = 0
        super().on_body(body)

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
            self._in_head, self._head_until = False, None
            self.transport.write(answer)
            self.transport.close()

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()

    def _begin_head(self) -> None:
        self._in_head, self._size = True, 0
        self._await_head()

    def _await_head(self) -> None:
        self._head_until = self.loop.time() + self.head_s
        if self._watch is None:
            self._watch = self.loop.call_later(self.head_s, self._look)

    def _look(self) -> None:
        """One timer serves many heads: it is set again only when it has run out."""
        self._watch = None
        if self._head_until is None:
            return
        left = self._head_until - self.loop.time()
        if left > 0:
            self._watch = self.loop.call_later(left, self._look)
        else:
            self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        """No envelope: what was sent is no request yet."""
        self._in_head, self._head_until = False, None
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
