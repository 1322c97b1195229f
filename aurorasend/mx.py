"""Which hosts take the mail of a domain, in the order of trying (RFC 5321 §5.1).

Called by delivery before it talks SMTP; calls the resolver. Always: a list is bounded, a name from DNS is used only
when it is a host name (names from DNS have carried header injections), and DNS trouble is a deferral, never a bounce.
"""

import asyncio
import random
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from aurorasend.outcome import Outcome, no_such_domain, unreachable
from aurorasend.resolver import Answer, Found, Mx, Resolver

SMTP_PORT = 25
MAX_HOSTS = 10  # ours: the largest providers publish 5
MAX_ADDRESSES = 20  # ours: bounds the connections that one attempt may try

# RFC 1123 §2.1; the underscore is outside it and in use.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_host_name = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*{_LABEL}").fullmatch


@dataclass(frozen=True, slots=True)
class Hop:
    """One address of one host that takes mail."""

    host: str  # name, for logs and certificates
    address: str  # IPv4 or IPv6
    port: int = SMTP_PORT

    def __str__(self) -> str:
        return f"{self.host}[{self.address}]:{self.port}"


@dataclass(frozen=True, slots=True)
class Reach:
    """What may be connected to. `own` are our own addresses: mail sent to them would come back to us."""

    port: int = SMTP_PORT
    own: Collection[str] = ()
    loopback: bool = False  # a public domain that points there is wrong or hostile; a simulated one is not

    def is_own(self, address: str) -> bool:
        return address in self.own or (not self.loopback and ip_address(address).is_loopback)


async def next_hops(
    domain: str, resolver: Resolver, reach: Reach = Reach(), shuffle: random.Random | None = None
) -> list[Hop] | Outcome:
    """Where to try for `domain` (A-labels), best first; never empty.

    When we stand among the mail exchangers ourselves, those of our preference and worse ones are left out
    (RFC 5321 §5.1); when none is left the domain cannot be reached.
    """
    if not _host_name(domain):
        return no_such_domain(domain, "not a domain name")
    answer = await resolver.mx(domain)
    match answer.found:
        case Found.FAILURE:
            return unreachable(f"{domain}: mail exchangers could not be looked up: {answer.why}")
        case Found.NO_NAME:
            return no_such_domain(domain, "domain does not exist")
        case Found.NO_DATA:
            return await _hops(domain, [Mx(0, domain)], resolver, reach)  # the domain itself serves (RFC 5321 §5.1)
        case Found.RECORDS if all(record.host == "" for record in answer.records):
            return no_such_domain(domain, "domain accepts no mail (null MX)")  # RFC 7505 §3
    return await _hops(domain, _ordered(answer, shuffle or random.Random()), resolver, reach)


async def hops_of_host(host: str, port: int, resolver: Resolver) -> list[Hop] | Outcome:
    """The addresses of a smart host, which may be an IP address itself. No MX is looked up, and whatever is wrong
    is a deferral: it is the operator's mistake, not the recipient's."""
    if _is_ip(host):
        return [Hop(host, host, port)]
    answer = await resolver.addresses(host)
    if answer.found is not Found.RECORDS:
        return unreachable(f"{host}: no address of the relay: {answer.why or answer.found.value}")
    return [Hop(host, address, port) for address in answer.records[:MAX_ADDRESSES]]


def _ordered(answer: Answer[Mx], shuffle: random.Random) -> list[Mx]:
    """By preference, in random order among equals, which spreads the load as the domain wishes."""
    usable = [record for record in answer.records if _host_name(record.host) and not _is_ip(record.host)]
    return sorted(usable, key=lambda record: (record.preference, shuffle.random()))[:MAX_HOSTS]


async def _hops(domain: str, records: list[Mx], resolver: Resolver, reach: Reach) -> list[Hop] | Outcome:
    """Mail exchangers without an address are passed over; when none is left, DNS decides what it means."""
    answers = await asyncio.gather(*(resolver.addresses(record.host) for record in records))
    found = [
        (record, address)
        for record, answer in zip(records, answers, strict=True)
        for address in map(_unmapped, answer.records)
        if not (ip_address(address).is_unspecified or ip_address(address).is_multicast)
    ]
    ours = min((record.preference for record, address in found if reach.is_own(address)), default=None)
    left = [Hop(record.host, address, reach.port) for record, address in found if ours is None or record.preference < ours]
    if left:
        return left[:MAX_ADDRESSES]
    if ours is not None:
        return no_such_domain(domain, "its mail exchanger is this host, which takes no mail for it")
    for record, answer in zip(records, answers, strict=True):
        if answer.found is Found.FAILURE:
            return unreachable(f"{domain}: {record.host} could not be looked up: {answer.why}")
    return no_such_domain(domain, "domain has no mail exchanger with an address")


def _unmapped(address: str) -> str:
    """An IPv4 address that is written as an IPv6 one (RFC 4291 §2.5.5.2) as itself: it leads to the same place."""
    mapped = ip_address(address).ipv4_mapped if ":" in address else None  # type: ignore[union-attr]
    return address if mapped is None else str(mapped)


@lru_cache(maxsize=256)  # asked for each mail to a smart host
def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
