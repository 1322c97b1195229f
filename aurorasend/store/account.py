"""Rows of accounts, API users, SMS users, domains and their limits. The rules are in aurorasend.account."""

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, select

from aurorasend.store import schema
from aurorasend.store.schema import account as accounts
from aurorasend.store.schema import api_user as api_users
from aurorasend.store.schema import domain as domains
from aurorasend.store.schema import login as logins
from aurorasend.store.schema import sms_user as sms_users
from aurorasend.store.tx import Row, Statement, Tx, compiled

_ACCOUNT = (
    accounts.c.id,
    accounts.c.name,
    accounts.c.region,
    accounts.c.frozen,
    accounts.c.paying,
    accounts.c.calendar,
    accounts.c.sms,
    accounts.c.alternative,
    accounts.c.bounce_interception,
    accounts.c.require_tls,
    accounts.c.ad_tag,
    accounts.c.send_domain,
    accounts.c.ip_filter,
    accounts.c.check_balance,
    accounts.c.daily_quota,
    accounts.c.send_rate,
    accounts.c.query_rate,
    accounts.c.template_limit,
    accounts.c.domain_limit,
    accounts.c.api_user_limit,
    accounts.c.tracking_limit,
    accounts.c.attachment_limit,
    accounts.c.manual_audit,
)
ACCOUNT_COLUMNS = len(_ACCOUNT)  # leading columns of every row below that names an account

DOMAIN_COLUMNS = ("id", "name", "type", "verified", "vouched", "fixed_from", "mail_from", "updated")

_API_USER = compiled(
    select(
        *_ACCOUNT,
        *(getattr(api_users.c, name) for name in ("id", "sender_id", "email_type", "is_test", "open", "click", "unsubscribe", "content_match", "permission")),
        *(getattr(api_users.c, name) for name in ("quiet_begin", "quiet_minutes")),
        *(getattr(api_users.c, name) for name in ("key_hash", "old_key_hash", "old_key_until")),
        *(getattr(domains.c, name) for name in DOMAIN_COLUMNS),
    )
    .select_from(logins)
    .join(api_users, (api_users.c.account_id == logins.c.account_id) & (api_users.c.id == logins.c.ref))
    .join(accounts, accounts.c.id == logins.c.account_id)
    .join(domains, (domains.c.account_id == api_users.c.account_id) & (domains.c.id == api_users.c.domain_id))
    .where((logins.c.kind == bindparam("kind")) & (logins.c.name == bindparam("name")) & (api_users.c.enabled != bindparam("off"))),
    "kind",
    "name",
    "off",
)
_SMS_USER = compiled(
    select(*_ACCOUNT, sms_users.c.id, sms_users.c.key, sms_users.c.enabled)
    .select_from(logins)
    .join(sms_users, (sms_users.c.account_id == logins.c.account_id) & (sms_users.c.id == logins.c.ref))
    .join(accounts, accounts.c.id == logins.c.account_id)
    .where((logins.c.kind == bindparam("kind")) & (logins.c.name == bindparam("name"))),
    "kind",
    "name",
)
_BY_NAME = compiled(select(*_ACCOUNT).where(accounts.c.name == bindparam("account_name")), "account_name")
_ALL = compiled(select(*_ACCOUNT).order_by(accounts.c.id))
_IP_ENTRIES = Statement("SELECT entry FROM ip_entry WHERE account_id = $1 ORDER BY id")
_NO_IP_ENTRIES = Statement("DELETE FROM ip_entry WHERE account_id = $1")
_LOCK = Statement(sqlite="SELECT 1 FROM account WHERE id = $1", postgres="SELECT 1 FROM account WHERE id = $1 FOR NO KEY UPDATE")
_DOMAIN = Statement(f"SELECT {', '.join(DOMAIN_COLUMNS)} FROM domain WHERE account_id = $1 AND name = $2 AND removed = 0")
_DOMAINS = Statement("SELECT id, name, (verified & 7) = 7, selector, type, fixed_from, mail_from FROM domain WHERE account_id = $1 AND removed = 0 ORDER BY id")
_FIX_MAIL_FROM = Statement("UPDATE domain SET mail_from = $3 WHERE account_id = $1 AND name = $2 AND removed = 0")
_FIX_FROM = Statement("UPDATE domain SET fixed_from = $3 WHERE account_id = $1 AND name = $2 AND removed = 0")
_DOMAIN_KEYS = Statement("SELECT name, selector, rsa_key, ed25519_key FROM domain WHERE account_id = $1 AND id = $2")
_REGISTERED = Statement("SELECT address FROM test_recipient WHERE account_id = $1 AND address IN texts($2)")
_TEST_RECIPIENTS = Statement("SELECT address FROM test_recipient WHERE account_id = $1 ORDER BY address")
_NO_TEST_RECIPIENTS = Statement("DELETE FROM test_recipient WHERE account_id = $1")
_SPEND = Statement("UPDATE account SET balance = balance - $2 WHERE id = $1 AND balance >= $2")
_REFUND = Statement("UPDATE account SET balance = balance + $2 WHERE id = $1 AND check_balance = 1")
_ADD_QUOTA = Statement(
    "INSERT INTO quota (account_id, day, used) VALUES ($1, $2, $3) ON CONFLICT (account_id, day) "
    "DO UPDATE SET used = quota.used + $3 RETURNING used"
)
_COUNT = Statement(
    "INSERT INTO quota (account_id, day, used) "
    "SELECT CAST($1 AS bigint), CAST($2 AS text), CAST($3 AS bigint) WHERE CAST($3 AS bigint) <= CAST($4 AS bigint) "
    "ON CONFLICT (account_id, day) DO UPDATE SET used = quota.used + $3 WHERE quota.used + $3 <= $4 RETURNING 1"
)
_SUB_QUOTA = Statement("UPDATE quota SET used = used - $3 WHERE account_id = $1 AND day = $2")
_USED_QUOTA = Statement("SELECT used FROM quota WHERE account_id = $1 AND day = $2")
_PROFILE = Statement("SELECT company, contact, contact_email, contact_phone, balance, created FROM account WHERE id = $1")
_OLD_PORTIONS = Statement("DELETE FROM allowance WHERE account_id = $1 AND scope = $2 AND at <= $3")
_TAKEN = Statement("SELECT coalesce(sum(portion), 0) FROM allowance WHERE account_id = $1 AND scope = $2")
_TAKE = Statement(
    "INSERT INTO allowance (account_id, scope, at, node, portion) VALUES ($1, $2, $3, $4, $5) "
    "ON CONFLICT (account_id, scope, at, node) DO UPDATE SET portion = allowance.portion + $5"
)


