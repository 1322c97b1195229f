"""Sums of `counter`, `tally_line` and `tally_state`, and how the first becomes the others. What they mean is in
aurorasend.statistics.

`counter` has an upsert for every event, so it is as fine as anybody may ask. `fold` takes the hours that are over out of it
and adds them to the rows that answers are made of. Every answer is both together, read in one statement, so it is the same
before and after.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from operator import add
from typing import Any, NamedTuple

from aurorasend.store.tx import Row, Statement, Tx


class Grain(IntEnum):
    """What a row of `tally_line` is of: one hour, one day, or one day and recipient domain; always one sender and label."""

    HOUR = 0
    DAY = 1
    PLACE = 2


# The columns of `tally_line`, and of which counters each is the sum: their kind (as in aurorasend.event) and sub status, None
# for all. Those of opens and clicks are 1 for the first of a mail.
_COUNTED: dict[str, tuple[int, int | None]] = {
    "requested": (18, None),
    "delivered": (1, None),
    "bounced": (5, None),
    "invalid": (4, None),
    "opens": (11, None),
    "clicks": (10, None),
    "unique_opens": (11, 1),
    "unique_clicks": (10, 1),
    "complaints": (3, None),
    "unsubscribed": (12, None),
}
CLASSES = range(401, 410)  # sub statuses of invalid mail, data.md §4
_CLASSED: dict[str, tuple[int, int | None]] = {f"invalid_{sub_status}": (4, sub_status) for sub_status in CLASSES}
_SUMMED = tuple((_COUNTED | _CLASSED).values())
UNDER_WAY = 18  # data.md §5
STATES = (UNDER_WAY, 1, 4, 5)  # the kinds of `tally_state`: what is requested, and what is final

Key = tuple[int, int, int, str]
"""(bucket, sender, label, recipient domain). A bucket is a day or an hour since 1970 in the zone of the asker, or 0 for the
whole range. What is not told apart is 0 or ""."""
Sums = dict[Key, tuple[int, ...]]
"""Numbers in the order of _COUNTED, or of CLASSES."""


class Hour(NamedTuple):
    """Recipients of the requests of one hour (since 1970, UTC): all, those of some senders, those in some states, and
    those that are both."""

    hour: int
    all: int
    of_senders: int
    in_states: int
    matching: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Counts of requests of hours (since 1970, UTC) in [since, until). None does not narrow, and nothing matches an empty one."""

    since: int
    until: int
    senders: Sequence[int] | None = None
    labels: Sequence[int] | None = None
    domains: Sequence[str] | None = None

    @property
    def is_vain(self) -> bool:
        return any(wanted is not None and not wanted for wanted in (self.senders, self.labels, self.domains))

    def arguments(self, tx: Tx) -> tuple[Any, ...]:
        """$4 to $7 of the statements below."""
        return tuple(
            argument for wanted in (self.senders, self.labels) for argument in (int(wanted is not None), tx.many(wanted or ()))
        )


