"""Where mail and SMS are caught until a delivery route is chosen.

Called by delivery and the SMS gateway side (catch, in the transaction that settles the entry), by console.sandbox
(list, get) and by the sweeper (trim). A caught message counts as delivered.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aurorasend.store import sandbox as rows
from aurorasend.store.tx import Store, Tx


@dataclass(frozen=True, slots=True)
class Catch:
    """A message to be caught: `id` is that of its recipient; kind is "mail" or "sms"."""

    account_id: int
    id: int
    kind: str
    at_us: int
    mail_from: str
    recipient: str
    subject: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Caught:
    """A caught message without its bytes."""

    id: int
    kind: str
    at_us: int
    account_id: int
    mail_from: str
    recipient: str
    subject: str
    size: int


async def catch(tx: Tx, catches: Sequence[Catch]) -> None:
    await rows.add(
        tx, [(c.account_id, c.id, c.kind, c.at_us, c.mail_from, c.recipient, c.subject, len(c.raw), c.raw) for c in catches]
    )


class Sandbox:
    """What was caught, for its pages."""

    def __init__(self, store: Store, keep: int, keep_bytes: int) -> None:
        self._store = store
        self._keep = keep
        self._keep_bytes = keep_bytes

    async def list(self, start: int, limit: int, to: str) -> tuple[list[Caught], int]:
        """Newest first, those whose recipient contains `to` (any letter case), and how many there are in all."""
        found, total = await self._store.read(lambda tx: rows.page(tx, to, start, limit))
        return [Caught(*row) for row in found], total

    async def get(self, message_id: int) -> tuple[Caught, bytes] | None:
        row = await self._store.read(lambda tx: rows.get(tx, message_id))
        return None if row is None else (Caught(*row[:-1]), bytes(row[-1]))

    async def clear(self) -> int:
        return await self._store.write(rows.clear)

    async def trim(self) -> int:
        """Remove the oldest above what is kept; returns how many went."""
        return await self._store.write(lambda tx: rows.trim(tx, self._keep, self._keep_bytes))
