"""A real server, six emulated push services over TLS: one request reaches all, and every token has its own outcome."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest

from pushrpc import words
from pushrpc.emulator import Emulator, apns_tokens, fcm_tokens, wns_channels
from pushrpc.emulator.tokens import hms_tokens
from pushrpc.providers.sas import LIFETIME_S
from pushrpc.v1 import audiences_pb2, devices_pb2, enums_pb2, following_pb2, sending_pb2, service_pb2
from tests.e2e.running import ServerProcess, apps_at, stub
from tests.rpc.harness import failure

if TYPE_CHECKING:  # the stubs alone tell the asyncio form apart
    from pushrpc.v1.service_pb2_grpc import PushServiceAsyncStub

# Any: our words are the contract's numbers, which type checkers take for something else.
DeliveryState: Any = words.DeliveryState
Engagement: Any = words.Engagement
EventKind: Any = words.EventKind
HubPlatform: Any = words.HubPlatform
OutcomeKind: Any = words.OutcomeKind
Provider: Any = words.Provider
TokenKind: Any = words.TokenKind

DEADLINE_S = 30.0


class Stage(NamedTuple):
    emulator: Emulator
    push: PushServiceAsyncStub
    server: ServerProcess

    async def subscription(self) -> dict[str, str]:
        """A browser's, for the key that the server signs with."""
        info = await self.push.GetServerInfo(service_pb2.GetServerInfoRequest(app_id="shop"), timeout=DEADLINE_S)
        key = next(each.provider_app_ids[0] for each in info.providers if each.provider == Provider.WEB_PUSH)
        made = self.emulator.subscribe(key)
        return {"endpoint": made.endpoint, "p256dh": made.p256dh, "auth": made.auth}

    async def targets(self, dead: bool = False) -> list[Any]:
        """A token of every provider."""
        seed = 1 if dead else 0
        browser = await self.subscription()
        tokens = {
            "apns": apns_tokens(1, seed=seed),
            "fcm": fcm_tokens(1, seed=seed),
            "wns": wns_channels(self.emulator.endpoints["wns"], 1, seed=seed),
            "hms": hms_tokens(1, seed=seed),
            "notification_hubs": apns_tokens(1, seed=seed + 2),
        }
        if dead:
            for provider, (token,) in tokens.items():
                self.emulator.set_tokens(provider, [token], state="unregistered")
            self.emulator.set_tokens("web_push", [browser["endpoint"]], state="unregistered")
        targets: list[Any] = [{"provider": Provider[name.upper()], "tokens": of_one} for name, of_one in tokens.items()]
        targets[-1]["hub_platform"] = HubPlatform.APNS
        return [*targets, {"provider": Provider.WEB_PUSH, "subscriptions": [browser]}]

    async def send(self, target: Any, message: Any = None, **more: Any) -> sending_pb2.SendNotificationResponse:
        more["message"] = message or {"title": "Hi", "body": "b", "data": {"k": "v"}}
        request = sending_pb2.SendNotificationRequest(app_id="shop", target=target, **more)
        request.wait.FromSeconds(15)
        return await self.push.SendNotification(request, timeout=DEADLINE_S)

    async def event(self, notification_id: str, kind: int) -> following_pb2.DeliveryEvent:
        """The first event of a kind, waited for."""
        wanted: Any = [kind]
        request = following_pb2.StreamDeliveryStatusRequest(app_id="shop", kinds=wanted)
        request.start = enums_pb2.STREAM_START_OLDEST
        async with asyncio.timeout(DEADLINE_S):
            async for page in self.push.StreamDeliveryStatus(request):
                for event in page.events:
                    if event.notification_id == notification_id:
                        return event
        raise AssertionError("the stream ended")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Emulator.start(tmp_path / "emulator", seed=1) as emulator:
        (tmp_path / "server").mkdir()
        async with ServerProcess(tmp_path / "server", apps_at(emulator)) as server, server.channel() as channel:
            yield Stage(emulator, stub(channel), server)


def states(answer: sending_pb2.SendNotificationResponse) -> dict[int, int]:
    return {Provider(status.provider): DeliveryState(status.state) for status in answer.statuses}


async def test_one_request_reaches_all_six_and_each_takes_it(stage: Stage) -> None:
    answer = await stage.send({"tokens": await stage.targets()})
    assert not answer.rejected, answer.rejected
    assert answer.complete
    assert states(answer) == dict.fromkeys((p for p in Provider if p), DeliveryState.SENT), stage.server.log()
    for name in ("apns", "fcm", "wns", "web_push", "hms", "notification_hubs"):
        assert stage.emulator.journal.counts(name).distinct == 1, name
    assert all(status.provider_message_id for status in answer.statuses)


