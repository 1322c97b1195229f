"""Statistics of an account, from the counters that event keeps, so what they cost does not grow with the mail.

Called by api.statistics, api.email_status and api.queue. Calls store. Always: a count belongs to the hour of its send
request, and says the current state of each recipient (data.md §2.4).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from aurorasend.clock import HOUR
from aurorasend.event import Kind
from aurorasend.store import label as labels
from aurorasend.store import statistics as rows
from aurorasend.store.statistics import Slice, Sum
from aurorasend.store.tx import Tx

# The counter of an open or a click has this sub status when it is the first of its mail.
FIRST = 1
WAITS_AT_MOST = 15 * 24  # hours that a mail may be under way, data.md §15.2

_NAMES = {
    Kind.REQUEST.number: "requested",
    Kind.DELIVER.number: "delivered",
    Kind.SOFT_BOUNCE.number: "bounced",
    Kind.INVALID.number: "invalid",
    Kind.OPEN.number: "opens",
    Kind.CLICK.number: "clicks",
    Kind.REPORT_SPAM.number: "complaints",
    Kind.UNSUBSCRIBE.number: "unsubscribed",
}
_UNIQUE = {Kind.OPEN.number: "unique_opens", Kind.CLICK.number: "unique_clicks"}


class Grain(Enum):
    """Days are told apart by recipient domain, hours are not (data.md §2, §3)."""

    DAY = "day"
    HOUR = "hour"


@dataclass(slots=True)
class Counts:
    """Recipients, but for opens and clicks, of which each counts. `classes`: invalid mail by sub status; `soft`: bounces."""

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
    classes: dict[int, int] = field(default_factory=dict)
    soft: dict[int, int] = field(default_factory=dict)

    @property
    def under_way(self) -> int:
        return self.requested - self.delivered - self.bounced - self.invalid

    def add(self, one: Sum) -> None:
        name = _NAMES.get(one.kind)
        if name is None:
            return
        setattr(self, name, getattr(self, name) + one.n)
        if one.sub_status == FIRST and one.kind in _UNIQUE:
            unique = _UNIQUE[one.kind]
            setattr(self, unique, getattr(self, unique) + one.n)
        if one.kind == Kind.INVALID.number:
            self.classes[one.sub_status] = self.classes.get(one.sub_status, 0) + one.n
        if one.kind == Kind.SOFT_BOUNCE.number:
            self.soft[one.sub_status] = self.soft.get(one.sub_status, 0) + one.n


@dataclass(frozen=True, slots=True)
class Line:
    """Counts of one combination. `bucket` is a day or hour since 1970 in the asker's zone; `label` "" for none or one that
    was deleted; `domain` "" when domains are together."""

    bucket: int
    api_user: str
    domain: str
    label_id: int
    label: str
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a customer wants to know of, over [since, until) in UTC microseconds."""

    since: int
    until: int
    api_users: Sequence[str] | None = None
    labels: Sequence[int] | None = None
    label_names: Sequence[str] = ()
    domains: Sequence[str] | None = None


def percent(part: int, whole: int) -> float | int:
    """Cut, not rounded, to two decimals; without decimals when there are none (data.md §2.3)."""
    hundredths = part * 10_000 // whole if whole else 0
    return hundredths // 100 if hundredths % 100 == 0 else hundredths / 100


async def slice_of(tx: Tx, account_id: int, asked: Asked) -> Slice:
    return Slice(
        since=asked.since // HOUR,
        until=asked.until // HOUR,
        api_users=await rows.api_user_ids(tx, account_id, asked.api_users),
        labels=await labels.wanted(tx, account_id, asked.labels, asked.label_names),
        domains=asked.domains,
    )


async def lines(tx: Tx, account_id: int, asked: Asked, grain: Grain, zone_hours: int) -> list[Line]:
    """One for each combination with any request, in the order of their columns (data.md §2.1, §3)."""
    wanted = await slice_of(tx, account_id, asked)
    read = rows.by_day if grain is Grain.DAY else rows.by_hour
    grouped = _group(await read(tx, account_id, wanted, zone_hours))
    users = await rows.api_user_names(tx, account_id)
    names = await labels.names(tx, account_id, sorted({key.label_id for key in grouped}))
    found = [
        Line(key.bucket, users.get(key.api_user_id, ""), key.domain, key.label_id, names.get(key.label_id, ""), counts)
        for key, counts in grouped.items()
        if counts.requested
    ]
    return sorted(found, key=lambda line: (line.bucket, line.api_user, line.domain, line.label_id))


async def total(tx: Tx, account_id: int, asked: Asked) -> Counts:
    """All in one."""
    return _sum(await rows.whole(tx, account_id, await slice_of(tx, account_id, asked)))


async def hourly_states(tx: Tx, account_id: int, wanted: Slice) -> list[tuple[int, dict[tuple[int, int], int]]]:
    """By hour of the requests (since 1970, UTC), in order: how many recipients are in which (status, sub status); the
    numbers are those of data.md §5."""
    hours: dict[int, Counts] = {}
    for one in await rows.by_hour(tx, account_id, wanted, 0):
        hours.setdefault(one.bucket, Counts()).add(one)
    return [(hour, _states(counts)) for hour, counts in sorted(hours.items())]


def _states(counts: Counts) -> dict[tuple[int, int], int]:
    found = {(Kind.INVALID.number, sub_status): n for sub_status, n in counts.classes.items()}
    found |= {(Kind.SOFT_BOUNCE.number, sub_status): n for sub_status, n in counts.soft.items()}
    return {**found, (Kind.DELIVER.number, 0): counts.delivered, (Kind.REQUEST.number, 0): counts.under_way}


async def waiting(tx: Tx, account_id: int, now_us: int) -> list[tuple[str, str, int]]:
    """(API_USER, recipient domain, mails under way), where there are any, in order."""
    recent = Slice(since=now_us // HOUR - WAITS_AT_MOST, until=now_us // HOUR + 1)
    grouped = _group(await rows.by_place(tx, account_id, recent))
    users = await rows.api_user_names(tx, account_id)
    found = [(users.get(key.api_user_id, ""), key.domain, counts.under_way) for key, counts in grouped.items()]
    return sorted(each for each in found if each[2] > 0)


def _group(sums: Iterable[Sum]) -> dict[Sum, Counts]:
    """By what is told apart."""
    grouped: dict[Sum, Counts] = {}
    for one in sums:
        grouped.setdefault(one._replace(kind=0, sub_status=0, n=0), Counts()).add(one)
    return grouped


def _sum(sums: Iterable[Sum]) -> Counts:
    counts = Counts()
    for one in sums:
        counts.add(one)
    return counts
