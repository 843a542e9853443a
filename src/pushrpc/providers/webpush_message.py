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
    check_size,
    encoded,
    fields,
    fitted,
    items,
    lost,
    must_be,
    one_of,
    patched,
    unmet,
)
from pushrpc.providers.webpush_crypto import PLAINTEXT_BYTES_MAX
from pushrpc.words import RejectReason

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
    check_size("browsers", len(built), PLAINTEXT_BYTES_MAX)
    return built, cut


_CARRIED = frozenset({"title", "body", "image_url", "data", "link", "silent", "web_push", "web_push_json"})


def dropped(notification: Notification) -> tuple[str, ...]:
    """Paths of what is set and browsers have no way to show, or we no way to hand on."""
    priority = bool(notification.content.web_push.urgency)  # which is told instead
    return (*lost(notification.content, _CARRIED, ("link",)), *unmet(priority=priority))


_IN_HEADERS = ("message.web_push.urgency", "message.web_push.topic")


def dropped_by_hub(notification: Notification) -> tuple[str, ...]:
    """The same behind a hub, which writes the headers by itself."""
    options = notification.content.web_push
    in_headers = (path for path in _IN_HEADERS if getattr(options, path.rpartition(".")[2]))
    told = lost(notification.content, _CARRIED, ("link",))
    return (*told, *in_headers, *unmet(priority=True, ttl=True))


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
