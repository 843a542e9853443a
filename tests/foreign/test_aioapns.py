"""aioapns, a Python client nobody here wrote, takes the emulator for Apple."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest
from aioapns import APNs, NotificationRequest, PushType
from aioapns.common import NotificationResult
from aioapns.connection import APNsTLSClientProtocol
from aioapns.exceptions import MaxAttemptsExceeded

from pushrpc.emulator import Credentials, Emulator, apns_tokens

DEADLINE_S = 20.0
DIED_MS = 1_700_000_000_123


def client(emulator: Emulator, files: Credentials, *, certificate: bool = False, sandbox: bool = False) -> APNs:
    context = ssl.create_default_context(cafile=str(emulator.ca_file))
    context.set_alpn_protocols(["h2"])
    url = urlsplit(emulator.apns_sandbox_endpoint if sandbox else emulator.apns_endpoint)

    class Emulated(APNsTLSClientProtocol):
        APNS_SERVER = url.hostname or ""
        APNS_PORT = url.port or 0

    async def expected(request: object, result: object) -> None:
        """Refusals are what these tests look at; aioapns would log each as an error."""

    apns = APNs(
        client_cert=str(files.apns_certificate_file) if certificate else None,
        key=None if certificate else files.apns_key_file.read_text(),
        key_id=files.key_id,
        team_id=files.team_id,
        topic=files.bundle_id,
        ssl_context=context,
        max_connections=1,
        max_connection_attempts=3,
        err_func=expected,
    )
    apns.pool.protocol_class = Emulated
    return apns


async def send(apns: APNs, tokens: Sequence[str], **options: Any) -> list[NotificationResult]:
    message = {"aps": {"alert": "Your order is on its way"}}
    requests = [NotificationRequest(token, message, push_type=PushType.ALERT, **options) for token in tokens]
    async with asyncio.timeout(DEADLINE_S):
        # One request alone first: it is what raises the connection from one stream to a thousand.
        first = await apns.send_notification(requests[0])
        return [first, *await asyncio.gather(*map(apns.send_notification, requests[1:]))]


@pytest.mark.parametrize("certificate", [False, True], ids=["token", "certificate"])
@pytest.mark.parametrize("sandbox", [False, True], ids=["production", "sandbox"])
async def test_answers_of_all_kinds(emulator: Emulator, files: Credentials, certificate: bool, sandbox: bool) -> None:
    live, dead, elsewhere, other_app = apns_tokens(4)
    emulator.set_tokens("apns", [dead], state="unregistered", since_ms=DIED_MS)
    emulator.set_tokens("apns", [elsewhere], environment="production" if sandbox else "sandbox")
    emulator.set_tokens("apns", [other_app], app="com.example.other")
    apns = client(emulator, files, certificate=certificate, sandbox=sandbox)
    results = await send(apns, [live, dead, elsewhere, other_app, "xyz"])
    apns.pool.close()
    assert [(r.status, r.description or "", r.timestamp) for r in results] == [
        ("200", "", None),
        ("410", "Unregistered", DIED_MS),
        ("400", "BadDeviceToken", None),
        ("400", "DeviceTokenNotForTopic", None),
        ("400", "BadDeviceToken", None),
    ]
    (entry,) = emulator.journal.entries("apns")
    assert (entry.token, entry.environment) == (live, "sandbox" if sandbox else "production")
    assert entry.message_id == results[0].notification_id


async def test_a_thousand_tokens_are_each_sent_once(emulator: Emulator, files: Credentials) -> None:
    tokens = apns_tokens(1000)
    apns = client(emulator, files)
    results = await send(apns, tokens, time_to_live=60, priority=10, collapse_key="order-1")
    apns.pool.close()
    assert {r.status for r in results} == {"200"}
    assert emulator.journal.accepted_by_token("apns") == dict.fromkeys(tokens, 1)
    assert emulator.journal.counts("apns").distinct == 1000


async def test_faults_reach_the_client(emulator: Emulator, files: Credentials) -> None:
    busy, broken, _ = tokens = apns_tokens(3)
    emulator.add_fault(provider="apns", action="status", status=503, reason="ServiceUnavailable", token=busy)
    emulator.add_fault(provider="apns", action="delay", delay_s=0.05, token=broken)
    apns = client(emulator, files)
    results = await send(apns, tokens)
    apns.pool.close()
    assert [(r.status, r.description) for r in results[:1]] == [("503", "ServiceUnavailable")]
    assert {r.status for r in results[1:]} == {"200"}


async def test_a_closed_connection_is_tried_again_with_the_same_id(emulator: Emulator, files: Credentials) -> None:
    (token,) = apns_tokens(1)
    emulator.add_fault(provider="apns", action="close", count=1, taken=True)
    apns = client(emulator, files)
    (result,) = await send(apns, [token])
    apns.pool.close()
    assert result.status == "200"
    # Apple had taken the first one too: the journal shows the duplicate and that its id was the same.
    counts = emulator.journal.counts("apns")
    assert (counts.accepted, counts.distinct) == (2, 1)


async def test_a_connection_that_never_lives_is_given_up(emulator: Emulator, files: Credentials) -> None:
    emulator.add_fault(provider="apns", action="close")
    apns = client(emulator, files)
    with pytest.raises(MaxAttemptsExceeded):
        await send(apns, apns_tokens(1))
    assert emulator.journal.counts("apns").accepted == 0
