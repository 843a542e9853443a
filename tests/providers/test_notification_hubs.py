"""Hubs: what is sent, to the byte; whom it may reach; and installations."""

from __future__ import annotations

import email
import email.message
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.accounts import HubAccount
from pushrpc.content import ApnsOptions, Content, HubOptions
from pushrpc.exchange import Endpoint, Requests, Response, Row
from pushrpc.model import NOT_SENT, Address, Device, Outcome
from pushrpc.providers import AccountError, GivesFeedback, KeepsDevices, MessageRefused, open_account
from pushrpc.providers.notification_hubs import HANDLES_MAX, ONE_BY_ONE_S, NotificationHub
from pushrpc.words import (
    ApnsPushType,
    AudienceKind,
    DeviceState,
    Environment,
    HubPlatform,
    OutcomeKind,
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
    lane,
    legal,
    notification,
    refused,
)
from tests.providers.strategies import NOTIFICATIONS

KEY = "c2VjcmV0LXNlY3JldA=="
CONNECTION = f"Endpoint=sb://shop-ns.servicebus.windows.net/;SharedAccessKeyName=Send;SharedAccessKey={KEY}"
APNS_TOKEN = "ab" * 32
# RFC 8291 §5.
P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
BROWSER = Address(P256DH, AUTH, HubPlatform.BROWSER)
TAGS = Address(audience=AudienceKind.TAGS)
EVERYONE = Address(audience=AudienceKind.EVERYONE)


@pytest.fixture(scope="session")
def account(keys: Keys) -> HubAccount:
    (keys.directory / "hub.txt").write_text(CONNECTION)
    return HubAccount("shop", keys.file("hub.txt"), "shop-hub")


@pytest.fixture(scope="session")
def hub(account: HubAccount) -> NotificationHub:
    return NotificationHub(account)


def on(platform: HubPlatform) -> Address:
    return Address(platform=platform)


def sent(hub: NotificationHub, content: Content, address: Address, *tokens: str, **given_values: Any) -> Requests:
    """The requests that content becomes, after the check that everything sent passes first."""
    of = notification(content, **given_values)
    hub.check_message(of, address)
    deliveries = [claimed(of, token, i, address.text) for i, token in enumerate(tokens or (APNS_TOKEN,))]
    return hub.prepare(batch(hub, deliveries), b"SharedAccessSignature s", NOW_US)


def header(requests: Requests, name: str, position: int = 0) -> str:
    return dict(headers_of(requests, requests.rows[position])).get(name.encode(), b"").decode()


# --- requests ----------------------------------------------------------------------------------------------------


def test_a_direct_send(hub: NotificationHub) -> None:
    content = Content(title="Order shipped", body="On its way", data={"order_id": "1234"})
    requests = sent(hub, content, on(HubPlatform.APNS), collapse_key="order-1234")
    (template,), (row,) = requests.templates, requests.rows
    assert (template.method, template.authority) == (b"POST", b"shop-ns.servicebus.windows.net")
    assert (row.path, row.covers) == (b"/shop-hub/messages/?direct&api-version=2020-06", (0,))
    assert dict(headers_of(requests, row)) == {
        b"authorization": b"SharedAccessSignature s",
        b"servicebusnotification-format": b"apple",
        b"servicebusnotification-devicehandle": APNS_TOKEN.encode(),
        b"content-type": b"application/json;charset=utf-8",
        b"apns-push-type": b"alert",
        b"apns-priority": b"10",
        b"apns-expiration": b"1795417200",
        b"apns-collapse-id": b"order-1234",
    }
    assert json.loads(body_of(requests, row)) == {
        "aps": {"alert": {"title": "Order shipped", "body": "On its way"}},
        "order_id": "1234",
        "notification_id": NOTIFICATION_ID,
    }


CONTENT = Content(title="t", body="b", link="https://shop.example/1", data={"k": "v"}, badge=3)
FORMS: Sequence[tuple[HubPlatform, str, str, str, dict[str, str]]] = [
    (HubPlatform.APNS, APNS_TOKEN, "apple", "application/json;charset=utf-8", {"apns-push-type": "alert"}),
    (HubPlatform.FCM_V1, "f:token", "fcmV1", "application/json;charset=utf-8", {}),
    (
        HubPlatform.WNS,
        "https://a.notify.windows.com/?token=x",
        "windows",
        "application/xml",
        {"x-wns-type": "wns/toast"},
    ),
    (HubPlatform.BROWSER, "https://push.example/1", "browser", "application/json;charset=utf-8", {"p256dh": P256DH}),
    (HubPlatform.ADM, "amzn1.adm-x", "adm", "application/json;charset=utf-8", {}),
    (HubPlatform.BAIDU, "user-channel", "baidu", "application/json;charset=utf-8", {"x-baidu-message-type": "1"}),
    (HubPlatform.XIAOMI, "mi", "xiaomi", "application/json;charset=utf-8", {}),
]


