"""What a web app's service worker gets: one JSON object, in which only `tag` and `data` are always there.

    {"title": text, "body": text, "icon": URL, "badge": URL, "image": URL, "tag": text,
     "actions": [{"action": text, "title": text, "icon": URL}, ...], "requireInteraction": true, "silent": true,
     "data": {"notification_id": text, "link": URL, ...the caller's own entries, all of them text}}

All but the title is what `showNotification(title, options)` takes (W3C, "Notifications API"). With `tag` a repeat
replaces what is shown, because push services know no duplicates. `silent` is a silent message: it has no texts, and
where a browser insists on showing something, that makes no sound. `data.link` is what a click opens; an entry of the
caller's own wins over it. `web_push_json` patches all but `data.notification_id`.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from pushrpc.content import Content
from pushrpc.model import Notification
from pushrpc.providers import MessageRefused
from pushrpc.providers.payload import (
    FLAG,
    NUMBER,
    OBJECT,
    TEXT,
    encoded,
    fields,
    fitted,
    items,
    must_be,
    one_of,
    patched,
)
from pushrpc.providers.webpush_crypto import PLAINTEXT_BYTES_MAX
from pushrpc.words import RejectReason

# What browsers have no way to show, or we no way to hand on.
NOT_CARRIED = (
    "subtitle",
    "badge",  # the count on the icon; the picture of that name is web_push.badge_url
    "sound",
    "category",
    "thread_id",
    "android_channel_id",
    "title_loc_key",
    "title_loc_args",
    "body_loc_key",
    "body_loc_args",
)


# W3C, "Notifications API": NotificationOptions and NotificationAction.
OPTIONS = (
    dict.fromkeys(("title", "body", "icon", "badge", "image", "tag", "lang", "navigate"), TEXT)
    | dict.fromkeys(("requireInteraction", "renotify", "silent"), FLAG)
    | {
        "actions": items(fields(dict.fromkeys(("action", "title", "icon", "navigate"), TEXT))),
        "dir": one_of("auto", "ltr", "rtl"),
        "timestamp": NUMBER,
        "vibrate": must_be("a number or a list of them", lambda value: type(value) in (int, float, list)),
    }
)
SHAPE = fields(OPTIONS | {"data": OBJECT})


def payload(notification: Notification) -> tuple[bytes, bool]:
    """What is encrypted, and whether the body was cut to fit. Raises MessageRefused."""
    built, cut = fitted(notification.content, PLAINTEXT_BYTES_MAX, partial(_built, notification))
    if len(built) > PLAINTEXT_BYTES_MAX:
        over = len(built) - PLAINTEXT_BYTES_MAX
        size = f"the payload for browsers has {len(built)} bytes, {over} more than the {PLAINTEXT_BYTES_MAX} allowed"
        raise MessageRefused(RejectReason.PAYLOAD_TOO_LARGE, size)
    return built, cut


def _built(notification: Notification, content: Content) -> bytes:
    options = content.web_push
    parts = {
        "title": content.title,
        "body": content.body,
        "icon": options.icon_url,
        "badge": options.badge_url,
        "image": content.image_url,
        "tag": notification.collapse_key or notification.notification_id,
        "actions": _actions(options.actions_json),
        "requireInteraction": options.require_interaction,
        "silent": content.silent,
    }
    built: dict[str, Any] = {name: value for name, value in parts.items() if value}
    built["data"] = ({"link": content.link} if content.link else {}) | dict(content.data)
    built = patched(built, content.web_push_json, "web_push_json", SHAPE)
    # In every payload, whatever a patch says.
    built["data"] = built.get("data", {}) | {"notification_id": notification.notification_id}
    return encoded(built)


def _actions(actions_json: str) -> list[dict[str, str]]:
    try:
        actions = json.loads(actions_json or "[]")
    except (ValueError, RecursionError):
        actions = None
    if not isinstance(actions, list) or not all(map(_is_action, actions)):
        asked = "a JSON array of objects with action and title, whose values are all texts"
        raise MessageRefused(RejectReason.FIELD_MISSING, f"web_push.actions_json: is not {asked}")
    return actions


def _is_action(value: object) -> bool:
    return (
        isinstance(value, dict)
        and bool(value.get("action") and value.get("title"))
        and all(isinstance(part, str) for part in value.values())
    )
