"""What an operator sets of an account (`aurorasend account`), beside a running node, on both engines."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aurorasend import operate
from aurorasend.account import KEPT_US
from aurorasend.clock import MINUTE
from aurorasend.config import Settings, load
from aurorasend.store import account as accounts
from aurorasend.store.tx import Statement, Store, Unit
from tests.management import NOW, Api, managing


@pytest.fixture
async def api(store: Store, tmp_path: Path) -> AsyncIterator[Api]:
    async with managing(store, tmp_path) as made:
        yield made


async def test_a_running_node_follows_within_a_second(api: Api, settings: Settings) -> None:
    assert (await api.call("user/configuration"))["sendSpeedLimit"] == 40_000
    await asyncio.to_thread(operate.set_account_options, settings, 1, ["send_rate=7", "paying=off"])
    api.clock.advance(timedelta(microseconds=KEPT_US))
    assert (await api.call("user/configuration"))["sendSpeedLimit"] == 7
    assert (await api.call("userinfo/get"))["accountType"] == "free"
    assert (await api.call("user/configuration", "two_trigger"))["sendSpeedLimit"] == 40_000
    await asyncio.to_thread(operate.set_account_options, settings, 1, ["frozen=on", "send_rate=default"])
    api.clock.advance(timedelta(microseconds=KEPT_US))
    assert await api.call("user/configuration") == 40005
    await asyncio.to_thread(operate.set_account_options, settings, 1, ["frozen=off"])
    assert (await api.call("user/configuration"))["sendSpeedLimit"] == 40_000


async def test_mail_is_paid_for_from_the_balance(api: Api, settings: Settings) -> None:
    await asyncio.to_thread(operate.set_account_options, settings, 1, ["check_balance=on", "balance=1"])
    assert await codes(api, "", "") == [200, 40912]
    assert await asyncio.to_thread(operate.add_balance, settings, 1, 2) == 2
    assert await codes(api, "", "", "") == [200, 200, 40912]
    assert (await api.call("userinfo/get"))["balance"] == 0
    assert (await asyncio.to_thread(operate.account_options, settings, 1))["balance"] == 0
    await asyncio.to_thread(operate.add_balance, settings, 1, 10**12 - 1)
    with pytest.raises(operate.Impossible, match="at most"):
        await asyncio.to_thread(operate.add_balance, settings, 1, 1)
    assert (await asyncio.to_thread(operate.account_options, settings, 1))["balance"] == 10**12 - 1
    assert (await api.call("userinfo/get", "two_trigger"))["balance"] == 0


async def test_who_an_account_belongs_to(api: Api, settings: Settings) -> None:
    told = ["company=Grüße Ltd", "contact=Ann = Lee", "contact_email=ann@one.example", "contact_phone=+6591234567"]
    await asyncio.to_thread(operate.set_account_options, settings, 1, told)
    read = await api.call("userinfo/get")
    assert (read["companyName"], read["contactPerson"], read["contactEmail"]) == ("Grüße Ltd", "Ann = Lee", "ann@one.example")
    assert (read["email"], read["contactPhone"], read["phone"]) == ("ann@one.example", "+65****4567", "+65****4567")
    await asyncio.to_thread(operate.set_account_options, settings, 1, ["contact_phone=91234567"])
    assert (await api.call("userinfo/get"))["phone"] == "91****67"
    with pytest.raises(operate.Impossible, match="a line of text"):
        await asyncio.to_thread(operate.set_account_options, settings, 1, ["contact=a\nb"])
    await asyncio.to_thread(operate.set_account_options, settings, 1, ["company="])
    assert (await api.call("userinfo/get"))["companyName"] == ""


async def test_a_wrong_value_changes_nothing(api: Api, settings: Settings) -> None:
    before = await asyncio.to_thread(operate.account_options, settings, 1)
    with pytest.raises(operate.Impossible, match="sms"):
        await asyncio.to_thread(operate.set_account_options, settings, 1, ["frozen=on", "sms=perhaps"])
    assert await asyncio.to_thread(operate.account_options, settings, 1) == before


async def test_what_unsubscriptions_cover_is_shown_and_kept_by_account(api: Api, settings: Settings) -> None:
    for others in (["one_batch", "one_test"], ["one_test"]):
        await asyncio.to_thread(operate.set_unsubscribe_covers, settings, 1, "one_trigger", others)
        shown = await asyncio.to_thread(operate.account_options, settings, 1)
        assert shown["unsubscribe_covers"] == {"one_trigger": others}
    assert (await asyncio.to_thread(operate.account_options, settings, 2))["unsubscribe_covers"] == {}
    with pytest.raises(operate.Impossible, match="no API user two_batch"):
        await asyncio.to_thread(operate.set_unsubscribe_covers, settings, 1, "one_trigger", ["two_batch"])


MAIL = {"from": "hi@one.example", "to": "ann@example.net", "subject": "S", "html": "<p>x</p>"}


async def codes(api: Api, *peers: str) -> list[int]:
    """Of a mail from each of `peers`."""
    api.clock.advance(timedelta(microseconds=KEPT_US))
    answers: list[Any] = [await api.call("mail/send", _peer=peer, **MAIL) for peer in peers]
    return [answer if isinstance(answer, int) else 200 for answer in answers]


async def test_mail_is_taken_from_allowed_addresses_only(api: Api, settings: Settings) -> None:
    """management.md §11.1, conventions.md §3.4"""
    peers = ("192.0.2.1", "10.0.0.3", "2001:db8::7", "192.0.2.2")
    await asyncio.to_thread(operate.set_allowed_sources, settings, 1, ["192.0.2.1", " 10.0.0.1-10.0.0.9 ", "2001:db8::/32"])
    assert await codes(api, *peers) == [200] * 4
    await asyncio.to_thread(operate.set_account_options, settings, 1, ["ip_filter=on"])
    assert await codes(api, *peers) == [200, 200, 200, 6001]
    assert (await api.call("label/list", _peer=peers[3]))["total"] == 0
    assert "emailIdList" in await api.call("mail/send", "two_trigger", _peer=peers[3], **MAIL | {"from": "hi@two.example"})
    shown = await asyncio.to_thread(operate.account_options, settings, 1)
    assert shown["allow_from"] == ["192.0.2.1", "10.0.0.1-10.0.0.9", "2001:db8::/32"]
    await asyncio.to_thread(operate.set_allowed_sources, settings, 1, ["192.0.2.2"])
    assert await codes(api, *peers) == [6001, 6001, 6001, 200]


async def test_what_is_no_source_is_refused(api: Api, settings: Settings, tmp_path: Path, store_url: str) -> None:
    for entry in ("nonsense", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "10.0.0.0/33", ""):
        with pytest.raises(operate.Impossible, match="is not an address, a range"):
            await asyncio.to_thread(operate.set_allowed_sources, settings, 1, ["192.0.2.1", entry])
    strict = load(tmp_path, assignments=[f"store.url={store_url}", "limits.private_sources=false"], environment={})
    for entry in ("10.1.2.3", "172.16.0.1-172.31.255.255", "192.168.0.0/24"):
        with pytest.raises(operate.Impossible, match="private network"):
            await asyncio.to_thread(operate.set_allowed_sources, strict, 1, [entry])
    with pytest.raises(operate.Impossible, match="no account 9"):
        await asyncio.to_thread(operate.set_allowed_sources, settings, 9, ["192.0.2.1"])
    assert (await asyncio.to_thread(operate.account_options, settings, 1))["allow_from"] == []


async def test_a_test_user_mails_registered_recipients_only(api: Api, settings: Settings) -> None:
    """conventions.md §3.2"""
    assert await api.call("mail/send", "one_test", **MAIL) == 40886
    for addresses in (["bob@example.net"], ["Ann@example.net", "ann@example.net"]):
        await asyncio.to_thread(operate.set_test_recipients, settings, 1, addresses)
    assert "emailIdList" in await api.call("mail/send", "one_test", **MAIL)
    assert await api.call("mail/send", "one_test", **MAIL | {"to": "bob@example.net"}) == 40886
    assert (await asyncio.to_thread(operate.account_options, settings, 1))["test_recipients"] == ["ann@example.net"]
    with pytest.raises(operate.Impossible, match="'nobody' is not an address"):
        await asyncio.to_thread(operate.set_test_recipients, settings, 1, ["nobody"])


async def test_from_is_fixed_for_a_domain(api: Api, settings: Settings) -> None:
    """mail.md §10"""
    await api.call("domain/add", name="other.example")
    for fixed in (True, False):
        await asyncio.to_thread(operate.fix_from, settings, 1, "ONE.example", fixed=fixed)
        listed = await asyncio.to_thread(operate.list_domains, settings, 1)
        assert {each["name"]: each["fixedFrom"] for each in listed} == {"one.example": fixed, "other.example": False}
    with pytest.raises(operate.Impossible, match=r"no domain two\.example"):
        await asyncio.to_thread(operate.fix_from, settings, 1, "two.example", fixed=True)


async def test_the_envelope_sender_is_fixed_for_a_domain(api: Api, settings: Settings) -> None:
    """mail.md §10"""
    await api.call("domain/add", name="other.example")
    for local in ("bounces", "Ann.O'Neil+x", "b" * 64, ""):
        await asyncio.to_thread(operate.fix_mail_from, settings, 1, "ONE.example", local)
        listed = await asyncio.to_thread(operate.list_domains, settings, 1)
        assert {each["name"]: each["mailFrom"] for each in listed} == {"one.example": local, "other.example": ""}
    for local in ("a b", "a@b", ".a", "a\r\nb", "é", "b" * 65, "<a>"):
        with pytest.raises(operate.Impossible, match="cannot stand before the @"):
            await asyncio.to_thread(operate.fix_mail_from, settings, 1, "one.example", local)
    with pytest.raises(operate.Impossible, match=r"no domain two\.example"):
        await asyncio.to_thread(operate.fix_mail_from, settings, 1, "two.example", "bounces")


async def test_mail_of_an_api_user_waits_in_quiet_hours(api: Api, settings: Settings) -> None:
    """mail.md §13; it is 9:00 in the API's zone"""
    await asyncio.to_thread(operate.set_quiet_hours, settings, 1, "one_trigger", "08:30-09:30")
    await asyncio.to_thread(operate.set_quiet_hours, settings, 1, "one_batch", "23:00-06:00")
    shown = await asyncio.to_thread(operate.account_options, settings, 1)
    assert shown["quiet_hours"] == {"one_batch": "23:00-06:00", "one_trigger": "08:30-09:30"}
    for user, waits in (("one_trigger", True), ("one_batch", False), ("two_trigger", False)):
        api.clock.advance(timedelta(microseconds=KEPT_US))
        assert "emailIdList" in await api.call("mail/send", user, **MAIL)
        due = await api.node.store.read(lambda tx: tx.rows(Statement("SELECT due FROM work")))
        assert due == [(NOW + 30 * MINUTE if waits else api.clock.now_us(),)]
        await api.sql("DELETE FROM work")
    await asyncio.to_thread(operate.set_quiet_hours, settings, 1, "one_batch", "off")
    assert (await asyncio.to_thread(operate.account_options, settings, 1))["quiet_hours"] == {"one_trigger": "08:30-09:30"}
    for account_id, user, hours, said in (
        (1, "one_trigger", "8-9", "is not a daily time"),
        (1, "two_trigger", "08:00-09:00", "no API user two_trigger"),
        (9, "one_trigger", "08:00-09:00", "no account 9"),
    ):
        with pytest.raises(operate.Impossible, match=said):
            await asyncio.to_thread(operate.set_quiet_hours, settings, account_id, user, hours)
    await asyncio.to_thread(operate.set_quiet_hours, settings, 1, "one_batch", "23:00-06:00")
    await api.call("apiuser/delete", name="one_batch")  # no command reaches it then, so what it was asked to send waits no more
    sql = Statement("SELECT quiet_minutes FROM api_user WHERE name = 'one_batch'")
    quiet = await api.node.store.read(lambda tx: tx.rows(sql))
    assert quiet == [(0,)]


async def test_the_quota_is_counted_up_to_its_limit(store: Store) -> None:
    class Over(Exception):
        pass

    def counting(day: str, mails: int) -> Unit[None]:
        return lambda tx: accounts.count(tx, 1, day, mails, 10, Over())

    with pytest.raises(Over):
        await store.write(counting("first", 11))
    assert await store.read(lambda tx: accounts.used_quota(tx, 1, "first")) == 0
    for day, used in (("once", [10]), ("twice", [4, 6])):
        for mails in used:
            await store.write(counting(day, mails))
        with pytest.raises(Over):
            await store.write(counting(day, 1))
        assert await store.read(lambda tx, day=day: accounts.used_quota(tx, 1, day)) == 10  # type: ignore[misc]
