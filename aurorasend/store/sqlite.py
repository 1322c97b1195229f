"""SQLite: the embedded default. One writer thread per process with group commit, and a few readers.

Always: `journal_mode=WAL`, `synchronous=FULL`, so that a commit is on disk before anybody hears of it. Several
processes may share the file: they take turns by file locks, which the kernel drops when a process dies.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Table

from aurorasend.clock import Clock
from aurorasend.codes import Unavailable
from aurorasend.store.tx import Common, Engine, Merge, Row, Statement, Unit, complete, update_text

T = TypeVar("T")
log = logging.getLogger(__name__)

GROUP = 512  # units in one commit at most
GROUP_S = 0.02  # none joins a transaction that is older; bounds how long the first of them, and other processes, wait
READERS = 4
BUSY_S = 30  # longest wait for another process
CHECKPOINT_S = 0.1  # a thread of its own brings the WAL into the file so often, so that no commit has to
CHECKPOINT_PAGES = 4000  # 16 MB: a commit that finds more in the WAL does what is left, and the WAL begins anew
STATEMENTS = 512
TURNS = ("write.next", "write.now")  # lock files
TOGETHER = (48, 12, 4, 1)  # rows of one INSERT


class SqliteTx(Common):
    engine: Engine = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._connection = connection
        self._inserts: dict[tuple[str, tuple[str, ...]], list[str]] = {}  # statements for TOGETHER rows
        self._updates: dict[tuple[str, tuple[str, ...]], str] = {}

    async def rows(self, sql: Statement, *args: Any) -> list[Row]:
        return self._connection.execute(sql.sqlite, args).fetchall()

    async def row(self, sql: Statement, *args: Any) -> Row | None:
        # All rows are stepped through: a change with RETURNING is complete only then.
        found = self._connection.execute(sql.sqlite, args).fetchall()
        return found[0] if found else None

    async def run(self, sql: Statement, *args: Any) -> int:
        return self._connection.execute(sql.sqlite, args).rowcount

    async def run_many(self, sql: Statement, rows: Iterable[Sequence[Any]]) -> None:
        self._connection.executemany(sql.sqlite, rows)

    async def beside(self, sql: Statement, *args: Any) -> list[Row]:
        return await self.rows(sql, *args)

    async def change(self, sql: Statement, *args: Any) -> None:
        await self.run(sql, *args)

    async def merge(self, merge: Merge, rows: Sequence[Sequence[Any]]) -> None:
        await self.run_many(merge.one, rows)

    async def must(self, sql: Statement, *args: Any, rows: int, otherwise: Exception) -> None:
        if len(await self.rows(sql, *args)) != rows:
            raise otherwise

    async def insert(self, table: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """As many rows as can go in one statement: every step of one gives up the interpreter lock, and to have it back
        from a busy event loop can take longer than the row. The statements are few, so that they stay prepared."""
        key = (table.name, tuple(columns))
        if key not in self._inserts:
            self._inserts[key] = [_insert_text(table.name, columns, number) for number in TOGETHER]
        at = 0
        for number, text in zip(TOGETHER, self._inserts[key], strict=True):
            while len(rows) - at >= number:
                self._connection.execute(text, tuple(chain.from_iterable(rows[at : at + number])))
                at += number

    async def update(self, table: Table, key: int, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if not rows:
            return
        if (table.name, tuple(columns)) not in self._updates:
            values = ", ".join(f"json_extract(value, '$[{n}]') AS {column}" for n, column in enumerate(columns))
            given = f"(SELECT {values} FROM json_each(?)) AS given"
            self._updates[table.name, tuple(columns)] = update_text(table, key, columns, given)
        self._connection.execute(self._updates[table.name, tuple(columns)], (msgspec.json.encode(rows).decode(),))

    def many(self, values: Sequence[int] | Sequence[str]) -> Any:
        return msgspec.json.encode(values).decode()


def _insert_text(table: str, columns: Sequence[str], rows: int) -> str:
    values = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([values] * rows)}"


class _Wanted:
    """A unit that waits for the writer, and who waits for it."""

    __slots__ = ("error", "future", "loop", "result", "unit")

    def __init__(self, unit: Unit[Any]) -> None:
        self.unit = unit
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def answer(self) -> None:
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _Turn:
    """Whose turn it is to write, among processes. Two locks: who waits for the second holds the first, so that a
    process that writes without pause cannot overtake one that waits. After a failure both files are closed, which
    gives up whatever is held, and opened again for the next turn."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[int] = []

    def take(self) -> None:
        """Raises OSError; then nothing is held."""
        try:
            if not self._files:
                for name in TURNS:
                    self._files.append(os.open(self._folder / name, os.O_RDWR | os.O_CREAT, 0o600))
            following, now = self._files
            fcntl.flock(following, fcntl.LOCK_EX)
            fcntl.flock(now, fcntl.LOCK_EX)
            fcntl.flock(following, fcntl.LOCK_UN)
        except OSError:
            self.close()
            raise

    def give(self) -> None:
        """Never raises: what was done in this turn is done."""
        try:
            fcntl.flock(self._files[-1], fcntl.LOCK_UN)
        except OSError as error:
            log.warning("the lock among processes could not be given back, its file is closed: %s", error)
            self.close()

    def close(self) -> None:
        while self._files:
            with contextlib.suppress(OSError):  # it is closed all the same
                os.close(self._files.pop())


