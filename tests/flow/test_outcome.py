"""docs/flow.md: what became of a mail."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from aurorasend import delivery, operate
from aurorasend.clock import DAY, HOUR, MINUTE, ManualClock
from aurorasend.event import Event
from aurorasend.simulator import Internet, Temper
from aurorasend.store import node as nodes
from aurorasend.store.tx import EVER, Tx
from tests.running import LONG_LEASE, Place, Served, by_mx, quiet, relayed, serving
from tests.scripted_peer import playing

SCHEDULE = (MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, HOUR)


async def bounce_list(node: Served) -> list[tuple[str, int, int]]:
    """(address, strikes, microseconds left)"""
    found = await node.rows("SELECT key, strikes, expires FROM suppression WHERE list = 'bounce'")
    return [(key, strikes, expires - node.clock.now_us()) for key, strikes, expires in found]


async def test_f35_what_is_delivered_is_no_longer_suspect(place: Place, internet: Internet) -> None:
    """The address is on the bounce list, but its time is over; what remains of it are the strikes."""
    async with serving(place.data, relayed(internet), url=place.url) as node:
        sql = (
            "INSERT INTO suppression (account_id, key, list, api_user_id, strikes, reason, created, expires) "
            "VALUES ($1, 'ann@example.net', 'bounce', 0, 3, '', 0, 1)"
        )
        await node.change(sql, await node.account_id())
        await node.accepted(to="ann@example.net")
        await node.settled()
        assert await node.recipients() == {"ann@example.net": (1, 0, 1)}
        assert await node.counted() == {(18, 0): 1, (1, 0): 1}
        assert await bounce_list(node) == []


async def check_schedule(node: Served, address: str) -> None:
    """It waits, and nobody tries it before its time."""
    await node.accepted(to=address)
    for tries, wait_us in enumerate(SCHEDULE, 1):
        await node.tried(address, tries)
        assert await node.rows("SELECT due, lease, tries FROM work") == [(node.clock.now_us() + wait_us, 0, tries)]
        node.pass_time(microseconds=wait_us - 1)
        await asyncio.sleep(0.02)
        assert (await node.recipients())[address] == (18, 0, tries)
        node.pass_time(microseconds=1)
    await node.tried(address, len(SCHEDULE) + 1)


@pytest.mark.parametrize(
    "address", ["450+a@example.net", "drop@example.net", "drop-after-dot@example.net", "data-451@example.net"]
)
async def test_f36_what_is_temporary_waits(data: Path, internet: Internet, address: str) -> None:
    """A 4xx to RCPT or to the message, a connection that ends, one that ends after the final dot."""
    async with serving(data, relayed(internet), LONG_LEASE, clock=ManualClock()) as node:
        await check_schedule(node, address)


@pytest.mark.parametrize("setting", ["delivery.reply_timeout", "delivery.data_timeout"])
async def test_f36_who_does_not_answer_waits(data: Path, internet: Internet, setting: str) -> None:
    """To RCPT, and to the final dot: then nobody knows the end."""
    internet.hosts["mx.example.net"].temper = Temper(slow_s=60)
    address = "stall@example.net" if setting == "delivery.reply_timeout" else "slow@example.net"
    async with serving(data, relayed(internet), f"{setting}=100ms", LONG_LEASE, clock=ManualClock(), stop_s=0.1) as node:
        await check_schedule(node, address)
        assert internet.mailbox.count == (0 if address.startswith("stall") else len(SCHEDULE) + 1)


async def test_f36_who_cannot_be_reached_waits(data: Path, internet: Internet) -> None:
    await internet.hosts["mx.example.net"].close()
    async with serving(data, relayed(internet), LONG_LEASE, clock=ManualClock()) as node:
        await check_schedule(node, "ann@example.net")


async def test_f36_a_refused_login_waits(data: Path, internet: Internet) -> None:
    host = internet.hosts["mx.example.net"]
    host.temper = Temper(login=("user", "right"))
    route = f"delivery.route=smtp://user:wrong@{host.address}:{host.port}"
    async with serving(data, route, LONG_LEASE, clock=ManualClock()) as node:
        await check_schedule(node, "ann@example.net")
        assert host.connections == len(SCHEDULE) + 1 and internet.mailbox.count == 0


@pytest.mark.parametrize("offered", [False, True])
@pytest.mark.parametrize("who", ["the node", "the account"])
async def test_f36_required_starttls_that_is_refused_or_not_offered_waits(data: Path, offered: bool, who: str) -> None:
    """The refusal is one for good."""
    starttls = "<- 250-peer\n<- 250 STARTTLS\n-> STARTTLS\n<- 502 5.5.1 not today" if offered else "<- 250 peer"
    dialog = f"<- 220 hi\n-> EHLO localhost\n{starttls}\n-> nothing"
    tls = "delivery.tls=require" if who == "the node" else "delivery.tls=opportunistic"
    async with playing(dialog) as (peer, hop):
        route = f"delivery.route=smtp://{hop.address}:{hop.port}"
        async with serving(data, route, tls, LONG_LEASE, clock=ManualClock()) as node:
            await node.change("UPDATE account SET require_tls = $1", int(who == "the account"))
            await check_schedule(node, "ann@example.net")
        assert not [wrong for wrong in peer.wrong if "instead of" in wrong]  # it said no more


async def test_f36_retry_on_both_engines(place: Place, internet: Internet) -> None:
    async with serving(place.data, relayed(internet), LONG_LEASE, url=place.url, clock=ManualClock()) as node:
        await node.accepted(to="greylist@example.net")
        await node.tried("greylist@example.net", 1)
        node.pass_time(minutes=1)
        await node.settled()
        assert await node.recipients() == {"greylist@example.net": (1, 0, 2)}
        assert len(internet.mailbox.to("greylist@example.net")) == 1


@pytest.mark.parametrize(("user", "life_us"), [("main.trigger", DAY), ("main.batch", 3 * DAY)])
async def test_f37_there_is_an_end_to_trying(data: Path, internet: Internet, user: str, life_us: int) -> None:
    async with serving(data, relayed(internet), LONG_LEASE, clock=ManualClock()) as node:
        began = node.clock.now_us()
        await node.accepted(user, to="450@example.net")
        tries = 1
        while True:
            await node.tried("450@example.net", tries)
            waiting = await node.rows("SELECT due FROM work")
            if not waiting:
                break
            last = waiting[0][0]
            assert last - began <= life_us
            node.pass_time(microseconds=last - node.clock.now_us())
            tries += 1
        assert life_us - (node.clock.now_us() - began) < HOUR
        assert await node.recipients() == {"450@example.net": (5, 506, tries)}
        assert (await node.counted())[5, 506] == 1
        assert await bounce_list(node) == []


async def test_f37_no_try_is_in_quiet_hours_and_life_goes_on(place: Place, internet: Internet) -> None:
    async with serving(place.data, relayed(internet), LONG_LEASE, url=place.url, clock=ManualClock()) as node:
        quiet_end = await quiet(node, begun=0, minutes=12 * 60)
        began = node.clock.now_us()
        await node.accepted(to="450@example.net")
        tries, due = 0, quiet_end
        while due is not None:
            assert (due - quiet_end) % DAY < DAY // 2, "never in quiet hours"
            last, tries = due, tries + 1
            node.pass_time(microseconds=due - node.clock.now_us())
            await node.tried("450@example.net", tries)
            ((due,),) = await node.rows("SELECT min(due) FROM work")
        assert DAY - HOUR < last - began <= DAY
        assert await node.recipients() == {"450@example.net": (5, 506, tries)}


async def test_f37_what_nobody_tried_in_time(data: Path, internet: Internet) -> None:
    """The host would take it the second time."""
    async with serving(data, relayed(internet), LONG_LEASE, clock=ManualClock()) as node:
        await node.accepted(to="greylist@example.net")
        await node.tried("greylist@example.net", 1)
        node.pass_time(hours=24, seconds=1)
        await node.settled()
        assert (await node.recipients())["greylist@example.net"] == (5, 503, 2)
        assert internet.mailbox.count == 0


async def test_f38_no_such_mailbox_ends_it_and_is_remembered(place: Place, internet: Internet) -> None:
    async with serving(place.data, relayed(internet), LONG_LEASE, url=place.url, clock=ManualClock()) as node:
        await node.accepted(to="no-such-user@example.net;550@example.net;data-554@example.net")
        await node.settled()
        found = await node.recipients()
        assert found["no-such-user@example.net"] == (4, 406, 1)
        assert found["550@example.net"] == found["data-554@example.net"] == (4, 409, 1)
        assert await bounce_list(node) == [("no-such-user@example.net", 1, HOUR)]
        await node.accepted(to="no-such-user@qq.com")
        await node.settled()
        assert ("no-such-user@qq.com", 1, DAY) in await bounce_list(node)
        await node.change("DELETE FROM suppression WHERE key = 'no-such-user@qq.com'")
        connections = internet.hosts["mx.example.net"].connections
        node.pass_time(minutes=59)
        await node.accepted(to="No-Such-User@example.net")
        await node.settled()
        assert (await node.counted())[4, 401] == 1
        assert internet.hosts["mx.example.net"].connections == connections
        node.pass_time(minutes=2)
        await node.accepted(to="no-such-user@example.net")
        await node.settled()
        assert (await node.counted())[4, 406] == 3
        assert await bounce_list(node) == [("no-such-user@example.net", 2, 4 * HOUR)]


async def test_f38_a_refusal_at_the_greeting_ends_it_too(data: Path, internet: Internet) -> None:
    internet.hosts["mx.example.net"].temper = Temper(greeting="554 5.3.2 no service")
    async with serving(data, relayed(internet)) as node:
        await node.accepted()
        await node.settled()
        assert await node.recipients() == {"ann@example.net": (4, 409, 1)}
        assert await bounce_list(node) == []


async def test_f38_tencent_serves_other_domains_too(data: Path, internet: Internet) -> None:
    internet.add_domain("hosted.example", await internet.add_host("mxbiz1.qq.com"))
    async with serving(data, *by_mx(internet), clock=ManualClock()) as node:
        await node.accepted(to="no-such-user@hosted.example;no-such-user@example.net")
        await node.settled()
        assert sorted(await bounce_list(node)) == [("no-such-user@example.net", 1, HOUR), ("no-such-user@hosted.example", 1, DAY)]


@pytest.mark.parametrize("greeting", ["", "554 5.7.1 your address is on a blocklist", "550 no such user as you"])
async def test_f39_a_refusal_of_us_is_nobodys_bounce(data: Path, internet: Internet, greeting: str) -> None:
    internet.hosts["mx.example.net"].temper = Temper(greeting=greeting)
    async with serving(data, relayed(internet)) as node:
        await node.accepted(to="spam@example.net")
        await node.settled()
        (state, _, _) = (await node.recipients())["spam@example.net"]
        assert state == 4
        assert await bounce_list(node) == []


@pytest.mark.parametrize("refusal", ["550 5.1.1 no such user", "553 5.7.1 not from your domain", "550 5.1.8 unknown sender"])
async def test_f39_a_refused_sender_is_not_the_recipients_bounce(data: Path, refusal: str) -> None:
    """Whatever the words after MAIL FROM are."""
    dialog = f"<- 220 hi\n-> EHLO localhost\n<- 250 peer\n-> the sender\n<- {refusal}\n-> QUIT\n<- 221 bye"
    async with playing(dialog) as (peer, hop), serving(data, f"delivery.route=smtp://{hop.address}:{hop.port}") as node:
        await node.accepted(to="ann@example.net")
        await node.settled()
        (heard,) = peer.wrong
        assert heard.startswith("MAIL FROM:<") and heard.endswith("> instead of the sender")
        (state, _, tries) = (await node.recipients())["ann@example.net"]
        assert (state, tries) == (4, 1)
        assert await bounce_list(node) == []


NOTE_ENDS = (
    "CREATE TABLE ended (id bigint, by text)",
    "CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql "
    "AS $$BEGIN INSERT INTO ended VALUES (OLD.id, pg_current_xact_id()::xid::text); RETURN NULL; END$$",
    "CREATE TRIGGER ending AFTER DELETE ON work FOR EACH ROW EXECUTE FUNCTION note_end()",
)


async def test_f40_an_outcome_is_one_transaction(place: Place, internet: Internet) -> None:
    async with serving(place.data, relayed(internet), LONG_LEASE, url=place.url, clock=ManualClock()) as node:
        columns = "account_id, id, url, api_user_id, events, created, updated"
        sql = f"INSERT INTO webhook ({columns}) VALUES ($1, 5, 'http://x', 0, '4,1', 0, 0)"
        await node.change(sql, account_id := await node.account_id())
        is_postgres = node.running.node.store.engine == "postgres"  # which can tell the transaction of a row
        for statement in NOTE_ENDS if is_postgres else ():
            await node.change(statement)
        await node.accepted(to="no-such-user@example.net;451@example.net;ann@example.net")

        async def only_posts_and_one_wait() -> bool:
            waiting = await node.rows("SELECT kind, count(*) FROM work WHERE lease = 0 GROUP BY kind ORDER BY kind")
            return waiting == [(1, 1), (3, 2)]

        await node.until(only_posts_and_one_wait)
        posts = await node.rows("SELECT lane, ref FROM work WHERE kind = 3 ORDER BY ref")
        told = await node.rows("SELECT id FROM event WHERE kind IN (1, 4) ORDER BY id")
        assert posts == [(f"hook:{account_id}.5", event_id) for (event_id,) in told]
        assert await node.counted() == {(18, 0): 3, (4, 406): 1, (1, 0): 1}
        assert await node.count("suppression") == 1
        if is_postgres:
            about = "(SELECT id FROM recipient WHERE address = 'no-such-user@example.net')"
            writers = await node.rows(
                f"SELECT xmin::text FROM recipient WHERE id = {about} UNION SELECT xmin::text FROM suppression UNION "
                f"SELECT xmin::text FROM event WHERE recipient_id = {about} UNION SELECT xmin::text FROM counter WHERE kind = 4 "
                f"UNION SELECT xmin::text FROM work WHERE kind = 3 AND ref = (SELECT id FROM event WHERE recipient_id = {about}) "
                f"UNION SELECT by FROM ended WHERE id = {about}"
            )
            assert (await node.rows(f"SELECT count(*) FROM ended WHERE id = {about}"))[0] == (1,)
            assert len(writers) == 1
            waiting = "(SELECT id FROM recipient WHERE address = '451@example.net')"
            writers = await node.rows(
                f"SELECT xmin::text FROM recipient WHERE id = {waiting} UNION SELECT xmin::text FROM work WHERE id = {waiting} "
                f"UNION SELECT xmin::text FROM event WHERE recipient_id = {waiting}"
            )
            assert len(writers) == 1


async def test_f41_an_outcome_counts_in_the_hour_of_its_request(data: Path, internet: Internet) -> None:
    async with serving(data, relayed(internet), LONG_LEASE, clock=ManualClock()) as node:
        requested = node.clock.now_us() // HOUR
        await node.accepted(to="greylist@example.net", labelName="spring")
        await node.tried("greylist@example.net", 1)
        node.pass_time(hours=5)
        await node.settled()
        label_id = (await node.rows("SELECT id FROM label"))[0][0]
        assert await node.rows("SELECT hour, label_id, domain, kind, n FROM counter ORDER BY kind") == [
            (requested, label_id, "example.net", 1, 1),
            (requested, label_id, "example.net", 18, 1),
        ]


async def test_f42_the_outcome_of_what_is_not_ours_is_dropped(place: Place, internet: Internet) -> None:
    """The node is buried while it waits for the reply to the final dot; then it tries again, as a new one."""
    host = internet.hosts["mx.example.net"]
    host.temper = Temper(slow_s=1.0)
    async with serving(place.data, relayed(internet), "queue.lease=2s", url=place.url) as node:
        await node.accepted(to="slow@example.net")
        await internet.mailbox.wait(1)
        worker, now_us = node.running.membership.worker, node.clock.now_us()
        await node.running.node.store.write(lambda tx: nodes.bury(tx, worker, now_us))
        await node.accepted(to="slow+new@example.net")  # it must not be claimed under the old number
        await node.settled()
        assert internet.mailbox.count == 3
        assert await node.recipients() == {"slow@example.net": (1, 0, 2), "slow+new@example.net": (1, 0, 1)}
        assert await node.counted() == {(18, 0): 2, (1, 0): 2}
        assert node.running.membership.worker != worker


async def test_f42_what_cannot_be_recorded_is_not_sent_again(
    place: Place, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two mails of one batch: only the outcome of one meets the fault."""
    record = delivery.record

    async def record_or_fail(tx: Tx, events: Sequence[Event]) -> None:
        if any(one.domains == (("broken.example", 1),) for one in events):
            raise ValueError("a fault of ours")
        await record(tx, events)

    internet.add_domain("broken.example", internet.hosts["mx.example.net"])
    async with serving(place.data, relayed(internet), url=place.url) as node:
        with monkeypatch.context() as patch:
            patch.setattr(delivery, "record", record_or_fail)
            await node.accepted(to="ann@broken.example;bob@example.net")

            async def is_parked() -> bool:
                return await node.rows("SELECT due, lease FROM work") == [(EVER, 0)]

            await node.until(is_parked)
        assert internet.mailbox.count == 2
        assert await node.recipients() == {"ann@broken.example": (0, 0, 0), "bob@example.net": (1, 0, 1)}
        assert any("cannot be recorded" in fault for fault in node.faults.found)
        node.expect_fault()
        await asyncio.to_thread(operate.release_parked, node.running.node.settings)
        await node.settled()
        assert [mail.recipients for mail in internet.mailbox.messages][2:] == [("ann@broken.example",)]
        assert await node.recipients() == {"ann@broken.example": (1, 0, 1), "bob@example.net": (1, 0, 1)}


