"""The values of pushrpc: what the rooms hand to each other.

Instants are integer microseconds since 1970 in UTC (`_us`), spans name their unit (`_s`, `_us`).
Tokens, payloads and keys are in these values and so must never be logged whole; ids may be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from pushrpc.content import Content
from pushrpc.words import (
    AudienceKind,
    Cause,
    DeliveryState,
    DeviceState,
    Environment,
    HubPlatform,
    OutcomeKind,
    Permission,
    Priority,
    Provider,
    RejectReason,
    TokenKind,
)

# --- Names ------------------------------------------------------------------------------------------------------


def uuid7(now_us: int, random_bytes: bytes) -> str:
    """UUIDv7 text (RFC 9562 §5.7); rand_a holds the microseconds (its §6.2, method 3), the rest is 8 random bytes."""
    ms, us = divmod(now_us, 1_000)
    low = int.from_bytes(random_bytes, "big") & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    times = f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7{us * 4_096 // 1_000:03x}"
    return f"{times}-{low >> 48:04x}-{low & 0xFFFF_FFFF_FFFF:012x}"


# --- Who is reached, and through whom ---------------------------------------------------------------------------


class Lane(NamedTuple):
    """What is limited, paused and measured together. `environment` is UNSPECIFIED for all providers but APNs.

    `origin` is the https origin of the tokens' addresses where tokens are addresses (Web Push, WNS), else empty.
    """

    app_id: str
    provider: Provider
    provider_app_id: str
    environment: Environment
    origin: str = ""


class Address(NamedTuple):
    """What a push needs beside the token to reach it; all of it empty for most providers.

    `p256dh` and `auth` are a browser subscription's keys in base64url (RFC 8291 §2), `platform` is the push service
    behind a hub's handle. With an `audience` the token is no token but the name of a topic, a condition and so on.
    Of deliveries only: `moved_to` is where a push service has moved the token's endpoint since, in so many `moves`.
    """

    p256dh: str = ""
    auth: str = ""
    platform: HubPlatform = HubPlatform.UNSPECIFIED
    audience: AudienceKind | None = None
    moved_to: str = ""
    moves: int = 0

    @property
    def text(self) -> str:
        """As the ledger keeps it; empty for the empty one."""
        if self == NO_ADDRESS:
            return ""
        moved = f" {self.moves} {self.moved_to}" if self.moved_to else ""
        return f"{self.audience or ''} {int(self.platform)} {self.p256dh} {self.auth}{moved}"

    @staticmethod
    def of(text: str) -> Address:
        if not text:
            return NO_ADDRESS
        audience, platform, p256dh, auth, *moved = text.split(" ")
        moves, moved_to = moved or ("0", "")
        kind = AudienceKind(audience) if audience else None
        return Address(p256dh, auth, HubPlatform(int(platform)), kind, moved_to, int(moves))


NO_ADDRESS = Address()


_HEX = re.compile("[0-9A-Fa-f]*")
_HEX_CHARS_MIN = 64  # of an Apple token, where nothing else tells that it is one: topics have names such as FACE


def one_form(provider: Provider, token: str, platform: HubPlatform = HubPlatform.UNSPECIFIED) -> str:
    """A token as it is kept, compared and told.

    Apple's are hexadecimal, in either case the same: so lower case. A hub's are Apple's where `platform` says so; where
    that is not known, or the provider is not, those that look so.
    """
    of_hub = provider in (Provider.NOTIFICATION_HUBS, Provider.UNSPECIFIED)
    if provider is Provider.APNS or (of_hub and platform is HubPlatform.APNS):
        of_apple = True
    else:
        of_apple = of_hub and not platform and len(token) >= _HEX_CHARS_MIN
    return token.lower() if of_apple and _HEX.fullmatch(token) else token


class Refused(NamedTuple):
    """Why a target, a token or an address cannot be reached, for programs and for people."""

    reason: RejectReason
    detail: str


@dataclass(frozen=True, slots=True)
class Location:
    latitude: float
    longitude: float
    accuracy_m: float = 0.0
    time_us: int = 0


@dataclass(frozen=True, slots=True)
class Registration:
    """RegisterDevice as values. Empty means "leave what is stored"; `device_id` empty lets the ledger make one."""

    app_id: str
    provider: Provider
    provider_app_id: str
    environment: Environment
    token: str
    device_id: str = ""
    user_id: str = ""
    tags: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    locale: str = ""
    time_zone: str = ""
    location: Location | None = None
    permission: Permission = Permission.UNSPECIFIED
    token_kind: TokenKind = TokenKind.UNSPECIFIED
    installation_id: str = ""
    registered_us: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    address: Address = NO_ADDRESS
    origin: str = ""
    token_expire_us: int = 0
    replaces_token: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """A provider token of an app, with what is known about it."""

    app_id: str
    device_id: str
    provider: Provider
    provider_app_id: str
    environment: Environment
    token: str
    user_id: str = ""
    tags: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    locale: str = ""
    time_zone: str = ""
    location: Location | None = None
    permission: Permission = Permission.UNSPECIFIED
    token_kind: TokenKind = TokenKind.STANDARD
    installation_id: str = ""
    registered_us: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    state: DeviceState = DeviceState.ACTIVE
    dead_reason: str = ""
    dead_us: int = 0
    token_replaced_by: str = ""
    created_us: int = 0
    updated_us: int = 0
    seen_us: int = 0
    address: Address = NO_ADDRESS
    origin: str = ""
    token_expire_us: int = 0


class Registered(NamedTuple):
    device: Device
    created: bool
    superseded_device_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeviceChange:
    """UpdateDevice as values: `values` holds the masked Device fields, by name, cleared ones included."""

    values: Mapping[str, Any] = field(default_factory=dict)
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    add_topics: tuple[str, ...] = ()
    remove_topics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceSelector:
    """Devices by exactly one of: device_id, provider with token, user_id, installation_id."""

    device_id: str = ""
    provider: Provider = Provider.UNSPECIFIED
    token: str = ""
    user_id: str = ""
    installation_id: str = ""


@dataclass(frozen=True, slots=True)
class DeviceFilter:
    """Parts that are set must all match; values inside a part are alternatives. No states: all but REMOVED."""

    user_ids: tuple[str, ...] = ()
    providers: tuple[Provider, ...] = ()
    token_kinds: tuple[TokenKind, ...] = ()
    states: tuple[DeviceState, ...] = ()
    installation_id: str = ""
    updated_after_us: int = 0
    seen_before_us: int = 0


# --- What is sent -----------------------------------------------------------------------------------------------
#
# Nothing here is ever changed once made. Content, Notification and Send are not frozen for all that: each is made for
# every send, and Python takes 5 µs to make the three so, 1 µs otherwise.


@dataclass(slots=True, eq=False)
class Notification:
    """One accepted request: what every delivery of it shares.

    `one_try` is the caller's ttl of 0: one try, no store at the provider. `expire_us` bounds when that try may start.
    """

    key: int  # the ledger's own row number
    app_id: str
    notification_id: str
    request_id: str
    content: Content
    priority: Priority
    collapse_key: str
    at_most_once: bool
    one_try: bool
    created_us: int
    expire_us: int
    labels: Mapping[str, str]

    @property
    def urgency(self) -> Priority:
        """The priority, or what an unset one stands for: HIGH when the person sees something, NORMAL when not."""
        return self.priority or (Priority.NORMAL if self.content.silent else Priority.HIGH)

    def left_s(self, now_us: int) -> int:
        """Whole seconds that it is still worth delivering; 0 is one try, and no store at the provider."""
        return 0 if self.one_try else max((self.expire_us - now_us) // 1_000_000, 0)


class Found(NamedTuple):
    """A registered device as the audience sees it."""

    device_id: str
    user_id: str
    lane: Lane
    token: str
    token_kind: TokenKind
    installation_id: str
    state: DeviceState
    updated_us: int
    address: str = ""


class Planned(NamedTuple):
    """Deliveries to be made in one lane. The other columns are as long as `tokens`, or empty: none has one."""

    lane: Lane
    tokens: Sequence[str]
    device_ids: Sequence[str] = ()
    user_ids: Sequence[str] = ()
    addresses: Sequence[str] = ()


class Rejection(NamedTuple):
    path: str
    value: str
    provider: Provider
    reason: RejectReason
    detail: str


class Audience(NamedTuple):
    """Whom a target reaches: deliveries in target order, each token and app install once.

    `shortened` are the providers of those whose body is cut, which the caller allowed.
    """

    planned: Sequence[Planned]
    duplicate_count: int
    rejected: Sequence[Rejection]
    shortened: Sequence[Provider] = ()

    @property
    def target_count(self) -> int:
        return sum(len(planned.tokens) for planned in self.planned)


class Named(NamedTuple):
    """What a target names, for the ledger to look up inside its accept transaction."""

    device_ids: Sequence[str]
    user_ids: Sequence[str]
    tokens: Sequence[tuple[Lane, Sequence[str]]]


@dataclass(slots=True, eq=False)
class Send:
    """One SendNotification, checked and ready to be accepted.

    `resolve` is pure: the ledger calls it once inside the transaction with every device that `named` matches
    (registered tokens included), so that two sends and a registration never see half of each other.
    """

    app_id: str
    request_id: str  # empty: no idempotency
    fingerprint: bytes
    notification_id: str
    content: Content
    priority: Priority
    collapse_key: str
    at_most_once: bool
    one_try: bool
    created_us: int
    expire_us: int
    labels: Mapping[str, str]
    named: Named
    resolve: Callable[[Sequence[Found]], Audience]


class Receipt(NamedTuple):
    """What accept stored. `first_seq` is the position just before the notification's first event."""

    notification_id: str
    target_count: int
    duplicate_count: int
    rejected: Sequence[Rejection]
    first_seq: int
    expire_us: int
    replayed: bool
    shortened: Sequence[Provider] = ()


