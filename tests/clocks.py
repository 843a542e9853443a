"""A clock that tests move by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class ManualClock:
    """Stands still until `advance`; sleepers wake in the order of their due times."""

    def __init__(self, start_us: int = 1_800_000_000_000_000) -> None:
        self._now_us = start_us
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Event]] = []

    def now_us(self) -> int:
        return self._now_us

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (self._now_us + round(seconds * 1e6), next(self._order), woken))
        await woken.wait()

    def advance(self, seconds: float) -> None:
        """Moves time on; may be negative, as a real clock that is set back."""
        self._now_us += round(seconds * 1e6)
        while self._sleepers and self._sleepers[0][0] <= self._now_us:
            heapq.heappop(self._sleepers)[2].set()

    async def run_until_idle(self, rounds: int = 200) -> None:
        """Lets every task that can run do so; enough for code whose only waits are events and this clock."""
        for _ in range(rounds):
            await asyncio.sleep(0)
