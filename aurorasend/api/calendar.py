"""mail/sendcalendar (spec mail.md §5): a mail with an appointment. Called by endpoint. Calls calendar and submission."""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Annotated

from msgspec import structs

from aurorasend import calendar
from aurorasend.api import mail
from aurorasend.api import mail_fields as f
from aurorasend.api import mail_values as v
from aurorasend.calendar import Appointment, Invite
from aurorasend.clock import utc
from aurorasend.codes import Code, Refused
from aurorasend.content import Mailbox
from aurorasend.endpoint import ApiCall, Frequency, Info, endpoint
from aurorasend.fields import Field, Kind, Parser, Seen, Trouble, boolean, line, parser, text, wall_time
from aurorasend.intake import Submission
from aurorasend.store.tx import Tx

MAX_UID = 255  # characters, spec §5
MAX_LINE = 998  # ours: characters of title, names and location
MAX_DESCRIPTION = 65_536  # ours
MOST_PARTICIPATORS = 1000  # ours
MOST_REMINDER = 1_000_000  # ours: minutes
YEARS = range(1900, 9999)  # ours: what stays a date in every zone
TRIES = 5  # of requests to several processes about the same uid at the same time, one is first each time


@parser(schema=wall_time.schema)
def _time(given: str) -> datetime:
    """The API's wall clock (conventions.md §6)."""
    read = wall_time.read(given)
    if read.year not in YEARS:
        raise Trouble(Kind.INVALID)
    return read


@parser(schema={"type": "string"})
def _line(given: str) -> str:
    if len(given) > MAX_LINE:
        raise Trouble(Kind.INVALID)
    return line().read(given)


@parser(schema={"type": "string"})
def _description(given: str) -> str:
    if len(given) > MAX_DESCRIPTION:
        raise Trouble(Kind.INVALID)
    return text().read(given)


@parser(schema={"type": "string"})
def _uid(given: str) -> str:
    if len(given) > MAX_UID:
        raise Trouble(Kind.INVALID, f"uid should be no more than {MAX_UID} characters")
    return line().read(given)


def _each(of: Parser[str]) -> Parser[tuple[str, ...]]:
    @parser(schema={"type": "string"})
    def read(given: str) -> tuple[str, ...]:
        listed = tuple(each.strip() for each in given.split(";") if each.strip())
        if not 1 <= len(listed) <= MOST_PARTICIPATORS:
            raise Trouble(Kind.INVALID)
        return tuple(of.read(each) for each in listed)

    return read


@parser(schema={"type": "integer"})
def _minutes(given: str) -> int | None:
    """What is no number of minutes is ignored (spec §5)."""
    return int(given) if re.fullmatch(r"[0-9]{1,7}", given) and int(given) <= MOST_REMINDER else None


