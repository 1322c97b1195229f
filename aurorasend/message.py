"""Composes the mail of one recipient (RFC 5322, MIME) from a submission that was parsed once.

Called by delivery: one `Letter` per submission, `compose` for each recipient, dkim signs what comes out. Calls
header and variable. Always: CRLF and 7 bits everywhere but in internationalised addresses, no line over 998
octets, and no text of a customer or of a recipient adds a header field, a part or a line of the head. A reader
gets the texts as they were given, but for line ends, which are CRLF, one at least at the end.

Ours (spec mail.md §17 leaves it open): bodies are quoted-printable, so that their fixed parts are encoded once.
"""

import re
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.utils import format_datetime, getaddresses
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from aurorasend import clock, header, variable
from aurorasend.address import ascii_domain, is_address
from aurorasend.content import Attachment, Calendar, Content, Mailbox, Target
from aurorasend.header import Field
from aurorasend.markup import mark_summary, split_at_end, unsubscribe_block

# Fields of which a message has one at most (RFC 5322 §3.6, RFC 2369 §3, RFC 8058 §3.1, RFC 2919): the first counts.
_SINGLE = frozenset(
    {"message-id", "reply-to", "in-reply-to", "references", "list-id", "list-unsubscribe", "list-unsubscribe-post"}
)
_FOOTER = "%footer"

_message_id = re.compile(r"[A-Za-z0-9._-]{1,200}").fullmatch
_one_click_link = re.compile(r"https://[!-;=?-~]{1,900}").fullmatch
_own_id = re.compile(r"[!-~]{1,900}").fullmatch  # one word, kept as given (spec mail.md §6); no encoded words in an id
_content_id_unsafe = re.compile(r"[^\w!#$%&'*+./=?^`{|}~@-]", re.ASCII).sub
_base64_lines = re.compile(rb".{1,76}").findall  # RFC 2045 §6.8


@dataclass(frozen=True, slots=True)
class Links:
    """The tracking host's links for one recipient; "" is none. What is given here is trusted."""

    unsubscribe: str = ""


NO_LINKS = Links()


class Composed(NamedTuple):
    """One mail. `body` is the same object for all recipients if nothing in it depends on the recipient."""

    fields: tuple[Field, ...]
    body: bytes
    needs_smtputf8: bool  # RFC 6531: an address in the head or the envelope has a non-ASCII local part

    def raw(self, signatures: bytes = b"") -> bytes:
        """The octets for DATA, not dot-stuffed, with `signatures` (whole fields with CRLF) on top."""
        return b"%b%b\r\n%b" % (signatures, header.head(self.fields), self.body)


@dataclass(frozen=True, slots=True)
class _Frame:
    """What stands around the texts: the content fields in the head, and what is before, between and after them in the body."""

    fields: tuple[Field, ...]
    around: tuple[bytes, ...] = (b"", b"")