@pytest.mark.parametrize(("platform", "token", "word", "content_type", "more"), FORMS, ids=lambda v: str(v)[:12])
def test_every_platform_has_its_own_form(
    hub: NotificationHub, platform: HubPlatform, token: str, word: str, content_type: str, more: dict[str, str]
) -> None:
    address = BROWSER if platform is HubPlatform.BROWSER else on(platform)
    assert hub.address_problem(token, address) is None
    requests = sent(hub, CONTENT, address, token)
    assert header(requests, "servicebusnotification-format") == word
    assert header(requests, "content-type") == content_type
    assert header(requests, "servicebusnotification-devicehandle") == token
    assert {name: header(requests, name) for name in more} == more
    assert NOTIFICATION_ID in body_of(requests, requests.rows[0]).decode()
    assert legal(headers_of(requests, requests.rows[0]))


def test_payloads_of_platforms_that_only_a_hub_reaches(hub: NotificationHub) -> None:
    def payload(platform: HubPlatform, content: Content = CONTENT) -> Any:
        requests = sent(hub, content, on(platform), "x", collapse_key="c")
        return json.loads(body_of(requests, requests.rows[0]))

    own = {"link": "https://shop.example/1", "k": "v", "notification_id": NOTIFICATION_ID}
    assert payload(HubPlatform.ADM) == {
        "notification": {"title": "t", "body": "b"},
        "data": own,
        "priority": "high",
        "consolidationKey": "c",
        "expiresAfter": 3600,
    }
    assert payload(HubPlatform.BAIDU) == {"title": "t", "description": "b", "custom_content": own}
    xiaomi = payload(HubPlatform.XIAOMI)
    assert json.loads(xiaomi.pop("payload")) == own
    assert xiaomi == {"title": "t", "description": "b", "pass_through": 0}
    silent = Content(silent=True, data={"k": "v"})
    assert "notification" not in payload(HubPlatform.ADM, silent)
    assert payload(HubPlatform.ADM, silent)["priority"] == "normal"
    assert payload(HubPlatform.XIAOMI, silent)["pass_through"] == 1
    requests = sent(hub, silent, on(HubPlatform.BAIDU), "x")
    assert header(requests, "x-baidu-message-type") == "0"


def test_a_browsers_keys_travel_beside_its_endpoint(hub: NotificationHub) -> None:
    requests = sent(hub, Content(title="t"), BROWSER, "https://push.example/1", "https://push.example/2")
    assert [row.covers for row in requests.rows] == [(0,), (1,)]
    assert (header(requests, "p256dh", 1), header(requests, "auth", 1)) == (P256DH, AUTH)
    assert header(requests, "servicebusnotification-devicehandle", 1) == "https://push.example/2"


def parts_of(requests: Requests, row: Row) -> dict[str, email.message.Message]:
    """A batch as an independent reader of MIME sees it."""
    content_type = dict(headers_of(requests, row))[b"content-type"]
    message = email.message_from_bytes(b"Content-Type: " + content_type + b"\r\n\r\n" + body_of(requests, row))
    assert message.get_content_type() == "multipart/mixed" and not message.defects
    parts = {}
    for part in message.get_payload():
        assert isinstance(part, email.message.Message)
        assert part.get_content_disposition() == "inline" and not part.defects
        parts[str(part.get_param("name", header="content-disposition"))] = part
    return parts


def text_of(part: email.message.Message) -> bytes:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload


def test_a_batch_covers_the_handles_of_one_notification_and_one_platform(hub: NotificationHub) -> None:
    tokens = [f"{n:064x}" for n in range(700)]
    requests = sent(hub, Content(title="t"), on(HubPlatform.APNS), *tokens)
    (row,) = requests.rows
    assert row.path == b"/shop-hub/messages/$batch?direct&api-version=2020-06"
    assert list(row.covers) == list(range(700))
    assert header(requests, "servicebusnotification-format") == "apple"
    assert header(requests, "servicebusnotification-devicehandle") == ""
    parts = parts_of(requests, row)
    assert list(parts) == ["notification", "devices"]
    assert text_of(parts["notification"]) == requests.templates[0].body
    assert parts["notification"].get_content_type() == "application/json"
    assert json.loads(text_of(parts["devices"])) == tokens


