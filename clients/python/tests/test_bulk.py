"""Bulk sends: groups, back-pressure, broken streams, and receipts that find their way back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from fake import UNAVAILABLE, WAIT_S, BulkScript, Fake, Refuses, answer_all, receipts, serving

from pushrpc_client import AsyncClient, Client, PushError, v1

Requests = Iterator[v1.SendNotificationsRequest]
Responses = Iterator[v1.SendNotificationsResponse]


def send(request_id: str = "", targets: int = 1, body: str = "") -> v1.SendNotificationRequest:
    return v1.SendNotificationRequest(
        request_id=request_id,
        target=v1.Target(user_ids=["u"] * targets),
        message=v1.NotificationContent(body=body),
    )


def sizes(fake: Fake) -> list[int]:
    return [len(message.sends) for message in list(fake.messages.queue)]


def withholding(release: threading.Event, count: int) -> BulkScript:
    """Answers nothing after so many messages, until it may."""

    def script(requests: Requests) -> Responses:
        read: list[v1.SendNotificationsRequest] = []
        for request in requests:
            read.append(request)
            if len(read) == count:
                release.wait(WAIT_S)
            if release.is_set():
                yield from (receipts(each) for each in read)
                read.clear()
        yield from (receipts(each) for each in read)

    return script


def test_each_send_gets_its_own_receipt_or_error(fake: Fake, push: Any) -> None:
    with push.bulk() as bulk:
        first, wrong, unnamed = (bulk.add(each) for each in (send("a"), v1.SendNotificationRequest(), send()))
    assert first.result().notification_id == "n-a"
    assert unnamed.result().notification_id.startswith("n-")
    error = wrong.exception()
    assert isinstance(error, PushError)
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TARGET_EMPTY")
    assert [violation.field for violation in error.field_violations] == ["target"]
    sent = [each for message in list(fake.messages.queue) for each in message.sends]
    assert {each.app_id for each in sent} == {"shop"}
    assert error.request_id == sent[1].request_id != ""


def test_a_burst_shares_messages(fake: Fake, push: Any) -> None:
    release = threading.Event()
    fake.bulks = [withholding(release, 1)]
    with push.bulk() as bulk:
        futures = [bulk.add(send(f"{number}")) for number in range(400)]
        release.set()
    assert [future.result().notification_id for future in futures] == [f"n-{number}" for number in range(400)]
    assert len(sizes(fake)) <= 5, "four that were not full, and what came meanwhile"


def test_a_message_has_500_sends_at_most(fake: Fake, push: Any) -> None:
    with push.bulk() as bulk:
        futures = [bulk.add(send(f"{number}")) for number in range(1_200)]
    assert [future.result().notification_id for future in futures] == [f"n-{number}" for number in range(1_200)]
    assert max(sizes(fake)) <= 500


def test_a_message_keeps_the_limits_of_targets_and_bytes(fake: Fake, push: Any) -> None:
    with push.bulk() as bulk:
        for _ in range(3):
            bulk.add(send(targets=6_000))
        for _ in range(3):
            bulk.add(send(body="x" * 3_000_000))
    messages = list(fake.messages.queue)
    assert sum(sizes(fake)) == 6
    assert all(message.ByteSize() < 4 * 1024 * 1024 for message in messages)
    assert all(sum(len(send.target.user_ids) for send in message.sends) <= 10_000 for message in messages)


def test_one_that_no_message_can_carry_is_refused_at_once(fake: Fake, push: Any) -> None:
    with push.bulk() as bulk:
        with pytest.raises(PushError, match="bytes") as caught:
            bulk.add(send("large", body="x" * 4_200_000))
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_TOO_LONG")
        assert caught.value.request_id == "large"
        assert bulk.add(send("a")).result().notification_id == "n-a"


def test_a_message_that_is_not_full_leaves_by_itself(fake: Fake, push: Any) -> None:
    with push.bulk() as bulk:
        assert bulk.add(send("a")).result().notification_id == "n-a"
        assert bulk.add(send("b")).result().notification_id == "n-b"
    assert sizes(fake) == [1, 1]


def test_no_more_than_four_messages_are_unanswered(fake: Fake, push: Any) -> None:
    release = threading.Event()
    fake.bulks = [withholding(release, 4)]
    added = 0

    def add(bulk: Any) -> None:
        nonlocal added
        for _ in range(3_500):
            bulk.add(send())
            added += 1

    with push.bulk() as bulk, ThreadPoolExecutor(1) as threads:
        adding = threads.submit(add, bulk)
        deadline = time.monotonic() + WAIT_S
        while fake.messages.qsize() < 4 and time.monotonic() < deadline:
            time.sleep(0.02)  # paces the polling only
        time.sleep(0.3)  # for what must not happen
        assert fake.messages.qsize() == 4
        assert added <= sum(sizes(fake)) + 500, "more was taken than one message beyond the unanswered ones"
        release.set()
        adding.result(WAIT_S)
    assert sum(sizes(fake)) == 3_500


def test_what_a_broken_stream_left_is_repeated_under_the_same_ids(fake: Fake, push: Any) -> None:
    def one_then_breaks(requests: Requests) -> Responses:
        yield receipts(next(requests))
        next(requests)
        raise UNAVAILABLE

    def breaks(requests: Requests) -> Responses:
        next(requests)
        raise UNAVAILABLE
        yield

    fake.bulks = [one_then_breaks, breaks, answer_all]
    with push.bulk() as bulk:
        assert bulk.add(send("a")).result().notification_id == "n-a"
        later = [bulk.add(send()) for _ in range(20)]
    ids = [[each.request_id for each in message.sends] for message in list(fake.messages.queue)]
    assert ids[0] == ["a"]
    assert ids[1] == ids[2] == ids[3][: len(ids[1])]
    assert len({future.result().notification_id for future in later}) == 20


def test_a_stream_that_the_other_side_cancels_is_repeated_too(fake: Fake, push: Any) -> None:
    def cancels(requests: Requests) -> Responses:
        next(requests)
        raise Refuses(grpc.StatusCode.CANCELLED)
        yield

    fake.bulks = [cancels, answer_all]
    with push.bulk() as bulk:
        assert bulk.add(send("a")).result().notification_id == "n-a"


def test_a_final_error_fails_what_is_unanswered_and_nothing_else(fake: Fake, push: Any) -> None:
    def refuses(requests: Requests) -> Responses:
        next(requests)
        raise Refuses(grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNKNOWN")
        yield

    fake.bulks = [refuses, answer_all]
    with push.bulk() as bulk:
        failed = bulk.add(send("a")).exception()
        assert isinstance(failed, PushError)
        assert (failed.code, failed.request_id) == (grpc.StatusCode.UNAUTHENTICATED, "a")
        assert bulk.add(send("b")).result().notification_id == "n-b"


def silent(requests: Requests) -> Responses:
    for _ in requests:
        pass
    threading.Event().wait(1.0)  # what reads does not answer
    yield from ()


def too_busy(requests: Requests) -> Responses:
    next(requests)
    raise Refuses(grpc.StatusCode.ABORTED, "SLOW_READER", retry_delay=3600)
    yield


def garbling(requests: Requests) -> Responses:
    for request in requests:
        yield v1.SendNotificationsResponse(sequence=request.sequence + 7)


@pytest.mark.parametrize("answer", [silent, too_busy, garbling])
def test_a_server_that_never_answers_is_given_up(
    fake: Fake, push: Any, monkeypatch: pytest.MonkeyPatch, answer: BulkScript
) -> None:
    """After another stream had its time too; what comes later starts anew."""
    monkeypatch.setattr("pushrpc_client.window.OPENING_S", 0.4)
    fake.bulks = [answer]
    began = time.monotonic()
    with push.bulk(answer_timeout=0.5) as bulk:
        assert_unanswered(bulk.add(send("a")).exception(), "a")
        assert 0.9 <= time.monotonic() - began < 5
        if answer is silent:
            assert [message.sends[0].request_id for message in list(fake.messages.queue)] == ["a", "a"]
        fake.bulks = [answer_all]
        assert bulk.add(send("b")).result().notification_id == "n-b"


def test_a_server_that_never_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC asks for no message while the one before has no room on the stream."""
    monkeypatch.setattr("pushrpc_client.window.OPENING_S", 0.4)
    never = threading.Event()

    def unread(requests: Requests) -> Responses:
        never.wait(WAIT_S)
        yield from ()

    fake = Fake()
    fake.bulks = [unread]
    small = (("grpc.http2.lookahead_bytes", 65_535), ("grpc.http2.bdp_probe", 0))
    with serving(fake, options=small) as address, Client(address, "shop", plaintext=True) as push:
        began = time.monotonic()
        bulk = push.bulk(answer_timeout=0.5)
        futures = [bulk.add(send(f"{number}", body="x" * 400)) for number in range(500)]
        try:
            for number, future in enumerate(futures):
                assert_unanswered(future.exception(5), f"{number}")
            assert 0.9 <= time.monotonic() - began < 5
        finally:
            never.set()
            bulk.abort()


