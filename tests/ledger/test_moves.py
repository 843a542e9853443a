"""Moved endpoints: the device takes the new one and the delivery follows it, together or not at all, and ends once."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pushrpc.ledger import LedgerFull
from pushrpc.model import (
    NOT_SENT,
    Address,
    Audience,
    Claimed,
    Device,
    DeviceSelector,
    Found,
    Lane,
    Outcome,
    Planned,
    Settlement,
)
from pushrpc.record import Counts, DeliverySelector, DeliveryStatus, Event, Report, Wanted
from pushrpc.words import Cause, DeliveryState, DeviceState, Engagement, Environment, EventKind, OutcomeKind, Provider
from tests.clocks import ManualClock
from tests.ledger.insides import Disk
from tests.ledger.shop import (
    ACCEPTED,
    UNAVAILABLE,
    UNREGISTERED,
    Engine,
    SqliteEngine,
    accepted,
    claimed,
    events_after,
    registration,
    retry,
    send,
    soon,
    unsent,
    verdict,
)

HERE, THERE = "https://a.push.example", "https://b.push.example"
OLD, NEW, NEWER = f"{HERE}/wpush/old-endpoint", f"{THERE}/wpush/new-endpoint", f"{HERE}/wpush/newer-endpoint"
KEYS = Address("p256dh", "auth")
BROWSERS = Lane("shop", Provider.WEB_PUSH, "vapid", Environment.UNSPECIFIED, HERE)
ELSEWHERE = BROWSERS._replace(origin=THERE)
MOVED = Outcome(OutcomeKind.TOKEN_INVALID, 301, replaced_by=NEW, replaced_origin=THERE)
QUEUED = DeliveryState.QUEUED


def moved(clock: ManualClock, delivery: Claimed, outcome: Outcome = MOVED) -> Settlement:
    return verdict(clock, delivery, outcome, QUEUED, spend=False)


async def registered(engine: Engine, clock: ManualClock, device_id: str, token: str = OLD, **more: object) -> Device:
    kept = {"address": KEYS, "origin": token[: len(HERE)], "tags": ("news",)}
    wanted = registration(token, BROWSERS, device_id=device_id, **kept, **more)
    return (await engine.ledger.register(wanted, clock.now_us())).device


async def device(engine: Engine, device_id: str) -> Device:
    found = await engine.ledger.device("shop", DeviceSelector(device_id=device_id))
    assert found is not None
    return found


async def sent(engine: Engine, clock: ManualClock, *endpoints: str, at_most_once: bool = False) -> str:
    """A notification to endpoints with their keys, each in its origin's lane; devices that have them are filled in."""

    def resolve(found: Sequence[Found]) -> Audience:
        ids = {each.token: each.device_id for each in found}
        lanes = [(BROWSERS._replace(origin=endpoint[: len(HERE)]), endpoint) for endpoint in endpoints]
        return Audience([Planned(lane, [e], [ids.get(e, "")], [""], [KEYS.text]) for lane, e in lanes], 0, ())

    wanted = send(clock, list(endpoints), lane=BROWSERS, resolve=resolve, at_most_once=at_most_once)
    await accepted(engine.ledger, wanted)
    return wanted.notification_id


async def one(engine: Engine, lane: Lane = BROWSERS) -> Claimed:
    (delivery,) = (await claimed(engine.ledger, lane)).deliveries
    return delivery


async def told(engine: Engine) -> list[Event]:
    return await events_after(engine.ledger, Wanted("shop"))


async def status(engine: Engine, notification_id: str) -> list[DeliveryStatus]:
    page = await engine.ledger.deliveries("shop", DeliverySelector(notification_id=notification_id), True, 0, 10)
    assert page is not None
    return list(page[0])


# --- the device and its delivery -----------------------------------------------------------------------------------


async def test_the_device_takes_the_new_endpoint_and_stays_what_it_was(engine: Engine, clock: ManualClock) -> None:
    before = await registered(engine, clock, "d")
    await sent(engine, clock, OLD)
    clock.advance(5)
    await engine.ledger.settle([moved(clock, await one(engine))])
    after = await device(engine, "d")
    assert (after.token, after.origin, after.updated_us) == (NEW, THERE, clock.now_us())
    assert after == replace(before, token=NEW, origin=THERE, updated_us=clock.now_us())
    assert (after.state, after.tags, after.address) == (DeviceState.ACTIVE, ("news",), KEYS)
    assert await engine.ledger.device("shop", DeviceSelector(provider=Provider.WEB_PUSH, token=OLD)) is None


