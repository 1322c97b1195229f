"""Reading parameters out of query strings and bodies, the odd ones of real clients included (wire-notes.md)."""

import contextlib
import json
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aurorasend import carrier
from aurorasend.carrier import Broken, File, Nested, Parameters, Unreadable

FORM = "application/x-www-form-urlencoded"


def form(body: str | bytes, content_type: str = FORM) -> Parameters:
    return carrier.read(b"", content_type, body.encode() if isinstance(body, str) else body)


def json_body(value: object) -> Parameters:
    return carrier.read(b"", "application/json", msgspec.json.encode(value))


def multipart(*parts: bytes, boundary: str = "B0", content_type: str = "multipart/form-data; boundary=B0") -> Parameters:
    edge = b"--" + boundary.encode()
    body = b"".join(edge + b"\r\n" + part + b"\r\n" for part in parts) + edge + b"--\r\n"
    return carrier.read(b"", content_type, body)


# --- urlencoded ---

_alphabet = st.one_of(
    st.text(alphabet="ab=&+% ;[]\u00e9\u6d4b", max_size=12).map(str.encode),
    st.binary(max_size=12),
    st.sampled_from([b"%zz", b"%4", b"%", b"%C3%A9", b"%ff", b"&&", b"a=1&a=2", b"\xef\xbf\xbd", b"%EF%BF%BD", b"\xe6\xb5"]),
)


@given(st.lists(_alphabet, max_size=8).map(b"".join))
@settings(max_examples=600)
@example(b"\xef\xbf\xbd=1")
@example(b"a=%ff&a=1&=&cc")
def test_forms_are_read_as_the_standard_library_reads_them(body: bytes) -> None:
    # through Latin-1, so that the standard library keeps every byte; ours keeps them as surrogates where they are no text
    latin = parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    expected: dict[bytes, list[bytes]] = {}
    for name, value in latin:
        expected.setdefault(name.encode("latin-1"), []).append(value.encode("latin-1"))
    assert {octets(name): [octets(value) for value in values] for name, values in form(body).body.items()} == expected


def octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(st.dictionaries(_text, _text, max_size=6))
def test_what_a_client_encodes_comes_back(sent: dict[str, str]) -> None:
    assert form(urlencode(sent)).body == {name: [value] for name, value in sent.items()}


def test_undecodable_bytes_mark_their_parameter_only() -> None:
    read = form("subject=%ff%fe&to=a%40b.c")
    assert isinstance(read.text("subject"), Broken)
    assert type(read.text("to")) is str
    assert [(n, v.encode("utf-8", "surrogateescape")) for n, v in read.pairs()] == [("subject", b"\xff\xfe"), ("to", b"a@b.c")]


def test_a_real_replacement_character_is_text() -> None:
    assert form("subject=%EF%BF%BD").text("subject") == "\ufffd"
    assert type(form("subject=%EF%BF%BD").text("subject")) is str


def test_an_array_of_any_depth_is_left_to_the_field() -> None:
    for depth in range(600, 1000):
        with contextlib.suppress(Unreadable):
            raw = carrier.read(b"", "application/json", b'{"to":%b}' % (b"[" * depth + b"]" * depth))
            assert isinstance(raw.joined("to"), Nested)


def test_raw_utf8_in_a_form() -> None:
    assert form("subject=测试&x=1").text("subject") == "测试"


@pytest.mark.parametrize("content_type", [FORM + "; charset=GBK", FORM + ';charset="gbk"', FORM + "; charset=GB2312"])
def test_declared_charset(content_type: str) -> None:
    assert form(b"labelName=%C4%E3-\xc4\xe3", content_type).text("labelName") == "你-你"


@pytest.mark.parametrize("charset", ["klingon", "utf-16", "zlib", "rot13", "idna", "utf-7"])
def test_a_charset_that_is_not_read_counts_as_utf8(charset: str) -> None:
    found = form("a=%E6%B5%8B&b=%FF", f"{FORM}; charset={charset}")
    assert found.text("a") == "测"
    assert isinstance(found.text("b"), Broken)


def test_too_many_parameters() -> None:
    assert len(form("&".join(["a=1"] * carrier.MAX_PARAMETERS)).body["a"]) == carrier.MAX_PARAMETERS
    with pytest.raises(Unreadable):
        form("&".join(["a=1"] * (carrier.MAX_PARAMETERS + 1)))
    with pytest.raises(Unreadable):
        carrier.read(b"&" * 5000, "", b"")
    with pytest.raises(Unreadable):
        json_body({str(n): 1 for n in range(carrier.MAX_PARAMETERS + 1)})


# --- which value counts ---


def test_body_beats_query_and_the_first_non_empty_value_wins() -> None:
    read = carrier.read(b"a=query&b=query&c=query", FORM, b"a=&a=first&a=second&b=&c=body")
    assert (read.text("a"), read.text("b"), read.text("c"), read.text("d")) == ("first", "query", "body", "")


