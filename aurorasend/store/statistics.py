"""Sums of `counter` and `tally`, and how the one becomes the other. What they mean is in aurorasend.statistics.

`counter` has an upsert for every event, so it is as fine as anybody may ask. `fold` takes the hours that are over out of it
and adds them to the few sums of `tally` that answers are made of. Every answer is the two together, read in one statement,
so it is the same before and after.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

from aurorasend.store.tx import Row, Statement, Tx


class Grain(IntEnum):
    """What a sum of `tally` is of: one hour, one day, or one day and recipient domain; always one API_USER and label."""

    HOUR = 0
    DAY = 1
    PLACE = 2


# Kinds are those of aurorasend.event; the unique ones have sub status 1.
_COUNTED = {
    "requested": "kind = 18",
    "delivered": "kind = 1",
    "bounced": "kind = 5",
    "invalid": "kind = 4",
    "opens": "kind = 11",
    "clicks": "kind = 10",
    "unique_opens": "kind = 11 AND sub_status = 1",
    "unique_clicks": "kind = 10 AND sub_status = 1",
    "complaints": "kind = 3",
    "unsubscribed": "kind = 12",
}
COUNTS = tuple(_COUNTED)
CLASSES = range(401, 410)  # sub statuses of invalid mail, data.md §4
UNDER_WAY = 18  # data.md §5


class Sum(NamedTuple):
    """`bucket` is a day or an hour since 1970 in the zone of the asker, or 0 for the whole range. What is not told apart
    is 0 or "". `counts` are in the order of COUNTS, or of CLASSES."""

    bucket: int
    api_user_id: int
    label_id: int
    domain: str
    counts: tuple[int, ...]


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
    api_users: Sequence[int] | None = None
    labels: Sequence[int] | None = None
    domains: Sequence[str] | None = None

    @property
    def is_vain(self) -> bool:
        return any(wanted is not None and not wanted for wanted in (self.api_users, self.labels, self.domains))

    def senders(self, tx: Tx) -> tuple[Any, ...]:
        """$7 to $10 of the statements below."""
        return tuple(
            argument for wanted in (self.api_users, self.labels) for argument in (int(wanted is not None), tx.many(wanted or ()))
        )


_SENDERS = "($7 = 0 OR api_user_id IN ids($8)) AND ($9 = 0 OR label_id IN ids($10))"
_TALLY = "FROM tally WHERE account_id = $1 AND grain = $2 AND bucket >= $3 AND bucket < $4"
_FRESH = "FROM counter WHERE account_id = $1 AND hour >= $5 AND hour < $6"
# The days besides their range, so that both engines look only where one of the domains is.
_TALLY_PLACES = f"{_TALLY} AND bucket IN ids($11) AND domain IN texts($12)"
_FRESH_PLACES = f"{_FRESH} AND domain IN texts($12)"


def _numbers(*conditions: str) -> str:
    return ", ".join(f"CAST(coalesce(sum(n) FILTER (WHERE {condition}), 0) AS bigint)" for condition in conditions)


_COUNT = _numbers(*_COUNTED.values())
_CLASS = _numbers(*(f"sub_status = {sub_status}" for sub_status in CLASSES))
_INVALID = " AND kind = 4"


def _summing(tally: str, fresh: str, also: str = "", *, places: bool = False) -> Statement:
    """`tally` and `fresh` are what follows SELECT and GROUP BY of each, between |; `also` is what else narrows both."""
    (what, group), (fresh_what, fresh_group) = tally.split("|"), fresh.split("|")
    return Statement(
        f"SELECT {what} {_TALLY_PLACES if places else _TALLY} AND {_SENDERS}{also} {group} UNION ALL "
        f"SELECT {fresh_what} {_FRESH_PLACES if places else _FRESH} AND {_SENDERS}{also} {fresh_group}"
    )


def _lines(numbers: str, also: str = "") -> tuple[Statement, Statement]:
    """By day and place; the second statement for when places are named. The group of `tally` is in the order of its primary
    key, in which SQLite reads it."""
    tally = f"bucket, api_user_id, label_id, domain, {numbers}|GROUP BY bucket, domain, api_user_id, label_id"
    fresh = (
        f"(hour + ZONE) / 24, api_user_id, label_id, domain, {numbers}|GROUP BY (hour + ZONE) / 24, api_user_id, label_id, domain"
    )
    return (
        _summing(tally, fresh.replace("ZONE", "$11"), also),
        _summing(tally, fresh.replace("ZONE", "$13"), also, places=True),
    )


def _whole(numbers: str, also: str = "") -> tuple[Statement, Statement]:
    columns = f"0, 0, 0, '', {numbers}|"
    return _summing(columns, columns, also), _summing(columns, columns, also, places=True)


_LINES, _INVALID_LINES = _lines(_COUNT), _lines(_CLASS, _INVALID)
_WHOLE, _INVALID_WHOLE = _whole(_COUNT), _whole(_CLASS, _INVALID)
_HOURS = _summing(
    f"bucket + $11, api_user_id, label_id, '', {_COUNT}|GROUP BY bucket, api_user_id, label_id",
    f"hour + $11, api_user_id, label_id, '', {_COUNT}|GROUP BY hour, api_user_id, label_id",
)
_PLACES = _summing(*[f"0, api_user_id, 0, domain, {_COUNT}|GROUP BY api_user_id, domain"] * 2)

# Of 18 (requests) minus all that is final, which is under way; 1, 4 and 5 are what is final (data.md §5).
_MATCHES = (
    "CASE WHEN kind = 18 THEN $11 ELSE (CASE WHEN ($12 = 0 OR kind IN ids($13)) AND ($14 = 0 OR (kind <> 1 AND sub_status IN ids($15))) "
    "THEN 1 ELSE 0 END) - $11 END * n"
)
_IS_SENDER = f"CASE WHEN {_SENDERS} THEN 1 ELSE 0 END"
_WEIGHED = f"CASE WHEN kind = 18 THEN n ELSE 0 END AS asked, {_MATCHES} AS matching, {_IS_SENDER} AS sender"
_MATCHING = Statement(
    "SELECT hour, CAST(sum(asked) AS bigint), CAST(sum(asked * sender) AS bigint), CAST(sum(matching) AS bigint), "
    f"CAST(sum(matching * sender) AS bigint) FROM (SELECT bucket AS hour, {_WEIGHED} {_TALLY} AND kind IN (18, 1, 4, 5) UNION ALL "
    f"SELECT hour, {_WEIGHED} {_FRESH} AND kind IN (18, 1, 4, 5)) AS weighed GROUP BY hour ORDER BY hour"
)
_PAIRS = Statement(
    f"SELECT api_user_id, label_id {_TALLY} AND kind = 18 AND {_SENDERS} UNION "
    f"SELECT api_user_id, label_id {_FRESH} AND kind = 18 AND {_SENDERS}"
)
_NAMES = Statement("SELECT id, name FROM api_user WHERE account_id = $1")
_NAMED = Statement("SELECT id FROM api_user WHERE account_id = $1 AND name IN texts($2)")

_KEY = "account_id, hour, api_user_id, label_id, domain, kind, sub_status"
_OLD = f"SELECT {_KEY} FROM counter WHERE account_id = $1 AND hour < $2 ORDER BY {_KEY} LIMIT $3"
# Locked in the order in which events move them, so that no two wait for each other.
_TAKE = Statement(
    sqlite=f"DELETE FROM counter WHERE ({_KEY}) IN ({_OLD}) RETURNING hour, domain, api_user_id, label_id, kind, sub_status, n",
    postgres=(
        f"WITH old AS MATERIALIZED ({_OLD} FOR UPDATE) DELETE FROM counter c USING old o WHERE c.account_id = o.account_id "
        "AND c.hour = o.hour AND c.api_user_id = o.api_user_id AND c.label_id = o.label_id AND c.domain = o.domain AND c.kind = o.kind "
        "AND c.sub_status = o.sub_status RETURNING c.hour, c.domain, c.api_user_id, c.label_id, c.kind, c.sub_status, c.n"
    ),
)
_ADD = Statement(
    "INSERT INTO tally (account_id, grain, bucket, domain, api_user_id, label_id, kind, sub_status, n) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
    "ON CONFLICT (account_id, grain, bucket, domain, api_user_id, label_id, kind, sub_status) DO UPDATE SET n = tally.n + excluded.n"
)
_TO_FOLD = Statement("SELECT account_id FROM counter WHERE hour < $1 GROUP BY account_id ORDER BY account_id")


async def by_day(tx: Tx, account_id: int, wanted: Slice, zone_hours: int) -> list[Sum]:
    """By API_USER, label and recipient domain. Those of one combination may come twice: they are to be added up."""
    return await _of_days(tx, _LINES, account_id, wanted, (Grain.PLACE, zone_hours), zone_hours)


async def invalid_by_day(tx: Tx, account_id: int, wanted: Slice, zone_hours: int) -> list[Sum]:
    """As `by_day`, but of invalid mail alone, and its CLASSES."""
    return await _of_days(tx, _INVALID_LINES, account_id, wanted, (Grain.PLACE, zone_hours), zone_hours)


async def by_hour(tx: Tx, account_id: int, wanted: Slice, zone_hours: int) -> list[Sum]:
    """By API_USER and label. Those of one combination may come twice."""
    if wanted.is_vain:
        return []
    hours = (wanted.since, wanted.until)
    return _sums(await tx.rows(_HOURS, account_id, Grain.HOUR, *hours, *hours, *wanted.senders(tx), zone_hours))


async def whole(tx: Tx, account_id: int, wanted: Slice, zone_hours: int, *, invalid: bool = False) -> list[Sum]:
    """All together, or all invalid mail and its CLASSES; what comes is to be added up."""
    grain = Grain.DAY if wanted.domains is None else Grain.PLACE
    return await _of_days(tx, _INVALID_WHOLE if invalid else _WHOLE, account_id, wanted, (grain, zone_hours))


async def by_place(tx: Tx, account_id: int, wanted: Slice, zone_hours: int) -> list[Sum]:
    """By API_USER and recipient domain. Those of one combination may come twice."""
    return await _of_days(tx, (_PLACES, _PLACES), account_id, wanted, (Grain.PLACE, zone_hours))


async def _of_days(
    tx: Tx, statements: tuple[Statement, Statement], account_id: int, wanted: Slice, by: tuple[Grain, int], *more: int
) -> list[Sum]:
    """The hours of `wanted` widened to days. The second statement is for when it names domains."""
    if wanted.is_vain:
        return []
    grain, zone_hours = by
    days = range((wanted.since + zone_hours) // 24, -(-(wanted.until + zone_hours) // 24))
    hours = (days.start * 24 - zone_hours, days.stop * 24 - zone_hours)
    arguments: list[Any] = [account_id, grain, days.start, days.stop, *hours, *wanted.senders(tx)]
    if wanted.domains is not None:
        arguments += [tx.many(list(days)), tx.many(wanted.domains)]
    return _sums(await tx.rows(statements[wanted.domains is not None], *arguments, *more))


def _sums(found: Sequence[Row]) -> list[Sum]:
    return [Sum(row[0], row[1], row[2], row[3], row[4:]) for row in found]


async def matching(
    tx: Tx, account_id: int, wanted: Slice, states: Sequence[int] | None, sub_statuses: Sequence[int] | None
) -> list[Hour]:
    """Each hour's recipients by what they are; the numbers are those of data.md §5. In the order of time."""
    under_way = int((states is None or UNDER_WAY in states) and sub_statuses is None)
    hours = (wanted.since, wanted.until)
    narrowed: list[Any] = [under_way]
    for each in (states, sub_statuses):
        narrowed += [int(each is not None), tx.many(each or ())]
    return [
        Hour(*row) for row in await tx.rows(_MATCHING, account_id, Grain.HOUR, *hours, *hours, *wanted.senders(tx), *narrowed)
    ]


