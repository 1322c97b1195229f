"""The guarded client against real sockets on loopback, which is the one private network that it may call here."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network

import pytest

from aurorasend.http_guard import MAX_BODY, BadUrl, Outside, checked_url, is_public
from aurorasend.resolver import DnsResolver
from aurorasend.simulator import NameServer

LOOPBACK = (ip_network("127.0.0.0/8"),)
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Site:
    """Answers every request with `answer`, and keeps what was asked."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while await self.one(reader, writer):
            pass

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
        self.asked.append(head + await reader.readexactly(length))
        writer.write(self.answer)
        return self.answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n")


@asynccontextmanager
async def serving(talk: Talk) -> AsyncIterator[int]:
    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def calling(allowed: tuple[object, ...] = LOOPBACK) -> AsyncIterator[tuple[Outside, NameServer]]:
    names = NameServer()
    await names.start()
    outside = Outside(DnsResolver([(names.address, names.port)], deadline_s=1.0), allowed)  # type: ignore[arg-type]
    try:
        yield outside, names
    finally:
        await outside.close()
        await names.close()


def answer(status: str, body: bytes = b"", *fields: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields])
    return head.encode() + b"\r\n\r\n" + body


async def test_a_connection_is_used_again_only_by_who_asks_for_it() -> None:
    site = Site(answer("200 OK", b"hello"))
    async with serving(site) as port, calling() as (outside, _):
        for reuse, connections in ((True, 1), (True, 1), (False, 2), (False, 3), (True, 3)):
            assert (await outside.post(f"http://127.0.0.1:{port}/", b"x", {}, deadline_s=3, reuse=reuse)).status == 200
            assert site.connections == connections
        await outside.get(f"http://127.0.0.1:{port}/", deadline_s=3)
        assert site.connections == 4


async def test_get_and_post() -> None:
    site = Site(answer("200 OK", b"hello"))
    async with serving(site) as port, calling() as (outside, _):
        reply = await outside.get(f"http://127.0.0.1:{port}/a?b=c", deadline_s=3)
        assert (reply.status, reply.body) == (200, b"hello")
        reply = await outside.post(f"http://127.0.0.1:{port}/", b"{}", {"Content-Type": "application/json"}, deadline_s=3)
        assert reply.status == 200
    assert site.asked[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert site.asked[1].endswith(b"\r\n\r\n{}")
    assert b"content-type: application/json" in site.asked[1].lower()


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "168.63.129.16",
        "192.0.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_what_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"])
def test_what_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "inside.example", "a.localhost", "mixed.example", "v6.example"],
)
async def test_private_addresses_are_not_called(host: str) -> None:
    """Nobody is even connected to."""
    connections = []

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)

    async with serving(count) as port, calling(()) as (outside, names):
        names.add("inside.example", "A", "127.0.0.1")
        names.add("mixed.example", "A", "127.0.0.1", "127.0.0.2")
        names.add("v6.example", "AAAA", "::ffff:127.0.0.1")
        reply = await outside.get(f"http://{host}:{port}/", deadline_s=3)
    assert reply.status == 0
    assert "not public" in reply.why
    assert connections == []


async def test_a_name_leads_where_it_was_checked_to_lead() -> None:
    """DNS rebinding: the answer that was checked is the address that is connected to, whatever DNS says a moment later."""
    site = Site(answer("200 OK"))
    async with serving(site) as port, calling() as (outside, names):
        names.add("hooks.example", "A", "127.0.0.1")
        assert (await outside.get(f"http://hooks.example:{port}/", deadline_s=3)).status == 200
        assert [question for question in names.questions if question[1] == "A"] == [("hooks.example", "A")]
        assert f"host: hooks.example:{port}".encode() in site.asked[0].lower()


async def test_an_allowed_network_opens_that_network_only() -> None:
    site = Site(answer("200 OK"))
    async with serving(site) as port, calling((ip_network("127.0.0.2/32"),)) as (outside, _):
        assert "not public" in (await outside.get(f"http://127.0.0.1:{port}/", deadline_s=3)).why
    async with serving(site) as port, calling() as (outside, _):
        assert (await outside.get(f"http://[::ffff:127.0.0.1]:{port}/", deadline_s=3)).why != "the address is not public"


