"""Sums of `counter`. What they mean is in aurorasend.statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from aurorasend.store.tx import Statement, Tx


class Sum(NamedTuple):
    """`bucket` is a day or an hour since 1970 in the zone of the asker, or 0 for the whole range. What is not told apart
    is 0 or ""."""

    bucket: int
    api_user_id: int
    label_id: int
    domain: str
    kind: int
    sub_status: int
    n: int


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

    def arguments(self, tx: Tx) -> tuple[Any, ...]:
        """What follows the account in the statements below."""
        narrowed: list[Any] = [self.since, self.until]
        for wanted in (self.api_users, self.labels, self.domains):
            narrowed += [int(wanted is not None), tx.many(wanted or ())]
        return tuple(narrowed)


_WHERE = (
    "FROM counter WHERE account_id = $1 AND hour >= $2 AND hour < $3 AND ($4 = 0 OR api_user_id IN ids($5)) "
    "AND ($6 = 0 OR label_id IN ids($7)) AND ($8 = 0 OR domain IN texts($9))"
)
_DAYS = Statement(
    f"SELECT (hour + $10) / 24, api_user_id, label_id, domain, kind, sub_status, CAST(sum(n) AS bigint) {_WHERE} GROUP BY 1, 2, 3, 4, 5, 6"
)
_HOURS = Statement(
    f"SELECT hour + $10, api_user_id, label_id, '', kind, sub_status, CAST(sum(n) AS bigint) {_WHERE} GROUP BY 1, 2, 3, 5, 6"
)
_WHOLE = Statement(f"SELECT 0, 0, 0, '', kind, sub_status, CAST(sum(n) AS bigint) {_WHERE} GROUP BY kind, sub_status")
_PLACES = Statement(
    f"SELECT 0, api_user_id, 0, domain, kind, sub_status, CAST(sum(n) AS bigint) {_WHERE} GROUP BY api_user_id, domain, kind, sub_status"
)
_NAMES = Statement("SELECT id, name FROM api_user WHERE account_id = $1")
_NAMED = Statement("SELECT id FROM api_user WHERE account_id = $1 AND name IN texts($2)")


async def by_day(tx: Tx, account_id: int, wanted: Slice, zone_hours: int) -> list[Sum]:
    return await _sums(tx, _DAYS, account_id, wanted, zone_hours)


async def by_hour(tx: Tx, account_id: int, wanted: Slice, zone_hours: int) -> list[Sum]:
    """Recipient domains together."""
    return await _sums(tx, _HOURS, account_id, wanted, zone_hours)


async def whole(tx: Tx, account_id: int, wanted: Slice) -> list[Sum]:
    return await _sums(tx, _WHOLE, account_id, wanted)


async def by_place(tx: Tx, account_id: int, wanted: Slice) -> list[Sum]:
    """By API_USER and recipient domain."""
    return await _sums(tx, _PLACES, account_id, wanted)


async def _sums(tx: Tx, statement: Statement, account_id: int, wanted: Slice, *more: int) -> list[Sum]:
    if wanted.is_vain:
        return []
    return [Sum(*row) for row in await tx.rows(statement, account_id, *wanted.arguments(tx), *more)]


async def api_user_names(tx: Tx, account_id: int) -> dict[int, str]:
    """By id, those that were deleted too: their history stays."""
    return dict(await tx.rows(_NAMES, account_id))


async def api_user_ids(tx: Tx, account_id: int, names: Sequence[str] | None) -> Sequence[int] | None:
    """Of all that have or had one of `names`; None for None."""
    return None if names is None else [row[0] for row in await tx.rows(_NAMED, account_id, tx.many(names))]
