"""What is composed is read back by Python's own `email`, which knows nothing of how it was written."""

import re
from collections.abc import Sequence
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurorasend.address import BadAddress
from aurorasend.content import Attachment, Content, Mailbox, Target
from aurorasend.header import clean
from aurorasend.message import NO_LINKS, Composed, Letter, Links

ANN = Mailbox("ann@mail.example.org", "Ann Lee")
BOB = Target("bob@example.net")
LINK = "https://track.example.org/u/abc"
MESSAGE_ID = "1760000000123_42_7_3391.sg-0_0_0_1-inbound"
CREATED = 1_760_000_000_123_456
VARIABLE = "%%user_defined_unsubscribe_link%%"

# Everything that some reader takes for the end of a line or of a string, and markup of headers.
HOSTILE = "\r\n \t\x00\x0b\x0c\x1c\x1d\x1e\x7f\x85\u2028\u2029\ud800:;,<>@\"\\()=?_%'aB\u00e9\u4f60\U0001f600"
hostile = st.text(HOSTILE, max_size=80) | st.text(max_size=80) | st.just("x\r\nBcc: eve@example.net\r\n\r\n<p>")
clean_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=300)

often = settings(max_examples=100)


def letter(content: Content, attachments: Sequence[Attachment] = ()) -> Letter:
    return Letter(content, attachments, "mail.example.org", MESSAGE_ID, CREATED)


def compose(target: Target = BOB, links: Links = NO_LINKS, files: Sequence[Attachment] = (), **content: object) -> Composed:
    given = {"sender": ANN, "subject": "Hi", "html": None if "plain" in content else "<p>Hello</p>"} | content
    return letter(Content(**given), files).compose(target, 0, links)  # type: ignore[arg-type]


