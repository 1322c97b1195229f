"""Rows of `work` and `ready`. The rules are in aurorasend.queue."""

from collections.abc import Iterable, Sequence

import msgspec

from aurorasend.store.schema import ready, work
from aurorasend.store.tx import EVER, Hot, Row, Statement, Tx, merging

COLUMNS = ("account_id", "id", "kind", "lane", "due", "priority", "ref", "lease", "tries")

_HINT = merging(
    ready, ("lane", "account_id", "priority"), ("next_due",), "next_due = excluded.next_due WHERE ready.next_due > excluded.next_due"
)
# Webhook posts are left alone: this version queues them and has no sender for them yet, and nobody is woken for those that
# are put while results are settled.
_MAIL = "lane NOT LIKE 'hook:%'"
_LOOK = Statement(
    " UNION ALL ".join(
        part
        for priority in (0, 1)
        for part in (
            f"SELECT * FROM (SELECT r.lane, r.account_id, r.priority, r.next_due FROM ready r LEFT JOIN lane l ON l.name = r.lane "
            f"WHERE r.priority = {priority} AND r.{_MAIL} AND r.next_due <= $1 AND (l.node IS NULL OR l.node = $2) "
            f"ORDER BY r.next_due LIMIT $3) AS due{priority}",
            f"SELECT '', 0, -1, min(next_due) FROM ready WHERE priority = {priority} AND next_due > $1 AND {_MAIL}",
        )
    )
)
_LEASE_LANE = Statement(
    "INSERT INTO lane (name, node) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET node = excluded.node "
    "WHERE lane.node = excluded.node RETURNING name"
)
_FREE_LANE = Statement("DELETE FROM lane WHERE name = $1 AND node = $2")
_CLAIM = Statement(
    sqlite=(
        "UPDATE work SET lease = $6, due = $7, tries = tries + 1 WHERE account_id = $2 AND id IN (SELECT id FROM work "
        "WHERE lane = $1 AND account_id = $2 AND priority = $3 AND due <= $4 AND NOT (id IN ids($8)) ORDER BY due LIMIT $5) "
        "RETURNING id, kind, ref, tries"
    ),
    postgres=(
        "WITH picked AS (SELECT id FROM work WHERE lane = $1 AND account_id = $2 AND priority = $3 AND due <= $4 "
        "AND NOT (id IN ids($8)) ORDER BY due LIMIT $5 FOR UPDATE SKIP LOCKED) UPDATE work SET lease = $6, due = $7, tries = tries + 1 FROM picked "
        "WHERE work.account_id = $2 AND work.id = picked.id RETURNING work.id, work.kind, work.ref, work.tries"
    ),
)
# Of keys as JSON arrays.
_GIVEN = (
    "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each($1)",
    "SELECT given->>0, (given->>1)::bigint, (given->>2)::bigint FROM jsonb_array_elements($1::jsonb) AS given",
)
_WAITING = "FROM work WHERE work.lane = ready.lane AND work.account_id = ready.account_id AND work.priority = ready.priority"


def _of_given(begin: str, end: str = "") -> Statement:
    sqlite, postgres = (f"{begin} (lane, account_id, priority) IN ({given}){end}" for given in _GIVEN)
    return Statement(sqlite=sqlite, postgres=postgres)


_LOCK_HINTS = _of_given("SELECT lane, account_id, priority FROM ready WHERE", ' ORDER BY lane COLLATE "C", account_id, priority FOR UPDATE')
_DROP_HINTS = _of_given(f"DELETE FROM ready WHERE NOT EXISTS (SELECT 1 {_WAITING}) AND")
_SET_HINTS = _of_given(f"UPDATE ready SET next_due = (SELECT min(due) {_WAITING}) WHERE EXISTS (SELECT 1 {_WAITING}) AND")
_FINISH = Statement("DELETE FROM work WHERE account_id = $1 AND lease = $2 AND id IN ids($3) RETURNING id")
_HELD = Statement("SELECT id FROM work WHERE account_id = $1 AND lease = $2 AND id IN ids($3)")
_LATER = Statement(
    "UPDATE work SET due = $5, lease = 0, tries = tries - $6 WHERE account_id = $1 AND lease = $2 AND id = $3 AND due = $4 "
    "RETURNING lane, priority"
)
_HASTEN = Statement("UPDATE work SET due = $3 WHERE account_id = $1 AND id = $2 AND lease = 0 RETURNING lane, priority")
_PARKED = Statement(
    f"SELECT account_id, id FROM work WHERE due = {EVER} AND (account_id, id) > ($1, $2) ORDER BY account_id, id LIMIT $3"
)
_RELEASE = Statement(f"UPDATE work SET due = $3, tries = 0 WHERE account_id = $1 AND id = $2 AND due = {EVER} RETURNING lane, priority")
_DEPTH = Statement(
    "SELECT lane, count(*), min(due), sum(CASE WHEN lease > 0 THEN 1 ELSE 0 END), "
    f"sum(CASE WHEN due = {EVER} THEN 1 ELSE 0 END) FROM work GROUP BY lane ORDER BY lane LIMIT $1"
)
_FIND = Statement("SELECT lane, due, tries, lease FROM work WHERE account_id = $1 AND id = $2")


