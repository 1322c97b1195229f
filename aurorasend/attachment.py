"""Files that customers send along: their names and types, made fit for a mail.

Called by api.mail. Imports codes, content and address only. Always: an `Attachment` from here has bytes, a name
without path and control characters ("" when it came without one) and a type.
"""

import mimetypes
import re
from os.path import splitext
from urllib.parse import unquote_to_bytes

from aurorasend.address import unclean
from aurorasend.codes import Code, Refused
from aurorasend.content import Attachment

UNKNOWN_TYPE = "application/octet-stream"

_percent_encoded = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*").fullmatch
# RFC 2045 §7, RFC 2392: what may stand in <> unquoted; ours: room in one line. What message would have to change is
# refused, since the html would not find its image.
_content_id = re.compile(r"[\w!#$%&'*+./=?^`{|}~@-]{1,200}", re.ASCII).fullmatch


def read(name: str, content_type: str, data: bytes) -> Attachment | None:
    """The file, or None for a part that is nothing: no name and no content. Raises Refused (40818)."""
    if not data:
        if name:
            raise Refused(Code.ATTACHMENT_EMPTY)
        return None
    name = file_name(name)
    return Attachment(name, _type(name, content_type), data)


def file_name(given: str) -> str:
    """The last component of what may be a path, percent-decoded if it is percent-encoding of UTF-8 (spec §9.2)."""
    if "%" in given and _percent_encoded(given):
        try:
            given = unquote_to_bytes(given).decode()
        except UnicodeError:
            pass
    name = given[max(given.rfind("/"), given.rfind("\\")) + 1 :].strip()
    if name in (".", ".."):  # a folder, not a file
        return ""
    return name if not unclean(name) else "".join(sign for sign in name if not unclean(sign))


def content_id(text: str) -> str:
    """A Content-ID without <>. Raises Refused: no code of its own (conventions.md §10)."""
    cid = text.removeprefix("<").removesuffix(">")
    if not _content_id(cid):
        raise Refused(Code.MAIL_FAULT, "embeddedCid must be letters, digits and !#$%&'*+./=?^_`{|}~@-")
    return cid


def _type(name: str, given: str) -> str:
    """Clients without an idea of the type say multipart/form-data (a Java SDK), or nothing."""
    if given and "/" in given and not given.lower().startswith(("multipart/", "message/")):
        return given.strip()
    guessed, compressed = mimetypes.guess_type("x" + splitext(name)[1])
    if compressed:
        return "application/gzip" if compressed == "gzip" else UNKNOWN_TYPE
    return guessed or UNKNOWN_TYPE
