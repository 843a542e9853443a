"""Settling: every delivery ends once, its event with it, and the counters always add up."""

from __future__ import annotations

import pytest

from pushrpc.model import NOT_SENT, DeviceSelector
from pushrpc.record import Counts, DeliverySelector, NotificationSelector, Wanted
from pushrpc.words import FINAL_STATES, Cause, DeliveryState, DeviceState, EventKind, NotificationState, OutcomeKind
from tests.clocks import ManualClock
from tests.ledger.shop import (
    ACCEPTED,
    CREDENTIAL,
    REFUSED,
    UNAVAILABLE,
    UNKNOWN,
    UNREGISTERED,
    Engine,
    accepted,
    claimed,
    events_after,
    registration,
    retry,
    send,
    tokens,
    unsent,
    verdict,
)

VERDICTS = {
    DeliveryState.SENT: ACCEPTED,
    DeliveryState.REJECTED: REFUSED,
    DeliveryState.UNREGISTERED: UNREGISTERED,
    DeliveryState.EXPIRED: UNAVAILABLE,
    DeliveryState.CANCELLED: UNAVAILABLE,
    DeliveryState.SUPPRESSED: REFUSED,
    DeliveryState.FAILED: UNKNOWN,
}


async def counts_of(engine: Engine, notification_id: str) -> Counts:
    (status,) = await engine.ledger.find("shop", [notification_id], [])
    assert status.counts.total == sum(status.counts[1:])
    return status.counts


async def test_every_final_state_is_counted_and_told(engine: Engine, clock: ManualClock) -> None:
    assert set(VERDICTS) == FINAL_STATES
    wanted = send(clock, 9, labels={"k": "v"}, request_id="r")
    await accepted(engine.ledger, wanted)
    deliveries = (await claimed(engine.ledger, limit=8)).deliveries
    assert await counts_of(engine, wanted.notification_id) == Counts(total=9, queued=1, in_flight=8)
    for delivery, (state, outcome) in zip(deliveries, VERDICTS.items(), strict=False):
        clock.advance(1)
        await engine.ledger.settle([verdict(clock, delivery, outcome, state)])
    assert await counts_of(engine, wanted.notification_id) == Counts(9, 1, 1, 1, 1, 1, 1, 1, 1, 1)
    events = await events_after(engine.ledger, Wanted("shop"))
    assert [event.state for event in events] == list(VERDICTS)
    assert all(e.final and e.kind is EventKind.STATE and e.attempt == 1 and e.labels == {"k": "v"} for e in events)
    first = events[0]
    assert (first.token, first.request_id, first.reason) == (deliveries[0].token, "r", "")
    assert (first.provider_message_id, first.provider_status, first.outcome) == (
        f"m-{first.token}",
        200,
        OutcomeKind.ACCEPTED,
    )


async def test_a_notification_is_complete_with_its_last_delivery(engine: Engine, clock: ManualClock) -> None:
    wanted = send(clock, 3)
    await accepted(engine.ledger, wanted)
    deliveries = (await claimed(engine.ledger)).deliveries
    await engine.ledger.settle([verdict(clock, d) for d in deliveries[:2]])
    (status,) = await engine.ledger.find("shop", [wanted.notification_id], [])
    assert (status.state, status.completed_us) == (NotificationState.ACTIVE, 0)
    clock.advance(5)
    await engine.ledger.settle([verdict(clock, deliveries[2])])
    (status,) = await engine.ledger.find("shop", [wanted.notification_id], [])
    assert (status.state, status.completed_us) == (NotificationState.COMPLETE, clock.now_us())
    assert engine.ledger.queue(clock.now_us())[0] == 0


async def test_settling_again_changes_nothing(engine: Engine, clock: ManualClock) -> None:
    wanted = send(clock, 2)
    await accepted(engine.ledger, wanted)
    deliveries = (await claimed(engine.ledger)).deliveries
    settlement = verdict(clock, deliveries[0])
    await engine.ledger.settle([settlement, settlement])
    await engine.ledger.settle([settlement])
    await engine.ledger.settle([verdict(clock, deliveries[0], UNREGISTERED, DeliveryState.UNREGISTERED)])
    await engine.ledger.settle([retry(clock, deliveries[0])])
    assert len(await events_after(engine.ledger, Wanted("shop"))) == 1
    assert await counts_of(engine, wanted.notification_id) == Counts(total=2, in_flight=1, sent=1)
    assert engine.ledger.queue(clock.now_us())[0] == 1


