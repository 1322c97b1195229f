"""sms.accept and the crew that delivers, on real stores of both engines (sms.md §4.1, §11, §15.3)."""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from aurorasend import event, phone, queue, sandbox, sms_template
from aurorasend.account import AccountId, Accounts, SmsUser
from aurorasend.clock import SECOND, ManualClock
from aurorasend.codes import Code, Refused
from aurorasend.config import Settings
from aurorasend.gateways import OutgoingSms
from aurorasend.gateways.simulator import SimulatorGateway
from aurorasend.ids import Ids
from aurorasend.secret import Vault
from aurorasend.sms import SmsAccepted, SmsSubmission, SmsSubmissions, SmsTarget
from aurorasend.sms_delivery import SmsCrew
from aurorasend.sms_outcome import REASONS, SmsOutcome, SmsState, deferred
from aurorasend.sms_template import Wanted
from aurorasend.store import event as event_rows
from aurorasend.store import schema
from aurorasend.store.tx import EVER, Statement, Store, Tx
from aurorasend.wake import Alone, Wake

NOON = 1_767_240_000 * SECOND  # 2026-01-01 12:00:00 +08:00
NODE = 1
TEMPLATE = 123456
LANE = "sms:simulator#0"
ACCOUNT = 1


@dataclass
class World:
    """What a node has, as far as SMS need it."""

    user: SmsUser
    store: Store
    clock: ManualClock
    ids: Ids
    settings: Settings
    sms: SmsSubmissions

    async def send(self, numbers: str, **changes: object) -> SmsAccepted:
        phones = [phone.parse(shown, domestic=True, home="86") for shown in phone.split(numbers)]
        targets = tuple(SmsTarget(number, {"code": "1234"}) for number in phones)
        submission = replace(SmsSubmission(self.user, TEMPLATE, targets), **changes)  # type: ignore[arg-type]
        return await self.sms.accept(submission)

    async def rows(self, sql: str) -> list[tuple[object, ...]]:
        return await self.store.read(lambda tx: tx.rows(Statement(sql)))

    async def work(self, crew: SmsCrew) -> int:
        """One round of what the dispatcher does; returns how many entries were claimed."""

        async def claim(tx: Tx) -> list[queue.Claimed]:
            found = []
            for priority in queue.Priority:
                key = queue.Key(LANE, ACCOUNT, priority)
                found += (await queue.claim(tx, [(key, 1000, ())], self.clock.now_us(), NODE))[0][1]
            return found

        claimed = await self.store.write(claim)
        results = [await crew.attempt(one) for one in await crew.load(claimed, [None] * len(claimed))]
        reported = [result for result in results if result.report is not None]
        prepared = await crew.prepare(reported)

        async def settle(tx: Tx) -> None:
            await queue.finish(tx, NODE, [(r.claimed.account_id, r.claimed.id) for r in results if r.again is None])
            await queue.later(tx, NODE, [r.again for r in results if r.again is not None])
            await crew.record(tx, reported, prepared)

        await self.store.write(settle)
        return len(claimed)

    def crew(self, gateway: object = None, *, caught: bool = False) -> SmsCrew:
        return SmsCrew(self.store, self.clock, self.ids, gateway or SimulatorGateway(), caught=caught)  # type: ignore[arg-type]


@pytest.fixture
async def world(store: Store, tmp_path: Path) -> World:
    clock, ids, settings, wake = ManualClock(NOON), Ids(store), Settings(tmp_path), Wake(Alone())
    await store.write(fill)
    account = await Accounts(store, clock, Vault(bytes(32))).account("acme")
    assert account is not None
    sms = SmsSubmissions(store, clock, ids, settings, wake, SimulatorGateway())
    return World(SmsUser(account, 7, "acme_sms", "secret"), store, clock, ids, settings, sms)


async def fill(tx: Tx) -> None:
    await tx.insert(schema.account, ("id", "name", "region", "app_key"), [(ACCOUNT, "acme", "sg", b"")])
    await sms_template.put_approved(tx, ACCOUNT, TEMPLATE, Wanted("login", 0, "Your code is %code%"), NOON)


async def refused(code: Code, sending: object) -> None:
    with pytest.raises(Refused) as caught:
        await sending  # type: ignore[misc]
    assert caught.value.code is code


async def test_what_is_accepted_is_stored_and_queued_with_its_request_event(world: World) -> None:
    accepted = await world.send("+6591234111,13800138111")
    first, second = accepted.sms_ids
    assert accepted.refused == ()
    assert first.startswith(f"{NOON // 1000}_1_") and first.endswith("$+6591234111")
    assert second.split("$")[1] == "13800138111" and second.split("_")[3] == str(TEMPLATE)
    assert await world.rows("SELECT phone, e164, vars, state FROM sms_message ORDER BY id") == [
        ("+6591234111", "+6591234111", '{"code":"1234"}', SmsState.REQUESTED),
        ("13800138111", "+8613800138111", '{"code":"1234"}', SmsState.REQUESTED),
    ]
    assert await world.rows("SELECT kind, lane, priority FROM work") == [(2, LANE, 0)] * 2
    assert await world.rows("SELECT kind FROM event") == [(event.Kind.SMS_REQUESTED.number,)]


