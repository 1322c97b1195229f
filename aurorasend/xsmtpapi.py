"""The `xsmtpapi` value: recipients of separate mails, their variables, tracking switches of one send.

Called by api with the text as received; contact reads values as it does. Imports codes and address only. Whatever the
text is, the outcome is an `XSmtpApi` or Refused with a code of spec mail.md §8.3; numbers inside keep the text that
they had in the JSON (§8.4).
"""

import re
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from aurorasend.address import is_address
from aurorasend.codes import Code, Refused

MAX_OCTETS = 1 << 20  # spec §8: 1 MiB, measured on the value as received
MAX_RECIPIENTS = 100  # spec §8.1
MAX_CHECKED = 1000  # ours: format goes before count, but a list this long is refused without reading all of it

CODES = (
    Code.XSMTPAPI_EMPTY,
    Code.XSMTPAPI_INVALID,
    Code.XSMTPAPI_NULL,
    Code.XSMTPAPI_TO_MISSING,
    Code.XSMTPAPI_TO_EMPTY,
    Code.XSMTPAPI_NOT_JSON,
    Code.XSMTPAPI_TO_TOO_MANY,
    Code.XSMTPAPI_TO_INVALID,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class XSmtpApi:
    """spec mail.md §8.1. `variables` has one dict per element of `to`; all names are without %.
    A tracking switch of None means: as the API_USER has it."""

    to: tuple[str, ...] = ()  # addresses, trimmed; empty: the recipients are somewhere else (mode A)
    variables: tuple[dict[str, str], ...] = ()
    pubsub: dict[str, str] = field(default_factory=dict)
    section: dict[str, str] = field(default_factory=dict)
    track_open: bool | None = None
    track_click: bool | None = None
    track_unsubscribe: bool | None = None
    send_domain: str = ""


class _Switch(msgspec.Struct):
    enable: msgspec.Raw = msgspec.Raw(b"null")


class _Filter(msgspec.Struct):
    settings: _Switch | None = None


class _Filters(msgspec.Struct):
    open_tracking: _Filter | None = None
    click_tracking: _Filter | None = None
    subscription_tracking: _Filter | None = None


class _Unsubscribe(msgspec.Struct):
    page_id: int | str | list[int | str | None] | None = None


class _Settings(msgspec.Struct):
    unsubscribe: _Unsubscribe | None = None


_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STRINGS = msgspec.json.Decoder(list[str])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_FILTERS = msgspec.json.Decoder(_Filters)
_SETTINGS = msgspec.json.Decoder(_Settings)
_STRING = msgspec.json.Decoder(str)

# spec §8.4, README settled 10: a key may lack both signs, not one of them; system variables have two on each side.
_variable_name = re.compile(r"""(%{0,2})([^%\s"']{1,64})\1""").fullmatch

_nul = re.compile(r"(?<!\\)(?:\\\\)*\\u0000").search  # JSON has no other spelling of it

_SWITCHES = {"1": True, "true": True, "0": False, "false": False}


def parse(text: str) -> XSmtpApi:
    """Read and check `text`; raises Refused with the first failing code, in the order of the members."""
    members = _members(text)
    to = _recipients(members)
    if "\\u0000" in text and _nul(text):
        raise Refused(Code.XSMTPAPI_INVALID, "NUL is not allowed")  # as in a body; PostgreSQL cannot keep it
    filters = _typed(_FILTERS, members["filters"]) if "filters" in members else _Filters()
    if "settings" in members:
        _typed(_SETTINGS, members["settings"])  # ours: unsubscribe pages come later, until then the default page
    return XSmtpApi(
        to=to,
        variables=() if "pubsub" in members else _variables(members, len(to)),  # spec §8.1: pubsub beats sub
        pubsub=_values(members, "pubsub"),
        section=_values(members, "section"),
        track_open=_switch(filters.open_tracking),
        track_click=_switch(filters.click_tracking),
        track_unsubscribe=_switch(filters.subscription_tracking),
        send_domain=_typed(_STRING, members["send_domain"]).strip() if "send_domain" in members else "",
    )


def names_recipients(text: str) -> bool:
    """Whether `text` asks for separate mails: it has a member `to`, right or wrong."""
    try:
        return "to" in _members(text)
    except Refused:
        return False


def names_domain(text: str) -> bool:
    """Whether `text` asks for another sending domain, right or wrong."""
    try:
        asked = _members(text).get("send_domain")
    except Refused:
        return False
    return asked is not None and bytes(asked).strip(b'" ') != b""


def scalar_text(raw: msgspec.Raw) -> str:
    """A JSON value as it is printed in a mail (spec §8.4). Raises msgspec.DecodeError."""
    octets = bytes(raw)
    first = octets[:1]
    if first == b'"':
        return _STRING.decode(octets)
    if first == b"n":
        return ""
    return (msgspec.json.format(octets, indent=-1) if first in b"{[" else octets).decode()


def _members(text: str) -> dict[str, msgspec.Raw]:
    """The members of the object that are not null."""
    if not text.strip():
        raise Refused(Code.XSMTPAPI_EMPTY)
    try:
        octets = text.encode()
    except UnicodeEncodeError as undecodable:
        raise Refused(Code.XSMTPAPI_NOT_JSON) from undecodable
    if len(octets) > MAX_OCTETS:
        raise Refused(Code.XSMTPAPI_INVALID, "over 1 MiB")
    try:
        members = _OBJECT.decode(octets)
    except msgspec.ValidationError as not_object:
        raise _why_no_object(octets) from not_object
    except msgspec.DecodeError as problem:
        raise Refused(Code.XSMTPAPI_NOT_JSON, str(problem)) from problem
    except RecursionError as problem:
        raise Refused(Code.XSMTPAPI_INVALID, "nested too deeply") from problem
    return {name: value for name, value in members.items() if bytes(value) != b"null"}


def _why_no_object(octets: bytes) -> Refused:
    try:
        value = msgspec.json.decode(octets)
    except msgspec.DecodeError as problem:
        return Refused(Code.XSMTPAPI_NOT_JSON, str(problem))
    except RecursionError:
        return Refused(Code.XSMTPAPI_INVALID, "nested too deeply")
    return Refused(Code.XSMTPAPI_NULL if value is None or value == "" else Code.XSMTPAPI_INVALID)


def _typed(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as problem:
        raise Refused(Code.XSMTPAPI_INVALID, str(problem)) from problem
    except msgspec.DecodeError as problem:
        raise Refused(Code.XSMTPAPI_NOT_JSON, str(problem)) from problem
    except RecursionError as problem:  # there is less room than where the object was read
        raise Refused(Code.XSMTPAPI_INVALID, "nested too deeply") from problem


def _recipients(members: dict[str, msgspec.Raw]) -> tuple[str, ...]:
    if "to" not in members:
        return ()
    given = _typed(_STRINGS, members["to"])
    to = tuple(map(str.strip, given))
    if not to:
        raise Refused(Code.XSMTPAPI_TO_EMPTY)
    if not all(map(is_address, to[:MAX_CHECKED])):
        raise Refused(Code.XSMTPAPI_TO_INVALID)
    if len(to) > MAX_RECIPIENTS:
        raise Refused(Code.XSMTPAPI_TO_TOO_MANY)
    return to


def _variables(members: dict[str, msgspec.Raw], recipients: int) -> tuple[dict[str, str], ...]:
    """`sub` turned from columns (one array per name) into rows (one dict per recipient)."""
    sub = _typed(_OBJECT, members["sub"]) if "sub" in members else {}
    columns = {_name(key): _column(values) for key, values in sub.items()}
    if not columns:
        return tuple({} for _ in range(recipients))
    if not recipients:
        raise Refused(Code.XSMTPAPI_TO_MISSING)
    if any(len(column) != recipients for column in columns.values()):
        raise Refused(Code.XSMTPAPI_INVALID, "sub needs one value per recipient")
    return tuple([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])


def _column(raw: msgspec.Raw) -> list[str]:
    try:
        return _STRINGS.decode(raw)
    except (msgspec.ValidationError, RecursionError):  # not strings alone
        return [_printed(value) for value in _typed(_ARRAY, raw)]
    except msgspec.DecodeError as problem:
        raise Refused(Code.XSMTPAPI_NOT_JSON, str(problem)) from problem


def _values(members: dict[str, msgspec.Raw], member: str) -> dict[str, str]:
    """`pubsub` or `section`: one value per name."""
    values = _typed(_OBJECT, members[member]) if member in members else {}
    return {_name(key): _printed(value) for key, value in values.items()}


def _name(key: str) -> str:
    found = _variable_name(key)
    if not found:
        raise Refused(Code.XSMTPAPI_INVALID, "a variable is written %name%")
    return found[2]


def _printed(raw: msgspec.Raw) -> str:
    try:
        return scalar_text(raw)
    except msgspec.DecodeError as problem:
        raise Refused(Code.XSMTPAPI_NOT_JSON, str(problem)) from problem
    except RecursionError as problem:
        raise Refused(Code.XSMTPAPI_INVALID, "nested too deeply") from problem


def _switch(app: _Filter | None) -> bool | None:
    if app is None or app.settings is None:
        return None
    text = _printed(app.settings.enable).lower()
    if text and text not in _SWITCHES:
        raise Refused(Code.XSMTPAPI_INVALID, "enable is 1 or 0")
    return _SWITCHES.get(text)
