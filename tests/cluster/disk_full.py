"""The disk of the store fills up under load, stays full longer than a lease, and is emptied again.

Program: `python -m tests.cluster.disk_full sqlite|postgres FOLDER`, in a mount namespace of its own, since it mounts a small file
system on FOLDER/data. Prints what happened; status 77: no file system could be mounted.
"""

import asyncio
import errno
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import asyncpg
import uvloop

from aurorasend.clock import SystemClock
from aurorasend.store import open_store
from tests.cluster import books
from tests.cluster.client import Client
from tests.cluster.load import Account, Ledger
from tests.cluster.server import Node
from tests.cluster.sink import Sink
from tests.postgres import Server, unprivileged

NOT_MOUNTED = 77  # the status by which make check and others know a skipped test
SIZE = {"sqlite": "64m", "postgres": "160m"}  # so that the ballast is what fills it: a WAL alone may have 16 MB
BEFORE = 150  # mails before the disk is full; more than the node has connections for
PRESSED = 400  # mails sent meanwhile, at most
IN_A_ROW = 20  # refusals after which the disk counts as full
LEASE_S = 2
LIMIT_S = 240
PAGES = 64 * 1024 * 1024 // 4096  # of SQLite's file system
FULL = 40901
BIG = b"x" * 20_000


def mount(folder: Path, engine: str) -> None:
    """A small file system on FOLDER/data; the database's user owns it."""
    data = folder / "data"
    data.mkdir(parents=True)
    owner = unprivileged() if engine == "postgres" else {}
    whose = f",uid={owner['user']},gid={owner['group']}" if owner else ""
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE[engine]},mode=0700{whose}", "none", str(data)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"no small file system can be made here: {done.stderr.strip()}")
        raise SystemExit(NOT_MOUNTED)


def fill(path: Path) -> None:
    """Until nothing more fits."""
    with path.open("wb", buffering=0) as ballast:
        for size in (1024 * 1024, 4096):
            with suppress(OSError):
                while ballast.write(bytes(size)):
                    pass
    try:
        path.with_suffix(".more").write_bytes(bytes(4096))
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        path.with_suffix(".more").unlink()
    else:
        raise AssertionError("the disk is not full")


