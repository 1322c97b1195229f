"""The limits of calls a minute, as clients are told of them (conventions.md §8)."""

import asyncio
from datetime import timedelta
from pathlib import Path

from aurorasend.store.tx import Store
from tests.management import managing

MAIL = {"from": "shop@one.example", "to": "ann@example.net", "subject": "Hi", "html": "<p>Hi</p>"}


async def test_queries_and_sends_have_limits_of_their_own(store: Store, tmp_path: Path) -> None:
    """The test API moves its clock by a second a call."""
    async with managing(store, tmp_path) as api:
        await api.sql("UPDATE account SET query_rate = 2, send_rate = 1")
        assert [await api.call("label/list") for _ in range(2)] == [{"total": 0, "count": 0, "dataList": []}] * 2
        assert await api.call("label/list") == 50000
        assert await api.call("label/list", start="x") == 50000  # before the parameters
        assert await api.call("mail/send", **{**MAIL, "from": ""}) == 40801
        assert await api.call("mail/send", **MAIL) == 50001
        api.clock.advance(timedelta(minutes=1))
        assert await api.call("label/list", start="x") == 40002


async def test_a_store_that_takes_its_time_limits_nobody(store: Store, tmp_path: Path) -> None:
    """Each of the calls moves the clock, so that seven seconds pass while the first one asks."""
    async with managing(store, tmp_path) as api:
        await api.call("userinfo/get")  # so that the caller is known, and the store is asked for nothing else
        answers = await asyncio.gather(*(api.call("label/list") for _ in range(7)))
        assert answers == [{"total": 0, "count": 0, "dataList": []}] * 7