def read(mail: Composed) -> EmailMessage:
    check_octets(mail)
    message = message_from_bytes(mail.raw(), policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def text_of(mail: Composed, subtype: str = "html") -> str:
    part = read(mail).get_body((subtype,))
    assert part is not None and part.get_content_charset() == "utf-8"
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode().replace("\r\n", "\n")


def names(mail: Composed) -> list[str]:
    return [name.decode() for name, _ in mail.fields]


def check_octets(mail: Composed) -> None:
    raw = mail.raw()
    assert re.search(rb"(?<!\r)\n|\r(?!\n)|\x00", raw) is None
    assert raw.endswith(b"\r\n")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert mail.body.isascii()
    assert max(map(len, mail.body.split(b"\r\n"))) <= 76
    head = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert [line.partition(b":")[0].decode() for line in head if line[:1] not in b" \t"] == names(mail)
    assert all(line.strip() for line in head)


PLAIN_HEAD = ["From", "To", "Subject", "Message-ID", "Date", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"]


def test_a_simple_mail() -> None:
    mail = compose()
    assert names(mail) == PLAIN_HEAD
    message = read(mail)
    assert message["From"] == "Ann Lee <ann@mail.example.org>"
    assert message["To"] == "bob@example.net"
    assert message["Message-ID"] == f"<{MESSAGE_ID}0@mail.example.org>"
    assert message["Date"] == "Thu, 09 Oct 2025 08:53:20 +0000"
    assert message.get_content_type() == "text/html"
    assert text_of(mail) == "<p>Hello</p>\n"
    assert not mail.needs_smtputf8


def test_plain_text_keeps_its_lines() -> None:
    mail = compose(plain="Just text\nsecond line\r\n.\r\n.. \rFrom  you\t")
    assert read(mail).get_content_type() == "text/plain"
    assert text_of(mail, "plain") == "Just text\nsecond line\n.\n.. \nFrom  you\t\n"


# Reading back


@often
@given(clean_text)
def test_a_subject_is_read_back(text: str) -> None:
    assert str(read(compose(subject=text))["Subject"]) == text.replace("\t", " ")


@often
@given(clean_text, st.sampled_from(["From", "To", "Cc", "Reply-To"]))
def test_a_name_is_read_back(name: str, field: str) -> None:
    box = Mailbox("eve@example.net", name)
    given_ = {"sender": ANN, "to": (box, ANN), "cc": (ANN, box), "reply_to": (box, box)}
    if field == "From":
        given_["sender"] = box
    mail = compose(**given_)
    check_octets(mail)
    value = dict(mail.fields)[field.encode()].decode().replace("\r\n", "")
    found = [shown for shown, address in getaddresses([value]) if address == "eve@example.net"]
    assert {str(make_header(decode_header(shown))) for shown in found} == {re.sub(" +", " ", name).strip(" ")}
    assert len(getaddresses([value])) == {"From": 1}.get(field, 2)


def test_what_looks_like_an_encoded_word_is_plain_text() -> None:
    """Else a subject could show something that nobody checked, control characters included."""
    word = "=?utf-8?q?=0D=0ABcc:?="
    mail = compose(subject=f"a {word} b", sender=Mailbox("ann@mail.example.org", word), files=[Attachment(word, "a/b", b"")])
    assert word.encode() not in mail.raw()
    assert read(mail)["Subject"] == f"a {word} b"


@often
@given(st.text(st.characters(codec="utf-8")), st.booleans())
def test_a_text_is_read_back(text: str, html: bool) -> None:
    mail = compose(**{"html" if html else "plain": text})
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    assert text_of(mail, "html" if html else "plain") == lines + "\n" * (not lines.endswith("\n"))


@often
@given(clean_text.filter(lambda name: name.strip(" ") == name != ""), st.binary(max_size=500))
def test_a_file_is_read_back(name: str, octets: bytes) -> None:
    files = [Attachment(name, "application/pdf", octets), Attachment("b.txt", "text/plain; charset=gbk", b"b")]
    mail = compose(files=files)
    first, second = list(read(mail).iter_attachments())
    assert first.get_content_type() == "application/pdf"
    assert first.get_payload(decode=True) == octets
    if len(name.encode()) <= 255:
        assert first.get_filename() == unquote(name.strip())  # `email` strips what it returns, and takes <> off
    assert second.get_content_charset() == "gbk" and second.get_filename() == "b.txt"
    assert text_of(mail) == "<p>Hello</p>\n"


def test_a_file_name_is_said_in_both_ways_and_keeps_its_extension() -> None:
    body = compose(files=[Attachment("报告 1.pdf", "application/pdf", b"x")]).body
    assert b'application/pdf; name="=?utf-8?b?5oql5ZGKIDEucGRm?="\r\n' in body
    assert b"attachment; filename*=utf-8''%E6%8A%A5%E5%91%8A%201.pdf\r\n" in body
    mail = compose(files=[Attachment("报" * 200 + ".pdf", "application/pdf", b"x")])
    (file,) = read(mail).iter_attachments()
    assert re.fullmatch("报{83}.pdf", file.get_filename() or "")


@pytest.mark.parametrize(
    "given_type", ["", "text", "multipart/mixed; boundary=x", "message/rfc822", "a/b\r\nX: y", "text/html\x00", "é/é", "a/b c"]
)
def test_a_type_that_no_file_can_have(given_type: str) -> None:
    (file,) = read(compose(files=[Attachment("x", given_type, b"x")])).iter_attachments()
    assert file.get_content_type() == "application/octet-stream"
    assert file.keys() == ["Content-Type", "Content-Disposition", "Content-Transfer-Encoding"]


def test_images_are_related_and_files_are_mixed() -> None:
    files = [Attachment("a.txt", "text/plain", b"alpha"), Attachment("logo.png", "image/png", b"PNG", cid="logo1")]
    mail = compose(files=files, html='<img src="cid:logo1">')
    message = read(mail)
    assert message.get_content_type() == "multipart/mixed"
    related, file = message.iter_parts()
    assert related.get_content_type() == "multipart/related" and related["Content-Type"].params["type"] == "text/html"
    html, image = related.iter_parts()
    assert image["Content-ID"] == "<logo1>" and image.get_content_disposition() == "inline"
    assert image.get_payload(decode=True) == b"PNG" and file.get_payload(decode=True) == b"alpha"
    assert html.get_content().splitlines() == ['<img src="cid:logo1">']
    assert read(compose(files=files[1:])).get_content_type() == "multipart/related"
    assert read(compose(files=files[1:], plain="x")).get_content_type() == "multipart/mixed"


def test_a_text_cannot_hold_a_boundary() -> None:
    file = Attachment("a.txt", "text/plain", b"alpha")
    (line,) = set(re.findall(rb"--=_[0-9a-f]+\.m(?=\r\n)", compose(files=[file]).body))
    mail = compose(files=[file], plain=f"a\n{line.decode()}\n\nb\n{line.decode()}--\n", html=None)
    assert len(list(read(mail).iter_parts())) == 2


# Recipients


def test_everybody_shown_sees_everybody_but_bcc() -> None:
    broadcast = letter(
        Content(ANN, "Hi", "x", to=(Mailbox("a@x.org", "Ä"), Mailbox("b@x.org")), cc=(Mailbox("c@x.org", "C, D"),))
    )
    for address in ("a@x.org", "c@x.org", "hidden@x.org"):
        message = read(broadcast.compose(Target(address), 3))
        assert message["To"] == "Ä <a@x.org>, b@x.org"
        assert message["Cc"] == '"C, D" <c@x.org>'
        assert message["Message-ID"] == f"<{MESSAGE_ID}3@mail.example.org>"
        assert "hidden" not in message.as_string()


def test_a_separate_mail_shows_its_recipient_alone() -> None:
    separate = letter(Content(ANN, "Hi", "x", cc=(Mailbox("c@x.org"),)))
    for address in ("a@x.org", "b@x.org"):
        message = read(separate.compose(Target(address), 0))
        assert message["To"] == address and "Cc" not in message


def test_a_hundred_recipients_are_folded() -> None:
    to = tuple(Mailbox(f"recipient-{n}@example.net", f"Recipient, {n}") for n in range(100))
    mail = compose(to=to)
    assert len(read(mail)["To"].addresses) == 100
    assert max(map(len, mail.raw().split(b"\r\n"))) <= 76


def test_an_international_domain_needs_no_smtputf8() -> None:
    mail = compose(Target("bob@bücher.example"), sender=Mailbox("ann@bücher.example"))
    assert dict(mail.fields)[b"To"] == b"bob@xn--bcher-kva.example"
    assert dict(mail.fields)[b"From"] == b"ann@xn--bcher-kva.example"
    assert not mail.needs_smtputf8


@pytest.mark.parametrize("field", ["sender", "reply_to", "to", "cc", "target"])
def test_an_international_local_part_needs_smtputf8(field: str) -> None:
    box = Mailbox("jörg@bücher.example")
    given_ = {"to": (Mailbox("bob@example.net"),)} | {field: box if field == "sender" else (box,)}
    mail = compose(Target(box.address)) if field == "target" else compose(**given_)
    assert mail.needs_smtputf8
    assert "jörg@xn--bcher-kva.example".encode() in mail.raw()


@pytest.mark.parametrize("address", ["", "x", "a@b\r\nBcc: c@d.org", "a@b.org, c@d.org", "a\x00@b.org", "a@b.org>", "é@b..org"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    for wrong in ({"sender": Mailbox(address)}, {"to": (Mailbox(address),)}, {"reply_to": (ANN, Mailbox(address))}):
        with pytest.raises(BadAddress):
            compose(**wrong)
    with pytest.raises(BadAddress):
        compose(Target(address))


@pytest.mark.parametrize("message_id", ["", "a b", "a>b", "a\r\nb", "é", "a@b"])
def test_a_message_id_that_is_none_is_refused(message_id: str) -> None:
    with pytest.raises(ValueError, match="messageId"):
        Letter(Content(ANN, "Hi", "x"), [], "mail.example.org", message_id, CREATED)


# Fields


def test_reply_to_and_receipt() -> None:
    message = read(compose(reply_to=(Mailbox("r1@x.org"), Mailbox("r2@x.org", "Zoë")), notification=True))
    assert message["Reply-To"] == "r1@x.org, Zoë <r2@x.org>"
    assert message["Disposition-Notification-To"] == "ann@mail.example.org"
    assert "Reply-To" not in names(compose()) and "Disposition-Notification-To" not in names(compose())


def test_headers_are_kept_in_order() -> None:
    given_ = (
        ("X-Order", "42"),
        ("SC-Custom-a", "Zoë  x"),
        ("List-Id", "Zoë's list <news.example.org>"),
        ("X-Q", "=?utf-8?q?=C3=A9?="),
    )
    mail = compose(headers=given_)
    message = read(mail)
    assert names(mail)[6:10] == [name for name, _ in given_]
    assert [message[name] for name, _ in given_] == ["42", "Zoë  x", "Zoë's list <news.example.org>", "é"]
    assert b"<news.example.org>" in dict(mail.fields)[b"List-Id"]


def test_a_message_id_of_the_customer_is_kept() -> None:
    mail = compose(headers=(("message-id", "<own@example.org>"), ("Message-ID", "<other@example.org>")))
    assert names(mail).count("message-id") == 1 and "Message-ID" not in names(mail)
    assert read(mail)["Message-ID"] == "<own@example.org>"


def test_reply_to_among_the_headers() -> None:
    assert read(compose(headers=(("reply-to", "r@x.org"),)))["Reply-To"] == "r@x.org"
    assert read(compose(headers=(("Reply-To", '"Zoë X" <r@x.org>, nobody'),)))["Reply-To"] == "Zoë X <r@x.org>"
    assert "Reply-To" not in names(compose(headers=(("Reply-To", "é"),)))
    assert read(compose(headers=(("Reply-To", "h@x.org"),), reply_to=(ANN,)))["Reply-To"] == "Ann Lee <ann@mail.example.org>"


OURS = {
    "From", "TO", "Cc", "Bcc", "Subject", "Date", "Sender", "Return-Path", "Received", "DKIM-Signature", "ARC-Seal", "content-id",
    "Content-Type", "Authentication-Results", "MIME-Version", "X-SMTPAPI", "disposition-notification-to",
}  # fmt: skip


@pytest.mark.parametrize("name", [*sorted(OURS), "", "X A", "X:", "X\r\nBcc", "Xé", "X\x00", "X" * 77])
def test_a_header_that_is_ours_or_impossible_is_left_out(name: str) -> None:
    assert names(compose(headers=((name, "evil"),))) == PLAIN_HEAD
    assert b"evil" not in compose(headers=((name, "evil"),)).raw()


@often
@given(clean_text | st.text("a ", min_size=500, max_size=3000))
def test_a_header_value_is_read_back(value: str) -> None:
    message = read(compose(headers=(("X-Custom-Field", value),)))
    expected = str(make_header(decode_header(value))) if value.isascii() and "=?" in value else value
    assert " ".join(str(message["X-Custom-Field"]).split(" ")) == expected.strip(" ")


def test_a_word_longer_than_a_line_is_encoded() -> None:
    mail = compose(headers=(("X-Long", "a" * 3000), ("X-Fits", "b" * 900)), subject="c" * 998)
    message = read(mail)
    assert message["X-Long"] == "a" * 3000 and message["Subject"] == "c" * 998
    assert dict(mail.fields)[b"X-Fits"] == b"b" * 900


@settings(max_examples=200)
@given(hostile, hostile, hostile, hostile)
def test_no_text_adds_a_field_a_line_or_a_part(one: str, two: str, three: str, four: str) -> None:
    files = [Attachment(one, two, b"x", cid=three), Attachment(four, one, b"y")]
    content = Content(
        Mailbox("ann@mail.example.org", one),
        two + "%v%",
        html=three + "%v%",
        summary=four,
        reply_to=(Mailbox("r@x.org", two),),
        headers=(("X-Given", three), (four, one), ("List-Id", two)),
        notification=True,
        pubsub={"w": one},
        section={"s": two},
        track_unsubscribe=True,
    )
    mail = letter(content, files).compose(Target("bob@example.net", {"v": four, "x": three}), 0, Links(one))
    check_octets(mail)
    message = message_from_bytes(mail.raw(), policy=policy.compat32)
    allowed = {*PLAIN_HEAD, "Reply-To", "Disposition-Notification-To", "X-Given", "List-Id"} - {"Content-Transfer-Encoding"}
    assert set(message.keys()) - allowed <= {four}
    assert len(message.keys()) == len({key.lower() for key in message.keys()})  # noqa: SIM118
    kinds = [part.get_content_type() for part in message.walk()]
    assert kinds[:2] == ["multipart/mixed", "multipart/related"] if three else ["multipart/mixed", "text/html"]
    assert len(kinds) == (5 if three else 4)


@given(hostile)
def test_clean_text_has_no_line_ends(text: str) -> None:
    assert len(clean(text).splitlines()) <= 1
    clean(text).encode()


# Variables


def html_for(html: str, variables: dict[str, str] | None = None, links: Links = NO_LINKS, **content: object) -> str:
    return text_of(compose(Target("bob@example.net", variables or {}), links, html=html, **content)).removesuffix("\n")


def test_variables_are_filled_in_once() -> None:
    values = {"name": "%sum%", "sum": "1989.5", "raw": "<b>&", "nil": "", "日期": "x\ny", "a b": "no"}
    html = "%name%|%sum%|%unknown%|%raw%|%nil%|%日期%|%a b%|100%%sum%|%sum%%sum%|%it's%"
    assert html_for(html, values) == "%sum%|1989.5|%unknown%|<b>&||x\ny|%a b%|100%1989.5|1989.51989.5|%it's%"


def test_the_longest_name_has_64_characters() -> None:
    long, longer = "n" * 64, "n" * 65
    assert html_for(f"%{long}%%{longer}%", {long: "1", longer: "2"}) == f"1%{longer}%"


def test_variables_in_the_subject() -> None:
    for value in ("288\r\nBcc: eve@example.net", "288\u2028Bcc: eve@example.net", "28\x008\x85Bcc: eve@example.net"):
        mail = compose(Target("b@x.org", {"sum": value}), subject="You owe %sum% %sign%", pubsub={"sign": "€"})
        assert read(mail)["Subject"] == "You owe 288Bcc: eve@example.net €"
        assert names(mail) == PLAIN_HEAD


def test_common_values_and_sections() -> None:
    assert html_for("%code% %other%", pubsub={"code": "%other%"}) == "%other% %other%"
    given_ = {"tier": "%gold%, %name%", "name": "Ann"}
    assert html_for("%tier% %gold%", given_, section={"gold": "thanks %name%", "name": "Eve"}) == "thanks %name%, Eve %gold%"


def test_variables_are_not_for_headers_names_and_files() -> None:
    values = {"v": "value"}
    mail = compose(
        Target("b@x.org", values),
        files=[Attachment("%v%.txt", "text/plain", b"%v%")],
        headers=(("X-V", "%v%"),),
        sender=Mailbox("ann@mail.example.org", "%v%"),
    )
    message = read(mail)
    assert message["X-V"] == "%v%" and message["From"] == "%v% <ann@mail.example.org>"
    (file,) = message.iter_attachments()
    assert file.get_filename() == "%v%.txt" and file.get_content() == "%v%"


@often
@given(st.lists(st.text("ab%\r\n .=\u4f60", max_size=90), min_size=1, max_size=8), st.text("ab%\r\n .=\u4f60", max_size=90))
def test_a_filled_in_text_is_what_joining_gives(texts: list[str], value: str) -> None:
    texts = [text.replace("%", "").replace("\r", "\n") for text in texts]
    value = value.replace("\r", "\n")
    assert html_for("%v%".join(texts) + "!", {"v": value}) == value.join(texts) + "!"


def test_a_body_that_is_the_same_for_all_is_one_object() -> None:
    shared = letter(Content(ANN, "Hi %n%", "<p>x</p>"))
    bodies = [shared.compose(Target("b@x.org", {"n": n}), 0).body for n in "ab"]
    assert bodies[0] is bodies[1]


# Unsubscribing

BLOCK = re.compile(rf'<div [^>]*><a href="{LINK}"[^>]*>Unsubscribe</a></div>')


def test_the_default_block_stands_at_the_bottom() -> None:
    on = {"links": Links(LINK), "track_unsubscribe": True}
    assert BLOCK.sub("#", html_for("<html><body>x</BODY ></html>", **on)) == "<html><body>x#</BODY ></html>"
    assert BLOCK.sub("#", html_for("<body>x</body>y</html>", **on)) == "<body>x#</body>y</html>"
    assert BLOCK.sub("#", html_for("x</html>\n", **on)) == "x#</html>"
    assert BLOCK.sub("#", html_for("x %name%", {"name": "</body>"}, **on)) == "x </body>#"


def test_no_block_without_tracking_or_link_and_none_in_plain_text() -> None:
    assert html_for("x", links=Links(LINK)) == "x"
    assert html_for("x", track_unsubscribe=True) == "x"
    assert text_of(compose(links=Links(LINK), plain=f"x {VARIABLE}", track_unsubscribe=True), "plain") == f"x {LINK}\n"
    assert text_of(compose(links=Links(LINK), plain="x", track_unsubscribe=True), "plain") == "x\n"


def test_the_variable_is_replaced_by_the_link() -> None:
    assert html_for(f"<i>[{VARIABLE}]</i>", links=Links(LINK), track_unsubscribe=True) == f"<i>[{LINK}]</i>"
    assert html_for(f"<i>[{VARIABLE}]</i>", links=Links(LINK)) == "<i>[]</i>"
    assert html_for(f"<i>[{VARIABLE}]</i>", track_unsubscribe=True) == "<i>[]</i>"


def test_a_customers_own_link_wins() -> None:
    own = {"user_defined_unsubscribe_link": "https://own.example/u"}
    assert html_for(VARIABLE, own, Links(LINK), track_unsubscribe=True) == "https://own.example/u"
    assert html_for(VARIABLE, links=Links(LINK), track_unsubscribe=True, pubsub=own) == "https://own.example/u"


def test_list_unsubscribe() -> None:
    message = read(compose(links=Links(LINK), track_unsubscribe=True))
    assert message["List-Unsubscribe"] == f"<{LINK}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


@pytest.mark.parametrize(
    "link", ["", "http://t.example/u", "https://t.example/u\r\nX: y", "https://t.example/<u>", "https://é.example"]
)
def test_no_list_unsubscribe_without_an_https_link(link: str) -> None:
    assert names(compose(links=Links(link), track_unsubscribe=True)) == PLAIN_HEAD


def test_a_customers_list_unsubscribe_is_left_alone() -> None:
    assert names(compose(links=Links(LINK))) == PLAIN_HEAD
    mail = compose(links=Links(LINK), track_unsubscribe=True, headers=(("list-unsubscribe", "<mailto:out@example.org>"),))
    assert read(mail)["List-Unsubscribe"] == "<mailto:out@example.org>"
    assert "List-Unsubscribe-Post" not in names(mail) and names(mail).count("List-Unsubscribe") == 0


# Summary


def summary_in(html: str, summary: str) -> str:
    return re.sub(r"<div data-content-summary[^>]*>([^<]*)</div>", r"{\1}", html_for(html, {"n": "Ann"}, summary=summary))


def test_the_summary_stands_after_body_and_is_hidden() -> None:
    assert summary_in('<html><BODY class="a>b"\nid=c><p>x</p></BODY></html>', "hi %n%") == (
        '<html><BODY class="a>b"\nid=c>{hi Ann}<p>x</p></BODY></html>'
    )
    assert summary_in("<p>x</p>", "a < b & c") == "{a &lt; b &amp; c}<p>x</p>"
    assert summary_in("<bodywork>x", "a") == "{a}<bodywork>x"
    assert "display:none" in html_for("x", summary="a")


def test_a_new_summary_replaces_the_marked_one() -> None:
    first = html_for("<body>x</body>", summary=r"first \1")
    assert summary_in(first, r"second \g 1") == r"<body>{second \g 1}x</body>"


@pytest.mark.parametrize("html", ["<body " * 50_000, "<body '" * 50_000, '<body "' * 50_000, "</body" * 50_000, "%" * 300_000])
def test_hostile_html_takes_linear_time(html: str) -> None:
    letter(Content(ANN, "Hi", html, summary="x", track_unsubscribe=True)).compose(BOB, 0, Links(LINK))


@pytest.mark.parametrize("value", ["", "  ", "<\u00e9@x>", "<a@b> <c@d>", "<" + "a" * 950 + "@b>"])
def test_what_cannot_be_a_message_id_is_replaced_by_ours(value: str) -> None:
    assert read(compose(headers=(("Message-ID", value),))).get_all("Message-ID") == [f"<{MESSAGE_ID}0@mail.example.org>"]


def test_an_empty_list_unsubscribe_is_none() -> None:
    mail = compose(links=Links(LINK), headers=(("List-Unsubscribe", " "),), track_unsubscribe=True)
    assert read(mail).get_all("List-Unsubscribe") == [f"<{LINK}>"]


@pytest.mark.parametrize("name", ["\U0001f600" * 60 + ".pdf", "a\u62a5" * 40 + ".txt", "\u00e9a" * 60])
def test_every_piece_of_a_file_name_can_be_decoded_by_itself(name: str) -> None:
    mail = compose(files=[Attachment(name, "text/plain", b"x")])
    (part,) = read(mail).iter_attachments()
    assert part.get_filename() == name
    assert not part["Content-Disposition"].defects
