"""Sending domains: the DNS records that one needs, what DNS has of them, and the key that its mail is signed with.

Called by api.domain and, for the checks that come by themselves, app (DomainWatch). Calls store.domain, resolver, dkim.
Always: a domain is unverified until its records were seen, and only a check changes that; a resolver that fails leaves
things as they were; private keys leave this module sealed (management.md §5, console.md §C.5).
"""

import asyncio
import logging
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from aurorasend.address import ascii_domain
from aurorasend.clock import DAY, MINUTE, Clock
from aurorasend.codes import Code, Refused, Unavailable
from aurorasend.config.settings import Domain as DomainSettings
from aurorasend.dkim import dump_key, make_rsa_key, public_text, record_name
from aurorasend.resolver import Answer, Found, Resolver
from aurorasend.secret import Vault
from aurorasend.store import account as account_rows
from aurorasend.store import domain as rows
from aurorasend.store.domain import DKIM, DMARC, MX, SPF, Domain, is_usable
from aurorasend.store.tx import Store, Tx

log = logging.getLogger(__name__)

MAX_NAME = 250  # characters, code 41002
# console.md §C.5: every 10 minutes for the first day, daily later; two checks in a row make a usable domain unverified.
EAGER_US, EAGER_FOR_US, LATER_US = 10 * MINUTE, DAY, DAY
FAILURES = 2
WATCH_EVERY_S = 30.0
WATCHED_AT_ONCE = 20

_tag = re.compile(r"\s*(?:^|;)\s*p\s*=([^;]*)").search


class Status(Enum):
    """What DNS has in the place of a record: management.md §5.6."""

    PASS = "pass"
    FAIL = "fail"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Records:
    """What the owner of a domain publishes: (name, value) each."""

    spf: tuple[str, str]
    dkim: tuple[str, str]
    mx: tuple[str, str]
    dmarc: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Checked:
    """A check of a domain: what was found, and the domain as it is since."""

    domain: Domain
    spf: Status
    dkim: Status
    mx: Status
    dmarc: Status


@dataclass(frozen=True, slots=True)
class _Seen:
    """One record looked up; `answered` is False when the resolver failed, which says nothing about the record."""

    bit: int
    status: Status
    answered: bool


def domain_name(text: str) -> str:
    """A domain name in the form in which it is kept: lower case, A-labels. Raises BadAddress."""
    return ascii_domain(text).lower()


def status_word(verified: int) -> str:
    """management.md §5.2"""
    if verified & rows.ALL_RECORDS == rows.ALL_RECORDS:
        return "verified"
    return "usable" if is_usable(verified) else "unverified"


