"""What Google receives for one notification: the v1 Message, its size, and the names of topics and conditions.

Sources: Firebase, "REST Resource: projects.messages", "ErrorCode", "Topic messaging", "Set the lifespan of a message",
"Get started with Live Activity".

`data` carries the caller's entries and `notification_id`, and `link` when it is set; with data_only also `title`,
`body`, `image_url` and the loc keys (`*_loc_args` as a JSON list). An entry of the caller's own wins over these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, NamedTuple

from pushrpc.content import Content
from pushrpc.model import Notification
from pushrpc.providers import MessageRefused, apns_message, webpush_message
from pushrpc.providers.payload import (
    FLAG,
    NUMBER,
    TEXT,
    TEXTS,
    Shape,
    check_size,
    encoded,
    entries,
    fields,
    fitted,
    items,
    lost,
    matching,
    must_be,
    patched,
)
from pushrpc.words import ApnsPushType, AudienceKind, Priority, RejectReason

PAYLOAD_BYTES_MAX = 4096  # of what one platform gets
AUDIENCE_PAYLOAD_BYTES_MAX = 2048  # the same, to a topic or condition
TTL_S_MAX = 2_419_200  # 28 days
CONDITION_TOPICS_MAX = 5
# The target decides who gets it; a patch may not.
_RESERVED = frozenset({"from", "gcm", "message_type", "collapse_key"})
TARGET_KEYS = frozenset({"token", "topic", "condition"})
_URGENCIES = {Priority.HIGH: "high", Priority.NORMAL: "normal", Priority.LOW: "low"}
_TOPIC = re.compile(r"[a-zA-Z0-9\-_.~%]{1,900}")
_WORDS = re.compile(r"\s*(?:'([^']*)' in topics|(&&|\|\||[!()]))\s*")


def topic_problem(name: str) -> str:
    """Empty, or why Google has no such topic."""
    return "" if _TOPIC.fullmatch(name) else "a topic is 1 to 900 of [a-zA-Z0-9-_.~%], without /topics/ before it"


def condition_problem(condition: str) -> str:
    """Empty, or why Google cannot read it: `'a' in topics && ('b' in topics || !('c' in topics))`, 5 topics at most."""
    depth, topics, place, operand_due = 0, 0, 0, True  # due is a topic, or what may stand before one
    while place < len(condition):
        word = _WORDS.match(condition, place)
        if word is None:
            break
        topic, sign = word.groups()
        if (sign in ("&&", "||", ")")) == operand_due:
            break
        if topic is not None and (problem := topic_problem(topic)):
            return problem
        topics += topic is not None
        depth += (sign == "(") - (sign == ")")
        operand_due = topic is None and sign != ")"
        if depth < 0:
            break
        place = word.end()
    if operand_due or depth or place < len(condition):
        return "a condition is made of 'name' in topics, &&, ||, ! and parentheses"
    return "" if topics <= CONDITION_TOPICS_MAX else f"a condition names at most {CONDITION_TOPICS_MAX} topics"


def _given(**parts: Any) -> dict[str, Any]:
    return {key: value for key, value in parts.items() if value}


# --- shape -------------------------------------------------------------------------------------------------------


def _message_of(known: Mapping[str, Shape]) -> Shape:
    """Google reads its fields by both names, collapse_key and collapseKey ("Protobuf's JSON mapping")."""
    return fields(
        {_CAMEL.sub(lambda part: part[1].upper(), name): shape for name, shape in known.items()} | dict(known)
    )


def _enum(*words: str) -> Shape:
    """Google reads them in any case."""
    return must_be(f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value.upper() in words)


_CAMEL = re.compile(r"_([a-z])")
_DURATION = matching('a duration such as "5s" or "3.5s"', r"[0-9]{1,12}(\.[0-9]{1,9})?s")
_COUNT = must_be("a whole number", lambda value: type(value) is int or (isinstance(value, str) and value.isdecimal()))
_LABEL = matching("1 to 50 of [a-zA-Z0-9-_.~%]", r"[a-zA-Z0-9\-_.~%]{1,50}")
_ANDROID_NOTIFICATION = _message_of(
    dict.fromkeys(("title", "body", "icon", "color", "sound", "tag", "click_action", "ticker", "event_time"), TEXT)
    | dict.fromkeys(("body_loc_key", "title_loc_key", "channel_id", "image"), TEXT)
    | dict.fromkeys(("body_loc_args", "title_loc_args"), items(TEXT))
    | dict.fromkeys(("sticky", "local_only", "default_sound"), FLAG)
    | dict.fromkeys(("default_vibrate_timings", "default_light_settings", "bypass_proxy_notification"), FLAG)
    | {
        "notification_count": _COUNT,
        "vibrate_timings": items(_DURATION),
        "notification_priority": _enum(
            *(f"PRIORITY_{level}" for level in ("UNSPECIFIED", "MIN", "LOW", "DEFAULT", "HIGH", "MAX"))
        ),
        "visibility": _enum("VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"),
        "proxy": _enum("PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"),
        "light_settings": _message_of(
            {
                "color": _message_of(dict.fromkeys(("red", "green", "blue", "alpha"), NUMBER)),
                "light_on_duration": _DURATION,
                "light_off_duration": _DURATION,
            }
        ),
    }
)
SHAPE = _message_of(
    {
        "data": entries(TEXT),
        "notification": _message_of(dict.fromkeys(("title", "body", "image"), TEXT)),
        "android": _message_of(
            {
                "collapse_key": TEXT,
                "priority": _enum("NORMAL", "HIGH"),
                "ttl": _DURATION,
                "restricted_package_name": TEXT,
                "data": entries(TEXT),
                "notification": _ANDROID_NOTIFICATION,
                "fcm_options": _message_of({"analytics_label": _LABEL}),
                "direct_boot_ok": FLAG,
                "bandwidth_constrained_ok": FLAG,
                "restricted_satellite_ok": FLAG,
            }
        ),
        "apns": _message_of(
            {
                "headers": entries(TEXT),
                "payload": apns_message.SHAPE,
                "fcm_options": _message_of({"analytics_label": _LABEL, "image": TEXT}),
                "live_activity_token": TEXT,
            }
        ),
        "webpush": _message_of(
            {
                "headers": entries(TEXT),
                "data": entries(TEXT),
                "notification": fields(webpush_message.OPTIONS),
                "fcm_options": _message_of({"analytics_label": _LABEL, "link": TEXT}),
            }
        ),
        "fcm_options": _message_of({"analytics_label": _LABEL}),
    }
)

# --- message -----------------------------------------------------------------------------------------------------


class Built(NamedTuple):
    """A message without its target. `size_bytes` is what Google counts against `limit_bytes`."""

    message: dict[str, Any]
    size_bytes: int
    limit_bytes: int
    was_cut: bool = False


_size = attrgetter("size_bytes")


def built(notification: Notification, audience: AudienceKind | None, now_us: int) -> Built:
    """The message with which a notification goes to tokens, or to an audience. Raises MessageRefused."""
    limit = PAYLOAD_BYTES_MAX if audience is None else AUDIENCE_PAYLOAD_BYTES_MAX
    if audience:
        refuse_activity_of_one(notification.content)

    def build(content: Content) -> Built:
        of = notification if content is notification.content else replace(notification, content=content)
        message = _message(of, now_us)
        return Built(message, _payload_bytes(message), limit)

    made, was_cut = fitted(notification.content, limit, build, _size)
    check_size("Google", made.size_bytes, limit)
    return Built(made.message, made.size_bytes, limit, True) if was_cut else made


def refuse_activity_of_one(content: Content) -> None:
    """For audiences. Raises MessageRefused."""
    if content.fcm.live_activity_token:
        detail = "fcm.live_activity_token is one device's; send it to the FCM token of that device"
        raise MessageRefused(RejectReason.FIELD_MISSING, detail)


def _message(notification: Notification, now_us: int) -> dict[str, Any]:
    content = notification.content
    shown = _given(title=content.title, body=content.body, image=content.image_url)
    message = _given(
        notification=shown if _shows_text(content) else {},
        data=_data(notification),
        android=_android(notification, now_us),
        apns=_apns(notification, now_us),
        webpush=_webpush(notification, now_us),
        fcm_options=_given(analytics_label=content.fcm.analytics_label),
    )
    if content.fcm_json:
        message = patched(message, content.fcm_json, "fcm_json", SHAPE, TARGET_KEYS)
        _refuse_reserved(message)
    message["data"] = message.get("data", {}) | {
        "notification_id": notification.notification_id
    }  # whatever a patch says
    if content.fcm.live_activity_token:
        payload = _object(_object(message.get("apns")).get("payload"))
        apns_message.check_complete(ApnsPushType.LIVE_ACTIVITY, payload, "fcm_json", PAYLOAD_BYTES_MAX)
    return message


def reserved_data_key(key: str) -> bool:
    """Whether Google takes a key for itself: it refuses some with 400 and silently replaces others."""
    return key in _RESERVED or key.startswith(("google", "gcm."))


def _refuse_reserved(message: Mapping[str, Any]) -> None:
    """What Google would refuse in every single push."""
    for at, part in (("", message), ("android.", _object(message.get("android")))):
        for key in filter(reserved_data_key, part.get("data", ())):
            raise MessageRefused(
                RejectReason.FIELD_MISSING, f"fcm_json: {at}data.{key[:40]} is a key that Google keeps"
            )


def dropped(notification: Notification) -> tuple[str, ...]:
    """Paths of what is set and reaches neither Android nor Apple nor a browser."""
    content, kind = notification.content, _apns_kind(notification.content)
    carried = {"data", "silent", "fcm", "fcm_json"}
    activity = content.apns.live_activity if content.fcm.live_activity_token else None
    if activity:
        carried.add("apns.live_activity")
    if activity or kind is not ApnsPushType.LIVE_ACTIVITY:
        carried |= apns_message.carried_by_aps(content, kind)
    if apns_message.push_type(content) is kind:
        carried.add("apns.push_type")
    if _shows_text(content):
        carried |= TEXTS | {"image_url", "badge", "sound", "android_channel_id"}
    if content.link.startswith("https://"):
        carried.add("link")
    beside_data = ({"link"} | (TEXTS | {"image_url"} if content.fcm.data_only else set())) - carried
    told = lost(content, carried | beside_data, beside_data)
    return (*told, *apns_message.lost_of_activity(activity)) if activity else told


def _is_data(content: Content) -> bool:
    return content.silent or content.fcm.data_only


def _shows_text(content: Content) -> bool:
    texts = (content.title, content.body, content.image_url, content.title_loc_key, content.body_loc_key)
    return any(texts) and not (_is_data(content) or content.fcm.live_activity_token)


def _data(notification: Notification) -> dict[str, str]:
    content = notification.content
    own = _given(link=content.link)
    if content.fcm.data_only:
        own |= _given(
            title=content.title,
            body=content.body,
            image_url=content.image_url,
            title_loc_key=content.title_loc_key,
            title_loc_args=_list_text(content.title_loc_args),
            body_loc_key=content.body_loc_key,
            body_loc_args=_list_text(content.body_loc_args),
        )
    return own | dict(content.data)


def _list_text(values: Sequence[str]) -> str:
    return encoded(values).decode() if values else ""


def _android(notification: Notification, now_us: int) -> dict[str, Any]:
    content = notification.content
    shown = _given(
        channel_id=content.android_channel_id,
        sound=content.sound,
        title_loc_key=content.title_loc_key,
        title_loc_args=content.title_loc_args,
        body_loc_key=content.body_loc_key,
        body_loc_args=content.body_loc_args,
        notification_count=content.badge,
        # FCM knows no duplicates; with a tag a repeat replaces what is shown instead of standing beside it.
        tag=notification.collapse_key or notification.notification_id,
    )
    return _given(
        priority="HIGH" if notification.urgency is Priority.HIGH else "NORMAL",
        ttl=f"{min(notification.left_s(now_us), TTL_S_MAX)}s",
        collapse_key=notification.collapse_key,
        direct_boot_ok=content.fcm.direct_boot_ok,
        notification=shown if _shows_text(content) else {},
    )


def _apns(notification: Notification, now_us: int) -> dict[str, Any]:
    """What FCM hands on to Apple for iOS apps; it adds the alert from `notification` by itself."""
    content = notification.content
    if content.fcm.live_activity_token:
        return _apns_live_activity(notification, now_us)
    kind = _apns_kind(content)
    aps = apns_message.aps(notification, kind)
    if aps.get("alert", {}).keys() <= {"title", "body"}:
        aps.pop("alert", None)
    headers = {
        "apns-push-type": apns_message.PUSH_KINDS[kind].word,
        "apns-priority": apns_message.priority(notification, kind),
        "apns-expiration": apns_message.expiration(notification, now_us),
    }
    if notification.collapse_key:
        headers["apns-collapse-id"] = apns_message.collapse_id(notification.collapse_key)
    return _given(headers=headers, payload=_given(aps=aps))


def _apns_kind(content: Content) -> ApnsPushType:
    if content.fcm.live_activity_token:
        return ApnsPushType.LIVE_ACTIVITY
    noticed = _shows_text(content) or (not _is_data(content) and (content.badge is not None or bool(content.sound)))
    return ApnsPushType.ALERT if noticed else ApnsPushType.BACKGROUND


def _apns_live_activity(notification: Notification, now_us: int) -> dict[str, Any]:
    """Google knows push type and topic from the token ("Get started with Live Activity")."""
    kind = ApnsPushType.LIVE_ACTIVITY
    headers = {
        "apns-priority": apns_message.priority(notification, kind),
        "apns-expiration": apns_message.expiration(notification, now_us),
    }
    content = notification.content
    aps = apns_message.aps(notification, kind) if content.apns.live_activity else {}
    return _given(live_activity_token=content.fcm.live_activity_token, headers=headers, payload=_given(aps=aps))


def _webpush(notification: Notification, now_us: int) -> dict[str, Any]:
    headers = {"TTL": str(min(notification.left_s(now_us), TTL_S_MAX)), "Urgency": _URGENCIES[notification.urgency]}
    link = notification.content.link
    # Browsers open https only; another link stays in `data` for the app.
    return _given(headers=headers, fcm_options=_given(link=link if link.startswith("https://") else ""))


def _payload_bytes(message: Mapping[str, Any]) -> int:
    """The largest of what Android and a browser get, counted in keys and values, and what is written out for Apple."""
    android, apple = _object(message.get("android")), _object(message.get("apns")).get("payload")
    shown = {**_object(message.get("notification")), **_object(android.get("notification"))}
    size = _bytes_of(shown) + _bytes_of(android.get("data") or message.get("data"))
    if "notification" in (browser := _object(message.get("webpush"))) or "data" in browser:
        size = max(size, _bytes_of(browser.get("notification")) + _bytes_of(browser.get("data") or message.get("data")))
    return max(size, len(encoded(apple)) if apple else 0)


def _bytes_of(value: object) -> int:
    if isinstance(value, str):  # nearly all are, and asking for a Mapping takes longer
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return sum(len(key.encode("utf-8", "replace")) + _bytes_of(child) for key, child in value.items())
    if isinstance(value, list | tuple):
        return sum(_bytes_of(child) for child in value)
    return 0 if value is None else len(encoded(value))


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
