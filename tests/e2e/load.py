"""Callers who send much: requests with many tokens, what came of them, and what the server says meanwhile."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration

from pushrpc.v1 import enums_pb2 as e
from pushrpc.v1 import following_pb2 as following
from pushrpc.v1 import sending_pb2 as sending
from tests.e2e.running import ServerProcess

if TYPE_CHECKING:  # the asynchronous stub exists for type checkers only
    from pushrpc.v1.service_pb2_grpc import PushServiceAsyncStub

PER_CALL = 1_000  # the most that one unary send may name
PATIENCE_S = 60.0  # only something broken ever takes so long


def apns(first: int, count: int) -> sending.TokenTarget:
    return sending.TokenTarget(provider=e.PROVIDER_APNS, tokens=[f"{i:064x}" for i in range(first, first + count)])


def fcm(first: int, count: int) -> sending.TokenTarget:
    tokens = [f"{i:020d}:APA91bFromLoad" for i in range(first, first + count)]
    return sending.TokenTarget(provider=e.PROVIDER_FCM, tokens=tokens)


def request(
    *targets: sending.TokenTarget, app_id: str = "shop", label: str = "", ttl_s: int = 3_600
) -> sending.SendNotificationRequest:
    return sending.SendNotificationRequest(
        app_id=app_id,
        target=sending.Target(tokens=targets),
        message=sending.NotificationContent(title="Order shipped", body="Your order is on its way"),
        options=sending.SendOptions(ttl=Duration(seconds=ttl_s), labels={"load": label} if label else {}),
    )


async def accept(
    calls: PushServiceAsyncStub, requests: Sequence[sending.SendNotificationRequest]
) -> list[sending.SendNotificationResponse]:
    """Sends all of them, four at a time. The receipts in order."""
    turns = asyncio.Semaphore(4)

    async def call(each: sending.SendNotificationRequest) -> sending.SendNotificationResponse:
        async with turns:
            receipt = await calls.SendNotification(each, timeout=PATIENCE_S)
        assert not receipt.rejected
        return receipt

    return await asyncio.gather(*(call(each) for each in requests))


async def counts(calls: PushServiceAsyncStub, app_id: str = "shop", label: str = "") -> Counter[str]:
    """Deliveries by state, summed over an app's notifications."""
    total: Counter[str] = Counter()
    asked = following.ListNotificationsRequest(
        app_id=app_id, labels={"load": label} if label else {}, page_size=PER_CALL
    )
    while True:
        page = await calls.ListNotifications(asked, timeout=PATIENCE_S)
        for notification in page.notifications:
            for field, number in notification.counts.ListFields():
                total[field.name] += number
        asked.page_token = page.next_page_token
        if not asked.page_token:
            return total


def still_open(now: Counter[str]) -> int:
    return now["queued"] + now["in_flight"]


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():  # noqa: ASYNC110 asks another process, which cannot set an event here
            await asyncio.sleep(0.05)  # paces the polling only


async def figure(server: ServerProcess, name: str) -> float:
    """One line of the metrics: its name, with labels if it has any; 0 as long as there is no such line."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", await server.metrics(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def lanes_in_trouble(server: ServerProcess) -> set[tuple[str, str]]:
    """(app, provider) of every lane that had to wait, by the server's log."""
    lines = [json.loads(line) for line in server.log_file.read_text().splitlines() if line.startswith("{")]
    return {(line["app_id"], line["provider"]) for line in lines if line["event"] in ("lane_held", "lane_paused")}