async def test_refused_numbers_do_not_stop_the_others(world: World) -> None:
    accepted = await world.send("1312,+6591234111,")
    assert [one.split("$")[1] for one in accepted.sms_ids] == ["+6591234111"]
    assert [(one.phone, one.code) for one in accepted.refused] == [("1312", "SMS_PHONE_INVALID"), ("", "SMS_PHONE_INVALID")]


async def test_nothing_is_stored_when_every_number_is_refused(world: World) -> None:
    accepted = await world.send("1312,+99", request_key="r1")
    assert accepted.sms_ids == () and len(accepted.refused) == 2
    for table in ("sms_submission", "sms_message", "work", "event", "request_id"):
        assert await world.rows(f"SELECT count(*) FROM {table}") == [(0,)], table


async def test_template_codes(world: World) -> None:
    await refused(Code.SMS_TEMPLATE_UNKNOWN, world.send("+6591234111", template_id=99))
    other = replace(world.user, account=replace(world.user.account, id=AccountId(2)))
    await refused(Code.SMS_TEMPLATE_UNKNOWN, world.send("+6591234111", caller=other))
    draft = await world.store.write(lambda tx: sms_template.add(tx, ACCOUNT, Wanted("draft", 1, "Hi"), NOON))
    await refused(Code.SMS_TEMPLATE_NOT_APPROVED, world.send("+6591234111", template_id=draft))
    await refused(Code.LABEL_ID_INVALID, world.send("+6591234111", label="5"))


async def test_five_in_a_minute_then_496_for_that_number_only(world: World) -> None:
    for _ in range(5):
        assert (await world.send("+8613800138111")).sms_ids
    answer = await world.send("13800138111,+6591234111")
    assert [one.code for one in answer.refused] == ["SMS_TOO_MANY_PER_MINUTE"] and len(answer.sms_ids) == 1
    world.clock.advance(timedelta(seconds=60))
    assert (await world.send("+8613800138111")).sms_ids


async def test_fifty_a_day_then_498_until_midnight_of_the_api_zone(world: World) -> None:
    for _ in range(50):
        assert (await world.send("+6591234111")).sms_ids
        world.clock.advance(timedelta(seconds=13))
    assert [one.code for one in (await world.send("+6591234111")).refused] == ["SMS_TOO_MANY_PER_DAY"]
    world.clock.advance(timedelta(hours=12) - timedelta(seconds=50 * 13 + 1))  # 23:59:59
    assert [one.code for one in (await world.send("+6591234111")).refused] == ["SMS_TOO_MANY_PER_DAY"]
    world.clock.advance(timedelta(seconds=1))
    assert (await world.send("+6591234111")).sms_ids


async def test_a_limit_is_not_overrun_by_requests_at_the_same_time(world: World) -> None:
    answers = await asyncio.gather(*(world.send("+6591234111") for _ in range(12)))
    assert sum(len(answer.sms_ids) for answer in answers) == 5


async def test_a_repeated_request_id_gets_the_first_answer_and_sends_nothing(world: World) -> None:
    first = await world.send("+6591234111,1312", request_key="r1")
    assert await world.send("+6591234111,1312", request_key="r1") == first
    assert await world.rows("SELECT count(*) FROM sms_message") == [(1,)]
    await refused(Code.REQUEST_ID_REUSED, world.send("+6591234222", request_key="r1"))
    world.clock.advance(timedelta(hours=1))
    assert (await world.send("+6591234222", request_key="r1")).sms_ids


async def test_of_two_concurrent_requests_with_one_id_exactly_one_sends(world: World) -> None:
    answers = await asyncio.gather(*(world.send("+6591234111", request_key="r1") for _ in range(4)))
    assert len({answer.sms_ids for answer in answers}) == 1
    assert await world.rows("SELECT count(*) FROM sms_message") == [(1,)]


async def test_a_refused_request_leaves_its_id_free(world: World) -> None:
    await refused(Code.SMS_TEMPLATE_UNKNOWN, world.send("+6591234111", template_id=99, request_key="r1"))
    assert not (await world.send("1312", request_key="r1")).sms_ids
    assert (await world.send("+6591234111", request_key="r1")).sms_ids


async def test_the_request_id_belongs_to_the_user(world: World) -> None:
    await world.send("+6591234111", request_key="r1")
    other = replace(world.user, id=8, name="other_sms")
    assert (await world.send("+6591234222", request_key="r1", caller=other)).sms_ids


