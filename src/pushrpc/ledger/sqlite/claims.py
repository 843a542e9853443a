"""Handing out what is due: most urgent first, then longest due, then in the order of acceptance."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from pushrpc.content import Content
from pushrpc.ledger import Limit
from pushrpc.ledger.sqlite.due import take
from pushrpc.ledger.sqlite.memory import LaneQueue, Memory
from pushrpc.ledger.sqlite.settle import MARK_IN_FLIGHT, Ending, end
from pushrpc.ledger.sqlite.writer import Transaction
from pushrpc.model import Batch, Claimed, Lane, Notification
from pushrpc.words import Cause, DeliveryState, Priority


def claim(lane: Lane, limit: Limit, transaction: Transaction) -> Batch:
    """Takes due deliveries. Of notifications with at_most_once the claim itself is written.

    Those of a notification whose row cannot be read end as FAILED: left queued, they would fail every claim after this.
    """
    memory, sql = transaction.memory, transaction.sql
    queue = memory.queue(lane)
    rows = take(sql, memory, queue, *limit)
    claimed, unreadable = hold(sql, memory, lane, rows)
    transaction.undo.append(partial(_give_back, claimed, queue, transaction))
    at_most_once = [(delivery.key,) for delivery in claimed if delivery.notification.at_most_once]
    if at_most_once:
        sql.executemany(MARK_IN_FLIGHT, at_most_once)
    if unreadable:
        now_us = memory.time.now_us() - memory.time.ahead_us
        end([Ending(key, DeliveryState.FAILED, Cause.UNSPECIFIED) for key in unreadable], now_us, transaction)
    return Batch(lane, claimed)


def _give_back(deliveries: Sequence[Claimed], queue: LaneQueue, transaction: Transaction) -> None:
    transaction.memory.release([claimed.key for claimed in deliveries])
    for claimed in deliveries:
        queue.give_back(claimed)
    transaction.woken.add(queue)


def hold(sql: sqlite3.Connection, memory: Memory, lane: Lane, rows: Sequence[Any]) -> tuple[list[Claimed], list[int]]:
    """Marks rows as claimed and makes of them what is handed out; with the keys of those that cannot be read."""
    known = notifications(sql, memory, {row[1] for row in rows})
    deliveries: list[Claimed] = []
    unreadable: list[int] = []
    for number, neighbours in groupby(rows, _notification_key):
        if number not in known:
            unreadable += [row[0] for row in neighbours]
            continue
        notification, first_delivery = known[number]
        ours = notification, lane
        deliveries += [
            _new((key, *ours, key - first_delivery, token, device_id, user_id, tries, spent, due_us, address))
            for key, _, due_us, tries, spent, token, device_id, user_id, address in neighbours
        ]
    memory.hold(deliveries)
    return deliveries, unreadable


_notification_key = itemgetter(1)
_new: Callable[[tuple[Any, ...]], Claimed] = partial(tuple.__new__, Claimed)  # a third of what its own __new__ costs


_NOTIFICATIONS = """
    SELECT n.key, a.app_id, n.notification_id, n.request_id, n.content, n.priority, n.collapse_key, n.at_most_once,
           n.one_try, n.created_us, n.expire_us, n.labels, n.first_delivery
    FROM json_each(?) AS wanted CROSS JOIN notifications AS n ON n.key = wanted.value JOIN apps AS a ON a.key = n.app"""


def notifications(sql: sqlite3.Connection, memory: Memory, keys: set[int]) -> dict[int, tuple[Notification, int]]:
    """Notifications by key with the key of their first delivery, but for those that cannot be read."""
    kept = memory.notifications
    known = {key: kept[key] for key in keys if key in kept}
    missing = [key for key in keys if key not in known]
    for row in sql.execute(_NOTIFICATIONS, (json.dumps(missing),)) if missing else ():
        try:
            notification = _notification(row)
        except (ValueError, TypeError, LookupError, AttributeError):  # whatever a damaged row holds instead
            continue
        key, first_delivery = row[0], row[-1]
        known[key] = notification, first_delivery
        memory.keep(notification, first_delivery)
    return known


def _notification(row: Any) -> Notification:
    (
        key, app_id, notification_id, request_id, content, priority, collapse_key, at_most_once, one_try,
        created_us, expire_us, labels, _,
    ) = row  # fmt: skip
    return Notification(
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
