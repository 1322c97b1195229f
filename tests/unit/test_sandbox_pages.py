"""The sandbox's pages over real HTTP: who may look, what is shown, and that a hostile mail cannot act."""

import asyncio
import os
import re
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta, timezone
from email.message import EmailMessage
from ipaddress import ip_network
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette

from aurorasend.clock import SystemClock
from aurorasend.console.access import Network, OperatorAccess, is_loopback_host, operator_token
from aurorasend.console.mail_view import INLINED_BYTES, view_mail, with_images
from aurorasend.console.sandbox import routes
from aurorasend.sandbox import Catch, Sandbox, catch
from aurorasend.store import open_store
from aurorasend.store.migrate import migrate

TOKEN = "the-operators-token"
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
AT_US = 1_767_225_600_000_000  # 2026-01-01 00:00:00 UTC


def caught(
    id: int, recipient: str, subject: str, raw: bytes, kind: str = "mail", mail_from: str = "bounce@mail.example.com"
) -> Catch:
    return Catch(7, id, kind, AT_US, mail_from, recipient, subject, raw)


def mail(subject: str = "Hello", html: str = "<p>Hi</p>", text: str = "Hi") -> bytes:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, "Ann <ann@brand.example>", "bob@example.net"
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    return message.as_bytes()


def mail_with_files() -> bytes:
    message = EmailMessage()
    message["Subject"] = "Grüße 🎉"
    message.set_content("plain")
    message.add_alternative('<img src="cid:logo@x"><img src=cid:gone><p>Ünï</p>', subtype="html")
    html = message.get_payload()[1]
    html.add_related(PNG, "image", "png", cid="<logo@x>")
    message.add_attachment(b"<script>alert(1)</script>", maintype="text", subtype="html", filename='../../e"vil\u202e;.html')
    return message.as_bytes()


@asynccontextmanager
async def pages(*catches: Catch, proxies: Sequence[Network] = ()) -> AsyncIterator[httpx.AsyncClient]:
    with tempfile.TemporaryDirectory() as folder:
        await migrate("sqlite", Path(folder))
        store = open_store("sqlite", Path(folder), SystemClock())
        await store.write(lambda tx: catch(tx, catches))
        table = routes(Sandbox(store, 10_000, 1 << 30), OperatorAccess(TOKEN, proxies), timezone(timedelta(hours=8)))
        async with serving(Starlette(routes=table)) as client:
            yield client
        await store.close()


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", proxy_headers=False, lifespan="off"))
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY by the protocol
    listening.bind(("127.0.0.1", 0))
    listening.listen()  # what connects before the server accepts waits in the backlog
    running = asyncio.create_task(server.serve([listening]))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        await running


HELLO = caught(1, "bob@example.net", "Hello", mail())
STRANGERS = [
    {"X-Forwarded-For": "203.0.113.9"},
    {"Forwarded": "for=203.0.113.9"},
    {"X-Real-IP": "203.0.113.9"},
    {"Via": "1.1 proxy"},
    {"Host": "rebound.example"},
    {"Host": "127.0.0.1.rebound.example"},
    {"Host": "mail.example.com:8025"},
]


