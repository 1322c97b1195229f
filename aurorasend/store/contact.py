"""Rows of address lists and their members. The rules are in aurorasend.contact.

A list that is deleted is gone at once; its members, of which there may be a million, are swept a few at a time. List ids
are never used again, so nobody sees them meanwhile.
"""

from collections.abc import Sequence
from typing import NamedTuple

from aurorasend.store.schema import member
from aurorasend.store.tx import Row, Statement, Tx


class AddressList(NamedTuple):
    """Times are UTC microseconds; `members` is how many there are."""

    id: int
    address: str
    name: str
    description: str
    members: int
    created: int
    updated: int
    member_updated: int


class Member(NamedTuple):
    """`vars` is a JSON object, "" when there are none."""

    id: int
    address: str
    folded: str
    name: str
    vars: str
    created: int
    updated: int


_LIST = "id, address, name, description, members, created, updated, member_updated"
_MEMBER = "id, address, folded, name, vars, created, updated"
_NEW_MEMBER = ("account_id", "list_id", "id", "address", "folded", "name", "vars", "created", "updated")

_FIND = Statement(f"SELECT {_LIST} FROM address_list WHERE account_id = $1 AND address = $2")
_LOCK = Statement(
    sqlite=f"SELECT {_LIST} FROM address_list WHERE account_id = $1 AND address = $2",
    postgres=f"SELECT {_LIST} FROM address_list WHERE account_id = $1 AND address = $2 FOR UPDATE",
)
_EXISTS = Statement("SELECT 1 FROM address_list WHERE account_id = $1 AND id = $2")
_COUNT = Statement("SELECT count(*) FROM address_list WHERE account_id = $1")
_PAGE = Statement(f"SELECT {_LIST} FROM address_list WHERE account_id = $1 ORDER BY created DESC, id DESC LIMIT $2 OFFSET $3")
_COUNT_NAMED = Statement("SELECT count(*) FROM address_list WHERE account_id = $1 AND address IN texts($2)")
_PAGE_NAMED = Statement(
    f"SELECT {_LIST} FROM address_list WHERE account_id = $1 AND address IN texts($2) ORDER BY created DESC, id DESC LIMIT $3 OFFSET $4"
)
_ADD = Statement(
    "INSERT INTO address_list (account_id, id, address, name, description, created, updated, member_updated) "
    "VALUES ($1, $2, $3, $4, $5, $6, $6, $6) ON CONFLICT (account_id, address) DO NOTHING"
)
_UPDATE = Statement("UPDATE address_list SET address = $3, name = $4, description = $5, updated = $6 WHERE account_id = $1 AND id = $2")
_DELETE = Statement("DELETE FROM address_list WHERE account_id = $1 AND id = $2")
_DROP = Statement("INSERT INTO dropped_list (account_id, id) VALUES ($1, $2)")
_DROPPED = Statement("SELECT account_id, id FROM dropped_list LIMIT 1")
_SWEEP = Statement(
    "DELETE FROM member WHERE account_id = $1 AND list_id = $2 AND id IN "
    "(SELECT id FROM member WHERE account_id = $1 AND list_id = $2 ORDER BY id LIMIT $3)"
)
_SWEPT = Statement("DELETE FROM dropped_list WHERE account_id = $1 AND id = $2")
_COUNT_MEMBERS = Statement("UPDATE address_list SET members = members + $3, member_updated = $4 WHERE account_id = $1 AND id = $2")
_MEMBERS = Statement(
    f"SELECT {_MEMBER} FROM member WHERE account_id = $1 AND list_id = $2 ORDER BY id DESC LIMIT $3 OFFSET $4"
)
_KNOWN = Statement(f"SELECT {_MEMBER} FROM member WHERE account_id = $1 AND list_id = $2 AND folded IN texts($3)")
_CHANGE = Statement(
    "UPDATE member SET address = $4, folded = $5, name = $6, vars = $7, updated = $8 WHERE account_id = $1 AND list_id = $2 AND id = $3"
)
_REMOVE = Statement("DELETE FROM member WHERE account_id = $1 AND list_id = $2 AND folded IN texts($3)")
_AFTER = Statement(
    "SELECT id, address, name, vars FROM member WHERE account_id = $1 AND list_id = $2 AND id > $3 AND id <= $4 ORDER BY id LIMIT $5"
)


