"""Who waits for a session goes on in it as soon as the message before is handed over (RFC 2920 §3.1)."""

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest
import uvloop

from aurorasend import smtp_client
from aurorasend.mx import Hop
from aurorasend.outcome import Fate, Outcome
from aurorasend.pool import Limits, NoPlace, Pool
from aurorasend.simulator import Internet, Temper
from aurorasend.smtp_client import Parcel, Terms, Timeouts
from tests.packets import receiving
from tests.scripted_peer import playing

LETTER = b"Subject: hello\r\n\r\nHello\r\n"
PATIENT = Timeouts(connect_s=10, reply_s=10, body_s=10, end_s=10, quit_s=1, total_s=30)
HASTY = Timeouts(connect_s=10, reply_s=0.3, body_s=10, end_s=10, quit_s=1, total_s=30)
GREETED = "<- 220 hi\n-> EHLO us.example\n<- 250-peer\n<- 250 PIPELINING\n"
YES = "<- 250 ok\n<- 250 ok\n<- 354 go\n"
END = "-> QUIT\n<- 221 bye\nclose"


def offer(name: str) -> str:
    return f"-> MAIL FROM:<a@x.example>\n-> RCPT TO:<{name}@y.example>\n-> DATA\n"


def alone(name: str) -> str:
    return f"{offer(name)}{YES}...\n<- 250 queued {name}\n"


@asynccontextmanager
async def pooled(timeouts: Timeouts = PATIENT, limits: Limits | None = None) -> AsyncIterator[Pool]:
    pool = Pool(Terms("us.example", timeouts=timeouts), limits or Limits(per_hop=1))
    yield pool
    await pool.close()


async def send(pool: Pool, hop: Hop, name: str, *, encrypted: bool = False, mail_from: str = "a@x.example") -> Outcome:
    parcel = Parcel(mail_from, [f"{name}@y.example"], LETTER, encrypted=encrypted)
    return (await pool.send([hop], parcel))[0]


async def send_all(pool: Pool, hop: Hop, *names: str) -> list[str]:
    """At the same time, in this order, the first of them ahead: only a session that was quick is gone on with."""
    async with asyncio.timeout(10):
        first = await send(pool, hop, names[0])
        return [got.text for got in (first, *await asyncio.gather(*(send(pool, hop, name) for name in names[1:])))]


async def test_the_next_offer_comes_behind_the_message_before_its_answer() -> None:
    behind = f"{offer('c')}{YES}...\n{offer('d')}<- 250 queued c\n{YES}...\n{offer('e')}<- 250 queued d\n{YES}...\n"
    behind += "<- 250 queued e\n"
    async with playing(GREETED + alone("b") + behind + END) as (peer, hop), pooled() as pool:
        assert await send_all(pool, hop, "b", "c", "d", "e") == [f"250 queued {name}" for name in "bcde"]
        await pool.close()
        await peer.done.wait()
        assert peer.wrong == []


async def test_message_and_offer_are_one_packet() -> None:
    async with receiving() as (hop, packets), pooled() as pool:
        assert len(await send_all(pool, hop, *"bcdef")) == 5
        await pool.close()
    assert [packet.count(b"MAIL FROM") + 2 * packet.count(b"Subject") for packet in packets] == [0, 1, 2, 1, 3, 3, 3, 2, 0]


async def test_a_refusal_of_a_message_does_not_touch_who_follows() -> None:
    behind = f"{offer('c')}{YES}...\n{offer('d')}<- 554 5.7.1 spam\n{YES}...\n<- 250 queued d\n"
    async with playing(GREETED + alone("b") + behind + END) as (peer, hop), pooled() as pool:
        assert await send_all(pool, hop, "b", "c", "d") == ["250 queued b", "554 5.7.1 spam", "250 queued d"]
        assert peer.wrong == []