async def test_dead_tokens_are_told_apart_from_living_ones(stage: Stage) -> None:
    answer = await stage.send({"tokens": [*await stage.targets(dead=True), *await stage.targets()]})
    ended: dict[int, list[int]] = {}
    for status in answer.statuses:
        ended.setdefault(Provider(status.provider), []).append(DeliveryState(status.state))
    of_a_hub = ended.pop(Provider.NOTIFICATION_HUBS)
    assert of_a_hub == [DeliveryState.SENT] * 2  # it tells later
    assert set(map(tuple, ended.values())) == {(DeliveryState.UNREGISTERED, DeliveryState.SENT)}, ended
    assert len(ended) == 5


async def test_a_hub_tells_later_and_the_device_behind_dies(stage: Stage) -> None:
    (token,) = apns_tokens(1, seed=9)
    stage.emulator.set_tokens("notification_hubs", [token], state="unregistered")
    registered = await stage.push.RegisterDevice(
        devices_pb2.RegisterDeviceRequest(
            app_id="shop",
            provider=Provider.NOTIFICATION_HUBS,
            token=token,
            hub_platform=HubPlatform.APNS,
        ),
        timeout=DEADLINE_S,
    )
    answer = await stage.send({"device_ids": [registered.device.device_id]})
    told = await stage.event(answer.notification_id, EventKind.PROVIDER_FEEDBACK)
    assert (told.outcome, told.final, told.state) == (OutcomeKind.TOKEN_INVALID, False, 0)
    device = await stage.push.GetDevice(
        devices_pb2.GetDeviceRequest(app_id="shop", device_id=registered.device.device_id), timeout=DEADLINE_S
    )
    assert device.device.state == 3


async def test_a_browsers_device_keeps_its_keys_and_reports_what_it_saw(stage: Stage) -> None:
    browser = await stage.subscription()
    request = devices_pb2.RegisterDeviceRequest(
        app_id="shop",
        provider=Provider.WEB_PUSH,
        token=browser["endpoint"],
        user_id="u-1",
        web_push=devices_pb2.WebPushKeys(p256dh=browser["p256dh"], auth=browser["auth"]),
    )
    await stage.push.RegisterDevice(request, timeout=DEADLINE_S)
    request.ClearField("web_push")  # known by now
    await stage.push.RegisterDevice(request, timeout=DEADLINE_S)
    answer = await stage.send({"user_ids": ["u-1"]})
    assert states(answer) == {Provider.WEB_PUSH: DeliveryState.SENT}
    (entry,) = stage.emulator.journal.entries("web_push")
    payload = json.loads(entry.payload)
    assert payload["title"] == "Hi" and payload["data"]["notification_id"] == answer.notification_id
    report = following_pb2.EngagementReport(
        notification_id=answer.notification_id,
        provider=Provider.WEB_PUSH,
        token=browser["endpoint"],
        engagement=Engagement.OPENED,
    )
    await stage.push.ReportEngagement(
        following_pb2.ReportEngagementRequest(app_id="shop", reports=[report]), timeout=DEADLINE_S
    )
    told = await stage.event(answer.notification_id, EventKind.ENGAGEMENT)
    assert told.engagement == Engagement.OPENED


async def test_topics_are_joined_sent_to_and_left(stage: Stage) -> None:
    tokens = fcm_tokens(3, seed=4)
    join = audiences_pb2.SubscribeToTopicRequest(
        app_id="shop",
        provider=Provider.FCM,
        topic="news",
        tokens=tokens,
    )
    joined = await stage.push.SubscribeToTopic(join, timeout=DEADLINE_S)
    assert (joined.subscribed_count, list(joined.failures)) == (3, [])
    answer = await stage.send({"provider_audiences": [{"provider": Provider.FCM, "topic": "news"}]})
    (status,) = answer.statuses
    assert (status.state, status.token) == (DeliveryState.SENT, "news")
    leave = audiences_pb2.UnsubscribeFromTopicRequest(
        app_id="shop",
        provider=Provider.FCM,
        topic="news",
        tokens=tokens,
    )
    assert (await stage.push.UnsubscribeFromTopic(leave, timeout=DEADLINE_S)).unsubscribed_count == 3