def test_a_batch_is_bounded_in_handles_and_in_bytes(hub: NotificationHub) -> None:
    short = sent(hub, Content(title="t"), on(HubPlatform.BAIDU), *(f"{n}" for n in range(HANDLES_MAX + 2)))
    assert [len(row.covers) for row in short.rows] == [HANDLES_MAX, 2]
    long = sent(hub, Content(title="t"), on(HubPlatform.ADM), *(f"{n:0600}" for n in range(300)))
    assert len(long.rows) > 2
    assert all(len(body_of(long, row)) <= 65_536 for row in long.rows)
    assert [position for row in long.rows for position in row.covers] == list(range(300))


def test_what_a_batch_leaves_over_goes_alone(hub: NotificationHub) -> None:
    requests = sent(hub, Content(title="t"), on(HubPlatform.BAIDU), *(f"{n}" for n in range(HANDLES_MAX + 1)))
    assert [b"$batch" in row.path for row in requests.rows] == [True, False]


@pytest.mark.parametrize(
    ("answer", "batches"),
    [
        (Response(403, (), b"<Error><Detail>This operation is not available for your tier.</Detail></Error>"), 0),
        (Response(403, [(b"retry-after", b"9")], b"This operation is not available for your tier"), 0),
        (Response(403, (), b""), 0),
        (Response(403, [(b"retry-after", b"9")], b"Too much."), 1),
        (Response(401, (), b""), 1),
        (Response(413, (), b""), 1),
    ],
)
def test_a_hub_that_takes_no_batches_gets_handles_one_by_one(
    account: HubAccount, answer: Response, batches: int
) -> None:
    hub = NotificationHub(account)
    of = notification(Content(title="t"))
    deliveries = [claimed(of, f"{n:064x}", n, on(HubPlatform.APNS).text) for n in range(3)]
    told = hub.classify(answer, deliveries, NOW_US)
    assert ([outcome for outcome, _ in told] == [NOT_SENT] * 3) is (batches == 0)

    def batched(now_us: int) -> int:
        return sum(b"$batch" in row.path for row in hub.prepare(batch(hub, deliveries), b"s", now_us).rows)

    assert batched(NOW_US) == batches
    assert batched(NOW_US + int(ONE_BY_ONE_S * 1e6)) == 1, "the tier may be another one by now"


def test_a_single_handle_that_is_forbidden_pauses_the_lane(account: HubAccount) -> None:
    of = notification(Content(title="t"))
    answer = Response(403, (), b"<Error><Code>403</Code><Detail>No Send right.</Detail></Error>")
    ((outcome, _),) = NotificationHub(account).classify(answer, [claimed(of)], NOW_US)
    assert outcome == Outcome(OutcomeKind.CREDENTIAL_REFUSED, 403, "403", "No Send right.")


@pytest.mark.parametrize("platform", [HubPlatform.FCM_V1, HubPlatform.BROWSER])
def test_platforms_without_batches_go_one_by_one(hub: NotificationHub, platform: HubPlatform) -> None:
    address = BROWSER if platform is HubPlatform.BROWSER else on(platform)
    requests = sent(hub, Content(title="t"), address, *(f"https://p.example/{n}" for n in range(5)))
    assert [row.covers for row in requests.rows] == [(0,), (1,), (2,), (3,), (4,)]
    assert {row.path for row in requests.rows} == {b"/shop-hub/messages/?direct&api-version=2020-06"}
    assert len(requests.templates) == 1


