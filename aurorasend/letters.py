"""Submissions as the engine needs them: read, parsed once, and kept as long as memory allows.

Called by delivery. Calls store and message. Always: what is kept stays within a budget, or is one letter; a large
submission is read only when one of its mails is to be tried, never a batch of them at a time.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from aurorasend.content import Attachment, Content, Mailbox, StoredContent, Target
from aurorasend.event import Origin
from aurorasend.message import Letter
from aurorasend.quiet import Quiet
from aurorasend.store import delivery as rows
from aurorasend.store.domain import is_aligned
from aurorasend.store.tx import Row, Store, Tx

BUDGET_BYTES = 64 * 1024 * 1024  # of letters kept
LARGE_BYTES = 256 * 1024  # of content: more is read for itself; of a mail's text: more is composed for itself
READ_AT_ONCE = 2  # large contents
AD_MARK = "(AD)"  # before the subject (mail.md §13)


class Submitted(msgspec.Struct, frozen=True):
    """What all recipients of a submission have in common. `bounces`: whether the account's bounce list is applied."""

    origin: Origin
    domain_id: int
    domain: str
    domain_changed: int  # when, so that a changed key is seen
    message_id: str
    batch: bool
    bounces: bool
    encrypted: bool  # it leaves by TLS or waits
    is_marked: bool  # as advertising (mail.md §13)
    is_aligned: bool  # From is at the domain: it is set so, or DNS was seen to have DMARC for it (mail.md §10)
    mail_from: str  # the local part of the envelope sender, or "" for one of each recipient's own
    quiet: Quiet
    size: int  # bytes of content

    @property
    def is_large(self) -> bool:
        return self.size > LARGE_BYTES

    @property
    def key(self) -> tuple[int, int, bool, bool]:
        """Of its letter, which is another one when the account changes its mind."""
        return (self.origin.account_id, self.origin.submission_id, self.is_marked, self.is_aligned)


class Known(msgspec.Struct, frozen=True):
    """A submission as this process has just stored it, `submitted` as read then or a second before."""

    submitted: Submitted
    content: Content
    attachments: Sequence[Attachment]


class Fresh(NamedTuple):
    """A recipient of it."""

    known: Known
    position: int
    target: Target


class Letters:
    """One per process; belongs to its event loop, but for `read`, which only looks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[tuple[int, int, bool, bool], tuple[Letter, int]] = OrderedDict()
        self._bytes = 0
        self._reading = asyncio.Semaphore(READ_AT_ONCE)

    async def read(self, tx: Tx, account_id: int, ids: Sequence[int]) -> tuple[list[Submitted], dict[int, list[bytes]]]:
        """The submissions, and the content of those that are neither large nor kept."""
        found = [_submitted(account_id, row) for row in await rows.submissions(tx, account_id, ids)]
        missing = [one.origin.submission_id for one in found if not one.is_large and one.key not in self._kept]
        return found, await rows.contents(tx, account_id, missing) if missing else {}

    def keep(self, submitted: Submitted, parts: Sequence[bytes]) -> None:
        self._keep(submitted, _read_letter(submitted, parts))

    def keep_known(self, known: Known) -> None:
        """Unless it is kept already."""
        if known.submitted.key not in self._kept:
            self._keep(known.submitted, _letter(known.submitted, known.content, known.attachments))

    def _keep(self, submitted: Submitted, letter: Letter) -> Letter:
        key, size = submitted.key, 3 * submitted.size + letter.text_cost + 4096
        if (same := self._kept.pop(key, None)) is not None:  # read by two at once
            self._bytes -= same[1]
        self._kept[key] = (letter, size)
        self._bytes += size
        while self._bytes > BUDGET_BYTES and len(self._kept) > 1:
            _, (_, freed) = self._kept.popitem(last=False)
            self._bytes -= freed
        return letter

    async def get(self, submitted: Submitted) -> Letter:
        """Raises Unavailable."""
        if (letter := self._known(submitted)) is not None:
            return letter
        async with self._reading:
            if (letter := self._known(submitted)) is not None:
                return letter
            account_id, submission_id = submitted.origin.account_id, submitted.origin.submission_id
            contents = await self._store.read(lambda tx: rows.contents(tx, account_id, [submission_id]))
            # Beside the event loop: megabytes of text and files take a while to be parsed and encoded.
            return self._keep(submitted, await asyncio.to_thread(_read_letter, submitted, contents[submission_id]))

    async def small(self, submitted: Submitted, target: Target) -> Letter | None:
        """None where this recipient's mail is large, by its content or by what is filled in. Raises Unavailable, TooLong."""
        if submitted.is_large:
            return None
        letter = await self.get(submitted)
        return letter if letter.text_size(target) <= LARGE_BYTES else None

    def _known(self, submitted: Submitted) -> Letter | None:
        key = submitted.key
        known = self._kept.get(key)
        if known is None:
            return None
        self._kept.move_to_end(key)
        return known[0]


def _submitted(account_id: int, row: Row) -> Submitted:
    submission_id, api_user_id, sender_id, domain_id, message_id, email_type, label_id, created, size, *rest = row
    domain, domain_changed, seen, fixed_from, mail_from, interception, require_tls, ad_tag, *quiet = rest
    return Submitted(
        origin=Origin(account_id, submission_id, api_user_id, sender_id, label_id, created),
        domain_id=domain_id,
        domain=domain,
        domain_changed=domain_changed,
        message_id=message_id,
        batch=email_type == 1,
        bounces=bool(interception),
        encrypted=bool(require_tls),
        is_marked=bool(ad_tag) and email_type == 1,
        is_aligned=is_aligned(fixed_from, seen),
        mail_from=mail_from,
        quiet=Quiet(*quiet),
        size=size,
    )


def _opened(parts: Sequence[bytes]) -> tuple[Content, Sequence[Attachment]]:
    stored = msgspec.msgpack.decode(parts[0], type=StoredContent)
    return stored.content, [
        Attachment(file.name, file.content_type, data, file.cid) for file, data in zip(stored.files, parts[1:], strict=True)
    ]


def _read_letter(submitted: Submitted, parts: Sequence[bytes]) -> Letter:
    return _letter(submitted, *_opened(parts))


def _letter(submitted: Submitted, content: Content, attachments: Sequence[Attachment]) -> Letter:
    if submitted.is_aligned:
        content = _aligned(content, submitted.domain)
    mark = AD_MARK if submitted.is_marked else ""
    return Letter(content, attachments, submitted.domain, submitted.message_id, submitted.origin.requested, mark)


def _aligned(content: Content, domain: str) -> Content:
    """With From at `domain`; its local part and name stay."""
    local = content.sender.address.rpartition("@")[0]
    return msgspec.structs.replace(content, sender=Mailbox(f"{local}@{domain}", content.sender.name))
