"""Faults by script: what goes wrong, for whom and how often, the same every time for the same seed.

A fault is plain JSON, so tests and the control API share it:

    {"provider": "apns", "action": "status", "status": 503, "reason": "ServiceUnavailable", "share": 0.1}

Which requests it hits: all of `provider` ("apns", "fcm", "wns", "web_push", "hms", "notification_hubs" for sends to
hubs, beside "hub_installations" and "hub_telemetry"; or a token endpoint: "oauth" for Google's, "wns_oauth" for
Microsoft's, "hms_oauth" for Huawei's), narrowed by
    token    one device token, of a request with many its first; empty = any
    share    this part of them, 0 to 1. Drawn from the seed, the token and how often that token was tried, so the
             order in which requests of different tokens arrive changes nothing
    nth      only the nth request that matches, from 1; 0 = any
    count    at most so many times; 0 = no limit
What then happens, by `action`:
    status   refused with `status` and `reason`; `retry_after_s` adds Retry-After, as a date with `retry_after_date`
    delay    answered normally after `delay_s`; `delay_s` also delays every other action
    reset    the stream is reset with `code` (RFC 9113 §7; 7 is REFUSED_STREAM) at the point `at`
    close    the connection is closed at the point `at`
    silence  never answered; the connection stays
    goaway   GOAWAY with `code` and, as debug data, `reason`. Its last stream id is this request's plus `last_offset`
             (0: this one is still answered, -2: this one surely was not processed); the connection closes when the
             streams up to there are answered
    settings SETTINGS with `streams_max` and `window_bytes` where set, then the normal answer
    at       "before_headers", "after_headers" or "half_body" of the answer
    taken    the message is accepted and journaled although its sender never hears so (reset, close, silence)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from hashlib import blake2b

PROVIDERS = (
    *("apns", "fcm", "oauth", "wns", "wns_oauth", "web_push", "hms", "hms_oauth"),
    *("notification_hubs", "hub_installations", "hub_telemetry"),
)

FAULTS_MAX = 1_000
"""Faults in one script: each request looks through them in order."""

TRIES_MAX = 1_000_000
"""Tokens whose tries are remembered for `share`; the oldest are forgotten first and start again at one."""


class Action(StrEnum):
    STATUS = "status"
    DELAY = "delay"
    RESET = "reset"
    CLOSE = "close"
    SILENCE = "silence"
    GOAWAY = "goaway"
    SETTINGS = "settings"


class Point(StrEnum):
    BEFORE_HEADERS = "before_headers"
    AFTER_HEADERS = "after_headers"
    HALF_BODY = "half_body"


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of a script; its fields are explained at the top of the file. Raises ValueError when it is none."""

    provider: str
    action: Action
    token: str = ""
    share: float = 1.0
    nth: int = 0
    count: int = 0
    delay_s: float = 0.0
    status: int = 0
    reason: str = ""
    retry_after_s: int | None = None
    retry_after_date: bool = False
    code: int = 0
    at: Point = Point.BEFORE_HEADERS
    taken: bool = False
    last_offset: int = 0
    streams_max: int | None = None
    window_bytes: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "action", Action(self.action))
        object.__setattr__(self, "at", Point(self.at))
        if self.provider not in PROVIDERS:
            raise ValueError(f"provider {self.provider!r} is not one of {', '.join(PROVIDERS)}")
        if not 0 <= self.share <= 1:
            raise ValueError("share is a part between 0 and 1")
        if self.action is Action.STATUS and not 200 <= self.status <= 599:
            raise ValueError("action status needs a status from 200 to 599")
        if not (0 <= self.delay_s < math.inf and self.nth >= 0 and self.count >= 0):
            raise ValueError("delay_s, nth and count are not negative")

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Fault:
        """Raises ValueError, naming what is wrong."""
        unknown = value.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"a fault has no {', '.join(sorted(unknown))}")
        try:
            return cls(**value)  # type: ignore[arg-type]
        except TypeError as error:
            raise ValueError(f"not a fault: {error}") from None

    def as_json(self) -> dict[str, object]:
        """Only what differs from the defaults, so that a script reads back as it was written."""
        defaults = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}


class Script:
    """The faults in force, in order: the first one that fires is the one that happens."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self.clear()

    def clear(self) -> None:
        """Forgets faults and tries, and numbers from one again: the same script then does the same."""
        self._number = 0
        self._faults: dict[int, Fault] = {}
        self._seen: dict[int, int] = {}
        self._fired: dict[int, int] = {}
        self._tries: dict[tuple[str, str], int] = {}

    def add(self, fault: Fault) -> int:
        """The fault's number, for removing it. Raises ValueError past FAULTS_MAX."""
        if len(self._faults) >= FAULTS_MAX:
            raise ValueError(f"no more than {FAULTS_MAX} faults")
        self._number += 1
        self._faults[self._number] = fault
        self._seen[self._number] = self._fired[self._number] = 0
        return self._number

    def remove(self, number: int) -> bool:
        return self._faults.pop(number, None) is not None

    def fired(self, number: int) -> int:
        """How often a fault has happened."""
        return self._fired.get(number, 0)

    def as_json(self) -> list[dict[str, object]]:
        return [
            {"number": number, **fault.as_json(), "fired": self._fired[number]}
            for number, fault in self._faults.items()
        ]

    def next(self, provider: str, token: str) -> Fault | None:
        """What goes wrong with this request, if anything."""
        if not self._faults:
            return None
        tries = self._try(provider, token)
        for number, fault in self._faults.items():
            if fault.provider != provider or fault.token not in ("", token):
                continue
            self._seen[number] += 1
            if self._fires(number, fault, token, tries):
                self._fired[number] += 1
                return fault
        return None

    def _fires(self, number: int, fault: Fault, token: str, tries: int) -> bool:
        if fault.nth and self._seen[number] != fault.nth:
            return False
        if fault.count and self._fired[number] >= fault.count:
            return False
        return fault.share >= 1 or self._draw(number, token, tries) < fault.share

    def _draw(self, number: int, token: str, tries: int) -> float:
        digest = blake2b(f"{self._seed}/{number}/{token}/{tries}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64

    def _try(self, provider: str, token: str) -> int:
        tries = self._tries.pop((provider, token), 0) + 1
        if len(self._tries) >= TRIES_MAX:
            del self._tries[next(iter(self._tries))]
        self._tries[provider, token] = tries
        return tries
