"""What Apple receives for one notification: push type, payload, and the headers that follow from the message.

Sources: Apple, "Generating a remote notification", "Sending notification requests to APNs", "Starting and updating Live
Activities with ActivityKit push notifications", "Sending broadcast push notification requests to APNs". Words that
aioapns has are its. Beside `aps` a payload carries the caller's `data`, `notification_id`, and `image_url` and `link`
when they are set and `data` has no such key of its own: so File Provider's `container-identifier` and `domain` and
device management's `mdm` (its push magic) are entries of `data`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from hashlib import sha256
from typing import Any, NamedTuple

from aioapns.common import PRIORITY_HIGH, PRIORITY_NORMAL, PushType

from pushrpc.content import Content, LiveActivity
from pushrpc.model import Notification
from pushrpc.providers import MessageRefused
from pushrpc.providers.payload import (
    FLAG,
    NUMBER,
    OBJECT,
    TEXT,
    TEXTS,
    check_size,
    either,
    encoded,
    fields,
    fitted,
    items,
    json_object,
    lost,
    one_of,
    patched,
    unmet,
    whole,
)
from pushrpc.words import ApnsPushType, InterruptionLevel, LiveActivityEvent, Priority, RejectReason, TokenKind

PAYLOAD_BYTES_MAX = 4096
VOIP_PAYLOAD_BYTES_MAX = 5120
BROADCAST_PAYLOAD_BYTES_MAX = 5120
COLLAPSE_ID_BYTES_MAX = 64

# --- push types --------------------------------------------------------------------------------------------------

_LOW = "1"  # never wakes the device; aioapns has no name for it
_ANY = {Priority.HIGH: PRIORITY_HIGH, Priority.NORMAL: PRIORITY_NORMAL, Priority.LOW: _LOW}
_NOW_OR_SAVING = _ANY | {Priority.LOW: PRIORITY_NORMAL}
_NOW = dict.fromkeys(_ANY, PRIORITY_HIGH)
_SAVING = dict.fromkeys(_ANY, PRIORITY_NORMAL)  # Apple refuses 10 for background


class PushKind(NamedTuple):
    """What a push type asks for. `required` are dotted paths in the finished payload, alternatives split by a bar.

    `stored` is false where Apple shall never keep it for later, whatever time the message has.
    """

    word: str
    topic_suffix: str
    token_kind: TokenKind
    priorities: Mapping[Priority, str]
    required: tuple[str, ...] = ()
    stored: bool = True


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
    # Apple, "Creating a Push to Talk app": expiration 0, so that nobody is called to speak hours later.
    ApnsPushType.PUSH_TO_TALK: PushKind("pushtotalk", ".voip-ptt", TokenKind.PUSH_TO_TALK, _NOW, stored=False),
    ApnsPushType.CONTROLS: PushKind("controls", ".push-type.controls", TokenKind.CONTROLS, _ANY, _CONTENT_CHANGED),
    ApnsPushType.WIDGETS: PushKind("widgets", ".push-type.widgets", TokenKind.WIDGETS, _ANY, _CONTENT_CHANGED),
}
# Tuples, because a set would ask an enum for its hash, which is slow.
# Their payload is the app's own keys only.
_WITHOUT_APS = (ApnsPushType.FILE_PROVIDER, ApnsPushType.MDM)
# Their `aps` only says that there is something new to draw.
_REDRAWN = (ApnsPushType.CONTROLS, ApnsPushType.WIDGETS)
# Apple, WWDC23 10185 and "Sending notification requests to APNs": no certificate will do for these.
TOKEN_KEY_ONLY = (ApnsPushType.LIVE_ACTIVITY, ApnsPushType.LOCATION)
_EVENTS = {LiveActivityEvent.START: "start", LiveActivityEvent.UPDATE: "update", LiveActivityEvent.END: "end"}
_EVENT = ("aps", "event")
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
    """The caller's; else LIVE_ACTIVITY for one, BACKGROUND for a silent message, and ALERT for all others."""
    options = content.apns
    if options.push_type or options.live_activity is None:
        return options.push_type or (ApnsPushType.BACKGROUND if content.silent else ApnsPushType.ALERT)
    return ApnsPushType.LIVE_ACTIVITY


def token_kind(content: Content) -> TokenKind:
    """The kind of token that takes it. A Live Activity is started through a token of its own kind."""
    kind = push_type(content)
    if kind is ApnsPushType.LIVE_ACTIVITY and live_event(content) == "start":
        return TokenKind.LIVE_ACTIVITY_START
    return PUSH_KINDS[kind].token_kind


def live_event(content: Content) -> str:
    """What happens to a Live Activity: the patch's word, else that of its options; empty when neither has one."""
    try:
        patch = patched({}, content.apns_json, "apns_json", SHAPE)
    except MessageRefused:
        patch = {}
    activity = content.apns.live_activity
    event = _at(patch, _EVENT) or (_EVENTS.get(activity.event, "") if activity else "")
    return event if isinstance(event, str) else ""


# --- payload -----------------------------------------------------------------------------------------------------

