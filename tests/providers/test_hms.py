"""Huawei: what is sent, to the byte, and what every documented answer means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.accounts import HmsAccount
from pushrpc.content import Content, HmsOptions
from pushrpc.exchange import Endpoint, Headers, Response
from pushrpc.model import NO_ADDRESS, Address, Notification, Outcome, Scope
from pushrpc.providers import AccountError, ChecksMessages, KeepsTopics, MessageRefused, open_account
from pushrpc.providers.hms import TOKENS_MAX, Hms
from pushrpc.providers.hms_message import BODY_BYTES_MAX, ENVELOPE_BYTES, TARGET_KEYS
from pushrpc.words import AudienceKind, Cause, HubPlatform, OutcomeKind, Priority, Provider, RejectReason, TokenKind
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

TOKEN = "IQAAAACy0tYyAAB8-example_token-0"
APP_ID = "101234567"
SECRET = "s3cret/with+signs&more="
TOPIC, CONDITION = Address(audience=AudienceKind.TOPIC), Address(audience=AudienceKind.CONDITION)


@pytest.fixture(scope="session")
def account(keys: Keys) -> HmsAccount:
    (keys.directory / "hms.txt").write_text(SECRET + "\n")
    return HmsAccount("shop", APP_ID, keys.file("hms.txt"))


@pytest.fixture(scope="session")
def hms(account: HmsAccount) -> Hms:
    return Hms(account)


def sent(hms: Hms, content: Content, **given_values: Any) -> Any:
    """The `message` that content becomes, after the check that everything sent passes first."""
    of = notification(content, **given_values)
    hms.check_message(of)
    body = json_of(hms.prepare(batch(hms, [claimed(of, TOKEN)]), b"Bearer t", NOW_US))
    assert body.keys() == {"validate_only", "message"}
    return body["message"]


# --- requests ----------------------------------------------------------------------------------------------------


def test_a_whole_request(hms: Hms) -> None:
    content = Content(
        title="Order shipped",
        body="Your order is on its way",
        badge=3,
        sound="default",
        image_url="https://img.example/1.png",
        link="https://shop.example/orders/1234",
        thread_id="orders",
        android_channel_id="orders",
        data={"order_id": "1234"},
        hms=HmsOptions(category="EXPRESS", bi_tag="shipping", test_message=True),
    )
    of = notification(content, collapse_key="order-1234")
    requests = hms.prepare(batch(hms, [claimed(of, "t1"), claimed(of, 't"2', 1)]), b"Bearer at", NOW_US)
    (template,), (row,) = requests.templates, requests.rows
    assert (template.method, template.authority) == (b"POST", b"push-api.cloud.huawei.com")
    assert template.headers == (
        (b"authorization", b"Bearer at"),
        (b"content-type", b"application/json; charset=UTF-8"),
    )
    assert template.body is None
    assert (row.path, row.headers, list(row.covers)) == (b"/v1/101234567/messages:send", (), [0, 1])
    body = json_of(requests)
    data = body["message"].pop("data")
    assert json.loads(data) == {
        "link": "https://shop.example/orders/1234",
        "order_id": "1234",
        "notification_id": NOTIFICATION_ID,
    }
    assert body == {
        "validate_only": False,
        "message": {
            "token": ["t1", 't"2'],
            "notification": {
                "title": "Order shipped",
                "body": "Your order is on its way",
                "image": "https://img.example/1.png",
            },
            "android": {
                "collapse_key": -1,
                "urgency": "HIGH",
                "ttl": "3600s",
                "category": "EXPRESS",
                "bi_tag": "shipping",
                "target_user_type": 1,
                "notification": {
                    "click_action": {"type": 2, "url": "https://shop.example/orders/1234"},
                    "badge": {"set_num": 3},
                    "channel_id": "orders",
                    "default_sound": True,
                    "group": "orders",
                    "tag": "order-1234",
                },
            },
        },
    }


def test_a_thousand_and_one_tokens_are_two_requests(hms: Hms) -> None:
    of = notification()
    requests = hms.prepare(batch(hms, [claimed(of, f"t{i}", i) for i in range(TOKENS_MAX + 1)]), None, NOW_US)
    assert [list(row.covers) for row in requests.rows] == [list(range(1000)), [1000]]
    assert [json_of(requests, i)["message"]["token"] for i in range(2)] == [[f"t{i}" for i in range(1000)], ["t1000"]]


def test_a_batch_of_many_notifications_in_any_order_keeps_each_token_with_its_message(hms: Hms) -> None:
    other_id = "0193f2a4-5b6c-7d8e-9fa0-000000000001"
    first, second = notification(), notification(notification_id=other_id)
    order = [first, second, first, first, second]
    requests = hms.prepare(batch(hms, [claimed(of, f"t{i}", i) for i, of in enumerate(order)]), b"Bearer t", NOW_US)
    messages = [json_of(requests, i)["message"] for i in range(2)]
    assert [list(row.covers) for row in requests.rows] == [[0, 2, 3], [1, 4]]
    assert [m["token"] for m in messages] == [["t0", "t2", "t3"], ["t1", "t4"]]
    assert [json.loads(m["data"])["notification_id"] for m in messages] == [NOTIFICATION_ID, other_id]


def test_an_audience_is_the_whole_target_of_its_request(hms: Hms) -> None:
    of = notification()
    names = [("news", TOPIC.text), ("sport", TOPIC.text), ("'a' in topics", CONDITION.text), (TOKEN, ""), ("t2", "")]
    deliveries = [claimed(of, name, i, address) for i, (name, address) in enumerate(names)]
    requests = hms.prepare(batch(hms, deliveries), None, NOW_US)
    messages = [json_of(requests, i)["message"] for i in range(4)]
    targets = [{key: value for key, value in m.items() if key in TARGET_KEYS} for m in messages]
    assert targets == [{"topic": "news"}, {"topic": "sport"}, {"condition": "'a' in topics"}, {"token": [TOKEN, "t2"]}]
    assert [list(row.covers) for row in requests.rows] == [[0], [1], [2], [3, 4]]


def test_the_requests_of_deliveries_are_counted_without_writing_them(hms: Hms) -> None:
    first, second = notification(), notification(notification_id="0193f2a4-5b6c-7d8e-9fa0-000000000001")
    deliveries = [claimed(second if i % 3 else first, f"t{i}", i) for i in range(TOKENS_MAX * 2)]
    deliveries += [claimed(first, name, i, TOPIC.text) for i, name in enumerate(["news", "sport", "news"])]
    for count in (0, 1, 2, 1_000, 1_501, 1_502, 2_000, 2_001, 2_003):
        part = deliveries[:count]
        assert hms.requests_of(part, NOW_US) == len(hms.prepare(batch(hms, part), None, NOW_US).rows)


@given(token=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40))
def test_any_token_is_put_in_as_json(hms: Hms, token: str) -> None:
    assert hms.token_problem(token) is None
    requests = hms.prepare(batch(hms, [claimed(notification(), token)]), None, NOW_US)
    assert json_of(requests)["message"]["token"] == [token]


def test_endpoints(account: HmsAccount, hms: Hms, keys: Keys) -> None:
    assert hms.endpoint(lane()) == Endpoint("push-api.cloud.huawei.com", 443, http2=False)
    assert (hms.provider, hms.provider_app_id, hms.origin(TOKEN)) == (Provider.HMS, APP_ID, "")
    pointed = Hms(replace(account, endpoint="https://[::1]:1234", ca_file=keys.file("cert.pem")))
    assert pointed.endpoint(lane()) == Endpoint("::1", 1234, keys.file("cert.pem"), http2=False)
    requests = pointed.prepare(batch(pointed, [claimed(notification())]), None, NOW_US)
    assert requests.templates[0].authority == b"[::1]:1234"


def test_the_access_token_is_asked_for_with_id_and_secret(account: HmsAccount, hms: Hms, keys: Keys) -> None:
    assert hms.credential is not None
    renewal = hms.credential.renewal(NOW_US)
    assert renewal is not None
    assert (renewal.method, renewal.url) == ("POST", "https://oauth-login.cloud.huawei.com/oauth2/v3/token")
    form = {"grant_type": ["client_credentials"], "client_id": [APP_ID], "client_secret": [SECRET]}
    assert parse_qs(renewal.body.decode(), strict_parsing=True) == form
    pointed = Hms(replace(account, endpoint="https://localhost:1234", ca_file=keys.file("cert.pem")))
    assert pointed.credential is not None
    moved = pointed.credential.renewal(NOW_US)
    assert moved is not None
    assert (moved.url, moved.ca_file) == ("https://localhost:1234/oauth2/v3/token", keys.file("cert.pem"))


def test_an_access_token_with_escaped_slashes_is_read_as_json(account: HmsAccount) -> None:
    credential = Hms(account).credential
    assert credential is not None
    answer = Response(200, (), rb'{"access_token":"CF3\/Xl==","expires_in":3600,"token_type":"Bearer"}')
    assert credential.renewed(answer, NOW_US) is None
    assert credential.current(NOW_US) == b"Bearer CF3/Xl=="
    assert credential.renew_at_us() == NOW_US + (3600 - 300) * 1_000_000


@pytest.mark.parametrize(
    ("expire_us", "one_try", "ttl"),
    [
        (NOW_US + HOUR_US, False, "3600s"),
        (NOW_US + HOUR_US - 1, False, "3599s"),
        (NOW_US + HOUR_US, True, "1s"),
        (NOW_US + 500_000, False, "1s"),
        (NOW_US + 28 * 24 * HOUR_US, False, "1296000s"),
    ],
)
def test_huawei_is_told_what_remains(hms: Hms, expire_us: int, one_try: bool, ttl: str) -> None:
    assert sent(hms, Content(title="t"), expire_us=expire_us, one_try=one_try)["android"]["ttl"] == ttl


@pytest.mark.parametrize(
    ("priority", "silent", "urgency"),
    [
        (Priority.HIGH, False, "HIGH"),
        (Priority.UNSPECIFIED, False, "HIGH"),
        (Priority.UNSPECIFIED, True, "NORMAL"),
        (Priority.HIGH, True, "HIGH"),
        (Priority.NORMAL, False, "NORMAL"),
        (Priority.LOW, False, "NORMAL"),
    ],
)
def test_urgency(hms: Hms, priority: Priority, silent: bool, urgency: str) -> None:
    content = Content(silent=True) if silent else Content(title="t")
    assert sent(hms, content, priority=priority)["android"]["urgency"] == urgency


# --- messages ----------------------------------------------------------------------------------------------------


def test_a_silent_message_is_data_alone(hms: Hms) -> None:
    message = sent(hms, Content(silent=True, data={"sync": "1"}, badge=3, sound="default"))
    assert message.keys() == {"token", "data", "android"}
    assert json.loads(message["data"]) == {"sync": "1", "notification_id": NOTIFICATION_ID}
    assert message["android"] == {"collapse_key": -1, "urgency": "HIGH", "ttl": "3600s"}


@pytest.mark.parametrize("content", [Content(data={"a": "b"}), Content(badge=1), Content()])
def test_what_shows_nothing_is_data_alone(hms: Hms, content: Content) -> None:
    assert sent(hms, content).keys() == {"token", "data", "android"}


@pytest.mark.parametrize(
    ("link", "action"),
    [
        ("", {"type": 3}),
        ("https://shop.example/1", {"type": 2, "url": "https://shop.example/1"}),
        (
            "shop://orders/1?a=b",
            {"type": 1, "intent": "intent://orders/1?a=b#Intent;scheme=shop;launchFlags=0x4000000;end"},
        ),
        ("not a link", {"type": 3}),
        ("shop://x#Intent;component=evil", {"type": 3}),
    ],
)
def test_what_a_tap_opens(hms: Hms, link: str, action: dict[str, Any]) -> None:
    message = sent(hms, Content(title="t", link=link))
    assert message["android"]["notification"]["click_action"] == action
    assert json.loads(message["data"]).get("link", "") == link


@pytest.mark.parametrize(
    ("sound", "parts"),
    [
        ("", {}),
        ("default", {"default_sound": True}),
        ("chime.caf", {"sound": "/raw/chime"}),
        ("chime", {"sound": "/raw/chime"}),
        ("/raw/shake", {"sound": "/raw/shake"}),
    ],
)
def test_sounds(hms: Hms, sound: str, parts: dict[str, Any]) -> None:
    shown = sent(hms, Content(title="t", sound=sound))["android"]["notification"]
    assert {key: shown[key] for key in ("sound", "default_sound") if key in shown} == parts


@pytest.mark.parametrize(("badge", "number"), [(0, 0), (99, 99), (100, 99), (-1, 0)])
def test_badges_stay_in_huaweis_range(hms: Hms, badge: int, number: int) -> None:
    assert sent(hms, Content(title="t", badge=badge))["android"]["notification"]["badge"] == {"set_num": number}


@pytest.mark.parametrize(
    ("key", "group", "tag"),
    [
        ("", -1, NOTIFICATION_ID),
        ("1", 1, "1"),
        ("100", 100, "100"),
        ("101", -1, "101"),
        ("0", -1, "0"),
        ("order", -1, "order"),
    ],
)
def test_a_collapse_key_is_a_group_only_when_it_names_one(hms: Hms, key: str, group: int, tag: str) -> None:
    android = sent(hms, Content(title="t"), collapse_key=key)["android"]
    assert (android["collapse_key"], android["notification"]["tag"]) == (group, tag)


def test_loc_keys(hms: Hms) -> None:
    content = Content(title_loc_key="T", title_loc_args=("1",), body_loc_key="B", body_loc_args=("2", "ü"))
    shown = sent(hms, content)["android"]["notification"]
    assert {key: value for key, value in shown.items() if "_loc_" in key} == {
        "title_loc_key": "T",
        "title_loc_args": ["1"],
        "body_loc_key": "B",
        "body_loc_args": ["2", "ü"],
    }


def test_a_patch_changes_the_message(hms: Hms) -> None:
    patch = '{"android": {"notification": {"badge": {"add_num": 1, "class": "a.B"}, "tag": null}}, "webpush": {}}'
    message = sent(hms, Content(title="t", hms_json=patch))
    shown = message["android"]["notification"]
    assert shown == {"badge": {"add_num": 1, "class": "a.B"}, "click_action": {"type": 3}}
    assert message["webpush"] == {}


@pytest.mark.parametrize(
    ("patch", "data"),
    [
        ({"data": None}, {}),
        ({"data": {"k": "v"}}, {"k": "v"}),
        ({"data": '{"k": "v"}'}, {"k": "v"}),
        ({"data": {"notification_id": "forged"}}, {}),
    ],
)
def test_the_notification_id_travels_whatever_a_patch_says(hms: Hms, patch: Any, data: dict[str, str]) -> None:
    message = sent(hms, Content(title="t", hms_json=json.dumps(patch)))
    assert json.loads(message["data"]) == data | {"notification_id": NOTIFICATION_ID}
    of_android = sent(hms, Content(title="t", hms_json=json.dumps({"android": patch})))["android"]
    assert json.loads(of_android.get("data", message["data"])) == data | {"notification_id": NOTIFICATION_ID}


@pytest.mark.parametrize("data", ["text", "[1]", 7, ["a"], '{"a":' * 5000 + "1" + "}" * 5000, '{"a": "\\ud800"}'])
def test_a_patch_whose_data_cannot_hold_the_id_is_refused(hms: Hms, data: Any) -> None:
    with pytest.raises(MessageRefused, match=r"hms_json: data(: n| must be)|cannot be written as JSON"):
        hms.check_message(notification(Content(title="t", hms_json=json.dumps({"data": data}))))


@pytest.mark.parametrize("key", sorted(TARGET_KEYS))
def test_a_patch_may_not_choose_who_gets_it(hms: Hms, key: str) -> None:
    with pytest.raises(MessageRefused, match=f"hms_json: may not set {key}"):
        hms.check_message(notification(Content(title="t", hms_json=json.dumps({key: "x"}))))


def test_the_limit_counts_everything_but_the_tokens_and_is_exact(hms: Hms) -> None:
    def of_length(length: int) -> Content:
        return Content(title="tü", body="x" * length)

    def counted(content: Content) -> int:
        requests = hms.prepare(batch(hms, [claimed(notification(content), TOKEN)]), None, NOW_US)
        return len(body_of(requests, requests.rows[0])) - len(f'"token":["{TOKEN}"],')

    fitting = 100 + BODY_BYTES_MAX - counted(of_length(100))
    assert (
        counted(of_length(fitting))
        == BODY_BYTES_MAX
        == hms.preview(notification(of_length(fitting)), NO_ADDRESS, NOW_US).size_bytes
    )
    with pytest.raises(MessageRefused, match="has 4097 bytes, 1 more than the 4096 allowed") as told:
        hms.check_message(notification(of_length(fitting + 1)))
    assert told.value.reason is RejectReason.PAYLOAD_TOO_LARGE


def test_a_body_is_cut_only_when_the_caller_asks(hms: Hms) -> None:
    of = notification(Content(title="t", body="é" * 3000, truncate=True))
    hms.check_message(of)
    shown = hms.preview(of, NO_ADDRESS, NOW_US)
    assert shown.truncated == ("message.body",)
    assert BODY_BYTES_MAX - 2 < shown.size_bytes <= BODY_BYTES_MAX == shown.limit_bytes
    body = json_of(hms.prepare(batch(hms, [claimed(of, TOKEN)]), None, NOW_US))["message"]["notification"]["body"]
    assert body == json.loads(shown.payload)["message"]["notification"]["body"]
    assert body.endswith("é…")
    with pytest.raises(MessageRefused, match="bytes"):
        hms.check_message(notification(Content(title="t", data={"k": "x" * 4096}, body="b", truncate=True)))


def test_a_preview_shows_the_request_and_what_is_left_out(hms: Hms) -> None:
    content = Content(title="t", body="b", subtitle="s", category="ORDER", badge=1, sound="default")
    shown = hms.preview(notification(content), NO_ADDRESS, NOW_US)
    assert shown.headers == [("content-type", "application/json; charset=UTF-8")]
    assert json.loads(shown.payload)["message"]["notification"] == {"title": "t", "body": "b"}
    assert len(shown.payload.encode()) == shown.size_bytes
    assert (shown.truncated, shown.dropped) == ((), ("message.subtitle", "message.category"))
    quiet = notification(Content(silent=True, badge=0, sound="s", thread_id="g"), collapse_key="order")
    assert hms.preview(quiet, NO_ADDRESS, NOW_US).dropped == (
        "message.badge",
        "message.sound",
        "message.thread_id",
        "options.collapse_key",
    )


_PATCHES = (
    st.just("")
    | st.text(max_size=20)
    | st.dictionaries(
        st.sampled_from(["data", "android", "notification", "token", "x"]),
        st.none()
        | st.text(max_size=9)
        | st.dictionaries(st.sampled_from(["data", "ttl"]), st.floats() | st.just("{}")),
        max_size=3,
    ).map(json.dumps)
)
_HMS = st.builds(HmsOptions, category=st.text(max_size=9), bi_tag=st.text(max_size=9), test_message=st.booleans())


@given(of=NOTIFICATIONS, options=_HMS, patch=_PATCHES, truncate=st.booleans())
def test_what_passes_the_check_can_be_sent(
    hms: Hms, of: Notification, options: HmsOptions, patch: str, truncate: bool
) -> None:
    of.content = replace(of.content, hms=options, hms_json=patch, truncate=truncate)
    try:
        hms.check_message(of)
    except MessageRefused:
        return
    later_us = of.expire_us - 1
    requests = hms.prepare(batch(hms, [claimed(of, TOKEN)]), b"Bearer t", later_us)
    assert legal(headers_of(requests, requests.rows[0]))
    body = body_of(requests, requests.rows[0])
    message = json.loads(body)["message"]
    assert message["token"] == [TOKEN]
    assert json.loads(message["data"])["notification_id"] == of.notification_id
    assert len(body) - len(f'"token":["{TOKEN}"],') <= BODY_BYTES_MAX
    shown = hms.preview(of, NO_ADDRESS, later_us)
    assert shown.size_bytes == len(shown.payload.encode()) >= ENVELOPE_BYTES


# --- tokens, audiences and settings ------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "a b", "a\n", "tök", "\x7f", "x" * 4097])
def test_tokens_that_huawei_never_issues(hms: Hms, token: str) -> None:
    assert "visible ASCII" in refused(hms.token_problem(token))
    assert "visible ASCII" in refused(hms.token_problem(TOKEN, token, TOKEN))


@pytest.mark.parametrize("token", [TOKEN, "x", "x" * 4096, "0862767037246841300005665000CN01"])
def test_tokens_that_huawei_could_have_issued(hms: Hms, token: str) -> None:
    assert hms.token_problem(token) is None
    assert hms.token_kind(notification()) is TokenKind.STANDARD


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (TOKEN, NO_ADDRESS),
        ("news_1.~%-天气", TOPIC),
        ("x" * 900, TOPIC),
        ("'a' in topics", CONDITION),
        ("'a' in topics && ('b' in topics || !('c' in topics))", CONDITION),
    ],
)
def test_whom_a_push_may_go_to(hms: Hms, name: str, address: Address) -> None:
    assert hms.address_problem(name, address) is None


@pytest.mark.parametrize(
    ("name", "address", "problem"),
    [
        (TOKEN, Address(p256dh="k"), "without keys"),
        (TOKEN, Address(platform=HubPlatform.ADM), "hub_platform"),
        ("", TOPIC, "1 to 900"),
        ("/topics/news", TOPIC, "without /topics/"),
        ("x" * 901, TOPIC, "1 to 900"),
        ("a", CONDITION, "joins up to 5 topics"),
        ("('a' in topics", CONDITION, "joins up to 5 topics"),
        ("'a' in topics &&", CONDITION, "joins up to 5 topics"),
        (" || ".join(f"'{n}' in topics" for n in range(6)), CONDITION, "joins up to 5 topics"),
        ("", Address(audience=AudienceKind.EVERYONE), "a topic or a condition only"),
        ("tag", Address(audience=AudienceKind.TAGS), "a topic or a condition only"),
    ],
)
def test_whom_it_may_not(hms: Hms, name: str, address: Address, problem: str) -> None:
    assert problem in refused(hms.address_problem(name, address))


@pytest.mark.parametrize("app_id", ["", "10 1", "1/2", "x" * 65])
def test_an_app_id_that_cannot_be_one(account: HmsAccount, app_id: str) -> None:
    with pytest.raises(AccountError, match="app_id: is not the app's id"):
        Hms(replace(account, hms_app_id=app_id))


def test_open_account_opens_it(account: HmsAccount, keys: Keys) -> None:
    assert open_account(account, NOW_US).provider is Provider.HMS
    for change, setting in (
        ({"endpoint": "x"}, "endpoint"),
        ({"ca_file": keys.file("text.txt")}, "ca_file"),
        ({"client_secret_file": keys.file("none.txt")}, "client_secret_file"),
    ):
        with pytest.raises(AccountError) as told:
            open_account(replace(account, **change))
        assert told.value.setting == setting
        assert SECRET not in str(told.value)


# --- answers -----------------------------------------------------------------------------------------------------

INVALID, REFUSED, SETTINGS = OutcomeKind.TOKEN_INVALID, OutcomeKind.PAYLOAD_REFUSED, OutcomeKind.CREDENTIAL_REFUSED
THROTTLED, DOWN, UNKNOWN = OutcomeKind.THROTTLED, OutcomeKind.UNAVAILABLE, OutcomeKind.UNKNOWN
AFTER_9 = ((b"retry-after", b"9"),)
REQUEST_ID = "157466350121600008000701"


def told(code: object, msg: object = "m") -> bytes:
    return json.dumps({"code": code, "msg": msg, "requestId": REQUEST_ID}).encode()


def too_large(status: int, reason: str = "", detail: str = "") -> Outcome:
    return Outcome(REFUSED, status, reason, detail, cause=Cause.PAYLOAD_TOO_LARGE)


DOCUMENTED: list[tuple[str, int, bytes, Headers, Outcome]] = [
    ("success", 200, told("80000000", "Success"), (), Outcome(OutcomeKind.ACCEPTED, 200)),
    ("parameter", 200, told("80100001"), (), Outcome(REFUSED, 200, "80100001", "m")),
    (
        "structure",
        200,
        told("80100003", "Illegal payload, badge addNum value ranges from 1 to 99"),
        (),
        Outcome(REFUSED, 200, "80100003", "Illegal payload, badge addNum value ranges from 1 to 99"),
    ),
    ("expires in the past", 200, told("80100004"), (), Outcome(REFUSED, 200, "80100004", "m")),
    ("collapse_key", 200, told("80100013"), (), Outcome(REFUSED, 200, "80100013", "m")),
    ("sensitive text", 200, told("80100016"), (), Outcome(REFUSED, 200, "80100016", "m")),
    ("OAuth wrong", 200, told("80200001"), (), Outcome(SETTINGS, 200, "80200001", "m", renew=True)),
    ("OAuth expired", 200, told("80200003"), (), Outcome(SETTINGS, 200, "80200003", "m", renew=True)),
    ("JWT expired", 200, told("80200005"), (), Outcome(SETTINGS, 200, "80200005", "m", renew=True)),
    ("no permission", 200, told("80300002"), (), Outcome(SETTINGS, 200, "80300002", "m")),
    ("all tokens invalid", 200, told("80300007"), (), Outcome(INVALID, 200, "80300007", "m", misdirected=True)),
    ("body too large", 200, told("80300008"), (), too_large(200, "80300008", "m")),
    ("number of tokens", 200, told("80300010"), (), Outcome(REFUSED, 200, "80300010", "m")),
    ("OAuth service fails", 200, told("80600003"), (), Outcome(DOWN, 200, "80600003", "m")),
    ("internal", 200, told("81000001"), (), Outcome(DOWN, 200, "81000001", "m")),
    ("bad request", 400, b"", (), Outcome(REFUSED, 400)),
    ("bad request with a code", 400, told("80100003"), (), Outcome(REFUSED, 400, "80100003", "m")),
    ("unauthorised", 401, b"", (), Outcome(SETTINGS, 401, renew=True)),
    ("unauthorised with a code", 401, told("80200003"), (), Outcome(SETTINGS, 401, "80200003", "m", renew=True)),
    ("wrong URL", 404, b"<html>no</html>", (), Outcome(SETTINGS, 404, detail="<html>no</html>")),
    ("internal error", 500, b"", (), Outcome(DOWN, 500)),
    ("bad gateway", 502, b"<html>", (), Outcome(DOWN, 502, detail="<html>")),
    ("flow control", 503, b"", (), Outcome(THROTTLED, 503)),
    ("flow control that says when", 503, b"", AFTER_9, Outcome(THROTTLED, 503, retry_after_s=9.0)),
]
NO_CODE = "the answer has no code that is known"
UNDOCUMENTED: list[tuple[str, int, bytes, Headers, Outcome]] = [
    ("success by another status", 201, told("80000000"), (), Outcome(OutcomeKind.ACCEPTED, 200)),
    ("a code as a number", 200, told(80300002), (), Outcome(SETTINGS, 200, "80300002", "m")),
    ("a new code about the request", 200, told("80100099"), (), Outcome(REFUSED, 200, "80100099", "m")),
    ("a new code about the sender", 200, told("80200099"), (), Outcome(SETTINGS, 200, "80200099", "m", renew=True)),
    ("a new code about the target", 200, told("80300099"), (), Outcome(REFUSED, 200, "80300099", "m")),
    ("a new code of a failure", 200, told("81000099"), (), Outcome(DOWN, 200, "81000099", "m")),
    ("a code of no known kind", 200, told("90000000"), (), Outcome(UNKNOWN, 200, "90000000", "m")),
    ("no code", 200, b"{}", (), Outcome(UNKNOWN, 200, detail=NO_CODE)),
    ("no JSON", 200, b"OK", (), Outcome(UNKNOWN, 200, detail=NO_CODE)),
    ("nothing", 204, b"", (), Outcome(UNKNOWN, 204, detail=NO_CODE)),
    ("success that is none", 400, told("80000000"), (), Outcome(REFUSED, 400, "80000000", "m")),
    ("no outage kills a device", 503, told("80300007"), (), Outcome(THROTTLED, 503, "80300007", "m")),
    ("no wrong URL kills a device", 404, told("80300007"), (), Outcome(SETTINGS, 404, "80300007", "m")),
    ("nor one that is gone", 410, b"", (), Outcome(SETTINGS, 410)),
    ("forbidden", 403, b"", (), Outcome(SETTINGS, 403)),
    ("too large", 413, b"", (), too_large(413)),
    ("too many", 429, b"", AFTER_9, Outcome(THROTTLED, 429, retry_after_s=9.0)),
    ("redirect", 302, b"", (), Outcome(SETTINGS, 302)),
    ("timeout", 408, b"", (), Outcome(DOWN, 408)),
]


@pytest.mark.parametrize(
    ("status", "body", "headers", "outcome"),
    [pytest.param(*row[1:], id=row[0]) for row in DOCUMENTED + UNDOCUMENTED],
)
def test_every_answer_holds_for_all_it_covers(
    hms: Hms, status: int, body: bytes, headers: Headers, outcome: Outcome
) -> None:
    covered = [claimed(notification(), f"t{i}", i) for i in range(3)]
    message_id = REQUEST_ID if outcome.kind is OutcomeKind.ACCEPTED else ""
    assert hms.classify(Response(status, headers, body), covered, NOW_US) == [(outcome, message_id)] * 3


def partly(hms: Hms, msg: object, tokens: Sequence[str] = ("a", "b", "c", "d")) -> list[tuple[Outcome, str]]:
    covered = [claimed(notification(), token, i) for i, token in enumerate(tokens)]
    return list(hms.classify(Response(200, (), told("80100000", msg)), covered, NOW_US))


ACCEPTED = (Outcome(OutcomeKind.ACCEPTED, 200), REQUEST_ID)


def test_a_partial_success_names_the_dead_tokens_in_a_string_of_json(hms: Hms) -> None:
    dead = (Outcome(INVALID, 200, "80100000"), "")
    msg = json.dumps({"success": 2, "failure": 2, "illegal_tokens": ["b", "d"]})
    assert partly(hms, msg) == [ACCEPTED, dead, ACCEPTED, dead]


CAUSES = [
    ("tokenFormatError", Outcome(INVALID, 200, "tokenFormatError")),
    ("tokenPlatformNotSupport", Outcome(INVALID, 200, "tokenPlatformNotSupport")),
    ("noRight", Outcome(INVALID, 200, "noRight", misdirected=True)),
    ("noPushTypeRight", Outcome(SETTINGS, 200, "noPushTypeRight", scope=Scope.TOKEN)),
    (
        "noRightToSendThisLiveNotificationEvent",
        Outcome(SETTINGS, 200, "noRightToSendThisLiveNotificationEvent", scope=Scope.TOKEN),
    ),
    (
        "disableSendHuaweiMsgBecauseOfPenalty",
        Outcome(SETTINGS, 200, "disableSendHuaweiMsgBecauseOfPenalty", scope=Scope.TOKEN),
    ),
    ("appinfoError", Outcome(SETTINGS, 200, "appinfoError", scope=Scope.TOKEN)),
    ("countryNotSupport", Outcome(REFUSED, 200, "countryNotSupport")),
    ("atomicUnableSendUnsubscribedMsg", Outcome(REFUSED, 200, "atomicUnableSendUnsubscribedMsg")),
    ("differentImgVerifyPolicy", Outcome(REFUSED, 200, "differentImgVerifyPolicy")),
    ("somethingNew", Outcome(REFUSED, 200, "somethingNew")),
]


@pytest.mark.parametrize(("cause", "outcome"), CAUSES, ids=lambda value: value if isinstance(value, str) else "")
def test_newer_answers_tell_the_cause(hms: Hms, cause: str, outcome: Outcome) -> None:
    msg = json.dumps({"illegalTokens": {cause: ["c"]}, "success": 3, "failure": 1})
    assert partly(hms, msg) == [ACCEPTED, ACCEPTED, (outcome, ""), ACCEPTED]


def test_causes_may_be_mixed_and_come_back_in_covered_order(hms: Hms) -> None:
    msg = json.dumps({"illegalTokens": {"noRight": ["d"], "tokenFormatError": ["a", "gone"], "appinfoError": "c"}})
    outcomes = partly(hms, msg)
    assert [outcome.reason for outcome, _ in outcomes] == ["tokenFormatError", "", "appinfoError", "noRight"]
    assert [message_id for _, message_id in outcomes] == ["", REQUEST_ID, "", ""]


@pytest.mark.parametrize("msg", ["", "ok", "[]", "{}", '{"illegal_tokens": 7}', '{"illegal_tokens": ["b"', 7, None])
def test_a_partial_success_that_does_not_say_whose_may_have_been_sent(hms: Hms, msg: object) -> None:
    outcomes = partly(hms, msg)
    assert {outcome.kind for outcome, _ in outcomes} == {UNKNOWN}
    assert "b" not in {outcome.detail for outcome, _ in outcomes}


def test_those_told_alike_share_one_outcome(hms: Hms) -> None:
    first, *rest = partly(hms, '{"illegal_tokens": ["a", "b", "c", "d"]}')
    assert all(outcome is first[0] for outcome, _ in rest)
    answers = [Response(200, (), told("80000000")), Response(200, (), told("80000000", "again"))]
    accepted = [hms.classify(answer, [claimed(notification())], NOW_US)[0][0] for answer in answers]
    assert accepted[0] is accepted[1]


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
CODES = st.sampled_from(["80000000", "80100000", "80300007", "8", ""]) | st.text(max_size=9) | st.integers() | ODD
SUMMARIES = st.fixed_dictionaries({}, optional={"illegal_tokens": ODD, "illegalTokens": ODD}).map(json.dumps)


@given(
    status=st.integers(),
    body=st.binary(max_size=200)
    | st.fixed_dictionaries({"code": CODES, "msg": SUMMARIES | ODD, "requestId": ODD}).map(
        lambda v: json.dumps(v).encode()
    ),
    retry=st.binary(max_size=30),
    count=st.integers(0, 3),
)
def test_any_answer_gets_one_outcome_for_each(hms: Hms, status: int, body: bytes, retry: bytes, count: int) -> None:
    response = Response(status, ((b"retry-after", retry),), body)
    outcomes = hms.classify(response, [claimed(notification(), "ab"[i % 2], i) for i in range(count)], NOW_US)
    assert len(outcomes) == count
    for outcome, message_id in outcomes:
        (outcome.reason + outcome.detail + message_id).encode()
        assert outcome.kind is not OutcomeKind.UNSPECIFIED
    assert len(hms.topic_results(response, ["a"] * count, NOW_US)) == count


# --- beside a lane's batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "address", "target"),
    [(TOKEN, NO_ADDRESS, {"token": [TOKEN]}), ("news", TOPIC, {"topic": "news"})],
)
def test_a_message_can_be_checked_without_being_sent(
    hms: Hms, token: str, address: Address, target: dict[str, Any]
) -> None:
    assert isinstance(hms, ChecksMessages)
    call = hms.check_call(notification(), token, address, b"Bearer t", NOW_US)
    assert call.endpoint == hms.endpoint(lane())
    assert headers_of(call.requests, call.requests.rows[0])[0] == (b"authorization", b"Bearer t")
    body = json_of(call.requests)
    assert body["validate_only"] is True
    assert target.items() <= body["message"].items()
    assert call.requests.rows[0].covers == ()


@pytest.mark.parametrize(("join", "verb"), [(True, b"subscribe"), (False, b"unsubscribe")])
def test_tokens_join_and_leave_topics(hms: Hms, join: bool, verb: bytes) -> None:
    assert isinstance(hms, KeepsTopics)
    call = hms.topic_call("news", ["a", "b"], join, b"Bearer t")
    assert call.requests.rows[0].path == b"/v1/101234567/topic:" + verb
    assert json_of(call.requests) == {"topic": "news", "tokenArray": ["a", "b"]}
    assert hms.topic_tokens_max == 1000


def test_who_did_not_join_is_named_by_place(hms: Hms) -> None:
    errors = [{"index": 1, "reason": "INVALID_TOKEN"}, {"index": 2, "reason": "LIMIT"}, {"index": 9}, 7, {"index": "0"}]
    body = json.dumps({"code": "80000000", "msg": "Success", "failureCount": 2, "successCount": 1, "errors": errors})
    assert hms.topic_results(Response(200, (), body.encode()), ["a", "b", "c"], NOW_US) == [
        Outcome(OutcomeKind.ACCEPTED, 200),
        Outcome(INVALID, 200, "INVALID_TOKEN"),
        Outcome(REFUSED, 200, "LIMIT"),
    ]


def test_a_refused_call_is_everybodys(hms: Hms) -> None:
    outcome = Outcome(SETTINGS, 200, "80200003", "m", renew=True)
    assert hms.topic_results(Response(200, (), told("80200003")), ["a", "b"], NOW_US) == [outcome] * 2
    assert hms.topic_results(Response(503, (), b""), ["a"], NOW_US) == [Outcome(THROTTLED, 503)]
