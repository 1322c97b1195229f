"""mail/send and mail/sendtemplate: their declarations, what a request becomes, and which requests are the same."""

import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from aurorasend.account import ApiUser
from aurorasend.api import mail
from aurorasend.api.mail import content_hash, read_template_submission
from aurorasend.carrier import File, Parameters, read
from aurorasend.codes import Code, Refused
from aurorasend.content import Attachment, Content, Mailbox, Target
from aurorasend.endpoint import ApiCall, Call, Catalogue, Endpoint
from aurorasend.intake import Submission
from aurorasend.template import Stat, Template
from tests.mail_request import (
    ACCOUNT,
    CALLER,
    MAIL,
    SEND,
    SEND_V1,
    TEMPLATE,
    TEMPLATE_V1,
    TEMPLATED,
    form,
    many,
    packed,
    sent,
    with_files,
)

WELCOME = Template(1, "welcome", "Welcome", 0, "Stored %who%", "<p>Dear %who%</p>", "", "stored summary", Stat.APPROVED, 0, 0)


def test_a_minimal_mail() -> None:
    sender, ann = Mailbox("sender@mail.example.com"), Mailbox("ann@example.org")
    assert sent(form(MAIL)) == Submission(
        caller=CALLER,
        content=Content(sender=sender, subject="Hi", html="<p>Hello</p>", to=(ann,), track_open=True, track_unsubscribe=True),
        attachments=(),
        targets=(Target("ann@example.org"),),
    )


def test_empty_values_count_as_absent() -> None:
    names = "cc bcc fromName replyTo labelName labelId sendTags headers xsmtpapi contentSummary sendRequestId respEmailId plain"
    empty = dict.fromkeys([*names.split(), "useNotification", "useAddressList", "gzipCompress", "attachments", "embeddedCid"], "")
    assert sent(form({**MAIL, **empty})) == sent(form(MAIL))


def test_broadcast_counts_to_then_cc_then_bcc() -> None:
    submission = sent(
        form({**MAIL, "to": "Ann <ann@example.org>,bob@example.org;", "cc": "cy@example.org", "bcc": ["di@example.org"] * 2})
    )
    assert [target.address for target in submission.targets] == [
        *("ann@example.org", "bob@example.org", "cy@example.org", "di@example.org", "di@example.org")
    ]
    assert submission.content.to == (Mailbox("ann@example.org", "Ann"), Mailbox("bob@example.org"))
    assert submission.content.cc == (Mailbox("cy@example.org"),)


def test_separate_mails_ignore_to_cc_and_bcc_whatever_they_hold() -> None:
    value = {"to": ["ann@example.org", " bob@example.org"], "sub": {"%n%": ["Ann", 1.50]}, "send_domain": "two.example.com"}
    submission = sent(form({**MAIL, "to": "not an address", "cc": " ", "bcc": many(101), "xsmtpapi": value}))
    assert submission.targets == (Target("ann@example.org", {"n": "Ann"}), Target("bob@example.org", {"n": "1.5"}))
    assert (submission.content.to, submission.content.cc) == ((), ())
    assert submission.send_domain == "two.example.com"


def test_variables_common_to_all_work_without_xsmtpapi_recipients() -> None:
    submission = sent(form({**MAIL, "xsmtpapi": {"pubsub": {"%code%": "C1"}, "to": None}}))
    assert submission.content.pubsub == {"code": "C1"}
    assert submission.targets == (Target("ann@example.org"),)


def test_names_of_the_sender() -> None:
    def sender(**change: str) -> Mailbox:
        return sent(form({**MAIL, **change})).content.sender

    named = {"from": "Ann Lee <ann@mail.example.com>"}
    assert sender(**named) == Mailbox("ann@mail.example.com", "Ann Lee")
    assert sender(**named, fromName="Zoë Müller") == Mailbox("ann@mail.example.com", "Zoë Müller")
    assert sender(**named, fromName="=?utf-8?b?5byg5LiJ?=") == Mailbox("ann@mail.example.com", "张三")


def test_html_drops_plain_unless_the_account_may_send_both() -> None:
    raw = form({**MAIL, "plain": "text"})
    assert sent(raw).content.plain is None
    both = sent(raw, replace(CALLER, account=replace(ACCOUNT, alternative=True))).content
    assert (both.html, both.plain) == ("<p>Hello</p>", "text")


def test_plain_alone_has_no_summary_and_no_open_or_click_tracking() -> None:
    raw = form({**MAIL, "html": None, "plain": " text\n", "contentSummary": " "})
    content = sent(raw, replace(CALLER, open=True, click=True)).content
    assert (content.html, content.plain, content.summary) == (None, " text\n", None)
    assert (content.track_open, content.track_click, content.track_unsubscribe) == (False, False, True)


