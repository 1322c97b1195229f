"""Part c: claiming with few and with many waiting, the server's memory, and from start to the first delivery."""

import os
import signal
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop
from client import Ask, load
from endtoend import POLL_S, Sink, sink, wait_for
from engines import Engine
from process import START_S, BenchError, memory_mb
from server import Installation, install, serving
from table import Figure, Table
from waiting import Claimer, ClaimTime, fill, opened

FEW = 1_000
CLAIMS = 100  # in a round, on each store
DELIVER_S = 15.0  # how long the server works on the long queue while its memory is watched


@dataclass
class Found:
    few: list[ClaimTime]
    many: list[ClaimTime]
    memory: float = 0.0
    after_start: float = 0.0
    after_stop: float = 0.0
    after_kill: float = 0.0


def run(table: Table, directory: Path, stores: list[Engine], rounds: int, many: int) -> None:
    for engine in stores:
        home = directory / f"c-{engine.name}"
        home.mkdir()
        with sink(home) as to:
            show(table, engine.name, many, measure(home, engine, to, rounds, many))


def measure(home: Path, engine: Engine, to: Sink, rounds: int, many: int) -> Found:
    few_at, many_at = installed(home / "few", engine, to), installed(home / "many", engine, to)
    found = uvloop.run(claims(few_at, many_at, rounds, many))
    with serving(many_at) as ours:
        begun = ours.child.begun
        found.after_start = first_delivery(to, begun) - begun
        wait_for(to.gauge, many, DELIVER_S)
        found.memory = memory_mb(ours.pids(), "VmHWM")
    found.after_stop = started_again(many_at, to, then_kill=True)
    found.after_kill = started_again(many_at, to, then_kill=False)
    return found


def installed(home: Path, engine: Engine, to: Sink) -> Installation:
    """With one mail accepted, the model of those that will wait."""
    home.mkdir()
    at = install(home / "data", to.port, engine.new_store())
    with serving(at, roles="api"):
        load(at.port, Ask(10.0, requests=1), at)
    return at


async def claims(few_at: Installation, many_at: Installation, rounds: int, many: int) -> Found:
    """Alternating between the two stores, so that a disturbance of the machine meets both."""
    few, much = opened(few_at), opened(many_at)
    try:
        await fill(few, FEW)
        await fill(much, many)
        found = Found([], [])
        left, right = Claimer(few), Claimer(much)
        for number in range(rounds * CLAIMS + 10):
            pair = await left.claim(), await right.claim()
            if number >= 10:  # the first ones fill the caches
                found.few.append(pair[0])
                found.many.append(pair[1])
        return found
    finally:
        await few.store.close()
        await much.store.close()


def first_delivery(to: Sink, since: float) -> float:
    """time.monotonic() when the sink's count first moves after now; the sink reports every 20 ms."""
    before = to.gauge.read().messages
    while to.gauge.read().messages == before:
        if time.monotonic() - since > START_S:
            raise BenchError(f"no delivery within {START_S:.0f} s after the start")
        time.sleep(POLL_S / 2)
    return time.monotonic()


def started_again(at: Installation, to: Sink, *, then_kill: bool) -> float:
    """From the start to the first delivery. Then it is killed, or stopped, which is how the next start finds it."""
    with serving(at, listens=False) as ours:
        spent = first_delivery(to, ours.child.begun) - ours.child.begun
        time.sleep(1.0)
        if then_kill:
            os.killpg(ours.child.pid, signal.SIGKILL)
            ours.child.popen.wait(10)
            time.sleep(0.5)  # what was on its way to the sink arrives
        return spent


def show(table: Table, name: str, many: int, found: Found) -> None:
    for what, pick in (("claim of 64", lambda one: one.turn), ("claim of 64, statement", lambda one: one.statement)):
        base = Figure("c", f"{what}, {FEW:,} waiting, {name}", medians([pick(one) * 1e3 for one in found.few]), "ms")
        table.add(base)
        times = medians([pick(one) * 1e3 for one in found.many])
        table.add(Figure("c", f"{what}, {many:,} waiting, {name}", times, "ms", base=base, bar=1.5, at_most=True))
    table.add(Figure("c", f"memory at its highest, {name}", [found.memory], "MB", bar=300, at_most=True))
    starts = {"start": found.after_start, "start after a stop": found.after_stop, "start after SIGKILL": found.after_kill}
    for what, seconds in starts.items():
        table.add(Figure("c", f"{what} to first delivery, {name}", [seconds], "s", bar=5, at_most=True))


def medians(times: list[float]) -> list[float]:
    """One figure for each round."""
    return [statistics.median(times[at : at + CLAIMS]) for at in range(0, len(times), CLAIMS)]
