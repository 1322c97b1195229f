"""complaint/list and delete (data.md §9). Called by endpoint. Calls store."""

from dataclasses import dataclass
from datetime import timezone

from aurorasend.api.bounce import deleted_by, listed, search_of
from aurorasend.api.data_fields import Ranged, RangedOrEmailOrNothing
from aurorasend.clock import wall
from aurorasend.endpoint import ApiCall, Info, changed, endpoint
from aurorasend.fields import Limit, Start
from aurorasend.store import suppression as rows
from aurorasend.store.suppression import Entry

UNASKED = 92  # days, when neither a range nor an address is given (data.md §9.1)


@dataclass(frozen=True, kw_only=True)
class ListComplaints(RangedOrEmailOrNothing):
    start: Start = 0
    limit: Limit = 100


@dataclass(frozen=True, kw_only=True)
class DeleteComplaints(RangedOrEmailOrNothing):
    """Of one of the two."""


async def read_entries(call: ApiCall, p: ListComplaints) -> list[Entry]:
    ranged = p if p.has_range else Ranged(days=UNASKED)
    account_id, search = call.caller.account.id, search_of(call, "complaint", ranged, p.email)
    return await call.node.store.read(lambda tx: rows.page(tx, account_id, search, (p.start, p.limit)))


@endpoint(
    "complaint/list",
    aliases=("spamreported/list", "api/spamreported/list", "apiv2/spamreported/list"),
)
async def list_complaints(call: ApiCall, p: ListComplaints) -> Info:
    """List addresses whose owners reported mail as spam, oldest first.

    Without a range and an address: of the last 92 days.
    """
    return listed([shown(each, call.node.zone) for each in await read_entries(call, p)])


@endpoint(
    "complaint/delete",
    aliases=("spamreported/delete", "api/spamreported/delete", "apiv2/spamreported/delete"),
)
async def delete_complaints(call: ApiCall, p: DeleteComplaints) -> Info:
    """Take an address off the complaint list, or all of a range."""
    account_id, search = call.caller.account.id, deleted_by(call, "complaint", p, p.email)
    return changed(await call.node.store.write(lambda tx: rows.delete(tx, account_id, search)))


def shown(each: Entry, zone: timezone) -> Info:
    created = wall(each.created, zone)
    return {
        "email": each.key,
        "receiver": each.key,
        "reason": each.reason,
        "domain": each.key.rpartition("@")[2],
        "spamReportedTime": created,
        "complaintTime": created,
        "expireTime": wall(each.expires, zone),
    }


ENDPOINTS = (list_complaints, delete_complaints)
