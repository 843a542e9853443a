"""What Apple receives for one notification: push type, payload, and the headers that follow from the message.

Sources: Apple, "Generating a remote notification", "Sending notification requests to APNs". Words that aioapns has are
its. Beside `aps` a payload carries the caller's `data`, `notification_id`, and `image_url` and `link` when they are set
and `data` has no such key of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from aioapns.common import PRIORITY_HIGH, PRIORITY_NORMAL, PushType

from pushrpc.content import Content
from pushrpc.model import Notification
from pushrpc.providers import MessageRefused
from pushrpc.providers.payload import encoded, patched
from pushrpc.words import ApnsPushType, InterruptionLevel, Priority, RejectReason, TokenKind

PAYLOAD_BYTES_MAX = 4096
VOIP_PAYLOAD_BYTES_MAX = 5120
COLLAPSE_ID_BYTES_MAX = 64

# --- push types --------------------------------------------------------------------------------------------------

_LOW = "1"  # never wakes the device; aioapns has no name for it
_ANY = {Priority.HIGH: PRIORITY_HIGH, Priority.NORMAL: PRIORITY_NORMAL, Priority.LOW: _LOW}
_NOW_OR_SAVING = _ANY | {Priority.LOW: PRIORITY_NORMAL}
_NOW = dict.fromkeys(_ANY, PRIORITY_HIGH)
_SAVING = dict.fromkeys(_ANY, PRIORITY_NORMAL)  # Apple refuses 10 for background


class PushKind(NamedTuple):
    """What a push type asks for. `required` are dotted paths in the finished payload, alternatives split by a bar."""

    word: str
    topic_suffix: str
    token_kind: TokenKind
    priorities: Mapping[Priority, str]
    required: tuple[str, ...] = ()


_CONTENT_CHANGED = ("aps.content-changed",)
_VISIBLE = ("aps.alert|aps.badge|aps.sound|aps.content-available",)
PUSH_KINDS: Mapping[ApnsPushType, PushKind] = {
    ApnsPushType.ALERT: PushKind(PushType.ALERT.value, "", TokenKind.STANDARD, _ANY, _VISIBLE),
    ApnsPushType.BACKGROUND: PushKind(
        PushType.BACKGROUND.value, "", TokenKind.STANDARD, _SAVING, ("aps.content-available",)
    ),
    ApnsPushType.LIVE_ACTIVITY: PushKind(
        PushType.LIVEACTIVITY.value,
        ".push-type.liveactivity",
        TokenKind.LIVE_ACTIVITY,
        _NOW_OR_SAVING,
        ("aps.timestamp", "aps.event"),
    ),
    ApnsPushType.VOIP: PushKind(PushType.VOIP.value, ".voip", TokenKind.VOIP, _NOW),
    ApnsPushType.LOCATION: PushKind("location", ".location-query", TokenKind.LOCATION, _NOW_OR_SAVING),
    ApnsPushType.COMPLICATION: PushKind(PushType.COMPLICATION.value, ".complication", TokenKind.COMPLICATION, _ANY),
    ApnsPushType.FILE_PROVIDER: PushKind(
        PushType.FILEPROVIDER.value,
        ".pushkit.fileprovider",
        TokenKind.FILE_PROVIDER,
        _ANY,
        ("container-identifier", "domain"),
    ),
    ApnsPushType.MDM: PushKind(PushType.MDM.value, "", TokenKind.MDM, _ANY, ("mdm",)),
    ApnsPushType.PUSH_TO_TALK: PushKind("pushtotalk", ".voip-ptt", TokenKind.PUSH_TO_TALK, _NOW),
    ApnsPushType.CONTROLS: PushKind("controls", ".push-type.controls", TokenKind.CONTROLS, _ANY, _CONTENT_CHANGED),
    ApnsPushType.WIDGETS: PushKind("widgets", ".push-type.widgets", TokenKind.WIDGETS, _ANY, _CONTENT_CHANGED),
}
# Their payload is the app's own keys only.
_WITHOUT_APS = frozenset({ApnsPushType.FILE_PROVIDER, ApnsPushType.MDM})
_LIVE_ACTIVITY_REQUIRED = {
    "start": ("aps.content-state", "aps.attributes-type", "aps.attributes"),
    "update": ("aps.content-state",),
}
_INTERRUPTION_LEVELS = {
    InterruptionLevel.PASSIVE: "passive",
    InterruptionLevel.ACTIVE: "active",
    InterruptionLevel.TIME_SENSITIVE: "time-sensitive",
    InterruptionLevel.CRITICAL: "critical",
}


def push_type(content: Content) -> ApnsPushType:
    """The caller's, or BACKGROUND for a silent message, else ALERT."""
    return content.apns.push_type or (ApnsPushType.BACKGROUND if content.silent else ApnsPushType.ALERT)


def token_kind(content: Content) -> TokenKind:
    """The kind of token that takes it. A Live Activity is started through a token of its own kind."""
    kind = push_type(content)
    if kind is ApnsPushType.LIVE_ACTIVITY:
        try:
            event = _at(patched({}, content.apns_json, "apns_json"), "aps.event")
        except MessageRefused:
            event = None
        if event == "start":
            return TokenKind.LIVE_ACTIVITY_START
    return PUSH_KINDS[kind].token_kind


