"""PostgreSQL >= 15, for several nodes. Every unit of work is a transaction on a connection of a small pool.

Always: `synchronous_commit=on`; rows are written as arrays (unnest), many in one statement, and inserts into several
tables in one (PostgresTx). Callers batch (submission and delivery group their work), the server groups commits of
different connections itself.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import BigInteger, LargeBinary, Table, Text

from aurorasend.clock import Clock
from aurorasend.codes import Unavailable
from aurorasend.store.tx import Common, Engine, Row, Statement, Unit, complete, update_text

T = TypeVar("T")
log = logging.getLogger(__name__)

POOL = 8
COMMAND_S = 60  # longest statement
ACQUIRE_S = 30  # longest wait for a connection
SESSION = {"synchronous_commit": "on", "application_name": "aurorasend", "jit": "off"}
READING = {"default_transaction_read_only": "on"}
# A plan that was made when a table was small reads it whole each time, until the server has analyzed it: a minute or more in
# which it grows. All that is written is found by an index.
WRITING = {"enable_seqscan": "off"}
REPEATS = 5  # how often a unit is run again

# What another transaction caused. A unit looks before it writes, so two that write the same name at the same time are
# told apart by running the second again: then it finds what the first wrote.
_AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.UniqueViolationError)
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
)


async def _as_it_is(_: Any) -> None:
    """A connection goes back to the pool as its transaction left it: no unit changes the session, and asking the server to
    reset it would be one more round trip."""


Into = tuple[Table, tuple[str, ...]]


class PostgresTx(Common):
    """Inserts wait for the next statement of another kind, and go ahead of it together, in one statement: every statement
    is a round trip, which costs more than its rows do."""

    engine: Engine = "postgres"

    def __init__(self, connection: Any, inserts: dict[tuple[Into, ...], str]) -> None:
        super().__init__()
        self._connection = connection
        self._inserts = inserts
        self._waiting: dict[Into, list[Sequence[Any]]] = {}

    async def rows(self, sql: Statement, *args: Any) -> list[Row]:
        await self.flush()
        return [tuple(record) for record in await self._connection.fetch(sql.postgres, *args)]

    async def row(self, sql: Statement, *args: Any) -> Row | None:
        await self.flush()
        record = await self._connection.fetchrow(sql.postgres, *args)
        return None if record is None else tuple(record)

    async def run(self, sql: Statement, *args: Any) -> int:
        await self.flush()
        status: str = await self._connection.execute(sql.postgres, *args)
        return int(status.rsplit(" ", 1)[-1]) if status[-1:].isdigit() else 0

    async def run_many(self, sql: Statement, rows: Iterable[Sequence[Any]]) -> None:
        await self.flush()
        await self._connection.executemany(sql.postgres, rows)

    async def insert(self, table: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self._waiting.setdefault((table, tuple(columns)), []).extend(rows)

    async def update(self, table: Table, key: int, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        await self.flush()
        if not rows:
            return
        given = f"unnest({_arrays(table, columns)}) AS given ({', '.join(columns)})"
        arrays = [list(column) for column in zip(*rows, strict=True)]
        await self._connection.execute(update_text(table, key, columns, given), *arrays)

    async def flush(self) -> None:
        """Run the inserts that wait."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        into = tuple(waiting)
        if into not in self._inserts:
            self._inserts[into] = _inserts_text(into)
        await self._connection.execute(
            self._inserts[into], *(list(column) for rows in waiting.values() for column in zip(*rows, strict=True))
        )

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
        self._inserts: dict[tuple[Into, ...], str] = {}

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
        for repeat in range(REPEATS + 1):
            try:
                pool = self._pools.get(readonly) or await self._open(readonly=readonly)
                connection = await pool.acquire(timeout=ACQUIRE_S)
                try:
                    tx = PostgresTx(connection, self._inserts)
                    if readonly:  # in a transaction too each statement would see what is committed by then
                        return await unit(tx)
                    async with connection.transaction():
                        result = await complete(unit, tx, tx)
                        await tx.flush()
                    return result
                finally:
                    await _give_back(pool, connection)
            except _AGAIN:
                if repeat == REPEATS:
                    raise
            except asyncpg.ReadOnlySQLTransactionError as error:  # a standby, after a failover; or a read that writes, a bug
                if readonly:
                    raise
                await pool.expire_connections()  # the next ones may lead to the server that took over
                raise Unavailable(f"postgres takes no writes: {error}") from error
            except _AWAY as error:
                raise Unavailable(f"postgres: {type(error).__name__}: {error}") from error
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


async def _give_back(pool: Any, connection: Any) -> None:
    """No failure: what was done on the connection is done. The pool drops one that it cannot keep."""
    try:
        await pool.release(connection)
    except Exception as error:
        log.warning("a connection could not be given back: %s: %s", type(error).__name__, error)


def _inserts_text(into: Sequence[Into]) -> str:
    """One statement that inserts into each of these tables; its arguments are arrays, a column each."""
    parts: list[str] = []
    number = 0
    for table, columns in into:
        parts.append(f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM unnest({_arrays(table, columns, number)})")
        number += len(columns)
    before = ", ".join(f"part{n} AS ({part})" for n, part in enumerate(parts[:-1]))
    return f"WITH {before} {parts[-1]}" if before else parts[-1]


def _arrays(table: Table, columns: Sequence[str], after: int = 0) -> str:
    """Arguments, one for each column, numbered from `after` on."""
    return ", ".join(f"${n}::{_array_type(table, column)}[]" for n, column in enumerate(columns, after + 1))


def _array_type(table: Table, column: str) -> str:
    kind = table.c[column].type
    if isinstance(kind, BigInteger):
        return "bigint"
    if isinstance(kind, LargeBinary):
        return "bytea"
    if isinstance(kind, Text):
        return "text"
    raise TypeError(f"{table.name}.{column}: only BigInteger, Text and LargeBinary are used")
