"""sms_text.py against sms.md §3.2 and §13; gsm0338 is the oracle of the alphabet."""

import gsm0338
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurorasend import sms_text
from aurorasend.sms_text import Encoding, Rendered, Size

GSM7, UCS2 = Encoding.GSM7, Encoding.UCS2


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("a" * 160, Size(GSM7, 160, 1)),
        ("a" * 161, Size(GSM7, 161, 2)),
        ("a" * 306, Size(GSM7, 306, 2)),
        ("a" * 307, Size(GSM7, 307, 3)),
        ("a" * 158 + "€", Size(GSM7, 160, 1)),
        ("a" * 159 + "€", Size(GSM7, 161, 2)),
        ("[" * 80, Size(GSM7, 160, 1)),
        ("[" * 81, Size(GSM7, 162, 2)),
        ("你" * 70, Size(UCS2, 70, 1)),
        ("你" * 71, Size(UCS2, 71, 2)),
        ("你" * 134, Size(UCS2, 134, 2)),
        ("你" * 135, Size(UCS2, 135, 3)),
        ("🎉" * 35, Size(UCS2, 70, 1)),
        ("🎉" * 36, Size(UCS2, 72, 2)),
        ("a" * 159 + "ç", Size(UCS2, 160, 3)),
        ("", Size(GSM7, 0, 0)),
        ("`", Size(UCS2, 1, 1)),
        ("\t", Size(UCS2, 1, 1)),
    ],
)
def test_pieces_of_the_contracts_table(text: str, size: Size) -> None:
    assert sms_text.measure(text) == size


def septets(character: str) -> int:
    """By the oracle; 0 when GSM 03.38 lacks it. The oracle also takes the page break and the escape itself, which the
    contract does not count as characters."""
    try:
        return 0 if character in "\f\x1b" else len(character.encode("gsm03.38"))
    except UnicodeEncodeError:
        return 0


def test_the_alphabet_is_that_of_gsm_03_38() -> None:
    assert gsm0338.Codec is not None  # importing it registers the codec
    for point in range(0xD800):
        character = chr(point)
        expected = septets(character)
        size = sms_text.measure(character)
        assert size == (Size(GSM7, expected, 1) if expected else Size(UCS2, 1, 1)), f"U+{point:04X}"


@given(st.text(max_size=400))
def test_pieces_hold_the_text(text: str) -> None:
    size = sms_text.measure(text)
    if size.pieces > 1:
        assert (size.pieces - 1) * size.encoding.piece < size.units <= size.pieces * size.encoding.piece
    else:
        assert size.units <= size.encoding.alone * size.pieces


def test_rendering_is_one_pass() -> None:
    assert sms_text.render("Your code is %code%", {"code": "%code%"}) == Rendered("Your code is %code%", ())
    assert sms_text.render("%a%%b%", {"a": "%b", "b": "1"}).text == "%b1"


def test_rendering_tells_what_is_missing_and_ignores_what_is_not_asked_for() -> None:
    assert sms_text.render("%a% and %b-2% or %c%", {"b-2": "x", "extra": "y"}) == Rendered("%a% and x or %c%", ("a", "c"))


def test_percent_signs_that_are_no_placeholder_stay() -> None:
    assert sms_text.render("50% off, 100%code%, %bad name%", {"code": "1"}).text == "50% off, 1001, %bad name%"
    assert sms_text.placeholders("50% off %code% %code% %Name%") == {"code", "Name"}


def test_names_are_case_sensitive() -> None:
    assert sms_text.render("%Code%", {"code": "1"}).missing == ("Code",)


def test_the_signature_stands_before_or_behind() -> None:
    assert sms_text.sign("Hi", "ACME", behind=False) == "【ACME】Hi"
    assert sms_text.sign("Hi", "ACME", behind=True) == "Hi【ACME】"
    assert sms_text.sign("Hi", "", behind=True) == "Hi"
