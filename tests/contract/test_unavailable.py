"""What each endpoint tells when the store is away (conventions.md §10, "failed to ..."; 501 where there is no such code)."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from aurorasend.api import ENDPOINTS
from aurorasend.clock import SystemClock
from aurorasend.codes import Code
from aurorasend.endpoint import Request
from aurorasend.store import open_store
from aurorasend.store.migrate import migrate
from tests.management import KEY, Api, managing

ALIAS = "news@maillist.example.org"
MAIL = {"from": "a@one.example", "to": "ann@example.net", "subject": "Hi", "html": "<p>Hi</p>"}
FAILED = {
    **dict.fromkeys(("mail/send", "webapi/mail.send.json", "mail/sendcalendar"), 40901),
    **dict.fromkeys(("mail/sendtemplate", "webapi/mail.send_template.json"), 40901),
    **{"label/add": 40101, "label/update": 40110, "label/delete": 40108},
    **{"template/add": 40215, "template/update": 40218, "template/delete": 40217},
    **{"smsapi/addsms": 40215, "smsapi/updatesms": 40218, "smsapi/submitsms": 40218, "smsapi/deletesms": 40217},
    **{"addresslist/add": 40508, "addresslist/update": 40508},
    **{"addressmember/add": 40516, "addressmember/update": 40516, "addressmember/delete": 40519},
    **{"bounce/delete": 40602, "unsubscribe/add": 40402, "unsubscribe/delete": 40404},
    **{"webapi/bounces.delete.json": 40602, "webapi/unsubscribes.add.json": 40402, "webapi/unsubscribes.delete.json": 40404},
    **{"webhook/add": 40710, "webhook/update": 40712, "webhook/delete": 40711},
    **dict.fromkeys(("domain/add", "trackDomain/add", "route/add"), 41015),
    **dict.fromkeys(("domain/update", "domain/dkim/update", "domain/delete", "trackDomain/update", "route/update"), 41016),
    **dict.fromkeys(("apiuser/add", "apiuser/create", "apiuser/update"), 41119),
    "smsapi/timestamp/get": 200,  # needs no store
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """On a file of its own: what a store that is closed does is that of SQLite."""
    await migrate("sqlite", tmp_path)
    store = open_store("sqlite", tmp_path, SystemClock())
    async with managing(store, tmp_path) as found:
        yield found
    await store.close()


async def answered(api: Api, path: str, **given: object) -> Code:
    """As Api.call, at the same instant, whatever the envelope is."""
    found = api.server.catalogue.find(f"/{path}")
    assert found is not None, path
    body = msgspec.json.encode({"apiUser": "one_batch", "apiKey": KEY, **given})
    code, _ = await api.server.answer(found, Request(b"", "application/json", body, "sg", "", "id"))
    assert api.server.fault_count == 0, api.server.faults
    return code


async def test_what_failed_is_told_by_a_code_of_its_own(api: Api) -> None:
    await api.node.store.close()
    told = {each.path: (await answered(api, each.path)).number for each in ENDPOINTS}
    assert told == {each.path: FAILED.get(each.path, 501) for each in ENDPOINTS}


async def test_f19_a_send_that_cannot_be_stored(api: Api) -> None:
    """The caller and the lists are known by then."""
    to_list = {**MAIL, "to": ALIAS, "useAddressList": True}
    await api.sql("UPDATE domain SET verified = 7")
    await api.call("addresslist/add", address=ALIAS, name="News")
    await api.call("addressmember/add", address=ALIAS, members="ann@example.net")
    assert await answered(api, "mail/send", **MAIL) is Code.SUCCESS
    assert await answered(api, "mail/send", **to_list) is Code.ADDRESS_LIST_TASK_CREATED
    await api.node.store.close()
    assert await answered(api, "mail/send", **MAIL) is Code.SEND_FAILED
    assert await answered(api, "mail/send", **to_list) is Code.ADDRESS_LIST_TASK_NOT_CREATED
    api.clock.advance(timedelta(seconds=2))
    assert await answered(api, "mail/send", **to_list) is Code.SEND_FAILED  # who calls is asked first
