"""Rows of `work` and `ready`. The rules are in aurorasend.queue."""

from collections.abc import Iterable, Sequence

from aurorasend.store.schema import work
from aurorasend.store.tx import EVER, Hot, Row, Statement, Tx

COLUMNS = ("account_id", "id", "kind", "lane", "due", "priority", "ref")

_HINT = Statement(
    "INSERT INTO ready (lane, account_id, priority, next_due) VALUES ($1, $2, $3, $4) ON CONFLICT (lane, account_id, priority) "
    "DO UPDATE SET next_due = excluded.next_due WHERE ready.next_due > excluded.next_due"
)
_DUE = Statement(
    "SELECT r.lane, r.account_id, r.priority FROM ready r LEFT JOIN lane l ON l.name = r.lane WHERE r.priority = $4 AND r.lane NOT LIKE 'hook:%' "
    "AND r.next_due <= $1 AND (l.node IS NULL OR l.node = $2) ORDER BY r.next_due LIMIT $3"
)
_LEASE_LANE = Statement(
    "INSERT INTO lane (name, node) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET node = excluded.node "
    "WHERE lane.node = excluded.node RETURNING name"
)
_FREE_LANE = Statement("DELETE FROM lane WHERE name = $1 AND node = $2")
_NEXT = Statement("SELECT min(next_due) FROM ready WHERE priority = $2 AND next_due > $1 AND lane NOT LIKE 'hook:%'")
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
_LOCK_HINT = Statement(
    sqlite="SELECT 1 FROM ready WHERE lane = $1 AND account_id = $2 AND priority = $3",
    postgres="SELECT 1 FROM ready WHERE lane = $1 AND account_id = $2 AND priority = $3 FOR UPDATE",
)
_EARLIEST = Statement("SELECT min(due) FROM work WHERE lane = $1 AND account_id = $2 AND priority = $3")
_SET_HINT = Statement("UPDATE ready SET next_due = $4 WHERE lane = $1 AND account_id = $2 AND priority = $3")
_DROP_HINT = Statement("DELETE FROM ready WHERE lane = $1 AND account_id = $2 AND priority = $3")
_FINISH = Statement("DELETE FROM work WHERE account_id = $1 AND lease = $2 AND id IN ids($3) RETURNING id")
_LATER = Statement(
    "UPDATE work SET due = $4, lease = 0, tries = tries - $5 WHERE account_id = $1 AND lease = $2 AND id = $3 RETURNING lane, priority"
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
    for account_id, _, _, lane, due, priority, _ in rows:
        hint(tx, (lane, account_id, priority), due)


def hint(tx: Tx, key: tuple[str, int, int], due: int) -> None:
    """Say, at the end of the transaction, that (lane, account_id, priority) has something due then."""
    gathered = tx.gather(Hot.HINTS, _write_hints)
    gathered[key] = min(due, gathered.get(key, due))


async def _write_hints(tx: Tx, earliest: dict[tuple[str, int, int], int]) -> None:
    await tx.run_many(_HINT, [(*key, due) for key, due in sorted(earliest.items())])


async def due(tx: Tx, node: int, now_us: int, limit: int, priority: int) -> list[tuple[str, int, int]]:
    """(lane, account_id, priority) with something due, in lanes that are free or `node`'s, the longest waiting first.
    Webhook posts are left alone: this version queues them and has no sender for them yet."""
    return [(row[0], row[1], row[2]) for row in await tx.rows(_DUE, now_us, node, limit, priority)]


async def next_due(tx: Tx, now_us: int, priority: int) -> int | None:
    """When, after now, something will be due."""
    row = await tx.row(_NEXT, now_us, priority)
    return row[0] if row else None


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
    rows = await tx.rows(_CLAIM, *key, at[0], limit, node, at[1], tx.many(besides))
    if len(rows) < limit:
        await refresh(tx, key)
    return rows


async def refresh(tx: Tx, key: tuple[str, int, int]) -> None:
    """Set the hint of `key` right. It is locked first: a put that has not touched it yet will do so after us, and
    what a put that has touched it wrote is committed once we hold the lock."""
    if not await tx.row(_LOCK_HINT, *key):
        return
    earliest = await tx.row(_EARLIEST, *key)
    if earliest is None or earliest[0] is None:
        await tx.run(_DROP_HINT, *key)
    else:
        await tx.run(_SET_HINT, *key, earliest[0])


async def finish(tx: Tx, account_id: int, node: int, ids: Sequence[int]) -> set[int]:
    """Remove what is final; returns the ids that were still leased by `node`."""
    return {row[0] for row in await tx.rows(_FINISH, account_id, node, tx.many(ids))}


async def later(tx: Tx, node: int, entries: Iterable[tuple[int, int, int, int]]) -> set[tuple[int, int]]:
    """Entries (account_id, id, due, tries to take back) wait until their due; returns those still leased by `node`."""
    kept: set[tuple[int, int]] = set()
    for account_id, entry_id, due, untried in entries:
        row = await tx.row(_LATER, account_id, node, entry_id, due, untried)
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
