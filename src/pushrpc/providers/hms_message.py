"""What Huawei's Push Kit is asked to show: the v1 `message` object, without the target it is sent to.

Sources: Huawei, "Sending Downlink Messages" (REST API of Push Kit for HMS Core) and "Badges".

`data` is one string: a JSON object with the caller's entries, `notification_id`, and `link` when it is set; an entry of
the caller's own wins over `link`.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from pushrpc.content import Content
from pushrpc.model import Notification
from pushrpc.providers import payload
from pushrpc.providers.payload import (
    FLAG,
    NUMBER,
    OBJECT,
    TEXT,
    entries,
    fields,
    items,
    matching,
    must_be,
    one_of,
    whole,
)
from pushrpc.words import Priority

BODY_BYTES_MAX = 4096  # of a request without its tokens
ENVELOPE_BYTES = len(b'{"validate_only":false,"message":}')
AUDIENCE_BYTES = len(b'"condition":"",') + 1024  # the longest name that the contract takes
TTL_S_MAX = 1_296_000  # 15 days
BADGE_MAX = 99
# The target decides who gets it; a patch may not.
TARGET_KEYS = frozenset({"token", "topic", "condition"})

_STORE_ALL = -1  # keep every message for a device that is offline, not the newest alone
_GROUP = re.compile(r"[1-9][0-9]?|100")
_OPEN_APP, _OPEN_URL, _OPEN_INTENT = 3, 2, 1
_DEEP_LINK = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^#;\s]*)")
_TEST_USER = 1


# --- shape -------------------------------------------------------------------------------------------------------

_SHOWN = dict.fromkeys(("title", "body", "image"), TEXT)
_SECONDS = matching('seconds such as "5s" or "3.5"', r"[0-9]{1,9}(\.[0-9]{1,9})?[sS]?")
_USER_TYPE = fields({"target_user_type": whole(0, 1)})
_ANDROID_NOTIFICATION = fields(
    _SHOWN
    | dict.fromkeys(("icon", "sound", "tag", "group", "channel_id", "profile_id", "notify_summary", "ticker"), TEXT)
    | dict.fromkeys(("body_loc_key", "title_loc_key", "big_title", "big_body", "when"), TEXT)
    | dict.fromkeys(("body_loc_args", "title_loc_args", "inbox_content"), items(TEXT))
    | dict.fromkeys(("default_sound", "foreground_show", "use_default_vibrate", "use_default_light"), FLAG)
    | dict.fromkeys(("style", "notify_id"), whole(-(2**31), 2**31 - 1))
    | {
        "color": matching("a color such as #AACCDD", "#[0-9A-Fa-f]{6}"),
        "importance": one_of("LOW", "NORMAL", "HIGH"),
        "visibility": one_of("VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"),
        "multi_lang_key": OBJECT,
        "click_action": fields(
            {"type": whole(1, 4)} | dict.fromkeys(("intent", "action", "url", "rich_resource"), TEXT)
        ),
        "badge": fields({"add_num": whole(1, BADGE_MAX), "set_num": whole(0, BADGE_MAX), "class": TEXT}),
        "vibrate_config": items(_SECONDS),
        "light_settings": fields(
            {
                "color": fields(dict.fromkeys(("alpha", "red", "green", "blue"), NUMBER)),
                "light_on_duration": _SECONDS,
                "light_off_duration": _SECONDS,
            }
        ),
        "buttons": items(fields({"name": TEXT, "intent": TEXT, "data": TEXT})),
    }
)
# An object is written as the string that Huawei takes.
_DATA = must_be("a JSON object, or one in a string", lambda value: isinstance(value, dict | str))
SHAPE = fields(
    {
        "data": _DATA,
        "notification": fields(_SHOWN),
        "android": fields(
            dict.fromkeys(("category", "bi_tag", "receipt_id"), TEXT)
            | {
                "collapse_key": whole(_STORE_ALL, 100),
                "urgency": one_of("HIGH", "NORMAL"),
                "ttl": _SECONDS,
                "fast_app_target": whole(1, 2),
                "target_user_type": whole(0, 1),
                "data": _DATA,
                "notification": _ANDROID_NOTIFICATION,
            }
        ),
        "apns": fields(
            {"headers": entries(TEXT), "payload": OBJECT, "hms_options": fields({"target_user_type": whole(1, 3)})}
        ),
        "webpush": fields(
            {
                "headers": entries(TEXT),
                "data": TEXT,
                "notification": OBJECT,
                "hms_options": fields({"link": TEXT}),
            }
        ),
    }
)

# --- message -----------------------------------------------------------------------------------------------------


class Built(NamedTuple):
    """A message object in JSON. `cut`: its body was shortened because the caller allows it."""

    message: bytes
    cut: bool

    @property
    def size_bytes(self) -> int:
        """What Huawei counts: the request without its tokens."""
        return ENVELOPE_BYTES + len(self.message)


def build(notification: Notification, now_us: int, of_audience: bool = False) -> Built:
    """With room for the name of an audience, which Huawei counts as it does not count tokens. Raises MessageRefused."""
    limit = BODY_BYTES_MAX - (AUDIENCE_BYTES if of_audience else 0)

    def of(content: Content) -> bytes:
        return payload.encoded(_message(notification, content, now_us))

    built = Built(*payload.fitted(notification.content, limit - ENVELOPE_BYTES, of))
    payload.check_size("Huawei", built.size_bytes, limit)
    return built


def dropped(notification: Notification, now_us: int) -> tuple[str, ...]:
    """Paths of what is set and Push Kit has no place for, or only with another value."""
    content, key = notification.content, notification.collapse_key
    shows = _shows_text(content)
    opens = shows and _click_action(content.link)["type"] != _OPEN_APP
    # Launchers show no more than 99: what is sent is not what was set.
    badge_fits = shows and content.badge is not None and content.badge <= BADGE_MAX
    carried = _ALWAYS_CARRIED | (_CARRIED_SHOWN if shows else frozenset()) | ({"badge"} if badge_fits else set())
    return (
        *payload.lost(content, carried, () if opens else ("link",)),
        *payload.unmet(
            priority=notification.urgency is Priority.LOW,
            collapse_key=bool(key) and not shows and not _GROUP.fullmatch(key),
            ttl=_ttl_s(notification, now_us) != notification.left_s(now_us),
        ),
    )


_ALWAYS_CARRIED = frozenset({"data", "link", "silent", "hms", "hms_json"})
_CARRIED_SHOWN = payload.TEXTS | {"image_url", "sound", "thread_id", "android_channel_id"}


def _given(**parts: Any) -> dict[str, Any]:
    return {key: value for key, value in parts.items() if value}


def _message(notification: Notification, content: Content, now_us: int) -> dict[str, Any]:
    shown = _given(title=content.title, body=content.body, image=content.image_url)
    own_id = {"notification_id": notification.notification_id}
    message = _given(
        notification=shown if _shows_text(content) else {},
        data=payload.encoded(_given(link=content.link) | dict(content.data) | own_id).decode(),
        android=_android(notification, content, now_us),
    )
    if not content.hms_json:
        return message
    message = payload.patched(message, content.hms_json, "hms_json", SHAPE, TARGET_KEYS)
    message["data"] = _with(own_id, message.get("data"))
    android = message.get("android", {})
    if "data" in android:  # which devices get instead of the message's own
        android["data"] = _with(own_id, android["data"])
    return message


def _with(own_id: dict[str, str], data: str | dict[str, Any] | None) -> str:
    """The data that a patch has made, as a string and with the notification's id in it."""
    if isinstance(data, str):
        data = payload.json_object(data, "hms_json: data")
    return payload.encoded((data or {}) | own_id).decode()


