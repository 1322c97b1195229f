"""Every signature is checked by two verifiers that are not ours: dkimpy and emailsec, keys fed as DNS answers."""

import asyncio
import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from aurorasend import dkim
from aurorasend.content import Attachment, Content, Mailbox, Target
from aurorasend.message import Letter, Links

RSA = dkim.make_rsa_key()
ED25519 = dkim.make_ed25519_key()
KEYS = {"rsa": RSA, "ed": ED25519}
TXT = {dkim.record_name(selector, "mail.example.org"): dkim.dns_record(key) for selector, key in KEYS.items()}


class Names:
    """emailsec's resolver, with our records instead of the internet."""

    async def txt(self, name: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(text=TXT[name])]


# Its own resolver needs an older pycares than ours: it gets this one in its place.
_resolver = ModuleType("emailsec.dns_resolver")
_resolver.DNSResolver = Names  # type: ignore[attr-defined]
sys.modules["emailsec.dns_resolver"] = _resolver
emailsec = importlib.import_module("emailsec.dkim.parser")

Fields = list[tuple[bytes, bytes]]
HEAD: Fields = [(b"From", b"Ann <ann@mail.example.org>"), (b"To", b"bob@example.net"), (b"Subject", b"Hello")]

signers = pytest.mark.parametrize("signer", [dkim.Signer("mail.example.org", s, k) for s, k in KEYS.items()], ids=KEYS)


def look_up(name: bytes, timeout: int = 5) -> bytes:
    return TXT[name.decode().rstrip(".")].encode()


def verified_by_dkimpy(raw: bytes) -> bool:
    return bool(dkimpy.verify(raw, dnsfunc=look_up))


def verified_by_emailsec(raw: bytes) -> bool:
    try:
        return bool(asyncio.run(emailsec.verify(raw.decode())))
    except ValueError:  # how it says that the body hash differs
        return False


def sealed(signer: dkim.Signer, fields: Fields, body: bytes) -> bytes:
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    return signer.sign(fields, body, 1_760_000_000) + head + b"\r\n" + body


BODIES = {
    "plain": b"Hello\r\n",
    "blanks inside and at the end of lines": b"a  b\t\tc \t\r\n  d\r\n \r\ne \r\n",
    "empty lines at the end": b"a\r\n\r\n\r\n",
    "no line end": b"a",
    "utf-8": "Grüße 你好\r\n".encode(),
    "many blanks": b"a" + b" \t" * 5000 + b"b\r\n",
}


@signers
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_both_verifiers_accept(signer: dkim.Signer, body: bytes) -> None:
    raw = sealed(signer, HEAD, body)
    assert verified_by_dkimpy(raw)
    assert verified_by_emailsec(raw)


@signers
@pytest.mark.parametrize("body", [b"", b"\r\n", b" \r\n\r\n"])
def test_an_empty_body_has_the_hash_of_nothing(signer: dkim.Signer, body: bytes) -> None:
    """RFC 6376 §3.4.4. Checked by dkimpy alone: emailsec 0.2 hashes a CRLF, which is the rule of `simple`."""
    assert dkim.hash_body(body) == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    assert verified_by_dkimpy(sealed(signer, HEAD, body))


@signers
def test_folded_and_repeated_and_unsigned_fields(signer: dkim.Signer) -> None:
    fields = [
        *HEAD[:2],
        (b"SUBJECT", b"a\r\n  b \t c\r\n\td  "),
        (b"References", b"<1@x>"),
        (b"Cc", b"\r\n \t c@x.example \t"),
        (b"List-Id", b""),
        (b"references", b"<2@x>"),
        (b"X-Other", b"x"),
        (b"List-Unsubscribe", b"<https://a.example/u>"),
    ]
    raw = sealed(signer, fields, b"x\r\n")
    assert verified_by_dkimpy(raw)
    assert verified_by_emailsec(raw)
    assert b"x-other" not in raw
    assert verified_by_dkimpy(raw.replace(b"X-Other: x", b"X-Other: y"))
    assert not verified_by_dkimpy(raw.replace(b"<1@x>", b"<3@x>"))
    assert not verified_by_dkimpy(raw.replace(b"<2@x>", b"<3@x>"))


@signers
def test_a_changed_body_or_field_is_refused(signer: dkim.Signer) -> None:
    raw = sealed(signer, HEAD, b"Hello\r\n")
    for changed in (raw.replace(b"Hello\r\n", b"Hallo\r\n"), raw + b"more\r\n", raw.replace(b"bob@", b"bib@")):
        assert not verified_by_dkimpy(changed)
        assert not verified_by_emailsec(changed)


@signers
@pytest.mark.parametrize("field", [b"From: eve@example.net", b"Subject: other", b"To: eve@example.net"])
def test_a_second_field_of_a_signed_name_breaks_the_signature(signer: dkim.Signer, field: bytes) -> None:
    signature, _, rest = sealed(signer, HEAD, b"Hello\r\n").partition(b"From: Ann")
    assert not verified_by_dkimpy(signature + field + b"\r\nFrom: Ann" + rest)


