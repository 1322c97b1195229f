"""A list send goes on after SIGKILL at any moment: nobody is lost, nobody gets two mails."""

import asyncio
import random
from pathlib import Path
from typing import Any

import httpx
import pytest

from aurorasend.clock import SystemClock
from aurorasend.store import open_store
from aurorasend.store.tx import Row, Statement, Tx
from tests.cluster.server import Node
from tests.postgres import Server

MEMBERS = 1500
ALIAS = "news@maillist.example.org"
LIMIT_S = 60.0
_MADE = Statement("SELECT position, address, state FROM recipient ORDER BY id")
_STATE = Statement("SELECT state, done FROM list_send")
_COUNTED = Statement("SELECT kind, sum(n) FROM counter GROUP BY kind")


async def read(data: Path, url: str, statement: Statement) -> list[Row]:
    async def unit(tx: Tx) -> list[Row]:
        return await tx.rows(statement)

    store = open_store(url, data, SystemClock())
    try:
        return await store.read(unit)
    finally:
        await store.close()


async def begin(node: Node, account: dict[str, Any]) -> None:
    """The list, its members, and the send to them."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{node.port}", timeout=30) as client:

        async def call(path: str, **fields: str) -> dict[str, Any]:
            envelope: dict[str, Any] = (await client.post(path, data={**account["batch"], **fields})).json()
            assert envelope["result"], envelope
            return envelope

        await call("/addresslist/add", address=ALIAS, name="News")
        for first in range(0, MEMBERS, 1000):
            members = ";".join(f"m{n}@example.net" for n in range(first, min(first + 1000, MEMBERS)))
            await call("/addressmember/add", address=ALIAS, members=members)
        sender = {"from": f"news@{account['domain']}", "to": ALIAS}
        await call("/mail/send", **sender, useAddressList="true", subject="Hello", html="<p>Hello %recipient%</p>")


async def kill_until_made(node: Node, url: str) -> int:
    """Kills a node that makes the mails again and again, each time a bit further; how often, until all were made."""
    kills = reached = 0
    while reached < MEMBERS:
        node.start()
        wanted = reached + random.randint(1, MEMBERS // 3)
        async with asyncio.timeout(LIMIT_S):
            while reached < min(wanted, MEMBERS):
                await asyncio.sleep(0.01)
                ((_, reached),) = await read(node.data, url, _STATE)
        node.kill()
        kills += 1
    return kills


async def all_delivered(data: Path, url: str) -> None:
    for _ in range(int(LIMIT_S / 0.5)):
        if all(state == 1 for _, _, state in await read(data, url, _MADE)):
            return
        await asyncio.sleep(0.5)
    raise AssertionError("not all mails are delivered")


async def check(data: Path, url: str) -> None:
    settings = {"address_list.step": "5", "store.url": url}
    node = Node(data, settings)
    account = node.bootstrap()["main"]
    giver = Node(data, {**settings, "node.roles": "api"})
    try:
        giver.start()
        await giver.ready()
        await begin(giver, account)
        giver.kill()
        kills = await kill_until_made(node, url)
        assert kills >= 2, "it was never killed in the middle"
        made = await read(data, url, _MADE)
        assert [(position, address) for position, address, _ in made] == [(n, f"m{n}@example.net") for n in range(MEMBERS)]
        node.start()
        await all_delivered(data, url)
        assert {kind: int(number) for kind, number in await read(data, url, _COUNTED)} == {18: MEMBERS, 1: MEMBERS}
    finally:
        giver.kill()
        node.kill()


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_killed_list_send_sqlite(tmp_path: Path) -> None:
    await check(tmp_path / "data", "sqlite")


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_killed_list_send_postgres(tmp_path: Path, postgres: Server) -> None:
    await check(tmp_path / "data", postgres.create("listsend", "migrated"))
