"""apiuser/list, get, add, create, update, delete, reset (management.md §7).

A handler opens one transaction, in which api_user.py applies its rules. Called by endpoint. Always: a key is in the
answer that makes it, and in no other.
"""

from dataclasses import dataclass, replace
from typing import Annotated

from aurorasend import api_user
from aurorasend.address import is_address
from aurorasend.api_user import Terms, Wanted
from aurorasend.clock import wall
from aurorasend.codes import Code
from aurorasend.domain import MAX_NAME
from aurorasend.endpoint import ApiCall, Info, changed, endpoint, one
from aurorasend.fields import Field, Kind, Seen, Trouble, boolean, host, integer, parser, text
from aurorasend.permission import MAX_LENGTH, BadPermission, check_permission
from aurorasend.secret import new_key
from aurorasend.store import api_user as rows
from aurorasend.store.api_user import ApiUser

MAX_NOTIFIED = 20  # addresses; ours


@parser(schema={"type": "string", "pattern": "^[A-Za-z0-9_]{6,32}$"})
def new_name(given: str) -> str:
    if not api_user.is_name(given):
        raise Trouble(Kind.INVALID)
    return given


@parser(Kind.EMPTY)
def some_names(given: str) -> tuple[str, ...]:
    """In the order given, each once."""
    names = tuple(dict.fromkeys(name.strip() for name in text().read(given).split(";") if name.strip()))
    if not names:
        raise Trouble(Kind.EMPTY)
    return names


@parser()
def tracking_host(given: str) -> str:
    return text().read(given).lower()


@parser(schema={"type": "string", "maxLength": MAX_LENGTH})
def permission(given: str) -> str:
    try:
        return check_permission(text().read(given))
    except BadPermission as problem:
        raise Trouble(Kind.INVALID, str(problem)) from problem


@parser()
def notified(given: str) -> str:
    addresses = [address.strip() for address in given.split(";") if address.strip()]
    if len(addresses) > MAX_NOTIFIED or not all(map(is_address, addresses)):
        raise Trouble(Kind.INVALID, f"at most {MAX_NOTIFIED} addresses")
    return ";".join(addresses)


def _is_renamed(seen: Seen) -> bool:
    """The name that it has is fine, whatever its form."""
    return seen.raw.text("newName") != seen.raw.text("name", "subApiUser")


_NEW_NAME = Field(
    "name",
    new_name,
    empty=Code.API_USER_EMPTY,
    invalid=Code.API_USER_INVALID,
    aliases=("subApiUser",),
    doc="The API_USER: 6 to 32 letters, digits and `_`, unique in the whole installation.",
    example="shopmail01",
)
_EMAIL_TYPE = Field(
    "emailType",
    integer(0, 1),
    empty=Code.EMAIL_TYPE_EMPTY,
    invalid=Code.EMAIL_TYPE_INVALID,
    doc="0 trigger mail, 1 batch mail; fixed once it is made.",
    example="0",
)
_DOMAIN = Field(
    "domainName",
    host(MAX_NAME),
    empty=Code.DOMAIN_NAME_EMPTY,
    invalid=Code.DOMAIN_NAME_INVALID,
    too_long=Code.DOMAIN_NAME_LENGTH,
    doc="Sending domain of the account that it is bound to.",
    example="mail.example.com",
)

