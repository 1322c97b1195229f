"""A real node in this process: its store, its sockets, a client for each of its listeners, and what a test asks of it."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from aurorasend import bootstrap
from aurorasend.account import KEPT_US
from aurorasend.app import Running, finish, start
from aurorasend.clock import DAY, MINUTE, Clock, ManualClock, SystemClock
from aurorasend.config import load
from aurorasend.explain import explain
from aurorasend.secret import open_vault
from aurorasend.simulator import Internet
from aurorasend.store import open_store
from aurorasend.store.tx import Row, Statement, Tx

WAIT_S = 8.0
LONG_LEASE = "queue.lease=1000h"  # for a clock that a test moves by days: the lease is prolonged in real time


REGISTERED = "registered@example.net"  # where test users may send, once it is registered


@dataclass(frozen=True)
class Place:
    """Where a node can run."""

    data: Path
    url: str


class Faults(logging.Handler):
    """What the product logged with a trace or as an error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            self.found.append(self.format(record))


class Served:
    """A running node. Users are named as `account.kind`, such as `main.trigger`."""

    def __init__(self, running: Running, accounts: dict[str, Any], clients: dict[str, httpx.AsyncClient], clock: Clock) -> None:
        self.running = running
        self.accounts = accounts
        self.clients = clients
        self.client = next(iter(clients.values()))
        self.clock = clock
        self.faults = Faults()

    def user(self, name: str) -> dict[str, str]:
        account, _, kind = name.partition(".")
        found: dict[str, str] = self.accounts[account][kind]
        return found

    def sender(self, name: str = "main.trigger") -> str:
        return f"shop@{self.accounts[name.partition('.')[0]]['domain']}"

    def mail(self, name: str = "main.trigger", **fields: Any) -> dict[str, str]:
        """The parameters of a mail of this user; what is not text goes as JSON, None leaves a parameter out."""
        given = {"from": self.sender(name), "subject": "Hello", "html": "<p>Hello</p>", **self.user(name), **fields}
        if "to" not in fields and "xsmtpapi" not in fields:
            given["to"] = "ann@example.net"
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items() if value is not None}

    async def call(self, path: str, fields: dict[str, str], listener: str = "") -> dict[str, Any]:
        """The envelope that a form posted to `path` is answered with."""
        client = self.clients[listener] if listener else self.client
        answer = await client.post(str(client.base_url).rstrip("/") + path, data=fields)
        assert answer.status_code == 200, answer.text
        envelope: dict[str, Any] = answer.json()
        return envelope

    async def send(self, name: str = "main.trigger", **fields: Any) -> dict[str, Any]:
        return await self.call("/mail/send", self.mail(name, **fields))

    async def accepted(self, name: str = "main.trigger", **fields: Any) -> list[str]:
        """The emailIds of a mail that must be accepted."""
        envelope = await self.send(name, **fields)
        assert envelope["statusCode"] == 200, envelope
        ids: list[str] = envelope["info"]["emailIdList"]
        return ids

    # -- what the store holds

    async def rows(self, sql: str, *values: Any) -> list[Row]:
        statement = Statement(sql)

        async def unit(tx: Tx) -> list[Row]:
            return await tx.rows(statement, *values)

        return await self.running.node.store.read(unit)

    async def change(self, sql: str, *values: Any) -> None:
        statement = Statement(sql)

        async def unit(tx: Tx) -> int:
            return await tx.run(statement, *values)

        await self.running.node.store.write(unit)

    async def change_callers(self, sql: str, *values: Any) -> None:
        """A change of API users, accounts or domains, which counts at once and not a second later."""
        await self.change(sql, *values)
        for (account_id,) in await self.rows("SELECT id FROM account"):
            self.running.node.accounts.forget(account_id)

    async def count(self, table: str) -> int:
        return int((await self.rows(f"SELECT count(*) FROM {table}"))[0][0])

    async def recipients(self) -> dict[str, tuple[int, int, int]]:
        """State, sub status and tries of each address."""
        found = await self.rows("SELECT address, state, sub_status, tries FROM recipient ORDER BY id")
        return {address: (state, sub_status, tries) for address, state, sub_status, tries in found}

    async def account_id(self, name: str = "main") -> int:
        return int((await self.rows("SELECT id FROM account WHERE name = $1", name))[0][0])

    async def counted(self) -> dict[tuple[int, int], int]:
        """How many of each (event kind, sub status) over all time."""
        found = await self.rows("SELECT kind, sub_status, sum(n) FROM counter GROUP BY kind, sub_status")
        return {(kind, sub_status): int(number) for kind, sub_status, number in found}

    async def life(self, email_id: str) -> str:
        """What `explain` prints."""
        return "\n".join(await explain(self.running.node.store, self.running.node.settings, email_id))

    def expect_fault(self) -> None:
        """What went wrong until now was meant to."""
        self.faults.found.clear()
        self.running.server.fault_count = 0

    # -- time

    async def until(self, holds: Callable[[], Awaitable[bool]], limit_s: float = WAIT_S) -> None:
        """Until `holds` does. Raises AssertionError with the state of the queue when it does not."""
        ends = asyncio.get_running_loop().time() + limit_s
        while not await holds():
            if asyncio.get_running_loop().time() > ends:
                waiting = await self.rows("SELECT id, lane, due, tries, lease FROM work ORDER BY due LIMIT 5")
                raise AssertionError(f"not within {limit_s} s; recipients {await self.recipients()}, work {waiting}")
            await asyncio.sleep(0.01)

    async def settled(self) -> None:
        """Until nothing waits in the queue."""

        async def is_empty() -> bool:
            return await self.count("work") == 0

        await self.until(is_empty)

    async def tried(self, address: str, tries: int) -> None:
        """Until `tries` attempts for `address` are recorded."""

        async def is_tried() -> bool:
            return (await self.recipients()).get(address, (0, 0, 0))[2] >= tries

        await self.until(is_tried)

    def pass_time(self, **by: float) -> None:
        """`by` are the arguments of a timedelta."""
        assert isinstance(self.clock, ManualClock)
        self.clock.advance(timedelta(**by))
        self.running.wake.work_here()


