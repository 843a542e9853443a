"""firebase-admin, Google's own Python SDK, takes the emulator for FCM and for Google's token endpoint."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import firebase_admin
import httpx
import pytest
from firebase_admin import credentials, exceptions, messaging
from firebase_admin.messaging import Message, Notification

from pushrpc.emulator import Credentials, Emulator, fcm_tokens

_names = (f"app-{number}" for number in itertools.count())


@pytest.fixture
def app(emulator: Emulator, files: Credentials, monkeypatch: pytest.MonkeyPatch) -> Iterator[firebase_admin.App]:
    service = messaging._MessagingService
    monkeypatch.setattr(service, "FCM_URL", emulator.fcm_endpoint + "/v1/projects/{0}/messages:send")
    monkeypatch.setattr(service, "IID_URL", emulator.fcm_endpoint)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(emulator.ca_file))
    monkeypatch.setenv("SSL_CERT_FILE", str(emulator.ca_file))
    certificate = credentials.Certificate(str(files.service_account_file))
    app = firebase_admin.initialize_app(certificate, name=next(_names))
    yield app
    messaging._get_messaging_service(app)._client.close()
    firebase_admin.delete_app(app)


def message(token: str, **fields: Any) -> Message:
    return Message(token=token, notification=Notification("Order shipped", "It is on its way"), **fields)


async def send(app: firebase_admin.App, message: Message, *, dry_run: bool = False) -> str:
    return str(await asyncio.to_thread(messaging.send, message, dry_run, app))


async def test_send(emulator: Emulator, app: firebase_admin.App) -> None:
    (token,) = fcm_tokens(1)
    full = message(
        token,
        data={"order_id": "1234"},
        android=messaging.AndroidConfig(
            priority="high",
            ttl=3600,
            collapse_key="order",
            notification=messaging.AndroidNotification(channel_id="orders", sound="default", priority="high"),
        ),
        apns=messaging.APNSConfig(
            headers={"apns-priority": "10"}, payload=messaging.APNSPayload(messaging.Aps(badge=3))
        ),
        fcm_options=messaging.FCMOptions(analytics_label="orders"),
    )
    name = await send(app, full)
    (entry,) = emulator.journal.entries("fcm")
    assert (entry.token, entry.message_id) == (token, name)


async def test_a_dry_run_is_checked_and_not_sent(emulator: Emulator, app: firebase_admin.App) -> None:
    live, dead = fcm_tokens(2)
    emulator.set_tokens("fcm", [dead], state="unregistered")
    assert await send(app, message(live), dry_run=True)
    with pytest.raises(messaging.UnregisteredError):
        await send(app, message(dead), dry_run=True)
    assert emulator.journal.counts("fcm").accepted == 0


async def test_each_error_becomes_the_exception_google_made_for_it(emulator: Emulator, app: firebase_admin.App) -> None:
    dead, foreign, busy, apple, gone = fcm_tokens(5)
    emulator.set_tokens("fcm", [dead], state="unregistered")
    emulator.set_tokens("fcm", [foreign], app="another-project")
    # Without Retry-After, for which the SDK would wait a minute.
    emulator.add_fault(provider="fcm", action="status", status=429, reason="QUOTA_EXCEEDED", token=busy)
    emulator.add_fault(provider="fcm", action="status", status=401, reason="THIRD_PARTY_AUTH_ERROR", token=apple)
    emulator.add_fault(provider="fcm", action="status", status=404, token=gone)
    for token, error in (
        (dead, messaging.UnregisteredError),
        (foreign, messaging.SenderIdMismatchError),
        (busy, messaging.QuotaExceededError),
        (apple, messaging.ThirdPartyAuthError),
        ("malformed", exceptions.InvalidArgumentError),
        (gone, exceptions.NotFoundError),
    ):
        with pytest.raises(error) as raised:
            await send(app, message(token))
        assert type(raised.value) is error
    with pytest.raises(exceptions.InvalidArgumentError, match=r"Invalid data payload key: google\.x"):
        await send(app, message(fcm_tokens(1)[0], data={"google.x": "1"}))


async def test_send_each_over_http1(emulator: Emulator, app: firebase_admin.App) -> None:
    dead, *live = tokens = fcm_tokens(20)
    emulator.set_tokens("fcm", [dead], state="unregistered")
    batch = await asyncio.to_thread(messaging.send_each, [message(token) for token in tokens], False, app)
    assert (batch.success_count, batch.failure_count) == (19, 1)
    assert isinstance(batch.responses[0].exception, messaging.UnregisteredError)
    assert emulator.journal.accepted_by_token("fcm") == dict.fromkeys(live, 1)


async def test_send_each_over_http2(
    emulator: Emulator, app: firebase_admin.App, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, *live = tokens = fcm_tokens(50)
    emulator.set_tokens("fcm", [dead], state="unregistered")
    versions: set[str] = set()
    handle = httpx.AsyncHTTPTransport.handle_async_request

    async def noted(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        response = await handle(self, request)
        versions.add(response.http_version)
        return response

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", noted)
    # The SDK fetches its access token with a blocking call, so it needs a loop of its own beside the emulator's.
    batch = await asyncio.to_thread(asyncio.run, each_async(app, tokens))
    assert (batch.success_count, batch.failure_count) == (49, 1)
    assert isinstance(batch.responses[0].exception, messaging.UnregisteredError)
    assert emulator.journal.accepted_by_token("fcm") == dict.fromkeys(live, 1)
    assert versions == {"HTTP/2"}


async def each_async(app: firebase_admin.App, tokens: list[str]) -> messaging.BatchResponse:
    batch = await messaging.send_each_async([message(token) for token in tokens], False, app)
    await messaging._get_messaging_service(app)._async_client.aclose()
    return batch


async def test_a_short_outage_is_ridden_out(emulator: Emulator, app: firebase_admin.App) -> None:
    (token,) = fcm_tokens(1)
    number = emulator.add_fault(provider="fcm", action="status", status=503, reason="UNAVAILABLE", count=1)
    assert await send(app, message(token))
    assert emulator.faults.fired(number) == 1


async def test_retry_after_is_understood(emulator: Emulator, app: firebase_admin.App) -> None:
    (token,) = fcm_tokens(1)
    emulator.set_tokens("fcm", [token], state="throttled", until_ms=emulator.clock.now_us() // 1000 + 900)
    assert await send(app, message(token))
    assert emulator.journal.answers["fcm", 429] == 1


async def test_a_revoked_access_token_is_renewed(emulator: Emulator, app: firebase_admin.App) -> None:
    first, second = fcm_tokens(2)
    await send(app, message(first))
    emulator.fcm.revoke_access_tokens()
    await send(app, message(second))
    assert emulator.journal.counts("fcm").accepted == 2
    assert emulator.journal.answers["oauth", 200] == 2


async def test_a_message_to_a_topic(emulator: Emulator, app: firebase_admin.App) -> None:
    await send(app, Message(topic="news", data={"a": "b"}))
    await send(app, Message(condition="'a' in topics && ('b' in topics || 'c' in topics)", data={"a": "b"}))
    tokens = [entry.token for entry in emulator.journal.entries("fcm")]
    assert tokens == ["/topics/news", "/topics/'a' in topics && ('b' in topics || 'c' in topics)"]


@pytest.mark.filterwarnings("ignore:.*_legacy is deprecated:DeprecationWarning")
@pytest.mark.parametrize("way", ["", "_legacy"])
async def test_topics_are_joined_and_left(emulator: Emulator, app: firebase_admin.App, way: str) -> None:
    """Both ways: a call for each token, which is the newer, and the batches of the Instance ID service."""
    registrations = f"{emulator.fcm_endpoint}/v1/projects/{app.project_id}/registrations"
    messaging._get_messaging_service(app)._fcm_topic_url = registrations
    dead, *live = tokens = fcm_tokens(3)
    emulator.set_tokens("fcm", [dead], state="unregistered")
    subscribe, unsubscribe = (
        getattr(messaging, name + way) for name in ("subscribe_to_topic", "unsubscribe_from_topic")
    )
    told = await asyncio.to_thread(subscribe, tokens, "news", app)
    assert (told.success_count, [error.index for error in told.errors]) == (2, [0])
    await send(app, Message(topic="news", data={"a": "b"}))
    told = await asyncio.to_thread(unsubscribe, live[:1], "/topics/news", app)
    assert told.failure_count == 0
    await send(app, Message(condition="'news' in topics", data={"a": "b"}))
    assert [sorted(entry.reached) for entry in emulator.journal.entries("fcm")] == [sorted(live), live[1:]]
