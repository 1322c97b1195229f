"""The product as the bench runs it: `aurorasend serve` on a fresh data directory, with accounts from `aurorasend bootstrap`."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from process import ROOT, BenchError, Child, family, free_port, running, start

COMMAND = (sys.executable, "-m", "aurorasend")
# Limits per API_USER and account that are far below what is measured; everything else is as installed.
LIMITS = ("limits.send_per_minute=1000000000", "limits.daily_quota=999999999999")


@dataclass(frozen=True)
class Installation:
    """A data directory with accounts. `store` is the URL of a PostgreSQL database, "" for SQLite."""

    data: Path
    port: int
    settings: tuple[str, ...]
    user: str
    key: str
    domain: str


@dataclass(frozen=True)
class Ours:
    installation: Installation
    child: Child

    def pids(self) -> set[int]:
        return family(self.child.pid)


def install(directory: Path, sink: int, store: str = "") -> Installation:
    """A new installation in `directory` that relays to `sink`."""
    port = free_port()
    settings = [f"delivery.route=smtp://127.0.0.1:{sink}", f"http.listen=127.0.0.1:{port}", "log.level=warning", *LIMITS]
    if store:
        settings.append(f"store.url={store}")
    argv = [*COMMAND, "bootstrap", "--data", str(directory), *assignments(settings), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise BenchError(f"bootstrap ended with {done.returncode}:\n{done.stderr[-2000:]}")
    main = json.loads(done.stdout)["accounts"]["main"]
    return Installation(directory, port, tuple(settings), main["trigger"]["apiUser"], main["trigger"]["apiKey"], main["domain"])


def assignments(settings: Sequence[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


@contextmanager
def serving(
    at: Installation, *, roles: str = "", workers: int = 1, cores: set[int] | None = None, listens: bool = True
) -> Iterator[Ours]:
    """`aurorasend serve` until the context ends."""
    argv = [*COMMAND, "serve", "--data", at.data, *assignments(at.settings), "--workers", workers]
    argv += ["--roles", roles] if roles else []
    with running(start("aurorasend", [str(part) for part in argv], at.data.parent, cores=cores)) as child:
        if listens:
            child.wait_port(at.port)
        yield Ours(at, child)
