"""`make bench`: prints, from one run, how fast this is against bare ceilings and against rivals. See docs/bench.md.

Usage: run.py [a] [b] [c] [d] [--rounds N] [--engines sqlite,postgres] [--waiting N] [--events N] [--directory DIR].
Without a part: a, b and c.
Nothing here asserts a time; the exit status says only whether everything could be measured.
"""

import argparse
import datetime
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.postgres, when run as a script

import part_a
import part_b
import part_c
import part_d
from engines import Engine, engines, file_system
from process import BenchError
from table import Table

PARTS = ("a", "b", "c")
WHEN_NAMED = ("d",)  # fills a disk with history first


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help="a: accepting; b: end to end; c: long queues (default: these); d: data"
    )
    parser.add_argument("--rounds", type=int, default=3, help="every system is measured so often, in turn (default 3)")
    parser.add_argument("--engines", default="sqlite,postgres")
    parser.add_argument("--waiting", type=int, default=1_000_000, help="waiting mails in part c (default 1,000,000)")
    parser.add_argument("--events", type=int, default=10_000_000, help="events in the store in part d (default 10,000,000)")
    parser.add_argument("--directory", help="where everything is kept meanwhile; a real disk, not a tmpfs")
    options = parser.parse_args()
    if wrong := set(options.parts) - {*PARTS, *WHEN_NAMED}:
        parser.error(f"no such part: {', '.join(sorted(wrong))}")
    return options


def fdatasync_us(directory: Path) -> float:
    """How long this disk takes to make 4 KB durable, microseconds; the figures depend on it."""
    handle = os.open(directory / "sync", os.O_RDWR | os.O_CREAT)
    begin = time.perf_counter()
    for _ in range(200):
        os.pwrite(handle, bytes(4096), 0)
        os.fdatasync(handle)
    os.close(handle)
    return (time.perf_counter() - begin) / 200 * 1e6


def python_ns() -> float:
    """What this interpreter needs for a few simple operations, nanoseconds, the best of five; builds of one version differ."""
    best = float("inf")
    for _ in range(5):
        kept: dict[str, tuple[int, bytes]] = {}
        begin = time.perf_counter()
        for n in range(20_000):
            kept[str(n & 1023)] = (n, f"{n}-x".encode())
        best = min(best, time.perf_counter() - begin)
    return best / 20_000 * 1e9


def machine(directory: Path) -> str:
    names = [
        line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    now = datetime.datetime.now(datetime.UTC)
    return (
        f"{now:%Y-%m-%d %H:%M} UTC; {len(names)} cores, {names[0] if names else platform.machine()}, {memory:.0f} GiB; "
        f"Linux {platform.release()}; Python {platform.python_version()}, {python_ns():.0f} ns for simple operations; "
        f"{file_system(directory)}, "
        f"fdatasync of 4 KB {fdatasync_us(directory):.0f} us; load of the machine before: {os.getloadavg()[0]:.2f}"
    )


def measure(part: str, table: Table, directory: Path, stores: list[Engine], options: argparse.Namespace) -> None:
    steps: dict[str, Callable[[], None]] = {
        "a": lambda: part_a.run(table, directory, stores, options.rounds),
        "b": lambda: part_b.run(table, directory, stores, options.rounds),
        "c": lambda: part_c.run(table, directory, stores, options.rounds, options.waiting),
        "d": lambda: part_d.run(table, directory, stores, options.rounds, options.events),
    }
    steps[part]()


def main() -> int:
    options = parse()
    table, failed = Table(), False
    with tempfile.TemporaryDirectory(prefix="aurorasend-bench-", dir=options.directory) as name:
        directory = Path(name)
        directory.chmod(0o755)
        print(machine(directory), flush=True)
        with engines(options.engines.split(",")) as stores:
            for part in options.parts or PARTS:
                print(f"measuring part {part} ...", flush=True)
                try:
                    measure(part, table, directory, stores, options)
                except BenchError as trouble:
                    failed = True
                    table.remarks.append(f"part {part} was not measured to its end: {trouble}")
    print("\n" + table.text())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
