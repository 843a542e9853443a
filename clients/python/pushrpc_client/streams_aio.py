"""The open streams, and the pauses, of one AsyncClient, which end with it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TypeVar
from weakref import WeakSet

from pushrpc_client.patience import Cancellable

Stream = TypeVar("Stream", bound=Cancellable)


class Streams:
    """Cancels them itself: whether gRPC ends a stream with its channel differs between releases of grpcio."""

    def __init__(self) -> None:
        self._open: WeakSet[Cancellable] = WeakSet()
        self._closed = asyncio.Event()

    def opened(self, stream: Stream) -> Stream:
        """Until it ends, or nobody holds it any more."""
        self._open.add(stream)
        return stream

    async def pause(self, seconds: float) -> None:
        """Between two tries. Shorter once closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    def close(self) -> None:
        """May be called again."""
        self._closed.set()
        for stream in list(self._open):
            stream.cancel()


def is_cancelled() -> bool:
    """Whether it is the task that was cancelled, and not a call of it, which gRPC tells in the same way."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
