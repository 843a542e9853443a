"""Every reason of the contract's table, as a caller meets it: code, reason, metadata, field paths, advice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from pushrpc.ledger import LedgerFull, LedgerUnavailable, QueueFull
from pushrpc.model import Send
from pushrpc.rpc.errors import Reason, Refusal, failure_of, rich_status
from pushrpc.v1 import devices_pb2 as devices
from pushrpc.v1 import following_pb2 as following
from pushrpc.v1 import sending_pb2 as sending
from pushrpc.v1 import service_pb2 as service
from pushrpc.words import Provider
from tests.rpc.harness import Failure, Running, failure, send_request, serving

INVALID = grpc.StatusCode.INVALID_ARGUMENT


class Case(NamedTuple):
    reason: str
    method: str
    request: Any
    fields: Sequence[str] = ()
    limit: str = ""
    position: str = ""

    def __str__(self) -> str:
        return f"{self.reason}-{self.fields[0] if self.fields else self.method}"


def send(reason: str, *fields: str, limit: str = "", position: str = "", **request: Any) -> Case:
    request.setdefault("target", {"tokens": [{"provider": Provider.APNS, "tokens": ["aa"]}]})
    return Case(reason, "SendNotification", send_request(**request), fields, limit, position)


def message(reason: str, field: str, limit: str = "", **content: Any) -> Case:
    return send(reason, f"message.{field}", limit=limit, message={"title": "x"} | content)


def options(reason: str, field: str, limit: str = "", **values: Any) -> Case:
    return send(reason, f"options.{field}", limit=limit, options=values)


def register(reason: str, *fields: str, limit: str = "", **request: Any) -> Case:
    given: dict[str, Any] = {"app_id": "shop", "provider": Provider.APNS, "token": "aa"} | request
    return Case(reason, "RegisterDevice", devices.RegisterDeviceRequest(**given), fields, limit)


def stream(reason: str, *fields: str, limit: str = "", **request: Any) -> Case:
    given = following.StreamDeliveryStatusRequest(**{"app_id": "shop"} | request)
    return Case(reason, "StreamDeliveryStatus", given, fields, limit)


def update(reason: str, *fields: str, **request: Any) -> Case:
    given = devices.UpdateDeviceRequest(**{"app_id": "shop", "device_id": "d-1"} | request)
    return Case(reason, "UpdateDevice", given, fields)


def tokens(count: int) -> dict[str, Any]:
    return {"tokens": [{"provider": Provider.APNS, "tokens": ["aa"] * count}]}


def many(count: int) -> list[str]:
    return [f"t{i}" for i in range(count)]


INVALID_CASES = [
    *(
        Case("APP_ID_REQUIRED", method, request, ["app_id"])
        for method, request in [
            ("RegisterDevice", devices.RegisterDeviceRequest()),
            ("UpdateDevice", devices.UpdateDeviceRequest()),
            ("UnregisterDevice", devices.UnregisterDeviceRequest()),
            ("GetDevice", devices.GetDeviceRequest()),
            ("ListDevices", devices.ListDevicesRequest()),
            ("SendNotification", sending.SendNotificationRequest()),
            ("CancelNotification", sending.CancelNotificationRequest()),
            ("GetNotification", following.GetNotificationRequest()),
            ("ListNotifications", following.ListNotificationsRequest()),
            ("ListDeliveries", following.ListDeliveriesRequest()),
            ("StreamDeliveryStatus", following.StreamDeliveryStatusRequest()),
            ("GetServerInfo", service.GetServerInfoRequest()),
        ]
    ),
    # --- targets
    send("TARGET_EMPTY", "target", target=None),
    send("TARGET_EMPTY", "target", target={"tokens": [{"provider": Provider.APNS}]}),
    send("TARGET_TOO_LARGE", "target", limit="1000", target=tokens(1_001)),
    send("TARGET_TOO_LARGE", "target", limit="1000", target=tokens(999) | {"device_ids": ["d"], "user_ids": ["u"]}),
    send("FIELD_REQUIRED", "target.tokens[1].provider", target={"tokens": [*tokens(1)["tokens"], {"tokens": ["b"]}]}),
    send("ENUM_UNKNOWN", "target.tokens[0].provider", target={"tokens": [{"provider": 99, "tokens": ["b"]}]}),
    send(
        "ENUM_UNKNOWN", "target.tokens[0].environment", target={"tokens": [tokens(1)["tokens"][0] | {"environment": 9}]}
    ),
    send(
        "ENUM_UNKNOWN", "target.tokens[0].token_kind", target={"tokens": [tokens(1)["tokens"][0] | {"token_kind": 99}]}
    ),
    send(
        "FIELD_TOO_LONG",
        "target.tokens[0].tokens[1]",
        limit="4096",
        position="1",
        target={"tokens": [{"provider": Provider.FCM, "tokens": ["aa", "a" * 4_097]}]},
    ),
    send("FIELD_TOO_LONG", "target.device_ids[1]", limit="128", position="1", target={"device_ids": ["d", "d" * 129]}),
    send("FIELD_TOO_LONG", "target.user_ids[0]", limit="256", position="0", target={"user_ids": ["é" * 129]}),
    send("FIELD_INVALID", "target.device_ids[0]", position="0", target={"device_ids": [""]}),
    send("FIELD_INVALID", "target.user_ids[0]", position="0", target={"user_ids": ["u\0"]}),
    # --- what is sent
    send("FIELD_REQUIRED", "message", message=None),
    send("FIELD_REQUIRED", "message", message={}),
    send("FIELD_TOO_LONG", "request_id", limit="128", request_id="r" * 129),
    message("FIELD_TOO_LONG", "title", "1024", title="é" * 513),
    message("FIELD_TOO_LONG", "subtitle", "1024", subtitle="s" * 1_025),
    message("FIELD_TOO_LONG", "body", "4096", body="b" * 4_097),
    message("FIELD_TOO_LONG", "category", "256", category="c" * 257),
    message("FIELD_TOO_LONG", "data", "4096", data={"key": "d" * 4_094}),
    message("FIELD_TOO_LONG", "title_loc_args", "64", title_loc_args=many(65)),
    message("FIELD_INVALID", "image_url", image_url="http://example.com/x.png"),
    message("FIELD_INVALID", "badge", badge=-1),
    message("FIELD_INVALID", "data", data={"": "x"}),
    message("FIELD_INVALID", "apns.relevance_score", apns={"relevance_score": 1.5}),
    message("FIELD_INVALID", "apns.critical_sound_volume", apns={"critical_sound_volume": float("nan")}),
    message("FIELD_INVALID", "fcm.analytics_label", fcm={"analytics_label": "not allowed"}),
    message("ENUM_UNKNOWN", "apns.push_type", apns={"push_type": 99}),
    message("ENUM_UNKNOWN", "apns.interruption_level", apns={"interruption_level": 9}),
    *(
        send("FIELDS_CONFLICT", f"message.{field}", message={"silent": True, field: value})
        for field, value in [("title", "x"), ("body", "x"), ("badge", 0), ("sound", "x"), ("subtitle", "x")]
    ),
    *(
        message("DATA_KEY_RESERVED", "data", data={key: "x"})
        for key in (
            "notification_id",
            "aps",
            "from",
            "gcm",
            "google.x",
            "googled",
            "message_type",
            "gcm.notification.a",
        )
    ),
    *(
        message("OVERRIDE_INVALID", field, **{field: text})
        for field in ("apns_json", "fcm_json")
        for text in ("[]", "{", '"x"', '{"x": NaN}', "[" * 3_000)
    ),
    message("OVERRIDE_INVALID", "fcm_json", fcm_json='{"token": "another"}'),
    message("PAYLOAD_TOO_LARGE", "apns_json", "5120", apns_json=f'{{"x":"{"y" * 5_120}"}}'),
    message("PAYLOAD_TOO_LARGE", "fcm_json", "12288", fcm_json=f'{{"x":"{"y" * 12_288}"}}'),
    # --- how
    options("TTL_INVALID", "ttl", ttl={"seconds": -1}),
    options("TTL_INVALID", "ttl", str(28 * 86_400), ttl={"seconds": 28 * 86_400 + 1}),
    options("TTL_INVALID", "expire_time", expire_time={"seconds": 1_000_000}),
    options("TTL_INVALID", "expire_time", str(28 * 86_400), expire_time={"seconds": 253_402_300_799}),
    options("ENUM_UNKNOWN", "priority", priority=9),
    options("FIELD_TOO_LONG", "collapse_key", "64", collapse_key="c" * 65),
    options("FIELD_TOO_LONG", "labels", "16", labels=dict.fromkeys(many(17), "v")),
    options("FIELD_TOO_LONG", "labels key", "64", labels={"k" * 65: "v"}),
    options("FIELD_TOO_LONG", "labels value", "256", labels={"k": "v" * 257}),
    options("FIELD_INVALID", "labels key", labels={"": "v"}),
    send("WAIT_TOO_LONG", "wait", limit="30", wait={"seconds": 30, "nanos": 1}),
    send("FIELD_INVALID", "wait", wait={"seconds": -1}),
    # --- devices
    register("FIELD_REQUIRED", "provider", provider=0),
    register("FIELD_REQUIRED", "token", token=""),
    register("ENUM_UNKNOWN", "provider", provider=77),
    register("ENUM_UNKNOWN", "permission", permission=77),
    register("ENUM_UNKNOWN", "token_kind", token_kind=77),
    register("ENUM_UNKNOWN", "environment", environment=77),
    register("TOKEN_MALFORMED", "token", token="not hex"),
    register("FIELD_TOO_LONG", "token", limit="4096", token="a" * 4_097),
    register("FIELD_TOO_LONG", "device_id", limit="128", device_id="d" * 129),
    register("FIELD_TOO_LONG", "user_id", limit="256", user_id="u" * 257),
    register("FIELD_TOO_LONG", "installation_id", limit="128", installation_id="i" * 129),
    register("FIELD_TOO_LONG", "tags", limit="64", tags=many(65)),
    register("FIELD_TOO_LONG", "tags[1]", limit="120", tags=["t", "t" * 121]),
    register("FIELD_TOO_LONG", "topics", limit="64", topics=many(65)),
    register("FIELD_TOO_LONG", "topics[0]", limit="120", topics=["t" * 121]),
    register("FIELD_TOO_LONG", "metadata", limit="32", metadata=dict.fromkeys(many(33), "v")),
    register("FIELD_INVALID", "tags[0]", tags=[""]),
    register("FIELD_INVALID", "location.latitude", location={"latitude": 90.1}),
    register("FIELD_INVALID", "location.longitude", location={"longitude": -180.1}),
    register("FIELD_INVALID", "location.accuracy_m", location={"accuracy_m": -1}),
    register("FIELD_INVALID", "registered_time", registered_time={"seconds": -5}),
    update("MASK_INVALID", "update_mask"),
    update("MASK_INVALID", "update_mask.paths[1]", update_mask={"paths": ["user_id", "token"]}),
    update("FIELDS_CONFLICT", "add_tags", update_mask={"paths": ["tags"]}, add_tags=["t"]),
    update("FIELD_REQUIRED", "device_id", device_id="", add_tags=["t"]),
    Case("FIELD_REQUIRED", "GetDevice", devices.GetDeviceRequest(app_id="shop"), ["device_id"]),
    Case("FIELD_REQUIRED", "GetDevice", devices.GetDeviceRequest(app_id="shop", token="aa"), ["provider"]),
    Case(
        "FIELDS_CONFLICT",
        "UnregisterDevice",
        devices.UnregisterDeviceRequest(app_id="shop", device_id="d", user_id="u"),
        ["user_id"],
    ),
    Case("FIELD_INVALID", "ListDevices", devices.ListDevicesRequest(app_id="shop", page_size=-1), ["page_size"], "0"),
    Case(
        "PAGE_TOKEN_INVALID", "ListDevices", devices.ListDevicesRequest(app_id="shop", page_token="x"), ["page_token"]
    ),
    Case(
        "ENUM_UNKNOWN",
        "ListDevices",
        devices.ListDevicesRequest(app_id="shop", filter={"states": [1, 99]}),  # type: ignore[arg-type]
        ["filter.states[1]"],
        position="1",
    ),
    # --- following
    Case("FIELD_REQUIRED", "GetNotification", following.GetNotificationRequest(app_id="shop"), ["notification_id"]),
    Case(
        "FIELDS_CONFLICT",
        "CancelNotification",
        sending.CancelNotificationRequest(app_id="shop", notification_id="n", labels={"a": "b"}),
        ["labels"],
    ),
    Case("FIELD_REQUIRED", "ListDeliveries", following.ListDeliveriesRequest(app_id="shop"), ["notification_id"]),
    stream("CURSOR_INVALID", "cursor", cursor="forged"),
    stream("FIELDS_CONFLICT", "start", cursor="x" * 28, start=1),
    stream("FIELDS_CONFLICT", "start", request_ids=["r"], start=2),
    stream("ENUM_UNKNOWN", "start", start=9),
    stream("ENUM_UNKNOWN", "states[0]", states=[99]),
    stream("ENUM_UNKNOWN", "kinds[0]", kinds=[99]),
    stream("FIELD_TOO_LONG", "notification_ids", limit="1000", notification_ids=many(500), request_ids=many(501)),
]


async def refused(running: Running, case: Case) -> Failure:
    call = getattr(running.stub, case.method)(case.request, timeout=10)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        if case.method == "StreamDeliveryStatus":
            await call.read()
        else:
            await call
    return failure(error.value)


@pytest.mark.parametrize("case", INVALID_CASES, ids=str)
async def test_malformed_requests(running: Running, case: Case) -> None:
    told = await refused(running, case)
    assert (told.code, told.reason, told.fields) == (INVALID, case.reason, list(case.fields))
    assert told.metadata["field"] == case.fields[0]
    assert told.metadata.get("limit", "") == case.limit
    if case.position:
        assert told.metadata["position"] == case.position
    assert told.message.startswith(case.fields[0])
    assert Reason[case.reason].advice in told.message
    assert told.retry_after_s is None


async def test_every_wrong_field_of_a_request_is_told(running: Running) -> None:
    request = send_request(
        "aa",
        request_id="r" * 129,
        message={"title": "t" * 1_025, "silent": True},
        options={"ttl": {"seconds": -1}, "priority": 9},
        wait={"seconds": 31},
    )
    told = await refused(running, Case("", "SendNotification", request))
    assert told.fields == ["wait", "request_id", "message.title", "message.title", "options.ttl", "options.priority"]
    assert told.reason == "WAIT_TOO_LONG"


async def test_what_is_just_over_a_limit_is_not_told_as_the_limit(running: Running) -> None:
    request = send_request("aa", options={"ttl": {"seconds": 28 * 86_400, "nanos": 1}}, wait={"seconds": 30})
    told = await refused(running, Case("", "SendNotification", request))
    assert told.message.startswith("options.ttl is more than 28 days ahead; ")
    request = send_request("aa", options={"ttl": {"seconds": 28 * 86_400}}, wait={"seconds": 30, "nanos": 1})
    told = await refused(running, Case("", "SendNotification", request))
    assert told.message.startswith("wait is more than 30s; ")


async def test_messages_do_not_quote_tokens_or_texts(running: Running) -> None:
    request = send_request(
        message={"title": "secret title" * 100, "body": "x", "data": {"secret_key" * 500: "v"}},
        target={"tokens": [{"provider": Provider.APNS, "tokens": ["5ec12e7" * 1_000]}]},
    )
    told = await refused(running, Case("", "SendNotification", request))
    assert len(told.fields) == 3
    assert "secret" not in told.message
    assert "5ec12e7" not in told.message
    assert "7,000 bytes, the limit is 4,096" in told.message


NOT_FOUND_CASES = [
    Case("APP_NOT_FOUND", "GetDevice", devices.GetDeviceRequest(app_id="nobody", device_id="d")),
    Case("APP_NOT_FOUND", "GetDevice", devices.GetDeviceRequest(app_id="No App!", device_id="d")),
    Case("APP_NOT_FOUND", "SendNotification", send_request("aa", app_id="nobody")),
    Case("APP_NOT_FOUND", "StreamDeliveryStatus", following.StreamDeliveryStatusRequest(app_id="nobody")),
    Case("DEVICE_NOT_FOUND", "GetDevice", devices.GetDeviceRequest(app_id="shop", device_id="d")),
    update("DEVICE_NOT_FOUND", add_tags=["t"]),
    Case("NOTIFICATION_NOT_FOUND", "GetNotification", following.GetNotificationRequest(app_id="shop", request_id="r")),
    Case("DEVICE_NOT_FOUND", "ListDeliveries", following.ListDeliveriesRequest(app_id="shop", device_id="nobody")),
    Case(
        "NOTIFICATION_NOT_FOUND", "ListDeliveries", following.ListDeliveriesRequest(app_id="shop", notification_id="n")
    ),
    Case(
        "NOTIFICATION_NOT_FOUND",
        "CancelNotification",
        sending.CancelNotificationRequest(app_id="shop", notification_id="n"),
    ),
    stream("NOTIFICATION_NOT_FOUND", notification_ids=["n"]),
]


@pytest.mark.parametrize("case", NOT_FOUND_CASES, ids=str)
async def test_unknown_names(running: Running, case: Case) -> None:
    told = await refused(running, case)
    assert (told.code, told.reason, told.fields) == (grpc.StatusCode.NOT_FOUND, case.reason, [])


async def test_another_apps_things_are_as_unknown_as_any(running: Running) -> None:
    receipt = await running.send("aa", request_id="r-1")
    await running.stub.RegisterDevice(
        devices.RegisterDeviceRequest(app_id="shop", provider=Provider.APNS, token="bb", device_id="d-1")  # type: ignore[arg-type]
    )
    foreign = receipt.notification_id
    for case in [
        Case("", "GetDevice", devices.GetDeviceRequest(app_id="news", device_id="d-1")),
        Case("", "GetNotification", following.GetNotificationRequest(app_id="news", notification_id=foreign)),
        Case("", "ListDeliveries", following.ListDeliveriesRequest(app_id="news", notification_id=foreign)),
        Case("", "CancelNotification", sending.CancelNotificationRequest(app_id="news", request_id="r-1")),
    ]:
        assert (await refused(running, case)).code is grpc.StatusCode.NOT_FOUND
    told = await refused(running, stream("", app_id="news", cursor=receipt.cursor))
    assert told.reason == "CURSOR_INVALID"


@pytest.mark.parametrize(
    "request_fields", [{"provider": Provider.WNS}, {"provider_app_id": "com.other"}], ids=["provider", "account"]
)
async def test_registering_for_a_provider_without_an_account(running: Running, request_fields: dict[str, Any]) -> None:
    told = await refused(running, register("", **request_fields))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PROVIDER_NOT_CONFIGURED")
    assert told.metadata["provider"] in ("WNS", "APNS")


async def test_a_request_id_stands_for_one_request(running: Running) -> None:
    await running.send("aa", request_id="r-1")
    told = await refused(running, send("", request_id="r-1", message={"title": "another"}))
    assert (told.code, told.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert told.metadata == {"field": "request_id"}


RETRYABLE = [
    (LedgerUnavailable("x"), grpc.StatusCode.UNAVAILABLE, "LEDGER_UNAVAILABLE", 1.0),
    (LedgerFull("x"), grpc.StatusCode.RESOURCE_EXHAUSTED, "LEDGER_FULL", 60.0),
    (QueueFull("x"), grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", 5.0),
]


@pytest.mark.parametrize(("error", "code", "reason", "retry_after_s"), RETRYABLE, ids=lambda case: str(case)[:20])
async def test_what_may_work_later_says_when(
    running: Running,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: grpc.StatusCode,
    reason: str,
    retry_after_s: float,
) -> None:
    async def accept(sends: Sequence[Send]) -> Sequence[Exception]:
        return [error]

    monkeypatch.setattr(running.ledger, "accept", accept)
    told = await refused(running, send("", request_id="r-1"))
    assert (told.code, told.reason, told.retry_after_s) == (code, reason, retry_after_s)
    assert told.pushback_ms == str(int(retry_after_s * 1_000))
    assert told.has_quota_failure == (code is grpc.StatusCode.RESOURCE_EXHAUSTED)


async def test_a_bug_is_told_by_an_id_and_nothing_else(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(running.service._telemetry, "failed", lambda where, error: logged.append(where))

    async def tail() -> int:
        raise KeyError("secret token")

    monkeypatch.setattr(running.ledger, "tail", tail)
    told = await refused(running, stream(""))
    assert (told.code, told.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL_ERROR")
    assert "secret" not in told.message
    assert logged == [f"StreamDeliveryStatusRequest {told.metadata['error_id']}"]


async def test_while_starting_every_call_is_to_come_back(tmp_path: Path) -> None:
    async with serving(tmp_path, begin=False) as running:
        for case in (send(""), stream(""), Case("", "GetServerInfo", service.GetServerInfoRequest(app_id="shop"))):
            told = await refused(running, case)
            assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "STARTING")
            assert (told.retry_after_s, told.pushback_ms) == (1.0, "1000")


async def test_while_draining_new_calls_are_refused(running: Running) -> None:
    running.service.drain()
    for case in (send(""), stream(""), register("")):
        told = await refused(running, case)
        assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


def test_the_table_has_every_reason_of_the_contract_and_no_other() -> None:
    contract = {
        INVALID: "APP_ID_REQUIRED TARGET_EMPTY TARGET_TOO_LARGE FIELD_REQUIRED FIELD_INVALID FIELD_TOO_LONG "
        "FIELDS_CONFLICT ENUM_UNKNOWN TOKEN_MALFORMED TTL_INVALID OVERRIDE_INVALID DATA_KEY_RESERVED "
        "PAYLOAD_TOO_LARGE WAIT_TOO_LONG CURSOR_INVALID PAGE_TOKEN_INVALID MASK_INVALID "
        "WEB_PUSH_KEYS_INVALID ENDPOINT_FORBIDDEN PROVIDER_RETIRED",
        grpc.StatusCode.NOT_FOUND: "APP_NOT_FOUND DEVICE_NOT_FOUND NOTIFICATION_NOT_FOUND",
        grpc.StatusCode.ALREADY_EXISTS: "REQUEST_ID_REUSED",
        grpc.StatusCode.FAILED_PRECONDITION: "PROVIDER_NOT_CONFIGURED PROVIDER_REFUSED",
        grpc.StatusCode.OUT_OF_RANGE: "CURSOR_EXPIRED",
        grpc.StatusCode.RESOURCE_EXHAUSTED: "QUEUE_FULL TOO_MANY_STREAMS LEDGER_FULL",
        grpc.StatusCode.UNAVAILABLE: "DRAINING STARTING LEDGER_UNAVAILABLE PROVIDER_UNAVAILABLE",
        grpc.StatusCode.ABORTED: "SLOW_READER",
        grpc.StatusCode.INTERNAL: "INTERNAL_ERROR",
    }
    assert {reason.name: reason.code for reason in Reason} == {
        name: code for code, names in contract.items() for name in names.split()
    }


def by_status(refusal: Refusal) -> tuple[int, str]:
    return rich_status(refusal).code, rich_status(refusal).message


def by_failure(refusal: Refusal) -> tuple[int, str]:
    return failure_of(refusal).code, failure_of(refusal).detail


@pytest.mark.parametrize("read", [by_status, by_failure])
@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_unary_and_bulk_say_the_same(read: Callable[[Refusal], tuple[int, str]], reason: Reason) -> None:
    code, text = read(Refusal(reason, "what is wrong"))
    assert code == reason.code.value[0]
    assert text == f"what is wrong; {reason.advice}"
