"""webhook/list, get, add, update, delete (management.md §8).

Handlers call webhook.py, which has the rules. Called by endpoint. Always: events are numbers from event.Kind, kept in
order, so that equal sets are equal texts.
"""

from dataclasses import dataclass, replace
from typing import Annotated

from aurorasend import webhook
from aurorasend.codes import Code, Refused
from aurorasend.endpoint import ApiCall, Info, changed, endpoint, one
from aurorasend.event import BY_NUMBER, Kind
from aurorasend.fields import Field, Trouble, parser, text
from aurorasend.fields import Kind as Wrong
from aurorasend.http_guard import MAX_URL, BadUrl, Outside, checked_url
from aurorasend.store import webhook as rows
from aurorasend.store.webhook import Webhook
from aurorasend.webhook import Change, Match

TOLD = tuple(sorted(kind.number for kind in Kind if kind.told and kind.counted))  # management.md §8.1
EVERY_EVENT = ",".join(map(str, TOLD))
_EVENT_LIST = ", ".join(f"{number} {BY_NUMBER[number].told}" for number in TOLD)


@parser(schema={"type": "string", "pattern": r"^\s*[0-9]+(\s*,\s*[0-9]+)*\s*$"})
def events(given: str) -> str:
    """The set, in order."""
    parts = [part.strip() for part in given.split(",") if part.strip()]
    if not parts or any(part not in map(str, TOLD) for part in parts):
        raise Trouble(Wrong.INVALID, f"known are {EVERY_EVENT}")
    return ",".join(map(str, sorted({int(part) for part in parts})))


@parser(schema={"type": "string", "format": "uri", "maxLength": MAX_URL})
def url(given: str) -> str:
    try:
        checked_url(given)
    except BadUrl as problem:
        raise Trouble(Wrong.INVALID, str(problem)) from problem
    return given


_URL = Field(
    "url",
    url,
    empty=Code.WEBHOOK_URL_EMPTY,
    invalid=Code.WEBHOOK_URL_INVALID,
    doc="http or https URL that answers 200 to GET and POST.",
    example="https://hooks.example.com/sc",
)
_CATEGORY = Field(
    "categoryName",
    text(),
    empty=Code.WEBHOOK_GROUP_EMPTY,
    invalid=Code.WEBHOOK_GROUP_INVALID,
    doc="The API_USER whose mail it is about, or `all`.",
    example="all",
)
_EVENT = Field(
    "event",
    events,
    empty=Code.WEBHOOK_EVENT_EMPTY,
    invalid=Code.WEBHOOK_EVENT_INVALID,
    doc=f"Numbers of events, joined by `,`: {_EVENT_LIST}.",
    example="1,11",
)
Url = Annotated[str, _URL]
AnyUrl = Annotated[str, replace(_URL, empty=None, doc="The current URL; any without it.")]
_URL_TEXT = replace(_URL, parser=text(), empty=None)
ThatUrl = Annotated[str, replace(_URL_TEXT, doc="The URL; any without it.")]
PartOfUrl = Annotated[str, replace(_URL_TEXT, doc="Only those whose URL holds this text.", example="hooks.example.com")]
Category = Annotated[str, _CATEGORY]
OnlyCategory = Annotated[str, replace(_CATEGORY, empty=None, doc="Only those of this API_USER, or of `all`.")]
Events = Annotated[str, _EVENT]
SomeEvents = Annotated[str, replace(_EVENT, empty=None, doc=f"{_EVENT.doc} Without it: all of them.")]
OnlyEvents = Annotated[str, replace(_EVENT, empty=None, doc=f"Only those that hold one of these events: {_EVENT_LIST}.")]
NewCategory = Annotated[
    str,
    replace(_CATEGORY, wire="newCategoryName", doc="The new category.", example="shopmail01"),
]
NewUrl = Annotated[str, replace(_URL, wire="newUrl", doc="The new URL.", example="https://hooks.example.com/new")]
NewEvents = Annotated[str, replace(_EVENT, wire="newEvent", doc="The new events.", example="1,4", sampled=True)]


@dataclass(frozen=True, kw_only=True)
class ListWebhooks:
    url: PartOfUrl = ""
    category: OnlyCategory = ""
    events: OnlyEvents = ""


@dataclass(frozen=True, kw_only=True)
class GetWebhook:
    url: Url
    category: Category


