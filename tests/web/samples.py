"""What the provider makes of a message, as the worker gets it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from pushrpc.content import Content, WebPushOptions
from pushrpc.providers.webpush_message import payload
from tests.providers.samples import NOTIFICATION_ID, notification

ID = NOTIFICATION_ID
CONTENT = Content(
    title="Order shipped",
    body="Your order 1234 is on its way 🚚",
    image_url="https://example.com/van.png",
    link="/order.html",
    data={"order_id": "1234"},
    web_push=WebPushOptions(
        icon_url="https://example.com/icon.png",
        badge_url="https://example.com/badge.png",
        actions_json='[{"action": "track", "title": "Track it", "icon": "https://example.com/track.png"}]',
        require_interaction=True,
    ),
)


def message(content: Content = CONTENT, /, **changed: Any) -> str:
    return payload(notification(replace(content, **changed)))[0].decode()


OURS: dict[str, Any] = json.loads(message())
