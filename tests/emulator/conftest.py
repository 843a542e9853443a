"""The emulators with credentials, and requests that they accept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest

from pushrpc.emulator import Credentials, Emulator

PAYLOAD = b'{"aps":{"alert":"Order shipped"}}'


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator.start(tmp_path, seed=3) as emulator:
        yield emulator


@pytest.fixture
def files(emulator: Emulator) -> Credentials:
    return emulator.credentials()


@pytest.fixture
def headers(emulator: Emulator, files: Credentials) -> dict[str, str]:
    """What an APNs request needs beside its token."""
    claims = {"iss": files.team_id, "iat": emulator.clock.now_us() // 1_000_000}
    token = jwt.encode(claims, files.apns_key_file.read_text(), "ES256", headers={"kid": files.key_id})
    return {"authorization": f"bearer {token}", "apns-topic": files.bundle_id, "apns-push-type": "alert"}