def _shows_text(content: Content) -> bool:
    texts = (content.title, content.body, content.image_url, content.title_loc_key, content.body_loc_key)
    return any(texts) and not content.silent


def _android(notification: Notification, content: Content, now_us: int) -> dict[str, Any]:
    group = notification.collapse_key if _GROUP.fullmatch(notification.collapse_key) else ""
    return _given(
        # Huawei has but 100 groups. A key that is not the number of one goes into `tag` alone: were it hashed into a
        # group, a message of another key could take its place while the device is offline.
        collapse_key=int(group) if group else _STORE_ALL,
        urgency="HIGH" if notification.urgency is Priority.HIGH else "NORMAL",
        ttl=f"{_ttl_s(notification, now_us)}s",
        category=content.hms.category,
        bi_tag=content.hms.bi_tag,
        target_user_type=_TEST_USER if content.hms.test_message else 0,
        notification=_shown(notification, content) if _shows_text(content) else {},
    )


def _shown(notification: Notification, content: Content) -> dict[str, Any]:
    return _given(
        click_action=_click_action(content.link),
        badge={} if content.badge is None else {"set_num": min(max(content.badge, 0), BADGE_MAX)},
        channel_id=content.android_channel_id,
        **_sound(content.sound),
        group=content.thread_id,
        # Push Kit knows no duplicates; with a tag a repeat replaces what is shown instead of standing beside it.
        tag=notification.collapse_key or notification.notification_id,
        title_loc_key=content.title_loc_key,
        title_loc_args=content.title_loc_args,
        body_loc_key=content.body_loc_key,
        body_loc_args=content.body_loc_args,
    )


def _click_action(link: str) -> dict[str, Any]:
    """What a tap does: Huawei opens https addresses by itself, the app opens everything else."""
    if link.startswith("https://"):
        return {"type": _OPEN_URL, "url": link}
    deep = _DEEP_LINK.fullmatch(link)
    if deep is None:
        return {"type": _OPEN_APP}
    # The form of Android's Intent.toUri; 0x4000000 reuses the app's open task.
    intent = f"intent://{deep[2]}#Intent;scheme={deep[1]};launchFlags=0x4000000;end"
    return {"type": _OPEN_INTENT, "intent": intent}


def _sound(sound: str) -> dict[str, Any]:
    """Sounds are files of the app in /res/raw, named without their ending."""
    if not sound or sound == "default":
        return {"default_sound": bool(sound)}
    return {"sound": sound if sound.startswith("/") else f"/raw/{sound.partition('.')[0]}"}


def _ttl_s(notification: Notification, now_us: int) -> int:
    """Whole seconds that remain. Huawei documents no 0, so one try without a store is the shortest wait there is."""
    return min(max(notification.left_s(now_us), 1), TTL_S_MAX)