async def test_huawei_and_hubs_are_asked_for_a_thousand_at_a_time(stage: Stage) -> None:
    for name, tokens in (("hms", hms_tokens(1000, seed=8)), ("notification_hubs", apns_tokens(1000, seed=8))):
        one: dict[str, Any] = {"provider": Provider[name.upper()]}
        if name == "notification_hubs":
            one["hub_platform"] = HubPlatform.APNS
        await stage.send({"tokens": [one | {"tokens": tokens[:1]}]})  # from then on the credential is known to be good
        asked = stage.emulator.journal.answers[name, 200] + stage.emulator.journal.answers[name, 201]
        answer = await stage.send({"tokens": [one | {"tokens": tokens[1:]}]})
        assert states(answer) == {one["provider"]: DeliveryState.SENT}
        asked = stage.emulator.journal.answers[name, 200] + stage.emulator.journal.answers[name, 201] - asked
        assert asked <= 3, f"{name}: {asked} requests"


async def test_a_push_that_only_apple_understands_goes_to_apple_only(stage: Stage) -> None:
    for request in (
        devices_pb2.RegisterDeviceRequest(
            provider=Provider.APNS, token=apns_tokens(1)[0], token_kind=TokenKind.WIDGETS
        ),
        devices_pb2.RegisterDeviceRequest(provider=Provider.FCM, token=fcm_tokens(1)[0]),
    ):
        request.app_id, request.user_id = "shop", "u-2"
        await stage.push.RegisterDevice(request, timeout=DEADLINE_S)
    answer = await stage.send({"user_ids": ["u-2"]}, {"apns": {"push_type": 11}})
    assert states(answer) == {Provider.APNS: DeliveryState.SENT}, answer


async def test_a_refused_credential_is_renewed_for_calls_beside_lanes_too(stage: Stage) -> None:
    join = audiences_pb2.SubscribeToTopicRequest(
        app_id="shop", provider=Provider.FCM, topic="news", tokens=fcm_tokens(1, seed=4)
    )
    await stage.push.SubscribeToTopic(join, timeout=DEADLINE_S)
    stage.emulator.add_fault(provider="fcm", action="status", status=401, reason="UNAUTHENTICATED", count=1)
    assert (await stage.push.SubscribeToTopic(join, timeout=DEADLINE_S)).subscribed_count == 1


async def test_statuses_come_in_the_order_of_the_target(stage: Stage) -> None:
    *others, browser = await stage.targets()
    answer = await stage.send({"tokens": [browser, *others]})
    assert next(status.provider for status in answer.statuses) == Provider.WEB_PUSH


async def test_a_cut_is_told_for_those_it_concerns(stage: Stage) -> None:
    options = {"truncate": True}
    token = {"tokens": [{"provider": Provider.FCM, "tokens": fcm_tokens(1)}]}
    long = {"body": "b" * 3000}
    assert not (await stage.send(token, long, options=options)).truncated_providers
    topic = {"provider_audiences": [{"provider": Provider.FCM, "topic": "news"}]}
    assert list((await stage.send(topic, long, options=options)).truncated_providers) == [Provider.FCM]
    send: Any = {"request_id": "r", "target": topic}
    request = sending_pb2.SendNotificationsRequest(app_id="shop", sends=[send])
    request.message.body = "b" * 3000
    request.options.truncate = True

    async def once() -> AsyncIterator[sending_pb2.SendNotificationsRequest]:
        yield request

    stream = stage.push.SendNotifications(once(), timeout=DEADLINE_S)
    response: Any = await stream.read()
    (receipt,) = response.receipts
    assert list(receipt.accepted.truncated_providers) == [Provider.FCM]


async def test_a_hubs_installations_follow_the_registry_and_their_tags_are_reached(stage: Stage) -> None:
    tokens = apns_tokens(2, seed=6)
    for number, token in enumerate(tokens):
        request = devices_pb2.RegisterDeviceRequest(
            app_id="shop", provider=Provider.NOTIFICATION_HUBS, token=token, hub_platform=HubPlatform.APNS
        )
        request.tags.extend(["news", "first"] if number == 0 else ["news"])
        await stage.push.RegisterDevice(request, timeout=DEADLINE_S)
    async with asyncio.timeout(DEADLINE_S):
        while stage.emulator.journal.answers["hub_installations", 200] < 2:  # noqa: ASYNC110 (it has no event of its own)
            await asyncio.sleep(0.05)
    audience = {"provider": Provider.NOTIFICATION_HUBS, "tag_expression": "news && first"}
    refused = await stage.send({"provider_audiences": [audience]})
    assert [each.path for each in refused.rejected] == ["target.provider_audiences[0]"]
    answer = await stage.send({"provider_audiences": [audience | {"hub_platform": HubPlatform.APNS}]})
    assert states(answer) == {Provider.NOTIFICATION_HUBS: DeliveryState.SENT}
    assert {entry.token for entry in stage.emulator.journal.entries("notification_hubs")} == {tokens[0]}


