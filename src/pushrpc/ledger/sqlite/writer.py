"""The one writer: gathers what wants to be written, commits it together, tells nobody before that is synced."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from pushrpc.ledger import LedgerFull, LedgerUnavailable
from pushrpc.ledger.sqlite.connection import BUSY_S, Connection
from pushrpc.ledger.sqlite.memory import LaneQueue, Memory
from pushrpc.model import Lane
from pushrpc.record import EventRun

T = TypeVar("T")

GROUP_ROWS_MAX = 1_000  # about 5 ms: nobody waits much longer for the writer to be free
_INSERT_LANE = """
    INSERT INTO lanes (app, provider, provider_app_id, environment, origin) VALUES (?, ?, ?, ?, ?) RETURNING key"""
GROUP_ROWS_ENOUGH = 256  # a third of what a lane has in flight: waiting for more would starve the wire
# How long the first of a group waits for company, for each row that the last group had: two callers hardly wait, fifty
# wait long enough to meet in one commit, and a cycle costs as much for one as for fifty (docs/decisions/0009).
COMPANY_S = 0.0004
PENDING_MAX = 65_536  # calls that wait for the writer; far above what the callers' own limits let through
REOPEN_EVERY_S = 1.0
BUSY_LOOK_S = 0.01  # how often a transaction that waits for another process looks whether it may begin
# Brief work of so many rows, some 3 ms of it, is done on the event loop: on a thread of its own each of its statements
# would give Python's lock away and wait for it again, which costs more than the statement (docs/decisions/0010). Only
# COMMIT, which waits for the disk, goes to the thread.
LOOP_ROWS_MAX = 128
LOOP_S_MAX = 0.02  # what took longer had to wait for the disk after all: so what comes next goes to the thread
AWAY_S = 1.0  # for so long


class Work(NamedTuple):
    """`brief`: it takes some 20 µs for each of its rows, and hardly reads what is not in memory."""

    run: Callable[[Transaction], Any]
    rows: int
    brief: bool
    done: asyncio.Future[Any]


class WorkFailed(Exception):
    """One work of a group raised. Nothing of the group is written."""

    def __init__(self, work: Work, error: Exception) -> None:
        super().__init__(str(error))
        self.work = work
        self.error = error


class Transaction:
    """One group's transaction, as the work in it sees it: begun and performed, then committed or taken back.

    What work changes in memory it also puts in `undo`. `events` and `woken` are told only after the commit.
    """

    def __init__(self, sql: sqlite3.Connection, memory: Memory) -> None:
        self.sql = sql
        self.memory = memory
        self.tally = memory.tally
        self.queue_us = memory.time.now_us()  # when it began, as the queue tells time
        self.undo: list[Callable[[], object]] = []
        self.events: list[EventRun] = []
        self.woken: set[LaneQueue] = set()
        self.accepted: list[tuple[str, str, str]] = []  # app_id, notification_id, request_id
        self.outcomes: list[tuple[Work, Any]] = []
        self.wrote = False
        self._before = _tally(memory.tally)

    def begin(self, wait_s: float) -> None:
        """Raises SQLITE_BUSY when another process still writes to the file after so long."""
        until_s = time.monotonic() + wait_s
        while True:
            try:
                self.sql.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= until_s:
                    raise
                time.sleep(BUSY_LOOK_S)
            else:
                return

    def perform(self, group: Iterable[Work]) -> None:
        """Raises WorkFailed for what one work did wrong, sqlite3.Error for everybody's trouble."""
        self._before, changes = _tally(self.tally), self.sql.total_changes
        for work in group:
            try:
                self.outcomes.append((work, work.run(self)))
            except Exception as error:
                if _is_everybodys(error):
                    raise
                raise WorkFailed(work, error) from error
        if _tally(self.tally) != self._before:
            self.sql.execute(_WRITE_TALLY, _tally(self.tally))
        self.wrote = self.sql.total_changes != changes

    def take_back(self) -> None:
        for step in reversed(self.undo):
            step()
        self.tally.open_count, self.tally.pruned_seq, self.tally.oldest_open = self._before[3:]
        if self.sql.in_transaction:
            self.sql.execute("ROLLBACK")

    def app_key(self, app_id: str) -> int:
        key = self.memory.app_keys.get(app_id)
        if key is None:
            key = self.sql.execute("INSERT INTO apps (app_id) VALUES (?) RETURNING key", (app_id,)).fetchone()[0]
            self.memory.app_keys[app_id] = key
            self.undo.append(partial(self.memory.app_keys.pop, app_id))
        return key

    def lane_key(self, lane: Lane) -> int:
        key = self.memory.lane_keys.get(lane)
        if key is None:
            key = self.sql.execute(
                _INSERT_LANE,
                (self.app_key(lane.app_id), int(lane.provider), *lane[2:]),
            ).fetchone()[0]
            self.memory.lane_keys[lane] = key
            self.memory.lanes[key] = lane
            self.undo += (partial(self.memory.lane_keys.pop, lane), partial(self.memory.lanes.pop, key))
        return key

    def rewind(self) -> None:
        """For undoing what moved the marks of queues past deliveries that can now be claimed after all."""
        self.memory.rewind()
        self.woken.update(self.memory.queues.values())


