"""Accounts for development and tests, made once and the same each time they are asked for.

Called by cli (`bootstrap`) and app (the first account of a new installation). Since keys are stored only hashed or
sealed, what was made here is kept in DATA/bootstrap.json, mode 0600; nothing is ever made twice.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aurorasend.clock import SystemClock
from aurorasend.config import Settings
from aurorasend.dkim import dump_key, load_key, make_rsa_key, public_text
from aurorasend.secret import Vault, hash_key, new_key, open_vault
from aurorasend.store import bootstrap as rows
from aurorasend.store import open_store
from aurorasend.store.migrate import migrate
from aurorasend.store.tx import Store, Tx

SELECTOR = "mail"
SMS_TEMPLATE = 123456  # the seed's sample
SMS_TEXT = "Your code is %code%"
TRIGGER, BATCH = 0, 1


@dataclass(frozen=True)
class Wanted:
    """An account to make. `settings` are columns of its row that differ from the defaults."""

    region: str = "sg"
    settings: Mapping[str, int] = field(default_factory=dict)
    content_match: bool = False


ROOM = dict.fromkeys(("template_limit", "domain_limit", "api_user_limit", "tracking_limit"), 100_000)
FIRST = "main"
WANTED = {
    FIRST: Wanted(settings=ROOM),
    "other": Wanted(settings=ROOM),
    "us": Wanted(region="us", settings=ROOM),
    "limits": Wanted(),
    "manual": Wanted(settings={**ROOM, "manual_audit": 1}),
    "tight": Wanted(settings={"daily_quota": 3}),
    "broke": Wanted(settings={"check_balance": 1, "balance": 0}),
    "matched": Wanted(settings=ROOM, content_match=True),
    "rated": Wanted(settings={"send_rate": 5, "query_rate": 5}),
}


def run(settings: Settings, sink_smtp: int | None, sink_http: int | None) -> dict[str, Any]:
    """All accounts and where they are reached, as the conformance kit's target file. Works beside a running server."""
    accounts = asyncio.run(_make_all(settings))
    regions = _regions(settings)
    target: dict[str, Any] = {"regions": regions, "accounts": accounts, "tracking": next(iter(regions.values()))}
    if settings.smtp.listen is not None:
        target["smtp"] = {"host": settings.smtp.listen.host, "port": settings.smtp.listen.port}
    if sink_smtp is not None or sink_http is not None:
        target["sink"] = {"smtp_port": sink_smtp, "http_port": sink_http}
    return target


async def _make_all(settings: Settings) -> dict[str, Any]:
    await migrate(settings.store.url.url or "sqlite", settings.data)
    store = open_store(settings.store.url.url or "sqlite", settings.data, SystemClock())
    try:
        return await make(store, open_vault(settings.data / "master.key"), settings, list(WANTED))
    finally:
        await store.close()


async def make(store: Store, vault: Vault, settings: Settings, names: list[str]) -> dict[str, Any]:
    """The accounts `names` with their keys; those that are not there yet are made."""
    path = settings.data / "bootstrap.json"
    with await asyncio.to_thread(_locked, path.with_suffix(".lock")):
        known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        for name in names:
            if name not in known:
                account = await asyncio.to_thread(_new_account, name, WANTED[name], settings.domain.platform)
                # Kept first: when the store fails afterwards, the next run makes the account with these keys.
                _write(path, {**known, name: account, "pending": name})
                known[name] = account
            elif known.get("pending") != name:
                continue
            await store.write(lambda tx, n=name: _insert(tx, vault, n, known[n]))  # type: ignore[misc]
            known.pop("pending", None)
            _write(path, known)
        return {name: known[name]["shown"] for name in names}


def random_name(platform: str) -> str:
    """A name for the test domain of a new account (management.md §5.2)."""
    return f"{secrets.token_hex(5)}.{platform}"


def _new_account(name: str, wanted: Wanted, platform: str) -> dict[str, Any]:
    """Everything that is random about an account, in the form of the file."""
    mark = secrets.token_hex(3)
    users = {
        kind: {"apiUser": f"{name}_{kind}_{mark}", "apiKey": new_key()} for kind in ("trigger", "batch", "test")
    }
    shown = {
        "region": wanted.region,
        "app_key": secrets.token_hex(16),
        "domain": f"{name}.{mark}.example.com",
        **users,
        "sms": {"smsUser": f"{name}_sms_{mark}", "smsKey": new_key()},
        "tracking": f"track.{name}.{mark}.example.com",
    }
    keys = {"dkim": dump_key(make_rsa_key()).hex(), "test_dkim": dump_key(make_rsa_key()).hex()}
    return {"shown": shown, "test_domain": random_name(platform), **keys}


async def _insert(tx: Tx, vault: Vault, name: str, made: dict[str, Any]) -> None:
    """Does nothing when the account is there."""
    shown, wanted = made["shown"], WANTED[name]
    app_key = vault.seal(shown["app_key"].encode(), "app key")
    account_id = await rows.add_account(tx, name, wanted.region, app_key, wanted.settings)
    if account_id is None:
        return
    domain_id = await rows.add_domain(tx, account_id, shown["domain"], SELECTOR, _keys(vault, made["dkim"]))
    await rows.add_test_domain(tx, account_id, made["test_domain"], SELECTOR, _keys(vault, made["test_dkim"]))
    await rows.add_tracking_domain(tx, account_id, shown["tracking"])
    for kind in ("trigger", "batch", "test"):
        user = rows.NewApiUser(
            name=shown[kind]["apiUser"],
            key_hash=hash_key(shown[kind]["apiKey"]),
            email_type=BATCH if kind == "batch" else TRIGGER,
            is_test=kind == "test",
            content_match=wanted.content_match and kind == "trigger",
        )
        await rows.add_api_user(tx, account_id, domain_id, user)
    sms = shown["sms"]
    await rows.add_sms_user(tx, account_id, sms["smsUser"], vault.seal(sms["smsKey"].encode(), "sms"))
    await rows.add_sms_template(tx, account_id, SMS_TEMPLATE, "Verification code", SMS_TEXT)


def _keys(vault: Vault, dumped: str) -> tuple[str, bytes]:
    """A DKIM key of the file as the store has it: public, and private sealed."""
    key = bytes.fromhex(dumped)
    return public_text(load_key(key)), vault.seal(key, "dkim")


def _regions(settings: Settings) -> dict[str, str]:
    """A URL for each region that has a listener of its own, or for all the one that is there."""
    named = {one.region: f"http://{one.address}" for one in settings.http.listen if one.region}
    if named:
        return named
    return {settings.region.default: settings.public_url}


@contextlib.contextmanager
def _held(handle: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(handle)


def _locked(path: Path) -> contextlib.AbstractContextManager[None]:
    """Until the context ends nobody else makes accounts in this data directory."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return _held(handle)


def _write(path: Path, known: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    draft = path.with_suffix(".draft")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as out:
        json.dump(known, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)
