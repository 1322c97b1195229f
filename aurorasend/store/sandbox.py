"""Rows of `sandbox`. The rules are in aurorasend.sandbox."""

from collections.abc import Sequence

from aurorasend.store.schema import sandbox
from aurorasend.store.tx import Row, Statement, Tx

_COLUMNS = ("account_id", "id", "kind", "at", "mail_from", "recipient", "subject", "size", "raw")
_HEAD = "id, kind, at, account_id, mail_from, recipient, subject, size"
_PAGE = Statement(
    f"SELECT {_HEAD} FROM sandbox WHERE $1 = '' OR lower(recipient) LIKE $1 ESCAPE '\\' ORDER BY at DESC, id DESC LIMIT $2 OFFSET $3"
)
_COUNT = Statement("SELECT count(*) FROM sandbox WHERE $1 = '' OR lower(recipient) LIKE $1 ESCAPE '\\'")
_GET = Statement(f"SELECT {_HEAD}, raw FROM sandbox WHERE id = $1")
_CLEAR = Statement("DELETE FROM sandbox")
_OLD = Statement(
    "SELECT account_id, id FROM (SELECT account_id, id, row_number() OVER newest AS place, sum(size) OVER newest AS bytes FROM sandbox "
    "WINDOW newest AS (ORDER BY at DESC, id DESC)) AS numbered WHERE place > $1 OR bytes > $2"
)
_DROP = Statement("DELETE FROM sandbox WHERE account_id = $1 AND id = $2")


async def add(tx: Tx, rows: Sequence[Row]) -> None:
    await tx.insert(sandbox, _COLUMNS, rows)


async def page(tx: Tx, to: str, start: int, limit: int) -> tuple[list[Row], int]:
    pattern = f"%{_escaped(to.lower())}%" if to else ""
    count = await tx.row(_COUNT, pattern)
    return await tx.rows(_PAGE, pattern, limit, start), int(count[0]) if count else 0


async def get(tx: Tx, message_id: int) -> Row | None:
    return await tx.row(_GET, message_id)


async def clear(tx: Tx) -> int:
    return await tx.run(_CLEAR)


async def trim(tx: Tx, keep: int, keep_bytes: int) -> int:
    old = await tx.rows(_OLD, keep, keep_bytes)
    await tx.run_many(_DROP, old)
    return len(old)


def _escaped(text: str) -> str:
    """For LIKE ... ESCAPE '\\'."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
