"""Places where a node can run: a data directory, a store, and accounts in it."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aurorasend.bootstrap import WANTED
from aurorasend.simulator import Internet
from aurorasend.store.migrate import migrate
from tests.running import Place, bootstrapped


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with SQLite and all accounts, to be copied."""
    data = tmp_path_factory.mktemp("made")
    with ThreadPoolExecutor(1) as apart:  # this thread may have a running loop
        apart.submit(asyncio.run, migrate("sqlite", data)).result()
        apart.submit(asyncio.run, bootstrapped(data, "sqlite", list(WANTED))).result()
    return data


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """A data directory with SQLite and all accounts."""
    return Path(shutil.copytree(made, tmp_path / "data"))


@pytest.fixture
async def place(store_url: str, tmp_path: Path) -> Place:
    """A data directory and a store, once with SQLite and once with PostgreSQL, and the accounts main and tight."""
    await bootstrapped(tmp_path, store_url, ["main", "tight"])
    return Place(tmp_path, store_url)


@pytest.fixture
async def internet() -> AsyncIterator[Internet]:
    """With one mail host, mx.example.net, for the domain example.net."""
    async with Internet() as found:
        found.add_domain("example.net", await found.add_host("mx.example.net"))
        yield found
