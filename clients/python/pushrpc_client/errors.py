"""What a call raises: the server's typed error, or what the network said in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from pushrpc_client.v1 import SendFailure

_DETAILS_KEY = "grpc-status-details-bin"
_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
# How gRPC tells of an answer that was lost underway; a server that means one of these says why in an ErrorInfo.
_LOST = frozenset({grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED})
# A stream that goes on comes back after everything but these: they would be said again.
_FINAL = frozenset({
    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED,
})  # fmt: skip
# Whose reasons are the contract's, or said here by way of gRPC; a proxy's mean something else.
_OWN_DOMAIN = "pushrpc.client"
_DOMAINS = frozenset({"pushrpc.v1", _OWN_DOMAIN})
# Reasons that are said here; the second is the server's too.
CLIENT_CLOSED = "CLIENT_CLOSED"
FIELD_TOO_LONG = "FIELD_TOO_LONG"
TOKEN_UNAVAILABLE = "TOKEN_UNAVAILABLE"


class FieldViolation(NamedTuple):
    """One wrong field of a request: its path, such as "message.badge", and what is wrong and what to do."""

    field: str
    description: str


class PushError(Exception):
    """A call that failed.

    `code` is gRPC's status code. `reason` is the contract's word, such as "REQUEST_ID_REUSED", with its `metadata`;
    both are empty when it was not the server that answered, also where a proxy gives a reason of its own, but for what
    the client says itself: "CLIENT_CLOSED" after a close, "TOKEN_UNAVAILABLE" when there is no bearer token,
    "FIELD_TOO_LONG" for a request that no server would read. `retry_delay` is after how many seconds the same call may
    work, None where the server told none. `request_id` is the failed send's, also one that the client made: to send
    again under it is safe. "" elsewhere.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        field_violations: Sequence[FieldViolation] = (),
        retry_delay: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(code, message, reason)
        self.code = code
        self.message = message
        self.reason = reason
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.field_violations = tuple(field_violations)
        self.retry_delay = retry_delay
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.reason or self.code.name}: {self.message}"

    @property
    def is_transient(self) -> bool:
        """Whether the same call may work in a moment: nobody answered, or the answer was lost."""
        return self.code is grpc.StatusCode.UNAVAILABLE or (not self.reason and self.code in _LOST)

    @property
    def is_final(self) -> bool:
        """Whether a stream that comes back would hear the same again."""
        return self.code in _FINAL

    @classmethod
    def of(cls, error: grpc.RpcError) -> PushError:
        """What gRPC raised, with the details the server gave."""
        call = cast(grpc.Call, error)
        made = cls(call.code(), call.details() or "")
        for key, value in call.trailing_metadata() or ():
            if key == _DETAILS_KEY:
                with suppress(DecodeError):  # not the server's, then
                    made._read(value if isinstance(value, bytes) else value.encode())
        return made

    def _read(self, serialized: bytes) -> None:
        for detail in status_pb2.Status.FromString(serialized).details:
            if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                info = error_details_pb2.ErrorInfo.FromString(detail.value)
                if info.domain in _DOMAINS:
                    self.reason, self.metadata = info.reason, dict(info.metadata)
            elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
                wrong = error_details_pb2.BadRequest.FromString(detail.value).field_violations
                self.field_violations = tuple(FieldViolation(each.field, each.description) for each in wrong)
            elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                retry = error_details_pb2.RetryInfo.FromString(detail.value)
                self.retry_delay = retry.retry_delay.ToTimedelta().total_seconds()


def of_failure(failure: SendFailure, request_id: str) -> PushError:
    """What one send of a bulk stream was answered."""
    return PushError(
        _CODES.get(failure.code, grpc.StatusCode.UNKNOWN),
        failure.detail,
        failure.reason,
        None,
        [FieldViolation(each.field, each.description) for each in failure.field_violations],
        failure.retry_after.ToTimedelta().total_seconds() if failure.HasField("retry_after") else None,
        request_id,
    )


def of_one_send(error: PushError, request_id: str) -> PushError:
    """The error of a bulk stream, as one of its sends has it."""
    return PushError(
        error.code, error.message, error.reason, error.metadata, error.field_violations, error.retry_delay, request_id
    )


def closed(what: str = "client", request_id: str = "") -> PushError:
    """Who was to do it is gone."""
    return PushError(grpc.StatusCode.CANCELLED, f"the {what} was closed", CLIENT_CLOSED, request_id=request_id)


def too_long(size: int, limit: int, request_id: str = "") -> PushError:
    """A request that no server would read."""
    problem = f"the request has {size:,} bytes, the limit is {limit:,}; split it"
    return PushError(grpc.StatusCode.INVALID_ARGUMENT, problem, FIELD_TOO_LONG, request_id=request_id)


def without_token(problem: str) -> grpc.aio.AioRpcError:
    """What gRPC would raise, had the server said it: an interceptor's word that callers of a stub understand too."""
    message = f"no bearer token: {problem}"
    status = status_pb2.Status(code=grpc.StatusCode.UNAUTHENTICATED.value[0], message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=TOKEN_UNAVAILABLE, domain=_OWN_DOMAIN))
    trailing = grpc.aio.Metadata((_DETAILS_KEY, status.SerializeToString()))
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAUTHENTICATED, grpc.aio.Metadata(), trailing, message)


def ended() -> PushError:
    """A proxy ended a stream as if all were well."""
    return PushError(grpc.StatusCode.UNAVAILABLE, "the stream ended early")


def given_up() -> PushError:
    """The caller left before the server answered."""
    return PushError(grpc.StatusCode.CANCELLED, "given up before the server answered")


def unopened(timeout: float, last: PushError | None) -> PushError:
    """No stream has begun: what was said last, or UNAVAILABLE when nothing was."""
    problem = f"no stream could be opened within {timeout:g} s"
    if last is None:
        return PushError(grpc.StatusCode.UNAVAILABLE, problem)
    message = f"{problem}: {last.message}"
    return PushError(last.code, message, last.reason, last.metadata, last.field_violations, last.retry_delay)


def silent(timeout: float) -> PushError:
    """A stream is open, and nobody speaks."""
    return PushError(grpc.StatusCode.UNAVAILABLE, f"no answer came within {timeout:g} s")


def unheard(timeout: float, last: PushError) -> PushError:
    """No stream has brought an answer for so long."""
    problem = f"no answer came within {timeout:g} s ({last.message})"
    advice = "it is not known whether this was accepted: send it again under its request_id"
    return PushError(grpc.StatusCode.UNAVAILABLE, f"{problem}; {advice}")


def garbled(problem: str) -> PushError:
    """An answer is none to what was asked."""
    return PushError(grpc.StatusCode.INTERNAL, problem)
