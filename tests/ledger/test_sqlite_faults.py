"""The SQLite engine's writer: what its disk may do to it, and how its callers share their commits."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest

from pushrpc.ledger import LedgerFull, LedgerUnavailable
from pushrpc.ledger import sqlite as sqlite_ledger
from pushrpc.ledger.sqlite import due, store, writer
from pushrpc.ledger.sqlite.connection import BUSY_S
from pushrpc.ledger.sqlite.following import Ring
from pushrpc.ledger.sqlite.store import Store
from pushrpc.model import DeviceSelector, Named, Receipt
from pushrpc.record import NotificationSelector, Wanted
from pushrpc.words import Cause, DeliveryState
from tests.ledger.insides import Disk, inside, on_writer
from tests.ledger.shop import (
    APNS,
    DAY_US,
    FCM,
    UNREGISTERED,
    SqliteEngine,
    accepted,
    claimed,
    events_after,
    refused,
    registration,
    retry,
    send,
    soon,
    unsent,
    verdict,
)


@pytest.fixture
def engine(sqlite_engine: SqliteEngine) -> SqliteEngine:
    return sqlite_engine


# --- the disk


def io_error(sql: sqlite3.Connection | None = None) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    raise error


def disk_full(_: sqlite3.Connection) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error


def io_error_after_commit(sql: sqlite3.Connection) -> None:
    sql.execute("COMMIT")
    io_error()


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
    assert [d.token for d in (await claimed(engine.ledger)).deliveries] == keep.named.tokens[0][1]


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

    def full(sql: sqlite3.Connection) -> None:
        committing.set()
        may_fail.wait(10)
        disk.fail = None  # at once: the claim that it wakes may be committed before this test goes on
        disk_full(sql)

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
    assert len((await soon(waiting)).deliveries) == 3


async def test_a_claim_that_looks_while_another_verb_does_is_woken(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed = send(engine.clock, 5)
    await accepted(engine.ledger, doomed, send(engine.clock, 1))
    looking, may_go_on = threading.Event(), threading.Event()
    real = due._take_urgency

    def slow(*arguments: Any) -> Any:
        if not looking.is_set():
            looking.set()
            may_go_on.wait(10)
        return real(*arguments)

    monkeypatch.setattr(due, "_take_urgency", slow)
    which = NotificationSelector(doomed.notification_id)
    cancelling = asyncio.ensure_future(engine.ledger.cancel("shop", which, engine.clock.now_us()))
    await asyncio.to_thread(looking.wait, 10)
    claiming = asyncio.ensure_future(engine.ledger.claim(APNS, 10))
    await asyncio.sleep(0)
    may_go_on.set()
    await soon(cancelling)
    assert len((await soon(claiming)).deliveries) == 1


async def test_a_repeated_settlement_still_knows_that_the_device_is_gone(engine: SqliteEngine, disk: Disk) -> None:
    await engine.ledger.register(registration("t", device_id="d"), engine.clock.now_us())
    await accepted(engine.ledger, send(engine.clock, ["t"]))
    (delivery,) = (await claimed(engine.ledger)).deliveries
    assert await engine.ledger.unregister("shop", DeviceSelector(device_id="d"), engine.clock.now_us()) == 1
    disk.fail = disk_full
    with pytest.raises(LedgerFull):
        await engine.ledger.settle([retry(engine.clock, delivery)])
    disk.fail = None
    await engine.ledger.settle([retry(engine.clock, delivery)])
    (event,) = await events_after(engine.ledger, Wanted("shop"))
    assert (event.state, event.cause) == (DeliveryState.CANCELLED, Cause.DEVICE_REMOVED)


async def test_a_sweep_that_failed_forgets_no_cancelled_notification(engine: SqliteEngine, disk: Disk) -> None:
    wanted = send(engine.clock)
    await accepted(engine.ledger, wanted)
    (delivery,) = (await claimed(engine.ledger)).deliveries
    await engine.ledger.cancel("shop", NotificationSelector(wanted.notification_id), engine.clock.now_us())
    await engine.ledger.settle([verdict(engine.clock, delivery)])
    before = set(inside(engine)._memory.cancelled)
    disk.fail = disk_full
    with pytest.raises(LedgerFull):
        await engine.ledger.expire(engine.clock.now_us())
    assert inside(engine)._memory.cancelled == before != set()
    disk.fail = None
    await engine.ledger.expire(engine.clock.now_us())
    assert inside(engine)._memory.cancelled == set()


async def test_any_error_while_reopening_is_tried_again(
    engine: SqliteEngine, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, failures = Store._check, [ValueError("no active connection"), RuntimeError("can't start new thread")]

    def unlucky(self: Store, sql: sqlite3.Connection) -> None:
        if failures:
            raise failures.pop()
        check(self, sql)

    monkeypatch.setattr(Store, "_check", unlucky)
    disk.fail = io_error
    await refused(engine.ledger, send(engine.clock))
    disk.fail = None
    await soon(back(engine))
    assert not failures


async def test_a_bug_in_telling_followers_costs_no_caller_its_answer(
    engine: SqliteEngine, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accepted(engine.ledger, send(engine.clock))
    (delivery,) = (await claimed(engine.ledger)).deliveries
    following = asyncio.ensure_future(engine.ledger.follow(Wanted("shop"), 0, 10, 60.0))
    await asyncio.sleep(0)

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(Ring, "extend", broken)
        await soon(engine.ledger.settle([verdict(engine.clock, delivery)]))
    assert [event.state for event in (await soon(following)).events] == [DeliveryState.SENT]
    await soon(back(engine))


async def test_an_expired_delivery_ends_though_its_claim_was_written_in_vain(engine: SqliteEngine, disk: Disk) -> None:
    await accepted(engine.ledger, send(engine.clock, 2, at_most_once=True, ttl_s=60))
    disk.fail = io_error_after_commit
    with pytest.raises(LedgerUnavailable):
        await claimed(engine.ledger)
    disk.fail = None
    await back(engine)
    engine.clock.advance(61)
    assert await engine.ledger.expire(engine.clock.now_us()) == 2


async def test_a_notification_that_cannot_be_read_fails_alone(engine: SqliteEngine) -> None:
    damaged, whole = send(engine.clock, 2), send(engine.clock, 1)
    await accepted(engine.ledger, damaged, whole)
    name = damaged.notification_id
    await on_writer(engine, f"UPDATE notifications SET content = '{{' WHERE notification_id = '{name}'")
    inside(engine)._memory.notifications.clear()
    assert [d.token for d in (await claimed(engine.ledger)).deliveries] == whole.named.tokens[0][1]
    events = await events_after(engine.ledger, Wanted("shop"))
    assert [(e.notification_id, e.state, e.final) for e in events] == [(name, DeliveryState.FAILED, True)] * 2


async def test_a_start_ends_what_it_cannot_read(engine: SqliteEngine) -> None:
    await accepted(engine.ledger, send(engine.clock, at_most_once=True))
    await claimed(engine.ledger)
    await on_writer(engine, "UPDATE notifications SET content = '{'")
    await engine.crash()
    assert [e.state for e in await events_after(engine.ledger, Wanted("shop"))] == [DeliveryState.FAILED]


@pytest.mark.parametrize("written", [True, False])
async def test_an_unknown_unregistration_is_told_by_the_file(engine: SqliteEngine, disk: Disk, written: bool) -> None:
    await engine.ledger.register(registration("t", device_id="d"), engine.clock.now_us())
    await accepted(engine.ledger, send(engine.clock, ["t"]))
    (delivery,) = (await claimed(engine.ledger)).deliveries
    disk.fail = io_error_after_commit if written else io_error
    with pytest.raises(LedgerUnavailable):
        await engine.ledger.unregister("shop", DeviceSelector(device_id="d"), engine.clock.now_us())
    disk.fail = None
    await back(engine)
    await engine.ledger.settle([retry(engine.clock, delivery)])
    (event,) = await events_after(engine.ledger, Wanted("shop"))
    assert event.state is (DeliveryState.CANCELLED if written else DeliveryState.QUEUED)


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
    monkeypatch.setattr(writer, "BUSY_S", 0.01)
    intruder = sqlite3.connect(engine.directory / "ledger.db", isolation_level=None)
    intruder.execute("BEGIN IMMEDIATE")
    refusal = await refused(engine.ledger, send(engine.clock))
    assert isinstance(refusal, LedgerUnavailable) and "another process" in str(refusal)
    intruder.execute("ROLLBACK")
    intruder.close()
    await accepted(engine.ledger, send(engine.clock))


async def test_nobody_waits_for_whoever_waits_for_another_process(engine: SqliteEngine) -> None:
    """A transaction that waited on the event loop would stop everything for as long."""
    intruder = sqlite3.connect(engine.directory / "ledger.db", isolation_level=None)
    intruder.execute("BEGIN IMMEDIATE")
    accepting, started_s = asyncio.ensure_future(engine.ledger.accept([send(engine.clock)])), time.monotonic()
    await asyncio.sleep(0.05)
    assert time.monotonic() - started_s < BUSY_S / 2
    assert not accepting.done()
    intruder.execute("ROLLBACK")
    intruder.close()
    (receipt,) = await soon(accepting)
    assert isinstance(receipt, Receipt)


# --- where a group's statements run


async def on_the_loop(engine: SqliteEngine, rows: int = 1, brief: bool = True) -> bool:
    writer_ = inside(engine)._writer
    return await writer_.submit(lambda _: threading.get_ident(), rows, brief=brief) == threading.get_ident()


async def test_only_brief_work_of_few_rows_is_done_on_the_event_loop(engine: SqliteEngine) -> None:
    assert await on_the_loop(engine, writer.LOOP_ROWS_MAX)
    assert not await on_the_loop(engine, writer.LOOP_ROWS_MAX + 1)
    assert not await on_the_loop(engine, brief=False)
    few, many = await asyncio.gather(on_the_loop(engine), on_the_loop(engine, writer.LOOP_ROWS_MAX))
    assert not few and not many  # one group, which goes as a whole


async def test_what_may_reach_any_number_of_rows_spares_the_event_loop(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's devices, and what waits for a device that dies, are no part of the rows that a call names."""
    on_thread: list[bool] = []
    begin = writer.Transaction.begin

    def began(self: writer.Transaction, wait_s: float) -> None:
        on_thread.append(threading.current_thread() is not threading.main_thread())
        begin(self, wait_s)

    monkeypatch.setattr(writer.Transaction, "begin", began)

    async def ran_on_thread(work: Awaitable[object]) -> bool:
        on_thread.clear()
        await work
        return on_thread[0]

    to_user = replace(send(engine.clock, 0), named=Named((), ("user",), []))
    assert not await ran_on_thread(engine.ledger.accept([send(engine.clock, 2)]))
    assert await ran_on_thread(engine.ledger.accept([to_user]))
    alive, dead = (await claimed(engine.ledger)).deliveries
    assert not await ran_on_thread(engine.ledger.settle([verdict(engine.clock, alive)]))
    gone = verdict(engine.clock, dead, UNREGISTERED, DeliveryState.UNREGISTERED)
    assert await ran_on_thread(engine.ledger.settle([gone]))


