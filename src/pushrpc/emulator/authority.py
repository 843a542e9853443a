"""The emulators' own certificate authority, and Apple's way of writing an app into a client certificate.

Apple's certificates carry the bundle id as the subject's UID and list environments and topics in extensions below
1.2.840.113635.100.6.3 ("Establishing a certificate-based connection to APNs").
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

APPLE = "1.2.840.113635.100.6.3"
SANDBOX_OID = ObjectIdentifier(f"{APPLE}.1")
PRODUCTION_OID = ObjectIdentifier(f"{APPLE}.2")
TOPICS_OID = ObjectIdentifier(f"{APPLE}.6")

VALID_DAYS = 30
"""Long enough for any run, short enough that a forgotten directory is of no use."""

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What APNs reads from a client certificate. `topic` is the subject's UID, empty when there is none."""

    topic: str
    topics: frozenset[str]
    environments: frozenset[str]
    expire_us: int


class Authority:
    """A CA that lives in `directory` as ca.pem; its key stays in memory, so a new process is a new authority."""

    def __init__(self, directory: Path) -> None:
        self.ca_file = directory / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pushrpc emulator CA")])
        certificate = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue_server(self, path: Path, hosts: Sequence[str]) -> None:
        """Writes certificate and key for `hosts` (names or addresses) into one PEM file."""
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        self._issue(path, key, subject, ExtendedKeyUsageOID.SERVER_AUTH, [(names, False)])

    def issue_apns_client(
        self, path: Path, topics: Sequence[str], environments: Sequence[str] = ("production", "sandbox")
    ) -> None:
        """Writes an APNs client certificate and its key into one PEM file; the first topic is the bundle id."""
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.USER_ID, topics[0]),
                x509.NameAttribute(NameOID.COMMON_NAME, f"Apple Push Services: {topics[0]}"),
            ]
        )
        extensions: list[tuple[x509.ExtensionType, bool]] = [(_unread(TOPICS_OID, _topics_to_der(topics)), False)]
        for environment, oid in (("sandbox", SANDBOX_OID), ("production", PRODUCTION_OID)):
            if environment in environments:
                extensions.append((_unread(oid, b"\x05\x00"), False))
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._issue(path, key, subject, ExtendedKeyUsageOID.CLIENT_AUTH, extensions)

    def _issue(
        self,
        path: Path,
        key: PrivateKey,
        subject: x509.Name,
        purpose: ObjectIdentifier,
        extensions: Sequence[tuple[x509.ExtensionType, bool]],
    ) -> None:
        builder = (
            _builder(subject, self._name, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        certificate = builder.sign(self._key, hashes.SHA256())
        write_private(path, certificate.public_bytes(serialization.Encoding.PEM) + private_pem(key))


def private_pem(key: PrivateKey) -> bytes:
    """PKCS#8 PEM, as Apple's .p8 files and Google's service accounts have it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_private(path: Path, content: bytes) -> None:
    """Writes a file that only its owner can read, from the first byte on."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(content)


def read_client_certificate(der: bytes) -> ClientCertificate:
    """What APNs makes of a client certificate; raises ValueError when it is not one."""
    certificate = x509.load_der_x509_certificate(der)
    uid = certificate.subject.get_attributes_for_oid(NameOID.USER_ID)
    topic = str(uid[0].value) if uid else ""
    topics = {topic} - {""}
    environments = set()
    for extension in certificate.extensions:
        if extension.oid == TOPICS_OID and isinstance(extension.value, x509.UnrecognizedExtension):
            topics |= set(_topics_from_der(extension.value.value))
        elif extension.oid in (SANDBOX_OID, PRODUCTION_OID):
            environments.add("sandbox" if extension.oid == SANDBOX_OID else "production")
    expire_us = int(certificate.not_valid_after_utc.timestamp() * 1e6)
    return ClientCertificate(topic, frozenset(topics), frozenset(environments), expire_us)


def _builder(subject: x509.Name, issuer: x509.Name, key: PrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # An hour back, for clients whose clock is a little behind.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _unread(oid: ObjectIdentifier, der: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(oid, der)


# The topics extension is a SEQUENCE of pairs: the topic as UTF8String, then a SEQUENCE with the kind of its pushes.
_SEQUENCE, _UTF8 = 0x30, 0x0C


def _topics_to_der(topics: Sequence[str]) -> bytes:
    pairs = (_der(_UTF8, t.encode()) + _der(_SEQUENCE, _der(_UTF8, _kind(t))) for t in topics)
    return _der(_SEQUENCE, b"".join(pairs))


def _kind(topic: str) -> bytes:
    suffix = topic.rpartition(".")[2]
    return suffix.encode() if suffix in ("voip", "complication") else b"app"


def _topics_from_der(der: bytes) -> Iterator[str]:
    for tag, content in _elements(der):
        if tag == _SEQUENCE:
            yield from (inner.decode() for inner_tag, inner in _elements(content) if inner_tag == _UTF8)


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size) + content


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 <= len(der):
        tag, length, start = der[at], der[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, start = int.from_bytes(der[start : start + size]), start + size
        yield tag, der[start : start + length]
        at = start + length
