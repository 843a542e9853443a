"""Following for threads."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self, TypeAlias

import grpc

from pushrpc_client import following
from pushrpc_client.errors import PushError, closed, silent
from pushrpc_client.following import Position
from pushrpc_client.patience import Cancellable, Pauses
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
    Once it has begun it comes back for as long as it takes, also from a stream that is silent for 60 s.
    """

    def __init__(self, call: _Call, pauses: Pauses, request: StreamDeliveryStatusRequest, open_timeout: float) -> None:
        self._open = call
        self._pauses = pauses
        self._open_timeout = open_timeout
        self._position = Position(request)
        self._is_closed = False
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
        self._is_closed = True
        self._pauses.wake()
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
        while not (position.is_over or self._is_closed):
            failed, was_silent = None, False
            try:
                yield from self._one_stream(opened_by)
            except grpc.RpcError as error:
                failed = PushError.of(error)
            except PushError as error:
                failed, was_silent = error, True
            except ValueError:  # gRPC's word for a channel that is closed
                raise closed() from None
            if position.is_over or self._is_closed:
                return
            pause = position.pause(failed, was_silent)
            if not position.was_open and time.monotonic() + pause > opened_by:
                raise position.unopened(self._open_timeout) from failed
            self._pauses.pause(pause, lambda: self._is_closed)

    def _one_stream(self, opened_by: float) -> Iterator[StreamDeliveryStatusResponse]:
        position = self._position
        stream = self._stream = self._open(position.request)
        if self._is_closed:  # before there was a stream to cancel
            stream.cancel()
        watchdog = _Watchdog(stream, position.patience(opened_by - time.monotonic()))
        try:
            for page in stream:
                watchdog.rest()
                position.opened()
                yield page
                watchdog.listen(position.patience(0.0))
        except grpc.RpcError:
            if watchdog.barked is None:
                raise
            raise silent(watchdog.barked) from None
        finally:
            watchdog.end()
            stream.cancel()


class _Watchdog:
    """Cancels a stream that says nothing while somebody listens; a reader that is busy elsewhere may take its time.

    One thread for a stream, not one for a message: it sleeps to the time that was set when it last looked. A message
    only ever moves that time away, and by SILENCE_S at least, which is as long as it sleeps at most.
    """

    def __init__(self, stream: Cancellable, seconds: float) -> None:
        self.barked: float | None = None
        self._stream = stream
        self._over = threading.Event()
        self.listen(seconds)
        threading.Thread(target=self._watch, name="pushrpc-follow", daemon=True).start()

    def listen(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    def rest(self) -> None:
        self._until = math.inf

    def end(self) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(max(0.0, min(self._until - time.monotonic(), following.SILENCE_S))):
            if time.monotonic() >= self._until:
                self.barked = self._seconds
                self._stream.cancel()
                return
