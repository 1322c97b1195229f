"""Accounts, what an operator sets of them, their API users, SMS users and sending domains, and who a caller is.

Called by endpoint (authenticator), api, submission, sms and operate. Calls store and secret.
Always: a key is known here only as its hash (API) or sealed (SMS); a changed key works at once, a replaced one for
the grace period (conventions §3.3). What is read is kept for a second, so another change counts within one.
"""

import asyncio
import ipaddress
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NewType

from aurorasend.clock import SECOND, Clock
from aurorasend.config.kinds import LINE, SWITCH, Kind, number
from aurorasend.config.settings import Limits
from aurorasend.permission import denied_calls
from aurorasend.quiet import NEVER, Quiet
from aurorasend.secret import Vault, matches
from aurorasend.store import account as rows
from aurorasend.store.domain import TEST, is_aligned, is_usable
from aurorasend.store.tx import Row, Store, Tx

AccountId = NewType("AccountId", int)

KEPT_US = SECOND  # how long a read caller is trusted
KEPT_MOST = 20_000  # callers; bounds memory

_PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))

Addresses = tuple[ipaddress.IPv4Address, ipaddress.IPv4Address] | tuple[ipaddress.IPv6Address, ipaddress.IPv6Address]


@dataclass(frozen=True, slots=True)
class Domain:
    """A sending domain; `verified`: it can be sent with; `is_test`: it is the operator's own (management.md §5.2). From is at
    it if `is_aligned`; `mail_from` is its fixed local part of the envelope sender, or "" (mail.md §10)."""

    id: int
    name: str
    verified: bool
    is_test: bool = False
    is_aligned: bool = False
    mail_from: str = ""
    changed: int = 0  # when, UTC microseconds


@dataclass(frozen=True, slots=True)
class Account:
    """Rates (per minute), `daily_quota` (recipients), limits of objects and `manual_audit` are None where the setting decides."""

    id: AccountId
    name: str
    region: str
    frozen: bool
    paying: bool
    calendar: bool
    sms: bool
    alternative: bool
    bounce_interception: bool
    require_tls: bool
    ad_tag: bool
    send_domain: bool
    check_balance: bool
    daily_quota: int | None
    send_rate: int | None
    query_rate: int | None
    template_limit: int | None
    domain_limit: int | None
    api_user_limit: int | None
    tracking_limit: int | None
    attachment_limit: int | None  # bytes
    manual_audit: bool | None
    allowed: tuple[Addresses, ...] | None  # IP allowlist, None when it is off

    def limits(self, usual: Limits) -> Limits:
        """What its requests may hold."""
        return usual if self.attachment_limit is None else replace(usual, attachments_bytes=self.attachment_limit)


class UnsubscribeScope(IntEnum):
    """Whose mail an unsubscription ends (data.md §8.4): its API_USER's, all, or that of those it covers."""

    OWN = 1
    ALL = 2
    CUSTOM = 3


@dataclass(frozen=True, slots=True)
class Option:
    """What an operator sets, or tells, of an account: a column of its row. None, if `optional`: the setting decides."""

    name: str
    kind: Kind[int] | Kind[str]
    optional: bool
    doc: str

    def read(self, text: str) -> int | str | None:
        """Raises ValueError."""
        if self.optional and text in ("", DEFAULT):
            return None
        value = self.kind.read(text)
        return value if isinstance(value, str) else int(value)

    @property
    def form(self) -> str:
        """What completes the sentence "write ..."."""
        return f'{self.kind.form}, or "{DEFAULT}"' if self.optional else self.kind.form

    def shown(self, value: int | str | None) -> int | str | bool | None:
        return bool(value) if self.kind is SWITCH and value is not None else value


