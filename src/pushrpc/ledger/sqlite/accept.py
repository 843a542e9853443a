"""Accepting sends: idempotency, the registry's answer to what a target names, and the rows of what will move."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import count, repeat
from typing import Any

from pushrpc.content import Content
from pushrpc.ledger import LedgerError, QueueFull, RequestIdReused, SendExpired
from pushrpc.ledger.sqlite.writer import Transaction
from pushrpc.model import Audience, Found, Lane, Notification, Receipt, Rejection, Send
from pushrpc.words import DeviceState, Environment, Priority, Provider, RejectReason, TokenKind


class Acceptance:
    """What every accept goes by. A request_id counts for `request_id_retention_us`; `queue_max` bounds the backlog."""

    def __init__(self, request_id_retention_us: int, queue_max: int) -> None:
        self._request_id_retention_us = request_id_retention_us
        self._queue_max = queue_max
        self._content: Content | None = None  # the last one: sends of a call may share theirs
        self._content_json = ""

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
        audience = send.resolve(_find(transaction, app, send))
        total = audience.target_count
        if tally.open_count + total > self._queue_max:
            raise QueueFull(f"{tally.open_count} of {self._queue_max} open deliveries are taken")
        if send.content is not self._content:
            self._content, self._content_json = send.content, send.content.to_json()
        try:
            notification, receipt = _write_notification(send, app, self._content_json, audience, total, transaction)
        except sqlite3.IntegrityError:
            raise LedgerError(f"notification {send.notification_id} exists already") from None
        _write_deliveries(notification, app, audience, transaction)
        tally.open_count += total
        transaction.accepted.append((send.app_id, send.notification_id, send.request_id))
        return receipt

    def _earlier(self, send: Send, app: int, sql: sqlite3.Connection) -> Receipt | None:
        """The receipt of an earlier send under the same request_id, if there is one that still counts."""
        if not send.request_id:
            return None
        row = sql.execute(_EARLIER, (app, send.request_id)).fetchone()
        if row is None:
            return None
        fingerprint, created_us, notification_id, total, duplicate_count, rejected, first_seq, expire_us, cut = row
        if created_us + self._request_id_retention_us <= send.created_us:
            return None
        if fingerprint != send.fingerprint:
            raise RequestIdReused(f"request_id stands for notification {notification_id}, which was another request")
        shortened = [Provider(number) for number in json.loads(cut)] if cut else ()
        return Receipt(
            notification_id, total, duplicate_count, _rejections(rejected), first_seq, expire_us, True, shortened
        )


_EARLIER = """
    SELECT fingerprint, created_us, notification_id, total, duplicate_count, rejected, first_seq, expire_us, shortened
    FROM notifications WHERE app = ? AND request_id = ? AND request_id <> '' ORDER BY key DESC LIMIT 1"""


def _rejections(text: str) -> list[Rejection]:
    return [
        Rejection(path, value, Provider(provider), RejectReason(reason), detail)
        for path, value, provider, reason, detail in json.loads(text)
    ]


# --- what the target names

_DEAD, _REMOVED = int(DeviceState.DEAD), int(DeviceState.REMOVED)
_FOUND = f"""
    SELECT d.key, d.device_id, d.user_id, d.provider, d.provider_app_id, d.environment, d.token, d.token_kind,
           d.installation_id, CASE WHEN d.token_expire_us BETWEEN 1 AND ? THEN {_DEAD} ELSE d.state END, d.updated_us,
           d.address, d.origin
    FROM json_each(?) AS named CROSS JOIN devices AS d ON d.app = ? AND """
_BY_DEVICE_ID = f"{_FOUND} d.device_id = named.value AND d.state <> {_REMOVED}"
_BY_USER_ID = f"{_FOUND} d.user_id = named.value AND d.user_id <> '' AND d.state <> {_REMOVED}"
_BY_TOKEN = (
    f"{_FOUND} d.provider = ? AND d.environment = ? AND d.token = named.value AND d.token <> ''"
    f" AND d.state <> {_REMOVED}"
)


def _find(transaction: Transaction, app: int, send: Send) -> list[Found]:
    """The registered devices that are named, each once; removed ones are as if they had never been."""
    if app not in transaction.memory.apps_with_devices:
        return []
    sql, named = transaction.sql, send.named
    rows: dict[int, Any] = {}

    def look_up(query: str, names: Iterable[str], *more: int) -> None:
        rows.update((row[0], row) for row in sql.execute(query, (send.created_us, json.dumps(list(names)), app, *more)))

    if named.device_ids:
        look_up(_BY_DEVICE_ID, named.device_ids)
    if named.user_ids:
        look_up(_BY_USER_ID, named.user_ids)
    for lane, tokens in named.tokens:
        look_up(_BY_TOKEN, tokens, int(lane.provider), int(lane.environment))
    return [_found(send.app_id, row) for row in rows.values()]


def resolve(send: Send, transaction: Transaction) -> Audience:
    """Whom a send would reach now."""
    return send.resolve(_find(transaction, transaction.app_key(send.app_id), send))


def _found(app_id: str, row: Any) -> Found:
    (
        _, device_id, user_id, provider, provider_app_id, environment, token, kind, installation_id, state, updated_us,
        address, origin,
    ) = row  # fmt: skip
    lane = Lane(app_id, Provider(provider), provider_app_id, Environment(environment), origin)
    return Found(
        device_id, user_id, lane, token, TokenKind(kind), installation_id, DeviceState(state), updated_us, address
    )


# --- rows

_INSERT_NOTIFICATION = """
    INSERT INTO notifications (
        key, app, notification_id, request_id, fingerprint, title, content, priority, collapse_key, at_most_once,
        one_try, labels, duplicate_count, rejected, first_delivery, first_seq, last_seq, queued_us, created_us,
        expire_us, completed_us, total, open
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?16, ?16, ?, ?, ?, ?, ?21, ?21)"""
_SET_SHORTENED = "UPDATE notifications SET shortened = ? WHERE key = ?"
_INSERT_DELIVERY = """
    INSERT INTO deliveries (key, app, notification, lane, priority, due_us, token, device_id, user_id, address)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
