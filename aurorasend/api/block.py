"""block/list, add, delete: the addresses and domains that a customer wants no mail to go to (data.md §10).

Called by endpoint. Calls suppression.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Annotated, ClassVar

from aurorasend import suppression
from aurorasend.api.bounce import listed
from aurorasend.api.data_fields import EMAIL, DomainKey, OnlyEmail, Ranged
from aurorasend.clock import SECOND, wall
from aurorasend.codes import Code, Refused
from aurorasend.endpoint import ApiCall, Info, endpoint
from aurorasend.fields import Field, Limit, Seen, Start, line, wall_time
from aurorasend.store import suppression as rows
from aurorasend.store.suppression import Entry, Search
from aurorasend.store.tx import EVER, Tx


def without_domain(seen: Seen) -> bool:
    return not seen.raw.text("domainName").strip()


AddressOrDomain = Annotated[str, replace(EMAIL, required=without_domain, doc="An address. One of it and `domainName`, or both.")]
Scope = Annotated[
    str,
    Field("apiUserBlock", line(), invalid=Code.API_USER_LIST_INVALID, doc="`all`, or an API_USER of the account.", example="all"),
]
Expires = Annotated[
    datetime,
    Field(
        "expireTime",
        wall_time,
        empty=Code.END_DATE_INVALID,
        invalid=Code.END_DATE_INVALID,
        doc="When the entry ends.",
        example="2099-01-31 12:00:00",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Blocked:
    """Which entries."""

    api_user: Scope = ""
    domain: DomainKey = ""
    email: OnlyEmail = ""


@dataclass(frozen=True, kw_only=True)
class ListBlocks(Ranged, Blocked):  # the fields of the last base come first
    range_needed: ClassVar[bool] = False

    start: Start = 0
    limit: Limit = 100


@dataclass(frozen=True, kw_only=True)
class AddBlock:
    api_user: Scope = suppression.ALL
    email: AddressOrDomain = ""
    domain: DomainKey = ""
    expires: Expires


@dataclass(frozen=True, kw_only=True)
class DeleteBlock:
    email: AddressOrDomain = ""
    domain: DomainKey = ""
    api_user: Scope = ""


def keys_of(email: str, domain: str) -> list[str]:
    return [key for key in (suppression.key_of(email), domain) if key]


@endpoint("block/list")
async def list_blocks(call: ApiCall, p: ListBlocks) -> Info:
    """List blocked addresses and domains, oldest first. No range is needed."""
    since, until = p.span(call.node.clock.now_us(), call.node.zone) if p.has_range else (0, EVER)
    keys = keys_of(p.email, p.domain) or None
    if p.email and p.domain:
        keys = []  # no entry is both
    search, account_id = Search(list="block", keys=keys, since=since, until=until), call.caller.account.id

    async def unit(tx: Tx) -> list[Entry]:
        return await rows.page(tx, account_id, await suppression.narrowed(tx, account_id, search, p.api_user), (p.start, p.limit))

    return listed([shown(each, call.node.zone) for each in await call.node.store.read(unit)])


@endpoint("block/add", raises=[Code.API_USER_LIST_INVALID])
async def add_block(call: ApiCall, p: AddBlock) -> Info:
    """Block an address, a recipient domain, or both.

    What is blocked already gets the new end.
    """
    account_id, now_us = call.caller.account.id, call.node.clock.now_us()
    until_us = int(p.expires.replace(tzinfo=call.node.zone).timestamp()) * SECOND
    if until_us <= now_us:
        raise Refused(Code.END_DATE_INVALID, message="Invalid expireTime; it must be in the future")
    keys = keys_of(p.email, p.domain)
    added = await call.node.store.write(lambda tx: suppression.block(tx, account_id, keys, p.api_user, (now_us, until_us)))
    return {"addSuccessCount": added}


@endpoint("block/delete")
async def delete_block(call: ApiCall, p: DeleteBlock) -> Info:
    """Block an address or a recipient domain no longer; without `apiUserBlock`, whomever it was blocked for."""
    search = Search(list="block", keys=keys_of(p.email, p.domain))
    return {"deleteSuccessCount": await delete_of(call, search, p.api_user)}


async def delete_of(call: ApiCall, search: Search, name: str) -> int:
    """What `search` finds and holds for `name`."""
    account_id = call.caller.account.id

    async def unit(tx: Tx) -> int:
        return await rows.delete(tx, account_id, await suppression.narrowed(tx, account_id, search, name))

    return await call.node.store.write(unit)


def halves(key: str) -> tuple[str, str]:
    """(email, domain) of a key; one of them is "", as `domain` is of an address here."""
    return ("", key[1:]) if key.startswith("@") else (key, "")


def shown(each: Entry, zone: timezone) -> Info:
    email, domain = halves(each.key)
    return {
        "apiUserBlock": each.api_user or suppression.ALL,
        "domain": domain,
        "email": email,
        "createTime": wall(each.created, zone),
        "expireTime": wall(each.expires, zone),
    }


ENDPOINTS = (list_blocks, add_block, delete_block)
