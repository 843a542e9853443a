"""A backlog stays on disk, and a provider that is slow or sick delays nobody else.

Nothing here is held against the clock of a fast machine: what must hold is an order, a count, or a bound on memory.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pushrpc.v1 import enums_pb2 as e
from pushrpc.v1 import following_pb2 as following
from pushrpc.v1 import sending_pb2 as sending
from tests.e2e.foreign import SlowProvider, accounts, build, slow_provider
from tests.e2e.load import (
    PATIENCE_S,
    PER_CALL,
    accept,
    apns,
    counts,
    fcm,
    figure,
    lanes_in_trouble,
    request,
    still_open,
    until,
)
from tests.e2e.running import ServerProcess, stub
from tests.e2e.sick_providers import Sick, deaf, refusing, resetting, silent, windowless
from tests.tls import Authority, make_authority

if TYPE_CHECKING:  # the asynchronous stub exists for type checkers only
    from pushrpc.v1.service_pb2_grpc import PushServiceAsyncStub

MIB = 1024 * 1024
IN_FLIGHT_MAX = 768  # the server's default
NEVER_MS = 3_600_000  # the server gives its request up long before


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build("slow_sink", tmp_path_factory.mktemp("sink"))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path)


async def test_a_backlog_stays_on_disk(sink: str, tmp_path: Path, authority: Authority) -> None:
    """SQLite's page caches fill first (32 MiB for the writer); from then on a queued delivery costs no memory."""
    marks = (0, 100_000, 250_000, 400_000)
    async with (
        slow_provider(sink, authority, delay_ms=2_000, streams=100) as provider,
        ServerProcess(tmp_path, {"shop": accounts(tmp_path, provider.endpoint, authority.ca_file)}) as server,
        server.channel() as channel,
    ):
        cpu_s, rss_bytes = [server.cpu_s()], [server.rss_bytes()]
        for first, end in itertools.pairwise(marks):
            await accept(stub(channel), [request(apns(i, PER_CALL)) for i in range(first, end, PER_CALL)])
            cpu_s.append(server.cpu_s())
            rss_bytes.append(server.rss_bytes())
        now = await counts(stub(channel))
        seen = await provider.report()
    assert now["total"] == marks[-1]
    assert still_open(now) > marks[-1] - 20_000, "the provider is slow"
    assert 0 < now["in_flight"] <= IN_FLIGHT_MAX
    assert seen.open_max <= 200, "two sessions of a hundred streams"
    assert rss_bytes[3] - rss_bytes[2] < 8 * MIB, f"{rss_bytes}: 100 B for each that is queued would be 14 MiB"
    early, late = (cpu_s[1] - cpu_s[0]) / marks[1], (cpu_s[3] - cpu_s[2]) / (marks[3] - marks[2])
    assert late < 2 * early, "accepting costs the same however much waits"


async def test_a_stuck_provider_delays_no_other_lane(sink: str, tmp_path: Path, authority: Authority) -> None:
    """A lane that has all in flight that it may, unanswered: other lanes of the app and other apps see nothing of it,
    also where one notification goes to both.
    """
    many, half = 10_000, PER_CALL // 2
    async with slow_provider(sink, authority) as stuck, slow_provider(sink, authority) as healthy:
        shop = accounts(tmp_path, stuck.endpoint, authority.ca_file)
        shop["fcm"]["endpoint"] = healthy.endpoint
        books = {"apns": shop["apns"] | {"endpoint": healthy.endpoint}}
        async with ServerProcess(tmp_path, {"shop": shop, "books": books}) as server, server.channel() as channel:
            calls = stub(channel)
            await accept(calls, [request(apns(0, 1))])
            await until(lambda: are_sent(server, 1, app="shop", provider="apns"))
            await stuck.delay(NEVER_MS)
            await accept(calls, [request(apns(i, PER_CALL)) for i in range(0, many, PER_CALL)])
            await until(lambda: are_open(stuck, 500))

            both = [request(apns(i, half), fcm(i, half), label="both") for i in range(0, many, half)]
            await accept(
                calls, [*both, *(request(apns(i, PER_CALL), app_id="books") for i in range(0, many, PER_CALL))]
            )
            await until(lambda: are_sent(server, many, app="shop", provider="fcm"))
            await until(lambda: are_sent(server, many, app="books", provider="apns"))
            assert (await stuck.report()).answered == 1, "theirs have ended before any of the stuck provider's"
            assert lanes_in_trouble(server) <= {("shop", "apns")}
            now = await counts(calls, label="both")
            assert (now["sent"], still_open(now)) == (many, many)

            await stuck.delay(0)
            await until(lambda: are_sent(server, 2 * many + 1, app="shop", provider="apns"))