async def test_an_old_claim_cannot_settle_a_delivery_that_was_retried(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock))
    (old,) = (await claimed(engine.ledger)).deliveries
    await engine.ledger.settle([retry(clock, old, 0)])
    await engine.ledger.settle([verdict(clock, old)])  # not claimed now
    assert [e.state for e in await events_after(engine.ledger, Wanted("shop"))] == [DeliveryState.QUEUED]


async def test_a_retry_is_told_with_its_time(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock))
    (delivery,) = (await claimed(engine.ledger)).deliveries
    await engine.ledger.settle([retry(clock, delivery, 30)])
    (event,) = await events_after(engine.ledger, Wanted("shop"))
    assert (event.kind, event.state, event.final) == (EventKind.ATTEMPT, DeliveryState.QUEUED, False)
    assert (event.retry_us, event.reason) == (clock.now_us() + 30_000_000, "ServiceUnavailable")
    page = await engine.ledger.deliveries("shop", DeliverySelector(token=delivery.token), False, 0, 10)
    assert page is not None
    (status,) = page[0]
    assert (status.state, status.retry_us, status.attempt) == (DeliveryState.QUEUED, event.retry_us, 1)
    assert status.outcome is OutcomeKind.UNAVAILABLE


async def test_attempts_are_kept_in_order(engine: Engine, clock: ManualClock) -> None:
    wanted = send(clock, 2)
    await accepted(engine.ledger, wanted)
    for _ in range(3):
        for delivery in (await claimed(engine.ledger)).deliveries:
            await engine.ledger.settle([retry(clock, delivery, 1)])
        clock.advance(1)
    first, second = (await claimed(engine.ledger)).deliveries
    assert (first.tries, first.spent) == (3, 3)
    await engine.ledger.settle([unsent(clock, second), verdict(clock, first)])
    page = await engine.ledger.deliveries("shop", DeliverySelector(notification_id=wanted.notification_id), True, 0, 10)
    assert page is not None
    done, waiting = page[0]
    assert [a.number for a in done.attempts] == [1, 2, 3, 4]
    assert [a.outcome for a in done.attempts] == [OutcomeKind.UNAVAILABLE] * 3 + [OutcomeKind.ACCEPTED]
    assert [a.provider_status for a in done.attempts] == [503, 503, 503, 200]
    assert {a.duration_us for a in done.attempts} == {5_000}
    assert [a.number for a in waiting.attempts] == [1, 2, 3]
    assert done.attempts[0].provider_detail == "try later"
    assert done.attempts[0].time_us < done.attempts[3].time_us


async def test_only_what_counts_is_spent(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock))
    (delivery,) = (await claimed(engine.ledger)).deliveries
    await engine.ledger.settle([verdict(clock, delivery, CREDENTIAL, DeliveryState.QUEUED, after_s=0, spend=False)])
    (delivery,) = (await claimed(engine.ledger)).deliveries
    assert (delivery.tries, delivery.spent) == (1, 0)


async def test_an_end_without_an_attempt_repeats_the_last_one(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock))
    (delivery,) = (await claimed(engine.ledger)).deliveries
    await engine.ledger.settle([retry(clock, delivery, 0)])
    (delivery,) = (await claimed(engine.ledger)).deliveries
    await engine.ledger.settle([verdict(clock, delivery, NOT_SENT, DeliveryState.EXPIRED, spend=False)])
    retried, expired = await events_after(engine.ledger, Wanted("shop"))
    assert (expired.state, expired.final, expired.attempt) == (DeliveryState.EXPIRED, True, 1)
    assert (expired.outcome, expired.reason) == (retried.outcome, retried.reason)
    page = await engine.ledger.deliveries("shop", DeliverySelector(token=delivery.token), True, 0, 10)
    assert page is not None and [a.number for a in page[0][0].attempts] == [1]


