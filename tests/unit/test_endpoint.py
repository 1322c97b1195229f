"""Endpoints over a real socket: routes, order of checks, envelopes, faults, limits of bodies. The endpoints are of this file."""

import asyncio
import ipaddress
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import httpx
import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from aurorasend.carrier import Parameters
from aurorasend.clock import SystemClock, zone
from aurorasend.codes import Code, Refused, Unavailable
from aurorasend.config import Settings
from aurorasend.endpoint import Answer, Auth, Call, Catalogue, Frequency, Info, Server, changed, endpoint, endpoint_v1, one
from aurorasend.fields import Field, text
from aurorasend.http import Budget, HttpApp, Limits
from aurorasend.http_connection import Connection
from aurorasend.http_listener import Listening, Occupancy

Word = Annotated[
    str, Field("word", text(5), empty=Code.LABEL_NAME_EMPTY, invalid=Code.LABEL_NAME_LENGTH, too_long=Code.LABEL_NAME_LENGTH)
]


@dataclass(frozen=True, kw_only=True)
class Say:
    word: Word


@dataclass(frozen=True, kw_only=True)
class Nothing:
    pass


@endpoint("echo/sayWord", raises=[Code.LABEL_UNKNOWN, Code.LIST_ALIAS_UNKNOWN], aliases=("other/say",))
async def say(call: Call[Any], p: Say) -> Info:
    """Say a word."""
    if p.word == "none":
        raise Refused(Code.LABEL_UNKNOWN)
    if p.word == "list":
        raise Refused(Code.LIST_ALIAS_UNKNOWN, "news@x")
    return one({"word": p.word, "region": call.region, "peer": call.peer, "caller": call.caller.name})


@endpoint(
    "mail/send",
    raises=[Code.ADDRESS_LIST_TASK_CREATED],
    frequency=Frequency.SEND,
    permit=lambda call: call.caller.may(),
    unavailable=Code.SEND_FAILED,
)
async def send(call: Call[Any], p: Say) -> Info | Answer:
    if p.word == "task":
        return Answer(Code.ADDRESS_LIST_TASK_CREATED, {"maillistTaskId": [1]})
    raise Unavailable("the store is away")


@endpoint_v1("webapi/mail.send.json", send)
async def send_v1(call: Call[Any], p: Say) -> Info:
    return {"email_id_list": [p.word]}


@endpoint(
    "smsapi/send",
    auth=Auth.SMS,
    prefixes=("",),
    frequency=Frequency.SMS,
    unreadable=Code.SMS_VARS_INVALID,
    raises=[Code.SMS_ALL_REFUSED],
    takes_over={"mail/send": lambda raw: bool(raw.text("smsUser"))},
)
async def send_sms(call: Call[Any], p: Nothing) -> Info:
    raise Refused(Code.SMS_ALL_REFUSED, info={"successCount": 0})


@endpoint("fault/bug", auth=Auth.NONE, methods=("POST",))
async def bug(call: Call[None], p: Nothing) -> Info:
    raise ZeroDivisionError("secret cause")


@endpoint("fault/undeclared", auth=Auth.NONE)
async def undeclared(call: Call[None], p: Nothing) -> Info:
    raise Refused(Code.QUOTA_EXCEEDED)


@endpoint("fault/slow", auth=Auth.NONE)
async def slow(call: Call[None], p: Nothing) -> Info:
    await asyncio.sleep(0.3)
    return changed(1)


ENDPOINTS = (say, send, send_v1, send_sms, bug, undeclared, slow)


@dataclass
class Caller:
    name: str
    allowed: bool = True
    permitted: bool = True
    denied: frozenset[str] = frozenset()

    def admits(self, peer: str) -> bool:
        return self.allowed

    @property
    def account(self) -> SimpleNamespace:
        return SimpleNamespace(limits=lambda usual: usual)

    def may(self) -> None:
        if not self.permitted:
            raise Refused(Code.NOT_PERMITTED)