# --- What moves -------------------------------------------------------------------------------------------------


class Claimed(NamedTuple):
    """A delivery whose turn has come. `tries` counts every attempt made, `spent` those that count against the limit.

    `due_us` is the ledger's own: where the delivery stood in its queue. `address` is the text of an Address.
    """

    key: int  # the ledger's own row number
    notification: Notification
    lane: Lane
    ordinal: int
    token: str
    device_id: str
    user_id: str
    tries: int
    spent: int
    due_us: int = 0
    address: str = ""

    @property
    def own_id(self) -> str:
        """A UUID for the push: the notification's, with its last 4 bytes replaced by the delivery's ordinal.

        So every try of a delivery carries the same id, and nothing is stored for it.
        """
        return f"{own_id_prefix(self.notification.notification_id)}{self.ordinal:08x}"

    @property
    def moved_to(self) -> str:
        """Where its push service has moved the token's endpoint since the delivery was made; empty when nowhere."""
        return Address.of(self.address).moved_to if self.address.count(" ") > 3 else ""


def own_id_prefix(notification_id: str) -> str:
    """What the ids of a notification's deliveries share; the ordinal as 8 hexadecimal digits completes one."""
    return notification_id[:28].lower()


class Batch(NamedTuple):
    """Deliveries claimed together in one lane, of one notification or of many, most urgent first."""

    lane: Lane
    deliveries: Sequence[Claimed]


