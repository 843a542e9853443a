"""What a message says, as values: every provider builds its own form from it.

Nothing here is ever changed once made. Content is not frozen for all that, because one is made for every send.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from operator import attrgetter
from typing import Any

import orjson

from pushrpc.words import ApnsPushType, InterruptionLevel, LiveActivityEvent, Urgency, WnsType


@dataclass(frozen=True, slots=True)
class LiveActivity:
    """A Live Activity's start, update or end (Apple, "Starting and updating Live Activities with ActivityKit push").

    `channel_id` is what a started activity shall listen to for broadcasts. `timestamp_us` 0 is when it is accepted.
    """

    event: LiveActivityEvent = LiveActivityEvent.UNSPECIFIED
    content_state_json: str = ""
    attributes_type: str = ""
    attributes_json: str = ""
    stale_us: int = 0
    dismissal_us: int = 0
    timestamp_us: int = 0
    channel_id: str = ""


@dataclass(frozen=True, slots=True)
class ApnsOptions:
    push_type: ApnsPushType = ApnsPushType.UNSPECIFIED
    interruption_level: InterruptionLevel = InterruptionLevel.UNSPECIFIED
    relevance_score: float | None = None
    mutable_content: bool | None = None
    content_available: bool | None = None
    target_content_id: str = ""
    filter_criteria: str = ""
    critical_sound_volume: float | None = None
    topic: str = ""
    live_activity: LiveActivity | None = None


@dataclass(frozen=True, slots=True)
class FcmOptions:
    analytics_label: str = ""
    direct_boot_ok: bool = False
    data_only: bool = False
    live_activity_token: str = ""


@dataclass(frozen=True, slots=True)
class WebPushOptions:
    """`actions_json` is the array that Notification.actions takes; `topic` replaces the collapse key."""

    urgency: Urgency = Urgency.UNSPECIFIED
    topic: str = ""
    icon_url: str = ""
    badge_url: str = ""
    actions_json: str = ""
    require_interaction: bool = False


@dataclass(frozen=True, slots=True)
class WnsOptions:
    """`raw` is the body of a RAW notification. `cache` unset leaves Windows' own choice."""

    type: WnsType = WnsType.UNSPECIFIED
    raw: bytes = b""
    tag: str = ""
    group: str = ""
    cache: bool | None = None


@dataclass(frozen=True, slots=True)
class HmsOptions:
    category: str = ""
    bi_tag: str = ""
    test_message: bool = False


@dataclass(frozen=True, slots=True)
class HubOptions:
    """`template_properties`, when set, send the hub's own templates instead of what we build for each platform."""

    headers: Mapping[str, str] = field(default_factory=dict)
    template_properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Content:
    """NotificationContent as values. `truncate` lets the body be cut where a provider's limit asks for it."""

    title: str = ""
    body: str = ""
    subtitle: str = ""
    image_url: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    badge: int | None = None
    sound: str = ""
    category: str = ""
    thread_id: str = ""
    link: str = ""
    silent: bool = False
    android_channel_id: str = ""
    title_loc_key: str = ""
    title_loc_args: tuple[str, ...] = ()
    body_loc_key: str = ""
    body_loc_args: tuple[str, ...] = ()
    apns: ApnsOptions = ApnsOptions()
    fcm: FcmOptions = FcmOptions()
    apns_json: str = ""
    fcm_json: str = ""
    web_push: WebPushOptions = WebPushOptions()
    wns: WnsOptions = WnsOptions()
    hms: HmsOptions = HmsOptions()
    notification_hubs: HubOptions = HubOptions()
    web_push_json: str = ""
    hms_json: str = ""
    wns_xml: str = ""
    truncate: bool = False

    def to_json(self) -> str:
        """Only what differs from an empty content, so that stored rows stay small and readable."""
        differs = zip(_EMPTY, _values(self), _EMPTY.values(), strict=True)
        raw = {name: value for name, value, empty in differs if value is not empty and value != empty}
        return orjson.dumps(raw, default=_plain).decode()

    @staticmethod
    def from_json(text: str) -> Content:
        raw = json.loads(text)
        if activity := raw.get("apns", {}).get("live_activity"):
            raw["apns"]["live_activity"] = LiveActivity(**activity)
        if "wns" in raw:
            raw["wns"]["raw"] = b64decode(raw["wns"]["raw"])
        for name, kind in _OPTIONS.items():
            if name in raw:
                raw[name] = kind(**raw[name])
        for name in ("title_loc_args", "body_loc_args"):
            if name in raw:
                raw[name] = tuple(raw[name])
        return Content(**raw)


def _plain(value: object) -> object:
    """What JSON has no form for: bytes in base64, other mappings as objects."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return dict(value)  # type: ignore[call-overload]


_EMPTY: Mapping[str, Any] = {f.name: getattr(Content(), f.name) for f in fields(Content)}
_OPTIONS: Mapping[str, Any] = {name: type(value) for name, value in _EMPTY.items() if is_dataclass(value)}
_values = attrgetter(*_EMPTY)
