"""data/emailStatus (data.md §5). Called by endpoint. Calls email_status."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timezone
from typing import Annotated

from aurorasend import email_status
from aurorasend.api.data_fields import EMAIL, ApiUserList, LabelId, LabelName, Ranged, items
from aurorasend.clock import HOUR, SECOND, wall
from aurorasend.codes import Code
from aurorasend.config.settings import Limits
from aurorasend.email_status import STATES, SUB_STATUSES, Found, Search
from aurorasend.endpoint import ApiCall, Info, endpoint
from aurorasend.fields import Field, Kind, Limit, Start, Trouble, parser
from aurorasend.statistics import Asked
from aurorasend.store.email_status import Status

MOST_IDS = 100

# In the documented row, without a meaning (data.md §5).
UNUSED = ("taskName", "mailingStatus", "softStatus", "timeStr", "event", "receiver", "message", "email", "name", "phone")


@parser(Kind.TOO_MANY, schema={"type": "string"})
def _ids(text: str) -> tuple[str, ...]:
    found = tuple(items(text))
    if len(found) > MOST_IDS:
        raise Trouble(Kind.TOO_MANY, f"no more than {MOST_IDS} emailIds")
    return found


@parser(schema={"type": "string"})
def _numbers(text: str) -> tuple[int, ...]:
    """What is no number matches nothing (data.md §5)."""
    return tuple(int(item) for item in items(text.replace(",", ";")) if item.isascii() and item.isdigit() and len(item) <= 3)


Address = Annotated[str, replace(EMAIL, doc="Only mail to this address.")]
EmailIds = Annotated[
    tuple[str, ...] | None,
    Field(
        "emailIds",
        _ids,
        invalid=Code.EMAIL_INVALID,
        too_many=Code.EMAIL_INVALID,
        joined=True,
        doc=f"Only these mails, by the emailIds that the send calls told, joined by `;`, at most {MOST_IDS}.",
        example="1760000000123_42_7_3391.sg-0_0_0_1-inbound0$ann@example.org",
    ),
]
Statuses = Annotated[
    tuple[int, ...] | None,
    Field(
        "status",
        _numbers,
        invalid=Code.MAIL_FAULT,
        joined=True,
        doc="Only 1 delivered, 4 invalid, 5 soft bounce, 18 sending; repeated, or joined by `;`.",
        example="4;5",
    ),
]
SubStatuses = Annotated[
    tuple[int, ...] | None,
    Field(
        "subStatus",
        _numbers,
        invalid=Code.MAIL_FAULT,
        joined=True,
        doc="Only these sub statuses: 401-409, 503, 505-509, joined by `;`.",
        example="406;407",
    ),
]


@dataclass(frozen=True, kw_only=True)
class EmailStatus(Ranged):
    email: Address = ""
    ids: EmailIds = None
    label: LabelId = None
    label_name: LabelName = ""
    api_users: ApiUserList = None
    states: Statuses = None
    sub_statuses: SubStatuses = None
    start: Start = 0
    limit: Limit = 100

    @classmethod
    def longest(cls, limits: Limits) -> int:
        return limits.email_status_days


@endpoint("data/emailStatus")
async def list_statuses(call: ApiCall, p: EmailStatus) -> Info:
    """What became of mails, in the order of their send requests.

    Give `days` or both dates, at most 30 days of requests unless this installation allows another number; the other
    parameters narrow it further.
    """
    now_us = call.node.clock.now_us()
    since, until = p.span(now_us, call.node.zone)
    kept_us = int(call.node.settings.retention.events.total_seconds()) * SECOND
    asked = Asked(
        since=max(since, -(-(now_us - kept_us) // HOUR) * HOUR),  # what is older is gone, if not everywhere yet (data.md §5)
        until=until,
        api_users=p.api_users,
        labels=None if p.label is None else [p.label],
        label_names=[p.label_name] if p.label_name else [],
    )
    search = Search(
        asked=asked,
        address=p.email,
        ids=p.ids,
        states=known(p.states, STATES),
        sub_statuses=known(p.sub_statuses, sorted(SUB_STATUSES)),
        start=p.start,
        limit=p.limit,
    )
    account_id = call.caller.account.id
    found = await call.node.store.read(lambda tx: email_status.search(tx, account_id, search))
    shown_rows = [shown(each, found, call.node.zone) for each in found.page]
    return {"total": str(found.total), "voListSize": len(shown_rows), "voList": shown_rows}


def known(given: Sequence[int] | None, those: Sequence[int]) -> Sequence[int] | None:
    """Of `given`, what exists."""
    return None if given is None else [each for each in those if each in given]


def shown(each: Status, found: Found, zone: timezone) -> Info:
    status, description = email_status.words(each.state, each.sub_status)
    return {
        "emailId": email_status.email_id(each),
        "status": status,
        "apiUser": found.api_users.get(each.sender_id, ""),
        "recipients": each.address,
        "requestTime": wall(each.requested, zone),
        "modifiedTime": wall(each.updated, zone),
        "sendLog": each.log,
        "subStatus": each.sub_status if description else None,
        "subStatusDesc": description,
        **dict.fromkeys(UNUSED),
    }


ENDPOINTS = (list_statuses,)
