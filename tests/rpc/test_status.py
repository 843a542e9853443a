from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from pushrpc.rpc import Settings, status
from pushrpc.v1 import devices_pb2 as devices
from pushrpc.v1 import enums_pb2 as e
from pushrpc.v1 import following_pb2 as following
from pushrpc.words import DeliveryState, OutcomeKind
from tests.rpc.harness import APNS_LANE, Failure, Running, failure, serving

Message = following.StreamDeliveryStatusResponse


def follow(running: Running, **fields: Any) -> Any:
    given = {"app_id": "shop"} | fields
    return running.stub.StreamDeliveryStatus(following.StreamDeliveryStatusRequest(**given), timeout=20)


async def rest(call: Any) -> list[Message]:
    """Everything until the stream ends by itself."""
    messages: list[Message] = []
    while (message := await call.read()) is not grpc.aio.EOF:
        messages.append(message)
    return messages


async def told(running: Running, **fields: Any) -> list[Message]:
    return await rest(follow(running, **fields))


def events(messages: list[Message]) -> list[following.DeliveryEvent]:
    return [event for message in messages for event in message.events]


def tokens(messages: list[Message]) -> list[str]:
    return [event.token for event in events(messages)]


def signals(messages: list[Message]) -> list[str]:
    return [message.WhichOneof("signal") or "events" for message in messages]


async def refused(call: Any) -> Failure:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        while await call.read() is not grpc.aio.EOF:
            pass
    return failure(error.value)


async def caught_up(call: Any) -> Message:
    """Reads up to the first heartbeat that says so."""
    async with asyncio.timeout(10):
        while True:
            message: Message = await call.read()
            if message.WhichOneof("signal") == "heartbeat" and message.heartbeat.caught_up:
                return message


@pytest.fixture
async def quick(tmp_path: Path) -> AsyncIterator[Running]:
    """Heartbeats every 50 ms, so that tests of silence are short."""
    async with serving(tmp_path, Settings(heartbeat_s=0.05)) as running:
        yield running


# --- what is told ------------------------------------------------------------------------------------------------


async def test_a_stream_tells_every_change_and_ends_with_counts(running: Running) -> None:
    receipt = await running.send("aa", "bb", request_id="r-1", options={"labels": {"a": "b"}})
    call = follow(running, notification_ids=[receipt.notification_id])
    await caught_up(call)
    retry, unavailable = DeliveryState.QUEUED, OutcomeKind.UNAVAILABLE
    await running.answer(limit=1, state=retry, kind=unavailable, provider_status=503, detail="busy")
    await running.answer(provider_status=200, message_ids=["m-1", "m-2"])
    messages = await rest(call)
    first = events(messages)[0]
    assert (first.kind, first.state, first.outcome) == (
        e.EVENT_KIND_ATTEMPT,
        e.DELIVERY_STATE_QUEUED,
        e.OUTCOME_UNAVAILABLE,
    )
    assert (first.provider_status, first.provider_detail, first.final) == (503, "busy", False)
    assert first.HasField("retry_time")
    finals = [event for event in events(messages) if event.final]
    assert sorted(event.provider_message_id for event in finals) == ["m-1", "m-2"]
    assert sorted(event.token for event in finals) == ["aa", "bb"]
    for event in finals:
        assert (event.notification_id, event.request_id) == (receipt.notification_id, "r-1")
        assert (event.state, event.kind, event.provider) == (
            e.DELIVERY_STATE_SENT,
            e.EVENT_KIND_STATE,
            e.PROVIDER_APNS,
        )
        assert dict(event.labels) == {"a": "b"}
        assert event.time.seconds
        assert not event.HasField("retry_time")
    assert len({event.event_id for event in events(messages)}) == len(events(messages))
    assert messages[-1].WhichOneof("signal") == "end"
    counts = messages[-1].end.counts
    assert (counts.total, counts.sent) == (2, 2)


async def test_events_and_signals_never_share_a_message_and_each_has_a_cursor(running: Running) -> None:
    receipt = await running.send("aa")
    await running.answer()
    messages = await told(running, notification_ids=[receipt.notification_id])
    assert signals(messages) == ["events", "end"]
    assert all(message.cursor for message in messages)
    assert not any(message.events and message.WhichOneof("signal") for message in messages)


async def test_a_dead_device_is_told_of(running: Running) -> None:
    request = devices.RegisterDeviceRequest(app_id="shop", provider=e.PROVIDER_APNS, token="aa", user_id="u-7")
    device = (await running.stub.RegisterDevice(request)).device
    receipt = await running.send("aa")
    gone, dead = DeliveryState.UNREGISTERED, OutcomeKind.TOKEN_INVALID
    await running.answer(state=gone, kind=dead, reason="Unregistered")
    messages = await told(running, notification_ids=[receipt.notification_id])
    by_kind = {event.kind: event for event in events(messages)}
    assert by_kind[e.EVENT_KIND_STATE].device_id == device.device_id
    assert by_kind[e.EVENT_KIND_STATE].user_id == "u-7"
    assert by_kind[e.EVENT_KIND_DEVICE].device_state == e.DEVICE_STATE_DEAD


