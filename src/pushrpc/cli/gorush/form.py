"""One of gorush's notifications on its way to a request of ours: what all platforms have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf.duration_pb2 import Duration

from pushrpc.cli.gorush.fields import Fields
from pushrpc.providers import apns, fcm_message
from pushrpc.providers.payload import merged
from pushrpc.v1 import enums_pb2, sending_pb2
from pushrpc.words import Provider

PRIORITIES = {"high": enums_pb2.PRIORITY_HIGH, "normal": enums_pb2.PRIORITY_NORMAL}
_PATCH_FIELDS = {Provider.APNS: "apns_json", Provider.FCM: "fcm_json", Provider.HMS: "hms_json"}


class Named(NamedTuple):
    """Who gets it: a "token", or the "topic" or "condition" of an audience."""

    kind: str
    name: str


class Form:
    """`fields` are gorush's, `message` and `options` what becomes of them; a patch holds what has no field of ours."""

    def __init__(self, provider: Provider, fields: Fields) -> None:
        self.provider = provider
        self.fields = fields
        self.message = sending_pb2.NotificationContent()
        self.options = sending_pb2.SendOptions()
        self.environment = enums_pb2.ENVIRONMENT_UNSPECIFIED
        self.provider_app_id = ""
        self._patch: dict[str, Any] = {}

    def targets(self) -> Iterator[Named]:
        """As gorush has it, `to` is one token more; that it may name a topic is older."""
        fields = self.fields
        yield from (Named("token", token) for token in fields.texts("tokens"))
        to = fields.text("to")
        if to.startswith("/topics/"):
            yield Named("topic", to.removeprefix("/topics/"))
        elif to:
            yield Named("token", to)
        if self.provider is Provider.APNS:
            return  # Apple's topic is the app
        if topic := fields.text("topic").removeprefix("/topics/"):
            yield Named("topic", topic)
        if condition := fields.text("condition"):
            yield Named("condition", condition)

    def target(self, named: Sequence[Named]) -> sending_pb2.Target:
        target = sending_pb2.Target()
        whose: dict[str, Any] = {
            "provider": enums_pb2.Provider.ValueType(self.provider),
            "provider_app_id": self.provider_app_id,
            "environment": self.environment,
        }
        if tokens := [each.name for each in named if each.kind == "token"]:
            target.tokens.add(tokens=tokens, **whose)
        for each in named:
            if each.kind != "token":
                target.provider_audiences.add(**{each.kind: each.name}, **whose)
        return target

    def read_texts(self) -> None:
        self.message.title, self.message.body = self.fields.text("title"), self.fields.text("message")
        self.options.priority = self.fields.word("priority", PRIORITIES, enums_pb2.PRIORITY_UNSPECIFIED)
        if self.fields.flag("mutable_content"):
            self.message.apns.mutable_content = True

    def read_wake(self) -> None:
        """content_available: a silent message, or one that is seen and wakes the app too."""
        message = self.message
        if not self.fields.flag("content_available"):
            return
        seen = ("title", "body", "subtitle", "sound", "image_url", "title_loc_key", "body_loc_key")
        typed = message.apns.push_type or message.apns.HasField("live_activity")
        if typed or message.HasField("badge") or any(getattr(message, name) for name in seen):
            message.apns.content_available = True
        else:
            message.silent = True

    def read_image(self, name: str, fields: Fields) -> None:
        url = fields.text(name)
        if url.startswith("https://"):
            self.message.image_url = self.message.image_url or url
        elif url:
            fields.tell(name, "left out; it is not an https address")

    def read_ttl(self, name: str, fields: Fields) -> None:
        if (ttl := fields.seconds(name)) is not None:
            self.options.ttl.CopyFrom(Duration(seconds=ttl[0], nanos=ttl[1]))

    def read_data(self, data: Mapping[str, Any], name: str) -> None:
        """Ours are texts. To Apple other values go as they are, by patch; elsewhere gorush makes JSON texts of them."""
        for key, value in data.items():
            if key == "notification_id" or apns.reserved_data_key(key) or fcm_message.reserved_data_key(key):
                self.fields.tell(f"{name}.{key}", "left out; the key is not free to use")
            elif value is None:
                self.fields.tell(f"{name}.{key}", "left out; it is null")
            elif isinstance(value, str):
                self.message.data[key] = value
            elif self.provider is Provider.APNS:
                self.patch({key: value})
            else:
                self.message.data[key] = json_text(value)

    def patch(self, patch: Mapping[str, Any]) -> None:
        self._patch = merged(self._patch, dict(patch))

    def close(self) -> None:
        """Everything was asked for: the patch is written down."""
        if self._patch:
            setattr(self.message, _PATCH_FIELDS[self.provider], json_text(self._patch))
        for name in ("apns", "fcm", "hms"):
            if not getattr(self.message, name).ListFields():
                self.message.ClearField(name)
        self.fields.finish(f"left out; gorush sends no such field to {self.provider.name}")


def json_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
