"""The gate: which calls are let in, how many streams at once, and which waits end when the server drains."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TypeVar

from pushrpc.rpc.errors import Reason, Refusal
from pushrpc.rpc.limits import Settings

Value = TypeVar("Value")


class Phase(Enum):
    """STARTING until the ledger is open; DRAINING refuses new calls and lets open ones finish."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class Gate:
    def __init__(self, settings: Settings) -> None:
        self.phase = Phase.STARTING
        self._settings = settings
        self._waits: set[asyncio.Timeout] = set()
        self._streams: Counter[str] = Counter()
        self._bulk_streams = 0

    @property
    def draining(self) -> bool:
        return self.phase is Phase.DRAINING

    def enter(self) -> None:
        """Raises Refusal while the server does not serve."""
        if self.phase is Phase.STARTING:
            raise Refusal(Reason.STARTING, "the server is starting")
        if self.phase is Phase.DRAINING:
            raise Refusal(Reason.DRAINING, "the server is stopping")

    def drain(self) -> None:
        """From now on new calls are refused, and everything inside `unless_draining` stops waiting."""
        self.phase = Phase.DRAINING
        now = asyncio.get_running_loop().time()
        for wait in self._waits:
            wait.reschedule(now)
        self._waits.clear()

    async def unless_draining(self, work: Awaitable[Value]) -> Value | None:
        """Awaits `work`; None when draining began first, which cancels it."""
        try:
            async with asyncio.timeout(0.0 if self.draining else None) as wait:
                self._waits.add(wait)
                try:
                    return await work
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            if not self.draining:
                raise
            return None

    @contextmanager
    def stream(self, app_id: str) -> Iterator[None]:
        """One status stream's place. Raises Refusal when the app or the server has no more."""
        limit = self._settings.streams_per_app_max
        if self._streams[app_id] >= limit:
            raise self._too_many("this app", limit, app_id)
        if self._streams.total() >= self._settings.streams_max:
            raise self._too_many("this server", self._settings.streams_max, app_id)
        self._streams[app_id] += 1
        try:
            yield
        finally:
            self._streams[app_id] -= 1
            if not self._streams[app_id]:
                del self._streams[app_id]

    @contextmanager
    def bulk_stream(self) -> Iterator[None]:
        """One bulk stream's place. Raises Refusal when the server has no more."""
        limit = self._settings.bulk_streams_max
        if self._bulk_streams >= limit:
            raise self._too_many("this server", limit, "server")
        self._bulk_streams += 1
        try:
            yield
        finally:
            self._bulk_streams -= 1

    @staticmethod
    def _too_many(whose: str, limit: int, app_id: str) -> Refusal:
        metadata = {"app_id": app_id, "limit": str(limit)}
        return Refusal(Reason.TOO_MANY_STREAMS, f"{whose} has {limit} streams open", metadata=metadata)
