"""Where a follower stands across streams: what it asks for next, and what a message changes."""

from __future__ import annotations

import logging

from pushrpc_client.errors import PushError, ended, unopened
from pushrpc_client.patience import Backoff
from pushrpc_client.v1 import DeliveryCounts, StreamDeliveryStatusRequest, StreamDeliveryStatusResponse

log = logging.getLogger("pushrpc_client")

OPEN_TIMEOUT_S = 20.0  # the server speaks at once when it has caught up, and after 15 s at the latest
SILENCE_S = 60.0  # four heartbeats
RECONNECT_FIRST_S = 0.1
RECONNECT_LAST_S = 5.0


def wanted(request: StreamDeliveryStatusRequest) -> StreamDeliveryStatusRequest:
    """A cursor is where a stream begins, so `start` beside one says nothing; the server would refuse both."""
    if request.cursor:
        request.ClearField("start")
    return request


class Position:
    """Not for several threads at once."""

    def __init__(self, request: StreamDeliveryStatusRequest) -> None:
        self.request = request
        self.counts: DeliveryCounts | None = None
        self.is_over = False
        self.was_open = False
        self._last: PushError | None = None
        self._delay: float | None = None
        self._backoff = Backoff(RECONNECT_FIRST_S, RECONNECT_LAST_S)

    @property
    def cursor(self) -> str:
        return self.request.cursor

    def took(self, page: StreamDeliveryStatusResponse) -> None:
        """After its last event was given out."""
        self.request.cursor = page.cursor
        self.request.ClearField("start")
        match page.WhichOneof("signal"):
            case "end":
                self.counts = page.end.counts
                self.is_over = True
            case "reconnect":
                self._delay = page.reconnect.delay.ToTimedelta().total_seconds()

    def opened(self) -> None:
        """With the first message of a stream."""
        self.was_open = True
        self._backoff.reset()

    def patience(self, left_to_open: float) -> float:
        """Seconds that the next message may take."""
        return SILENCE_S if self.was_open else max(0.0, left_to_open)

    def pause(self, error: PushError | None, was_silent: bool = False) -> float:
        """Seconds until the next stream, when one ended with an error or by itself. Raises what is final."""
        asked, self._delay = self._delay, None
        if error is None and asked is not None:
            return asked
        if error is not None and error.is_final:
            raise error
        error = error or ended()
        if not was_silent:
            self._last = error
        pause = self._backoff.pause(error)
        log.info("status stream ended (%s), next one in %.1f s", error, pause)
        return pause

    def unopened(self, timeout: float) -> PushError:
        """No stream has begun. A silence at the end hides nothing that was said before it."""
        return unopened(timeout, self._last)
