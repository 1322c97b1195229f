import re
from collections import Counter
from pathlib import Path

import pytest

from aurorasend.codes import Code, Refused

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
