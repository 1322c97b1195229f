"""The resolver against the simulated name server: real packets on loopback."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aurorasend.resolver import Answer, DnsResolver, Found, Mx
from aurorasend.simulator import NameServer


@asynccontextmanager
async def asking(ttl_s: int = 300, cache_size: int = 10_000) -> AsyncIterator[tuple[NameServer, DnsResolver]]:
    names = NameServer(ttl_s=ttl_s)
    await names.start()
    resolver = DnsResolver([(names.address, names.port)], deadline_s=1.0, cache_size=cache_size)
    yield names, resolver
    await resolver.close()
    await names.close()


async def test_records() -> None:
    async with asking() as (names, resolver):
        names.add_mx("a.example", "mx1.a.example", 10)
        names.add_mx("a.example", "mx2.a.example", 20)
        names.add("mx1.a.example", "A", "192.0.2.1", "192.0.2.2")
        names.add("mx1.a.example", "AAAA", "2001:db8::1")
        names.add_txt("k._domainkey.a.example", "v=DKIM1; p=" + "A" * 600)
        mx = await resolver.mx("a.example")
        assert set(mx.records) == {Mx(10, "mx1.a.example"), Mx(20, "mx2.a.example")}
        assert (mx.found, mx.ttl_s) == (Found.RECORDS, 300)
        addresses = await resolver.addresses("mx1.a.example")
        assert addresses.records[0] == "2001:db8::1"
        assert set(addresses.records[1:]) == {"192.0.2.1", "192.0.2.2"}
        assert (await resolver.txt("k._domainkey.a.example")).records == (b"v=DKIM1; p=" + b"A" * 600,)


async def test_an_answer_too_long_for_udp_comes_by_tcp() -> None:
    async with asking() as (names, resolver):
        for n in range(40):
            names.add_txt("long.example", f"{n} " + "x" * 200)
        assert len((await resolver.txt("long.example")).records) == 40


async def test_no_name_and_no_data_are_told_apart_from_failure() -> None:
    async with asking() as (names, resolver):
        names.add("host.example", "A", "192.0.2.1")
        names.fail("broken.example")
        names.fail("refusing.example", "REFUSED")
        names.fail("silent.example", "TIMEOUT")
        assert (await resolver.mx("nowhere.example")).found is Found.NO_NAME
        assert (await resolver.mx("host.example")).found is Found.NO_DATA
        began = time.monotonic()
        for name in ("broken.example", "refusing.example", "silent.example"):
            got = await resolver.mx(name)
            assert got.found is Found.FAILURE, name
            assert got.why
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("name", ["a..b", "x" * 300, "", "bad\x00name.example", "\udcff.example", ".", "a b.example"])
async def test_what_is_no_name_raises_nothing(name: str) -> None:
    async with asking() as (_, resolver):
        assert not (await resolver.mx(name)).records


async def test_one_family_is_enough_when_the_other_fails() -> None:
    class Half(DnsResolver):
        async def _ask(self, name: str, kind: str) -> Answer[str]:
            return Answer(Found.FAILURE, why="x") if kind == self.broken else await super()._ask(name, kind)

        broken = "AAAA"

    async with asking() as (names, _):
        names.add("host.example", "A", "192.0.2.1")
        resolver = Half([(names.address, names.port)], deadline_s=1.0)
        assert (await resolver.addresses("host.example")).records == ("192.0.2.1",)
        resolver.broken = "A"
        assert (await resolver.addresses("other.example")).found is Found.FAILURE
        await resolver.close()


async def test_a_cname_leads_on() -> None:
    async with asking() as (names, resolver):
        names.add("alias.example", "CNAME", "host.example.")
        names.add("host.example", "A", "192.0.2.1")
        assert (await resolver.addresses("alias.example")).records == ("192.0.2.1",)


async def test_an_answer_is_kept_and_asked_for_once_at_a_time() -> None:
    async with asking() as (names, resolver):
        names.add_mx("a.example", "mx.a.example")
        await asyncio.gather(*(resolver.mx(name) for name in ["a.example", "A.example", "a.example."] * 10))
        await resolver.mx("a.example")
        assert names.questions == [("a.example", "MX")]


async def test_without_a_ttl_nothing_is_kept() -> None:
    async with asking(ttl_s=0) as (names, resolver):
        names.add_mx("a.example", "mx1.a.example")
        await resolver.mx("a.example")
        names.remove("a.example")
        names.add_mx("a.example", "mx2.a.example")
        assert (await resolver.mx("a.example")).records == (Mx(10, "mx2.a.example"),)


async def test_a_failure_is_not_kept() -> None:
    async with asking() as (names, resolver):
        names.add_mx("a.example", "mx.a.example")
        names.fail("a.example")
        assert (await resolver.mx("a.example")).found is Found.FAILURE
        names.fail("a.example", "")
        assert (await resolver.mx("a.example")).found is Found.RECORDS


async def test_the_cache_is_bounded() -> None:
    async with asking(cache_size=10) as (names, resolver):
        for n in range(30):
            names.add_mx(f"d{n}.example", "mx.example")
            await resolver.mx(f"d{n}.example")
        assert len(resolver._cache) == 10


async def test_a_caller_that_leaves_does_not_take_the_answer_from_another() -> None:
    async with asking() as (names, resolver):
        names.add_mx("a.example", "mx.a.example")
        first = asyncio.ensure_future(resolver.mx("a.example"))
        second = asyncio.ensure_future(resolver.mx("a.example"))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).found is Found.RECORDS


async def test_no_name_server_answers() -> None:
    resolver = DnsResolver([("127.0.0.1", 1)], deadline_s=0.4)
    assert (await resolver.mx("a.example")).found is Found.FAILURE
    await resolver.close()


async def test_an_alias() -> None:
    async with asking() as (names, resolver):
        names.add("t.example", "CNAME", "Track.platform.example.")
        names.add("host.example", "A", "192.0.2.1")
        assert (await resolver.cname("t.example")).records == ("Track.platform.example",)
        assert (await resolver.cname("host.example")).found is Found.NO_DATA


async def test_without_a_cache_every_question_is_asked() -> None:
    async with asking(cache_size=0) as (names, resolver):
        assert (await resolver.txt("a.example")).found is Found.NO_NAME
        names.add_txt("a.example", "one")
        assert (await resolver.txt("a.example")).records == (b"one",)
        names.remove("a.example")
        assert (await resolver.txt("a.example")).found is Found.NO_NAME
        assert len(names.questions) == 3
