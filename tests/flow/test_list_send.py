"""Sends to address lists and mails with appointments, through a node on both engines (mail.md §3, §5, §6a)."""

import asyncio
import json
import re
from typing import Any

import pytest

from aurorasend import list_send, operate, queue
from aurorasend.clock import ManualClock
from aurorasend.list_send import Expansion, State
from aurorasend.queue import Claimed, Key, Kind, Priority
from aurorasend.simulator import Internet
from aurorasend.store import node as nodes
from aurorasend.store.tx import Tx
from tests.running import LONG_LEASE, Place, Served, quiet, relayed, serving

ALIAS = "news@maillist.example.org"
OTHER = "other@maillist.example.org"
STEP = "address_list.step=7"


async def fill(served: Served, count: int, alias: str = ALIAS) -> None:
    user = served.user("main.batch")
    assert (await served.call("/addresslist/add", {**user, "address": alias, "name": "News"}))["statusCode"] == 200
    for first in range(0, count, 500):
        some = range(first, min(first + 500, count))
        fields = {
            "address": alias,
            "members": ";".join(f"m{n}@d{n % 3}.example.net" for n in some),
            "names": ";".join(f"N{n}" for n in some),
            "vars": ";".join(f'{{"sum":{n}.0,"name":"no"}}' for n in some),
        }
        assert (await served.call("/addressmember/add", {**user, **fields}))["info"]["count"] == len(some)


async def sent(served: Served, *aliases: str, **fields: Any) -> dict[str, Any]:
    given = {"to": ";".join(aliases or (ALIAS,)), "useAddressList": "true", "subject": "For %name%", **fields}
    return await served.send("main.batch", **given)


async def told(served: Served, send_id: int) -> dict[str, Any]:
    envelope = await served.call("/mail/taskinfo", {**served.user("main.batch"), "maillistTaskId": str(send_id)})
    assert envelope["statusCode"] == 200, envelope
    found: dict[str, Any] = envelope["info"]["data"]
    return found


async def is_done(served: Served, send_id: int) -> bool:
    return bool((await told(served, send_id))["status"] == State.DONE.words)


async def over(served: Served, send_id: int, waiting: int | None = None) -> None:
    """And so many entries are waiting then: the one of the send itself ends after it."""

    async def is_over() -> bool:
        is_ended = (await told(served, send_id))["status"] in (State.DONE.words, State.FAILED.words)
        return is_ended and (waiting is None or await served.count("work") == waiting)

    await served.until(is_over, 20)


async def made(served: Served) -> list[tuple[int, str]]:
    found = await served.rows(
        "SELECT r.position, r.address FROM recipient r "
        "JOIN submission s ON s.account_id = r.account_id AND s.id = r.submission_id WHERE s.list_send_id > 0 ORDER BY r.id"
    )
    return [(position, address) for position, address in found]


def everybody(count: int) -> list[tuple[int, str]]:
    return [(n, f"m{n}@d{n % 3}.example.net") for n in range(count)]


async def test_f23_mail_to_a_list_waits_for_the_end_of_quiet_hours(place: Place, internet: Internet) -> None:
    async with serving(place.data, relayed(internet), LONG_LEASE, STEP, url=place.url, clock=ManualClock()) as node:
        await fill(node, 10)
        end = await quiet(node, begun=30, minutes=90)
        (send_id,) = (await sent(node))["info"]["maillistTaskId"]
        await over(node, send_id, waiting=10)
        assert await node.rows("SELECT due, tries FROM work") == [(end, 0)] * 10
        assert await node.counted() == {(18, 0): 10}
        node.pass_time(microseconds=end - node.clock.now_us())
        await node.settled()
        assert internet.mailbox.count == 10


async def test_f49_accepting_a_list_send_stores_no_recipients(place: Place) -> None:
    async with serving(place.data, "node.roles=api", url=place.url) as served:
        await fill(served, 16)
        assert (await sent(served))["statusCode"] == 40821
        tables = ("submission", "content", "list_send", "work", "recipient", "event")
        assert [await served.count(table) for table in tables] == [1, 1, 1, 1, 0, 0]
        assert await served.rows("SELECT used FROM quota") == [(16,)]
        assert await served.rows("SELECT kind FROM work") == [(Kind.LIST,)]


