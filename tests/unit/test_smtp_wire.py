"""What a message looks like when it leaves."""

import re

from hypothesis import given
from hypothesis import strategies as st

from aurorasend.smtp_wire import wire_form

message_octets = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"\r\n.\r\n", b"\n.\n", b"\n.\r\n", b"\r.\r"]), max_size=30
).map(b"".join)


@given(message_octets)
def test_no_bare_line_end_leaves_and_only_the_last_dot_stands_alone(message: bytes) -> None:
    got = wire_form(message)
    assert re.search(rb"\r(?!\n)|(?<!\r)\n", got) is None
    assert got.endswith(b".\r\n")
    assert (b"\r\n" + got).find(b"\r\n.\r\n") == len(got) - 3
    lines = got[:-3].split(b"\r\n")
    plain = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)
    expected = re.sub(rb"\r\n|\r|\n", b"\r\n", message)
    assert plain == (expected if not expected or expected.endswith(b"\r\n") else expected + b"\r\n")


def test_a_clean_message_is_sent_as_it_is() -> None:
    assert wire_form(b"Subject: hello\r\n\r\nHello\r\n") == b"Subject: hello\r\n\r\nHello\r\n.\r\n"
    assert wire_form([b"a\r", b"\nb\r\n"]) == b"a\r\nb\r\n.\r\n"
