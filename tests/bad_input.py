"""Requests with one parameter wrong, made from the declarations of an endpoint and one request to it that is right."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from typing import Any
from urllib.parse import quote_plus

import msgspec

from aurorasend import carrier
from aurorasend.codes import Code
from aurorasend.endpoint import Auth, Endpoint
from aurorasend.fields import Field, FileField, Seen
from aurorasend.phone import MAX_NUMBERS

FORM, JSON, MULTIPART = "application/x-www-form-urlencoded", "application/json", "multipart/form-data; boundary=b"
HUGE = 100_000  # characters
DIGITS = "9" * 400
DEEP = 5_000  # more than may be nested
MANY = 1_001  # entries: more than any list may have
WIDE = "\U0001f600"  # a character of 4 bytes

QUERIES = frozenset(["list", "get", "count", "status", "taskinfo", "emailStatus", "configuration"])

SPACES = (" ", "\t \r\n", "\u3000\u2003")
CONTROLS = {
    "CR": "\r",
    "LF": "\n",
    "a header line": "\r\nBcc: b@example.net",
    "U+2028": "\u2028",
    "U+0085": "\x85",
    "ESC": "\x1b",
    "U+202E": "\u202e",
    "U+FFFF": "\uffff",
}
BROKEN = {"no UTF-8": b"\xff\xfe", "cut UTF-8": b"\xe4\xbd", "overlong": b"\xc0\xaf", "surrogate": b"\xed\xa0\x80"}
HUGE_TEXTS = {
    "4-byte characters": WIDE * (HUGE // 4),
    "separators": ";" * HUGE,
    "list": "a;" * (HUGE // 2),
    "brackets": "[" * HUGE,
    "nested": '{"a":' * (HUGE // 5),
    "tags": "<a " * (HUGE // 3),
    "dots": "a." * (HUGE // 2),
    "quotes": '"\\' * (HUGE // 2),
    "addresses": "<a@" * (HUGE // 3),
    "variables": "%a" * (HUGE // 2),
    "inner space": "a" + " " * HUGE + "a",
    "stars": "*" * HUGE,
}
# By type, format or pattern of a field's schema: what is not one.
NO_INTEGER = ("abc", "1.5", "1e3", "--1", "0x10", "1_0", "1 2", "\uff11\uff12", "nan", f"-{DIGITS}")
NO_BOOLEAN = ("2", "-1", "yes", "truee", "1.0", "\uff11")
NO_DATE = ("2026-02-30", "2026-1-1", "20260101", "2026-01-01T00:00:00", "0000-01-01", "99999-01-01", "\uff12026-01-01")
NO_HOST = ("a b.example.com", "a..example.com", "-a-.example.com", "http://a.example.com/", "@")
NO_URL = ("nope", "ftp://a.example.com/", "http://", "http:///x", "http://a b/", "javascript:x")
NO_OBJECT = ("{", "[]", "null", "5", '"a"', '{"a":1', "{'a': 1}", "{a:1}", '{"a":NaN}')
BY_FORMAT = {"date": NO_DATE, "hostname": NO_HOST, "uri": NO_URL, "date-time": NO_DATE, "yyyy-MM-dd HH:mm:ss": NO_DATE}
MOST_HOST = 253  # characters, RFC 1035 §2.3.4; limits of the contract are above it
IGNORED = ("valarmTime",)  # what is no integer counts as absent (mail.md §5)
BOUND_ELSEWHERE = ("days",)  # by each endpoint for itself, unless there are dates (data.md §1.4)
TOLD_APART = ("members", "newMembers")  # wrong entries are reported, the others are taken (management.md §4)
NEVER_RIGHT = (("smsapi/send", "labelId"),)  # there are no SMS labels, and the code of an unknown one is that of a malformed one
NESTED: dict[str, object] = {"an object": {"a": {"b": []}}, "objects": [{"a": 1}], "lists": [[]]}
SCALARS: tuple[object, ...] = (5, -1, 1.5, True, False, None, [], {}, [None], ["", ""], [1, True])


class Rule(Enum):
    """What the declaration of a field makes of a value."""

    ANY = auto()  # nothing in particular: any code that the endpoint declares
    ABSENT = auto()
    BLANK = auto()
    INVALID = auto()
    REFUSED = auto()  # by a code of the field, whichever
    TOO_LONG = auto()
    TOO_MANY = auto()
    FITS = auto()  # nothing is wrong with the field


@dataclass(frozen=True)
class Case:
    """A request. It is answered with one of `expected`, if any are, and with none of `never`."""

    name: str
    body: bytes = b""
    content_type: str = FORM
    query: bytes = b""
    expected: frozenset[Code] = frozenset()
    never: frozenset[Code] = frozenset()


Given = Mapping[str, str]
Text = str | bytes
Value = Text | list[str]


@cache
def _quoted(text: Text) -> str:
    return quote_plus(text)


def form(given: Given, **change: Value | None) -> bytes:
    pairs = [
        f"{_quoted(name)}={_quoted(text)}"
        for name, value in {**given, **change}.items()
        if value is not None
        for text in (value if isinstance(value, list) else [value])
    ]
    return "&".join(pairs).encode()


def cases(asked: Endpoint, given: Given, users: Mapping[object, Endpoint]) -> Iterator[Case]:
    """All of an endpoint. `given` is what a right request to it holds; `users` tells which endpoint of those that share
    a declaration tries it with everything, the others leave out what only the same parser can tell."""
    for slot in asked.form.shown:
        if isinstance(slot.field, FileField):
            yield from _of_files(slot.field, given)
            continue
        of_field = OfField(asked, slot.field, given)
        yield from of_field.cases()
        if users[slot.field] is asked:
            yield from of_field.more_cases()
    yield from _of_credentials(asked, given)
    yield from _of_bodies(asked, given)


def is_query(asked: Endpoint) -> bool:
    """Whether it changes nothing, by the last word of its path."""
    return re.split("[/.]", asked.path.removesuffix(".json"))[-1] in QUERIES


def first_users(endpoints: Iterable[Endpoint]) -> dict[object, Endpoint]:
    """Of each declaration."""
    users: dict[object, Endpoint] = {}
    for each in endpoints:
        for slot in each.form.shown:
            users.setdefault(slot.field, each)
    return users


class OfField:
    """The cases of one text field."""

    def __init__(self, asked: Endpoint, field: Field[Any], given: Given) -> None:
        self.asked, self.field, self.wire = asked, field, field.wire
        self.schema: dict[str, Any] = dict(field.parser.schema)
        self.given = {name: value for name, value in given.items() if name != self.wire}
        self.right = given.get(self.wire) or field.example
        # A query looks for what nothing can be called, and finds nothing; the parts of a list are looked at one by one.
        is_tolerant = self.wire in TOLD_APART or (field.joined and is_query(asked)) or asked.path.endswith("/checkConfig")
        self.nul = Rule.ANY if is_tolerant else Rule.REFUSED
        self.sample = self.right or ("1" if self.schema.get("type") in ("integer", "boolean") else "sample")

    def cases(self) -> Iterator[Case]:
        yield self._form("missing", None, Rule.ABSENT)
        yield self._form("empty", "", Rule.ABSENT)
        yield self._form("white space", " ", Rule.BLANK)
        yield self._json("an object", {"a": {"b": []}}, Rule.ANY if self.field.json else Rule.INVALID)
        for text in self._no_such()[:2]:
            yield self._form(f"no {self._kind()}: {text!a}", text, Rule.REFUSED)
        yield self._form("a number of 400 digits", DIGITS, Rule.REFUSED if self._no_such() else Rule.ANY)
        yield from self._lengths()
        yield self._form("NUL", f"{self.sample[:1]}\0{self.sample[1:]}", self.nul)
        for name in ("CR", "a header line", "U+2028"):
            yield self._form(name, self.sample[:1] + CONTROLS[name] + self.sample[1:], Rule.ANY)
        yield self._form("no UTF-8", b"\xff\xfe", Rule.INVALID)
        yield self._form("100 KB", "x" * HUGE, Rule.REFUSED if "maxLength" in self.schema or self._no_such() else Rule.ANY)
        fits = self._fits()
        yield self._form("duplicate", [self.sample, self.sample], fits)
        yield self._form("duplicate, then wrong", [self.sample, "\0"], fits)
        yield self._form("duplicate, wrong first", ["\0", self.sample], Rule.ANY if self.field.joined else self.nul)

    def more_cases(self) -> Iterator[Case]:
        """What tells most about the parser."""
        for space in SPACES:
            yield self._form(f"white space {space!a}", space, Rule.BLANK)
        yield from self._wrong_types()
        yield from self._controls()
        yield from self._charsets()
        for name, text in HUGE_TEXTS.items():
            yield self._form(f"100 KB: {name}", text, Rule.REFUSED if "maxLength" in self.schema or self._no_such() else Rule.ANY)
        yield self._json("100 KB of JSON", [{"a": "x" * HUGE}], Rule.ANY if self.field.json else Rule.INVALID)
        yield from self._duplicates()

    def _wrong_types(self) -> Iterator[Case]:
        for name, nested in NESTED.items():
            yield self._json(name, nested, Rule.ANY if self.field.json else Rule.INVALID)
        for scalar in SCALARS:
            yield self._json(f"JSON {scalar!a}", scalar, Rule.ANY)
        for text in self._no_such()[2:]:
            yield self._form(f"no {self._kind()}: {text[:30]!a}", text, Rule.REFUSED)
        is_text = self.schema["type"] == "string" and "format" not in self.schema
        for name, number in (("a number of 400 digits", DIGITS), ("a number out of range", "1e999")):
            yield self._raw_json(f"JSON, {name}", number.encode(), Rule.ANY if is_text else Rule.REFUSED)

    def _fits(self) -> Rule:
        is_right = self.right and not self.field.joined and (self.asked.path, self.wire) not in NEVER_RIGHT
        return Rule.FITS if is_right else Rule.ANY

    def _kind(self) -> str:
        return str(self.schema.get("format") or self.schema["type"])

    def _no_such(self) -> tuple[str, ...]:
        match self.schema:
            case {"enum": _}:
                return ("zzz", "\uff11")
            case {"type": "integer"}:
                beyond = [("minimum", -1), ("maximum", 1)]
                return (*NO_INTEGER, *(str(int(self.schema[name]) + step) for name, step in beyond if name in self.schema))
            case {"type": "boolean"}:
                return NO_BOOLEAN
            case {"type": "object"}:
                return NO_OBJECT
            case {"format": name}:
                return BY_FORMAT[name]
            case {"pattern": pattern}:
                return tuple(text for text in ("!!", "\u4e2d", "x y") if not re.search(pattern, text))
        return ()

    def _lengths(self) -> Iterator[Case]:
        longest = self.schema.get("maxLength")
        if longest is not None:
            is_host = self.schema.get("format") == "hostname"
            yield self._form("at the limit", self.stretched(min(longest, MOST_HOST) if is_host else longest), Rule.FITS)
            yield self._form("too long by one", self.stretched(longest + 1), Rule.TOO_LONG)
            if not {"pattern", "format"} & set(self.schema) and "@" not in self.stretched(longest):
                yield self._form("4-byte characters", WIDE * longest, Rule.ANY)
                yield self._form("4-byte characters, too long by one", WIDE * (longest + 1), Rule.REFUSED)
        for name in ("minimum", "maximum"):
            if name in self.schema and self.wire not in BOUND_ELSEWHERE:
                yield self._form(name, str(int(self.schema[name])), Rule.FITS)
        if self.field.too_many is not None:
            yield self._form("too many entries", self._entries(), Rule.TOO_MANY)

    def _entries(self) -> str:
        """All different."""
        if self.asked.auth is Auth.SMS:
            return ",".join(f"+6591{n:06}" for n in range(MAX_NUMBERS + 1))
        entry = self.sample.partition(";")[0]
        return ";".join(f"a{n}{entry[1:]}" for n in range(MANY))

    def stretched(self, length: int) -> str:
        """A right value of that length."""
        if self.schema.get("format") == "hostname":
            return _host(length)
        if self.schema.get("format") == "uri":
            return self.sample + "?" + "x" * (length - len(self.sample) - 1)
        if self.wire == "from":
            return f"{'N' * (length - len(self.sample) - 3)} <{self.sample}>"
        if "address" in self.wire.lower() and length > 64:
            return "x" * 60 + "@" + _host(length - 61)
        return "x" * length

    def _controls(self) -> Iterator[Case]:
        """Most are right in a text of several lines."""
        first, rest = self.sample[:1], self.sample[1:]
        yield self._json("JSON, NUL", f"{first}\0{rest}", self.nul)
        for name, control in CONTROLS.items():
            yield self._form(name, first + control + rest, Rule.ANY)

    def _charsets(self) -> Iterator[Case]:
        for name, data in BROKEN.items():
            yield self._form(name, self.sample.encode() + data, Rule.INVALID)
        yield self._form("no GBK", b"\x81", Rule.INVALID, f"{FORM}; charset=gbk")
        for name, data in (("no UTF-8", b'"\xff"'), ("half a pair", rb'"\ud800"'), ("two wrong halves", rb'"\udc00\ud800"')):
            yield self._raw_json(name, data, Rule.INVALID, or_else=self.asked.unreadable)
        part = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n%s\r\n\xff\r\n--b--\r\n'
        for name, more in (("no UTF-8", b""), ("no ASCII", b"Content-Type: text/plain; charset=us-ascii\r\n")):
            body = part % (self.wire.encode(), more)
            yield self._request(f"part: {name}", body, MULTIPART, Rule.INVALID, query=form(self.given))

    def _duplicates(self) -> Iterator[Case]:
        fits, whole = self._fits(), {**self.given, self.wire: self.sample}
        yield self._form("duplicate, empty first", ["", self.sample], fits)
        yield self._form("duplicate, 1000 times", [self.sample] * 1000, fits)
        yield self._request("duplicate, wrong in the query", form(whole), FORM, fits, query=form({self.wire: "\0"}))
        yield self._request("in capitals", form({**self.given, self.wire.upper(): self.sample}), FORM, fits)
        yield self._request("in the query", b"", FORM, fits, query=form(whole))

    def _form(self, name: str, value: Value | None, rule: Rule, content_type: str = FORM) -> Case:
        return self._request(name, form(self.given, **{self.wire: value}), content_type, rule)

    def _json(self, name: str, value: object, rule: Rule) -> Case:
        return self._raw_json(name, msgspec.json.encode(value), rule)

    def _raw_json(self, name: str, value: bytes, rule: Rule, or_else: Code | None = None) -> Case:
        members = {**self.given, self.wire: msgspec.Raw(value)}
        return self._request(name, msgspec.json.encode(members), JSON, rule, or_else=or_else)

    def _request(self, name: str, body: bytes, kind: str, rule: Rule, *, query: bytes = b"", or_else: Code | None = None) -> Case:
        expected, never = self._codes(rule, query, body, kind)
        if or_else is not None and expected:
            expected |= {or_else}
        return Case(f"{self.wire}: {name}", body, kind, query, expected, never)

    def _codes(self, rule: Rule, query: bytes, body: bytes, kind: str) -> tuple[frozenset[Code], frozenset[Code]]:
        """What the declaration promises, if it does: the field may be read only sometimes, or by two declarations."""
        nothing: frozenset[Code] = frozenset()
        if self.wire in IGNORED and rule in (Rule.REFUSED, Rule.TOO_LONG):
            return nothing, nothing
        try:
            raw = carrier.read(query, kind, body)
        except carrier.Unreadable:
            return nothing, nothing
        seen = Seen(self.asked.form, raw)
        slots = [slot for slot in self.asked.form.slots.values() if slot.field.wire == self.wire]
        slots = [slot for slot in slots if slot.field.when is None or slot.field.when(seen)]
        if len(slots) != 1 or rule is Rule.ANY:
            return nothing, nothing
        field = slots[0].field
        assert isinstance(field, Field)
        required = field.required(seen) if field.required is not None else slots[0].required
        if field.empty is not None and (rule is Rule.BLANK or (rule is Rule.ABSENT and required)):
            return frozenset([field.empty]), nothing
        match rule:
            case Rule.INVALID:
                return frozenset([field.invalid]), nothing
            case Rule.REFUSED:
                return field.codes, nothing
            case Rule.TOO_LONG:
                return frozenset([field.too_long or field.invalid]), nothing
            case Rule.TOO_MANY:
                return frozenset([field.too_many or field.invalid]), nothing
            case Rule.ABSENT | Rule.BLANK:
                return nothing, nothing  # another one may be needed then
        others = [slot.field.codes for slot in self.asked.form.slots.values() if slot is not slots[0]]
        return nothing, field.codes - self.asked.raises.union(*others)


def _host(length: int) -> str:
    """A name of a host, in labels of up to 60 letters."""
    name = "example.com"
    while len(name) < length:
        label = min(60, length - len(name) - 1)
        if length - len(name) - 1 - label == 1:
            label -= 1  # else one character would be left, too little for a label and its dot
        name = "h" * label + "." + name
    return name


def _of_credentials(asked: Endpoint, given: Given) -> Iterator[Case]:
    names = {Auth.API_USER: ("apiUser", "apiKey"), Auth.SMS: ("smsUser", "smsKey"), Auth.NONE: ()}[asked.auth]
    refused = asked.auth.value
    for name in names:
        wrong: dict[str, Value | None] = {"missing": None, "empty": "", "white space": " ", "NUL": "a\0", **BROKEN}
        for how, value in wrong.items():
            yield Case(f"{name}: {how}", form(given, **{name: value}), expected=refused)
        yield Case(f"{name}: an object", msgspec.json.encode({**given, name: {"a": 1}}), JSON, expected=refused)
        yield Case(f"{name}: 100 KB", form(given, **{name: "x" * HUGE}), expected=refused)
        yield Case(f"{name}: duplicate", form(given, **{name: ["wrong", given[name]]}), expected=refused)


def _of_bodies(asked: Endpoint, given: Given) -> Iterator[Case]:
    unreadable = frozenset([asked.unreadable])
    for body in (b"[]", b"{", b'"a"', b"\xff", b"[" * DEEP, b'{"a":' * DEEP, b'{"a":NaN}'):
        yield Case(f"a body of JSON: {body[:9]!r}", body, JSON, expected=unreadable)
    for body in (b"", b"--b", b"--b\r\n\r\n", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", b"x" * DEEP):
        yield Case(f"a body in parts: {body[:40]!r}", body, MULTIPART)
    yield Case("a body without boundary", b"x", "multipart/form-data", expected=unreadable)
    yield Case("a charset that nobody knows", b"a=1", f"{FORM}; charset=utf-99")
    yield Case("too many parameters", b"a=1&" * 2_001, expected=unreadable)
    yield Case("nothing that can be decoded", b"\xff%%%=&=&%ZZ=%")
    yield Case("names that are no text", form(given) + b"&\xff=1&a[\xff]=1&[]=1&a[=1&%00=1")
    yield Case("no body at all")


def _of_files(field: FileField[Any], given: Given) -> Iterator[Case]:
    files = {
        "a text in its place": (b'"%s"', b"text"),
        "a path in its place": (b'"%s"', b"@./x.pdf"),
        "an empty file": (b'"%s"; filename="a.txt"', b""),
        "a file without a name": (b'"%s"; filename=""', b"data"),
        "NUL in the name": (b'"%s"; filename="a\0.txt"', b"data"),
        "a line break in the name": (b'"%s"; filename="a%%0D%%0AX: y.txt"', b"data"),
        "a name that is no UTF-8": (b'"%s"; filename="\xff.txt"', b"data"),
        "an encoded name that is no UTF-8": (b"\"%s\"; filename*=UTF-8''%%FF.txt", b"data"),
        "a name in an unknown charset": (b"\"%s\"; filename*=utf-99''a.txt", b"data"),
        "a long name": (b'"%s"; filename="' + b"x" * 5_000 + b'"', b"data"),
        "a name of a parent": (b'"%s"; filename="../../etc/passwd"', b"data"),
        "100 KB": (b'"%s"; filename="a.bin"', b"\xff" * HUGE),
    }
    part = b"--b\r\nContent-Disposition: form-data; name=%s\r\n\r\n%s\r\n"
    for name, (disposition, data) in files.items():
        one = part % (disposition % field.wire.encode(), data)
        for count in (1, 3):
            yield Case(f"{field.wire}: {name}, {count} times", one * count + b"--b--\r\n", MULTIPART, form(given))
