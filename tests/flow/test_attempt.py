"""docs/flow.md: a mail is tried."""

import asyncio
import json
from email import message_from_bytes, policy
from pathlib import Path

import dkim
import httpx
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import load_der_private_key

from aurorasend import cli, return_path
from aurorasend.clock import HOUR, ManualClock
from aurorasend.codes import Unavailable
from aurorasend.content import Target
from aurorasend.dispatch import FAULTY_TRIES
from aurorasend.dkim import dns_record, record_name
from aurorasend.letters import Letters, Submitted
from aurorasend.message import Letter
from aurorasend.simulator import Internet, Temper
from aurorasend.store.tx import EVER
from tests.packets import receiving
from tests.running import LONG_LEASE, Place, Served, by_mx, relayed, serving


async def test_f26_content_is_read_once(data: Path, internet: Internet) -> None:
    """It is taken away between two tries of the same mail: the second does not need it."""
    async with serving(data, relayed(internet), LONG_LEASE, clock=ManualClock()) as node:
        x = {"to": ["greylist+a@example.net", "greylist+b@example.net"], "sub": {"%name%": ["Ann", "Bob"]}}
        await node.accepted(xsmtpapi=x, subject="For %name%", html="<p>Dear %name%</p>")
        for address in x["to"]:
            await node.tried(str(address), 1)
        await node.change("DELETE FROM content")
        node.pass_time(minutes=1)
        for address, name in zip(x["to"], ("Ann", "Bob"), strict=True):
            mail = message_from_bytes((await internet.mailbox.wait_for(str(address))).content, policy=policy.default)
            assert (mail["Subject"], mail.get_content().strip()) == (f"For {name}", f"<p>Dear {name}</p>")
        await node.settled()


async def test_f26_what_cannot_be_read_holds_up_nobody(data: Path) -> None:
    """Content that is no content: a fault of ours or of a disk."""
    async with serving(data, "node.roles=api", "delivery.shards=1") as node:
        await node.accepted(to="broken@example.net")
        await node.change("UPDATE content SET data = $1", b"\xc1")
        await node.accepted(to="ann@example.net;bob@example.net")
    async with serving(data, "delivery.shards=1") as node:
        await node.tried("ann@example.net", 1)
        await node.tried("bob@example.net", 1)

        async def is_put_off() -> bool:
            return await node.rows("SELECT tries, lease FROM work") == [(1, 0)]

        await node.until(is_put_off)
        assert (await node.recipients())["broken@example.net"] == (0, 0, 0)
        assert any("could not be loaded" in fault for fault in node.faults.found)
        node.expect_fault()


@pytest.mark.parametrize("size", [10, 300_000])
async def test_f26_what_can_never_be_read_is_parked(data: Path, size: int) -> None:
    """Small content is read when it is claimed, large when it is tried. It waits an hour each time, a hundred times; the
    operator has it tried again, long after its time to live."""
    clock = ManualClock()
    async with serving(data, "node.roles=api", clock=clock) as node:
        fields = node.mail(to="broken@example.net")
        answer = await node.client.post("/mail/send", data=fields, files={"attachments": ("some.bin", b"\0" * size)})
        (email_id,) = answer.json()["info"]["emailIdList"]
        (whole,) = (await node.rows("SELECT data FROM content WHERE part = 0 AND chunk = 0"))[0]
        await node.change("UPDATE content SET data = $1 WHERE part = 0 AND chunk = 0", b"\xc1")
        await node.change("UPDATE work SET tries = $1", FAULTY_TRIES - 2)
    async with serving(data, LONG_LEASE, clock=clock) as node:

        async def waits_an_hour() -> bool:
            return await node.rows("SELECT due, tries, lease FROM work") == [(clock.now_us() + HOUR, FAULTY_TRIES - 1, 0)]

        await node.until(waits_an_hour)
        node.pass_time(hours=1)
        await node.until(lambda: is_parked(node))
        assert "parked in lane" in await node.life(email_id)
        assert (await node.recipients())["broken@example.net"] == (0, 0, 0)
        node.pass_time(days=9)
        await node.change("UPDATE content SET data = $1 WHERE part = 0 AND chunk = 0", bytes(whole))
        command = ["queue", "--data", str(data), "--release"]
        released = await asyncio.to_thread(CliRunner().invoke, cli.main, command)
        assert (released.exit_code, "1 entries released" in released.stderr) == (0, True)
        await node.tried("broken@example.net", 1)
        await node.settled()
        assert (await node.recipients())["broken@example.net"] == (1, 0, 1)
        node.expect_fault()