def test_exact_name_then_alias_then_any_case() -> None:
    read = form("FROMNAME=any&fromname=alias&fromName=exact&SUBJECT=loud&ReplyTo=r")
    assert read.text("fromName", "fromname") == "exact"
    assert read.text("from_name", "fromname") == "alias"
    assert read.text("subject") == "loud"
    assert read.text("reply", "replyto") == "r"


def test_repeated_recipients_are_joined() -> None:
    assert form("to=a%40x&to=&to=b%40x;c%40x").joined("to") == "a@x;b@x;c@x"
    assert json_body({"to": ["a@x", "b@x"]}).joined("to") == "a@x;b@x"
    assert form("to[]=a&to[]=b").joined("to") == "a;b"
    assert isinstance(json_body({"to": {"a": 1}}).joined("to"), Nested)
    assert isinstance(json_body({"to": [["a"]]}).joined("to"), Nested)
    assert isinstance(form("to=a&to=%ff").joined("to"), Broken)


def test_bracket_fields_are_an_object_or_a_list() -> None:
    read = form("headers[X-A]=1&headers[X-B]=two&member_addr[0]=a&member_addr[1]=b&other=x")
    assert json.loads(read.text("headers")) == {"X-A": "1", "X-B": "two"}
    assert json.loads(read.text("member_addr")) == ["a", "b"]
    assert isinstance(read.text("headers"), Nested)
    assert isinstance(form("headers[a]=%ff").text("headers"), Broken)
    assert form("headers[a]=1&headers={}").text("headers") == "{}"


def test_bracket_names_in_json_may_hold_objects_and_lists() -> None:
    read = json_body({"headers[X-A]": {"a": [1, "é"]}, "headers[X-B]": "two", "to[]": ["a", "b"]})
    assert json.loads(read.text("headers")) == {"X-A": {"a": [1, "é"]}, "X-B": "two"}
    assert json.loads(read.text("to")) == [["a", "b"]]


def test_pairs_hold_everything_as_it_came_and_nothing_else() -> None:
    read = carrier.read(b"q=1&z", FORM, b"b=&vars[x]=1&a=%20+1&unknown=y&a=2")
    assert read.pairs() == [("q", "1"), ("z", ""), ("b", ""), ("vars[x]", "1"), ("a", "  1"), ("a", "2"), ("unknown", "y")]


# --- JSON ---


def test_json_values_keep_their_text() -> None:
    read = json_body({"n": 12345, "yes": True, "no": None, "s": "é"})
    assert (read.text("n"), read.text("yes"), read.text("no"), read.text("s")) == ("12345", "true", "", "é")
    assert read.is_json
    raw = carrier.read(b"", "application/json; charset=utf-8", b'{"n": 1989.0, "x": {"sub": {"%n%": [1.50, null]}} }')
    assert raw.text("n") == "1989.0"
    assert raw.text("x") == '{"sub": {"%n%": [1.50, null]}}'
    assert isinstance(raw.text("x"), Nested)


def test_json_nested_and_json_text_are_the_same_text() -> None:
    value = {"to": ["a@x"]}
    text = msgspec.json.encode(value).decode()
    assert json_body({"xsmtpapi": value}).text("xsmtpapi") == json_body({"xsmtpapi": text}).text("xsmtpapi")


@pytest.mark.parametrize(
    "body",
    [b"[]", b"3", b'{"a":', b"{'a': 1}", b'{"a": NaN}', b'{"a": "\\ud800"}', b"a=1", b'{"a":' + b"[" * 200_000, b'{"\xff":1}'],
)
def test_bad_json_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        carrier.read(b"", "application/json", body)


def test_bad_bytes_in_a_json_text_mark_their_member() -> None:
    read = carrier.read(b"", "application/json", b'{"a": "\xff", "b": {"c": "\xff"}, "d": "ok"}')
    assert isinstance(read.text("a"), Broken)
    assert isinstance(read.text("b"), Broken)
    assert read.text("d") == "ok"


def test_bodies_that_hold_nothing() -> None:
    for content_type in ("application/json", "multipart/form-data; boundary=x", FORM, "", "text/plain"):
        assert carrier.read(b"a=1", content_type, b"").text("a") == "1"
    assert carrier.read(b"", "application/json", b" \r\n").pairs() == []
    assert carrier.read(b"", "application/json", b'\xef\xbb\xbf{"a":1}').text("a") == "1"


# --- multipart ---


def test_unquoted_names_and_raw_utf8_file_names() -> None:
    read = multipart(
        b"Content-Disposition: form-data; name=apiUser\r\n\r\nme",
        b'Content-Disposition: form-data; name="from"\r\nContent-Type: text/plain; charset=UTF-8\r\n'
        b"Content-Transfer-Encoding: 8bit\r\n\r\n\xe6\xb5\x8b",
        'Content-Disposition: form-data; name="attachments"; filename="报告.txt"\r\n'.encode()
        + b"Content-Type: text/csv\r\n\r\n\x00\xff",
        "Content-Disposition: form-data; name=attachments; filename=报 告.txt\r\n\r\nx".encode(),
        content_type="multipart/form-data;boundary=B0; charset=UTF-8",
    )
    assert read.text("apiUser") == "me"
    assert read.text("from") == "测"
    assert read.files_of("ATTACHMENTS") == (
        File("attachments", "报告.txt", "text/csv", b"\x00\xff"),
        File("attachments", "报 告.txt", "", b"x"),
    )