@pytest.mark.parametrize(
    ("address", "token", "more"),
    [
        (on(HubPlatform.APNS), "{:064x}", 0),
        (on(HubPlatform.BAIDU), "{}", 0),
        (on(HubPlatform.ADM), "{:0600}", 2),  # counted for the largest message that there can be
        (on(HubPlatform.FCM_V1), "{}", 0),
        (BROWSER, "https://p.example/{}", 0),
        (TAGS, "t{}", 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_requests_of_deliveries_are_counted_without_writing_them(
    account: HubAccount, address: Address, token: str, more: int
) -> None:
    hub = NotificationHub(account)
    template = HubOptions(template_properties={"a": "b"}) if address.audience else HubOptions()
    of = notification(Content(title="t", notification_hubs=template))
    deliveries = [claimed(of, token.format(n), n, address.text) for n in range(HANDLES_MAX + 5)]
    hub.classify(Response(403, (), b""), deliveries, NOW_US)
    before = 0
    for now_us in (NOW_US, NOW_US + int(ONE_BY_ONE_S * 1e6)):
        for count in (0, 1, 2, 500, HANDLES_MAX, HANDLES_MAX + 5):
            made = len(hub.prepare(batch(hub, deliveries[:count]), None, now_us).rows)
            assert made <= hub.requests_of(deliveries[:count], now_us) <= made + more
            before = max(before, made)
    assert before == HANDLES_MAX + 5, "one by one, as after a refused batch"


def test_a_mixed_batch_keeps_each_handle_with_its_message_and_platform(hub: NotificationHub) -> None:
    other = notification(Content(title="other"), notification_id="0193f2a4-5b6c-7d8e-9fa0-000000000001")
    first = notification(Content(title="first"))
    apple, adm = on(HubPlatform.APNS).text, on(HubPlatform.ADM).text
    plan = [(first, "a0", apple), (other, "a1", apple), (first, "d2", adm), (first, "a3", apple), (first, "d4", adm)]
    deliveries = [claimed(of, token, i, address) for i, (of, token, address) in enumerate(plan)]
    requests = hub.prepare(batch(hub, deliveries), b"s", NOW_US)
    told = {}
    for position, row in enumerate(requests.rows):
        if b"$batch" in row.path:
            parts = parts_of(requests, row)
            payload, handles = text_of(parts["notification"]), json.loads(text_of(parts["devices"]))
        else:
            handles = [header(requests, "servicebusnotification-devicehandle", position)]
            payload = body_of(requests, row)
        for place, handle in zip(row.covers, handles, strict=True):
            told[place] = handle, "first" if b"first" in payload else "other"
            assert header(requests, "servicebusnotification-format", position) == {"a": "apple", "d": "adm"}[handle[0]]
    assert told == {0: ("a0", "first"), 1: ("a1", "other"), 2: ("d2", "first"), 3: ("a3", "first"), 4: ("d4", "first")}


PROPERTIES = HubOptions(template_properties={"title": "Ahoi", "city": "Köln"})


def test_a_tag_expression_and_everyone_get_the_hubs_templates(hub: NotificationHub) -> None:
    content = Content(title="t", notification_hubs=PROPERTIES)
    tagged = sent(hub, content, TAGS, " news && !quiet")
    assert tagged.rows[0].path == b"/shop-hub/messages/?api-version=2020-06"
    assert header(tagged, "servicebusnotification-format") == "template"
    assert header(tagged, "servicebusnotification-tags") == "news && !quiet"
    assert json.loads(body_of(tagged, tagged.rows[0])) == {
        "title": "Ahoi",
        "city": "Köln",
        "notification_id": NOTIFICATION_ID,
    }
    everyone = sent(hub, content, EVERYONE, "")
    assert header(everyone, "servicebusnotification-tags") == ""
    assert everyone.rows[0].path == tagged.rows[0].path


def test_an_audience_of_one_platform_gets_its_own_form(hub: NotificationHub) -> None:
    address = Address(platform=HubPlatform.ADM, audience=AudienceKind.TAGS)
    requests = sent(hub, Content(title="t"), address, "news")
    assert header(requests, "servicebusnotification-format") == "adm"
    assert header(requests, "servicebusnotification-tags") == "news"


def test_an_audience_of_all_platforms_needs_template_properties(hub: NotificationHub) -> None:
    with pytest.raises(MessageRefused, match="template_properties") as refusal:
        hub.check_message(notification(), TAGS)
    assert refusal.value.reason is RejectReason.FIELD_MISSING


def test_templates_go_to_tags_and_not_to_handles(hub: NotificationHub) -> None:
    with pytest.raises(MessageRefused, match="tags"):
        sent(hub, Content(title="t", notification_hubs=PROPERTIES), on(HubPlatform.APNS))


def test_the_callers_headers_win_and_only_those_that_a_hub_hands_on_may_be_set(hub: NotificationHub) -> None:
    def options(name: str, value: str) -> Content:
        return Content(title="t", notification_hubs=HubOptions(headers={name: value}))

    requests = sent(hub, options("Apns-Priority", "5"), on(HubPlatform.APNS))
    assert header(requests, "apns-priority") == "5"
    for name in ("Authorization", "ServiceBusNotification-Tags", "x-ms-version", "Content-Type", "apns-ü", "x-\r\n"):
        with pytest.raises(MessageRefused, match="is not handed on"):
            hub.check_message(notification(options(name, "x")), on(HubPlatform.APNS))
    for value in ("", " x", "a\r\nb", "ü", "x" * 2000):
        with pytest.raises(MessageRefused, match="no header can carry"):
            hub.check_message(notification(options("apns-x", value)), on(HubPlatform.APNS))


def test_a_collapse_key_that_http1_cannot_carry_is_a_digest(hub: NotificationHub) -> None:
    first, second = (
        header(sent(hub, Content(title="t"), on(HubPlatform.APNS), collapse_key="schlüssel"), "apns-collapse-id")
        for _ in range(2)
    )
    assert first == second and len(first) == 64 and first.isascii()


def test_a_push_type_with_a_suffix_needs_the_topic_that_only_the_hub_knows(hub: NotificationHub) -> None:
    voip = Content(apns=ApnsOptions(push_type=ApnsPushType.VOIP), data={"a": "b"})
    with pytest.raises(MessageRefused, match=r"apns\.topic"):
        hub.check_message(notification(voip), on(HubPlatform.APNS))
    requests = sent(
        hub, replace(voip, apns=replace(voip.apns, topic="com.example.shop.voip")), on(HubPlatform.APNS), APNS_TOKEN
    )
    assert header(requests, "apns-topic") == "com.example.shop.voip"
    assert hub.token_kind(notification(voip)) is TokenKind.VOIP
    assert hub.token_kind(notification()) is TokenKind.STANDARD


# --- limits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "limit"), [(HubPlatform.ADM, 6144), (HubPlatform.BAIDU, 4096), (HubPlatform.XIAOMI, 4096)]
)
def test_limits_are_exact_and_a_body_is_cut_only_when_the_caller_asks(
    hub: NotificationHub, platform: HubPlatform, limit: int
) -> None:
    def body_of_length(characters: int, truncate: bool = False) -> Content:
        return Content(body="é" * characters, truncate=truncate)

    def size(content: Content) -> int:
        preview = hub.preview(notification(content), on(platform), NOW_US)
        assert preview.size_bytes == len(preview.payload.encode())
        return preview.size_bytes

    room = (limit - size(body_of_length(1))) // 2 + 1
    assert limit - 1 <= size(body_of_length(room)) <= limit
    with pytest.raises(MessageRefused, match=f"more than the {limit} allowed") as refusal:
        hub.check_message(notification(body_of_length(room + 1)), on(platform))
    assert refusal.value.reason is RejectReason.PAYLOAD_TOO_LARGE
    preview = hub.preview(notification(body_of_length(4000, truncate=True)), on(platform), NOW_US)
    assert preview.truncated == ("message.body",)
    assert limit - 4 <= preview.size_bytes <= limit
    assert "é…" in preview.payload


def test_template_properties_have_the_hubs_limit(hub: NotificationHub) -> None:
    content = Content(notification_hubs=HubOptions(template_properties={"a": "x" * 65_536}))
    with pytest.raises(MessageRefused, match="more than the 65536 allowed"):
        hub.check_message(notification(content), EVERYONE)


def test_a_preview_shows_all_but_the_credential_and_the_handle(hub: NotificationHub) -> None:
    content = Content(title="t", subtitle="s", badge=2, thread_id="x", sound="default")
    preview = hub.preview(notification(content), on(HubPlatform.BAIDU), NOW_US)
    lost = ("subtitle", "badge", "sound", "thread_id")
    assert preview.dropped == (*(f"message.{name}" for name in lost), "options.priority", "options.ttl")
    names = [name for name, _ in preview.headers]
    assert names == ["content-type", "servicebusnotification-format", "x-baidu-message-type"]
    assert (preview.limit_bytes, json.loads(preview.payload)["title"]) == (4096, "t")


PLATFORMS = [platform for platform in HubPlatform if platform not in (HubPlatform.UNSPECIFIED, HubPlatform.BROWSER)]
ADDRESSES = st.sampled_from([*map(on, PLATFORMS), BROWSER, TAGS, EVERYONE, Address()])
HUB_OPTIONS = st.builds(
    HubOptions,
    headers=st.just({})
    | st.dictionaries(st.sampled_from(["apns-x", "X-WNS-Tag", "bad"]) | st.text(max_size=9), st.text()),
    template_properties=st.just({}) | st.dictionaries(st.text(max_size=9), st.text(max_size=30), max_size=4),
)


@given(of=NOTIFICATIONS, options=HUB_OPTIONS, address=ADDRESSES, later_us=st.integers(0, 2 * HOUR_US))
def test_what_passes_the_check_can_be_sent(
    hub: NotificationHub, of: Any, options: HubOptions, address: Address, later_us: int
) -> None:
    of.content = replace(of.content, notification_hubs=options)
    try:
        hub.check_message(of, address)
    except MessageRefused:
        return
    token = "" if address.audience is AudienceKind.EVERYONE else "ab"
    deliveries = [claimed(of, token, i, address.text) for i in range(2)]
    requests = hub.prepare(batch(hub, deliveries), b"SharedAccessSignature s", NOW_US + later_us)
    assert sorted(position for row in requests.rows for position in row.covers) == [0, 1]
    for row in requests.rows:
        assert legal(headers_of(requests, row))
        assert len(body_of(requests, row)) <= 65_536 + 1024
    assert hub.preview(of, address, NOW_US).size_bytes <= 65_536


# --- handles, audiences and settings -----------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "a b", "a\n", "tök", "\x7f", "x" * 4097])
def test_handles_that_no_header_carries(hub: NotificationHub, token: str) -> None:
    assert "visible ASCII" in refused(hub.token_problem("good", token))


M, K, F = RejectReason.TOKEN_MALFORMED, RejectReason.WEB_PUSH_KEYS_INVALID, RejectReason.ENDPOINT_FORBIDDEN
URL = "https://push.example/1"


@pytest.mark.parametrize(
    ("token", "address", "reason", "told"),
    [
        ("x", Address(), RejectReason.FIELD_MISSING, "needs a hub_platform"),
        ("xyz", on(HubPlatform.APNS), M, "hexadecimal"),
        ("abc", on(HubPlatform.APNS), M, "hexadecimal"),
        ("abc" * 100, on(HubPlatform.APNS), M, "2 to 200"),
        ("x", on(HubPlatform.WNS), M, "a channel URI"),
        ("http://db3.notify.windows.com/?token=x", on(HubPlatform.WNS), F, "https"),
        ("https://notify.windows.com.example/?token=x", on(HubPlatform.WNS), F, "not under notify.windows.com"),
        ("https://127.0.0.1:1234/?token=x", on(HubPlatform.WNS), F, "not under notify.windows.com"),
        ("https://sn1.notify.live.net/01.00/A", on(HubPlatform.WNS), RejectReason.PROVIDER_RETIRED, "WNS"),
        ("http://push.example/1", BROWSER, M, "https URL"),
        ("https://user@push.example/1", BROWSER, M, "https URL"),
        ("https://10.0.0.1/1", BROWSER, F, "public host name"),
        ("https://[::1]/push", BROWSER, F, "public host name"),
        ("https://localhost/1", BROWSER, F, "public host name"),
        ("https://router.lan/1", BROWSER, F, "public host name"),
        (URL, on(HubPlatform.BROWSER), K, "p256dh and auth"),
        (URL, BROWSER._replace(auth=""), K, "p256dh and auth"),
        (URL, BROWSER._replace(auth=AUTH[:-2]), K, "auth"),
        (URL, BROWSER._replace(p256dh="B" + "A" * 86), K, "curve"),
        ("x", Address(P256DH, AUTH, HubPlatform.ADM), M, "for handles of BROWSER only"),
        ("news", Address(audience=AudienceKind.TOPIC), M, "no topics"),
        ("c", Address(audience=AudienceKind.CHANNEL), M, "no topics"),
        ("a &&", TAGS, M, "the tag expression ends too early"),
        ("||".join("abcdefghijklmnopqrstuvw"), TAGS, M, "has 23 tags, 20 are allowed"),
    ],
)
def test_addresses_that_reach_nobody(
    hub: NotificationHub, token: str, address: Address, reason: RejectReason, told: str
) -> None:
    problem = hub.address_problem(token, address)
    assert problem is not None
    assert (problem.reason, told in problem.detail) == (reason, True), problem
    assert P256DH not in problem.detail and (not token or len(token) < 6 or token not in problem.detail)


@pytest.mark.parametrize(
    ("token", "address"), [("a || b", TAGS), ("", EVERYONE), (URL, BROWSER), ("ABab", on(HubPlatform.APNS))]
)
def test_addresses_that_may_reach_somebody(hub: NotificationHub, token: str, address: Address) -> None:
    assert hub.address_problem(token, address) is None


def test_beside_an_emulated_hub_addresses_may_be_its_hosts(account: HubAccount) -> None:
    pointed = NotificationHub(replace(account, endpoint="https://127.0.0.1:1234"))
    for at, problem in (("https://127.0.0.1:999", False), ("https://127.0.0.2:999", True), ("http://127.0.0.1", True)):
        assert bool(pointed.address_problem(f"{at}/?token=x", on(HubPlatform.WNS))) is problem
        assert bool(pointed.address_problem(f"{at}/push/x", BROWSER)) is problem


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("ns.servicebus.windows.net", True),
        ("NS.servicebus.Windows.net", True),
        ("ns.servicebus.chinacloudapi.cn", True),
        ("ns.servicebus.usgovcloudapi.net", True),
        ("servicebus.windows.net", False),
        ("ns.servicebus.windows.net.example", False),
        ("127.0.0.1", False),
    ],
)
def test_signatures_go_to_azure_unless_an_endpoint_is_configured(
    account: HubAccount, tmp_path: Path, host: str, known: bool
) -> None:
    elsewhere = tmp_path / "elsewhere.txt"
    elsewhere.write_text(CONNECTION.replace("shop-ns.servicebus.windows.net", host))
    changed = replace(account, connection_string_file=str(elsewhere))
    if known:
        assert NotificationHub(changed).endpoint(lane()) == Endpoint(host.lower(), 443, http2=False)
    else:
        with pytest.raises(AccountError, match=r"servicebus\.windows\.net") as refusal:
            NotificationHub(changed)
        assert refusal.value.setting == "connection_string_file"
    NotificationHub(replace(changed, endpoint="https://127.0.0.1:1234"))


