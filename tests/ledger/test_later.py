"""What is told after a delivery is final, and devices that a provider keeps too."""

from __future__ import annotations

from typing import Any

import pytest

from pushrpc.ledger import Ledger
from pushrpc.model import NO_ADDRESS, Address, DeviceChange, DeviceSelector, Lane, Outcome
from pushrpc.record import Confirmation, DeliverySelector, Event, Report, Synced, Unconfirmed, Unsynced, Wanted
from pushrpc.words import (
    Cause,
    DeliveryState,
    DeviceState,
    Engagement,
    Environment,
    EventKind,
    HubPlatform,
    OutcomeKind,
    Provider,
)
from tests.clocks import ManualClock
from tests.ledger.shop import ACCEPTED, APNS, Engine, accepted, claimed, events_after, registration, send, verdict

HUB = Lane("shop", Provider.NOTIFICATION_HUBS, "ns/hub", Environment.UNSPECIFIED)
ADDRESS = Address(platform=HubPlatform.APNS)
DEAD = Outcome(OutcomeKind.TOKEN_INVALID, 200, "ExpiredChannel")
HOUR_US = 3_600_000_000


async def handle(engine: Engine, token: str, **more: Any) -> str:
    wanted = registration(token, lane=HUB, address=ADDRESS, **more)
    return (await engine.ledger.register(wanted, engine.clock.now_us())).device.device_id


async def sent(engine: Engine, *tokens: str, message_id: str = "m-1") -> str:
    (receipt,) = await accepted(engine.ledger, send(engine.clock, list(tokens), lane=HUB))
    batch = await claimed(engine.ledger, HUB, len(tokens))
    ids = [message_id] * len(tokens)
    await engine.ledger.settle([verdict(engine.clock, batch.deliveries)._replace(message_ids=ids)])
    return receipt.notification_id


async def later(ledger: Ledger) -> list[Event]:
    kinds = frozenset({EventKind.ENGAGEMENT, EventKind.PROVIDER_FEEDBACK})
    return await events_after(ledger, Wanted("shop", kinds=kinds))


async def due(engine: Engine) -> list[Unconfirmed]:
    now_us = engine.clock.now_us()
    messages = list(await engine.ledger.unconfirmed(HUB, now_us, 10))
    assert list(await engine.ledger.unconfirmed_lanes(now_us)) == ([HUB] if messages else [])
    return messages


async def unsynced(engine: Engine, now_us: int = 0, lane: Lane = HUB) -> list[Unsynced]:
    now_us = now_us or engine.clock.now_us()
    devices = list(await engine.ledger.unsynced(lane, now_us, 10))
    assert (lane in await engine.ledger.unsynced_lanes(now_us)) == bool(devices)
    return devices


# --- what providers tell later


async def test_a_message_is_asked_about_until_its_last_word_also_after_a_crash(engine: Engine) -> None:
    await sent(engine, "a", "b")
    now_us = engine.clock.now_us()
    assert await due(engine) == [Unconfirmed(HUB, "m-1", now_us)]
    await engine.ledger.confirm([Confirmation(HUB, "m-1", None, now_us + HOUR_US, now_us)])
    assert await due(engine) == []
    await engine.crash()
    engine.clock.advance(3600.0)
    assert len(await due(engine)) == 1
    await engine.ledger.confirm([Confirmation(HUB, "m-1", ACCEPTED, 0, now_us)])
    assert await due(engine) == []
    told = await later(engine.ledger)
    assert [(e.token, e.kind, e.outcome, e.state, e.final) for e in told] == [
        ("a", EventKind.PROVIDER_FEEDBACK, OutcomeKind.ACCEPTED, 0, False),
        ("b", EventKind.PROVIDER_FEEDBACK, OutcomeKind.ACCEPTED, 0, False),
    ]


async def test_only_hubs_are_asked_later(engine: Engine) -> None:
    await accepted(engine.ledger, send(engine.clock, 2))
    batch = await claimed(engine.ledger, APNS, 2)
    await engine.ledger.settle([verdict(engine.clock, batch.deliveries)])
    assert await due(engine) == []


async def test_a_dead_token_of_a_message_to_one_marks_its_device_and_of_many_does_not(engine: Engine) -> None:
    alone, one_of_two = await handle(engine, "a"), await handle(engine, "b")
    engine.clock.advance(1.0)
    await sent(engine, "a", message_id="m-1")
    await sent(engine, "b", "c", message_id="m-2")
    now_us = engine.clock.now_us()
    await engine.ledger.confirm([Confirmation(HUB, name, DEAD, 0, now_us) for name in ("m-1", "m-2")])
    states = {}
    for device_id in (alone, one_of_two):
        device = await engine.ledger.device("shop", DeviceSelector(device_id=device_id))
        assert device is not None
        states[device_id] = device.state
    assert states == {alone: DeviceState.DEAD, one_of_two: DeviceState.ACTIVE}


