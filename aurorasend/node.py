"""What app.py builds and everybody is given: the parts of a running node. No module has a state of its own."""

from dataclasses import dataclass
from datetime import timezone

from aurorasend.account import Accounts, ApiUser, SmsUser
from aurorasend.allowance import Allowances
from aurorasend.carrier import Parameters
from aurorasend.clock import Clock
from aurorasend.config import Settings
from aurorasend.domain import Domains
from aurorasend.endpoint import Frequency
from aurorasend.http_guard import Outside
from aurorasend.resolver import Resolver
from aurorasend.sandbox import Sandbox
from aurorasend.secret import Vault
from aurorasend.sms import SmsSubmissions
from aurorasend.sms_login import SmsLogin
from aurorasend.source import Sources
from aurorasend.store.tx import Store
from aurorasend.submission import Submissions


class Authentication:
    """Who calls, by either family of credentials (endpoint.Authenticator)."""

    def __init__(self, accounts: Accounts, sms: SmsLogin) -> None:
        self._accounts = accounts
        self._sms = sms

    async def api_user(self, name: str, key: str, region: str, now_us: int) -> ApiUser | None:
        return await self._accounts.api_user(name, key, region, now_us)

    async def sms(self, raw: Parameters, now_us: int) -> SmsUser:
        return await self._sms.sms(raw, now_us)


class CallLimits:
    """How often a caller may call (endpoint.Allowance; conventions.md §8)."""

    def __init__(self, allowances: Allowances, settings: Settings) -> None:
        self._allowances = allowances
        self._limits = settings.limits

    async def take(self, caller: ApiUser | SmsUser, endpoint: str, kind: Frequency) -> bool:
        """Sends count together, queries by endpoint."""
        account = caller.account
        if kind is Frequency.QUERY:
            limit = self._limits.query_per_minute if account.query_rate is None else account.query_rate
            return await self._allowances.use(account.id, f"{endpoint}:{caller.id}", limit)
        limit = self._limits.send_per_minute if account.send_rate is None else account.send_rate
        return await self._allowances.use(account.id, f"{kind.value}:{caller.id}", limit)


@dataclass(frozen=True)
class Node:
    settings: Settings
    clock: Clock
    zone: timezone
    store: Store
    vault: Vault
    resolver: Resolver
    outside: Outside
    domains: Domains
    accounts: Accounts
    authenticator: Authentication
    allowance: CallLimits
    sources: Sources
    submissions: Submissions
    sms: SmsSubmissions
    sandbox: Sandbox