async def test_an_illegal_edge_is_a_bug_of_its_caller_alone(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock, 2))
    first, second = (await claimed(engine.ledger)).deliveries
    with pytest.raises(AssertionError):
        await engine.ledger.settle([verdict(clock, second), verdict(clock, first, state=DeliveryState.IN_FLIGHT)])
    await engine.ledger.settle([verdict(clock, first), verdict(clock, second)])
    assert len(await events_after(engine.ledger, Wanted("shop"))) == 2


async def test_large_settlements_are_cut_and_all_written(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock, 2_500))
    deliveries = (await claimed(engine.ledger, limit=2_500)).deliveries
    await engine.ledger.settle([verdict(clock, d) for d in deliveries])
    assert len(await events_after(engine.ledger, Wanted("shop"))) == 2_500
    await engine.ledger.settle([])


# --- dead devices


async def dead_or_not(engine: Engine, clock: ManualClock, registered_s: float, dead_since_s: float) -> bool:
    """Registers a device, sends, and has the provider say that its token died; times are seconds from now."""
    (token,) = tokens(1)
    now_us = clock.now_us()
    await engine.ledger.register(
        registration(token, device_id="d", registered_us=now_us + int(registered_s * 1e6)), now_us
    )
    await accepted(engine.ledger, send(clock, [token]))
    (delivery,) = (await claimed(engine.ledger)).deliveries
    since_us = now_us + int(dead_since_s * 1e6) if dead_since_s else 0
    gone = UNREGISTERED.__class__(
        OutcomeKind.TOKEN_INVALID, 410, "Unregistered", dead_since_us=since_us, replaced_by="newer"
    )
    await engine.ledger.settle(
        [verdict(clock, delivery, gone, DeliveryState.UNREGISTERED, started_us=now_us + 1_000_000)]
    )
    device = await engine.ledger.device("shop", DeviceSelector(device_id="d"))
    assert device is not None
    kinds = [e.kind for e in await events_after(engine.ledger, Wanted("shop"))]
    dead = device.state is DeviceState.DEAD
    assert kinds == [EventKind.STATE] + [EventKind.DEVICE] * dead
    if dead:
        assert (device.dead_reason, device.token_replaced_by) == ("Unregistered", "newer")
        assert device.dead_us == clock.now_us()
    return dead


@pytest.mark.parametrize(
    ("registered_s", "dead_since_s", "dies"),
    [
        (-100, -50, True),  # registered before its death
        (-50, -100, False),  # registered again since then
        (-50, -50, False),  # at the same instant: the registration wins
        (0, 0, True),  # no time of death: our request began a second later
        (5, 0, False),  # registered while our request was on the wire
    ],
)
async def test_a_device_dies_unless_it_registered_since(
    engine: Engine, clock: ManualClock, registered_s: float, dead_since_s: float, dies: bool
) -> None:
    assert await dead_or_not(engine, clock, registered_s, dead_since_s) is dies


async def test_the_death_is_told_after_the_answer(engine: Engine, clock: ManualClock) -> None:
    assert await dead_or_not(engine, clock, -100, 0)
    state, device = await events_after(engine.ledger, Wanted("shop"))
    assert (state.device_id, state.final) == ("d", True)
    assert (device.device_id, device.device_state, device.final) == ("d", DeviceState.DEAD, False)
    assert device.state is DeliveryState.UNSPECIFIED and device.reason == "Unregistered"


async def test_a_raw_token_kills_the_device_that_holds_it(engine: Engine, clock: ManualClock) -> None:
    (token,) = tokens(1)
    await accepted(engine.ledger, send(clock, [token]))
    await engine.ledger.register(registration(token, device_id="d"), clock.now_us() - 10_000_000)
    (delivery,) = (await claimed(engine.ledger)).deliveries
    assert delivery.device_id == ""
    await engine.ledger.settle([verdict(clock, delivery, UNREGISTERED, DeliveryState.UNREGISTERED)])
    device = await engine.ledger.device("shop", DeviceSelector(device_id="d"))
    assert device is not None and device.state is DeviceState.DEAD
    assert [e.device_id for e in await events_after(engine.ledger, Wanted("shop"))] == ["", "d"]


