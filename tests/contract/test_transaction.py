"""What a transaction of either engine does: what is gathered, what waits, and what must be."""

import asyncio
from typing import Any

import asyncpg
import pytest

from aurorasend.clock import SystemClock
from aurorasend.codes import Unavailable, Undone
from aurorasend.store.postgres import WRITING, PostgresStore
from aurorasend.store.schema import account, meta, sequence
from aurorasend.store.tx import Hot, Row, Statement, Store, Tx, merging
from tests.postgres import Server

PUT = Statement("INSERT INTO meta (key, value) VALUES ($1, $2)")
GET = Statement("SELECT value FROM meta WHERE key = $1")
SOME = Statement("SELECT key FROM meta WHERE key IN texts($1) ORDER BY key")
NAMED = Statement("SELECT next FROM sequence WHERE name = $1")
ALL = Statement("SELECT key, value FROM meta WHERE key IN texts($1) ORDER BY key")
DROP = Statement("DELETE FROM meta WHERE key IN texts($1)")
SET = Statement("UPDATE meta SET value = $2 WHERE key = $1")
SET_SOME = Statement("UPDATE meta SET value = 'set' WHERE key IN texts($1) RETURNING 1")
RAISE = Statement("UPDATE sequence SET next = next + $2 WHERE name = $1 AND next + $2 <= 10 RETURNING 1")


class Short(Exception):
    """Fewer rows than there must be."""


async def value(store: Store, key: str) -> str | None:
    row = await store.read(lambda tx: tx.row(GET, key))
    return None if row is None else row[0]


async def test_what_is_gathered_is_written_at_the_end_and_only_by_its_own_unit(store: Store) -> None:
    async def write(tx: Tx, gathered: dict[str, int]) -> None:
        await tx.run_many(PUT, [(key, str(number)) for key, number in sorted(gathered.items())])

    async def good(tx: Tx) -> str | None:
        tx.gather(Hot.HINTS, write)["a"] = 1
        tx.gather(Hot.HINTS, write)["b"] = 2
        row = await tx.row(GET, "a")
        return None if row is None else row[0]

    async def bad(tx: Tx) -> None:
        tx.gather(Hot.HINTS, write)["c"] = 3
        raise ValueError("no")

    results = await asyncio.gather(store.write(bad), store.write(good), return_exceptions=True)
    assert isinstance(results[0], ValueError) and results[1] is None
    assert [await value(store, key) for key in "abc"] == ["1", "2", None]


async def test_inserts_are_seen_by_what_follows_and_fail_with_their_unit(store: Store) -> None:
    names = ("key", "value")
    told: list[str] = []

    async def unit(tx: Tx) -> None:
        await tx.insert(meta, names, [("a", "1"), ("b", "1")])
        await tx.insert(sequence, ("name", "next"), [("s", 7)])
        await tx.insert(meta, names, [("c", "1")])
        told.extend(row[0] for row in await tx.rows(SOME, tx.many(["a", "b", "c"])))
        told.append(str(await tx.next_id("s")))
        await tx.insert(meta, names, [("d", "1")])
        await tx.run(SET, "d", "2")
        await tx.insert(meta, names, [("last", "1")])

    await store.write(unit)
    assert told == ["a", "b", "c", "7"]
    assert [await value(store, key) for key in ("d", "last")] == ["2", "1"]

    async def twice(tx: Tx) -> None:
        await tx.insert(meta, names, [("e", "1")])
        await tx.insert(meta, names, [("last", "2")])

    with pytest.raises(Exception, match=r"(?i)unique"):
        await store.write(twice)
    for row in (("f",), ("f", "1", "2")):  # no row is cut or filled up
        with pytest.raises(Exception, match=r"(?i)values|bindings|parameters"):
            await store.write(lambda tx, row=row: tx.insert(meta, names, [row]))  # type: ignore[misc]
    assert [await value(store, key) for key in ("e", "last")] == [None, "1"]