class Letter:
    """One submission, ready to be composed for any of its recipients."""

    def __init__(
        self, content: Content, attachments: Sequence[Attachment], domain: str, message_id: str, created_us: int, mark: str = ""
    ) -> None:
        """`domain` is the sending domain, `message_id` the submission's (spec mail.md §6), without index. `mark` is put before
        a subject that does not begin with it.

        Raises ValueError (BadAddress) for an address, a domain or an id that cannot stand in a header.
        accept() refused all of these, so it is a bug.
        """
        if not _message_id(message_id):
            raise ValueError("not a messageId")
        self._message_id = message_id
        self._id_end = f"@{ascii_domain(domain)}>"
        self._tracks_unsubscribe = content.track_unsubscribe
        self._section = content.section
        self._subject = variable.Line(variable.parse(content.subject, content.pubsub))
        self._mark = mark
        self._shows_all = bool(content.to)
        self._from, self._recipients, customers = _sender(content), _recipients(content), _customer_fields(content)
        given = {name.lower() for name, _ in customers}
        self._has_message_id = b"message-id" in given
        self._adds_list_unsubscribe = content.track_unsubscribe and b"list-unsubscribe" not in given
        self._adds_one_click = b"list-unsubscribe-post" not in given
        self._fields = (*_asked_for(content), (b"Date", _date(created_us // clock.SECOND)), (b"MIME-Version", b"1.0"), *customers)
        self._is_utf8 = not all(value.isascii() for _, value in (*self._from, *self._recipients, *self._fields))
        self._frame = _frame(content, attachments, message_id)
        self._texts = [variable.Body(parts) for parts in _texts(content)]
        self._fixed = sum([text.fixed for text in self._texts])
        self._constant_body = self._put_body({}) if all(text.is_constant for text in self._texts) else None

    def compose(self, target: Target, index: int, links: Links = NO_LINKS) -> Composed:
        """The mail of the recipient with this index in the submission. Raises BadAddress as the constructor does."""
        values = self._values(target, links)
        to = self._recipients if self._shows_all else (header.address_field("To", (Mailbox(target.address),)),)
        fields = (
            *self._from,
            *to,
            header.text_field("Subject", self._marked_subject(values)),
            *self._own_message_id(index),
            *self._fields,
            *self._list_unsubscribe(links),
            *self._frame.fields,
        )
        body = self._constant_body if self._constant_body is not None else self._put_body(values)
        return Composed(fields, body, self._is_utf8 or not target.address.rpartition("@")[0].isascii())

    @property
    def text_cost(self) -> int:
        """Bytes of memory that the texts take once they are parsed and encoded, about."""
        return sum([text.cost for text in self._texts]) + len(self._constant_body or b"")

    def text_size(self, target: Target) -> int:
        """Octets of this recipient's texts, about: a character that is filled in may be one, but three are common too.
        Raises TooLong."""
        if self._constant_body is not None or not target.variables:
            return self._fixed
        values = variable.resolve_sections(target.variables, self._section)
        return self._fixed + 3 * sum([text.filled(values) for text in self._texts])

    def subject_of(self, target: Target) -> str:
        """The subject of this recipient's mail as a reader sees it, for lists of mail."""
        return header.clean(self._marked_subject(self._values(target, NO_LINKS)))

    def _marked_subject(self, values: dict[str, str]) -> str:
        subject, mark = self._subject.fill(values), self._mark
        if not mark or subject.lstrip()[: len(mark)].casefold() == mark.casefold():
            return subject
        return f"{mark} {subject}"

    def _values(self, target: Target, links: Links) -> dict[str, str]:
        """Values by name for the text and the subject. A customer's own unsubscribe link wins (events.md §10.1)."""
        link = links.unsubscribe if self._tracks_unsubscribe else ""
        values = variable.resolve_sections(target.variables, self._section)
        return values | {
            variable.UNSUBSCRIBE_VARIABLE: values.get(variable.UNSUBSCRIBE, link),
            _FOOTER: unsubscribe_block(link) if link else "",
        }

    def _put_body(self, values: dict[str, str]) -> bytes:
        *around, after = self._frame.around
        return b"%b%b" % (b"".join([b + text.fill(values) for b, text in zip(around, self._texts, strict=True)]), after)

    def _own_message_id(self, index: int) -> tuple[Field, ...]:
        if self._has_message_id:
            return ()
        return ((b"Message-ID", f"<{self._message_id}{index}{self._id_end}".encode()),)

    def _list_unsubscribe(self, links: Links) -> tuple[Field, ...]:
        """events.md §10.4, RFC 8058 §3.1."""
        if not self._adds_list_unsubscribe or not _one_click_link(links.unsubscribe):
            return ()
        field = (b"List-Unsubscribe", f"<{links.unsubscribe}>".encode())
        return (field, (b"List-Unsubscribe-Post", b"List-Unsubscribe=One-Click")) if self._adds_one_click else (field,)


@lru_cache(maxsize=1024)  # customers write from the same few addresses
def _known_field(name: str, mailboxes: tuple[Mailbox, ...]) -> Field:
    return header.address_field(name, mailboxes)


def _sender(content: Content) -> tuple[Field, ...]:
    return (_known_field("From", (content.sender,)),)


def _recipients(content: Content) -> tuple[Field, ...]:
    """Mode A shows all, in the other modes To depends on the recipient (spec mail.md §1)."""
    listed = (("To", content.to), ("Cc", content.cc if content.to else ()))
    return tuple(header.address_field(name, mailboxes) for name, mailboxes in listed if mailboxes)


def _customer_fields(content: Content) -> list[Field]:
    """The customer's own fields in their order. Filtered again here, where they are written."""
    fields: list[Field] = []
    seen = {"reply-to"} if content.reply_to else set()
    for name, value in content.headers:
        lower = name.lower()
        if not header.is_field_name(name) or header.is_reserved(name):
            continue
        if lower in _SINGLE and (lower in seen or not value.strip() or (lower == "message-id" and not _own_id(value.strip()))):
            continue  # these have a syntax: an empty one is none, as elsewhere (conventions.md §4)
        seen.add(lower)
        fields += _customer_reply_to(value) if lower == "reply-to" else [header.customer_field(name, value)]
    return fields


def _customer_reply_to(value: str) -> list[Field]:
    """Names and addresses: an encoded word must not swallow an address, so it is taken apart if it is not ASCII."""
    if value.isascii():
        return [header.customer_field("Reply-To", value)]
    listed = [Mailbox(address, name) for name, address in getaddresses([header.clean(value)]) if is_address(address)]
    return [header.address_field("Reply-To", listed)] if listed else []


def _asked_for(content: Content) -> list[Field]:
    """Reply-To, if the customer asked for one, and the wish for a read receipt (spec mail.md §9.6)."""
    fields = [_known_field("Reply-To", content.reply_to)] if content.reply_to else []
    if content.notification or content.receipt_to:
        receiver = Mailbox(content.receipt_to or content.sender.address)
        fields.append(header.address_field("Disposition-Notification-To", (receiver,)))
    return fields


@lru_cache(maxsize=256)  # submissions are tried in the order of their coming, many to a second
def _date(created_s: int) -> bytes:
    return format_datetime(clock.utc(created_s * clock.SECOND)).encode()


def _texts(content: Content) -> list[list[variable.Part]]:
    """The texts of the mail with their holes: plain, html, or both in this order (spec mail.md §2.1)."""
    plain = variable.parse(content.plain or "", content.pubsub)
    if content.html is None:
        return [plain]
    html = _html_parts(content, content.html)
    return [html] if content.plain is None else [plain, html]


def _html_parts(content: Content, html: str) -> list[variable.Part]:
    """Only html has a summary and a footer."""
    html = mark_summary(html, content.summary) if content.summary else html
    if not content.track_unsubscribe or variable.UNSUBSCRIBE_VARIABLE in html:
        return variable.parse(html, content.pubsub)
    text, end = split_at_end(html)
    footer = variable.Hole(_FOOTER, "")
    return [*variable.parse(text, content.pubsub), footer, *variable.parse(end, content.pubsub)]


def _frame(content: Content, attachments: Sequence[Attachment], message_id: str) -> _Frame:
    """RFC 2046 §5.1.3, RFC 2387: images that the html shows are related to it, a plain text and an appointment are other
    forms of it, the plainest first (RFC 2046 §5.1.4, RFC 6047 §2.4), other files are mixed with it.

    No boundary can be in a part: quoted-printable and base64 never have "=_" (RFC 2045 §6.7).
    """
    is_html = content.html is not None
    subtype = "html" if is_html else "plain"
    frame = _Frame(_text_fields(subtype))
    is_both = is_html and content.plain is not None
    if not attachments and content.calendar is None and not is_both:
        return frame
    boundary = f"=_{sha256(message_id.encode()).hexdigest()[:24]}"
    images = [_part(attachment) for attachment in attachments if attachment.cid and is_html]
    files = [_part(attachment) for attachment in attachments if not (attachment.cid and is_html)]
    if images:
        frame = _enclose(frame, f'multipart/related; type="text/{subtype}"', f"{boundary}.r", images)
    appointments = [_calendar_part(content.calendar)] if content.calendar is not None else []
    if is_both or appointments:
        frame = _enclose(frame, "multipart/alternative", f"{boundary}.a", appointments, after_plain=is_both)
    if content.calendar is not None:
        files.append(_part(Attachment("invite.ics", "application/ics", content.calendar.text.encode())))
    return _enclose(frame, "multipart/mixed", f"{boundary}.m", files) if files else frame


def _text_fields(subtype: str) -> tuple[Field, ...]:
    coding = (b"Content-Transfer-Encoding", b"quoted-printable")
    return ((b"Content-Type", f"text/{subtype}; charset=utf-8".encode()), coding)


def _enclose(inner: _Frame, content_type: str, boundary: str, others: Iterable[bytes], *, after_plain: bool = False) -> _Frame:
    """`inner` as the first part, or the second after a plain text; then `others`."""
    line = f"--{boundary}".encode()
    before, *between, after = inner.around
    first = b"%b\r\n%b\r\n" % (line, header.head(inner.fields))
    opening = (b"%b\r\n%b\r\n" % (line, header.head(_text_fields("plain"))), b"\r\n" + first) if after_plain else (first,)
    parts = [b"\r\n%b\r\n%b" % (line, part) for part in others]
    closing = b"%b%b\r\n%b--\r\n" % (after, b"".join(parts), line)
    fields = ((b"Content-Type", f'{content_type};\r\n boundary="{boundary}"'.encode()),)
    return _Frame(fields, (*opening[:-1], opening[-1] + before, *between, closing))


def _calendar_part(calendar: Calendar) -> bytes:
    fields = (
        (b"Content-Type", f"text/calendar; method={calendar.method}; charset=UTF-8".encode()),
        (b"Content-Transfer-Encoding", b"base64"),
    )
    return _base64_part(fields, calendar.text.encode())


def _part(attachment: Attachment) -> bytes:
    kind, name = ("inline", attachment.name) if attachment.cid else ("attachment", attachment.name or "attachment")
    fields = [*header.file_fields(attachment.content_type, kind, name), (b"Content-Transfer-Encoding", b"base64")]
    if attachment.cid:
        fields.append((b"Content-ID", f"<{_content_id_unsafe('', attachment.cid)[:200] or 'file'}>".encode()))
    return _base64_part(fields, attachment.data)


def _base64_part(fields: Iterable[Field], data: bytes) -> bytes:
    coded = b2a_base64(data, newline=False)
    return b"%b\r\n%b" % (header.head(fields), b"\r\n".join(_base64_lines(coded)))
