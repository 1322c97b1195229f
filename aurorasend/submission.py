"""accept(): the one way in. HTTP, SMTP, address-list sends and the console all end here (design invariant 1).

Called by api.mail and api.calendar. Calls event (the request event), queue (put), list_send, calendar and store.
Always: submission, bodies, recipients, queue entries, quota and the `request` event are one transaction, and
success is answered only when it is durable. Many requests share it: what arrives while one batch commits is the next.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from aurorasend import calendar, list_send
from aurorasend.account import ApiUser, Domain
from aurorasend.address import normalise
from aurorasend.busy import while_busy
from aurorasend.calendar import Invite
from aurorasend.charge import Bill, Charges, Overrun
from aurorasend.clock import Clock
from aurorasend.codes import Code, Refused, Unavailable
from aurorasend.config import Settings
from aurorasend.content import CHUNK, Attachment, Content, Target, chunks
from aurorasend.event import Event, Kind, Origin, domain_of, record
from aurorasend.ids import Ids
from aurorasend.list_send import Begun
from aurorasend.queue import Kind as WorkKind
from aurorasend.queue import Work, put
from aurorasend.store import account as accounts
from aurorasend.store import label as labels
from aurorasend.store import submission as rows
from aurorasend.store.contact import AddressList
from aurorasend.store.domain import TEST
from aurorasend.store.tx import Store, Tx
from aurorasend.wake import Wake

log = logging.getLogger(__name__)

BATCH = 128  # submissions in one transaction
COMPANY_S = 0.01  # while the process is busy a transaction waits so long for more of them
MIB = 1024 * 1024


class Submission(msgspec.Struct, frozen=True):
    """One checked request. See content.py; `targets` are in the order of their index (mail.md §6)."""

    caller: ApiUser
    content: Content
    attachments: tuple[Attachment, ...]
    targets: tuple[Target, ...]
    label_id: int = 0
    label_name: str = ""
    tags: tuple[str, ...] = ()
    request_key: str = ""
    content_hash: bytes = b""
    return_ids: bool = True
    send_domain: str = ""
    lists: tuple[str, ...] = ()  # aliases of a list send (mail.md §3); `targets` are then addresses beside the lists
    invite: Invite | None = None  # the appointment that `content` tells of
    matches: bool = True  # content matching (mail.md §12); False is refused after the quota check


class Accepted(msgspec.Struct, frozen=True):
    """`info` of the answer; for a repeated sendRequestId that of the first."""

    info: dict[str, Any]


@dataclass(slots=True)
class _Prepared:
    """A submission with its ids and rows, waiting for its transaction."""

    submission: Submission
    id: int
    first_recipient: int
    event_id: int
    created: int
    message_id: str
    info: dict[str, Any]
    chunks: list[tuple[int, int, bytes]]  # (part, chunk, data)
    size: int  # bytes of the chunks
    begun: tuple[Begun, ...] = ()  # list sends, the first of which has `id`
    staged: bool = False
    done: asyncio.Future[Accepted] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def content_rows(self) -> list[tuple[int, int, int, int, bytes]]:
        return [(self.submission.caller.account.id, self.id, *chunk) for chunk in self.chunks]

    @property
    def scope(self) -> str:
        return _scope(self.submission.caller)

    @property
    def request(self) -> tuple[int, str, str] | None:
        key = self.submission.request_key
        return (self.submission.caller.account.id, self.scope, key) if key else None


class _Placed(msgspec.Struct, frozen=True):
    """What the transaction found out about a submission it takes."""

    prepared: _Prepared
    label_id: int
    label_name: str
    domain: Domain
    lists: tuple[AddressList, ...] = ()

    @property
    def bill(self) -> Bill:
        submission = self.prepared.submission
        mails = len(submission.targets) + sum(found.members for found in self.lists)
        return Bill(submission.caller, self.domain, mails, self.prepared.created, submission.matches)


Verdict = Accepted | Refused


def _scope(caller: ApiUser) -> str:
    """Of its sendRequestIds."""
    return f"api:{caller.id}"


def _verdict(known: tuple[bytes, bytes], content_hash: bytes) -> Verdict:
    """On a repeat of the request that is `known` by its hash and answer (mail.md §9.5)."""
    if known[0] != content_hash:
        return Refused(Code.REQUEST_ID_REUSED)
    return Accepted(msgspec.json.decode(known[1]))


@dataclass(frozen=True, slots=True)
class Origins:
    """What goes into a messageId besides time and counter: this process's worker number."""

    worker: int

    def message_id(self, region: str, account_id: int, created_us: int, counter: int) -> str:
        """mail.md §6. The counter is the submission's id, so that an emailId leads to its rows."""
        return f"{created_us // 1000}_{account_id}_{self.worker}_{counter}.{region}-0_0_0_{self.worker}-inbound"


