"""What only the SQLite engine has: its file, its lock, its disk, its thread, and the private method it stands on."""

from __future__ import annotations

import asyncio
import inspect
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import aiosqlite
import pytest

from pushrpc.ledger import LedgerRefused, LedgerUnavailable, open_ledger
from pushrpc.ledger.sqlite import connection, status, store, sweep
from pushrpc.ledger.sqlite.following import is_complete
from pushrpc.ledger.sqlite.store import SCHEMA_DIR, Store
from pushrpc.model import DeviceFilter
from pushrpc.record import DeliverySelector, NotificationSelector, Wanted
from pushrpc.words import DeviceState
from tests.clocks import ManualClock
from tests.ledger.insides import inside, on_writer
from tests.ledger.shop import (
    SqliteEngine,
    accepted,
    claimed,
    registration,
    send,
    soon,
    tokens,
    verdict,
)

NEWEST = max(int(script.stem) for script in SCHEMA_DIR.glob("*.sql"))


@pytest.fixture
def engine(sqlite_engine: SqliteEngine) -> SqliteEngine:
    return sqlite_engine


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


async def test_a_symlink_to_the_file_is_refused_too(engine: SqliteEngine) -> None:
    (engine.directory / "alias.db").symlink_to(engine.directory / "ledger.db")
    with pytest.raises(LedgerRefused, match="in use"):
        await open_at("sqlite:///alias.db", engine.directory, engine.clock)


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
    with pytest.raises(LedgerRefused, match=rf"schema 99.* up to {NEWEST}"):
        await engine.open()
    with sqlite3.connect(engine.directory / "ledger.db") as db:
        db.execute(f"PRAGMA user_version = {NEWEST}")
    db.close()
    await engine.open()


async def test_an_older_schema_is_migrated_whole_or_not_at_all(engine: SqliteEngine, tmp_path: Path) -> None:
    await accepted(engine.ledger, send(engine.clock))
    await engine.close()
    scripts = tmp_path / "schema"
    scripts.mkdir()
    (scripts / f"{NEWEST}.sql").write_text("syntax error: this schema is there and must not run again")
    (scripts / f"{NEWEST + 1}.sql").write_text("ALTER TABLE apps ADD COLUMN note TEXT NOT NULL DEFAULT '';")
    last = scripts / f"{NEWEST + 2}.sql"
    last.write_text("ALTER TABLE lanes ADD COLUMN note TEXT; ALTER TABLE nothing ADD COLUMN x;")
    path = engine.directory / "ledger.db"
    with pytest.raises(LedgerRefused, match="nothing"):
        await Store(path, scripts).open()
    last.write_text("ALTER TABLE lanes ADD COLUMN note TEXT;")
    migrated = Store(path, scripts)
    await migrated.open()
    assert await migrated.read(lambda db: db.execute("PRAGMA user_version").fetchone()) == (NEWEST + 2,)
    assert await migrated.read(lambda db: db.execute("SELECT app_id, note FROM apps").fetchall()) == [("shop", "")]
    await migrated.close()
    with pytest.raises(LedgerRefused, match=f"schema {NEWEST + 2}"):
        await engine.open()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {NEWEST}")
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


# --- plans


@pytest.mark.parametrize(
    "name",
    [
        "due._WAITING",
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
        "following._RUNS_OF",
        "following._END_OF_RUN_AT",
        "accept._EARLIER",
        "accept._BY_TOKEN",
        "accept._BY_USER_ID",
        "accept._BY_DEVICE_ID",
        "settle._HOLDER",
        "settle._ENDING",
        "settle._OPEN_TO",
        "settle._OLDEST_OPEN",
        "sweep._NEXT_OPEN",
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
        "events._BY_LAST_SEQ",
        "events._REACHED",
        "events._REACHED_EACH",
        "status._ATTEMPTS",
        "sweep._OPEN_OF",
        "sweep._END_TOKENS",
        "annotate._NEXT_LANE",
        "annotate._DUE",
        "registry._NEXT_HUB",
        "registry._SELECT_UNSYNCED",
    ],
)
async def test_no_statement_scans_or_sorts_a_table(engine: SqliteEngine, name: str) -> None:
    import importlib

    module, constant = name.split(".")
    sql = getattr(importlib.import_module(f"pushrpc.ledger.sqlite.{module}"), constant)
    count = 0
    for number in re.findall(r"\?(\d*)", sql):
        count = max(count, int(number)) if number else count + 1
    plan = await inside(engine)._store.writer.run(
        lambda db: db.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * count).fetchall()
    )
    steps = [row[3] for row in plan]
    small = ("VIRTUAL TABLE", "CONSTANT", "SCAN chain")  # what a parameter lists, or one delivery's attempts
    scans = [s for s in steps if s.startswith("SCAN") and not any(word in s for word in small)]
    assert not [s for s in scans if "INDEX" not in s], steps
    sorts_its_parameter = name in ("following._RUNS_OF", "events._BY_LAST_SEQ", "events._REACHED_EACH")
    assert sorts_its_parameter or not [s for s in steps if "TEMP B-TREE" in s], steps


@pytest.mark.parametrize("name", ["_BY_TOKEN", "_BY_DEVICE", "_BY_USER"])
async def test_a_search_in_a_bucket_goes_by_the_name_too(engine: SqliteEngine, name: str) -> None:
    """Without, it would read all 4,096 rows of each bucket: 0.3 s for 1 M deliveries instead of some ms."""
    plan = await inside(engine)._store.writer.run(
        lambda db: db.execute(f"EXPLAIN QUERY PLAN {getattr(status, name)}", [None] * 4).fetchall()
    )
    assert "AND" in plan[0][3], plan


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


async def test_what_is_long_finished_is_not_searched_for_open_deliveries(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark stops before the oldest open notification, moves on in steps, and is kept."""
    monkeypatch.setattr(sweep, "PASSED_OVER_MAX", 4)
    tally = inside(engine)._memory.tally
    await accepted(engine.ledger, *(send(engine.clock) for _ in range(10)))
    deliveries = (await claimed(engine.ledger)).deliveries
    keys = [d.notification.key for d in deliveries]

    async def mark() -> int:
        await engine.ledger.expire(engine.clock.now_us())
        return tally.oldest_open

    for _ in range(3):
        assert await mark() == keys[0]
    await engine.ledger.settle([verdict(engine.clock, [*deliveries[:3], *deliveries[4:]])])
    for _ in range(3):
        assert await mark() == keys[3]
    await engine.ledger.settle([verdict(engine.clock, deliveries[3])])
    assert [await mark() for _ in range(3)] == [keys[3] + 4, keys[9] + 1, keys[9] + 1]
    await engine.reopen()
    assert inside(engine)._memory.tally.oldest_open == keys[9] + 1


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
        await accepted(engine.ledger, send(engine.clock, [mine]), send(engine.clock, 5_000))
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


async def test_a_crowd_of_tokens_expires_in_slices(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "TOKEN_SLICES_MAX", 2)
    crowd = 2 * sweep.SLICE_TOKENS + 1
    at_us = engine.clock.now_us() + 3_600_000_000
    expiring = [registration(token, token_expire_us=at_us) for token in tokens(crowd)]
    await asyncio.gather(*(engine.ledger.register(each, engine.clock.now_us()) for each in expiring))
    engine.clock.advance(3600.0)
    left = []
    for _ in range(2):
        await engine.ledger.expire(engine.clock.now_us())
        active, _ = await engine.ledger.devices("shop", DeviceFilter(states=(DeviceState.ACTIVE,)), 0, 10)
        left.append(len(active))
    assert left == [1, 0]
