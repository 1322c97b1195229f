"""The engine for mail: one recipient, named steps, one outcome.

Called by dispatch, which claims and settles. Calls suppression, message, dkim, the route (sandbox, smart host or the
recipient's MX) and, in the transaction that settles, event. Always: what a peer says is an Outcome, never an exception;
a message whose end is unknown is not sent to another host (design §4).
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from aurorasend import outcome, return_path, sandbox, suppression
from aurorasend.clock import MINUTE, SECOND, Clock
from aurorasend.codes import Unavailable
from aurorasend.content import Target
from aurorasend.dispatch import Result
from aurorasend.dkim import Signer, hash_body, load_key
from aurorasend.event import BY_NAME, Event, Kind, domain_of, record
from aurorasend.ids import Ids
from aurorasend.letters import Fresh, Letters, Submitted
from aurorasend.message import Composed, Letter
from aurorasend.outcome import Fate, Outcome
from aurorasend.pool import NoPlace
from aurorasend.queue import Claimed, Later
from aurorasend.retry import next_attempt
from aurorasend.secret import Vault
from aurorasend.store import account as accounts
from aurorasend.store import submission as submissions
from aurorasend.store.tx import Row, Store, Tx
from aurorasend.variable import TooLong

log = logging.getLogger(__name__)

STALE_US = MINUTE  # what was read of a recipient so long ago is read again: who unsubscribes meanwhile gets nothing
LARGE_AT_ONCE = 8  # large mails composed and under way; each holds its bytes in memory
LARGE_TO_DOMAIN = 4  # of these to one domain: hosts that stall shall not have all places
LARGE_WAIT_S = 2.0  # for a place: who waits has a runner of the lane, which small mails need too
LARGE_AGAIN_US = 5 * SECOND  # who got no place is asked again after this
SIGNERS = 4096  # keys of sending domains kept in memory


class Envelope(msgspec.Struct, frozen=True):
    """What the next hop is given."""

    mail_from: str
    recipient: str
    raw: bytes
    needs_smtputf8: bool
    subject: str  # as text, for the sandbox's list; "" when there is none
    urgent: bool  # goes before what is not, where both wait for a connection
    encrypted: bool  # not to be sent in clear


class Route(Protocol):
    """Where mail goes. `smarthost` and `mx` in routes.py, the sandbox below."""

    async def send(self, envelope: Envelope) -> Outcome:
        """One try. Raises NoPlace; has its own deadlines."""

    async def close(self) -> None:
        """Leave all next hops."""


class Due(msgspec.Struct, frozen=True):
    """A recipient that is to be tried now."""

    claimed: Claimed
    submitted: Submitted
    position: int
    target: Target
    created: int
    suppressed: Outcome | None
    read: int  # when


@dataclass(frozen=True, slots=True)
class _Read:
    """What the store says of claimed entries of one account. `contents` are those not in memory yet, but for large ones."""

    account_id: int
    recipients: dict[int, Row]
    submissions: dict[int, Submitted]
    contents: dict[int, list[bytes]]
    listed: suppression.Listed
    at: int


class Report(msgspec.Struct, frozen=True):
    """What `record` writes of an attempt."""

    due: Due
    outcome: Outcome
    at: int
    caught: Envelope | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """How mail is worked on. `threads` sign beside the event loop; 0 signs in it, which costs less when other processes
    fill the other cores. `trigger_us` and `batch_us`: how long mail is tried (events.md §11.3)."""

    threads: int
    trigger_us: int
    batch_us: int


class Mail:
    """The crew that delivers mail (dispatch.Crew)."""

    def __init__(self, store: Store, clock: Clock, ids: Ids, vault: Vault, route: Route | None, terms: Terms) -> None:
        """`route` None is the sandbox."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._vault = vault
        self._route = route
        self._signing = ThreadPoolExecutor(terms.threads, "sign") if terms.threads else None
        self._terms = terms
        self._letters = Letters(store)
        self._large = _LargePlaces()
        self._signers: dict[tuple[int, int, int], Sequence[Signer]] = {}
        self._return_key = vault.derive("return path")

    async def close(self) -> None:
        if self._route is not None:
            await self._route.close()
        if self._signing is not None:
            self._signing.shutdown(wait=False)

    # -- loading

    async def load(self, claimed: Sequence[Claimed], known: Sequence[Fresh | None]) -> Sequence[Due]:
        """Content that it finds in memory may have gone when it is needed; then it is read by itself."""
        now_us = self._clock.now_us()
        by_account: dict[int, list[tuple[Claimed, Fresh | None]]] = {}
        for one, fresh in zip(claimed, known, strict=True):
            by_account.setdefault(one.account_id, []).append((one, fresh))

        async def unit(tx: Tx) -> list[_Read]:
            return [await self._read(tx, account_id, mine, now_us) for account_id, mine in by_account.items()]

        due: dict[int, Due] = {}
        for read in await self._store.read(unit):
            for submission_id, parts in read.contents.items():
                self._letters.keep(read.submissions[submission_id], parts)
            due |= {one.id: self._due(one, fresh, read) for one, fresh in by_account[read.account_id]}
        return [due[one.id] for one in claimed]

    async def _read(
        self, tx: Tx, account_id: int, mine: Sequence[tuple[Claimed, Fresh | None]], now_us: int
    ) -> "_Read":
        refs = [one.ref for one, fresh in mine if fresh is None]
        recipients = await submissions.recipients(tx, account_id, refs) if refs else []
        found, contents = await self._letters.read(tx, account_id, sorted({row[1] for row in recipients})) if refs else ([], {})
        addresses = [row[3] for row in recipients] + [fresh.target.address for _, fresh in mine if fresh is not None]
        return _Read(
            account_id,
            {row[0]: row for row in recipients},
            {one.origin.submission_id: one for one in found},
            contents,
            await suppression.look_up(tx, account_id, addresses, now_us),
            now_us,
        )

    def _due(self, one: Claimed, fresh: Fresh | None, read: "_Read") -> Due:
        if fresh is None:
            _, submission_id, position, address, variables, created = read.recipients[one.ref]
            submitted, at = read.submissions[submission_id], read.at
            target = Target(address, msgspec.msgpack.decode(variables, type=dict[str, str]) if variables else {})
        else:
            submitted, position, target = fresh.known.submitted, fresh.position, fresh.target
            at = created = submitted.origin.requested  # from about then is what is known of the account
            self._letters.keep_known(fresh.known)
        verdict = read.listed.verdict(target.address, submitted.origin.api_user_id, bounces=submitted.bounces)
        return Due(one, submitted, position, target, created, verdict, at)

    # -- one attempt

    async def attempt(self, loaded: Due) -> Result:
        """Try `loaded` once, with what is known of it by then: it may have waited for slow hosts, here or for a connection."""
        due = loaded
        while True:
            try:
                if self._clock.now_us() - due.read > STALE_US:
                    (due,) = await self.load([due.claimed], [None])
                return await self._try(due)
            except NoPlace:
                continue
            except Unavailable as error:
                log.warning("not tried, the store is away: %s", error)
                return _untried(due, self._clock.now_us() + SECOND)
            except TooLong as problem:  # of a list: what its members bring is not looked at before
                return self._result(due, outcome.unfit(f"not sent: {problem}"), None)

    async def _try(self, due: Due) -> Result:
        """Raises NoPlace. What cannot be composed does not expire either: that is a fault of ours, and nobody's bounce."""
        now_us = self._clock.now_us()
        if (end_us := due.submitted.quiet.end_of(now_us)) > now_us:  # they may have begun since it was due
            return _untried(due, end_us)
        if due.suppressed is not None:
            return self._result(due, due.suppressed, None)
        if (letter := await self._letters.small(due.submitted, due.target)) is not None:
            return self._result(due, *await self._compose_and_send(due, letter))
        domain = domain_of(due.target.address)
        if not await self._large.take(domain):
            return _untried(due, self._clock.now_us() + LARGE_AGAIN_US)
        try:
            return self._result(due, *await self._compose_and_send(due, None))
        finally:
            self._large.give_back(domain)

    async def _compose_and_send(self, due: Due, small: Letter | None) -> tuple[Outcome, Envelope | None]:
        envelope = await self._envelope(due, small)
        expired = self._expired(due)
        return (expired, None) if expired is not None else await self._send(envelope)

    def _expired(self, due: Due) -> Outcome | None:
        """Expiry is enforced wherever a message waits (design §4); the first attempt is always made."""
        if due.claimed.tries <= 1 or self._clock.now_us() <= due.created + self._life(due):
            return None
        return Outcome(Fate.BOUNCED, "expired while it waited", 503, "soft_bounce")

    def _life(self, due: Due) -> int:
        return self._terms.batch_us if due.submitted.batch else self._terms.trigger_us

    async def _envelope(self, due: Due, small: Letter | None) -> Envelope:
        """Compose and sign. A large mail, whose letter is not given, is composed beside the event loop."""
        submitted = due.submitted
        letter = small or await self._letters.get(submitted)
        if small is None:
            composed = await asyncio.to_thread(letter.compose, due.target, due.position)
        else:
            composed = letter.compose(due.target, due.position)
        signers = await self._signers_of(due)
        if self._signing is None:
            raw = self._sign(composed, signers)
        else:
            raw = await asyncio.get_running_loop().run_in_executor(self._signing, self._sign, composed, signers)
        return Envelope(
            mail_from=self._mail_from(due),
            recipient=due.target.address,
            raw=raw,
            needs_smtputf8=composed.needs_smtputf8,
            subject=letter.subject_of(due.target) if self._route is None else "",
            urgent=not submitted.batch,
            encrypted=submitted.encrypted,
        )

    def _mail_from(self, due: Due) -> str:
        """One that says, signed, who this recipient is, unless the domain has a fixed one (mail.md §10)."""
        submitted = due.submitted
        if submitted.mail_from:
            return f"{submitted.mail_from}@{submitted.domain}"
        return return_path.make(
            self._return_key, submitted.origin.account_id, due.claimed.ref, submitted.domain, self._clock.now_us()
        )

    def _sign(self, composed: Composed, signers: Sequence[Signer]) -> bytes:
        now_s, body_hash = self._clock.now_us() // 1_000_000, hash_body(composed.body)
        return composed.raw(b"".join(signer.sign(composed.fields, composed.body, now_s, body_hash) for signer in signers))

    async def _signers_of(self, due: Due) -> Sequence[Signer]:
        submitted = due.submitted
        key = (submitted.origin.account_id, submitted.domain_id, submitted.domain_changed)
        signers = self._signers.get(key)
        if signers is None:
            found = await self._store.read(lambda tx: accounts.domain_keys(tx, *key[:2]))
            signers = () if found is None else self._open_keys(found)
            if len(self._signers) >= SIGNERS:
                self._signers.clear()
            self._signers[key] = signers
        return signers

    def _open_keys(self, row: Row) -> Sequence[Signer]:
        name, selector, *sealed = row
        return [Signer(name, selector, load_key(self._vault.open(bytes(key), "dkim"))) for key in sealed if key]

    async def _send(self, envelope: Envelope) -> tuple[Outcome, Envelope | None]:
        if self._route is None:
            return Outcome(Fate.DELIVERED, "caught in the sandbox", 0, "deliver"), envelope
        return await self._route.send(envelope), None

    # -- the result

    def _result(self, due: Due, found: Outcome, caught: Envelope | None) -> Result:
        """A temporary failure waits for its next try, or is final when there is none (events.md §11.3)."""
        now_us = self._clock.now_us()
        again: Later | None = None
        if found.fate in (Fate.DEFERRED, Fate.AMBIGUOUS, Fate.HELD):
            at = next_attempt(due.claimed.tries, due.created, now_us, self._life(due), due.submitted.quiet)
            if at is None:
                found = msgspec.structs.replace(found, fate=Fate.BOUNCED)
            else:
                again = Later(due.claimed, at)
        return Result(due.claimed, again, Report(due, found, now_us, caught))

    # -- settling

    async def prepare(self, results: Sequence[Result]) -> int:
        """The first of as many event ids."""
        return await self._ids.take(len(results))

    async def record(self, tx: Tx, results: Sequence[Result], prepared: Any) -> None:
        reports: list[Report] = [result.report for result in results]
        await submissions.set_recipients(tx, [_recipient_row(result) for result in results])
        await self._suppress(tx, reports)
        await _refund(tx, reports)
        await sandbox.catch(tx, [_catch(report) for report in reports if report.caught is not None])
        await record(tx, [_event(prepared + n, report, results[n].again) for n, report in enumerate(reports)])

    async def _suppress(self, tx: Tx, reports: Sequence[Report]) -> None:
        delivered: dict[int, list[str]] = {}
        for report in reports:
            account_id, address = report.due.claimed.account_id, report.due.target.address
            if report.outcome.suppress:
                await suppression.bounced(tx, account_id, address, report.outcome, report.at)
            elif report.outcome.fate is Fate.DELIVERED:
                delivered.setdefault(account_id, []).append(address)
        for account_id, addresses in sorted(delivered.items()):
            await suppression.delivered(tx, account_id, addresses)


