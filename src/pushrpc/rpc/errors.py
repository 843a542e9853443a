"""Every way a call can fail: one table, and the only place where an exception becomes a gRPC status.

The same table feeds the SendFailure of a bulk stream. Form: google.rpc error details (AIP-193).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, Never

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from pushrpc.ledger import CursorExpired, LedgerFull, LedgerUnavailable, QueueFull, RequestIdReused, SendExpired
from pushrpc.telemetry import Telemetry
from pushrpc.v1 import sending_pb2

DOMAIN = "pushrpc.v1"
# Details travel as one HTTP/2 header, base64 in it; Java's and gRPC core's clients take 8 KiB of headers.
_DETAIL_BYTES_MAX = 3_072
_MESSAGE_CHARS_MAX = 400
_POSITION = re.compile(r"\[(\d+)\]")

_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_NOT_FOUND = grpc.StatusCode.NOT_FOUND
_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class Reason(Enum):
    """ErrorInfo.reason: its status code, what to do about it, and when the same call may work (RetryInfo)."""

    APP_ID_REQUIRED = _INVALID, "set app_id to an app of this server"
    TARGET_EMPTY = _INVALID, "name at least one token, device_id or user_id in target"
    TARGET_TOO_LARGE = _INVALID, "split it into several sends"
    FIELD_REQUIRED = _INVALID, "set the field"
    FIELD_INVALID = _INVALID, "correct the field"
    FIELD_TOO_LONG = _INVALID, "shorten the field"
    FIELDS_CONFLICT = _INVALID, "keep one of the fields"
    ENUM_UNKNOWN = _INVALID, "use a value of the contract that this server knows"
    WEB_PUSH_KEYS_INVALID = _INVALID, "pass the keys of PushSubscription.toJSON() unchanged"
    ENDPOINT_FORBIDDEN = _INVALID, "pass the address exactly as the platform returned it"
    PROVIDER_RETIRED = _INVALID, "have the app register with the successor"
    TOKEN_MALFORMED = _INVALID, "pass the token exactly as the provider's SDK returned it"
    TTL_INVALID = _INVALID, "use a ttl of 0s to 28 days, or an expire_time within the next 28 days"
    OVERRIDE_INVALID = (
        _INVALID,
        "write one JSON object (RFC 7396) with the provider's types, or well-formed XML for Windows",
    )
    DATA_KEY_RESERVED = _INVALID, "rename the key"
    PAYLOAD_TOO_LARGE = _INVALID, "shorten the override"
    WAIT_TOO_LONG = _INVALID, "wait at most 30s, then follow StreamDeliveryStatus"
    CURSOR_INVALID = _INVALID, "use a cursor of this app unchanged, or none"
    PAGE_TOKEN_INVALID = _INVALID, "use next_page_token unchanged with the same filter, or start without one"
    MASK_INVALID = _INVALID, "name fields that UpdateDevice can set"
    APP_NOT_FOUND = _NOT_FOUND, "configure the app on this server, or correct app_id"
    DEVICE_NOT_FOUND = _NOT_FOUND, "register the device first"
    NOTIFICATION_NOT_FOUND = _NOT_FOUND, "use the id of a receipt; old notifications are removed in time"
    REQUEST_ID_REUSED = grpc.StatusCode.ALREADY_EXISTS, "use a new request_id for another notification"
    PROVIDER_NOT_CONFIGURED = grpc.StatusCode.FAILED_PRECONDITION, "add the account to the server's configuration"
    PROVIDER_REFUSED = grpc.StatusCode.FAILED_PRECONDITION, "see metadata's provider_reason"
    CURSOR_EXPIRED = grpc.StatusCode.OUT_OF_RANGE, "continue from metadata's oldest_cursor; what came before it is gone"
    QUEUE_FULL = _EXHAUSTED, "send again later", 5.0
    TOO_MANY_STREAMS = _EXHAUSTED, "share streams, or come back later", 5.0
    LEDGER_FULL = _EXHAUSTED, "free disk space on the server", 60.0
    DRAINING = _UNAVAILABLE, "call again: another server may answer", 1.0
    STARTING = _UNAVAILABLE, "call again in a moment", 1.0
    LEDGER_UNAVAILABLE = _UNAVAILABLE, "repeat with the same request_id", 1.0
    PROVIDER_UNAVAILABLE = _UNAVAILABLE, "call again later: the provider did not answer, or asks for patience", 5.0
    SLOW_READER = grpc.StatusCode.ABORTED, "read faster; resume from the last cursor", 1.0
    INTERNAL_ERROR = grpc.StatusCode.INTERNAL, "report the error_id to the server's operator"

    def __init__(self, code: grpc.StatusCode, advice: str, retry_after_s: float | None = None) -> None:
        self.code = code
        self.advice = advice
        self.retry_after_s = retry_after_s


class Violation(NamedTuple):
    """One wrong field: its path, why, what is wrong with it for people, and the limit it passes, if any."""

    field: str
    reason: Reason
    problem: str
    limit: int | None = None


class Refusal(Exception):
    """A call that is answered with an error. `problem` says what is wrong, the reason's advice what to do."""

    def __init__(
        self,
        reason: Reason,
        problem: str,
        violations: Sequence[Violation] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{problem}; {reason.advice}"[:_MESSAGE_CHARS_MAX])
        self.reason = reason
        self.violations = violations
        self.metadata = dict(metadata or {})


def invalid(violations: Sequence[Violation]) -> Refusal:
    """All that is wrong with a request, at once; the first violation gives the reason."""
    first = violations[0]
    metadata = {"field": first.field}
    if first.limit is not None:
        metadata["limit"] = str(first.limit)
    if positions := _POSITION.findall(first.field):
        metadata["position"] = positions[-1]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return Refusal(first.reason, f"{first.field} {first.problem}{more}", violations, metadata)


def refusal_of(error: Exception, where: str, telemetry: Telemetry) -> Refusal:
    """Maps any exception. What nobody expected is logged under an id, and only that id is told."""
    match error:
        case Refusal():
            return error
        case LedgerUnavailable():
            return Refusal(Reason.LEDGER_UNAVAILABLE, "the ledger did not answer; it is not known what it wrote")
        case LedgerFull():
            return Refusal(Reason.LEDGER_FULL, "the ledger's disk is full; nothing was changed")
        case QueueFull():
            return Refusal(Reason.QUEUE_FULL, "too many deliveries are open; nothing was accepted")
        case SendExpired():
            return invalid([Violation("options.expire_time", Reason.TTL_INVALID, "is in the past")])
        case RequestIdReused():
            return Refusal(
                Reason.REQUEST_ID_REUSED,
                "request_id stands for another notification",
                metadata={"field": "request_id"},
            )
        case CursorExpired():
            return Refusal(Reason.CURSOR_EXPIRED, "cursor is older than the events kept")
    error_id = uuid.uuid4().hex[:12]
    telemetry.failed(f"{where} {error_id}", error)
    return Refusal(Reason.INTERNAL_ERROR, f"unexpected error {error_id}", metadata={"error_id": error_id})


async def abort(context: grpc.aio.ServicerContext[Any, Any], refusal: Refusal) -> Never:
    """Ends the call with the refusal's status. Raises, as grpc's own abort does."""
    status = rpc_status.to_status(rich_status(refusal))
    trailers = status.trailing_metadata
    if refusal.reason.retry_after_s is not None:
        # gRPC A6: tells a retrying channel itself when to come back.
        trailers = (*trailers, ("grpc-retry-pushback-ms", str(int(refusal.reason.retry_after_s * 1000))))
    await context.abort(status.code, status.details, trailers)


def rich_status(refusal: Refusal) -> status_pb2.Status:
    """ErrorInfo first; then BadRequest, QuotaFailure and RetryInfo where they apply, each at most once."""
    reason = refusal.reason
    status = status_pb2.Status(code=reason.code.value[0], message=str(refusal))
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=reason.name, domain=DOMAIN, metadata=refusal.metadata),
    ]
    if refusal.violations:
        details.append(_bad_request(refusal.violations))
    if reason.code is _EXHAUSTED:
        failure = error_details_pb2.QuotaFailure()
        failure.violations.add(subject=refusal.metadata.get("app_id", "server"), description=str(refusal))
        details.append(failure)
    if reason.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(reason.retry_after_s * 1000))
        details.append(retry)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def failure_of(refusal: Refusal) -> sending_pb2.SendFailure:
    """The same, for one send of a bulk message."""
    reason = refusal.reason
    failure = sending_pb2.SendFailure(code=reason.code.value[0], reason=reason.name, detail=str(refusal))
    for violation in _bad_request(refusal.violations).field_violations:
        failure.field_violations.add(field=violation.field, description=violation.description)
    if reason.retry_after_s is not None:
        failure.retry_after.FromMilliseconds(int(reason.retry_after_s * 1000))
    return failure


def _bad_request(violations: Sequence[Violation]) -> error_details_pb2.BadRequest:
    bad = error_details_pb2.BadRequest()
    left = _DETAIL_BYTES_MAX
    for told, violation in enumerate(violations):
        description = f"{violation.problem}; {violation.reason.advice}"
        left -= len(violation.field.encode()) + len(description.encode()) + len(violation.reason.name) + 16
        if left < 0:
            bad.field_violations.add(field="", description=f"and {len(violations) - told} more")
            break
        bad.field_violations.add(field=violation.field, description=description, reason=violation.reason.name)
    return bad
