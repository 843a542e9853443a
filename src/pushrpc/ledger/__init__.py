"""The ledger: the durable record, as a few verbs of the domain. How an engine waits and wakes is its own secret.

Every verb that writes returns only after its transaction is committed and synced. Instants are microseconds in UTC.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from pushrpc.clock import Clock
from pushrpc.model import (
    Audience,
    Batch,
    Device,
    DeviceChange,
    DeviceFilter,
    DeviceSelector,
    Lane,
    Receipt,
    Registered,
    Registration,
    Send,
    Settlement,
)
from pushrpc.record import (
    CancelCounts,
    Confirmation,
    DeliverySelector,
    DeliveryStatus,
    EventPage,
    EventRun,
    NotificationFilter,
    NotificationSelector,
    NotificationStatus,
    Report,
    Synced,
    Unconfirmed,
    Unsynced,
    Wanted,
)


class LedgerError(Exception):
    """The ledger could not do it; nothing was changed unless `LedgerUnavailable` says that it is not known."""


class LedgerUnavailable(LedgerError):
    """The engine failed. Whether the write happened is not known: repeat it under the same request_id."""


class LedgerFull(LedgerError):
    """No room on the disk. Nothing was changed."""


class LedgerRefused(LedgerError):
    """The ledger cannot be opened at all: held by another process, of a newer schema, damaged. Says which and why."""


class QueueFull(LedgerError):
    """More deliveries are open than the configured bound. Nothing was accepted."""


class SendExpired(LedgerError):
    """Its time had passed before it came. Nothing was accepted; a repeat of what was accepted in time is a replay."""


class RequestIdReused(LedgerError):
    """The request_id stands for another request."""


class CursorExpired(LedgerError):
    """The position is older than what is kept."""

    def __init__(self, oldest_seq: int) -> None:
        super().__init__(f"the oldest position kept is {oldest_seq}")
        self.oldest_seq = oldest_seq


Told = Callable[[Sequence[EventRun]], None]


class Limit(NamedTuple):
    """How many deliveries a claim may take.

    Where it takes some of what is due of a notification and not all, it takes a multiple of `whole`, and nothing that
    is less urgent or due later.
    """

    deliveries: int
    whole: int = 1


class Ledger(Protocol):
    """One suite of tests (tests/ledger) holds for every engine."""

    secret: bytes  # 32 random bytes made with the ledger; authenticates cursors and page tokens
    ledger_id: str

    # --- devices
    async def register(self, registration: Registration, now_us: int) -> Registered:
        """Upserts on (app, provider, environment, token). Set, non-empty fields overwrite; registering revives.

        A token that is not known, with a `replaces_token` that is, goes to that one's device.
        """
        ...

    async def update(self, app_id: str, device_id: str, change: DeviceChange, now_us: int) -> Device | None: ...

    async def unregister(self, app_id: str, which: DeviceSelector, now_us: int) -> int:
        """Marks devices REMOVED; their queued deliveries end CANCELLED, DEVICE_REMOVED. Returns how many devices."""
        ...

    async def device(self, app_id: str, which: DeviceSelector) -> Device | None: ...

    async def devices(self, app_id: str, wanted: DeviceFilter, after: int, limit: int) -> tuple[Sequence[Device], int]:
        """A page, oldest first, and the position to continue after (0: nothing more)."""
        ...

    async def unsynced_lanes(self, now_us: int) -> Sequence[Lane]:
        """Lanes of accounts that are to be told of devices by now."""
        ...

    async def unsynced(self, lane: Lane, now_us: int, limit: int) -> Sequence[Unsynced]:
        """Devices to be told to the provider that keeps them too, longest due first; removed and dead ones included."""
        ...

    async def synced(self, results: Sequence[Synced]) -> None:
        """Takes note of what was told. A device that has changed since stays due."""
        ...

    # --- sending
    async def accept(self, sends: Sequence[Send]) -> Sequence[Receipt | LedgerError]:
        """Stores sends durably, each wholly or not at all; one's conflict never fails another. In order.

        A known request_id with the same fingerprint gets the stored receipt, `replayed`; with another, RequestIdReused.
        Only then `expire_us` is held against `created_us`: SendExpired.
        Concurrent callers share one commit.
        """
        ...

    def lanes(self) -> AsyncIterator[Lane]:
        """Every lane that has open deliveries, then each further one as it first gets some. Never ends by itself."""
        ...

    async def claim(self, lane: Lane, limit: int | Callable[[], Limit]) -> Batch:
        """Up to `limit` due deliveries of a lane, most urgent first; waits until there is at least one.

        Where the limit may be another one after the wait, a function tells it once something is due; the batch is
        empty when nothing of that fits.
        A claimed delivery is not handed out again until it is settled. With at_most_once the claim is committed first.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Writes states, events and dead devices in one commit, each only where the delivery is not final."""
        ...

    async def expire(self, now_us: int, paused: Collection[Lane] = ()) -> int:
        """Ends every unclaimed delivery whose time has passed as EXPIRED, whatever its lane does. Returns how many.

        In `paused` lanes, and where the last attempt was CREDENTIAL_REFUSED, the cause is LANE_PAUSED.
        Devices whose tokens have expired become DEAD, a bounded number in a call; what is queued for them ends.
        """
        ...

    async def cancel(self, app_id: str, which: NotificationSelector, now_us: int) -> CancelCounts | None:
        """Unclaimed deliveries become CANCELLED; claimed ones settle normally, but CANCELLED instead of a retry.

        None when an id names nothing.
        """
        ...

    async def resolve(self, send: Send) -> Audience:
        """Whom a send would reach now. Stores nothing."""
        ...

    # --- what is told later
    async def record(self, app_id: str, reports: Sequence[Report]) -> Sequence[bool]:
        """Keeps reports as ENGAGEMENT events, and says which of them name a delivery. A repeat changes nothing."""
        ...

    async def unconfirmed_lanes(self, now_us: int) -> Sequence[Lane]:
        """Lanes of accounts that are to be asked about messages by now."""
        ...

    async def unconfirmed(self, lane: Lane, now_us: int, limit: int) -> Sequence[Unconfirmed]:
        """Messages whose provider is to be asked by now, longest due first."""
        ...

    async def confirm(self, confirmations: Sequence[Confirmation]) -> None:
        """Writes PROVIDER_FEEDBACK events. A message to one token that turns out dead marks its device DEAD."""
        ...

    # --- reading
    async def follow(self, wanted: Wanted, after_seq: int, limit: int, wait_s: float) -> EventPage:
        """Events after a position; waits up to `wait_s` for news when there is none. Raises CursorExpired."""
        ...

    async def tail(self) -> int:
        """The position after the newest event."""
        ...

    async def oldest(self) -> int:
        """The position just before the oldest event kept."""
        ...

    async def find(
        self, app_id: str, notification_ids: Sequence[str], request_ids: Sequence[str]
    ) -> Sequence[NotificationStatus]:
        """Those of the named notifications that exist, in no particular order."""
        ...

    async def notifications(
        self, app_id: str, wanted: NotificationFilter, after: int, limit: int
    ) -> tuple[Sequence[NotificationStatus], int]:
        """A page, newest first, and the position to continue after (0: nothing more)."""
        ...

    async def deliveries(
        self, app_id: str, which: DeliverySelector, with_attempts: bool, after: int, limit: int
    ) -> tuple[Sequence[DeliveryStatus], int] | None:
        """A page, and the position to continue after (0: nothing more). None when a notification is not known.

        Of a notification in target order; of a device, user or token newest first.
        """
        ...

    # --- keeping
    async def prune(self, now_us: int) -> int:
        """Removes one slice of what is past its retention, and turns a slice of forgotten devices STALE.

        Returns how many rows were touched; 0 when nothing is left to do.
        """
        ...

    def queue(self, now_us: int) -> tuple[int, float]:
        """Open deliveries, and the age in seconds of the oldest one that is due (0.0 when none is)."""
        ...

    async def close(self) -> None: ...


SQLITE = "sqlite:///"


async def open_ledger(
    url: str,
    clock: Clock,
    *,
    base: Path,
    event_retention_us: int,
    request_id_retention_us: int,
    queue_max: int,
    told: Told = lambda events: None,
) -> Ledger:
    """Opens a ledger, or makes a new one: "sqlite:///relative/to/base.db" or "sqlite:////absolute.db".

    At most `queue_max` deliveries are open at once. `told` gets the events of every commit, after it; it must not wait.
    Raises LedgerRefused with one line that says what to do.
    """
    from pushrpc.ledger.sqlite import open_sqlite

    file = url.removeprefix(SQLITE)
    if file == url or not file:
        raise LedgerRefused(f"{url.partition(':')[0]}: is not the address of an SQLite file ({SQLITE}file.db)")
    path = base / file
    if not path.parent.is_dir():
        raise LedgerRefused(f"{path.parent} does not exist: create the directory or name another")
    return await open_sqlite(
        path,
        clock,
        event_retention_us=event_retention_us,
        request_id_retention_us=request_id_retention_us,
        queue_max=queue_max,
        told=told,
    )
