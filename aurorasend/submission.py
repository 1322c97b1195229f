"""accept(): the one way in. HTTP, SMTP, address-list sends and the console all end here (design invariant 1).

Called by api.mail. Calls event (the request event), queue (put) and store.
Always: submission, bodies, recipients, queue entries, quota and the `request` event are one transaction, and
success is answered only when it is durable. Many requests share it: what arrives while one batch commits is the next.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from aurorasend.account import ApiUser, Domain
from aurorasend.address import normalise
from aurorasend.clock import Clock, day
from aurorasend.codes import Code, Refused, Unavailable
from aurorasend.config import Settings
from aurorasend.content import Attachment, Content, Target
from aurorasend.event import Event, Kind, Origin, domain_of, record
from aurorasend.ids import Ids
from aurorasend.queue import Kind as WorkKind
from aurorasend.queue import Work, put
from aurorasend.store import account as accounts
from aurorasend.store import label as labels
from aurorasend.store import submission as rows
from aurorasend.store.tx import Store, Tx
from aurorasend.wake import Wake

BATCH = 128  # submissions in one transaction
AT_ONCE = 2  # transactions under way: one commits while the next is filled
CHUNK = 256 * 1024  # design §7, Content
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Submission:
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
    matches: bool = True  # content matching (mail.md §12); False is refused after the quota check


@dataclass(frozen=True, slots=True)
class Accepted:
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
    staged: bool = False
    done: asyncio.Future[Accepted] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def content_rows(self) -> list[tuple[int, int, int, int, bytes]]:
        return [(self.submission.caller.account.id, self.id, *chunk) for chunk in self.chunks]

    @property
    def scope(self) -> str:
        return f"api:{self.submission.caller.id}"

    @property
    def request(self) -> tuple[int, str, str] | None:
        key = self.submission.request_key
        return (self.submission.caller.account.id, self.scope, key) if key else None


@dataclass(frozen=True, slots=True)
class _Placed:
    """What the transaction found out about a submission it takes."""

    prepared: _Prepared
    label_id: int
    label_name: str
    domain: Domain


Verdict = Accepted | Refused


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
        self._wake = wake
        self._origins = origins
        self._waiting: list[_Prepared] = []
        self._running = 0
        self._flushes: set[asyncio.Task[None]] = set()

    async def accept(self, submission: Submission) -> Accepted:
        """Take `submission` over. Raises Refused; Refused(SEND_FAILED) when it could not be stored, and then it is not."""
        try:
            prepared = await self._prepare(submission)
            if sum(len(data) for _, _, data in prepared.chunks) > CHUNK:
                await self._stage(prepared)
        except Unavailable as error:
            raise Refused(Code.SEND_FAILED) from error
        self._waiting.append(prepared)
        self._start()
        return await prepared.done

    async def _prepare(self, submission: Submission) -> _Prepared:
        targets = len(submission.targets)
        first = await self._ids.take(targets + 2)  # recipients, then the submission itself and its request event
        account = submission.caller.account
        created, submission_id = self._clock.now_us(), first + targets
        message_id = self._origins.message_id(account.region, account.id, created, submission_id)
        info: dict[str, Any] = {}
        if submission.return_ids:
            info["emailIdList"] = [f"{message_id}{n}${target.address}" for n, target in enumerate(submission.targets)]
        return _Prepared(
            submission=submission,
            id=submission_id,
            first_recipient=first,
            event_id=submission_id + 1,
            created=created,
            message_id=message_id,
            info=info,
            chunks=_chunks(submission),
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
        if self._waiting and self._running < AT_ONCE:
            self._running += 1
            flush = asyncio.get_running_loop().create_task(self._flush())
            self._flushes.add(flush)
            flush.add_done_callback(self._flushes.discard)

    async def _flush(self) -> None:
        try:
            await asyncio.sleep(0)  # whoever is ready in this turn of the loop comes along
            while batch := self._next_batch():
                await self._accept_batch(batch)
        finally:
            self._running -= 1
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
            verdicts: Sequence[Verdict] = await self._store.write(lambda tx: self._accept_all(tx, batch))
        except Unavailable:
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

    async def _accept_all(self, tx: Tx, batch: list[_Prepared]) -> list[Verdict]:
        """The transaction. The order of its checks is conventions.md §11, steps 8-13."""
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
        await self._write(tx, await self._charge(tx, placed, verdicts))
        for prepared in first:
            if prepared.request and prepared.id in verdicts:
                await rows.forget_request(tx, *prepared.request)  # a refused one reserves nothing
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
        content_hash, first_answer = known
        if content_hash != prepared.submission.content_hash:
            return Refused(Code.REQUEST_ID_REUSED)
        return Accepted(msgspec.json.decode(first_answer))

    async def _place(self, tx: Tx, prepared: _Prepared, placed: list[_Placed]) -> Verdict | None:
        """Referenced objects exist (step 9), test users send to registered recipients only (step 10)."""
        submission, account = prepared.submission, prepared.submission.caller.account
        domain = submission.caller.domain
        if submission.send_domain:
            found = await accounts.domain(tx, account.id, submission.send_domain.lower())
            if found is None or not found[2]:
                return Refused(Code.DOMAIN_UNKNOWN)
            domain = Domain(found[0], found[1], bool(found[2]))
        name = submission.label_name
        if submission.label_id:
            label = await labels.get(tx, account.id, submission.label_id)
            if label is None:
                return Refused(Code.LABEL_UNKNOWN)
            name = label.name
        if submission.caller.is_test and not await _all_registered(tx, account.id, submission.targets):
            return Refused(Code.RECIPIENT_NOT_REGISTERED)
        placed.append(_Placed(prepared, submission.label_id, name, domain))
        return None

    async def _charge(self, tx: Tx, placed: list[_Placed], verdicts: dict[int, Verdict]) -> list[_Placed]:
        """Balance (step 11), quota (12), matching (13). Quotas are counted for all of an account at once; only
        when that overruns, one by one."""
        taken: list[_Placed] = []
        for account_id in sorted({p.prepared.submission.caller.account.id for p in placed}):
            mine = [p for p in placed if p.prepared.submission.caller.account.id == account_id]
            plain = all(not p.prepared.submission.caller.account.check_balance and p.prepared.submission.matches for p in mine)
            if plain and not any(p.prepared.submission.caller.is_test for p in mine) and await self._use_quota(tx, mine):
                taken += mine
                continue
            for one in mine:
                verdict = await self._charge_one(tx, one)
                if verdict is None:
                    taken.append(one)
                else:
                    verdicts[one.prepared.id] = verdict
        return taken

    async def _charge_one(self, tx: Tx, one: _Placed) -> Verdict | None:
        """A refused one uses up nothing: what was taken for it is given back."""
        submission, account = one.prepared.submission, one.prepared.submission.caller.account
        mails = len(submission.targets)
        if account.check_balance and not await accounts.spend(tx, account.id, mails):
            return Refused(Code.BALANCE_TOO_LOW)
        verdict = await self._use_quotas(tx, one)
        if verdict is not None and account.check_balance:
            await accounts.spend(tx, account.id, -mails)
        return verdict

    async def _use_quotas(self, tx: Tx, one: _Placed) -> Verdict | None:
        """The account's quota, that of a test user, then matching."""
        if not await self._use_quota(tx, [one]):
            return Refused(Code.QUOTA_EXCEEDED)
        verdict: Verdict | None = None
        if not await self._use_test_quota(tx, one):
            verdict = Refused(Code.QUOTA_EXCEEDED)
        elif not one.prepared.submission.matches:
            verdict = Refused(Code.MATCH_FAILED)
            await self._use_test_quota(tx, one, back=True)
        if verdict is not None:
            await self._use_quota(tx, [one], back=True)
        return verdict

    async def _use_quota(self, tx: Tx, some: list[_Placed], *, back: bool = False) -> bool:
        """Recipients accepted today, in the API's zone (conventions.md §8)."""
        account = some[0].prepared.submission.caller.account
        limit = self._settings.limits.daily_quota if account.daily_quota is None else account.daily_quota
        mails = sum(len(one.prepared.submission.targets) for one in some)
        today = day(some[0].prepared.created, self._settings.zone)
        return await accounts.use_quota(tx, account.id, today, -mails if back else mails, limit)

    async def _use_test_quota(self, tx: Tx, one: _Placed, *, back: bool = False) -> bool:
        caller = one.prepared.submission.caller
        if not caller.is_test:
            return True
        today = f"{day(one.prepared.created, self._settings.zone)} api:{caller.id}"
        mails = len(one.prepared.submission.targets)
        return await accounts.use_quota(tx, caller.account.id, today, -mails if back else mails, self._settings.limits.test_quota)

    async def _write(self, tx: Tx, taken: list[_Placed]) -> None:
        """Step 14: everything of everyone, table by table. The label comes first: it may be new."""
        labelled = [await self._label(tx, one) for one in taken]
        await rows.add_submissions(tx, [_submission_row(one) for one in labelled])
        await rows.add_content(tx, [row for one in labelled for row in one.prepared.content_rows])
        for one in labelled:
            if one.prepared.staged:
                await rows.unstage(tx, one.prepared.submission.caller.account.id, one.prepared.id)
        await rows.add_recipients(tx, [row for one in labelled for row in _recipient_rows(one.prepared)])
        await put(tx, [work for one in labelled for work in self._works(one.prepared)])
        await record(tx, [_request_event(one) for one in labelled])

    async def _label(self, tx: Tx, one: _Placed) -> _Placed:
        submission = one.prepared.submission
        if one.label_id or not one.label_name:
            return one
        label = await labels.get_or_add(tx, submission.caller.account.id, one.label_name, one.prepared.created)
        return _Placed(one.prepared, label.id, label.name, one.domain)

    def _works(self, prepared: _Prepared) -> list[Work]:
        submission, account_id = prepared.submission, prepared.submission.caller.account.id
        lane_of, created, priority = self._settings.delivery.mail_lane, prepared.created, submission.caller.email_type
        works = []
        for number, target in enumerate(submission.targets, prepared.first_recipient):
            lane = lane_of(domain_of(target.address), number)
            works.append(Work(account_id, number, WorkKind.MAIL, lane, created, priority, number))
        return works


