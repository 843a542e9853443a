"""Where an account's provider lives: Apple or Google, or the emulator or sink that `endpoint` names instead."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from pushrpc.providers import AccountError


class Origin(NamedTuple):
    """An https origin. Credentials travel to it, so there is no plain one."""

    host: str
    port: int = 443

    @staticmethod
    def of_endpoint(endpoint: str) -> Origin | None:
        """Reads the `endpoint` setting; None when it is not set. Raises AccountError."""
        if not endpoint:
            return None
        try:
            url = urlsplit(endpoint)
            origin = Origin(url.hostname or "", url.port or 443)
        except ValueError:
            raise AccountError("endpoint", "is not https://host:port") from None
        if url.scheme != "https" or not origin.host or "@" in url.netloc or url.path.strip("/") or url.query:
            raise AccountError("endpoint", "is not https://host:port")
        return origin

    @property
    def authority(self) -> str:
        """As in `:authority` and in URLs: no default port, brackets around IPv6 (RFC 3986 §3.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"
