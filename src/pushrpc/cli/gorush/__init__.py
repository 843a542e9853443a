"""What gorush was asked to push, as requests of ours; what has no place here is told.

The fields are those of gorush's README ("Request body") and of its release 1.22. docs/migrating.md lists where each
goes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple, NoReturn

from pushrpc.cli.gorush.fields import Fields
from pushrpc.cli.gorush.form import Form, json_text
from pushrpc.cli.gorush.platforms import read_android, read_huawei, read_ios
from pushrpc.v1 import sending_pb2
from pushrpc.words import Provider

TARGETS_MAX = 1_000  # of one SendNotification
REQUEST_ID_BYTES_MAX = 128
LABEL_BYTES_MAX = 256
HASHED = "gorush:"  # what a request_id begins with that is made of a notif_id's hash, and no other one does
PLATFORMS = {1: (Provider.APNS, read_ios), 2: (Provider.FCM, read_android), 3: (Provider.HMS, read_huawei)}


class Imported(NamedTuple):
    """One of gorush's notifications: no requests when none could be made. `notes` say what was left out and why."""

    requests: Sequence[sending_pb2.SendNotificationRequest]
    notes: Sequence[str]


class Importer:
    """Reads gorush's request bodies for one app.

    A notif_id becomes the request_id, so that importing a file again sends nothing twice. Where it cannot, because it
    is too long, or because it names several requests inside what one importer reads, a hash stands for it: gorush, too,
    would have sent them all. Which one depends on nothing but the notif_id and how often it came before, so that a log
    that has grown since keeps the ids that it had.
    """

    def __init__(self, app_id: str) -> None:
        self._app_id = app_id
        self._seen: Counter[str] = Counter()

    def push(self, body: object) -> Iterator[Imported]:
        """Every notification of a request body. Raises ValueError when it is none."""
        notifications = body.get("notifications") if isinstance(body, dict) else None
        if not isinstance(notifications, list):
            raise ValueError('it has no "notifications" array')
        return map(self._notification, notifications)

    def _notification(self, given: object) -> Imported:
        if not isinstance(given, dict):
            return Imported((), ["is not an object"])
        try:
            json_text(given).encode()
        except UnicodeEncodeError:
            return Imported((), ["holds half a character (a lone surrogate), which no text may"])
        notes: list[str] = []
        fields = Fields(given, notes)
        platform = fields.whole("platform")
        if platform not in PLATFORMS:
            return Imported((), [*notes, "platform: is not 1 (iOS), 2 (Android) or 3 (Huawei)"])
        provider, read = PLATFORMS[platform]
        form = Form(provider, fields)
        named = list(form.targets())
        if not named:
            return Imported((), [*notes, "tokens: nobody would get it"])
        form.read_texts()
        read(form)
        form.read_wake()
        if fields.any("retry"):
            fields.tell("retry", "left out; it is tried again until it expires")
        notif_id = fields.text("notif_id")
        if len(notif_id.encode()) > LABEL_BYTES_MAX:
            fields.tell("notif_id", f"is no label; it has more than {LABEL_BYTES_MAX} bytes")
        elif notif_id:
            form.options.labels["notif_id"] = notif_id
        form.close()
        if not form.message.ListFields():
            return Imported((), [*notes, "is empty: it has nothing to show, and no data"])
        parts = [named[start : start + TARGETS_MAX] for start in range(0, len(named), TARGETS_MAX)]
        request_ids = self._request_ids(notif_id, len(parts), fields) if notif_id else [""] * len(parts)
        requests = [
            sending_pb2.SendNotificationRequest(
                app_id=self._app_id,
                request_id=request_id,
                target=form.target(part),
                message=form.message,
                options=form.options if form.options.ListFields() else None,
            )
            for part, request_id in zip(parts, request_ids, strict=True)
        ]
        return Imported(requests, notes)

    def _request_ids(self, notif_id: str, parts: int, fields: Fields) -> Sequence[str]:
        """One for each part; only the first may be the notif_id itself."""
        self._seen[notif_id] += 1
        time = self._seen[notif_id]
        ids = [_hashed(notif_id, time, part) for part in range(parts)]
        hash_of_it = "a hash of it is the request_id"
        if time > 1:
            fields.tell("notif_id", f"came before; {hash_of_it}")
        elif len(notif_id.encode()) > REQUEST_ID_BYTES_MAX:
            fields.tell("notif_id", f"has more than {REQUEST_ID_BYTES_MAX} bytes; {hash_of_it}")
        elif notif_id.startswith(HASHED):
            fields.tell("notif_id", f"begins as a hash does; {hash_of_it}")
        else:
            ids[0] = notif_id
        if parts > 1:
            fields.tell("tokens", f"become {parts} requests; from the second on a hash of notif_id is the request_id")
        return ids


def _hashed(notif_id: str, time: int, part: int) -> str:
    return HASHED + sha256(json_text([notif_id, time, part]).encode()).hexdigest()


def bodies(text: str) -> Iterator[object]:
    """Every JSON value of a text: one request body, or a log of many. Raises ValueError where one is none."""
    decoder, at = json.JSONDecoder(parse_constant=_refuse), 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        try:
            value, at = decoder.raw_decode(text, at)
        except RecursionError:
            raise ValueError("nested too deep") from None
        yield value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
