"""What Push Kit holds against a message: Huawei's rules for the v1 `message` object.

From Huawei's "Sending Downlink Messages" and the checks of its server demos. A flaw is a result code with its text;
"80100003" is about the structure, "80100001" about a value. Names that are not known are passed over, as Huawei does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

BODY_BYTES_MAX = 4096
TARGETS = ("token", "topic", "condition")
TTL_S_MAX = 15 * 24 * 3600
BI_TAG_BYTES_MAX = 64

_TTL = re.compile(r"([0-9]{1,9})(?:\.[0-9]{1,9})?[sS]?")
_TOPIC = re.compile(r"[\w.~%-]{1,900}")
_CONDITION = re.compile(r"[\s()!]*'[^']+' in topics[\s()]*(?:(?:&&|\|\|)[\s()!]*'[^']+' in topics[\s()]*)*")
_CLICKS = {1: ("intent", "action"), 2: ("url",), 3: (), 4: ("rich_resource",)}


class Flaw(NamedTuple):
    code: str
    msg: str


def _is_number(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


_NOTIFICATION: Mapping[str, Callable[[Any], bool]] = dict.fromkeys(("title", "body", "image"), _is_text)
_ANDROID: Mapping[str, Callable[[Any], bool]] = {
    "urgency": lambda value: value in ("HIGH", "NORMAL"),
    "category": _is_text,
    "bi_tag": lambda value: isinstance(value, str) and len(value.encode()) <= BI_TAG_BYTES_MAX,
    "fast_app_target": _is_number(1, 2),
    "target_user_type": _is_number(0, 1),
    "data": _is_text,
}
_SHOWN: Mapping[str, Callable[[Any], bool]] = {
    **_NOTIFICATION,
    **dict.fromkeys(
        ("channel_id", "sound", "tag", "group", "title_loc_key", "body_loc_key", "notify_summary"), _is_text
    ),
    **dict.fromkeys(("title_loc_args", "body_loc_args"), _is_texts),
    "default_sound": lambda value: isinstance(value, bool),
    "importance": lambda value: value in ("HIGH", "NORMAL", "LOW"),
    "visibility": lambda value: value in ("VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"),
    "color": lambda value: isinstance(value, str) and re.fullmatch("#[0-9A-Fa-f]{6}", value) is not None,
}


def counted_bytes(request: Mapping[str, Any]) -> int:
    """The size of a request as Huawei counts it: without its tokens."""
    message = {name: value for name, value in request["message"].items() if name != "token"}
    return len(json.dumps({**request, "message": message}, ensure_ascii=False, separators=(",", ":")).encode())


def flaws(message: Mapping[str, Any]) -> Iterator[Flaw]:
    """The first is what Huawei answers. Whether tokens are valid, and how many there are, is not looked at."""
    targets = [name for name in TARGETS if message.get(name)]
    if len(targets) > 1:
        yield Flaw("80100001", "token, topic and condition exclude each other")
    if "topic" in targets and not (isinstance(message["topic"], str) and _TOPIC.fullmatch(message["topic"])):
        yield Flaw("80100001", "Illegal topic")
    if "condition" in targets and not _is_condition(message["condition"]):
        yield Flaw("80100001", "Illegal condition")
    if not isinstance(message.get("data", ""), str):
        yield Flaw("80100003", "Illegal payload, data is not a string")
    shown = message.get("notification", {})
    if not isinstance(shown, dict):
        yield Flaw("80100003", "Illegal payload, notification is not an object")
    else:
        yield from _unfit("notification", shown, _NOTIFICATION)
    android = message.get("android", {})
    if not isinstance(android, dict):
        yield Flaw("80100003", "Illegal payload, android is not an object")
        return
    yield from _android_flaws(android)


def _is_condition(condition: object) -> bool:
    return (
        isinstance(condition, str)
        and _CONDITION.fullmatch(condition) is not None
        and condition.count("(") == condition.count(")")
        and condition.count(" in topics") <= 5
    )


def _unfit(path: str, values: Mapping[str, Any], rules: Mapping[str, Callable[[Any], bool]]) -> Iterator[Flaw]:
    for name, fits in rules.items():
        if name in values and not fits(values[name]):
            yield Flaw("80100003", f"Illegal payload, {path}.{name}")


def _android_flaws(android: Mapping[str, Any]) -> Iterator[Flaw]:
    if not _is_number(-1, 100)(android.get("collapse_key", -1)):
        yield Flaw("80100013", "collapse_key value ranges from -1 to 100")
    ttl = android.get("ttl", "86400s")
    match = _TTL.fullmatch(ttl) if isinstance(ttl, str) else None
    if match is None or not 0 < int(match[1]) <= TTL_S_MAX:
        yield Flaw("80100001", f"ttl value ranges from 1s to {TTL_S_MAX}s")
    yield from _unfit("android", android, _ANDROID)
    shown = android.get("notification")
    if shown is None:
        return
    if not isinstance(shown, dict):
        yield Flaw("80100003", "Illegal payload, android.notification is not an object")
        return
    yield from _unfit("android.notification", shown, _SHOWN)
    yield from _badge_flaws(shown.get("badge", {}))
    given = shown.get("click_action")
    click: dict[str, Any] = given if isinstance(given, dict) else {}
    kind = click.get("type", 0)
    if not _is_number(1, 4)(kind):
        yield Flaw("80100003", "Illegal payload, click_action type value ranges from 1 to 4")
    elif _CLICKS[kind] and not any(isinstance(click.get(name), str) and click[name] for name in _CLICKS[kind]):
        yield Flaw("80100003", f"Illegal payload, click_action of type {kind} needs {' or '.join(_CLICKS[kind])}")


def _badge_flaws(badge: object) -> Iterator[Flaw]:
    if not isinstance(badge, dict):
        yield Flaw("80100003", "Illegal payload, badge is not an object")
        return
    if not _is_number(1, 99)(badge.get("add_num", 1)):
        yield Flaw("80100003", "Illegal payload, badge addNum value ranges from 1 to 99")
    if not _is_number(0, 99)(badge.get("set_num", 0)):
        yield Flaw("80100003", "Illegal payload, badge setNum value ranges from 0 to 99")
