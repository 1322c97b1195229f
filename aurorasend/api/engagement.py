"""openandclick/list (data.md §6). Called by endpoint.

ours: nothing is tracked yet, so nobody has opened or followed anything, and the list is empty.
"""

from dataclasses import dataclass
from typing import Annotated

from aurorasend.api.data_fields import ApiUserList, LabelId, LabelName, RangedOrEmail
from aurorasend.codes import Code
from aurorasend.endpoint import ApiCall, Info, endpoint, page
from aurorasend.fields import Field, Limit, Start, line

TrackType = Annotated[
    str,
    Field(
        "trackType",
        line(),
        invalid=Code.MAIL_FAULT,
        doc="1: only opens; 2: only clicks; anything else matches nothing.",
        example="1",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ListOpensAndClicks(RangedOrEmail):
    track_type: TrackType = ""
    api_users: ApiUserList = None
    label: LabelId = None
    label_name: LabelName = ""
    start: Start = 0
    limit: Limit = 100


@endpoint("openandclick/list")
async def list_opens_and_clicks(call: ApiCall, p: ListOpensAndClicks) -> Info:
    """List opens and clicks, oldest first.

    Give `days`, both dates, or `email`.
    """
    if not p.email:
        p.span(call.node.clock.now_us(), call.node.zone)
    return page([], 0)


ENDPOINTS = (list_opens_and_clicks,)
