"""unintercept/list, add, delete: who is mailed whatever list they are on (data.md §11). Called by endpoint. Calls suppression."""

from dataclasses import dataclass, replace
from datetime import timezone
from typing import Annotated

from aurorasend import suppression
from aurorasend.api.block import AddressOrDomain, delete_of, halves, keys_of
from aurorasend.api.bounce import listed
from aurorasend.api.data_fields import DomainKey, OnlyEmail
from aurorasend.clock import wall
from aurorasend.codes import Code
from aurorasend.endpoint import ApiCall, Info, changed, endpoint
from aurorasend.fields import Field, Limit, Start, line
from aurorasend.store import suppression as rows
from aurorasend.store.suppression import Entry, Search
from aurorasend.store.tx import Tx

_SCOPE = Field(
    "apiUserName", line(), invalid=Code.API_USER_LIST_INVALID, doc="`all`, or an API_USER of the account.", example="all"
)
Scope = Annotated[str, _SCOPE]
AnyScope = Annotated[str, replace(_SCOPE, doc="Only entries for this API_USER, or for `all`.")]


@dataclass(frozen=True, kw_only=True)
class ListAllowed:
    api_user: AnyScope = ""
    domain: DomainKey = ""
    email: OnlyEmail = ""
    start: Start = 0
    limit: Limit = 100


@dataclass(frozen=True, kw_only=True)
class OneAllowed:
    api_user: Scope = suppression.ALL
    domain: DomainKey = ""
    email: AddressOrDomain = ""


@endpoint("unintercept/list")
async def list_allowed(call: ApiCall, p: ListAllowed) -> Info:
    """List the addresses and domains that no list intercepts, newest first."""
    keys = keys_of(p.email, p.domain) or None
    if p.email and p.domain:
        keys = []  # no entry is both
    search, account_id, bounds = Search(list="allow", keys=keys), call.caller.account.id, (p.start, p.limit)

    async def unit(tx: Tx) -> list[Entry]:
        return await rows.page(
            tx, account_id, await suppression.narrowed(tx, account_id, search, p.api_user), bounds, newest=True
        )

    return listed([shown(each, call.node.zone) for each in await call.node.store.read(unit)])


@endpoint("unintercept/add", raises=[Code.API_USER_LIST_INVALID])
async def allow(call: ApiCall, p: OneAllowed) -> Info:
    """Let mail go to an address or a recipient domain, whatever list it is on.

    The answer holds the entries that are new.
    """
    account_id, now_us, keys = call.caller.account.id, call.node.clock.now_us(), keys_of(p.email, p.domain)
    new = await call.node.store.write(lambda tx: suppression.allow(tx, account_id, keys, p.api_user, now_us))
    return {"dataList": [shown(each, call.node.zone) for each in new]}


@endpoint("unintercept/delete")
async def disallow(call: ApiCall, p: OneAllowed) -> Info:
    """Take an address or a recipient domain off the allow list; without `apiUserName`, its entry for `all` only."""
    search = Search(list="allow", keys=keys_of(p.email, p.domain))
    return changed(await delete_of(call, search, p.api_user))


def shown(each: Entry, zone: timezone) -> Info:
    email, domain = halves(each.key)
    name, created = each.api_user or suppression.ALL, wall(each.created, zone)
    return {"apiUserName": name, "email": email, "domain": domain, "createTime": created}


ENDPOINTS = (list_allowed, allow, disallow)
