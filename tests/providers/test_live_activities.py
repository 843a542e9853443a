"""Live Activities, straight to Apple, through Google, and broadcast to a channel's listeners."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pushrpc.accounts import ApnsAccount, FcmAccount
from pushrpc.content import ApnsOptions, Content, FcmOptions, LiveActivity
from pushrpc.exchange import Endpoint, Response
from pushrpc.model import Address, Outcome
from pushrpc.providers import Call, KeepsChannels, MessageRefused
from pushrpc.providers.apns import Apns
from pushrpc.providers.fcm import Fcm
from pushrpc.words import (
    ApnsPushType,
    AudienceKind,
    Environment,
    HubPlatform,
    LiveActivityEvent,
    OutcomeKind,
    Priority,
    RejectReason,
    TokenKind,
)
from tests.providers.conftest import Keys
from tests.providers.samples import (
    NOTIFICATION_ID,
    NOW_US,
    batch,
    claimed,
    headers_of,
    json_of,
    legal,
    notification,
    refused,
)

TOPIC = "com.example.shop"
CHANNEL = "dHN0LXNyY2gtY2hubA=="
TO_CHANNEL = Address(audience=AudienceKind.CHANNEL)
START, UPDATE, END = LiveActivityEvent.START, LiveActivityEvent.UPDATE, LiveActivityEvent.END
STATE = '{"eta": 5, "driver": null, "größe": [1.5, true]}'
RIDE = LiveActivity(START, STATE, "Ride", '{"from": "A"}')
ETA = LiveActivity(UPDATE, STATE)
NOW_S = NOW_US // 1_000_000


@pytest.fixture(scope="session")
def account(keys: Keys) -> ApnsAccount:
    return ApnsAccount("shop", TOPIC, key_file=keys.file("apple.p8"), key_id="ABC123DEFG", team_id="TEAM567890")


@pytest.fixture(scope="session")
def apns(account: ApnsAccount) -> Apns:
    return Apns(account)


@pytest.fixture(scope="session")
def fcm(keys: Keys) -> Fcm:
    return Fcm(FcmAccount("shop", keys.file("google.json")))


def live(activity: LiveActivity, **content: Any) -> Content:
    return Content(apns=ApnsOptions(live_activity=activity), **content)


def aps(apns: Apns, content: Content) -> Any:
    of = notification(content)
    apns.check_message(of)
    return json_of(apns.prepare(batch(apns, [claimed(of)]), b"bearer t", NOW_US))["aps"]


# --- to one device -----------------------------------------------------------------------------------------------


def test_an_update_as_apple_reads_it(apns: Apns) -> None:
    activity = replace(ETA, stale_us=1_800_000_000_999_999, timestamp_us=1_790_000_000_500_000)
    content = live(activity, title="Nearly there", body="5 minutes", sound="ping.caf")
    assert aps(apns, content) == {
        "timestamp": 1_790_000_000,
        "event": "update",
        "content-state": {"eta": 5, "driver": None, "größe": [1.5, True]},
        "stale-date": 1_800_000_000,
        "alert": {"title": "Nearly there", "body": "5 minutes", "sound": "ping.caf"},
    }
    requests = apns.prepare(batch(apns, [claimed(notification(content))]), b"bearer t", NOW_US)
    headers = dict(headers_of(requests, requests.rows[0]))
    assert headers[b"apns-push-type"] == b"liveactivity"
    assert headers[b"apns-topic"] == b"com.example.shop.push-type.liveactivity"
    assert headers[b"apns-priority"] == b"10"


def test_a_start_says_what_to_show_and_what_to_listen_to(apns: Apns) -> None:
    started = aps(apns, live(RIDE))
    assert started == {
        "timestamp": NOW_S,
        "event": "start",
        "content-state": json.loads(STATE),
        "attributes-type": "Ride",
        "attributes": {"from": "A"},
        "input-push-token": 1,
    }
    listening = aps(apns, live(replace(RIDE, channel_id=CHANNEL)))
    del started["input-push-token"]
    assert listening == started | {"input-push-channel": CHANNEL}


def test_an_end_needs_no_state_and_may_stay_on_the_screen(apns: Apns) -> None:
    ended = aps(apns, live(LiveActivity(END, dismissal_us=1_800_000_000_000_000)))
    assert ended == {"timestamp": NOW_S, "event": "end", "dismissal-date": 1_800_000_000}


def test_what_only_a_start_has_is_left_out_of_the_others(apns: Apns) -> None:
    assert aps(apns, live(replace(RIDE, event=UPDATE, channel_id=CHANNEL))) == {
        "timestamp": NOW_S,
        "event": "update",
        "content-state": json.loads(STATE),
    }


def test_localised_texts_are_objects_and_relevance_is_told(apns: Apns) -> None:
    content = live(ETA, title="unused", title_loc_key="T", title_loc_args=("1",), body="plain")
    content = replace(content, apns=replace(content.apns, relevance_score=0.25))
    built = aps(apns, content)
    assert built["alert"] == {"title": {"loc-key": "T", "loc-args": ["1"]}, "body": "plain"}
    assert built["relevance-score"] == 0.25


def test_a_silent_one_changes_without_an_alert(apns: Apns) -> None:
    assert "alert" not in aps(apns, live(ETA, silent=True))


def test_the_rest_of_the_message_travels_beside_aps(apns: Apns) -> None:
    of = notification(live(ETA, data={"order": "1"}, link="shop://1"))
    payload = json_of(apns.prepare(batch(apns, [claimed(of)]), None, NOW_US))
    assert payload.keys() == {"aps", "order", "link", "notification_id"}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (live(RIDE), TokenKind.LIVE_ACTIVITY_START),
        (live(ETA), TokenKind.LIVE_ACTIVITY),
        (live(LiveActivity(END)), TokenKind.LIVE_ACTIVITY),
        (replace(live(ETA), apns_json='{"aps": {"event": "start"}}'), TokenKind.LIVE_ACTIVITY_START),
        (replace(live(RIDE), apns_json='{"aps": {"event": "update"}}'), TokenKind.LIVE_ACTIVITY),
        (replace(live(RIDE), apns_json="no JSON"), TokenKind.LIVE_ACTIVITY_START),
        (replace(live(RIDE), apns_json='{"aps": {"event": 7}}'), TokenKind.LIVE_ACTIVITY_START),
    ],
)
def test_each_event_goes_to_its_own_kind_of_token(apns: Apns, content: Content, kind: TokenKind) -> None:
    assert apns.token_kind(notification(content)) is kind


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (live(LiveActivity()), "aps.event"),
        (live(LiveActivity(UPDATE)), "needs aps.content-state"),
        (live(replace(RIDE, attributes_type="")), "needs aps.attributes-type"),
        (live(replace(RIDE, attributes_json="")), "needs aps.attributes"),
        (live(replace(ETA, content_state_json="[]")), r"apns.live_activity.content_state_json: not a JSON object"),
        (live(replace(ETA, content_state_json="{")), r"apns.live_activity.content_state_json: not JSON"),
        (live(replace(ETA, content_state_json='{"a": NaN}')), r"content_state_json: .*NaN is not a JSON value"),
        (live(replace(ETA, content_state_json='{"a":' * 40 + "1" + "}" * 40)), r"content_state_json: nested deeper"),
        (live(replace(RIDE, attributes_json="7")), r"apns.live_activity.attributes_json: not a JSON object"),
        (
            replace(live(ETA), apns=ApnsOptions(push_type=ApnsPushType.ALERT, live_activity=ETA)),
            "cannot be sent with push type alert",
        ),
    ],
)
def test_what_is_no_live_activity_is_refused_by_field(apns: Apns, content: Content, words: str) -> None:
    with pytest.raises(MessageRefused, match=words) as told:
        apns.check_message(notification(content))
    assert told.value.reason is RejectReason.FIELD_MISSING


def test_a_certificate_cannot_carry_them(keys: Keys) -> None:
    by_certificate = Apns(ApnsAccount("shop", TOPIC, cert_file=keys.file("both.pem")))
    with pytest.raises(MessageRefused, match="liveactivity pushes need a token key") as told:
        by_certificate.check_message(notification(live(ETA)))
    assert told.value.reason is RejectReason.PROVIDER_NOT_CONFIGURED


def test_what_a_live_activity_cannot_show_is_told(apns: Apns) -> None:
    content = live(ETA, title="t", subtitle="s", badge=0, sound="x", category="c", android_channel_id="a")
    preview = apns.preview(notification(content), Address(), NOW_US)
    lost = ("message.subtitle", "message.badge", "message.category", "message.android_channel_id")
    assert preview.dropped == lost


# --- through Google ----------------------------------------------------------------------------------------------


def through_google(fcm: Fcm, content: Content) -> Any:
    of = notification(content, priority=Priority.NORMAL)
    fcm.check_message(of)
    return json_of(fcm.prepare(batch(fcm, [claimed(of, "t")]), None, NOW_US))["message"]


def test_google_hands_on_the_same_aps(apns: Apns, fcm: Fcm) -> None:
    content = live(RIDE, title="On its way", fcm=FcmOptions(live_activity_token="ab" * 80))
    message = through_google(fcm, content)
    assert message["apns"] == {
        "live_activity_token": "ab" * 80,
        "headers": {"apns-priority": "5", "apns-expiration": "1795417200"},
        "payload": {"aps": aps(apns, content)},
    }
    assert "notification" not in message, "or Google would show an alert of its own"
    assert message["data"] == {"notification_id": NOTIFICATION_ID}


def test_google_needs_the_activity_for_its_token_and_the_token_for_the_activity(fcm: Fcm) -> None:
    with pytest.raises(MessageRefused, match=r"needs aps.timestamp, aps.event; .*fcm_json"):
        fcm.check_message(notification(Content(title="t", fcm=FcmOptions(live_activity_token="ab"))))
    by_patch = {"apns": {"payload": {"aps": {"timestamp": 1, "event": "end"}}}}
    of_patch = Content(fcm=FcmOptions(live_activity_token="ab"), fcm_json=json.dumps(by_patch))
    assert through_google(fcm, of_patch)["apns"]["payload"] == by_patch["apns"]["payload"]
    tokenless = live(ETA, title="t")
    assert "live_activity_token" not in through_google(fcm, tokenless)["apns"]
    assert fcm.preview(notification(tokenless), Address(), NOW_US).dropped == ("message.apns.live_activity",)


def test_what_google_cannot_hand_on_is_told(fcm: Fcm) -> None:
    content = live(ETA, title="t", subtitle="s", image_url="https://i", fcm=FcmOptions(live_activity_token="ab"))
    preview = fcm.preview(notification(content), Address(), NOW_US)
    assert preview.dropped == ("message.subtitle", "message.image_url")


def test_a_live_activity_of_one_device_goes_to_no_topic(fcm: Fcm) -> None:
    of = notification(live(ETA, fcm=FcmOptions(live_activity_token="ab")))
    fcm.check_message(of)
    with pytest.raises(MessageRefused, match="is one device's"):
        fcm.check_message(of, Address(audience=AudienceKind.TOPIC))


def test_google_refuses_the_same_json(fcm: Fcm) -> None:
    content = live(replace(ETA, content_state_json="[]"), fcm=FcmOptions(live_activity_token="ab"))
    with pytest.raises(MessageRefused, match=r"apns.live_activity.content_state_json: not a JSON object"):
        fcm.check_message(notification(content))


# --- to a channel ------------------------------------------------------------------------------------------------


def test_a_broadcast_request(apns: Apns) -> None:
    of = notification(live(ETA), collapse_key="order-1")
    apns.check_message(of, TO_CHANNEL)
    deliveries = [claimed(of, CHANNEL, 3, TO_CHANNEL.text)]
    requests = apns.prepare(batch(apns, deliveries, Environment.SANDBOX), b"bearer t", NOW_US)
    (template,), (row,) = requests.templates, requests.rows
    assert (template.method, template.authority) == (b"POST", b"api.sandbox.push.apple.com")
    assert template.headers == (
        (b"authorization", b"bearer t"),
        (b"content-type", b"application/json"),
        (b"apns-push-type", b"liveactivity"),
        (b"apns-priority", b"10"),
        (b"apns-expiration", b"1795417200"),
    )
    assert row.path == b"/4/broadcasts/apps/com.example.shop"
    assert row.headers == (
        (b"apns-channel-id", CHANNEL.encode()),
        (b"apns-request-id", deliveries[0].own_id.encode()),
    )
    assert json_of(requests)["aps"] == aps(apns, live(ETA))
    ((outcome, _),) = apns.classify(Response(200, (), b""), deliveries, NOW_US)
    assert outcome == Outcome(OutcomeKind.ACCEPTED, 200, own_id=True)


def test_devices_and_channels_of_one_notification_keep_their_places(apns: Apns) -> None:
    of, plain = notification(live(ETA)), notification(notification_id="0193f2a4-5b6c-7d8e-9fa0-000000000001")
    targets = [(of, "aa", ""), (of, CHANNEL, TO_CHANNEL.text), (of, "bb", ""), (plain, "cc", "")]
    deliveries = [claimed(each, token, i, address) for i, (each, token, address) in enumerate(targets)]
    requests = apns.prepare(batch(apns, deliveries), b"bearer t", NOW_US)
    paths = [b"/3/device/aa", b"/4/broadcasts/apps/com.example.shop", b"/3/device/bb", b"/3/device/cc"]
    assert [row.path for row in requests.rows] == paths
    assert [row.covers for row in requests.rows] == [(0,), (1,), (2,), (3,)]
    assert all(legal(headers_of(requests, row)) for row in requests.rows)
    topics = [dict(headers_of(requests, row)).get(b"apns-topic") for row in requests.rows]
    suffixed = b"com.example.shop.push-type.liveactivity"
    assert topics == [suffixed, None, suffixed, b"com.example.shop"]
    ids = [dict(row.headers).get(b"apns-id") for row in requests.rows]
    assert ids == [deliveries[0].own_id.encode(), None, deliveries[2].own_id.encode(), deliveries[3].own_id.encode()]


def test_a_broadcast_may_be_longer_than_a_push(apns: Apns) -> None:
    state = json.dumps({"text": "x" * 4500})
    of = notification(live(replace(ETA, content_state_json=state)))
    apns.check_message(of, TO_CHANNEL)
    with pytest.raises(MessageRefused, match="4096 allowed"):
        apns.check_message(of)
    requests = apns.prepare(batch(apns, [claimed(of, CHANNEL, 0, TO_CHANNEL.text)]), None, NOW_US)
    size = len(requests.templates[0].body or b"")
    assert 4500 < size < 5120
    preview = apns.preview(of, TO_CHANNEL, NOW_US)
    assert (preview.size_bytes, preview.limit_bytes) == (size, 5120)
    assert not {"apns-topic", "authorization"} & dict(preview.headers).keys()
    too_long = notification(live(replace(ETA, content_state_json=json.dumps({"text": "x" * 5200}))))
    with pytest.raises(MessageRefused, match="5120 allowed"):
        apns.check_message(too_long, TO_CHANNEL)


def test_a_check_for_a_channel_leaves_the_payload_of_the_devices_alone(apns: Apns) -> None:
    """Cut for the devices, whole for the channel: whichever was checked last."""
    of = notification(live(ETA, body="x" * 4500, truncate=True))
    for order in ((Address(), TO_CHANNEL), (TO_CHANNEL, Address())):
        for address in order:
            apns.check_message(of, address)
        deliveries = [claimed(of, "ab", 0), claimed(of, CHANNEL, 1, TO_CHANNEL.text)]
        requests = apns.prepare(batch(apns, deliveries), None, NOW_US)
        cut, whole = (len(requests.templates[row.template].body or b"") for row in requests.rows)
        assert cut <= 4096 < 4500 < whole


@pytest.mark.parametrize(
    "content", [Content(title="t"), live(RIDE), replace(live(ETA), apns_json='{"aps":{"event":"start"}}')]
)
def test_a_channel_takes_only_what_apple_lets_it_spread(apns: Apns, content: Content) -> None:
    with pytest.raises(MessageRefused, match="updates and ends of Live Activities only") as told:
        apns.check_message(notification(content), TO_CHANNEL)
    assert told.value.reason is RejectReason.FIELD_MISSING


@pytest.mark.parametrize("channel", [CHANNEL, "a", "x" * 256, "AB+/-_=="])
def test_channel_ids(apns: Apns, channel: str) -> None:
    assert apns.address_problem(channel, TO_CHANNEL) is None


@pytest.mark.parametrize("channel", ["", "=", "a b", "a\r\nx: y", "ä", "x" * 257, "=a", "a\n"])
def test_what_is_no_channel_id(apns: Apns, channel: str) -> None:
    assert "base64" in refused(apns.address_problem(channel, TO_CHANNEL))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (Address(audience=AudienceKind.TOPIC), "channel_id only"),
        (Address(audience=AudienceKind.EVERYONE), "channel_id only"),
        (Address("key", "auth"), "a token alone"),
        (Address(platform=HubPlatform.APNS), "a token alone"),
    ],
)
def test_other_addresses_are_refused(apns: Apns, address: Address, words: str) -> None:
    assert words in refused(apns.address_problem("ab", address))


# --- keeping channels --------------------------------------------------------------------------------------------


def request(call: Call) -> tuple[bytes, bytes, bytes, dict[bytes, bytes], bytes | None]:
    (template,), (row,) = call.requests.templates, call.requests.rows
    assert row.covers == ()
    return template.method, template.authority, row.path, dict(headers_of(call.requests, row)), template.body


def test_calls_that_keep_channels(apns: Apns) -> None:
    assert isinstance(apns, KeepsChannels)
    call = apns.create_channel_call(Environment.PRODUCTION, True, b"bearer t")
    assert call.endpoint == Endpoint("api-manage-broadcast.push.apple.com", 2196)
    method, authority, path, headers, body = request(call)
    assert (method, authority) == (b"POST", b"api-manage-broadcast.push.apple.com:2196")
    assert path == b"/1/apps/com.example.shop/channels"
    assert headers == {b"authorization": b"bearer t", b"content-type": b"application/json"}
    assert json.loads(body or b"") == {"message-storage-policy": 1, "push-type": "LiveActivity"}

    call = apns.list_channels_call(Environment.SANDBOX, b"bearer t")
    assert call.endpoint == Endpoint("api-manage-broadcast.sandbox.push.apple.com", 2195)
    authority = b"api-manage-broadcast.sandbox.push.apple.com:2195"
    listing = (b"GET", authority, b"/1/apps/com.example.shop/all-channels", {b"authorization": b"bearer t"}, None)
    assert request(call) == listing

    call = apns.delete_channel_call(Environment.UNSPECIFIED, CHANNEL, None)
    assert call.endpoint.port == 2196, "the account's own environment"
    assert request(call)[2:] == (b"/1/apps/com.example.shop/channels", {b"apns-channel-id": CHANNEL.encode()}, None)


def test_an_endpoint_stands_in_for_management_too(account: ApnsAccount, keys: Keys) -> None:
    pointed = Apns(replace(account, endpoint="https://127.0.0.1:1234", ca_file=keys.file("cert.pem")))
    call = pointed.create_channel_call(Environment.SANDBOX, False, b"bearer t")
    assert call.endpoint == Endpoint("127.0.0.1", 1234, keys.file("cert.pem"))
    assert request(call)[1] == b"127.0.0.1:1234"
    assert json.loads(request(call)[4] or b"")["message-storage-policy"] == 0


@pytest.mark.parametrize(
    ("response", "outcome", "ids"),
    [
        (Response(201, ((b"apns-channel-id", CHANNEL.encode()),), b""), (OutcomeKind.ACCEPTED, ""), [CHANNEL]),
        (Response(200, (), b'{"channels": ["a", "b", 7, ""]}'), (OutcomeKind.ACCEPTED, ""), ["a", "b"]),
        (Response(200, (), b'{"channels": []}'), (OutcomeKind.ACCEPTED, ""), []),
        (Response(204, (), b""), (OutcomeKind.ACCEPTED, ""), []),
        (Response(201, (), b""), (OutcomeKind.UNAVAILABLE, ""), []),
        (Response(200, (), b'{"channels": ["cut of'), (OutcomeKind.UNAVAILABLE, ""), []),
        (Response(400, (), b'{"reason": "BadChannelId"}'), (OutcomeKind.PAYLOAD_REFUSED, "BadChannelId"), []),
        (
            Response(410, (), b'{"reason": "ChannelNotRegistered"}'),
            (OutcomeKind.TOKEN_INVALID, "ChannelNotRegistered"),
            [],
        ),
        (
            Response(400, (), b'{"reason": "CannotCreateChannelConfig"}'),
            (OutcomeKind.CREDENTIAL_REFUSED, "CannotCreateChannelConfig"),
            [],
        ),
        (
            Response(403, (), b'{"reason": "InvalidProviderToken"}'),
            (OutcomeKind.CREDENTIAL_REFUSED, "InvalidProviderToken"),
            [],
        ),
        (Response(429, (), b'{"reason": "TooManyRequests"}'), (OutcomeKind.THROTTLED, "TooManyRequests"), []),
        (Response(503, (), b""), (OutcomeKind.UNAVAILABLE, ""), []),
    ],
)
def test_what_became_of_such_a_call(
    apns: Apns, response: Response, outcome: tuple[OutcomeKind, str], ids: list[str]
) -> None:
    told, named = apns.channel_ids(response, NOW_US)
    assert ((told.kind, told.reason), list(named)) == (outcome, ids)
    assert told.provider_status == response.status
