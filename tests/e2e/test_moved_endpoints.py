"""A push service that moves an endpoint: the push arrives there, its token ends once, and the device has moved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pushrpc import words
from pushrpc.accounts import WebPushAccount
from pushrpc.dispatcher import Dispatcher
from pushrpc.emulator import Emulator, Subscription, issue_vapid_key
from pushrpc.emulator.webpush_crypto import base64url, point_of
from pushrpc.exchange import Answer, Endpoint, Request, Response
from pushrpc.ledger import Ledger, open_ledger
from pushrpc.model import Address, Audience, DeviceSelector, Lane, Planned
from pushrpc.providers.webpush import WebPush
from pushrpc.record import Event, Wanted
from pushrpc.v1 import devices_pb2, enums_pb2, following_pb2, sending_pb2, service_pb2
from tests.clocks import ManualClock
from tests.e2e.running import ServerProcess, apps_at, stub
from tests.ledger.shop import HOUR_US, accepted, registration, send
from tests.test_dispatcher import FakeSessions, Watching

if TYPE_CHECKING:
    from pushrpc.v1.service_pb2_grpc import PushServiceAsyncStub

# Any: our words are the contract's numbers, which type checkers take for something else.
Cause: Any = words.Cause
DeliveryState: Any = words.DeliveryState
EventKind: Any = words.EventKind
OutcomeKind: Any = words.OutcomeKind
Provider: Any = words.Provider

DEADLINE_S = 30.0


class Stage(NamedTuple):
    emulator: Emulator
    server: ServerProcess
    push: PushServiceAsyncStub
    browser: Subscription

    async def register(self, **more: Any) -> str:
        """The browser's device; its id."""
        request = devices_pb2.RegisterDeviceRequest(
            app_id="shop", provider=Provider.WEB_PUSH, token=self.browser.endpoint, user_id="u-1", tags=["news"]
        )
        request.web_push.p256dh, request.web_push.auth = self.browser.p256dh, self.browser.auth
        return (await self.push.RegisterDevice(request, timeout=DEADLINE_S)).device.device_id

    async def device(self, device_id: str) -> devices_pb2.Device:
        request = devices_pb2.GetDeviceRequest(app_id="shop", device_id=device_id)
        return (await self.push.GetDevice(request, timeout=DEADLINE_S)).device

    @property
    def raw(self) -> Any:
        """The browser as a target without a device."""
        keys = {"endpoint": self.browser.endpoint, "p256dh": self.browser.p256dh, "auth": self.browser.auth}
        return {"tokens": [{"provider": Provider.WEB_PUSH, "subscriptions": [keys]}]}

    async def send(self, target: Any, wait_s: int = 15, **options: Any) -> sending_pb2.SendNotificationResponse:
        parts: dict[str, Any] = {"target": target, "message": {"title": "Hi"}, "options": options}
        request = sending_pb2.SendNotificationRequest(app_id="shop", **parts)
        request.wait.FromSeconds(wait_s)
        return await self.push.SendNotification(request, timeout=DEADLINE_S)

    async def events(self, notification_id: str) -> list[following_pb2.DeliveryEvent]:
        """Everything told of a notification, to its end."""
        return await told(self.push, notification_id)


async def told(push: PushServiceAsyncStub, notification_id: str) -> list[following_pb2.DeliveryEvent]:
    request = following_pb2.StreamDeliveryStatusRequest(app_id="shop", notification_ids=[notification_id])
    events: list[following_pb2.DeliveryEvent] = []
    async with asyncio.timeout(DEADLINE_S):
        async for page in push.StreamDeliveryStatus(request):
            events.extend(page.events)
            if page.HasField("end"):
                return events
    raise AssertionError("the stream ended without saying so")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Emulator.start(tmp_path / "emulator", seed=1) as emulator:
        (tmp_path / "server").mkdir()
        async with ServerProcess(tmp_path / "server", apps_at(emulator)) as server, server.channel() as channel:
            push = stub(channel)
            info = await push.GetServerInfo(service_pb2.GetServerInfoRequest(app_id="shop"), timeout=DEADLINE_S)
            key = next(each.provider_app_ids[0] for each in info.providers if each.provider == Provider.WEB_PUSH)
            yield Stage(emulator, server, push, emulator.subscribe(key))


