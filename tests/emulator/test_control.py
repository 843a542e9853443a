"""The control API: everything a test in another process needs, over plain HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pushrpc.emulator import SERVICES, Credentials, Emulator, issue_vapid_key
from tests.emulator.client import DEADLINE_S, connect
from tests.emulator.conftest import PAYLOAD


class Control:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def __call__(self, method: str, path: str, body: object = None, *, status: int = 200) -> dict[str, Any]:
        # As curl sends it: JSON that is called a form.
        data = None if body is None else json.dumps(body)
        headers = {"content-type": "application/x-www-form-urlencoded"}
        async with self._session.request(method, path, data=data, headers=headers) as response:
            text = await response.text()
            assert response.status == status, text
            value: dict[str, Any] = json.loads(text)
            return value


@pytest.fixture
async def control(emulator: Emulator) -> AsyncIterator[Control]:
    timeout = aiohttp.ClientTimeout(DEADLINE_S)
    async with aiohttp.ClientSession(emulator.control_url, timeout=timeout) as session:
        yield Control(session)


async def send(emulator: Emulator, headers: dict[str, str], token: str) -> int:
    async with connect(emulator.apns_endpoint, emulator.ca_file) as client:
        return (await client.request(f"/3/device/{token}", headers, PAYLOAD)).status


async def test_it_says_where_everything_listens(emulator: Emulator, control: Control) -> None:
    about = await control("GET", "/")
    assert about.pop("now_us") > 0
    calls = about.pop("calls")
    assert {"GET /", "POST /faults", "DELETE /faults", "DELETE /faults/{number}"} < set(calls)
    assert len(calls) == len(set(calls))
    assert about == {
        "apns": emulator.apns_endpoint,
        "apns_sandbox": emulator.apns_sandbox_endpoint,
        "fcm": emulator.fcm_endpoint,
        "wns": emulator.endpoints["wns"],
        "hms": emulator.endpoints["hms"],
        "notification_hubs": emulator.endpoints["notification_hubs"],
        "web_push": emulator.endpoints["web_push"],
        "token_url": f"{emulator.fcm_endpoint}/token",
        "ca_file": str(emulator.ca_file),
    }


async def test_a_whole_story(emulator: Emulator, files: Credentials, headers: dict[str, str], control: Control) -> None:
    made = (await control("POST", "/tokens", {"provider": "apns", "make": 3}))["tokens"]
    live, dead, unlucky = made
    await control("POST", "/tokens", {"provider": "apns", "tokens": [dead], "state": "unregistered", "since_ms": 17e11})
    fault = {"provider": "apns", "action": "status", "status": 503, "reason": "ServiceUnavailable", "token": unlucky}
    number = (await control("POST", "/faults", fault))["number"]
    assert [await send(emulator, headers, token) for token in made] == [200, 410, 503]

    counts = await control("GET", "/counts")
    assert counts["apns"] == {"accepted": 1, "distinct": 1, "tokens": 1, "exact": True}
    assert counts["answers"]["apns"] == {"200": 1, "410": 1, "503": 1}
    (message,) = (await control("GET", f"/journal?provider=apns&token={live}"))["messages"]
    assert (message["token"], message["payload"]) == (live, json.loads(PAYLOAD))
    assert "authorization" not in message["headers"]
    assert (await control("GET", "/journal?provider=fcm"))["messages"] == []
    assert (await control("GET", "/faults"))["faults"] == [{"number": number, **fault, "fired": 1}]

    assert (await control("DELETE", f"/faults/{number}"))["removed"]
    assert await send(emulator, headers, unlucky) == 200
    await control("POST", "/clock", {"advance_s": 3601})
    assert await send(emulator, headers, live) == 403
    await control("POST", "/reset")
    assert await send(emulator, headers, dead) == 200
    assert (await control("GET", "/counts"))["apns"]["accepted"] == 1


async def test_the_newest_messages_are_given_oldest_first(
    emulator: Emulator, headers: dict[str, str], control: Control
) -> None:
    tokens = (await control("POST", "/tokens", {"provider": "apns", "make": 4}))["tokens"]
    for token in tokens:
        await send(emulator, headers, token)
    messages = (await control("GET", "/journal?limit=2"))["messages"]
    assert [message["token"] for message in messages] == tokens[2:]


async def test_tokens_are_made_different_each_time(control: Control) -> None:
    first = (await control("POST", "/tokens", {"provider": "fcm", "make": 5, "app": "shop-example"}))["tokens"]
    second = (await control("POST", "/tokens", {"provider": "fcm", "make": 5}))["tokens"]
    assert len({*first, *second}) == 10
    listed = await control("GET", "/tokens?provider=fcm")
    assert listed["count"] == 10
    assert {row["token"] for row in listed["tokens"]} == {*first, *second}
    assert {row["app"] for row in listed["tokens"]} == {"shop-example", ""}


async def test_a_browser_subscribes_and_moves(emulator: Emulator, control: Control) -> None:
    key, _ = issue_vapid_key(emulator.ca_file.parent)
    (old,) = (await control("POST", "/subscriptions", {"vapid_public_key": key}))["subscriptions"]
    (new,) = (await control("POST", "/subscriptions", {"move": old["endpoint"]}))["subscriptions"]
    assert new["keys"] == old["keys"] and new["endpoint"] != old["endpoint"]
    (row,) = (await control("GET", "/tokens?provider=web_push"))["tokens"]
    assert (row["token"], row["state"], row["moved_to"]) == (old["endpoint"], "moved", new["endpoint"])


async def test_unknown_tokens_and_quotas(emulator: Emulator, headers: dict[str, str], control: Control) -> None:
    await control("POST", "/unknown", {"provider": "apns", "state": "unregistered"})
    assert await send(emulator, headers, "aa" * 32) == 410
    await control("POST", "/unknown", {"provider": "apns"})
    limits = await control("POST", "/quotas", {"apns_token": 1})
    assert limits == {"fcm_project": 600_000, "fcm_device": 240, "hms_app": 0, "hub": 0, "apns_token": 1}
    assert [await send(emulator, headers, "aa" * 32) for _ in range(2)] == [200, 429]


async def test_keys_made_elsewhere(emulator: Emulator, control: Control) -> None:
    def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
        public = serialization.PublicFormat.SubjectPublicKeyInfo
        return key.public_key().public_bytes(serialization.Encoding.PEM, public).decode()

    await control("POST", "/apps", {"bundle_id": "com.example.shop", "team_id": "TEAM123456"})
    await control("POST", "/apps", {"project_id": "another-project"})
    signing = pem(ec.generate_private_key(ec.SECP256R1()))
    key = {"key_id": "ABC1234567", "team_id": "TEAM123456", "topics": ["com.example.shop"]}
    await control("POST", "/keys", key | {"public_key": signing, "environments": ["sandbox"]})
    account = {"client_email": "a@b", "key_id": "1f", "project_id": "shop-example"}
    public_key = pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    await control("POST", "/keys", account | {"public_key": public_key})
    await control("POST", "/apps", {"hms_app_id": "101234567", "client_secret": "s"})
    await control("POST", "/apps", {"hub": "shop-hub", "key_name": "Send", "key": "k", "rights": ["Send"]})
    assert await control("GET", "/apps") == {
        "apns": {"apps": {"com.example.shop": "TEAM123456"}, "keys": [key | {"environments": ["sandbox"]}]},
        "fcm": {"projects": ["another-project", "shop-example"], "service_accounts": [account]},
        "hms": {"apps": ["101234567"]},
        "notification_hubs": {"hubs": ["shop-hub"]},
    }
    await control("POST", "/apps", {"hub": "shop-hub", "free": True})
    assert (await control("GET", "/apps"))["notification_hubs"] == {"hubs": ["shop-hub"]}
    assert (await control("DELETE", "/keys/ABC1234567"))["revoked"]
    assert (await control("GET", "/apps"))["apns"]["keys"] == []


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/faults", {"provider": "apns", "action": "explode"}, "explode"),
        ("/faults", {"provider": "apns", "action": "silence", "when": "now"}, "when"),
        ("/faults", ["not", "an", "object"], "object"),
        ("/tokens", {"tokens": []}, "provider"),
        ("/tokens", {"provider": "mpns", "tokens": ["a"]}, "mpns"),
        ("/tokens", {"provider": "apns", "tokens": ["a"], "state": "asleep"}, "asleep"),
        ("/tokens", {"provider": "apns", "tokens": ["a"], "mood": "good"}, "mood"),
        ("/tokens", {"provider": "apns", "make": 1_000_000}, "100000"),
        ("/keys", {"key_id": "A", "public_key": "nonsense"}, ""),
        ("/apps", {"bundle_id": "com.example"}, "team_id"),
        ("/clock", {}, "advance_s"),
        ("/quotas", {"apns": 5}, "apns"),
        ("/unknown", {"provider": "apns", "state": "asleep"}, "asleep"),
        ("/subscriptions", {"move": "https://127.0.0.1/wpush/v2/none"}, "none of its"),
    ],
)
async def test_a_mistake_is_told(control: Control, path: str, body: object, word: str) -> None:
    assert word in (await control("POST", path, body, status=400))["error"]


async def test_everything_that_has_a_port_may_be_given_one_and_nothing_else(emulator: Emulator, tmp_path: Path) -> None:
    assert tuple(emulator.services) == SERVICES
    with pytest.raises(ValueError, match=f"foo is not one of {', '.join(SERVICES)}"):
        async with Emulator.start(tmp_path, ports={"foo": 1}):
            pass
