"""Settling: what attempts came to, and endings without one. State, events, counters, dead devices: one commit."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter, gt, itemgetter
from typing import Any, NamedTuple

from pushrpc.ledger.sqlite import events
from pushrpc.ledger.sqlite.due import refresh
from pushrpc.ledger.sqlite.memory import LaneQueue
from pushrpc.ledger.sqlite.moves import Moves
from pushrpc.ledger.sqlite.status import buckets
from pushrpc.ledger.sqlite.writer import Transaction
from pushrpc.model import Claimed, Lane, Outcome, Settlement, own_id_prefix
from pushrpc.record import EventRun
from pushrpc.words import TRANSITIONS, Cause, DeliveryState, DeviceState, EventKind, OutcomeKind, Provider

QUEUED, EXPIRED = int(DeliveryState.QUEUED), int(DeliveryState.EXPIRED)
_LEGAL = TRANSITIONS[DeliveryState.IN_FLIGHT]
_key = attrgetter("key")


class Ending(NamedTuple):
    """A delivery that becomes final without an attempt."""

    key: int
    state: DeliveryState
    cause: Cause


def settle(settlements: Sequence[Settlement], transaction: Transaction) -> None:
    """Applies each settlement to what is still claimed of it; what was applied before is passed over."""
    memory = transaction.memory
    released: list[Claimed] = []
    transaction.undo.append(partial(memory.hold, released))
    attempts, moves = _Attempts(transaction), Moves(transaction)
    endings: list[Ending] = []
    returns: list[tuple[Settlement, LaneQueue]] = []
    time_us = 0
    for wanted in settlements:
        assert wanted.state in _LEGAL, f"no way from IN_FLIGHT to {wanted.state!r}"
        holds = memory.release(map(_key, wanted.deliveries))
        still = list(filter(None, holds))
        if not still:
            continue
        released += still
        queue = memory.queue(still[0].lane)
        if len(still) < len(holds):
            wanted = wanted.part([place for place, hold in enumerate(holds) if hold])
        for settlement in _that_may_be(wanted, transaction):
            if settlement.outcome.kind is not OutcomeKind.UNSPECIFIED:
                if queue.lane.origin:  # where tokens are addresses, they may move
                    for part in moves.of(settlement, queue):
                        attempts.add(*part)
                else:
                    attempts.add(settlement, queue)
            elif settlement.state is DeliveryState.QUEUED:
                returns.append((settlement, queue))
            else:
                endings += [Ending(d.key, settlement.state, settlement.cause) for d in settlement.deliveries]
                time_us = max(time_us, settlement.time_us)
    attempts.write()
    _return(returns, transaction)
    end(endings, time_us, transaction)
    for app, device_ids in moves.superseded.items():
        end_removed(app, device_ids, settlements[-1].time_us, transaction)
    removed = memory.removed.intersection(claimed.key for claimed in released) if memory.removed else set()
    memory.removed -= removed
    transaction.undo.append(partial(memory.removed.update, removed))


def _that_may_be(settlement: Settlement, transaction: Transaction) -> Iterable[Settlement]:
    """The settlement, but for deliveries that may not be queued again: those end as CANCELLED."""
    memory = transaction.memory
    if settlement.state is not DeliveryState.QUEUED or not (memory.cancelled or memory.removed):
        return (settlement,)
    causes = [memory.must_end(claimed) for claimed in settlement.deliveries]
    parts = []
    for cause in sorted(set(causes), key=lambda cause: cause or 0):
        part = settlement.part([place for place, each in enumerate(causes) if each is cause])
        parts.append(part if cause is None else part._replace(state=DeliveryState.CANCELLED, cause=cause))
    return parts


def _return(returns: Iterable[tuple[Settlement, LaneQueue]], transaction: Transaction) -> None:
    """Puts deliveries back that were surely not sent. What may go again at once keeps its place in the queue."""
    ahead_us = transaction.memory.time.ahead_us
    written = []
    for settlement, queue in returns:
        later = settlement.due_us > settlement.time_us
        for claimed in settlement.deliveries:
            if later:
                claimed = claimed._replace(due_us=settlement.due_us + ahead_us)
            if later or claimed.notification.at_most_once:
                written.append((claimed.due_us, claimed.key))
            queue.give_back(claimed)
        transaction.woken.add(queue)
    transaction.sql.executemany(
        f"UPDATE deliveries SET state = {QUEUED}, due_us = ? WHERE key = ? AND state < 3", written
    )


# --- attempts

_SETTLE_FINAL = """
    UPDATE deliveries SET due_us = 0, state = ?, tries = ?, spent = ?, last_seq = ?
    WHERE key BETWEEN ? AND ? AND state < 3"""
_SETTLE_RETRY = f"""
    UPDATE deliveries SET state = {QUEUED}, due_us = ?, tries = ?, spent = ?, last_seq = ?
    WHERE key BETWEEN ? AND ? AND state < 3"""
_LAST_SEQS = "SELECT d.key, d.last_seq FROM json_each(?) AS w CROSS JOIN deliveries AS d ON d.key = w.value"

# Hubs answer before they have called anybody: what came of it is asked for later.
CONFIRMED_LATER = frozenset({Provider.NOTIFICATION_HUBS})
_ASK_LATER = "INSERT INTO unconfirmed (delivery, lane, message_id, accepted_us, due_us) VALUES (?, ?, ?, ?, ?)"

# What makes neighbours one run, beside their settlement. Notifications are told apart by identity.
_shared = itemgetter(*map(Claimed._fields.index, ("notification", "tries", "spent")))


class _Attempts:
    """Runs of attempts, gathered for a few statements with many rows each."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._runs: list[events.Row] = []
        self._final: list[tuple[int, int, int, int, int, int]] = []
        self._retries: list[tuple[int, int, int, int, int, int]] = []
        self._repeated: list[tuple[int, list[int]]] = []  # places in _runs, with keys, that have a run before them
        self._dead: list[DeadEnd] = []
        self._unconfirmed: list[tuple[int, int, str, int, int]] = []
        self._counters = Counters()
        self._settled = 0

    def add(self, settlement: Settlement, queue: LaneQueue) -> None:
        keys = [claimed.key for claimed in settlement.deliveries]
        if any(map(gt, keys, keys[1:])):
            settlement = settlement.part(sorted(range(len(keys)), key=keys.__getitem__))
            keys.sort()
        deliveries, outcome, message_ids, state, cause, due_us, spend, started_us, time_us = settlement
        transaction, lane = self._transaction, queue.lane
        final = state is not DeliveryState.QUEUED
        kind, retry_us = (EventKind.STATE, 0) if final else (EventKind.ATTEMPT, due_us)
        queue_due_us = due_us + transaction.memory.time.ahead_us
        columns = _columns(settlement)
        stored = (
            transaction.app_key(lane.app_id), int(lane.provider), int(kind), int(state), int(outcome.kind), int(cause),
            outcome.reason, int(outcome.own_id), outcome.provider_status, outcome.detail, time_us, retry_us,
            time_us - started_us, outcome.replaced_by,
        )  # fmt: skip
        told = lane.provider, kind, state, outcome.kind, cause, outcome.reason, outcome.provider_status, outcome.detail
        told_after = time_us, retry_us, outcome.replaced_by, DeviceState.UNSPECIFIED, final
        start, seq = 0, transaction.tally.last_seq
        for (notification, tries, spent), neighbours in groupby(deliveries, _shared):
            stop = start + len(list(neighbours))
            run, number, first_seq = keys[start:stop], notification.key, seq + 1
            seq += stop - start
            tries += 1
            if tries > 1:
                self._repeated.append((len(self._runs), run))
            if final:
                self._final += [(int(state), tries, spent + spend, seq, *span) for span in _spans(run)]
                self._counters.add(number, int(state), stop - start, seq, time_us)
            else:
                self._retries += [(queue_due_us, tries, spent + spend, seq, *span) for span in _spans(run)]
                self._counters.seen(number, seq)
                queue.offer(notification.priority, queue_due_us, run[0])
            ids = events.stored(message_ids[start:stop]) if message_ids else ""
            self._runs.append((seq, stop - start, number, run[0], events.keys_stored(run), "", ids, tries, *stored))
            transaction.events.append(
                _new_run((
                    first_seq, notification.app_id, notification.notification_id, notification.request_id,
                    notification.labels, *told, tries, *told_after, *[column[start:stop] for column in columns],
                ))
            )  # fmt: skip
            start = stop
        transaction.tally.last_seq = seq
        self._settled += len(keys)
        if not final:
            transaction.woken.add(queue)
        if state is DeliveryState.UNREGISTERED:
            self._dead += [
                DeadEnd(d.key, d.notification.key, lane, d.moved_to or d.token, outcome, started_us, time_us)
                for d in deliveries
            ]
        if message_ids and state is DeliveryState.SENT and lane.provider in CONFIRMED_LATER:
            lane_key = transaction.lane_key(lane)
            self._unconfirmed += [
                (key, lane_key, message_id, time_us, time_us)
                for key, message_id in zip(keys, message_ids, strict=True)
                if message_id  # without one there is nothing to ask about
            ]

    def write(self) -> None:
        if not self._runs:
            return
        sql = self._transaction.sql
        if self._repeated:
            self._link_to_previous(sql)
        events.insert(sql, self._runs)
        settled = sql.executemany(_SETTLE_FINAL, self._final).rowcount if self._final else 0
        settled += sql.executemany(_SETTLE_RETRY, self._retries).rowcount if self._retries else 0
        # What is claimed ends only here, so a row that was final already means that memory and file disagree.
        assert settled == self._settled, f"{self._settled - settled} claimed deliveries were final already"
        self._counters.write(self._transaction)
        if self._unconfirmed:
            sql.executemany(_ASK_LATER, self._unconfirmed)
        if self._dead:
            bury(self._dead, self._transaction)

    def _link_to_previous(self, sql: sqlite3.Connection) -> None:
        every_key = [key for _, keys in self._repeated for key in keys]
        last_seqs = dict(sql.execute(_LAST_SEQS, (json.dumps(every_key),)).fetchall())
        for place, keys in self._repeated:
            row = self._runs[place]
            previous = events.stored([last_seqs[key] for key in keys])
            self._runs[place] = (*row[: events.PREVIOUS], previous, *row[events.PREVIOUS + 1 :])


