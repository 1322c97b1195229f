"""Inbound routes: where mail goes that comes in for a sending domain, to a URL or to a mailbox.

Called by api.route. Calls store. Always: an expression is on a domain of the account that can be sent with, and is one
that can be matched in short time whatever address comes in (management.md §10).
"""

import re
from dataclasses import dataclass

from aurorasend.address import BadAddress, ascii_domain
from aurorasend.codes import Code, Refused
from aurorasend.store import account as account_rows
from aurorasend.store import api_user as api_user_rows
from aurorasend.store import domain as sending_domains
from aurorasend.store import inbound_route as rows
from aurorasend.store.inbound_route import InboundRoute, NewRoute
from aurorasend.store.tx import Tx

MOST = 1000  # of an account, management.md §10
MAX_EXPRESSION = 320  # characters; ours: no address is longer
MAX_REPEATS = 4  # ours: with so many, 64 characters of local part are matched in milliseconds

is_wildcard = re.compile(r"(?:[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]|[^\x00-\x7f])+").fullmatch
_escaped = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL).sub
_repeats = re.compile(r"[*+?]|\{[0-9]*,?[0-9]*\}").findall
# What takes exponential time in the wrong hands (repeated groups, back references), and what looks around.
_dangerous = re.compile(r"\)(?:[*+?]|\{)|\(\?").search


class BadExpression(ValueError):
    """The text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Expression:
    """`text` as it was given; `key` equal for expressions that mean the same."""

    text: str
    domain: str
    key: str


def read_expression(text: str) -> Expression:
    """An address, or a pattern for the part before the @: `*` means any characters; with other signs than addresses have,
    it is a regular expression. Raises BadExpression."""
    local, at, domain = text.rpartition("@")
    if not at or not local or len(text) > MAX_EXPRESSION or not text.isprintable():
        raise BadExpression("not a pattern@domain")
    try:
        domain = ascii_domain(domain).lower()
    except BadAddress as problem:
        raise BadExpression("not a domain after the @") from problem
    if is_wildcard(local):
        local = local.lower()
    else:
        _check_regular(local)
    return Expression(text, domain, f"{local}@{domain}")


async def get(tx: Tx, account_id: int, route_id: int) -> InboundRoute:
    """Raises Refused (41014)."""
    found = await rows.get(tx, account_id, route_id)
    if found is None:
        raise Refused(Code.DOMAIN_UNKNOWN)
    return found


async def add(tx: Tx, account_id: int, expression: Expression, action: str, api_user: str, now_us: int) -> InboundRoute:
    """`api_user` "" is for a URL. Raises Refused (41014, 41109, 41015, 41012)."""
    await account_rows.lock(tx, account_id)
    new = await _new(tx, account_id, expression, action, api_user)
    if await rows.of_key(tx, account_id, new.key) is not None:
        raise Refused(Code.DOMAIN_NOT_CREATED, "there is a route of that expression")
    if await rows.count(tx, account_id) >= MOST:
        raise Refused(Code.DOMAIN_TOO_MANY, message=f"User can create no more than {MOST} routes")
    route_id = await rows.add(tx, account_id, new, now_us)
    if route_id is None:
        raise Refused(Code.DOMAIN_NOT_CREATED, "there is a route of that expression")
    return await get(tx, account_id, route_id)


async def change(  # noqa: PLR0913 all that a route is, and when
    tx: Tx, account_id: int, route_id: int, expression: Expression, action: str, api_user: str, now_us: int
) -> int:
    """How many were changed: one. Raises Refused (41014, 41109, 41016)."""
    await account_rows.lock(tx, account_id)
    await get(tx, account_id, route_id)
    new = await _new(tx, account_id, expression, action, api_user)
    if await rows.of_key(tx, account_id, new.key) not in (None, route_id):
        raise Refused(Code.DOMAIN_NOT_UPDATED, "there is another route of that expression")
    return await rows.change(tx, account_id, route_id, new, now_us)


async def delete(tx: Tx, account_id: int, route_id: int) -> int:
    """How many were deleted: one. Raises Refused (41014)."""
    deleted = await rows.delete(tx, account_id, route_id)
    if not deleted:
        raise Refused(Code.DOMAIN_UNKNOWN)
    return deleted


async def _new(tx: Tx, account_id: int, expression: Expression, action: str, api_user: str) -> NewRoute:
    domain = await sending_domains.get(tx, account_id, expression.domain)
    if domain is None or not sending_domains.is_usable(domain.verified):
        raise Refused(Code.DOMAIN_UNKNOWN, "the domain is not a verified sending domain of the account")
    api_user_id = 0
    if api_user:
        found = await api_user_rows.get(tx, account_id, api_user)
        if found is None:
            raise Refused(Code.API_USER_UNKNOWN)
        api_user_id = found.id
    return NewRoute(expression.domain, expression.text, expression.key, action, api_user_id)


def _check_regular(pattern: str) -> None:
    plain = _escaped("a", pattern)
    if re.search(r"\\[0-9]", pattern) or _dangerous(plain) or len(_repeats(plain)) > MAX_REPEATS:
        raise BadExpression("a regular expression with repeated groups, look-around, references, or too many repetitions")
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as problem:
        raise BadExpression("not a regular expression") from problem
