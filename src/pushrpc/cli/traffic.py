"""What the demo sends, and what goes wrong on the way: all of it from one seed, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from pushrpc.emulator.tokens import apns_tokens, fcm_tokens
from pushrpc.v1 import devices_pb2, enums_pb2, sending_pb2
from pushrpc.v1.enums_pb2 import PROVIDER_APNS, PROVIDER_FCM

APP_ID = "shop"
APNS_SHARE = 0.6
DEAD_SHARE = 0.03
USER_SHARE = 0.05  # of the tokens belong to registered users with a phone of each kind
SINGLE_SHARE = 0.2  # go through the bulk stream, each with a text of its own
CALL_TARGETS_MAX = 1_000
BULK_SENDS_MAX = 250
MALFORMED = ("not-hex", "abc", "0" * 63)
"""Apple could not have issued any of these."""


class Plan(NamedTuple):
    """Tokens of every kind; each one gets exactly one delivery."""

    apns: Sequence[str]
    fcm: Sequence[str]
    dead_apns: Sequence[str]
    dead_fcm: Sequence[str]
    users: int

    @property
    def planned(self) -> int:
        return len(self.apns) + len(self.fcm)

    def registrations(self) -> Iterator[devices_pb2.RegisterDeviceRequest]:
        """An iPhone and an Android phone for every user."""
        for number in range(self.users):
            for provider, token in ((PROVIDER_APNS, self.apns[number]), (PROVIDER_FCM, self.fcm[number])):
                yield devices_pb2.RegisterDeviceRequest(
                    app_id=APP_ID, provider=provider, token=token, user_id=f"u-{number}", tags=["demo"]
                )

    def calls(self) -> Iterator[sending_pb2.SendNotificationRequest]:
        """Unary calls of up to 1,000 targets: the users, then raw tokens; the last one carries the malformed tokens."""
        if self.users:
            yield _send("users", sending_pb2.Target(user_ids=[f"u-{number}" for number in range(self.users)]))
        apns, fcm = self._raw(self.apns), self._raw(self.fcm)
        for number, tokens in enumerate(_batches(apns, CALL_TARGETS_MAX)):
            yield _send(f"apns-{number}", _to(PROVIDER_APNS, tokens))
        for number, tokens in enumerate(_batches(fcm, CALL_TARGETS_MAX)):
            yield _send(f"fcm-{number}", _to(PROVIDER_FCM, tokens))
        yield _send("malformed", _to(PROVIDER_APNS, MALFORMED))

    def bulk(self) -> Iterator[sending_pb2.SendNotificationsRequest]:
        """The bulk stream: single sends, each with its own text."""
        singles = [(PROVIDER_APNS, t) for t in self._single(self.apns)]
        singles += [(PROVIDER_FCM, t) for t in self._single(self.fcm)]
        for sequence, part in enumerate(_batches(singles, BULK_SENDS_MAX)):
            request = sending_pb2.SendNotificationsRequest(app_id=APP_ID, sequence=sequence)
            for number, (provider, token) in enumerate(part, sequence * BULK_SENDS_MAX):
                send = _send(f"single-{number}", _to(provider, [token]))
                send.message.body = f"Your order {number} is on its way"
                request.sends.append(send)
            yield request

    def _raw(self, tokens: Sequence[str]) -> Sequence[str]:
        return tokens[self.users : len(tokens) - len(self._single(tokens))]

    def _single(self, tokens: Sequence[str]) -> Sequence[str]:
        return tokens[len(tokens) - int(len(tokens) * SINGLE_SHARE) :]


def plan(count: int, seed: int) -> Plan:
    apns = apns_tokens(round(count * APNS_SHARE), seed=seed)
    fcm = fcm_tokens(count - len(apns), seed=seed)
    users = min(int(count * USER_SHARE), CALL_TARGETS_MAX, len(fcm) // 2)
    source = random.Random(seed)
    dead = [source.sample(tokens, max(1, int(len(tokens) * DEAD_SHARE))) for tokens in (apns, fcm)]
    return Plan(apns, fcm, dead[0], dead[1], users)


def faults(made: Plan) -> Sequence[dict[str, object]]:
    """A bad day at both providers, as the emulators' script. Every one of these ends in an answer for every token."""
    apns, fcm = len(made.apns), len(made.fcm)
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


def _to(provider: enums_pb2.Provider.ValueType, tokens: Sequence[str]) -> sending_pb2.Target:
    return sending_pb2.Target(tokens=[sending_pb2.TokenTarget(provider=provider, tokens=tokens)])


_T = TypeVar("_T")


def _batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[at : at + size] for at in range(0, len(items), size))
