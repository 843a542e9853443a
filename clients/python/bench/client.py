"""What this client costs, beside the bare stub: client.py, against a server in a process of its own that only answers.

With the address of a real server (no TLS, app shop), client.py ADDRESS, it replays what that has kept.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import grpc

from pushrpc_client import AsyncClient, Client, v1

PAGES = 400
EVENTS_A_PAGE = 500
REPLAYS = 5
CALLS = 400
ROUNDS = 15


class Idle(v1.PushServiceServicer):
    """Answers as fast as gRPC for Python does."""

    def __init__(self) -> None:
        an_id = "0193a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"
        event = v1.DeliveryEvent(
            notification_id=an_id, request_id="order-1234", user_id="u-7", token="ab" * 32, provider=v1.PROVIDER_APNS,
            state=v1.DELIVERY_STATE_SENT, outcome=v1.OUTCOME_ACCEPTED, attempt=1, final=True, kind=v1.EVENT_KIND_STATE,
            provider_message_id=an_id, event_id="6c7d8e9f0a1b-123456", provider_status=200,
        )  # fmt: skip
        event.time.GetCurrentTime()
        self._page = v1.StreamDeliveryStatusResponse(events=[event] * EVENTS_A_PAGE, cursor="c" * 60)
        self._end = v1.StreamDeliveryStatusResponse(cursor="c" * 60, end=v1.StreamEnd())

    def SendNotification(self, request: v1.SendNotificationRequest, context: Any) -> v1.SendNotificationResponse:
        return v1.SendNotificationResponse(notification_id="n", target_count=1, cursor="c" * 60)

    def StreamDeliveryStatus(
        self, request: v1.StreamDeliveryStatusRequest, context: Any
    ) -> Iterator[v1.StreamDeliveryStatusResponse]:
        for _ in range(PAGES):
            yield self._page
        yield self._end


def serve(told: Connection) -> None:
    server = grpc.server(ThreadPoolExecutor(4))
    v1.add_PushServiceServicer_to_server(Idle(), server)
    told.send(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    server.wait_for_termination()


def events_a_second(address: str) -> float:
    with Client(address, "shop", plaintext=True) as push:
        began = time.perf_counter()
        finals = [event.final for event in push.follow(start=v1.STREAM_START_OLDEST, until_caught_up=True)]
        return rate(finals, began)


async def events_a_second_asyncio(address: str) -> float:
    async with AsyncClient(address, "shop", plaintext=True) as push:
        began = time.perf_counter()
        events = push.follow(start=v1.STREAM_START_OLDEST, until_caught_up=True)
        return rate([event.final async for event in events], began)


def rate(finals: list[bool], began: float) -> float:
    if not any(finals):
        raise SystemExit("the server has kept nothing")
    return len(finals) / (time.perf_counter() - began)


def follow(address: str) -> None:
    """Prints medians."""
    threads = statistics.median(events_a_second(address) for _ in range(REPLAYS))
    print(f"follow, threads: {threads:,.0f} events/s")
    tasks = statistics.median(asyncio.run(events_a_second_asyncio(address)) for _ in range(REPLAYS))
    print(f"follow, asyncio: {tasks:,.0f} events/s")


def calls(call: Callable[[v1.SendNotificationRequest], object]) -> float:
    """Seconds for each."""
    began = time.perf_counter()
    for number in range(CALLS):
        call(
            v1.SendNotificationRequest(
                app_id="shop", request_id=f"order-{number}", target=v1.Target(user_ids=["u-7"]),
                message=v1.NotificationContent(title="Order shipped", body="Your order is on its way"),
            )
        )  # fmt: skip
    return (time.perf_counter() - began) / CALLS


def unnamed(push: Client) -> Callable[[v1.SendNotificationRequest], object]:
    """The client fills in both."""

    def send(request: v1.SendNotificationRequest) -> object:
        request.app_id = request.request_id = ""
        return push.send(request)

    return send


def send(address: str) -> None:
    """Prints medians, in turns, so that all see the same machine."""
    bare, named, filled = [], [], []
    with Client(address, "shop", plaintext=True) as push:
        for _ in range(ROUNDS):
            bare.append(calls(lambda request: push.stub.SendNotification(request, timeout=10)))
            named.append(calls(push.send))
            filled.append(calls(unnamed(push)))
    for name, rounds in {"stub": bare, "send": named, "send that fills in": filled}.items():
        over = statistics.median(mine / its for mine, its in zip(rounds, bare, strict=True)) - 1
        print(f"{name}: {statistics.median(rounds) * 1e6:.0f} µs a call, {over:+.1%}")


def main(arguments: list[str]) -> None:
    if arguments:
        follow(arguments[0])
        return
    context = multiprocessing.get_context("spawn")
    told = context.Pipe()
    process = context.Process(target=serve, args=[told[1]], daemon=True)
    process.start()
    address = f"127.0.0.1:{told[0].recv()}"
    follow(address)
    send(address)
    process.terminate()


if __name__ == "__main__":
    main(sys.argv[1:])
