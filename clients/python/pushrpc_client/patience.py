"""When to repeat, how long to wait before, and what ends the wait."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from pushrpc_client.errors import PushError

Clock = Callable[[], float]


class Backoff:
    """Pauses that double from `first` to `last` seconds, each at random between a half and the whole of it."""

    def __init__(self, first: float, last: float, jitter: Callable[[], float] = random.random) -> None:
        self._first, self._last, self._jitter = first, last, jitter
        self._next = first

    def reset(self) -> None:
        self._next = self._first

    def pause(self, error: PushError) -> float:
        """At least what the server asks for."""
        pause = self._next * (0.5 + 0.5 * self._jitter())
        self._next = min(self._last, 2 * self._next)
        return max(pause, error.retry_delay or 0.0)


class Attempts:
    """The tries of one call until its deadline."""

    def __init__(self, timeout: float, now: Clock = time.monotonic) -> None:
        self._now = now
        self._ends = now() + timeout
        self._backoff = Backoff(0.1, 2.0)

    @property
    def left(self) -> float:
        """Seconds until the deadline, never less than 0."""
        return max(0.0, self._ends - self._now())

    def pause(self, error: PushError) -> float:
        """Seconds until the next try. Raises the error when it is final, or there is no time left for one."""
        pause = self._backoff.pause(error)
        if not error.is_transient or pause >= self.left:
            raise error
        return pause


class Pauses:
    """Those of all threads of one client, which end when it is closed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.is_closed = False

    def pause(self, seconds: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Shorter once closed, or when `is_over` is found to be true after a `wake`."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_closed or is_over(), seconds)

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class Cancellable(Protocol):
    """A call of either API."""

    def cancel(self) -> object: ...
