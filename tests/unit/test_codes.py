import re
from collections import Counter
from pathlib import Path

import pytest

from aurorasend.api import ENDPOINTS
from aurorasend.codes import Code, Refused
from tests import raised
from tests.unraised import UNRAISED

SEED = Path(__file__).with_name("seed_codes.txt").read_text().splitlines()

# conventions.md §10, the numbers of every table but the SMS one.
CONTRACT = {
    *(200, 404, 405, 413, 501, 6001, 40000, 50000, 50001),
    *range(40001, 40018),
    *range(40100, 40114),
    *range(40201, 40259),
    *(40301, 40401, 40402, 40403, 40404),
    *range(40501, 40523),
    *(40531, 40601, 40602, 40603, 40604),
    *range(40701, 40713),
    *range(40801, 40881),
    40886,
    *range(40901, 40914),
    *range(41001, 41017),
    *range(41101, 41120),
    *range(49901, 49907),
    *(51001, 51002, 51003, 51004, 51005, 51006, 51007, 51009),
}
SMS = {311, 312, 411, 412, 413, 421, 422, 431, 432, 433, 441, 451, 452, 461}
SMS |= {471, 472, 473, 474, 481, 482, 483, 496, 497, 498, 499, 601}


def test_numbers_are_unique_but_for_413() -> None:
    counted = Counter(code.number for code in Code)
    assert {number for number, times in counted.items() if times > 1} == {413}
    assert {code for code in Code if code.number == 413} == {Code.BODY_TOO_LARGE, Code.SMS_PHONE_REPEATED}


def test_the_table_is_complete_and_sorted() -> None:
    assert {code.number for code in Code} == CONTRACT | SMS
    systemwide, rest = [code.number for code in Code if code.number < 10_000], [c.number for c in Code if c.number >= 10_000]
    assert systemwide == sorted(systemwide)
    assert rest == sorted(rest)


@pytest.mark.parametrize("row", SEED)
def test_seed_row_is_there_with_its_meaning(row: str) -> None:
    number, _, meaning = row.partition(" ")
    assert meaning in [code.meaning for code in Code if code.number == int(number)]


def test_success_is_what_the_contract_says() -> None:
    succeeds = {200, 311, 40100, 40107, 40109, 40242, 40244, 40246, 40401, 40403, 40601, 40821, 40903, 49904, 51006}
    verdicts = {40905, 40906, 40907, 40909, 40910}
    assert {code.number for code in Code if code.ok} == succeeds | verdicts
    never_answered = verdicts | {49904, 40100, 40107, 40109, 40403, 40601, 40903}
    assert {code.number for code in Code if code.internal} == never_answered


def test_messages_of_the_seed() -> None:
    assert Code.SUCCESS.message == "request was successful"
    assert Code.AUTHENTICATION_FAILED.message == "authentication failed"
    assert Code.NOT_FOUND.message == "Not Found"
    assert re.search("(?i)request quota exceeded", Code.QUOTA_EXCEEDED.message)


def test_refused_says_the_catalogues_words_and_the_detail() -> None:
    assert Refused(Code.LIST_ALIAS_UNKNOWN, "x@maillist").text.endswith("to: x@maillist")
    assert Refused(Code.NOT_PERMITTED, "why", message="request rejected").text == "request rejected: why"
    assert Refused(Code.SUBJECT_EMPTY).text == "Subject cannot be empty"


# -- docs/codes.md


def test_the_table_of_tests_has_every_code_of_the_seed() -> None:
    text = raised.TABLE.read_text()
    rows = {int(line.split(" | ")[0].strip("| ")) for line in text.splitlines() if re.match(r"\| \d", line)}
    assert {int(row.partition(" ")[0]) for row in SEED} <= rows == CONTRACT | SMS
    assert raised.written(raised.read(text)) == text, f"not as it is generated: {raised.REGENERATE}"


def test_every_code_has_a_test_or_a_reason() -> None:
    assert set(raised.read(raised.TABLE.read_text())) == set(Code) - set(UNRAISED)


def test_what_no_endpoint_declares_has_a_reason_and_nothing_else_has() -> None:
    declared = {code for each in ENDPOINTS for code in each.codes}
    assert set(UNRAISED) == set(Code) - declared - set(raised.ROUTING)


@pytest.mark.parametrize("whole", [True, False])
def test_a_run_tells_which_code_lost_its_test(whole: bool) -> None:
    named = {Code.START_EMPTY: "t.py::a", Code.START_INVALID: "t.py::a", Code.LIMIT_EMPTY: "t.py::gone"}
    seen = raised.Seen(whole)
    seen.add("t.py::a", ["START_EMPTY", "LABEL_CREATED"])
    seen.add("t.py::b", ["START_INVALID", "LIMIT_EMPTY"])
    lost, by_part = seen.lost(named), ["40002 START_INVALID is no longer raised by t.py::a"]
    assert [sentence for sentence in lost if "40002" in sentence] == by_part
    assert any("40003 LIMIT_EMPTY is no longer raised by t.py::gone" in sentence for sentence in lost) is whole
    assert any("40004 LIMIT_INVALID is raised by no test" in sentence for sentence in lost) is whole
    assert any("40100 LABEL_CREATED is raised by t.py::a, but" in sentence for sentence in lost)
    assert not any("40001" in sentence for sentence in lost)
    kept = {Code.LIMIT_EMPTY: "t.py::b" if whole else "t.py::gone"}
    assert seen.renamed(named) == {Code.START_EMPTY: "t.py::a", Code.START_INVALID: "t.py::b", **kept}


def test_of_several_tests_the_most_particular_is_named() -> None:
    seen = raised.Seen()
    seen.add("t.py::all", ["START_EMPTY", "START_INVALID"])
    seen.add("t.py::one", ["START_EMPTY"])
    assert seen.renamed({}) == {Code.START_EMPTY: "t.py::one", Code.START_INVALID: "t.py::all"}
    assert seen.renamed({Code.START_EMPTY: "t.py::all"})[Code.START_EMPTY] == "t.py::all"


def test_names_of_tests() -> None:
    assert raised.plain_name("tests/a.py::test_b[x@y::z]@group") == raised.plain_name("tests/a.py::test_b@group")
