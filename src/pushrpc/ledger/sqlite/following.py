"""Following events: a ring in memory for those who are caught up, the file for those who are not.

Lives on the event loop, but for `read_page` and `is_complete`, which run inside a read transaction.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter

from pushrpc.ledger.sqlite import events
from pushrpc.ledger.sqlite.status import keys_of
from pushrpc.record import Event, Wanted

RING_EVENTS = 16_384
NAMED_BY_INDEX_MAX = 64  # more notifications than this are found by reading the log
SCAN_EVENTS = 16_384  # of the log in one read transaction
_seq = attrgetter("seq")


class Sieve:
    """What a follower wants, ready to be asked many times."""

    def __init__(self, wanted: Wanted) -> None:
        self._app_id = wanted.app_id
        self._notification_ids = frozenset(wanted.notification_ids)
        self._request_ids = frozenset(wanted.request_ids)
        self.named = bool(self._notification_ids or self._request_ids)
        self._labels = wanted.labels.items()
        self._final_only = wanted.final_only
        self._states = wanted.states
        self._kinds = wanted.kinds
        self._every_event = not (self._labels or self._final_only or self._states or self._kinds)

    def passes(self, event: Event) -> bool:
        if event.app_id != self._app_id:
            return False
        if self.named and not (
            event.notification_id in self._notification_ids or event.request_id in self._request_ids
        ):
            return False
        return self._every_event or (
            (event.final or not self._final_only)
            and (not self._states or event.state in self._states)
            and (not self._kinds or event.kind in self._kinds)
            and self._labels <= event.labels.items()
        )

    def take(self, source: Iterable[Event], through_seq: int, limit: int) -> tuple[list[Event], int]:
        """Up to `limit` of the events, and how far that goes."""
        taken: list[Event] = []
        for event in source:
            if self.passes(event):
                taken.append(event)
                if len(taken) == limit:
                    return taken, event.seq
        return taken, through_seq


class Ring:
    """The newest events, told before anybody is told that they are committed."""

    def __init__(self, tail: int) -> None:
        self.tail = tail
        self._floor = tail  # every event after this one is here
        self._events: list[Event] = []

    def extend(self, news: Sequence[Event]) -> None:
        if not news:
            return
        self._events += news
        self.tail = news[-1].seq
        if len(self._events) > 2 * RING_EVENTS:  # cut seldom, since cutting moves all that stay
            gone = len(self._events) - RING_EVENTS
            self._floor = self._events[gone - 1].seq
            del self._events[:gone]

    def skip(self, tail: int) -> None:
        """Leaves everything up to a position to the file."""
        self._events.clear()
        self._floor = self.tail = tail

    def after(self, seq: int) -> Sequence[Event] | None:
        """Every event after a position; None when some are only in the file."""
        if seq < self._floor:
            return None
        return self._events[bisect_right(self._events, seq, key=_seq) :]


class Waiters:
    """Who sleeps until something of an app, a notification or a request_id happens."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], set[asyncio.Event]] = {}

    def add(self, wanted: Wanted, news: asyncio.Event) -> list[tuple[str, str]]:
        keys = [("notification", name) for name in wanted.notification_ids]
        keys += [("request", f"{wanted.app_id}/{name}") for name in wanted.request_ids]
        if not 0 < len(keys) <= NAMED_BY_INDEX_MAX:
            keys = [("app", wanted.app_id)]
        for key in keys:
            self._waiting.setdefault(key, set()).add(news)
        return keys

    def remove(self, keys: Iterable[tuple[str, str]], news: asyncio.Event) -> None:
        for key in keys:
            waiting = self._waiting[key]
            waiting.discard(news)
            if not waiting:
                del self._waiting[key]

    def wake(self, news: Iterable[tuple[str, str, str]]) -> None:
        """`news`: app_id, notification_id and request_id of what happened."""
        if not self._waiting:
            return
        for app_id, notification_id, request_id in set(news):
            for key in (
                ("app", app_id),
                ("notification", notification_id),
                ("request", f"{app_id}/{request_id}"),
            ):
                for waiting in self._waiting.get(key, ()):
                    waiting.set()

    def wake_all(self) -> None:
        for waiting in chain.from_iterable(self._waiting.values()):
            waiting.set()


# --- from the file

_LAST_SEQ = "SELECT last_seq FROM ledger"
_FIRST_SEQ = "SELECT min(first_seq) FROM notifications WHERE key IN (SELECT value FROM json_each(?))"
_SEQS_OF = "SELECT seq FROM events WHERE notification = ? AND seq > ? ORDER BY seq LIMIT ?"
_COMPLETE = """
    SELECT count(*), max(last_seq) FROM notifications
    WHERE key IN (SELECT value FROM json_each(?)) AND completed_us > 0"""


def read_page(
    sql: sqlite3.Connection, app: int, wanted: Wanted, sieve: Sieve, after_seq: int, limit: int
) -> tuple[list[Event], int, bool]:
    """Events after a position, how far that goes, and whether that is all there was when the transaction began."""
    (last_seq,) = sql.execute(_LAST_SEQ).fetchone()
    if not sieve.named:
        through_seq = min(last_seq, after_seq + SCAN_EVENTS)
        found, through_seq = sieve.take(events.of_app_between(sql, app, after_seq, through_seq), through_seq, limit)
        return found, through_seq, through_seq >= last_seq
    keys = set(keys_of(sql, app, wanted.notification_ids, wanted.request_ids))
    if not keys:
        return [], max(after_seq, last_seq), True
    after_seq = max(after_seq, sql.execute(_FIRST_SEQ, (json.dumps(list(keys)),)).fetchone()[0])
    if len(keys) <= NAMED_BY_INDEX_MAX:
        each = [sql.execute(_SEQS_OF, (key, after_seq, limit)).fetchall() for key in keys]
        seqs = sorted(seq for rows in each for (seq,) in rows)[:limit]
        through_seq = seqs[-1] if len(seqs) == limit else max(after_seq, last_seq)
        found, through_seq = sieve.take(events.by_seq(sql, seqs), through_seq, limit)
    else:
        through_seq = max(after_seq, min(last_seq, after_seq + SCAN_EVENTS))
        found, through_seq = sieve.take(events.of_app_between(sql, app, after_seq, through_seq), through_seq, limit)
    return found, through_seq, through_seq >= last_seq


def is_complete(sql: sqlite3.Connection, app: int, wanted: Wanted, through_seq: int) -> bool:
    """Whether every named notification exists and is final, and has no event after a position."""
    keys = keys_of(sql, app, wanted.notification_ids, wanted.request_ids)
    if len(keys) < len(wanted.notification_ids) + len(wanted.request_ids):
        return False
    distinct = list(set(keys))
    count, last_seq = sql.execute(_COMPLETE, (json.dumps(distinct),)).fetchone()
    return bool(count == len(distinct) and last_seq <= through_seq)
