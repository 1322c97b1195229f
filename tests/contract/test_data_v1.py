"""Version 1 of the data endpoints (data.md §12) on both engines: today's parameters in snake case, and payloads of its own."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aurorasend import suppression
from aurorasend.api import data_v1
from aurorasend.clock import DAY
from aurorasend.codes import Code as C
from aurorasend.event import Kind
from aurorasend.outcome import Reply, Stage, judge
from aurorasend.statistics import FIRST
from aurorasend.store.tx import Statement, Store
from tests.management import NOW, Api, Teller, managing

ANN, BOB = "ann@example.net", "bob@example.net"
NOBODY = judge(Reply(550, "5.1.1 nobody"), Stage.RCPT)
TODAY = {"start_date": "2026-02-01", "end_date": "2026-02-01"}
BEFORE = {"start_date": "2026-01-01", "end_date": "2026-01-31"}
RANGED = ("stats.get", "statsHour.get", "invalidStat.get", "bounces.get", "bounces.count", "unsubscribes.get")
PARAMETERS: tuple[tuple[str, dict[str, object], C], ...] = (
    *((name, {}, C.START_DATE_INVALID) for name in RANGED),
    *((name, {"days": 101}, C.DAYS_INVALID) for name in RANGED),
    *((name, {"start_date": "2026-01-02", "end_date": "2026-01-01"}, C.END_DATE_INVALID) for name in RANGED),
    ("stats.get", {"days": 1, "api_user_list": " "}, C.API_USER_LIST_EMPTY),
    ("stats.get", {"days": 1, "label_id_list": "x"}, C.STATISTICS_LABEL_INVALID),
    ("stats.get", {"days": 1, "domain_list": ";"}, C.DOMAIN_LIST_EMPTY),
    ("stats.get", {"days": 1, "aggregate": 2}, C.AGGREGATE_INVALID),
    ("invalidStat.get", {"days": 1, "aggregate": "maybe"}, C.AGGREGATE_INVALID),
    ("bounces.get", {"days": 1, "limit": 101}, C.LIMIT_INVALID),
    ("bounces.get", {"email": "nobody"}, C.EMAIL_INVALID),
    ("bounces.delete", {}, C.EMAIL_EMPTY),
    ("unsubscribes.get", {"days": 1, "start": "x"}, C.START_INVALID),
    ("unsubscribes.add", {}, C.EMAIL_EMPTY),
    ("unsubscribes.delete", {}, C.EMAIL_EMPTY),
    ("spamReported.get", {"start_date": "2026-01-01"}, C.END_DATE_INVALID),
)


@pytest.fixture
async def api(store: Store, tmp_path: Path) -> AsyncIterator[Api]:
    async with managing(store, tmp_path) as made:
        yield made


async def done(api: Api, name: str, _as: str = "one_trigger", **given: object) -> Any:
    """The one member of an answer beside `message`."""
    answer = await api.call(f"webapi/{name}.json", _as, **given)
    assert answer.pop("message") == "success", answer
    assert len(answer) == 1
    return answer


async def bounce(api: Api, address: str) -> None:
    now_us = api.clock.now_us()
    await api.node.store.write(lambda tx: suppression.bounced(tx, 1, address, NOBODY, now_us))


async def test_each_parameter(api: Api) -> None:
    for name, given, code in PARAMETERS:
        answer = await api.call(f"webapi/{name}.json", **given)
        assert answer["message"] == "error" and set(answer) == {"message", "errors"}, (name, given)
        assert [text.startswith(code.message) for text in answer["errors"]] == [True], (name, given, answer)


async def test_credentials_and_what_is_denied(api: Api) -> None:
    """Of an API user that may not call today's endpoint (management.md §7.6)."""
    for each in data_v1.ENDPOINTS:
        assert await api.call(each.path, _key="wrong") == {"message": "error", "errors": ["authentication failed"]}
    denied = '{"bounce": {"delete": false}, "statday": {"list": false}, "queue": {"status": false}}'
    await api.node.store.write(
        lambda tx: tx.run(Statement("UPDATE api_user SET permission = $1 WHERE name = 'one_test'"), denied)
    )
    told = {each.path: (await api.call(each.path, "one_test", email=ANN, days=1)) for each in data_v1.ENDPOINTS}
    refused = {path for path, answer in told.items() if answer == {"message": "error", "errors": [C.NOT_PERMITTED.message]}}
    assert refused == {f"webapi/{name}.json" for name in ("bounces.delete", "stats.get", "queueStatus.get")}
    assert all(answer["message"] == "success" for path, answer in told.items() if path not in refused)