@pytest.mark.parametrize("filled", [False, True], ids=["attached", "filled in"])
async def test_f26_large_mails_are_eight_at_a_time(data: Path, internet: Internet, *, filled: bool) -> None:
    """All of them are stalled by their hosts, which have room for twelve; a small one to the third passes the large ones
    that wait for a place, and these are asked again."""
    hosts = [internet.hosts["mx.example.net"], *[await internet.add_host(f"mx.{n}.example") for n in ("b", "c")]]
    for host in hosts[1:]:
        internet.add_domain(host.name.removeprefix("mx."), host)
    async with serving(data, *by_mx(internet), "delivery.concurrency=12", stop_s=0.1) as node:
        for domain in ("example.net", "b.example"):
            await send_large(node, domain, filled)

        async def four_are_open_at_each() -> bool:
            return [len(host.open) for host in hosts[:2]] == [4, 4]

        await node.until(four_are_open_at_each)
        await send_large(node, "c.example", filled)
        await node.accepted(to="ann@c.example")
        await node.tried("ann@c.example", 1)
        assert [host.connections for host in hosts] == [4, 4, 1]
        await hosts[0].close()

        async def another_has_its_places() -> bool:
            return len(hosts[2].open) == 4

        await node.until(another_has_its_places)
        await hosts[2].close()
        await hosts[1].close()


async def is_parked(node: Served) -> bool:
    return await node.rows("SELECT due, lease FROM work") == [(EVER, 0)]


async def send_large(node: Served, domain: str, filled: bool) -> None:
    """Large by a file, or by what a small text is filled with."""
    to = [f"stall+{n}@{domain}" for n in range(12)]
    if filled:
        await node.accepted(html="%a%" * 1000, xsmtpapi={"to": to, "sub": {"%a%": ["x" * 100] * 12}})
        return
    fields = node.mail(to=";".join(to))
    files = {"attachments": ("large.bin", b"\0" * 300_000)}
    assert (await node.client.post("/mail/send", data=fields, files=files)).json()["statusCode"] == 200


async def test_f27_the_mail_is_signed(place: Place, internet: Internet) -> None:
    made = json.loads((place.data / "bootstrap.json").read_text())["main"]
    domain, key = made["shown"]["domain"], load_der_private_key(bytes.fromhex(made["dkim"]), None)
    names = {record_name("mail", domain): dns_record(key)}  # type: ignore[arg-type]
    async with serving(place.data, relayed(internet), url=place.url) as node:
        await node.accepted(subject="Grüße")
        raw = (await internet.mailbox.wait_for("ann@example.net")).content
        assert dkim.verify(raw, dnsfunc=lambda name, timeout=5: names[name.decode().rstrip(".")].encode())
        assert f"d={domain};".encode() in raw
        await node.settled()


async def test_f27_from_is_at_a_domain_with_dmarc(place: Place, internet: Internet) -> None:
    async with serving(place.data, relayed(internet), url=place.url) as node:
        domain, given = node.accounts["main"]["domain"], {"from": "Ann <ann@elsewhere.example>", "fromName": ""}

        async def sender() -> object:
            await node.accepted(**given)
            await node.settled()
            return message_from_bytes(internet.mailbox.messages[-1].content)["From"]

        assert await sender() == "Ann <ann@elsewhere.example>"  # its domain was not looked up
        for records, address in ((7, "ann@elsewhere.example"), (23, f"ann@{domain}")):
            sql = "UPDATE domain SET vouched = 0, verified = $2, updated = updated + 1 WHERE name = $1"
            await node.change_callers(sql, domain, records)
            assert await sender() == f"Ann <{address}>"
        await node.change_callers("UPDATE domain SET vouched = 1, fixed_from = 1 WHERE name = $1", domain)
        assert await sender() == f"Ann <ann@{domain}>"


