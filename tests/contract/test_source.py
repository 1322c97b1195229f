"""From where mail was sent (conventions.md §3.4), on both engines."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aurorasend import operate, retention, source
from aurorasend.clock import DAY
from aurorasend.codes import Unavailable
from aurorasend.config import Settings
from aurorasend.retention import Expiry
from aurorasend.source import Sources
from aurorasend.store import source as rows
from aurorasend.store.tx import Store
from tests.management import Api, managing

MAIL = {"from": "hi@one.example", "to": "ann@example.net", "subject": "S", "html": "<p>x</p>"}


@pytest.fixture
async def api(store: Store, tmp_path: Path) -> AsyncIterator[Api]:
    async with managing(store, tmp_path) as made:
        yield made


async def told(api: Api, account_id: int = 1) -> list[tuple[str, int, int]]:
    """(address, seconds since it sent last, refused)"""
    now_us = api.clock.now_us()
    first_day = retention.first_source_day(now_us)
    found = await api.node.store.read(lambda tx: rows.of_account(tx, account_id, first_day))
    return [(address, (now_us - at) // 1_000_000, refused) for address, at, refused in found]


async def call_from(api: Api, *peers: str, user: str = "one_trigger") -> None:
    for peer in peers:
        await api.call("mail/send", user, _peer=peer, **MAIL)


async def test_the_last_send_and_the_refusals_of_each_address_are_known(api: Api) -> None:
    await api.sql("UPDATE account SET ip_filter = 1 WHERE id = 1")
    await api.sql("INSERT INTO ip_entry (account_id, id, entry) VALUES (1, 1, '192.0.2.1')")
    await call_from(api, "192.0.2.1", "2001:DB8::7", "192.0.2.9", "::ffff:192.0.2.9")
    await call_from(api, "192.0.2.7", user="two_trigger")
    await api.call("label/list", _peer="192.0.2.77")
    assert await told(api) == []
    await api.node.sources.write()
    assert await told(api) == [("192.0.2.9", 2, 2), ("2001:db8::7", 4, 1), ("192.0.2.1", 5, 0)]
    assert await told(api, 2) == [("192.0.2.7", 1, 0)]


async def test_what_several_processes_write_adds_up_day_by_day(api: Api) -> None:
    await api.sql("UPDATE account SET ip_filter = 1 WHERE id = 1")
    other = Sources(api.node.store, api.clock)
    caller = await api.node.accounts.api_user("one_trigger", "0123456789abcdef", "sg", api.clock.now_us())
    assert caller is not None
    for _ in range(3):
        assert not other.admit(caller, "192.0.2.1")
        await call_from(api, "192.0.2.1", "192.0.2.1")
        await asyncio.gather(other.write(), api.node.sources.write())
        api.clock.advance(timedelta(days=1))
    await api.node.sources.write()
    assert [(address, refused) for address, _, refused in await told(api)] == [("192.0.2.1", 9)]
    api.clock.advance(timedelta(days=28))
    assert [(address, refused) for address, _, refused in await told(api)] == [("192.0.2.1", 3)]


async def test_an_older_time_of_another_process_does_not_replace_a_later_one(store: Store) -> None:
    async def unit(tx: Any) -> list[Any]:
        for at in (DAY + 9, DAY + 3):
            await rows.add(tx, [rows.Seen(1, 1, "192.0.2.1", at, 1)])
        return await rows.of_account(tx, 1, 0)

    assert [tuple(map(int, row[1:])) for row in await store.write(unit)] == [(DAY + 9, 2)]


async def test_memory_is_bounded_and_what_is_beyond_counts_together(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "OF_ACCOUNT", 2)
    await api.sql("UPDATE account SET ip_filter = 1")
    peers = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.1", "unknown"]
    await call_from(api, *peers, "x" * 100_000)
    await api.node.sources.write()
    assert await told(api) == [("", 0, 4), ("192.0.2.1", 2, 2), ("192.0.2.2", 5, 1)]
    monkeypatch.setattr(source, "MOST", 2)
    await call_from(api, "192.0.2.1", "192.0.2.2")
    await call_from(api, "192.0.2.5", "192.0.2.6", user="two_trigger")
    await api.node.sources.write()
    assert await told(api, 2) == [("", 0, 2)]
    await call_from(api, "192.0.2.5", user="two_trigger")
    await api.node.sources.write()
    assert {row[0] for row in await told(api, 2)} == {"", "192.0.2.5"}


async def test_what_is_older_than_thirty_days_goes_and_what_is_too_much(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def expire() -> list[str]:
        await Expiry(api.node.store, api.clock, api.node.settings.retention).expire()
        return [address for address, _, _ in await told(api)]

    for n in range(3):
        await call_from(api, f"192.0.2.{n}")
        await api.node.sources.write()
        api.clock.advance(timedelta(days=1))
    api.clock.advance(timedelta(days=27))
    assert await expire() == ["192.0.2.2", "192.0.2.1"]
    monkeypatch.setattr(retention, "SOURCES", 1)
    monkeypatch.setattr(retention, "ROWS", 1)
    await call_from(api, "192.0.2.7", "192.0.2.8")
    await api.node.sources.write()
    assert await expire() == ["192.0.2.1"], "new ones do not push it out"


async def test_a_store_that_is_away_costs_history_only(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    class Away:
        async def write(self, unit: object) -> None:
            raise Unavailable("gone")

    lost = Sources(Away(), api.clock)  # type: ignore[arg-type]
    caller = await api.node.accounts.api_user("one_trigger", "0123456789abcdef", "sg", api.clock.now_us())
    assert caller is not None and lost.admit(caller, "192.0.2.1")
    await lost.write()
    assert "not written, the store is away" in caplog.text
    lost._store = api.node.store
    await lost.write()
    assert [row[0] for row in await told(api)] == ["192.0.2.1"]


async def test_a_stop_in_the_middle_of_a_write_loses_nothing(api: Api) -> None:
    class Slow:
        async def write(self, unit: object) -> None:
            await asyncio.sleep(60)

    sources = Sources(Slow(), api.clock)  # type: ignore[arg-type]
    caller = await api.node.accounts.api_user("one_trigger", "0123456789abcdef", "sg", api.clock.now_us())
    assert caller is not None and sources.admit(caller, "192.0.2.1")
    writing = asyncio.create_task(sources.write())
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    sources._store = api.node.store
    await sources.write()
    assert [row[0] for row in await told(api)] == ["192.0.2.1"]


async def test_a_scope_is_no_part_of_an_address(api: Api) -> None:
    await call_from(api, "fe80::1%<b>x", "::1%\0", "192.0.2.3")
    await api.node.sources.write()
    assert {row[0] for row in await told(api)} == {"fe80::1", "::1", "192.0.2.3"}


async def test_the_command_prints_them(api: Api, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operate, "SystemClock", lambda: api.clock)
    monkeypatch.setattr(source, "OF_ACCOUNT", 1)
    await call_from(api, "192.0.2.1", "192.0.2.2")
    await api.node.sources.write()
    assert await asyncio.to_thread(operate.account_sources, settings, 1) == [
        {"address": None, "lastRequest": "2026-02-01T01:00:02+00:00", "refused": 0},
        {"address": "192.0.2.1", "lastRequest": "2026-02-01T01:00:01+00:00", "refused": 0},
    ]
    assert await asyncio.to_thread(operate.account_sources, settings, 2) == []
    with pytest.raises(operate.Impossible, match="no account 9"):
        await asyncio.to_thread(operate.account_sources, settings, 9)