async def test_the_delivery_follows_into_the_lane_of_the_new_origin(engine: Engine, clock: ManualClock) -> None:
    await registered(engine, clock, "d")
    notification_id = await sent(engine, clock, OLD)
    await engine.ledger.settle([moved(clock, await one(engine))])
    lanes = engine.ledger.lanes()
    assert [await soon(anext(lanes)) for _ in range(2)] == [BROWSERS, ELSEWHERE]
    again = await one(engine, ELSEWHERE)
    assert (again.token, again.device_id, again.moved_to, again.lane) == (OLD, "d", NEW, ELSEWHERE)
    assert Address.of(again.address) == KEYS._replace(moved_to=NEW, moves=1)
    assert (again.tries, again.spent) == (1, 0)
    await engine.ledger.settle([verdict(clock, again)])
    first, last = await told(engine)
    assert (first.kind, first.state, first.outcome, first.provider_status, first.final) == (
        EventKind.ATTEMPT,
        QUEUED,
        OutcomeKind.TOKEN_INVALID,
        301,
        False,
    )
    assert (last.kind, last.state, last.final) == (EventKind.STATE, DeliveryState.SENT, True)
    assert {(each.token, each.token_replaced_by, each.device_id) for each in (first, last)} == {(OLD, NEW, "d")}
    (found,) = await status(engine, notification_id)
    assert (found.state, found.token, found.token_replaced_by, found.attempt) == (DeliveryState.SENT, OLD, NEW, 2)
    assert [attempt.provider_status for attempt in found.attempts] == [301, 200]


async def test_a_token_of_no_device_is_followed_as_well(engine: Engine, clock: ManualClock) -> None:
    await sent(engine, clock, OLD)
    await engine.ledger.settle([moved(clock, await one(engine))])
    await engine.ledger.settle([verdict(clock, await one(engine, ELSEWHERE))])
    assert [(e.token, e.device_id, e.token_replaced_by) for e in await told(engine)] == [(OLD, "", NEW)] * 2


async def test_moving_on_counts_the_moves(engine: Engine, clock: ManualClock) -> None:
    await registered(engine, clock, "d")
    await sent(engine, clock, OLD)
    await engine.ledger.settle([moved(clock, await one(engine))])
    further = MOVED._replace(replaced_by=NEWER, replaced_origin=HERE)
    await engine.ledger.settle([moved(clock, await one(engine, ELSEWHERE), further)])
    back = await one(engine)
    assert Address.of(back.address) == KEYS._replace(moved_to=NEWER, moves=2)
    await engine.ledger.settle([moved(clock, back, further._replace(replaced_by=OLD))])
    home = await one(engine)
    assert (home.moved_to, Address.of(home.address).moves) == (OLD, 3)
    failed = verdict(clock, home, MOVED, DeliveryState.FAILED, cause=Cause.TRIES_USED_UP)
    await engine.ledger.settle([failed])
    (*_, last) = await told(engine)
    assert (last.state, last.final, last.attempt, last.token_replaced_by) == (DeliveryState.FAILED, True, 4, NEW)
    found = await device(engine, "d")
    assert (found.state, found.token) == (DeviceState.ACTIVE, NEW)


async def test_every_later_event_tells_where_it_went(engine: Engine, clock: ManualClock) -> None:
    await sent(engine, clock, OLD)
    await engine.ledger.settle([moved(clock, await one(engine))])
    await engine.ledger.settle([retry(clock, await one(engine, ELSEWHERE), 0)])
    delivery = await one(engine, ELSEWHERE)
    await engine.ledger.settle([unsent(clock, delivery)])
    delivery = await one(engine, ELSEWHERE)
    await engine.ledger.settle([verdict(clock, delivery, NOT_SENT, DeliveryState.EXPIRED, spend=False)])
    assert [(e.outcome, e.token_replaced_by) for e in await told(engine)] == [
        (OutcomeKind.TOKEN_INVALID, NEW),
        (OutcomeKind.UNAVAILABLE, NEW),
        (OutcomeKind.UNAVAILABLE, NEW),
    ]


