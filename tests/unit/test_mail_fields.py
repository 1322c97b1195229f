"""Every row of mail.md §2.3 that the parameters of mail/send and mail/sendtemplate decide, and junk."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurorasend.api.mail import read_submission
from aurorasend.carrier import File, Parameters, read
from aurorasend.codes import Code, Refused
from tests.mail_request import CALLER, MAIL, SEND, TEMPLATE, TEMPLATED, form, many, packed, sent, with_files

MAX_TOTAL = 10_485_760  # octets of all files of a mail, spec mail.md §9.2

CODES = [
    ({"from": None}, Code.FROM_EMPTY),
    ({"from": " "}, Code.FROM_EMPTY),
    ({"from": "nobody"}, Code.FROM_INVALID),
    ({"from": "nobody@"}, Code.FROM_INVALID),
    ({"from": "a@example.org\r\nBcc: x@example.org"}, Code.FROM_INVALID),
    ({"from": "Ann\u2028 B <a@example.org>"}, Code.FROM_INVALID),
    ({"from": "n" * 60 + " <" + "a" * 50 + "@" + "b" * 30 + ".example.com>"}, Code.FROM_TOO_LONG),
    ({"fromName": "  "}, Code.FROM_NAME_EMPTY),
    ({"fromName": "Ann\r\nBcc: x@example.net"}, Code.FROM_NAME_INVALID),
    ({"fromName": "Ann\x00"}, Code.FROM_NAME_INVALID),
    ({"fromName": "=?utf-8?q?Ann=0D=0ABcc:_x?="}, Code.FROM_NAME_INVALID),
    ({"fromName": "=?utf-8?q?=0D=0ABcc:_x?="}, Code.FROM_NAME_INVALID),
    ({"fromName": "n" * 999}, Code.FROM_NAME_INVALID),
    ({"to": None}, Code.TO_EMPTY),
    ({"to": " ; , "}, Code.TO_EMPTY),
    ({"to": None, "cc": "cy@example.org"}, Code.TO_EMPTY),
    ({"to": None, "bcc": "cy@example.org", "xsmtpapi": "{}"}, Code.TO_EMPTY),
    ({"to": "ann@example.org;nobody"}, Code.TO_INVALID),
    ({"to": "@example.net"}, Code.TO_INVALID),
    ({"to": many(101)}, Code.TO_TOO_MANY),
    ({"to": many(101, "bad address {n}")}, Code.TO_INVALID),
    ({"to": many(50_000)}, Code.TO_TOO_MANY),
    ({"cc": "  "}, Code.CC_EMPTY),
    ({"cc": "c1@example.net;nobody"}, Code.CC_INVALID),
    ({"cc": many(101)}, Code.CC_TOO_MANY),
    ({"bcc": "  "}, Code.BCC_EMPTY),
    ({"bcc": "nobody@"}, Code.BCC_INVALID),
    ({"bcc": many(101)}, Code.BCC_TOO_MANY),
    ({"subject": None}, Code.SUBJECT_EMPTY),
    ({"subject": " "}, Code.SUBJECT_EMPTY),
    ({"subject": "a\nb"}, Code.SUBJECT_INVALID),
    ({"subject": "a\u2029b"}, Code.SUBJECT_INVALID),
    ({"subject": "s" * 999}, Code.SUBJECT_INVALID),
    ({"subject": "é" * 500}, Code.SUBJECT_INVALID),
    ({"html": None}, Code.CONTENT_EMPTY),
    ({"html": " "}, Code.CONTENT_EMPTY),
    ({"html": " ", "plain": " "}, Code.CONTENT_EMPTY),
    ({"plain": "  "}, Code.PLAIN_EMPTY),
    ({"html": b"<p>\xff\xfe</p>"}, Code.HTML_INVALID),
    ({"html": None, "plain": b"a\xff"}, Code.PLAIN_INVALID),
    ({"contentSummary": "  "}, Code.SUMMARY_EMPTY),
    ({"contentSummary": "s" * 201}, Code.SUMMARY_TOO_LONG),
    ({"contentSummary": "é" * 101}, Code.SUMMARY_TOO_LONG),
    ({"contentSummary": "a\0b"}, Code.SUMMARY_TOO_LONG),
    ({"sendTags": "a\0b"}, Code.MAIL_FAULT),
    ({"headers": {"X-A": "=?utf-8?q?a=0D=0AX-Evil:_1?="}}, Code.HEADERS_INVALID),
    ({"headers": {"X-A": "=?utf-8?b?YQBi?="}}, Code.HEADERS_INVALID),
    ({"replyTo": "  "}, Code.REPLY_TO_EMPTY),
    ({"replyTo": "r1@example.org;nobody"}, Code.REPLY_TO_INVALID),
    ({"replyTo": many(4)}, Code.REPLY_TO_TOO_MANY),
    ({"replyTo": ["a@example.org", "b@example.org;c@example.org", "d@example.org"]}, Code.REPLY_TO_TOO_MANY),
    ({"labelName": "n" * 256}, Code.LABEL_NAME_LENGTH),
    ({"labelId": "abc"}, Code.LABEL_ID_INVALID),
    ({"labelId": "1.5"}, Code.LABEL_ID_INVALID),
    ({"sendTags": "a;b;c;d;e;f"}, Code.MAIL_FAULT),
    ({"sendTags": "t" * 51}, Code.MAIL_FAULT),
    ({"headers": "  "}, Code.HEADERS_EMPTY),
    ({"headers": "X-A: b"}, Code.HEADERS_INVALID),
    ({"headers": "[]"}, Code.HEADERS_INVALID),
    ({"headers": {"X-A": [1]}}, Code.HEADERS_INVALID),
    ({"headers": {"X-A": {}}}, Code.HEADERS_INVALID),
    ({"headers": {"X-A": "b\r\nBcc: x@example.net"}}, Code.HEADERS_INVALID),
    ({"headers": {"X-A": "b\x00"}}, Code.HEADERS_INVALID),
    ({"headers": {"X-A": "b\u2028c"}}, Code.HEADERS_INVALID),
    ({"headers": {"X A": "b"}}, Code.HEADERS_INVALID),
    ({"headers": {"X-A:": "b"}}, Code.HEADERS_INVALID),
    ({"headers": {"X-A\r\nBcc": "b"}}, Code.HEADERS_INVALID),
    ({"headers": {"": "b"}}, Code.HEADERS_INVALID),
    ({"headers": {"X-A": "b" * 70_000}}, Code.HEADERS_INVALID),
    ({"headers": '{"X-A":' + "[" * 5000}, Code.HEADERS_INVALID),
    ({"headers": {"SC-Custom-order": "a.b"}}, Code.MAIL_FAULT),
    ({"headers": {"sc-custom-order": ""}}, Code.MAIL_FAULT),
    ({"headers": {"SC-Custom-order": None}}, Code.MAIL_FAULT),
    ({"headers": {"SC-Custom-order": 1.5}}, Code.MAIL_FAULT),
    ({"attachments": "some text"}, Code.ATTACHMENT_INVALID),
    ({"files": "@./test.txt"}, Code.ATTACHMENT_INVALID),
    ({"embeddedImage": "some text"}, Code.ATTACHMENT_INVALID),
    ({"embeddedCid": "logo1"}, Code.EMBEDDED_COUNT),
    ({"embeddedCid": "lo go"}, Code.MAIL_FAULT),
    ({"xsmtpapi": "   "}, Code.XSMTPAPI_EMPTY),
    ({"xsmtpapi": "{to: [x"}, Code.XSMTPAPI_NOT_JSON),
    ({"xsmtpapi": b'{"to":["\xff"]}'}, Code.XSMTPAPI_NOT_JSON),
    ({"xsmtpapi": "null"}, Code.XSMTPAPI_NULL),
    ({"xsmtpapi": "[1]"}, Code.XSMTPAPI_INVALID),
    ({"xsmtpapi": {"to": "ann@example.org"}}, Code.XSMTPAPI_INVALID),
    ({"xsmtpapi": {"to": ["ann@example.org"], "sub": {"%n%": ["a", "b"]}}}, Code.XSMTPAPI_INVALID),
    ({"xsmtpapi": {"sub": {"%n%": ["a"]}}}, Code.XSMTPAPI_TO_MISSING),
    ({"xsmtpapi": {"pubsub": {"%n%": "a"}}, "to": None}, Code.XSMTPAPI_TO_MISSING),
    ({"xsmtpapi": {"to": []}}, Code.XSMTPAPI_TO_EMPTY),
    ({"xsmtpapi": {"to": []}, "to": "nobody"}, Code.XSMTPAPI_TO_EMPTY),
    ({"xsmtpapi": {"to": many(101).split(";")}}, Code.XSMTPAPI_TO_TOO_MANY),
    ({"xsmtpapi": {"to": ["ann@example.org", "nobody"]}}, Code.XSMTPAPI_TO_INVALID),
    ({"xsmtpapi": "{", "to": "nobody"}, Code.TO_INVALID),
    ({"xsmtpapi": "{", "to": None}, Code.XSMTPAPI_NOT_JSON),
    ({"sendRequestId": "r" * 129}, Code.MAIL_FAULT),
    ({"respEmailId": "maybe"}, Code.RESP_EMAIL_ID_INVALID),
    ({"respEmailId": " "}, Code.RESP_EMAIL_ID_EMPTY),
    ({"useNotification": "maybe"}, Code.RECEIPT_INVALID),
    ({"useNotification": " "}, Code.RECEIPT_INVALID),
    ({"useAddressList": "maybe"}, Code.USE_ADDRESS_LIST_INVALID),
    ({"useAddressList": " "}, Code.USE_ADDRESS_LIST_EMPTY),
    ({"useAddressList": "true", "to": None}, Code.LIST_ALIAS_EMPTY),
    ({"useAddressList": "true", "to": ";"}, Code.LIST_ALIAS_EMPTY),
    ({"useAddressList": "true", "to": "not an alias"}, Code.LIST_ALIAS_INVALID),
    ({"useAddressList": "true", "to": many(6)}, Code.LIST_TOO_MANY),
    ({"gzipCompress": "maybe"}, Code.GZIP_INVALID),
    ({"gzipCompress": " "}, Code.GZIP_EMPTY),
]


@pytest.mark.parametrize(("change", "code"), CODES, ids=lambda value: repr(value)[:60])
def test_codes_of_send(change: dict[str, Any], code: Code) -> None:
    with pytest.raises(Refused) as refused:
        sent(form({**MAIL, **change}))
    assert refused.value.code is code


NOT_OF_TEMPLATES = {"html", "plain", "gzipCompress", "embeddedCid", "embeddedImage"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        *((change, code) for change, code in CODES if not NOT_OF_TEMPLATES & change.keys() and code is not Code.SUBJECT_EMPTY),
        ({"templateInvokeName": None}, Code.INVOKE_NAME_EMPTY),
        ({"templateInvokeName": " "}, Code.INVOKE_NAME_EMPTY),
        ({"templateInvokeName": "n" * 256}, Code.MAIL_TEMPLATE_UNKNOWN),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_codes_of_sendtemplate(change: dict[str, Any], code: Code) -> None:
    with pytest.raises(Refused) as refused:
        TEMPLATE.read(form({**TEMPLATED, **change}))
    assert refused.value.code is code


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"fromName": "x"}, Code.FROM_EMPTY),
        ({"from": "a@example.org"}, Code.TO_EMPTY),
        ({"from": "a@example.org", "to": "ann@example.org", "bcc": "nobody", "labelId": "abc"}, Code.BCC_INVALID),
        ({"from": "a@example.org", "to": "ann@example.org"}, Code.SUBJECT_EMPTY),
        ({"from": "a@example.org", "to": "ann@example.org", "subject": "x"}, Code.CONTENT_EMPTY),
        ({**MAIL, "headers": "x", "xsmtpapi": "{"}, Code.HEADERS_INVALID),
        ({**MAIL, "xsmtpapi": "{", "respEmailId": "maybe"}, Code.XSMTPAPI_NOT_JSON),
        ({**MAIL, "to": None, "xsmtpapi": "{}", "respEmailId": "maybe"}, Code.XSMTPAPI_TO_MISSING),
        ({**MAIL, "embeddedCid": "logo", "xsmtpapi": "{"}, Code.EMBEDDED_COUNT),
        (
            {**MAIL, "useAddressList": "1", "headers": {"X-A": "b" * 1024}, "sendRequestId": "r" * 129},
            Code.HEADERS_INVALID,
        ),
    ],
)
def test_the_first_parameter_that_is_wrong_answers(parameters: dict[str, Any], code: Code) -> None:
    with pytest.raises(Refused) as refused:
        SEND.read(form(parameters))
    assert refused.value.code is code


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ((File("attachments", "empty.txt", "", b""),), Code.ATTACHMENT_EMPTY),
        ((File("embeddedImage", "empty.png", "", b""),), Code.ATTACHMENT_EMPTY),
        ((File("attachments", "a", "", b"a" * MAX_TOTAL), File("attachments", "b", "", b"b")), Code.ATTACHMENTS_TOO_LARGE),
        ((File("embeddedImage", "a.png", "", b"a"),), Code.EMBEDDED_COUNT),
    ],
    ids=("empty", "empty image", "too large", "without id"),
)
def test_codes_of_files(files: tuple[File, ...], code: Code) -> None:
    with pytest.raises(Refused) as refused:
        SEND.read(with_files(MAIL, *files))
    assert refused.value.code is code


@pytest.mark.parametrize("read", [SEND.read, TEMPLATE.read])
def test_files_are_counted_at_their_turn(read: Callable[[Parameters], object]) -> None:
    wrong = {**MAIL, "templateInvokeName": "welcome", "xsmtpapi": "{"}
    with pytest.raises(Refused) as refused:
        read(with_files(wrong, File("attachments", "a", "", b"a" * (MAX_TOTAL + 1))))
    assert refused.value.code is Code.ATTACHMENTS_TOO_LARGE


def test_attachments_up_to_the_limit_are_fine() -> None:
    assert len(SEND.read(with_files(MAIL, File("attachments", "a", "", b"a" * MAX_TOTAL))).attachments) == 1


@pytest.mark.parametrize(
    ("html", "code"),
    [
        ("<p>not packed</p>", Code.HTML_NOT_GZIP),
        (b64encode(b"<p>not packed</p>").decode(), Code.HTML_NOT_GZIP),
        (packed("<p>cut short</p>" * 100)[:40], Code.HTML_NOT_GZIP),
        (packed(b"\xff\xfe"), Code.HTML_NOT_GZIP),
        (packed("0" * (33 << 20)), Code.HTML_NOT_GZIP),  # a bomb
        (packed("a") + packed("b"), Code.HTML_NOT_GZIP),
        (packed("  "), Code.CONTENT_EMPTY),
    ],
    ids=("text", "base64 of text", "cut", "no UTF-8", "bomb", "two", "blank"),
)
def test_codes_of_gzip(html: str, code: Code) -> None:
    with pytest.raises(Refused) as refused:
        sent(form({**MAIL, "gzipCompress": "1", "html": html}))
    assert refused.value.code is code


def test_gzip_of_plain() -> None:
    with pytest.raises(Refused) as refused:
        sent(form({**MAIL, "gzipCompress": "1", "html": None, "plain": "not packed"}))
    assert refused.value.code is Code.PLAIN_NOT_GZIP


NAMES = [
    *(*MAIL, "fromName", "cc", "bcc", "plain", "contentSummary", "replyTo", "labelId", "labelName", "sendTags", "headers"),
    *("xsmtpapi", "embeddedCid", "sendRequestId", "respEmailId", "useNotification", "useAddressList", "gzipCompress"),
    "attachments",
]
VALUES = st.one_of(
    st.text(max_size=20), st.binary(max_size=12), st.sampled_from(["true", "{}", "[]", "1", "a@example.org", " ", '{"to":[]}'])
)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6))
def test_junk_is_refused_or_clean(change: dict[str, Any]) -> None:
    pairs = urlencode({**MAIL, **change}, errors="surrogatepass").encode()
    try:
        parameters = SEND.read(read(b"", "application/x-www-form-urlencoded", pairs))
        submission = read_submission(CALLER, parameters) if not parameters.use_address_list else None
    except Refused:
        return
    if submission:
        content = submission.content
        texts = [content.subject, content.sender.name, content.sender.address]
        texts += [part for header in content.headers for part in header]
        assert not any(sign in text for text in texts for sign in "\r\n\0\x85\u2028\u2029")
