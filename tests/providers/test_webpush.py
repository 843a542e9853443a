"""Browsers: where messages may go, what is sent, to the byte, and what every documented answer means."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.accounts import WebPushAccount
from pushrpc.content import Content, WebPushOptions
from pushrpc.emulator.webpush_crypto import base64url, opened, point_of, sender_of
from pushrpc.exchange import Endpoint, Requests, Response
from pushrpc.model import NO_ADDRESS, Address, Batch, Claimed, Lane, Notification, Outcome, Scope
from pushrpc.providers import AccountError, MessageRefused, ProviderAccount, open_account
from pushrpc.providers.webpush import VAPIDS_KEPT, WebPush
from pushrpc.words import (
    AudienceKind,
    Cause,
    Environment,
    HubPlatform,
    OutcomeKind,
    Priority,
    Provider,
    RejectReason,
    TokenKind,
    Urgency,
)
from tests.providers.conftest import Keys
from tests.providers.samples import (
    HOUR_US,
    NOTIFICATION_ID,
    NOW_US,
    claimed,
    headers_of,
    legal,
    notification,
    refused,
)
from tests.providers.strategies import NOTIFICATIONS

MOZILLA = "https://updates.push.services.mozilla.com"
TOKEN = f"{MOZILLA}/wpush/v2/gAAAAABnpdbu-0_"
WINDOWS = "https://wns2-par02p.notify.windows.com"
SECRET = bytes(range(16))
BROWSER = ec.generate_private_key(ec.SECP256R1())
ADDRESS = Address(base64url(point_of(BROWSER.public_key())), base64url(SECRET))


@pytest.fixture(scope="session")
def account(keys: Keys) -> WebPushAccount:
    return WebPushAccount("shop", keys.file("apple.p8"), "mailto:push@shop.example")


@pytest.fixture(scope="session")
def push(account: WebPushAccount) -> WebPush:
    return WebPush(account)


def delivery(of: Notification, token: str = TOKEN, ordinal: int = 0) -> Claimed:
    return claimed(of, token, ordinal, ADDRESS.text)


def prepared(push: WebPush, *deliveries: Claimed, origin: str = MOZILLA, now_us: int = NOW_US) -> Requests:
    lane = Lane("shop", Provider.WEB_PUSH, push.provider_app_id, Environment.UNSPECIFIED, origin)
    return push.prepare(Batch(lane, deliveries), None, now_us)


def read(requests: Requests, position: int = 0) -> Any:
    """What the browser's service worker gets."""
    return json.loads(opened(requests.rows[position].body or b"", BROWSER, SECRET))


def shown(push: WebPush, content: Content, **given_values: Any) -> Any:
    """What a content becomes, after the check that everything sent passes first."""
    of = notification(content, **given_values)
    push.check_message(of)
    return read(prepared(push, delivery(of)))


def header(requests: Requests, name: str, position: int = 0) -> str:
    return dict(headers_of(requests, requests.rows[position])).get(name.encode(), b"").decode()


# --- requests ----------------------------------------------------------------------------------------------------


def test_a_whole_request(push: WebPush) -> None:
    content = Content(
        title="Order shipped",
        body="Your order is on its way",
        image_url="https://img.example/1.png",
        link="https://shop.example/orders/1234",
        data={"order_id": "1234"},
        web_push=WebPushOptions(
            urgency=Urgency.VERY_LOW,
            icon_url="https://img.example/icon.png",
            badge_url="https://img.example/badge.png",
            actions_json='[{"action": "track", "title": "Track it"}]',
            require_interaction=True,
        ),
    )
    requests = prepared(push, delivery(notification(content, collapse_key="order-1234")))
    (template,), (row,) = requests.templates, requests.rows
    assert (template.method, template.authority, template.body) == (
        b"POST",
        b"updates.push.services.mozilla.com",
        None,
    )
    assert (row.path, row.headers, row.covers) == (b"/wpush/v2/gAAAAABnpdbu-0_", (), (0,))
    (name, authorization), *others = template.headers
    assert name == b"authorization"
    assert sender_of(authorization.decode(), MOZILLA, NOW_US // 1_000_000) == (
        push.provider_app_id,
        "mailto:push@shop.example",
    )
    assert others == [
        (b"content-encoding", b"aes128gcm"),
        (b"content-type", b"application/octet-stream"),
        (b"ttl", b"3600"),
        (b"urgency", b"very-low"),
        (b"topic", base64url(sha256(b"order-1234").digest())[:32].encode()),
    ]
    assert read(requests) == {
        "title": "Order shipped",
        "body": "Your order is on its way",
        "icon": "https://img.example/icon.png",
        "badge": "https://img.example/badge.png",
        "image": "https://img.example/1.png",
        "tag": "order-1234",
        "actions": [{"action": "track", "title": "Track it"}],
        "requireInteraction": True,
        "data": {
            "link": "https://shop.example/orders/1234",
            "order_id": "1234",
            "notification_id": NOTIFICATION_ID,
        },
    }


