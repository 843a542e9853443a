"""A hub's installations: written whole, patched, read back, and chosen by tags of their own and of the hub's making."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from pushrpc.emulator.notification_hubs_message import BY_WORD
from pushrpc.emulator.notification_hubs_tags import TAG

INSTALLATIONS_MAX = 100_000
"""Installations one hub keeps; about 200 MiB."""
TAGS_MAX = 60
_ID = re.compile(r"[A-Za-z0-9_@#.:=-]{1,256}")
_KEYS = frozenset(
    {
        *("installationId", "platform", "pushChannel", "tags", "templates", "userId", "expirationTime"),
        *("secondaryTiles", "pushVariables"),
    }
)
_READ_ONLY = frozenset({"lastUpdate", "pushChannelExpired", "expiredPushChannel"})


@dataclass(frozen=True, slots=True)
class Installation:
    """`templates` are bodies by name; `tags` include those that the hub makes itself."""

    installation_id: str
    platform: str
    handle: str
    tags: Set[str]
    templates: Mapping[str, str]
    written: Mapping[str, Any]


class Installations:
    """Those of one hub. Iterating yields them in the order in which they first came."""

    def __init__(self) -> None:
        self._kept: dict[str, Installation] = {}

    def __iter__(self) -> Iterator[Installation]:
        return iter(list(self._kept.values()))

    def clear(self) -> None:
        self._kept.clear()

    def put(self, installation_id: str, body: object, now: str) -> None:
        """Creates or overwrites. Raises ValueError, saying what is wrong."""
        if len(self._kept) >= INSTALLATIONS_MAX and installation_id not in self._kept:
            raise ValueError(f"no more than {INSTALLATIONS_MAX} installations")
        self._kept[installation_id] = _read(installation_id, body, now)

    def patch(self, installation_id: str, changes: object, now: str) -> None:
        """JSON Patch as hubs understand it. Raises KeyError when there is none, and ValueError."""
        written = dict(self._kept[installation_id].written)
        if not isinstance(changes, list) or not changes:
            raise ValueError("a patch is a JSON array of operations")
        for change in changes:
            _change(written, change)
        self.put(installation_id, written, now)

    def get(self, installation_id: str) -> Mapping[str, Any] | None:
        installation = self._kept.get(installation_id)
        return None if installation is None else installation.written

    def remove(self, installation_id: str) -> None:
        self._kept.pop(installation_id, None)

    def expire(self, handles: Iterable[str]) -> None:
        """Removes the installations of handles that turned out dead."""
        if dead := set(handles):
            self._kept = {key: each for key, each in self._kept.items() if each.handle not in dead}


def _read(installation_id: str, body: object, now: str) -> Installation:
    if not isinstance(body, dict):
        raise ValueError("not a JSON object")
    written = {key: value for key, value in body.items() if key not in _READ_ONLY and value is not None}
    if unknown := written.keys() - _KEYS:
        raise ValueError(f"unknown property {min(unknown)}")
    if written.get("installationId") != installation_id or not _ID.fullmatch(installation_id):
        raise ValueError("installationId is not the one in the path, or has letters that an id may not have")
    platform = str(written.get("platform", "")).lower()
    if platform not in BY_WORD:
        raise ValueError("platform is missing or unknown")
    tags = written.get("tags", [])
    if not isinstance(tags, list) or len(tags) > TAGS_MAX or not all(_is_tag(tag) for tag in tags):
        raise ValueError(f"tags are at most {TAGS_MAX}, each of 1 to 120 letters, digits and _@#.:-")
    user_id = written.get("userId", "")
    implicit = {f"$InstallationId:{{{installation_id}}}"} | ({f"$UserId:{{{user_id}}}"} if user_id else set())
    handle = _handle(platform, written.get("pushChannel"))
    templates = _templates(written.get("templates", {}))
    written |= {"lastUpdate": now, "pushChannelExpired": False}
    return Installation(installation_id, platform, handle, frozenset(tags) | implicit, templates, written)


def _is_tag(tag: object) -> bool:
    return isinstance(tag, str) and TAG.fullmatch(tag) is not None


def _handle(platform: str, channel: object) -> str:
    if platform == "browser":
        parts = channel if isinstance(channel, dict) else {}
        if not all(isinstance(parts.get(key), str) and parts[key] for key in ("endpoint", "p256dh", "auth")):
            raise ValueError("a browser's pushChannel has endpoint, p256dh and auth")
        return str(parts["endpoint"])
    if not isinstance(channel, str) or not channel:
        raise ValueError("pushChannel is missing")
    return channel


def _templates(templates: object) -> Mapping[str, str]:
    if not isinstance(templates, dict):
        raise ValueError("templates are an object")
    bodies = {name: each.get("body") if isinstance(each, dict) else None for name, each in templates.items()}
    if not all(isinstance(body, str) for body in bodies.values()):
        raise ValueError("a template has a body")
    return {name: str(body) for name, body in bodies.items()}


def _change(written: dict[str, Any], change: object) -> None:
    """One operation. Of /tags the last part is the tag itself; of /templates it is the template's name."""
    given = change if isinstance(change, dict) else {}
    operation, value = given.get("op"), given.get("value")
    key, _, inner = str(given.get("path", "")).strip("/").partition("/")
    if operation not in ("add", "replace", "remove") or key not in _KEYS - {"installationId"}:
        raise ValueError("an operation is add, replace or remove, with the path of a property")
    if key == "tags" and (inner or operation == "add"):
        tags = [tag for tag in written.get("tags", []) if tag != (inner or value)]
        written["tags"] = tags if operation == "remove" else [*tags, value]
    elif inner and "/" not in inner:
        within = dict(written.get(key) or {})
        within.pop(inner, None)
        written[key] = within if operation == "remove" else within | {inner: value}
    elif inner:
        raise ValueError("the path is too deep")
    elif operation == "remove":
        written.pop(key, None)
    else:
        written[key] = value
