"""kill -9 at awkward moments: what was acknowledged is never lost, and only what was on the wire is repeated."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest

from pushrpc.emulator import Emulator
from pushrpc.v1 import enums_pb2 as e
from pushrpc.v1 import following_pb2 as following
from pushrpc.v1 import sending_pb2 as sending
from tests.e2e.running import ServerProcess, apps_at, stub

IN_FLIGHT_MAX = 64


def tokens(round_number: int, call: int, count: int) -> list[str]:
    return [f"{round_number:08x}{call:08x}{i:048x}" for i in range(count)]


class Caller:
    """Sends without pause until its server dies; remembers which calls were acknowledged."""

    def __init__(self, target: str, round_number: int) -> None:
        self.target = target
        self.round_number = round_number
        self.acknowledged: dict[str, list[str]] = {}
        self.enough = asyncio.Event()

    def request(self, call: int) -> sending.SendNotificationRequest:
        named = tokens(self.round_number, call, random.Random(call).choice([1, 1, 1, 20, 200]))
        return sending.SendNotificationRequest(
            app_id="shop",
            request_id=f"{self.round_number}-{call}",
            target=sending.Target(tokens=[sending.TokenTarget(provider=e.PROVIDER_APNS, tokens=named)]),
            message=sending.NotificationContent(title=f"call {call}"),
        )

    async def run(self, enough: int) -> None:
        async with grpc.aio.insecure_channel(self.target) as channel:
            for call in range(100_000):
                request = self.request(call)
                try:
                    await stub(channel).SendNotification(request, timeout=10)
                except grpc.aio.AioRpcError:
                    return
                self.acknowledged[request.request_id] = list(request.target.tokens[0].tokens)
                if len(self.acknowledged) == enough:
                    self.enough.set()


async def follow_to_the_end(target: str, request_ids: Sequence[str]) -> list[following.DeliveryEvent]:
    events: list[following.DeliveryEvent] = []
    async with grpc.aio.insecure_channel(target) as channel:
        request = following.StreamDeliveryStatusRequest(app_id="shop", request_ids=request_ids, final_only=True)
        async for page in stub(channel).StreamDeliveryStatus(request, timeout=90):
            events.extend(page.events)
            if page.HasField("end"):
                return events
    raise AssertionError("the stream ended without saying so")


@pytest.mark.timeout(300)
async def test_no_acknowledged_token_is_lost_by_kill_9(tmp_path: Path) -> None:
    repeated_most = 0
    async with Emulator.start(tmp_path) as emulator:
        server = ServerProcess(tmp_path, apps_at(emulator), in_flight_max=IN_FLIGHT_MAX)
        for round_number in range(6):
            await server.start()
            caller = Caller(server.target, round_number)
            calling = asyncio.create_task(caller.run(enough=10 + 15 * round_number))
            await asyncio.wait_for(caller.enough.wait(), 60)
            await server.kill()
            await calling

            await server.start()
            ids = list(caller.acknowledged)
            events = [
                event
                for start in range(0, len(ids), 500)
                for event in await follow_to_the_end(server.target, ids[start : start + 500])
            ]
            acknowledged = {token for named in caller.acknowledged.values() for token in named}
            assert sorted(event.token for event in events) == sorted(acknowledged), "one final answer for each"
            assert {event.state for event in events} == {e.DELIVERY_STATE_SENT}
            assert await server.stop() == 0, server.log()

            received = emulator.journal.accepted_by_token("apns")
            assert all(received[token] >= 1 for token in acknowledged), "SENT means that the provider has it"
            repeated = sum(received[token] - 1 for token in acknowledged)
            assert repeated <= IN_FLIGHT_MAX, "only what was on the wire is sent again"
            repeated_most = max(repeated_most, repeated)
            emulator.journal.clear()


@pytest.mark.timeout(300)
async def test_a_repeat_after_a_kill_is_a_replay_or_the_first(tmp_path: Path) -> None:
    """The caller that saw no answer repeats the call; whatever had happened, each token gets one notification."""
    async with Emulator.start(tmp_path) as emulator:
        server = ServerProcess(tmp_path, apps_at(emulator))
        await server.start()
        caller = Caller(server.target, 0)
        calling = asyncio.create_task(caller.run(enough=30))
        await asyncio.wait_for(caller.enough.wait(), 60)
        await server.kill()
        await calling
        unanswered = caller.request(len(caller.acknowledged))

        await server.start()
        async with grpc.aio.insecure_channel(server.target) as channel:
            again = await stub(channel).SendNotification(unanswered, timeout=10)
            once_more = await stub(channel).SendNotification(unanswered, timeout=10)
            assert once_more.replayed
            assert once_more.notification_id == again.notification_id
            known = await stub(channel).SendNotification(caller.request(0), timeout=10)
            assert known.replayed
        events = await follow_to_the_end(server.target, [unanswered.request_id])
        assert len(events) == len(unanswered.target.tokens[0].tokens)
        assert await server.stop() == 0