async def test_f49_each_list_has_a_queue_entry_and_the_quota_is_that_of_all(place: Place) -> None:
    async with serving(place.data, "node.roles=api", url=place.url) as served:
        await fill(served, 16)
        await fill(served, 5, OTHER)
        first, second = (await sent(served, ALIAS, OTHER))["info"]["maillistTaskId"]
        tables = ("submission", "content", "list_send", "work", "recipient", "event")
        assert [await served.count(table) for table in tables] == [2, 1, 2, 2, 0, 0]
        sends = await served.rows("SELECT id, address, members FROM list_send ORDER BY id")
        assert sends == [(first, ALIAS, 16), (second, OTHER, 5)]
        entries = await served.rows("SELECT kind, ref, lease FROM work ORDER BY ref")
        assert entries == [(Kind.LIST, first, 0), (Kind.LIST, second, 0)]
        assert await served.rows("SELECT used FROM quota") == [(21,)]
        if served.running.node.store.engine == "postgres":  # which can tell the transaction of a row
            kept = ("submission", "content", "list_send", "work", "quota")
            writers = [row for table in kept for row in await served.rows(f"SELECT xmin::text FROM {table}")]
            assert len(writers) == 8 and len(set(writers)) == 1


async def test_a_member_whose_values_are_too_long_gets_no_mail(place: Place, internet: Internet) -> None:
    async with serving(place.data, relayed(internet), url=place.url) as served:
        await fill(served, 1)
        member = {"address": ALIAS, "members": "long@example.net", "vars": json.dumps({"b": "x" * 500})}
        assert (await served.call("/addressmember/add", {**served.user("main.batch"), **member}))["info"]["count"] == 1
        await sent(served, subject="%b%" * 80)
        await served.until(lambda: both_ended(served))
        assert (await served.recipients())["long@example.net"] == (4, 409, 1)
        assert [mail.recipients for mail in internet.mailbox.messages] == [("m0@d0.example.net",)]


async def both_ended(served: Served) -> bool:
    return {state for state, *_ in (await served.recipients()).values()} == {1, 4}


async def test_every_member_gets_a_mail_of_its_own(place: Place, internet: Internet) -> None:
    async with serving(place.data, STEP, relayed(internet), url=place.url) as served:
        await fill(served, 16)
        html = "<p>%name% %sum% %recipient% %none%</p>"
        answer = await sent(served, html=html, cc="cy@example.net", xsmtpapi="not json", respEmailId="false")
        assert (answer["statusCode"], answer["result"]) == (40821, True)
        (send_id,) = answer["info"]["maillistTaskId"]
        await over(served, send_id)
        await served.settled()
        shown = await told(served, send_id)
        assert (shown["addressList"], shown["memberCount"], shown["apiUser"]) == (ALIAS, 16, served.user("main.batch")["apiUser"])
        assert await made(served) == everybody(16)
        assert len(internet.mailbox.messages) == 16
        texts = {mail.recipients[0]: mail.content.decode() for mail in internet.mailbox.messages}
        body = texts["m5@d2.example.net"]
        assert re.search(r"\r\nTo: m5@d2\.example\.net\r\n", body) and "\r\nSubject: For N5\r\n" in body
        assert "Cc:" not in body and "N5" in body and "5.0" in body and "%none%" in body.replace("=25", "%")
        assert (await served.counted())[(18, 0)] == (await served.counted())[(1, 0)] == 16
        counted = await served.rows("SELECT used FROM quota")
        assert counted == [(16,)]
        life = await served.life((await served.rows("SELECT message_id FROM submission WHERE list_send_id > 0"))[0][0] + "5")
        assert "m5@d2.example.net: delivered" in life


async def test_each_list_of_a_request_is_a_send_with_the_same_content(place: Place, internet: Internet) -> None:
    async with serving(place.data, STEP, relayed(internet), url=place.url) as served:
        await fill(served, 3)
        await fill(served, 2, OTHER)
        answer = await sent(served, ALIAS, "OTHER@maillist.example.org", html="<p>" + "x" * 300_000 + "</p>")
        first, second = answer["info"]["maillistTaskId"]
        assert second == first + 1
        for send_id in (first, second):
            await over(served, send_id)
        await served.settled()
        assert sorted(position for position, _ in await made(served)) == [0, 0, 1, 1, 2]
        assert len(await served.rows("SELECT DISTINCT submission_id FROM content")) == 1
        assert len(await served.rows("SELECT DISTINCT message_id FROM submission")) == 2
        assert len(internet.mailbox.messages) == 5


