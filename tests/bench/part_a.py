"""Part a: accepted `mail/send` per second and latency, one core for the server, against the bare ceilings."""

import os
from pathlib import Path

from client import NUMBERS, Ask, load, steady
from engines import Engine
from process import cpu_s, family, free_port, python, report_of, running, start
from server import Installation, install, serving
from spent import where_time_goes
from table import Figure, Table

WARM_S, MEASURE_S, PROFILE_S = 1.0, 4.0, 40.0
SERVER_CORE, LOAD_CORE = 0, min(1, (os.cpu_count() or 1) - 1)
NOWHERE = 9  # the discard port: in this part nothing is delivered

Rounds = dict[str, list[dict[str, float]]]


def run(table: Table, directory: Path, stores: list[Engine], rounds: int) -> None:
    """Every system once in each round, so that a disturbance of the machine meets all of them."""
    installed: dict[str, Installation] = {}
    for engine in stores:
        home = directory / f"a-{engine.name}"
        home.mkdir()
        installed[engine.name] = install(home / "data", NOWHERE, engine.new_store())
    found: Rounds = {}
    for number in range(rounds):
        add(found, "starlette", bare_round(directory))
        for engine in stores:
            add(found, engine.name, our_round(installed[engine.name], engine, 2 * number))
    for number in range(rounds):  # last: PostgreSQL is busy for a while with what they leave
        for engine in stores:
            add(found, f"{engine.name} rows", store_round(directory, engine, number))
    show(table, found, stores)
    for engine in stores:
        with serving(installed[engine.name], roles="api", cores={SERVER_CORE}) as ours:
            ask = Ask(PROFILE_S, first=2 * rounds * NUMBERS, core=LOAD_CORE)
            with steady(installed[engine.name], ask, directory):
                table.remarks += where_time_goes(f"a, accepting on {engine.name}", ours.child.pid, directory)


def add(found: Rounds, name: str, report: dict[str, float]) -> None:
    """And have on disk what it wrote, or the next one measured would wait for it."""
    found.setdefault(name, []).append(report)
    os.sync()


def bare_round(directory: Path) -> dict[str, float]:
    port = free_port()
    with running(start("starlette", python("ceiling_http.py", port), directory, cores={SERVER_CORE})) as child:
        child.wait_port(port)
        load(port, Ask(WARM_S, core=LOAD_CORE))
        before = cpu_s(family(child.pid))
        report = load(port, Ask(MEASURE_S, core=LOAD_CORE))
        return {**report, "per_cpu_s": report["good"] / (cpu_s(family(child.pid)) - before)}


def our_round(at: Installation, engine: Engine, number: int) -> dict[str, float]:
    with serving(at, roles="api", cores={SERVER_CORE}) as ours:
        load(at.port, Ask(WARM_S, first=number * NUMBERS, core=LOAD_CORE), at)
        before = cpu_s(ours.pids() | engine.pids())
        report = load(at.port, Ask(MEASURE_S, first=(number + 1) * NUMBERS, core=LOAD_CORE), at)
        return {**report, "per_cpu_s": report["good"] / (cpu_s(ours.pids() | engine.pids()) - before)}


def store_round(directory: Path, engine: Engine, number: int) -> dict[str, float]:
    place = engine.new_store()
    if not place:
        fresh = directory / f"a-rows-{number}"
        fresh.mkdir()
        place = str(fresh)
    report = report_of("ceiling_store", python("ceiling_store.py", engine.name, place, MEASURE_S), MEASURE_S + 60)
    return {name: float(str(value)) for name, value in report.items()}


def show(table: Table, found: Rounds, stores: list[Engine]) -> None:
    def of(name: str, field: str) -> list[float]:
        return [one[field] for one in found[name]]

    bare = table.add(Figure("a", "bare Starlette", of("starlette", "rate"), "/s"))
    bare_core = table.add(Figure("a", "bare Starlette, per CPU second", of("starlette", "per_cpu_s"), "/s"))
    table.add(Figure("a", "bare Starlette, p99", of("starlette", "p99_ms"), "ms"))
    for engine in stores:
        rows = table.add(Figure("a", f"1 KB rows, {engine.name}", of(f"{engine.name} rows", "rate"), "/s"))
        name = f"accepted, {engine.name}"
        table.add(Figure("a", name, of(engine.name, "rate"), "/s", base=bare, bar=0.15, goal=0.35))
        table.add(Figure("a", name, of(engine.name, "rate"), "/s", base=rows))
        per_core = of(engine.name, "per_cpu_s")
        table.add(Figure("a", f"{name}, per CPU second", per_core, "/s", base=bare_core, bar=0.15, goal=0.35))
        table.add(Figure("a", f"{name}, p50", of(engine.name, "p50_ms"), "ms"))
        table.add(Figure("a", f"{name}, p99", of(engine.name, "p99_ms"), "ms", bar=50, at_most=True))
    table.add(Figure("a", "the load itself, CPU", of("starlette", "load_us"), "us"))
