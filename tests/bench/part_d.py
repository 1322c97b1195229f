"""Part d: what data endpoints cost over months of history. See docs/bench.md.

Each call goes to the running server, over HTTP and through everything, and its answer must be a success. Statistics are
held to 50 ms whatever their span, rows to 200 ms whatever their filter. An answer of many rows takes as long as they take to
write: what has more than ROWS rows is shown without a bar.
"""

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines import Engine
from history import History, make
from process import BenchError, cpu_s
from server import Installation, install, serving
from table import Figure, Table

CALLS = 5  # of each kind in each round
STATISTICS_MS, ROWS_MS = 50, 200
ROWS = 5000


@dataclass(frozen=True)
class Asked:
    path: str
    parameters: dict[str, object]
    bar: int

    @property
    def words(self) -> str:
        return " ".join((self.path, *(f"{name}={str(value)[:24]}" for name, value in self.parameters.items())))


def run(table: Table, directory: Path, stores: list[Engine], rounds: int, events: int) -> None:
    for engine in stores:
        home = directory / f"d-{engine.name}"
        home.mkdir()
        at = install(home / "data", 9, engine.new_store())  # nothing is sent
        made = make(at, engine, events)
        table.remarks.append(
            f"part d, {engine.name}: {made.events:,} events of {made.recipients:,} recipients, {made.of_yesterday:,} of them "
            f"yesterday's; made in {made.seconds:.0f} s"
        )
        with serving(at) as ours:
            for asked in questions(made):
                show(table, engine.name, asked, timed(at, ours.pids() | engine.pids(), asked, rounds))


def questions(made: History) -> Iterator[Asked]:
    yesterday = {"startDate": made.yesterday, "endDate": made.yesterday}
    for path in ("statday/list", "stathour/list", "invalidstat/list"):
        for span in (yesterday, {"days": 30}, {"days": 100}):
            yield Asked(path, span, STATISTICS_MS)
    for path in ("statday/list", "invalidstat/list"):
        yield Asked(path, {"days": 100, "aggregate": 1}, STATISTICS_MS)
        yield Asked(path, {"days": 100, "aggregate": 1, "domainList": "mail.example;club.example"}, STATISTICS_MS)
        yield Asked(path, {"days": 100, "aggregate": 1, "apiUserList": "seldom"}, STATISTICS_MS)
        yield Asked(path, {"days": 100, "domainList": "club.example", "labelNameList": "campaign"}, STATISTICS_MS)
    yield Asked("stathour/list", {"days": 100, "labelNameList": "seldom"}, STATISTICS_MS)
    yield Asked("queue/status", {}, STATISTICS_MS)
    for filters in status_filters(made):
        yield Asked("data/emailStatus", {**yesterday, **filters}, ROWS_MS)
    for filters in ({}, {"status": 18}, {"subStatus": 404}, {"apiUserList": "seldom", "status": "4;5"}):
        yield Asked("data/emailStatus", {"days": 30, **filters}, ROWS_MS)
    yield from lists(yesterday)
    yield Asked("openandclick/list", yesterday, ROWS_MS)


def status_filters(made: History) -> Iterator[dict[str, object]]:
    half, end = made.of_yesterday // 2, made.of_yesterday - 100
    yield from ({}, {"start": half}, {"start": end})
    yield from (
        {"status": 1, "start": half},
        {"status": 4},
        {"status": 5},
        {"status": "4;5"},
        {"status": "4;5", "start": made.of_yesterday // 20},
    )
    yield from ({"status": 18}, {"subStatus": 404}, {"subStatus": 406}, {"subStatus": "403;503"})
    yield from (
        {"apiUserList": "seldom"},
        {"labelName": "seldom"},
        {"labelName": "note-1"},
        {"labelId": 0, "start": made.of_yesterday // 10},
    )
    yield from (
        {"apiUserList": "seldom", "status": 5},
        {"labelName": "seldom", "subStatus": "405;406"},
        {"labelName": "note", "status": 4},
    )
    yield from ({"email": made.address}, {"email": made.address, "status": 5}, {"emailIds": made.email_id})


def lists(yesterday: dict[str, object]) -> Iterator[Asked]:
    for path, filters in (
        ("bounce/list", {}),
        ("bounce/list", {"start": 999_900}),
        ("bounce/list", {"email": "s1000000500@bounce.example"}),
        ("bounce/count", {}),
        ("unsubscribe/list", {"start": 500_000}),
        ("unsubscribe/list", {"labelNameList": "seldom"}),
        ("unsubscribe/list", {"apiUserList": "seldom"}),
        ("complaint/list", {}),
        ("block/list", {"start": 999_900}),
        ("block/list", {"apiUserBlock": "seldom"}),
    ):
        yield Asked(path, {**yesterday, **filters}, ROWS_MS)
    yield Asked("unintercept/list", {"start": 999_900}, ROWS_MS)
    yield Asked("unintercept/list", {"apiUserName": "seldom"}, ROWS_MS)


@dataclass(frozen=True)
class Timed:
    """Milliseconds of each call, and of the servers' CPU for one; how many rows the answer has."""

    times: list[float]
    cpu_ms: float
    rows: int


def timed(at: Installation, pids: set[int], asked: Asked, rounds: int) -> Timed:
    times = []
    checked(asked, called(at, asked))  # and for the caches
    cpu = cpu_s(pids)
    for _ in range(rounds * CALLS):
        begin = time.perf_counter()
        body = called(at, asked)
        times.append((time.perf_counter() - begin) * 1e3)
    spent = cpu_s(pids) - cpu
    return Timed(times, spent / len(times) * 1e3, rows_of(checked(asked, body)["info"]))


def checked(asked: Asked, body: bytes) -> dict[str, Any]:
    envelope: dict[str, Any] = json.loads(body)
    if not envelope["result"]:
        raise BenchError(f"{asked.words}: {envelope}")
    return envelope


def called(at: Installation, asked: Asked) -> bytes:
    fields = urllib.parse.urlencode({"apiUser": at.user, "apiKey": at.key, **asked.parameters}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{at.port}/api/{asked.path}", fields, timeout=60) as answer:
        body: bytes = answer.read()
    return body


def rows_of(info: dict[str, Any]) -> int:
    found = info.get("dataList", info.get("voList", ()))
    return len(found) if isinstance(found, list) else 1


def show(table: Table, engine: str, asked: Asked, found: Timed) -> None:
    bar = asked.bar if found.rows <= ROWS else None
    what = f"{asked.words}: {found.rows:,} rows, {found.cpu_ms:.0f} ms of CPU, {engine}"
    table.add(Figure("d", what, found.times, "ms", bar=bar, at_most=True))
