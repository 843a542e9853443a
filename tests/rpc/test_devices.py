from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest

from pushrpc.exchange import Response
from pushrpc.model import Device, Outcome, Registration
from pushrpc.providers import Call
from pushrpc.rpc import limits, pages
from pushrpc.v1 import devices_pb2 as devices
from pushrpc.v1 import enums_pb2 as e
from pushrpc.words import DeliveryState, Environment, OutcomeKind, Provider
from tests.rpc.harness import ACCOUNTS, APNS_LANE, FakeAccount, Running, failure, serving

EVERYTHING: dict[str, Any] = {
    "device_id": "d-1",
    "user_id": "u-7",
    "tags": ["a", "b"],
    "topics": ["news"],
    "locale": "pt-BR",
    "time_zone": "Europe/Lisbon",
    "permission": e.PERMISSION_GRANTED,
    "environment": e.ENVIRONMENT_SANDBOX,
    "provider_app_id": "com.shop",
    "token_kind": e.TOKEN_KIND_VOIP,
    "installation_id": "i-1",
    "metadata": {"model": "X"},
}


async def register(running: Running, token: str = "aa", **fields: Any) -> devices.RegisterDeviceResponse:
    given: dict[str, Any] = {"app_id": "shop", "provider": Provider.APNS, "token": token} | fields
    return await running.stub.RegisterDevice(devices.RegisterDeviceRequest(**given), timeout=10)


async def update(running: Running, **fields: Any) -> devices.Device:
    request = devices.UpdateDeviceRequest(app_id="shop", device_id="d-1", **fields)
    return (await running.stub.UpdateDevice(request, timeout=10)).device


async def get(running: Running, **fields: Any) -> devices.Device:
    request = devices.GetDeviceRequest(app_id="shop", **fields)
    return (await running.stub.GetDevice(request, timeout=10)).device


async def ids(running: Running, **fields: Any) -> list[str]:
    request = devices.ListDevicesRequest(app_id="shop", **fields)
    return [device.device_id for device in (await running.stub.ListDevices(request, timeout=10)).devices]


async def test_a_registration_comes_back_whole(running: Running) -> None:
    place = {"latitude": 38.7, "longitude": -9.1, "accuracy_m": 12.5, "time": {"seconds": 1_700_000_000}}
    registered_time = {"seconds": 1_700_000_001, "nanos": 5_000}
    response = await register(running, location=place, registered_time=registered_time, **EVERYTHING)
    assert response.created
    device = await get(running, device_id="d-1")
    assert device == response.device
    for name, value in EVERYTHING.items():
        kept = getattr(device, name)
        assert (dict(kept) if name == "metadata" else list(kept) if isinstance(value, list) else kept) == value
    assert device.location == devices.Location(**place)  # type: ignore[arg-type]
    assert (device.registered_time.seconds, device.registered_time.nanos) == (1_700_000_001, 5_000)
    assert device.state == e.DEVICE_STATE_ACTIVE
    assert device.create_time.seconds == pytest.approx(time.time(), abs=60)
    assert not device.HasField("dead_time")


async def test_defaults_of_a_registration(running: Running) -> None:
    device = (await register(running)).device
    assert device.device_id
    assert (device.provider_app_id, device.environment) == ("com.shop", e.ENVIRONMENT_PRODUCTION)
    assert device.token_kind == e.TOKEN_KIND_STANDARD
    assert device.registered_time.seconds == pytest.approx(time.time(), abs=60)


async def test_registered_time_never_lies_ahead(running: Running) -> None:
    device = (await register(running, registered_time={"seconds": int(time.time()) + 86_400})).device
    assert device.registered_time.seconds == pytest.approx(time.time(), abs=60)


async def test_unset_fields_stay_and_set_ones_overwrite(running: Running) -> None:
    await register(running, **EVERYTHING)
    again = await register(running, environment=e.ENVIRONMENT_SANDBOX, user_id="u-8")
    assert not again.created
    assert (again.device.user_id, again.device.locale, list(again.device.tags)) == ("u-8", "pt-BR", ["a", "b"])


async def test_the_newest_registration_of_a_token_wins_it(running: Running) -> None:
    await register(running, device_id="d-1")
    response = await register(running, device_id="d-2")
    assert list(response.superseded_device_ids) == ["d-1"]


