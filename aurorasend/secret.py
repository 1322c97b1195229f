"""Secrets at rest (design §7): API keys hashed, secrets that we must compute with encrypted under DATA/master.key.

API keys are 128 random bits, so a plain SHA-256 is enough and a slow hash would only slow every call.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

NONCE_BYTES = 12  # NIST SP 800-38D §8.2
KEY_BYTES = 32


def new_key() -> str:
    """32 hexadecimal digits (conventions §13)."""
    return secrets.token_hex(16)


def hash_key(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def matches(key: str, digest: bytes | None) -> bool:
    """In constant time."""
    return digest is not None and hmac.compare_digest(hash_key(key), digest)


class Vault:
    """Encrypts secrets under the master key, and derives from it keys that need not be stored."""

    def __init__(self, master: bytes) -> None:
        if len(master) != KEY_BYTES:
            raise ValueError("the master key has 32 bytes")
        self._master = master
        self._cipher = AESGCM(master)

    def seal(self, secret: bytes, purpose: str) -> bytes:
        """`purpose` is bound to the ciphertext, so that one secret cannot stand in the place of another."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Raises cryptography.exceptions.InvalidTag when the key or the purpose is another one."""
        return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], purpose.encode())

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for `purpose` (RFC 5869)."""
        return HKDFExpand(hashes.SHA256(), KEY_BYTES, purpose.encode()).derive(self._master)


def open_vault(path: Path) -> Vault:
    """The vault of `DATA/master.key`; makes the file (mode 0600) where there is none. Raises OSError, ValueError."""
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(handle, "w") as out:
                out.write(secrets.token_hex(KEY_BYTES) + "\n")
                out.flush()
                os.fsync(out.fileno())
            with contextlib.suppress(FileExistsError):  # another process was first: its key is the key
                os.link(draft, path)
        finally:
            draft.unlink()
    return Vault(bytes.fromhex(path.read_text().strip()))
