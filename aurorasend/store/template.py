"""Rows of email templates. The rules are in aurorasend.template."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from aurorasend.store.tx import Row, Statement, Tx

SEQUENCE = "template"


class Listed(NamedTuple):
    """A template without what can be long. Times are UTC microseconds; `updated` is 0 until something changes."""

    id: int
    invoke_name: str
    name: str
    type: int
    stat: int
    created: int
    updated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which templates a list shows; "" and None do not restrict it."""

    invoke_name: str = ""
    type: int | None = None
    stat: int | None = None


_COLUMNS = "id, invoke_name, name, type, subject, html, text, summary, stat, created, updated"
_LISTED = ", ".join(Listed._fields)
_FILTER = "account_id = $1 AND (invoke_name = $2 OR $2 = '') AND (type = $3 OR $3 IS NULL) AND (stat = $4 OR $4 IS NULL)"

_BY_INVOKE_NAME = Statement(f"SELECT {_COLUMNS} FROM template WHERE account_id = $1 AND invoke_name = $2")
_OF_STAT = Statement(f"SELECT {_COLUMNS} FROM template WHERE account_id = $1 AND type = $2 AND stat = $3")
_LISTED_BY_INVOKE_NAME = Statement(f"SELECT {_LISTED} FROM template WHERE account_id = $1 AND invoke_name = $2")
_EVERY_OF_STAT = Statement(f"SELECT account_id, {_LISTED} FROM template WHERE stat = $1 ORDER BY account_id, id")
_COUNT = Statement("SELECT count(*) FROM template WHERE account_id = $1")
_COUNT_FILTERED = Statement(f"SELECT count(*) FROM template WHERE {_FILTER}")
_PAGE = Statement(f"SELECT {_LISTED} FROM template WHERE {_FILTER} ORDER BY created DESC, id DESC LIMIT $5 OFFSET $6")
_ADD = Statement(
    f"INSERT INTO template (account_id, {_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) "
    "ON CONFLICT (account_id, invoke_name) DO NOTHING"
)
_CHANGE = Statement(
    "UPDATE template SET name = coalesce($3, name), type = coalesce($4, type), subject = coalesce($5, subject), "
    "html = coalesce($6, html), text = coalesce($7, text), summary = coalesce($8, summary), stat = $9, updated = $10 "
    "WHERE account_id = $1 AND id = $2"
)
_SET_STAT = Statement("UPDATE template SET stat = $3, updated = $4 WHERE account_id = $1 AND id = $2")
_DELETE = Statement("DELETE FROM template WHERE account_id = $1 AND id = $2")


async def find(tx: Tx, account_id: int, invoke_name: str) -> Row | None:
    return await tx.row(_BY_INVOKE_NAME, account_id, invoke_name)


async def of_stat(tx: Tx, account_id: int, template_type: int, stat: int) -> list[Row]:
    """All of one type in one state; an account has few (40219)."""
    return await tx.rows(_OF_STAT, account_id, template_type, stat)


async def listed(tx: Tx, account_id: int, invoke_name: str) -> Listed | None:
    row = await tx.row(_LISTED_BY_INVOKE_NAME, account_id, invoke_name)
    return None if row is None else Listed(*row)


async def every_of_stat(tx: Tx, stat: int) -> list[tuple[int, Listed]]:
    """With their accounts' ids: for the operator, who has patience for a scan."""
    return [(row[0], Listed(*row[1:])) for row in await tx.rows(_EVERY_OF_STAT, stat)]


async def count(tx: Tx, account_id: int) -> int:
    row = await tx.row(_COUNT, account_id)
    return 0 if row is None else int(row[0])


async def search(tx: Tx, account_id: int, wanted: Filter, start: int, limit: int) -> tuple[list[Listed], int]:
    """A page of the templates that pass the filter, newest first, and how many there are in all."""
    restricted = (account_id, wanted.invoke_name, wanted.type, wanted.stat)
    total = await tx.row(_COUNT_FILTERED, *restricted)
    found = await tx.rows(_PAGE, *restricted, limit, start) if limit else []
    return [Listed(*row) for row in found], 0 if total is None else int(total[0])


async def add(tx: Tx, account_id: int, row: Sequence[Any]) -> bool:
    """`row` as `find` gives it. False when the account has a template of that invoke name."""
    return await tx.run(_ADD, account_id, *row) == 1


async def change(tx: Tx, account_id: int, template_id: int, rest: Sequence[Any]) -> int:
    """`rest` is name, type, subject, html, text, summary (None keeps what is there), stat, updated."""
    return await tx.run(_CHANGE, account_id, template_id, *rest)


async def set_stat(tx: Tx, account_id: int, template_id: int, stat: int, now_us: int) -> int:
    return await tx.run(_SET_STAT, account_id, template_id, stat, now_us)


async def delete(tx: Tx, account_id: int, template_id: int) -> int:
    return await tx.run(_DELETE, account_id, template_id)
