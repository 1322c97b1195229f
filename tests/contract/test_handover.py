"""Mail that is claimed as it is stored, on both engines, with a crew that only takes notes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest

from aurorasend import dispatch, lanes, queue
from aurorasend.clock import HOUR, MINUTE, SECOND
from aurorasend.codes import Unavailable, Undone
from aurorasend.config import load
from aurorasend.content import Content, Mailbox, Target
from aurorasend.event import Origin
from aurorasend.handover import Buried, Handover, Mails
from aurorasend.lanes import Place
from aurorasend.letters import Known, Submitted
from aurorasend.quiet import NEVER
from aurorasend.store import account as accounts
from aurorasend.store import node as nodes
from aurorasend.store.postgres import PostgresStore, PostgresTx
from aurorasend.store.tx import Row, Statement, Store, Tx
from tests.dispatching import CLOCK, LEFT, Dispatching, Notes, dispatching, is_tried, until
from tests.postgres import Server

ENTRIES = Statement("SELECT id, lane, due, tries, lease FROM work ORDER BY id")
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
HINTS = Statement("SELECT lane, next_due FROM ready ORDER BY lane")
SUBMITTED = Submitted(Origin(1, 1, 1, 1, 0, 0), 1, "mail.example.com", 0, "id", False, False, False, False, False, "", NEVER, 1)
KNOWN = Known(SUBMITTED, Content(Mailbox("a@example.com"), "Hi"), ())


@pytest.fixture(autouse=True)
def lanes_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is."""
    monkeypatch.setattr(lanes, "LINGER_S", 60.0)


class Way:
    """A process that accepts and delivers."""

    def __init__(self, node: Dispatching, store: Store, folder: Path) -> None:
        settings = load(folder, environment={}, assignments=["delivery.route=smtp://127.0.0.1:25", "delivery.shards=2"])
        self.handover = Handover(node.lanes, CLOCK, settings, node.wake)
        self.node = node
        self.store = store

    def reserve(self, ids: Sequence[int]) -> Mails:
        mails = Mails(1, ids[0], [Target(f"{number}@example.org") for number in ids], 0, CLOCK.now_us())
        self.handover.reserve([mails])
        return mails

    async def put(self, tx: Tx, mails: Mails) -> None:
        await queue.put(tx, self.handover.works(tx, [mails]))

    async def accept(self, ids: Sequence[int]) -> Sequence[Place]:
        """As submission does it; the places that there were."""
        mails = self.reserve(ids)
        places = mails.places
        await self.store.write(lambda tx: self.put(tx, mails))
        self.handover.begin([(mails, KNOWN)], others=len(places) < len(ids))
        return places

    async def entries(self) -> list[Row]:
        return await self.store.read(lambda tx: tx.rows(ENTRIES))

    async def have_lanes(self) -> None:
        """Make the two lanes the process's own: each has had an entry."""
        await self.accept([1, 2])

        async def are_ours() -> bool:
            return len(self.node.lanes.leased) == 2 and not self.node.lanes.busy

        await until(are_ours)


async def test_it_is_claimed_in_the_transaction_and_no_turn_is_needed(store: Store, tmp_path: Path) -> None:
    crew = Notes()
    async with dispatching(store, tmp_path, crew) as node:
        way = Way(node, store, tmp_path)
        await way.have_lanes()
        async with node.dispatcher._in_turn:
            crew.load_waits = asyncio.Event()
            places = await way.accept([10, 11])
            assert [place.lane.name for place in places] == ["smtp://127.0.0.1:25#0", "smtp://127.0.0.1:25#1"]
            for (_, lane, due, tries, lease), place in zip(await way.entries(), places, strict=True):
                assert (lane, tries, lease) == (place.lane.name, 1, node.membership.worker)
                assert HOUR - MINUTE < due - CLOCK.now_us() <= HOUR
            crew.load_waits.set()
            await until(is_tried(crew, {10, 11}))

            async def is_settled() -> bool:
                return await store.read(lambda tx: tx.row(LEFT)) == (0,)

            await until(is_settled)
        assert sorted(crew.tried) == [1, 2, 10, 11]


async def test_what_has_no_place_is_claimed_by_a_turn(store: Store, tmp_path: Path) -> None:
    """A lane takes ten."""
    crew = Notes(attempt_s=0.01)
    async with dispatching(store, tmp_path, crew) as node:
        way = Way(node, store, tmp_path)
        await way.have_lanes()
        assert len(await way.accept(range(100, 150))) == 20
        await until(is_tried(crew, set(range(100, 150))))
    assert sorted(crew.tried) == [1, 2, *range(100, 150)]


