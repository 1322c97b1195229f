"""PostgreSQL >= 15, for several nodes. What a unit of work writes is a transaction on a connection of a small pool.

Always: `synchronous_commit=on`; rows that come often are written as arrays (given), many in one statement,
and what goes to several tables in one too (PostgresTx). Callers batch (submission and delivery group their work), the server
groups commits of different connections itself.
"""

import asyncio
import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import asyncpg
from sqlalchemy import Table

from aurorasend.clock import Clock
from aurorasend.codes import Unavailable, Undone
from aurorasend.store.given import given_arguments, given_rows
from aurorasend.store.tx import Common, Engine, Merge, Row, Statement, Unit, complete, update_text

T = TypeVar("T")
log = logging.getLogger(__name__)

POOL = 8
COMMAND_S = 60  # longest statement
ACQUIRE_S = 30  # longest wait for a connection
SESSION = {"synchronous_commit": "on", "application_name": "aurorasend", "jit": "off"}
READING = {"default_transaction_read_only": "on"}
# A plan that was made when a table was small reads it whole each time, until the server has analyzed it: a minute or more in
# which it grows. All that is written is found by an index.
#
# Who stands still within a transaction, or is cut off, keeps rows locked for the others: the server ends it, with the usual
# settings before the lease of its node does; and nobody waits for a lock longer than that.
# What nobody waits for any more ends when it would have been given up.
WRITING = {
    "enable_seqscan": "off",
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "10s",
    "statement_timeout": f"{COMMAND_S}s",
}
_NUMBERED = re.compile(r"\$(\d+)")
REPEATS = 5  # how often a unit is run again

_UNMET = asyncpg.DivisionByZeroError  # a `must` of several parts

# What another transaction caused. A unit looks before it writes, so two that write the same name at the same time are
# told apart by running the second again: then it finds what the first wrote.
_AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.UniqueViolationError, _UNMET)
# What the server says instead of committing.
_REFUSED = (asyncpg.InsufficientResourcesError, asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a statement on a connection that had just broken
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,  # disk full, too many connections
    asyncpg.PostgresIOError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)


async def _as_it_is(_: Any) -> None:
    """A connection goes back to the pool as its transaction left it: no unit changes the session, and asking the server to
    reset it would be one more round trip."""


class Part(NamedTuple):
    """What may go to the server together with others: rows to insert into `table` (`end`: on a conflict), or to change in it
    (found by the first `key` columns), or a statement; with `must` one that is to return as many rows as its last argument
    says."""

    table: Table | None
    columns: tuple[str, ...] = ()
    key: int = 0
    end: str = ""
    statement: Statement | None = None
    must: bool = False