async def test_f43_explain_tells_it_all(data: Path, internet: Internet) -> None:
    async with serving(data, relayed(internet), LONG_LEASE, clock=ManualClock()) as node:
        ids = await node.accepted(to="greylist@example.net;other@example.net")
        await node.tried("greylist@example.net", 1)
        assert "waits in lane" in await node.life(ids[0])
        node.pass_time(minutes=1)
        await node.settled()
        life = (await node.life(ids[0])).splitlines()
        assert len(life) == 4
        told = ("accepted as", "delivered, 2 attempts", "attempt 1: deferred: 451", "attempt 2: deliver: 250")
        for line, part in zip(life, told, strict=True):
            assert part in line
        assert "other@example.net" not in "\n".join(life)


async def test_f43_explain_shows_the_first_500_and_any_other_by_its_email_id(data: Path) -> None:
    """Of a list send, since no other submission has so many."""
    async with serving(data, "queue.batch=256") as node:
        user, news = node.user("main.batch"), "news@maillist.example.org"
        await node.call("/addresslist/add", {**user, "address": news, "name": "News"})
        for first in (0, 253):
            members = ";".join(f"a{n}@example.net" for n in range(first, first + 253))
            await node.call("/addressmember/add", {**user, "address": news, "members": members})
        assert (await node.send("main.batch", to=news, useAddressList="true"))["statusCode"] == 40821

        async def all_are_delivered() -> bool:
            return await node.rows("SELECT count(*) FROM recipient WHERE state = 1") == [(506,)]

        await node.until(all_are_delivered, 20)
        ((message_id,),) = await node.rows("SELECT message_id FROM submission")
        accepted, *lines, more = (await node.life(message_id)).splitlines()
        assert "506 recipients" in accepted and more == "and 6 more recipients: ask for one by its emailId"
        assert len(lines) == 1000
        for n in range(500):
            assert lines[2 * n] == f"recipient {n}: a{n}@example.net: delivered, 1 attempts"
            assert "attempt 1: deliver" in lines[2 * n + 1]
        _, person, attempt = (await node.life(f"{message_id}505$a505@example.net")).splitlines()
        assert person == "recipient 505: a505@example.net: delivered, 1 attempts" and "attempt 1: deliver" in attempt
