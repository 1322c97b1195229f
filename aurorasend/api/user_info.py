"""userinfo/get, user/info and user/configuration (management.md §9): the account of the caller. Called by endpoint."""

from dataclasses import dataclass

from aurorasend.api.mail_values import MAX_ADDRESSES
from aurorasend.clock import day, wall
from aurorasend.codes import Code, Refused
from aurorasend.endpoint import ApiCall, Info, endpoint
from aurorasend.store import account as rows
from aurorasend.store.tx import Row, Tx

REPUTATION = 60  # console.md §C.4: constant until a rule is chosen


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """No parameters beyond the credentials."""


@endpoint("userinfo/get", aliases=("api/user/info", "apiv2/user/info", "user/info"), raises=[Code.API_USER_UNKNOWN])
async def get_user_info(call: ApiCall, p: Nothing) -> Info:
    """Read about the account: who it belongs to, its quota and what is used of it today."""
    account, zone = call.caller.account, call.node.zone
    today = day(call.node.clock.now_us(), zone)

    async def unit(tx: Tx) -> tuple[Row | None, int]:
        return await rows.profile(tx, account.id), await rows.used_quota(tx, account.id, today)

    found, used = await call.node.store.read(unit)
    if found is None:
        raise Refused(Code.API_USER_UNKNOWN)
    company, contact, email, phone, balance, created = found
    quota = call.node.settings.limits.daily_quota if account.daily_quota is None else account.daily_quota
    left = max(0, quota - used)
    return {
        "apiUser": call.caller.name,
        "accountType": "standard" if account.paying else "free",
        "companyName": company,
        "contactPerson": contact,
        "contactEmail": email,
        "contactPhone": _masked(phone),
        "remainingQuota": left,
        "totalQuota": quota,
        "cycleType": "monthly",
        "gmtCreated": wall(created, zone),
        "userName": account.name,
        "email": email,
        "quota": quota,
        "todayUsedQuota": used,
        "regTime": day(created, zone),
        "reputation": REPUTATION,
        "restNum": min(left, balance) if account.check_balance else left,
        "restFlowSize": 0,
        "balance": balance,
        "avaliableBalance": balance,  # so spelt by clients of old
        "availableBalance": balance,
        "phone": _masked(phone),
        "websiteAuthStatus": False,
        "businessAuthStatus": False,
    }


@endpoint("user/configuration")
async def get_configuration(call: ApiCall, p: Nothing) -> Info:
    """Read what one mail and one minute of this API user may hold."""
    caller = call.caller
    limits = caller.account.limits(call.node.settings.limits)
    return {
        "sendSpeedLimit": limits.send_per_minute if caller.account.send_rate is None else caller.account.send_rate,
        "maxRecipientsPerEmail": MAX_ADDRESSES,
        "isClickTrackingEnabled": caller.click,
        "isOpenTrackingEnabled": caller.open,
        "isUnsubscribeLinkEnabled": caller.unsubscribe,
        "defaultUnsubscribePage": "",
        "maxAttachmentSize": limits.attachments_bytes >> 20,
        "supportedAttachmentTypes": "*",
    }


def _masked(phone: str) -> str:
    """Without its middle digits, as is told of a number that nobody verified (management.md §9.1)."""
    first, last = (3, 4) if len(phone) >= 10 else (len(phone) // 4, len(phone) // 4)
    return f"{phone[:first]}****{phone[len(phone) - last :]}" if phone else ""


ENDPOINTS = (get_user_info, get_configuration)
