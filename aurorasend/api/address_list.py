"""addresslist/list, add, update, delete (management.md §3). Called by endpoint. Calls contact."""

from dataclasses import dataclass
from datetime import timezone
from typing import Annotated

from aurorasend import contact
from aurorasend.address import is_address
from aurorasend.clock import wall
from aurorasend.codes import Code, Refused
from aurorasend.contact import Changes
from aurorasend.endpoint import ApiCall, Info, changed, endpoint, one, page
from aurorasend.fields import Field, Kind, Limit, Parser, Start, Trouble, line, parser, text
from aurorasend.store import contact as rows
from aurorasend.store.contact import AddressList

MAX_ALIAS = 48  # characters, spec §3.1
MAX_NAME = 48
MAX_DESCRIPTION = 250
MOST_ASKED = 1000  # ours: aliases in one filter
PLAIN, ADVANCED = "0", "1"  # listType


def alias(longest: int | None) -> Parser[str]:
    """An alias with or without its domain, in lower case (spec §3.1)."""

    @parser(*(() if longest is None else (Kind.TOO_LONG,)), schema={"type": "string", "maxLength": longest or 254})
    def read(given: str) -> str:
        if longest is not None and len(given) > longest:
            raise Trouble(Kind.TOO_LONG)
        if not is_address(given if "@" in given else f"{given}@list.example"):
            raise Trouble(Kind.INVALID)
        return given.lower()

    return read


@parser(Kind.EMPTY, schema={"type": "string"})
def _aliases(given: str) -> tuple[str, ...]:
    aliases = tuple(each.strip().lower() for each in given.split(";") if each.strip())
    if not aliases:
        raise Trouble(Kind.EMPTY)
    return aliases[:MOST_ASKED]


Alias = Annotated[
    str,
    Field(
        "address",
        alias(None),
        empty=Code.ADDRESS_LIST_ALIAS_EMPTY,
        invalid=Code.ADDRESS_LIST_ALIAS_INVALID,
        doc="Alias of the list, in any letter case.",
        example="news@maillist.example.com",
    ),
]
OwnAlias = Annotated[
    str,
    Field(
        "address",
        alias(MAX_ALIAS),
        empty=Code.ADDRESS_LIST_ALIAS_EMPTY,
        invalid=Code.ADDRESS_LIST_ALIAS_INVALID,
        too_long=Code.ADDRESS_LIST_ALIAS_LENGTH,
        doc=f"Alias of the list, at most {MAX_ALIAS} characters, unique in the account. Without `@` it gets the list domain of "
        "this installation.",
        example="news@maillist.example.com",
    ),
]
NewAlias = Annotated[
    str | None,
    Field(
        "newAddress",
        alias(MAX_ALIAS),
        invalid=Code.ADDRESS_LIST_ALIAS_INVALID,
        too_long=Code.NEW_ALIAS_LENGTH,
        doc="New alias; the members move along.",
        example="weekly@maillist.example.com",
    ),
]
Aliases = Annotated[
    tuple[str, ...],
    Field(
        "address",
        _aliases,
        empty=Code.ADDRESS_LIST_ALIAS_EMPTY,
        invalid=Code.ADDRESS_LIST_ALIAS_INVALID,
        joined=True,
        doc="Only these lists: aliases separated by `;`, unknown ones are ignored.",
        example="news@maillist.example.com",
    ),
]
_NAME = f"Display name, 1-{MAX_NAME} characters."
ListName = Annotated[
    str,
    Field(
        "name",
        line(MAX_NAME),
        empty=Code.ADDRESS_LIST_NAME_EMPTY,
        invalid=Code.ADDRESS_LIST_NAME_LENGTH,
        too_long=Code.ADDRESS_LIST_NAME_LENGTH,
        doc=_NAME,
        example="Newsletter",
    ),
]
NewName = Annotated[
    str | None,
    Field(
        "name",
        line(MAX_NAME),
        invalid=Code.ADDRESS_LIST_NAME_LENGTH,
        too_long=Code.ADDRESS_LIST_NAME_LENGTH,
        doc=f"{_NAME} Absent or blank keeps the old one.",
        example="Weekly",
    ),
]
_DESCRIPTION = f"Description, at most {MAX_DESCRIPTION} characters."
Description = Annotated[
    str,
    Field(
        "desc",
        text(MAX_DESCRIPTION),
        empty=Code.ADDRESS_LIST_DESCRIPTION_EMPTY,
        invalid=Code.ADDRESS_LIST_DESCRIPTION_LENGTH,
        too_long=Code.ADDRESS_LIST_DESCRIPTION_LENGTH,
        aliases=("description",),
        doc=_DESCRIPTION,
        example="Readers of the newsletter",
    ),
]
NewDescription = Annotated[
    str | None,
    Field(
        "desc",
        text(MAX_DESCRIPTION),
        invalid=Code.ADDRESS_LIST_DESCRIPTION_LENGTH,
        too_long=Code.ADDRESS_LIST_DESCRIPTION_LENGTH,
        aliases=("description",),
        doc=f"{_DESCRIPTION} Absent keeps the old one, an empty one clears it.",
        example="Readers of the newsletter",
    ),
]


