"""The octets of an SMTP client: replies read within limits, commands and messages written, TLS.

Called by smtp_client. Always: what the peer sends is bounded in line length, lines and octets, and nothing it
does raises; once `lost` says why, the connection is of no further use. No bare CR or LF leaves: messages pass
`wire_form`, commands are made of checked parts. Replies that were not asked for end the connection, so that none can
be taken for the answer to a later command (response injection, before a TLS handshake or at any time).
"""

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, cast

from aurorasend.outcome import Reply, clean

MAX_LINE = 2048  # octets; RFC 5321 §4.5.3.1.5 says 512, real ones are longer
MAX_LINES = 100  # of one reply
CHUNK = 64 * 1024  # octets of a message written between two looks at the peer
TICK_S = 0.001  # what loops tell time in; uvloop takes what is due sooner as due, whatever its own clock says then

_CODES = {b"%d" % code: code for code in range(200, 600)}
_line_ends = re.compile(rb"\r\n|\r|\n")
_enhanced = re.compile(r"[245]\.\d{1,3}\.\d{1,3} ").match


def wire_form(message: bytes | Sequence[bytes]) -> bytes:
    """`message` as DATA carries it (RFC 5321 §4.5.2): every line ends with CRLF, dots doubled, the final dot added.

    Our own messages need nothing but the dot, so the common case is a few scans and one copy.
    """
    octets = message if isinstance(message, bytes) else b"".join(message)
    lines = octets.count(b"\n")
    if lines != octets.count(b"\r\n") or lines != octets.count(b"\r"):
        octets = _line_ends.sub(b"\r\n", octets)  # else LF.LF could end the message for some servers (smuggling)
    if octets.startswith(b"."):
        octets = b"." + octets
    if b"\r\n." in octets:
        octets = octets.replace(b"\r\n.", b"\r\n..")
    return octets + (b".\r\n" if not octets or octets.endswith(b"\r\n") else b"\r\n.\r\n")


class _Reader(NamedTuple):
    """Who waits for replies, and how long they may take once they are the next."""

    number: int
    timeout_s: float
    got: asyncio.Future[list[Reply]]


