"""Single requests to providers beside their lanes: topic membership, channels, validation, feedback, installations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from pushrpc.exchange import Answer, Endpoint, NotSent, Requests
from pushrpc.transport import Sessions

# Every endpoint that calls go to: a few for each account, and accounts beyond this many take turns.
ENDPOINTS_MAX: Final = 128
# Calls under way at once. Each is one caller of ours waiting, and they come by the dozen at most.
CALLS_MAX: Final = 512
# Calls come in bursts (a thousand tokens join a topic), and a handshake for each would cost more than the call.
KEEP_S: Final = 60.0


class _Kept:
    """The sessions to one endpoint, and how many calls are using them."""

    __slots__ = ("calls", "sessions", "timer")

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.calls = 0
        self.timer: asyncio.TimerHandle | None = None


class Calls:
    """Sends a call's single row through sessions that are no lane's. Belongs to one event loop; its owner closes it.

    Sessions are kept for a minute after their last call, to at most `endpoints_max` endpoints.
    """

    def __init__(
        self,
        open_sessions: Callable[[Endpoint], Sessions],
        endpoints_max: int = ENDPOINTS_MAX,
        calls_max: int = CALLS_MAX,
        keep_s: float = KEEP_S,
    ) -> None:
        self._open_sessions = open_sessions
        self._endpoints_max = endpoints_max
        self._calls_max = calls_max
        self._keep_s = keep_s
        self._kept: dict[Endpoint, _Kept] = {}  # the one used longest ago first
        self._calls = 0
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __call__(self, endpoint: Endpoint, requests: Requests, timeout_s: float) -> Answer:
        """The answer to the only row of `requests`, at the latest after `timeout_s`. Never repeats by itself."""
        assert len(requests.rows) == 1
        if self._closed:
            return NotSent("the server is stopping")
        if self._calls >= self._calls_max:
            return NotSent(f"{self._calls_max} calls are under way already")
        kept = self._take(endpoint)
        if kept is None:
            return NotSent(f"calls to {self._endpoints_max} endpoints are under way already")
        self._calls += 1
        kept.calls += 1
        try:
            async with aclosing(kept.sessions.send(requests, timeout_s)) as pages:
                async for page in pages:
                    return page[0][1]
            raise AssertionError("sessions answer every row")
        finally:
            self._calls -= 1
            kept.calls -= 1
            if kept.calls == 0 and not self._closed:
                kept.timer = asyncio.get_running_loop().call_later(self._keep_s, self._drop, endpoint)

    async def close(self) -> None:
        """Closes all sessions; what is on the wire becomes NoAnswer."""
        self._closed = True
        for endpoint in list(self._kept):
            self._drop(endpoint)
        await asyncio.gather(*self._closing)

    def _take(self, endpoint: Endpoint) -> _Kept | None:
        kept = self._kept.pop(endpoint, None)
        if kept is None:
            if len(self._kept) >= self._endpoints_max:
                idle = next((e for e, k in self._kept.items() if k.calls == 0), None)
                if idle is None:
                    return None
                self._drop(idle)
            kept = _Kept(self._open_sessions(endpoint))
        self._kept[endpoint] = kept
        if kept.timer is not None:
            kept.timer.cancel()
        return kept

    def _drop(self, endpoint: Endpoint) -> None:
        kept = self._kept.pop(endpoint)
        if kept.timer is not None:
            kept.timer.cancel()
        task = asyncio.get_running_loop().create_task(kept.sessions.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