# One step for all: a step a row costs 1 µs more each (measured), and gives the interpreter away each time.
_INSERT_TOKENS = """
    INSERT INTO deliveries (key, app, notification, lane, priority, due_us, token, device_id, user_id)
    SELECT ?1 + w.key, ?2, ?3, ?4, ?5, ?6, w.value, '', '' FROM json_each(?7) AS w"""
_TOKENS_MIN = 8  # fewer are cheaper one by one


def _write_notification(
    send: Send, app: int, content: str, audience: Audience, total: int, transaction: Transaction
) -> tuple[Notification, Receipt]:
    memory, tally = transaction.memory, transaction.tally
    tally.last_notification += 1
    key, seq = tally.last_notification, tally.last_seq
    priority, labels = send.priority or Priority.NORMAL, dict(send.labels)
    # Plain integers and ready texts: for a bool SQLite's module looks for adapters, which costs as much as five values.
    transaction.sql.execute(
        _INSERT_NOTIFICATION,
        (
            key, app, send.notification_id, send.request_id, send.fingerprint, send.content.title,
            content, int(priority), send.collapse_key, int(send.at_most_once), int(send.one_try),
            json.dumps(labels) if labels else "{}", audience.duplicate_count,
            json.dumps(audience.rejected) if audience.rejected else "[]", tally.last_delivery + 1, seq,
            transaction.queue_us, send.created_us, send.expire_us, 0 if total else send.created_us, total,
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
        labels,
    )
    if total:
        memory.keep(notification, tally.last_delivery + 1)
        transaction.undo.append(partial(memory.notifications.pop, key, None))
    if audience.shortened:
        transaction.sql.execute(_SET_SHORTENED, (json.dumps(audience.shortened), key))
    receipt = Receipt(
        send.notification_id, total, audience.duplicate_count, audience.rejected, seq, send.expire_us, False,
        audience.shortened,
    )  # fmt: skip
    return notification, receipt


def _write_deliveries(notification: Notification, app: int, audience: Audience, transaction: Transaction) -> None:
    sql, tally = transaction.sql, transaction.tally
    priority, due_us = int(notification.priority), transaction.queue_us
    for lane, tokens, device_ids, user_ids, addresses in audience.planned:
        first_key, lane_key = tally.last_delivery + 1, transaction.lane_key(lane)
        shared = (app, notification.key, lane_key, priority, due_us)
        if len(tokens) >= _TOKENS_MIN and not (device_ids or user_ids or addresses):
            sql.execute(_INSERT_TOKENS, (first_key, *shared, json.dumps(tokens)))
        elif len(tokens) == 1:
            named = [column[0] if column else "" for column in (device_ids, user_ids, addresses)]
            sql.execute(_INSERT_DELIVERY, (first_key, *shared, tokens[0], *named))
        else:
            columns = (column or repeat("") for column in (device_ids, user_ids, addresses))
            rows = zip(count(first_key), tokens, *columns)
            sql.executemany(_INSERT_DELIVERY, [(key, *shared, *row) for key, *row in rows])
        tally.last_delivery += len(tokens)
        queue = transaction.memory.queue(lane)
        queue.offer(priority, due_us, first_key)
        transaction.woken.add(queue)
