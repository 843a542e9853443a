"""A server that does what a test tells it to, over a real socket, with the servicer that the package brings."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NoReturn

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from pushrpc_client import v1

WAIT_S = 20.0


class Refuses(Exception):
    """Has the call end with a status, and with google.rpc details when there is a reason."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str = "",
        retry_delay: float | None = None,
        fields: Sequence[tuple[str, str]] = (),
        domain: str = "pushrpc.v1",
        **metadata: str,
    ) -> None:
        super().__init__(code, reason)
        self.code = code
        details: list[Message] = []
        if reason:
            details.append(error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata))
        if fields:
            bad = error_details_pb2.BadRequest()
            for field, description in fields:
                bad.field_violations.add(field=field, description=description)
            details.append(bad)
        if retry_delay is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(int(retry_delay * 1000))
            details.append(retry)
        self.status = status_pb2.Status(code=code.value[0], message="refused")
        for detail in details:
            self.status.details.add().Pack(detail)

    def end(self, context: grpc.ServicerContext) -> NoReturn:
        if self.status.details:
            context.set_trailing_metadata((("grpc-status-details-bin", self.status.SerializeToString()),))
        context.abort(self.code, "refused")
        raise AssertionError("abort raises")


UNAVAILABLE = Refuses(grpc.StatusCode.UNAVAILABLE)

Page = v1.StreamDeliveryStatusResponse
Script = Callable[[v1.StreamDeliveryStatusRequest, grpc.ServicerContext], Iterator[Page]]
BulkScript = Callable[[Iterator[v1.SendNotificationsRequest]], Iterator[v1.SendNotificationsResponse]]


class Fake(v1.PushServiceServicer):
    """`sends`, `followed` and `messages` are what came; `answers`, `streams` and `bulks` say what to do with the next
    ones, the last of them again and again."""

    def __init__(self) -> None:
        self.address = ""
        self.sends: list[v1.SendNotificationRequest] = []
        self.metadata: list[dict[str, Any]] = []
        self.followed: list[v1.StreamDeliveryStatusRequest] = []
        self.messages: queue.Queue[v1.SendNotificationsRequest] = queue.Queue()
        self.answers: list[v1.SendNotificationResponse | Refuses] = [v1.SendNotificationResponse(notification_id="n")]
        self.streams: list[Script] = []
        self.bulks: list[BulkScript] = [answer_all]
        self.reports: list[Refuses | None] = [None]
        self.ended = threading.Event()

    def SendNotification(self, request: v1.SendNotificationRequest, context: Any) -> v1.SendNotificationResponse:
        self.sends.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        answer: v1.SendNotificationResponse | Refuses = _next(self.answers)
        if isinstance(answer, Refuses):
            answer.end(context)
        return answer

    def ReportEngagement(self, request: v1.ReportEngagementRequest, context: Any) -> v1.ReportEngagementResponse:
        answer = _next(self.reports)
        if isinstance(answer, Refuses):
            answer.end(context)
        return v1.ReportEngagementResponse()

    def GetServerInfo(self, request: v1.GetServerInfoRequest, context: Any) -> v1.GetServerInfoResponse:
        return v1.GetServerInfoResponse(server_version=request.app_id)

    def StreamDeliveryStatus(self, request: v1.StreamDeliveryStatusRequest, context: Any) -> Iterator[Page]:
        self.followed.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        context.add_callback(self.ended.set)
        try:
            yield from _next(self.streams)(request, context)
        except Refuses as refusal:
            refusal.end(context)

    def SendNotifications(self, request_iterator: Any, context: Any) -> Iterator[v1.SendNotificationsResponse]:
        self.metadata.append(dict(context.invocation_metadata()))
        try:
            yield from _next(self.bulks)(self._noted(request_iterator))
        except Refuses as refusal:
            refusal.end(context)

    def _noted(self, requests: Iterator[v1.SendNotificationsRequest]) -> Iterator[v1.SendNotificationsRequest]:
        for request in requests:
            self.messages.put(request)
            yield request


def _next(script: list[Any]) -> Any:
    return script.pop(0) if len(script) > 1 else script[0]


def answer_all(requests: Iterator[v1.SendNotificationsRequest]) -> Iterator[v1.SendNotificationsResponse]:
    for request in requests:
        yield receipts(request)


def receipts(request: v1.SendNotificationsRequest) -> v1.SendNotificationsResponse:
    """Each is accepted under its request_id, but for those that have none for a target."""
    response = v1.SendNotificationsResponse(sequence=request.sequence)
    for send in request.sends:
        receipt = response.receipts.add(request_id=send.request_id)
        if send.HasField("target"):
            receipt.accepted.notification_id = f"n-{send.request_id}"
        else:
            receipt.error.code, receipt.error.reason = 3, "TARGET_EMPTY"
            receipt.error.field_violations.add(field="target", description="names nothing")
    return response


@contextmanager
def serving(
    fake: Fake,
    address: str = "127.0.0.1:0",
    credentials: grpc.ServerCredentials | None = None,
    options: Sequence[tuple[str, int]] = (),
) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(16), options=(("grpc.so_reuseport", 0), *options))
    v1.add_PushServiceServicer_to_server(fake, server)
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield f"{address.rpartition(':')[0]}:{port}"
    finally:
        server.stop(0).wait(WAIT_S)