def _answer(prepared: _Prepared, verdict: Verdict | Exception) -> None:
    if prepared.done.done():  # the client went away meanwhile; what was accepted stays accepted
        return
    if isinstance(verdict, Accepted):
        prepared.done.set_result(verdict)
    else:
        prepared.done.set_exception(verdict)


async def _all_registered(tx: Tx, account_id: int, targets: Sequence[Target]) -> bool:
    addresses = sorted({normalise(target.address) for target in targets})
    return len(await accounts.registered(tx, account_id, addresses)) == len(addresses)


class StoredFile(msgspec.Struct, frozen=True):
    """An attachment without its bytes, which are part `n + 1` of the content."""

    name: str
    content_type: str
    cid: str


class StoredContent(msgspec.Struct, frozen=True):
    """Part 0 of the content table."""

    content: Content
    files: tuple[StoredFile, ...]


def _chunks(submission: Submission) -> list[tuple[int, int, bytes]]:
    files = tuple(StoredFile(a.name, a.content_type, a.cid) for a in submission.attachments)
    parts = [msgspec.msgpack.encode(StoredContent(submission.content, files)), *(a.data for a in submission.attachments)]
    return [
        (part, number, data[at : at + CHUNK])
        for part, data in enumerate(parts)
        for number, at in enumerate(range(0, max(len(data), 1), CHUNK))
    ]


def _submission_row(one: _Placed) -> tuple[Any, ...]:
    prepared, submission = one.prepared, one.prepared.submission
    custom = {name: value for name, value in submission.content.headers if name.lower().startswith("sc-custom-")}
    return (
        submission.caller.account.id,
        prepared.id,
        submission.caller.id,
        one.domain.id,
        prepared.message_id,
        submission.caller.email_type,
        one.label_id,
        one.label_name,
        ";".join(submission.tags),
        msgspec.json.encode(custom).decode() if custom else "",
        prepared.first_recipient,
        len(submission.targets),
        prepared.created,
    )


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
        origin=Origin(caller.account.id, prepared.id, caller.id, one.label_id, prepared.created),
        domains=tuple(domains.items()),
    )