def test_endpoints(account: HubAccount, hub: NotificationHub, keys: Keys) -> None:
    assert hub.endpoint(lane()) == Endpoint("shop-ns.servicebus.windows.net", 443, http2=False)
    identity = (hub.provider, hub.provider_app_id, hub.environment)
    assert identity == (Provider.NOTIFICATION_HUBS, "shop-ns/shop-hub", Environment.UNSPECIFIED)
    pointed = NotificationHub(replace(account, endpoint="https://127.0.0.1:1234", ca_file=keys.file("cert.pem")))
    assert pointed.endpoint(lane()) == Endpoint("127.0.0.1", 1234, keys.file("cert.pem"), http2=False)
    requests = sent(pointed, Content(title="t"), on(HubPlatform.APNS))
    assert requests.templates[0].authority == b"127.0.0.1:1234"
    assert requests.rows[0].path == b"/shop-hub/messages/?direct&api-version=2020-06"
    assert pointed.provider_app_id == hub.provider_app_id
    assert pointed.credential is not None and hub.credential is not None
    assert pointed.credential.current(NOW_US) == hub.credential.current(NOW_US)
    assert hub.origin("https://anywhere.example/1") == ""


def test_the_credential_is_for_this_hub_only(hub: NotificationHub) -> None:
    assert hub.credential is not None
    token = hub.credential.current(NOW_US)
    assert token is not None
    assert b"sr=https%3A%2F%2Fshop-ns.servicebus.windows.net%2Fshop-hub&" in token
    assert b"&skn=Send" in token and KEY.encode() not in unquote(token.decode()).encode()


