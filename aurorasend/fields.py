"""A request field, said once: wire name, parser, codes, words, example. `Field` is the only validator.

Called by endpoint, which reads the dataclass of an endpoint's parameters through a `Form`; portal reads the same
declarations. A parser gets text and returns the typed value or raises Trouble (or Refused, for codes that are its
own); the mapping from every kind of trouble to a code is complete or the declaration fails at import.
Always: fields are checked in the order of their declaration, and the first failure answers (conventions.md §11.7).
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Annotated, Any, Generic, TypeVar, get_args, get_type_hints

from aurorasend.address import is_domain
from aurorasend.carrier import MAX_LIST, File, Nested, Parameters
from aurorasend.codes import Code, Refused
from aurorasend.config.settings import Limits

T = TypeVar("T")
Schema = Mapping[str, object]  # of OpenAPI 3.1

_MISSING = dataclasses.MISSING
_DECLARED = Limits()
FARTHEST = 2**53 - 1  # what every JSON reader keeps exact, RFC 8259 §6; no table is so long


class Kind(Enum):
    """What can be wrong with a text. INVALID always can: bytes may not be text, JSON may be nested."""

    EMPTY = "empty"
    INVALID = "invalid"
    TOO_LONG = "too_long"
    TOO_MANY = "too_many"


class Trouble(Exception):
    """A parser does not take the text. `detail` is shown to the caller after the code's message."""

    def __init__(self, kind: Kind, detail: str = "") -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, eq=False)
class Parser(Generic[T]):
    """`read` gets text that is never blank, and trimmed if `strip`. `kinds` are all that it raises besides INVALID."""

    read: Callable[[str], T]
    kinds: frozenset[Kind] = frozenset()
    schema: Schema = field(default_factory=lambda: {"type": "string"})
    strip: bool = True


def parser(*kinds: Kind, schema: Schema | None = None, strip: bool = True) -> Callable[[Callable[[str], T]], Parser[T]]:
    """Makes a parser of a function that raises Trouble of `kinds` or INVALID."""
    return lambda read: Parser(read, frozenset(kinds), schema or {"type": "string"}, strip)


class Seen:
    """The fields of one request as far as they are read; each is evaluated once, on demand, and its failure kept for its turn.
    `limits` are those of the caller."""

    __slots__ = ("_form", "_read", "limits", "raw")

    def __init__(self, form: "Form[Any]", raw: Parameters, limits: Limits = _DECLARED) -> None:
        self.raw = raw
        self.limits = limits
        self._form = form
        self._read: dict[str, object] = {}

    def peek(self, attribute: str) -> Any:
        """The value of another field of the same dataclass, earlier or later; None when absent, not read, or wrong."""
        value = self._read[attribute] if attribute in self._read else self.evaluate(attribute)
        return None if value is _MISSING or type(value) is Refused else value

    def evaluate(self, attribute: str) -> object:
        """The value of a field, MISSING when it is absent, or the Refused that it answers at its turn."""
        read = self._read
        if attribute in read:
            return read[attribute]
        read[attribute] = None  # a field that asks for itself, round some corner, sees nothing
        try:
            value = self._form.slots[attribute].read(self)
        except Refused as refused:
            value = refused
        read[attribute] = value
        return value


Condition = Callable[[Seen], bool]


@dataclass(frozen=True, kw_only=True, eq=False)  # hashed as itself, which `Annotated[...] | None` asks for
class Input:
    """What text fields and file fields share. `when` false: the parameter is not read, the dataclass default holds.
    `sampled`: the samples of the reference send it though it is optional: one of several that are needed, or what is usual."""

    aliases: tuple[str, ...] = ()
    raises: tuple[Code, ...] = ()
    when: Condition | None = None
    doc: str = ""
    example: str = ""
    sampled: bool = False