def test_callbacks_may_add(fake: Fake) -> None:
    more: list[Any] = []
    with Client(fake.address, "shop", plaintext=True) as push:
        bulk = push.bulk()

        def load() -> None:
            for _ in range(5_000):
                bulk.add(send()).add_done_callback(lambda _: more.append(bulk.add(send())))

        loading = threading.Thread(target=load, daemon=True)
        loading.start()
        loading.join(WAIT_S)
        deadline = time.monotonic() + WAIT_S
        while len(more) < 5_000 and time.monotonic() < deadline:
            time.sleep(0.02)  # paces the polling only
        assert (loading.is_alive(), len(more)) == (False, 5_000)
        bulk.close()
        assert all(future.done() and not future.exception() for future in more)


@pytest.mark.parametrize("ends", ["client", "bulk"])
def test_a_callback_that_waits_for_room_is_told_of_the_end(fake: Fake, ends: str) -> None:
    never, told = threading.Event(), threading.Event()
    raised: list[PushError] = []

    def one_only(requests: Requests) -> Responses:
        yield receipts(next(requests))
        never.wait(WAIT_S)

    def fill(_: Any) -> None:
        try:
            while True:
                bulk.add(send(targets=6_000))
        except PushError as error:
            raised.append(error)
            told.set()

    fake.bulks = [one_only]
    with Client(fake.address, "shop", plaintext=True) as push:
        bulk = push.bulk()
        bulk.add(send()).add_done_callback(fill)
        time.sleep(0.5)  # so that most often it waits; it must end alike when not
        assert not told.is_set()
        ending = threading.Thread(target=push.close if ends == "client" else bulk.abort, daemon=True)
        ending.start()
        assert told.wait(5)
        ending.join(5)
        assert not ending.is_alive()
        assert raised[0].reason == "CLIENT_CLOSED"
        never.set()


