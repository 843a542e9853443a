"""The file: its lock, its schema, and the connections to it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeVar

from pushrpc.ledger import LedgerRefused, LedgerUnavailable
from pushrpc.ledger.sqlite.connection import Connection, connect_reader, connect_writer

T = TypeVar("T")

SCHEMA_DIR = Path(__file__).parent / "schema"
APPLICATION_ID = 1886745200  # PRAGMA application_id of our files; schema/1.sql writes it
READERS = 2  # one may read a long page while the other answers


class Store:
    """Holds the file for this process. `writer` is the only connection that writes and checkpoints."""

    def __init__(self, path: Path, schema_dir: Path = SCHEMA_DIR) -> None:
        self._path = path
        self._schema_dir = schema_dir
        self._lock: IO[bytes] | None = None
        self._readers: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
        self._all_readers: list[Connection] = []
        self._writer: Connection | None = None

    @property
    def writer(self) -> Connection:
        assert self._writer is not None, "the store is not open"
        return self._writer

    async def open(self) -> None:
        """Raises LedgerRefused: held by another process, not ours, of a newer schema, damaged."""
        try:
            self._take_lock()
            self._create_private()
            await self._connect(self._migrate)
        except BaseException as error:
            await self.close()
            if isinstance(error, sqlite3.Error | OSError):
                raise LedgerRefused(f"{self._path} cannot be opened as a ledger: {error}") from error
            raise

    async def reopen(self) -> None:
        """Opens the file afresh after a failed commit, and goes on only if what the disk holds is whole."""
        await self._disconnect()
        await self._connect(self._check)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs work in one read transaction."""
        if self._writer is None:
            raise LedgerUnavailable("the ledger is closed or being checked")
        readers = self._readers  # a reopened file has others, and this one must not get among them
        reader = await readers.get()
        try:
            return await reader.run(lambda sql: _snapshot(sql, work))
        except (sqlite3.Error, ValueError) as error:  # ValueError: closed meanwhile
            raise LedgerUnavailable(f"reading failed: {error}") from error
        finally:
            readers.put_nowait(reader)

    async def close(self) -> None:
        await self._disconnect()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _connect(self, prepare: Callable[[sqlite3.Connection], None]) -> None:
        try:
            self._writer = await connect_writer(self._path)
            await self._writer.run(prepare)
            await self._writer.run(_never_wait)
            self._readers = asyncio.LifoQueue()
            for _ in range(READERS):
                self._all_readers.append(await connect_reader(self._path))
                self._readers.put_nowait(self._all_readers[-1])
        except BaseException:
            await self._disconnect()
            raise

    async def _disconnect(self) -> None:
        """Readers first: the connection that closes last checkpoints."""
        connections = [*self._all_readers, *([self._writer] if self._writer is not None else [])]
        self._all_readers, self._writer = [], None
        for connection in connections:
            with suppress(sqlite3.Error):
                await connection.close()

    def _take_lock(self) -> None:
        name = f"{self._path.resolve()}.lock"  # one file has one lock, by whatever symlink it is opened
        self._lock = Path(name).open("ab")  # noqa: SIM115 held as long as the file is; no child inherits it (PEP 446)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LedgerRefused(f"{self._path} is in use by another process, which holds {name}") from None

    def _create_private(self) -> None:
        """Tokens and payloads are in it; SQLite gives its other files the same mode."""
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def _migrate(self, sql: sqlite3.Connection) -> None:
        scripts = {int(script.stem): script for script in self._schema_dir.glob("*.sql")}
        newest = max(scripts)
        (version,) = sql.execute("PRAGMA user_version").fetchone()
        (application_id,) = sql.execute("PRAGMA application_id").fetchone()
        (objects,) = sql.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if objects and application_id != APPLICATION_ID:
            raise LedgerRefused(f"{self._path} is a database of another application")
        if version > newest:
            raise LedgerRefused(
                f"{self._path} has schema {version}, this release knows up to {newest}: start the newer release"
            )
        if version < newest:
            steps = "\n".join(scripts[number].read_text() for number in range(version + 1, newest + 1))
            try:
                sql.executescript(f"BEGIN IMMEDIATE;\n{steps}\nPRAGMA user_version = {newest};\nCOMMIT;")
            except sqlite3.Error:
                if sql.in_transaction:
                    sql.execute("ROLLBACK")
                raise
        sql.execute(
            "INSERT INTO ledger (one, ledger_id, secret) VALUES (1, ?, ?) ON CONFLICT DO NOTHING",
            (secrets.token_hex(8), secrets.token_bytes(32)),
        )

    def _check(self, sql: sqlite3.Connection) -> None:
        sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        found = [row[0] for row in sql.execute("PRAGMA quick_check(3)")]
        if found != ["ok"]:
            raise LedgerUnavailable(f"{self._path} is damaged: {'; '.join(found)}")


def _never_wait(sql: sqlite3.Connection) -> None:
    """From here on who begins a transaction waits for other processes, where and as long as suits it."""
    sql.execute("PRAGMA busy_timeout = 0")


def _snapshot(sql: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    sql.execute("BEGIN")
    try:
        return work(sql)
    finally:
        sql.execute("COMMIT")
