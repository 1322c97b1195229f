"""The lanes that this process works on: which it has, what is under way in each, and for what else there is room.

Used by dispatch, which claims, tries and settles, and by handover, whose mail is claimed as it is stored. Asks membership
only. Always: no more than IN_FLIGHT entries are under way, nothing is claimed for a lane that is being given up, and what
is known to wait goes before what is new.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple

from aurorasend.clock import MINUTE, Clock
from aurorasend.membership import Membership
from aurorasend.queue import HORIZON, Claimed, Key, Priority, Taken, Wanted

KEYS = 512  # (lane, account, priority) of each priority looked at in one turn
IN_FLIGHT = 2048  # entries claimed by this node and not settled; bounds memory
EVERY = max(Priority) + 1  # a priority that no entry has
KEPT_FREE = IN_FLIGHT // 4  # of these, for what is not batch: bulk mail to slow hosts must leave room
LINGER_S = 1.0  # an idle lane is kept for so long


@dataclass(frozen=True, slots=True)
class Sizes:
    """`batch`: entries claimed at once; `window`: entries of one lane and priority that may be under way; `runners`:
    attempts at a time in one lane."""

    batch: int = 64
    window: int = 192
    runners: int = 8


@dataclass(slots=True)
class Lane:
    name: str
    leased: bool = False
    pending: dict[int, deque[tuple[Any, Claimed, Any]]] = field(default_factory=dict)  # by priority; loaded, not tried yet
    in_flight: dict[int, int] = field(default_factory=dict)  # by priority: claimed and not settled
    runners: int = 0
    trying: int = 0  # runners that are in an attempt
    served: dict[tuple[int, int], int] = field(default_factory=dict)  # (account, priority): turn in which it was last served
    touched: set[Key] = field(default_factory=set)
    held: dict[tuple[int, int], int] = field(default_factory=dict)  # (account, entry): claimed and not settled, since when
    idle_since: float = 0.0

    @property
    def busy(self) -> int:
        return sum(self.in_flight.values())


class Place(NamedTuple):
    """Room for one entry in a lane that `worker` has, kept until it is used or given back. It may be claimed under `fence`."""

    lane: Lane
    priority: int
    worker: int
    fence: int


class Entry(NamedTuple):
    """A claimed entry in its lane. `known` is for the crew's `load`: what need not be read, or None."""

    lane: Lane
    priority: int
    claimed: Claimed
    known: Any = None


