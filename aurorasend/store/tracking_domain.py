"""Rows of tracking domains. The rules are in aurorasend.tracking_domain."""

from typing import NamedTuple

from aurorasend.store.tx import Statement, Tx


class TrackingDomain(NamedTuple):
    """A tracking domain of an account. Times are UTC microseconds; those of the certificate are 0 without one."""

    id: int
    host: str
    verified: int
    has_certificate: int
    valid_from: int
    valid_until: int
    created: int
    updated: int


class Certificate(NamedTuple):
    """PEM chain, sealed key, first and last moment of its validity."""

    chain: str
    sealed_key: bytes | None
    valid_from: int
    valid_until: int


NO_CERTIFICATE = Certificate("", None, 0, 0)

_COLUMNS = "id, host, verified, CASE WHEN certificate = '' THEN 0 ELSE 1 END, valid_from, valid_until, created, updated"
_GET = Statement(f"SELECT {_COLUMNS} FROM tracking_domain WHERE account_id = $1 AND id = $2")
_OF_HOST = Statement(f"SELECT {_COLUMNS} FROM tracking_domain WHERE account_id = $1 AND host = $2")
_EVERY = Statement(f"SELECT {_COLUMNS} FROM tracking_domain WHERE account_id = $1 ORDER BY created DESC, id DESC")
_COUNT = Statement("SELECT count(*) FROM tracking_domain WHERE account_id = $1")
_ADD = Statement(
    "INSERT INTO tracking_domain (account_id, id, host, certificate, certificate_key, valid_from, valid_until, created, updated) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) ON CONFLICT (account_id, host) DO NOTHING"
)
_CHANGE = Statement(
    "UPDATE tracking_domain SET host = $3, verified = $4, certificate = $5, certificate_key = $6, valid_from = $7, valid_until = $8, updated = $9 "
    "WHERE account_id = $1 AND id = $2"
)
_SET_VERIFIED = Statement(
    "UPDATE tracking_domain SET verified = $4, updated = $5 WHERE account_id = $1 AND id = $2 AND host = $3 AND verified <> $4"
)
_TOUCH = Statement("UPDATE tracking_domain SET updated = $3 WHERE account_id = $1 AND id = $2")
_DELETE = Statement("DELETE FROM tracking_domain WHERE account_id = $1 AND id = $2")
_UNBIND = Statement(
    "UPDATE api_user SET tracking_domain_id = 0, open = open * $3, click = click * $3, updated = $4 WHERE account_id = $1 AND tracking_domain_id = $2"
)


async def get(tx: Tx, account_id: int, domain_id: int) -> TrackingDomain | None:
    row = await tx.row(_GET, account_id, domain_id)
    return None if row is None else TrackingDomain(*row)


async def of_host(tx: Tx, account_id: int, host: str) -> TrackingDomain | None:
    row = await tx.row(_OF_HOST, account_id, host)
    return None if row is None else TrackingDomain(*row)


async def every(tx: Tx, account_id: int) -> list[TrackingDomain]:
    """All of an account, newest first; it has few (41012)."""
    return [TrackingDomain(*row) for row in await tx.rows(_EVERY, account_id)]


async def count(tx: Tx, account_id: int) -> int:
    row = await tx.row(_COUNT, account_id)
    return 0 if row is None else int(row[0])


async def add(tx: Tx, account_id: int, host: str, certificate: Certificate, now_us: int) -> int | None:
    """The new one's id, None when the account has it."""
    domain_id = await tx.next_id("tracking_domain")
    return domain_id if await tx.run(_ADD, account_id, domain_id, host, *certificate, now_us) else None


async def rename(tx: Tx, account_id: int, domain_id: int, host: str, certificate: Certificate, now_us: int) -> None:
    """Its CNAME is not verified then."""
    await tx.run(_CHANGE, account_id, domain_id, host, 0, *certificate, now_us)


async def set_certificate(tx: Tx, account_id: int, found: TrackingDomain, certificate: Certificate, now_us: int) -> None:
    await tx.run(_CHANGE, account_id, found.id, found.host, found.verified, *certificate, now_us)


async def touch(tx: Tx, account_id: int, domain_id: int, now_us: int) -> None:
    await tx.run(_TOUCH, account_id, domain_id, now_us)


async def set_verified(tx: Tx, account_id: int, found: TrackingDomain, verified: bool, now_us: int) -> None:
    """Nothing changes when it has another host since `found` was read."""
    await tx.run(_SET_VERIFIED, account_id, found.id, found.host, int(verified), now_us)


async def delete(tx: Tx, account_id: int, domain_id: int) -> int:
    return await tx.run(_DELETE, account_id, domain_id)


async def unbind(tx: Tx, account_id: int, domain_id: int, still_tracked: bool, now_us: int) -> None:
    """API users of it use the system's own from now on, and track nothing there unless `still_tracked`."""
    await tx.run(_UNBIND, account_id, domain_id, int(still_tracked), now_us)
