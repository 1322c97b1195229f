"""Tracking domains: hosts of customers that are aliases of ours, so that links in a mail name the customer's own domain.

Called by api.track_domain. Calls store, resolver, secret. Always: a host counts as verified only after its CNAME was seen
to lead to us, and belongs to one account from then on; a certificate is kept only with the key that fits it, and the
key sealed (management.md §6).
"""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from aurorasend.clock import SECOND, utc
from aurorasend.codes import Code, Refused
from aurorasend.resolver import Found, Resolver
from aurorasend.secret import Vault
from aurorasend.store import account as account_rows
from aurorasend.store import domain as sending_domains
from aurorasend.store import login
from aurorasend.store import tracking_domain as rows
from aurorasend.store.tracking_domain import NO_CERTIFICATE, Certificate, TrackingDomain
from aurorasend.store.tx import Store, Tx

MAX_NAME = 255  # characters, management.md §6.2
LATEST = datetime(9999, 1, 1, tzinfo=UTC)
MAX_PEM = 64 << 10  # characters; ours: a chain of ten long certificates


class BadCertificate(ValueError):
    """The text says what is wrong with a certificate or its key."""


def read_certificate(chain: str, key: str, host: str, now_us: int, vault: Vault) -> Certificate:
    """A chain and its key in PEM form, for `host`; none of both is NO_CERTIFICATE. Raises BadCertificate."""
    if not chain and not key:
        return NO_CERTIFICATE
    if not chain or not key:
        raise BadCertificate("a certificate and its key come together")
    first, private = _read_chain(chain), _read_key(key)
    public = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if first.public_key().public_bytes(*public) != private.public_key().public_bytes(*public):
        raise BadCertificate("the key does not fit the certificate")
    if not first.not_valid_before_utc <= utc(now_us) < first.not_valid_after_utc:
        raise BadCertificate("the certificate is not valid now")
    if not any(_covers(name, host) for name in _names(first)):
        raise BadCertificate("the certificate is for another name")
    der = private.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Certificate(chain, vault.seal(der, "tls"), _us(first.not_valid_before_utc), _us(first.not_valid_after_utc))


async def get(tx: Tx, account_id: int, domain_id: int) -> TrackingDomain:
    """Raises Refused (41014)."""
    found = await rows.get(tx, account_id, domain_id)
    if found is None:
        raise Refused(Code.DOMAIN_UNKNOWN)
    return found


async def add(tx: Tx, account_id: int, host: str, certificate: Certificate, limit: int, now_us: int) -> TrackingDomain:
    """Raises Refused (41015, 41012)."""
    await account_rows.lock(tx, account_id)
    await _check_free(tx, account_id, host, Code.DOMAIN_NOT_CREATED)
    if await rows.count(tx, account_id) >= limit:
        raise Refused(Code.DOMAIN_TOO_MANY, message=f"User can create no more than {limit} domains")
    domain_id = await rows.add(tx, account_id, host, certificate, now_us)
    if domain_id is None:
        raise Refused(Code.DOMAIN_NOT_CREATED, "the account has it already")
    return await get(tx, account_id, domain_id)


async def change(tx: Tx, account_id: int, domain_id: int, host: str, certificate: Certificate, now_us: int) -> TrackingDomain:
    """Another name ("" keeps it) drops the certificate unless a new one comes along. Raises Refused (41014, 41016)."""
    await account_rows.lock(tx, account_id)
    found = await get(tx, account_id, domain_id)
    if host and host != found.host:
        await _check_free(tx, account_id, host, Code.DOMAIN_NOT_UPDATED)
        await login.release(tx, login.TRACKING, found.host, account_id, domain_id)
        await rows.rename(tx, account_id, domain_id, host, certificate, now_us)
    elif certificate != NO_CERTIFICATE:
        await rows.set_certificate(tx, account_id, found, certificate, now_us)
    else:
        await rows.touch(tx, account_id, domain_id, now_us)
    return await get(tx, account_id, domain_id)


async def delete(tx: Tx, account_id: int, domain_id: int, still_tracked: bool, now_us: int) -> int:
    """How many were deleted: one. Its API users fall back to the system's own, where they track only if `still_tracked`.
    Raises Refused (41014)."""
    await account_rows.lock(tx, account_id)
    found = await get(tx, account_id, domain_id)
    await login.release(tx, login.TRACKING, found.host, account_id, domain_id)
    await rows.unbind(tx, account_id, domain_id, still_tracked, now_us)
    return await rows.delete(tx, account_id, domain_id)


async def check(store: Store, resolver: Resolver, account_id: int, found: TrackingDomain, target: str, now_us: int) -> None:
    """Look up now whether the host is an alias of `target`, and keep it. A resolver that fails changes nothing, nor does the
    answer for a host that is gone meanwhile."""
    answer = await resolver.cname(found.host)
    if answer.found is Found.FAILURE:
        return
    passes = target.lower() in (alias.lower() for alias in answer.records)

    async def unit(tx: Tx) -> None:
        await account_rows.lock(tx, account_id)
        since = await rows.get(tx, account_id, found.id)
        if since is None or since.host != found.host:
            return
        owned = passes and await login.take(tx, login.TRACKING, found.host, account_id, found.id)
        if not passes:
            await login.release(tx, login.TRACKING, found.host, account_id, found.id)
        await rows.set_verified(tx, account_id, found, owned, now_us)

    await store.write(unit)


async def _check_free(tx: Tx, account_id: int, host: str, code: Code) -> None:
    if await rows.of_host(tx, account_id, host):
        raise Refused(code, "the account has it already")
    if await sending_domains.get(tx, account_id, host):
        raise Refused(code, "it is a sending domain of the account")


def _read_chain(chain: str) -> x509.Certificate:
    """The first certificate of the chain: the host's own."""
    if len(chain) > MAX_PEM:
        raise BadCertificate(f"longer than {MAX_PEM} characters")
    try:
        return x509.load_pem_x509_certificates(chain.encode())[0]
    except (ValueError, IndexError) as problem:
        raise BadCertificate("the certificate is not a PEM chain") from problem


def _read_key(key: str) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    if len(key) > MAX_PEM:
        raise BadCertificate(f"longer than {MAX_PEM} characters")
    try:
        private = serialization.load_pem_private_key(key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as problem:  # TypeError: the key is encrypted
        raise BadCertificate("the key is not a PEM key without a password") from problem
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise BadCertificate("the key is of a kind that no browser takes")
    return private


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    except (x509.ExtensionNotFound, ValueError):
        return []


def _covers(name: str, host: str) -> bool:
    """RFC 6125 §6.4.3: a wildcard is the whole first label."""
    return name == host or (name.startswith("*.") and name[2:] == host.partition(".")[2])


def _us(moment: datetime) -> int:
    """RFC 5280 §4.1.2.5: the end of year 9999 means no end, which not every time zone can show."""
    return int(min(moment, LATEST).timestamp()) * SECOND
