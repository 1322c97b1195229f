"""RFC 5321 §5.1 and RFC 7505 over zones of the simulated name server."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aurorasend.mx import MAX_ADDRESSES, MAX_HOSTS, Hop, Reach, hops_of_host, next_hops
from aurorasend.outcome import Fate, Outcome
from aurorasend.resolver import Answer, DnsResolver, Found, Mx
from aurorasend.simulator import NameServer


@asynccontextmanager
async def zones() -> AsyncIterator[tuple[NameServer, DnsResolver]]:
    names = NameServer()
    await names.start()
    resolver = DnsResolver([(names.address, names.port)], deadline_s=1.0)
    yield names, resolver
    await resolver.close()
    await names.close()


async def addresses(resolver: DnsResolver, domain: str, reach: Reach | None = None) -> list[str]:
    got = await next_hops(domain, resolver, reach or Reach())
    assert isinstance(got, list), got
    return [hop.address for hop in got]


async def test_by_preference_all_addresses_both_families() -> None:
    async with zones() as (names, resolver):
        names.add_mx("a.example", "worse.a.example", 20)
        names.add_mx("a.example", "better.a.example", 5)
        names.add("better.a.example", "A", "192.0.2.1")
        names.add("better.a.example", "AAAA", "2001:db8::1")
        names.add("worse.a.example", "A", "192.0.2.2")
        got = await next_hops("a.example", resolver, Reach(port=2525))
        assert got == [
            Hop("better.a.example", "2001:db8::1", 2525),
            Hop("better.a.example", "192.0.2.1", 2525),
            Hop("worse.a.example", "192.0.2.2", 2525),
        ]


async def test_equals_come_in_random_order() -> None:
    async with zones() as (names, resolver):
        for n in range(4):
            names.add_mx("a.example", f"mx{n}.a.example", 10)
            names.add(f"mx{n}.a.example", "A", f"192.0.2.{n + 1}")
        orders = set()
        for seed in range(20):
            got = await next_hops("a.example", resolver, shuffle=random.Random(seed))
            assert isinstance(got, list)
            orders.add(tuple(hop.host for hop in got))
        assert len(orders) > 3


async def test_without_mx_the_domain_itself_serves() -> None:
    async with zones() as (names, resolver):
        names.add("a.example", "A", "192.0.2.1")
        assert await next_hops("a.example", resolver) == [Hop("a.example", "192.0.2.1", 25)]


@pytest.mark.parametrize(
    "domain", ["null.example", "nowhere.example", "bare.example", "dangling.example", "a..b", "-", "a b", "x" * 300]
)
async def test_what_takes_no_mail_is_final_and_suppresses_nobody(domain: str) -> None:
    async with zones() as (names, resolver):
        names.add_null_mx("null.example")
        names.add_txt("bare.example", "x")
        names.add_mx("dangling.example", "nothing.example")
        got = await next_hops(domain, resolver)
        assert isinstance(got, Outcome)
        assert (got.fate, got.sub_status, got.event, got.suppress) == (Fate.BOUNCED, 403, "invalid", False)


@pytest.mark.parametrize("how", ["SERVFAIL", "REFUSED", "TIMEOUT"])
@pytest.mark.parametrize("name", ["a.example", "mx.a.example"])
async def test_dns_trouble_is_a_later_try(how: str, name: str) -> None:
    async with zones() as (names, resolver):
        names.add_mx("a.example", "mx.a.example")
        names.fail(name, how)
        got = await next_hops("a.example", resolver)
        assert isinstance(got, Outcome)
        assert (got.fate, got.sub_status) == (Fate.DEFERRED, 403)


async def test_a_mail_exchanger_that_cannot_be_looked_up_is_passed_over() -> None:
    async with zones() as (names, resolver):
        names.add_mx("a.example", "broken.a.example", 5)
        names.add_mx("a.example", "mx.a.example", 10)
        names.fail("broken.a.example")
        names.add("mx.a.example", "A", "192.0.2.1")
        assert await addresses(resolver, "a.example") == ["192.0.2.1"]


async def test_where_we_are_a_mail_exchanger_ourselves_only_better_ones_are_tried() -> None:
    async with zones() as (names, resolver):
        for preference, address in ((5, "192.0.2.5"), (10, "192.0.2.10"), (10, "192.0.2.11"), (20, "192.0.2.20")):
            names.add_mx("a.example", f"mx{address[8:]}.a.example", preference)
            names.add(f"mx{address[8:]}.a.example", "A", address)
        assert await addresses(resolver, "a.example", Reach(own=["192.0.2.10"])) == ["192.0.2.5"]
        got = await next_hops("a.example", resolver, Reach(own=["192.0.2.5"]))
        assert isinstance(got, Outcome)
        assert got.fate is Fate.BOUNCED
        assert "this host" in got.text


async def test_mail_is_not_led_to_loopback_or_nowhere() -> None:
    async with zones() as (names, resolver):
        for domain, address in (("loop.example", "127.0.0.9"), ("zero.example", "0.0.0.0"), ("many.example", "224.0.0.1")):
            names.add(domain, "A", address)
            assert isinstance(await next_hops(domain, resolver), Outcome), domain
        assert await addresses(resolver, "loop.example", Reach(loopback=True)) == ["127.0.0.9"]


@pytest.mark.parametrize("address", ["::ffff:127.0.0.1", "::ffff:0.0.0.0", "::ffff:224.0.0.1", "::ffff:192.0.2.5"])
async def test_an_ipv4_address_in_the_clothes_of_an_ipv6_one_is_known(address: str) -> None:
    async with zones() as (names, resolver):
        names.add("a.example", "AAAA", address)
        assert isinstance(await next_hops("a.example", resolver, Reach(own=["192.0.2.5"])), Outcome)


async def test_it_is_bounded() -> None:
    async with zones() as (names, resolver):
        for n in range(30):
            names.add_mx("a.example", f"mx{n}.a.example", n)
            names.add(f"mx{n}.a.example", "A", *(f"192.0.2.{9 * k + n % 9 + 1}" for k in range(5)))
        got = await addresses(resolver, "a.example")
        assert len(got) == MAX_ADDRESSES
        asked = {name for name, kind in names.questions if kind == "A"}
        assert len(asked) == MAX_HOSTS


class Hostile:
    """Says what no honest resolver says."""

    async def mx(self, domain: str) -> Answer[Mx]:
        names = ("evil\r\nRCPT TO:<x@y>", "a b.example", "<x>.example", "192.0.2.7", "\\000.example", "good.example")
        return Answer(Found.RECORDS, tuple(Mx(n, name) for n, name in enumerate(names)), 60)

    async def addresses(self, host: str) -> Answer[str]:
        assert host == "good.example"
        return Answer(Found.RECORDS, ("192.0.2.1",), 60)

    async def txt(self, name: str) -> Answer[bytes]:
        return Answer(Found.NO_DATA)

    async def cname(self, name: str) -> Answer[str]:
        return Answer(Found.NO_DATA)


async def test_names_from_dns_are_checked() -> None:
    assert await next_hops("a.example", Hostile()) == [Hop("good.example", "192.0.2.1", 25)]


async def test_a_smart_host_is_a_name_or_an_address_and_its_trouble_is_never_a_bounce() -> None:
    async with zones() as (names, resolver):
        names.add("relay.example", "A", "192.0.2.1")
        names.add_mx("relay.example", "elsewhere.example")
        assert await hops_of_host("relay.example", 587, resolver) == [Hop("relay.example", "192.0.2.1", 587)]
        assert await hops_of_host("2001:db8::7", 25, resolver) == [Hop("2001:db8::7", "2001:db8::7", 25)]
        got = await hops_of_host("nowhere.example", 587, resolver)
        assert isinstance(got, Outcome)
        assert got.fate is Fate.DEFERRED
