"""What an operator asks and changes from the command line, beside a server that may be running.

Called by cli, each function in a process of its own. Calls the store, and the modules whose rules it shows.
"""

import asyncio
import dataclasses
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from aurorasend import list_send, queue
from aurorasend.account import MAILS_MOST, OPTIONS, is_private, read_entry
from aurorasend.address import ascii_domain, is_address, normalise
from aurorasend.bootstrap import random_name
from aurorasend.clock import SystemClock, utc
from aurorasend.codes import Refused
from aurorasend.config import Settings
from aurorasend.dkim import PrivateKey, dns_record, dump_key, make_rsa_key, public_text, record_name
from aurorasend.explain import explain
from aurorasend.quiet import NEVER, Quiet
from aurorasend.quiet import read as read_quiet
from aurorasend.retention import first_source_day
from aurorasend.secret import Vault, hash_key, new_key, open_vault
from aurorasend.store import account as rows
from aurorasend.store import api_user as api_users
from aurorasend.store import bootstrap as new_rows
from aurorasend.store import open_store
from aurorasend.store import queue as queue_rows
from aurorasend.store import source as sources
from aurorasend.store import suppression as suppressions
from aurorasend.store import template as template_rows
from aurorasend.store.domain import TEST
from aurorasend.store.migrate import migrate
from aurorasend.store.tx import EVER, Row, Store, Tx
from aurorasend.template import Stat, Template, judge

T = TypeVar("T")

LANES = 10_000  # shown at most
RELEASED_AT_ONCE = 1000  # entries in one transaction
EMAIL_TYPES = {"trigger": 0, "batch": 1}  # conventions §3.2
TEST_USER = "test"  # of the type trigger; each new account has one, management.md §7.1
SELECTOR = "mail"

_is_domain = re.compile(r"(?=.{4,250}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?").fullmatch
_is_account = re.compile(r"[a-zA-Z0-9_-]{1,32}").fullmatch


class Impossible(Exception):
    """What was asked for cannot be done; the text is one sentence for the operator."""


def bring_up_to_date(settings: Settings) -> None:
    asyncio.run(migrate(settings.store.url.url or "sqlite", settings.data))


def life_of(settings: Settings, text: str) -> list[str]:
    """Lines about the message with the id `text`. Raises explain.UnknownId."""
    return _with_store(settings, lambda store: explain(store, settings, text))


def queue_depth(settings: Settings) -> list[dict[str, object]]:
    found = _with_store(settings, lambda store: store.read(lambda tx: queue_rows.depth(tx, LANES)))
    return [
        {
            "lane": lane,
            "waiting": count,
            "underWay": leased,
            "parked": parked,
            "earliestDue": utc(due).isoformat() if due < EVER else None,
        }
        for lane, count, due, leased, parked in found
    ]


def release_parked(settings: Settings) -> int:
    """Have what a fault of ours kept from being tried, or from being recorded after it was tried, tried again."""

    async def release(store: Store) -> int:
        now_us, total, last = SystemClock().now_us(), 0, (0, 0)
        # In their order, so that each is released once, though it may be parked again meanwhile.
        while some := await store.write(lambda tx, after=last: queue.release_parked(tx, after, now_us, RELEASED_AT_ONCE)):  # type: ignore[misc]
            total, last = total + len(some), some[-1]
        return total

    return _with_store(settings, release)


def list_accounts(settings: Settings) -> list[dict[str, object]]:
    found = _with_store(settings, lambda store: store.read(rows.every))
    return [{"id": row[0], "name": row[1], "region": row[2]} for row in found]


def account_options(settings: Settings, account_id: int) -> dict[str, object]:
    """The switches and limits of an account, and its lists: whose mail its API users' unsubscriptions end besides their own,
    where from it may send, whom its test user may mail, and when mail of its API users waits."""

    async def unit(tx: Tx) -> tuple[Row | None, dict[str, object]]:
        lists: dict[str, object] = {
            "unsubscribe_covers": await suppressions.cover_names(tx, account_id),
            "allow_from": await rows.ip_entries(tx, account_id),
            "test_recipients": await rows.test_recipients(tx, account_id),
            "quiet_hours": {
                name: Quiet(*when).shown(settings.api.zone_hours) for name, *when in await api_users.quiet(tx, account_id)
            },
        }
        return await rows.options(tx, account_id, [one.name for one in OPTIONS]), lists

    found, lists = _with_store(settings, lambda store: store.read(unit))
    if found is None:
        raise _no_account(account_id)
    shown = {one.name: one.shown(value) for one, value in zip(OPTIONS, found, strict=True)}
    return {"id": account_id, **shown, **lists}


