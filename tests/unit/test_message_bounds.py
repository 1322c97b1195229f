"""How much may be filled into a mail, and into what lists of mail show."""

import pytest

from aurorasend.content import Content, Mailbox, Target
from aurorasend.message import Letter
from aurorasend.variable import TooLong

ANN = Mailbox("ann@mail.example.org", "Ann Lee")


def letter(content: Content) -> Letter:
    return Letter(content, (), "mail.example.org", "1760000000123_42_7_3391.sg-0_0_0_1-inbound", 1_760_000_000_123_456)


def test_a_subject_for_lists_is_as_a_reader_sees_it() -> None:
    subject = letter(Content(sender=ANN, subject="Hi %v%", html="x")).subject_of(Target("bob@example.net", {"v": "a\0b\r\nc"}))
    assert subject == "Hi abc"


def test_a_mail_does_not_grow_without_limit() -> None:
    member = Target("bob@example.net", {"v": "x" * 1024})
    with pytest.raises(TooLong):
        letter(Content(sender=ANN, subject="Hi", html="%v%" * 20_000)).compose(member, 0)
    with pytest.raises(TooLong):
        letter(Content(sender=ANN, subject="%v%" * 40, html="x")).compose(member, 0)
