"""Several nodes on one store share the work, take over from each other, and are fair between accounts."""

import asyncio
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from aurorasend.clock import SystemClock
from aurorasend.store import open_store
from tests.cluster import books
from tests.cluster.client import Client
from tests.cluster.load import Account, Ledger, Sender
from tests.cluster.server import Node
from tests.cluster.sink import Sink
from tests.postgres import Server, running

LEASE_S = 3
DRAIN_S = 60.0
AT_ONCE = 100  # recipients of one request (mail.md §2)
FEW = 1_000  # what is under way in the lanes; on a fast machine that stands still for a moment a code sees hundreds pass
WAITING = 20_000


class Cluster:
    """Two nodes on one store: on SQLite two processes that share the data directory, on PostgreSQL each with its own,
    holding the same key. They call themselves one.example and two.example."""

    def __init__(self, folder: Path, url: str, sink: Sink, **settings: str) -> None:
        self.url = url
        self.sink = sink
        self.ledger = Ledger()
        common = {
            "delivery.route": f"smtp://127.0.0.1:{sink.port}",
            "queue.lease": f"{LEASE_S}s",
            **{name.replace("_", ".", 1): value for name, value in settings.items()},
            **({"store.url": url} if url != "sqlite" else {}),
        }
        folders = (folder / "one", folder / ("one" if url == "sqlite" else "two"))
        self.nodes = [Node(folders[n], {**common, "delivery.helo": f"{name}.example"}) for n, name in enumerate(("one", "two"))]
        self.accounts = self.nodes[0].bootstrap()
        if url != "sqlite":
            folders[1].mkdir()
            shutil.copy(folders[0] / "master.key", folders[1] / "master.key")

    async def start(self) -> None:
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            await node.ready()

    async def send(self, number: int, count: int = 1, name: str = "main", kind: str = "trigger") -> list[str]:
        """`count` requests of AT_ONCE recipients each by way of node `number`; the emailIds."""
        client, account = Client(self.nodes[number].port), Account.of(self.accounts, name, kind)
        ids: list[str] = []
        for _ in range(count):
            people = [f"r{next(self.ledger.numbers)}@example.net" for _ in range(AT_ONCE)]
            ids += self.ledger.note(await client.post("/mail/send", account.fields(xsmtpapi=json.dumps({"to": people}))))
        client.close()
        return ids

    async def until(self, there: Callable[[], bool], limit_s: float, what: str) -> None:
        try:
            async with asyncio.timeout(limit_s):
                while not there():  # noqa: ASYNC110 other processes work on it
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"not within {limit_s} s: {what}; {self.told()}") from None

    def told(self) -> str:
        return "\n".join(node.log[-2000:] for node in self.nodes)

    async def close(self, *, repeats: Sequence[str] = ()) -> None:
        """Everything accepted arrived, and only what is in `repeats` may have arrived twice."""
        store = open_store(self.url, self.nodes[0].data, SystemClock())
        try:
            drained = await books.drained(store, DRAIN_S)
            closed = await books.close(store)
        finally:
            await store.close()
        problems = [*closed.problems, *books.missing(closed, self.ledger.accepted, self.sink.deliveries)]
        assert not problems, problems
        assert drained and not self.ledger.refused, (self.ledger.refused, self.told())
        twice = {email_id for email_id, several in books.by_mail(self.sink.deliveries).items() if len(several) > 1}
        assert twice <= set(repeats), f"{len(twice)} mails arrived twice: {self.told()}"


@asynccontextmanager
async def cluster(folder: Path, url: str, **settings: str) -> AsyncIterator[Cluster]:
    async with Sink() as sink:
        made = await asyncio.to_thread(Cluster, folder, url, sink, **settings)
        try:
            yield made
        finally:
            for node in made.nodes:
                node.kill()


def by_node(sink: Sink) -> Counter[str]:
    return Counter(one.node for one in sink.deliveries)