@dataclass
class Callers:
    """Knows everybody whose key is their own name; the account "us" lives in another region."""

    special: dict[str, Caller] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def api_user(self, name: str, key: str, region: str, now_us: int) -> Caller | None:
        self.asked.append(name)
        return self.special.get(name, Caller(name)) if key == name and (name != "us" or region == "us") else None

    async def sms(self, raw: Parameters, now_us: int) -> Caller:
        if raw.text("smsKey") != "good":
            raise Refused(Code.SMS_SIGNATURE_MISMATCH)
        return Caller(raw.text("smsUser"))


@dataclass
class Counting:
    left: int = 1_000_000
    taken: list[tuple[str, str, Frequency]] = field(default_factory=list)

    async def take(self, caller: Caller, endpoint: str, kind: Frequency) -> bool:
        self.taken.append((caller.name, endpoint, kind))
        self.left -= 1
        return self.left >= 0


class AskingCaller:
    def admit(self, caller: Caller, peer: str) -> bool:
        return caller.admits(peer)


class Running:
    def __init__(self, server: Server, node: SimpleNamespace, client: httpx.AsyncClient, port: int) -> None:
        self.server, self.node, self.client, self.port = server, node, client, port

    async def post(self, path: str, given: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        answer = await self.client.post(path, data={"apiUser": "me", "apiKey": "me", **(given or {})}, **more)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json;charset=UTF-8"
        assert len(answer.headers["x-request-id"]) == 16
        parsed: dict[str, Any] = answer.json()
        return parsed


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 what it waits for is no event of ours
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(**how: Any) -> AsyncIterator[Running]:
    zone_: timezone = zone(8)
    node = SimpleNamespace(settings=Settings(Path()), clock=SystemClock(), zone=zone_)
    node.authenticator, node.allowance, node.sources = Callers(), Counting(), AskingCaller()
    server = Server(node, Catalogue(ENDPOINTS))
    pages = [Route("/page", lambda request: PlainTextResponse("a page"))]
    app = HttpApp(server, region="sg", hosts={"api-us.test": "us"}, pages=pages, **how)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", lifespan="off", ws="none", access_log=False, proxy_headers=False)
    served = Listening(config, Connection, Occupancy(1))
    task = asyncio.create_task(served.serve(sockets=[listener]))
    port = listener.getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        await until(lambda: served.started)
        yield Running(server, node, client, port)
    served.should_exit = True
    await task
    listener.close()


@pytest.fixture
async def app() -> AsyncIterator[Running]:
    async with running() as started:
        yield started


@pytest.mark.parametrize(
    "path",
    [
        *("/echo/sayWord", "/api/echo/sayWord", "/apiv2/echo/sayWord", "/other/say"),
        *("/echo/sayword/", "/APIv2//Echo/SAYWORD", "//api/echo/sayWord//", "/echo/sayWord?"),
    ],
)
async def test_every_alias_answers_alike(app: Running, path: str) -> None:
    answer = await app.post(path, {"word": "hi"})
    data = {"word": "hi", "region": "sg", "peer": "127.0.0.1", "caller": "me"}
    assert answer == {"result": True, "statusCode": 200, "message": "request was successful", "info": {"data": data}}


@pytest.mark.parametrize(
    "path", ["/", "/echo", "/echo/say", "/api", "/api/other/say", "/webapi/mail.send.xml", "/api/apiv2/mail/send"]
)
async def test_unknown_paths_are_404_in_the_envelope(app: Running, path: str) -> None:
    answer = await app.client.post(path)
    assert answer.status_code == 404
    assert answer.json() == {"result": False, "statusCode": 404, "message": "Not Found", "info": {}}


async def test_pages_are_reached(app: Running) -> None:
    assert (await app.client.get("/page")).text == "a page"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_405_before_credentials(app: Running, method: str) -> None:
    answer = await app.client.request(method, "/api/mail/send", content=b"x")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert answer.json() == {"result": False, "statusCode": 405, "message": "Method Not Allowed", "info": {}}
    assert (await app.client.get("/fault/bug")).status_code == 405


async def test_head_is_405_without_a_body(app: Running) -> None:
    answer = await app.client.head("/mail/send")
    assert (answer.status_code, answer.content) == (405, b"")


async def test_credentials_in_either_spelling_and_place(app: Running) -> None:
    for credentials in ({"apiUser": "me", "apiKey": "me"}, {"api_user": "me", "api_key": "me"}):
        both = {**credentials, "word": "hi"}
        for answer in (
            await app.client.get("/echo/sayWord", params=both),
            await app.client.post("/echo/sayWord", params=credentials, data={"word": "hi"}),
            await app.client.post("/echo/sayWord", params={"word": "hi"}, json=credentials),
            await app.client.post("/echo/sayWord", data=both, files={"f": b"x"}),
        ):
            assert answer.json()["statusCode"] == 200
    pairs = {"apiUser": "me", "apiKey": "me", "api_user": "x", "api_key": "y", "word": "hi"}
    assert (await app.client.post("/echo/sayWord", data=pairs)).json()["statusCode"] == 200


@pytest.mark.parametrize(
    "given",
    [{}, {"apiUser": "me"}, {"apiUser": "me", "apiKey": "ME"}, {"apiUser": "us", "apiKey": "us"}, {"apiUser": "", "apiKey": ""}],
)
async def test_wrong_credentials(app: Running, given: dict[str, str]) -> None:
    answer = await app.client.post("/echo/sayWord", data=given, headers={"apiUser": "me"}, auth=("me", "me"))
    assert answer.json() == {"result": False, "statusCode": 40005, "message": "authentication failed", "info": {}}


@pytest.mark.parametrize("name", ["%ff", "a%00b", "%E6%B5%8B", "a%0A"])
async def test_names_that_cannot_be_are_not_looked_up(app: Running, name: str) -> None:
    answer = await app.client.get(f"/echo/sayWord?apiUser={name}&apiKey={name}&word=hi")
    assert answer.json()["statusCode"] == 40005
    assert app.node.authenticator.asked == []


async def test_region_follows_the_host(app: Running) -> None:
    given = {"apiUser": "us", "apiKey": "us", "word": "hi"}
    answer = await app.client.post("/echo/sayWord", data=given, headers={"Host": "API-us.test:8080"})
    assert answer.json()["info"]["data"]["region"] == "us"


async def test_order_of_checks(app: Running) -> None:
    """conventions.md §11: body, credentials, allowlist, permission, frequency, parameters."""
    caller = app.node.authenticator.special["me"] = Caller("me", allowed=False, permitted=False, denied=frozenset({"mail/send"}))
    app.node.allowance.left = 0
    bad_json = {"content": b"{", "headers": {"content-type": "application/json"}}
    assert (await app.client.post("/mail/send", **bad_json)).json()["statusCode"] == 40902
    assert (await app.client.post("/mail/send")).json()["statusCode"] == 40005
    refused = await app.post("/mail/send")
    assert refused["statusCode"] == 6001
    assert refused["message"].startswith("request rejected")
    caller.allowed = True
    assert (await app.post("/mail/send"))["message"] == "You don't have permission to access"
    caller.denied = frozenset()
    assert (await app.post("/mail/send"))["message"] == "You don't have permission to access"
    assert app.node.allowance.taken == []
    caller.permitted = True
    assert (await app.post("/mail/send"))["statusCode"] == 50001
    assert app.node.allowance.taken == [("me", "mail/send", Frequency.SEND)]
    app.node.allowance.left = 1
    assert (await app.post("/mail/send"))["statusCode"] == 40104


async def test_the_allowlist_is_for_sends_only(app: Running) -> None:
    app.node.authenticator.special["me"] = Caller("me", allowed=False)
    assert (await app.post("/echo/sayWord", {"word": "hi"}))["statusCode"] == 200
    app.node.allowance.left = 0
    assert (await app.post("/echo/sayWord", {"word": "hi"}))["statusCode"] == 50000
    limited = await app.post("/echo/sayWord", {"word": "hi"})
    assert limited["statuscode"] == limited["statusCode"]  # data.md §5: both spellings


async def test_refusals_and_other_successes(app: Running) -> None:
    assert await app.post("/echo/sayWord", {"word": "none"}) == {
        "result": False,
        "statusCode": 40106,
        "message": "The label corresponding to label ID does not exist",
        "info": {},
    }
    assert (await app.post("/echo/sayWord", {"word": "list"}))["message"].endswith("to: news@x")
    assert (await app.post("/echo/sayWord", {"word": "longer"}))["statusCode"] == 40105
    task = await app.post("/mail/send", {"word": "task"})
    assert (task["result"], task["statusCode"], task["info"]) == (True, 40821, {"maillistTaskId": [1]})
    assert app.server.fault_count == 0


async def test_v1_envelope(app: Running) -> None:
    assert await app.post("/webapi/mail.send.json", {"word": "hi"}) == {"message": "success", "email_id_list": ["hi"]}
    assert await app.post("/webapi/mail.send.json") == {"message": "error", "errors": ["Label name cannot be empty"]}
    bad = await app.client.post("/webapi/mail.send.json", content=b"{", headers={"content-type": "application/json"})
    assert bad.json()["message"] == "error"
    wrong = await app.client.post("/webapi/mail.send.json")
    assert wrong.json() == {"message": "error", "errors": ["authentication failed"]}


async def test_sms_and_its_calls_to_the_mail_path(app: Running) -> None:
    for path in ("/smsapi/send", "/apiv2/mail/send"):
        answer = await app.post(path, {"smsUser": "me", "smsKey": "good"})
        assert (answer["statusCode"], answer["info"]) == (312, {"successCount": 0})
        assert (await app.post(path, {"smsUser": "me", "smsKey": "bad"}))["statusCode"] == 422
    assert (await app.client.post("/api/smsapi/send")).status_code == 404
    bad = await app.client.post("/smsapi/send", content=b"{", headers={"content-type": "application/json"})
    assert bad.json()["statusCode"] == 441
    assert app.server.fault_count == 0


async def test_unavailable_is_no_fault(app: Running) -> None:
    answer = await app.post("/mail/send", {"word": "hi"})
    assert (answer["statusCode"], answer["info"], app.server.fault_count) == (40901, {}, 0)


@pytest.mark.parametrize(("path", "error"), [("/fault/bug", "ZeroDivisionError"), ("/fault/undeclared", "QUOTA_EXCEEDED")])
async def test_faults_are_501_logged_and_counted(app: Running, caplog: pytest.LogCaptureFixture, path: str, error: str) -> None:
    answer = await app.client.post(path, data={"apiKey": "never-in-a-log"})
    envelope = answer.json()
    request_id = answer.headers["x-request-id"]
    assert answer.status_code == 200
    assert envelope == {"result": False, "statusCode": 501, "message": f"Server exception: {request_id}", "info": {}}
    assert [fault.request_id for fault in app.server.faults] == [request_id]
    assert app.server.fault_count == 1
    assert request_id in caplog.text
    assert error in caplog.text
    assert "never-in-a-log" not in caplog.text


@pytest.mark.parametrize("sent", [b'{"word": "\xff"}', b'{"word": {"a": 1}}', b'{"word": ["a"]}'])
async def test_values_that_are_no_text_are_malformed(app: Running, sent: bytes) -> None:
    answer = await app.client.post(
        "/echo/sayWord?apiUser=me&apiKey=me", content=sent, headers={"content-type": "application/json"}
    )
    assert answer.json()["statusCode"] == 40105


# --- bodies ---


def length_of(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].split()[0])


