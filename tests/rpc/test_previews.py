"""Dry runs, previews, and bodies that are cut only when the caller asks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf import json_format

from pushrpc.accounts import ApnsAccount
from pushrpc.providers import open_account
from pushrpc.record import NotificationFilter
from pushrpc.v1 import enums_pb2
from pushrpc.v1 import sending_pb2 as sending
from pushrpc.words import Provider, RejectReason
from tests.providers.conftest import Keys
from tests.rpc.harness import Running, failure, serving

TOKEN = "ab" * 32


@pytest.fixture
async def real(tmp_path: Path, keys: Keys) -> AsyncIterator[Running]:
    """Real accounts, so that payloads are those that would be sent."""
    apns = ApnsAccount("shop", "com.shop", cert_file=keys.file("cert.pem"), cert_key_file=keys.file("apple.p8"))
    accounts = {"shop": {Provider.APNS: [open_account(apns)]}}
    async with serving(tmp_path, accounts=accounts) as running:
        yield running


def request(**more: object) -> sending.PreviewNotificationRequest:
    return sending.PreviewNotificationRequest(app_id="shop", message={"title": "Hi", "body": "b"}, **more)  # type: ignore[arg-type]


async def test_a_preview_shows_payload_headers_and_sizes_without_credentials(real: Running) -> None:
    (preview,) = (await real.stub.PreviewNotification(request(), timeout=10)).previews
    assert json.loads(preview.payload)["aps"]["alert"] == {"title": "Hi", "body": "b"}
    assert preview.size_bytes == len(preview.payload.encode())
    assert preview.limit_bytes == 4096
    headers = {header.name: header.value for header in preview.headers}
    assert headers["apns-topic"] == "com.shop"
    assert "authorization" not in headers


async def test_a_message_that_cannot_be_sent_is_a_refusal_in_its_place(real: Running) -> None:
    asked = request()
    asked.message.body = "x" * 4096
    (preview,) = (await real.stub.PreviewNotification(asked, timeout=10)).previews
    assert RejectReason(preview.refusal.reason) is RejectReason.PAYLOAD_TOO_LARGE
    asked.options.truncate = True
    (preview,) = (await real.stub.PreviewNotification(asked, timeout=10)).previews
    assert list(preview.truncated) == ["message.body"]
    assert preview.size_bytes <= 4096


async def test_a_refused_preview_still_tells_size_and_limit(real: Running) -> None:
    asked = request()
    asked.message.body = "x" * 4096
    (preview,) = (await real.stub.PreviewNotification(asked, timeout=10)).previews
    assert (preview.size_bytes > 4096, preview.limit_bytes) == (True, 4096)
    assert f"has {preview.size_bytes} bytes" in preview.refusal.detail and not preview.payload
    asked = request()
    asked.message.apns.topic = "no topic"
    (preview,) = (await real.stub.PreviewNotification(asked, timeout=10)).previews
    assert RejectReason(preview.refusal.reason) is RejectReason.PROVIDER_APP_UNKNOWN
    assert 0 < preview.size_bytes < preview.limit_bytes == 4096
    asked.message.apns.push_type = enums_pb2.APNS_PUSH_TYPE_CONTROLS
    asked.message.apns_json = '{"aps": {"content-changed": null}}'
    (preview,) = (await real.stub.PreviewNotification(asked, timeout=10)).previews
    assert RejectReason(preview.refusal.reason) is RejectReason.FIELD_MISSING
    assert 0 < preview.size_bytes < preview.limit_bytes == 4096


async def test_a_provider_without_an_account_says_so(real: Running) -> None:
    asked = request(providers=[Provider.APNS, Provider.WNS])
    apple, windows = (await real.stub.PreviewNotification(asked, timeout=10)).previews
    assert apple.payload and not apple.HasField("refusal")
    assert (Provider(windows.provider), windows.payload, windows.size_bytes) == (Provider.WNS, "", 0)
    assert RejectReason(windows.refusal.reason) is RejectReason.PROVIDER_NOT_CONFIGURED
    assert Provider(windows.refusal.provider) is Provider.WNS
    assert "the app has no account at this provider" in windows.refusal.detail


async def test_an_audience_that_no_account_reaches_says_so(real: Running) -> None:
    audiences = [
        {"provider": 2, "topic": "news"},
        {"provider": 1, "provider_app_id": "com.other", "channel_id": "YQ=="},
    ]
    told = (await real.stub.PreviewNotification(request(provider_audiences=audiences), timeout=10)).previews
    assert [(each.provider, each.provider_app_id, each.audience) for each in told] == [
        (1, "com.shop", ""),
        (1, "com.other", "channel_id"),
        (2, "", ""),
        (2, "", "topic"),
    ]
    assert [RejectReason(each.refusal.reason) for each in told[1:]] == [
        RejectReason.PROVIDER_APP_UNKNOWN,
        RejectReason.PROVIDER_NOT_CONFIGURED,
        RejectReason.PROVIDER_NOT_CONFIGURED,
    ]


async def test_an_app_without_any_account_hears_it_of_every_provider(tmp_path: Path) -> None:
    async with serving(tmp_path, accounts={"shop": {}}) as running:
        told = (await running.stub.PreviewNotification(request(), timeout=10)).previews
    assert [Provider(each.provider) for each in told] == list(Provider)[1:]
    assert {RejectReason(each.refusal.reason) for each in told} == {RejectReason.PROVIDER_NOT_CONFIGURED}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, []),
        ({"priority": 3}, ["options.priority"]),
        ({"ttl": "60s"}, ["options.ttl"]),
        ({"expire_time": "2100-01-01T00:00:00Z"}, ["options.expire_time"]),
    ],
)
async def test_only_options_that_the_request_sets_are_dropped(
    real: Running, options: dict[str, object], told: list[str]
) -> None:
    asked = request()
    json_format.ParseDict(options, asked.options)
    if asked.options.HasField("expire_time"):
        asked.options.expire_time.FromMicroseconds(real.clock.now_us() + 60_000_000)
    asked.message.apns.push_type = enums_pb2.APNS_PUSH_TYPE_PUSH_TO_TALK
    (preview,) = (await real.stub.PreviewNotification(asked, timeout=10)).previews
    assert list(preview.dropped) == told


async def test_a_dry_run_answers_and_stores_nothing(running: Running) -> None:
    answer = await running.send("aa", "no token", request_id="r-1", options={"dry_run": True})
    assert (answer.target_count, len(answer.rejected), answer.notification_id) == (1, 1, "")
    assert await running.ledger.notifications("shop", NotificationFilter(), 0, 10) == ([], 0)
    assert not (await running.send("aa", request_id="r-1")).replayed


async def test_bodies_are_cut_only_when_asked_and_the_receipt_says_so(real: Running) -> None:
    target = {"tokens": [{"provider": 1, "tokens": [TOKEN]}]}
    asked = sending.SendNotificationRequest(app_id="shop", target=target, message={"body": "é" * 2048})  # type: ignore[arg-type]
    refused = await real.stub.SendNotification(asked, timeout=10)
    assert (refused.target_count, len(refused.rejected)) == (0, 1)
    asked.options.truncate = True
    cut = await real.stub.SendNotification(asked, timeout=10)
    assert cut.target_count == 1
    assert [Provider(each) for each in cut.truncated_providers] == [Provider.APNS]
    asked.message.body = "short"
    assert not (await real.stub.SendNotification(asked, timeout=10)).truncated_providers


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"provider": 1, "tokens": ["aa"]}, "ask_provider.provider"),
        ({"provider": 1, "tokens": []}, "ask_provider.tokens"),
        ({"provider": 5, "tokens": ["aa"]}, "ask_provider.provider"),
    ],
)
async def test_only_providers_that_can_check_are_asked(real: Running, asked: dict[str, object], field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await real.stub.PreviewNotification(request(ask_provider=asked), timeout=10)
    assert failure(error.value).fields == [field]


@pytest.mark.parametrize(
    ("field", "patch", "path"),
    [
        ("apns_json", {"aps": {"badge": "1"}}, "aps.badge"),
        ("fcm_json", {"android": {"ttl": "5"}}, "android.ttl"),
        ("hms_json", {"notification": 5}, "notification"),
        ("web_push_json", {"actions": {}}, "actions"),
    ],
)
async def test_a_patch_of_another_shape_is_refused_before_the_accept(
    running: Running, field: str, patch: dict[str, object], path: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await running.send("aa", request_id="r-1", message={"title": "Hi", field: json.dumps(patch)})
    told = failure(error.value)
    assert (told.code, told.reason, told.fields) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "OVERRIDE_INVALID",
        [f"message.{field}"],
    )
    assert f"{path} must be" in str(error.value.details())
    assert not (await running.ledger.notifications("shop", NotificationFilter(), 0, 10))[0]