@pytest.mark.parametrize(
    "path", ["webapi/stats.get.xml", "webapi/stats.get", "webapi/bounces.add.json", "api/webapi/stats.get.json"]
)
async def test_other_paths_are_unknown(api: Api, path: str) -> None:
    assert api.server.catalogue.find(f"/{path}") is None


async def test_statistics(api: Api) -> None:
    teller = Teller(api)
    for kind, number, sub in (
        *((Kind.REQUEST, 6, 0), (Kind.DELIVER, 4, 0), (Kind.SOFT_BOUNCE, 1, 503), (Kind.INVALID, 1, 406)),
        *((Kind.OPEN, 3, FIRST), (Kind.OPEN, 2, 0), (Kind.CLICK, 2, FIRST), (Kind.CLICK, 1, 0), (Kind.UNSUBSCRIBE, 1, 0)),
    ):
        await teller.tell(kind, "a.example", number, sub=sub)
    counts = {"request": 6, "deliveredNum": 4, "clickNum": 3, "openNum": 5, "bounceNum": 1, "spamReportedNum": 0}
    counts |= {"unsubscribeNum": 1, "uniqueOpensNum": 3, "uniqueClicksNum": 2, "invalidEmailsNum": 1}
    percents = {"delivered_percent": 66.66, "click_percent": 75, "open_percent": 125, "bounce_percent": 16.66}
    percents |= {"spamReported_percent": 0, "unsubscribe_percent": 25, "uniqueOpens_percent": 75}
    percents |= {"uniqueClicks_percent": 50, "invalidEmails_percent": 16.66}
    where = {"sendDate": "2026-02-01", "apiUser": "one_trigger", "labelId": 0}
    day = {**where, "domain": "a.example", "labelName": None}
    hour = {**where, "sendHour": 9, "labelName": ""}
    assert await done(api, "stats.get", days=1) == {"stats": [{**day, **counts, **percents}]}
    assert await done(api, "statsHour.get", **TODAY) == {"stats": [{**hour, **counts, **percents}]}
    texts = {name: str(number) for name, number in counts.items()}
    assert await done(api, "stats.get", aggregate=1, **TODAY) == {"stats": {**texts, **percents}}
    classes = {"sendcloudBlacklist": 0, "ubsubscribe": 0, "espUnvaliable": 0, "recipientAddressError": 0}
    classes |= {"ipOrDomainRejected": 0, "recipientNotFound": 1, "spamEmails": 0, "senderOrRecipientRejected": 0, "others": 0}
    assert await done(api, "invalidStat.get", days=1) == {"stats": [{**day, **classes}]}
    assert await done(api, "invalidStat.get", days=1, aggregate=1) == {"stats": classes}