async def put(tx: Tx, rows: Sequence[Row]) -> None:
    """Rows of COLUMNS. The work first and the hint after it: see `refresh`."""
    await tx.insert(work, COLUMNS, rows)
    for account_id, _, _, lane, due, priority, *_ in rows:
        hint(tx, (lane, account_id, priority), due)


def hint(tx: Tx, key: tuple[str, int, int], due: int) -> None:
    """Say, at the end of the transaction, that (lane, account_id, priority) has something due then."""
    gathered = tx.gather(Hot.HINTS, _write_hints)
    gathered[key] = min(due, gathered.get(key, due))


async def _write_hints(tx: Tx, earliest: dict[tuple[str, int, int], int]) -> None:
    await tx.merge(_HINT, [(*key, due) for key, due in sorted(earliest.items())])


async def look(tx: Tx, node: int, now_us: int, limit: int) -> tuple[list[tuple[str, int, int]], int | None]:
    """(lane, account_id, priority) with something due, in lanes that are free or `node`'s, the longest waiting of each
    priority first, up to `limit` of each; and when, after now, something else will be due."""
    keys, later = [], []
    for lane, account_id, priority, due in await tx.rows(_LOOK, now_us, node, limit):
        if priority >= 0:
            keys.append((lane, account_id, priority))
        elif due is not None:
            later.append(due)
    return keys, min(later, default=None)


async def lease_lane(tx: Tx, lane: str, node: int) -> bool:
    """False when another node has it. It may be ours without our knowledge: of the claim that took it the answer was lost."""
    return await tx.row(_LEASE_LANE, lane, node) is not None


async def free_lane(tx: Tx, lane: str, node: int) -> None:
    await tx.run(_FREE_LANE, lane, node)


async def claim(
    tx: Tx, key: tuple[str, int, int], at: tuple[int, int], limit: int, node: int, besides: Sequence[int]
) -> list[Row]:
    """(id, kind, ref, tries) of up to `limit` entries of (lane, account_id, priority) that are due, oldest first, but for
    `besides`. `at` = (now, when they are due again)."""
    return await tx.rows(_CLAIM, *key, at[0], limit, node, at[1], tx.many(besides))


async def refresh(tx: Tx, keys: Sequence[tuple[str, int, int]]) -> None:
    """Set the hints of `keys` right. They are locked first, in the order in which a put touches them: a put that has not
    touched one yet will do so after us, and what a put that has touched it wrote is committed once we hold the lock."""
    if not keys:
        return
    given = msgspec.json.encode(keys).decode()
    if tx.engine == "postgres":  # SQLite has one writer
        given = msgspec.json.encode(await tx.rows(_LOCK_HINTS, given)).decode()  # what was made since is its maker's
    await tx.run(_DROP_HINTS, given)
    await tx.run(_SET_HINTS, given)


async def finish(tx: Tx, account_id: int, node: int, ids: Sequence[int]) -> set[int]:
    """Remove what is final; returns the ids that were still leased by `node`."""
    return {row[0] for row in await tx.rows(_FINISH, account_id, node, tx.many(ids))}


async def finish_all(tx: Tx, account_id: int, node: int, ids: Sequence[int], otherwise: Exception) -> None:
    """Remove what is final; raise `otherwise` when not all were still leased by `node`."""
    await tx.must(_FINISH, account_id, node, tx.many(ids), rows=len(ids), otherwise=otherwise)


async def held(tx: Tx, account_id: int, node: int, ids: Sequence[int]) -> set[int]:
    """Which of `ids` are leased by `node`."""
    return {row[0] for row in await tx.rows(_HELD, account_id, node, tx.many(ids))}


async def later(tx: Tx, node: int, entries: Iterable[tuple[int, int, int, int, int]]) -> set[tuple[int, int]]:
    """Entries (account_id, id, end of the claim, due, tries to take back) wait until their due; returns those still leased by
    `node` with that end."""
    kept: set[tuple[int, int]] = set()
    for account_id, entry_id, until, due, untried in entries:
        row = await tx.row(_LATER, account_id, node, entry_id, until, due, untried)
        if row is not None:
            kept.add((account_id, entry_id))
            hint(tx, (row[0], account_id, row[1]), due)
    return kept


async def hasten(tx: Tx, account_id: int, entry_id: int, due: int) -> None:
    row = await tx.row(_HASTEN, account_id, entry_id, due)
    if row is not None:
        hint(tx, (row[0], account_id, row[1]), due)


async def release_parked(tx: Tx, after: tuple[int, int], now_us: int, limit: int) -> list[tuple[int, int]]:
    """Make up to `limit` entries due whose due is EVER, as if never tried, so that a mail does not expire: the first after
    `after`, as (account_id, id). Reads the table: for the operator, not for hot paths."""
    released: list[tuple[int, int]] = []
    for account_id, entry_id in await tx.rows(_PARKED, *after, limit):
        row = await tx.row(_RELEASE, account_id, entry_id, now_us)
        if row is not None:
            hint(tx, (row[0], account_id, row[1]), now_us)
            released.append((account_id, entry_id))
    return released


async def depth(tx: Tx, limit: int) -> list[Row]:
    """(lane, entries, earliest due, leased, parked) for the operator; counts the table, so not for hot paths."""
    return await tx.rows(_DEPTH, limit)


async def find(tx: Tx, account_id: int, entry_id: int) -> Row | None:
    """(lane, due, tries, lease) of one entry."""
    return await tx.row(_FIND, account_id, entry_id)
