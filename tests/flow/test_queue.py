"""docs/flow.md: a mail waits."""

import asyncio
import functools
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import pytest

from aurorasend import app, queue
from aurorasend.clock import ManualClock
from aurorasend.pool import Limits as PoolLimits
from aurorasend.queue import HORIZON, Key, Kind, Work
from aurorasend.simulator import Internet, Temper
from aurorasend.store.tx import EVER, Tx
from tests.cluster.server import Node
from tests.postgres import Server
from tests.running import LONG_LEASE, Place, Served, bootstrapped, by_mx, quiet, relayed, serving


async def test_f20_each_recipient_has_a_lane(data: Path, internet: Internet) -> None:
    to = "a@One.example;b@two.example;c@one.example"
    async with serving(data, "node.roles=api", *by_mx(internet)) as node:
        await node.accepted(to=to)
        lanes = [lane for (lane,) in await node.rows("SELECT lane FROM work ORDER BY id")]
        assert lanes == ["mx:one.example", "mx:two.example", "mx:one.example"]
        await node.change("DELETE FROM work")
    async with serving(data, "node.roles=api", "delivery.shards=2", relayed(internet)) as node:
        await node.accepted(to=to)
        lanes = [lane for (lane,) in await node.rows("SELECT lane FROM work ORDER BY id")]
        host = next(iter(internet.hosts.values()))
        assert set(lanes) == {f"smtp://{host.address}:{host.port}#{shard}" for shard in (0, 1)}
        assert lanes[0] == lanes[2] != lanes[1]


async def test_f21_nobody_waits_for_a_poll(data: Path) -> None:
    """One process takes mail, another delivers it. By polls alone it would be half a second on average; several tries,
    because a hint may be lost. Then the same in one process."""
    worker = Node(data, {"node.roles": "deliver"})
    worker.start()
    try:
        async with serving(data, "node.roles=api") as node:
            await delivered_within(node, limit_s=20.0)  # until the other process is up
            assert median([await delivered_within(node) for _ in range(5)]) < 0.3
    finally:
        await worker.stop()
    async with serving(data) as node:
        let_all_wait(node)
        assert median([await delivered_within(node) for _ in range(5)]) < 0.3


def let_all_wait(node: Served) -> None:
    """From now on nothing is claimed as it is stored."""
    lanes = node.running.node.submissions._handover._lanes
    assert lanes is not None
    lanes.detach()


async def test_f21_a_busy_process_is_woken_too(data: Path) -> None:
    """While every turn of its event loop has work, so that it waits for company as long as it may."""

    async def work() -> None:
        while True:
            time.sleep(0.0005)  # noqa: ASYNC251 the loop is to be busy
            await asyncio.sleep(0)

    async with serving(data) as node:
        let_all_wait(node)
        other = asyncio.create_task(work())
        assert median([await delivered_within(node) for _ in range(5)]) < 0.5
        other.cancel()


async def test_f21_over_postgresql_too(tmp_path: Path, postgres: Server) -> None:
    url = postgres.create("wakes", "migrated")
    await bootstrapped(tmp_path, url, ["main"])
    async with serving(tmp_path, "node.roles=deliver", url=url), serving(tmp_path, "node.roles=api", url=url) as node:
        assert median([await delivered_within(node) for _ in range(5)]) < 0.3


async def test_f21_who_misses_the_hint_looks_every_second(data: Path) -> None:
    """An entry that nobody tells of."""
    async with serving(data, "node.roles=api") as node:
        await node.accepted()
        ((account_id, entry_id, lane, priority),) = await node.rows("SELECT account_id, id, lane, priority FROM work")
        await node.change("DELETE FROM work")
        await node.change("DELETE FROM ready")
    async with serving(data, "node.roles=deliver") as node:
        due = Work(account_id, entry_id, Kind.MAIL, lane, node.clock.now_us(), priority, entry_id)
        await asyncio.sleep(0.3)  # it has looked, and now it waits
        await node.running.node.store.write(lambda tx: queue.put(tx, [due]))
        began = time.monotonic()
        await node.tried("ann@example.net", 1)
        assert time.monotonic() - began < 2


async def delivered_within(node: Served, limit_s: float = 5.0) -> float:
    """Seconds from the answer to the end of one mail."""
    await node.accepted()
    began = time.monotonic()

    async def is_empty() -> bool:
        return await node.count("work") == 0

    await node.until(is_empty, limit_s)
    await asyncio.sleep(0.06)  # not in step with anything
    return time.monotonic() - began


