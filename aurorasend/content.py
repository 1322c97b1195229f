"""What a customer handed over, once per submission: sender, subject, bodies, headers, attachments.

Built by api.mail, stored by submission.accept, read back by delivery, which gives it to
message.py to compose the mail of each recipient. Values here are clean text: no CR, LF or NUL can be in any
field that becomes a header (the readers in fields and address refuse them, message.py refuses them again).
"""

from collections.abc import Sequence

import msgspec

CHUNK = 256 * 1024  # octets of one row of the content table


class Mailbox(msgspec.Struct, frozen=True):
    """A display name and an address. `name` is decoded text, "" when there is none; `address` is as given, trimmed."""

    address: str
    name: str = ""


class Attachment(msgspec.Struct, frozen=True):
    """A file. `cid` is set for embedded images (inline, Content-ID without <>), else ""."""

    name: str
    content_type: str
    data: bytes
    cid: str = ""


class Calendar(msgspec.Struct, frozen=True):
    """An iCalendar object (RFC 5545) and its METHOD, which the mail says too (RFC 6047 §2.4)."""

    method: str
    text: str


class Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """mail.md §2.1, §4, §5. Attachments are stored apart (Attachment), in the order given."""

    sender: Mailbox
    subject: str
    html: str | None = None
    plain: str | None = None  # beside html only where the account may send both
    summary: str | None = None  # contentSummary, mail.md §9.4
    reply_to: tuple[Mailbox, ...] = ()
    to: tuple[Mailbox, ...] = ()  # mode A: shown in To; mode B: empty, To is the recipient alone
    cc: tuple[Mailbox, ...] = ()  # mode A only
    headers: tuple[tuple[str, str], ...] = ()  # customer's own, already filtered by mail.md §9.1
    notification: bool = False  # useNotification, mail.md §9.6: a read receipt is asked for
    receipt_to: str = ""  # where it goes, "": to the sender's address (conventions.md §10.6, code 40828)
    pubsub: dict[str, str] = {}  # values common to all recipients, names without %
    section: dict[str, str] = {}  # second-level values inside `sub` values, names without %
    track_open: bool = False
    track_click: bool = False
    track_unsubscribe: bool = False
    calendar: Calendar | None = None  # mail.md §5


class Target(msgspec.Struct, frozen=True):
    """One recipient of a submission: where, and with which values. `variables` has names without %."""

    address: str
    variables: dict[str, str] = {}


class StoredFile(msgspec.Struct, frozen=True):
    """An attachment without its bytes, which are part `n + 1` of the content."""

    name: str
    content_type: str
    cid: str


class StoredContent(msgspec.Struct, frozen=True):
    """Part 0 of the content table."""

    content: Content
    files: tuple[StoredFile, ...]


def chunks(content: Content, attachments: Sequence[Attachment]) -> list[tuple[int, int, bytes]]:
    """(part, chunk, data) for the content table."""
    files = tuple(StoredFile(a.name, a.content_type, a.cid) for a in attachments)
    parts = [msgspec.msgpack.encode(StoredContent(content, files)), *(a.data for a in attachments)]
    return [
        (part, number, data[at : at + CHUNK])
        for part, data in enumerate(parts)
        for number, at in enumerate(range(0, max(len(data), 1), CHUNK))
    ]
