"""A full disk: new mail is refused with 40901, nothing accepted is lost, and room is all that is needed to go on."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.disk_full import LIMIT_S, NOT_MOUNTED
from tests.cluster.server import ROOT, python


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that the database's own user can reach, which pytest's are not."""
    with tempfile.TemporaryDirectory(prefix="aurorasend-full-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 60)
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_a_full_disk_refuses_and_loses_nothing(engine: str, reachable: Path) -> None:
    space = ["unshare", "--mount"]
    if os.geteuid() != 0:
        space += ["--user", "--map-current-user", "--keep-caps"]
    try:
        done = subprocess.run(
            [*space, *python("-m", "tests.cluster.disk_full", engine, reachable)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S + 30,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare(1) here, so no small file system of our own")
    print(done.stdout)
    if done.returncode == NOT_MOUNTED or done.stdout.startswith("unshare:"):
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout
