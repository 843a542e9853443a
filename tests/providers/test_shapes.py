"""Patches that give a documented field another type than the provider's are refused by path, before the accept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from pushrpc.content import ApnsOptions, Content
from pushrpc.model import NO_ADDRESS, Address, Notification
from pushrpc.providers import MessageRefused, ProviderAccount, apns_message, fcm_message, hms_message, webpush_message
from pushrpc.providers.payload import Shape
from pushrpc.rpc.options import OVERRIDES
from pushrpc.words import ApnsPushType, HubPlatform, Provider, RejectReason
from tests.fuzz.answers import parsers
from tests.providers.samples import NOW_US, notification
from tests.providers.strategies import NOTIFICATIONS

APNS = [
    ({"aps": 5}, "aps must be an object"),
    ({"aps": {"alert": 5}}, "aps.alert must be a string or an object"),
    ({"aps": {"alert": {"title": ["x"]}}}, "aps.alert.title must be a string or an object"),
    ({"aps": {"alert": {"body": {"loc-args": "x"}}}}, "aps.alert.body.loc-args must be a list"),
    ({"aps": {"alert": {"loc-args": ["x", 7]}}}, "aps.alert.loc-args[1] must be a string"),
    ({"aps": {"alert": {"loc-args": ["x", None]}}}, "aps.alert.loc-args[1] is null"),
    ({"aps": {"badge": "5"}}, "aps.badge must be a whole number"),
    ({"aps": {"badge": True}}, "aps.badge must be a whole number"),
    ({"aps": {"sound": 5}}, "aps.sound must be a string or an object"),
    ({"aps": {"sound": {"volume": "1"}}}, "aps.sound.volume must be a number"),
    ({"aps": {"content-available": "1"}}, "aps.content-available must be a number"),
    ({"aps": {"mutable-content": [1]}}, "aps.mutable-content must be a number"),
    ({"aps": {"thread-id": 7}}, "aps.thread-id must be a string"),
    ({"aps": {"category": {}}}, "aps.category must be a string"),
    ({"aps": {"interruption-level": "loud"}}, "aps.interruption-level must be one of passive, active"),
    ({"aps": {"relevance-score": "high"}}, "aps.relevance-score must be a number"),
    ({"aps": {"content-changed": 1}}, "aps.content-changed must be true or false"),
    ({"aps": {"event": "pause"}}, "aps.event must be one of start, update, end"),
    ({"aps": {"timestamp": "now"}}, "aps.timestamp must be a number"),
    ({"aps": {"content-state": "{}"}}, "aps.content-state must be an object"),
]
FCM = [
    ({"android": {"ttl": "5"}}, "android.ttl must be a duration"),
    ({"android": {"ttl": 5}}, "android.ttl must be a duration"),
    ({"android": {"priority": "URGENT"}}, "android.priority must be one of NORMAL, HIGH"),
    ({"android": {"priority": 10}}, "android.priority must be one of NORMAL, HIGH"),
    ({"android": []}, "android must be an object"),
    ({"android": {"collapse_key": 1}}, "android.collapse_key must be a string"),
    ({"android": {"collapseKey": 1}}, "android.collapseKey must be a string"),
    ({"android": {"data": {"n": 1}}}, "android.data.n must be a string"),
    ({"android": {"data": {"from": "x"}}}, "android.data.from is a key that Google keeps"),
    ({"android": {"notification": "hi"}}, "android.notification must be an object"),
    ({"android": {"notification": {"channel_id": 5}}}, "android.notification.channel_id must be a string"),
    ({"android": {"notification": {"channelId": 5}}}, "android.notification.channelId must be a string"),
    ({"android": {"notification": {"sticky": "yes"}}}, "android.notification.sticky must be true or false"),
    ({"android": {"notification": {"notification_count": 1.5}}}, "notification_count must be a whole number"),
    ({"android": {"notification": {"vibrate_timings": ["1s", "2"]}}}, "vibrate_timings[1] must be a duration"),
    ({"android": {"notification": {"visibility": "HIDDEN"}}}, "visibility must be one of VISIBILITY_UNSPECIFIED"),
    ({"android": {"notification": {"light_settings": {"color": "red"}}}}, "light_settings.color must be an object"),
    ({"data": 1}, "data must be an object"),
    ({"data": {"n": 7}}, "data.n must be a string"),
    ({"data": {"n": {"m": "x"}}}, "data.n must be a string"),
    ({"notification": {"title": 5}}, "notification.title must be a string"),
    ({"notification": 5}, "notification must be an object"),
    ({"apns": {"headers": {"apns-priority": 5}}}, "apns.headers.apns-priority must be a string"),
    ({"apns": {"payload": "{}"}}, "apns.payload must be an object"),
    ({"apns": {"payload": {"aps": {"badge": "1"}}}}, "apns.payload.aps.badge must be a whole number"),
    ({"webpush": {"headers": ["TTL"]}}, "webpush.headers must be an object"),
    ({"webpush": {"notification": {"actions": {}}}}, "webpush.notification.actions must be a list"),
    ({"webpush": {"fcm_options": {"link": 5}}}, "webpush.fcm_options.link must be a string"),
    ({"fcm_options": {"analytics_label": "a b"}}, "fcm_options.analytics_label must be 1 to 50"),
]
HMS = [
    ({"notification": 5}, "notification must be an object"),
    ({"notification": {"title": 5}}, "notification.title must be a string"),
    ({"data": 7}, "data must be a JSON object, or one in a string"),
    ({"android": "x"}, "android must be an object"),
    ({"android": {"collapse_key": "5"}}, "android.collapse_key must be a whole number from -1 to 100"),
    ({"android": {"collapse_key": 101}}, "android.collapse_key must be a whole number from -1 to 100"),
    ({"android": {"urgency": "low"}}, "android.urgency must be one of HIGH, NORMAL"),
    ({"android": {"ttl": 5}}, "android.ttl must be seconds"),
    ({"android": {"ttl": "5 minutes"}}, "android.ttl must be seconds"),
    ({"android": {"bi_tag": 5}}, "android.bi_tag must be a string"),
    ({"android": {"fast_app_target": "1"}}, "android.fast_app_target must be a whole number from 1 to 2"),
    ({"android": {"target_user_type": True}}, "android.target_user_type must be a whole number"),
    ({"apns": {"hms_options": {"target_user_type": 0}}}, "target_user_type must be a whole number from 1 to 3"),
    ({"android": {"notification": [1]}}, "android.notification must be an object"),
    ({"android": {"notification": {"click_action": 3}}}, "click_action must be an object"),
    ({"android": {"notification": {"click_action": {"type": "3"}}}}, "click_action.type must be a whole number"),
    ({"android": {"notification": {"badge": 5}}}, "badge must be an object"),
    ({"android": {"notification": {"badge": {"set_num": 100}}}}, "badge.set_num must be a whole number from 0 to 99"),
    ({"android": {"notification": {"default_sound": "true"}}}, "default_sound must be true or false"),
    ({"android": {"notification": {"importance": "MAX"}}}, "importance must be one of LOW, NORMAL, HIGH"),
    ({"android": {"notification": {"color": "red"}}}, "color must be a color"),
    ({"android": {"notification": {"title_loc_args": "x"}}}, "title_loc_args must be a list"),
    ({"android": {"notification": {"vibrate_config": [1]}}}, "vibrate_config[0] must be seconds"),
    ({"apns": {"headers": {"apns-priority": 5}}}, "apns.headers.apns-priority must be a string"),
]
BROWSERS = [
    ({"title": 5}, "title must be a string"),
    ({"data": 1}, "data must be an object"),
    ({"actions": {"action": "x"}}, "actions must be a list"),
    ({"actions": [{"action": 1}]}, "actions[0].action must be a string"),
    ({"actions": ["x"]}, "actions[0] must be an object"),
    ({"requireInteraction": "yes"}, "requireInteraction must be true or false"),
    ({"dir": "up"}, "dir must be one of auto, ltr, rtl"),
    ({"timestamp": "now"}, "timestamp must be a number"),
    ({"vibrate": "long"}, "vibrate must be a number or a list of them"),
]
WRONG = [
    *(("apns_json", Provider.APNS, HubPlatform.APNS, *row) for row in APNS),
    *(("fcm_json", Provider.FCM, HubPlatform.FCM_V1, *row) for row in FCM),
    *(("hms_json", Provider.HMS, None, *row) for row in HMS),
    *(("web_push_json", Provider.WEB_PUSH, HubPlatform.BROWSER, *row) for row in BROWSERS),
]


@pytest.mark.parametrize(
    ("kind", "patch"),
    [(ApnsPushType.MDM, {"mdm": 7}), (ApnsPushType.FILE_PROVIDER, {"container-identifier": "c", "domain": 7})],
)
def test_what_is_the_apps_own_elsewhere_has_a_shape_where_apple_reads_it(
    kind: ApnsPushType, patch: dict[str, Any]
) -> None:
    content = Content(apns=ApnsOptions(push_type=kind), apns_json=json.dumps(patch))
    with pytest.raises(MessageRefused, match="must be a string"):
        account(Provider.APNS).check_message(notification(content))


def patching(field: str, patch: dict[str, Any]) -> Content:
    given: dict[str, Any] = {field: json.dumps(patch)}
    return Content(title="t", **given)


def account(provider: Provider) -> ProviderAccount:
    return next(each for each in parsers().accounts if each.provider is provider)


@pytest.mark.parametrize(("field", "provider", "platform", "patch", "problem"), WRONG)
def test_a_documented_field_of_another_type_is_refused_by_its_path(
    field: str, provider: Provider, platform: HubPlatform | None, patch: dict[str, Any], problem: str
) -> None:
    content = notification(patching(field, patch))
    asked = [(account(provider), NO_ADDRESS)]
    if platform is not None:
        asked.append((account(Provider.NOTIFICATION_HUBS), Address(platform=platform)))
    for of, address in asked:
        with pytest.raises(MessageRefused) as refused:
            of.check_message(content, address)
        assert refused.value.reason is RejectReason.FIELD_MISSING
        assert refused.value.detail.startswith(f"{field}: ") and problem in refused.value.detail


RIGHT = [
    ("apns_json", {"aps": {"alert": "hi", "sound": {"critical": 1, "name": "x", "volume": 0.5}, "of-ios-30": [None]}}),
    ("apns_json", {"aps": {"badge": None}, "of the app": 7, "mdm": "magic"}),
    ("apns_json", {"aps": {"badge": 3.0}, "domain": {"id": 7}, "mdm": True}),
    ("fcm_json", {"apns": {"payload": {"domain": {"id": 7}}}}),
    ("hms_json", {"apns": {"hms_options": {"target_user_type": 2}}}),
    ("fcm_json", {"android": {"ttl": "3.5s", "priority": "high", "of 2030": [1]}, "webpush": {"notification": {}}}),
    ("fcm_json", {"android": {"notification": {"notificationCount": "5", "vibrateTimings": ["0.5s"]}}, "data": None}),
    ("hms_json", {"android": {"ttl": "86400", "notification": {"badge": {"add_num": 1}, "of 2030": {}}}, "data": "{}"}),
    ("hms_json", {"data": {"n": 1}, "android": {"data": '{"n": 1}'}, "apns": {"payload": {"aps": {}}}}),
    ("web_push_json", {"title": None, "vibrate": [100, 50], "actions": [], "ours": {"a": [1]}, "data": {"n": 1}}),
]


@pytest.mark.parametrize(("field", "patch"), RIGHT)
def test_what_is_documented_and_what_nobody_knows_yet_fits(field: str, patch: dict[str, Any]) -> None:
    content = notification(patching(field, patch))
    for of in parsers().accounts:
        platforms = [each for each in HubPlatform if each]
        hub = of.provider is Provider.NOTIFICATION_HUBS
        for address in [Address(platform=each) for each in platforms] if hub else [NO_ADDRESS]:
            of.check_message(content, address)


SHAPES: dict[Provider, Shape] = {
    Provider.APNS: apns_message.SHAPE,
    Provider.FCM: fcm_message.SHAPE,
    Provider.HMS: hms_message.SHAPE,
    Provider.WEB_PUSH: webpush_message.SHAPE,
}


@pytest.mark.parametrize("provider", SHAPES)
def test_whatever_is_sent_has_the_shape(provider: Provider) -> None:
    @given(of=NOTIFICATIONS)
    def holds(of: Notification) -> None:
        try:
            payload = json.loads(account(provider).preview(of, NO_ADDRESS, NOW_US).payload)
        except MessageRefused:
            return
        of_message = payload["message"] if provider in (Provider.FCM, Provider.HMS) else payload
        problem = SHAPES[provider]("", of_message)
        # What no caller can set, but the strategy does.
        assert not problem or "analytics_label" in problem or (of.content.badge or 0) < 0

    holds()


def test_every_patch_of_the_contract_is_checked_at_the_edge_too() -> None:
    assert {field for field, *_ in WRONG} == {name for name in OVERRIDES if name.endswith("_json")}
