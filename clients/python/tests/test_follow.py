"""Following: one sequence of events, whatever becomes of the streams it comes over."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from fake import UNAVAILABLE, WAIT_S, Fake, Page, Refuses, Script

from pushrpc_client import AsyncClient, Client, PushError, following, v1

HEARTBEAT = Page(cursor="here", heartbeat=v1.StreamHeartbeat(caught_up=True))


def page(cursor: str, *tokens: str) -> Page:
    return Page(cursor=cursor, events=[v1.DeliveryEvent(token=token) for token in tokens])


def end(cursor: str = "end", **counts: int) -> Page:
    return Page(cursor=cursor, end=v1.StreamEnd(counts=v1.DeliveryCounts(**counts)))


def reconnect(cursor: str, delay_ms: int) -> Page:
    told = Page(cursor=cursor)
    told.reconnect.delay.FromMilliseconds(delay_ms)
    return told


def tells(*pages: Page, then: Refuses | None = None) -> Script:
    def script(_request: v1.StreamDeliveryStatusRequest, _context: grpc.ServicerContext) -> Iterator[Page]:
        yield from pages
        if then is not None:
            raise then

    return script


def hangs(*pages: Page) -> Script:
    """Until the caller leaves."""

    def script(_request: v1.StreamDeliveryStatusRequest, context: grpc.ServicerContext) -> Iterator[Page]:
        yield from pages
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(WAIT_S)

    return script


def tokens(events: Any) -> list[str]:
    return [event.token for event in events]


def test_events_come_one_by_one_and_the_end_has_counts(fake: Fake, push: Any) -> None:
    fake.streams = [tells(page("1", "a", "b"), HEARTBEAT, page("2", "c"), end(total=3, sent=3))]
    events = push.follow("n-1", "n-2", request_ids=["order-1"], final_only=True)
    assert tokens(events) == ["a", "b", "c"]
    assert (events.counts.total, events.cursor) == (3, "end")
    (request,) = fake.followed
    assert (request.app_id, list(request.notification_ids), list(request.request_ids), request.final_only) == (
        ("shop", ["n-1", "n-2"], ["order-1"], True)
    )  # fmt: skip


def test_the_cursor_moves_with_the_last_event_of_a_page(fake: Fake, push: Any) -> None:
    fake.streams = [tells(page("1", "a", "b"), page("2", "c"), HEARTBEAT, page("3", "d"), end())]
    with push.follow() as events:
        assert [(event.token, events.cursor) for event in events] == [("a", ""), ("b", "1"), ("c", "2"), ("d", "3")]


@pytest.mark.parametrize(
    "broken",
    [
        None,
        UNAVAILABLE,
        Refuses(grpc.StatusCode.UNKNOWN),
        Refuses(grpc.StatusCode.INTERNAL, "INTERNAL_ERROR", error_id="1"),
        Refuses(grpc.StatusCode.CANCELLED),
        Refuses(grpc.StatusCode.DEADLINE_EXCEEDED),
        Refuses(grpc.StatusCode.ABORTED, "SLOW_READER"),
        Refuses(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS"),
    ],
    ids=lambda broken: broken.code.name if broken else "ended",
)
def test_a_broken_stream_is_resumed_from_its_last_cursor(fake: Fake, push: Any, broken: Refuses | None) -> None:
    fake.streams = [
        tells(page("1", "a"), page("2", "b"), then=broken),
        tells(then=broken),
        tells(HEARTBEAT, page("3", "c"), then=broken),
        tells(page("4", "d"), end()),
    ]
    assert tokens(push.follow(start=v1.STREAM_START_OLDEST)) == ["a", "b", "c", "d"]
    asked = [(request.start, request.cursor) for request in fake.followed]
    assert asked == [(v1.STREAM_START_OLDEST, ""), (0, "2"), (0, "2"), (0, "3")]


def test_a_server_that_asks_to_come_back_is_given_its_time(fake: Fake, push: Any) -> None:
    fake.streams = [tells(page("1", "a"), reconnect("2", 400)), tells(page("3", "b"), end())]
    began = time.monotonic()
    assert tokens(push.follow("n")) == ["a", "b"]
    assert 0.4 <= time.monotonic() - began < 3
    assert [request.cursor for request in fake.followed] == ["", "2"]


def test_a_slow_reader_resumes(fake: Fake, push: Any) -> None:
    slow = Refuses(grpc.StatusCode.ABORTED, "SLOW_READER", 0.1)
    fake.streams = [tells(page("1", "a"), then=slow), tells(page("2", "b"), end())]
    assert tokens(push.follow("n")) == ["a", "b"]


def test_a_cursor_goes_before_a_start(fake: Fake, push: Any) -> None:
    fake.streams = [tells(end())]
    assert tokens(push.follow(cursor="7", start=v1.STREAM_START_OLDEST)) == []
    assert [(request.cursor, request.start) for request in fake.followed] == [("7", 0)]


@pytest.mark.parametrize(
    "refusal",
    [
        Refuses(grpc.StatusCode.OUT_OF_RANGE, "CURSOR_EXPIRED", oldest_cursor="5"),
        Refuses(grpc.StatusCode.NOT_FOUND, "NOTIFICATION_NOT_FOUND"),
        Refuses(grpc.StatusCode.UNAUTHENTICATED),
        Refuses(grpc.StatusCode.PERMISSION_DENIED),
        Refuses(grpc.StatusCode.INVALID_ARGUMENT, "CURSOR_INVALID"),
        Refuses(grpc.StatusCode.ALREADY_EXISTS),
        Refuses(grpc.StatusCode.FAILED_PRECONDITION, "APP_DISABLED", 0.1),
        Refuses(grpc.StatusCode.UNIMPLEMENTED),
    ],
    ids=lambda refusal: refusal.code.name,
)
def test_a_final_refusal_is_raised(fake: Fake, push: Any, refusal: Refuses) -> None:
    fake.streams = [tells(page("1", "a"), then=UNAVAILABLE), tells(then=refusal)]
    events = push.follow("n")
    assert next(events).token == "a"
    with pytest.raises(PushError) as caught:
        next(events)
    assert caught.value.code is refusal.code
    assert len(fake.followed) == 2
    if caught.value.reason == "CURSOR_EXPIRED":
        assert caught.value.metadata["oldest_cursor"] == "5"


def test_a_with_block_begins_once_the_server_has_spoken(fake: Fake, push: Any) -> None:
    fake.streams = [hangs(HEARTBEAT)]
    with push.follow() as events:
        assert events.cursor == "here"
    assert fake.ended.wait(WAIT_S), "the stream was left open"


def test_a_stream_that_nobody_opens_is_an_error_at_first(fake: Fake, push: Any, connect: Callable[..., Any]) -> None:
    fake.streams = [hangs()]
    for client in (push, connect("127.0.0.1:1")):
        began = time.monotonic()
        with pytest.raises(PushError, match="no stream could be opened") as caught:
            next(client.follow(open_timeout=0.5))
        assert caught.value.code is grpc.StatusCode.UNAVAILABLE
        assert time.monotonic() - began < 3


def test_opening_fails_with_the_last_error(fake: Fake, push: Any) -> None:
    fake.streams = [tells(then=Refuses(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", limit="9"))]
    with pytest.raises(PushError, match="no stream could be opened") as caught:
        next(push.follow(open_timeout=0.6))
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
    assert caught.value.metadata == {"limit": "9"}
    assert len(fake.followed) > 1


def test_a_silence_hides_no_error_that_was_said_before_it(fake: Fake, push: Any) -> None:
    fake.streams = [tells(then=Refuses(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")), hangs()]
    with pytest.raises(PushError, match="no stream could be opened") as caught:
        next(push.follow(open_timeout=0.6))
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
    assert len(fake.followed) == 2


@pytest.mark.parametrize("pages", [[page("1", "a")], [page("1", "a"), HEARTBEAT]], ids=["an event", "a heartbeat"])
def test_a_stream_that_falls_silent_is_opened_again(
    fake: Fake, push: Any, monkeypatch: pytest.MonkeyPatch, pages: list[Page]
) -> None:
    monkeypatch.setattr(following, "SILENCE_S", 0.4)
    fake.streams = [hangs(*pages), hangs(), tells(page("2", "b"), end())]
    assert tokens(push.follow(open_timeout=WAIT_S)) == ["a", "b"]
    assert [request.cursor for request in fake.followed] == ["", pages[-1].cursor, pages[-1].cursor]


def test_any_message_and_a_busy_reader_are_no_silence(fake: Fake, push: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def beats(_request: v1.StreamDeliveryStatusRequest, _context: grpc.ServicerContext) -> Iterator[Page]:
        yield page("1", "a")
        for _ in range(8):
            time.sleep(0.2)
            yield HEARTBEAT
        yield page("2", "b")
        yield end()

    monkeypatch.setattr(following, "SILENCE_S", 0.8)
    fake.streams = [beats]
    events = push.follow()
    assert next(events).token == "a"
    time.sleep(1.2)  # longer than a silence
    assert tokens(events) == ["b"]
    assert len(fake.followed) == 1


def test_nothing_is_read_ahead_without_limit(fake: Fake, push: Any) -> None:
    written = itertools.count()
    pages = 0

    def floods(_request: v1.StreamDeliveryStatusRequest, context: grpc.ServicerContext) -> Iterator[Page]:
        nonlocal pages
        for pages in written:
            if not context.is_active():
                return
            yield page(str(pages), "x" * 256 * 1024)

    fake.streams = [floods]
    with push.follow() as events:
        next(events)
        seen = -1
        while seen != pages:  # until the server stands still
            seen = pages
            time.sleep(0.3)
        assert pages < 160, "gRPC lets 16 MiB be underway; more than 40 went to a reader that does not read"
        assert [next(events).token[0] for _ in range(100)] == ["x"] * 100


def test_closing_wakes_a_thread_that_waits_for_events(fake: Fake) -> None:
    fake.streams = [hangs(HEARTBEAT)]
    with Client(fake.address, "shop", plaintext=True) as push, push.follow() as events:
        seen: list[v1.DeliveryEvent] = []
        thread = threading.Thread(target=lambda: seen.extend(events))
        thread.start()
        events.close()
        thread.join(WAIT_S)
        assert not thread.is_alive() and not seen


def test_closing_wakes_a_thread_that_waits_for_a_server(fake: Fake) -> None:
    fake.streams = [tells(reconnect("1", 60_000))]
    with Client(fake.address, "shop", plaintext=True) as push, push.follow() as events:
        thread = threading.Thread(target=list, args=[events])
        thread.start()
        events.close()
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_closing_the_client_is_an_error_of_its_followers(fake: Fake, push: Any) -> None:
    fake.streams = [hangs(HEARTBEAT)]
    with push.follow() as events, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(next, events)
        push.close()
        with pytest.raises(PushError) as caught:
            waiting.result(WAIT_S)
        assert caught.value.reason == "CLIENT_CLOSED"


def test_closing_the_client_wakes_who_pauses(fake: Fake, push: Any) -> None:
    fake.streams = [tells(reconnect("1", 60_000))]
    with push.follow() as events, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(next, events)
        assert fake.ended.wait(WAIT_S)
        time.sleep(0.1)  # so that most often it pauses by now; it must end alike when not
        push.close()
        with pytest.raises(PushError) as caught:
            waiting.result(WAIT_S)
        assert caught.value.reason == "CLIENT_CLOSED"


async def test_a_cancelled_task_ends_its_stream(fake: Fake) -> None:
    fake.streams = [hangs(HEARTBEAT)]
    async with AsyncClient(fake.address, "shop", plaintext=True) as push, push.follow() as events:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                async for _ in events:
                    raise AssertionError("there is none")
        assert await asyncio.to_thread(fake.ended.wait, WAIT_S)
