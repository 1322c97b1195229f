"""sms_signature.py against the vectors of sms.md §2.5, and its verifier rules (§2.2)."""

import pytest

from aurorasend import sms_signature

KEY = "k9Zt3QwLxV7bN2mE"
FIRST = {
    "msgType": "2",
    "phone": "+6591234567,+14155550123",
    "smsUser": "acme_sms",
    "templateId": "123456",
    "timestamp": "1767225600000",
    "vars": '{"code":"482913"}',
}
SECOND = FIRST | {"senderID": "ACME", "sendRequestId": "req-0001"}
UTF8 = {"msgType": "0", "phone": "13800138000", "smsUser": "acme_sms", "templateId": "123456", "vars": '{"name":"李雷"}'}
VOICE = {"code": "482913", "phone": "+6591234567", "smsUser": "acme_sms", "timestamp": "1767225600000"}
V2_KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
V2 = {"phone": "18888888888", "smsUser": "testuser", "templateId": "1", "vars": "{}"}

VECTORS = [
    (FIRST, KEY, "d3a2507aedce3ee03586b8c53f887d4e"),
    (FIRST, KEY, "44ed6a18ae69b27fe4145fb11d53eb5e7db0817d2a98feb3c23dd24649a4c3ba"),
    (SECOND, KEY, "232e9f1ca733b5aad17a88a8ed8af66f"),
    (SECOND, KEY, "9ab62c6bd04041a8d0cc756d4f23b2974cda6688d733d83ff79073169db85c67"),
    (SECOND, KEY, "4d536e608c8b5664e6e1a1ddc08121e8"),
    (SECOND, KEY, "53bc2afd0ec10634d1787963fc59a174a2a4059351d336dc00b1aa16d396bdbb"),
    (UTF8, KEY, "929f59735e69630cc875456951e7d836"),
    (UTF8, KEY, "688838cae47e4a1df91f526233b7373db702502c0fbf6812d417121817a5217b"),
    (VOICE, KEY, "11c37925367fcb3ba9dc09bdfc2e6a54"),
    (VOICE, KEY, "d3c2a43f8dfb15fea230423ab86e6d6d16c73dd550714f0f203679a53fda29af"),
    (V2, V2_KEY, "31eda13789be63afca40a32e37880d6d"),
    (V2, V2_KEY, "473959199cbb4bcac74310296ba880b1394ff73fd0953f3661c5d5eb999d43d3"),
]


@pytest.mark.parametrize(("parameters", "key", "signature"), VECTORS)
def test_vectors_of_the_contract(parameters: dict[str, str], key: str, signature: str) -> None:
    assert sms_signature.matches(signature, key, parameters.items())
    assert sms_signature.matches(signature.upper(), key, parameters.items())
    assert not sms_signature.matches(signature, key + "x", parameters.items())
    assert not sms_signature.matches(signature, key, (parameters | {"phone": "+6590000000"}).items())


def test_signing_gives_the_vectors() -> None:
    assert sms_signature.sign("md5", KEY, SECOND.items()) == "232e9f1ca733b5aad17a88a8ed8af66f"
    assert sms_signature.sign("sha256", V2_KEY, V2.items()) == VECTORS[-1][2]


def test_key_and_signature_are_not_signed_but_empty_and_unknown_parameters_are() -> None:
    sent = [*FIRST.items(), ("tag", ""), ("unknown", "a&b=c")]
    signature = sms_signature.sign("sha256", KEY, sent)
    assert sms_signature.matches(signature, KEY, [*sent, ("signature", signature), ("smsKey", "")])
    assert not sms_signature.matches(signature, KEY, FIRST.items())


def test_of_a_repeated_parameter_the_first_value_counts() -> None:
    signature = sms_signature.sign("md5", KEY, FIRST.items())
    assert sms_signature.matches(signature, KEY, [*FIRST.items(), ("msgType", "0")])
    assert not sms_signature.matches(signature, KEY, [("msgType", "0"), *FIRST.items()])


def test_a_plus_that_arrived_as_a_space_is_tried_again() -> None:
    arrived = FIRST | {"phone": " 6591234567, 14155550123"}
    assert sms_signature.matches("d3a2507aedce3ee03586b8c53f887d4e", KEY, arrived.items())
    never_had_one = FIRST | {"phone": "6591234567, 14155550123"}
    assert not sms_signature.matches("d3a2507aedce3ee03586b8c53f887d4e", KEY, never_had_one.items())


@pytest.mark.parametrize("signature", ["", "abc", "z" * 32, "0" * 31, "0" * 40, "٠" * 32, "0" * 32 + "\n"])
def test_malformed_signatures(signature: str) -> None:
    assert not sms_signature.is_wellformed(signature)


def test_wellformed_signatures() -> None:
    assert sms_signature.is_wellformed("0aF" + "0" * 29)
    assert sms_signature.is_wellformed("0" * 64)
