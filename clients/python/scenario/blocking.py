"""An AsyncClient behind the methods of a Client, so that one scenario and one set of tests see both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any

from pushrpc_client import AsyncBulk, AsyncClient, AsyncFollowing, v1

WAIT_S = 60.0

Wait = Callable[[Coroutine[Any, Any, Any]], Any]


class Blocking:
    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

        async def made() -> AsyncClient:
            return AsyncClient(*arguments, **options)

        self._push: AsyncClient = self._wait(made())

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._push, name)
        return lambda *arguments, **options: self._wait(method(*arguments, **options))

    def follow(self, *ids: str, **options: Any) -> BlockingFollowing:
        return BlockingFollowing(self._push.follow(*ids, **options), self._wait)

    def bulk(self, **options: Any) -> BlockingBulk:
        async def opened() -> AsyncBulk:
            return self._push.bulk(**options)

        return BlockingBulk(self._wait(opened()), self._wait)

    def close(self) -> None:
        self._wait(self._push.close())


class BlockingFollowing(Iterator[v1.DeliveryEvent]):
    def __init__(self, events: AsyncFollowing, wait: Wait) -> None:
        self._events, self._wait = events, wait

    def __enter__(self) -> BlockingFollowing:
        self._wait(self._events.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._events.aclose())

    def __next__(self) -> v1.DeliveryEvent:
        async def step(events: AsyncIterator[v1.DeliveryEvent]) -> v1.DeliveryEvent | None:
            return await anext(events, None)

        event: v1.DeliveryEvent | None = self._wait(step(self._events))
        if event is None:
            raise StopIteration
        return event

    @property
    def counts(self) -> v1.DeliveryCounts | None:
        return self._events.counts

    @property
    def cursor(self) -> str:
        return self._events.cursor


class BlockingBulk:
    def __init__(self, bulk: AsyncBulk, wait: Wait) -> None:
        self._bulk, self._wait = bulk, wait

    def add(self, request: v1.SendNotificationRequest) -> BlockingFuture:
        return BlockingFuture(self._wait(self._bulk.add(request)), self._wait)

    def __enter__(self) -> BlockingBulk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wait(self._bulk.__aexit__(kind, error, trace))


class BlockingFuture:
    def __init__(self, future: asyncio.Future[v1.SendNotificationResponse], wait: Wait) -> None:
        self._future, self._wait = future, wait

    def result(self) -> Any:
        async def told() -> Any:
            return await self._future

        return self._wait(told())

    def exception(self) -> BaseException | None:
        try:
            self.result()
        except Exception as error:
            return error
        return None
