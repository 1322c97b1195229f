"""unsubscribe/list, add, delete (data.md §8). Called by endpoint. Calls suppression."""

from dataclasses import dataclass, replace
from datetime import timezone

from aurorasend import suppression
from aurorasend.api.bounce import deleted_by, listed, search_of
from aurorasend.api.data_fields import (
    ApiUserList,
    LabelIdList,
    LabelNameList,
    RangedOrEmail,
    RangedOrEmailOrNothing,
    ThisEmail,
)
from aurorasend.clock import wall
from aurorasend.codes import Code
from aurorasend.endpoint import Answer, ApiCall, Info, changed, endpoint, one
from aurorasend.fields import Limit, Start
from aurorasend.store import api_user as api_users
from aurorasend.store import label as labels
from aurorasend.store import suppression as rows
from aurorasend.store.suppression import Entry
from aurorasend.store.tx import Tx

# data.md §8.1, by unsubscribeType
REASONS = (
    "I don't want to receive such mail anymore",
    "This is not my subscription",
    "This is spam",
    "This is a fraudulent email",
)


@dataclass(frozen=True, kw_only=True)
class ListUnsubscribes(RangedOrEmail):
    api_users: ApiUserList = None
    labels: LabelIdList = None
    label_names: LabelNameList = ()
    start: Start = 0
    limit: Limit = 100


@dataclass(frozen=True, kw_only=True)
class AddUnsubscribe:
    email: ThisEmail


@dataclass(frozen=True, kw_only=True)
class DeleteUnsubscribes(RangedOrEmailOrNothing):
    """Of one of the two."""


async def read_entries(call: ApiCall, p: ListUnsubscribes) -> list[Entry]:
    account_id, search = call.caller.account.id, search_of(call, "unsubscribe", p, p.email)

    async def unit(tx: Tx) -> list[Entry]:
        wanted = await labels.wanted(tx, account_id, p.labels, p.label_names)
        users = await api_users.ever_named(tx, account_id, p.api_users)
        return await rows.page(tx, account_id, replace(search, api_users=users, labels=wanted), (p.start, p.limit))

    return await call.node.store.read(unit)


async def add(call: ApiCall, p: AddUnsubscribe) -> Entry:
    account_id, api_user, now_us = call.caller.account.id, call.caller.id, call.node.clock.now_us()
    return await call.node.store.write(lambda tx: suppression.unsubscribe(tx, account_id, p.email, api_user, now_us))


async def delete(call: ApiCall, p: DeleteUnsubscribes) -> int:
    account_id, search = call.caller.account.id, deleted_by(call, "unsubscribe", p, p.email)
    return await call.node.store.write(lambda tx: rows.delete(tx, account_id, search))


@endpoint("unsubscribe/list")
async def list_unsubscribes(call: ApiCall, p: ListUnsubscribes) -> Info:
    """List addresses that unsubscribed, oldest first.

    Give `days`, both dates, or `email`.
    """
    return listed([{**shown(each, call.node.zone), **reason(each.kind)} for each in await read_entries(call, p)])


@endpoint("unsubscribe/add", raises=[Code.UNSUBSCRIBE_ADDED], unavailable=Code.UNSUBSCRIBE_NOT_ADDED)
async def add_unsubscribe(call: ApiCall, p: AddUnsubscribe) -> Answer:
    """Put an address on the unsubscribe list of the calling API_USER.

    An address that is on it already is answered with the record that it has.
    """
    return Answer(Code.UNSUBSCRIBE_ADDED, one(shown(await add(call, p), call.node.zone)))


@endpoint(
    "unsubscribe/delete",
    unavailable=Code.UNSUBSCRIBE_NOT_REMOVED,
)
async def delete_unsubscribes(call: ApiCall, p: DeleteUnsubscribes) -> Info:
    """Take an address off the unsubscribe lists of all API_USERs, or all of a range."""
    return changed(await delete(call, p))


def shown(each: Entry, zone: timezone) -> Info:
    return {
        "email": each.key,
        "domain": each.key.rpartition("@")[2],
        "labelId": each.label_id,
        "apiUser": each.api_user,
        "unsubscribeTime": wall(each.created, zone),
    }


def reason(kind: int) -> Info:
    return {"unsubscribeType": kind, "unsubscribeTypeDesc": REASONS[kind]}


ENDPOINTS = (list_unsubscribes, add_unsubscribe, delete_unsubscribes)
