"""What is filled in before a request leaves. The caller's own message stays as it is."""

from __future__ import annotations

import uuid
from typing import Protocol, Self, TypeVar

from pushrpc_client.errors import too_long
from pushrpc_client.v1 import SendNotificationRequest

TIMEOUT_S = 10.0
REQUEST_BYTES_MAX = 4 * 1024 * 1024  # what the server reads; gRPC's own word for more would not say what is wrong


class OfAnApp(Protocol):
    """Every request of the contract."""

    app_id: str

    def CopyFrom(self, other: Self, /) -> None: ...

    def ByteSize(self) -> int: ...


Request = TypeVar("Request", bound=OfAnApp)


def addressed(request: Request, app_id: str) -> Request:
    """With the client's app, unless it names one. Raises PushError for one that no server would read."""
    if not request.app_id:
        whole = type(request)()
        whole.CopyFrom(request)
        whole.app_id = app_id
        request = whole
    if (size := request.ByteSize()) > REQUEST_BYTES_MAX:
        raise too_long(size, REQUEST_BYTES_MAX)
    return request


def sendable(request: SendNotificationRequest, app_id: str) -> SendNotificationRequest:
    """With the client's app and an idempotency key, unless it has them, so that a repeat is no second notification.

    Raises PushError for one that no server would read.
    """
    if not (request.app_id and request.request_id):
        whole = SendNotificationRequest()
        whole.CopyFrom(request)
        fill_in(whole, app_id)
        request = whole
    if (size := request.ByteSize()) > REQUEST_BYTES_MAX:
        raise too_long(size, REQUEST_BYTES_MAX, request.request_id)
    return request


def fill_in(request: SendNotificationRequest, app_id: str) -> None:
    """What a send needs, where it is missing."""
    request.app_id = request.app_id or app_id
    request.request_id = request.request_id or str(uuid.uuid4())


def send_timeout(request: SendNotificationRequest, timeout: float | None, default: float) -> float:
    """A send that waits for final answers has that much longer."""
    if timeout is not None:
        return timeout
    return default + (request.wait.ToTimedelta().total_seconds() if request.HasField("wait") else 0.0)