_new_run: Callable[[tuple[Any, ...]], EventRun] = partial(tuple.__new__, EventRun)  # half of what its own __new__ costs


def _columns(settlement: Settlement) -> tuple[Sequence[str], Sequence[str], Sequence[str], Sequence[str]]:
    """What differs between the events of a settlement, in the order of EventRun's columns."""
    deliveries = settlement.deliveries
    message_ids = settlement.message_ids
    if settlement.outcome.own_id:
        prefix_of = {n: own_id_prefix(n.notification_id) for n in {claimed.notification for claimed in deliveries}}
        message_ids = [f"{prefix_of[claimed.notification]}{claimed.ordinal:08x}" for claimed in deliveries]
    return (
        [claimed.token for claimed in deliveries],
        events.column([claimed.device_id for claimed in deliveries]),
        events.column([claimed.user_id for claimed in deliveries]),
        message_ids,
    )


def _spans(keys: Sequence[int]) -> list[tuple[int, int]]:
    """The first and the last of each stretch of rising keys without a gap."""
    if keys[-1] - keys[0] == len(keys) - 1:
        return [(keys[0], keys[-1])]
    starts = [place for place in range(1, len(keys)) if keys[place] != keys[place - 1] + 1]
    return [(keys[start], keys[stop - 1]) for start, stop in zip([0, *starts], [*starts, len(keys)], strict=True)]


