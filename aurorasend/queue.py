"""Durable queue of what is due: mail and SMS recipients, webhook posts, list sends.

Called by submission, list_send, sms and event (put) and by dispatch (lease, claim, settle). Calls store only.
Always: what is claimed is leased, and comes back by itself when its node's lease ends, so a crash repeats an
attempt and never loses one (RFC 5321 §6.1: accepting is promising). Nothing removes work that is not final.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import msgspec

from aurorasend.clock import HOUR
from aurorasend.store import queue as rows
from aurorasend.store.tx import Tx

HORIZON = HOUR  # an entry whose node lives but forgot it comes back after this


class Kind(IntEnum):
    MAIL = 1
    SMS = 2
    POST = 3
    LIST = 4  # a list send that is to become recipients


class Priority(IntEnum):
    """Lower goes first. The numbers are those of an API_USER's emailType (conventions §3.2)."""

    TRIGGER = 0
    BATCH = 1


class Work(NamedTuple):
    """One entry, in the order of its row. `id` is unique in the account; `ref` says what it is about (a recipient, an
    SMS, an event)."""

    account_id: int
    id: int
    kind: Kind
    lane: str
    due: int
    priority: int
    ref: int


class Claimed(msgspec.Struct, frozen=True):
    """An entry that a node works on. `tries` counts this attempt too."""

    account_id: int
    id: int
    kind: Kind
    ref: int
    tries: int


class Later(msgspec.Struct, frozen=True):
    """An entry that waits again. `counts` is False when nothing was tried (held, no room)."""

    account_id: int
    id: int
    due: int
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Key:
    """One account's entries of one priority in one lane: what a claim takes from."""

    lane: str
    account_id: int
    priority: int


async def put(tx: Tx, works: Iterable[Work]) -> None:
    await rows.put(tx, list(works))


async def due(tx: Tx, node: int, now_us: int, limit: int) -> list[Key]:
    """What `node` could claim from, up to `limit` of each priority: bulk mail to any number of lanes hides no code's.
    The longest waiting first."""
    return [Key(*found) for priority in Priority for found in await rows.due(tx, node, now_us, limit, priority)]


async def next_due(tx: Tx, now_us: int) -> int | None:
    """When, after now, something will be due."""
    found = [await rows.next_due(tx, now_us, priority) for priority in Priority]
    return min((at for at in found if at is not None), default=None)


async def lease_lane(tx: Tx, lane: str, node: int) -> bool:
    """Make `lane` the node's own; False when another has it."""
    return await rows.lease_lane(tx, lane, node)


async def claim(tx: Tx, key: Key, now_us: int, limit: int, node: int, besides: Sequence[int] = ()) -> list[Claimed]:
    """Lease up to `limit` due entries to `node`. They are its own until it settles them or its lease ends. `besides` are
    entries that it has already, and for so long that they are due again."""
    found = await rows.claim(tx, (key.lane, key.account_id, key.priority), (now_us, now_us + HORIZON), limit, node, besides)
    return [Claimed(key.account_id, entry_id, Kind(kind), ref, tries) for entry_id, kind, ref, tries in found]


async def finish(tx: Tx, node: int, done: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """Remove final entries, given as (account_id, id). Returns those that `node` still held: only for these may
    the outcome be recorded, the others were given back and will be tried by another node."""
    by_account: dict[int, list[int]] = {}
    for account_id, entry_id in done:
        by_account.setdefault(account_id, []).append(entry_id)
    kept: set[tuple[int, int]] = set()
    for account_id, ids in sorted(by_account.items()):
        kept |= {(account_id, entry_id) for entry_id in await rows.finish(tx, account_id, node, sorted(ids))}
    return kept


async def later(tx: Tx, node: int, entries: Sequence[Later]) -> set[tuple[int, int]]:
    """Give entries back until their due. Returns those that `node` still held."""
    ordered = sorted((e.account_id, e.id, e.due, 0 if e.counts else 1) for e in entries)
    return await rows.later(tx, node, ordered)


async def hasten(tx: Tx, account_id: int, entry_id: int, due_us: int) -> None:
    """Make an entry that waits due at `due_us`; one that a node works on stays as it is."""
    await rows.hasten(tx, account_id, entry_id, due_us)


async def release_parked(tx: Tx, after: tuple[int, int], now_us: int, limit: int) -> list[tuple[int, int]]:
    """Make up to `limit` entries due that a fault of ours keeps from being tried or recorded, the first after `after`;
    returns them, as (account_id, id)."""
    return await rows.release_parked(tx, after, now_us, limit)


async def release_lane(tx: Tx, lane: str, node: int, keys: Iterable[Key]) -> None:
    """`node` is done with `lane` for now; the hints of what it took from are set right."""
    for key in sorted(keys, key=lambda k: (k.account_id, k.priority)):
        await rows.refresh(tx, (key.lane, key.account_id, key.priority))
    await rows.free_lane(tx, lane, node)
