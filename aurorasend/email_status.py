"""What became of single mails (data.md §5).

Called by api.email_status. Calls store; totals over time come from statistics, so that they need not be counted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from aurorasend import statistics
from aurorasend.address import normalise
from aurorasend.clock import HOUR
from aurorasend.event import Kind
from aurorasend.statistics import Asked
from aurorasend.store import email_status as rows
from aurorasend.store import sender as senders
from aurorasend.store import statistics as sums
from aurorasend.store.email_status import Filter, Status
from aurorasend.store.statistics import Hour, Slice
from aurorasend.store.tx import Tx

DELIVERED, INVALID, SOFT, SENDING = Kind.DELIVER.number, Kind.INVALID.number, Kind.SOFT_BOUNCE.number, Kind.REQUEST.number
STATES = (DELIVERED, INVALID, SOFT, SENDING)
_NEVER_TRIED = 0  # in the store; customers are told SENDING
SORTED = 2.0  # what a row costs that is looked up and sorted, against one that is passed over in order; measured
MOST_PAIRS = 1000  # of a sender and a label that are looked up one by one

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
    """A page, the API_USERs of its senders by id, and how many mails there are in all."""

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
    if wanted.states is None and wanted.sub_statuses is not None:  # 401 is one of 4, 503 of 5 (data.md §5)
        wanted = replace(wanted, states=sorted({sub_status // 100 for sub_status in wanted.sub_statuses}))
    states = wanted.states
    narrowed = Filter(
        since=wanted.asked.since,
        until=wanted.asked.until,
        senders=where.senders,
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
    return Found(page, await senders.names(tx, account_id, [each.sender_id for each in page]), total)


async def _by_time(tx: Tx, account_id: int, narrowed: Filter, where: Slice, wanted: Search) -> tuple[list[Status], int]:
    """The counters say in which hours the page lies, so only those are read, and how to read the least of them."""
    hours = await sums.matching(tx, account_id, where, wanted.states, wanted.sub_statuses)
    total = sum(hour.matching for hour in hours)
    limit = min(wanted.limit, total - wanted.start)
    if limit <= 0:
        return [], total
    upto = list(accumulate(hour.matching for hour in hours))
    first = next(n for n, reached in enumerate(upto) if reached > wanted.start)
    last = next(n for n, reached in enumerate(upto) if reached >= wanted.start + limit)
    inside = hours[first : last + 1]
    part = replace(narrowed, since=inside[0].hour * HOUR, until=(inside[-1].hour + 1) * HOUR)
    bounds = (wanted.start - upto[first] + hours[first].matching, limit)
    window = replace(where, since=inside[0].hour, until=inside[-1].hour + 1)
    return await _read(tx, account_id, part, window, inside, bounds), total


async def _read(
    tx: Tx, account_id: int, part: Filter, window: Slice, inside: Sequence[Hour], bounds: tuple[int, int]
) -> list[Status]:
    """The way that passes over the fewest rows, by what is counted in the hours."""
    every, of_senders, in_states, matching = (sum(column) for column in zip(*(hour[1:] for hour in inside), strict=True))
    has_senders, has_states = part.senders is not None or part.labels is not None, part.states is not None
    if not has_senders and not has_states and part.sub_statuses is None:
        return await rows.unfiltered(tx, account_id, part, bounds)
    share = sum(bounds) / matching
    by_time = every * share
    if has_states and in_states * (share if _is_ordered(part) else SORTED) <= min(by_time, of_senders * SORTED):
        return await rows.by_state(tx, account_id, part, bounds)
    if has_senders and of_senders * SORTED < by_time:
        pairs = await sums.pairs(tx, account_id, window)
        sender_ids, label_ids = sorted({sender for sender, _ in pairs}), sorted({label for _, label in pairs})
        if len(sender_ids) * len(label_ids) <= MOST_PAIRS:
            return await rows.by_sender(tx, account_id, replace(part, senders=sender_ids, labels=label_ids), bounds)
    return await rows.by_time(tx, account_id, part, bounds)


def _is_ordered(part: Filter) -> bool:
    """Whether the index of states has the rows in the order of the page."""
    return len(part.states or ()) == 1


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