async def test_no_message_has_more_than_500_events(running: Running) -> None:
    receipt = await running.send(*(f"{i:04x}" for i in range(1_000)))
    await running.answer()
    messages = await told(running, notification_ids=[receipt.notification_id])
    assert [len(message.events) for message in messages] == [500, 500, 0]


async def test_what_happens_soon_after_a_message_shares_the_next(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "GATHER_S", 0.5)
    call = follow(running)
    await caught_up(call)
    await running.send("aa", "bb", "cc", "dd")
    await running.answer(limit=1)
    assert tokens([await call.read()]) == ["aa"]
    for _ in range(3):
        await running.answer(limit=1)
    assert tokens([await call.read()]) == ["bb", "cc", "dd"]
    call.cancel()


async def test_long_events_make_short_messages(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "EVENTS_BYTES_MAX", 1_000)
    receipt = await running.send(*(f"{i:04x}" for i in range(32)))
    await running.answer()
    messages = await told(running, notification_ids=[receipt.notification_id])
    assert all(message.ByteSize() <= 1_000 for message in messages)
    assert len(messages) > 3
    assert tokens(messages) == [f"{i:04x}" for i in range(32)]
    for i in range(len(messages)):
        resumed = await told(running, notification_ids=[receipt.notification_id], cursor=messages[i].cursor)
        assert tokens(resumed) == tokens(messages[i + 1 :])


# --- where it begins ---------------------------------------------------------------------------------------------


async def test_every_cursor_resumes_without_gap_or_repeat(running: Running) -> None:
    receipt = await running.send(*(f"{i:04x}" for i in range(40)))
    for _ in range(4):
        await running.answer(limit=10)
    everything = await told(running, notification_ids=[receipt.notification_id], cursor=receipt.cursor)
    assert tokens(everything) == [f"{i:04x}" for i in range(40)]
    call = follow(running, notification_ids=[receipt.notification_id])
    seen: list[str] = []
    while (message := await call.read()) is not grpc.aio.EOF:
        seen += [event.token for event in message.events]
        resumed = await told(running, notification_ids=[receipt.notification_id], cursor=message.cursor)
        assert seen + tokens(resumed) == tokens(everything)


async def test_a_resumed_stream_of_final_notifications_ends_at_once(running: Running) -> None:
    receipt = await running.send("aa")
    await running.answer()
    messages = await told(running, notification_ids=[receipt.notification_id])
    again = await told(running, notification_ids=[receipt.notification_id], cursor=messages[-1].cursor)
    assert signals(again) == ["end"]
    assert again[0].end == messages[-1].end


async def test_a_request_id_may_come_before_its_send(running: Running) -> None:
    call = follow(running, request_ids=["r-1"])
    await caught_up(call)
    await running.send("aa", request_id="r-1")
    await running.send("bb", request_id="r-2")
    await running.answer()
    assert tokens(await rest(call)) == ["aa"]


async def test_a_whole_app_from_now_and_from_the_oldest(running: Running) -> None:
    await running.send("aa")
    await running.answer()
    call = follow(running)
    await caught_up(call)
    await running.send("bb")
    await running.answer()
    message = await call.read()
    assert tokens([message]) == ["bb"]
    call.cancel()
    oldest = await told(running, start=e.STREAM_START_OLDEST, until_caught_up=True)
    assert tokens(oldest) == ["aa", "bb"]
    assert signals(oldest)[-1] == "end"
    assert not oldest[-1].end.HasField("counts")
    assert tokens(await told(running, start=e.STREAM_START_NOW, until_caught_up=True)) == []


async def test_polling_goes_on_where_it_ended(running: Running) -> None:
    cursor = (await told(running, until_caught_up=True))[-1].cursor
    for token in ("aa", "bb"):
        await running.send(token)
        await running.answer()
        messages = await told(running, cursor=cursor, until_caught_up=True)
        assert tokens(messages) == [token]
        cursor = messages[-1].cursor


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"final_only": True}, ["bb", "aa"]),
        ({"states": [e.DELIVERY_STATE_REJECTED]}, ["bb"]),
        ({"kinds": [e.EVENT_KIND_ATTEMPT]}, ["aa"]),
        ({"labels": {"n": "2"}}, ["bb"]),
        ({"labels": {"n": "2", "x": "y"}}, []),
    ],
    ids=str,
)
async def test_filters(running: Running, fields: dict[str, Any], expected: list[str]) -> None:
    await running.send("aa", options={"labels": {"n": "1"}})
    await running.answer(state=DeliveryState.QUEUED, kind=OutcomeKind.UNAVAILABLE)
    claimed = await running.ledger.claim(APNS_LANE, 1)
    await running.send("bb", options={"labels": {"n": "2"}})
    await running.answer(state=DeliveryState.REJECTED, kind=OutcomeKind.PAYLOAD_REFUSED)
    await running.settle(claimed)
    messages = await told(running, start=e.STREAM_START_OLDEST, until_caught_up=True, **fields)
    assert tokens(messages) == expected


