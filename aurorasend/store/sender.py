"""Rows of senders: the names that API users of an account have or had. A submission and its counters keep the one that it was
requested under, whoever has the name later (management.md §7.4); whose it is says `submission.api_user_id`."""

from collections.abc import Iterable, Sequence

from aurorasend.store.tx import Statement, Tx

# The update changes nothing: a row that is there already is returned by it.
_GET_OR_ADD = Statement(
    "INSERT INTO sender (account_id, id, name) VALUES ($1, $2, $3) "
    "ON CONFLICT (account_id, name) DO UPDATE SET name = excluded.name RETURNING id"
)
_NAMES = Statement("SELECT id, name FROM sender WHERE account_id = $1 AND id IN ids($2)")
_WANTED = Statement("SELECT id FROM sender WHERE account_id = $1 AND name IN texts($2)")


async def get_or_add(tx: Tx, account_id: int, name: str) -> int:
    """The sender of this name, made now if nobody has had it."""
    row = await tx.row(_GET_OR_ADD, account_id, await tx.next_id("sender"), name)
    assert row is not None
    return int(row[0])


async def names(tx: Tx, account_id: int, ids: Iterable[int]) -> dict[int, str]:
    """By id, of these."""
    return dict(await tx.rows(_NAMES, account_id, tx.many(sorted(set(ids)))))


async def wanted(tx: Tx, account_id: int, names: Sequence[str] | None) -> Sequence[int] | None:
    """The senders that a filter means; None for None. A name that nobody has had means none."""
    return None if names is None else [row[0] for row in await tx.rows(_WANTED, account_id, tx.many(names))]