NewName = Annotated[str, _NEW_NAME]
OtherName = Annotated[
    str | None,
    replace(_NEW_NAME, wire="newName", empty=None, aliases=(), when=_is_renamed, doc="New name; without it the name stays."),
]
Name = Annotated[
    str,
    Field(
        "name",
        text(),
        empty=Code.API_USER_EMPTY,
        invalid=Code.API_USER_UNKNOWN,
        aliases=("subApiUser",),
        doc="The API_USER.",
        example="shopmail01",
    ),
]
Names = Annotated[
    tuple[str, ...],
    Field(
        "name",
        some_names,
        empty=Code.API_USER_EMPTY,
        invalid=Code.API_USER_UNKNOWN,
        aliases=("subApiUser",),
        joined=True,
        doc="The API_USER, or several, joined by `;`, which all get the same new key.",
        example="shopmail01",
    ),
]
EmailType = Annotated[int, _EMAIL_TYPE]
OnlyEmailType = Annotated[int | None, replace(_EMAIL_TYPE, doc="Only those of this type: 0 trigger, 1 batch.")]
OnlyKind = Annotated[
    int | None,
    Field(
        "cType",
        integer(0, 1),
        empty=Code.C_TYPE_EMPTY,
        invalid=Code.C_TYPE_INVALID,
        doc="Only those of this kind: 0 test, 1 general.",
        example="1",
    ),
]
Domain = Annotated[str, _DOMAIN]
OtherDomain = Annotated[str | None, _DOMAIN]
OnlyDomain = Annotated[str | None, replace(_DOMAIN, doc="Only those bound to this domain.")]
TrackingHost = Annotated[
    str | None,
    Field(
        "trackDomainName",
        tracking_host,
        invalid=Code.API_USER_NOT_CREATED,
        doc="Tracking domain of the account, or the platform's own.",
        example="t.example.com",
    ),
]
UnsubscribePage = Annotated[
    int | None,
    Field(
        "unsubscribePageId",
        integer(-1, -1),
        invalid=Code.UNSUBSCRIBE_INVALID,
        doc="Unsubscribe page; -1 is the platform's own.",
        example="-1",
    ),
]
Open = Annotated[
    int | None,
    Field(
        "open",
        integer(0, 1),
        empty=Code.OPEN_EMPTY,
        invalid=Code.OPEN_INVALID,
        doc="1 tracks opens; needs a tracking domain of the account.",
        example="0",
    ),
]
Click = Annotated[
    int | None,
    Field(
        "click",
        integer(0, 1),
        empty=Code.CLICK_EMPTY,
        invalid=Code.CLICK_INVALID,
        doc="1 tracks clicks; needs a tracking domain of the account whose CNAME is verified.",
        example="0",
    ),
]
Unsubscribe = Annotated[
    int | None,
    Field(
        "unsubscribe",
        integer(0, 1),
        empty=Code.UNSUBSCRIBE_EMPTY,
        invalid=Code.UNSUBSCRIBE_INVALID,
        doc="1 (default) puts an unsubscribe link into mails. Free accounts always have it.",
        example="1",
    ),
]
Permission = Annotated[
    str | None,
    Field(
        "permission",
        permission,
        invalid=Code.API_USER_NOT_CREATED,
        json=True,
        doc='JSON of the calls that are denied, such as `{"mail": {"send": false}}`; what is not named is allowed.',
        example='{"mail": {"send": false}}',
    ),
]
NotifyEmail = Annotated[
    str | None,
    Field(
        "notifyEmail",
        notified,
        invalid=Code.API_USER_NOT_CREATED,
        joined=True,
        doc="Addresses for notices, joined by `;`.",
        example="ops@example.com",
    ),
]
Notify = Annotated[
    bool | None,
    Field("isNotify", boolean, invalid=Code.API_USER_NOT_CREATED, doc="Whether notices are sent.", example="true"),
]


@dataclass(frozen=True, kw_only=True)
class ListApiUsers:
    email_type: OnlyEmailType = None
    kind: OnlyKind = None
    domain: OnlyDomain = None


@dataclass(frozen=True, kw_only=True)
class OneApiUser:
    name: Name


@dataclass(frozen=True, kw_only=True)
class SomeApiUsers:
    names: Names


@dataclass(frozen=True, kw_only=True)
class AddApiUser:
    name: NewName
    email_type: EmailType
    domain: Domain
    tracking_host: TrackingHost = None
    unsubscribe_page: UnsubscribePage = None
    open: Open = None
    click: Click = None
    unsubscribe: Unsubscribe = None
    permission: Permission = None
    notify_email: NotifyEmail = None
    notify: Notify = None


