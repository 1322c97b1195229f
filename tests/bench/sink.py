"""An SMTP sink that says yes to everything and counts: the next hop of every system that the bench measures.

Costs some 40 us per message on kept connections, most of it the kernel's, so that it does not set the figure. Program:
`sink.py PORT GAUGE_FILE SAMPLE_FILE`; the last message of every thousand is kept in SAMPLE_FILE for the check of its signature.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import cast

import uvloop
from gauge import Gauge, Reading

SAMPLE_EVERY = 1000
REPORT_EVERY_S = 0.02
END = b"\r\n.\r\n"
EHLO = b"250-sink.example\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
OK = b"250 2.0.0 Ok\r\n"
GO_ON = b"354 End data with <CR><LF>.<CR><LF>\r\n"


class Count:
    """What arrived so far."""

    def __init__(self, sample: Path) -> None:
        self.messages = self.signed = 0
        self.first = self.last = 0.0
        self.recipients: set[bytes] = set()
        self.sample = sample

    def message(self, octets: bytes, begin: int, end: int) -> None:
        """What stands there in `octets`; its signature is looked for in the first 4 KB."""
        self.last = time.monotonic()
        self.first = self.first or self.last
        if octets.find(b"DKIM-Signature:", begin, min(end, begin + 4096)) >= 0:
            self.signed += 1
        if self.messages % SAMPLE_EVERY == 0:
            self.sample.write_bytes(octets[begin:end])
        self.messages += 1

    def reading(self) -> Reading:
        return Reading(self.messages, len(self.recipients), self.signed, self.first, self.last)


class Session(asyncio.Protocol):
    def __init__(self, count: Count) -> None:
        self._count = count
        self._left = b""  # what came and is not whole
        self._in_body = False
        self._searched = 0  # in what is left there is no end of the message up to here

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class
        self._transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        if self._left:
            data = self._left + data
        at, replies = 0, []
        while True:
            if self._in_body:
                end = data.find(END, at + self._searched)
                if end < 0:
                    self._searched = max(0, len(data) - at - len(END) + 1)
                    break
                self._count.message(data, at, end + 2)
                self._in_body, self._searched = False, 0
                at = end + len(END)
                replies.append(OK)
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                break
            verb = data[at : at + 4].upper()
            if verb == b"RCPT":
                self._count.recipients.add(data[at + 8 : end])
            at = end + 2
            replies.append(self._answer(verb))
        self._left = data[at:]
        if replies:
            self._transport.write(b"".join(replies))

    def _answer(self, verb: bytes) -> bytes:
        if verb == b"DATA":
            self._in_body = True
            return GO_ON
        if verb == b"EHLO":
            return EHLO
        if verb == b"QUIT":
            asyncio.get_running_loop().call_soon(self._transport.close)
            return b"221 2.0.0 Bye\r\n"
        return OK


async def serve(port: int, gauge: Gauge, count: Count) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Session(count), "127.0.0.1", port, backlog=1024)
    async with server:
        while True:
            gauge.set(count.reading())
            await asyncio.sleep(REPORT_EVERY_S)


def main() -> None:
    port, gauge, sample = sys.argv[1:4]
    uvloop.run(serve(int(port), Gauge(Path(gauge)), Count(Path(sample))))


if __name__ == "__main__":
    main()
