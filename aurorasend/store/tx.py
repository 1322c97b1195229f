"""What both engines offer: statements, transactions, and a store that runs units of work in them.

A unit of work is `async def unit(tx) -> T`. It awaits nothing but its `tx`, and may be run again from the
start (its transaction was rolled back), so it changes nothing outside the store. On SQLite it runs in the
writer thread, many units to one commit, each but the first in its SAVEPOINT; on PostgreSQL it runs on one connection of a
pool, and what it writes is a transaction of its own. `write` returns only after the commit is on disk (design invariant 1).
"""

import re
from collections.abc import Callable, Coroutine, Iterable, Sequence
from enum import IntEnum
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from sqlalchemy import Table
from sqlalchemy.dialects.postgresql.base import PGDialect as PostgresDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect as SqliteDialect
from sqlalchemy.sql.expression import ClauseElement

T = TypeVar("T")
Row = tuple[Any, ...]
Engine = Literal["sqlite", "postgres"]
EVER = 2**62  # microseconds; a time that does not come

_NUMBERED = re.compile(r"\$(\d+)")
_MEMBER = re.compile(r"IN (ids|texts)\((\$\d+)\)")
_ARRAY = {"ids": "bigint", "texts": "text"}
_locks = re.compile(r"\bFOR (NO KEY )?(UPDATE|SHARE)\b").search


class Statement:
    """One SQL statement with `$1` placeholders; one text for both engines, or a variant where they differ.

    `x IN ids($3)` and `x IN texts($3)` test membership in a list that the caller passes as `tx.many(values)`.
    """

    __slots__ = ("is_read", "postgres", "sqlite")

    def __init__(self, common: str = "", *, sqlite: str = "", postgres: str = "") -> None:
        listed = _MEMBER.sub(r"IN (SELECT value FROM json_each(\2))", sqlite or common)
        self.sqlite = _NUMBERED.sub(r"?\1", listed)
        self.postgres = _MEMBER.sub(lambda found: f"= ANY({found[2]}::{_ARRAY[found[1]]}[])", postgres or common)
        if not self.sqlite or not self.postgres:
            raise ValueError("a statement needs a text for each engine")
        self.is_read = self.postgres.startswith("SELECT") and not _locks(self.postgres)  # it neither writes nor locks


def compiled(clause: ClauseElement, *names: str) -> Statement:
    """A cold statement from SQLAlchemy Core; its bind parameters `names` become $1, $2 ... in that order."""
    texts: dict[str, str] = {}
    for engine, dialect in (("sqlite", SqliteDialect(paramstyle="named")), ("postgres", PostgresDialect(paramstyle="named"))):  # type: ignore[no-untyped-call]
        text = str(clause.compile(dialect=dialect, compile_kwargs={"render_postcompile": True}))
        for number, name in enumerate(names, 1):
            text = re.sub(rf":{name}\b", f"${number}", text)
        texts[engine] = text
    return Statement(sqlite=texts["sqlite"], postgres=texts["postgres"])


class Hot(IntEnum):
    """Rows that many transactions change or lock, in the order in which each does: at the end, so that nobody waits
    for them long, and always in this order, so that no two wait for each other."""

    QUOTA = 1
    NODE = 2
    COUNTERS = 3
    HINTS = 4