async def api_user(tx: Tx, name: str) -> Row | None:
    return await tx.row(_API_USER, "api", name, 0)


async def sms_user(tx: Tx, name: str) -> Row | None:
    return await tx.row(_SMS_USER, "sms", name)


async def account(tx: Tx, name: str) -> Row | None:
    return await tx.row(_BY_NAME, name)


async def every(tx: Tx) -> list[Row]:
    return await tx.rows(_ALL)


async def options(tx: Tx, account_id: int, columns: Sequence[str]) -> Row | None:
    """What an account's row has in `columns`."""
    return await tx.row(Statement(f"SELECT {', '.join(columns)} FROM account WHERE id = $1"), account_id)


async def set_options(tx: Tx, account_id: int, values: Mapping[str, int | str | None]) -> int:
    """How many accounts were changed. The keys of `values` are columns of the table, not text from outside."""
    assignments = ", ".join(f"{column} = ${number}" for number, column in enumerate(values, 2))
    return await tx.run(Statement(f"UPDATE account SET {assignments} WHERE id = $1"), account_id, *values.values())


async def ip_entries(tx: Tx, account_id: int) -> list[str]:
    return [row[0] for row in await tx.rows(_IP_ENTRIES, account_id)]


async def set_ip_entries(tx: Tx, account_id: int, entries: Sequence[str], now_us: int) -> None:
    """Instead of those that were there."""
    await tx.run(_NO_IP_ENTRIES, account_id)
    rows = [(account_id, number, entry, now_us) for number, entry in enumerate(entries, 1)]
    await tx.insert(schema.ip_entry, ("account_id", "id", "entry", "created"), rows)