async def test_f50_a_send_goes_on_where_a_stopped_node_left_it(place: Place) -> None:
    """Stopped again and again without grace, it neither loses nor repeats a member."""
    step = "address_list.step=2"
    async with serving(place.data, "node.roles=api", url=place.url) as served:
        await fill(served, 600)
        send_id = (await sent(served))["info"]["maillistTaskId"][0]
    reached: list[int] = []
    for _ in range(8):
        async with serving(place.data, step, url=place.url, stop_s=0.0) as served:

            async def goes_on(served: Served = served) -> bool:
                return len(await made(served)) > max(reached, default=0) + 120 or await is_done(served, send_id)

            await served.until(goes_on, 40)
            reached.append(len(await made(served)))
            if await is_done(served, send_id):
                break
    assert reached[-1] == 600  # after one stop or several: how many depends on the speed of the machine
    async with serving(place.data, STEP, url=place.url) as served:
        await over(served, send_id)
        assert await made(served) == everybody(600)
        await served.settled()
        assert (await served.counted())[(18, 0)] == (await served.counted())[(1, 0)] == 600


async def test_f50_two_nodes_at_the_same_send_make_each_mail_once(place: Place) -> None:
    async with serving(place.data, STEP, "node.roles=api", url=place.url) as served:
        await fill(served, 100)
        send_id = (await sent(served))["info"]["maillistTaskId"][0]
        node, account_id = served.running.node, await served.account_id()
        (work_id,) = (await served.rows("SELECT id FROM work WHERE kind = 4"))[0]
        claimed = Claimed(account_id, work_id, Kind.LIST, send_id, 1, 0)
        ids = node.submissions._ids
        crews = [Expansion(node.store, node.clock, ids, node.settings, served.running.wake) for _ in range(4)]
        results = [await asyncio.gather(*(crew.attempt(claimed) for crew in crews)) for _ in range(10)]
        assert [result.again for result in results[-1]] == [None] * 4
        assert await made(served) == everybody(100)
        assert (await served.counted())[(18, 0)] == 100
        if served.running.node.store.engine == "postgres":  # which can tell the transaction of a row
            steps = await served.rows("SELECT DISTINCT xmin::text FROM recipient ORDER BY 1")
            assert len(steps) == 15  # of 7 members each
            assert await served.rows("SELECT DISTINCT xmin::text FROM event ORDER BY 1") == steps
            assert set(await served.rows("SELECT xmin::text FROM list_send")) < set(steps)
            apart = "SELECT w.id FROM work w JOIN recipient r ON r.id = w.id WHERE w.xmin::text <> r.xmin::text"
            assert await served.rows(apart) == [] and await served.count("work") == 101


@pytest.mark.parametrize(("faults", "ends"), [(9, State.DONE), (10, State.FAILED)])
async def test_f50_ten_faults_end_a_send_and_kills_do_not_count(place: Place, faults: int, ends: State) -> None:
    """Of a member whose values cannot be read: nobody could have stored them but a bug. After nine they are mended."""
    clock = ManualClock()
    async with serving(place.data, "node.roles=api", url=place.url, clock=clock) as served:
        await fill(served, 20)
        send_id = (await sent(served))["info"]["maillistTaskId"][0]
        await served.change("UPDATE member SET vars = '{' WHERE address LIKE 'm15@%'")
        for tries in range(1, 13):
            await claim_and_die(served)
            assert await served.rows("SELECT tries, lease FROM work") == [(tries, 0)]
    async with serving(place.data, STEP, LONG_LEASE, url=place.url, clock=clock) as served:

        async def waits() -> bool:
            due = clock.now_us() + list_send.FAULT_US
            return await served.rows("SELECT due, lease FROM work WHERE kind = 4") == [(due, 0)]

        for number in range(1, 10):
            await served.until(waits)
            assert (await told(served, send_id))["status"] == State.RUNNING.words
            assert await made(served) == everybody(14)
            if number == faults:
                await served.change("UPDATE member SET vars = '' WHERE address LIKE 'm15@%'")
            served.pass_time(microseconds=list_send.FAULT_US)
        await over(served, send_id)
        assert len(served.faults.found) == faults and all("could not go on" in fault for fault in served.faults.found)
        assert (await told(served, send_id))["status"] == ends.words
        assert await made(served) == everybody(20 if ends is State.DONE else 14)

        async def is_gone() -> bool:
            return await served.rows("SELECT 1 FROM work WHERE kind = 4") == []

        await served.until(is_gone)
        served.expect_fault()


