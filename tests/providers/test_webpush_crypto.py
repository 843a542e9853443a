"""The RFCs' own examples, byte by byte, and that only the browser which subscribed can read a message."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import jwt
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.emulator.webpush_crypto import opened
from pushrpc.providers.webpush_crypto import (
    PLAINTEXT_BYTES_MAX,
    RECORD_BYTES,
    content_keys,
    encrypted,
    one_record,
    public_point,
    subscription_keys,
    vapid,
)

CURVE = ec.SECP256R1()
ORIGIN = "https://push.example.net"


def b(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def u(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def private_key(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(b(text)), CURVE)


BROWSER = ec.generate_private_key(CURVE)
P256DH = u(public_point(BROWSER))
AUTH = u(bytes(range(16)))

# --- RFC 8291, appendix A ----------------------------------------------------------------------------------------

PLAINTEXT = b"When I grow up, I want to be a watermelon"
AS_PRIVATE = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
UA_PRIVATE = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
UA_PUBLIC = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
UA_AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_"
    "yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def test_the_example_of_rfc_8291() -> None:
    keys = subscription_keys(UA_PUBLIC, UA_AUTH)
    assert u(encrypted(PLAINTEXT, keys, ephemeral=private_key(AS_PRIVATE), salt=b(SALT))) == BODY
    assert public_point(private_key(UA_PRIVATE)) == keys.point


def test_the_example_of_rfc_8291_in_its_steps() -> None:
    keys, nonce = content_keys(b("S4lYMb_L0FxCeq0WhDx813KgSYqU26kOyzWUdsXYyrg"), b(SALT))
    assert (u(keys), u(nonce)) == ("oIhVW04MRdy2XN9CiKLxTg", "4h_95klXJ5E_qnoN")


# --- RFC 8188, §3 ------------------------------------------------------------------------------------------------


def test_the_example_of_rfc_8188_with_one_record() -> None:
    input_key, salt = b("yqdlZ-tYemfogSmv7Ws5PQ"), b("I1BsxtFttlv3u_Oo94xnmw")
    assert tuple(map(u, content_keys(input_key, salt))) == ("_wniytB-ofscZDh4tbSjHw", "Bcs8gkIRKLI8GeI8")
    body = one_record(b"I am the walrus", input_key, salt, b"")
    assert u(body) == "I1BsxtFttlv3u_Oo94xnmwAAEAAA-NAVub2qFgBEuQKRapoZu-IxkIva3MEB1PD-ly8Thjg"


def test_the_keys_of_rfc_8188s_example_with_two_records() -> None:
    body = b("uNCkWiNYzKTnBN9ji3-qWAAAABkCYTHOG8chz_gnvgOqdGYovxyjuqRyJFjEDyoF1Fvkj6hQPdPHI51OEUKEpgz3SsLWIqS_uA")
    salt, record_bytes, records = body[:16], int.from_bytes(body[16:20]), body[23:]
    assert (record_bytes, body[20:23]) == (25, b"\x02a1")
    key, nonce = content_keys(b("BO3ZVPxUlnLORbVGMpbT1Q"), salt)
    second = nonce[:-1] + bytes((nonce[-1] ^ 1,))
    opened_records = [AESGCM(key).decrypt(n, r, None) for n, r in ((nonce, records[:25]), (second, records[25:]))]
    first, last = (record.rstrip(b"\x00") for record in opened_records)
    assert first[:-1] + last[:-1] == b"I am the walrus"
    assert (first[-1], last[-1]) == (1, 2)


# --- messages ----------------------------------------------------------------------------------------------------


@given(plaintext=st.binary(max_size=200) | st.integers(0, PLAINTEXT_BYTES_MAX).map(lambda n: b"\x02\x00" * (n // 2)))
def test_the_browser_reads_what_was_written(plaintext: bytes) -> None:
    body = encrypted(plaintext, subscription_keys(P256DH, AUTH))
    assert opened(body, BROWSER, b(AUTH)) == plaintext
    assert len(body) == len(plaintext) + 103


def test_a_message_of_the_longest_length_is_what_a_push_service_must_take() -> None:
    body = encrypted(b"x" * PLAINTEXT_BYTES_MAX, subscription_keys(P256DH, AUTH))
    assert (PLAINTEXT_BYTES_MAX, len(body)) == (3993, 4096)
    assert int.from_bytes(body[16:20]) == RECORD_BYTES


def test_no_key_and_no_salt_serves_twice() -> None:
    keys = subscription_keys(P256DH, AUTH)
    bodies = [encrypted(PLAINTEXT, keys) for _ in range(50)]
    assert len({body[:16] for body in bodies}) == len({body[21:86] for body in bodies}) == 50


@given(at=st.integers(0, 143), bit=st.integers(0, 7))
def test_a_changed_body_is_not_read(at: int, bit: int) -> None:
    changed = bytearray(b(BODY))
    changed[at] ^= 1 << bit
    # All but the record size is covered by the tag: by the key, the nonce or the text itself.
    if 16 <= at < 20 and int.from_bytes(changed[16:20]) >= 58:
        return
    with pytest.raises(ValueError):
        opened(bytes(changed), private_key(UA_PRIVATE), b(UA_AUTH))


def test_another_browser_reads_nothing() -> None:
    with pytest.raises(ValueError, match="not encrypted for this subscription"):
        opened(b(BODY), BROWSER, b(UA_AUTH))
    with pytest.raises(InvalidTag):
        key, nonce = content_keys(b("S4lYMb_L0FxCeq0WhDx813KgSYqU26kOyzWUdsXYyrg"), bytes(16))
        AESGCM(key).decrypt(nonce, b(BODY)[86:], None)


# --- keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", [P256DH, P256DH + "=", P256DH.replace("-", "+").replace("_", "/") + "="])
@pytest.mark.parametrize("auth", [AUTH, AUTH + "=="])
def test_keys_in_any_base64(written: str, auth: str) -> None:
    keys = subscription_keys(written, auth)
    assert (keys.point, keys.auth) == (public_point(BROWSER), bytes(range(16)))


OFF_CURVE = u(b"\x04" + public_point(BROWSER)[1:-1] + bytes((public_point(BROWSER)[-1] ^ 1,)))
P384 = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()


@pytest.mark.parametrize(
    ("p256dh", "auth", "problem"),
    [
        (OFF_CURVE, AUTH, "p256dh is not a point on the curve P-256"),
        (u(b"\x04" + bytes(64)), AUTH, "p256dh is not a point on the curve P-256"),
        (u(b"\x04" + b"\xff" * 64), AUTH, "p256dh is not a point on the curve P-256"),
        (u(b"\x02" + public_point(BROWSER)[1:33]), AUTH, "p256dh is not an uncompressed P-256 point"),
        (u(b"\x05" + public_point(BROWSER)[1:]), AUTH, "p256dh is not an uncompressed P-256 point"),
        (u(b"\x04" + P384.x.to_bytes(48) + P384.y.to_bytes(48)), AUTH, "p256dh is not an uncompressed P-256 point"),
        (P256DH[:-4], AUTH, "p256dh is not an uncompressed P-256 point"),
        ("", AUTH, "p256dh is not an uncompressed P-256 point"),
        (P256DH[:-1] + "!", AUTH, "p256dh is not base64url"),
        (P256DH + "\n", AUTH, "p256dh is not base64url"),
        (P256DH[:-2], AUTH, "p256dh is not base64url"),
        (P256DH, u(bytes(15)), "auth has 15 bytes instead of 16"),
        (P256DH, u(bytes(17)), "auth has 17 bytes instead of 16"),
        (P256DH, "", "auth has 0 bytes instead of 16"),
        (P256DH, "=AAA", "auth is not base64url"),
        (P256DH, "ünicode", "auth is not base64url"),
    ],
)
def test_keys_that_are_none(p256dh: str, auth: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        subscription_keys(p256dh, auth)
    assert P256DH[:20] not in str(refused.value)


@given(p256dh=st.text(max_size=100), auth=st.text(max_size=30))
def test_any_text_is_read_or_refused(p256dh: str, auth: str) -> None:
    with pytest.raises(ValueError):
        subscription_keys(p256dh, auth)


# --- VAPID -------------------------------------------------------------------------------------------------------


def test_the_proof_of_the_sender() -> None:
    key = ec.generate_private_key(CURVE)
    header = vapid(key, ORIGIN, "mailto:push@example.com", 1_453_523_768).decode()
    scheme, t, k = header.split(" ")
    assert scheme == "vapid" and t.startswith("t=") and t.endswith(",") and k == "k=" + u(public_point(key))
    token = t[2:-1]
    assert jwt.get_unverified_header(token) == {"typ": "JWT", "alg": "ES256"}
    claims = jwt.decode(
        token, key.public_key(), ["ES256"], audience=ORIGIN, options={"verify_exp": False, "strict_aud": True}
    )
    assert claims == {"aud": ORIGIN, "exp": 1_453_523_768, "sub": "mailto:push@example.com"}


def test_every_node_makes_the_same_proof() -> None:
    key = private_key(AS_PRIVATE)
    made = {vapid(key, ORIGIN, "mailto:push@example.com", 1_453_523_768) for _ in range(5)}
    assert len(made) == 1
    assert vapid(key, ORIGIN, "mailto:push@example.com", 1_453_523_769) not in made
