"""Rows of `sms_template`. The rules are in aurorasend.sms_template."""

from collections.abc import Sequence
from typing import Any

from aurorasend.store.schema import sms_template
from aurorasend.store.tx import Row, Statement, Tx

SEQUENCE = "sms_template"
_COLUMNS = ("account_id", "id", "folded", "name", "text", "sign", "sign_position", "sms_type", "stat", "created", "updated")
_FIELDS = "id, name, text, sign, sign_position, sms_type, stat, created, updated"
_FIND = Statement(f"SELECT {_FIELDS} FROM sms_template WHERE account_id = $1 AND id = $2")
_EVERY = Statement(f"SELECT {_FIELDS} FROM sms_template WHERE account_id = $1 ORDER BY created DESC, id DESC")
_NAMED = Statement("SELECT id FROM sms_template WHERE account_id = $1 AND folded = $2")
_CHANGE = Statement(
    "UPDATE sms_template SET folded = $3, name = $4, text = $5, sign = $6, sign_position = $7, sms_type = $8, stat = $9, "
    "updated = $10 WHERE account_id = $1 AND id = $2"
)
_DECIDE = Statement("UPDATE sms_template SET stat = $3, updated = $4 WHERE account_id = $1 AND id = $2")
_REMOVE = Statement("DELETE FROM sms_template WHERE account_id = $1 AND id = $2")


async def find(tx: Tx, account_id: int, template_id: int) -> Row | None:
    """(id, name, text, sign, sign_position, sms_type, stat, created, updated)"""
    return await tx.row(_FIND, account_id, template_id)


async def every(tx: Tx, account_id: int) -> list[Row]:
    """As `find`, the newest first."""
    return await tx.rows(_EVERY, account_id)


async def id_of(tx: Tx, account_id: int, folded: str) -> int | None:
    row = await tx.row(_NAMED, account_id, folded)
    return row[0] if row else None


async def add(tx: Tx, account_id: int, template_id: int, folded: str, rest: Sequence[Any]) -> None:
    """`rest` is name, text, sign, sign_position, sms_type, stat, created, updated."""
    await tx.insert(sms_template, _COLUMNS, [(account_id, template_id, folded, *rest)])


async def change(tx: Tx, account_id: int, template_id: int, folded: str, rest: Sequence[Any]) -> None:
    """`rest` is name, text, sign, sign_position, sms_type, stat, updated."""
    await tx.run(_CHANGE, account_id, template_id, folded, *rest)


async def decide(tx: Tx, account_id: int, template_id: int, stat: int, now_us: int) -> None:
    await tx.run(_DECIDE, account_id, template_id, stat, now_us)


async def remove(tx: Tx, account_id: int, template_id: int) -> None:
    await tx.run(_REMOVE, account_id, template_id)


async def pass_over(tx: Tx, template_id: int) -> None:
    """`template_id` was given by hand: the sequence goes on behind it."""
    first = await tx.next_id(SEQUENCE)
    if first <= template_id:
        await tx.take_ids(SEQUENCE, template_id - first)