def test_a_blank_html_leaves_the_plain_text() -> None:
    assert sent(form({**MAIL, "html": " ", "plain": "text"})).content.plain == "text"


def test_filters_override_the_switches_of_the_api_user() -> None:
    on, off = ({"settings": {"enable": enable}} for enable in ("1", 0))
    filters = {"open_tracking": off, "click_tracking": on, "subscription_tracking": off}
    content = sent(form({**MAIL, "xsmtpapi": {"filters": filters}})).content
    assert (content.track_open, content.track_click, content.track_unsubscribe) == (False, True, False)


def test_headers_of_ours_are_ignored_and_the_rest_kept_once() -> None:
    ours = {"To": "evil", "content-type": "evil", "ARC-Seal": "evil", "Disposition-Notification-To": "evil"}
    given = {"X-Order": 42, "x-order": "43", **ours, "Message-ID": "<a@b>", "List-Id": "\tx"}
    kept = sent(form({**MAIL, "headers": given})).content.headers
    assert kept == (("x-order", "43"), ("Message-ID", "<a@b>"), ("List-Id", " x"))


def test_reply_to_beats_the_header_of_that_name() -> None:
    raw = {**MAIL, "headers": {"Reply-To": "h@example.org", "X-A": "1"}}
    assert sent(form(raw)).content.headers == (("Reply-To", "h@example.org"), ("X-A", "1"))
    assert sent(form({**raw, "replyTo": "r@example.org"})).content.headers == (("X-A", "1"),)


def test_bracket_fields_are_headers() -> None:
    assert sent(form({**MAIL, "headers[X-A]": "1", "headers[X-B]": "two"})).content.headers == (("X-A", "1"), ("X-B", "two"))


def test_files() -> None:
    raw = with_files(
        {**MAIL, "embeddedCid": "logo1; <logo2>"},
        File("attachments", "/tmp/a.txt", "", b"alpha"),
        File("embeddedImage", "1.png", "image/png", b"1"),
        File("files", "%E6%8A%A5.pdf", "application/pdf", b"beta"),
        File("embeddedImage", "2.png", "image/png", b"2"),
        File("attachments", "", "", b""),
        File("other", "x.txt", "", b"ignored"),
    )
    assert sent(raw).attachments == (
        Attachment("a.txt", "text/plain", b"alpha"),
        Attachment("报.pdf", "application/pdf", b"beta"),
        Attachment("1.png", "image/png", b"1", "logo1"),
        Attachment("2.png", "image/png", b"2", "logo2"),
    )


def test_v1_takes_files_of_any_name() -> None:
    raw = with_files(MAIL, File("file1", "one.txt", "text/plain", b"1"), File("myfile", "two.txt", "text/plain", b"2"))
    assert [file.name for file in SEND_V1.read(raw).attachments] == ["one.txt", "two.txt"]


def test_gzip() -> None:
    mail = {**MAIL, "gzipCompress": "true"}
    assert sent(form({**mail, "html": packed("<p>packed é</p>")})).content.html == "<p>packed é</p>"
    assert sent(form({**mail, "html": None, "plain": packed("text")})).content.plain == "text"
    wrapped = packed("<p>wrapped</p>" * 9).replace("+", " ")
    assert sent(form({**mail, "html": wrapped[:40] + "\r\n" + wrapped[40:]})).content.html == "<p>wrapped</p>" * 9


def test_labels_tags_and_flags() -> None:
    raw = {"labelName": "june", "labelId": "7", "sendTags": " a ;; b", "respEmailId": "False", "useNotification": "True"}
    submission = sent(form({**MAIL, **raw}))
    assert (submission.label_id, submission.label_name, submission.tags) == (7, "june", ("a", "b"))
    assert (submission.return_ids, submission.content.notification) == (False, True)


def test_aliases_and_letter_case_of_names() -> None:
    raw = {
        **{"From": MAIL["from"], "TO": MAIL["to"], "SUBJECT": "%x%", "Html": "x", "fromname": "Fred", "replyto": "r@example.org"},
        **{"label": "7", "x_smtpapi": {"pubsub": {"%x%": "v"}}, "resp_email_id": "false"},
    }
    submission = sent(form(raw))
    assert submission.content.sender == Mailbox("sender@mail.example.com", "Fred")
    assert submission.content.reply_to == (Mailbox("r@example.org"),)
    assert (submission.label_id, submission.content.pubsub, submission.return_ids) == (7, {"x": "v"}, False)


def test_v1_returns_ids_only_when_asked() -> None:
    assert not SEND_V1.read(form(MAIL)).return_ids
    assert SEND_V1.read(form({**MAIL, "resp_email_id": "true"})).return_ids


