"""statday/list, stathour/list, invalidstat/list (data.md §2, §3, §4). Called by endpoint. Calls statistics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Annotated

import msgspec

from aurorasend import statistics
from aurorasend.api.data_fields import ApiUserList, DomainList, LabelIdList, LabelNameList, Ranged
from aurorasend.codes import Code
from aurorasend.endpoint import ApiCall, Info, endpoint
from aurorasend.fields import Field, boolean
from aurorasend.statistics import Asked, Counts, Grain, Line

_EPOCH = date(1970, 1, 1).toordinal()

Aggregate = Annotated[
    bool,
    Field(
        "aggregate",
        boolean,
        invalid=Code.AGGREGATE_INVALID,
        doc="1: one object with the sums over everything, instead of rows.",
        example="1",
    ),
]

# data.md §4, misspellings and all, of the sub statuses 401 to 409
CLASSES = (
    "sendcloudBlacklist",
    "ubsubscribe",
    "espUnvaliable",
    "recipientAddressError",
    "ipOrDomainRejected",
    "recipientNotFound",
    "spamEmail",
    "senderOrRecipientRejected",
    "others",
)
NUMBERS = (
    "requestNum",
    "deliveredNum",
    "clickNum",
    "openNum",
    "bounceNum",
    "spamReportedNum",
    "unsubscribeNum",
    "uniqueOpensNum",
    "uniqueClicksNum",
    "invalidEmailsNum",
)
PERCENTS = (
    "deliveredPercent",
    "clickPercent",
    "openPercent",
    "bouncePercent",
    "spamReportedPercent",
    "unsubscribePercent",
    "uniqueOpensPercent",
    "uniqueClicksPercent",
    "invalidEmailsPercent",
    "openRatePercent",
)
_UNIQUE_CLICKS_PERCENT = len(NUMBERS) + PERCENTS.index("uniqueClicksPercent")


def row_of(name: str, *fields: str) -> Callable[..., msgspec.Struct]:
    """A row of an answer: no page bounds how many there are, and a struct costs a third of a dictionary."""
    return msgspec.defstruct(name, fields, frozen=True, gc=False)


DayRow = row_of("DayRow", "sendDate", "apiUser", "domain", "labelId", "labelName", *NUMBERS, *PERCENTS)
# Both spellings are told, data.md §3.
HourRow = row_of("HourRow", "sendDate", "sendHour", "apiUser", "labelId", "labelName", "uniqueClickspercent", *NUMBERS, *PERCENTS)
InvalidRow = row_of("InvalidRow", "sendDate", "apiUser", "domain", "labelId", "labelName", *CLASSES)


@dataclass(frozen=True, kw_only=True)
class ByHour(Ranged):
    api_users: ApiUserList = None
    labels: LabelIdList = None
    label_names: LabelNameList = ()


@dataclass(frozen=True, kw_only=True)
class ByDay(ByHour):
    domains: DomainList = None
    aggregate: Aggregate = False


def asked_of(call: ApiCall, p: ByHour) -> Asked:
    """Raises Refused: 40007, 40008."""
    since, until = p.span(call.node.clock.now_us(), call.node.zone)
    domains = p.domains if isinstance(p, ByDay) else None
    return Asked(since=since, until=until, api_users=p.api_users, labels=p.labels, label_names=p.label_names, domains=domains)


async def read_lines(call: ApiCall, p: ByHour, grain: Grain) -> list[Line]:
    account_id, asked, hours = call.caller.account.id, asked_of(call, p), call.node.settings.api.zone_hours
    return await call.node.store.read(lambda tx: statistics.lines(tx, account_id, asked, grain, hours))


async def read_total(call: ApiCall, p: ByDay) -> Counts:
    account_id, asked, hours = call.caller.account.id, asked_of(call, p), call.node.settings.api.zone_hours
    return await call.node.store.read(lambda tx: statistics.total(tx, account_id, asked, hours))


async def read_total_invalid(call: ApiCall, p: ByDay) -> tuple[int, ...]:
    """In the order of CLASSES."""
    account_id, asked, hours = call.caller.account.id, asked_of(call, p), call.node.settings.api.zone_hours
    return await call.node.store.read(lambda tx: statistics.total_invalid(tx, account_id, asked, hours))


@endpoint("statday/list")
async def by_day(call: ApiCall, p: ByDay) -> Info:
    """Statistics by day, API_USER, recipient domain and label.

    All counts of a mail belong to the day of its send request, however late they came. With `aggregate` the sums alone.
    """
    if p.aggregate:
        return {"dataList": summed(await read_total(call, p))}
    found = await read_lines(call, p, Grain.DAY)
    return {"dataList": [DayRow(*of_day(line), *shown(line[-1])) for line in found]}


@endpoint("stathour/list")
async def by_hour(call: ApiCall, p: ByHour) -> Info:
    """Statistics by hour, API_USER and label.

    An hour without a request has no row.
    """
    return {"dataList": [hour_row(line) for line in await read_lines(call, p, Grain.HOUR)]}


@endpoint("invalidstat/list")
async def invalid(call: ApiCall, p: ByDay) -> Info:
    """Invalid mail by class, day, API_USER, recipient domain and label; with `aggregate` the sums alone."""
    if p.aggregate:
        return {"dataList": dict(zip(CLASSES, await read_total_invalid(call, p), strict=True))}
    found = await read_lines(call, p, Grain.INVALID_DAY)
    return {"dataList": [InvalidRow(*of_day(line), *line[-1]) for line in found]}


def of_day(line: Line) -> tuple[object, ...]:
    bucket, api_user, domain, label_id, label, _ = line
    return (_date(bucket), api_user, domain, label_id, label or None)


def of_hour(line: Line) -> tuple[object, ...]:
    bucket, api_user, _, label_id, label, _ = line
    return (_date(bucket // 24), bucket % 24, api_user, label_id, label)


def hour_row(line: Line) -> msgspec.Struct:
    counts = shown(line[-1])
    return HourRow(*of_hour(line), counts[_UNIQUE_CLICKS_PERCENT], *counts)


class _Percents:
    """Shares as they are told, by their hundredths of a percent: without decimals when there are none (data.md §2.3)."""

    def __getitem__(self, hundredths: int) -> msgspec.Raw:
        return msgspec.Raw(msgspec.json.encode(hundredths / 100 if hundredths % 100 else hundredths // 100))


# Those up to 100 % are written once: each row has ten, and to write them all anew was a quarter of what an answer cost.
_WRITTEN = tuple(map(_Percents().__getitem__, range(10_001)))
_NOTHING = 2**62  # a whole that is 0, of which everything is 0 % (data.md §2.3): more than 10,000 times any count


def shown(counts: Sequence[int], percents: _Percents | tuple[msgspec.Raw, ...] = _WRITTEN) -> tuple[int | msgspec.Raw, ...]:
    """NUMBERS and PERCENTS, cut, not rounded (data.md §2.3)."""
    requested, delivered, bounced, invalid, opens, clicks, unique_opens, unique_clicks, complaints, unsubscribed = counts
    all_requested, all_delivered, all_opened = requested or _NOTHING, delivered or _NOTHING, unique_opens or _NOTHING
    try:
        return (
            requested,
            delivered,
            clicks,
            opens,
            bounced,
            complaints,
            unsubscribed,
            unique_opens,
            unique_clicks,
            invalid,
            percents[delivered * 10_000 // all_requested],
            percents[clicks * 10_000 // all_delivered],
            percents[opens * 10_000 // all_delivered],
            percents[bounced * 10_000 // all_requested],
            percents[complaints * 10_000 // all_delivered],
            percents[unsubscribed * 10_000 // all_delivered],
            percents[unique_opens * 10_000 // all_delivered],
            percents[unique_clicks * 10_000 // all_delivered],
            percents[invalid * 10_000 // all_requested],
            percents[unique_clicks * 10_000 // all_opened],
        )
    except IndexError:  # over 100 %, as opens of few mails
        return shown(counts, _Percents())


def summed(counts: Counts) -> Info:
    """Three names lose their plural, and openRatePercent is not told (data.md §2.2)."""
    told = dict(zip((*NUMBERS, *PERCENTS), shown(counts), strict=True))
    del told["openRatePercent"]
    singular = {"uniqueOpensNum": "uniqueOpenNum", "uniqueClicksNum": "uniqueClickNum", "invalidEmailsNum": "invalidEmailNum"}
    return {singular.get(name, name): value for name, value in told.items()}


@lru_cache(maxsize=512)
def _date(day: int) -> str:
    """Of a bucket, which is in the API's zone already."""
    return date.fromordinal(_EPOCH + day).isoformat()


ENDPOINTS = (by_day, by_hour, invalid)