async def test_a_broadcast_channel_is_opened_sent_to_and_closed(stage: Stage) -> None:
    made = await stage.push.CreateBroadcastChannel(
        audiences_pb2.CreateBroadcastChannelRequest(app_id="shop", stores_latest=True), timeout=DEADLINE_S
    )
    channels = audiences_pb2.ListBroadcastChannelsRequest(app_id="shop")
    assert list((await stage.push.ListBroadcastChannels(channels, timeout=DEADLINE_S)).channel_ids) == [made.channel_id]
    activity = {"event": 2, "content_state_json": '{"score":1}'}
    answer = await stage.send(
        {"provider_audiences": [{"provider": Provider.APNS, "channel_id": made.channel_id}]},
        {"apns": {"live_activity": activity}},
    )
    assert states(answer) == {Provider.APNS: DeliveryState.SENT}, answer
    await stage.push.DeleteBroadcastChannel(
        audiences_pb2.DeleteBroadcastChannelRequest(app_id="shop", channel_id=made.channel_id), timeout=DEADLINE_S
    )
    assert not (await stage.push.ListBroadcastChannels(channels, timeout=DEADLINE_S)).channel_ids


async def test_a_preview_shows_all_six_and_asks_google(stage: Stage) -> None:
    (token,) = fcm_tokens(1, seed=5)
    wanted: dict[str, Any] = {"message": {"title": "Hi", "subtitle": "there", "body": "b"}}
    wanted["ask_provider"] = {"provider": Provider.FCM, "tokens": [token]}
    request = sending_pb2.PreviewNotificationRequest(app_id="shop", **wanted)
    answer = await stage.push.PreviewNotification(request, timeout=DEADLINE_S)
    assert {preview.provider for preview in answer.previews} == {int(provider) for provider in Provider if provider}
    assert not [preview.refusal for preview in answer.previews if preview.HasField("refusal")]
    asked = next(preview for preview in answer.previews if preview.provider == Provider.FCM)
    assert asked.answer.outcome == OutcomeKind.ACCEPTED
    huawei = next(preview for preview in answer.previews if preview.provider == Provider.HMS)
    assert list(huawei.dropped) == ["message.subtitle"]
    assert stage.emulator.journal.counts("fcm").distinct == 0


P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"  # RFC 8291 §5
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
OFF_CURVE = base64.urlsafe_b64encode(b"\x04" + bytes(63) + b"\x01").decode().rstrip("=")
MOZILLA = "https://updates.push.services.mozilla.com/wpush/v2/abc"


@pytest.mark.parametrize(
    ("provider", "token", "keys", "reason", "field", "says"),
    [
        ("WEB_PUSH", MOZILLA, (OFF_CURVE, AUTH), "WEB_PUSH_KEYS_INVALID", "web_push", "P-256"),
        (
            "WEB_PUSH",
            MOZILLA,
            (P256DH, "AAAAAAAAAAAAAAAAAAAA"),
            "WEB_PUSH_KEYS_INVALID",
            "web_push",
            "15 bytes instead of 16",
        ),
        ("WEB_PUSH", MOZILLA, ("", ""), "WEB_PUSH_KEYS_INVALID", "web_push", "p256dh"),
        ("WEB_PUSH", "https://push.example.com/x", (P256DH, AUTH), "ENDPOINT_FORBIDDEN", "token", "hosts"),
        ("WEB_PUSH", MOZILLA.replace("https", "http"), (P256DH, AUTH), "TOKEN_MALFORMED", "token", "https"),
        ("WEB_PUSH", "https://10.0.0.1/x", (P256DH, AUTH), "ENDPOINT_FORBIDDEN", "token", ""),
        ("WEB_PUSH", "https://localhost/x", (P256DH, AUTH), "ENDPOINT_FORBIDDEN", "token", ""),
        ("WNS", "https://evil.example/?token=a", ("", ""), "ENDPOINT_FORBIDDEN", "token", "notify.windows.com"),
        ("WNS", "http://db3.notify.windows.com/?token=a", ("", ""), "ENDPOINT_FORBIDDEN", "token", "https"),
        (
            "WNS",
            "https://sn1.notify.live.net/throttledthirdparty/01.00/A",
            ("", ""),
            "PROVIDER_RETIRED",
            "token",
            "WNS",
        ),
        ("HMS", "a b", ("", ""), "TOKEN_MALFORMED", "token", ""),
        ("NOTIFICATION_HUBS", "ab" * 32, ("", ""), "FIELD_REQUIRED", "hub_platform", "hub_platform"),
    ],
)
async def test_what_could_never_be_sent_to_is_refused_at_registration(
    stage: Stage, provider: str, token: str, keys: tuple[str, str], reason: str, field: str, says: str
) -> None:
    request = devices_pb2.RegisterDeviceRequest(app_id="shop", provider=Provider[provider], token=token)
    if any(keys):
        request.web_push.p256dh, request.web_push.auth = keys
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stage.push.RegisterDevice(request, timeout=DEADLINE_S)
    told = failure(error.value)
    assert (told.reason, told.fields) == (reason, [field]), told.message
    assert says in told.message
    assert token not in told.message


