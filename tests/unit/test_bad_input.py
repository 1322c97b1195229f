"""Every parameter of every endpoint, wrong in every way that its declaration can tell: an envelope with a declared code,
no fault of ours, and nothing changed by what was refused."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from aurorasend.api import ENDPOINTS
from aurorasend.codes import Code
from aurorasend.endpoint import Endpoint, Envelope
from aurorasend.http import CONTENT_TYPE
from aurorasend.store import sqlite_path
from aurorasend.store.migrate import migrate
from tests.api_world import QUIET, World, build
from tests.bad_input import Case, cases, first_users, form, is_query
from tests.cluster.client import Client
from tests.postgres import Server
from tests.running import bootstrapped, serving

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

USERS = first_users(ENDPOINTS)
DONE = frozenset(code for code in Code if code.ok)
OWN_WORK = ("node", "lane", "allowance", "request_source", "sqlite_sequence")  # what a node writes for itself


class Arena:
    """A running node, what is in it, and a connection that sees which tables were written."""

    def __init__(self, world: World, store: Path | None) -> None:
        self.world = world
        self.client = Client(world.node.client.base_url.port or 80)
        self._seen = None if store is None else sqlite3.connect(store, isolation_level=None)
        self._version: object = None
        self._writes: dict[str, int] = {}

    def writes(self) -> dict[str, int]:
        """Rows written until now, by table; nothing when there is no connection."""
        if self._seen is not None and (version := self._seen.execute("PRAGMA data_version").fetchone()) != self._version:
            self._version, self._writes = version, dict(self._seen.execute("SELECT name, writes FROM written"))
        return self._writes

    def close(self) -> None:
        self.client.close()
        if self._seen is not None:
            self._seen.close()


def watch(path: Path) -> None:
    """From now on the table `written` counts the rows that are written, by table."""
    with sqlite3.connect(path) as store:
        tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        store.execute("CREATE TABLE written (name TEXT PRIMARY KEY, writes INTEGER)")
        for table in tables:
            if table not in OWN_WORK:
                store.execute("INSERT INTO written VALUES (?, 0)", [table])
                for change in ("INSERT", "UPDATE", "DELETE"):
                    store.execute(
                        f"CREATE TRIGGER watch_{change}_{table} AFTER {change} ON {table} "
                        f"BEGIN UPDATE written SET writes = writes + 1 WHERE name = '{table}'; END"
                    )
    store.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def arena(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Arena]:
    data = tmp_path_factory.mktemp("bad")
    await migrate("sqlite", data)
    await bootstrapped(data, "sqlite", ["main"])
    store = sqlite_path("sqlite", data)
    assert store is not None
    watch(store)
    async with serving(data, *QUIET) as node:
        found = Arena(await build(node), store)
        yield found
        found.close()


@pytest.mark.parametrize("asked", ENDPOINTS, ids=lambda asked: asked.path)
async def test_what_is_wrong_is_told_and_changes_nothing(arena: Arena, asked: Endpoint) -> None:
    given = arena.world.request(asked)
    assert await attempt(arena, asked, Case("all is right", form(given), expected=DONE)) is None
    wrong = [(case.name, told) for case in cases(asked, given, USERS) if (told := await attempt(arena, asked, case)) is not None]
    assert not wrong, "\n".join(f"{name}: {told}" for name, told in wrong)


@pytest.mark.timeout(300)  # one request for each of a thousand cases
async def test_what_postgresql_cannot_keep_never_comes_to_it(postgres: Server, tmp_path: Path) -> None:
    url = postgres.create("bad_input", "migrated")
    await bootstrapped(tmp_path, url, ["main"])
    async with serving(tmp_path, *QUIET, url=url) as node:
        arena, wrong = Arena(await build(node), None), []
        for asked in ENDPOINTS:
            for case in cases(asked, arena.world.request(asked), USERS):
                if b"%00" in case.body + case.query and (told := await attempt(arena, asked, case)) is not None:
                    wrong.append(f"{asked.path} {case.name}: {told}")
        arena.close()
    assert not wrong, "\n".join(wrong)


async def attempt(arena: Arena, asked: Endpoint, case: Case) -> str | None:
    """What is wrong with the answer, or with what it left."""
    node, before = arena.world.node, arena.writes()
    path = asked.paths[0] + ("?" + case.query.decode() if case.query else "")
    head, answer = await arena.client.exchange(path, case.content_type, case.body)
    told = complaint(asked, case, head, answer)
    if node.faults.found or node.running.server.fault_count:
        told = f"{told}; a fault: {node.faults.found}"
        node.expect_fault()
    after = arena.writes()
    if after != before and (is_query(asked) or not is_done(answer)):
        told = f"{told}; wrote to {[name for name in after if after[name] != before[name]]}: {answer[:200]!r}"
    return told


def is_done(answer: bytes) -> bool:
    envelope = msgspec.json.decode(answer)
    return bool(envelope.get("result") or envelope["message"] == "success")


def complaint(asked: Endpoint, case: Case, head: str, answer: bytes) -> str | None:
    """What is wrong with the answer itself."""
    if not head.startswith("http/1.1 200 ") or f"content-type: {CONTENT_TYPE.lower()}\r\n" not in head:
        return head
    shown = answer.decode()[:250]
    envelope = msgspec.json.decode(answer)
    found = (code_of_v1 if asked.envelope is Envelope.V1 else code_of)(asked, envelope)
    if not found:
        return f"no envelope of ours: {shown}"
    if case.expected and not found & case.expected:
        return f"expected {names(case.expected)}, got {shown}"
    if found <= case.never:
        return f"did not expect {names(case.never)}, got {shown}"
    return None


def names(codes: frozenset[Code]) -> str:
    return " or ".join(sorted(f"{code.name} {code.number}" for code in codes))


def code_of(asked: Endpoint, envelope: dict[str, Any]) -> frozenset[Code]:
    """The code of an envelope that is as it must be (conventions.md §5)."""
    found = frozenset(code for code in asked.codes - {Code.SERVER_EXCEPTION} if code.number == envelope.get("statusCode"))
    is_right = (
        set(envelope) == {"result", "statusCode", "message", "info"}
        and all(envelope["result"] is code.ok for code in found)
        and isinstance(envelope["message"], str)
        and isinstance(envelope["info"], dict)
        and (envelope["result"] or envelope["info"] == {} or found <= {Code.SMS_SOME_REFUSED, Code.SMS_ALL_REFUSED})
    )
    return found if is_right else frozenset()


def code_of_v1(asked: Endpoint, envelope: dict[str, Any]) -> frozenset[Code]:
    """The codes whose words the envelope has (conventions.md §9)."""
    if envelope.get("message") == "success":
        return frozenset([Code.SUCCESS])
    if set(envelope) != {"message", "errors"} or envelope["message"] != "error" or len(envelope["errors"]) != 1:
        return frozenset()
    return frozenset(code for code in asked.codes - {Code.SERVER_EXCEPTION} if envelope["errors"][0].startswith(code.message))
