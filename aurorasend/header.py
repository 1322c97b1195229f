"""Header fields as they go on the wire: cleaned, encoded to ASCII, folded.

Called by message, and by api.mail for `is_reserved` and `is_field_name`. Imports address and content only.
Always: whatever text comes in, what goes out is exactly one field of the name asked for; no CR or LF but those
of folding, each followed by a blank and text; no line over 998 octets, and over 76 only where one word is
longer. Non-ASCII octets appear in addresses only (RFC 6532), all other text is RFC 2047 words or RFC 2231
parameters.
"""

import os.path
import re
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from urllib.parse import quote

from aurorasend.address import BadAddress, ascii_domain, is_address
from aurorasend.content import Mailbox

Field = tuple[bytes, bytes]
"""Name and value; the value may be folded, has no blank before it and no CRLF after it."""

FOLD_AT = 76  # RFC 2047 §2 for lines with encoded words; RFC 5322 §2.1.1 would allow 78
MAX_WORD = 75  # RFC 2047 §2
MAX_TOKEN = 900  # ours: with a name of at most 76 in front it stays under 998 octets, RFC 5322 §2.1.1
MAX_QUOTED_NAME = 64  # ours: longer display names become encoded words, which can be folded
MAX_PIECE = 54  # ours: with `filename*12*=` and the blank before it within FOLD_AT
MAX_FILE_NAME = 255  # octets of UTF-8; ours: what file systems take, and 765 when percent-encoded

# spec mail.md §9.1: a customer's header of these names is ignored.
_RESERVED = frozenset({
    "from", "to", "cc", "bcc", "subject", "date", "sender", "return-path", "received", "dkim-signature",
    "authentication-results", "mime-version", "x-smtpapi", "disposition-notification-to",
})  # fmt: skip

# C0 but tab, DEL, C1, line and paragraph separator, lone surrogates.
_forbidden = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").sub
_field_name = re.compile(r"[!-9;-~]{1,76}").fullmatch  # RFC 5322 §3.6.8; the length is ours, to keep room for the value
_spaces = re.compile(" +").sub
_single_spaces = re.compile(r"(?<=[^ ]) ").split  # further spaces stay in front of the next word
_atoms = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*").fullmatch
_specials = re.compile(r'[\\"]').sub
_given_type = re.compile(r"\s*([\w!#$&.+^-]{1,64}/[\w!#$&.+^-]{1,64})\s*(?:;|$)", re.ASCII).match
_charset = re.compile(r';\s*charset\s*=\s*"?([\w.:+-]{1,40})', re.ASCII | re.IGNORECASE).search
_plain_file_name = re.compile(r"(?!.*=\?)[!#-\[\]-~](?:[ !#-\[\]-~]{0,50}[!#-\[\]-~])?").fullmatch  # ASCII without " and \


def clean(text: str) -> str:
    """`text` without what could end a line or a string anywhere: tabs become spaces, other control characters
    and line breaks of any script go."""
    return text if text.isprintable() else _forbidden("", text.replace("\t", " "))


def is_field_name(name: str) -> bool:
    return _field_name(name) is not None


def is_reserved(name: str) -> bool:
    """Whether a customer's header of this name is ignored (spec mail.md §9.1)."""
    name = name.lower()
    return name in _RESERVED or name.startswith(("arc-", "content-"))


def head(fields: Iterable[Field]) -> bytes:
    """The fields as octets, without the empty line after them."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def text_field(name: str, text: str) -> Field:
    """Text that is read back exactly as it is here, also when it looks like an encoded word."""
    text = clean(text)
    if text != text.strip(" "):
        return _fold(name, encoded_words(text, FOLD_AT - len(name) - 2))
    return _text(name, text, _cannot_stand_as_text)


def customer_field(name: str, value: str) -> Field:
    """A customer's own header: left as it is as far as a header can hold it, encoded words included."""
    return _text(name, clean(value).strip(" "), _cannot_stand)


def address_field(name: str, mailboxes: Iterable[Mailbox]) -> Field:
    """A list of names and addresses (RFC 5322 §3.4). Raises BadAddress, see `address_text`."""
    listed = [_mailbox(mailbox, FOLD_AT - len(name) - 2) for mailbox in mailboxes]
    for tokens in listed[:-1]:
        tokens[-1] += ","
    return _fold(name, [token for tokens in listed for token in tokens])


def address_text(address: str) -> str:
    """The address with its domain as A-labels, so that only a local part can need SMTPUTF8 (RFC 6531).
    Raises BadAddress for what is no address: nobody may have stored it."""
    if not is_address(address):
        raise BadAddress("not an address")
    if address.isascii():
        return address
    local, _, domain = address.rpartition("@")
    return f"{local}@{ascii_domain(domain)}"


def file_fields(content_type: str, kind: str, file_name: str) -> list[Field]:
    """Content-Type and Content-Disposition of a file; `kind` is attachment or inline.

    A name that is not short plain ASCII is said in both ways that are in use, since not all readers know one of
    them: RFC 2231, and encoded words in the older parameter `name`.
    """
    media_type, file_name = _media_type(content_type), _cut(clean(file_name))
    if not file_name:
        return [_fold("Content-Type", [media_type]), _fold("Content-Disposition", [kind])]
    if _plain_file_name(file_name):
        name, parameters = [f'name="{file_name}"'], [f'filename="{file_name}"']
    else:
        words = encoded_words(file_name, MAX_WORD - len(' name="'))
        name, parameters = f'name="{" ".join(words)}"'.split(" "), _extended("filename", file_name)
    return [
        _fold("Content-Type", [f"{media_type};", *name]),
        _fold("Content-Disposition", [f"{kind};", *parameters]),
    ]