async def test_f22_what_is_tried_is_claimed_and_no_transaction_is_open(data: Path, internet: Internet) -> None:
    async with serving(data, "queue.batch=2", "delivery.shards=1", relayed(internet), clock=ManualClock()) as node:
        await node.accepted(to=";".join(f"stall+{n}@example.net" for n in range(7)))
        worker, now_us = node.running.membership.worker, node.clock.now_us()

        async def is_full() -> bool:
            return len(await node.rows("SELECT id FROM work WHERE lease = $1", worker)) == 6

        await node.until(is_full)  # three batches under way are the most
        entries = await node.rows("SELECT tries, lease, due FROM work ORDER BY id")
        assert entries == [(1, worker, now_us + HORIZON)] * 6 + [(0, 0, now_us)]
        assert await node.rows("SELECT node FROM lane") == [(worker,)]
        with closing(sqlite3.connect(data / "aurorasend.db", timeout=0, isolation_level=None)) as stranger:
            stranger.execute("BEGIN IMMEDIATE")
            stranger.execute("ROLLBACK")
        for host in internet.hosts.values():
            await host.close()


async def test_f22_what_it_accepts_is_claimed_as_it_is_stored(place: Place, internet: Internet) -> None:
    """A batch at most, in a lane that it has; it needs no turn of the dispatcher, and is sent."""
    async with serving(place.data, "queue.batch=2", "delivery.shards=1", relayed(internet), url=place.url) as node:
        worker, dispatcher = node.running.membership.worker, node.running.dispatcher
        assert dispatcher is not None
        await node.accepted()
        await node.settled()
        async with dispatcher._in_turn:
            await node.accepted(to="bob@example.net")
            await node.settled()
            assert (await node.recipients())["bob@example.net"][2] == 1
            await node.accepted(to=";".join(f"stall+{n}@example.net" for n in range(3)))
            assert await node.rows("SELECT tries, lease FROM work ORDER BY id") == [(1, worker)] * 2 + [(0, 0)]
        for host in internet.hosts.values():
            await host.close()


async def test_f22_the_window_is_that_of_a_lane_and_priority(place: Place, internet: Internet) -> None:
    """For all accounts together; each claims two at once."""
    for domain in ("one.example", "two.example"):
        internet.add_domain(domain, internet.hosts["mx.example.net"])
    internet.add_domain("late.example", await internet.add_host("mx.late.example"))
    async with serving(place.data, "queue.batch=2", *by_mx(internet), url=place.url, stop_s=0.1) as node:
        await node.change("UPDATE account SET daily_quota = 100")
        to_one = ("main.trigger", "one"), ("tight.trigger", "one"), ("main.batch", "one")
        for user, domain in (*to_one, ("main.trigger", "two")):
            await node.accepted(user, to=";".join(f"stall+{n}@{domain}.example" for n in range(7)))

        async def claimed() -> list[tuple[str, int, int]]:
            sql = "SELECT lane, priority, count(*) FROM work WHERE lease > 0 GROUP BY lane, priority ORDER BY lane, priority"
            return [(lane, priority, count) for lane, priority, count in await node.rows(sql)]

        async def all_have_six() -> bool:
            return [count for _, _, count in await claimed()] >= [6, 6, 6]

        await node.until(all_have_six)
        await node.accepted(to="ann@late.example")
        await node.tried("ann@late.example", 1)  # whoever claimed it could have claimed of the others too
        assert await claimed() == [("mx:one.example", 0, 6), ("mx:one.example", 1, 6), ("mx:two.example", 0, 6)]
        if node.running.node.store.engine == "postgres":  # which can tell the transaction of a row
            at_once = "SELECT DISTINCT count(*) FROM work WHERE lease > 0 GROUP BY xmin::text, lane, account_id, priority"
            assert await node.rows(at_once) == [(2,)]


async def test_f23_trigger_first_and_accounts_in_turn(data: Path) -> None:
    """Mail that waits already is claimed two at a time, of three accounts at most, and sent one after the other."""
    async with serving(data, "node.roles=api", "delivery.shards=1") as node:
        for name in ("main", "other", "limits"):
            await node.accepted(f"{name}.batch", to=";".join(f"{name}{n}@example.net" for n in range(30)))
        await node.accepted("manual.batch", to="a@late.example;b@late.example;c@late.example")
        await node.accepted("manual.trigger", to="code@late.example")
    async with serving(data, "delivery.shards=1", "queue.batch=2", "delivery.concurrency=1") as node:
        await node.settled()
        told = await node.rows("SELECT address FROM recipient JOIN event ON event.recipient_id = recipient.id ORDER BY event.id")
    order = [address for (address,) in told]
    assert len(order) == 94 and order[0] == "code@late.example"
    assert order.index("c@late.example") < 40  # though 90 were there before it


