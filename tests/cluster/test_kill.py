"""A server killed with SIGKILL at random moments loses nothing, and says exactly once what became of each mail."""

import secrets
from pathlib import Path

import pytest

from tests.cluster import kill
from tests.postgres import Server

ROUNDS = 50


def check(data: Path, url: str, rounds: int) -> None:
    seed = secrets.randbelow(1_000_000)
    report = kill.run(data, url, rounds, seed)
    print(f"seed {seed}: {report}")
    assert report.problems == [], f"seed {seed}: {report}"
    assert report.delivered > rounds, "there was no load"
    assert report.waiting > 0 and report.failed > 0, "not every end of a mail was there"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_when_the_server_is_killed_sqlite(tmp_path: Path) -> None:
    check(tmp_path / "data", "sqlite", ROUNDS)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_when_the_server_is_killed_postgres(tmp_path: Path, postgres: Server) -> None:
    check(tmp_path / "data", postgres.create("killed"), ROUNDS)