async def test_f27_batch_mail_is_marked_where_the_account_wants_it(place: Place, internet: Internet) -> None:
    async with serving(place.data, relayed(internet), url=place.url) as node:

        async def subject(given: str, user: str = "main.batch", **more: object) -> object:
            await node.accepted(user, subject=given, **more)
            await node.settled()
            return message_from_bytes(internet.mailbox.messages[-1].content, policy=policy.default)["Subject"]

        assert await subject("Sale") == "Sale"
        await node.change_callers("UPDATE account SET ad_tag = 1")
        assert await subject("Grüße") == "(AD) Grüße"
        assert await subject("Your code", "main.trigger") == "Your code"
        for marked in ("(AD) Sale", " (ad)Sale"):
            assert await subject(marked) == marked.strip()
        for value, shown in (("(AD)", "(AD) Sale"), ("Big", "(AD) Big Sale")):
            x = {"to": ["ann@example.net"], "sub": {"%kind%": [value]}}
            assert await subject("%kind% Sale", to=None, xsmtpapi=x) == shown


async def test_f27_a_later_try_is_as_the_account_wants_it_by_then(place: Place, internet: Internet) -> None:
    async with serving(place.data, relayed(internet), url=place.url, clock=ManualClock()) as node:
        given = {"from": "ann@elsewhere.example", "fromName": "", "to": "greylist@example.net", "subject": "Sale"}
        await node.accepted("main.batch", **given)
        await node.tried("greylist@example.net", 1)
        await node.change("UPDATE account SET ad_tag = 1")
        await node.change("UPDATE domain SET fixed_from = 1")
        node.pass_time(minutes=2)
        mail = message_from_bytes((await internet.mailbox.wait_for("greylist@example.net")).content)
        assert (mail["Subject"], mail["From"]) == ("(AD) Sale", f"ann@{node.accounts['main']['domain']}")


