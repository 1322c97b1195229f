"""Rows that bootstrap makes. The rules are in aurorasend.bootstrap."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from aurorasend.store import schema, sender, sms_template
from aurorasend.store.domain import ALL_RECORDS, ORDINARY, TEST
from aurorasend.store.tx import EVER, Statement, Tx

_FIND = Statement("SELECT id FROM account WHERE name = $1")


@dataclass(frozen=True)
class NewApiUser:
    name: str
    key_hash: bytes
    email_type: int
    is_test: bool
    content_match: bool


async def add_account(tx: Tx, name: str, region: str, app_key: bytes, settings: Mapping[str, int]) -> int | None:
    """The new account's id, or None when there is one of this name."""
    if await tx.row(_FIND, name):
        return None
    account_id = await tx.next_id("account")
    columns = ("id", "name", "region", "app_key", "created", *settings)
    await tx.insert(schema.account, columns, [(account_id, name, region, app_key, _now_us(), *settings.values())])
    return account_id


async def add_domain(tx: Tx, account_id: int, name: str, selector: str, keys: tuple[str, bytes]) -> int:
    """A domain that the operator vouches for: it can be sent with, whatever DNS says. `keys` are the public
    one as DNS shows it and the sealed private one."""
    return await _add_domain(tx, account_id, (name, ORDINARY, selector, *keys))


async def add_test_domain(tx: Tx, account_id: int, name: str, selector: str, keys: tuple[str, bytes]) -> int:
    """A domain of the operator's own, for the first mails of an account (management.md §5.2); else as `add_domain`."""
    return await _add_domain(tx, account_id, (name, TEST, selector, *keys))


async def _add_domain(tx: Tx, account_id: int, given: tuple[str, int, str, str, bytes]) -> int:
    """`given` is name, type, selector, and both keys."""
    domain_id = await tx.next_id("domain")
    columns = (
        "account_id",
        "id",
        "name",
        "type",
        "selector",
        "public_key",
        "rsa_key",
        "verified",
        "vouched",
        "check_due",
        "created",
        "updated",
    )
    now_us = _now_us()
    row = (account_id, domain_id, *given, ALL_RECORDS, 1, EVER, now_us, now_us)
    await tx.insert(schema.domain, columns, [row])
    return domain_id


async def add_tracking_domain(tx: Tx, account_id: int, host: str) -> None:
    domain_id, now_us = await tx.next_id("tracking_domain"), _now_us()
    columns = ("account_id", "id", "host", "verified", "created", "updated")
    await tx.insert(schema.tracking_domain, columns, [(account_id, domain_id, host, 1, now_us, now_us)])
    await _add_login(tx, "tracking", host, account_id, domain_id)


async def add_api_user(tx: Tx, account_id: int, domain_id: int, user: NewApiUser) -> None:
    user_id, now_us = await tx.next_id("api_user"), _now_us()
    columns = (
        "account_id",
        "id",
        "name",
        "sender_id",
        "email_type",
        "is_test",
        "domain_id",
        "key_hash",
        "content_match",
        "created",
        "updated",
    )
    row = (account_id, user_id, user.name, await sender.get_or_add(tx, account_id, user.name), user.email_type, int(user.is_test))
    await tx.insert(schema.api_user, columns, [(*row, domain_id, user.key_hash, int(user.content_match), now_us, now_us)])
    await _add_login(tx, "api", user.name, account_id, user_id)


async def add_sms_user(tx: Tx, account_id: int, name: str, key: bytes) -> None:
    user_id, now_us = await tx.next_id("sms_user"), _now_us()
    columns = ("account_id", "id", "name", "key", "created", "updated")
    await tx.insert(schema.sms_user, columns, [(account_id, user_id, name, key, now_us, now_us)])
    await _add_login(tx, "sms", name, account_id, user_id)


async def add_sms_template(tx: Tx, account_id: int, template_id: int, name: str, text: str) -> None:
    """An approved verification code."""
    columns = ("account_id", "id", "name", "folded", "text", "sms_type", "stat", "created", "updated")
    now_us = _now_us()
    row = (account_id, template_id, name, name.casefold(), text, 0, 1, now_us, now_us)
    await sms_template.pass_over(tx, template_id)
    await tx.insert(schema.sms_template, columns, [row])


async def _add_login(tx: Tx, kind: str, name: str, account_id: int, ref: int) -> None:
    await tx.insert(schema.login, ("kind", "name", "account_id", "ref"), [(kind, name, account_id, ref)])


def _now_us() -> int:
    return time.time_ns() // 1000
