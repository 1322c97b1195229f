"""Housekeeping: what is no longer needed goes, a little at a time. Nothing here touches work that is not final."""

import asyncio
import logging
from functools import partial

from aurorasend.clock import HOUR, Clock
from aurorasend.codes import Unavailable
from aurorasend.config import Settings
from aurorasend.retention import Expiry
from aurorasend.sandbox import Sandbox
from aurorasend.store import contact as contacts
from aurorasend.store import statistics
from aurorasend.store import submission as rows
from aurorasend.store.tx import Store

log = logging.getLogger(__name__)

EVERY_S = 30.0
STAGED_US = HOUR  # content of a submission whose acceptance did not come; no request lives so long
STAGED_AT_ONCE = 100
MEMBERS_AT_ONCE = 1000
COUNTERS_AT_ONCE = 1000
FOLD_AFTER = 3  # hours; until then most of what will happen to a mail has happened


class Sweeper:
    """One per node with the role `sweep`; several do no harm."""

    def __init__(self, store: Store, clock: Clock, sandbox: Sandbox, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self._sandbox = sandbox
        self._expiry = Expiry(store, clock, settings.retention)
        self._zone_hours = settings.api.zone_hours

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.sweep()
            except Unavailable as error:
                log.warning("not swept, the store is away: %s", error)
            except Exception:  # nobody else would sweep ever again
                log.exception("not swept")

    async def sweep(self) -> None:
        now_us = self._clock.now_us()
        await self._store.write(lambda tx: rows.sweep_staged(tx, now_us - STAGED_US, STAGED_AT_ONCE))
        await self._store.write(lambda tx: rows.sweep_requests(tx, now_us))
        while await self._store.write(lambda tx: contacts.sweep(tx, MEMBERS_AT_ONCE)) is not None:
            pass
        await self._sandbox.trim()
        await self._fold(now_us // HOUR - FOLD_AFTER)
        await self._expiry.expire()

    async def _fold(self, before: int) -> None:
        """Counters of hours (since 1970) before `before` become sums."""
        for account_id in await self._store.read(partial(statistics.to_fold, before=before)):
            fold = partial(
                statistics.fold, account_id=account_id, before=before, zone_hours=self._zone_hours, limit=COUNTERS_AT_ONCE
            )
            while await self._store.write(fold):
                pass
