"""What a start must know, and what becomes of claims whose owner is gone. No step reads more than a few rows a lane."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from typing import Any

from pushrpc.ledger.sqlite.claims import hold
from pushrpc.ledger.sqlite.due import refresh
from pushrpc.ledger.sqlite.memory import Memory, Tally
from pushrpc.ledger.sqlite.settle import Ending, end, settle
from pushrpc.ledger.sqlite.sweep import cancelled_and_open
from pushrpc.ledger.sqlite.writer import Transaction
from pushrpc.model import Lane, Outcome, Settlement
from pushrpc.words import Cause, DeliveryState, Environment, OutcomeKind, Provider

_TALLY = "SELECT last_notification, last_delivery, last_seq, open_count, pruned_seq, oldest_open FROM ledger"
_LANES = """
    SELECT l.key, a.app_id, l.provider, l.provider_app_id, l.environment, l.origin
    FROM lanes AS l JOIN apps AS a ON a.key = l.app ORDER BY l.key"""
_APPS_WITH_DEVICES = "SELECT a.key FROM apps AS a WHERE EXISTS (SELECT 1 FROM devices AS d WHERE d.app = a.key)"
_NEWEST_QUEUED = "SELECT queued_us FROM notifications ORDER BY key DESC LIMIT 1"
_STANDING = "SELECT d.key, d.state, d.tries FROM json_each(?) AS w CROSS JOIN deliveries AS d ON d.key = w.value"


def load(memory: Memory, sql: sqlite3.Connection) -> None:
    """Fills memory from the file; what is claimed stays claimed."""
    memory.tally = Tally(*sql.execute(_TALLY).fetchone())
    memory.app_keys = {app_id: key for key, app_id in sql.execute("SELECT key, app_id FROM apps")}
    memory.apps_with_devices = {key for (key,) in sql.execute(_APPS_WITH_DEVICES)}
    memory.lanes = {
        key: Lane(app_id, Provider(provider), provider_app_id, Environment(environment), origin)
        for key, app_id, provider, provider_app_id, environment, origin in sql.execute(_LANES)
    }
    memory.lane_keys = {lane: key for key, lane in memory.lanes.items()}
    memory.notifications.clear()
    memory.cancelled = cancelled_and_open(sql)
    newest = sql.execute(_NEWEST_QUEUED).fetchone()
    if newest is not None:
        memory.time.not_before(newest[0])
    _release_settled(memory, sql)
    for lane in memory.lane_keys:
        memory.queue(lane)
    memory.rewind()
    for queue in memory.queues.values():
        refresh(sql, memory, queue)


def _release_settled(memory: Memory, sql: sqlite3.Connection) -> None:
    """After a failed commit: claims whose settlement turns out to be written. Settling them again changes nothing.

    And claims that an unregistration turns out to have marked: they are not queued again.
    """
    for key, state, tries in sql.execute(_STANDING, (json.dumps(list(memory.held)),)).fetchall():
        claimed = memory.held[key]
        if state > DeliveryState.IN_FLIGHT or tries != claimed.tries:
            memory.release([key])
        elif state == DeliveryState.IN_FLIGHT and not claimed.notification.at_most_once:
            memory.removed.add(key)
    memory.removed.intersection_update(memory.held)


_ORPHANS = """
    SELECT lane, key, notification, due_us, tries, spent, token, device_id, user_id, address
    FROM deliveries WHERE state = 2"""


def end_orphans(now_us: int, transaction: Transaction) -> None:
    """Ends what was claimed when the last process ended, may have been sent, and must not be sent again.

    FAILED for deliveries of at_most_once, CANCELLED for those whose device was removed while they were claimed.
    """
    memory = transaction.memory
    by_lane: dict[int, list[Any]] = defaultdict(list)
    for lane, *row in transaction.sql.execute(_ORPHANS).fetchall():
        by_lane[lane].append(row)
    unknown = Outcome(OutcomeKind.UNKNOWN, detail="the server stopped before the answer was seen")
    for lane, rows in by_lane.items():
        deliveries, unreadable = hold(transaction.sql, memory, memory.lanes[lane], rows)
        settlements = []
        for claimed in deliveries:
            if claimed.notification.at_most_once:
                state, cause = DeliveryState.FAILED, Cause.ANSWER_UNKNOWN
            else:
                state, cause = DeliveryState.CANCELLED, Cause.DEVICE_REMOVED
            settlements.append(Settlement([claimed], unknown, (), state, cause, 0, True, now_us, now_us))
        settle(settlements, transaction)
        end([Ending(key, DeliveryState.FAILED, Cause.UNSPECIFIED) for key in unreadable], now_us, transaction)
