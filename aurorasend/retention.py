"""What is kept for a while only: content of mail, status and events of recipients (data.md §14, mail.md §17), and where
mail was sent from (conventions.md §3.4).

Called by sweep. Calls store. Always: a transaction removes a bounded number of rows, so nobody waits for it long; nothing
of a request goes while any of its mail is queued; counters and suppression lists stay for ever (data.md §18).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from aurorasend.clock import DAY, SECOND, Clock
from aurorasend.config.settings import Retention
from aurorasend.store import retention as rows
from aurorasend.store import source as sources
from aurorasend.store.retention import Old
from aurorasend.store.tx import Store, Tx

SUBMISSIONS = 200  # looked at at once
ROWS = 2000  # recipients or events removed in one transaction
BYTES = 16 * 1024 * 1024  # of content removed in one transaction
SOURCE_DAYS = 30  # today is one of them
SOURCES = 10_000  # rows of an account, an address on a day each: of who sends from more the first are kept


class Expiry:
    """Removes what is older than the settings say."""

    def __init__(self, store: Store, clock: Clock, keep: Retention) -> None:
        self._store = store
        self._clock = clock
        self._keep = keep

    async def expire(self) -> None:
        now_us = self._clock.now_us()
        content_us, events_us = (now_us - int(each.total_seconds()) * SECOND for each in (self._keep.content, self._keep.events))
        for account_id in await self._store.read(rows.accounts):
            await self._expire_content(account_id, content_us)
            await self._expire_submissions(account_id, events_us)
            await self._expire_events(account_id, events_us)
            await self._expire_sources(account_id, first_source_day(now_us))

    async def _expire_content(self, account_id: int, before_us: int) -> None:
        after, limit = 0, SUBMISSIONS
        while found := await self._store.read(
            partial(rows.with_content, account_id=account_id, after=after, before_us=before_us, limit=limit)
        ):
            after = found[-1].id
            for some in _portions([one for one in found if not one.is_queued], BYTES, lambda one: one.bytes):
                ids = [one.id for one in some]
                await self._store.write(partial(rows.drop_content, account_id=account_id, submission_ids=ids))

    async def _expire_submissions(self, account_id: int, before_us: int) -> None:
        after, limit = (0, 0), SUBMISSIONS
        while found := await self._store.read(
            partial(rows.submissions, account_id=account_id, after=after, before_us=before_us, limit=limit)
        ):
            after = (found[-1].created, found[-1].id)
            for some in _portions([one for one in found if not one.is_queued], ROWS, lambda one: one.recipients):
                await self._drop(account_id, some)

    async def _drop(self, account_id: int, some: Sequence[Old]) -> None:
        """The recipients first: a submission that is there when this is broken off is found again. One that is larger than
        a portion is alone in it."""
        first = some[0]
        for begin in range(first.first_recipient, first.first_recipient + first.recipients - ROWS, ROWS):
            spans = [(begin, begin + ROWS)]
            await self._store.write(partial(rows.drop_recipients, account_id=account_id, spans=spans))
        spans = [(one.first_recipient, one.first_recipient + one.recipients) for one in some]

        async def unit(tx: Tx) -> None:
            await rows.drop_recipients(tx, account_id, spans)
            await rows.drop_submissions(tx, account_id, [one.id for one in some])

        await self._store.write(unit)

    async def _expire_events(self, account_id: int, before_us: int) -> None:
        while found := await self._store.read(partial(rows.events, account_id=account_id, before_us=before_us, limit=ROWS)):
            await self._store.write(partial(rows.drop_events, account_id=account_id, ids=found))

    async def _expire_sources(self, account_id: int, first_day: int) -> None:
        superfluous = partial(sources.superfluous, account_id=account_id, before_day=first_day, most=SOURCES, limit=ROWS)
        while found := await self._store.read(superfluous):
            await self._store.write(partial(sources.drop, account_id=account_id, rows=found))


def first_source_day(now_us: int) -> int:
    """The first day, since 1970 UTC, of which sources are kept."""
    return now_us // DAY - SOURCE_DAYS + 1


def _portions(found: Sequence[Old], most: int, size: Callable[[Old], int]) -> Iterator[list[Old]]:
    """In order, as many at a time as have no more than `most` together, but at least one."""
    portion: list[Old] = []
    for one in found:
        if portion and sum(map(size, portion)) + size(one) > most:
            yield portion
            portion = []
        portion.append(one)
    if portion:
        yield portion
