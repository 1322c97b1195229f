"""What the engine reads of a submission in one statement."""

from collections.abc import Sequence

from aurorasend.store.tx import Row, Statement, Tx

_SUBMISSIONS = Statement(
    "SELECT s.id, s.api_user_id, s.sender_id, s.domain_id, s.message_id, s.email_type, s.label_id, s.created, s.size, d.name, d.updated, "
    "CASE WHEN d.vouched = 0 THEN d.verified ELSE 0 END, d.fixed_from, d.mail_from, a.bounce_interception, a.require_tls, a.ad_tag, u.quiet_begin, u.quiet_minutes "
    "FROM submission s JOIN domain d ON d.account_id = s.account_id AND d.id = s.domain_id "
    "JOIN api_user u ON u.account_id = s.account_id AND u.id = s.api_user_id "
    "JOIN account a ON a.id = s.account_id "
    "WHERE s.account_id = $1 AND s.id IN ids($2)"
)
_CONTENTS = Statement(
    "SELECT s.id, c.part, c.data FROM submission s JOIN content c ON c.account_id = s.account_id AND c.submission_id = s.content_id "
    "WHERE s.account_id = $1 AND s.id IN ids($2) ORDER BY s.id, c.part, c.chunk"
)


async def submissions(tx: Tx, account_id: int, ids: Sequence[int]) -> list[Row]:
    """(id, api_user_id, sender_id, domain_id, message_id, email_type, label_id, created, size, domain, its last change,
    its records that DNS was seen to have, fixed From, fixed local part of the envelope sender, bounce interception, TLS, AD tag,
    begin and minutes of quiet hours)"""
    return await tx.rows(_SUBMISSIONS, account_id, tx.many(ids))


async def contents(tx: Tx, account_id: int, ids: Sequence[int]) -> dict[int, list[bytes]]:
    """By submission, its content's parts in order, each put together from its chunks."""
    chunks: dict[int, list[list[bytes]]] = {}
    for submission_id, part, data in await tx.rows(_CONTENTS, account_id, tx.many(ids)):
        parts = chunks.setdefault(submission_id, [])
        while len(parts) <= part:
            parts.append([])
        parts[part].append(bytes(data))
    return {submission_id: [b"".join(part) for part in parts] for submission_id, parts in chunks.items()}
