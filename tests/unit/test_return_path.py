import re
import struct
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurorasend import clock
from aurorasend.return_path import make, read

KEY = b"k" * 32
NOW = 1_760_000_000_000_000
ids = st.integers(0, 2**64 - 1)


@given(ids, ids, st.integers(0, 2**52))
def test_what_was_made_is_read(account_id: int, recipient_id: int, now_us: int) -> None:
    address = make(KEY, account_id, recipient_id, "mail.example.org", now_us)
    local, _, domain = address.partition("@")
    assert re.fullmatch(r"[a-z0-9-]{1,64}", local)
    assert domain == "mail.example.org"
    assert read(address, KEY) == (account_id, recipient_id)
    assert read(address.upper(), KEY) == (account_id, recipient_id)


@given(ids, ids, st.integers(0, 49), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_changed_address_is_nobodys(account_id: int, recipient_id: int, at: int, letter: str) -> None:
    address = make(KEY, account_id, recipient_id, "mail.example.org", NOW)
    changed = address[:at] + letter + address[at + 1 :]
    assert (read(changed, KEY) is None) == (changed != address)


def test_only_the_key_and_the_domain_it_was_made_for() -> None:
    address = make(KEY, 1, 2, "mail.example.org", NOW)
    assert read(address, b"j" * 32) is None
    assert read(address.replace("mail.", "other."), KEY) is None


@given(st.text() | st.from_regex(r"b-[a-z2-7]{48}@[a-z.]{0,20}", fullmatch=True))
def test_no_other_text_is_an_address_of_ours(text: str) -> None:
    assert read(text, KEY) is None


def test_age_is_told_by_the_day() -> None:
    month = timedelta(days=30) // timedelta(microseconds=1)
    address = make(KEY, 1, 2, "mail.example.org", NOW)
    assert read(address, KEY, oldest_us=NOW) == (1, 2)
    assert read(address, KEY, oldest_us=NOW + month - month) == (1, 2)
    assert read(address, KEY, oldest_us=NOW + clock.DAY) is None


def test_neighbours_look_unlike_each_other() -> None:
    """The prefix is random per mail (mail.md §10): it tells nothing of how much an account sends."""
    first, second = (make(KEY, 7, recipient, "mail.example.org", NOW) for recipient in (1, 2))
    same = sum(a == b for a, b in zip(first[2:50], second[2:50], strict=True))
    assert same < 16


@pytest.mark.parametrize("account_id", [-1, 2**64])
def test_an_id_out_of_range_is_refused(account_id: int) -> None:
    with pytest.raises(struct.error):
        make(KEY, account_id, 1, "mail.example.org", NOW)
