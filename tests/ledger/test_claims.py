"""Claiming: everything once, the most urgent first, and nothing hidden by what moves around it."""

from __future__ import annotations

import asyncio
from itertools import groupby
from operator import attrgetter

import pytest

from pushrpc.content import ApnsOptions, Content, FcmOptions
from pushrpc.ledger import Limit
from pushrpc.model import Claimed, Lane
from pushrpc.record import Wanted
from pushrpc.words import Cause, DeliveryState, OutcomeKind, Priority
from tests.clocks import ManualClock
from tests.ledger.shop import (
    APNS,
    FCM,
    UNAVAILABLE,
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


async def nothing_to_claim(engine: Engine, lane: Lane = APNS) -> None:
    waiting = asyncio.ensure_future(engine.ledger.claim(lane, 10))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_order_is_priority_then_due_then_acceptance(engine: Engine, clock: ManualClock) -> None:
    names = {}
    for name, priority in (("low", Priority.LOW), ("first", Priority.NORMAL), ("urgent", Priority.HIGH)):
        names[name] = send(clock, 2, priority=priority)
        await accepted(engine.ledger, names[name])
        clock.advance(1)
    names["second"] = send(clock, 2, priority=Priority.NORMAL)
    await accepted(engine.ledger, names["second"])
    batch = await claimed(engine.ledger)
    assert batch.lane == APNS
    assert [(d.token, d.ordinal) for d in batch.deliveries] == [
        (token, ordinal)
        for name in ("urgent", "first", "second", "low")
        for ordinal, token in enumerate(names[name].named.tokens[0][1])
    ]


async def test_a_claim_carries_what_a_provider_needs(engine: Engine, clock: ManualClock) -> None:
    wanted = send(clock, labels={"a": "b"}, request_id="r", at_most_once=True)
    await accepted(engine.ledger, wanted)
    await engine.reopen()  # what is read from the disk must equal what was accepted
    notification = (await claimed(engine.ledger)).deliveries[0].notification
    for name in ("app_id", "notification_id", "request_id", "content", "priority", "collapse_key", "at_most_once"):
        assert getattr(notification, name) == getattr(wanted, name)
    for name in ("one_try", "created_us", "expire_us", "labels"):
        assert getattr(notification, name) == getattr(wanted, name)


async def test_lanes_do_not_mix(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock, 2), send(clock, 3, lane=FCM))
    assert len((await claimed(engine.ledger, FCM)).deliveries) == 3
    assert len((await claimed(engine.ledger, APNS)).deliveries) == 2


async def test_concurrent_claims_never_share_a_delivery(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, *(send(clock, 100) for _ in range(10)))
    batches = await soon(asyncio.gather(*(engine.ledger.claim(APNS, 70) for _ in range(15))))
    keys = [delivery.key for batch in batches for delivery in batch.deliveries]
    assert len(keys) == len(set(keys)) == 1_000


async def test_a_claim_waits_for_a_send(engine: Engine, clock: ManualClock) -> None:
    waiting = asyncio.ensure_future(engine.ledger.claim(APNS, 10))
    await asyncio.sleep(0)
    await accepted(engine.ledger, send(clock))
    assert len((await soon(waiting)).deliveries) == 1


async def test_a_limit_may_be_asked_for_once_something_is_due(engine: Engine, clock: ManualClock) -> None:
    limit = Limit(1)
    waiting = asyncio.ensure_future(engine.ledger.claim(APNS, lambda: limit))
    await asyncio.sleep(0)
    limit = Limit(3)
    await accepted(engine.ledger, send(clock, 5))
    assert len((await soon(waiting)).deliveries) == 3
    assert not (await soon(engine.ledger.claim(APNS, lambda: Limit(0)))).deliveries
    assert len((await claimed(engine.ledger)).deliveries) == 2