def test_files_in_a_list_belong_to_its_field() -> None:
    parts = [f'Content-Disposition: form-data; name="{name}"; filename="a"\r\n\r\nx'.encode() for name in ("f[0]", "F[]", "g[]")]
    assert [file.field for file in multipart(*parts).files_of("f")] == ["f[0]", "F[]"]


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (b'filename="a%20b.txt"', "a%20b.txt"),
        (b'filename="C:\\dir\\x.txt"', "x.txt"),
        (b"filename*=UTF-8''%E6%8A%A5.txt", "报.txt"),
        (b"filename=\"fallback.txt\"; filename*=utf-8''%C3%A9.txt", "é.txt"),
        (b'filename=""', ""),
        (b'filename="\xb1\xa8.txt"', "\udcb1\udca8.txt"),
        (b'filename="a;b.txt"', "a;b.txt"),
    ],
)
def test_file_names(sent: bytes, name: str) -> None:
    assert multipart(b'Content-Disposition: form-data; name="f"; ' + sent + b"\r\n\r\nx").files[0].name == name


def test_part_charset_and_broken_text() -> None:
    part = b"Content-Disposition: form-data; name=a\r\nContent-Type: text/plain; charset=GBK\r\n\r\n\xc4\xe3"
    assert multipart(part).text("a") == "你"
    assert isinstance(multipart(b"Content-Disposition: form-data; name=a\r\n\r\n\xff").text("a"), Broken)


def test_multipart_without_files_joins_and_repeats() -> None:
    part = b"Content-Disposition: form-data; name=to\r\n\r\n"
    assert multipart(part + b"a@x", part, part + b"b@x").joined("to") == "a@x;b@x"


@pytest.mark.parametrize("shown", ["{}", '"{}"', "{} ; charset=UTF-8"])
@pytest.mark.parametrize("boundary", ["----=_Part_0_1.2", "a/b:c?(d)+e==", "'x'"])
def test_boundaries_that_ought_to_be_quoted(boundary: str, shown: str) -> None:
    body = f"--{boundary}\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--{boundary}--".encode()
    content_type = "multipart/form-data; Boundary=" + shown.format(boundary)
    assert carrier.read(b"", content_type, body).text("a") == "1"


def test_too_many_parts() -> None:
    part = b"Content-Disposition: form-data; name=a\r\n\r\n1"
    multipart(*[part] * carrier.MAX_PARTS)
    with pytest.raises(Unreadable):
        multipart(*[part] * (carrier.MAX_PARTS + 1))


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--B0--\r\n"),
        ("multipart/form-data; boundary=B0", b"--B0\r\nContent-Disposition: form-data; name=a\r\n\r\ncut"),
        ("multipart/form-data; boundary=B0", b"nothing at all"),
        ("multipart/form-data; boundary=B0", b"--B0\r\nno colon\r\n\r\nx\r\n--B0--"),
        ("multipart/form-data; boundary=B0", b"--B0\r\nContent-Type: text/plain\r\n\r\nx\r\n--B0--"),
        ("multipart/form-data; boundary=B0", b"--B0\r\nContent-Disposition: form-data; x=" + b"a" * 9000 + b"\r\n\r\n\r\n--B0--"),
    ],
)
def test_bad_multipart_is_unreadable(content_type: str, body: bytes) -> None:
    with pytest.raises(Unreadable):
        carrier.read(b"", content_type, body)


_whole = (
    b'--B0\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\none\r\n'
    b'--B0\r\nContent-Disposition: form-data; name=f; filename="x.txt"\r\n\r\n\x00\xff\r\n--B0--\r\n'
)


@given(st.integers(0, len(_whole)), st.integers(0, 20), st.binary(max_size=20))
@settings(max_examples=600)
def test_damaged_multipart_is_read_or_unreadable(at: int, cut: int, put: bytes) -> None:
    try:
        read = carrier.read(b"", "multipart/form-data; boundary=B0", _whole[:at] + put + _whole[at + cut :])
    except Unreadable:
        return
    assert all(isinstance(value, str) for _, value in read.pairs())


_types = st.text(alphabet="multipart/form-data; boundary=charset\"'gbk\\ ", max_size=60)


@given(st.binary(max_size=60), _types, st.binary(max_size=80))
@settings(max_examples=400)
def test_whatever_arrives_is_read_or_unreadable(query: bytes, content_type: str, body: bytes) -> None:
    for kind in (content_type, "application/json", FORM + content_type, "multipart/form-data; boundary=x" + content_type):
        try:
            carrier.read(query, kind, body)
        except Unreadable:
            continue


def test_a_query_is_percent_decoded() -> None:
    assert carrier.read(f"labelName={quote('é & = +%; 漢')}".encode(), "", b"").text("labelName") == "é & = +%; 漢"
