"""Rows of inbound routes. The rules are in aurorasend.inbound_route."""

from typing import NamedTuple

from aurorasend.store.tx import Statement, Tx


class InboundRoute(NamedTuple):
    """`action` is a URL, or an address when `api_user_id` is not 0; `api_user` is "" then."""

    id: int
    domain: str
    expression: str
    action: str
    api_user_id: int
    api_user: str


class NewRoute(NamedTuple):
    """`key` is the expression as it is compared with others."""

    domain: str
    expression: str
    key: str
    action: str
    api_user_id: int


_SELECT = (
    "SELECT r.id, r.domain, r.expression, r.action, r.api_user_id, coalesce(u.name, '') FROM inbound_route r "
    "LEFT JOIN api_user u ON u.account_id = r.account_id AND u.id = r.api_user_id WHERE r.account_id = $1"
)
_GET = Statement(f"{_SELECT} AND r.id = $2")
_COUNT = Statement("SELECT count(*) FROM inbound_route WHERE account_id = $1")
_COUNT_LIKE = Statement("SELECT count(*) FROM inbound_route WHERE account_id = $1 AND domain LIKE $2 ESCAPE '!'")
_PAGE = Statement(f"{_SELECT} AND r.domain LIKE $2 ESCAPE '!' ORDER BY r.created DESC, r.id DESC LIMIT $3 OFFSET $4")
_ADD = Statement(
    "INSERT INTO inbound_route (account_id, id, domain, expression, key, action, api_user_id, created, updated) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) ON CONFLICT (account_id, key) DO NOTHING"
)
_OF_KEY = Statement("SELECT id FROM inbound_route WHERE account_id = $1 AND key = $2")
_CHANGE = Statement(
    "UPDATE inbound_route SET domain = $3, expression = $4, key = $5, action = $6, api_user_id = $7, updated = $8 WHERE account_id = $1 AND id = $2"
)
_DELETE = Statement("DELETE FROM inbound_route WHERE account_id = $1 AND id = $2")


async def get(tx: Tx, account_id: int, route_id: int) -> InboundRoute | None:
    row = await tx.row(_GET, account_id, route_id)
    return None if row is None else InboundRoute(*row)


async def count(tx: Tx, account_id: int) -> int:
    row = await tx.row(_COUNT, account_id)
    return 0 if row is None else int(row[0])


async def search(tx: Tx, account_id: int, domain: str, start: int, limit: int) -> tuple[list[InboundRoute], int]:
    """A page of those whose domain holds `domain`, newest first, and how many there are in all."""
    pattern = "%" + domain.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_") + "%"
    total = await tx.row(_COUNT_LIKE, account_id, pattern)
    found = await tx.rows(_PAGE, account_id, pattern, limit, start) if limit else []
    return [InboundRoute(*row) for row in found], 0 if total is None else int(total[0])


async def of_key(tx: Tx, account_id: int, key: str) -> int | None:
    """The id of the route of that expression."""
    row = await tx.row(_OF_KEY, account_id, key)
    return None if row is None else int(row[0])


async def add(tx: Tx, account_id: int, new: NewRoute, now_us: int) -> int | None:
    """The new one's id, None when there is one of that expression."""
    route_id = await tx.next_id("inbound_route")
    return route_id if await tx.run(_ADD, account_id, route_id, *new, now_us) else None


async def change(tx: Tx, account_id: int, route_id: int, to: NewRoute, now_us: int) -> int:
    return await tx.run(_CHANGE, account_id, route_id, *to, now_us)


async def delete(tx: Tx, account_id: int, route_id: int) -> int:
    return await tx.run(_DELETE, account_id, route_id)