StartTime = Annotated[
    datetime,
    Field(
        "startTime",
        _time,
        empty=Code.START_TIME_EMPTY,
        invalid=Code.START_TIME_INVALID,
        doc="Start, `yyyy-MM-dd HH:mm:ss` on the clock of the API.",
        example="2031-01-15 09:00:00",
    ),
]
EndTime = Annotated[
    datetime,
    Field(
        "endTime",
        _time,
        empty=Code.END_TIME_EMPTY,
        invalid=Code.END_TIME_INVALID,
        doc="End, not before the start.",
        example="2031-01-15 10:30:00",
    ),
]
Title = Annotated[
    str, Field("title", _line, empty=Code.TITLE_EMPTY, invalid=Code.TITLE_INVALID, doc="What it is, one line.", example="Review")
]
OrganizerName = Annotated[
    str,
    Field(
        "organizerName",
        _line,
        empty=Code.ORGANIZER_NAME_EMPTY,
        invalid=Code.ORGANIZER_NAME_INVALID,
        doc="Who invites.",
        example="Ann Lee",
    ),
]
OrganizerEmail = Annotated[
    str,
    Field(
        "organizerEmail",
        v.address,
        empty=Code.ORGANIZER_EMAIL_EMPTY,
        invalid=Code.ORGANIZER_EMAIL_INVALID,
        doc="The address of who invites; answers of the invited go there.",
        example="ann@example.com",
    ),
]
Location = Annotated[
    str, Field("location", _line, empty=Code.LOCATION_EMPTY, invalid=Code.LOCATION_INVALID, doc="Where it is.", example="Room 7")
]
Description = Annotated[
    str,
    Field(
        "description",
        _description,
        empty=Code.DESCRIPTION_EMPTY,
        invalid=Code.DESCRIPTION_INVALID,
        doc="More words about it.",
        example="Figures of the year",
    ),
]
Names = Annotated[
    tuple[str, ...],
    Field(
        "participatorNames",
        _each(_line),
        empty=Code.PARTICIPATOR_NAMES_EMPTY,
        invalid=Code.PARTICIPATOR_NAMES_INVALID,
        joined=True,
        doc="Names of the invited, separated by `;`.",
        example="Bob;Cy",
    ),
]
Emails = Annotated[
    tuple[str, ...],
    Field(
        "participatorEmails",
        _each(v.address),
        empty=Code.PARTICIPATOR_EMAILS_EMPTY,
        invalid=Code.PARTICIPATOR_EMAILS_INVALID,
        joined=True,
        doc="Addresses of the invited, as many as names. Without them those in `to` are invited, if as many.",
        example="bob@example.com;cy@example.com",
    ),
]
Uid = Annotated[
    str,
    Field(
        "uid",
        _uid,
        invalid=Code.CALENDAR_NOT_BUILT,
        doc="Identity of the appointment; made and returned when absent. Needed to update or cancel.",
        example="review-42@example.com",
    ),
]
_CHANGED = "the sequence number rises."
IsCancel = Annotated[
    bool,
    Field(
        "isCancel",
        boolean,
        invalid=Code.IS_CANCEL_INVALID,
        doc=f"The appointment of this `uid` is cancelled; {_CHANGED}",
        example="false",
    ),
]
IsUpdate = Annotated[
    bool,
    Field(
        "isUpdate",
        boolean,
        invalid=Code.IS_CANCEL_INVALID,
        doc=f"The appointment of this `uid` has changed; {_CHANGED}",
        example="false",
    ),
]
Reminder = Annotated[
    int | None,
    Field("valarmTime", _minutes, invalid=Code.CALENDAR_NOT_BUILT, doc="Remind so many minutes before the start.", example="15"),
]


@dataclass(frozen=True, kw_only=True)
class SendCalendar(f.Checked):
    """The parameters of spec §2.1 that it has, then its own."""

    sender: f.From
    sender_name: f.FromName = ""
    to: f.To = ()
    cc: f.Cc = ()
    bcc: f.Bcc = ()
    subject: f.Subject
    html: f.Html = None
    plain: f.Plain = None
    reply_to: f.ReplyTo = ()
    label_name: f.LabelName = ""
    label_id: f.LabelNumber = 0
    headers: f.CustomHeaders = ()
    attachments: f.Attachments = ()
    xsmtpapi: f.XSmtp = mail.NOTHING
    request_key: f.RequestId = ""
    return_ids: f.ReturnIds = True
    use_address_list: f.UseAddressList = False
    start: StartTime
    end: EndTime
    title: Title
    organizer_name: OrganizerName
    organizer_email: OrganizerEmail
    location: Location
    description: Description = ""
    names: Names
    emails: Emails = ()
    uid: Uid = ""
    is_cancel: IsCancel = False
    is_update: IsUpdate = False
    reminder: Reminder = None

    @classmethod
    def check_end(cls, seen: Seen) -> None:
        if seen.peek("end") < seen.peek("start"):
            raise Refused(Code.END_TIME_INVALID, "before startTime")

    @classmethod
    def check_emails(cls, seen: Seen) -> None:
        emails = seen.peek("emails")
        if emails and len(emails) != len(seen.peek("names")):
            raise Refused(Code.PARTICIPATORS_COUNT)

    def check(self) -> None:
        if self.changes and not self.uid:
            raise Refused(Code.CALENDAR_NOT_BUILT, "uid is needed")

    @property
    def changes(self) -> bool:
        return self.is_cancel or self.is_update

    @property
    def lists(self) -> tuple[str, ...]:
        return ()

    @property
    def tags(self) -> tuple[str, ...]:
        return ()

    @property
    def notification(self) -> bool:
        return False

    @property
    def receipt_to(self) -> str:
        return ""

    def appointment(self, zone: timezone) -> Appointment:
        addresses = self.emails or tuple(mailbox.address for mailbox in self.to)
        pairs = zip(addresses, self.names, strict=True) if len(addresses) == len(self.names) else ()
        return Appointment(
            start=self.start.replace(tzinfo=zone),
            end=self.end.replace(tzinfo=zone),
            title=self.title,
            location=self.location,
            organizer=Mailbox(self.organizer_email, self.organizer_name),
            attendees=tuple(Mailbox(address, name) for address, name in pairs),
            description=self.description,
            reminder=None if self.reminder is None else timedelta(minutes=self.reminder),
        )


