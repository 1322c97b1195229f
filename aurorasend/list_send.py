"""List sends: one mail to each member of an address list (mail.md §3), made from a few members at a time.

`find` and `add` are called by submission, which accepts a list send in its transaction; `Expansion` is the crew that
dispatch hands it to, on nodes that deliver. Calls store, event and queue. Always: the recipients of a batch, their queue
entries, the request events and the place that was reached are one transaction, and it moves only from the place where the
batch was read. So a crash, or two nodes at the same send, neither lose nor repeat a member. Memory holds two batches.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec

from aurorasend import contact
from aurorasend.clock import MINUTE, SECOND, Clock
from aurorasend.codes import Code, Refused, Unavailable
from aurorasend.config import Settings
from aurorasend.dispatch import Result
from aurorasend.event import Event, Kind, Origin, domain_of, record
from aurorasend.ids import Ids
from aurorasend.queue import Claimed, Later, Priority, Work, hasten, put
from aurorasend.queue import Kind as WorkKind
from aurorasend.quiet import Quiet
from aurorasend.store import contact as lists
from aurorasend.store import list_send as rows
from aurorasend.store import submission as submissions
from aurorasend.store.contact import AddressList
from aurorasend.store.list_send import ListSend
from aurorasend.store.tx import Row, Store, Tx
from aurorasend.wake import Wake

log = logging.getLogger(__name__)

EVENT = 100  # recipients of one request event, events.md §6
TURN_US = SECOND  # how long one attempt goes on; then other work of the node may have the lane
PAUSED_US = MINUTE  # a paused send looks so often whether it still is
FAULT_US = 30 * SECOND  # after a fault of ours
MOST_FAULTS = 10
RECIPIENT = "recipient"  # the variable that a member's address is


class State(IntEnum):
    """Of a list send; the words are those of mail/taskinfo (mail.md §6a)."""

    WAITING = 0
    RUNNING = 1
    DONE = 2
    FAILED = 3

    @property
    def words(self) -> str:
        return ("Waiting for the request", "Requesting", "Completion of the request", "Request failed")[self]


# -- accepting


@dataclass(frozen=True, slots=True)
class Begun:
    """The ids of one list send of a request: its own, and what its mails belong to."""

    id: int
    submission_id: int
    message_id: str


async def find(tx: Tx, account_id: int, aliases: Sequence[str]) -> tuple[AddressList, ...]:
    """The lists, in order. Raises Refused: 40863 unknown, 40255 without members."""
    found = []
    for alias in aliases:
        one = await lists.find(tx, account_id, alias.lower())
        if one is None:
            raise Refused(Code.LIST_ALIAS_UNKNOWN, alias)
        found.append(one)
    if not all(one.members for one in found):
        raise Refused(Code.ADDRESS_LIST_WITHOUT_MEMBERS)
    return tuple(found)


async def add(tx: Tx, caller: tuple[int, int], begun: Sequence[tuple[Begun, AddressList, str]], now_us: int) -> None:
    """Store sends of `caller` = (account, API user) that are to be made, each to a list and to other addresses, one a line."""
    account_id, user_id = caller
    await rows.add(
        tx,
        [
            (account_id, one.id, user_id, one.submission_id, to.id, to.address, to.members, others, now_us, now_us)
            for one, to, others in begun
        ],
    )
    lane = f"list:{account_id}"
    works = [
        Work(account_id, one.submission_id, WorkKind.LIST, lane, now_us, Priority.BATCH, one.id) for one, _, _ in begun
    ]
    await put(tx, works)


async def get(tx: Tx, account_id: int, api_user_id: int, send_id: int) -> ListSend:
    """Raises Refused: 40252 unknown, 6001 of another API user (mail.md §6a)."""
    found = await rows.get(tx, account_id, send_id)
    if found is None:
        raise Refused(Code.TASK_UNKNOWN)
    if found.api_user_id != api_user_id:
        raise Refused(Code.NOT_PERMITTED)
    return found


async def pause(tx: Tx, account_id: int, send_id: int) -> bool:
    """Make no further mails of it; those already made go out. False when there is no such send."""
    return await rows.pause(tx, account_id, send_id, 1)


async def resume(tx: Tx, account_id: int, send_id: int, now_us: int) -> bool:
    """Go on where it was paused. False when there is no such send."""
    found = await rows.get(tx, account_id, send_id)
    if found is None:
        return False
    await hasten(tx, account_id, found.submission_id, now_us)
    return await rows.pause(tx, account_id, send_id, 0)


# -- making the mails


@dataclass(frozen=True, slots=True)
class _Batch:
    """The next part of `send`, ready to be stored: the member reached with it, the state after it, and all rows."""

    send: ListSend
    at: int  # microseconds
    reached: int
    state: State
    recipients: list[Row]
    works: list[Work]
    events: list[Event]

    @property
    def after(self) -> ListSend:
        """The send when this is stored."""
        return self.send._replace(reached=self.reached, done=self.send.done + len(self.recipients), state=self.state)


class Expansion:
    """The crew that makes recipients of list sends (dispatch.Crew)."""

    def __init__(self, store: Store, clock: Clock, ids: Ids, settings: Settings, wake: Wake) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._lane = settings.delivery.mail_lane
        self._step = settings.address_list.step
        self._wake = wake

    async def load(self, claimed: Sequence[Claimed], known: Sequence[object]) -> Sequence[Claimed]:
        return claimed

    async def attempt(self, loaded: Claimed) -> Result:
        """Work on a send for a while. What remains waits in the queue, like what could not be done now."""
        try:
            wait_us = await self._go_on(loaded)
        except Unavailable as error:
            log.warning("list send %d waits, the store is away: %s", loaded.ref, error)
            wait_us = SECOND
        except Exception:
            log.exception("list send %d of account %d could not go on", loaded.ref, loaded.account_id)
            return await self._after_fault(loaded)
        if wait_us is None:
            return Result(loaded, None, None)
        return self._again(loaded, wait_us)

    async def prepare(self, results: Sequence[Result]) -> None:
        """Nothing is reported: what a turn did is recorded as it does it."""

    async def record(self, tx: Tx, results: Sequence[Result], prepared: Any) -> None:
        """See `prepare`."""

    async def close(self) -> None:
        """Nothing is held."""

    def _again(self, claimed: Claimed, wait_us: int) -> Result:
        return Result(claimed, Later(claimed, self._clock.now_us() + wait_us, counts=False), None)

    async def _after_fault(self, claimed: Claimed) -> Result:
        """Try again, but not for ever. Faults are counted in the send: the tries of its entry are also those of nodes that
        were killed."""
        account_id, send_id, now_us = claimed.account_id, claimed.ref, self._clock.now_us()

        async def is_the_last(tx: Tx) -> bool:
            if await rows.add_fault(tx, account_id, send_id) < MOST_FAULTS:
                return False
            await rows.end(tx, account_id, send_id, State.FAILED, now_us)
            return True

        try:
            ends = await self._store.write(is_the_last)
        except Unavailable:
            ends = False
        return Result(claimed, None, None) if ends else self._again(claimed, FAULT_US)

    async def _go_on(self, claimed: Claimed) -> int | None:
        """Make mails for a turn. Microseconds after which to go on, or None when the send is over."""
        send, batch = await self._look(claimed)
        ends_us = self._clock.now_us() + TURN_US  # from here on, so that a slow store keeps no turn from storing anything
        while send is not None and send.state not in (State.DONE, State.FAILED):
            if send.paused:
                return PAUSED_US
            if self._clock.now_us() >= ends_us:
                return 0
            if batch is None:
                await self._store.write(lambda tx, s=send: self._begin(tx, s))  # type: ignore[misc]
                send, batch = await self._look(claimed)
                continue
            # The next one is made while this one is stored, and is of use only when this one was.
            moved = self._store.write(lambda tx, b=batch: _store(tx, b))  # type: ignore[misc]
            stored, (send, batch) = await asyncio.gather(moved, self._look(claimed, batch.after))
            if stored:
                self._wake.work_added()
            else:
                send, batch = await self._look(claimed)
        return None

    async def _look(self, claimed: Claimed, known: ListSend | None = None) -> tuple[ListSend | None, _Batch | None]:
        """Where the send is, if it is not `known`; and if it can go on, what comes next."""
        first_event = await self._ids.take(self._step // EVENT + 2)  # as many events as can be in a batch

        async def unit(tx: Tx) -> tuple[ListSend | None, _Batch | None]:
            send = known or await rows.get(tx, claimed.account_id, claimed.ref)
            if send is None or send.paused or send.state != State.RUNNING:
                return send, None
            return send, await self._next(tx, send, first_event)

        return await self._store.read(unit)

    async def _next(self, tx: Tx, send: ListSend, first_event: int) -> _Batch:
        if send.others and not send.done:
            return self._batch(send, [(0, address, "", "") for address in send.others.splitlines()], first_event)
        if not await lists.exists(tx, send.account_id, send.list_id):
            return _Batch(send, self._clock.now_us(), send.reached, State.FAILED, [], [], [])
        found = await lists.after(tx, send.account_id, send.list_id, (send.reached, send.last), self._step)
        return self._batch(send, found, first_event, State.RUNNING if len(found) == self._step else State.DONE)

    async def _begin(self, tx: Tx, send: ListSend) -> None:
        """Fix how far the send reaches (members that come later are not in it), and set ids aside for all its mails."""
        now_us, others = self._clock.now_us(), len(send.others.splitlines())
        found = await rows.extent(tx, send.account_id, send.list_id)
        if found is None:
            await rows.end(tx, send.account_id, send.id, State.FAILED, now_us)
        elif await rows.begin(tx, send, State.RUNNING, (found[0] + others, found[1]), now_us):
            first = await tx.take_ids("row", found[0] + others)
            await submissions.grow(tx, send.account_id, send.submission_id, first, 0)

    def _batch(self, send: ListSend, found: Sequence[Row], first_event: int, state: State = State.RUNNING) -> _Batch:
        """Of (id, address, name, vars)."""
        account_id, now_us, first = send.account_id, self._clock.now_us(), send.first_recipient + send.done
        due, recipients, works = Quiet(send.quiet_begin, send.quiet_minutes).end_of(now_us), [], []
        for n, (_, address, name, given) in enumerate(found):
            entry_id, variables = first + n, _variables(address, name, given)
            times = (send.created, now_us, now_us)
            recipients.append((account_id, entry_id, send.submission_id, send.done + n, address, variables, *times))
            lane = self._lane(domain_of(address), entry_id)
            works.append(Work(account_id, entry_id, WorkKind.MAIL, lane, due, send.email_type, entry_id))
        events = _events(send, [row[1] for row in found], first_event, now_us)
        reached = max(found[-1][0], send.reached) if found else send.reached
        return _Batch(send, now_us, reached, state, recipients, works, events)


async def _store(tx: Tx, batch: _Batch) -> bool:
    """The transaction. False when the send was moved, paused or ended meanwhile; then nothing is stored."""
    send, size = batch.send, len(batch.recipients)
    if not await rows.move(tx, send, (batch.reached, size, batch.state), batch.at):
        return False
    if size:
        await submissions.grow(tx, send.account_id, send.submission_id, send.first_recipient, size)
        await submissions.add_recipients(tx, batch.recipients)
        await put(tx, batch.works)
        await record(tx, batch.events)
    return True


def _variables(address: str, name: str, given: str) -> bytes:
    """What a member's mail is filled with. The name goes before a variable `name` (management.md §4.3)."""
    values = contact.variables_of(given) if given else {}
    if name:
        values[contact.NAME] = name
    values[RECIPIENT] = address
    return msgspec.msgpack.encode(values)


def _events(send: ListSend, addresses: Sequence[str], first_event: int, now_us: int) -> list[Event]:
    """One request event for each EVENT recipients; its detail says which of the send's they are."""
    origin = Origin(send.account_id, send.submission_id, send.api_user_id, send.sender_id, send.label_id, send.created)
    events = []
    for at in range(0, len(addresses), EVENT):
        some = addresses[at : at + EVENT]
        counts = Counter(map(domain_of, some))
        detail = {"list_send": send.id, "first": send.done + at, "recipients": len(some)}
        number = first_event + at // EVENT
        events.append(Event(number, Kind.REQUEST, now_us, origin, domains=tuple(counts.items()), detail=detail))
    return events