@pytest.mark.parametrize(("end", "fate"), [("close", Fate.AMBIGUOUS), ("<- 421 4.3.2 bye\nclose", Fate.DEFERRED)])
async def test_who_follows_has_a_session_of_its_own_when_this_one_ends(end: str, fate: Fate) -> None:
    """The end concerns the message that was handed over; of who followed nothing was."""
    first = f"{GREETED}{alone('b')}{offer('c')}{YES}...\n{offer('d')}{end}"
    async with playing(first, f"{GREETED}{alone('d')}{END}") as (peer, hop), pooled() as pool, asyncio.timeout(10):
        assert (await send(pool, hop, "b")).fate is Fate.DELIVERED
        got = await asyncio.gather(send(pool, hop, "c"), send(pool, hop, "d"))
        assert [each.fate for each in got] == [fate, Fate.DELIVERED]
        assert peer.wrong == []


async def test_the_end_of_a_message_may_take_its_time_with_an_offer_behind_it() -> None:
    """The time for the replies to an offer begins when the message before is answered."""
    slow = "pause\n" * 12  # 0.6 s, twice as long as a reply may take
    behind = f"{offer('c')}{YES}...\n{offer('d')}{slow}<- 250 queued c\npause\n{YES}...\n<- 250 queued d\n"
    async with playing(GREETED + alone("b") + behind + END) as (peer, hop), pooled(HASTY) as pool:
        assert await send_all(pool, hop, "b", "c", "d") == ["250 queued b", "250 queued c", "250 queued d"]
        assert peer.wrong == []


@pytest.mark.parametrize(
    "answers",
    [
        "<- 503 5.5.1 what?\nsilence",
        "<- 500 what?\nsilence",
        "<- 550 5.5.1 protocol error: pipelining\nsilence",
        "<- 554 5.5.0 protocol synchronization\nclose",
        "<- 250 ok\n<- 503 MAIL first\n<- 503 no\nsilence",
        "<- 250 ok\n<- 554 5.5.0 protocol synchronization\nclose",
        "<- 250 ok\n<- 250 ok\n<- 503 5.5.1 out of sequence\nsilence",
        "silence",
        "<- 250 ok\nsilence",
        "pause\npause\npause\n<- 421 4.4.2 idle\nclose",
        "pause\npause\npause\nclose",
    ],
)
async def test_a_peer_that_loses_what_follows_gets_it_alone_for_a_while(answers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp_client, "PROMPT_S", 0.1)
    first = f"{GREETED}{alone('b')}{offer('c')}{YES}...\n{offer('d')}<- 250 queued c\n{answers}"
    second = GREETED + "".join(f"{offer(name)}{YES}...\nquiet\n<- 250 queued {name}\n" for name in "def") + END
    async with playing(first, second) as (peer, hop), pooled(HASTY) as pool:
        assert await send_all(pool, hop, "b", "c", "d", "e", "f") == [f"250 queued {name}" for name in "bcdef"]
        assert peer.wrong == []


async def test_who_follows_does_not_wait_long_for_the_end_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """But goes elsewhere; of the session that it leaves nothing more is wanted than that end. The hop gets nothing behind a
    message any more: else one that stalls again and again would have any number of sessions."""
    monkeypatch.setattr(smtp_client, "PATIENCE_S", 0.1)
    first = f"{GREETED}{alone('b')}{offer('c')}{YES}...\n{offer('d')}hold\n<- 250 queued c\n{YES}eof"
    second = GREETED + "".join(f"{offer(name)}{YES}...\nquiet\n<- 250 queued {name}\n" for name in "def") + END
    async with playing(first, second) as (peer, hop), pooled() as pool, asyncio.timeout(10):
        await send(pool, hop, "b")
        stuck = asyncio.create_task(send(pool, hop, "c"))
        await asyncio.sleep(0)
        others = await asyncio.gather(*(send(pool, hop, name) for name in "def"))
        assert ([each.text for each in others], stuck.done()) == ([f"250 queued {name}" for name in "def"], False)
        peer.go.set()
        assert (await stuck).text == "250 queued c"
        await peer.ended.wait()
        assert peer.wrong == []


