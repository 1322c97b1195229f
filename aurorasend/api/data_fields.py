"""Parameters that the endpoints for data and suppressions share (data.md §1.4, §1.6).

Called by those api modules. A range is read here into microseconds of the store.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
from typing import Annotated, ClassVar, TypeVar

from aurorasend import suppression
from aurorasend.address import BadAddress, ascii_domain, is_address
from aurorasend.api_user import is_name
from aurorasend.clock import SECOND
from aurorasend.codes import Code, Refused
from aurorasend.config.settings import Limits
from aurorasend.fields import (
    DAYS,
    END_DATE,
    START_DATE,
    Days,
    EndDate,
    Field,
    Kind,
    Parser,
    Seen,
    StartDate,
    Trouble,
    number,
    parser,
    part,
    period,
)

T = TypeVar("T")
LONGEST = 100  # days of a range, data.md §1.4
ANY_DAY = date(2000, 1, 1)  # a range is right or wrong on every day alike
LONGEST_LABEL = 255  # characters of a label's name, management.md §2
MOST_NAMES = 100  # ours: each is looked for by itself

_is_label = re.compile(r"[0-9]{1,18}").fullmatch


def items(text: str) -> list[str]:
    """The items of a list between `;`, also the wide one, in brackets or not (data.md §1.6)."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return [trimmed for item in text.replace("；", ";").split(";") if (trimmed := item.strip())]


def listed(read: Callable[[str], T]) -> Parser[tuple[T, ...]]:
    @parser(Kind.EMPTY, schema={"type": "string"})
    def whole(text: str) -> tuple[T, ...]:
        found = tuple([read(item) for item in items(text)])
        if not found:
            raise Trouble(Kind.EMPTY)
        return found

    return whole


def _label_id(text: str) -> int:
    if not _is_label(text):
        raise Trouble(Kind.INVALID, "labels are numbers")
    return int(text)


def _api_user(text: str) -> str:
    if not is_name(text):
        raise Trouble(Kind.INVALID, "a name has 6 to 32 letters, digits and _")
    return text


@parser(schema={"type": "string"})
def email(text: str) -> str:
    if not is_address(text):
        raise Trouble(Kind.INVALID)
    return text


@parser(schema={"type": "string"})
def domain_key(text: str) -> str:
    """The key that a domain has in suppression lists; an @ before it is dropped (data.md §10.2)."""
    try:
        return suppression.domain_key("x@" + ascii_domain(text.removeprefix("@")))
    except BadAddress as problem:
        raise Trouble(Kind.INVALID) from problem


@parser(schema={"type": "string"})
def _names(text: str) -> tuple[str, ...]:
    if "\0" in text:
        raise Trouble(Kind.INVALID, "NUL is not allowed")
    found = dict.fromkeys(map(part(LONGEST_LABEL).read, items(text)))
    if len(found) > MOST_NAMES:
        raise Trouble(Kind.INVALID, f"no more than {MOST_NAMES} names")
    return tuple(found)