def listening_socket() -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", 0))
    found.listen(256)
    return found


async def bootstrapped(data: Path, url: str, names: Sequence[str]) -> dict[str, Any]:
    """The accounts `names`; those that are not there are made."""
    store = open_store(url, data, SystemClock())
    try:
        return await bootstrap.make(store, open_vault(data / "master.key"), load(data, environment={}), list(names))
    finally:
        await store.close()


@asynccontextmanager
async def serving(
    data: Path,
    *settings: str,
    url: str = "sqlite",
    clock: Clock | None = None,
    listeners: Sequence[str] = ("sg",),
    stop_s: float = 5.0,
) -> AsyncIterator[Served]:
    """A node on `data`, whose accounts are there already. `settings` are `key=value`; `listeners` are regions. Fails
    when the node met a fault of its own."""
    accounts = {name: made["shown"] for name, made in json.loads((data / "bootstrap.json").read_text()).items()}
    clock = clock or SystemClock()
    sockets = [listening_socket() for _ in listeners]
    bases = {name: f"http://127.0.0.1:{each.getsockname()[1]}" for name, each in zip(listeners, sockets, strict=True)}
    listen = ",".join(f"{name}={base.removeprefix('http://')}" for name, base in bases.items())
    loaded = load(data, environment={}, assignments=[f"store.url={url}", f"http.listen={listen}", *settings])
    async with AsyncExitStack() as stack:
        clients = {name: await stack.enter_async_context(httpx.AsyncClient(base_url=base)) for name, base in bases.items()}
        running = await start(loaded, sockets, clock)
        served = Served(running, accounts, clients, clock)
        logging.getLogger("aurorasend").addHandler(served.faults)
        try:
            yield served
        finally:
            await finish(running, stop_s)
            logging.getLogger("aurorasend").removeHandler(served.faults)
    assert served.faults.found == [], served.faults.found
    assert running.server.fault_count == 0, list(running.server.faults)


async def quiet(node: Served, begun: int, minutes: int) -> int:
    """Make hours that began so many minutes ago quiet for all API users; when they end."""
    begin = node.clock.now_us() // MINUTE - begun
    await node.change("UPDATE api_user SET quiet_begin = $1, quiet_minutes = $2", begin % (DAY // MINUTE), minutes)
    node.pass_time(microseconds=KEPT_US + 1)
    return (begin + minutes) * MINUTE


def relayed(internet: Internet) -> str:
    """The setting that sends all mail to the first host of `internet`."""
    host = next(iter(internet.hosts.values()))
    return f"delivery.route=smtp://{host.address}:{host.port}"


def by_mx(internet: Internet) -> tuple[str, ...]:
    """The settings that send mail to the hosts that the names of `internet` tell."""
    host, port = internet.name_servers[0]
    return ("delivery.route=mx", f"delivery.dns={host}:{port}", f"delivery.mx_port={internet.smtp_port}")
