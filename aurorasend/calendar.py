"""Appointments in mail: the iCalendar object (RFC 5545, RFC 5546) and the sequence numbers of those told of before.

Called by api.calendar, which builds the object, and by submission, which takes the sequence number in its transaction.
Calls store.calendar. Always: a uid belongs to an account; its sequence starts at 0 and rises by one with every update
or cancel that was accepted (mail.md §5).
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum

import icalendar

from aurorasend.content import Calendar, Mailbox
from aurorasend.store import calendar as rows
from aurorasend.store.tx import Tx

PRODUCT = "-//Aurorasend//Aurorasend//EN"


class Step(Enum):
    """What a mail does with the uid: makes it known, tells of it again, or changes it."""

    FIRST = "first"
    AGAIN = "again"
    CHANGE = "change"


@dataclass(frozen=True, slots=True)
class Invite:
    """The uid that a mail is about, and the sequence that it tells."""

    uid: str
    step: Step
    sequence: int


@dataclass(frozen=True, slots=True)
class Appointment:
    """Times are aware. `organizer` and `attendees` have names; `reminder` is how long before the start."""

    start: datetime
    end: datetime
    title: str
    location: str
    organizer: Mailbox
    attendees: tuple[Mailbox, ...] = field(default=())
    description: str = ""
    reminder: timedelta | None = None


def build(appointment: Appointment, invite: Invite, *, cancel: bool, now: datetime) -> Calendar:
    """The object of method REQUEST or CANCEL, all times in UTC."""
    event = icalendar.Event()
    event.add("uid", invite.uid)
    event.add("sequence", invite.sequence)
    event.add("dtstamp", now.astimezone(UTC))
    event.add("dtstart", appointment.start.astimezone(UTC))
    event.add("dtend", appointment.end.astimezone(UTC))
    event.add("summary", appointment.title)
    event.add("location", appointment.location)
    if appointment.description:
        event.add("description", appointment.description)
    event.add("organizer", _person(appointment.organizer))
    for attendee in appointment.attendees:
        event.add("attendee", _attendee(attendee, cancel=cancel))
    event.add("status", "CANCELLED" if cancel else "CONFIRMED")
    if appointment.reminder is not None and not cancel:
        event.add_component(_alarm(appointment.title, appointment.reminder))
    method = "CANCEL" if cancel else "REQUEST"
    whole = icalendar.Calendar()
    whole.add("prodid", PRODUCT)
    whole.add("version", "2.0")
    whole.add("method", method)
    whole.add_component(event)
    return Calendar(method, whole.to_ical().decode())


def _person(mailbox: Mailbox) -> icalendar.vCalAddress:
    person = icalendar.vCalAddress(f"mailto:{mailbox.address}")
    if mailbox.name:
        person.params["CN"] = mailbox.name.replace('"', "'")  # RFC 5545 §3.1: a quoted parameter has no quote
    return person


def _attendee(mailbox: Mailbox, *, cancel: bool) -> icalendar.vCalAddress:
    person = _person(mailbox)
    person.params["ROLE"] = "REQ-PARTICIPANT"
    if not cancel:
        person.params["PARTSTAT"] = "NEEDS-ACTION"
        person.params["RSVP"] = "TRUE"
    return person


def _alarm(title: str, before: timedelta) -> icalendar.Alarm:
    alarm = icalendar.Alarm()
    alarm.add("action", "DISPLAY")
    alarm.add("description", title)
    alarm.add("trigger", -before)
    return alarm


# -- the sequence


async def plan(tx: Tx, account_id: int, uid: str, *, change: bool) -> Invite | None:
    """What a mail about `uid` will tell; None when it is to change what the account does not know."""
    known = await rows.sequence(tx, account_id, uid)
    if known is None:
        return None if change else Invite(uid, Step.FIRST, 0)
    return Invite(uid, Step.CHANGE, known + 1) if change else Invite(uid, Step.AGAIN, known)


async def take(tx: Tx, account_id: int, invite: Invite, now_us: int) -> bool:
    """Make true what was planned. False when another request was faster."""
    if invite.step is Step.FIRST:
        return await rows.add(tx, account_id, invite.uid, now_us)
    if invite.step is Step.AGAIN:
        return await rows.sequence(tx, account_id, invite.uid) == invite.sequence
    return await rows.move(tx, account_id, invite.uid, (invite.sequence - 1, invite.sequence), now_us)


async def give_back(tx: Tx, account_id: int, invite: Invite, now_us: int) -> None:
    """The mail was refused after `take`, in the same transaction."""
    if invite.step is Step.FIRST:
        await rows.remove(tx, account_id, invite.uid)
    elif invite.step is Step.CHANGE:
        await rows.move(tx, account_id, invite.uid, (invite.sequence, invite.sequence - 1), now_us)
