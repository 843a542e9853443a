"""Following for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypeAlias

import grpc

from pushrpc_client.errors import PushError, closed, silent
from pushrpc_client.following import Position
from pushrpc_client.streams_aio import Streams, is_cancelled
from pushrpc_client.v1 import (
    DeliveryCounts,
    DeliveryEvent,
    StreamDeliveryStatusRequest,
    StreamDeliveryStatusResponse,
)

_Call: TypeAlias = "grpc.aio.UnaryStreamMultiCallable[StreamDeliveryStatusRequest, StreamDeliveryStatusResponse]"


class AsyncFollowing(AsyncIterator[DeliveryEvent]):
    """An iterator of events; one task at a time. Nothing is read ahead: who reads slowly slows the server down.

    The stream opens with the first event that is asked for, or on entering an `async with` block, which returns once
    the server has fixed where it begins. It ends when all named notifications are final, with `aclose`, or with
    PushError: a final refusal, such as CURSOR_EXPIRED, or no server within `open_timeout` at the first opening. Once
    it has begun it comes back for as long as it takes, also from a stream that is silent for 60 s.
    """

    def __init__(
        self, call: _Call, streams: Streams, request: StreamDeliveryStatusRequest, open_timeout: float
    ) -> None:
        self._open = call
        self._streams = streams
        self._open_timeout = open_timeout
        self._position = Position(request)
        self._pages = self._read()
        self._first: StreamDeliveryStatusResponse | None = None
        self._events = self._give()

    @property
    def cursor(self) -> str:
        """Everything up to here was given out: keep it with what you did, and pass it to `follow` to resume.

        It moves with the last event of each page the server sent, so what follows it may be seen again.
        """
        return self._position.cursor

    @property
    def counts(self) -> DeliveryCounts | None:
        """Of the named notifications, once all were final."""
        return self._position.counts

    async def __anext__(self) -> DeliveryEvent:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Ends the stream. Not while another task waits for an event: cancel that task instead."""
        await self._events.aclose()
        await self._pages.aclose()

    async def __aenter__(self) -> Self:
        first = await anext(self._pages, None)
        if first is not None and not first.events:
            self._position.took(first)
        else:
            self._first = first
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _give(self) -> AsyncGenerator[DeliveryEvent, None]:
        position = self._position
        page = self._first or await anext(self._pages, None)
        while page is not None:
            *events, last = page.events or (None,)
            for event in events:
                if event is not None:
                    yield event
            position.took(page)
            if last is not None:
                yield last
            page = await anext(self._pages, None)

    async def _read(self) -> AsyncGenerator[StreamDeliveryStatusResponse, None]:
        """Messages of one stream after the other. Each must be taken into the position before the next."""
        position, now = self._position, asyncio.get_running_loop().time
        opened_by = now() + self._open_timeout
        while not position.is_over:
            failed, was_silent = None, False
            try:
                async with aclosing(self._one_stream(opened_by - now())) as pages:
                    async for page in pages:
                        yield page
            except PushError as error:
                failed, was_silent = error, True
            except grpc.aio.UsageError:  # gRPC's word for a channel that is closed
                raise closed() from None
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                raise closed() from None
            except grpc.aio.AioRpcError as error:
                failed = PushError.of(error)
            if position.is_over:
                return
            pause = position.pause(failed, was_silent)
            if not position.was_open and now() + pause > opened_by:
                raise position.unopened(self._open_timeout) from failed
            await self._streams.pause(pause)

    async def _one_stream(self, left_to_open: float) -> AsyncGenerator[StreamDeliveryStatusResponse, None]:
        """Raises PushError when nothing is said for too long, counted only while somebody listens."""
        position = self._position
        stream = self._streams.opened(self._open(position.request))
        try:
            while True:
                patience = position.patience(left_to_open)
                try:
                    async with asyncio.timeout(patience):
                        page = await stream.read()
                except TimeoutError:
                    raise silent(patience) from None
                if not isinstance(page, StreamDeliveryStatusResponse):
                    return
                position.opened()
                yield page
        finally:
            stream.cancel()
