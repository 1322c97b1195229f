"""trackDomain/list, add, update, checkConfig, delete (management.md §6).

A handler opens one transaction, in which tracking_domain.py applies its rules; only `checkConfig` asks DNS, between two
of them. Called by endpoint.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timezone
from typing import Annotated

from aurorasend import tracking_domain
from aurorasend.carrier import File
from aurorasend.clock import wall
from aurorasend.codes import Code, Refused
from aurorasend.endpoint import ApiCall, Info, changed, endpoint, one, page
from aurorasend.fields import Field, FileField, Kind, Limit, Start, Trouble, host, integer, parser, text
from aurorasend.store import tracking_domain as rows
from aurorasend.store.tracking_domain import Certificate, TrackingDomain
from aurorasend.tracking_domain import BadCertificate, read_certificate


def _items(given: str) -> list[str]:
    found = [item.strip() for item in text().read(given).split(";") if item.strip()]
    if not found:
        raise Trouble(Kind.EMPTY)
    return found


@parser(Kind.EMPTY)
def hosts(given: str) -> frozenset[str]:
    """What is no name of a host is the name of none."""
    return frozenset(map(str.lower, _items(given)))


@parser(Kind.EMPTY)
def numbers(given: str) -> frozenset[int]:
    """What is no number is the number of none."""
    return frozenset(int(item) for item in _items(given) if item.isascii() and item.isdecimal() and len(item) <= 18)


def _pem(code: Code) -> Callable[[tuple[File, ...], str], str]:
    def read(files: tuple[File, ...], given: str) -> str:
        pem = files[0].data.decode("ascii", "replace") if files else str(given)
        if not pem.isascii():
            raise Refused(code, "PEM is ASCII")
        return pem.strip()

    return read


_HOST = Field(
    "name",
    host(tracking_domain.MAX_NAME),
    empty=Code.DOMAIN_EMPTY,
    invalid=Code.DOMAIN_INVALID,
    too_long=Code.DOMAIN_LENGTH,
    doc="Host name for links and pixels; an alias (CNAME) of the platform's tracking host. No sending domain of the account.",
    example="t.example.com",
)
_CERTIFICATE = FileField(
    "certContent",
    _pem(Code.DOMAIN_NOT_CREATED),
    raises=(Code.DOMAIN_NOT_CREATED,),
    doc="Certificate chain for https, in PEM form, as text or as a file.",
)
_KEY = FileField(
    "certKey",
    _pem(Code.DOMAIN_NOT_CREATED),
    raises=(Code.DOMAIN_NOT_CREATED,),
    doc="Key of the certificate, in PEM form, without a password, as text or as a file.",
)
_HOSTS = Field(
    "name",
    hosts,
    empty=Code.DOMAIN_EMPTY,
    invalid=Code.DOMAIN_INVALID,
    joined=True,
    doc="Only tracking domains of these names, joined by `;`.",
    example="t.example.com",
)

Host = Annotated[str, _HOST]
OtherHost = Annotated[str, replace(_HOST, empty=None)]
Chain = Annotated[str, _CERTIFICATE]
Key = Annotated[str, _KEY]
OtherChain = Annotated[str, replace(_CERTIFICATE, parse=_pem(Code.DOMAIN_NOT_UPDATED), raises=(Code.DOMAIN_NOT_UPDATED,))]
OtherKey = Annotated[str, replace(_KEY, parse=_pem(Code.DOMAIN_NOT_UPDATED), raises=(Code.DOMAIN_NOT_UPDATED,))]
Id = Annotated[
    int,
    Field(
        "id",
        integer(1),
        empty=Code.DOMAIN_EMPTY,
        invalid=Code.DOMAIN_UNKNOWN,
        doc="Number of the tracking domain, as `add` and `list` tell it.",
        example="12",
    ),
]
AnyHosts = Annotated[frozenset[str] | None, _HOSTS]
TheseHosts = Annotated[frozenset[str] | None, replace(_HOSTS, doc="Names of the tracking domains to check, joined by `;`.")]
TheseIds = Annotated[
    frozenset[int] | None,
    Field(
        "id",
        numbers,
        empty=Code.DOMAIN_EMPTY,
        invalid=Code.DOMAIN_UNKNOWN,
        joined=True,
        doc="Numbers of the tracking domains to check, joined by `;`.",
        example="12",
        sampled=True,
    ),
]


@dataclass(frozen=True, kw_only=True)
class ListTrackingDomains:
    hosts: AnyHosts = None
    start: Start = 0
    limit: Limit = 100


@dataclass(frozen=True, kw_only=True)
class AddTrackingDomain:
    host: Host
    chain: Chain = ""
    key: Key = ""


@dataclass(frozen=True, kw_only=True)
class UpdateTrackingDomain:
    id: Id
    host: OtherHost = ""
    chain: OtherChain = ""
    key: OtherKey = ""


@dataclass(frozen=True, kw_only=True)
class CheckTrackingDomains:
    ids: TheseIds = None
    hosts: TheseHosts = None

    def check(self) -> None:
        if self.ids is None and self.hosts is None:
            raise Refused(Code.DOMAIN_EMPTY)


@dataclass(frozen=True, kw_only=True)
class OneTrackingDomain:
    id: Id


@endpoint("trackDomain/list")
async def list_tracking_domains(call: ApiCall, p: ListTrackingDomains) -> Info:
    """List the tracking domains of the account, newest first."""
    account_id = call.caller.account.id
    found = await call.node.store.read(lambda tx: rows.every(tx, account_id))
    found = [each for each in found if p.hosts is None or each.host in p.hosts]
    return page([shown(each, call) for each in found[p.start : p.start + p.limit]], len(found))


@endpoint(
    "trackDomain/add",
    raises=[Code.DOMAIN_TOO_MANY, Code.DOMAIN_NOT_CREATED],
    unavailable=Code.DOMAIN_NOT_CREATED,
)
async def add_tracking_domain(call: ApiCall, p: AddTrackingDomain) -> Info:
    """Add a tracking domain.

    It is used when its CNAME was seen: create the record, then call `trackDomain/checkConfig`.
    """
    account, now_us = call.caller.account, call.node.clock.now_us()
    certificate = _certificate(call, p.chain, p.key, p.host, Code.DOMAIN_NOT_CREATED)
    limit = call.node.settings.tracking.per_account if account.tracking_limit is None else account.tracking_limit
    made = await call.node.store.write(lambda tx: tracking_domain.add(tx, account.id, p.host, certificate, limit, now_us))
    return one(shown(made, call))


@endpoint(
    "trackDomain/update",
    raises=[Code.DOMAIN_UNKNOWN, Code.DOMAIN_NOT_UPDATED],
    unavailable=Code.DOMAIN_NOT_UPDATED,
)
async def update_tracking_domain(call: ApiCall, p: UpdateTrackingDomain) -> Info:
    """Change the name or the certificate of a tracking domain.

    What is absent or blank stays. Another name must be checked anew, and drops the certificate unless a new one comes along.
    """
    account_id, now_us = call.caller.account.id, call.node.clock.now_us()
    found = await call.node.store.read(lambda tx: tracking_domain.get(tx, account_id, p.id))
    certificate = _certificate(call, p.chain, p.key, p.host or found.host, Code.DOMAIN_NOT_UPDATED)
    made = await call.node.store.write(lambda tx: tracking_domain.change(tx, account_id, p.id, p.host, certificate, now_us))
    return one(shown(made, call))


@endpoint("trackDomain/checkConfig", raises=[Code.DOMAIN_UNKNOWN])
async def check_tracking_domains(call: ApiCall, p: CheckTrackingDomains) -> Info:
    """Look the CNAME records up now.

    Unknown domains are left out of the answer.
    """
    account_id, node = call.caller.account.id, call.node
    known = await node.store.read(lambda tx: rows.every(tx, account_id))
    found = [each for each in known if each.id in (p.ids or ()) or each.host in (p.hosts or ())]
    if not found:
        raise Refused(Code.DOMAIN_UNKNOWN)
    target, now_us = node.settings.tracking.host, node.clock.now_us()
    await asyncio.gather(*(tracking_domain.check(node.store, node.resolver, account_id, each, target, now_us) for each in found))
    ids = {each.id for each in found}
    since = [each for each in await node.store.read(lambda tx: rows.every(tx, account_id)) if each.id in ids]
    return {"count": len(since), "dataList": [shown(each, call) for each in since]}


@endpoint("trackDomain/delete", raises=[Code.DOMAIN_UNKNOWN])
async def delete_tracking_domain(call: ApiCall, p: OneTrackingDomain) -> Info:
    """Delete a tracking domain.

    API users that used it fall back to the platform's own tracking host.
    """
    account_id, now_us = call.caller.account.id, call.node.clock.now_us()
    still_tracked = call.node.settings.tracking.by_default_host
    count = await call.node.store.write(lambda tx: tracking_domain.delete(tx, account_id, p.id, still_tracked, now_us))
    call.node.accounts.forget(account_id)
    return changed(count)


def _certificate(call: ApiCall, chain: str, key: str, name: str, code: Code) -> Certificate:
    try:
        return read_certificate(chain, key, name, call.node.clock.now_us(), call.node.vault)
    except BadCertificate as problem:
        raise Refused(code, str(problem)) from problem


def shown(each: TrackingDomain, call: ApiCall) -> Info:
    zone: timezone = call.node.zone
    return {
        "id": each.id,
        "name": each.host,
        "cname": bool(each.verified),
        "cname.domain": each.host,
        "cname.value": call.node.settings.tracking.host,
        "https": bool(each.has_certificate),
        "certiValidityStart": wall(each.valid_from, zone) if each.has_certificate else "",
        "certiValidityEnd": wall(each.valid_until, zone) if each.has_certificate else "",
        "gmtCreated": wall(each.created, zone),
        "gmtUpdated": wall(each.updated, zone),
    }


ENDPOINTS = (
    list_tracking_domains,
    add_tracking_domain,
    update_tracking_domain,
    check_tracking_domains,
    delete_tracking_domain,
)