async def test_moved_and_unmoved_neighbours_are_told_apart(engine: Engine, clock: ManualClock) -> None:
    await sent(engine, clock, OLD)
    await engine.ledger.settle([moved(clock, await one(engine))])
    await sent(engine, clock, f"{THERE}/1")
    both = (await claimed(engine.ledger, ELSEWHERE)).deliveries
    await engine.ledger.settle([verdict(clock, both)])
    final = {e.token: (e.token_replaced_by, e.provider_message_id) for e in await told(engine) if e.final}
    assert final == {OLD: (NEW, f"m-{OLD}"), f"{THERE}/1": ("", f"m-{THERE}/1")}


async def test_a_device_that_dies_after_its_move_dies_at_the_new_endpoint(engine: Engine, clock: ManualClock) -> None:
    await registered(engine, clock, "d")
    clock.advance(60)
    await sent(engine, clock, OLD)
    await engine.ledger.settle([moved(clock, await one(engine))])
    gone = await one(engine, ELSEWHERE)
    await engine.ledger.settle([verdict(clock, gone, UNREGISTERED, DeliveryState.UNREGISTERED)])
    found = await device(engine, "d")
    assert (found.state, found.token, found.token_replaced_by) == (DeviceState.DEAD, NEW, "")
    assert [e.kind for e in await told(engine)] == [EventKind.ATTEMPT, EventKind.STATE, EventKind.DEVICE]


async def test_an_expired_delivery_ends_and_its_device_moves_all_the_same(engine: Engine, clock: ManualClock) -> None:
    await registered(engine, clock, "d")
    await sent(engine, clock, OLD)
    delivery = await one(engine)
    await engine.ledger.settle([verdict(clock, delivery, MOVED, DeliveryState.EXPIRED)])
    assert (await device(engine, "d")).token == NEW
    assert [e.state for e in await told(engine)] == [DeliveryState.EXPIRED]


# --- who has the new endpoint already ------------------------------------------------------------------------------


async def test_a_device_registered_with_the_new_endpoint_since_keeps_it(engine: Engine, clock: ManualClock) -> None:
    await registered(engine, clock, "old", user_id="anna")
    clock.advance(10)
    await registered(engine, clock, "new", NEW, user_id="bert")
    clock.advance(10)
    await sent(engine, clock, OLD)
    await engine.ledger.settle([moved(clock, await one(engine))])
    loser, winner = await device(engine, "old"), await device(engine, "new")
    assert (loser.state, loser.token, loser.token_replaced_by) == (DeviceState.DEAD, OLD, NEW)
    assert (winner.state, winner.token) == (DeviceState.ACTIVE, NEW)
    state, death = await told(engine)  # what was meant for anna does not reach bert's browser
    assert (state.state, state.final, state.token_replaced_by) == (DeliveryState.UNREGISTERED, True, NEW)
    assert (death.device_id, death.device_state, death.token_replaced_by) == ("old", DeviceState.DEAD, NEW)


async def test_a_device_registered_with_the_old_endpoint_since_takes_the_new_one(
    engine: Engine, clock: ManualClock
) -> None:
    await registered(engine, clock, "first", NEW)
    flying = await sent(engine, clock, NEW)
    in_flight = await one(engine, ELSEWHERE)
    waiting = await sent(engine, clock, NEW)
    clock.advance(10)
    await registered(engine, clock, "second")
    await sent(engine, clock, OLD)
    await engine.ledger.settle([moved(clock, await one(engine))])
    loser, winner = await device(engine, "first"), await device(engine, "second")
    assert (loser.state, loser.token, winner.state, winner.token) == (
        DeviceState.REMOVED,
        "",
        DeviceState.ACTIVE,
        NEW,
    )
    await engine.ledger.settle([retry(clock, in_flight, 0)])
    for notification_id in (waiting, flying):
        (ended,) = await status(engine, notification_id)
        assert (ended.state, ended.cause) == (DeliveryState.CANCELLED, Cause.DEVICE_REMOVED)
    followed = await one(engine, ELSEWHERE)
    assert (followed.device_id, followed.moved_to) == ("second", NEW)