@dataclass(frozen=True, eq=False)
class Field(Input, Generic[T]):
    """A text parameter.

    `empty` answers when it is required and blank, or optional, not empty, and only white space (conventions.md §4); without
    `empty` an optional blank value counts as absent. Required is what has no default in the dataclass, unless `required` says
    when it is. `joined`: repeated values are one `;` list. `json`: an object or array is taken too, as its JSON text.
    """

    wire: str
    parser: Parser[T]
    _: dataclasses.KW_ONLY
    invalid: Code
    empty: Code | None = None
    too_long: Code | None = None
    too_many: Code | None = None
    required: Condition | None = None
    joined: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        missing = [kind.value for kind in self.parser.kinds if self.code_of(kind) is None]
        if missing:
            raise ValueError(f"{self.wire}: no code for {', '.join(missing)}")

    def code_of(self, kind: Kind) -> Code | None:
        return {
            Kind.EMPTY: self.empty,
            Kind.INVALID: self.invalid,
            Kind.TOO_LONG: self.too_long,
            Kind.TOO_MANY: self.too_many,
        }[kind]

    @property
    def codes(self) -> frozenset[Code]:
        return frozenset([*self.raises, *(code for kind in Kind if (code := self.code_of(kind)) is not None)])

    def parse(self, text: str) -> T:
        """The typed value of a text that is not blank. Raises Refused."""
        if len(text) > MAX_LIST and (self.joined or self.too_many is not None):
            raise Refused(self.too_many or self.invalid, f"longer than {MAX_LIST} characters")
        if type(text) is not str and not (self.json and isinstance(text, Nested)):
            raise Refused(self.invalid, "must be text")
        parser = self.parser
        try:
            return parser.read(str.strip(text) if parser.strip else str(text))
        except Trouble as trouble:
            code = self.code_of(trouble.kind)
            if code is None:
                raise LookupError(f"{self.wire}: the parser raised a kind that it does not declare: {trouble.kind}") from trouble
            raise Refused(code, trouble.detail) from trouble


@dataclass(frozen=True, eq=False)
class FileField(Input, Generic[T]):
    """Parts with a file name. `parse` gets all of them and "", or the text that was sent under the name instead; it is
    called when there are none too. `any_name`: every file of the request, whatever its field (v1; wire-notes 3)."""

    wire: str
    parse: Callable[[tuple[File, ...], str], T]
    _: dataclasses.KW_ONLY
    any_name: bool = False

    @property
    def codes(self) -> frozenset[Code]:
        return frozenset(self.raises)


@dataclass(frozen=True)
class Slot:
    """A field in its place: the attribute of the dataclass that it fills, required or not."""

    attribute: str
    field: Field[Any] | FileField[Any]
    has_default: bool
    spellings: frozenset[str]  # lower case
    skippable: bool  # absent means nothing but its default
    read: Callable[[Seen], object]  # the value, or MISSING when it is absent; raises Refused

    @property
    def required(self) -> bool:
        """Whether it is always required, as far as the reference can say."""
        return not self.has_default


class Form(Generic[T]):
    """The parameters of an endpoint: a frozen dataclass whose attributes are annotated with a Field or FileField each.

    A class method `check_<attribute>(seen)` of it refuses, at the turn of that attribute and whether it was given or not,
    what parameters mean together; a method `check()`, what is left for the end. `spell` makes other wire names of those
    that are declared, which become aliases.
    """

    def __init__(self, parameters: type[T], spell: Callable[[str], str] | None = None) -> None:
        self.parameters = parameters
        hints = get_type_hints(parameters, include_extras=True)
        self.slots = {
            each.name: _slot(parameters, each, hints[each.name], spell)
            for each in dataclasses.fields(parameters)  # type: ignore[arg-type]
        }
        self._defaults = {
            each.name: each.default
            for each in dataclasses.fields(parameters)  # type: ignore[arg-type]
            if each.default is not _MISSING
        }
        self._check: Callable[[T], None] | None = getattr(parameters, "check", None)
        checks = {name.removeprefix("check_"): getattr(parameters, name) for name in dir(parameters) if name.startswith("check_")}
        if unknown := checks.keys() - self.slots.keys():
            raise TypeError(f"{parameters.__qualname__}: a check of {', '.join(unknown)}, which is no parameter")
        self._turns: list[tuple[str, Slot, Callable[[Seen], None] | None]] = [
            (name, slot, checks.get(name)) for name, slot in self.slots.items()
        ]

    @property
    def codes(self) -> frozenset[Code]:
        return frozenset().union(*(slot.field.codes for slot in self.slots.values()))

    @property
    def shown(self) -> list[Slot]:
        """What the reference tells: one per wire name, though several attributes may read it under different conditions."""
        first: dict[str, Slot] = {}
        for slot in self.slots.values():
            first.setdefault(slot.field.wire, slot)
        return list(first.values())

    def read(self, raw: Parameters, limits: Limits = _DECLARED) -> T:
        """Raises Refused for the first field that is wrong, alone or with others, then whatever `check` refuses."""
        seen = Seen(self, raw, limits)
        names = raw.names
        values: dict[str, Any] = {}
        for name, slot, check in self._turns:
            if not slot.skippable or not slot.spellings.isdisjoint(names):  # else: most fields of most requests
                value = seen.evaluate(name)
                if type(value) is Refused:
                    raise value
                if value is not _MISSING:
                    values[name] = value
            if check is not None:
                check(seen)
        read = object.__new__(self.parameters)
        read.__dict__.update(self._defaults | values)  # what its __init__ would do, which is slow where it is frozen
        if self._check is not None:
            self._check(read)
        return read


