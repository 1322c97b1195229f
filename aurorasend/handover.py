"""Mail that the process which accepts it sends itself: stored as claimed already, and not read again (decision 0017).

Used by submission: before, in and after its transaction. Calls lanes, and through it dispatch. Always: an entry is
stored as claimed only for a lane that is this node's, and only if the node is alive in the same transaction, so that
whoever buries it gives the entry back (design invariant 2).
"""

from collections.abc import Sequence

import msgspec

from aurorasend.clock import Clock
from aurorasend.config import Settings
from aurorasend.content import Target
from aurorasend.event import domain_of
from aurorasend.lanes import Lanes, Place
from aurorasend.letters import Fresh, Known
from aurorasend.queue import HORIZON, Claimed, Kind, Work
from aurorasend.store import node as nodes
from aurorasend.store.tx import Tx
from aurorasend.wake import Wake


class Mails(msgspec.Struct):
    """The recipients of one submission. `first` is the id of the first one's entry, the others' follow it; `due` is when
    they are, `places` those that are reserved, for the first of them."""

    account_id: int
    first: int
    targets: Sequence[Target]
    priority: int
    due: int
    places: Sequence[Place] = ()


class Handover:
    """One per process. `lanes` is None where nobody delivers."""

    def __init__(self, lanes: Lanes | None, clock: Clock, settings: Settings, wake: Wake) -> None:
        self._lanes = lanes
        self._clock = clock
        self._wake = wake
        self._lanes_of = settings.delivery.mail_lanes

    def reserve(self, some: Sequence[Mails]) -> None:
        """Before the transaction: places in lanes that are ours."""
        if self._lanes is not None and self._lanes.open:
            for mails in some:
                mails.places = self._reserve(self._lanes, mails)

    def _reserve(self, lanes: Lanes, mails: Mails) -> list[Place]:
        places: list[Place] = []
        for number, target in enumerate(mails.targets, mails.first):
            names = self._lanes_of(domain_of(target.address))
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                place = lanes.reserve(name, mails.priority)
                if place is not None:
                    places.append(place)
                    break
            else:
                break
        return places

    async def until(self, tx: Tx, some: Sequence[Mails]) -> int | None:
        """In the transaction: when the claims of what has a place run out; None if it cannot be ours."""
        worker = next((mails.places[0].worker for mails in some if mails.places), None)
        if worker is None or not await nodes.is_alive(tx, worker):
            return None
        return self._clock.now_us() + HORIZON

    def works(self, mails: Mails, until_us: int | None) -> list[Work]:
        """The entries as they are stored. A place that nobody claims any more still names the lane."""
        works = []
        for n, target in enumerate(mails.targets):
            number = mails.first + n
            if n < len(mails.places):
                lane, worker = mails.places[n].lane.name, mails.places[n].worker
            else:
                names, worker = self._lanes_of(domain_of(target.address)), 0
                lane = names[number % len(names)]
            due, lease, tries = (until_us, worker, 1) if until_us and worker else (mails.due, 0, 0)
            works.append(Work(mails.account_id, number, Kind.MAIL, lane, due, mails.priority, number, lease, tries))
        return works

    def begin(self, stored: Sequence[tuple[Mails, Known | None]], *, others: bool) -> None:
        """After the transaction, in which what has places was claimed: `stored` has some, with what delivery need not read of
        it. `others`: it put more into the queue, for whoever is woken."""
        used = [
            (place, Claimed(mails.account_id, number, Kind.MAIL, number, 1), known and Fresh(known, n, mails.targets[n]))
            for mails, known in stored
            for n, (number, place) in enumerate(enumerate(mails.places, mails.first))
        ]
        if used and self._lanes is not None:
            self._lanes.use(used)
        if others:
            self._wake.work_added()

    def give_back(self, some: Sequence[Mails], *, is_doubtful: bool = False) -> None:
        """Nothing of them was stored as claimed; or perhaps it was, if `is_doubtful`."""
        if self._lanes is None:
            return
        for mails in some:
            for place in mails.places:
                self._lanes.give_back(place)
            if mails.places and is_doubtful:
                self._lanes.doubt()
            mails.places = ()