async def claim_and_die(served: Served) -> None:
    """What is left of a node that is killed while it works on the send, once it is noticed."""
    key, now_us = Key(f"list:{await served.account_id()}", await served.account_id(), Priority.BATCH), served.clock.now_us()

    async def claim(tx: Tx) -> int:
        worker = await nodes.add(tx, "elsewhere", True, now_us, now_us + 1)
        assert await queue.lease_lane(tx, key.lane, worker)
        ((_, entries),) = await queue.claim(tx, [(key, 1, ())], now_us, worker)
        assert len(entries) == 1
        return worker

    worker = await served.running.node.store.write(claim)
    await served.running.node.store.write(lambda tx: nodes.bury(tx, worker, now_us))


async def test_f41_a_send_counts_for_the_name_under_which_it_was_accepted(place: Place) -> None:
    """Its API user is renamed when half of its mails are made."""
    async with serving(place.data, "address_list.step=10", "node.roles=api", url=place.url) as served:
        await fill(served, 20)
        send_id = (await sent(served))["info"]["maillistTaskId"][0]
        node, account_id, user = served.running.node, await served.account_id(), served.user("main.batch")
        crew = Expansion(node.store, node.clock, node.submissions._ids, node.settings, served.running.wake)
        claimed = Claimed(account_id, (await served.rows("SELECT id FROM work WHERE kind = 4"))[0][0], Kind.LIST, send_id, 1, 0)
        send = await node.store.read(lambda tx: list_send.rows.get(tx, account_id, send_id))
        assert send is not None
        await node.store.write(lambda tx: crew._begin(tx, send))
        _, batch = await crew._look(claimed)
        assert batch is not None
        await node.store.write(lambda tx: list_send._store(tx, batch))
        assert len(await made(served)) == 10
        renamed = {**user, "apiUser": "renamed1"}
        changed = await served.call("/apiuser/update", {**user, "name": user["apiUser"], "newName": "renamed1"})
        assert changed["statusCode"] == 200
        assert (await crew.attempt(claimed)).again is None
        assert await made(served) == everybody(20)
        shown = await served.call("/mail/taskinfo", {**renamed, "maillistTaskId": str(send_id)})
        assert shown["info"]["data"]["apiUser"] == user["apiUser"]
        for name, mails in ((user["apiUser"], 20), ("renamed1", 0)):
            asked = {**renamed, "days": "1", "apiUserList": name}
            assert (await served.call("/statday/list", {**asked, "aggregate": "1"}))["info"]["dataList"]["requestNum"] == mails
            assert (await served.call("/data/emailStatus", asked))["info"]["total"] == str(mails)


async def pause(served: Served, send_id: int, *, pause: bool) -> None:
    """As the operator does it, in another process."""
    ask, settings, account_id = operate.pause_list_send, served.running.node.settings, await served.account_id()
    await asyncio.to_thread(lambda: ask(settings, account_id, send_id, pause=pause))


async def test_a_paused_send_waits_and_goes_on(place: Place) -> None:
    async with serving(place.data, STEP, "node.roles=api", url=place.url) as served:
        await fill(served, 50)
        send_id = (await sent(served))["info"]["maillistTaskId"][0]
        await pause(served, send_id, pause=True)
        with pytest.raises(operate.Impossible):
            await pause(served, send_id + 1, pause=True)
    async with serving(place.data, STEP, url=place.url) as served:

        async def is_put_off() -> bool:
            now_us = served.clock.now_us()
            return bool(await served.rows("SELECT 1 FROM work WHERE kind = 4 AND lease = 0 AND due > $1", now_us + 1_000_000))

        await served.until(is_put_off)
        assert await made(served) == []
        await pause(served, send_id, pause=False)
        await over(served, send_id)
        assert await made(served) == everybody(50)


