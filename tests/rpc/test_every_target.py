"""Raw tokens, registered devices and audiences of all six providers meet the same rules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pushrpc.v1 import devices_pb2, following_pb2, sending_pb2
from pushrpc.words import (
    ApnsPushType,
    Engagement,
    HubPlatform,
    LiveActivityEvent,
    Provider,
    RejectReason,
    TokenKind,
)
from tests.fuzz.answers import parsers
from tests.rpc.harness import Running, serving

APPLE = "ab" * 32
KEYS = {
    "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    "auth": "BTBZMqHH6r4Tts7J_aSIgg",
}
APNS, FCM, WNS, WEB_PUSH, HMS, HUBS = (each for each in Provider if each)
TOKENS: dict[Provider, str] = {
    APNS: APPLE,
    FCM: "fcm-token",
    WNS: "https://db5.notify.windows.com/?token=AgYAAAB",
    WEB_PUSH: "https://updates.push.services.mozilla.com/wpush/v2/gAAA",
    HMS: "hms-token",
    HUBS: "hub-handle",
}
TOKEN_KIND_MISMATCH = RejectReason.TOKEN_KIND_MISMATCH
OTHERS = {FCM, WNS, WEB_PUSH, HMS, HUBS}
AUDIENCES: list[Any] = [
    {"provider": FCM, "topic": "news"},
    {"provider": FCM, "condition": "'news' in topics"},
    {"provider": HMS, "topic": "news"},
    {"provider": HUBS, "tag_expression": "news", "hub_platform": HubPlatform.FCM_V1},
    {"provider": HUBS, "everyone": True, "hub_platform": HubPlatform.WNS},
    {"provider": HUBS, "everyone": True, "hub_platform": HubPlatform.ADM},
]
UPDATE = {"event": LiveActivityEvent.UPDATE, "content_state_json": '{"eta": 5}'}
START = {"event": LiveActivityEvent.START, "attributes_type": "Ride", "attributes_json": "{}"} | {
    "content_state_json": "{}"
}


@pytest.fixture
async def six(tmp_path: Path) -> AsyncIterator[Running]:
    """An account at every provider."""
    accounts = {"shop": {account.provider: [account] for account in parsers().accounts}}
    async with serving(tmp_path, accounts=accounts) as running:
        yield running


def raw() -> list[Any]:
    """A token of each; the hub's is one of Google's."""
    groups: list[Any] = [{"provider": provider, "tokens": [token]} for provider, token in TOKENS.items()]
    groups[HUBS - 1]["hub_platform"] = HubPlatform.FCM_V1
    groups[WEB_PUSH - 1] = {"provider": WEB_PUSH, "subscriptions": [{"endpoint": TOKENS[WEB_PUSH], **KEYS}]}
    return groups


async def register(six: Running, provider: Provider, **more: Any) -> devices_pb2.RegisterDeviceResponse:
    asked: dict[str, Any] = {"app_id": "shop", "provider": provider, "token": TOKENS[provider], **more}
    if provider is WEB_PUSH:
        asked["web_push"] = KEYS
    if provider is HUBS:
        asked.setdefault("hub_platform", HubPlatform.FCM_V1)
    return await six.stub.RegisterDevice(devices_pb2.RegisterDeviceRequest(**asked), timeout=10)


async def providers_reached(six: Running, target: Any, message: Any) -> set[Provider]:
    answer = await six.send(target=target, message=message)
    which = following_pb2.ListDeliveriesRequest(app_id="shop", notification_id=answer.notification_id)
    rows = (await six.stub.ListDeliveries(which, timeout=10)).deliveries
    assert len(rows) == answer.target_count
    return {Provider(row.provider) for row in rows}


# --- nobody gets an empty push -----------------------------------------------------------------------------------

ONLY_APPLE = [
    {"apns": {"live_activity": UPDATE}},
    {"apns": {"push_type": ApnsPushType.WIDGETS}},
    {"apns": {"push_type": ApnsPushType.LOCATION}},
    {"apns": {"live_activity": UPDATE}, "silent": True},
    {"apns": {"live_activity": UPDATE}, "hms": {"category": "IM"}},
    {"apns": {"live_activity": UPDATE}, "web_push": {"topic": "t"}, "wns": {"tag": "t"}, "android_channel_id": "c"},
    {"apns_json": '{"aps": {"alert": "x"}}'},
]


@pytest.mark.parametrize("message", ONLY_APPLE)
async def test_what_only_apple_understands_goes_to_apple_only(six: Running, message: Any) -> None:
    assert await providers_reached(six, {"tokens": raw()}, message) == {APNS}
    assert await providers_reached(six, {"provider_audiences": AUDIENCES}, message) == set()
    for provider in OTHERS:
        await register(six, provider, user_id="u")
    assert await providers_reached(six, {"user_ids": ["u"]}, message) == set()


async def test_a_rejection_says_why_a_push_would_be_empty(six: Running) -> None:
    of_activity = (await six.send(target={"tokens": raw()}, message=ONLY_APPLE[0])).rejected
    assert {Provider(each.provider) for each in of_activity} == OTHERS
    assert {RejectReason(each.reason) for each in of_activity} == {TOKEN_KIND_MISMATCH}
    assert "LIVE_ACTIVITY" in of_activity[0].detail
    (of_key,) = (await six.send(target={"tokens": raw()}, message={"title_loc_key": "K"})).rejected
    assert (Provider(of_key.provider), RejectReason(of_key.reason)) == (WEB_PUSH, RejectReason.FIELD_MISSING)


async def test_a_preview_refuses_what_would_be_empty_and_tells_its_size(six: Running) -> None:
    message: Any = ONLY_APPLE[0]
    asked = sending_pb2.PreviewNotificationRequest(app_id="shop", message=message)
    previews = (await six.stub.PreviewNotification(asked, timeout=10)).previews
    of_another_kind = [each for each in previews if RejectReason(each.refusal.reason) is TOKEN_KIND_MISMATCH]
    assert {Provider(each.provider) for each in of_another_kind} == OTHERS
    assert all(0 < each.size_bytes < each.limit_bytes for each in of_another_kind)


@pytest.mark.parametrize(
    ("message", "reached"),
    [
        ({"title": "Your ride", "apns": {"live_activity": START}}, {APNS, *OTHERS}),
        ({"body_loc_key": "RIDE", "apns": {"live_activity": START}}, {APNS, *OTHERS} - {WEB_PUSH}),
        ({"data": {"ride": "7"}, "apns": {"live_activity": UPDATE}}, {APNS, *OTHERS}),
        ({"apns": {"live_activity": UPDATE}, "fcm": {"live_activity_token": "ab" * 32}}, {APNS, FCM, HUBS}),
        ({"silent": True}, {APNS, *OTHERS}),
        ({"badge": 3}, {APNS, FCM, WNS, HUBS}),
        ({"link": "shop://cart"}, OTHERS),
        ({"wns_xml": "<badge value='1'/>"}, {WNS}),
        ({"hms_json": '{"data": "{}"}'}, {HMS}),
        ({"fcm_json": '{"data": {"a": "b"}}'}, {FCM, HUBS}),
        ({"web_push_json": '{"title": "t"}'}, {WEB_PUSH}),
    ],
)
async def test_whoever_can_show_something_of_it_gets_it(six: Running, message: Any, reached: set[Provider]) -> None:
    assert await providers_reached(six, {"tokens": raw()}, message) == reached


async def test_a_live_activity_with_a_text_reaches_registered_devices_too(six: Running) -> None:
    """Behind a hub only Apple's handles are of another kind."""
    for provider in TOKENS:
        await register(six, provider, user_id="u")
    message = {"title": "Your ride", "apns": {"live_activity": START}}
    assert await providers_reached(six, {"user_ids": ["u"]}, message) == OTHERS


