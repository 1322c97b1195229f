"""The clock as a parameter, so that tests of 31-minute retries take milliseconds (design invariant 9).

The store holds UTC integer microseconds; everything else passes those integers along and turns
them into text only at the edge.
"""

import time
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Protocol

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Clock(Protocol):
    def now_us(self) -> int:
        """UTC microseconds since 1970."""


class SystemClock:
    def now_us(self) -> int:
        return time.time_ns() // 1000


class ManualClock:
    """A clock that a test moves by hand."""

    def __init__(self, now_us: int | None = None) -> None:
        self._now_us = time.time_ns() // 1000 if now_us is None else now_us

    def now_us(self) -> int:
        return self._now_us

    def advance(self, by: timedelta) -> None:
        self._now_us += by // timedelta(microseconds=1)


def zone(hours: int) -> timezone:
    """The API's zone: a whole-hour offset (conventions §6)."""
    return timezone(timedelta(hours=hours))


def wall(us: int, tz: tzinfo) -> str:
    """`yyyy-MM-dd HH:mm:ss` in `tz` (conventions §6)."""
    return datetime.fromtimestamp(us // SECOND, tz).strftime("%Y-%m-%d %H:%M:%S")


def day(us: int, tz: tzinfo) -> str:
    """`yyyy-MM-dd` in `tz`: the day that a quota or a statistic belongs to."""
    return datetime.fromtimestamp(us // SECOND, tz).date().isoformat()


def utc(us: int) -> datetime:
    """Aware UTC datetime of store microseconds."""
    return datetime.fromtimestamp(us / SECOND, UTC)
