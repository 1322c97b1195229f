"""Mail that the process which accepts it sends itself: stored as claimed already, and not read again (decision 0017).

Used by submission: before, in and after its transaction. Calls lanes, and through it dispatch. Always: an entry is
stored as claimed only for a lane that is this node's, and only if the node is alive in the same transaction, so that
whoever buries it gives the entry back (design invariant 2); and only under the fence that the process knows, so that
once it has looked for what an acceptance without an answer has claimed, none comes after that.
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
from aurorasend.store.tx import Hot, Tx
from aurorasend.wake import Wake


class Mails(msgspec.Struct):
    """The recipients of one submission. `first` is the id of the first one's entry, the others' follow it; `due` is when
    they are, `places` those that are reserved, for the first of them, and `until` when the claims of these run out."""

    account_id: int
    first: int
    targets: Sequence[Target]
    priority: int
    due: int
    places: Sequence[Place] = ()
    until: int = 0


class Buried(Exception):
    """The node has lost its lease, or what it has is being looked for: it cannot claim anything."""


async def _must_claim(tx: Tx, workers: dict[tuple[int, int], int]) -> None:
    for worker, fence in sorted(workers):
        await nodes.must_claim(tx, worker, fence, Buried())


class Handover:
    """One per process. `lanes` is None where nobody delivers."""

    def __init__(self, lanes: Lanes | None, clock: Clock, settings: Settings, wake: Wake) -> None:
        self._lanes = lanes
        self._clock = clock
        self._wake = wake
        self._lanes_of = settings.delivery.mail_lanes
        self._lane = settings.delivery.mail_lane

    def reserve(self, some: Sequence[Mails]) -> None:
        """Before the transaction: places in lanes that are ours."""
        if self._lanes is not None and self._lanes.open:
            until_us = self._clock.now_us() + HORIZON
            for mails in some:
                mails.places, mails.until = self._reserve(self._lanes, mails), until_us

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

    def works(self, tx: Tx, some: Sequence[Mails]) -> list[Work]:
        """In the transaction: the entries as they are stored. At its end it raises Buried if what has a place is not ours."""
        works: list[Work] = []
        for mails in some:
            if mails.places:
                tx.gather(Hot.NODE, _must_claim)[mails.places[0].worker, mails.places[0].fence] = 1
            for n, (number, target) in enumerate(enumerate(mails.targets, mails.first)):
                if n < len(mails.places):
                    lane, worker, due, tries = mails.places[n].lane.name, mails.places[n].worker, mails.until, 1
                else:
                    lane, worker, due, tries = self._lane(domain_of(target.address), number), 0, mails.due, 0
                works.append(Work(mails.account_id, number, Kind.MAIL, lane, due, mails.priority, number, worker, tries))
        return works

    def begin(self, stored: Sequence[tuple[Mails, Known | None]], *, others: bool, is_doubtful: bool = False) -> None:
        """After the transaction, in which what has places was claimed: `stored` has some, with what delivery need not read of
        it. `others`: it put more into the queue, for whoever is woken. `is_doubtful`: perhaps nothing was stored."""
        used = [
            (place, Claimed(mails.account_id, id_, Kind.MAIL, id_, 1, mails.until), known and Fresh(known, n, mails.targets[n]))
            for mails, known in stored
            for n, (id_, place) in enumerate(enumerate(mails.places, mails.first))
        ]
        if used and self._lanes is not None:
            self._lanes.use(used, is_doubtful=is_doubtful)
        if others:
            self._wake.work_added()

    def give_back(self, some: Sequence[Mails]) -> None:
        """Nothing of them was stored as claimed."""
        for mails in some:
            if self._lanes is not None:
                for place in mails.places:
                    self._lanes.give_back(place)
            mails.places = ()
