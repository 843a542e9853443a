"""Calls: what is filled in, what is repeated, and what an error tells."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from certificates import Authority
from fake import UNAVAILABLE, WAIT_S, Fake, Refuses, serving

from pushrpc_client import AsyncClient, FieldViolation, PushError, Tls, v1
from pushrpc_client.connection import connection

SERVICE_CONFIG = "grpc.service_config"
HELLO = v1.SendNotificationRequest(target=v1.Target(user_ids=["ann"]), message=v1.NotificationContent(title="Hello"))


def test_a_send_gets_app_and_request_id_and_the_callers_message_stays(fake: Fake, push: Any) -> None:
    before = HELLO.SerializeToString()
    assert push.send(HELLO).notification_id == "n"
    assert push.send(HELLO).notification_id == "n"
    assert HELLO.SerializeToString() == before
    first, second = fake.sends
    assert (first.app_id, first.message.title) == ("shop", "Hello")
    assert first.request_id and first.request_id != second.request_id


def test_what_the_caller_set_is_kept(fake: Fake, push: Any) -> None:
    push.send(v1.SendNotificationRequest(app_id="other", request_id="order-1"))
    assert (fake.sends[0].app_id, fake.sends[0].request_id) == ("other", "order-1")


def test_other_calls_get_the_app_too(push: Any) -> None:
    assert push.server_info().server_version == "shop"


@pytest.mark.parametrize(
    "lost",
    [
        UNAVAILABLE,
        Refuses(grpc.StatusCode.UNKNOWN),
        Refuses(grpc.StatusCode.INTERNAL),
        Refuses(grpc.StatusCode.CANCELLED),
    ],
)
def test_a_send_is_repeated_under_its_request_id_when_the_answer_is_lost(fake: Fake, push: Any, lost: Refuses) -> None:
    fake.answers.insert(0, lost)
    fake.answers.insert(0, lost)
    assert push.send(HELLO).notification_id == "n"
    assert len(fake.sends) == 3
    assert len({send.request_id for send in fake.sends}) == 1


def test_a_proxys_own_reason_hides_no_lost_answer(fake: Fake, push: Any) -> None:
    fake.answers.insert(0, Refuses(grpc.StatusCode.UNKNOWN, "UPSTREAM_RESET", domain="proxy.example", via="proxy"))
    push.send(HELLO)
    assert len(fake.sends) == 2
    fake.answers.insert(0, Refuses(grpc.StatusCode.ABORTED, "UPSTREAM_RESET", domain="proxy.example", via="proxy"))
    with pytest.raises(PushError) as caught:
        push.send(HELLO)
    assert (caught.value.reason, caught.value.metadata) == ("", {})


def test_what_no_server_would_read_is_refused_here(fake: Fake, push: Any) -> None:
    def sized(more: int) -> v1.SendNotificationRequest:
        return v1.SendNotificationRequest(app_id="shop", request_id="x" * (4 * 1024 * 1024 - 11 + more))

    assert sized(0).ByteSize() == 4 * 1024 * 1024
    push.send(sized(0))
    with pytest.raises(PushError) as caught:
        push.send(sized(1))
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_TOO_LONG")
    assert caught.value.request_id == sized(1).request_id
    with pytest.raises(PushError, match="FIELD_TOO_LONG"):
        push.register(v1.RegisterDeviceRequest(token=sized(1).request_id))
    assert len(fake.sends) == 1


def test_a_repeat_comes_no_sooner_than_the_server_asks(fake: Fake, push: Any) -> None:
    fake.answers.insert(0, Refuses(grpc.StatusCode.UNAVAILABLE, "DRAINING", 0.6))
    began = time.monotonic()
    push.send(HELLO)
    assert time.monotonic() - began >= 0.6


def test_nobody_waits_for_a_repeat_that_would_come_too_late(fake: Fake, push: Any) -> None:
    fake.answers[:] = [Refuses(grpc.StatusCode.UNAVAILABLE, "DRAINING", 30)]
    began = time.monotonic()
    with pytest.raises(PushError) as caught:
        push.send(HELLO, timeout=2)
    assert time.monotonic() - began < 1.5
    assert (caught.value.reason, caught.value.retry_delay) == ("DRAINING", 30)
    assert len(fake.sends) == 1


def test_repeats_end_with_the_deadline(fake: Fake, push: Any) -> None:
    fake.answers[:] = [UNAVAILABLE]
    began = time.monotonic()
    with pytest.raises(PushError) as caught:
        push.send(HELLO, timeout=0.8)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert time.monotonic() - began < 2
    assert len(fake.sends) > 1


@pytest.mark.parametrize(
    "refusal",
    [
        Refuses(grpc.StatusCode.INTERNAL, "INTERNAL_ERROR", error_id="1"),
        Refuses(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", 0.1),
        Refuses(grpc.StatusCode.RESOURCE_EXHAUSTED),
        Refuses(grpc.StatusCode.ABORTED),
        Refuses(grpc.StatusCode.DEADLINE_EXCEEDED),
        Refuses(grpc.StatusCode.PERMISSION_DENIED),
    ],
)
def test_what_the_server_means_is_not_repeated(fake: Fake, push: Any, refusal: Refuses) -> None:
    fake.answers.insert(0, refusal)
    with pytest.raises(PushError) as caught:
        push.send(HELLO)
    assert caught.value.code is refusal.code
    assert len(fake.sends) == 1
    assert caught.value.request_id == fake.sends[0].request_id != ""


def test_a_send_that_fails_has_the_callers_request_id(fake: Fake, push: Any) -> None:
    fake.answers[:] = [UNAVAILABLE]
    with pytest.raises(PushError) as caught:
        push.send(v1.SendNotificationRequest(request_id="order-1"), timeout=0.3)
    assert caught.value.request_id == "order-1"


def test_a_receipt_may_be_larger_than_gRPCs_own_limit(fake: Fake, push: Any) -> None:
    large = v1.SendNotificationResponse(notification_id="n" * (15 * 1024 * 1024))
    fake.answers[:] = [large]
    assert push.send(HELLO) == large


def test_closing_twice_is_harmless_and_all_that_comes_after_is_an_error(fake: Fake, push: Any) -> None:
    push.send(HELLO)
    push.close()
    push.close()
    for call in (lambda: push.send(HELLO), push.server_info, lambda: next(push.follow("n"))):
        with pytest.raises(PushError) as caught:
            call()
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.CANCELLED, "CLIENT_CLOSED")
    with push.bulk() as bulk:
        failed = bulk.add(HELLO).exception()
    assert isinstance(failed, PushError) and failed.reason == "CLIENT_CLOSED"


@pytest.mark.parametrize("name", ["send", "report_engagement"])
def test_closing_ends_the_calls_under_way(connect: Callable[..., Any], name: str) -> None:
    came, release = threading.Event(), threading.Event()

    def hangs(_: Fake, request: Any, context: Any) -> Any:
        came.set()
        release.wait(WAIT_S)
        return v1.SendNotificationResponse() if name == "send" else v1.ReportEngagementResponse()

    kind = type("Hangs", (Fake,), {"SendNotification": hangs, "ReportEngagement": hangs})
    request = HELLO if name == "send" else v1.ReportEngagementRequest()
    with serving(kind()) as address, ThreadPoolExecutor(1) as threads:
        push = connect(address)
        calling = threads.submit(getattr(push, name), request)
        assert came.wait(WAIT_S)
        push.close()
        failed = calling.exception(WAIT_S)
        release.set()
    assert isinstance(failed, PushError) and failed.reason == "CLIENT_CLOSED", failed


def test_closing_wakes_a_send_that_pauses(fake: Fake, push: Any) -> None:
    fake.answers = [Refuses(grpc.StatusCode.UNAVAILABLE, "STARTING", retry_delay=30)]
    with ThreadPoolExecutor(1) as threads:
        began = time.monotonic()
        waiting = threads.submit(push.send, v1.SendNotificationRequest(request_id="order-1"), timeout=60)
        while not fake.sends:
            time.sleep(0.01)  # paces the polling only
            assert time.monotonic() < began + 20
        time.sleep(0.1)  # so that most often it pauses by now; it must end alike when not
        push.close()
        with pytest.raises(PushError) as caught:
            waiting.result(20)
    assert (caught.value.reason, caught.value.request_id) == ("CLIENT_CLOSED", "order-1")


async def test_a_task_that_is_cancelled_stays_cancelled(fake: Fake) -> None:
    fake.answers[:] = [Refuses(grpc.StatusCode.UNAVAILABLE, "DRAINING", 5)]
    async with AsyncClient(fake.address, "shop", plaintext=True) as push:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await push.send(HELLO)


def test_an_error_tells_all_that_the_server_told(fake: Fake, push: Any) -> None:
    wrong = [("wait", "is too long"), ("message.badge", "is negative")]
    fake.answers[:] = [
        Refuses(grpc.StatusCode.INVALID_ARGUMENT, "WAIT_TOO_LONG", None, wrong, field="wait", limit="30")
    ]
    with pytest.raises(PushError, match=r"^WAIT_TOO_LONG: refused$") as caught:
        push.send(HELLO)
    error = caught.value
    assert (error.code, error.reason, error.message) == (grpc.StatusCode.INVALID_ARGUMENT, "WAIT_TOO_LONG", "refused")
    assert error.metadata == {"field": "wait", "limit": "30"}
    assert error.field_violations == tuple(FieldViolation(*each) for each in wrong)
    assert error.retry_delay is None and not error.is_transient


def test_gRPC_itself_repeats_what_may_be_called_twice(fake: Fake, connect: Callable[..., Any]) -> None:
    calls = iter([UNAVAILABLE, UNAVAILABLE])

    def info(_: Fake, request: v1.GetServerInfoRequest, context: Any) -> v1.GetServerInfoResponse:
        for refusal in calls:
            refusal.end(context)
        return v1.GetServerInfoResponse(server_version="third")

    with serving(type("Flaky", (Fake,), {"GetServerInfo": info})()) as address:
        assert connect(address).server_info().server_version == "third"


def test_gRPC_repeats_the_methods_that_the_contract_names(fake: Fake, push: Any) -> None:
    theirs = json.loads((Path(__file__).parents[3] / "proto" / "service_config.json").read_text())
    told = json.loads(dict(connection("h:1", plaintext=True, tls=None, token=None, options=()).options)[SERVICE_CONFIG])
    (ours,) = told["methodConfig"]
    (named,) = (each for each in theirs["methodConfig"] if "retryPolicy" in each)
    assert sorted(each["method"] for each in ours["name"]) == sorted(each["method"] for each in named["name"])
    assert ours["retryPolicy"] == named["retryPolicy"]
    fake.reports[:] = [UNAVAILABLE, None]
    assert push.report_engagement(v1.ReportEngagementRequest()) == v1.ReportEngagementResponse()


def raises() -> str:
    raise OSError("the vault is sealed")


@pytest.mark.parametrize("is_plain", [True, False], ids=["plaintext", "TLS"])
@pytest.mark.parametrize("token", [raises, lambda: "t0ken\n", lambda: None], ids=["raises", "line break", "none"])
def test_a_token_that_cannot_be_had_is_an_error_of_each_call(
    fake: Fake, connect: Callable[..., Any], token: Any, is_plain: bool
) -> None:
    push = connect(fake.address, token=token, plaintext=is_plain)
    errors = []
    for call in (lambda: push.send(HELLO), push.server_info, lambda: next(push.follow("n"))):
        with pytest.raises(PushError, match="TOKEN_UNAVAILABLE: no bearer token") as caught:
            call()
        errors.append(caught.value)
    with push.bulk() as bulk:
        errors.append(bulk.add(HELLO).exception())
    assert {error.code for error in errors} == {grpc.StatusCode.UNAUTHENTICATED}
    assert errors[0].request_id and errors[3].request_id
    assert not fake.sends and not fake.followed


@pytest.mark.parametrize("token", ["t0ken", lambda: "t0ken"])
def test_a_token_travels_with_every_kind_of_call(fake: Fake, connect: Callable[..., Any], token: Any) -> None:
    push = connect(fake.address, token=token)
    push.send(HELLO)
    fake.streams.append(lambda *_: iter([v1.StreamDeliveryStatusResponse(cursor="1", end=v1.StreamEnd())]))
    assert list(push.follow("n")) == []
    with push.bulk() as bulk:
        bulk.add(HELLO)
    assert [each["authorization"] for each in fake.metadata] == ["Bearer t0ken"] * 3


def test_tls_with_an_own_authority_and_a_client_certificate(
    fake: Fake, connect: Callable[..., Any], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    server, client = authority.issue("localhost"), authority.issue("caller")
    pair = (server.key_file.read_bytes(), server.cert_file.read_bytes())
    trust = grpc.ssl_server_credentials([pair], authority.ca_file.read_bytes(), require_client_auth=True)
    with serving(fake, "localhost:0", trust) as address:
        tls = Tls(authority.ca_file, client.cert_file, client.key_file)
        connect(address, plaintext=False, tls=tls, token="t0ken").send(HELLO)
        assert fake.metadata[0]["authorization"] == "Bearer t0ken"
        for stranger in (Tls(authority.ca_file), None):
            with pytest.raises(PushError) as caught:
                connect(address, plaintext=False, tls=stranger).send(HELLO, timeout=1)
            assert caught.value.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    assert len(fake.sends) == 1


def test_plaintext_and_tls_exclude_each_other(connect: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="exclude"):
        connect("localhost:1", tls=Tls())
    with pytest.raises(ValueError, match="belong together"):
        connect("localhost:1", plaintext=False, tls=Tls(cert_file="me.pem"))


def test_details_that_are_none_of_ours_are_left_alone(push: Any, fake: Fake) -> None:
    refusal = Refuses(grpc.StatusCode.PERMISSION_DENIED, "ANY")
    fake.answers[:] = [refusal]
    refusal.status = type("Garbage", (), {"details": [1], "SerializeToString": lambda _: b"\xff\xff"})()
    with pytest.raises(PushError) as caught:
        push.send(HELLO)
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.PERMISSION_DENIED, "")