async def test_a_hub_whose_clock_is_ahead_is_shown_a_fresh_signature(stage: Stage) -> None:
    """What was signed for a window of time is over by the hub's clock; what is signed on its 401 is not."""
    hub = {"provider": Provider.NOTIFICATION_HUBS, "hub_platform": HubPlatform.APNS}
    first, second = apns_tokens(2, seed=11)
    await stage.send({"tokens": [hub | {"tokens": [first]}]})
    stage.emulator.clock.advance(LIFETIME_S - 30)
    answer = await stage.send({"tokens": [hub | {"tokens": [second]}]})
    assert states(answer) == {Provider.NOTIFICATION_HUBS: DeliveryState.SENT}
    assert stage.emulator.journal.answers["notification_hubs", 401] <= 1


async def test_a_hub_of_the_free_tier_gets_its_handles_one_by_one(stage: Stage) -> None:
    stage.emulator.notification_hubs.put_hub("shop-hub", free=True)
    hub = {"provider": Provider.NOTIFICATION_HUBS, "hub_platform": HubPlatform.APNS}
    tokens = apns_tokens(300, seed=12)
    for some in (tokens[:1], tokens[1:]):  # the first shows that the credential is good
        answer = await stage.send({"tokens": [hub | {"tokens": some}]})
        assert answer.complete and states(answer) == {Provider.NOTIFICATION_HUBS: DeliveryState.SENT}, answer.statuses
    assert {entry.token for entry in stage.emulator.journal.entries("notification_hubs")} == set(tokens)
    answers = stage.emulator.journal.answers
    assert (answers["notification_hubs", 201], 1 <= answers["notification_hubs", 403] <= 2) == (300, True)
    assert "lane_paused" not in stage.server.log()


async def test_a_sender_that_windows_blocks_without_a_word_keeps_its_devices(stage: Stage) -> None:
    """Every channel is answered 410, as one that has expired: only how many in a row tells them apart."""
    channels = wns_channels(stage.emulator.endpoints["wns"], 120, seed=13)
    for channel in channels:
        request = devices_pb2.RegisterDeviceRequest(app_id="shop", provider=Provider.WNS, token=channel, user_id="u-13")
        await stage.push.RegisterDevice(request, timeout=DEADLINE_S)
    every = {"user_ids": ["u-13"]}
    assert states(await stage.send(every)) == {Provider.WNS: DeliveryState.SENT}
    stage.emulator.add_fault(provider="wns", action="status", status=410)
    request_of_all = sending_pb2.SendNotificationRequest(app_id="shop", target=every, message={"title": "Hi"})  # type: ignore[arg-type]
    await stage.push.SendNotification(request_of_all, timeout=DEADLINE_S)
    async with asyncio.timeout(DEADLINE_S):
        while "lane_paused" not in stage.server.log():  # noqa: ASYNC110 (a log has no event)
            await asyncio.sleep(0.05)
        refused = stage.emulator.journal.answers["wns", 410]
        while stage.emulator.journal.answers["wns", 410] < refused + 2:  # noqa: ASYNC110 (nor has a journal)
            await asyncio.sleep(0.05)  # probes kill nobody either
    dead = devices_pb2.ListDevicesRequest(app_id="shop", page_size=1000, filter={"states": [words.DeviceState.DEAD]})  # type: ignore[arg-type]
    assert len((await stage.push.ListDevices(dead, timeout=DEADLINE_S)).devices) < 20