async def pairs(tx: Tx, account_id: int, wanted: Slice) -> list[tuple[int, int]]:
    """The (API_USER, label) of all requests in it."""
    hours = (wanted.since, wanted.until)
    return [(row[0], row[1]) for row in await tx.rows(_PAIRS, account_id, Grain.HOUR, *hours, *hours, *wanted.senders(tx))]


async def api_user_names(tx: Tx, account_id: int) -> dict[int, str]:
    """By id, those that were deleted too: their history stays."""
    return dict(await tx.rows(_NAMES, account_id))


async def api_user_ids(tx: Tx, account_id: int, names: Sequence[str] | None) -> Sequence[int] | None:
    """Of all that have or had one of `names`; None for None."""
    return None if names is None else [row[0] for row in await tx.rows(_NAMED, account_id, tx.many(names))]


# -- from the one to the other


async def to_fold(tx: Tx, before: int) -> list[int]:
    """The accounts that have counters of hours before `before`."""
    return [row[0] for row in await tx.rows(_TO_FOLD, before)]


async def fold(tx: Tx, account_id: int, before: int, zone_hours: int, limit: int) -> int:
    """Add up to `limit` counters of hours before `before` to the sums; returns how many. The zone decides their days."""
    taken = await tx.rows(_TAKE, account_id, before, limit)
    sums: dict[tuple[Any, ...], int] = {}
    for hour, domain, *rest, n in taken:
        day = (hour + zone_hours) // 24
        for key in ((Grain.HOUR, hour, "", *rest), (Grain.DAY, day, "", *rest), (Grain.PLACE, day, domain, *rest)):
            sums[key] = sums.get(key, 0) + n
    await tx.run_many(_ADD, [(account_id, *key, n) for key, n in sorted(sums.items())])
    return len(taken)
