"""What became of one attempt: a value, never an exception.

Called by smtp_client, pool, mx and routes, which turn what the outside said into an Outcome; read by delivery and
suppression. Always: only a reply about one mailbox, given after RCPT, can set `suppress`; a refusal of us (our
address, our login, our sender) never does. The table is spec events.md §11.2: the enhanced code is looked at
first (RFC 3463), then the words, then the basic code. Whether a refusal is final, the basic code alone says
(RFC 5321 §4.2.1): enhanced codes that disagree with it are common.
"""

import re
from enum import Enum
from typing import NamedTuple

import msgspec

MAX_TEXT = 500  # ours: characters of a reply that logs, webhooks and the store keep


class Fate(Enum):
    DELIVERED = "delivered"
    DEFERRED = "deferred"  # try again later
    BOUNCED = "bounced"  # refused for good
    HELD = "held"  # the customer or operator asked to wait
    SUPPRESSED = "suppressed"  # on a list of the account, never tried
    AMBIGUOUS = "ambiguous"  # connection lost after the final dot: perhaps delivered


class Outcome(msgspec.Struct, frozen=True):
    """`sub_status` and `event` follow events.md §11.2: what is told to the customer if this outcome is final
    (for DEFERRED and AMBIGUOUS: if it is still so when we give up)."""

    fate: Fate
    text: str  # cleaned for logs and webhooks, at most 500 characters
    sub_status: int = 0  # 401-409 with event "invalid", 503-509 with "soft_bounce", 0 when delivered
    event: str = ""  # "deliver", "invalid" or "soft_bounce"
    out_ip: str = ""  # our address of the SMTP session, "" if there was none
    suppress: bool = False  # "no such mailbox": the address enters the bounce list
    mx: str = ""  # with `suppress`: the best mail exchanger of the domain, where we asked for it


class Stage(Enum):
    """Which command a reply answers."""

    GREETING = "greeting"
    EHLO = "EHLO"
    TLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    END = "end of data"


class Reply(NamedTuple):
    """One SMTP reply. `text` is what followed the code, lines joined by LF, the enhanced code once."""

    code: int  # 200-599
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


# spec events.md §5.3, the guide's words where the sources differ
SUB_STATUS = {
    401: "in SendCloud blocklist",
    402: "unsubscribe",
    403: "server unreachable",
    404: "address format error",
    405: "IP and domain rejected",
    406: "address does not exist",
    407: "spam",
    408: "sender / recipient rejected",
    409: "others",
    503: "service not available",
    505: "ip or domain rejected",
    506: "email address does not exist",
    507: "spam",
    508: "sender / recipient rejected",
    509: "others",
}

_DELIVER, _INVALID, _SOFT = "deliver", "invalid", "soft_bounce"
_ABOUT_US = frozenset((Stage.GREETING, Stage.EHLO, Stage.TLS, Stage.AUTH, Stage.MAIL))

