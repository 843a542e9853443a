"""What the ledger tells: events, and rows as they stand now, with the filters that choose among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pushrpc.words import (
    Cause,
    DeliveryState,
    DeviceState,
    EventKind,
    NotificationState,
    OutcomeKind,
    Provider,
)


class Event(NamedTuple):
    """One change of one delivery, as followers see it. `seq` rises with visibility and never repeats in a ledger."""

    seq: int
    app_id: str
    notification_id: str
    request_id: str
    labels: Mapping[str, str]
    device_id: str
    user_id: str
    token: str
    provider: Provider
    kind: EventKind
    state: DeliveryState
    outcome: OutcomeKind
    cause: Cause
    reason: str
    provider_message_id: str
    provider_status: int
    provider_detail: str
    attempt: int
    time_us: int
    retry_us: int
    token_replaced_by: str
    device_state: DeviceState
    final: bool


class Wanted(NamedTuple):
    """What a follower asked for. No ids: the whole app. Empty parts match everything."""

    app_id: str
    notification_ids: tuple[str, ...] = ()
    request_ids: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    final_only: bool = False
    states: frozenset[DeliveryState] = frozenset()
    kinds: frozenset[EventKind] = frozenset()


class EventPage(NamedTuple):
    """Events after a position, in order. `through_seq`: everything up to here has been looked at, told or filtered.

    `complete`: every named notification exists and is final, and nothing of them is left to tell.
    """

    events: Sequence[Event]
    through_seq: int
    caught_up: bool
    complete: bool


class Counts(NamedTuple):
    """Deliveries by state; all but `total` add up to `total`."""

    total: int = 0
    queued: int = 0
    in_flight: int = 0
    sent: int = 0
    rejected: int = 0
    unregistered: int = 0
    expired: int = 0
    cancelled: int = 0
    suppressed: int = 0
    failed: int = 0


class NotificationStatus(NamedTuple):
    """A notification as it stands now."""

    app_id: str
    notification_id: str
    request_id: str
    title: str
    labels: Mapping[str, str]
    state: NotificationState
    counts: Counts
    created_us: int
    expire_us: int
    completed_us: int
    cancelled_us: int
    first_seq: int


class AttemptStatus(NamedTuple):
    number: int
    time_us: int
    outcome: OutcomeKind
    provider_status: int
    reason: str
    provider_detail: str
    duration_us: int


class DeliveryStatus(NamedTuple):
    """A delivery as it stands now."""

    notification_id: str
    request_id: str
    labels: Mapping[str, str]
    device_id: str
    user_id: str
    token: str
    provider: Provider
    state: DeliveryState
    outcome: OutcomeKind
    cause: Cause
    reason: str
    provider_message_id: str
    attempt: int
    time_us: int
    retry_us: int
    token_replaced_by: str
    final: bool
    attempts: Sequence[AttemptStatus] = ()


class NotificationSelector(NamedTuple):
    """Notifications by exactly one of: notification_id, request_id, labels (all must match)."""

    notification_id: str = ""
    request_id: str = ""
    labels: Mapping[str, str] = {}


class NotificationFilter(NamedTuple):
    labels: Mapping[str, str] = {}
    states: frozenset[NotificationState] = frozenset()
    created_after_us: int = 0
    created_before_us: int = 0


class DeliverySelector(NamedTuple):
    """Deliveries by exactly one of these, narrowed by states."""

    notification_id: str = ""
    request_id: str = ""
    device_id: str = ""
    user_id: str = ""
    token: str = ""
    states: frozenset[DeliveryState] = frozenset()


class CancelCounts(NamedTuple):
    notification_count: int
    cancelled_count: int
    in_flight_count: int
    already_final_count: int