def test_address_lists_ignore_cc_and_xsmtpapi() -> None:
    raw = {**MAIL, "to": "news@maillist.example.org", "use_maillist": "true", "cc": "nobody", "xsmtpapi": "not json"}
    parameters = SEND.read(form(raw))
    assert (parameters.use_address_list, parameters.lists, parameters.to) == (True, ("news@maillist.example.org",), ())


# -- templates


def templated(change: dict[str, Any], found: Template = WELCOME) -> Submission:
    return read_template_submission(CALLER, TEMPLATE.read(form({**TEMPLATED, **change})), found)


def test_a_template_gives_body_subject_and_summary() -> None:
    content = templated({}).content
    assert (content.subject, content.html, content.plain, content.summary) == (
        *("Stored %who%", "<p>Dear %who%</p>", None, "stored summary"),
    )


def test_the_request_beats_the_template() -> None:
    content = templated({"subject": "Own", "contentSummary": "own summary", "html": "ignored", "plain": "ignored"}).content
    assert (content.subject, content.html, content.summary) == ("Own", "<p>Dear %who%</p>", "own summary")


def test_a_template_of_text_makes_a_text_mail() -> None:
    content = templated({"contentSummary": "x"}, replace(WELCOME, html="", text="Dear %who%")).content
    assert (content.html, content.plain, content.summary, content.track_open) == (None, "Dear %who%", None, False)


def test_a_subject_is_needed_on_one_side() -> None:
    with pytest.raises(Refused) as refused:
        templated({"subject": " "}, replace(WELCOME, subject=""))
    assert refused.value.code is Code.MAIL_TEMPLATE_SUBJECT_EMPTY


def test_v1_template_names() -> None:
    variables = {"to": ["ann@example.org"], "sub": {"%who%": ["A"]}}
    parameters = TEMPLATE_V1.read(form({"from": MAIL["from"], "template_invoke_name": "welcome", "substitution_vars": variables}))
    assert (parameters.invoke_name, parameters.xsmtpapi.variables) == ("welcome", ({"who": "A"},))


# -- declarations

# Numbers of mail.md §2.3 and §4, but for those of lists with members (40255, 40822) and those that tests/unraised.py explains
# (40904, 40911).
DECIDED = (
    "200 501 6001 40000 40005 40103 40105 40106 40257 40801 40802 40803 40804 40805 40806 40807 40809 40810 40811 40812 40813 "
    "40814 40815 40816 40817 40818 40819 40820 40827 40828 40829 40852 40853 40854 40855 40856 40857 40858 40859 40862 40863 "
    "40864 40867 40868 40869 40872 40873 40874 40877 40878 40879 40880 40886 40901 40902 40908 40912 40913 50001"
)
OF_SEND = "40808 40830 40831 40860 40861 40865 40866 40870 40871 40875"
OF_TEMPLATE = "40201 40823 40824 40825 40826"


@pytest.mark.parametrize(
    ("declared", "numbers"),
    [
        (mail.send, f"{DECIDED} {OF_SEND}"),
        (mail.send_v1, f"{DECIDED} {OF_SEND}"),
        (mail.send_template, f"{DECIDED} {OF_TEMPLATE}"),
        (mail.send_template_v1, f"{DECIDED} {OF_TEMPLATE}"),
    ],
    ids=("send", "send v1", "template", "template v1"),
)
def test_the_codes_of_the_contract_are_declared(declared: Endpoint, numbers: str) -> None:
    assert {int(number) for number in numbers.split()} <= {code.number for code in declared.codes}


@pytest.mark.parametrize(
    ("path", "declared"),
    [
        *((path, mail.send) for path in ("/mail/send", "/api/mail/send", "/apiv2//mail/send/", "/email/send")),
        *((path, mail.send_template) for path in ("/mail/sendtemplate", "/api/mail/sendTemplate", "/apiv2/mail/sendtemplate")),
        ("/webapi/mail.send.json", mail.send_v1),
        ("/webapi/mail.send_template.json", mail.send_template_v1),
        *((path, None) for path in ("/webapi/mail.send.xml", "/api/email/send", "/email/list", "/api/webapi/mail.send.json")),
    ],
)
def test_paths(path: str, declared: Endpoint | None) -> None:
    assert Catalogue(mail.ENDPOINTS).find(path) is declared


def call(raw: Parameters, caller: ApiUser) -> ApiCall:
    """A call that ends before it needs a node."""
    return Call(node=None, caller=caller, region="sg", peer="192.0.2.1", raw=raw, request_id="r")


