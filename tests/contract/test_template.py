"""Email templates on both engines, through their endpoints' handlers (management.md §1)."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from aurorasend.api import template
from aurorasend.clock import SECOND, ManualClock, zone
from aurorasend.config.settings import Limits
from aurorasend.endpoint import Catalogue, Request, Server
from aurorasend.store import bootstrap as accounts
from aurorasend.store import template as rows
from aurorasend.store.tx import Store
from aurorasend.template import Stat, judge

NEW = {"name": "Welcome", "html": "<p>Hi %name%</p>", "subject": "Hello %name%", "templateType": 0}
ROW = (1, "twin", "Twin", 0, "S", "<p>x</p>", "", "", 1, 5, 5)
PARAMETERS: tuple[tuple[str, dict[str, object], int], ...] = (
    ("add", {"invokeName": ""}, 40201),
    ("add", {"invokeName": "a b"}, 40202),
    ("add", {"invokeName": "a\n"}, 200),
    ("add", {"invokeName": "x" * 256}, 40202),
    ("add", {"invokeName": "x" * 255}, 200),
    ("add", {"name": " "}, 40207),
    ("add", {"name": "x" * 256}, 40208),
    ("add", {"name": "a\0"}, 40208),
    ("add", {"html": "\r\n"}, 40211),
    ("add", {"html": "<SCRIPT\n>"}, 40212),
    ("add", {"html": "<p>a\0"}, 40212),
    ("add", {"html": "x" * 2**21}, 200),
    ("add", {"html": "ü" * 2**20 + "x"}, 40212),
    ("add", {"html": "a description"}, 200),
    ("add", {"text": " "}, 40213),
    ("add", {"text": "x" * (2**21 + 1)}, 40214),
    ("add", {"subject": ""}, 40209),
    ("add", {"subject": "测" * 257}, 40210),
    ("add", {"subject": "测" * 256}, 200),
    ("add", {"subject": "a\r\nBcc: b"}, 40210),
    ("add", {"subject": "a\tb"}, 200),
    ("add", {"templateType": None}, 40203),
    ("add", {"templateType": "2"}, 40204),
    ("add", {"isSubmitAudit": " "}, 40221),
    ("add", {"isSubmitAudit": 2}, 40222),
    ("add", {"contentSummary": " "}, 40877),
    ("add", {"contentSummary": "测" * 67}, 40878),
    ("add", {"contentSummary": "a\0"}, 40878),
    ("update", {"invokeName": "two words"}, 40202),
    ("update", {"html": "<script>"}, 40212),
    ("update", {"text": "a\0"}, 40214),
    ("update", {"isSubmitAudit": " "}, 40221),
    ("update", {"contentSummary": "x" * 201}, 40878),
    ("get", {"invokeName": None}, 40201),
    ("delete", {"invokeName": "ö"}, 40202),
    ("submit", {"cancel": " "}, 40224),
    ("submit", {"cancel": "yes"}, 40225),
    ("list", {"invokeName": " "}, 40201),
    ("list", {"invokeName": "a\0"}, 40202),
    ("list", {"invokeName": "t", "templateType": " "}, 40203),
    ("list", {"templateType": "trigger"}, 40204),
    ("list", {"templateStat": " "}, 40205),
    ("list", {"templateStat": -3}, 40206),
    ("list", {"limit": 101}, 40004),
)


class Accounts:
    """API users are named by the number of their account; what is changed of an account is kept in `special`."""

    def __init__(self) -> None:
        self.special: dict[str, dict[str, object]] = {}

    async def api_user(self, name: str, key: str, region: str, now_us: int) -> Any:
        account = {"id": int(name), "template_limit": None, "manual_audit": None} | self.special.get(name, {})
        return SimpleNamespace(account=SimpleNamespace(**account, limits=lambda usual: usual), name=name, denied=frozenset())

    async def take(self, caller: Any, endpoint: str, kind: object) -> bool:
        return True


class Templates:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock(1_769_907_600 * SECOND)  # 2026-02-01 09:00:00 +08:00
        self.accounts = Accounts()
        self.settings = SimpleNamespace(audit="auto", per_account=50)
        node = SimpleNamespace(
            clock=self.clock,
            zone=zone(8),
            authenticator=self.accounts,
            allowance=self.accounts,
            store=store,
            settings=SimpleNamespace(template=self.settings, limits=Limits()),
        )
        self.server = Server(node, Catalogue(template.ENDPOINTS))

    async def call(self, action: str, account: int = 1, **given: object) -> Any:
        """What is in `info`, or the code of a failure."""
        self.clock.advance(timedelta(seconds=1))
        body = msgspec.json.encode({"apiUser": account, "apiKey": "k", **given})
        found = self.server.catalogue.find(f"/template/{action}")
        assert found is not None
        _, answer = await self.server.answer(found, Request(b"", "application/json", body, "sg", "", "id"))
        assert self.server.fault_count == 0, self.server.faults
        envelope = msgspec.json.decode(answer)
        return envelope["info"] if envelope["result"] else envelope["statusCode"]

    async def add(self, invoke_name: str, **given: object) -> Any:
        return await self.call("add", invokeName=invoke_name, **(NEW | given))

    async def stat(self, name: str) -> int:
        return int((await self.call("get", invokeName=name))["data"]["templateStat"])

    async def judge(self, name: str, verdict: Stat) -> Stat:
        return await self.store.write(lambda tx: judge(tx, 1, name, verdict, self.clock.now_us()))

    async def total(self) -> int:
        return int((await self.call("list", limit=0))["total"])


@pytest.fixture
async def templates(store: Store) -> Templates:
    """With two accounts, 1 and 2."""
    for name in ("one", "two"):
        await store.write(lambda tx, name=name: accounts.add_account(tx, name, "sg", b"", {}))  # type: ignore[misc]
    return Templates(store)


async def test_a_template_lives(templates: Templates) -> None:
    listed = {
        "name": "Welcome",
        "invokeName": "a_1-b.C",
        "templateType": 0,
        "templateStat": -2,
        "gmtCreated": "2026-02-01 09:00:01",
        "gmtUpdated": "",
    }
    html = " <p>Grüße, %name% 🚀 100%</p>\r\n"
    made = await templates.add("a_1-b.C", html=html, text=" Grüße\n", contentSummary="kurz", isSubmitAudit=0)
    assert made == {"data": listed | {"html": html, "subject": "Hello %name%"}}
    whole = listed | {"html": html, "text": " Grüße\n", "subject": "Hello %name%", "contentSummary": "kurz"}
    assert await templates.call("get", invokeName="a_1-b.C") == {"data": whole}
    assert await templates.call("list") == {"total": 1, "count": 1, "dataList": [listed]}
    assert await templates.call("update", invokeName="a_1-b.C", subject="Neu", name=" ", text="", isSubmitAudit=0) == {"count": 1}
    whole |= {"subject": "Neu", "gmtUpdated": "2026-02-01 09:00:04"}
    assert await templates.call("get", invokeName="a_1-b.C") == {"data": whole}
    assert await templates.call("delete", invokeName="a_1-b.C") == {"count": 1}
    for action in ("get", "delete", "submit"):
        assert await templates.call(action, invokeName="a_1-b.C") == 40216
    assert await templates.call("update", invokeName="a_1-b.C", name="x") == 40216


async def test_automatic_audit_shows_in_the_next_answer(templates: Templates) -> None:
    assert (await templates.add("t"))["data"]["templateStat"] == Stat.PENDING
    assert await templates.stat("t") == Stat.APPROVED
    assert await templates.call("submit", invokeName="t") == 40227
    assert await templates.call("submit", invokeName="t", cancel=1) == 40227
    assert await templates.call("update", invokeName="t", name="x", isSubmitAudit=0) == {"count": 1}
    assert await templates.stat("t") == Stat.DRAFT
    assert await templates.call("submit", invokeName="t", cancel=1) == 40229
    assert await templates.call("submit", invokeName="t", cancel=0) == {"count": 1}
    assert await templates.stat("t") == Stat.APPROVED


async def test_an_update_of_nothing_leaves_all_as_it_is(templates: Templates) -> None:
    await templates.add("t")
    before = await templates.call("get", invokeName="t")
    assert await templates.call("update", invokeName="t", isSubmitAudit=0, html="  ") == {"count": 0}
    assert await templates.call("get", invokeName="t") == before


@pytest.mark.parametrize("place", ["setting", "account"])
async def test_a_person_decides_where_audit_is_manual(templates: Templates, place: str) -> None:
    if place == "setting":
        templates.settings.audit = "manual"
    else:
        templates.accounts.special["1"] = {"manual_audit": True}
    await templates.add("t")
    assert await templates.stat("t") == Stat.PENDING
    assert await templates.call("update", invokeName="t", name="x") == 40223
    assert await templates.call("submit", invokeName="t") == 40226
    assert await templates.call("submit", invokeName="t", cancel="1") == {"count": 1}
    assert await templates.judge("t", Stat.APPROVED) is Stat.DRAFT
    assert await templates.stat("t") == Stat.DRAFT
    assert await templates.call("submit", invokeName="t") == {"count": 1}
    assert await templates.judge("t", Stat.REJECTED) is Stat.PENDING
    assert await templates.stat("t") == Stat.REJECTED
    assert await templates.call("submit", invokeName="t", cancel=1) == 40228
    assert await templates.call("update", invokeName="t", name="x") == {"count": 1}
    assert await templates.judge("t", Stat.APPROVED) is Stat.PENDING
    assert await templates.stat("t") == Stat.APPROVED
    assert await templates.call("update", invokeName="t", name="y") == {"count": 1}
    assert await templates.stat("t") == Stat.PENDING
    assert await templates.call("delete", invokeName="t") == {"count": 1}


async def test_an_account_can_be_trusted_where_audit_is_manual(templates: Templates) -> None:
    templates.settings.audit = "manual"
    templates.accounts.special["1"] = {"manual_audit": False}
    await templates.add("t")
    assert await templates.stat("t") == Stat.APPROVED


async def test_accounts_do_not_see_each_other(templates: Templates) -> None:
    await templates.add("t")
    for action in ("get", "update", "delete", "submit"):
        assert await templates.call(action, account=2, invokeName="t", name="stolen") == 40216
    assert (await templates.call("list", account=2))["total"] == 0
    assert (await templates.add("t", account=2, name="theirs"))["data"]["name"] == "theirs"
    assert (await templates.call("get", invokeName="t"))["data"]["name"] == "Welcome"


async def test_list_filters_and_pages(templates: Templates) -> None:
    for name, kind, submit in (("a", 0, 1), ("b", 1, 1), ("c", 0, 0), ("A", 1, 0)):
        await templates.add(name, templateType=kind, isSubmitAudit=submit)

    async def names(**given: object) -> list[str]:
        return [each["invokeName"] for each in (await templates.call("list", **given))["dataList"]]

    assert await names() == ["A", "c", "b", "a"]
    assert await names(invokeName="a") == ["a"]
    assert await names(invokeName="not allowed!") == []
    assert await names(templateType=0) == ["c", "a"]
    assert await names(templateStat=-2) == ["A", "c"]
    assert await names(isVerify=1, templateType="1") == ["b"]
    assert await names(start=1, limit=2) == ["c", "b"]
    assert await templates.call("list", limit=0, templateType=1) == {"total": 2, "count": 0, "dataList": []}


async def test_parameters(templates: Templates) -> None:
    for action, given, code in PARAMETERS:
        answer = await templates.call(action, **({"invokeName": "t"} | (NEW if action == "add" else {}) | given))
        assert (200 if isinstance(answer, dict) else answer) == code, (action, str(given)[:80])
        if code == 200:
            await templates.call("delete", invokeName=str(given.get("invokeName", "t")).strip())


async def test_equal_adds_at_once_make_one_template(templates: Templates) -> None:
    answers = await asyncio.gather(*(templates.add("same", name=f"n{n}") for n in range(12)))
    assert answers.count(40220) == 11
    assert await templates.total() == 1


async def test_an_account_has_as_many_as_it_may_even_at_once(templates: Templates) -> None:
    templates.settings.per_account = 3
    answers = await asyncio.gather(*(templates.add(f"t{n}") for n in range(12)))
    assert answers.count(40219) == 9
    assert await templates.total() == 3
    made = next(answer for answer in answers if answer != 40219)["data"]["invokeName"]
    assert await templates.add(made) == 40220
    templates.accounts.special["1"] = {"template_limit": 4}
    assert isinstance(await templates.add("fourth"), dict)
    assert await templates.add("fifth") == 40219
    await templates.call("delete", invokeName=made)
    assert isinstance(await templates.add("fifth"), dict)


async def test_a_change_at_once_with_a_submit_is_before_or_after_it(templates: Templates) -> None:
    templates.settings.audit = "manual"
    await templates.add("t", isSubmitAudit=0)
    submitted, *updated = await asyncio.gather(
        templates.call("submit", invokeName="t"),
        *(templates.call("update", invokeName="t", name=f"n{n}") for n in range(8)),
    )
    assert [submitted, *updated].count({"count": 1}) == 1
    assert {answer for answer in updated if answer != {"count": 1}} == {40223}
    assert submitted in ({"count": 1}, 40226)


async def test_the_store_keeps_an_invoke_name_unique_by_itself(store: Store) -> None:
    assert await store.write(lambda tx: rows.add(tx, 1, ROW))
    assert not await store.write(lambda tx: rows.add(tx, 1, (2, *ROW[1:])))
    assert await store.write(lambda tx: rows.add(tx, 2, ROW))
    assert await store.read(lambda tx: rows.find(tx, 1, "twin")) == ROW
