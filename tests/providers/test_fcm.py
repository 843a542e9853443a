"""Google: what is sent, to the byte, and what every documented answer means."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.accounts import FcmAccount
from pushrpc.content import ApnsOptions, Content, FcmOptions
from pushrpc.exchange import Endpoint, Headers, Response
from pushrpc.model import Address, Outcome, Scope
from pushrpc.providers import AccountError, MessageRefused, open_account
from pushrpc.providers.fcm import Fcm
from pushrpc.providers.fcm_message import SHAPE, TARGET_KEYS, reserved_data_key
from pushrpc.providers.payload import patch_problem
from pushrpc.words import (
    ApnsPushType,
    AudienceKind,
    Cause,
    Environment,
    OutcomeKind,
    Priority,
    Provider,
    RejectReason,
    TokenKind,
)
from tests.providers.conftest import Keys
from tests.providers.samples import (
    HOUR_US,
    NOTIFICATION_ID,
    NOW_US,
    batch,
    body_of,
    claimed,
    headers_of,
    json_of,
    lane,
    legal,
    notification,
    refused,
)
from tests.providers.strategies import NOTIFICATIONS

TOKEN = "dGhpcyBpcyBub3QgcmVhbA:APA91bExample_Token-0"


@pytest.fixture(scope="session")
def account(keys: Keys) -> FcmAccount:
    return FcmAccount("shop", keys.file("google.json"))


@pytest.fixture(scope="session")
def fcm(account: FcmAccount) -> Fcm:
    return Fcm(account)


def sent(fcm: Fcm, content: Content, **given_values: Any) -> Any:
    """The `message` that content becomes, after the check that everything sent passes first."""
    of = notification(content, **given_values)
    fcm.check_message(of)
    body = json_of(fcm.prepare(batch(fcm, [claimed(of, TOKEN)]), b"Bearer t", NOW_US))
    assert body.keys() == {"message"}
    return body["message"]


# --- requests ----------------------------------------------------------------------------------------------------


def test_a_whole_request(fcm: Fcm) -> None:
    content = Content(
        title="Order shipped",
        body="Your order is on its way",
        badge=3,
        sound="default",
        category="ORDER",
        image_url="https://img.example/1.png",
        link="https://shop.example/orders/1234",
        android_channel_id="orders",
        data={"order_id": "1234"},
        fcm=FcmOptions(analytics_label="shipping", direct_boot_ok=True),
    )
    of = notification(content, collapse_key="order-1234")
    requests = fcm.prepare(batch(fcm, [claimed(of, TOKEN, ordinal=5)]), b"Bearer ya29.t", NOW_US)
    (template,), (row,) = requests.templates, requests.rows
    assert (template.method, template.authority) == (b"POST", b"fcm.googleapis.com")
    assert template.headers == ((b"authorization", b"Bearer ya29.t"), (b"content-type", b"application/json"))
    assert template.body is None
    assert (row.path, row.headers, row.covers) == (b"/v1/projects/shop-1234/messages:send", (), (0,))
    assert json_of(requests) == {
        "message": {
            "token": TOKEN,
            "notification": {
                "title": "Order shipped",
                "body": "Your order is on its way",
                "image": "https://img.example/1.png",
            },
            "data": {
                "link": "https://shop.example/orders/1234",
                "order_id": "1234",
                "notification_id": NOTIFICATION_ID,
            },
            "android": {
                "priority": "HIGH",
                "ttl": "3600s",
                "collapse_key": "order-1234",
                "direct_boot_ok": True,
                "notification": {
                    "channel_id": "orders",
                    "sound": "default",
                    "notification_count": 3,
                    "tag": "order-1234",
                },
            },
            "apns": {
                "headers": {
                    "apns-push-type": "alert",
                    "apns-priority": "10",
                    "apns-expiration": "1795417200",
                    "apns-collapse-id": "order-1234",
                },
                "payload": {"aps": {"badge": 3, "sound": "default", "mutable-content": 1, "category": "ORDER"}},
            },
            "webpush": {
                "headers": {"TTL": "3600", "Urgency": "high"},
                "fcm_options": {"link": "https://shop.example/orders/1234"},
            },
            "fcm_options": {"analytics_label": "shipping"},
        }
    }


def test_a_batch_of_many_notifications_in_any_order_keeps_each_token_with_its_message(fcm: Fcm) -> None:
    other_id = "0193f2a4-5b6c-7d8e-9fa0-000000000001"
    first, second = notification(), notification(notification_id=other_id)
    order = [first, second, first, first, second]
    requests = fcm.prepare(batch(fcm, [claimed(of, f"t{i}", i) for i, of in enumerate(order)]), b"Bearer t", NOW_US)
    messages = [json_of(requests, i)["message"] for i in range(5)]
    assert [m["token"] for m in messages] == ["t0", "t1", "t2", "t3", "t4"]
    assert [m["data"]["notification_id"] for m in messages] == [of.notification_id for of in order]
    assert [row.covers for row in requests.rows] == [(0,), (1,), (2,), (3,), (4,)]


@given(token=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40))
def test_any_token_is_put_in_as_json(fcm: Fcm, token: str) -> None:
    assert fcm.token_problem(token) is None
    assert json_of(fcm.prepare(batch(fcm, [claimed(notification(), token)]), None, NOW_US))["message"]["token"] == token


def test_endpoints(account: FcmAccount, fcm: Fcm, keys: Keys) -> None:
    assert fcm.endpoint(lane(Environment.UNSPECIFIED)) == Endpoint("fcm.googleapis.com", 443)
    assert (fcm.provider, fcm.provider_app_id, fcm.environment) == (Provider.FCM, "shop-1234", Environment.UNSPECIFIED)
    pointed = Fcm(replace(account, endpoint="https://[::1]:1234", ca_file=keys.file("cert.pem")))
    assert pointed.endpoint(lane(Environment.UNSPECIFIED)) == Endpoint("::1", 1234, keys.file("cert.pem"))
    assert (
        pointed.prepare(batch(pointed, [claimed(notification())]), None, NOW_US).templates[0].authority == b"[::1]:1234"
    )
    assert pointed.credential is not None
    renewal = pointed.credential.renewal(NOW_US)
    assert renewal is not None
    assert (renewal.url, renewal.ca_file) == ("https://[::1]:1234/token", keys.file("cert.pem"))


@pytest.mark.parametrize(
    ("expire_us", "one_try", "seconds", "absolute"),
    [
        (NOW_US + HOUR_US, False, "3600", "1795417200"),
        (NOW_US + HOUR_US - 1, False, "3599", "1795417199"),
        (NOW_US + HOUR_US, True, "0", "0"),
        (NOW_US + 500_000, False, "0", "0"),
        (NOW_US + 28 * 24 * HOUR_US + 5_000_000, False, "2419200", "1797832805"),
    ],
)
def test_every_platform_is_told_what_remains(
    fcm: Fcm, expire_us: int, one_try: bool, seconds: str, absolute: str
) -> None:
    message = sent(fcm, Content(title="t"), expire_us=expire_us, one_try=one_try)
    assert message["android"]["ttl"] == f"{seconds}s"
    assert message["webpush"]["headers"]["TTL"] == seconds
    assert message["apns"]["headers"]["apns-expiration"] == absolute


@pytest.mark.parametrize(
    ("priority", "android", "apns", "web"),
    [
        (Priority.HIGH, "HIGH", "10", "high"),
        (Priority.UNSPECIFIED, "HIGH", "10", "high"),
        (Priority.NORMAL, "NORMAL", "5", "normal"),
        (Priority.LOW, "NORMAL", "1", "low"),
    ],
)
def test_priorities(fcm: Fcm, priority: Priority, android: str, apns: str, web: str) -> None:
    message = sent(fcm, Content(title="t"), priority=priority)
    assert message["android"]["priority"] == android
    assert message["apns"]["headers"]["apns-priority"] == apns
    assert message["webpush"]["headers"]["Urgency"] == web


# --- messages ----------------------------------------------------------------------------------------------------


def test_a_silent_message_shows_nothing_anywhere(fcm: Fcm) -> None:
    message = sent(fcm, Content(silent=True, data={"sync": "1"}), priority=Priority.UNSPECIFIED)
    assert message == {
        "token": TOKEN,
        "data": {"sync": "1", "notification_id": NOTIFICATION_ID},
        "android": {"priority": "NORMAL", "ttl": "3600s"},
        "apns": {
            "headers": {"apns-push-type": "background", "apns-priority": "5", "apns-expiration": "1795417200"},
            "payload": {"aps": {"content-available": 1}},
        },
        "webpush": {"headers": {"TTL": "3600", "Urgency": "normal"}},
    }


def test_data_only_hands_title_and_body_to_the_app(fcm: Fcm) -> None:
    content = Content(
        title="t",
        body="b",
        image_url="https://i",
        title_loc_key="T",
        title_loc_args=("1", "ü"),
        body_loc_key="B",
        data={"title": "the app's own"},
        fcm=FcmOptions(data_only=True),
    )
    message = sent(fcm, content)
    assert message["data"] == {
        "title": "the app's own",
        "body": "b",
        "image_url": "https://i",
        "title_loc_key": "T",
        "title_loc_args": '["1","ü"]',
        "body_loc_key": "B",
        "notification_id": NOTIFICATION_ID,
    }
    assert "notification" not in message and "notification" not in message["android"]
    assert message["apns"]["headers"]["apns-push-type"] == "background"
    assert message["android"]["priority"] == "HIGH"


def test_data_alone_is_a_data_message(fcm: Fcm) -> None:
    message = sent(fcm, Content(data={"a": "b"}))
    assert "notification" not in message and "notification" not in message["android"]
    assert message["apns"]["payload"] == {"aps": {"content-available": 1}}


def test_a_badge_alone_changes_the_icon_at_apple_and_shows_nothing_on_android(fcm: Fcm) -> None:
    message = sent(fcm, Content(badge=0))
    assert message["apns"]["payload"] == {"aps": {"badge": 0}}
    assert message["apns"]["headers"]["apns-push-type"] == "alert"
    assert "notification" not in message and "notification" not in message["android"]


def test_a_repeat_replaces_what_is_shown(fcm: Fcm) -> None:
    assert sent(fcm, Content(title="t"))["android"]["notification"]["tag"] == NOTIFICATION_ID


def test_loc_keys_go_to_android_and_to_apple(fcm: Fcm) -> None:
    content = Content(title_loc_key="T", title_loc_args=("1",), body_loc_key="B", body_loc_args=("2", "3"))
    message = sent(fcm, content)
    assert message["android"]["notification"] == {
        "title_loc_key": "T",
        "title_loc_args": ["1"],
        "body_loc_key": "B",
        "body_loc_args": ["2", "3"],
        "tag": NOTIFICATION_ID,
    }
    assert message["apns"]["payload"]["aps"]["alert"] == {
        "title-loc-key": "T",
        "title-loc-args": ["1"],
        "loc-key": "B",
        "loc-args": ["2", "3"],
    }


def test_apples_alert_is_written_out_only_where_google_could_not_make_it(fcm: Fcm) -> None:
    assert "payload" not in sent(fcm, Content(title="t", body="b"))["apns"]
    message = sent(fcm, Content(title="t", body="b", subtitle="s"))
    assert message["apns"]["payload"]["aps"]["alert"] == {"title": "t", "subtitle": "s", "body": "b"}


def test_a_link_that_no_browser_opens_stays_in_data(fcm: Fcm) -> None:
    message = sent(fcm, Content(title="t", link="shop://1"))
    assert message["data"]["link"] == "shop://1"
    assert "fcm_options" not in message["webpush"]


def test_apples_push_type_is_for_apples_own_tokens(fcm: Fcm) -> None:
    content = Content(title="t", apns=ApnsOptions(push_type=ApnsPushType.VOIP))
    assert sent(fcm, content)["apns"]["headers"]["apns-push-type"] == "alert"
    assert fcm.token_kind(notification(content)) is TokenKind.STANDARD


def test_a_patch_changes_the_message(fcm: Fcm) -> None:
    patch = '{"android": {"notification": {"color": "#ff0000", "tag": null}}, "webpush": null}'
    message = sent(fcm, Content(title="t", fcm_json=patch))
    assert message["android"]["notification"] == {"color": "#ff0000"}
    assert "webpush" not in message


def test_a_patch_may_leave_nothing_but_the_token_and_the_notification_id(fcm: Fcm) -> None:
    patch = json.dumps(dict.fromkeys(("notification", "data", "android", "apns", "webpush")))
    only_id = {"token": TOKEN, "data": {"notification_id": NOTIFICATION_ID}}
    assert sent(fcm, Content(title="t", fcm_json=patch)) == only_id
    forged = json.dumps({"data": {"notification_id": "another", "k": "v"}})
    assert sent(fcm, Content(title="t", fcm_json=forged))["data"] == {"k": "v", "notification_id": NOTIFICATION_ID}
    with pytest.raises(MessageRefused, match="data must be an object"):
        fcm.check_message(notification(Content(title="t", fcm_json='{"data": 1}')))


@pytest.mark.parametrize("key", sorted(TARGET_KEYS))
def test_a_patch_may_not_choose_who_gets_it(fcm: Fcm, key: str) -> None:
    patch = json.dumps({key: "x"})
    assert patch_problem(patch, SHAPE, TARGET_KEYS) == f"may not set {key}"
    with pytest.raises(MessageRefused, match=f"fcm_json: may not set {key}"):
        fcm.check_message(notification(Content(title="t", fcm_json=patch)))


@pytest.mark.parametrize(
    "key", ["from", "gcm", "gcm.notification.x", "google", "google.c.a", "googlex", "message_type", "collapse_key"]
)
def test_keys_that_google_keeps_for_itself(key: str) -> None:
    assert reserved_data_key(key)


@pytest.mark.parametrize("key", ["From", "goog", "sender", "order_id", "gcmx", "notification"])
def test_keys_that_are_the_apps(key: str) -> None:
    assert not reserved_data_key(key)


def test_the_limit_counts_keys_and_values_and_is_exact(fcm: Fcm) -> None:
    ids = len("tag") + len("notification_id") + 2 * len(NOTIFICATION_ID)
    rest = len("title") + len("tü".encode()) + len("k") + ids

    def of_size(size: int) -> Content:
        return Content(title="tü", data={"k": "x" * (size - rest)})

    assert len(sent(fcm, of_size(4096))["data"]["k"]) == 4096 - rest
    with pytest.raises(MessageRefused, match="has 4097 bytes, 1 more than the 4096 allowed") as refused:
        fcm.check_message(notification(of_size(4097)))
    assert refused.value.reason is RejectReason.PAYLOAD_TOO_LARGE


def test_what_is_written_out_for_apple_has_the_same_limit_in_json(fcm: Fcm) -> None:
    def of_size(size: int) -> Content:
        return Content(silent=True, fcm_json=json.dumps({"apns": {"payload": {"aps": None, "k": "x" * (size - 8)}}}))

    assert len(sent(fcm, of_size(4096))["apns"]["payload"]["k"]) == 4088
    with pytest.raises(MessageRefused, match="has 4097 bytes"):
        fcm.check_message(notification(of_size(4097)))


def test_what_a_patch_adds_counts_too(fcm: Fcm) -> None:
    for patch in (
        {"data": {"n": "x" * 4096}},
        {"webpush": {"notification": {"body": "x" * 4096, "actions": []}}},
    ):
        with pytest.raises(MessageRefused, match="bytes"):
            fcm.check_message(notification(Content(title="t", fcm_json=json.dumps(patch))))


@pytest.mark.parametrize("data", [{"n": 7}, {"n": None, "m": ["x"]}, {"from": "x"}, {"google.a": "x"}])
def test_a_patch_with_data_that_google_refuses_is_refused_before(fcm: Fcm, data: dict[str, Any]) -> None:
    with pytest.raises(MessageRefused, match="fcm_json: data"):
        fcm.check_message(notification(Content(title="t", fcm_json=json.dumps({"data": data}))))


@given(of=NOTIFICATIONS, kind=st.sampled_from([None, AudienceKind.TOPIC]))
def test_what_passes_the_check_can_be_sent_and_is_what_the_preview_showed(
    fcm: Fcm, of: Any, kind: AudienceKind | None
) -> None:
    address = Address(audience=kind)
    try:
        fcm.check_message(of, address)
    except MessageRefused:
        with pytest.raises(MessageRefused):
            fcm.preview(of, address, NOW_US)
        return
    requests = fcm.prepare(batch(fcm, [claimed(of, TOKEN, address=address.text)]), b"Bearer t", NOW_US)
    assert legal(headers_of(requests, requests.rows[0]))
    message = json.loads(body_of(requests, requests.rows[0]))["message"]
    assert message.pop(kind or "token") == TOKEN
    preview = fcm.preview(of, address, NOW_US)
    assert json.loads(preview.payload)["message"] == message
    assert preview.size_bytes <= preview.limit_bytes
    assert of.content.truncate or not preview.truncated
    assert message["data"]["notification_id"] == of.notification_id


# --- tokens and settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "a b", "a\n", "tök", "\x7f", "x" * 4097])
def test_tokens_that_google_never_issues(fcm: Fcm, token: str) -> None:
    assert "visible ASCII" in refused(fcm.token_problem(token))
    assert "visible ASCII" in refused(fcm.token_problem(TOKEN, token, TOKEN))


@pytest.mark.parametrize("token", [TOKEN, "x", "x" * 4096])
def test_tokens_that_google_could_have_issued(fcm: Fcm, token: str) -> None:
    assert fcm.token_problem(token) is None


@pytest.mark.parametrize("project_id", [None, "", "a/b", "UPPER", 7])
def test_a_service_account_must_name_its_project(keys: Keys, project_id: object) -> None:
    (keys.directory / "project.json").write_text(json.dumps(keys.service_account(project_id=project_id)))
    with pytest.raises(AccountError, match="project_id"):
        Fcm(FcmAccount("shop", keys.file("project.json")))


def test_open_account_opens_it(account: FcmAccount, keys: Keys) -> None:
    assert open_account(account, NOW_US).provider is Provider.FCM
    for change, setting in (({"endpoint": "x"}, "endpoint"), ({"ca_file": keys.file("text.txt")}, "ca_file")):
        with pytest.raises(AccountError) as refused:
            open_account(replace(account, **change))
        assert refused.value.setting == setting


# --- answers -----------------------------------------------------------------------------------------------------

INVALID, REFUSED, SETTINGS = OutcomeKind.TOKEN_INVALID, OutcomeKind.PAYLOAD_REFUSED, OutcomeKind.CREDENTIAL_REFUSED
THROTTLED, DOWN = OutcomeKind.THROTTLED, OutcomeKind.UNAVAILABLE
HTML = b"<!DOCTYPE html>\n<title>Error 404 (Not Found)!!1</title>"
AFTER_9 = ((b"retry-after", b"9"),)


def error(status: str, code: str = "", message: str = "", *details: dict[str, Any]) -> bytes:
    """A google.rpc.Status as FCM answers it."""
    fcm_error = [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}] if code else []
    told = {"code": 400, "message": message, "status": status, "details": [*details, *fcm_error]}
    return json.dumps({"error": told}).encode()


def bad(*fields: str) -> dict[str, Any]:
    violations = [{"field": field, "description": "Invalid value"} for field in fields]
    return {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}


def apple(reason: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.firebase.fcm.v1.ApnsError", "status_code": 400, "reason": reason}


def quota(subject: str, description: str = "") -> dict[str, Any]:
    violations = [{"subject": subject, "description": description}]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


NOT_A_TOKEN = "The registration token is not a valid FCM registration token"
DOCUMENTED: list[tuple[str, int, bytes, Headers, Outcome]] = [
    (
        "payload field",
        400,
        error("INVALID_ARGUMENT", "", "Invalid value", bad("message.data[0].value")),
        (),
        Outcome(REFUSED, 400, "INVALID_ARGUMENT", "Invalid value; message.data[0].value: Invalid value"),
    ),
    (
        "payload field with FcmError",
        400,
        error(
            "INVALID_ARGUMENT", "INVALID_ARGUMENT", "registration token and data", bad("message.data", "message.token")
        ),
        (),
        Outcome(
            REFUSED,
            400,
            "INVALID_ARGUMENT",
            "registration token and data; message.data: Invalid value; message.token: Invalid value",
        ),
    ),
    (
        "malformed token by text",
        400,
        error("INVALID_ARGUMENT", "INVALID_ARGUMENT", NOT_A_TOKEN),
        (),
        Outcome(INVALID, 400, "INVALID_ARGUMENT", NOT_A_TOKEN),
    ),
    (
        "malformed token by field",
        400,
        error("INVALID_ARGUMENT", "INVALID_ARGUMENT", "", bad("message.token")),
        (),
        Outcome(INVALID, 400, "INVALID_ARGUMENT", "message.token: Invalid value"),
    ),
    (
        "the text without FcmError",
        400,
        error("INVALID_ARGUMENT", "", NOT_A_TOKEN),
        (),
        Outcome(REFUSED, 400, "INVALID_ARGUMENT", NOT_A_TOKEN),
    ),
    (
        "too large for Apple",
        400,
        error("INVALID_ARGUMENT", "INVALID_ARGUMENT", "too big", apple("PayloadTooLarge")),
        (),
        Outcome(REFUSED, 400, "INVALID_ARGUMENT", "too big; PayloadTooLarge"),
    ),
    (
        "Apple knows no such token",
        400,
        error("INVALID_ARGUMENT", "INVALID_ARGUMENT", "", apple("BadDeviceToken")),
        (),
        Outcome(INVALID, 400, "INVALID_ARGUMENT", "BadDeviceToken", misdirected=True),
    ),
    (
        "Apple: gone",
        400,
        error("INVALID_ARGUMENT", "INVALID_ARGUMENT", "", apple("Unregistered")),
        (),
        Outcome(INVALID, 400, "INVALID_ARGUMENT", "Unregistered"),
    ),
    (
        "Apple key wrong",
        401,
        error("UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR", "", apple("InvalidProviderToken")),
        (),
        Outcome(SETTINGS, 401, "THIRD_PARTY_AUTH_ERROR", "InvalidProviderToken", scope=Scope.TOKEN),
    ),
    (
        "Apple key wrong, old name",
        401,
        error("", "APNS_AUTH_ERROR"),
        (),
        Outcome(SETTINGS, 401, "APNS_AUTH_ERROR", scope=Scope.TOKEN),
    ),
    (
        "access token expired",
        401,
        error("UNAUTHENTICATED", "", "expired"),
        (),
        Outcome(SETTINGS, 401, "UNAUTHENTICATED", "expired", renew=True),
    ),
    (
        "other project's token",
        403,
        error("PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
        (),
        Outcome(INVALID, 403, "SENDER_ID_MISMATCH", misdirected=True),
    ),
    ("role missing", 403, error("PERMISSION_DENIED"), (), Outcome(SETTINGS, 403, "PERMISSION_DENIED")),
    (
        "unregistered",
        404,
        error("NOT_FOUND", "UNREGISTERED", "gone"),
        (),
        Outcome(INVALID, 404, "UNREGISTERED", "gone"),
    ),
    ("wrong project", 404, error("NOT_FOUND", "", "no"), (), Outcome(SETTINGS, 404, "NOT_FOUND", "no")),
    (
        "wrong URL",
        404,
        HTML,
        (),
        Outcome(SETTINGS, 404, detail="<!DOCTYPE html> <title>Error 404 (Not Found)!!1</title>"),
    ),
    (
        "project quota",
        429,
        error("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "", quota("project:1", "per minute")),
        AFTER_9,
        Outcome(THROTTLED, 429, "QUOTA_EXCEEDED", "project:1: per minute", retry_after_s=9.0, scope=Scope.LANE),
    ),
    (
        "device quota",
        429,
        error("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "", quota("x", "Device rate")),
        (),
        Outcome(THROTTLED, 429, "QUOTA_EXCEEDED", "x: Device rate", retry_after_s=60.0, scope=Scope.TOKEN),
    ),
    (
        "unknown quota",
        429,
        error("RESOURCE_EXHAUSTED"),
        (),
        Outcome(THROTTLED, 429, "RESOURCE_EXHAUSTED", retry_after_s=60.0, scope=Scope.LANE),
    ),
    (
        "quota by date",
        429,
        b"",
        ((b"retry-after", b"Mon, 23 Nov 2026 06:00:30 GMT"),),
        Outcome(THROTTLED, 429, retry_after_s=30.0, scope=Scope.LANE),
    ),
    ("internal", 500, error("INTERNAL", "INTERNAL"), (), Outcome(DOWN, 500, "INTERNAL")),
    (
        "unavailable",
        503,
        error("UNAVAILABLE", "UNAVAILABLE"),
        AFTER_9,
        Outcome(DOWN, 503, "UNAVAILABLE", retry_after_s=9.0),
    ),
    ("unspecified, 400", 400, error("", "UNSPECIFIED_ERROR"), (), Outcome(REFUSED, 400, "UNSPECIFIED_ERROR")),
    ("unspecified, 500", 500, error("", "UNSPECIFIED_ERROR"), (), Outcome(DOWN, 500, "UNSPECIFIED_ERROR")),
]
UNDOCUMENTED: list[tuple[str, int, bytes, Headers, Outcome]] = [
    ("gone", 410, b"", (), Outcome(REFUSED, 410)),
    ("too large", 413, b"", (), Outcome(REFUSED, 413, cause=Cause.PAYLOAD_TOO_LARGE)),
    ("bad request", 400, b"", (), Outcome(REFUSED, 400)),
    ("unauthorised", 401, b"", (), Outcome(SETTINGS, 401, renew=True)),
    ("forbidden", 403, b"[]", (), Outcome(SETTINGS, 403, detail="[]")),
    ("redirect", 302, b"", (), Outcome(SETTINGS, 302)),
    ("timeout", 408, b"", (), Outcome(DOWN, 408)),
    ("method", 405, b"", (), Outcome(REFUSED, 405)),
    ("gateway", 502, HTML[:15], (), Outcome(DOWN, 502, detail="<!DOCTYPE html>")),
    ("no outage kills a device", 503, error("", "UNREGISTERED"), (), Outcome(DOWN, 503, "UNREGISTERED")),
    (
        "details of no use",
        400,
        b'{"error": {"details": [7, {"@type": 7}, {}]}}',
        (),
        Outcome(REFUSED, 400, detail='{"error": {"details": [7, {"@type": 7}, {}]}}'),
    ),
]


def classified(fcm: Fcm, status: int, body: bytes, headers: Headers = ()) -> Outcome:
    ((outcome, message_id),) = fcm.classify(Response(status, headers, body), [claimed(notification(), TOKEN)], NOW_US)
    assert status == 200 or not message_id
    return outcome


@pytest.mark.parametrize(
    ("status", "body", "headers", "outcome"),
    [pytest.param(*row[1:], id=row[0]) for row in DOCUMENTED + UNDOCUMENTED],
)
def test_every_answer(fcm: Fcm, status: int, body: bytes, headers: Headers, outcome: Outcome) -> None:
    assert classified(fcm, status, body, headers) == outcome


NAME = "projects/shop-1234/messages/0:1500415314455276%31bd1c96"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (f'{{\n  "name": "{NAME}"\n}}\n', NAME),
        (f'{{"name":"{NAME}"}}', NAME),
        (f'{{"name": "{NAME}", "more": 1}}', NAME),
        ('{"name": "projects\\/shop/messages/\\u0031"}', "projects/shop/messages/1"),
        ('{"name": "caf\u00e9"}', "caf\u00e9"),
        (f'{{"name": "{"n" * 300}"}}', "n" * 256),
        ('{"name": 7}', ""),
        ("", ""),
        ("[]", ""),
    ],
)
def test_accepted_carries_googles_name(fcm: Fcm, body: str, name: str) -> None:
    response = Response(200, (), body.encode())
    assert fcm.classify(response, [claimed(notification(), TOKEN)], NOW_US) == [
        (Outcome(OutcomeKind.ACCEPTED, 200), name)
    ]


def test_acceptances_share_one_outcome(fcm: Fcm) -> None:
    bodies = (b'{"name": "a"}', b'{"name": "b"}')
    first, second = (fcm.classify(Response(200, (), b), [claimed(notification(), TOKEN)], NOW_US) for b in bodies)
    assert first[0][0] is second[0][0]


def test_a_long_answer_is_cut(fcm: Fcm) -> None:
    outcome = classified(fcm, 400, error("X" * 500, "", "m" * 5000, bad(*["f" * 200] * 50)))
    assert len(outcome.reason) == 128
    assert len(outcome.detail.encode()) == 1024
    assert re.match("m+", outcome.detail)


@given(status=st.integers(), body=st.binary(max_size=200), retry=st.binary(max_size=30))
def test_any_answer_gets_one_outcome(fcm: Fcm, status: int, body: bytes, retry: bytes) -> None:
    outcome = classified(fcm, status, body, ((b"retry-after", retry),))
    assert outcome.kind is not OutcomeKind.UNSPECIFIED
    assert outcome.provider_status == status


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["@type", "errorCode", "reason", "fieldViolations", "violations", "field", "subject"])
            | st.just("details"),
            inner | st.just("x/google.rpc.BadRequest") | st.just("x/google.firebase.fcm.v1.FcmError"),
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(
    status=st.sampled_from([400, 401, 403, 404, 429, 500, 503]),
    told=ODD | st.fixed_dictionaries({"status": ODD, "message": ODD, "details": st.lists(ODD, max_size=4)}),
)
def test_any_json_gets_an_outcome_that_can_be_stored(fcm: Fcm, status: int, told: object) -> None:
    outcome = classified(fcm, status, json.dumps({"error": told}).encode())
    (outcome.reason + outcome.detail).encode()
    assert outcome.kind is not OutcomeKind.UNSPECIFIED
