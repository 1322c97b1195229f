"""Variables in a text: `%name%` and system variables, split once per submission, filled in per recipient.

Called by message. Imports nothing of ours. Always one pass: what is filled in is not looked at again, so a value cannot bring in
variables. The one exception is `section`, which is for values (spec mail.md §8.1, §8.4).
"""

import re
from binascii import b2a_qp
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

UNSUBSCRIBE = "user_defined_unsubscribe_link"  # spec mail.md §8.4
UNSUBSCRIBE_VARIABLE = f"%%{UNSUBSCRIBE}%%"

# Ours: characters that variables put into a mail. A value may stand in a text any number of times, and a section in a value
# again, so that a request of 1 MiB could ask for a mail of many GB. What a request brings may fill half of it, so that what
# the service fills in itself never is too much. A character may become twelve octets of a mail.
MAX_FILLED = 4 << 20
MAX_GIVEN = MAX_FILLED // 2
MAX_HOLES = 100_000  # ours: variables in one text; each costs a hundred times the three characters that it takes to write
HOLE_BYTES = 400  # what one costs
MAX_LINE = 16 << 10  # ours: of one line; many servers cut or refuse a head of more than 100 KB

_NAME = r"""[^%\s"']{1,64}"""  # spec mail.md §8.4
_placeholders = re.compile(rf"(%%{_NAME}%%|%{_NAME}%)").split
_in_values = re.compile(rf"%({_NAME})%")


class TooLong(ValueError):
    """Variables would fill in more than a mail may have."""

    def __init__(self) -> None:
        super().__init__("variables fill in more than a mail may have")


class Hole(NamedTuple):
    """Where a value goes. `name` is a variable's name, or of ours with a % so that it can never be one;
    `otherwise` is the text for a recipient without a value."""

    name: str
    otherwise: str


Part = str | Hole


def parse(text: str, common: Mapping[str, str]) -> list[Part]:
    """The parts of `text`, no two texts next to each other. Variables in `common` (pubsub) are filled in at once."""
    parts: list[Part] = []
    for at, piece in enumerate(_placeholders(text)):
        part: Part = _hole(piece, common) if at % 2 else piece
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
    return [part for part in parts if part]


def check_filled(line: str, body: str, rows: Sequence[Mapping[str, str]], section: Mapping[str, str]) -> None:
    """Raises TooLong if the values of one recipient (`rows` has one dict for each) fill in more than a mail may have, or if
    there are more places for them than a text may have."""
    if body.count("%") > 2 * MAX_HOLES:
        raise TooLong
    longest = max([len(value) for values in rows for value in values.values()], default=0)
    if not section and line.count("%") // 2 * longest <= MAX_LINE and body.count("%") // 2 * longest <= MAX_GIVEN:
        return  # as nearly always
    in_line, in_body = _names(line), _names(body)
    for values in rows:
        sizes = {name: _resolved_size(value, section) for name, value in values.items()}
        of_line, of_body = (sum(sizes.get(name, 0) * n for name, n in names.items()) for names in (in_line, in_body))
        if of_line > MAX_LINE or max(of_body, sum(sizes.values())) > MAX_GIVEN:
            raise TooLong


def _names(text: str) -> Counter[str]:
    """How often each variable stands in `text`."""
    return Counter(placeholder.strip("%") for placeholder in _placeholders(text)[1::2])


def _resolved_size(value: str, section: Mapping[str, str]) -> int:
    """Characters of `value` when its sections are resolved."""
    if not section or "%" not in value:
        return len(value)
    return len(value) + sum(len(section.get(found[1], found[0])) for found in _in_values.finditer(value))


def outside_variables(change: Callable[[str], str], text: str) -> str:
    """`text` with `change` applied to all of it but the variables."""
    return "".join([piece if at % 2 else change(piece) for at, piece in enumerate(_placeholders(text))])


def resolve_sections(values: dict[str, str], section: Mapping[str, str]) -> dict[str, str]:
    """`values` with the variables inside them replaced once by `section` (spec mail.md §8.1). Raises TooLong."""
    if not section:
        return values
    if sum(_resolved_size(value, section) for value in values.values()) > MAX_FILLED:
        raise TooLong
    return {name: _in_values.sub(lambda found: section.get(found[1], found[0]), value) for name, value in values.items()}


class Line:
    """A text of one line, such as the subject."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = tuple(parts)
        self.is_constant = not any(isinstance(part, Hole) for part in self._parts)

    def fill(self, values: Mapping[str, str]) -> str:
        """Raises TooLong."""
        filled = [part if isinstance(part, str) else values.get(*part) for part in self._parts]
        if sum(map(len, filled)) > 2 * MAX_LINE:
            raise TooLong
        return "".join(filled)


class Body:
    """A text as quoted-printable. The fixed parts are encoded once: filled-in values stand between soft line
    breaks, which no reader sees, so that a recipient costs no more than encoding the values."""

    def __init__(self, parts: list[Part]) -> None:
        parts = _end_line(parts)
        self._coded = [quoted_printable(part if isinstance(part, str) else part.otherwise) for part in parts]
        self._holes = [(at, part.name) for at, part in enumerate(parts) if isinstance(part, Hole)]
        self._names = frozenset(name for _, name in self._holes)
        self.is_constant = not self._holes
        self.fixed = sum(map(len, self._coded))  # octets
        self.cost = self.fixed + HOLE_BYTES * len(self._holes)  # bytes of memory, about

    def filled(self, values: Mapping[str, str]) -> int:
        """Characters that `values` fill in."""
        return sum([len(values.get(name, "")) for _, name in self._holes])

    def fill(self, values: Mapping[str, str]) -> bytes:
        """Raises TooLong."""
        if self.filled(values) > MAX_FILLED:
            raise TooLong
        given = {name: quoted_printable(values[name]) for name in self._names if name in values}
        coded = self._coded.copy()
        for at, name in self._holes:
            if name in given:
                coded[at] = given[name]
        return b"=\r\n".join(coded)


def quoted_printable(text: str) -> bytes:
    """Lines of at most 75 octets (RFC 2045 §6.7 allows 76: room for a soft break), CRLF at every line's end.
    Lone surrogates, which no charset has, become question marks."""
    if "\n" in text or "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    # The CRLF makes b2a_qp end lines with CRLF, not LF; the letter keeps it from encoding a blank before it.
    return b2a_qp(text.encode(errors="replace") + b"x\r\n", istext=True)[:-3]


def _end_line(parts: list[Part]) -> list[Part]:
    """A text is made of lines, so the last one has an end too."""
    last = parts[-1] if parts else ""
    if isinstance(last, Hole):
        return [*parts, "\r\n"]
    return parts if last.endswith(("\n", "\r")) else [*parts[:-1], last + "\r\n"]


def _hole(placeholder: str, common: Mapping[str, str]) -> Part:
    if placeholder == UNSUBSCRIBE_VARIABLE:
        return common[UNSUBSCRIBE] if UNSUBSCRIBE in common else Hole(UNSUBSCRIBE_VARIABLE, "")
    if placeholder.startswith("%%"):
        return placeholder  # a system variable that we do not have
    name = placeholder[1:-1]
    return common[name] if name in common else Hole(name, placeholder)