async def test_a_mask_sets_and_clears(running: Running) -> None:
    await register(running, location={"latitude": 1}, **EVERYTHING)
    request = devices.UpdateDeviceRequest(
        app_id="shop",
        device_id="d-1",
        device={"user_id": "u-9"},  # type: ignore[arg-type]
        update_mask={"paths": ["user_id", "tags", "location", "metadata", "permission"]},  # type: ignore[arg-type]
        add_topics=["sport"],
        remove_topics=["news"],
    )
    device = (await running.stub.UpdateDevice(request, timeout=10)).device
    assert (device.user_id, list(device.tags), list(device.topics)) == ("u-9", [], ["sport"])
    assert not device.HasField("location")
    assert not device.metadata
    assert device.locale == "pt-BR"


async def test_steps_do_not_lead_past_64_tags(running: Running) -> None:
    await register(running, device_id="d-1", tags=[f"t{i}" for i in range(63)])
    request = devices.UpdateDeviceRequest(app_id="shop", device_id="d-1", add_tags=["t0", "x", "y"])
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await running.stub.UpdateDevice(request, timeout=10)
    assert (failure(error.value).reason, failure(error.value).fields) == ("FIELD_TOO_LONG", ["add_tags"])
    request.remove_tags.append("t1")
    assert len((await running.stub.UpdateDevice(request, timeout=10)).device.tags) == 64


@pytest.mark.parametrize(
    "which",
    [{"device_id": "d-1"}, {"provider": Provider.APNS, "token": "aa"}, {"user_id": "u-7"}, {"installation_id": "i-1"}],
    ids=lambda which: next(iter(which)),
)
async def test_devices_are_removed_by_any_of_their_names(running: Running, which: dict[str, Any]) -> None:
    await register(running, **EVERYTHING)
    await register(running, "bb", device_id="d-2")
    request = devices.UnregisterDeviceRequest(app_id="shop", **which)
    assert (await running.stub.UnregisterDevice(request, timeout=10)).unregistered_count == 1
    assert (await running.stub.UnregisterDevice(request, timeout=10)).unregistered_count == 0
    assert await ids(running) == ["d-2"]


async def test_a_device_is_found_by_its_token(running: Running) -> None:
    await register(running, device_id="d-1")
    assert (await get(running, provider=Provider.APNS, token="aa")).device_id == "d-1"


async def test_pages_go_through_all_devices_oldest_first(running: Running) -> None:
    for i in range(5):
        await register(running, f"a{i}", device_id=f"d-{i}")
    seen: list[str] = []
    request = devices.ListDevicesRequest(app_id="shop", page_size=2)
    while True:
        page = await running.stub.ListDevices(request, timeout=10)
        assert len(page.devices) <= 2
        seen += [device.device_id for device in page.devices]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == [f"d-{i}" for i in range(5)]


async def test_a_page_token_is_of_no_use_with_another_filter(running: Running) -> None:
    for i in range(3):
        await register(running, f"a{i}")
    token = (await running.stub.ListDevices(devices.ListDevicesRequest(app_id="shop", page_size=1))).next_page_token
    request = devices.ListDevicesRequest(app_id="shop", page_token=token)
    request.filter.providers.append(e.PROVIDER_APNS)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await running.stub.ListDevices(request, timeout=10)
    assert failure(error.value).reason == "PAGE_TOKEN_INVALID"


