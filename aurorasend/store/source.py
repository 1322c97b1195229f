"""Rows of the addresses that sends came from. The rules are in aurorasend.source, how long they stay in aurorasend.retention."""

from collections.abc import Sequence
from typing import NamedTuple

from aurorasend.store.tx import Row, Statement, Tx


class Seen(NamedTuple):
    """An address on one day (since 1970, UTC), in the order of its row: the last send, and how many were refused."""

    account_id: int
    day: int
    address: str
    at: int
    refused: int


_ADD = Statement(
    "INSERT INTO request_source (account_id, day, address, at, refused) VALUES ($1, $2, $3, $4, $5) "
    "ON CONFLICT (account_id, day, address) DO UPDATE SET refused = request_source.refused + $5, "
    "at = CASE WHEN request_source.at > $4 THEN request_source.at ELSE $4 END"
)
_OF_ACCOUNT = Statement(
    "SELECT address, max(at), sum(refused) FROM request_source WHERE account_id = $1 AND day >= $2 "
    "GROUP BY address ORDER BY 2 DESC, 1"
)
_OLD = Statement("SELECT day, address FROM request_source WHERE account_id = $1 AND day < $2 ORDER BY day, address LIMIT $3")
_MORE = Statement(
    "SELECT day, address FROM request_source WHERE account_id = $1 ORDER BY day, at, address LIMIT $3 OFFSET $2"
)
_DROP = Statement("DELETE FROM request_source WHERE account_id = $1 AND day = $2 AND address = $3")


async def add(tx: Tx, seen: Sequence[Seen]) -> None:
    """To what is known of their days. No two have the same key."""
    await tx.run_many(_ADD, seen)


async def of_account(tx: Tx, account_id: int, first_day: int) -> list[Row]:
    """(address, last send, refused) since `first_day`, the latest first."""
    return await tx.rows(_OF_ACCOUNT, account_id, first_day)


async def superfluous(tx: Tx, account_id: int, before_day: int, most: int, limit: int) -> list[Row]:
    """(day, address) of up to `limit` from before `before_day`, or when there are none, beyond the `most` that came first: who
    sends from ever more addresses cannot push out where it was sent from before."""
    return await tx.rows(_OLD, account_id, before_day, limit) or await tx.rows(_MORE, account_id, most, limit)


async def drop(tx: Tx, account_id: int, rows: Sequence[Row]) -> None:
    """`rows` are (day, address). They are locked in the order in which `add` does it."""
    await tx.run_many(_DROP, [(account_id, *row) for row in sorted(rows)])