class Wire(asyncio.Protocol):
    """One connection. `replies` gives what came; when it is less than asked for, `lost` says why."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.lost = ""
        self.deserted = False  # somebody did not wait for replies that are still to come: it ends when it is their turn
        self.goodbye: Reply | None = None  # a 421: it answers every command that it left unanswered
        self._loop = asyncio.get_running_loop()
        self._owed = 1  # replies to commands already written; the greeting comes unasked
        self._buffer = b""
        self._lines: list[bytes] = []
        self._replies: list[Reply] = []
        self._readers: deque[_Reader] = deque()
        self._behind: _Reader | None = None  # who came last to wait behind others, and
        self._patience = 0.0  # the loop time until when
        self._waiter: asyncio.Future[None] | None = None  # who cannot write
        self.late = False  # lost because the peer let us wait too long
        self._why_late = ""  # what to say then
        self._due = 0.0  # loop time by which it is
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0.0  # when it ends; uvloop's handles cannot always tell
        self._paused = False
        self._held: list[bytes] | None = None
        self._ended = self._loop.create_future()

    # -- to the peer

    def write(self, octets: bytes, replies: int) -> None:
        """Send `octets`, which hold commands that ask for `replies`."""
        self._owed += replies
        self._put(octets)

    def hold(self) -> None:
        """Keep back what is written until `let_go`, so that it leaves together. For less than CHUNK."""
        self._held = []

    def let_go(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._put(b"".join(held))

    def _put(self, octets: bytes) -> None:
        if self._held is not None:
            self._held.append(octets)
        elif not self.lost:
            self.transport.write(octets)

    async def write_message(self, octets: bytes, timeout_s: float, until: float) -> bool:
        """Send a message in its wire form; asks for one reply. False when its end was never handed over: the
        connection was lost, stood still for `timeout_s`, was not done by `until` (loop time), or the peer refused before the
        end."""
        self._owed += 1
        for start in range(0, len(octets), CHUNK):
            while self._paused and not self.lost and not self._replies:
                left = max(min(timeout_s, until - self._loop.time()), 0.0)
                await self._wait(left, "the peer takes no more of the message")
            if self.lost or self._replies:
                return False
            self._put(octets if len(octets) <= CHUNK else octets[start : start + CHUNK])
        return True

    async def replies(self, count: int, timeout_s: float) -> list[Reply]:
        """The next `count` replies that nobody waits for yet, or fewer when the connection is lost, or when `timeout_s` are
        over since all earlier ones were there."""
        return await self._reader(count, timeout_s).got

    async def replies_behind(self, count: int, timeout_s: float, patience_s: float) -> list[Reply]:
        """The same, but none when the earlier ones are not there after `patience_s`; then the connection is `deserted`. For one
        at a time: it goes before who comes after."""
        reader = self._reader(count, timeout_s)
        if len(self._readers) > 1:
            self._behind, self._patience = reader, self._loop.time() + patience_s
            self._arm_by(self._patience)
        return await reader.got

    async def start_tls(self, context: ssl.SSLContext, host: str, timeout_s: float) -> bool:
        """Go on encrypted. Refused when the peer had already said more in clear (CVE-2011-0411 and its kin)."""
        if self._buffer or self._lines or self._replies:
            self.end("data in clear before the TLS handshake")
        if self.lost:
            return False
        try:
            transport = await self._loop.start_tls(
                self.transport, self, context, server_hostname=host, ssl_handshake_timeout=max(timeout_s, 0.001)
            )
        except (OSError, ValueError) as problem:  # ssl.SSLError and timeouts are OSErrors
            self.end(f"TLS handshake failed: {problem or type(problem).__name__}")
            return False
        if transport is None or self.lost:
            self.end("connection lost in the TLS handshake")
            return False
        self.transport = transport
        return True

    def end(self, why: str) -> None:
        """Close at once; `why` counts when nothing ended it before."""
        self.lost = self.lost or why
        self.transport.abort()
        self._wake()

    def leave(self, timeout_s: float) -> None:
        """QUIT, and close when the peer has answered or `timeout_s` is over. Does not wait."""
        if not self.lost:
            self.transport.write(b"QUIT\r\n")
            self.lost = "left"
            timer = self._loop.call_later(timeout_s, self.transport.abort)
            self._ended.add_done_callback(lambda _: timer.cancel())

    async def ended(self) -> None:
        """Wait until the connection is closed."""
        await asyncio.shield(self._ended)

    # -- from the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = self.lost or f"connection lost{f': {exc}' if exc else ''}"
        if self._timer is not None:
            self._timer.cancel()
        if not self._ended.done():
            self._ended.set_result(None)
        self._wake()

    def data_received(self, data: bytes) -> None:
        if self.lost:  # the answer to QUIT, or noise after the end
            self.transport.close()
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > MAX_LINE:
            self.end("reply line too long")
            return
        if all(map(self._take, lines)):
            self._wake()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    def _take(self, line: bytes) -> bool:
        """One line of a reply (RFC 5321 §4.2.1); a bare LF as its end is let pass. False when it was the last."""
        code, mark, lines = _CODES.get(line[:3]), line[3:4], self._lines
        if len(line) > MAX_LINE or len(lines) >= MAX_LINES:
            self.end("reply too long")
        elif code is None or mark not in b" -\r" or (lines and lines[0][:3] != line[:3]):
            self.end(f"not an SMTP reply: {clean(line[:80].decode('utf-8', 'replace'))}")
        elif mark == b"-":
            lines.append(line)
        else:
            self._lines = []
            self._complete(Reply(code, _text([*lines, line]) if lines else _words(line)))
        return not self.lost

    def _complete(self, reply: Reply) -> None:
        if reply.code == 421:  # RFC 5321 §3.8: may come at any time, and ends the connection
            self.goodbye = reply
            if self._owed:
                self._replies.append(reply)
            self.end(clean(str(reply)))
        elif not self._owed:
            self.end(f"reply without a command: {clean(str(reply))}")
        else:
            self._owed -= 1
            self._replies.append(reply)

    async def _wait(self, timeout_s: float, late: str) -> None:
        """Until something happened, or `timeout_s` is over, which ends the connection."""
        self._waiter = self._loop.create_future()
        self._limit(timeout_s, late)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _reader(self, count: int, timeout_s: float) -> _Reader:
        reader = _Reader(count, timeout_s, self._loop.create_future())
        self._readers.append(reader)
        if len(self._readers) == 1 and len(self._replies) < count:
            self._limit(timeout_s, "no reply in time")
        self._serve()
        return reader

    def _serve(self) -> None:
        """Give replies to those who wait for them, in their order."""
        waited = len(self._readers)
        while self._readers:
            number, timeout_s, got = self._readers[0]
            if got.done() and not self.lost:
                return self.end("deserted")
            if len(self._replies) < number and not self.lost:
                if len(self._readers) < waited:
                    self._limit(timeout_s, "no reply in time")
                return
            self._readers.popleft()
            if not got.done():
                got.set_result(self._replies[:number])
            del self._replies[:number]

    def _limit(self, timeout_s: float, late: str) -> None:
        """What is waited for now may take so long."""
        self._why_late = late
        self._due = self._loop.time() + timeout_s
        self._arm_by(self._due)

    def _arm_by(self, when: float) -> None:
        """One timer outlives many waits: to set and cancel one for each costs as much as reading a reply."""
        if self._timer is not None:
            if self._ticks <= when:
                return
            self._timer.cancel()
        self._ticks = max(when, self._loop.time() + TICK_S)
        self._timer = self._loop.call_at(self._ticks, self._tick)

    def _tick(self) -> None:
        self._timer, now = None, self._loop.time()
        if self._waiter is None and not self._readers:
            return
        if now >= self._due:
            self.late = not self.lost
            self.end(self._why_late)
            return
        behind = self._behind
        if behind is None or behind.got.done() or self._readers[0] is behind:
            self._arm_by(self._due)
        elif now < self._patience:
            self._arm_by(min(self._due, self._patience))
        else:
            self.deserted = True
            behind.got.set_result([])
            self._arm_by(self._due)

    def _wake(self) -> None:
        self._serve()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _words(line: bytes) -> str:
    return line[4:].decode("utf-8", "replace").rstrip("\r")


def _text(lines: list[bytes]) -> str:
    """The words of a reply of several lines, its enhanced code only at the beginning."""
    texts = list(map(_words, lines))
    found = _enhanced(texts[0])
    return "\n".join([texts[0], *(text.removeprefix(found[0]) for text in texts[1:])] if found else texts)
