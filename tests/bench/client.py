"""Starts load.py, as a measured round or beside a profile, and reads its report."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from process import BenchError, python, report_of, running, start
from server import Installation

NUMBERS = 10_000_000  # of recipients kept apart for each round


@dataclass(frozen=True)
class Ask:
    """How much: until `seconds` or `requests` are over, recipients numbered from `first`, on `core` if one is named."""

    seconds: float
    requests: int = NUMBERS
    first: int = 0
    core: int | None = None


def command(port: int, ask: Ask, at: Installation | None) -> list[str]:
    argv = python("load.py", "--port", port, "--seconds", ask.seconds, "--requests", ask.requests, "--first", ask.first)
    argv += [] if ask.core is None else ["--core", str(ask.core)]
    return argv + (["--user", at.user, "--key", at.key, "--domain", at.domain] if at else [])


def load(port: int, ask: Ask, at: Installation | None = None) -> dict[str, float]:
    """The report's numbers. Raises BenchError unless every request was answered with success."""
    report = report_of("load", command(port, ask, at), ask.seconds + 60)
    if not report["good"] or report["good"] != report["sent"] or report["lost"]:
        raise BenchError(f"not every request was accepted: {report}")
    return {name: float(value) for name, value in report.items() if isinstance(value, int | float)}


@contextmanager
def steady(at: Installation, ask: Ask, directory: Path) -> Iterator[None]:
    """Load that goes on meanwhile; what it reports is not a figure."""
    with running(start("load", command(at.port, ask, at), directory)):
        yield
