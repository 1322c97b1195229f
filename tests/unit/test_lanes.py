"""What a process may claim as it stores it."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import pytest

from aurorasend import lanes as module
from aurorasend.clock import ManualClock
from aurorasend.dispatch import Dispatcher, Result
from aurorasend.lanes import KEPT_FREE, Entry, Lanes, Place, Sizes
from aurorasend.membership import Membership
from aurorasend.queue import Claimed, Key, Kind, Priority
from aurorasend.store.tx import Store
from aurorasend.wake import Alone, Wake

TRIGGER, BATCH = Priority.TRIGGER, Priority.BATCH
HELD = Key("held", 1, TRIGGER)


class Member:
    """As much of a Membership as lanes ask for."""

    def __init__(self) -> None:
        self.alive, self.worker, self.nodes, self.lanes = True, 7, 1, 0


class World:
    def __init__(self) -> None:
        self.member = Member()
        self.lanes = Lanes(ManualClock(), cast(Membership, self.member), Sizes(batch=3, window=9, runners=2))
        self.begun: list[Entry] = []
        self.lanes.attach(self._begin)
        self.turn([HELD], entries=0)

    def _begin(self, entries: Sequence[Entry], is_doubtful: bool) -> None:
        assert not is_doubtful
        self.begun += entries

    def turn(self, keys: Sequence[Key], entries: int) -> None:
        """A turn of dispatch that finds `keys` and claims so many `entries` of each that it chooses."""
        self.lanes.begin_turn()
        chosen = self.lanes.choose(keys)
        self.lanes.gave_up(self.lanes.idle({key.lane for key in keys}))
        self.lanes.took(keys, chosen, [(key, [claimed(100 + n) for n in range(entries)]) for key, _, _ in chosen])

    def reserve(self, number: int, lane: str = "held", priority: int = TRIGGER) -> list[Place]:
        found = [self.lanes.reserve(lane, priority) for _ in range(number)] if self.lanes.open else []
        return [place for place in found if place is not None]


def claimed(entry_id: int) -> Claimed:
    return Claimed(1, entry_id, Kind.MAIL, entry_id, 1, 0)


@pytest.fixture
async def world() -> World:
    return World()


async def test_only_a_lane_that_is_ours_has_places(world: World) -> None:
    assert len(world.reserve(1)) == 1
    assert world.reserve(1, lane="another") == []


async def test_no_more_than_a_batch_of_a_priority(world: World) -> None:
    places = world.reserve(5)
    assert len(places) == 3
    assert len(world.reserve(5, priority=BATCH)) == 3
    world.lanes.give_back(places[0])
    assert len(world.reserve(5)) == 1


async def test_what_waits_goes_before_what_is_new(world: World) -> None:
    world.turn([HELD], entries=3)  # as many as were asked for: there may be more
    for entry in range(3):
        lane = next(iter(world.lanes))
        world.lanes.settled(lane, TRIGGER, claimed(100 + entry))
    assert world.reserve(1) == []
    assert len(world.reserve(1, priority=BATCH)) == 1
    world.turn([HELD], entries=0)
    assert len(world.reserve(1)) == 1


async def test_what_is_settled_is_news_only_where_something_waits(world: World) -> None:
    told = [world.lanes.hungry]
    for entries in (3, 2):  # as many as were asked for, and fewer
        world.turn([HELD], entries=entries)
        told.append(world.lanes.hungry)
    world.lanes.doubt()
    assert [*told, world.lanes.hungry] == [False, True, False, True]


async def test_what_is_settled_is_news_where_a_lane_found_no_room_or_the_lease_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IN_FLIGHT", 2)
    world.reserve(2)
    world.turn([Key("other", 1, TRIGGER)], entries=0)
    world.lanes._behind.clear()  # of it alone
    told = [world.lanes.hungry]
    world.turn([], entries=0)
    told.append(world.lanes.hungry)
    world.member.worker += 1
    assert [*told, world.lanes.hungry] == [True, False, True]


async def test_what_is_settled_during_a_turn_is_news(world: World) -> None:
    """It may make the room that the turn did not find."""
    world.lanes.begin_turn()
    told = [world.lanes.hungry]
    chosen = world.lanes.choose([HELD])
    told.append(world.lanes.hungry)
    world.lanes.took([HELD], chosen, [(HELD, [])])
    told.append(world.lanes.hungry)
    chosen = world.lanes.choose([HELD])
    world.lanes.missed(chosen)
    assert [*told, world.lanes.hungry] == [False, True, False, False]


async def test_an_account_that_finds_no_room_is_not_passed_by_another(world: World) -> None:
    places = world.reserve(3)
    world.turn([HELD, Key("held", 2, TRIGGER)], entries=3)
    world.turn([Key("held", 3, TRIGGER)], entries=3)  # no room in the window
    for place in places:
        world.lanes.give_back(place)
    assert world.reserve(1) == []


async def test_more_lanes_than_are_looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEYS", 2)
    world.turn([Key("one", 1, BATCH), Key("two", 1, BATCH)], entries=0)
    assert world.reserve(1) == []
    world.turn([], entries=0)
    assert len(world.reserve(1)) == 1


async def test_a_lane_that_finds_no_room_is_not_passed_by_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trigger mail goes on when it is batch mail that found none."""
    monkeypatch.setattr(module, "IN_FLIGHT", KEPT_FREE + 2)
    places = world.reserve(2, priority=BATCH)
    world.turn([Key("other", 1, BATCH)], entries=0)
    for place in places:
        world.lanes.give_back(place)
    assert world.reserve(1, priority=BATCH) == []
    assert len(world.reserve(1)) == 1
    world.turn([Key("other", 1, BATCH)], entries=0)
    assert len(world.reserve(1, priority=BATCH)) == 1


