"""Short messages, the way in: accept() stores a request, its messages and their queue entries in one transaction.

Called by api.sms. Calls sms_template, event (the request event), queue (put) and store. sms_delivery takes it from there.
Always: what is answered with success is durable (design invariant 1); the limits of a number count what was accepted
(sms.md §11); a message keeps the text of its template as it was then.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from aurorasend import sms_template, sms_text
from aurorasend.account import SmsUser
from aurorasend.clock import DAY, HOUR, MINUTE, SECOND, Clock
from aurorasend.codes import Code, Refused
from aurorasend.config import Settings
from aurorasend.event import Event, Kind, Origin, record
from aurorasend.gateways import Gateway
from aurorasend.ids import Ids
from aurorasend.phone import Phone, calling_code
from aurorasend.queue import Kind as WorkKind
from aurorasend.queue import Priority, Work, put
from aurorasend.store import account as account_rows
from aurorasend.store import sms as rows
from aurorasend.store import submission as submission_rows
from aurorasend.store.tx import Row, Store, Tx
from aurorasend.wake import Wake

MARKETING = 2  # smsTypeStr, sms.md §5
_TOKEN_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"  # sms.md §3.3, last part of the smsId
_TOKEN_LENGTH = 6


@dataclass(frozen=True, slots=True)
class SmsTarget:
    """One number of a request and the values for it, names without %."""

    phone: Phone
    variables: dict[str, str]


@dataclass(frozen=True, slots=True)
class SmsSubmission:
    """One checked request. `label` and `request_key` are "" when not given; `custom` is JSON text, `{}` for none."""

    caller: SmsUser
    template_id: int
    targets: tuple[SmsTarget, ...]
    msg_type: int = 0
    sender: str = ""
    custom: str = "{}"
    label: str = ""
    request_key: str = ""

    @property
    def content_hash(self) -> bytes:
        """Equal for requests with the same content (conventions.md §10.1, 40000)."""
        targets = [(target.phone.shown, target.variables) for target in self.targets]
        told = [self.template_id, targets, self.msg_type, self.sender, self.custom, self.label]
        return hashlib.sha256(msgspec.json.encode(told)).digest()


class SmsRefusal(msgspec.Struct, frozen=True):
    """A number that was not accepted, as shown, and why: the name of a Code."""

    phone: str
    variables: dict[str, str]
    code: str


class SmsAccepted(msgspec.Struct, frozen=True):
    """In the order of the request. Without any smsId nothing was stored."""

    sms_ids: tuple[str, ...]
    refused: tuple[SmsRefusal, ...] = ()


@dataclass(frozen=True, slots=True)
class _Message:
    """A target with its id and the random part of its smsId."""

    id: int
    token: str
    target: SmsTarget


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A submission with its ids, waiting for its transaction."""

    submission: SmsSubmission
    id: int
    event_id: int
    created: int
    messages: tuple[_Message, ...]

    @property
    def request(self) -> tuple[int, str, str]:
        caller = self.submission.caller
        return (caller.account.id, f"sms:{caller.name}", self.submission.request_key)

    def sms_id(self, message: _Message) -> str:
        account_id = self.submission.caller.account.id
        serial = (account_id, self.id, self.submission.template_id)
        return sms_id(self.created, serial, message.token, message.target.phone.shown)


def sms_id(created_us: int, serial: tuple[int, int, int], token: str, shown: str) -> str:
    """sms.md §3.3. `serial` is account, submission, template."""
    account_id, submission_id, template_id = serial
    return f"{created_us // 1000}_{account_id}_{submission_id}_{template_id}_{token}${shown}"


