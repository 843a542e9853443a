"""Emulated Apple and Google services and a server on an embedded ledger, as real processes, for `up` and `demo`."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pushrpc.cli.children import Child, child

CONTROL_TIMEOUT_S = 30.0
EMULATOR_READY = "emulator_started"
SERVER_READY = "server_started"


class Playground(NamedTuple):
    """Where everything is. `address` is the server's host:port."""

    address: str
    control_url: str
    emulator: Child
    server: Child

    async def control(self, method: str, path: str, body: object = None) -> Any:
        """One call of the emulators' control API."""
        return await asyncio.to_thread(_control, f"{self.control_url}{path}", method, body)


def _control(url: str, method: str, body: object) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=CONTROL_TIMEOUT_S) as answer:
        return json.loads(answer.read() or b"null")


@asynccontextmanager
async def playground(directory: Path, listen: str) -> AsyncIterator[Playground]:
    """Runs both until the end, the server first to stop. Raises ChildFailed."""
    emulating = child("the emulator", "emulator", "--directory", str(directory), "--json", ready_event=EMULATOR_READY)
    async with emulating as emulator:
        serving = child(
            "the server",
            *("serve", "--config", emulator.ready["config_file"]),
            ready_event=SERVER_READY,
            environ={"PUSHRPC_SERVER__LISTEN": listen, "PUSHRPC_SERVER__LOG_LEVEL": "info"},
        )
        async with serving as server:
            host = listen.rpartition(":")[0]
            try:
                yield Playground(f"{host}:{server.ready['port']}", emulator.ready["control_url"], emulator, server)
            except Exception as error:
                # A child that is gone explains whatever went wrong with talking to it.
                for each in (emulator, server):
                    if await each.has_ended():
                        raise each.failure(f"ended with exit code {await each.wait()}") from error
                raise


def run_until_signalled(work: Coroutine[Any, Any, int]) -> int:
    """Runs to the end; Ctrl-C and SIGTERM cancel it, so that everything it started is stopped in order.

    Also where SIGINT came ignored, as shells start what runs in their background.
    """
    received: list[signal.Signals] = []

    def stop(task: asyncio.Task[int], number: signal.Signals) -> None:
        received.append(number)
        task.cancel()

    async def with_signals() -> int:
        task = asyncio.ensure_future(work)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop, task, number)
        return await task

    try:
        return asyncio.run(with_signals())
    except asyncio.CancelledError:
        if not received:
            raise
        return 128 + received[0]