@pytest.mark.parametrize(
    ("email_type", "paying", "asked", "allowed"),
    [
        *((0, True, "true", False), (1, True, "true", True), (1, False, "1", False), (1, False, "TRUE", False)),
        *((0, False, "false", True), (0, False, "", True), (0, False, "maybe", True)),
    ],
)
def test_address_lists_need_a_batch_user_of_a_paying_account(email_type: int, paying: bool, asked: str, allowed: bool) -> None:
    caller = replace(CALLER, email_type=email_type, account=replace(ACCOUNT, paying=paying))
    asking = call(form({**MAIL, "useAddressList": asked}), caller)
    if allowed:
        return mail.may_send(asking)
    with pytest.raises(Refused) as refused:
        mail.may_send(asking)
    assert refused.value.code is Code.ADDRESS_LIST_NOT_ALLOWED


async def test_headers_of_a_list_send_are_short() -> None:
    raw = form({**TEMPLATED, "to": "a@lists.example.org", "useAddressList": "true", "headers": {"X-A": "b" * 1024}})
    with pytest.raises(Refused) as refused:
        await mail.send_template.handler(call(raw, CALLER), TEMPLATE.read(raw))
    assert refused.value.code is Code.HEADERS_INVALID


# -- what makes two requests the same


def hash_of(raw: Parameters) -> bytes:
    return content_hash(SEND.read(raw))


RICH = {
    **MAIL,
    "xsmtpapi": {"to": ["ann@example.org"], "sub": {"%a%": ["é"], "%b%": [1]}},
    "headers": {"X-A": "1"},
    "respEmailId": "true",
    "sendRequestId": "r1",
}


def test_the_hash_does_not_depend_on_the_carrier() -> None:
    as_json = read(b"", "application/json", json.dumps({**RICH, "respEmailId": True}, indent=2).encode())
    as_query = Parameters(form(RICH).body, {})
    keyed = read(b"", "", urlencode({"apiUser": "u", "apiKey": "k"}).encode() + b"&" + urlencode({"unknown": "1"}).encode())
    with_keys = Parameters(keyed.body, form(RICH).body)
    assert hash_of(form(RICH)) == hash_of(as_json) == hash_of(as_query) == hash_of(with_keys)


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "other"},
        {"html": "<p>other</p>"},
        {"xsmtpapi": {"to": ["bob@example.org"]}},
        {"headers": {"X-A": "2"}},
        {"respEmailId": "false"},
        {"sendRequestId": "r2"},
        {"labelName": "june"},
        {"fromName": "Ann"},
    ],
    ids=repr,
)
def test_other_content_has_another_hash(change: dict[str, Any]) -> None:
    assert hash_of(form({**RICH, **change})) != hash_of(form(RICH))


def test_files_count_by_their_bytes() -> None:
    one, two = (with_files(MAIL, File("attachments", "a.txt", "text/plain", data)) for data in (b"1", b"2"))
    assert hash_of(one) != hash_of(two)


MANY = "%v%" * 50_000


@pytest.mark.parametrize(
    "change",
    [
        {"html": MANY, "xsmtpapi": {"to": ["ann@example.org"], "sub": {"%v%": ["x" * 1000]}}},
        {"html": None, "plain": MANY, "xsmtpapi": {"pubsub": {"%v%": "x" * 1000}}},
        {"subject": "%v%" * 300, "xsmtpapi": {"pubsub": {"%v%": "x" * 1000}}},
        {"xsmtpapi": {"to": ["ann@example.org"], "sub": {"%v%": ["%s%" * 50_000]}, "section": {"s": "x" * 1000}}},
        {"xsmtpapi": {"to": ["a@b.example"], "sub": {f"%{n}%": ["%s%" * 9] for n in range(9000)}, "section": {"s": "x" * 1000}}},
    ],
)
def test_variables_that_would_make_a_mail_of_many_mib_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        sent(form({**MAIL, **change}))
    assert caught.value.code is Code.XSMTPAPI_INVALID


@pytest.mark.parametrize("value", [{"to": ["a@b.example"], "sub": {"%v%": ["x" * 900_000]}}, {"pubsub": {"%v%": "x" * 900_000}}])
def test_a_whole_body_may_be_a_variable(value: dict[str, Any]) -> None:
    html = "<style>" + "p { width: 100% }" * 1000 + "</style>%v%"
    assert sent(form({**MAIL, "html": html, "xsmtpapi": value})).content.html == html


def test_nul_does_not_hide_in_gzip() -> None:
    with pytest.raises(Refused) as caught:
        sent(form({**MAIL, "html": packed("a\0b"), "gzipCompress": "true"}))
    assert caught.value.code is Code.HTML_NOT_GZIP