# Apple, "Generating a remote notification"; a Live Activity's texts may be objects of their own.
_LOCALISED_TEXT = either(TEXT, fields({"loc-key": TEXT, "loc-args": items(TEXT)}))
_SOUND = either(TEXT, fields({"critical": NUMBER, "name": TEXT, "volume": NUMBER}))
_ALERT = fields(
    dict.fromkeys(("subtitle", "launch-image", "title-loc-key", "subtitle-loc-key", "loc-key"), TEXT)
    | dict.fromkeys(("title-loc-args", "subtitle-loc-args", "loc-args"), items(TEXT))
    | {"title": _LOCALISED_TEXT, "body": _LOCALISED_TEXT, "sound": _SOUND}
)
_APS = fields(
    dict.fromkeys(("thread-id", "category", "target-content-id", "filter-criteria", "attributes-type"), TEXT)
    | dict.fromkeys(("mutable-content", "content-available", "relevance-score"), NUMBER)
    | dict.fromkeys(("timestamp", "stale-date", "dismissal-date", "input-push-token"), NUMBER)
    | {
        "alert": either(TEXT, _ALERT),
        "badge": whole(0, 2**31 - 1),
        "sound": _SOUND,
        "interruption-level": one_of(*_INTERRUPTION_LEVELS.values()),
        "content-changed": FLAG,
        "event": one_of(*_EVENTS.values()),
        "content-state": OBJECT,
        "attributes": OBJECT,
        "input-push-channel": TEXT,
    }
)
SHAPE = fields({"aps": _APS})  # whatever stands beside it is the app's own
# ... but for pushes to a file provider or a device's management, which have no other content.
_OWN_SHAPE = fields(dict.fromkeys(("container-identifier", "domain", "mdm"), TEXT))


def aps(notification: Notification, kind: ApnsPushType) -> dict[str, Any]:
    """The `aps` dictionary. A background push shows nothing, so whatever is visible is left out of it."""
    content = notification.content
    options = content.apns
    if kind in _REDRAWN:
        return {"content-changed": True}
    if kind is ApnsPushType.LIVE_ACTIVITY and options.live_activity:
        return _live_activity(notification, options.live_activity)
    if _is_silent(content, kind):
        return {"content-available": 1}
    built: dict[str, Any] = {}
    if alert := _alert(content):
        built["alert"] = alert
    if content.badge is not None:
        built["badge"] = content.badge
    if sound := _sound(content):
        built["sound"] = sound
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


def _is_silent(content: Content, kind: ApnsPushType) -> bool:
    return kind is ApnsPushType.BACKGROUND or (content.silent and kind is ApnsPushType.ALERT)


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


def _sound(content: Content) -> str | dict[str, Any]:
    volume = content.apns.critical_sound_volume
    if volume is None:
        return content.sound
    return {"critical": 1, "name": content.sound or "default", "volume": volume}


def _live_activity(notification: Notification, activity: LiveActivity) -> dict[str, Any]:
    """`aps` of a Live Activity, times in whole seconds. Raises MessageRefused."""
    content = notification.content
    starts = activity.event is LiveActivityEvent.START
    built: dict[str, Any] = {
        "timestamp": (activity.timestamp_us or notification.created_us) // 1_000_000,
        "event": _EVENTS.get(activity.event),
    }
    for key, text, field in (
        ("content-state", activity.content_state_json, "content_state_json"),
        ("attributes", activity.attributes_json if starts else "", "attributes_json"),
    ):
        if text:
            built[key] = json_object(text, f"apns.live_activity.{field}")
    if starts:
        if activity.attributes_type:
            built["attributes-type"] = activity.attributes_type
        # From iOS 18 on an activity that is started so hears of updates only where its start says.
        listens = {"input-push-channel": activity.channel_id} if activity.channel_id else {"input-push-token": 1}
        built |= listens
    if activity.stale_us:
        built["stale-date"] = activity.stale_us // 1_000_000
    if activity.dismissal_us:
        built["dismissal-date"] = activity.dismissal_us // 1_000_000
    if content.apns.relevance_score is not None:
        built["relevance-score"] = content.apns.relevance_score
    if alert := {} if content.silent else _live_alert(content):
        built["alert"] = alert
    return {key: value for key, value in built.items() if value is not None}


def _live_alert(content: Content) -> dict[str, Any]:
    """Of its own form: localised texts are objects, and the sound is inside."""

    def text(plain: str, key: str, args: tuple[str, ...]) -> str | dict[str, Any]:
        return {"loc-key": key, "loc-args": args} if key else plain

    parts = {
        "title": text(content.title, content.title_loc_key, content.title_loc_args),
        "body": text(content.body, content.body_loc_key, content.body_loc_args),
        "sound": content.sound,
    }
    return {key: value for key, value in parts.items() if value}


def limit_bytes(content: Content, broadcast: bool = False) -> int:
    if broadcast:
        return BROADCAST_PAYLOAD_BYTES_MAX
    return VOIP_PAYLOAD_BYTES_MAX if content.apns.push_type is ApnsPushType.VOIP else PAYLOAD_BYTES_MAX


