"""Files that are written whole or not at all leave nothing of themselves when they cannot be."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aurorasend.config import remember
from aurorasend.console.access import operator_token
from aurorasend.secret import open_vault


@contextmanager
def full() -> Iterator[None]:
    """Not a byte can be written to a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: open_vault(folder / "master.key"),
        lambda folder: operator_token(folder / "operator.token"),
        lambda folder: remember(folder, {"http.listen": "127.0.0.1:7"}),
    ],
    ids=["vault", "token", "settings"],
)
def test_a_full_disk_leaves_no_draft(tmp_path: Path, write: Callable[[Path], object]) -> None:
    with full(), pytest.raises(OSError, match="File too large"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path)
    (written,) = tmp_path.iterdir()
    assert written.stat().st_size > 0
