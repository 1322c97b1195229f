"""A mail host whose recipients choose their fate. Fast enough to be the sink of the benchmarks.

Local parts (`+anything` after them is ignored, so that tests need not share a counter):

    NNN            answers RCPT with that code, 400-599 (421 also ends the connection)
    no-such-user   550 5.1.1      full   452 4.2.2      spam   550 5.7.1
    greylist       451 4.7.1 the first time, then accepted
    slow           accepted, `slow_s` after the final dot
    stall          RCPT is never answered
    drop           the connection ends at RCPT
    drop-after-dot the message is taken, the connection ends without the reply
    data-NNN       refused with that code after the final dot
    complain       accepted; reserved for feedback reports
    anything else  accepted

Strict: a bare CR or LF is refused in commands and in messages (no SMTP smuggling, RFC 5321 §2.3.8).
"""

import asyncio
import re
import ssl
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from aurorasend.simulator.certificate import self_signed
from aurorasend.simulator.received import Mailbox, Received

MAX_COMMAND = 4096  # octets
GREYLISTED = 100_000  # addresses remembered

FATES = {
    "no-such-user": "550 5.1.1 The email account that you tried to reach does not exist",
    "full": "452 4.2.2 The recipient's mailbox is full",
    "spam": "550 5.7.1 Message refused as spam",
}

_MAIL = re.compile(rb"MAIL FROM: ?<([^<>]*)>(?: (.*))?", re.IGNORECASE).fullmatch
_RCPT = re.compile(rb"RCPT TO: ?<([^<>]+)>(?: (.*))?", re.IGNORECASE).fullmatch
_code = re.compile(r"[45]\d\d").fullmatch
_data_code = re.compile(r"data-([45]\d\d)").fullmatch


@dataclass(frozen=True)
class Temper:
    """What a host offers and how it behaves. `login` demands AUTH; `max_messages` of one connection, 0 without limit;
    `latency_s` delays every reply; `greeting` replaces the first line, a refusal too."""

    pipelining: bool = True
    starttls: bool = False
    eightbit: bool = True
    smtputf8: bool = True
    size_bytes: int = 50 * 1024 * 1024
    login: tuple[str, str] | None = None
    max_messages: int = 0
    latency_s: float = 0.0
    slow_s: float = 1.0
    greeting: str = ""

    @cached_property
    def context(self) -> ssl.SSLContext:
        return self_signed()


