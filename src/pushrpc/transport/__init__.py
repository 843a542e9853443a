"""Transport: moves requests and tells honestly what became of each. The only room with sockets and TLS.

It never repeats a request by itself: only the caller knows whether a repeat is safe, so NotSent and NoAnswer are told
apart and handed back.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from pushrpc.exchange import Endpoint, Page, Request, Requests, Response


class ExchangeFailed(Exception):
    """A single request (`fetch`) got no answer."""


class Sessions(Protocol):
    """The pooled sessions of one lane."""

    on_room: Callable[[], None]
    """Called when there may be more room than before, also without an answer. Set by whoever owns the sessions."""

    def send(
        self, requests: Requests, timeout_s: float, start_within_s: float | None = None
    ) -> AsyncGenerator[Page, None]:
        """Yields pages of (row position, answer) as they come in; every row is answered exactly once.

        A row without an answer after `timeout_s` is NoAnswer if any of it may have left, else NotSent. A row that no
        session has taken after `start_within_s` is NotSent, while what is on the wire goes on. The iterator
        must be exhausted or closed; closing it early resets what is still open.
        """
        ...

    def retire(self, session: int) -> None:
        """Stops giving work to a session and closes it when what is open on it has ended."""
        ...

    def retire_all(self) -> None:
        """After a credential change: what is open may end, new work goes to new sessions."""
        ...

    @property
    def open_count(self) -> int: ...

    @property
    def room(self) -> int:
        """How many more requests could be on the wire now, one session's worth when none is open yet."""
        ...

    async def close(self) -> None: ...


class Fetch(Protocol):
    """One request over HTTP/1.1, for credential renewals. Raises ExchangeFailed."""

    async def __call__(self, request: Request, timeout_s: float) -> Response: ...


def open_sessions(endpoint: Endpoint) -> Sessions:
    """The sessions of a new lane; nothing is dialled before rows need it."""
    if endpoint.http2:
        from pushrpc.transport.pool import Pool

        return Pool(endpoint)
    from pushrpc.transport.http1_sessions import HttpSessions

    return HttpSessions(endpoint)