def test_it_is_one_account_among_others(push: WebPush, account: WebPushAccount, keys: Keys) -> None:
    assert (push.provider, push.environment, push.credential) == (Provider.WEB_PUSH, Environment.UNSPECIFIED, None)
    assert push.provider_app_id == base64url(point_of(keys.apple.public_key()))
    assert push.token_kind(notification()) is TokenKind.STANDARD
    opened_account: ProviderAccount = open_account(account)
    assert opened_account.provider_app_id == push.provider_app_id


def test_a_batch_keeps_each_message_with_its_subscription_and_shares_headers(push: WebPush) -> None:
    first = notification(Content(title="first"))
    second = notification(Content(title="second"), notification_id="0193f2a4-5b6c-7d8e-9fa0-000000000001")
    later = notification(Content(title="later"), notification_id="0193f2a4-5b6c-7d8e-9fa0-000000000002", one_try=True)
    order = [first, second, first, later, second]
    requests = prepared(push, *(delivery(of, f"{MOZILLA}/{i}", i) for i, of in enumerate(order)))
    assert [read(requests, i)["title"] for i in range(5)] == ["first", "second", "first", "later", "second"]
    assert [row.path for row in requests.rows] == [b"/0", b"/1", b"/2", b"/3", b"/4"]
    assert [row.covers for row in requests.rows] == [(0,), (1,), (2,), (3,), (4,)]
    assert [row.template for row in requests.rows] == [0, 0, 0, 1, 0]
    assert [header(requests, "ttl", i) for i in (0, 3)] == ["3600", "0"]


def test_two_messages_never_share_a_key(push: WebPush) -> None:
    of = notification()
    rows = prepared(push, *(delivery(of, f"{MOZILLA}/{i}") for i in range(20))).rows
    assert len({(row.body or b"")[:86] for row in rows}) == 20


stranger = partial(Endpoint, public_only=True)  # whoever answers there may not be one of our own machines


@pytest.mark.parametrize(
    ("expire_us", "one_try", "ttl"),
    [
        (NOW_US + HOUR_US, False, "3600"),
        (NOW_US + HOUR_US - 1, False, "3599"),
        (NOW_US + HOUR_US, True, "0"),
        (NOW_US + 999_999, False, "0"),
        (NOW_US - 1, False, "0"),
        (NOW_US + 28 * 24 * HOUR_US, False, "2419200"),
    ],
)
def test_the_ttl_is_what_remains_and_is_always_there(push: WebPush, expire_us: int, one_try: bool, ttl: str) -> None:
    of = notification(expire_us=expire_us, one_try=one_try)
    assert header(prepared(push, delivery(of)), "ttl") == ttl
    # Windows alone wants to hear it twice.
    windows = prepared(push, delivery(of, f"{WINDOWS}/w/?token=a%2fb"), origin=WINDOWS)
    assert header(windows, "x-wns-cache-policy") == ("no-cache" if ttl == "0" else "cache")
    assert windows.rows[0].path == b"/w/?token=a%2fb"
    assert header(prepared(push, delivery(of)), "x-wns-cache-policy") == ""


@pytest.mark.parametrize(
    ("asked", "priority", "silent", "urgency"),
    [
        (Urgency.UNSPECIFIED, Priority.HIGH, False, "high"),
        (Urgency.UNSPECIFIED, Priority.NORMAL, False, "normal"),
        (Urgency.UNSPECIFIED, Priority.LOW, False, "low"),
        (Urgency.UNSPECIFIED, Priority.UNSPECIFIED, False, "high"),
        (Urgency.UNSPECIFIED, Priority.UNSPECIFIED, True, "normal"),
        (Urgency.VERY_LOW, Priority.HIGH, False, "very-low"),
        (Urgency.LOW, Priority.HIGH, False, "low"),
        (Urgency.NORMAL, Priority.HIGH, True, "normal"),
        (Urgency.HIGH, Priority.LOW, False, "high"),
    ],
)
def test_urgency(push: WebPush, asked: Urgency, priority: Priority, silent: bool, urgency: str) -> None:
    of = notification(Content(silent=silent, web_push=WebPushOptions(urgency=asked)), priority=priority)
    assert header(prepared(push, delivery(of)), "urgency") == urgency


@pytest.mark.parametrize(("topic", "collapse_key", "hashed"), [("a", "", "a"), ("", "b", "b"), ("a", "b", "a")])
def test_the_topic_is_a_hash_that_apple_can_decode(push: WebPush, topic: str, collapse_key: str, hashed: str) -> None:
    of = notification(Content(title="t", web_push=WebPushOptions(topic=topic)), collapse_key=collapse_key)
    sent = header(prepared(push, delivery(of)), "topic")
    assert (len(sent), urlsafe_b64decode(sent)) == (32, sha256(hashed.encode()).digest()[:24])
    assert header(prepared(push, delivery(notification())), "topic") == ""


# --- VAPID -------------------------------------------------------------------------------------------------------


def expiry_s(push: WebPush, now_us: int, origin: str = MOZILLA) -> int:
    token = header(prepared(push, delivery(notification()), origin=origin, now_us=now_us), "authorization")
    claims = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["aud"] == origin
    exp: int = claims["exp"]
    return exp


