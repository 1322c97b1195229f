"""What the texts of mail parameters mean: the parsers behind api.mail_fields.

Always: what goes into a header is free of control characters and line breaks of any script.
"""

import re
import zlib
from base64 import b64decode
from binascii import Error as BadEncoding

import msgspec

from aurorasend import attachment, xsmtpapi
from aurorasend.address import BadAddress, decode_words, is_address, parse_mailbox, split_list, unclean
from aurorasend.carrier import File
from aurorasend.codes import Code, Refused
from aurorasend.content import Attachment, Mailbox
from aurorasend.fields import Kind, Parser, Trouble, parser
from aurorasend.header import is_field_name, is_reserved
from aurorasend.xsmtpapi import XSmtpApi

MAX_FROM = 128  # characters, code 40257
MAX_ADDRESSES = 100  # per field, spec §1
MAX_REPLY_TO = 3
MAX_LISTS = 5  # spec §3
MAX_CHECKED = 1000  # ours: format goes before count, but a list this long is refused without reading all of it
MAX_LINE = 998  # octets, RFC 5322 §2.1.1
MAX_SUMMARY = 200  # octets, code 40878
MAX_TAGS = 5
MAX_TAG = 50  # characters
MAX_HEADERS = 65_536  # ours: octets of the whole value; mode C has 1024
MAX_UNPACKED = 32 << 20  # ours: octets of one body behind gzip, as large as a whole request may be
MAX_NUMBER = 2**63 - 1  # what the store can hold; larger ones are unknown as well
NOTHING = -1  # the number of no label, list send or SMS template

Headers = tuple[tuple[str, str], ...]

_integer = re.compile(r"[+-]?[0-9]{1,100}", re.ASCII).fullmatch


def _mailbox(given: str) -> Mailbox:
    if is_address(given):
        return Mailbox(given)
    try:
        named = parse_mailbox(given)
    except BadAddress as problem:
        raise Trouble(Kind.INVALID, str(problem)) from problem
    return Mailbox(named.address, named.name)


@parser(schema={"type": "string"})
def address(given: str) -> str:
    if not is_address(given):
        raise Trouble(Kind.INVALID)
    return given


@parser(Kind.TOO_LONG, schema={"type": "string", "maxLength": MAX_FROM})
def sender(given: str) -> Mailbox:
    mailbox = _mailbox(given)
    if len(given) > MAX_FROM:
        raise Trouble(Kind.TOO_LONG)
    return mailbox


@parser(schema={"type": "string"})
def display_name(given: str) -> str:
    """Clients put RFC 2047 words here too (wire-notes 6)."""
    if len(given.encode(errors="replace")) > MAX_LINE:
        raise Trouble(Kind.INVALID, "longer than a header line")
    name = decode_words(given.replace("\t", " "))
    if unclean(name):
        raise Trouble(Kind.INVALID, "a line break or control character")
    return name.strip()


def mailboxes(most: int) -> Parser[tuple[Mailbox, ...]]:
    @parser(Kind.TOO_MANY, schema={"type": "string"})
    def read(given: str) -> tuple[Mailbox, ...]:
        elements = split_list(given)
        listed = tuple([_mailbox(element) for element in elements[:MAX_CHECKED]])
        if len(elements) > most:
            raise Trouble(Kind.TOO_MANY)
        return listed

    return read


_addresses = mailboxes(MAX_ADDRESSES)


@parser(Kind.EMPTY, Kind.TOO_MANY, schema={"type": "string"})
def recipients(given: str) -> tuple[Mailbox, ...]:
    listed = _addresses.read(given)
    if not listed:
        raise Trouble(Kind.EMPTY)
    return listed


def _aliases(most: int) -> Parser[tuple[str, ...]]:
    @parser(Kind.EMPTY, Kind.TOO_MANY, schema={"type": "string"})
    def read(given: str) -> tuple[str, ...]:
        aliases = tuple(split_list(given))
        if not aliases:
            raise Trouble(Kind.EMPTY)
        if not all(map(is_address, aliases[:MAX_CHECKED])):
            raise Trouble(Kind.INVALID)
        if len(aliases) > most:
            raise Trouble(Kind.TOO_MANY)
        return aliases

    return read


list_aliases = _aliases(MAX_LISTS)
lists_and_addresses = _aliases(MAX_LISTS + MAX_ADDRESSES)  # v1, spec §11


@parser(schema={"type": "string"})
def subject_line(given: str) -> str:
    line = given.replace("\t", " ")
    if unclean(line):
        raise Trouble(Kind.INVALID, "a line break or control character")
    if len(line.encode()) > MAX_LINE:
        raise Trouble(Kind.INVALID, f"longer than {MAX_LINE} bytes")
    return line


