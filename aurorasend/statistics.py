"""Statistics of an account, from the counters that event keeps, so what they cost does not grow with the mail.

Called by api.statistics, api.email_status and api.queue. Calls store. Always: a count belongs to the hour of its send
request, and says the current state of each recipient (data.md §2.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from aurorasend.clock import HOUR
from aurorasend.store import label as labels
from aurorasend.store import sender as senders
from aurorasend.store import statistics as rows
from aurorasend.store.statistics import Slice
from aurorasend.store.tx import Tx

# The counter of an open or a click has this sub status when it is the first of its mail.
FIRST = 1
_ALL = (0, 0, 0, "")
WAITS_AT_MOST = 15 * 24  # hours that a mail may be under way, data.md §15.2


class Grain(Enum):
    """Days are told apart by recipient domain, hours are not (data.md §2, §3, §4)."""

    DAY = "day"
    HOUR = "hour"
    INVALID_DAY = "day, invalid mail by class"


class Counts(NamedTuple):
    """Recipients, but for opens and clicks, of which each counts; in the order of the store's columns."""

    requested: int = 0
    delivered: int = 0
    bounced: int = 0
    invalid: int = 0
    opens: int = 0
    clicks: int = 0
    unique_opens: int = 0
    unique_clicks: int = 0
    complaints: int = 0
    unsubscribed: int = 0

    @property
    def under_way(self) -> int:
        return self.requested - self.delivered - self.bounced - self.invalid


Line = tuple[int, str, str, int, str, tuple[int, ...]]
"""Bucket, API_USER, recipient domain, label's id and name, and counts, or numbers of classes: a plain tuple, since there may be
thousands. The first four are its place in the answer. A bucket is a day or hour since 1970 in the asker's zone; the name is ""
for no label, the domain when domains are together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a customer wants to know of, over [since, until) in UTC microseconds."""

    since: int
    until: int
    api_users: Sequence[str] | None = None
    labels: Sequence[int] | None = None
    label_names: Sequence[str] = ()
    domains: Sequence[str] | None = None


async def slice_of(tx: Tx, account_id: int, asked: Asked) -> Slice:
    return Slice(
        since=asked.since // HOUR,
        until=asked.until // HOUR,
        senders=await senders.wanted(tx, account_id, asked.api_users),
        labels=await labels.wanted(tx, account_id, asked.labels, asked.label_names),
        domains=asked.domains,
    )


_READ = {Grain.DAY: rows.by_day, Grain.HOUR: rows.by_hour, Grain.INVALID_DAY: rows.invalid_by_day}


async def lines(tx: Tx, account_id: int, asked: Asked, grain: Grain, zone_hours: int) -> list[Line]:
    """One for each combination with any request, in the order of their columns (data.md §2.1, §3)."""
    sums = await _READ[grain](tx, account_id, await slice_of(tx, account_id, asked), zone_hours)
    users = await senders.names(tx, account_id, [key[1] for key in sums])
    names = await labels.names(tx, account_id, sorted({key[2] for key in sums}))
    found = [
        (bucket, users.get(sender_id, ""), domain, label_id, names.get(label_id, ""), counts)
        for (bucket, sender_id, label_id, domain), counts in sums.items()
        if counts[0] or grain is Grain.INVALID_DAY
    ]
    found.sort()
    return found


async def total(tx: Tx, account_id: int, asked: Asked, zone_hours: int) -> Counts:
    """All in one."""
    sums = await rows.whole(tx, account_id, await slice_of(tx, account_id, asked), zone_hours)
    return Counts(*sums.get(_ALL, ()))


async def total_invalid(tx: Tx, account_id: int, asked: Asked, zone_hours: int) -> tuple[int, ...]:
    """Of each class, 401 to 409."""
    sums = await rows.whole(tx, account_id, await slice_of(tx, account_id, asked), zone_hours, invalid=True)
    return sums.get(_ALL, (0,) * len(rows.CLASSES))


async def waiting(tx: Tx, account_id: int, now_us: int, zone_hours: int) -> list[tuple[str, str, int]]:
    """(API_USER, recipient domain, mails under way), where there are any, in order."""
    recent = Slice(since=now_us // HOUR - WAITS_AT_MOST, until=now_us // HOUR + 1)
    sums = await rows.by_place(tx, account_id, recent, zone_hours)
    users = await senders.names(tx, account_id, [key[1] for key in sums])
    found = [(users.get(sender_id, ""), domain, Counts(*counts).under_way) for (_, sender_id, _, domain), counts in sums.items()]
    return sorted(each for each in found if each[2] > 0)