@given(now_s=st.integers(1_600_000_000, 4_000_000_000))
def test_a_proof_never_outlives_a_day_and_always_lasts_for_hours(push: WebPush, now_s: int) -> None:
    assert 11 * 3600 <= expiry_s(push, now_s * 1_000_000) - now_s <= 23 * 3600


def test_every_node_says_the_same_for_hours_and_each_origin_hears_its_own(account: WebPushAccount) -> None:
    def told(node: WebPush, at_us: int, origin: str = MOZILLA) -> str:
        return header(prepared(node, delivery(notification()), origin=origin, now_us=at_us), "authorization")

    start_us = NOW_US // (12 * HOUR_US) * (12 * HOUR_US)
    first = told(WebPush(account), start_us)
    node = WebPush(account)
    assert told(node, start_us + 12 * HOUR_US - 1) == first
    assert told(node, start_us + 12 * HOUR_US) != first
    # Back in time, as after a clock was set: still a proof of that time.
    assert told(node, start_us) == first
    assert told(node, start_us, "https://fcm.googleapis.com") != first


def test_proofs_of_countless_origins_are_forgotten(account: WebPushAccount) -> None:
    push = WebPush(account)
    for number in range(VAPIDS_KEPT + 10):
        prepared(push, origin=f"https://{number}.example.com")
    assert len(push._vapids) == VAPIDS_KEPT


# --- where messages may go ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "origin", "endpoint"),
    [
        (TOKEN, MOZILLA, stranger("updates.push.services.mozilla.com", 443)),
        ("https://fcm.googleapis.com/fcm/send/a:b", "https://fcm.googleapis.com", stranger("fcm.googleapis.com", 443)),
        ("https://FCM.GoogleAPIs.com:443/wp/a", "https://fcm.googleapis.com", stranger("fcm.googleapis.com", 443)),
        ("https://web.push.apple.com/Q", "https://web.push.apple.com", stranger("web.push.apple.com", 443)),
        ("https://eu.push.apple.com/Q", "https://eu.push.apple.com", stranger("eu.push.apple.com", 443)),
        (f"{WINDOWS}/w/?token=a", WINDOWS, stranger(WINDOWS[8:], 443, http2=False)),
    ],
)
def test_known_push_services(push: WebPush, token: str, origin: str, endpoint: Endpoint) -> None:
    assert push.token_problem(token) is None
    assert push.origin(token) == origin
    lane = Lane("shop", Provider.WEB_PUSH, "", Environment.UNSPECIFIED, origin)
    assert push.endpoint(lane) == endpoint


@pytest.mark.parametrize(
    "token",
    [
        "",
        "no URL",
        "http://fcm.googleapis.com/fcm/send/a",
        "https://fcm.googleapis.com",
        "https:///fcm/send/a",
        "https://user@fcm.googleapis.com/fcm/send/a",
        "https://fcm.googleapis.com@10.0.0.1/fcm/send/a",
        "https://fcm.googleapis.com/fcm/send/a#b",
        "https://fcm.googleapis.com/fcm/send/ a",
        "https://fcm.googleapis.com/fcm/send/a\n",
        "https://fcm.googleapis.com/fcm/send/ü",
        "https://fcm.googleapis.com\\@10.0.0.1/fcm/send/a",
        "https://fcm.googleapis.com:0/a",
        "https://fcm.googleapis.com:99999/a",
        "https://[::1/a",
        "https://fcm.googleapis.com/" + "a" * 4070,
    ],
)
def test_what_is_no_endpoint(push: WebPush, token: str) -> None:
    problem = push.token_problem(TOKEN, token)
    assert problem is not None
    assert problem.reason is RejectReason.TOKEN_MALFORMED


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "10.1.2.3", "127.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:10.0.0.1]", "169.254.169.254"),
        *("localhost", "a.localhost", "intranet", "printer.local", "db.internal", "nas.home.arpa", "www.corp"),
        *("fcm.googleapis.com.", ".notify.windows.com", "-a.notify.windows.com", "a..notify.windows.com"),
    ],
)
def test_addresses_and_private_names_are_nobodys_push_service(account: WebPushAccount, host: str) -> None:
    for hosts in ((), ("*",)):
        problem = WebPush(replace(account, hosts=hosts)).token_problem(f"https://{host}/a")
        assert problem is not None
        assert problem.reason is RejectReason.ENDPOINT_FORBIDDEN
        assert "is no public host name" in problem.detail


@pytest.mark.parametrize(
    "host",
    ["push.example.com", "fcm.googleapis.com.example.com", "notify.windows.com", "xpush.apple.com", "push.apple.com"],
)
def test_strangers_are_sent_nothing_until_they_are_named(account: WebPushAccount, push: WebPush, host: str) -> None:
    token, lane = f"https://{host}/a", Lane("shop", Provider.WEB_PUSH, "", Environment.UNSPECIFIED, f"https://{host}")
    problem = push.token_problem(token)
    assert problem is not None
    assert problem.reason is RejectReason.ENDPOINT_FORBIDDEN
    assert f'put "{host}" into the account\'s hosts' in problem.detail
    assert push.endpoint(lane) is None
    for hosts in ((host,), ("." + host.partition(".")[2],), ("*",)):
        named = WebPush(replace(account, hosts=hosts))
        assert named.token_problem(token, f"https://{host}:8443/a") is None
        assert named.endpoint(lane) == stranger(host, 443)