async def test_a_device_that_rotated_its_token_lives(engine: Engine, clock: ManualClock) -> None:
    old, new = tokens(2)
    await engine.ledger.register(registration(old, device_id="d"), clock.now_us())
    await accepted(engine.ledger, send(clock, [old]))
    (delivery,) = (await claimed(engine.ledger)).deliveries
    assert delivery.device_id == "d"
    await engine.ledger.register(registration(new, device_id="d"), clock.now_us())
    clock.advance(60)
    await engine.ledger.settle([verdict(clock, delivery, UNREGISTERED, DeliveryState.UNREGISTERED)])
    device = await engine.ledger.device("shop", DeviceSelector(device_id="d"))
    assert device is not None and (device.state, device.token) == (DeviceState.ACTIVE, new)


async def test_one_device_dies_once_whatever_is_in_one_settlement(engine: Engine, clock: ManualClock) -> None:
    (token,) = tokens(1)
    await engine.ledger.register(registration(token, device_id="d"), clock.now_us())
    clock.advance(60)
    await accepted(engine.ledger, send(clock, [token]), send(clock, [token]))
    deliveries = (await claimed(engine.ledger)).deliveries
    await engine.ledger.settle([verdict(clock, d, UNREGISTERED, DeliveryState.UNREGISTERED) for d in deliveries])
    kinds = [e.kind for e in await events_after(engine.ledger, Wanted("shop"))]
    assert kinds == [EventKind.STATE, EventKind.STATE, EventKind.DEVICE]


@pytest.mark.parametrize("outcome", [UNAVAILABLE, UNKNOWN, CREDENTIAL, REFUSED])
async def test_no_other_outcome_touches_a_device(engine: Engine, clock: ManualClock, outcome: object) -> None:
    (token,) = tokens(1)
    await engine.ledger.register(registration(token, device_id="d"), clock.now_us() - 1_000_000)
    await accepted(engine.ledger, send(clock, [token]))
    (delivery,) = (await claimed(engine.ledger)).deliveries
    await engine.ledger.settle(
        [verdict(clock, delivery, outcome, DeliveryState.FAILED, cause=Cause.TRIES_USED_UP)]  # type: ignore[arg-type]
    )
    device = await engine.ledger.device("shop", DeviceSelector(device_id="d"))
    assert device is not None and device.state is DeviceState.ACTIVE


async def test_what_waits_for_a_dead_device_ends_with_it(engine: Engine, clock: ManualClock) -> None:
    token, other = tokens(2)
    await engine.ledger.register(registration(token, device_id="d"), clock.now_us())
    clock.advance(60)
    first, second = await accepted(engine.ledger, send(clock, [token]), send(clock, [token, other]))
    (delivery,) = (await claimed(engine.ledger, limit=1)).deliveries
    await engine.ledger.settle([verdict(clock, delivery, UNREGISTERED, DeliveryState.UNREGISTERED)])
    events = await events_after(engine.ledger, Wanted("shop"))
    told = [(e.notification_id, e.kind, e.state, e.cause, e.attempt) for e in events]
    assert told == [
        (first.notification_id, EventKind.STATE, DeliveryState.UNREGISTERED, Cause.UNSPECIFIED, 1),
        (first.notification_id, EventKind.DEVICE, DeliveryState.UNSPECIFIED, Cause.UNSPECIFIED, 0),
        (second.notification_id, EventKind.STATE, DeliveryState.UNREGISTERED, Cause.DEVICE_DEAD, 0),
    ]
    left = (await claimed(engine.ledger)).deliveries
    assert [d.token for d in left] == [other], "nobody else is touched"


# --- settlements of many


