"""Ending what nobody is sending: expired, cancelled, or to a device that has been removed.

A notification may have more deliveries than one transaction should write, so this works in slices. Cancelling first
marks the notification, which stops all further claims; what a crash leaves undone the next `expire` finishes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from functools import partial

from pushrpc.ledger.sqlite.memory import Memory
from pushrpc.ledger.sqlite.settle import Ending, end, open_to
from pushrpc.ledger.sqlite.writer import Transaction
from pushrpc.model import Lane
from pushrpc.record import CancelCounts
from pushrpc.words import Cause, DeliveryState, DeviceState

SLICE_ROWS = 1_000

_OPEN_OF = """
    SELECT n.key, d.key FROM json_each(?) AS w CROSS JOIN notifications AS n ON n.key = w.value
    JOIN deliveries AS d ON d.key BETWEEN n.first_delivery AND n.first_delivery + n.total - 1
    WHERE n.completed_us = 0 AND d.state < 3"""
_EXPIRED = """
    SELECT key, open FROM notifications
    WHERE completed_us = 0 AND expire_us <= ? AND cancelled_us = 0 ORDER BY expire_us"""
# Without the hint SQLite would walk over everything that is open.
_CANCELLED = """
    SELECT key, open FROM notifications INDEXED BY notifications_cancelled
    WHERE completed_us = 0 AND cancelled_us > 0"""


def sweep(now_us: int, paused: Collection[Lane], transaction: Transaction) -> tuple[int, int]:
    """One slice of what is cancelled or expired and not claimed: how many deliveries ended, and how many EXPIRED."""
    sql, memory = transaction.sql, transaction.memory
    cancelled = [
        Ending(key, DeliveryState.CANCELLED, Cause.CANCELLED_BY_CALLER)
        for key in _unclaimed(sql, memory, _some(memory, sql.execute(_CANCELLED)), SLICE_ROWS)
    ]
    expired = [
        Ending(key, DeliveryState.EXPIRED, Cause.UNSPECIFIED)
        for key in _unclaimed(sql, memory, _some(memory, sql.execute(_EXPIRED, (now_us,))), SLICE_ROWS - len(cancelled))
    ]
    end(cancelled + expired, now_us, transaction, paused)
    if not cancelled:
        transaction.undo.append(partial(setattr, memory, "cancelled", memory.cancelled))
        memory.cancelled = cancelled_and_open(sql)  # forgets those that are complete
    pass_over_finished(transaction)
    return len(cancelled) + len(expired), len(expired)


def cancelled_and_open(sql: sqlite3.Connection) -> set[int]:
    return {key for key, _ in sql.execute(_CANCELLED)}


def _some(memory: Memory, notifications: sqlite3.Cursor) -> list[int]:
    """Notifications with unclaimed deliveries, as many as fill a slice."""
    some, rows = [], 0
    for key, left in notifications:
        unclaimed = left - memory.held_of.get(key, 0)
        if unclaimed > 0:
            some.append(key)
            rows += unclaimed
            if rows >= SLICE_ROWS:
                break
    notifications.close()
    return some


def _unclaimed(sql: sqlite3.Connection, memory: Memory, notifications: Sequence[int], limit: int) -> Iterator[int]:
    """Keys of open deliveries that nobody has claimed. One can be IN_FLIGHT: by a claim whose commit failed."""
    if not notifications or not limit:
        return
    found = 0
    rows = sql.execute(_OPEN_OF, (json.dumps(notifications),))
    try:
        for _, key in rows:
            if key not in memory.held:
                yield key
                found += 1
                if found == limit:
                    return
    finally:
        rows.close()


# --- tokens that have expired

SLICE_TOKENS = 256  # each is looked for among all that is open
TOKEN_SLICES_MAX = 40  # in a row: deliveries that expire meanwhile wait that long
TOKEN_EXPIRED = "TOKEN_EXPIRED"  # our own word, where a provider's stands otherwise

# The index's own condition, word for word: without it SQLite would walk over every device.
_END_TOKENS = f"""
    UPDATE devices SET state = {int(DeviceState.DEAD)}, dead_reason = '{TOKEN_EXPIRED}', dead_us = token_expire_us,
        token_replaced_by = '', updated_us = ?1
    WHERE key IN (
        SELECT key FROM devices INDEXED BY devices_ending
        WHERE token_expire_us > 0 AND state < {int(DeviceState.DEAD)} AND token_expire_us <= ?1 LIMIT {SLICE_TOKENS})
    RETURNING app, device_id"""


def end_tokens(now_us: int, transaction: Transaction) -> int:
    """Marks one slice of the devices DEAD whose token_expire_time has passed. How many.

    What waits for them ends as it does when a provider calls a device dead. No event tells of it but those: an event
    about a device belongs to the notification that found it dead.
    """
    ended = transaction.sql.execute(_END_TOKENS, (now_us,)).fetchall()
    device_ids_of: dict[int, list[str]] = {}
    for app, device_id in ended:
        device_ids_of.setdefault(app, []).append(device_id)
    for app, device_ids in device_ids_of.items():
        unclaimed = [key for key in open_to(app, device_ids, transaction) if key not in transaction.memory.held]
        end([Ending(key, DeliveryState.UNREGISTERED, Cause.DEVICE_DEAD) for key in unclaimed], now_us, transaction)
    return len(ended)


PASSED_OVER_MAX = 10_000  # finished notifications in one transaction, some ms
# The plus sign: by key, and not over everything that is open.
_NEXT_OPEN = "SELECT min(key) FROM notifications WHERE key >= ? AND key < ? AND +completed_us = 0"


def pass_over_finished(transaction: Transaction) -> None:
    """Moves the mark before which no notification is open: who looks for open deliveries need not search before it."""
    tally = transaction.tally
    end = min(tally.oldest_open + PASSED_OVER_MAX, tally.last_notification + 1)
    (next_open,) = transaction.sql.execute(_NEXT_OPEN, (tally.oldest_open, end)).fetchone()
    tally.oldest_open = next_open or end


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
    """One slice of the unclaimed deliveries of cancelled notifications."""
    unclaimed = _unclaimed(transaction.sql, transaction.memory, keys, SLICE_ROWS)
    endings = [Ending(key, DeliveryState.CANCELLED, Cause.CANCELLED_BY_CALLER) for key in unclaimed]
    end(endings, now_us, transaction)
    return len(endings)
