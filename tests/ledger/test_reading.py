"""Reading notifications and deliveries, page by page."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pushrpc.record import DeliverySelector, DeliveryStatus, NotificationFilter, NotificationStatus
from pushrpc.words import DeliveryState, NotificationState, OutcomeKind
from tests.clocks import ManualClock
from tests.ledger.shop import APNS, DAY_US, FCM, Engine, accepted, claimed, registration, retry, send, tokens, verdict


async def all_deliveries(engine: Engine, which: DeliverySelector, limit: int = 2) -> list[DeliveryStatus]:
    found: list[DeliveryStatus] = []
    after = 0
    while True:
        page = await engine.ledger.deliveries("shop", which, False, after, limit)
        assert page is not None and len(page[0]) <= limit
        found += page[0]
        after = page[1]
        if not after:
            return found


async def all_notifications(engine: Engine, wanted: NotificationFilter) -> list[NotificationStatus]:
    found: list[NotificationStatus] = []
    after = 0
    while True:
        page, after = await engine.ledger.notifications("shop", wanted, after, 2)
        assert len(page) <= 2
        found += page
        if not after:
            return found


async def test_notifications_are_listed_newest_first(engine: Engine, clock: ManualClock) -> None:
    sends = []
    start_us = clock.now_us()
    for number in range(7):
        sends.append(send(clock, 1 if number < 5 else 0, labels={"n": str(number % 2), "k": "v"}))
        await accepted(engine.ledger, sends[-1], send(clock, 0, lane=APNS._replace(app_id="other")))
        clock.advance(1)

    async def listed(**wanted: object) -> list[int]:
        ids = [s.notification_id for s in sends]
        found = await all_notifications(engine, NotificationFilter(**wanted))  # type: ignore[arg-type]
        return [ids.index(status.notification_id) for status in found]

    assert await listed() == [6, 5, 4, 3, 2, 1, 0]
    assert await listed(labels={"n": "1"}) == [5, 3, 1]
    assert await listed(labels={"n": "1", "k": "w"}) == []
    assert await listed(states=frozenset({NotificationState.COMPLETE})) == [6, 5]
    assert await listed(states=frozenset({NotificationState.ACTIVE}), labels={"n": "0"}) == [4, 2, 0]
    assert await listed(created_after_us=start_us + 2_000_000, created_before_us=start_us + 5_000_000) == [4, 3]
    assert await engine.ledger.notifications("nobody", NotificationFilter(), 0, 5) == ((), 0)


@pytest.mark.parametrize("by_request", [False, True])
async def test_deliveries_of_a_notification_are_in_target_order(
    engine: Engine, clock: ManualClock, by_request: bool
) -> None:
    names = tokens(7)
    await accepted(engine.ledger, send(clock, 3))
    wanted = send(clock, names, request_id="r", labels={"k": "v"})
    await accepted(engine.ledger, wanted, send(clock, 3))
    which = DeliverySelector(request_id="r") if by_request else DeliverySelector(wanted.notification_id)
    unknown = DeliverySelector(request_id="no") if by_request else DeliverySelector("no")
    found = await all_deliveries(engine, which)
    assert [status.token for status in found] == names
    assert {(s.state, s.outcome, s.attempt, s.time_us, s.final) for s in found} == {
        (DeliveryState.QUEUED, OutcomeKind.UNSPECIFIED, 0, wanted.created_us, False)
    }
    assert found[0].labels == {"k": "v"} and found[0].notification_id == wanted.notification_id
    assert await engine.ledger.deliveries("shop", unknown, False, 0, 5) is None
    assert await engine.ledger.deliveries("nobody", which, False, 0, 5) is None


async def test_states_narrow_and_in_flight_is_told(engine: Engine, clock: ManualClock) -> None:
    wanted = send(clock, 6)
    await accepted(engine.ledger, wanted)
    held = (await claimed(engine.ledger, limit=4)).deliveries
    await engine.ledger.settle([verdict(clock, held[1]), retry(clock, held[2], 60)])

    async def ordinals(*states: DeliveryState) -> list[int]:
        which = DeliverySelector(wanted.notification_id, states=frozenset(states))
        ((_, names),) = wanted.named.tokens
        return [names.index(status.token) for status in await all_deliveries(engine, which)]

    assert await ordinals() == [0, 1, 2, 3, 4, 5]
    assert await ordinals(DeliveryState.IN_FLIGHT) == [0, 3]
    assert await ordinals(DeliveryState.QUEUED) == [2, 4, 5]
    assert await ordinals(DeliveryState.SENT, DeliveryState.IN_FLIGHT) == [0, 1, 3]
    assert await ordinals(DeliveryState.FAILED) == []
    await engine.reopen()
    assert await ordinals(DeliveryState.IN_FLIGHT) == []
    assert await ordinals(DeliveryState.QUEUED) == [0, 2, 3, 4, 5]


async def test_deliveries_to_a_device_user_or_token_are_newest_first(engine: Engine, clock: ManualClock) -> None:
    mine, other = tokens(2)
    other_app = APNS._replace(app_id="other")
    await engine.ledger.register(registration(mine, device_id="d", user_id="u"), clock.now_us())
    await engine.ledger.register(registration(mine, lane=other_app, device_id="d", user_id="u"), clock.now_us())
    sends = [send(clock, [mine, other], request_id=str(n)) for n in range(5)]
    for wanted in sends:
        await accepted(engine.ledger, wanted, send(clock, [mine], lane=other_app), send(clock, [other], lane=FCM))

    async def listed(which: DeliverySelector) -> Sequence[str]:
        return [status.request_id for status in await all_deliveries(engine, which) if status.request_id]

    newest_first = ["4", "3", "2", "1", "0"]
    assert await listed(DeliverySelector(device_id="d")) == newest_first
    assert await listed(DeliverySelector(user_id="u")) == newest_first
    assert await listed(DeliverySelector(token=mine)) == newest_first
    assert len(await all_deliveries(engine, DeliverySelector(token=mine))) == 5
    assert len(await all_deliveries(engine, DeliverySelector(token=other))) == 10
    assert await all_deliveries(engine, DeliverySelector(token=mine[-12:])) == []
    assert await all_deliveries(engine, DeliverySelector(token=mine, states=frozenset({DeliveryState.SENT}))) == []


async def test_deliveries_are_found_however_many_lie_between(engine: Engine, clock: ManualClock) -> None:
    (mine,) = tokens(1)
    for _ in range(2):
        await accepted(engine.ledger, send(clock, [mine]), send(clock, 20_000))
    assert len(await all_deliveries(engine, DeliverySelector(token=mine), limit=1)) == 2


async def test_prune_takes_whole_finished_notifications_only(engine: Engine, clock: ManualClock) -> None:
    big, small, open_one = send(clock, 2_300), send(clock, 1), send(clock, 2, ttl_s=28 * 86_400)
    await accepted(engine.ledger, big, small, open_one)
    for _ in range(3):
        batch = (await claimed(engine.ledger)).deliveries
        await engine.ledger.settle(
            [verdict(clock, d) for d in batch if d.notification.notification_id != open_one.notification_id]
        )
    ids = [s.notification_id for s in (big, small, open_one)]
    assert len(await engine.ledger.find("shop", ids, [])) == 3
    clock.advance(200 * 3600)
    removed = []
    while rows := await engine.ledger.prune(clock.now_us()):
        assert rows <= 1_000
        removed.append(rows)
        # Never half of one: what is not whole is not there.
        page = await engine.ledger.deliveries("shop", DeliverySelector(big.notification_id), False, 0, 10)
        assert page is None
    assert sum(removed) == (2_300 + 1) * 2 + 2
    assert [status.notification_id for status in await engine.ledger.find("shop", ids, [])] == ids[2:]
    assert len(await all_deliveries(engine, DeliverySelector(open_one.notification_id))) == 2
    assert engine.ledger.queue(clock.now_us())[0] == 2


async def test_prune_keeps_what_a_request_id_still_stands_for(engine: Engine, clock: ManualClock) -> None:
    """An event retention shorter than that of request_ids must not let a twin through."""
    engine.event_retention_us = DAY_US
    await engine.reopen()
    await accepted(engine.ledger, send(clock, 0, request_id="r"))
    clock.advance(48 * 3600)
    assert await engine.ledger.prune(clock.now_us()) == 0
    assert (await accepted(engine.ledger, send(clock, 0, request_id="r")))[0].replayed
    clock.advance(24 * 3600)
    assert await engine.ledger.prune(clock.now_us()) == 1
