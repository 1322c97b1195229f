"""Tracking domains (management.md §6) on both engines, against a real name server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aurorasend import tracking_domain
from aurorasend.endpoint import Request
from aurorasend.store.tx import Statement, Store
from tests.management import KEY, TRACK, Api, managing

BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
LONG = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 60, "com"])  # 256 characters


def pem_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def text_of(key: ec.EllipticCurvePrivateKey, password: bytes = b"") -> str:
    closed = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, closed).decode()


def certificate(
    key: ec.EllipticCurvePrivateKey, name: str = "*.one.example", begin: datetime = BEGIN, end: datetime = END
) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
async def api(store: Store, tmp_path: Path) -> AsyncIterator[Api]:
    async with managing(store, tmp_path) as made:
        yield made


async def add(api: Api, name: str, _as: str = "one_trigger", **given: object) -> Any:
    answer = await api.call("trackDomain/add", _as, name=name, **given)
    return answer["data"] if isinstance(answer, dict) else answer


async def listed(api: Api, **given: object) -> list[str]:
    return [each["name"] for each in (await api.call("trackDomain/list", **given))["dataList"]]


async def test_a_tracking_domain_lives(api: Api) -> None:
    made = await add(api, "T.one.example")
    assert made == {
        "id": made["id"],
        "name": "t.one.example",
        "cname": False,
        "cname.domain": "t.one.example",
        "cname.value": TRACK,
        "https": False,
        "certiValidityStart": "",
        "certiValidityEnd": "",
        "gmtCreated": "2026-02-01 09:00:01",
        "gmtUpdated": "2026-02-01 09:00:01",
    }
    assert await api.call("trackDomain/list") == {"total": 1, "count": 1, "dataList": [made]}
    changed = (await api.call("trackDomain/update", id=made["id"], name="u.one.example"))["data"]
    assert (changed["name"], changed["gmtUpdated"]) == ("u.one.example", "2026-02-01 09:00:03")
    assert (await api.call("trackDomain/update", id=made["id"]))["data"]["name"] == "u.one.example"
    assert await api.call("trackDomain/delete", id=made["id"]) == {"count": 1}
    assert await api.call("trackDomain/delete", id=made["id"]) == 41014


async def test_codes(api: Api) -> None:
    made = await add(api, "t.one.example")
    for action, given, code in (
        ("add", {}, 41001),
        ("add", {"name": LONG}, 41002),
        ("add", {"name": "a" * 256}, 41003),
        ("add", {"name": "no dots"}, 41003),
        ("add", {"name": "a\0.example"}, 41003),
        ("add", {"name": "one.example"}, 41015),
        ("add", {"name": "t.ONE.example"}, 41015),
        ("update", {"name": "x.example"}, 41001),
        ("update", {"id": "twelve", "name": "x.example"}, 41014),
        ("update", {"id": 999, "name": "x.example"}, 41014),
        ("update", {"id": made["id"], "name": "not a name"}, 41003),
        ("update", {"id": made["id"], "name": LONG}, 41002),
        ("update", {"id": made["id"], "name": "one.example"}, 41016),
        ("checkConfig", {}, 41001),
        ("checkConfig", {"id": ";", "name": "t.one.example"}, 41001),
        ("checkConfig", {"name": " ; "}, 41001),
        ("checkConfig", {"id": "x"}, 41014),
        ("checkConfig", {"id": 999, "name": "none.example"}, 41014),
        ("delete", {}, 41001),
        ("delete", {"id": 999}, 41014),
        ("list", {"name": " "}, 41001),
        ("list", {"start": -1}, 40002),
    ):
        assert await api.call(f"trackDomain/{action}", **given) == code, (action, given)


async def test_the_longest_name(api: Api) -> None:
    """One that is longer than DNS can ask for is none that DNS has."""
    made = await add(api, LONG[1:])
    assert (await api.call("trackDomain/checkConfig", id=made["id"]))["dataList"][0]["cname"] is False


async def test_the_alias_is_looked_up_and_kept(api: Api) -> None:
    one, two = [await add(api, f"{name}.one.example") for name in ("one", "two")]
    api.names.add("one.one.example", "CNAME", f"{TRACK.upper()}.")
    api.names.add("two.one.example", "CNAME", "elsewhere.example.")
    ids = f"{one['id']};999; {two['id']}"
    checked = await api.call("trackDomain/checkConfig", id=ids, name="ONE.one.example;none.example")
    assert [each["name"] for each in checked["dataList"]] == ["two.one.example", "one.one.example"]
    assert [each["cname"] for each in checked["dataList"]] == [False, True]
    assert checked["count"] == 2
    assert (await api.call("trackDomain/list", name="one.one.example"))["dataList"][0]["cname"] is True
    api.names.fail("one.one.example")
    assert (await api.call("trackDomain/checkConfig", id=one["id"]))["dataList"][0]["cname"] is True
    api.names.fail("one.one.example", "")
    api.names.remove("one.one.example")
    assert (await api.call("trackDomain/checkConfig", id=one["id"]))["dataList"][0]["cname"] is False


async def test_a_host_belongs_to_who_was_seen_to_have_it(api: Api) -> None:
    mine, theirs = await add(api, "t.shared.example"), await add(api, "t.shared.example", "two_trigger")
    api.names.add("t.shared.example", "CNAME", f"{TRACK}.")
    assert (await api.call("trackDomain/checkConfig", id=mine["id"]))["dataList"][0]["cname"] is True
    assert (await api.call("trackDomain/checkConfig", "two_trigger", id=theirs["id"]))["dataList"][0]["cname"] is False
    await api.call("trackDomain/update", id=mine["id"], name="other.shared.example")
    assert (await api.call("trackDomain/checkConfig", "two_trigger", id=theirs["id"]))["dataList"][0]["cname"] is True


async def test_a_check_that_ends_after_the_domain_is_gone_takes_nothing(api: Api) -> None:
    """Else its host would belong to nobody for ever."""
    made = await add(api, "t.one.example")
    api.names.add("t.one.example", "CNAME", f"{TRACK}.")
    known = await api.node.store.read(lambda tx: tracking_domain.get(tx, 1, made["id"]))
    await api.call("trackDomain/delete", id=made["id"])
    await tracking_domain.check(api.node.store, api.node.resolver, 1, known, TRACK, api.clock.now_us())
    again = await add(api, "t.one.example", "two_trigger")
    assert (await api.call("trackDomain/checkConfig", "two_trigger", id=again["id"]))["dataList"][0]["cname"] is True


async def test_a_certificate_goes_with_its_key_and_name(api: Api, store: Store) -> None:
    key = pem_key()
    good = {"certContent": certificate(key) + certificate(pem_key(), "ca.example"), "certKey": text_of(key)}
    made = await add(api, "t.one.example", **good)
    assert made["https"] is True
    assert (made["certiValidityStart"], made["certiValidityEnd"]) == ("2026-01-01 08:00:00", "2026-06-01 08:00:00")
    for bad in (
        {"certKey": ""},
        {"certContent": ""},
        {"certContent": "nonsense"},
        {"certContent": good["certContent"][:200]},
        {"certContent": "\x00ü"},
        {"certKey": text_of(pem_key())},
        {"certKey": text_of(key, b"password")},
        {"certKey": "nonsense"},
        {"certKey": "x" * 70_000},
        {"certContent": certificate(key, "t.two.example")},
        {"certContent": certificate(key, end=BEGIN + timedelta(days=1))},
        {"certContent": certificate(key, begin=END - timedelta(days=1))},
    ):
        assert await add(api, "u.one.example", **(good | bad)) == 41015, bad
        assert await api.call("trackDomain/update", id=made["id"], **(good | bad)) == 41016, bad
    assert await listed(api) == ["t.one.example"]
    forever = certificate(key, end=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    changed = (await api.call("trackDomain/update", id=made["id"], certContent=forever, certKey=good["certKey"]))["data"]
    assert changed["certiValidityEnd"] == "9999-01-01 08:00:00"
    dropped = (await api.call("trackDomain/update", id=made["id"], name="w.one.example"))["data"]
    assert (dropped["https"], dropped["certiValidityEnd"]) == (False, "")
    kept = (await api.call("trackDomain/update", id=made["id"], name="v.one.example", **good))["data"]
    assert kept["https"] is True
    ((sealed,),) = await store.read(lambda tx: tx.rows(Statement("SELECT certificate_key FROM tracking_domain")))
    assert bytes(sealed) and b"PRIVATE" not in bytes(sealed)


async def test_a_certificate_may_be_a_file(api: Api) -> None:
    key = pem_key()
    parts = {"apiUser": "one_trigger", "apiKey": KEY, "name": "t.one.example"}
    field = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    body = b"".join(field.format(name, value).encode() for name, value in parts.items())
    for name, text in (("certContent", certificate(key)), ("certKey", text_of(key))):
        head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="{name}.pem"\r\n\r\n'
        body += head.encode() + text.encode() + b"\r\n"
    found = api.server.catalogue.find("/api/trackDomain/add")
    assert found is not None
    request = Request(b"", "multipart/form-data; boundary=b", body + b"--b--\r\n", "sg", "", "id")
    _, answer = await api.server.answer(found, request)
    assert b'"https":true' in answer


async def test_an_account_has_five_even_at_once(api: Api) -> None:
    answers = await asyncio.gather(*(add(api, f"t{n}.one.example") for n in range(8)))
    assert answers.count(41012) == 3
    assert await add(api, (await listed(api))[0]) == 41015
    assert await listed(api, start=4) == (await listed(api))[4:]
    await api.sql("UPDATE account SET tracking_limit = 6")
    api.node.accounts.forget(1)
    assert isinstance(await add(api, "t8.one.example"), dict)
    assert await add(api, "t9.one.example") == 41012


async def test_equal_adds_at_once_make_one(api: Api) -> None:
    answers = await asyncio.gather(*(add(api, "t.one.example") for _ in range(6)))
    assert answers.count(41015) == 5


async def test_accounts_do_not_see_each_other(api: Api) -> None:
    made = await add(api, "t.one.example")
    for action in ("update", "delete", "checkConfig"):
        assert await api.call(f"trackDomain/{action}", "two_trigger", id=made["id"]) == 41014
    assert await listed(api, _as="two_trigger") == []