# --- endings without an attempt

_ENDING = f"""
    SELECT d.notification, d.lane, d.tries, coalesce(e.outcome, 0), coalesce(e.reason, ''),
           coalesce(e.own_id, 0), coalesce(e.provider_status, 0), coalesce(e.provider_detail, ''),
           coalesce(e.token_replaced_by, ''), d.key, d.app, d.last_seq,
           coalesce({events.of_delivery("message_ids", "d.key")}, '')
    FROM json_each(?) AS w CROSS JOIN deliveries AS d ON d.key = w.value
    LEFT JOIN events AS e ON e.last_seq = d.last_seq WHERE d.state < 3"""
_END = "UPDATE deliveries SET due_us = 0, state = ?, last_seq = ? WHERE key BETWEEN ? AND ? AND state < 3"


def end(endings: Sequence[Ending], time_us: int, transaction: Transaction, paused: Collection[Lane] = ()) -> None:
    """Makes deliveries final that nobody is sending. Their events repeat what the last attempt came to."""
    if not endings:
        return
    by_key = {ending.key: ending for ending in endings}
    memory, tally = transaction.memory, transaction.tally
    before_seq = tally.last_seq
    counters = Counters()
    runs: list[events.Row] = []
    ended: list[tuple[int, int, int, int]] = []
    lanes = set()

    def fate(row: events.Row) -> tuple[Any, ...]:
        """All that makes neighbours one run: what was told of them last, and what is told now."""
        _, lane, _, outcome, *_ = row
        _, state, cause = by_key[row[9]]
        is_paused = outcome == OutcomeKind.CREDENTIAL_REFUSED or memory.lanes[lane] in paused
        if state is DeliveryState.EXPIRED and is_paused:
            cause = Cause.LANE_PAUSED
        return (*row[:9], int(state), int(cause))

    rows = transaction.sql.execute(_ENDING, (json.dumps(sorted(by_key)),)).fetchall()
    for shared, neighbours in groupby(rows, fate):
        notification, lane, tries, outcome, reason, own_id, status, detail, replaced_by, state, cause = shared
        keys, apps, previous, message_ids = zip(*(row[9:] for row in neighbours), strict=True)
        tally.last_seq = seq = tally.last_seq + len(keys)
        runs.append(
            (
                seq, len(keys), notification, keys[0], events.keys_stored(keys), events.stored(previous),
                events.stored(message_ids), tries, apps[0], int(memory.lanes[lane].provider), events.STATE, state,
                outcome, cause, reason, own_id, status, detail, time_us, 0, None, replaced_by,
            )
        )  # fmt: skip
        ended += [(state, seq, *span) for span in _spans(keys)]
        counters.add(notification, state, len(keys), seq, time_us)
        lanes.add(lane)
    events.insert(transaction.sql, runs)
    transaction.sql.executemany(_END, ended)
    counters.write(transaction)
    events.tell(transaction, before_seq)
    transaction.undo.append(transaction.rewind)
    for lane in lanes:
        queue = memory.queue(memory.lanes[lane])
        refresh(transaction.sql, memory, queue)
        transaction.woken.add(queue)  # a claim may have gone to sleep by what the queue said before