async def test_what_is_being_claimed_is_under_way(world: World) -> None:
    world.lanes.begin_turn()
    chosen = world.lanes.choose([HELD])
    assert [count for _, count, _ in chosen] == [3]
    assert world.reserve(1) == []
    world.lanes.missed(chosen)
    assert len(world.reserve(5)) == 3


async def test_bulk_mail_leaves_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IN_FLIGHT", KEPT_FREE + 1)
    assert len(world.reserve(2, priority=BATCH)) == 1
    assert len(world.reserve(2)) == 2


async def test_a_lane_that_is_given_up_has_none(world: World) -> None:
    world.lanes.begin_turn()
    next(iter(world.lanes)).idle_since = time.monotonic() - 10
    idle = world.lanes.idle(set())
    assert [lane.name for lane in idle] == ["held"]
    assert world.reserve(1) == []


async def test_a_place_keeps_the_lane(world: World) -> None:
    next(iter(world.lanes)).idle_since = time.monotonic() - 10
    (place,) = world.reserve(1)
    world.lanes.give_back(place)
    assert world.lanes.idle(set()) == []  # it lingers from now on
    (place,) = world.reserve(1)
    place.lane.idle_since = time.monotonic() - 10
    assert world.lanes.idle(set()) == []


async def test_lanes_beyond_our_share_have_none(world: World) -> None:
    other = Key("other", 1, TRIGGER)
    world.turn([HELD, other], entries=1)
    world.member.nodes, world.member.lanes = 2, 2
    world.turn([HELD, other], entries=0)
    assert len(world.reserve(1)) == 1
    assert world.reserve(1, lane="other") == []


async def test_nothing_while_a_claim_is_in_doubt_or_the_lease_is_lost_or_nobody_delivers(world: World) -> None:
    world.member.alive = False
    assert not world.lanes.open
    world.member.alive, world.member.worker = True, 8
    assert not world.lanes.open
    world.member.worker = 7
    assert world.lanes.open
    world.lanes.doubt()
    assert not world.lanes.open
    world.lanes.doubt_since = None
    world.lanes.detach()
    assert not world.lanes.open


async def test_an_earlier_doubt_stays(world: World) -> None:
    world.lanes.doubt()
    since = world.lanes.doubt_since
    await asyncio.sleep(0.02)
    world.lanes.doubt()
    assert world.lanes.doubt_since == since


async def test_what_is_used_is_tried_and_held(world: World) -> None:
    (place,) = world.reserve(1)
    world.lanes.use([(place, claimed(5), None)], is_doubtful=False)
    assert world.begun == [Entry(place.lane, TRIGGER, claimed(5))]
    assert list(place.lane.held) == [(1, 5)]
    assert HELD in place.lane.touched
    assert world.lanes.busy
    world.lanes.settled(place.lane, TRIGGER, claimed(5))
    assert not world.lanes.busy
    assert place.lane.held == {}


async def test_what_was_stored_under_a_lost_lease_is_left(world: World) -> None:
    (place,) = world.reserve(1)
    world.member.worker = 8
    world.lanes.begin_turn()
    world.lanes.use([(place, claimed(5), None)], is_doubtful=False)
    assert world.begun == []
    world.lanes.give_back(place)
    assert not world.lanes.busy
    world.turn([HELD], entries=1)
    assert world.lanes.busy




class Crew:
    def __init__(self) -> None:
        self.tried: list[Claimed] = []

    async def attempt(self, one: Claimed) -> Result:
        self.tried.append(one)
        return Result(one, None, None)


async def test_a_runner_of_a_lost_lease_tries_nothing_under_the_next_one(world: World) -> None:
    """The load ends and the turn that notices begins before the runner does."""
    crew: Any = Crew()
    member = cast(Membership, world.member)
    dispatcher = Dispatcher(cast(Store, None), ManualClock(), Wake(Alone()), member, {Kind.MAIL: crew}, world.lanes)
    (place,) = world.reserve(1)
    world.member.worker = 8
    place.lane.pending[TRIGGER] = deque([(crew, claimed(7), claimed(7))])
    dispatcher._add_runners(place.lane)
    world.lanes.begin_turn()
    await asyncio.sleep(0.01)
    assert crew.tried == []
    assert dispatcher._runners == set()
