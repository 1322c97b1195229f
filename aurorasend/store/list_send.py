"""Rows of list sends. The rules are in aurorasend.list_send."""

from collections.abc import Sequence
from typing import NamedTuple

from aurorasend.store.schema import list_send
from aurorasend.store.tx import Row, Statement, Tx


class ListSend(NamedTuple):
    """A list send and what its submission and API user say. `others` are addresses beside the list, `api_user` is the name
    that it was requested under. Times are UTC microseconds."""

    account_id: int
    id: int
    api_user_id: int
    submission_id: int
    list_id: int
    address: str
    members: int
    state: int
    paused: int
    reached: int
    last: int
    done: int
    others: str
    created: int
    updated: int
    sender_id: int
    api_user: str
    label_id: int
    email_type: int
    first_recipient: int
    quiet_begin: int
    quiet_minutes: int


_NEW = ("account_id", "id", "api_user_id", "submission_id", "list_id", "address", "members", "others", "created", "updated")
_GET = Statement(
    "SELECT l.account_id, l.id, l.api_user_id, l.submission_id, l.list_id, l.address, l.members, l.state, l.paused, l.reached, "
    "l.last, l.done, l.others, l.created, l.updated, s.sender_id, n.name, s.label_id, s.email_type, s.first_recipient, u.quiet_begin, u.quiet_minutes FROM list_send l "
    "JOIN submission s ON s.account_id = l.account_id AND s.id = l.submission_id "
    "JOIN api_user u ON u.account_id = l.account_id AND u.id = l.api_user_id "
    "JOIN sender n ON n.account_id = s.account_id AND n.id = s.sender_id WHERE l.account_id = $1 AND l.id = $2"
)
_BEGIN = Statement(
    "UPDATE list_send SET state = $4, members = $5, last = $6, updated = $7 WHERE account_id = $1 AND id = $2 AND state = $3 AND paused = 0"
)
_MOVE = Statement(
    "UPDATE list_send SET reached = $6, done = done + $7, state = $8, updated = $9 "
    "WHERE account_id = $1 AND id = $2 AND state = $3 AND reached = $4 AND done = $5 AND paused = 0"
)
_END = Statement("UPDATE list_send SET state = $3, updated = $4 WHERE account_id = $1 AND id = $2")
_FAULT = Statement("UPDATE list_send SET faults = faults + 1 WHERE account_id = $1 AND id = $2 RETURNING faults")
_PAUSE = Statement("UPDATE list_send SET paused = $3 WHERE account_id = $1 AND id = $2")
_LIST = Statement(
    sqlite="SELECT members FROM address_list WHERE account_id = $1 AND id = $2",
    postgres="SELECT members FROM address_list WHERE account_id = $1 AND id = $2 FOR UPDATE",
)
_LAST = Statement("SELECT max(id) FROM member WHERE account_id = $1 AND list_id = $2")


async def add(tx: Tx, rows: Sequence[Row]) -> None:
    """Rows of (account_id, id, api_user_id, submission_id, list_id, address, members, others, created, updated)."""
    await tx.insert(list_send, _NEW, rows)


async def get(tx: Tx, account_id: int, send_id: int) -> ListSend | None:
    row = await tx.row(_GET, account_id, send_id)
    return None if row is None else ListSend(*row)


async def extent(tx: Tx, account_id: int, list_id: int) -> tuple[int, int] | None:
    """(how many members the list has, id of the last one), the list locked against changes of them; None if it is gone."""
    found = await tx.row(_LIST, account_id, list_id)
    if found is None:
        return None
    last = await tx.row(_LAST, account_id, list_id)
    return int(found[0]), 0 if last is None else int(last[0] or 0)


async def begin(tx: Tx, send: ListSend, state: int, extent: tuple[int, int], now_us: int) -> bool:
    """Fix how far the send reaches: `extent` = (members, last). False when somebody else did, or it is paused."""
    return await tx.run(_BEGIN, send.account_id, send.id, send.state, state, *extent, now_us) == 1


async def move(tx: Tx, send: ListSend, moved: tuple[int, int, int], now_us: int) -> bool:
    """`moved` = (member reached, how many more mails, state). False when the send is not where `send` says any more."""
    at = (send.state, send.reached, send.done)
    return await tx.run(_MOVE, send.account_id, send.id, *at, *moved, now_us) == 1


async def end(tx: Tx, account_id: int, send_id: int, state: int, now_us: int) -> None:
    await tx.run(_END, account_id, send_id, state, now_us)


async def add_fault(tx: Tx, account_id: int, send_id: int) -> int:
    """How many faults it has met now; 0 when there is no such send."""
    row = await tx.row(_FAULT, account_id, send_id)
    return 0 if row is None else int(row[0])


async def pause(tx: Tx, account_id: int, send_id: int, paused: int) -> bool:
    """False when there is no such send."""
    return await tx.run(_PAUSE, account_id, send_id, paused) == 1
