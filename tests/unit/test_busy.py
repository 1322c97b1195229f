"""Who waits for company waits as long as the event loop has other work, and no longer than told."""

import asyncio
import time

from aurorasend.busy import while_busy


async def work(turns: int, done: list[int]) -> None:
    """So many turns of the event loop with a millisecond of work each."""
    for turn in range(turns):
        time.sleep(0.001)  # noqa: ASYNC251 the loop is to be busy
        done.append(turn)
        await asyncio.sleep(0)


async def test_an_idle_process_does_not_wait() -> None:
    async with asyncio.timeout(10):
        await while_busy(60)


async def test_a_busy_one_waits_until_it_is_not() -> None:
    done: list[int] = []
    other = asyncio.create_task(work(50, done))
    async with asyncio.timeout(10):
        await while_busy(60)
    assert len(done) == 50
    await other


async def test_but_no_longer_than_told() -> None:
    done: list[int] = []
    other = asyncio.create_task(work(100_000, done))
    await while_busy(0.02)
    assert 1 <= len(done) <= 20
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)
