"""The simulated internet, seen by independent clients: aiosmtplib and dnspython."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiosmtplib
import dns.asyncresolver
import dns.resolver
import pytest

from aurorasend.simulator import Internet, MailHost, Temper

LETTER = b"Subject: hello\r\n\r\n.dot\r\nHello\r\n"


@asynccontextmanager
async def simulated(temper: Temper | None = None) -> AsyncIterator[tuple[Internet, MailHost]]:
    async with Internet() as internet:
        yield internet, await internet.add_host("mx.example", temper)


def client(host: MailHost) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(hostname=host.address, port=host.port, timeout=2, local_hostname="us.example", start_tls=False)


def secure_client(host: MailHost) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(hostname=host.address, port=host.port, timeout=2, start_tls=True, validate_certs=False)


async def send(host: MailHost, *to: str) -> tuple[dict[str, aiosmtplib.response.SMTPResponse], str]:
    async with client(host) as smtp:
        return await smtp.sendmail("a@x.example", list(to), LETTER)


async def dialog(host: MailHost, *writes: bytes) -> bytes:
    """All that a host says when it hears `writes`, each in a packet of its own."""
    reader, writer = await asyncio.open_connection(host.address, host.port)
    for octets in writes:
        writer.write(octets)
        await asyncio.sleep(0.02)
    writer.write_eof()
    async with asyncio.timeout(2):
        said = await reader.read()
    writer.close()
    return said


async def test_a_message_arrives_as_sent() -> None:
    async with simulated() as (internet, host):
        refused, said = await send(host, "b@y.example", "c@y.example")
        assert (refused, said) == ({}, "2.0.0 OK 1")
        got = await internet.mailbox.wait_for("c@y.example")
        assert (got.mail_from, got.recipients, got.content) == ("a@x.example", ("b@y.example", "c@y.example"), LETTER)
        assert (got.host, got.helo, got.tls, got.user) == ("mx.example", "us.example", "", "")
        assert internet.mailbox.to("d@y.example") == []


@pytest.mark.parametrize(
    ("local", "code"),
    [
        ("550", 550),
        ("452", 452),
        ("421", 421),
        ("no-such-user", 550),
        ("full", 452),
        ("spam", 550),
        ("550+tag", 550),
        ("Full", 452),
    ],
)
async def test_a_recipient_is_refused_as_it_asks(local: str, code: int) -> None:
    async with simulated() as (internet, host):
        with pytest.raises((aiosmtplib.SMTPRecipientsRefused, aiosmtplib.SMTPServerDisconnected)) as caught:
            await send(host, f"{local}@y.example")
        if isinstance(caught.value, aiosmtplib.SMTPRecipientsRefused):
            assert [each.code for each in caught.value.recipients] == [code]
        assert internet.mailbox.count == 0


async def test_some_are_refused_and_some_not() -> None:
    async with simulated() as (internet, host):
        refused, _ = await send(host, "b@y.example", "no-such-user@y.example")
        assert list(refused) == ["no-such-user@y.example"]
        assert internet.mailbox.messages[0].recipients == ("b@y.example",)


async def test_greylisting_opens_at_the_second_try() -> None:
    async with simulated() as (internet, host):
        for to in ("greylist@y.example", "greylist+2@y.example"):
            with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as caught:
                await send(host, to)
            assert caught.value.recipients[0].code == 451
            await send(host, to)
        assert internet.mailbox.count == 2


async def test_refused_after_data() -> None:
    async with simulated() as (internet, host):
        with pytest.raises(aiosmtplib.SMTPDataError) as caught:
            await send(host, "data-550@y.example")
        assert caught.value.code == 550
        await send(host, "b@y.example")
        assert internet.mailbox.count == 1


async def test_drop_after_dot_takes_the_message_and_says_nothing() -> None:
    async with simulated() as (internet, host):
        with pytest.raises(aiosmtplib.SMTPServerDisconnected):
            await send(host, "drop-after-dot@y.example")
        assert internet.mailbox.count == 1


async def test_drop_and_stall() -> None:
    async with simulated() as (internet, host):
        with pytest.raises(aiosmtplib.SMTPServerDisconnected):
            await send(host, "drop@y.example")
        with pytest.raises((aiosmtplib.SMTPTimeoutError, TimeoutError)):
            async with asyncio.timeout(0.3):
                await send(host, "stall@y.example")
        assert internet.mailbox.count == 0


async def test_slow_is_slow() -> None:
    async with simulated(Temper(slow_s=0.2, latency_s=0.01)) as (internet, host):
        began = asyncio.get_running_loop().time()
        await send(host, "slow@y.example")
        assert asyncio.get_running_loop().time() - began > 0.2
        assert internet.mailbox.count == 1


async def test_starttls_and_login() -> None:
    async with simulated(Temper(starttls=True, login=("me", "secret"))) as (internet, host):
        async with secure_client(host) as smtp:
            with pytest.raises(aiosmtplib.SMTPAuthenticationError):
                await smtp.login("me", "wrong")
            with pytest.raises(aiosmtplib.SMTPResponseException):
                await smtp.sendmail("a@x.example", ["b@y.example"], LETTER)
            await smtp.auth_plain("me", "secret")
            await smtp.sendmail("a@x.example", ["b@y.example"], LETTER)
        async with secure_client(host) as smtp:
            await smtp.auth_login("me", "secret")
            await smtp.sendmail("a@x.example", ["b@y.example"], LETTER)
        assert [(got.user, got.tls) for got in internet.mailbox.messages] == [("me", "TLSv1.3")] * 2


async def test_what_is_sent_in_clear_behind_starttls_is_dropped() -> None:
    async with simulated(Temper(starttls=True)) as (internet, host):
        said = await dialog(host, b"EHLO us\r\nSTARTTLS\r\nMAIL FROM:<a@x.example>\r\n")
        assert said.rstrip().endswith(b"220 2.0.0 go on")
        assert internet.mailbox.count == 0


async def test_the_extensions_are_those_of_the_temper() -> None:
    async with simulated(Temper(pipelining=False, smtputf8=False, size_bytes=1234)) as (_, host):
        async with client(host) as smtp:
            await smtp.ehlo()
            assert (smtp.supports_extension("pipelining"), smtp.supports_extension("smtputf8")) == (False, False)
            assert smtp.esmtp_extensions["size"] == "1234"
            with pytest.raises(aiosmtplib.SMTPResponseException) as caught:
                await smtp.sendmail("a@x.example", ["b@y.example"], b"x" * 2000)
            assert caught.value.code == 552


async def test_so_many_messages_and_no_more() -> None:
    async with simulated(Temper(max_messages=1)) as (internet, host):
        async with client(host) as smtp:
            await smtp.sendmail("a@x.example", ["b@y.example"], LETTER)
            with pytest.raises((aiosmtplib.SMTPResponseException, aiosmtplib.SMTPServerDisconnected)):
                await smtp.sendmail("a@x.example", ["b@y.example"], LETTER)
        assert internet.mailbox.count == 1


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n"])
async def test_nothing_but_crlf_dot_crlf_ends_a_message(end: bytes) -> None:
    smuggled = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\nevil\r\n.\r\n"
    async with simulated() as (internet, host):
        start = b"EHLO us\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n"
        for writes in ([start, b"hello" + end + smuggled], [start, b"hello" + end[:1], end[1:], smuggled]):
            said = await dialog(host, *writes)
            assert said.count(b"354") == 1, "what is behind it was not taken for commands"
            assert internet.mailbox.count == 0


async def test_pipelined_octets_may_come_in_any_pieces() -> None:
    envelope = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n"
    whole = b"EHLO us\r\n" + envelope + b".\r\n" + envelope + b"x\r\n.\r\nQUIT\r\n"
    async with simulated() as (internet, host):
        for size in (1, 7, len(whole)):
            before = internet.mailbox.count
            reader, writer = await asyncio.open_connection(host.address, host.port)
            for at in range(0, len(whole), size):
                writer.write(whole[at : at + size])
                await writer.drain()
                await asyncio.sleep(0)
            async with asyncio.timeout(2):
                said = await reader.read()
            writer.close()
            assert said.endswith(b"221 2.0.0 bye\r\n")
            assert internet.mailbox.count == before + 2
        assert [got.content for got in internet.mailbox.messages] == [b"", b"x\r\n"] * 3


async def test_bad_manners_are_answered() -> None:
    async with simulated() as (_, host):
        commands = [
            "MAIL FROM:<a@x>",
            "EHLO us",
            "DATA",
            "RCPT TO:<b@y>",
            "MAIL FROM:a",
            "FOO",
            "MAIL FROM:<a@x>",
            "MAIL FROM:<a@x>",
            "",
        ]
        said = (await dialog(host, "\r\n".join(commands).encode())).decode().split("\r\n")
        assert [line[:3] for line in said if line[3:4] == " "] == ["220", "503", "250", "503", "503", "501", "502", "250", "503"]
        assert b"500" in await dialog(host, b"EHLO us\nMAIL FROM:<a@x>\r\n")
        assert b"500" in await dialog(host, b"x" * 10_000)


async def test_the_mailbox_keeps_the_latest_and_waits() -> None:
    async with Internet(keep=3) as internet:
        host = await internet.add_host("mx.example")
        waiting = asyncio.ensure_future(internet.mailbox.wait(5))
        for n in range(5):
            await send(host, f"b{n}@y.example")
        assert [got.recipients[0] for got in await waiting] == ["b2@y.example", "b3@y.example", "b4@y.example"]
        with pytest.raises(TimeoutError):
            await internet.mailbox.wait(6, timeout_s=0.05)
        with pytest.raises(TimeoutError):
            await internet.mailbox.wait_for("nobody@y.example", timeout_s=0.05)


async def test_hosts_have_addresses_of_their_own_and_one_port() -> None:
    async with Internet() as internet:
        hosts = [await internet.add_host(f"mx{n}.example") for n in range(3)]
        assert len({host.address for host in hosts}) == 3
        assert {host.port for host in hosts} == {internet.smtp_port}


# -- names


def resolver(internet: Internet) -> dns.asyncresolver.Resolver:
    ask = dns.asyncresolver.Resolver(configure=False)
    ask.nameservers = [internet.names.address]
    ask.port = internet.names.port
    ask.lifetime = 0.5
    return ask


async def test_dnspython_reads_the_zones() -> None:
    async with Internet(ttl_s=60) as internet:
        hosts = [await internet.add_host(f"mx{n}.a.example") for n in (1, 2)]
        internet.add_domain("a.example", *hosts)
        internet.names.add_txt("k._domainkey.a.example", "v=DKIM1; p=" + "A" * 400)
        internet.names.add_null_mx("null.example")
        ask = resolver(internet)
        mx = await ask.resolve("A.Example", "MX")
        hosts_of = sorted((each.preference, str(each.exchange).lower()) for each in mx)
        assert hosts_of == [(10, "mx1.a.example."), (20, "mx2.a.example.")]
        assert mx.rrset is not None
        assert mx.rrset.ttl == 60
        assert [str(each) for each in await ask.resolve("mx2.a.example", "A")] == [hosts[1].address]
        (txt,) = await ask.resolve("k._domainkey.a.example", "TXT")
        assert b"".join(txt.strings) == b"v=DKIM1; p=" + b"A" * 400
        assert [str(each) for each in await ask.resolve("null.example", "MX")] == ["0 ."]
        over_tcp = await ask.resolve("k._domainkey.a.example", "TXT", tcp=True)
        assert over_tcp.rrset == (await ask.resolve("k._domainkey.a.example", "TXT")).rrset


async def test_names_fail_as_told() -> None:
    async with Internet() as internet:
        internet.names.add_mx("a.example", "mx.a.example")
        ask = resolver(internet)
        with pytest.raises(dns.resolver.NXDOMAIN):
            await ask.resolve("nowhere.example", "MX")
        with pytest.raises(dns.resolver.NoAnswer):
            await ask.resolve("a.example", "A")
        with pytest.raises(dns.resolver.NoAnswer):
            await ask.resolve("example", "A")
        internet.names.fail("a.example")
        with pytest.raises(dns.resolver.NoNameservers):
            await ask.resolve("a.example", "MX")
        internet.names.fail("a.example", "TIMEOUT")
        with pytest.raises(dns.resolver.LifetimeTimeout):
            await ask.resolve("a.example", "MX")
        internet.names.fail("a.example", "")
        assert len(await ask.resolve("a.example", "MX")) == 1


async def test_every_domain_is_served_when_one_host_catches_all() -> None:
    async with Internet() as internet:
        host = await internet.add_host("mx.simulator.example")
        internet.names.catch_all = host.name
        ask = resolver(internet)
        assert [str(each.exchange) for each in await ask.resolve("anything.example.net", "MX")] == ["mx.simulator.example."]
        with pytest.raises(dns.resolver.NXDOMAIN):
            await ask.resolve("anything.invalid", "MX")


async def test_noise_is_not_answered() -> None:
    async with Internet() as internet:
        assert internet.names.answer(b"") is None
        assert internet.names.answer(b"\xff" * 40) is None
