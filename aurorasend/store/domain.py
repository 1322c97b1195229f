"""Rows of sending domains. The rules are in aurorasend.domain."""

from typing import Any, NamedTuple

from aurorasend.store.tx import EVER, Statement, Tx

TEST, ORDINARY = 0, 1  # types
DKIM, SPF, MX, DMARC = 1, 2, 4, 16  # bits of `verified`, management.md §5.2
TO_SEND = DKIM | SPF | MX
ALL_RECORDS = TO_SEND | DMARC


def is_usable(verified: int) -> bool:
    """Whether a domain of which these records passed can be sent with."""
    return verified & TO_SEND == TO_SEND


def is_aligned(fixed_from: int, seen: int) -> bool:
    """Whether From is at the domain: it is set so, or DNS was `seen` to have DMARC for it (mail.md §10)."""
    return bool(fixed_from or seen & DMARC)


class Domain(NamedTuple):
    """A sending domain of an account. `type` is 0 test, 1 ordinary; times are UTC microseconds."""

    id: int
    name: str
    type: int
    verified: int
    vouched: int
    selector: str
    public_key: str
    check_due: int
    failures: int
    created: int
    updated: int


Key = tuple[str, str, bytes]  # selector, public key in base64, sealed private key

_COLUMNS = ", ".join(Domain._fields)
_OF = "account_id = $1 AND removed = 0"
_GET = Statement(f"SELECT {_COLUMNS} FROM domain WHERE {_OF} AND name = $2")
_EVERY = Statement(f"SELECT {_COLUMNS} FROM domain WHERE {_OF} ORDER BY created DESC, id DESC")
_COUNT = Statement(f"SELECT count(*) FROM domain WHERE {_OF} AND type = 1")
_NAMESAKE = Statement("SELECT 1 FROM domain WHERE name = $1 LIMIT 1")
_ADD = Statement(
    "INSERT INTO domain (account_id, id, name, selector, public_key, rsa_key, check_due, created, updated) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) "
    "ON CONFLICT (account_id, name, removed) DO NOTHING"
)
_RENAME = Statement(
    "UPDATE domain SET name = $3, selector = $4, public_key = $5, rsa_key = $6, verified = 0, failures = 0, check_due = $7, updated = $8 WHERE account_id = $1 AND id = $2"
)
_SET_KEY = Statement(
    "UPDATE domain SET selector = $3, public_key = $4, rsa_key = $5, verified = $6, vouched = 0, failures = 0, check_due = $7, updated = $8 "
    "WHERE account_id = $1 AND id = $2"
)
_SET_VERIFIED = Statement(
    "UPDATE domain SET verified = $4, failures = $5, check_due = $6, updated = $7 "
    "WHERE account_id = $1 AND id = $2 AND public_key = $3 AND vouched = 0 AND removed = 0"
)
_REMOVE = Statement(
    f"UPDATE domain SET removed = $3, check_due = {EVER}, updated = $3 WHERE account_id = $1 AND id = $2 AND removed = 0"
)
_DUE = Statement(f"SELECT account_id, {_COLUMNS} FROM domain WHERE check_due <= $1 AND removed = 0 ORDER BY check_due LIMIT $2")
_CLAIM = Statement("UPDATE domain SET check_due = $4 WHERE account_id = $1 AND id = $2 AND check_due = $3 AND removed = 0")


async def get(tx: Tx, account_id: int, name: str) -> Domain | None:
    row = await tx.row(_GET, account_id, name)
    return None if row is None else Domain(*row)


async def every(tx: Tx, account_id: int) -> list[Domain]:
    """All of an account, newest first; it has few (41012)."""
    return [Domain(*row) for row in await tx.rows(_EVERY, account_id)]


async def count(tx: Tx, account_id: int) -> int:
    """How many ordinary domains the account has."""
    row = await tx.row(_COUNT, account_id)
    return 0 if row is None else int(row[0])


async def is_known(tx: Tx, name: str) -> bool:
    """Whether any account has, or had, a domain of that name: its DKIM selector may be in use."""
    return await tx.row(_NAMESAKE, name) is not None


async def add(tx: Tx, account_id: int, name: str, key: Key, times: tuple[int, int]) -> bool:
    """`times` are now and the first check. False when the account has the domain."""
    domain_id = await tx.next_id("domain")
    return await tx.run(_ADD, account_id, domain_id, name, *key, times[1], times[0]) == 1


async def rename(tx: Tx, account_id: int, domain_id: int, name: str, key: Key, times: tuple[int, int]) -> None:
    """`times` as in `add`; nothing is verified then."""
    await tx.run(_RENAME, account_id, domain_id, name, *key, times[1], times[0])


async def set_key(tx: Tx, account_id: int, domain_id: int, key: Key, *changed: Any) -> None:
    """`changed` is verified, next check, now."""
    await tx.run(_SET_KEY, account_id, domain_id, *key, *changed)


async def set_verified(tx: Tx, account_id: int, checked: Domain, *changed: Any) -> int:
    """`changed` is verified, failures, next check, now. Nothing changes when the domain has another key than `checked`, as it
    has with another name too."""
    return await tx.run(_SET_VERIFIED, account_id, checked.id, checked.public_key, *changed)


async def remove(tx: Tx, account_id: int, domain_id: int, now_us: int) -> int:
    return await tx.run(_REMOVE, account_id, domain_id, now_us)


async def due(tx: Tx, now_us: int, limit: int) -> list[tuple[int, Domain]]:
    """Those to be checked by now, of all accounts, with their accounts' ids."""
    return [(row[0], Domain(*row[1:])) for row in await tx.rows(_DUE, now_us, limit)]


async def claim(tx: Tx, account_id: int, found: Domain, until_us: int) -> bool:
    """Put the next check off to `until_us`; False when another node did so first."""
    return await tx.run(_CLAIM, account_id, found.id, found.check_due, until_us) == 1