_OPEN_TO = """
    SELECT d.key FROM json_each(?) AS w CROSS JOIN deliveries AS d
    ON d.key >> 12 = ? AND d.device_id = w.value AND d.device_id <> ''
    WHERE d.app = ? AND d.state < 3"""
_OLDEST_OPEN = "SELECT first_delivery FROM notifications WHERE key >= ? ORDER BY key LIMIT 1"


def open_to(app: int, device_ids: Sequence[str], transaction: Transaction) -> list[int]:
    """Keys of deliveries to these devices that are not final, claimed ones included."""
    if not device_ids or not transaction.tally.open_count:
        return []
    sql, names = transaction.sql, json.dumps(device_ids)
    (oldest,) = sql.execute(_OLDEST_OPEN, (transaction.tally.oldest_open,)).fetchone()
    return [key for bucket in buckets(sql, oldest) for (key,) in sql.execute(_OPEN_TO, (names, bucket, app))]


MARK_IN_FLIGHT = f"UPDATE deliveries SET state = {int(DeliveryState.IN_FLIGHT)} WHERE key = ? AND state < 3"


def end_removed(app: int, device_ids: Sequence[str], now_us: int, transaction: Transaction) -> None:
    """Ends what is queued for devices that are gone; what is in flight for them is not queued again."""
    memory = transaction.memory
    keys = open_to(app, device_ids, transaction)
    held = {key for key in keys if key in memory.held}
    memory.removed |= held
    transaction.undo.append(partial(memory.removed.difference_update, held))
    transaction.sql.executemany(MARK_IN_FLIGHT, [(key,) for key in held])  # so that a start ends them after a crash
    unclaimed = [Ending(key, DeliveryState.CANCELLED, Cause.DEVICE_REMOVED) for key in keys if key not in memory.held]
    end(unclaimed, now_us, transaction)


# --- counters

