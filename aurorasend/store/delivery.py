"""What the engine reads of a submission in one statement."""

from collections.abc import Sequence

from aurorasend.store.tx import Row, Statement, Tx

_SUBMISSIONS = Statement(
    "SELECT s.id, s.api_user_id, s.domain_id, s.message_id, s.email_type, s.label_id, s.created, d.name, coalesce(u.name, ''), "
    "a.bounce_interception FROM submission s JOIN domain d ON d.account_id = s.account_id AND d.id = s.domain_id "
    "LEFT JOIN api_user u ON u.account_id = s.account_id AND u.id = s.api_user_id JOIN account a ON a.id = s.account_id "
    "WHERE s.account_id = $1 AND s.id IN ids($2)"
)


async def submissions(tx: Tx, account_id: int, ids: Sequence[int]) -> list[Row]:
    """(id, api_user_id, domain_id, message_id, email_type, label_id, created, domain, API user, bounce interception)"""
    return await tx.rows(_SUBMISSIONS, account_id, tx.many(ids))
