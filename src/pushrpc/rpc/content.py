"""What a send says, from protobuf to values: the message, and how long, how soon, how often.

Only fields that are set are looked at, because most messages set three of twenty and every send passes here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from pushrpc.content import Content
from pushrpc.model import Address, Notification
from pushrpc.providers import MessageRefused, ProviderAccount, apns, apns_message, fcm_message
from pushrpc.rpc.errors import Reason
from pushrpc.rpc.fields import Fields, flawed
from pushrpc.rpc.limits import (
    ARGUMENTS_MAX,
    BODY_BYTES_MAX,
    CATEGORY_BYTES_MAX,
    COLLAPSE_KEY_BYTES_MAX,
    DATA_BYTES_MAX,
    DAY_S,
    LABELS_MAX,
    ONE_TRY_S,
    TITLE_BYTES_MAX,
    TTL_DEFAULT_S,
    TTL_MAX_S,
    WAIT_MAX_S,
)
from pushrpc.rpc.options import OPTIONS, OVERRIDES
from pushrpc.v1 import sending_pb2
from pushrpc.words import HubPlatform, Priority, Provider, RejectReason, TokenKind

_SECOND_US = 1_000_000
# What has no limit of its own is bounded by the largest body: no payload holds more.
_TEXT_BYTES_MAX: Mapping[str, int] = {
    "title": TITLE_BYTES_MAX,
    "subtitle": TITLE_BYTES_MAX,
    "body": BODY_BYTES_MAX,
    "category": CATEGORY_BYTES_MAX,
    **dict.fromkeys(("image_url", "sound", "thread_id", "link", "android_channel_id"), BODY_BYTES_MAX),
    **dict.fromkeys(("title_loc_key", "body_loc_key"), BODY_BYTES_MAX),
}
_VISIBLE = ("title", "body", "subtitle", "badge", "sound", "title_loc_key", "body_loc_key")


class Lifetime(NamedTuple):
    """`one_try`: ttl was 0, and `expire_us` then bounds when the try may start."""

    expire_us: int
    one_try: bool


def content_of(message: sending_pb2.NotificationContent, fields: Fields, at: str = "message") -> Content:
    values: dict[str, Any] = {}
    for descriptor, value in message.ListFields():
        name = descriptor.name
        limit = _TEXT_BYTES_MAX.get(name)
        if limit is None:
            values[name] = _READERS[name](value, fields, f"{at}.{name}")
        else:
            values[name] = value
            if flawed(value, limit):
                fields.text(f"{at}.{name}", value, limit)
    if "image_url" in values and not values["image_url"].startswith("https://"):
        fields.wrong(Reason.FIELD_INVALID, f"{at}.image_url", "must be an https URL")
    if message.silent:
        for name in _VISIBLE:
            if name in values:
                problem = f"cannot be shown by a silent message; unset it or {at}.silent"
                fields.wrong(Reason.FIELDS_CONFLICT, f"{at}.{name}", problem)
    if "fcm" in values and values["fcm"].live_activity_token and not message.apns.HasField("live_activity"):
        problem = "is set without apns.live_activity, which says what to do with it"
        fields.wrong(Reason.FIELD_REQUIRED, f"{at}.fcm.live_activity_token", problem)
    content = Content(**values)
    if values.keys() <= OPTIONS.keys() and content == _EMPTY:  # empty ones say nothing either
        fields.wrong(Reason.FIELD_REQUIRED, at, "says nothing: set a title, a body, data, or whatever it shall do")
    return content


_EMPTY = Content()

# --- what a push says --------------------------------------------------------------------------------------------

# Each of these is worth a push by itself; all other fields only say how, or are arguments of one of these. That a
# message is silent is worth one too, unless it is so for Apple's tokens of another kind alone.
_SAYING = (
    *("title", "body", "subtitle", "image_url", "data", "badge", "sound", "link", "title_loc_key", "body_loc_key"),
    *("apns.push_type", "apns.content_available", "apns.live_activity", "wns.raw", "wns_xml"),
    *("notification_hubs.template_properties", "fcm_json", "web_push_json", "hms_json"),
)
_said = attrgetter(*_SAYING)
_UNSAID = _said(_EMPTY)


def check_not_empty(account: ProviderAccount, notification: Notification, address: Address) -> None:
    """Raises MessageRefused when nothing is set that the account carries there: nobody shall get a push for nothing.

    A Live Activity without a text, a widget that is to reload: elsewhere than at Apple that is as if the tokens were of
    another kind. Apple has a rule of its own for each push type.
    """
    content = notification.content
    if content.title or content.body or content.data:  # which everybody carries, or refuses by name
        return
    if account.provider is Provider.APNS or address.platform is HubPlatform.APNS:
        return
    kind = apns_message.token_kind(content)
    if content.silent and kind is TokenKind.STANDARD:
        return
    preview = account.preview(notification, address, notification.created_us)
    for path, value, unsaid in zip(_SAYING, _said(content), _UNSAID, strict=True):
        if value != unsaid and f"message.{path}" not in preview.dropped:
            return
    if kind is TokenKind.STANDARD:
        reason, why = RejectReason.FIELD_MISSING, "nothing is set that can be carried there"
    else:
        reason, why = RejectReason.TOKEN_KIND_MISMATCH, f"only Apple's {kind.name} tokens can make something of it"
    detail = f"{why}; set a title, a body or data"
    raise MessageRefused(reason, detail, preview.size_bytes, preview.limit_bytes)


# --- fields ------------------------------------------------------------------------------------------------------


def _data(data: Mapping[str, str], fields: Fields, path: str) -> dict[str, str]:
    kept, size = {}, 0
    for key in data:
        kept[key] = value = data[key]
        size += len(key.encode()) + len(value.encode())
        if not key:
            fields.wrong(Reason.FIELD_INVALID, path, "has an empty key")
        elif key == "notification_id" or apns.reserved_data_key(key) or fcm_message.reserved_data_key(key):
            fields.wrong(Reason.DATA_KEY_RESERVED, path, f"has the key {key[:40]!r}, which is not free to use")
    if size > DATA_BYTES_MAX:
        fields.too_long(path, size, DATA_BYTES_MAX, "bytes of keys and values")
    return kept


def _badge(value: int, fields: Fields, path: str) -> int:
    if value < 0:
        fields.wrong(Reason.FIELD_INVALID, path, f"is {value}, it may not be negative")
    return value


def _arguments(values: Any, fields: Fields, path: str) -> tuple[str, ...]:
    kept = tuple(values)
    if len(kept) > ARGUMENTS_MAX:
        fields.too_long(path, len(kept), ARGUMENTS_MAX, "entries")
    for position, value in enumerate(kept):
        fields.text(f"{path}[{position}]", value, BODY_BYTES_MAX)
    return kept


def _as_is(value: Any, _fields: Fields, _path: str) -> Any:
    return value


_READERS: Mapping[str, Callable[[Any, Fields, str], Any]] = {
    "data": _data,
    "badge": _badge,
    "silent": _as_is,
    "title_loc_args": _arguments,
    "body_loc_args": _arguments,
    **OPTIONS,
    **OVERRIDES,
}


def lifetime_of(options: sending_pb2.SendOptions, fields: Fields, now_us: int) -> Lifetime:
    """ttl or expire_time as an instant: default 24 h, at most 28 days ahead.

    An expire_time in the past is the ledger's to refuse, because the request may be the repeat of one that was in time.
    """
    which = options.WhichOneof("expiry")
    if which is None:
        return Lifetime(now_us + TTL_DEFAULT_S * _SECOND_US, False)
    path = f"options.{which}"
    if which == "ttl":
        left_us = fields.span_us(path, options.ttl, Reason.TTL_INVALID)
        if left_us == 0:
            return Lifetime(now_us + ONE_TRY_S * _SECOND_US, True)
    else:
        moment = options.expire_time
        left_us = moment.seconds * _SECOND_US + moment.nanos // 1_000 - now_us
    if left_us > TTL_MAX_S * _SECOND_US:
        fields.wrong(Reason.TTL_INVALID, path, f"is more than {TTL_MAX_S // DAY_S} days ahead", TTL_MAX_S)
    return Lifetime(now_us + left_us, False)


def priority_of(options: sending_pb2.SendOptions, fields: Fields, silent: bool) -> Priority:
    """Unset is HIGH when the person sees something, NORMAL when not."""
    given = options.priority
    if given:
        return fields.word("options.priority", given, Priority)
    return Priority.NORMAL if silent else Priority.HIGH


def labels_of(options: sending_pb2.SendOptions, fields: Fields) -> dict[str, str]:
    fields.text("options.collapse_key", options.collapse_key, COLLAPSE_KEY_BYTES_MAX)
    return fields.entries("options.labels", options.labels, LABELS_MAX)


def wait_of(request: sending_pb2.SendNotificationRequest, fields: Fields) -> float:
    """Seconds to wait for final states, 0 for none."""
    if not request.HasField("wait"):
        return 0.0
    wait_us = fields.span_us("wait", request.wait, Reason.FIELD_INVALID)
    if wait_us > WAIT_MAX_S * _SECOND_US:
        fields.wrong(Reason.WAIT_TOO_LONG, "wait", f"is more than {WAIT_MAX_S}s", WAIT_MAX_S)
    return wait_us / _SECOND_US
