"""The README's own lines, as printed, against what `make up` runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.running import free_port

README = (Path(__file__).parent.parent.parent / "README.md").read_text()
GRPCURL_LINES = re.findall(r"^grpcurl .*?pushrpc\.v1\.PushService/\w+$", README, re.MULTILINE | re.DOTALL)
PRINTED = "127.0.0.1:50051"


@pytest.fixture
async def target() -> AsyncIterator[str]:
    """`pushrpc up` in a process of its own."""
    target = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pushrpc", "up", "--listen", target),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            while target.encode() not in (line := await process.stdout.readline()):
                assert line, "it ended without saying where it listens"
        yield target
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0, "Ctrl-C is how it is meant to end"
    finally:
        if process.returncode is None:
            process.kill()  # what it started ends with it


class Shell:
    def __init__(self, target: str, grpcurl: Path) -> None:
        self._target = target
        self._environment = os.environ | {"PATH": f"{grpcurl.parent}{os.pathsep}{os.environ['PATH']}"}

    async def run(self, line: str) -> list[dict[str, object]]:
        """Runs a line of the README with the port of this test, and reads the JSON objects it prints."""
        assert PRINTED in line
        process = await asyncio.create_subprocess_shell(
            line.replace(PRINTED, self._target),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
        )
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, said.decode()
        decoder, text, objects = json.JSONDecoder(), said.decode().strip(), []
        while text:
            value, end = decoder.raw_decode(text)
            objects.append(value)
            text = text[end:].lstrip()
        return objects


@pytest.mark.timeout(500)
async def test_the_first_call_its_repeat_and_following_it(target: str, grpcurl: Path) -> None:
    send, follow = GRPCURL_LINES
    shell = Shell(target, grpcurl)
    (first,) = await shell.run(send)
    assert first["target_count"] == 2
    assert first["complete"] is True
    assert {status["state"] for status in first["statuses"]} == {"DELIVERY_STATE_SENT"}  # type: ignore[attr-defined]
    (again,) = await shell.run(send)
    assert again["replayed"] is True
    assert again["notification_id"] == first["notification_id"]

    pages = await shell.run(follow)
    events = [event for page in pages for event in page.get("events", ())]  # type: ignore[attr-defined]
    assert [event["final"] for event in events] == [True, True], "the repeat sent nothing"
    assert pages[-1]["end"]["counts"] == {"total": 2, "sent": 2}  # type: ignore[index]
