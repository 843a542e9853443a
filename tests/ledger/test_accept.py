"""Accepting: wholly or not at all, once per request_id, and never one send at the cost of another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pushrpc.ledger import LedgerError, QueueFull, RequestIdReused
from pushrpc.model import Audience, DeviceSelector, Found, Named, Receipt
from pushrpc.record import NotificationSelector, Wanted
from pushrpc.words import NotificationState
from tests.clocks import ManualClock
from tests.ledger.shop import (
    APNS,
    HOUR_US,
    Engine,
    accepted,
    claimed,
    events_after,
    refused,
    registration,
    rejection,
    send,
    soon,
    tokens,
    verdict,
)


async def test_a_receipt_tells_what_was_made(engine: Engine, clock: ManualClock) -> None:
    wanted = send(clock, 3, rejected=[rejection("bad")], labels={"a": "1"})
    (receipt,) = await accepted(engine.ledger, wanted)
    assert receipt == Receipt(
        wanted.notification_id, 3, 0, [rejection("bad")], first_seq=0, expire_us=wanted.expire_us, replayed=False
    )
    (status,) = await engine.ledger.find("shop", [wanted.notification_id], [])
    assert (status.title, status.labels, status.created_us) == ("Hello", {"a": "1"}, wanted.created_us)
    assert (status.counts.total, status.counts.queued, status.state) == (3, 3, NotificationState.ACTIVE)
    assert engine.ledger.queue(clock.now_us()) == (3, 0.0)


async def test_nothing_to_deliver_is_complete_at_once_and_has_no_events(engine: Engine, clock: ManualClock) -> None:
    wanted = send(clock, 0, rejected=[rejection("bad")])
    await accepted(engine.ledger, wanted)
    (status,) = await engine.ledger.find("shop", [wanted.notification_id], [])
    assert (status.state, status.completed_us) == (NotificationState.COMPLETE, wanted.created_us)
    page = await soon(engine.ledger.follow(Wanted("shop", (wanted.notification_id,)), 0, 10, 60.0))
    assert page.complete and not page.events


async def test_the_same_request_id_replays_the_stored_receipt(engine: Engine, clock: ManualClock) -> None:
    first = send(clock, 2, request_id="r", rejected=[rejection("bad")])
    (receipt,) = await accepted(engine.ledger, first)
    clock.advance(71 * 3600)
    await engine.reopen()
    (again,) = await accepted(engine.ledger, send(clock, 5, request_id="r"))
    assert again == receipt._replace(replayed=True)
    assert engine.ledger.queue(clock.now_us())[0] == 2


async def test_a_request_id_is_free_again_after_its_retention(engine: Engine, clock: ManualClock) -> None:
    (first,) = await accepted(engine.ledger, send(clock, request_id="r"))
    clock.advance(72 * 3600)
    (second,) = await accepted(engine.ledger, send(clock, request_id="r", fingerprint=b"other"))
    assert second.notification_id != first.notification_id and not second.replayed
    (status,) = await engine.ledger.find("shop", [], ["r"])
    assert status.notification_id == second.notification_id


async def test_request_ids_belong_to_their_app(engine: Engine, clock: ManualClock) -> None:
    other = APNS._replace(app_id="other")
    await accepted(engine.ledger, send(clock, request_id="r"))
    (receipt,) = await accepted(engine.ledger, send(clock, lane=other, request_id="r", fingerprint=b"other"))
    assert not receipt.replayed
    assert not await engine.ledger.find("other", [], ["unknown"])
    assert not await engine.ledger.find("nobody", [receipt.notification_id], [])


async def test_another_request_under_the_same_id_is_refused(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock, request_id="r"))
    assert isinstance(await refused(engine.ledger, send(clock, request_id="r", fingerprint=b"other")), RequestIdReused)
    assert engine.ledger.queue(clock.now_us())[0] == 1


async def test_concurrent_twins_make_one_notification(engine: Engine, clock: ManualClock) -> None:
    names = tokens(2)
    twins = [send(clock, names, request_id="r") for _ in range(100)]
    results = await soon(
        asyncio.gather(*(engine.ledger.accept([twin]) for twin in twins[:50]), engine.ledger.accept(twins[50:]))
    )
    receipts = [receipt for result in results for receipt in result]
    assert len({receipt.notification_id for receipt in receipts}) == 1
    assert sorted(receipt.replayed for receipt in receipts) == [False] + [True] * 99
    assert len((await claimed(engine.ledger)).deliveries) == 2


async def test_one_conflict_fails_nobody_else(engine: Engine, clock: ManualClock) -> None:
    taken = (await accepted(engine.ledger, send(clock, request_id="r")))[0].notification_id
    sends = [
        send(clock, 2),
        send(clock, request_id="r", fingerprint=b"other"),
        send(clock, 2, notification_id=taken),
        send(clock, 2),
    ]
    good, reused, twice, also_good = await soon(engine.ledger.accept(sends))
    assert isinstance(good, Receipt) and isinstance(also_good, Receipt)
    assert isinstance(reused, RequestIdReused)
    assert isinstance(twice, LedgerError)
    assert engine.ledger.queue(clock.now_us())[0] == 5
    assert len((await claimed(engine.ledger)).deliveries) == 5


async def test_a_broken_audience_fails_its_own_call_only(engine: Engine, clock: ManualClock) -> None:
    def broken(found: Sequence[Found]) -> Audience:
        raise ZeroDivisionError

    new_app = APNS._replace(app_id="new")
    sends = (send(clock), send(clock, lane=new_app, resolve=broken), send(clock))
    calls = [engine.ledger.accept([s]) for s in sends]
    results = await soon(asyncio.gather(*calls, return_exceptions=True))
    assert isinstance(results[1], ZeroDivisionError)
    assert [type(result[0]) for result in (results[0], results[2])] == [Receipt, Receipt]
    assert engine.ledger.queue(clock.now_us())[0] == 2
    await accepted(engine.ledger, send(clock, lane=new_app))


async def test_large_calls_are_kept_whole_and_in_order(engine: Engine, clock: ManualClock) -> None:
    sends = [send(clock, 100) for _ in range(30)]
    receipts = await accepted(engine.ledger, *sends)
    assert [receipt.notification_id for receipt in receipts] == [wanted.notification_id for wanted in sends]
    assert len((await claimed(engine.ledger, limit=5_000)).deliveries) == 3_000


async def test_a_full_queue_refuses_and_keeps_what_it_has(engine: Engine, clock: ManualClock) -> None:
    engine.queue_max = 5
    await engine.reopen()
    await accepted(engine.ledger, send(clock, 3))
    assert isinstance(await refused(engine.ledger, send(clock, 3)), QueueFull)
    await accepted(engine.ledger, send(clock, 2))
    batch = await claimed(engine.ledger)
    await engine.ledger.settle([verdict(clock, d) for d in batch.deliveries[:3]])
    await accepted(engine.ledger, send(clock, 3))


async def test_audiences_see_the_devices_that_are_named(engine: Engine, clock: ManualClock) -> None:
    seen: list[Found] = []

    def resolve(found: Sequence[Found]) -> Audience:
        seen.extend(found)
        return Audience((), 0, ())

    now_us = clock.now_us()
    for number, more in enumerate(({"device_id": "d"}, {"user_id": "u"}, {"user_id": "u"}, {}, {"device_id": "gone"})):
        await engine.ledger.register(registration(f"token-{number}", APNS, **more), now_us)
    await engine.ledger.unregister("shop", DeviceSelector(device_id="gone"), now_us)
    named = Named(["d", "gone", "unknown"], ["u", "nobody"], [(APNS, ["token-3", "token-0"]), (APNS, ["raw"])])
    wanted = send(clock, 0, resolve=resolve)
    await accepted(engine.ledger, replace(wanted, named=named))
    assert sorted(found.token for found in seen) == ["token-0", "token-1", "token-2", "token-3"]
    assert {found.lane for found in seen} == {APNS}
    assert {found.user_id for found in seen if found.token in ("token-1", "token-2")} == {"u"}


async def test_a_send_and_its_rows_survive_a_crash(engine: Engine, clock: ManualClock) -> None:
    wanted = send(clock, 3, request_id="r")
    await accepted(engine.ledger, wanted)
    ledger = await engine.crash()
    assert [d.token for d in (await claimed(ledger)).deliveries] == wanted.named.tokens[0][1]
    assert (await accepted(ledger, send(clock, 3, request_id="r")))[0].replayed


async def test_a_caller_that_goes_away_breaks_nobody(engine: Engine, clock: ManualClock) -> None:
    calls = [asyncio.ensure_future(engine.ledger.accept([send(clock, 2)])) for _ in range(10)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    results = await soon(asyncio.gather(*calls, return_exceptions=True))
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
    assert all(isinstance(result[0], Receipt) for result in results[1::2])
    # Whether a cancelled send is kept is not promised; that it is whole or absent, and the ledger sound, is.
    open_count, _ = engine.ledger.queue(clock.now_us())
    assert open_count % 2 == 0 and open_count >= 10
    assert len((await claimed(engine.ledger)).deliveries) == open_count


async def test_first_seq_is_just_before_the_first_event(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock, 2))
    for delivery in (await claimed(engine.ledger)).deliveries:
        await engine.ledger.settle([verdict(clock, delivery)])
    (receipt,) = await accepted(engine.ledger, send(clock))
    assert receipt.first_seq == await engine.ledger.tail()
    await engine.ledger.settle([verdict(clock, d) for d in (await claimed(engine.ledger)).deliveries])
    (event,) = await events_after(engine.ledger, Wanted("shop"), receipt.first_seq)
    assert event.notification_id == receipt.notification_id


@pytest.mark.parametrize("which", [NotificationSelector(notification_id="no"), NotificationSelector(request_id="no")])
async def test_unknown_names_are_nothing(engine: Engine, clock: ManualClock, which: NotificationSelector) -> None:
    assert await engine.ledger.cancel("shop", which, clock.now_us()) is None
    await accepted(engine.ledger, send(clock, ttl_s=HOUR_US / 1e6))
    assert await engine.ledger.cancel("shop", which, clock.now_us()) is None
