"""The client against scripted peers (odd dialogs as text), the simulator and aiosmtpd, on both event loops."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from aiosmtpd.controller import Controller

from aurorasend.mx import Hop
from aurorasend.outcome import Fate, Outcome
from aurorasend.simulator import Internet, Temper
from aurorasend.smtp_client import Parcel, Session, Terms, Timeouts, TlsMode, connect
from aurorasend.smtp_wire import CHUNK
from tests.scripted_peer import Peer, playing

LETTER = b"Subject: hello\r\n\r\nHello\r\n"
QUICK = Timeouts(connect_s=1, reply_s=0.2, body_s=0.3, end_s=0.2, quit_s=0.2, total_s=2)
PATIENT = Timeouts(connect_s=10, reply_s=10, body_s=10, end_s=10, quit_s=10, total_s=30)
TERMS = Terms("us.example", timeouts=PATIENT)
HASTY = Terms("us.example", timeouts=QUICK)  # for a peer that is silent; one that answers may be slow on a busy machine


@pytest.fixture(scope="module", params=[asyncio.DefaultEventLoopPolicy(), uvloop.EventLoopPolicy()], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> Iterator[Any]:
    return request.param


GREETED = "<- 220 hi\n-> EHLO us.example\n<- 250 peer"
PIPELINED = "<- 220 hi\n-> EHLO us.example\n<- 250-peer\n<- 250 PIPELINING"
OFFER = "-> MAIL FROM:<a@x.example>\n-> RCPT TO:<b@y.example>\n-> DATA"
TAKEN = f"{PIPELINED}\n{OFFER}\n<- 250 ok\n<- 250 ok\n<- 354 go"


async def converse(
    dialog: str, to: tuple[str, ...] = ("b@y.example",), terms: Terms = TERMS, message: bytes = LETTER
) -> tuple[list[Outcome], Session | None, list[str]]:
    """The outcomes of one transaction (or of the failed opening), the session and what the peer did not expect."""
    async with playing(dialog) as (peer, hop):
        got = await connect(hop, terms)
        if isinstance(got, Outcome):
            return [got] * len(to), None, peer.wrong
        outcomes = await got.send(Parcel("a@x.example", to, message))
        reusable = got.reusable
        got.abort()
        async with asyncio.timeout(1):
            await peer.done.wait()
        if not reusable:
            assert not got.reusable
        return outcomes, got, peer.wrong


@pytest.mark.parametrize(
    ("dialog", "fate", "sub_status", "text"),
    [
        # opening
        ("close", "deferred", 403, "connection lost"),
        ("reset", "deferred", 403, "lost"),
        ("silence", "deferred", 403, "no reply in time"),
        ("<- 554 no service\nclose", "bounced", 409, "554 no service"),
        ("<- 554 5.7.1 your IP is on a blocklist\nclose", "bounced", 405, "blocklist"),
        ("<- 421 4.3.2 busy\nclose", "deferred", 503, "421 4.3.2 busy"),
        ("<- 450 later\nclose", "deferred", 506, "450 later"),
        ("<- hello, is this HTTP?\nsilence", "deferred", 403, "not an SMTP reply"),
        ("<- 2xx hi\nsilence", "deferred", 403, "not an SMTP reply"),
        ("<- 199 hi\nsilence", "deferred", 403, "not an SMTP reply"),
        ("<- 600 hi\nsilence", "deferred", 403, "not an SMTP reply"),
        ("<! \\xff\\xfe\\x00\\n\nsilence", "deferred", 403, "not an SMTP reply"),
        ("<- 220-hi\n<- 250 other code\nsilence", "deferred", 403, "not an SMTP reply"),
        ("<! 220 " + "x" * 3000 + "\nsilence", "deferred", 403, "too long"),
        ("<! " + "220-x\\r\\n" * 101 + "\nsilence", "deferred", 403, "reply too long"),
        ("<- 354 hi\nsilence", "deferred", 509, "354 hi"),
        ("<- 220 hi\n<- 250 unasked\nsilence", "deferred", 403, "without a command"),
        ("<- 220 hi\n-> EHLO us.example\nclose", "deferred", 403, "at EHLO: connection lost"),
        ("<- 220 hi\n-> EHLO us.example\n<- 421 bye\nclose", "deferred", 503, "421 bye"),
        ("<- 220 hi\n-> EHLO us.example\n<- 550 no\n-> HELO us.example\n<- 550 no\nclose", "bounced", 409, "550 no"),
        # MAIL
        (f"{GREETED}\n-> MAIL FROM:<a@x.example>\nclose", "deferred", 403, "connection lost"),
        (f"{GREETED}\n-> MAIL FROM:<a@x.example>\nsilence", "deferred", 403, "no reply in time"),
        (f"{GREETED}\n-> MAIL FROM:<a@x.example>\n<- 550 5.1.1 no such user\nsilence", "bounced", 408, "550"),
        (f"{GREETED}\n-> MAIL FROM:<a@x.example>\n<- 354 go\nsilence", "deferred", 509, "354 go"),
        (f"{PIPELINED}\n{OFFER}\n<- 451 later\n<- 503 MAIL first\n<- 503 MAIL first\nsilence", "deferred", 503, "451 later"),
        (f"{PIPELINED}\n{OFFER}\n<- 421 4.7.0 too many messages\nclose", "deferred", 505, "421 4.7.0 too many"),
        # RCPT
        (f"{PIPELINED}\n{OFFER}\n<- 250 ok\nclose", "deferred", 403, "at RCPT: connection lost"),
        (
            f"{PIPELINED}\n{OFFER}\n<- 250 ok\n<- 550-5.1.1 no\n<- 550 5.1.1 such user\n<- 554 none\nsilence",
            "bounced",
            406,
            "550 5.1.1 no such user",
        ),
        (f"{PIPELINED}\n{OFFER}\n<- 250 ok\n<- 550 no such user\n<- 354 go\n-> .\n<- 554 no\nsilence", "bounced", 406, "550"),
        # DATA
        (f"{PIPELINED}\n{OFFER}\n<- 250 ok\n<- 250 ok\nclose", "deferred", 403, "at DATA: connection lost"),
        (f"{PIPELINED}\n{OFFER}\n<- 250 ok\n<- 250 ok\nsilence", "deferred", 403, "no reply in time"),
        (f"{PIPELINED}\n{OFFER}\n<- 250 ok\n<- 250 ok\n<- 451 4.3.0 no\nsilence", "deferred", 503, "451"),
        (f"{PIPELINED}\n{OFFER}\n<- 250 ok\n<- 250 ok\n<- 250 what\nsilence", "deferred", 403, "answered DATA with 250"),
        (f"{PIPELINED}\n{OFFER}\n<- 250 ok\n<- 250 ok\n<- 421 bye\nclose", "deferred", 503, "421 bye"),
        # the message
        (f"{TAKEN}\n...\n<- 250 2.0.0 queued\nsilence", "delivered", 0, "250 2.0.0 queued"),
        (f"{TAKEN}\n...\n<- 550 5.7.1 looks like spam\nsilence", "bounced", 407, "spam"),
        (f"{TAKEN}\n...\n<- 550 5.1.1 no such user\nsilence", "bounced", 406, "550"),
        (f"{TAKEN}\n...\n<- 451 4.3.0 try again\nsilence", "deferred", 503, "451"),
        (f"{TAKEN}\n...\n<- 421 4.3.0 bye\nclose", "deferred", 503, "421"),
        (f"{TAKEN}\n...\nclose", "ambiguous", 503, "connection lost"),
        (f"{TAKEN}\n...\nreset", "ambiguous", 503, "lost"),
        (f"{TAKEN}\n...\nsilence", "ambiguous", 503, "no reply in time"),
        (f"{TAKEN}\n...\n<- what?\nsilence", "ambiguous", 503, "not an SMTP reply"),
        (f"{TAKEN}\n...\n<- 354 more\nsilence", "ambiguous", 503, "354 more"),
        (f"{TAKEN}\n...\n<! 250-half\\r\\n\nclose", "ambiguous", 503, "connection lost"),
    ],
)
async def test_dialog(dialog: str, fate: str, sub_status: int, text: str) -> None:
    (got,), _, wrong = await converse(dialog, terms=HASTY if text == "no reply in time" else TERMS)
    assert (got.fate, got.sub_status) == (Fate(fate), sub_status), got
    assert text in got.text
    assert not [each for each in wrong if "instead of" in each], wrong


async def test_mixed_answers_to_recipients_are_told_apart() -> None:
    to = ("b@y.example", "c@y.example", "d@y.example", "e@y.example")
    offer = "-> MAIL FROM:<a@x.example>\n" + "".join(f"-> RCPT TO:<{each}>\n" for each in to) + "-> DATA"
    outcomes, session, wrong = await converse(
        f"{PIPELINED}\n{offer}\n<- 250 ok\n<- 250 ok\n<- 550 5.1.1 no such user\n<- 452 4.2.2 full\n<- 250 ok\n<- 354 go\n...\n"
        "<- 250 queued\nsilence",
        to,
    )
    assert [got.fate.value for got in outcomes] == ["delivered", "bounced", "deferred", "delivered"]
    assert [got.suppress for got in outcomes] == [False, True, False, False]
    assert session is not None
    assert not session.interrupted
    assert wrong == []


async def test_421_among_the_recipients_leaves_the_earlier_answers_in_force() -> None:
    to = ("b@y.example", "c@y.example", "d@y.example")
    outcomes, session, _ = await converse(
        f"{PIPELINED}\n-> MAIL FROM:<a@x.example>\n<- 250 ok\n<- 550 5.1.1 no such user\n<- 421 4.3.2 going down\nclose", to
    )
    assert [(got.fate.value, got.sub_status) for got in outcomes] == [("bounced", 406), ("deferred", 503), ("deferred", 503)]
    assert session is not None
    assert session.interrupted


async def test_a_refusal_of_a_message_to_several_recipients_suppresses_none() -> None:
    to = ("b@y.example", "c@y.example")
    outcomes, _, _ = await converse(
        f"{PIPELINED}\n-> MAIL FROM:<a@x.example>\n<- 250 ok\n<- 250 ok\n<- 250 ok\n<- 354 go\n...\n"
        "<- 550 5.1.1 no such user\nsilence",
        to,
    )
    assert [(got.sub_status, got.suppress) for got in outcomes] == [(406, False), (406, False)]


async def test_a_loss_after_the_dot_is_no_reason_to_try_elsewhere_and_one_before_is() -> None:
    _, session, _ = await converse(f"{TAKEN}\n...\nclose")
    assert session is not None
    assert not session.interrupted
    _, session, _ = await converse(f"{PIPELINED}\n{OFFER}\n<- 250 ok\nclose")
    assert session is not None
    assert session.interrupted


async def test_an_unfinished_transaction_is_reset_before_the_next() -> None:
    refused = "-> MAIL FROM:<a@x.example>\n-> RCPT TO:<b@y.example>\n-> DATA\n<- 250 ok\n<- 550 no\n<- 554 none"
    again = "-> RSET\n-> MAIL FROM:<a@x.example>\n-> RCPT TO:<b@y.example>\n-> DATA\n<- 250 ok\n<- 250 ok\n<- 250 ok\n<- 354 go"
    async with playing(f"{PIPELINED}\n{refused}\n{again}\n...\n<- 250 queued\n-> QUIT\n<- 221 bye\nclose") as (peer, hop):
        session = await connect(hop, TERMS)
        assert isinstance(session, Session)
        parcel = Parcel("a@x.example", ["b@y.example"], LETTER)
        assert (await session.send(parcel))[0].fate is Fate.BOUNCED
        assert session.reusable
        assert (await session.send(parcel))[0].fate is Fate.DELIVERED
        session.leave()
        await asyncio.wait_for(session.left(), 1)
        assert peer.wrong == []


async def test_without_pipelining_each_command_waits_for_its_answer() -> None:
    lock_step = (
        "-> MAIL FROM:<a@x.example>\n<- 250 ok\n-> RCPT TO:<b@y.example>\n<- 250 ok\n-> DATA\n<- 354 go\n...\n<- 250 queued"
    )
    (got,), session, wrong = await converse(f"{GREETED}\n{lock_step}\nsilence")
    assert (got.fate, wrong) == (Fate.DELIVERED, [])
    assert session is not None
    assert session.out_ip == got.out_ip == "127.0.0.1"


async def test_without_pipelining_data_is_not_asked_for_when_nobody_is_taken() -> None:
    (got,), _, wrong = await converse(
        f"{GREETED}\n-> MAIL FROM:<a@x.example>\n<- 250 ok\n-> RCPT TO:<b@y.example>\n<- 550 5.1.1 no\nsilence"
    )
    assert (got.sub_status, wrong) == (406, [])


async def test_helo_serves_where_ehlo_is_not_known() -> None:
    (got,), _, wrong = await converse(
        "<- 220 hi\n-> EHLO us.example\n<- 502 what?\n-> HELO us.example\n<- 250 peer\n"
        "-> MAIL FROM:<a@x.example>\n<- 250 ok\n-> RCPT TO:<b@y.example>\n<- 250 ok\n-> DATA\n<- 354 go\n...\n<- 250 ok\nsilence"
    )
    assert (got.fate, wrong) == (Fate.DELIVERED, [])


async def test_a_peer_that_answers_just_in_time_for_ever_meets_the_hard_deadline() -> None:
    slow = "\n".join(["<! 2", "<! 2"] * 40)

    class Dripping(Peer):
        async def step(self, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            await asyncio.sleep(0.05)
            writer.write(b"220-x\r\n")
            return True

    server = await asyncio.start_server((peer := Dripping(slow)).play, "127.0.0.1", 0)
    hop = Hop("peer.example", "127.0.0.1", server.sockets[0].getsockname()[1])
    began = asyncio.get_running_loop().time()
    got = await connect(hop, Terms("us.example", timeouts=Timeouts(reply_s=5, total_s=0.4)))
    assert isinstance(got, Outcome)
    assert got.fate is Fate.DEFERRED
    assert asyncio.get_running_loop().time() - began < 1.5
    server.close()
    for task in peer.tasks:
        task.cancel()
    await asyncio.gather(*peer.tasks, return_exceptions=True)


async def test_a_peer_that_takes_nothing_of_a_long_message_is_given_up_before_its_end() -> None:
    big = b"x" * 998 + b"\r\n"
    (got,), session, _ = await converse(f"{TAKEN}\nsilence", terms=HASTY, message=big * 20_000)
    assert got.fate is Fate.DEFERRED, "the end never left, so it cannot have been accepted"
    assert session is not None
    assert session.interrupted


async def test_the_answer_to_a_message_that_took_all_the_time_there_is_still_counts() -> None:
    """What has its end is perhaps taken; not to wait for the answer would be to send it again."""
    terms = Terms("us.example", timeouts=Timeouts(connect_s=1, reply_s=5, body_s=5, end_s=10, quit_s=0.2, total_s=1))
    (got,), *_ = await converse(TAKEN + "\n..." + "\npause" * 30 + "\n<- 250 2.0.0 queued\nsilence", terms=terms)
    assert (got.fate, got.text) == (Fate.DELIVERED, "250 2.0.0 queued")


async def test_a_refusal_in_the_middle_of_a_long_message_counts() -> None:
    big = b"x" * 998 + b"\r\n"
    (got,), session, _ = await converse(f"{TAKEN}\npause\n<- 552 5.3.4 too large\nsilence", message=big * 20_000)
    assert (got.fate, got.sub_status) == (Fate.BOUNCED, 409)
    assert session is not None
    assert not session.reusable


async def test_a_reply_nobody_asked_for_is_not_taken_for_that_to_the_message() -> None:
    (got,), session, _ = await converse(
        f"{PIPELINED}\n{OFFER}\n<! 250 ok\\r\\n250 ok\\r\\n354 go\\r\\n250 delivered\\r\\n\nsilence"
    )
    assert got.fate is Fate.DEFERRED
    assert session is not None
    assert session.interrupted


async def test_nobody_listens() -> None:
    got = await connect(Hop("mx.example", "127.0.0.1", 1), TERMS)
    assert isinstance(got, Outcome)
    assert (got.fate, got.sub_status, got.event) == (Fate.DEFERRED, 403, "invalid")


async def test_no_address_of_the_family_is_an_outcome() -> None:
    got = await connect(Hop("mx.example", "127.0.0.1", 25), Terms("us.example", local_ip="::1", timeouts=PATIENT))
    assert isinstance(got, Outcome)
    assert got.fate is Fate.DEFERRED


async def test_cancelling_ends_the_session() -> None:
    async with playing(f"{PIPELINED}\n{OFFER}\nsilence") as (_, hop):
        session = await connect(hop, Terms("us.example"))
        assert isinstance(session, Session)
        task = asyncio.ensure_future(session.send(Parcel("a@x.example", ["b@y.example"], LETTER)))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not session.reusable


# -- STARTTLS and AUTH

OFFERS_TLS = "<- 220 hi\n-> EHLO us.example\n<- 250-peer\n<- 250 STARTTLS\n-> STARTTLS"


async def test_replies_injected_before_the_handshake_are_refused() -> None:
    for injected in ("<! 220 go\\r\\n250 injected\\r\\n", "<! 220 go\\r\\n250-half"):
        terms = Terms("us.example", tls=TlsMode.REQUIRE, timeouts=PATIENT)
        (got,), session, _ = await converse(f"{OFFERS_TLS}\n{injected}\nsilence", terms=terms)
        assert (session, got.fate, got.sub_status) == (None, Fate.DEFERRED, 403)
        assert "without a command" in got.text or "in clear" in got.text


async def test_required_tls_never_falls_back_to_clear() -> None:
    terms = Terms("us.example", tls=TlsMode.REQUIRE, timeouts=PATIENT)
    for dialog in (f"{PIPELINED}\nsilence", f"{OFFERS_TLS}\n<- 454 no\nsilence", f"{OFFERS_TLS}\n<- 220 go\n<! nonsense\nclose"):
        (got,), session, wrong = await converse(dialog, terms=terms)
        assert (session, got.fate) == (None, Fate.DEFERRED)
        assert wrong == []


async def test_opportunistic_tls_goes_on_in_clear_over_a_new_connection() -> None:
    async with Internet() as internet:
        host = await internet.add_host("mx.example", Temper(starttls=True))
        host.temper.context.minimum_version = ssl.TLSVersion.TLSv1_3
        terms = Terms("us.example", timeouts=PATIENT)
        terms.context.maximum_version = ssl.TLSVersion.TLSv1_2  # so no handshake can succeed
        session = await connect(Hop(host.name, host.address, host.port), terms)
        assert isinstance(session, Session)
        assert (await session.send(Parcel("a@x.example", ["b@y.example"], LETTER)))[0].fate is Fate.DELIVERED
        session.abort()
        assert internet.mailbox.messages[0].tls == ""
        assert host.connections == 2


async def test_tls_is_used_when_offered_without_a_look_at_the_certificate() -> None:
    async with Internet() as internet:
        host = await internet.add_host("mx.example", Temper(starttls=True))
        session = await connect(Hop(host.name, host.address, host.port), Terms("us.example"))
        assert isinstance(session, Session)
        for _ in range(2):
            assert (await session.send(Parcel("a@x.example", ["b@y.example"], LETTER)))[0].fate is Fate.DELIVERED
        session.leave()
        await asyncio.wait_for(session.left(), 2)
        assert [message.tls for message in internet.mailbox.messages] == ["TLSv1.3", "TLSv1.3"]


async def test_a_certificate_that_must_be_valid_and_is_not_defers() -> None:
    async with Internet() as internet:
        host = await internet.add_host("mx.example", Temper(starttls=True))
        got = await connect(Hop(host.name, host.address, host.port), Terms("us.example", tls=TlsMode.VERIFY))
        assert isinstance(got, Outcome)
        assert (got.fate, got.sub_status) == (Fate.DEFERRED, 403)
        assert "certificate" in got.text.lower()


@pytest.mark.parametrize("password", ["right", "wrong"])
async def test_login_to_a_smart_host(password: str) -> None:
    async with Internet() as internet:
        host = await internet.add_host("relay.example", Temper(starttls=True, login=("me", "right")))
        got = await connect(Hop(host.name, host.address, host.port), Terms("us.example", login=("me", password)))
        if password == "wrong":
            assert isinstance(got, Outcome)
            assert (got.fate, got.suppress) == (Fate.DEFERRED, False)
            assert "535" in got.text
            return
        assert isinstance(got, Session)
        await got.send(Parcel("a@x.example", ["b@y.example"], LETTER))
        got.abort()
        assert internet.mailbox.messages[0].user == "me"


async def test_auth_login_where_plain_is_not_offered() -> None:
    (got,), _, wrong = await converse(
        "<- 220 hi\n-> EHLO us.example\n<- 250-peer\n<- 250 AUTH=LOGIN\n-> AUTH LOGIN\n<- 334 VXNlcm5hbWU6\n-> bWU=\n"
        "<- 334 UGFzc3dvcmQ6\n-> c2VjcmV0\n<- 235 ok\n-> MAIL FROM:<a@x.example>\nclose",
        terms=Terms("us.example", login=("me", "secret"), timeouts=PATIENT),
    )
    assert (got.fate, wrong) == (Fate.DEFERRED, [])


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Terms("us.example", login=("me", "secret")))


# -- what leaves


@pytest.mark.parametrize(
    "address", ["a b@y.example", "a@y.example>\r\nRCPT TO:<c@y.example", "a\nb@y.example", "", "a@y.example\x00", "<a@y.example>"]
)
async def test_an_address_that_could_break_out_is_refused_here(address: str) -> None:
    (got, other), _, _ = await converse(f"{TAKEN}\n...\n<- 250 ok\nsilence", (address, "b@y.example"))
    assert (got.fate, got.sub_status, other.fate) == (Fate.BOUNCED, 404, Fate.DELIVERED)


def test_a_helo_that_could_break_out_is_refused() -> None:
    with pytest.raises(ValueError, match="helo"):
        Terms("us.example\r\nMAIL FROM:<x@y>")


# -- extensions, against the simulator


@asynccontextmanager
async def simulated(temper: Temper) -> AsyncIterator[tuple[Internet, Session]]:
    async with Internet() as internet:
        host = await internet.add_host("mx.example", temper)
        session = await connect(Hop(host.name, host.address, host.port), Terms("us.example", timeouts=PATIENT))
        assert isinstance(session, Session)
        yield internet, session
        session.abort()


async def test_an_international_address_needs_smtputf8() -> None:
    to = ["用户@y.example", "b@bücher.example"]
    async with simulated(Temper()) as (internet, session):
        outcomes = await session.send(Parcel("a@x.example", to, LETTER))
        assert [got.fate for got in outcomes] == [Fate.DELIVERED] * 2
        assert internet.mailbox.messages[0].recipients == ("用户@y.example", "b@xn--bcher-kva.example")
        assert "SMTPUTF8" in internet.mailbox.messages[0].parameters
    async with simulated(Temper(smtputf8=False)) as (internet, session):
        outcomes = await session.send(Parcel("a@x.example", to, LETTER))
        assert [got.fate for got in outcomes] == [Fate.BOUNCED, Fate.DELIVERED], "a domain alone has an ASCII form"
        (got,) = await session.send(Parcel("a@x.example", ["b@y.example"], LETTER, smtputf8=True))
        assert (got.fate, got.sub_status, got.suppress) == (Fate.BOUNCED, 409, False)


async def test_size_and_8bitmime_are_said_when_offered() -> None:
    eight = b"Subject: x\r\n\r\n\xc3\xa4\r\n"
    async with simulated(Temper(size_bytes=1000)) as (internet, session):
        await session.send(Parcel("a@x.example", ["b@y.example"], eight))
        assert internet.mailbox.messages[0].parameters == f"SIZE={len(eight) + 3} BODY=8BITMIME"
        await session.send(Parcel("", ["b@y.example"], LETTER))
        assert (internet.mailbox.messages[1].mail_from, internet.mailbox.messages[1].parameters) == ("", "SIZE=28")
        (got,) = await session.send(Parcel("a@x.example", ["b@y.example"], b"x" * 1000))
        assert (got.fate, got.sub_status) == (Fate.BOUNCED, 409)
        assert session.reusable
    async with simulated(Temper(eightbit=False)) as (internet, session):
        await session.send(Parcel("a@x.example", ["b@y.example"], eight))
        assert "8BITMIME" not in internet.mailbox.messages[0].parameters


async def test_a_long_message_arrives_whole() -> None:
    lines = b"".join(b".%d\r\n" % n for n in range(60_000))
    assert len(lines) > 4 * CHUNK
    async with simulated(Temper()) as (internet, session):
        assert (await session.send(Parcel("a@x.example", ["b@y.example"], lines)))[0].fate is Fate.DELIVERED
        assert internet.mailbox.messages[0].content == lines


# -- against an independent server


class Sink:
    def __init__(self) -> None:
        self.envelopes: list[Any] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if address.startswith("no"):
            return "550 5.1.1 User unknown"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.envelopes.append(envelope)
        return "250 2.0.0 taken"


async def test_aiosmtpd_takes_what_we_send() -> None:
    sink = Sink()
    controller = Controller(sink, hostname="127.0.0.1", port=0, enable_SMTPUTF8=True)
    server = await asyncio.get_running_loop().create_server(controller.factory, "127.0.0.1", 0)
    try:
        session = await connect(Hop("aiosmtpd.example", "127.0.0.1", server.sockets[0].getsockname()[1]), TERMS)
        assert isinstance(session, Session)
        outcomes = await session.send(Parcel("a@x.example", ["b@y.example", "no@y.example"], b"Subject: x\r\n\r\n.\r\n..\r\nend"))
        assert [got.sub_status for got in outcomes] == [0, 406]
        (got,) = await session.send(Parcel("a@x.example", ["no@y.example"], LETTER))
        assert got.suppress
        (got,) = await session.send(Parcel("", ["c@y.example"], LETTER))
        assert got.text == "250 2.0.0 taken"
        session.leave()
        await asyncio.wait_for(session.left(), 2)
    finally:
        server.close()
    assert [(each.mail_from, each.rcpt_tos, each.content) for each in sink.envelopes] == [
        ("a@x.example", ["b@y.example"], b"Subject: x\r\n\r\n.\r\n..\r\nend\r\n"),
        ("<>", ["c@y.example"], LETTER),  # aiosmtpd's way to write the null sender
    ]
