"""DKIM signatures (RFC 6376, RFC 8301; Ed25519: RFC 8463), relaxed/relaxed, and the keys for them.

Called by delivery, from a thread pool (an RSA signature takes a fifth of a millisecond and releases the GIL), and
by domain for keys and their DNS records. Imports address only. Always: every signed field, From above all, is in
`h=` once more than it is in the message, so that nobody can add another; never `l=`; what a relay would rewrite
(bare CR or LF) is not signed.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from hashlib import sha256

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from aurorasend.address import ascii_domain

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

RSA_BITS = 2048  # RFC 8301 §3.2 asks signers for it; longer keys do not fit one TXT string
# hashlib gives up the interpreter for pieces of 2048 octets and more; to get it back takes longer than to hash a usual mail.
UNLOCKED = 2047
LARGE = 64 * 1024  # octets, from which it is worth it

# What a reader sees or a mail program acts upon (RFC 6376 §5.4.1, RFC 8058 §4 for the List fields).
_SIGNED = frozenset({
    b"from", b"to", b"cc", b"subject", b"date", b"reply-to", b"message-id", b"in-reply-to", b"references",
    b"mime-version", b"content-type", b"content-transfer-encoding", b"disposition-notification-to", b"feedback-id",
    b"list-id", b"list-help", b"list-subscribe", b"list-unsubscribe", b"list-unsubscribe-post", b"list-post",
    b"list-owner", b"list-archive",
})  # fmt: skip

_label = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?").fullmatch
_BLANKS = (b" ", b"\t", b"\r")
_LINE = 72  # ours: base64 and names in lines under 78


class Signer:
    """Signs for one domain with one key. May be used by several threads at once."""

    def __init__(self, domain: str, selector: str, private_key: PrivateKey) -> None:
        """Raises ValueError for what is no domain or selector."""
        if not all(map(_label, selector.split("."))):
            raise ValueError("not a DKIM selector")
        self._signature = _signature_with(private_key)
        algorithm = "rsa-sha256" if isinstance(private_key, rsa.RSAPrivateKey) else "ed25519-sha256"
        tags = f"v=1; a={algorithm}; c=relaxed/relaxed; d={ascii_domain(domain).lower()};\r\n s={selector}; "
        self._tags = tags.encode()

    def sign(self, fields: Sequence[tuple[bytes, bytes]], body: bytes, now_s: int, body_hash: bytes | None = None) -> bytes:
        """The whole DKIM-Signature field, with its CRLF, for a message of these fields (name, value as it is
        sent, folded or not) and this body. `body_hash` is `hash_body(body)` if that is known already.

        Raises ValueError for bare CR or LF, or if there is no From.
        """
        # The last of several fields of a name is signed first (RFC 6376 §5.4.2): all are taken from the end.
        signed = [(lower, value) for name, value in reversed(fields) if (lower := name.lower()) in _SIGNED]
        names = [name for name, _ in signed]
        if b"from" not in names:
            raise ValueError("a message without From")
        value = b"%bt=%d;\r\n h=%b;\r\n bh=%b;\r\n b=" % (
            self._tags,
            now_s,
            _listed(tuple(names)),
            body_hash or hash_body(body),
        )
        text = _relaxed([*signed, (b"dkim-signature", value)])
        signature = b64encode(self._signature(text[:-2]))  # its own field counts without the last CRLF, §3.7
        lines = [signature[at : at + _LINE] for at in range(0, len(signature), _LINE)]
        return b"DKIM-Signature: %b%b\r\n" % (value, b"\r\n ".join(lines))


def _signature_with(key: PrivateKey) -> Callable[[bytes], bytes]:
    if isinstance(key, rsa.RSAPrivateKey):
        return partial(key.sign, padding=padding.PKCS1v15(), algorithm=hashes.SHA256())
    return lambda text: key.sign(sha256(text).digest())  # RFC 8463 §3: the hash is what is signed


def hash_body(body: bytes) -> bytes:
    """The value of `bh=`. Raises ValueError for bare CR or LF."""
    lines = body.count(b"\r\n")
    if body.count(b"\n") != lines or body.count(b"\r") != lines:
        raise ValueError("a bare CR or LF in the body")
    octets = _relaxed_body(body)
    if len(octets) > LARGE:
        return b64encode(sha256(octets).digest())
    hashed = sha256()
    for at in range(0, len(octets), UNLOCKED):
        hashed.update(octets[at : at + UNLOCKED])
    return b64encode(hashed.digest())


def make_rsa_key() -> rsa.RSAPrivateKey:
    """Takes some 100 ms: not for the event loop."""
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def make_ed25519_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def dump_key(key: PrivateKey) -> bytes:
    """PKCS #8, DER, not encrypted: for the store, which encrypts it."""
    return key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def load_key(octets: bytes, trusted: bool = True) -> PrivateKey:
    """A key as PEM or DER. One that we stored is not proved again, which would take 28 ms; `trusted=False` for
    one from outside. Keep the object: loading takes as long as signing. Raises ValueError for what is no RSA
    key of 2048 bits or more nor an Ed25519 key."""
    load = serialization.load_pem_private_key if octets.lstrip().startswith(b"-----") else serialization.load_der_private_key
    key = load(octets, None, unsafe_skip_rsa_key_validation=trusted)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < RSA_BITS:
        raise ValueError("a DKIM key is RSA with at least 2048 bits, or Ed25519")
    return key