class Submissions:
    """One per process."""

    def __init__(self, store: Store, clock: Clock, ids: Ids, settings: Settings, wake: Wake, origins: Origins) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._charges = Charges(settings)
        self._wake = wake
        self._origins = origins
        self._waiting: list[_Prepared] = []
        self._turns: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()
        self._flushing: asyncio.Task[None] | None = None  # one transaction at a time: several would share out the requests

    async def accept(self, submission: Submission) -> Accepted:
        """Take `submission` over. Raises Refused; Refused(SEND_FAILED) when it could not be stored, or the
        store did not say whether it was: then it may be sent, and a repeat with the same sendRequestId tells."""
        try:
            prepared = await self._prepare(submission)
            if prepared.size > CHUNK:
                await self._stage(prepared)
        except Unavailable as error:
            raise Refused(Code.SEND_FAILED) from error
        self._waiting.append(prepared)
        self._start()
        return await prepared.done

    def turn(self, account_id: int, uid: str) -> asyncio.Lock:
        """For who tells of this appointment, to hold from a look at its sequence until the mail is accepted. What other
        processes do meanwhile is noticed there."""
        return self._turns.setdefault((account_id, uid), asyncio.Lock())

    async def repeated(self, caller: ApiUser, key: str, content_hash: bytes) -> Accepted | None:
        """The answer that a sendRequestId has had, None if it is new. Raises Refused: 40000 for other content."""
        request, now_us = (caller.account.id, _scope(caller), key), self._clock.now_us()
        known = await self._store.read(lambda tx: rows.known_request(tx, request, now_us))
        if known is None:
            return None
        verdict = _verdict(known, content_hash)
        if isinstance(verdict, Refused):
            raise verdict
        return verdict

    async def _prepare(self, submission: Submission) -> _Prepared:
        targets, lists, account = len(submission.targets), len(submission.lists), submission.caller.account
        # Recipients, then the submission itself and its request event; or a submission for each list.
        first = await self._ids.take(lists or targets + 2)
        created, submission_id = self._clock.now_us(), first if lists else first + targets
        message_id = self._origins.message_id(account.region, account.id, created, submission_id)
        begun = await self._begin(submission, first, created) if lists else ()
        info: dict[str, Any] = {}
        if begun:
            info["maillistTaskId"] = [one.id for one in begun]
        elif submission.return_ids:
            info["emailIdList"] = [f"{message_id}{n}${target.address}" for n, target in enumerate(submission.targets)]
        if submission.invite is not None:
            info["uid"] = submission.invite.uid
        pieces = chunks(submission.content, submission.attachments)
        return _Prepared(
            submission=submission,
            id=submission_id,
            first_recipient=first,
            event_id=submission_id + 1,
            created=created,
            message_id=message_id,
            info=info,
            chunks=pieces,
            size=sum([len(data) for _, _, data in pieces]),
            begun=begun,
        )

    async def _begin(self, submission: Submission, first: int, created: int) -> tuple[Begun, ...]:
        """Ids for the list sends of a request: those told to customers increase (mail.md §6)."""
        number = await self._store.write(lambda tx: tx.take_ids("list_send", len(submission.lists)))
        account = submission.caller.account
        return tuple(
            Begun(number + n, first + n, self._origins.message_id(account.region, account.id, created, first + n))
            for n in range(len(submission.lists))
        )

    async def _stage(self, prepared: _Prepared) -> None:
        """Write large content ahead of the accepting transaction, about a MiB at a time, so that nobody waits for it."""
        account_id, submission_id = prepared.submission.caller.account.id, prepared.id
        await self._store.write(lambda tx: rows.add_staged(tx, account_id, submission_id, prepared.created))
        per_unit = MIB // CHUNK
        for at in range(0, len(prepared.chunks), per_unit):
            some = prepared.content_rows[at : at + per_unit]
            await self._store.write(lambda tx, some=some: rows.add_content(tx, some))  # type: ignore[misc]
        prepared.chunks, prepared.staged = [], True

    # -- batches

    def _start(self) -> None:
        if self._waiting and self._flushing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        try:
            while self._waiting:
                if len(self._waiting) < BATCH:
                    await while_busy(COMPANY_S)
                await self._accept_batch(self._next_batch())
        finally:
            self._flushing = None
            self._start()

    def _next_batch(self) -> list[_Prepared]:
        """Up to BATCH that wait; of two with one sendRequestId the second stays for the next batch."""
        batch: list[_Prepared] = []
        left: list[_Prepared] = []
        requests: set[tuple[int, str, str]] = set()
        for prepared in self._waiting:
            if len(batch) >= BATCH or prepared.request in requests:
                left.append(prepared)
                continue
            if prepared.request:
                requests.add(prepared.request)
            batch.append(prepared)
        self._waiting = left
        return sorted(batch, key=lambda p: (p.submission.caller.account.id, p.request or ()))

    async def _accept_batch(self, batch: list[_Prepared]) -> None:
        """Never raises: every submission of the batch gets its answer. When a batch fails for a reason that one of
        its members may have brought along, each is tried by itself, so that only the guilty one fails."""
        try:
            verdicts = await self._accepted(batch)
        except Unavailable as error:
            log.warning("%d submissions refused, the store is away: %s", len(batch), error)
            verdicts = [Refused(Code.SEND_FAILED)] * len(batch)
        except Exception as error:
            if len(batch) == 1:
                _answer(batch[0], error)
            else:
                for prepared in batch:
                    await self._accept_batch([prepared])
            return
        for prepared, verdict in zip(batch, verdicts, strict=True):
            _answer(prepared, verdict)
        self._wake.work_added()

    async def _accepted(self, batch: list[_Prepared]) -> Sequence[Verdict]:
        """Mostly nobody meets a limit, and all are counted at the end; when somebody does, each is charged by itself."""
        try:
            return await self._store.write(lambda tx: self._accept_all(tx, batch, each=False))
        except Overrun:
            return await self._store.write(lambda tx: self._accept_all(tx, batch, each=True))

    async def _accept_all(self, tx: Tx, batch: list[_Prepared], *, each: bool) -> list[Verdict]:
        """The transaction. The order of its checks is conventions.md §11, steps 8-13. Raises Overrun unless `each`."""
        verdicts: dict[int, Verdict] = {}
        placed: list[_Placed] = []
        first: list[_Prepared] = []
        for prepared in batch:
            verdict = await self._repeated(tx, prepared)
            if verdict is None:
                first.append(prepared)
                verdict = await self._place(tx, prepared, placed)
            if verdict is not None:
                verdicts[prepared.id] = verdict
        taken = await self._charge(tx, placed, verdicts, each)
        await self._write(tx, taken)
        if not each:
            await self._charges.count(tx, [one.bill for one in taken if one.bill.plain])
        for prepared in [one for one in first if one.id in verdicts]:  # a refused one reserves nothing
            if prepared.request:
                await rows.forget_request(tx, *prepared.request)
        for one in [one for one in placed if one.prepared.id in verdicts]:
            if invite := one.prepared.submission.invite:
                await calendar.give_back(tx, one.prepared.submission.caller.account.id, invite, one.prepared.created)
        return [verdicts.get(prepared.id) or Accepted(prepared.info) for prepared in batch]

    async def _repeated(self, tx: Tx, prepared: _Prepared) -> Verdict | None:
        """mail.md §9.5: the first answer again, 40000, or None for a first request, which is remembered."""
        if prepared.request is None:
            return None
        until = prepared.created + int(self._settings.limits.request_id_window.total_seconds()) * 1_000_000
        answer = msgspec.json.encode(prepared.info)
        said = (prepared.submission.content_hash, answer)
        known = await rows.claim_request(tx, prepared.request, said, (prepared.created, until))
        if known is None:
            return None
        return _verdict(known, prepared.submission.content_hash)

    async def _place(self, tx: Tx, prepared: _Prepared, placed: list[_Placed]) -> Verdict | None:
        """Referenced objects exist (step 9), test users send to registered recipients only (step 10)."""
        submission, account = prepared.submission, prepared.submission.caller.account
        domain = submission.caller.domain
        if submission.send_domain:
            found = await accounts.domain(tx, account.id, submission.send_domain.lower())
            if found is None or not found[2]:
                return Refused(Code.DOMAIN_UNKNOWN)
            domain = Domain(found[0], found[1], bool(found[2]), found[3] == TEST)
        if not domain.verified:
            return Refused(Code.NOT_PERMITTED, message="sender domain not verified")
        name = submission.label_name
        if submission.label_id:
            label = await labels.get(tx, account.id, submission.label_id)
            if label is None:
                return Refused(Code.LABEL_UNKNOWN)
            name = label.name
        try:
            found_lists = await list_send.find(tx, account.id, submission.lists)
        except Refused as refused:
            return refused
        if submission.caller.is_test and (submission.lists or not await _all_registered(tx, account.id, submission.targets)):
            return Refused(Code.RECIPIENT_NOT_REGISTERED)
        invite = submission.invite
        if invite is not None and not await calendar.take(tx, account.id, invite, prepared.created):
            return Refused(Code.CALENDAR_NOT_BUILT, "changed at the same time")
        placed.append(_Placed(prepared, submission.label_id, name, domain, found_lists))
        return None

    async def _charge(self, tx: Tx, placed: list[_Placed], verdicts: dict[int, Verdict], each: bool) -> list[_Placed]:
        """Balance (step 11), quota (12), matching (13) of those that are charged one by one; who is left."""
        for one in placed:
            if each or not one.bill.plain:
                refused = await self._charges.charge(tx, one.bill)
                if refused is not None:
                    verdicts[one.prepared.id] = refused
        return [one for one in placed if one.prepared.id not in verdicts]

    async def _write(self, tx: Tx, taken: list[_Placed]) -> None:
        """Step 14: everything of everyone, table by table. The labels come first: they may be new."""
        labelled = await _with_labels(tx, taken)
        await rows.add_submissions(tx, [row for one in labelled for row in _submission_rows(one)])
        await rows.add_content(tx, [row for one in labelled for row in one.prepared.content_rows])
        for one in labelled:
            staged = one.prepared.staged
            if staged and not await rows.unstage(tx, one.prepared.submission.caller.account.id, one.prepared.id):
                raise Unavailable("content was swept before its mail was accepted")  # this process stood still for long
        for one in [one for one in labelled if one.lists]:
            await _add_list_sends(tx, one)
        plain = [one for one in labelled if not one.lists]
        await rows.add_recipients(tx, [row for one in plain for row in _recipient_rows(one.prepared)])
        await put(tx, [work for one in plain for work in self._works(one.prepared)])
        await record(tx, [_request_event(one) for one in plain])

    def _works(self, prepared: _Prepared) -> list[Work]:
        submission, account_id = prepared.submission, prepared.submission.caller.account.id
        lane_of, priority = self._settings.delivery.mail_lane, submission.caller.email_type
        due = submission.caller.quiet.end_of(prepared.created)
        works = []
        for number, target in enumerate(submission.targets, prepared.first_recipient):
            lane = lane_of(domain_of(target.address), number)
            works.append(Work(account_id, number, WorkKind.MAIL, lane, due, priority, number))
        return works