DEFAULT = "default"
MAILS_MOST = 10**12 - 1
_RATE = number(1, 10**9)  # as the settings that they replace
OPTIONS = (
    Option("frozen", SWITCH, False, "nobody of the account may call"),
    Option("paying", SWITCH, False, "it may use address lists, and need not offer to unsubscribe"),
    Option("calendar", SWITCH, False, "it may send appointments"),
    Option("sms", SWITCH, False, "it may send short messages"),
    Option("alternative", SWITCH, False, "a mail may have both html and plain"),
    Option("bounce_interception", SWITCH, False, "addresses on the bounce list are not mailed"),
    Option("ip_filter", SWITCH, False, "only the addresses that allow-from names may send mail"),
    Option("require_tls", SWITCH, False, "mail leaves encrypted only, and else waits; certificates are not checked"),
    Option("ad_tag", SWITCH, False, "subjects of batch mail begin with (AD)"),
    Option("send_domain", SWITCH, False, "a send may name another sending domain of the account"),
    Option(
        "unsubscribe_scope",
        number(min(UnsubscribeScope), max(UnsubscribeScope)),
        False,
        "an unsubscription counts for 1 its API user, 2 all, 3 those that unsubscribe-covers names",
    ),
    Option("check_balance", SWITCH, False, "mail is paid for from the balance"),
    Option("balance", number(0, MAILS_MOST), False, "mails paid for; account credit adds to it"),
    Option("daily_quota", number(0, MAILS_MOST), True, "recipients a day"),
    Option("send_rate", _RATE, True, "sending requests a minute of an API user"),
    Option("query_rate", _RATE, True, "calls of one endpoint, sends apart, a minute of an API user"),
    Option("template_limit", number(1, 100_000), True, "mail templates"),
    Option("domain_limit", number(0, 100_000), True, "sending domains, the test domain apart"),
    Option("api_user_limit", number(1, 100_000), True, "API users, test users apart"),
    Option("tracking_limit", number(0, 100_000), True, "tracking domains"),
    Option("attachment_limit", number(0, 2**31), True, "bytes of all files of a mail; requests have their own limit"),
    Option("manual_audit", SWITCH, True, "templates wait for a person"),
    Option("company", LINE, False, "who it belongs to, as userinfo/get tells"),
    Option("contact", LINE, False, "a person there"),
    Option("contact_email", LINE, False, "that person's address"),
    Option("contact_phone", LINE, False, "and number, of which userinfo/get leaves out the middle"),
)


@dataclass(frozen=True, slots=True)
class ApiUser:
    account: Account
    id: int
    name: str
    sender_id: int  # the name as history keeps it
    email_type: int  # 0 trigger, 1 batch
    is_test: bool
    domain: Domain
    open: bool
    click: bool
    unsubscribe: bool
    content_match: bool
    quiet: Quiet = NEVER  # when its mail waits
    denied: frozenset[str] = frozenset()  # calls that its permission forbids, "module/action" (management.md §7.6)

    def admits(self, peer: str) -> bool:
        """Whether the IP allowlist lets `peer` send (conventions §3.4)."""
        return admitted(self.account.allowed, peer)


@dataclass(frozen=True, slots=True)
class SmsUser:
    """`key` is the SMS_KEY in clear: signatures are computed with it. "" for an email API user that calls SMS."""

    account: Account
    id: int
    name: str
    key: str
    enabled: bool = True

    def admits(self, peer: str) -> bool:
        """The allowlist covers mail and SMTP only (conventions §3.4)."""
        return True


def admitted(allowed: tuple[Addresses, ...] | None, peer: str) -> bool:
    if allowed is None:
        return True
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(type(first) is type(address) and first <= address <= last for first, last in allowed)  # type: ignore[operator]


def is_private(entry: Addresses) -> bool:
    """Whether all of `entry` is in one of the private networks (RFC 1918)."""
    return any(entry[0] in network and entry[1] in network for network in _PRIVATE)


def read_entry(entry: str) -> Addresses:
    """`a.b.c.d`, `a.b.c.d-e.f.g.h`, or a network in CIDR form, IPv4 or IPv6. Raises ValueError."""
    first, dash, last = entry.partition("-")
    if dash:
        low, high = ipaddress.ip_address(first.strip()), ipaddress.ip_address(last.strip())
        if type(low) is not type(high) or low > high:  # type: ignore[operator]
            raise ValueError("not a range of addresses")
        return (low, high)  # type: ignore[return-value]
    network = ipaddress.ip_network(entry.strip(), strict=False)
    return (network[0], network[-1])  # type: ignore[return-value]


@dataclass(slots=True)
class _Known:
    """A caller as read from the store at `read_us`."""

    caller: ApiUser
    key_hash: bytes
    old_key_hash: bytes | None
    old_key_until: int
    read_us: int