_FRESH = "FROM counter WHERE account_id = $1 AND hour >= $2 AND hour < $3"
_SENDERS = "($4 = 0 OR sender_id IN ids($5)) AND ($6 = 0 OR label_id IN ids($7))"
_TALLY = "FROM tally_line WHERE account_id = $1 AND grain = $8 AND bucket >= $9 AND bucket < $10"
# The days besides their range, so that both engines look only where one of the domains is.
_TALLY_PLACES = f"{_TALLY} AND bucket IN ids($11) AND domain IN texts($12)"
_FRESH_PLACES = f"{_FRESH} AND domain IN texts($12)"


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What a statement is to sum up: `columns` of `tally_line`. What it has no number for (`given`) is left out."""

    columns: dict[str, tuple[int, int | None]]
    given: str = ""
    given_fresh: str = ""

    @property
    def each(self) -> str:
        return ", ".join(self.columns)

    @property
    def summed(self) -> str:
        return ", ".join(f"CAST(coalesce(sum({column}), 0) AS bigint)" for column in self.columns)

    @property
    def counted(self) -> str:
        wanted = [f"kind = {kind}" + ("" if sub is None else f" AND sub_status = {sub}") for kind, sub in self.columns.values()]
        return ", ".join(f"CAST(coalesce(sum(n) FILTER (WHERE {condition}), 0) AS bigint)" for condition in wanted)


_COUNTS = _Numbers(_COUNTED)
_INVALID = _Numbers(_CLASSED, " AND invalid > 0", " AND kind = 4")


def _summing(numbers: _Numbers, tally: str, fresh: str, *, places: bool = False) -> Statement:
    """`tally` and `fresh` are what follows SELECT and GROUP BY of each, between |."""
    (what, group), (fresh_what, fresh_group) = tally.split("|"), fresh.split("|")
    return Statement(
        f"SELECT {what} {_TALLY_PLACES if places else _TALLY} AND {_SENDERS}{numbers.given} {group} UNION ALL "
        f"SELECT {fresh_what} {_FRESH_PLACES if places else _FRESH} AND {_SENDERS}{numbers.given_fresh} {fresh_group}"
    )


def _lines(numbers: _Numbers) -> tuple[Statement, Statement]:
    """By day and place; the second statement for when places are named."""

    def lines(zone: str, *, places: bool) -> Statement:
        day = f"(hour + {zone}) / 24, sender_id, label_id, domain"
        tally = f"bucket, sender_id, label_id, domain, {numbers.each}|"
        return _summing(numbers, tally, f"{day}, {numbers.counted}|GROUP BY {day}", places=places)

    return lines("$11", places=False), lines("$13", places=True)


def _whole(numbers: _Numbers) -> tuple[Statement, Statement]:
    texts = (f"0, 0, 0, '', {numbers.summed}|", f"0, 0, 0, '', {numbers.counted}|")
    return _summing(numbers, *texts), _summing(numbers, *texts, places=True)


_LINES, _INVALID_LINES = _lines(_COUNTS), _lines(_INVALID)
_WHOLE, _INVALID_WHOLE = _whole(_COUNTS), _whole(_INVALID)
_HOURS = _summing(
    _COUNTS,
    f"bucket + $11, sender_id, label_id, '', {_COUNTS.each}|",
    f"hour + $11, sender_id, label_id, '', {_COUNTS.counted}|GROUP BY hour, sender_id, label_id",
)
_PLACES = _summing(
    _COUNTS,
    f"0, sender_id, 0, domain, {_COUNTS.summed}|GROUP BY sender_id, domain",
    f"0, sender_id, 0, domain, {_COUNTS.counted}|GROUP BY sender_id, domain",
)

# Of 18 (requests) minus all that is final, which is under way; 1, 4 and 5 are what is final (data.md §5).
_MATCHES = (
    "CASE WHEN kind = 18 THEN $8 ELSE (CASE WHEN ($9 = 0 OR kind IN ids($10)) AND ($11 = 0 OR (kind <> 1 AND sub_status IN ids($12))) "
    "THEN 1 ELSE 0 END) - $8 END * n"
)
_IS_SENDER = f"CASE WHEN {_SENDERS} THEN 1 ELSE 0 END"
_STATES = "FROM tally_state WHERE account_id = $1 AND hour >= $2 AND hour < $3"
_FRESH_STATES = f"{_FRESH} AND kind IN {STATES}"
_WEIGHED = f"CASE WHEN kind = 18 THEN n ELSE 0 END AS asked, {_MATCHES} AS matching, {_IS_SENDER} AS sender"
_MATCHING = Statement(
    "SELECT hour, CAST(sum(asked) AS bigint), CAST(sum(asked * sender) AS bigint), CAST(sum(matching) AS bigint), "
    f"CAST(sum(matching * sender) AS bigint) FROM (SELECT hour, {_WEIGHED} {_FRESH_STATES} UNION ALL "
    f"SELECT hour, {_WEIGHED} {_STATES}) AS weighed GROUP BY hour ORDER BY hour"
)
_PAIRS = Statement(
    f"SELECT sender_id, label_id {_STATES} AND kind = {UNDER_WAY} AND {_SENDERS} UNION "
    f"SELECT sender_id, label_id {_FRESH} AND kind = {UNDER_WAY} AND {_SENDERS}"
)

_KEY = "account_id, hour, sender_id, label_id, domain, kind, sub_status"
_OLD = f"SELECT {_KEY} FROM counter WHERE account_id = $1 AND hour < $2 ORDER BY {_KEY} LIMIT $3"
# Locked in the order in which events move them, so that no two wait for each other.
_TAKE = Statement(
    sqlite=f"DELETE FROM counter WHERE ({_KEY}) IN ({_OLD}) RETURNING hour, domain, sender_id, label_id, kind, sub_status, n",
    postgres=(
        f"WITH old AS MATERIALIZED ({_OLD} FOR UPDATE) DELETE FROM counter c USING old o WHERE c.account_id = o.account_id "
        "AND c.hour = o.hour AND c.sender_id = o.sender_id AND c.label_id = o.label_id AND c.domain = o.domain AND c.kind = o.kind "
        "AND c.sub_status = o.sub_status RETURNING c.hour, c.domain, c.sender_id, c.label_id, c.kind, c.sub_status, c.n"
    ),
)
_LINE_KEY = ("account_id", "grain", "bucket", "domain", "sender_id", "label_id")
_STATE_KEY = ("account_id", "hour", "sender_id", "label_id", "kind", "sub_status")


def _adding(table: str, key: Sequence[str], numbers: Sequence[str]) -> Statement:
    columns = (*key, *numbers)
    values = ", ".join(f"${n}" for n, _ in enumerate(columns, 1))
    sums = ", ".join(f"{number} = {table}.{number} + excluded.{number}" for number in numbers)
    return Statement(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values}) ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sums}"
    )


_ADD_LINE = _adding("tally_line", _LINE_KEY, tuple(_COUNTED | _CLASSED))
_ADD_STATE = _adding("tally_state", _STATE_KEY, ("n",))
_TO_FOLD = Statement("SELECT account_id FROM counter WHERE hour < $1 GROUP BY account_id ORDER BY account_id")


async def by_day(tx: Tx, account_id: int, wanted: Slice, zone_hours: int) -> Sums:
    """By sender, label and recipient domain."""
    return await _of_days(tx, _LINES, account_id, wanted, (Grain.PLACE, zone_hours), zone_hours)


async def invalid_by_day(tx: Tx, account_id: int, wanted: Slice, zone_hours: int) -> Sums:
    """As `by_day`, but of invalid mail alone, and its CLASSES."""
    return await _of_days(tx, _INVALID_LINES, account_id, wanted, (Grain.PLACE, zone_hours), zone_hours)


async def by_hour(tx: Tx, account_id: int, wanted: Slice, zone_hours: int) -> Sums:
    """By sender and label."""
    if wanted.is_vain:
        return {}
    hours = (wanted.since, wanted.until)
    return _added_up(await tx.rows(_HOURS, account_id, *hours, *wanted.arguments(tx), Grain.HOUR, *hours, zone_hours))


async def whole(tx: Tx, account_id: int, wanted: Slice, zone_hours: int, *, invalid: bool = False) -> Sums:
    """All together, or all invalid mail and its CLASSES."""
    grain = Grain.DAY if wanted.domains is None else Grain.PLACE
    return await _of_days(tx, _INVALID_WHOLE if invalid else _WHOLE, account_id, wanted, (grain, zone_hours))


async def by_place(tx: Tx, account_id: int, wanted: Slice, zone_hours: int) -> Sums:
    """By sender and recipient domain."""
    return await _of_days(tx, (_PLACES, _PLACES), account_id, wanted, (Grain.PLACE, zone_hours))


async def _of_days(
    tx: Tx, statements: tuple[Statement, Statement], account_id: int, wanted: Slice, by: tuple[Grain, int], *more: int
) -> Sums:
    """The hours of `wanted` widened to days. The second statement is for when it names domains."""
    if wanted.is_vain:
        return {}
    grain, zone_hours = by
    days = range((wanted.since + zone_hours) // 24, -(-(wanted.until + zone_hours) // 24))
    hours = (days.start * 24 - zone_hours, days.stop * 24 - zone_hours)
    arguments: list[Any] = [account_id, *hours, *wanted.arguments(tx), grain, days.start, days.stop]
    if wanted.domains is not None:
        arguments += [tx.many(list(days)), tx.many(wanted.domains)]
    return _added_up(await tx.rows(statements[wanted.domains is not None], *arguments, *more))


def _added_up(found: Sequence[Row]) -> Sums:
    """A key comes twice when it has counters that are not folded yet."""
    sums: Sums = {row[:4]: row[4:] for row in found}
    if len(sums) < len(found):
        sums = {}
        for row in found:
            key, numbers = row[:4], row[4:]
            sums[key] = tuple(map(add, sums[key], numbers)) if key in sums else numbers
    return sums


async def matching(
    tx: Tx, account_id: int, wanted: Slice, states: Sequence[int] | None, sub_statuses: Sequence[int] | None
) -> list[Hour]:
    """Each hour's recipients by what they are; the numbers are those of data.md §5. In the order of time."""
    under_way = int((states is None or UNDER_WAY in states) and sub_statuses is None)
    narrowed: list[Any] = [under_way]
    for each in (states, sub_statuses):
        narrowed += [int(each is not None), tx.many(each or ())]
    found = await tx.rows(_MATCHING, account_id, wanted.since, wanted.until, *wanted.arguments(tx), *narrowed)
    return [Hour(*row) for row in found]


