"""label/list, get, add, update, delete (management.md §2): the module to copy for another kind of object.

Parameters are declared once and used by name; a handler opens one transaction, in which label.py applies its rules,
and shows what came out. Called by endpoint.
"""

from dataclasses import dataclass
from datetime import timezone
from typing import Annotated

from aurorasend import label
from aurorasend.clock import wall
from aurorasend.codes import Code
from aurorasend.endpoint import ApiCall, Info, changed, endpoint, one, page
from aurorasend.fields import Field, Limit, Start, number, text
from aurorasend.store import label as rows
from aurorasend.store.label import Label

LabelId = Annotated[
    int,
    Field(
        "labelId",
        number(1),
        empty=Code.LABEL_ID_EMPTY,
        invalid=Code.LABEL_ID_INVALID,
        doc="Number of the label, as `add` and `list` tell it.",
        example="7",
    ),
]
LabelName = Annotated[
    str,
    Field(
        "labelName",
        text(255),
        empty=Code.LABEL_NAME_EMPTY,
        invalid=Code.LABEL_NAME_LENGTH,
        too_long=Code.LABEL_NAME_LENGTH,
        doc="Name of the label, unique in the account; letter case counts.",
        example="spring",
    ),
]
Query = Annotated[
    str,
    Field(
        "query",
        text(255),
        empty=Code.QUERY_EMPTY,
        invalid=Code.QUERY_LENGTH,
        too_long=Code.QUERY_LENGTH,
        doc="Part of the name, in any letter case. Without it all labels are listed.",
        example="spr",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ListLabels:
    query: Query = ""
    start: Start = 0
    limit: Limit = 100


@dataclass(frozen=True, kw_only=True)
class OneLabel:
    id: LabelId


@dataclass(frozen=True, kw_only=True)
class AddLabel:
    name: LabelName


@dataclass(frozen=True, kw_only=True)
class UpdateLabel:
    id: LabelId
    name: LabelName


@endpoint("label/list")
async def list_labels(call: ApiCall, p: ListLabels) -> Info:
    """List the labels of the account, newest first."""
    account_id = call.caller.account.id
    found, total = await call.node.store.read(lambda tx: rows.search(tx, account_id, p.query, p.start, p.limit))
    return page([shown(each, call.node.zone) for each in found], total)


@endpoint("label/get", raises=[Code.LABEL_UNKNOWN])
async def get_label(call: ApiCall, p: OneLabel) -> Info:
    """Read one label."""
    account_id = call.caller.account.id
    return one(shown(await call.node.store.read(lambda tx: label.get(tx, account_id, p.id)), call.node.zone))


@endpoint("label/add", raises=[Code.LABEL_NAME_TAKEN, Code.LABEL_NOT_CREATED], unavailable=Code.LABEL_NOT_CREATED)
async def add_label(call: ApiCall, p: AddLabel) -> Info:
    """Create a label.

    A send creates the label that its `labelName` names, too, if the account has none of that name.
    """
    account_id, now_us = call.caller.account.id, call.node.clock.now_us()
    return one(shown(await call.node.store.write(lambda tx: label.add(tx, account_id, p.name, now_us)), call.node.zone))


@endpoint("label/update", raises=[Code.LABEL_UNKNOWN, Code.LABEL_NAME_TAKEN], unavailable=Code.LABEL_NOT_UPDATED)
async def update_label(call: ApiCall, p: UpdateLabel) -> Info:
    """Give a label another name."""
    account_id, now_us = call.caller.account.id, call.node.clock.now_us()
    return changed(await call.node.store.write(lambda tx: label.rename(tx, account_id, p.id, p.name, now_us)))


@endpoint("label/delete", raises=[Code.LABEL_UNKNOWN], unavailable=Code.LABEL_NOT_DELETED)
async def delete_label(call: ApiCall, p: OneLabel) -> Info:
    """Delete a label.

    Mail already sent keeps the label's name, and its statistics stay.
    """
    account_id = call.caller.account.id
    return changed(await call.node.store.write(lambda tx: label.delete(tx, account_id, p.id)))


def shown(each: Label, zone: timezone) -> Info:
    return {
        "labelId": each.id,
        "labelName": each.name,
        "gmtCreated": wall(each.created, zone),
        "gmtUpdated": wall(each.updated, zone),
    }


ENDPOINTS = (list_labels, get_label, add_label, update_label, delete_label)
