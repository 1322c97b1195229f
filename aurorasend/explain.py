"""The whole life of a message, in order, for the operator: `aurorasend explain ID`.

Called by cli. `ID` is an emailId, a messageId or an smsId. Calls store (read only).
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from aurorasend.clock import wall
from aurorasend.config import Settings
from aurorasend.event import BY_NUMBER, Kind
from aurorasend.store import event as event_rows
from aurorasend.store import queue as queue_rows
from aurorasend.store import sms as sms_rows
from aurorasend.store import submission as rows
from aurorasend.store.tx import EVER, Row, Store, Tx

PEOPLE = 500  # recipients shown at most; any other by its emailId
EVENTS = 100 * PEOPLE  # a recipient has fewer: four days of hourly tries

_mail_id = re.compile(r"\d+_(?P<account>\d+)_\d+_(?P<submission>\d+)\.[^$#\s]*-inbound(?P<index>\d*)(?:\$.*)?").fullmatch
_sms_id = re.compile(r"\d+_(?P<account>\d+)_(?P<submission>\d+)_-?\d+_(?P<token>[a-z0-9]{6})\$.*").fullmatch

STATES = {0: "sending", 18: "sending", 1: "delivered", 4: "invalid", 5: "soft bounce"}


class UnknownId(Exception):
    """Nothing with this id is known; the text says what was looked for."""


async def explain(store: Store, settings: Settings, text: str) -> list[str]:
    """Lines of text. Raises UnknownId."""
    text = text.strip()
    if found := _mail_id(text):
        ids = int(found["account"]), int(found["submission"])
        index = int(found["index"]) if found["index"] else None
        lines = await store.read(lambda tx: _mail(tx, settings, ids, index))
    elif found := _sms_id(text):
        ids = int(found["account"]), int(found["submission"])
        token = found["token"]
        lines = await store.read(lambda tx: _sms(tx, settings, ids, token))
    else:
        raise UnknownId(f"{text!r} is no emailId, messageId or smsId.")
    if not lines:
        raise UnknownId(f"Nothing is known of {text!r}.")
    return lines


async def _mail(tx: Tx, settings: Settings, ids: tuple[int, int], index: int | None) -> list[str]:
    account_id, submission_id = ids
    found = await rows.submission_whole(tx, account_id, submission_id)
    if found is None:
        return []
    first, count, created = found[9], found[10], found[11]
    if index is not None and index >= count:
        return []
    wanted = range(first, first + min(count, PEOPLE)) if index is None else range(first + index, first + index + 1)
    people = await rows.recipients_whole(tx, account_id, wanted.start, wanted.stop)
    history = await event_rows.of_recipients(tx, account_id, submission_id, wanted.start, wanted.stop, EVENTS)
    lines = [
        f"{wall(created, settings.zone)}  accepted as {found[4]}, {count} recipients, "
        f"{'batch' if found[5] else 'trigger'}, label {found[7] or 'none'}"
    ]
    for person in people:
        lines += _recipient(person, history, settings)
        waiting = await queue_rows.find(tx, account_id, person[0])
        if waiting is not None:
            lines.append(_waiting(waiting, settings))
    if index is None and count > PEOPLE:
        lines.append(f"and {count - PEOPLE} more recipients: ask for one by its emailId")
    return lines


def _recipient(person: Row, history: list[Row], settings: Settings) -> Iterator[str]:
    recipient_id, position, address, state, sub_status, tries, *_ = person
    status = STATES[state] + (f" ({sub_status})" if sub_status else "")
    yield f"recipient {position}: {address}: {status}, {tries} attempts"
    for _, number, at, about, detail in history:
        if about == recipient_id:
            yield _told(at, number, detail, settings)


def _told(at: int, number: int, detail: bytes, settings: Settings) -> str:
    return f"  {wall(at, settings.zone)}  {_happened(BY_NUMBER[number], msgspec.msgpack.decode(bytes(detail)), settings)}"


def _happened(kind: Kind, detail: dict[str, Any], settings: Settings) -> str:
    said = f"attempt {detail['try']}: " if "try" in detail else ""
    said += f"{detail.get('fate', kind.told or kind.name.lower())}: {detail.get('text', '')}"
    if "next" in detail:
        said += f"; next attempt {wall(detail['next'], settings.zone)}"
    if "out_ip" in detail:
        said += f" (from {detail['out_ip']})"
    return said


def _waiting(entry: Row, settings: Settings) -> str:
    lane, due, tries, lease = entry
    if lease:
        return f"  now being tried by node {lease} in lane {lane}"
    if due == EVER:
        return f"  parked in lane {lane} after {tries} attempts, by a fault of this system that the log tells"
    return f"  waits in lane {lane}, due {wall(due, settings.zone)}, after {tries} attempts"


async def _sms(tx: Tx, settings: Settings, ids: tuple[int, int], token: str) -> list[str]:
    found = await sms_rows.explained(tx, *ids, token)
    if found is None:
        return []
    message_id, phone, created, pieces, log = found
    history = await event_rows.of_recipients(tx, *ids, message_id, message_id + 1, EVENTS)
    lines = [f"{wall(created, settings.zone)}  accepted for {phone}"]
    for _, number, at, about, detail in history:
        if about == message_id:
            lines.append(_told(at, number, detail, settings))
    lines.append(f"  {pieces} pieces; {log or 'nothing happened yet'}")
    waiting = await queue_rows.find(tx, ids[0], message_id)
    return [*lines, _waiting(waiting, settings)] if waiting is not None else lines
