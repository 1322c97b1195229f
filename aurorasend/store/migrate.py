"""Brings the schema of either engine to the newest revision, under a lock, before any role starts (design §7)."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event, make_url, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from aurorasend.store import sqlite_path
from aurorasend.store.schema import metadata

_LOCK = 7_261_004  # pg_advisory_lock key; any constant of ours


def alembic_config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    config.attributes["metadata"] = metadata
    return config


async def migrate(url: str, data: Path) -> None:
    """Raises what the engine raises when the store cannot be reached."""
    path = sqlite_path(url, data)
    if path is not None:
        _migrate_sqlite(path)
    else:
        await _migrate_postgres(url)


def _migrate_sqlite(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{path}", poolclass=pool.NullPool)
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA journal_mode = WAL"))
    with _file_lock(path.with_suffix(".migrate")), engine.connect() as connection:
        command.upgrade(alembic_config(connection), "head")
        connection.commit()
    path.chmod(0o600)


async def _migrate_postgres(url: str) -> None:
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"), poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            await connection.run_sync(lambda sync: command.upgrade(alembic_config(sync), "head"))
            await connection.commit()
    finally:
        await engine.dispose()


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
