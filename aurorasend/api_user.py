"""API users as their account manages them: add, change, delete, new keys.

Called by api.api_user. Calls store. Always: a name is a login, unique in the whole store while it is in use; a key is
stored as its hash; what a deleted one sent stays (management.md §7). Who calls is known to account.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aurorasend.codes import Code, Refused
from aurorasend.secret import hash_key
from aurorasend.store import account as account_rows
from aurorasend.store import api_user as rows
from aurorasend.store import domain as sending_domains
from aurorasend.store import login
from aurorasend.store import sender as senders
from aurorasend.store import tracking_domain as tracking_domains
from aurorasend.store.api_user import ApiUser
from aurorasend.store.tx import Tx

is_name = re.compile(r"[A-Za-z0-9_]{6,32}").fullmatch  # code 41111, conventions.md §10.8


@dataclass(frozen=True, slots=True)
class Terms:
    """What an account's API users may be: how many, and where tracking is allowed."""

    limit: int
    default_host: str
    by_default_host: bool  # whether opens and clicks may be tracked at the default host
    unsubscribe_forced: bool  # free accounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a customer wants an API user to be; None keeps what is there, or takes the default of a new one."""

    name: str | None = None
    domain: str | None = None
    tracking_host: str | None = None
    unsubscribe_page: int | None = None
    open: int | None = None
    click: int | None = None
    unsubscribe: int | None = None
    permission: str | None = None
    notify_email: str | None = None
    notify: int | None = None


_NEW = ApiUser(
    id=0,
    name="",
    sender_id=0,
    email_type=0,
    is_test=0,
    domain_id=0,
    domain="",
    tracking_domain_id=0,
    tracking_host="",
    tracking_verified=0,
    open=0,
    click=0,
    unsubscribe=1,
    unsubscribe_page=-1,
    permission="",
    notify_email="",
    notify=0,
    created=0,
    updated=0,
)


async def get(tx: Tx, account_id: int, name: str) -> ApiUser:
    """Raises Refused (41109)."""
    found = await rows.get(tx, account_id, name)
    if found is None:
        raise Refused(Code.API_USER_UNKNOWN)
    return found


async def add(tx: Tx, account_id: int, email_type: int, wanted: Wanted, terms: Terms, key: str, now_us: int) -> ApiUser:  # noqa: PLR0913
    """Without a domain it is bound to the first usable one. Raises Refused (41108, 41119, 41114, 41116, 41112)."""
    await account_rows.lock(tx, account_id)
    if wanted.domain is None:
        wanted = replace(wanted, domain=await _first_domain(tx, account_id))
    made = await _changed(tx, account_id, _NEW, wanted, terms)
    user_id = await tx.next_id("api_user")
    made = await _take_name(tx, account_id, made, user_id)
    if await rows.count(tx, account_id) >= terms.limit:
        raise Refused(Code.API_USER_TOO_MANY, message=f"apiUser should be no more than {terms.limit}")
    await rows.add(tx, (account_id, user_id, made.name, email_type, hash_key(key), *_settable(made)[1:], now_us, now_us))
    return await get(tx, account_id, made.name)


async def change(tx: Tx, account_id: int, name: str, wanted: Wanted, terms: Terms, now_us: int) -> ApiUser:
    """Another name counts at once; the key stays, and what was requested before keeps the old name (management.md §7.4).

    Raises Refused (41109, 41108, 41119, 41114, 41116).
    """
    await account_rows.lock(tx, account_id)
    found = await get(tx, account_id, name)
    made = await _changed(tx, account_id, found, wanted, terms)
    if made.name != name:
        made = await _take_name(tx, account_id, made, found.id)
        await login.release(tx, login.API, name, account_id, found.id)
    await rows.change(tx, account_id, found.id, *_settable(made), now_us)
    return await get(tx, account_id, made.name)


async def delete(tx: Tx, account_id: int, name: str, caller_id: int, now_us: int) -> int:
    """How many were deleted: one; nobody deletes the one that he calls with. Raises Refused (41109, 6001)."""
    await account_rows.lock(tx, account_id)
    found = await get(tx, account_id, name)
    if found.id == caller_id:
        raise Refused(Code.NOT_PERMITTED, "it is the apiUser of this call")
    await login.release(tx, login.API, name, account_id, found.id)
    return await rows.remove(tx, account_id, found.id, now_us)


