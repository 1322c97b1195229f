"""Finds what is due and hands it to those who work on it, lane by lane, then settles what became of it.

Called by app. Calls queue. The crews (delivery for mail, sms) load and try entries; they know nothing of lanes.
Always: entries are claimed in a committed transaction before anything leaves, no transaction is open meanwhile, and
a result is recorded only if the entry was still ours (design invariant 2). Trigger goes before batch; accounts take
turns within a lane.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Protocol

import msgspec

from aurorasend import queue
from aurorasend.busy import while_busy
from aurorasend.clock import HOUR, SECOND, Clock
from aurorasend.codes import Unavailable, Undone
from aurorasend.lanes import KEYS, Entry, Lane, Lanes
from aurorasend.membership import Membership
from aurorasend.queue import Claimed, Kind, Later, Taken, Wanted
from aurorasend.store import node as nodes
from aurorasend.store.tx import EVER, Store, Tx
from aurorasend.wake import Wake

log = logging.getLogger(__name__)

POLL_S = 1.0  # the safety net under wake-ups (design §4)
COUNT_US = SECOND  # so old may be what is known of other nodes; else the first one up would keep what the second is to have
CROWDED_S = 0.05  # before lanes are counted again
SETTLE = 256  # results in one transaction
COMPANY_S = 0.02  # while the process is busy claims and results wait so long for more of them
RETRY_S = 0.5  # the store was away
DOUBT_S = 10.0  # in doubt about a claim, nothing new is claimed for so long, so that what is under way can end
FAULTY_US = HOUR  # an entry that a fault of ours keeps from being tried is tried again after this
FAULTY_TRIES = 100  # and is parked when it has been tried so often: four days, longer than any mail is tried


def _rank(one: Wanted) -> tuple[str, int, int]:
    """The order in which a put touches hints, and leases are taken: so neither waits for the other for ever."""
    return (one[0].lane, one[0].account_id, one[0].priority)


class Result(msgspec.Struct, frozen=True):
    """What became of a claimed entry. `again` says when it is due once more, None that it is final; `report` is for
    the crew's `record`."""

    claimed: Claimed
    again: Later | None
    report: Any


class Crew(Protocol):
    """Who works on one kind of entry."""

    async def load(self, claimed: Sequence[Claimed], known: Sequence[Any]) -> Sequence[Any]:
        """What an attempt needs to know, for each entry in order; `known` is what whoever stored an entry here has of it, or
        None. Raises Unavailable."""

    async def attempt(self, loaded: Any) -> Result:
        """Try once. What the outside says is in the Result; what is raised is a fault of ours."""

    async def prepare(self, results: Sequence[Result]) -> Any:
        """Before the transaction: take the ids that `record` will need. Raises Unavailable."""

    async def record(self, tx: Tx, results: Sequence[Result], prepared: Any) -> None:
        """Write the reports of entries that were still ours, in the transaction that settles them."""

    async def close(self) -> None:
        """Nothing is tried any more: leave the outside."""