async def test_f23_mail_waits_for_the_end_of_quiet_hours(place: Place, internet: Internet) -> None:
    async with serving(place.data, relayed(internet), LONG_LEASE, url=place.url, clock=ManualClock()) as node:
        end = await quiet(node, begun=30, minutes=90)
        await node.accepted(to="ann@example.net;bob@example.net")
        assert await node.counted() == {(18, 0): 2}
        assert await node.rows("SELECT due, tries FROM work") == [(end, 0)] * 2
        node.pass_time(microseconds=end - node.clock.now_us() - 1)
        await asyncio.sleep(0.05)
        assert await node.recipients() == {"ann@example.net": (0, 0, 0), "bob@example.net": (0, 0, 0)}
        node.pass_time(microseconds=1)
        await node.settled()
        assert await node.recipients() == {"ann@example.net": (1, 0, 1), "bob@example.net": (1, 0, 1)}


async def test_f23_mail_waits_also_where_quiet_hours_begin_before_it_is_tried(place: Place, internet: Internet) -> None:
    """Nothing is said of those who are on a list either, until then."""
    clock = ManualClock()
    async with serving(place.data, "node.roles=api", relayed(internet), url=place.url, clock=clock) as node:
        columns = "account_id, key, list, api_user_id, strikes, reason, created, expires"
        sql = f"INSERT INTO suppression ({columns}) VALUES ($1, 'bob@example.net', 'block', 0, 0, '', 0, $2)"
        await node.change(sql, await node.account_id(), EVER)
        await node.accepted(to="ann@example.net;bob@example.net")
        end = await quiet(node, begun=0, minutes=60)
    async with serving(place.data, relayed(internet), LONG_LEASE, url=place.url, clock=clock) as node:

        async def is_put_off() -> bool:
            return await node.rows("SELECT due, tries, lease FROM work") == [(end, 0, 0)] * 2

        await node.until(is_put_off)
        assert await node.counted() == {(18, 0): 2}
        node.pass_time(hours=1)
        await node.settled()
        assert await node.recipients() == {"ann@example.net": (1, 0, 1), "bob@example.net": (4, 401, 1)}


async def test_f23_mail_that_waits_for_a_connection_waits_too_when_quiet_hours_begin(
    place: Place, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "PoolLimits", functools.partial(PoolLimits, wait_s=0.2))
    internet.hosts["mx.example.net"].temper = Temper(slow_s=60)
    internet.names.catch_all = "mx.example.net"
    few = ("delivery.concurrency=1", LONG_LEASE)
    async with serving(place.data, *by_mx(internet), *few, url=place.url, clock=ManualClock(), stop_s=0.1) as node:

        async def both_are_claimed() -> bool:
            return await node.rows("SELECT count(*) FROM work WHERE lease <> 0") == [(2,)]

        await node.accepted(to="slow@example.net")
        await internet.mailbox.wait_for("slow@example.net")
        await node.accepted(to="ann@other.example")
        await node.until(both_are_claimed)
        await asyncio.sleep(0.1)  # it is loaded, and waits for the connection
        end = await quiet(node, begun=0, minutes=60)
        node.pass_time(minutes=2)

        async def is_put_off() -> bool:
            return (end, 0) in await node.rows("SELECT due, tries FROM work")

        await node.until(is_put_off)
        assert [mail.recipients[0] for mail in internet.mailbox.messages] == ["slow@example.net"]


async def test_f24_a_process_that_starts_in_its_place_goes_on_at_once(data: Path, internet: Internet) -> None:
    await claimed_and_killed(data, internet, lease="1h")
    async with serving(data) as node:
        await node.settled()
        assert await node.recipients() == {"slow@example.net": (1, 0, 2)}


async def test_f24_a_process_elsewhere_waits_for_the_end_of_the_lease(data: Path, internet: Internet) -> None:
    await claimed_and_killed(data, internet, lease="1500ms")
    for lock in (data / "run").glob("*.lock"):
        lock.unlink()  # as if that process had been on another machine
    async with serving(data, "queue.lease=1s") as node:
        await node.settled()
        assert await node.recipients() == {"slow@example.net": (1, 0, 2)}


