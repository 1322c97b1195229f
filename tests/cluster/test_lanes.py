"""With `mx` every recipient domain is a lane of its own: bulk mail to thousands of them must not hide a code's lane."""

import asyncio
import json
import time
from pathlib import Path

import pytest
import uvloop

from aurorasend.simulator import Internet
from tests.cluster.client import Client
from tests.cluster.load import Account
from tests.cluster.server import Node

DOMAINS = 4000
AT_ONCE = 100


def _settings(internet: Internet, url: str) -> dict[str, str]:
    host, port = internet.name_servers[0]
    route = {"delivery.route": "mx", "delivery.dns": f"{host}:{port}", "delivery.mx_port": str(internet.smtp_port)}
    return route | ({"store.url": url} if url != "sqlite" else {})


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_bulk_mail_to_thousands_of_domains_does_not_delay_a_code(empty_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with Internet(keep=2 * DOMAINS) as internet:
            internet.names.catch_all = (await internet.add_host("mx.simulator.example")).name
            node = Node(tmp_path / "one", _settings(internet, empty_url))
            accounts = node.bootstrap()
            bulk, other = Account.of(accounts, "main", "batch"), Account.of(accounts, "other", "trigger")
            try:
                node.start()
                await node.ready()
                client = Client(node.port)
                for first in range(0, DOMAINS, AT_ONCE):
                    people = [f"ann@d{n}.example.net" for n in range(first, first + AT_ONCE)]
                    answer = await client.post("/mail/send", bulk.fields(xsmtpapi=json.dumps({"to": people})))
                    assert answer["statusCode"] == 200, answer
                for number in range(3):
                    address = f"bob{number}@code{number}.example.org"
                    answer = await client.post("/mail/send", other.fields(to=address))
                    assert answer["statusCode"] == 200, answer
                    accepted = internet.mailbox.count
                    await internet.mailbox.wait_for(address, 60)
                    passed = internet.mailbox.count - accepted
                    print(f"{passed} bulk mails passed, of {DOMAINS - accepted} that waited")
                    assert accepted < DOMAINS - 1000, "the bulk mail was gone too early to show anything"
                    assert passed < 400, "a code waits behind bulk mail to other domains"
                client.close()
            finally:
                node.kill()

    uvloop.run(run())


@pytest.mark.slow
def test_a_code_to_a_new_domain_leaves_at_once_when_two_nodes_live(empty_url: str, tmp_path: Path) -> None:
    """The nodes share the lanes; how many there are is known to them only every few seconds."""

    async def run() -> None:
        async with Internet() as internet:
            internet.names.catch_all = (await internet.add_host("mx.simulator.example")).name
            nodes = [Node(tmp_path / "one", _settings(internet, empty_url)) for _ in range(2)]
            account = Account.of(nodes[0].bootstrap(), "main", "trigger")
            try:
                for node in nodes:
                    node.start()
                for node in nodes:
                    await node.ready()
                await asyncio.sleep(5)  # more than a quarter of the lease: they know of each other
                clients = [Client(node.port) for node in nodes]
                times = [await _seconds(internet, clients[n % 2], account, f"ann@d{n}.example.net") for n in range(30)]
                print("slowest of 30 codes:", f"{max(times):.2f} s")
                assert max(times) < 1.5, times
            finally:
                for node in nodes:
                    node.kill()

    uvloop.run(run())


async def _seconds(internet: Internet, client: Client, account: Account, address: str) -> float:
    """From the acceptance to the arrival of a mail."""
    answer = await client.post("/mail/send", account.fields(to=address))
    assert answer["statusCode"] == 200, answer
    begin = time.monotonic()
    await internet.mailbox.wait_for(address, 60)
    return time.monotonic() - begin