async def test_removed_and_dead_devices_stay_and_give_the_endpoint_away(engine: Engine, clock: ManualClock) -> None:
    await registered(engine, clock, "removed")
    await sent(engine, clock, OLD)
    delivery = await one(engine)
    await engine.ledger.unregister("shop", DeviceSelector(device_id="removed"), clock.now_us())
    await engine.ledger.settle([moved(clock, delivery)])
    assert [(e.state, e.cause) for e in await told(engine)] == [(DeliveryState.CANCELLED, Cause.DEVICE_REMOVED)]
    assert await engine.ledger.device("shop", DeviceSelector(provider=Provider.WEB_PUSH, token=NEW)) is None

    await registered(engine, clock, "dead", NEW)
    clock.advance(10)
    await sent(engine, clock, NEW)
    await engine.ledger.settle([verdict(clock, await one(engine, ELSEWHERE), UNREGISTERED, DeliveryState.UNREGISTERED)])
    assert (await device(engine, "dead")).state is DeviceState.DEAD
    await registered(engine, clock, "alive", NEWER)
    await sent(engine, clock, NEWER)
    await engine.ledger.settle([moved(clock, await one(engine))])
    assert ((await device(engine, "alive")).token, (await device(engine, "dead")).token) == (NEW, "")
    assert (await one(engine, ELSEWHERE)).device_id == "alive"


async def test_what_was_queued_before_the_move_follows_it_too(engine: Engine, clock: ManualClock) -> None:
    await registered(engine, clock, "d")
    for _ in range(2):
        await sent(engine, clock, OLD)
    for delivery in (await claimed(engine.ledger, BROWSERS)).deliveries:
        await engine.ledger.settle([moved(clock, delivery)])
    following = (await claimed(engine.ledger, ELSEWHERE)).deliveries
    assert [(d.device_id, d.moved_to) for d in following] == [("d", NEW)] * 2
    assert (await device(engine, "d")).token == NEW


async def test_a_notification_reaches_an_endpoint_once(engine: Engine, clock: ManualClock) -> None:
    await registered(engine, clock, "d")
    both = await sent(engine, clock, OLD, NEW)
    await engine.ledger.settle([moved(clock, await one(engine))])
    old, new = await status(engine, both)
    assert (old.state, old.token_replaced_by) == (DeliveryState.UNREGISTERED, NEW)
    assert (await device(engine, "d")).token == NEW
    only = await one(engine, ELSEWHERE)
    await engine.ledger.settle([verdict(clock, only)])
    (found,) = await engine.ledger.find("shop", [both], [])
    assert (new.token, found.counts) == (NEW, Counts(total=2, sent=1, unregistered=1))


async def test_a_sibling_whose_device_lost_the_endpoint_does_not_stop_it(engine: Engine, clock: ManualClock) -> None:
    await registered(engine, clock, "first", NEW)
    clock.advance(10)
    await registered(engine, clock, "second")
    notification_id = await sent(engine, clock, NEW, OLD)
    await engine.ledger.settle([moved(clock, await one(engine))])
    cancelled, followed = await status(engine, notification_id)
    assert (cancelled.state, followed.state) == (DeliveryState.CANCELLED, QUEUED)
    assert (await one(engine, ELSEWHERE)).device_id == "second"


async def test_a_sibling_that_was_refused_there_does_not_stop_it(engine: Engine, clock: ManualClock) -> None:
    await sent(engine, clock, OLD, NEW)
    refused = await one(engine, ELSEWHERE)
    await engine.ledger.settle([verdict(clock, refused, UNAVAILABLE, DeliveryState.FAILED)])
    await engine.ledger.settle([moved(clock, await one(engine))])
    assert (await one(engine, ELSEWHERE)).moved_to == NEW


# --- what the browser says of it -------------------------------------------------------------------------------------


def seen(notification_id: str, endpoint: str, provider: Provider = Provider.WEB_PUSH) -> Report:
    return Report(notification_id, "", provider, endpoint, Engagement.OPENED, 77)