def may_send_calendar(call: ApiCall) -> None:
    """Address lists are not for calendars (spec §5)."""
    if not call.caller.account.calendar:
        raise Refused(Code.NOT_PERMITTED)
    if mail.asks_for_lists(call):
        raise Refused(Code.ADDRESS_LIST_NOT_ALLOWED)
    mail.may_choose_domain(call)


@endpoint(
    "mail/sendcalendar",
    methods=("POST",),
    raises=(*mail.EVERY, Code.PARTICIPATORS_COUNT, Code.CALENDAR_NOT_BUILT),
    frequency=Frequency.SEND,
    permit=may_send_calendar,
    unavailable=Code.SEND_FAILED,
)
async def send_calendar(call: ApiCall, p: SendCalendar) -> Info:
    """Send a mail with an appointment, which the recipients' calendars can take over.

    The answer's `uid` names the appointment: with it a later mail can update or cancel it.
    """
    uid = p.uid or secrets.token_hex(16)
    async with call.node.submissions.turn(call.caller.account.id, uid):
        return await _send(call, p, uid)


async def _send(call: ApiCall, p: SendCalendar, uid: str) -> Info:
    for left in reversed(range(TRIES)):
        try:
            invite = await _plan(call, p, uid)
        except Refused:
            if (known := await mail.repeated(call, p)) is not None:
                return known
            raise
        try:
            return (await call.node.submissions.accept(await _read(call, p, invite))).info
        except Refused as refused:
            if refused.code is not Code.CALENDAR_NOT_BUILT or not left:
                raise
    raise AssertionError("the last try returns or raises")


async def _plan(call: ApiCall, p: SendCalendar, uid: str) -> Invite:
    """Raises Refused: 40106 for the label, 40851 for a `uid` that is to change and is not known."""
    account_id = call.caller.account.id

    async def unit(tx: Tx) -> Invite | None:
        await mail.check_label(tx, account_id, p.label_id)
        return await calendar.plan(tx, account_id, uid, change=p.changes)

    invite = await call.node.store.read(unit)
    if invite is None:
        raise Refused(Code.CALENDAR_NOT_BUILT, "unknown uid")
    return invite


async def _read(call: ApiCall, p: SendCalendar, invite: Invite) -> Submission:
    caller, now = call.caller, utc(call.node.clock.now_us())
    content = mail.content_of(caller, p, p.subject, mail.bodies_of(caller, p.html, p.plain, None))
    built = calendar.build(p.appointment(call.node.zone), invite, cancel=p.is_cancel, now=now)
    submission = mail.submission_of(caller, p, structs.replace(content, calendar=built), p.attachments)
    return structs.replace(await mail.matched(call, submission), invite=invite)


ENDPOINTS = (send_calendar,)
