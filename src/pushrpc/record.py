"""What the ledger tells: events, and rows as they stand now, with the filters that choose among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pushrpc.model import Device, Lane, Outcome
from pushrpc.words import (
    Cause,
    DeliveryState,
    DeviceState,
    Engagement,
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


class EventRun(NamedTuple):
    """Events in a row that say the same of several deliveries of one notification: what a page of answers becomes.

    The first has `first_seq`, and each further one the next. The columns of what differs are equally long, but for
    those that are empty as a whole: there every value is "".
    """

    first_seq: int
    app_id: str
    notification_id: str
    request_id: str
    labels: Mapping[str, str]
    provider: Provider
    kind: EventKind
    state: DeliveryState
    outcome: OutcomeKind
    cause: Cause
    reason: str
    provider_status: int
    provider_detail: str
    attempt: int
    time_us: int
    retry_us: int
    token_replaced_by: str
    device_state: DeviceState
    final: bool
    tokens: Sequence[str]
    device_ids: Sequence[str] = ()
    user_ids: Sequence[str] = ()
    message_ids: Sequence[str] = ()

    @property
    def last_seq(self) -> int:
        return self.first_seq + len(self.tokens) - 1

    def part(self, start: int, stop: int) -> EventRun:
        """The events from one place to before another, counted from 0."""
        return self._replace(
            first_seq=self.first_seq + start,
            tokens=self.tokens[start:stop],
            device_ids=self.device_ids[start:stop],
            user_ids=self.user_ids[start:stop],
            message_ids=self.message_ids[start:stop],
        )

    def events(self) -> Iterator[Event]:
        none = ("",) * len(self.tokens)
        columns = zip(
            self.tokens, self.device_ids or none, self.user_ids or none, self.message_ids or none, strict=True
        )
        for seq, (token, device_id, user_id, message_id) in enumerate(columns, self.first_seq):
            yield Event(
                seq,
                self.app_id,
                self.notification_id,
                self.request_id,
                self.labels,
                device_id,
                user_id,
                token,
                self.provider,
                self.kind,
                self.state,
                self.outcome,
                self.cause,
                self.reason,
                message_id,
                self.provider_status,
                self.provider_detail,
                self.attempt,
                self.time_us,
                self.retry_us,
                self.token_replaced_by,
                self.device_state,
                self.final,
            )


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

    runs: Sequence[EventRun]
    through_seq: int
    caught_up: bool
    complete: bool

    @property
    def events(self) -> Sequence[Event]:
        return [event for run in self.runs for event in run.events()]


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


class Report(NamedTuple):
    """What an app saw of a notification: of the device, of the token, or of the only delivery when neither is named."""

    notification_id: str
    device_id: str
    provider: Provider
    token: str
    engagement: Engagement
    time_us: int


class Unconfirmed(NamedTuple):
    """A message that its provider took, and has more to tell of."""

    lane: Lane
    message_id: str
    accepted_us: int


class Confirmation(NamedTuple):
    """What the provider told. With a `due_us` it is asked again then; without an outcome it had nothing to tell."""

    lane: Lane
    message_id: str
    outcome: Outcome | None
    due_us: int
    time_us: int


class Unsynced(NamedTuple):
    """A device that its provider keeps too, and does not know as it is now. `tries` have failed."""

    device: Device
    tries: int


class Synced(NamedTuple):
    """What became of telling the provider: done, or with a `due_us` to be tried again then."""

    device: Device
    due_us: int = 0


class CancelCounts(NamedTuple):
    notification_count: int
    cancelled_count: int
    in_flight_count: int
    already_final_count: int
