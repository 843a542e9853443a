"""What only the SQLite engine has: its file, its lock, its disk, its thread, and the private method it stands on."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from pushrpc.ledger import LedgerFull, LedgerRefused, LedgerUnavailable, open_ledger
from pushrpc.ledger import sqlite as sqlite_ledger
from pushrpc.ledger.sqlite import SqliteLedger, connection, status, store, writer
from pushrpc.ledger.sqlite.following import is_complete
from pushrpc.ledger.sqlite.store import Store
from pushrpc.model import Receipt
from pushrpc.record import DeliverySelector, NotificationSelector, Wanted
from pushrpc.words import DeliveryState
from tests.clocks import ManualClock
from tests.ledger.shop import (
    APNS,
    DAY_US,
    FCM,
    SqliteEngine,
    accepted,
    claimed,
    events_after,
    refused,
    retry,
    send,
    soon,
    tokens,
    unsent,
    verdict,
)


@pytest.fixture
async def engine(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteEngine]:
    engine = SqliteEngine(tmp_path, clock)
    await engine.open()
    yield engine
    await engine.close()


def inside(engine: SqliteEngine) -> SqliteLedger:
    assert isinstance(engine.ledger, SqliteLedger)
    return engine.ledger


async def on_writer(engine: SqliteEngine, sql: str) -> list[Any]:
    return await inside(engine)._store.writer.run(lambda db: db.execute(sql).fetchall())


# --- opening


async def open_at(url: str, base: Path, clock: ManualClock) -> None:
    ledger = await open_ledger(url, clock, base=base, event_retention_us=1, request_id_retention_us=1, queue_max=10)
    await ledger.close()


@pytest.mark.parametrize("url", ["postgresql://host/db", "mysql://x", "nonsense", "", "sqlite:///"])
async def test_other_addresses_are_refused(tmp_path: Path, clock: ManualClock, url: str) -> None:
    with pytest.raises(LedgerRefused, match="SQLite"):
        await open_at(url, tmp_path, clock)


async def test_relative_and_absolute_addresses(tmp_path: Path, clock: ManualClock) -> None:
    await open_at("sqlite:///here.db", tmp_path, clock)
    await open_at(f"sqlite:///{tmp_path}/there.db", Path("/nowhere"), clock)
    assert (tmp_path / "here.db").exists() and (tmp_path / "there.db").exists()
    with pytest.raises(LedgerRefused, match="does not exist"):
        await open_at("sqlite:///no/such/place.db", tmp_path, clock)


async def test_the_file_is_private_and_keeps_its_identity(engine: SqliteEngine) -> None:
    for name in ("ledger.db", "ledger.db-wal"):
        assert stat.S_IMODE((engine.directory / name).stat().st_mode) == 0o600
    before = engine.ledger.secret, engine.ledger.ledger_id
    assert len(before[0]) == 32 and before[1]
    await engine.reopen()
    assert (engine.ledger.secret, engine.ledger.ledger_id) == before


async def test_a_second_process_is_refused_in_one_line(engine: SqliteEngine) -> None:
    with pytest.raises(LedgerRefused) as refusal:
        await open_at("sqlite:///ledger.db", engine.directory, engine.clock)
    assert str(engine.directory / "ledger.db") in str(refusal.value) and "\n" not in str(refusal.value)
    script = (
        "import fcntl, sys\n"
        f"lock = open({str(engine.directory / 'ledger.db.lock')!r}, 'ab')\n"
        "try: fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except BlockingIOError: sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 7
    await accepted(engine.ledger, send(engine.clock))


async def test_the_lock_is_not_inherited_and_goes_with_the_ledger(engine: SqliteEngine) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE, close_fds=False
    )
    try:
        await engine.reopen()
    finally:
        await child.communicate(b"\n")


async def test_a_newer_schema_is_refused_with_both_versions(engine: SqliteEngine) -> None:
    await on_writer(engine, "PRAGMA user_version = 99")
    await engine.close()
    with pytest.raises(LedgerRefused, match=r"schema 99.* up to 1"):
        await engine.open()
    with sqlite3.connect(engine.directory / "ledger.db") as db:
        db.execute("PRAGMA user_version = 1")
    db.close()
    await engine.open()


async def test_an_older_schema_is_migrated_whole_or_not_at_all(engine: SqliteEngine, tmp_path: Path) -> None:
    await accepted(engine.ledger, send(engine.clock))
    await engine.close()
    scripts = tmp_path / "schema"
    scripts.mkdir()
    (scripts / "1.sql").write_text("syntax error: schema 1 is there and must not run again")
    (scripts / "2.sql").write_text("ALTER TABLE apps ADD COLUMN note TEXT NOT NULL DEFAULT '';")
    (scripts / "3.sql").write_text("ALTER TABLE lanes ADD COLUMN note TEXT; ALTER TABLE nothing ADD COLUMN x;")
    path = engine.directory / "ledger.db"
    with pytest.raises(LedgerRefused, match="nothing"):
        await Store(path, scripts).open()
    (scripts / "3.sql").write_text("ALTER TABLE lanes ADD COLUMN note TEXT;")
    migrated = Store(path, scripts)
    await migrated.open()
    assert await migrated.read(lambda db: db.execute("PRAGMA user_version").fetchone()) == (3,)
    assert await migrated.read(lambda db: db.execute("SELECT app_id, note FROM apps").fetchall()) == [("shop", "")]
    await migrated.close()
    with pytest.raises(LedgerRefused, match="schema 3"):
        await engine.open()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 1")
    db.close()
    await engine.open()


TEXT = b"this is no database, though it is long enough to be one" * 100
ONLY_A_HEADER = b"SQLite format 3\0" + b"\xff" * 5_000


@pytest.mark.parametrize("content", [TEXT, ONLY_A_HEADER])
async def test_what_is_no_database_is_refused_and_left_alone(
    tmp_path: Path, clock: ManualClock, content: bytes
) -> None:
    file = tmp_path / "ledger.db"
    file.write_bytes(content)
    with pytest.raises(LedgerRefused, match=r"ledger\.db"):
        await open_at("sqlite:///ledger.db", tmp_path, clock)
    assert file.read_bytes() == content


async def test_another_application_s_database_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(LedgerRefused, match="another application"):
        await open_at("sqlite:///ledger.db", tmp_path, clock)


async def test_an_unreadable_place_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(LedgerRefused, match=r"ledger\.db"):
        await open_at("sqlite:///ledger.db", tmp_path, clock)


async def test_the_settings_that_durability_rests_on(engine: SqliteEngine) -> None:
    assert await on_writer(engine, "PRAGMA journal_mode") == [("wal",)]
    assert await on_writer(engine, "PRAGMA synchronous") == [(2,)]
    with pytest.raises(LedgerUnavailable, match="readonly"):
        await inside(engine)._store.read(lambda db: db.execute("DELETE FROM apps"))


def test_nothing_is_left_running_by_a_refusal(tmp_path: Path, clock: ManualClock) -> None:
    before = set(threading.enumerate())
    (tmp_path / "ledger.db").write_bytes(b"no database" * 1000)
    for _ in range(3):
        with pytest.raises(LedgerRefused):
            asyncio.run(open_at("sqlite:///ledger.db", tmp_path, clock))
    started = set(threading.enumerate()) - before
    for thread in started:  # one that has been told to end may still be on its way out
        thread.join(5.0)
    assert not any(thread.is_alive() for thread in started)


# --- the private method of aiosqlite


async def test_aiosqlite_runs_a_whole_function_on_its_one_thread(tmp_path: Path) -> None:
    """Fails when a release changes what Connection.run stands on; then read its core.py before moving the pin."""
    assert aiosqlite.__version__ == "0.22.1"
    assert list(inspect.signature(aiosqlite.Connection._execute).parameters) == ["self", "fn", "args", "kwargs"]
    db = await connection.connect_writer(tmp_path / "x.db")
    try:
        threads = [await db.run(lambda _: threading.get_ident()) for _ in range(3)]
        assert len(set(threads)) == 1 and threads[0] != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await db.run(lambda _: 1 // 0)
    finally:
        await db.close()
    with pytest.raises(ValueError):
        await db.run(lambda _: 1)


async def test_a_cancelled_caller_leaves_its_function_running_in_order(tmp_path: Path) -> None:
    db = await connection.connect_writer(tmp_path / "x.db")
    began, may_end = threading.Event(), threading.Event()
    steps: list[str] = []

    def slow(_: sqlite3.Connection) -> None:
        began.set()
        may_end.wait(10)
        steps.append("slow")

    try:
        going = asyncio.ensure_future(db.run(slow))
        await asyncio.to_thread(began.wait, 10)
        going.cancel()
        after = asyncio.ensure_future(db.run(lambda _: steps.append("after")))
        may_end.set()
        await soon(after)
        assert steps == ["slow", "after"] and going.cancelled()
    finally:
        await db.close()


# --- the disk


class Disk:
    """Stands in for COMMIT: counts it, and fails it when told to."""

    def __init__(self) -> None:
        self.commits = 0
        self.fail: Callable[[sqlite3.Connection], None] | None = None

    def __call__(self, sql: sqlite3.Connection) -> None:
        self.commits += 1
        if self.fail is not None:
            self.fail(sql)
        sql.execute("COMMIT")


def io_error(sql: sqlite3.Connection | None = None) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    raise error


def io_error_after_commit(sql: sqlite3.Connection) -> None:
    sql.execute("COMMIT")
    io_error()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(writer, "synced_commit", disk)
    monkeypatch.setattr(writer, "REOPEN_EVERY_S", 0.01)
    return disk


async def back(engine: SqliteEngine) -> None:
    """Waits until the ledger takes writes again."""
    for _ in range(1_000):
        if isinstance((await engine.ledger.accept([send(engine.clock, 0)]))[0], Receipt):
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the ledger does not come back")


async def test_a_failed_commit_stops_everything_until_the_file_is_checked(
    engine: SqliteEngine, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = 0
    check = Store._check

    def held_up(self: Store, sql: sqlite3.Connection) -> None:
        nonlocal checks
        checks += 1
        if checks < 3:
            raise LedgerUnavailable("damaged")
        check(self, sql)

    monkeypatch.setattr(Store, "_check", held_up)
    keep = send(engine.clock, 2)
    await accepted(engine.ledger, keep)
    disk.fail = io_error
    first, second = await asyncio.gather(*(engine.ledger.accept([send(engine.clock)]) for _ in range(2)))
    assert isinstance(first[0], LedgerUnavailable) and isinstance(second[0], LedgerUnavailable)
    disk.fail = None
    commits = disk.commits
    assert isinstance(await refused(engine.ledger, send(engine.clock)), LedgerUnavailable)
    assert disk.commits == commits, "nothing may be committed before the file has been checked"
    await back(engine)
    assert checks == 3
    assert engine.ledger.queue(engine.clock.now_us())[0] == 2
    assert [d.token for d in (await claimed(engine.ledger)).deliveries] == [t for _, t in keep.named.tokens]


@pytest.mark.parametrize("written", [True, False])
async def test_an_unknown_send_is_settled_by_its_request_id(engine: SqliteEngine, disk: Disk, written: bool) -> None:
    disk.fail = io_error_after_commit if written else io_error
    wanted = send(engine.clock, 2, request_id="r")
    assert isinstance(await refused(engine.ledger, wanted), LedgerUnavailable)
    disk.fail = None
    await back(engine)
    (receipt,) = await accepted(engine.ledger, wanted)
    assert receipt.replayed is written
    assert len((await claimed(engine.ledger)).deliveries) == 2


@pytest.mark.parametrize("written", [True, False])
async def test_an_unknown_settlement_can_be_repeated(engine: SqliteEngine, disk: Disk, written: bool) -> None:
    wanted = send(engine.clock, 4)
    await accepted(engine.ledger, wanted)
    sent, again, held, free = (await claimed(engine.ledger)).deliveries
    settlements = [verdict(engine.clock, sent), retry(engine.clock, again, 0), unsent(engine.clock, free)]
    following = asyncio.ensure_future(engine.ledger.follow(Wanted("shop"), 0, 10, 60.0))
    disk.fail = io_error_after_commit if written else io_error
    with pytest.raises(LedgerUnavailable):
        await engine.ledger.settle(settlements)
    disk.fail = None
    await back(engine)
    await engine.ledger.settle(settlements)
    events = await events_after(engine.ledger, Wanted("shop"))
    assert sorted(e.state for e in events) == [DeliveryState.QUEUED, DeliveryState.SENT]
    assert (await soon(following)).events == events
    (status,) = await engine.ledger.find("shop", [wanted.notification_id], [])
    assert (status.counts.sent, status.counts.in_flight, status.counts.queued) == (1, 1, 2)
    assert {d.key for d in (await claimed(engine.ledger)).deliveries} == {again.key, free.key}
    await engine.ledger.settle([verdict(engine.clock, held)])


async def test_a_read_that_outlives_a_reopening_harms_nobody(engine: SqliteEngine, disk: Disk) -> None:
    await accepted(engine.ledger, send(engine.clock, request_id="r"))
    reading, may_end = threading.Event(), threading.Event()

    def slow(_: sqlite3.Connection) -> None:
        reading.set()
        may_end.wait(10)

    read = asyncio.ensure_future(inside(engine)._store.read(slow))
    await asyncio.to_thread(reading.wait, 10)
    disk.fail = io_error
    await refused(engine.ledger, send(engine.clock))
    disk.fail = None
    may_end.set()
    await soon(read)
    await back(engine)
    for _ in range(2 * store.READERS):
        found = await soon(asyncio.gather(*(engine.ledger.find("shop", [], ["r"]) for _ in range(2 * store.READERS))))
        assert all(len(statuses) == 1 for statuses in found)


async def test_a_bug_in_the_writer_is_a_failure_and_not_a_silence(engine: SqliteEngine, disk: Disk) -> None:
    def broken(_: sqlite3.Connection) -> None:
        raise RuntimeError("a bug")

    disk.fail = broken
    assert isinstance(await refused(engine.ledger, send(engine.clock)), LedgerUnavailable)
    disk.fail = None
    await back(engine)
    assert engine.ledger.queue(engine.clock.now_us())[0] == 0


async def test_a_claim_waits_for_the_ledger_to_come_back(engine: SqliteEngine, disk: Disk) -> None:
    waiting = asyncio.ensure_future(engine.ledger.claim(FCM, 10))
    disk.fail = io_error
    await refused(engine.ledger, send(engine.clock, lane=FCM))
    disk.fail = None
    await back(engine)
    assert not waiting.done()
    await accepted(engine.ledger, send(engine.clock, lane=FCM))
    assert len((await soon(waiting)).deliveries) == 1


async def test_an_at_most_once_claim_that_was_not_written_is_not_handed_out(engine: SqliteEngine, disk: Disk) -> None:
    await accepted(engine.ledger, send(engine.clock, 2, at_most_once=True))
    disk.fail = io_error_after_commit
    with pytest.raises(LedgerUnavailable):
        await claimed(engine.ledger)
    disk.fail = None
    await back(engine)
    assert len((await claimed(engine.ledger)).deliveries) == 2


async def test_a_full_disk_refuses_sends_and_changes_nothing(engine: SqliteEngine) -> None:
    wanted = send(engine.clock, 100)
    await accepted(engine.ledger, wanted)
    deliveries = (await claimed(engine.ledger)).deliveries
    ((pages,),) = await on_writer(engine, "PRAGMA page_count")
    await on_writer(engine, f"PRAGMA max_page_count = {pages}")
    big = send(engine.clock, 2_000)
    results = await soon(asyncio.gather(*(engine.ledger.accept([s]) for s in (big, send(engine.clock, 2_000)))))
    assert all(isinstance(result, LedgerFull) for (result,) in results)
    assert engine.ledger.queue(engine.clock.now_us())[0] == 100
    await on_writer(engine, f"PRAGMA max_page_count = {pages + 1000}")
    await accepted(engine.ledger, big)
    await engine.ledger.settle([verdict(engine.clock, d) for d in deliveries])
    assert len((await claimed(engine.ledger, limit=5_000)).deliveries) == 2_000


async def test_a_claim_that_came_during_a_failed_expire_is_woken(engine: SqliteEngine, disk: Disk) -> None:
    await accepted(engine.ledger, send(engine.clock, 3))
    committing, may_fail = threading.Event(), threading.Event()

    def full(_: sqlite3.Connection) -> None:
        committing.set()
        may_fail.wait(10)
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    memory = inside(engine)._memory
    disk.fail = full
    ending = asyncio.ensure_future(engine.ledger.expire(engine.clock.now_us() + 2 * DAY_US))
    await asyncio.to_thread(committing.wait, 10)
    assert memory.queue(APNS).next_us is None
    waiting = asyncio.ensure_future(engine.ledger.claim(APNS, 10))
    await asyncio.sleep(0)
    may_fail.set()
    with pytest.raises(LedgerFull):
        await soon(ending)
    disk.fail = None
    assert len((await soon(waiting)).deliveries) == 3


async def test_what_needs_no_room_succeeds_beside_what_does(engine: SqliteEngine) -> None:
    await accepted(engine.ledger, send(engine.clock, 100, request_id="r"))
    ((pages,),) = await on_writer(engine, "PRAGMA page_count")
    await on_writer(engine, f"PRAGMA max_page_count = {pages}")
    full, replay = await soon(
        asyncio.gather(
            engine.ledger.accept([send(engine.clock, 900)]), engine.ledger.accept([send(engine.clock, request_id="r")])
        )
    )
    assert isinstance(full[0], LedgerFull)
    assert isinstance(replay[0], Receipt) and replay[0].replayed


async def test_a_locked_file_fails_the_group_and_not_the_ledger(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await on_writer(engine, "PRAGMA busy_timeout = 1")
    intruder = sqlite3.connect(engine.directory / "ledger.db", isolation_level=None)
    intruder.execute("BEGIN IMMEDIATE")
    refusal = await refused(engine.ledger, send(engine.clock))
    assert isinstance(refusal, LedgerUnavailable) and "another process" in str(refusal)
    intruder.execute("ROLLBACK")
    intruder.close()
    await accepted(engine.ledger, send(engine.clock))


# --- groups


async def test_concurrent_accepts_share_their_commits(engine: SqliteEngine, disk: Disk) -> None:
    callers, each = 64, 10

    async def caller() -> None:
        for _ in range(each):
            await accepted(engine.ledger, send(engine.clock))

    await soon(asyncio.gather(*(caller() for _ in range(callers))))
    assert disk.commits * 8 <= callers * each


async def test_a_crowd_waits_for_company(engine: SqliteEngine, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    await soon(asyncio.gather(*(engine.ledger.accept([send(engine.clock)]) for _ in range(2))))
    monkeypatch.setattr(sqlite_ledger, "ACCEPT_LINGER_S", 0.3)
    commits = disk.commits
    first = asyncio.ensure_future(engine.ledger.accept([send(engine.clock)]))
    await asyncio.sleep(0.05)
    assert disk.commits == commits and not first.done()
    await soon(asyncio.gather(first, engine.ledger.accept([send(engine.clock)])))
    assert disk.commits == commits + 1


async def test_a_large_call_takes_several_turns(engine: SqliteEngine, disk: Disk) -> None:
    """Others get their turn in between, so the writer is never held for long."""
    commits = disk.commits
    await accepted(engine.ledger, *(send(engine.clock, 100) for _ in range(30)))
    assert 3 <= disk.commits - commits <= 4


async def test_a_lone_caller_does_not_wait_for_company(engine: SqliteEngine) -> None:
    started = time.monotonic()
    for _ in range(20):
        await accepted(engine.ledger, send(engine.clock))
    alone_s = (time.monotonic() - started) / 20
    assert alone_s < 0.05, "far above a commit, far below any wait that would be a mistake"


async def test_closing_commits_what_was_asked_before(engine: SqliteEngine) -> None:
    calls = [asyncio.ensure_future(engine.ledger.accept([send(engine.clock)])) for _ in range(50)]
    waiting = asyncio.ensure_future(engine.ledger.claim(FCM, 1))
    following = asyncio.ensure_future(engine.ledger.follow(Wanted("shop"), 0, 1, 60.0))
    await asyncio.sleep(0)
    await engine.ledger.close()
    results = await soon(asyncio.gather(*calls))
    assert all(isinstance(result, Receipt) for (result,) in results)
    for call in (waiting, following):
        with pytest.raises(LedgerUnavailable):
            await soon(call)
    with pytest.raises(LedgerUnavailable):
        await engine.ledger.find("shop", ["x"], [])
    assert isinstance(await refused(engine.ledger, send(engine.clock)), LedgerUnavailable)
    await engine.open()
    assert engine.ledger.queue(engine.clock.now_us())[0] == 50


# --- plans


@pytest.mark.parametrize(
    "name",
    [
        "claims._WAITING",
        "sweep._EXPIRED",
        "sweep._CANCELLED",
        "recovery._ORPHANS",
        "status._BY_TOKEN",
        "status._BY_DEVICE",
        "status._BY_USER",
        "status._OF_NOTIFICATION",
        "status._KEY_OF_ID",
        "status._KEY_OF_REQUEST",
        "pruning._FINISHED",
        "pruning._DROP_EVENTS",
        "following._SEQS_OF",
        "accept._EARLIER",
        "accept._BY_TOKEN",
        "accept._BY_USER_ID",
        "accept._BY_DEVICE_ID",
        "settle._HOLDER",
        "settle._ENDING",
        "settle._OPEN_TO",
        "settle._OLDEST_OPEN",
        "settle._LAST_SEQS",
        "status._KEY_RANGE",
        "status._BY_KEYS",
        "claims._NOTIFICATIONS",
        "recovery._STANDING",
        "sweep._TO_CANCEL",
        "following._FIRST_SEQ",
        "following._COMPLETE",
        "events._OF_APP_BETWEEN",
        "pruning._DROP_DELIVERIES",
        "events._BETWEEN",
        "events._BY_SEQ",
        "sweep._OPEN_OF",
    ],
)
async def test_no_statement_scans_or_sorts_a_table(engine: SqliteEngine, name: str) -> None:
    import importlib

    module, constant = name.split(".")
    sql = getattr(importlib.import_module(f"pushrpc.ledger.sqlite.{module}"), constant)
    count = 4 if "?2" in sql else sql.count("?")
    plan = await inside(engine)._store.writer.run(
        lambda db: db.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * count).fetchall()
    )
    steps = [row[3] for row in plan]
    scans = [s for s in steps if s.startswith("SCAN") and "VIRTUAL TABLE" not in s and "CONSTANT" not in s]
    assert not [s for s in scans if "INDEX" not in s], steps
    assert not [s for s in steps if "TEMP B-TREE" in s and "following" not in name and "_BY_SEQ" not in name], steps


async def test_a_start_does_not_depend_on_what_is_queued(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two backlogs of one size of rows: many notifications of one delivery, few of many."""
    for _ in range(4):
        await accepted(engine.ledger, send(engine.clock, 10_000))
    await accepted(engine.ledger, *(send(engine.clock, 1) for _ in range(4_000)))
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    async def counted(path: Path) -> connection.Connection:
        db = await connection.connect_writer(path)
        await db.set_progress_handler(count, 100)
        return db

    monkeypatch.setattr(store, "connect_writer", counted)
    await engine.reopen()
    assert steps < 100, "10,000 instructions of SQLite's machine; a scan of 44,000 rows takes a hundred times that"
    assert engine.ledger.queue(engine.clock.now_us())[0] == 44_000
    assert len((await claimed(engine.ledger)).deliveries) == 1_000


