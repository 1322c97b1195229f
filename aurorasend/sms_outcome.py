"""What became of an SMS: a value, never an exception. The codes that are told to customers stand here once.

Called by sms and gateways. Calls nothing of ours. Source: sms.md §11, §15.3.
"""

from dataclasses import dataclass
from enum import IntEnum


class SmsState(IntEnum):
    """Where a message is in its life; the numbers are those of the store."""

    REQUESTED = 0
    WAITING = 1  # a gateway has it, its receipt is to come
    DELIVERED = 2
    SUPPRESSED = 3
    FAILED = 4


REASONS = {
    410: "on the global interception list",
    420: "on the account's interception list",
    430: "unsubscribed",
    440: "keyword filter",
    450: "variable error",
    460: "content over 500 characters",
    470: "encoding error",
    480: "unsupported send type",
    490: "other",
    500: "number does not exist",
    510: "number out of service",
    520: "number on carrier blacklist",
    530: "busy",
    540: "no answer",
    550: "content intercepted or complained about",
    560: "handset fault",
    570: "out of coverage",
    580: "switched off",
    590: "other",
}
DELIVERED_CODE = 200  # sms.md §9
LAST_SUPPRESSED = 499  # 400-499 the platform stopped it, 500-599 the carrier failed


@dataclass(frozen=True, slots=True)
class SmsOutcome:
    """`state` REQUESTED means: not handed over, try again later. `code` is 0 unless the state is final."""

    state: SmsState
    code: int = 0
    text: str = ""

    @property
    def is_final(self) -> bool:
        return self.state not in (SmsState.REQUESTED, SmsState.WAITING)


DELIVERED = SmsOutcome(SmsState.DELIVERED, DELIVERED_CODE, "Successfully delivered")  # sms.md §12.4
WAITING = SmsOutcome(SmsState.WAITING)


def ended(code: int, text: str = "") -> SmsOutcome:
    """The final outcome with a code of REASONS; `text` says more than its reason."""
    state = SmsState.SUPPRESSED if code <= LAST_SUPPRESSED else SmsState.FAILED
    return SmsOutcome(state, code, text or REASONS[code])


def deferred(text: str) -> SmsOutcome:
    return SmsOutcome(SmsState.REQUESTED, 0, text)
