"""Runs of events as they are stored: one way to write them, one way to read them back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pushrpc.ledger.sqlite.writer import Transaction
from pushrpc.model import own_id_prefix
from pushrpc.record import EventRun
from pushrpc.words import Cause, DeliveryState, DeviceState, EventKind, OutcomeKind, Provider

STATE, ATTEMPT, DEVICE = int(EventKind.STATE), int(EventKind.ATTEMPT), int(EventKind.DEVICE)

_COLUMNS = """
    SELECT e.last_seq, e.count, e.first_delivery, e.deliveries, a.app_id, n.notification_id, n.request_id, n.labels,
           n.first_delivery, e.provider, e.kind, e.state, e.outcome, e.cause, e.reason, e.own_id, e.message_ids,
           e.provider_status, e.provider_detail, e.attempt, e.time_us, e.retry_us, e.token_replaced_by, e.device_state,
           e.device_id"""
_JOINS = "JOIN notifications AS n ON n.key = e.notification JOIN apps AS a ON a.key = e.app"
_BETWEEN = f"{_COLUMNS} FROM events AS e {_JOINS} WHERE e.last_seq > ? AND e.last_seq <= ? ORDER BY e.last_seq"
_OF_APP_BETWEEN = f"""{_COLUMNS} FROM events AS e {_JOINS}
    WHERE e.last_seq > ? AND e.last_seq <= ? AND e.app = ? ORDER BY e.last_seq"""
_BY_LAST_SEQ = (
    f"{_COLUMNS} FROM json_each(?) AS w CROSS JOIN events AS e ON e.last_seq = w.value {_JOINS} ORDER BY w.key"
)

_INSERT = """
    INSERT INTO events (
        last_seq, count, notification, first_delivery, deliveries, previous, message_ids, attempt, app, provider, kind,
        state, outcome, cause, reason, own_id, provider_status, provider_detail, time_us, retry_us, duration_us,
        token_replaced_by
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
PREVIOUS = 5  # its place in a row of _INSERT
_INSERT_DEVICE = f"""
    INSERT INTO events (
        last_seq, count, app, notification, provider, first_delivery, deliveries, previous, kind, state, outcome, cause,
        reason, own_id, message_ids, provider_status, provider_detail, attempt, time_us, retry_us, token_replaced_by,
        device_state, device_id
    ) VALUES (?, 1, ?, ?, ?, ?, '', '', {DEVICE}, 0, 0, 0, ?, 0, '', ?, '', 0, ?, 0, ?, {int(DeviceState.DEAD)}, ?)"""

Row = tuple[Any, ...]


def of_delivery(column: str, key: str) -> str:
    """SQL for what a column of a run `e`, which is an array or '', says of the delivery with this key; NULL for ''."""
    return f"""
        CASE WHEN e.{column} = '' THEN NULL
        WHEN e.deliveries = '' THEN json_extract(e.{column}, '$[' || ({key} - e.first_delivery) || ']')
        ELSE (SELECT json_extract(e.{column}, '$[' || place.key || ']') FROM json_each(e.deliveries) AS place
              WHERE place.value = {key}) END"""


def stored(values: Sequence[object]) -> str:
    """A column of a run as it is stored: nothing when it says nothing of any delivery."""
    return json.dumps(values) if any(values) else ""


def keys_stored(keys: Sequence[int]) -> str:
    """The rising keys of a run's deliveries as they are stored: nothing when its first key and count tell them."""
    return "" if keys[-1] - keys[0] == len(keys) - 1 else json.dumps(keys)


def insert(sql: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """`rows` are in the order of `_INSERT`'s columns."""
    sql.executemany(_INSERT, rows)


def insert_dead_devices(sql: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """`rows`: seq, app, notification, provider, delivery, reason, provider_status, time_us, replaced_by, device_id."""
    sql.executemany(_INSERT_DEVICE, rows)


def between(sql: sqlite3.Connection, after_seq: int, through_seq: int) -> Iterator[EventRun]:
    """Every run that ends after a position and not after another; the first may begin before it."""
    return _read(sql, sql.execute(_BETWEEN, (after_seq, through_seq)))


def of_app_between(sql: sqlite3.Connection, app: int, after_seq: int, through_seq: int) -> Iterator[EventRun]:
    return _read(sql, sql.execute(_OF_APP_BETWEEN, (after_seq, through_seq, app)))


def by_last_seq(sql: sqlite3.Connection, last_seqs: Sequence[int]) -> Iterator[EventRun]:
    return _read(sql, sql.execute(_BY_LAST_SEQ, (json.dumps(last_seqs),)))


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


def _read(sql: sqlite3.Connection, rows: Iterable[Row]) -> Iterator[EventRun]:
    parsed: dict[str, Mapping[str, str]] = {}  # neighbours nearly always share their labels
    for row in rows:
        (
            last_seq, count, first_key, deliveries, app_id, notification_id, request_id, labels_json, first_delivery,
            provider, kind, state, outcome, cause, reason, has_own_id, message_ids, status, detail, attempt, time_us,
            retry_us, replaced_by, device_state, device_id,
        ) = row  # fmt: skip
        labels = parsed.get(labels_json)
        if labels is None:
            labels = parsed[labels_json] = json.loads(labels_json)
        tokens, device_ids, user_ids = _deliveries(sql, first_key, count, deliveries)
        yield EventRun(
            last_seq - count + 1, app_id, notification_id, request_id, labels, _PROVIDERS[provider], _KINDS[kind],
            _STATES[state], _OUTCOMES[outcome], _CAUSES[cause], reason, status, detail, attempt, time_us, retry_us,
            replaced_by, _DEVICE_STATES[device_state], kind == STATE, tokens,
            column(device_ids) if device_id is None else (device_id,), column(user_ids),
            _own_ids(notification_id, first_delivery, first_key, count, deliveries) if has_own_id
            else json.loads(message_ids or "[]"),
        )  # fmt: skip


def _own_ids(notification_id: str, first_delivery: int, first_key: int, count: int, deliveries: str) -> list[str]:
    keys = json.loads(deliveries) if deliveries else range(first_key, first_key + count)
    prefix = own_id_prefix(notification_id)
    return [f"{prefix}{key - first_delivery:08x}" for key in keys]


def column(values: Sequence[str]) -> Sequence[str]:
    """A column of an EventRun: nothing when it says nothing of any delivery."""
    return values if any(values) else ()


_REACHED = "SELECT token, device_id, user_id FROM deliveries WHERE key BETWEEN ? AND ? ORDER BY key"
_REACHED_EACH = """
    SELECT d.token, d.device_id, d.user_id FROM json_each(?) AS w CROSS JOIN deliveries AS d ON d.key = w.value
    ORDER BY w.key"""


def _deliveries(
    sql: sqlite3.Connection, first_key: int, count: int, keys: str
) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    """Tokens, device_ids and user_ids of a run."""
    if keys:
        rows = sql.execute(_REACHED_EACH, (keys,)).fetchall()
    else:
        rows = sql.execute(_REACHED, (first_key, first_key + count - 1)).fetchall()
    tokens, device_ids, user_ids = zip(*rows, strict=True)
    return tokens, device_ids, user_ids
