"""Rows of `node` and `lane`: which processes live, and who works on which lane."""

from aurorasend.store.tx import Statement, Tx

_ADD = Statement("INSERT INTO node (id, host, delivers, started, until) VALUES ($1, $2, $3, $4, $5)")
_KEEP = Statement("UPDATE node SET until = $2 WHERE id = $1 AND until > 0")
_ALIVE = Statement(
    sqlite="SELECT 1 FROM node WHERE id = $1 AND until > 0",
    postgres="SELECT 1 FROM node WHERE id = $1 AND until > 0 FOR SHARE",  # a burial waits until this transaction ends
)
_MAY_CLAIM = Statement(
    sqlite="SELECT 1 FROM node WHERE id = $1 AND until > 0 AND fence = $2",
    postgres="SELECT 1 FROM node WHERE id = $1 AND until > 0 AND fence = $2 FOR SHARE",
)
_FENCE = Statement("UPDATE node SET fence = fence + 1 WHERE id = $1 AND until > 0 RETURNING fence")
_SHARE = Statement("SELECT (SELECT count(*) FROM node WHERE until > $1 AND delivers = 1), (SELECT count(DISTINCT lane) FROM ready)")
_DEAD = Statement("SELECT id FROM node WHERE until > 0 AND until <= $1")
_OF_HOST = Statement("SELECT id FROM node WHERE until > 0 AND host = $1")
_BURY = Statement("UPDATE node SET until = 0 WHERE id = $1 AND until > 0")
_BURY_DEAD = Statement("UPDATE node SET until = 0 WHERE id = $1 AND until > 0 AND until <= $2")
_LANES = Statement("SELECT name FROM lane WHERE node = $1")
_KEYS = Statement("SELECT account_id, priority FROM ready WHERE lane = $1")
_RETURN = Statement(
    "UPDATE work SET lease = 0, due = $4 WHERE lane = $1 AND account_id = $2 AND priority = $3 AND due > $4 AND lease = $5"
)
_HINT = Statement("UPDATE ready SET next_due = $2 WHERE lane = $1 AND next_due > $2")
_FREE = Statement("DELETE FROM lane WHERE node = $1")


async def add(tx: Tx, host: str, delivers: bool, now_us: int, until_us: int) -> int:
    """A new worker number for a process on `host` (text that tells its machine and data directory)."""
    number = await tx.next_id("worker")
    await tx.run(_ADD, number, host, int(delivers), now_us, until_us)
    return number


async def keep(tx: Tx, node: int, until_us: int) -> bool:
    """Prolong the lease of `node`; False when it ended and its work was given back."""
    return await tx.run(_KEEP, node, until_us) == 1


async def is_alive(tx: Tx, node: int) -> bool:
    """False when `node` was buried. On PostgreSQL nobody can do that before this transaction ends."""
    return await tx.row(_ALIVE, node) is not None


async def must_claim(tx: Tx, node: int, fence: int, otherwise: Exception) -> None:
    """Raise `otherwise` when `node` was buried, or has another fence by now. On PostgreSQL neither happens before this
    transaction ends."""
    await tx.must(_MAY_CLAIM, node, fence, rows=1, otherwise=otherwise)


async def fence_off(tx: Tx, node: int) -> int | None:
    """Give `node` its next fence: of the transactions that claim under an earlier one those that have asked are over, and
    all others, be they begun or only under way to the store, will do nothing. None when it was buried."""
    row = await tx.row(_FENCE, node)
    return None if row is None else int(row[0])


async def share(tx: Tx, now_us: int) -> tuple[int, int]:
    """(live nodes that deliver, lanes that have any work)"""
    row = await tx.row(_SHARE, now_us)
    assert row is not None
    return int(row[0]), int(row[1])


async def dead(tx: Tx, now_us: int) -> list[int]:
    """Nodes whose lease ended without a farewell."""
    return [row[0] for row in await tx.rows(_DEAD, now_us)]


async def of_host(tx: Tx, host: str) -> list[int]:
    """Nodes of `host` that said no farewell; their lock files tell which of them still run."""
    return [row[0] for row in await tx.rows(_OF_HOST, host)]


async def bury_dead(tx: Tx, node: int, now_us: int) -> bool:
    """Bury `node` if its lease has ended by now. False when it was prolonged, or another buried it before."""
    return await tx.run(_BURY_DEAD, node, now_us) == 1 and await _give_back(tx, node, now_us)


async def bury(tx: Tx, node: int, now_us: int) -> bool:
    """Give back all that `node` had leased, however long it would have lasted. False when another did it before."""
    return await tx.run(_BURY, node) == 1 and await _give_back(tx, node, now_us)


async def _give_back(tx: Tx, node: int, now_us: int) -> bool:
    for (lane,) in await tx.rows(_LANES, node):
        for account_id, priority in await tx.rows(_KEYS, lane):
            await tx.run(_RETURN, lane, account_id, priority, now_us, node)
        await tx.run(_HINT, lane, now_us)
    await tx.run(_FREE, node)
    return True
