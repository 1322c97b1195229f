"""Rows of submissions, content, recipients and remembered request ids. The rules are in aurorasend.submission and delivery."""

from collections.abc import Sequence

from aurorasend.store.schema import content, recipient, submission
from aurorasend.store.tx import Row, Statement, Tx

_SUBMISSION = (
    "account_id",
    "id",
    "api_user_id",
    "sender_id",
    "domain_id",
    "message_id",
    "email_type",
    "label_id",
    "label_name",
    "tags",
    "user_headers",
    "first_recipient",
    "recipients",
    "content_id",
    "list_send_id",
    "size",
    "created",
)
_CONTENT = ("account_id", "submission_id", "part", "chunk", "data")
_RECIPIENT = ("account_id", "id", "submission_id", "position", "address", "variables", "requested", "created", "updated")

_STAGE = Statement("INSERT INTO staged (account_id, id, at) VALUES ($1, $2, $3)")
_UNSTAGE = Statement("DELETE FROM staged WHERE account_id = $1 AND id = $2")
_OLD_STAGED = Statement("SELECT account_id, id FROM staged WHERE at < $1 LIMIT $2")
_DROP_CONTENT = Statement("DELETE FROM content WHERE account_id = $1 AND submission_id = $2")
_EXPIRE_REQUEST = Statement("DELETE FROM request_id WHERE account_id = $1 AND scope = $2 AND key = $3 AND until <= $4")
_CLAIM_REQUEST = Statement(
    "INSERT INTO request_id (account_id, scope, key, hash, answer, until) VALUES ($1, $2, $3, $4, $5, $6) "
    "ON CONFLICT (account_id, scope, key) DO NOTHING RETURNING 1"
)
_KNOWN_REQUEST = Statement(
    "SELECT hash, answer FROM request_id WHERE account_id = $1 AND scope = $2 AND key = $3 AND until > $4"
)
_FORGET_REQUEST = Statement("DELETE FROM request_id WHERE account_id = $1 AND scope = $2 AND key = $3")
_OLD_REQUESTS = Statement("DELETE FROM request_id WHERE until <= $1")
_SUBMISSION_WHOLE = Statement(
    "SELECT id, api_user_id, sender_id, domain_id, message_id, email_type, label_id, label_name, tags, first_recipient, recipients, created "
    "FROM submission WHERE account_id = $1 AND id = $2"
)
_GROW = Statement(
    "UPDATE submission SET first_recipient = $3, recipients = recipients + $4 WHERE account_id = $1 AND id = $2"
)
_RECIPIENTS = Statement(
    "SELECT id, submission_id, position, address, variables, created FROM recipient WHERE account_id = $1 AND id IN ids($2)"
)
_RECIPIENT_WHOLE = Statement(
    "SELECT id, position, address, state, sub_status, tries, log, out_ip, created, updated FROM recipient "
    "WHERE account_id = $1 AND id >= $2 AND id < $3 ORDER BY id"
)
_RECIPIENT_RESULT = ("account_id", "id", "state", "sub_status", "tries", "log", "out_ip", "updated")


async def add_submissions(tx: Tx, rows: Sequence[Row]) -> None:
    await tx.insert(submission, _SUBMISSION, rows)


async def add_content(tx: Tx, rows: Sequence[Row]) -> None:
    """Rows of (account_id, submission_id, part, chunk, data)."""
    await tx.insert(content, _CONTENT, rows)


async def add_recipients(tx: Tx, rows: Sequence[Row]) -> None:
    await tx.insert(recipient, _RECIPIENT, rows)


async def grow(tx: Tx, account_id: int, submission_id: int, first_recipient: int, more: int) -> None:
    """A list send's submission has `more` recipients than before; `first_recipient` is the id of its first one."""
    await tx.run(_GROW, account_id, submission_id, first_recipient, more)


async def add_staged(tx: Tx, account_id: int, submission_id: int, at: int) -> None:
    await tx.run(_STAGE, account_id, submission_id, at)


async def unstage(tx: Tx, account_id: int, submission_id: int) -> bool:
    """False when it was swept."""
    return await tx.run(_UNSTAGE, account_id, submission_id) == 1


async def sweep_staged(tx: Tx, before: int, limit: int) -> int:
    """Remove content that was staged before `before` and never accepted; returns how many submissions that were."""
    old = await tx.rows(_OLD_STAGED, before, limit)
    for account_id, submission_id in old:
        await tx.run(_DROP_CONTENT, account_id, submission_id)
        await tx.run(_UNSTAGE, account_id, submission_id)
    return len(old)


async def claim_request(
    tx: Tx, request: tuple[int, str, str], said: tuple[bytes, bytes], times: tuple[int, int]
) -> tuple[bytes, bytes] | None:
    """Remember `request` = (account_id, scope, key) with `said` = (hash, answer) over `times` = (now, until).
    None when that was done; the (hash, answer) that is remembered already otherwise."""
    await tx.run(_EXPIRE_REQUEST, *request, times[0])
    if await tx.row(_CLAIM_REQUEST, *request, *said, times[1]):
        return None
    return await known_request(tx, request, times[0])


async def known_request(tx: Tx, request: tuple[int, str, str], now: int) -> tuple[bytes, bytes] | None:
    """The (hash, answer) that is remembered of `request` = (account_id, scope, key)."""
    known = await tx.row(_KNOWN_REQUEST, *request, now)
    return (bytes(known[0]), bytes(known[1])) if known else None


async def forget_request(tx: Tx, account_id: int, scope: str, key: str) -> None:
    await tx.run(_FORGET_REQUEST, account_id, scope, key)


async def sweep_requests(tx: Tx, now: int) -> int:
    return await tx.run(_OLD_REQUESTS, now)


async def submission_whole(tx: Tx, account_id: int, submission_id: int) -> Row | None:
    """(id, api_user_id, sender_id, domain_id, message_id, email_type, label_id, label_name, tags, first_recipient, recipients, created)"""
    return await tx.row(_SUBMISSION_WHOLE, account_id, submission_id)


async def recipients(tx: Tx, account_id: int, ids: Sequence[int]) -> list[Row]:
    """(id, submission_id, position, address, variables, created)"""
    return await tx.rows(_RECIPIENTS, account_id, tx.many(ids))


async def recipients_whole(tx: Tx, account_id: int, first: int, end: int) -> list[Row]:
    """(id, position, address, state, sub_status, tries, log, out_ip, created, updated) of ids in [first, end)."""
    return await tx.rows(_RECIPIENT_WHOLE, account_id, first, end)


async def set_recipients(tx: Tx, rows: Sequence[Row]) -> None:
    """Rows of (account_id, id, state, sub_status, tries, log, out_ip, updated)."""
    await tx.update(recipient, 2, _RECIPIENT_RESULT, rows)
