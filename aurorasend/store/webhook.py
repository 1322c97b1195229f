"""Rows of webhooks as their account configures them. The rules are in aurorasend.webhook; event finds those to be told."""

from collections.abc import Sequence
from typing import NamedTuple

from aurorasend.store.tx import Statement, Tx

ALL = "all"  # the category of every API user


class Webhook(NamedTuple):
    """`category` is the name of an API user, or ALL; `events` the numbers of its events, in order, with commas."""

    id: int
    url: str
    api_user_id: int
    category: str
    events: str


_SELECT = (
    f"SELECT w.id, w.url, w.api_user_id, coalesce(u.name, '{ALL}'), w.events FROM webhook w "
    "LEFT JOIN api_user u ON u.account_id = w.account_id AND u.id = w.api_user_id WHERE w.account_id = $1"
)
_EVERY = Statement(f"{_SELECT} ORDER BY w.created DESC, w.id DESC")
_ADD = Statement(
    "INSERT INTO webhook (account_id, id, url, api_user_id, events, created, updated) VALUES ($1, $2, $3, $4, $5, $6, $6) "
    "ON CONFLICT (account_id, url, api_user_id) DO NOTHING"
)
_CHANGE = Statement("UPDATE webhook SET url = $3, api_user_id = $4, events = $5, updated = $6 WHERE account_id = $1 AND id = $2")
_DELETE = Statement("DELETE FROM webhook WHERE account_id = $1 AND id IN ids($2)")


async def every(tx: Tx, account_id: int) -> list[Webhook]:
    """Of the account, newest first."""
    return [Webhook(*row) for row in await tx.rows(_EVERY, account_id)]


async def add(tx: Tx, account_id: int, url: str, api_user_id: int, events: str, now_us: int) -> bool:
    """False when there is one of that URL and category."""
    return await tx.run(_ADD, account_id, await tx.next_id("webhook"), url, api_user_id, events, now_us) == 1


async def change(tx: Tx, account_id: int, webhook: Webhook, now_us: int) -> int:
    return await tx.run(_CHANGE, account_id, webhook.id, webhook.url, webhook.api_user_id, webhook.events, now_us)


async def delete(tx: Tx, account_id: int, webhook_ids: Sequence[int]) -> int:
    return await tx.run(_DELETE, account_id, tx.many(webhook_ids))