async def test_a_report_finds_the_delivery_by_the_endpoint_it_arrived_at(engine: Engine, clock: ManualClock) -> None:
    """A browser knows its endpoint of today only; the caller may still name the one it sent to."""
    notification_id = await sent(engine, clock, OLD, f"{THERE}/1")
    await engine.ledger.settle([moved(clock, await one(engine))])
    await engine.ledger.settle([verdict(clock, (await claimed(engine.ledger, ELSEWHERE)).deliveries)])
    unknown = [NEW[1:], NEW + "x", "0", "1", f"1 {NEW}", NEWER]
    assert not any(await engine.ledger.record("shop", [seen(notification_id, each) for each in unknown]))
    assert not any(await engine.ledger.record("shop", [seen(notification_id, NEW, Provider.WNS), seen("none", NEW)]))
    assert all(await engine.ledger.record("shop", [seen(notification_id, each) for each in (NEW, OLD, NEW)]))
    opened = [event for event in await told(engine) if event.kind is EventKind.ENGAGEMENT]
    assert [(each.token, each.token_replaced_by, each.reason) for each in opened] == [(OLD, NEW, "OPENED")]
    by_token = await engine.ledger.deliveries("shop", DeliverySelector(token=NEW), False, 0, 10)
    assert by_token is not None and not by_token[0], "documented: found by the token that the send named"


async def test_a_report_means_the_delivery_that_followed_and_not_one_that_was_stopped_there(
    engine: Engine, clock: ManualClock
) -> None:
    notification_id = await sent(engine, clock, OLD, NEW)
    refused = await one(engine, ELSEWHERE)
    await engine.ledger.settle([verdict(clock, refused, UNAVAILABLE, DeliveryState.FAILED)])
    await engine.ledger.settle([moved(clock, await one(engine))])
    await engine.ledger.settle([verdict(clock, await one(engine, ELSEWHERE))])
    assert await engine.ledger.record("shop", [seen(notification_id, NEW)]) == [True]
    assert [e.token for e in await told(engine) if e.kind is EventKind.ENGAGEMENT] == [OLD]


# --- crashes -------------------------------------------------------------------------------------------------------


async def test_a_crash_before_the_commit_asks_the_old_endpoint_again(engine: Engine, clock: ManualClock) -> None:
    await registered(engine, clock, "d")
    await sent(engine, clock, OLD)
    await one(engine)
    await engine.crash()
    assert (await device(engine, "d")).token == OLD
    again = await one(engine)
    assert (again.moved_to, again.tries) == ("", 0)


async def test_a_crash_after_the_commit_goes_on_at_the_new_endpoint(engine: Engine, clock: ManualClock) -> None:
    for at_most_once in (False, True):
        await registered(engine, clock, "d")
        await sent(engine, clock, OLD, at_most_once=at_most_once)
        await engine.ledger.settle([moved(clock, await one(engine))])
        await engine.crash()
        assert (await device(engine, "d")).token == NEW
        lanes = engine.ledger.lanes()
        assert await soon(anext(lanes)) == ELSEWHERE
        again = await one(engine, ELSEWHERE)
        assert (again.token, again.moved_to, again.tries) == (OLD, NEW, 1)
        await engine.ledger.settle([verdict(clock, again, ACCEPTED)])
        assert [e.final for e in await told(engine)][-2:] == [False, True]


async def test_a_move_that_the_disk_refused_is_none(
    sqlite_engine: SqliteEngine, clock: ManualClock, disk: Disk
) -> None:
    engine = sqlite_engine
    await registered(engine, clock, "d")
    await sent(engine, clock, OLD)
    delivery = await one(engine)

    def full(sql: sqlite3.Connection) -> None:
        disk.fail = None
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    disk.fail = full
    with pytest.raises(LedgerFull):
        await engine.ledger.settle([moved(clock, delivery)])
    assert (await device(engine, "d")).token == OLD
    await engine.ledger.settle([moved(clock, delivery)])  # as the dispatcher does until it is taken
    assert (await device(engine, "d")).token == NEW
    assert (await one(engine, ELSEWHERE)).moved_to == NEW
    assert [e.state for e in await told(engine)] == [QUEUED]
