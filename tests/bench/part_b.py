"""Part b: accept, sign with RSA-2048, deliver to the local sink, record; per second, against rivals that do the same."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import rivals
from client import NUMBERS, Ask, load, steady
from endtoend import Delivered, Sink, delivered, relay_round, sink, wait_for
from engines import Engine
from mail import write_message
from process import BenchError, cpu_s, python, report_of
from server import Ours, install, serving
from signature import is_rsa_2048, verifies
from spent import where_time_goes
from table import Figure, Table

WARM = 300  # messages before the measured ones
OURS, THEIRS = 15_000, 1_500  # messages in a round: some seconds, so that its first and last moments do not count much
ROUND_S = 20.0  # of requests, at most
LIMIT_S = 90.0  # until the last message
PROFILE_S = 40.0  # of load, at most
RSA_S = 2.0
WORKERS = 2
RivalStart = Callable[[Path, int, rivals.Key], AbstractContextManager[rivals.Rival]]
RIVALS: dict[str, RivalStart] = {"Postfix + OpenDKIM": rivals.postfix, "Haraka": rivals.haraka}


def run(table: Table, directory: Path, stores: list[Engine], rounds: int) -> None:
    """Every system once in each round; one that is not installed or does not work is left out, and the report says so."""
    systems: dict[str, Callable[[Path, bool], Delivered]] = {}
    for engine in stores:
        systems[engine.name] = lambda home, last, engine=engine: our_round(home, engine, table, profiled=last)  # type: ignore[misc]
    for name, begin in RIVALS.items():
        systems[name] = lambda home, last, begin=begin: rival_round(home, begin)  # type: ignore[misc]
    found: dict[str, list[Delivered]] = {name: [] for name in systems}
    absent: dict[str, str] = {}
    rsa: list[dict[str, float]] = []
    for number in range(rounds):
        rsa.append(rsa_round())
        for name, one in systems.items():
            if name in absent:
                continue
            os.sync()  # what the last one wrote shall not be this one's work
            try:
                found[name].append(one(round_directory(directory, name, number), number == rounds - 1))
            except BenchError as trouble:
                absent[name] = str(trouble)
    show(table, found, rsa, stores)
    table.remarks += [f"{name}: {trouble}" for name, trouble in absent.items()]
    if any(engine.name in absent for engine in stores):
        raise BenchError("see above")


def round_directory(directory: Path, name: str, number: int) -> Path:
    fresh = directory / f"b-{name.split()[0].lower()}-{number}"
    fresh.mkdir()
    fresh.chmod(0o755)  # Postfix and OpenDKIM run as users of their own
    return fresh


def rsa_round() -> dict[str, float]:
    """Signatures per second with a thread on each of two cores, as two processes of ours could make them."""
    report = report_of("ceiling_rsa", python("ceiling_rsa.py", RSA_S, WORKERS), RSA_S + 30)
    return {"rate": float(str(report["rate"])), "per_cpu_s": 1e6 / float(str(report["us"]))}


def our_round(directory: Path, engine: Engine, table: Table, *, profiled: bool) -> Delivered:
    with sink(directory) as to:
        at = install(directory / "data", to.port, engine.new_store())
        with serving(at, workers=WORKERS) as ours:
            send(ours, engine, to, Ask(ROUND_S, requests=WARM))
            measured = send(ours, engine, to, Ask(ROUND_S, requests=OURS, first=WARM))
            if profiled:
                table.remarks += profile(ours, engine, directory)
        check(measured, to.sample.read_bytes())
        return measured


def send(ours: Ours, engine: Engine, to: Sink, ask: Ask) -> Delivered:
    """From the first request to the last message; as many messages as requests were accepted in that time."""
    before, cpu = to.gauge.read(), cpu_s(ours.pids() | engine.pids())
    report = load(ours.installation.port, ask, ours.installation)
    accepted = int(report["good"])
    after = wait_for(to.gauge, before.messages + accepted, LIMIT_S)
    if (arrived := after.messages - before.messages) < accepted:
        raise BenchError(f"{arrived} of {accepted} messages arrived\n{ours.child.tail()}")
    return delivered(before, after, report["first"], cpu_s(ours.pids() | engine.pids()) - cpu)


def profile(ours: Ours, engine: Engine, directory: Path) -> list[str]:
    """What a steady stream of mail costs, measured after the figure so that it does not change it."""
    with steady(ours.installation, Ask(PROFILE_S, first=NUMBERS), directory):
        return where_time_goes(f"b, end to end on {engine.name}", ours.child.pid, directory)


def check(measured: Delivered, sample: bytes) -> None:
    """Nobody is praised for unsigned or repeated mail."""
    if measured.distinct != measured.messages:
        raise BenchError(f"{measured.messages} messages went to {measured.distinct} recipients")
    if measured.signed != measured.messages or not is_rsa_2048(sample):
        raise BenchError(f"{measured.signed} of {measured.messages} messages were signed; RSA-2048: {is_rsa_2048(sample)}")


def rival_round(directory: Path, begin: RivalStart) -> Delivered:
    key, message = rivals.new_key(), directory / "message.txt"
    write_message(message, rivals.DOMAIN)
    home = directory / "home"
    home.mkdir()
    with sink(directory) as to, begin(home, to.port, key) as rival:
        sender = f"shop@{rivals.DOMAIN}"
        relay_round(rival.port, rival.pids, to, message, sender, count=WARM, limit_s=LIMIT_S)
        measured = relay_round(rival.port, rival.pids, to, message, sender, count=THEIRS, limit_s=LIMIT_S)
        check(measured, to.sample.read_bytes())
        if not verifies(to.sample.read_bytes(), key.record):
            raise BenchError("its signature does not verify")
        return measured


def show(table: Table, found: dict[str, list[Delivered]], rsa: list[dict[str, float]], stores: list[Engine]) -> None:
    """By the clock and by CPU second: the second is what to trust when the machine does other things too."""
    for unit, of in (("", lambda one: one.rate), (", per CPU second", lambda one: one.per_cpu_s)):
        signatures = [one["per_cpu_s" if unit else "rate"] for one in rsa]
        ceiling = table.add(Figure("b", f"RSA-2048 signatures{unit}", signatures, "/s"))
        bases: dict[str, Figure] = {}
        for name in RIVALS:
            bases[name] = table.add(Figure("b", f"{name}{unit}", [of(one) for one in found[name]], "/s", base=ceiling))
        for engine in stores:
            name, rates = f"end to end, {engine.name}{unit}", [of(one) for one in found[engine.name]]
            table.add(Figure("b", name, rates, "/s", base=ceiling, bar=0.25, goal=0.55))
            for rival, base in bases.items():
                if base.rounds:
                    first = rival == next(iter(RIVALS))
                    table.add(Figure("b", name, rates, "/s", base=base, bar=1.5 if first else None, goal=4 if first else None))