async def reset_keys(tx: Tx, account_id: int, names: Sequence[str], key: str, times: tuple[int, int]) -> int:
    """One new key for all of `names`, at once; `times` are the end of the old keys, and now. Raises Refused (41109)."""
    await account_rows.lock(tx, account_id)
    found = [await get(tx, account_id, name) for name in names]
    return await rows.set_key(tx, account_id, [each.id for each in found], hash_key(key), times)


def _settable(user: ApiUser) -> tuple[object, ...]:
    return (
        user.name,
        user.sender_id,
        user.domain_id,
        user.tracking_domain_id,
        user.open,
        user.click,
        user.unsubscribe,
        user.unsubscribe_page,
        user.permission,
        user.notify_email,
        user.notify,
    )


async def _changed(tx: Tx, account_id: int, user: ApiUser, wanted: Wanted, terms: Terms) -> ApiUser:
    """`user` as it is wanted, with the domains that were named. Raises Refused (41108, 41119, 41114, 41116)."""
    user = await _bound(tx, account_id, user, wanted, terms)
    plain = ("name", "open", "click", "unsubscribe", "unsubscribe_page", "permission", "notify_email", "notify")
    user = user._replace(**{name: value for name in plain if (value := getattr(wanted, name)) is not None})
    if terms.unsubscribe_forced:
        user = user._replace(unsubscribe=1)
    _check_tracking(user, wanted, terms)
    return user


async def _bound(tx: Tx, account_id: int, user: ApiUser, wanted: Wanted, terms: Terms) -> ApiUser:
    """`user` bound to the domains of the account that are named."""
    if wanted.domain is not None:
        found = await sending_domains.get(tx, account_id, wanted.domain)
        if found is not None:
            user = user._replace(domain_id=found.id)  # of the same name too: it may have been deleted and added anew
        elif wanted.domain != user.domain:
            raise Refused(Code.BOUND_DOMAIN_UNKNOWN)
    if wanted.tracking_host == terms.default_host:
        return user._replace(tracking_domain_id=0, tracking_verified=0)
    if wanted.tracking_host is not None:
        tracking = await tracking_domains.of_host(tx, account_id, wanted.tracking_host)
        if tracking is None:
            raise Refused(Code.API_USER_NOT_CREATED, "trackDomainName is no tracking domain of the account")
        user = user._replace(tracking_domain_id=tracking.id, tracking_verified=tracking.verified)
    return user


def _check_tracking(user: ApiUser, wanted: Wanted, terms: Terms) -> None:
    """management.md §7.5, of what is switched on or moved: a switch that is on stays so whatever became of its tracking
    domain. Raises Refused (41114, 41116)."""
    own, moved = user.tracking_domain_id != 0, wanted.tracking_host is not None
    if user.open and (wanted.open or moved) and not (own or terms.by_default_host):
        raise Refused(Code.OPEN_INVALID, "opens are tracked with a tracking domain of the account only")
    if user.click and (wanted.click or moved) and not (user.tracking_verified if own else terms.by_default_host):
        raise Refused(Code.CLICK_INVALID, "clicks are tracked with a tracking domain whose CNAME is verified only")


async def _first_domain(tx: Tx, account_id: int) -> str:
    """The oldest that can be sent with, else a test domain (management.md §7.6). Raises Refused (41108)."""
    oldest_first = list(reversed(await sending_domains.every(tx, account_id)))
    usable = [each for each in oldest_first if each.type == 1 and sending_domains.is_usable(each.verified)]
    for each in [*usable, *(each for each in oldest_first if each.type == 0)]:
        return each.name
    raise Refused(Code.BOUND_DOMAIN_UNKNOWN)


async def _take_name(tx: Tx, account_id: int, user: ApiUser, user_id: int) -> ApiUser:
    """`user`, whose name is its own now. Raises Refused (41119)."""
    if not await login.take(tx, login.API, user.name, account_id, user_id):
        raise Refused(Code.API_USER_NOT_CREATED, "the name is taken")
    return user._replace(sender_id=await senders.get_or_add(tx, account_id, user.name))
