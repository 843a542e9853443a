"""Connections to the file, and what they are opened with."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite

T = TypeVar("T")

BUSY_S = 5.0  # another process that writes to the file (a shell, a tool) is waited for; then the transaction fails
STATEMENTS_KEPT = 256  # more than there are, so that each is prepared once
CHECKPOINT_PAGES = 4_000  # 16 MB of log between checkpoints: at full speed about one a second
WRITER_CACHE_KIB = 32_768
READER_CACHE_KIB = 8_192


class Connection(aiosqlite.Connection):
    """Runs a whole transaction as one plain function on the connection's thread: one hop instead of one a statement.

    What is short may be done with `sql` where one is, while nothing runs on the thread.
    """

    @property
    def sql(self) -> sqlite3.Connection:
        return self._conn

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Work that has begun goes on when the caller is cancelled, so no transaction is left half done."""
        result: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]
        return result


async def connect_writer(path: Path) -> Connection:
    return await _connect(path, _WRITER)


async def connect_reader(path: Path) -> Connection:
    return await _connect(path, _READER)


# SQLite before 3.51.3 can damage a file when two connections write or checkpoint at once (sqlite.org/wal.html,
# "the WAL-reset bug"); so exactly one does both, and the others are query_only.
# FULL syncs the log at every commit: what was answered OK survives a power cut.
_WRITER = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}",
    f"PRAGMA cache_size = -{WRITER_CACHE_KIB}",
    "PRAGMA temp_store = MEMORY",
)
_READER = (
    "PRAGMA query_only = ON",
    f"PRAGMA cache_size = -{READER_CACHE_KIB}",
    "PRAGMA temp_store = MEMORY",
)


async def _connect(path: Path, pragmas: tuple[str, ...]) -> Connection:
    connection = Connection(
        partial(
            sqlite3.connect,
            path,
            timeout=BUSY_S,
            isolation_level=None,
            cached_statements=STATEMENTS_KEPT,
            check_same_thread=False,
        ),
        0,
    )
    await connection
    try:
        # Not in the connector: what it raises would leave the thread to end at some later time.
        await connection.run(lambda sql: [sql.execute(pragma).fetchall() for pragma in pragmas])
    except BaseException:
        await connection.close()
        raise
    return connection