def test_a_callback_may_close(fake: Fake) -> None:
    closed = threading.Event()

    def close(_: Any) -> None:
        bulk.close()
        closed.set()

    with Client(fake.address, "shop", plaintext=True) as push:
        bulk = push.bulk()
        bulk.add(send()).add_done_callback(close)
        assert closed.wait(5)


def test_leaving_waits_for_the_callbacks(fake: Fake) -> None:
    told: list[Any] = []

    def slow(future: Any) -> None:
        time.sleep(0.2)
        told.append(future)

    with Client(fake.address, "shop", plaintext=True) as push:
        with push.bulk() as bulk:
            bulk.add(send()).add_done_callback(slow)
        assert told


def test_no_server_is_given_up_too(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pushrpc_client.window.OPENING_S", 0.2)
    with connect("127.0.0.1:1").bulk(answer_timeout=0.5) as bulk:
        assert_unanswered(bulk.add(send("a")).exception(), "a")


def assert_unanswered(error: BaseException | None, request_id: str) -> None:
    assert isinstance(error, PushError)
    assert (error.code, error.reason, error.request_id) == (grpc.StatusCode.UNAVAILABLE, "", request_id)
    assert "not known whether" in error.message


FINAL = frozenset({
    "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "ALREADY_EXISTS", "FAILED_PRECONDITION", "UNIMPLEMENTED",
    "UNAUTHENTICATED", "PERMISSION_DENIED",
})  # fmt: skip


@pytest.mark.parametrize("reason", ["", "SOME_REASON"])
@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_that_may_pass_reopens_the_stream(fake: Fake, push: Any, code: grpc.StatusCode, reason: str) -> None:
    def refuses(requests: Requests) -> Responses:
        next(requests)
        raise Refuses(code, reason)
        yield

    fake.bulks = [refuses, answer_all]
    with push.bulk() as bulk:
        failed = bulk.add(send("a")).exception()
    if code.name not in FINAL:
        assert failed is None
    else:
        assert isinstance(failed, PushError)
        assert (failed.code, failed.reason, failed.request_id) == (code, reason, "a")


def test_closing_the_client_ends_the_pause_between_two_streams(fake: Fake, push: Any) -> None:
    fake.bulks = [too_busy]
    with push.bulk() as bulk:
        future = bulk.add(send("a"))
        fake.messages.get(timeout=WAIT_S)
        time.sleep(0.1)  # so that most often it pauses; it must end alike when not
        began = time.monotonic()
        push.close()
        failed = future.exception()
        assert isinstance(failed, PushError) and failed.reason == "CLIENT_CLOSED", failed
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "garbled",
    [
        lambda request: v1.SendNotificationsResponse(sequence=request.sequence + 7),
        lambda request: v1.SendNotificationsResponse(sequence=request.sequence),
    ],
)
def test_an_answer_that_is_none_is_not_taken(fake: Fake, push: Any, garbled: Any) -> None:
    def script(requests: Requests) -> Responses:
        for request in requests:
            yield garbled(request)

    fake.bulks = [script, answer_all]
    with push.bulk() as bulk:
        assert bulk.add(send("a")).result().notification_id == "n-a"