def test_a_domain_is_all_below_it_and_not_itself(account: WebPushAccount) -> None:
    push = WebPush(replace(account, hosts=(".example.com",)))
    assert push.token_problem("https://a.b.example.com/x") is None
    assert push.token_problem("https://example.com/x") is not None
    assert push.token_problem("https://badexample.com/x") is not None


def test_known_services_have_one_port(push: WebPush) -> None:
    assert "port 8443" in refused(push.token_problem("https://fcm.googleapis.com:8443/a"))


def test_only_the_accounts_own_endpoint_may_be_private(account: WebPushAccount, keys: Keys) -> None:
    ca_file = keys.file("cert.pem")
    push = WebPush(replace(account, endpoint="https://127.0.0.1:8443", ca_file=ca_file))
    lane = Lane("shop", Provider.WEB_PUSH, "", Environment.UNSPECIFIED, push.origin("https://127.0.0.1:8443/a"))
    assert push.token_problem("https://127.0.0.1:8443/a", TOKEN) is None
    assert push.endpoint(lane) == Endpoint("127.0.0.1", 8443, ca_file)
    # Its certificate is its own affair.
    assert push.endpoint(lane._replace(origin=MOZILLA)) == stranger(MOZILLA[8:], 443)
    assert push.token_problem("https://127.0.0.1:8444/a") is not None
    six = WebPush(replace(account, endpoint="https://[::1]:8443"))
    assert six.origin("https://[::1]:8443/a") == "https://[::1]:8443"
    assert six.endpoint(lane._replace(origin="https://[::1]:8443")) == Endpoint("::1", 8443)
    behind = WebPush(replace(account, ca_file=ca_file))
    assert behind.endpoint(lane._replace(origin=MOZILLA)) == stranger(MOZILLA[8:], 443, ca_file)


@given(token=st.text(max_size=60) | st.text(max_size=30).map(lambda text: f"https://{text}"))
def test_any_text_has_an_origin_or_none(push: WebPush, token: str) -> None:
    origin = push.origin(token)
    lane = Lane("shop", Provider.WEB_PUSH, "", Environment.UNSPECIFIED, origin)
    assert push.token_problem(token) is not None or push.endpoint(lane) is not None


@pytest.mark.parametrize(
    ("address", "reason", "detail"),
    [
        (ADDRESS, None, ""),
        (NO_ADDRESS, RejectReason.WEB_PUSH_KEYS_INVALID, "one is missing"),
        (ADDRESS._replace(auth=""), RejectReason.WEB_PUSH_KEYS_INVALID, "one is missing"),
        (ADDRESS._replace(auth=base64url(bytes(15))), RejectReason.WEB_PUSH_KEYS_INVALID, "15 bytes instead of 16"),
        (
            ADDRESS._replace(p256dh=base64url(b"\x04" + bytes(64))),
            RejectReason.WEB_PUSH_KEYS_INVALID,
            "not a point on the curve",
        ),
        (ADDRESS._replace(p256dh="a b"), RejectReason.WEB_PUSH_KEYS_INVALID, "not base64url"),
        (ADDRESS._replace(platform=HubPlatform.BROWSER), RejectReason.TOKEN_MALFORMED, "no hub_platform"),
        (Address(audience=AudienceKind.TOPIC), RejectReason.TOKEN_MALFORMED, "no audience"),
    ],
)
def test_keys_beside_the_endpoint(push: WebPush, address: Address, reason: RejectReason | None, detail: str) -> None:
    problem = push.address_problem(TOKEN, address)
    if reason is None:
        assert problem is None
    else:
        assert problem is not None
        assert problem.reason is reason
        assert detail in problem.detail


# --- accounts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "subject",
    ["mailto:push@shop.example", "https://shop.example", "https://shop.example:8443/contact?a=b", "mailto:a+b@x-y.co"],
)
def test_subjects_that_push_services_take(account: WebPushAccount, subject: str) -> None:
    WebPush(replace(account, subject=subject))


@pytest.mark.parametrize(
    "subject",
    [
        *("", "push@shop.example", "mailto:", "mailto:push", "mailto:push@localhost", "mailto:<push@shop.example>"),
        *("mailto:push@shop.example ", "mailto: push@shop.example", "mailto:a@b.example,c@d.example"),
        *("http://shop.example", "https://localhost", "https://localhost:8080/", "https://127.0.0.1", "https://"),
        "https://shop.example/a b",
    ],
)
def test_subjects_that_some_push_service_refuses(account: WebPushAccount, subject: str) -> None:
    with pytest.raises(AccountError, match="subject: is not mailto:"):
        WebPush(replace(account, subject=subject))


