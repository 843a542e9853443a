"""Keys and certificates of every kind, made once a run."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.providers.samples import NOW_US


def pem(key: PrivateKeyTypes, password: bytes = b"") -> bytes:
    sealed = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed)


def certificate(key: CertificateIssuerPrivateKeyTypes, from_days: int, to_days: int) -> bytes:
    """Self-signed, valid from and to so many days from NOW_US."""
    now = datetime.fromtimestamp(NOW_US / 1e6, UTC)
    name = x509.Name([x509.NameAttribute(NameOID.USER_ID, "com.example.shop")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now + timedelta(days=from_days)).not_valid_after(now + timedelta(days=to_days))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


class Keys(NamedTuple):
    directory: Path
    apple: ec.EllipticCurvePrivateKey
    google: rsa.RSAPrivateKey

    def file(self, name: str) -> str:
        return str(self.directory / name)

    def service_account(self, **changed: Any) -> dict[str, Any]:
        account = {
            "type": "service_account",
            "project_id": "shop-1234",
            "private_key_id": "0f1e2d3c",
            "private_key": pem(self.google).decode(),
            "client_email": "push@shop-1234.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
        }
        return {key: value for key, value in (account | changed).items() if value is not None}


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    made = Keys(
        tmp_path_factory.mktemp("keys"), ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
    )
    other = ec.generate_private_key(ec.SECP256R1())
    files = {
        "apple.p8": pem(made.apple),
        "sealed.p8": pem(made.apple, b"secret"),
        "p384.p8": pem(ec.generate_private_key(ec.SECP384R1())),
        "rsa.pem": pem(made.google),
        "text.txt": b"not a key",
        "cert.pem": certificate(made.apple, -1, 30),
        "old.pem": certificate(made.apple, -30, -1),
        "early.pem": certificate(made.apple, 1, 30),
        "other.pem": pem(other),
        "both.pem": certificate(made.apple, -1, 30) + pem(made.apple),
        "google.json": json.dumps(made.service_account()).encode(),
    }
    for name, content in files.items():
        (made.directory / name).write_bytes(content)
    return made
