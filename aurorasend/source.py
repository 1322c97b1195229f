"""From where mail of an account is sent, and how often the IP allowlist refused it (conventions.md §3.4).

Called by endpoint for each send, and by operate. Calls store. Always: a send costs a look into memory; what was gathered is
written every WRITE_S, beside the requests. A process that is killed loses what it had not written.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aurorasend.account import ApiUser, SmsUser
from aurorasend.clock import DAY, Clock
from aurorasend.codes import Unavailable
from aurorasend.store import source as rows
from aurorasend.store.source import Seen
from aurorasend.store.tx import Store

log = logging.getLogger(__name__)

WRITE_S = 10.0
WRITTEN_AT_ONCE = 500  # rows in one transaction
OF_ACCOUNT = 1000  # addresses of one account in memory, until they are written; further ones count together
MOST = 20_000  # of all accounts
LONGEST = 64  # characters; no address has more, but what a proxy passes on may
OTHERS = ""  # stands for addresses beyond these bounds, and for what is no address


@dataclass(slots=True)
class _Calls:
    at: int = 0  # the last one
    refused: int = 0


class Sources:
    """One per process."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._seen: dict[int, dict[str, _Calls]] = {}
        self._addresses = 0

    def admit(self, caller: ApiUser | SmsUser, peer: str) -> bool:
        """Whether the IP allowlist lets `peer` send for `caller`; it is remembered that it asked."""
        admitted = caller.admits(peer)
        account_id = caller.account.id
        mine = self._seen.get(account_id)
        if mine is None:
            mine = self._seen[account_id] = {}
        calls = mine.get(peer) or self._new(mine, peer)
        calls.at = self._clock.now_us()
        calls.refused += not admitted
        return admitted

    def _new(self, mine: dict[str, _Calls], peer: str) -> _Calls:
        if len(mine) >= OF_ACCOUNT or self._addresses >= MOST or len(peer) > LONGEST:
            peer = OTHERS
        calls = mine.get(peer)
        if calls is None:
            calls = mine[peer] = _Calls()
            self._addresses += 1
        return calls

    async def run(self) -> None:
        while True:
            await asyncio.sleep(WRITE_S)
            await self.write()

    async def write(self) -> None:
        """Never raises: this history is worth no trouble. What the store or a stop keeps from being written waits."""
        seen, self._seen, self._addresses = self._seen, {}, 0
        left = list(_merged(seen))
        while left:
            some = left[:WRITTEN_AT_ONCE]
            try:
                await self._store.write(lambda tx, some=some: rows.add(tx, some))  # type: ignore[misc]
            except (Unavailable, asyncio.CancelledError) as error:
                self._take_back(left)
                if isinstance(error, asyncio.CancelledError):
                    raise
                log.warning("source addresses of sends not written, the store is away: %s", error)
                return
            except Exception:
                log.exception("source addresses of sends not written")
            left = left[WRITTEN_AT_ONCE:]

    def _take_back(self, left: Sequence[Seen]) -> None:
        for one in left:
            mine = self._seen.setdefault(one.account_id, {})
            calls = mine.get(one.address) or self._new(mine, one.address)
            calls.at = max(calls.at, one.at)
            calls.refused += one.refused


def _merged(seen: dict[int, dict[str, _Calls]]) -> Iterator[Seen]:
    """In the order of their keys, in which every process writes them, so that no two wait for each other."""
    found: dict[tuple[int, int, str], _Calls] = {}
    for account_id, mine in seen.items():
        for peer, calls in mine.items():
            total = found.setdefault((account_id, calls.at // DAY, _address(peer)), _Calls())
            total.at = max(total.at, calls.at)
            total.refused += calls.refused
    return (Seen(*key, calls.at, calls.refused) for key, calls in sorted(found.items(), key=lambda each: each[0]))


def _address(peer: str) -> str:
    """As it is shown: one form for each address."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])  # a scope may be any text
    except ValueError:
        return OTHERS
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(address)
