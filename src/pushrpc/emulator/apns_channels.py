"""Broadcast channels at Apple, decided without I/O: how they are kept, and what may be sent to them.

Rules are from Apple's "Sending channel management requests to APNs", "Sending broadcast push notification requests to
APNs" and "Handling error responses from APNs". Management has hosts of its own there; here it shares the port. Apple
publishes no reason for a body that makes no channel (here PayloadEmpty, or MissingPushType and InvalidPushType).
"""

from __future__ import annotations

import base64
import json
import random
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from pushrpc.emulator.service import Call

CHANNELS_MAX = 10_000
"""Apple's limit for one app in one environment."""
LISTENERS_MAX = 1_000
"""Listeners remembered of one channel, for the journal."""
PAYLOAD_BYTES_MAX = 5120

_MANAGED = re.compile(r"/1/apps/([^/]+)/(channels|all-channels)")
_BROADCAST = re.compile(r"/4/broadcasts/apps/([^/]+)")
_ID = re.compile(r"(?=.{1,256}$)[A-Za-z0-9+/]+={0,2}")
_EXPIRATION = re.compile(rb"[0-9]{1,10}")
_PRIORITIES = frozenset({b"10", b"5", b"1"})


class Route(NamedTuple):
    """What a path is for: "channels", "all-channels" or "broadcast"."""

    bundle_id: str
    what: str


def route_of(path: bytes) -> Route | None:
    """None when the path is not about channels."""
    if path.startswith(b"/3/"):
        return None
    text = path.decode("latin-1")
    if managed := _MANAGED.fullmatch(text):
        return Route(managed[1], managed[2])
    broadcast = _BROADCAST.fullmatch(text)
    return Route(broadcast[1], "broadcast") if broadcast else None


@dataclass(slots=True)
class Channel:
    """`listeners` are the tokens of devices whose Live Activity was started with the channel, in that order."""

    stores_latest: bool
    listeners: dict[str, None] = field(default_factory=dict)


class Channels:
    """Every app's channels. Those of one environment mean nothing in the other."""

    def __init__(self) -> None:
        self._channels: dict[tuple[str, str], dict[str, Channel]] = {}
        self._random = random.Random("apns/channels")

    def clear(self) -> None:
        self._channels.clear()

    def get(self, environment: str, bundle_id: str, channel_id: str) -> Channel | None:
        return self._channels.get((environment, bundle_id), {}).get(channel_id)

    def listen(self, environment: str, bundle_id: str, channel_id: str, token: str) -> None:
        """A channel that does not exist has no listeners: on the device the activity then fails to start."""
        channel = self.get(environment, bundle_id, channel_id)
        if channel and len(channel.listeners) < LISTENERS_MAX:
            channel.listeners[token] = None

    def manage(self, call: Call, environment: str, route: Route) -> tuple[int, str, bytes]:
        """Status, the id of a new channel and the body; a status of 0 says that the second is a reason instead."""
        own = self._channels.setdefault((environment, route.bundle_id), {})
        if route.what == "all-channels":
            if call.method != b"GET":
                return 0, "MethodNotAllowed", b""
            return 200, "", json.dumps({"channels": list(own)}).encode()
        if call.method == b"POST":
            return self._open(call, own)
        if call.method not in (b"GET", b"DELETE"):
            return 0, "MethodNotAllowed", b""
        name = call.header(b"apns-channel-id").decode("latin-1")
        if reason := _bad_id(name, own):
            return 0, reason, b""
        if call.method == b"DELETE":
            del own[name]
            return 204, "", b""
        told = {"message-storage-policy": int(own[name].stores_latest), "push-type": "LiveActivity"}
        return 200, "", json.dumps(told).encode()

    def _open(self, call: Call, own: dict[str, Channel]) -> tuple[int, str, bytes]:
        try:
            wanted = json.loads(call.body)
        except ValueError:
            wanted = None
        if not isinstance(wanted, dict) or wanted.get("message-storage-policy") not in (0, 1):
            return 0, "PayloadEmpty", b""
        if wanted.get("push-type") != "LiveActivity":
            return 0, "InvalidPushType" if "push-type" in wanted else "MissingPushType", b""
        if len(own) >= CHANNELS_MAX:
            return 0, "CannotCreateChannelConfig", b""
        name = base64.b64encode(self._random.randbytes(16)).decode()
        own[name] = Channel(stores_latest=wanted["message-storage-policy"] == 1)
        return 201, name, b""

    def bad_broadcast(self, call: Call, environment: str, route: Route) -> str:
        """The reason that Apple would give, empty when it would take the broadcast."""
        if call.method != b"POST":
            return "MethodNotAllowed"
        own = self._channels.get((environment, route.bundle_id), {})
        name = call.header(b"apns-channel-id").decode("latin-1")
        push_type = call.header(b"apns-push-type")
        if reason := _bad_id(name, own):
            return reason
        if push_type.lower() != b"liveactivity":
            return "InvalidPushType" if push_type else "MissingPushType"
        expiration = call.header(b"apns-expiration")
        if not _EXPIRATION.fullmatch(expiration) or (int(expiration) and not own[name].stores_latest):
            return "BadExpirationDate"
        if call.header(b"apns-priority") not in _PRIORITIES:
            return "BadPriority"
        return "PayloadTooLarge" if len(call.body) > PAYLOAD_BYTES_MAX else ""


def _bad_id(name: str, own: dict[str, Channel]) -> str:
    if not name:
        return "MissingChannelId"
    if not _ID.fullmatch(name):
        return "BadChannelId"
    return "" if name in own else "ChannelNotRegistered"


def started_on(call: Call) -> str:
    """The channel that an accepted push lets its new Live Activity listen to; empty when it does no such thing."""
    if call.header(b"apns-push-type") != b"liveactivity":
        return ""
    aps = json.loads(call.body).get("aps")
    channel = aps.get("input-push-channel") if isinstance(aps, dict) and aps.get("event") == "start" else None
    return channel if isinstance(channel, str) else ""