def set_account_options(settings: Settings, account_id: int, assignments: Sequence[str]) -> None:
    """Each of `assignments` is NAME=VALUE; all are done or none. A running server follows within account.KEPT_US."""
    values = dict([_option(assignment) for assignment in assignments])
    if not _with_store(settings, lambda store: store.write(lambda tx: rows.set_options(tx, account_id, values))):
        raise _no_account(account_id)


def add_balance(settings: Settings, account_id: int, mails: int) -> int:
    """What an account has paid for grows by `mails`, whatever is sent meanwhile; returns the new balance."""

    async def unit(tx: Tx) -> int:
        await _lock(tx, account_id)
        await rows.spend(tx, account_id, -mails)
        (balance,) = await rows.options(tx, account_id, ["balance"]) or (0,)
        if balance > MAILS_MOST:
            raise Impossible(f"The balance would be {balance}, and can be {MAILS_MOST} at most.")
        return int(balance)

    return _with_store(settings, lambda store: store.write(unit))


def set_unsubscribe_covers(settings: Settings, account_id: int, api_user: str, others: Sequence[str]) -> None:
    """Whose mail an unsubscription from `api_user` ends besides its own, where the account's unsubscribe_scope is 3."""

    async def unit(tx: Tx) -> None:
        await _lock(tx, account_id)
        ids = {}
        for name in (api_user, *others):
            found = await api_users.get(tx, account_id, name)
            if found is None:
                raise Impossible(f"The account {account_id} has no API user {name}.")
            ids[name] = found.id
        own = ids.pop(api_user)
        await suppressions.set_covers(tx, account_id, own, list(ids.values()))

    _with_store(settings, lambda store: store.write(unit))


def set_allowed_sources(settings: Settings, account_id: int, entries: Sequence[str]) -> None:
    """Where an account's mail may be sent from while its ip_filter is on (management.md §11.1), instead of what it was."""
    kept = list(dict.fromkeys(_source(settings, entry) for entry in entries))
    now_us = SystemClock().now_us()

    async def unit(tx: Tx) -> None:
        await _lock(tx, account_id)
        await rows.set_ip_entries(tx, account_id, kept, now_us)

    _with_store(settings, lambda store: store.write(unit))


def set_quiet_hours(settings: Settings, account_id: int, api_user: str, text: str) -> None:
    """When mail of an API user waits each day (mail.md §13): "23:00-06:00" in the API's zone, or "off". What waits already
    is due at the end of the hours that held when it came to wait."""
    try:
        quiet = NEVER if text == "off" else read_quiet(text, settings.api.zone_hours)
    except ValueError:
        raise Impossible(f'{text!r} is not a daily time such as "23:00-06:00", or "off".') from None

    async def unit(tx: Tx) -> None:
        await _lock(tx, account_id)
        if not await api_users.set_quiet(tx, account_id, api_user, quiet.begin, quiet.minutes):
            raise Impossible(f"The account {account_id} has no API user {api_user}.")

    _with_store(settings, lambda store: store.write(unit))


def set_test_recipients(settings: Settings, account_id: int, addresses: Sequence[str]) -> None:
    """The only addresses that an account's test user may mail (conventions.md §3.2), instead of those that it might."""
    for address in addresses:
        if not is_address(address):
            raise Impossible(f"{address!r} is not an address.")

    async def unit(tx: Tx) -> None:
        await _lock(tx, account_id)
        await rows.set_test_recipients(tx, account_id, sorted(set(map(normalise, addresses))))

    _with_store(settings, lambda store: store.write(unit))


def account_sources(settings: Settings, account_id: int) -> list[dict[str, object]]:
    """Where the account's mail was sent from in the last 30 days (conventions.md §3.4), the latest first."""
    first_day = first_source_day(SystemClock().now_us())

    async def unit(tx: Tx) -> list[Row]:
        if await rows.options(tx, account_id, ["id"]) is None:
            raise _no_account(account_id)
        return await sources.of_account(tx, account_id, first_day)

    found = _with_store(settings, lambda store: store.read(unit))
    return [
        {"address": address or None, "lastRequest": utc(at).isoformat(), "refused": int(refused)}
        for address, at, refused in found
    ]


