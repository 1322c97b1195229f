"""Stores for tests: every test that takes `store` or `store_url` runs on SQLite and on PostgreSQL."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis
import pytest
import uvloop

from aurorasend.clock import SystemClock
from aurorasend.config import Settings, load
from aurorasend.store import open_store
from aurorasend.store.migrate import migrate
from aurorasend.store.tx import Store
from tests import raised
from tests.postgres import Server, running

# No times: a busy machine is no fault. The same examples in every run: a change is judged by what it changes.
hypothesis.settings.register_profile(
    "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], derandomize=True
)
hypothesis.settings.load_profile("tests")

_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-codes", action="store_true", help="write docs/codes.md: the test that raises each return code")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(raised.Recorder(config), "raised")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the product runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """One server for the session. What it holds is thrown away, so it need not sync; tests of durability start their own."""
    with running("fsync=off") as server:
        with ThreadPoolExecutor(1) as apart:  # this thread may have a running loop
            apart.submit(asyncio.run, migrate(server.create("migrated"), Path())).result()
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """Where nothing is yet, not even the schema."""
    if request.param == "sqlite":
        return "sqlite"
    server: Server = request.getfixturevalue("postgres")
    return server.create(f"t{next(_numbers)}")


@pytest.fixture(params=["sqlite", "postgres"])
async def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store with the newest schema and nothing in it."""
    if request.param == "sqlite":
        await migrate("sqlite", tmp_path)
        return "sqlite"
    server: Server = request.getfixturevalue("postgres")
    return server.create(f"t{next(_numbers)}", "migrated")


@pytest.fixture
async def store(store_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store with the newest schema."""
    opened = open_store(store_url, tmp_path, SystemClock())
    yield opened
    await opened.close()


@pytest.fixture
def settings(store_url: str, tmp_path: Path) -> Settings:
    """Those of a command of the operator, on that store."""
    return load(tmp_path, assignments=[f"store.url={store_url}"], environment={})