class Accounts:
    """Who calls. One per process; keeps what it read for KEPT_US."""

    def __init__(self, store: Store, clock: Clock, vault: Vault) -> None:
        self._store = store
        self._clock = clock
        self._vault = vault
        self._known: dict[str, _Known] = {}
        self._reading: dict[str, asyncio.Task[_Known | None]] = {}

    async def api_user(self, name: str, key: str, region: str, now_us: int) -> ApiUser | None:
        """The API user that `name` and `key` prove, if it may call in `region`; else None (40005)."""
        caller = await self.api_user_any_region(name, key, now_us)
        return caller if caller is not None and caller.account.region == region else None

    async def api_user_any_region(self, name: str, key: str, now_us: int) -> ApiUser | None:
        """SMS calls are taken on every region's URL (sms.md §2.1)."""
        known = self._known.get(name)
        if known is not None and now_us - known.read_us > KEPT_US:
            known = await self._read_once(name, now_us)
        if known is None or not _proves(known, key, now_us):  # perhaps the key is newer than what was read
            known = await self._read(name, now_us)
            if known is None or not _proves(known, key, now_us):
                return None
        return known.caller

    def forget(self, account_id: int) -> None:
        """What is known of the callers of an account that was changed; other processes see a change within KEPT_US."""
        for name in [name for name, known in self._known.items() if known.caller.account.id == account_id]:
            del self._known[name]

    async def sms_user(self, name: str) -> SmsUser | None:
        """The SMS user `name`, whatever its region, with its key."""

        async def unit(tx: Tx) -> tuple[Row, list[str]] | None:
            found = await rows.sms_user(tx, name)
            return None if found is None else (found, await rows.ip_entries(tx, found[0]))

        read = await self._store.read(unit)
        if read is None:
            return None
        row, entries = read
        user_id, key, enabled = row[rows.ACCOUNT_COLUMNS :]
        return SmsUser(_account(row, entries), user_id, name, self._vault.open(key, "sms").decode(), bool(enabled))

    async def account(self, name: str) -> Account | None:
        async def unit(tx: Tx) -> tuple[Row, list[str]] | None:
            found = await rows.account(tx, name)
            return None if found is None else (found, await rows.ip_entries(tx, found[0]))

        read = await self._store.read(unit)
        return None if read is None else _account(*read)

    async def _read_once(self, name: str, now_us: int) -> _Known | None:
        """All calls that find the same caller out of date wait for one reading."""
        reading = self._reading.get(name)
        if reading is None:
            reading = self._reading[name] = asyncio.get_running_loop().create_task(self._read(name, now_us))
            reading.add_done_callback(lambda _: self._reading.pop(name, None))
        return await asyncio.shield(reading)

    async def _read(self, name: str, now_us: int) -> _Known | None:
        async def unit(tx: Tx) -> tuple[Row, list[str]] | None:
            found = await rows.api_user(tx, name)
            return None if found is None else (found, await rows.ip_entries(tx, found[0]))

        read = await self._store.read(unit)
        if read is None:
            self._known.pop(name, None)
            return None
        if len(self._known) >= KEPT_MOST:
            self._known.clear()
        known = self._known[name] = _known(*read, name, now_us)
        return known


def _proves(known: _Known, key: str, now_us: int) -> bool:
    """Both hashes are always compared, so that the time tells nothing."""
    new, old = matches(key, known.key_hash), matches(key, known.old_key_hash)
    return (new or (old and now_us < known.old_key_until)) and not known.caller.account.frozen


def _account(row: Row, entries: list[str]) -> Account:
    account_id, name, region, frozen, paying, calendar, sms, alternative, interception, *rest = row[: rows.ACCOUNT_COLUMNS]
    tls, ad, send_domain, ip_filter, check, quota, send, query, templates, domains, api_users, tracking, files, manual = rest
    return Account(
        id=AccountId(account_id),
        name=name,
        region=region,
        frozen=bool(frozen),
        paying=bool(paying),
        calendar=bool(calendar),
        sms=bool(sms),
        alternative=bool(alternative),
        bounce_interception=bool(interception),
        require_tls=bool(tls),
        ad_tag=bool(ad),
        send_domain=bool(send_domain),
        check_balance=bool(check),
        daily_quota=quota,
        send_rate=send,
        query_rate=query,
        template_limit=templates,
        domain_limit=domains,
        api_user_limit=api_users,
        tracking_limit=tracking,
        attachment_limit=files,
        manual_audit=None if manual is None else bool(manual),
        allowed=tuple(read_entry(entry) for entry in entries) if ip_filter else None,
    )


def domain_of_row(row: Row) -> Domain:
    """From rows.DOMAIN_COLUMNS."""
    domain_id, name, kind, verified, vouched, fixed_from, mail_from, changed = row
    aligned = is_aligned(fixed_from, 0 if vouched else verified)
    return Domain(domain_id, name, is_usable(verified), kind == TEST, aligned, mail_from, changed)


def _known(row: Row, entries: list[str], name: str, now_us: int) -> _Known:
    domain = len(rows.DOMAIN_COLUMNS)
    (
        (user_id, sender_id, email_type, is_test, open_, click, unsubscribe, match, permission, *quiet),
        (key_hash, old_hash, old_until),
    ) = row[rows.ACCOUNT_COLUMNS : -domain - 3], row[-domain - 3 : -domain]
    caller = ApiUser(
        account=_account(row, entries),
        id=user_id,
        name=name,
        sender_id=sender_id,
        email_type=email_type,
        is_test=bool(is_test),
        domain=domain_of_row(row[-domain:]),
        open=bool(open_),
        click=bool(click),
        unsubscribe=bool(unsubscribe),
        content_match=bool(match),
        denied=denied_calls(permission) if permission else frozenset(),
        quiet=Quiet(*quiet),
    )
    return _Known(caller, bytes(key_hash), None if old_hash is None else bytes(old_hash), old_until, now_us)