def test_open_account_opens_it(account: HubAccount, keys: Keys, tmp_path: Path) -> None:
    opened = open_account(account)
    assert isinstance(opened, NotificationHub)
    assert isinstance(opened, GivesFeedback) and isinstance(opened, KeepsDevices)
    (tmp_path / "entity.txt").write_text(CONNECTION + ";EntityPath=other")
    for change, setting in (
        ({"endpoint": "x"}, "endpoint"),
        ({"ca_file": keys.file("text.txt")}, "ca_file"),
        ({"hub": "a/b"}, "hub"),
        ({"hub": ""}, "hub"),
        ({"connection_string_file": str(tmp_path / "entity.txt")}, "hub"),
        ({"connection_string_file": keys.file("text.txt")}, "connection_string_file"),
    ):
        with pytest.raises(AccountError) as refusal:
            open_account(replace(account, **change))
        assert refusal.value.setting == setting


# --- telemetry ---------------------------------------------------------------------------------------------------


def test_the_call_for_telemetry(hub: NotificationHub) -> None:
    endpoint, requests, *_ = hub.feedback_call("NH 1/2", b"SharedAccessSignature s")
    (template,), (row,) = requests.templates, requests.rows
    assert (template.method, row.path) == (b"GET", b"/shop-hub/messages/NH%201%2F2?api-version=2020-06")
    assert dict(headers_of(requests, row)) == {b"authorization": b"SharedAccessSignature s"}
    assert endpoint == hub.endpoint(lane()) and list(row.covers) == []
    assert hub.feedback_after_s == 10.0


