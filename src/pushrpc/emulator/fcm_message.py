"""What a messages:send body may hold: Google's JSON reading of the v1 Message, and the rules beyond its types.

From Firebase's "REST Resource: projects.messages". Two kinds of mistakes are told apart because Google does: one that
its JSON parser finds (unknown name, wrong type), and one that FCM finds in a well-formed message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pushrpc.emulator.fcm_topics import TOPIC, evaluated

PAYLOAD_BYTES_MAX = 4096
TOPIC_PAYLOAD_BYTES_MAX = 2048
TTL_MAX_S = 28 * 24 * 3600
CONDITION_TOPICS_MAX = 5

TARGETS = ("token", "topic", "condition")

_DURATION = re.compile(r"[0-9]+(?:\.[0-9]{1,9})?s")
_LABEL = re.compile(r"[a-zA-Z0-9\-_.~%]{1,50}")
_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")


class Violation(NamedTuple):
    """A google.rpc.BadRequest.FieldViolation."""

    field: str
    description: str


Check = Callable[[str, Any], Iterator[Violation]]
Kind = Check | Mapping[str, Any]


def _scalar(name: str, *types: type) -> Check:
    def check(path: str, value: Any) -> Iterator[Violation]:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            yield Violation(path, f"Invalid value at '{path}' ({name}), {json.dumps(value)}")

    return check


_STRING = _scalar("TYPE_STRING", str)
_BOOL = _scalar("TYPE_BOOL", bool)
# Google's JSON reader takes numbers in quotes as well.
_INT = _scalar("TYPE_INT32", int, str)
_STRUCT = _scalar("type.googleapis.com/google.protobuf.Struct", dict)


def _enum(name: str, *names: str) -> Check:
    def check(path: str, value: Any) -> Iterator[Violation]:
        if not isinstance(value, str) or value.upper() not in names:
            yield Violation(path, f"Invalid value at '{path}' (type.googleapis.com/{name}), {json.dumps(value)}")

    return check


def _duration(path: str, value: Any) -> Iterator[Violation]:
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        yield Violation(path, f"Invalid value at '{path}' (type.googleapis.com/google.protobuf.Duration)")


def _strings(path: str, value: Any) -> Iterator[Violation]:
    if not isinstance(value, dict):
        yield Violation(path, f"Invalid value at '{path}' (TYPE_MESSAGE)")
        return
    for number, item in enumerate(value.values()):
        yield from _STRING(f"{path}[{number}].value", item)


def _list(kind: Check) -> Check:
    def check(path: str, value: Any) -> Iterator[Violation]:
        if not isinstance(value, list):
            yield Violation(path, f"Invalid value at '{path}' (repeated)")
            return
        for number, item in enumerate(value):
            yield from kind(f"{path}[{number}]", item)

    return check


_FCM_OPTIONS = {"analytics_label": _STRING}
_ANDROID_NOTIFICATION: dict[str, Kind] = {
    **dict.fromkeys(
        (
            "title",
            "body",
            "icon",
            "color",
            "sound",
            "tag",
            "click_action",
            "body_loc_key",
            "title_loc_key",
            "channel_id",
            "ticker",
            "event_time",
            "image",
        ),
        _STRING,
    ),
    **dict.fromkeys(
        ("sticky", "local_only", "default_sound", "default_vibrate_timings", "default_light_settings"), _BOOL
    ),
    "body_loc_args": _list(_STRING),
    "title_loc_args": _list(_STRING),
    "vibrate_timings": _list(_duration),
    "notification_count": _INT,
    "light_settings": _STRUCT,
    "notification_priority": _enum(
        "google.firebase.fcm.v1.AndroidNotification.NotificationPriority",
        *(f"PRIORITY_{level}" for level in ("UNSPECIFIED", "MIN", "LOW", "DEFAULT", "HIGH", "MAX")),
    ),
    "visibility": _enum(
        "google.firebase.fcm.v1.AndroidNotification.Visibility",
        *("VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"),
    ),
    "proxy": _enum(
        "google.firebase.fcm.v1.AndroidNotification.Proxy",
        *("PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"),
    ),
}
_REQUEST: Mapping[str, Kind] = {
    "validate_only": _BOOL,
    "message": {
        "name": _STRING,
        "token": _STRING,
        "topic": _STRING,
        "condition": _STRING,
        "data": _strings,
        "notification": {"title": _STRING, "body": _STRING, "image": _STRING},
        "android": {
            "collapse_key": _STRING,
            "priority": _enum("google.firebase.fcm.v1.AndroidMessagePriority", "NORMAL", "HIGH"),
            "ttl": _duration,
            "restricted_package_name": _STRING,
            "data": _strings,
            "notification": _ANDROID_NOTIFICATION,
            "fcm_options": _FCM_OPTIONS,
            "direct_boot_ok": _BOOL,
        },
        "apns": {
            "headers": _strings,
            "payload": _STRUCT,
            "fcm_options": {**_FCM_OPTIONS, "image": _STRING},
            "live_activity_token": _STRING,
        },
        "webpush": {
            "headers": _strings,
            "data": _strings,
            "notification": _STRUCT,
            "fcm_options": {**_FCM_OPTIONS, "link": _STRING},
        },
        "fcm_options": _FCM_OPTIONS,
    },
}


def read(body: bytes) -> tuple[dict[str, Any], list[Violation]]:
    """The request with snake_case names, and what the JSON parser holds against it.

    Names may be snake_case or camelCase, as in Protobuf's JSON mapping. Raises ValueError when the body is not a JSON
    object at all.
    """
    request = json.loads(body)
    if not isinstance(request, dict):
        raise ValueError("not an object")
    violations: list[Violation] = []
    return _named(_REQUEST, "", request, violations), violations


def _named(kinds: Mapping[str, Kind], path: str, value: dict[str, Any], violations: list[Violation]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for given, item in value.items():
        name = given if given in kinds else _CAMEL.sub(lambda m: "_" + m[1].lower(), given)
        kind = kinds.get(name)
        field = f"{path}.{name}" if path else name
        if kind is None:
            where = f" at '{path}'" if path else ""
            text = f'Invalid JSON payload received. Unknown name "{given}"{where}: Cannot find field.'
            violations.append(Violation(path, text))
        elif item is None:
            continue  # Protobuf's JSON mapping: null is an absent field.
        elif callable(kind):
            violations += kind(field, item)
            named[name] = item
        elif isinstance(item, dict):
            named[name] = _named(kind, field, item, violations)
        else:
            violations.append(Violation(field, f"Invalid value at '{field}' (TYPE_MESSAGE)"))
    return named


def flaws(message: Mapping[str, Any]) -> Iterator[Violation]:
    """What FCM holds against a well-formed message; the token's validity is not looked at."""
    targets = [name for name in TARGETS if message.get(name)]
    if len(targets) != 1:
        yield Violation("message", "Exactly one of token, topic and condition must be set.")
    if "topic" in targets and not TOPIC.fullmatch(message["topic"]):
        yield Violation("message.topic", "Malformed topic name")
    if "condition" in targets:
        yield from _condition_flaws(message["condition"])
    for path, data in _datas(message):
        for key in data:
            if key in ("from", "message_type", "gcm") or key.startswith(("google", "gcm.")):
                yield Violation(path, f"Invalid data payload key: {key}")
    ttl = message.get("android", {}).get("ttl", "0s")
    if float(ttl[:-1]) > TTL_MAX_S:
        yield Violation("message.android.ttl", f"Invalid ttl: must be from 0s to {TTL_MAX_S}s")
    for place in ("android", "apns", "webpush", ""):
        options = message.get(place, {}) if place else message
        label = options.get("fcm_options", {}).get("analytics_label")
        if label is not None and not _LABEL.fullmatch(label):
            yield Violation(".".join(filter(None, ("message", place, "fcm_options"))), "Invalid analytics label")
    limit = PAYLOAD_BYTES_MAX if "token" in targets else TOPIC_PAYLOAD_BYTES_MAX
    if max(_android_bytes(message), _json_bytes(message.get("apns", {}).get("payload"))) > limit:
        yield Violation("message", "Message is too big")