@pytest.mark.parametrize("host", ["", ".", "localhost", "10.0.0.1", "*.example.com", "Push.example.com", "db.internal"])
def test_hosts_that_are_none(account: WebPushAccount, host: str) -> None:
    with pytest.raises(AccountError, match="hosts: ") as error:
        WebPush(replace(account, hosts=("push.example.com", host)))
    assert error.value.setting == "hosts"


@pytest.mark.parametrize(
    ("changed", "setting"),
    [
        ({"vapid_key_file": "rsa.pem"}, "vapid_key_file"),
        ({"vapid_key_file": "p384.p8"}, "vapid_key_file"),
        ({"vapid_key_file": "nothing.pem"}, "vapid_key_file"),
        ({"ca_file": "text.txt"}, "ca_file"),
    ],
)
def test_files_that_cannot_serve(account: WebPushAccount, keys: Keys, changed: dict[str, str], setting: str) -> None:
    files: Any = {name: keys.file(value) for name, value in changed.items()}
    with pytest.raises(AccountError) as error:
        WebPush(replace(account, **files))
    assert error.value.setting == setting


def test_an_endpoint_that_is_none(account: WebPushAccount) -> None:
    with pytest.raises(AccountError, match="endpoint: is not https://host:port"):
        WebPush(replace(account, endpoint="http://127.0.0.1:1"))


# --- messages ----------------------------------------------------------------------------------------------------


def test_a_repeat_replaces_what_is_shown(push: WebPush) -> None:
    assert shown(push, Content(title="t"))["tag"] == NOTIFICATION_ID


def test_a_silent_message_is_data_alone(push: WebPush) -> None:
    assert shown(push, Content(silent=True, data={"sync": "1"})) == {
        "tag": NOTIFICATION_ID,
        "silent": True,
        "data": {"sync": "1", "notification_id": NOTIFICATION_ID},
    }


def test_an_entry_of_the_callers_own_wins_but_for_the_id(push: WebPush) -> None:
    data = {"link": "app://1", "notification_id": "another"}
    assert shown(push, Content(title="t", link="https://shop.example", data=data))["data"] == {
        "link": "app://1",
        "notification_id": NOTIFICATION_ID,
    }


def test_a_patch_changes_the_message(push: WebPush) -> None:
    patch = '{"tag": null, "renotify": true, "data": {"a": {"b": 1}, "notification_id": "another"}}'
    assert shown(push, Content(title="t", web_push_json=patch)) == {
        "title": "t",
        "renotify": True,
        "data": {"a": {"b": 1}, "notification_id": NOTIFICATION_ID},
    }
    assert shown(push, Content(title="t", web_push_json='{"data": null}'))["data"] == {
        "notification_id": NOTIFICATION_ID
    }


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (Content(web_push_json='{"data": 1}'), "web_push_json: data must be an object"),
        (Content(web_push_json="[]"), "web_push_json: not a JSON object"),
        (Content(web_push=WebPushOptions(actions_json="{")), "web_push.actions_json: is not a JSON array"),
        (Content(web_push=WebPushOptions(actions_json="{}")), "web_push.actions_json: is not a JSON array"),
        (Content(web_push=WebPushOptions(actions_json='["a"]')), "web_push.actions_json: is not a JSON array"),
        (Content(web_push=WebPushOptions(actions_json="[" * 100_000)), "web_push.actions_json: is not a JSON array"),
        (Content(web_push=WebPushOptions(actions_json='[{"action": "a"}]')), "objects with action and title"),
        (Content(web_push=WebPushOptions(actions_json='[{"action": "a", "title": 1}]')), "whose values are all texts"),
    ],
)
def test_what_cannot_be_written(push: WebPush, content: Content, detail: str) -> None:
    with pytest.raises(MessageRefused) as error:
        push.check_message(notification(content))
    assert error.value.reason is RejectReason.FIELD_MISSING
    assert detail in error.value.detail


def of_size(push: WebPush, size: int, **more: Any) -> Content:
    empty = Content(title="ü", body="-", **more)
    rest = push.preview(notification(empty), NO_ADDRESS, NOW_US).size_bytes - 1
    return replace(empty, body="x" * (size - rest))


def test_the_limit_is_exact(push: WebPush) -> None:
    fits = notification(of_size(push, 3993))
    push.check_message(fits)
    (row,) = prepared(push, delivery(fits)).rows
    assert len(row.body or b"") == 4096
    with pytest.raises(MessageRefused, match="has 3994 bytes, 1 more than the 3993 allowed") as error:
        push.check_message(notification(of_size(push, 3994)))
    assert error.value.reason is RejectReason.PAYLOAD_TOO_LARGE


def test_a_body_is_cut_only_when_asked_and_only_as_far_as_needed(push: WebPush) -> None:
    content = of_size(push, 5000, truncate=True)
    cut = shown(push, content)["body"]
    assert cut.endswith("x…")
    assert push.preview(notification(content), NO_ADDRESS, NOW_US).size_bytes == 3993
    with pytest.raises(MessageRefused, match="more than the 3993 allowed"):
        push.check_message(notification(replace(content, data={"k": "x" * 4000})))


