"""Settling: what attempts came to, and endings without one. State, events, counters, dead devices: one commit."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from pushrpc.ledger.sqlite import events
from pushrpc.ledger.sqlite.due import refresh
from pushrpc.ledger.sqlite.memory import Hold
from pushrpc.ledger.sqlite.status import buckets
from pushrpc.ledger.sqlite.writer import Transaction
from pushrpc.model import Lane, Settlement
from pushrpc.record import Event
from pushrpc.words import TRANSITIONS, Cause, DeliveryState, DeviceState, EventKind, OutcomeKind

QUEUED, EXPIRED = int(DeliveryState.QUEUED), int(DeliveryState.EXPIRED)
_FINAL = int(DeliveryState.SENT)  # the least final state; the counters' columns follow the states' order
_LEGAL = TRANSITIONS[DeliveryState.IN_FLIGHT]


class Ending(NamedTuple):
    """A delivery that becomes final without an attempt."""

    key: int
    state: DeliveryState
    cause: Cause


def settle(settlements: Sequence[Settlement], transaction: Transaction) -> None:
    """Applies each settlement whose delivery is still claimed; one that was applied before is passed over."""
    released: list[Hold] = []
    transaction.undo.append(partial(transaction.memory.hold, released))
    attempts = _Attempts(transaction)
    endings: list[Ending] = []
    returns: list[tuple[Settlement, Hold]] = []
    time_us = 0
    for settlement in settlements:
        claimed, outcome, state, cause, *_ = settlement
        hold = transaction.memory.release(claimed.key)
        if hold is None:
            continue
        released.append(hold)
        assert state in _LEGAL, f"delivery {claimed.key}: no way from IN_FLIGHT to {state!r}"
        if state is DeliveryState.QUEUED:
            ends = transaction.memory.must_end(claimed)
            if ends is not None:
                state, cause = DeliveryState.CANCELLED, ends
        if outcome.kind is not OutcomeKind.UNSPECIFIED:
            attempts.add(settlement, hold, state, cause)
        elif state is DeliveryState.QUEUED:
            returns.append((settlement, hold))
        else:
            endings.append(Ending(claimed.key, state, cause))
            time_us = max(time_us, settlement.time_us)
    attempts.write()
    _return(returns, transaction)
    end(endings, time_us, transaction)
    removed = transaction.memory.removed.intersection(hold.claimed.key for hold in released)
    transaction.memory.removed -= removed
    transaction.undo.append(partial(transaction.memory.removed.update, removed))


def _return(returns: Sequence[tuple[Settlement, Hold]], transaction: Transaction) -> None:
    """Puts deliveries back that were surely not sent. One that may go again at once keeps its place in the queue."""
    ahead_us = transaction.memory.time.ahead_us
    written = []
    for settlement, hold in returns:
        key, notification = settlement.claimed.key, settlement.claimed.notification
        later = settlement.due_us > settlement.time_us
        if later or notification.at_most_once:
            hold = hold._replace(due_us=settlement.due_us + ahead_us if later else hold.due_us)
            written.append((hold.due_us, key))
        hold.give_back()
        transaction.woken.add(hold.queue)
    transaction.sql.executemany(
        f"UPDATE deliveries SET state = {QUEUED}, due_us = ? WHERE key = ? AND state < 3", written
    )


# --- attempts

_SETTLE_FINAL = """
    UPDATE deliveries SET state = ?, tries = ?, spent = ?, last_seq = ? WHERE key = ? AND state < 3"""
_SETTLE_RETRY = f"""
    UPDATE deliveries SET state = {QUEUED}, due_us = ?, tries = ?, spent = ?, last_seq = ?
    WHERE key = ? AND state < 3"""
_LAST_SEQS = "SELECT d.key, d.last_seq FROM json_each(?) AS w CROSS JOIN deliveries AS d ON d.key = w.value"


class _Attempts:
    """Rows of attempts, gathered for a few statements with many rows each."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._app_id, self._app = "", 0
        self._events: list[tuple[Any, ...]] = []
        self._final: list[tuple[int, int, int, int, int]] = []
        self._retries: list[tuple[int, int, int, int, int]] = []
        self._repeated: list[int] = []  # places in _events that have an event before them
        self._dead: list[tuple[Settlement, Lane]] = []
        self._counters = Counters()

    def add(self, settlement: Settlement, hold: Hold, state: DeliveryState, cause: Cause) -> None:
        claimed, outcome, _, _, due_us, spend, started_us, time_us = settlement
        key, notification, _, token, device_id, user_id, tries, spent = claimed
        transaction = self._transaction
        tally = transaction.tally
        tally.last_seq = seq = tally.last_seq + 1
        if notification.app_id != self._app_id:
            self._app_id, self._app = notification.app_id, transaction.app_key(notification.app_id)
        if tries:
            self._repeated.append(len(self._events))
        tries += 1
        spent += spend
        final = state is not DeliveryState.QUEUED
        if final:
            kind, retry_us = EventKind.STATE, 0
            self._final.append((int(state), tries, spent, seq, key))
            self._counters.add(notification.key, int(state), seq, time_us)
            if state is DeliveryState.UNREGISTERED:
                self._dead.append((settlement, hold.queue.lane))
        else:
            kind, retry_us = EventKind.ATTEMPT, due_us
            queue_due_us = due_us + transaction.memory.time.ahead_us
            self._retries.append((queue_due_us, tries, spent, seq, key))
            self._counters.seen(notification.key, seq)
            hold.queue.offer(notification.priority, queue_due_us, key)
            transaction.woken.add(hold.queue)
        kind_of, status, reason, detail, message_id, replaced_by = (
            outcome.kind, outcome.provider_status, outcome.reason, outcome.detail, outcome.provider_message_id,
            outcome.replaced_by,
        )  # fmt: skip
        self._events.append(
            (
                seq, 0, self._app, notification.key, key, int(kind), int(state), int(kind_of), int(cause), reason,
                message_id, status, detail, tries, time_us, retry_us, time_us - started_us, replaced_by,
            )
        )  # fmt: skip
        transaction.events.append(
            Event(
                seq, notification.app_id, notification.notification_id, notification.request_id, notification.labels,
                device_id, user_id, token, hold.queue.lane.provider, kind, state, kind_of, cause, reason, message_id,
                status, detail, tries, time_us, retry_us, replaced_by, DeviceState.UNSPECIFIED, final,
            )
        )  # fmt: skip

    def write(self) -> None:
        if not self._events:
            return
        sql = self._transaction.sql
        if self._repeated:
            self._link_to_previous(sql)
        events.insert(sql, self._events)
        settled = sql.executemany(_SETTLE_FINAL, self._final).rowcount if self._final else 0
        settled += sql.executemany(_SETTLE_RETRY, self._retries).rowcount if self._retries else 0
        # What is claimed ends only here, so a row that was final already means that memory and file disagree.
        assert settled == len(self._events), f"{len(self._events) - settled} claimed deliveries were final already"
        self._counters.write(self._transaction)
        if self._dead:
            bury(self._dead, self._transaction)

    def _link_to_previous(self, sql: sqlite3.Connection) -> None:
        keys = [self._events[place][4] for place in self._repeated]
        last_seqs = dict(sql.execute(_LAST_SEQS, (json.dumps(keys),)).fetchall())
        for place in self._repeated:
            row = self._events[place]
            self._events[place] = (row[0], last_seqs[row[4]], *row[2:])