async def test_no_call_begins_once_a_large_backlog_is_cancelled(
    sink: str, tmp_path: Path, authority: Authority
) -> None:
    """What is with the provider at that moment gets its true end, everything else is CANCELLED, at once."""
    many = 100_000
    async with (
        slow_provider(sink, authority, streams=100) as provider,
        ServerProcess(tmp_path, {"shop": accounts(tmp_path, provider.endpoint, authority.ca_file)}) as server,
        server.channel() as channel,
    ):
        calls = stub(channel)
        await accept(calls, [request(apns(0, 1))])
        await until(lambda: are_sent(server, 1, app="shop", provider="apns"))
        await provider.delay(NEVER_MS)
        await accept(calls, [request(apns(i, PER_CALL), label="x") for i in range(0, many, PER_CALL)])
        await until(lambda: are_open(provider, 200))
        cancel = sending.CancelNotificationRequest(app_id="shop", labels={"load": "x"})
        answer = await calls.CancelNotification(cancel, timeout=PATIENCE_S)
        assert answer.cancelled_count + answer.in_flight_count == many
        assert 200 <= answer.in_flight_count <= IN_FLIGHT_MAX
        assert (await counts(calls, label="x"))["cancelled"] == answer.cancelled_count
        await asyncio.sleep(1.0)  # is what is promised
        then = await provider.delay(0)
        await until(lambda: are_final(calls, label="x"))
        now, seen = await counts(calls, label="x"), await provider.report()
        assert seen.received == then.received, "what was not with the provider by then never got there"
        assert (now["sent"], now["cancelled"]) == (seen.answered - 1, many - now["sent"])
        name = 'pushrpc_deliveries_final_total{app="shop",provider="apns",state="cancelled"}'
        assert await figure(server, name) == now["cancelled"]


async def test_sick_providers_hurt_only_their_own(sink: str, tmp_path: Path, authority: Authority) -> None:
    """Every one of theirs gets its typed end in time, nobody is dialled without end, and the others never wait."""
    many = 5_000
    async with AsyncExitStack() as stack:
        healthy = await stack.enter_async_context(slow_provider(sink, authority))
        sick = {
            "refusing": await stack.enter_async_context(refusing()),
            "resetting": await stack.enter_async_context(resetting()),
            "silent": await stack.enter_async_context(silent()),
            "windowless": await stack.enter_async_context(windowless(authority)),
            "deaf": await stack.enter_async_context(deaf(authority)),
        }
        reachable = {"windowless", "deaf"}  # take a request, which then waits for an answer for 10 s
        well = accounts(tmp_path, healthy.endpoint, authority.ca_file)["apns"]
        apps = {"shop": {"apns": well}} | {name: {"apns": well | {"endpoint": sick[name].endpoint}} for name in sick}
        server = await stack.enter_async_context(ServerProcess(tmp_path, apps))
        calls = stub(await stack.enter_async_context(server.channel()))

        expiry = {}
        for name in sick:
            wanted = request(apns(0, PER_CALL), app_id=name, ttl_s=3 if name in reachable else 8)
            (receipt,) = await accept(calls, [wanted])
            expiry[name] = receipt.expire_time.ToMilliseconds()
        for name in sick.keys() - {"refusing"}:
            await until(partial(is_dialled, sick[name]))
        await accept(calls, [request(apns(i, PER_CALL)) for i in range(0, many, PER_CALL)])
        await until(lambda: are_sent(server, many, app="shop", provider="apns"))

        for name in sick:
            await until(partial(are_final, calls, app_id=name))
            events = await finals(calls, name)
            assert len({event.token for event in events}) == len(events) == PER_CALL
            assert {event.state for event in events} == {e.DELIVERY_STATE_EXPIRED}
            outcomes = Counter(event.outcome for event in events)
            assert outcomes[e.OUTCOME_UNKNOWN] == (name in reachable), "the one that proves the lane was on the wire"
            assert outcomes[e.OUTCOME_UNSPECIFIED] == PER_CALL - (name in reachable)
            assert max(event.time.ToMilliseconds() for event in events) <= expiry[name] + 15_000
            assert len(sick[name].connections) <= 6, "dials come 1, 2, 4, ... s after one another"
        assert lanes_in_trouble(server) == {(name, "apns") for name in sick}


async def is_dialled(provider: Sick) -> bool:
    return bool(provider.connections)


async def finals(calls: PushServiceAsyncStub, app_id: str) -> list[following.DeliveryEvent]:
    asked = following.StreamDeliveryStatusRequest(
        app_id=app_id, start=e.STREAM_START_OLDEST, until_caught_up=True, final_only=True
    )
    return [event async for page in calls.StreamDeliveryStatus(asked, timeout=PATIENCE_S) for event in page.events]


async def are_sent(server: ServerProcess, many: int, *, app: str, provider: str) -> bool:
    name = f'pushrpc_deliveries_final_total{{app="{app}",provider="{provider}",state="sent"}}'
    return await figure(server, name) == many


async def are_open(provider: SlowProvider, many: int) -> bool:
    return (await provider.report()).open >= many


async def are_final(calls: PushServiceAsyncStub, *, app_id: str = "shop", label: str = "") -> bool:
    return not still_open(await counts(calls, app_id, label))
