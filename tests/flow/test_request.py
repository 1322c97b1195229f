"""docs/flow.md: the request is read."""

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from aurorasend import source
from aurorasend.clock import ManualClock
from tests.mail_request import packed
from tests.running import Place, Served, serving


async def test_f1_a_path_has_many_spellings(data: Path) -> None:
    async with serving(data) as node:
        for path in ("/mail/send", "/Mail/SEND", "//mail//send/", "/api/mail/send", "/APIv2/mail/send", "/email/send"):
            assert (await node.call(path, node.mail()))["statusCode"] == 200, path


async def test_f2_what_is_no_call_is_answered_in_the_envelope(data: Path) -> None:
    async with serving(data, "limits.body_bytes=10000") as node:
        refused = [
            await node.client.post("/mail/nothing", data=node.mail()),
            await node.client.delete("/mail/send"),
            await node.client.get("/mail/sendcalendar", params=node.mail()),
            await node.client.put("/sandbox"),
            await node.client.post("/mail/send", data=node.mail(html="x" * 10_000)),
        ]
        assert [answer.status_code for answer in refused] == [404, 405, 405, 405, 413]
        assert set(refused[3].headers["allow"].split(", ")) == {"GET", "HEAD", "POST", "DELETE"}
        for answer in refused:
            envelope = answer.json()
            assert set(envelope) == {"result", "statusCode", "message", "info"}
            assert envelope["result"] is False and envelope["info"] == {}
        unreadable = await node.client.post("/mail/send", content=b"{", headers={"content-type": "application/json"})
        assert (unreadable.json()["statusCode"], unreadable.json()["result"]) == (40902, False)
        assert await node.count("submission") == 0


async def test_f3_the_carrier_does_not_matter(data: Path) -> None:
    """A repeated sendRequestId with equal content is answered as the first: so all four were read as the same."""
    async with serving(data) as node:
        fields = node.mail(subject="Grüße 你好", sendRequestId="once", headers={"X-Order": "17"})
        parts = {name: (None, value.encode()) for name, value in fields.items()}
        answers = [
            await node.client.post("/mail/send", data=fields),
            await node.client.get("/mail/send", params=fields),
            await node.client.post("/mail/send", files=parts),
            await node.client.post("/mail/send", json=fields),
            await node.client.post("/mail/send", json=fields | {"headers": {"X-Order": "17"}}),
        ]
        first = answers[0].json()
        assert first["statusCode"] == 200
        assert [answer.json() for answer in answers] == [first] * 5
        assert await node.count("submission") == 1


async def test_f4_credentials_count_in_their_region_only(data: Path) -> None:
    async with serving(data, listeners=("sg", "us")) as node:

        async def code(listener: str, **credentials: str) -> int:
            return int((await node.call("/mail/send", node.mail() | credentials, listener))["statusCode"])

        assert await code("sg") == 200
        assert await code("us") == 40005
        assert await code("sg", apiKey="0" * 32) == 40005
        assert await code("sg", apiUser="nobody") == 40005
        theirs = node.mail("us.trigger")
        assert (await node.call("/mail/send", theirs, "us"))["statusCode"] == 200
        assert (await node.call("/mail/send", theirs, "sg"))["statusCode"] == 40005


async def test_f5_a_caller_is_trusted_for_a_second(data: Path) -> None:
    async with serving(data, clock=ManualClock()) as node:
        await node.accepted()
        await node.change("UPDATE api_user SET enabled = 0 WHERE name = $1", node.user("main.trigger")["apiUser"])
        await node.accepted()
        node.pass_time(seconds=1.001)
        assert (await node.send())["statusCode"] == 40005


async def test_f5_so_is_what_was_read_of_its_account_and_its_domain(data: Path) -> None:
    async with serving(data, clock=ManualClock()) as node:
        for sql, code in (("UPDATE domain SET verified = 0", 6001), ("UPDATE account SET frozen = 1", 40005)):
            await node.accepted()
            await node.change(sql)
            await node.accepted()
            node.pass_time(seconds=1.001)
            assert (await node.send())["statusCode"] == code
            await node.change_callers("UPDATE domain SET verified = 7")


async def test_f6_the_limit_of_a_minute_is_that_of_all_nodes(data: Path) -> None:
    """The account `rated` may send 5 a minute."""
    clock = ManualClock()
    async with serving(data, clock=clock) as one, serving(data, clock=clock) as other:

        async def code(node: Served, **fields: str) -> int:
            return int((await node.send("rated.trigger", **fields))["statusCode"])

        assert [await code(node) for node in (one, other, one, other, one)] == [200] * 5
        assert await code(one) == await code(other) == 50001
        assert await code(one, subject="") == 50001
        one.pass_time(seconds=61)
        assert await code(other) == 200


