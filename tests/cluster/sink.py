"""An SMTP server that remembers what it took: whose mail, which message, from which node, and when it said so.

The next hop of the proofs. Unlike the bench's sink, which only counts, it keeps every delivery, so that loss and duplicates
can be told apart. Recipients choose their fate: `450-...` is put off, `550-...` is refused, everybody else is served.
"""

import asyncio
import re
import time
from dataclasses import dataclass

END = b"\r\n.\r\n"
LIMIT = 32 * 1024 * 1024
_MESSAGE_ID = re.compile(rb"^Message-ID:\s*<([^@>]+)@", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A mail that the sink answered 250 to. `email_id` is that of the API's answer (mail.md §6); `node` is the name that the
    client gave in EHLO. Times are time.monotonic(): `asked`, when the sink asked for the content (354), and `taken`, when its
    250 was handed to the kernel."""

    email_id: str
    recipient: str
    node: str
    asked: float
    taken: float


class Sink:
    """Use as an async context manager; listens on a free port of loopback."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.port = 0
        self._open = asyncio.Event()
        self._open.set()
        self._sessions: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Sink":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LIMIT, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    def stall(self) -> None:
        """From now on no mail is answered at its end; the connections stay open."""
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        try:
            await self._session(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client was killed, or the test is over
        finally:
            self._sessions.discard(task)
            writer.close()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        node, recipients = "", list[str]()
        writer.write(b"220 sink.example ESMTP\r\n")
        while line := await reader.readline():
            verb, words = line[:4].upper(), line.decode().strip()
            if verb == b"EHLO":
                node = words[5:]
                writer.write(b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n")
            elif verb == b"MAIL":
                recipients = []
                writer.write(b"250 2.1.0 Ok\r\n")
            elif verb == b"RCPT":
                writer.write(_judge(words[words.index("<") + 1 : words.index(">")], recipients))
            elif verb == b"DATA" and not recipients:
                writer.write(b"554 5.5.1 No valid recipients\r\n")
            elif verb == b"DATA":
                writer.write(b"354 Go on\r\n")
                await self._take(reader, writer, recipients, node)
            elif verb == b"QUIT":
                writer.write(b"221 2.0.0 Bye\r\n")
                return
            else:
                writer.write(b"250 2.0.0 Ok\r\n")
            await writer.drain()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, recipients: list[str], node: str) -> None:
        asked = time.monotonic()
        mail = await reader.readuntil(END)
        await self._open.wait()
        found = _MESSAGE_ID.search(mail)
        message_id = found[1].decode() if found else "none"
        if writer.is_closing():
            return
        writer.write(b"250 2.0.0 Taken\r\n")
        taken = time.monotonic()
        self.deliveries += [Delivery(f"{message_id}${recipient}", recipient, node, asked, taken) for recipient in recipients]


def _judge(recipient: str, recipients: list[str]) -> bytes:
    if recipient.startswith("450-"):
        return b"450 4.2.0 Later, please\r\n"
    if recipient.startswith("550-"):
        return b"550 5.1.1 No such user\r\n"
    recipients.append(recipient)
    return b"250 2.1.5 Ok\r\n"
