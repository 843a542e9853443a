"""What gorush knows of each platform alone, and where it goes."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from pushrpc.cli.gorush.fields import Fields
from pushrpc.cli.gorush.form import PRIORITIES, Form, json_text
from pushrpc.providers.apns_message import PUSH_KINDS
from pushrpc.v1 import enums_pb2
from pushrpc.words import InterruptionLevel, LiveActivityEvent

TIMESTAMP_S_MAX = 253_402_300_799  # the year 9999, which google.protobuf.Timestamp ends with
HUAWEI_GROUPS = range(1, 101)

_PUSH_TYPES = {kind.word: enums_pb2.ApnsPushType.ValueType(number) for number, kind in PUSH_KINDS.items()}
_LEVELS = {
    level.name.lower().replace("_", "-"): enums_pb2.InterruptionLevel.ValueType(level)
    for level in InterruptionLevel
    if level
}
_EVENTS = {event.name.lower(): enums_pb2.LiveActivityEvent.ValueType(event) for event in LiveActivityEvent if event}
# How FCM v1 shows an Android notification, beside what it says.
_LOOKS = ("icon", "color", "tag", "click_action", "sound")
_ALERT_PARTS = ("action", "action-loc-key", "launch-image", "summary-arg", "summary-arg-count")


# --- iOS ---------------------------------------------------------------------------------------------------------


def read_ios(form: Form) -> None:
    fields, message = form.fields, form.message
    form.read_data(fields.object("data"), "data")
    production, development = fields.flag("production"), fields.flag("development")
    if production or development:
        form.environment = enums_pb2.ENVIRONMENT_PRODUCTION if production else enums_pb2.ENVIRONMENT_SANDBOX
    badge = fields.whole("badge")
    if badge is not None and badge >= 0:
        message.badge = badge
    message.category, message.thread_id = fields.text("category"), fields.text("thread-id")
    form.options.collapse_key = fields.text("collapse_id")
    message.apns.topic = fields.text("topic")
    message.apns.push_type = fields.word("push_type", _PUSH_TYPES, enums_pb2.APNS_PUSH_TYPE_UNSPECIFIED)
    message.apns.interruption_level = fields.word(
        "interruption_level", _LEVELS, enums_pb2.INTERRUPTION_LEVEL_UNSPECIFIED
    )
    score = fields.real("relevance-score")
    if score is not None:
        message.apns.relevance_score = score
    if arguments := fields.texts("url-args"):
        form.patch({"aps": {"url-args": arguments}})
    if fields.any("apns_id"):
        fields.tell("apns_id", "left out; every token gets an id of its own, the same on every try")
    if fields.any("image"):
        fields.tell("image", "left out; gorush sends none to iOS. Set image_url when the app can show it")
    _read_expiration(form)
    _read_alert(form)
    _read_ios_sound(form)
    _read_live_activity(form)


def _read_expiration(form: Form) -> None:
    expiration = form.fields.whole("expiration", TIMESTAMP_S_MAX)
    if expiration is not None and expiration > 0:
        form.options.expire_time.CopyFrom(Timestamp(seconds=expiration))
    elif expiration == 0:
        form.options.ttl.CopyFrom(Duration())


def _read_alert(form: Form) -> None:
    """What the alert says wins over title and message."""
    message, alert = form.message, form.fields.inner("alert")
    message.title, message.body = alert.text("title") or message.title, alert.text("body") or message.body
    message.subtitle = alert.text("subtitle")
    _read_localised(form, alert, ("title-loc-key", "title-loc-args", "loc-key", "loc-args"))
    if rest := {name: value for name in _ALERT_PARTS if (value := alert.any(name)) is not None}:
        form.patch({"aps": {"alert": rest}})
    alert.finish("left out; gorush's alert has no such field")


def _read_localised(form: Form, fields: Fields, names: tuple[str, str, str, str]) -> None:
    title_key, title_args, body_key, body_args = names
    form.message.title_loc_key, form.message.body_loc_key = fields.text(title_key), fields.text(body_key)
    form.message.title_loc_args.extend(fields.texts(title_args))
    form.message.body_loc_args.extend(fields.texts(body_args))


def _read_ios_sound(form: Form) -> None:
    """A text, or an object; with a `name` or `volume` beside it gorush makes a critical sound of whatever it was."""
    fields, message = form.fields, form.message
    given = fields.any("sound")
    if not isinstance(given, str | dict | None):
        fields.tell("sound", "left out; it is neither a text nor an object")
        given = None
    parts = Fields(given if isinstance(given, dict) else {}, [])
    name, volume, is_critical = parts.text("name"), parts.real("volume"), bool(parts.any("critical"))
    own_name, own_volume = fields.text("name"), fields.real("volume") or 0.0
    if own_name or own_volume > 0:
        name, is_critical = own_name or name, True
        volume = own_volume if own_volume > 0 else volume
    if isinstance(given, str):
        message.sound = name or given
    elif given or name or is_critical:
        message.sound = name or "default"
    if is_critical:
        message.apns.critical_sound_volume = min(max(1.0 if volume is None else volume, 0.0), 1.0)
    elif volume is not None:
        fields.tell("sound.volume", "left out; only a critical sound has one")


def _read_live_activity(form: Form) -> None:
    fields = form.fields
    event = fields.word("event", _EVENTS, enums_pb2.LIVE_ACTIVITY_EVENT_UNSPECIFIED)
    if not event:
        return
    activity = form.message.apns.live_activity
    activity.event = event
    activity.attributes_type = fields.text("attributes-type")
    if state := fields.object("content-state"):
        activity.content_state_json = json_text(state)
    if attributes := fields.object("attributes"):
        activity.attributes_json = json_text(attributes)
    for name, time in (
        ("stale-date", activity.stale_time),
        ("dismissal-date", activity.dismissal_time),
        ("timestamp", activity.timestamp),
    ):
        seconds = fields.whole(name, TIMESTAMP_S_MAX)
        if seconds is not None and seconds > 0:
            time.CopyFrom(Timestamp(seconds=seconds))
    form.message.apns.push_type = enums_pb2.APNS_PUSH_TYPE_UNSPECIFIED  # it is one by itself


# --- Android -----------------------------------------------------------------------------------------------------


def read_android(form: Form) -> None:
    fields, message, options = form.fields, form.message, form.options
    form.read_data(fields.object("data"), "data")
    form.read_image("image", fields)
    _read_text_sound(form)
    _read_notification(form)
    android = fields.inner("android")
    options.collapse_key = fields.text("collapse_key") or android.text("collapse_key")
    form.read_ttl("time_to_live", fields)
    form.read_ttl("ttl", android)
    priority = android.word("priority", PRIORITIES, enums_pb2.PRIORITY_UNSPECIFIED)
    options.priority = options.priority or priority
    package = fields.text("restricted_package_name") or android.text("restricted_package_name")
    rest: dict[str, Any] = {"restricted_package_name": package} if package else {}
    for name in ("data", "notification", "fcm_options"):
        if value := android.object(name):
            rest[name] = value
    if android.flag("direct_boot_ok"):
        message.fcm.direct_boot_ok = True
    android.finish("left out; FCM's android has no such field")
    for part, values in (("android", rest), ("webpush", fields.object("webpush")), ("apns", fields.object("apns"))):
        if values:
            form.patch({part: values})
    fcm_options = fields.inner("fcm_options")
    message.fcm.analytics_label = fcm_options.text("analytics_label")
    fcm_options.finish("left out; FCM's options have no such field")
    options.dry_run = fields.flag("dry_run")
    if fields.flag("delay_while_idle"):
        fields.tell("delay_while_idle", "left out; FCM has no such thing any more")


def _read_text_sound(form: Form) -> None:
    form.message.sound = form.fields.text("sound")


def _read_notification(form: Form) -> None:
    """title, message and image beside it win over what the notification says of them."""
    message, given = form.message, form.fields.inner("notification")
    title, body = given.text("title"), given.text("body")
    message.title, message.body = message.title or title, message.body or body
    form.read_image("image", given)
    _read_localised(form, given, ("title_loc_key", "title_loc_args", "body_loc_key", "body_loc_args"))
    message.android_channel_id = given.text("channel_id")
    if looks := {name: value for name in _LOOKS if (value := given.text(name))}:
        form.patch({"android": {"notification": looks}})
    given.finish("left out; FCM's notification has no such field")


# --- Huawei ------------------------------------------------------------------------------------------------------


def read_huawei(form: Form) -> None:
    fields, message = form.fields, form.message
    form.provider_app_id = fields.text("app_id")
    if fields.any("app_secret"):
        fields.tell("app_secret", "left out; a secret belongs in the server's configuration")
    form.read_image("image", fields)
    _read_text_sound(form)
    message.hms.category, message.hms.bi_tag = fields.text("category"), fields.text("bi_tag")
    group = fields.whole("huawei_collapse_key") or 0
    if group in HUAWEI_GROUPS:
        form.options.collapse_key = str(group)
    elif group not in (0, -1):  # absent, and what is sent where there is no collapse_key
        fields.tell("huawei_collapse_key", "left out; Huawei's groups are 1 to 100")
    form.read_ttl("huawei_ttl", fields)
    if target := fields.whole("fast_app_target"):
        form.patch({"android": {"fast_app_target": target}})
    _read_huawei_data(form)
    shown = fields.object("huawei_notification")
    for name in ("title", "body"):
        value = shown.pop(name, None)
        if isinstance(value, str) and not getattr(message, name):
            setattr(message, name, value)
    if message.image_url:
        shown.pop("image", None)
    if shown:
        form.patch({"android": {"notification": shown}})


def _read_huawei_data(form: Form) -> None:
    text = form.fields.text("huawei_data")
    if not text:
        return
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict):
        form.read_data(data, "huawei_data")
    else:
        form.fields.tell("huawei_data", "left out; it is not a JSON object, whose texts stand in double quotes")