async def test_f6_the_calls_of_a_minute_are_taken_in_portions(data: Path) -> None:
    """1000 a minute are taken five at a time; what is not used within five seconds is lost."""
    clock = ManualClock()
    async with serving(data, clock=clock) as one, serving(data, clock=clock) as other:
        await one.change("UPDATE account SET send_rate = 1000 WHERE name = 'rated'")

        async def taken() -> int:
            return int((await one.rows("SELECT coalesce(sum(portion), 0) FROM allowance"))[0][0])

        async def send(node: Served) -> int:
            assert (await node.send("rated.trigger"))["statusCode"] == 200
            return await taken()

        assert [await send(one) for _ in range(6)] == [5] * 5 + [10]
        assert [await send(other) for _ in range(6)] == [15] * 5 + [20]
        one.pass_time(seconds=5)
        assert [await send(node) for node in (one, other)] == [25, 30]
        columns = "account_id, scope, at, node, portion"  # a third node takes 967
        await one.change(f"INSERT INTO allowance ({columns}) SELECT account_id, scope, at, 99, 967 FROM allowance LIMIT 1")
        assert [await send(one) for _ in range(7)] == [997] * 4 + [1000] * 3  # no more than three were left
        assert (await one.send("rated.trigger"))["statusCode"] == 50001


async def test_f6_who_may_not_send_is_not_counted(data: Path) -> None:
    async with serving(data, clock=ManualClock()) as node:

        async def six(name: str = "rated.trigger", **fields: Any) -> list[int]:
            node.pass_time(seconds=2)  # the caller is trusted for one
            return [(await node.send(name, **fields))["statusCode"] for _ in range(6)]

        to_a_list = {"useAddressList": "true", "to": "none@maillist.example.org"}
        await node.change("UPDATE account SET ip_filter = 1")
        assert await six() == await six(**to_a_list) == [6001] * 6
        await node.change("UPDATE account SET ip_filter = 0")
        await node.change("UPDATE account SET send_domain = 0")
        assert await six(xsmtpapi={"to": ["ann@example.net"], "send_domain": "second.example"}) == [6001] * 6
        await node.change("UPDATE account SET send_domain = 1")
        await node.change("UPDATE api_user SET permission = $1", '{"mail":{"send":false}}')
        assert await six() == await six(**to_a_list) == [6001] * 6
        await node.change("UPDATE api_user SET permission = ''")
        assert await six(**to_a_list, subject="") == [40820] * 6  # only batch users make list sends
        await node.change("UPDATE account SET paying = 0")
        assert await six("rated.batch", **to_a_list) == [40820] * 6
        await node.change("UPDATE account SET paying = 1")
        assert await six("rated.batch", **to_a_list) == [40863] * 5 + [50001]
        node.pass_time(minutes=1)
        assert await six() == [200] * 5 + [50001]


async def test_f7_the_first_wrong_field_answers(data: Path) -> None:
    """`from`, `to` and `subject` are declared in this order."""
    async with serving(data) as node:
        wrong = {"from": "nobody", "to": "nowhere", "subject": ""}
        right = node.mail()
        for name, code in {"from": 40802, "to": 40806, "subject": 40808}.items():
            answer = await node.call("/mail/send", {**right, **wrong})
            assert (answer["statusCode"], answer["result"], answer["info"]) == (code, False, {})
            del wrong[name]
        for table in ("submission", "content", "recipient", "work", "event", "counter", "quota", "label"):
            assert await node.count(table) == 0, table


async def test_f7_gzip_is_undone_after_all_fields_are_checked(data: Path) -> None:
    """`html` and `plain` are declared before `xsmtpapi`, which is before `sendRequestId`."""
    async with serving(data) as node:
        right = node.mail(gzipCompress="true", html=packed("<p>Hello</p>"), plain=packed("Hello"))
        wrong = {"xsmtpapi": "no JSON", "sendRequestId": "x" * 1000, "html": "<p>Hello</p>", "plain": "Hello"}
        for name, code in {"xsmtpapi": 40817, "sendRequestId": 40902, "html": 40865, "plain": 40866}.items():
            assert (await node.call("/mail/send", {**right, **wrong}))["statusCode"] == code
            del wrong[name]
        assert await node.count("submission") == await node.count("content") == 0
        assert (await node.call("/mail/send", right))["statusCode"] == 200


async def test_f8_a_fault_of_ours_has_an_id_that_the_log_has(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An entry of the IP allowlist that cannot be: nobody could have stored it but a bug."""
    async with serving(data) as node:
        await node.change("UPDATE account SET ip_filter = 1 WHERE name = 'main'")
        entry = "INSERT INTO ip_entry (account_id, id, entry, created) VALUES ($1, 1, 'nonsense', 0)"
        await node.change(entry, await node.account_id())
        with caplog.at_level(logging.ERROR):
            answer: httpx.Response = await node.client.post("/mail/send", data=node.mail())
        assert (answer.status_code, answer.json()["statusCode"], answer.json()["info"]) == (200, 501, {})
        fault_id = answer.headers["x-request-id"]
        assert answer.json()["message"].endswith(fault_id)
        assert any(fault_id in record.getMessage() and record.exc_info for record in caplog.records)
        assert "nonsense" not in answer.text
        assert node.running.server.fault_count == 1
        node.expect_fault()


async def test_where_mail_is_sent_from_is_written_meanwhile_and_at_the_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def written() -> bool:
        return await node.rows("SELECT account_id, address FROM request_source") == [(await node.account_id(), "127.0.0.1")]

    async with serving(place.data, url=place.url) as node:
        await node.accepted()
        assert not await written()
    monkeypatch.setattr(source, "WRITE_S", 0.05)
    async with serving(place.data, url=place.url) as node:
        assert await written()
        await node.change("DELETE FROM request_source")
        await node.accepted()
        await node.until(written)
