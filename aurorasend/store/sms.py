"""Rows of `sms_submission` and `sms_message`. The rules are in aurorasend.sms."""

from collections.abc import Iterable, Sequence

from aurorasend.store.schema import sms_message, sms_submission
from aurorasend.store.tx import Row, Statement, Tx

SUBMISSION = ("account_id", "id", "sms_user", "template_id", "text", "msg_type", "sender", "label_id", "custom", "created")
MESSAGE = ("account_id", "id", "submission_id", "token", "phone", "e164", "vars", "created", "updated")

_SENT = Statement(
    "SELECT e164, sum(CASE WHEN created > $3 THEN 1 ELSE 0 END), sum(CASE WHEN created >= $4 THEN 1 ELSE 0 END) FROM sms_message "
    "WHERE account_id = $1 AND e164 IN texts($2) AND (created > $3 OR created >= $4) GROUP BY e164"
)
_DUE = Statement(
    "SELECT m.account_id, m.id, m.submission_id, m.token, m.phone, m.e164, m.vars, m.state, m.created, "
    "s.text, s.template_id, s.sender FROM sms_message m "
    "JOIN sms_submission s ON s.account_id = m.account_id AND s.id = m.submission_id "
    "WHERE m.account_id = $1 AND m.id IN ids($2)"
)
_SETTLE = Statement(
    "UPDATE sms_message SET state = $3, code = $4, log = $5, pieces = $6, outbound = $7, updated = $8 "
    "WHERE account_id = $1 AND id = $2"
)

_EXPLAINED = Statement(
    "SELECT id, phone, created, pieces, log FROM sms_message WHERE account_id = $1 AND submission_id = $2 AND token = $3"
)


async def sent(tx: Tx, account_id: int, numbers: Sequence[str], after_us: int, since_us: int) -> dict[str, tuple[int, int]]:
    """For each of the normal `numbers` that has any: messages accepted after `after_us`, and since `since_us`."""
    rows = await tx.rows(_SENT, account_id, tx.many(numbers), after_us, since_us)
    return {number: (int(recent), int(today)) for number, recent, today in rows}


async def add(tx: Tx, submission: Row, messages: Sequence[Row]) -> None:
    """Rows of SUBMISSION and MESSAGE."""
    await tx.insert(sms_submission, SUBMISSION, [submission])
    await tx.insert(sms_message, MESSAGE, messages)


async def due(tx: Tx, account_id: int, ids: Sequence[int]) -> list[Row]:
    """(account_id, id, submission_id, token, phone, e164, vars, state, created, text, template_id, sender)"""
    return await tx.rows(_DUE, account_id, tx.many(ids))


async def settle(tx: Tx, rows: Iterable[Row]) -> None:
    """(account_id, id, state, code, log, pieces, outbound, updated)"""
    await tx.run_many(_SETTLE, rows)


async def explained(tx: Tx, account_id: int, submission_id: int, token: str) -> Row | None:
    """(id, phone, created, pieces, log) of the message that an smsId names."""
    return await tx.row(_EXPLAINED, account_id, submission_id, token)
