"""One scenario, played by every language's client against a real server that is stopped and killed in its midst."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pushrpc import words
from pushrpc.emulator import Emulator
from pushrpc.v1 import following_pb2
from tests.clients.runners import ROOT, RUNNERS, built
from tests.e2e.running import ServerProcess, apps_at, stub

SCENARIO = ROOT / "clients" / "scenarios" / "scenario.json"
EXPECTED = ROOT / "clients" / "scenarios" / "expected.json"
TABLE = ROOT / "build" / "scenarios.md"
LINE_S = 70.0  # a runner itself gives a step 60 s
SETTLED_S = 20.0
BUSY_TOKEN = "5107"

Results = dict[str, Any]


@pytest.fixture(scope="module")
def expected() -> Results:
    told: Results = json.loads(EXPECTED.read_text())
    return told


@pytest.fixture(scope="module")
def table(expected: Results) -> Iterator[dict[str, Results]]:
    """Results by language; printed as one table at the end, whoever played."""
    played: dict[str, Results] = {}
    yield played
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(as_table(expected, played))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", RUNNERS)
async def test_every_language_gets_the_same_results(
    language: str, expected: Results, table: dict[str, Results], tmp_path: Path
) -> None:
    command = await asyncio.to_thread(built, language)
    table[language] = told = await play(command, tmp_path)
    assert list(told) == list(expected), "not every step was played, or not in order"
    assert told == expected


def test_every_step_has_an_expectation(expected: Results) -> None:
    assert [step["name"] for step in json.loads(SCENARIO.read_text())] == list(expected)


async def play(command: list[str], directory: Path) -> Results:
    """What a runner printed, by step: the result, or why it failed."""
    (directory / "server").mkdir()
    async with (
        Emulator.start(directory / "emulator", seed=1) as emulator,
        ServerProcess(directory / "server", apps_at(emulator)) as server,
        silence() as silent,
    ):
        emulator.set_tokens("apns", ["dead"], state="unregistered", since_ms=int(time.time() * 1000))
        fault = {"provider": "apns", "action": "status", "status": 503, "reason": "ServiceUnavailable"}
        emulator.add_fault(**fault, token=BUSY_TOKEN, share=1.0, retry_after_s=60, count=1_000_000)
        async with running(command, server.target, silent, directory / "runner.log") as runner:
            try:
                return {step: result async for step, result in results(runner, server)}
            except (TimeoutError, AssertionError) as error:
                raise AssertionError(f"{error!r}\n{(directory / 'runner.log').read_text()}{server.log()}") from error


@asynccontextmanager
async def silence() -> AsyncIterator[str]:
    """An address where connections are taken and nothing is ever said."""
    taken: set[asyncio.StreamWriter] = set()
    listener = await asyncio.start_server(lambda _, writer: taken.add(writer), "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for writer in taken:
            writer.close()


@asynccontextmanager
async def running(
    command: list[str], address: str, silent: str, log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(*command, str(SCENARIO), address),
            cwd=ROOT,
            env=os.environ | {"PUSHRPC_SILENT": silent},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    try:
        yield process
        assert await asyncio.wait_for(process.wait(), LINE_S) == 0
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def results(runner: asyncio.subprocess.Process, server: ServerProcess) -> AsyncIterator[tuple[str, Any]]:
    assert runner.stdin is not None
    assert runner.stdout is not None
    while line := await asyncio.wait_for(runner.stdout.readline(), LINE_S):
        told = json.loads(line)
        if "pause" in told:
            await PAUSES[told["pause"]](server)
            runner.stdin.write(b"\n")
        elif "failed" in told:
            yield told["step"], {"failed": told["failed"]}
        else:
            yield told["step"], told["result"]


async def until_tried(server: ServerProcess) -> None:
    """The provider has refused once, and the server has noted when to come back."""
    request = following_pb2.ListDeliveriesRequest(app_id="shop", token=BUSY_TOKEN)
    async with server.channel() as channel, asyncio.timeout(SETTLED_S):
        while True:
            (delivery,) = (await stub(channel).ListDeliveries(request, timeout=SETTLED_S)).deliveries
            if delivery.attempt == 1 and delivery.state == int(words.DeliveryState.QUEUED):
                return
            await asyncio.sleep(0.02)  # paces the polling only


async def stop_and_start(server: ServerProcess) -> None:
    assert await server.stop() == 0
    await server.start()


async def kill_and_start(server: ServerProcess) -> None:
    await server.kill()
    await server.start()


PAUSES = {"tried": until_tried, "stop": stop_and_start, "kill": kill_and_start}


def as_table(expected: Results, played: dict[str, Results]) -> str:
    """A line for each step: what is expected, and who saw something else."""
    lines = [f"| step | expected | {' | '.join(played)} |", "|---" * (2 + len(played)) + "|"]
    for step, result in expected.items():
        cells = ("same" if told.get(step) == result else f"`{json.dumps(told.get(step))}`" for told in played.values())
        lines.append(f"| {step} | `{json.dumps(result, ensure_ascii=False)}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
