"""Who calls the SMS API: with the key in clear, or with a signature made from it (sms.md §2).

Called by endpoint, through the node's authenticator. Calls account and sms_signature. Always: with a key in clear one
code says that user and key do not fit, never which of them was wrong; secrets are compared in constant time.
"""

import hmac
import re
from collections.abc import Awaitable
from datetime import timedelta
from typing import Protocol

from aurorasend import sms_signature
from aurorasend.account import ApiUser, SmsUser
from aurorasend.carrier import Parameters
from aurorasend.clock import SECOND
from aurorasend.codes import Code, Refused

MILLISECONDS_FROM = 10**11  # sms.md §2.4: a timestamp from here on counts milliseconds, below it seconds
_NUMBER = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,9})?")
_NAME = re.compile(r"[!-~]{1,64}")  # what a user name or key can be; keeps NUL and broken text from the store


class Callers(Protocol):
    """What of account.Accounts is needed here."""

    def sms_user(self, name: str) -> Awaitable[SmsUser | None]: ...

    def api_user_any_region(self, name: str, key: str, now_us: int) -> Awaitable[ApiUser | None]: ...


class SmsLogin:
    def __init__(self, callers: Callers, tolerance: timedelta) -> None:
        """`tolerance`: how far a request's timestamp may be from our clock."""
        self._callers = callers
        self._tolerance_us = tolerance // timedelta(microseconds=1)

    async def sms(self, raw: Parameters, now_us: int) -> SmsUser:
        """The caller. Raises Refused: 40005 or 421, 422, 471, 472, 474 by mode, then 461, 473."""
        user, key = _clear_credentials(raw)
        if key:
            caller = await self._by_key(user, key, now_us)
        elif signature := raw.text("signature"):
            caller = await self._by_signature(raw, signature)
        else:
            raise Refused(Code.AUTHENTICATION_FAILED)
        self._check_time(raw.text("timestamp"), now_us)
        if not caller.account.sms:
            raise Refused(Code.SMS_NOT_ENABLED)
        return caller

    async def _by_key(self, user: str, key: str, now_us: int) -> SmsUser:
        """An SMS_USER pair, or an API_USER pair of any region."""
        if not (_NAME.fullmatch(user) and _NAME.fullmatch(key)):
            raise Refused(Code.AUTHENTICATION_FAILED)
        found = await self._callers.sms_user(user)
        known = found.key if found is not None else ""
        if hmac.compare_digest(known.encode(), key.encode()) and found is not None and _is_usable(found):
            return found
        api_user = await self._callers.api_user_any_region(user, key, now_us)
        if api_user is None:
            raise Refused(Code.AUTHENTICATION_FAILED)
        return SmsUser(api_user.account, api_user.id, api_user.name, "")

    async def _by_signature(self, raw: Parameters, signature: str) -> SmsUser:
        user = raw.text("smsUser", "sms_user")
        if not user:
            raise Refused(Code.SMS_USER_EMPTY)
        found = await self._callers.sms_user(user) if _NAME.fullmatch(user) else None
        if found is None or not found.enabled:
            raise Refused(Code.SMS_USER_UNKNOWN)
        if found.account.frozen:
            raise Refused(Code.SMS_ACCOUNT_UNKNOWN)
        if raw.is_json or not sms_signature.is_wellformed(signature):
            raise Refused(Code.SMS_SIGNATURE_INVALID)
        if not sms_signature.matches(signature, found.key, raw.pairs()):
            raise Refused(Code.SMS_SIGNATURE_MISMATCH)
        return found

    def _check_time(self, timestamp: str, now_us: int) -> None:
        """A timestamp, in seconds or milliseconds, is optional."""
        if not timestamp:
            return
        if not _NUMBER.fullmatch(timestamp.strip()):
            raise Refused(Code.SMS_TIMESTAMP_INVALID)
        number = float(timestamp)
        at_us = number * 1000 if number >= MILLISECONDS_FROM else number * SECOND
        if abs(at_us - now_us) > self._tolerance_us:
            raise Refused(Code.SMS_TIMESTAMP_INVALID)


def _clear_credentials(raw: Parameters) -> tuple[str, str]:
    """User and key, each "" when absent. The names of the email API count where there is no smsUser (sms.md §2.1)."""
    sms_user, sms_key = raw.text("smsUser", "sms_user"), raw.text("smsKey", "sms_key")
    if not sms_user:
        for user, key in ((raw.text("apiUser"), raw.text("apiKey")), (raw.text("api_user"), raw.text("api_key"))):
            if user and key:
                return user, key
    return sms_user, sms_key


def _is_usable(user: SmsUser) -> bool:
    return user.enabled and not user.account.frozen
