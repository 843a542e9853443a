"""send, watch and devices: what they ask, what they print, and how they fail."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from rich.console import Console

from pushrpc.cli.watch import ROWS_SHOWN, LiveView
from pushrpc.v1 import devices_pb2, following_pb2, sending_pb2
from pushrpc.v1.enums_pb2 import (
    CAUSE_TRIES_USED_UP,
    DELIVERY_STATE_FAILED,
    DELIVERY_STATE_QUEUED,
    DELIVERY_STATE_SENT,
    DEVICE_STATE_ACTIVE,
    EVENT_KIND_ATTEMPT,
    EVENT_KIND_STATE,
    HUB_PLATFORM_APNS,
    PRIORITY_NORMAL,
    PROVIDER_APNS,
    PROVIDER_FCM,
    PROVIDER_NOTIFICATION_HUBS,
    REJECT_REASON_TOKEN_MALFORMED,
)
from tests.cli.conftest import Run, Told, failure

TOKEN = "0a" * 32
SENT = following_pb2.Delivery(provider=PROVIDER_APNS, token=TOKEN, state=DELIVERY_STATE_SENT, attempt=1, final=True)
SEND = ("send", "--app", "shop", "--user", "u-7", "--title", "Hi")
WATCH = ("watch", "--app", "shop")


def test_a_send_carries_every_option(run: Run, server: Told) -> None:
    server.answers["SendNotification"] = [sending_pb2.SendNotificationResponse(notification_id="n-1", target_count=1)]
    result = run(
        *("send", "--app", "shop", "--token", f"apns:{TOKEN}", "--token", "fcm:a:b", "--token", "apns:ff"),
        *("--user", "u-7", "--device", "d-1", "--title", "T", "--body", "B", "--data", "k=v=w", "--badge", "0"),
        *("--sound", "default", "--ttl", "90m", "--priority", "normal", "--collapse-key", "c", "--label", "l=1"),
        *("--request-id", "r-1", "--wait", "1.5"),
        server=server,
    )
    assert result.exit_code == 0, result.output
    expected = sending_pb2.SendNotificationRequest(
        app_id="shop",
        request_id="r-1",
        target=sending_pb2.Target(
            tokens=[
                sending_pb2.TokenTarget(provider=PROVIDER_APNS, tokens=[TOKEN, "ff"]),
                sending_pb2.TokenTarget(provider=PROVIDER_FCM, tokens=["a:b"]),
            ],
            device_ids=["d-1"],
            user_ids=["u-7"],
        ),
        message=sending_pb2.NotificationContent(title="T", body="B", data={"k": "v=w"}, badge=0, sound="default"),
        options=sending_pb2.SendOptions(priority=PRIORITY_NORMAL, collapse_key="c", labels={"l": "1"}),
    )
    expected.options.ttl.FromSeconds(5400)
    expected.wait.FromMilliseconds(1500)
    assert server.requests == [expected]


def test_a_send_that_does_not_wait_asks_for_no_wait(run: Run, server: Told) -> None:
    server.answers["SendNotification"] = [sending_pb2.SendNotificationResponse()]
    run(*SEND, "--wait", "0", server=server)
    assert not server.requests[0].HasField("wait") and not server.requests[0].message.HasField("badge")


BROWSER = '{"endpoint": "https://push.example/1", "expirationTime": null, "keys": {"p256dh": "BA", "auth": "aa"}}'


def test_browsers_topics_and_services_that_are_gone_are_understood(run: Run, server: Told, tmp_path: Path) -> None:
    file = tmp_path / "subscription.json"
    file.write_text(BROWSER)
    server.answers["SendNotification"] = [sending_pb2.SendNotificationResponse(target_count=4)]
    more = ("--subscription", BROWSER, "--subscription", f"@{file}", "--topic", "fcm:news", "--token", "gcm:t")
    result = run("send", "--app", "shop", *more, "--truncate", "--dry-run", server=server)
    (request,) = server.requests
    by_provider = {group.provider: group for group in request.target.tokens}
    assert list(by_provider[PROVIDER_FCM].tokens) == ["t"]
    (browsers,) = [group for group in request.target.tokens if group.subscriptions]
    assert [(each.endpoint, each.auth) for each in browsers.subscriptions] == [("https://push.example/1", "aa")] * 2
    assert [(each.provider, each.topic) for each in request.target.provider_audiences] == [(PROVIDER_FCM, "news")]
    assert request.options.truncate and request.options.dry_run and not request.HasField("wait")
    assert result.stdout == "dry run: 4 would be accepted\n"


def test_a_hub_is_told_whose_handles_and_tags_they_are(run: Run, server: Told) -> None:
    server.answers["SendNotification"] = [sending_pb2.SendNotificationResponse(target_count=3)]
    to = ("--token", "notification_hubs:ff", "--token", f"apns:{TOKEN}", "--tags", "news && !quiet")
    result = run("send", "--app", "shop", *to, "--hub-platform", "apns", "--title", "Hi", server=server)
    assert result.exit_code == 0, result.output
    (request,) = server.requests
    assert list(request.target.tokens) == [
        sending_pb2.TokenTarget(provider=PROVIDER_APNS, tokens=[TOKEN]),
        sending_pb2.TokenTarget(provider=PROVIDER_NOTIFICATION_HUBS, hub_platform=HUB_PLATFORM_APNS, tokens=["ff"]),
    ]
    assert list(request.target.provider_audiences) == [
        sending_pb2.ProviderAudience(
            provider=PROVIDER_NOTIFICATION_HUBS, hub_platform=HUB_PLATFORM_APNS, tag_expression="news && !quiet"
        )
    ]


def test_a_browser_is_registered_with_its_keys(run: Run, server: Told) -> None:
    server.answers["RegisterDevice"] = [devices_pb2.RegisterDeviceResponse(created=True)]
    run("devices", "register", "--app", "shop", "--subscription", BROWSER, "--user", "u", server=server)
    (request,) = server.requests
    assert (request.token, request.web_push.p256dh, request.user_id) == ("https://push.example/1", "BA", "u")


def test_a_send_prints_the_receipt_and_every_status(run: Run, server: Told) -> None:
    failed = following_pb2.Delivery(
        provider=PROVIDER_FCM,
        device_id="d-1",
        token="x" * 40,
        state=DELIVERY_STATE_FAILED,
        attempt=50,
        cause=CAUSE_TRIES_USED_UP,
        final=True,
    )
    response = sending_pb2.SendNotificationResponse(
        notification_id="n-1",
        target_count=2,
        duplicate_count=1,
        replayed=True,
        statuses=[SENT, failed],
        complete=True,
        rejected=[
            sending_pb2.Rejection(
                path="target.tokens[0].tokens[1]", reason=REJECT_REASON_TOKEN_MALFORMED, detail="write hex"
            )
        ],
    )
    server.answers["SendNotification"] = [response, response]
    result = run(*SEND, server=server)
    assert result.stdout.splitlines() == [
        "notification n-1: 2 accepted, 1 duplicates left out, a replay: nothing new was made",
        "APNS\t0a0a0a…0a0a0a\tSENT\t1\t",
        "FCM\td-1\tFAILED\t50\tTRIES_USED_UP",
        "target.tokens[0].tokens[1]\tTOKEN_MALFORMED\twrite hex",
    ]
    assert result.exit_code == 1
    as_json = run(*SEND, "--json", server=server)
    assert json.loads(as_json.stdout)["statuses"][0]["state"] == "DELIVERY_STATE_SENT"


def test_a_failed_call_is_one_line_with_reason_and_fields(run: Run, server: Told) -> None:
    server.answers["SendNotification"] = [
        failure(
            grpc.StatusCode.INVALID_ARGUMENT,
            "the title is too long",
            error_details_pb2.ErrorInfo(reason="FIELD_TOO_LONG", domain="pushrpc.v1"),
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field="message.title", description="1,025 bytes")
                ]
            ),
        )
    ]
    result = run(*SEND, server=server)
    assert result.stderr == "Error: FIELD_TOO_LONG: the title is too long (message.title: 1,025 bytes)\n"
    assert result.exit_code == 1


def test_a_retry_time_is_told(run: Run, server: Told) -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    info = error_details_pb2.ErrorInfo(reason="QUEUE_FULL")
    server.answers["SendNotification"] = [failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", info, retry)]
    assert run(*SEND, server=server).stderr == "Error: QUEUE_FULL: full (try again after 1.5 s)\n"


def test_an_error_without_details_shows_its_code(run: Run, server: Told) -> None:
    server.answers["SendNotification"] = [failure(grpc.StatusCode.UNIMPLEMENTED, "no such method")]
    assert run(*SEND, server=server).stderr == "Error: UNIMPLEMENTED: no such method\n"


def test_nobody_there_says_what_to_start(run: Run) -> None:
    result = run(*SEND, "--server", "127.0.0.1:1")
    assert "no server answers at 127.0.0.1:1: start one with 'pushrpc up'" in result.stderr
    assert result.exit_code == 1 and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("send", "--app", "shop"), "say who gets it, with --token, --subscription, --topic, --tags, --user"),
        ((*SEND, "--hub-platform", "apns"), "--hub-platform goes with --tags or --token notification_hubs:"),
        (("send", "--user", "u"), "Missing option '--app'"),
        ((*SEND, "--token", "apns"), "'apns' is not PROVIDER:TOKEN; providers are apns, fcm"),
        ((*SEND, "--token", "c2dm:1"), "'c2dm:1' is not PROVIDER:TOKEN"),
        ((*SEND, "--subscription", "{}"), "not a subscription"),
        ((*SEND, "--subscription", "@nowhere.json"), "not a subscription"),
        ((*SEND, "--ttl", "soon"), "'soon' is not a time: write 30s, 15m, 24h or 28d"),
        ((*SEND, "--data", "k"), "'k' is not KEY=VALUE"),
        ((*SEND, "--cert", __file__), "--cert and --key belong together"),
        (("devices", "get", "--app", "shop"), "name the device with --device or with --token"),
        (("devices", "unregister", "--app", "shop"), "name the devices with one of"),
        (("devices", "register", "--app", "shop"), "name the token with --token"),
    ],
)
def test_wrong_arguments_are_explained(run: Run, arguments: tuple[str, ...], text: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and text in " ".join(result.stderr.split())


def event(attempt: int, final: bool) -> following_pb2.DeliveryEvent:
    made = following_pb2.DeliveryEvent(
        notification_id="n-1",
        token=TOKEN,
        provider=PROVIDER_APNS,
        state=DELIVERY_STATE_SENT if final else DELIVERY_STATE_QUEUED,
        kind=EVENT_KIND_STATE if final else EVENT_KIND_ATTEMPT,
        attempt=attempt,
        final=final,
        provider_status=200 if final else 503,
    )
    made.time.FromMilliseconds(1_700_000_000_123)
    return made


def page(cursor: str, *events: following_pb2.DeliveryEvent) -> following_pb2.StreamDeliveryStatusResponse:
    return following_pb2.StreamDeliveryStatusResponse(events=events, cursor=cursor)


def end(cursor: str) -> following_pb2.StreamDeliveryStatusResponse:
    counts = following_pb2.DeliveryCounts(total=1, sent=1)
    return following_pb2.StreamDeliveryStatusResponse(cursor=cursor, end=following_pb2.StreamEnd(counts=counts))


def test_watch_resumes_from_its_cursor_and_tells_it_at_the_end(
    run: Run, server: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    reconnect = following_pb2.StreamDeliveryStatusResponse(cursor="c-3", reconnect=following_pb2.StreamReconnect())
    server.answers["StreamDeliveryStatus"] = [
        [page("c-1", event(1, final=False)), failure(grpc.StatusCode.UNAVAILABLE, "gone")],
        [page("c-2", event(2, final=True)), reconnect],
        [end("c-4")],
    ]
    result = run(*WATCH, "--notification", "n-1", server=server)
    assert result.stdout.splitlines() == [
        "n-1\t2023-11-14T22:13:20.123+00:00\tAPNS\t0a0a0a…0a0a0a\tRETRY\t1\t503",
        "n-1\t2023-11-14T22:13:20.123+00:00\tAPNS\t0a0a0a…0a0a0a\tSENT\t2\t",
        "end\ttotal=1\tsent=1",
    ]
    assert result.stderr.splitlines()[-1] == "cursor: c-4"
    assert [request.cursor for request in server.requests] == ["", "c-1", "c-3"]
    assert result.exit_code == 0


def test_watch_gives_up_on_errors_that_a_repeat_cannot_mend(run: Run, server: Told) -> None:
    info = error_details_pb2.ErrorInfo(reason="CURSOR_INVALID")
    server.answers["StreamDeliveryStatus"] = [[failure(grpc.StatusCode.INVALID_ARGUMENT, "forged", info)]]
    result = run(*WATCH, "--cursor", "nonsense", server=server)
    assert "Error: CURSOR_INVALID: forged" in result.stderr and result.exit_code == 1


def test_watch_prints_json_lines(run: Run, server: Told) -> None:
    server.answers["StreamDeliveryStatus"] = [[page("c-1", event(1, final=True)), end("c-2")]]
    lines = run(*WATCH, "--notification", "n-1", "--json", server=server).stdout.splitlines()
    assert [json.loads(line)["cursor"] for line in lines] == ["c-1", "c-2"]


@pytest.mark.parametrize(("columns", "has_time"), [(50, False), (80, True)])
def test_the_live_table_fits_and_counts(columns: int, has_time: bool) -> None:
    output = io.StringIO()
    view = LiveView(Console(file=output, width=columns, force_terminal=True, color_system=None))
    with view:
        for number in range(1, 2 * ROWS_SHOWN):
            view.show(page("c", event(number, final=number % 2 == 0)))
    lines = [re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", line) for line in output.getvalue().splitlines()]
    assert max(map(len, lines)) <= columns
    assert lines[-2].startswith(f"{ROWS_SHOWN - 1} final  {ROWS_SHOWN - 1} SENT  {ROWS_SHOWN} retries")
    assert ("22:13:20" in lines[-3]) is has_time and "RETRY" in lines[-3]


def test_devices_are_listed_over_pages(run: Run, server: Told) -> None:
    first = devices_pb2.Device(
        device_id="d-1", user_id="u-7", provider=PROVIDER_APNS, token=TOKEN, state=DEVICE_STATE_ACTIVE, locale="pt-BR"
    )
    server.answers["ListDevices"] = [
        devices_pb2.ListDevicesResponse(devices=[first], next_page_token="p-2"),
        devices_pb2.ListDevicesResponse(devices=[devices_pb2.Device(device_id="d-2")]),
    ]
    result = run("devices", "list", "--app", "shop", "--user", "u-7", "--state", "active", server=server)
    assert result.stdout.splitlines() == ["d-1\tu-7\tAPNS\t0a0a0a…0a0a0a\tACTIVE", "d-2\t\t\t\t"]
    assert [request.page_token for request in server.requests] == ["", "p-2"]
    assert list(server.requests[0].filter.states) == [DEVICE_STATE_ACTIVE]


def test_a_device_is_shown_field_by_field(run: Run, server: Told) -> None:
    device = devices_pb2.Device(
        device_id="d-1", provider=PROVIDER_APNS, tags=["a", "b"], metadata={"k": "v"}, state=DEVICE_STATE_ACTIVE
    )
    device.create_time.FromSeconds(1_700_000_000)
    device.location.latitude = 38.5
    server.answers["GetDevice"] = [devices_pb2.GetDeviceResponse(device=device)]
    result = run("devices", "get", "--app", "shop", "--device", "d-1", server=server)
    assert set(result.stdout.splitlines()) == {
        "device_id\td-1",
        "provider\tPROVIDER_APNS",
        "tags\ta, b",
        "metadata\tk=v",
        "state\tDEVICE_STATE_ACTIVE",
        "create_time\t2023-11-14T22:13:20+00:00",
        "location\tlatitude: 38.5",
    }


def test_a_device_is_registered_and_unregistered(run: Run, server: Told) -> None:
    server.answers["RegisterDevice"] = [
        devices_pb2.RegisterDeviceResponse(
            device=devices_pb2.Device(device_id="d-1"), created=True, superseded_device_ids=["d-0"]
        )
    ]
    server.answers["UnregisterDevice"] = [devices_pb2.UnregisterDeviceResponse(unregistered_count=2)]
    registering = ("devices", "register", "--app", "shop", "--token", f"apns:{TOKEN}", "--user", "u-7", "--tag", "a")
    result = run(*registering, "--metadata", "k=v", server=server)
    assert result.stdout.splitlines() == ["created device d-1", "device d-0 lost this token"]
    assert server.requests[0] == devices_pb2.RegisterDeviceRequest(
        app_id="shop", provider=PROVIDER_APNS, token=TOKEN, user_id="u-7", tags=["a"], metadata={"k": "v"}
    )
    result = run("devices", "unregister", "--app", "shop", "--user", "u-7", server=server)
    assert result.stdout == "2 unregistered\n"