async def lock(tx: Tx, account_id: int) -> None:
    """Until the transaction ends nobody else holds this account's lock (SQLite: one writer anyway)."""
    await tx.row(_LOCK, account_id)


async def domain(tx: Tx, account_id: int, name: str) -> Row | None:
    """DOMAIN_COLUMNS"""
    return await tx.row(_DOMAIN, account_id, name)


async def domains_of(tx: Tx, account_id: int) -> list[Row]:
    """(id, name, whether it can be sent with, selector, type, fixed From)"""
    return await tx.rows(_DOMAINS, account_id)


async def fix_from(tx: Tx, account_id: int, name: str, fixed: bool) -> bool:
    """False when there is no such domain."""
    return await tx.run(_FIX_FROM, account_id, name, int(fixed)) == 1


async def fix_mail_from(tx: Tx, account_id: int, name: str, local: str) -> bool:
    """`local` "" lets it be random. False when there is no such domain."""
    return await tx.run(_FIX_MAIL_FROM, account_id, name, local) == 1


async def domain_keys(tx: Tx, account_id: int, domain_id: int) -> Row | None:
    """(name, selector, sealed RSA key, sealed Ed25519 key or None)"""
    return await tx.row(_DOMAIN_KEYS, account_id, domain_id)


async def registered(tx: Tx, account_id: int, addresses: list[str]) -> set[str]:
    """Which of the normalised `addresses` are test recipients of the account."""
    return {row[0] for row in await tx.rows(_REGISTERED, account_id, tx.many(addresses))}


async def test_recipients(tx: Tx, account_id: int) -> list[str]:
    return [row[0] for row in await tx.rows(_TEST_RECIPIENTS, account_id)]


async def set_test_recipients(tx: Tx, account_id: int, addresses: Sequence[str]) -> None:
    """The normalised `addresses` instead of those that were there."""
    await tx.run(_NO_TEST_RECIPIENTS, account_id)
    await tx.insert(schema.test_recipient, ("account_id", "address"), [(account_id, address) for address in addresses])


async def spend(tx: Tx, account_id: int, mails: int) -> bool:
    """Pay for `mails`; False, and nothing paid, when the balance is too low."""
    return await tx.run(_SPEND, account_id, mails) == 1


async def refund(tx: Tx, account_id: int, mails: int) -> None:
    """Give back what `mails` cost, where they are paid for."""
    await tx.run(_REFUND, account_id, mails)


async def count(tx: Tx, account_id: int, day: str, recipients: int, limit: int, otherwise: Exception) -> None:
    """Count `recipients` of the day; raise `otherwise` when they overrun `limit`."""
    await tx.must(_COUNT, account_id, day, recipients, limit, rows=1, otherwise=otherwise)


async def use_quota(tx: Tx, account_id: int, day: str, recipients: int, limit: int) -> bool:
    """Count `recipients` of the day; False, and nothing counted, when they would overrun `limit`."""
    row = await tx.row(_ADD_QUOTA, account_id, day, recipients)
    if row is not None and row[0] <= limit:
        return True
    await tx.run(_SUB_QUOTA, account_id, day, recipients)
    return False


async def take_portion(tx: Tx, account_id: int, scope: str, at: tuple[int, int], wanted: tuple[int, int], node: int) -> int:
    """Of `wanted` = (portion, limit) in the window `at` = (now, its begin): how much `node` may use, 0 when all is taken."""
    (now_us, begin_us), (portion, limit) = at, wanted
    await lock(tx, account_id)
    await tx.run(_OLD_PORTIONS, account_id, scope, begin_us)
    row = await tx.row(_TAKEN, account_id, scope)
    granted = max(0, min(portion, limit - int(row[0]) if row else 0))
    if granted:
        await tx.run(_TAKE, account_id, scope, now_us, node, granted)
    return granted


async def used_quota(tx: Tx, account_id: int, day: str) -> int:
    """Recipients that were accepted on that day."""
    row = await tx.row(_USED_QUOTA, account_id, day)
    return 0 if row is None else int(row[0])


async def profile(tx: Tx, account_id: int) -> Row | None:
    """(company, contact, contact's email, contact's phone, mails paid for, created)"""
    return await tx.row(_PROFILE, account_id)
