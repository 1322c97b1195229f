"""The only SQL. `open_store` gives the engine that the URL names; `migrate` brings its schema up to date first."""

from pathlib import Path

from aurorasend.clock import Clock
from aurorasend.store.postgres import POOL, PostgresStore
from aurorasend.store.sqlite import SqliteStore
from aurorasend.store.tx import Row, Statement, Store, Tx

__all__ = ["Row", "Statement", "Store", "Tx", "open_store", "sqlite_path"]


def sqlite_path(url: str, data: Path) -> Path | None:
    """Where the SQLite file is, or None when `url` names a PostgreSQL server. `sqlite` alone is `DATA/aurorasend.db`."""
    if url.startswith(("postgresql://", "postgres://")):
        return None
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else data / "aurorasend.db"


def open_store(url: str, data: Path, clock: Clock, connections: int = POOL) -> Store:
    """`connections`: of this process to PostgreSQL, at most."""
    path = sqlite_path(url, data)
    return PostgresStore(url, clock, connections) if path is None else SqliteStore(path, clock)
