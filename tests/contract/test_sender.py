"""An API user's new name, and what was requested under the old one (management.md §7.4), on both engines."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aurorasend import suppression
from aurorasend.clock import HOUR
from aurorasend.event import Kind
from aurorasend.store import webhook as webhooks
from aurorasend.store.tx import Row, Statement, Store
from tests.management import NOW, Api, fold, managing, send, settle

OLD, NEW = "one_batch", "renamed1"
LABEL = {"labelName": "june"}
ANN, BOB, EVE = "ann@a.example", "bob@a.example", "eve@a.example"


@pytest.fixture
async def api(store: Store, tmp_path: Path) -> AsyncIterator[Api]:
    async with managing(store, tmp_path) as made:
        await made.sql("UPDATE domain SET vouched = 1, verified = 23")
        yield made


async def rename(api: Api, name: str, new: str) -> None:
    assert (await api.call("apiuser/update", name=name, newName=new))["data"]["name"] == new


async def add(api: Api, name: str) -> str:
    """The key of a new API user."""
    made = await api.call("apiuser/add", name=name, emailType=1, domainName="one.example")
    return str(made["data"]["nameKey"])


async def numbers(api: Api, path: str, field: str = "requestNum", **given: object) -> dict[str, int]:
    """By API_USER, which has one row."""
    found = (await api.call(f"{path}/list", **{"days": 1, **given}))["dataList"]
    assert len({row["apiUser"] for row in found}) == len(found)
    return {row["apiUser"]: row[field] for row in found}


async def users(api: Api, **given: object) -> dict[str, str]:
    """Of each mail that emailStatus finds, by recipient."""
    answer = await api.call("data/emailStatus", **{"days": 1, **given})
    assert answer["total"] == str(answer["voListSize"])
    return {row["recipients"]: row["apiUser"] for row in answer["voList"]}


async def rows(api: Api, sql: str) -> list[Row]:
    return await api.node.store.read(lambda tx: tx.rows(Statement(sql)))


async def both_names(api: Api) -> None:
    """Ann's and Bob's mail under the old name, one invalid before the new one counts and one delivered after; then Eve's."""
    ann, bob = await send(api, f"{ANN};{BOB}", OLD, **LABEL)
    await settle(api, ann, Kind.INVALID, 406)
    await rename(api, OLD, NEW)
    await settle(api, bob, Kind.DELIVER)
    (eve,) = await send(api, EVE, NEW, **LABEL)
    await settle(api, eve, Kind.INVALID, 407)


