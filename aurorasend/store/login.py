"""Names that are found without knowing the account: API users, SMS users, tracking hosts. One owner in the whole store."""

from aurorasend.store.tx import Statement, Tx

API, SMS, TRACKING = "api", "sms", "tracking"

_TAKE = Statement("INSERT INTO login (kind, name, account_id, ref) VALUES ($1, $2, $3, $4) ON CONFLICT (kind, name) DO NOTHING")
_OWNER = Statement("SELECT account_id, ref FROM login WHERE kind = $1 AND name = $2")
_RELEASE = Statement("DELETE FROM login WHERE kind = $1 AND name = $2 AND account_id = $3 AND ref = $4")


async def take(tx: Tx, kind: str, name: str, account_id: int, ref: int) -> bool:
    """False when the name belongs to somebody else. Taking what one has changes nothing."""
    if await tx.run(_TAKE, kind, name, account_id, ref):
        return True
    return await tx.row(_OWNER, kind, name) == (account_id, ref)


async def release(tx: Tx, kind: str, name: str, account_id: int, ref: int) -> None:
    """Nothing changes when it belongs to somebody else."""
    await tx.run(_RELEASE, kind, name, account_id, ref)
