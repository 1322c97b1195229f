"""Connections to next hops, kept for a while and shared by all who send there.

Called by delivery; calls smtp_client. Always: at most `per_hop` sessions to one hop at a time, besides such as end; a
message goes to the next hop only when this one cannot have accepted it, never after an ambiguous end; a kept session that
its peer had closed meanwhile is replaced without notice; who waits goes on in a prompt session as soon as the message
before is handed over; what must be encrypted has a session under TLS.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aurorasend.mx import Hop
from aurorasend.outcome import Fate, Outcome, unreachable
from aurorasend.smtp_client import Parcel, Session, Terms, connect
from aurorasend.smtp_wire import TICK_S

SWEEP_S = 1.0
ALONE_S = 3600.0  # a hop that was confused by commands behind a message, or let them wait, gets none for so long
FAREWELL_S = 1.0  # for the answers to QUIT when the pool is closed: what the node gives back waits for it


@dataclass(frozen=True, slots=True)
class Limits:
    """`per_hop` sessions at a time; `per_session` messages, after which many a peer says 421 (0: no limit); idle sessions
    are kept `idle_s` seconds, at most `idle_max` of them in all; a hop that could not be reached is tried last for
    `avoid_s` seconds; who waits for a connection does so `wait_s` seconds."""

    per_hop: int = 8
    per_session: int = 100
    idle_s: float = 10.0  # a peer may close after 5 min (RFC 5321 §4.5.3.2.7), and big ones want their slots back
    idle_max: int = 1000
    avoid_s: float = 60.0
    wait_s: float = 60.0


class NoPlace(Exception):
    """Nothing was tried: no connection was free for `wait_s`. Who waited so long looks whether its mail may still go."""


class _Turn(NamedTuple):
    """Who waits for a slot."""

    encrypted: bool
    until: float  # loop time
    came: asyncio.Future[Session | None]


class Slots:
    """So many at a time; of those that wait the urgent first, and within each kind who came first. Nobody waits longer than
    `wait_s`."""

    def __init__(self, free: int, wait_s: float) -> None:
        self._free = free
        self._wait_s = wait_s
        self._urgent: deque[_Turn] = deque()
        self._others: deque[_Turn] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    async def take(self, parcel: Parcel, urgent: bool) -> Session | None:
        """A slot, perhaps with the session that has it (see `pass_on`). Raises NoPlace."""
        if self._free:
            self._free -= 1
            return None
        turn = _Turn(parcel.encrypted, self._loop.time() + self._wait_s, self._loop.create_future())
        (self._urgent if urgent else self._others).append(turn)
        if self._timer is None:
            self._timer = self._loop.call_at(turn.until, self._look)
        try:
            return await turn.came
        except asyncio.CancelledError:
            if not turn.came.cancelled() and turn.came.exception() is None:  # it was our turn just then
                if (session := turn.came.result()) is not None:
                    session.abort()
                self.give_back()
            raise

    def pass_on(self, session: Session) -> bool:
        """Give the slot of `session`, whose message is handed over, to who is next, who goes on in it at once; False when
        nobody waits, or who is next may not use it."""
        turn = self._next()
        if turn is None or (turn.encrypted and not session.encrypted):
            return False
        turn.came.set_result(session)
        return True

    def give_back(self) -> None:
        turn = self._next()
        if turn is None:
            self._free += 1
        else:
            turn.came.set_result(None)

    def _look(self) -> None:
        """One timer serves all who wait: to set and cancel one for each costs as much as reading a reply."""
        self._timer, now = None, self._loop.time()
        while (turn := self._first_to_end()) is not None and turn.until <= now:
            turn.came.set_exception(NoPlace())
        if turn is not None:
            self._timer = self._loop.call_at(max(turn.until, now + TICK_S), self._look)

    def _first_to_end(self) -> _Turn | None:
        return min(filter(None, map(_head, (self._urgent, self._others))), key=lambda turn: turn.until, default=None)

    def _next(self) -> _Turn | None:
        return _head(self._urgent) or _head(self._others)


def _head(line: deque[_Turn]) -> _Turn | None:
    """Who is first in `line` and still waits."""
    while line and line[0].came.done():
        line.popleft()
    return line[0] if line else None


@dataclass(slots=True)
class _Place:
    """One hop."""

    slots: Slots
    users: int = 0  # holding or waiting for a slot
    idle: list[tuple[float, Session]] = field(default_factory=list)  # since when; the latest last


@dataclass(slots=True)
class _Hold:
    """A slot of `place`, and the session that came with it."""

    place: _Place
    session: Session | None
    ours: bool = True  # not passed on yet


class Pool:
    """All sessions of one kind (`terms`) of one node. Belongs to one event loop; `close` it."""

    def __init__(self, terms: Terms, limits: Limits = Limits()) -> None:
        self._terms = terms
        self._limits = limits
        self._places: dict[Hop, _Place] = {}
        self._avoided: dict[tuple[Hop, bool], float] = {}  # until when; by whether TLS was asked for
        self._confused: dict[Hop, float] = {}  # until when it gets no commands behind a message
        self._idle = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()

    async def send(self, hops: Sequence[Hop], parcel: Parcel, *, urgent: bool = False) -> list[Outcome]:
        """An outcome per recipient, in their order, from the first of `hops` that gives an answer. `urgent`: before others
        that wait for a connection. Raises NoPlace."""
        outcomes: list[Outcome | None] = [None] * len(parcel.recipients)
        left = list(range(len(outcomes)))
        give_up = self._loop.time() + self._terms.timeouts.total_s
        for hop in self._in_order(hops, parcel.encrypted):
            try:
                left = await self._send_to(hop, parcel, (outcomes, left), urgent)
            except NoPlace:
                if not any(outcomes):
                    raise
                break
            if not left or self._loop.time() > give_up:
                break
        return [outcome or unreachable("no next hop") for outcome in outcomes]

    async def close(self) -> None:
        """Leave all idle sessions, and wait FAREWELL_S for their ends. Sessions in use leave when they are done."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        idle = [session for place in self._places.values() for _, session in place.idle]
        for place in self._places.values():
            place.idle.clear()
        for session in idle:
            session.leave()
        try:
            async with asyncio.timeout(FAREWELL_S):
                await asyncio.gather(*(session.left() for session in idle))
        except TimeoutError:
            for session in idle:
                session.abort()

    def _in_order(self, hops: Sequence[Hop], encrypted: bool) -> Sequence[Hop]:
        """Those that lately could not be reached last: else each message would wait for their timeouts again."""
        if not self._avoided:
            return hops
        now = self._loop.time()
        self._avoided = {key: until for key, until in self._avoided.items() if until > now}
        return sorted(hops, key=lambda hop: (hop, encrypted) in self._avoided)

    async def _send_to(
        self, hop: Hop, parcel: Parcel, so_far: tuple[list[Outcome | None], list[int]], urgent: bool
    ) -> list[int]:
        """Try `hop` for the recipients whose numbers are left. Gives those that may be tried at another hop."""
        outcomes, left = so_far
        place = self._places.get(hop)
        if place is None:
            place = self._places[hop] = _Place(Slots(self._limits.per_hop, self._limits.wait_s))
        place.users += 1
        try:
            hold = _Hold(place, await place.slots.take(parcel, urgent))
            try:
                return await self._use(hop, hold, parcel, outcomes, left)
            finally:
                if hold.ours:
                    place.slots.give_back()
        finally:
            place.users -= 1
            if not place.users and not place.idle:
                del self._places[hop]

    async def _use(
        self, hop: Hop, hold: _Hold, parcel: Parcel, outcomes: list[Outcome | None], left: list[int]
    ) -> list[int]:
        kept = hold.session or self._take(hold.place, parcel.encrypted)
        if kept is not None:
            left = await self._transact(kept, hold, parcel, outcomes, left)
            if not left:
                return []
        terms = self._terms.encrypted if parcel.encrypted else self._terms
        got = await connect(hop, terms)  # also instead of a kept session that had ended
        if isinstance(got, Outcome):
            self._avoided[hop, parcel.encrypted] = self._loop.time() + self._limits.avoid_s
            for n in left:
                outcomes[n] = max(outcomes[n] or got, got, key=_telling)
            return left
        return await self._transact(got, hold, parcel, outcomes, left)

    async def _transact(
        self, session: Session, hold: _Hold, parcel: Parcel, outcomes: list[Outcome | None], left: list[int]
    ) -> list[int]:
        """Gives the recipients that the session's end left without an answer of their own. Once the message is handed over
        who is next may go on in its session: then that is theirs, and so is the slot."""

        def handed_over() -> bool:
            is_alone = self._is_worn(session) or self._confused.get(session.peer, 0.0) > self._loop.time()
            if session.may_follow and not is_alone:
                hold.ours = not hold.place.slots.pass_on(session)
            return not hold.ours

        mine = parcel._replace(recipients=[parcel.recipients[n] for n in left]) if len(left) < len(outcomes) else parcel
        for n, outcome in zip(left, await session.send(mine, handed_over), strict=True):
            outcomes[n] = outcome
        if session.confused:
            now = self._loop.time()
            self._confused = {hop: until for hop, until in self._confused.items() if until > now} | {session.peer: now + ALONE_S}
        if hold.ours:
            self._keep(session, hold.place)
        if not session.interrupted or not hold.ours:  # what is said of a session that is passed on is said of who has it now
            return []
        return [n for n in left if outcomes[n].fate is Fate.DEFERRED]  # type: ignore[union-attr]

    def _is_worn(self, session: Session) -> bool:
        return self._closed or 0 < self._limits.per_session <= session.messages

    def _take(self, place: _Place, encrypted: bool) -> Session | None:
        """What is in clear makes room for what must not be, so that there are never more sessions than slots."""
        while place.idle:
            self._idle -= 1
            _, session = place.idle.pop()
            if not session.reusable:
                continue
            if session.encrypted or not encrypted:
                return session
            session.leave()
        return None

    def _keep(self, session: Session, place: _Place) -> None:
        if not session.reusable:
            return
        if self._is_worn(session) or self._idle >= self._limits.idle_max:
            session.leave()
            return
        place.idle.append((self._loop.time(), session))
        self._idle += 1
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Leave the sessions that were idle too long, forget those whose peers left."""
        since = self._loop.time() - self._limits.idle_s
        self._idle = 0
        for hop, place in list(self._places.items()):
            for began, session in place.idle:
                if began <= since:
                    session.leave()
            place.idle = [(began, session) for began, session in place.idle if session.reusable]
            self._idle += len(place.idle)
            if not place.users and not place.idle:
                del self._places[hop]
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep) if self._idle else None


def _telling(outcome: Outcome) -> tuple[bool, bool]:
    """Of several hops that failed: one that may yet work outweighs a refusal, an SMTP reply a mere failure."""
    return outcome.fate is Fate.DEFERRED, outcome.sub_status != 403
