"""Ceiling of every signed mail: RSA-2048 signatures (PKCS#1 v1.5, SHA-256, as DKIM uses them) per second.

Program: `ceiling_rsa.py SECONDS THREADS`; prints one JSON object. Signing releases the GIL, so threads use all cores.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

MESSAGE = b"x" * 512  # about what a signed header block has


def count_until(key: rsa.RSAPrivateKey, until: float) -> int:
    scheme, digest, made = padding.PKCS1v15(), hashes.SHA256(), 0
    while time.monotonic() < until:
        key.sign(MESSAGE, scheme, digest)
        made += 1
    return made


def main() -> None:
    seconds, threads = float(sys.argv[1]), int(sys.argv[2])
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key.sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    cpu = time.process_time()
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(threads) as pool:
        made = sum(pool.map(lambda _: count_until(key, until), range(threads)))
    print(json.dumps({"rate": made / seconds, "us": (time.process_time() - cpu) / made * 1e6}))


if __name__ == "__main__":
    main()
