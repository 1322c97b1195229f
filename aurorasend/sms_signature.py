"""Signature mode of the SMS API: proof that the caller knows the SMS_KEY without sending it.

Called by sms_login. Calls nothing of ours. The signature is a plain hash over the sorted parameters between two
copies of the key, not an HMAC; MD5 for the clients of v2, SHA-256 for the newer SDKs (sms.md §2.2).
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator

_UNSIGNED = frozenset(("smsKey", "signature"))
_HEX = re.compile("[0-9a-fA-F]+")
_HASHES: dict[int, str] = {32: "md5", 64: "sha256"}  # by hex digits
_LOST_PLUS = re.compile("(^|[,;]) +(?=[0-9])")


def is_wellformed(signature: str) -> bool:
    return len(signature) in _HASHES and _HEX.fullmatch(signature) is not None


def matches(signature: str, key: str, received: Iterable[tuple[str, str]]) -> bool:
    """Whether a well-formed `signature` is that of the parameters as received, decoded, in their order.

    Accepts both sorts that clients use, and a `phone` whose unencoded `+` arrived as a space.
    """
    algorithm = _HASHES[len(signature)]
    given = signature.lower().encode()
    texts = _canonical_texts(_first_values(received))
    return any(hmac.compare_digest(_digest(algorithm, key, text), given) for text in texts)


def sign(algorithm: str, key: str, parameters: Iterable[tuple[str, str]]) -> str:
    """What a client sends: `algorithm` is `md5` or `sha256`, sorted by the bytes of the names."""
    return _digest(algorithm, key, _joined(_first_values(parameters), str)).decode()


def _first_values(received: Iterable[tuple[str, str]]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in received:
        if name not in _UNSIGNED:
            values.setdefault(name, value)
    return values


def _canonical_texts(values: dict[str, str]) -> Iterator[str]:
    yield _joined(values, str)
    yield _joined(values, str.lower)
    if values.get("phone", "").startswith(" "):
        restored = values | {"phone": _LOST_PLUS.sub(r"\1+", values["phone"])}
        yield _joined(restored, str)
        yield _joined(restored, str.lower)


def _joined(values: dict[str, str], order: Callable[[str], str]) -> str:
    return "&".join(f"{name}={values[name]}" for name in sorted(values, key=order))


def _digest(algorithm: str, key: str, text: str) -> bytes:
    signed = f"{key}&{text}&{key}".encode("utf-8", "surrogateescape")
    return hashlib.new(algorithm, signed, usedforsecurity=False).hexdigest().encode()