def test_a_preview_is_what_is_sent_without_the_proof(push: WebPush) -> None:
    content = Content(
        title="t",
        body="x" * 4000,
        subtitle="s",
        badge=0,
        sound="default",
        category="c",
        thread_id="t",
        android_channel_id="a",
        title_loc_key="T",
        title_loc_args=("1",),
        body_loc_key="B",
        body_loc_args=("2",),
        truncate=True,
    )
    of = notification(content, collapse_key="k")
    preview = push.preview(of, ADDRESS, NOW_US)
    requests = prepared(push, delivery(of))
    assert json.loads(preview.payload) == read(requests)
    assert preview.headers == [
        (name.decode(), value.decode()) for name, value in requests.templates[0].headers if name != b"authorization"
    ]
    assert (preview.size_bytes, preview.limit_bytes) == (len(preview.payload.encode()), 3993)
    assert preview.truncated == ("message.body",)
    names = "subtitle badge sound category thread_id android_channel_id title_loc_key title_loc_args body_loc_key"
    assert preview.dropped == tuple(f"message.{name}" for name in (*names.split(), "body_loc_args"))


def test_a_preview_of_what_all_browsers_show_leaves_nothing_out(push: WebPush) -> None:
    preview = push.preview(notification(Content(title="t", body="b")), NO_ADDRESS, NOW_US)
    assert (preview.truncated, preview.dropped) == ((), ())


_OPTIONS = st.builds(
    WebPushOptions,
    urgency=st.sampled_from(Urgency),
    topic=st.text(max_size=20),
    icon_url=st.text(max_size=20),
    badge_url=st.text(max_size=20),
    actions_json=st.just("") | st.text(max_size=20) | st.just('[{"action":"a","title":"ü"}]'),
    require_interaction=st.booleans(),
)


@given(of=NOTIFICATIONS, options=_OPTIONS, truncate=st.booleans())
def test_what_passes_the_check_can_be_sent_and_read(
    push: WebPush, of: Notification, options: WebPushOptions, truncate: bool
) -> None:
    of.content = replace(of.content, web_push=options, web_push_json=of.content.fcm_json, truncate=truncate)
    try:
        push.check_message(of)
    except MessageRefused:
        return
    requests = prepared(push, delivery(of))
    assert legal(headers_of(requests, requests.rows[0]))
    assert len(requests.rows[0].body or b"") <= 4096
    assert read(requests)["data"]["notification_id"] == NOTIFICATION_ID


# --- answers -----------------------------------------------------------------------------------------------------


def classified(push: WebPush, status: int, body: bytes = b"", *headers: tuple[bytes, bytes]) -> Outcome:
    ((outcome, message_id),) = push.classify(Response(status, headers, body), [delivery(notification())], NOW_US)
    assert message_id == ""
    return outcome


def mozilla(errno: int, message: str = "why") -> bytes:
    return json.dumps({"code": 0, "errno": errno, "error": "Word", "message": message, "more_info": "u"}).encode()


def apple(reason: str) -> bytes:
    return json.dumps({"reason": reason}).encode()


DEAD = Outcome(OutcomeKind.TOKEN_INVALID)
OTHER_KEY = Outcome(OutcomeKind.TOKEN_INVALID, misdirected=True)
PAYLOAD = Outcome(OutcomeKind.PAYLOAD_REFUSED)
TOO_LARGE = Outcome(OutcomeKind.PAYLOAD_REFUSED, cause=Cause.PAYLOAD_TOO_LARGE)
CREDENTIAL = Outcome(OutcomeKind.CREDENTIAL_REFUSED)
SLOWER = Outcome(OutcomeKind.THROTTLED)
SLOWER_HERE = Outcome(OutcomeKind.THROTTLED, scope=Scope.TOKEN)
DOWN = Outcome(OutcomeKind.UNAVAILABLE)