def _condition_flaws(condition: str) -> Iterator[Violation]:
    named: list[str] = []

    def noted(topic: str) -> frozenset[str]:
        named.append(topic)
        return frozenset()

    try:
        evaluated(condition, noted, frozenset())
    except ValueError:
        named.append("")
    if not all(TOPIC.fullmatch(topic) for topic in named):
        yield Violation("message.condition", "Invalid condition expression provided.")
    elif len(named) > CONDITION_TOPICS_MAX:
        yield Violation("message.condition", f"Condition has more than {CONDITION_TOPICS_MAX} topics")


def _datas(message: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, str]]]:
    yield "message.data", message.get("data", {})
    yield "message.android.data", message.get("android", {}).get("data", {})


def _android_bytes(message: Mapping[str, Any]) -> int:
    """Keys and values as Android gets them: the platform's own data and notification win over the shared ones."""
    android = message.get("android", {})
    data = android.get("data") or message.get("data", {})
    notification = {**message.get("notification", {}), **android.get("notification", {})}
    return sum(len(key.encode()) + _value_bytes(value) for key, value in (*data.items(), *notification.items()))


def _value_bytes(value: object) -> int:
    return sum(map(_value_bytes, value)) if isinstance(value, list) else len(str(value).encode())


def _json_bytes(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) if value else 0