class Ending:
    """A peer in a thread. Of its first connection it ends the second message right after 354, so that the end comes in the
    same turn of a busy event loop in which the message is handed over."""

    def __init__(self) -> None:
        self.open, self.most = 0, 0
        self.taken: list[bytes] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        for number in count():
            try:
                sock, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock, number), daemon=True).start()

    def serve(self, sock: socket.socket, number: int) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.open += 1
        self.most = max(self.most, self.open)
        with contextlib.suppress(OSError), sock, sock.makefile("rwb", buffering=0) as lines:
            lines.write(b"220 hi\r\n")
            recipient = b""
            while line := lines.readline():
                recipient = line[9:10] if line.startswith(b"RCPT") else recipient
                if line.startswith(b"DATA"):
                    lines.write(b"354 go\r\n")
                    if number == 0 and self.taken:
                        time.sleep(0.002)
                        lines.write(b"421 4.3.2 shutting down\r\n")
                        self.open -= 1
                        time.sleep(0.1)  # closed at once, what it said would be lost
                        return
                    while lines.readline() != b".\r\n":
                        pass
                    time.sleep(0.1 if number else 0)  # so that two at a time are seen
                    self.taken.append(recipient)
                lines.write(b"250-peer\r\n250 PIPELINING\r\n" if line.startswith(b"EHLO") else b"250 ok\r\n")
        self.open -= 1


def test_a_message_that_is_handed_over_does_not_go_on_beside_its_slot() -> None:
    """Who follows sees the end first; that is no news of the message before."""

    async def work() -> None:
        while True:
            time.sleep(0.006)  # noqa: ASYNC251 so that much happens within a turn
            await asyncio.sleep(0)

    async def main(peer: Ending) -> list[Fate]:
        hop = Hop("peer.example", *peer.listening.getsockname()[:2])
        async with pooled() as pool, asyncio.timeout(20):
            await send(pool, hop, "b")
            busy = asyncio.create_task(work())
            got = await asyncio.gather(send(pool, hop, "c"), send(pool, hop, "d"))
            busy.cancel()
            assert [(place.slots._free, len(place.idle)) for place in pool._places.values()] == [(1, 1)]
            return [each.fate for each in got]

    for _ in range(5):
        peer = Ending()
        got = uvloop.run(main(peer))
        assert (got[1], peer.most) == (Fate.DELIVERED, 1)
        assert peer.taken == ([b"b", b"d"] if got[0] is Fate.DEFERRED else [b"b", b"c", b"d"])
        peer.listening.close()


async def test_a_slow_peer_is_not_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp_client, "PROMPT_S", 0.04)
    slow = "".join(f"{offer(name)}{YES}...\nquiet\n<- 250 queued {name}\n" for name in "bcd")
    async with playing(GREETED + slow + END) as (peer, hop), pooled() as pool:
        assert await send_all(pool, hop, "b", "c", "d") == ["250 queued b", "250 queued c", "250 queued d"]
        assert peer.wrong == []


async def test_a_peer_without_pipelining_is_asked_step_by_step() -> None:
    greeted = "<- 220 hi\n-> EHLO us.example\n<- 250 peer\n"
    begin = "-> MAIL FROM:<a@x.example>\n<- 250 ok\n"
    steps = "".join(
        f"{begin}-> RCPT TO:<{name}@y.example>\n<- 250 ok\n-> DATA\n<- 354 go\n...\nquiet\n<- 250 queued {name}\n"
        for name in "bcd"
    )
    async with playing(greeted + steps + END) as (peer, hop), pooled() as pool:
        assert await send_all(pool, hop, "b", "c", "d") == ["250 queued b", "250 queued c", "250 queued d"]
        assert peer.wrong == []


async def test_a_session_ends_after_its_number_of_messages() -> None:
    first = f"{GREETED}{alone('b')}{offer('c')}{YES}...\n{offer('d')}<- 250 queued c\n{YES}...\n<- 250 queued d\n{END}"
    second = f"{GREETED}{alone('e')}{END}"
    async with playing(first, second) as (peer, hop), pooled(limits=Limits(per_hop=1, per_session=3)) as pool:
        assert await send_all(pool, hop, "b", "c", "d", "e") == [f"250 queued {name}" for name in "bcde"]
        assert peer.wrong == []


