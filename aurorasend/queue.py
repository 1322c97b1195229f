"""Durable queue of what is due: mail and SMS recipients, webhook posts, list sends.

Called by submission, list_send, sms and event (put) and by dispatch (lease, claim, settle). Calls store only.
Always: what is claimed is leased, and comes back by itself when its node's lease ends, so a crash repeats an
attempt and never loses one (RFC 5321 §6.1: accepting is promising). Nothing removes work that is not final.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import msgspec

from aurorasend.clock import HOUR
from aurorasend.store import node as nodes
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
    SMS, an event). With a `lease` it is claimed as it is stored (handover): `due` is then when the claim runs out."""

    account_id: int
    id: int
    kind: Kind
    lane: str
    due: int
    priority: int
    ref: int
    lease: int = 0
    tries: int = 0


class Claimed(msgspec.Struct, frozen=True):
    """An entry that a node works on. `tries` counts this attempt too; `until` is when the claim runs out, and tells it from
    another one of the same entry."""

    account_id: int
    id: int
    kind: Kind
    ref: int
    tries: int
    until: int


class Later(msgspec.Struct, frozen=True):
    """A claimed entry that waits again. `counts` is False when nothing was tried (held, no room), by no fault of ours."""

    claimed: Claimed
    due: int
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Key:
    """One account's entries of one priority in one lane: what a claim takes from."""

    lane: str
    account_id: int
    priority: int


Wanted = tuple[Key, int, Sequence[int]]
"""How many to claim at most; and what the node has already, and for so long that it is due again."""
Taken = tuple[Key, list[Claimed]]


async def put(tx: Tx, works: Iterable[Work]) -> None:
    await rows.put(tx, list(works))


async def look(tx: Tx, node: int, now_us: int, limit: int) -> tuple[list[Key], int | None]:
    """What `node` could claim from, up to `limit` of each priority, the longest waiting first (bulk mail to any number of
    lanes hides no code's); and when, after now, something else will be due."""
    found, next_due = await rows.look(tx, node, now_us, limit)
    return [Key(*key) for key in found], next_due


async def lease_lane(tx: Tx, lane: str, node: int) -> bool:
    """Make `lane` the node's own; False when another has it."""
    return await rows.lease_lane(tx, lane, node)


async def claim(
    tx: Tx, wanted: Sequence[Wanted], now_us: int, node: int, leaving: Mapping[str, Iterable[Key]] | None = None
) -> list[Taken]:
    """Lease due entries to `node`: they are its own until it settles them or its lease ends. It is done for now with the
    lanes `leaving`, from whose keys it took something."""
    taken: list[Taken] = []
    drained: list[tuple[str, int, int]] = []
    until_us = now_us + HORIZON
    for key, limit, besides in wanted:
        place = (key.lane, key.account_id, key.priority)
        found = await rows.claim(tx, place, (now_us, until_us), limit, node, besides)
        taken.append((key, [Claimed(key.account_id, id_, Kind(kind), ref, tries, until_us) for id_, kind, ref, tries in found]))
        if len(found) < limit:
            drained.append(place)
    for keys in (leaving or {}).values():
        drained += [(key.lane, key.account_id, key.priority) for key in keys]
    await rows.refresh(tx, drained)
    for lane in leaving or ():
        await rows.free_lane(tx, lane, node)
    return taken


class NotHeld(Exception):
    """Some of the entries were given back meanwhile, or settled by a transaction whose answer was lost."""


async def finish_all(tx: Tx, node: int, done: Iterable[tuple[int, int]]) -> None:
    """Remove final entries, given as (account_id, id), which the unit takes all to be held by `node`: else it raises NotHeld."""
    for account_id, ids in sorted(_by_account(done).items()):
        await rows.finish_all(tx, account_id, node, sorted(ids), NotHeld())


async def finish(tx: Tx, node: int, done: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """Remove final entries, given as (account_id, id). Returns those that `node` still held: only for these may
    the outcome be recorded, the others were given back and will be tried by another node."""
    kept: set[tuple[int, int]] = set()
    for account_id, ids in sorted(_by_account(done).items()):
        kept |= {(account_id, entry_id) for entry_id in await rows.finish(tx, account_id, node, sorted(ids))}
    return kept


async def later(tx: Tx, node: int, entries: Sequence[Later]) -> set[tuple[int, int]]:
    """Give entries back until their due. Returns those that `node` still held by that claim: when this was done before, and
    only its answer lost, it may have claimed them anew."""
    ordered = sorted((e.claimed.account_id, e.claimed.id, e.claimed.until, e.due, 0 if e.counts else 1) for e in entries)
    return await rows.later(tx, node, ordered)


async def held(tx: Tx, node: int, entries: Iterable[tuple[int, int]]) -> tuple[int, set[tuple[int, int]]]:
    """Which of the entries (account_id, id) are claimed by `node`, for good: what is just being claimed for it is waited for, and
    what is perhaps under way to the store is fenced off. Returns the fence under which it may claim from now on, too."""
    fence = await nodes.fence_off(tx, node)
    if fence is None:
        return 0, set()
    found: set[tuple[int, int]] = set()
    for account_id, ids in sorted(_by_account(entries).items()):
        found |= {(account_id, entry_id) for entry_id in await rows.held(tx, account_id, node, sorted(ids))}
    return fence, found


def _by_account(entries: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    by_account: dict[int, list[int]] = {}
    for account_id, entry_id in entries:
        by_account.setdefault(account_id, []).append(entry_id)
    return by_account


async def hasten(tx: Tx, account_id: int, entry_id: int, due_us: int) -> None:
    """Make an entry that waits due at `due_us`; one that a node works on stays as it is."""
    await rows.hasten(tx, account_id, entry_id, due_us)


async def release_parked(tx: Tx, after: tuple[int, int], now_us: int, limit: int) -> list[tuple[int, int]]:
    """Make up to `limit` entries due that a fault of ours keeps from being tried or recorded, the first after `after`;
    returns them, as (account_id, id)."""
    return await rows.release_parked(tx, after, now_us, limit)
