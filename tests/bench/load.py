"""HTTP/1.1 load: N kept connections, each waiting for its answer before it asks again; every answer is read and checked.

Program: prints one JSON object. Bounded by `--requests` and by `--seconds`, whichever comes first. What it costs itself is in the
report (`load_us`, CPU us per request), so that a figure which the load limits can be seen.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

import mail
import uvloop

GOOD = b'"statusCode":200,'
NUMBER = b"%%0%dd" % mail.DIGITS


@dataclass
class Tally:
    """What happened so far; shared by all connections of the one loop."""

    first_number: int
    requests: int
    until: float
    sent: int = 0
    good: int = 0
    lost: int = 0  # connections that ended with an answer outstanding
    first: float = 0.0
    last: float = 0.0
    cpu: float = 0.0  # seconds that the load itself took
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)  # the beginning of answers that do not say 200
    seconds: array[float] = field(default_factory=lambda: array("d"))

    def over(self) -> bool:
        return self.sent >= self.requests or time.monotonic() >= self.until


class Client(asyncio.Protocol):
    def __init__(self, request: mail.Request, tally: Tally) -> None:
        self._request = request
        self._tally = tally
        self._answer = b""
        self._asked = 0.0
        self._waiting = False
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def ask(self) -> None:
        tally = self._tally
        if tally.over():
            self._transport.close()
            return
        number = NUMBER % (tally.first_number + tally.sent)
        tally.sent += 1
        self._waiting = True
        self._asked = time.monotonic()
        tally.first = tally.first or self._asked
        self._transport.write(b"".join((self._request.head, number, self._request.tail)))

    def data_received(self, data: bytes) -> None:
        answer = self._answer + data if self._answer else data
        head_end = answer.find(b"\r\n\r\n")
        if head_end < 0 or len(answer) < head_end + 4 + content_length(answer, head_end):
            self._answer = answer
            return
        self._answer = b""
        self._waiting = False
        self._note(answer, head_end)
        self.ask()

    def _note(self, answer: bytes, head_end: int) -> None:
        tally = self._tally
        tally.last = time.monotonic()
        tally.seconds.append(tally.last - self._asked)
        if answer.startswith(b"HTTP/1.1 200 ") and answer.find(GOOD, head_end) > 0:
            tally.good += 1
            return
        tally.statuses[answer[9:12].decode("latin-1")] += 1
        tally.wrong[answer[head_end + 4 : head_end + 84].decode("latin-1")] += 1

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting:
            self._tally.lost += 1
        if not self.ended.done():
            self.ended.set_result(None)


def content_length(answer: bytes, head_end: int) -> int:
    """The length of the body; 0 when it is not said (no server measured here answers in chunks)."""
    at = answer.find(b"ontent-", 0, head_end)
    while at >= 0:
        if answer[at + 7 : at + 14].lower() == b"length:":
            return int(answer[at + 14 : answer.index(b"\r", at)])
        at = answer.find(b"ontent-", at + 7, head_end)
    return 0


async def load(options: argparse.Namespace, request: mail.Request) -> Tally:
    loop = asyncio.get_running_loop()
    tally = Tally(options.first, options.requests, time.monotonic() + options.seconds)
    clients = []
    for _ in range(options.clients):
        _, client = await loop.create_connection(lambda: Client(request, tally), "127.0.0.1", options.port)
        clients.append(client)
    begin = time.process_time()
    for client in clients:
        client.ask()
    _, late = await asyncio.wait([client.ended for client in clients], timeout=options.seconds + 30)
    tally.lost += len(late)
    tally.cpu = time.process_time() - begin
    return tally


def report(tally: Tally) -> dict[str, object]:
    wall = tally.last - tally.first
    times = sorted(tally.seconds)
    answered = len(times)
    return {
        "sent": tally.sent,
        "answered": answered,
        "good": tally.good,
        "lost": tally.lost,
        "statuses": dict(tally.statuses),
        "wrong": dict(tally.wrong.most_common(3)),
        "first": tally.first,
        "last": tally.last,
        "rate": tally.good / wall if wall > 0 else 0.0,
        "p50_ms": times[answered // 2] * 1e3 if times else 0.0,
        "p99_ms": times[answered * 99 // 100] * 1e3 if times else 0.0,
        "load_us": tally.cpu / answered * 1e6 if answered else 0.0,
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", default="user")
    parser.add_argument("--key", default="key")
    parser.add_argument("--domain", default="mail.example.com")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--first", type=int, default=0, help="number of the first recipient")
    parser.add_argument("--core", type=int)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    gc.disable()  # nothing here makes cycles, and its pauses would be counted as the server's
    request = mail.request(f"127.0.0.1:{options.port}", options.user, options.key, options.domain)
    tally = uvloop.run(load(options, request))
    print(json.dumps(report(tally)))


if __name__ == "__main__":
    main()
