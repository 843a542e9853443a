"""What is filled in before a request leaves. The caller's own message stays as it is."""

from __future__ import annotations

import uuid
from typing import Protocol, Self, TypeVar

from pushrpc_client.v1 import SendNotificationRequest

TIMEOUT_S = 10.0


class OfAnApp(Protocol):
    """Every request of the contract."""

    app_id: str

    def CopyFrom(self, other: Self, /) -> None: ...


Request = TypeVar("Request", bound=OfAnApp)


def addressed(request: Request, app_id: str) -> Request:
    """With the client's app, unless it names one."""
    if request.app_id:
        return request
    copy = type(request)()
    copy.CopyFrom(request)
    copy.app_id = app_id
    return copy


def sendable(request: SendNotificationRequest, app_id: str) -> SendNotificationRequest:
    """With the client's app and an idempotency key, unless it has them, so that a repeat is no second notification."""
    if request.app_id and request.request_id:
        return request
    copy = SendNotificationRequest()
    copy.CopyFrom(request)
    fill_in(copy, app_id)
    return copy


def fill_in(request: SendNotificationRequest, app_id: str) -> None:
    """What a send needs, where it is missing."""
    request.app_id = request.app_id or app_id
    request.request_id = request.request_id or str(uuid.uuid4())


def send_timeout(request: SendNotificationRequest, timeout: float | None, default: float) -> float:
    """A send that waits for final answers has that much longer."""
    if timeout is not None:
        return timeout
    return default + (request.wait.ToTimedelta().total_seconds() if request.HasField("wait") else 0.0)
