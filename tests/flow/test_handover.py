"""docs/flow.md: mail that is claimed as it is stored is the same mail."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from aurorasend import lanes as lanes_module
from aurorasend.clock import ManualClock
from aurorasend.handover import Handover, Mails
from aurorasend.intake import KNOWN_BYTES
from aurorasend.letters import Known, Letters
from aurorasend.simulator import Internet
from aurorasend.store.tx import EVER, T, Unit
from tests.flow.test_unstored import FULL_DISK
from tests.postgres import Server
from tests.running import LONG_LEASE, Place, Served, bootstrapped, by_mx, quiet, relayed, serving

NEWS = "news@maillist.example.org"
TO = ["ann@example.net", "bob@example.net"]
MAIL = {
    "subject": "Grüße an %name%",
    "html": "<p>Liebe %name%, <a href='https://example.com/%way%'>你好</a></p>",
    "contentSummary": "%name%",
    "replyTo": "answers@example.net",
    "headers": {"X-Order": "17", "SC-Custom-Shop": "main"},
    "xsmtpapi": {"to": TO, "sub": {"%name%": ["Ännchen", "Боб"], "%way%": ["%one%", "two"]}, "section": {"%one%": "first"}},
    "to": None,
}
# What each mail has of its own: its id, its signature, its boundaries.
OWN = rb"\d+_\d+_\d+_\d+\.sg-0_0_0_\d+-inbound\d+|(?s:DKIM-Signature: .*?\r\n(?=\S))|=_[0-9a-f]{24}"


@pytest.fixture(autouse=True)
def lanes_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is."""
    monkeypatch.setattr(lanes_module, "LINGER_S", 60.0)