@dataclass(frozen=True, kw_only=True)
class AddWebhook:
    url: Url
    category: Category
    events: SomeEvents = EVERY_EVENT


@dataclass(frozen=True, kw_only=True)
class UpdateWebhook:
    url: AnyUrl = ""
    category: Category
    events: Events
    new_category: NewCategory = ""
    new_url: NewUrl = ""
    new_events: NewEvents = ""

    def check(self) -> None:
        """One thing is changed at a time."""
        if sum(map(bool, (self.new_category, self.new_url, self.new_events))) != 1:
            raise Refused(Code.WEBHOOK_NOT_UPDATED, "exactly one of newCategoryName, newUrl and newEvent")


@dataclass(frozen=True, kw_only=True)
class DeleteWebhook:
    url: ThatUrl = ""
    category: Category
    events: Events


@endpoint("webhook/list")
async def list_webhooks(call: ApiCall, p: ListWebhooks) -> Info:
    """List the webhooks of the account, newest first."""
    account_id, wanted = call.caller.account.id, set(p.events.split(",")) - {""}
    found = [
        shown(each)
        for each in await call.node.store.read(lambda tx: rows.every(tx, account_id))
        if p.url in each.url and p.category in ("", each.category) and (not wanted or wanted & set(each.events.split(",")))
    ]
    return {"count": len(found), "dataList": found}


@endpoint("webhook/get", raises=[Code.WEBHOOK_UNKNOWN])
async def get_webhook(call: ApiCall, p: GetWebhook) -> Info:
    """Read one webhook."""
    account_id = call.caller.account.id
    for each in await call.node.store.read(lambda tx: rows.every(tx, account_id)):
        if (each.url, each.category) == (p.url, p.category):
            return one(shown(each))
    raise Refused(Code.WEBHOOK_UNKNOWN)


@endpoint(
    "webhook/add",
    raises=[Code.WEBHOOK_GROUP_INVALID, Code.WEBHOOK_URL_TAKEN, Code.WEBHOOK_URL_FAILED, Code.WEBHOOK_NOT_CREATED],
    unavailable=Code.WEBHOOK_NOT_CREATED,
)
async def add_webhook(call: ApiCall, p: AddWebhook) -> Info:
    """Have events posted to a URL.

    The URL is called with GET and POST first, and must answer both with 200.
    """
    account_id, now_us = call.caller.account.id, call.node.clock.now_us()
    await webhook.add(call.node.store, _probing(call), account_id, Match(p.url, p.category, p.events), now_us)
    return {}


@endpoint(
    "webhook/update",
    raises=[
        Code.WEBHOOK_UNKNOWN,
        Code.WEBHOOK_GROUP_INVALID,
        Code.WEBHOOK_URL_TAKEN,
        Code.WEBHOOK_URL_FAILED,
        Code.WEBHOOK_NOT_UPDATED,
    ],
    unavailable=Code.WEBHOOK_NOT_UPDATED,
)
async def update_webhook(call: ApiCall, p: UpdateWebhook) -> Info:
    """Change one thing about webhooks: category, URL or events.

    `url`, `categoryName` and `event` say which, as they are now. A new URL is called first, as in `webhook/add`.
    """
    account_id, now_us = call.caller.account.id, call.node.clock.now_us()
    match, to = Match(p.url, p.category, p.events), Change(p.new_category, p.new_url, p.new_events)
    return changed(await webhook.change(call.node.store, _probing(call), account_id, match, to, now_us))


@endpoint("webhook/delete", raises=[Code.WEBHOOK_UNKNOWN], unavailable=Code.WEBHOOK_NOT_DELETED)
async def delete_webhook(call: ApiCall, p: DeleteWebhook) -> Info:
    """Delete webhooks.

    `url`, `categoryName` and `event` say which; what waits to be posted to them is dropped.
    """
    account_id, match = call.caller.account.id, Match(p.url, p.category, p.events)
    return changed(await call.node.store.write(lambda tx: webhook.delete(tx, account_id, match)))


def _probing(call: ApiCall) -> Outside | None:
    return call.node.outside if call.node.settings.webhook.probe else None


def shown(each: Webhook) -> Info:
    numbers = [int(number) for number in each.events.split(",")]
    return {
        "webhookUrl": each.url,
        "eventTypeMap": {str(number): BY_NUMBER[number].told for number in numbers},
        "categoryName": each.category,
    }


ENDPOINTS = (list_webhooks, get_webhook, add_webhook, update_webhook, delete_webhook)
