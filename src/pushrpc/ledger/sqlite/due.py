"""What a lane's queue holds: rows that can be claimed now, and when the next one can."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain, takewhile
from operator import itemgetter
from typing import Any

from pushrpc.ledger.sqlite.memory import URGENCIES, LaneQueue, Memory

# Rows that one claim may pass over because they are in flight or about to end; the next claim goes on from there.
PASSED_OVER_MAX = 8_192

# Without LIMIT: rows are stepped one by one until enough are taken. In two parts, because for (due_us, key) > (?, ?)
# SQLite walks every row that is due with the mark, and all of a notification are due at once.
_OPEN = """
    SELECT key, notification, due_us, tries, spent, token, device_id, user_id, address FROM deliveries
    WHERE lane = ?1 AND priority = ?2 AND state < 3"""
_WAITING = f"{_OPEN} AND due_us = ?3 AND key > ?4 UNION ALL {_OPEN} AND due_us > ?3 ORDER BY due_us, key"


def refresh(sql: sqlite3.Connection, memory: Memory, queue: LaneQueue) -> None:
    """Finds out anew when a lane's next delivery is due."""
    take(sql, memory, queue, 0)


def take(sql: sqlite3.Connection, memory: Memory, queue: LaneQueue, limit: int, whole: int = 1) -> list[Any]:
    """Up to `limit` due rows that nobody has claimed; the queue then knows when the next one is due.

    Of a notification of which more is due, a multiple of `whole`.
    """
    rows: list[Any] = []
    soonest_us: int | None = None
    lane_key = memory.lane_keys.get(queue.lane)
    now_us = memory.time.now_us()
    for priority in URGENCIES:
        if lane_key is None:
            break
        taken, next_us = _take_urgency(sql, memory, queue, lane_key, priority, limit - len(rows), whole, now_us)
        rows += taken
        if whole > 1 and next_us is not None and next_us <= now_us:
            limit = len(rows)  # what was left out shall not be passed by what is less urgent
        if next_us is not None and (soonest_us is None or next_us < soonest_us):
            soonest_us = next_us
    queue.next_us = soonest_us  # at once: the event loop reads it meanwhile, and sleeps when it sees None
    return rows


def _all_free(rows: Sequence[Any], memory: Memory) -> bool:
    return memory.held.keys().isdisjoint(map(_key, rows)) and (
        not memory.cancelled or memory.cancelled.isdisjoint(map(_notification, rows))
    )


_key, _notification = itemgetter(0), itemgetter(1)


def _uncut(taken: list[Any], following: Any, whole: int) -> int:
    """How many of the rows to take, so that of the notification that goes on after them it is a multiple of `whole`."""
    of_last = sum(1 for _ in takewhile(lambda row: row[1] == following[1], reversed(taken)))
    return len(taken) - of_last % whole


def _take_urgency(
    sql: sqlite3.Connection,
    memory: Memory,
    queue: LaneQueue,
    lane_key: int,
    priority: int,
    limit: int,
    whole: int,
    now_us: int,
) -> tuple[list[Any], int | None]:
    """Due rows after the queue's mark, which moves along, and when the first row that is left is due."""
    taken: list[Any] = []
    held, cancelled = memory.held, memory.cancelled
    passed_over = 0
    mark = queue.marks[priority]
    rows = sql.execute(_WAITING, (lane_key, priority, *mark))
    try:
        first = rows.fetchmany(limit + 1)
        if (
            first and first[-1][2] <= now_us and _all_free(first, memory)
        ):  # nearly always: nothing to look at one by one
            count = limit
            if whole > 1 and len(first) > limit:
                count = _uncut(first[:limit], first[limit], whole)
            taken = first[:count]
            mark = (taken[-1][2], taken[-1][0]) if taken else mark
            return taken, first[count][2] if len(first) > count else None
        for row in chain(first, rows):
            key, due_us = row[0], row[2]
            if key in held or row[1] in cancelled:
                passed_over += 1
                if passed_over > PASSED_OVER_MAX:
                    return taken, due_us
            elif due_us > now_us or len(taken) >= limit:
                count = _uncut(taken, row, whole) if whole > 1 and due_us <= now_us else len(taken)
                if count < len(taken):
                    due_us, mark = taken[count][2], (taken[count][2], taken[count][0] - 1)
                return taken[:count], due_us
            else:
                taken.append(row)
            if due_us <= now_us:
                mark = (due_us, key)
        return taken, None
    finally:
        rows.close()
        queue.marks[priority] = mark
