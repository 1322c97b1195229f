"""Sessions are shared, replaced when stale, and the next hop is tried only when it is safe."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from aurorasend.mx import Hop
from aurorasend.outcome import Fate, Outcome
from aurorasend.pool import Limits, NoPlace, Pool
from aurorasend.simulator import Internet, MailHost, Temper
from aurorasend.smtp_client import Parcel, Terms, Timeouts

LETTER = b"Subject: hello\r\n\r\nHello\r\n"
TERMS = Terms("us.example", timeouts=Timeouts(connect_s=1, reply_s=0.3, body_s=0.3, end_s=0.3, quit_s=0.2, total_s=3))
DEAD = Hop("dead.example", "127.0.0.1", 1)


def hop(host: MailHost) -> Hop:
    return Hop(host.name, host.address, host.port)


@asynccontextmanager
async def pooled(*tempers: Temper, limits: Limits | None = None) -> AsyncIterator[tuple[Pool, Internet, list[MailHost]]]:
    async with Internet() as internet:
        hosts = [await internet.add_host(f"mx{n}.example", temper) for n, temper in enumerate(tempers, 1)]
        pool = Pool(TERMS, limits or Limits())
        yield pool, internet, hosts
        await pool.close()


async def soon(holds: Callable[[], bool]) -> bool:
    """Whether `holds` within 4 s."""
    for _ in range(200):
        if holds():
            return True
        await asyncio.sleep(0.02)
    return False


async def fates(pool: Pool, hops: list[Hop], *to: str) -> list[str]:
    return [got.fate.value for got in await pool.send(hops, parcel(*to))]


def parcel(*to: str, encrypted: bool = False) -> Parcel:
    return Parcel("a@x.example", to, LETTER, encrypted=encrypted)


async def test_who_waits_long_for_a_connection_is_told_and_takes_no_place() -> None:
    async with pooled(Temper(latency_s=0.1), limits=Limits(per_hop=1, wait_s=0.1)) as (pool, internet, (host,)):
        first = asyncio.create_task(fates(pool, [hop(host)], "b@y.example"))
        await asyncio.sleep(0)
        with pytest.raises(NoPlace):
            await pool.send([hop(host)], parcel("c@y.example"))
        assert await first == ["delivered"]
        assert await fates(pool, [hop(host)], "d@y.example") == ["delivered"]
        assert [mail.recipients[0] for mail in internet.mailbox.messages] == ["b@y.example", "d@y.example"]


async def test_each_who_waits_for_a_connection_does_so_as_long_from_when_it_came() -> None:
    async with pooled(Temper(latency_s=0.1), limits=Limits(per_hop=1, wait_s=0.1)) as (pool, _, (host,)):
        first = asyncio.create_task(fates(pool, [hop(host)], "b@y.example"))
        await asyncio.sleep(0)
        clock, gave_up = asyncio.get_running_loop(), {}

        async def wait(name: str, after_s: float, *, urgent: bool) -> None:
            await asyncio.sleep(after_s)
            came = clock.time()
            with pytest.raises(NoPlace):
                await pool.send([hop(host)], parcel(f"{name}@y.example"), urgent=urgent)
            gave_up[name] = clock.time() - came

        await asyncio.gather(wait("c", 0.02, urgent=True), wait("d", 0, urgent=False), wait("e", 0.04, urgent=False))
        assert list(gave_up) == ["d", "c", "e"] and all(waited > 0.09 for waited in gave_up.values())
        assert await first == ["delivered"]


async def test_what_another_hop_said_is_told_when_no_connection_is_free() -> None:
    async with pooled(Temper(latency_s=0.1), limits=Limits(per_hop=1, wait_s=0.1)) as (pool, _, (host,)):
        first = asyncio.create_task(fates(pool, [hop(host)], "b@y.example"))
        await asyncio.sleep(0)
        (got,) = await pool.send([DEAD, hop(host)], parcel("c@y.example"))
        assert (got.fate, "dead.example" in got.text) == (Fate.DEFERRED, True)
        assert await first == ["delivered"]


async def test_one_session_serves_one_message_after_the_other() -> None:
    async with pooled(Temper()) as (pool, internet, (host,)):
        for n in range(5):
            assert await fates(pool, [hop(host)], f"b{n}@y.example") == ["delivered"]
        assert (host.connections, internet.mailbox.count) == (1, 5)


async def test_no_more_sessions_at_a_time_than_allowed() -> None:
    async with pooled(Temper(latency_s=0.01), limits=Limits(per_hop=3)) as (pool, internet, (host,)):
        got = await asyncio.gather(*(fates(pool, [hop(host)], f"b{n}@y.example") for n in range(20)))
        assert got == [["delivered"]] * 20
        assert (host.connections, internet.mailbox.count) == (3, 20)


async def test_a_session_is_left_after_its_number_of_messages() -> None:
    async with pooled(Temper(), limits=Limits(per_session=2)) as (pool, _, (host,)):
        for _ in range(5):
            await fates(pool, [hop(host)], "b@y.example")
        assert host.connections == 3


async def test_a_peer_that_allows_few_messages_gets_a_new_connection_at_once() -> None:
    async with pooled(Temper(max_messages=2)) as (pool, internet, (host,)):
        assert [await fates(pool, [hop(host)], f"b{n}@y.example") for n in range(5)] == [["delivered"]] * 5
        assert (host.connections, internet.mailbox.count) == (3, 5)


async def test_a_kept_session_that_its_peer_closed_is_replaced_silently() -> None:
    async with pooled(Temper()) as (pool, internet, (host,)):
        await fates(pool, [hop(host)], "b@y.example")
        for transport in list(host.open):
            transport.abort()
        assert await fates(pool, [hop(host)], "c@y.example") == ["delivered"], "closed, and not yet seen"
        for transport in list(host.open):
            transport.abort()
        await asyncio.sleep(0.05)
        assert await fates(pool, [hop(host)], "d@y.example") == ["delivered"], "closed, and seen"
        assert internet.mailbox.count == 3


async def test_idle_sessions_are_left_in_time() -> None:
    async with pooled(Temper(), limits=Limits(idle_s=0.0)) as (pool, _, (host,)):
        await fates(pool, [hop(host)], "b@y.example")
        assert len(host.open) == 1
        assert await soon(lambda: not host.open)


async def test_idle_sessions_are_bounded() -> None:
    async with pooled(Temper(), Temper(), limits=Limits(idle_max=1)) as (pool, _, (one, two)):
        await fates(pool, [hop(one)], "b@y.example")
        await fates(pool, [hop(two)], "b@y.example")
        assert await soon(lambda: len(one.open) + len(two.open) == 1)


async def test_the_next_hop_is_tried_when_the_first_is_dead_or_will_not_talk() -> None:
    refusing = [Temper(greeting="421 4.3.2 busy"), Temper(greeting="554 no service")]
    async with pooled(*refusing, Temper()) as (pool, _, hosts):
        assert await fates(pool, [DEAD, *map(hop, hosts)], "b@y.example") == ["delivered"]
        assert [host.connections for host in hosts] == [1, 1, 1]


async def test_a_dead_hop_is_not_asked_again_for_each_message() -> None:
    async with pooled(Temper(greeting="421 4.3.2 busy"), Temper()) as (pool, _, (busy, good)):
        for _ in range(3):
            assert await fates(pool, [hop(busy), hop(good)], "b@y.example") == ["delivered"]
        assert busy.connections == 1


async def test_a_refused_recipient_is_not_tried_elsewhere() -> None:
    async with pooled(Temper(), Temper()) as (pool, _, (one, two)):
        assert await fates(pool, [hop(one), hop(two)], "no-such-user@y.example") == ["bounced"]
        assert await fates(pool, [hop(one), hop(two)], "full@y.example") == ["deferred"]
        assert two.connections == 0


async def test_an_ambiguous_end_is_never_tried_elsewhere() -> None:
    async with pooled(Temper(), Temper()) as (pool, internet, (one, two)):
        assert await fates(pool, [hop(one), hop(two)], "drop-after-dot@y.example") == ["ambiguous"]
        assert (two.connections, internet.mailbox.count) == (0, 1)


async def test_an_ambiguous_end_on_a_kept_session_is_not_tried_again() -> None:
    async with pooled(Temper()) as (pool, internet, (host,)):
        await fates(pool, [hop(host)], "b@y.example")
        assert await fates(pool, [hop(host)], "drop-after-dot@y.example") == ["ambiguous"]
        assert internet.mailbox.count == 2


async def test_only_those_left_without_an_answer_are_tried_elsewhere() -> None:
    async with pooled(Temper(), Temper()) as (pool, internet, (one, two)):
        to = ("no-such-user@y.example", "b@y.example", "421+x@y.example", "c@y.example")
        got = await pool.send([hop(one), hop(two)], parcel(*to))
        assert [outcome.fate for outcome in got] == [Fate.BOUNCED, Fate.DEFERRED, Fate.DEFERRED, Fate.DEFERRED]
        assert (one.connections, two.connections, internet.mailbox.count) == (1, 1, 0)


async def test_when_all_hops_fail_the_telling_answer_stays() -> None:
    tempers = Temper(greeting="554 5.7.1 your IP is on a blocklist"), Temper(greeting="421 4.3.2 busy")
    async with pooled(*tempers) as (pool, _, hosts):
        (got,) = await pool.send([hop(hosts[0])], parcel("b@y.example"))
        assert (got.fate, got.sub_status) == (Fate.BOUNCED, 405)
        (got,) = await pool.send([*map(hop, hosts), DEAD], parcel("b@y.example"))
        assert (got.fate, got.sub_status) == (Fate.DEFERRED, 503), "one of them may take it later"
        (got,) = await pool.send([DEAD], parcel("b@y.example"))
        assert (got.fate, got.sub_status) == (Fate.DEFERRED, 403)


async def test_a_cancelled_send_gives_its_place_back() -> None:
    async with pooled(Temper(), limits=Limits(per_hop=1)) as (pool, _, (host,)):
        stuck = asyncio.ensure_future(fates(pool, [hop(host)], "stall@y.example"))
        await asyncio.sleep(0.1)
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
        assert await fates(pool, [hop(host)], "b@y.example") == ["delivered"]


async def test_what_must_be_encrypted_has_no_session_in_clear() -> None:
    """A host that begins to offer TLS while sessions in clear are kept."""
    async with pooled(Temper(), limits=Limits(per_hop=2)) as (pool, internet, (host,)):

        async def send(to: str, encrypted: bool) -> Outcome:
            return (await pool.send([hop(host)], parcel(to, encrypted=encrypted)))[0]

        await asyncio.gather(*(send(f"{n}@y.example", encrypted=False) for n in range(4)))
        assert len(host.open) == 2
        refused = await send("b@y.example", encrypted=True)
        assert (refused.fate, "offers no STARTTLS" in refused.text) == (Fate.DEFERRED, True)
        assert await soon(lambda: not host.open)
        await send("c@y.example", encrypted=False)
        host.temper = Temper(starttls=True)
        assert (await send("d@y.example", encrypted=True)).fate is Fate.DELIVERED
        assert await soon(lambda: len(host.open) == 1)
        assert (await send("e@y.example", encrypted=False)).fate is Fate.DELIVERED
        assert (await send("f@y.example", encrypted=True)).fate is Fate.DELIVERED
        assert host.connections == 5
        sent = {mail.recipients[0][0]: bool(mail.tls) for mail in internet.mailbox.messages}
        assert sent == {"0": False, "1": False, "2": False, "3": False, "c": False, "d": True, "e": True, "f": True}


async def test_a_hop_without_tls_is_put_last_for_what_needs_it_only() -> None:
    async with pooled(Temper(), Temper(starttls=True)) as (pool, internet, hosts):
        for n in range(2):
            for encrypted in (True, False):
                await pool.send([hop(host) for host in hosts], parcel(f"b{n}@y.example", encrypted=encrypted))
        assert [mail.host for mail in internet.mailbox.messages] == ["mx2.example", "mx1.example"] * 2
        assert hosts[0].connections == 2


async def test_close_leaves_politely_and_nothing_stays_open() -> None:
    async with pooled(Temper()) as (pool, _, (host,)):
        await fates(pool, [hop(host)], "b@y.example")
        await pool.close()
        await asyncio.sleep(0.05)
        assert not host.open
        assert await fates(pool, [hop(host)], "b@y.example") == ["delivered"], "one that was under way may end"
        await asyncio.sleep(0.05)
        assert not host.open
