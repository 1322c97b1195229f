"""Rows of API users as their account manages them. The rules are in aurorasend.api_user; who calls is read in store.account."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from aurorasend.store import schema
from aurorasend.store.tx import Row, Statement, Tx


class ApiUser(NamedTuple):
    """`email_type` is 0 trigger, 1 batch; `tracking_domain_id` 0 and `tracking_host` "" are the system's own. Times are
    UTC microseconds."""

    id: int
    name: str
    sender_id: int
    email_type: int
    is_test: int
    domain_id: int
    domain: str
    tracking_domain_id: int
    tracking_host: str
    tracking_verified: int
    open: int
    click: int
    unsubscribe: int
    unsubscribe_page: int
    permission: str
    notify_email: str
    notify: int
    created: int
    updated: int


_SELECT = (
    "SELECT u.id, u.name, u.sender_id, u.email_type, u.is_test, u.domain_id, d.name, u.tracking_domain_id, coalesce(t.host, ''), coalesce(t.verified, 0), "
    "u.open, u.click, u.unsubscribe, u.unsubscribe_page, u.permission, u.notify_email, u.notify, u.created, u.updated "
    "FROM api_user u JOIN domain d ON d.account_id = u.account_id AND d.id = u.domain_id "
    "LEFT JOIN tracking_domain t ON t.account_id = u.account_id AND t.id = u.tracking_domain_id WHERE u.account_id = $1 AND u.removed = 0"
)
_GET = Statement(f"{_SELECT} AND u.name = $2")
_EVERY = Statement(f"{_SELECT} ORDER BY u.created DESC, u.id DESC")
_COUNT = Statement("SELECT count(*) FROM api_user WHERE account_id = $1 AND is_test = 0 AND removed = 0")
_CHANGE = Statement(
    "UPDATE api_user SET name = $3, sender_id = $4, domain_id = $5, tracking_domain_id = $6, open = $7, click = $8, unsubscribe = $9, "
    "unsubscribe_page = $10, permission = $11, notify_email = $12, notify = $13, updated = $14 WHERE account_id = $1 AND id = $2"
)
_SET_QUIET = Statement("UPDATE api_user SET quiet_begin = $3, quiet_minutes = $4 WHERE account_id = $1 AND name = $2 AND removed = 0")
_QUIET = Statement(
    "SELECT name, quiet_begin, quiet_minutes FROM api_user WHERE account_id = $1 AND quiet_minutes > 0 AND removed = 0 ORDER BY name"
)
_REMOVE = Statement("UPDATE api_user SET removed = $3, enabled = 0, quiet_minutes = 0, updated = $3 WHERE account_id = $1 AND id = $2 AND removed = 0")
_SET_KEY = Statement(
    "UPDATE api_user SET old_key_hash = key_hash, old_key_until = $4, key_hash = $3, updated = $5 WHERE account_id = $1 AND id IN ids($2)"
)
_EVER_NAMED = Statement("SELECT id FROM api_user WHERE account_id = $1 AND name IN texts($2)")
_NEW = (
    "account_id",
    "id",
    "name",
    "email_type",
    "key_hash",
    "sender_id",
    "domain_id",
    "tracking_domain_id",
    "open",
    "click",
    "unsubscribe",
    "unsubscribe_page",
    "permission",
    "notify_email",
    "notify",
    "created",
    "updated",
)


async def get(tx: Tx, account_id: int, name: str) -> ApiUser | None:
    row = await tx.row(_GET, account_id, name)
    return None if row is None else ApiUser(*row)


async def every(tx: Tx, account_id: int) -> list[ApiUser]:
    """All of an account, newest first; it has few (41112)."""
    return [ApiUser(*row) for row in await tx.rows(_EVERY, account_id)]


async def ever_named(tx: Tx, account_id: int, names: Sequence[str] | None) -> Sequence[int] | None:
    """The ids of who has one of `names`, or had it when it was deleted; None for None."""
    return None if names is None else [row[0] for row in await tx.rows(_EVER_NAMED, account_id, tx.many(names))]


async def count(tx: Tx, account_id: int) -> int:
    """How many the account has, test users apart."""
    row = await tx.row(_COUNT, account_id)
    return 0 if row is None else int(row[0])


async def add(tx: Tx, row: Sequence[Any]) -> None:
    """`row` is account, id, name, type, key hash, then what `change` takes after the name, and both times."""
    await tx.insert(schema.api_user, _NEW, [row])


async def change(tx: Tx, account_id: int, user_id: int, *rest: Any) -> int:
    """`rest` is name, sender, domain, tracking domain, open, click, unsubscribe, page, permission, notify email, notify, updated."""
    return await tx.run(_CHANGE, account_id, user_id, *rest)


async def set_quiet(tx: Tx, account_id: int, name: str, begin: int, minutes: int) -> bool:
    """False when there is no such API user."""
    return await tx.run(_SET_QUIET, account_id, name, begin, minutes) == 1


async def quiet(tx: Tx, account_id: int) -> list[Row]:
    """(name, begin, minutes) of those that have quiet hours."""
    return await tx.rows(_QUIET, account_id)


async def remove(tx: Tx, account_id: int, user_id: int, now_us: int) -> int:
    return await tx.run(_REMOVE, account_id, user_id, now_us)


async def set_key(tx: Tx, account_id: int, user_ids: Sequence[int], key_hash: bytes, times: tuple[int, int]) -> int:
    """`times` are the end of the old key, and now."""
    return await tx.run(_SET_KEY, account_id, tx.many(user_ids), key_hash, *times)
