"""Credentials: what proves to a provider that we may send. Sans I/O; time is handed in.

Apple's token is made here and never exchanged. Google's is exchanged for a signed assertion; the dispatcher carries the
exchange. A TLS certificate is only checked here and used by transport.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from aioapns.connection import JWTAuthorizationHeaderProvider
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.auth import jwt
from google.auth.exceptions import GoogleAuthError
from google.oauth2 import service_account

from pushrpc.exchange import Request, Response
from pushrpc.model import Outcome, Scope
from pushrpc.providers import AccountError
from pushrpc.providers.answer import by_status, clip, json_object, retry_after_s, text, word
from pushrpc.providers.origin import Origin
from pushrpc.words import OutcomeKind

SECOND_US = 1_000_000
APPLE_ID = re.compile(r"[A-Za-z0-9]{10}")
FCM_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523 §2.1
ASSERTION_LIFETIME_S = 3600  # the longest that Google takes
RENEW_AHEAD_S = 300.0
# Google's tokens live an hour; a stand-in that says nothing, or something absurd, shall not keep us from renewing.
TOKEN_LIFETIME_S = 3600.0
_HEADER_VALUE = re.compile(r"[\x21-\x7e]{1,8192}")


class ApnsToken(JWTAuthorizationHeaderProvider):
    """Apple's provider token: aioapns's provider with time handed in and a signature that is always the same.

    `iat` is the start of the current 30-minute window and the signature is deterministic (RFC 6979), so every session,
    node and restart makes the same token, and no crash loop breaks Apple's rule of one new token in 20 minutes
    ("Establishing a token-based connection to APNs"). Inside a window nothing can change it: after
    ExpiredProviderToken only a new session can help, and after TooManyProviderTokenUpdates the old token is kept.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey, key_id: str, team_id: str) -> None:
        super().__init__(key, key_id, team_id)
        self._issued_s = -1
        self._header = ""

    def get_header(self) -> str:
        """The token of the window last asked for, for aioapns, which hands in no time."""
        return self._header

    def current(self, now_us: int) -> bytes:
        issued_s = now_us // SECOND_US // self.TOKEN_TTL * self.TOKEN_TTL
        if issued_s != self._issued_s:
            claims = {"iss": self.team_id, "iat": issued_s}
            token = jwt.encode(Es256(self.key), claims, header={"alg": "ES256"}, key_id=self.key_id)  # type: ignore[no-untyped-call]
            self._issued_s, self._header = issued_s, f"bearer {token.decode()}"
        return self._header.encode()

    def renew_at_us(self) -> int:
        return 0

    def renewal(self, now_us: int) -> Request | None:
        return None

    def renewed(self, response: Response, now_us: int) -> Outcome | None:
        return None


class Es256:
    """Signs as RFC 7518 §3.4 wants it (R and S, 32 bytes each), with RFC 6979's nonce instead of a random one."""

    key_id = None

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    def sign(self, message: bytes) -> bytes:
        signature = self._key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        r, s = decode_dss_signature(signature)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def open_apns_token(key_file: str, key_id: str, team_id: str) -> ApnsToken:
    """Loads an Apple signing key. Accounts with the same key share one object. Raises AccountError."""
    for setting, value in (("key_id", key_id), ("team_id", team_id)):
        if not APPLE_ID.fullmatch(value):
            raise AccountError(setting, "is not 10 letters and digits, as Apple's developer pages show it")
    return _shared_apns_token(read_file("key_file", key_file), key_id, team_id)


# By content, so that a key replaced in its file is a new one. More keys than this only cost a signature each.
@lru_cache(maxsize=256)
def _shared_apns_token(key_pem: bytes, key_id: str, team_id: str) -> ApnsToken:
    return ApnsToken(_apns_key(key_pem), key_id, team_id)


def check_apns_key(key_file: str) -> None:
    """Raises AccountError unless the file holds a key that can sign Apple's provider tokens."""
    _apns_key(read_file("key_file", key_file))


