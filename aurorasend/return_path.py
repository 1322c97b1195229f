"""The envelope sender of one recipient's mail, signed, so that a bounce leads back to it and nobody can forge one.

Called by delivery. Imports clock only. Always: who does not have the key can neither make an address that `read`
takes, nor change one, nor learn from one whose mail it was (spec mail.md §10: the prefix is random per mail); nor
can a prefix be used at another domain. `read` is called by tests only: it shows that what `make` writes leads back.

The local part is `b-` and 60 hexadecimal digits (in any case: some hosts fold it) of a 12 octet mark and the sealed
account id, recipient id and day. The mark is a keyed hash (BLAKE2b, RFC 7693) of these and of the domain, and also what
the seal starts from (deterministic authenticated encryption, as RFC 5297 does it with AES).
"""

import re
import struct
from hashlib import blake2b
from hmac import compare_digest

from aurorasend import clock

_MARK = 12  # octets: 96 bits; RFC 2104 §5 asks for 80
_FIELDS = struct.Struct(">QQH")  # account, recipient, day since 1970 (until 2149)

_local = re.compile(r"b-([0-9a-f]{60})").fullmatch


def make(key: bytes, account_id: int, recipient_id: int, domain: str, now_us: int) -> str:
    """The envelope sender for this recipient, at the sending domain (A-labels). Ids are 64 bits, not negative."""
    fields = _FIELDS.pack(account_id, recipient_id, now_us // clock.DAY)
    mark = _mark(key, fields, domain)
    return f"b-{mark.hex()}{_seal(key, mark, fields).hex()}@{domain}"


def read(address: str, key: bytes, oldest_us: int = 0) -> tuple[int, int] | None:
    """Account id and recipient id of an address that `make` made with `key`, else None.

    It carries the day (UTC) on which it was made. For the check of age give in `oldest_us` the time before
    which nothing counts, such as now less 30 days: an address made on an earlier day than that gives None.
    """
    local, _, domain = address.lower().rpartition("@")
    found = _local(local)
    if not found:
        return None
    octets = bytes.fromhex(found[1])
    mark, sealed = octets[:_MARK], octets[_MARK:]
    fields = _seal(key, mark, sealed)
    if not compare_digest(mark, _mark(key, fields, domain)):
        return None
    account_id, recipient_id, day = _FIELDS.unpack(fields)
    return (account_id, recipient_id) if day >= oldest_us // clock.DAY else None


def _mark(key: bytes, fields: bytes, domain: str) -> bytes:
    return blake2b(fields + domain.lower().encode(), digest_size=_MARK, key=key, person=b"return path").digest()


def _seal(key: bytes, mark: bytes, fields: bytes) -> bytes:
    """Hides what is open and opens what is hidden."""
    stream = blake2b(mark, digest_size=_FIELDS.size, key=key, person=b"seal").digest()
    return (int.from_bytes(fields) ^ int.from_bytes(stream)).to_bytes(_FIELDS.size)
