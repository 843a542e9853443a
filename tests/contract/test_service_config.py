"""proto/service_config.json: what it names exists, and gRPC takes it and repeats a call that was surely lost."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from pushrpc.v1 import service_pb2, service_pb2_grpc

CONFIG = (Path(__file__).parent.parent.parent / "proto" / "service_config.json").read_text()
SERVICE = service_pb2.DESCRIPTOR.services_by_name["PushService"]


class Busy(service_pb2_grpc.PushServiceServicer):
    """Unavailable twice, then well."""

    def __init__(self) -> None:
        self.asked = 0

    async def GetServerInfo(
        self, request: service_pb2.GetServerInfoRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> service_pb2.GetServerInfoResponse:
        self.asked += 1
        if self.asked < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return service_pb2.GetServerInfoResponse(server_version="1")


@pytest.fixture
async def busy() -> AsyncIterator[tuple[Busy, str]]:
    server, service = grpc.aio.server(), Busy()  # type: ignore[abstract]  # the rest is never called
    service_pb2_grpc.add_PushServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield service, f"127.0.0.1:{port}"
    await server.stop(0)


def test_every_method_that_it_names_exists() -> None:
    for part in json.loads(CONFIG)["methodConfig"]:
        for name in part["name"]:
            assert name["service"] == SERVICE.full_name
            assert "method" not in name or name["method"] in SERVICE.methods_by_name


async def test_a_call_that_was_surely_lost_is_repeated(busy: tuple[Busy, str]) -> None:
    service, target = busy
    async with grpc.aio.insecure_channel(target, options=[("grpc.service_config", CONFIG)]) as channel:
        push = service_pb2_grpc.PushServiceStub(channel)
        info = await push.GetServerInfo(service_pb2.GetServerInfoRequest(app_id="shop"), timeout=10)
    assert (info.server_version, service.asked) == ("1", 3)
