"""A process among the nodes of a store."""

import os
from pathlib import Path

import pytest

from aurorasend.clock import HOUR, SystemClock
from aurorasend.membership import Membership
from aurorasend.store.tx import Store


async def test_a_lock_file_that_cannot_be_made_costs_no_other_file(store: Store, tmp_path: Path) -> None:
    """The one that it gave up is closed once: its number soon belongs to another file."""
    membership = Membership(store, SystemClock(), tmp_path / "run", HOUR, delivers=True)
    await membership.join()
    number, others = membership._lock, list[int]()
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError):
        await membership.renew()
    while number not in others:
        others.append(os.open(os.devnull, os.O_RDONLY))
        assert len(others) < 100
    with pytest.raises(FileNotFoundError):
        await membership.renew()
    await membership.leave()
    for other in others:
        os.close(other)  # raises when somebody else has closed it
