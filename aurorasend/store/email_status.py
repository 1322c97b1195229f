"""Recipients as their customer searches them. The rules are in aurorasend.email_status.

By time the search goes along the index of submissions and each one's recipients, whose ids follow one another; by sender
it does so along another index; by state it goes along the index of states, and from there to the submissions, as it does
by address and by id. All give the same rows in the same order; which costs least is for the caller to say.
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
    sender_id: int
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
    senders: Sequence[int] | None = None
    labels: Sequence[int] | None = None
    states: Sequence[int] | None = None
    sub_statuses: Sequence[int] | None = None

    @property
    def is_vain(self) -> bool:
        return any(wanted is not None and not wanted for wanted in (self.senders, self.labels, self.states, self.sub_statuses))

    def arguments(self, tx: Tx) -> tuple[Any, ...]:
        """What follows the account in the statements below."""
        return (self.since, self.until, *_optional(tx, self.senders, self.labels, self.states, self.sub_statuses))


_COLUMNS = "s.message_id, r.position, r.address, s.sender_id, r.state, r.sub_status, r.log, s.created, r.updated"
_FILTER = (
    "s.created >= $2 AND s.created < $3 AND ($4 = 0 OR s.sender_id IN ids($5)) AND ($6 = 0 OR s.label_id IN ids($7)) "
    "AND ($8 = 0 OR r.state IN ids($9)) AND ($10 = 0 OR r.sub_status IN ids($11))"
)
_ORDER = "ORDER BY s.created, s.id, r.id"
_THEIRS = "r.account_id = $1 AND r.id >= s.first_recipient AND r.id < s.first_recipient + s.recipients"


_INDEXED = "submission s INDEXED BY submission_sender"
_BY_PAIR = (  # what PostgreSQL has instead: one search of that index for each pair
    "unnest($6::bigint[]) AS u(id) CROSS JOIN unnest($7::bigint[]) AS l(id) CROSS JOIN LATERAL (SELECT * FROM submission "
    "WHERE account_id = $1 AND sender_id = u.id AND label_id = l.id AND created >= $2 AND created < $3 OFFSET 0) AS s"
)


def _from_submissions(submissions: str, recipients: str, rest: str) -> Statement:
    """From the submissions to their recipients, never the other way round: SQLite keeps the order of a CROSS JOIN, PostgreSQL
    that of a subquery with an OFFSET. It knows of no bound between the ids, and would expect a ninth of all recipients of each."""
    return Statement(
        sqlite=f"SELECT {_COLUMNS} FROM {submissions} CROSS JOIN recipient r WHERE {_THEIRS}{recipients} {rest}",
        postgres=(
            f"SELECT {_COLUMNS} FROM {submissions.replace(_INDEXED, _BY_PAIR)} CROSS JOIN LATERAL "
            f"(SELECT * FROM recipient r WHERE {_THEIRS}{recipients} OFFSET 0) AS r WHERE TRUE {rest}"
        ),
    )


# + 0: by their ids, not by the index of states, which PostgreSQL would search whole for each submission.
_IN_STATES = " AND ($8 = 0 OR r.state + 0 IN ids($9)) AND ($10 = 0 OR r.sub_status IN ids($11))"
# Submissions are passed over by how many recipients they have.
_UNFILTERED = _from_submissions(
    "(SELECT * FROM (SELECT created, id, message_id, sender_id, first_recipient, recipients, "
    "sum(recipients) OVER (ORDER BY created, id) - recipients AS before FROM submission WHERE account_id = $1 AND created >= $2 "
    "AND created < $3 AND recipients > 0) AS counted WHERE before + recipients > $5 ORDER BY created, id LIMIT $4) AS s",
    " AND r.id >= s.first_recipient + $5 - s.before",
    f"{_ORDER} LIMIT $4",
)
_BY_TIME = _from_submissions(
    "submission s",
    _IN_STATES,
    "AND s.account_id = $1 AND s.created >= $2 AND s.created < $3 AND ($4 = 0 OR s.sender_id IN ids($5)) "
    f"AND ($6 = 0 OR s.label_id IN ids($7)) {_ORDER} LIMIT $12 OFFSET $13",
)
# The filters of senders are not optional here, so that their index is the obvious one.
_BY_SENDER = _from_submissions(
    _INDEXED,
    _IN_STATES,
    "AND s.account_id = $1 AND s.sender_id IN ids($6) AND s.label_id IN ids($7) AND s.created >= $2 AND s.created < $3 "
    f"{_ORDER} LIMIT $4 OFFSET $5",
)


def _by_state(states: str, senders: str = "") -> Statement:
    """The page is found in the index alone, but for what senders say."""
    joined = f"JOIN submission s ON s.account_id = $1 AND s.id = r.submission_id AND {senders}" if senders else ""
    found = (
        f"{joined} WHERE r.account_id = $1 AND r.requested >= $2 AND r.requested < $3 AND {states} "
        "AND ($7 = 0 OR r.sub_status IN ids($8)) ORDER BY r.requested, r.submission_id, r.id LIMIT $4 OFFSET $5"
    )
    picked = "SELECT r.submission_id, r.id FROM recipient r"
    whole = (
        "JOIN recipient r ON r.account_id = $1 AND r.id = found.id "
        f"JOIN submission s ON s.account_id = $1 AND s.id = found.submission_id {_ORDER}"
    )
    # A page is looked up row by row, which PostgreSQL does not do by itself for a LIMIT that it does not know.
    looked_up = (
        "CROSS JOIN LATERAL (SELECT * FROM recipient WHERE account_id = $1 AND id = found.id OFFSET 0) AS r "
        f"CROSS JOIN LATERAL (SELECT * FROM submission WHERE account_id = $1 AND id = found.submission_id OFFSET 0) AS s {_ORDER}"
    )
    return Statement(
        sqlite=f"SELECT {_COLUMNS} FROM ({picked} INDEXED BY recipient_state {found}) AS found {whole}",
        postgres=f"SELECT {_COLUMNS} FROM ({picked} {found}) AS found {looked_up}",
    )


# One state alone is in order already.
_ONE, _SEVERAL = "r.state = $6", "r.state IN ids($6)"
_BY_STATE = _by_state(_ONE), _by_state(_SEVERAL)
_STATE_SENDERS = "($9 = 0 OR s.sender_id IN ids($10)) AND ($11 = 0 OR s.label_id IN ids($12))"
_BY_STATE_AND_SENDER = _by_state(_ONE, _STATE_SENDERS), _by_state(_SEVERAL, _STATE_SENDERS)
_OF_RECIPIENTS = (
    "FROM recipient r CROSS JOIN submission s WHERE r.account_id = $1 AND s.account_id = $1 AND s.id = r.submission_id "
    f"AND {_FILTER}"
)
_BY_ID = Statement(f"SELECT {_COLUMNS} {_OF_RECIPIENTS} AND r.id IN ids($12) {_ORDER}")
# The index of addresses finds the local part; ~>=~ and ~<~ compare bytes, as SQLite does.
_SAME = "AND lower(r.address) = lower(CAST($14 AS text))"
_SQLITE = f"{_OF_RECIPIENTS} AND r.address >= $12 AND r.address < $13 {_SAME}"
_POSTGRES = f"{_OF_RECIPIENTS} AND r.address ~>=~ $12 AND r.address ~<~ $13 {_SAME}"
_BY_ADDRESS = Statement(
    sqlite=f"SELECT {_COLUMNS} {_SQLITE} {_ORDER} LIMIT $15 OFFSET $16",
    postgres=f"SELECT {_COLUMNS} {_POSTGRES} {_ORDER} LIMIT $15 OFFSET $16",
)
_COUNT_BY_ADDRESS = Statement(sqlite=f"SELECT count(*) {_SQLITE}", postgres=f"SELECT count(*) {_POSTGRES}")
_FIRST = Statement("SELECT id, first_recipient FROM submission WHERE account_id = $1 AND id IN ids($2)")


async def unfiltered(tx: Tx, account_id: int, wanted: Filter, bounds: tuple[int, int]) -> list[Status]:
    """`bounds` are (start, limit), here and below. What `wanted` filters besides the time is not read."""
    start, limit = bounds
    return _statuses(await tx.rows(_UNFILTERED, account_id, wanted.since, wanted.until, limit, start))


async def by_time(tx: Tx, account_id: int, wanted: Filter, bounds: tuple[int, int]) -> list[Status]:
    """Reads from the first request until the page is full."""
    start, limit = bounds
    return _statuses(await tx.rows(_BY_TIME, account_id, *wanted.arguments(tx), limit, start))


async def by_sender(tx: Tx, account_id: int, wanted: Filter, bounds: tuple[int, int]) -> list[Status]:
    """Reads all requests of the senders and labels, neither of which may be None."""
    start, limit = bounds
    senders, states = (
        [tx.many(wanted.senders or ()), tx.many(wanted.labels or ())],
        _optional(tx, wanted.states, wanted.sub_statuses),
    )
    found = await tx.rows(_BY_SENDER, account_id, wanted.since, wanted.until, limit, start, *senders, *states)
    return _statuses(found)


async def by_state(tx: Tx, account_id: int, wanted: Filter, bounds: tuple[int, int]) -> list[Status]:
    """Reads all recipients in the states, which may not be None; with one state, until the page is full."""
    start, limit = bounds
    states, several = list(wanted.states or ()), len(wanted.states or ()) != 1
    has_senders = wanted.senders is not None or wanted.labels is not None
    statement = (_BY_STATE_AND_SENDER if has_senders else _BY_STATE)[several]
    arguments = [tx.many(states) if several else states[0], *_optional(tx, wanted.sub_statuses)]
    arguments += _optional(tx, wanted.senders, wanted.labels) if has_senders else []
    return _statuses(await tx.rows(statement, account_id, wanted.since, wanted.until, limit, start, *arguments))


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


def _optional(tx: Tx, *filters: Sequence[int] | None) -> list[Any]:
    """Of each, whether it narrows, and to what."""
    return [argument for wanted in filters for argument in (int(wanted is not None), tx.many(wanted or ()))]