async def test_what_follows_slow_work_spares_the_event_loop(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LOOP_S_MAX", -1.0)
    assert await on_the_loop(engine)
    assert not await on_the_loop(engine)
    monkeypatch.setattr(inside(engine)._writer, "_away_until_s", time.monotonic())
    assert await on_the_loop(engine)


async def test_slow_work_that_fails_spares_the_event_loop_too(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: writer.Transaction) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(writer, "LOOP_S_MAX", -1.0)
    with pytest.raises(ValueError, match="broken"):
        await inside(engine)._writer.submit(fail, brief=True)
    assert not await on_the_loop(engine)


@pytest.mark.parametrize("tokens", [1, 500])
async def test_who_gives_up_closing_breaks_off_no_transaction(engine: SqliteEngine, disk: Disk, tokens: int) -> None:
    await accepted(engine.ledger, send(engine.clock))
    committing, going_on = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        committing.set()
        going_on.wait(10)

    disk.fail = hold
    accepting = asyncio.ensure_future(engine.ledger.accept([send(engine.clock, tokens)]))
    await asyncio.to_thread(committing.wait, 10)
    closing = asyncio.ensure_future(engine.ledger.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait((closing,))
    disk.fail = None
    going_on.set()
    (receipt,) = await soon(accepting)
    assert isinstance(receipt, Receipt)
    ((stored,),) = await on_writer(engine, "SELECT count(*) FROM deliveries")
    assert stored == 1 + tokens


async def test_a_commit_waits_for_the_disk_beside_the_event_loop(engine: SqliteEngine, disk: Disk) -> None:
    committing: list[int] = []
    disk.fail = lambda _: committing.append(threading.get_ident())
    await accepted(engine.ledger, send(engine.clock))
    assert committing and threading.get_ident() not in committing


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
    monkeypatch.setattr(writer, "COMPANY_S", 0.15)
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