async def test_where_our_settings_may_be_wrong_nothing_that_is_told_later_kills_a_device(engine: Engine) -> None:
    device_id = await handle(engine, "a")
    engine.clock.advance(1.0)
    await sent(engine, "a")
    now_us = engine.clock.now_us()
    await engine.ledger.confirm([Confirmation(HUB, "m-1", DEAD._replace(misdirected=True), 0, now_us)])
    device = await engine.ledger.device("shop", DeviceSelector(device_id=device_id))
    assert device is not None and device.state is DeviceState.ACTIVE
    assert len(await later(engine.ledger)) == 1


async def test_what_is_told_later_does_not_keep_a_notification_from_being_pruned(engine: Engine) -> None:
    notification_id = await sent(engine, "a")
    engine.clock.advance(engine.event_retention_us / 1e6 - 10)
    now_us = engine.clock.now_us()
    await engine.ledger.record(
        "shop", [Report(notification_id, "", Provider.UNSPECIFIED, "", Engagement.OPENED, now_us)]
    )
    (receipt,) = await accepted(engine.ledger, send(engine.clock, 1))
    oldest = await engine.ledger.oldest()
    engine.clock.advance(20.0)
    while await engine.ledger.prune(engine.clock.now_us()):
        pass
    assert await engine.ledger.find("shop", [notification_id], ()) == []
    assert oldest < await engine.ledger.oldest() <= receipt.first_seq


# --- what apps report


async def test_reports_are_kept_once_and_survive_a_restart(engine: Engine) -> None:
    notification_id = await sent(engine, "a", "b")
    report = Report(notification_id, "", HUB.provider, "b", Engagement.OPENED, 77)
    unknown = report._replace(token="c")
    assert list(await engine.ledger.record("shop", [report, unknown, report])) == [True, False, True]
    await engine.reopen()
    assert list(await engine.ledger.record("shop", [report])) == [True]
    assert list(await engine.ledger.record("other", [report])) == [False]
    (told,) = await later(engine.ledger)
    assert (told.token, told.reason, told.time_us, told.final) == ("b", "OPENED", 77, False)


# --- devices that a provider keeps too


async def test_a_hubs_device_is_due_after_every_change_until_it_was_told_as_it_is(engine: Engine) -> None:
    await engine.ledger.register(registration("x"), engine.clock.now_us())  # APNs keeps none
    device_id = await handle(engine, "a")
    (first,) = await unsynced(engine)
    assert (first.device.device_id, first.tries) == (device_id, 0)
    engine.clock.advance(1.0)
    await engine.ledger.update("shop", device_id, DeviceChange(add_tags=("vip",)), engine.clock.now_us())
    await engine.ledger.synced([Synced(first.device)])  # told as it was before
    (second,) = await unsynced(engine)
    assert second.device.tags == ("vip",)
    again_us = engine.clock.now_us() + HOUR_US
    await engine.ledger.synced([Synced(second.device, again_us)])
    assert not await unsynced(engine)
    await engine.crash()
    (third,) = await unsynced(engine, again_us)
    assert third.tries == 1
    await engine.ledger.synced([Synced(third.device)])
    assert not await unsynced(engine, again_us)
    engine.clock.advance(1.0)
    await engine.ledger.unregister("shop", DeviceSelector(device_id=device_id), engine.clock.now_us())
    (gone,) = await unsynced(engine, again_us)
    assert gone.device.state is DeviceState.REMOVED


@pytest.mark.parametrize("to", [APNS, HUB._replace(provider_app_id="ns/other")])
async def test_a_device_that_leaves_a_hub_is_gone_there(engine: Engine, to: Lane) -> None:
    device_id = await handle(engine, "a")
    (first,) = await unsynced(engine)
    await engine.ledger.synced([Synced(first.device)])
    engine.clock.advance(1.0)
    await engine.ledger.register(registration("b", lane=to, device_id=device_id), engine.clock.now_us())
    due = {
        each.device.provider_app_id: each.device
        for lane in await engine.ledger.unsynced_lanes(engine.clock.now_us())
        for each in await unsynced(engine, lane=lane)
    }
    assert (due["ns/hub"].provider, due["ns/hub"].state) == (Provider.NOTIFICATION_HUBS, DeviceState.REMOVED)
    if to.provider is Provider.NOTIFICATION_HUBS:
        assert due["ns/other"].state is DeviceState.ACTIVE
    await engine.ledger.synced([Synced(device) for device in due.values()])
    assert not await unsynced(engine)


async def test_what_is_due_is_found_by_app_and_hub(engine: Engine) -> None:
    """Also where two apps' hubs have one name: they may lie at different endpoints."""
    game, other = HUB._replace(app_id="game"), HUB._replace(provider_app_id="ns/other")
    for number in range(30):
        for lane in (HUB, game, other):
            wanted = registration(f"{lane.app_id}{number}{lane.provider_app_id}", lane=lane, address=ADDRESS)
            await engine.ledger.register(wanted, engine.clock.now_us())
    now_us = engine.clock.now_us()
    assert set(await engine.ledger.unsynced_lanes(now_us)) == {HUB, game, other}
    for lane in (HUB, game, other):
        devices = [each.device for each in await engine.ledger.unsynced(lane, now_us, 20)]
        assert len(devices) == 20
        assert {(device.app_id, device.provider_app_id) for device in devices} == {(lane.app_id, lane.provider_app_id)}
        await engine.ledger.synced([Synced(device, now_us + HOUR_US) for device in devices])
        assert len(await engine.ledger.unsynced(lane, now_us, 20)) == 10
    await sent(engine, "a", "b", "c", message_id="m-1")
    await sent(engine, "d", message_id="m-2")
    assert [each.message_id for each in await engine.ledger.unconfirmed(HUB, now_us, 1)] == ["m-1"]
    assert len(await engine.ledger.unconfirmed(HUB, now_us, 2)) == 2
    assert not await engine.ledger.unconfirmed(game, now_us, 2)
    assert list(await engine.ledger.unconfirmed_lanes(now_us)) == [HUB]


