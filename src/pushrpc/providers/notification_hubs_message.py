"""What a hub receives for one notification: its platform's own form, or the values for the hub's templates.

Sources: Microsoft, Notification Hubs REST API: "Send a native notification" for APNs, FCM v1, WNS, ADM, Baidu, "Send a
template notification", "Direct send"; Amazon, "Send a Message Using ADM". What a hub takes for Xiaomi is not
documented: it gets Mi Push's own words.

A payload is what our own provider for that platform builds, so a message reads the same with or without a hub between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

from pushrpc.content import Content
from pushrpc.exchange import Headers
from pushrpc.model import Address, Notification
from pushrpc.providers import MessageRefused, apns_message, fcm_message, webpush_message, wns_message
from pushrpc.providers.payload import TEXTS, check_size, encoded, fitted, lost, unmet
from pushrpc.providers.webpush_crypto import PLAINTEXT_BYTES_MAX
from pushrpc.words import HubPlatform, Priority, RejectReason, WnsType

JSON = b"application/json;charset=utf-8"
BODY_BYTES_MAX = 65_536  # of anything sent to a hub ("Azure Notification Hubs limits")
ADM_BYTES_MAX = 6_144
ADM_EXPIRY_S_MIN, ADM_EXPIRY_S_MAX = 60, 2_678_400
BAIDU_BYTES_MAX = 4_096
XIAOMI_BYTES_MAX = 4_096

# A hub hands on headers of these names; x-ms- are its own.
_FORWARDED = re.compile(r"(?:apns|x(?!-ms-))-[a-z0-9-]{1,64}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,1022}[\x21-\x7e])?")


class HubMessage(NamedTuple):
    """`format` is the hub's word for the platform. `size_bytes` is what counts against `limit_bytes`."""

    format: str
    headers: Mapping[str, str]
    content_type: bytes
    body: bytes
    size_bytes: int
    limit_bytes: int
    cut: bool = False
    lost: Callable[[], Sequence[str]] = tuple  # paths as in Preview.dropped; only previews ask

    @property
    def dropped(self) -> Sequence[str]:
        """The hub itself carries its headers, whatever the platform."""
        return tuple(path for path in self.lost() if path != "message.notification_hubs.headers")

    @property
    def header_lines(self) -> Headers:
        lines = {"servicebusnotification-format": self.format, **self.headers}
        return tuple((name.encode(), value.encode()) for name, value in lines.items())


TEMPLATES_BY_TAG = (
    "a hub sends its templates to tags and to everyone, not to a handle; name target.provider_audiences,"
    " or unset notification_hubs.template_properties"
)


def build(notification: Notification, address: Address, now_us: int) -> HubMessage:
    """The message for a handle of `address.platform`, or for an audience. Raises MessageRefused."""
    if notification.content.notification_hubs.template_properties:
        if not address.audience:
            raise MessageRefused(RejectReason.FIELD_MISSING, TEMPLATES_BY_TAG)
        message = _template(notification)
    elif address.platform in _BUILDERS:
        if address.audience and address.platform is HubPlatform.FCM_V1:
            fcm_message.refuse_activity_of_one(notification.content)
        message = _BUILDERS[address.platform](notification, now_us)
    else:
        raise MessageRefused(RejectReason.FIELD_MISSING, _WITHOUT_TEMPLATE if address.audience else NO_PLATFORM)
    sizes = message.size_bytes, message.limit_bytes
    check_size(message.format, *sizes)
    headers = dict(message.headers) | _callers(notification.content.notification_hubs.headers)
    for name, value in headers.items():
        if not _HEADER_VALUE.fullmatch(value):
            detail = f"header {name} has a value that no header can carry"
            raise MessageRefused(RejectReason.FIELD_MISSING, detail, *sizes)
    return message._replace(headers=headers)


NO_PLATFORM = "a hub's handle needs a hub_platform: the push service that issued it"
_WITHOUT_TEMPLATE = (
    "devices of every platform may match; set notification_hubs.template_properties, which the hub's templates fill in"
)


