"""What a request carried, wherever it carried it: query string, urlencoded form, multipart form or JSON object.

Called by endpoint with the whole body in memory (http bounds its size); `Parameters` is then read by fields, and by
whatever needs the parameters exactly as they came (SMS signatures, the content of a repeated `sendRequestId`).
Always: every value is text of the declared charset, or marked as `Broken`; nothing that is received is lost, unknown
names included. Source: conventions.md §4, §13; wire-notes.md 2-5, 8.
"""

import codecs
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec
from falcon.uri import parse_query_string
from multipart import (
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    content_disposition_unquote,
    parse_options_header,
)

MAX_PARAMETERS = 2_000  # ours: a form has about 30; bounds the work of one request
MAX_PARTS = 1_000  # ours: attachments included
MAX_PART_HEADER = 8 * 1024  # ours: a file name is at most a few hundred bytes
MAX_PART_HEADERS = 16  # ours: RFC 7578 knows three
MAX_LIST = 2 << 20  # ours: characters of a list, of which the longest has 1000 elements of 1024: millions would stop the process

# Charsets in which & = % + are the ASCII bytes, so that a form can be split before it is decoded (conventions.md §13).
CHARSETS = frozenset(
    ["ascii", "big5", "big5hkscs", "cp932", "cp949", "euc_jp", "euc_kr", "gb18030", "gb2312", "gbk", "koi8-r", "koi8-u"]
    + ["shift_jis", "utf-8"]
    + [f"cp125{n}" for n in range(9)]
    + [f"iso8859-{n}" for n in range(1, 17) if n != 12]
)

_OPTION = re.compile(r';\s*(name|filename\*?)\s*=\s*("(?:\\.|[^"\\])*"|"[^"]*"|[^;]*)', re.IGNORECASE)
_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"([^"]+)"|([^;]*))', re.IGNORECASE)
_BRACKET = re.compile(r"([^\[\]]+)\[([^\[\]]*)\]")
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)

Texts = dict[str, list[str]]


class Unreadable(Exception):
    """The body cannot be read at all; the text says why, for the caller."""


class Broken(str):
    """Bytes that are not text in the charset of the request, kept as surrogates (PEP 383)."""

    __slots__ = ()


class Nested(str):
    """JSON text of an object or array: a member of a JSON body, or what bracket fields (`headers[X-A]=1`) amount to."""

    __slots__ = ()


class File(NamedTuple):
    """A part with a file name. `name` is as sent: perhaps empty, a whole path, or percent-encoded. `content_type` may be ""."""

    field: str
    name: str
    content_type: str
    data: bytes

    @property
    def plain_field(self) -> str:
        """In lower case, without the key of a list: PHP sends several files as `attachments[0]`, forms as `attachments[]`."""
        match = _BRACKET.fullmatch(self.field)
        return (match[1] if match else self.field).lower()


class Parameters:
    """The parameters of one request. "" stands for absent: an empty value and no value mean the same (conventions.md §4)."""

    __slots__ = ("_folded", "_places", "body", "files", "is_json", "names", "query")

    def __init__(self, query: Texts, body: Texts, files: tuple[File, ...] = (), is_json: bool = False) -> None:
        self.query = query
        self.body = body
        self.files = files
        self.is_json = is_json
        self._places = [place for texts in (body, query) if texts for place in (texts, _gathered(texts)) if place]
        self._folded: list[Texts] | None = None
        # To see quickly that one is absent, or empty, which means the same.
        self.names = frozenset([name.lower() for place in self._places for name, values in place.items() if any(values)])

    def text(self, name: str, *aliases: str) -> str:
        """The first non-empty value: exact name, then aliases, then any letter case; body before query."""
        if self._places and (values := self._places[0].get(name)) and values[0]:
            return values[0]  # nearly always
        return self._find(_first, (name, *aliases))

    def joined(self, name: str, *aliases: str) -> str:
        """All non-empty values of the first spelling that has any, joined by ";" (conventions.md §4)."""
        return self._find(_join, (name, *aliases))

    def files_of(self, *names: str) -> tuple[File, ...]:
        """The files of the fields `names`, in any letter case, in the order sent."""
        if not self.files:
            return ()
        folded = {name.lower() for name in names}
        return tuple(file for file in self.files if file.plain_field in folded)

    def pairs(self) -> list[tuple[str, str]]:
        """Every text as received: the query first, then the body; unknown names and empty values included.

        Repeated names stand together, in their order. `.encode("utf-8", "surrogateescape")` gives the bytes of a UTF-8 request.
        """
        return [(name, value) for place in (self.query, self.body) for name, values in place.items() for value in values]

    def _find(self, choose: Callable[[list[str]], str], spellings: Sequence[str]) -> str:
        for spelling in spellings:
            for place in self._places:
                if spelling in place and (found := choose(place[spelling])):
                    return found
        if self.names.isdisjoint(map(str.lower, spellings)):
            return ""
        if self._folded is None:
            self._folded = [_fold(place) for place in self._places]
        for spelling in spellings:
            folded = spelling.lower()
            for place in self._folded:
                if folded in place and (found := choose(place[folded])):
                    return found
        return ""