class Domains:
    """The sending domains of all accounts. One per process: it makes one key at a time, however many ask."""

    def __init__(self, store: Store, clock: Clock, vault: Vault, resolver: Resolver, settings: DomainSettings) -> None:
        """`resolver` keeps nothing, so that a check sees what was published a moment ago."""
        self._store = store
        self._clock = clock
        self._vault = vault
        self._resolver = resolver
        self._settings = settings
        self._making_key = asyncio.Semaphore(1)

    def records(self, domain: Domain) -> Records:
        """The records that `domain` needs."""
        name, wanted = domain.name, self._settings
        return Records(
            spf=(name, f"v=spf1 include:{wanted.spf_host} ~all"),
            dkim=(record_name(domain.selector, name), f"k=rsa; p={domain.public_key}"),
            mx=(name, wanted.mx_host),
            dmarc=(f"_dmarc.{name}", wanted.dmarc),
        )

    async def get(self, account_id: int, name: str) -> Domain:
        """Raises Refused (41014)."""
        return await self._store.read(lambda tx: _known(tx, account_id, name))

    async def add(self, account_id: int, name: str, limit: int) -> Domain:
        """A new domain of an account that may have `limit`. Raises Refused (41015, 41012)."""

        async def refuse(tx: Tx) -> None:
            if await rows.get(tx, account_id, name):
                raise Refused(Code.DOMAIN_NOT_CREATED, "the account has it already")
            if await rows.count(tx, account_id) >= limit:
                raise Refused(Code.DOMAIN_TOO_MANY, message=f"User can create no more than {limit} domains")

        await self._store.read(refuse)  # before a key is made, which takes a tenth of a second
        keys, now_us = await self._new_keys(), self._clock.now_us()

        async def unit(tx: Tx) -> Domain:
            await account_rows.lock(tx, account_id)
            await refuse(tx)
            key = (await self._selector(tx, name), *keys)
            if not await rows.add(tx, account_id, name, key, (now_us, now_us + EAGER_US)):
                raise Refused(Code.DOMAIN_NOT_CREATED, "the account has it already")
            return await _known(tx, account_id, name)

        return await self._store.write(unit)

    async def rename(self, account_id: int, name: str, new_name: str) -> Domain:
        """With a new key, and nothing verified. Raises Refused (41014, 41016)."""

        async def refuse(tx: Tx) -> Domain:
            found = await _known(tx, account_id, name)
            if found.verified:
                raise Refused(Code.DOMAIN_NOT_UPDATED, "a record of it is verified")
            if await rows.get(tx, account_id, new_name):
                raise Refused(Code.DOMAIN_NOT_UPDATED, "the account has newName already")
            return found

        await self._store.read(refuse)
        keys, now_us = await self._new_keys(), self._clock.now_us()

        async def unit(tx: Tx) -> Domain:
            await account_rows.lock(tx, account_id)
            found = await refuse(tx)
            key = (await self._selector(tx, new_name), *keys)
            await rows.rename(tx, account_id, found.id, new_name, key, (now_us, now_us + EAGER_US))
            return await _known(tx, account_id, new_name)

        return await self._store.write(unit)

    async def renew_key(self, account_id: int, name: str) -> Domain:
        """A new selector and key; the DKIM record must be published anew. Raises Refused (41014; 6001 for a test domain, whose
        records its account cannot publish)."""
        if (await self.get(account_id, name)).type == rows.TEST:
            raise Refused(Code.NOT_PERMITTED, "a test domain is the platform's")
        keys, now_us = await self._new_keys(), self._clock.now_us()

        async def unit(tx: Tx) -> Domain:
            await account_rows.lock(tx, account_id)
            found = await _known(tx, account_id, name)
            key = (f"{self._settings.dkim_selector}-{secrets.token_hex(3)}", *keys)
            await rows.set_key(tx, account_id, found.id, key, found.verified & ~DKIM, now_us + EAGER_US, now_us)
            return await _known(tx, account_id, name)

        return await self._store.write(unit)

    async def remove(self, account_id: int, name: str) -> int:
        """How many were deleted: one. API users bound to it keep sending. Raises Refused (41014)."""
        now_us = self._clock.now_us()

        async def unit(tx: Tx) -> int:
            await account_rows.lock(tx, account_id)
            return await rows.remove(tx, account_id, (await _known(tx, account_id, name)).id, now_us)

        return await self._store.write(unit)

    async def check(self, account_id: int, name: str) -> Checked:
        """Look the records up now, and keep what was found. Raises Refused (41014)."""
        found = await self.get(account_id, name)
        seen = await self._look_up(found)
        verified = _mask(seen, found.verified)
        await self._keep(account_id, found, verified, 0)
        return _checked(await self.get(account_id, name), seen)

    async def check_again(self, account_id: int, found: Domain) -> None:
        """The check that comes by itself: one bad day does not stop a domain that was usable."""
        verified = _mask(await self._look_up(found), found.verified)
        if is_usable(verified) or not is_usable(found.verified):
            await self._keep(account_id, found, verified, 0)
        elif found.failures + 1 < FAILURES:
            await self._keep(account_id, found, found.verified, found.failures + 1)
        else:
            log.warning("domain %s of account %d has lost its records and cannot be sent with", found.name, account_id)
            await self._keep(account_id, found, verified, 0)

    async def check_due(self) -> int:
        """Check again what is due; how many this node checked."""
        now_us = self._clock.now_us()
        waiting = await self._store.read(lambda tx: rows.due(tx, now_us, WATCHED_AT_ONCE))
        checks = []
        for account_id, found in waiting:
            until = now_us + EAGER_US  # should this node die, another comes back to it
            if await self._store.write(lambda tx, a=account_id, f=found, u=until: rows.claim(tx, a, f, u)):  # type: ignore[misc]
                checks.append(self.check_again(account_id, found))
        await asyncio.gather(*checks)
        return len(checks)

    async def _keep(self, account_id: int, found: Domain, verified: int, failures: int) -> None:
        now_us = self._clock.now_us()
        again = EAGER_US if now_us - found.created < EAGER_FOR_US and not is_usable(verified) else LATER_US
        changed = (verified, failures, now_us + again, found.updated if verified == found.verified else now_us)
        await self._store.write(lambda tx: rows.set_verified(tx, account_id, found, *changed))

    async def _look_up(self, domain: Domain) -> tuple[_Seen, _Seen, _Seen, _Seen]:
        """SPF, DKIM, MX, DMARC."""
        wanted = self.records(domain)
        apex, key, dmarc, mx = await asyncio.gather(
            self._resolver.txt(wanted.spf[0]),
            self._resolver.txt(wanted.dkim[0]),
            self._resolver.txt(wanted.dmarc[0]),
            self._resolver.mx(wanted.mx[0]),
        )
        hosts = [each.host.lower() for each in mx.records]
        return (
            _seen(SPF, apex, _spf(_texts(apex), self._settings.spf_host)),
            _seen(DKIM, key, _dkim(_texts(key), wanted.dkim[1])),
            _seen(MX, mx, _status(bool(hosts), wanted.mx[1].lower() in hosts)),
            _seen(DMARC, dmarc, _dmarc(_texts(dmarc))),
        )

    async def _selector(self, tx: Tx, name: str) -> str:
        """Two accounts with one domain publish two keys, so they cannot share a selector."""
        selector = self._settings.dkim_selector
        return f"{selector}-{secrets.token_hex(3)}" if await rows.is_known(tx, name) else selector

    async def _new_keys(self) -> tuple[str, bytes]:
        """Public, and private sealed."""
        async with self._making_key:
            key = await asyncio.to_thread(make_rsa_key)
        return public_text(key), self._vault.seal(dump_key(key), "dkim")


