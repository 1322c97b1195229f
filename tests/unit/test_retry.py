"""events.md §11.3, to the minute."""

from aurorasend.clock import HOUR, MINUTE
from aurorasend.retry import next_attempt

TRIGGER, BATCH = 24 * HOUR, 72 * HOUR


def tries_of(life: int) -> list[int]:
    """Minutes after the first try at which the following ones begin, when every attempt takes no time."""
    now, at = 0, []
    tries = 1
    while (due := next_attempt(tries, 0, now, life)) is not None:
        now, tries = due, tries + 1
        at.append(now // MINUTE)
    return at


def test_a_trigger_is_tried_at_1_5_15_30_minutes_and_then_hourly_for_24_hours() -> None:
    at = tries_of(TRIGGER)
    assert at[:6] == [1, 6, 21, 51, 111, 171]
    assert at[-1] == 51 + 23 * 60 <= 24 * 60


def test_a_batch_is_tried_for_72_hours() -> None:
    assert tries_of(BATCH)[-1] == 51 + 71 * 60 <= 72 * 60


def test_a_try_at_the_last_moment_of_the_life_still_happens() -> None:
    assert next_attempt(9, 0, 23 * HOUR, TRIGGER) == 24 * HOUR
    assert next_attempt(9, 0, 23 * HOUR + 1, TRIGGER) is None


def test_a_first_failure_long_after_the_start_gives_up() -> None:
    assert next_attempt(1, 0, 24 * HOUR, TRIGGER) is None
    assert next_attempt(1, 0, 24 * HOUR, BATCH) == 24 * HOUR + MINUTE
