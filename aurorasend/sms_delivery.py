"""Short messages, the way out: a claimed message, named steps, one outcome.

Called by dispatch, which claims and settles the work. Calls gateways, event and store. Always: no transaction is open
while a gateway is talked to; a message's end and the event that tells of it are one transaction, with the end of its
work (design invariants 2 and 3).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from aurorasend import sandbox, sms_text
from aurorasend.clock import HOUR, MINUTE, Clock
from aurorasend.dispatch import Result
from aurorasend.event import Event, Kind, Origin, record
from aurorasend.gateways import Gateway, OutgoingSms
from aurorasend.ids import Ids
from aurorasend.queue import Claimed, Later
from aurorasend.sms import sms_id
from aurorasend.sms_outcome import SmsOutcome, SmsState, deferred, ended
from aurorasend.sms_text import Rendered
from aurorasend.store import sms as rows
from aurorasend.store.tx import Row, Store, Tx

GATEWAY_S = 60.0  # ours: longest talk with a gateway about one message
GIVE_UP = 72 * HOUR  # sms.md §11: what has no result by then is Failed 590
RETRY = MINUTE  # ours: times the tries so far
RETRY_MOST = HOUR

KINDS = {
    SmsState.DELIVERED: Kind.SMS_DELIVERED,
    SmsState.SUPPRESSED: Kind.SMS_SUPPRESSED,
    SmsState.FAILED: Kind.SMS_FAILED,
}


@dataclass(frozen=True, slots=True)
class SmsMessage:
    """One message to one number, as the gateway needs it. Times are UTC microseconds."""

    account_id: int
    id: int
    submission_id: int
    token: str
    phone: str  # as the customer wrote it
    e164: str
    variables: dict[str, str]
    state: int
    created: int
    text: str  # of the template, signature placed
    template_id: int
    sender: str

    @property
    def sms_id(self) -> str:
        return sms_id(self.created, (self.account_id, self.submission_id, self.template_id), self.token, self.phone)


@dataclass(frozen=True, slots=True)
class DueSms:
    """A claimed entry and its message, None when that is there no more."""

    claimed: Claimed
    message: SmsMessage | None


@dataclass(frozen=True, slots=True)
class SmsReport:
    """What one try came to. `outbound` is when the gateway had the message, 0 when it was not handed over."""

    message: SmsMessage
    outcome: SmsOutcome
    text: str
    at: int
    outbound: int


class SmsCrew:
    """The engine's crew for messages (dispatch.Crew). While no delivery route is chosen, what is handed over is also
    `caught` in the sandbox."""

    def __init__(self, store: Store, clock: Clock, ids: Ids, gateway: Gateway, *, caught: bool) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._gateway = gateway
        self._caught = caught

    async def load(self, claimed: Sequence[Claimed], known: Sequence[object]) -> list[DueSms]:
        wanted: dict[int, list[int]] = {}
        for one in claimed:
            wanted.setdefault(one.account_id, []).append(one.ref)

        async def read(tx: Tx) -> list[Row]:
            return [row for account_id, refs in wanted.items() for row in await rows.due(tx, account_id, refs)]

        found = {(message.account_id, message.id): message for message in map(_message, await self._store.read(read))}
        return [DueSms(one, found.get((one.account_id, one.ref))) for one in claimed]

    async def attempt(self, loaded: DueSms) -> Result:
        claimed, message = loaded.claimed, loaded.message
        if message is None or message.state != SmsState.REQUESTED:
            return Result(claimed, None, None)
        rendered = sms_text.render(message.text, message.variables)
        began = self._clock.now_us()
        stopped = stopped_before(message, rendered, began)
        outcome = stopped or await self._hand_over(message, rendered.text)
        handed = stopped is None and outcome.state != SmsState.REQUESTED
        ended_at = self._clock.now_us()
        report = SmsReport(message, outcome, rendered.text, ended_at, began if handed else 0)
        if outcome.state == SmsState.REQUESTED:
            next_try = ended_at + min(RETRY * claimed.tries, RETRY_MOST)
            return Result(claimed, Later(claimed, next_try), report)
        return Result(claimed, None, report)

    async def prepare(self, results: Sequence[Result]) -> int:
        """The first of as many event ids as there are results."""
        return await self._ids.take(len(results))

    async def record(self, tx: Tx, results: Sequence[Result], prepared: int) -> None:
        reports: list[SmsReport] = [result.report for result in results]
        await rows.settle(tx, [_settled_row(report) for report in reports])
        ends = [report for report in reports if report.outcome.is_final]
        await record(tx, [_event(report, prepared + n) for n, report in enumerate(ends)])
        if self._caught:
            await sandbox.catch(tx, [_catch(report) for report in reports if report.outbound])

    async def close(self) -> None:
        """The gateway keeps no connection."""

    async def _hand_over(self, message: SmsMessage, text: str) -> SmsOutcome:
        sms = OutgoingSms(message.sms_id, message.sender, message.e164, text)
        try:
            async with asyncio.timeout(GATEWAY_S):
                return await self._gateway.send(sms)
        except TimeoutError:
            return deferred("the gateway did not answer in time")


def stopped_before(message: SmsMessage, rendered: Rendered, now_us: int) -> SmsOutcome | None:
    """Why `message` must not be handed over, in the order of sms.md §11; None when it may be."""
    return expired(message, now_us) or lacks_variables(rendered) or too_long(rendered) or sender_not_approved(message)


def expired(message: SmsMessage, now_us: int) -> SmsOutcome | None:
    return ended(590, "no gateway took it in time") if now_us - message.created > GIVE_UP else None


def lacks_variables(rendered: Rendered) -> SmsOutcome | None:
    if rendered.missing:
        return ended(450, f"variable error: no value for {', '.join(rendered.missing)}")
    return None if rendered.text else ended(450, "variable error: the text is empty")


def too_long(rendered: Rendered) -> SmsOutcome | None:
    return ended(460) if len(rendered.text) > sms_text.MAX_CHARACTERS else None


def sender_not_approved(message: SmsMessage) -> SmsOutcome | None:
    """Sender IDs cannot be registered yet, so none is approved (sms.md §6.2)."""
    return ended(490, "sender id not approved") if message.sender else None


def _message(row: Row) -> SmsMessage:
    account_id, message_id, submission_id, token, phone, e164, variables, state, created, text, template_id, sender = row
    return SmsMessage(
        account_id=account_id,
        id=message_id,
        submission_id=submission_id,
        token=token,
        phone=phone,
        e164=e164,
        variables=msgspec.json.decode(variables, type=dict[str, str]),
        state=state,
        created=created,
        text=text,
        template_id=template_id,
        sender=sender,
    )


def _settled_row(report: SmsReport) -> Row:
    message, outcome = report.message, report.outcome
    result = (int(outcome.state), outcome.code, outcome.text, sms_text.measure(report.text).pieces)
    return (message.account_id, message.id, *result, report.outbound, report.at)


def _event(report: SmsReport, event_id: int) -> Event:
    message, outcome = report.message, report.outcome
    return Event(
        id=event_id,
        kind=KINDS[outcome.state],
        at=report.at,
        origin=Origin(message.account_id, message.submission_id, 0, 0, 0, message.created),
        recipient_id=message.id,
        detail={"sms_id": message.sms_id, "phone": message.phone, "code": outcome.code, "text": outcome.text},
    )


def _catch(report: SmsReport) -> sandbox.Catch:
    message = report.message
    return sandbox.Catch(
        account_id=message.account_id,
        id=message.id,
        kind="sms",
        at_us=report.at,
        mail_from=message.sender,
        recipient=message.e164,
        subject="",
        raw=report.text.encode(),
    )
