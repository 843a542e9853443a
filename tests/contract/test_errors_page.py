"""docs/errors.md says what the code says, and what gRPC says in its place."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from pushrpc.emulator import Emulator
from pushrpc.rpc.errors import Reason
from pushrpc.server import RPCS_MAX
from pushrpc.v1 import following_pb2, service_pb2
from pushrpc.words import RejectReason
from tests.e2e.running import ServerProcess, apps_at, stub

PAGE = (Path(__file__).parent.parent.parent / "docs" / "errors.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_reason_stands_there_with_its_code_and_what_to_do() -> None:
    told = {row[0].strip("`"): row[1:] for row in rows("Errors of a call")}
    assert told == {
        reason.name: [
            reason.code.name,
            reason.advice,
            "" if reason.retry_after_s is None else f"{reason.retry_after_s:g} s",
        ]
        for reason in Reason
    }


def test_every_reject_reason_stands_there() -> None:
    told = [row[0].strip("`") for row in rows("Targets that make no delivery")]
    assert told == [reason.name for reason in RejectReason if reason]
    assert not re.search(r"\|\s*\|$", PAGE.split("## Targets that make no delivery")[1].split("\n## ")[0], re.MULTILINE)


TIMEOUT_S = 20.0
MIB = 1024 * 1024


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with Emulator.start(tmp_path / "emulator") as emulator, ServerProcess(tmp_path, apps_at(emulator)) as server:
        yield server


async def own_error(call: Any) -> str:
    """The code's name of a call that must fail without details."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    status = rpc_status.from_call(failed.value)
    assert status is None or not status.details
    return str(failed.value.code().name)


async def test_grpcs_own_errors_carry_no_details(server: ServerProcess) -> None:
    told = {row[0].strip("`"): row[1] for row in rows("gRPC's own errors")}
    request = service_pb2.GetServerInfoRequest(app_id="shop")
    async with server.channel() as channel:
        info: Any = channel.unary_unary("/pushrpc.v1.PushService/GetServerInfo")
        misspelt: Any = channel.unary_unary("/pushrpc.v1.PushService/GetServerInf")
        following = stub(channel).StreamDeliveryStatus(
            following_pb2.StreamDeliveryStatusRequest(app_id="shop"), timeout=0.2
        )
        met = [
            await own_error(info(bytes(4 * MIB + 1), timeout=TIMEOUT_S)),
            await own_error(info(b"", metadata=[("x", "y" * 2 * 16 * 1024)], timeout=TIMEOUT_S)),
            await own_error(misspelt(b"", timeout=TIMEOUT_S)),
            await own_error(info(b"\xff", timeout=TIMEOUT_S)),
            await own_error(read_all(following)),
        ]
        given_up = stub(channel).StreamDeliveryStatus(following_pb2.StreamDeliveryStatusRequest(app_id="shop"))
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up.read()
        met.append((await given_up.code()).name)
        await server.stop()
        met.append(await own_error(stub(channel).GetServerInfo(request, timeout=TIMEOUT_S)))
    assert met[0] == met[1] and met[1:] == list(told)
    assert f"{RPCS_MAX:,} calls" in told["RESOURCE_EXHAUSTED"]


async def test_a_call_too_many_is_one_of_them(server: ServerProcess) -> None:
    own_connection = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(server.target, options=own_connection) for _ in range(RPCS_MAX // 256 + 1)]
    try:
        watches = []
        for channel in channels[:-1]:
            health = health_pb2_grpc.HealthStub(channel)
            some = [health.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(256)]
            assert len(await asyncio.gather(*(watch.read() for watch in some))) == 256, "each is taken"
            watches += some
        request = service_pb2.GetServerInfoRequest(app_id="shop")
        assert await own_error(stub(channels[-1]).GetServerInfo(request, timeout=TIMEOUT_S)) == "RESOURCE_EXHAUSTED"
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


async def test_a_burst_of_as_many_calls_as_are_taken_is_answered_whole(server: ServerProcess) -> None:
    """They come while the server is stopped, so that it meets all of them at once."""
    own_connection = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(server.target, options=own_connection) for _ in range(RPCS_MAX // 256)]
    request = service_pb2.GetServerInfoRequest(app_id="shop")
    try:
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        with server.stopped():
            calls = [stub(channel).GetServerInfo(request, timeout=60) for channel in channels for _ in range(255)]
            waiting = asyncio.gather(*calls, return_exceptions=True)
            with pytest.raises(TimeoutError):  # all of them are on their way by then
                await asyncio.wait_for(asyncio.shield(waiting), 1)
        answers = await waiting
        assert [answer for answer in answers if isinstance(answer, BaseException)] == []
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


async def read_all(call: Any) -> None:
    async for _ in call:
        pass
