"""docs/flow.md: the shorter way of an SMS."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aurorasend.clock import ManualClock
from aurorasend.sms_signature import sign
from tests.running import Place, Served, serving


def sms(node: Served, **fields: Any) -> dict[str, str]:
    return {**node.user("main.sms"), "templateId": "123456", "phone": "+6591234567", "vars": '{"code":"778899"}', **fields}


async def caught(node: Served) -> list[tuple[str, str, str]]:
    found = (await node.client.get("/sandbox.json")).json()["messages"]
    texts = [(await node.client.get(f"/sandbox/{each['id']}/source")).text for each in found]
    return [(each["kind"], each["to"], text) for each, text in zip(found, texts, strict=True)]


async def test_f45_a_key_or_a_signature_in_any_region(data: Path) -> None:
    async with serving(data, listeners=("sg", "us", "hk")) as node:
        for listener in ("sg", "us", "hk"):
            sent = await node.call("/smsapi/send", sms(node, phone=f"+659123456{len(listener)}"), listener)
            assert sent["statusCode"] == 200
        ours = {**node.user("main.trigger"), "templateId": "123456", "phone": "+6591234560", "vars": '{"code":"1"}'}
        assert (await node.call("/smsapi/send", ours, "us"))["statusCode"] == 200
        signed = sms(node)
        key = signed.pop("smsKey")
        signed["signature"] = sign("md5", key, signed.items())
        assert (await node.call("/smsapi/send", signed, "us"))["statusCode"] == 200
        assert (await node.call("/smsapi/send", sms(node, smsKey="0" * 32)))["statusCode"] == 40005
        assert (await node.call("/smsapi/send", {**signed, "signature": "0" * 32}))["statusCode"] == 422


async def test_f46_one_transaction_without_those_over_a_limit(place: Place) -> None:
    async with serving(place.data, "node.roles=api", "sms.per_minute=2", url=place.url, clock=ManualClock()) as node:
        first = await asyncio.gather(*(node.call("/smsapi/send", sms(node)) for _ in range(6)))
        codes = sorted(answer["statusCode"] for answer in first)
        assert codes == [200, 200, 496, 496, 496, 496]
        assert [await node.count(table) for table in ("sms_submission", "sms_message", "work", "event")] == [2, 2, 2, 2]
        both = await node.call("/smsapi/send", sms(node, phone="+6591234567,+6591234568"))
        assert both["statusCode"] == 311
        assert (both["info"]["successCount"], both["info"]["failedCount"]) == (1, 1)
        assert both["info"]["smsIds"][0].endswith("$+6591234568")
        assert [await node.count(table) for table in ("sms_submission", "sms_message", "work", "event")] == [3, 3, 3, 3]
        none = await node.call("/smsapi/send", sms(node, phone="12,+6591234569"))
        assert (none["statusCode"], none["info"]["successCount"]) == (311, 1)
        assert [await node.count(table) for table in ("sms_submission", "sms_message", "work", "event")] == [4, 4, 4, 4]
        assert await node.rows("SELECT DISTINCT lane FROM work") == [("sms:simulator#0",)]
        if node.running.node.store.engine == "postgres":  # which can tell the transaction of a row
            newest = "(SELECT max(id) FROM sms_submission)"
            writers = await node.rows(
                f"SELECT xmin::text FROM sms_submission WHERE id = {newest} UNION SELECT xmin::text FROM event WHERE "
                f"submission_id = {newest} UNION SELECT xmin::text FROM sms_message WHERE submission_id = {newest} UNION "
                f"SELECT xmin::text FROM work WHERE id = (SELECT id FROM sms_message WHERE submission_id = {newest})"
            )
            assert len(writers) == 1


async def test_f47_the_text_is_that_of_the_acceptance(data: Path) -> None:
    async with serving(data, "node.roles=api") as node:
        assert (await node.call("/smsapi/send", sms(node)))["statusCode"] == 200
        await node.change("UPDATE sms_template SET text = 'Other words'")
    async with serving(data) as node:
        await node.settled()
        assert await caught(node) == [("sms", "+6591234567", "Your code is 778899")]


@pytest.mark.parametrize(
    ("number", "state", "kind"),
    [("+6591230111", "Delivered", 220), ("+6591230510", "Failed", 205), ("+6591230440", "Suppressed", 204)],
)
async def test_f48_the_gateway_decides(data: Path, number: str, state: str, kind: int) -> None:
    """With the simulator the last three digits of the number do."""
    for settings in ((), ("delivery.route=smtp://127.0.0.1:9",)):
        async with serving(data, *settings) as node:
            answer = await node.call("/smsapi/send", sms(node, phone=number))
            sms_id = answer["info"]["smsIds"][0]
            await node.settled()
            assert await node.rows("SELECT kind FROM event WHERE kind IN (220, 205, 204) ORDER BY id DESC LIMIT 1") == [(kind,)]
            assert state in await node.life(sms_id)
            assert [to for _, to, _ in await caught(node)] == [number]  # the second is not kept
