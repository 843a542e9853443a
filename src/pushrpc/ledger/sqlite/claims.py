"""Handing out what is due: most urgent first, then longest due, then in the order of acceptance."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from pushrpc.ledger.sqlite.memory import URGENCIES, Hold, LaneQueue, Memory
from pushrpc.ledger.sqlite.writer import Transaction
from pushrpc.model import Batch, Claimed, Content, Lane, Notification
from pushrpc.words import DeliveryState, Priority

# Rows that one claim may pass over because they are in flight or about to end; the next claim goes on from there.
PASSED_OVER_MAX = 8_192

# Without LIMIT: rows are stepped one by one until enough are taken.
_WAITING = """
    SELECT key, notification, due_us, tries, spent, token, device_id, user_id FROM deliveries
    WHERE lane = ? AND priority = ? AND state < 3 AND (due_us, key) > (?, ?) ORDER BY due_us, key"""
_MARK_IN_FLIGHT = f"UPDATE deliveries SET state = {int(DeliveryState.IN_FLIGHT)} WHERE key = ? AND state < 3"


def claim(lane: Lane, limit: int, transaction: Transaction) -> Batch:
    """Takes up to `limit` due deliveries. Of notifications with at_most_once the claim itself is written."""
    memory, sql = transaction.memory, transaction.sql
    queue = memory.queue(lane)
    rows = _take(sql, memory, queue, limit)
    holds = hold(sql, memory, queue, rows)
    transaction.undo.append(partial(_give_back, holds, memory))
    claimed = [held.claimed for held in holds]
    at_most_once = [(delivery.key,) for delivery in claimed if delivery.notification.at_most_once]
    if at_most_once:
        sql.executemany(_MARK_IN_FLIGHT, at_most_once)
    return Batch(lane, claimed)


def refresh(sql: sqlite3.Connection, memory: Memory, queue: LaneQueue) -> None:
    """Finds out anew when a lane's next delivery is due."""
    _take(sql, memory, queue, 0)


def _give_back(holds: Iterable[Hold], memory: Memory) -> None:
    for held in holds:
        memory.release(held.claimed.key)
        held.give_back()


def _take(sql: sqlite3.Connection, memory: Memory, queue: LaneQueue, limit: int) -> list[Any]:
    """Up to `limit` due rows that nobody has claimed; the queue then knows when the next one is due."""
    rows: list[Any] = []
    queue.next_us = None
    lane_key = memory.lane_keys.get(queue.lane)
    if lane_key is None:
        return rows
    now_us = memory.time.now_us()
    for priority in URGENCIES:
        taken, next_us = _take_urgency(sql, memory, queue, lane_key, priority, limit - len(rows), now_us)
        rows += taken
        if next_us is not None and (queue.next_us is None or next_us < queue.next_us):
            queue.next_us = next_us
    return rows


def _take_urgency(
    sql: sqlite3.Connection, memory: Memory, queue: LaneQueue, lane_key: int, priority: int, limit: int, now_us: int
) -> tuple[list[Any], int | None]:
    """Due rows after the queue's mark, which moves along, and when the first row that is left is due."""
    taken: list[Any] = []
    held, cancelled = memory.held, memory.cancelled
    passed_over = 0
    mark = queue.marks[priority]
    rows = sql.execute(_WAITING, (lane_key, priority, *mark))
    try:
        for row in rows:
            key, due_us = row[0], row[2]
            if key in held or row[1] in cancelled:
                passed_over += 1
                if passed_over > PASSED_OVER_MAX:
                    return taken, due_us
            elif due_us > now_us or len(taken) >= limit:
                return taken, due_us
            else:
                taken.append(row)
            if due_us <= now_us:
                mark = (due_us, key)
        return taken, None
    finally:
        rows.close()
        queue.marks[priority] = mark


def hold(sql: sqlite3.Connection, memory: Memory, queue: LaneQueue, rows: Sequence[Any]) -> list[Hold]:
    """Marks rows as claimed and makes of them what is handed out."""
    known = notifications(sql, memory, {row[1] for row in rows})
    holds = []
    for key, number, due_us, tries, spent, token, device_id, user_id in rows:
        notification, first_delivery = known[number]
        claimed = Claimed(key, notification, key - first_delivery, token, device_id, user_id, tries, spent)
        holds.append(Hold(claimed, due_us, queue))
    memory.hold(holds)
    return holds


_NOTIFICATIONS = """
    SELECT n.key, a.app_id, n.notification_id, n.request_id, n.content, n.priority, n.collapse_key, n.at_most_once,
           n.one_try, n.created_us, n.expire_us, n.labels, n.first_delivery
    FROM json_each(?) AS wanted CROSS JOIN notifications AS n ON n.key = wanted.value JOIN apps AS a ON a.key = n.app"""


def notifications(sql: sqlite3.Connection, memory: Memory, keys: set[int]) -> dict[int, tuple[Notification, int]]:
    """Notifications by key with the key of their first delivery; read only when they are not in memory."""
    kept = memory.notifications
    known = {key: kept[key] for key in keys if key in kept}
    missing = [key for key in keys if key not in known]
    for row in sql.execute(_NOTIFICATIONS, (json.dumps(missing),)) if missing else ():
        (
            key, app_id, notification_id, request_id, content, priority, collapse_key, at_most_once, one_try,
            created_us, expire_us, labels, first_delivery,
        ) = row  # fmt: skip
        notification = Notification(
            key,
            app_id,
            notification_id,
            request_id,
            Content.from_json(content),
            Priority(priority),
            collapse_key,
            bool(at_most_once),
            bool(one_try),
            created_us,
            expire_us,
            json.loads(labels),
        )
        known[key] = notification, first_delivery
        memory.keep(notification, first_delivery)
    return known
