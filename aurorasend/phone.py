"""Phone numbers as customers write them, and their one normal form.

Called by api.sms. Calls nothing of ours. Always: what is shown back to the customer is the number as it was
written (trimmed, a lost `+` restored); what is compared, counted, limited and dialled is the E.164 form
(sms.md §3.1).
"""

import re
from dataclasses import dataclass

from phonenumbers import country_code_for_region

MAX_NUMBERS = 2000  # sms.md §3.1
_SEPARATOR = re.compile("[,;]")  # `;` by the PHP SDK (wire-notes §9); neither can be part of a number
_FILLING = re.compile(r"[ \-()]")
_E164 = re.compile(r"\+[1-9][0-9]{5,14}")
_DOMESTIC = re.compile("1[3-9][0-9]{9}")
_LOST_PLUS = re.compile(" +(?=[1-9(])")


@dataclass(frozen=True, slots=True)
class Phone:
    """`shown` is what the customer sees again; `e164` the normal form, None when the number is not acceptable."""

    shown: str
    e164: str | None


def calling_code(country: str) -> str:
    """`86` for `CN`, "" for no country. Raises ValueError for what is no ISO 3166 country with telephones."""
    code = country_code_for_region(country)
    if country and not code:
        raise ValueError(f"{country!r} is not the two-letter code of a country")
    return str(code) if code else ""


def split(text: str) -> list[str]:
    """The numbers of a `phone` parameter as shown, empty elements kept.

    A `+` that was not percent-encoded arrives as a space (the contract's own curl sample does so): when the
    parameter begins with a space, each number that begins with one gets its `+` back.
    """
    parts = _SEPARATOR.split(text)
    return [restore_plus(part) for part in parts] if text.startswith(" ") else [part.strip() for part in parts]


def restore_plus(number: str) -> str:
    """One number, trimmed; a space in front of its first digit becomes the `+` that it was."""
    lost = _LOST_PLUS.match(number)
    return "+" + number[lost.end() :].strip() if lost else number.strip()


def parse(shown: str, *, domestic: bool, home: str) -> Phone:
    """`domestic`: a bare mobile number belongs to the country with calling code `home`, if that is not ""
    (msgType 0, not 2)."""
    digits = _FILLING.sub("", shown)
    if digits.startswith("00"):
        digits = "+" + digits[2:]
    elif not digits.startswith("+"):
        digits = f"+{home}{digits}" if domestic and home and _DOMESTIC.fullmatch(digits) else "+" + digits
    return Phone(shown, digits if _E164.fullmatch(digits) else None)


def has_repeated(phones: list[Phone]) -> bool:
    """Whether one number is there twice, however it was written."""
    known = [phone.e164 for phone in phones if phone.e164]
    return len(set(known)) < len(known)
