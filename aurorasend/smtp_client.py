"""SMTP to one next hop: a session that carries one message after the other.

Called by pool; calls smtp_wire and outcome. Always: what the peer says or fails to say ends in an Outcome per
recipient, never in an exception; every phase and the whole transaction have deadlines; when the connection ends after
the final dot was handed over and before its reply, the outcome is AMBIGUOUS, and before it DEFERRED unless a 5xx came (RFC 5321,
RFC 2920 pipelining, also of the next transaction behind a message, RFC 3207 STARTTLS, RFC 1870 SIZE, RFC 6152 8BITMIME,
RFC 6531 SMTPUTF8, RFC 4954 AUTH).
"""

import asyncio
import re
import ssl
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from ipaddress import ip_address
from typing import NamedTuple

from aurorasend.address import ascii_domain, is_address
from aurorasend.mx import Hop
from aurorasend.outcome import Outcome, Reply, Stage, ambiguous, bad_address, judge, unfit, unreachable
from aurorasend.smtp_wire import CHUNK, Wire, wire_form

# What may stand between < and >: printable ASCII without blanks and angle brackets; the rest is asked of is_address.
_plain_path = re.compile(r"[!-;=?-~]{1,254}").fullmatch
_safe_helo = re.compile(r"[A-Za-z0-9._\[\]:-]{1,255}").fullmatch

PROMPT_S = 1.0  # the end of a message answered within this: who follows behind the next one will not wait long
PATIENCE_S = 5.0  # and waits no longer than this for its end
FOLLOWED_S = 60.0  # then its own replies may take so long; alone it would have `reply_s`
_CONFUSED = range(500, 505)  # commands that the peer does not know, or did not expect now


class TlsMode(Enum):
    """STARTTLS with a next hop."""

    OFF = "off"
    OPPORTUNISTIC = "opportunistic"  # certificate not checked; in clear when there is none or the handshake fails (RFC 7435)
    REQUIRE = "require"  # certificate not checked; without TLS the mail waits
    VERIFY = "verify"  # the certificate must be valid for the name of the hop, else the mail waits


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. The defaults are those of RFC 5321 §4.5.3.2, `connect_s` and `total_s` ours: a peer that keeps
    answering just in time shall not hold a session for ever."""

    connect_s: float = 30
    reply_s: float = 300  # to the greeting and to commands
    body_s: float = 180  # of the message, without any progress
    end_s: float = 600  # to the final dot
    quit_s: float = 5
    total_s: float = 1200  # one connection's opening, and each transaction to the end of the message


@dataclass(frozen=True)
class Terms:
    """How we present ourselves to a next hop. `local_ip` "" lets the system choose; `login` (user and password) is
    for a smart host, and goes out under TLS or to this machine only."""

    helo: str
    local_ip: str = ""
    tls: TlsMode = TlsMode.OPPORTUNISTIC
    login: tuple[str, str] | None = field(default=None, repr=False)
    timeouts: Timeouts = Timeouts()

    def __post_init__(self) -> None:
        if not _safe_helo(self.helo):
            raise ValueError("helo must be a host name or an address literal")

    @cached_property
    def encrypted(self) -> "Terms":
        """The same, but never in clear."""
        return self if self.tls in (TlsMode.REQUIRE, TlsMode.VERIFY) else replace(self, tls=TlsMode.REQUIRE)

    @cached_property
    def context(self) -> ssl.SSLContext:
        """Made once: loading the system's certificates takes milliseconds."""
        context = ssl.create_default_context()
        if self.tls is not TlsMode.VERIFY:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class Parcel(NamedTuple):
    """One message and whom it goes to. `mail_from` "" is the null sender. `smtputf8`: its headers need that. `encrypted`:
    only a session under TLS may have it."""

    mail_from: str
    recipients: Sequence[str]
    message: bytes | Sequence[bytes]
    smtputf8: bool = False
    encrypted: bool = False


class _Offer(NamedTuple):
    """The replies to MAIL, each RCPT and DATA; None where none came or none was asked for."""

    mail: Reply | None
    recipients: Sequence[Reply | None]
    data: Reply | None