# C0, C1, line and paragraph separators, bidirectional overrides (they disguise log lines), lone surrogates.
_unclean = re.compile("[\x00-\x20\x7f-\xa0\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
# Addresses and links carry words of somebody else ("spam@...", "/help/blocked"): they say nothing about the cause.
_quoted = re.compile(r"https?://\S+|\bwww\.\S+|<[^>]*>|\S+@\S+", re.IGNORECASE)
_enhanced_first = re.compile(r"[245]\.(\d{1,3})\.(\d{1,3})(?!\d|\.\d)").match
_enhanced_last = re.compile(r"#\s?[245]\.(\d{1,3})\.(\d{1,3})(?!\d|\.\d)").search  # qmail: "no mailbox here (#5.1.1)"


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_GONE = r"(?:does not|doesn't|doesnt|do not|didn't|did not) exist|not found"
_ADDRESSEE = r"(?:user|recipient|mailbox|account|address|member)"

_OUR_NETWORK = _any(
    r"\bips?\b", r"client host", r"(?:block|black|deny)[ -]?list", r"(?:block|black)listed", r"\b(?:dns)?[rd]?bls?\b",
    r"spamhaus", r"spamcop", r"barracuda", r"\bsorbs\b", r"senderscore", r"reputation",
    r"\bspf\b", r"\bdkim\b", r"\bdmarc\b", r"unauthenticated", r"not authenticated", r"authentication (?:check|result|policy)",
    r"\bptr\b", r"\brdns\b", r"reverse[ -](?:dns|lookup|hostname)", r"\bhelo\b", r"\behlo\b",
    r"(?:sender|sending|from|your|envelope)(?:'s)? (?:\S+ )?domain", r"domain of (?:the )?sender", r"domain frequency",
)
_OUR_RATE = _any(
    r"\brate\b", r"rate[ -]?limit", r"too many", r"too (?:fast|quickly)", r"throttl", r"frequen", r"unusual", r"\bdomains?\b",
    r"exceed\S* (?:\S+ ){0,3}(?:limit|connections|messages)",
)
_SPAM = _any(
    r"\bspam(?:my|ming|mer|-like)?\b", r"anti-?spam", r"\bjunk\b", r"\bvirus", r"malware", r"phish", r"unsolicited",
    r"bulk mail", r"\bcontents?\b", r"\bDT:SPM\b", r"\bMI:SPB\b", r"suspicious", r"security issue", r"attachment",
    r"banned file", r"\bU[CB]E\b",
)
_SENDER = _any(
    r"\bsender", r"return[ -]?path", r"mail from", r"envelope[ -]from", r"from (?:address|header|field)", r"originator",
    r"\bfrom:",
)
_SYNTAX = _any(r"syntax", r"malformed", r"(?:bad|invalid|illegal) (?:\S+ ){0,2}(?:format|char)", r"address format", r"not rfc")
_NO_HOST = _any(
    rf"\b(?:host|hostname|domain|domain name|dns|mx|[a-z]+ record|route|server)\b[:,]? (?:\S+ ){{0,3}}(?:{_GONE}|unknown)",
    r"unknown (?:host|domain)", r"no such (?:host|domain)", r"unrouteable",
)
_NO_MAILBOX = _any(
    r"unknown (?:\S+ )?(?:user|recipient|mailbox|account|address|local)",
    r"(?:user|recipient|mailbox|account|local[ -]part) (?:is )?(?:unknown|not found|invalid)",
    rf"{_ADDRESSEE}\b(?: \S+){{0,6}}? (?:{_GONE})",
    r"no such (?:\S+ )?(?:user|recipient|mailbox|account|address|person|local)",
    r"no (?:mailbox|user|account) (?:here|by|with|named)", r"invalid (?:recipient|mailbox|user)",
    r"not a (?:known|valid) (?:user|recipient|mailbox)",
)
_NO_MAILBOX_AT_RCPT = _any(_GONE, r"unknown address", r"address unknown")
_TOO_LARGE = _any(r"(?:message|mail) (?:\S+ ){0,3}(?:too (?:big|long)|exceeds)", r"size limit", r"message size", r"too large")
_MAILBOX_FULL = _any(
    r"(?:mailbox|quota|inbox|storage)\b(?: \S+){0,4}? (?:full|exceeded)", r"over[ -]?quota", r"exceed\S* (?:\S+ ){0,2}quota",
    r"out of storage",
)
_POLICY = _any(
    r"(?:sender|recipient|address|mail|message|user)\b(?: \S+){0,4}? (?:refused|rejected|denied|blocked|disallowed|restricted)",
    r"access denied", r"relay", r"not (?:permitted|allowed|accepted|authori[sz]ed|welcome)", r"administrative prohibition",
    r"\bpolicy\b", r"prohibited", r"permission",
)
_GREYLIST = _any(r"gr[ea]y[ -]?list", r"try again in \d+", r"retry (?:in|after) \d+")


def judge(reply: Reply, stage: Stage, *, out_ip: str = "", shared: bool = False) -> Outcome:
    """The outcome of a recipient whose transaction ended with `reply` at `stage`.

    `shared`: the reply answers a message to several recipients, so it cannot tell which mailbox is meant and
    none is suppressed.
    """
    text = clean(str(reply))
    if reply.code < 300:
        return Outcome(Fate.DELIVERED, text, 0, _DELIVER, out_ip)
    if stage is Stage.TLS:
        return unreachable(text, out_ip)  # the peer cannot be spoken to as we must; nothing was said of the mail
    if stage is Stage.AUTH:
        # Our login failed: the operator's matter, so the mail waits for it (contract: silent).
        return Outcome(Fate.DEFERRED, text, 503, _SOFT, out_ip)
    if reply.code < 500:
        return Outcome(Fate.DEFERRED, text, _temporary(reply, stage), _SOFT, out_ip)
    sub_status = _permanent(reply, stage)
    suppress = sub_status == 406 and not shared
    return Outcome(Fate.BOUNCED, text, sub_status, event_of(sub_status), out_ip, suppress)


def judge_dsn(status: str, diagnostic: str) -> Outcome:
    """What a delivery status notification that came after the final 250 means (events.md §11.2, last row).

    `status` is the DSN's Status field ("5.1.1"), `diagnostic` its Diagnostic-Code without the type, either may be "".
    A DSN that speaks of a failure is final whatever its class: the peer has given up.
    """
    found = re.match(r"\s*([45]\d\d)\b[ -]?(.*)", diagnostic, re.DOTALL)
    code, words = (int(found[1]), found[2]) if found else (550, diagnostic)
    if not _enhanced(words) and re.fullmatch(r"[45]\.\d{1,3}\.\d{1,3}", status.strip()):
        words = f"{status.strip()} {words}"
    sub_status = _permanent(Reply(500 + code % 100, words), Stage.RCPT)
    soft = {403: 503, 405: 505, 406: 506, 407: 507, 408: 508}.get(sub_status, 509)
    suppress = sub_status == 406 and code >= 500 and not status.strip().startswith("4")
    return Outcome(Fate.BOUNCED, clean(f"{code} {words}" if found else words), soft, _SOFT, "", suppress)


def no_such_domain(domain: str, why: str) -> Outcome:
    """DNS says for certain that `domain` takes no mail: it is not there, has no host, or has a null MX (RFC 7505)."""
    return Outcome(Fate.BOUNCED, clean(f"{domain}: {why}"), 403, _INVALID)


def bad_address(text: str) -> Outcome:
    """The recipient is no address that SMTP can carry."""
    return Outcome(Fate.BOUNCED, clean(text), 404, _INVALID)


def unfit(text: str, out_ip: str = "") -> Outcome:
    """The peer cannot take this message, now or later: too large for it, or an address it has no extension for."""
    return Outcome(Fate.BOUNCED, clean(text), 409, _INVALID, out_ip)


def unreachable(text: str, out_ip: str = "") -> Outcome:
    """No answer that could be used: DNS, connection, TLS or timeout failure before the message could be accepted."""
    return Outcome(Fate.DEFERRED, clean(text), 403, _INVALID, out_ip)


def ambiguous(text: str, out_ip: str = "") -> Outcome:
    """The final dot was sent and no reply to it came: delivered, or not."""
    return Outcome(Fate.AMBIGUOUS, clean(text), 503, _SOFT, out_ip)


def clean(text: str) -> str:
    """`text` on one line, without control characters, at most 500 characters."""
    if len(text) <= MAX_TEXT and text.isascii() and text.isprintable():
        return text
    return _unclean.sub(" ", text[: 4 * MAX_TEXT]).strip()[:MAX_TEXT]


def event_of(sub_status: int) -> str:
    """The event that carries `sub_status`."""
    return _SOFT if sub_status >= 500 else _INVALID


def without_suppression(outcome: Outcome) -> Outcome:
    """The same, but of no consequence for the address."""
    return msgspec.structs.replace(outcome, suppress=False) if outcome.suppress else outcome


def _enhanced(text: str) -> tuple[int, int] | None:
    """Subject and detail of the enhanced code (RFC 2034), without the class, which the basic code tells."""
    found = _enhanced_first(text) or _enhanced_last(text)
    return (int(found[1]), int(found[2])) if found else None


def _own_words(reply: Reply) -> str:
    """What the peer says itself, single-spaced, bounded because it is searched many times."""
    return " ".join(_quoted.sub(" ", reply.text[: 4 * MAX_TEXT]).split())


def _permanent(reply: Reply, stage: Stage) -> int:
    words = _own_words(reply)
    enhanced = _enhanced(reply.text)
    found = (enhanced and _permanent_by_enhanced(enhanced, words)) or _permanent_by_words(reply.code, words, stage)
    sub_status = found or (509 if reply.code == 552 else 409)
    if stage in _ABOUT_US and sub_status in (404, 406):
        return 408  # said before any recipient was named: it is about our sender
    return sub_status


def _permanent_by_enhanced(enhanced: tuple[int, int], words: str) -> int:
    match enhanced:
        case (1, 1 | 6 | 10) | (2, 1):
            return 406
        case (1, 3):
            return 404
        case (1, 2) | (4, 4):  # ours: a relay found no host for the domain
            return 403
        case (1, 7 | 8):
            return 408
        case (2, 2):
            return 509
        case (2, 3) | (3, 4):  # ours: message too large, which comes with 552 as well
            return 409
        case (7, 20 | 21 | 22 | 23 | 24 | 25 | 26 | 27):  # RFC 7372, RFC 8601: DKIM, SPF, PTR, several, null MX of ours
            return 405
        case (7, _):
            return 405 if _OUR_NETWORK.search(words) else 407 if _SPAM.search(words) else 408
    return 0


def _permanent_by_words(code: int, words: str, stage: Stage) -> int:
    """Refusals of us come first: "PTR record not found" must not be taken for a missing mailbox."""
    if code in (550, 554) and _OUR_NETWORK.search(words):
        return 405
    if code in (550, 551, 553):
        if _SENDER.search(words):
            return 408
        if _NO_MAILBOX.search(words):
            return 406
        if _NO_HOST.search(words):
            return 403
        if stage is Stage.RCPT and _NO_MAILBOX_AT_RCPT.search(words):
            return 406
    if code in (501, 553) and stage is Stage.RCPT and (code == 501 or _SYNTAX.search(words)):
        return 404
    if _MAILBOX_FULL.search(words):
        return 509
    if code in (550, 554) and _SPAM.search(words):
        return 407
    if code in (550, 551, 553, 554) and _POLICY.search(words):
        return 408
    return 409 if _TOO_LARGE.search(words) else 0


def _temporary(reply: Reply, stage: Stage) -> int:
    words = _own_words(reply)
    match _enhanced(reply.text):
        case (1, 1):
            return 506
        case (1, 7 | 8):
            return 508
        case (2, 2):
            return 509
        case (3 | 4, _):
            return 503
        case (7, 20 | 21 | 22 | 23 | 24 | 25 | 26 | 27):
            return 505
    return _temporary_by_words(words) or {421: 503, 451: 503, 450: 506}.get(reply.code, 509)


def _temporary_by_words(words: str) -> int:
    if _GREYLIST.search(words):
        return 508
    if _OUR_NETWORK.search(words) or _OUR_RATE.search(words):
        return 505
    if _SPAM.search(words):
        return 507
    if _SENDER.search(words) or _POLICY.search(words):
        return 508
    return 0