class MailHost:
    """One listening address. `connections` and `open` count what was ever accepted and what is now."""

    def __init__(self, name: str, address: str, port: int, temper: Temper, mailbox: Mailbox) -> None:
        self.name = name
        self.address = address
        self.port = port
        self.temper = temper
        self.mailbox = mailbox
        self.connections = 0
        self.open: set[asyncio.Transport] = set()
        self._greylisted: set[str] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Conversation(self), self.address, self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end all connections."""
        if self._server is not None:
            self._server.close()
        for transport in list(self.open):
            transport.abort()

    def greylist(self, recipient: str) -> bool:
        """Whether `recipient` is seen for the first time."""
        if recipient in self._greylisted or len(self._greylisted) >= GREYLISTED:
            return False
        self._greylisted.add(recipient)
        return True


class _Conversation(asyncio.Protocol):
    """One connection: octets in, replies gathered and written once per batch."""

    transport: asyncio.Transport

    def __init__(self, host: MailHost) -> None:
        self._host = host
        self._temper = host.temper
        self._buffer = bytearray()
        self._scanned = 0  # octets of the message in which no end was found
        self._out: list[bytes] = []
        self._reading: Callable[[], bool] = self._command  # False: more octets are needed
        self._busy = False  # a late reply is due; what comes meanwhile waits
        self._over = False
        self._tls = ""
        self._helo = ""
        self._user = ""
        self._taken = 0
        self._secrets: list[str] = []
        self._reset()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._host.connections += 1
        self._host.open.add(self.transport)
        self._reply(self._temper.greeting or f"220 {self._host.name} ESMTP simulator")
        self._over = not self._out[0].startswith(b"2")
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self._host.open.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._work()

    def _work(self) -> None:
        while not (self._busy or self._over) and self._reading():
            pass
        self._flush()

    def _reply(self, line: str) -> bool:
        self._out.append(line.encode() + b"\r\n")
        return True

    def _flush(self) -> None:
        octets, self._out = b"".join(self._out), []
        if self._temper.latency_s:
            asyncio.get_running_loop().call_later(self._temper.latency_s, self._write, octets, self._over)
        else:
            self._write(octets, self._over)

    def _write(self, octets: bytes, over: bool) -> None:
        if octets and not self.transport.is_closing():
            self.transport.write(octets)
        if over:
            self.transport.close()

    def _end(self, line: str = "") -> bool:
        """Close, after `line` if there is one."""
        self._over = True
        if line:
            self._reply(line)
        return False

    def _reset(self) -> None:
        self._mail_from: str | None = None
        self._parameters = ""
        self._recipients: list[str] = []
        self._after = ""  # local part of a recipient that decides what follows the final dot

    # -- commands

    def _line(self) -> bytes | None:
        """The next line without CRLF."""
        end = self._buffer.find(b"\r\n")
        if end < 0 or end > MAX_COMMAND:
            if len(self._buffer) > MAX_COMMAND:
                self._end("500 5.5.2 line too long")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        if b"\n" in line or b"\r" in line:
            self._end("500 5.5.2 bare CR or LF")
            return None
        return line

    def _command(self) -> bool:
        line = self._line()
        if line is None:
            return False
        match line[:4].upper():
            case b"MAIL":
                return self._mail(line)
            case b"RCPT":
                return self._rcpt(line)
            case b"DATA":
                return self._data()
            case b"EHLO" | b"HELO":
                return self._hello(line)
            case b"RSET":
                self._reset()
                return self._reply("250 2.0.0 OK")
            case b"NOOP":
                return self._reply("250 2.0.0 OK")
            case b"QUIT":
                return self._end("221 2.0.0 bye")
            case b"STAR" if self._temper.starttls and not self._tls:
                return self._start_tls()
            case b"AUTH" if self._temper.login is not None:
                return self._auth(line)
        return self._reply("502 5.5.1 command not known")

    def _hello(self, line: bytes) -> bool:
        self._helo = line[5:].decode("utf-8", "replace")
        self._reset()
        temper = self._temper
        if line[:4].upper() == b"HELO":
            return self._reply(f"250 {self._host.name}")
        offers = [
            self._host.name,
            *(["PIPELINING"] if temper.pipelining else []),
            *(["8BITMIME"] if temper.eightbit else []),
            *(["SMTPUTF8"] if temper.smtputf8 else []),
            *(["STARTTLS"] if temper.starttls and not self._tls else []),
            *(["AUTH PLAIN LOGIN"] if temper.login else []),
            f"SIZE {temper.size_bytes}",
        ]
        for offer in offers:
            self._reply(f"250-{offer}")
        return self._reply("250 ENHANCEDSTATUSCODES")

    def _mail(self, line: bytes) -> bool:
        found = _MAIL(line)
        if self._temper.login is not None and not self._user:
            return self._reply("530 5.7.0 Authentication required")
        if not self._helo or self._mail_from is not None:
            return self._reply("503 5.5.1 bad sequence of commands")
        if found is None:
            return self._reply("501 5.1.7 syntax error in the sender")
        if 0 < self._temper.max_messages <= self._taken:
            return self._end("421 4.7.0 too many messages in this connection")
        self._mail_from = found[1].decode("utf-8", "replace")
        self._parameters = (found[2] or b"").decode("utf-8", "replace").upper()
        return self._reply("250 2.1.0 OK")

    def _rcpt(self, line: bytes) -> bool:
        found = _RCPT(line)
        if self._mail_from is None:
            return self._reply("503 5.5.1 MAIL first")
        if found is None:
            return self._reply("501 5.1.3 syntax error in the recipient")
        recipient = found[1].decode("utf-8", "replace")
        local = recipient.rpartition("@")[0].partition("+")[0].lower()
        refusal = self._refusal(recipient, local)
        if refusal or self._over or self._busy:
            return self._reply(refusal) if refusal else False
        if local in ("slow", "drop-after-dot") or _data_code(local):
            self._after = local
        self._recipients.append(recipient)
        return self._reply("250 2.1.5 OK")

    def _refusal(self, recipient: str, local: str) -> str:
        """"" when the recipient is taken, or there will be no answer at all."""
        if local in FATES:
            return FATES[local]
        if _code(local):
            self._over = local == "421"
            return f"{local} {local[0]}.0.0 as the address asks"
        if local == "greylist" and self._host.greylist(recipient):
            return "451 4.7.1 Greylisted, please try again later"
        self._over = self._over or local == "drop"
        self._busy = local == "stall"
        return ""

    def _data(self) -> bool:
        if not self._recipients:
            return self._reply("554 5.5.1 no valid recipients" if self._mail_from is not None else "503 5.5.1 MAIL first")
        self._reading = self._message
        self._buffer[:0] = b"\r\n"  # so that a first line of one dot ends the message as any other
        self._scanned = 0
        return self._reply("354 go on")

    def _message(self) -> bool:
        """Everything up to the final dot."""
        end = self._buffer.find(b"\r\n.\r\n", self._scanned)
        if end < 0:
            self._scanned = max(len(self._buffer) - 4, 0)
            if len(self._buffer) > self._temper.size_bytes + MAX_COMMAND:
                self._end("552 5.3.4 message too large")
            return False
        content = bytes(self._buffer[2 : end + 2])
        del self._buffer[: end + 5]
        self._reading = self._command
        refusal = self._message_refusal(content)
        if refusal:
            self._reset()
            return self._reply(refusal)
        return self._take(content)

    def _message_refusal(self, content: bytes) -> str:
        lines = content.count(b"\n")
        if lines != content.count(b"\r\n") or lines != content.count(b"\r"):
            return "550 5.6.0 bare CR or LF in the message"
        if len(content) > self._temper.size_bytes:
            return "552 5.3.4 message too large"
        found = _data_code(self._after)
        return f"{found[1]} {found[1][0]}.6.0 as the address asks, after DATA" if found else ""

    def _take(self, content: bytes) -> bool:
        if b"\r\n.." in content:
            content = content.replace(b"\r\n..", b"\r\n.")
        content = content[1:] if content.startswith(b"..") else content
        self._taken += 1
        host = self._host
        peer = (self.transport.get_extra_info("peername") or ("",))[0]
        host.mailbox.add(
            Received(
                mail_from=self._mail_from or "",
                recipients=tuple(self._recipients),
                content=content,
                host=host.name,
                peer=peer,
                helo=self._helo,
                tls=self._tls,
                parameters=self._parameters,
                user=self._user,
            )
        )
        after = self._after
        self._reset()
        if after == "drop-after-dot":
            return self._end()
        if after == "slow":
            self._busy = True
            asyncio.get_running_loop().call_later(self._temper.slow_s, self._late, "250 2.0.0 OK, slowly")
            return False
        return self._reply(f"250 2.0.0 OK {host.mailbox.count}")

    def _late(self, line: str) -> None:
        self._busy = False
        self._reply(line)
        self._work()

    # -- TLS and AUTH

    def _start_tls(self) -> bool:
        """What was sent in clear behind STARTTLS is dropped (RFC 3207 §4.2)."""
        self._buffer.clear()
        self._busy = True
        self._reply("220 2.0.0 go on")
        self._flush()
        self._handshake = asyncio.ensure_future(self._shake_hands())
        return False

    async def _shake_hands(self) -> None:
        plain = self.transport
        try:
            got = await asyncio.get_running_loop().start_tls(plain, self, self._temper.context, server_side=True)
        except OSError:
            got = None
        self._host.open.discard(plain)
        encryption = None if got is None else got.get_extra_info("ssl_object")
        if got is None or encryption is None or self._over:  # the client may leave in the middle of it
            plain.abort()
            return
        self.transport = got
        self._host.open.add(got)
        self._tls = encryption.version()
        self._helo = ""
        self._reset()
        self._busy = False
        self._work()

    def _auth(self, line: bytes) -> bool:
        mechanism, _, initial = line[5:].decode("ascii", "replace").partition(" ")
        if mechanism.upper() == "PLAIN" and initial:
            return self._check(_decoded(initial).split("\0")[1:])
        if mechanism.upper() == "LOGIN":
            self._secrets = [_decoded(initial)] if initial else []
            self._reading = self._secret
            return self._reply("334 UGFzc3dvcmQ6" if initial else "334 VXNlcm5hbWU6")
        return self._reply("504 5.5.4 mechanism not known")

    def _secret(self) -> bool:
        line = self._line()
        if line is None:
            return False
        self._secrets.append(_decoded(line.decode("ascii", "replace")))
        if len(self._secrets) < 2:
            return self._reply("334 UGFzc3dvcmQ6")
        self._reading = self._command
        return self._check(self._secrets)

    def _check(self, given: list[str]) -> bool:
        if tuple(given) != self._temper.login:
            return self._reply("535 5.7.8 Authentication failed")
        self._user = given[0]
        return self._reply("235 2.7.0 OK")


def _decoded(text: str) -> str:
    try:
        return b64decode(text, validate=True).decode()
    except ValueError:
        return ""