async def test_filters_of_statistics(api: Api) -> None:
    teller = Teller(api)
    label = (await api.call("label/add", labelName="june"))["data"]["labelId"]
    await teller.tell(Kind.REQUEST, "a.example", 1)
    await teller.tell(Kind.REQUEST, "b.example", 2, user="one_batch")
    await teller.tell(Kind.REQUEST, "b.example", 4, label=label)
    await teller.tell(Kind.REQUEST, "b.example", 8, at=NOW - DAY)
    await teller.tell(Kind.REQUEST, "a.example", 16, user="two_trigger")

    async def numbers(name: str = "stats.get", **given: object) -> list[int]:
        return [row["request"] for row in (await done(api, name, **given))["stats"]]

    assert await numbers(days=1) == [2, 1, 4]
    assert await numbers(**BEFORE) == await numbers("statsHour.get", **BEFORE) == [8]
    assert await numbers(days=1, api_user_list="one_batch;nobody") == [2]
    assert await numbers("statsHour.get", days=1, label_id_list=label) == await numbers(days=1, label_id_list=label) == [4]
    assert await numbers(days=1, domain_list="A.example") == [1]
    assert (await done(api, "stats.get", days=2, domain_list="b.example", aggregate="1"))["stats"]["request"] == "14"


async def test_bounces(api: Api) -> None:
    await bounce(api, ANN)
    await bounce(api, BOB)
    row = {"email": ANN, "reason": "550 5.1.1 nobody", "create_at": "2026-02-01 09:00:00"}
    assert await done(api, "bounces.get", email="Ann@example.net", **BEFORE) == {"bounces": [row]}
    assert await done(api, "bounces.get", limit=1, **TODAY) == {"bounces": [row]}
    assert await done(api, "bounces.get", **BEFORE) == {"bounces": []}
    assert await done(api, "bounces.get", "two_trigger", days=1) == {"bounces": []}
    assert await done(api, "bounces.count", **TODAY) == {"count": 2}
    assert await done(api, "bounces.delete", **BEFORE) == {"del_count": 0}
    assert await done(api, "bounces.delete", email=ANN) == {"del_count": 1}
    assert await done(api, "bounces.delete", **TODAY) == {"del_count": 1}
    assert (await api.call("unintercept/list"))["count"] == 2  # as bounce/delete leaves it


async def test_unsubscribes(api: Api) -> None:
    made = await done(api, "unsubscribes.add", email="Ann@Example.net")
    at = "2026-02-01 09:00:01"
    row = {"email": ANN, "domain": "example.net", "labelId": 0, "apiUser": "one_trigger", "create_at": at}
    assert made == {"unsubscribes": [row]}
    assert await done(api, "unsubscribes.add", email=ANN) == made
    await done(api, "unsubscribes.add", "one_batch", email=ANN)
    assert await done(api, "unsubscribes.get", days=1, api_user_list="one_trigger") == made
    assert await done(api, "unsubscribes.get", label_id_list="7", **TODAY) == {"unsubscribes": []}
    found = (await done(api, "unsubscribes.get", email=ANN))["unsubscribes"]
    assert [each["apiUser"] for each in found] == ["one_trigger", "one_batch"]
    assert await done(api, "unsubscribes.delete", **BEFORE) == {"del_count": 0}
    assert await done(api, "unsubscribes.delete", email=ANN) == {"del_count": 2}


async def test_complaints(api: Api) -> None:
    now_us = api.clock.now_us()
    columns = "account_id, key, list, api_user_id, reason, created, expires"
    await api.sql(
        f"INSERT INTO suppression ({columns}) VALUES (1, '{ANN}', 'complaint', 0, 'FROM ESP', {now_us}, {now_us + DAY})"
    )
    row = {"email": ANN, "reason": "FROM ESP", "create_at": "2026-02-01 09:00:00"}
    for given in ({}, TODAY, {"email": ANN}):
        assert await done(api, "spamReported.get", **given) == {"bounces": [row]}
    assert await done(api, "spamReported.get", email=BOB) == {"bounces": []}


async def test_what_waits(api: Api) -> None:
    await Teller(api).tell(Kind.REQUEST, "a.example", 3)
    row = {"apiUser": "one_trigger", "domain": "a.example", "isStop": False, "reason": "", "timeout": None, "unRequestNum": 3}
    assert await done(api, "queueStatus.get") == {"queueStatus": [row]}