async def test_changes_of_all_kinds_are_done_by_the_time_that_something_is_asked(store: Store) -> None:
    """And in their order, where one kind comes twice."""
    raised = merging(sequence, ("name",), ("next",), "next = sequence.next + excluded.next")
    told: list[Any] = []

    async def unit(tx: Tx) -> None:
        await tx.insert(meta, ("key", "value"), [(key, "1") for key in "abcd"])
        await tx.update(meta, 1, ("key", "value"), [("a", "2")])
        await tx.merge(raised, [("n", 5), ("m", 1)])
        await tx.update(meta, 1, ("key", "value"), [("a", "3"), ("b", "2")])
        await tx.change(DROP, tx.many(["c"]))
        await tx.merge(raised, [("n", 2)])
        await tx.merge(raised, [("n", 1)])
        await tx.merge(raised, [])
        told.append([tuple(row) for row in await tx.rows(ALL, tx.many([*"abcd"]))])
        told.append([(await tx.row(NAMED, name)) for name in "nm"])
        await tx.change(DROP, tx.many(["d"]))
        await tx.change(DROP, tx.many(["b"]))

    await store.write(unit)
    assert told == [[("a", "3"), ("b", "2"), ("d", "1")], [(8,), (1,)]]
    assert [await value(store, key) for key in "abcd"] == ["3", None, None, None]


ACCOUNTS = Statement("SELECT id, name, app_key, created, daily_quota FROM account ORDER BY id")


async def test_rows_with_columns_of_every_kind_are_written_as_they_are(store: Store) -> None:
    """What may be NULL, whole numbers up to the largest, texts with what a list of them might take for its own."""
    columns = ("name", "daily_quota", "id", "app_key", "created")
    raised = merging(account, ("id",), ("name", "app_key", "created", "daily_quota"), "daily_quota = excluded.daily_quota")
    least, most = -(2**63), 2**63 - 1

    async def unit(tx: Tx) -> None:
        rows = [("one", None, 1, b"", most), ('{"a",NULL}', 5, 2, b"\0\xff", least), ("", 0, 3, b"k", 0)]
        await tx.insert(account, columns, rows)
        await tx.insert(account, columns, [("four", None, 4, b"{}", 1)])
        await tx.update(account, 1, ("id", "daily_quota", "name"), [(1, 7, "NULL"), (2, None, "two\\")])
        await tx.merge(raised, [(3, "three", b"", 9, None), (5, "five", b"5", 9, 2**53 + 1)])

    await store.write(unit)
    assert await store.read(lambda tx: tx.rows(ACCOUNTS)) == [
        (1, "NULL", b"", most, 7),
        (2, "two\\", b"\0\xff", least, None),
        (3, "", b"k", 0, None),
        (4, "four", b"{}", 1, None),
        (5, "five", b"5", 9, 2**53 + 1),
    ]


