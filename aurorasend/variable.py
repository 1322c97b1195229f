"""Variables in a text: `%name%` and system variables, split once per submission, filled in per recipient.

Called by message. Imports nothing of ours. Always one pass: what is filled in is not looked at again, so a value cannot bring in
variables. The one exception is `section`, which is for values (spec mail.md §8.1, §8.4).
"""

import re
from binascii import b2a_qp
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
_placeholder = re.compile(rf"%%{_NAME}%%|%{_NAME}%").search
_next_placeholder = re.compile(rf"%{_NAME}%").match


class TooLong(ValueError):
    """Variables would fill in more than a mail may have."""

    def __init__(self) -> None:
        super().__init__("variables fill in more than a mail may have")


class Hole(NamedTuple):
    """Where a value goes. `name` is a variable's name, or of ours with a % so that it can never be one;
    `otherwise` is the text for a recipient without a value.

    What stands between two % need not be a variable, as in `?q=a%20b&id=%id%`. So the % that ends a hole may begin
    the next, which `follows` it; when the first is filled in, the second is text, without that %."""

    name: str
    otherwise: str
    follows: bool = False


Part = str | Hole


def parse(text: str, common: Mapping[str, str]) -> list[Part]:
    """The parts of `text`, no two texts next to each other. Variables in `common` (pubsub) are filled in at once."""
    if "%" not in text:
        return [text] if text else []
    parts: list[Part] = []
    for part in _with_common(_split(text), common) if common else _split(text):
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
    """How often each variable stands in `text`, at most."""
    return Counter(text.split("%")[1:-1])


def _resolved_size(value: str, section: Mapping[str, str]) -> int:
    """Characters of `value` when its sections are resolved, at most."""
    if not section or "%" not in value:
        return len(value)
    return len(value) + sum(len(section.get(name, "")) for name in value.split("%")[1:-1])


def outside_variables(change: Callable[[str], str], text: str) -> str:
    """`text` with `change` applied to all of it but the variables."""
    return "".join([change(part) if isinstance(part, str) else part.otherwise for part in _split(text)])


def resolve_sections(values: dict[str, str], section: Mapping[str, str]) -> dict[str, str]:
    """`values` with the variables inside them replaced once by `section` (spec mail.md §8.1). Raises TooLong."""
    if not section:
        return values
    if sum(_resolved_size(value, section) for value in values.values()) > MAX_FILLED:
        raise TooLong
    return {name: "".join(_filled(_split(value), section)) if "%" in value else value for name, value in values.items()}


class Line:
    """A text of one line, such as the subject."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = tuple(parts)
        self.is_constant = not any(isinstance(part, Hole) for part in self._parts)

    def fill(self, values: Mapping[str, str]) -> str:
        """Raises TooLong."""
        filled = _filled(self._parts, values)
        if sum(map(len, filled)) > 2 * MAX_LINE:
            raise TooLong
        return "".join(filled)


class Body:
    """A text as quoted-printable. The fixed parts are encoded once: filled-in values stand between soft line
    breaks, which no reader sees, so that a recipient costs no more than encoding the values."""

    def __init__(self, parts: list[Part]) -> None:
        parts = _end_line(parts)
        self._coded = [quoted_printable(part if isinstance(part, str) else part.otherwise) for part in parts]
        self._holes = [
            (at, part.name, quoted_printable(part.otherwise[1:]) if part.follows else None)
            for at, part in enumerate(parts)
            if isinstance(part, Hole)
        ]
        self._names = frozenset(name for _, name, _ in self._holes)
        self.is_constant = not self._holes
        self.fixed = sum(map(len, self._coded))  # octets
        self.cost = self.fixed + HOLE_BYTES * len(self._holes)  # bytes of memory, about

    def filled(self, values: Mapping[str, str]) -> int:
        """Characters that `values` fill in."""
        return sum([len(values.get(name, "")) for _, name, _ in self._holes])

    def fill(self, values: Mapping[str, str]) -> bytes:
        """Raises TooLong."""
        if self.filled(values) > MAX_FILLED:
            raise TooLong
        given = {name: quoted_printable(values[name]) for name in self._names if name in values}
        coded, filled = self._coded.copy(), -2
        for at, name, without_percent in self._holes:
            if without_percent is not None and filled == at - 1:
                coded[at] = without_percent
            elif name in given:
                coded[at], filled = given[name], at
        return b"=\r\n".join(coded)


def quoted_printable(text: str) -> bytes:
    """Lines of at most 75 octets (RFC 2045 §6.7 allows 76: room for a soft break), CRLF at every line's end.
    Lone surrogates, which no charset has, become question marks."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.replace("\n", "\r\n")
    # The CRLF makes b2a_qp end lines with CRLF, not LF; the letter keeps it from encoding a blank before it.
    return b2a_qp(text.encode(errors="replace") + b"x\r\n", istext=True)[:-3]


def _end_line(parts: list[Part]) -> list[Part]:
    """A text is made of lines, so the last one has an end too."""
    last = parts[-1] if parts else ""
    if isinstance(last, Hole):
        return [*parts, "\r\n"]
    return parts if last.endswith(("\n", "\r")) else [*parts[:-1], last + "\r\n"]


def _split(text: str) -> Iterator[Part]:
    """`text` with a hole for whatever can be a variable; none of the parts is empty."""
    at, found, follows = 0, _placeholder(text), False
    while found:
        if at < found.start():
            yield text[at : found.start()]
        at = found.end()
        after = None if found[0].startswith("%%") else _next_placeholder(text, at - 1)
        yield _hole(found[0], follows, is_followed=after is not None)
        found, follows = after or _placeholder(text, at), after is not None
    if at < len(text):
        yield text[at:]


def _hole(placeholder: str, follows: bool, is_followed: bool) -> Part:
    if placeholder == UNSUBSCRIBE_VARIABLE:
        return Hole(UNSUBSCRIBE_VARIABLE, UNSUBSCRIBE_VARIABLE)
    if placeholder.startswith("%%"):
        return placeholder  # a system variable that we do not have
    return Hole(placeholder[1:-1], placeholder[:-1] if is_followed else placeholder, follows)


def _filled(parts: Iterable[Part], values: Mapping[str, str]) -> list[str]:
    """All parts as texts."""
    texts, is_taken = [], False  # whether the % that ends the part before was that of a variable
    for part in parts:
        if isinstance(part, str):
            text, is_taken = part, False
        elif part.follows and is_taken:
            text, is_taken = part.otherwise[1:], False
        else:
            text, is_taken = values.get(part.name, part.otherwise), part.name in values
        texts.append(text)
    return texts


def _with_common(parts: Iterable[Part], common: Mapping[str, str]) -> list[Part]:
    """`parts` with what is in `common`; of two that share a % it is the one that is there. A customer's own unsubscribe
    link wins (events.md §10.1)."""
    known: list[Part] = []
    is_taken = False
    for part in parts:
        if isinstance(part, str) or part.name == UNSUBSCRIBE_VARIABLE:
            known.append(part if isinstance(part, str) else common.get(UNSUBSCRIBE, part))
            is_taken = False
        elif part.follows and is_taken:
            known.append(part.otherwise[1:])
            is_taken = False
        else:
            is_taken = part.name in common
            if is_taken and part.follows and isinstance(before := known[-1], Hole):
                known[-1] = before.otherwise
            known.append(common.get(part.name, part))
    return known
