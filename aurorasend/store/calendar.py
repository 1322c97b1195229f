"""Rows of appointments. The rules are in aurorasend.calendar."""

from aurorasend.store.tx import Statement, Tx

_SEQUENCE = Statement("SELECT sequence FROM calendar_event WHERE account_id = $1 AND uid = $2")
_ADD = Statement(
    "INSERT INTO calendar_event (account_id, uid, created, updated) VALUES ($1, $2, $3, $3) ON CONFLICT (account_id, uid) DO NOTHING"
)
_MOVE = Statement(
    "UPDATE calendar_event SET sequence = $4, updated = $5 WHERE account_id = $1 AND uid = $2 AND sequence = $3"
)
_REMOVE = Statement("DELETE FROM calendar_event WHERE account_id = $1 AND uid = $2")


async def sequence(tx: Tx, account_id: int, uid: str) -> int | None:
    row = await tx.row(_SEQUENCE, account_id, uid)
    return None if row is None else int(row[0])


async def add(tx: Tx, account_id: int, uid: str, now_us: int) -> bool:
    """With sequence 0. False when the account has it."""
    return await tx.run(_ADD, account_id, uid, now_us) == 1


async def move(tx: Tx, account_id: int, uid: str, between: tuple[int, int], now_us: int) -> bool:
    """Set the sequence from `between[0]` to `between[1]`. False when it is another."""
    return await tx.run(_MOVE, account_id, uid, *between, now_us) == 1


async def remove(tx: Tx, account_id: int, uid: str) -> None:
    await tx.run(_REMOVE, account_id, uid)
