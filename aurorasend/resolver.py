"""DNS questions as values: records, "no such name", "nothing of that kind", or a failure.

Called by mx (where mail goes) and by the checks of a customer's domain. Always: an answer is given within the
deadline and nothing is raised for what DNS says or fails to say; a failure is never taken for "no such name",
because the one is a later try and the other a bounce (design §4). Names and texts from DNS are hostile: mx checks them.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

import aiodns
import pycares

MAX_TTL_S = 86_400  # RFC 2181 §8 lets a cache set a limit; a day is the usual one
NEGATIVE_TTL_S = 60  # ours: the library hides the SOA that would tell (RFC 2308 §5)


T = TypeVar("T")


class Found(Enum):
    RECORDS = "records"
    NO_NAME = "no such name"  # NXDOMAIN
    NO_DATA = "no such record"
    FAILURE = "failure"  # SERVFAIL, REFUSED, timeout, nonsense: ask again later


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """`records` is empty unless `found` is RECORDS. `why` names a failure. `ttl_s` is the least of the records'."""

    found: Found
    records: tuple[T, ...] = ()
    ttl_s: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Mx:
    preference: int
    host: str  # without the final dot; "" is the root: a null MX (RFC 7505)


class Resolver(Protocol):
    async def mx(self, domain: str) -> Answer[Mx]:
        """In no order."""

    async def addresses(self, host: str) -> Answer[str]:
        """IPv6 then IPv4, as text. FAILURE only when neither kind was found and one could not be asked for."""

    async def txt(self, name: str) -> Answer[bytes]:
        """The strings of each record joined (RFC 7208 §3.3)."""

    async def cname(self, name: str) -> Answer[str]:
        """The name that `name` is an alias of, without the final dot."""

    async def close(self) -> None:
        """Ask nothing more."""


_NOTHING = {pycares.errno.ARES_ENOTFOUND: Found.NO_NAME, pycares.errno.ARES_ENODATA: Found.NO_DATA}
_KINDS = {kind: getattr(pycares, f"QUERY_TYPE_{kind}") for kind in ("A", "AAAA", "CNAME", "MX", "TXT")}


class DnsResolver:
    """Resolver over aiodns, with a cache bounded in time and size. Belongs to one event loop; `close` it."""

    def __init__(self, nameservers: Sequence[tuple[str, int]] = (), *, deadline_s: float = 5.0, cache_size: int = 10_000) -> None:
        """`nameservers` are (IP address, port); none means those of the system. `deadline_s` is for one question,
        with its second try. `cache_size` 0 asks anew each time, with a channel of its own: the library's channels keep
        answers too."""
        self._servers = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in nameservers]
        self._deadline_s = deadline_s
        self._dns = self._channel()
        self._cache: OrderedDict[tuple[str, str], tuple[float, Answer[Any]]] = OrderedDict()
        self._cache_size = cache_size
        self._asked: dict[tuple[str, str], asyncio.Task[Answer[Any]]] = {}

    def _channel(self) -> aiodns.DNSResolver:
        return aiodns.DNSResolver(self._servers or None, timeout=self._deadline_s / 2, tries=2)

    async def mx(self, domain: str) -> Answer[Mx]:
        return await self._look_up(domain, "MX")

    async def addresses(self, host: str) -> Answer[str]:
        v6, v4 = await asyncio.gather(self._look_up(host, "AAAA"), self._look_up(host, "A"))
        records = v6.records + v4.records
        if records:
            return Answer(Found.RECORDS, records, min(each.ttl_s for each in (v6, v4) if each.records))
        failed = next((each for each in (v4, v6) if each.found is Found.FAILURE), None)
        return failed or v4

    async def txt(self, name: str) -> Answer[bytes]:
        return await self._look_up(name, "TXT")

    async def cname(self, name: str) -> Answer[str]:
        return await self._look_up(name, "CNAME")

    async def close(self) -> None:
        for task in list(self._asked.values()):
            task.cancel()
        await self._dns.close()

    async def _look_up(self, name: str, kind: str) -> Answer[Any]:
        key = (name.lower().rstrip("."), kind)
        kept = self._cache.get(key)
        if kept is not None and kept[0] > time.monotonic():
            return kept[1]
        task = self._asked.get(key)
        if task is None:  # one question on the wire, however many ask it at once
            task = self._asked[key] = asyncio.ensure_future(self._ask(*key))
            task.add_done_callback(lambda _: self._asked.pop(key, None))
        answer = await asyncio.shield(task)
        self._keep(key, answer)
        return answer

    def _keep(self, key: tuple[str, str], answer: Answer[Any]) -> None:
        if answer.ttl_s <= 0:
            return
        self._cache[key] = (time.monotonic() + answer.ttl_s, answer)
        self._cache.move_to_end(key)
        if len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)

    async def _ask(self, name: str, kind: str) -> Answer[Any]:
        if self._cache_size:
            return await self._ask_by(self._dns, name, kind)
        fresh = self._channel()
        try:
            return await self._ask_by(fresh, name, kind)
        finally:
            await fresh.close()

    async def _ask_by(self, channel: aiodns.DNSResolver, name: str, kind: str) -> Answer[Any]:
        try:
            async with asyncio.timeout(self._deadline_s):
                result = await channel.query_dns(name, kind)
        except aiodns.error.DNSError as error:
            number, why = (*error.args, "")[:2]
            found = _NOTHING.get(number, Found.FAILURE)
            return Answer(found, (), 0 if found is Found.FAILURE else NEGATIVE_TTL_S, str(why))
        except TimeoutError:
            return Answer(Found.FAILURE, why="no answer in time")
        except (UnicodeError, ValueError):
            return Answer(Found.NO_NAME, why="no domain name")
        return _read(result.answer, kind)


def _read(records: Sequence[Any], kind: str) -> Answer[Any]:
    """The records of `kind`; CNAMEs on the way count for the TTL only."""
    wanted = tuple(_value(record.data, kind) for record in records if record.type == _KINDS[kind])
    ttl_s = min([MAX_TTL_S, *(record.ttl for record in records)])
    return Answer(Found.RECORDS, wanted, ttl_s) if wanted else Answer(Found.NO_DATA, (), min(ttl_s, NEGATIVE_TTL_S))


def _value(data: Any, kind: str) -> Mx | str | bytes:
    match kind:
        case "MX":
            return Mx(data.priority, data.exchange.rstrip("."))
        case "TXT":
            return bytes(data.data)
        case "CNAME":
            return str(data.cname).rstrip(".")
    return str(data.addr)