@signers
def test_the_tags(signer: dkim.Signer) -> None:
    tags = dkimpy.util.parse_tag_value(signer.sign(HEAD, b"x\r\n", 17).partition(b":")[2].replace(b"\r\n", b""))
    assert tags[b"v"] == b"1" and tags[b"c"] == b"relaxed/relaxed" and tags[b"d"] == b"mail.example.org" and tags[b"t"] == b"17"
    assert tags[b"h"].replace(b" ", b"").split(b":").count(b"from") == 2
    assert b"l" not in tags


@signers
@settings(max_examples=60)
@given(text=st.text(st.characters(codec="utf-8")), blanks=st.text(" \t\r\nab", max_size=60))
def test_any_composed_mail_is_accepted(signer: dkim.Signer, text: str, blanks: str) -> None:
    content = Content(Mailbox("ann@mail.example.org", text), text, html=f"<p>%v%</p>{blanks}{text}", track_unsubscribe=True)
    letter = Letter(content, [Attachment(text, "text/plain", text.encode())], "mail.example.org", "1_2_3_4.sg-0_0_0_1-inbound", 0)
    mail = letter.compose(Target("bob@example.net", {"v": blanks}), 0, Links("https://t.example.org/u"))
    signature = signer.sign(mail.fields, mail.body, 1_760_000_000, dkim.hash_body(mail.body))
    assert all(len(line) <= 78 for line in signature.split(b"\r\n"))
    assert verified_by_dkimpy(mail.raw(signature))
    assert verified_by_emailsec(mail.raw(signature))


@signers
def test_an_international_address_is_signed_as_it_is(signer: dkim.Signer) -> None:
    content = Content(Mailbox("jörg@mail.example.org", "Jörg"), "Grüße", plain="text")
    mail = Letter(content, [], "mail.example.org", "1_2_3_4.sg-0_0_0_1-inbound", 0).compose(Target("用户@example.net"), 0)
    raw = mail.raw(signer.sign(mail.fields, mail.body, 1_760_000_000))
    assert verified_by_dkimpy(raw)
    assert verified_by_emailsec(raw)


def test_two_signatures_stand_together() -> None:
    content = Content(Mailbox("ann@mail.example.org"), "Hi", plain="text")
    mail = Letter(content, [], "mail.example.org", "1_2_3_4.sg-0_0_0_1-inbound", 0).compose(Target("b@example.net"), 0)
    both = b"".join(dkim.Signer("mail.example.org", s, k).sign(mail.fields, mail.body, 1_760_000_000) for s, k in KEYS.items())
    check = dkimpy.DKIM(mail.raw(both))
    assert check.verify(0, dnsfunc=look_up) and check.verify(1, dnsfunc=look_up)


def test_threads_share_a_signer() -> None:
    signer = dkim.Signer("mail.example.org", "rsa", RSA)
    with ThreadPoolExecutor(2) as pool:
        mails = list(pool.map(lambda n: sealed(signer, HEAD, b"%d\r\n" % n), range(20)))
    assert all(map(verified_by_dkimpy, mails))


@pytest.mark.parametrize("body", [b"a\nb\r\n", b"a\rb\r\n", b"a\r\r\n", b"\n"])
def test_what_a_relay_would_rewrite_is_not_signed(body: bytes) -> None:
    signer = dkim.Signer("mail.example.org", "ed", ED25519)
    with pytest.raises(ValueError, match="bare"):
        signer.sign(HEAD, body, 0)


@pytest.mark.parametrize("value", [b"a\r\nBcc: x@y", b"a\nb", b"a\rb", b"a\r\n", b"\r\n\r\n b", b"\r\nb", b" \r\nb", b"\n b"])
def test_a_field_that_would_be_two_is_not_signed(value: bytes) -> None:
    signer = dkim.Signer("mail.example.org", "ed", ED25519)
    with pytest.raises(ValueError, match="line end"):
        signer.sign([*HEAD, (b"Cc", value)], b"x\r\n", 0)


def test_a_message_without_from_is_not_signed() -> None:
    with pytest.raises(ValueError, match="From"):
        dkim.Signer("mail.example.org", "ed", ED25519).sign(HEAD[1:], b"x\r\n", 0)


@pytest.mark.parametrize("selector", ["", "a b", "a;b", "a..b", "-a", "a\r\nb"])
def test_a_selector_is_a_domain_label(selector: str) -> None:
    with pytest.raises(ValueError, match="selector"):
        dkim.Signer("mail.example.org", selector, ED25519)


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("trusted", [True, False])
def test_keys_come_back_from_der_and_pem(key: dkim.PrivateKey, trusted: bool) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for octets in (dkim.dump_key(key), pem):
        assert dkim.dns_record(dkim.load_key(octets, trusted)) == dkim.dns_record(key)


def test_keys_that_receivers_refuse_are_refused() -> None:
    for key in (rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP256R1())):
        der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        with pytest.raises(ValueError, match="2048"):
            dkim.load_key(der)
    with pytest.raises(ValueError):
        dkim.load_key(b"no key")


def test_a_record_is_what_zone_files_want() -> None:
    assert dkim.dns_record(RSA).startswith("v=DKIM1; k=rsa; p=MIIB")
    assert len(dkim.dns_record(ED25519)) == len("v=DKIM1; k=ed25519; p=") + 44
    assert dkim.record_name("s1", "Bücher.example") == "s1._domainkey.xn--bcher-kva.example"
