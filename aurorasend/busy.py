"""Waiting for company: a busy process makes few large transactions, an idle one makes each at once.

Called by submission and dispatch before each transaction that many can share. Always: when nobody else has anything to do
it costs a turn of the event loop, some microseconds; it never lasts much longer than it was told.
"""

import asyncio
import time

BUSY_TURN_S = 0.0001  # a turn of the loop that took longer did something for others


async def while_busy(longest_s: float) -> None:
    """Until the event loop has had a turn with nothing else to do, or `longest_s` have passed."""
    now = time.monotonic()  # the loop's own time stands still during a turn, and counts milliseconds
    until = now + longest_s
    while now < until:
        began = now
        await asyncio.sleep(0)
        now = time.monotonic()
        if now - began < BUSY_TURN_S:
            return