async def parts(
    node: Served, internet: Internet, fields: Mapping[str, Any], user: str, size: int
) -> dict[str, tuple[str, bytes]]:
    """Send it with a file of `size` octets and another one; the mails by recipient, with the local part of
    their envelope sender, and without what is each one's own."""
    internet.mailbox.messages.clear()
    files = [("attachments", ("Rechnung.bin", bytes(range(256)) * (size // 256))), ("attachments", ("b.txt", b"b"))]
    answer = await node.client.post("/mail/send", data=node.mail(user, **fields), files=files)
    assert answer.json()["statusCode"] == 200, answer.text
    await node.settled()
    got = internet.mailbox.messages
    return {mail.recipients[0]: (mail.mail_from.partition("@")[0], re.sub(OWN, b"", mail.content)) for mail in got}


async def test_f26_what_is_known_makes_the_same_mail_as_what_is_read(
    place: Place, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what account and domain may want of it; and one that is too large to wait in memory is claimed all the same."""
    keep, kept = Letters.keep_known, list[int]()

    def noting(letters: Letters, known: Known) -> None:
        kept.append(known.submitted.size)
        keep(letters, known)

    monkeypatch.setattr(Letters, "keep_known", noting)
    async with serving(place.data, relayed(internet), url=place.url, clock=ManualClock()) as node:
        dispatcher, lanes = node.running.dispatcher, node.running.node.submissions._handover._lanes
        assert dispatcher is not None and lanes is not None
        await node.change("UPDATE account SET ad_tag = 1")
        await node.change("UPDATE domain SET fixed_from = 1, mail_from = 'bounces'")
        await node.accepted()
        await node.settled()
        fields = {**MAIL, "from": "ann@elsewhere.example"}
        for user, size in (("main.trigger", 10_240), ("main.batch", 10_240), ("main.batch", 2 * KNOWN_BYTES)):
            async with dispatcher._in_turn:
                known = await parts(node, internet, fields, user, size)
            lanes.detach()
            read = await parts(node, internet, fields, user, size)
            lanes.attach(dispatcher._begin)
            assert sorted(known) == TO
            assert known == read
            assert message_from_bytes(known[TO[0]][1])["From"] == f"ann@{node.accounts['main']['domain']}"
        assert len(kept) == 4 and max(kept) < KNOWN_BYTES


async def test_f25_lists_are_looked_up_for_what_is_known_too(place: Place, internet: Internet) -> None:
    async with serving(place.data, relayed(internet), url=place.url) as node:
        await node.accepted()
        await node.settled()
        assert node.running.dispatcher is not None
        async with node.running.dispatcher._in_turn:
            columns = "account_id, key, list, api_user_id, kind, created, expires"
            sql = f"INSERT INTO suppression ({columns}) VALUES ($1, 'bob@example.net', 'block', 0, 1, 0, $2)"
            await node.change(sql, await node.account_id(), EVER)
            await node.accepted(to="ann@example.net;bob@example.net")
            await node.settled()
        assert await node.recipients() == {"ann@example.net": (1, 0, 1), "bob@example.net": (4, 401, 1)}
        assert internet.mailbox.to("bob@example.net") == []


async def test_f25_what_is_known_is_read_again_after_a_minute(
    place: Place, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the answer to the commit was late."""
    clock, begin = ManualClock(), Handover.begin

    def late(handover: Handover, stored: Sequence[tuple[Mails, Known | None]], *, others: bool) -> None:
        clock.advance(timedelta(seconds=61))
        begin(handover, stored, others=others)

    async with serving(place.data, relayed(internet), LONG_LEASE, url=place.url, clock=clock) as node:
        await node.accepted("main.batch")
        await node.settled()
        await node.change("UPDATE account SET ad_tag = 1")
        monkeypatch.setattr(Handover, "begin", late)
        await node.accepted("main.batch")
        await node.settled()
        subjects = [message_from_bytes(mail.content)["Subject"] for mail in internet.mailbox.messages]
        assert subjects == ["Hello", "(AD) Hello"]


async def test_who_is_refused_in_the_transaction_leaves_no_place_taken(place: Place, internet: Internet) -> None:
    """Else its lane would be full of them."""
    async with serving(place.data, "queue.batch=2", "delivery.shards=1", relayed(internet), url=place.url) as node:
        lanes = node.running.node.submissions._handover._lanes
        assert lanes is not None
        await node.accepted(sendRequestId="one")
        await node.settled()
        for _ in range(3):
            await node.accepted(sendRequestId="one")
        assert (await node.send(labelId="999999"))["statusCode"] == 40106
        assert not lanes.busy


async def test_f21_who_is_woken(place: Place, internet: Internet, monkeypatch: pytest.MonkeyPatch) -> None:
    """For mail that is not claimed yet, and for a send to a list; nobody for what this process has."""
    async with serving(place.data, "queue.batch=2", "delivery.shards=1", relayed(internet), url=place.url) as node:
        woken: list[int] = []
        add = node.running.wake.work_added
        monkeypatch.setattr(node.running.wake, "work_added", lambda: (woken.append(1), add()))
        user = node.user("main.batch")
        await node.call("/addresslist/add", {**user, "address": NEWS, "name": "News"})
        await node.call("/addressmember/add", {**user, "address": NEWS, "members": "a@example.net"})
        await node.accepted()
        await node.settled()
        assert len(woken) == 1
        await node.accepted()
        await node.settled()
        assert len(woken) == 1
        await node.accepted(to="ann@example.net;bob@example.net;eve@example.net")
        assert len(woken) == 2
        await node.settled()
        answer = await node.send("main.batch", to=NEWS, useAddressList="true")
        assert answer["statusCode"] == 40821 and len(woken) >= 3
        await node.settled()


async def test_what_postgresql_surely_did_not_store_leaves_no_place_taken(
    tmp_path: Path, postgres: Server, internet: Internet
) -> None:
    """And is not looked for, since it cannot be there."""
    url = postgres.create("undone", "migrated")
    await bootstrapped(tmp_path, url, ["main"])
    async with serving(tmp_path, relayed(internet), url=url) as node:
        lanes = node.running.node.submissions._handover._lanes
        assert lanes is not None
        await node.accepted()
        await node.settled()
        await node.change(FULL_DISK)
        await node.change("CREATE TRIGGER away BEFORE INSERT ON recipient EXECUTE FUNCTION full_disk()")
        lanes.attach(lambda *_: pytest.fail("it was handed over"))
        assert (await node.send())["statusCode"] == 40901
        assert not lanes.busy
        assert lanes.doubt_since is None


async def test_f22_nothing_is_sent_before_the_commit(place: Place, internet: Internet, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(place.data, relayed(internet), url=place.url) as node:
        await node.accepted()
        await node.settled()
        store, go_on = node.running.node.store, asyncio.Event()
        write = store.write

        async def late(unit: Unit[T]) -> T:
            result = await write(unit)
            await go_on.wait()
            return result

        monkeypatch.setattr(store, "write", late)
        sending = asyncio.create_task(node.accepted(to="bob@example.net"))
        await asyncio.sleep(0.3)
        assert internet.mailbox.to("bob@example.net") == [] and not sending.done()
        go_on.set()
        await sending
        await internet.mailbox.wait_for("bob@example.net")


async def test_f22_places_end_with_the_first_recipient_who_finds_none(place: Place, internet: Internet) -> None:
    """Its lane is not the node's yet."""
    for domain in ("known.example", "new.example"):
        internet.add_domain(domain, internet.hosts["mx.example.net"])
    async with serving(place.data, *by_mx(internet), url=place.url, stop_s=0.1) as node:
        dispatcher = node.running.dispatcher
        assert dispatcher is not None
        await node.accepted(to="ann@known.example")
        await node.settled()
        async with dispatcher._in_turn:
            await node.accepted(to="stall+1@known.example;stall+2@new.example;stall+3@known.example")
            found = await node.rows("SELECT lane, tries FROM work ORDER BY id")
            assert found == [("mx:known.example", 1), ("mx:new.example", 0), ("mx:known.example", 0)]
        for host in internet.hosts.values():
            await host.close()


async def test_f23_in_quiet_hours_nothing_is_claimed_as_it_is_stored(place: Place, internet: Internet) -> None:
    async with serving(place.data, relayed(internet), LONG_LEASE, url=place.url, clock=ManualClock()) as node:
        await node.accepted()
        await node.settled()
        end = await quiet(node, begun=30, minutes=90)
        assert node.running.dispatcher is not None
        async with node.running.dispatcher._in_turn:
            await node.accepted(to="bob@example.net")
            assert await node.rows("SELECT due, tries, lease FROM work") == [(end, 0, 0)]
            await asyncio.sleep(0.1)
            assert internet.mailbox.to("bob@example.net") == []
