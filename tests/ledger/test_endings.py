"""Cancelling and expiring: what nobody has claimed ends at once, what is claimed ends instead of a retry."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import chain

import pytest

from pushrpc.record import CancelCounts, DeliverySelector, Event, NotificationSelector, Wanted
from pushrpc.words import Cause, DeliveryState, NotificationState, OutcomeKind, Provider
from tests.clocks import ManualClock
from tests.ledger.shop import (
    APNS,
    CREDENTIAL,
    FCM,
    Engine,
    accepted,
    claimed,
    events_after,
    retry,
    send,
    soon,
    unsent,
    verdict,
)


async def cancelled(engine: Engine, clock: ManualClock, **which: object) -> CancelCounts:
    counts = await soon(engine.ledger.cancel("shop", NotificationSelector(**which), clock.now_us()))  # type: ignore[arg-type]
    assert counts is not None
    return counts  # type: ignore[no-any-return]


async def test_cancel_counts_each_delivery_where_it_stands(engine: Engine, clock: ManualClock) -> None:
    wanted = send(clock, 10, request_id="r")
    await accepted(engine.ledger, wanted)
    batch = (await claimed(engine.ledger, limit=5)).deliveries
    await engine.ledger.settle([verdict(clock, d) for d in batch[:2]])
    clock.advance(1)
    assert await cancelled(engine, clock, request_id="r") == CancelCounts(1, 5, 3, 2)
    (status,) = await engine.ledger.find("shop", [wanted.notification_id], [])
    assert status.cancelled_us == clock.now_us()
    assert (status.counts.sent, status.counts.cancelled, status.counts.in_flight) == (2, 5, 3)
    clock.advance(1)
    assert await cancelled(engine, clock, notification_id=wanted.notification_id) == CancelCounts(1, 0, 3, 7)
    (status,) = await engine.ledger.find("shop", [wanted.notification_id], [])
    assert status.cancelled_us == clock.now_us() - 1_000_000
    assert await engine.ledger.cancel("other", NotificationSelector(request_id="r"), clock.now_us()) is None


async def test_what_was_claimed_ends_instead_of_a_retry(engine: Engine, clock: ManualClock) -> None:
    wanted = send(clock, 4)
    await accepted(engine.ledger, wanted)
    answered, retried, returned, held_back = (await claimed(engine.ledger)).deliveries
    assert await cancelled(engine, clock, notification_id=wanted.notification_id) == CancelCounts(1, 0, 4, 0)
    await engine.ledger.settle(
        [verdict(clock, answered), retry(clock, retried), unsent(clock, returned), unsent(clock, held_back, 9)]
    )
    events = {event.token: event for event in await events_after(engine.ledger, Wanted("shop"))}
    assert events[answered.token].state is DeliveryState.SENT
    for delivery, tries in ((retried, 1), (returned, 0), (held_back, 0)):
        event = events[delivery.token]
        assert (event.state, event.cause) == (DeliveryState.CANCELLED, Cause.CANCELLED_BY_CALLER)
        assert (event.final, event.attempt, event.retry_us) == (True, tries, 0)
    (status,) = await engine.ledger.find("shop", [wanted.notification_id], [])
    assert status.state is NotificationState.COMPLETE


async def test_nothing_is_claimed_once_cancel_has_answered(engine: Engine, clock: ManualClock) -> None:
    """More than one slice is to be written; no claim between the slices gets what is cancelled."""
    big = send(clock, 3_500)
    last = send(clock, 1)
    await accepted(engine.ledger, big, last)
    taken: list[str] = []
    all_taken = asyncio.Event()

    async def take() -> None:
        while True:
            taken.extend(d.token for d in (await engine.ledger.claim(APNS, 1)).deliveries)
            if [taken[-1]] == last.named.tokens[0][1]:
                all_taken.set()

    taking = asyncio.ensure_future(take())
    counts = await cancelled(engine, clock, notification_id=big.notification_id)
    await soon(all_taken.wait())
    taking.cancel()
    assert counts.in_flight_count == len(taken) - 1
    assert counts.cancelled_count == 3_500 - counts.in_flight_count
    assert engine.ledger.queue(clock.now_us())[0] == len(taken)


async def test_a_cancel_of_many_is_told_to_everybody_to_the_last_event(engine: Engine, clock: ManualClock) -> None:
    """It is written in slices that followers find in the file, while what else happens comes from memory."""
    large = [send(clock, 3_500, labels={"campaign": "x"}), send(clock, 2_700, lane=FCM, labels={"campaign": "x"})]
    other = send(clock, 2)
    await accepted(engine.ledger, *large, other)
    tried, held, sent, *_ = (await claimed(engine.ledger, limit=3)).deliveries
    await engine.ledger.settle([retry(clock, tried)])
    start = await engine.ledger.tail()

    async def told(wanted: Wanted, many: int) -> list[Event]:
        events: list[Event] = []
        after_seq = start
        while len(events) < many:
            page = await engine.ledger.follow(wanted, after_seq, 500, 10.0)
            events += page.events
            after_seq = page.through_seq
        return events

    following = [
        asyncio.ensure_future(told(Wanted("shop"), 6_200)),
        asyncio.ensure_future(told(Wanted("shop", (large[0].notification_id,)), 3_500)),
        asyncio.ensure_future(told(Wanted("shop", (large[1].notification_id,)), 2_700)),
    ]
    assert await cancelled(engine, clock, labels={"campaign": "x"}) == CancelCounts(2, 6_198, 2, 0)
    await engine.ledger.settle([verdict(clock, sent), unsent(clock, held)])
    everything, first, second = await soon(asyncio.gather(*following))
    assert [event.seq for event in everything] == sorted({event.seq for event in everything})
    assert first == [e for e in everything if e.notification_id == large[0].notification_id]
    assert second == [e for e in everything if e.notification_id == large[1].notification_id]
    tokens = chain.from_iterable(tokens for each in large for _, tokens in each.named.tokens)
    assert {event.token for event in everything} == set(tokens)
    states = Counter((event.state, event.cause, event.final) for event in everything)
    assert states == {
        (DeliveryState.CANCELLED, Cause.CANCELLED_BY_CALLER, True): 6_199,
        (DeliveryState.SENT, Cause.UNSPECIFIED, True): 1,
    }
    (event,) = (event for event in everything if event.token == tried.token)
    assert (event.outcome, event.reason, event.attempt) == (OutcomeKind.UNAVAILABLE, "ServiceUnavailable", 1)
    assert all(event.attempt == 0 for event in everything if event.token not in (tried.token, sent.token))
    assert len((await claimed(engine.ledger)).deliveries) == 2


async def test_cancel_by_labels_takes_all_that_match(engine: Engine, clock: ManualClock) -> None:
    matching = [send(clock, 2, labels={"campaign": "x", "n": str(i)}) for i in range(3)]
    others = [send(clock, 2, labels={"campaign": "y"}), send(clock, 2)]
    await accepted(engine.ledger, *matching, *others)
    assert await cancelled(engine, clock, labels={"campaign": "x"}) == CancelCounts(3, 6, 0, 0)
    assert await cancelled(engine, clock, labels={"campaign": "x"}) == CancelCounts(0, 0, 0, 0)
    assert await cancelled(engine, clock, labels={"campaign": "y", "n": "1"}) == CancelCounts(0, 0, 0, 0)
    assert len((await claimed(engine.ledger)).deliveries) == 4


async def test_a_crash_between_mark_and_slices_loses_no_cancel(engine: Engine, clock: ManualClock) -> None:
    wanted = send(clock, 2_500)
    await accepted(engine.ledger, wanted)
    cancelling = asyncio.ensure_future(cancelled(engine, clock, notification_id=wanted.notification_id))
    while True:
        (status,) = await engine.ledger.find("shop", [wanted.notification_id], [])
        if status.cancelled_us:
            break
    ledger = await engine.crash()
    await asyncio.gather(cancelling, return_exceptions=True)
    waiting = asyncio.ensure_future(ledger.claim(FCM, 1))
    assert await ledger.expire(clock.now_us()) == 0
    waiting.cancel()
    (status,) = await ledger.find("shop", [wanted.notification_id], [])
    assert (status.counts.cancelled, status.state) == (2_500, NotificationState.COMPLETE)


async def test_what_was_in_flight_at_a_cancel_and_a_crash_is_cancelled(engine: Engine, clock: ManualClock) -> None:
    wanted, other = send(clock, 3, ttl_s=60), send(clock, 1)
    await accepted(engine.ledger, wanted, other)
    await claimed(engine.ledger, limit=3)
    assert await cancelled(engine, clock, notification_id=wanted.notification_id) == CancelCounts(1, 0, 3, 0)
    ledger = await engine.crash()
    batch = await claimed(ledger)
    assert [d.notification.notification_id for d in batch.deliveries] == [other.notification_id]
    clock.advance(60)
    assert await ledger.expire(clock.now_us()) == 0
    (status,) = await ledger.find("shop", [wanted.notification_id], [])
    assert (status.counts.cancelled, status.counts.expired) == (3, 0)


async def test_expire_ends_what_is_late_whatever_its_lane_does(engine: Engine, clock: ManualClock) -> None:
    late = send(clock, 1_500, ttl_s=60)
    await accepted(engine.ledger, late, send(clock, 2, lane=FCM, ttl_s=60), send(clock, 3, ttl_s=61))
    (held,) = (await claimed(engine.ledger, limit=1)).deliveries
    clock.advance(59)
    assert await engine.ledger.expire(clock.now_us()) == 0
    clock.advance(1)
    assert await engine.ledger.expire(clock.now_us()) == 1_501
    assert await engine.ledger.expire(clock.now_us()) == 0
    events = await events_after(engine.ledger, Wanted("shop"))
    assert {(e.state, e.cause, e.final, e.attempt) for e in events} == {
        (DeliveryState.EXPIRED, Cause.UNSPECIFIED, True, 0)
    }
    assert held.token not in {event.token for event in events} and len(events) == 1_501
    await engine.ledger.settle([retry(clock, held, 0)])
    assert await engine.ledger.expire(clock.now_us()) == 1


async def test_expiry_in_a_lane_whose_credential_is_refused_says_so(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock, 2, ttl_s=60))
    refused, failed = (await claimed(engine.ledger)).deliveries
    await engine.ledger.settle(
        [verdict(clock, refused, CREDENTIAL, DeliveryState.QUEUED, spend=False), retry(clock, failed, 5)]
    )
    clock.advance(60)
    assert await engine.ledger.expire(clock.now_us()) == 2
    for token, cause in ((refused.token, Cause.LANE_PAUSED), (failed.token, Cause.UNSPECIFIED)):
        page = await engine.ledger.deliveries("shop", DeliverySelector(token=token), False, 0, 10)
        assert page is not None
        assert (page[0][0].state, page[0][0].cause) == (DeliveryState.EXPIRED, cause)


async def test_expiry_in_a_paused_lane_says_so_of_what_was_never_tried(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock, ttl_s=60), send(clock, lane=FCM, ttl_s=60))
    clock.advance(60)
    assert await engine.ledger.expire(clock.now_us(), {FCM}) == 2
    told = {e.provider: e.cause for e in await events_after(engine.ledger, Wanted("shop"))}
    assert told == {Provider.APNS: Cause.UNSPECIFIED, Provider.FCM: Cause.LANE_PAUSED}


async def test_expire_and_claim_never_take_the_same(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, *(send(clock, 50, ttl_s=60) for _ in range(20)))
    clock.advance(60)
    expiring = asyncio.ensure_future(engine.ledger.expire(clock.now_us()))
    batches = [await claimed(engine.ledger, limit=100)] if not expiring.done() else []
    expired = await soon(expiring)
    assert expired + sum(len(batch.deliveries) for batch in batches) == 1_000


async def test_the_queue_forgets_what_has_ended(engine: Engine, clock: ManualClock) -> None:
    wanted = send(clock, 2)
    await accepted(engine.ledger, wanted)
    clock.advance(3)
    await accepted(engine.ledger, send(clock, 1))
    clock.advance(4)
    assert engine.ledger.queue(clock.now_us()) == (3, 7.0)
    await cancelled(engine, clock, notification_id=wanted.notification_id)
    assert engine.ledger.queue(clock.now_us()) == (1, 4.0)


@pytest.mark.parametrize(
    "which", [DeliverySelector(device_id="x"), DeliverySelector(user_id="x"), DeliverySelector(token="x")]
)
async def test_unknown_names_list_nothing(engine: Engine, which: DeliverySelector) -> None:
    assert await engine.ledger.deliveries("shop", which, True, 0, 10) == ((), 0)
