"""The forms of one text, and what else a request may ask of the mail around it."""

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from aurorasend.content import Attachment, Content, Mailbox, Target
from aurorasend.message import Letter

ANN = Mailbox("ann@mail.example.org", "Ann Lee")


def letter(content: Content, *attachments: Attachment) -> Letter:
    return Letter(content, attachments, "mail.example.org", "1760000000123_42_7_3391.sg-0_0_0_1-inbound", 1_760_000_000_123_456)


def read(written: Letter, target: Target) -> EmailMessage:
    message = message_from_bytes(written.compose(target, 0).raw(), policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def test_plain_and_html_are_two_forms_of_one_text() -> None:
    content = Content(ANN, "Hi", html="<p>%name%</p>", plain="Dear %name%\n%code%", pubsub={"code": "7"})
    written = letter(content, Attachment("a.png", "image/png", b"1", "a"))
    for name in ("Bob", "Cy"):
        parts = list(read(written, Target("bob@example.net", {"name": name})).walk())
        assert [part.get_content_type() for part in parts] == [
            "multipart/alternative",
            "text/plain",
            "multipart/related",
            "text/html",
            "image/png",
        ]
        assert parts[1].get_payload(decode=True) == f"Dear {name}\r\n7\r\n".encode()
        assert parts[3].get_payload(decode=True) == f"<p>{name}</p>\r\n".encode()


def test_a_receipt_goes_to_the_sender_unless_an_address_is_named() -> None:
    bob = Target("bob@example.net")
    for asked, address in ({"notification": True}, ANN.address), ({"receipt_to": "r@x.org", "notification": True}, "r@x.org"):
        assert read(letter(Content(ANN, "Hi", "x", **asked)), bob)["Disposition-Notification-To"] == address  # type: ignore[arg-type]


def filled(text: str, values: dict[str, str], **content: object) -> str:
    target = Target("bob@example.net", values)
    payload = read(letter(Content(ANN, "Hi", plain=text + "\n", **content)), target).get_payload(decode=True)  # type: ignore[arg-type]
    assert isinstance(payload, bytes)
    return payload.decode().removesuffix("\r\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("?q=a%20b&id=%id%", "?q=a%20b&id=7"),
        ("width:50%;height:%id%px", "width:50%;height:7px"),
        ("%x%id%", "%x7"),
        ("%id%x%id%", "7x7"),
        ("%id%id%id%", "7id7"),
        ("%x%y%id%z%id%", "%x%y7z7"),
        ("%id%%id%%x%%id%%", "77%x%7%"),
        ("%%id%%", "%%id%%"),
        ("%x%%id%", "%x%7"),
    ],
)
def test_a_percent_sign_before_a_variable_does_not_hide_it(text: str, expected: str) -> None:
    assert filled(text, {"id": "7"}) == expected
    assert filled(text, {}, pubsub={"id": "7"}) == expected
    assert filled("%v%", {"v": text}, section={"id": "7"}) == expected
    message = read(letter(Content(ANN, f"s {text}", plain="x")), Target("bob@example.net", {"id": "7"}))
    assert message["Subject"] == f"s {expected}"
    assert filled(text, {}) == text