async def test_a_live_activity_of_one_device_goes_to_no_tag(six: Running) -> None:
    message = {"title": "t", "apns": {"live_activity": UPDATE}, "fcm": {"live_activity_token": "ab" * 32}}
    answer = await six.send(target={"provider_audiences": AUDIENCES[3:4]}, message=message)
    assert [RejectReason(each.reason) for each in answer.rejected] == [RejectReason.FIELD_MISSING]


# --- one audience, one token ---------------------------------------------------------------------------------------


async def test_spaces_around_an_audiences_name_make_no_other(six: Running) -> None:
    for kind, name in (("tag_expression", "a && b"), ("topic", "news"), ("condition", "'a' in topics")):
        of = {"provider": HUBS, "hub_platform": HubPlatform.APNS} if kind == "tag_expression" else {"provider": FCM}
        same: list[Any] = [of | {kind: each} for each in (name, f" {name}", f"{name}\t ")]
        answer = await six.send(target={"provider_audiences": same})
        assert (answer.target_count, answer.duplicate_count, len(answer.rejected)) == (1, 2, 0)
        listed = following_pb2.ListDeliveriesRequest(app_id="shop", notification_id=answer.notification_id)
        (row,) = (await six.stub.ListDeliveries(listed, timeout=10)).deliveries
        assert row.token == name