# --- tokens that expire


async def test_a_token_that_expires_kills_its_device_until_it_registers_again(engine: Engine) -> None:
    expire_us = engine.clock.now_us() + HOUR_US
    device_id = await handle(engine, "a", token_expire_us=expire_us)
    lasting = await handle(engine, "b", token_expire_us=expire_us + 1)
    (first, second) = await unsynced(engine)
    await engine.ledger.synced([Synced(first.device), Synced(second.device)])
    engine.clock.advance(3600.0)
    await engine.ledger.expire(engine.clock.now_us())
    device = await engine.ledger.device("shop", DeviceSelector(device_id=device_id))
    assert device is not None
    assert (device.state, device.dead_reason, device.dead_us) == (DeviceState.DEAD, "TOKEN_EXPIRED", expire_us)
    assert device.updated_us == engine.clock.now_us()
    (told,) = await unsynced(engine)
    assert (told.device.device_id, told.device.state) == (device_id, DeviceState.DEAD), "the hub is told"
    alive = await engine.ledger.device("shop", DeviceSelector(device_id=lasting))
    assert alive is not None and alive.state is DeviceState.ACTIVE
    await engine.reopen()
    engine.clock.advance(1.0)
    assert await handle(engine, "a", token_expire_us=expire_us + 2 * HOUR_US) == device_id
    await engine.ledger.expire(engine.clock.now_us())
    device = await engine.ledger.device("shop", DeviceSelector(device_id=device_id))
    assert device is not None and (device.state, device.dead_reason, device.dead_us) == (DeviceState.ACTIVE, "", 0)


async def test_what_waits_for_an_expired_token_ends_and_what_is_in_flight_gets_its_answer(engine: Engine) -> None:
    await handle(engine, "a", token_expire_us=engine.clock.now_us() + HOUR_US)
    engine.clock.advance(3599.0)
    in_flight, queued = await accepted(
        engine.ledger, send(engine.clock, ["a"], lane=HUB), send(engine.clock, ["a", "b"], lane=HUB)
    )
    batch = await claimed(engine.ledger, HUB, 1)
    engine.clock.advance(1.0)
    await engine.ledger.expire(engine.clock.now_us())
    await engine.ledger.settle([verdict(engine.clock, batch.deliveries)])
    states = {}
    for receipt in (in_flight, queued):
        page = await engine.ledger.deliveries("shop", DeliverySelector(receipt.notification_id), False, 0, 10)
        assert page is not None
        states[receipt.notification_id] = [(status.token, status.state, status.cause) for status in page[0]]
    assert states[in_flight.notification_id] == [("a", DeliveryState.SENT, Cause.UNSPECIFIED)]
    assert states[queued.notification_id] == [
        ("a", DeliveryState.UNREGISTERED, Cause.DEVICE_DEAD),
        ("b", DeliveryState.QUEUED, Cause.UNSPECIFIED),
    ]


# --- addresses


async def test_an_address_is_kept_with_its_token_and_reaches_the_delivery(engine: Engine, clock: ManualClock) -> None:
    device_id = await handle(engine, "a")
    again = await engine.ledger.register(registration("a", lane=HUB), clock.now_us())
    assert again.device.address == ADDRESS
    rotated = await engine.ledger.register(registration("b", lane=HUB, device_id=device_id), clock.now_us())
    assert rotated.device.address == NO_ADDRESS


async def test_a_token_that_replaces_another_goes_to_its_device(engine: Engine, clock: ManualClock) -> None:
    device_id = await handle(engine, "a", user_id="u")
    moved = await engine.ledger.register(registration("b", lane=HUB, replaces_token="a"), clock.now_us())
    assert (moved.device.device_id, moved.device.user_id, moved.created) == (device_id, "u", False)


async def test_an_expired_token_takes_no_notification(engine: Engine, clock: ManualClock) -> None:
    now_us = clock.now_us()
    await handle(engine, "a", token_expire_us=now_us + HOUR_US)
    found: list[DeviceState] = []

    def states(devices: Any) -> Any:
        found.extend(device.state for device in devices)
        return send(clock, 0).resolve(())

    await engine.ledger.resolve(send(clock, ["a"], lane=HUB, resolve=states))
    clock.advance(3600.0)
    await engine.ledger.resolve(send(clock, ["a"], lane=HUB, resolve=states))
    assert found == [DeviceState.ACTIVE, DeviceState.DEAD]
