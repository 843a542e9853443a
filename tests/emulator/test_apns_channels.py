"""Apple's broadcast channels, without sockets: opened, read, listed, closed, and sent to."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from pushrpc.emulator import apns_channels
from pushrpc.emulator.apns import Apns
from pushrpc.emulator.service import Call, Verdict
from pushrpc.emulator.tokens import apns_tokens
from tests.emulator.test_apns import BUNDLE, NOW_S, World, said

CHANNELS = f"/1/apps/{BUNDLE}/channels"
BROADCASTS = f"/4/broadcasts/apps/{BUNDLE}"
TOKEN = apns_tokens(1)[0]
UPDATE = json.dumps({"aps": {"timestamp": NOW_S, "event": "update", "content-state": {}}}).encode()
POLICY = {"message-storage-policy": 1, "push-type": "LiveActivity"}
SHOUT = {"apns_push_type": "liveactivity", "apns_priority": "10", "apns_expiration": "0", "apns_topic": None}


@pytest.fixture
def world() -> World:
    return World()


def managed(world: World, method: str, path: str = CHANNELS, body: Any = b"", **headers: str | None) -> Verdict:
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    given: dict[str, Any] = {"apns_topic": None, "apns_push_type": None} | headers
    return world.send(path, encoded, method, **given)


def opened(world: World, **policy: Any) -> str:
    response = managed(world, "POST", body=POLICY | policy).response
    assert (response.status, response.body) == (201, b"")
    return response.header(b"apns-channel-id").decode()


def broadcast(world: World, channel: str | None, body: bytes = UPDATE, **headers: str | None) -> Verdict:
    given: dict[str, Any] = {"apns_channel_id": channel} | SHOUT | headers
    return world.send(BROADCASTS, body, **given)


def reason(verdict: Verdict) -> tuple[int, str]:
    assert verdict.accepted is None
    return verdict.response.status, json.loads(verdict.response.body)["reason"]


def listed(world: World) -> list[str]:
    response = managed(world, "GET", f"/1/apps/{BUNDLE}/all-channels").response
    assert response.status == 200
    channels: list[str] = json.loads(response.body)["channels"]
    return channels


def test_a_channels_life(world: World) -> None:
    first, second = opened(world), opened(world, **{"message-storage-policy": 0})
    assert listed(world) == [first, second]
    read = managed(world, "GET", apns_channel_id=second).response
    assert (read.status, json.loads(read.body)) == (200, POLICY | {"message-storage-policy": 0})
    closed = managed(world, "DELETE", apns_channel_id=first).response
    assert (closed.status, closed.body) == (204, b"")
    assert listed(world) == [second]
    assert reason(managed(world, "DELETE", apns_channel_id=first)) == (410, "ChannelNotRegistered")
    assert reason(broadcast(world, first)) == (410, "ChannelNotRegistered")


def test_every_answer_has_the_requests_id(world: World) -> None:
    request_id = str(uuid.uuid4())
    for verdict in (
        managed(world, "POST", body=POLICY, apns_request_id=request_id),
        managed(world, "GET", apns_request_id=request_id),
        broadcast(world, opened(world), apns_request_id=request_id),
    ):
        assert verdict.response.header(b"apns-request-id") == request_id.encode()
        assert not verdict.response.header(b"apns-id")
    assert reason(managed(world, "POST", body=POLICY, apns_request_id="1")) == (400, "BadMessageId")


def test_apps_and_environments_have_channels_of_their_own(world: World) -> None:
    channel = opened(world)
    world.accounts.put_app("com.example.second", "TEAM123456")
    assert json.loads(managed(world, "GET", "/1/apps/com.example.second/all-channels").response.body)["channels"] == []
    world.apns = Apns("sandbox", world.accounts, world.tokens, world.quota)
    world.connection = world.connect()
    assert listed(world) == []
    assert reason(broadcast(world, channel)) == (410, "ChannelNotRegistered")


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "answer"),
    [
        ("PUT", CHANNELS, b"", {}, (405, "MethodNotAllowed")),
        ("POST", f"/1/apps/{BUNDLE}/all-channels", POLICY, {}, (405, "MethodNotAllowed")),
        ("POST", f"/1/apps/{BUNDLE}/channel", POLICY, {}, (404, "BadPath")),
        ("POST", "/1/apps/com.example.stranger/channels", POLICY, {}, (400, "TopicDisallowed")),
        ("POST", CHANNELS, POLICY, {"authorization": None}, (403, "MissingProviderToken")),
        ("POST", CHANNELS, b"{", {}, (400, "PayloadEmpty")),
        ("POST", CHANNELS, POLICY | {"message-storage-policy": 2}, {}, (400, "PayloadEmpty")),
        ("POST", CHANNELS, {"message-storage-policy": 0}, {}, (400, "MissingPushType")),
        ("POST", CHANNELS, POLICY | {"push-type": "alert"}, {}, (400, "InvalidPushType")),
        ("GET", CHANNELS, b"", {}, (400, "MissingChannelId")),
        ("DELETE", CHANNELS, b"", {"apns_channel_id": "?"}, (400, "BadChannelId")),
        ("DELETE", CHANNELS, b"", {"apns_channel_id": "AAAA"}, (410, "ChannelNotRegistered")),
    ],
)
def test_what_apple_refuses_of_managing(
    world: World, method: str, path: str, body: Any, headers: dict[str, str | None], answer: tuple[int, str]
) -> None:
    assert reason(managed(world, method, path, body, **headers)) == answer


def test_an_app_has_so_many_channels(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apns_channels, "CHANNELS_MAX", 2)
    first, _ = opened(world), opened(world)
    assert reason(managed(world, "POST", body=POLICY)) == (400, "CannotCreateChannelConfig")
    managed(world, "DELETE", apns_channel_id=first)
    assert opened(world) != first


def test_a_broadcast_is_taken_and_reaches_those_whose_activity_listens(world: World) -> None:
    channel, other = opened(world), opened(world)
    for token, named in ((TOKEN, channel), ("bb" * 32, other), ("cc" * 32, "AAAA")):
        start = {"aps": {"timestamp": NOW_S, "event": "start", "input-push-channel": named}}
        topic = f"{BUNDLE}.push-type.liveactivity"
        verdict = world.send(
            f"/3/device/{token}", json.dumps(start).encode(), apns_topic=topic, apns_push_type="liveactivity"
        )
        assert said(verdict) == (200, "")
    request_id = str(uuid.uuid4())
    verdict = broadcast(world, channel, apns_request_id=request_id, apns_expiration="1800000100")
    assert (verdict.response.status, verdict.response.body) == (200, b"")
    entry = verdict.accepted
    assert entry
    assert (entry.token, entry.message_id, entry.identity) == (channel, request_id, request_id.encode())
    assert list(entry.reached) == [TOKEN]
    nobody = broadcast(world, opened(world)).accepted
    assert nobody and list(nobody.reached) == []


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({"method": "GET"}, (405, "MethodNotAllowed")),
        ({"authorization": None}, (403, "MissingProviderToken")),
        ({"apns_channel_id": None}, (400, "MissingChannelId")),
        ({"apns_channel_id": "a b"}, (400, "BadChannelId")),
        ({"apns_channel_id": "AAAA"}, (410, "ChannelNotRegistered")),
        ({"apns_push_type": None}, (400, "MissingPushType")),
        ({"apns_push_type": "alert"}, (400, "InvalidPushType")),
        ({"apns_expiration": None}, (400, "BadExpirationDate")),
        ({"apns_expiration": "soon"}, (400, "BadExpirationDate")),
        ({"apns_priority": None}, (400, "BadPriority")),
        ({"apns_priority": "7"}, (400, "BadPriority")),
        ({"body": b'"' + b"x" * 5119 + b'"'}, (413, "PayloadTooLarge")),
        ({"body": b"[]"}, (400, "PayloadEmpty")),
    ],
)
def test_what_apple_refuses_of_a_broadcast(world: World, changed: dict[str, Any], answer: tuple[int, str]) -> None:
    request = {"channel": opened(world)} | changed
    channel = request.pop("apns_channel_id", request.pop("channel"))
    assert reason(broadcast(world, channel, **request)) == answer


def test_what_nobody_stores_may_not_wait(world: World) -> None:
    channel = opened(world, **{"message-storage-policy": 0})
    assert reason(broadcast(world, channel, apns_expiration="1800000100")) == (400, "BadExpirationDate")
    assert broadcast(world, channel, apns_expiration="0").accepted


def test_a_broadcast_may_be_longer_than_a_push(world: World) -> None:
    body = json.dumps({"aps": {}, "x": "y" * 5000}).encode()
    assert broadcast(world, opened(world), body).accepted


def test_faults_are_found_by_the_channel(world: World) -> None:
    channel = opened(world)
    call = Call(b"POST", BROADCASTS.encode(), [(b"apns-channel-id", channel.encode())], UPDATE)
    assert world.apns.subject(call) == ("apns", channel)
    refusal = world.apns.refusal(call, 503, "ServiceUnavailable", 0)
    assert uuid.UUID(refusal.header(b"apns-request-id").decode())
