"""The books of an installation after a proof: what the store says of every recipient, against what was answered and delivered.

Every function returns the list of what does not agree; an empty one is a pass.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from aurorasend.event import Kind
from aurorasend.store.tx import Statement, Store, Tx
from tests.cluster.sink import Delivery

DELIVERED, FAILED, UNDER_WAY = (1,), (4, 5), (0, 18)  # emailStatus, mail.md §15.1
SHOWN = 5  # examples in one complaint

_RECIPIENTS = Statement(
    "SELECT r.account_id, r.id, s.message_id, r.position, r.address, r.state FROM recipient r "
    "JOIN submission s ON s.account_id = r.account_id AND s.id = r.submission_id"
)
_WORK = Statement("SELECT account_id, ref, lease FROM work")
_EVENTS = Statement("SELECT account_id, recipient_id, kind, count(*) FROM event GROUP BY account_id, recipient_id, kind")
_COUNTERS = Statement(
    "SELECT kind, sum(n) FROM (SELECT kind, n FROM counter UNION ALL SELECT kind, n FROM tally_state) AS counted "
    "GROUP BY kind"
)
_SUBMISSIONS = Statement("SELECT count(*) FROM submission")
_BUSY = Statement("SELECT count(*) FROM work WHERE lease > 0 OR due <= $1")
_LEASED = Statement("SELECT count(*) FROM work WHERE lease > 0")
_NODES = Statement("SELECT id, until FROM node WHERE until > 0")
_LANES = Statement("SELECT name, node FROM lane")
_SOME_WORK = Statement("SELECT lane, account_id, id, due, tries, lease FROM work ORDER BY lease DESC, due LIMIT 10")
_UNHINTED = Statement(
    "SELECT count(*) FROM work w LEFT JOIN ready r ON r.lane = w.lane AND r.account_id = w.account_id "
    "AND r.priority = w.priority WHERE r.next_due IS NULL OR r.next_due > w.due"
)


async def drained(store: Store, limit_s: float) -> bool:
    """Wait until nothing is left to do but what waits for its time; False when for `limit_s` it did not become less. After
    many kills on a busy machine there may be thousands."""
    least, until = await busy(store), time.monotonic() + limit_s
    while least and time.monotonic() < until:
        await asyncio.sleep(0.2)
        left = await busy(store)
        if left < least:
            least, until = left, time.monotonic() + limit_s
    return not least


async def busy(store: Store) -> int:
    """Entries that are leased or due."""
    row = await store.read(lambda tx: tx.row(_BUSY, time.time_ns() // 1000))
    assert row is not None
    return int(row[0])


async def undone(store: Store) -> str:
    """What is left to do, for a complaint: nodes with the time of their lease, lanes, and some entries."""

    async def unit(tx: Tx) -> str:
        tables = [await tx.rows(statement) for statement in (_NODES, _LANES, _SOME_WORK)]
        return f"at {time.time_ns() // 1000}: nodes {tables[0]}, lanes {tables[1]}, entries {tables[2]}"

    return await store.read(unit)


@dataclass(frozen=True)
class Books:
    delivered: set[str]  # emailIds
    waiting: set[str]
    failed: set[str]
    problems: list[str]  # what the store says that contradicts itself


async def close(store: Store) -> Books:
    """Read everything, when nothing runs any more."""
    return await store.read(_read)


async def _read(tx: Tx) -> Books:
    waiting = {(row[0], row[1]) for row in await tx.rows(_WORK)}
    events = {tuple(row[:3]): int(row[3]) for row in await tx.rows(_EVENTS)}
    counted = Counter({int(kind): int(total) for kind, total in await tx.rows(_COUNTERS)})
    books = Books(set(), set(), set(), [])
    wrong: dict[str, list[str]] = {}
    for account_id, recipient_id, message_id, position, address, state in await tx.rows(_RECIPIENTS):
        email_id = f"{message_id}{position}${address}"
        told = Counter({kind: events.get((account_id, recipient_id, kind.number), 0) for kind in Kind})
        final = told[Kind.DELIVER], told[Kind.INVALID] + told[Kind.SOFT_BOUNCE]
        held = (account_id, recipient_id) in waiting
        side, expected = _side(books, state)
        side.add(email_id)
        if final != expected:
            wrong.setdefault(f"state {state} with (deliver, failure) events {final}", []).append(email_id)
        if held != (state in UNDER_WAY):
            wrong.setdefault(f"state {state} {'with' if held else 'without'} work", []).append(email_id)
    books.problems.extend(f"{len(ids)} recipients: {what}, as {ids[:SHOWN]}" for what, ids in wrong.items())
    books.problems.extend(_counters(books, counted))
    books.problems.extend(await _tables(tx, books, events))
    return books


def _side(books: Books, state: int) -> tuple[set[str], tuple[int, int]]:
    """Where a recipient in `state` belongs, and how many (deliver, failure) events it must have."""
    if state in DELIVERED:
        return books.delivered, (1, 0)
    return (books.failed, (0, 1)) if state in FAILED else (books.waiting, (0, 0))


def _counters(books: Books, counted: Counter[int]) -> Iterable[str]:
    everyone = len(books.delivered) + len(books.waiting) + len(books.failed)
    failures = counted[Kind.INVALID.number] + counted[Kind.SOFT_BOUNCE.number]
    for name, number, expected in (
        ("requested", counted[Kind.REQUEST.number], everyone),
        ("delivered", counted[Kind.DELIVER.number], len(books.delivered)),
        ("failed", failures, len(books.failed)),
    ):
        if number != expected:
            yield f"counters say {number} {name}, the recipients {expected}"


async def _tables(tx: Tx, books: Books, events: dict[tuple[int, ...], int]) -> list[str]:
    problems = []
    leased = await tx.row(_LEASED)
    if leased is not None and leased[0]:
        problems.append(f"{leased[0]} entries are leased to nodes that are gone")
    row, unhinted = await tx.row(_SUBMISSIONS), await tx.row(_UNHINTED)
    requests = sum(count for (_, _, kind), count in events.items() if kind == Kind.REQUEST.number)
    if row is not None and row[0] != requests:
        problems.append(f"{row[0]} submissions have {requests} request events")
    if unhinted is not None and unhinted[0]:
        problems.append(f"{unhinted[0]} entries have no hint: nobody would find them")
    return problems


def missing(books: Books, accepted: Collection[str], deliveries: Collection[Delivery]) -> list[str]:
    """Accepted = delivered + waiting + failed, and what the store calls delivered is what arrived."""
    arrived = {one.email_id for one in deliveries}
    known = books.delivered | books.waiting | books.failed
    cases = (
        ("accepted and unknown to the store", set(accepted) - known),
        ("called delivered and never arrived", books.delivered - arrived),
        ("arrived and not called delivered", arrived - books.delivered),
    )
    return [f"{len(ids)} mails {what}, as {sorted(ids)[:SHOWN]}" for what, ids in cases if ids]


def by_mail(deliveries: Iterable[Delivery]) -> dict[str, list[Delivery]]:
    """Deliveries of each emailId in the order of time."""
    found: dict[str, list[Delivery]] = {}
    for one in sorted(deliveries, key=lambda d: d.taken):
        found.setdefault(one.email_id, []).append(one)
    return found


def twins(deliveries: Iterable[Delivery]) -> list[str]:
    """Recipients (each belongs to one request) that got two different mails: a repeated request was taken twice."""
    mails: dict[str, set[str]] = {}
    for one in deliveries:
        mails.setdefault(one.recipient, set()).add(one.email_id)
    return [f"{recipient} got {sorted(ids)}" for recipient, ids in mails.items() if len(ids) > 1]