@pytest.mark.parametrize(
    ("status", "body", "outcome", "reason", "detail"),
    [
        # RFC 8030, whoever says it.
        (400, b"", PAYLOAD, "", ""),
        (401, b"", CREDENTIAL._replace(renew=True), "", ""),
        (403, b"", CREDENTIAL, "", ""),
        (404, b"", DEAD, "", ""),
        (405, b"", PAYLOAD, "", ""),
        (408, b"", DOWN, "", ""),
        (410, b"", DEAD, "", ""),
        (413, b"", TOO_LARGE, "", ""),
        (429, b"", SLOWER, "", ""),
        (500, b"", DOWN, "", ""),
        (502, b"", DOWN, "", ""),
        (503, b"", DOWN, "", ""),
        (302, b"", CREDENTIAL, "", ""),
        (307, b"", CREDENTIAL, "", ""),
        (308, b"", CREDENTIAL, "", ""),
        # Mozilla.
        *((400, mozilla(n), PAYLOAD, f"errno {n}", "why") for n in (101, 108, 110, 111, 112, 113, 114)),
        (401, mozilla(109), CREDENTIAL._replace(renew=True), "errno 109", "why"),
        (401, mozilla(109, "VAPID public key mismatch"), OTHER_KEY, "errno 109", "VAPID public key mismatch"),
        (404, mozilla(102), DEAD, "errno 102", "why"),
        *((410, mozilla(n), DEAD, f"errno {n}", "why") for n in (103, 105, 106)),
        (413, mozilla(104), TOO_LARGE, "errno 104", "why"),
        (429, mozilla(201), SLOWER_HERE, "errno 201", "why"),
        (500, mozilla(999), DOWN, "errno 999", "why"),
        *((502, mozilla(n), DOWN, f"errno {n}", "why") for n in (900, 901, 902, 903)),
        (503, mozilla(201), DOWN, "errno 201", "why"),
        (503, mozilla(202), DOWN._replace(retry_after_s=0.0), "errno 202", "why"),
        (503, b'{"errno": null, "message": "why"}', DOWN, "", "why"),
        # Apple.
        (400, apple("BadTtl"), PAYLOAD, "BadTtl", ""),
        (400, apple("BadUrgency"), PAYLOAD, "BadUrgency", ""),
        (400, apple("BadWebPushTopic"), PAYLOAD, "BadWebPushTopic", ""),
        (400, apple("BadWebPushRequest"), PAYLOAD, "BadWebPushRequest", ""),
        (403, apple("BadJwtToken"), CREDENTIAL, "BadJwtToken", ""),
        (400, apple("BadVapidPublicKey"), CREDENTIAL, "BadVapidPublicKey", ""),
        (403, apple("BadVapidPublicKey"), CREDENTIAL, "BadVapidPublicKey", ""),
        (400, apple("VapidPkHashMismatch"), OTHER_KEY, "VapidPkHashMismatch", ""),
        (403, apple("VapidPkHashMismatch"), OTHER_KEY, "VapidPkHashMismatch", ""),
        (410, apple("Unregistered"), DEAD, "Unregistered", ""),
        (413, apple("PayloadTooLarge"), TOO_LARGE, "PayloadTooLarge", ""),
        (429, apple("TooManyRequests"), SLOWER_HERE, "TooManyRequests", ""),
        (500, apple("InternalServerError"), DOWN, "InternalServerError", ""),
        # Google.
        (400, b"bad\n", PAYLOAD, "", "bad"),
        (
            403,
            b"the VAPID credentials in the authorization header do not correspond to the credentials used to create "
            b"the subscriptions.\n",
            OTHER_KEY,
            "",
            "the VAPID credentials in the authorization header do not correspond to the credentials used to create "
            "the subscriptions.",
        ),
        (
            403,
            b"the key in the authorization header does not correspond to the sender ID used to subscribe this user.",
            OTHER_KEY,
            "",
            "the key in the authorization header does not correspond to the sender ID used to subscribe this user.",
        ),
        (403, b"invalid JWT provided\n", CREDENTIAL, "", "invalid JWT provided"),
        (404, b"A valid push subscription endpoint should\n", DEAD, "", "A valid push subscription endpoint should"),
        (410, b"push subscription has unsubscribed\n", DEAD, "", "push subscription has unsubscribed"),
        (429, b"<html>", SLOWER, "", "<html>"),
        (503, b"The same words: VapidPkHashMismatch", DOWN, "", "The same words: VapidPkHashMismatch"),
    ],
)
def test_each_documented_answer(
    push: WebPush, status: int, body: bytes, outcome: Outcome, reason: str, detail: str
) -> None:
    wanted = outcome._replace(provider_status=status, reason=reason, detail=detail)
    assert classified(push, status, body) == wanted


