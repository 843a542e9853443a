"""Removing what is past its retention: whole finished notifications, with their deliveries and events.

And noticing devices that the app has not registered for long.
"""

from __future__ import annotations

import sqlite3

from pushrpc.ledger.sqlite.writer import Transaction
from pushrpc.words import DeviceState

SLICE_ROWS = 1_000
# Firebase, "Best practices for FCM registration token management": a token not refreshed for a month is stale.
STALE_AFTER_US = 30 * 24 * 3600 * 1_000_000

_FINISHED = """
    SELECT key, app, first_delivery, total, last_seq FROM notifications
    WHERE completed_us > 0 AND completed_us <= ? AND created_us <= ? ORDER BY completed_us LIMIT ?"""
_HIDE = "UPDATE notifications SET app = 0 WHERE key = ?"
_DROP_EVENTS = """
    DELETE FROM events WHERE last_seq IN (SELECT last_seq FROM events WHERE notification = ? LIMIT ?)"""
_DROP_DELIVERIES = """
    DELETE FROM deliveries WHERE key IN (SELECT key FROM deliveries WHERE key >= ? AND key < ? LIMIT ?)"""
_DROP = "DELETE FROM notifications WHERE key = ?"


def prune(completed_before_us: int, created_before_us: int, transaction: Transaction) -> int:
    """One slice, oldest first. A notification that is larger than a slice is hidden before its first row goes.

    Nothing was told of a notification after it was complete, so positions younger than the retention stay good.
    """
    sql, tally = transaction.sql, transaction.tally
    room = SLICE_ROWS
    finished = sql.execute(_FINISHED, (completed_before_us, created_before_us, SLICE_ROWS)).fetchall()
    for key, app, first_delivery, total, last_seq in finished:
        if app:
            sql.execute(_HIDE, (key,))
            tally.pruned_seq = max(tally.pruned_seq, last_seq)
        room -= _drop(sql, key, first_delivery, total, room)
        if room <= 0:
            break
    return SLICE_ROWS - room


_TO_STALE = f"""
    UPDATE devices SET state = {int(DeviceState.STALE)} WHERE key IN (
        SELECT key FROM devices WHERE state = {int(DeviceState.ACTIVE)} AND seen_us <= ? LIMIT {SLICE_ROWS})"""


def notice_stale(now_us: int, transaction: Transaction) -> int:
    """One slice of the ACTIVE devices that were last registered a month ago. They still take notifications."""
    return transaction.sql.execute(_TO_STALE, (now_us - STALE_AFTER_US,)).rowcount


def _drop(sql: sqlite3.Connection, key: int, first_delivery: int, total: int, room: int) -> int:
    """At most `room` rows; the notification's own row goes last, once nothing is left of it."""
    dropped = sql.execute(_DROP_EVENTS, (key, room)).rowcount
    if dropped < room:
        dropped += sql.execute(_DROP_DELIVERIES, (first_delivery, first_delivery + total, room - dropped)).rowcount
    if dropped < room:
        dropped += sql.execute(_DROP, (key,)).rowcount
    return dropped
