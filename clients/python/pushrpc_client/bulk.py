"""Bulk sends for threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Self, TypeAlias

import grpc

from pushrpc_client.errors import PushError, closed, ended, given_up, of_one_send, silent, unheard
from pushrpc_client.patience import Backoff, Cancellable, Pauses
from pushrpc_client.v1 import (
    SendNotificationRequest,
    SendNotificationResponse,
    SendNotificationsRequest,
    SendNotificationsResponse,
)
from pushrpc_client.window import ANSWER_TIMEOUT_S, RECONNECT_FIRST_S, RECONNECT_LAST_S, Window

__all__ = ["ANSWER_TIMEOUT_S", "Bulk"]

_Call: TypeAlias = "grpc.StreamStreamMultiCallable[SendNotificationsRequest, SendNotificationsResponse]"
_Future: TypeAlias = "Future[SendNotificationResponse]"


class Bulk:
    """Many sends over one stream, from any number of threads.

    `add` groups them into messages and blocks while as many are unanswered as the server shall have at once: its pace
    is the caller's. A stream that breaks, or brings no answer for `answer_timeout` seconds, is opened again and what it
    left unanswered is repeated, under the same request_ids. When none brings an answer for 20 s more, what is still
    unanswered fails as UNAVAILABLE; whether it was accepted is unknown then, and repeating it with its request_id is
    safe. A refusal that would be said again, such as UNAUTHENTICATED, fails what is unanswered at once. In both cases
    later sends start anew.

    Leaving the `with` block waits until all is answered; leaving it by an exception gives up.
    """

    def __init__(self, call: _Call, pauses: Pauses, app_id: str, answer_timeout: float) -> None:
        self._open = call
        self._pauses = pauses
        self._answer_timeout = answer_timeout
        self._window: Window[_Future] = Window(app_id, answer_timeout)
        self._changed = threading.Condition()
        self._closing = False
        self._is_aborted = False
        self._stream: Cancellable | None = None
        self._opened = 0.0
        self._was_silent = False
        self._generation = 0
        self._thread = threading.Thread(target=self._run, name="pushrpc-bulk", daemon=True)
        self._thread.start()

    def add(self, request: SendNotificationRequest) -> Future[SendNotificationResponse]:
        """Returns once the send is in a message; its receipt, or PushError, comes with the future.

        The future cannot be cancelled. Raises PushError: FIELD_TOO_LONG for a send that no message can carry,
        CLIENT_CLOSED after `close`.
        """
        future: _Future = Future()
        future.set_running_or_notify_cancel()
        with self._changed:
            while True:
                if self._closing:
                    raise closed("bulk", request.request_id)
                if self._window.add(request, future, time.monotonic()):
                    self._changed.notify_all()
                    return future
                self._changed.wait()

    def close(self) -> None:
        """Waits until everything is answered or has failed. Nothing can be added meanwhile, or after."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def abort(self) -> None:
        """Ends the stream now; what is unanswered fails as CANCELLED."""
        with self._changed:
            self._closing = True
            self._is_aborted = True
            self._changed.notify_all()
            if self._stream is not None:
                self._stream.cancel()
        self._pauses.wake()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def _run(self) -> None:
        left = given_up()
        try:
            self._answer_all(Backoff(RECONNECT_FIRST_S, RECONNECT_LAST_S))
        except ValueError:  # gRPC's word for a channel that is closed
            left = closed()
        finally:  # nobody waits for ever, whatever ended it
            with self._changed:
                self._closing = True
            self._fail(left)

    def _answer_all(self, backoff: Backoff) -> None:
        while self._has_work():
            try:
                self._one_stream(backoff)
                failed = ended()
            except grpc.RpcError as error:
                failed = silent(self._answer_timeout) if self._was_silent else PushError.of(error)
            except PushError as error:
                failed = error
            with self._changed:
                self._window.broke()
                if not self._window:
                    continue
                left = self._window.left(time.monotonic())
            if failed.is_final:
                self._fail(failed)
                continue
            self._pauses.pause(min(backoff.pause(failed), left), lambda: self._is_aborted)
            if self._window.left(time.monotonic()) <= 0:
                self._fail(unheard(self._window.patience, failed))

    def _has_work(self) -> bool:
        """Waits for a send; False once closing with nothing left, or when nothing more shall be done."""
        with self._changed:
            self._changed.wait_for(lambda: self._window or self._closing)
            return bool(self._window) and not self._is_aborted

    def _one_stream(self, backoff: Backoff) -> None:
        with self._changed:
            self._generation += 1
            self._opened, self._was_silent = time.monotonic(), False
            stream = self._stream = self._open(self._messages(self._generation))
        try:
            for response in stream:
                with self._changed:
                    answers = self._window.answered(response, time.monotonic())
                    self._changed.notify_all()
                backoff.reset()
                for future, receipt in answers:
                    if isinstance(receipt, PushError):
                        future.set_exception(receipt)
                    else:
                        future.set_result(receipt)
        finally:
            with self._changed:
                self._generation += 1  # ends _messages, which gRPC runs in a thread of its own
                self._changed.notify_all()
            stream.cancel()

    def _messages(self, generation: int) -> Iterator[SendNotificationsRequest]:
        while True:
            with self._changed:
                group = None
                while group is None:
                    if generation != self._generation or (self._closing and not self._window):
                        return
                    now = time.monotonic()
                    if self._window and self._window.left_to(self._opened, now) <= 0:
                        assert self._stream is not None
                        self._was_silent = True
                        self._stream.cancel()
                        return
                    group = self._window.next(now, self._closing)
                    if group is None:
                        self._changed.wait(self._next_look(now))
            yield group.message

    def _next_look(self, now: float) -> float | None:
        due_in = self._window.due_in(now)
        left = max(0.0, self._window.left_to(self._opened, now)) if self._window else None
        return min((each for each in (due_in, left) if each is not None), default=None)

    def _fail(self, error: PushError) -> None:
        with self._changed:
            unanswered = self._window.give_up()
            self._changed.notify_all()
        for future, request_id in unanswered:
            future.set_exception(of_one_send(error, request_id))
