"""Bulk sends for asyncio."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeAlias

import grpc

from pushrpc_client.errors import PushError, closed, ended, given_up, of_one_send, silent, unheard
from pushrpc_client.patience import Backoff
from pushrpc_client.streams_aio import Streams, is_cancelled
from pushrpc_client.v1 import (
    SendNotificationRequest,
    SendNotificationResponse,
    SendNotificationsRequest,
    SendNotificationsResponse,
)
from pushrpc_client.window import RECONNECT_FIRST_S, RECONNECT_LAST_S, Window

_Call: TypeAlias = "grpc.aio.StreamStreamMultiCallable[SendNotificationsRequest, SendNotificationsResponse]"
_Stream: TypeAlias = "grpc.aio.StreamStreamCall[SendNotificationsRequest, SendNotificationsResponse]"
_Future: TypeAlias = "asyncio.Future[SendNotificationResponse]"


class AsyncBulk:
    """Many sends over one stream, from any number of tasks of one event loop.

    `add` groups them into messages and waits while as many are unanswered as the server shall have at once: its pace
    is the caller's. A stream that breaks, or brings no answer for `answer_timeout` seconds, is opened again and what it
    left unanswered is repeated, under the same request_ids. When none brings an answer for 20 s more, what is still
    unanswered fails as UNAVAILABLE; whether it was accepted is unknown then, and repeating it with its request_id is
    safe. A refusal that would be said again, such as UNAUTHENTICATED, fails what is unanswered at once. In both cases
    later sends start anew.

    Leaving the block waits until all is answered; leaving it by an exception gives up.
    """

    def __init__(self, call: _Call, streams: Streams, app_id: str, answer_timeout: float) -> None:
        self._open = call
        self._streams = streams
        self._answer_timeout = answer_timeout
        self._window: Window[_Future] = Window(app_id, answer_timeout)
        self._changed = asyncio.Event()  # a new one after each change, so that every waiter hears of it
        self._closing = False
        self._opened = 0.0
        self._now = asyncio.get_running_loop().time
        self._task = asyncio.create_task(self._run(), name="pushrpc-bulk")

    async def add(self, request: SendNotificationRequest) -> asyncio.Future[SendNotificationResponse]:
        """Returns once the send is in a message; its receipt, or PushError, comes with the future.

        Raises PushError: FIELD_TOO_LONG for a send that no message can carry, CLIENT_CLOSED after `aclose`.
        """
        future: _Future = asyncio.get_running_loop().create_future()
        while True:
            if self._closing:
                raise closed("bulk", request.request_id)
            if self._window.add(request, future, self._now()):
                self._tell()
                return future
            await self._changed.wait()

    async def aclose(self) -> None:
        """Waits until everything is answered or has failed. Nothing can be added meanwhile, or after."""
        self._closing = True
        self._tell()
        try:
            await asyncio.wait([self._task])
        except asyncio.CancelledError:
            self._task.cancel()
            raise

    async def abort(self) -> None:
        """Ends the stream now; what is unanswered fails as CANCELLED."""
        self._closing = True
        self._task.cancel()
        await asyncio.wait([self._task])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.aclose()
        else:
            await self.abort()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _run(self) -> None:
        left = closed()
        try:
            await self._answer_all(Backoff(RECONNECT_FIRST_S, RECONNECT_LAST_S))
        except grpc.aio.UsageError:  # gRPC's word for a channel that is closed
            pass
        except asyncio.CancelledError:  # by abort, or by gRPC with the channel
            if is_cancelled():
                left = given_up()
                raise
        finally:  # nobody waits for ever, whatever ended it
            self._closing = True
            self._fail(left)

    async def _answer_all(self, backoff: Backoff) -> None:
        while await self._has_work():
            try:
                await self._one_stream(backoff)
                failed = ended()
            except TimeoutError:
                failed = silent(self._answer_timeout)
            except grpc.aio.AioRpcError as error:
                failed = PushError.of(error)
            except PushError as error:
                failed = error
            self._window.broke()
            if not self._window:
                continue
            if failed.is_final:
                self._fail(failed)
                continue
            await self._streams.pause(min(backoff.pause(failed), self._window.left(self._now())))
            if self._window.left(self._now()) <= 0:
                self._fail(unheard(self._window.patience, failed))

    async def _has_work(self) -> bool:
        """Waits for a send; False once closing with nothing left."""
        while not self._window and not self._closing:
            await self._changed.wait()
        return bool(self._window)

    async def _one_stream(self, backoff: Backoff) -> None:
        """Raises TimeoutError when no answer comes in time; a stream without work may end so, too."""
        self._opened = self._now()
        stream = self._streams.opened(self._open())
        writer = asyncio.create_task(self._write(stream))
        try:
            while True:
                async with asyncio.timeout_at(self._late_at()):
                    response = await stream.read()
                if not isinstance(response, SendNotificationsResponse):
                    return
                answers = self._window.answered(response, self._now())
                backoff.reset()
                for future, receipt in answers:
                    if future.done():  # its task was cancelled
                        continue
                    if isinstance(receipt, PushError):
                        future.set_exception(receipt)
                    else:
                        future.set_result(receipt)
                self._tell()
        finally:
            writer.cancel()
            stream.cancel()
            await asyncio.gather(writer, return_exceptions=True)  # a broken stream is the reader's to tell

    async def _write(self, stream: _Stream) -> None:
        while self._window or not self._closing:
            now = self._now()
            group = self._window.next(now, self._closing)
            if group is not None:
                await stream.write(group.message)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(self._window.due_in(now)):
                    await self._changed.wait()
        await stream.done_writing()

    def _late_at(self) -> float:
        now = self._now()
        return now + (self._window.left_to(self._opened, now) if self._window else self._answer_timeout)

    def _fail(self, error: PushError) -> None:
        for future, request_id in self._window.give_up():
            if not future.done():
                future.set_exception(of_one_send(error, request_id))
        self._tell()