async def test_postgresql_ends_who_stands_still_and_who_waits_for_a_lock(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they had is free for the others then, and they can go on."""
    monkeypatch.setitem(WRITING, "idle_in_transaction_session_timeout", "500ms")
    monkeypatch.setitem(WRITING, "lock_timeout", "50ms")
    store = PostgresStore(postgres.create("stands", "migrated"), SystemClock())
    await store.write(lambda tx: tx.run(PUT, "a", "1"))
    go_on = asyncio.Event()

    async def standing(tx: Tx) -> None:
        await tx.run(SET, "a", "2")
        await go_on.wait()
        await tx.run(SET, "a", "3")

    stands = asyncio.create_task(store.write(standing))
    await asyncio.sleep(0.05)
    with pytest.raises(Undone):
        await store.write(lambda tx: tx.run(SET, "a", "4"))
    await asyncio.sleep(0.6)
    assert await store.write(lambda tx: tx.run(SET, "a", "5")) == 1
    go_on.set()
    with pytest.raises(Undone):
        await stands
    assert await value(store, "a") == "5"
    await store.close()


@pytest.mark.parametrize("has_musts", [False, True])
async def test_what_goes_to_postgresql_together_is_done_in_its_order(postgres: Server, has_musts: bool) -> None:
    """What must be, and then the rest; locks are taken in it. That a server has done so until now does not say that it must, so
    it is looked at here."""
    names = [f"n{n}" for n in range(8)]

    def noting(name: str, end: str = "") -> Statement:
        return Statement(f"INSERT INTO meta (key, value) SELECT '{name}', clock_timestamp()::text || $1::text {end}")

    async def unit(tx: Tx) -> None:
        """In each of the halves, the second of which is in a transaction that has begun."""
        for first in (0, 4):
            for name in names[first + 2 : first + 4]:
                await tx.change(noting(name), "")
            for name in names[first : first + 2] if has_musts else ():
                await tx.must(noting(name, "RETURNING 1"), "", rows=1, otherwise=Short())
            if first == 0:
                await tx.rows(NAMED, "nobody")

    store = PostgresStore(postgres.create(f"ordered{int(has_musts)}", "migrated"), SystemClock())
    await store.write(unit)
    names = [name for name in names if has_musts or name[1] not in "0145"]
    done = [await value(store, name) or "" for name in names]
    await store.close()
    assert done == sorted(done) and len(set(done)) == len(names)


async def test_a_look_beside_sees_what_was_there_and_holds_up_nothing(store: Store) -> None:
    await store.write(lambda tx: tx.insert(sequence, ("name", "next"), [("s", 7)]))

    async def unit(tx: Tx) -> list[Row]:
        await tx.insert(meta, ("key", "value"), [("a", "1")])
        found = await tx.beside(NAMED, "s")
        await tx.run(SET, "a", "2")
        return found

    assert [tuple(row) for row in await store.write(unit)] == [(7,)]
    assert await value(store, "a") == "2"

    async def failing(tx: Tx) -> None:
        await tx.beside(RAISE, "s", 1)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.write(failing)
    assert await store.read(lambda tx: tx.row(NAMED, "s")) == (7,)


async def test_what_must_be_is_done_with_all_else(store: Store) -> None:
    """Also when the same must be twice, and in a transaction that has begun."""
    await store.write(lambda tx: tx.insert(sequence, ("name", "next"), [("n", 1), ("m", 1)]))

    async def unit(tx: Tx) -> None:
        await tx.insert(meta, ("key", "value"), [("c", "1")])
        await tx.must(RAISE, "n", 4, rows=1, otherwise=Short())
        await tx.must(RAISE, "n", 5, rows=1, otherwise=Short())
        await tx.must(RAISE, "m", 1, rows=1, otherwise=Short())
        await tx.insert(meta, ("key", "value"), [("d", "1")])

    async def begun(tx: Tx) -> None:
        await tx.run(PUT, "e", "1")
        await tx.must(SET_SOME, tx.many(["c", "d", "e"]), rows=3, otherwise=Short())

    await store.write(unit)
    assert [await store.read(lambda tx, name=name: tx.row(NAMED, name)) for name in "nm"] == [(10,), (2,)]  # type: ignore[misc]
    assert [await value(store, key) for key in "cd"] == ["1", "1"]
    await store.write(begun)
    assert [await value(store, key) for key in "cde"] == ["set"] * 3


@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_must_that_fails_is_told_by_its_own_error_and_undoes_all(store: Store, has_begun: bool) -> None:
    await store.write(lambda tx: tx.insert(sequence, ("name", "next"), [("n", 7), ("m", 8)]))

    def unit(n: int, m: int) -> Any:
        async def unit(tx: Tx) -> None:
            if has_begun:
                await tx.run(PUT, "run", "1")
            await tx.insert(meta, ("key", "value"), [("a", "1")])
            await tx.must(RAISE, "n", n, rows=1, otherwise=Short("n"))
            await tx.must(SET_SOME, tx.many([]), rows=0, otherwise=Short("none"))
            await tx.must(RAISE, "m", m, rows=1, otherwise=Short("m"))

        return unit

    for n, m, said in ((4, 1, "n"), (1, 3, "m"), (4, 3, "n")):
        with pytest.raises(Short, match=said):
            await store.write(unit(n, m))
    assert [await value(store, key) for key in ("run", "a")] == [None, None]
    assert [await store.read(lambda tx, name=name: tx.row(NAMED, name)) for name in "nm"] == [(7,), (8,)]  # type: ignore[misc]
    await store.write(unit(3, 2))


async def test_a_unit_that_caught_what_must_be_goes_on_without(store: Store) -> None:
    """On PostgreSQL it is run again: what it learns then it learned of no rows that it could not see before."""

    async def unit(tx: Tx) -> str:
        try:
            await tx.must(RAISE, "nobody", 1, rows=1, otherwise=Short())
        except Short:
            await tx.run(PUT, "a", "without")
            return "without"
        await tx.run(PUT, "a", "with")
        return "with"

    assert await store.write(unit) == await value(store, "a") == "without"


async def test_postgresql_begins_no_transaction_before_something_is_written(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who stands still before that holds up nobody, and is not ended; what waits is its own transaction."""
    monkeypatch.setitem(WRITING, "idle_in_transaction_session_timeout", "100ms")
    store = PostgresStore(postgres.create("begins", "migrated"), SystemClock())

    async def standing(tx: Tx) -> None:
        assert await tx.row(GET, "a") is None
        await tx.insert(meta, ("key", "value"), [("a", "1"), ("b", "1")])
        await tx.must(Statement("SELECT 1 FROM meta WHERE key = $1 FOR SHARE"), "none", rows=0, otherwise=Short())
        await asyncio.sleep(0.3)

    async def locking(tx: Tx) -> None:
        await tx.row(Statement(sqlite="SELECT 1", postgres="SELECT 1 FROM meta WHERE key = $1 FOR SHARE"), "a")
        await asyncio.sleep(0.3)

    await store.write(standing)
    assert [await value(store, key) for key in "ab"] == ["1", "1"]
    with pytest.raises(Unavailable):
        await store.write(locking)
    await store.close()


async def test_an_argument_that_cannot_be_sent_is_a_fault_of_the_unit(postgres: Server) -> None:
    """Not of the server, or all who share the transaction would be turned away."""
    store = PostgresStore(postgres.create("argument", "migrated"), SystemClock())
    for change in (lambda tx: tx.change(RAISE, "n", 2**64), lambda tx: tx.run(RAISE, "n", 2**64)):
        with pytest.raises(asyncpg.DataError):
            await store.write(change)
    await store.close()


@pytest.mark.parametrize("lock", ["UPDATE", "NO KEY UPDATE", "SHARE"])
def test_what_locks_is_no_read(lock: str) -> None:
    assert Statement("SELECT 1 FROM meta WHERE key = $1").is_read
    assert not Statement(f"SELECT 1 FROM meta WHERE key = $1 FOR {lock}").is_read


async def test_postgresql_tells_what_was_surely_not_done(postgres: Server) -> None:
    """Not of a connection that broke when all was being done at once: then it may be."""
    store = PostgresStore(postgres.create("cut", "migrated"), SystemClock())
    cut = Statement("INSERT INTO meta (key, value) SELECT $1, pg_terminate_backend(pg_backend_pid())::text")
    locked = Statement("SELECT 1 FROM meta WHERE key = $1 FOR UPDATE NOWAIT")
    await store.write(lambda tx: tx.run(PUT, "a", "1"))

    async def late(tx: Tx) -> None:
        await tx.change(cut, "b")

    async def early(tx: Tx) -> None:
        await tx.run(cut, "b")

    with pytest.raises(Unavailable) as may_be:
        await store.write(late)
    assert not isinstance(may_be.value, Undone)
    with pytest.raises(Undone):
        await store.write(early)
    other = await asyncpg.connect(store.url)
    async with other.transaction():
        await other.execute("SELECT 1 FROM meta FOR UPDATE")
        with pytest.raises(Undone):
            await store.write(lambda tx: tx.must(locked, "a", rows=1, otherwise=Short()))
    await other.close()
    await store.close()