async def test_what_must_be_encrypted_does_not_go_on_in_clear() -> None:
    behind = f"{offer('c')}{YES}...\n<- 250 queued c\n{END}"
    async with playing(GREETED + alone("b") + behind, f"{GREETED}{END}") as (peer, hop), pooled() as pool, asyncio.timeout(10):
        await send(pool, hop, "b")
        got = await asyncio.gather(send(pool, hop, "c"), send(pool, hop, "d", encrypted=True))
        assert got[0].text == "250 queued c"
        assert "offers no STARTTLS" in got[1].text
        assert "MAIL" not in "".join(peer.wrong)


async def test_who_follows_and_has_nothing_to_say_leaves_the_session_at_rest() -> None:
    """An address that SMTP cannot carry is refused here; the message before is still to be answered, and is waited for."""
    first = f"{GREETED}{alone('b')}{offer('c')}{YES}...\nquiet\n<- 250 queued c\n{END}"
    limits = Limits(per_hop=1, per_session=3)
    async with playing(first, f"{GREETED}{alone('e')}{END}") as (peer, hop), pooled(limits=limits) as pool, asyncio.timeout(10):
        await send(pool, hop, "b")
        got = await asyncio.gather(send(pool, hop, "c"), send(pool, hop, "no blank"), send(pool, hop, "e"))
        assert [each.text for each in got] == ["250 queued c", "not an address that SMTP can carry", "250 queued e"]
        assert peer.wrong == []


async def test_a_session_that_comes_just_when_the_wait_is_over_is_used() -> None:
    async with Internet() as internet:
        host = await internet.add_host("mx.example")
        hop = Hop(host.name, host.address, host.port)
        async with pooled(limits=Limits(per_hop=1, wait_s=0.002)) as pool, asyncio.timeout(20):

            async def until_sent(name: str) -> None:
                while True:
                    try:
                        assert (await send(pool, hop, name)).fate is Fate.DELIVERED
                        return
                    except NoPlace:
                        await asyncio.sleep(0)

            await asyncio.gather(*(until_sent(f"b{n}") for n in range(200)))
        assert Counter(mail.recipients[0] for mail in internet.mailbox.messages) == {f"b{n}@y.example": 1 for n in range(200)}
        assert host.connections <= 3, "100 messages a session"


@pytest.mark.parametrize("seed", range(6))
async def test_every_mail_arrives_as_often_as_its_outcome_says(seed: int) -> None:
    """Among peers that refuse, defer, close early or late and count messages."""
    chance = random.Random(seed)
    kinds = ["b", "b", "b", "no-such-user", "full", "drop-after-dot", "421"]
    names = [f"{chance.choice(kinds)}+{n}" for n in range(150)]
    async with Internet() as internet:
        host = await internet.add_host("mx.example", Temper(max_messages=chance.choice([0, 3, 20])))
        hop = Hop(host.name, host.address, host.port)
        limits = Limits(per_hop=chance.choice([1, 2, 5]), per_session=chance.choice([0, 2, 50]))
        async with pooled(limits=limits) as pool, asyncio.timeout(30):
            got = dict(zip(names, await asyncio.gather(*(send(pool, hop, name) for name in names)), strict=True))
        arrived = Counter(mail.recipients[0].partition("@")[0] for mail in internet.mailbox.messages)
    for name, outcome in got.items():
        kind = name.partition("+")[0]
        expected = {"b": Fate.DELIVERED, "no-such-user": Fate.BOUNCED, "drop-after-dot": Fate.AMBIGUOUS}.get(kind, Fate.DEFERRED)
        assert outcome.fate is expected, (name, outcome)
        assert arrived[name] == (1 if expected in (Fate.DELIVERED, Fate.AMBIGUOUS) else 0), name
