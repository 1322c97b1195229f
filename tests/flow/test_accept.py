"""docs/flow.md: a mail is accepted."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import httpx
import pytest

from aurorasend import submission
from aurorasend.clock import ManualClock
from aurorasend.intake import Accepted, Submission
from aurorasend.simulator import Internet
from aurorasend.submission import Submissions
from aurorasend.sweep import Sweeper
from tests.postgres import Server
from tests.running import REGISTERED, Place, Served, bootstrapped, relayed, serving

LARGE = b"\0\xff" * 350_000


async def test_f9_one_mail_for_all_or_one_for_each(data: Path, internet: Internet) -> None:
    async with serving(data, relayed(internet)) as node:
        await node.accepted(to="a@example.net", cc="c@example.net", bcc="b@example.net")
        for address in ("a@example.net", "b@example.net", "c@example.net"):
            mail = await internet.mailbox.wait_for(address)
            shown = message_from_bytes(mail.content, policy=policy.default)
            assert mail.recipients == (address,)
            assert (shown["To"], shown["Cc"], shown["Bcc"]) == ("a@example.net", "c@example.net", None)
        await node.accepted(to="ignored@example.net", xsmtpapi={"to": ["x@example.net", "y@example.net"]})
        for address in ("x@example.net", "y@example.net"):
            shown = message_from_bytes((await internet.mailbox.wait_for(address)).content, policy=policy.default)
            assert (shown["To"], shown["Cc"]) == (address, None)
        await node.settled()
        assert internet.mailbox.count == 5


async def test_f10_an_email_id_for_each_recipient(data: Path) -> None:
    async with serving(data) as node:
        ids = await node.accepted(to="a@example.net;b@example.net", cc="c@example.net", bcc="d@example.net")
        message_id = (await node.rows("SELECT message_id FROM submission"))[0][0]
        assert ids == [f"{message_id}{n}${name}@example.net" for n, name in enumerate("abcd")]
        assert (await node.call("/mail/send", node.mail(respEmailId="false")))["info"] == {}


async def test_f11_requests_share_transactions_and_not_their_failures(place: Place) -> None:
    async with serving(place.data, url=place.url) as node:
        await node.accepted()
        wrong = {"labelId": "999999"}
        sent = await asyncio.gather(*(node.send(**(wrong if n % 10 == 0 else {}), to=f"a{n}@example.net") for n in range(60)))
        assert [answer["statusCode"] for answer in sent] == [40106 if n % 10 == 0 else 200 for n in range(60)]
        assert set(await node.recipients()) == {"ann@example.net", *(f"a{n}@example.net" for n in range(60) if n % 10)}
        if node.running.node.store.engine == "postgres":  # which can tell the transaction of a row
            assert (await node.rows("SELECT count(DISTINCT xmin::text) FROM submission"))[0][0] < 30


async def test_f11_a_busy_process_makes_fewer_transactions(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that come in one turn of the event loop each, while it has other work. Here it may last longer than 10 ms, so
    that a slow machine finds the same; how long it waits is in tests/unit/test_busy.py."""
    accept, accept_batch = Submissions.accept, Submissions._accept_batch
    requests: list[Submission] = []
    sizes: list[int] = []

    async def kept(submissions: Submissions, request: Submission) -> Accepted:
        requests.append(request)
        return await accept(submissions, request)

    async def counted(submissions: Submissions, batch: list[Any]) -> None:
        sizes.append(len(batch))
        await accept_batch(submissions, batch)

    async def first_transaction(submissions: Submissions) -> int:
        sizes.clear()
        coming = []
        for _ in range(10):
            coming.append(asyncio.create_task(accept(submissions, requests[0])))
            time.sleep(0.0005)  # noqa: ASYNC251 the loop is to be busy
            await asyncio.sleep(0)
        await asyncio.gather(*coming)
        assert sum(sizes) == 10
        return sizes[0]

    monkeypatch.setattr(submission, "COMPANY_S", 5.0)
    monkeypatch.setattr(Submissions, "accept", kept)
    monkeypatch.setattr(Submissions, "_accept_batch", counted)
    async with serving(data, "node.roles=api") as node:
        await node.accepted()
        submissions = node.running.node.submissions
        assert median([await first_transaction(submissions) for _ in range(5)]) > 5
        assert await node.count("submission") == 51


