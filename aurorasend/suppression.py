"""Who must not be mailed: the lists of an account, asked before every attempt, and the bounce list that we fill.

Called by delivery and, for what customers see and change of the lists, by api. Calls store. Source: data.md §7-§10
(the lists), §7.4 (expiry), §11 (what is allowed all the same), §11.4 (order and texts).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from aurorasend.account import UnsubscribeScope
from aurorasend.address import normalise
from aurorasend.clock import DAY, HOUR
from aurorasend.codes import Code, Refused
from aurorasend.outcome import Fate, Outcome
from aurorasend.store import api_user as api_users
from aurorasend.store import suppression as rows
from aurorasend.store.suppression import Search
from aurorasend.store.tx import EVER, Row, Tx

TENCENT = frozenset({"qq.com", "vip.qq.com", "foxmail.com"})  # data.md §7.4
TENCENT_MX = ".qq.com"  # how the names of its mail exchangers end, which serve other domains too
FIRST_STRIKES = (HOUR, 4 * HOUR, 8 * HOUR, DAY)  # data.md §7.4, then doubling
MOST_DAYS, MOST_DAYS_TENCENT = 180, 30
ALL = "all"  # how customers write a scope that is not one API_USER's
BOUNCES_ONLY = 1  # kind of an allowance, data.md §7.2


@dataclass(frozen=True, slots=True)
class Entry:
    """`api_user` is an id, 0 for all of the account."""

    list: str
    api_user: int
    kind: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """What the lists of one account say of the addresses that were asked for, by `key_of` and domain key. An unsubscription
    stands there for each API_USER whose mail it ends (data.md §8.4)."""

    entries: dict[str, list[Entry]]

    def verdict(self, address: str, api_user: int, *, bounces: bool) -> Outcome | None:
        """Why `api_user` must not mail `address`, or None. `bounces`: whether the bounce list is applied."""
        if not self.entries:
            return None
        found = [*self.entries.get(key_of(address), ()), *self.entries.get(domain_key(address), ())]
        applying = [entry for entry in found if entry.api_user in (0, api_user)]
        mine = [entry.list for entry in applying]
        allowed = {entry.kind for entry in applying if entry.list == "allow"}
        if not found or 0 in allowed:
            return None
        for name in ("block", "unsubscribe"):
            if name in mine:
                return OUTCOMES[name]
        everywhere = [entry.list for entry in found]
        if "complaint" in everywhere:
            return OUTCOMES["complaint"]
        applied = bounces and BOUNCES_ONLY not in allowed
        return OUTCOMES["bounce"] if applied and "bounce" in everywhere else None


# The texts are the documented ones, with their odd punctuation (data.md §11.4).
OUTCOMES = {
    "block": Outcome(Fate.SUPPRESSED, "Blacklist: Block：(worker:address in block list)", 401, "invalid"),
    "unsubscribe": Outcome(Fate.SUPPRESSED, "unsubscribe (worker:address in unsubscribe list)", 402, "invalid"),
    "complaint": Outcome(Fate.SUPPRESSED, "Blacklist:complaint (worker:address in complaint list)", 401, "invalid"),
    "bounce": Outcome(Fate.SUPPRESSED, "Blacklist: Bounce(worker:address in bounce list)", 401, "invalid"),
}


def key_of(address: str) -> str:
    """The one form in which addresses are compared (data.md §1.7)."""
    return normalise(address)


def domain_key(address: str) -> str:
    return _domain_key(key_of(address))


def _domain_key(key: str) -> str:
    return "@" + key.rpartition("@")[2]


async def look_up(tx: Tx, account_id: int, addresses: Iterable[str], now_us: int) -> Listed:
    of_addresses = {key_of(address) for address in addresses}
    keys = sorted(of_addresses | set(map(_domain_key, of_addresses)))
    entries: dict[str, list[Entry]] = {}
    found = await rows.find(tx, account_id, keys, now_us)
    covered = await _covered(tx, account_id, found)
    for key, name, api_user, kind, _ in found:
        whose = covered(api_user) if name == "unsubscribe" else (api_user,)
        entries.setdefault(key, []).extend([Entry(name, each, kind) for each in whose])
    return Listed(entries)


async def _covered(tx: Tx, account_id: int, found: Sequence[Row]) -> Callable[[int], Sequence[int]]:
    """Whose mail an unsubscription ends, by the API_USER that it was made of."""
    made_of = sorted({api_user for _, name, api_user, *_ in found if name == "unsubscribe"})
    widest = found[0][-1] if made_of else UnsubscribeScope.OWN
    if widest == UnsubscribeScope.ALL:
        return lambda _: (0,)
    covers = await rows.covers(tx, account_id, made_of) if widest == UnsubscribeScope.CUSTOM else {}
    return lambda api_user: (api_user, *covers.get(api_user, ()))


def bounce_life(key: str, mx: str, strikes: int) -> int:
    """Microseconds that the n-th consecutive "does not exist" keeps an address on the bounce list (data.md §7.4)."""
    if key.rpartition("@")[2] in TENCENT or mx.lower().endswith(TENCENT_MX):
        return int(min(2 ** min(strikes - 1, 30), MOST_DAYS_TENCENT)) * DAY
    if strikes <= len(FIRST_STRIKES):
        return FIRST_STRIKES[strikes - 1]
    return int(min(2 ** min(strikes - len(FIRST_STRIKES), 30), MOST_DAYS)) * DAY


async def bounced(tx: Tx, account_id: int, address: str, why: Outcome, now_us: int) -> None:
    """Put `address` on the bounce list, longer each time."""
    key = key_of(address)
    strikes = await rows.strike(tx, account_id, key, why.text, now_us)
    await rows.end_bounce(tx, account_id, key, now_us + bounce_life(key, why.mx, strikes))


async def delivered(tx: Tx, account_id: int, addresses: Sequence[str]) -> None:
    """A delivery shows that the mailbox exists: its strikes are forgotten."""
    await rows.forget(tx, account_id, sorted({key_of(address) for address in addresses}))


# -- what customers change


async def whose(tx: Tx, account_id: int, name: str) -> int:
    """The API_USER of the account that `name` means, 0 for "all". Raises Refused (40016)."""
    if name == ALL:
        return 0
    found = await api_users.get(tx, account_id, name)
    if found is None:
        raise Refused(Code.API_USER_LIST_INVALID, "unknown API_USER")
    return found.id


async def narrowed(tx: Tx, account_id: int, search: Search, name: str) -> Search:
    """`search` in what holds for `name`: "all", or whoever has or had that name; for "" as it is."""
    if not name:
        return search
    return replace(search, api_users=[0] if name == ALL else await api_users.ever_named(tx, account_id, [name]))


async def block(tx: Tx, account_id: int, keys: Sequence[str], name: str, times: tuple[int, int]) -> int:
    """Block `keys` for `name`, an API_USER or "all", over `times` = (now, end); how many (data.md §10.2). Raises Refused."""
    api_user, (now_us, until_us) = await whose(tx, account_id, name), times
    for at, key in enumerate(keys, now_us):  # a microsecond apart: lists are in the order in which entries were made
        await rows.add_or_extend(tx, account_id, (key, "block", api_user), (at, until_us))
    return len(keys)


async def allow(tx: Tx, account_id: int, keys: Sequence[str], name: str, now_us: int) -> list[rows.Entry]:
    """Void all lists for `keys` and `name`; those that were not on the allow list yet (data.md §11.2). Raises Refused."""
    api_user = await whose(tx, account_id, name)
    new = []
    for at, key in enumerate(keys, now_us):
        if await rows.add(tx, account_id, (key, "allow", api_user), (at, EVER)):
            new.append(key)
        else:
            await rows.allow_wholly(tx, account_id, key, api_user)
    return await rows.page(tx, account_id, Search(list="allow", keys=new, api_users=[api_user]), (0, len(new)))


async def unsubscribe(tx: Tx, account_id: int, address: str, api_user: int, now_us: int) -> rows.Entry:
    """The record, made now unless there is one for this API_USER (data.md §8.2)."""
    key = key_of(address)
    # Extended, which changes nothing, so that nobody can delete it before it is read.
    await rows.add_or_extend(tx, account_id, (key, "unsubscribe", api_user), (now_us, EVER))
    found = await rows.page(tx, account_id, Search(list="unsubscribe", keys=[key], api_users=[api_user]), (0, 1))
    return found[0]


async def release(tx: Tx, account_id: int, search: Search, now_us: int, *, allowed: bool) -> int:
    """Take entries off the bounce list, strikes and all; how many. If `allowed`, what is off stays off (data.md §7.2)."""
    if allowed:
        await rows.allow(tx, account_id, search, now_us)
    return await rows.delete(tx, account_id, search)
