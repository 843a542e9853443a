"""Bulk sends for threads."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
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
from pushrpc_client.window import ANSWER_TIMEOUT_S, RECONNECT_FIRST_S, RECONNECT_LAST_S, Receipt, Window

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

    Callbacks of the futures run one after the other, in a thread that does nothing else: they may `add` and `close`.

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
        self._was_silent = False
        self._generation = 0
        self._settled: queue.SimpleQueue[list[tuple[_Future, Receipt]] | None] = queue.SimpleQueue()
        self._settling: threading.Thread | None = None
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
        self._join()

    def abort(self) -> None:
        """Ends the stream now; what is unanswered fails as CANCELLED."""
        with self._changed:
            self._closing = True
            self._is_aborted = True
            self._changed.notify_all()
            if self._stream is not None:
                self._stream.cancel()
        self._pauses.wake()
        self._join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def _join(self) -> None:
        self._thread.join()
        if self._settling not in (None, threading.current_thread()):  # a callback does not wait for itself
            self._settling.join()

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
            self._settled.put(None)

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
            self._was_silent = False
            stream = self._stream = self._open(self._messages(self._generation))
        over = threading.Event()
        try:
            watch = (stream, time.monotonic(), over)
            threading.Thread(target=self._watch, args=watch, name="pushrpc-bulk-watch", daemon=True).start()
            for response in stream:
                with self._changed:
                    answers = self._window.answered(response, time.monotonic())
                    self._changed.notify_all()
                backoff.reset()
                self._settle(answers)
        finally:
            with self._changed:
                over.set()
                self._generation += 1  # ends _messages, which gRPC runs in a thread of its own
                self._changed.notify_all()
            stream.cancel()

    def _watch(self, stream: Cancellable, opened: float, over: threading.Event) -> None:
        """Cancels a stream that is silent. _messages cannot: gRPC asks it for nothing while a message is not written.

        Sends and answers only ever move the time away, so it sleeps to the one that was set when it last looked.
        """
        left = 0.0
        while not over.wait(left):
            with self._changed:
                left = self._window.left_to(opened, time.monotonic()) if self._window else self._answer_timeout
                if left <= 0 and not over.is_set():
                    self._was_silent = True
                    stream.cancel()
                    return

    def _messages(self, generation: int) -> Iterator[SendNotificationsRequest]:
        while True:
            with self._changed:
                group = None
                while group is None:
                    if generation != self._generation or (self._closing and not self._window):
                        return
                    now = time.monotonic()
                    group = self._window.next(now, self._closing)
                    if group is None:
                        self._changed.wait(self._window.due_in(now))
            yield group.message

    def _fail(self, error: PushError) -> None:
        with self._changed:
            unanswered = self._window.give_up()
            self._changed.notify_all()
        self._settle([(future, of_one_send(error, request_id)) for future, request_id in unanswered])

    def _settle(self, answers: list[tuple[_Future, Receipt]]) -> None:
        """Leaves it to another thread: a callback that waits in `add` waits for the answers that this one reads."""
        if answers and self._settling is None:
            self._settling = threading.Thread(target=self._tell, name="pushrpc-bulk-settle", daemon=True)
            self._settling.start()
        self._settled.put(answers)

    def _tell(self) -> None:
        while (answers := self._settled.get()) is not None:
            for future, receipt in answers:
                with suppress(BaseException):  # such as SystemExit from a callback; the others are told all the same
                    if isinstance(receipt, PushError):
                        future.set_exception(receipt)
                    else:
                        future.set_result(receipt)
