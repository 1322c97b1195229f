"""A submission on its way in: what was asked for, its ids, what its transaction finds of it, and its rows.

Used by submission, which accepts it; built by api.mail and api.calendar. Calls nothing that waits.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec

from aurorasend.account import ApiUser, Domain
from aurorasend.calendar import Invite
from aurorasend.charge import Bill
from aurorasend.content import Attachment, Content, Target
from aurorasend.event import Event, Kind, Origin, domain_of
from aurorasend.handover import Mails
from aurorasend.letters import Known, Submitted
from aurorasend.list_send import Begun
from aurorasend.queue import Priority
from aurorasend.store.contact import AddressList

KNOWN_BYTES = 32 * 1024  # of content: so much is kept of each of lanes.IN_FLIGHT mails, until it is parsed


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


def scope_of(caller: ApiUser) -> str:
    """Of its sendRequestIds."""
    return f"api:{caller.id}"


@dataclass(slots=True)
class Prepared:
    """A submission with its ids and rows, waiting for its transaction."""

    submission: Submission
    id: int
    first_recipient: int
    event_id: int
    created: int
    message_id: str
    info: dict[str, Any]
    mails: Mails
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
        return scope_of(self.submission.caller)

    @property
    def request(self) -> tuple[int, str, str] | None:
        key = self.submission.request_key
        return (self.submission.caller.account.id, self.scope, key) if key else None

    def recipient_rows(self) -> list[tuple[Any, ...]]:
        account_id, created = self.submission.caller.account.id, self.created
        return [
            (
                account_id,
                self.first_recipient + n,
                self.id,
                n,
                target.address,
                msgspec.msgpack.encode(target.variables) if target.variables else None,
                created,
                created,
                created,
            )
            for n, target in enumerate(self.submission.targets)
        ]


class Placed(msgspec.Struct, frozen=True):
    """What the transaction found out about a submission it takes."""

    prepared: Prepared
    label_id: int
    label_name: str
    domain: Domain
    lists: tuple[AddressList, ...] = ()

    @property
    def bill(self) -> Bill:
        submission = self.prepared.submission
        mails = len(submission.targets) + sum(found.members for found in self.lists)
        return Bill(submission.caller, self.domain, mails, self.prepared.created, submission.matches)

    @property
    def origin(self) -> Origin:
        prepared, caller = self.prepared, self.prepared.submission.caller
        return Origin(caller.account.id, prepared.id, caller.id, caller.sender_id, self.label_id, prepared.created)

    @property
    def known(self) -> Known | None:
        """For delivery, what letters would read of it; None if it is too large to wait in memory."""
        if self.prepared.size > KNOWN_BYTES:
            return None
        prepared, caller, domain = self.prepared, self.prepared.submission.caller, self.domain
        is_batch = caller.email_type == Priority.BATCH
        submitted = Submitted(
            origin=self.origin,
            domain_id=domain.id,
            domain=domain.name,
            domain_changed=domain.changed,
            message_id=prepared.message_id,
            batch=is_batch,
            bounces=caller.account.bounce_interception,
            encrypted=caller.account.require_tls,
            is_marked=caller.account.ad_tag and is_batch,
            is_aligned=domain.is_aligned,
            mail_from=domain.mail_from,
            quiet=caller.quiet,
            size=prepared.size,
        )
        return Known(submitted, prepared.submission.content, prepared.submission.attachments)

    def submission_rows(self) -> list[tuple[Any, ...]]:
        """One row; of a list send one for each list, which all share the first one's content."""
        prepared, submission = self.prepared, self.prepared.submission
        custom = {name: value for name, value in submission.content.headers if name.lower().startswith("sc-custom-")}
        sends = [(begun.id, begun.submission_id, begun.message_id) for begun in prepared.begun]
        return [
            (
                submission.caller.account.id,
                submission_id,
                submission.caller.id,
                submission.caller.sender_id,
                self.domain.id,
                message_id,
                submission.caller.email_type,
                self.label_id,
                self.label_name,
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

    def request_event(self) -> Event:
        domains: dict[str, int] = {}
        for target in self.prepared.submission.targets:
            domain = domain_of(target.address)
            domains[domain] = domains.get(domain, 0) + 1
        return Event(
            id=self.prepared.event_id,
            kind=Kind.REQUEST,
            at=self.prepared.created,
            origin=self.origin,
            domains=tuple(domains.items()),
        )
