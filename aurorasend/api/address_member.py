"""addressmember/list, get, add, update, delete (management.md §4). Called by endpoint. Calls contact."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timezone
from typing import Annotated

import msgspec

from aurorasend import contact
from aurorasend.api.address_list import Alias, full_alias
from aurorasend.clock import wall
from aurorasend.codes import Code, Refused
from aurorasend.contact import Done, Wanted
from aurorasend.endpoint import ApiCall, Info, changed, endpoint, one, page
from aurorasend.fields import Field, Kind, Limit, Seen, Start, Trouble, boolean, line, parser
from aurorasend.store import contact as rows
from aurorasend.store.contact import AddressList, Member
from aurorasend.store.tx import Tx

MOST = 1000  # members in one call, code 40515
MAX_NAME = 255  # ours: characters of a member's name


def _listed(given: str) -> tuple[str, ...]:
    listed = tuple(each.strip() for each in given.split(";") if each.strip())
    if not listed:
        raise Refused(Code.MEMBERS_NONE)
    return listed


@parser(Kind.TOO_MANY, schema={"type": "string"})
def _addresses(given: str) -> tuple[str, ...]:
    listed = _listed(given)
    if len(listed) > MOST:
        raise Trouble(Kind.TOO_MANY)
    return listed


@parser(Kind.TOO_MANY, schema={"type": "string"})
def _new_addresses(given: str) -> tuple[str, ...]:
    """Those of members to be; one that cannot be a member is reported by itself, unless none can."""
    contact.check_addresses(_listed(given)[:MOST])  # what is wrong with them comes before how many they are
    return _addresses.read(given)


@parser(Kind.TOO_LONG, schema={"type": "string"})
def _names(given: str) -> tuple[str, ...]:
    """Empty ones count: the others are matched by their position. A `;` at the end does not begin another."""
    name = line(MAX_NAME)
    listed = [each.strip() for each in given.split(";")]
    return tuple(name.read(each) for each in (listed[:-1] if not listed[-1] else listed)[: MOST + 1])


@parser(schema={"type": "string"})
def _vars(given: str) -> tuple[str, ...]:
    return tuple(contact.split_vars(given))


_vars_field = Field(
    "vars",
    _vars,
    empty=Code.MEMBER_VARS_EMPTY,
    invalid=Code.MEMBER_VARS_NOT_JSON,
    raises=(Code.MEMBER_VARS_TOO_LONG,),
    joined=True,
    json=True,
    doc=f"Variables of the members, one JSON object each, separated by `;`, at most {contact.MAX_VARS} characters each; names "
    "without `%`.",
    example='{"money": "1000"};{"money": "2000"}',
)


_MEMBERS = Field(
    "members",
    _addresses,
    empty=Code.MEMBERS_EMPTY,
    invalid=Code.MEMBER_INVALID,
    too_many=Code.MEMBERS_TOO_MANY,
    raises=(Code.MEMBERS_NONE,),
    joined=True,
    doc=f"1-{MOST} addresses separated by `;`.",
    example="ann@example.com;bob@example.com",
)
_ADDED = replace(_MEMBERS, parser=_new_addresses, raises=(Code.MEMBERS_NONE, Code.MEMBER_LENGTH))
Members = Annotated[tuple[str, ...], _MEMBERS]
AddedMembers = Annotated[tuple[str, ...], _ADDED]
# In an update a blank value keeps what is there (spec §0.6).
NewMembers = Annotated[
    tuple[str, ...],
    replace(_ADDED, wire="newMembers", empty=None, doc="The new addresses, as many as `members`; absent or blank keeps them."),
]
Names = Annotated[
    tuple[str, ...] | None,
    Field(
        "names",
        _names,
        invalid=Code.MEMBER_NOT_ADDED,
        too_long=Code.MEMBER_NOT_ADDED,
        joined=True,
        doc="Names, as many as `members`, separated by `;`: the variable `name`.",
        example="Ann;Bob",
    ),
]
Name = Annotated[
    str | None,
    Field(
        "name",
        line(MAX_NAME),
        invalid=Code.MEMBER_NOT_ADDED,
        too_long=Code.MEMBER_NOT_ADDED,
        doc="Name of a single member, when `names` is absent.",
        example="Ann",
    ),
]
Vars = Annotated[tuple[str, ...] | None, _vars_field]
Upsert = Annotated[
    bool,
    Field("upsert", boolean, invalid=Code.MEMBER_NOT_ADDED, doc="Overwrite members that are there already.", example="true"),
]


def _check_count(seen: Seen, attribute: str) -> None:
    others = seen.peek(attribute)
    if others is not None and len(others) != len(seen.peek("members")):
        raise Refused(Code.MEMBER_VARS_COUNT)


class Paired:
    """Names and variables are as many as the members."""

    @classmethod
    def check_names(cls, seen: Seen) -> None:
        _check_count(seen, "names")

    @classmethod
    def check_vars(cls, seen: Seen) -> None:
        _check_count(seen, "vars")


@dataclass(frozen=True, kw_only=True)
class ListMembers:
    address: Alias
    start: Start = 0
    limit: Limit = 100


@dataclass(frozen=True, kw_only=True)
class SomeMembers:
    address: Alias
    members: Members


@dataclass(frozen=True, kw_only=True)
class AddMembers(Paired):
    address: Alias
    members: AddedMembers
    names: Names = None
    vars: Vars = None
    upsert: Upsert = False

    @property
    def wanted(self) -> list[Wanted]:
        return _wanted(self.members, self.names, self.vars)


@dataclass(frozen=True, kw_only=True)
class UpdateMembers(Paired):
    address: Alias
    members: Members
    new_members: NewMembers = ()
    names: Names = None
    vars: Vars = None
    name: Name = None

    @classmethod
    def check_new_members(cls, seen: Seen) -> None:
        _check_count(seen, "new_members")

    @property
    def wanted(self) -> list[tuple[str, Wanted]]:
        """Pairs of the current address and what it becomes. `name` is for a single member (spec §4.4)."""
        names = (self.name,) if self.names is None and self.name is not None and len(self.members) == 1 else self.names
        becomes = self.new_members or ("",) * len(self.members)
        return list(zip(self.members, _wanted(becomes, names, self.vars), strict=True))


def _wanted(addresses: Sequence[str], names: Sequence[str] | None, variables: Sequence[str] | None) -> list[Wanted]:
    return [
        Wanted(address, None if names is None else names[n], None if variables is None else variables[n])
        for n, address in enumerate(addresses)
    ]


@endpoint("addressmember/list", raises=[Code.ADDRESS_LIST_NOT_YOURS])
async def list_members(call: ApiCall, p: ListMembers) -> Info:
    """List the members of an address list, newest first."""
    account_id, address = call.caller.account.id, full_alias(call, p.address)

    async def unit(tx: Tx) -> tuple[AddressList, list[Member]]:
        found = await contact.get(tx, account_id, address)
        return found, await rows.members(tx, account_id, found.id, p.start, p.limit)

    of, found = await call.node.store.read(unit)
    info = page([shown(each, of, call.node.zone) for each in found], of.members)
    return {**info, "data": [each.address for each in found]}


@endpoint("addressmember/get", raises=[Code.ADDRESS_LIST_NOT_YOURS])
async def get_members(call: ApiCall, p: SomeMembers) -> Info:
    """Read members of an address list; those that it does not have are left out."""
    account_id, address = call.caller.account.id, full_alias(call, p.address)
    of, found = await call.node.store.read(lambda tx: contact.get_members(tx, account_id, address, p.members))
    listed = [shown(each, of, call.node.zone) for each in found]
    return {**one(listed[0] if listed else {}), "dataList": listed, "count": len(listed)}


@endpoint(
    "addressmember/add",
    raises=[Code.ADDRESS_LIST_NOT_YOURS, Code.MEMBER_VARS_COUNT, Code.MEMBER_NOT_ADDED],
    unavailable=Code.MEMBER_NOT_ADDED,
)
async def add_members(call: ApiCall, p: AddMembers) -> Info:
    """Add members to an address list.

    Addresses that cannot be members are reported, the others are added; those that are there already stay as they are.
    """
    account_id, now_us, address = call.caller.account.id, call.node.clock.now_us(), full_alias(call, p.address)
    wanted = p.wanted
    done = await call.node.store.write(
        lambda tx: contact.add_members(tx, account_id, address, wanted, now_us, overwrite=p.upsert)
    )
    return {**_outcome(done), "existCount": done.existing}


@endpoint(
    "addressmember/update",
    raises=[Code.ADDRESS_LIST_NOT_YOURS, Code.MEMBER_VARS_COUNT],
    unavailable=Code.MEMBER_NOT_ADDED,
)
async def update_members(call: ApiCall, p: UpdateMembers) -> Info:
    """Change address, name or variables of members. Given variables replace all that a member had."""
    account_id, now_us, address = call.caller.account.id, call.node.clock.now_us(), full_alias(call, p.address)
    wanted = p.wanted
    done = await call.node.store.write(lambda tx: contact.update_members(tx, account_id, address, wanted, now_us))
    return {**_outcome(done), "addressNotExistCount": done.missing}


@endpoint("addressmember/delete", raises=[Code.ADDRESS_LIST_NOT_YOURS], unavailable=Code.MEMBER_NOT_DELETED)
async def delete_members(call: ApiCall, p: SomeMembers) -> Info:
    """Remove members from an address list; unknown ones are ignored."""
    account_id, now_us, address = call.caller.account.id, call.node.clock.now_us(), full_alias(call, p.address)
    return changed(await call.node.store.write(lambda tx: contact.delete_members(tx, account_id, address, p.members, now_us)))


def _outcome(done: Done) -> Info:
    return {
        "count": done.count,
        "invalidCount": len(done.refused),
        "invalidAddressList": [address for address, _ in done.refused],
        "reasonList": [reason for _, reason in done.refused],
    }


def shown(each: Member, of: AddressList, zone: timezone) -> Info:
    """`vars` is "" when there are none (spec §4.6)."""
    return {
        "member": each.address,
        "address": of.address,
        "name": each.name,
        "vars": msgspec.Raw(each.vars.encode()) if each.vars else "",
        "gmtCreated": wall(each.created, zone),
        "gmtUpdated": wall(each.updated, zone),
    }


ENDPOINTS = (list_members, get_members, add_members, update_members, delete_members)