class Lanes:
    """Of one process. `worker` is the number under which it has them."""

    def __init__(self, clock: Clock, membership: Membership, sizes: Sizes) -> None:
        self._clock = clock
        self._membership = membership
        self.sizes = sizes
        self._lanes: dict[str, Lane] = {}
        self._under_way = 0
        self._turn = 0
        self._closing: set[str] = set()  # lanes that are given up, or are to be
        self._behind: set[tuple[str, int]] = set()  # (lane, priority) in which more is due than was claimed
        self._crammed = EVERY  # from this priority on something is due that there was no room for
        self._begin: Callable[[Sequence[Entry], bool], None] | None = None
        self._choosing = False  # between `choose` and `took`
        self._fence = 0
        self.worker = 0
        self.crowded = False  # a lane that nobody has waits, and our share of those that we knew of is full
        self.doubt_since: float | None = None  # when the answer to a claim was lost: we may hold entries that we do not know

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    @property
    def busy(self) -> bool:
        return self._under_way > 0

    @property
    def hungry(self) -> bool:
        """Whether what is settled makes room for something that is due: the last turn left some, or this one may have, a
        claim is in doubt, or all was given back with the lease."""
        left = bool(self._behind) or self._crammed < EVERY
        return left or self._choosing or self.doubt_since is not None or self.worker != self._membership.worker

    @property
    def leased(self) -> set[str]:
        return {name for name, lane in self._lanes.items() if lane.leased}

    def begin_turn(self) -> None:
        """Nothing that we had is ours when the lease was lost."""
        self._turn += 1
        if self.worker != self._membership.worker:
            self.forget()

    def forget(self) -> None:
        """All was given back, and is others' now or nobody's."""
        self.worker, self._lanes, self._under_way, self.doubt_since = self._membership.worker, {}, 0, None
        self._fence = 0

    def fenced(self, worker: int, fence: int) -> None:
        """Under which `worker` claims from now on."""
        if worker == self.worker:
            self._fence = max(self._fence, fence)

    def is_ours(self, lane: Lane) -> bool:
        return self._lanes.get(lane.name) is lane

    # -- claimed by a turn of dispatch

    def choose(self, keys: Sequence[Key]) -> list[Wanted]:
        """What to claim now. Trigger first; within a lane who was served longest ago. It counts as under way until `took`, or
        `missed`."""
        due = {key.lane for key in keys}
        surplus = self._surplus(due)
        held = len(self._held(due))
        self._crammed = EVERY
        self._choosing = True
        chosen: list[Wanted] = []
        for key in sorted(keys, key=self._order):
            lane = self._lanes.get(key.lane)
            if key.lane in surplus:
                continue
            if lane is None:
                if held >= self._share():
                    self.crowded = True
                    continue
                held += 1
                lane = self._lanes[key.lane] = Lane(key.lane)
            left = self._room(key.priority)
            if left <= 0:
                self._crammed = min(self._crammed, key.priority)
                continue
            count = min(self.sizes.batch, self.sizes.window - lane.in_flight.get(key.priority, 0), left)
            if count < min(self.sizes.batch, left) // 2 or count <= 0:
                continue
            self._add(lane, key.priority, count)
            chosen.append((key, count, self._overdue(lane, key.account_id)))
        return chosen

    def _room(self, priority: int) -> int:
        return IN_FLIGHT - self._under_way - (KEPT_FREE if priority > Priority.TRIGGER else 0)

    def _overdue(self, lane: Lane, account_id: int) -> list[int]:
        """What of an account is held for about as long as a claim lasts, by slow hosts: it must not be claimed again, since
        it would be sent twice."""
        before = self._clock.now_us() - (HORIZON - MINUTE)
        held = takewhile(lambda one: one[1] < before, lane.held.items())  # in the order in which it was claimed
        return [entry_id for (account, entry_id), _ in held if account == account_id]

    def _share(self) -> int:
        """How many lanes this node may hold: while others deliver too, its part of those that have work."""
        if self._membership.nodes == 1:
            return IN_FLIGHT
        return max(1, -(-self._membership.lanes // self._membership.nodes))

    def _held(self, due: set[str]) -> list[str]:
        """Our lanes that have work. Those that are only kept for a while do not count."""
        return sorted(name for name, lane in self._lanes.items() if lane.busy or (lane.leased and name in due))

    def _surplus(self, due: set[str]) -> set[str]:
        """Lanes to let go, so that a node that came later gets some."""
        return set(self._held(due)[self._share() :])

    def _order(self, key: Key) -> tuple[int, int]:
        lane = self._lanes.get(key.lane)
        return (key.priority, 0 if lane is None else lane.served.get((key.account_id, key.priority), 0))

    def idle(self, due: set[str]) -> list[Lane]:
        """Lanes to give up: nothing to do for a while, or more than our share while other nodes live. Until the
        next turn they take nothing new."""
        now_s = time.monotonic()
        surplus = self._surplus(due)
        idle = []
        for lane in self._lanes.values():
            if lane.name in surplus and lane.leased and not lane.busy:
                idle.append(lane)
            elif lane.busy or lane.name in due or not lane.leased:
                lane.idle_since = now_s
            elif now_s - lane.idle_since >= LINGER_S:
                idle.append(lane)
        self._closing = surplus | {lane.name for lane in idle}
        return idle

    def gave_up(self, lanes: Sequence[Lane]) -> None:
        for lane in lanes:
            self._lanes.pop(lane.name, None)

    def took(self, keys: Sequence[Key], chosen: Sequence[Wanted], claimed: Sequence[Taken]) -> list[Entry]:
        """`claimed` is committed, of `chosen`, which was chosen of `keys`."""
        self.missed(chosen)
        taken = {key.lane for key, _ in claimed}
        for name in [n for n, lane in self._lanes.items() if not lane.leased and n not in taken]:
            del self._lanes[name]  # another node was faster
        begun: list[Entry] = []
        for key, entries in claimed:
            lane = self._lanes[key.lane]
            lane.leased = True
            self._add(lane, key.priority, len(entries))
            self._hold(lane, key, entries)
            begun += [Entry(lane, key.priority, one) for one in entries]
        counts = {key: count for key, count, _ in chosen}
        emptied = {key for key, entries in claimed if len(entries) < counts[key]}
        self._behind = {(key.lane, key.priority) for key in keys if key not in emptied}
        if len(keys) >= KEYS:  # perhaps more lanes have something due than were looked at
            self._crammed = min(Priority)
        return begun

    def missed(self, chosen: Sequence[Wanted]) -> None:
        """Nothing of it is under way."""
        self._choosing = False
        for key, count, _ in chosen:
            self._add(self._lanes[key.lane], key.priority, -count)

    def _hold(self, lane: Lane, key: Key, entries: Sequence[Claimed]) -> None:
        lane.touched.add(key)
        lane.served[key.account_id, key.priority] = self._turn
        lane.held.update(dict.fromkeys([(key.account_id, one.id) for one in entries], self._clock.now_us()))

    def _add(self, lane: Lane, priority: int, entries: int) -> None:
        lane.in_flight[priority] = lane.in_flight.get(priority, 0) + entries
        if self.is_ours(lane):
            self._under_way += entries

    def settled(self, lane: Lane, priority: int, claimed: Claimed) -> None:
        self._add(lane, priority, -1)
        lane.held.pop((claimed.account_id, claimed.id), None)

    # -- claimed as it is stored

    def attach(self, begin: Callable[[Sequence[Entry], bool], None]) -> None:
        """Whoever tries mail that was claimed as it was stored, or perhaps was."""
        self._begin = begin

    def detach(self) -> None:
        self._begin = None

    @property
    def open(self) -> bool:
        """Whether anything may be claimed as it is stored."""
        alive = self._membership.alive and self.worker == self._membership.worker
        return alive and self._begin is not None and self.doubt_since is None

    def reserve(self, name: str, priority: int) -> Place | None:
        """A place in lane `name`, if it is ours, to stay so, and little is under way in it; else None, and whoever has the lane
        claims the entry. Ask only while `open`."""
        lane = self._lanes.get(name)
        if lane is None or not lane.leased or name in self._closing or (name, priority) in self._behind:
            return None
        if priority >= self._crammed or lane.in_flight.get(priority, 0) >= self.sizes.batch or self._room(priority) <= 0:
            return None
        self._add(lane, priority, 1)
        lane.idle_since = time.monotonic()
        return Place(lane, priority, self.worker, self._fence)

    def give_back(self, place: Place) -> None:
        """Nothing was stored for it."""
        self._add(place.lane, place.priority, -1)

    def use(self, used: Sequence[tuple[Place, Claimed, Any]], *, is_doubtful: bool) -> None:
        """The entries are committed as claimed, or perhaps so if `is_doubtful`. Those of a lease that is lost meanwhile were
        given back with it, and what nobody tries any more comes back with the farewell."""
        begun: list[Entry] = []
        for place, claimed, known in used:
            if place.worker == self.worker and self.is_ours(place.lane):
                self._hold(place.lane, Key(place.lane.name, claimed.account_id, place.priority), [claimed])
                begun.append(Entry(place.lane, place.priority, claimed, known))
        if begun and self._begin is not None:
            self._begin(begun, is_doubtful)

    def doubt(self) -> None:
        """The answer to a transaction that claims was lost. An earlier doubt stays: only a renewal ends it."""
        if self.doubt_since is None:
            self.doubt_since = time.monotonic()
