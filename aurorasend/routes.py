"""Ways out for mail: one smart host, or the MX hosts of the recipient's domain.

Called by delivery. Calls mx and pool, which have the deadlines.
"""

import msgspec

from aurorasend.address import BadAddress, ascii_domain
from aurorasend.delivery import Envelope
from aurorasend.event import domain_of
from aurorasend.mx import Hop, Reach, hops_of_host, next_hops
from aurorasend.outcome import Outcome, bad_address
from aurorasend.pool import Pool
from aurorasend.resolver import Resolver
from aurorasend.smtp_client import Parcel


class SmartHost:
    def __init__(self, pool: Pool, resolver: Resolver, host: str, port: int) -> None:
        self._pool = pool
        self._resolver = resolver
        self._host = host
        self._port = port

    async def send(self, envelope: Envelope) -> Outcome:
        return await _send(self._pool, await hops_of_host(self._host, self._port, self._resolver), envelope)

    async def close(self) -> None:
        await _close(self._pool, self._resolver)


class MxHosts:
    def __init__(self, pool: Pool, resolver: Resolver, reach: Reach) -> None:
        self._pool = pool
        self._resolver = resolver
        self._reach = reach

    async def send(self, envelope: Envelope) -> Outcome:
        try:
            domain = ascii_domain(domain_of(envelope.recipient))
        except BadAddress as problem:
            return bad_address(str(problem))
        hops = await next_hops(domain, self._resolver, self._reach)
        found = await _send(self._pool, hops, envelope)
        return found if isinstance(hops, Outcome) or not found.suppress else msgspec.structs.replace(found, mx=hops[0].host)

    async def close(self) -> None:
        await _close(self._pool, self._resolver)


async def _send(pool: Pool, hops: list[Hop] | Outcome, envelope: Envelope) -> Outcome:
    if isinstance(hops, Outcome):
        return hops
    parcel = Parcel(envelope.mail_from, [envelope.recipient], envelope.raw, envelope.needs_smtputf8, envelope.encrypted)
    return (await pool.send(hops, parcel, urgent=envelope.urgent))[0]


async def _close(pool: Pool, resolver: Resolver) -> None:
    await pool.close()
    await resolver.close()
