"""What became of single mails (data.md §5).

Called by api.email_status. Calls store; totals over time come from statistics, so that they need not be counted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aurorasend import statistics
from aurorasend.address import normalise
from aurorasend.clock import HOUR
from aurorasend.event import Kind
from aurorasend.statistics import Asked
from aurorasend.store import email_status as rows
from aurorasend.store import statistics as names
from aurorasend.store.email_status import Filter, Status
from aurorasend.store.statistics import Slice
from aurorasend.store.tx import Tx

DELIVERED, INVALID, SOFT, SENDING = Kind.DELIVER.number, Kind.INVALID.number, Kind.SOFT_BOUNCE.number, Kind.REQUEST.number
STATES = (DELIVERED, INVALID, SOFT, SENDING)
_NEVER_TRIED = 0  # in the store; customers are told SENDING

# data.md §5: what the status says, where it differs from the description
_WORDS: Mapping[int, tuple[str, str]] = {
    401: ("Platform Blacklist", "SendCloud Blacklist"),
    402: ("Unsubscribe", "Unsubscribe"),
    403: ("Server Unreachable", "Server Unreachable"),
    404: ("Address Format Error", "Address Format Error"),
    405: ("IP/Domain Rejected", "IP, Domain Name Rejected"),
    406: ("Address Does Not Exist", "Address Does Not Exist"),
    407: ("Spam", "Spam"),
    408: ("Sender/Recipient Rejected", "Sender, Recipient Rejected"),
    409: ("Others", "Others"),
    503: ("Service Not Available", "Service Not Available"),
    505: ("IP/Domain Rejected", "IP, Domain Name Rejected"),
    506: ("Address Does Not Exist", "Address Does Not Exist"),
    507: ("Spam", "Spam"),
    508: ("Sender/Recipient Rejected", "Sender, Recipient Rejected"),
    509: ("Others", "Others"),
}
SUB_STATUSES = frozenset(_WORDS)

_email_id = re.compile(r"[0-9]+_[0-9]+_[0-9]+_([0-9]{1,18})\.[^$]*-inbound([0-9]{1,9})\$.*", re.DOTALL).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a customer asks for; filters combine with AND. `states` and `sub_statuses` as in data.md §5."""

    asked: Asked
    address: str = ""
    ids: Sequence[str] | None = None
    states: Sequence[int] | None = None
    sub_statuses: Sequence[int] | None = None
    start: int = 0
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Found:
    """A page, the names of its API_USERs by id, and how many mails there are in all."""

    page: list[Status]
    api_users: dict[int, str]
    total: int


def words(state: int, sub_status: int) -> tuple[str, str | None]:
    """The text of a status, and the description of its sub status if it has one."""
    if state == DELIVERED:
        return "Delivered", None
    if state not in (INVALID, SOFT):
        return "Sending", None
    status, description = _WORDS.get(sub_status, ("Others", "Others"))
    return f"{'Invalid Mail' if state == INVALID else 'Soft Bounce'} - {status}", description


def email_id(one: Status) -> str:
    """As the send call told it (mail.md §6)."""
    return f"{one.message_id}{one.position}${one.address}"


async def search(tx: Tx, account_id: int, wanted: Search) -> Found:
    where = await statistics.slice_of(tx, account_id, wanted.asked)
    states = wanted.states
    narrowed = Filter(
        since=wanted.asked.since,
        until=wanted.asked.until,
        api_users=where.api_users,
        labels=where.labels,
        states=None if states is None else [*states, *([_NEVER_TRIED] if SENDING in states else [])],
        sub_statuses=wanted.sub_statuses,
    )
    if narrowed.is_vain:
        return Found([], {}, 0)
    if wanted.ids is not None:
        page, total = await _by_ids(tx, account_id, narrowed, wanted)
    elif wanted.address:
        page, total = await rows.by_address(tx, account_id, narrowed, wanted.address, (wanted.start, wanted.limit))
    else:
        page, total = await _by_time(tx, account_id, narrowed, where, wanted)
    return Found(page, await names.api_user_names(tx, account_id), total)


async def _by_time(tx: Tx, account_id: int, narrowed: Filter, where: Slice, wanted: Search) -> tuple[list[Status], int]:
    """The counters say in which hours the page lies, so only those are read, and where it ends."""
    hours = [
        (hour, sum(n for state, n in counted.items() if _matches(state, wanted)))
        for hour, counted in await statistics.hourly_states(tx, account_id, where)
    ]
    total, before, inside = sum(n for _, n in hours), 0, []
    for hour, n in hours:
        if before + n <= wanted.start:
            before += n
        elif n:
            inside.append((hour, n))
    limit = min(wanted.limit, total - wanted.start)
    if limit <= 0:
        return [], total
    reached, last = before, inside[0][0]
    for hour, n in inside:
        if reached >= wanted.start + limit:
            break
        reached, last = reached + n, hour
    part = replace(narrowed, since=inside[0][0] * HOUR, until=(last + 1) * HOUR)
    return await rows.by_time(tx, account_id, part, (wanted.start - before, limit)), total


def _matches(state: tuple[int, int], wanted: Search) -> bool:
    status, sub_status = state
    return (wanted.states is None or status in wanted.states) and (
        wanted.sub_statuses is None or sub_status in wanted.sub_statuses
    )


async def _by_ids(tx: Tx, account_id: int, narrowed: Filter, wanted: Search) -> tuple[list[Status], int]:
    """They are few, so the page is cut here. An id that is not one, or another account's, matches nothing."""
    read = {text: (int(parts[1]), int(parts[2])) for text in wanted.ids or () if (parts := _email_id(text))}
    first = await rows.first_recipients(tx, account_id, sorted({submission for submission, _ in read.values()}))
    recipients = [first[submission] + position for submission, position in read.values() if submission in first]
    found = [one for one in await rows.by_id(tx, account_id, narrowed, recipients) if email_id(one) in read]
    if wanted.address:
        found = [one for one in found if _same(one.address, wanted.address)]
    return found[wanted.start : wanted.start + wanted.limit], len(found)


def _same(one: str, other: str) -> bool:
    return one.rpartition("@")[0] == other.rpartition("@")[0] and normalise(one) == normalise(other)
