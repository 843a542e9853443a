"""Child processes of `up` and `demo`: real ones, always ended by their id, and never outliving us.

A child tells that it is ready with a line of JSON on its output. It watches its standard input and stops when that
closes, so that even a killed parent leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 15.0  # the server finishes what is on the wire first, at most 10 s
ENDING_S = 0.5
TAIL_LINES = 20
LINE_BYTES_MAX = 64 * 1024


class ChildFailed(Exception):
    """A child did not come up. The message ends with the last lines it said."""


class Child:
    """A running `pushrpc` process. `ready` is the line with which it said so."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.ready: dict[str, Any] = {}
        self._process = process
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._is_ready = asyncio.Event()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def has_ended(self) -> bool:
        """Whether it is gone, or just going: a connection breaks a moment before its process ends."""
        try:
            async with asyncio.timeout(ENDING_S):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    async def wait(self) -> int:
        """The exit code, when it ended by itself."""
        return await self._process.wait()

    def failure(self, what: str) -> ChildFailed:
        said = "\n".join(f"  {line}" for line in self._tail) or "  (it said nothing)"
        return ChildFailed(f"{self.name} {what}:\n{said}")

    async def read(self, ready_event: str) -> None:
        """Reads its output to the end, keeping the last lines."""
        assert self._process.stdout is not None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:  # longer than LINE_BYTES_MAX: nothing that we wait for
                continue
            if not line:
                return
            text = line.decode("utf-8", "replace").rstrip()
            self._tail.append(text)
            if not self._is_ready.is_set() and ready_event in text:
                with contextlib.suppress(ValueError):
                    self.ready = json.loads(text)
                    self._is_ready.set()

    async def until_ready(self) -> None:
        """Raises ChildFailed when it ends first, or is not ready in time."""
        ended = asyncio.create_task(self._process.wait())
        ready = asyncio.create_task(self._is_ready.wait())
        try:
            await asyncio.wait((ended, ready), timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                what = f"ended with exit code {ended.result()}" if ended.done() else "did not come up in time"
                raise self.failure(what)
        finally:
            ended.cancel()
            ready.cancel()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not end it in time."""
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def child(
    name: str, *arguments: str, ready_event: str, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Child]:
    """`pushrpc ARGUMENTS…` as a process, ready; stopped at the end, whatever happens. Raises ChildFailed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pushrpc", "--until-stdin-closes", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(environ or {})},
        # A group of its own: Ctrl-C reaches us alone, and we stop the children in order.
        start_new_session=True,
        limit=LINE_BYTES_MAX,
    )
    running = Child(name, process)
    reading = asyncio.create_task(running.read(ready_event))
    try:
        await running.until_ready()
        yield running
    finally:
        await asyncio.shield(running.stop())
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
