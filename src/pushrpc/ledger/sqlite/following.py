"""Following events: a ring in memory for those who are caught up, the file for those who are not.

Lives on the event loop, but for `read_page` and `is_complete`, which run inside a read transaction.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from operator import attrgetter

from pushrpc.ledger.sqlite import events
from pushrpc.ledger.sqlite.status import keys_of
from pushrpc.record import EventRun, Wanted

RING_EVENTS = 16_384
NAMED_BY_INDEX_MAX = 64  # more notifications than this are found by reading the log
SCAN_EVENTS = 16_384  # of the log in one read transaction
_last_seq = attrgetter("last_seq")


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

    def passes(self, run: EventRun) -> bool:
        if run.app_id != self._app_id:
            return False
        if self.named and not (run.notification_id in self._notification_ids or run.request_id in self._request_ids):
            return False
        return self._every_event or (
            (run.final or not self._final_only)
            and (not self._states or run.state in self._states)
            and (not self._kinds or run.kind in self._kinds)
            and self._labels <= run.labels.items()
        )

    def take(
        self, source: Iterable[EventRun], after_seq: int, through_seq: int, limit: int
    ) -> tuple[list[EventRun], int]:
        """Up to `limit` of the events after a position, and how far that goes: at least to the end of the source."""
        taken: list[EventRun] = []
        room = limit
        for run in source:
            if not self.passes(run):
                continue
            start = max(0, after_seq + 1 - run.first_seq)
            stop = min(len(run.tokens), start + room)
            taken.append(run if stop - start == len(run.tokens) else run.part(start, stop))
            room -= stop - start
            if not room:
                return taken, taken[-1].last_seq
        return taken, through_seq


class Ring:
    """The newest events, told before anybody is told that they are committed."""

    def __init__(self, tail: int) -> None:
        self.tail = tail
        self._floor = tail  # every event after this one is here
        self._runs: list[EventRun] = []
        self._count = 0  # of events

    def extend(self, news: Sequence[EventRun]) -> None:
        if not news:
            return
        self._runs += news
        self._count += sum(len(run.tokens) for run in news)
        self.tail = news[-1].last_seq
        if self._count > 2 * RING_EVENTS:  # cut seldom, since cutting moves all that stay
            gone = 0
            while self._count > RING_EVENTS:
                self._count -= len(self._runs[gone].tokens)
                gone += 1
            self._floor = self._runs[gone - 1].last_seq
            del self._runs[:gone]

    def after(self, seq: int) -> Sequence[EventRun] | None:
        """Every run that ends after a position; None when some are only in the file. The first may begin before it."""
        if seq < self._floor:
            return None
        return self._runs[bisect_right(self._runs, seq, key=_last_seq) :]


Sleepers = dict[str, set[asyncio.Event]]


class Waiters:
    """Who sleeps until something of an app, a notification or a request_id happens."""

    def __init__(self) -> None:
        self._of_app: Sleepers = {}
        self._of_notification: Sleepers = {}
        self._of_request: Sleepers = {}  # by app_id and request_id

    def add(self, wanted: Wanted, news: asyncio.Event) -> list[tuple[Sleepers, str]]:
        places = [(self._of_notification, name) for name in wanted.notification_ids]
        places += [(self._of_request, f"{wanted.app_id}/{name}") for name in wanted.request_ids]
        if not 0 < len(places) <= NAMED_BY_INDEX_MAX:
            places = [(self._of_app, wanted.app_id)]
        for sleepers, name in places:
            sleepers.setdefault(name, set()).add(news)
        return places

    def remove(self, places: Iterable[tuple[Sleepers, str]], news: asyncio.Event) -> None:
        for sleepers, name in places:
            sleeping = sleepers[name]
            sleeping.discard(news)
            if not sleeping:
                del sleepers[name]

    def wake(self, news: Sequence[tuple[str, str, str]]) -> None:
        """`news`: app_id, notification_id and request_id of what happened."""
        if self._of_app:
            _wake(self._of_app, {app_id for app_id, _, _ in news})
        if self._of_notification:
            _wake(self._of_notification, {notification_id for _, notification_id, _ in news})
        if self._of_request:
            _wake(self._of_request, {f"{app_id}/{request_id}" for app_id, _, request_id in news})

    def wake_all(self) -> None:
        for sleepers in (self._of_app, self._of_notification, self._of_request):
            _wake(sleepers, sleepers)


def _wake(sleepers: Sleepers, names: Iterable[str]) -> None:
    for name in names:
        for sleeping in sleepers.get(name, ()):
            sleeping.set()


# --- from the file

_LAST_SEQ = "SELECT last_seq FROM ledger"
_FIRST_SEQ = "SELECT min(first_seq) FROM notifications WHERE key IN (SELECT value FROM json_each(?))"
_END_OF_RUN_AT = "SELECT min(last_seq) FROM events WHERE last_seq >= ?"
_RUNS_OF = "SELECT last_seq FROM events WHERE notification = ? AND last_seq > ? ORDER BY last_seq LIMIT ?"
_COMPLETE = """
    SELECT count(*), max(last_seq) FROM notifications
    WHERE key IN (SELECT value FROM json_each(?)) AND completed_us > 0"""


def read_page(
    sql: sqlite3.Connection, app: int, wanted: Wanted, sieve: Sieve, after_seq: int, limit: int
) -> tuple[list[EventRun], int, bool]:
    """Events after a position, how far that goes, and whether that is all there was when the transaction began."""
    (last_seq,) = sql.execute(_LAST_SEQ).fetchone()
    if sieve.named:
        keys = set(keys_of(sql, app, wanted.notification_ids, wanted.request_ids))
        if not keys:
            return [], max(after_seq, last_seq), True
        after_seq = max(after_seq, sql.execute(_FIRST_SEQ, (json.dumps(list(keys)),)).fetchone()[0])
        if len(keys) <= NAMED_BY_INDEX_MAX:
            each = [sql.execute(_RUNS_OF, (key, after_seq, limit)).fetchall() for key in keys]
            last_seqs = sorted(seq for rows in each for (seq,) in rows)[:limit]
            through_seq = last_seqs[-1] if len(last_seqs) == limit else max(after_seq, last_seq)
            source = events.by_last_seq(sql, last_seqs)
            found, through_seq = sieve.take(source, after_seq, through_seq, limit)
            return found, through_seq, through_seq >= last_seq
    through_seq = max(after_seq, last_seq)
    if last_seq > after_seq + SCAN_EVENTS:
        (end_seq,) = sql.execute(_END_OF_RUN_AT, (after_seq + SCAN_EVENTS,)).fetchone()
        through_seq = end_seq or last_seq
    source = events.of_app_between(sql, app, after_seq, through_seq)
    found, through_seq = sieve.take(source, after_seq, through_seq, limit)
    return found, through_seq, through_seq >= last_seq


def is_complete(sql: sqlite3.Connection, app: int, wanted: Wanted, through_seq: int) -> bool:
    """Whether every named notification exists and is final, and has no event after a position."""
    keys = keys_of(sql, app, wanted.notification_ids, wanted.request_ids)
    if len(keys) < len(wanted.notification_ids) + len(wanted.request_ids):
        return False
    distinct = list(set(keys))
    count, last_seq = sql.execute(_COMPLETE, (json.dumps(distinct),)).fetchone()
    return bool(count == len(distinct) and last_seq <= through_seq)
