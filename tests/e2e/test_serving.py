"""The server as its operators and callers meet it: TLS, streams that resume, an ordered stop, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pushrpc.emulator import Emulator, apns_tokens, fcm_tokens
from pushrpc.v1 import enums_pb2 as e
from pushrpc.v1 import following_pb2 as following
from pushrpc.v1 import sending_pb2 as sending
from tests.e2e.running import ServerProcess, Tls, apps_at, stub
from tests.tls import make_authority


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator.start(tmp_path) as running:
        yield running


def send(
    request_id: str, apns: list[str], fcm: list[str] | None = None, wait_s: int = 0
) -> sending.SendNotificationRequest:
    targets = [sending.TokenTarget(provider=e.PROVIDER_APNS, tokens=apns)] if apns else []
    targets += [sending.TokenTarget(provider=e.PROVIDER_FCM, tokens=fcm)] if fcm else []
    return sending.SendNotificationRequest(
        app_id="shop",
        request_id=request_id,
        target=sending.Target(tokens=targets),
        message=sending.NotificationContent(title="Hello", body="World"),
        wait=Duration(seconds=wait_s) if wait_s else None,
    )


async def test_tls_serves_callers_who_trust_it_and_nobody_in_plaintext(tmp_path: Path, emulator: Emulator) -> None:
    (tmp_path / "tls").mkdir()
    authority = make_authority(tmp_path / "tls")  # another one than the emulator's
    cert_file, key_file = authority.issue(["localhost", "127.0.0.1"])
    tls = Tls(str(cert_file), str(key_file), str(authority.ca_file))
    async with ServerProcess(tmp_path, apps_at(emulator), tls) as server:
        async with server.channel() as channel:
            reply = await stub(channel).SendNotification(send("a", apns_tokens(1), wait_s=20), timeout=30)
            assert [s.state for s in reply.statuses] == [e.DELIVERY_STATE_SENT]
        async with grpc.aio.insecure_channel(server.target) as plain:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub(plain).SendNotification(send("b", apns_tokens(1)), timeout=5)
            assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_a_stream_left_midway_resumes_without_gap_or_repeat_also_after_a_restart(
    tmp_path: Path, emulator: Emulator
) -> None:
    emulator.add_fault(provider="apns", action="status", status=503, reason="ServiceUnavailable", share=0.2)
    named = apns_tokens(900)
    seen: list[str] = []
    cursor = ""
    server = ServerProcess(tmp_path, apps_at(emulator), in_flight_max=100)
    await server.start()
    async with server.channel() as channel:
        await stub(channel).SendNotification(send("r", named), timeout=30)
    for stop_after in (1, 120, 400, 10_000):
        async with server.channel() as channel:
            request = following.StreamDeliveryStatusRequest(app_id="shop", request_ids=["r"], cursor=cursor)
            taken = 0
            ended = False
            async for page in stub(channel).StreamDeliveryStatus(request, timeout=60):
                seen += [event.event_id for event in page.events]
                taken += len(page.events)
                cursor = page.cursor
                ended = page.HasField("end")
                if taken >= stop_after:
                    break
        await (server.kill() if stop_after == 120 else server.stop())
        await server.start()
    assert ended
    async with server.channel() as channel:
        request = following.StreamDeliveryStatusRequest(app_id="shop", request_ids=["r"])
        whole = [
            event async for page in stub(channel).StreamDeliveryStatus(request, timeout=60) for event in page.events
        ]
    assert seen == [event.event_id for event in whole], "what was read in parts is what there is"
    finals = [event.token for event in whole if event.final]
    assert sorted(finals) == sorted(named), "final exactly once for each"
    assert await server.stop() == 0


async def test_sigterm_answers_what_is_on_the_wire_and_lets_streams_leave_with_a_cursor(
    tmp_path: Path, emulator: Emulator
) -> None:
    emulator.add_fault(provider="apns", action="delay", delay_s=1.5)
    named = apns_tokens(1)
    server = ServerProcess(tmp_path, apps_at(emulator))
    await server.start()
    async with server.channel() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watching = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        receipt = await stub(channel).SendNotification(send("r", named), timeout=10)
        request = following.StreamDeliveryStatusRequest(app_id="shop", cursor=receipt.cursor)
        stream = stub(channel).StreamDeliveryStatus(request, timeout=30)
        await until_in_flight(channel, receipt.notification_id)
        server.terminate()
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        pages = [page async for page in stream]
        assert pages[-1].HasField("reconnect")
        assert pages[-1].cursor
        assert await server.stop() == 0, server.log()
    assert emulator.journal.accepted_by_token("apns")[named[0]] == 1

    await server.start()
    async with server.channel() as channel:
        request = following.StreamDeliveryStatusRequest(app_id="shop", cursor=pages[-1].cursor, until_caught_up=True)
        rest = [
            event async for page in stub(channel).StreamDeliveryStatus(request, timeout=30) for event in page.events
        ]
        told = [event for page in pages for event in page.events] + rest
        assert [(event.state, event.attempt) for event in told] == [(e.DELIVERY_STATE_SENT, 1)]
    assert await server.stop() == 0
    assert emulator.journal.accepted_by_token("apns")[named[0]] == 1, "the answer was kept: nothing was sent again"


async def until_in_flight(channel: grpc.aio.Channel, notification_id: str) -> None:
    async with asyncio.timeout(20):
        while True:
            request = following.GetNotificationRequest(app_id="shop", notification_id=notification_id)
            got = await stub(channel).GetNotification(request, timeout=5)
            if got.notification.counts.in_flight:
                return
            await asyncio.sleep(0.01)  # paces the polling only


async def test_metrics_count_what_was_accepted_and_what_became_of_it(tmp_path: Path, emulator: Emulator) -> None:
    dead, *live = apns_tokens(10)
    emulator.set_tokens("apns", [dead], state="unregistered", since_ms=4_000_000_000_000)
    async with ServerProcess(tmp_path, apps_at(emulator)) as server:
        async with server.channel() as channel:
            reply = await stub(channel).SendNotification(send("m", [dead, *live], fcm_tokens(5), wait_s=20), timeout=30)
        assert reply.complete
        text = await server.metrics()
    for line in (
        'pushrpc_notifications_accepted_total{app="shop"} 1.0',
        'pushrpc_deliveries_accepted_total{app="shop"} 15.0',
        'pushrpc_deliveries_final_total{app="shop",provider="apns",state="sent"} 9.0',
        'pushrpc_deliveries_final_total{app="shop",provider="apns",state="unregistered"} 1.0',
        'pushrpc_deliveries_final_total{app="shop",provider="fcm",state="sent"} 5.0',
        'pushrpc_attempts_total{outcome="accepted",provider="apns"} 9.0',
    ):
        assert line in text, text
    assert "pushrpc_answer_seconds_bucket" in text
    assert "pushrpc_queue_deliveries" in text
    logged = server.log()
    assert not any(token in logged for token in [dead, *live]), "logs never hold a token"


async def test_certificate_and_sandbox_accounts_reach_their_own_servers(tmp_path: Path, emulator: Emulator) -> None:
    files = emulator.credentials()
    common = {"topic": files.bundle_id, "ca_file": emulator.ca_file}
    pem = files.apns_certificate_file
    by_certificate = {"cert_file": pem, "cert_key_file": pem, "endpoint": emulator.apns_endpoint}
    key = {"key_file": files.apns_key_file, "key_id": files.key_id, "team_id": files.team_id}
    by_key = {**key, "endpoint": emulator.apns_sandbox_endpoint, "environment": "sandbox"}
    apps = {"shop": {"apns": {**common, **by_certificate}}, "lab": {"apns": {**common, **by_key}}}
    async with ServerProcess(tmp_path, apps) as server, server.channel() as channel:
        for app_id in apps:
            request = send("x", apns_tokens(20), wait_s=20)
            request.app_id = app_id
            reply = await stub(channel).SendNotification(request, timeout=30)
            assert {s.state for s in reply.statuses} == {e.DELIVERY_STATE_SENT}, server.log()
    environments = {entry.environment for entry in emulator.journal.entries("apns")}
    assert environments == {"production", "sandbox"}