@parser(schema={"type": "integer", "enum": [0, 1]})
def _list_type(given: str) -> int:
    """Advanced lists need a permission that no account can have yet."""
    if given == ADVANCED:
        raise Refused(Code.NOT_PERMITTED)
    if given != PLAIN:
        raise Trouble(Kind.INVALID)
    return 0


ListType = Annotated[
    int,
    Field(
        "listType",
        _list_type,
        invalid=Code.ADDRESS_LIST_NOT_CREATED,
        raises=(Code.NOT_PERMITTED,),
        doc="0, an ordinary list. Advanced lists (1) need a permission.",
        example="0",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ListLists:
    addresses: Aliases = ()
    start: Start = 0
    limit: Limit = 100


@dataclass(frozen=True, kw_only=True)
class AddList:
    address: OwnAlias
    name: ListName
    description: Description = ""
    list_type: ListType = 0


@dataclass(frozen=True, kw_only=True)
class UpdateList:
    address: Alias
    new_address: NewAlias = None
    name: NewName = None
    description: NewDescription = None


@dataclass(frozen=True, kw_only=True)
class OneList:
    address: Alias


@endpoint("addresslist/list")
async def list_lists(call: ApiCall, p: ListLists) -> Info:
    """List the address lists of the account, newest first."""
    account_id = call.caller.account.id
    asked = [full_alias(call, each) for each in p.addresses]
    wanted = [each for each in asked if is_address(each)] if asked else None
    found, total = await call.node.store.read(lambda tx: rows.page(tx, account_id, wanted, p.start, p.limit))
    info = page([shown(each, call.node.zone) for each in found], total)
    return {**info, "data": info["dataList"]}  # spec §3.6: both keys


@endpoint(
    "addresslist/add",
    raises=[Code.ADDRESS_LIST_ALIAS_TAKEN],
    unavailable=Code.ADDRESS_LIST_NOT_CREATED,
)
async def add_list(call: ApiCall, p: AddList) -> Info:
    """Create an address list without members."""
    account_id, now_us, address = call.caller.account.id, call.node.clock.now_us(), full_alias(call, p.address)
    said = (p.name, p.description)
    return one(shown(await call.node.store.write(lambda tx: contact.add(tx, account_id, address, said, now_us)), call.node.zone))


@endpoint(
    "addresslist/update",
    raises=[Code.ADDRESS_LIST_NOT_YOURS, Code.ADDRESS_LIST_ALIAS_TAKEN],
    unavailable=Code.ADDRESS_LIST_NOT_CREATED,
)
async def update_list(call: ApiCall, p: UpdateList) -> Info:
    """Change alias, name or description of an address list."""
    account_id, now_us, address = call.caller.account.id, call.node.clock.now_us(), full_alias(call, p.address)
    changes = Changes(
        address=None if p.new_address is None else full_alias(call, p.new_address),
        name=p.name,
        description="" if p.description is None and _has_description(call) else p.description,
    )
    return changed(await call.node.store.write(lambda tx: contact.update(tx, account_id, address, changes, now_us)))


@endpoint("addresslist/delete", raises=[Code.ADDRESS_LIST_NOT_YOURS])
async def delete_list(call: ApiCall, p: OneList) -> Info:
    """Delete an address list with its members.

    What was sent to it before goes on; a send that has not reached all members stops.
    """
    account_id, address = call.caller.account.id, full_alias(call, p.address)
    return changed(await call.node.store.write(lambda tx: contact.delete(tx, account_id, address)))


def full_alias(call: ApiCall, given: str) -> str:
    return contact.alias_of(given, call.node.settings.address_list.domain)


def _has_description(call: ApiCall) -> bool:
    """Whether a description was sent at all: an empty one is one here (spec §3.4)."""
    return any(name.lower() in ("desc", "description") for name, _ in call.raw.pairs())


def shown(each: AddressList, zone: timezone) -> Info:
    return {
        "address": each.address,
        "name": each.name,
        "description": each.description,
        "memberCount": each.members,
        "listType": 0,
        "gmtCreated": wall(each.created, zone),
        "gmtUpdated": wall(each.updated, zone),
        "memberUpdated": wall(each.member_updated, zone),
    }


ENDPOINTS = (list_lists, add_list, update_list, delete_list)
