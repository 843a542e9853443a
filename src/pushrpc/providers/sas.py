"""Shared access signatures: how Azure Service Bus, and with it Notification Hubs, knows who calls.

Sources: Microsoft, "Service Bus access control with Shared Access Signatures"; Notification Hubs REST API, "Common
concepts".
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from pushrpc.exchange import Request, Response
from pushrpc.model import Outcome
from pushrpc.providers import AccountError
from pushrpc.providers.credentials import read_secret
from pushrpc.providers.origin import Origin

SETTING = "connection_string_file"
# A token of a window serves for 5 minutes at least, and no longer than those of Microsoft's own clients.
WINDOW_S = 900
LIFETIME_S = 1200
_REQUIRED = ("Endpoint", "SharedAccessKeyName", "SharedAccessKey")
_KNOWN = frozenset({*_REQUIRED, "EntityPath"})
# Azure's, that of 21Vianet in China and that of the government of the United States.
_CLOUDS = (".servicebus.windows.net", ".servicebus.chinacloudapi.cn", ".servicebus.usgovcloudapi.net")


@dataclass(frozen=True, slots=True)
class ConnectionString:
    """What Azure's portal hands out for one access policy. `entity` is empty where the policy is the namespace's."""

    origin: Origin
    key_name: str
    key: str = field(repr=False)
    entity: str = ""

    def check_host(self) -> None:
        """Raises AccountError unless the host is a namespace of Azure's: whoever is called learns a signature."""
        if not self.origin.host.lower().endswith(_CLOUDS):
            known = ", ".join(f"*{cloud}" for cloud in _CLOUDS)
            raise AccountError(SETTING, f"Endpoint is none of {known}; to call another host, set endpoint too")

    @property
    def namespace(self) -> str:
        """The namespace's name in Azure, elsewhere the host."""
        name, found, _ = self.origin.host.partition(".servicebus.")
        return name if found else self.origin.host


def read_connection_string(path: str) -> ConnectionString:
    """Reads `Endpoint=sb://…/;SharedAccessKeyName=…;SharedAccessKey=…`. Raises AccountError; never repeats the key."""
    values: dict[str, str] = {}
    for part in read_secret(SETTING, path).split(";"):
        if not part.strip():
            continue
        # Keys are base64 and so may end in "=".
        name, found, value = part.strip().partition("=")
        if name not in _KNOWN:
            raise AccountError(SETTING, "holds a part that no connection string has; copy it whole from the portal")
        if not found or not value or name in values:
            raise AccountError(SETTING, f"{name} is {'there twice' if name in values else 'empty'}")
        values[name] = value
    for name in _REQUIRED:
        if name not in values:
            raise AccountError(SETTING, f"has no {name}; copy the connection string whole from the portal")
    return ConnectionString(
        _origin(values["Endpoint"]),
        values["SharedAccessKeyName"],
        values["SharedAccessKey"],
        values.get("EntityPath", ""),
    )


def _origin(endpoint: str) -> Origin:
    try:
        url = urlsplit(endpoint)
        origin = Origin(url.hostname or "", url.port or 443)
    except ValueError:
        url, origin = urlsplit(""), Origin("")
    bare = not (url.path.strip("/") or url.query or url.fragment or "@" in url.netloc)
    if url.scheme != "sb" or not origin.host or not bare:
        raise AccountError(SETTING, "Endpoint is not sb://host/")
    return origin


class SasToken:
    """A Credential without exchange: every token is signed here.

    The same for every session, node and restart within a window of WINDOW_S, and valid for LIFETIME_S from its start;
    but a token that was refused is not used again: `renewal` has the next one signed for LIFETIME_S from then on, which
    also helps where the hub's clock is ahead of ours by more than the window had left.
    Covers everything below `resource`, an https URL. The key is used as the text that it is, never decoded.
    """

    def __init__(self, resource: str, key_name: str, key: str) -> None:
        self._resource = quote(resource.lower(), safe="")
        self._key_name = quote(key_name, safe="")
        self._key = key.encode()
        self._expire_s = -1
        self._renewed_until_s = 0
        self._value = b""

    def current(self, now_us: int) -> bytes:
        expire_s = max(now_us // 1_000_000 // WINDOW_S * WINDOW_S + LIFETIME_S, self._renewed_until_s)
        if expire_s != self._expire_s:
            signature = b64encode(hmac.digest(self._key, f"{self._resource}\n{expire_s}".encode(), "sha256"))
            parts = f"sr={self._resource}&sig={quote(signature, safe='')}&se={expire_s}&skn={self._key_name}"
            self._expire_s, self._value = expire_s, f"SharedAccessSignature {parts}".encode()
        return self._value

    def renew_at_us(self) -> int:
        return 0

    def renewal(self, now_us: int) -> Request | None:
        # Never what was refused once more, which at the very start of a window it would be.
        self._renewed_until_s = max(now_us // 1_000_000 + LIFETIME_S, self._expire_s + 1)
        return None

    def renewed(self, response: Response, now_us: int) -> Outcome | None:
        return None
