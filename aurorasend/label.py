"""Labels: the customer's own names for kinds of mail, by which statistics are told apart (management.md §2).

Called by api.label; submission makes labels on the way of a send. Calls store.label. Always: an id is never used again,
a name is unique in its account, and a label of another account does not exist.
"""

from aurorasend.codes import Code, Refused
from aurorasend.store import label as rows
from aurorasend.store.label import Label
from aurorasend.store.tx import Tx

MOST = 100_000  # labels of an account, management.md §2.3


async def get(tx: Tx, account_id: int, label_id: int) -> Label:
    """Raises Refused (40106)."""
    found = await rows.get(tx, account_id, label_id)
    if found is None:
        raise Refused(Code.LABEL_UNKNOWN)
    return found


async def add(tx: Tx, account_id: int, name: str, now_us: int) -> Label:
    """Raises Refused: 40113 taken, 40101 the account has as many as it may."""
    if await rows.named(tx, account_id, name):
        raise Refused(Code.LABEL_NAME_TAKEN)
    if await rows.count(tx, account_id) >= MOST:
        raise Refused(Code.LABEL_NOT_CREATED, f"no more than {MOST} labels")
    added = await rows.add(tx, account_id, name, now_us)
    if added is None:
        raise Refused(Code.LABEL_NAME_TAKEN)
    return added


async def rename(tx: Tx, account_id: int, label_id: int, name: str, now_us: int) -> int:
    """How many were renamed: one; the name it has is fine. Raises Refused (40106, 40113)."""
    await get(tx, account_id, label_id)
    namesake = await rows.named(tx, account_id, name)
    if namesake is not None and namesake.id != label_id:
        raise Refused(Code.LABEL_NAME_TAKEN)
    return await rows.rename(tx, account_id, label_id, name, now_us)


async def delete(tx: Tx, account_id: int, label_id: int) -> int:
    """How many were deleted: one; mail keeps the name it was sent with. Raises Refused (40106)."""
    deleted = await rows.delete(tx, account_id, label_id)
    if not deleted:
        raise Refused(Code.LABEL_UNKNOWN)
    return deleted
