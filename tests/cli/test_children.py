"""Child processes come up, tell why when they do not, and never outlive us."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pushrpc.cli.children import ChildFailed, child
from pushrpc.cli.playground import EMULATOR_READY

DEADLINE_S = 20.0


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_child_is_ready_inside_and_gone_after(tmp_path: Path) -> None:
    arguments = ("emulator", "--directory", str(tmp_path), "--json")
    async with child("the emulator", *arguments, ready_event=EMULATOR_READY) as emulator:
        assert is_alive(emulator.pid)
        assert emulator.ready["endpoints"]["apns"].startswith("https://127.0.0.1:")
        assert Path(emulator.ready["config_file"]).is_file()
    assert not is_alive(emulator.pid)


async def test_a_child_is_gone_after_a_failure_and_a_cancellation(tmp_path: Path) -> None:
    arguments = ("emulator", "--directory", str(tmp_path), "--json")
    with pytest.raises(ZeroDivisionError):
        async with child("the emulator", *arguments, ready_event=EMULATOR_READY) as emulator:
            raise ZeroDivisionError
    assert not is_alive(emulator.pid)

    up: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def hold() -> None:
        async with child("the emulator", *arguments, ready_event=EMULATOR_READY) as held:
            up.set_result(held.pid)
            await asyncio.Event().wait()

    holding = asyncio.create_task(hold())
    pid = await asyncio.wait_for(up, DEADLINE_S)
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert not is_alive(pid)


async def test_a_child_that_does_not_come_up_tells_why(tmp_path: Path) -> None:
    arguments = ("serve", "--config", str(tmp_path / "absent.toml"))
    with pytest.raises(ChildFailed, match=r"the server ended with exit code 2:\n(.|\n)*cannot be read"):
        async with child("the server", *arguments, ready_event="server_started"):
            pass


def test_a_child_ends_when_its_parent_is_gone(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pushrpc", "--until-stdin-closes", "emulator", "--directory", str(tmp_path), "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdin is not None and process.stdout is not None
        assert EMULATOR_READY.encode() in process.stdout.readline()
        process.stdin.close()
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
