"""The text of an SMS: `%name%` placeholders, the signature in brackets, and how many pieces it takes.

Called by api.sms (placeholders of a template), sms (rendering) and gateways (encoding). Calls nothing of ours.
Always: substitution is one pass, so a value is never searched for placeholders; pieces are counted on the
final text, signature included (sms.md §3.2, §13).
"""

import re
from dataclasses import dataclass
from enum import Enum

MAX_CHARACTERS = 500  # sms.md §5, §15.3 code 460; signature included
VARIABLE_NAME = re.compile("[A-Za-z0-9_-]{1,32}")  # sms.md §3.2
_PLACEHOLDER = re.compile(f"%({VARIABLE_NAME.pattern})%")

# GSM 03.38 (3GPP TS 23.038 §6.2.1), rows of sixteen; the escape at 0x1B is no character.
_GSM7_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅå"
    "Δ_ΦΓΛΩΠΨΣΘΞÆæßÉ"
    " !\"#¤%&'()*+,-./"
    "0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNO"
    "PQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmno"
    "pqrstuvwxyzäöñüà"
)
_GSM7_EXTENSION = "|€^{}[]~\\"  # two septets each: escape and character
_IS_GSM7 = re.compile(f"[{re.escape(_GSM7_BASIC + _GSM7_EXTENSION)}]*")
_EXTENDED = re.compile(f"[{re.escape(_GSM7_EXTENSION)}]")


class Encoding(Enum):
    """How a text travels, with the units that one message and one piece of a longer one hold."""

    GSM7 = ("gsm7", 160, 153)
    UCS2 = ("ucs2", 70, 67)

    def __init__(self, label: str, alone: int, piece: int) -> None:
        self.label = label
        self.alone = alone
        self.piece = piece


@dataclass(frozen=True, slots=True)
class Size:
    """`units` are septets in GSM-7, UTF-16 code units in UCS-2. No pieces: the text is empty and cannot be sent."""

    encoding: Encoding
    units: int
    pieces: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """`missing` are the placeholders without a value, in the order of the text; they stay in it as they were."""

    text: str
    missing: tuple[str, ...]


def measure(text: str) -> Size:
    """Plain division, no correction for an escape pair on the border of two pieces (sms.md §13)."""
    if _IS_GSM7.fullmatch(text):
        encoding, units = Encoding.GSM7, len(text) + len(_EXTENDED.findall(text))
    else:
        encoding, units = Encoding.UCS2, len(text.encode("utf-16-le")) // 2
    if units <= encoding.alone:
        return Size(encoding, units, min(units, 1))
    return Size(encoding, units, -(-units // encoding.piece))


def placeholders(template: str) -> frozenset[str]:
    return frozenset(_PLACEHOLDER.findall(template))


def render(template: str, variables: dict[str, str]) -> Rendered:
    missing: list[str] = []

    def value_of(found: re.Match[str]) -> str:
        value = variables.get(found[1])
        if value is None:
            missing.append(found[1])
            return found[0]
        return value

    return Rendered(_PLACEHOLDER.sub(value_of, template), tuple(missing))


def sign(text: str, name: str, *, behind: bool) -> str:
    """`text` with the signature `name` before or behind it; unchanged when there is no signature."""
    if not name:
        return text
    return f"{text}【{name}】" if behind else f"【{name}】{text}"
