"""What a mail looks like: headers, html, text and attachments, read from its bytes for showing only.

Called by sandbox.py, in a thread: decoding is proportional to the mail's size. The mail may be hostile;
whatever cannot be read leaves its part empty, never an exception.
"""

import base64
import email
import email.errors
import email.header
import email.message
import re
from dataclasses import dataclass
from urllib.parse import unquote

INLINED_BYTES = 32 << 20  # all cid images of one page; one image named ten thousand times would fill the memory
TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}")  # RFC 6838 §4.2
CID = re.compile(r"""cid:([^\s"'<>()]{1,998})""", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    number: int  # its place among all parts of the mail, depth first
    name: str
    type: str
    cid: str
    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)


@dataclass(frozen=True)
class MailView:
    headers: tuple[tuple[str, str], ...]
    html: str | None
    text: str | None
    attachments: tuple[Part, ...]


def view_mail(raw: bytes) -> MailView:
    try:
        message = email.message_from_bytes(raw)
        leaves = [(number, part) for number, part in enumerate(message.walk()) if not part.is_multipart()]
    except RecursionError:  # parts within parts, thousands deep
        return MailView((), None, None, ())
    html = next((number for number, part in leaves if _is_body(part, "text/html")), None)
    text = next((number for number, part in leaves if _is_body(part, "text/plain")), None)
    return MailView(
        tuple((name, _decoded(value)) for name, value in message.raw_items()),
        next((_text(part) for number, part in leaves if number == html), None),
        next((_text(part) for number, part in leaves if number == text), None),
        tuple(_part(number, part) for number, part in leaves if number not in (html, text)),
    )


def with_images(view: MailView) -> str:
    """The html with its cid images as data: URLs.

    A sandboxed frame has no origin and sends no cookie, so it could not fetch them from us.
    """
    images = {part.cid: part for part in view.attachments if part.cid and part.type.startswith("image/")}
    left = INLINED_BYTES

    def replace(match: re.Match[str]) -> str:
        nonlocal left
        part = images.get(unquote(match[1])) or images.get(match[1])
        if part is None or part.size > left:
            return match[0]
        left -= part.size
        return f"data:{part.type};base64,{base64.b64encode(part.content).decode()}"

    return CID.sub(replace, view.html or "")


def _is_body(part: email.message.Message, kind: str) -> bool:
    return part.get_content_type() == kind and part.get_content_disposition() != "attachment" and not _name(part)


def _part(number: int, part: email.message.Message) -> Part:
    kind = part.get_content_type()
    safe = kind if TYPE.fullmatch(kind) else "application/octet-stream"
    return Part(number, _name(part), safe, str(part.get("Content-ID", "")).strip(" \t\r\n<>"), _content(part))


def _content(part: email.message.Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _text(part: email.message.Message) -> str:
    try:
        return _content(part).decode(str(part.get_param("charset", "utf-8")), "replace")
    except (LookupError, ValueError):  # a charset that does not exist
        return _content(part).decode("utf-8", "replace")


def _name(part: email.message.Message) -> str:
    try:
        name = _decoded(part.get_filename() or "")
    except (LookupError, ValueError, TypeError):
        name = "unnamed"
    return "".join(c for c in re.split(r"[/\\]", name)[-1] if c.isprintable())[:255]


def _decoded(value: object) -> str:
    """A header's value with its encoded words read (RFC 2047); as it stands where that fails."""
    text = " ".join(str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace").split())
    try:
        return "".join(_word(piece, charset) for piece, charset in email.header.decode_header(text))
    except (email.errors.HeaderParseError, ValueError):
        return text


def _word(piece: str | bytes, charset: str | None) -> str:
    if isinstance(piece, str):
        return piece
    try:
        return piece.decode(charset or "utf-8", "replace")
    except LookupError:
        return piece.decode("utf-8", "replace")