async def test_f11_one_transaction_at_a_time_and_128_requests_in_one(tmp_path: Path, postgres: Server) -> None:
    """A lock holds up a transaction of one request, until 130 more have arrived."""
    url = postgres.create("shared", "migrated")
    await bootstrapped(tmp_path, url, ["main"])
    many = httpx.Limits(max_connections=200)
    async with serving(tmp_path, "node.roles=api", url=url) as node, Lock(url) as lock:
        async with httpx.AsyncClient(base_url=node.client.base_url, limits=many, timeout=30) as client:
            sent: list[asyncio.Task[httpx.Response]] = []

            def send(count: int) -> None:
                sent.extend([asyncio.create_task(client.post("/mail/send", data=node.mail())) for _ in range(count)])

            async def one_is_held_up() -> bool:
                return await lock.waiting() == 1

            async def all_others_wait() -> bool:
                return len(node.running.node.submissions._waiting) == 130

            send(1)
            await node.until(one_is_held_up)
            send(130)
            await node.until(all_others_wait, 20)
            assert await lock.waiting() == 1
            await lock.release()
            assert {answer.json()["statusCode"] for answer in await asyncio.gather(*sent)} == {200}
        together = await node.rows("SELECT count(*) FROM submission GROUP BY xmin::text ORDER BY 1")
        assert together == [(1,), (2,), (128,)]