def _untried(due: Due, at_us: int) -> Result:
    return Result(due.claimed, Later(due.claimed, at_us, counts=False), None)


async def _refund(tx: Tx, reports: Sequence[Report]) -> None:
    """What was intercepted is not charged (data.md §11.4)."""
    kept_back = Counter(report.due.claimed.account_id for report in reports if report.outcome.fate is Fate.SUPPRESSED)
    for account_id, mails in sorted(kept_back.items()):
        await accounts.refund(tx, account_id, mails)


class _LargePlaces:
    """Places for large mails, LARGE_AT_ONCE in all and LARGE_TO_DOMAIN of them to one domain."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()
        self._freed = asyncio.Event()

    async def take(self, domain: str) -> bool:
        """Wait for a place at most LARGE_WAIT_S; False when there was none."""
        try:
            async with asyncio.timeout(LARGE_WAIT_S):
                while self._taken.total() >= LARGE_AT_ONCE or self._taken[domain] >= LARGE_TO_DOMAIN:
                    self._freed.clear()
                    await self._freed.wait()
        except TimeoutError:
            return False
        self._taken[domain] += 1
        return True

    def give_back(self, domain: str) -> None:
        self._taken[domain] -= 1
        if not self._taken[domain]:
            del self._taken[domain]
        self._freed.set()


# emailStatus numbers (mail.md §15.1)
_STATES = {"deliver": 1, "invalid": 4, "soft_bounce": 5}
_SENDING = 18


def _recipient_row(result: Result) -> Row:
    report: Report = result.report
    found, claimed = report.outcome, result.claimed
    state = _SENDING if result.again is not None else _STATES[found.event]
    sub_status = 0 if result.again is not None else found.sub_status
    return (claimed.account_id, claimed.ref, state, sub_status, claimed.tries, found.text, found.out_ip, report.at)


def _event(event_id: int, report: Report, again: Later | None) -> Event:
    due, found = report.due, report.outcome
    detail: dict[str, Any] = {"text": found.text, "try": due.claimed.tries}
    if found.out_ip:
        detail["out_ip"] = found.out_ip
    if again is not None:
        detail |= {"fate": found.fate.value, "next": again.due}
    return Event(
        id=event_id,
        kind=Kind.DEFERRED if again is not None else BY_NAME[found.event],
        at=report.at,
        origin=due.submitted.origin,
        recipient_id=due.claimed.ref,
        domains=((domain_of(due.target.address), 1),),
        sub_status=0 if again is not None else found.sub_status,
        detail=detail,
    )


def _catch(report: Report) -> sandbox.Catch:
    envelope, claimed = report.caught, report.due.claimed
    assert envelope is not None
    return sandbox.Catch(
        claimed.account_id, claimed.ref, "mail", report.at, envelope.mail_from, envelope.recipient, envelope.subject, envelope.raw
    )
