"""What only one provider understands of a message, from protobuf to values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pushrpc.content import ApnsOptions, FcmOptions, HmsOptions, HubOptions, LiveActivity, WebPushOptions, WnsOptions
from pushrpc.providers import apns_message, fcm_message, hms_message, webpush_message, wns_message
from pushrpc.providers.payload import OBJECT, Shape, patch_problem
from pushrpc.rpc.errors import Reason
from pushrpc.rpc.fields import Fields, passes
from pushrpc.rpc.limits import (
    APNS_JSON_BYTES_MAX,
    BODY_BYTES_MAX,
    COLLAPSE_KEY_BYTES_MAX,
    FCM_JSON_BYTES_MAX,
    HMS_JSON_BYTES_MAX,
    HUB_VALUES_BYTES_MAX,
    MAP_KEY_BYTES_MAX,
    WEB_PUSH_JSON_BYTES_MAX,
    WNS_BYTES_MAX,
)
from pushrpc.v1 import sending_pb2
from pushrpc.words import ApnsPushType, InterruptionLevel, LiveActivityEvent, Urgency, WnsType

_ANALYTICS_LABEL = re.compile(r"[a-zA-Z0-9\-_.~%]{1,50}")  # Firebase, FcmOptions.analytics_label
_WNS_NAME = re.compile(r"[A-Za-z0-9]{0,16}")  # Microsoft, "Push notification service request and response headers"
_HUB_HEADER = re.compile(r"(?i)(apns|x-wns)-[a-z0-9-]{1,40}")


def _apns(options: sending_pb2.ApnsOptions, fields: Fields, path: str) -> ApnsOptions:
    values: dict[str, Any] = {}
    for descriptor, value in options.ListFields():
        name = descriptor.name
        field = f"{path}.{name}"
        if name == "push_type":
            value = fields.word(field, value, ApnsPushType)
        elif name == "interruption_level":
            value = fields.word(field, value, InterruptionLevel)
        elif name == "live_activity":
            value = _live_activity(value, fields, field)
        elif name in ("relevance_score", "critical_sound_volume"):
            fields.number(field, value, 0.0, 1.0)
        elif isinstance(value, str):
            fields.text(field, value, BODY_BYTES_MAX)
        values[name] = value
    if "live_activity" in values and values.get("push_type", ApnsPushType.LIVE_ACTIVITY) != ApnsPushType.LIVE_ACTIVITY:
        fields.wrong(Reason.FIELDS_CONFLICT, f"{path}.push_type", "is set beside live_activity, which is a type itself")
    return ApnsOptions(**values)


def _live_activity(given: sending_pb2.LiveActivity, fields: Fields, path: str) -> LiveActivity:
    event = fields.word(f"{path}.event", given.event, LiveActivityEvent, required=True)
    starts = event is LiveActivityEvent.START
    if event is not LiveActivityEvent.END and not given.content_state_json:
        fields.wrong(Reason.FIELD_REQUIRED, f"{path}.content_state_json", "is not set, and only END needs none")
    for name in ("attributes_type", "attributes_json"):
        value = getattr(given, name)
        if starts and not value:
            fields.wrong(Reason.FIELD_REQUIRED, f"{path}.{name}", "is not set, and START needs it")
        elif value and not starts:
            fields.wrong(Reason.FIELDS_CONFLICT, f"{path}.{name}", "is for START only")
    if given.channel_id and not starts:
        problem = "is for START only; to send to a channel, name it in target.provider_audiences"
        fields.wrong(Reason.FIELDS_CONFLICT, f"{path}.channel_id", problem)
    for name in ("content_state_json", "attributes_json"):
        _patch(getattr(given, name), fields, f"{path}.{name}", APNS_JSON_BYTES_MAX)
    return LiveActivity(
        event,
        given.content_state_json,
        fields.text(f"{path}.attributes_type", given.attributes_type, BODY_BYTES_MAX),
        given.attributes_json,
        fields.time_us(f"{path}.stale_time", given.stale_time),
        fields.time_us(f"{path}.dismissal_time", given.dismissal_time),
        fields.time_us(f"{path}.timestamp", given.timestamp),
        fields.text(f"{path}.channel_id", given.channel_id, BODY_BYTES_MAX),
    )


def _fcm(options: sending_pb2.FcmOptions, fields: Fields, path: str) -> FcmOptions:
    label = options.analytics_label
    if label and not _ANALYTICS_LABEL.fullmatch(label):
        fields.wrong(Reason.FIELD_INVALID, f"{path}.analytics_label", "must be 1 to 50 of [a-zA-Z0-9-_.~%]")
    token = fields.text(f"{path}.live_activity_token", options.live_activity_token, BODY_BYTES_MAX)
    return FcmOptions(label, options.direct_boot_ok, options.data_only, token)


def _web_push(options: sending_pb2.WebPushOptions, fields: Fields, path: str) -> WebPushOptions:
    for name in ("icon_url", "badge_url"):
        url = fields.text(f"{path}.{name}", getattr(options, name), BODY_BYTES_MAX)
        if url and not url.startswith("https://"):
            fields.wrong(Reason.FIELD_INVALID, f"{path}.{name}", "must be an https URL")
    actions = fields.text(f"{path}.actions_json", options.actions_json, WEB_PUSH_JSON_BYTES_MAX)
    if actions and not _is_list_of_objects(actions):
        fields.wrong(Reason.FIELD_INVALID, f"{path}.actions_json", "is not a JSON array of objects")
    return WebPushOptions(
        fields.word(f"{path}.urgency", options.urgency, Urgency),
        fields.text(f"{path}.topic", options.topic, COLLAPSE_KEY_BYTES_MAX),
        options.icon_url,
        options.badge_url,
        actions,
        options.require_interaction,
    )


def _is_list_of_objects(text: str) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _wns(options: sending_pb2.WnsOptions, fields: Fields, path: str) -> WnsOptions:
    for name in ("tag", "group"):
        if not _WNS_NAME.fullmatch(getattr(options, name)):
            fields.wrong(Reason.FIELD_INVALID, f"{path}.{name}", "must be at most 16 letters and digits")
    if len(options.raw) > WNS_BYTES_MAX:
        fields.too_long(f"{path}.raw", len(options.raw), WNS_BYTES_MAX, "bytes")
    kind = fields.word(f"{path}.type", options.type, WnsType)
    if options.raw and kind not in (WnsType.UNSPECIFIED, WnsType.RAW):
        fields.wrong(Reason.FIELDS_CONFLICT, f"{path}.raw", f"is set, and the type is {kind.name}; only RAW sends it")
    return WnsOptions(
        kind, options.raw, options.tag, options.group, options.cache if options.HasField("cache") else None
    )


def _hms(options: sending_pb2.HmsOptions, fields: Fields, path: str) -> HmsOptions:
    return HmsOptions(
        fields.text(f"{path}.category", options.category, MAP_KEY_BYTES_MAX),
        fields.text(f"{path}.bi_tag", options.bi_tag, MAP_KEY_BYTES_MAX),
        options.test_message,
    )


def _hubs(options: sending_pb2.NotificationHubsOptions, fields: Fields, path: str) -> HubOptions:
    headers, properties = dict(options.headers), dict(options.template_properties)
    for name, value in headers.items():
        if not _HUB_HEADER.fullmatch(name) or not value.isprintable() or not value.isascii():
            problem = "holds a header that is not apns-* or X-WNS-*, or one whose value is not plain text"
            fields.wrong(Reason.FIELD_INVALID, f"{path}.headers", problem)
    for name, given in (("headers", headers), ("template_properties", properties)):
        size = sum(len(key.encode()) + len(value.encode()) for key, value in given.items())
        if size > HUB_VALUES_BYTES_MAX:
            fields.too_long(f"{path}.{name}", size, HUB_VALUES_BYTES_MAX, "bytes of keys and values")
    return HubOptions(headers, properties)


def _patch(
    patch: str, fields: Fields, path: str, limit: int, shape: Shape = OBJECT, forbidden: Collection[str] = frozenset()
) -> str:
    if passes(patch, limit):
        problem = f"has {len(patch.encode()):,} bytes, and no payload of this provider more than {limit:,}"
        fields.wrong(Reason.PAYLOAD_TOO_LARGE, path, problem, limit)
    elif problem := patch_problem(patch, shape, forbidden):
        fields.wrong(Reason.OVERRIDE_INVALID, path, f"cannot be used: {problem}")
    return patch


def _xml(text: str, fields: Fields, path: str) -> str:
    if passes(text, WNS_BYTES_MAX):
        problem = f"has {len(text.encode()):,} bytes, and no payload of this provider more than {WNS_BYTES_MAX:,}"
        fields.wrong(Reason.PAYLOAD_TOO_LARGE, path, problem, WNS_BYTES_MAX)
    elif problem := wns_message.xml_problem(text):
        fields.wrong(Reason.OVERRIDE_INVALID, path, f"cannot be used: {problem}")
    return text


Reader = Callable[[Any, Fields, str], Any]
# By the field's name in NotificationContent.
OPTIONS: Mapping[str, Reader] = {
    "apns": _apns,
    "fcm": _fcm,
    "web_push": _web_push,
    "wns": _wns,
    "hms": _hms,
    "notification_hubs": _hubs,
}
OVERRIDES: Mapping[str, Reader] = {
    "apns_json": lambda patch, fields, path: _patch(patch, fields, path, APNS_JSON_BYTES_MAX, apns_message.SHAPE),
    "fcm_json": lambda patch, fields, path: _patch(
        patch, fields, path, FCM_JSON_BYTES_MAX, fcm_message.SHAPE, fcm_message.TARGET_KEYS
    ),
    "web_push_json": lambda patch, fields, path: _patch(
        patch, fields, path, WEB_PUSH_JSON_BYTES_MAX, webpush_message.SHAPE
    ),
    "hms_json": lambda patch, fields, path: _patch(
        patch, fields, path, HMS_JSON_BYTES_MAX, hms_message.SHAPE, hms_message.TARGET_KEYS
    ),
    "wns_xml": _xml,
}