# --- installations -----------------------------------------------------------------------------------------------


def device(token: str = APNS_TOKEN, address: Address | None = None, **more: Any) -> Device:
    values: dict[str, Any] = {"device_id": "d-1", "address": address or on(HubPlatform.APNS)} | more
    return Device(
        "shop", values.pop("device_id"), Provider.NOTIFICATION_HUBS, "shop-ns/shop-hub", Environment(0), token, **values
    )


def written(hub: NotificationHub, of: Device) -> Any:
    _, requests, *_ = hub.device_call(of, b"s")
    (row,) = requests.rows
    assert requests.templates[0].method == b"PUT"
    assert dict(headers_of(requests, row))[b"content-type"] == b"application/json"
    return json.loads(body_of(requests, row))


def test_an_installation(hub: NotificationHub) -> None:
    of = device(tags=("news", "ünfit", "a b", "sports:1"), user_id="u-7")
    assert written(hub, of) == {
        "installationId": "d-1",
        "platform": "apns",
        "pushChannel": APNS_TOKEN,
        "tags": ["news", "sports:1"],
        "userId": "u-7",
    }
    _, requests, *_ = hub.device_call(of, b"s")
    assert requests.rows[0].path == b"/shop-hub/installations/d-1?api-version=2020-06"


@pytest.mark.parametrize(
    ("platform", "word"),
    [
        (HubPlatform.APNS, "apns"),
        (HubPlatform.FCM_V1, "fcmV1"),
        (HubPlatform.WNS, "wns"),
        (HubPlatform.ADM, "adm"),
        (HubPlatform.BAIDU, "baidu"),
        (HubPlatform.XIAOMI, "xiaomi"),
    ],
)
def test_platform_words_of_installations(hub: NotificationHub, platform: HubPlatform, word: str) -> None:
    assert written(hub, device("x", on(platform)))["platform"] == word


