"""The management API on a store, without sockets: two accounts with a domain and an API user each, and a name server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec

from aurorasend.account import Accounts
from aurorasend.allowance import Allowances
from aurorasend.api import ENDPOINTS
from aurorasend.clock import SECOND, ManualClock
from aurorasend.config import Settings
from aurorasend.dkim import dump_key, make_rsa_key, public_text
from aurorasend.domain import Domains
from aurorasend.endpoint import Catalogue, Envelope, Request, Server
from aurorasend.event import Event, Kind, Origin, domain_of, record
from aurorasend.handover import Handover
from aurorasend.http_guard import Outside
from aurorasend.ids import Ids
from aurorasend.letters import Letters
from aurorasend.node import Authentication, CallLimits, Node
from aurorasend.resolver import DnsResolver
from aurorasend.secret import Vault, hash_key
from aurorasend.simulator import NameServer
from aurorasend.sms_login import SmsLogin
from aurorasend.source import Sources
from aurorasend.store import bootstrap
from aurorasend.store import email_status as statuses
from aurorasend.store import statistics as sums
from aurorasend.store import submission as submissions
from aurorasend.store.tx import Statement, Store, Tx
from aurorasend.submission import Origins, Submissions
from aurorasend.wake import Wake

NOW = 1_769_907_600 * SECOND  # 2026-02-01 09:00:00 +08:00
SPF, MX, TRACK = "spf.platform.example", "mx.platform.example", "track.platform.example"
LOOPBACK = ip_network("127.0.0.0/8")
KEY = "0123456789abcdef"


class Alone:
    """Wakes nobody else."""

    async def start(self, heard: object) -> None: ...

    async def send(self, hints: object) -> None: ...

    async def stop(self) -> None: ...


class Api:
    """Accounts 1 and 2 are `one` and `two`; their API users `one_trigger`, `one_test` ..., their domains `one.example` ..."""

    def __init__(self, node: Node, names: NameServer, clock: ManualClock) -> None:
        self.node, self.names, self.clock = node, names, clock
        self.server = Server(node, Catalogue(ENDPOINTS))

    async def call(self, path: str, _as: str = "one_trigger", _key: str = KEY, _peer: str = "", **given: object) -> Any:
        """What is in `info`, or the code of a failure; of version 1 the whole answer."""
        self.clock.advance(timedelta(seconds=1))
        body = msgspec.json.encode({"apiUser": _as, "apiKey": _key, **given})
        found = self.server.catalogue.find(f"/{path}")
        assert found is not None, path
        _, answer = await self.server.answer(found, Request(b"", "application/json", body, "sg", _peer, "id"))
        assert self.server.fault_count == 0, self.server.faults
        envelope = msgspec.json.decode(answer)
        if found.envelope is Envelope.V1:
            return envelope
        return envelope["info"] if envelope["result"] else envelope["statusCode"]

    def settle(self, group: str, **changes: object) -> None:
        """Change settings of the running node."""
        changed = replace(getattr(self.node.settings, group), **changes)  # type: ignore[arg-type]
        object.__setattr__(self.node, "settings", replace(self.node.settings, **{group: changed}))  # type: ignore[arg-type]

    async def sql(self, text: str) -> None:
        await self.node.store.write(lambda tx: tx.run(Statement(text)))

    def publish(self, shown: dict[str, Any], *records: str) -> None:
        """Put the records that a domain's object asks for into DNS: "spf", "dkim", "mx", "dmarc"."""
        for kind in records:
            host, value = shown[f"{kind}.domain"], shown[f"{kind}.value"]
            if kind == "mx":
                self.names.add_mx(host, value)
            else:
                self.names.add_txt(host, value)