async def test_delivered_and_caught_in_the_sandbox(world: World) -> None:
    (sms_id,) = (await world.send("+6591234111")).sms_ids
    assert await world.work(world.crew(caught=True)) == 1
    assert await world.rows("SELECT state, code, log, pieces, outbound FROM sms_message") == [
        (SmsState.DELIVERED, 200, "Successfully delivered", 1, NOON)
    ]
    assert await world.rows("SELECT count(*) FROM work") == [(0,)]
    caught, total = await sandbox.Sandbox(world.store, 10, 10_000).list(0, 10, "")
    assert total == 1 and (caught[0].kind, caught[0].recipient) == ("sms", "+6591234111")
    assert await world.rows("SELECT raw FROM sandbox") == [(b"Your code is 1234",)]
    submission_id = int(sms_id.split("_")[2])
    told = await world.store.read(lambda tx: event_rows.of_recipients(tx, ACCOUNT, submission_id, 0, EVER, 10))
    assert [row[1] for row in told] == [event.Kind.SMS_REQUESTED.number, event.Kind.SMS_DELIVERED.number]
    assert sms_id.encode() in told[1][4]


@pytest.mark.parametrize("code", sorted(REASONS))
async def test_the_simulator_gives_every_code_by_the_last_digits(code: int) -> None:
    outcome = await SimulatorGateway().send(OutgoingSms("x", "", f"+6591234{code}", "Hi"))
    assert outcome == SmsOutcome(SmsState.SUPPRESSED if code < 500 else SmsState.FAILED, code, REASONS[code])


async def test_a_failure_is_told_by_its_event(world: World) -> None:
    await world.send("+6591234580,+6591234410")
    await world.work(world.crew())
    ends = await world.rows("SELECT state, code FROM sms_message ORDER BY id")
    assert ends == [(SmsState.FAILED, 580), (SmsState.SUPPRESSED, 410)]
    kinds = await world.rows("SELECT kind FROM event ORDER BY id")
    assert sorted(kinds)[-2:] == [(event.Kind.SMS_SUPPRESSED.number,), (event.Kind.SMS_FAILED.number,)]


async def test_what_must_not_be_sent_is_suppressed_before_the_gateway(world: World) -> None:
    wide = Wanted("wide", 1, "%a%" * 20 + "x" * 440)
    await world.store.write(lambda tx: sms_template.put_approved(tx, ACCOUNT, 200000, wide, NOON))
    plus = phone.parse("+6591234111", domestic=True, home="86")
    await world.send("", targets=(SmsTarget(plus, {}),))
    await world.send("", targets=(SmsTarget(plus, {"a": "v" * 4}),), template_id=200000)
    await world.send("+6591234111", sender="ACME")
    await world.work(world.crew(caught=True))
    assert await world.rows("SELECT state, code, log, outbound FROM sms_message ORDER BY id") == [
        (SmsState.SUPPRESSED, 450, "variable error: no value for code", 0),
        (SmsState.SUPPRESSED, 460, "content over 500 characters", 0),
        (SmsState.SUPPRESSED, 490, "sender id not approved", 0),
    ]
    assert await world.rows("SELECT count(*) FROM sandbox") == [(0,)]


class BusyGateway:
    name = "simulator"
    shards = 1

    async def send(self, sms: OutgoingSms) -> SmsOutcome:
        return deferred("throttled")


async def test_what_a_gateway_cannot_take_is_tried_again_and_given_up_after_three_days(world: World) -> None:
    await world.send("+6591234111")
    crew = world.crew(BusyGateway())
    assert await world.work(crew) == 1
    assert await world.rows("SELECT state, log FROM sms_message") == [(SmsState.REQUESTED, "throttled")]
    assert await world.work(crew) == 0
    world.clock.advance(timedelta(minutes=1))
    assert await world.work(crew) == 1
    world.clock.advance(timedelta(hours=72))
    assert await world.work(crew) == 1
    assert await world.rows("SELECT state, code FROM sms_message") == [(SmsState.FAILED, 590)]
    assert await world.rows("SELECT count(*) FROM work") == [(0,)]


async def test_a_queued_message_keeps_the_text_of_a_template_that_changed(world: World) -> None:
    await world.send("+6591234111")
    await world.store.write(lambda tx: sms_template.remove(tx, ACCOUNT, TEMPLATE))
    await world.work(world.crew(caught=True))
    assert await world.rows("SELECT raw FROM sandbox") == [(b"Your code is 1234",)]


async def test_marketing_waits_behind_codes(world: World) -> None:
    await world.store.write(lambda tx: sms_template.put_approved(tx, ACCOUNT, 200000, Wanted("sale", 2, "Sale"), NOON))
    await world.send("+6591234111", template_id=200000)
    assert await world.rows("SELECT priority FROM work") == [(queue.Priority.BATCH,)]


async def test_two_thousand_numbers_in_one_request(world: World) -> None:
    accepted = await world.send(",".join(f"+65{1000000 + n}" for n in range(2000)))
    assert len(set(accepted.sms_ids)) == 2000
