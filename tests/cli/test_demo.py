"""The demo and `up`, for real: child processes, TLS, faults, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import tomllib
from pathlib import Path

import grpc.aio
import pytest

from pushrpc.cli.children import ChildFailed
from pushrpc.cli.playground import playground
from pushrpc.cli.up import RAW_TOKEN, USER_ID, register_user, welcome
from pushrpc.emulator.tokens import apns_tokens
from pushrpc.v1 import sending_pb2
from pushrpc.v1.enums_pb2 import DELIVERY_STATE_SENT, PROVIDER_APNS
from pushrpc.v1.service_pb2_grpc import PushServiceStub

DEADLINE_S = 60.0


async def pushrpc(*arguments: str, directory: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pushrpc", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"TMPDIR": str(directory), "PATH": ""},
    )


async def test_every_count_of_the_demo_adds_up(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    (tmp_path / "temporary").mkdir()
    running = await pushrpc(
        *("demo", "--count", "300", "--json", "--record", str(picture)), directory=tmp_path / "temporary"
    )
    output, errors = await asyncio.wait_for(running.communicate(), DEADLINE_S)
    assert running.returncode == 0, errors.decode() + output.decode()
    (line,) = output.splitlines()
    figures = json.loads(line)
    assert figures["adds_up"] and figures["accepted"] == 300 and figures["rejected"] == 3
    assert sum(count for of in figures["final"].values() for count in of.values()) == 300
    assert figures["retries"]["APNS"] > 0 and figures["retries"]["FCM"] > 0, "the faults did not happen"
    assert picture.read_text().startswith("<svg")
    assert list((tmp_path / "temporary").iterdir()) == []


async def test_a_demo_without_a_terminal_prints_plain_lines(tmp_path: Path) -> None:
    running = await pushrpc("demo", "--count", "100", directory=tmp_path)
    output, _ = await asyncio.wait_for(running.communicate(), DEADLINE_S)
    text = output.decode()
    assert running.returncode == 0 and "\x1b" not in text
    assert text.splitlines()[-1] == "Every count adds up."
    assert "ok\tfinal events = accepted\t100 = 100" in text.splitlines()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_demo_that_is_stopped_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    running = await pushrpc("demo", "--count", "50000", directory=tmp_path)
    assert running.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        while b"Registering" not in await running.stdout.readline():
            pass
    (config_file,) = tmp_path.glob("*/pushrpc.toml")
    account = tomllib.loads(config_file.read_text())["apps"]["shop"]["apns"]
    running.send_signal(number)
    await asyncio.wait_for(running.communicate(), DEADLINE_S)
    assert running.returncode == 128 + number
    assert list(tmp_path.iterdir()) == []
    host, _, port = account["endpoint"].removeprefix("https://").partition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)


async def test_the_line_that_up_prints_works_and_repeats_as_a_replay(tmp_path: Path) -> None:
    async with playground(tmp_path, "127.0.0.1:0") as ground:
        await register_user(ground)
        assert RAW_TOKEN in welcome(ground) and ground.address in welcome(ground)
        async with grpc.aio.insecure_channel(ground.address) as channel:
            push = PushServiceStub(channel)
            request = sending_pb2.SendNotificationRequest(
                app_id="shop",
                request_id="order-1234",
                target=sending_pb2.Target(
                    tokens=[sending_pb2.TokenTarget(provider=PROVIDER_APNS, tokens=[RAW_TOKEN])], user_ids=[USER_ID]
                ),
                message=sending_pb2.NotificationContent(title="Order shipped", badge=3),
            )
            request.wait.FromSeconds(5)
            first = await push.SendNotification(request, timeout=DEADLINE_S)
            assert [status.state for status in first.statuses] == [DELIVERY_STATE_SENT] * 2
            assert [status.token for status in first.statuses] == [RAW_TOKEN, apns_tokens(1)[0]]
            again = await push.SendNotification(request, timeout=DEADLINE_S)
            assert again.replayed and again.notification_id == first.notification_id
        counts = await ground.control("GET", "/counts")
        assert counts["apns"]["accepted"] == 2


async def test_a_second_server_on_the_same_ledger_is_refused_with_one_line(tmp_path: Path) -> None:
    async with playground(tmp_path, "127.0.0.1:0") as ground:
        arguments = ("serve", "--config", ground.emulator.ready["config_file"])
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pushrpc", *arguments),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={"PUSHRPC_SERVER__LISTEN": "127.0.0.1:0"},
        )
        _, errors = await asyncio.wait_for(second.communicate(), DEADLINE_S)
        assert second.returncode == 2
        lines = errors.decode().splitlines()
        assert len(lines) == 1 and lines[0].startswith("pushrpc cannot start: ")


async def test_a_playground_whose_server_dies_says_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="the server ended with exit code"):
        async with playground(tmp_path, "127.0.0.1:0") as ground:
            await ground.server.stop()
            raise ConnectionError
