"""How a client reaches its server: trust, identity, keepalive, and what gRPC repeats by itself."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from pushrpc_client.errors import without_token

Token = str | Callable[[], str]

PING_EVERY_MS = 30_000  # the server takes pings from 20 s on
PING_TIMEOUT_MS = 10_000
RECONNECT_FIRST_MS = 100
RECONNECT_LAST_MS = 5_000
RECEIVE_MAX_BYTES = 16 * 1024 * 1024  # a receipt that tells of 10,000 rejected targets passes gRPC's own 4 MiB

# Calls that may be made twice, those of proto/service_config.json. SendNotification is not among them: gRPC cannot know
# whether it has a request_id.
_IDEMPOTENT = (
    *("RegisterDevice", "UpdateDevice", "UnregisterDevice", "GetDevice", "ListDevices", "GetNotification"),
    *("ListNotifications", "ListDeliveries", "PreviewNotification", "CancelNotification", "ReportEngagement"),
    *("SubscribeToTopic", "UnsubscribeFromTopic", "ListBroadcastChannels", "GetServerInfo"),
)
# gRPC service config, https://github.com/grpc/grpc/blob/master/doc/service_config.md
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "pushrpc.v1.PushService", "method": method} for method in _IDEMPOTENT],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


class Tls(NamedTuple):
    """PEM files: whom to trust instead of the system's roots, and the client's own certificate with its key."""

    ca_file: str | Path | None = None
    cert_file: str | Path | None = None
    key_file: str | Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises OSError when a file cannot be read, ValueError for a certificate without key, or a key without."""
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together")
        roots = self.ca_file or _system_roots()
        files = (Path(file).read_bytes() if file else None for file in (roots, self.key_file, self.cert_file))
        return grpc.ssl_channel_credentials(*files)


def _system_roots() -> Path | None:
    """None has gRPC take the roots that it brings."""
    paths = ssl.get_default_verify_paths()
    bundle = Path(paths.capath or "", "ca-certificates.crt")  # Debian's, beside the single certificates
    return Path(paths.cafile) if paths.cafile else bundle if bundle.is_file() else None


class Connection(NamedTuple):
    """Where to, and how. `credentials` are None without TLS; `token` is what each call carries.

    gRPC's own call credentials are not used: a token that cannot be had is UNAVAILABLE to them, as if it might pass.
    """

    address: str
    credentials: grpc.ChannelCredentials | None
    token: Token | None
    options: Sequence[tuple[str, Any]]


def connection(
    address: str, *, plaintext: bool, tls: Tls | None, token: Token | None, options: Sequence[tuple[str, Any]]
) -> Connection:
    """Raises ValueError for options that do not go together, OSError for a file that cannot be read."""
    own = (
        ("grpc.keepalive_time_ms", PING_EVERY_MS),
        ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_FIRST_MS),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_LAST_MS),
        ("grpc.max_receive_message_length", RECEIVE_MAX_BYTES),
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    )
    if plaintext:
        if tls is not None:
            raise ValueError("plaintext and tls exclude each other")
        return Connection(address, None, token, (*own, *options))
    return Connection(address, (tls or Tls()).credentials(), token, (*own, *options))


def authorization(token: Token) -> tuple[str, str]:
    """RFC 6750, section 2.1. Raises grpc.aio.AioRpcError (UNAUTHENTICATED) when there is no token."""
    try:
        text = token if isinstance(token, str) else token()
    except Exception as error:
        raise without_token(f"its callable raised {type(error).__name__}") from error
    if not (isinstance(text, str) and text.isascii() and text.isprintable()):
        raise without_token("it has characters that no header can have, such as a line break")
    return ("authorization", f"Bearer {text}")