async def test_members_that_come_later_are_not_reached_and_a_deleted_list_ends_it(place: Place) -> None:
    async with serving(place.data, STEP, "node.roles=api", url=place.url) as served:
        await fill(served, 20)
        await fill(served, 20, "gone@maillist.example.org")
        first, second = (await sent(served, ALIAS, "gone@maillist.example.org"))["info"]["maillistTaskId"]
        node, account_id, user = served.running.node, await served.account_id(), served.user("main.batch")
        crew = Expansion(node.store, node.clock, node.submissions._ids, node.settings, served.running.wake)
        works = dict(await served.rows("SELECT ref, id FROM work WHERE kind = 4"))
        claimed = Claimed(account_id, works[first], Kind.LIST, first, 1, 0)
        send = await node.store.read(lambda tx: list_send.rows.get(tx, account_id, first))
        assert send is not None
        await node.store.write(lambda tx: crew._begin(tx, send))
        await served.call("/addressmember/add", {**user, "address": ALIAS, "members": "late@example.net"})
        await served.call("/addressmember/delete", {**user, "address": ALIAS, "members": "m19@d1.example.net"})
        await served.call("/addresslist/delete", {**user, "address": "gone@maillist.example.org"})
        assert (await crew.attempt(claimed)).again is None
        assert (await crew.attempt(Claimed(account_id, works[second], Kind.LIST, second, 1, 0))).again is None
        assert await made(served) == everybody(19)
        assert [(await told(served, each))["status"] for each in (first, second)] == [State.DONE.words, State.FAILED.words]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"to": ""}, 40872),
        ({"to": "not an alias"}, 40862),
        ({"to": "none@maillist.example.org"}, 40863),
        ({"to": ";".join(f"n{n}@maillist.example.org" for n in range(6))}, 40864),
        ({"to": "empty@maillist.example.org"}, 40255),
        ({"headers": {"X-A": "a" * 1024}}, 40869),
        ({"html": " "}, 40870),
    ],
)
async def test_what_is_refused_stores_nothing(place: Place, fields: dict[str, Any], code: int) -> None:
    async with serving(place.data, url=place.url) as served:
        await fill(served, 2)
        await fill(served, 0, "empty@maillist.example.org")
        answer = await served.send("main.batch", **{"to": ALIAS, "useAddressList": "true", **fields})
        assert (answer["statusCode"], answer["result"], answer["info"]) == (code, False, {})
        assert code != 40863 or answer["message"].endswith(": none@maillist.example.org")
        assert await served.count("list_send") == await served.count("submission") == await served.count("work") == 0


async def test_quota_covers_all_members_or_the_send_is_refused(place: Place) -> None:
    async with serving(place.data, url=place.url) as served:
        user = served.user("tight.batch")
        await served.call("/addresslist/add", {**user, "address": ALIAS, "name": "n"})
        await served.call("/addressmember/add", {**user, "address": ALIAS, "members": "a@example.net;b@example.net"})
        fields = served.mail("tight.batch", to=ALIAS, useAddressList="true", sendRequestId="r1")
        first = await served.call("/mail/send", fields)
        assert first["statusCode"] == 40821
        assert await served.call("/mail/send", fields) == first
        assert (await served.call("/mail/send", {**fields, "sendRequestId": "r2"}))["statusCode"] == 40913
        assert await served.count("list_send") == 1


async def test_only_batch_users_send_to_lists_and_others_are_not_told(place: Place) -> None:
    async with serving(place.data, url=place.url) as served:
        await fill(served, 1)
        assert (await served.send("main.trigger", to=ALIAS, useAddressList="true"))["statusCode"] == 40820
        send_id = str((await sent(served))["info"]["maillistTaskId"][0])
        for name, given, code in (
            ("main.trigger", send_id, 6001),
            ("tight.batch", send_id, 40252),
            ("main.batch", "", 40231),
            ("main.batch", "abc", 40231),
            ("main.batch", "99999", 40252),
        ):
            envelope = await served.call("/mail/taskinfo", {**served.user(name), "maillistTaskId": given})
            assert envelope["statusCode"] == code, (name, given)


async def test_v1_takes_addresses_beside_a_list(place: Place) -> None:
    async with serving(place.data, STEP, url=place.url) as served:
        await fill(served, 9)
        user = served.user("main.batch")
        fields = {"api_user": user["apiUser"], "api_key": user["apiKey"], "from": served.sender("main.batch"), "subject": "s"}
        fields |= {"html": "<p>%recipient%</p>", "use_maillist": "true", "to": f"Ann@example.net;{ALIAS};bob@example.net"}
        answer = await served.call("/webapi/mail.send.json", fields)
        assert answer["message"] == "success"
        (send_id,) = answer["mail_list_task_id_list"]
        await over(served, send_id)
        found = await made(served)
        assert found[:3] == [(0, "Ann@example.net"), (1, "bob@example.net"), (2, "m0@d0.example.net")]
        assert len(found) == 11 and (await told(served, send_id))["memberCount"] == 11
        assert await served.rows("SELECT used FROM quota") == [(11,)]
        assert (await served.call("/webapi/mail.send.json", {**fields, "to": "x@example.net"}))["message"] == "error"