@dataclass(frozen=True, kw_only=True)
class CreateApiUser:
    name: NewName
    email_type: EmailType = 0
    domain: OtherDomain = None
    tracking_host: TrackingHost = None
    unsubscribe_page: UnsubscribePage = None
    open: Open = None
    click: Click = None
    unsubscribe: Unsubscribe = None
    permission: Permission = None
    notify_email: NotifyEmail = None
    notify: Notify = None


@dataclass(frozen=True, kw_only=True)
class UpdateApiUser:
    name: Name
    new_name: OtherName = None
    domain: OtherDomain = None
    tracking_host: TrackingHost = None
    unsubscribe_page: UnsubscribePage = None
    open: Open = None
    click: Click = None
    unsubscribe: Unsubscribe = None
    permission: Permission = None
    notify_email: NotifyEmail = None
    notify: Notify = None


_CHANGE_CODES = (Code.BOUND_DOMAIN_UNKNOWN, Code.OPEN_INVALID, Code.CLICK_INVALID, Code.API_USER_NOT_CREATED)


@endpoint("apiuser/list")
async def list_api_users(call: ApiCall, p: ListApiUsers) -> Info:
    """List the API users of the account, newest first. Keys are never listed."""
    account_id = call.caller.account.id
    found = [
        _listed(call, each)
        for each in await call.node.store.read(lambda tx: rows.every(tx, account_id))
        if (p.email_type is None or each.email_type == p.email_type)
        and (p.kind is None or each.is_test == 1 - p.kind)
        and (p.domain is None or each.domain == p.domain)
    ]
    return {"total": len(found), "count": len(found), "dataList": found}


@endpoint("apiuser/get", raises=[Code.API_USER_UNKNOWN])
async def get_api_user(call: ApiCall, p: OneApiUser) -> Info:
    """Read one API user."""
    account_id, zone = call.caller.account.id, call.node.zone
    found = await call.node.store.read(lambda tx: api_user.get(tx, account_id, p.name))
    return {
        "apiUser": found.name,
        **_listed(call, found),
        **_notice(found),
        "gmtCreated": wall(found.created, zone),
        "gmtUpdated": wall(found.updated, zone),
    }


@endpoint("apiuser/add", raises=[*_CHANGE_CODES, Code.API_USER_TOO_MANY], unavailable=Code.API_USER_NOT_CREATED)
async def add_api_user(call: ApiCall, p: AddApiUser) -> Info:
    """Make an API user.

    `nameKey` is its API_KEY. It is shown this once; `apiuser/reset` makes another.
    """
    made, key = await _add(call, p)
    return one({**_listed(call, made), "domain": made.domain, "nameKey": key})


@endpoint("apiuser/create", raises=[*_CHANGE_CODES, Code.API_USER_TOO_MANY], unavailable=Code.API_USER_NOT_CREATED)
async def create_api_user(call: ApiCall, p: CreateApiUser) -> Info:
    """Make an API user, with the account's first usable domain unless one is named.

    The older form of `apiuser/add`. `apiKey` is shown this once.
    """
    made, key = await _add(call, p)
    return {"apiUser": made.name, "apiKey": key, **_notice(made), "gmtCreated": wall(made.created, call.node.zone)}


@endpoint(
    "apiuser/update",
    methods=("POST",),
    raises=[Code.API_USER_UNKNOWN, *_CHANGE_CODES],
    unavailable=Code.API_USER_NOT_CREATED,
)
async def update_api_user(call: ApiCall, p: UpdateApiUser) -> Info:
    """Change an API user.

    What is absent stays. A new name is the login at once; the key stays, and mail that was requested before keeps the old name.
    """
    account_id, now_us = call.caller.account.id, call.node.clock.now_us()
    wanted, given = _wanted(p, p.new_name), _given(call, p)
    if "notifyEmail" in given and wanted.notify_email is None:
        wanted = replace(wanted, notify_email="")
    made = await call.node.store.write(lambda tx: api_user.change(tx, account_id, p.name, wanted, _terms(call), now_us))
    call.node.accounts.forget(account_id)
    numbers = {"cType": 1 - made.is_test, "emailType": made.email_type}
    return {**one({**_listed(call, made), **numbers}), "apiUser": made.name, "updatedFields": given}


