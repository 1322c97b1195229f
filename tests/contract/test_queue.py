"""The queue on both engines: what is put is claimed once, comes back when its node dies, and is never removed unfinished."""

import asyncio

import pytest

from aurorasend import queue
from aurorasend.clock import HOUR, MINUTE
from aurorasend.queue import Claimed, Key, Kind, Later, Work
from aurorasend.store import node as nodes
from aurorasend.store import queue as rows
from aurorasend.store.tx import EVER, Statement, Store, Tx

NOW = 1_700_000_000_000_000
LANE = "mx:example.net"
KEY = Key(LANE, 1, 0)


def work(number: int, *, account: int = 1, due: int = NOW, priority: int = 0, lane: str = LANE) -> Work:
    return Work(account, number, Kind.MAIL, lane, due, priority, number)


async def put(store: Store, *works: Work) -> None:
    await store.write(lambda tx: queue.put(tx, works))


async def take(store: Store, node: int = 7, *, key: Key = KEY, now: int = NOW, limit: int = 10) -> list[Claimed]:
    ((_, claimed),) = await store.write(lambda tx: queue.claim(tx, [(key, limit, ())], now, node))
    return sorted(claimed, key=lambda one: one.id)


async def claim(store: Store, node: int = 7, *, key: Key = KEY, now: int = NOW, limit: int = 10) -> list[int]:
    return [one.id for one in await take(store, node, key=key, now=now, limit=limit)]


async def due(store: Store, node: int = 7, now: int = NOW) -> list[Key]:
    return (await store.read(lambda tx: queue.look(tx, node, now, 100)))[0]


async def hints(store: Store, now: int = 0) -> int | None:
    return (await store.read(lambda tx: queue.look(tx, 0, now, 100)))[1]


async def test_an_entry_is_claimed_once(store: Store) -> None:
    await put(store, *(work(n) for n in range(100)))
    got = await asyncio.gather(*(claim(store, node, limit=30) for node in range(1, 9)))
    ids = [one for some in got for one in some]
    assert sorted(ids) == list(range(100))
    assert await claim(store) == []


async def test_oldest_first_and_not_before_its_time(store: Store) -> None:
    await put(store, work(1, due=NOW), work(2, due=NOW - 5), work(3, due=NOW + MINUTE))
    assert set(await claim(store, limit=1)) == {2}
    assert await claim(store) == [1]
    assert await claim(store) == []
    assert await claim(store, now=NOW + MINUTE) == [3]


async def test_due_names_what_can_be_claimed_by_priority_and_age(store: Store) -> None:
    later = work(3, account=3, due=NOW + 1)
    older, batch = work(4, account=4, due=NOW - 2), work(2, account=2, due=NOW - 3, priority=1)
    await put(store, work(1, account=1, due=NOW - 1), batch, older, later)
    assert await due(store) == [Key(LANE, 4, 0), Key(LANE, 1, 0), Key(LANE, 2, 1)]


async def test_a_lane_of_another_node_is_not_offered(store: Store) -> None:
    await put(store, work(1))
    assert await store.write(lambda tx: queue.lease_lane(tx, LANE, 8)) is True
    assert await store.write(lambda tx: queue.lease_lane(tx, LANE, 7)) is False
    assert await due(store, 7) == []
    assert await due(store, 8) == [Key(LANE, 1, 0)]
    await store.write(lambda tx: queue.claim(tx, [], NOW, 8, {LANE: []}))
    assert await due(store, 7) == [Key(LANE, 1, 0)]


async def test_finished_work_is_gone_and_its_hint_with_it(store: Store) -> None:
    await put(store, work(1), work(2))
    assert sorted(await claim(store)) == [1, 2]
    assert await store.write(lambda tx: queue.finish(tx, 7, [(1, 1), (1, 2)])) == {(1, 1), (1, 2)}
    await store.write(lambda tx: queue.claim(tx, [], NOW, 7, {LANE: [Key(LANE, 1, 0)]}))
    assert await hints(store) is None


async def test_only_who_holds_an_entry_can_settle_it(store: Store) -> None:
    await put(store, work(1), work(2))
    _, two = await take(store, 7)
    assert await store.write(lambda tx: queue.finish(tx, 8, [(1, 1)])) == set()
    assert await store.write(lambda tx: queue.later(tx, 8, [Later(two, NOW)])) == set()
    assert await store.write(lambda tx: queue.finish(tx, 7, [(1, 1), (1, 2)])) == {(1, 1), (1, 2)}


async def test_what_waits_again_is_due_then_and_counts_its_tries(store: Store) -> None:
    await put(store, work(1), work(2))
    one, two = await take(store)
    await store.write(lambda tx: queue.later(tx, 7, [Later(one, NOW + MINUTE), Later(two, NOW + MINUTE, counts=False)]))
    assert await hints(store) == NOW + MINUTE
    assert await claim(store) == []
    ((_, again),) = await store.write(lambda tx: queue.claim(tx, [(Key(LANE, 1, 0), 10, ())], NOW + MINUTE, 7))
    assert {(one.id, one.tries) for one in again} == {(1, 2), (2, 1)}


