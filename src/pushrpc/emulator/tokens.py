"""Device tokens: what the emulated services believe of each, and realistic ones by the thousand."""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

TOKENS_MAX = 1_000_000
"""Tokens one book holds: about 300 MiB, and as many as any run on one machine registers."""

APNS_TOKEN = re.compile(r"(?:[0-9a-fA-F]{2}){1,100}")
"""Hex, an even number of digits. Apple: never assume a length; today it is 64 digits, for some kinds more."""

FCM_TOKEN = re.compile(r"[A-Za-z0-9_-]{10,64}:[A-Za-z0-9_-]{60,4000}")
"""The usual shape of a registration token; Google documents none."""

HMS_TOKEN = re.compile(r"[A-Za-z0-9_-]{30,400}")
"""The usual shape of a Push Kit token, which has no fixed length; Huawei documents none."""


class TokenState(StrEnum):
    LIVE = "live"
    UNREGISTERED = "unregistered"
    EXPIRED = "expired"
    THROTTLED = "throttled"
    OFFLINE = "offline"  # WNS only: the device is not connected
    MUTED = "muted"  # WNS only: the device takes no notifications
    MOVED = "moved"  # Web Push only: the endpoint has another URL now


@dataclass(frozen=True, slots=True)
class Token:
    """What a service believes of a token.

    `since_ms`: when it died, for unregistered and expired; 0 = the time of the answer. `until_ms`: when throttling
    ends; 0 = not by itself. `environment` (APNs: production, sandbox) and `app` (bundle id, Firebase project) say
    where it belongs; empty = anywhere. `moved_to`: the Location that a moved one answers, whatever it is.
    """

    state: TokenState = TokenState.LIVE
    since_ms: int = 0
    until_ms: int = 0
    environment: str = ""
    app: str = ""
    moved_to: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", TokenState(self.state))
        object.__setattr__(self, "since_ms", int(self.since_ms))
        object.__setattr__(self, "until_ms", int(self.until_ms))

    def as_json(self) -> dict[str, object]:
        return asdict(self)


class TokenBook:
    """The tokens of one provider. A well-formed one that nobody registered is `unknown`: live unless set otherwise."""

    def __init__(self, unknown: Token | None = None) -> None:
        self.unknown = unknown or Token()
        self._tokens: dict[str, Token] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def get(self, token: str) -> Token | None:
        """The registered token, or None."""
        return self._tokens.get(token)

    def put(self, tokens: Iterable[str], belief: Token) -> None:
        """Raises ValueError past TOKENS_MAX."""
        for token in tokens:
            if len(self._tokens) >= TOKENS_MAX and token not in self._tokens:
                raise ValueError(f"no more than {TOKENS_MAX} tokens")
            self._tokens[token] = belief

    def items(self) -> Iterator[tuple[str, Token]]:
        yield from self._tokens.items()

    def clear(self) -> None:
        self._tokens.clear()


def apns_tokens(count: int, *, seed: int = 0) -> list[str]:
    """`count` different device tokens of 64 hex digits; the same for the same seed."""
    source = random.Random(f"apns/{seed}")
    return [source.randbytes(32).hex() for _ in range(count)]


def fcm_tokens(count: int, *, seed: int = 0) -> list[str]:
    """`count` different registration tokens (22 characters, a colon, APA91b and 134 more); the same of one seed."""
    source = random.Random(f"fcm/{seed}")

    def letters(characters: int) -> str:
        return base64.urlsafe_b64encode(source.randbytes(characters)).decode()[:characters]

    return [f"{letters(22)}:APA91b{letters(134)}" for _ in range(count)]


def hms_tokens(count: int, *, seed: int = 0) -> list[str]:
    """`count` different Push Kit tokens of 130 characters; the same for the same seed."""
    source = random.Random(f"hms/{seed}")
    return ["IQAAAACy" + base64.urlsafe_b64encode(source.randbytes(92)).decode()[:122] for _ in range(count)]
