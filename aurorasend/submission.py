"""accept(): the one way in. HTTP, SMTP, address-list sends and the console all end here (design invariant 1).

Called by api.mail and api.calendar. Calls charge, handover, event (the request event), queue (put), list_send, calendar, store.
Always: submission, bodies, recipients, queue entries, quota and the `request` event are one transaction, and
success is answered only when it is durable. Many requests share it: what arrives while one batch commits is the next.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from aurorasend import calendar, list_send
from aurorasend.account import ApiUser, domain_of_row
from aurorasend.address import normalise
from aurorasend.busy import while_busy
from aurorasend.charge import Charges, Overrun
from aurorasend.clock import Clock
from aurorasend.codes import Code, Refused, Unavailable, Undone
from aurorasend.config import Settings
from aurorasend.content import CHUNK, Target, chunks
from aurorasend.event import record
from aurorasend.handover import Buried, Handover, Mails
from aurorasend.ids import Ids
from aurorasend.intake import Accepted, Placed, Prepared, Submission, scope_of
from aurorasend.list_send import Begun
from aurorasend.queue import put
from aurorasend.store import account as accounts
from aurorasend.store import label as labels
from aurorasend.store import submission as rows
from aurorasend.store.tx import Store, Tx

log = logging.getLogger(__name__)

BATCH = 128  # submissions in one transaction
COMPANY_S = 0.01  # while the process is busy a transaction waits so long for more of them
MIB = 1024 * 1024


Verdict = Accepted | Refused


class _Stored(msgspec.Struct, frozen=True):
    """What the transaction has done: a verdict for each, and what it took."""

    verdicts: list[Verdict]
    taken: list[Placed]


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

    def __init__(
        self, store: Store, clock: Clock, ids: Ids, settings: Settings, handover: Handover, origins: Origins
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._charges = Charges(settings)
        self._origins = origins
        self._handover = handover
        self._waiting: list[Prepared] = []
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
        request, now_us = (caller.account.id, scope_of(caller), key), self._clock.now_us()
        known = await self._store.read(lambda tx: rows.known_request(tx, request, now_us))
        if known is None:
            return None
        verdict = _verdict(known, content_hash)
        if isinstance(verdict, Refused):
            raise verdict
        return verdict

    async def _prepare(self, submission: Submission) -> Prepared:
        targets, lists, caller = len(submission.targets), len(submission.lists), submission.caller
        # Recipients, then the submission itself and its request event; or a submission for each list.
        first = await self._ids.take(lists or targets + 2)
        created, submission_id = self._clock.now_us(), first if lists else first + targets
        message_id = self._origins.message_id(caller.account.region, caller.account.id, created, submission_id)
        begun = await self._begin(submission, first, created) if lists else ()
        info: dict[str, Any] = {}
        if begun:
            info["maillistTaskId"] = [one.id for one in begun]
        elif submission.return_ids:
            info["emailIdList"] = [f"{message_id}{n}${target.address}" for n, target in enumerate(submission.targets)]
        if submission.invite is not None:
            info["uid"] = submission.invite.uid
        pieces = chunks(submission.content, submission.attachments)
        return Prepared(
            submission=submission,
            id=submission_id,
            first_recipient=first,
            event_id=submission_id + 1,
            created=created,
            message_id=message_id,
            info=info,
            mails=Mails(caller.account.id, first, submission.targets, caller.email_type, caller.quiet.end_of(created)),
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

    async def _stage(self, prepared: Prepared) -> None:
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

    def _next_batch(self) -> list[Prepared]:
        """Up to BATCH that wait; of two with one sendRequestId the second stays for the next batch."""
        batch: list[Prepared] = []
        left: list[Prepared] = []
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

    async def _accept_batch(self, batch: list[Prepared]) -> None:
        """Never raises: every submission of the batch gets its answer. When a batch fails for a reason that one of
        its members may have brought along, each is tried by itself, so that only the guilty one fails."""
        self._handover.reserve([one.mails for one in batch if one.mails.due <= one.created and not one.begun])
        try:
            stored = await self._accepted(batch)
        except Unavailable as error:
            log.warning("%d submissions refused, the store is away: %s", len(batch), error)
            if isinstance(error, Undone):
                self._handover.give_back([one.mails for one in batch])
            else:
                self._handover.begin([(one.mails, None) for one in batch if one.mails.places], others=True, is_doubtful=True)
            stored = None
        except Exception as error:
            self._handover.give_back([one.mails for one in batch])
            if len(batch) == 1:
                _answer(batch[0], error)
            else:
                for prepared in batch:
                    await self._accept_batch([prepared])
            return
        for number, prepared in enumerate(batch):
            _answer(prepared, stored.verdicts[number] if stored else Refused(Code.SEND_FAILED))
        if stored:
            self._begin_all(batch, stored)

    def _begin_all(self, batch: Sequence[Prepared], stored: _Stored) -> None:
        taken = {one.prepared.id for one in stored.taken}
        self._handover.give_back([prepared.mails for prepared in batch if prepared.id not in taken])
        others = any(one.lists or len(one.prepared.mails.places) < len(one.prepared.mails.targets) for one in stored.taken)
        fresh = [(one.prepared.mails, one.known) for one in stored.taken if one.prepared.mails.places]
        self._handover.begin(fresh, others=others)

    async def _accepted(self, batch: list[Prepared]) -> _Stored:
        """Mostly nobody meets a limit, and all are counted at the end; when somebody does, each is charged by itself."""
        each = False
        while True:
            try:
                return await self._store.write(lambda tx, each=each: self._accept_all(tx, batch, each=each))  # type: ignore[misc]
            except Overrun:
                each = True
            except Buried:
                self._handover.give_back([one.mails for one in batch])

    async def _accept_all(self, tx: Tx, batch: list[Prepared], *, each: bool) -> _Stored:
        """The transaction. The order of its checks is conventions.md §11, steps 8-13. Raises Overrun unless `each`."""
        verdicts: dict[int, Verdict] = {}
        placed: list[Placed] = []
        first: list[Prepared] = []
        for prepared in batch:
            verdict = await self._repeated(tx, prepared)
            if verdict is None:
                first.append(prepared)
                verdict = await self._place(tx, prepared, placed)
            if verdict is not None:
                verdicts[prepared.id] = verdict
        taken = await self._charge(tx, placed, verdicts, each)
        stored = await self._write(tx, taken)
        if not each:
            self._charges.count(tx, [bill for one in taken if (bill := one.bill).plain])
        for prepared in [one for one in first if one.id in verdicts]:  # a refused one reserves nothing
            if prepared.request:
                await rows.forget_request(tx, *prepared.request)
        for one in [one for one in placed if one.prepared.id in verdicts]:
            if invite := one.prepared.submission.invite:
                await calendar.give_back(tx, one.prepared.submission.caller.account.id, invite, one.prepared.created)
        return _Stored([verdicts.get(prepared.id) or Accepted(prepared.info) for prepared in batch], stored)

    async def _repeated(self, tx: Tx, prepared: Prepared) -> Verdict | None:
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

    async def _place(self, tx: Tx, prepared: Prepared, placed: list[Placed]) -> Verdict | None:
        """Referenced objects exist (step 9), test users send to registered recipients only (step 10)."""
        submission, account = prepared.submission, prepared.submission.caller.account
        domain = submission.caller.domain
        if submission.send_domain:
            found = await accounts.domain(tx, account.id, submission.send_domain.lower())
            if found is None or not (domain := domain_of_row(found)).verified:
                return Refused(Code.DOMAIN_UNKNOWN)
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
        placed.append(Placed(prepared, submission.label_id, name, domain, found_lists))
        return None

    async def _charge(self, tx: Tx, placed: list[Placed], verdicts: dict[int, Verdict], each: bool) -> list[Placed]:
        """Balance (step 11), quota (12), matching (13) of those that are charged one by one; who is left."""
        for one in placed:
            if each or not one.bill.plain:
                refused = await self._charges.charge(tx, one.bill)
                if refused is not None:
                    verdicts[one.prepared.id] = refused
        return [one for one in placed if one.prepared.id not in verdicts]

    async def _write(self, tx: Tx, taken: list[Placed]) -> list[Placed]:
        """Step 14: everything of everyone, table by table. The labels come first: they may be new. Returns all with their
        labels."""
        labelled = await _with_labels(tx, taken)
        plain = [one for one in labelled if not one.lists]
        await rows.add_submissions(tx, [row for one in labelled for row in one.submission_rows()])
        await rows.add_content(tx, [row for one in labelled for row in one.prepared.content_rows])
        for one in labelled:
            staged = one.prepared.staged
            if staged and not await rows.unstage(tx, one.prepared.submission.caller.account.id, one.prepared.id):
                log.warning("content was swept before its mail was accepted")  # this process stood still for long
                raise Refused(Code.SEND_FAILED)
        for one in [one for one in labelled if one.lists]:
            await _add_list_sends(tx, one)
        await rows.add_recipients(tx, [row for one in plain for row in one.prepared.recipient_rows()])
        await put(tx, self._handover.works(tx, [one.prepared.mails for one in plain]))
        await record(tx, [one.request_event() for one in plain])
        return labelled


def _answer(prepared: Prepared, verdict: Verdict | Exception) -> None:
    if prepared.done.done():  # the client went away meanwhile; what was accepted stays accepted
        return
    if isinstance(verdict, Accepted):
        prepared.done.set_result(verdict)
    else:
        prepared.done.set_exception(verdict)


async def _with_labels(tx: Tx, taken: Sequence[Placed]) -> list[Placed]:
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


async def _add_list_sends(tx: Tx, one: Placed) -> None:
    """Addresses beside the lists go with the first of them (mail.md §11)."""
    caller = one.prepared.submission.caller
    others = "\n".join(target.address for target in one.prepared.submission.targets)
    sends = [
        (begun, found, "" if n else others)
        for n, (begun, found) in enumerate(zip(one.prepared.begun, one.lists, strict=True))
    ]
    await list_send.add(tx, (caller.account.id, caller.id), sends, one.prepared.created)
