"""The samples of the reference pages, run as printed against a node that has what they speak of; only the credentials
are put in."""

import ast
import asyncio
import json
import shutil
import sys
import sysconfig
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selectolax.lexbor import LexborHTMLParser

from aurorasend.api import ENDPOINTS
from aurorasend.endpoint import Endpoint, Envelope
from aurorasend.portal import samples
from aurorasend.store import schema
from aurorasend.store.tx import Statement, Tx
from tests.api_world import QUIET
from tests.running import Served, serving

ALIAS = {"address": "news@maillist.example.com"}
TEMPLATE = {"invokeName": "welcome_1", "name": "Welcome", "subject": "Hi", "html": "<p>Hi</p>", "templateType": "0"}
# Objects with the numbers of the examples: the next of each sequence.
NUMBERS = {"label": 7, "tracking_domain": 12, "inbound_route": 3}
MADE: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("main.trigger", "label/add", {"labelName": "june"}),
    ("main.trigger", "label/add", {"labelName": "autumn"}),
    ("main.trigger", "template/add", {**TEMPLATE, "isSubmitAudit": "1"}),
    ("main.trigger", "addresslist/add", {**ALIAS, "name": "News"}),
    ("main.trigger", "addressmember/add", {**ALIAS, "members": "ann@example.com;bob@example.com"}),
    ("main.trigger", "trackDomain/add", {"name": "t.example.com"}),
    ("main.trigger", "apiuser/add", {"name": "shopmail01", "emailType": "0", "domainName": "mail.example.com"}),
    ("main.trigger", "webhook/add", {"categoryName": "all", "event": "1,11", "url": "https://hooks.example.com/sc"}),
    ("main.trigger", "route/add", {"expression": "*@mail.example.com", "action": "https://hooks.example.com/in"}),
    ("main.trigger", "unsubscribe/add", {"email": "ann@example.org"}),
    (
        "main.batch",
        "mail/send",
        {"from": "shop@mail.example.com", "subject": "S", "html": "H", "useAddressList": "true", "to": ALIAS["address"]},
    ),
)
# What must not be there yet, or not so, when the sample of an endpoint runs.
BEFORE = {
    "template/add": "DELETE FROM template",
    "template/submit": "UPDATE template SET stat = -2",
    "addresslist/add": "DELETE FROM address_list",
    "addressmember/add": "DELETE FROM member",
    "domain/add": "UPDATE domain SET name = 'other.example.com' WHERE name = 'mail.example.com'",
    "domain/update": "UPDATE domain SET verified = 0, vouched = 0 WHERE name = 'mail.example.com'",
    "trackDomain/add": "DELETE FROM tracking_domain WHERE host = 't.example.com'",
    "apiuser/add": "DELETE FROM login WHERE name = 'shopmail01'",
    "apiuser/create": "DELETE FROM login WHERE name = 'shopmail01'",
    "webhook/add": "DELETE FROM webhook",
    "route/add": "DELETE FROM inbound_route",
    "smsapi/submitsms": "UPDATE sms_template SET stat = -2",
}
# The tables that are put back as they were before the next sample.
OBJECTS = (
    schema.label,
    schema.template,
    schema.address_list,
    schema.member,
    schema.domain,
    schema.tracking_domain,
    schema.api_user,
    schema.login,
    schema.webhook,
    schema.inbound_route,
    schema.suppression,
    schema.sms_template,
    schema.list_send,
)


@dataclass(frozen=True)
class World:
    node: Served
    account_id: int

    async def reset(self, asked: Endpoint) -> None:
        """All objects as they were at first, but for what the sample needs otherwise."""

        async def unit(tx: Tx) -> None:
            for table in OBJECTS:
                await tx.run(Statement(f"DELETE FROM {table.name}"))
                await tx.run(Statement(f"INSERT INTO {table.name} SELECT * FROM kept_{table.name}"))
            if asked.path in BEFORE:
                await tx.run(Statement(BEFORE[asked.path]))

        await self.node.running.node.store.write(unit)
        self.node.running.node.accounts.forget(self.account_id)

    def filled(self, text: str) -> str:
        """The sample with the reader's credentials."""
        for user in ("main.trigger", "main.sms"):
            for name, value in self.node.user(user).items():
                text = text.replace(samples.placeholder(name), value)
        return text


@pytest.fixture
async def world(data: Path) -> AsyncIterator[World]:
    async with serving(data, *QUIET) as node:
        account_id = await node.account_id()
        await node.change(f"UPDATE domain SET name = 'mail.example.com' WHERE account_id = {account_id} AND type = 1")
        for name, number in NUMBERS.items():
            await node.change(f"DELETE FROM sequence WHERE name = '{name}'")
            await node.change(f"INSERT INTO sequence (name, next) VALUES ('{name}', {number})")
        for who, path, fields in MADE:
            answer = await node.call(f"/{path}", node.user(who) | fields)
            assert answer["result"], (path, answer)
        user = node.user("main.trigger")["apiUser"]
        await node.change(f"UPDATE list_send SET id = 9001, api_user_id = (SELECT id FROM api_user WHERE name = '{user}')")
        for table in OBJECTS:
            await node.change(f"CREATE TABLE kept_{table.name} AS SELECT * FROM {table.name}")
        yield World(node, account_id)