async def test_f26_mail_that_cannot_be_read_since_the_store_is_away_counts_as_not_tried(
    data: Path, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, left = Letters.small, [1]

    async def away(letters: Letters, submitted: Submitted, target: Target) -> Letter | None:
        if left:
            left.pop()
            raise Unavailable("the connection broke")
        return await read(letters, submitted, target)

    monkeypatch.setattr(Letters, "small", away)
    async with serving(data, relayed(internet)) as node:
        await node.accepted(to="ann@example.net")
        await internet.mailbox.wait(1)
        await node.settled()
        assert not left and await node.recipients() == {"ann@example.net": (1, 0, 1)}


async def test_f28_the_envelope_sender_leads_back(place: Place, internet: Internet) -> None:
    async with serving(place.data, relayed(internet), url=place.url) as node:
        await node.accepted(to="a@example.net;b@example.net")
        got = await internet.mailbox.wait(2)
        key = node.running.node.vault.derive("return path")
        ids = dict(await node.rows("SELECT address, id FROM recipient"))
        assert len({mail.mail_from for mail in got}) == 2
        for mail in got:
            assert mail.mail_from.endswith("@" + node.accounts["main"]["domain"])
            assert return_path.read(mail.mail_from, key) == (await node.account_id(), ids[mail.recipients[0]])
        await node.settled()


async def test_f28_a_domain_may_have_one_envelope_sender(place: Place, internet: Internet) -> None:
    async with serving(place.data, relayed(internet), url=place.url) as node:
        domain = node.accounts["main"]["domain"]
        await node.change("UPDATE domain SET mail_from = 'bounces' WHERE name = $1", domain)
        await node.accepted(to="a@example.net;b@example.net")
        assert {mail.mail_from for mail in await internet.mailbox.wait(2)} == {f"bounces@{domain}"}
        await node.settled()


async def test_f29_the_sandbox_keeps_it(data: Path) -> None:
    async with serving(data) as node:
        await node.accepted(to="ann@example.net;bob@example.net", subject="Grüße")
        await node.settled()
        assert {state for state, _, _ in (await node.recipients()).values()} == {1}
        assert (await node.counted())[1, 0] == 2
        kept = (await node.client.get("/sandbox.json")).json()
        assert kept["total"] == 2
        assert {(each["to"], each["subject"]) for each in kept["messages"]} == {
            ("ann@example.net", "Grüße"),
            ("bob@example.net", "Grüße"),
        }
        source: httpx.Response = await node.client.get(f"/sandbox/{kept['messages'][0]['id']}/source")
        assert source.content.startswith(b"DKIM-Signature: ")


async def test_f30_a_smart_host_takes_everything(data: Path, internet: Internet) -> None:
    dns = "delivery.dns={}:{}".format(*internet.name_servers[0])
    async with serving(data, f"delivery.route=smtp://mx.example.net:{internet.smtp_port}", dns) as node:
        await node.accepted(to="a@one.example;b@nowhere.invalid")
        await node.settled()
        assert internet.mailbox.count == 2
        assert {(name, kind) for name, kind in internet.names.questions} == {("mx.example.net", "A"), ("mx.example.net", "AAAA")}


async def test_f31_mail_exchangers(data: Path, internet: Internet) -> None:
    best, second = internet.hosts["mx.example.net"], await internet.add_host("mx2.example.net")
    names = internet.names
    internet.add_domain("two.example", best, second)
    internet.add_domain("worse-first.example", second, best)
    names.add("address-only.example", "A", second.address)
    names.add_null_mx("null.example")
    names.fail("broken.example")
    to = "two address-only worse-first null missing broken"
    async with serving(data, *by_mx(internet)) as node:
        await node.accepted(to=";".join(f"a@{name}.example" for name in to.split()))

        async def only_one_waits() -> bool:
            return await node.rows("SELECT lane, lease FROM work") == [("mx:broken.example", 0)]

        await node.until(only_one_waits)
        hosts = {mail.recipients[0]: mail.host for mail in internet.mailbox.messages}
        assert hosts == {
            "a@two.example": "mx.example.net",
            "a@address-only.example": "mx2.example.net",
            "a@worse-first.example": "mx2.example.net",
        }
        found = await node.recipients()
        assert found["a@null.example"] == found["a@missing.example"] == (4, 403, 1)
        assert found["a@broken.example"] == (18, 0, 1)
        internet.names.fail("broken.example", "")


async def test_f31_a_mail_exchanger_that_was_out_of_reach_is_tried_last(data: Path, internet: Internet) -> None:
    """The better of two turns away one connection; then it would take mail again, and is asked only when the other is away."""
    first, second = internet.hosts["mx.example.net"], await internet.add_host("mx2.example.net")
    internet.add_domain("two.example", first, second)
    internet.names.add("equal.example", "MX", "10 mx.example.net.", "10 mx2.example.net.")
    first.temper = Temper(greeting="421 4.3.2 no more connections")
    async with serving(data, *by_mx(internet)) as node:

        async def hosts_of(to: str) -> set[str]:
            await node.accepted(to=to)
            await node.settled()
            return {mail.host for address in to.split(";") for mail in internet.mailbox.to(address)}

        assert await hosts_of("a@two.example") == {"mx2.example.net"}
        assert first.connections == 1
        first.temper = Temper()
        assert await hosts_of("b@two.example") == {"mx2.example.net"}
        assert await hosts_of(";".join(f"a{n}@equal.example" for n in range(20))) == {"mx2.example.net"}
        assert first.connections == 1
        await second.close()
        assert await hosts_of("c@two.example") == {"mx.example.net"}


async def test_f32_sessions_are_few_and_used_again(data: Path, internet: Internet) -> None:
    host = internet.hosts["mx.example.net"]
    host.temper = Temper(latency_s=0.01)
    async with serving(data, relayed(internet), "delivery.concurrency=3") as node:
        await node.accepted(to=";".join(f"a{n}@example.net" for n in range(60)))
        most = 0

        async def is_done() -> bool:
            nonlocal most
            most = max(most, len(host.open))
            return await node.count("work") == 0

        await node.until(is_done)
        assert 1 < most <= 3
        assert host.connections <= 3
        assert internet.mailbox.count == 60


async def test_f32_a_prompt_session_is_used_again_before_it_has_answered(data: Path) -> None:
    async with receiving() as (hop, packets):
        async with serving(data, f"delivery.route=smtp://{hop.address}:{hop.port}", "delivery.concurrency=1") as node:
            await node.accepted(to=";".join(f"a{n}@example.net" for n in range(20)))
            await node.settled()
        assert sum(packet.count(b"RCPT TO") for packet in packets) == 20
        assert any(b"\r\n.\r\nMAIL FROM" in packet for packet in packets)


async def test_f32_mail_of_who_requires_it_is_encrypted_or_waits(place: Place, internet: Internet) -> None:
    host = internet.hosts["mx.example.net"]
    async with serving(place.data, relayed(internet), LONG_LEASE, url=place.url, clock=ManualClock()) as node:
        await node.accepted(to="clear@example.net")
        await node.settled()
        await node.change_callers("UPDATE account SET require_tls = 1 WHERE name = 'main'")
        await node.accepted(to="ann@example.net")
        await node.tried("ann@example.net", 1)
        await node.accepted("tight.trigger", to="other@example.net")
        await node.tried("other@example.net", 1)
        assert (await node.recipients())["ann@example.net"] == (18, 0, 1)
        assert [(mail.recipients[0], mail.tls) for mail in internet.mailbox.messages] == [
            ("clear@example.net", ""),
            ("other@example.net", ""),
        ]
        host.temper = Temper(starttls=True)
        node.pass_time(minutes=1)
        await node.settled()
        assert (await internet.mailbox.wait_for("ann@example.net")).tls == "TLSv1.3"


async def test_f32_a_slow_one_holds_up_nobody(data: Path, internet: Internet) -> None:
    """Not even in its own lane."""
    internet.hosts["mx.example.net"].temper = Temper(slow_s=30)
    async with serving(data, *by_mx(internet), stop_s=0.1) as node:
        await node.accepted(to="slow@example.net")
        await internet.mailbox.wait_for("slow@example.net")
        await node.accepted(to="ann@example.net")
        await internet.mailbox.wait_for("ann@example.net")
        await node.tried("ann@example.net", 1)


async def test_f33_another_host_only_when_this_one_cannot_have_it(data: Path, internet: Internet) -> None:
    """The first is full; then it hangs up before the message, refuses for now, and hangs up after the final dot."""
    first, second = internet.hosts["mx.example.net"], await internet.add_host("mx2.example.net")
    internet.add_domain("two.example", first, second)
    first.temper = Temper(greeting="421 4.3.2 no more connections")
    async with serving(data, *by_mx(internet)) as node:
        await node.accepted(to="a@two.example")
        assert (await internet.mailbox.wait_for("a@two.example")).host == "mx2.example.net"
        await node.settled()
    first.temper = Temper()
    async with serving(data, *by_mx(internet)) as node:
        for address, connections in (("drop@two.example", 2), ("450@two.example", 2)):
            await node.accepted(to=address)
            await node.tried(address, 1)
            assert second.connections == connections
        await node.accepted(to="drop-after-dot@two.example")
        await node.tried("drop-after-dot@two.example", 1)
        assert [mail.host for mail in internet.mailbox.to("drop-after-dot@two.example")] == ["mx.example.net"]
        assert (await node.recipients())["drop-after-dot@two.example"] == (18, 0, 1)


@pytest.mark.parametrize("address", ["stall@example.net", "ann@silent.example"])
async def test_f34_silence_costs_its_deadline(data: Path, internet: Internet, address: str) -> None:
    """Of a mail host that does not answer RCPT, and of a name server."""
    internet.names.fail("silent.example", "TIMEOUT")
    async with serving(data, *by_mx(internet), "delivery.reply_timeout=300ms", "delivery.dns_timeout=300ms") as node:
        await node.accepted(to=address)
        await node.tried(address, 1)
        assert (await node.recipients())[address] == (18, 0, 1)


async def test_f34_another_hop_takes_what_a_silent_one_did_not(data: Path, internet: Internet) -> None:
    """One of them does not greet."""
    silent = internet.hosts["mx.example.net"]
    internet.add_domain("two.example", silent, await internet.add_host("mx2.example.net"))
    silent.temper = Temper(latency_s=60)
    async with serving(data, *by_mx(internet), "delivery.reply_timeout=300ms") as node:
        await node.accepted(to="ann@two.example")
        assert (await internet.mailbox.wait_for("ann@two.example")).host == "mx2.example.net"
        await node.settled()
        assert silent.connections == 1 and await node.recipients() == {"ann@two.example": (1, 0, 1)}
