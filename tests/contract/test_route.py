"""Inbound routes (management.md §10) on both engines."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aurorasend.inbound_route import BadExpression, read_expression
from aurorasend.store.tx import Store
from tests.management import Api, managing

URL = "https://hooks.example.com/in"
PARAMETERS: tuple[tuple[str, dict[str, object], int], ...] = (
    ("add", {"expression": None}, 41001),
    ("add", {"action": " "}, 41001),
    ("add", {"expression": "no-at-sign"}, 41003),
    ("add", {"expression": "@one.example"}, 41003),
    ("add", {"expression": "*@nodots"}, 41003),
    ("add", {"expression": "([@one.example"}, 41003),
    ("add", {"expression": "a\nb@one.example"}, 41003),
    ("add", {"expression": "a\0@one.example"}, 41003),
    ("add", {"expression": "x" * 310 + "@one.example"}, 41003),
    ("add", {"expression": "*@two.example"}, 41014),
    ("add", {"expression": "*@none.example"}, 41014),
    ("add", {"expression": "*@unverified.example"}, 41014),
    ("add", {"action": "ftp://files.example.com/in"}, 49901),
    ("add", {"action": "mailto:ann@example.net"}, 49901),
    ("add", {"action": "http://u:p@hooks.example/"}, 49901),
    ("add", {"action": "neither"}, 40012),
    ("add", {"action": "a b@example.net"}, 40012),
    ("add", {"action": "ann@example.net"}, 41110),
    ("add", {"action": "ann@example.net", "apiUserRoute": " "}, 41110),
    ("add", {"action": "ann@example.net", "apiUserRoute": "two_trigger"}, 41109),
    ("add", {"action": "ann@example.net", "apiUserRoute": "a\0"}, 41109),
    ("update", {"expression": "*@one.example", "action": URL}, 41001),
    ("update", {"routeId": "x"}, 41014),
    ("update", {"routeId": 999}, 41014),
    ("update", {"routeId": 999, "action": None}, 41001),
    ("get", {}, 41001),
    ("get", {"routeId": 0}, 41014),
    ("get", {"routeId": 10**30}, 41014),
    ("delete", {}, 41001),
    ("delete", {"routeId": 999}, 41014),
    ("list", {"limit": 101}, 40004),
    ("list", {"domain": "a\0"}, 41003),
)


@pytest.fixture
async def api(store: Store, tmp_path: Path) -> AsyncIterator[Api]:
    async with managing(store, tmp_path) as made:
        yield made


async def add(api: Api, expression: str, _as: str = "one_trigger", action: str = URL, **given: object) -> Any:
    answer = await api.call("route/add", _as, expression=expression, action=action, **given)
    return answer["data"] if isinstance(answer, dict) else answer


async def test_parameters(api: Api) -> None:
    await api.call("domain/add", name="unverified.example")
    for action, given, code in PARAMETERS:
        base = {"expression": "*@one.example", "action": URL} if action in ("add", "update") else {}
        parameters = {key: value for key, value in (base | given).items() if value is not None}
        assert await api.call(f"route/{action}", **parameters) == code, (action, given)
    assert (await api.call("route/list"))["total"] == 0


async def test_a_route_lives(api: Api) -> None:
    made = await add(api, "Sales*@One.example", apiUserRoute="ignored")
    route = {"domain": "one.example", "expression": "Sales*@One.example", "action": URL, "apiUserRoute": None}
    assert made == route | {"id": made["id"]}
    assert await api.call("route/get", routeId=made["id"]) == {"data": made}
    to = {"expression": "a[0-9]+@one.example", "action": "ann@example.net", "apiUserRoute": "one_batch"}
    assert await api.call("route/update", routeId=made["id"], **to) == {"count": 1}
    assert await api.call("route/get", routeId=made["id"]) == {"data": {"id": made["id"], "domain": "one.example", **to}}
    assert await api.call("route/update", routeId=made["id"], expression="*@one.example", action=URL) == {"count": 1}
    assert (await api.call("route/get", routeId=made["id"]))["data"]["apiUserRoute"] is None
    assert await api.call("route/delete", routeId=made["id"]) == {"count": 1}
    assert await api.call("route/delete", routeId=made["id"]) == 41014


async def test_an_expression_is_taken_once_even_at_once(api: Api) -> None:
    same = ["a*@one.example", "A*@ONE.example"] * 4
    answers = await asyncio.gather(*(add(api, expression) for expression in same))
    assert answers.count(41015) == 7
    other = await add(api, "b*@one.example")
    assert await api.call("route/update", routeId=other["id"], expression="A*@one.example", action=URL) == 41016
    assert await api.call("route/update", routeId=other["id"], expression="B*@one.example", action=URL) == {"count": 1}
    assert isinstance(await add(api, r"\d@one.example"), dict)
    assert isinstance(await add(api, r"\D@one.example"), dict)  # letter case means something in a regular expression


async def test_accounts_do_not_see_each_other(api: Api) -> None:
    made = await add(api, "*@one.example")
    for action in ("get", "delete", "update"):
        parameters = {"routeId": made["id"], "expression": "*@two.example", "action": URL}
        assert await api.call(f"route/{action}", "two_trigger", **parameters) == 41014
    assert (await api.call("route/list", "two_trigger"))["total"] == 0
    assert isinstance(await add(api, "*@two.example", "two_trigger"), dict)


async def test_list_filters_and_pages(api: Api) -> None:
    made = [await add(api, f"{name}@one.example") for name in "abc"]

    async def ids(**given: object) -> list[int]:
        return [each["id"] for each in (await api.call("route/list", **given))["dataList"]]

    a, b, c = (each["id"] for each in made)
    assert await ids() == [c, b, a]
    assert await ids(domain="NE.ex") == [c, b, a]
    assert await ids(domain="%") == []
    assert await ids(start=1, limit=1) == [b]
    assert await api.call("route/list", limit=0) == {"total": 3, "count": 0, "dataList": []}


@pytest.mark.parametrize(
    "local",
    ["(a+)+", "(a|a)*", "(.*)*", "(a)\\1", "(?=a)b[", "(?P<n>a)[b]", "[a]+b[+]c*d*e*f{2,}", "[", "a(", "[z-a]", "(a){2}"],
)
def test_expressions_that_cannot_be_matched_in_short_time(local: str) -> None:
    with pytest.raises(BadExpression):
        read_expression(f"{local}@one.example")


@pytest.mark.parametrize("local", ["[a-z]*[a-z]*[a-z]*[a-z]*[0-9]", r"\w+\w+\w+\w+(!)"])
def test_the_worst_that_is_taken_is_matched_in_short_time(local: str) -> None:
    read_expression(f"{local}@one.example")
    began = time.monotonic()
    assert re.fullmatch(local, "a" * 64) is None
    assert time.monotonic() - began < 1