def _media_type(text: str) -> str:
    """The type of a file as customers give it, made safe: type, subtype and charset. What may not be base64
    (multipart, message: RFC 2045 §6.4, RFC 2046 §5.2.1) or is no type becomes application/octet-stream."""
    found = _given_type(text)
    if not found or found[1].lower().startswith(("multipart/", "message/")):
        return "application/octet-stream"
    charset = _charset(text)
    return f"{found[1]}; charset={charset[1]}" if charset else found[1]


def _extended(parameter: str, text: str) -> list[str]:
    """A parameter in any script, in pieces that fit a line (RFC 2231 §4.1), of whole characters: some readers decode each
    piece by itself."""
    pieces = [""]
    for character in text:
        coded = quote(character, safe="")
        if len(pieces[-1]) + len(coded) > MAX_PIECE:
            pieces.append("")
        pieces[-1] += coded
    pieces[0] = "utf-8''" + pieces[0]
    if len(pieces) == 1:
        return [f"{parameter}*={pieces[0]}"]
    ends = [";"] * (len(pieces) - 1) + [""]
    return [f"{parameter}*{number}*={piece}{end}" for number, (piece, end) in enumerate(zip(pieces, ends, strict=True))]


def _text(name: str, text: str, encode: Callable[[str], bool]) -> Field:
    """`text` in words, those for which `encode` is true encoded. A short one of which nothing is stands as it is."""
    if len(name) + 2 + len(text) <= FOLD_AT and not encode(text):
        return name.encode(), text.encode()
    return _fold(name, _words(name, text, encode))


def _fold(name: str, tokens: list[str]) -> Field:
    value = " ".join(tokens)
    if len(name) + 2 + len(value) > FOLD_AT:
        value = "\r\n ".join(_lines(tokens, FOLD_AT - len(name) - 2))
    return name.encode(), value.encode()


def _lines(tokens: list[str], room: int) -> Iterator[str]:
    """The tokens in lines of at most `room` characters, then FOLD_AT less the blank, if no token is longer."""
    line = tokens[0]
    for token in tokens[1:]:
        if len(line) + 1 + len(token) > room:
            yield line
            line, room = token, FOLD_AT - 1
        else:
            line = f"{line} {token}"
    yield line


def _words(name: str, text: str, encode: Callable[[str], bool]) -> list[str]:
    """The words of `text`, those for which `encode` is true as encoded words. Neighbours of these are one text,
    since readers drop the space between encoded words (RFC 2047 §6.2)."""
    words = _single_spaces(text)
    if not any(map(encode, words)):
        return words
    tokens: list[str] = []
    for encoded, run in groupby(words, encode):
        if encoded:
            tokens += encoded_words(" ".join(run), MAX_WORD if tokens else FOLD_AT - len(name) - 2)
        else:
            tokens += run
    return tokens


def _cannot_stand(token: str) -> bool:
    return not token.isascii() or len(token) > MAX_TOKEN


def _cannot_stand_as_text(token: str) -> bool:
    return _cannot_stand(token) or "=?" in token


def encoded_words(text: str, first: int) -> list[str]:
    """RFC 2047 words of whole characters (§5), base64. `first` is how long the first one may be."""
    octets = text.encode()
    first = max(36, min(first, MAX_WORD))
    if len(octets) <= (first - 12) // 4 * 3:
        return [_encoded_word(octets)]
    return [_encoded_word(chunk.encode()) for chunk in _chunks(text, (first - 12) // 4 * 3, (MAX_WORD - 12) // 4 * 3)]


def _encoded_word(octets: bytes) -> str:
    return f"=?utf-8?b?{b2a_base64(octets, newline=False).decode()}?="


def _chunks(text: str, first: int, other: int) -> Iterator[str]:
    """Pieces of at most `first`, then `other` octets of UTF-8."""
    start, used, room = 0, 0, first
    for at, character in enumerate(text):
        needed = len(character.encode())
        if used + needed > room:
            yield text[start:at]
            start, used, room = at, 0, other
        used += needed
    yield text[start:]


def _mailbox(mailbox: Mailbox, room: int) -> list[str]:
    address = address_text(mailbox.address)
    name = _spaces(" ", clean(mailbox.name)).strip(" ") if mailbox.name else ""
    if not name:
        return [address]
    if not name.isascii() or "=?" in name or len(name) > MAX_QUOTED_NAME:
        words = encoded_words(name, room)
    elif _atoms(name):
        words = name.split(" ")
    else:
        words = ['"' + _specials(r"\\\g<0>", name) + '"']
    return [*words, f"<{address}>"]


def _cut(file_name: str) -> str:
    """At most MAX_FILE_NAME octets, keeping the extension, by which people's systems open files."""
    if len(file_name.encode()) <= MAX_FILE_NAME:
        return file_name
    stem, extension = os.path.splitext(file_name)
    extension = extension if len(extension.encode()) <= 20 else ""
    return stem.encode()[: MAX_FILE_NAME - len(extension.encode())].decode(errors="ignore") + extension