# --- payload -----------------------------------------------------------------------------------------------------


def aps(content: Content, kind: ApnsPushType) -> dict[str, Any]:
    """The `aps` dictionary. A background push shows nothing, so whatever is visible is left out of it."""
    if kind in (ApnsPushType.CONTROLS, ApnsPushType.WIDGETS):
        return {"content-changed": True}
    if kind is ApnsPushType.BACKGROUND or (content.silent and kind is ApnsPushType.ALERT):
        return {"content-available": 1}
    options = content.apns
    built: dict[str, Any] = {}
    if alert := _alert(content):
        built["alert"] = alert
    if content.badge is not None:
        built["badge"] = content.badge
    if options.critical_sound_volume is not None:
        built["sound"] = {"critical": 1, "name": content.sound or "default", "volume": options.critical_sound_volume}
    elif content.sound:
        built["sound"] = content.sound
    if options.mutable_content or (options.mutable_content is None and content.image_url):
        built["mutable-content"] = 1  # only a service extension of the app can fetch the picture
    if options.content_available:
        built["content-available"] = 1
    if options.relevance_score is not None:
        built["relevance-score"] = options.relevance_score
    texts = {
        "thread-id": content.thread_id,
        "category": content.category,
        "interruption-level": _INTERRUPTION_LEVELS.get(options.interruption_level, ""),
        "target-content-id": options.target_content_id,
        "filter-criteria": options.filter_criteria,
    }
    return built | {key: value for key, value in texts.items() if value}


def _alert(content: Content) -> dict[str, Any]:
    parts = {
        "title": content.title,
        "subtitle": content.subtitle,
        "body": content.body,
        "title-loc-key": content.title_loc_key,
        "title-loc-args": content.title_loc_args,
        "loc-key": content.body_loc_key,
        "loc-args": content.body_loc_args,
    }
    return {key: value for key, value in parts.items() if value}


def limit_bytes(kind: ApnsPushType) -> int:
    return VOIP_PAYLOAD_BYTES_MAX if kind is ApnsPushType.VOIP else PAYLOAD_BYTES_MAX


def payload(notification: Notification) -> bytes:
    """The body of every request of a notification. Raises MessageRefused."""
    content = notification.content
    kind = push_type(content)
    own = {"image_url": content.image_url, "link": content.link}
    built: dict[str, Any] = {key: value for key, value in own.items() if value} | dict(content.data)
    if kind not in _WITHOUT_APS:
        built["aps"] = aps(content, kind)
    built = patched(built, content.apns_json, "apns_json")
    built["notification_id"] = notification.notification_id  # in every payload, whatever a patch says
    if missing := _missing(kind, built):
        what = f"push type {PUSH_KINDS[kind].word} needs {missing}"
        raise MessageRefused(RejectReason.FIELD_MISSING, f"{what}; set it in the message or with apns_json")
    body = encoded(built)
    limit = limit_bytes(kind)
    if len(body) > limit:
        detail = f"the payload for Apple has {len(body)} bytes, {len(body) - limit} more than the {limit} allowed"
        raise MessageRefused(RejectReason.PAYLOAD_TOO_LARGE, detail)
    return body


def _missing(kind: ApnsPushType, built: Mapping[str, Any]) -> str:
    required = PUSH_KINDS[kind].required
    if kind is ApnsPushType.LIVE_ACTIVITY:
        required += _LIVE_ACTIVITY_REQUIRED.get(str(_at(built, "aps.event")), ())
    absent = [paths for paths in required if all(_at(built, path) is None for path in paths.split("|"))]
    return ", ".join(paths.replace("|", " or ") for paths in absent)


def _at(built: object, path: str) -> Any:
    for key in path.split("."):
        built = built.get(key) if isinstance(built, dict) else None
    return built


# --- headers -----------------------------------------------------------------------------------------------------


def expiration(notification: Notification, now_us: int) -> str:
    """apns-expiration: whole seconds since 1970, "0" (one try, no store) also when less than one remains."""
    expire_s = notification.expire_us // 1_000_000
    return "0" if notification.one_try or expire_s <= now_us // 1_000_000 else str(expire_s)


def collapse_id(collapse_key: str) -> str:
    """apns-collapse-id: the key itself where a header can carry it, else its digest: equal keys still collapse."""
    fits = len(collapse_key.encode("utf-8", "replace")) <= COLLAPSE_ID_BYTES_MAX
    if fits and collapse_key.isprintable() and collapse_key.strip() == collapse_key:
        return collapse_key
    return sha256(collapse_key.encode("utf-8", "replace")).hexdigest()


def priority(notification: Notification, kind: ApnsPushType) -> str:
    """apns-priority, within what the push type allows. Unset: now when visible, power-saving when silent."""
    unset = Priority.NORMAL if notification.content.silent else Priority.HIGH
    return PUSH_KINDS[kind].priorities[notification.priority or unset]
