"""Webhooks as their account configures them: which events go to which URL.

Called by api.webhook. Calls store and http_guard (the probe). Always: a URL is probed before it is stored, outside of any
transaction, and looked at again in the one that stores it; one URL and category is one configuration (management.md §8).
"""

from dataclasses import dataclass

from aurorasend.codes import Code, Refused
from aurorasend.http_guard import Outside
from aurorasend.store import account as account_rows
from aurorasend.store import api_user as api_user_rows
from aurorasend.store import webhook as rows
from aurorasend.store.tx import Store, Tx
from aurorasend.store.webhook import ALL, Webhook

PROBE_S = 3.0  # events.md §2, for each of the two calls
MOST = 1000  # of an account; ours: every event looks at all of them


@dataclass(frozen=True, slots=True)
class Match:
    """Which configurations a call means: all of this category and set of events, and of this URL unless it is ""."""

    url: str
    category: str
    events: str

    def means(self, each: Webhook) -> bool:
        return each.category == self.category and each.events == self.events and self.url in ("", each.url)


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be changed, one of the three; "" is not."""

    category: str
    url: str
    events: str


async def add(store: Store, probing: Outside | None, account_id: int, new: Match, now_us: int) -> None:
    """`probing` None leaves the probe out. Raises Refused (40702, 40708, 40707, 40710)."""

    async def refuse(tx: Tx) -> int:
        api_user_id = await _category(tx, account_id, new.category)
        known = await rows.every(tx, account_id)
        if any((each.url, each.api_user_id) == (new.url, api_user_id) for each in known):
            raise Refused(Code.WEBHOOK_URL_TAKEN)
        if len(known) >= MOST:
            raise Refused(Code.WEBHOOK_NOT_CREATED, f"no more than {MOST} webhooks")
        return api_user_id

    async def unit(tx: Tx) -> None:
        await account_rows.lock(tx, account_id)
        if not await rows.add(tx, account_id, new.url, await refuse(tx), new.events, now_us):
            raise Refused(Code.WEBHOOK_URL_TAKEN)

    await store.read(refuse)
    await _probe(probing, new.url)
    await store.write(unit)


async def change(store: Store, probing: Outside | None, account_id: int, match: Match, to: Change, now_us: int) -> int:
    """How many were changed. Raises Refused (40709, 40702, 40708, 40707)."""

    async def changed(tx: Tx) -> list[Webhook]:
        known = await rows.every(tx, account_id)
        meant = [each for each in known if match.means(each)]
        if not meant:
            raise Refused(Code.WEBHOOK_UNKNOWN)
        api_user_id = await _category(tx, account_id, to.category) if to.category else None
        others = {(each.url, each.api_user_id) for each in known if each not in meant}
        made = [_applied(each, to, api_user_id) for each in meant]
        keys = [(each.url, each.api_user_id) for each in made]
        if others & set(keys) or len(set(keys)) < len(keys):
            raise Refused(Code.WEBHOOK_URL_TAKEN)
        return made

    async def unit(tx: Tx) -> int:
        await account_rows.lock(tx, account_id)
        made = await changed(tx)
        return sum([await rows.change(tx, account_id, each, now_us) for each in made])

    await store.read(changed)
    if to.url:
        await _probe(probing, to.url)
    return await store.write(unit)


async def delete(tx: Tx, account_id: int, match: Match) -> int:
    """How many were deleted. Raises Refused (40709)."""
    await account_rows.lock(tx, account_id)
    meant = [each.id for each in await rows.every(tx, account_id) if match.means(each)]
    if not meant:
        raise Refused(Code.WEBHOOK_UNKNOWN)
    return await rows.delete(tx, account_id, meant)


def _applied(each: Webhook, to: Change, api_user_id: int | None) -> Webhook:
    return each._replace(
        url=to.url or each.url,
        events=to.events or each.events,
        api_user_id=each.api_user_id if api_user_id is None else api_user_id,
    )


async def _category(tx: Tx, account_id: int, category: str) -> int:
    """0 for all. Raises Refused (40702)."""
    if category == ALL:
        return 0
    found = await api_user_rows.get(tx, account_id, category)
    if found is None:
        raise Refused(Code.WEBHOOK_GROUP_INVALID, "no API_USER of the account")
    return found.id


async def _probe(probing: Outside | None, url: str) -> None:
    """The URL must answer 200 to GET and POST. Raises Refused (40707)."""
    if probing is None:
        return
    reply = await probing.get(url, deadline_s=PROBE_S)
    if reply.status == 200:
        reply = await probing.post(url, b"{}", {"Content-Type": "application/json"}, deadline_s=PROBE_S, reuse=False)
    if reply.status != 200:
        # Why there is no answer is not told: it would show a stranger what is open in a private network.
        raise Refused(Code.WEBHOOK_URL_FAILED, f"status {reply.status}" if reply.status else "no answer")