class Story:
    def __init__(self, node: Node, sink: Sink, ballast: Path) -> None:
        self._node = node
        self._sink = sink
        self._ballast = ballast
        self._ledger = Ledger()
        self._client = Client(node.port)
        self._account = Account.of(node.bootstrap(), "main", "trigger")
        self._told: Counter[int] = Counter()

    async def run(self, server: Server | None) -> None:
        self._node.start()
        await self._node.ready()
        self._sink.stall()
        for _ in range(BEFORE):
            assert await self._send() == 200
        fill(self._ballast)
        await self._until_refused(BIG)
        await self._until_refused()
        if server is not None:
            await overflow(server)
        assert await self._send(BIG) == FULL, "the database is gone, and mail is not refused"
        await self._until_lease_lost(server)
        self._sink.go_on()
        await asyncio.sleep(1)
        assert self._node.lives, self._node.log[-3000:]
        self._ballast.unlink()
        if server is not None and not server.lives:
            print("PostgreSQL had stopped; it is started again")
            server.start()
        await self._until_accepted()
        await self._until_arrived()
        for _ in range(20):
            assert await self._send() == 200

    async def _send(self, file: bytes | None = None) -> int:
        fields = self._account.fields(to=f"r{next(self._ledger.numbers)}@example.net")
        answer = await self._client.post("/mail/send", fields, file)
        code = int(answer["statusCode"])
        assert code in (200, FULL), answer
        self._told[code] += 1
        self._ledger.note(answer)
        return code

    async def _until_refused(self, file: bytes | None = None) -> None:
        row = 0
        for _ in range(PRESSED):
            row = row + 1 if await self._send(file) == FULL else 0
            if row == IN_A_ROW:
                return
        raise AssertionError(f"the disk is full, and mail is still accepted: {self._told}")

    async def _until_lease_lost(self, server: Server | None) -> None:
        """The node cannot prolong its lease. SQLite refuses a mail while there is room for less than one, which is enough for
        many leases: that is taken too, and again if a checkpoint made some."""
        until_s = time.monotonic() + 2 * LEASE_S
        while time.monotonic() < until_s:
            if server is None:
                await asyncio.to_thread(take_rest, self._node.data / "aurorasend.db")
            await asyncio.sleep(0.05)
        assert "lease not prolonged" in self._node.log, "the disk was not so full that the node lost its lease"

    async def _until_accepted(self) -> None:
        for _ in range(100):
            if await self._send() == 200:
                return
            await asyncio.sleep(0.1)
        raise AssertionError("there is room again, and mail is still refused")

    async def _until_arrived(self) -> None:
        """What was accepted before needs no further mail to set it going."""
        for _ in range(100):
            left = self._ledger.accepted - {one.email_id for one in self._sink.deliveries}
            if not left:
                return
            await asyncio.sleep(0.2)
        raise AssertionError(f"{len(left)} of {len(self._ledger.accepted)} mails are stuck: {self._node.log[-3000:]}")

    async def close(self, url: str) -> None:
        """Nothing accepted is lost, everything accepted is delivered, and once."""
        store = open_store(url, self._node.data, SystemClock())
        try:
            drained = await books.drained(store, 30)
            closed = await books.close(store)
        finally:
            await store.close()
        print(f"answers {dict(self._told)}; delivered {len(closed.delivered)}, waiting {len(closed.waiting)}")
        problems = [*closed.problems, *books.missing(closed, self._ledger.accepted, self._sink.deliveries)]
        assert not problems, problems
        assert drained and not closed.waiting, f"{len(closed.waiting)} mails are stuck: {self._node.log[-3000:]}"
        again = [ids for ids in books.by_mail(self._sink.deliveries).values() if len(ids) > 1]
        assert not again, f"{len(again)} mails arrived twice"


def take_rest(path: Path) -> None:
    """Write the least that can be written to a SQLite store, one page, until there is no room for it."""
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        for number in range(PAGES):
            try:
                connection.execute(f"PRAGMA user_version = {number}")
            except sqlite3.OperationalError as error:
                assert error.sqlite_errorcode == sqlite3.SQLITE_FULL, error
                return


async def overflow(server: Server) -> None:
    """Have the database write to its log until there is no room for it either: it stops itself (PANIC)."""
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection = await asyncpg.connect(server.url(), timeout=10)
        for _ in range(200):
            await connection.execute("SELECT pg_logical_emit_message(true, 'ballast', repeat('x', 1000000))")
    log = server.log()
    assert "PANIC" in log, log[-2000:]
    print(next(line for line in log.splitlines() if "PANIC" in line))


@asynccontextmanager
async def database(folder: Path) -> AsyncIterator[Server]:
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


async def tell(engine: str, folder: Path) -> None:
    async with asyncio.timeout(LIMIT_S), Sink() as sink:
        settings = {"delivery.route": f"smtp://127.0.0.1:{sink.port}", "queue.lease": f"{LEASE_S}s"}
        if engine == "sqlite":
            await _tell(Node(folder / "data", settings), sink, folder / "data" / "ballast", None)
            return
        async with database(folder) as server:
            url = server.create("filled")
            node = Node(folder / "node", {**settings, "store.url": url})
            await _tell(node, sink, folder / "data" / "ballast", server)


async def _tell(node: Node, sink: Sink, ballast: Path, server: Server | None) -> None:
    story = Story(node, sink, ballast)
    try:
        await story.run(server)
        await story.close("sqlite" if server is None else server.url("filled"))
        assert await node.stop() == 0, node.log[-3000:]
    finally:
        node.kill()


def main() -> None:
    engine, folder = sys.argv[1], Path(sys.argv[2])
    mount(folder, engine)
    uvloop.run(tell(engine, folder))


if __name__ == "__main__":
    os.umask(0o022)
    main()