def list_domains(settings: Settings, account_id: int) -> list[dict[str, object]]:
    found = _with_store(settings, lambda store: store.read(lambda tx: rows.domains_of(tx, account_id)))
    return [
        {"id": id_, "name": name, "verified": bool(verified), "test": type_ == TEST, "fixedFrom": bool(fixed), "mailFrom": local}
        for id_, name, verified, _, type_, fixed, local in found
    ]


def add_account(settings: Settings, name: str, region: str, domain: str) -> dict[str, Any]:
    """A new account with a sending domain and an API user of each type, a test domain and a test user of that, and an SMS
    user; with their keys in clear."""
    if not _is_account(name):
        raise Impossible("An account's name has 1 to 32 letters, digits, _ or -.")
    domain, key, vault = _domain_name(domain), make_rsa_key(), open_vault(settings.data / "master.key")
    test_domain, test_key = random_name(settings.domain.platform), make_rsa_key()
    mark = secrets.token_hex(3)  # names of users are unique in the whole store
    start = name.replace("-", "_")[:17]  # what leaves room for the rest in the 32 characters of an API user's name
    users = {kind: {"apiUser": f"{start}_{kind}_{mark}", "apiKey": new_key()} for kind in (*EMAIL_TYPES, TEST_USER)}
    sms = {"smsUser": f"{name}_sms_{mark}", "smsKey": new_key()}
    app_key = secrets.token_hex(16)

    async def unit(tx: Tx) -> int:
        account_id = await new_rows.add_account(tx, name, region, vault.seal(app_key.encode(), "app key"), {})
        if account_id is None:
            raise Impossible(f"There is an account {name} already.")
        domain_id = await new_rows.add_domain(tx, account_id, domain, SELECTOR, _kept(vault, key))
        test_domain_id = await new_rows.add_test_domain(tx, account_id, test_domain, SELECTOR, _kept(vault, test_key))
        for kind, user in users.items():
            is_test = kind == TEST_USER
            made = new_rows.NewApiUser(user["apiUser"], hash_key(user["apiKey"]), EMAIL_TYPES.get(kind, 0), is_test, False)
            await new_rows.add_api_user(tx, account_id, test_domain_id if is_test else domain_id, made)
        await new_rows.add_sms_user(tx, account_id, sms["smsUser"], vault.seal(sms["smsKey"].encode(), "sms"))
        return account_id

    account_id = _with_store(settings, lambda store: store.write(unit))
    shown = {"id": account_id, "name": name, "region": region, "appKey": app_key, **users, "sms": sms}
    return shown | {"domain": _records(domain, key), "testDomain": _records(test_domain, test_key)}


def add_domain(settings: Settings, account_id: int, name: str) -> dict[str, str]:
    """A sending domain that the operator vouches for, with a new DKIM key; returns the DNS record for it."""
    name, key, vault = _domain_name(name), make_rsa_key(), open_vault(settings.data / "master.key")

    async def unit(tx: Tx) -> None:
        if account_id not in (row[0] for row in await rows.every(tx)):
            raise _no_account(account_id)
        if await rows.domain(tx, account_id, name):
            raise Impossible(f"The account has the domain {name} already.")
        await new_rows.add_domain(tx, account_id, name, SELECTOR, _kept(vault, key))

    _with_store(settings, lambda store: store.write(unit))
    return _records(name, key)


def fix_from(settings: Settings, account_id: int, name: str, *, fixed: bool) -> None:
    """Whether From of all mail from a domain is put at it (mail.md §10), or only where DNS has DMARC."""
    name = _domain_name(name)
    if not _with_store(settings, lambda store: store.write(lambda tx: rows.fix_from(tx, account_id, name, fixed))):
        raise Impossible(f"The account {account_id} has no domain {name}.")


def fix_mail_from(settings: Settings, account_id: int, name: str, local: str) -> None:
    """The local part of the envelope sender of all mail from a domain (mail.md §10); "" for a random one for each mail, which
    says, signed, whose mail it is."""
    name = _domain_name(name)
    if local and not (local.isascii() and is_address(f"{local}@{name}")):
        raise Impossible(f"{local!r} cannot stand before the @ of an address.")
    if not _with_store(settings, lambda store: store.write(lambda tx: rows.fix_mail_from(tx, account_id, name, local))):
        raise Impossible(f"The account {account_id} has no domain {name}.")