class SqliteStore:
    engine: Engine = "sqlite"

    def __init__(self, path: Path, clock: Clock, *, synchronous: str = "FULL", group_s: float = GROUP_S) -> None:
        """`synchronous` is a parameter only for the test that shows that FULL is needed, `group_s` for one of GROUP_S."""
        self.path = path
        self.clock = clock
        self._synchronous = synchronous
        self._group_s = group_s
        self._wanted: queue.SimpleQueue[_Wanted | None] = queue.SimpleQueue()
        self._turn = _Turn(path.parent)
        self._readers = ThreadPoolExecutor(READERS, "store-read")
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._closed = False
        self._changed = threading.Event()
        self._ending = threading.Event()
        self._writer = threading.Thread(target=self._write_all, args=(self._open(),), name="store-write", daemon=True)
        self._checkpointer = threading.Thread(
            target=self._checkpoint_all, args=(self._open(),), name="store-checkpoint", daemon=True
        )
        self._writer.start()
        self._checkpointer.start()

    async def write(self, unit: Unit[T]) -> T:
        if self._closed:
            raise Unavailable("the store is closed")
        wanted = _Wanted(unit)
        self._wanted.put(wanted)
        return await wanted.future  # type: ignore[no-any-return]

    async def read(self, unit: Unit[T]) -> T:
        if self._closed:
            raise Unavailable("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, unit)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._wanted.put(None)
        await asyncio.to_thread(self._writer.join)
        self._ending.set()
        self._changed.set()
        await asyncio.to_thread(self._checkpointer.join)
        self._readers.shutdown()
        for connection in self._opened:
            connection.close()
        self._turn.close()

    # -- the writer thread

    def _write_all(self, connection: sqlite3.Connection) -> None:
        tx = SqliteTx(connection)
        while (first := self._wanted.get()) is not None:
            group = [first]
            self._write_group(connection, tx, group)
            _tell(group)
            self._changed.set()

    def _write_group(self, connection: sqlite3.Connection, tx: SqliteTx, group: list[_Wanted]) -> None:
        """Adds to `group` what comes meanwhile. Never raises: without the thread nobody would get an answer any more."""
        try:
            self._turn.take()
            try:
                _commit_group(connection, tx, group, self._next, self._group_s)
            finally:
                self._turn.give()
        except Exception as error:
            for wanted in group:
                wanted.error = wanted.error or _trouble(error)

    def _next(self) -> _Wanted | None:
        """A further unit, if one waits."""
        try:
            wanted = self._wanted.get_nowait()
        except queue.Empty:
            return None
        if wanted is None:
            self._wanted.put(None)  # the end is for _write_all, and nothing comes after it
        return wanted

    # -- the checkpointer's thread

    def _checkpoint_all(self, connection: sqlite3.Connection) -> None:
        """PASSIVE: waits for nobody and holds up nobody. When it cannot, the next one, or a commit, will."""
        while not self._ending.is_set():
            self._changed.wait()
            self._changed.clear()
            try:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except sqlite3.OperationalError as error:
                log.debug("no checkpoint: %s", error)
            self._ending.wait(CHECKPOINT_S)

    # -- readers

    def _read(self, unit: Unit[T]) -> T:
        try:
            connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._open(query_only=True)
            connection.execute("BEGIN")
            try:
                return _drive(unit(SqliteTx(connection)))
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            raise Unavailable(f"sqlite: {error}") from error

    def _open(self, *, query_only: bool = False) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS
        )
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":  # migrate makes it so; a test may not have
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute("PRAGMA cache_size = -32768")
        connection.execute(f"PRAGMA query_only = {int(query_only)}")
        self._opened.append(connection)
        return connection


def _tell(group: list[_Wanted]) -> None:
    """Answer every waiting task, one wake-up for each event loop."""
    loops: dict[asyncio.AbstractEventLoop, list[_Wanted]] = {}
    for wanted in group:
        loops.setdefault(wanted.loop, []).append(wanted)
    for loop, theirs in loops.items():
        try:
            loop.call_soon_threadsafe(lambda theirs=theirs: [wanted.answer() for wanted in theirs])  # type: ignore[misc]
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _drive(unit: Coroutine[Any, Any, T]) -> T:
    """Run a unit of work here and now: all that it awaits is already there."""
    try:
        unit.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    unit.close()
    raise RuntimeError("a unit of work awaited something other than its transaction")


def _commit_group(
    connection: sqlite3.Connection, tx: SqliteTx, group: list[_Wanted], further: Callable[[], _Wanted | None], group_s: float
) -> None:
    """One transaction for `group`, and for what comes until it is done: a transaction costs more than most units. A unit
    that fails undoes only itself; when the commit fails, all fail."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        until = time.monotonic() + group_s
        for wanted in group:
            _run_unit(connection, tx, wanted, is_first=wanted is group[0])
            if len(group) < GROUP and time.monotonic() < until and (another := further()) is not None:
                group.append(another)
        connection.execute("COMMIT")
    except Exception as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        for wanted in group:
            if wanted.error is None:
                wanted.error = _trouble(error)


def _run_unit(connection: sqlite3.Connection, tx: SqliteTx, wanted: _Wanted, *, is_first: bool) -> None:
    if wanted.future.cancelled():  # nobody waits for the answer, so nothing was promised
        return
    if not is_first:
        connection.execute("SAVEPOINT unit")
    try:
        wanted.result = _drive(complete(wanted.unit, tx, tx))
    except Exception as error:
        wanted.error = _trouble(error)
        if not connection.in_transaction:  # SQLite itself undid everything (disk full, I/O error)
            raise
        if is_first:
            connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
        else:
            connection.execute("ROLLBACK TO unit")
    if not is_first:
        connection.execute("RELEASE unit")


def _trouble(error: Exception) -> Exception:
    """The disk's and the lock's failures are Unavailable; everything else is passed on as it is."""
    return Unavailable(f"sqlite: {error}") if isinstance(error, sqlite3.OperationalError | OSError) else error