class Tx(Protocol):
    """What a unit has of the store. `engine` lets a store module choose another plan, never another result."""

    engine: Engine

    async def rows(self, sql: Statement, *args: Any) -> list[Row]:
        """All rows of a SELECT, or of a change with RETURNING."""

    async def row(self, sql: Statement, *args: Any) -> Row | None:
        """The first row, or None."""

    async def run(self, sql: Statement, *args: Any) -> int:
        """How many rows were changed."""

    async def run_many(self, sql: Statement, rows: Iterable[Sequence[Any]]) -> None:
        """The same change for each row of arguments."""

    async def beside(self, sql: Statement, *args: Any) -> list[Row]:
        """As `rows`, of rows that nothing which waits writes, and which goes on waiting."""

    # On PostgreSQL the following wait, and go to the server together, ahead of the next statement that is asked something back,
    # or at the end: what they break is told then.

    async def insert(self, table: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """All rows at once."""

    async def update(self, table: Table, key: int, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Change rows, each by values of its own, in one statement: `columns` are first the `key` ones that find a row,
        then those to set; `rows` hold a value for each. No two rows may have the same key."""

    async def change(self, sql: Statement, *args: Any) -> None:
        """As `run`, of rows that nothing else which waits writes."""

    async def merge(self, merge: "Merge", rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows or change those that are there, none of which anything else that waits writes. No two may have one key."""

    async def must(self, sql: Statement, *args: Any, rows: int, otherwise: Exception) -> None:
        """Change or lock exactly `rows` rows, of those that nothing else which waits writes, told by what `sql` returns; else
        raise `otherwise`. On PostgreSQL it may go before all else that waits, and the unit be run again to find out which it was."""

    def many(self, values: Sequence[int] | Sequence[str]) -> Any:
        """The argument for `IN ids($n)` or `IN texts($n)`."""

    def gather(self, hot: Hot, write: "Write") -> dict[Any, int]:
        """What is to be written to hot rows when the unit has come to its end: add to it by key. `write` does it."""

    async def take_ids(self, name: str, count: int) -> int:
        """The first of `count` consecutive numbers of the sequence `name`, never given out again."""

    async def next_id(self, name: str) -> int:
        """One number of the sequence `name`."""


Unit = Callable[[Tx], Coroutine[Any, Any, T]]
Write = Callable[[Tx, dict[Any, int]], Coroutine[Any, Any, None]]


class Store(Protocol):
    """Raises Unavailable (codes) when the store cannot answer or its disk is full; nothing was changed then, unless the
    connection broke during the commit, when it may have been. Undone says that surely nothing was."""

    engine: Engine

    async def write(self, unit: Unit[T]) -> T: ...

    async def read(self, unit: Unit[T]) -> T: ...

    async def close(self) -> None: ...


def update_text(table: Table, key: int, columns: Sequence[str], given: str) -> str:
    """`given` is the SQL of a relation of these columns, named `given`."""
    values = ", ".join(f"{column} = given.{column}" for column in columns[key:])
    found = " AND ".join(f"{table.name}.{column} = given.{column}" for column in columns[:key])
    return f"UPDATE {table.name} SET {values} FROM {given} WHERE {found}"


class Merge(NamedTuple):
    """For Tx.merge: rows of `columns` for `table`; `end` is SQL that says what becomes of one whose key is there. `one` does it
    for one row."""

    table: Table
    columns: tuple[str, ...]
    end: str
    one: Statement


def merging(table: Table, key: Sequence[str], more: Sequence[str], change: str) -> Merge:
    """Insert rows of the columns `key` and `more`; one whose key is there makes `change` of it."""
    columns, end = (*key, *more), f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {change}"
    values = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
    return Merge(table, columns, end, Statement(f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({values}) {end}"))


_TAKE = Statement(
    "INSERT INTO sequence (name, next) VALUES ($1, $2 + 1) ON CONFLICT (name) DO UPDATE SET next = sequence.next + $2 RETURNING next"
)


class Common:
    """What both engines' transactions do alike."""

    def __init__(self) -> None:
        self.gathered: dict[Hot, tuple[Write, dict[Any, int]]] = {}

    def gather(self, hot: Hot, write: Write) -> dict[Any, int]:
        return self.gathered.setdefault(hot, (write, {}))[1]

    async def take_ids(self: Tx, name: str, count: int) -> int:
        row = await self.row(_TAKE, name, count)
        assert row is not None
        return int(row[0]) - count

    async def next_id(self: Tx, name: str) -> int:
        return await self.take_ids(name, 1)


async def complete(unit: Unit[T], tx: Tx, common: Common) -> T:
    """Run `unit` to its end, and then what it gathered."""
    common.gathered = {}
    result = await unit(tx)
    for _, (write, rows) in sorted(common.gathered.items()):
        await write(tx, rows)
    return result