_WRITE_TALLY = """
    UPDATE ledger SET last_notification = ?, last_delivery = ?, last_seq = ?, open_count = ?, pruned_seq = ?,
        oldest_open = ?"""
_tally = attrgetter("last_notification", "last_delivery", "last_seq", "open_count", "pruned_seq", "oldest_open")


def synced_commit(sql: sqlite3.Connection) -> None:
    sql.execute("COMMIT")


# Errors of one statement. All others say that the file, the disk or SQLite itself is in trouble.
_OWN_FAULT = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_MISUSE,
    sqlite3.SQLITE_RANGE,
    sqlite3.SQLITE_TOOBIG,
}


def _code(error: BaseException) -> int:
    """SQLite's primary result code (sqlite.org/rescode.html: the low byte of the extended one)."""
    code = getattr(error, "sqlite_errorcode", None)
    return sqlite3.SQLITE_ERROR if code is None else code & 0xFF


def _is_everybodys(error: BaseException) -> bool:
    return isinstance(error, sqlite3.Error) and _code(error) not in _OWN_FAULT


def _transact_away(transaction: Transaction, part: Sequence[Work], sql: sqlite3.Connection) -> None:
    transaction.begin(BUSY_S)
    transaction.perform(part)
    synced_commit(sql)


class Writer:
    """Owns the task that commits. `told` gets each committed transaction, in commit order, before its callers do.

    A failed commit is never repeated on the same connection: after a sync error the kernel may have dropped what it
    could not write (PostgreSQL wiki, "Fsync Errors"), and SQLite would acknowledge the next commit on top of it. So
    everybody is refused until `reopen` has opened the file afresh and checked it.
    """

    def __init__(
        self,
        connection: Connection,
        memory: Memory,
        told: Callable[[Transaction], None],
        reopen: Callable[[], Awaitable[Connection]],
    ) -> None:
        self._connection = connection
        self._memory = memory
        self._told = told
        self._reopen = reopen
        self._loop = asyncio.get_running_loop()
        self._urgent: deque[Work] = deque()
        self._gathered: deque[Work] = deque()
        self._rows = 0
        self._due_s = 0.0  # when what has gathered is committed at the latest, on the loop's clock
        self._alarm: asyncio.TimerHandle | None = None
        self._away_until_s = 0.0  # until when nothing is done on the event loop, by the monotonic clock
        self._crowd = 0  # rows of the last group, 0 when it was a single one
        self._news = asyncio.Event()
        self._refusal = ""
        self._closing = False
        self._task = asyncio.create_task(self._run())

    def submit(
        self, run: Callable[[Transaction], T], rows: int = 1, linger_s: float = 0.0, brief: bool = False
    ) -> asyncio.Future[T]:
        """Has work done in the next group. The result arrives after the commit; cancelling it does not stop the work.

        `linger_s`: how long it may wait for company at most. After a group of a single row there is none to wait for.
        """
        done = self._future()
        if done.done():
            return done
        due_s = self._loop.time() + min(linger_s, self._crowd * COMPANY_S)
        self._due_s = due_s if not self._gathered else min(due_s, self._due_s)
        self._gathered.append(Work(run, rows, brief, done))
        self._rows += rows
        if self._rows >= GROUP_ROWS_ENOUGH or not linger_s or not self._crowd:
            self._due_s = 0.0
            self._news.set()
        elif self._alarm is None:
            self._alarm = self._loop.call_at(self._due_s, self._ring)
        return done

    def submit_urgent(self, run: Callable[[Transaction], T], rows: int) -> asyncio.Future[T]:
        """Has brief work done as soon as the writer is free, without hurrying what is still gathering."""
        done = self._future()
        if not done.done():
            self._urgent.append(Work(run, rows, True, done))
            self._news.set()
        return done

    async def close(self) -> None:
        """Commits what has gathered, refuses everything after."""
        self._closing = True
        self._news.set()
        await asyncio.wait((self._task,))  # who gives up waiting does not break off a transaction
        if self._alarm is not None:
            self._alarm.cancel()

    def _future(self) -> asyncio.Future[Any]:
        done: asyncio.Future[Any] = self._loop.create_future()
        refusal = self._refusal
        if self._closing:
            refusal = "the ledger is closed"
        elif len(self._gathered) + len(self._urgent) >= PENDING_MAX:
            refusal = f"{PENDING_MAX} calls already wait for the disk"
        if refusal:
            done.set_exception(LedgerUnavailable(refusal))
        return done

    def _ring(self) -> None:
        self._alarm = None
        self._news.set()

    async def _run(self) -> None:
        while True:
            group = self._next_group()
            if group:
                await self._commit(group)
            elif self._closing and not self._gathered:
                return
            else:
                await self._news.wait()
                self._news.clear()

    def _next_group(self) -> list[Work]:
        if self._urgent:
            group = list(self._urgent)
            self._urgent.clear()
            return group
        if not self._gathered or (self._loop.time() < self._due_s and not self._closing):
            if self._gathered and self._alarm is None:  # the alarm of an earlier group has rung
                self._alarm = self._loop.call_at(self._due_s, self._ring)
            return []
        group = [self._gathered.popleft()]
        rows = group[0].rows
        while self._gathered and rows + self._gathered[0].rows <= GROUP_ROWS_MAX:
            group.append(self._gathered.popleft())
            rows += group[-1].rows
        self._rows -= rows
        self._crowd = rows if rows > 1 else 0
        return group

    async def _commit(self, group: Sequence[Work]) -> None:
        try:
            transactions = await self._write(group)
        except Exception as error:  # a bug too: memory and file may disagree, and nobody may wait for ever
            await self._stop_and_reopen(group, error)
            return
        untold: Exception | None = None
        for transaction in transactions:
            try:
                self._told(transaction)
            except Exception as error:  # a bug, but what is written is written, and its callers must know
                untold = error
            for work, outcome in transaction.outcomes:
                if work.done.done():
                    continue
                if isinstance(outcome, Exception):
                    work.done.set_exception(outcome)
                else:
                    work.done.set_result(outcome)
        if untold is not None:  # reopening has everybody look again at what the file says
            await self._stop_and_reopen((), untold)

    async def _write(self, group: Sequence[Work]) -> list[Transaction]:
        """Commits a group, in one transaction if it can be. Raises sqlite3.Error when it is not known what was written.

        Work that raises is left out and the rest begins again: cheaper than a savepoint around each (measured: 14 µs),
        since what callers can do wrong is refused before anything is written. When the disk is full, each work is tried
        alone: what needs no room still succeeds.
        """
        transactions = []
        waiting = [list(group)]
        while waiting:
            part = waiting.pop()
            transaction = Transaction(self._connection.sql, self._memory)
            refused: list[tuple[Work, Any]] = []
            try:
                await self._transact(transaction, part)
                transactions.append(transaction)
                continue
            except WorkFailed as failed:
                refused = [(failed.work, failed.error)]
                if len(part) > 1:
                    waiting.append([work for work in part if work is not failed.work])
            except sqlite3.Error as error:
                code = _code(error)
                if code == sqlite3.SQLITE_FULL and len(part) > 1:
                    waiting += [[work] for work in reversed(part)]
                elif code == sqlite3.SQLITE_FULL:
                    refused = [(part[0], LedgerFull(str(error)))]
                elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    busy = f"another process is at the file: {error}"
                    refused = [(work, LedgerUnavailable(busy)) for work in part]
                else:
                    raise
            undone = Transaction(self._connection.sql, self._memory)
            undone.woken = transaction.woken
            undone.outcomes = refused
            transactions.append(undone)
        return transactions

    async def _transact(self, transaction: Transaction, part: Sequence[Work]) -> None:
        try:
            if not self._begins_here(transaction, part):
                await self._connection.run(partial(_transact_away, transaction, part))
                return
            started_s = time.monotonic()
            try:
                transaction.perform(part)
            finally:
                ended_s = time.monotonic()
                if ended_s - started_s > LOOP_S_MAX:
                    self._away_until_s = ended_s + AWAY_S
            if transaction.wrote:
                # COMMIT waits for the disk. Were the thread told of the transaction, it would have to free it too.
                await self._connection.run(synced_commit)
            else:
                synced_commit(transaction.sql)
        except Exception:
            transaction.take_back()
            raise

    def _begins_here(self, transaction: Transaction, part: Sequence[Work]) -> bool:
        """Whether this is for the event loop itself, and the file can be had at once."""
        if sum(work.rows for work in part) > LOOP_ROWS_MAX or not all(work.brief for work in part):
            return False
        if time.monotonic() < self._away_until_s:
            return False
        try:
            transaction.begin(0.0)
        except sqlite3.OperationalError:  # whatever it is, the thread comes upon it too
            return False
        return True

    async def _stop_and_reopen(self, group: Sequence[Work], error: Exception) -> None:
        self._refusal = f"the ledger stopped after an error and is being checked: {error}"
        for work in (*group, *self._urgent, *self._gathered):
            if not work.done.done():
                work.done.set_exception(LedgerUnavailable(self._refusal))
        self._urgent.clear()
        self._gathered.clear()
        self._rows = 0
        while not self._closing:
            try:
                self._connection = await self._reopen()
            except Exception as again:  # whatever it is: giving up would leave every later caller waiting for ever
                self._refusal = f"the ledger could not be reopened: {again}"
                await asyncio.sleep(REOPEN_EVERY_S)
            else:
                self._refusal = ""
                return
