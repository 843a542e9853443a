"""What gorush was asked to push, as requests of ours; what has no place here is told.

The fields are those of gorush's README ("Request body") and of its release 1.22. docs/migrating.md lists where each
goes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple, NoReturn

from pushrpc.cli.gorush.fields import Fields
from pushrpc.cli.gorush.form import Form, json_text
from pushrpc.cli.gorush.platforms import read_android, read_huawei, read_ios
from pushrpc.v1 import sending_pb2
from pushrpc.words import Provider

TARGETS_MAX = 1_000  # of one SendNotification
REQUEST_ID_BYTES_MAX = 128
LABEL_BYTES_MAX = 256
PLATFORMS = {1: (Provider.APNS, read_ios), 2: (Provider.FCM, read_android), 3: (Provider.HMS, read_huawei)}


class Imported(NamedTuple):
    """One of gorush's notifications: no requests when none could be made. `notes` say what was left out and why."""

    requests: Sequence[sending_pb2.SendNotificationRequest]
    notes: Sequence[str]


class Importer:
    """Reads gorush's request bodies for one app.

    A notif_id becomes the request_id, so that importing a file again sends nothing twice. Where it comes again inside
    what one importer reads, it gets a number: gorush, too, would have sent both.
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
            fields.tell("notif_id", f"left out; it has more than {LABEL_BYTES_MAX} bytes")
        elif notif_id:
            form.options.labels["notif_id"] = notif_id
        form.close()
        if not form.message.ListFields():
            return Imported((), [*notes, "is empty: it has nothing to show, and no data"])
        parts = [named[start : start + TARGETS_MAX] for start in range(0, len(named), TARGETS_MAX)]
        requests = [
            sending_pb2.SendNotificationRequest(
                app_id=self._app_id,
                request_id=self._request_id(notif_id),
                target=form.target(part),
                message=form.message,
                options=form.options if form.options.ListFields() else None,
            )
            for part in parts
        ]
        return Imported(requests, notes)

    def _request_id(self, notif_id: str) -> str:
        self._seen[notif_id] += 1
        times = self._seen[notif_id]
        request_id = notif_id if times == 1 else f"{notif_id}-{times}"
        return request_id if notif_id and len(request_id.encode()) <= REQUEST_ID_BYTES_MAX else ""


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
