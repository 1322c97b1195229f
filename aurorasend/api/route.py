"""route/list, get, add, update, delete: inbound routes (management.md §10).

A handler opens one transaction, in which inbound_route.py applies its rules. Called by endpoint. No codes are documented
for this module; those used are the contract's own choice (§10.3).
"""

import re
from dataclasses import dataclass
from typing import Annotated

from aurorasend import inbound_route
from aurorasend.address import is_address
from aurorasend.codes import Code, Refused
from aurorasend.endpoint import ApiCall, Info, changed, endpoint, one, page
from aurorasend.fields import Field, Kind, Limit, Seen, Start, Trouble, integer, parser, part, text
from aurorasend.http_guard import BadUrl, checked_url
from aurorasend.inbound_route import BadExpression, Expression, read_expression
from aurorasend.store import inbound_route as rows
from aurorasend.store.inbound_route import InboundRoute

LONGEST = 253  # characters of a domain, RFC 1035 §2.3.4

_has_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:").match


@parser()
def expression(given: str) -> Expression:
    try:
        return read_expression(given)
    except BadExpression as problem:
        raise Trouble(Kind.INVALID, str(problem)) from problem


@parser()
def action(given: str) -> str:
    if _has_scheme(given):
        try:
            checked_url(given)
        except BadUrl as problem:
            raise Refused(Code.URL_INVALID, str(problem)) from problem
    elif not is_address(given):
        raise Trouble(Kind.INVALID)
    return given


def _to_mailbox(seen: Seen) -> bool:
    """Read and required then only."""
    found = seen.peek("action")
    return found is not None and not _has_scheme(found)


RouteId = Annotated[
    int,
    Field(
        "routeId",
        integer(1),
        empty=Code.DOMAIN_EMPTY,
        invalid=Code.DOMAIN_UNKNOWN,
        doc="Number of the route, as `add` and `list` tell it (`id`).",
        example="3",
    ),
]
ExpressionField = Annotated[
    Expression,
    Field(
        "expression",
        expression,
        empty=Code.DOMAIN_EMPTY,
        invalid=Code.DOMAIN_INVALID,
        doc="`pattern@domain`, or one address. `*` in the pattern means any characters; with signs that no address has, "
        "the pattern is a regular expression. The domain is a verified sending domain of the account.",
        example="*@mail.example.com",
    ),
]
Action = Annotated[
    str,
    Field(
        "action",
        action,
        empty=Code.DOMAIN_EMPTY,
        invalid=Code.EMAIL_INVALID,
        raises=(Code.URL_INVALID,),
        doc="http or https URL that the mail is posted to, or the address that it is forwarded to.",
        example="https://hooks.example.com/in",
    ),
]
ForwardingUser = Annotated[
    str,
    Field(
        "apiUserRoute",
        text(),
        empty=Code.API_USER_EMPTY,
        invalid=Code.API_USER_UNKNOWN,
        when=_to_mailbox,
        required=_to_mailbox,
        doc="API_USER that forwards the mail; required when `action` is an address, and not read otherwise.",
        example="shopmail01",
    ),
]
DomainPart = Annotated[
    str,
    Field(
        "domain",
        part(LONGEST),
        invalid=Code.DOMAIN_INVALID,
        doc="Only routes whose domain holds this text.",
        example="example.com",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ListRoutes:
    domain: DomainPart = ""
    start: Start = 0
    limit: Limit = 100


@dataclass(frozen=True, kw_only=True)
class OneRoute:
    id: RouteId


@dataclass(frozen=True, kw_only=True)
class AddRoute:
    expression: ExpressionField
    action: Action
    api_user: ForwardingUser = ""


@dataclass(frozen=True, kw_only=True)
class UpdateRoute:
    id: RouteId
    expression: ExpressionField
    action: Action
    api_user: ForwardingUser = ""


@endpoint("route/list")
async def list_routes(call: ApiCall, p: ListRoutes) -> Info:
    """List the inbound routes of the account, newest first."""
    account_id = call.caller.account.id
    found, total = await call.node.store.read(lambda tx: rows.search(tx, account_id, p.domain, p.start, p.limit))
    return page([shown(each) for each in found], total)


@endpoint("route/get", raises=[Code.DOMAIN_UNKNOWN])
async def get_route(call: ApiCall, p: OneRoute) -> Info:
    """Read one inbound route."""
    account_id = call.caller.account.id
    return one(shown(await call.node.store.read(lambda tx: inbound_route.get(tx, account_id, p.id))))


@endpoint(
    "route/add",
    raises=[Code.DOMAIN_UNKNOWN, Code.API_USER_UNKNOWN, Code.DOMAIN_NOT_CREATED, Code.DOMAIN_TOO_MANY],
    unavailable=Code.DOMAIN_NOT_CREATED,
)
async def add_route(call: ApiCall, p: AddRoute) -> Info:
    """Post mail that comes in to a URL, or forward it to a mailbox.

    Exact addresses come before patterns; of several patterns that match, the oldest counts.
    """
    account_id, now_us = call.caller.account.id, call.node.clock.now_us()
    made = await call.node.store.write(lambda tx: inbound_route.add(tx, account_id, p.expression, p.action, p.api_user, now_us))
    return one(shown(made))


@endpoint(
    "route/update",
    raises=[Code.DOMAIN_UNKNOWN, Code.API_USER_UNKNOWN, Code.DOMAIN_NOT_UPDATED],
    unavailable=Code.DOMAIN_NOT_UPDATED,
)
async def update_route(call: ApiCall, p: UpdateRoute) -> Info:
    """Replace an inbound route by another one."""
    account_id, now_us = call.caller.account.id, call.node.clock.now_us()
    count = await call.node.store.write(
        lambda tx: inbound_route.change(tx, account_id, p.id, p.expression, p.action, p.api_user, now_us)
    )
    return changed(count)


@endpoint("route/delete", raises=[Code.DOMAIN_UNKNOWN])
async def delete_route(call: ApiCall, p: OneRoute) -> Info:
    """Delete an inbound route."""
    account_id = call.caller.account.id
    return changed(await call.node.store.write(lambda tx: inbound_route.delete(tx, account_id, p.id)))


def shown(each: InboundRoute) -> Info:
    return {
        "id": each.id,
        "domain": each.domain,
        "expression": each.expression,
        "action": each.action,
        "apiUserRoute": each.api_user or None,
    }


ENDPOINTS = (list_routes, get_route, add_route, update_route, delete_route)