def _slot(parameters: type, each: "dataclasses.Field[Any]", hint: object, spell: Callable[[str], str] | None) -> Slot:
    found = next(_inputs(hint), None)
    where = f"{parameters.__qualname__}.{each.name}"
    if found is None:
        raise TypeError(f"{where} is not annotated with a Field")
    has_default = each.default is not _MISSING
    if each.default_factory is not _MISSING:
        raise TypeError(f"{where}: defaults are values, which all requests share")
    if isinstance(found, Field) and not has_default and (found.empty is None or found.required is not None):
        raise TypeError(f"{where}: what is required has a code for empty; what is required sometimes has a default")
    if found.when is not None and not has_default:
        raise TypeError(f"{where}: what is not always read needs a default")
    if spell is not None:
        found = _renamed(found, spell(found.wire))
    spellings = frozenset(name.lower() for name in (found.wire, *found.aliases))
    skippable = isinstance(found, Field) and has_default and found.required is None
    return Slot(each.name, found, has_default, spellings, skippable, _reader(found, has_default, spellings))


def _renamed(found: Field[Any] | FileField[Any], wire: str) -> Field[Any] | FileField[Any]:
    others = (found.wire, *found.aliases)
    return dataclasses.replace(found, wire=wire, aliases=tuple(name for name in others if name != wire))


# What reads a slot is a closure over what its declaration says, since every request calls it for every field.


def _reader(wanted: Field[Any] | FileField[Any], has_default: bool, spellings: frozenset[str]) -> Callable[[Seen], object]:
    read = _file_reader(wanted, spellings) if isinstance(wanted, FileField) else _text_reader(wanted, has_default, spellings)
    when = wanted.when
    return read if when is None else lambda seen: read(seen) if when(seen) else _MISSING


def _file_reader(wanted: FileField[Any], spellings: frozenset[str]) -> Callable[[Seen], object]:
    names = (wanted.wire, *wanted.aliases)

    def read(seen: Seen) -> object:
        raw = seen.raw
        files = raw.files if wanted.any_name else raw.files_of(*names)
        return wanted.parse(files, "" if spellings.isdisjoint(raw.names) else raw.text(*names))

    return read


def _text_reader(wanted: Field[Any], has_default: bool, spellings: frozenset[str]) -> Callable[[Seen], object]:
    names, choose, parse = (wanted.wire, *wanted.aliases), Parameters.joined if wanted.joined else Parameters.text, wanted.parse

    def read(seen: Seen) -> object:
        text = "" if spellings.isdisjoint(seen.raw.names) else choose(seen.raw, *names)
        if text and not text.isspace():
            return parse(text)
        required = wanted.required(seen) if wanted.required is not None else not has_default
        if wanted.empty is not None and (required or text):
            raise Refused(wanted.empty)
        return _MISSING

    return read


def _inputs(hint: object) -> Iterator[Field[Any] | FileField[Any]]:
    """The Field in `Annotated[X, Field(...)]`, or inside `Annotated[X, Field(...)] | None`."""
    for part in (*getattr(hint, "__metadata__", ()), *get_args(hint)):
        if isinstance(part, Field | FileField):
            yield part
        elif part is not hint and get_args(part):
            yield from _inputs(part)


# --- parsers that several endpoints share ---

# What must never reach a header or a one-line text: controls, and what Unicode calls a line break (UAX #14 BK, NL).
_CONTROL = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")


def text(longest: int | None = None, *, strip: bool = True) -> Parser[str]:
    """Text of at most `longest` characters, line breaks allowed. NUL is refused: PostgreSQL cannot keep it."""

    def read(text: str) -> str:
        if "\0" in text:
            raise Trouble(Kind.INVALID, "NUL is not allowed")
        if longest is not None and len(text) > longest:
            raise Trouble(Kind.TOO_LONG)
        return text

    limit = {} if longest is None else {"maxLength": longest}
    return Parser(read, frozenset() if longest is None else frozenset({Kind.TOO_LONG}), {"type": "string", **limit}, strip)


def line(longest: int | None = None) -> Parser[str]:
    """Text of one line: no CR, LF, NUL or other control, no Unicode line break."""
    inner = text(longest)

    def read(text: str) -> str:
        if _CONTROL.search(text):
            raise Trouble(Kind.INVALID, "line breaks and control characters are not allowed")
        return inner.read(text)

    return Parser(read, inner.kinds, inner.schema)