async def test_f24_what_a_process_elsewhere_had_is_not_touched_before_its_lease_ends(data: Path, internet: Internet) -> None:
    await claimed_and_killed(data, internet, lease="1h")
    for lock in (data / "run").glob("*.lock"):
        lock.unlink()
    async with serving(data, "queue.lease=1s") as node:
        ((dead, due),) = await node.rows("SELECT lease, due FROM work")
        await node.accepted(to="ann@example.net;bob@example.net")  # to the lane of that process, and to another
        await node.tried("bob@example.net", 1)
        await asyncio.sleep(1.0)  # in which it prolongs its own lease, and looks for what others lost
        assert await node.rows("SELECT lease, due, tries FROM work WHERE lease > 0") == [(dead, due, 1)]
        assert (await node.recipients())["ann@example.net"] == (0, 0, 0)
        await node.change("UPDATE node SET until = 1 WHERE id = $1", dead)
        await node.settled()
        tries = {"slow@example.net": (1, 0, 2), "ann@example.net": (1, 0, 1), "bob@example.net": (1, 0, 1)}
        assert await node.recipients() == tries


async def test_f24_what_an_unconfirmed_claim_took_is_due_in_an_hour(place: Place) -> None:
    """The process that made the claim lives, and does not know of it."""
    clock = ManualClock()
    async with serving(place.data, "node.roles=api", url=place.url, clock=clock) as node:
        await node.accepted()
        ((account_id, entry_id, lane, priority),) = await node.rows("SELECT account_id, id, lane, priority FROM work")
        await node.change("DELETE FROM work")
    async with serving(place.data, LONG_LEASE, url=place.url, clock=clock) as node:
        worker, now_us = node.running.membership.worker, clock.now_us()

        async def claim(tx: Tx) -> None:
            await queue.put(tx, [Work(account_id, entry_id, Kind.MAIL, lane, now_us, priority, entry_id)])
            assert await queue.lease_lane(tx, lane, worker)
            await queue.claim(tx, [(Key(lane, account_id, priority), 1, ())], now_us, worker)

        await node.running.node.store.write(claim)
        for _ in range(2):
            node.pass_time(minutes=29)
            await asyncio.sleep(0.1)
            assert await node.recipients() == {"ann@example.net": (0, 0, 0)}
        node.pass_time(minutes=2)
        await node.settled()
        assert await node.recipients() == {"ann@example.net": (1, 0, 2)}


async def test_f24_who_cannot_make_a_lock_file_goes_on_and_makes_it_when_it_can(data: Path) -> None:
    """As with no file handle left when its lease had ended."""
    async with serving(data, "queue.lease=1s") as node:
        folder = (data / "run").rename(data / "elsewhere")
        await node.change("UPDATE node SET until = 0")

        async def is_another() -> bool:
            return node.running.membership.worker == 2

        async def is_made() -> bool:
            return (data / "run" / "2.lock").exists()

        await node.until(is_another)
        await node.accepted()
        await node.settled()
        folder.rename(data / "run")
        await node.until(is_made)


async def test_f24_what_is_held_longer_than_a_claim_lasts_is_not_sent_twice(data: Path, internet: Internet) -> None:
    """One mail is under way and one waits behind it in memory, for as long as hosts that answer slowly like."""
    internet.hosts["mx.example.net"].temper = Temper(slow_s=1.0)
    settings = (relayed(internet), LONG_LEASE, "delivery.concurrency=1", "delivery.shards=1")
    async with serving(data, *settings, clock=ManualClock()) as node:
        await node.accepted(to="slow+1@example.net;slow+2@example.net")
        await internet.mailbox.wait(1)
        node.pass_time(hours=1, minutes=1)
        await node.settled()
        assert await node.recipients() == {f"slow+{n}@example.net": (1, 0, 1) for n in (1, 2)}
        assert internet.mailbox.count == 2


async def claimed_and_killed(data: Path, internet: Internet, lease: str) -> None:
    """A process of its own dies while it waits for the reply to the final dot."""
    internet.hosts["mx.example.net"].temper = Temper(slow_s=60)
    dying = Node(data, {"delivery.route": relayed(internet).partition("=")[2], "queue.lease": lease})
    dying.start()
    try:
        async with serving(data, "node.roles=api") as node:
            await node.accepted(to="slow@example.net")
            await internet.mailbox.wait_for("slow@example.net", timeout_s=10)
            dying.kill()
            assert [entry[0] > 0 for entry in await node.rows("SELECT lease FROM work")] == [True]
    finally:
        dying.kill()
