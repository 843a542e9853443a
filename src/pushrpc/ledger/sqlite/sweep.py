"""Ending what nobody is sending: cancelled or expired.

A notification may have more deliveries than one transaction should write, so this works in slices. Cancelling first
marks the notification, which stops all further claims; what a crash leaves undone the next `expire` finishes.

A slice is written by statements over ranges of keys, because a caller waits for the whole of a cancel: measured, 4 µs a
delivery instead of 14 when each row passes through Python.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from pushrpc.ledger.sqlite import events
from pushrpc.ledger.sqlite.due import refresh
from pushrpc.ledger.sqlite.settle import Counters
from pushrpc.ledger.sqlite.writer import Transaction
from pushrpc.model import Lane
from pushrpc.record import CancelCounts
from pushrpc.words import Cause, DeliveryState, OutcomeKind

SLICE_ROWS = 2_000  # some 10 ms of the writer

_COLUMNS = "SELECT n.key, n.first_delivery, n.total, n.open FROM notifications AS n"
_EXPIRED = f"{_COLUMNS} WHERE completed_us = 0 AND expire_us <= ? AND cancelled_us = 0 ORDER BY expire_us"
_CANCELLED = f"{_COLUMNS} WHERE completed_us = 0 AND cancelled_us > 0"
_NAMED = """
    SELECT n.key, n.first_delivery, n.total, n.open FROM json_each(?) AS w
    CROSS JOIN notifications AS n ON n.key = w.value WHERE n.completed_us = 0"""


class _Open(NamedTuple):
    """A notification with deliveries that are not final."""

    key: int
    first_delivery: int
    total: int
    open: int


def sweep(now_us: int, paused: Collection[Lane], transaction: Transaction) -> tuple[int, int]:
    """One slice of what is cancelled or expired and not claimed: how many deliveries ended, and how many EXPIRED."""
    sql, memory = transaction.sql, transaction.memory
    piece = _Slice(now_us, transaction, paused)
    cancelled = piece.end(sql.execute(_CANCELLED), DeliveryState.CANCELLED, Cause.CANCELLED_BY_CALLER)
    expired = piece.end(sql.execute(_EXPIRED, (now_us,)), DeliveryState.EXPIRED, Cause.UNSPECIFIED)
    piece.write()
    if not cancelled:
        transaction.undo.append(partial(setattr, memory, "cancelled", memory.cancelled))
        memory.cancelled = cancelled_and_open(sql)  # forgets those that are complete
    return cancelled + expired, expired


def cancelled_and_open(sql: sqlite3.Connection) -> set[int]:
    return {row[0] for row in sql.execute(_CANCELLED)}


# --- one slice

_OPEN = """
    FROM deliveries AS d WHERE d.key BETWEEN ?1 AND ?2 AND d.state < 3
    AND d.key NOT IN (SELECT value FROM json_each(?3))"""
# One can be IN_FLIGHT and not claimed: by a claim whose commit failed.
_SOME = f"SELECT d.key, d.lane {_OPEN} ORDER BY d.key LIMIT ?4"
# Numbers of events follow the keys; what is left out leaves a gap.
_WRITE_EVENTS = f"""
    INSERT INTO events (
        seq, previous_seq, app, notification, delivery, kind, state, outcome, cause, reason, provider_message_id,
        provider_status, provider_detail, attempt, time_us, retry_us, duration_us, token_replaced_by
    )
    SELECT ?4 + 1 + d.key - ?1, d.last_seq, d.app, d.notification, d.key, {events.STATE}, ?5, coalesce(e.outcome, 0),
           CASE WHEN ?5 = {int(DeliveryState.EXPIRED)} AND (
               e.outcome = {int(OutcomeKind.CREDENTIAL_REFUSED)} OR d.lane IN (SELECT value FROM json_each(?8))
           ) THEN {int(Cause.LANE_PAUSED)} ELSE ?6 END,
           coalesce(e.reason, ''), coalesce(e.provider_message_id, ''), coalesce(e.provider_status, 0),
           coalesce(e.provider_detail, ''), d.tries, ?7, 0, NULL, coalesce(e.token_replaced_by, '')
    {_OPEN.replace("AS d WHERE", "AS d LEFT JOIN events AS e ON e.seq = d.last_seq WHERE")}"""
_END = """
    UPDATE deliveries AS d SET state = ?5, last_seq = ?4 + 1 + d.key - ?1
    WHERE d.key BETWEEN ?1 AND ?2 AND d.state < 3 AND d.key NOT IN (SELECT value FROM json_each(?3))"""
_NAMES = """
    SELECT a.app_id, n.notification_id, n.request_id FROM json_each(?) AS w
    CROSS JOIN notifications AS n ON n.key = w.value JOIN apps AS a ON a.key = n.app"""


class _Slice:
    """What one transaction ends. Events repeat what the last attempt came to."""

    def __init__(self, now_us: int, transaction: Transaction, paused: Collection[Lane] = ()) -> None:
        self._transaction = transaction
        self._memory = memory = transaction.memory
        self._now_us = now_us
        self._paused = json.dumps([memory.lane_keys[lane] for lane in paused if lane in memory.lane_keys])
        self._counters = Counters()
        self._before_seq = transaction.tally.last_seq
        self._notifications: list[int] = []
        self._ended: Counter[tuple[int, DeliveryState]] = Counter()  # by lane and state
        self._room = SLICE_ROWS

    def end(self, notifications: sqlite3.Cursor, state: DeliveryState, cause: Cause) -> int:
        """Ends unclaimed deliveries of the first ones that have any, as many as there is room for."""
        room = self._room
        for each in self._with_unclaimed(notifications):
            self._end_of(each, state, cause)
        return room - self._room

    def _with_unclaimed(self, notifications: sqlite3.Cursor) -> list[_Open]:
        found, rows = [], 0
        for each in map(_Open._make, notifications if self._room else ()):
            unclaimed = each.open - self._memory.held_of.get(each.key, 0)
            if unclaimed > 0:
                found.append(each)
                rows += unclaimed
                if rows >= self._room:
                    break
        notifications.close()
        return found

    def _end_of(self, notification: _Open, state: DeliveryState, cause: Cause) -> None:
        sql, tally = self._transaction.sql, self._transaction.tally
        first, last = notification.first_delivery, notification.first_delivery + notification.total - 1
        claimed: Iterable[int] = ()
        if self._memory.held_of.get(notification.key):
            claimed = (key for key in range(first, last + 1) if key in self._memory.held)
        held = json.dumps(list(claimed))
        rows = sql.execute(_SOME, (first, last, held, self._room)).fetchall()
        if not rows:
            return
        first, last, count = rows[0][0], rows[-1][0], len(rows)
        some = (first, last, held)
        before_seq = tally.last_seq
        tally.last_seq = before_seq + 1 + last - first
        self._ended.update((lane, state) for _, lane in rows)
        sql.execute(_WRITE_EVENTS, (*some, before_seq, int(state), int(cause), self._now_us, self._paused))
        sql.execute(_END, (*some, before_seq, int(state)))
        self._counters.add(notification.key, int(state), tally.last_seq, self._now_us, count)
        self._notifications.append(notification.key)
        self._room -= count

    def write(self) -> None:
        """Writes the counters, and has followers told. The last slice, which is not full, tidies up after all."""
        transaction, memory = self._transaction, self._memory
        self._counters.write(transaction)
        if self._room:
            events.tell(transaction, self._before_seq)
            self._look_again()
            return
        # So much that whoever follows it reads it better from the file.
        for (lane, state), count in self._ended.items():
            transaction.untold[memory.lanes[lane].app_id, memory.lanes[lane].provider, state] += count
        transaction.news += transaction.sql.execute(_NAMES, (json.dumps(self._notifications),)).fetchall()

    def _look_again(self) -> None:
        """What a queue says is due may have ended."""
        transaction, memory = self._transaction, self._memory
        transaction.undo.append(transaction.rewind)
        now_us = memory.time.now_us()
        for queue in list(memory.queues.values()):
            if queue.next_us is not None and queue.next_us <= now_us:
                refresh(transaction.sql, memory, queue)
                transaction.woken.add(queue)  # a claim may have gone to sleep by what the queue said before


# --- cancelling

_TO_CANCEL = """
    SELECT n.key, n.total, n.open, n.completed_us FROM json_each(?) AS w
    CROSS JOIN notifications AS n ON n.key = w.value"""
_MARK = "UPDATE notifications SET cancelled_us = ? WHERE key = ? AND cancelled_us = 0"


def mark_cancelled(keys: Sequence[int], now_us: int, transaction: Transaction) -> CancelCounts:
    """Stops all further claims of notifications. Counts what is queued as cancelled: the slices that follow do it."""
    memory = transaction.memory
    cancelled_count = in_flight_count = final_count = 0
    marked = []
    for key, total, left, completed_us in transaction.sql.execute(_TO_CANCEL, (json.dumps(keys),)).fetchall():
        held = memory.held_of.get(key, 0)
        cancelled_count += left - held
        in_flight_count += held
        final_count += total - left
        if not completed_us:
            marked.append(key)
    transaction.sql.executemany(_MARK, [(now_us, key) for key in marked])
    new = set(marked) - memory.cancelled
    memory.cancelled |= new

    def take_back() -> None:
        memory.cancelled -= new
        transaction.rewind()

    transaction.undo.append(take_back)
    return CancelCounts(len(keys), cancelled_count, in_flight_count, final_count)


def end_cancelled(keys: Sequence[int], now_us: int, transaction: Transaction) -> int:
    """One slice of the unclaimed deliveries of cancelled notifications: how many ended."""
    piece = _Slice(now_us, transaction)
    named = transaction.sql.execute(_NAMED, (json.dumps(keys),))
    ended = piece.end(named, DeliveryState.CANCELLED, Cause.CANCELLED_BY_CALLER)
    piece.write()
    return ended