@pytest.mark.parametrize(
    ("status", "headers", "outcome", "reason"),
    [
        (406, {"x-wns-status": "appthrottled", "retry-after": "900"}, SLOWER._replace(retry_after_s=900.0), None),
        (406, {}, SLOWER, ""),
        (406, {"x-wns-status": "channelthrottled"}, SLOWER_HERE, None),
        (429, {"x-wns-status": "channelthrottled"}, SLOWER_HERE, None),
        (201, {"x-wns-status": "channelthrottled"}, SLOWER_HERE, None),
        (200, {"x-wns-status": "dropped"}, PAYLOAD._replace(cause=Cause.PROVIDER_DROPPED), None),
        (400, {"x-wns-status": "dropped", "x-wns-error-description": "Ttl"}, PAYLOAD._replace(detail="Ttl"), None),
        (410, {}, DEAD, ""),
        (410, {"x-wns-msg-id": "4F"}, DEAD._replace(ambiguous=True), ""),
        (404, {"x-wns-msg-id": "4F"}, DEAD, ""),
    ],
)
def test_windows_answers_in_headers(
    push: WebPush, status: int, headers: dict[str, str], outcome: Outcome, reason: str | None
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    word = headers.get("x-wns-status", "") if reason is None else reason
    assert classified(push, status, b"", *raw) == outcome._replace(provider_status=status, reason=word)


@pytest.mark.parametrize(
    ("after", "seconds"),
    [(b"120", 120.0), (b"Mon, 23 Nov 2026 06:02:00 GMT", 120.0), (b"Mon, 23 Nov 2026 05:00:00 GMT", 0.0), (b"x", None)],
)
@pytest.mark.parametrize("status", [429, 503])
def test_when_to_come_back(push: WebPush, status: int, after: bytes, seconds: float | None) -> None:
    assert classified(push, status, b"", (b"retry-after", after)).retry_after_s == seconds


def test_an_acceptance_names_the_message(push: WebPush) -> None:
    location = b"https://updates.push.services.mozilla.com/m/gAAAAABn"
    for status in (201, 200, 202, 204):
        response = Response(status, [(b"location", location), (b"ttl", b"60")], b"")
        assert push.classify(response, [delivery(notification())], NOW_US) == [
            (Outcome(OutcomeKind.ACCEPTED, status), location.decode())
        ]
    first, second = (push.classify(Response(201, (), b""), [delivery(notification())], NOW_US)[0] for _ in range(2))
    assert first[0] is second[0]
    assert first[1] == ""
    received = Response(201, [(b"x-wns-status", b"received")], b"")
    assert push.classify(received, [delivery(notification())], NOW_US)[0][0] is first[0]


def test_an_id_too_long_to_keep_is_none(push: WebPush) -> None:
    response = Response(201, [(b"location", b"https://h.example/" + b"x" * 1024)], b"")
    assert push.classify(response, [delivery(notification())], NOW_US)[0][1] == ""


@pytest.mark.parametrize(
    ("location", "moved_to", "origin"),
    [
        ("https://updates.push.services.mozilla.com/wpush/fcm/new", f"{MOZILLA}/wpush/fcm/new", MOZILLA),
        ("/wpush/fcm/new", f"{MOZILLA}/wpush/fcm/new", MOZILLA),
        (
            "//b.push.services.mozilla.com/n",
            "https://b.push.services.mozilla.com/n",
            "https://b.push.services.mozilla.com",
        ),
        ("HTTPS://Web.Push.Apple.Com/n", "https://Web.Push.Apple.Com/n", "https://web.push.apple.com"),
    ],
)
def test_a_subscription_moves(push: WebPush, location: str, moved_to: str, origin: str) -> None:
    outcome = classified(push, 301, b"", (b"location", location.encode()))
    assert outcome == Outcome(OutcomeKind.TOKEN_INVALID, 301, replaced_by=moved_to, replaced_origin=origin)


def test_what_has_moved_is_sent_to_where_it_is_now_and_moves_on_from_there(push: WebPush) -> None:
    here = "https://b.push.services.mozilla.com"
    moved = delivery(notification())._replace(address=ADDRESS._replace(moved_to=f"{here}/1", moves=1).text)
    requests = prepared(push, moved, origin=here)
    assert (requests.rows[0].path, requests.templates[0].authority) == (b"/1", here.removeprefix("https://").encode())
    assert read(requests)["title"] == "Order shipped"
    token, _ = header(requests, "authorization").removeprefix("vapid t=").split(",", 1)
    assert json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))["aud"] == here
    ((outcome, _),) = push.classify(Response(301, [(b"location", b"/2")], b""), [moved], NOW_US)
    assert (outcome.replaced_by, outcome.replaced_origin) == (f"{here}/2", here)
    ((again, _),) = push.classify(Response(301, [(b"location", b"/1")], b""), [moved], NOW_US)
    assert (again.kind, again.replaced_origin) == (OutcomeKind.CREDENTIAL_REFUSED, "")


@pytest.mark.parametrize(
    "location",
    [
        *("", TOKEN, "https://[", "\xff", "https://10.0.0.1/new", "https://localhost/new", "https://shop.example/new"),
        *("http://updates.push.services.mozilla.com/new", f"{MOZILLA}:8443/new", f"{MOZILLA}/{'x' * 4096}"),
        *("https://me@updates.push.services.mozilla.com/new", f"{MOZILLA}/new#here", f"{MOZILLA}/a b"),
    ],
)
def test_nobody_dies_of_a_move_to_nowhere_and_nothing_is_sent_there(push: WebPush, location: str) -> None:
    outcome = classified(push, 301, b"", (b"location", location.encode("latin-1")))
    assert (outcome.kind, outcome.scope) == (OutcomeKind.CREDENTIAL_REFUSED, Scope.TOKEN)
    assert outcome.replaced_by == outcome.replaced_origin == ""


@given(
    status=st.integers(100, 599) | st.integers(),
    body=st.binary(max_size=100) | st.integers().map(lambda n: json.dumps({"errno": n, "reason": n}).encode()),
    headers=st.lists(
        st.tuples(
            st.sampled_from([b"location", b"retry-after", b"x-wns-status", b"x-wns-error-description"]),
            st.binary(max_size=30),
        ),
        max_size=4,
    ),
)
def test_any_answer_gets_an_outcome_that_can_be_stored(
    push: WebPush, status: int, body: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    covered = [delivery(notification()), delivery(notification(), ordinal=1)]
    told = push.classify(Response(status, headers, body), covered, NOW_US)
    assert len(told) == 2
    for outcome, message_id in told:
        assert outcome.kind is not OutcomeKind.UNSPECIFIED
        assert outcome.provider_status == status
        (outcome.reason + outcome.detail + outcome.replaced_by + message_id).encode()
