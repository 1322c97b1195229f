"""Rows of labels. The rules are in aurorasend.label."""

from collections.abc import Sequence
from typing import NamedTuple

from aurorasend.store.tx import Statement, Tx


class Label(NamedTuple):
    """A label of an account. Times are UTC microseconds."""

    id: int
    name: str
    created: int
    updated: int


_GET = Statement("SELECT id, name, created, updated FROM label WHERE account_id = $1 AND id = $2")
_NAMED = Statement("SELECT id, name, created, updated FROM label WHERE account_id = $1 AND name = $2")
_COUNT = Statement("SELECT count(*) FROM label WHERE account_id = $1")
_COUNT_LIKE = Statement("SELECT count(*) FROM label WHERE account_id = $1 AND folded LIKE $2 ESCAPE '!'")
_PAGE = Statement(
    "SELECT id, name, created, updated FROM label WHERE account_id = $1 AND folded LIKE $2 ESCAPE '!' "
    "ORDER BY created DESC, id DESC LIMIT $3 OFFSET $4"
)
_EVER = "(SELECT account_id, id, name, folded FROM label UNION ALL SELECT account_id, id, name, folded FROM dropped_label) AS ever"
_NAMES = Statement(f"SELECT id, name FROM {_EVER} WHERE account_id = $1 AND id IN ids($2)")
_LIKE = Statement(f"SELECT id FROM {_EVER} WHERE account_id = $1 AND folded LIKE $2 ESCAPE '!'")
_ADD = Statement(
    "INSERT INTO label (account_id, id, name, folded, created, updated) VALUES ($1, $2, $3, $4, $5, $5) "
    "ON CONFLICT (account_id, name) DO NOTHING"
)
_RENAME = Statement("UPDATE label SET name = $3, folded = $4, updated = $5 WHERE account_id = $1 AND id = $2")
_DROP = Statement(
    "INSERT INTO dropped_label (account_id, id, name, folded) "
    "SELECT account_id, id, name, folded FROM label WHERE account_id = $1 AND id = $2"
)
_DELETE = Statement("DELETE FROM label WHERE account_id = $1 AND id = $2")


async def get(tx: Tx, account_id: int, label_id: int) -> Label | None:
    row = await tx.row(_GET, account_id, label_id)
    return None if row is None else Label(*row)


async def named(tx: Tx, account_id: int, name: str) -> Label | None:
    """The label of exactly this name."""
    row = await tx.row(_NAMED, account_id, name)
    return None if row is None else Label(*row)


async def count(tx: Tx, account_id: int) -> int:
    row = await tx.row(_COUNT, account_id)
    return 0 if row is None else int(row[0])


async def search(tx: Tx, account_id: int, query: str, start: int, limit: int) -> tuple[list[Label], int]:
    """A page of the labels whose name holds `query` in any letter case, newest first, and how many there are in all."""
    pattern = _holding(query)
    total = await tx.row(_COUNT_LIKE, account_id, pattern)
    found = await tx.rows(_PAGE, account_id, pattern, limit, start) if limit else []
    return [Label(*row) for row in found], 0 if total is None else int(total[0])


async def names(tx: Tx, account_id: int, ids: Sequence[int]) -> dict[int, str]:
    """By id, also of labels that were deleted."""
    return dict(await tx.rows(_NAMES, account_id, tx.many(ids)))


async def wanted(tx: Tx, account_id: int, ids: Sequence[int] | None, names: Sequence[str]) -> Sequence[int] | None:
    """The labels that a filter means: `ids`, else those whose name holds one of `names`, else None for all
    (data.md §1.6). Deleted ones are among them (management.md §2.5)."""
    if ids is not None or not names:
        return ids
    return sorted({row[0] for name in names for row in await tx.rows(_LIKE, account_id, _holding(name))})


async def add(tx: Tx, account_id: int, name: str, now_us: int) -> Label | None:
    """None when the account has a label of that name, be it since a moment ago by another transaction."""
    label_id = await tx.next_id("label")
    added = await tx.run(_ADD, account_id, label_id, name, name.casefold(), now_us)
    return Label(label_id, name, now_us, now_us) if added else None


async def get_or_add(tx: Tx, account_id: int, name: str, now_us: int) -> Label:
    """The label of this name, made now if there is none: for mail sends, which name labels freely (mail.md §2.1)."""
    found = await named(tx, account_id, name) or await add(tx, account_id, name, now_us) or await named(tx, account_id, name)
    if found is None:
        raise LookupError("a label that another transaction added is already deleted")
    return found


async def rename(tx: Tx, account_id: int, label_id: int, name: str, now_us: int) -> int:
    return await tx.run(_RENAME, account_id, label_id, name, name.casefold(), now_us)


async def delete(tx: Tx, account_id: int, label_id: int) -> int:
    """How many: one or none. Its name is remembered for the statistics of what was sent with it."""
    await tx.run(_DROP, account_id, label_id)
    return await tx.run(_DELETE, account_id, label_id)


def _holding(query: str) -> str:
    """A LIKE pattern for text that holds `query` literally."""
    return "%" + query.casefold().replace("!", "!!").replace("%", "!%").replace("_", "!_") + "%"
