"""Files of a send: names as real clients send them, types, empty ones."""

import pytest

from aurorasend.attachment import content_id, file_name, read
from aurorasend.codes import Code, Refused
from aurorasend.content import Attachment


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a.txt", "a.txt"),
        ("报告.pdf", "报告.pdf"),
        ("/documents/notes.csv", "notes.csv"),
        ("C:\\Users\\ann\\notes.csv", "notes.csv"),
        ("%E6%8A%A5%E5%91%8A.txt", "报告.txt"),
        ("%2Fetc%2Fpasswd", "passwd"),
        ("100%.txt", "100%.txt"),
        ("%FF%FE.txt", "%FF%FE.txt"),  # percent-encoding, but not of UTF-8
        ("a%0D%0AX-Evil: 1.txt", "aX-Evil: 1.txt"),
        ("a\u2028b.txt", "ab.txt"),
        ("\udcff%41.txt", "%41.txt"),
        ("/", ""),
        ("..", ""),
        ("a/..", ""),
        ("", ""),
    ],
)
def test_file_names(given: str, name: str) -> None:
    assert file_name(given) == name


@pytest.mark.parametrize(
    ("name", "given", "content_type"),
    [
        ("a.bin", "image/png", "image/png"),
        ("notes.csv", "", "text/csv"),
        ("a.pdf", "multipart/form-data; charset=ISO-8859-1", "application/pdf"),  # sendcloud4j
        ("a.tar.gz", "", "application/gzip"),
        ("a.unknown-extension", "", "application/octet-stream"),
        ("", "", "application/octet-stream"),
        ("data:text/html,x", "", "application/octet-stream"),
    ],
)
def test_types(name: str, given: str, content_type: str) -> None:
    assert read(name, given, b"x") == Attachment(file_name(name), content_type, b"x")


def test_a_part_that_is_nothing_is_ignored_and_an_empty_file_refused() -> None:
    assert read("", "", b"") is None
    with pytest.raises(Refused) as refused:
        read("empty.txt", "", b"")
    assert refused.value.code is Code.ATTACHMENT_EMPTY


def test_content_ids() -> None:
    assert content_id("<logo1@x>") == "logo1@x"
    for bad in ("", "<>", "a b", "a>b", "a\r\nb", "é", "x" * 201, "(c)", "[x]", 'a"b', "a,b", "a\\b"):
        with pytest.raises(Refused):
            content_id(bad)