@pytest.mark.parametrize("moving", [False, True], ids=["all free", "some in flight"])
async def test_notifications_are_claimed_whole_and_in_their_order(
    engine: Engine, clock: ManualClock, moving: bool
) -> None:
    async def sizes(limit: int) -> list[int]:
        batch = await soon(engine.ledger.claim(APNS, lambda: Limit(limit, 10)))
        return [len(list(of_one)) for _, of_one in groupby(batch.deliveries, attrgetter("notification"))]

    first = send(clock, 8)
    await accepted(engine.ledger, first, send(clock, 25), send(clock, 4))
    await accepted(engine.ledger, send(clock, priority=Priority.LOW))
    if moving:  # the queue begins with some that are to be passed over
        early = (await claimed(engine.ledger, limit=3)).deliveries
        await engine.ledger.settle([unsent(clock, early[0])])
    rest = 8 - 2 * moving
    assert await sizes(rest - 1) == [], "less urgent ones do not pass either"
    assert await sizes(rest) == [rest]
    assert await sizes(9) == []
    assert await sizes(19) == [10], "of more than fills a request, as many as fill requests"
    assert await sizes(17) == [15], "a rest is no more than a request"
    assert await sizes(5) == [4, 1]
    await accepted(engine.ledger, send(clock, 6, priority=Priority.NORMAL))
    assert await sizes(5) == []
    await accepted(engine.ledger, send(clock, 2, priority=Priority.HIGH))
    assert await sizes(5) == [2], "what is more urgent does not wait with it"


async def test_a_claim_waits_until_a_retry_is_due(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock))
    (delivery,) = (await claimed(engine.ledger)).deliveries
    await engine.ledger.settle([retry(clock, delivery, 30)])
    waiting = asyncio.ensure_future(engine.ledger.claim(APNS, 10))
    await clock.run_until_idle()
    clock.advance(29.9)
    await clock.run_until_idle()
    assert not waiting.done()
    clock.advance(0.1)
    (again,) = (await soon(waiting)).deliveries
    assert (again.key, again.tries, again.spent) == (delivery.key, 1, 1)


async def test_what_was_not_sent_keeps_its_place(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock, 5))
    first = (await claimed(engine.ledger, limit=2)).deliveries
    clock.advance(1)
    await engine.ledger.settle([unsent(clock, d) for d in first])
    again = (await claimed(engine.ledger)).deliveries
    assert [d.key for d in again[:2]] == [d.key for d in first]
    assert len(again) == 5 and {d.tries for d in again} == {0}
    assert not await events_after(engine.ledger, Wanted("shop"))


async def test_what_was_not_sent_can_be_held_back(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock))
    (delivery,) = (await claimed(engine.ledger)).deliveries
    await engine.ledger.settle([unsent(clock, delivery, after_s=5)])
    await nothing_to_claim(engine)
    clock.advance(5)
    assert len((await claimed(engine.ledger)).deliveries) == 1


async def test_a_claimer_that_goes_away_leaves_nothing_behind(engine: Engine, clock: ManualClock) -> None:
    for at_most_once in (False, True):
        await accepted(engine.ledger, send(clock, 3, at_most_once=at_most_once))
        going = asyncio.ensure_future(engine.ledger.claim(APNS, 10))
        await asyncio.sleep(0)  # the claim is on its way
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
        batch = await claimed(engine.ledger)
        assert len(batch.deliveries) == 3
        await engine.ledger.settle([verdict(clock, d) for d in batch.deliveries])


async def test_a_clock_set_back_hides_nothing(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock))
    (first,) = (await claimed(engine.ledger)).deliveries
    clock.advance(-7200)
    await accepted(engine.ledger, send(clock, 2))
    assert len((await claimed(engine.ledger)).deliveries) == 2
    await engine.ledger.settle([retry(clock, first, 10)])
    await nothing_to_claim(engine)
    clock.advance(10)
    assert [d.key for d in (await claimed(engine.ledger)).deliveries] == [first.key]


async def test_a_clock_set_back_before_a_start_hides_nothing(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock, 2))
    clock.advance(-7200)
    await engine.reopen()
    await accepted(engine.ledger, send(clock))
    assert len((await claimed(engine.ledger)).deliveries) == 3


async def test_claims_pass_by_what_is_in_flight(engine: Engine, clock: ManualClock) -> None:
    """Rows that go back early in the queue, while later ones are in flight, make no claim slow or double."""
    await accepted(engine.ledger, send(clock, 200))
    out: dict[int, Claimed] = {}
    for step in range(100):
        for delivery in (await claimed(engine.ledger, limit=7)).deliveries:
            assert delivery.key not in out
            out[delivery.key] = delivery
        back = [out.pop(key) for key in sorted(out)[:: 2 + step % 3][:6]]
        await engine.ledger.settle([unsent(clock, d) for d in back])
        if not out:
            break
    everything = list(out.values())
    if len(everything) < 200:
        everything += (await claimed(engine.ledger)).deliveries
    assert len({d.key for d in everything}) == len(everything) == 200


