"""Statistics, suppression lists and the queue as version 1 of the API spells them: `webapi/*.json` (data.md §12).

Called by endpoint. Calls the api modules of today's endpoints, whose parameters these take under names in snake case, and
whose reading and writing is theirs; what is here is how version 1 tells it.
"""

import re
from datetime import timezone

from msgspec import Raw

from aurorasend.api import bounce, complaint, queue, statistics, unsubscribe
from aurorasend.api.statistics import CLASSES, NUMBERS, PERCENTS, ByDay, ByHour, of_day, of_hour, row_of
from aurorasend.clock import wall
from aurorasend.endpoint import ApiCall, Info, endpoint_v1
from aurorasend.statistics import Counts, Grain
from aurorasend.store.suppression import Entry

NUMBERS_V1 = tuple(name.replace("requestNum", "request") for name in NUMBERS)
PERCENTS_V1 = tuple(name.replace("Percent", "_percent") for name in PERCENTS if name != "openRatePercent")
CLASSES_V1 = tuple(name.replace("spamEmail", "spamEmails") for name in CLASSES)

DayRow = row_of("DayRowV1", "sendDate", "apiUser", "domain", "labelId", "labelName", *NUMBERS_V1, *PERCENTS_V1)
HourRow = row_of("HourRowV1", "sendDate", "sendHour", "apiUser", "labelId", "labelName", *NUMBERS_V1, *PERCENTS_V1)
InvalidRow = row_of("InvalidRowV1", "sendDate", "apiUser", "domain", "labelId", "labelName", *CLASSES_V1)

_capital = re.compile("[A-Z]")


def snake(name: str) -> str:
    """`start_date` for `startDate`."""
    return _capital.sub(lambda found: f"_{found[0].lower()}", name)


# -- statistics


@endpoint_v1("webapi/stats.get.json", statistics.by_day, snake)
async def stats(call: ApiCall, p: ByDay) -> Info:
    """Statistics by day, API_USER, recipient domain and label, as version 1 of the API spells them.

    All counts of a mail belong to the day of its send request, however late they came. With `aggregate` the sums alone.
    """
    if p.aggregate:
        return {"stats": summed(await statistics.read_total(call, p))}
    found = await statistics.read_lines(call, p, Grain.DAY)
    return {"stats": [DayRow(*of_day(line), *shown(line[-1])) for line in found]}


@endpoint_v1("webapi/statsHour.get.json", statistics.by_hour, snake)
async def stats_hour(call: ApiCall, p: ByHour) -> Info:
    """Statistics by hour, API_USER and label, as version 1 of the API spells them.

    An hour without a request has no row.
    """
    found = await statistics.read_lines(call, p, Grain.HOUR)
    return {"stats": [HourRow(*of_hour(line), *shown(line[-1])) for line in found]}


@endpoint_v1("webapi/invalidStat.get.json", statistics.invalid, snake)
async def invalid_stat(call: ApiCall, p: ByDay) -> Info:
    """Invalid mail by class, day, API_USER, recipient domain and label, as version 1 of the API spells it.

    With `aggregate` the sums alone.
    """
    if p.aggregate:
        return {"stats": dict(zip(CLASSES_V1, await statistics.read_total_invalid(call, p), strict=True))}
    found = await statistics.read_lines(call, p, Grain.INVALID_DAY)
    return {"stats": [InvalidRow(*of_day(line), *line[-1]) for line in found]}


def shown(counts: tuple[int, ...]) -> tuple[int | Raw, ...]:
    """NUMBERS_V1 and PERCENTS_V1: all but the last of today's."""
    return statistics.shown(counts)[:-1]


def summed(counts: Counts) -> Info:
    """Numbers are text here, and keep their plural."""
    told = shown(counts)
    numbers, percents = map(str, told[: len(NUMBERS_V1)]), told[len(NUMBERS_V1) :]
    return dict(zip((*NUMBERS_V1, *PERCENTS_V1), (*numbers, *percents), strict=True))


