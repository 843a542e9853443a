"""The emulators, as a stranger's client meets them: endpoints, a CA and credential files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pushrpc.emulator import Credentials, Emulator


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator.start(tmp_path, seed=11) as emulator:
        yield emulator


@pytest.fixture
def files(emulator: Emulator) -> Credentials:
    return emulator.credentials()
