"""What a submission uses up: balance, the daily quota, and the matching that is judged after them (conventions.md §11,
steps 11-13).

Called by submission, in accept's transaction. Calls store. A row of the quota is changed by every submission of its
account, so it is locked at the end: `count` makes it a hot row, the first of them. Submissions that something else may
refuse too go through `charge`, which comes before they are written.
"""

from collections.abc import Sequence

import msgspec

from aurorasend.account import ApiUser, Domain
from aurorasend.clock import day
from aurorasend.codes import Code, Refused
from aurorasend.config import Settings
from aurorasend.store import account as accounts
from aurorasend.store.tx import Hot, Tx


class Overrun(Exception):
    """Together they are too many for a quota. Nothing of the transaction may stay: each is to be charged by itself."""


class Bill(msgspec.Struct, frozen=True):
    """`mails` recipients of one submission from `domain`, accepted at `created`; `matches` is the verdict of content matching."""

    caller: ApiUser
    domain: Domain
    mails: int
    created: int
    matches: bool

    @property
    def plain(self) -> bool:
        """Whether nothing but the account's quota can refuse it."""
        return not self.caller.account.check_balance and not self.tests and self.matches

    @property
    def tests(self) -> tuple[str, ...]:
        """What of it is for tests, and has a small quota of its own (conventions.md §8, management.md §5.2)."""
        user = (f"api:{self.caller.id}",) if self.caller.is_test else ()
        return (*user, f"domain:{self.domain.id}") if self.domain.is_test else user


async def _count(tx: Tx, mails: dict[tuple[int, str, int], int]) -> None:
    for (account_id, today, limit), number in sorted(mails.items()):
        await accounts.count(tx, account_id, today, number, limit, Overrun())


class Charges:
    def __init__(self, settings: Settings) -> None:
        self._zone = settings.zone
        self._daily = settings.limits.daily_quota
        self._test = settings.limits.test_quota

    def count(self, tx: Tx, bills: Sequence[Bill]) -> None:
        """Count plain bills, all of an account and day at once, at the end of the transaction, which raises Overrun then."""
        gathered = tx.gather(Hot.QUOTA, _count)
        for bill in bills:
            key = (bill.caller.account.id, day(bill.created, self._zone), self._limit(bill))
            gathered[key] = gathered.get(key, 0) + bill.mails

    async def charge(self, tx: Tx, bill: Bill) -> Refused | None:
        """Charge one bill. A refused one uses up nothing: what was taken for it is given back."""
        account = bill.caller.account
        if account.check_balance and not await accounts.spend(tx, account.id, bill.mails):
            return Refused(Code.BALANCE_TOO_LOW)
        refused = await self._use_quotas(tx, bill)
        if refused is not None and account.check_balance:
            await accounts.spend(tx, account.id, -bill.mails)
        return refused

    async def _use_quotas(self, tx: Tx, bill: Bill) -> Refused | None:
        """The account's quota, those of a test user and a test domain, then matching."""
        today = day(bill.created, self._zone)  # in the API's zone (conventions.md §8)
        quotas = [(today, self._limit(bill)), *((f"{today} {test}", self._test) for test in bill.tests)]
        for n, (name, limit) in enumerate(quotas):
            if not await accounts.use_quota(tx, bill.caller.account.id, name, bill.mails, limit):
                await self._give_back(tx, bill, quotas[:n])
                return Refused(Code.QUOTA_EXCEEDED)
        if not bill.matches:
            await self._give_back(tx, bill, quotas)
            return Refused(Code.MATCH_FAILED)
        return None

    async def _give_back(self, tx: Tx, bill: Bill, quotas: Sequence[tuple[str, int]]) -> None:
        for name, limit in quotas:
            await accounts.use_quota(tx, bill.caller.account.id, name, -bill.mails, limit)

    def _limit(self, bill: Bill) -> int:
        own = bill.caller.account.daily_quota
        return self._daily if own is None else own
