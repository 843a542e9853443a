"""Measured processes and the rig around them: built, started, told what to do, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "bench"
GO_MODULE = ROOT / "bench" / "go"

PROGRAMS = {"rig": "./rig", "apns2pool": "./apns2pool", "gorush": "github.com/appleboy/gorush"}
BUILD_DEADLINE_S = 900.0  # gorush with an empty cache: some two minutes on two cores, more on one
START_DEADLINE_S = 30.0
ANSWER_DEADLINE_S = 330.0  # the rig gives up on a command after five minutes, and says why
STOP_DEADLINE_S = 15.0
LINE_BYTES_MAX = 1024 * 1024


class BenchError(Exception):
    """The benchmark cannot go on; the message says why."""


class Child:
    """A process that answers a line of JSON with a line of JSON. `ready` is its first line."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log_file: Path) -> None:
        self.name = name
        self.ready: dict[str, Any] = {}
        self._process = process
        self._log_file = log_file

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, command: Mapping[str, object]) -> dict[str, Any]:
        """Raises BenchError when the child fails, ends or stays silent."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        answer = await self.answer(ANSWER_DEADLINE_S)
        if "error" in answer:
            raise BenchError(f"{self.name}: {answer['error']} (asked {command})")
        return answer

    async def answer(self, deadline_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(deadline_s):
                line = await self._process.stdout.readline()
            return dict(json.loads(line))
        except (TimeoutError, json.JSONDecodeError):
            said = self._log_file.read_text(errors="replace")[-2000:]
            raise BenchError(f"{self.name} did not answer; it said:\n{said}") from None

    async def stop(self) -> None:
        """Children that read commands end with their input; the others with SIGTERM."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def child(
    name: str, directory: Path, *argv: str | Path, environ: Mapping[str, str] | None = None, is_quiet: bool = False
) -> AsyncIterator[Child]:
    """Runs `argv` until the end. One that is not `is_quiet` says a first line of JSON when it is ready."""
    log_file = directory / f"{name}.log"
    with log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *map(str, argv),
            stdin=asyncio.subprocess.PIPE,
            stdout=log if is_quiet else asyncio.subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
            start_new_session=True,  # Ctrl-C reaches us alone, and we stop the children in order
            limit=LINE_BYTES_MAX,
        )
    running = Child(name, process, log_file)
    try:
        if not is_quiet:
            running.ready = await running.answer(START_DEADLINE_S)
        yield running
    finally:
        await asyncio.shield(running.stop())


async def build(program: str) -> Path:
    """Builds one of PROGRAMS, or finds it built. Raises BenchError."""
    go = shutil.which("go")
    if go is None:
        raise BenchError("the benchmark needs a Go toolchain (1.25 or newer) for the sink, the callers and the peers")
    path = BUILD / program
    BUILD.mkdir(parents=True, exist_ok=True)
    building = await asyncio.create_subprocess_exec(
        *(go, "build", "-o", str(path), PROGRAMS[program]),
        cwd=GO_MODULE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(BUILD_DEADLINE_S):
            _, said = await building.communicate()
    except TimeoutError:
        building.kill()
        raise BenchError(f"building {program} took longer than {BUILD_DEADLINE_S:.0f} s") from None
    if building.returncode != 0:
        raise BenchError(f"{program} could not be built:\n{said.decode(errors='replace')[-2000:]}")
    return path
