"""docs/flow.md: who is on a list of the account gets nothing."""

import functools
from pathlib import Path

import pytest

from aurorasend import app
from aurorasend.clock import ManualClock
from aurorasend.pool import Limits as PoolLimits
from aurorasend.pool import Pool
from aurorasend.queue import Kind
from aurorasend.simulator import Internet, MailHost, Temper
from aurorasend.store.tx import EVER
from tests.running import LONG_LEASE, Place, Served, by_mx, relayed, serving


async def enter(node: Served, key: str, name: str, api_user_id: int = 0) -> None:
    """An address, or a domain after an at sign, in the list of this name."""
    columns = "account_id, key, list, api_user_id, strikes, reason, created, expires"
    sql = f"INSERT INTO suppression ({columns}) VALUES ($1, $2, $3, $4, 0, '', 0, $5)"
    await node.change(sql, await node.account_id(), key, name, api_user_id, EVER)


async def test_f25_who_is_on_a_list_gets_nothing(data: Path, internet: Internet) -> None:
    """An address or a whole domain, for the account or one API user; `allow` outweighs the others."""
    async with serving(data, relayed(internet)) as node:
        name = node.user("main.trigger")["apiUser"]
        ((mine,),) = await node.rows("SELECT id FROM api_user WHERE name = $1", name)
        entries = [
            ("blocked@example.net", "block", 0),
            ("@blocked.example", "block", 0),
            ("gone@example.net", "unsubscribe", mine),
            ("angry@example.net", "complaint", 0),
            ("unknown@example.net", "bounce", 0),
            ("other@example.net", "unsubscribe", mine + 1),
            ("allowed@example.net", "bounce", 0),
            ("allowed@example.net", "allow", 0),
        ]
        for key, name, whose in entries:
            await enter(node, key, name, whose)
        people = ["Blocked@Example.NET", "any@blocked.example", "gone@example.net", "angry@example.net", "unknown@example.net"]
        await node.accepted(to=";".join(people))
        await node.settled()
        assert internet.hosts["mx.example.net"].connections == 0
        found = await node.recipients()
        assert [found[address][:2] for address in people] == [(4, 401), (4, 401), (4, 402), (4, 401), (4, 401)]
        assert await node.counted() == {(18, 0): 5, (4, 401): 4, (4, 402): 1}
        await node.accepted(to="other@example.net;allowed@example.net")
        await node.settled()
        assert internet.mailbox.count == 2
        await node.change_callers("UPDATE account SET bounce_interception = 0")
        await node.accepted(to="unknown@example.net;angry@example.net")
        await node.settled()
        assert [mail.recipients for mail in internet.mailbox.messages][2:] == [("unknown@example.net",)]


async def test_f25_what_is_intercepted_is_not_charged(data: Path, internet: Internet) -> None:
    async with serving(data, relayed(internet)) as node:
        await node.change("UPDATE account SET balance = 3")
        for name in ("broke.trigger", "main.trigger"):  # the one pays for its mail, the other does not
            blocked = {"domainName": "blocked.example", "expireTime": "2099-01-01 00:00:00"}
            assert (await node.call("/block/add", {**node.user(name), **blocked}))["result"]
            await node.accepted(name, to="a@blocked.example;b@blocked.example;ann@example.net")
        await node.settled()
        left = dict(await node.rows("SELECT name, balance FROM account"))
        assert (left["broke"], left["main"]) == (2, 3)


async def test_f25_who_unsubscribes_while_it_waits_in_its_lane_for_over_a_minute_gets_nothing(
    place: Place, internet: Internet
) -> None:
    host = internet.hosts["mx.example.net"]
    host.temper = Temper(slow_s=60)
    settings = (relayed(internet), LONG_LEASE, "delivery.concurrency=1", "delivery.shards=1")
    async with serving(place.data, *settings, url=place.url, clock=ManualClock()) as node:
        await node.accepted(to="slow@example.net;ann@example.net")
        await internet.mailbox.wait_for("slow@example.net")
        await enter(node, "ann@example.net", "unsubscribe")
        node.pass_time(minutes=1, microseconds=1)
        hang_up(host)
        await node.tried("ann@example.net", 1)
        assert (await node.recipients())["ann@example.net"] == (4, 402, 1)


@pytest.mark.parametrize(("wait_s", "verdict"), [(0.2, (4, 402, 1)), (60.0, (1, 0, 1))], ids=["no place", "a place"])
async def test_f25_who_unsubscribes_while_it_waits_for_a_connection(
    place: Place, internet: Internet, monkeypatch: pytest.MonkeyPatch, wait_s: float, verdict: tuple[int, int, int]
) -> None:
    """The lists are read before that: whom it waited for in vain is looked up again, whom it came in time for is not."""
    monkeypatch.setattr(app, "PoolLimits", functools.partial(PoolLimits, wait_s=wait_s))
    host = internet.hosts["mx.example.net"]
    host.temper = Temper(slow_s=60)
    internet.names.catch_all = host.name
    settings = (*by_mx(internet), LONG_LEASE, "delivery.concurrency=1")
    async with serving(place.data, *settings, url=place.url, clock=ManualClock(), stop_s=0.1) as node:

        async def both_want_a_connection() -> bool:
            return [waiting.users for waiting in pool_of(node)._places.values()] == [2]

        await node.accepted(to="slow@example.net")
        await internet.mailbox.wait_for("slow@example.net")
        await node.accepted(to="ann@other.example")
        await node.until(both_want_a_connection)
        await enter(node, "ann@other.example", "unsubscribe")
        node.pass_time(minutes=2)
        if wait_s > 1:
            host.temper = Temper()
            hang_up(host)
        await node.tried("ann@other.example", 1)
        assert (await node.recipients())["ann@other.example"] == verdict


def hang_up(host: MailHost) -> None:
    for transport in list(host.open):
        transport.abort()


def pool_of(node: Served) -> Pool:
    dispatcher = node.running.dispatcher
    assert dispatcher is not None
    pool: Pool = dispatcher._crews[Kind.MAIL]._route._pool  # type: ignore[attr-defined]
    return pool
