"""statday/list, stathour/list, invalidstat/list (data.md §2, §3, §4). Called by endpoint. Calls statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated

from aurorasend import statistics
from aurorasend.api.data_fields import ApiUserList, DomainList, LabelIdList, LabelNameList, Ranged
from aurorasend.codes import Code
from aurorasend.endpoint import ApiCall, Info, endpoint
from aurorasend.fields import Field, boolean
from aurorasend.statistics import Asked, Counts, Grain, Line, percent

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
    """Raises Refused: 40006, 40007, 40008."""
    since, until = p.span(call.node.clock.now_us(), call.node.zone)
    domains = p.domains if isinstance(p, ByDay) else None
    return Asked(since=since, until=until, api_users=p.api_users, labels=p.labels, label_names=p.label_names, domains=domains)


async def read_lines(call: ApiCall, asked: Asked, grain: Grain) -> list[Line]:
    account_id, hours = call.caller.account.id, call.node.settings.api.zone_hours
    return await call.node.store.read(lambda tx: statistics.lines(tx, account_id, asked, grain, hours))


@endpoint("statday/list")
async def by_day(call: ApiCall, p: ByDay) -> Info:
    """Statistics by day, API_USER, recipient domain and label.

    All counts of a mail belong to the day of its send request, however late they came. With `aggregate` the sums alone.
    """
    asked = asked_of(call, p)
    account_id, hours = call.caller.account.id, call.node.settings.api.zone_hours
    if p.aggregate:
        total = await call.node.store.read(lambda tx: statistics.total(tx, account_id, asked, hours))
        return {"dataList": summed(total)}
    found = await read_lines(call, asked, Grain.DAY)
    return {"dataList": [{**of_day(line), **counted(line)} for line in found]}


@endpoint("stathour/list")
async def by_hour(call: ApiCall, p: ByHour) -> Info:
    """Statistics by hour, API_USER and label.

    An hour without a request has no row.
    """
    found = await read_lines(call, asked_of(call, p), Grain.HOUR)
    shown = [(of_hour(line), counted(line)) for line in found]
    # Both spellings are told, data.md §3.
    return {"dataList": [{**of, "uniqueClickspercent": counts["uniqueClicksPercent"], **counts} for of, counts in shown]}


@endpoint("invalidstat/list")
async def invalid(call: ApiCall, p: ByDay) -> Info:
    """Invalid mail by class, day, API_USER, recipient domain and label; with `aggregate` the sums alone."""
    asked = asked_of(call, p)
    account_id, hours = call.caller.account.id, call.node.settings.api.zone_hours
    if p.aggregate:
        total = await call.node.store.read(lambda tx: statistics.total_invalid(tx, account_id, asked, hours))
        return {"dataList": classes(total)}
    found = await read_lines(call, asked, Grain.INVALID_DAY)
    return {"dataList": [{**of_day(line), **classes(line.counts)} for line in found]}


def of_day(line: Line) -> Info:
    return {
        "sendDate": _date(line.bucket),
        "apiUser": line.api_user,
        "domain": line.domain,
        "labelId": line.label_id,
        "labelName": line.label or None,
    }


def of_hour(line: Line) -> Info:
    day, hour = divmod(line.bucket, 24)
    return {
        "sendDate": _date(day),
        "sendHour": hour,
        "apiUser": line.api_user,
        "labelId": line.label_id,
        "labelName": line.label,
    }


def counted(line: Line) -> Info:
    counts = Counts._make(line.counts)
    return {**numbers(counts), **percents(counts)}


def numbers(counts: Counts) -> Info:
    return {
        "requestNum": counts.requested,
        "deliveredNum": counts.delivered,
        "clickNum": counts.clicks,
        "openNum": counts.opens,
        "bounceNum": counts.bounced,
        "spamReportedNum": counts.complaints,
        "unsubscribeNum": counts.unsubscribed,
        "uniqueOpensNum": counts.unique_opens,
        "uniqueClicksNum": counts.unique_clicks,
        "invalidEmailsNum": counts.invalid,
    }


def percents(counts: Counts) -> Info:
    """data.md §2.3"""
    return {
        "deliveredPercent": percent(counts.delivered, counts.requested),
        "clickPercent": percent(counts.clicks, counts.delivered),
        "openPercent": percent(counts.opens, counts.delivered),
        "bouncePercent": percent(counts.bounced, counts.requested),
        "spamReportedPercent": percent(counts.complaints, counts.delivered),
        "unsubscribePercent": percent(counts.unsubscribed, counts.delivered),
        "uniqueOpensPercent": percent(counts.unique_opens, counts.delivered),
        "uniqueClicksPercent": percent(counts.unique_clicks, counts.delivered),
        "invalidEmailsPercent": percent(counts.invalid, counts.requested),
        "openRatePercent": percent(counts.unique_clicks, counts.unique_opens),
    }


def summed(counts: Counts) -> Info:
    """Three names lose their plural, and openRatePercent is not told (data.md §2.2)."""
    shown = {**numbers(counts), **percents(counts)}
    del shown["openRatePercent"]
    singular = {"uniqueOpensNum": "uniqueOpenNum", "uniqueClicksNum": "uniqueClickNum", "invalidEmailsNum": "invalidEmailNum"}
    return {singular.get(name, name): value for name, value in shown.items()}


def classes(counts: Sequence[int]) -> Info:
    return dict(zip(CLASSES, counts, strict=True))


def _date(day: int) -> str:
    """Of a bucket, which is in the API's zone already."""
    return date.fromordinal(_EPOCH + day).isoformat()


ENDPOINTS = (by_day, by_hour, invalid)
