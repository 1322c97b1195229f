"""What carries short messages: one module per driver, all behind `Gateway`; `simulator` is the first.

Called by sms, which never raises a driver's trouble to anybody: what a carrier says is an SmsOutcome.
"""

from dataclasses import dataclass
from typing import Protocol

from aurorasend.sms_outcome import SmsOutcome


@dataclass(frozen=True, slots=True)
class OutgoingSms:
    """`reference` is the smsId, by which a receipt finds the message; `sender` is "" when the gateway may choose."""

    reference: str
    sender: str
    phone: str  # E.164
    text: str


class Gateway(Protocol):
    """A driver. `name` is part of the lane of its messages; `shards` is in how many lanes they are spread, so that
    several nodes can use the gateway."""

    name: str
    shards: int

    async def send(self, sms: OutgoingSms) -> SmsOutcome:
        """Hand one message over, within the driver's own deadline. Never raises for what the carrier says or does."""