class Teller:
    """Records events, as submission and delivery do."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._id = 1000

    async def tell(
        self, kind: Kind, domain: str, number: int = 1, *, sub: int = 0, user: str = "one_trigger", label: int = 0, at: int = NOW
    ) -> None:
        self._id += 1
        by = await self._api.node.accounts.api_user_any_region(user, KEY, NOW)
        assert by is not None
        origin = Origin(by.account.id, 1, by.id, by.sender_id, label, at)
        event = Event(self._id, kind, at, origin, domains=((domain, number),), sub_status=sub)
        await self._api.node.store.write(lambda tx: record(tx, [event]))


async def send(api: Api, to: str, _as: str = "one_trigger", **given: object) -> list[str]:
    account = _as.partition("_")[0]
    mail = {"from": f"kit@{account}.example", "to": to, "subject": "S", "html": "<p>x</p>", **given}
    answer = await api.call("mail/send", _as, **mail)
    return list(answer["emailIdList"])


async def settle(api: Api, email_id: str, kind: Kind, sub_status: int = 0, log: str = "said") -> None:
    """What delivery reads of a mail, and writes of its final outcome."""
    message_id, _, address = email_id.partition("$")
    account_id, submission_id = int(message_id.split("_")[1]), int(message_id.split("_")[3].partition(".")[0])
    position, now_us = int(message_id.rpartition("inbound")[2]), api.clock.now_us()

    async def unit(tx: Tx) -> None:
        (submitted,), _ = await Letters(api.node.store).read(tx, account_id, [submission_id])
        recipient = (await statuses.first_recipients(tx, account_id, [submission_id]))[submission_id] + position
        await submissions.set_recipients(tx, [(account_id, recipient, kind.number, sub_status, 1, log, "", now_us)])
        event = Event(recipient + 10**6, kind, now_us, submitted.origin, recipient, ((domain_of(address), 1),), sub_status)
        await record(tx, [event])

    await api.node.store.write(unit)


async def fold(api: Api, before: int, limit: int = 1000) -> int:
    """How many of the first account's counters went to the sums: those of hours (since 1970, UTC) before `before`."""
    hours = api.node.settings.api.zone_hours
    return await api.node.store.write(lambda tx: sums.fold(tx, 1, before, hours, limit))


async def fill(tx: Tx, vault: Vault) -> None:
    for name in ("one", "two"):
        account_id = await bootstrap.add_account(tx, name, "sg", b"", {})
        assert account_id is not None
        key = make_rsa_key()
        keys = (public_text(key), vault.seal(dump_key(key), "dkim"))
        domain_id = await bootstrap.add_domain(tx, account_id, f"{name}.example", "mail", keys)
        for kind, email_type in (("trigger", 0), ("batch", 1), ("test", 0)):
            user = bootstrap.NewApiUser(f"{name}_{kind}", hash_key(KEY), email_type, kind == "test", False)
            await bootstrap.add_api_user(tx, account_id, domain_id, user)
    for table in ("account", "domain", "api_user"):
        await tx.run(Statement(f"UPDATE {table} SET created = {NOW}"))


@asynccontextmanager
async def managing(store: Store, data: Path, allow_private: bool = True) -> AsyncIterator[Api]:
    clock, vault = ManualClock(NOW), Vault(bytes(32))
    await store.write(lambda tx: fill(tx, vault))
    names = NameServer()
    await names.start()
    settings = Settings(data)
    domain = replace(settings.domain, spf_host=SPF, mx_host=MX)
    settings = replace(settings, domain=domain, tracking=replace(settings.tracking, host=TRACK))
    accounts = Accounts(store, clock, vault)
    fresh = DnsResolver([(names.address, names.port)], deadline_s=0.5, cache_size=0)
    outside = Outside(DnsResolver([(names.address, names.port)], deadline_s=0.5), [LOOPBACK] if allow_private else [])
    node = Node(
        settings=settings,
        clock=clock,
        zone=settings.zone,
        store=store,
        vault=vault,
        resolver=fresh,
        outside=outside,
        domains=Domains(store, clock, vault, fresh, settings.domain),
        accounts=accounts,
        authenticator=Authentication(accounts, SmsLogin(accounts, settings.sms.timestamp_tolerance)),
        allowance=CallLimits(Allowances(store, clock, 1), settings),
        sources=Sources(store, clock),
        submissions=Submissions(store, clock, Ids(store), settings, Handover(None, clock, settings, Wake(Alone())), Origins(1)),
        sms=None,  # type: ignore[arg-type]
        sandbox=None,  # type: ignore[arg-type]
    )
    try:
        yield Api(node, names, clock)
    finally:
        await outside.close()
        await fresh.close()
        await names.close()