async def test_a_users_push_follows_and_the_device_stays_alive(stage: Stage) -> None:
    device_id = await stage.register()
    new = stage.emulator.move(stage.browser.endpoint)
    answer = await stage.send({"user_ids": ["u-1"]})
    (status,) = answer.statuses
    assert (status.state, status.attempt) == (DeliveryState.SENT, 2), stage.server.log()
    assert (status.token, status.token_replaced_by) == (stage.browser.endpoint, new.endpoint)
    moved, sent = await stage.events(answer.notification_id)
    assert (moved.kind, moved.state, moved.final) == (EventKind.ATTEMPT, DeliveryState.QUEUED, False)
    assert (moved.outcome, moved.provider_status) == (OutcomeKind.TOKEN_INVALID, 301)
    assert (sent.kind, sent.state, sent.final) == (EventKind.STATE, DeliveryState.SENT, True)
    assert {(e.token, e.token_replaced_by) for e in (moved, sent)} == {(stage.browser.endpoint, new.endpoint)}
    device = await stage.device(device_id)
    assert (device.token, device.state, device.token_replaced_by) == (new.endpoint, enums_pb2.DEVICE_STATE_ACTIVE, "")
    assert (list(device.tags), device.user_id) == (["news"], "u-1")

    again = await stage.send({"user_ids": ["u-1"]})
    assert [(s.state, s.token, s.attempt) for s in again.statuses] == [(DeliveryState.SENT, new.endpoint, 1)]
    assert stage.emulator.journal.answers["web_push", 301] == 1
    assert [entry.token for entry in stage.emulator.journal.entries("web_push")] == [new.endpoint] * 2


async def test_a_raw_subscription_follows_even_when_it_gets_one_try_only(stage: Stage) -> None:
    new = stage.emulator.move(stage.browser.endpoint)
    for options in ({}, {"at_most_once": True}, {"ttl": {"seconds": 0}}):
        answer = await stage.send(stage.raw, **options)
        (status,) = answer.statuses
        assert (status.state, status.token, status.device_id) == (DeliveryState.SENT, stage.browser.endpoint, "")
        assert status.token_replaced_by == new.endpoint
        assert [event.final for event in await stage.events(answer.notification_id)] == [False, True]
    assert stage.emulator.journal.counts("web_push").accepted == 3


async def test_a_circle_ends_and_nobody_dies_of_it(stage: Stage) -> None:
    device_id = await stage.register()
    other = stage.emulator.move(stage.browser.endpoint)
    stage.emulator.set_tokens("web_push", [other.endpoint], state="moved", moved_to=stage.browser.endpoint)
    answer = await stage.send({"device_ids": [device_id]})
    (status,) = answer.statuses
    assert (status.state, status.cause) == (DeliveryState.FAILED, Cause.TRIES_USED_UP)
    assert (status.outcome, status.attempt) == (OutcomeKind.TOKEN_INVALID, 4)
    assert [event.final for event in await stage.events(answer.notification_id)] == [False] * 3 + [True]
    assert stage.emulator.journal.answers["web_push", 301] == 4
    assert (await stage.device(device_id)).state == enums_pb2.DEVICE_STATE_ACTIVE


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_move_to_where_nobody_may_send_is_never_followed(stage: Stage, scheme: str) -> None:
    callers: list[Any] = []
    inside = await asyncio.start_server(lambda reader, writer: callers.append(writer), "127.0.0.1", 0)
    async with inside:
        port = inside.sockets[0].getsockname()[1]
        device_id = await stage.register()
        location = f"{scheme}://127.0.0.1:{port}/wpush/v2/new"
        stage.emulator.set_tokens("web_push", [stage.browser.endpoint], state="moved", moved_to=location)
        answer = await stage.send({"device_ids": [device_id]}, ttl={"seconds": 1})
    (status,) = answer.statuses
    assert (status.state, status.outcome) == (DeliveryState.EXPIRED, OutcomeKind.CREDENTIAL_REFUSED)
    assert (status.token_replaced_by, callers) == ("", [])
    device = await stage.device(device_id)
    assert (device.token, device.state) == (stage.browser.endpoint, enums_pb2.DEVICE_STATE_ACTIVE)