def _first(values: list[str]) -> str:
    for value in values:
        if value:
            return value
    return ""


def _join(values: list[str]) -> str:
    if len(values) == 1 and type(values[0]) is str:
        return values[0]
    given = [_listed(value) if isinstance(value, Nested) else value for value in values if value]
    text = ";".join(given)
    for marked in (Broken, Nested):
        if any(isinstance(value, marked) for value in given):
            return marked(text)
    return text


def _listed(array: Nested) -> str:
    """A JSON array of scalars as the `;` list that it means; anything else stays as it is, for the field to refuse."""
    if len(array) > MAX_LIST:
        return array
    try:
        members = [_member(bytes(raw)) for raw in _ARRAY.decode(array.encode())]
    except (msgspec.MsgspecError, RecursionError):  # there is less room than where the body was read
        return array
    return array if any(isinstance(member, Nested) for member in members) else ";".join(member or "" for member in members)


def _fold(texts: Texts) -> Texts:
    folded: Texts = {}
    for name, values in texts.items():
        folded.setdefault(name.lower(), []).extend(values)
    return folded


def _gathered(texts: Texts) -> Texts:
    """What bracket fields (`a[x]=1`) amount to: JSON text of an object, or of an array if all keys are empty or digits
    (wire-notes 5). A field `a` of that very name comes before it; one level only."""
    if "[" not in "".join(texts):
        return {}
    gathered: dict[str, dict[str, list[str]]] = {}
    for name, values in texts.items():
        if match := _BRACKET.fullmatch(name):
            gathered.setdefault(match[1], {}).setdefault(match[2], []).extend(values)
    return {name: [_collected(members)] for name, members in gathered.items()}


def _collected(members: dict[str, list[str]]) -> str:
    every = [value for values in members.values() for value in values]
    if any(isinstance(text, Broken) for text in (*members, *every)):
        return Broken("".join(every))
    if all(not key or key.isdecimal() for key in members):
        return Nested(msgspec.json.encode(list(map(_as_json, every))).decode())
    try:
        return Nested(msgspec.json.encode({key: _as_json(_first(values)) for key, values in members.items()}).decode())
    except UnicodeEncodeError:  # a member's name is not text
        return Broken("".join(every))


def _as_json(value: str) -> str | msgspec.Raw:
    return msgspec.Raw(value.encode()) if isinstance(value, Nested) else value


def read(query: bytes, content_type: str, body: bytes) -> Parameters:
    """The parameters of a request. Raises Unreadable."""
    asked = _form(query, "utf-8") if query else {}
    if not body:
        return Parameters(asked, {})
    if content_type == "application/x-www-form-urlencoded":  # what most clients send, to the letter
        return Parameters(asked, _form(body, "utf-8"))
    kind, options = parse_options_header(content_type) if content_type else ("", {})
    charset = _charset(options.get("charset", ""))
    if kind == "multipart/form-data":
        texts, files = _multipart(body, _boundary(content_type), charset)
        return Parameters(asked, texts, files)
    if kind == "application/json" or kind.endswith("+json") or kind == "text/json":
        return Parameters(asked, _members(body, charset), is_json=True)
    # ours: any other type, or none, is a form: what `curl -d` and PHP send, and what reads an empty or foreign body without harm
    return Parameters(asked, _form(body, charset))


def _boundary(content_type: str) -> str:
    """Not all clients quote one that holds `=`, `/` or `:` (RFC 2045 §5.1): it ends at the next parameter."""
    found = _BOUNDARY.search(content_type)
    return (found[1] or found[2]).strip() if found else ""


def _charset(declared: str) -> str:
    """The Python name of a declared charset; UTF-8 when none is, or one that we do not read (conventions.md §13)."""
    if not declared or declared.lower() == "utf-8":
        return "utf-8"
    try:
        name = codecs.lookup(declared.strip("'\" ")).name
    except (LookupError, ValueError):
        name = ""
    return name if name in CHARSETS else "utf-8"


def _form(form: bytes, charset: str) -> Texts:
    """`application/x-www-form-urlencoded`, and query strings; raw bytes beyond ASCII are taken too (wire-notes 8)."""
    if form.count(b"&") >= MAX_PARAMETERS:
        raise Unreadable(f"more than {MAX_PARAMETERS} parameters")
    if charset == "utf-8":
        texts = _quick_form(form)
        if texts is not None:
            return texts
    return _careful_form(form, charset)


