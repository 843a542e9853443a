"""Notifications and deliveries as they stand now. What is claimed is laid over from memory as IN_FLIGHT."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

from pushrpc.ledger.sqlite.events import of_delivery
from pushrpc.ledger.sqlite.memory import Memory
from pushrpc.model import own_id_prefix
from pushrpc.record import (
    AttemptStatus,
    Counts,
    DeliverySelector,
    DeliveryStatus,
    NotificationFilter,
    NotificationStatus,
)
from pushrpc.words import FINAL_STATES, Cause, DeliveryState, NotificationState, OutcomeKind, Provider

SCANNED_MAX = 10_000  # rows that one page looks through for a rare match; a page may be short and yet not the last
BUCKETS_MAX = 4_000  # of the delivery indexes in one page, 16 M deliveries
ATTEMPTS_TOLD_MAX = 100  # the newest ones; throttled deliveries may have been tried far more often

# --- notifications

_STATUS = """
    SELECT n.key, a.app_id, n.notification_id, n.request_id, n.title, n.labels, n.created_us, n.expire_us,
           n.completed_us, n.cancelled_us, n.first_seq, n.total, n.open, n.sent, n.rejected_count, n.unregistered,
           n.expired, n.cancelled, n.suppressed, n.failed
    FROM notifications AS n JOIN apps AS a ON a.key = n.app WHERE """
_KEY_OF_ID = "SELECT key FROM notifications WHERE notification_id = ? AND app = ?"
_KEY_OF_REQUEST = """
    SELECT key FROM notifications WHERE app = ? AND request_id = ? AND request_id <> '' ORDER BY key DESC LIMIT 1"""
_BY_KEYS = f"{_STATUS} n.key IN (SELECT value FROM json_each(?))"


def keys_of(
    sql: sqlite3.Connection, app: int, notification_ids: Iterable[str], request_ids: Iterable[str]
) -> list[int]:
    """The key of every name that exists. A request_id that was used again stands for its newest notification."""
    found = [sql.execute(_KEY_OF_ID, (name, app)).fetchone() for name in notification_ids]
    found += [sql.execute(_KEY_OF_REQUEST, (app, name)).fetchone() for name in request_ids]
    return [row[0] for row in found if row is not None]


def find(sql: sqlite3.Connection, memory: Memory, keys: Sequence[int]) -> list[NotificationStatus]:
    return [_status(memory, row) for row in sql.execute(_BY_KEYS, (json.dumps(keys),))]


def notifications(
    sql: sqlite3.Connection, memory: Memory, app: int, wanted: NotificationFilter, after: int, limit: int
) -> tuple[Sequence[NotificationStatus], int]:
    """Newest first, and the key to continue after."""
    page: list[NotificationStatus] = []
    key = 0
    labels = wanted.labels.items()
    for scanned, row in enumerate(
        sql.execute(f"{_STATUS} n.app = ? AND n.key < ? ORDER BY n.key DESC", (app, after or 1 << 62))
    ):
        if len(page) == limit or scanned == SCANNED_MAX:
            return page, key
        key = row[0]
        status = _status(memory, row)
        if (
            labels <= status.labels.items()
            and (not wanted.states or status.state in wanted.states)
            and status.created_us > wanted.created_after_us
            and (not wanted.created_before_us or status.created_us < wanted.created_before_us)
        ):
            page.append(status)
    return page, 0


_OPEN_LABELS = "SELECT key, labels FROM notifications WHERE app = ? AND completed_us = 0"


def open_with_labels(sql: sqlite3.Connection, app: int, labels: Iterable[tuple[str, str]]) -> list[int]:
    wanted = set(labels)
    return [key for key, text in sql.execute(_OPEN_LABELS, (app,)) if wanted <= json.loads(text).items()]


def _status(memory: Memory, row: Any) -> NotificationStatus:
    (
        key, app_id, notification_id, request_id, title, labels, created_us, expire_us, completed_us, cancelled_us,
        first_seq, total, left, *final,
    ) = row  # fmt: skip
    # Memory may be a moment ahead of what this connection sees.
    in_flight = min(memory.held_of.get(key, 0), left)
    return NotificationStatus(
        app_id,
        notification_id,
        request_id,
        title,
        json.loads(labels),
        NotificationState.COMPLETE if completed_us else NotificationState.ACTIVE,
        Counts(total, left - in_flight, in_flight, *final),
        created_us,
        expire_us,
        completed_us,
        cancelled_us,
        first_seq,
    )


# --- deliveries

_ROW = f"""
    SELECT d.key, n.notification_id, n.request_id, n.labels, d.device_id, d.user_id, d.token, l.provider, d.state,
           d.tries, d.last_seq, d.due_us, n.created_us, n.first_delivery, e.outcome, e.cause, e.reason, e.own_id,
           {of_delivery("message_ids", "d.key")}, e.time_us, e.token_replaced_by
    FROM deliveries AS d JOIN notifications AS n ON n.key = d.notification JOIN lanes AS l ON l.key = d.lane
    LEFT JOIN events AS e ON e.last_seq = d.last_seq WHERE n.app = d.app AND """
_OF_NOTIFICATION = f"""{_ROW} d.key > ? AND d.key >= (SELECT first_delivery FROM notifications WHERE key = ?)
    AND d.key < (SELECT first_delivery + total FROM notifications WHERE key = ?) ORDER BY d.key"""
_BY_DEVICE = f"{_ROW} d.key >> 12 = ? AND d.device_id = ? AND d.device_id <> '' AND d.app = ? AND d.key < ?"
_BY_USER = f"{_ROW} d.key >> 12 = ? AND d.user_id = ? AND d.user_id <> '' AND d.app = ? AND d.key < ?"
# The plus sign: SQLite puts a value that a column must have into every expression of it, and then misses the index.
_BY_TOKEN = f"""{_ROW} d.key >> 12 = ? AND substr(d.token, -12) = substr(?2, -12) AND +d.token = ?2
    AND d.app = ? AND d.key < ?"""

# Both in one SELECT would be a scan: SQLite looks up a lone min or max only (sqlite.org/optoverview.html).
_KEY_RANGE = "SELECT (SELECT min(key) FROM deliveries), (SELECT max(key) FROM deliveries)"

_OPEN = {int(DeliveryState.QUEUED), int(DeliveryState.IN_FLIGHT)}


def buckets(sql: sqlite3.Connection, start: int = 0, before: int = 1 << 62) -> range:
    """The parts of the delivery indexes that hold keys from one up to another, newest first. See schema/1.sql."""
    first, last = sql.execute(_KEY_RANGE).fetchone()
    if first is None:
        return range(0)
    return range(min(before - 1, last) >> 12, (max(start, first) >> 12) - 1, -1)


def page(
    sql: sqlite3.Connection,
    memory: Memory,
    app: int,
    which: DeliverySelector,
    with_attempts: bool,
    after: int,
    limit: int,
) -> tuple[Sequence[DeliveryStatus], int] | None:
    """Deliveries of what is selected, and the key to continue after. None when a notification is not known."""
    if which.notification_id or which.request_id:
        keys = keys_of(sql, app, filter(None, [which.notification_id]), filter(None, [which.request_id]))
        if not keys:
            return None
        found, position = _of_notification(sql, memory, keys[0], which.states, after, limit)
    else:
        found, position = _newest(sql, memory, app, which, after, limit)
    attempts = partial(_attempts, sql) if with_attempts else lambda *_: ()
    return [status._replace(attempts=attempts(key, last_seq)) for key, last_seq, status in found], position


def _of_notification(
    sql: sqlite3.Connection, memory: Memory, notification: int, states: frozenset[DeliveryState], after: int, limit: int
) -> tuple[list[tuple[int, int, DeliveryStatus]], int]:
    """In target order, each after its key and the last_seq of its last run of events."""
    rows = sql.execute(_OF_NOTIFICATION, (after, notification, notification))
    return _page(memory, rows, states, limit)


def _newest(
    sql: sqlite3.Connection, memory: Memory, app: int, which: DeliverySelector, after: int, limit: int
) -> tuple[list[tuple[int, int, DeliveryStatus]], int]:
    """Of a device, user or token, newest first, each after its key and the last_seq of its last run of events."""
    query, name = (
        (_BY_DEVICE, which.device_id)
        if which.device_id
        else (_BY_USER, which.user_id)
        if which.user_id
        else (_BY_TOKEN, which.token)
    )
    before = after or 1 << 62
    searched = buckets(sql, before=before)
    rows = chain.from_iterable(
        sql.execute(f"{query} ORDER BY d.key DESC", (bucket, name, app, before)) for bucket in searched[:BUCKETS_MAX]
    )
    found, position = _page(memory, rows, which.states, limit)
    left = searched[BUCKETS_MAX:]
    return found, position or (left[0] + 1 << 12 if left else 0)


def _page(
    memory: Memory, rows: Iterator[Any], states: frozenset[DeliveryState], limit: int
) -> tuple[list[tuple[int, int, DeliveryStatus]], int]:
    page: list[tuple[int, int, DeliveryStatus]] = []
    key = 0
    for row in rows:
        if len(page) == limit:
            return page, key
        status = _delivery(memory, row)
        if not states or status.state in states:
            page.append((row[0], row[10], status))
            key = row[0]
    return page, 0


def _delivery(memory: Memory, row: Any) -> DeliveryStatus:
    (
        key, notification_id, request_id, labels, device_id, user_id, token, provider, number, tries, last_seq, due_us,
        created_us, first_delivery, outcome, cause, reason, has_own_id, message_id, time_us, replaced_by,
    ) = row  # fmt: skip
    if has_own_id:
        message_id = f"{own_id_prefix(notification_id)}{key - first_delivery:08x}"
    state = DeliveryState(number)
    if number in _OPEN and key in memory.held:
        state = DeliveryState.IN_FLIGHT
    waits = state is DeliveryState.QUEUED and tries > 0
    told = last_seq > 0
    return DeliveryStatus(
        notification_id,
        request_id,
        json.loads(labels),
        device_id,
        user_id,
        token,
        Provider(provider),
        state,
        OutcomeKind(outcome) if told else OutcomeKind.UNSPECIFIED,
        Cause(cause) if told else Cause.UNSPECIFIED,
        reason if told else "",
        message_id or "",
        tries,
        time_us if told else created_us,
        due_us - memory.time.ahead_us if waits else 0,
        replaced_by if told else "",
        state in FINAL_STATES,
    )


# --- attempts

_ATTEMPTS = f"""
    WITH RECURSIVE chain (last_seq) AS (
        SELECT ?1 UNION ALL
        SELECT {of_delivery("previous", "?2")} FROM chain JOIN events AS e ON e.last_seq = chain.last_seq
        WHERE e.previous <> ''
    )
    SELECT e.attempt, e.time_us, e.outcome, e.provider_status, e.reason, e.provider_detail, e.duration_us
    FROM chain CROSS JOIN events AS e ON e.last_seq = chain.last_seq WHERE e.duration_us IS NOT NULL LIMIT ?3"""


def _attempts(sql: sqlite3.Connection, key: int, last_seq: int) -> Sequence[AttemptStatus]:
    if not last_seq:
        return ()
    newest_first = sql.execute(_ATTEMPTS, (last_seq, key, ATTEMPTS_TOLD_MAX)).fetchall()
    return [
        AttemptStatus(number, time_us, OutcomeKind(outcome), status, reason, detail, duration_us)
        for number, time_us, outcome, status, reason, detail, duration_us in reversed(newest_first)
    ]
