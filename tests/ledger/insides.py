"""SQLite's own parts, laid open: what tests look at and break where the protocol cannot reach."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from pushrpc.ledger.sqlite import SqliteLedger
from tests.ledger.shop import SqliteEngine


def inside(engine: SqliteEngine) -> SqliteLedger:
    assert isinstance(engine.ledger, SqliteLedger)
    return engine.ledger


async def on_writer(engine: SqliteEngine, sql: str) -> list[Any]:
    return await inside(engine)._store.writer.run(lambda db: db.execute(sql).fetchall())


class Disk:
    """Stands in for COMMIT: counts it, and fails it when told to."""

    def __init__(self) -> None:
        self.commits = 0
        self.fail: Callable[[sqlite3.Connection], None] | None = None

    def __call__(self, sql: sqlite3.Connection) -> None:
        self.commits += 1
        if self.fail is not None:
            self.fail(sql)
        sql.execute("COMMIT")