async def test_who_comes_through_a_proxy_here_is_a_stranger() -> None:
    """One that is named in http.proxies, and one that speaks HTTP/1.0 and says nothing of itself."""
    async with pages(HELLO, proxies=[ip_network("127.0.0.0/8")]) as client:
        await is_refused(client, "/sandbox", {})
    async with pages(HELLO) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(f"GET /sandbox.json HTTP/1.0\r\nHost: 127.0.0.1:{client.base_url.port}\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert b" 401 " in answer.splitlines()[0] and b"bob@example.net" not in answer


async def test_people_at_this_machine_see_what_was_caught() -> None:
    async with pages(HELLO) as client:
        page = await client.get("/sandbox")
        assert page.status_code == 200
        assert "bob@example.net" in page.text and 'href="/sandbox/1"' in page.text
        assert "2026-01-01 08:00:00" in page.text
        for host in ("localhost:8025", "[::1]:8025", "127.9.9.9", "mail.localhost"):
            assert (await client.get("/sandbox", headers={"Host": host})).status_code == 200


async def test_strangers_see_nothing() -> None:
    async with pages(HELLO) as client:
        for path in ("/sandbox", "/sandbox.json", "/sandbox/1", "/sandbox/1.json", "/sandbox/1/html", "/sandbox/1/source"):
            for headers in STRANGERS:
                await is_refused(client, path, headers)
                answer = await client.get(path, headers={**headers, "Authorization": f"Bearer {TOKEN}"})
                assert answer.status_code == 200


async def is_refused(client: httpx.AsyncClient, path: str, headers: dict[str, str]) -> None:
    for wrong in ("Bearer nonsense", "Bearer", f"Basic {TOKEN}", "Bearer tökén".encode()):
        answer = await client.get(path, headers={**headers, "Authorization": wrong})
        assert answer.status_code == 401
        assert "bob@" not in answer.text and "Hello" not in answer.text  # a nonce may have "bob"


async def test_the_token_becomes_a_cookie_and_leaves_the_address() -> None:
    host = {"Host": "mail.example.com"}
    async with pages(HELLO) as client:
        answer = await client.get("/sandbox", params={"to": "bob", "token": TOKEN}, headers=host)
        assert (answer.status_code, answer.headers["location"]) == (303, "/sandbox?to=bob")
        cookie = answer.headers["set-cookie"]
        assert TOKEN not in cookie and "HttpOnly" in cookie and "SameSite=lax" in cookie
        pair = cookie.partition(";")[0]
        assert (await client.get("/sandbox/1", headers={**host, "Cookie": pair})).status_code == 200
        client.cookies.clear()
        assert (await client.get("/sandbox/1", headers={**host, "Cookie": pair[:-1]})).status_code == 401
        assert (await client.get("/sandbox", params={"token": "wrong"}, headers=host)).status_code == 401


async def test_the_token_can_be_typed_into_the_page() -> None:
    host = {"Host": "mail.example.com"}
    async with pages(HELLO) as client:
        assert (await client.post("/sandbox", data={"token": TOKEN}, headers=host)).status_code == 303
        client.cookies.clear()
        assert (await client.post("/sandbox", data={"token": "wrong"}, headers=host)).status_code == 401
        assert (await client.post("/sandbox", data={"token": TOKEN, "x": "x" * 5000}, headers=host)).status_code == 401


async def test_a_secure_site_gets_a_secure_cookie_only() -> None:
    async with pages(HELLO) as client:
        answer = await client.get("/sandbox", params={"token": TOKEN})
        assert "Secure" not in answer.headers["set-cookie"]


async def test_the_list_is_paged_and_searched() -> None:
    many = [caught(n, f"r{n}@example.net", f"S{n}", mail()) for n in range(120)]
    async with pages(*many) as client:
        first = (await client.get("/sandbox")).text
        assert first.index("S119") < first.index("S118") and "S69<" not in first
        assert "start=50" in first and "Newer" not in first
        last = (await client.get("/sandbox?start=100")).text
        assert "S0<" in last and "Older" not in last and "start=50" in last
        found = (await client.get("/sandbox.json", params={"to": "r11", "limit": 2, "start": 1})).json()
        assert found["total"] == 11
        assert [one["to"] for one in found["messages"]] == ["r118@example.net", "r117@example.net"]


async def test_a_wrong_page_is_said() -> None:
    async with pages(HELLO) as client:
        numbers = ("start=-1", "start=x", "limit=1001", "limit=99999999999", "start=1e3", "start=٣")
        for query in (*numbers, "to=a%00b", f"to={300 * 'a'}"):
            answer = await client.get(f"/sandbox.json?{query}")
            assert answer.status_code == 400 and answer.json()["error"].endswith("."), query


async def test_what_is_not_there_is_not_found() -> None:
    async with pages(HELLO) as client:
        for id in ("2", "x", "-1", "9" * 19, "1" * 5000, "%00", "1%2e", "٣"):
            for end in ("", ".json", "/html", "/source", "/part/0"):
                assert (await client.get(f"/sandbox/{id}{end}")).status_code == 404, (id, end)
        assert (await client.get("/sandbox/1/part/99")).status_code == 404
        assert (await client.get("/sandbox/1/part/0")).status_code == 404


async def test_programs_read_a_mail() -> None:
    raw = mail_with_files()
    async with pages(caught(5, "bob@example.net", "Grüße 🎉", raw)) as client:
        found = (await client.get("/sandbox/5.json")).json()
        assert found["at"] == "2026-01-01T00:00:00+00:00" and found["kind"] == "mail"
        assert ["Subject", "Grüße 🎉"] in found["headers"]
        assert "Ünï" in found["html"] and found["text"].strip() == "plain"
        logo = next(one for one in found["attachments"] if one["cid"] == "logo@x")
        assert (await client.get(logo["path"])).content == PNG
        assert (await client.get(found["source"])).content == raw


async def test_pictures_of_the_mail_are_in_its_html() -> None:
    async with pages(caught(5, "bob@example.net", "x", mail_with_files())) as client:
        html = (await client.get("/sandbox/5/html")).text
        assert 'src="data:image/png;base64,iVBORw0KGgpwaXhlbHM="' in html
        assert "cid:gone" in html


async def test_the_sandbox_is_emptied_by_a_program() -> None:
    async with pages(HELLO) as client:
        assert (await client.delete("/sandbox", headers={"Host": "rebound.example"})).status_code == 401
        assert (await client.get("/sandbox.json")).json()["total"] == 1
        assert (await client.delete("/sandbox")).json() == {"removed": 1}
        assert (await client.get("/sandbox.json")).json()["total"] == 0
        assert "Nothing was caught yet" in (await client.get("/sandbox")).text


async def test_a_short_message_is_shown() -> None:
    async with pages(caught(9, "+6591234567", "", "Code <b>1</b> 你".encode(), "sms", "ACME")) as client:
        assert "Code &lt;b&gt;1&lt;/b&gt; 你" in (await client.get("/sandbox/9")).text
        assert (await client.get("/sandbox/9.json")).json()["text"] == "Code <b>1</b> 你"
        assert (await client.get("/sandbox/9/html")).status_code == 404


async def test_a_hostile_mail_cannot_act() -> None:
    attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    raw = mail(subject=attack, html=attack, text=attack)
    async with pages(caught(3, attack, attack, raw, mail_from=attack)) as client:
        for path in ("/sandbox", "/sandbox/3", "/sandbox?to=" + attack):
            page = await client.get(path)
            assert page.status_code == 200
            assert "<script>" not in page.text and "<img" not in page.text
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "script-src" not in policy and "unsafe" not in policy
        frame = re.search(r"<iframe[^>]*>", (await client.get("/sandbox/3")).text)
        assert frame and re.search(r"\ssandbox\s", frame[0]) and "allow-" not in frame[0]
        html = await client.get("/sandbox/3/html")
        policy = html.headers["content-security-policy"]
        assert policy.startswith("sandbox; default-src 'none'") and "allow-" not in policy and "http" not in policy
        source = await client.get("/sandbox/3/source")
        assert source.headers["content-type"].startswith("text/plain") and source.headers["x-content-type-options"] == "nosniff"


async def test_a_file_is_only_downloaded() -> None:
    async with pages(caught(5, "bob@example.net", "x", mail_with_files())) as client:
        files = (await client.get("/sandbox/5.json")).json()["attachments"]
        evil = next(one for one in files if one["name"].endswith(".html"))
        assert "/" not in evil["name"] and "\u202e" not in evil["name"]
        answer = await client.get(evil["path"])
        assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("sandbox")


BROKEN = (
    b"",
    b"\xff\xfe\x00",
    b"Subject: =?x-none?b?AAAA?=\r\n\r\nbody",
    b"Subject: =?utf-8?b?A?=\r\nContent-Type: text/html; charset=x-none\r\n\r\n<p>\xff</p>",
    b"Subject: \xff\xff\r\nContent-Type: text/html; charset*=bogus''utf-8\r\n\r\nbody",
    b"Content-Type: multipart/mixed\r\n\r\nno boundary",
    b"Content-Transfer-Encoding: base64\r\n\r\n!!!!",
    b"Content-Type: application/x; name*0*=x-none''%ff; name*1*=%ff\r\n\r\nbody",
    b"Content-Type: text/html; charset=\x00\r\n\r\nbody",
    b"Content-Type: text/plain; charset=utf-16\r\n\r\n\x00\xd8",
    b"Content-Type: text/plain; charset=idna\r\n\r\n\xff\xfe",
    b"Content-Type: text/plain; charset=base64\r\n\r\nbody",
)


async def test_a_broken_mail_is_shown_as_far_as_it_goes() -> None:
    async with pages(*(caught(n, "bob@example.net", "x", raw) for n, raw in enumerate(BROKEN))) as client:
        for n, raw in enumerate(BROKEN):
            assert (await client.get(f"/sandbox/{n}")).status_code == 200, raw
            assert (await client.get(f"/sandbox/{n}.json")).status_code == 200, raw
            assert (await client.get(f"/sandbox/{n}/html")).status_code in (200, 404), raw
            assert (await client.get(f"/sandbox/{n}/source")).content == raw


def test_parts_within_parts_without_end_are_not_followed() -> None:
    head = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(3000))
    assert view_mail(head + b"\r\nbody").attachments == ()


def test_one_picture_named_often_does_not_fill_the_memory() -> None:
    message = EmailMessage()
    message.set_content("<img src=cid:a>" * 100, subtype="html")
    message.add_related(b"x" * (2 << 20), "image", "png", cid="<a>")
    assert len(with_images(view_mail(message.as_bytes()))) < 1.5 * INLINED_BYTES


def test_the_token_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "operator.token"
    token = operator_token(path)
    assert len(token) >= 32 and operator_token(path) == token
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_an_empty_token_opens_nothing() -> None:
    assert not OperatorAccess("")._is_token("") and not OperatorAccess("")._is_cookie("")


def test_only_names_of_this_machine_are_its_names() -> None:
    assert all(map(is_loopback_host, ["localhost", "LOCALHOST:1", "a.localhost", "127.0.0.1", "[::1]:5", "[::ffff:127.0.0.1]"]))
    assert not any(
        map(is_loopback_host, ["", "localhost.example", "10.0.0.1", "0.0.0.0", "[::]", "127.0.0.1.example", "xlocalhost"])
    )
