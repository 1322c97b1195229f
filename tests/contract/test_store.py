"""What both engines must do alike: transactions, group commit, sequences, the schema."""

import asyncio
import errno
import fcntl
import itertools
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from aurorasend.clock import SystemClock
from aurorasend.codes import Unavailable
from aurorasend.store.migrate import migrate
from aurorasend.store.postgres import PostgresStore
from aurorasend.store.schema import meta, sequence
from aurorasend.store.sqlite import SqliteStore
from aurorasend.store.tx import Statement, Store, Tx
from tests.open_files import open_files
from tests.postgres import Server

PUT = Statement("INSERT INTO meta (key, value) VALUES ($1, $2)")
GET = Statement("SELECT value FROM meta WHERE key = $1")
SOME = Statement("SELECT key FROM meta WHERE key IN texts($1) ORDER BY key")
NUMBER = Statement("SELECT next FROM sequence WHERE next = $1")
NAMED = Statement("SELECT next FROM sequence WHERE name = $1")
ALL = Statement("SELECT key, value FROM meta WHERE key IN texts($1) ORDER BY key")
DROP = Statement("DELETE FROM meta WHERE key IN texts($1)")
SET = Statement("UPDATE meta SET value = $2 WHERE key = $1")


async def value(store: Store, key: str) -> str | None:
    row = await store.read(lambda tx: tx.row(GET, key))
    return None if row is None else row[0]


async def test_what_was_written_can_be_read(store: Store) -> None:
    assert await store.write(lambda tx: tx.run(PUT, "a", "1")) == 1
    assert await value(store, "a") == "1"


async def test_rows_are_changed_each_by_values_of_its_own(store: Store) -> None:
    async def unit(tx: Tx) -> None:
        await tx.insert(meta, ("key", "value"), [(key, "1") for key in "abc"])
        await tx.update(meta, 1, ("key", "value"), [("a", "1'\"\\é\n"), ("c", "3"), ("nobody", "4")])
        await tx.update(meta, 1, ("key", "value"), [])
        await tx.insert(sequence, ("name", "next"), [("low", 1), ("high", 2)])
        await tx.update(sequence, 1, ("name", "next"), [("high", 2**63 - 1)])

    await store.write(unit)
    assert [await value(store, key) for key in "abc"] == ["1'\"\\é\n", "1", "3"]
    assert await store.read(lambda tx: tx.row(NUMBER, 2**63 - 1)) and await store.read(lambda tx: tx.row(NUMBER, 1))


async def test_many_rows_are_inserted_once_each(store: Store) -> None:
    await store.write(lambda tx: tx.insert(meta, ("key", "value"), [(f"{n:03}", str(n)) for n in range(127)]))
    assert [row[0] for row in await store.read(lambda tx: tx.rows(SOME, tx.many([f"{n:03}" for n in range(200)])))] == [
        f"{n:03}" for n in range(127)
    ]


async def test_a_unit_that_fails_changes_nothing_and_hurts_no_other(store: Store) -> None:
    async def bad(tx: Tx) -> None:
        await tx.run(PUT, "bad", "1")
        raise ValueError("no")

    wanted = [store.write(lambda tx, n=n: tx.run(PUT, f"good{n}", "1")) for n in range(20)]  # type: ignore[misc]
    results = await asyncio.gather(*wanted[:10], store.write(bad), *wanted[10:], return_exceptions=True)
    assert sum(isinstance(result, ValueError) for result in results) == 1
    assert results.count(1) == 20
    assert await value(store, "bad") is None
    assert all([await value(store, f"good{n}") == "1" for n in range(20)])


async def test_a_broken_statement_hurts_no_other(store: Store) -> None:
    results = await asyncio.gather(
        store.write(lambda tx: tx.run(PUT, "a", "1")),
        store.write(lambda tx: tx.run(Statement("INSERT INTO nowhere VALUES ($1)"), "x")),
        store.write(lambda tx: tx.run(PUT, "b", "1")),
        return_exceptions=True,
    )
    assert isinstance(results[1], Exception)
    assert [results[0], results[2]] == [1, 1]
    assert await value(store, "b") == "1"


async def test_the_same_key_twice_at_once_is_written_once(store: Store) -> None:
    results = await asyncio.gather(*(store.write(lambda tx: tx.run(PUT, "k", "v")) for _ in range(8)), return_exceptions=True)
    assert results.count(1) == 1
    assert sum(isinstance(result, Exception) for result in results) == 7


async def test_insert_takes_many_rows_of_any_text(store: Store) -> None:
    rows = [(f"k{n}", f"ü漢🚀'\"\\%{n}") for n in range(500)]
    await store.write(lambda tx: tx.insert(meta, ("key", "value"), rows))
    assert await value(store, "k499") == rows[499][1]
    found = await store.read(lambda tx: tx.rows(SOME, tx.many(["k1", "k7", "nothing"])))
    assert found == [("k1",), ("k7",)]