class DomainWatch:
    """Checks domains again by themselves. One per node with the role `sweep`; several share the work."""

    def __init__(self, domains: Domains) -> None:
        self._domains = domains

    async def run(self) -> None:
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            try:
                while await self._domains.check_due() == WATCHED_AT_ONCE:
                    pass
            except Unavailable as error:
                log.warning("domains were not checked, the store is away: %s", error)
            except Exception:  # nobody else would check them ever again
                log.exception("domains were not checked")


async def _known(tx: Tx, account_id: int, name: str) -> Domain:
    found = await rows.get(tx, account_id, name)
    if found is None:
        raise Refused(Code.DOMAIN_UNKNOWN)
    return found


def _mask(seen: Iterable[_Seen], before: int) -> int:
    """The records that passed; where the resolver failed, what was known before."""
    mask = 0
    for each in seen:
        mask |= (before & each.bit) if not each.answered else each.bit if each.status is Status.PASS else 0
    return mask


def _checked(domain: Domain, seen: tuple[_Seen, _Seen, _Seen, _Seen]) -> Checked:
    spf, dkim, mx, dmarc = (each.status for each in seen)
    return Checked(domain, spf, dkim, mx, dmarc)


def _seen(bit: int, answer: Answer[Any], status: Status) -> _Seen:
    return _Seen(bit, status, answer.found is not Found.FAILURE)


def _texts(answer: Answer[bytes]) -> list[str]:
    """A record that is no ASCII is no record of ours, but it is one."""
    return [record.decode("ascii", "replace") for record in answer.records]


def _status(exists: bool, passes: bool) -> Status:
    return Status.PASS if passes else Status.FAIL if exists else Status.NONE


def _spf(texts: list[str], host: str) -> Status:
    """Exactly one record, and it includes us (RFC 7208 §4.5: two are a permanent error)."""
    found = [text.lower().split() for text in texts if re.match(r"v=spf1(?: |$)", text, re.IGNORECASE)]
    included = {term.lstrip("+") for term in found[0]} if len(found) == 1 else set()
    return _status(bool(found), f"include:{host.lower()}" in included)


def _dkim(texts: list[str], wanted: str) -> Status:
    """The same key, however the record around it is written."""
    keys = {_public(text) for text in texts} - {""}
    return _status(bool(texts), _public(wanted) in keys)


def _public(record: str) -> str:
    found = _tag(record)
    return "".join(found[1].split()) if found else ""


def _dmarc(texts: list[str]) -> Status:
    found = [text for text in texts if text.startswith("v=DMARC1")]
    return _status(bool(texts), bool(found))
