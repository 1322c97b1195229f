"""Declared fields: order, blank values, codes, conditions."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated

import pytest

from aurorasend import carrier
from aurorasend.carrier import File, Parameters
from aurorasend.codes import Code, Refused
from aurorasend.fields import (
    FARTHEST,
    EndDate,
    Field,
    FileField,
    Form,
    Kind,
    Limit,
    Parser,
    Seen,
    Start,
    StartDate,
    Trouble,
    boolean,
    integer,
    line,
    number,
    parser,
    period,
    text,
    wall_time,
)


@parser(Kind.TOO_MANY)
def two_words(given: str) -> tuple[str, ...]:
    words = tuple(given.split(";"))
    if len(words) > 2:
        raise Trouble(Kind.TOO_MANY, f"{len(words)} words")
    if "bad" in words:
        raise Trouble(Kind.INVALID)
    return words


Subject = Annotated[
    str, Field("subject", line(10), invalid=Code.SUBJECT_INVALID, empty=Code.SUBJECT_EMPTY, too_long=Code.TO_INVALID)
]
To = Annotated[
    tuple[str, ...],
    Field(
        "to",
        two_words,
        joined=True,
        empty=Code.TO_EMPTY,
        invalid=Code.TO_INVALID,
        too_many=Code.TO_TOO_MANY,
        aliases=("recipients",),
        when=lambda seen: seen.peek("listed") is not True,
        required=lambda seen: not seen.peek("headers"),
    ),
]
Headers = Annotated[str, Field("headers", text(), json=True, invalid=Code.HEADERS_INVALID, empty=Code.HEADERS_EMPTY)]
Listed = Annotated[bool, Field("listed", boolean, invalid=Code.USE_ADDRESS_LIST_INVALID)]


@dataclass(frozen=True, kw_only=True)
class Send:
    subject: Subject
    to: To = ()
    headers: Headers | None = None
    listed: Listed = False

    def check(self) -> None:
        if self.subject == "whole":
            raise Refused(Code.CONTENT_EMPTY)


def query(text: str) -> Parameters:
    return carrier.read(text.encode(), "", b"")


def code_of(form: Form[object], raw: Parameters) -> Code:
    with pytest.raises(Refused) as caught:
        form.read(raw)
    return caught.value.code


SEND: Form[Send] = Form(Send)


def test_reads_typed_values_and_defaults() -> None:
    assert SEND.read(query("SUBJECT=+Hi+&Recipients=a&to=&x=1")) == Send(subject="Hi", to=("a",))
    assert SEND.read(query("subject=Hi&to=a&to=b&listed=False")) == Send(subject="Hi", to=("a", "b"))


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("", Code.SUBJECT_EMPTY),
        ("subject=&to=a", Code.SUBJECT_EMPTY),
        ("subject=%20%09&to=a", Code.SUBJECT_EMPTY),
        ("subject=a%0Db&to=a", Code.SUBJECT_INVALID),
        ("subject=%ff&to=a", Code.SUBJECT_INVALID),
        ("subject=12345678901&to=a", Code.TO_INVALID),
        ("subject=Hi", Code.TO_EMPTY),
        ("subject=Hi&to=a&to=b;c", Code.TO_TOO_MANY),
        ("subject=Hi&to=bad", Code.TO_INVALID),
        ("subject=Hi&to=bad&headers=%20", Code.TO_INVALID),
        ("subject=Hi&to=a&headers=%20", Code.HEADERS_EMPTY),
        ("subject=Hi&to=a&listed=maybe", Code.USE_ADDRESS_LIST_INVALID),
        ("subject=whole&to=a", Code.CONTENT_EMPTY),
        ("subject=whole&to=a&listed=maybe", Code.USE_ADDRESS_LIST_INVALID),
    ],
)
def test_first_failure_in_order_of_declaration_answers(given: str, code: Code) -> None:
    assert code_of(SEND, query(given)) is code


@pytest.mark.parametrize("body", [b'{"subject":"Hi","to":[%b1]}', b'{"subject":"Hi","to":"%b1"}'])
def test_a_list_of_millions_is_not_taken_apart(body: bytes) -> None:
    raw = carrier.read(b"", "application/json", body % (b"1," * carrier.MAX_LIST))
    assert code_of(SEND, raw) is Code.TO_TOO_MANY


def test_blank_optional_counts_as_absent_unless_it_has_a_code() -> None:
    assert SEND.read(query("subject=Hi&to=a&headers=&listed=%20%20")) == Send(subject="Hi", to=("a",))


def test_later_fields_decide_about_earlier_ones() -> None:
    assert SEND.read(query("subject=Hi&to=bad&listed=1")) == Send(subject="Hi", listed=True)
    assert SEND.read(query("subject=Hi&headers={}")) == Send(subject="Hi", headers="{}")
    # what decides is wrong itself: it counts as not given, and answers at its own turn
    assert code_of(SEND, query("subject=Hi&to=bad&listed=maybe")) is Code.TO_INVALID


def test_nested_json_is_for_fields_that_take_it() -> None:
    nested = carrier.read(b"", "application/json", b'{"subject": "Hi", "to": ["a", "b"], "headers": {"X": 1}}')
    assert SEND.read(nested) == Send(subject="Hi", to=("a", "b"), headers='{"X": 1}')
    assert type(SEND.read(nested).headers) is str
    wrong = carrier.read(b"", "application/json", b'{"subject": {"a": 1}, "to": "a"}')
    assert code_of(SEND, wrong) is Code.SUBJECT_INVALID


def test_codes_of_a_form_are_all_that_its_fields_name() -> None:
    assert SEND.codes == {
        *(Code.SUBJECT_EMPTY, Code.SUBJECT_INVALID, Code.TO_INVALID, Code.TO_EMPTY, Code.TO_TOO_MANY),
        *(Code.HEADERS_EMPTY, Code.HEADERS_INVALID, Code.USE_ADDRESS_LIST_INVALID),
    }


def test_a_kind_without_a_code_is_an_error_of_the_declaration() -> None:
    with pytest.raises(ValueError, match="too_long"):
        Field("subject", text(3), invalid=Code.SUBJECT_INVALID)


def test_wrong_declarations_fail_at_import() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Bare:
        a: str

    @dataclass(frozen=True, kw_only=True)
    class NoEmpty:
        listed: Listed

    for wrong in (Bare, NoEmpty):
        with pytest.raises(TypeError):
            Form(wrong)


def test_files() -> None:
    def parse(files: tuple[File, ...], given: str) -> tuple[bytes, ...]:
        if given:
            raise Refused(Code.ATTACHMENT_INVALID)
        return tuple(file.data for file in files)

    @dataclass(frozen=True, kw_only=True)
    class Upload:
        files: Annotated[
            tuple[bytes, ...], FileField("attachments", parse, aliases=("files",), raises=(Code.ATTACHMENT_INVALID,))
        ] = ()

    @dataclass(frozen=True, kw_only=True)
    class Anything:
        files: Annotated[tuple[bytes, ...], FileField("attachments", parse, any_name=True)] = ()

    sent = Parameters({}, {}, (File("Files", "a", "", b"1"), File("other", "b", "", b"2"), File("attachments", "c", "", b"3")))
    assert Form(Upload).read(sent).files == (b"1", b"3")
    assert Form(Anything).read(sent).files == (b"1", b"2", b"3")
    assert Form(Upload).read(query("")).files == ()
    assert code_of(Form(Upload), query("files=@./test.txt")) is Code.ATTACHMENT_INVALID


@pytest.mark.parametrize(
    ("shared", "good", "bad"),
    [
        (boolean, {"true": True, "True": True, "1": True, "FALSE": False, "0": False}, ["yes", "2", "-1", "tru"]),
        (integer(0, 100), {"0": 0, "100": 100, "+7": 7, "007": 7}, ["101", "-1", "1.0", "1e2", "two", "٣", "1" * 30, "0x1"]),
        (integer(1), {"1": 1, str(2**53 - 1): 2**53 - 1}, ["0", "-4", str(2**53), "abc", "1;2"]),
        (number(1), {"1": 1, "0" * 30 + "7": 7, str(2**53): FARTHEST, "9" * 99: FARTHEST}, ["0", "-1", "1.0", "x", "9" * 101]),
        (line(), {"a b": "a b", "é测🚀": "é测🚀"}, ["a\rb", "a\nb", "a\0b", "a\x0bb", "a\x85b", "a\u2028b", "a\u2029b"]),
        (text(), {"a\nb": "a\nb"}, ["a\0b"]),
    ],
)
def test_shared_parsers(shared: Parser[object], good: dict[str, object], bad: list[str]) -> None:
    assert {given: shared.read(given) for given in good} == good
    for given in bad:
        with pytest.raises(Trouble) as caught:
            shared.read(given)
        assert caught.value.kind is Kind.INVALID


@dataclass(frozen=True, kw_only=True)
class Page:
    start: Start = 0
    limit: Limit = 100
    first: StartDate | None = None
    last: EndDate | None = None


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("start=%20", Code.START_EMPTY),
        ("start=two", Code.START_INVALID),
        ("start=-1", Code.START_INVALID),
        ("limit=%20", Code.LIMIT_EMPTY),
        ("limit=101", Code.LIMIT_INVALID),
        ("limit=1.5", Code.LIMIT_INVALID),
        ("startDate=2026-1-1", Code.START_DATE_INVALID),
        ("startDate=2026-02-30", Code.START_DATE_INVALID),
        ("endDate=20260101", Code.END_DATE_INVALID),
    ],
)
def test_paging_and_dates(given: str, code: Code) -> None:
    assert code_of(Form(Page), query(given)) is code


def test_paging_defaults() -> None:
    assert Form(Page).read(query("start=&limit=")) == Page()
    assert Form(Page).read(query("limit=0&startDate=2026-02-01")) == Page(limit=0, first=date(2026, 2, 1))


def test_other_names_of_the_same_parameters() -> None:
    form = Form(Page, lambda name: name.replace("startDate", "start_date"))
    assert [slot.field.wire for slot in form.shown] == ["start", "limit", "start_date", "endDate"]
    for name in ("start_date", "startDate", "STARTDATE"):
        assert form.read(query(f"{name}=2026-02-01")) == Page(first=date(2026, 2, 1))
    assert code_of(form, query("start_date=x")) is Code.START_DATE_INVALID


def test_period() -> None:
    today = date(2026, 3, 10)
    one, nine = date(2026, 3, 1), date(2026, 3, 9)
    assert period(1, None, None, today=today, longest=30) == (today, today)
    assert period(5, one, nine, today=today, longest=30) == (one, nine)
    assert period(2, None, one, today=today, longest=30) == (nine, today)
    for days, first, last, code in [
        (None, None, None, Code.START_DATE_INVALID),
        (None, None, nine, Code.START_DATE_INVALID),
        (None, one, None, Code.END_DATE_INVALID),
        (None, nine, one, Code.END_DATE_INVALID),
        (None, one, nine, Code.END_DATE_INVALID),
        (9, None, None, Code.DAYS_INVALID),
    ]:
        with pytest.raises(Refused) as caught:
            period(days, first, last, today=today, longest=8)
        assert caught.value.code is code


@dataclass(frozen=True, kw_only=True)
class Stay:
    first: StartDate | None = None
    last: EndDate | None = None
    limit: Limit = 100

    @classmethod
    def check_last(cls, seen: Seen) -> None:
        if (seen.peek("first") is None) != (seen.peek("last") is None):
            raise Refused(Code.END_DATE_INVALID)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("startDate=2026-02-01&limit=x", Code.END_DATE_INVALID),
        ("startDate=x&limit=x", Code.START_DATE_INVALID),
        ("startDate=2026-02-01&endDate=2026-02-01&limit=x", Code.LIMIT_INVALID),
        ("limit=x", Code.LIMIT_INVALID),
    ],
)
def test_what_fields_mean_together_is_checked_in_its_turn(given: str, code: Code) -> None:
    assert code_of(Form(Stay), query(given)) is code


def test_a_check_is_of_a_field() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Wrong:
        limit: Limit = 100

        @classmethod
        def check_start(cls, seen: Seen) -> None:
            """Of a field that is not there."""

    with pytest.raises(TypeError, match="start"):
        Form(Wrong)


@pytest.mark.parametrize("text", ["2099-1-31 12:00:00", "2099-01-31 1:00:00", "2099-01-31  12:00:00", "2099-01-31T12:00:00", "x"])
def test_times_have_one_form(text: str) -> None:
    assert wall_time.read("9999-12-31 23:59:59") == datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001 the API's clock
    with pytest.raises(Trouble):
        wall_time.read(text)