def test_leaving_by_an_exception_gives_up(fake: Fake, push: Any) -> None:
    never = threading.Event()

    def silent(requests: Requests) -> Responses:
        for _ in requests:
            never.wait(WAIT_S)
        yield from ()

    fake.bulks = [silent]
    with pytest.raises(KeyError), push.bulk() as bulk:
        future = bulk.add(send("a"))
        raise KeyError
    never.set()
    failed = future.exception()
    assert isinstance(failed, PushError) and failed.code is grpc.StatusCode.CANCELLED


def test_closing_the_client_leaves_nobody_waiting(fake: Fake, push: Any) -> None:
    never = threading.Event()

    def silent(requests: Requests) -> Responses:
        for _ in requests:
            never.wait(WAIT_S)
        yield from ()

    fake.bulks = [silent]
    with push.bulk() as bulk:
        future = bulk.add(send("a"))
        fake.messages.get(timeout=WAIT_S)
        push.close()
        failed = future.exception()
        assert isinstance(failed, PushError) and failed.reason == "CLIENT_CLOSED", failed
        with pytest.raises(PushError, match="CLIENT_CLOSED"):
            bulk.add(send("b"))
    never.set()


def test_nothing_is_taken_after_closing(fake: Fake) -> None:
    with Client(fake.address, "shop", plaintext=True) as push:
        with push.bulk() as bulk:
            pass
        bulk.close()
        with pytest.raises(PushError, match="CLIENT_CLOSED"):
            bulk.add(send())


def test_many_threads_share_one(fake: Fake) -> None:
    with Client(fake.address, "shop", plaintext=True) as push, push.bulk() as bulk, ThreadPoolExecutor(8) as threads:
        futures = list(threads.map(lambda number: bulk.add(send(f"{number}")), range(2_000)))
        assert [future.result(WAIT_S).notification_id for future in futures] == [f"n-{n}" for n in range(2_000)]


async def test_many_tasks_share_one_and_some_lose_interest(fake: Fake) -> None:
    async with AsyncClient(fake.address, "shop", plaintext=True) as push, push.bulk() as bulk:

        async def one(number: int) -> str:
            return (await (await bulk.add(send(f"{number}")))).notification_id

        tasks = [asyncio.create_task(one(number)) for number in range(2_000)]
        await asyncio.sleep(0)
        for task in tasks[::7]:
            task.cancel()
        told = await asyncio.gather(*tasks, return_exceptions=True)
    kept = [each for number, each in enumerate(told) if number % 7]
    assert kept == [f"n-{number}" for number in range(2_000) if number % 7]