class PostgresTx(Common):
    """What is asked nothing back waits for the next statement that is, and goes ahead of it together, in one statement: every
    statement is a round trip, which costs more than its rows do. All parts see the store as it was before them, so who writes
    what a waiting part has written comes after it.

    For the same reason the transaction begins with the first statement that writes or locks; and when that is what waits at
    the end, it is a transaction by itself. Reads before it see what is committed by then, as they do within a transaction.
    A `must` waits too. When one fails the unit is run again with a `careful` tx, which asks each at once."""

    engine: Engine = "postgres"

    def __init__(self, connection: Any, texts: dict[tuple[Part, ...], str], *, careful: bool = False) -> None:
        super().__init__()
        self._connection = connection
        self._texts = texts
        self._careful = careful
        self._transaction: Any = None
        self._waiting: dict[Part, list[Sequence[Any]]] = {}  # rows; of a statement its arguments, once
        self.is_ending = False  # from now on it may be committed

    async def rows(self, sql: Statement, *args: Any) -> list[Row]:
        await self._before(sql)
        return [tuple(record) for record in await self._connection.fetch(sql.postgres, *args)]

    async def row(self, sql: Statement, *args: Any) -> Row | None:
        await self._before(sql)
        record = await self._connection.fetchrow(sql.postgres, *args)
        return None if record is None else tuple(record)

    async def run(self, sql: Statement, *args: Any) -> int:
        await self._before(sql)
        status: str = await self._connection.execute(sql.postgres, *args)
        return int(status.rsplit(" ", 1)[-1]) if status[-1:].isdigit() else 0

    async def run_many(self, sql: Statement, rows: Iterable[Sequence[Any]]) -> None:
        await self._before(sql)
        await self._connection.executemany(sql.postgres, rows)

    async def beside(self, sql: Statement, *args: Any) -> list[Row]:
        if not sql.is_read:
            await self._begin()
        return [tuple(record) for record in await self._connection.fetch(sql.postgres, *args)]

    async def insert(self, table: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self._waiting.setdefault(Part(table, tuple(columns)), []).extend(rows)

    async def update(self, table: Table, key: int, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if any(part.table is table for part in self._waiting):
            await self.flush()
        if rows:
            self._waiting[Part(table, tuple(columns), key)] = list(rows)

    async def change(self, sql: Statement, *args: Any) -> None:
        await self._wait(Part(None, statement=sql), args)

    async def merge(self, merge: Merge, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            part = Part(merge.table, merge.columns, end=merge.end)
            if part in self._waiting:  # no row is changed twice in one statement
                await self.flush()
            self._waiting[part] = list(rows)

    async def must(self, sql: Statement, *args: Any, rows: int, otherwise: Exception) -> None:
        if not self._careful:
            await self._wait(Part(None, statement=sql, must=True), (*args, rows))
        elif len(await self.rows(sql, *args)) != rows:
            raise otherwise

    async def _wait(self, part: Part, args: Sequence[Any]) -> None:
        if part in self._waiting:
            await self.flush()
        self._waiting[part] = [args]

    async def _before(self, sql: Statement) -> None:
        await self.flush()
        if not sql.is_read:
            await self._begin()

    async def _begin(self) -> None:
        if self._transaction is None:
            transaction = self._connection.transaction()
            await transaction.start()
            self._transaction = transaction

    async def flush(self) -> None:
        """Run what waits."""
        if self._waiting:
            await self._begin()
            await self._send()

    async def commit(self) -> None:
        """Run what waits, and end the transaction, if there is one."""
        if self._transaction is None:
            self.is_ending = True
            await self._send()
        else:
            await self.flush()
            self.is_ending = True
            await self._transaction.commit()

    async def roll_back(self) -> None:
        if self._transaction is not None and not self.is_ending:
            await self._transaction.rollback()

    async def _send(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        parts = tuple(waiting)
        if parts not in self._texts:
            self._texts[parts] = _together(parts)
        arguments: list[Any] = []
        for part, rows in waiting.items():
            arguments += rows[0] if part.table is None else given_arguments(part.table, part.columns, rows)
        await self._connection.execute(self._texts[parts], *arguments)

    def many(self, values: Sequence[int] | Sequence[str]) -> Any:
        return list(values)


class PostgresStore:
    engine: Engine = "postgres"

    def __init__(self, url: str, clock: Clock, connections: int = POOL) -> None:
        self.url = url
        self._connections = connections
        self.clock = clock
        self._pools: dict[bool, Any] = {}  # for reading only, and the others
        self._opening = asyncio.Lock()
        self._texts: dict[tuple[Part, ...], str] = {}

    async def write(self, unit: Unit[T]) -> T:
        return await self._run(unit, readonly=False)

    async def read(self, unit: Unit[T]) -> T:
        return await self._run(unit, readonly=True)

    async def close(self) -> None:
        for pool in self._pools.values():
            try:
                await asyncio.wait_for(pool.close(), 5)
            except TimeoutError:
                pool.terminate()

    async def _run(self, unit: Unit[T], *, readonly: bool) -> T:
        careful = False
        for repeat in range(REPEATS + 1):
            tx: PostgresTx | None = None
            try:
                pool = self._pools.get(readonly) or await self._open(readonly=readonly)
                connection = await pool.acquire(timeout=ACQUIRE_S)
                try:
                    tx = PostgresTx(connection, self._texts, careful=careful)
                    return await _whole(unit, tx)
                finally:
                    await _give_back(pool, connection)
            except _AGAIN as error:
                if repeat == REPEATS:
                    raise
                careful = careful or isinstance(error, _UNMET)
            except asyncpg.ReadOnlySQLTransactionError as error:  # a standby, after a failover; or a read that writes, a bug
                if readonly:
                    raise
                await pool.expire_connections()  # the next ones may lead to the server that took over
                raise Undone(f"postgres takes no writes: {error}") from error
            except _AWAY as error:
                is_undone = tx is None or not tx.is_ending or isinstance(error, _REFUSED)
                kind = Undone if is_undone else Unavailable
                raise kind(f"postgres: {type(error).__name__}: {error}") from error
        raise AssertionError("the last repeat returns or raises")

    async def _open(self, *, readonly: bool) -> Any:
        """Half of the connections are for reading, and can do nothing else: so it takes no transaction to be sure of that."""
        async with self._opening:
            if readonly not in self._pools:
                self._pools[readonly] = await asyncpg.create_pool(
                    self.url,
                    min_size=1,
                    max_size=max(1, self._connections // 2),
                    command_timeout=COMMAND_S,
                    statement_cache_size=512,
                    timeout=10,
                    reset=_as_it_is,
                    server_settings=SESSION | (READING if readonly else WRITING),
                )
        return self._pools[readonly]


async def _whole(unit: Unit[T], tx: PostgresTx) -> T:
    try:
        result = await complete(unit, tx, tx)
        await tx.commit()
    except BaseException:
        await tx.roll_back()
        raise
    return result


async def _give_back(pool: Any, connection: Any) -> None:
    """No failure: what was done on the connection is done. The pool drops one that it cannot keep."""
    try:
        await pool.release(connection)
    except Exception as error:
        log.warning("a connection could not be given back: %s: %s", type(error).__name__, error)


def _together(parts: Sequence[Part]) -> str:
    """One statement that does what each part does; the arguments of a part with a table are its rows (given).

    The server runs the main one first, and then those of WITH, the last one first: by this order they are done as they came,
    and so are their locks taken. Those that must find rows come before all others, asked for by the main one, which divides
    by zero unless each has found them."""
    texts: list[str] = []
    met: list[str] = []
    number = 0
    for n, part in enumerate(parts):
        text, count = _text_of(part, number)
        texts.append(text)
        number += count
        if part.must:
            number += 1
            met.append(f"(SELECT count(*) FROM part{n}) = ${number}::bigint")
    main = f"SELECT 1 / ({' AND '.join(met)})::int" if met else texts[0]
    others = list(enumerate(texts))[0 if met else 1 :]
    after = ", ".join(f"part{n} AS ({text})" for n, text in reversed(others))
    return f"WITH {after} {main}" if after else main


def _text_of(part: Part, after: int) -> tuple[str, int]:
    """Its SQL, with arguments numbered from `after` on, and how many they are."""
    if part.statement is not None:
        numbers = [int(number) for number in _NUMBERED.findall(part.statement.postgres)]
        return _NUMBERED.sub(lambda found: f"${int(found[1]) + after}", part.statement.postgres), max(numbers, default=0)
    assert part.table is not None
    given, count = given_rows(part.table, part.columns, after)
    if part.key:
        return update_text(part.table, part.key, part.columns, given), count
    return f"INSERT INTO {part.table.name} ({', '.join(part.columns)}) SELECT * FROM {given} {part.end}", count
