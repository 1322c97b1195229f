"""Appointments: the iCalendar object, and the mail around it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message

import icalendar
import pytest
from msgspec import structs

from aurorasend import calendar
from aurorasend.calendar import Appointment, Invite, Step
from aurorasend.clock import zone
from aurorasend.content import Attachment, Calendar, Content, Mailbox, Target
from aurorasend.message import Letter
from aurorasend.store.tx import Store

NOW = datetime(2031, 1, 1, 12, 0, tzinfo=UTC)
APPOINTMENT = Appointment(
    start=datetime(2031, 1, 15, 9, 0, tzinfo=zone(8)),
    end=datetime(2031, 1, 15, 10, 30, tzinfo=zone(8)),
    title="Review; of, all\\things",
    location="Room 7",
    organizer=Mailbox("ann@example.org", "Ann Lee"),
    attendees=(Mailbox("bob@example.net", 'Bob "B" Ü'), Mailbox("cy@example.net", "Cy: a, b;c")),
    description="first line\nsecond, line",
    reminder=timedelta(minutes=15),
)
INVITE = Invite("uid-1", Step.CHANGE, 3)


def event_of(built: Calendar) -> icalendar.Event:
    found = icalendar.Calendar.from_ical(built.text).walk("VEVENT")
    assert len(found) == 1
    event: icalendar.Event = found[0]
    return event


def test_a_request_says_all() -> None:
    built = calendar.build(APPOINTMENT, INVITE, cancel=False, now=NOW)
    whole = icalendar.Calendar.from_ical(built.text)
    assert (built.method, whole["METHOD"], whole["VERSION"]) == ("REQUEST", "REQUEST", "2.0")
    lines = built.text.replace("\r\n ", "").split("\r\n")
    for line in ("DTSTART:20310115T010000Z", "DTEND:20310115T023000Z", "DTSTAMP:20310101T120000Z", "SEQUENCE:3", "UID:uid-1"):
        assert line in lines
    event = event_of(built)
    assert (event["SUMMARY"], event["LOCATION"], event["DESCRIPTION"]) == (
        "Review; of, all\\things",
        "Room 7",
        "first line\nsecond, line",
    )
    assert (event["ORGANIZER"], event["ORGANIZER"].params["CN"]) == ("mailto:ann@example.org", "Ann Lee")
    assert [(each, each.params["CN"]) for each in event["ATTENDEE"]] == [
        ("mailto:bob@example.net", "Bob 'B' Ü"),
        ("mailto:cy@example.net", "Cy: a, b;c"),
    ]
    assert event.walk("VALARM")[0]["TRIGGER"].dt == timedelta(minutes=-15)
    assert all(len(line.encode()) <= 75 for line in built.text.split("\r\n"))


def test_a_cancel_asks_nothing() -> None:
    built = calendar.build(APPOINTMENT, INVITE, cancel=True, now=NOW)
    event = event_of(built)
    assert (built.method, event["STATUS"]) == ("CANCEL", "CANCELLED")
    assert not event.walk("VALARM")
    assert "RSVP" not in built.text


@pytest.mark.parametrize("title", ["a\r\nMETHOD:PUBLISH", "a\nEND:VEVENT", "a\rX:1"])
def test_no_text_adds_a_line(title: str) -> None:
    built = calendar.build(replace(APPOINTMENT, title=title, location=title, description=title), INVITE, cancel=False, now=NOW)
    names = {line.partition(":")[0].partition(";")[0] for line in built.text.replace("\r\n ", "").split("\r\n") if line}
    assert "X" not in names
    assert icalendar.Calendar.from_ical(built.text)["METHOD"] == "REQUEST"
    assert built.text.count("END:VEVENT") - built.text.count("\\nEND:VEVENT") == 1


# -- the mail


def composed(content: Content, *attachments: Attachment) -> Message:
    letter = Letter(content, attachments, "mail.example.org", "1_2_3_4.sg-0_0_0_1-inbound", 1_900_000_000_000_000)
    return message_from_bytes(letter.compose(Target("bob@example.net", {"name": "Bob"}), 0).raw())


def shape(part: Message) -> object:
    if part.is_multipart():
        return (part.get_content_subtype(), [shape(each) for each in part.get_payload()])  # type: ignore[union-attr,arg-type]
    return part.get_content_type()


BUILT = Calendar("REQUEST", "BEGIN:VCALENDAR\r\nSUMMARY:Treffen ü %name%\r\nEND:VCALENDAR\r\n")
CONTENT = Content(Mailbox("ann@example.org"), "Hello", html="<p>Hello %name%</p>", calendar=BUILT)


def test_the_appointment_is_another_form_of_the_body_and_a_file() -> None:
    mail = composed(CONTENT)
    assert shape(mail) == ("mixed", [("alternative", ["text/html", "text/calendar"]), "application/ics"])
    html, told = mail.get_payload()[0].get_payload()  # type: ignore[union-attr,index]
    assert "Hello Bob" in html.get_payload(decode=True).decode()
    assert (told.get_param("method"), told.get_param("charset")) == ("REQUEST", "UTF-8")
    assert told.get_payload(decode=True).decode() == BUILT.text
    file = mail.get_payload()[1]  # type: ignore[index]
    assert file.get_filename() == "invite.ics"  # type: ignore[union-attr]
    assert file.get_payload(decode=True).decode() == BUILT.text  # type: ignore[union-attr]


def test_images_stay_with_the_html_and_files_with_the_invitation() -> None:
    mail = composed(CONTENT, Attachment("a.png", "image/png", b"1", "a"), Attachment("b.txt", "text/plain", b"2"))
    related = ("related", ["text/html", "image/png"])
    assert shape(mail) == ("mixed", [("alternative", [related, "text/calendar"]), "text/plain", "application/ics"])
    boundaries = [part.get_boundary() for part in mail.walk() if part.is_multipart()]
    assert len(set(boundaries)) == 3


def test_a_plain_text_comes_before_the_html() -> None:
    mail = composed(structs.replace(CONTENT, plain="Hello %name%"))
    assert shape(mail) == ("mixed", [("alternative", ["text/plain", "text/html", "text/calendar"]), "application/ics"])


def test_without_an_appointment_there_is_none() -> None:
    assert shape(composed(Content(Mailbox("ann@example.org"), "Hello", plain="Hi"))) == "text/plain"


# -- the sequence


async def test_the_sequence_rises_by_one(store: Store) -> None:
    assert await store.read(lambda tx: calendar.plan(tx, 1, "u", change=True)) is None
    first = Invite("u", Step.FIRST, 0)
    assert await store.read(lambda tx: calendar.plan(tx, 1, "u", change=False)) == first
    assert await store.write(lambda tx: calendar.take(tx, 1, first, 5))
    assert not await store.write(lambda tx: calendar.take(tx, 1, first, 6))
    assert await store.read(lambda tx: calendar.plan(tx, 1, "u", change=False)) == Invite("u", Step.AGAIN, 0)
    second = Invite("u", Step.CHANGE, 1)
    assert await store.read(lambda tx: calendar.plan(tx, 1, "u", change=True)) == second
    assert await store.write(lambda tx: calendar.take(tx, 1, second, 6))
    assert not await store.write(lambda tx: calendar.take(tx, 1, second, 7))
    assert await store.read(lambda tx: calendar.plan(tx, 2, "u", change=True)) is None


@pytest.mark.parametrize("step", list(Step))
async def test_a_refused_mail_leaves_the_sequence(store: Store, step: Step) -> None:
    if step is not Step.FIRST:
        await store.write(lambda tx: calendar.take(tx, 1, Invite("u", Step.FIRST, 0), 5))
    before = await store.read(lambda tx: calendar.plan(tx, 1, "u", change=step is Step.CHANGE))
    assert before is not None and before.step is step
    assert await store.write(lambda tx: calendar.take(tx, 1, before, 6))
    await store.write(lambda tx: calendar.give_back(tx, 1, before, 6))
    assert await store.read(lambda tx: calendar.plan(tx, 1, "u", change=step is Step.CHANGE)) == before
