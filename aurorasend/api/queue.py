"""queue/status (data.md §15.1). Called by endpoint. Calls statistics."""

from dataclasses import dataclass

from aurorasend import statistics
from aurorasend.endpoint import ApiCall, Info, endpoint


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """No parameters besides the credentials."""


async def read_rows(call: ApiCall) -> list[Info]:
    account_id, now_us, zone_hours = call.caller.account.id, call.node.clock.now_us(), call.node.settings.api.zone_hours
    found = await call.node.store.read(lambda tx: statistics.waiting(tx, account_id, now_us, zone_hours))
    return [
        {"apiUser": name, "domain": domain, "isStop": False, "reason": "", "timeout": None, "unRequestNum": number}
        for name, domain, number in found
    ]


@endpoint("queue/status")
async def status(call: ApiCall, p: Nothing) -> Info:
    """How many mails wait, by API_USER and recipient domain."""
    shown = await read_rows(call)
    return {"count": len(shown), "dataList": shown}


ENDPOINTS = (status,)