def test_a_browsers_channel_is_an_object(hub: NotificationHub) -> None:
    told = written(hub, device(URL, BROWSER))
    assert (told["platform"], told["pushChannel"]) == ("browser", {"endpoint": URL, "p256dh": P256DH, "auth": AUTH})


def test_no_more_tags_than_a_hub_keeps(hub: NotificationHub) -> None:
    assert len(written(hub, device(tags=tuple(f"t{n}" for n in range(64))))["tags"]) == 60


def test_an_id_that_a_hub_would_refuse_is_its_digest_in_path_and_body_alike(hub: NotificationHub) -> None:
    of = device(device_id="a/b c")
    _, requests, *_ = hub.device_call(of, None)
    installation_id = written(hub, of)["installationId"]
    assert len(installation_id) == 64 and f"/installations/{installation_id}?".encode() in requests.rows[0].path


@pytest.mark.parametrize("state", [DeviceState.REMOVED, DeviceState.DEAD])
def test_what_is_gone_here_goes_there(hub: NotificationHub, state: DeviceState) -> None:
    _, requests, *_ = hub.device_call(device(state=state), b"s")
    assert (requests.templates[0].method, requests.templates[0].body) == (b"DELETE", b"")
    assert requests.rows[0].path == b"/shop-hub/installations/d-1?api-version=2020-06"


ACCEPTED, PAYLOAD = OutcomeKind.ACCEPTED, OutcomeKind.PAYLOAD_REFUSED
SETTINGS, DOWN = OutcomeKind.CREDENTIAL_REFUSED, OutcomeKind.UNAVAILABLE


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, ACCEPTED), (202, ACCEPTED), (204, ACCEPTED), (400, PAYLOAD), (403, SETTINGS), (500, DOWN)],
)
def test_what_a_hub_says_to_an_installation(hub: NotificationHub, status: int, kind: OutcomeKind) -> None:
    assert hub.device_result(Response(status, (), b""), NOW_US).kind is kind