@parser(Kind.TOO_LONG, schema={"type": "string"})
def summary_text(given: str) -> str:
    if "\0" in given:
        raise Trouble(Kind.INVALID, "NUL is not allowed")
    if len(given.encode(errors="replace")) > MAX_SUMMARY:
        raise Trouble(Kind.TOO_LONG)
    return given


@parser(schema={"type": "integer"})
def number_of(given: str) -> int:
    """NOTHING for one that nothing can have: it is unknown (40106, 431), not malformed."""
    if not _integer(given):
        raise Trouble(Kind.INVALID)
    return number if 0 < (number := int(given)) <= MAX_NUMBER else NOTHING


@parser(Kind.TOO_LONG, Kind.TOO_MANY, schema={"type": "string"})
def tag_list(given: str) -> tuple[str, ...]:
    if "\0" in given:
        raise Trouble(Kind.INVALID, "NUL is not allowed")
    tags = tuple(tag for element in given.split(";") if (tag := element.strip()))
    if len(tags) > MAX_TAGS:
        raise Trouble(Kind.TOO_MANY, f"sendTags should be no more than {MAX_TAGS}")
    if any(len(tag) > MAX_TAG for tag in tags):
        raise Trouble(Kind.TOO_LONG, f"a tag should be no more than {MAX_TAG} characters")
    return tags


@parser(schema={"type": "object", "additionalProperties": {"type": "string"}})
def custom_headers(given: str) -> Headers:
    """Spec §9.1. Of names that differ in case only the last counts, as of equal names in any JSON object; names
    that we write ourselves are left out. Reply-To stays in here: whether it counts depends on `replyTo`."""
    if len(given.encode(errors="replace")) > MAX_HEADERS:
        raise Trouble(Kind.INVALID, f"longer than {MAX_HEADERS} bytes")
    try:
        values = {name: _header_value(raw) for name, raw in _HEADERS.decode(given.encode()).items()}
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as problem:
        raise Trouble(Kind.INVALID, "not a JSON object of strings") from problem
    if not all(map(is_field_name, values)) or any(unclean(decode_words(value)) or unclean(value) for value in values.values()):
        raise Trouble(Kind.INVALID, "a name or value that cannot stand in a header")
    for name, value in values.items():
        if name.lower().startswith("sc-custom-") and (not value.strip() or "." in value):
            raise Refused(Code.MAIL_FAULT, f"{name} must not be empty or hold a dot")
    return tuple({name.lower(): (name, value) for name, value in values.items() if not is_reserved(name)}.values())


_HEADERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _header_value(raw: msgspec.Raw) -> str:
    if bytes(raw)[:1] in b"{[":
        raise Trouble(Kind.INVALID, "a value that is no string")
    return xsmtpapi.scalar_text(raw).replace("\t", " ")


@parser(schema={"type": "string"})
def content_ids(given: str) -> tuple[str, ...]:
    return tuple(attachment.content_id(cid) for element in given.split(";") if (cid := element.strip()))


@parser(schema={"type": "object"}, strip=False)
def xsmtpapi_value(given: str) -> XSmtpApi:
    return xsmtpapi.parse(given)


def files(parts: tuple[File, ...], given: str) -> tuple[Attachment, ...]:
    """A path as text is what clients send that mean to send a file (PHP's "@./test.txt", spec §9.2); an empty array in
    JSON means none."""
    if given.strip() not in ("", "[]"):
        raise Refused(Code.ATTACHMENT_INVALID)
    read = [attachment.read(part.name, part.content_type, part.data) for part in parts]
    return tuple([file for file in read if file])


def other_files(parts: tuple[File, ...], given: str) -> tuple[Attachment, ...]:
    """Of fields of any name, but for those that have a meaning of their own."""
    return files(tuple([part for part in parts if part.plain_field != "embeddedimage"]), given)


def unpacked(body: str | None, gzip: bool, code: Code) -> str | None:
    """What is behind base64 and gzip (spec §9.7), refused with `code` if it is not that. A form that was not percent-encoded
    has blanks for `+`."""
    if body is None or not gzip:
        return body
    try:
        packed = b64decode("".join(body.strip().replace(" ", "+").split()), validate=True)
        unpacker = zlib.decompressobj(wbits=31)
        octets = unpacker.decompress(packed, MAX_UNPACKED)
        if not unpacker.eof or unpacker.unused_data:
            raise Refused(code, "cut short, too large, or more than one gzip stream")
        if b"\0" in octets:
            raise Refused(code, "NUL is not allowed")
        return octets.decode()
    except (BadEncoding, ValueError, zlib.error) as problem:
        raise Refused(code) from problem