def waiting_templates(settings: Settings) -> list[dict[str, object]]:
    """The email templates of all accounts that wait for audit."""
    found = _with_store(settings, lambda store: store.read(lambda tx: template_rows.every_of_stat(tx, Stat.PENDING)))
    return [
        {"account": account_id, "invokeName": each.invoke_name, "name": each.name, "templateType": each.type}
        for account_id, each in found
    ]


def template_of(settings: Settings, account_id: int, invoke_name: str) -> dict[str, object]:
    """All that an email template holds, to decide on it."""
    row = _with_store(settings, lambda store: store.read(lambda tx: template_rows.find(tx, account_id, invoke_name)))
    if row is None:
        raise Impossible(f"The account {account_id} has no template {invoke_name}.")
    found = Template(*row)
    return dataclasses.asdict(found) | {"stat": Stat(found.stat).name.lower()}


def judge_template(settings: Settings, account_id: int, invoke_name: str, *, approve: bool) -> None:
    """End the audit of an email template that waits for it."""
    verdict, now_us = Stat.APPROVED if approve else Stat.REJECTED, SystemClock().now_us()
    try:
        before = _with_store(settings, lambda store: store.write(lambda tx: judge(tx, account_id, invoke_name, verdict, now_us)))
    except Refused:
        raise Impossible(f"The account {account_id} has no template {invoke_name}.") from None
    if before is not Stat.PENDING:
        raise Impossible(f"The template {invoke_name} does not wait for audit: its state is {before.name.lower()}.")


def pause_list_send(settings: Settings, account_id: int, send_id: int, *, pause: bool) -> None:
    """Stop making mails of a list send, or go on with it. Those already made go out."""
    now_us = SystemClock().now_us()

    async def unit(tx: Tx) -> bool:
        return await (list_send.pause(tx, account_id, send_id) if pause else list_send.resume(tx, account_id, send_id, now_us))

    if not _with_store(settings, lambda store: store.write(unit)):
        raise Impossible(f"The account {account_id} has no list send {send_id}.")


def _option(assignment: str) -> tuple[str, int | str | None]:
    name, equals, text = assignment.partition("=")
    if not equals:
        raise Impossible(f"{assignment!r} is not of the form NAME=VALUE.")
    for one in OPTIONS:
        if one.name == name:
            try:
                return name, one.read(text.strip())
            except ValueError:
                raise Impossible(f"{name} cannot be {text!r}: write {one.form}.") from None
    raise Impossible(f"An account has no {name!r}; it has {', '.join(one.name for one in OPTIONS)}.")


def _source(settings: Settings, entry: str) -> str:
    """An entry of the IP allowlist as it is kept."""
    try:
        found = read_entry(entry.strip())
    except ValueError:
        raise Impossible(f"{entry!r} is not an address, a range FIRST-LAST, or a network ADDRESS/BITS.") from None
    if is_private(found) and not settings.limits.private_sources:
        raise Impossible(f"{entry!r} is in a private network, which limits.private_sources forbids.")
    return entry.strip()


async def _lock(tx: Tx, account_id: int) -> None:
    await rows.lock(tx, account_id)
    if await rows.options(tx, account_id, ["id"]) is None:
        raise _no_account(account_id)


def _no_account(account_id: int) -> Impossible:
    return Impossible(f"There is no account {account_id}.")


def _kept(vault: Vault, key: PrivateKey) -> tuple[str, bytes]:
    """A DKIM key as the store has it: public, and private sealed."""
    return public_text(key), vault.seal(dump_key(key), "dkim")


def _records(domain: str, key: PrivateKey) -> dict[str, str]:
    return {"name": domain, "dkimName": record_name(SELECTOR, domain), "dkimTxt": dns_record(key)}


def _domain_name(text: str) -> str:
    try:
        name = ascii_domain(text).lower()
    except ValueError:
        name = ""
    if not _is_domain(name):
        raise Impossible(f"{text!r} is not a domain name.")
    return name


def _with_store(settings: Settings, ask: Callable[[Store], Awaitable[T]]) -> T:
    async def run() -> T:
        await migrate(settings.store.url.url or "sqlite", settings.data)
        store = open_store(settings.store.url.url or "sqlite", settings.data, SystemClock())
        try:
            return await ask(store)
        finally:
            await store.close()

    return asyncio.run(run())
