"""Every endpoint over a real socket: its examples succeed, whatever else is sent gets a code that it declares, and every
answer is what the OpenAPI document says."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from aurorasend.api import ENDPOINTS
from aurorasend.codes import Code
from aurorasend.endpoint import Auth, Endpoint, Envelope
from aurorasend.fields import FileField, Slot
from tests.running import Served, serving

TEXTS = (" ", "a\0b", "x" * 20_000, "99999999999999999999", "{", '{"a":{"b":[]}}', "a\r\nBcc: b@example.net")
VALUES = (None, 5, [], [{"a": 1}])
AT_ONCE = 32
NEEDS_MORE = ("embeddedCid", "signId", "signName")  # files, or signatures, which there are none of
OFTEN_NEEDED = ("to", "html", "email", "startDate", "endDate")  # where one of several is

# What the examples of some are told in the world below, which is not success.
NOT_AS_THEY_ARE = {
    "template/add": {Code.INVOKE_NAME_TAKEN},
    "template/submit": {Code.TEMPLATE_ALREADY_APPROVED},
    "smsapi/submitsms": {Code.TEMPLATE_ALREADY_APPROVED},
    "smsapi/send": {Code.SUCCESS, Code.LABEL_ID_INVALID},  # the whole names a label, and there are none
    "addresslist/add": {Code.ADDRESS_LIST_ALIAS_TAKEN},
    "mail/taskinfo": {Code.TASK_UNKNOWN},
    # Domains, users and webhooks of the examples are not there: they need DNS and a receiver (tests/contract has them).
    **{f"domain/{action}": {Code.DOMAIN_UNKNOWN} for action in ("update", "checkConfig", "verify")},
    **{f"domain/{action}": {Code.DOMAIN_UNKNOWN} for action in ("dkim/update", "delete")},
    **{f"trackDomain/{action}": {Code.DOMAIN_UNKNOWN} for action in ("update", "delete")},
    "trackDomain/checkConfig": {Code.DOMAIN_UNKNOWN, Code.DOMAIN_EMPTY},
    **{f"apiuser/{action}": {Code.API_USER_UNKNOWN} for action in ("get", "update", "delete", "reset")},
    "apiuser/add": {Code.BOUND_DOMAIN_UNKNOWN},
    "apiuser/create": {Code.SUCCESS, Code.BOUND_DOMAIN_UNKNOWN},  # only when it names a domain
    **{f"webhook/{action}": {Code.WEBHOOK_UNKNOWN} for action in ("get", "delete")},
    "webhook/add": {Code.WEBHOOK_URL_FAILED},
    "webhook/update": {Code.WEBHOOK_UNKNOWN, Code.WEBHOOK_NOT_UPDATED},
    **{f"route/{action}": {Code.DOMAIN_UNKNOWN} for action in ("get", "add", "update", "delete")},
}

MODULES = sorted({each.path.partition("/")[0] for each in ENDPOINTS})


@pytest.fixture
async def node(data: Path) -> AsyncIterator[Served]:
    """With what the examples speak of: the label 7, the approved template welcome_1, an address list with members; the SMS
    template is there anyway."""
    async with serving(data, "sms.per_minute=1000000", "sms.per_day=1000000") as found:
        await found.change("INSERT INTO sequence (name, next) VALUES ('label', 7)")
        template = {"invokeName": "welcome_1", "name": "Welcome", "subject": "Hi", "html": "<p>Hi</p>", "templateType": "0"}
        alias = {"address": "news@maillist.example.com"}
        world = {
            "/label/add": {"labelName": "june"},
            "/template/add": {**template, "isSubmitAudit": "1"},
            "/addresslist/add": {**alias, "name": "News"},
            "/addressmember/add": {**alias, "members": "ann@example.com;bob@example.com"},
        }
        for path, fields in world.items():
            made = await found.call(path, found.user("main.trigger") | fields)
            assert made["result"], made
        yield found


def credentials(node: Served, asked: Endpoint) -> dict[str, str]:
    return {Auth.API_USER: node.user("main.trigger"), Auth.SMS: node.user("main.sms"), Auth.NONE: {}}[asked.auth]


def example(asked: Endpoint, *, whole: bool) -> dict[str, str]:
    """The examples of what is needed, or of everything."""

    def is_wanted(slot: Slot) -> bool:
        return slot.required or whole or slot.field.wire in OFTEN_NEEDED

    texts = [slot for slot in asked.form.shown if not isinstance(slot.field, FileField) and slot.field.wire not in NEEDS_MORE]
    return {slot.field.wire: slot.field.example for slot in texts if slot.field.example and is_wanted(slot)}


@pytest.mark.parametrize("asked", ENDPOINTS, ids=lambda asked: asked.path)
async def test_the_examples_work(node: Served, asked: Endpoint) -> None:
    document = (await node.client.get("/openapi.json")).json()
    once = asked.path.rpartition("/")[2].startswith(("add", "delete"))
    for whole in (False,) if once else (False, True):
        answer = await node.client.post(asked.paths[0], data={**credentials(node, asked), **example(asked, whole=whole)})
        envelope = checked(asked, answer, document)
        if asked.envelope is Envelope.V1:
            assert envelope["message"] == "success", envelope
        elif asked.path in NOT_AS_THEY_ARE:
            assert envelope["statusCode"] in {code.number for code in NOT_AS_THEY_ARE[asked.path]}, envelope
        else:
            assert envelope["result"] is True, envelope


@pytest.mark.parametrize("module", MODULES)
async def test_whatever_is_sent_the_code_is_declared(node: Served, module: str) -> None:
    """Each field wrong in many ways, as form and as JSON; `serving` fails when a code was not declared."""
    document = (await node.client.get("/openapi.json")).json()
    turn = asyncio.Semaphore(AT_ONCE)

    async def post(asked: Endpoint, given: dict[str, Any]) -> None:
        async with turn:
            checked(asked, await node.client.post(asked.paths[0], **given), document)

    posts = [(asked, given) for asked in ENDPOINTS if asked.path.startswith(f"{module}/") for given in wrong_posts(node, asked)]
    await asyncio.gather(*(post(asked, given) for asked, given in posts))


def wrong_posts(node: Served, asked: Endpoint) -> Iterator[dict[str, Any]]:
    right = {**credentials(node, asked), **example(asked, whole=False)}
    for slot in asked.form.shown:
        yield from ({"data": {**right, slot.field.wire: text}} for text in TEXTS)
        yield from ({"json": {**right, slot.field.wire: value}} for value in VALUES)
    for content, kind in ((b"[]", "json"), (b"{", "json"), (b"\xff%%%=&=&", "x-www-form-urlencoded")):
        yield {"content": content, "headers": {"Content-Type": f"application/{kind}"}}
    yield {"content": b"--x", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}


def checked(asked: Endpoint, answer: httpx.Response, document: dict[str, Any]) -> dict[str, Any]:
    """The envelope, which is as the document has it."""
    assert answer.status_code == 200
    envelope: dict[str, Any] = answer.json()
    post = document["paths"][asked.paths[0]]["post"]
    name = post["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    Draft202012Validator(document["components"]["schemas"][name]).validate(envelope)
    if asked.envelope is Envelope.STANDARD:
        declared = {each["code"]: each["ok"] for each in post["x-status-codes"]}
        assert declared.get(envelope["statusCode"]) is envelope["result"], envelope
        assert envelope["statusCode"] != Code.SERVER_EXCEPTION.number
        assert envelope["info"] == {} or envelope["result"] or envelope["statusCode"] in (311, 312), envelope
    return envelope