# By final state: a statement that names one counter has few values to bind, and most notifications need only one.
_COUNT = {
    int(state): f"""
        UPDATE notifications SET {column} = {column} + ?2, open = open - ?2, last_seq = max(last_seq, ?3),
            completed_us = CASE WHEN open = ?2 THEN ?4 ELSE completed_us END
        WHERE key = ?1"""
    for state, column in {
        DeliveryState.SENT: "sent",
        DeliveryState.REJECTED: "rejected_count",
        DeliveryState.UNREGISTERED: "unregistered",
        DeliveryState.EXPIRED: "expired",
        DeliveryState.CANCELLED: "cancelled",
        DeliveryState.SUPPRESSED: "suppressed",
        DeliveryState.FAILED: "failed",
    }.items()
}
_SEEN = "UPDATE notifications SET last_seq = max(last_seq, ?) WHERE key = ?"


class Counters:
    """What becomes final, added up by state and notification."""

    def __init__(self) -> None:
        self._ended: dict[int, dict[int, list[int]]] = {}  # by state and notification: how many, the last seq
        self._seen: dict[int, int] = {}  # by notification: the last seq of a run that ended nothing
        self._time_us: dict[int, int] = {}  # by notification: when the last one ended

    def add(self, notification: int, state: int, count: int, seq: int, time_us: int) -> None:
        ended = self._ended.get(state)
        if ended is None:
            ended = self._ended[state] = {}
        row = ended.get(notification)
        if row is None:
            ended[notification] = [count, seq]
        else:
            row[0] += count
            row[1] = seq
        if time_us > self._time_us.get(notification, 0):
            self._time_us[notification] = time_us

    def seen(self, notification: int, seq: int) -> None:
        """A run of events that ended nothing."""
        self._seen[notification] = seq

    def write(self, transaction: Transaction) -> None:
        for state, ended in self._ended.items():
            rows = [(key, count, seq, self._time_us[key]) for key, (count, seq) in ended.items()]
            transaction.sql.executemany(_COUNT[state], rows)
            transaction.tally.open_count -= sum(count for count, _ in ended.values())
        if self._seen:
            transaction.sql.executemany(_SEEN, [(seq, key) for key, seq in self._seen.items()])


# --- dead devices

_HOLDER = """
    SELECT key, device_id FROM devices
    WHERE app = ? AND provider = ? AND environment = ? AND token = ? AND token <> ''
      AND registered_us < ? AND state < ?"""
_BURY = (
    "UPDATE devices SET state = ?, dead_reason = ?, dead_us = ?, token_replaced_by = ?, updated_us = ? WHERE key = ?"
)


class DeadEnd(NamedTuple):
    """A delivery whose token a provider called dead: by `outcome.dead_since_us`, else by when our request began."""

    key: int
    notification: int
    lane: Lane
    token: str
    outcome: Outcome
    started_us: int
    time_us: int


def bury(dead_ends: Sequence[DeadEnd], transaction: Transaction) -> None:
    """Marks devices DEAD that still hold a dead token and registered it before its death, or before our request.

    The guard is Apple's: a 410 tells when the token became invalid, and one registered again since then is good
    ("Handling notification responses from APNs", key timestamp).
    """
    sql, tally = transaction.sql, transaction.tally
    before_seq = tally.last_seq
    dead, rows, seen = [], [], []
    buried: set[int] = set()
    device_ids_of: dict[int, list[str]] = {}
    for delivery, number, lane, token, outcome, started_us, time_us in dead_ends:
        app = transaction.app_key(lane.app_id)
        bound_us = outcome.dead_since_us or started_us
        wanted = (app, int(lane.provider), int(lane.environment), token, bound_us, int(DeviceState.DEAD))
        holder = sql.execute(_HOLDER, wanted).fetchone()
        if holder is None or holder[0] in buried:
            continue
        key, device_id = holder
        buried.add(key)
        device_ids_of.setdefault(app, []).append(device_id)
        tally.last_seq = seq = tally.last_seq + 1
        replaced_by = outcome.replaced_by if outcome.replaced_by != token else ""  # where it had been moved to before
        dead.append((int(DeviceState.DEAD), outcome.reason, time_us, replaced_by, time_us, key))
        rows.append(
            (
                seq, app, number, int(lane.provider), delivery, outcome.reason, outcome.provider_status, time_us,
                outcome.replaced_by, device_id,
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
        end(ending, dead_ends[-1].time_us, transaction)
