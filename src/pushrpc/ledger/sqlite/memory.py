"""What the one process that owns the file keeps in memory: counters, keys, and who has claimed what.

A claim is no row in the file: after a restart nothing is claimed, so nothing needs to be rewritten. All of this changes
in the writer's transactions, one at a time, which undo it when they fail; who is outside them only reads single values.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from pushrpc.clock import Clock
from pushrpc.model import Claimed, Lane, Notification
from pushrpc.words import Cause, Priority

# Notifications whose content is kept ready: what was just accepted is claimed next, and so need not be read again.
NOTIFICATIONS_KEPT = 4_096
URGENCIES = (int(Priority.HIGH), int(Priority.NORMAL), int(Priority.LOW))


class QueueTime:
    """The clock as the queue sees it: it never goes back, so a clock that is set back hides no delivery that was due.

    `ahead_us` is by how much it runs before the clock; instants that the clock's readers computed are moved by as much.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # read by the event loop and by the writer's thread
        self._read_us = clock.now_us()
        self.ahead_us = 0

    def now_us(self) -> int:
        with self._lock:
            read_us = self._clock.now_us()
            self.ahead_us += max(0, self._read_us - read_us)
            self._read_us = read_us
            return read_us + self.ahead_us

    def not_before(self, instant_us: int) -> None:
        """Runs on from an instant that the queue has already reached."""
        behind_us = instant_us - self.now_us()
        with self._lock:
            self.ahead_us += max(0, behind_us)


@dataclass(slots=True)
class Tally:
    """The counters of the `ledger` row. Keys only grow; a rolled back transaction leaves gaps, which mean nothing."""

    last_notification: int = 0
    last_delivery: int = 0
    last_seq: int = 0
    open_count: int = 0
    pruned_seq: int = 0
    oldest_open: int = 0


class LaneQueue:
    """Where claims of a lane go on. Open deliveries up to a priority's mark (due, key) are claimed or about to end,
    so that a claim never walks over those in flight. `next_us`: nothing can be claimed earlier; None: nothing at all.
    """

    __slots__ = ("lane", "marks", "news", "next_us")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.marks = dict.fromkeys(URGENCIES, (0, 0))
        self.next_us: int | None = None
        self.news = asyncio.Event()  # belongs to the event loop

    def offer(self, priority: int, due_us: int, key: int) -> None:
        """From `due_us` on, this delivery can be claimed (again), and any with a later key that is due then."""
        if (due_us, key) <= self.marks[priority]:
            self.marks[priority] = (due_us, key - 1)
        if self.next_us is None or due_us < self.next_us:
            self.next_us = due_us

    def give_back(self, claimed: Claimed) -> None:
        self.offer(claimed.notification.priority, claimed.due_us, claimed.key)


_key, _notification = attrgetter("key"), attrgetter("notification")


@dataclass(slots=True)
class Memory:
    time: QueueTime
    tally: Tally = field(default_factory=Tally)
    app_keys: dict[str, int] = field(default_factory=dict)
    apps_with_devices: set[int] = field(default_factory=set)  # by key: who has none needs no look-up of tokens
    lane_keys: dict[Lane, int] = field(default_factory=dict)
    lanes: dict[int, Lane] = field(default_factory=dict)
    queues: dict[Lane, LaneQueue] = field(default_factory=dict)
    held: dict[int, Claimed] = field(default_factory=dict)  # by delivery key; bounded by what dispatchers claim
    held_of: dict[int, int] = field(default_factory=dict)  # how many, by notification key
    removed: set[int] = field(default_factory=set)  # held deliveries whose device has been removed
    cancelled: set[int] = field(default_factory=set)  # cancelled notifications that still have open deliveries
    # With the first delivery's key. An OrderedDict, because a dict walks over all that has left its front.
    notifications: OrderedDict[int, tuple[Notification, int]] = field(default_factory=OrderedDict)

    def queue(self, lane: Lane) -> LaneQueue:
        queue = self.queues.get(lane)
        return queue if queue is not None else self.queues.setdefault(lane, LaneQueue(lane))

    def hold(self, deliveries: Sequence[Claimed]) -> None:
        self.held.update(zip(map(_key, deliveries), deliveries, strict=True))
        self._count(deliveries, 1)

    def release(self, keys: Iterable[int]) -> list[Claimed | None]:
        """For each key what was held of it; None when nothing was."""
        pop = self.held.pop
        released = [pop(key, None) for key in keys]
        self._count(released if all(released) else list(filter(None, released)), -1)  # type: ignore[arg-type]
        return released

    def _count(self, deliveries: Sequence[Claimed], sign: int) -> None:
        for notification, of_one in groupby(deliveries, _notification):
            count = self.held_of.pop(notification.key, 0) + sign * len(list(of_one))
            if count:
                self.held_of[notification.key] = count

    def rewind(self) -> None:
        """Has the next claim of every lane look from the start: for when it is not known what was passed over."""
        for queue in list(self.queues.values()):  # the event loop may add one meanwhile
            queue.marks = dict.fromkeys(URGENCIES, (0, 0))
            queue.next_us = 0

    def must_end(self, claimed: Claimed) -> Cause | None:
        """Why a claimed delivery may not be queued again."""
        if claimed.notification.key in self.cancelled:
            return Cause.CANCELLED_BY_CALLER
        return Cause.DEVICE_REMOVED if claimed.key in self.removed else None

    def keep(self, notification: Notification, first_delivery: int) -> None:
        self.notifications[notification.key] = notification, first_delivery
        if len(self.notifications) > NOTIFICATIONS_KEPT:
            self.notifications.popitem(last=False)
