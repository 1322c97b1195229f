"""Address lists and their members: who gets the mail of a list send (management.md §3, §4).

Called by api.address_list and api.address_member; submission finds the lists of a send here, list_send reads the members.
Calls store.contact. Always: an alias is unique in its account and compared without regard to letter case; an address is
once in a list; `members` of a list is right in every transaction, since whoever changes them has locked the list.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from aurorasend.address import is_address, normalise
from aurorasend.codes import Code, Refused
from aurorasend.store import contact as rows
from aurorasend.store.contact import AddressList, Member
from aurorasend.store.tx import Tx
from aurorasend.xsmtpapi import scalar_text

MOST_MEMBERS = 1_000_000  # of a list, management.md §3
MAX_ADDRESS = 48  # characters of a member's address, code 40513
MAX_VARS = 1024  # characters of a member's variables, code 40531
NAME = "name"  # the variable that a member's name is

BAD_ADDRESS = "Member address does not meet the email address specification"
BAD_LENGTH = f"Member address should be 1-{MAX_ADDRESS} characters"
NOT_FOUND = "address not found"
EXISTS = "address already exists"

_VARIABLES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_tokens = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[{}\[\];]|[^"{}\[\];]++', re.DOTALL).findall


@dataclass(frozen=True, slots=True)
class Wanted:
    """A member as a caller describes it. None, or "" for the address, leaves what a known member has."""

    address: str
    name: str | None = None
    vars: str | None = None


@dataclass(slots=True)
class Done:
    """What became of the addresses of one call. `refused` is (address, reason) in the order of the request."""

    count: int = 0
    existing: int = 0
    missing: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)


# -- lists


def alias_of(given: str, domain: str) -> str:
    """The alias in the form in which it is kept; `domain` is that of one given without."""
    return (given if "@" in given else f"{given}@{domain}").lower()


async def get(tx: Tx, account_id: int, address: str) -> AddressList:
    """Raises Refused (40517)."""
    found = await rows.find(tx, account_id, address)
    if found is None:
        raise Refused(Code.ADDRESS_LIST_NOT_YOURS)
    return found


async def _locked(tx: Tx, account_id: int, address: str) -> AddressList:
    found = await rows.lock(tx, account_id, address)
    if found is None:
        raise Refused(Code.ADDRESS_LIST_NOT_YOURS)
    return found


async def add(tx: Tx, account_id: int, address: str, said: tuple[str, str], now_us: int) -> AddressList:
    """`said` is (name, description). Raises Refused (40505)."""
    if await rows.find(tx, account_id, address):
        raise Refused(Code.ADDRESS_LIST_ALIAS_TAKEN)
    added = await rows.add(tx, account_id, address, said, now_us)
    if added is None:
        raise Refused(Code.ADDRESS_LIST_ALIAS_TAKEN)
    return added


@dataclass(frozen=True, slots=True)
class Changes:
    """None keeps what there is."""

    address: str | None = None
    name: str | None = None
    description: str | None = None

    @property
    def are_none(self) -> bool:
        return self.address is None and self.name is None and self.description is None


async def update(tx: Tx, account_id: int, address: str, changes: Changes, now_us: int) -> int:
    """How many were changed; none when there is nothing to change. Raises Refused (40517, 40505)."""
    found = await _locked(tx, account_id, address)
    if changes.are_none:
        return 0
    if changes.address not in (None, found.address) and await rows.find(tx, account_id, changes.address or ""):
        raise Refused(Code.ADDRESS_LIST_ALIAS_TAKEN)
    changed = found._replace(
        address=found.address if changes.address is None else changes.address,
        name=found.name if changes.name is None else changes.name,
        description=found.description if changes.description is None else changes.description,
        updated=now_us,
    )
    return await rows.update(tx, account_id, changed)


async def delete(tx: Tx, account_id: int, address: str) -> int:
    """With all its members. Raises Refused (40517)."""
    found = await _locked(tx, account_id, address)
    return await rows.delete(tx, account_id, found.id)


# -- members


def fault_of(address: str) -> str:
    """Why `address` cannot be a member, "" when it can. A quoted local part is refused (management.md §4.3)."""
    if not 1 <= len(address) <= MAX_ADDRESS:
        return BAD_LENGTH
    return "" if is_address(address) and not address.startswith('"') else BAD_ADDRESS


def check_addresses(addresses: Sequence[str]) -> None:
    """Raises Refused when none of them can be a member: 40513 all of wrong length, 40518 otherwise."""
    faults = [fault_of(address) for address in addresses]
    if all(faults):
        raise Refused(Code.MEMBER_LENGTH if set(faults) == {BAD_LENGTH} else Code.MEMBER_INVALID)


def split_vars(text: str) -> list[str]:
    """The JSON objects of `vars`, separated by `;` outside strings and brackets, or the elements of a JSON array; each
    in compact form, its values as given. Raises Refused (40522, 40531)."""
    given = _elements(text) if text.startswith("[") else [piece for piece in _pieces(text) if piece]
    compact = [_compact(each) for each in given]
    if any(len(each) > MAX_VARS for each in given):
        raise Refused(Code.MEMBER_VARS_TOO_LONG)
    return compact


def _elements(text: str) -> list[str]:
    try:
        listed = [bytes(each).decode() for each in msgspec.json.decode(text.encode(), type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeError, RecursionError) as problem:
        raise Refused(Code.MEMBER_VARS_NOT_JSON) from problem
    if not listed:
        raise Refused(Code.MEMBER_VARS_NOT_JSON, "an array without objects")
    return listed


def _pieces(text: str) -> Iterator[str]:
    depth, piece = 0, ""
    for token in _tokens(text):
        if token == ";" and depth <= 0:
            yield piece.strip()
            piece = ""
            continue
        depth += (token in ("{", "[")) - (token in ("}", "]"))
        piece += token
    yield piece.strip()


def _compact(text: str) -> str:
    """Empty for an object without members."""
    try:
        octets = text.encode()
        if not variables_of(text):
            return ""
        return msgspec.json.format(octets, indent=-1).decode()
    except (msgspec.DecodeError, UnicodeError, RecursionError) as problem:
        raise Refused(Code.MEMBER_VARS_NOT_JSON) from problem


def variables_of(text: str) -> dict[str, str]:
    """The values of a member's variables as they are printed in a mail; `%` around a name is no part of it.
    Raises msgspec.DecodeError."""
    return {key.strip("%"): scalar_text(raw) for key, raw in _VARIABLES.decode(text.encode()).items()}


def _folded(addresses: Iterable[str]) -> list[str]:
    """Each address once, as it is compared; what is no address cannot be a member."""
    return list(dict.fromkeys([normalise(each) for each in addresses if is_address(each)]))


async def get_members(tx: Tx, account_id: int, address: str, wanted: Sequence[str]) -> tuple[AddressList, list[Member]]:
    """The members of these addresses in the order asked for. Raises Refused (40517)."""
    found = await get(tx, account_id, address)
    folded = _folded(wanted)
    known = await rows.known(tx, account_id, found.id, folded)
    return found, [known[each] for each in folded if each in known]


async def add_members(
    tx: Tx, account_id: int, address: str, wanted: Sequence[Wanted], now_us: int, *, overwrite: bool = False
) -> Done:
    """Of one address the first counts; a member that is there already stays as it is, unless `overwrite`.
    Raises Refused: 40517, 40516 the list would hold too many."""
    found, done = await _locked(tx, account_id, address), Done()
    first: dict[str, Wanted] = {}
    for each in wanted:
        if fault := fault_of(each.address):
            done.refused.append((each.address, fault))
        else:
            first.setdefault(normalise(each.address), each)
    known = await rows.known(tx, account_id, found.id, list(first))
    fresh = [(folded, each) for folded, each in first.items() if folded not in known]
    if found.members + len(fresh) > MOST_MEMBERS:
        raise Refused(Code.MEMBER_NOT_ADDED, f"no more than {MOST_MEMBERS} members")
    number = await rows.take_member_ids(tx, len(fresh)) if fresh else 0
    added = [
        Member(n, each.address, folded, each.name or "", each.vars or "", now_us, now_us)
        for n, (folded, each) in enumerate(fresh, number)
    ]
    await rows.add_members(tx, account_id, found.id, added)
    if overwrite:
        await rows.change_members(tx, account_id, found.id, [_filled(known[at], first[at], now_us) for at in known])
    done.count = len(added) + (len(known) if overwrite else 0)
    done.existing = 0 if overwrite else len(known)
    if done.count:
        await rows.count_members(tx, account_id, found.id, len(added), now_us)
    return done


def _filled(member: Member, wanted: Wanted, now_us: int) -> Member:
    address = wanted.address or member.address
    return member._replace(
        address=address,
        folded=normalise(address),
        name=member.name if wanted.name is None else wanted.name,
        vars=member.vars if wanted.vars is None else wanted.vars,
        updated=now_us,
    )


async def update_members(
    tx: Tx, account_id: int, address: str, wanted: Sequence[tuple[str, Wanted]], now_us: int
) -> Done:
    """Pairs of (current address, what it becomes), one after the other. Raises Refused (40517)."""
    found, done = await _locked(tx, account_id, address), Done()
    either = [*(current for current, _ in wanted), *(each.address for _, each in wanted)]
    known = await rows.known(tx, account_id, found.id, _folded(either))
    changed: list[Member] = []
    for current, each in wanted:
        member = known.get(normalise(current))
        taken = known.get(normalise(each.address))
        if member is None:
            done.missing += 1
            done.refused.append((current, NOT_FOUND))
        elif each.address and (fault := fault_of(each.address)):
            done.refused.append((each.address, fault))
        elif taken is not None and taken is not member:
            done.refused.append((each.address, EXISTS))
        else:
            becomes = _filled(member, each, now_us)
            del known[member.folded]
            known[becomes.folded] = becomes
            changed.append(becomes)
    await rows.change_members(tx, account_id, found.id, changed)
    done.count = len(changed)
    if changed:
        await rows.count_members(tx, account_id, found.id, 0, now_us)
    return done


async def delete_members(tx: Tx, account_id: int, address: str, wanted: Sequence[str], now_us: int) -> int:
    """How many were members. Raises Refused (40517)."""
    found = await _locked(tx, account_id, address)
    removed = await rows.remove_members(tx, account_id, found.id, _folded(wanted))
    if removed:
        await rows.count_members(tx, account_id, found.id, -removed, now_us)
    return removed
