"""Did the measured system sign? Reads a message that the sink kept, so that nobody is praised for unsigned mail."""

import re

import dkim

RSA_2048_BYTES = 256


def signature_tags(message: bytes) -> dict[bytes, bytes]:
    """The tags of the first RSA signature of `message`; empty when there is none."""
    for header in re.findall(rb"(?im)^DKIM-Signature:((?:.*\r?\n)(?:[ \t].*\r?\n)*)", message):
        pairs = (tag.partition(b"=") for tag in header.split(b";"))
        tags = {name.strip(): re.sub(rb"\s+", b"", value) for name, _, value in pairs}
        if tags.get(b"a") == b"rsa-sha256":
            return tags
    return {}


def is_rsa_2048(message: bytes) -> bool:
    """Whether it carries a signature of the length that RSA-2048 gives."""
    signature = signature_tags(message).get(b"b", b"")
    return len(signature.rstrip(b"=")) * 3 // 4 == RSA_2048_BYTES


def verifies(message: bytes, record: bytes) -> bool:
    """Whether dkimpy accepts its first signature with this DNS record."""
    return bool(dkim.verify(message, dnsfunc=lambda name, timeout=5: record))
