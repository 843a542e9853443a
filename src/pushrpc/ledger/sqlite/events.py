"""Events as they are stored: one way to write them, one way to read them back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pushrpc.ledger.sqlite.writer import Transaction
from pushrpc.record import Event
from pushrpc.words import Cause, DeliveryState, DeviceState, EventKind, OutcomeKind, Provider

STATE, ATTEMPT, DEVICE = int(EventKind.STATE), int(EventKind.ATTEMPT), int(EventKind.DEVICE)

_COLUMNS = """
    SELECT e.seq, a.app_id, n.notification_id, n.request_id, n.labels, coalesce(e.device_id, d.device_id),
           d.user_id, d.token, l.provider, e.kind, e.state, e.outcome, e.cause, e.reason, e.provider_message_id,
           e.provider_status, e.provider_detail, e.attempt, e.time_us, e.retry_us, e.token_replaced_by,
           e.device_state"""
_JOINS = """
    JOIN notifications AS n ON n.key = e.notification
    JOIN deliveries AS d ON d.key = e.delivery
    JOIN lanes AS l ON l.key = d.lane
    JOIN apps AS a ON a.key = e.app"""
_BETWEEN = f"{_COLUMNS} FROM events AS e {_JOINS} WHERE e.seq > ? AND e.seq <= ? ORDER BY e.seq"
_OF_APP_BETWEEN = f"{_COLUMNS} FROM events AS e {_JOINS} WHERE e.seq > ? AND e.seq <= ? AND e.app = ? ORDER BY e.seq"
_BY_SEQ = f"{_COLUMNS} FROM json_each(?) AS w CROSS JOIN events AS e ON e.seq = w.value {_JOINS} ORDER BY w.key"

_INSERT = """
    INSERT INTO events (
        seq, previous_seq, app, notification, delivery, kind, state, outcome, cause, reason, provider_message_id,
        provider_status, provider_detail, attempt, time_us, retry_us, duration_us, token_replaced_by
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_INSERT_DEVICE = f"""
    INSERT INTO events (
        seq, previous_seq, app, notification, delivery, kind, state, outcome, cause, reason, provider_message_id,
        provider_status, provider_detail, attempt, time_us, retry_us, duration_us, token_replaced_by, device_state,
        device_id
    ) VALUES (?, 0, ?, ?, ?, {DEVICE}, 0, 0, 0, ?, '', ?, '', 0, ?, 0, NULL, ?, {int(DeviceState.DEAD)}, ?)"""

Row = tuple[Any, ...]


def insert(sql: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """`rows` are in the order of `_INSERT`'s columns."""
    sql.executemany(_INSERT, rows)


def insert_dead_devices(sql: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """`rows`: seq, app, notification, delivery, reason, provider_status, time_us, token_replaced_by, device_id."""
    sql.executemany(_INSERT_DEVICE, rows)


def between(sql: sqlite3.Connection, after_seq: int, through_seq: int) -> Iterable[Event]:
    return read(sql.execute(_BETWEEN, (after_seq, through_seq)))


def of_app_between(sql: sqlite3.Connection, app: int, after_seq: int, through_seq: int) -> Iterable[Event]:
    return read(sql.execute(_OF_APP_BETWEEN, (after_seq, through_seq, app)))


def by_seq(sql: sqlite3.Connection, seqs: Sequence[int]) -> Iterable[Event]:
    return read(sql.execute(_BY_SEQ, (json.dumps(seqs),)))


def tell(transaction: Transaction, after_seq: int) -> None:
    """Has followers told of the events that this transaction wrote after a position without building them itself."""
    transaction.events.extend(between(transaction.sql, after_seq, transaction.tally.last_seq))


# The members by number: a look-up costs a quarter of calling the enum.
_PROVIDERS = {int(member): member for member in Provider}
_KINDS = {int(member): member for member in EventKind}
_STATES = {int(member): member for member in DeliveryState}
_OUTCOMES = {int(member): member for member in OutcomeKind}
_CAUSES = {int(member): member for member in Cause}
_DEVICE_STATES = {int(member): member for member in DeviceState}


def read(rows: Iterable[Row]) -> Iterable[Event]:
    parsed: dict[str, Mapping[str, str]] = {}  # neighbours nearly always share their labels
    for row in rows:
        (
            seq, app_id, notification_id, request_id, labels_json, device_id, user_id, token, provider, kind, state,
            outcome, cause, reason, message_id, status, detail, attempt, time_us, retry_us, replaced_by, device_state,
        ) = row  # fmt: skip
        labels = parsed.get(labels_json)
        if labels is None:
            labels = parsed[labels_json] = json.loads(labels_json)
        yield Event(
            seq, app_id, notification_id, request_id, labels, device_id, user_id, token, _PROVIDERS[provider],
            _KINDS[kind], _STATES[state], _OUTCOMES[outcome], _CAUSES[cause], reason, message_id, status, detail,
            attempt, time_us, retry_us, replaced_by, _DEVICE_STATES[device_state], kind == STATE,
        )  # fmt: skip