async def test_redirects_are_not_followed() -> None:
    other, first = Site(answer("200 OK")), Site(b"")
    async with serving(other) as port, serving(first) as begin, calling() as (outside, _):
        first.answer = answer("302 Found", b"", f"Location: http://127.0.0.1:{port}/")
        assert (await outside.get(f"http://127.0.0.1:{begin}/", deadline_s=3)).status == 302
    assert other.asked == []


async def test_cookies_and_proxies_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(answer("200 OK", b"", "Set-Cookie: a=b"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with serving(site) as port, calling() as (outside, _):
        for _ in range(2):
            assert (await outside.get(f"http://127.0.0.1:{port}/", deadline_s=3)).status == 200
    assert all(b"cookie" not in asked.lower() for asked in site.asked)


async def test_a_peer_that_stalls_is_left_at_the_deadline() -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    for talk in (stall, drip):
        async with serving(talk) as port, calling() as (outside, _):
            began = time.monotonic()
            reply = await outside.get(f"http://127.0.0.1:{port}/", deadline_s=0.3)
            assert (reply.status, reply.why) == (0, "no answer within 0.3 s")
            assert time.monotonic() - began < 2


async def test_a_long_answer_is_read_so_far() -> None:
    site = Site(answer("200 OK", b"x" * (50 * MAX_BODY)))
    async with serving(site) as port, calling() as (outside, _):
        reply = await outside.get(f"http://127.0.0.1:{port}/", deadline_s=3)
    assert (reply.status, len(reply.body)) == (200, MAX_BODY)


async def test_a_compressed_answer_stays_so() -> None:
    site = Site(answer("200 OK", b"\x1f\x8bnot really", "Content-Encoding: gzip"))
    async with serving(site) as port, calling() as (outside, _):
        assert (await outside.get(f"http://127.0.0.1:{port}/", deadline_s=3)).body == b"\x1f\x8bnot really"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 999999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    ],
)
async def test_nonsense_is_no_answer(said: bytes) -> None:
    site = Site(said)
    async with serving(site) as port, calling() as (outside, _):
        reply = await outside.get(f"http://127.0.0.1:{port}/", deadline_s=2)
    assert reply.status == 0
    assert reply.why and reply.why.isprintable() and len(reply.why) <= 200


async def test_no_address_and_no_listener() -> None:
    async with calling() as (outside, names):
        names.fail("broken.example")
        for url in ("http://nowhere.example/", "http://broken.example/", "http://127.0.0.1:1999/"):
            reply = await outside.get(url, deadline_s=3)
            assert reply.status == 0
            assert reply.why


@pytest.mark.parametrize("port", [22, 25, 53, 465, 587, 1023])
async def test_ports_of_other_services_are_not_called(port: int) -> None:
    async with calling() as (outside, _):
        assert (await outside.get(f"http://127.0.0.1:{port}/", deadline_s=3)).why == "not a port of the web"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "not a url",
        "ftp://files.example.com/",
        "mailto:a@b.example",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://",
        "http:///path",
        "//hooks.example/",
        "/path",
        "http://user:secret@hooks.example/",
        "http://user@hooks.example/",
        "http://@hooks.example/",
        "http://hooks.example/a b",
        "http://hooks.example/\r\nHost: x",
        "http://hooks.example/\t",
        "http://hooks.example\\@inside.example/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://256.1.1.1/",
        "http://[::1/",
        "http://[nonsense]/",
        "http://nodots/",
        "http://a..example/",
        "http://-a.example/",
        "http://hooks.example:99999/",
        "http://hooks.example:0/",
        "http://hooks.example:x/",
        "http://hooks.example/" + "a" * 2000,
        "http://hooks.example/\ud800",
    ],
)
def test_what_is_no_url_for_us(url: str) -> None:
    with pytest.raises(BadUrl):
        checked_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/",
        "HTTPS://Hooks.Example:8443/a?b=%20#c",
        "https://bücher.example/ü",
        "http://192.0.2.1/",
        "http://[2001:db8::1]:8080/",
        "http://localhost:3000/hook",
    ],
)
def test_what_is_a_url(url: str) -> None:
    assert checked_url(url).host
