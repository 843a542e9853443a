"""What the demo sends, and what goes wrong on the way: all of it from one seed, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from pushrpc.v1 import devices_pb2, enums_pb2, sending_pb2
from pushrpc.words import HubPlatform, Provider

APP_ID = "shop"
SHARES = {
    Provider.FCM: 0.25,
    Provider.HMS: 0.09,
    Provider.WNS: 0.08,
    Provider.WEB_PUSH: 0.08,
    Provider.NOTIFICATION_HUBS: 0.05,
}
"""Of all tokens; APNs has the rest."""
DEAD_SHARE = 0.03
USER_SHARE = 0.05  # of the tokens belong to registered users with two phones and a browser each
SINGLE_SHARE = 0.2  # go through the bulk stream, each with a text of its own
CALL_TARGETS_MAX = 1_000
BULK_SENDS_MAX = 250
MALFORMED = ("not-hex", "abc", "0" * 63)
"""Apple could not have issued any of these."""
REGISTERED = (Provider.APNS, Provider.FCM, Provider.WEB_PUSH)
SINGLE = (Provider.APNS, Provider.FCM)
TELL_DEAD = frozenset(Provider) - {Provider.UNSPECIFIED, Provider.NOTIFICATION_HUBS}
"""Providers that say at once that a token is dead; a hub takes everything and tells later."""


class Reach(NamedTuple):
    """A token, of a browser with its keys."""

    token: str
    p256dh: str = ""
    auth: str = ""


class Plan(NamedTuple):
    """How many tokens each provider gets, before anybody has made them."""

    counts: Mapping[Provider, int]
    users: int
    seed: int

    @property
    def planned(self) -> int:
        return sum(self.counts.values())

    def dead(self, provider: Provider) -> int:
        return max(1, int(self.counts[provider] * DEAD_SHARE)) if provider in TELL_DEAD else 0

    def traffic(self, reaches: Mapping[Provider, Sequence[Reach]]) -> Traffic:
        """`reaches` has as many as planned."""
        source = random.Random(self.seed)
        dead = {
            provider: [reach.token for reach in source.sample(list(reaches[provider])[1:], self.dead(provider))]
            for provider in self.counts
            if self.dead(provider)
        }
        return Traffic(reaches, dead, self.users)


class Traffic(NamedTuple):
    """Tokens of every kind; each one gets exactly one delivery. One call reaches the first of every provider."""

    reaches: Mapping[Provider, Sequence[Reach]]
    dead: Mapping[Provider, Sequence[str]]
    users: int

    def registrations(self) -> Iterator[devices_pb2.RegisterDeviceRequest]:
        """An iPhone, an Android phone and a browser for every user."""
        for number in range(self.users):
            for provider in REGISTERED:
                token, p256dh, auth = self.reaches[provider][1 + number]
                yield devices_pb2.RegisterDeviceRequest(
                    app_id=APP_ID,
                    provider=_value(provider),
                    token=token,
                    user_id=f"u-{number}",
                    tags=["demo"],
                    web_push=devices_pb2.WebPushKeys(p256dh=p256dh, auth=auth) if auth else None,
                )

    def calls(self) -> Iterator[sending_pb2.SendNotificationRequest]:
        """Unary calls of up to 1,000 targets: one of every provider, the users, then raw tokens.

        The last one carries the malformed tokens.
        """
        everywhere = [
            target for provider, of_one in self.reaches.items() for target in _to(provider, of_one[:1]).tokens
        ]
        yield _send("everywhere", sending_pb2.Target(tokens=everywhere))
        for number, users in enumerate(_batches(range(self.users), CALL_TARGETS_MAX // len(REGISTERED))):
            yield _send(f"users-{number}", sending_pb2.Target(user_ids=[f"u-{user}" for user in users]))
        for provider in self.reaches:
            for number, part in enumerate(_batches(self._raw(provider), CALL_TARGETS_MAX)):
                yield _send(f"{provider.name.lower()}-{number}", _to(provider, part))
        yield _send("malformed", _to(Provider.APNS, [Reach(token) for token in MALFORMED]))

    def bulk(self) -> Iterator[sending_pb2.SendNotificationsRequest]:
        """The bulk stream: single sends, each with its own text."""
        singles = [(provider, reach) for provider in SINGLE for reach in self._single(provider)]
        for sequence, part in enumerate(_batches(singles, BULK_SENDS_MAX)):
            request = sending_pb2.SendNotificationsRequest(app_id=APP_ID, sequence=sequence)
            for number, (provider, reach) in enumerate(part, sequence * BULK_SENDS_MAX):
                send = _send(f"single-{number}", _to(provider, [reach]))
                send.message.body = f"Your order {number} is on its way"
                request.sends.append(send)
            yield request

    def _raw(self, provider: Provider) -> Sequence[Reach]:
        start = 1 + (self.users if provider in REGISTERED else 0)
        reaches = self.reaches[provider]
        return reaches[start : len(reaches) - len(self._single(provider))]

    def _single(self, provider: Provider) -> Sequence[Reach]:
        reaches = self.reaches[provider]
        return reaches[len(reaches) - int(len(reaches) * SINGLE_SHARE) :] if provider in SINGLE else ()


def plan(count: int, seed: int) -> Plan:
    others = {provider: max(2, int(count * share)) for provider, share in SHARES.items()}
    counts = {Provider.APNS: count - sum(others.values()), **others}
    users = min(int(count * USER_SHARE), *(counts[provider] // 2 for provider in REGISTERED))
    return Plan(counts, users, seed)


def faults(made: Plan) -> Sequence[dict[str, object]]:
    """A bad day at all providers, as the emulators' script. Every one of these ends in an answer for every token."""
    apns, fcm = made.counts[Provider.APNS], made.counts[Provider.FCM]
    return [
        # A connection is closed in good order; what was above its last stream goes to another one.
        {"provider": "apns", "action": "goaway", "nth": apns // 3, "count": 1, "last_offset": -2},
        {"provider": "fcm", "action": "goaway", "nth": fcm // 3, "count": 1, "last_offset": -2},
        {"provider": "apns", "action": "status", "status": 503, "reason": "ServiceUnavailable", "share": 0.03},
        {"provider": "apns", "action": "status", "status": 500, "reason": "InternalServerError", "share": 0.01},
        {"provider": "apns", "action": "status", "status": 429, "reason": "TooManyRequests", "share": 0.01,
         "retry_after_s": 1},
        {"provider": "apns", "action": "reset", "code": 7, "share": 0.01},
        # Taken, but the answer is lost: the only honest thing is to send again, with the same apns-id.
        {"provider": "apns", "action": "reset", "code": 2, "share": 0.005, "taken": True},
        {"provider": "apns", "action": "delay", "delay_s": 0.4, "share": 0.02},
        {"provider": "oauth", "action": "status", "status": 503, "reason": "internal_failure", "count": 1},
        {"provider": "fcm", "action": "status", "status": 503, "reason": "UNAVAILABLE", "share": 0.03,
         "retry_after_s": 1},
        {"provider": "fcm", "action": "status", "status": 429, "reason": "QUOTA_EXCEEDED", "count": 2,
         "nth": 0, "share": 0.01, "retry_after_s": 1},
        {"provider": "fcm", "action": "reset", "code": 7, "share": 0.01},
        {"provider": "fcm", "action": "delay", "delay_s": 0.4, "share": 0.02},
        {"provider": "wns", "action": "status", "status": 503, "share": 0.03, "retry_after_s": 1},
        {"provider": "wns", "action": "status", "status": 406, "share": 0.02, "retry_after_s": 1},
        {"provider": "web_push", "action": "status", "status": 503, "share": 0.03, "retry_after_s": 1},
        {"provider": "web_push", "action": "status", "status": 429, "share": 0.01, "retry_after_s": 1},
        {"provider": "hms", "action": "status", "status": 503, "count": 1, "retry_after_s": 1},
        {"provider": "notification_hubs", "action": "status", "status": 503, "count": 1, "retry_after_s": 1},
    ]  # fmt: skip


def _send(request_id: str, target: sending_pb2.Target) -> sending_pb2.SendNotificationRequest:
    return sending_pb2.SendNotificationRequest(
        app_id=APP_ID,
        request_id=f"demo-{request_id}",
        target=target,
        message=sending_pb2.NotificationContent(
            title="Order shipped", body="Your order is on its way", sound="default", data={"demo": request_id}
        ),
    )


def _to(provider: Provider, reaches: Sequence[Reach]) -> sending_pb2.Target:
    to = sending_pb2.TokenTarget(provider=_value(provider))
    if provider is Provider.WEB_PUSH:
        for token, p256dh, auth in reaches:
            to.subscriptions.add(endpoint=token, p256dh=p256dh, auth=auth)
    else:
        to.tokens.extend(reach.token for reach in reaches)
    if provider is Provider.NOTIFICATION_HUBS:
        to.hub_platform = enums_pb2.HubPlatform.ValueType(HubPlatform.APNS)
    return sending_pb2.Target(tokens=[to])


def _value(provider: Provider) -> enums_pb2.Provider.ValueType:
    return enums_pb2.Provider.ValueType(provider)


_T = TypeVar("_T")


def _batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[at : at + size] for at in range(0, len(items), size))