class SmsSubmissions:
    """One per process. `gateway` is what new messages are queued for; `home` is the calling code of bare numbers."""

    def __init__(self, store: Store, clock: Clock, ids: Ids, settings: Settings, wake: Wake, gateway: Gateway) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._wake = wake
        self._gateway = gateway
        self.home = calling_code(settings.sms.default_country)

    async def accept(self, submission: SmsSubmission) -> SmsAccepted:
        """Take over what can be sent of `submission`; for a repeated sendRequestId, the first answer.

        Raises Refused for what concerns the whole request, in the order of sms.md §4.1: 40000, 431, 432, 40103.
        """
        first = await self._ids.take(len(submission.targets) + 2)
        messages = tuple(_Message(first + 2 + n, _new_token(), target) for n, target in enumerate(submission.targets))
        prepared = _Prepared(submission, first, first + 1, self._clock.now_us(), messages)
        accepted = await self._store.write(lambda tx: self._accept(tx, prepared))
        if accepted.sms_ids:
            self._wake.work_added()
        return accepted

    async def _accept(self, tx: Tx, prepared: _Prepared) -> SmsAccepted:
        """The transaction."""
        whole = SmsAccepted(tuple(prepared.sms_id(message) for message in prepared.messages))
        first_answer = await self._claim(tx, prepared, whole)
        if first_answer is not None:
            return first_answer
        template = await self._template(tx, prepared.submission)
        refusals = await self._refusals(tx, prepared)
        taken = [message for message in prepared.messages if message.id not in refusals]
        if refusals:
            refused = tuple(_refusal(message, refusals[message.id]) for message in prepared.messages if message.id in refusals)
            whole = SmsAccepted(tuple(prepared.sms_id(message) for message in taken), refused)
            await self._claim_again(tx, prepared, whole)
        if taken:
            await self._write(tx, prepared, taken, template)
        return whole

    async def _claim(self, tx: Tx, prepared: _Prepared, answer: SmsAccepted) -> SmsAccepted | None:
        """Remember `answer` for the sendRequestId; what was remembered before, if anything was. Raises Refused (40000)."""
        submission = prepared.submission
        if not submission.request_key:
            return None
        until = prepared.created + int(self._settings.limits.request_id_window.total_seconds()) * SECOND
        said = (submission.content_hash, msgspec.json.encode(answer))
        known = await submission_rows.claim_request(tx, prepared.request, said, (prepared.created, until))
        if known is None:
            return None
        if known[0] != submission.content_hash:
            raise Refused(Code.REQUEST_ID_REUSED)
        return msgspec.json.decode(known[1], type=SmsAccepted)

    async def _claim_again(self, tx: Tx, prepared: _Prepared, answer: SmsAccepted) -> None:
        """The answer became another one. A request of which nothing was accepted leaves its id free."""
        if prepared.submission.request_key:
            await submission_rows.forget_request(tx, *prepared.request)
            if answer.sms_ids:
                await self._claim(tx, prepared, answer)

    async def _template(self, tx: Tx, submission: SmsSubmission) -> sms_template.SmsTemplate:
        template = await sms_template.find(tx, submission.caller.account.id, submission.template_id)
        if template.stat != sms_template.Stat.APPROVED:
            raise Refused(Code.SMS_TEMPLATE_NOT_APPROVED)
        if submission.label:
            raise Refused(Code.LABEL_ID_INVALID)  # there are no SMS labels yet, so none can be meant
        return template

    async def _refusals(self, tx: Tx, prepared: _Prepared) -> dict[int, Code]:
        """Messages that cannot be accepted, by id. The lock keeps two requests from counting past each other."""
        account_id = prepared.submission.caller.account.id
        await account_rows.lock(tx, account_id)
        numbers = [message.target.phone.e164 for message in prepared.messages if message.target.phone.e164]
        now = prepared.created
        midnight = now - (now + self._settings.api.zone_hours * HOUR) % DAY
        sent = await rows.sent(tx, account_id, numbers, now - MINUTE, midnight)
        refusals: dict[int, Code] = {}
        for message in prepared.messages:
            number = message.target.phone.e164
            code = Code.SMS_PHONE_INVALID if number is None else self._limited(*sent.get(number, (0, 0)))
            if code is not None:
                refusals[message.id] = code
        return refusals

    def _limited(self, last_minute: int, today: int) -> Code | None:
        if last_minute >= self._settings.sms.per_minute:
            return Code.SMS_TOO_MANY_PER_MINUTE
        return Code.SMS_TOO_MANY_PER_DAY if today >= self._settings.sms.per_day else None

    async def _write(self, tx: Tx, prepared: _Prepared, taken: Sequence[_Message], template: sms_template.SmsTemplate) -> None:
        account_id, now = prepared.submission.caller.account.id, prepared.created
        await rows.add(tx, _submission_row(prepared, template), _message_rows(prepared, taken, template))
        priority = Priority.BATCH if template.sms_type == MARKETING else Priority.TRIGGER
        await put(tx, [Work(account_id, m.id, WorkKind.SMS, self._lane(m.id), now, priority, m.id) for m in taken])
        await record(tx, [_request_event(prepared, len(taken))])

    def _lane(self, message_id: int) -> str:
        return f"sms:{self._gateway.name}#{message_id % self._gateway.shards}"


def _submission_row(prepared: _Prepared, template: sms_template.SmsTemplate) -> Row:
    submission = prepared.submission
    return (
        submission.caller.account.id,
        prepared.id,
        submission.caller.name,
        template.id,
        template.content,
        submission.msg_type,
        submission.sender,
        0,
        submission.custom,
        prepared.created,
    )


def _message_rows(prepared: _Prepared, taken: Sequence[_Message], template: sms_template.SmsTemplate) -> list[Row]:
    """Of the variables only those that the text asks for are kept."""
    used = sms_text.placeholders(template.content)
    account_id, now = prepared.submission.caller.account.id, prepared.created
    found = []
    for message in taken:
        phone = message.target.phone
        variables = {name: value for name, value in message.target.variables.items() if name in used}
        kept = msgspec.json.encode(variables).decode()
        found.append((account_id, message.id, prepared.id, message.token, phone.shown, phone.e164, kept, now, now))
    return found


def _request_event(prepared: _Prepared, messages: int) -> Event:
    submission, now = prepared.submission, prepared.created
    origin = Origin(submission.caller.account.id, prepared.id, 0, 0, 0, now)
    detail = {"user": submission.caller.name, "template": submission.template_id, "messages": messages}
    return Event(prepared.event_id, Kind.SMS_REQUESTED, now, origin, detail=detail)


def _refusal(message: _Message, code: Code) -> SmsRefusal:
    return SmsRefusal(message.target.phone.shown, message.target.variables, code.name)


def _new_token() -> str:
    return "".join(secrets.choice(_TOKEN_CHARACTERS) for _ in range(_TOKEN_LENGTH))