def _apns_key(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = _private_key("key_file", key_pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise AccountError("key_file", "is not an EC P-256 key; use the .p8 file that Apple gave for APNs")
    try:
        Es256(key).sign(b"")
    except UnsupportedAlgorithm:
        raise AccountError("key_file", "this OpenSSL cannot sign deterministically; it needs 3.2 or newer") from None
    return key


def check_certificate(cert_file: str, cert_key_file: str, now_us: int) -> None:
    """Raises AccountError unless the chain's first certificate is in date and belongs to the key.

    `now_us` 0 leaves the dates to the handshake.
    """
    try:
        certificate = x509.load_pem_x509_certificates(read_file("cert_file", cert_file))[0]
    except ValueError:
        raise AccountError("cert_file", "is not a PEM certificate; convert a .p12 with openssl pkcs12") from None
    key = _private_key("cert_key_file", read_file("cert_key_file", cert_key_file))
    if certificate.public_key() != key.public_key():
        raise AccountError("cert_key_file", "is not the key of cert_file")
    if not now_us:
        return
    now = datetime.fromtimestamp(now_us / SECOND_US, UTC)
    if now > certificate.not_valid_after_utc:
        raise AccountError(
            "cert_file", f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}; renew it where it was issued"
        )
    if now < certificate.not_valid_before_utc:
        raise AccountError("cert_file", _not_yet(certificate.not_valid_before_utc, now))


def check_ca_file(ca_file: str, now_us: int = 0) -> None:
    """Raises AccountError unless it is unset or holds PEM certificates, one of which at least is in date.

    `now_us` 0 leaves the dates to the handshake, which trusts no authority outside of its own (RFC 5280 §6.1.3).
    """
    if not ca_file:
        return
    try:
        trusted = x509.load_pem_x509_certificates(read_file("ca_file", ca_file))
    except ValueError:
        raise AccountError("ca_file", "is not a PEM certificate") from None
    now = datetime.fromtimestamp(now_us / SECOND_US, UTC)
    to_come = [each.not_valid_before_utc for each in trusted if now <= each.not_valid_after_utc]
    if not now_us or any(start <= now for start in to_come):
        return
    if to_come:
        raise AccountError("ca_file", _not_yet(min(to_come), now))
    last = max(each.not_valid_after_utc for each in trusted)
    raise AccountError("ca_file", f"expired on {last:%Y-%m-%d}; name the certificate that replaced it")


def _not_yet(start: datetime, now: datetime) -> str:
    """To the minute: of a certificate made today it is the clock or its zone that is wrong."""
    return (
        f"is not valid before {start:%Y-%m-%d %H:%M} UTC, and this machine's clock says {now:%Y-%m-%d %H:%M}; "
        "set the clock, or name one that is valid now"
    )


class ExchangedToken:
    """An OAuth access token (RFC 6749 §5.1) that an exchange renews; what is exchanged for it, a subclass says.

    `lifetime_s` is how long a token lives whose answer says nothing, or something absurd, of that, and the longest
    that is believed.
    """

    def __init__(self, lifetime_s: float) -> None:
        self._lifetime_s = lifetime_s
        self._value: bytes | None = None
        self._expire_us = 0
        self._renew_at_us = 1  # long past: there is nothing to serve yet

    def current(self, now_us: int) -> bytes | None:
        return self._value if now_us < self._expire_us else None

    def renew_at_us(self) -> int:
        return self._renew_at_us

    def renewed(self, response: Response, now_us: int) -> Outcome | None:
        """A refusal leaves the token that is there: it may serve until it expires."""
        told = json_object(response.body)
        if response.status != 200:
            return _renewal_refused(response, told, now_us)
        token = told.get("access_token")
        if not isinstance(token, str) or not _HEADER_VALUE.fullmatch(token):
            return Outcome(OutcomeKind.UNAVAILABLE, 200, detail="the token endpoint's answer holds no access_token")
        lifetime_s = _seconds(told.get("expires_in"))
        if not 0 < lifetime_s <= self._lifetime_s:
            lifetime_s = self._lifetime_s
        self._value = b"Bearer " + token.encode()
        self._expire_us = now_us + int(lifetime_s * SECOND_US)
        # A token shorter than ten minutes is renewed half-way, so that renewing never becomes a loop.
        self._renew_at_us = self._expire_us - int(min(RENEW_AHEAD_S, lifetime_s / 2) * SECOND_US)
        return None


def _seconds(value: object) -> float:
    """`expires_in`, which Microsoft Entra gives as a text; 0 for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


class ClientToken(ExchangedToken):
    """An access token for a client's id and secret (RFC 6749 §4.4)."""

    def __init__(self, url: str, form: Mapping[str, str], ca_file: str, lifetime_s: float) -> None:
        """`form` is sent as it is, and so holds the secret."""
        super().__init__(lifetime_s)
        self._url = url
        self._body = urlencode(form).encode()
        self._ca_file = ca_file

    def renewal(self, now_us: int) -> Request:
        return Request("POST", self._url, _FORM, self._body, self._ca_file)


_FORM = ((b"content-type", b"application/x-www-form-urlencoded"),)


class GoogleToken(ExchangedToken):
    """A service account's OAuth access token, renewed by a signed assertion (RFC 7523; Google, "Using OAuth 2.0 for
    Server to Server Applications").

    google-auth loads the account and signs; it never touches the network. With an `endpoint`, a token_uri on a Google
    host moves there, and the assertion still names the file's token_uri as its audience.
    """

    def __init__(self, info: Mapping[str, Any], endpoint: Origin | None, ca_file: str) -> None:
        super().__init__(TOKEN_LIFETIME_S)
        try:
            account = service_account.Credentials.from_service_account_info(info, scopes=[FCM_SCOPE])  # type: ignore[no-untyped-call]
        except (ValueError, GoogleAuthError, KeyError, TypeError, AttributeError):
            raise AccountError(
                "service_account_file", "is not a service account with its private key; make a new key for it"
            ) from None
        self._signer = account.signer
        self._issuer: str = account.service_account_email
        self._audience: str = info["token_uri"]
        self._url = _token_url(self._audience, endpoint)
        self._ca_file = ca_file

    def renewal(self, now_us: int) -> Request:
        now_s = now_us // SECOND_US
        claims = {
            "iss": self._issuer,
            "scope": FCM_SCOPE,
            "aud": self._audience,
            "iat": now_s,
            "exp": now_s + ASSERTION_LIFETIME_S,
        }
        assertion: bytes = jwt.encode(self._signer, claims)  # type: ignore[no-untyped-call]
        form = {"grant_type": JWT_BEARER, "assertion": assertion}
        return Request("POST", self._url, _FORM, urlencode(form).encode(), self._ca_file)


def _renewal_refused(response: Response, told: Mapping[str, Any], now_us: int) -> Outcome:
    """RFC 6749 §5.2: 4xx with `error` and `error_description`. Whatever 4xx it is, it concerns the credential."""
    kind = by_status(response.status)
    if kind not in (OutcomeKind.THROTTLED, OutcomeKind.UNAVAILABLE):
        kind = OutcomeKind.CREDENTIAL_REFUSED
    return Outcome(
        kind,
        response.status,
        reason=word(told.get("error")),
        detail=clip(word(told.get("error_description"), 1024)) or ("" if told else text(response.body)),
        retry_after_s=retry_after_s(response, now_us),
        scope=Scope.LANE,
    )


def _token_url(token_uri: object, endpoint: Origin | None) -> str:
    try:
        url = urlsplit(token_uri if isinstance(token_uri, str) else "")
        host = url.hostname or ""
    except ValueError:
        host = ""
    if not host or url.scheme != "https":
        raise AccountError("service_account_file", "token_uri is not an https address")
    is_google = host in ("googleapis.com", "accounts.google.com") or host.endswith(".googleapis.com")
    return f"https://{endpoint.authority}/token" if endpoint and is_google else url.geturl()


def read_service_account(path: str) -> Mapping[str, Any]:
    """The JSON of a service account file. Raises AccountError."""
    try:
        info = json.loads(read_file("service_account_file", path))
    except (ValueError, RecursionError):
        info = None
    if not isinstance(info, dict) or info.get("type") != "service_account":
        raise AccountError("service_account_file", "is not a service account's JSON key file")
    return info


def read_secret(setting: str, path: str) -> str:
    """The one line of a file that holds a secret. Raises AccountError."""
    try:
        secret = read_file(setting, path).decode().strip()
    except UnicodeDecodeError:
        secret = ""
    if not secret or not secret.isprintable():
        raise AccountError(setting, "does not hold one line of text; store the secret in it, and nothing else")
    return secret


def read_vapid_key(path: str) -> ec.EllipticCurvePrivateKey:
    """The key that signs for browsers (RFC 8292 §2): PEM, or the 32 bytes in base64url that other tools write."""
    pem = read_file("vapid_key_file", path)
    key: object = None
    if b"-----" in pem:
        key = _private_key("vapid_key_file", pem)
    else:
        with suppress(ValueError):
            number = urlsafe_b64decode(pem.strip() + b"=" * (-len(pem.strip()) % 4))
            key = ec.derive_private_key(int.from_bytes(number, "big"), ec.SECP256R1()) if len(number) == 32 else None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise AccountError(
            "vapid_key_file",
            "is not an EC P-256 key; make one with: openssl ecparam -name prime256v1 -genkey -noout -out vapid.pem",
        )
    return key


def read_file(setting: str, path: str) -> bytes:
    """The bytes of a small settings file. Raises AccountError."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not a path"
        raise AccountError(setting, f"cannot be read ({problem})") from None


def _private_key(setting: str, pem: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(pem, password=None)
    except TypeError:
        raise AccountError(setting, "is protected by a password; store it without one, readable only by us") from None
    except (ValueError, UnsupportedAlgorithm):
        raise AccountError(setting, "is not a private key in PEM form") from None