# -- suppression lists


@endpoint_v1("webapi/bounces.get.json", bounce.list_bounces, snake)
async def get_bounces(call: ApiCall, p: bounce.ListBounces) -> Info:
    """List addresses that do not exist, oldest first, as version 1 of the API spells it.

    Give `days`, both dates, or `email`.
    """
    return {"bounces": [listed(each, call.node.zone) for each in await bounce.read_entries(call, p)]}


@endpoint_v1("webapi/bounces.delete.json", bounce.delete_bounces, snake)
async def delete_bounces(call: ApiCall, p: bounce.DeleteBounces) -> Info:
    """Take an address off the bounce list, or all of a range, as version 1 of the API spells it.

    What was taken off is allowed against the bounce list, as `bounce/delete` does it.
    """
    return {"del_count": await bounce.release(call, p)}


@endpoint_v1("webapi/bounces.count.json", bounce.count_bounces, snake)
async def count_bounces(call: ApiCall, p: bounce.CountBounces) -> Info:
    """Count the bounces of a range, as version 1 of the API spells it."""
    return {"count": await bounce.count(call, p)}


@endpoint_v1("webapi/unsubscribes.get.json", unsubscribe.list_unsubscribes, snake)
async def get_unsubscribes(call: ApiCall, p: unsubscribe.ListUnsubscribes) -> Info:
    """List addresses that unsubscribed, oldest first, as version 1 of the API spells it.

    Give `days`, both dates, or `email`.
    """
    return {"unsubscribes": [unsubscribed(each, call.node.zone) for each in await unsubscribe.read_entries(call, p)]}


@endpoint_v1("webapi/unsubscribes.add.json", unsubscribe.add_unsubscribe, snake)
async def add_unsubscribe(call: ApiCall, p: unsubscribe.AddUnsubscribe) -> Info:
    """Put an address on the unsubscribe list of the calling API_USER, as version 1 of the API spells it."""
    return {"unsubscribes": [unsubscribed(await unsubscribe.add(call, p), call.node.zone)]}


@endpoint_v1("webapi/unsubscribes.delete.json", unsubscribe.delete_unsubscribes, snake)
async def delete_unsubscribes(call: ApiCall, p: unsubscribe.DeleteUnsubscribes) -> Info:
    """Take an address off the unsubscribe lists of all API_USERs, or all of a range, as version 1 of the API spells it."""
    return {"del_count": await unsubscribe.delete(call, p)}


@endpoint_v1("webapi/spamReported.get.json", complaint.list_complaints, snake)
async def get_complaints(call: ApiCall, p: complaint.ListComplaints) -> Info:
    """List addresses whose owners reported mail as spam, oldest first, as version 1 of the API spells it.

    The answer calls them `bounces` too. Without a range and an address: of the last 92 days.
    """
    return {"bounces": [listed(each, call.node.zone) for each in await complaint.read_entries(call, p)]}


def listed(each: Entry, zone: timezone) -> Info:
    return {"email": each.key, "reason": each.reason, "create_at": wall(each.created, zone)}


def unsubscribed(each: Entry, zone: timezone) -> Info:
    told = dict(unsubscribe.shown(each, zone))
    told["create_at"] = told.pop("unsubscribeTime")
    return told


# -- the queue


@endpoint_v1("webapi/queueStatus.get.json", queue.status)
async def queue_status(call: ApiCall, p: queue.Nothing) -> Info:
    """How many mails wait, by API_USER and recipient domain, as version 1 of the API spells it."""
    return {"queueStatus": await queue.read_rows(call)}


ENDPOINTS = (
    stats,
    stats_hour,
    invalid_stat,
    get_bounces,
    delete_bounces,
    count_bounces,
    get_unsubscribes,
    add_unsubscribe,
    delete_unsubscribes,
    get_complaints,
    queue_status,
)