async def test_what_is_cancelled_is_forgotten_once_it_is_complete(engine: SqliteEngine) -> None:
    await accepted(engine.ledger, send(engine.clock, 2, request_id="r"))
    await engine.ledger.cancel("shop", NotificationSelector(request_id="r"), engine.clock.now_us())
    await engine.ledger.expire(engine.clock.now_us())
    memory = inside(engine)._memory
    assert not (memory.cancelled or memory.held or memory.held_of or memory.removed)


async def test_complete_waits_for_the_last_event(engine: SqliteEngine) -> None:
    """The disk may be ahead of what a follower has been told."""
    wanted = send(engine.clock)
    await accepted(engine.ledger, wanted)
    await engine.ledger.settle([verdict(engine.clock, d) for d in (await claimed(engine.ledger)).deliveries])
    tail = await engine.ledger.tail()
    named = Wanted("shop", (wanted.notification_id,))
    for through_seq in (tail - 1, tail):
        done = await inside(engine)._store.read(lambda db, n=through_seq: is_complete(db, 1, named, n))  # type: ignore[misc]
        assert done is (through_seq == tail)


async def test_a_search_through_many_deliveries_goes_on_where_it_stopped(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "BUCKETS_MAX", 1)
    (mine,) = tokens(1)
    for _ in range(2):
        await accepted(engine.ledger, send(engine.clock, [mine]), send(engine.clock, 20_000))
    found, after, pages = 0, 0, 0
    while pages == 0 or after:
        page = await engine.ledger.deliveries("shop", DeliverySelector(token=mine), False, after, 10)
        assert page is not None
        found, after, pages = found + len(page[0]), page[1], pages + 1
    assert (found, pages) == (2, 3)


async def test_reads_go_on_while_a_transaction_is_written(engine: SqliteEngine) -> None:
    names = tokens(3)
    await accepted(engine.ledger, send(engine.clock, names, request_id="r"))
    busy, done = threading.Event(), threading.Event()

    def slow(_: object) -> None:
        busy.set()
        done.wait(10)

    writing = inside(engine)._writer.submit(slow)
    await asyncio.to_thread(busy.wait, 10)
    try:
        assert len(await soon(engine.ledger.find("shop", [], ["r"]))) == 1
        page = await soon(engine.ledger.deliveries("shop", DeliverySelector(token=names[0]), False, 0, 10))
        assert page is not None and len(page[0]) == 1
    finally:
        done.set()
    await soon(writing)
    assert await engine.ledger.cancel("shop", NotificationSelector(request_id="r"), engine.clock.now_us())