async def folded(api: Api) -> None:
    assert await fold(api, NOW // HOUR + 1) > 0
    assert await rows(api, "SELECT * FROM counter WHERE account_id = 1") == []


@pytest.mark.parametrize("is_folded", [False, True])
async def test_f41_statistics_keep_the_name_that_mail_was_requested_under(api: Api, is_folded: bool) -> None:
    await both_names(api)
    if is_folded:
        await folded(api)
    for path in ("statday", "stathour"):
        assert await numbers(api, path) == {OLD: 2, NEW: 1}
        assert await numbers(api, path, "deliveredNum") == {OLD: 1, NEW: 0}
        assert await numbers(api, path, apiUserList=OLD) == {OLD: 2}
        assert await numbers(api, path, apiUserList=NEW) == {NEW: 1}
        assert await numbers(api, path, apiUserList=f"{OLD};{NEW}", labelNameList="june") == {OLD: 2, NEW: 1}
    assert await numbers(api, "statday", domainList="a.example", apiUserList=OLD) == {OLD: 2}
    assert await numbers(api, "invalidstat", "recipientNotFound") == {OLD: 1, NEW: 0}
    assert await numbers(api, "invalidstat", "spamEmail", apiUserList=NEW) == {NEW: 1}
    sums = [
        (await api.call(f"{path}/list", days=1, aggregate=1, apiUserList=name))["dataList"][field]
        for path, field in (("statday", "requestNum"), ("invalidstat", "recipientNotFound"))
        for name in (OLD, NEW, f"{OLD};{NEW}", "nobody1")
    ]
    assert sums == [2, 1, 3, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("is_folded", [False, True])
async def test_the_status_of_a_mail_keeps_the_name_that_it_was_requested_under(api: Api, is_folded: bool) -> None:
    await both_names(api)
    if is_folded:
        await folded(api)
    assert await users(api) == {ANN: OLD, BOB: OLD, EVE: NEW}
    assert await users(api, apiUserList=OLD) == {ANN: OLD, BOB: OLD}
    assert await users(api, apiUserList=NEW) == await users(api, apiUserList=NEW, labelName="june") == {EVE: NEW}
    assert await users(api, apiUserList=OLD, status=4) == {ANN: OLD}
    assert await users(api, apiUserList=f"{OLD};{NEW}", status=4) == {ANN: OLD, EVE: NEW}
    assert await users(api, apiUserList=OLD, email=BOB) == {BOB: OLD}
    assert await users(api, apiUserList=OLD, email=EVE) == await users(api, apiUserList=NEW, email=BOB) == {}
    found = (await api.call("data/emailStatus", days=1))["voList"]
    mails = ";".join(row["emailId"] for row in found)
    assert await users(api, apiUserList=OLD, emailIds=mails) == {ANN: OLD, BOB: OLD}
    assert await users(api, apiUserList=NEW, emailIds=mails) == {EVE: NEW}


async def test_what_waits_keeps_the_name_that_it_was_requested_under(api: Api) -> None:
    await send(api, f"{ANN};{BOB}", OLD)
    await rename(api, OLD, NEW)
    await send(api, EVE, NEW)
    waiting = (await api.call("queue/status"))["dataList"]
    assert [(row["apiUser"], row["unRequestNum"]) for row in waiting] == [(OLD, 2), (NEW, 1)]


async def test_a_name_that_is_taken_again_goes_on_with_its_history(api: Api) -> None:
    await send(api, ANN, OLD)
    await rename(api, OLD, NEW)
    await send(api, BOB, NEW)
    known = await rows(api, "SELECT id, name FROM sender ORDER BY id")
    await rename(api, NEW, OLD)
    await send(api, EVE, OLD)
    assert await rows(api, "SELECT id, name FROM sender ORDER BY id") == known
    assert await numbers(api, "statday") == await numbers(api, "stathour") == {OLD: 2, NEW: 1}
    assert await users(api) == {ANN: OLD, BOB: NEW, EVE: OLD}
    await folded(api)
    await send(api, "later@a.example", OLD)
    assert await numbers(api, "statday") == await numbers(api, "stathour") == {OLD: 3, NEW: 1}


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_two_that_have_one_name_have_one_row(api: Api, is_deleted: bool) -> None:
    """One after the other: it is the combination of names that has a row (data.md §2.1)."""
    (ann,) = await send(api, ANN, OLD)
    if is_deleted:
        await api.call("apiuser/delete", name=OLD)
    else:
        await rename(api, OLD, NEW)
    key = await add(api, OLD)
    (bob,) = await send(api, BOB, OLD, _key=key)
    await settle(api, ann, Kind.INVALID, 406)
    await settle(api, bob, Kind.INVALID, 406)
    for path, field in (("statday", "requestNum"), ("stathour", "invalidEmailsNum"), ("invalidstat", "recipientNotFound")):
        assert await numbers(api, path, field) == await numbers(api, path, field, apiUserList=OLD) == {OLD: 2}
    assert await users(api, apiUserList=OLD) == {ANN: OLD, BOB: OLD}
    assert {row[0] for row in await rows(api, "SELECT count(DISTINCT api_user_id) FROM submission")} == {2}


async def test_accounts_have_senders_of_their_own(api: Api) -> None:
    await send(api, ANN, OLD)
    await rename(api, OLD, NEW)
    await api.call("apiuser/add", "two_trigger", name=OLD, emailType=1, domainName="two.example")
    assert (await api.call("statday/list", "two_trigger", days=1, apiUserList=OLD))["dataList"] == []
    assert await numbers(api, "statday") == {OLD: 1}


async def test_a_webhook_hears_of_its_api_user_whatever_its_mail_was_requested_under(api: Api) -> None:
    (user,) = (await rows(api, f"SELECT id FROM api_user WHERE name = '{OLD}'"))[0]
    await api.node.store.write(lambda tx: webhooks.add(tx, 1, "https://hook.example/", user, "1,4", NOW))

    async def posts() -> int:
        return len(await rows(api, "SELECT id FROM work WHERE lane LIKE 'hook:%'"))

    (ann,) = await send(api, ANN, OLD)
    await rename(api, OLD, NEW)
    await settle(api, ann, Kind.DELIVER)
    assert await posts() == 1
    (bob,) = await send(api, BOB, NEW)
    await settle(api, bob, Kind.INVALID, 406)
    assert await posts() == 2
    key = await add(api, OLD)
    (eve,) = await send(api, EVE, OLD, _key=key)
    await settle(api, eve, Kind.DELIVER)
    assert await posts() == 2
    listed: Any = (await api.call("webhook/list"))["dataList"]
    assert [each["categoryName"] for each in listed] == [NEW]


async def test_who_unsubscribed_from_an_api_user_stays_so_under_its_new_name(api: Api) -> None:
    await api.call("unsubscribe/add", OLD, email=ANN)
    await rename(api, OLD, NEW)
    await add(api, OLD)
    listed = (await api.call("unsubscribe/list", days=1))["dataList"]
    assert [each["apiUser"] for each in listed] == [NEW]
    counts = [(await api.call("unsubscribe/list", days=1, apiUserList=name))["count"] for name in (OLD, NEW)]
    assert counts == [0, 1]
    ids = dict(await rows(api, "SELECT name, id FROM api_user"))
    found = await api.node.store.read(lambda tx: suppression.look_up(tx, 1, [ANN], api.clock.now_us()))
    assert [found.verdict(ANN, ids[name], bounces=True) is not None for name in (OLD, NEW)] == [False, True]
