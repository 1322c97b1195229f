"""Do not disturb: hours of each day in which mail of an API user waits (mail.md §13, events.md §13).

Called by submission, list_send and delivery, and by operate, which knows the API's zone; here and in the store is UTC.
Pure. Always: in these hours no attempt begins, whatever let it wait until then; one that waits for a connection when they begin
may get it for another minute. A mail's life goes on in them: so no change of them can end it, or make it endless.
"""

import re
from dataclasses import dataclass

from aurorasend.clock import DAY, HOUR, MINUTE

_read = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])").fullmatch
_MINUTES = DAY // MINUTE


@dataclass(frozen=True, slots=True)
class Quiet:
    """`minutes` from the minute `begin` of the day (UTC) on, past midnight too; 0 minutes are none."""

    begin: int = 0
    minutes: int = 0

    def end_of(self, at_us: int) -> int:
        """When what could be sent at `at_us` may be: then, or when the quiet hours end that it falls into."""
        if not self.minutes:
            return at_us
        into = (at_us - self.begin * MINUTE) % DAY
        return at_us + max(0, self.minutes * MINUTE - into)

    def shown(self, zone_hours: int) -> str:
        """In the API's zone, as `read` takes it."""
        begin = self.begin + zone_hours * HOUR // MINUTE
        return "-".join(f"{at // 60 % 24:02}:{at % 60:02}" for at in (begin, begin + self.minutes))


NEVER = Quiet()


def read(text: str, zone_hours: int) -> Quiet:
    """`23:00-06:00` in the API's zone. Raises ValueError, also when it would be never or always."""
    found = _read(text)
    if found is None:
        raise ValueError("not of the form HH:MM-HH:MM")
    hour, minute, end_hour, end_minute = map(int, found.groups())
    begin, end = hour * 60 + minute, end_hour * 60 + end_minute
    if begin == end:
        raise ValueError("the end is the beginning")
    return Quiet((begin - zone_hours * HOUR // MINUTE) % _MINUTES, (end - begin) % _MINUTES)