async def test_numbers_of_a_sequence_are_never_given_twice(store: Store) -> None:
    firsts = await asyncio.gather(*(store.write(lambda tx: tx.take_ids("x", 5)) for _ in range(40)))
    numbers = [first + n for first in firsts for n in range(5)]
    assert len(set(numbers)) == 200
    assert min(numbers) == 1
    assert await store.write(lambda tx: tx.next_id("y")) == 1


async def test_a_reader_sees_committed_things_only(store: Store) -> None:
    await store.write(lambda tx: tx.run(PUT, "a", "old"))
    seen: list[str | None] = []

    async def slow(tx: Tx) -> None:
        await tx.run(SET, "a", "new")

    for _ in range(20):
        _, got = await asyncio.gather(store.write(slow), value(store, "a"))
        seen.append(got)
    assert set(seen) <= {"old", "new"}
    assert await value(store, "a") == "new"


async def test_a_read_cannot_write(store: Store) -> None:
    with pytest.raises(Exception):  # noqa: B017 each engine has its own
        await store.read(lambda tx: tx.run(PUT, "a", "1"))
    assert await value(store, "a") is None


async def test_an_argument_that_cannot_be_told_is_no_trouble_of_the_store(store: Store) -> None:
    """Nothing is to be tried again until it works."""
    with pytest.raises((asyncpg.DataError, OverflowError)):
        await store.read(lambda tx: tx.row(NUMBER, 2**63))


async def test_a_closed_store_is_unavailable(store: Store) -> None:
    await store.close()
    if store.engine == "sqlite":
        with pytest.raises(Unavailable):
            await store.write(lambda tx: tx.run(PUT, "a", "1"))


