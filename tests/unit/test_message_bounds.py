"""How much may be filled into a mail, and into what lists of mail show."""

import pytest

from aurorasend.content import Content, Mailbox, Target
from aurorasend.message import Letter
from aurorasend.variable import MAX_GIVEN, MAX_HOLES, TooLong, check_filled

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


@pytest.mark.parametrize("html", ["%v%" * 1000, "%v%%w%" * 500])
def test_the_size_of_a_mail_is_known_before_it_is_composed(html: str) -> None:
    content = Content(sender=ANN, subject="Hi", html=html, section={"s": "\u6c49" * 100})
    target = Target("bob@example.net", {"v": "%s%", "w": "%s%"})
    assert letter(content).text_size(target) >= 300_000
    assert 900_000 <= len(letter(content).compose(target, 0).body) <= 3.5 * letter(content).text_size(target)


def test_what_is_filled_in_for_all_counts_in_memory() -> None:
    content = Content(sender=ANN, subject="Hi", html="%v%" * 1000, pubsub={"v": "x" * 1000})
    assert letter(content).text_cost >= 2_000_000


def test_a_text_has_so_many_places_for_variables() -> None:
    check_filled("", "%v%" * MAX_HOLES, (), {})
    with pytest.raises(TooLong):
        check_filled("", "%v%" * (MAX_HOLES + 1), (), {})
    with pytest.raises(TooLong):
        check_filled("", "%v%" * 1000, ({"v": "x" * (MAX_GIVEN // 1000 + 1)},), {})
