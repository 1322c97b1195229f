"""When a deferred recipient is tried again: the contract's schedule (spec events.md §11.3).

Called by delivery. Pure: no jitter, because the contract gives exact delays; lanes spread the load.
"""

from aurorasend.clock import HOUR, MINUTE

# RFC 5321 §4.5.4.1 asks for 30 min; the early tries are for greylisting, which mostly opens within 5-15 min.
DELAYS_US = (1 * MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE)
LATER_US = HOUR
TRIGGER_LIFE_US = 24 * HOUR
BATCH_LIFE_US = 72 * HOUR


def next_attempt(tries: int, first_us: int, now_us: int, batch: bool) -> int | None:
    """When to try again after `tries` (at least 1) failures, or None to give up.

    `first_us` is when the recipient could first be tried, moved on by the caller by the time that its queue was
    paused, which does not count. The last try is the last that begins within the life of the message.
    """
    at_us = now_us + (DELAYS_US[tries - 1] if tries <= len(DELAYS_US) else LATER_US)
    return at_us if at_us <= expires(first_us, batch) else None


def expires(first_us: int, batch: bool) -> int:
    """When we give up on a recipient that could first be tried at `first_us`."""
    return first_us + (BATCH_LIFE_US if batch else TRIGGER_LIFE_US)