def _answer(prepared: _Prepared, verdict: Verdict | Exception) -> None:
    if prepared.done.done():  # the client went away meanwhile; what was accepted stays accepted
        return
    if isinstance(verdict, Accepted):
        prepared.done.set_result(verdict)
    else:
        prepared.done.set_exception(verdict)


async def _with_labels(tx: Tx, taken: Sequence[_Placed]) -> list[_Placed]:
    """With the label of each that names one; every name is looked up once."""
    known: dict[tuple[int, str], labels.Label] = {}
    labelled = []
    for one in taken:
        key = (one.prepared.submission.caller.account.id, one.label_name)
        if one.label_id or not one.label_name:
            labelled.append(one)
            continue
        if key not in known:
            known[key] = await labels.get_or_add(tx, *key, one.prepared.created)
        labelled.append(msgspec.structs.replace(one, label_id=known[key].id, label_name=known[key].name))
    return labelled


async def _all_registered(tx: Tx, account_id: int, targets: Sequence[Target]) -> bool:
    addresses = sorted({normalise(target.address) for target in targets})
    return len(await accounts.registered(tx, account_id, addresses)) == len(addresses)


def _submission_rows(one: _Placed) -> list[tuple[Any, ...]]:
    """One row; of a list send one for each list, which all share the first one's content."""
    prepared, submission = one.prepared, one.prepared.submission
    custom = {name: value for name, value in submission.content.headers if name.lower().startswith("sc-custom-")}
    sends = [(begun.id, begun.submission_id, begun.message_id) for begun in prepared.begun]
    return [
        (
            submission.caller.account.id,
            submission_id,
            submission.caller.id,
            submission.caller.sender_id,
            one.domain.id,
            message_id,
            submission.caller.email_type,
            one.label_id,
            one.label_name,
            ";".join(submission.tags),
            msgspec.json.encode(custom).decode() if custom else "",
            0 if send_id else prepared.first_recipient,
            0 if send_id else len(submission.targets),
            prepared.id,
            send_id,
            prepared.size,
            prepared.created,
        )
        for send_id, submission_id, message_id in sends or [(0, prepared.id, prepared.message_id)]
    ]