async def test_f22_mail_finds_room_in_another_shard(store: Store, tmp_path: Path) -> None:
    """All of these would be for the first one, which takes ten."""
    crew = Notes()
    async with dispatching(store, tmp_path, crew) as node:
        way = Way(node, store, tmp_path)
        await way.have_lanes()
        some = [way.reserve([number]) for number in range(100, 124, 2)]
        assert [place.lane.name[-2:] for mails in some for place in mails.places] == ["#0"] * 10 + ["#1"] * 2
        way.handover.give_back(some)


async def test_whoever_buries_the_node_gives_it_back(store: Store, tmp_path: Path) -> None:
    """It is hinted at, so that it is found."""
    crew = Notes()
    async with dispatching(store, tmp_path, crew) as node:
        way = Way(node, store, tmp_path)
        await way.have_lanes()
        async with node.dispatcher._in_turn:
            crew.load_waits = asyncio.Event()
            await way.accept([10, 11])
            now_us = CLOCK.now_us()
            await store.write(lambda tx: nodes.bury(tx, node.membership.worker, now_us))
            assert [(due, lease) for _, _, due, _, lease in await way.entries()] == [(now_us, 0)] * 2
            assert [due for _, due in await store.read(lambda tx: tx.rows(HINTS))] == [now_us] * 2
            crew.load_waits.set()


async def test_a_node_that_was_buried_claims_nothing(store: Store, tmp_path: Path) -> None:
    crew = Notes()
    async with dispatching(store, tmp_path, crew) as node:
        way = Way(node, store, tmp_path)
        await way.have_lanes()
        async with node.dispatcher._in_turn:
            mails = way.reserve([10])
            assert len(mails.places) == 1
            await store.write(lambda tx: nodes.bury(tx, node.membership.worker, CLOCK.now_us()))
            with pytest.raises(Buried):
                await store.write(lambda tx: way.put(tx, mails))
            assert await way.entries() == []
            way.handover.give_back([mails])
            await store.write(lambda tx: way.put(tx, mails))
            assert [(tries, lease) for *_, tries, lease in await way.entries()] == [(0, 0)]
            assert [due for _, due in await store.read(lambda tx: tx.rows(HINTS)) if due <= CLOCK.now_us()]
    assert 10 not in crew.tried


async def test_f24_what_an_unconfirmed_acceptance_claimed_is_looked_for(store: Store, tmp_path: Path) -> None:
    """The answer to the commit was lost. Another one, which failed, left nothing; something else is under way all the time."""
    crew = Notes()
    async with dispatching(store, tmp_path, crew) as node:
        way = Way(node, store, tmp_path)
        await way.have_lanes()
        crew.stalled[9] = asyncio.Event()
        await way.accept([9])
        stored, failed = way.reserve([10, 11]), way.reserve([12, 13])
        assert len(stored.places) == len(failed.places) == 2
        await store.write(lambda tx: way.put(tx, stored))
        way.handover.begin([(stored, None), (failed, None)], others=False, is_doubtful=True)
        await until(is_tried(crew, {9, 10, 11}))

        async def is_settled() -> bool:
            return sum(lane.busy for lane in node.lanes) == 1

        await until(is_settled)
        assert [(entry, tries) for entry, _, _, tries, _ in await way.entries()] == [(9, 1)]
        crew.stalled[9].set()
    assert sorted(crew.tried) == [1, 2, 9, 10, 11]