async def pairs(tx: Tx, account_id: int, wanted: Slice) -> list[tuple[int, int]]:
    """The (sender, label) of all requests in it."""
    found = await tx.rows(_PAIRS, account_id, wanted.since, wanted.until, *wanted.arguments(tx))
    return [(row[0], row[1]) for row in found]


# -- from the one to the other


async def to_fold(tx: Tx, before: int) -> list[int]:
    """The accounts that have counters of hours before `before`."""
    return [row[0] for row in await tx.rows(_TO_FOLD, before)]


async def fold(tx: Tx, account_id: int, before: int, zone_hours: int, limit: int) -> int:
    """Add up to `limit` counters of hours before `before` to the sums; returns how many. The zone decides their days."""
    taken = await tx.rows(_TAKE, account_id, before, limit)
    lines: dict[tuple[Any, ...], list[int]] = {}
    states: dict[tuple[int, ...], int] = {}
    for hour, domain, sender, label, kind, sub_status, n in taken:
        day = (hour + zone_hours) // 24
        for place in ((Grain.HOUR, hour, ""), (Grain.DAY, day, ""), (Grain.PLACE, day, domain)):
            line = lines.setdefault((*place, sender, label), [0] * len(_SUMMED))
            for column, (summed, sub) in enumerate(_SUMMED):
                if summed == kind and sub in (None, sub_status):
                    line[column] += n
        if kind in STATES:
            key = (hour, sender, label, kind, sub_status)
            states[key] = states.get(key, 0) + n
    await tx.run_many(_ADD_LINE, [(account_id, *key, *line) for key, line in sorted(lines.items())])
    await tx.run_many(_ADD_STATE, [(account_id, *key, n) for key, n in sorted(states.items())])
    return len(taken)
