"""Rows of `suppression`. The rules are in aurorasend.suppression."""

from collections.abc import Sequence

from aurorasend.store.tx import Row, Statement, Tx

_FIND = Statement("SELECT key, list, scope FROM suppression WHERE account_id = $1 AND key IN texts($2) AND expires > $3")
_STRIKES = Statement("SELECT strikes FROM suppression WHERE account_id = $1 AND key = $2 AND list = 'bounce' AND scope = ''")
_PUT = Statement(
    "INSERT INTO suppression (account_id, key, list, scope, strikes, reason, created, expires) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) "
    "ON CONFLICT (account_id, key, list, scope) DO UPDATE SET strikes = excluded.strikes, reason = excluded.reason, "
    "created = excluded.created, expires = excluded.expires"
)
_FORGET = Statement("DELETE FROM suppression WHERE account_id = $1 AND list = 'bounce' AND scope = '' AND key IN texts($2)")


async def find(tx: Tx, account_id: int, keys: Sequence[str], now: int) -> list[Row]:
    """(key, list, scope) of entries that have not expired."""
    return await tx.rows(_FIND, account_id, tx.many(keys), now)


async def strikes(tx: Tx, account_id: int, key: str) -> int:
    """Consecutive "does not exist" bounces so far, expired entries included."""
    row = await tx.row(_STRIKES, account_id, key)
    return int(row[0]) if row else 0


async def put(tx: Tx, row: Row) -> None:
    """(account_id, key, list, scope, strikes, reason, created, expires)"""
    await tx.run(_PUT, *row)


async def forget(tx: Tx, account_id: int, keys: Sequence[str]) -> None:
    await tx.run(_FORGET, account_id, tx.many(keys))