async def test_lanes_are_told_once_each(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock))
    lanes = engine.ledger.lanes()
    assert await soon(anext(lanes)) == APNS
    found = asyncio.ensure_future(anext(lanes))
    await accepted(engine.ledger, send(clock))
    await accepted(engine.ledger, send(clock, lane=FCM))
    assert await soon(found) == FCM
    again = engine.ledger.lanes()
    assert [await soon(anext(again)) for _ in range(2)] == [APNS, FCM]
    ledger = await engine.reopen()
    assert {await soon(anext(ledger.lanes()))} <= {APNS, FCM}


async def test_only_lanes_with_open_deliveries_are_told_after_a_start(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock), send(clock, lane=FCM))
    await engine.ledger.settle([verdict(clock, d) for d in (await claimed(engine.ledger)).deliveries])
    ledger = await engine.reopen()
    lanes = ledger.lanes()
    assert await soon(anext(lanes)) == FCM
    more = asyncio.ensure_future(anext(lanes))
    await accepted(ledger, send(clock))
    assert await soon(more) == APNS


async def test_claims_do_not_outlive_the_process(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock, 3))
    before = await claimed(engine.ledger)
    await engine.ledger.settle([retry(clock, before.deliveries[0], 0.5)])
    ledger = await engine.crash()
    clock.advance(1)
    after = (await claimed(ledger)).deliveries
    assert {d.key for d in after} == {d.key for d in before.deliveries}
    assert sorted(d.tries for d in after) == [0, 0, 1]


async def test_at_most_once_is_never_sent_again_after_a_crash(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock, 3, at_most_once=True))
    (kept,) = (await claimed(engine.ledger, limit=1)).deliveries
    (settled,) = (await claimed(engine.ledger, limit=1)).deliveries
    await engine.ledger.settle([verdict(clock, settled)])
    ledger = await engine.crash()
    (left,) = (await claimed(ledger)).deliveries
    assert left.key not in (kept.key, settled.key)
    sent, failed = await events_after(ledger, Wanted("shop"))
    assert (sent.token, sent.state) == (settled.token, DeliveryState.SENT)
    assert (failed.token, failed.state, failed.cause) == (kept.token, DeliveryState.FAILED, Cause.ANSWER_UNKNOWN)
    assert (failed.outcome, failed.final, failed.attempt) == (OutcomeKind.UNKNOWN, True, 1)


async def test_at_most_once_may_be_retried_when_surely_unprocessed(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock, 2, at_most_once=True))
    first, second = (await claimed(engine.ledger)).deliveries
    await engine.ledger.settle([unsent(clock, first), retry(clock, second, 0, UNAVAILABLE)])
    ledger = await engine.crash()
    assert len((await claimed(ledger)).deliveries) == 2


async def test_the_queue_tells_its_age(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock, 2))
    clock.advance(7)
    assert engine.ledger.queue(clock.now_us()) == (2, 7.0)
    deliveries = (await claimed(engine.ledger)).deliveries
    assert engine.ledger.queue(clock.now_us()) == (2, 0.0)
    await engine.ledger.settle([retry(clock, deliveries[0], 5), verdict(clock, deliveries[1])])
    assert engine.ledger.queue(clock.now_us()) == (1, 0.0)
    clock.advance(8)
    assert engine.ledger.queue(clock.now_us()) == (1, 3.0)


async def test_every_part_of_a_message_comes_back_as_it_was_sent(engine: Engine, clock: ManualClock) -> None:
    full = Content(
        title="t",
        data={"k": "v"},
        badge=0,
        silent=True,
        title_loc_args=("a", "b"),
        apns=ApnsOptions(relevance_score=0.5, content_available=False),
        fcm=FcmOptions(data_only=True),
    )
    contents = [full, Content(), Content(badge=0, body="ü")]
    await accepted(engine.ledger, *(send(clock, content=content) for content in contents))
    await engine.reopen()
    assert [d.notification.content for d in (await claimed(engine.ledger)).deliveries] == contents
