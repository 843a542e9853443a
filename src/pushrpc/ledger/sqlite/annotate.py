"""What is told of deliveries after they are final: events that carry no state and change none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from pushrpc.ledger.sqlite import events
from pushrpc.ledger.sqlite.settle import DeadEnd, bury
from pushrpc.ledger.sqlite.status import keys_of
from pushrpc.ledger.sqlite.writer import Transaction
from pushrpc.model import Address, Lane, Outcome
from pushrpc.record import Confirmation, Report, Unconfirmed
from pushrpc.words import EventKind, OutcomeKind

ENGAGEMENT, FEEDBACK = int(EventKind.ENGAGEMENT), int(EventKind.PROVIDER_FEEDBACK)

# --- what apps report

_DELIVERIES = """
    SELECT d.key, d.notification, l.provider, d.address FROM deliveries AS d JOIN lanes AS l ON l.key = d.lane
    WHERE d.key >= (SELECT first_delivery FROM notifications WHERE key = ?1)
      AND d.key < (SELECT first_delivery + total FROM notifications WHERE key = ?1)"""
_BY_DEVICE = f"{_DELIVERIES} AND d.device_id = ?2 LIMIT 2"
_BY_TOKEN = f"{_DELIVERIES} AND d.token = ?2 AND l.provider = ?3 LIMIT 2"
# The endpoint that it has been moved to is the last word of its address. No index is needed: it is one notification's
# deliveries that are looked through.
_BY_NEW_ENDPOINT = f"{_DELIVERIES} AND substr(d.address, -length(?2) - 1) = ' ' || ?2 AND l.provider = ?3 LIMIT 2"
_ALONE = f"{_DELIVERIES} LIMIT 2"
_KNOWN = "SELECT 1 FROM events WHERE first_delivery = ? AND kind = ? AND reason = ? AND kind > 3"


def record(app_id: str, reports: Sequence[Report], transaction: Transaction) -> list[bool]:
    """Writes an event for each report that names a delivery, and says which do. A repeat is known and writes none."""
    app = transaction.app_key(app_id)
    before_seq = transaction.tally.last_seq
    named = [_named(transaction.sql, app, report) for report in reports]
    for report, delivery in zip(reports, named, strict=True):
        reason = report.engagement.name
        if delivery is None or transaction.sql.execute(_KNOWN, (delivery[0], ENGAGEMENT, reason)).fetchone():
            continue
        told = Outcome(OutcomeKind.UNSPECIFIED, reason=reason, replaced_by=Address.of(delivery[3]).moved_to)
        _write(transaction, app, delivery, ENGAGEMENT, told, report.time_us)
    events.tell(transaction, before_seq)
    return [delivery is not None for delivery in named]


def _named(sql: sqlite3.Connection, app: int, report: Report) -> Any:
    """(key, notification, provider, address) of the one delivery that is meant, or None."""
    for key in keys_of(sql, app, [report.notification_id], ()):
        if report.device_id:
            found = sql.execute(_BY_DEVICE, (key, report.device_id)).fetchall()
        elif report.token:
            found = _of_token(sql, key, report.token, int(report.provider))
        else:
            found = sql.execute(_ALONE, (key,)).fetchall()
        if len(found) == 1:
            return found[0]
    return None


def _of_token(sql: sqlite3.Connection, key: int, token: str, provider: int) -> list[Any]:
    """Of a browser, which knows its endpoint of today, first the one that followed it there.

    It did so because no other delivery of the notification had reached the endpoint, nor would.
    """
    if token.startswith("https://") and (followed := sql.execute(_BY_NEW_ENDPOINT, (key, token, provider)).fetchall()):
        return followed
    return sql.execute(_BY_TOKEN, (key, token, provider)).fetchall()


# --- what providers tell later

_NEXT_LANE = "SELECT lane, min(due_us) FROM unconfirmed WHERE lane = (SELECT min(lane) FROM unconfirmed WHERE lane > ?)"
_DUE = "SELECT message_id, accepted_us FROM unconfirmed WHERE lane = ? AND due_us <= ? ORDER BY due_us"
_LATER = "UPDATE unconfirmed SET due_us = ? WHERE lane = ? AND message_id = ?"
_DONE = "DELETE FROM unconfirmed WHERE lane = ? AND message_id = ? RETURNING delivery, accepted_us"
_REACHED = """
    SELECT d.key, d.notification, l.provider, d.app, d.token FROM json_each(?) AS w
    CROSS JOIN deliveries AS d ON d.key = w.value JOIN lanes AS l ON l.key = d.lane"""


def unconfirmed_lanes(sql: sqlite3.Connection, lanes: Mapping[int, Lane], now_us: int) -> list[Lane]:
    found: list[Lane] = []
    lane, due_us = sql.execute(_NEXT_LANE, (0,)).fetchone()
    while lane is not None:
        if due_us <= now_us:
            found.append(lanes[lane])
        lane, due_us = sql.execute(_NEXT_LANE, (lane,)).fetchone()
    return found


def unconfirmed(sql: sqlite3.Connection, key: int, lane: Lane, now_us: int, limit: int) -> list[Unconfirmed]:
    """A message to many handles is due once: its rows have been accepted and are due together."""
    due: dict[str, int] = {}
    rows = sql.execute(_DUE, (key, now_us))
    try:
        for message_id, accepted_us in rows:
            if message_id not in due and len(due) == limit:
                break
            due[message_id] = min(accepted_us, due.get(message_id, accepted_us))
    finally:
        rows.close()
    return [Unconfirmed(lane, message_id, accepted_us) for message_id, accepted_us in due.items()]


def confirm(confirmations: Sequence[Confirmation], transaction: Transaction) -> None:
    """Writes what was told, and forgets what is told for good."""
    sql, before_seq = transaction.sql, transaction.tally.last_seq
    for lane, message_id, outcome, due_us, time_us in confirmations:
        lane_key = transaction.lane_key(lane)
        if due_us:
            sql.execute(_LATER, (due_us, lane_key, message_id))
            continue
        accepted = dict(sql.execute(_DONE, (lane_key, message_id)).fetchall())
        reached = sql.execute(_REACHED, (json.dumps(list(accepted)),)).fetchall() if outcome else ()
        for key, notification, provider, app, token in reached:
            assert outcome is not None
            _write(transaction, app, (key, notification, provider), FEEDBACK, outcome, time_us)
            # A message to many tells how many are dead, but not which; and where it may be our settings that are wrong,
            # no breaker stands between this and all devices.
            if len(accepted) == 1 and outcome.kind is OutcomeKind.TOKEN_INVALID and not outcome.misdirected:
                bury([DeadEnd(key, notification, lane, token, outcome, accepted[key], time_us)], transaction)
    events.tell(transaction, before_seq)


def _write(
    transaction: Transaction, app: int, delivery: Sequence[Any], kind: int, outcome: Outcome, time_us: int
) -> None:
    """One event. The notification's last_seq stays: pruning goes by it, and what is told later may not put that off."""
    key, notification, provider = delivery[:3]
    transaction.tally.last_seq = seq = transaction.tally.last_seq + 1
    events.insert(
        transaction.sql,
        [
            (
                seq, 1, notification, key, "", "", "", 0, app, provider, kind, 0, int(outcome.kind), int(outcome.cause),
                outcome.reason, 0, outcome.provider_status, outcome.detail, time_us, 0, None, outcome.replaced_by,
            )
        ],
    )  # fmt: skip