# -- what runs samples: programs that take one a line, as JSON, and say what it printed


PYTHON = """
import contextlib, io, json, sys
for line in sys.stdin:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(json.loads(line), "sample.py", "exec"), {"__name__": "__main__"})
    print(json.dumps(printed.getvalue()), flush=True)
"""
NODE = """
const vm = require("vm");
const lines = require("readline").createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const tell = (answer) => process.stdout.write(JSON.stringify(answer) + "\\n");
  const console = { log: tell, error: (error) => tell(String(error)) };
  try {
    vm.runInNewContext(JSON.parse(line), { fetch, URLSearchParams, console });
  } catch (error) {
    tell(String(error));
  }
});
"""
Run = Callable[[str], Awaitable[Any]]


@asynccontextmanager
async def reading(*command: str) -> AsyncIterator[Run]:
    """A process of `command` that runs one sample after the other, each of which is a whole program."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert child.stdin is not None and child.stdout is not None
    given, said = child.stdin, child.stdout

    async def run(text: str) -> Any:
        given.write(json.dumps(text).encode() + b"\n")
        await given.drain()
        line = await said.readline()
        assert line, "the sample ended its process"
        return json.loads(line)

    try:
        yield run
    finally:
        given.close()
        await child.wait()


@asynccontextmanager
async def by_bash() -> AsyncIterator[Run]:
    async def run(text: str) -> Any:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec("bash", "-c", text, stdout=pipe, stderr=pipe)
        printed, why = await child.communicate()
        assert child.returncode == 0, why.decode()
        return json.loads(printed)

    yield run


@asynccontextmanager
async def by_python() -> AsyncIterator[Run]:
    async with reading(sys.executable, "-c", PYTHON) as run:

        async def printed(text: str) -> Any:
            return ast.literal_eval(await run(text))

        yield printed


def node_program() -> str | None:
    """Where node is, also when pip installed it."""
    return shutil.which("node", path=sysconfig.get_path("scripts")) or shutil.which("node")


@asynccontextmanager
async def by_node() -> AsyncIterator[Run]:
    program = node_program()
    if program is None:
        pytest.skip("the JavaScript samples were not run: there is no node")
    async with reading(program, "-e", NODE) as run:
        yield run


# -- the tests


async def sample_of(world: World, asked: Endpoint, language: str) -> str:
    """As a reader finds it on the page."""
    page = await world.node.client.get(f"/reference{asked.paths[0]}")
    assert page.status_code == 200, asked.path
    found = LexborHTMLParser(page.text).css(f"pre > code.language-{language}")
    assert len(found) == 1, (asked.path, language)
    return str(found[0].text())


@pytest.mark.slow
@pytest.mark.parametrize(("language", "runner"), [("bash", by_bash), ("python", by_python), ("javascript", by_node)])
async def test_every_sample_runs_as_printed(world: World, language: str, runner: Callable[[], Any]) -> None:
    failed: list[str] = []
    async with runner() as run:
        for asked in ENDPOINTS:
            await world.reset(asked)
            answer = await run(world.filled(await sample_of(world, asked, language)))
            if not is_good(asked, answer):
                failed.append(f"{asked.path}: {answer}")
    assert not failed, "\n".join(failed)


def is_good(asked: Endpoint, answer: Any) -> bool:
    if not isinstance(answer, dict):
        return False
    return answer["message"] == "success" if asked.envelope is Envelope.V1 else answer["result"] is True


@pytest.mark.parametrize("language", ["python", "javascript"])
async def test_a_sample_is_a_program(world: World, tmp_path: Path, language: str) -> None:
    """In a file of its own, as it will be tried."""
    program = sys.executable if language == "python" else node_program()
    if program is None:
        pytest.skip("the JavaScript sample was not run: there is no node")
    asked = next(each for each in ENDPOINTS if each.path == "label/get")
    file = tmp_path / ("sample.py" if language == "python" else "sample.js")
    file.write_text(world.filled(await sample_of(world, asked, language)))
    child = await asyncio.create_subprocess_exec(program, str(file), stdout=asyncio.subprocess.PIPE)
    printed, _ = await child.communicate()
    assert child.returncode == 0
    assert b"june" in printed


async def test_the_index_leads_to_every_page(world: World) -> None:
    index = LexborHTMLParser((await world.node.client.get("/reference")).text)
    links = {link.attributes["href"] for link in index.css("a")}
    assert {f"/reference{each.paths[0]}" for each in ENDPOINTS} <= links
    assert (await world.node.client.get("/reference/label/nothing")).json()["statusCode"] == 404
