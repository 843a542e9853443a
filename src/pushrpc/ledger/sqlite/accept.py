"""Accepting sends: idempotency, the registry's answer to what a target names, and the rows of what will move."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from pushrpc.ledger import LedgerError, QueueFull, RequestIdReused, SendExpired
from pushrpc.ledger.sqlite.memory import Memory
from pushrpc.ledger.sqlite.writer import Transaction
from pushrpc.model import Audience, Found, Lane, Named, Notification, Receipt, Rejection, Send
from pushrpc.words import DeviceState, Environment, Priority, Provider, RejectReason, TokenKind


class Acceptance:
    """What every accept goes by. A request_id counts for `request_id_retention_us`; `queue_max` bounds the backlog."""

    def __init__(self, request_id_retention_us: int, queue_max: int) -> None:
        self._request_id_retention_us = request_id_retention_us
        self._queue_max = queue_max

    def accept(self, sends: Sequence[Send], transaction: Transaction) -> list[Receipt | LedgerError]:
        """Each send wholly or not at all: whatever is refused is refused before its first row is written."""
        results: list[Receipt | LedgerError] = []
        for send in sends:
            try:
                results.append(self._accept(send, transaction))
            except LedgerError as refusal:
                results.append(refusal)
        return results

    def _accept(self, send: Send, transaction: Transaction) -> Receipt:
        tally = transaction.tally
        app = transaction.app_key(send.app_id)
        earlier = self._earlier(send, app, transaction.sql)
        if earlier is not None:
            return earlier
        if send.expire_us <= send.created_us:
            raise SendExpired("its expiry had passed before it came")
        audience = send.resolve(_find(transaction.sql, app, send.app_id, send.named))
        if tally.open_count + len(audience.planned) > self._queue_max:
            raise QueueFull(f"{tally.open_count} of {self._queue_max} open deliveries are taken")
        try:
            notification, receipt = _write_notification(send, app, audience, transaction)
        except sqlite3.IntegrityError:
            raise LedgerError(f"notification {send.notification_id} exists already") from None
        _write_deliveries(notification, app, audience, transaction)
        tally.open_count += len(audience.planned)
        transaction.news.append((send.app_id, send.notification_id, send.request_id))
        return receipt

    def _earlier(self, send: Send, app: int, sql: sqlite3.Connection) -> Receipt | None:
        """The receipt of an earlier send under the same request_id, if there is one that still counts."""
        if not send.request_id:
            return None
        row = sql.execute(_EARLIER, (app, send.request_id)).fetchone()
        if row is None:
            return None
        fingerprint, created_us, notification_id, total, duplicate_count, rejected, first_seq, expire_us = row
        if created_us + self._request_id_retention_us <= send.created_us:
            return None
        if fingerprint != send.fingerprint:
            raise RequestIdReused(f"request_id stands for notification {notification_id}, which was another request")
        return Receipt(
            notification_id, total, duplicate_count, _rejections(rejected), first_seq, expire_us, replayed=True
        )


_EARLIER = """
    SELECT fingerprint, created_us, notification_id, total, duplicate_count, rejected, first_seq, expire_us
    FROM notifications WHERE app = ? AND request_id = ? AND request_id <> '' ORDER BY key DESC LIMIT 1"""


def _rejections(text: str) -> list[Rejection]:
    return [
        Rejection(path, value, Provider(provider), RejectReason(reason), detail)
        for path, value, provider, reason, detail in json.loads(text)
    ]


# --- what the target names

_FOUND = """
    SELECT d.key, d.device_id, d.user_id, d.provider, d.provider_app_id, d.environment, d.token, d.token_kind,
           d.installation_id, d.state, d.updated_us
    FROM json_each(?) AS named CROSS JOIN devices AS d ON d.app = ? AND """
_REMOVED = int(DeviceState.REMOVED)
_BY_DEVICE_ID = f"{_FOUND} d.device_id = named.value AND d.state <> {_REMOVED}"
_BY_USER_ID = f"{_FOUND} d.user_id = named.value AND d.user_id <> '' AND d.state <> {_REMOVED}"
_BY_TOKEN = (
    f"{_FOUND} d.provider = ? AND d.environment = ? AND d.token = named.value AND d.token <> ''"
    f" AND d.state <> {_REMOVED}"
)


def _find(sql: sqlite3.Connection, app: int, app_id: str, named: Named) -> list[Found]:
    """The registered devices that are named, each once; removed ones are as if they had never been."""
    rows: dict[int, Any] = {}

    def look_up(query: str, names: Iterable[str], *more: int) -> None:
        rows.update((row[0], row) for row in sql.execute(query, (json.dumps(list(names)), app, *more)))

    if named.device_ids:
        look_up(_BY_DEVICE_ID, named.device_ids)
    if named.user_ids:
        look_up(_BY_USER_ID, named.user_ids)
    tokens: dict[Lane, list[str]] = defaultdict(list)
    lane, of_lane = None, []  # nearly always all tokens are of one lane: look it up once
    for token_lane, token in named.tokens:
        if token_lane is not lane:
            lane, of_lane = token_lane, tokens[token_lane]
        of_lane.append(token)
    for lane, of_lane in tokens.items():
        look_up(_BY_TOKEN, of_lane, int(lane.provider), int(lane.environment))
    return [_found(app_id, row) for row in rows.values()]


def _found(app_id: str, row: Any) -> Found:
    _, device_id, user_id, provider, provider_app_id, environment, token, kind, installation_id, state, updated_us = row
    lane = Lane(app_id, Provider(provider), provider_app_id, Environment(environment))
    return Found(device_id, user_id, lane, token, TokenKind(kind), installation_id, DeviceState(state), updated_us)


# --- rows

_INSERT_NOTIFICATION = """
    INSERT INTO notifications (
        key, app, notification_id, request_id, fingerprint, title, content, priority, collapse_key, at_most_once,
        one_try, labels, duplicate_count, rejected, first_delivery, first_seq, last_seq, queued_us, created_us,
        expire_us, completed_us, total, open
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_INSERT_DELIVERY = """
    INSERT INTO deliveries (key, app, notification, lane, priority, due_us, token, device_id, user_id)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""


def _write_notification(
    send: Send, app: int, audience: Audience, transaction: Transaction
) -> tuple[Notification, Receipt]:
    memory, tally = transaction.memory, transaction.tally
    tally.last_notification += 1
    key, total, seq = tally.last_notification, len(audience.planned), tally.last_seq
    priority = send.priority or Priority.NORMAL
    transaction.sql.execute(
        _INSERT_NOTIFICATION,
        (
            key, app, send.notification_id, send.request_id, send.fingerprint, send.content.title,
            send.content.to_json(), int(priority), send.collapse_key, send.at_most_once, send.one_try,
            json.dumps(dict(send.labels)), audience.duplicate_count, json.dumps(audience.rejected),
            tally.last_delivery + 1, seq, seq, memory.time.now_us(), send.created_us, send.expire_us,
            0 if total else send.created_us, total, total,
        ),
    )  # fmt: skip
    notification = Notification(
        key,
        send.app_id,
        send.notification_id,
        send.request_id,
        send.content,
        priority,
        send.collapse_key,
        send.at_most_once,
        send.one_try,
        send.created_us,
        send.expire_us,
        dict(send.labels),
    )
    if total:
        memory.keep(notification, tally.last_delivery + 1)
        transaction.undo.append(partial(memory.notifications.pop, key, None))
    receipt = Receipt(
        send.notification_id, total, audience.duplicate_count, audience.rejected, seq, send.expire_us, replayed=False
    )
    return notification, receipt


def _write_deliveries(notification: Notification, app: int, audience: Audience, transaction: Transaction) -> None:
    memory, tally = transaction.memory, transaction.tally
    due_us, priority, number = memory.time.now_us(), int(notification.priority), notification.key
    lane, lane_key = None, 0
    first_keys: dict[Lane, int] = {}
    rows = []
    for key, planned in enumerate(audience.planned, tally.last_delivery + 1):
        if planned.lane is not lane:
            lane = planned.lane
            lane_key = transaction.lane_key(lane)
            first_keys.setdefault(lane, key)
        rows.append((key, app, number, lane_key, priority, due_us, planned.token, planned.device_id, planned.user_id))
    transaction.sql.executemany(_INSERT_DELIVERY, rows)
    tally.last_delivery += len(rows)
    for lane, key in first_keys.items():
        _offer(memory, transaction, lane, priority, due_us, key)


def _offer(memory: Memory, transaction: Transaction, lane: Lane, priority: int, due_us: int, key: int) -> None:
    queue = memory.queue(lane)
    queue.offer(priority, due_us, key)
    transaction.woken.add(queue)
