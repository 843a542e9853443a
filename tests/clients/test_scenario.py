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
from pushrpc.clock import SystemClock
from pushrpc.emulator import Emulator
from pushrpc.ledger import open_ledger
from pushrpc.v1 import following_pb2
from tests.clients.runners import ROOT, RUNNERS, built
from tests.e2e.running import ServerProcess, apps_at, stub

SCENARIO = ROOT / "clients" / "scenarios" / "scenario.json"
EXPECTED = ROOT / "clients" / "scenarios" / "expected.json"
TABLE = ROOT / "build" / "scenarios.md"
LINE_S = 70.0  # a runner itself gives a step 60 s
SETTLED_S = 20.0
BUSY_TOKEN = "5107"
LOST_TOKEN = "5108"
LOST_RETRY_S = 5  # longer than it takes to see the first try and to kill the server
QUEUE_MAX = 10  # one step sends more than that

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
        ServerProcess(directory / "server", apps_at(emulator), queue_max=QUEUE_MAX) as server,
        silence() as silent,
    ):
        emulator.set_tokens("apns", ["dead"], state="unregistered", since_ms=int(time.time() * 1000))
        fault = {"provider": "apns", "action": "status", "status": 503, "reason": "ServiceUnavailable"}
        emulator.add_fault(**fault, token=BUSY_TOKEN, share=1.0, retry_after_s=60, count=1_000_000)
        emulator.add_fault(**fault, token=LOST_TOKEN, share=1.0, retry_after_s=LOST_RETRY_S, count=1)
        async with running(command, server.target, silent, directory / "runner.log") as runner:
            try:
                told = {step: result async for step, result in results(runner, server)}
            except (TimeoutError, AssertionError) as error:
                raise AssertionError(f"{error!r}\n{(directory / 'runner.log').read_text()}{server.log()}") from error
        pushed = emulator.journal.accepted_by_token("apns")
        assert pushed[LOST_TOKEN] == 1
        assert set(pushed.values()) == {1}, f"pushed more than once: {pushed}"
        return told


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
    meanwhile: list[asyncio.Task[None]] = []
    while line := await asyncio.wait_for(runner.stdout.readline(), LINE_S):
        told = json.loads(line)
        if "pause" in told:
            if told["pause"] in MEANWHILE:
                meanwhile.append(asyncio.create_task(MEANWHILE[told["pause"]](server)))
            else:
                await PAUSES[told["pause"]](server)
            runner.stdin.write(b"\n")
        elif "failed" in told:
            yield told["step"], {"failed": told["failed"]}
        else:
            yield told["step"], told["result"]
    for task in meanwhile:
        await task


async def until_tried(server: ServerProcess, token: str = BUSY_TOKEN) -> None:
    """The provider has refused once, and the server has noted when to come back."""
    request = following_pb2.ListDeliveriesRequest(app_id="shop", token=token)
    async with server.channel() as channel, asyncio.timeout(SETTLED_S):
        while True:
            answer = await stub(channel).ListDeliveries(request, timeout=SETTLED_S)
            if [(each.attempt, each.state) for each in answer.deliveries] == [(1, int(words.DeliveryState.QUEUED))]:
                return
            await asyncio.sleep(0.02)  # paces the polling only


async def stop_and_start(server: ServerProcess) -> None:
    assert await server.stop() == 0
    await server.start()


async def kill_and_start(server: ServerProcess) -> None:
    await server.kill()
    await server.start()


async def kill_once_tried(server: ServerProcess) -> None:
    """Somebody waits for final answers of what was accepted and tried; nobody will give them that answer."""
    await until_tried(server, LOST_TOKEN)
    await kill_and_start(server)


async def forget(server: ServerProcess) -> None:
    """What the server does when what it keeps of finished notifications has become too old."""
    assert await server.stop() == 0
    clock = SystemClock()
    ledger = await open_ledger(
        "sqlite:///ledger.db", clock, base=server.directory, event_retention_us=0, request_id_retention_us=0,
        queue_max=QUEUE_MAX,
    )  # fmt: skip
    while await ledger.prune(clock.now_us()):
        pass
    await ledger.close()
    await server.start()


PAUSES = {"tried": until_tried, "stop": stop_and_start, "kill": kill_and_start, "forget": forget}
MEANWHILE = {"kill once tried": kill_once_tried}
"""Begun while the runner goes on."""


def as_table(expected: Results, played: dict[str, Results]) -> str:
    """A line for each step: what is expected, and who saw something else."""
    lines = [f"| step | expected | {' | '.join(played)} |", "|---" * (2 + len(played)) + "|"]
    for step, result in expected.items():
        cells = ("same" if told.get(step) == result else f"`{json.dumps(told.get(step))}`" for told in played.values())
        lines.append(f"| {step} | `{json.dumps(result, ensure_ascii=False)}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
