"""Providers in Go, whose HTTP/2 nobody here wrote: built from this directory, and accounts that lead to them."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.tls import Authority

HERE = Path(__file__).parent
REPORT_DEADLINE_S = 10.0
BUILD_DEADLINE_S = 100.0  # a first build compiles the standard library too


def build(source: str, directory: Path) -> str:
    """The program made from a folder beside this file. Skips the test where there is no Go."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("needs a Go toolchain to build the foreign provider")
    program = directory / source
    subprocess.run([go, "build", "-o", str(program), "."], cwd=HERE / source, check=True, timeout=BUILD_DEADLINE_S)
    return str(program)


def private_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(pem)
    return pem.decode()


def accounts(directory: Path, endpoint: str, ca_file: str) -> dict[str, dict[str, object]]:
    """One app's accounts at both providers, for a configuration file in `directory`."""
    private_key(directory / "key.p8", ec.generate_private_key(ec.SECP256R1()))
    pem = private_key(directory / "google.pem", rsa.generate_private_key(65537, 2048))
    (directory / "service.json").write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "p",
                "private_key_id": "1",
                "private_key": pem,
                "client_email": "push@p.iam.gserviceaccount.com",
                "token_uri": "https://oauth2.googleapis.com/token",
            }
        )
    )
    where = {"endpoint": endpoint, "ca_file": ca_file}
    apns = {"key_file": "key.p8", "key_id": "ABC123DEFG", "team_id": "DEF123GHIJ", "topic": "com.example.shop"}
    return {"apns": {**apns, **where}, "fcm": {"service_account_file": "service.json", **where}}


class Report(NamedTuple):
    """What a slow provider has seen. `tokens` counts those that were answered, `last_us` is its newest request."""

    connections: int
    received: int
    open: int
    open_max: int
    answered: int
    tokens: int
    last_us: int


class SlowProvider:
    """slow_sink: every request waits as long as it is told, and is counted."""

    def __init__(self, process: asyncio.subprocess.Process, endpoint: str) -> None:
        self.endpoint = endpoint
        self._process = process

    async def delay(self, delay_ms: int) -> Report:
        """From now on, also for what waits already."""
        return await self._order({"delay_ms": delay_ms})

    async def report(self) -> Report:
        return await self._order({})

    async def _order(self, order: dict[str, int]) -> Report:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), REPORT_DEADLINE_S)
        return Report(**json.loads(line))


@asynccontextmanager
async def slow_provider(
    program: str, authority: Authority, *, delay_ms: int = 0, streams: int = 250
) -> AsyncIterator[SlowProvider]:
    cert_file, key_file = authority.issue(["localhost", "127.0.0.1"])
    process = await asyncio.create_subprocess_exec(
        program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        first = {"cert": cert_file, "key": key_file, "streams": streams, "delay_ms": delay_ms}
        process.stdin.write(json.dumps(first).encode() + b"\n")
        address = (await asyncio.wait_for(process.stdout.readline(), REPORT_DEADLINE_S)).decode().strip()
        yield SlowProvider(process, f"https://{address}")
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), REPORT_DEADLINE_S)