ApiUserList = Annotated[
    tuple[str, ...] | None,
    Field(
        "apiUserList",
        listed(_api_user),
        empty=Code.API_USER_LIST_EMPTY,
        invalid=Code.API_USER_LIST_INVALID,
        joined=True,
        doc="Only these API_USERs, joined by `;`. An unknown one matches nothing.",
        example="shop_trigger;shop_batch",
    ),
]
LabelIdList = Annotated[
    tuple[int, ...] | None,
    Field(
        "labelIdList",
        listed(_label_id),
        empty=Code.LABEL_ID_LIST_EMPTY,
        invalid=Code.STATISTICS_LABEL_INVALID,
        joined=True,
        doc="Only these labels, by number, joined by `;`; 0 is mail without a label.",
        example="7;8",
    ),
]
LabelNameList = Annotated[
    tuple[str, ...],
    Field(
        "labelNameList",
        _names,
        invalid=Code.STATISTICS_LABEL_INVALID,
        joined=True,
        doc="Only labels whose name holds one of these texts, joined by `;`. Not read when labels are given by number.",
        example="spring",
    ),
]
LabelId = Annotated[
    int | None,
    Field(
        "labelId",
        number(0),
        empty=Code.STATISTICS_LABEL_EMPTY,
        invalid=Code.STATISTICS_LABEL_INVALID,
        doc="Only this label, by number; 0 is mail without a label.",
        example="7",
    ),
]
LabelName = Annotated[
    str,
    Field(
        "labelName",
        part(LONGEST_LABEL),
        invalid=Code.STATISTICS_LABEL_INVALID,
        doc="Only labels whose name holds this text. Not read when `labelId` is given.",
        example="spring",
    ),
]
DomainList = Annotated[
    tuple[str, ...] | None,
    Field(
        "domainList",
        listed(lambda item: item.lower().replace("\0", "")),
        empty=Code.DOMAIN_LIST_EMPTY,
        invalid=Code.DOMAIN_LIST_EMPTY,
        joined=True,
        doc="Only these recipient domains, joined by `;`, in any letter case.",
        example="example.org;example.net",
    ),
]
EMAIL = Field(
    "email",
    email,
    empty=Code.EMAIL_EMPTY,
    invalid=Code.EMAIL_INVALID,
    doc="Only this address. The range is not used then.",
    example="ann@example.org",
)
Email = Annotated[str, EMAIL]
OnlyEmail = Annotated[str, replace(EMAIL, doc="Only this address.")]
ThisEmail = Annotated[str, replace(EMAIL, doc="The address.")]
DOMAIN = Field("domainName", domain_key, invalid=Code.DOMAIN_INVALID, doc="A recipient domain.", example="example.org")
DomainKey = Annotated[str, DOMAIN]


@dataclass(frozen=True, kw_only=True)
class Ranged:
    """`days`, or both dates."""

    range_needed: ClassVar[bool] = True

    days: Days | None = None
    first: StartDate | None = None
    last: EndDate | None = None

    @classmethod
    def longest(cls, limits: Limits) -> int:
        """Days of a range."""
        return LONGEST

    @classmethod
    def check_last(cls, seen: Seen) -> None:
        """What the three mean together, before what comes after them (conventions.md §11). Raises Refused."""
        days, first, last = seen.peek("days"), seen.peek("first"), seen.peek("last")
        if cls.range_needed or (days, first, last) != (None, None, None):
            period(days, first, last, today=ANY_DAY, longest=cls.longest(seen.limits))

    @property
    def has_range(self) -> bool:
        return (self.days, self.first, self.last) != (None, None, None)

    def span(self, now_us: int, zone: timezone) -> tuple[int, int]:
        """From midnight to midnight, in UTC microseconds, the end not included; how long it may be was checked before.
        Raises Refused: 40007, 40008."""
        today = datetime.fromtimestamp(now_us // SECOND, zone).date()
        first, last = period(self.days, self.first, self.last, today=today)
        begins, ends = (datetime.combine(day, time(), zone) for day in (first, last))
        try:
            return int(begins.timestamp()) * SECOND, int((ends + timedelta(days=1)).timestamp()) * SECOND
        except OverflowError as problem:
            raise Refused(Code.END_DATE_INVALID) from problem


def without_email(seen: Seen) -> bool:
    return not seen.raw.text("email")


@dataclass(frozen=True, kw_only=True)
class RangedOrEmail(Ranged):
    """A range, which is ignored, right or wrong, when an address is given (data.md §6-§9)."""

    days: Annotated[int, replace(DAYS, when=without_email)] | None = None
    first: Annotated[date, replace(START_DATE, when=without_email)] | None = None
    last: Annotated[date, replace(END_DATE, when=without_email)] | None = None
    email: Email = ""

    @classmethod
    def check_last(cls, seen: Seen) -> None:
        if without_email(seen):
            super().check_last(seen)


@dataclass(frozen=True, kw_only=True)
class RangedOrEmailOrNothing(RangedOrEmail):
    range_needed: ClassVar[bool] = False
