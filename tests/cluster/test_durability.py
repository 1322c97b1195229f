"""Before a success is answered its transaction is on disk: seen in the system calls of the server and its database.

SIGKILL cannot show this, since the kernel keeps what a killed process wrote. Each check is also made where it must fail.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.client import Client
from tests.cluster.load import Account
from tests.cluster.server import Node, python
from tests.cluster.tracer import NotPermittedError, Seen, Tracer, unsynced
from tests.postgres import Server, running

REQUESTS = 12
APART_S = 0.1  # so that what follows an answer (hints to other nodes) is over before the next request
QUIET = {"node.roles": "api", "queue.lease": "10m"}  # no other writer than the requests
# No writer of the log but the commits: no autovacuum, no checkpoint, no snapshots of running transactions for standbys.
QUIET_POSTGRES = (
    *("autovacuum=off", "checkpoint_timeout=1h", "wal_level=minimal", "max_wal_senders=0"),
    *("wal_writer_delay=10000ms", "bgwriter_delay=10000ms"),
)


class Unsafe(Node):
    """A node on SQLite that does not sync as it must."""

    def __init__(self, data: Path, synchronous: str) -> None:
        super().__init__(data, QUIET)
        self._synchronous = synchronous

    def start(self) -> None:
        assignments = [f"{key}={value}" for key, value in QUIET.items()]
        self._spawn(python("-m", "tests.cluster.unsafe", self.data, str(self.port), self._synchronous, *assignments))


async def send_some(node: Node, account: Account) -> None:
    client = Client(node.port)
    for number in range(REQUESTS):
        answer = await client.post("/mail/send", account.fields(to=f"r{number}@example.net"))
        assert answer["statusCode"] == 200, answer
        await asyncio.sleep(APART_S)
    client.close()


def family(pid: int) -> list[int]:
    """The process and its children."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def traced(node: Node, log: str, database: int | None = None) -> list[Seen]:
    """What happens while REQUESTS mails are sent one after the other. `database` is the server that writes the log, where
    the node does not."""
    account = Account.of(node.bootstrap(), "main", "trigger")
    tracer = Tracer(b"POST /mail/send", b'"statusCode":200', (log,))
    try:
        node.start()
        asyncio.run(node.ready())
        asyncio.run(send_some(node, account))  # caches are filled, ids taken
        try:
            tracer.watch([node.pid, *(family(database) if database else [])])
        except NotPermittedError as reason:
            pytest.skip(str(reason))
        asyncio.run(send_some(node, account))
    finally:
        node.kill()
    return list(tracer.trace)


def check(trace: list[Seen], *, durable: bool) -> None:
    answers = [seen for seen in trace if seen.what == "answer"]
    assert len(answers) == REQUESTS, trace
    problems = unsynced(trace)
    if durable:
        assert problems == []
    else:
        assert problems, trace  # not all: a checkpoint may have synced beside some of them


def test_sqlite_has_synced_before_it_answers(tmp_path: Path) -> None:
    check(traced(Node(tmp_path / "data", QUIET), "aurorasend.db-wal"), durable=True)


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_the_check_fails_where_sqlite_does_not_sync(tmp_path: Path, synchronous: str) -> None:
    check(traced(Unsafe(tmp_path / "data", synchronous), "aurorasend.db-wal"), durable=False)


@pytest.fixture
def own_postgres(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(*request.param, *QUIET_POSTGRES) as server:
        yield server


def traced_postgres(server: Server, data: Path) -> list[Seen]:
    node = Node(data, {**QUIET, "store.url": server.create("durable")})
    trace = traced(node, "/pg_wal/", server.pid)
    server.stop()
    return trace


# The second: what the server's own configuration says of commits does not count, the node asks for the safe way.
@pytest.mark.parametrize("own_postgres", [["fsync=on"], ["fsync=on", "synchronous_commit=off"]], indirect=True)
def test_postgres_has_synced_before_the_answer(own_postgres: Server, tmp_path: Path) -> None:
    check(traced_postgres(own_postgres, tmp_path / "data"), durable=True)


@pytest.mark.parametrize("own_postgres", [["fsync=off"]], indirect=True)
def test_the_check_fails_where_postgres_does_not_sync(own_postgres: Server, tmp_path: Path) -> None:
    check(traced_postgres(own_postgres, tmp_path / "data"), durable=False)
