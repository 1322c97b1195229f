"""The xsmtpapi value: every shape that real clients send, every code of mail.md §8.3, and nothing but Refused for junk."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurorasend.codes import Code, Refused
from aurorasend.xsmtpapi import MAX_OCTETS, XSmtpApi, names_domain, names_recipients, parse

A, B = "ann@example.org", "bob@example.org"


def test_the_example_of_the_contract() -> None:
    text = """{"to":["ann@example.org"," bob@example.org "],
     "sub":{"%name%":["Ann","Bob"],"%tier_text%":["%gold%","%silver%"]},
     "section":{"gold":"Thanks for ten years","%silver%":"Thanks for your trust"},
     "filters":{"open_tracking":{"settings":{"enable":"0"}}},
     "settings":{"unsubscribe":{"page_id":[562,562]}}}"""
    assert parse(text) == XSmtpApi(
        to=(A, B),
        variables=({"name": "Ann", "tier_text": "%gold%"}, {"name": "Bob", "tier_text": "%silver%"}),
        section={"gold": "Thanks for ten years", "silver": "Thanks for your trust"},
        track_open=False,
    )


def test_numbers_keep_the_text_they_have_in_the_json() -> None:
    values = '[288, 1989.0, 1e5, 0.10, true, false, null, {"a" : [1.0, "x y"]}, [ 1 ], "\\u00e9", -0, 12345678901234567890123]'
    value = parse(f'{{"to":{json.dumps([A] * 12)},"sub":{{"%v%":{values}}}}}')
    assert [row["v"] for row in value.variables] == [
        *("288", "1989.0", "1e5", "0.10", "true", "false", "", '{"a":[1.0,"x y"]}', "[1]", "é", "-0", "12345678901234567890123")
    ]


def test_null_members_count_as_absent() -> None:
    assert (
        parse('{"to":null,"sub":null,"pubsub":null,"section":null,"filters":null,"settings":null,"send_domain":null}')
        == XSmtpApi()
    )
    assert parse('{"filters":{"open_tracking":null,"click_tracking":{"settings":null}}}') == XSmtpApi()


def test_unknown_members_are_ignored() -> None:
    assert parse('{"category":["x"],"labelId":{"a":[[1]]}}') == XSmtpApi()


def test_an_empty_sub_is_fine() -> None:
    assert parse(json.dumps({"to": [A], "sub": {}})).variables == ({},)
    assert parse('{"sub":{}}') == XSmtpApi()


def test_keys_may_lack_the_percent_signs() -> None:
    assert parse(json.dumps({"to": [A], "sub": {"name": ["Ann"]}})).variables == ({"name": "Ann"},)


def test_pubsub_beats_sub_whatever_sub_is() -> None:
    value = parse(json.dumps({"to": [A], "sub": [["broken"]], "pubsub": {"%code%": 1.50, "n": None}}).replace("1.5", "1.50"))
    assert value.pubsub == {"code": "1.50", "n": ""}
    assert value.variables == ()


@pytest.mark.parametrize(
    ("enable", "switch"),
    [
        ('"1"', True),
        ('"0"', False),
        ("1", True),
        ("0", False),
        ("true", True),
        ("false", False),
        ('"True"', True),
        ("null", None),
        ('""', None),
    ],
)
def test_filters_switch_tracking(enable: str, switch: bool | None) -> None:
    names = ("open_tracking", "click_tracking", "subscription_tracking")
    filters = ",".join(f'"{name}":{{"settings":{{"enable":{enable}}}}}' for name in names)
    value = parse(f'{{"filters":{{{filters}}}}}')
    assert (value.track_open, value.track_click, value.track_unsubscribe) == (switch, switch, switch)


@pytest.mark.parametrize(
    ("value", "asks"),
    [
        ({"send_domain": "two.example.com"}, True),
        ({"send_domain": 1}, True),
        ({"send_domain": " "}, False),
        ({"send_domain": None}, False),
        ({"to": ["ann@example.org"]}, False),
        ([], False),
    ],
)
def test_whether_a_domain_is_asked_for(value: object, asks: bool) -> None:
    assert names_domain(json.dumps(value)) is asks


def test_send_domain() -> None:
    assert parse('{"send_domain":" mail.example.com "}').send_domain == "mail.example.com"


@pytest.mark.parametrize("page_id", [562, "562", [1, 2], [], None])
def test_unsubscribe_pages_are_accepted(page_id: object) -> None:
    assert parse(json.dumps({"settings": {"unsubscribe": {"page_id": page_id}}})) == XSmtpApi()


MANY = [f"a{n}@example.org" for n in range(101)]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("   ", Code.XSMTPAPI_EMPTY),
        ("\n", Code.XSMTPAPI_EMPTY),
        ("null", Code.XSMTPAPI_NULL),
        ('""', Code.XSMTPAPI_NULL),
        (" null ", Code.XSMTPAPI_NULL),
        ("{to: [x", Code.XSMTPAPI_NOT_JSON),
        ("{'to':['a@example.org']}", Code.XSMTPAPI_NOT_JSON),
        ('{"to":["a@example.org"]', Code.XSMTPAPI_NOT_JSON),
        ("[1", Code.XSMTPAPI_NOT_JSON),
        ('{"to":["a@example.org"]} x', Code.XSMTPAPI_NOT_JSON),
        ('{"x":NaN}', Code.XSMTPAPI_NOT_JSON),
        ('{"pubsub":{"%a%":"\\ud800"}}', Code.XSMTPAPI_NOT_JSON),
        ('{"pubsub":{"%a%":"\udcff"}}', Code.XSMTPAPI_NOT_JSON),
        ("[1]", Code.XSMTPAPI_INVALID),
        ("1", Code.XSMTPAPI_INVALID),
        ('"text"', Code.XSMTPAPI_INVALID),
        ("[" * 200_000, Code.XSMTPAPI_INVALID),
        ('{"pubsub":{"%a%":' + "[" * 200_000 + "]" * 200_000 + "}}", Code.XSMTPAPI_INVALID),
        (json.dumps({"pubsub": {"%a%": "x" * MAX_OCTETS}}), Code.XSMTPAPI_INVALID),
        (json.dumps({"to": A}), Code.XSMTPAPI_INVALID),
        (json.dumps({"to": [1]}), Code.XSMTPAPI_INVALID),
        (json.dumps({"to": [None]}), Code.XSMTPAPI_INVALID),
        (json.dumps({"to": [A], "sub": {"%n%": ["a", "b"]}}), Code.XSMTPAPI_INVALID),
        (json.dumps({"to": [A, B], "sub": {"%n%": ["a", "b"], "%m%": ["a"]}}), Code.XSMTPAPI_INVALID),
        (json.dumps({"to": [A], "sub": {"%n%": "a"}}), Code.XSMTPAPI_INVALID),
        (json.dumps({"to": [A], "sub": [["a"]]}), Code.XSMTPAPI_INVALID),
        (json.dumps({"to": [A], "sub": {"%n": ["a"]}}), Code.XSMTPAPI_INVALID),
        (json.dumps({"to": [A], "sub": {"%a b%": ["a"]}}), Code.XSMTPAPI_INVALID),
        (json.dumps({"to": [A], "sub": {"%" + "x" * 65 + "%": ["a"]}}), Code.XSMTPAPI_INVALID),
        (json.dumps({"pubsub": {"": "a"}}), Code.XSMTPAPI_INVALID),
        (json.dumps({"pubsub": ["a"]}), Code.XSMTPAPI_INVALID),
        (json.dumps({"section": "a"}), Code.XSMTPAPI_INVALID),
        (json.dumps({"filters": "a"}), Code.XSMTPAPI_INVALID),
        (json.dumps({"filters": {"open_tracking": {"settings": {"enable": "yes"}}}}), Code.XSMTPAPI_INVALID),
        (json.dumps({"settings": []}), Code.XSMTPAPI_INVALID),
        (json.dumps({"settings": {"unsubscribe": {"page_id": {}}}}), Code.XSMTPAPI_INVALID),
        (json.dumps({"send_domain": 1}), Code.XSMTPAPI_INVALID),
        (json.dumps({"sub": {"%n%": ["a"]}}), Code.XSMTPAPI_TO_MISSING),
        (json.dumps({"to": []}), Code.XSMTPAPI_TO_EMPTY),
        (json.dumps({"to": MANY}), Code.XSMTPAPI_TO_TOO_MANY),
        (json.dumps({"to": [*MANY, "nobody"]}), Code.XSMTPAPI_TO_INVALID),
        (json.dumps({"to": [A, "nobody"]}), Code.XSMTPAPI_TO_INVALID),
        (json.dumps({"to": [A, ""]}), Code.XSMTPAPI_TO_INVALID),
        (json.dumps({"to": [f"Ann <{A}>"]}), Code.XSMTPAPI_TO_INVALID),
        (json.dumps({"to": ["a@example.org\r\nBcc: x@example.org"]}), Code.XSMTPAPI_TO_INVALID),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_codes(text: str, code: Code) -> None:
    with pytest.raises(Refused) as refused:
        parse(text)
    assert refused.value.code is code


def test_separate_mails_are_asked_for_by_a_to_that_is_right_or_wrong() -> None:
    assert names_recipients('{"to":["ann@example.org"]}')
    assert names_recipients('{"to":[]}')
    assert not names_recipients('{"to":null}')
    assert not names_recipients("{")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.sampled_from([A, B]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["%a%", "b", "settings", "enable", "%x"]), inner, max_size=4)
    ),
    max_leaves=12,
)
MEMBERS = st.dictionaries(
    st.sampled_from(["to", "sub", "pubsub", "section", "filters", "settings", "send_domain", "other"]), JSON, max_size=6
)


@given(MEMBERS.map(json.dumps) | st.text(max_size=60) | st.from_regex(r'\{["to:\[\]{},%a@.1n-]{0,30}', fullmatch=True))
def test_junk_is_refused_or_read_and_never_anything_else(text: str) -> None:
    with contextlib.suppress(Refused):
        value = parse(text)
        assert len(value.variables) in (0, len(value.to))
        assert names_recipients(text) == bool(value.to)


@pytest.mark.parametrize(
    "members",
    [
        {"to": [A], "sub": {"%v%": ["a\0b"]}},
        {"pubsub": {"%v%": "\0"}},
        {"pubsub": {"%v\0%": "x"}},
        {"to": [A], "section": {"s": "\\\0"}},
        {"to": [A], "send_domain": "a\0b.example.com"},
    ],
)
def test_nul_is_refused_wherever_it_is(members: dict[str, object]) -> None:
    with pytest.raises(Refused) as caught:
        parse(json.dumps(members))
    assert caught.value.code is Code.XSMTPAPI_INVALID


def test_what_only_looks_like_nul_is_text() -> None:
    assert parse(json.dumps({"pubsub": {"%v%": "\\u0000"}})).pubsub == {"v": "\\u0000"}


@pytest.mark.parametrize("value", ['"sub": {"%%a%%": [%s]}', '"section": {"%%a%%": %s}', '"filters": {"open_tracking": %s}'])
def test_whatever_the_depth_it_is_refused_or_read(value: str) -> None:
    """The parser takes a little less in each call that is deeper in our own."""
    for depth in range(600, 1000):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            nested = opening * depth + "1" + closing * depth
            with contextlib.suppress(Refused):
                parse('{"to": ["a@b.example"], %s}' % (value % nested))
