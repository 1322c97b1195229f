"""Calls per minute that an API user may make, never more over all nodes together (conventions.md §8).

Called by endpoint. Calls store. A node takes portions of the limit from the store and counts them down in memory, so
that a fast caller costs one transaction in a hundred calls. The window rolls: what was taken longer than a minute ago
counts no more. What a node took and did not use within PORTION_US is lost to the caller, never used twice.
"""

import asyncio
from dataclasses import dataclass, field

from aurorasend.clock import MINUTE, SECOND, Clock
from aurorasend.store import account as rows
from aurorasend.store.tx import Store

PORTIONS = 200  # of a limit: 200 portions a minute are the most that a caller costs the store
PORTION_US = 5 * SECOND
SCOPES = 50_000  # kept in memory


@dataclass(slots=True)
class _Share:
    """What this node may still use of a scope's minute."""

    left: int = 0
    until: int = 0
    empty_until: int = 0  # the store said that nothing is left: asked again a little later
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Allowances:
    """One per process."""

    def __init__(self, store: Store, clock: Clock, worker: int) -> None:
        self._store = store
        self._clock = clock
        self._worker = worker
        self._shares: dict[tuple[int, str], _Share] = {}

    async def use(self, account_id: int, scope: str, limit: int) -> bool:
        """One call of `scope`, of which `limit` are allowed in any minute. False: it is one too many."""
        share = self._shares.get((account_id, scope))
        if share is None:
            if len(self._shares) >= SCOPES:
                self._shares.clear()
            share = self._shares[account_id, scope] = _Share()
        if not self._has(share):
            async with share.asking:
                if not self._has(share):
                    await self._ask(share, account_id, scope, limit)
        if not self._has(share):
            return False
        share.left -= 1
        return True

    def _has(self, share: _Share) -> bool:
        return share.left > 0 and self._clock.now_us() < share.until

    async def _ask(self, share: _Share, account_id: int, scope: str, limit: int) -> None:
        now_us = self._clock.now_us()
        if now_us < share.empty_until:
            return
        portion = max(1, limit // PORTIONS)
        at, wanted = (now_us, now_us - MINUTE), (portion, limit)
        share.left = await self._store.write(
            lambda tx: rows.take_portion(tx, account_id, scope, at, wanted, self._worker)
        )
        share.until = self._clock.now_us() + PORTION_US  # the store may have taken its time
        if share.left == 0:
            share.empty_until = now_us + SECOND // 10