async def test_an_expired_cursor_says_where_to_go_on(running: Running) -> None:
    receipt = await running.send("aa")
    await running.answer()
    await running.send("bb")
    month_ahead_us = running.clock.now_us() + 30 * 86_400 * 1_000_000
    while await running.ledger.prune(month_ahead_us):
        pass
    error = await refused(follow(running, cursor=receipt.cursor))
    assert (error.code, error.reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_EXPIRED")
    messages = await told(running, cursor=error.metadata["oldest_cursor"], until_caught_up=True)
    assert signals(messages)[-1] == "end"


# --- silence, age and drain --------------------------------------------------------------------------------------


async def test_silence_is_broken_by_heartbeats(quick: Running) -> None:
    call = follow(quick)
    beats = [await call.read() for _ in range(3)]
    assert signals(beats) == ["heartbeat"] * 3
    assert all(beat.heartbeat.caught_up for beat in beats)
    assert beats[0].cursor == beats[2].cursor


async def test_a_heartbeats_cursor_moves_past_what_is_filtered_out(quick: Running) -> None:
    call = follow(quick, labels={"only": "this"})
    before = (await caught_up(call)).cursor
    await quick.send("aa")
    await quick.answer()
    async with asyncio.timeout(5):
        while (message := await call.read()).cursor == before:
            assert not message.events
    call.cancel()
    assert tokens(await told(quick, cursor=message.cursor, until_caught_up=True)) == []


async def test_an_old_stream_asks_to_come_back_and_loses_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, Settings(heartbeat_s=0.02, stream_age_s=0.1)) as running:
        receipt = await running.send("aa", "bb")
        await running.answer(limit=1)
        messages = await told(running, notification_ids=[receipt.notification_id])
        assert signals(messages)[-1] == "reconnect"
        assert messages[-1].reconnect.delay.ToMilliseconds() == 1_000
        await running.answer()
        resumed = await told(running, notification_ids=[receipt.notification_id], cursor=messages[-1].cursor)
        assert tokens(messages) + tokens(resumed) == ["aa", "bb"]
        assert signals(resumed)[-1] == "end"


async def test_draining_sends_every_stream_away_with_its_cursor(running: Running) -> None:
    receipt = await running.send("aa")
    calls = [follow(running), follow(running, notification_ids=[receipt.notification_id])]
    for call in calls:
        await caught_up(call)
    running.service.drain()
    for call in calls:
        messages = await rest(call)
        assert signals(messages) == ["reconnect"]
        assert messages[0].cursor
        assert await call.code() is grpc.StatusCode.OK


async def test_a_reader_that_takes_nothing_is_let_go(tmp_path: Path) -> None:
    async with serving(tmp_path, Settings(write_timeout_s=0.3, streams_per_app_max=1)) as running:
        labels = {f"k{i}": "v" * 256 for i in range(16)}
        for i in range(6):  # 25 MB of events: more than any window and socket buffer takes
            await running.send(*(f"{i:02x}{n:04x}" for n in range(1_000)), options={"labels": labels})
            await running.answer()
        call = follow(running, start=e.STREAM_START_OLDEST)
        # The place is free again as soon as the reader is given up, whether it ever reads or not.
        async with asyncio.timeout(15):
            while True:
                other = follow(running, until_caught_up=True)
                try:
                    await other.read()
                    break
                except grpc.aio.AioRpcError as error:
                    assert failure(error).reason == "TOO_MANY_STREAMS"
        given_up = await refused(call)
        assert (given_up.code, given_up.reason) == (grpc.StatusCode.ABORTED, "SLOW_READER")


@pytest.mark.parametrize("settings", [Settings(streams_max=2), Settings(streams_per_app_max=2)], ids=["all", "app"])
async def test_streams_are_bounded_and_places_come_back(tmp_path: Path, settings: Settings) -> None:
    async with serving(tmp_path, settings) as running:
        open_calls = [follow(running) for _ in range(2)]
        for call in open_calls:
            await caught_up(call)
        error = await refused(follow(running))
        assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
        assert (error.metadata["limit"], error.has_quota_failure, error.retry_after_s) == ("2", True, 5.0)
        running.service.drain()
        assert [signals(await rest(call)) for call in open_calls] == [["reconnect"]] * 2


async def test_a_reader_that_leaves_leaves_nothing_behind(running: Running) -> None:
    await told(running, until_caught_up=True)
    before = asyncio.all_tasks()
    calls = [follow(running) for _ in range(20)]
    for call in calls:
        await caught_up(call)
    left = {task for task in asyncio.all_tasks() - before if "AioServer._request" not in repr(task)}
    for call in calls:
        call.cancel()
    _, pending = await asyncio.wait(left, timeout=5)
    assert not pending
    assert running.service._gate._streams.total() == 0