@pytest.mark.parametrize("platform", [None, HubPlatform.APNS])
async def test_an_apple_token_is_the_same_in_either_case(six: Running, platform: HubPlatform | None) -> None:
    provider, of = (HUBS, {"hub_platform": platform}) if platform else (APNS, {})
    group: Any = {"provider": provider, "tokens": [APPLE, APPLE.upper(), "aB" * 32], **of}
    answer = await six.send(target={"tokens": [group]})
    assert (answer.target_count, answer.duplicate_count) == (1, 2)

    made = await register(six, provider, token=APPLE.upper(), device_id="d", user_id="u", **of)
    assert made.device.token == APPLE
    again = await register(six, provider, token=APPLE, **of)
    assert (again.created, again.device.device_id) == (False, "d")
    answer = await six.send(target={"tokens": [group], "user_ids": ["u"]})
    assert (answer.target_count, answer.duplicate_count) == (1, 3)

    names: list[Any] = [{"token": APPLE.upper()}, {"notification_id": answer.notification_id}]
    for which in names:
        listed = following_pb2.ListDeliveriesRequest(app_id="shop", **which)
        rows = (await six.stub.ListDeliveries(listed, timeout=10)).deliveries
        assert (rows[0].token, rows[0].device_id) == (APPLE, "d")
    report: Any = {"notification_id": answer.notification_id, "provider": provider, "token": APPLE.upper()}
    report["engagement"] = Engagement.OPENED
    reports = following_pb2.ReportEngagementRequest(app_id="shop", reports=[report])
    assert (await six.stub.ReportEngagement(reports, timeout=10)).recorded_count == 1
    named: Any = {"app_id": "shop", "provider": provider, "token": APPLE.upper()}
    assert (await six.stub.GetDevice(devices_pb2.GetDeviceRequest(**named), timeout=10)).device.device_id == "d"
    gone = await six.stub.UnregisterDevice(devices_pb2.UnregisterDeviceRequest(**named), timeout=10)
    assert gone.unregistered_count == 1


async def test_other_tokens_differ_by_case(six: Running) -> None:
    groups: list[Any] = [
        {"provider": FCM, "tokens": ["aB:c", "ab:c"]},
        {"provider": HMS, "tokens": [APPLE, APPLE.upper()]},
        {"provider": HUBS, "hub_platform": HubPlatform.ADM, "tokens": [APPLE, APPLE.upper()]},
    ]
    assert (await six.send(target={"tokens": groups})).target_count == 6


