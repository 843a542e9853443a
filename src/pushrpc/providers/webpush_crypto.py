"""Web Push's cryptography, pure: a message only its browser can read, and the proof of who sends it.

Sources: RFC 8291 (message encryption), RFC 8188 (the aes128gcm coding), RFC 8292 (VAPID).
"""

from __future__ import annotations

import hmac
import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.auth import jwt

from pushrpc.providers.credentials import Es256

RECORD_BYTES = 4096  # RFC 8291 §4: the whole message is one record
POINT_BYTES = 65  # an uncompressed point of P-256
AUTH_BYTES = 16
# A push service must take 4,096 bytes (RFC 8030 §7.2): less the header of salt, size and point, the tag, the delimiter.
PLAINTEXT_BYTES_MAX = 4096 - (16 + 4 + 1 + POINT_BYTES) - 16 - 1
KEYS_KEPT = 4_096  # subscriptions whose keys stay read and checked, some 2 KiB each; that is 40 µs of a message's 110

_CURVE = ec.SECP256R1()
_ECDH = ec.ECDH()
_BASE64 = re.compile(r"[A-Za-z0-9_+/-]*={0,2}")
_LAST_RECORD = b"\x02"  # RFC 8188 §2: the padding delimiter of the last record


class SubscriptionKeys(NamedTuple):
    """What PushSubscription.getKey() gives: the browser's public key, also as its 65 bytes, and the shared secret."""

    public: ec.EllipticCurvePublicKey
    point: bytes
    auth: bytes


class ContentKeys(NamedTuple):
    """RFC 8188 §2.2 and §2.3. The nonce is that of the first record."""

    key: bytes
    nonce: bytes


@lru_cache(maxsize=KEYS_KEPT)
def subscription_keys(p256dh: str, auth: str) -> SubscriptionKeys:
    """Reads a subscription's keys: base64url or base64, padded or not. Raises ValueError, which never repeats them.

    A point off the curve is refused here: nobody holds the private key that would read what is sent to it.
    """
    point = _decoded("p256dh", p256dh)
    if len(point) != POINT_BYTES or point[0] != 4:
        raise ValueError(f"p256dh is not an uncompressed P-256 point: {POINT_BYTES} bytes of which the first is 4")
    try:
        public = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point)
    except ValueError:
        raise ValueError("p256dh is not a point on the curve P-256") from None
    secret = _decoded("auth", auth)
    if len(secret) != AUTH_BYTES:
        raise ValueError(f"auth has {len(secret)} bytes instead of {AUTH_BYTES}")
    return SubscriptionKeys(public, point, secret)


def encrypted(
    plaintext: bytes,
    keys: SubscriptionKeys,
    *,
    ephemeral: ec.EllipticCurvePrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """The body of one push: plaintext of up to PLAINTEXT_BYTES_MAX as one aes128gcm record.

    `ephemeral` and `salt` are made afresh unless handed in, and may serve one message only (RFC 8291 §3.1, §3.4).
    """
    ephemeral = ephemeral or ec.generate_private_key(_CURVE)
    point = public_point(ephemeral)
    secret = ephemeral.exchange(_ECDH, keys.public)
    shared = hmac.digest(keys.auth, secret, "sha256")
    input_key = hmac.digest(shared, b"WebPush: info\x00" + keys.point + point + b"\x01", "sha256")
    return one_record(plaintext, input_key, salt or os.urandom(16), point)


def one_record(plaintext: bytes, input_key: bytes, salt: bytes, key_id: bytes) -> bytes:
    """RFC 8188 §2: header and the only record, without padding beyond the delimiter."""
    key, nonce = content_keys(input_key, salt)
    header = salt + RECORD_BYTES.to_bytes(4, "big") + bytes((len(key_id),)) + key_id
    return header + AESGCM(key).encrypt(nonce, plaintext + _LAST_RECORD, None)


def content_keys(input_key: bytes, salt: bytes) -> ContentKeys:
    """HKDF (RFC 5869) as plain HMACs: every output is one block, and the general form costs twice as much."""
    pseudorandom = hmac.digest(salt, input_key, "sha256")
    key = hmac.digest(pseudorandom, b"Content-Encoding: aes128gcm\x00\x01", "sha256")[:16]
    return ContentKeys(key, hmac.digest(pseudorandom, b"Content-Encoding: nonce\x00\x01", "sha256")[:12])


def vapid(key: ec.EllipticCurvePrivateKey, origin: str, subject: str, expire_s: int) -> bytes:
    """The `authorization` header for one push service (RFC 8292 §2, §3). The same for the same arguments."""
    claims = {"aud": origin, "exp": expire_s, "sub": subject}
    token: bytes = jwt.encode(Es256(key), claims, header={"alg": "ES256"})  # type: ignore[no-untyped-call]
    return b"vapid t=" + token + b", k=" + base64url(public_point(key))


def public_point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The uncompressed public point of a key."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def base64url(value: bytes) -> bytes:
    """Without padding (RFC 7515 §2)."""
    return urlsafe_b64encode(value).rstrip(b"=")


def _decoded(name: str, text: str) -> bytes:
    bare = text.rstrip("=")
    if not _BASE64.fullmatch(text) or len(bare) % 4 == 1:
        raise ValueError(f"{name} is not base64url")
    return urlsafe_b64decode(bare.replace("+", "-").replace("/", "_") + "=" * (-len(bare) % 4))
