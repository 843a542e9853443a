"""Callers who do not read: they are stopped or fall behind, cost no memory, and nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from pushrpc.v1 import following_pb2 as following
from pushrpc.v1 import sending_pb2 as sending
from tests.e2e.foreign import accounts, build, slow_provider
from tests.e2e.load import PATIENCE_S, PER_CALL, accept, apns, figure, request
from tests.e2e.running import ServerProcess, stub
from tests.e2e.sick_providers import refusing
from tests.tls import make_authority

if TYPE_CHECKING:  # the asynchronous stub exists for type checkers only
    from pushrpc.v1.service_pb2_grpc import PushServiceAsyncStub

MIB = 1024 * 1024
# Without measuring the path, which would open the window ever wider: what is not read fills it, and the server waits.
NARROW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
FOLLOWERS_IDLE = 50
OVERTAKING = 60_000
SENDS_PER_MESSAGE = 500
STREAM_S = 2 * PATIENCE_S

Pages = AsyncIterator[following.StreamDeliveryStatusResponse]


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build("slow_sink", tmp_path_factory.mktemp("sink"))


@pytest.fixture
async def server(sink: str, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """With a healthy provider for two apps, and none for a third."""
    authority = make_authority(tmp_path)
    async with slow_provider(sink, authority) as provider, refusing() as nobody:
        well = accounts(tmp_path, provider.endpoint, authority.ca_file)["apns"]
        apps = {"shop": well, "books": well, "stuck": well | {"endpoint": nobody.endpoint}}
        async with ServerProcess(tmp_path, {app_id: {"apns": account} for app_id, account in apps.items()}) as running:
            yield running


async def follow(channel: grpc.aio.Channel, app_id: str) -> Pages:
    """A stream of a whole app, once it has caught up."""
    asked = following.StreamDeliveryStatusRequest(app_id=app_id)
    pages: Pages = aiter(stub(channel).StreamDeliveryStatus(asked, timeout=STREAM_S))
    assert (await anext(pages)).heartbeat.caught_up
    return pages


async def take(pages: Pages, many: int) -> list[str]:
    """Ids of at least so many events."""
    ids: list[str] = []
    while len(ids) < many:
        ids += [event.event_id for event in (await anext(pages)).events]
    return ids


async def test_a_follower_that_stops_reading_is_noticed_by_nobody(server: ServerProcess) -> None:
    """It is overtaken by more events than are kept in memory, and then reads on from the file without a gap."""
    async with server.channel() as channel, grpc.aio.insecure_channel(server.target, options=NARROW) as narrow:
        calls = stub(channel)
        idle = [await follow(channel, "books") for _ in range(FOLLOWERS_IDLE)]
        quick = await follow(channel, "shop")
        await fill_caches(calls)
        sends = [request(apns(i, PER_CALL)) for i in range(0, OVERTAKING, PER_CALL)]
        ring_full = 35  # the newest 32,768 events at most are kept
        await asyncio.gather(take(quick, ring_full * PER_CALL), accept(calls, sends[:ring_full]))

        slow = await follow(narrow, "shop")
        before_bytes = server.rss_bytes()
        told, _ = await asyncio.gather(take(quick, OVERTAKING), accept(calls, sends))
        while_slow_bytes = server.rss_bytes()
        assert len(set(told)) == OVERTAKING
        assert await take(slow, OVERTAKING) == told
        assert while_slow_bytes - before_bytes < 12 * MIB, "300 B for each event would be 17 MiB"
        assert server.rss_bytes() - before_bytes < 24 * MIB, "reading the file fills the caches of two readers"

        await accept(calls, [request(apns(0, 1), app_id="books")])
        (one,) = {tuple(await take(pages, 1)) for pages in idle}
        assert len(one) == 1


async def fill_caches(calls: PushServiceAsyncStub) -> None:
    """SQLite's, 32 MiB for the one that writes, so that what grows afterwards is something else."""
    await accept(calls, [request(apns(i, PER_CALL), app_id="stuck") for i in range(0, 250_000, PER_CALL)])


async def test_a_bulk_caller_that_does_not_read_receipts_is_stopped(server: ServerProcess) -> None:
    """By flow control: of messages whose answers nobody takes the server works on no more than a few."""
    message_count, in_progress_max = 40, 4
    taken = 'pushrpc_notifications_accepted_total{app="shop"}'
    async with grpc.aio.insecure_channel(server.target, options=NARROW) as narrow:
        stream = stub(narrow).SendNotifications(timeout=STREAM_S)
        written = 0

        async def write() -> None:
            nonlocal written
            for sequence in range(message_count):
                await stream.write(bulk(sequence))
                written += 1
            await stream.done_writing()

        before_bytes = server.rss_bytes()
        writing = asyncio.ensure_future(write())
        await until_it_rests(lambda: written)
        assert 0 < written < message_count
        assert await figure(server, taken) == in_progress_max * SENDS_PER_MESSAGE
        assert server.rss_bytes() - before_bytes < 32 * MIB

        answers = [answer async for answer in stream]
        await writing
        assert [answer.sequence for answer in answers] == list(range(message_count))
        assert all(receipt.HasField("accepted") for answer in answers for receipt in answer.receipts)
        assert await figure(server, taken) == message_count * SENDS_PER_MESSAGE


def bulk(sequence: int) -> sending.SendNotificationsRequest:
    """Half a megabyte of sends that have nothing in common."""
    whole = sending.SendNotificationsRequest(app_id="shop", sequence=sequence)
    for i in range(sequence * SENDS_PER_MESSAGE, (sequence + 1) * SENDS_PER_MESSAGE):
        own = sending.NotificationContent(title=f"Order {i}", body="x" * 800)
        whole.sends.add(request_id=f"order-{i:090d}", target=sending.Target(tokens=[apns(i, 1)]), message=own)
    return whole


async def until_it_rests(progress: Callable[[], int]) -> None:
    """Until it is the same a second later: what waits for flow control shows no other sign."""
    before = -1
    while before < (before := progress()):  # noqa: ASYNC110 there is no event for nothing happening
        await asyncio.sleep(1.0)