def _quick_form(form: bytes) -> Texts | None:
    """The same as `_careful_form`, many times faster; None when the form may not be UTF-8 (falcon would hide it as U+FFFD)."""
    try:
        parsed = parse_query_string(form.decode(), keep_blank=True, csv=False)
    except UnicodeDecodeError:
        return None
    texts: Texts = {name: value if isinstance(value, list) else [value] for name, value in parsed.items()}
    return None if "\ufffd" in "".join(chain(texts, *texts.values())) else texts


def _careful_form(form: bytes, charset: str) -> Texts:
    texts: Texts = {}
    for pair in form.split(b"&"):
        if not pair:
            continue
        name, _, value = pair.replace(b"+", b" ").partition(b"=")
        texts.setdefault(_decoded(unquote_to_bytes(name), charset), []).append(_decoded(unquote_to_bytes(value), charset))
    return texts


def _decoded(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset)
    except UnicodeDecodeError:
        return Broken(data.decode("utf-8" if charset == "utf-8" else "ascii", "surrogateescape"))


def _members(body: bytes, charset: str) -> Texts:
    """The members of a JSON object: texts decoded, numbers and booleans as written, null left out, the rest as `Nested`."""
    if charset not in ("utf-8", "ascii"):
        body = _recoded(body, charset)
    try:
        # ours: of a repeated member the last one counts, as JSON readers do
        members = _MEMBERS.decode(body.removeprefix(codecs.BOM_UTF8).strip() or b"{}")
        if len(members) > MAX_PARAMETERS:
            raise Unreadable(f"more than {MAX_PARAMETERS} parameters")
        return {name: [text] for name, raw in members.items() if (text := _member(bytes(raw))) is not None}
    except msgspec.ValidationError as problem:
        raise Unreadable("the body is not a JSON object") from problem
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise Unreadable("the body is not valid JSON") from problem


def _recoded(body: bytes, charset: str) -> bytes:
    try:
        return body.decode(charset).encode()
    except UnicodeDecodeError as problem:
        raise Unreadable(f"the body is not {charset}") from problem


def _member(raw: bytes) -> str | None:
    match raw[:1]:
        case b'"':
            try:
                return _TEXT.decode(raw)
            except UnicodeDecodeError:
                return Broken(raw[1:-1].decode("utf-8", "surrogateescape"))
        case b"{" | b"[":
            nested = _decoded(raw, "utf-8")
            return nested if isinstance(nested, Broken) else Nested(nested)
        case _:
            return None if raw == b"null" else raw.decode()


def _multipart(body: bytes, boundary: str, charset: str) -> tuple[Texts, tuple[File, ...]]:
    texts: Texts = {}
    files: list[File] = []
    parts = 0
    try:
        for segment, data in _segments(body, boundary):
            parts += 1
            name, file_name = _disposition(segment.header("Content-Disposition", ""))
            if file_name is not None:
                files.append(File(name, file_name, segment.header("Content-Type", ""), data))
            else:
                texts.setdefault(name, []).append(_decoded(data, _part_charset(segment, charset)))
    except MultipartError as problem:
        raise Unreadable(f"the body is not multipart/form-data: {problem}") from problem
    return texts, tuple(files)


def _segments(body: bytes, boundary: str) -> Iterator[tuple[MultipartSegment, bytes]]:
    parser = PushMultipartParser(
        boundary,
        content_length=len(body),
        max_header_size=MAX_PART_HEADER,
        max_header_count=MAX_PART_HEADERS,
        max_segment_count=MAX_PARTS,
        header_charset="latin-1",  # every byte passes; `_disposition` decodes names itself
    )
    with parser:
        segment: MultipartSegment | None = None
        chunks: list[bytes] = []
        for event in parser.parse(body):
            if isinstance(event, MultipartSegment):
                segment, chunks = event, []
            elif event is not None:
                chunks.append(bytes(event))
            elif segment is not None:
                yield segment, chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _part_charset(segment: MultipartSegment, charset: str) -> str:
    """A text part may name its own charset (wire-notes 3)."""
    return _charset(segment.charset) if segment.charset else charset


def _disposition(header: str) -> tuple[str, str | None]:
    """Name and file name of a part; unquoted values and raw UTF-8 are common (wire-notes 3). None: no file name, so a text."""
    found = {key.lower(): value for key, value in _OPTION.findall(header)}
    name = _header_text(content_disposition_unquote(found.get("name", "").strip()))
    if "filename*" in found:  # RFC 5987; RFC 7578 §4.2 forbids it here, and it is sent nevertheless
        charset, _, quoted = found["filename*"].strip('" ').partition("'")
        data = unquote_to_bytes(quoted.partition("'")[2])
        return name, _decoded(data, _charset(charset))
    if "filename" not in found:
        return name, None
    return name, _header_text(content_disposition_unquote(found["filename"].strip(), filename=True))


def _header_text(latin: str) -> str:
    return _decoded(latin.encode("latin-1"), "utf-8")