async def connect(hop: Hop, terms: Terms) -> "Session | Outcome":
    """A session ready for mail, or what the failure means for the mail, which may then be tried at another hop."""
    session = Session(hop, terms)
    trouble = await session.open(terms.tls)
    if trouble is not None and session.tls_failed and terms.tls is TlsMode.OPPORTUNISTIC:
        session = Session(hop, terms)  # broken TLS is worse than none only when TLS was asked for
        trouble = await session.open(TlsMode.OFF)
    return session if trouble is None else trouble


class Session:
    """One connection to one next hop. For one task at a time, and one more: as soon as a message is handed over, the next
    transaction may begin (RFC 2920 §3.1). The pool sees to it."""

    def __init__(self, hop: Hop, terms: Terms) -> None:
        self.peer = hop
        self.out_ip = ""
        self.tls_failed = False
        self.messages = 0  # transactions begun
        self.encrypted = False
        self.interrupted = False  # the connection ended before the final dot of who has an answer now: try it elsewhere
        self.confused = False  # the peer did not take a transaction behind a message as it should, or not in time
        self.extensions: dict[str, str] = {}  # keyword -> parameters, as EHLO offered them
        self._terms = terms
        self._loop = asyncio.get_running_loop()
        self._wire: Wire
        self._begun = False  # a transaction is open at the peer: RSET before the next
        self._handed = 0  # messages whose end is not answered yet
        self._answers = 0  # to messages
        self._answered = 0.0  # loop time of the last one
        self._prompt = False
        self._ends = 0.0  # loop time of the hard deadline of who came last

    @property
    def reusable(self) -> bool:
        return not self._wire.lost and not self._wire.deserted

    @property
    def may_follow(self) -> bool:
        """Whether a transaction may begin before the message that was just handed over is answered."""
        return self._prompt and self.reusable and "PIPELINING" in self.extensions

    async def open(self, tls: TlsMode) -> Outcome | None:
        """Connect, greet, encrypt, log in. None when all is well."""
        self._ends = self._loop.time() + self._terms.timeouts.total_s
        try:
            trouble = (
                await self._dial()
                or await self._greet()
                or await self._hello()
                or await self._secure(tls)
                or await self._log_in()
            )
        except BaseException:
            self.abort()
            raise
        if trouble is not None:
            self.abort()
        return trouble

    async def send(self, parcel: Parcel, handed_over: Callable[[], bool] = lambda: False) -> list[Outcome]:
        """One transaction: an outcome per recipient, in their order. `handed_over` is called once the whole message is on
        its way, and says whether somebody goes on in this session. Cancelling it ends the session."""
        try:
            return await self._transact(parcel, handed_over)
        except BaseException:
            self.abort()
            raise

    def leave(self) -> None:
        """QUIT without waiting for it."""
        self._wire.leave(self._terms.timeouts.quit_s)

    async def left(self) -> None:
        """Wait for the end that `leave` or `abort` began."""
        await self._wire.ended()

    def abort(self) -> None:
        """Close at once."""
        if hasattr(self, "_wire"):
            self._wire.end("aborted")

    # -- opening

    async def _dial(self) -> Outcome | None:
        hop, terms = self.peer, self._terms
        local = (terms.local_ip, 0) if terms.local_ip else None
        try:
            async with asyncio.timeout(min(terms.timeouts.connect_s, terms.timeouts.total_s)):
                _, self._wire = await self._loop.create_connection(Wire, hop.address, hop.port, local_addr=local)
        except TimeoutError:
            return unreachable(f"{hop}: no connection within {terms.timeouts.connect_s:.0f} s", terms.local_ip)
        except OSError as problem:
            return unreachable(f"{hop}: {problem}", terms.local_ip)
        self.out_ip = (self._wire.transport.get_extra_info("sockname") or ("",))[0]
        return None

    async def _greet(self) -> Outcome | None:
        return self._unless_good(await self._reply(), Stage.GREETING)

    async def _hello(self) -> Outcome | None:
        """EHLO, and HELO for those who know no better (RFC 5321 §3.2)."""
        self.extensions = {}
        reply = await self._ask(f"EHLO {self._terms.helo}")
        if reply is not None and reply.code >= 500:
            return self._unless_good(await self._ask(f"HELO {self._terms.helo}"), Stage.EHLO)
        if reply is not None and reply.code < 300:
            offered = (line.replace("AUTH=", "AUTH ").partition(" ") for line in reply.text.split("\n")[1:])
            self.extensions = {keyword.upper(): parameters.upper() for keyword, _, parameters in offered}
        return self._unless_good(reply, Stage.EHLO)

    async def _secure(self, tls: TlsMode) -> Outcome | None:
        if tls is TlsMode.OFF:
            return None
        if "STARTTLS" not in self.extensions:
            if tls is TlsMode.OPPORTUNISTIC:
                return None
            return unreachable(f"{self.peer}: offers no STARTTLS, which is required", self.out_ip)
        self.tls_failed = True
        reply = await self._ask("STARTTLS")
        if reply is None or reply.code != 220:
            return self._unless_good(reply, Stage.TLS) or unreachable(f"{self.peer}: STARTTLS refused: {reply}", self.out_ip)
        name = self.peer.host if not _is_ip(self.peer.host) else self.peer.address
        if not await self._wire.start_tls(self._terms.context, name, self._left(self._terms.timeouts.reply_s)):
            return self._lost(Stage.TLS)
        self.tls_failed = False
        self.encrypted = True
        return await self._hello()  # RFC 3207 §4.2: what was said in clear is forgotten

    async def _log_in(self) -> Outcome | None:
        if self._terms.login is None:
            return None
        if not self.encrypted and not ip_address(self.peer.address).is_loopback:
            return unreachable(f"{self.peer}: no TLS, so no password is sent", self.out_ip)
        known = self.extensions.get("AUTH", "").split()
        user, password = (part.encode() for part in self._terms.login)
        if "PLAIN" in known:
            reply = await self._ask("AUTH PLAIN " + b64encode(b"\0" + user + b"\0" + password).decode())
        elif "LOGIN" in known:
            reply = await self._ask("AUTH LOGIN")
            for secret in (user, password):
                if reply is not None and reply.code == 334:
                    reply = await self._ask(b64encode(secret).decode())
        else:
            return unreachable(f"{self.peer}: offers neither AUTH PLAIN nor LOGIN", self.out_ip)
        return self._unless_good(reply, Stage.AUTH)

    # -- a transaction

    async def _transact(self, parcel: Parcel, handed_over: Callable[[], bool]) -> list[Outcome]:
        self._ends = self._loop.time() + self._terms.timeouts.total_s
        self.interrupted = False
        self.messages += 1
        octets = wire_form(parcel.message)
        paths = [_path(address) for address in parcel.recipients]
        outcomes = [self._refuse(path, parcel, len(octets)) for path in paths]
        open_ = [n for n, outcome in enumerate(outcomes) if outcome is None]
        if open_:
            offer = await self._offer(self._mail(parcel, paths, octets), [paths[n] or "" for n in open_])
            for n, outcome in zip(open_, self._judge_offer(offer), strict=True):
                outcomes[n] = outcome
            open_ = [n for n in open_ if outcomes[n] is None]
            if offer.data is not None and offer.data.code == 354 and not self._wire.lost:  # an empty message if for nobody
                ending = await self._message(octets if open_ else b".\r\n", handed_over, shared=len(open_) > 1)
                for n in open_:
                    outcomes[n] = ending
        else:
            await self._wire.replies(0, 0)  # who has the session next finds it at rest
        return [outcome for outcome in outcomes if outcome is not None]

    def _refuse(self, path: str | None, parcel: Parcel, size: int) -> Outcome | None:
        """What is known to be hopeless before a word is said."""
        if path is None:
            return bad_address("not an address that SMTP can carry")
        limit = self.extensions.get("SIZE", "")
        if limit.isdigit() and 0 < int(limit[:18]) < size:
            return unfit(f"{self.peer}: message of {size} octets is larger than its limit of {limit}", self.out_ip)
        if "SMTPUTF8" not in self.extensions and (parcel.smtputf8 or not path.isascii() or not parcel.mail_from.isascii()):
            return unfit(f"{self.peer}: 5.6.7 takes no international addresses (no SMTPUTF8)", self.out_ip)
        return None

    def _mail(self, parcel: Parcel, paths: Sequence[str | None], octets: bytes) -> str:
        sender = _path(parcel.mail_from) if parcel.mail_from else ""
        if sender is None:
            raise ValueError("the sender is not an address")  # ours to make, so a bug
        command = f"MAIL FROM:<{sender}>"
        if "SIZE" in self.extensions:
            command += f" SIZE={len(octets)}"
        if "8BITMIME" in self.extensions and not octets.isascii():  # without it sent as it is: most pass it on
            command += " BODY=8BITMIME"
        if parcel.smtputf8 or not sender.isascii() or not all(path is None or path.isascii() for path in paths):
            command += " SMTPUTF8"
        return command

    async def _offer(self, mail: str, recipients: Sequence[str]) -> _Offer:
        """MAIL, RCPT and DATA: in one write when the peer takes it so (RFC 2920), else one by one."""
        rset = 1 if self._begun else 0
        follows, before = self._handed > 0, self._answers
        self._begun = True
        if "PIPELINING" not in self.extensions:
            return await self._offer_singly(mail, recipients, rset)
        lines = ["RSET"] * rset + [mail, *(f"RCPT TO:<{path}>" for path in recipients), "DATA\r\n"]
        count = len(lines)
        self._wire.write("\r\n".join(lines).encode(), count)
        reply_s = self._left(self._terms.timeouts.reply_s)
        if follows:
            got: list[Reply | None] = [*await self._wire.replies_behind(count, min(reply_s, FOLLOWED_S), PATIENCE_S)]
        else:
            got = [*await self._wire.replies(count, reply_s)]
        got += [None] * (count - len(got))
        offer = _Offer(got[rset], got[rset + 1 : -1], got[-1])
        if self._wire.deserted:  # by us: one that stalls so is not gone on with again, so that it has few sessions
            self.confused = True
            return offer
        if not follows or not self._is_confused(offer, before):
            return offer
        self.confused = True
        self._wire.end(f"not ready for commands behind a message: {offer.mail}")
        return _Offer(None, [None] * len(recipients), None)

    def _is_confused(self, offer: _Offer, before: int) -> bool:
        """Whether what a peer says to an offer behind a message may mean that it lost it, or did not expect it yet. That is no
        answer to the mail: it is asked again alone, and a true refusal costs a connection. `before` is the number of answers
        to messages when the offer was made."""
        was_long = self._wire.late or self._loop.time() - self._answered > PROMPT_S
        is_lost = offer.mail is None or offer.mail.code == 421 or None in offer.recipients
        if self._answers > before and was_long and is_lost:
            return True
        if offer.mail is not None and offer.mail.code >= 500:
            return True
        if any(reply is not None and _is_out_of_order(reply) for reply in offer.recipients):
            return True
        is_taken = any(reply is not None and reply.code < 300 for reply in offer.recipients)
        return is_taken and offer.data is not None and _is_out_of_order(offer.data)

    async def _offer_singly(self, mail: str, recipients: Sequence[str], rset: int) -> _Offer:
        if rset:
            await self._ask("RSET")
        answer = await self._ask(mail)
        replies: list[Reply | None] = [None] * len(recipients)
        if answer is None or answer.code >= 300:
            return _Offer(answer, replies, None)
        for n, path in enumerate(recipients):
            replies[n] = await self._ask(f"RCPT TO:<{path}>")
        if not any(reply is not None and reply.code < 300 for reply in replies):
            return _Offer(answer, replies, None)
        return _Offer(answer, replies, await self._ask("DATA"))

    def _judge_offer(self, offer: _Offer) -> list[Outcome | None]:
        """None for the recipients whose fate the message decides."""
        self.interrupted = not self.reusable
        if offer.mail is None or offer.mail.code >= 300:
            refused = self._unless_good(offer.mail, Stage.MAIL)
            return [refused] * len(offer.recipients)
        outcomes = [self._unless_good(reply, Stage.RCPT) for reply in offer.recipients]
        if self._wire.lost and (offer.data is None or offer.data.code == 354):
            outcomes = [outcome or self._lost(Stage.DATA) for outcome in outcomes]
        elif offer.data is None or offer.data.code != 354:
            shared = sum(outcome is None for outcome in outcomes) > 1
            trouble = self._unless_good(offer.data, Stage.DATA, shared) or self._out_of_step(offer.data)
            outcomes = [outcome or trouble for outcome in outcomes]
        return outcomes

    async def _message(self, octets: bytes, handed_over: Callable[[], bool], *, shared: bool) -> Outcome:
        """The message after 354. From the moment its end is handed over, silence is ambiguous."""
        timeouts = self._terms.timeouts
        if len(octets) <= CHUNK:
            self._wire.hold()
        whole = await self._wire.write_message(octets, timeouts.body_s, self._ends)
        # What has its end is perhaps taken: the answer is waited for, however long that took.
        end_s, begin = timeouts.end_s if whole else 0.0, self._loop.time()
        self._begun = False
        self._handed += whole
        if whole and handed_over():
            self._loop.call_soon(self._wire.let_go)  # who goes on comes before that, so that one packet has both
        else:
            self._wire.let_go()
        got = await self._wire.replies(1, end_s)
        self._handed -= whole
        now = self._loop.time()
        if got:
            self._answers, self._answered = self._answers + 1, now
        self._prompt = now - begin <= PROMPT_S
        if not whole:
            self.interrupted = True
            self._wire.end("the peer answered before the end of the message")
            early = got[0] if got and got[0].code >= 400 else None
            return judge(early, Stage.END, out_ip=self.out_ip, shared=shared) if early else self._lost(Stage.END)
        if not got or 300 <= got[0].code < 400:
            self._wire.end("out of step")
            return ambiguous(f"{self.peer}: after the end of the message: {got[0] if got else self._wire.lost}", self.out_ip)
        return judge(got[0], Stage.END, out_ip=self.out_ip, shared=shared)

    # -- replies

    async def _ask(self, command: str) -> Reply | None:
        self._wire.write(f"{command}\r\n".encode(), 1)
        return await self._reply()

    async def _reply(self) -> Reply | None:
        got = await self._wire.replies(1, self._left(self._terms.timeouts.reply_s))
        return got[0] if got else None

    def _left(self, timeout_s: float) -> float:
        """`timeout_s`, or what is left until the hard deadline."""
        return max(min(timeout_s, self._ends - self._loop.time()), 0.0)

    def _unless_good(self, reply: Reply | None, stage: Stage, shared: bool = False) -> Outcome | None:
        """None when `reply` says yes (2xx; 354 is asked for by name)."""
        if reply is None:
            return self._lost(stage)
        if reply.code < 300:
            return None
        if reply.code < 400:
            self._wire.end(f"out of step: {reply}")
        return judge(reply, stage, out_ip=self.out_ip, shared=shared)

    def _out_of_step(self, reply: Reply | None) -> Outcome:
        """2xx to DATA: client and peer no longer mean the same command."""
        self._wire.end("out of step")
        self.interrupted = True
        return unreachable(f"{self.peer}: answered DATA with {reply}", self.out_ip)

    def _lost(self, stage: Stage) -> Outcome:
        if self._wire.goodbye is not None:
            return judge(self._wire.goodbye, stage, out_ip=self.out_ip)
        return unreachable(f"{self.peer}: at {stage.value}: {self._wire.lost}", self.out_ip)


def _is_out_of_order(reply: Reply) -> bool:
    """RFC 5321 §4.2.4, and RFC 3463 §3.6 for those who refuse by 554."""
    return reply.code in _CONFUSED or (reply.code == 554 and reply.text.startswith("5.5."))


def _path(address: str) -> str | None:
    """`address` as it stands between < and >, its domain in A-labels; None when it must not stand there."""
    if _plain_path(address):
        return address
    if not is_address(address):
        return None
    local, _, domain = address.rpartition("@")
    return f"{local}@{ascii_domain(domain)}"


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
