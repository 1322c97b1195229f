"""Addresses: read, check, split lists of them, compare them.

Called by whatever reads an address from outside (fields, xsmtpapi, api) or compares two
(suppression). Imports nothing of ours. What passes `parse_mailbox` or `is_address` is clean text: no control
character, no line break of any script, no lone surrogate can be in it, so it may stand in a header or in an
SMTP command.

Accepted (RFC 5321 §4.1.2, RFC 6531 §3.3): a local part that is a dot-atom or a quoted string of at most 64
octets, UTF-8 allowed; a domain of at least two labels (ours: a bare top-level domain is a typing error in
practice) which has an IDNA 2008 form; 254 octets in all. Refused: address literals, ports, source routes,
a final dot, comments. `%` and `!` are plain characters of a local part; nothing here routes by them.
"""

import re
from binascii import Error as BadEncoding
from binascii import a2b_base64, a2b_qp
from typing import NamedTuple

import idna

MAX_LOCAL = 64  # octets, RFC 5321 §4.5.3.1.1
MAX_ADDRESS = 254  # octets, RFC 5321 §4.5.3.1.3 (a path of 256 with its <>), RFC 3696 erratum 1690
MAX_DOMAIN = 253  # octets, RFC 1035 §2.3.4 without the root
MAX_MAILBOX = 998  # ours: a name and address must fit one header line (RFC 5322 §2.1.1)

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_LABEL = r"[A-Za-z0-9][A-Za-z0-9-]{0,62}(?<!-)"
_TOP = r"[A-Za-z][A-Za-z0-9-]{0,62}(?<!-)"  # never numeric: 192.0.2.1 is no domain
_DOMAIN = rf"(?:{_LABEL}\.)+{_TOP}"

_plain_address = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*@{_DOMAIN}").fullmatch
_plain_domain = re.compile(_DOMAIN).fullmatch
# RFC 6532 §3.2: outside ASCII everything printable counts as atext.
_dot_atom = re.compile(rf"(?:{_ATEXT}|[^\x00-\x7f])++(?:\.(?:{_ATEXT}|[^\x00-\x7f])++)*+").fullmatch
_quoted_string = re.compile(r'"(?:[^"\\]|\\[\x20-\x7e])*+"').fullmatch

# C0, C1, DEL, line and paragraph separator, lone surrogates: never in a name, an address or a header.
unclean = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search

# An unclosed quote or angle bracket takes the rest: such an element is malformed, and the scan stays linear.
_elements = re.compile(r'(?:[^;,"<]++|"(?:[^"\\]++|\\.)*+"?|<[^>]*+>?)++', re.DOTALL).findall
_phrase = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*+)"|([^"<>\s]++))', re.DOTALL).match

# RFC 2047 §2, with the language tag of RFC 2231 §5; neighbours separated by white space only are one run (§6.2).
_WORD = r"=\?[^?=*\s]+(?:\*[^?\s]*)?\?[BbQq]\?[^?\s]*\?="
_word_runs = re.compile(rf"{_WORD}(?:\s+{_WORD})*").sub
_words = re.compile(r"=\?([^?=*\s]+)(?:\*[^?\s]*)?\?([BbQq])\?([^?\s]*)\?=").findall


class BadAddress(ValueError):
    """Not an address, or not a name and an address. The text says what is wrong, without repeating the input."""


class NamedAddress(NamedTuple):
    """`name` is decoded text, "" when there is none; `address` is as given, trimmed."""

    name: str
    address: str


def is_address(text: str) -> bool:
    """Whether `text` is exactly one address, with nothing around it."""
    if len(text) > MAX_ADDRESS:
        return False
    if _plain_address(text):
        return text.index("@") <= MAX_LOCAL
    return (text.startswith('"') or not text.isascii()) and _is_unusual_address(text)


