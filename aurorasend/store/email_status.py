"""Recipients as their customer searches them. The rules are in aurorasend.email_status.

By time the search goes along the index of submissions and each one's recipients, whose ids follow one another; by address
and by id from the recipients to their submissions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from aurorasend.store.tx import Row, Statement, Tx


class Status(NamedTuple):
    """One mail to one recipient. Times are UTC microseconds."""

    message_id: str
    position: int
    address: str
    api_user_id: int
    state: int
    sub_status: int
    log: str
    requested: int
    updated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Requests of [since, until). None does not narrow, and nothing matches an empty one."""

    since: int
    until: int
    api_users: Sequence[int] | None = None
    labels: Sequence[int] | None = None
    states: Sequence[int] | None = None
    sub_statuses: Sequence[int] | None = None

    @property
    def is_vain(self) -> bool:
        return any(wanted is not None and not wanted for wanted in (self.api_users, self.labels, self.states, self.sub_statuses))

    def arguments(self, tx: Tx) -> tuple[Any, ...]:
        """What follows the account in the statements below."""
        narrowed: list[Any] = [self.since, self.until]
        for wanted in (self.api_users, self.labels, self.states, self.sub_statuses):
            narrowed += [int(wanted is not None), tx.many(wanted or ())]
        return tuple(narrowed)


_COLUMNS = "s.message_id, r.position, r.address, s.api_user_id, r.state, r.sub_status, r.log, s.created, r.updated"
_FILTER = (
    "s.created >= $2 AND s.created < $3 AND ($4 = 0 OR s.api_user_id IN ids($5)) AND ($6 = 0 OR s.label_id IN ids($7)) "
    "AND ($8 = 0 OR r.state IN ids($9)) AND ($10 = 0 OR r.sub_status IN ids($11))"
)
_ORDER = "ORDER BY s.created, s.id, r.id"
# CROSS JOIN: SQLite keeps the order of the tables then.
_BY_TIME = Statement(
    f"SELECT {_COLUMNS} FROM submission s CROSS JOIN recipient r WHERE s.account_id = $1 AND r.account_id = $1 "
    f"AND r.id >= s.first_recipient AND r.id < s.first_recipient + s.recipients AND {_FILTER} {_ORDER} LIMIT $12 OFFSET $13"
)
_OF_RECIPIENTS = (
    "FROM recipient r CROSS JOIN submission s WHERE r.account_id = $1 AND s.account_id = $1 AND s.id = r.submission_id " f"AND {_FILTER}"
)
_BY_ID = Statement(f"SELECT {_COLUMNS} {_OF_RECIPIENTS} AND r.id IN ids($12) {_ORDER}")
# The index of addresses finds the local part; ~>=~ and ~<~ compare bytes, as SQLite does.
_SAME = "AND lower(r.address) = lower(CAST($14 AS text))"
_SQLITE = f"{_OF_RECIPIENTS} AND r.address >= $12 AND r.address < $13 {_SAME}"
_POSTGRES = f"{_OF_RECIPIENTS} AND r.address ~>=~ $12 AND r.address ~<~ $13 {_SAME}"
_BY_ADDRESS = Statement(
    sqlite=f"SELECT {_COLUMNS} {_SQLITE} {_ORDER} LIMIT $15 OFFSET $16", postgres=f"SELECT {_COLUMNS} {_POSTGRES} {_ORDER} LIMIT $15 OFFSET $16"
)
_COUNT_BY_ADDRESS = Statement(sqlite=f"SELECT count(*) {_SQLITE}", postgres=f"SELECT count(*) {_POSTGRES}")
_FIRST = Statement("SELECT id, first_recipient FROM submission WHERE account_id = $1 AND id IN ids($2)")


async def by_time(tx: Tx, account_id: int, wanted: Filter, bounds: tuple[int, int]) -> list[Status]:
    """`bounds` are (start, limit); in the order of the requests."""
    start, limit = bounds
    return _statuses(await tx.rows(_BY_TIME, account_id, *wanted.arguments(tx), limit, start))


async def by_address(tx: Tx, account_id: int, wanted: Filter, address: str, bounds: tuple[int, int]) -> tuple[list[Status], int]:
    """A page, and how many there are in all. Letter case of the domain does not count."""
    start, limit = bounds
    local = address.rpartition("@")[0]
    arguments = (account_id, *wanted.arguments(tx), f"{local}@", f"{local}A", address)  # A is next to @
    row = await tx.row(_COUNT_BY_ADDRESS, *arguments)
    found = _statuses(await tx.rows(_BY_ADDRESS, *arguments, limit, start)) if limit else []
    return found, int(row[0]) if row else 0


async def by_id(tx: Tx, account_id: int, wanted: Filter, recipients: Sequence[int]) -> list[Status]:
    return _statuses(await tx.rows(_BY_ID, account_id, *wanted.arguments(tx), tx.many(recipients)))


async def first_recipients(tx: Tx, account_id: int, submissions: Sequence[int]) -> dict[int, int]:
    """By submission."""
    return dict(await tx.rows(_FIRST, account_id, tx.many(submissions)))


def _statuses(found: Sequence[Row]) -> list[Status]:
    return [Status(*row) for row in found]
