"""phone.py against sms.md §3.1."""

import pytest

from aurorasend import phone
from aurorasend.phone import Phone


def read(text: str, *, domestic: bool = True) -> list[Phone]:
    return [phone.parse(part, domestic=domestic, home="86") for part in phone.split(text)]


def test_the_contracts_own_sample_works_with_its_plus_lost() -> None:
    assert read(" 1234567890") == [Phone("+1234567890", "+1234567890")]


def test_a_leading_space_restores_the_plus_of_every_number_that_begins_with_one() -> None:
    assert read(" 6591234567, 14155550123,13800138000") == [
        Phone("+6591234567", "+6591234567"),
        Phone("+14155550123", "+14155550123"),
        Phone("13800138000", "+8613800138000"),
    ]


def test_without_a_leading_space_spaces_are_only_trimmed() -> None:
    assert read("13800138000, 13900139000 ") == [
        Phone("13800138000", "+8613800138000"),
        Phone("13900139000", "+8613900139000"),
    ]


@pytest.mark.parametrize(
    ("written", "e164"),
    [
        ("+6591234567", "+6591234567"),
        ("006591234567", "+6591234567"),
        ("6591234567", "+6591234567"),
        ("+65 (9123)-4567", "+6591234567"),
        ("+86 138 0013 8000", "+8613800138000"),
        ("13800138000", "+8613800138000"),
        ("+13800138000", "+13800138000"),
        ("0013800138000", "+13800138000"),
        ("12345678901", "+12345678901"),
        ("123456", "+123456"),
        ("123456789012345", "+123456789012345"),
    ],
)
def test_forms_of_a_number(written: str, e164: str) -> None:
    assert read(written) == [Phone(written, e164)]


def test_an_international_message_never_takes_a_bare_number_as_domestic() -> None:
    assert read("13800138000", domestic=False) == [Phone("13800138000", "+13800138000")]


def test_without_a_home_bare_digits_begin_with_their_country() -> None:
    assert phone.parse("13800138000", domestic=True, home="").e164 == "+13800138000"


@pytest.mark.parametrize(
    "written",
    [
        "", "+", "12345", "1234567890123456", "+0123456789", "000123456789", "0138001380", "+65x1234",
     "١٢٣٤٥٦٧", "++659123456", "65912\n34567",
    ],
)
def test_what_is_no_number(written: str) -> None:
    assert [p.e164 for p in read(written)] == [None]


def test_empty_elements_are_kept_so_that_each_can_be_refused() -> None:
    assert [p.shown for p in read("+6591234567,,;")] == ["+6591234567", "", "", ""]


def test_an_encoded_plus_behind_a_space_is_not_doubled() -> None:
    assert read(" +6591234567") == [Phone("+6591234567", "+6591234567")]


def test_the_same_number_in_two_spellings_is_repeated() -> None:
    assert phone.has_repeated(read("+8613800138000,13800138000"))
    assert not phone.has_repeated(read("+8613800138000,+8613800138001,12,12"))


def test_calling_code_of_a_country() -> None:
    assert phone.calling_code("CN") == "86"
    assert phone.calling_code("SG") == "65"
    assert phone.calling_code("") == ""
    with pytest.raises(ValueError, match="'XX'"):
        phone.calling_code("XX")