def _callers(headers: Mapping[str, str]) -> dict[str, str]:
    """The caller's own headers, in lower case. They win over ours."""
    lower = {name.lower(): value for name, value in headers.items()}
    for name in lower:
        if not _FORWARDED.fullmatch(name):
            detail = f"notification_hubs.headers: {name[:64]!r} is not handed on; a hub forwards apns-* and x-*"
            raise MessageRefused(RejectReason.FIELD_MISSING, detail)
    return lower


def _template(notification: Notification) -> HubMessage:
    """Templates see `notification_id` beside the caller's properties."""
    properties = notification.content.notification_hubs.template_properties
    body = encoded({**properties, "notification_id": notification.notification_id})
    told = partial(_lost_with_options, notification, frozenset({"notification_hubs"}))
    return HubMessage("template", {}, JSON, body, len(body), BODY_BYTES_MAX, lost=told)


def _lost_with_options(notification: Notification, carried: frozenset[str]) -> Sequence[str]:
    """Of a form without a place for any option of the send."""
    options = unmet(priority=True, collapse_key=bool(notification.collapse_key), ttl=True)
    return (*lost(notification.content, carried, _OWN_TEXTS & carried), *options)


# --- platforms that we also speak ourselves -----------------------------------------------------------------------


def _apple(notification: Notification, now_us: int) -> HubMessage:
    content = notification.content
    kind = apns_message.push_type(content)
    of_kind = apns_message.PUSH_KINDS[kind]
    if of_kind.topic_suffix and not content.apns.topic:
        detail = f"push type {of_kind.word} needs apns.topic: only the hub knows the bundle id, and not its suffix"
        raise MessageRefused(RejectReason.FIELD_MISSING, detail)
    body, cut = apns_message.payload(notification)
    headers = {
        "apns-push-type": of_kind.word,
        "apns-priority": apns_message.priority(notification, kind),
        "apns-expiration": apns_message.expiration(notification, now_us) if of_kind.stored else "0",
    }
    if content.apns.topic:
        headers["apns-topic"] = content.apns.topic
    if notification.collapse_key:
        headers["apns-collapse-id"] = _ascii(apns_message.collapse_id(notification.collapse_key))
    limit, told = apns_message.limit_bytes(content), partial(apns_message.dropped, notification)
    return HubMessage("apple", headers, JSON, body, len(body), limit, cut, told)


def _google(notification: Notification, now_us: int) -> HubMessage:
    """The hub puts the token in."""
    message, size, limit, cut = fcm_message.built(notification, None, now_us)
    told = partial(fcm_message.dropped, notification)
    return HubMessage("fcmV1", {}, JSON, encoded({"message": message}), size, limit, cut, told)


def _windows(notification: Notification, now_us: int) -> HubMessage:
    kind, body, cut = wns_message.built(notification)
    headers = {name.decode(): value.decode() for name, value in wns_message.headers(notification, kind, now_us)}
    del headers["content-type"]
    content_type = b"application/octet-stream" if kind is WnsType.RAW else b"application/xml"
    told = partial(wns_message.dropped, notification, kind)
    return HubMessage("windows", headers, content_type, body, len(body), wns_message.PAYLOAD_BYTES_MAX, cut, told)


def _browser(notification: Notification, now_us: int) -> HubMessage:
    """The hub encrypts it."""
    body, cut = webpush_message.payload(notification)
    told = partial(webpush_message.dropped_by_hub, notification)
    return HubMessage("browser", {}, JSON, body, len(body), PLAINTEXT_BYTES_MAX, cut, told)


def _ascii(word: str) -> str:
    """HTTP/1.1 carries ASCII; a digest stands for anything else, and equal words still collapse."""
    return word if word.isascii() else sha256(word.encode("utf-8", "replace")).hexdigest()


# --- platforms that only a hub reaches ----------------------------------------------------------------------------


def _texts(content: Content) -> dict[str, str]:
    """What is set of the fields that every platform's app may want to read."""
    own = {"link": content.link, "image_url": content.image_url}
    return {key: value for key, value in own.items() if value} | dict(content.data)