# --- endings without an attempt

_ENDING = """
    SELECT d.key, d.lane, d.app, d.notification, d.tries, d.last_seq, coalesce(e.outcome, 0), coalesce(e.reason, ''),
           coalesce(e.provider_message_id, ''), coalesce(e.provider_status, 0), coalesce(e.provider_detail, ''),
           coalesce(e.token_replaced_by, '')
    FROM json_each(?) AS w CROSS JOIN deliveries AS d ON d.key = w.value LEFT JOIN events AS e ON e.seq = d.last_seq
    WHERE d.state < 3"""
_END = "UPDATE deliveries SET state = ?, last_seq = ? WHERE key = ? AND state < 3"


def end(endings: Sequence[Ending], time_us: int, transaction: Transaction) -> None:
    """Makes deliveries final that nobody is sending. Their events repeat what the last attempt came to."""
    if not endings:
        return
    by_key = {ending.key: ending for ending in endings}
    tally = transaction.tally
    before_seq = tally.last_seq
    counters = Counters()
    rows, ended, lanes = [], [], set()
    for row in transaction.sql.execute(_ENDING, (json.dumps(list(by_key)),)):
        key, lane, app, notification, tries, last_seq, outcome, reason, message_id, status, detail, replaced_by = row
        lanes.add(lane)
        state, cause = int(by_key[key].state), int(by_key[key].cause)
        if state == EXPIRED and outcome == OutcomeKind.CREDENTIAL_REFUSED:
            cause = int(Cause.LANE_PAUSED)
        tally.last_seq = seq = tally.last_seq + 1
        rows.append(
            (
                seq, last_seq, app, notification, key, events.STATE, state, outcome, cause, reason, message_id, status,
                detail, tries, time_us, 0, None, replaced_by,
            )
        )  # fmt: skip
        ended.append((state, seq, key))
        counters.add(notification, state, seq, time_us)
    events.insert(transaction.sql, rows)
    transaction.sql.executemany(_END, ended)
    counters.write(transaction)
    events.tell(transaction, before_seq)
    transaction.undo.append(transaction.rewind)
    for lane in lanes:
        queue = transaction.memory.queue(transaction.memory.lanes[lane])
        refresh(transaction.sql, transaction.memory, queue)
        transaction.woken.add(queue)  # a claim may have gone to sleep by what the queue said before


