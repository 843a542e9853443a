"""Following for threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self, TypeAlias

import grpc

from pushrpc_client.errors import PushError, closed, unopened
from pushrpc_client.following import Position
from pushrpc_client.patience import Cancellable
from pushrpc_client.v1 import (
    DeliveryCounts,
    DeliveryEvent,
    StreamDeliveryStatusRequest,
    StreamDeliveryStatusResponse,
)

_Call: TypeAlias = "grpc.UnaryStreamMultiCallable[StreamDeliveryStatusRequest, StreamDeliveryStatusResponse]"


class Following(Iterator[DeliveryEvent]):
    """An iterator of events; one thread at a time. Nothing is read ahead: who reads slowly slows the server down.

    The stream opens with the first event that is asked for, or on entering a `with` block, which returns once the
    server has fixed where it begins. It ends when all named notifications are final, on `close` (from any thread), or
    with PushError: a final refusal, such as CURSOR_EXPIRED, or no server within `open_timeout` at the first opening.
    Later it reconnects for as long as it takes.
    """

    def __init__(self, call: _Call, request: StreamDeliveryStatusRequest, open_timeout: float) -> None:
        self._open = call
        self._open_timeout = open_timeout
        self._position = Position(request)
        self._closed = threading.Event()
        self._stream: Cancellable | None = None
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

    def __next__(self) -> DeliveryEvent:
        return next(self._events)

    def close(self) -> None:
        """Ends the iteration, also where another thread waits in it."""
        self._closed.set()
        if self._stream is not None:
            self._stream.cancel()

    def __enter__(self) -> Self:
        first = next(self._pages, None)
        if first is not None and not first.events:
            self._position.took(first)
        else:
            self._first = first
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _give(self) -> Iterator[DeliveryEvent]:
        position = self._position
        page = self._first or next(self._pages, None)
        while page is not None:
            *events, last = page.events or (None,)
            yield from filter(None, events)
            position.took(page)
            if last is not None:
                yield last
            page = next(self._pages, None)

    def _read(self) -> Iterator[StreamDeliveryStatusResponse]:
        """Messages of one stream after the other. Each must be taken into the position before the next."""
        position = self._position
        opened_by = time.monotonic() + self._open_timeout
        while not (position.is_over or self._closed.is_set()):
            failed = None
            try:
                yield from self._one_stream(opened_by)
            except grpc.RpcError as error:
                failed = PushError.of(error)
            except ValueError:  # gRPC's word for a channel that is closed
                raise closed() from None
            if position.is_over or self._closed.is_set():
                return
            pause = position.pause(failed)
            if not position.was_open and time.monotonic() + pause > opened_by:
                raise unopened(self._open_timeout, failed)
            self._closed.wait(pause)

    def _one_stream(self, opened_by: float) -> Iterator[StreamDeliveryStatusResponse]:
        position = self._position
        left = self._open_timeout if position.was_open else max(0.0, opened_by - time.monotonic())
        stream = self._stream = self._open(position.request)
        silence = threading.Timer(left, stream.cancel)
        silence.daemon = True
        silence.start()
        try:
            for page in stream:
                silence.cancel()
                position.opened()
                yield page
        finally:
            silence.cancel()
            stream.cancel()