# -- appointments

CALENDAR = {
    "startTime": "2031-01-15 09:00:00",
    "endTime": "2031-01-15 10:30:00",
    "title": "Review",
    "organizerName": "Ann",
    "organizerEmail": "ann@example.org",
    "location": "Room 7",
    "participatorNames": "Bob",
}


async def invited(served: Served, **fields: Any) -> dict[str, Any]:
    return await served.call("/mail/sendcalendar", served.mail("main.trigger", **{**CALENDAR, **fields}))


async def test_an_appointment_is_told_updated_and_cancelled(place: Place, internet: Internet) -> None:
    async with serving(place.data, relayed(internet), url=place.url) as served:
        uid = (await invited(served))["info"]["uid"]
        assert (await invited(served, uid=uid))["info"]["uid"] == uid
        assert (await invited(served, uid=uid, isUpdate="true"))["statusCode"] == 200
        assert (await invited(served, uid=uid, isUpdate="true", isCancel="true"))["statusCode"] == 200
        await served.settled()
        assert await served.rows("SELECT uid, sequence FROM calendar_event") == [(uid, 2)]
        assert len(internet.mailbox.messages) == 4
        assert all(b"text/calendar; method=" in mail.content for mail in internet.mailbox.messages)
        assert sum(b"method=CANCEL" in mail.content for mail in internet.mailbox.messages) == 1


async def test_updates_at_once_each_have_a_number_of_their_own(place: Place) -> None:
    async with serving(place.data, url=place.url) as served:
        uid = (await invited(served))["info"]["uid"]
        answers = await asyncio.gather(*(invited(served, uid=uid, isUpdate="true") for _ in range(4)))
        accepted = [answer for answer in answers if answer["statusCode"] == 200]
        assert len(accepted) == 4
        assert await served.rows("SELECT sequence FROM calendar_event") == [(4,)]


async def test_a_refused_appointment_leaves_no_trace(place: Place) -> None:
    async with serving(place.data, url=place.url) as served:
        wrong = served.mail("tight.trigger", **CALENDAR, uid="u", to="a@example.net;b@example.net;c@example.net;d@example.net")
        assert (await served.call("/mail/sendcalendar", wrong))["statusCode"] == 40913
        assert await served.count("calendar_event") == await served.count("submission") == 0


CALENDAR_CODES = [
    ({"startTime": None}, 40832),
    ({"startTime": "2031-01-15T09:00:00"}, 40833),
    ({"startTime": "0001-01-01 00:00:00"}, 40833),
    ({"endTime": " "}, 40834),
    ({"endTime": "2031-02-30 09:00:00"}, 40835),
    ({"endTime": "2031-01-15 08:59:59"}, 40835),
    ({"title": None}, 40836),
    ({"title": "a\nb"}, 40837),
    ({"organizerName": None}, 40838),
    ({"organizerName": "a\rb"}, 40839),
    ({"organizerEmail": None}, 40840),
    ({"organizerEmail": "ann"}, 40841),
    ({"location": None}, 40842),
    ({"location": "l" * 999}, 40843),
    ({"description": " "}, 40844),
    ({"description": "d" * 65_537}, 40845),
    ({"participatorNames": None}, 40846),
    ({"participatorNames": ";;"}, 40847),
    ({"participatorEmails": " "}, 40848),
    ({"participatorEmails": "bob"}, 40849),
    ({"participatorEmails": "a@example.net;b@example.net"}, 40850),
    ({"isCancel": "perhaps"}, 40876),
    ({"isUpdate": "perhaps"}, 40876),
    ({"isCancel": "1"}, 40851),
    ({"isUpdate": "1", "uid": "unknown"}, 40851),
    ({"uid": "u" * 256}, 40851),
    ({"useAddressList": "true"}, 40820),
    ({"to": None}, 40805),
    ({"valarmTime": "soon"}, 200),
]


async def test_parameters_of_appointments(place: Place) -> None:
    async with serving(place.data, url=place.url) as served:
        for fields, code in CALENDAR_CODES:
            given = {"to": "ann@example.net", **fields}
            assert (await invited(served, **given))["statusCode"] == code, fields
        await served.change("UPDATE account SET calendar = 0")
        await asyncio.sleep(1.1)  # what was read of a caller is kept for a second
        assert (await invited(served))["statusCode"] == 6001