def part(longest: int) -> Parser[str]:
    """Text to be looked for in names of at most `longest` characters. One that is too long to be in any is cut to what
    still is too long, however letters fold: SQLite takes no pattern over 50 000 bytes."""
    return Parser(lambda given: text().read(given)[: 3 * longest + 1])


def integer(least: int, most: int = FARTHEST) -> Parser[int]:
    """A decimal integer from `least` to `most`."""
    digits = re.compile(r"[+-]?[0-9]{1,18}")

    def read(text: str) -> int:
        if not digits.fullmatch(text) or not least <= int(text) <= most:
            raise Trouble(Kind.INVALID)
        return int(text)

    return Parser(read, schema={"type": "integer", "minimum": least, "maximum": most})


def number(least: int) -> Parser[int]:
    """An offset, or the id of a row: an integer from `least`. A larger one than FARTHEST is right too, and finds as little."""
    digits = re.compile(r"[+-]?[0-9]{1,100}")

    def read(text: str) -> int:
        if not digits.fullmatch(text) or int(text) < least:
            raise Trouble(Kind.INVALID)
        return min(int(text), FARTHEST)

    return Parser(read, schema={"type": "integer", "minimum": least})


def host(longest: int) -> Parser[str]:
    """A domain name in the form that DNS knows (an international one as A-labels), in lower case; of what has another form
    the length does not count (spec management.md §5.4, README settled 12)."""

    def read(text: str) -> str:
        if len(text) <= 64 * longest and not is_domain(text):  # ours: what is longer by far is not worth reading
            raise Trouble(Kind.INVALID)
        if len(text) > longest:
            raise Trouble(Kind.TOO_LONG)
        return text.lower()

    return Parser(read, frozenset({Kind.TOO_LONG}), {"type": "string", "format": "hostname", "maxLength": longest})


def _boolean(text: str) -> bool:
    value = {"true": True, "1": True, "false": False, "0": False}.get(text.lower())  # conventions.md §4
    if value is None:
        raise Trouble(Kind.INVALID)
    return value


def _wall_time(text: str) -> datetime:
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}", text):
            raise Trouble(Kind.INVALID, "must be yyyy-MM-dd HH:mm:ss")
        return datetime.fromisoformat(text)
    except ValueError as problem:
        raise Trouble(Kind.INVALID) from problem


def _date(text: str) -> date:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise Trouble(Kind.INVALID)
    try:
        return date.fromisoformat(text)
    except ValueError as problem:
        raise Trouble(Kind.INVALID) from problem


boolean = Parser(_boolean, schema={"type": "boolean"})
wall_time = Parser(_wall_time, schema={"type": "string", "format": "yyyy-MM-dd HH:mm:ss"})  # on the API's clock: naive
date_text = Parser(_date, schema={"type": "string", "format": "date"})

# --- fields that several endpoints share ---

# conventions.md §7
Start = Annotated[
    int,
    Field(
        "start",
        number(0),
        empty=Code.START_EMPTY,
        invalid=Code.START_INVALID,
        doc="Offset of the first row, not a page number. Default 0.",
        example="0",
    ),
]
Limit = Annotated[
    int,
    Field(
        "limit",
        integer(0, 100),
        empty=Code.LIMIT_EMPTY,
        invalid=Code.LIMIT_INVALID,
        doc="Most rows of the answer. Default 100.",
        example="20",
    ),
]

# conventions.md §6
DAYS = Field(
    "days",
    integer(1, 36_500),
    invalid=Code.DAYS_INVALID,
    doc="Days up to today; 1 is today alone.",
    example="7",
    sampled=True,
)
START_DATE = Field(
    "startDate", date_text, invalid=Code.START_DATE_INVALID, aliases=("start_date",), doc="First day.", example="2026-01-01"
)
END_DATE = Field(
    "endDate", date_text, invalid=Code.END_DATE_INVALID, aliases=("end_date",), doc="Last day.", example="2026-01-30"
)
Days = Annotated[int, DAYS]
StartDate = Annotated[date, START_DATE]
EndDate = Annotated[date, END_DATE]


def period(days: int | None, first: date | None, last: date | None, *, today: date, longest: int = FARTHEST) -> tuple[date, date]:
    """First and last day of a ranged query of at most `longest` days; dates win (conventions.md §6). Raises Refused."""
    if first is None and days is not None:
        if days > longest:
            raise Refused(Code.DAYS_INVALID, f"no more than {longest}")
        return today - timedelta(days=days - 1), today
    if first is None:
        raise Refused(Code.START_DATE_INVALID)
    if last is None or last < first or (last - first).days >= longest:
        raise Refused(Code.END_DATE_INVALID)
    return first, last