def _given(**parts: Any) -> dict[str, Any]:
    return {key: value for key, value in parts.items() if value}


def _json_message(
    notification: Notification,
    form: tuple[str, int],
    headers: Mapping[str, str],
    told: Callable[[], Sequence[str]],
    parts: Callable[[Content], dict[str, Any]],
) -> HubMessage:
    """A JSON payload whose body is cut where the caller allows it. `form` is the hub's word and the limit in bytes."""
    word, limit = form
    body, cut = fitted(notification.content, limit, lambda content: encoded(parts(content)))
    return HubMessage(word, headers, JSON, body, len(body), limit, cut, told)


_OWN_TEXTS = frozenset({"link", "image_url"})
_ALWAYS = _OWN_TEXTS | {"data", "silent"}
_ADM_SHOWS = TEXTS | {"sound", "android_channel_id"}
_OTHERS_SHOW = frozenset({"title", "body"})


def _adm(notification: Notification, now_us: int) -> HubMessage:
    left_s = 0 if notification.one_try else (notification.expire_us - now_us) // 1_000_000
    high = notification.priority in (Priority.HIGH, Priority.UNSPECIFIED) and not notification.content.silent

    def parts(content: Content) -> dict[str, Any]:
        shown = _given(
            title=content.title,
            body=content.body,
            sound=content.sound,
            channel_id=content.android_channel_id,
            title_loc_key=content.title_loc_key,
            title_loc_args=content.title_loc_args,
            body_loc_key=content.body_loc_key,
            body_loc_args=content.body_loc_args,
        )
        return _given(
            notification={} if content.silent else shown,
            data=_texts(content) | {"notification_id": notification.notification_id},
            priority="high" if high else "normal",
            consolidationKey=_ascii(apns_message.collapse_id(notification.collapse_key)),
            expiresAfter=min(max(left_s, ADM_EXPIRY_S_MIN), ADM_EXPIRY_S_MAX),
        )

    def told() -> Sequence[str]:
        silent = notification.content.silent
        options = unmet(
            priority=notification.urgency is Priority.LOW or (silent and notification.urgency is Priority.HIGH),
            ttl=not ADM_EXPIRY_S_MIN <= left_s <= ADM_EXPIRY_S_MAX,
        )
        return (*lost(notification.content, _ALWAYS if silent else _ALWAYS | _ADM_SHOWS, _OWN_TEXTS), *options)

    return _json_message(notification, ("adm", ADM_BYTES_MAX), {}, told, parts)


def _baidu(notification: Notification, now_us: int) -> HubMessage:
    def parts(content: Content) -> dict[str, Any]:
        custom = _texts(content) | {"notification_id": notification.notification_id}
        return _given(title=content.title, description=content.body, custom_content=custom)

    # 0 reaches the app alone, 1 is shown.
    headers = {"x-baidu-message-type": "0" if notification.content.silent else "1"}
    told = partial(_lost_with_options, notification, _ALWAYS | _OTHERS_SHOW)
    return _json_message(notification, ("baidu", BAIDU_BYTES_MAX), headers, told, parts)


def _xiaomi(notification: Notification, now_us: int) -> HubMessage:
    def parts(content: Content) -> dict[str, Any]:
        payload = encoded(_texts(content) | {"notification_id": notification.notification_id}).decode()
        shown = _given(title=content.title, description=content.body)
        return {**shown, "payload": payload, "pass_through": int(content.silent)}

    told = partial(_lost_with_options, notification, _ALWAYS | _OTHERS_SHOW)
    return _json_message(notification, ("xiaomi", XIAOMI_BYTES_MAX), {}, told, parts)


_BUILDERS: Mapping[HubPlatform, Callable[[Notification, int], HubMessage]] = {
    HubPlatform.APNS: _apple,
    HubPlatform.FCM_V1: _google,
    HubPlatform.WNS: _windows,
    HubPlatform.BROWSER: _browser,
    HubPlatform.ADM: _adm,
    HubPlatform.BAIDU: _baidu,
    HubPlatform.XIAOMI: _xiaomi,
}