@pytest.mark.slow
def test_two_nodes_share_the_work(empty_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with cluster(tmp_path, empty_url) as two:
            await two.start()
            await asyncio.sleep(LEASE_S / 2)  # they have heard of each other
            await asyncio.gather(two.send(0, 10), two.send(1, 10))
            await two.until(lambda: len(two.sink.deliveries) >= 2000, DRAIN_S, "2,000 deliveries")
            await two.close()
            shares = by_node(two.sink)
            assert min(shares["one.example"], shares["two.example"]) > 200, shares
            assert [await node.stop() for node in two.nodes] == [0, 0], two.told()

    uvloop.run(run())


@pytest.mark.slow
def test_the_work_of_a_killed_node_is_taken_over(empty_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with cluster(tmp_path, empty_url) as two:
            await two.start()
            await asyncio.sleep(LEASE_S / 2)
            two.sink.stall()
            await asyncio.gather(two.send(0, 3), two.send(1, 3))
            await asyncio.sleep(0.5)  # both have claimed, and wait for the sink
            two.nodes[0].kill()
            two.sink.go_on()
            await two.until(lambda: len(two.sink.deliveries) >= 600, LEASE_S + 20, "what the killed node had")
            assert by_node(two.sink)["two.example"] > 300
            # What the killed node had handed over was never answered to it.
            await two.close(repeats=[one.email_id for one in two.sink.deliveries if one.node == "one.example"])

    uvloop.run(run())


@pytest.mark.slow
def test_a_node_that_slept_longer_than_its_lease_stalls_nothing(empty_url: str, tmp_path: Path) -> None:
    """A machine that was suspended: its work went to the others, and it comes back as a new node."""

    async def run() -> None:
        async with cluster(tmp_path, empty_url) as two:
            await two.start()
            await asyncio.sleep(LEASE_S / 2)
            two.sink.stall()
            await asyncio.gather(two.send(0, 2), two.send(1, 2))
            await asyncio.sleep(0.5)
            os.kill(two.nodes[0].pid, signal.SIGSTOP)
            await asyncio.sleep(2 * LEASE_S)
            two.sink.go_on()
            os.kill(two.nodes[0].pid, signal.SIGCONT)
            await asyncio.gather(two.send(0, 2), two.send(1, 2))
            arrived = two.sink.deliveries
            await two.until(lambda: len({one.email_id for one in arrived}) >= 800, LEASE_S + 20, "all mail")
            first = [one.email_id for one in arrived if one.node == "one.example"]
            await two.close(repeats=first)

    uvloop.run(run())


async def passing(two: Cluster, client: Client, account: Account) -> int:
    """How many other mails arrive between the acceptance and the delivery of one."""
    answer = await client.post("/mail/send", account.fields(to=f"r{next(two.ledger.numbers)}@example.net"))
    (code,) = two.ledger.note(answer)
    accepted = len(two.sink.deliveries)
    await two.until(lambda: any(one.email_id == code for one in two.sink.deliveries), 20, "the code")
    return next(n for n, one in enumerate(two.sink.deliveries) if one.email_id == code) - accepted


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_bulk_mail_of_one_account_does_not_delay_anothers_code(empty_url: str, tmp_path: Path) -> None:
    """Counted, not timed: how many bulk mails pass while a code waits, when 20,000 of them wait."""

    async def run() -> None:
        async with cluster(tmp_path, empty_url, node_workers="1") as two:
            node = two.nodes[0]
            node.start()
            await node.ready()
            two.sink.stall()
            await asyncio.gather(*(two.send(0, WAITING // AT_ONCE // 4, kind="batch") for _ in range(4)))
            two.sink.go_on()
            await two.until(lambda: len(two.sink.deliveries) > 500, DRAIN_S, "bulk mail flows")
            client, other = Client(node.port), Account.of(two.accounts, "other", "trigger")
            for _ in range(5):
                passed = await passing(two, client, other)
                print(f"{passed} bulk mails passed between a code's acceptance and its delivery")
                assert passed < FEW, "a code waits behind bulk mail"
            assert len(two.sink.deliveries) < WAITING, "the bulk mail was gone too early to show anything"
            client.close()

    uvloop.run(run())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_restart_of_the_database_loses_nothing(tmp_path: Path) -> None:
    async def run(server: Server) -> None:
        async with cluster(tmp_path, server.create("restarted")) as two:
            await two.start()
            stop = asyncio.Event()
            accounts = [Account.of(two.accounts, "main", kind) for kind in ("trigger", "batch")]
            pairs = [(node, account) for node in two.nodes for account in accounts]
            senders = [Sender(node.port, account, two.ledger, n, 0.02) for n, (node, account) in enumerate(pairs)]
            tasks = [asyncio.create_task(sender.run(stop)) for sender in senders]
            for how in (signal.SIGINT, signal.SIGQUIT):  # in order, then like a crash
                await asyncio.sleep(1.5)
                await asyncio.to_thread(server.stop, how)
                await asyncio.sleep(2)
                await asyncio.to_thread(server.start)
            await asyncio.sleep(3)
            stop.set()
            await asyncio.gather(*tasks)
            store = open_store(two.url, two.nodes[0].data, SystemClock())
            assert await books.drained(store, DRAIN_S), f"{await books.undone(store)}\n{two.told()}"
            closed = await books.close(store)
            await store.close()
            print(f"accepted {len(two.ledger.accepted)}, refused meanwhile {two.ledger.refused}")
            problems = [*closed.problems, *books.missing(closed, two.ledger.accepted, two.sink.deliveries)]
            assert not [*problems, *books.twins(two.sink.deliveries), *two.ledger.changed]
            assert set(two.ledger.refused) <= {40901}, two.ledger.refused
            assert two.ledger.accepted and two.ledger.refused
            assert [await node.stop() for node in two.nodes] == [0, 0], two.told()

    with running("fsync=off") as server:
        uvloop.run(run(server))
