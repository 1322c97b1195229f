"""What is old enough goes, a bounded number of rows at a time. The rules are in aurorasend.retention.

Nothing of a request goes while any of its mail is queued, or a list send of it goes on. Counters and suppression lists stay
(data.md §18).
"""

from collections.abc import Sequence
from typing import NamedTuple

from aurorasend.store.tx import Statement, Tx


class Old(NamedTuple):
    """A submission that is old enough. `bytes` of content; `is_queued` when nothing of its request may go yet."""

    id: int
    created: int
    first_recipient: int
    recipients: int
    bytes: int
    is_queued: int


_ACCOUNTS = Statement("SELECT id FROM account ORDER BY id")
# Recipients and their entries in the queue have the same ids. Until a list send is done (2) or has failed (3), more come.
# What shares content came in one request, and so at the same time.
_IS_QUEUED = (
    "CASE WHEN EXISTS (SELECT 1 FROM submission s WHERE s.account_id = $1 AND s.created = o.created AND s.content_id = o.content_id "
    "AND (EXISTS (SELECT 1 FROM work w WHERE w.account_id = $1 AND w.kind = 1 AND w.id >= s.first_recipient "
    "AND w.id < s.first_recipient + s.recipients) OR EXISTS (SELECT 1 FROM list_send l WHERE l.account_id = $1 "
    "AND l.id = s.list_send_id AND l.state NOT IN (2, 3)))) THEN 1 ELSE 0 END"
)
_OLD = f"o.id, o.created, o.first_recipient, o.recipients, o.size, {_IS_QUEUED}"
# By id, so that what has gone is not passed over again. What is staged has no submission yet.
_CONTENT = Statement(
    f"SELECT {_OLD} FROM (SELECT DISTINCT submission_id FROM content WHERE account_id = $1 AND submission_id > $2 "
    "ORDER BY submission_id LIMIT $4) AS c JOIN submission o ON o.account_id = $1 AND o.id = c.submission_id WHERE o.created < $3 "
    "ORDER BY o.id"
)
_SUBMISSIONS = Statement(
    f"SELECT {_OLD} FROM submission o WHERE o.account_id = $1 AND (o.created, o.id) > ($2, $3) AND o.created < $4 "
    "ORDER BY o.created, o.id LIMIT $5"
)
_DROP_CONTENT = Statement("DELETE FROM content WHERE account_id = $1 AND submission_id IN ids($2)")
_DROP_RECIPIENTS = Statement("DELETE FROM recipient WHERE account_id = $1 AND id >= $2 AND id < $3")
_DROP_SUBMISSIONS = Statement("DELETE FROM submission WHERE account_id = $1 AND id IN ids($2)")
_DROP_LIST_SENDS = Statement(
    "DELETE FROM list_send WHERE account_id = $1 AND id IN (SELECT list_send_id FROM submission WHERE account_id = $1 AND id IN ids($2))"
)
# By id, which grows with time: the first of a young id ends it, but for those of a node that had numbers left.
_EVENTS = Statement("SELECT id FROM (SELECT id, at FROM event WHERE account_id = $1 ORDER BY id LIMIT $3) AS first WHERE at < $2")
_DROP_EVENTS = Statement("DELETE FROM event WHERE account_id = $1 AND id IN ids($2)")


async def accounts(tx: Tx) -> list[int]:
    return [row[0] for row in await tx.rows(_ACCOUNTS)]


async def with_content(tx: Tx, account_id: int, after: int, before_us: int, limit: int) -> list[Old]:
    """Of the first `limit` submissions with content whose ids are over `after`, those made before `before_us`, by id."""
    return [Old(*row) for row in await tx.rows(_CONTENT, account_id, after, before_us, limit)]


async def submissions(tx: Tx, account_id: int, after: tuple[int, int], before_us: int, limit: int) -> list[Old]:
    """The first `limit` that were made before `before_us`, after (created, id) = `after`, in this order."""
    return [Old(*row) for row in await tx.rows(_SUBMISSIONS, account_id, *after, before_us, limit)]


async def drop_content(tx: Tx, account_id: int, submission_ids: Sequence[int]) -> None:
    await tx.run(_DROP_CONTENT, account_id, tx.many(submission_ids))


async def drop_recipients(tx: Tx, account_id: int, spans: Sequence[tuple[int, int]]) -> None:
    """Those with ids in any [first, end)."""
    await tx.run_many(_DROP_RECIPIENTS, [(account_id, *span) for span in spans])


async def drop_submissions(tx: Tx, account_id: int, submission_ids: Sequence[int]) -> None:
    """With their content and list sends; their recipients are gone already."""
    ids = tx.many(submission_ids)
    await tx.run(_DROP_CONTENT, account_id, ids)
    await tx.run(_DROP_LIST_SENDS, account_id, ids)
    await tx.run(_DROP_SUBMISSIONS, account_id, ids)


async def events(tx: Tx, account_id: int, before_us: int, limit: int) -> list[int]:
    """Of the `limit` events with the lowest ids, those that happened before `before_us`."""
    return [row[0] for row in await tx.rows(_EVENTS, account_id, before_us, limit)]


async def drop_events(tx: Tx, account_id: int, ids: Sequence[int]) -> None:
    await tx.run(_DROP_EVENTS, account_id, tx.many(ids))