def chunks(size: int, step: int = 65536) -> AsyncIterator[bytes]:
    async def made() -> AsyncIterator[bytes]:
        for _ in range(size // step):
            yield b"a" * step

    return made()


@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large_is_413(app: Running, chunked: bool) -> None:
    size = 34 * 1024 * 1024
    answer = await app.client.post("/mail/send", content=chunks(size) if chunked else b"a" * size)
    assert answer.status_code == 413
    assert answer.json() == {"result": False, "statusCode": 413, "message": "Payload Too Large", "info": {}}
    assert (await app.post("/echo/sayWord", {"word": "hi"}))["statusCode"] == 200


@pytest.mark.parametrize(
    ("field", "sent"),
    [("Content-Length: 40000000", b"a" * 1000), ("Expect: 100-continue\r\nContent-Length: 40000000", b"")],
)
async def test_too_large_is_answered_at_once(app: Running, field: str, sent: bytes) -> None:
    """To one that goes on sending, and to one that asks before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
    writer.write(f"POST /echo/sayWord HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n".encode() + sent)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert head.startswith(b"HTTP/1.1 413 ") and b"connection: close" in head
    assert json.loads(await asyncio.wait_for(reader.readexactly(length_of(head)), 5))["statusCode"] == 413
    if sent:
        writer.write(b"a" * 1000)
        await writer.drain()
    else:
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_a_slow_body_is_given_up() -> None:
    async with running(limits=Limits(body_s=0.2)) as app:
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(b"POST /echo/sayWord HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert b"40902" in answer
        assert b"connection: close" in answer.lower()


async def test_a_client_that_hangs_up_costs_nothing() -> None:
    budget = Budget(1000)
    async with running(budget=budget, limits=Limits(uncounted_bytes=0)) as app:
        _, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(b"POST /echo/sayWord HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\nabc")
        await writer.drain()
        await until(lambda: budget.free < 1000)
        writer.close()
        await until(lambda: budget.free == 1000)
        assert app.server.fault_count == 0


async def test_bodies_wait_for_their_place_in_the_budget() -> None:
    budget = Budget(100)
    async with running(budget=budget, limits=Limits(body_s=5, uncounted_bytes=0)) as app:
        answers = await asyncio.gather(*(app.client.post("/fault/slow", content=b"x" * 60) for _ in range(3)))
        assert [answer.json()["statusCode"] for answer in answers] == [200, 200, 200]
        assert budget.free == 100


async def test_what_finds_no_place_in_the_budget_is_told_so() -> None:
    async with running(budget=Budget(100), limits=Limits(body_s=0.1, uncounted_bytes=0)) as app:
        first = asyncio.create_task(app.client.post("/fault/slow", content=b"x" * 60))
        await asyncio.sleep(0.1)
        assert (await app.client.post("/fault/slow", content=b"x" * 60)).json()["statusCode"] == 40902
        assert (await app.client.post("/fault/slow", content=chunks(65536 * 2))).json()["statusCode"] == 40902
        assert (await first).json()["statusCode"] == 200


async def test_who_holds_the_whole_budget_keeps_no_small_body_waiting() -> None:
    budget = Budget(100_000)
    async with running(budget=budget) as app:
        _, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(b"POST /echo/sayWord HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc")
        await until(lambda: budget.free == 0)
        async with asyncio.timeout(5):
            assert (await app.post("/echo/sayWord", {"word": "hi"}))["statusCode"] == 200
            assert (await app.client.post("/echo/sayWord", content=chunks(5000))).json()["statusCode"] != 40902
        writer.close()


async def test_forwarded_addresses_count_from_trusted_proxies_only() -> None:
    async def peer(app: Running, forwarded: str) -> str:
        told = await app.post("/echo/sayWord", {"word": "hi"}, headers={"X-Forwarded-For": forwarded})
        return str(told["info"]["data"]["peer"])

    async with running() as app:
        assert await peer(app, "192.0.2.9") == "127.0.0.1"
    async with running(proxies=(ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("10.0.0.0/8"))) as app:
        assert await peer(app, "192.0.2.9") == "192.0.2.9"
        assert await peer(app, "192.0.2.1, 192.0.2.9, 10.0.0.1") == "192.0.2.9"
        assert await peer(app, "") == "127.0.0.1"


# --- declarations ---


def test_two_endpoints_on_one_path_are_an_error() -> None:
    with pytest.raises(ValueError, match="two endpoints"):
        Catalogue((say, endpoint("other/say", prefixes=("",))(say.handler)))


def test_internal_codes_cannot_be_declared() -> None:
    with pytest.raises(ValueError, match="LABEL_CREATED"):
        endpoint("label/made", raises=[Code.LABEL_CREATED])(say.handler)


def test_declared_codes() -> None:
    assert say.codes == {
        *(Code.SUCCESS, Code.SERVER_EXCEPTION, Code.AUTHENTICATION_FAILED, Code.NOT_PERMITTED),
        *(Code.FREQUENCY_LIMITED, Code.MAIL_FAULT),
        *(Code.LABEL_NAME_EMPTY, Code.LABEL_NAME_LENGTH, Code.LABEL_UNKNOWN, Code.LIST_ALIAS_UNKNOWN),
    }
    assert say.paths == ("/echo/sayWord", "/api/echo/sayWord", "/apiv2/echo/sayWord", "/other/say")
    assert say.summary == "Say a word."
