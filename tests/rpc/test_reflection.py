"""Reflection as tools use it: the official v1alpha client, the v1 protocol on the wire, and grpcurl itself."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from pushrpc.clock import SystemClock
from pushrpc.rpc import SERVICE_NAME, PushService, Settings, add_to
from pushrpc.telemetry import Telemetry
from tests.rpc.harness import ACCOUNTS

SERVICES = {
    SERVICE_NAME,
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}


@pytest.fixture
async def target() -> AsyncIterator[str]:
    """A server that is STARTING: reflection needs no ledger."""
    server = grpc.aio.server()
    add_to(server, PushService(ACCOUNTS, Settings(), SystemClock(), Telemetry()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def test_the_official_client_reads_the_whole_contract(target: str) -> None:
    def read() -> tuple[set[str], list[str], str]:
        with grpc.insecure_channel(target) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            pool = DescriptorPool(database)
            service = pool.FindServiceByName(SERVICE_NAME)
            detail = pool.FindMessageTypeByName("google.rpc.ErrorInfo")
            return set(database.get_services()), [method.name for method in service.methods], detail.full_name

    services, methods, detail = await asyncio.to_thread(read)
    assert services == SERVICES
    assert {"SendNotification", "StreamDeliveryStatus", "GetServerInfo"} <= set(methods)
    assert len(methods) == 20
    assert detail == "google.rpc.ErrorInfo"


@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
async def test_both_versions_answer_and_describe_themselves(target: str, package: str) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        call = channel.stream_stream(
            f"/{package}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )

        async def requests() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
            yield reflection_pb2.ServerReflectionRequest(list_services="")
            yield reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"{package}.ServerReflection")
            yield reflection_pb2.ServerReflectionRequest(file_containing_symbol="pushrpc.v1.Nothing")

        listed, described, unknown = [answer async for answer in call(requests(), timeout=10)]
    assert {service.name for service in listed.list_services_response.service} == SERVICES
    assert package.encode() in described.file_descriptor_response.file_descriptor_proto[0]
    assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


@pytest.mark.timeout(500)
async def test_grpcurl_lists_describes_and_shows_typed_errors(target: str, grpcurl: Path) -> None:
    async def run(*arguments: str) -> tuple[str, str]:
        process = await asyncio.create_subprocess_exec(
            grpcurl, "-plaintext", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        async with asyncio.timeout(30):
            out, err = await process.communicate()
        return out.decode(), err.decode()

    listed, _ = await run(target, "list")
    assert set(listed.split()) == SERVICES
    described, _ = await run(target, "describe", f"{SERVICE_NAME}.SendNotification")
    assert "rpc SendNotification ( .pushrpc.v1.SendNotificationRequest )" in described
    request = json.dumps({"app_id": "shop", "message": {"title": "x"}, "options": {"ttl": "3600s"}})
    _, refused = await run("-format-error", "-d", request, target, f"{SERVICE_NAME}/SendNotification")
    status = json.loads(refused)
    assert status["code"] == grpc.StatusCode.UNAVAILABLE.value[0]
    details = {detail["@type"].rpartition(".")[2]: detail for detail in status["details"]}
    assert details["ErrorInfo"]["reason"] == "STARTING"
    assert details["RetryInfo"]["retry_delay"] == "1s"
