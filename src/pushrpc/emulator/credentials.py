"""A set of credentials that works against the emulators, written as the files a sender is configured with."""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pushrpc.emulator.apns import Accounts, Key
from pushrpc.emulator.authority import Authority, private_pem, write_private
from pushrpc.emulator.fcm import Fcm, ServiceAccount
from pushrpc.emulator.hms import Hms
from pushrpc.emulator.notification_hubs import NotificationHubs
from pushrpc.emulator.webpush_crypto import base64url, point_of
from pushrpc.emulator.wns import Wns


@dataclass(frozen=True, slots=True)
class Credentials:
    """`apns_certificate_file` holds certificate and key in one PEM, so it serves for both settings of a sender."""

    bundle_id: str
    team_id: str
    key_id: str
    apns_key_file: Path
    apns_certificate_file: Path
    project_id: str
    service_account_file: Path


def issue_apns_key(
    accounts: Accounts, directory: Path, *, team_id: str, environments: frozenset[str], topics: frozenset[str]
) -> tuple[str, Path]:
    """Makes a signing key, tells Apple's side of it, and writes AuthKey_<key id>.p8. Returns key id and file."""
    private = ec.generate_private_key(ec.SECP256R1())
    key_id = secrets.token_hex(5).upper()
    accounts.put_key(Key(key_id, team_id, private.public_key(), environments, topics))
    path = directory / f"AuthKey_{key_id}.p8"
    write_private(path, private_pem(private))
    return key_id, path


def issue_service_account(fcm: Fcm, directory: Path, *, project_id: str, token_url: str) -> Path:
    """Makes a service account, tells Google's side of it, and writes its JSON as the Firebase console gives it out."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    email = f"pushrpc@{project_id}.iam.gserviceaccount.com"
    account = ServiceAccount(email, secrets.token_hex(20), private.public_key(), project_id)
    fcm.put_service_account(account)
    content = {
        "type": "service_account",
        "project_id": project_id,
        "private_key_id": account.key_id,
        "private_key": private_pem(private).decode(),
        "client_email": email,
        "client_id": str(secrets.randbelow(10**21)),
        "token_uri": token_url,
        "universe_domain": "googleapis.com",
    }
    path = directory / f"{project_id}.json"
    write_private(path, json.dumps(content, indent=2).encode())
    return path


def issue_wns_app(wns: Wns, directory: Path, *, tenant_id: str = "") -> tuple[str, Path]:
    """Registers an app with Microsoft and writes its secret. Returns client id and file.

    Without a tenant the client id is a package SID, as Partner Center gives it.
    """
    sid = "-".join(str(secrets.randbelow(2**32)) for _ in range(7))
    client_id = str(uuid.uuid4()) if tenant_id else f"ms-app://s-1-15-2-{sid}"
    secret = secrets.token_urlsafe(24)
    wns.put_app(client_id, secret, tenant_id=tenant_id)
    path = directory / f"wns-{client_id.rpartition('/')[2]}.secret"
    write_private(path, f"{secret}\n".encode())
    return client_id, path


def issue_hms_app(hms: Hms, directory: Path, *, app_id: str = "") -> tuple[str, Path]:
    """Registers an app with Huawei and writes its client secret. Returns its id and the file."""
    app_id = app_id or str(10**8 + secrets.randbelow(9 * 10**8))
    secret = secrets.token_hex(32)
    hms.put_app(app_id, secret)
    path = directory / f"hms-{app_id}.secret"
    write_private(path, f"{secret}\n".encode())
    return app_id, path


def issue_hub(hubs: NotificationHubs, directory: Path, endpoint: str, *, hub: str = "shop-hub") -> Path:
    """Makes a hub at `endpoint`, an https URL, with a policy of every right. Writes and returns its connection string.

    The string names the emulator itself as the namespace, so clients that know no other address find it there.
    """
    name, key = "DefaultFullSharedAccessSignature", base64.b64encode(secrets.token_bytes(32)).decode()
    hubs.put_rule(hub, name, key)
    path = directory / f"hub-{hub}.connection"
    host = endpoint.removeprefix("https://")
    write_private(path, f"Endpoint=sb://{host}/;SharedAccessKeyName={name};SharedAccessKey={key}\n".encode())
    return path


def issue_apns_certificate(authority: Authority, directory: Path, bundle_id: str) -> Path:
    """Writes a client certificate for an app and its VoIP and complication topics, valid in both environments."""
    path = directory / f"{bundle_id}.pem"
    authority.issue_apns_client(path, [bundle_id, f"{bundle_id}.voip", f"{bundle_id}.complication"])
    return path


def issue_vapid_key(directory: Path) -> tuple[str, Path]:
    """Writes a sender's VAPID key. Returns its public half, as pages subscribe with it, and the file."""
    private = ec.generate_private_key(ec.SECP256R1())
    public_key = base64url(point_of(private.public_key()))
    path = directory / f"vapid-{public_key[:10]}.pem"
    write_private(path, private_pem(private))
    return public_key, path


def read_public_key(pem: str) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """A public key in PEM, for registering keys that were made elsewhere. Raises ValueError when it is neither kind."""
    key = serialization.load_pem_public_key(pem.encode())
    if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return key
    raise ValueError("neither an EC nor an RSA public key")
