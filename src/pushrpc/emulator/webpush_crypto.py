"""What a browser and its push service do with a push: the one reads it, the other asks who sent it.

Sources: RFC 8188 and RFC 8291 (the body), RFC 8292 (VAPID). Written apart from the sender's side, so that the two check
each other.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HEADER_BYTES = 16 + 4 + 1
POINT_BYTES = 65
TAG_BYTES = 16
VAPID_LIFE_MAX_S = 24 * 3600

_PARAMETER = re.compile(r"\s*([a-z]+)\s*=\s*\"?([A-Za-z0-9._-]+)\"?\s*")
_JWT_OPTIONS: Any = {
    "verify_iat": False,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_aud": False,
    "verify_sub": False,
}


def opened(body: bytes, private: ec.EllipticCurvePrivateKey, auth: bytes) -> bytes:
    """The plaintext of an aes128gcm body of one record. Raises ValueError, saying what is wrong with it."""
    if len(body) < HEADER_BYTES:
        raise ValueError("the body is shorter than its header")
    salt, record_bytes, point_bytes = body[:16], int.from_bytes(body[16:20]), body[20]
    if point_bytes != POINT_BYTES:
        raise ValueError(f"idlen is {point_bytes}; the key id is the sender's public key of {POINT_BYTES} bytes")
    point, record = body[21 : 21 + POINT_BYTES], body[21 + POINT_BYTES :]
    if record_bytes < TAG_BYTES + 2 or len(record) > record_bytes:
        raise ValueError(f"rs is {record_bytes}, and a push is one record; this one has {len(record)} bytes")
    if len(record) < TAG_BYTES + 1:
        raise ValueError("the record is shorter than its tag and delimiter")
    key, nonce = _content_keys(private, auth, point, salt)
    try:
        padded = AESGCM(key).decrypt(nonce, record, None)
    except InvalidTag:
        raise ValueError("the record was not encrypted for this subscription, or was changed") from None
    plaintext = padded.rstrip(b"\x00")
    if not plaintext.endswith(b"\x02"):
        raise ValueError("the padding does not begin with the last record's delimiter")
    return plaintext[:-1]


def _content_keys(private: ec.EllipticCurvePrivateKey, auth: bytes, point: bytes, salt: bytes) -> tuple[bytes, bytes]:
    try:
        sender = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise ValueError("the key id is no point of P-256") from None
    secret = private.exchange(ec.ECDH(), sender)
    info = b"WebPush: info\x00" + point_of(private.public_key()) + point
    input_key = HKDF(hashes.SHA256(), 32, auth, info).derive(secret)
    key = HKDF(hashes.SHA256(), 16, salt, b"Content-Encoding: aes128gcm\x00").derive(input_key)
    return key, HKDF(hashes.SHA256(), 12, salt, b"Content-Encoding: nonce\x00").derive(input_key)


def sender_of(authorization: str, origin: str, now_s: int) -> tuple[str, str]:
    """Who signed an `Authorization: vapid` header for `origin`: public key and contact, "" when none is given.

    Raises ValueError, saying what is wrong with it.
    """
    scheme, _, rest = authorization.partition(" ")
    parameters = {match[1]: match[2] for part in rest.split(",") if (match := _PARAMETER.fullmatch(part))}
    if scheme.lower() != "vapid" or not {"t", "k"} <= parameters.keys():
        raise ValueError("the authorization is not vapid with t and k")
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), from_base64url(parameters["k"]))
        claims: dict[str, Any] = jwt.decode(parameters["t"], key, algorithms=["ES256"], options=_JWT_OPTIONS)
    except (ValueError, jwt.InvalidTokenError):
        raise ValueError("the token is not signed with the key k") from None
    expire_s, contact = claims.get("exp"), claims.get("sub", "")
    if claims.get("aud") != origin:
        raise ValueError("aud is not the origin of this push service")
    if not isinstance(expire_s, int) or not now_s < expire_s <= now_s + VAPID_LIFE_MAX_S:
        raise ValueError("exp is past, or more than 24 hours ahead")
    if not isinstance(contact, str) or (contact and not contact.startswith(("mailto:", "https:"))):
        raise ValueError("sub is neither mailto: nor https:")
    return base64url(point_of(key)), contact


def point_of(key: ec.EllipticCurvePublicKey) -> bytes:
    """The 65 bytes of the uncompressed point."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def base64url(value: bytes) -> str:
    """Without padding, as browsers write keys."""
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Raises ValueError."""
    return urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
