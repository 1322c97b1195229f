"""Rows of `event`, `counter` and `webhook`. The rules are in aurorasend.event."""

from collections.abc import Sequence

from aurorasend.store.schema import counter, event
from aurorasend.store.tx import Hot, Row, Statement, Tx, merging

Dimensions = tuple[int, int, int, int, str, int, int]  # account, hour, sender, label, recipient domain, kind, sub status

_COLUMNS = ("account_id", "id", "kind", "at", "submission_id", "recipient_id", "detail")
_COUNT = merging(counter, ("account_id", "hour", "sender_id", "label_id", "domain", "kind", "sub_status"), ("n",), "n = counter.n + excluded.n")
_WEBHOOKS = Statement("SELECT account_id, id, api_user_id, events FROM webhook WHERE account_id IN ids($1)")
_OF_RECIPIENTS = Statement(
    "SELECT id, kind, at, recipient_id, detail FROM event WHERE account_id = $1 AND submission_id = $2 "
    "AND recipient_id >= $3 AND recipient_id < $4 ORDER BY at, id LIMIT $5"
)


async def add(tx: Tx, rows: Sequence[Row]) -> None:
    await tx.insert(event, _COLUMNS, rows)


def count(tx: Tx, key: Dimensions, number: int) -> None:
    """Move a counter, at the end of the transaction."""
    gathered = tx.gather(Hot.COUNTERS, _write_counts)
    gathered[key] = gathered.get(key, 0) + number


async def _write_counts(tx: Tx, counts: dict[Dimensions, int]) -> None:
    await tx.merge(_COUNT, [(*key, number) for key, number in sorted(counts.items())])


async def webhooks(tx: Tx, account_ids: Sequence[int]) -> list[Row]:
    """(account_id, id, api_user_id or 0 for all, event numbers with commas)"""
    return await tx.beside(_WEBHOOKS, tx.many(account_ids))


async def of_recipients(tx: Tx, account_id: int, submission_id: int, first: int, end: int, limit: int) -> list[Row]:
    """(id, kind, at, recipient_id, detail) in the order of time, of recipients with ids in [first, end)."""
    return await tx.rows(_OF_RECIPIENTS, account_id, submission_id, first, end, limit)
