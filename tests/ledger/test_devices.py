"""The registry: merging, rotation, who wins a token, and what removal ends."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from pushrpc.model import Device, DeviceChange, DeviceFilter, DeviceSelector, Location
from pushrpc.record import DeliverySelector, Wanted
from pushrpc.words import Cause, DeliveryState, DeviceState, Environment, Permission, Provider, TokenKind
from tests.clocks import ManualClock
from tests.ledger.shop import (
    APNS,
    FCM,
    UNREGISTERED,
    Engine,
    accepted,
    claimed,
    events_after,
    registration,
    retry,
    send,
    tokens,
    verdict,
)

EVERYTHING: dict[str, Any] = {
    "user_id": "u",
    "tags": ("a", "b"),
    "topics": ("t",),
    "locale": "pt-BR",
    "time_zone": "Europe/Lisbon",
    "location": Location(38.7, -9.1, 12.5, 77),
    "permission": Permission.GRANTED,
    "token_kind": TokenKind.VOIP,
    "installation_id": "i",
    "metadata": {"k": "v"},
}


async def the(engine: Engine, device_id: str) -> Device:
    device = await engine.ledger.device("shop", DeviceSelector(device_id=device_id))
    assert device is not None
    return device


async def test_a_new_device_holds_what_was_registered(engine: Engine, clock: ManualClock) -> None:
    now_us = clock.now_us()
    device, created, superseded = await engine.ledger.register(
        registration("t", registered_us=now_us - 5, **EVERYTHING), now_us
    )
    assert created and not superseded
    assert uuid.UUID(device.device_id).version == 7
    assert {name: getattr(device, name) for name in EVERYTHING} == EVERYTHING
    assert (device.state, device.token_kind) == (DeviceState.ACTIVE, TokenKind.VOIP)
    assert device.created_us == device.updated_us == device.seen_us == now_us
    assert device.registered_us == now_us - 5
    await engine.reopen()
    assert await the(engine, device.device_id) == device
    by_token = DeviceSelector(provider=Provider.APNS, token="t")
    assert await engine.ledger.device("shop", by_token) == device
    assert await engine.ledger.device("other", by_token) is None


async def test_unset_parts_of_a_registration_leave_what_is_stored(engine: Engine, clock: ManualClock) -> None:
    first = (await engine.ledger.register(registration("t", **EVERYTHING), clock.now_us())).device
    clock.advance(10)
    again = await engine.ledger.register(registration("t", user_id="v"), clock.now_us())
    assert not again.created
    assert again.device.device_id == first.device_id
    assert {name: getattr(again.device, name) for name in EVERYTHING} == {**EVERYTHING, "user_id": "v"}
    assert (again.device.created_us, again.device.seen_us) == (first.created_us, clock.now_us())
    assert again.device.registered_us == clock.now_us()


async def test_a_new_token_under_a_known_id_is_a_rotation(engine: Engine, clock: ManualClock) -> None:
    await engine.ledger.register(registration("old", device_id="d", user_id="u"), clock.now_us())
    device, created, superseded = await engine.ledger.register(registration("new", device_id="d"), clock.now_us())
    assert (device.token, device.user_id, created, superseded) == ("new", "u", False, ())
    assert await engine.ledger.device("shop", DeviceSelector(provider=Provider.APNS, token="old")) is None
    assert (await engine.ledger.register(registration("old"), clock.now_us())).created


@pytest.mark.parametrize("known", [True, False])
async def test_the_newest_registration_wins_the_token(engine: Engine, clock: ManualClock, known: bool) -> None:
    await engine.ledger.register(registration("t", device_id="loser"), clock.now_us())
    if known:
        await engine.ledger.register(registration("other", device_id="winner"), clock.now_us())
    device, created, superseded = await engine.ledger.register(registration("t", device_id="winner"), clock.now_us())
    assert (device.device_id, device.token, created) == ("winner", "t", not known)
    assert superseded == ("loser",)
    loser = await the(engine, "loser")
    assert (loser.state, loser.token) == (DeviceState.REMOVED, "")


async def test_a_token_is_another_in_another_world(engine: Engine, clock: ManualClock) -> None:
    sandbox = APNS._replace(environment=Environment.SANDBOX)
    for number, lane in enumerate((APNS, sandbox, FCM, APNS._replace(app_id="other"))):
        registered = await engine.ledger.register(registration("t", lane=lane, device_id=f"d{number}"), clock.now_us())
        assert registered.created and not registered.superseded_device_ids
    assert (await the(engine, "d0")).environment is Environment.PRODUCTION


async def test_registering_revives_the_dead(engine: Engine, clock: ManualClock) -> None:
    await engine.ledger.register(registration("t", device_id="d", user_id="u"), clock.now_us())
    clock.advance(60)
    await accepted(engine.ledger, send(clock, ["t"]))
    (delivery,) = (await claimed(engine.ledger)).deliveries
    await engine.ledger.settle([verdict(clock, delivery, UNREGISTERED, DeliveryState.UNREGISTERED)])
    assert (await the(engine, "d")).state is DeviceState.DEAD
    device = (await engine.ledger.register(registration("t"), clock.now_us())).device
    assert (device.device_id, device.state, device.user_id) == ("d", DeviceState.ACTIVE, "u")
    assert (device.dead_reason, device.dead_us, device.token_replaced_by) == ("", 0, "")


async def test_a_removed_device_comes_back_with_its_id_and_nothing_else(engine: Engine, clock: ManualClock) -> None:
    await engine.ledger.register(registration("t", device_id="d", **EVERYTHING), clock.now_us())
    assert await engine.ledger.unregister("shop", DeviceSelector(device_id="d"), clock.now_us()) == 1
    assert (await the(engine, "d")).state is DeviceState.REMOVED
    device, created, superseded = await engine.ledger.register(registration("t"), clock.now_us())
    assert (device.device_id, device.state, created, superseded) == ("d", DeviceState.ACTIVE, True, ())
    assert (device.user_id, device.tags, device.metadata) == ("", (), {})


async def test_update_sets_clears_and_changes_sets(engine: Engine, clock: ManualClock) -> None:
    await engine.ledger.register(registration("t", device_id="d", **EVERYTHING), clock.now_us())
    clock.advance(1)
    change = DeviceChange({"locale": "", "location": None}, ("c", "a"), ("b",), ("s",), ("t", "unknown"))
    device = await engine.ledger.update("shop", "d", change, clock.now_us())
    assert device is not None and device == await the(engine, "d")
    assert (device.locale, device.location, device.user_id) == ("", None, "u")
    assert (device.tags, device.topics) == (("a", "c"), ("s",))
    assert device.updated_us == clock.now_us() > device.seen_us
    assert await engine.ledger.update("shop", "unknown", change, clock.now_us()) is None
    assert await engine.ledger.update("other", "d", change, clock.now_us()) is None
    await engine.ledger.unregister("shop", DeviceSelector(device_id="d"), clock.now_us())
    assert await engine.ledger.update("shop", "d", change, clock.now_us()) is None


@pytest.mark.parametrize(
    ("which", "count"),
    [
        (DeviceSelector(device_id="d1"), 1),
        (DeviceSelector(provider=Provider.APNS, token="t1"), 1),
        (DeviceSelector(user_id="u"), 2),
        (DeviceSelector(installation_id="i"), 2),
        (DeviceSelector(user_id="nobody"), 0),
    ],
)
async def test_unregister_by_each_name(engine: Engine, clock: ManualClock, which: DeviceSelector, count: int) -> None:
    for number, more in enumerate(
        ({"user_id": "u"}, {"user_id": "u", "installation_id": "i"}, {"installation_id": "i"})
    ):
        await engine.ledger.register(registration(f"t{number}", APNS, device_id=f"d{number}", **more), clock.now_us())
    assert await engine.ledger.unregister("other", which, clock.now_us()) == 0
    assert await engine.ledger.unregister("shop", which, clock.now_us()) == count
    assert await engine.ledger.unregister("shop", which, clock.now_us()) == 0
    left, _ = await engine.ledger.devices("shop", DeviceFilter(), 0, 10)
    assert len(left) == 3 - count


async def test_removal_ends_what_is_queued_and_spares_what_is_in_flight(engine: Engine, clock: ManualClock) -> None:
    await engine.ledger.register(registration("t", device_id="d"), clock.now_us())
    wanted = send(clock, ["t"])
    await accepted(engine.ledger, wanted, send(clock, ["t"]), send(clock, ["t"]), send(clock, 1))
    answered, retried = (await claimed(engine.ledger, limit=2)).deliveries
    await engine.ledger.unregister("shop", DeviceSelector(device_id="d"), clock.now_us())
    (event,) = await events_after(engine.ledger, Wanted("shop"))
    assert (event.state, event.cause, event.final) == (DeliveryState.CANCELLED, Cause.DEVICE_REMOVED, True)
    await engine.ledger.settle([verdict(clock, answered), retry(clock, retried)])
    _, sent, ended = await events_after(engine.ledger, Wanted("shop"))
    assert sent.state is DeliveryState.SENT
    assert (ended.state, ended.cause, ended.attempt) == (DeliveryState.CANCELLED, Cause.DEVICE_REMOVED, 1)
    assert engine.ledger.queue(clock.now_us())[0] == 1


async def test_losing_the_token_ends_what_is_queued(engine: Engine, clock: ManualClock) -> None:
    """Whoever registered the token last must not get what was meant for the one before."""
    await engine.ledger.register(registration("t", device_id="d", user_id="u"), clock.now_us())
    await accepted(engine.ledger, send(clock, ["t"]))
    await engine.ledger.register(registration("t", device_id="e", user_id="v"), clock.now_us())
    page = await engine.ledger.deliveries("shop", DeliverySelector(token="t"), False, 0, 10)
    assert page is not None and page[0][0].state is DeliveryState.CANCELLED


async def test_lists_filter_and_page(engine: Engine, clock: ManualClock) -> None:
    start_us = clock.now_us()
    for number in range(10):
        await engine.ledger.register(
            registration(
                f"t{number}",
                lane=FCM if number % 2 else APNS,
                device_id=f"d{number}",
                user_id=f"u{number % 3}",
                token_kind=TokenKind.VOIP if number == 4 else TokenKind.STANDARD,
                installation_id="i" if number < 2 else "",
            ),
            clock.now_us(),
        )
        clock.advance(1)
    await engine.ledger.unregister("shop", DeviceSelector(device_id="d9"), clock.now_us())

    async def listed(wanted: DeviceFilter) -> list[int]:
        found: list[Device] = []
        after = 0
        while True:
            page, after = await engine.ledger.devices("shop", wanted, after, 2)
            assert len(page) <= 2
            found += page
            if not after:
                return [int(device.device_id[1:]) for device in found]

    assert await listed(DeviceFilter()) == list(range(9))
    assert await listed(DeviceFilter(states=(DeviceState.REMOVED,))) == [9]
    assert await listed(DeviceFilter(user_ids=("u0", "u1"))) == [0, 1, 3, 4, 6, 7]
    assert await listed(DeviceFilter(providers=(Provider.FCM,), user_ids=("u1",))) == [1, 7]
    assert await listed(DeviceFilter(token_kinds=(TokenKind.VOIP,))) == [4]
    assert await listed(DeviceFilter(installation_id="i")) == [0, 1]
    assert await listed(DeviceFilter(updated_after_us=start_us + 6_000_000)) == [7, 8]
    assert await listed(DeviceFilter(seen_before_us=start_us + 2_000_000)) == [0, 1]
    assert await engine.ledger.devices("other", DeviceFilter(), 0, 10) == ((), 0)


async def test_a_device_not_registered_for_a_month_is_stale_until_it_is(engine: Engine, clock: ManualClock) -> None:
    forgotten, fresh = tokens(2)
    await engine.ledger.register(registration(forgotten, device_id="forgotten"), clock.now_us())
    clock.advance(29 * 86_400)
    await engine.ledger.register(registration(fresh, device_id="fresh"), clock.now_us())
    assert await engine.ledger.prune(clock.now_us()) == 0
    clock.advance(86_400)
    assert await engine.ledger.prune(clock.now_us()) == 1
    assert await engine.ledger.prune(clock.now_us()) == 0
    stale, _ = await engine.ledger.devices("shop", DeviceFilter(states=(DeviceState.STALE,)), 0, 10)
    assert [device.device_id for device in stale] == ["forgotten"]
    await engine.ledger.register(registration(forgotten, device_id="forgotten"), clock.now_us())
    device = await engine.ledger.device("shop", DeviceSelector(device_id="forgotten"))
    assert device is not None
    assert device.state is DeviceState.ACTIVE


async def test_what_was_claimed_for_a_removed_device_is_not_sent_after_a_crash(
    engine: Engine, clock: ManualClock
) -> None:
    await engine.ledger.register(registration("t", device_id="d"), clock.now_us())
    await accepted(engine.ledger, send(clock, ["t"]))
    await claimed(engine.ledger)
    await engine.ledger.unregister("shop", DeviceSelector(device_id="d"), clock.now_us())
    await engine.crash()
    (event,) = await events_after(engine.ledger, Wanted("shop"))
    assert (event.state, event.cause) == (DeliveryState.CANCELLED, Cause.DEVICE_REMOVED)
    assert engine.ledger.queue(clock.now_us())[0] == 0
