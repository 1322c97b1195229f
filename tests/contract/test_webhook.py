"""Webhook configuration (management.md §8, events.md §2) on both engines; probes go to a real server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from aurorasend.store.tx import Store
from tests.management import Api, managing

EVENTS = {
    "1": "deliver",
    "3": "report_spam",
    "4": "invalid",
    "5": "soft_bounce",
    "10": "click",
    "11": "open",
    "12": "unsubscribe",
    "18": "request",
}
PARAMETERS: tuple[tuple[str, dict[str, object], int], ...] = (
    ("add", {"categoryName": None}, 40701),
    ("add", {"categoryName": " "}, 40701),
    ("add", {"categoryName": "nobody"}, 40702),
    ("add", {"categoryName": "two_trigger"}, 40702),
    ("add", {"categoryName": "a\0"}, 40702),
    ("add", {"event": "1,2"}, 40704),
    ("add", {"event": "1;3"}, 40704),
    ("add", {"event": ","}, 40704),
    ("add", {"event": "01"}, 40704),
    ("add", {"event": "201"}, 40704),
    ("add", {"url": None}, 40705),
    ("add", {"url": " "}, 40705),
    ("add", {"url": "ftp://a.example/"}, 40706),
    ("add", {"url": "not a url"}, 40706),
    ("add", {"url": "http://u:p@a.example/"}, 40706),
    ("add", {"url": "http://a.example/\r\nX: y"}, 40706),
    ("add", {"url": "http://2130706433/"}, 40706),
    ("add", {"url": "http://nowhere.example/"}, 40707),
    ("update", {"categoryName": None, "newEvent": "1"}, 40701),
    ("update", {"event": None, "newEvent": "1"}, 40703),
    ("update", {"event": "6", "newEvent": "1"}, 40704),
    ("update", {"newEvent": "6"}, 40704),
    ("update", {"newEvent": " "}, 40703),
    ("update", {"newCategoryName": " "}, 40701),
    ("update", {"newUrl": " "}, 40705),
    ("update", {"newUrl": ""}, 40712),
    ("update", {"newUrl": "mailto:a@b.example"}, 40706),
    ("update", {"newCategoryName": "nobody"}, 40709),
    ("update", {}, 40712),
    ("update", {"newEvent": "1", "newCategoryName": "all"}, 40712),
    ("update", {"newEvent": "1"}, 40709),
    ("delete", {"categoryName": None}, 40701),
    ("delete", {"event": None}, 40703),
    ("delete", {"event": "99"}, 40704),
    ("delete", {}, 40709),
    # Parameters are checked in the order of the contract's table: url, categoryName, event.
    ("add", {"url": None, "categoryName": None, "event": "2"}, 40705),
    ("add", {"url": "ftp://a.example/", "categoryName": None}, 40706),
    ("add", {"url": "ftp://a.example/", "event": "2"}, 40706),
    ("add", {"categoryName": None, "event": "2"}, 40701),
    ("update", {"url": "ftp://a.example/", "categoryName": None, "newEvent": "1"}, 40706),
    ("update", {"categoryName": None, "event": None}, 40701),
    ("delete", {"url": "ftp://a.example/", "event": "99"}, 40704),
    ("delete", {"url": "ftp://a.example/"}, 40709),
    ("delete", {"url": "a\0"}, 40706),
    ("get", {"url": None}, 40705),
    ("get", {}, 40709),
    ("list", {"event": "2"}, 40704),
)


class Receiver:
    """A customer's server; `answers` maps (method, path) to a status other than 200."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], int] = {}
        self.asked: list[tuple[str, str, str, bytes]] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path, request.content_type, await request.read()))
        return web.Response(status=self.answers.get((request.method, request.path), 200))

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made, app = Receiver(), web.Application()
    app.router.add_route("*", "/{rest:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


@pytest.fixture
async def api(store: Store, tmp_path: Path) -> AsyncIterator[Api]:
    async with managing(store, tmp_path) as made:
        yield made


async def listed(api: Api, **given: object) -> list[tuple[str, str, str]]:
    found = await api.call("webhook/list", **given)
    assert found["count"] == len(found["dataList"])
    return [(each["webhookUrl"], each["categoryName"], ",".join(each["eventTypeMap"])) for each in found["dataList"]]


async def test_parameters(api: Api, receiver: Receiver) -> None:
    for action, given, code in PARAMETERS:
        known = {"url": receiver.url(), "categoryName": "all", "event": "11,1"}
        parameters = {key: value for key, value in (known | given).items() if value is not None}
        assert await api.call(f"webhook/{action}", **parameters) == code, (action, given)
    assert await listed(api) == []


async def test_a_url_is_called_before_it_is_kept(api: Api, receiver: Receiver) -> None:
    assert await api.call("webhook/add", url=receiver.url(), categoryName="one_batch") == {}
    assert [asked[:2] for asked in receiver.asked] == [("GET", "/hook"), ("POST", "/hook")]
    assert receiver.asked[1][2:] == ("application/json", b"{}")
    whole = {"webhookUrl": receiver.url(), "eventTypeMap": EVENTS, "categoryName": "one_batch"}
    assert await api.call("webhook/list") == {"count": 1, "dataList": [whole]}
    assert await api.call("webhook/get", url=receiver.url(), categoryName="one_batch") == {"data": whole}


@pytest.mark.parametrize(("method", "status"), [("GET", 500), ("POST", 500), ("GET", 204), ("POST", 302), ("GET", 404)])
async def test_a_url_that_does_not_answer_200_is_refused(api: Api, receiver: Receiver, method: str, status: int) -> None:
    receiver.answers[method, "/bad"] = status
    assert await api.call("webhook/add", url=receiver.url("/bad"), categoryName="all") == 40707
    assert await api.call("webhook/add", url=receiver.url(), categoryName="all", event="1") == {}
    match = {"url": receiver.url(), "categoryName": "all", "event": "1"}
    assert await api.call("webhook/update", **match, newUrl=receiver.url("/bad")) == 40707
    assert await listed(api) == [(receiver.url(), "all", "1")]
    api.settle("webhook", probe=False)
    assert await api.call("webhook/add", url=receiver.url("/bad"), categoryName="all") == {}


async def test_a_private_url_is_refused_without_a_call(store: Store, tmp_path: Path, receiver: Receiver) -> None:
    async with managing(store, tmp_path, allow_private=False) as api:
        assert await api.call("webhook/add", url=receiver.url(), categoryName="all") == 40707
    assert receiver.asked == []


async def test_one_thing_is_changed_at_a_time(api: Api, receiver: Receiver) -> None:
    one, two = receiver.url("/one"), receiver.url("/two")
    await api.call("webhook/add", url=one, categoryName="all", event="10,1")
    match = {"categoryName": "all", "event": " 1 , 10 "}
    assert await api.call("webhook/update", **match, newEvent="12") == {"count": 1}
    assert await api.call("webhook/update", url=one, categoryName="all", event="12", newUrl=two) == {"count": 1}
    assert await api.call("webhook/update", categoryName="all", event="12", newCategoryName="nobody") == 40702
    assert await api.call("webhook/update", categoryName="all", event="12", newCategoryName="one_test") == {"count": 1}
    assert await listed(api) == [(two, "one_test", "12")]
    assert await api.call("webhook/delete", categoryName="one_test", event="12", url=one) == 40709
    assert await api.call("webhook/delete", categoryName="one_test", event="12", url=two) == {"count": 1}
    assert await listed(api) == []


async def test_a_change_of_several_never_makes_two_the_same(api: Api, receiver: Receiver) -> None:
    for path in ("/a", "/b"):
        await api.call("webhook/add", url=receiver.url(path), categoryName="all", event="1")
    await api.call("webhook/add", url=receiver.url("/a"), categoryName="one_test", event="3")
    before = await listed(api)
    assert await api.call("webhook/update", categoryName="all", event="1", newUrl=receiver.url("/c")) == 40708
    assert await api.call("webhook/update", categoryName="all", event="1", newCategoryName="one_test") == 40708
    assert await listed(api) == before
    assert await api.call("webhook/update", categoryName="all", event="1", newEvent="5") == {"count": 2}
    assert await api.call("webhook/delete", categoryName="all", event="5") == {"count": 2}


async def test_one_url_and_category_is_one_webhook_even_at_once(api: Api, receiver: Receiver) -> None:
    answers = await asyncio.gather(*(api.call("webhook/add", url=receiver.url(), categoryName="all", event=n) for n in EVENTS))
    assert answers.count(40708) == 7
    assert len(await listed(api)) == 1
    assert await api.call("webhook/add", url=receiver.url(), categoryName="one_batch", event="1") == {}
    assert await api.call("webhook/add", url=receiver.url("/other"), categoryName="all", event="1") == {}


async def test_equal_deletes_at_once_delete_once(api: Api, receiver: Receiver) -> None:
    await api.call("webhook/add", url=receiver.url(), categoryName="all", event="1")
    answers = await asyncio.gather(*(api.call("webhook/delete", categoryName="all", event="1") for _ in range(4)))
    assert sorted(answers, key=str) == [40709] * 3 + [{"count": 1}]


async def test_list_filters(api: Api, receiver: Receiver) -> None:
    for path, category, events in (("/a", "all", "1,3"), ("/b", "one_batch", "3,4"), ("/ab", "all", "5")):
        await api.call("webhook/add", url=receiver.url(path), categoryName=category, event=events)

    async def paths(**given: object) -> list[str]:
        return [url.rpartition("/")[2] for url, _, _ in await listed(api, **given)]

    assert await paths() == ["ab", "b", "a"]
    assert await paths(url="/a") == ["ab", "a"]
    assert await paths(categoryName="all") == ["ab", "a"]
    assert await paths(categoryName="nobody") == []
    assert await paths(event="4,5") == ["ab", "b"]
    assert await paths(event=" ", categoryName=" ") == ["ab", "b", "a"]


async def test_accounts_do_not_see_each_other(api: Api, receiver: Receiver) -> None:
    await api.call("webhook/add", url=receiver.url(), categoryName="all", event="1")
    assert await listed(api, _as="two_trigger") == []
    same = {"url": receiver.url(), "categoryName": "all", "event": "1"}
    assert await api.call("webhook/delete", "two_trigger", **same) == 40709
    assert await api.call("webhook/update", "two_trigger", **same, newEvent="3") == 40709
    assert await api.call("webhook/get", "two_trigger", url=receiver.url(), categoryName="all") == 40709
    assert await api.call("webhook/add", "two_trigger", **same) == {}
    assert await listed(api) == [(receiver.url(), "all", "1")]


async def test_a_category_follows_its_api_user(api: Api, receiver: Receiver) -> None:
    await api.call("webhook/add", url=receiver.url(), categoryName="one_batch", event="1")
    await api.call("apiuser/update", name="one_batch", newName="renamed1")
    assert await listed(api, categoryName="renamed1") == [(receiver.url(), "renamed1", "1")]
    await api.call("apiuser/delete", name="renamed1")
    assert await api.call("webhook/add", url=receiver.url("/x"), categoryName="renamed1") == 40702
    assert await api.call("webhook/delete", categoryName="renamed1", event="1") == {"count": 1}
