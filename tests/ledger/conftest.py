"""One suite for every engine: tests ask for `opened` or `ledger` and know only the protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pushrpc.ledger.sqlite import writer
from tests.clocks import ManualClock
from tests.ledger.insides import Disk
from tests.ledger.shop import Engine, SqliteEngine

ENGINES = [SqliteEngine]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.__name__)
async def engine(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Engine]:
    """A ledger that can be closed, crashed and opened again; `engine.ledger` is the one open now."""
    engine: Engine = request.param(tmp_path, clock)
    await engine.open()
    yield engine
    await engine.close()


@pytest.fixture
async def sqlite_engine(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteEngine]:
    engine = SqliteEngine(tmp_path, clock)
    await engine.open()
    yield engine
    await engine.close()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(writer, "synced_commit", disk)
    monkeypatch.setattr(writer, "REOPEN_EVERY_S", 0.01)
    return disk