class Scope(Enum):
    """How far a throttle or a refused credential reaches."""

    TOKEN = "token"
    LANE = "lane"


class Outcome(NamedTuple):
    """What an attempt came to, with the provider's own words.

    kind UNSPECIFIED means NotSent: surely never processed, so no attempt was made. `retry_after_s` is the provider's
    Retry-After. `dead_since_us`: the provider's time of death (APNs 410). `renew`: a fresh credential may help.
    `close_session`: the connection is of no more use. `misdirected`: counts for the mass-dead breaker, because many of
    these mean that our settings are wrong, not the tokens. `cause`: our own word, where the provider's does not tell.
    `own_id`: the provider knows the push by the id that we gave it, `Claimed.own_id`. `ambiguous`: the provider says
    the same of a dead token and of a sender that it blocks, so that only many in a row tell which of them it is.
    `replaced_by`: the provider's newer token; with its https origin in `replaced_origin`, the device takes it and the
    push may follow it there.
    """

    kind: OutcomeKind
    provider_status: int = 0
    reason: str = ""
    detail: str = ""
    retry_after_s: float | None = None
    scope: Scope = Scope.LANE
    dead_since_us: int = 0
    replaced_by: str = ""
    renew: bool = False
    close_session: bool = False
    misdirected: bool = False
    cause: Cause = Cause.UNSPECIFIED
    own_id: bool = False
    ambiguous: bool = False
    replaced_origin: str = ""


NOT_SENT = Outcome(OutcomeKind.UNSPECIFIED)


class Settlement(NamedTuple):
    """What becomes of claimed deliveries of one lane whose attempts came to the same, at the same time.

    state QUEUED is a return: with an outcome an ATTEMPT event is written, without (NOT_SENT) nothing is told.
    `message_ids` are the provider's, one for each delivery, or none at all. `due_us` is when they may be claimed again.
    `spend`: the attempt counts. `started_us` is when the request began, the bound for declaring a device dead when the
    provider gave no time of death.
    """

    deliveries: Sequence[Claimed]
    outcome: Outcome
    message_ids: Sequence[str]
    state: DeliveryState
    cause: Cause
    due_us: int
    spend: bool
    started_us: int
    time_us: int

    def part(self, places: Sequence[int]) -> Settlement:
        """The same of some of the deliveries."""
        return self._replace(
            deliveries=[self.deliveries[place] for place in places],
            message_ids=[self.message_ids[place] for place in places] if self.message_ids else (),
        )
