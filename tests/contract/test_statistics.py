"""Statistics and the queue (data.md §2, §3, §4, §15) on both engines, from counters that event.record keeps."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aurorasend.api.statistics import NUMBERS, PERCENTS, shown
from aurorasend.clock import DAY, HOUR
from aurorasend.event import Kind
from aurorasend.statistics import FIRST
from aurorasend.store.tx import Store
from tests.management import NOW, Api, Teller, managing

PARAMETERS: tuple[tuple[str, dict[str, object], int], ...] = (
    *((f"{path}/list", {}, 40007) for path in ("statday", "stathour", "invalidstat")),
    *((f"{path}/list", {"days": 0}, 40006) for path in ("statday", "stathour", "invalidstat")),
    *((f"{path}/list", {"labelIdList": "x"}, 40007) for path in ("statday", "stathour", "invalidstat")),
    *((f"{path}/list", {"days": 101}, 40006) for path in ("statday", "stathour", "invalidstat")),
    *((f"{path}/list", {"days": 1, "labelIdList": "x"}, 40015) for path in ("statday", "stathour", "invalidstat")),
    *((f"{path}/list", {"days": 1, "apiUserList": " "}, 40010) for path in ("statday", "stathour", "invalidstat")),
    ("statday/list", {"days": 2, "labelIdList": " "}, 40009),
    ("statday/list", {"days": 2, "apiUserList": "no such!user?"}, 40016),
    ("statday/list", {"days": 2, "domainList": " "}, 40013),
    ("statday/list", {"days": 2, "aggregate": 2}, 40017),
    ("invalidstat/list", {"days": 2, "domainList": ";"}, 40013),
    ("invalidstat/list", {"days": 2, "aggregate": "maybe"}, 40017),
)


@pytest.fixture
async def api(store: Store, tmp_path: Path) -> AsyncIterator[Api]:
    async with managing(store, tmp_path) as made:
        yield made


async def rows(api: Api, path: str, **given: object) -> Any:
    return (await api.call(f"{path}/list", **given))["dataList"]


async def test_each_parameter(api: Api) -> None:
    for path, given, code in PARAMETERS:
        assert await api.call(path, **given) == code, (path, given)


@pytest.mark.parametrize(
    ("part", "whole", "told"),
    [
        (2, 3, "66.66"),
        (28, 48, "58.33"),
        (1, 1, "100"),
        (3, 2, "150"),
        (10**9 + 1, 2, "50000000050"),
        (1, 0, "0"),
        (0, 5, "0"),
        (1, 8, "12.5"),
        (29, 100, "29"),
        (1, 10**4, "0.01"),
        (1, 10**4 + 1, "0"),
    ],
)
def test_percentages_are_cut(part: int, whole: int, told: str) -> None:
    row = dict(zip((*NUMBERS, *PERCENTS), shown((whole, whole, part, part, part, part, whole, part, part, part)), strict=True))
    whole_of_itself = "100" if whole else "0"
    of_whole = {"deliveredPercent": whole_of_itself, "uniqueOpensPercent": whole_of_itself}
    assert {name: bytes(row[name]).decode() for name in PERCENTS} == dict.fromkeys(PERCENTS, told) | of_whole


async def test_a_row_of_a_day(api: Api) -> None:
    teller = Teller(api)
    label = (await api.call("label/add", labelName="june"))["data"]["labelId"]
    await teller.tell(Kind.REQUEST, "a.example", 6, label=label)
    await teller.tell(Kind.DELIVER, "a.example", 4, label=label)
    await teller.tell(Kind.SOFT_BOUNCE, "a.example", 1, sub=503, label=label)
    await teller.tell(Kind.INVALID, "a.example", 1, sub=406, label=label)
    await teller.tell(Kind.OPEN, "a.example", 3, sub=FIRST, label=label)
    await teller.tell(Kind.OPEN, "a.example", 2, label=label)
    await teller.tell(Kind.CLICK, "a.example", 2, sub=FIRST, label=label)
    await teller.tell(Kind.CLICK, "a.example", 1, label=label)
    await teller.tell(Kind.UNSUBSCRIBE, "a.example", 1, label=label)
    counts = {
        "requestNum": 6,
        "deliveredNum": 4,
        "clickNum": 3,
        "openNum": 5,
        "bounceNum": 1,
        "spamReportedNum": 0,
        "unsubscribeNum": 1,
    }
    shares = {
        "deliveredPercent": 66.66,
        "clickPercent": 75,
        "openPercent": 125,
        "bouncePercent": 16.66,
        "spamReportedPercent": 0,
        "unsubscribePercent": 25,
        "uniqueOpensPercent": 75,
        "uniqueClicksPercent": 50,
        "invalidEmailsPercent": 16.66,
    }
    unique = {"uniqueOpensNum": 3, "uniqueClicksNum": 2, "invalidEmailsNum": 1}
    where = {"sendDate": "2026-02-01", "apiUser": "one_trigger", "labelId": label}
    assert await rows(api, "statday", days=1) == [
        {**where, "domain": "a.example", "labelName": "june", **counts, **unique, **shares, "openRatePercent": 66.66}
    ]
    # the documented example of data.md §2.2
    assert await rows(api, "statday", days=1, aggregate=1) == {
        **counts,
        "uniqueOpenNum": 3,
        "uniqueClickNum": 2,
        "invalidEmailNum": 1,
        **shares,
    }
    assert await rows(api, "stathour", days=1) == [
        {
            **where,
            "sendHour": 9,
            "labelName": "june",
            **counts,
            **unique,
            **shares,
            "openRatePercent": 66.66,
            "uniqueClickspercent": 50,
        }
    ]


async def test_a_deleted_label_stays_in_the_statistics_of_its_mail(api: Api) -> None:
    teller = Teller(api)
    label = (await api.call("label/add", labelName="Spring"))["data"]["labelId"]
    await teller.tell(Kind.REQUEST, "a.example", label=label)
    before = await rows(api, "statday", days=1)
    assert before[0]["labelName"] == "Spring"
    assert await api.call("label/delete", labelId=label) == {"count": 1}
    again = (await api.call("label/add", labelName="Spring"))["data"]["labelId"]
    await teller.tell(Kind.REQUEST, "a.example", 2, label=again)
    assert await rows(api, "statday", days=1, labelIdList=label) == before
    assert [row["requestNum"] for row in await rows(api, "statday", days=1, labelNameList="pri")] == [1, 2]
    assert [row["labelName"] for row in await rows(api, "stathour", days=1)] == ["Spring", "Spring"]


async def test_filters_and_order(api: Api) -> None:
    teller = Teller(api)
    label = (await api.call("label/add", labelName="Spring 测"))["data"]["labelId"]
    await teller.tell(Kind.REQUEST, "b.example")
    await teller.tell(Kind.REQUEST, "a.example", 2, label=label)
    await teller.tell(Kind.REQUEST, "b.example", 4, user="one_batch")
    await teller.tell(Kind.REQUEST, "a.example", 8, at=NOW - 10 * HOUR)  # 23:00 of the day before
    await teller.tell(Kind.REQUEST, "a.example", 16, at=NOW - 2 * DAY)
    await teller.tell(Kind.REQUEST, "a.example", 32, user="two_trigger")

    async def numbers(path: str = "statday", **given: object) -> list[int]:
        return [row["requestNum"] for row in await rows(api, path, **given)]

    assert await numbers(days=2) == [8, 4, 2, 1]
    assert await numbers(days=1) == [4, 2, 1]
    assert await numbers(days=100) == [16, 8, 4, 2, 1]
    assert await numbers(startDate="2026-01-30", endDate="2026-01-31") == [16, 8]
    assert await numbers(days=2, apiUserList="one_batch;nobody") == [4]
    assert await numbers(days=2, apiUserList="nobody") == []
    assert await numbers(days=2, labelIdList=f"{label};999999999") == [2]
    assert await numbers(days=2, labelIdList="0") == [8, 4, 1]
    assert await numbers(days=2, labelNameList="x;ing 测") == [2]
    assert await numbers(days=2, labelNameList="nothing") == []
    assert await numbers(days=2, labelIdList="0", labelNameList="spring") == [8, 4, 1]
    assert await numbers(days=2, domainList="B.example") == [4, 1]
    assert await numbers("stathour", days=2) == [8, 4, 1, 2]  # by hour, API_USER, label
    assert [row["sendHour"] for row in await rows(api, "stathour", days=2)] == [23, 9, 9, 9]
    assert (await rows(api, "statday", days=2, aggregate="true"))["requestNum"] == 15
    assert (await rows(api, "statday", days=2, aggregate="true", domainList="none.example"))["requestNum"] == 0
    assert [row["requestNum"] for row in (await api.call("statday/list", "two_trigger", days=9))["dataList"]] == [32]


async def test_classes_of_invalid_mail(api: Api) -> None:
    teller = Teller(api)
    await teller.tell(Kind.REQUEST, "a.example", 9)
    await teller.tell(Kind.REQUEST, "fine.example", 1)
    for sub, number in ((401, 2), (402, 1), (406, 3), (409, 1)):
        await teller.tell(Kind.INVALID, "a.example", number, sub=sub)
    found = {
        "sendcloudBlacklist": 2,
        "ubsubscribe": 1,
        "espUnvaliable": 0,
        "recipientAddressError": 0,
        "ipOrDomainRejected": 0,
        "recipientNotFound": 3,
        "spamEmail": 0,
        "senderOrRecipientRejected": 0,
        "others": 1,
    }
    where = {"sendDate": "2026-02-01", "apiUser": "one_trigger", "labelId": 0, "labelName": None, "domain": "a.example"}
    assert await rows(api, "invalidstat", days=1) == [{**where, **found}]
    assert await rows(api, "invalidstat", days=1, aggregate=1) == found
    assert (await rows(api, "statday", days=1, aggregate=1))["invalidEmailNum"] == 7


async def test_what_waits(api: Api) -> None:
    teller = Teller(api)
    await teller.tell(Kind.REQUEST, "a.example", 5, at=NOW - DAY)
    await teller.tell(Kind.DELIVER, "a.example", 2, at=NOW - DAY)
    await teller.tell(Kind.REQUEST, "done.example")
    await teller.tell(Kind.SOFT_BOUNCE, "done.example", sub=503)
    row = {"apiUser": "one_trigger", "domain": "a.example", "isStop": False, "reason": "", "timeout": None, "unRequestNum": 3}
    assert await api.call("queue/status") == {"count": 1, "dataList": [row]}
    assert await api.call("queue/status", "two_trigger") == {"count": 0, "dataList": []}
