"""The ledger in one SQLite file that one process owns: the verbs, each a transaction of the rooms around it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from pushrpc.clock import Clock
from pushrpc.ledger import CursorExpired, LedgerError, LedgerUnavailable, Limit, Told
from pushrpc.ledger.sqlite import annotate, claims, pruning, registry, status, sweep
from pushrpc.ledger.sqlite.accept import Acceptance, resolve
from pushrpc.ledger.sqlite.connection import Connection
from pushrpc.ledger.sqlite.following import Ring, Sieve, Waiters, is_complete, read_page
from pushrpc.ledger.sqlite.memory import LaneQueue, Memory, QueueTime
from pushrpc.ledger.sqlite.recovery import end_orphans, load
from pushrpc.ledger.sqlite.settle import settle
from pushrpc.ledger.sqlite.store import Store
from pushrpc.ledger.sqlite.writer import GROUP_ROWS_MAX, REOPEN_EVERY_S, Transaction, Writer
from pushrpc.model import (
    NOT_SENT,
    Audience,
    Batch,
    Claimed,
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
from pushrpc.words import Cause, DeliveryState

T = TypeVar("T")

# How long a write may wait for company once there is a crowd: a sync costs more than a row.
ACCEPT_LINGER_S = 0.006
SETTLE_LINGER_S = 0.004  # a lane has so much in flight that its wire does not run dry meanwhile
CLAIM_ROWS_MIN = 8  # what a claim that finds nothing may cost, in rows: it may have to pass over what is in flight


class SqliteLedger:
    """See `pushrpc.ledger.Ledger` for what each verb promises."""

    def __init__(
        self,
        store: Store,
        memory: Memory,
        clock: Clock,
        acceptance: Acceptance,
        event_retention_us: int,
        request_id_retention_us: int,
        ledger_id: str,
        secret: bytes,
        told: Told,
    ) -> None:
        self._tell_events = told
        self.ledger_id = ledger_id
        self.secret = secret
        self._store = store
        self._memory = memory
        self._clock = clock
        self._acceptance = acceptance
        self._event_retention_us = event_retention_us
        self._request_id_retention_us = request_id_retention_us
        self._closed = False
        self._ring = Ring(memory.tally.last_seq)
        self._waiters = Waiters()
        self._lanes: list[Lane] = []  # every lane that had open deliveries, in the order of being noticed
        self._known_lanes: set[Lane] = set()
        self._lane_found = asyncio.Event()
        self._writer = Writer(store.writer, memory, self._told, self._reopen)

    async def begin(self) -> None:
        """Ends what the last process left in doubt, then lets claims begin."""
        await self._writer.submit(partial(end_orphans, self._clock.now_us()))
        self._notice_lanes(_with_work(self._memory))

    # --- devices

    async def register(self, registration: Registration, now_us: int) -> Registered:
        return await self._writer.submit(partial(registry.register, registration, now_us))

    async def update(self, app_id: str, device_id: str, change: DeviceChange, now_us: int) -> Device | None:
        return await self._writer.submit(partial(registry.update, app_id, device_id, change, now_us))

    async def unregister(self, app_id: str, which: DeviceSelector, now_us: int) -> int:
        return await self._writer.submit(partial(registry.unregister, app_id, which, now_us))

    async def device(self, app_id: str, which: DeviceSelector) -> Device | None:
        return await self._read(app_id, None, lambda sql, app: registry.find(sql, app, which))

    async def devices(self, app_id: str, wanted: DeviceFilter, after: int, limit: int) -> tuple[Sequence[Device], int]:
        return await self._read(app_id, ((), 0), lambda sql, app: registry.page(sql, app, wanted, after, limit))

    async def unsynced_lanes(self, now_us: int) -> Sequence[Lane]:
        return await self._store.read(lambda sql: registry.unsynced_lanes(sql, now_us))

    async def unsynced(self, lane: Lane, now_us: int, limit: int) -> Sequence[Unsynced]:
        none: list[Unsynced] = []
        return await self._read(lane.app_id, none, lambda sql, app: registry.unsynced(sql, app, lane, now_us, limit))

    async def synced(self, results: Sequence[Synced]) -> None:
        await self._writer.submit(partial(registry.synced, results), len(results))

    # --- sending

    async def accept(self, sends: Sequence[Send]) -> Sequence[Receipt | LedgerError]:
        parts = _in_parts(sends, _rows)
        results: list[Receipt | LedgerError] = []
        outcomes = await _every(
            [
                self._writer.submit(
                    partial(self._acceptance.accept, part), rows, ACCEPT_LINGER_S, brief=_names_all(part)
                )
                for part, rows in parts
            ]
        )
        for (part, _), outcome in zip(parts, outcomes, strict=True):
            if isinstance(outcome, LedgerError):
                results += [outcome] * len(part)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                results += outcome
        return results

    async def lanes(self) -> AsyncIterator[Lane]:
        position = 0
        while True:
            self._lane_found.clear()
            while position < len(self._lanes):
                yield self._lanes[position]
                position += 1
            await self._lane_found.wait()

    async def claim(self, lane: Lane, limit: int | Callable[[], Limit]) -> Batch:
        queue = self._memory.queue(lane)
        while True:
            queue.news.clear()
            self._check_open()
            now_us = self._memory.time.now_us()
            next_us = queue.next_us  # once: the writer may change it meanwhile
            if next_us is None:
                await queue.news.wait()
            elif next_us > now_us:
                await self._sleep_until_news(queue.news, (next_us - now_us) / 1e6)
            else:
                batch = await self._claim_now(lane, limit() if callable(limit) else Limit(limit))
                if batch.deliveries or callable(limit):
                    return batch

    async def _claim_now(self, lane: Lane, limit: Limit) -> Batch:
        unclaimed = self._memory.tally.open_count - len(self._memory.held)
        rows = max(CLAIM_ROWS_MIN, min(limit.deliveries, unclaimed))
        claimed = self._writer.submit_urgent(partial(claims.claim, lane, limit), rows)
        try:
            return await asyncio.shield(claimed)
        except asyncio.CancelledError:
            claimed.add_done_callback(self._give_back)
            raise

    def _give_back(self, claimed: asyncio.Future[Batch]) -> None:
        """What was claimed for a caller who has gone goes back."""
        if not claimed.cancelled() and claimed.exception() is None:
            self._return(claimed.result().deliveries)

    def _return(self, deliveries: Sequence[Claimed]) -> None:
        now_us = self._clock.now_us()
        unsent = Settlement(
            deliveries, NOT_SENT, (), DeliveryState.QUEUED, Cause.UNSPECIFIED, now_us, False, now_us, now_us
        )

        def again_unless_done(done: asyncio.Future[None]) -> None:
            if done.exception() is not None and not self._closed:
                asyncio.get_running_loop().call_later(REOPEN_EVERY_S, self._return, deliveries)

        self._writer.submit(partial(settle, [unsent])).add_done_callback(again_unless_done)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        parts = _in_parts(settlements, lambda settlement: len(settlement.deliveries))
        outcomes = await _every(
            [
                self._writer.submit(partial(settle, part), rows, SETTLE_LINGER_S, brief=not _buries(part))
                for part, rows in parts
            ]
        )
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def expire(self, now_us: int, paused: Collection[Lane] = ()) -> int:
        expired = 0
        while True:
            ended, late = await self._writer.submit(partial(sweep.sweep, now_us, paused))
            expired += late
            if not ended:
                break
        for _ in range(sweep.TOKEN_SLICES_MAX):
            if not await self._writer.submit(partial(sweep.end_tokens, now_us)):
                break
        return expired

    async def cancel(self, app_id: str, which: NotificationSelector, now_us: int) -> CancelCounts | None:
        """By labels: of notifications that are not complete. Waits until all that was unclaimed is CANCELLED."""
        none: list[int] = []
        keys = await self._read(app_id, none, lambda sql, app: _selected(sql, app, which))
        if not keys and not which.labels:
            return None
        parts = [keys[i : i + GROUP_ROWS_MAX] for i in range(0, len(keys), GROUP_ROWS_MAX)]
        total = CancelCounts(0, 0, 0, 0)
        for part in parts:
            counts = await self._writer.submit(partial(sweep.mark_cancelled, part, now_us))
            total = CancelCounts(*map(sum, zip(total, counts, strict=True)))
        for part in parts:
            while await self._writer.submit(partial(sweep.end_cancelled, part, now_us)):
                pass
        return total

    async def resolve(self, send: Send) -> Audience:
        return await self._writer.submit(partial(resolve, send))

    # --- what is told later

    async def record(self, app_id: str, reports: Sequence[Report]) -> Sequence[bool]:
        return await self._writer.submit(partial(annotate.record, app_id, reports), len(reports))

    async def unconfirmed_lanes(self, now_us: int) -> Sequence[Lane]:
        return await self._store.read(lambda sql: annotate.unconfirmed_lanes(sql, self._memory.lanes, now_us))

    async def unconfirmed(self, lane: Lane, now_us: int, limit: int) -> Sequence[Unconfirmed]:
        key = self._memory.lane_keys.get(lane)
        if key is None:
            return ()
        return await self._store.read(lambda sql: annotate.unconfirmed(sql, key, lane, now_us, limit))

    async def confirm(self, confirmations: Sequence[Confirmation]) -> None:
        await self._writer.submit(partial(annotate.confirm, confirmations), len(confirmations))

    # --- reading

    async def follow(self, wanted: Wanted, after_seq: int, limit: int, wait_s: float) -> EventPage:
        """A stream of a whole app expires with the events it has not seen; one of notifications never does, because
        their events go only together with them. The wait ends also when the clock is set back.
        """
        loop = asyncio.get_running_loop()
        sieve = Sieve(wanted)
        until_us, until_s = self._clock.now_us() + int(wait_s * 1e6), loop.time() + wait_s
        news = asyncio.Event()
        places = self._waiters.add(wanted, news)
        try:
            while True:
                news.clear()
                self._check_open()
                page = await self._page(wanted, sieve, after_seq, limit)
                left_s = min((until_us - self._clock.now_us()) / 1e6, until_s - loop.time())
                if page.runs or page.complete or left_s <= 0:
                    return page
                after_seq = page.through_seq
                if page.caught_up:
                    await self._sleep_until_news(news, left_s)
        finally:
            self._waiters.remove(places, news)

    async def _page(self, wanted: Wanted, sieve: Sieve, after_seq: int, limit: int) -> EventPage:
        oldest_seq = self._memory.tally.pruned_seq
        if after_seq < oldest_seq and not sieve.named:
            raise CursorExpired(oldest_seq)
        newest = self._ring.after(after_seq)
        if newest is not None:
            end_seq = max(after_seq, self._ring.tail)
            runs, through_seq = sieve.take(newest, after_seq, end_seq, limit)
            caught_up = through_seq >= end_seq
        else:
            nothing: tuple[list[EventRun], int, bool] = [], after_seq, True
            runs, through_seq, caught_up = await self._read(
                wanted.app_id,
                nothing,
                lambda sql, app: read_page(sql, app, wanted, sieve, after_seq, limit),
            )
        complete = (
            caught_up
            and sieve.named
            and await self._read(wanted.app_id, False, lambda sql, app: is_complete(sql, app, wanted, through_seq))
        )
        return EventPage(runs, through_seq, caught_up, complete)

    async def tail(self) -> int:
        return self._ring.tail

    async def oldest(self) -> int:
        return self._memory.tally.pruned_seq

    async def find(
        self, app_id: str, notification_ids: Sequence[str], request_ids: Sequence[str]
    ) -> Sequence[NotificationStatus]:
        return await self._read(
            app_id,
            (),
            lambda sql, app: status.find(sql, self._memory, status.keys_of(sql, app, notification_ids, request_ids)),
        )

    async def notifications(
        self, app_id: str, wanted: NotificationFilter, after: int, limit: int
    ) -> tuple[Sequence[NotificationStatus], int]:
        return await self._read(
            app_id,
            ((), 0),
            lambda sql, app: status.notifications(sql, self._memory, app, wanted, after, limit),
        )

    async def deliveries(
        self, app_id: str, which: DeliverySelector, with_attempts: bool, after: int, limit: int
    ) -> tuple[Sequence[DeliveryStatus], int] | None:
        of_one = bool(which.notification_id or which.request_id)
        return await self._read(
            app_id,
            None if of_one else ((), 0),
            lambda sql, app: status.page(sql, self._memory, app, which, with_attempts, after, limit),
        )

    # --- keeping

    async def prune(self, now_us: int) -> int:
        completed_before_us = now_us - self._event_retention_us
        created_before_us = now_us - self._request_id_retention_us
        pruned = await self._writer.submit(partial(pruning.prune, completed_before_us, created_before_us))
        return pruned + await self._writer.submit(partial(pruning.notice_stale, now_us))

    def queue(self, now_us: int) -> tuple[int, float]:
        due = [queue.next_us for queue in list(self._memory.queues.values()) if queue.next_us is not None]
        age_us = now_us + self._memory.time.ahead_us - min(due) if due else 0
        return self._memory.tally.open_count, max(0, age_us) / 1e6

    async def close(self) -> None:
        self._closed = True
        for queue in self._memory.queues.values():
            queue.news.set()
        self._waiters.wake_all()
        await self._writer.close()
        await self._store.close()

    # --- behind the verbs

    def _told(self, transaction: Transaction) -> None:
        """Tells followers and claimers what has just been committed."""
        self._tell_events(transaction.events)
        self._ring.extend(transaction.events)
        self._waiters.wake([(run.app_id, run.notification_id, run.request_id) for run in transaction.events])
        self._waiters.wake(transaction.accepted)
        self._notice_lanes(transaction.woken)

    def _notice_lanes(self, queues: Iterable[LaneQueue]) -> None:
        for queue in queues:
            queue.news.set()
            if queue.lane not in self._known_lanes:
                self._known_lanes.add(queue.lane)
                self._lanes.append(queue.lane)
                self._lane_found.set()

    async def _reopen(self) -> Connection:
        await self._store.reopen()
        await self._store.writer.run(partial(load, self._memory))
        # Events that were written but never told are read from the file.
        self._ring = Ring(self._memory.tally.last_seq)
        self._waiters.wake_all()
        self._notice_lanes(_with_work(self._memory))
        return self._store.writer

    async def _read(self, app_id: str, unknown: T, work: Callable[[sqlite3.Connection, int], T]) -> T:
        """Reads what belongs to an app; `unknown` is the answer when the app has nothing yet."""
        app = self._memory.app_keys.get(app_id)
        if app is None:
            self._check_open()
            return unknown
        return await self._store.read(lambda sql: work(sql, app))

    def _check_open(self) -> None:
        if self._closed:
            raise LedgerUnavailable("the ledger is closed")

    async def _sleep_until_news(self, news: asyncio.Event, span_s: float) -> None:
        """Ends also when the span is over by real time: the clock may be set back meanwhile."""
        alarm = asyncio.get_running_loop().call_later(span_s, news.set)
        sleeping = asyncio.ensure_future(self._clock.sleep(span_s))
        sleeping.add_done_callback(lambda slept: None if slept.cancelled() else news.set())
        try:
            await news.wait()
        finally:
            alarm.cancel()
            sleeping.cancel()


async def _every(results: Sequence[asyncio.Future[T]]) -> Sequence[T | BaseException]:
    """Every result, or what was raised instead. Nearly always there is one, and `gather` costs as much as a write."""
    if len(results) != 1:
        return await asyncio.gather(*results, return_exceptions=True)
    try:
        return [await results[0]]
    except Exception as error:
        return [error]


def _with_work(memory: Memory) -> list[LaneQueue]:
    return [queue for queue in memory.queues.values() if queue.next_us is not None]


def _rows(send: Send) -> int:
    named = send.named
    return 1 + sum(len(tokens) for _, tokens in named.tokens) + len(named.device_ids) + len(named.user_ids)


def _names_all(sends: Iterable[Send]) -> bool:
    """Whether what is named is all that there can be: a user may have any number of devices."""
    return not any(send.named.user_ids for send in sends)


def _buries(settlements: Iterable[Settlement]) -> bool:
    """Whether a device may end or move, and with it whatever waits for it, however much that is."""
    return any(
        settlement.state is DeliveryState.UNREGISTERED or settlement.outcome.replaced_by for settlement in settlements
    )


def _in_parts(whole: Sequence[T], rows_of: Callable[[T], int]) -> list[tuple[Sequence[T], int]]:
    """Cuts a call into parts of about a group's rows, so that a large one does not hold the writer for long."""
    parts: list[tuple[Sequence[T], int]] = []
    start = rows = 0
    for position, each in enumerate(whole):
        more = rows_of(each)
        if rows and rows + more > GROUP_ROWS_MAX:
            parts.append((whole[start:position], rows))
            start, rows = position, 0
        rows += more
    return [*parts, (whole[start:], rows)] if whole else []


def _selected(sql: sqlite3.Connection, app: int, which: NotificationSelector) -> list[int]:
    if which.labels:
        return status.open_with_labels(sql, app, which.labels.items())
    ids = [which.notification_id] if which.notification_id else []
    return status.keys_of(sql, app, ids, [which.request_id] if which.request_id else [])


async def open_sqlite(
    path: Path, clock: Clock, *, event_retention_us: int, request_id_retention_us: int, queue_max: int, told: Told
) -> SqliteLedger:
    """Opens or creates the file. Raises LedgerRefused."""
    store = Store(path)
    await store.open()
    try:
        memory = Memory(QueueTime(clock))
        await store.writer.run(partial(load, memory))
        ledger_id, secret = await store.read(lambda sql: sql.execute("SELECT ledger_id, secret FROM ledger").fetchone())
        ledger = SqliteLedger(
            store, memory, clock, Acceptance(request_id_retention_us, queue_max), event_retention_us,
            request_id_retention_us, ledger_id, secret, told,
        )  # fmt: skip
    except BaseException:
        await store.close()
        raise
    try:
        await ledger.begin()
    except BaseException:
        await ledger.close()
        raise
    return ledger
