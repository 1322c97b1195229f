"""What happened, told once: `record` writes events, moves the counters and queues the webhook posts in one transaction.

Called by submission, delivery, sms. Calls queue (put) and store.
Always: statistics come from the counters, never from counting events (design invariant 3). A counter belongs to the
hour of the send request, however late the event (data.md §2.4).
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any

import msgspec

from aurorasend.clock import HOUR
from aurorasend.queue import Kind as WorkKind
from aurorasend.queue import Priority, Work, put
from aurorasend.store import event as rows
from aurorasend.store.tx import Tx


class Kind(Enum):
    """Number in the store (the contract's id where it has one, events.md §1); name told to customers ("" when none is);
    whether it is counted; what it means."""

    REQUEST = 18, "request", True, "a send call was accepted"
    DELIVER = 1, "deliver", True, "the recipient's server accepted the mail"
    REPORT_SPAM = 3, "report_spam", True, "the recipient reported spam"
    INVALID = 4, "invalid", True, "the mail cannot be delivered, or was intercepted"
    SOFT_BOUNCE = 5, "soft_bounce", True, "a temporary refusal became final, or the mail came back"
    CLICK = 10, "click", True, "the recipient followed a tracked link"
    OPEN = 11, "open", True, "the open pixel was loaded"
    UNSUBSCRIBE = 12, "unsubscribe", True, "the recipient unsubscribed"
    DEFERRED = 101, "", False, "an attempt did not end the matter; for `explain` only"
    SMS_REQUESTED = 201, "Requested", False, "an SMS call was accepted"
    SMS_DELIVERED = 220, "Delivered", False, "the handset confirmed"
    SMS_SUPPRESSED = 204, "Suppressed", False, "the platform blocked the message"
    SMS_FAILED = 205, "Failed", False, "the carrier reported a failure"

    def __init__(self, number: int, told: str, counted: bool, meaning: str) -> None:
        self.number = number
        self.told = told
        self.counted = counted
        self.meaning = meaning


BY_NAME = {kind.told: kind for kind in Kind if kind.told}
BY_NUMBER = {kind.number: kind for kind in Kind}


class Origin(msgspec.Struct, frozen=True):
    """The send request that an event belongs to: where it counts (`sender_id`), and whose webhooks hear of it (`api_user_id`)."""

    account_id: int
    submission_id: int
    api_user_id: int
    sender_id: int
    label_id: int
    requested: int  # UTC microseconds


class Event(msgspec.Struct, frozen=True):
    """`id` comes from ids.Ids. `recipient_id` is 0 for events of a whole request; `domains` counts the recipients of
    each domain that the event is about. `detail` holds what only this kind has (text, sub status, address ...)."""

    id: int
    kind: Kind
    at: int
    origin: Origin
    recipient_id: int = 0
    domains: tuple[tuple[str, int], ...] = ()
    sub_status: int = 0
    detail: dict[str, Any] = {}


def domain_of(address: str) -> str:
    """The recipient's domain as it is counted: lower case."""
    return address.rpartition("@")[2].lower()


async def record(tx: Tx, events: Sequence[Event]) -> None:
    """Write `events`, count them, and queue a post for each webhook that asked for them."""
    if not events:
        return
    await rows.add(tx, [_row(event) for event in events])
    for event in events:
        _count(tx, event)
    await _queue_posts(tx, events)


def _row(event: Event) -> tuple[Any, ...]:
    origin = event.origin
    detail = msgspec.msgpack.encode({**event.detail, "sub": event.sub_status} if event.sub_status else event.detail)
    return (origin.account_id, event.id, event.kind.number, event.at, origin.submission_id, event.recipient_id, detail)


def _count(tx: Tx, event: Event) -> None:
    if event.kind.counted:
        origin = event.origin
        hour = origin.requested // HOUR
        for domain, number in event.domains:
            key = (origin.account_id, hour, origin.sender_id, origin.label_id, domain, event.kind.number, event.sub_status)
            rows.count(tx, key, number)


async def _queue_posts(tx: Tx, events: Sequence[Event]) -> None:
    wanted = await rows.webhooks(tx, sorted({event.origin.account_id for event in events}))
    if not wanted:
        return
    posts = []
    for event in events:
        for account_id, webhook_id, api_user_id, numbers in wanted:
            mine = account_id == event.origin.account_id and api_user_id in (0, event.origin.api_user_id)
            if mine and str(event.kind.number) in numbers.split(","):
                lane = f"hook:{account_id}.{webhook_id}"
                entry_id = await tx.next_id("row")
                posts.append(Work(account_id, entry_id, WorkKind.POST, lane, event.at, Priority.TRIGGER, event.id))
    await put(tx, posts)
