"""Apple: what is sent, to the byte, and what every documented answer means."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.accounts import ApnsAccount
from pushrpc.content import ApnsOptions, Content
from pushrpc.exchange import Endpoint, Headers, Response
from pushrpc.model import NO_ADDRESS, Address, Outcome, Scope
from pushrpc.providers import AccountError, MessageRefused, open_account
from pushrpc.providers.apns import Apns, reserved_data_key
from pushrpc.words import (
    ApnsPushType,
    AudienceKind,
    Cause,
    Environment,
    InterruptionLevel,
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

TOPIC = "com.example.shop"


@pytest.fixture(scope="session")
def account(keys: Keys) -> ApnsAccount:
    return ApnsAccount("shop", TOPIC, key_file=keys.file("apple.p8"), key_id="ABC123DEFG", team_id="TEAM567890")


@pytest.fixture(scope="session")
def apns(account: ApnsAccount) -> Apns:
    return Apns(account)


def sent(apns: Apns, content: Content, **given_values: Any) -> Any:
    """The JSON that a message becomes, after the check that everything sent passes first."""
    of = notification(content, **given_values)
    apns.check_message(of)
    return json_of(apns.prepare(batch(apns, [claimed(of)]), b"bearer t", NOW_US))


def header(apns: Apns, name: bytes, content: Content | None = None, **given_values: Any) -> bytes | None:
    requests = apns.prepare(batch(apns, [claimed(notification(content, **given_values))]), b"bearer t", NOW_US)
    return dict(headers_of(requests, requests.rows[0])).get(name)


# --- requests ----------------------------------------------------------------------------------------------------


def test_a_whole_request(apns: Apns) -> None:
    content = Content(
        title="Order shipped",
        body="Your order is on its way",
        subtitle="Today",
        badge=3,
        sound="default",
        category="ORDER",
        thread_id="orders",
        image_url="https://img.example/1.png",
        link="shop://orders/1234",
        data={"order_id": "1234"},
        apns=ApnsOptions(interruption_level=InterruptionLevel.TIME_SENSITIVE, relevance_score=0.5),
    )
    of = notification(content, collapse_key="order-1234")
    requests = apns.prepare(batch(apns, [claimed(of, "00ff" * 16, ordinal=0x1A2B)]), b"bearer a.b.c", NOW_US)
    (template,), (row,) = requests.templates, requests.rows
    assert (template.method, template.authority) == (b"POST", b"api.push.apple.com")
    assert template.headers == (
        (b"apns-topic", b"com.example.shop"),
        (b"authorization", b"bearer a.b.c"),
        (b"content-type", b"application/json"),
        (b"apns-push-type", b"alert"),
        (b"apns-priority", b"10"),
        (b"apns-expiration", b"1795417200"),
        (b"apns-collapse-id", b"order-1234"),
    )
    assert row.path == b"/3/device/" + b"00ff" * 16
    assert row.headers == ((b"apns-id", b"0193f2a4-5b6c-7d8e-9fa0-b1c200001a2b"),)
    assert row.body is None
    assert row.covers == (0,)
    assert json_of(requests) == {
        "aps": {
            "alert": {"title": "Order shipped", "subtitle": "Today", "body": "Your order is on its way"},
            "badge": 3,
            "sound": "default",
            "mutable-content": 1,
            "relevance-score": 0.5,
            "thread-id": "orders",
            "category": "ORDER",
            "interruption-level": "time-sensitive",
        },
        "image_url": "https://img.example/1.png",
        "link": "shop://orders/1234",
        "order_id": "1234",
        "notification_id": NOTIFICATION_ID,
    }


def test_a_batch_of_many_notifications_in_any_order_builds_each_once(apns: Apns) -> None:
    other_id = "0193f2a4-5b6c-7d8e-9fa0-000000000001"
    first, second = notification(), notification(notification_id=other_id)
    order = [first, second, first, first, second]
    requests = apns.prepare(
        batch(apns, [claimed(of, f"{i:02x}", i) for i, of in enumerate(order)]), b"bearer t", NOW_US
    )
    assert [row.template for row in requests.rows] == [0, 1, 0, 0, 1]
    assert [row.covers for row in requests.rows] == [(0,), (1,), (2,), (3,), (4,)]
    assert [row.path for row in requests.rows] == [b"/3/device/%02x" % i for i in range(5)]
    ids = [json.loads(template.body or b"")["notification_id"] for template in requests.templates]
    assert ids == [NOTIFICATION_ID, other_id]


def test_every_try_of_a_delivery_has_the_same_id_and_every_delivery_its_own(apns: Apns) -> None:
    of = notification(notification_id=NOTIFICATION_ID.upper())
    deliveries = [claimed(of, ordinal=ordinal) for ordinal in (0, 1, 999, 0xFFFFFFFF)]
    tries = [apns.prepare(batch(apns, deliveries), b"bearer t", NOW_US + late) for late in (0, HOUR_US)]
    ids = [[dict(row.headers)[b"apns-id"].decode() for row in each.rows] for each in tries]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 4
    assert all(str(UUID(each)) == each for each in ids[0])


def test_a_certificate_account_sends_no_authorization(keys: Keys) -> None:
    account = ApnsAccount("shop", TOPIC, cert_file=keys.file("cert.pem"), cert_key_file=keys.file("apple.p8"))
    apns = Apns(account, NOW_US)
    assert apns.credential is None
    endpoint = apns.endpoint(lane(Environment.PRODUCTION))
    assert endpoint and endpoint.certificate == (keys.file("cert.pem"), keys.file("apple.p8"))
    requests = apns.prepare(batch(apns, [claimed(notification())]), None, NOW_US)
    assert b"authorization" not in dict(requests.templates[0].headers)


def test_endpoints(account: ApnsAccount, keys: Keys) -> None:
    apns = Apns(account)
    assert apns.environment is Environment.PRODUCTION
    assert apns.endpoint(lane(Environment.UNSPECIFIED)) == Endpoint("api.push.apple.com", 443)
    assert apns.endpoint(lane(Environment.SANDBOX)) == Endpoint("api.sandbox.push.apple.com", 443)
    sandbox = Apns(replace(account, environment=Environment.SANDBOX))
    assert sandbox.endpoint(lane(Environment.UNSPECIFIED)) == Endpoint("api.sandbox.push.apple.com", 443)
    requests = sandbox.prepare(batch(sandbox, [claimed(notification())]), b"bearer t", NOW_US)
    assert requests.templates[0].authority == b"api.sandbox.push.apple.com"
    requests = apns.prepare(batch(apns, [claimed(notification())], Environment.SANDBOX), b"bearer t", NOW_US)
    assert requests.templates[0].authority == b"api.sandbox.push.apple.com", "the lane's environment decides"
    pointed = Apns(replace(account, endpoint="https://127.0.0.1:1234", ca_file=keys.file("cert.pem")))
    assert pointed.endpoint(lane(Environment.SANDBOX)) == Endpoint("127.0.0.1", 1234, keys.file("cert.pem"))
    assert (
        pointed.prepare(batch(pointed, [claimed(notification())]), None, NOW_US).templates[0].authority
        == b"127.0.0.1:1234"
    )


@pytest.mark.parametrize(
    ("expire_us", "one_try", "value"),
    [
        (NOW_US + HOUR_US, False, b"1795417200"),
        (NOW_US + HOUR_US + 999_999, False, b"1795417200"),
        (NOW_US + HOUR_US, True, b"0"),
        (NOW_US + 500_000, False, b"0"),
        (NOW_US + 1_000_000, False, b"1795413601"),
    ],
)
def test_expiration_is_what_remains(apns: Apns, expire_us: int, one_try: bool, value: bytes) -> None:
    assert header(apns, b"apns-expiration", expire_us=expire_us, one_try=one_try) == value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("order-1", b"order-1"),
        ("k" * 64, b"k" * 64),
        ("größe", "größe".encode()),
        ("", None),
    ],
)
def test_a_collapse_key_that_a_header_can_carry_goes_as_it_is(apns: Apns, key: str, value: bytes | None) -> None:
    assert header(apns, b"apns-collapse-id", collapse_key=key) == value


@pytest.mark.parametrize("key", ["k" * 65, "ü" * 33, "a\r\nx: y", " padded ", "\t", "a\0b"])
def test_any_other_collapse_key_still_collapses_with_its_equals(apns: Apns, key: str) -> None:
    value = header(apns, b"apns-collapse-id", collapse_key=key)
    assert value is not None and re.fullmatch(rb"[0-9a-f]{64}", value)
    assert value == header(apns, b"apns-collapse-id", collapse_key=key)
    assert value != header(apns, b"apns-collapse-id", collapse_key=key + "x")


# --- push types --------------------------------------------------------------------------------------------------

LIVE_UPDATE = '{"aps": {"timestamp": 1, "event": "update", "content-state": {"eta": 5}}}'
LIVE_START = (
    '{"aps": {"timestamp": 1, "event": "start", "content-state": {}, "attributes-type": "Ride", "attributes": {}}}'
)
SHOWN = Content(title="t")
KINDS: list[tuple[ApnsPushType, Content, str, str, TokenKind, str, dict[str, Any]]] = [
    (ApnsPushType.ALERT, SHOWN, "alert", "", TokenKind.STANDARD, "10 5 1", {"aps": {"alert": {"title": "t"}}}),
    (
        ApnsPushType.BACKGROUND,
        Content(silent=True),
        "background",
        "",
        TokenKind.STANDARD,
        "5 5 5",
        {"aps": {"content-available": 1}},
    ),
    (
        ApnsPushType.LIVE_ACTIVITY,
        Content(apns_json=LIVE_UPDATE),
        "liveactivity",
        ".push-type.liveactivity",
        TokenKind.LIVE_ACTIVITY,
        "10 5 5",
        json.loads(LIVE_UPDATE),
    ),
    (
        ApnsPushType.LIVE_ACTIVITY,
        Content(apns_json=LIVE_START),
        "liveactivity",
        ".push-type.liveactivity",
        TokenKind.LIVE_ACTIVITY_START,
        "10 5 5",
        json.loads(LIVE_START),
    ),
    (
        ApnsPushType.VOIP,
        Content(data={"call": "7"}),
        "voip",
        ".voip",
        TokenKind.VOIP,
        "10 10 10",
        {"aps": {}, "call": "7"},
    ),
    (ApnsPushType.LOCATION, Content(), "location", ".location-query", TokenKind.LOCATION, "10 5 5", {"aps": {}}),
    (
        ApnsPushType.COMPLICATION,
        Content(data={"steps": "9"}),
        "complication",
        ".complication",
        TokenKind.COMPLICATION,
        "10 5 1",
        {"aps": {}, "steps": "9"},
    ),
    (
        ApnsPushType.FILE_PROVIDER,
        Content(data={"container-identifier": "c", "domain": "d"}),
        "fileprovider",
        ".pushkit.fileprovider",
        TokenKind.FILE_PROVIDER,
        "10 5 1",
        {"container-identifier": "c", "domain": "d"},
    ),
    (ApnsPushType.MDM, Content(data={"mdm": "magic"}), "mdm", "", TokenKind.MDM, "10 5 1", {"mdm": "magic"}),
    (ApnsPushType.MDM, Content(apns_json='{"mdm": "magic"}'), "mdm", "", TokenKind.MDM, "10 5 1", {"mdm": "magic"}),
    (ApnsPushType.PUSH_TO_TALK, Content(), "pushtotalk", ".voip-ptt", TokenKind.PUSH_TO_TALK, "10 10 10", {"aps": {}}),
    (
        ApnsPushType.CONTROLS,
        SHOWN,
        "controls",
        ".push-type.controls",
        TokenKind.CONTROLS,
        "10 5 1",
        {"aps": {"content-changed": True}},
    ),
    (
        ApnsPushType.WIDGETS,
        SHOWN,
        "widgets",
        ".push-type.widgets",
        TokenKind.WIDGETS,
        "10 5 1",
        {"aps": {"content-changed": True}},
    ),
]


@pytest.mark.parametrize(("kind", "content", "word", "suffix", "token_kind", "priorities", "payload"), KINDS)
def test_every_push_type(
    apns: Apns,
    kind: ApnsPushType,
    content: Content,
    word: str,
    suffix: str,
    token_kind: TokenKind,
    priorities: str,
    payload: dict[str, Any],
) -> None:
    content = replace(content, apns=ApnsOptions(push_type=kind))
    assert header(apns, b"apns-push-type", content) == word.encode()
    assert header(apns, b"apns-topic", content) == (TOPIC + suffix).encode()
    wanted = (Priority.HIGH, Priority.NORMAL, Priority.LOW)
    assert b" ".join(header(apns, b"apns-priority", content, priority=p) or b"" for p in wanted) == priorities.encode()
    assert apns.token_kind(notification(content)) is token_kind
    assert sent(apns, content) == payload | {"notification_id": NOTIFICATION_ID}


def test_nobody_is_called_to_speak_hours_later(apns: Apns) -> None:
    content = Content(apns=ApnsOptions(push_type=ApnsPushType.PUSH_TO_TALK))
    assert header(apns, b"apns-expiration", content) == b"0"


def test_push_type_and_priority_follow_from_the_message_when_unset(apns: Apns) -> None:
    assert header(apns, b"apns-push-type", SHOWN) == b"alert"
    assert header(apns, b"apns-push-type", Content(silent=True)) == b"background"
    assert header(apns, b"apns-priority", SHOWN, priority=Priority.UNSPECIFIED) == b"10"
    silent_call = Content(silent=True, apns=ApnsOptions(push_type=ApnsPushType.COMPLICATION))
    assert header(apns, b"apns-priority", silent_call, priority=Priority.UNSPECIFIED) == b"5"


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        (Content(data={"a": "b"}), "aps.alert or aps.badge or aps.sound or aps.content-available"),
        (Content(title="t", apns_json='{"aps": null}'), "aps.alert"),
        (Content(title="t", apns_json='{"aps": {"alert": null}}'), "aps.alert"),
        (Content(silent=True, apns_json='{"aps": {"content-available": null}}'), "aps.content-available"),
        (Content(apns=ApnsOptions(push_type=ApnsPushType.MDM)), "mdm"),
        (Content(apns=ApnsOptions(push_type=ApnsPushType.FILE_PROVIDER)), "container-identifier, domain"),
        (Content(apns=ApnsOptions(push_type=ApnsPushType.LIVE_ACTIVITY)), "aps.timestamp, aps.event"),
        (
            Content(apns=ApnsOptions(push_type=ApnsPushType.LIVE_ACTIVITY), apns_json='{"aps":{"event":"start"}}'),
            "aps.timestamp, aps.content-state, aps.attributes-type, aps.attributes",
        ),
        (
            Content(apns=ApnsOptions(push_type=ApnsPushType.LIVE_ACTIVITY), apns_json='{"aps":{"event":"update"}}'),
            "aps.timestamp, aps.content-state",
        ),
        (
            Content(apns=ApnsOptions(push_type=ApnsPushType.CONTROLS), apns_json='{"aps": {"content-changed": null}}'),
            "aps.content-changed",
        ),
    ],
)
def test_a_push_type_without_what_it_needs_is_refused_by_name(apns: Apns, content: Content, missing: str) -> None:
    with pytest.raises(MessageRefused, match=re.escape(missing)) as refused:
        apns.check_message(notification(content))
    assert refused.value.reason is RejectReason.FIELD_MISSING


def test_location_pushes_need_a_token_key(keys: Keys, apns: Apns) -> None:
    by_certificate = Apns(ApnsAccount("shop", TOPIC, cert_file=keys.file("both.pem")))
    of = notification(Content(apns=ApnsOptions(push_type=ApnsPushType.LOCATION)))
    apns.check_message(of)
    by_certificate.check_message(notification())
    with pytest.raises(MessageRefused, match="need a token key") as refused:
        by_certificate.check_message(of)
    assert refused.value.reason is RejectReason.PROVIDER_NOT_CONFIGURED


# --- payload -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "aps"),
    [
        (Content(badge=0), {"badge": 0}),
        (Content(sound="ping.caf"), {"sound": "ping.caf"}),
        (
            Content(apns=ApnsOptions(critical_sound_volume=0.0)),
            {"sound": {"critical": 1, "name": "default", "volume": 0.0}},
        ),
        (
            Content(sound="a.caf", apns=ApnsOptions(critical_sound_volume=1.0)),
            {"sound": {"critical": 1, "name": "a.caf", "volume": 1.0}},
        ),
        (
            Content(title_loc_key="T", title_loc_args=("1", "2"), body_loc_key="B", body_loc_args=("3",)),
            {"alert": {"title-loc-key": "T", "title-loc-args": ["1", "2"], "loc-key": "B", "loc-args": ["3"]}},
        ),
        (
            Content(title="t", image_url="https://i", apns=ApnsOptions(mutable_content=False)),
            {"alert": {"title": "t"}},
        ),
        (
            Content(title="t", apns=ApnsOptions(mutable_content=True, content_available=True)),
            {"alert": {"title": "t"}, "mutable-content": 1, "content-available": 1},
        ),
        (
            Content(title="t", apns=ApnsOptions(target_content_id="w", filter_criteria="f", relevance_score=0.0)),
            {"alert": {"title": "t"}, "relevance-score": 0.0, "target-content-id": "w", "filter-criteria": "f"},
        ),
        (
            Content(body="b", apns=ApnsOptions(push_type=ApnsPushType.BACKGROUND)),
            {"content-available": 1},
        ),
        (Content(silent=True, apns=ApnsOptions(push_type=ApnsPushType.ALERT)), {"content-available": 1}),
        (
            Content(title="t", apns_json='{"aps": {"alert": {"launch-image": "x"}, "badge": 1}}'),
            {"alert": {"title": "t", "launch-image": "x"}, "badge": 1},
        ),
    ],
)
def test_the_aps_dictionary(apns: Apns, content: Content, aps: dict[str, Any]) -> None:
    assert sent(apns, content)["aps"] == aps


@pytest.mark.parametrize(
    ("level", "word"),
    [
        (InterruptionLevel.PASSIVE, "passive"),
        (InterruptionLevel.ACTIVE, "active"),
        (InterruptionLevel.TIME_SENSITIVE, "time-sensitive"),
        (InterruptionLevel.CRITICAL, "critical"),
    ],
)
def test_interruption_levels(apns: Apns, level: InterruptionLevel, word: str) -> None:
    content = replace(SHOWN, apns=ApnsOptions(interruption_level=level))
    assert sent(apns, content)["aps"]["interruption-level"] == word


def test_the_apps_own_data_wins_over_our_keys_but_not_over_aps(apns: Apns) -> None:
    content = replace(SHOWN, link="ours", data={"link": "theirs", "aps": "x", "notification_id": "x"})
    payload = sent(apns, content)
    assert payload["link"] == "theirs"
    assert payload["aps"] == {"alert": {"title": "t"}}
    assert payload["notification_id"] == NOTIFICATION_ID
    assert reserved_data_key("aps") and not reserved_data_key("link")


def test_text_stays_utf_8(apns: Apns) -> None:
    of = notification(Content(title="größer 🚀"))
    requests = apns.prepare(batch(apns, [claimed(of)]), b"bearer t", NOW_US)
    assert "größer 🚀".encode() in body_of(requests, requests.rows[0])


@pytest.mark.parametrize(("kind", "limit"), [(ApnsPushType.ALERT, 4096), (ApnsPushType.VOIP, 5120)])
def test_the_limit_is_exact(apns: Apns, kind: ApnsPushType, limit: int) -> None:
    def of_size(size: int) -> Content:
        empty = Content(title="t", body="-", apns=ApnsOptions(push_type=kind))
        of = notification(empty)
        requests = apns.prepare(batch(apns, [claimed(of)]), None, NOW_US)
        return replace(empty, body="x" * (size - len(body_of(requests, requests.rows[0])) + 1))

    requests = apns.prepare(batch(apns, [claimed(notification(of_size(limit)))]), None, NOW_US)
    assert len(body_of(requests, requests.rows[0])) == limit
    apns.check_message(notification(of_size(limit)))
    with pytest.raises(MessageRefused, match=f"{limit + 1} bytes, 1 more than the {limit} allowed") as refused:
        apns.check_message(notification(of_size(limit + 1)))
    assert refused.value.reason is RejectReason.PAYLOAD_TOO_LARGE


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (replace(SHOWN, apns_json="[]"), RejectReason.FIELD_MISSING),
        (replace(SHOWN, apns_json='{"half": "\\ud800"}'), RejectReason.FIELD_MISSING),
        (replace(SHOWN, apns_json='{"half": 18446744073709551616}'), RejectReason.FIELD_MISSING),
        (replace(SHOWN, apns=ApnsOptions(topic="a\r\nb")), RejectReason.PROVIDER_APP_UNKNOWN),
    ],
)
def test_what_cannot_be_sent_at_all_is_refused(apns: Apns, content: Content, reason: RejectReason) -> None:
    with pytest.raises(MessageRefused) as refused:
        apns.check_message(notification(content))
    assert refused.value.reason is reason


def test_a_topic_of_the_messages_own_is_sent_as_it_is(apns: Apns) -> None:
    content = replace(SHOWN, apns=ApnsOptions(topic="com.example.other.voip"))
    assert header(apns, b"apns-topic", content) == b"com.example.other.voip"


@given(of=NOTIFICATIONS, address=st.sampled_from([NO_ADDRESS, Address(audience=AudienceKind.CHANNEL)]))
def test_what_passes_the_check_can_be_sent_and_is_what_the_preview_showed(
    apns: Apns, of: Any, address: Address
) -> None:
    try:
        apns.check_message(of, address)
    except MessageRefused:
        with pytest.raises(MessageRefused):
            apns.preview(of, address, NOW_US)
        return
    requests = apns.prepare(batch(apns, [claimed(of, address=address.text)]), b"bearer t", NOW_US)
    assert legal(headers_of(requests, requests.rows[0]))
    body = body_of(requests, requests.rows[0])
    preview = apns.preview(of, address, NOW_US)
    assert len(body) == preview.size_bytes <= preview.limit_bytes
    assert body.decode() == preview.payload
    assert of.content.truncate or not preview.truncated
    payload = json.loads(body)
    assert payload["notification_id"] == of.notification_id


# --- previews ----------------------------------------------------------------------------------------------------


def test_a_preview_is_what_would_be_sent_without_credentials(apns: Apns) -> None:
    of = notification(Content(title="größer", data={"a": "b"}), collapse_key="k")
    preview = apns.preview(of, NO_ADDRESS, NOW_US)
    requests = apns.prepare(batch(apns, [claimed(of)]), None, NOW_US)
    assert preview.payload.encode() == body_of(requests, requests.rows[0])
    assert [(name.encode(), value.encode()) for name, value in preview.headers] == list(requests.templates[0].headers)
    assert (preview.size_bytes, preview.limit_bytes) == (len(preview.payload.encode()), 4096)
    assert (preview.truncated, preview.dropped) == ((), ())
    voip = notification(Content(apns=ApnsOptions(push_type=ApnsPushType.VOIP)))
    assert apns.preview(voip, NO_ADDRESS, NOW_US).limit_bytes == 5120
    with pytest.raises(MessageRefused, match="4096 allowed"):
        apns.preview(notification(Content(body="x" * 5000)), NO_ADDRESS, NOW_US)


FULL = Content(
    title="t", body="b", subtitle="s", badge=0, sound="x", category="c", thread_id="i", link="shop://1",
    image_url="https://i", data={"a": "b", "mdm": "m", "container-identifier": "c", "domain": "d"},
    android_channel_id="a", title_loc_key="T", title_loc_args=("1",), body_loc_key="B", body_loc_args=("2",),
)  # fmt: skip
SHOWN_FIELDS = (
    "title subtitle body badge sound category thread_id title_loc_key title_loc_args body_loc_key body_loc_args"
)


@pytest.mark.parametrize(
    ("content", "lost"),
    [
        (FULL, ""),
        (replace(FULL, silent=True), SHOWN_FIELDS),
        *((replace(FULL, apns=ApnsOptions(push_type=kind)), "") for kind in (ApnsPushType.VOIP, ApnsPushType.ALERT)),
        *(
            (replace(FULL, apns=ApnsOptions(push_type=kind)), SHOWN_FIELDS)
            for kind in (
                ApnsPushType.BACKGROUND,
                ApnsPushType.CONTROLS,
                ApnsPushType.WIDGETS,
                ApnsPushType.FILE_PROVIDER,
                ApnsPushType.MDM,
            )
        ),
    ],
)
def test_what_a_push_type_cannot_carry_is_told(apns: Apns, content: Content, lost: str) -> None:
    told = apns.preview(notification(content, priority=Priority.UNSPECIFIED), NO_ADDRESS, NOW_US).dropped
    of_message = [path for path in told if path.startswith("message.")]
    assert sorted(of_message) == sorted(f"message.{name}" for name in ("android_channel_id " + lost).split())


@pytest.mark.parametrize("letter", ["x", "é", '"', "\\", "👨‍👩‍👧", "e\u0301"])
def test_a_long_body_is_cut_only_where_the_caller_allows_it_and_no_further_than_needed(apns: Apns, letter: str) -> None:
    long = Content(title="t", body=letter * (5000 // len(letter)), data={"k": "v"})
    with pytest.raises(MessageRefused, match="allowed"):
        apns.check_message(notification(long))
    of = notification(replace(long, truncate=True))
    preview = apns.preview(of, NO_ADDRESS, NOW_US)
    assert preview.truncated == ("message.body",)
    assert sent(apns, of.content) == json.loads(preview.payload)
    body = json.loads(preview.payload)["aps"]["alert"]["body"]
    assert body.endswith("…") and long.body.startswith(body[:-1])
    assert len(body[:-1]) % len(letter) == 0, "a letter was torn apart"
    longest_letter = len(json.dumps(letter, ensure_ascii=False).encode()) - 2
    assert 4096 - longest_letter < preview.size_bytes <= 4096


def test_what_no_cut_can_help_is_refused_all_the_same(apns: Apns) -> None:
    for content in (
        Content(title="x" * 5000, body="b", truncate=True),
        Content(body="b" * 5000, truncate=True, apns_json=json.dumps({"aps": {"alert": "x" * 5000}})),
    ):
        with pytest.raises(MessageRefused, match="allowed") as told:
            apns.check_message(notification(content))
        assert told.value.reason is RejectReason.PAYLOAD_TOO_LARGE


# --- tokens and settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["ab", "AB" * 32, "0f" * 100])
def test_tokens_that_apple_could_have_issued(apns: Apns, token: str) -> None:
    assert apns.token_problem(token) is None


@pytest.mark.parametrize("token", ["", "a", "abc", "zz", "ab cd", "ab\n", "ab" * 101, "../x", "٣٣"])
def test_tokens_that_apple_never_issues(apns: Apns, token: str) -> None:
    assert "hexadecimal" in refused(apns.token_problem(token))
    assert "hexadecimal" in refused(apns.token_problem("ab", token, "cd"))


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"topic": ""}, "topic"),
        ({"topic": "a b"}, "topic"),
        ({"key_file": "", "key_id": "", "team_id": ""}, "key_file"),
        ({"cert_file": "cert.pem"}, "key_file"),
        ({"key_file": ""}, "key_file"),
        ({"key_id": ""}, "key_id"),
        ({"team_id": "x"}, "team_id"),
        ({"endpoint": "http://h"}, "endpoint"),
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file"),
    ],
)
def test_settings_that_cannot_work_are_named(account: ApnsAccount, change: dict[str, Any], setting: str) -> None:
    with pytest.raises(AccountError) as refused:
        Apns(replace(account, **change))
    assert refused.value.setting == setting


def test_open_account_refuses_a_certificate_out_of_date(account: ApnsAccount, keys: Keys) -> None:
    opened = open_account(account)
    assert (opened.provider, opened.provider_app_id) == (Provider.APNS, TOPIC)
    old = ApnsAccount("shop", TOPIC, cert_file=keys.file("old.pem"), cert_key_file=keys.file("apple.p8"))
    with pytest.raises(AccountError, match="expired") as told:
        open_account(old, NOW_US)
    assert told.value.setting == "cert_file"
    early = replace(old, cert_file=keys.file("early.pem"))
    with pytest.raises(AccountError, match="valid"):
        open_account(early, NOW_US)
    open_account(early, NOW_US + 2 * 24 * HOUR_US)


# --- answers -----------------------------------------------------------------------------------------------------

INVALID, REFUSED, SETTINGS = OutcomeKind.TOKEN_INVALID, OutcomeKind.PAYLOAD_REFUSED, OutcomeKind.CREDENTIAL_REFUSED
THROTTLED, DOWN = OutcomeKind.THROTTLED, OutcomeKind.UNAVAILABLE
BOUND = {"close_session": True}
REOPEN = {"close_session": True, "renew": True}
DOCUMENTED: list[tuple[int, str, OutcomeKind, dict[str, Any]]] = [
    (400, "BadCollapseId", REFUSED, {}),
    (400, "BadExpirationDate", REFUSED, {}),
    (400, "BadMessageId", REFUSED, {}),
    (400, "BadPriority", REFUSED, {}),
    (400, "DuplicateHeaders", REFUSED, {}),
    (400, "InvalidPushType", REFUSED, {}),
    (400, "PayloadEmpty", REFUSED, {}),
    (400, "BadDeviceToken", INVALID, {"misdirected": True}),
    (400, "DeviceTokenNotForTopic", INVALID, {"misdirected": True}),
    (400, "MissingDeviceToken", REFUSED, {}),
    (400, "BadTopic", SETTINGS, BOUND),
    (400, "MissingTopic", SETTINGS, {}),
    (400, "TopicDisallowed", SETTINGS, BOUND),
    (400, "IdleTimeout", DOWN, {"close_session": True}),
    (403, "BadCertificate", SETTINGS, BOUND),
    (403, "BadCertificateEnvironment", SETTINGS, BOUND),
    (403, "Forbidden", SETTINGS, BOUND),
    (403, "InvalidProviderToken", SETTINGS, REOPEN),
    (403, "MissingProviderToken", SETTINGS, BOUND),
    (403, "UnrelatedKeyIdInToken", SETTINGS, BOUND),
    (403, "BadEnvironmentKeyIdInToken", SETTINGS, BOUND),
    (403, "BadEnvironmentKeyInToken", SETTINGS, BOUND),
    (403, "ExpiredProviderToken", SETTINGS, REOPEN),
    (404, "BadPath", REFUSED, {}),
    (405, "MethodNotAllowed", REFUSED, {}),
    (410, "Unregistered", INVALID, {}),
    (410, "ExpiredToken", INVALID, {}),
    (413, "PayloadTooLarge", REFUSED, {"cause": Cause.PAYLOAD_TOO_LARGE}),
    (429, "TooManyProviderTokenUpdates", SETTINGS, BOUND),
    (429, "TooManyRequests", THROTTLED, {"scope": Scope.TOKEN}),
    (500, "InternalServerError", DOWN, {}),
    (503, "ServiceUnavailable", DOWN, {}),
    (503, "Shutdown", DOWN, {"close_session": True}),
    (400, "MissingChannelId", REFUSED, {}),
    (400, "BadChannelId", REFUSED, {}),
    (400, "MissingPushType", REFUSED, {}),
    (400, "BadDate", REFUSED, {}),
    (410, "ChannelNotRegistered", INVALID, {}),
    (400, "CannotCreateChannelConfig", SETTINGS, {}),
    (403, "FeatureNotEnabled", SETTINGS, {}),
]


def classified(apns: Apns, status: int, body: bytes, headers: Headers = ()) -> Outcome:
    ((outcome, message_id),) = apns.classify(Response(status, headers, body), [claimed(notification())], NOW_US)
    assert message_id == ""
    return outcome


@pytest.mark.parametrize(("status", "reason", "kind", "flags"), DOCUMENTED)
def test_every_documented_answer(
    apns: Apns, status: int, reason: str, kind: OutcomeKind, flags: dict[str, Any]
) -> None:
    body = json.dumps({"reason": reason}).encode()
    assert classified(apns, status, body) == Outcome(kind, status, reason, **flags)


def test_accepted_carries_the_id_that_was_sent(apns: Apns) -> None:
    deliveries = [claimed(notification(), ordinal=77)]
    requests = apns.prepare(batch(apns, deliveries), None, NOW_US)
    ((outcome, _),) = apns.classify(Response(200, (), b""), deliveries, NOW_US)
    assert outcome == Outcome(OutcomeKind.ACCEPTED, 200, own_id=True)
    assert deliveries[0].own_id == "0193f2a4-5b6c-7d8e-9fa0-b1c20000004d"
    assert dict(requests.rows[0].headers)[b"apns-id"].decode() == deliveries[0].own_id


@pytest.mark.parametrize(
    ("timestamp", "dead_since_us"),
    [
        (1_795_413_599_123, 1_795_413_599_123_000),
        (1_795_413_599_123.0, 1_795_413_599_123_000),
        (0, 0),
        (-5, 0),
        (10**30, 0),
        (True, 0),
        ("1795413599123", 0),
        (None, 0),
    ],
)
@pytest.mark.parametrize("reason", ["Unregistered", "ExpiredToken"])
def test_the_time_of_death_comes_in_milliseconds(
    apns: Apns, reason: str, timestamp: object, dead_since_us: int
) -> None:
    body = json.dumps({"reason": reason, "timestamp": timestamp}).encode()
    assert classified(apns, 410, body) == Outcome(INVALID, 410, reason, dead_since_us=dead_since_us)


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (410, b"", Outcome(REFUSED, 410)),
        (410, b'{"timestamp": 5}', Outcome(REFUSED, 410, detail='{"timestamp": 5}')),
        (410, b'{"reason": "NewWord"}', Outcome(REFUSED, 410, "NewWord")),
        (404, b'{"reason": "Unregistered"}', Outcome(REFUSED, 404, "Unregistered")),
        (413, b"", Outcome(REFUSED, 413, cause=Cause.PAYLOAD_TOO_LARGE)),
        (429, b"", Outcome(THROTTLED, 429, scope=Scope.TOKEN)),
        (503, b"", Outcome(DOWN, 503)),
        (500, b"<html>oops</html>", Outcome(DOWN, 500, detail="<html>oops</html>")),
        (400, b"", Outcome(REFUSED, 400)),
        (400, b'{"reason": "NewWord"}', Outcome(REFUSED, 400, "NewWord")),
        (400, b'{"reason": 7}', Outcome(REFUSED, 400, detail='{"reason": 7}')),
        (401, b"", Outcome(SETTINGS, 401)),
        (403, b'{"reason": "NewWord"}', Outcome(SETTINGS, 403, "NewWord")),
        (404, b"", Outcome(REFUSED, 404)),
        (408, b"", Outcome(DOWN, 408)),
        (301, b"", Outcome(SETTINGS, 301)),
        (502, b'{"reason": "Unregistered"}', Outcome(DOWN, 502, "Unregistered")),
        (503, b'{"reason": "ChannelNotRegistered"}', Outcome(DOWN, 503, "ChannelNotRegistered")),
        (204, b"", Outcome(OutcomeKind.ACCEPTED, 204)),
    ],
)
def test_undocumented_answers_go_by_their_status(apns: Apns, status: int, body: bytes, outcome: Outcome) -> None:
    assert classified(apns, status, body) == outcome


def test_retry_after_is_told_though_apple_documents_none(apns: Apns) -> None:
    body = b'{"reason": "TooManyRequests"}'
    assert classified(apns, 429, body, ((b"retry-after", b"30"),)).retry_after_s == 30.0
    date = ((b"retry-after", b"Mon, 23 Nov 2026 06:02:00 GMT"),)
    assert classified(apns, 503, b"", date).retry_after_s == 120.0


@pytest.mark.parametrize("reason", ["BadTopic", "TopicDisallowed", "DeviceTokenNotForTopic"])
def test_a_topic_that_the_message_named_is_the_messages_mistake(apns: Apns, reason: str) -> None:
    own = claimed(notification(replace(SHOWN, apns=ApnsOptions(topic="com.example.typo"))))
    response = Response(400, (), json.dumps({"reason": reason}).encode())
    assert apns.classify(response, [own], NOW_US) == [(Outcome(REFUSED, 400, reason), "")]


@given(status=st.integers(), body=st.binary(max_size=200), retry=st.binary(max_size=30))
def test_any_answer_gets_one_outcome(apns: Apns, status: int, body: bytes, retry: bytes) -> None:
    outcome = classified(apns, status, body, ((b"retry-after", retry),))
    assert outcome.kind is not OutcomeKind.UNSPECIFIED
    assert outcome.provider_status == status


@given(
    status=st.sampled_from([400, 403, 410, 413, 429, 500, 503]),
    told=st.dictionaries(
        st.sampled_from(["reason", "timestamp", "error"]),
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.lists(st.integers(), max_size=2),
    ),
)
def test_any_json_gets_an_outcome_that_can_be_stored(apns: Apns, status: int, told: dict[str, Any]) -> None:
    outcome = classified(apns, status, json.dumps(told).encode())
    (outcome.reason + outcome.detail).encode()
    assert 0 <= outcome.dead_since_us < 2**63