async def test_it_is_looked_for_until_the_store_answers(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or whatever it says: given up they would be nobody's."""
    monkeypatch.setattr(dispatch, "RETRY_S", 0.05)
    crew = Notes()
    async with dispatching(store, tmp_path, crew) as node:
        way = Way(node, store, tmp_path)
        await way.have_lanes()
        mails = way.reserve([10])
        await store.write(lambda tx: way.put(tx, mails))
        held, away = queue.held, [Unavailable("away"), ValueError("not a store")]

        async def later(tx: Tx, worker: int, ids: Sequence[tuple[int, int]]) -> tuple[int, set[tuple[int, int]]]:
            if away:
                raise away.pop()
            return await held(tx, worker, ids)

        monkeypatch.setattr(queue, "held", later)
        way.handover.begin([(mails, None)], others=False, is_doubtful=True)
        await until(is_tried(crew, {10}))
        assert not away


async def test_f24_what_is_looked_for_and_not_there_does_not_come_later(store: Store, tmp_path: Path) -> None:
    """It was still on its way: answered with a failure, it may not be claimed any more by a process that does not know it."""
    crew = Notes()
    async with dispatching(store, tmp_path, crew) as node:
        way = Way(node, store, tmp_path)
        await way.have_lanes()
        late = way.reserve([10])
        assert late.places
        way.handover.begin([(late, None)], others=False, is_doubtful=True)

        async def is_looked_for() -> bool:
            return not any(lane.busy for lane in node.lanes)

        await until(is_looked_for)
        with pytest.raises(Buried):
            await store.write(lambda tx: way.put(tx, late))
        assert await way.entries() == []
        assert await way.accept([11])
        await until(is_tried(crew, {11}))
    assert sorted(crew.tried) == [1, 2, 11]


async def test_f24_an_acceptance_that_a_cut_connection_left_to_the_server_is_looked_for(
    postgres: Server, tmp_path: Path
) -> None:
    """The server waits for a lock with it, and does not notice."""
    store = PostgresStore(postgres.create("left_to_the_server", "migrated"), CLOCK)
    other = await asyncpg.connect(store.url)
    await other.execute("INSERT INTO quota (account_id, day, used) VALUES (1, '1', 0)")
    async with dispatching(store, tmp_path, Notes()) as node:
        way = Way(node, store, tmp_path)
        await way.have_lanes()
        mails = way.reserve([10])
        used: list[Any] = []

        async def unit(tx: Tx) -> None:
            used.append(cast(PostgresTx, tx)._connection)
            await accounts.count(tx, 1, "1", 1, 9, ValueError())
            await way.put(tx, mails)

        async def waits() -> bool:
            return bool(await other.fetchval(WAITING))

        async with other.transaction():
            await other.execute("UPDATE quota SET used = 1")
            accepting = asyncio.create_task(store.write(unit))
            await until(waits)
            used[0]._con._transport.abort()
            with pytest.raises(Unavailable) as lost:
                await accepting
            assert not isinstance(lost.value, Undone)
            worker = node.lanes.worker
            assert (await store.write(lambda tx: queue.held(tx, worker, [(1, 10)])))[1] == set()

        async def is_over() -> bool:
            return not await waits()

        await until(is_over)
        await asyncio.sleep(0.2)
        assert await way.entries() == []
        assert await other.fetchval("SELECT used FROM quota") == 1
        way.handover.give_back([mails])
    await other.close()
    await store.close()


async def test_a_burial_waits_for_an_acceptance_that_asked_whether_it_may_claim(postgres: Server) -> None:
    store = PostgresStore(postgres.create("asked", "migrated"), CLOCK)
    worker, asked, go_on = await store.write(lambda tx: nodes.add(tx, "here", True, 0, 1)), asyncio.Event(), asyncio.Event()

    async def unit(tx: Tx) -> None:
        await nodes.must_claim(tx, worker, 0, Buried())
        await queue.put(tx, [queue.Work(1, 10, queue.Kind.MAIL, "lane", 1, 0, 10, worker, 1)])
        await tx.rows(ENTRIES)
        asked.set()
        await go_on.wait()

    accepting = asyncio.create_task(store.write(unit))
    await asyncio.wait_for(asked.wait(), 20)
    burying = asyncio.create_task(store.write(lambda tx: nodes.bury(tx, worker, 1)))
    await asyncio.sleep(0.2)
    assert not burying.done()
    go_on.set()
    await accepting
    assert await burying
    await store.close()


async def test_it_is_put_off_when_it_cannot_be_loaded(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crew = Notes()
    async with dispatching(store, tmp_path, crew) as node:
        way = Way(node, store, tmp_path)
        await way.have_lanes()

        async def fails(*_: object) -> Sequence[object]:
            raise Unavailable("away")

        monkeypatch.setattr(crew, "load", fails)
        await way.accept([10])

        async def waits() -> bool:
            return [(tries, lease) for *_, tries, lease in await way.entries()] == [(0, 0)]

        await until(waits)
        ((_, _, due, _, _),) = await way.entries()
        assert 0 < due - CLOCK.now_us() <= SECOND


async def test_what_is_loaded_when_the_lease_is_lost_is_tried_by_who_has_it_then(store: Store, tmp_path: Path) -> None:
    """Here the same process, which must not try it twice."""
    crew = Notes()
    async with dispatching(store, tmp_path, crew) as node:
        way = Way(node, store, tmp_path)
        await way.have_lanes()
        go_on = crew.load_waits = asyncio.Event()
        await way.accept([10])
        await node.membership.renew()
        crew.load_waits = None
        node.wake.work_here()
        await until(is_tried(crew, {10}))
        go_on.set()
        await asyncio.sleep(0.1)
    assert crew.tried.count(10) == 1


async def test_a_stop_gives_it_back(store: Store, tmp_path: Path) -> None:
    crew = Notes()
    async with dispatching(store, tmp_path, crew) as node:
        way = Way(node, store, tmp_path)
        await way.have_lanes()
        crew.load_waits = asyncio.Event()
        await way.accept([10])
        stopping = asyncio.create_task(node.dispatcher.drain(5))
        await asyncio.sleep(0.05)
        assert not way.reserve([11]).places
        crew.load_waits.set()
        await stopping
    assert 10 not in crew.tried
    assert [(tries, lease) for *_, tries, lease in await store.read(lambda tx: tx.rows(ENTRIES))] == [(1, 0)]