class Dispatcher:
    """One per process that delivers. `run` until cancelled or `drain`."""

    def __init__(
        self, store: Store, clock: Clock, wake: Wake, membership: Membership, crews: dict[Kind, Crew], lanes: Lanes
    ) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake
        self._membership = membership
        self._crews = crews
        self._lanes = lanes
        self._results: deque[tuple[Lane, int, Result]] = deque()
        self._settling: asyncio.Task[None] | None = None
        self._runners: set[asyncio.Task[None]] = set()
        self._beginning: set[asyncio.Task[None]] = set()
        self._in_turn = asyncio.Lock()
        self._draining = False
        lanes.attach(self._begin)

    async def run(self) -> None:
        while not self._draining:
            timeout_s = POLL_S
            try:
                if self._membership.alive:
                    async with self._in_turn:
                        timeout_s = await self._take_turn()
            except Unavailable as error:
                log.warning("nothing claimed, the store is away: %s", error)
                timeout_s = RETRY_S
            except Exception:  # what it claimed comes back by itself; other lanes go on
                log.exception("a turn failed")
                timeout_s = RETRY_S
            await self._wake.wait(timeout_s)
            await while_busy(COMPANY_S)

    async def drain(self, deadline_s: float) -> None:
        """Claim nothing more, and wait for what is under way."""
        self._draining = True
        self._lanes.detach()
        self._wake.work_added()
        try:
            async with asyncio.timeout(deadline_s):
                async with self._in_turn:  # what it is just claiming shall not be tried any more
                    for lane in self._lanes:
                        lane.pending.clear()  # not tried yet: comes back with the farewell
                while self._runners or self._settling or self._beginning:
                    await asyncio.wait({*self._runners, *self._beginning, *([self._settling] if self._settling else [])})
        except TimeoutError:
            log.warning("%d attempts cut off by the stop; they will be repeated", len(self._runners))
            for task in (*self._runners, *self._beginning):
                task.cancel()
        for crew in self._crews.values():
            await crew.close()

    # -- one turn: look, choose, claim, start

    async def _take_turn(self) -> float:
        """Returns the seconds until the next look, if nobody wakes us before."""
        lanes = self._lanes
        lanes.begin_turn()
        for lane in lanes:  # runners end while the lease is in doubt; what they left is ours again
            self._add_runners(lane)
        if lanes.doubt_since is not None and await self._is_doubtful(lanes.doubt_since):
            return POLL_S
        now_us, worker = self._clock.now_us(), lanes.worker

        keys, next_due = await self._store.read(lambda tx: queue.look(tx, worker, now_us, KEYS))
        due = {key.lane for key in keys}
        if lanes.crowded or now_us - self._membership.counted_us > COUNT_US:
            await self._membership.recount()
            lanes.crowded = False
        chosen = lanes.choose(keys)
        idle = lanes.idle(due)
        claimed: list[Taken] = []
        if chosen or idle:
            try:
                claimed = await self._store.write(lambda tx: self._claim(tx, chosen, idle, worker))
            except BaseException as error:
                lanes.missed(chosen)
                if not isinstance(error, Undone):
                    lanes.doubt()
                raise
            lanes.gave_up(idle)
            if any(lane.name in due for lane in idle):
                self._wake.work_added()  # for whoever has room
            elif any(entries for _, entries in claimed):
                self._wake.work_here()  # a key that something was claimed from hid what else it has, which may be due soon
        await self._load_all(lanes.took(keys, chosen, claimed))
        if lanes.crowded:
            return CROWDED_S
        if next_due is None:
            return POLL_S
        return min(POLL_S, max(0.001, (next_due - now_us) / 1e6))

    async def _is_doubtful(self, since: float) -> bool:
        """Give back all that was ours once nothing is under way. True while that is waited for; after DOUBT_S a stalled
        attempt no longer keeps other mail from being claimed, and what the lost claim took waits on."""
        if self._lanes.busy:
            return time.monotonic() - since < DOUBT_S
        await self._membership.renew()
        self._lanes.forget()
        return False

    async def _claim(self, tx: Tx, chosen: Sequence[Wanted], idle: Sequence[Lane], worker: int) -> list[Taken]:
        """The transaction of a turn; it may be run again from the start. A node that was buried and has not noticed yet
        claims nothing: nobody would bury it again, and what it claimed would stay with it."""
        if not await nodes.is_alive(tx, worker):
            return []
        ours = self._lanes.leased if self._lanes.doubt_since is None else set()
        mine: list[Wanted] = []
        for name, wanted in groupby(sorted(chosen, key=_rank), key=lambda one: one[0].lane):
            # In doubt about a claim it may be ours no longer: the claim may have given it up.
            if name in ours or await queue.lease_lane(tx, name, worker):
                mine += wanted
        return await queue.claim(tx, mine, self._clock.now_us(), worker, {lane.name: lane.touched for lane in idle})

    def _begin(self, entries: Sequence[Entry], is_doubtful: bool) -> None:
        """With what was claimed as it was stored (handover), or perhaps was."""
        work = self._find_and_load(entries) if is_doubtful else self._load_all(entries)
        beginning = asyncio.get_running_loop().create_task(work)
        self._beginning.add(beginning)
        beginning.add_done_callback(self._beginning.discard)

    async def _find_and_load(self, entries: Sequence[Entry]) -> None:
        """The answer to the commit was lost: look which are there, as soon as the store answers."""
        ids, worker = [(entry.claimed.account_id, entry.claimed.id) for entry in entries], self._lanes.worker
        while not self._draining and self._lanes.is_ours(entries[0].lane):
            try:
                fence, found = await self._store.write(lambda tx: queue.held(tx, worker, ids))
            except Unavailable as error:
                log.warning("what was perhaps stored is not found yet, the store is away: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            except Exception:  # given up they would be nobody's
                log.exception("what was perhaps stored is not found yet")
                await asyncio.sleep(RETRY_S)
                continue
            self._lanes.fenced(worker, fence)
            for (lane, priority, claimed, _), key in zip(entries, ids, strict=True):
                if key not in found:
                    self._lanes.settled(lane, priority, claimed)
            return await self._load_all([entry for entry, key in zip(entries, ids, strict=True) if key in found])

    async def _load_all(self, entries: Sequence[Entry]) -> None:
        for kind in Kind:
            mine = [entry for entry in entries if entry.claimed.kind is kind]
            if mine:
                await self._load(kind, mine)

    async def _load(self, kind: Kind, mine: Sequence[Entry]) -> None:
        """Entries that cannot be loaded now go back to the queue; so do those that nobody here works on. When that is a
        fault of ours, it is found out which entry meets it, so that only that one waits."""
        crew = self._crews.get(kind)
        loaded: Sequence[Any] = ()
        is_faulty = False
        if crew is not None:
            try:
                loaded = await crew.load([entry.claimed for entry in mine], [entry.known for entry in mine])
            except Unavailable as error:
                log.warning("not loaded, the store is away: %s", error)
            except Exception:
                if len(mine) > 1:
                    for one in mine:
                        await self._load(kind, [one])
                    return
                claimed = mine[0].claimed
                log.exception("entry %d of account %d could not be loaded", claimed.id, claimed.account_id)
                is_faulty = True
        if crew is None or not loaded:
            for lane, priority, claimed, _ in mine:
                again = self._put_off(claimed, is_faulty=is_faulty)
                self._settle_soon(lane, priority, Result(claimed, again, None))
            return
        lanes: dict[str, Lane] = {}
        for (lane, priority, claimed, _), one in zip(mine, loaded, strict=True):
            if self._lanes.is_ours(lane):  # else the lease was lost meanwhile
                lane.pending.setdefault(priority, deque()).append((crew, claimed, one))
                lanes[lane.name] = lane
        for lane in lanes.values():
            self._add_runners(lane)

    def _put_off(self, claimed: Claimed, *, is_faulty: bool) -> Later:
        """Until when an entry that was not tried waits; EVER is for what is parked, until the operator releases it."""
        at = self._clock.now_us() + (FAULTY_US if is_faulty else SECOND)
        if is_faulty and claimed.tries >= FAULTY_TRIES:
            at = EVER
        return Later(claimed, at, counts=is_faulty)

    # -- attempts

    def _add_runners(self, lane: Lane) -> None:
        """As many as there are entries to try: one that is slow must not hold up others. None once we stop: what a turn that
        is not over yet claims comes back with the farewell."""
        if self._draining:
            return
        wanted = min(self._lanes.sizes.runners, lane.trying + sum(map(len, lane.pending.values())))
        while lane.runners < wanted:
            lane.runners += 1
            runner = asyncio.get_running_loop().create_task(self._run_lane(lane, self._lanes.worker))
            self._runners.add(runner)
            runner.add_done_callback(self._runners.discard)

    async def _run_lane(self, lane: Lane, worker: int) -> None:
        """`worker` has it."""
        try:
            while worker == self._membership.worker and self._membership.alive:
                waiting = [priority for priority, some in lane.pending.items() if some]
                if not waiting:
                    return
                priority = min(waiting)
                crew, claimed, one = lane.pending[priority].popleft()
                lane.trying += 1
                try:
                    result = await crew.attempt(one)
                except Exception:  # nobody's bounce: it waits
                    log.exception("entry %d of account %d could not be tried", claimed.id, claimed.account_id)
                    result = Result(claimed, self._put_off(claimed, is_faulty=True), None)
                finally:
                    lane.trying -= 1
                self._settle_soon(lane, priority, result)
        finally:
            lane.runners -= 1

    # -- settling

    def _settle_soon(self, lane: Lane, priority: int, result: Result) -> None:
        self._results.append((lane, priority, result))
        if self._settling is None:
            self._settling = asyncio.get_running_loop().create_task(self._settle_all())

    async def _settle_all(self) -> None:
        try:
            while self._results:
                if len(self._results) < SETTLE:
                    await while_busy(COMPANY_S)
                some = [self._results.popleft() for _ in range(min(SETTLE, len(self._results)))]
                await self._settle(some)
                for lane, priority, result in some:
                    self._lanes.settled(lane, priority, result.claimed)
                if self._lanes.hungry or any(result.again is not None for _, _, result in some):
                    self._wake.work_here()
        finally:
            self._settling = None

    async def _settle(self, some: Sequence[tuple[Lane, int, Result]]) -> None:
        """Until it is done: an outcome that is not recorded would be repeated. What was claimed under a lease that is
        lost meanwhile is dropped: it may be claimed again, even by this process. A final outcome that cannot be recorded
        by a fault of ours parks its entry, since the mail has perhaps arrived."""
        whole = True
        while True:
            worker = self._lanes.worker
            results = [result for lane, _, result in some if self._lanes.is_ours(lane)]
            by_kind = {kind: [r for r in results if r.claimed.kind is kind and r.report is not None] for kind in self._crews}
            try:
                prepared = {kind: await self._crews[kind].prepare(mine) for kind, mine in by_kind.items() if mine}
                return await self._store.write(
                    lambda tx, r=results, w=worker, p=prepared, all_=whole: self._record(tx, r, w, p, whole=all_)  # type: ignore[misc]
                )
            except queue.NotHeld:
                whole = False
            except Unavailable as error:
                log.warning("%d results wait for the store: %s", len(results), error)
                await asyncio.sleep(RETRY_S)
            except Exception:
                if len(some) > 1:  # so that only the guilty one is not recorded
                    for one in some:
                        await self._settle([one])
                    return
                lane, priority, result = some[0]
                claimed = result.claimed
                log.exception("the outcome of an entry cannot be recorded: %s", claimed)
                if result.report is None:
                    return  # it comes back when its claim has run out
                again = result.again or Later(claimed, EVER)
                some = [(lane, priority, Result(claimed, again, None))]

    async def _record(
        self, tx: Tx, results: Sequence[Result], worker: int, prepared: dict[Kind, Any], *, whole: bool
    ) -> None:
        """The transaction. Mostly `worker` holds all; when it does not, it raises NotHeld for a final one if `whole`, and else
        leaves out what others may try again."""
        kept = {(r.claimed.account_id, r.claimed.id) for r in results if r.again is None}
        if whole:
            await queue.finish_all(tx, worker, kept)
        else:
            kept = await queue.finish(tx, worker, kept)
        kept |= await queue.later(tx, worker, [r.again for r in results if r.again is not None])
        for kind, notes in prepared.items():
            mine = [r for r in results if r.claimed.kind is kind and r.report is not None]
            await self._crews[kind].record(tx, [r for r in mine if (r.claimed.account_id, r.claimed.id) in kept], notes)
