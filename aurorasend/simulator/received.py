"""What the simulated hosts received, for tests and for the reader of `aurorasend dev`."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

KEEP_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Received:
    """One message as a host took it: dots single again, otherwise the octets of the wire."""

    mail_from: str
    recipients: tuple[str, ...]
    content: bytes
    host: str
    peer: str
    helo: str
    tls: str  # version, "" in clear
    parameters: str  # of MAIL, upper case
    user: str  # who had logged in, ""


class Mailbox:
    """The latest messages of all hosts, in the order of arrival, and how many there were."""

    def __init__(self, keep: int) -> None:
        self.messages: deque[Received] = deque()
        self.count = 0
        self._keep = keep
        self._bytes = 0
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def add(self, message: Received) -> None:
        self.count += 1
        self.messages.append(message)
        self._bytes += len(message.content)
        while len(self.messages) > self._keep or self._bytes > KEEP_BYTES:
            self._bytes -= len(self.messages.popleft().content)
        for holds, future in self._waiting:
            if not future.done() and holds():
                future.set_result(None)

    def to(self, recipient: str) -> list[Received]:
        """What was received for one address."""
        return [message for message in self.messages if recipient in message.recipients]

    async def wait(self, count: int = 1, timeout_s: float = 5.0) -> list[Received]:
        """All that is kept, when `count` messages have been received in all. Raises TimeoutError."""
        await self._until(lambda: self.count >= count, timeout_s)
        return list(self.messages)

    async def wait_for(self, recipient: str, timeout_s: float = 5.0) -> Received:
        """The first message for `recipient`. Raises TimeoutError."""
        await self._until(lambda: bool(self.to(recipient)), timeout_s)
        return self.to(recipient)[0]

    async def _until(self, holds: Callable[[], bool], timeout_s: float) -> None:
        if holds():
            return
        entry = (holds, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(timeout_s):
                await entry[1]
        finally:
            self._waiting.remove(entry)
