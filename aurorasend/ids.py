"""Numbers for hot rows, taken from the store in blocks, so that a node need not ask for each."""

import asyncio

from aurorasend.store.tx import Store

BLOCK = 20_000
SEQUENCE = "row"  # recipients, work, events, submissions, SMS: one sequence, so that an id names one thing in an account


class Ids:
    """One per process. What is left of a block at its end is never used."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._next = 0
        self._end = 0
        self._refill = asyncio.Lock()

    async def take(self, count: int) -> int:
        """The first of `count` consecutive ids. Raises Unavailable."""
        while self._next + count > self._end:
            async with self._refill:
                if self._next + count > self._end:
                    await self._take_block(max(BLOCK, count))
        first, self._next = self._next, self._next + count
        return first

    async def _take_block(self, size: int) -> None:
        first = await self._store.write(lambda tx: tx.take_ids(SEQUENCE, size))
        self._next, self._end = first, first + size