async def test_many_that_were_answered_in_any_order_are_told_of_as_they_were_answered(
    engine: Engine, clock: ManualClock
) -> None:
    """Of several notifications, with gaps, some tried before, in one settlement: each gets its own id and story."""
    sends = [send(clock, 5), send(clock, 3)]
    await accepted(engine.ledger, *sends)
    deliveries = list((await claimed(engine.ledger)).deliveries)
    await engine.ledger.settle([retry(clock, deliveries[1], 0), retry(clock, deliveries[6:], 0)])
    tried = (await claimed(engine.ledger)).deliveries
    assert {d.key for d in tried} == {deliveries[n].key for n in (1, 6, 7)}
    answered = [deliveries[5], *tried, deliveries[3], deliveries[0]]
    await engine.ledger.settle([verdict(clock, answered)])
    for _ in range(2):
        events = await events_after(engine.ledger, Wanted("shop"))
        assert [event.seq for event in events] == list(range(1, 10))
        ends = {event.token: event for event in events if event.final}
        assert {token: event.provider_message_id for token, event in ends.items()} == {
            d.token: f"m-{d.token}" for d in answered
        }
        assert {token: event.attempt for token, event in ends.items()} == {d.token: d.tries + 1 for d in answered}
        for number, wanted in enumerate(sends):
            page = await engine.ledger.deliveries("shop", DeliverySelector(wanted.notification_id), True, 0, 10)
            assert page is not None
            for status in page[0]:
                event = ends.get(status.token)
                assert status.provider_message_id == (event.provider_message_id if event else "")
                assert [a.number for a in status.attempts] == list(range(1, (event.attempt if event else 0) + 1))
                assert event is None or event.notification_id == sends[number].notification_id
        await engine.reopen()


async def test_a_settlement_of_many_counts_only_what_is_still_claimed(engine: Engine, clock: ManualClock) -> None:
    wanted = send(clock, 4)
    await accepted(engine.ledger, wanted)
    deliveries = (await claimed(engine.ledger)).deliveries
    await engine.ledger.settle([verdict(clock, deliveries[1])])
    await engine.ledger.settle([verdict(clock, [*deliveries, deliveries[0]])])
    events = await events_after(engine.ledger, Wanted("shop"))
    assert [event.token for event in events] == [deliveries[n].token for n in (1, 0, 2, 3)]
    assert [event.provider_message_id for event in events] == [f"m-{event.token}" for event in events]
    assert await counts_of(engine, wanted.notification_id) == Counts(total=4, sent=4)


async def test_what_the_provider_knows_by_our_id_is_told_with_it(engine: Engine, clock: ManualClock) -> None:
    wanted = send(clock, 3)
    await accepted(engine.ledger, wanted)
    first, *others = (await claimed(engine.ledger)).deliveries
    known = ACCEPTED._replace(own_id=True)
    await engine.ledger.settle([verdict(clock, first, UNAVAILABLE._replace(own_id=True), DeliveryState.QUEUED)])
    clock.advance(1)
    await engine.ledger.settle([verdict(clock, [*others, *(await claimed(engine.ledger)).deliveries], known)])
    own_ids = {d.token: d.own_id for d in (first, *others)}
    for _ in range(2):
        events = await events_after(engine.ledger, Wanted("shop"))
        assert len(events) == 4 and all(event.provider_message_id == own_ids[event.token] for event in events)
        page = await engine.ledger.deliveries("shop", DeliverySelector(wanted.notification_id), False, 0, 10)
        assert page is not None
        assert {status.token: status.provider_message_id for status in page[0]} == own_ids
        await engine.reopen()


async def test_of_many_that_may_be_queued_again_the_cancelled_end(engine: Engine, clock: ManualClock) -> None:
    doomed, alive = send(clock, 2), send(clock, 2)
    await accepted(engine.ledger, doomed, alive)
    deliveries = (await claimed(engine.ledger)).deliveries
    await engine.ledger.cancel("shop", NotificationSelector(doomed.notification_id), clock.now_us())
    await engine.ledger.settle([retry(clock, deliveries[::2]), unsent(clock, deliveries[1::2])])
    events = {event.token: event for event in await events_after(engine.ledger, Wanted("shop"))}
    assert [events[d.token].state for d in deliveries[:2]] == [DeliveryState.CANCELLED] * 2
    assert [events[d.token].attempt for d in deliveries[:2]] == [1, 0]
    assert events[deliveries[2].token].state is DeliveryState.QUEUED and deliveries[3].token not in events