async def test_page_sizes_are_coerced(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    read = running.ledger.devices

    async def spy(app_id: str, wanted: Any, after: int, limit: int) -> Any:
        asked.append(limit)
        return await read(app_id, wanted, after, limit)

    monkeypatch.setattr(running.ledger, "devices", spy)
    for size in (0, 7, 1_000, 5_000):
        await ids(running, page_size=size)
    assert asked == [limits.PAGE_SIZE_DEFAULT, 7, 1_000, 1_000]


async def test_long_rows_make_short_pages(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES_MAX", 2_000)
    for i in range(8):
        await register(running, f"a{i}", metadata={"note": "x" * 250})
    request = devices.ListDevicesRequest(app_id="shop")
    seen = 0
    while True:
        page = await running.stub.ListDevices(request, timeout=10)
        assert page.ByteSize() < 2_100
        seen += len(page.devices)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == 8


async def test_filters_reach_the_registry(running: Running) -> None:
    await register(running, device_id="d-1", user_id="u-1", installation_id="i-1")
    await register(running, "bb", device_id="d-2", token_kind=e.TOKEN_KIND_VOIP)
    await register(running, "cc", device_id="d-3", provider=Provider.FCM)
    assert await ids(running, filter={"user_ids": ["u-1", "u-2"]}) == ["d-1"]
    assert await ids(running, filter={"installation_id": "i-1"}) == ["d-1"]
    assert await ids(running, filter={"token_kinds": [e.TOKEN_KIND_VOIP]}) == ["d-2"]
    assert await ids(running, filter={"providers": [e.PROVIDER_FCM]}) == ["d-3"]
    assert await ids(running, filter={"updated_after": {"seconds": int(time.time()) + 60}}) == []
    assert await ids(running, filter={"seen_before": {"seconds": 1}}) == []


async def test_a_dead_device_tells_why_and_since_when(running: Running) -> None:
    await register(running, device_id="d-1")
    await running.send("aa")
    state, kind = DeliveryState.UNREGISTERED, OutcomeKind.TOKEN_INVALID
    await running.answer(APNS_LANE, state=state, kind=kind, reason="Unregistered", provider_status=410)
    device = await get(running, device_id="d-1")
    assert (device.state, device.dead_reason) == (e.DEVICE_STATE_DEAD, "Unregistered")
    assert device.HasField("dead_time")
    assert await ids(running, filter={"states": [e.DEVICE_STATE_DEAD]}) == ["d-1"]


# --- tags that a provider's own registry cannot keep


class Hub(FakeAccount):
    """Keeps two tags of a device, and none that starts with "bad"."""

    registry = "hub"
    tags_max = 2

    def tag_problem(self, tag: str) -> str:
        return "is bad" if tag.startswith("bad") else ""

    def device_call(self, device: Device, authorization: bytes | None) -> Call:
        raise NotImplementedError

    def device_result(self, response: Response, now_us: int) -> Outcome:
        raise NotImplementedError


AT_HUB: dict[str, Any] = {"provider": Provider.NOTIFICATION_HUBS, "device_id": "d-1"}


@pytest.fixture
async def with_hub(tmp_path: Path) -> AsyncIterator[Running]:
    hub = Hub(Provider.NOTIFICATION_HUBS, "ns/hub", Environment.UNSPECIFIED)
    async with serving(tmp_path, accounts={"shop": {**ACCOUNTS["shop"], Provider.NOTIFICATION_HUBS: [hub]}}) as running:
        yield running


async def stored_before(running: Running, *tags: str) -> None:
    """A device from the time when nobody looked at its tags."""
    lane = Provider.NOTIFICATION_HUBS, "ns/hub", Environment.UNSPECIFIED
    now_us = running.clock.now_us()
    registration = Registration("shop", *lane, "aa", device_id="d-1", tags=tags, registered_us=now_us)
    await running.ledger.register(registration, now_us)


async def refused(call: Awaitable[object]) -> tuple[str, list[str], str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    told = failure(error.value)
    return told.reason, told.fields, told.message


async def test_tags_that_a_hub_would_leave_out_are_refused(with_hub: Running) -> None:
    reason, fields, message = await refused(register(with_hub, tags=["a", "bad one"], **AT_HUB))
    assert (reason, fields, "is bad" in message) == ("FIELD_INVALID", ["tags[1]"], True)
    reason, fields, message = await refused(register(with_hub, tags=["a", "b", "c"], **AT_HUB))
    assert (reason, fields, "3 tags" in message) == ("FIELD_TOO_LONG", ["tags"], True)
    await register(with_hub, tags=["a", "b"], **AT_HUB)
    assert (await register(with_hub, tags=["bad", "b", "c"])).device.tags == ["bad", "b", "c"], "Apple keeps no tags"


async def test_a_change_of_tags_that_a_hub_would_leave_out_is_refused(with_hub: Running) -> None:
    await register(with_hub, tags=["a"], **AT_HUB)
    assert (await refused(update(with_hub, add_tags=["bad"])))[:2] == ("FIELD_INVALID", ["add_tags[0]"])
    assert (await refused(update(with_hub, add_tags=["b", "c"])))[:2] == ("FIELD_TOO_LONG", ["add_tags"])
    masked = {"device": {"tags": ["bad"]}, "update_mask": {"paths": ["tags"]}}
    assert (await refused(update(with_hub, **masked)))[:2] == ("FIELD_INVALID", ["tags[0]"])
    await update(with_hub, add_tags=["b", "c"], remove_tags=["a"])
    assert list((await get(with_hub, device_id="d-1")).tags) == ["b", "c"]


async def test_no_device_is_lost_for_tags_that_it_has_already(with_hub: Running) -> None:
    await stored_before(with_hub, "bad", "b", "c")
    again = await register(with_hub, tags=["bad", "b", "c"], **AT_HUB)
    assert not again.created
    rotated = await register(with_hub, "bb", tags=["c", "bad"], **AT_HUB)
    assert (rotated.device.device_id, rotated.device.token) == ("d-1", "bb")
    assert (await refused(register(with_hub, "bb", tags=["bad", "bad too"], **AT_HUB)))[1] == ["tags[1]"]
    await update(with_hub, remove_tags=["bad"])
    assert list((await get(with_hub, device_id="d-1")).tags) == ["c"]