def parse_mailbox(text: str) -> NamedAddress:
    """Read `local@domain`, `<local@domain>` or `Name <local@domain>`; the name may be quoted, Unicode, or
    RFC 2047 words, in quotes too (clients send them so)."""
    text = text.strip()
    if is_address(text):
        return NamedAddress("", text)
    if len(text) > MAX_MAILBOX:
        raise BadAddress("longer than a header line")
    if not text.endswith(">"):
        raise BadAddress("not an address")
    name, bracket, address = text[:-1].rpartition("<")
    address = address.strip()
    if not bracket or not is_address(address):
        raise BadAddress("not an address in angle brackets")
    return NamedAddress(_parse_name(name), address)


def split_list(text: str) -> list[str]:
    """The elements between `;` or `,`, trimmed, empty ones left out. Separators in a quoted name or in <> do
    not count (spec conventions.md §4, README settled 10)."""
    elements = text.replace(",", ";").split(";") if '"' not in text and "<" not in text else _elements(text)
    return [trimmed for element in elements if (trimmed := element.strip())]


def normalise(address: str) -> str:
    """The one form in which addresses are compared and kept in suppression lists: trimmed, lower case
    (spec data.md §1.7); of an international domain the Unicode form, however it was written."""
    address = address.strip().lower()
    if address.isascii() and "xn--" not in address:
        return address
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{idna.decode(ascii_domain(domain)).lower()}"
    except (BadAddress, idna.IDNAError):
        return address


def ascii_domain(domain: str) -> str:
    """The form of `domain` that DNS and SMTP without SMTPUTF8 know, as written when it is ASCII already.
    Raises BadAddress when it is no domain name."""
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as problem:
            raise BadAddress("not a domain name") from problem
    if len(domain) > MAX_DOMAIN or not _plain_domain(domain):
        raise BadAddress("not a domain name")
    return domain


def is_domain(text: str) -> bool:
    """Whether `text` has the form of a domain name in ASCII: letters, digits and hyphens, at least one dot. Its length is
    for the caller, who may have a limit of its own (spec management.md §5.4, §6.2)."""
    return _plain_domain(text) is not None


def decode_words(text: str) -> str:
    """Replace RFC 2047 encoded words by what they say; what cannot be decoded stays as it is. The outcome may
    hold control characters: check it with `unclean`."""
    return _word_runs(_decode_run, text) if "=?" in text else text


def _is_unusual_address(text: str) -> bool:
    """The slow road: Unicode addresses and quoted local parts."""
    local, _, domain = text.rpartition("@")
    if not text.isprintable() or not (_dot_atom(local) or _quoted_string(local)):
        return False
    octets = len(local.encode())
    try:
        return octets <= MAX_LOCAL and octets + 1 + len(ascii_domain(domain)) <= MAX_ADDRESS
    except BadAddress:
        return False


def _parse_name(text: str) -> str:
    """A phrase as text: quoted strings and words (RFC 5322 §3.2.5; ours: any character may be in a word)."""
    text = text.strip().replace("\t", " ")
    words, end = [], 0
    while end < len(text):
        found = _phrase(text, end)
        if not found:
            raise BadAddress("a quote or angle bracket in the name")
        quoted, word = found.groups()
        words.append(word if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        end = found.end()
    name = decode_words(" ".join(words)).strip()
    if unclean(text) or unclean(name):
        raise BadAddress("a control character in the name")
    return name


def _decode_run(run: re.Match[str]) -> str:
    """One run of encoded words. Clients cut characters of several octets in two words, so the octets of
    neighbours with the same charset are put together before they become text."""
    parts: list[tuple[str, bytes]] = []
    try:
        for charset, encoding, coded in _words(run[0]):
            octets = a2b_base64(coded + "==") if encoding in "Bb" else a2b_qp(coded, header=True)
            if parts and parts[-1][0] == charset:
                octets = parts.pop()[1] + octets
            parts.append((charset, octets))
        return "".join(octets.decode(_codec(charset)) for charset, octets in parts)
    except (BadEncoding, LookupError, ValueError):
        return run[0]


def _codec(charset: str) -> str:
    """Mail labelled gb2312 is mostly GBK, of which GB 18030 is the superset."""
    return "gb18030" if charset.lower() == "gb2312" else charset