async def _add_list_sends(tx: Tx, one: _Placed) -> None:
    """Addresses beside the lists go with the first of them (mail.md §11)."""
    caller = one.prepared.submission.caller
    others = "\n".join(target.address for target in one.prepared.submission.targets)
    sends = [
        (begun, found, "" if n else others)
        for n, (begun, found) in enumerate(zip(one.prepared.begun, one.lists, strict=True))
    ]
    await list_send.add(tx, (caller.account.id, caller.id), sends, one.prepared.created)


def _recipient_rows(prepared: _Prepared) -> list[tuple[Any, ...]]:
    account_id, created = prepared.submission.caller.account.id, prepared.created
    return [
        (
            account_id,
            prepared.first_recipient + n,
            prepared.id,
            n,
            target.address,
            msgspec.msgpack.encode(target.variables) if target.variables else None,
            created,
            created,
            created,
        )
        for n, target in enumerate(prepared.submission.targets)
    ]


def _request_event(one: _Placed) -> Event:
    prepared, caller = one.prepared, one.prepared.submission.caller
    domains: dict[str, int] = {}
    for target in prepared.submission.targets:
        domain = domain_of(target.address)
        domains[domain] = domains.get(domain, 0) + 1
    return Event(
        id=prepared.event_id,
        kind=Kind.REQUEST,
        at=prepared.created,
        origin=Origin(caller.account.id, prepared.id, caller.id, caller.sender_id, one.label_id, prepared.created),
        domains=tuple(domains.items()),
    )
