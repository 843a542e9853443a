"""What apps report becomes events that carry no state."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from pushrpc.v1 import devices_pb2 as devices
from pushrpc.v1 import following_pb2 as following
from tests.rpc.harness import Running, failure


async def report(running: Running, *reports: dict[str, Any]) -> following.ReportEngagementResponse:
    request = following.ReportEngagementRequest(app_id="shop", reports=reports)  # type: ignore[arg-type]
    return await running.stub.ReportEngagement(request, timeout=10)


async def events(running: Running, notification_id: str) -> list[following.DeliveryEvent]:
    request = following.StreamDeliveryStatusRequest(
        app_id="shop", notification_ids=[notification_id], until_caught_up=True
    )
    stream = running.stub.StreamDeliveryStatus(request, timeout=10)
    return [event async for page in stream for event in page.events]


async def test_a_report_becomes_one_event_however_often_it_comes(running: Running) -> None:
    receipt = await running.send("aa", "bb")
    await running.answer()
    opened = {"notification_id": receipt.notification_id, "provider": 1, "token": "bb", "engagement": 3}
    assert (await report(running, opened, opened)).recorded_count == 2
    assert (await report(running, opened | {"engagement": "ENGAGEMENT_RECEIVED"})).recorded_count == 1
    told = [event for event in await events(running, receipt.notification_id) if event.engagement]
    assert [(event.token, event.engagement) for event in told] == [("bb", 3), ("bb", 1)]
    assert {(event.state, event.final, event.reason) for event in told} == {(0, False, "")}
    assert {event.kind for event in told} == {4}


async def test_a_device_and_a_lone_delivery_are_found_without_a_token(running: Running) -> None:
    await running.stub.RegisterDevice(
        devices.RegisterDeviceRequest(app_id="shop", provider=1, token="cc", device_id="d-1")  # type: ignore[arg-type]
    )
    receipt = await running.send("cc")
    await running.answer()
    by_device = {"notification_id": receipt.notification_id, "device_id": "d-1", "engagement": 1}
    alone = {"notification_id": receipt.notification_id, "engagement": 3}
    assert (await report(running, by_device, alone)).recorded_count == 2
    assert [e.device_id for e in await events(running, receipt.notification_id) if e.engagement] == ["d-1", "d-1"]


async def test_what_names_no_delivery_is_told_and_the_rest_is_kept(running: Running) -> None:
    receipt = await running.send("aa", "bb")
    known = {"notification_id": receipt.notification_id, "provider": 1, "token": "aa", "engagement": 1}
    unclear = {"notification_id": receipt.notification_id, "engagement": 1}
    answer = await report(running, known, known | {"token": "ee"}, known | {"notification_id": "none"}, unclear)
    assert answer.recorded_count == 1
    assert [each.path for each in answer.rejected] == ["reports[1]", "reports[2]", "reports[3]"]


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"engagement": 0}, "reports[0].engagement"),
        ({"notification_id": ""}, "reports[0].notification_id"),
        ({"device_id": "d"}, "reports[0].token"),
        ({"provider": 0}, "reports[0].provider"),
        ({"engagement": 99}, "reports[0].engagement"),
    ],
)
async def test_a_malformed_report_fails_the_call_and_names_its_field(
    running: Running, bad: dict[str, Any], field: str
) -> None:
    good = {"notification_id": "n", "provider": 1, "token": "aa", "engagement": 1}
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await report(running, good | bad)
    assert field in failure(error.value).fields