_OPEN_TO = """
    SELECT d.key FROM json_each(?) AS w CROSS JOIN deliveries AS d
    ON d.key >> 14 = ? AND d.device_id = w.value AND d.device_id <> ''
    WHERE d.app = ? AND d.state < 3"""
# Without the hint SQLite would walk the table's own order, over everything that is finished.
_OLDEST_OPEN = """
    SELECT first_delivery FROM notifications INDEXED BY notifications_unfinished
    WHERE completed_us = 0 ORDER BY key LIMIT 1"""


def open_to(app: int, device_ids: Sequence[str], transaction: Transaction) -> list[int]:
    """Keys of deliveries to these devices that are not final, claimed ones included."""
    if not device_ids or not transaction.tally.open_count:
        return []
    sql, names = transaction.sql, json.dumps(device_ids)
    (oldest,) = sql.execute(_OLDEST_OPEN).fetchone()
    return [key for bucket in buckets(sql, oldest) for (key,) in sql.execute(_OPEN_TO, (names, bucket, app))]


# --- counters

_COUNT = """
    UPDATE notifications SET
        sent = sent + ?3, rejected_count = rejected_count + ?4, unregistered = unregistered + ?5,
        expired = expired + ?6, cancelled = cancelled + ?7, suppressed = suppressed + ?8, failed = failed + ?9,
        completed_us = CASE WHEN open = ?2 THEN ?11 ELSE completed_us END, open = open - ?2, last_seq = ?10
    WHERE key = ?1"""


class Counters:
    """What becomes final, added up by notification: key, how many, then one count a state, last seq, time."""

    def __init__(self) -> None:
        self._rows: dict[int, list[int]] = {}

    def add(self, notification: int, state: int, seq: int, time_us: int, count: int = 1) -> None:
        row = self._rows.get(notification)
        if row is None:
            row = self._rows[notification] = [notification, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        row[1] += count
        row[2 + state - _FINAL] += count
        row[9] = seq
        if time_us > row[10]:
            row[10] = time_us

    def seen(self, notification: int, seq: int) -> None:
        """An event that ends nothing."""
        row = self._rows.get(notification)
        if row is None:
            row = self._rows[notification] = [notification, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        row[9] = seq

    def write(self, transaction: Transaction) -> None:
        transaction.sql.executemany(_COUNT, self._rows.values())
        transaction.tally.open_count -= sum(row[1] for row in self._rows.values())


# --- dead devices

_HOLDER = """
    SELECT key, device_id FROM devices
    WHERE app = ? AND provider = ? AND environment = ? AND token = ? AND token <> ''
      AND registered_us < ? AND state < ?"""
_BURY = (
    "UPDATE devices SET state = ?, dead_reason = ?, dead_us = ?, token_replaced_by = ?, updated_us = ? WHERE key = ?"
)
_SEEN = "UPDATE notifications SET last_seq = ? WHERE key = ?"


def bury(dead_ends: Sequence[tuple[Settlement, Lane]], transaction: Transaction) -> None:
    """Marks devices DEAD that still hold a dead token and registered it before its death, or before our request.

    The guard is Apple's: a 410 tells when the token became invalid, and one registered again since then is good
    ("Handling notification responses from APNs", key timestamp).
    """
    sql, tally = transaction.sql, transaction.tally
    before_seq = tally.last_seq
    dead, rows, seen = [], [], []
    buried: set[int] = set()
    device_ids_of: dict[int, list[str]] = {}
    for settlement, lane in dead_ends:
        claimed, outcome, _, _, _, _, started_us, time_us = settlement
        app = transaction.app_key(lane.app_id)
        bound_us = outcome.dead_since_us or started_us
        wanted = (app, int(lane.provider), int(lane.environment), claimed.token, bound_us, int(DeviceState.DEAD))
        holder = sql.execute(_HOLDER, wanted).fetchone()
        if holder is None or holder[0] in buried:
            continue
        key, device_id = holder
        buried.add(key)
        device_ids_of.setdefault(app, []).append(device_id)
        tally.last_seq = seq = tally.last_seq + 1
        number = claimed.notification.key
        dead.append((int(DeviceState.DEAD), outcome.reason, time_us, outcome.replaced_by, time_us, key))
        rows.append(
            (
                seq, app, number, claimed.key, outcome.reason, outcome.provider_status, time_us, outcome.replaced_by,
                device_id,
            )
        )  # fmt: skip
        seen.append((seq, number))
    sql.executemany(_BURY, dead)
    events.insert_dead_devices(sql, rows)
    sql.executemany(_SEEN, seen)
    events.tell(transaction, before_seq)
    for app, device_ids in device_ids_of.items():
        # What waits for a dead device would only be told the same; what is in flight gets its own answer.
        unclaimed = [key for key in open_to(app, device_ids, transaction) if key not in transaction.memory.held]
        ending = [Ending(key, DeliveryState.UNREGISTERED, Cause.DEVICE_DEAD) for key in unclaimed]
        end(ending, dead_ends[-1][0].time_us, transaction)
