"""What became of single mails, and opens and clicks (data.md §5, §6), on both engines."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from aurorasend import email_status
from aurorasend.clock import DAY
from aurorasend.email_status import words
from aurorasend.event import Kind
from aurorasend.store.tx import Store
from tests.management import Api, managing, send, settle

PARAMETERS: tuple[tuple[str, dict[str, object], int], ...] = (
    ("data/emailStatus", {}, 40007),
    ("data/emailStatus", {"emailIds": "1_2_3_4.sg-1-inbound0$nobody@example.net"}, 40007),
    ("data/emailStatus", {"days": 31}, 40006),
    ("data/emailStatus", {"days": 31, "limit": 101}, 40006),
    ("data/emailStatus", {"email": "not-an-address"}, 40007),
    ("data/emailStatus", {"startDate": "2024-01-01", "endDate": "2024-03-01"}, 40008),
    ("data/emailStatus", {"startDate": "2024-1", "endDate": "2024-01-02"}, 40007),
    ("data/emailStatus", {"days": 1, "email": " "}, 40011),
    ("data/emailStatus", {"days": 1, "email": "not-an-address"}, 40012),
    ("data/emailStatus", {"days": 1, "emailIds": "x;" * 101}, 40012),
    ("data/emailStatus", {"days": 1, "labelId": " "}, 40014),
    ("data/emailStatus", {"days": 1, "labelId": "x1"}, 40015),
    ("data/emailStatus", {"days": 1, "labelName": "a\0"}, 40015),
    ("data/emailStatus", {"days": 1, "apiUserList": " "}, 40010),
    ("data/emailStatus", {"days": 1, "start": " "}, 40001),
    ("data/emailStatus", {"days": 1, "start": "-1"}, 40002),
    ("data/emailStatus", {"days": 1, "limit": " "}, 40003),
    ("data/emailStatus", {"days": 1, "limit": 101}, 40004),
    ("openandclick/list", {}, 40007),
    ("openandclick/list", {"days": 0}, 40006),
    ("openandclick/list", {"labelId": "one"}, 40007),
    ("openandclick/list", {"startDate": "2024-05-02", "endDate": "2024-05-01"}, 40008),
    ("openandclick/list", {"email": "nobody"}, 40012),
    ("openandclick/list", {"days": 1, "labelId": " "}, 40014),
    ("openandclick/list", {"days": 1, "labelId": "one"}, 40015),
    ("openandclick/list", {"days": 1, "apiUserList": "a b"}, 40016),
    ("openandclick/list", {"days": 1, "limit": 101}, 40004),
)


@pytest.fixture
async def api(store: Store, tmp_path: Path) -> AsyncIterator[Api]:
    async with managing(store, tmp_path) as made:
        await made.sql("UPDATE domain SET vouched = 1, verified = 23")
        yield made


async def status(api: Api, **given: object) -> Any:
    answer = await api.call("data/emailStatus", **{"days": 30, **given})
    assert answer["voListSize"] == len(answer["voList"])
    return answer


async def ids(api: Api, **given: object) -> list[str]:
    """Those of a page that holds all."""
    answer = await status(api, **given)
    assert answer["total"] == str(len(answer["voList"]))
    return [each["emailId"] for each in answer["voList"]]


async def test_each_parameter(api: Api) -> None:
    for path, given, code in PARAMETERS:
        assert await api.call(path, **given) == code, (path, given)


async def test_an_installation_says_how_long_a_range_may_be(api: Api) -> None:
    for longest in (3, 40):
        api.settle("limits", email_status_days=longest)
        assert (await api.call("data/emailStatus", days=longest))["total"] == "0"
        assert await api.call("data/emailStatus", days=longest + 1, limit=101) == 40006
        last = date(2026, 1, 1) + timedelta(days=longest)
        assert await api.call("data/emailStatus", startDate="2026-01-01", endDate=last) == 40008
        assert (await api.call("data/emailStatus", startDate="2026-01-02", endDate=last))["total"] == "0"
    assert await api.call("statday/list", days=100) == {"dataList": []}  # the others keep theirs


def test_words() -> None:
    assert words(1, 0) == ("Delivered", None)
    assert words(18, 0) == words(0, 0) == ("Sending", None)
    assert words(4, 401) == ("Invalid Mail - Platform Blacklist", "SendCloud Blacklist")
    assert words(5, 505) == ("Soft Bounce - IP/Domain Rejected", "IP, Domain Name Rejected")


async def test_a_row_tells_how_a_mail_fares(api: Api) -> None:
    (mail,) = await send(api, "ann@example.net")
    row = (await status(api))["voList"][0]
    assert row["status"] == "Sending" and row["subStatus"] is None and row["requestTime"] == "2026-02-01 09:00:01"
    await settle(api, mail, Kind.INVALID, 406, "550 5.1.1 no such user")
    answer = await status(api)
    assert answer == {
        "total": "1",
        "voListSize": 1,
        "voList": [
            {
                "emailId": mail,
                "status": "Invalid Mail - Address Does Not Exist",
                "apiUser": "one_trigger",
                "recipients": "ann@example.net",
                "requestTime": "2026-02-01 09:00:01",
                "modifiedTime": "2026-02-01 09:00:02",
                "sendLog": "550 5.1.1 no such user",
                "subStatus": 406,
                "subStatusDesc": "Address Does Not Exist",
                **dict.fromkeys(
                    (
                        "taskName",
                        "mailingStatus",
                        "softStatus",
                        "timeStr",
                        "event",
                        "receiver",
                        "message",
                        "email",
                        "name",
                        "phone",
                    )
                ),
            }
        ],
    }


async def test_each_filter(api: Api) -> None:
    ann, bob = await send(api, "Ann@Example.net;bob@example.net", labelName="Spring")
    (eve,) = await send(api, "eve@example.org", "one_batch")
    (other,) = await send(api, "ann@example.net", "two_trigger")
    await settle(api, ann, Kind.DELIVER)
    await settle(api, bob, Kind.INVALID, 407)
    assert await ids(api) == [ann, bob, eve]
    assert await ids(api, status=1) == [ann]
    assert await ids(api, status=[4, 18]) == [bob, eve]
    assert await ids(api, status="4,18", subStatus="407;406") == [bob]
    assert await ids(api, subStatus="406") == []
    assert await ids(api, status="x") == await ids(api, status=7) == await ids(api, subStatus=999) == []
    assert await ids(api, apiUserList="one_batch") == [eve]
    assert await ids(api, apiUserList="nobody") == []
    assert await ids(api, labelName="pri") == [ann, bob]
    assert await ids(api, labelName="none") == []
    assert await ids(api, labelId=0, labelName="pri") == [eve]
    assert await ids(api, email="Ann@example.NET") == [ann]
    assert await ids(api, email="bob@example.net", status=4) == [bob]
    assert await ids(api, email="bob@example.net", status=1) == []
    assert await ids(api, emailIds=f"{eve};{bob};{other};{ann}x;nonsense") == [bob, eve]
    assert await ids(api, emailIds=f"{eve};{bob}", status=4) == [bob]
    assert await ids(api, emailIds=f"{eve};{bob}", email="bob@EXAMPLE.net") == [bob]
    assert await ids(api, startDate="2026-01-30", endDate="2026-01-31") == []
    assert await ids(api, startDate="2026-01-30", endDate="2026-01-31", emailIds=ann) == []
    assert await ids(api, startDate="2026-01-30", endDate="2026-01-31", email="bob@example.net") == []
    assert (await api.call("data/emailStatus", "two_trigger", days=1))["total"] == "1"


async def test_letter_case_counts_before_the_at_sign(api: Api) -> None:
    (ann,) = await send(api, "Ann@Example.net")
    (annie,) = await send(api, "annie@example.net")
    assert await ids(api, email="ann@example.net") == []
    assert await ids(api, email="Ann@example.net") == [ann]
    assert await ids(api, email="annie@example.net") == [annie]


@pytest.mark.parametrize("narrowed", [{}, {"email": "ann@example.net"}, {"labelName": "all"}])
async def test_pages(api: Api, narrowed: dict[str, object]) -> None:
    sent = [mail for _ in range(5) for mail in await send(api, "ann@example.net", labelName="all")]
    seen = []
    for start in range(0, 8, 2):
        answer = await status(api, start=start, limit=2, **narrowed)
        assert answer["total"] == "5"
        seen += [each["emailId"] for each in answer["voList"]]
    assert seen == sent
    assert await status(api, limit=0, **narrowed) == {"total": "5", "voListSize": 0, "voList": []}
    assert (await status(api, emailIds=";".join(sent), start=4))["voList"][0]["emailId"] == sent[4]


async def test_every_way_of_reading_gives_the_same_pages(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of the ways is taken depends on what is counted; each must be right for any filter."""
    sent: dict[str, tuple[str, str, int, int]] = {}
    fates = ((Kind.DELIVER, 0), (Kind.INVALID, 406), (Kind.INVALID, 407), (Kind.SOFT_BOUNCE, 503), (None, 0))
    for n in range(12):
        if n == 6:
            await api.call("apiuser/update", name="one_batch", newName="renamed1")
        user, label = ("one_trigger", "one_batch" if n < 6 else "renamed1")[n % 2], ("red", "blue", "")[n % 3]
        addresses = ";".join(f"n{n}.{m}@example.net" for m in range(1 + n % 4))
        for m, mail in enumerate(await send(api, addresses, user, **({"labelName": label} if label else {}))):
            kind, sub_status = fates[(n * m + n + m) % 5]
            if kind is not None:
                await settle(api, mail, kind, sub_status)
            sent[mail] = (user, label, kind.number if kind else 18, sub_status)
        if n % 4 == 3:
            api.clock.advance(timedelta(hours=7))
    for sorted_cost in (0.0, 2.0, 1e9):
        monkeypatch.setattr(email_status, "SORTED", sorted_cost)
        for users in (None, "one_batch"):
            for label in (None, "red", "blue"):
                for states in (None, 1, 4, 18, "4;5", "1;18"):
                    for sub_statuses in (None, "406", "407;503"):
                        given = {"apiUserList": users, "labelName": label, "status": states, "subStatus": sub_statuses}
                        given = {name: value for name, value in given.items() if value is not None}
                        wanted_states = None if states is None else {int(each) for each in str(states).split(";")}
                        wanted_subs = None if sub_statuses is None else {int(each) for each in sub_statuses.split(";")}
                        expected = [
                            mail
                            for mail, (by, named, state, sub) in sent.items()
                            if users in (None, by)
                            and label in (None, named)
                            and (wanted_states is None or state in wanted_states)
                            and (wanted_subs is None or sub in wanted_subs)
                        ]
                        answer = await status(api, **given, start=1, limit=5)
                        assert [each["emailId"] for each in answer["voList"]] == expected[1:6], given
                        assert answer["total"] == str(len(expected)), given


async def test_days_are_those_of_the_request(api: Api) -> None:
    (early,) = await send(api, "ann@example.net")
    api.clock.advance(timedelta(microseconds=2 * DAY))
    (late,) = await send(api, "ann@example.net")
    await settle(api, early, Kind.DELIVER)
    assert await ids(api, days=1) == [late]
    assert await ids(api, days=3) == [early, late]
    assert await ids(api, startDate="2026-02-01", endDate="2026-02-02") == [early]


async def test_nothing_is_opened_while_nothing_is_tracked(api: Api) -> None:
    await send(api, "ann@example.net")
    nothing = {"total": 0, "count": 0, "dataList": []}
    assert await api.call("openandclick/list", days=100) == nothing
    assert await api.call("openandclick/list", email="ann@example.net", trackType=3) == nothing