def payload(notification: Notification, broadcast: bool = False) -> tuple[bytes, bool]:
    """The body of every request of a notification, and whether its text was cut to fit. Raises MessageRefused."""
    content = notification.content
    limit = limit_bytes(content, broadcast)
    body, was_cut = fitted(content, limit, partial(_payload, notification, limit))
    check_size("Apple", len(body), limit)
    return body, was_cut


def _payload(notification: Notification, limit: int, content: Content) -> bytes:
    if content is not notification.content:
        notification = replace(notification, content=content)
    kind = push_type(content)
    own = {"image_url": content.image_url, "link": content.link}
    built: dict[str, Any] = {key: value for key, value in own.items() if value} | dict(content.data)
    if kind not in _WITHOUT_APS:
        built["aps"] = aps(notification, kind)
    built = patched(built, content.apns_json, "apns_json", SHAPE)
    built["notification_id"] = notification.notification_id  # in every payload, whatever a patch says
    if content.apns.live_activity and kind is not ApnsPushType.LIVE_ACTIVITY:
        detail = f"apns.live_activity cannot be sent with push type {PUSH_KINDS[kind].word}; unset apns.push_type"
        raise MessageRefused(RejectReason.FIELD_MISSING, detail)
    check_complete(kind, built, "apns_json", limit)
    return encoded(built)


# Custom keys, headers, and what decides the push type.
_BESIDE_APS = frozenset({"apns_json", "data", "silent", "apns.push_type", "apns.topic", "apns.live_activity"})
_OWN_KEYS = frozenset({"image_url", "link"})
_NOTICED = frozenset(
    {"subtitle", "badge", "sound", "category", "thread_id", "apns.interruption_level", "apns.relevance_score"}
    | {"apns.mutable_content", "apns.content_available", "apns.target_content_id", "apns.filter_criteria"}
    | {"apns.critical_sound_volume"}
)


def dropped(notification: Notification, broadcast: bool = False) -> tuple[str, ...]:
    """Paths of what is set and a push of this type cannot carry, or only otherwise."""
    content, kind = notification.content, push_type(notification.content)
    carried = _BESIDE_APS | _OWN_KEYS | carried_by_aps(content, kind)
    if broadcast:
        carried -= {"apns.topic"}
    activity = content.apns.live_activity
    return (
        *lost(content, carried, _OWN_KEYS),
        *(lost_of_activity(activity) if activity else ()),
        *unmet(
            priority=priority(notification, kind) != _ANY[notification.urgency],
            collapse_key=broadcast and bool(notification.collapse_key),
            ttl=not (PUSH_KINDS[kind].stored or notification.one_try),
        ),
    )


def carried_by_aps(content: Content, kind: ApnsPushType) -> frozenset[str]:
    """The fields that `aps` has a place for."""
    if kind in _WITHOUT_APS + _REDRAWN:
        return frozenset()
    if kind is ApnsPushType.LIVE_ACTIVITY and content.apns.live_activity:
        of_title = {"title_loc_key", "title_loc_args"} if content.title_loc_key else {"title"}
        of_body = {"body_loc_key", "body_loc_args"} if content.body_loc_key else {"body"}
        shown = set() if content.silent else {"sound"} | of_title | of_body
        return frozenset({"apns.relevance_score"} | shown)
    if _is_silent(content, kind):
        return frozenset({"apns.content_available"} if content.apns.content_available else ())
    return TEXTS | _NOTICED


def lost_of_activity(activity: LiveActivity) -> tuple[str, ...]:
    """Paths of what only a start has a place for."""
    if activity.event is LiveActivityEvent.START:
        return ()
    names = ("attributes_type", "attributes_json", "channel_id")
    return tuple(f"message.apns.live_activity.{name}" for name in names if getattr(activity, name))


def check_complete(kind: ApnsPushType, built: Mapping[str, Any], patch: str, limit: int) -> None:
    """Raises MessageRefused when a finished payload lacks what its push type needs; `patch` is a field to set it in."""
    required = PUSH_KINDS[kind].required
    if kind is ApnsPushType.LIVE_ACTIVITY:
        required += _LIVE_ACTIVITY_REQUIRED.get(str(_at(built, _EVENT)), ())
    if kind in _WITHOUT_APS and (problem := _OWN_SHAPE("", built)):
        raise MessageRefused(RejectReason.FIELD_MISSING, f"{patch}: {problem}", len(encoded(built)), limit)
    absent = [paths for paths in required if all(_at(built, path) is None for path in _alternatives(paths))]
    if absent:
        needs = ", ".join(paths.replace("|", " or ") for paths in absent)
        what = f"push type {PUSH_KINDS[kind].word} needs {needs}"
        detail = f"{what}; set it in the message or with {patch}"
        raise MessageRefused(RejectReason.FIELD_MISSING, detail, len(encoded(built)), limit)


@cache
def _alternatives(paths: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(path.split(".")) for path in paths.split("|"))


def _at(built: object, path: tuple[str, ...]) -> Any:
    for key in path:
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
    return PUSH_KINDS[kind].priorities[notification.urgency]
