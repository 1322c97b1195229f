"""docs/flow.md: what the store cannot take, or does not say that it took."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from aurorasend.simulator import Internet
from aurorasend.store import sqlite
from tests.postgres import Server
from tests.running import Place, Served, bootstrapped, relayed, serving

NEWS = "news@maillist.example.org"
TABLES = "submission content staged recipient list_send work event counter quota label request_id"


FULL_DISK = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql
AS $$BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END$$"""


@asynccontextmanager
async def unable(node: Served) -> AsyncIterator[None]:
    """Meanwhile the store takes no recipient and no list send, as when its disk is full."""
    tables = ("recipient", "list_send")
    if node.running.node.store.engine == "sqlite":
        begin, end = "ALTER TABLE {0} RENAME TO {0}_away", "ALTER TABLE {0}_away RENAME TO {0}"
    else:
        await node.change(FULL_DISK)
        begin, end = "CREATE TRIGGER away BEFORE INSERT ON {0} EXECUTE FUNCTION full_disk()", "DROP TRIGGER away ON {0}"
    for table in tables:
        await node.change(begin.format(table))
    yield
    for table in tables:
        await node.change(end.format(table))


async def test_f12_success_is_answered_only_when_the_commit_is(tmp_path: Path, postgres: Server) -> None:
    """The disk is full when all has been written, and only the commit is left. Of SQLite F19 shows the same."""
    url = postgres.create("uncommitted", "migrated")
    await bootstrapped(tmp_path, url, ["main"])
    async with serving(tmp_path, "node.roles=api", url=url) as node:
        await node.change(FULL_DISK)
        at_the_commit = "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION full_disk()"
        await node.change(f"CREATE CONSTRAINT TRIGGER away AFTER INSERT ON submission {at_the_commit}")
        assert (await node.send())["statusCode"] == 40901
        await node.change("DROP TRIGGER away ON submission")
        assert [await node.count(table) for table in ("submission", "recipient", "work")] == [0, 0, 0]
        await node.accepted()


async def test_f19_what_cannot_be_stored_leaves_nothing(place: Place) -> None:
    async with serving(place.data, "node.roles=api", url=place.url) as node:
        user = node.user("main.batch")
        await node.call("/addresslist/add", {**user, "address": NEWS, "name": "News"})
        await node.call("/addressmember/add", {**user, "address": NEWS, "members": "a@example.net"})
        plain = node.mail(labelName="spring", sendRequestId="r1")
        listed = node.mail("main.batch", to=NEWS, useAddressList="true", labelName="autumn", sendRequestId="r2")
        large = {"attachments": ("large.bin", b"\0\xff" * 300_000)}

        async def answers() -> list[tuple[int, Any]]:
            sent = [await node.client.post("/mail/send", data=fields) for fields in (plain, listed)]
            sent.append(await node.client.post("/mail/send", data=node.mail(), files=large))
            return [(answer.json()["statusCode"], answer.json()["info"]) for answer in sent]

        async with unable(node):
            assert await answers() == [(40901, {}), (40822, {}), (40901, {})]
        left = {table: await node.count(table) for table in TABLES.split()}
        assert {table for table in left if left[table]} == {"content", "staged"}
        assert left["staged"] == 1 and await node.rows("SELECT sum(length(data)) FROM content WHERE part = 1") == [(600_000,)]
        assert [code for code, _ in await answers()] == [200, 40821, 200]


async def test_f19_a_commit_whose_answer_is_lost_on_sqlite(
    data: Path, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the disk fails after it has the commit."""
    commit_group, said, lost = sqlite._commit_group, list[str](), list[int]()

    def commit_and_fail(*given: Any) -> None:
        commit_group(*given)
        if not lost and any("lost@example.net" in statement for statement in said):
            lost.append(1)
            raise OSError(errno.EIO, "the disk failed")

    monkeypatch.setattr(sqlite, "_commit_group", commit_and_fail)
    async with serving(data, relayed(internet)) as node:
        node.running.node.store._opened[0].set_trace_callback(said.append)  # type: ignore[attr-defined]
        await check_lost_answer(node, internet)
        assert lost


async def test_f19_a_commit_whose_answer_is_lost_on_postgresql(tmp_path: Path, postgres: Server, internet: Internet) -> None:
    url = postgres.create("lossy", "migrated")
    await bootstrapped(tmp_path, url, ["main"])
    async with losing(postgres, b"lost@example.net") as (port, lost):
        through = urlsplit(url)._replace(netloc=f"postgres@127.0.0.1:{port}").geturl()
        async with serving(tmp_path, relayed(internet), url=through) as node:
            await check_lost_answer(node, internet)
            assert len(lost) == 1 and b"COMMIT" in lost[0]


async def check_lost_answer(node: Served, internet: Internet) -> None:
    """The mail goes out, once, and a repeat of the request is told so. Its lane is the node's, so that it is claimed too."""
    await node.accepted(to="first@example.net")
    await node.settled()
    fields = node.mail(to="lost@example.net", sendRequestId="r1")
    answer = await node.call("/mail/send", fields)
    assert (answer["statusCode"], answer["result"], answer["info"]) == (40901, False, {})
    await node.settled()
    assert (await node.recipients())["lost@example.net"] == (1, 0, 1)
    again = await node.call("/mail/send", fields)
    assert again["statusCode"] == 200 and again["info"]["emailIdList"][0].endswith("$lost@example.net")
    await node.settled()
    assert [mail.recipients for mail in internet.mailbox.messages].count(("lost@example.net",)) == 1
    assert await node.count("submission") == 2 and await node.rows("SELECT used FROM quota") == [(2,)]


@asynccontextmanager
async def losing(server: Server, marker: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A way to a PostgreSQL, at a port of its own, that breaks once: when the first transaction in which `marker` was said has
    been committed. What the server said to that does not pass, and is in the list."""
    lost: list[bytes] = []

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", server.port)
        answering, is_marked = asyncio.create_task(pass_on(from_server, writer)), False
        while not reader.at_eof():
            asked = await reader.read(65536)
            is_marked = is_marked or marker in asked
            is_last = is_marked and not lost and b"COMMIT;" in asked
            if is_last:
                answering.cancel()
                await asyncio.wait([answering])
            to_server.write(asked)
            if is_last:
                lost.append(await from_server.read(65536))
                break
        for each in (writer, to_server):
            each.transport.abort()

    listening = await asyncio.start_server(connect, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1], lost
    finally:
        listening.close()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while said := await reader.read(65536):
        writer.write(said)
