"""What became known of dead handles, in a storage container that a hub hands out a signed address of.

Rules are from Microsoft's "Get Platform Notification Services (PNS) feedback" and, for the container, "List Blobs".
A day's records are one blob, a record a line.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, tostring

from pushrpc.exchange import Response

RECORDS_MAX = 10_000
"""Records kept of one hub; the oldest is forgotten first."""
ADDRESS_LIFE = timedelta(hours=1)
CONNECT = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
_XML = (b"content-type", b"application/xml")


class Record(NamedTuple):
    """One dead handle. `installation_id` is empty for a direct send."""

    time_us: int
    outcome: str
    platform: str
    handle: str
    installation_id: str
    message_id: str

    @property
    def blob(self) -> str:
        return f"{_time(self.time_us):%m%d%Y}"

    @property
    def line(self) -> bytes:
        root = Element("PnsFeedback", xmlns=CONNECT)
        SubElement(root, "FeedbackTime").text = f"{_time(self.time_us):%Y-%m-%dT%H:%M:%S.%fZ}"
        SubElement(root, "NotificationSystemError").text = self.outcome
        SubElement(root, "Platform").text = self.platform
        SubElement(root, "PnsHandle").text = self.handle
        if self.installation_id:
            SubElement(root, "InstallationId").text = self.installation_id
        SubElement(root, "NotificationId").text = self.message_id
        return tostring(root) + b"\n"


class Feedback:
    """A hub's container, named by twenty digits."""

    def __init__(self, hub: str) -> None:
        digest = hashlib.sha256(hub.lower().encode()).digest()
        self.container = f"{int.from_bytes(digest[:8]):020d}"
        self._key = digest[8:]
        self._records: deque[Record] = deque(maxlen=RECORDS_MAX)

    def add(self, record: Record) -> None:
        self._records.append(record)

    def clear(self) -> None:
        self._records.clear()

    def address(self, host: str, now_us: int) -> str:
        """Whoever has it may list and read until it expires."""
        expires = f"{_time(now_us) + ADDRESS_LIFE:%Y-%m-%dT%H:%M:%SZ}"
        signed = f"sv=2014-02-14&sr=c&sig={quote(self._signature(expires), safe='')}&se={quote(expires, safe='')}&sp=rl"
        return f"https://{host}/{self.container}?{signed}"

    def answer(self, method: bytes, blob: str, query: Mapping[str, Sequence[str]], now_us: int) -> Response:
        """A read of a blob, or of the list of blobs where `blob` is empty."""
        expires = query.get("se", [""])[0]
        good = hmac.compare_digest(query.get("sig", [""])[0].encode(), self._signature(expires).encode())
        if method != b"GET" or not good or expires <= f"{_time(now_us):%Y-%m-%dT%H:%M:%SZ}":
            return Response(403, [_XML], b"<Error><Code>AuthenticationFailed</Code></Error>")
        if blob:
            lines = [record.line for record in self._records if record.blob == blob]
            if lines:
                return Response(200, [(b"content-type", b"application/octet-stream")], b"".join(lines))
        elif query.get("comp") == ["list"]:
            return Response(200, [_XML], self._list())
        return Response(404, [_XML], b"<Error><Code>ResourceNotFound</Code></Error>")

    def _list(self) -> bytes:
        root = Element("EnumerationResults", ContainerName=self.container)
        blobs = SubElement(root, "Blobs")
        for name in dict.fromkeys(record.blob for record in self._records):
            blob = SubElement(blobs, "Blob")
            SubElement(blob, "Name").text = name
            properties = SubElement(blob, "Properties")
            size = sum(len(record.line) for record in self._records if record.blob == name)
            SubElement(properties, "Content-Length").text = str(size)
        SubElement(root, "NextMarker")
        return tostring(root)

    def _signature(self, expires: str) -> str:
        return b64encode(hmac.digest(self._key, f"{self.container}\n{expires}".encode(), "sha256")).decode()


def _time(time_us: int) -> datetime:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC) + timedelta(microseconds=time_us % 1_000_000)