class Lock:
    """`async with Lock(url)`: nobody stores a submission until it is released."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> "Lock":
        self._connection = await asyncpg.connect(self._url)
        await self._connection.execute("BEGIN; LOCK TABLE submission IN EXCLUSIVE MODE")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def release(self) -> None:
        await self._connection.execute("COMMIT")

    async def waiting(self) -> int:
        """How many transactions it holds up."""
        sql = "SELECT count(*) FROM pg_locks WHERE relation = 'submission'::regclass AND NOT granted"
        return int(await self._connection.fetchval(sql))


async def test_f12_one_transaction_stores_all_of_it(place: Place) -> None:
    """The node only takes mail here, so nothing else changes the rows."""
    tables = ("submission", "content", "recipient", "work", "event", "quota")
    async with serving(place.data, "node.roles=api", url=place.url) as node:
        await node.accepted(to="a@example.net;b@example.org")
        assert [await node.count(table) for table in tables] == [1, 1, 2, 2, 1, 1]
        assert await node.counted() == {(18, 0): 2}
        assert await node.rows("SELECT used FROM quota") == [(2,)]
        if node.running.node.store.engine == "postgres":
            writers = [row for table in tables for row in await node.rows(f"SELECT xmin::text FROM {table}")]
            assert len(set(writers)) == 1


async def test_f13_large_content_is_staged(data: Path) -> None:
    clock = ManualClock()
    async with serving(data, "node.roles=api", clock=clock) as node:
        files = {"attachments": ("large.bin", LARGE)}
        accepted = await node.client.post("/mail/send", data=node.mail(), files=files)
        assert accepted.json()["statusCode"] == 200
        stored = await node.rows("SELECT part, chunk, data FROM content ORDER BY part, chunk")
        assert b"".join(data for part, _, data in stored if part == 1) == LARGE
        assert len(stored) == 4 and await node.count("staged") == 0
        refused = await node.client.post("/mail/send", data=node.mail(labelId="999999"), files=files)
        assert refused.json()["statusCode"] == 40106
        assert (await node.count("staged"), await node.count("submission")) == (1, 1)
        await sweep(node)
        assert await node.count("content") == 8
        clock.advance(timedelta(hours=1, seconds=1))
        await sweep(node)
        assert (await node.count("staged"), await node.count("content")) == (0, 4)


async def test_f13_what_was_swept_meanwhile_is_not_accepted(data: Path) -> None:
    """By another node, while this one stood still."""
    async with serving(data, "node.roles=api") as node:
        await node.change("CREATE TRIGGER swept AFTER INSERT ON content BEGIN DELETE FROM staged; DELETE FROM content; END")
        answer = await node.client.post("/mail/send", data=node.mail(), files={"attachments": ("large.bin", LARGE)})
        assert answer.json()["statusCode"] == 40901
        assert await node.count("submission") == 0


async def test_f11_what_was_swept_harms_nobody_in_its_transaction(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(data, "node.roles=api") as node:
        accepting = node.running.node.submissions

        async def for_two(_: float) -> None:
            async with asyncio.timeout(5):
                while len(accepting._waiting) < 2:  # noqa: ASYNC110 the requests change it
                    await asyncio.sleep(0.01)

        monkeypatch.setattr(submission, "while_busy", for_two)
        await node.change("CREATE TRIGGER swept AFTER INSERT ON content WHEN NEW.chunk = 1 BEGIN DELETE FROM staged; END")
        large = node.client.post("/mail/send", data=node.mail(), files={"attachments": ("large.bin", LARGE)})
        answers = await asyncio.gather(large, node.client.post("/mail/send", data=node.mail()))
        assert [answer.json()["statusCode"] for answer in answers] == [40901, 200]


async def sweep(node: Served) -> None:
    """What the role `sweep` does every half minute."""
    served = node.running.node
    await Sweeper(served.store, node.clock, served.sandbox, served.settings).sweep()


async def test_f14_a_send_request_id_is_carried_out_once(place: Place) -> None:
    async with serving(place.data, url=place.url, clock=(clock := ManualClock())) as node:
        same = await asyncio.gather(*(node.send(sendRequestId="r1") for _ in range(40)))
        assert same[0]["statusCode"] == 200 and same == [same[0]] * 40
        mixed = await asyncio.gather(*(node.send(sendRequestId="r2", subject=f"S{n % 2}") for n in range(40)))
        winners = {n % 2 for n, answer in enumerate(mixed) if answer["statusCode"] == 200}
        assert len(winners) == 1
        assert all(answer["statusCode"] == (200 if n % 2 in winners else 40000) for n, answer in enumerate(mixed))
        assert await node.count("submission") == 2
        other = await node.send("main.batch", sendRequestId="r1")
        assert other["statusCode"] == 200 and other["info"] != same[0]["info"]
        clock.advance(timedelta(hours=1, seconds=1))
        again = await node.send(sendRequestId="r1", subject="After an hour")
        assert again["statusCode"] == 200 and await node.count("submission") == 4


async def test_f14_what_would_be_refused_now_still_has_its_first_answer(place: Place) -> None:
    """The account `tight` may send to 3 recipients a day."""
    async with serving(place.data, url=place.url) as node:
        three = {"to": "a@example.net;b@example.net;c@example.net", "labelName": "spring"}
        first = await node.send("tight.trigger", **three, sendRequestId="r1")
        assert first["statusCode"] == 200
        await node.change("UPDATE domain SET verified = 0")
        await asyncio.sleep(1.1)  # what was read of a caller is kept for a second
        assert await node.send("tight.trigger", **three, sendRequestId="r1") == first
        assert (await node.send("tight.trigger", **three, sendRequestId="r1", subject="Other"))["statusCode"] == 40000
        assert (await node.send("tight.trigger", **three, sendRequestId="r2"))["statusCode"] == 6001
        await node.change("UPDATE domain SET verified = 7")
        await asyncio.sleep(1.1)
        assert (await node.send("tight.trigger", **three, sendRequestId="r2"))["statusCode"] == 40913
        assert await node.send("tight.trigger", **three, sendRequestId="r1") == first


async def test_f15_a_refused_request_leaves_its_id_free(place: Place) -> None:
    async with serving(place.data, url=place.url) as node:
        assert (await node.send(sendRequestId="r1", labelId="999999"))["statusCode"] == 40106
        assert (await node.send(sendRequestId="r1"))["statusCode"] == 200


async def test_f16_what_must_hold_in_the_transaction(data: Path) -> None:
    """Whatever comes later is wrong too, and what came earlier gives back what it used."""
    async with serving(data, "node.roles=api", "limits.test_quota=2", clock=ManualClock()) as node:

        async def code(name: str, **fields: Any) -> int:
            return int((await node.send(name, **fields))["statusCode"])

        await node.change("UPDATE account SET daily_quota = 0")
        elsewhere = {"send_domain": "nowhere.example"}
        assert await code("main.test", labelId="999999", xsmtpapi=elsewhere, to="a@example.net") == 41014
        assert await code("main.test", labelId="999999") == 40106
        assert await code("main.test") == 40886
        await node.change("UPDATE account SET balance = 1 WHERE name = 'broke'")
        assert await code("broke.trigger", to="a@example.net;b@example.net") == 40912
        assert await code("broke.trigger") == 40913
        assert await node.rows("SELECT balance FROM account WHERE name = 'broke'") == [(1,)]
        assert await code("matched.trigger") == 40913
        await node.change("UPDATE account SET daily_quota = 10")
        node.pass_time(seconds=2)  # the caller is trusted for one
        assert await code("matched.trigger") == 40908
        registered = "INSERT INTO test_recipient (account_id, address) VALUES ($1, $2)"
        await node.change(registered, await node.account_id(), REGISTERED)
        assert await code("main.test", to=REGISTERED, cc=REGISTERED, bcc=REGISTERED) == 40913  # of the test user
        assert await node.rows("SELECT * FROM quota WHERE used <> 0") == []
        assert await node.count("submission") == 0
        assert await code("main.test", to=REGISTERED) == 200
        await node.change("UPDATE domain SET type = 0")
        node.pass_time(seconds=2)
        assert await code("main.trigger", to="a@example.net;b@example.net;c@example.net") == 40913  # of a test domain
        assert await code("main.trigger", to="a@example.net;b@example.net") == 200
        assert await code("main.trigger") == 40913


async def test_f16_the_sending_domain_is_verified(data: Path) -> None:
    """That of the API user, or the one that `send_domain` names instead; a label that is not there is asked for later."""
    async with serving(data, "node.roles=api", clock=ManualClock()) as node:
        own, other = node.accounts["main"]["domain"], "second.example"
        await node.call("/domain/add", {**node.user("main.trigger"), "name": other})

        async def verified(name: str, mask: int) -> None:
            await node.change("UPDATE domain SET verified = $1 WHERE name = $2", mask, name)
            node.pass_time(seconds=2)  # the caller is trusted for one

        async def answer(send_domain: str = "", **fields: Any) -> tuple[int, str]:
            x = {"to": ["ann@example.net"], "send_domain": send_domain} if send_domain else None
            found = await node.send(xsmtpapi=x, to="ann@example.net", **fields)
            return found["statusCode"], found["message"]

        wrong = {"labelId": "999999", "labelName": ""}
        assert (await answer(other, **wrong))[0] == 41014
        await verified(own, 3)
        assert await answer(**wrong) == (6001, "sender domain not verified")
        assert (await answer(own, **wrong))[0] == 41014
        await verified(other, 7)
        assert (await answer(other, **wrong))[0] == 40106
        assert await used_up(node) == []
        assert (await answer(other))[0] == 200
        await verified(own, 7)
        assert (await answer())[0] == 200


async def test_f16_a_list_is_known_and_has_members(place: Place) -> None:
    """Of several lists all must be; the first that is refused takes nothing along."""
    async with serving(place.data, "node.roles=api", url=place.url) as node:
        user = node.user("main.batch")
        for alias, members in {"full": "a@example.net", "empty": ""}.items():
            address = f"{alias}@maillist.example.org"
            await node.call("/addresslist/add", {**user, "address": address, "name": alias})
            if members:
                await node.call("/addressmember/add", {**user, "address": address, "members": members})

        async def code(*aliases: str, **fields: Any) -> int:
            to = ";".join(f"{alias}@maillist.example.org" for alias in aliases)
            return int((await node.send("main.batch", to=to, useAddressList="true", sendRequestId="r1", **fields))["statusCode"])

        assert await code("none", labelId="999999") == 40106
        assert await code("full", "none", "empty", labelName="spring") == 40863
        assert await code("full", "empty", labelName="spring") == 40255
        assert await used_up(node) == []
        assert await code("full") == 40821  # with the id that the refused ones had


async def used_up(node: Served) -> list[str]:
    """The tables in which an acceptance left anything."""
    tables = "submission content staged recipient list_send work event counter quota label request_id"
    return [table for table in tables.split() if await node.count(table)]


async def test_f17_the_quota_is_of_a_day_in_the_zone(place: Place) -> None:
    """The account `tight` may send to 3 recipients a day; the zone is 8 hours ahead."""
    clock = ManualClock(int(datetime(2030, 5, 1, 15, 59, tzinfo=UTC).timestamp() * 1_000_000))
    async with serving(place.data, "node.roles=api", url=place.url, clock=clock) as node:

        async def code(recipients: int) -> int:
            to = ";".join(f"a{n}@example.net" for n in range(recipients))
            return int((await node.send("tight.trigger", to=to))["statusCode"])

        assert [await code(2), await code(2), await code(1), await code(1)] == [200, 40913, 200, 40913]
        clock.advance(timedelta(minutes=2))
        burst = await asyncio.gather(*(code(1) for _ in range(20)))
        assert sorted(burst) == [200] * 3 + [40913] * 17
        assert await node.rows("SELECT day, used FROM quota ORDER BY day") == [("2030-05-01", 3), ("2030-05-02", 3)]


async def test_f18_a_named_label_is_made(data: Path) -> None:
    async with serving(data) as node:
        await asyncio.gather(*(node.accepted(labelName="spring") for _ in range(10)))
        labels = await node.rows("SELECT id, name FROM label")
        assert [name for _, name in labels] == ["spring"]
        assert await node.rows("SELECT DISTINCT label_id, label_name FROM submission") == labels
