"""A real gRPC server around PushService and a real ledger, with accounts that only pretend."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from pushrpc.authorization import Authorizations
from pushrpc.calls import ProviderCalls
from pushrpc.clock import Clock, SystemClock
from pushrpc.exchange import Answer, Endpoint, Request, Requests, Response
from pushrpc.ledger import Ledger, open_ledger
from pushrpc.model import NO_ADDRESS, Address, Batch, Claimed, Lane, Notification, Outcome, Refused, Settlement
from pushrpc.providers import Classified, Credential, MessageRefused, Preview
from pushrpc.rpc import Accounts, PushService, Settings, add_to
from pushrpc.telemetry import Telemetry
from pushrpc.v1 import sending_pb2, service_pb2_grpc
from pushrpc.words import (
    ApnsPushType,
    Cause,
    DeliveryState,
    Environment,
    OutcomeKind,
    Provider,
    RejectReason,
    TokenKind,
)

APNS_LANE = Lane("shop", Provider.APNS, "com.shop", Environment.PRODUCTION)
FCM_LANE = Lane("shop", Provider.FCM, "shop-1", Environment.UNSPECIFIED)
TOO_LARGE = "a body that no payload holds"


class FakeAccount:
    """Takes lower-case hex tokens, and every message but one whose body is TOO_LARGE (APNs only)."""

    def __init__(self, provider: Provider, provider_app_id: str, environment: Environment) -> None:
        self.provider = provider
        self.provider_app_id = provider_app_id
        self.environment = environment
        self.credential: Credential | None = None

    def endpoint(self, lane: Lane) -> Endpoint | None:
        raise NotImplementedError

    def origin(self, token: str) -> str:
        return ""

    def token_problem(self, *tokens: str) -> Refused | None:
        if all(re.fullmatch("[0-9a-f]+", token) for token in tokens):
            return None
        return Refused(RejectReason.TOKEN_MALFORMED, "tokens are hexadecimal")

    def address_problem(self, token: str, address: Address) -> Refused | None:
        return None

    def token_kind(self, notification: Notification) -> TokenKind:
        is_voip = notification.content.apns.push_type is ApnsPushType.VOIP
        return TokenKind.VOIP if is_voip and self.provider is Provider.APNS else TokenKind.STANDARD

    def preview(self, notification: Notification, address: Address, now_us: int) -> Preview:
        raise NotImplementedError

    def check_message(self, notification: Notification, address: Address = NO_ADDRESS) -> None:
        if self.provider is not Provider.APNS:
            return
        if notification.content.body == TOO_LARGE:
            raise MessageRefused(RejectReason.PAYLOAD_TOO_LARGE, "5,000 bytes of 4,096")
        if notification.content.title == "needs a body" and not notification.content.body:
            raise MessageRefused(RejectReason.FIELD_MISSING, "an alert needs a body")

    def prepare(self, batch: Batch, authorization: bytes | None, now_us: int) -> Requests:
        raise NotImplementedError

    def classify(self, response: Response, covered: Sequence[Claimed], now_us: int) -> Sequence[Classified]:
        raise NotImplementedError


async def no_fetch(request: Request, timeout_s: float) -> Response:
    raise AssertionError("no credential is renewed here")


ACCOUNTS: Accounts = {
    "shop": {
        Provider.APNS: [
            FakeAccount(Provider.APNS, "com.shop", Environment.PRODUCTION),
            FakeAccount(Provider.APNS, "com.shop.lite", Environment.SANDBOX),
        ],
        Provider.FCM: [FakeAccount(Provider.FCM, "shop-1", Environment.UNSPECIFIED)],
    },
    "news": {Provider.FCM: [FakeAccount(Provider.FCM, "news-1", Environment.UNSPECIFIED)]},
}


@dataclass
class ProviderSide:
    """What answers calls beside the lanes: whatever a test says, in turn."""

    answers: list[Answer] = field(default_factory=list)
    asked: list[Requests] = field(default_factory=list)

    async def carry(self, endpoint: Endpoint, requests: Requests, timeout_s: float) -> Answer:
        self.asked.append(requests)
        return self.answers.pop(0)


@dataclass
class Running:
    stub: service_pb2_grpc.PushServiceAsyncStub
    service: PushService
    ledger: Ledger
    clock: Clock
    target: str
    provider_side: ProviderSide

    async def send(self, *tokens: str, **fields: Any) -> sending_pb2.SendNotificationResponse:
        return await self.stub.SendNotification(send_request(*tokens, **fields), timeout=10)

    async def answer(self, lane: Lane = APNS_LANE, limit: int = 1_000, **outcome: Any) -> int:
        """Plays the dispatcher: claims what is queued in a lane and settles it, SENT unless told otherwise."""
        batch = await self.ledger.claim(lane, limit)
        await self.settle(batch, **outcome)
        return len(batch.deliveries)

    async def settle(
        self,
        batch: Batch,
        state: DeliveryState = DeliveryState.SENT,
        kind: OutcomeKind = OutcomeKind.ACCEPTED,
        message_ids: Sequence[str] = (),
        **outcome: Any,
    ) -> None:
        now_us = self.clock.now_us()
        due_us = now_us if state is DeliveryState.QUEUED else 0
        answer = Outcome(kind, **outcome)
        settlement = Settlement(
            batch.deliveries, answer, message_ids, state, Cause.UNSPECIFIED, due_us, True, now_us, now_us
        )
        await self.ledger.settle([settlement])


def send_request(*tokens: str, **fields: Any) -> sending_pb2.SendNotificationRequest:
    """A sound request for the app `shop`; `fields` replace what it has."""
    fields.setdefault("app_id", "shop")
    fields.setdefault("message", {"title": "Order shipped"})
    if tokens:
        fields.setdefault("target", {"tokens": [{"provider": Provider.APNS, "tokens": tokens}]})
    return sending_pb2.SendNotificationRequest(**fields)


@asynccontextmanager
async def serving(
    directory: Path,
    settings: Settings | None = None,
    accounts: Accounts = ACCOUNTS,
    queue_max: int = 100_000,
    begin: bool = True,
) -> AsyncIterator[Running]:
    clock = SystemClock()
    settings = settings or Settings()
    telemetry = Telemetry()
    ledger = await open_ledger(
        "sqlite:///ledger.db",
        clock,
        base=directory,
        event_retention_us=settings.event_retention_s * 1_000_000,
        request_id_retention_us=settings.request_id_retention_s * 1_000_000,
        queue_max=queue_max,
        told=telemetry.told,
    )
    service = PushService(accounts, settings, clock, telemetry, lambda: 0.5)
    provider_side = ProviderSide()
    server = grpc.aio.server()
    add_to(server, service)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    if begin:
        service.begin(ledger, ProviderCalls(provider_side.carry, Authorizations(no_fetch, clock)))
    target = f"127.0.0.1:{port}"
    try:
        async with grpc.aio.insecure_channel(target) as channel:
            yield Running(service_pb2_grpc.PushServiceStub(channel), service, ledger, clock, target, provider_side)
    finally:
        await server.stop(0)
        await ledger.close()


@dataclass
class Failure:
    """An error status, taken apart."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    fields: list[str]
    retry_after_s: float | None
    has_quota_failure: bool
    pushback_ms: str | None


def failure(error: grpc.aio.AioRpcError) -> Failure:
    rich = rich_status_of(error)
    details: dict[str, Any] = {}
    for kind in ("ErrorInfo", "BadRequest", "QuotaFailure", "RetryInfo"):
        detail = getattr(error_details_pb2, kind)()
        unpacked = [any_ for any_ in rich.details if any_.Unpack(detail)]
        assert len(unpacked) <= 1
        if unpacked:
            details[kind] = detail
    info = details["ErrorInfo"]
    assert info.domain == "pushrpc.v1"
    bad = details.get("BadRequest")
    retry = details.get("RetryInfo")
    trailers = dict(error.trailing_metadata() or ())
    pushback = trailers.get("grpc-retry-pushback-ms")
    return Failure(
        code=error.code(),
        message=rich.message,
        reason=info.reason,
        metadata=dict(info.metadata),
        fields=[violation.field for violation in bad.field_violations] if bad else [],
        retry_after_s=retry.retry_delay.ToMilliseconds() / 1000 if retry else None,
        has_quota_failure="QuotaFailure" in details,
        pushback_ms=str(pushback) if pushback is not None else None,
    )


def rich_status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value)
    raise AssertionError(f"no rich status: {error}")
