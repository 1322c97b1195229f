"""Labels on both engines, through their endpoints' handlers (management.md §2)."""

import asyncio
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from aurorasend import label as rules
from aurorasend.api import label
from aurorasend.clock import SECOND, ManualClock, zone
from aurorasend.config import Settings
from aurorasend.endpoint import Catalogue, Request, Server
from aurorasend.store import label as rows
from aurorasend.store.tx import Store


class Everybody:
    """API users are named by the number of their account."""

    async def api_user(self, name: str, key: str, region: str, now_us: int) -> Any:
        return SimpleNamespace(account=SimpleNamespace(id=int(name), limits=lambda usual: usual), name=name, denied=frozenset())

    async def take(self, caller: Any, endpoint: str, kind: object) -> bool:
        return True


class Labels:
    def __init__(self, store: Store) -> None:
        self.clock = ManualClock(1_769_907_600 * SECOND)  # 2026-02-01 09:00:00 +08:00
        everybody = Everybody()
        settings = Settings(Path())
        self.node = SimpleNamespace(
            settings=settings, clock=self.clock, zone=zone(8), authenticator=everybody, allowance=everybody, store=store
        )
        self.server = Server(self.node, Catalogue(label.ENDPOINTS))

    async def call(self, action: str, account: int = 1, **given: object) -> Any:
        self.clock.advance(timedelta(seconds=1))
        body = msgspec.json.encode({"apiUser": account, "apiKey": "k", **given})
        found = self.server.catalogue.find(f"/label/{action}")
        assert found is not None
        _, answer = await self.server.answer(found, Request(b"", "application/json", body, "sg", "", "id"))
        assert self.server.fault_count == 0, self.server.faults
        envelope = msgspec.json.decode(answer)
        return envelope["info"] if envelope["result"] else envelope["statusCode"]

    async def add(self, name: str, account: int = 1) -> Any:
        return (await self.call("add", account, labelName=name))["data"]["labelId"]


@pytest.fixture
def labels(store: Store) -> Labels:
    return Labels(store)


async def test_a_label_lives(labels: Labels) -> None:
    made = await labels.call("add", labelName=" spring 测试 🚀 ")
    label_id = made["data"]["labelId"]
    shown = {
        "labelId": label_id,
        "labelName": "spring 测试 🚀",
        "gmtCreated": "2026-02-01 09:00:01",
        "gmtUpdated": "2026-02-01 09:00:01",
    }
    assert made == {"data": shown}
    assert await labels.call("get", labelId=str(label_id)) == {"data": shown}
    assert await labels.call("update", labelId=label_id, labelName="summer") == {"count": 1}
    assert await labels.call("get", labelId=label_id) == {
        "data": {**shown, "labelName": "summer", "gmtUpdated": "2026-02-01 09:00:03"}
    }
    assert await labels.call("delete", labelId=label_id) == {"count": 1}
    for action in ("get", "delete"):
        assert await labels.call(action, labelId=label_id) == 40106
    assert await labels.call("update", labelId=label_id, labelName="x") == 40106
    assert await labels.add("summer") > label_id


async def test_names_are_unique_with_their_letter_case(labels: Labels) -> None:
    first, second = await labels.add("Case"), await labels.add("cASE")
    assert await labels.call("add", labelName="Case") == 40113
    assert await labels.call("update", labelId=second, labelName="Case") == 40113
    assert await labels.call("update", labelId=first, labelName="Case") == {"count": 1}


async def test_accounts_do_not_see_each_other(labels: Labels) -> None:
    mine = await labels.add("mine")
    for action in ("get", "delete"):
        assert await labels.call(action, account=2, labelId=mine) == 40106
    assert await labels.call("update", account=2, labelId=mine, labelName="stolen") == 40106
    assert (await labels.call("list", account=2))["total"] == 0
    assert await labels.add("mine", account=2) != mine


async def test_list_searches_and_pages(labels: Labels) -> None:
    for name in ("Straße one", "STRASSE two", "50%_off", "50 percent off", "Ünïcode!", "x\\y"):
        await labels.add(name)

    async def names(**given: object) -> list[str]:
        return [each["labelName"] for each in (await labels.call("list", **given))["dataList"]]

    assert await names(query="strasse") == ["STRASSE two", "Straße one"]
    assert await names(query="50%_") == ["50%_off"]
    assert await names(query="ÜNÏCODE!") == ["Ünïcode!"]
    assert await names(query="\\") == ["x\\y"]
    assert await names(start=1, limit=2) == ["Ünïcode!", "50 percent off"]
    assert await labels.call("list", limit=0) == {"total": 6, "count": 0, "dataList": []}
    assert await labels.call("list", start="9" * 40) == {"total": 6, "count": 0, "dataList": []}
    assert await labels.call("list", start=50) == {"total": 6, "count": 0, "dataList": []}


@pytest.mark.parametrize(
    ("action", "given", "code"),
    [
        ("add", {}, 40104),
        ("add", {"labelName": " \t"}, 40104),
        ("add", {"labelName": "x" * 256}, 40105),
        ("add", {"labelName": "a\0b"}, 40105),
        ("get", {}, 40102),
        ("get", {"labelId": "abc"}, 40103),
        ("get", {"labelId": 0}, 40103),
        ("get", {"labelId": -4}, 40103),
        ("get", {"labelId": 1.5}, 40103),
        ("get", {"labelId": 2**53 - 1}, 40106),
        ("get", {"labelId": 2**80}, 40106),
        ("update", {"labelId": str(2**63), "labelName": "x"}, 40106),
        ("delete", {"labelId": "9" * 40}, 40106),
        ("update", {"labelName": "x"}, 40102),
        ("update", {"labelId": 999, "labelName": " "}, 40104),
        ("delete", {"labelId": "seven"}, 40103),
        ("list", {"query": "  "}, 40111),
        ("list", {"query": "q" * 256}, 40112),
        ("list", {"query": "a\0"}, 40112),
        ("list", {"limit": 101}, 40004),
    ],
)
async def test_bad_parameters(labels: Labels, action: str, given: dict[str, object], code: int) -> None:
    assert await labels.call(action, **given) == code


async def test_longest_name(labels: Labels) -> None:
    assert (await labels.call("add", labelName="测" * 255))["data"]["labelName"] == "测" * 255


async def test_an_account_has_as_many_as_it_may(labels: Labels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MOST", 2)
    await labels.add("a")
    await labels.add("b")
    assert await labels.call("add", labelName="c") == 40101


async def test_sends_find_or_make_a_label(store: Store) -> None:
    first = await store.write(lambda tx: rows.get_or_add(tx, 1, "june", 5))
    assert await store.write(lambda tx: rows.get_or_add(tx, 1, "june", 9)) == first
    assert (first.name, first.created) == ("june", 5)


async def test_equal_deletes_at_once_delete_once(labels: Labels) -> None:
    label_id = await labels.add("one")
    answers = await asyncio.gather(*(labels.call("delete", labelId=label_id) for _ in range(8)))
    assert answers.count({"count": 1}) == 1
    assert answers.count(40106) == 7
