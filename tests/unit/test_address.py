"""Addresses: what is one, what a name around it means, how lists split, which two are the same."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurorasend.address import (
    BadAddress,
    ascii_domain,
    decode_words,
    is_address,
    normalise,
    parse_mailbox,
    split_list,
    unclean,
)

ADDRESSES = [
    "ann@example.org",
    "a.b+c=d@mail.example.co.uk",
    "user%host@example.net",  # no routing by %, a character as any other
    "bang!path@example.net",
    "-x@example.org",
    "x" * 64 + "@example.org",
    "a@" + "d" * 63 + ".example",
    '"john doe"@example.org',
    '"a;b,<c>\\""@example.org',
    "用户@例子.中国",
    "zoë@example.org",
    "ann@bücher.example",
    "ann@xn--bcher-kva.example",
]

NOT_ADDRESSES = [
    "",
    "nobody",
    "nobody@",
    "@example.net",
    "a@b",
    "a@localhost",
    "a@@example.org",
    "a@b@example.org",
    "a b@example.org",
    "a@exa mple.org",
    "a.@example.org",
    ".a@example.org",
    "a..b@example.org",
    "a@.example.org",
    "a@example..org",
    "a@example.org.",
    "a@-example.org",
    "a@example-.org",
    "a@exa_mple.org",
    "a@example.org:25",
    "a@[192.0.2.1]",
    "a@192.0.2.1",
    "<a@example.org>",
    "@relay.example:a@example.org",
    "a@example.org (comment)",
    "a@example.org\n",
    "a@example.org\r\nBcc: x@example.org",
    "a\x00@example.org",
    "a\u2028b@example.org",
    "a\x85b@example.org",
    "a\u200bb@example.org",
    "a\ud800@example.org",
    "a@exa\u2028mple.org",
    "a@ex＠mple.org",
    "a@example.org／x",
    '"a"b@example.org',
    '"a@example.org',
    '"a\nb"@example.org',
    "x" * 65 + "@example.org",
    "é" * 33 + "@example.org",
    "a@" + "d" * 64 + ".example",
    "a@" + "d123456789." * 24 + "example",
]


@pytest.mark.parametrize("text", ADDRESSES)
def test_addresses_are_accepted(text: str) -> None:
    assert is_address(text)
    assert parse_mailbox(f" {text} ") == ("", text)


@pytest.mark.parametrize("text", NOT_ADDRESSES, ids=repr)
def test_other_text_is_no_address(text: str) -> None:
    assert not is_address(text)


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("Ann Lee <ann@example.org>", "Ann Lee", "ann@example.org"),
        ("<ann@example.org>", "", "ann@example.org"),
        ("ann@example.org <ann@example.org>", "ann@example.org", "ann@example.org"),
        ("Ann<ann@example.org>", "Ann", "ann@example.org"),
        ('"Lee, Ann" <ann@example.org>', "Lee, Ann", "ann@example.org"),
        ('"Ann \\"A\\" <Lee>" <ann@example.org>', 'Ann "A" <Lee>', "ann@example.org"),
        ('Ann "Bee" Lee <ann@example.org>', "Ann Bee Lee", "ann@example.org"),
        ("名 <a@example.org>", "名", "a@example.org"),
        ("=?utf-8?b?5byg5LiJ?= <a@example.org>", "张三", "a@example.org"),
        ('"=?utf-8?b?5byg5LiJ?=" <a@example.org>', "张三", "a@example.org"),
        ("=?UTF-8?Q?Zo=C3=AB_M?= =?UTF-8?Q?=C3=BCller?= <a@example.org>", "Zoë Müller", "a@example.org"),
        ("Ann\tLee <a@example.org>", "Ann Lee", "a@example.org"),
        ("O'Neil (sales) <a@example.org>", "O'Neil (sales)", "a@example.org"),
    ],
)
def test_a_name_may_stand_before_the_address(text: str, name: str, address: str) -> None:
    assert parse_mailbox(text) == (name, address)


@pytest.mark.parametrize(
    "text",
    [
        "Ann",
        "Ann ann@example.org",
        "ann@example.org Ann",
        "<ann@example.org> Ann",
        "Ann <ann@example.org",
        "Ann ann@example.org>",
        "Ann <>",
        "a <b@example.org> <c@example.org>",
        'Ann "Lee <ann@example.org>',
        "Ann\r\nBcc: x@example.org <ann@example.org>",
        "Ann\u2028Lee <ann@example.org>",
        "Ann\x00 <ann@example.org>",
        "=?utf-8?q?Ann=0ABcc:_x?= <ann@example.org>",  # a line break that only decoding shows
        "x" * 1000 + " <ann@example.org>",
    ],
    ids=repr,
)
def test_broken_names_are_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        parse_mailbox(text)


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("", []),
        (" ; ,; ", []),
        ("a@x.org", ["a@x.org"]),
        ("a@x.org;;b@x.org;", ["a@x.org", "b@x.org"]),
        ("a@x.org, b@x.org ;c@x.org", ["a@x.org", "b@x.org", "c@x.org"]),
        ('"Lee, Ann; x" <a@x.org>,B <b@x.org>', ['"Lee, Ann; x" <a@x.org>', "B <b@x.org>"]),
        ('"q\\",;" <a@x.org>;b@x.org', ['"q\\",;" <a@x.org>', "b@x.org"]),
        ("A <@h,@i:a@x.org>;b@x.org", ["A <@h,@i:a@x.org>", "b@x.org"]),
        ('a@x.org;"open;b@x.org', ["a@x.org", '"open;b@x.org']),
    ],
)
def test_lists_split_outside_quotes_and_brackets(text: str, elements: list[str]) -> None:
    assert split_list(text) == elements


@pytest.mark.parametrize("text", ['"' * 200_000, '\\"' * 200_000, "<" * 200_000, '"\\' * 200_000, "a,<" * 100_000])
def test_hostile_lists_split_in_linear_time(text: str) -> None:
    began = time.perf_counter()
    split_list(text)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (" Ann@Example.ORG ", "ann@example.org"),
        ("Ann@BÜCHER.example", "ann@xn--bcher-kva.example"),
        ("用户@例子.中国", "用户@XN--FSQU00A.xn--fiqs8s"),
    ],
)
def test_one_mailbox_has_one_normal_form(left: str, right: str) -> None:
    assert normalise(left) == normalise(right)


def test_the_normal_form_is_the_lower_case_of_what_was_given() -> None:
    assert normalise("Ann@Example.ORG") == "ann@example.org"
    assert normalise("not an Address") == "not an address"
    assert normalise("a@xn--zzzzzz-.example") == "a@xn--zzzzzz-.example"


def test_international_domains_become_ascii() -> None:
    assert ascii_domain("例子.中国") == "xn--fsqu00a.xn--fiqs8s"
    assert ascii_domain("Example.org") == "Example.org"
    with pytest.raises(BadAddress):
        ascii_domain("例子")


def test_encoded_words() -> None:
    assert decode_words("=?gb2312?B?1cXI/Q==?=") == "张三"
    assert decode_words("=?utf-8?b?5byg5Li?= =?utf-8?b?iQ==?=") == "张三"  # cut inside a character, padding left out
    assert decode_words("=?utf-8?q?=E5=BC?= =?utf-8?q?=A0?=") == "张"  # cut inside a character
    assert decode_words("=?utf-8*en?q?a?= b =?utf-8?q?c?=") == "a b c"
    assert decode_words("=?nonsense?q?a?=") == "=?nonsense?q?a?="
    assert decode_words("plain =? text") == "plain =? text"


@given(st.text(max_size=80) | st.from_regex(r'[a"\\<>@,;. =?é]{0,40}', fullmatch=True))
def test_whatever_is_accepted_can_stand_in_a_header(text: str) -> None:
    for element in split_list(text):
        try:
            name, address = parse_mailbox(element)
        except BadAddress:
            continue
        assert not unclean(name + address)
        assert is_address(address)
        assert len(address.encode()) <= 254
        assert parse_mailbox(normalise(address)).address == normalise(address) or "xn--" in normalise(address)