@pytest.mark.timeout(120)
async def test_kill_9_between_the_two_endpoints_loses_nothing(stage: Stage) -> None:
    device_id = await stage.register()
    new = stage.emulator.move(stage.browser.endpoint)
    stage.emulator.add_fault(provider="web_push", action="silence", token=new.endpoint, count=1)
    answer = await stage.send({"device_ids": [device_id]}, wait_s=0)
    async with asyncio.timeout(DEADLINE_S):
        while not stage.emulator.faults.fired(1):  # noqa: ASYNC110 (it has no event of its own)
            await asyncio.sleep(0.02)
    await stage.server.kill()
    await stage.server.start()
    async with stage.server.channel() as channel:
        push = stub(channel)
        events = await told(push, answer.notification_id)
        request = devices_pb2.GetDeviceRequest(app_id="shop", device_id=device_id)
        device = (await push.GetDevice(request, timeout=DEADLINE_S)).device
    assert [(e.state, e.final) for e in events] == [(DeliveryState.QUEUED, False), (DeliveryState.SENT, True)]
    assert {(e.token, e.token_replaced_by) for e in events} == {(stage.browser.endpoint, new.endpoint)}
    assert device.token == new.endpoint
    assert stage.emulator.journal.answers["web_push", 301] == 1, "what was told is not asked again"
    assert [entry.token for entry in stage.emulator.journal.entries("web_push")] == [new.endpoint]


# --- from one push service to another, which no emulator on loopback can be ----------------------------------------

MOZILLA, FURTHER = "https://updates.push.services.mozilla.com", "https://b.push.services.mozilla.com"


CREATED = Response(201, [], b"")


async def no_fetch(request: Request, timeout_s: float) -> Response:
    raise AssertionError("Web Push has no token endpoint")


async def until_complete(ledger: Ledger, notification_id: str) -> list[Event]:
    events: list[Event] = []
    after = 0
    while True:
        page = await ledger.follow(Wanted("shop", (notification_id,)), after, 100, DEADLINE_S)
        events += page.events
        after = page.through_seq
        if page.complete:
            return events


async def test_another_origin_is_another_lane(tmp_path: Path) -> None:
    public_key, key_file = issue_vapid_key(tmp_path)
    account = WebPush(WebPushAccount("shop", str(key_file), "mailto:push@shop.example"))
    lane = Lane("shop", words.Provider.WEB_PUSH, public_key, words.Environment.UNSPECIFIED, MOZILLA)
    asked: list[tuple[str, bytes]] = []

    def open_sessions(endpoint: Endpoint) -> Any:
        def answer(path: bytes, _: bytes) -> Answer:
            asked.append((endpoint.host, path))
            return Response(301, [(b"location", f"{FURTHER}/2".encode())], b"") if path == b"/1" else CREATED

        return FakeSessions(answer)

    clock = ManualClock()
    keys = Address(base64url(point_of(ec.generate_private_key(ec.SECP256R1()).public_key())), base64url(bytes(16)))
    ledger = await open_ledger(
        "sqlite:///ledger.db",
        clock,
        base=tmp_path,
        event_retention_us=HOUR_US,
        request_id_retention_us=HOUR_US,
        queue_max=9,
    )
    browser = registration(f"{MOZILLA}/1", lane, device_id="d", address=keys, origin=MOZILLA)
    await ledger.register(browser, clock.now_us())
    planned = Planned(lane, [browser.token], ["d"], [""], [keys.text])
    wanted = send(clock, [browser.token], lane=lane, resolve=lambda found: Audience([planned], 0, ()))
    await accepted(ledger, wanted)
    stopping = asyncio.Event()
    dispatcher = Dispatcher(ledger, lambda _: account, open_sessions, no_fetch, clock, Watching(), lambda: 0.5)
    running = asyncio.create_task(dispatcher.run(stopping))
    complete = await asyncio.wait_for(until_complete(ledger, wanted.notification_id), DEADLINE_S)
    stopping.set()
    await asyncio.wait_for(running, DEADLINE_S)
    assert asked == [(MOZILLA[8:], b"/1"), (FURTHER[8:], b"/2")]
    assert set(dispatcher.runners) == {lane, lane._replace(origin=FURTHER)}
    assert [(e.state, e.token, e.token_replaced_by) for e in complete] == [
        (state, f"{MOZILLA}/1", f"{FURTHER}/2") for state in (DeliveryState.QUEUED, DeliveryState.SENT)
    ]
    device = await ledger.device("shop", DeviceSelector(device_id="d"))
    assert device is not None and (device.token, device.origin) == (f"{FURTHER}/2", FURTHER)
    await ledger.close()
