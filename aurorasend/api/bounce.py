"""bounce/list, delete, count (data.md §7). Called by endpoint. Calls suppression."""

from dataclasses import dataclass
from datetime import timezone

from aurorasend import suppression
from aurorasend.api.data_fields import Ranged, RangedOrEmail, RangedOrEmailOrNothing
from aurorasend.clock import wall
from aurorasend.codes import Code, Refused
from aurorasend.endpoint import ApiCall, Info, changed, endpoint
from aurorasend.fields import Limit, Start
from aurorasend.store import suppression as rows
from aurorasend.store.suppression import Entry, Search


@dataclass(frozen=True, kw_only=True)
class ListBounces(RangedOrEmail):
    start: Start = 0
    limit: Limit = 100


@dataclass(frozen=True, kw_only=True)
class DeleteBounces(RangedOrEmailOrNothing):
    """Of one of the two."""


@dataclass(frozen=True, kw_only=True)
class CountBounces(Ranged):
    """The range alone."""


def search_of(call: ApiCall, of: str, p: Ranged, email: str) -> Search:
    """The address if there is one, else the range. Raises Refused: the range is wrong, or 40007 without any."""
    if email:
        return Search(list=of, keys=[suppression.key_of(email)])
    since, until = p.span(call.node.clock.now_us(), call.node.zone)
    return Search(list=of, since=since, until=until)


def deleted_by(call: ApiCall, of: str, p: Ranged, email: str) -> Search:
    """As `search_of`, but for a deletion without any limits, 40011."""
    if not email and not p.has_range:
        raise Refused(Code.EMAIL_EMPTY)
    return search_of(call, of, p, email)


def listed(entries: list[Info]) -> Info:
    """`info` of a page of a suppression list, whose total nobody is told (data.md §7-§11)."""
    return {"count": len(entries), "dataList": entries}


async def read_entries(call: ApiCall, p: ListBounces) -> list[Entry]:
    account_id, search = call.caller.account.id, search_of(call, "bounce", p, p.email)
    return await call.node.store.read(lambda tx: rows.page(tx, account_id, search, (p.start, p.limit)))


async def release(call: ApiCall, p: DeleteBounces) -> int:
    account_id, search = call.caller.account.id, deleted_by(call, "bounce", p, p.email)
    now_us, allowed = call.node.clock.now_us(), call.node.settings.api.unbounced_allowed
    return await call.node.store.write(lambda tx: suppression.release(tx, account_id, search, now_us, allowed=allowed))


async def count(call: ApiCall, p: CountBounces) -> int:
    account_id, span = call.caller.account.id, p.span(call.node.clock.now_us(), call.node.zone)
    return await call.node.store.read(lambda tx: rows.count(tx, account_id, "bounce", span))


@endpoint("bounce/list")
async def list_bounces(call: ApiCall, p: ListBounces) -> Info:
    """List addresses that do not exist, as their servers said, oldest first.

    Give `days`, both dates, or `email`. Entries that have expired stay listed; they intercept no longer.
    """
    return listed([shown(each, call.node.zone) for each in await read_entries(call, p)])


@endpoint("bounce/delete", unavailable=Code.BOUNCE_NOT_REMOVED)
async def delete_bounces(call: ApiCall, p: DeleteBounces) -> Info:
    """Take an address off the bounce list, or all of a range.

    What was taken off is put on the allow list against the bounce list only (where the installation has not turned that
    off): unsubscriptions and complaints keep their effect.
    """
    return changed(await release(call, p))


@endpoint("bounce/count")
async def count_bounces(call: ApiCall, p: CountBounces) -> Info:
    """Count the entries of a range."""
    return changed(await count(call, p))


def shown(each: Entry, zone: timezone) -> Info:
    return {
        "email": each.key,
        "reason": each.reason,
        "domain": each.key.rpartition("@")[2],
        "bounceTime": wall(each.created, zone),
        "expireTime": wall(each.expires, zone),
    }


ENDPOINTS = (list_bounces, delete_bounces, count_bounces)
