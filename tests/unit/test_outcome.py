"""events.md §11.2 over real-looking replies; the table with the reasons is replies.tsv."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurorasend.outcome import (
    MAX_TEXT,
    SUB_STATUS,
    Fate,
    Outcome,
    Reply,
    Stage,
    bad_address,
    clean,
    judge,
    judge_dsn,
    no_such_domain,
    unreachable,
    without_suppression,
)


def corpus() -> list[list[str]]:
    lines = (Path(__file__).parent / "replies.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def test_the_corpus_is_large_and_its_rows_are_whole() -> None:
    rows = corpus()
    assert len(rows) >= 60
    assert all(len(row) == 7 for row in rows)
    assert {int(row[4]) for row in rows} >= set(SUB_STATUS) - {401, 402} | {0}, "each class of the contract has a row"


@pytest.mark.parametrize("row", corpus(), ids=lambda row: f"{row[0]} {row[1]} {row[2][:40]}")
def test_reply(row: list[str]) -> None:
    stage, code, text, fate, sub_status, suppress, _ = row
    got = judge(Reply(int(code), text), Stage[stage], out_ip="192.0.2.9")
    event = "deliver" if fate == "delivered" else "soft_bounce" if sub_status.startswith("5") else "invalid"
    assert got == Outcome(Fate(fate), clean(f"{code} {text}"), int(sub_status), event, "192.0.2.9", suppress == "yes")


@given(st.integers(200, 599), st.text(max_size=80), st.sampled_from(Stage))
def test_any_reply_has_an_outcome_that_fits_the_contract(code: int, text: str, stage: Stage) -> None:
    got = judge(Reply(code, text), stage)
    if got.fate is Fate.DELIVERED:
        assert code < 300
        assert (got.sub_status, got.event) == (0, "deliver")
    else:
        assert got.sub_status in SUB_STATUS
        assert got.event == ("soft_bounce" if got.sub_status >= 500 else "invalid")
    assert not got.suppress or (got.sub_status == 406 and stage in (Stage.RCPT, Stage.DATA, Stage.END))
    assert code >= 500 or got.fate is not Fate.BOUNCED


def test_a_reply_to_several_recipients_suppresses_none() -> None:
    reply = Reply(550, "5.1.1 User unknown")
    assert judge(reply, Stage.END).suppress
    assert not judge(reply, Stage.END, shared=True).suppress
    assert judge(reply, Stage.END, shared=True).sub_status == 406
    assert not without_suppression(judge(reply, Stage.END)).suppress


def test_what_dns_and_syntax_say() -> None:
    assert no_such_domain("nowhere.example", "domain does not exist") == Outcome(
        Fate.BOUNCED, "nowhere.example: domain does not exist", 403, "invalid"
    )
    assert (bad_address("x").sub_status, bad_address("x").fate, bad_address("x").suppress) == (404, Fate.BOUNCED, False)
    assert (unreachable("x").sub_status, unreachable("x").event, unreachable("x").fate) == (403, "invalid", Fate.DEFERRED)


@pytest.mark.parametrize(
    ("status", "diagnostic", "sub_status", "suppress"),
    [
        ("5.1.1", "550 5.1.1 <a@example.com>: User unknown", 506, True),
        ("5.1.1", "", 506, True),
        ("5.0.0", "550 User unknown", 506, True),
        ("", "550 User unknown", 506, True),
        ("5.7.1", "554 5.7.1 Client host blocked using a blocklist", 505, False),
        ("5.7.1", "554 5.7.1 looks like spam", 507, False),
        ("5.7.1", "access denied", 508, False),
        ("5.4.4", "Host not found", 503, False),
        ("4.4.7", "delivery time expired", 509, False),
        ("4.1.1", "450 4.1.1 unverified address", 506, False),
        ("5.2.2", "552 5.2.2 mailbox full", 509, False),
        ("rubbish\r\n", "rubbish", 509, False),
        ("", "", 509, False),
    ],
)
def test_a_dsn_is_a_soft_bounce_of_the_same_class(status: str, diagnostic: str, sub_status: int, suppress: bool) -> None:
    got = judge_dsn(status, diagnostic)
    assert (got.fate, got.event, got.sub_status, got.suppress) == (Fate.BOUNCED, "soft_bounce", sub_status, suppress)


@given(st.text(max_size=2000))
def test_clean_text_is_one_bounded_printable_line(text: str) -> None:
    got = clean(text)
    assert len(got) <= MAX_TEXT
    assert len(got.splitlines()) <= 1
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F or 0xD800 <= ord(c) <= 0xDFFF for c in got)
    got.encode()


def test_clean_text_keeps_what_can_be_read() -> None:
    assert clean("550 5.1.1 用户不存在") == "550 5.1.1 用户不存在"
    assert clean("a\r\nX-Injected: b\x00\x1b[31m") == "a X-Injected: b [31m"
    assert clean("a\u202eb") == "a b"
