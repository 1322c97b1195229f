"""When a deferred recipient is tried again: the contract's schedule (spec events.md §11.3).

Called by delivery. Pure: no jitter, because the contract gives exact delays; lanes spread the load.
"""

from aurorasend.clock import HOUR, MINUTE
from aurorasend.quiet import NEVER, Quiet

# RFC 5321 §4.5.4.1 asks for 30 min; the early tries are for greylisting, which mostly opens within 5-15 min.
DELAYS_US = (1 * MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE)
LATER_US = HOUR


def next_attempt(tries: int, first_us: int, now_us: int, life_us: int, quiet: Quiet = NEVER) -> int | None:
    """When to try again after `tries` (at least 1) failures, or None to give up.

    `first_us` is when the recipient could first be tried, moved on by the caller by the time that its queue was
    paused, which does not count. Who would be tried in quiet hours waits for their end. The last try is the last that
    begins within the life of the message, which the settings queue.expiry_trigger and queue.expiry_batch say.
    """
    at_us = quiet.end_of(now_us + (DELAYS_US[tries - 1] if tries <= len(DELAYS_US) else LATER_US))
    return at_us if at_us <= first_us + life_us else None