def record_name(selector: str, domain: str) -> str:
    """Where the public key is looked up (RFC 6376 §3.6.2.1)."""
    return f"{selector}._domainkey.{ascii_domain(domain).lower()}"


def dns_record(key: PrivateKey) -> str:
    """The TXT record for the key's public half (RFC 6376 §3.6.1, RFC 8463 §4). Over 255 octets for RSA: a zone
    file needs it in several strings."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        kind, encoding, form = "rsa", serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    else:
        kind, encoding, form = "ed25519", serialization.Encoding.Raw, serialization.PublicFormat.Raw
    return f"v=DKIM1; k={kind}; p={b64encode(public.public_bytes(encoding, form)).decode()}"


def public_text(key: PrivateKey) -> str:
    """The public half in base64: what stands after `p=` in the record."""
    return dns_record(key).partition("p=")[2]


def _relaxed(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Fields as RFC 6376 §3.4.2 has them; names are in lower case already. All in one text: each step is a call for all."""
    begun = [(name, _without_blanks_before(value) if value.startswith(_BLANKS) else value) for name, value in fields]
    text = b"".join([b"%b:%b\r\n" % field for field in begun]).replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    if not len(fields) == text.count(b"\r\n") == text.count(b"\n") == text.count(b"\r"):
        raise ValueError("a line end in a field that is not folding")
    return _single_blanks(text).replace(b" \r\n", b"\r\n")


def _without_blanks_before(value: bytes) -> bytes:
    value = value.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    if b"\r" in value or b"\n" in value:  # unfolded again it could pass
        raise ValueError("a line end in a field that is not folding")
    return value.lstrip(b" \t")


def _relaxed_body(body: bytes) -> bytes:
    """RFC 6376 §3.4.4: blanks at line ends and empty lines at the end go; what is left ends with CRLF."""
    body = _single_blanks(body).replace(b" \r\n", b"\r\n").rstrip(b" \r\n")
    return body + b"\r\n" if body else b""


def _single_blanks(text: bytes) -> bytes:
    """Runs of blanks as one space. Halving runs is faster than a regular expression, and linear as well."""
    text = text.replace(b"\t", b" ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text


@lru_cache(256)
def _listed(names: tuple[bytes, ...]) -> bytes:
    """What `h=` says: each name once more than there are such fields, so that none can be added (RFC 6376 §8.15); in lines, since
    white space may stand around the colons (§3.5)."""
    first, *others = (*names, *dict.fromkeys(names))
    lines = [first]
    for name in others:
        if len(lines[-1]) + 1 + len(name) > _LINE:
            lines[-1] += b":"
            lines.append(name)
        else:
            lines[-1] += b":" + name
    return b"\r\n  ".join(lines)