async def find(tx: Tx, account_id: int, address: str) -> AddressList | None:
    row = await tx.row(_FIND, account_id, address)
    return None if row is None else AddressList(*row)


async def lock(tx: Tx, account_id: int, address: str) -> AddressList | None:
    """As `find`; nobody else changes the list or its members until the transaction ends."""
    row = await tx.row(_LOCK, account_id, address)
    return None if row is None else AddressList(*row)


async def exists(tx: Tx, account_id: int, list_id: int) -> bool:
    return await tx.row(_EXISTS, account_id, list_id) is not None


async def page(
    tx: Tx, account_id: int, addresses: Sequence[str] | None, start: int, limit: int
) -> tuple[list[AddressList], int]:
    """Newest first, and how many there are in all; of the lists `addresses`, or of all when it is None."""
    if addresses is not None:
        among = tx.many(addresses)
        total = await tx.row(_COUNT_NAMED, account_id, among)
        found = await tx.rows(_PAGE_NAMED, account_id, among, limit, start)
    else:
        total = await tx.row(_COUNT, account_id)
        found = await tx.rows(_PAGE, account_id, limit, start)
    return [AddressList(*row) for row in found], 0 if total is None else int(total[0])


async def add(tx: Tx, account_id: int, address: str, said: tuple[str, str], now_us: int) -> AddressList | None:
    """`said` is (name, description). None when the account has a list of that alias."""
    list_id = await tx.next_id("address_list")
    if not await tx.run(_ADD, account_id, list_id, address, *said, now_us):
        return None
    return AddressList(list_id, address, *said, 0, now_us, now_us, now_us)


async def update(tx: Tx, account_id: int, changed: AddressList) -> int:
    """Writes alias, name, description and the time of update."""
    return await tx.run(
        _UPDATE, account_id, changed.id, changed.address, changed.name, changed.description, changed.updated
    )


async def delete(tx: Tx, account_id: int, list_id: int) -> int:
    deleted = await tx.run(_DELETE, account_id, list_id)
    if deleted:
        await tx.run(_DROP, account_id, list_id)
    return deleted


async def sweep(tx: Tx, limit: int) -> int | None:
    """Remove up to `limit` members of a list that was deleted; None when there is no such list."""
    found = await tx.row(_DROPPED)
    if found is None:
        return None
    removed = await tx.run(_SWEEP, *found, limit)
    if removed < limit:
        await tx.run(_SWEPT, *found)
    return removed


# -- members


async def members(tx: Tx, account_id: int, list_id: int, start: int, limit: int) -> list[Member]:
    """A page, newest first."""
    return [Member(*row) for row in await tx.rows(_MEMBERS, account_id, list_id, limit, start)]


async def known(tx: Tx, account_id: int, list_id: int, folded: Sequence[str]) -> dict[str, Member]:
    """The members of these addresses, each by its address as it is compared."""
    found = await tx.rows(_KNOWN, account_id, list_id, tx.many(folded))
    return {row[2]: Member(*row) for row in found}


async def add_members(tx: Tx, account_id: int, list_id: int, added: Sequence[Member]) -> None:
    """Their ids count: the list is in the order of them."""
    await tx.insert(member, _NEW_MEMBER, [(account_id, list_id, *each) for each in added])


async def take_member_ids(tx: Tx, count: int) -> int:
    """The first of `count` ids. Call it with the list locked, so that ids grow within it."""
    return await tx.take_ids("member", count)


async def change_members(tx: Tx, account_id: int, list_id: int, changed: Sequence[Member]) -> None:
    rows = [(account_id, list_id, m.id, m.address, m.folded, m.name, m.vars, m.updated) for m in changed]
    await tx.run_many(_CHANGE, rows)


async def remove_members(tx: Tx, account_id: int, list_id: int, folded: Sequence[str]) -> int:
    return await tx.run(_REMOVE, account_id, list_id, tx.many(folded))


async def count_members(tx: Tx, account_id: int, list_id: int, more: int, now_us: int) -> None:
    """The list has `more` members than before; also when only something about them changed."""
    await tx.run(_COUNT_MEMBERS, account_id, list_id, more, now_us)


async def after(tx: Tx, account_id: int, list_id: int, between: tuple[int, int], limit: int) -> list[Row]:
    """(id, address, name, vars) of the first members after the id `between[0]`, up to the id `between[1]`, in list order."""
    return await tx.rows(_AFTER, account_id, list_id, *between, limit)
