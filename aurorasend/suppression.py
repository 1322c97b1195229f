"""Who must not be mailed: the lists of an account, asked before every attempt, and the bounce list that we fill.

Called by delivery. Calls store. Source: data.md §7.4 (expiry), §11.4 (order and texts).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aurorasend.address import normalise
from aurorasend.clock import DAY, HOUR
from aurorasend.outcome import Fate, Outcome
from aurorasend.store import suppression as rows
from aurorasend.store.tx import Tx

TENCENT = frozenset({"qq.com", "vip.qq.com", "foxmail.com"})  # data.md §7.4
FIRST_STRIKES = (HOUR, 4 * HOUR, 8 * HOUR, DAY)  # data.md §7.4, then doubling
MOST_DAYS, MOST_DAYS_TENCENT = 180, 30


@dataclass(frozen=True, slots=True)
class Entry:
    """`scope` is an API_USER's name, "" for all of the account."""

    list: str
    scope: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What the lists of one account say of the addresses that were asked for, by `key_of` and domain key."""

    entries: dict[str, list[Entry]]

    def verdict(self, address: str, api_user: str, *, bounces: bool) -> Outcome | None:
        """Why `api_user` must not mail `address`, or None. `bounces`: whether the bounce list is applied."""
        found = [*self.entries.get(key_of(address), ()), *self.entries.get(domain_key(address), ())]
        mine = [entry.list for entry in found if entry.scope in ("", api_user)]
        if not mine or "allow" in mine:
            return None
        for name in ("block", "unsubscribe"):
            if name in mine:
                return OUTCOMES[name]
        everywhere = [entry.list for entry in found]
        if "complaint" in everywhere:
            return OUTCOMES["complaint"]
        return OUTCOMES["bounce"] if bounces and "bounce" in everywhere else None


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
    return "@" + key_of(address).rpartition("@")[2]


async def look_up(tx: Tx, account_id: int, addresses: Iterable[str], now_us: int) -> Listed:
    keys = sorted({key for address in addresses for key in (key_of(address), domain_key(address))})
    entries: dict[str, list[Entry]] = {}
    for key, name, scope in await rows.find(tx, account_id, keys, now_us):
        entries.setdefault(key, []).append(Entry(name, scope))
    return Listed(entries)


def bounce_life(address: str, strikes: int) -> int:
    """Microseconds that the n-th consecutive "does not exist" keeps `address` on the bounce list (data.md §7.4)."""
    if key_of(address).rpartition("@")[2] in TENCENT:
        return int(min(2 ** min(strikes - 1, 30), MOST_DAYS_TENCENT)) * DAY
    if strikes <= len(FIRST_STRIKES):
        return FIRST_STRIKES[strikes - 1]
    return int(min(2 ** min(strikes - len(FIRST_STRIKES), 30), MOST_DAYS)) * DAY


async def bounced(tx: Tx, account_id: int, address: str, reason: str, now_us: int) -> None:
    """Put `address` on the bounce list, longer each time."""
    key = key_of(address)
    strikes = await rows.strikes(tx, account_id, key) + 1
    await rows.put(tx, (account_id, key, "bounce", "", strikes, reason, now_us, now_us + bounce_life(address, strikes)))


async def delivered(tx: Tx, account_id: int, addresses: Sequence[str]) -> None:
    """A delivery shows that the mailbox exists: its strikes are forgotten."""
    await rows.forget(tx, account_id, sorted({key_of(address) for address in addresses}))