@pytest.mark.parametrize("counts", [False, True])
async def test_what_waits_again_and_is_claimed_anew_is_not_given_back_by_the_first_claim(store: Store, counts: bool) -> None:
    """The answer to the first time was lost, and it is said again."""
    await put(store, work(1))
    (first,) = await take(store)
    for kept in ({(1, 1)}, set()):
        assert await store.write(lambda tx: queue.later(tx, 7, [Later(first, NOW + 1, counts)])) == kept
    (second,) = await take(store, now=NOW + 1)
    assert await store.write(lambda tx: queue.later(tx, 7, [Later(first, NOW + 1, counts)])) == set()
    assert await store.write(lambda tx: queue.finish(tx, 7, [(1, 1)])) == {(1, 1)}
    assert second.tries == 1 + counts


async def test_a_dead_node_gives_everything_back_at_once(store: Store) -> None:
    async def live(tx: Tx) -> int:
        return await nodes.add(tx, "here", True, NOW, NOW + 15)

    node = await store.write(live)
    await put(store, *(work(n) for n in range(5)))
    await store.write(lambda tx: queue.lease_lane(tx, LANE, node))
    assert len(await claim(store, node)) == 5
    await store.write(lambda tx: queue.finish(tx, node, [(1, 0)]))
    assert await store.read(lambda tx: nodes.dead(tx, NOW + 14)) == []
    assert await store.read(lambda tx: nodes.dead(tx, NOW + 15)) == [node]
    assert await store.write(lambda tx: nodes.bury(tx, node, NOW + 20)) is True
    assert await store.write(lambda tx: nodes.bury(tx, node, NOW + 20)) is False
    assert await due(store, 99, NOW + 20) == [Key(LANE, 1, 0)]
    assert sorted(await claim(store, 99, now=NOW + 20)) == [1, 2, 3, 4]
    assert await store.write(lambda tx: queue.finish(tx, node, [(1, 1)])) == set()


async def test_a_buried_node_cannot_prolong_its_lease(store: Store) -> None:
    node = await store.write(lambda tx: nodes.add(tx, "here", True, NOW, NOW + 15))
    assert await store.write(lambda tx: nodes.keep(tx, node, NOW + 30)) is True
    await store.write(lambda tx: nodes.bury(tx, node, NOW + 31))
    assert await store.write(lambda tx: nodes.keep(tx, node, NOW + 60)) is False


async def test_an_entry_that_its_living_node_forgot_comes_back(store: Store) -> None:
    await put(store, work(1))
    assert await claim(store) == [1]
    assert await claim(store, 8, now=NOW + HOUR) == [1]


async def test_a_hint_is_never_later_than_the_work(store: Store) -> None:
    """Puts and claims at the same time: whatever the order, what is due can be found."""
    found: list[int] = []

    async def putting() -> None:
        for n in range(0, 200, 4):
            await put(store, *(work(n + k) for k in range(4)))

    async def claiming(node: int) -> None:
        for _ in range(80):
            found.extend(await claim(store, node, limit=7))

    await asyncio.gather(putting(), claiming(1), claiming(2), claiming(3))
    while keys := await due(store, 1):
        before = len(found)
        found.extend(await claim(store, 1, key=keys[0], limit=50))
        assert len(found) > before or await due(store, 1) == []
    assert sorted(found) == list(range(200))


async def test_claiming_does_not_read_what_is_not_claimed(store: Store) -> None:
    """The plan of the claim uses the index of what is due; without it a long queue would be read for each batch."""
    picked = "SELECT id FROM work WHERE lane = $1 AND account_id = $2 AND priority = $3 AND due <= $4 ORDER BY due LIMIT $5"
    plan = Statement(sqlite=f"EXPLAIN QUERY PLAN {picked}", postgres=f"EXPLAIN {picked}")
    await put(store, *(work(n, lane=f"mx:{n % 50}.example", due=NOW + n) for n in range(5000)))
    found = str(await store.read(lambda tx: tx.rows(plan, LANE, 1, 0, NOW, 5)))
    assert "work_due" in found
    assert "TEMP B-TREE" not in found and "Sort" not in found


async def test_what_is_parked_is_found_by_nobody_until_released(store: Store) -> None:
    await put(store, work(1), work(2), work(3, account=2), work(4, due=NOW + MINUTE))
    claimed = await take(store, limit=2)
    await store.write(lambda tx: queue.later(tx, 7, [Later(one, EVER) for one in claimed]))
    assert await due(store, now=NOW + 365 * 24 * HOUR) == [KEY, Key(LANE, 2, 0)]
    assert await claim(store, now=NOW + 365 * 24 * HOUR) == [4]
    assert await store.read(lambda tx: rows.depth(tx, 10)) == [(LANE, 4, NOW, 1, 2)]
    assert await store.write(lambda tx: queue.release_parked(tx, (0, 0), NOW, 1)) == [(1, 1)]
    assert await store.write(lambda tx: queue.release_parked(tx, (1, 1), NOW, 10)) == [(1, 2)]
    assert set(await due(store)) == {Key(LANE, 1, 0), Key(LANE, 2, 0)}
    assert set(await claim(store)) == {1, 2}