async def test_the_migrated_schema_is_the_described_one(empty_url: str, tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import Connection, create_engine, make_url
    from sqlalchemy.ext.asyncio import create_async_engine

    from aurorasend.store.migrate import migrate
    from aurorasend.store.schema import metadata

    await migrate(empty_url, tmp_path)
    await migrate(empty_url, tmp_path)  # a second time changes nothing

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    if empty_url == "sqlite":
        with create_engine(f"sqlite:///{tmp_path / 'aurorasend.db'}").connect() as connection:
            assert differences(connection) == []
    else:
        engine = create_async_engine(make_url(empty_url).set(drivername="postgresql+asyncpg"))
        async with engine.connect() as async_connection:
            assert await async_connection.run_sync(differences) == []
        await engine.dispose()


async def test_what_is_written_is_found_by_an_index(postgres: Server) -> None:
    """However small the server believes the table to be; answers may read a table whole."""
    store = PostgresStore(postgres.create("indexed", "migrated"), SystemClock())
    text = Statement("EXPLAIN UPDATE node SET until = 0 FROM unnest($1::bigint[]) AS given(id) WHERE node.id = given.id")
    plan = "".join([line for (line,) in await store.write(lambda tx: tx.rows(text, list(range(1000))))])
    assert "node_pkey" in plan and "Seq Scan" not in plan
    assert await store.read(lambda tx: tx.row(Statement("SHOW enable_seqscan"))) == ("on",)
    await store.close()


async def test_a_server_that_takes_no_writes_is_unavailable(postgres: Server) -> None:
    standby = postgres.create("standby", "migrated")
    store = PostgresStore(f"{standby}{'&' if '?' in standby else '?'}default_transaction_read_only=on", SystemClock())
    with pytest.raises(Unavailable, match="takes no writes"):
        await store.write(lambda tx: tx.run(PUT, "a", "1"))
    await store.close()


async def test_what_is_committed_is_answered_so_though_the_connection_cannot_be_given_back(
    postgres: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The pool closes one that is used up or of another server, and waits for the end of it."""
    store = PostgresStore(postgres.create("given_back", "migrated"), SystemClock())

    async def close(connection: Any, *, timeout: float | None = None) -> None:
        connection.terminate()
        raise TimeoutError(timeout)

    async def unit(tx: Tx) -> int:
        await store._pools[False].expire_connections()
        return await tx.run(PUT, "a", "1")

    with monkeypatch.context() as patched:
        patched.setattr(asyncpg.Connection, "close", close)
        assert await store.write(unit) == 1
    assert "could not be given back" in caplog.text
    assert await store.write(lambda tx: tx.run(PUT, "b", "2")) == 1
    assert [await value(store, key) for key in "ab"] == ["1", "2"]
    await store.close()


@asynccontextmanager
async def two_processes(data: Path) -> AsyncIterator[tuple[SqliteStore, SqliteStore]]:
    """As if each were one: their own files of the locks. What the first keeps locked ends with it, so that the second can."""
    await migrate("sqlite", data)
    first, second = (SqliteStore(data / "aurorasend.db", SystemClock()) for _ in range(2))
    try:
        yield first, second
    finally:
        await first.close()
        await second.close()


def let_flock_fail(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """In its `call`th call from now on, as when the file system has no lock to give."""
    given, calls = fcntl.flock, itertools.count(1)

    def flock(handle: int, operation: int) -> None:
        if next(calls) == call:
            raise OSError(errno.ENOLCK, "No locks available")
        given(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)


async def test_a_file_that_cannot_be_opened_for_reading_is_unavailable(tmp_path: Path) -> None:
    """As with no file handle left; and a reader that is opened later can still not write."""
    await migrate("sqlite", tmp_path)
    path = tmp_path / "aurorasend.db"
    store = SqliteStore(path, SystemClock())
    aside = path.rename(tmp_path / "aside")
    path.mkdir()
    with pytest.raises(Unavailable):
        await value(store, "a")
    path.rmdir()
    aside.rename(path)
    assert await value(store, "a") is None
    with pytest.raises(Exception, match="readonly"):
        await store.read(lambda tx: tx.run(PUT, "a", "1"))
    await store.close()


async def write_in_time(store: Store, key: str) -> int:
    async with asyncio.timeout(5):
        return await store.write(lambda tx: tx.run(PUT, key, "1"))


@pytest.mark.parametrize("call", [1, 2, 3])
async def test_a_turn_that_cannot_be_taken_keeps_no_other_process_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    async with two_processes(tmp_path) as (first, second):
        let_flock_fail(monkeypatch, call)
        with pytest.raises(Unavailable, match="No locks available"):
            await write_in_time(first, "a")
        assert await write_in_time(second, "b") == 1
        assert await write_in_time(first, "c") == 1
        assert await write_in_time(second, "d") == 1
        assert [await value(second, key) for key in "abcd"] == [None, "1", "1", "1"]


async def test_what_is_committed_is_answered_so_though_the_turn_cannot_be_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with two_processes(tmp_path) as (first, second):
        let_flock_fail(monkeypatch, 4)
        assert await write_in_time(first, "a") == 1
        assert "could not be given back" in caplog.text
        assert await write_in_time(second, "b") == 1
        assert await write_in_time(first, "c") == 1
        assert [await value(second, key) for key in "abc"] == ["1", "1", "1"]


async def test_a_turn_whose_files_cannot_be_opened_is_taken_when_they_can(tmp_path: Path) -> None:
    """Nothing that was opened is kept twice."""
    async with two_processes(tmp_path) as (first, second):
        (tmp_path / "write.now").mkdir()
        for _ in range(3):
            with pytest.raises(Unavailable):
                await write_in_time(first, "a")
        assert "write.next" not in open_files(tmp_path)
        (tmp_path / "write.now").rmdir()
        assert await write_in_time(first, "b") == await write_in_time(second, "c") == 1


async def written(data: Path, *units: str, group_s: float = 10.0, begin_s: float = 0.0) -> tuple[list[object], list[str]]:
    """What came of units on SQLite of which the first waits until all others do, and the statements of the writer. `units`
    name a key each; `!` is for one that fails."""
    await migrate("sqlite", data)
    store, said, others = SqliteStore(data / "aurorasend.db", SystemClock(), group_s=group_s), list[str](), threading.Event()

    async def write(name: str) -> None:
        async def unit(tx: Tx) -> None:
            if name == units[0]:
                assert others.wait(5)
                threading.Event().wait(begin_s)
            await tx.run(PUT, name, "1")
            if name.startswith("!"):
                raise ValueError(name)

        await store.write(unit)

    try:
        store._opened[0].set_trace_callback(said.append)
        first = asyncio.create_task(write(units[0]))
        async with asyncio.timeout(5):
            while "BEGIN IMMEDIATE" not in said:  # noqa: ASYNC110 said by another thread
                await asyncio.sleep(0.001)
        rest = [asyncio.create_task(write(name)) for name in units[1:]]
        await asyncio.sleep(0)
        others.set()
        found = [str(result) for result in await asyncio.gather(first, *rest, return_exceptions=True)]
        kept = {row[0] for row in await store.read(lambda tx: tx.rows(SOME, tx.many(list(units))))}
        assert kept == {name for name in units if not name.startswith("!")}
        return list(found), [text for text in said if text.split()[0] in ("BEGIN", "COMMIT", "ROLLBACK")]
    finally:
        await store.close()


async def test_what_comes_while_a_transaction_is_open_joins_it(tmp_path: Path) -> None:
    assert await written(tmp_path, "one", "two", "three") == (["None"] * 3, ["BEGIN IMMEDIATE", "COMMIT"])


async def test_a_unit_that_fails_in_a_transaction_that_others_joined_undoes_only_itself(tmp_path: Path) -> None:
    undone = ["BEGIN IMMEDIATE", "ROLLBACK TO unit", "COMMIT"]
    assert await written(tmp_path, "one", "!two", "three") == (["None", "!two", "None"], undone)
    again = ["BEGIN IMMEDIATE", "ROLLBACK", "BEGIN IMMEDIATE", "COMMIT"]
    assert await written(tmp_path, "!four", "five") == (["!four", "None"], again)


async def test_nothing_joins_a_transaction_that_has_been_open_for_long(tmp_path: Path) -> None:
    twice = ["BEGIN IMMEDIATE", "COMMIT"] * 2
    assert await written(tmp_path, "one", "two", "three", group_s=1.0, begin_s=1.5) == (["None"] * 3, twice)