async def test_a_malformed_token_is_told_as_it_was_given(six: Running) -> None:
    group: Any = {"provider": APNS, "tokens": [APPLE.upper(), "No Token"]}
    answer = await six.send(target={"tokens": [group]})
    assert (answer.target_count, answer.rejected[0].value) == (1, "No Token")


async def test_a_bare_handle_is_what_the_registry_knows_of_it(six: Running) -> None:
    await register(six, HUBS, device_id="d")
    bare: Any = {"provider": HUBS, "tokens": [TOKENS[HUBS], "unknown"]}
    answer = await six.send(target={"tokens": [bare]})
    assert [(each.path, RejectReason(each.reason)) for each in answer.rejected] == [
        ("target.tokens[0].tokens[1]", RejectReason.FIELD_MISSING)
    ]
    assert answer.target_count == 1
    for message, made in (({"title": "t"}, 1), ({"apns": {"live_activity": UPDATE}}, 0), ({"body": "b" * 4096}, 0)):
        answer = await six.send(
            target={"tokens": [{**bare, "tokens": [TOKENS[HUBS]]}], "device_ids": ["d"]}, message=message
        )
        assert (answer.target_count, answer.duplicate_count, len(answer.rejected)) == (made, made, 2 - 2 * made)


# --- cuts ----------------------------------------------------------------------------------------------------------

CUT = {"truncate": True}


async def test_only_those_that_get_a_cut_body_are_told(six: Running) -> None:
    """3,950 bytes are too many for browsers and Huawei, not for Apple and a hub's Apple and Amazon devices."""
    message = {"body": "b" * 3950}

    async def told(target: Any, **more: Any) -> list[Provider]:
        answer = await six.send(target=target, message=message, options=CUT, **more)
        return [Provider(each) for each in answer.truncated_providers]

    def of_hub(platform: HubPlatform) -> Any:
        return {"tokens": [{"provider": HUBS, "tokens": [APPLE], "hub_platform": platform}]}

    await register(six, APNS, user_id="u")
    assert await told({"user_ids": ["u"]}) == []
    assert await told(of_hub(HubPlatform.APNS)) == await told(of_hub(HubPlatform.ADM)) == []
    assert await told({"tokens": [{"provider": HMS, "tokens": ["no token"]}]}) == []
    assert await told({"tokens": raw()}) == [WEB_PUSH, HMS]
    assert await told({"provider_audiences": AUDIENCES}) == [FCM, HMS]
    await register(six, WEB_PUSH, user_id="u")
    assert await told({"user_ids": ["u"]}) == [WEB_PUSH]


async def test_a_repeat_tells_the_same_cuts_whatever_has_changed(six: Running) -> None:
    await register(six, WEB_PUSH, user_id="u", device_id="d")
    sent: Any = {"target": {"user_ids": ["u"]}, "message": {"body": "b" * 3950}, "options": CUT, "request_id": "r"}
    dry = await six.send(**sent | {"options": CUT | {"dry_run": True}})
    first = await six.send(**sent)
    assert dry.truncated_providers == first.truncated_providers == [WEB_PUSH]
    gone = devices_pb2.UnregisterDeviceRequest(app_id="shop", device_id="d")
    await six.stub.UnregisterDevice(gone, timeout=10)
    again = await six.send(**sent)
    assert (again.replayed, again.truncated_providers) == (True, first.truncated_providers)


async def test_a_device_that_got_no_copy_is_not_told_as_cut(six: Running) -> None:
    """Of an install's tokens one gets the copy: the newest, here Apple's."""
    await register(six, WEB_PUSH, user_id="u", installation_id="i")
    await register(six, APNS, user_id="u", installation_id="i", token_kind=TokenKind.STANDARD)
    answer = await six.send(target={"user_ids": ["u"]}, message={"body": "b" * 3950}, options=CUT)
    assert (answer.target_count, list(answer.truncated_providers)) == (1, [])
