"""Address lists and members on both engines, through their endpoints (management.md §3, §4)."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from aurorasend import contact
from aurorasend.api import address_list, address_member
from aurorasend.clock import SECOND, ManualClock, zone
from aurorasend.codes import Refused
from aurorasend.config.settings import Limits
from aurorasend.endpoint import Catalogue, Request, Server
from aurorasend.store import contact as rows
from aurorasend.store.tx import Store


class Everybody:
    """API users are named by the number of their account."""

    async def api_user(self, name: str, key: str, region: str, now_us: int) -> Any:
        return SimpleNamespace(account=SimpleNamespace(id=int(name), limits=lambda usual: usual), name=name, denied=frozenset())

    async def take(self, caller: Any, endpoint: str, kind: object) -> bool:
        return True


class Lists:
    def __init__(self, store: Store) -> None:
        self.clock = ManualClock(1_769_907_600 * SECOND)  # 2026-02-01 09:00:00 +08:00
        everybody = Everybody()
        settings = SimpleNamespace(address_list=SimpleNamespace(domain="maillist.example.org"), limits=Limits())
        self.node = SimpleNamespace(
            clock=self.clock, zone=zone(8), authenticator=everybody, allowance=everybody, store=store, settings=settings
        )
        self.server = Server(self.node, Catalogue((*address_list.ENDPOINTS, *address_member.ENDPOINTS)))

    async def call(self, path: str, account: int = 1, **given: object) -> Any:
        self.clock.advance(timedelta(seconds=1))
        body = msgspec.json.encode({"apiUser": account, "apiKey": "k", **given})
        found = self.server.catalogue.find(path)
        assert found is not None
        _, answer = await self.server.answer(found, Request(b"", "application/json", body, "sg", "", "id"))
        assert self.server.fault_count == 0, self.server.faults
        envelope = msgspec.json.decode(answer)
        return envelope["info"] if envelope["result"] else envelope["statusCode"]

    async def made(self, alias: str = "vip", account: int = 1, **given: object) -> str:
        info = await self.call("/addresslist/add", account, **{"address": alias, "name": "VIP", **given})
        return str(info["data"]["address"])

    async def add(self, members: str, **given: object) -> Any:
        return await self.call("/addressmember/add", **{"address": "vip", "members": members, **given})

    async def listed(self, **given: object) -> list[str]:
        found: list[str] = (await self.call("/addressmember/list", **{"address": "vip", **given}))["data"]
        return found

    async def one(self, member: str) -> Any:
        return (await self.call("/addressmember/get", address="vip", members=member))["data"]


@pytest.fixture
def lists(store: Store) -> Lists:
    return Lists(store)


async def test_a_list_lives(lists: Lists) -> None:
    made = await lists.call("/addresslist/add", address="VIP", name="Kunden ü", desc="best")
    whole = {
        "address": "vip@maillist.example.org",
        "name": "Kunden ü",
        "description": "best",
        "memberCount": 0,
        "listType": 0,
        "gmtCreated": "2026-02-01 09:00:01",
        "gmtUpdated": "2026-02-01 09:00:01",
        "memberUpdated": "2026-02-01 09:00:01",
    }
    assert made == {"data": whole}
    assert (await lists.add("ann@example.com"))["count"] == 1
    assert await lists.call("/addresslist/update", address="Vip", newAddress="New@Lists.example", desc=" ") == {"count": 1}
    whole |= {"address": "new@lists.example", "description": "", "memberCount": 1}
    whole |= {"gmtUpdated": "2026-02-01 09:00:03", "memberUpdated": "2026-02-01 09:00:02"}
    assert await lists.call("/addresslist/list") == {"total": 1, "count": 1, "dataList": [whole], "data": [whole]}
    assert await lists.call("/addresslist/update", address="new@lists.example", name="", newAddress="") == {"count": 0}
    assert await lists.call("/addresslist/delete", address="new@lists.example") == {"count": 1}
    for path in ("/addresslist/delete", "/addresslist/update", "/addressmember/list"):
        assert await lists.call(path, address="new@lists.example") == 40517


async def test_accounts_do_not_see_each_other(lists: Lists) -> None:
    await lists.made()
    for path in ("addresslist/update", "addresslist/delete", "addressmember/list", "addressmember/add", "addressmember/get"):
        assert await lists.call(f"/{path}", 2, address="vip", name="stolen", members="eve@example.com") == 40517
    assert (await lists.call("/addresslist/list", 2))["total"] == 0
    assert await lists.made(account=2) == "vip@maillist.example.org"


async def test_a_list_made_anew_has_no_members_of_the_old(lists: Lists, store: Store) -> None:
    await lists.made()
    await lists.add(";".join(f"m{n}@example.com" for n in range(25)))
    await lists.call("/addresslist/delete", address="vip")
    await lists.made()
    assert await lists.listed() == []
    await lists.add("m1@example.com")
    swept = []
    while (removed := await store.write(lambda tx: rows.sweep(tx, 10))) is not None:
        swept.append(removed)
    assert swept == [10, 10, 5]
    assert await lists.listed() == ["m1@example.com"]


async def test_equal_adds_at_once_make_one_list(lists: Lists) -> None:
    answers = await asyncio.gather(*(lists.call("/addresslist/add", address="same", name=f"n{n}") for n in range(8)))
    assert answers.count(40505) == 7


async def test_members_added_at_once_are_counted_once(lists: Lists) -> None:
    await lists.made()
    answers = await asyncio.gather(*(lists.add(f"same@example.com;m{n}@example.com") for n in range(8)))
    assert sum(answer["count"] for answer in answers) == 9
    assert (await lists.call("/addresslist/list"))["dataList"][0]["memberCount"] == 9
    assert len(await lists.listed()) == 9


async def test_a_list_holds_as_many_as_it_may(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact, "MOST_MEMBERS", 3)
    await lists.made()
    assert (await lists.add("a@example.com;b@example.com"))["count"] == 2
    assert await lists.add("c@example.com;d@example.com") == 40516
    assert (await lists.add("a@example.com;c@example.com"))["count"] == 1


async def test_adding_reports_what_cannot_be_a_member(lists: Lists) -> None:
    await lists.made()
    long = "m" * 37 + "@example.com"
    answer = await lists.add(f"bob.@example.com; ann@example.com;ANN@Example.com;{long};\"q\"@example.com", names="B;Ann;X;L;Q")
    assert answer == {
        "count": 1,
        "invalidCount": 3,
        "invalidAddressList": ["bob.@example.com", long, '"q"@example.com'],
        "reasonList": [contact.BAD_ADDRESS, contact.BAD_LENGTH, contact.BAD_ADDRESS],
        "existCount": 0,
    }
    assert (await lists.one("ANN@EXAMPLE.com"))["name"] == "Ann"


async def test_variables_are_kept_as_given(lists: Lists) -> None:
    await lists.made()
    given = '{"a": "x;y};{z", "n": {"k": "1;2"}, "big": 12345678901234567890, "f": 1989.0}; {} ;{"a":"второй"};'
    assert (await lists.add("a@example.com;b@example.com;c@example.com", vars=given))["count"] == 3
    assert (await lists.one("a@example.com"))["vars"]["n"] == {"k": "1;2"}
    assert (await lists.one("b@example.com"))["vars"] == ""
    assert (await lists.one("c@example.com"))["vars"] == {"a": "второй"}
    assert (await lists.add("d@example.com;e@example.com", vars=[{"a": 1}, {"a": 2}]))["count"] == 2
    assert (await lists.one("e@example.com"))["vars"] == {"a": 2}
    printed = contact.variables_of('{"f":1989.0,"t":true,"n":null,"o":{"k":[1]}}')
    assert contact.variables_of('{"%city%":"Oslo"}') == {"city": "Oslo"}
    assert printed == {"f": "1989.0", "t": "true", "n": "", "o": '{"k":[1]}'}


async def test_upsert_overwrites_what_is_given(lists: Lists) -> None:
    await lists.made()
    await lists.add("ann@example.com", names="Ann", vars='{"tier":"silver"}')
    assert (await lists.add("ANN@example.com;bob@example.com", names="Anna;Bob"))["existCount"] == 1
    assert (await lists.add("ANN@example.com", names="Anna", upsert="true"))["count"] == 1
    found = await lists.one("ann@example.com")
    assert (found["member"], found["name"], found["vars"]) == ("ANN@example.com", "Anna", {"tier": "silver"})
    assert await lists.listed() == ["bob@example.com", "ANN@example.com"]


async def test_members_change(lists: Lists) -> None:
    await lists.made()
    await lists.add("ann@example.com;bob@example.com;cy@example.com", names="Ann;Bob;Cy")
    answer = await lists.call(
        "/addressmember/update",
        address="vip",
        members="ann@example.com;ghost@example.com;bob@example.com;cy@example.com",
        newMembers="anna@example.com;g@example.com;cy@example.com;bad",
    )
    assert answer == {
        "count": 1,
        "invalidCount": 3,
        "invalidAddressList": ["ghost@example.com", "cy@example.com", "bad"],
        "reasonList": [contact.NOT_FOUND, contact.EXISTS, contact.BAD_ADDRESS],
        "addressNotExistCount": 1,
    }
    assert (await lists.one("anna@example.com"))["name"] == "Ann"
    chain = {"members": "anna@example.com;bob@example.com", "newMembers": "new@example.com;anna@example.com"}
    assert (await lists.call("/addressmember/update", address="vip", **chain))["count"] == 2
    blank = {"members": "CY@example.com", "newMembers": " ", "name": "C"}
    assert (await lists.call("/addressmember/update", address="vip", **blank))["count"] == 1
    assert await lists.listed() == ["cy@example.com", "anna@example.com", "new@example.com"]
    assert (await lists.one("cy@example.com"))["name"] == "C"
    gone = "cy@example.com;nobody;x\0@example.com"
    assert await lists.call("/addressmember/delete", address="vip", members=gone) == {"count": 1}
    assert (await lists.call("/addresslist/list"))["dataList"][0]["memberCount"] == 2


async def test_members_are_listed_newest_first_in_pages(lists: Lists) -> None:
    await lists.made()
    assert (await lists.add(";".join(f"m{n}@example.com" for n in range(1000))))["count"] == 1000
    assert await lists.listed(start=998, limit=5) == ["m1@example.com", "m0@example.com"]
    assert (await lists.call("/addressmember/list", address="vip", limit=0))["total"] == 1000


BAD = [
    ("list/add", {"address": "  "}, 40503),
    ("list/add", {"address": "a" * 49}, 40504),
    ("list/add", {"address": "two words@x.example"}, 40511),
    ("list/add", {"name": None}, 40501),
    ("list/add", {"name": "n" * 49}, 40502),
    ("list/add", {"name": "a\nb"}, 40502),
    ("list/add", {"desc": " "}, 40506),
    ("list/add", {"desc": "d" * 251}, 40507),
    ("list/add", {"listType": 1}, 6001),
    ("list/add", {"listType": "x"}, 40508),
    ("list/add", {"address": "vip"}, 40505),
    ("list/update", {"newAddress": "b" * 49}, 40510),
    ("list/update", {"newAddress": "a@@b"}, 40511),
    ("list/update", {"newAddress": "other"}, 40505),
    ("list/list", {"address": " "}, 40503),
    ("list/list", {"address": " ; ;"}, 40503),
    ("list/list", {"start": -1}, 40002),
    ("member/list", {"address": "@"}, 40511),
    ("member/add", {"members": " "}, 40512),
    ("member/add", {"members": ";;"}, 40514),
    ("member/add", {"members": "a@example.com;" * 1001}, 40515),
    ("member/add", {"members": "a" * 49 + "@example.com"}, 40513),
    ("member/add", {"members": "nobody;no@at@all"}, 40518),
    ("member/add", {"names": "a;b"}, 40521),
    ("member/add", {"names": "n" * 256}, 40516),
    ("member/add", {"vars": " "}, 40520),
    ("member/add", {"vars": '{"a":1};{"a":2}'}, 40521),
    ("member/add", {"vars": '{"a":1'}, 40522),
    ("member/add", {"vars": '"text"'}, 40522),
    ("member/add", {"vars": "[1"}, 40522),
    ("member/add", {"vars": "[]"}, 40522),
    ("member/add", {"vars": "[" * 100_000}, 40522),
    ("member/add", {"vars": '{"a":"' + "x" * 1020 + '"}'}, 40531),
    ("member/add", {"vars": '{"a": "' + "x" * 1016 + '"}'}, 40531),
    ("member/add", {"vars": '{"a":"' + "x" * 1020 + '"};x'}, 40522),
    ("member/add", {"members": "bad", "vars": " "}, 40518),
    ("member/add", {"members": "bad;" * 1001}, 40518),
    ("member/add", {"names": "a;b", "vars": "{"}, 40521),
    ("member/add", {"address": "none"}, 40517),
    ("member/update", {"newMembers": "bad"}, 40518),
    ("member/update", {"newMembers": "a@example.com;b@example.com"}, 40521),
    ("member/update", {"newMembers": "bad;bad", "vars": "{"}, 40518),
    ("member/update", {"newMembers": "a" * 49 + "@example.com"}, 40513),
    ("member/update", {"newMembers": ";"}, 40514),
    ("member/delete", {"members": None}, 40512),
    ("member/get", {"address": None}, 40503),
]


async def test_bad_parameters(lists: Lists) -> None:
    await lists.made()
    await lists.made("other")
    for path, given, code in BAD:
        usual = {"address": "third", "name": "N"} if path == "list/add" else {"address": "vip", "members": "a@example.com"}
        if path == "list/list":
            usual = {}
        elif path == "list/update":
            usual.pop("members")
        assert await lists.call(f"/address{path}", **{**usual, **given}) == code, (path, str(given)[:60])
    assert (await lists.call("/addresslist/list"))["total"] == 2
    assert await lists.listed() == []


@pytest.mark.parametrize("text", ["{", '{"a":"}', "{}}", '{"\\ud800":1}x', "nul"])
def test_variables_that_are_no_objects(text: str) -> None:
    with pytest.raises(Refused):
        contact.split_vars(text)