@endpoint("apiuser/delete", raises=[Code.API_USER_UNKNOWN])
async def delete_api_user(call: ApiCall, p: OneApiUser) -> Info:
    """Delete an API user: its key is refused from now on. What it sent stays.

    The API user of the call itself is not deleted (6001).
    """
    caller, now_us = call.caller, call.node.clock.now_us()
    count = await call.node.store.write(lambda tx: api_user.delete(tx, caller.account.id, p.name, caller.id, now_us))
    call.node.accounts.forget(caller.account.id)
    return changed(count)


@endpoint("apiuser/reset", raises=[Code.API_USER_UNKNOWN])
async def reset_key(call: ApiCall, p: SomeApiUsers) -> Info:
    """Make a new API_KEY, shown this once. The replaced one works for 15 minutes more.

    Several API users, joined by `;`, get the same new key.
    """
    account_id, now_us, key = call.caller.account.id, call.node.clock.now_us(), new_key()
    grace_us = int(call.node.settings.limits.key_grace.total_seconds() * 1_000_000)
    await call.node.store.write(lambda tx: api_user.reset_keys(tx, account_id, p.names, key, (now_us + grace_us, now_us)))
    call.node.accounts.forget(account_id)
    return {"apiUser": ";".join(p.names), "newApiKey": key}


async def _add(call: ApiCall, p: AddApiUser | CreateApiUser) -> tuple[ApiUser, str]:
    """The new one and its key."""
    account_id, now_us, key = call.caller.account.id, call.node.clock.now_us(), new_key()
    wanted, terms = _wanted(p, p.name), _terms(call)
    made = await call.node.store.write(lambda tx: api_user.add(tx, account_id, p.email_type, wanted, terms, key, now_us))
    return made, key


def _wanted(p: AddApiUser | CreateApiUser | UpdateApiUser, name: str | None) -> Wanted:
    return Wanted(
        name=name,
        domain=p.domain,
        tracking_host=p.tracking_host,
        unsubscribe_page=p.unsubscribe_page,
        open=p.open,
        click=p.click,
        unsubscribe=p.unsubscribe,
        permission=p.permission,
        notify_email=p.notify_email,
        notify=None if p.notify is None else int(p.notify),
    )


def _terms(call: ApiCall) -> Terms:
    account, settings = call.caller.account, call.node.settings
    return Terms(
        limit=settings.api_user.per_account if account.api_user_limit is None else account.api_user_limit,
        default_host=settings.tracking.host,
        by_default_host=settings.tracking.by_default_host,
        unsubscribe_forced=not account.paying,
    )


def _given(call: ApiCall, p: UpdateApiUser) -> list[str]:
    """What the call asked to change, by the names of the parameters."""
    values = {
        "newName": p.new_name,
        "domainName": p.domain,
        "trackDomainName": p.tracking_host,
        "unsubscribePageId": p.unsubscribe_page,
        "open": p.open,
        "click": p.click,
        "unsubscribe": p.unsubscribe,
        "permission": p.permission,
        "notifyEmail": "" if any(name.lower() == "notifyemail" for name, _ in call.raw.pairs()) else None,  # blank clears it
        "isNotify": p.notify,
    }
    return [name for name, value in values.items() if value is not None]


def _listed(call: ApiCall, each: ApiUser) -> dict[str, object]:
    return {
        "name": each.name,
        "cType": "test" if each.is_test else "non-test",
        "emailType": "Batch" if each.email_type else "Trigger",
        "domainName": each.domain,
        "trackDomainName": each.tracking_host or call.node.settings.tracking.host,
        "click": each.click,
        "open": each.open,
        "unsubscribe": each.unsubscribe,
        "unsubscribePage": each.unsubscribe_page,
    }


def _notice(each: ApiUser) -> dict[str, object]:
    return {"permission": each.permission, "notifyEmail": each.notify_email, "isNotify": bool(each.notify)}


ENDPOINTS = (
    list_api_users,
    get_api_user,
    add_api_user,
    create_api_user,
    update_api_user,
    delete_api_user,
    reset_key,
)
