"""Hours in which nothing is sent."""

import pytest

from aurorasend.clock import DAY, HOUR, MINUTE
from aurorasend.quiet import NEVER, Quiet, read
from aurorasend.retry import next_attempt

NIGHT = Quiet(23 * 60, 7 * 60)  # 23:00 to 06:00
NOON = Quiet(12 * 60, 60)


@pytest.mark.parametrize(
    ("quiet", "at", "end"),
    [
        (NIGHT, 22 * HOUR, 22 * HOUR),
        (NIGHT, 23 * HOUR - 1, 23 * HOUR - 1),
        (NIGHT, 23 * HOUR, 30 * HOUR),
        (NIGHT, 5 * HOUR, 6 * HOUR),
        (NIGHT, 6 * HOUR - 1, 6 * HOUR),
        (NIGHT, 6 * HOUR, 6 * HOUR),
        (NOON, 12 * HOUR + 1, 13 * HOUR),
        (NOON, 13 * HOUR, 13 * HOUR),
        (NEVER, 0, 0),
    ],
)
def test_what_falls_into_them_waits_for_their_end(quiet: Quiet, at: int, end: int) -> None:
    for day in (0, 1, 20_000):
        assert quiet.end_of(day * DAY + at) == day * DAY + end


@pytest.mark.parametrize("zone", [-12, -5, 0, 8, 14])
@pytest.mark.parametrize("text", ["23:00-06:00", "00:00-23:59", "12:30-12:29", "07:05-08:00", "22:00-00:00"])
def test_they_are_shown_as_they_were_given(text: str, zone: int) -> None:
    assert read(text, zone).shown(zone) == text
    begin = int(text[:2]) * 60 + int(text[3:5])
    assert read(text, zone).begin == (begin - zone * 60) % 1440


@pytest.mark.parametrize("text", ["", "23-6", "24:00-06:00", "23:60-06:00", "6:00-7:00", "٠٦:00-07:00", "23:00-06:00 "])
def test_what_is_no_time_of_the_day(text: str) -> None:
    with pytest.raises(ValueError, match="not of the form"):
        read(text, 8)


def test_nobody_is_quiet_for_ever() -> None:
    with pytest.raises(ValueError, match="the end is the beginning"):
        read("06:00-06:00", 8)


def test_a_retry_waits_for_their_end_and_life_goes_on() -> None:
    assert next_attempt(5, 0, 22 * HOUR + 30 * MINUTE, 30 * HOUR, NIGHT) == 30 * HOUR
    assert next_attempt(5, 0, 22 * HOUR, 30 * HOUR, NIGHT) == 30 * HOUR
    assert next_attempt(5, 0, 22 * HOUR, 30 * HOUR - 1, NIGHT) is None
