"""What an operator sets of an account (`aurorasend account`), beside a running node, on both engines."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from aurorasend import operate
from aurorasend.account import KEPT_US
from aurorasend.config import Settings, load
from aurorasend.store.tx import Store
from tests.management import Api, managing


@pytest.fixture
async def api(store: Store, tmp_path: Path) -> AsyncIterator[Api]:
    async with managing(store, tmp_path) as made:
        yield made


@pytest.fixture
def settings(store_url: str, tmp_path: Path) -> Settings:
    """Of the operator's process."""
    return load(tmp_path, assignments=[f"store.url={store_url}"], environment={})


async def test_a_running_node_follows_within_a_second(api: Api, settings: Settings) -> None:
    assert (await api.call("user/configuration"))["sendSpeedLimit"] == 40_000
    await asyncio.to_thread(operate.set_account_options, settings, 1, ["send_rate=7", "paying=off"])
    api.clock.advance(timedelta(microseconds=KEPT_US))
    assert (await api.call("user/configuration"))["sendSpeedLimit"] == 7
    assert (await api.call("userinfo/get"))["accountType"] == "free"
    assert (await api.call("user/configuration", "two_trigger"))["sendSpeedLimit"] == 40_000
    await asyncio.to_thread(operate.set_account_options, settings, 1, ["frozen=on", "send_rate=default"])
    api.clock.advance(timedelta(microseconds=KEPT_US))
    assert await api.call("user/configuration") == 40005
    await asyncio.to_thread(operate.set_account_options, settings, 1, ["frozen=off"])
    assert (await api.call("user/configuration"))["sendSpeedLimit"] == 40_000


async def test_a_wrong_value_changes_nothing(api: Api, settings: Settings) -> None:
    before = await asyncio.to_thread(operate.account_options, settings, 1)
    with pytest.raises(operate.Impossible, match="sms"):
        await asyncio.to_thread(operate.set_account_options, settings, 1, ["frozen=on", "sms=perhaps"])
    assert await asyncio.to_thread(operate.account_options, settings, 1) == before


async def test_what_unsubscriptions_cover_is_shown_and_kept_by_account(api: Api, settings: Settings) -> None:
    for others in (["one_batch", "one_test"], ["one_test"]):
        await asyncio.to_thread(operate.set_unsubscribe_covers, settings, 1, "one_trigger", others)
        shown = await asyncio.to_thread(operate.account_options, settings, 1)
        assert shown["unsubscribe_covers"] == {"one_trigger": others}
    assert (await asyncio.to_thread(operate.account_options, settings, 2))["unsubscribe_covers"] == {}
    with pytest.raises(operate.Impossible, match="no API user two_batch"):
        await asyncio.to_thread(operate.set_unsubscribe_covers, settings, 1, "one_trigger", ["two_batch"])
