"""Foreign senders, npm's web-push and PyPI's pywebpush, take the emulator for browsers' push services; and what our
provider sends is read in both languages by code that was not written here, with keys of its own making."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from typing import Any

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pywebpush import WebPushException, webpush

from pushrpc.accounts import WebPushAccount
from pushrpc.content import Content, WebPushOptions
from pushrpc.emulator import Emulator, Subscription, issue_vapid_key
from pushrpc.model import Address, Batch, Claimed, Lane, Notification
from pushrpc.providers.webpush import WebPush
from pushrpc.words import Environment, Priority, Provider
from tests.foreign import npm_program

SOURCE = Path(__file__).parent / "node_webpush"
SUBJECT = "mailto:push@shop.example"
TEXT = json.dumps({"title": "Order shipped", "body": "Größe ✓"}, ensure_ascii=False)
ENDPOINT = "https://updates.push.services.mozilla.com/wpush/v2/a"
PERSONALITIES = ["mozilla", "apple", "fcm"]
# What each service says of a sender whose key is not the one that the browser subscribed for.
OTHER_KEY = {"mozilla": (401, "public key mismatch"), "apple": (400, "VapidPkHashMismatch"), "fcm": (403, "correspond")}
GONE = {"mozilla": (410, "106"), "apple": (410, "Unregistered"), "fcm": (410, "unsubscribed")}


def as_browsers_say(one: Subscription) -> dict[str, Any]:
    return {"endpoint": one.endpoint, "keys": {"p256dh": one.p256dh, "auth": one.auth}}


# --- npm: web-push -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return npm_program.install(SOURCE, tmp_path_factory.mktemp("npm"))


class Node:
    def __init__(self, program: Path, emulator: Emulator) -> None:
        self._program, self._emulator = program, emulator

    async def ask(self, *orders: dict[str, Any]) -> list[dict[str, Any]]:
        lines = "\n".join(json.dumps(order) for order in orders)
        return await npm_program.run(self._program, lines, self._emulator.ca_file)


@pytest.fixture
def node(program: Path, emulator: Emulator) -> Node:
    return Node(program, emulator)


def order(one: Subscription, vapid: dict[str, str], **options: Any) -> dict[str, Any]:
    return {"send": [as_browsers_say(one), TEXT, {"vapidDetails": {"subject": SUBJECT, **vapid}, "TTL": 60, **options}]}


async def test_web_push_is_believed_by_every_service(emulator: Emulator, node: Node) -> None:
    (vapid,) = await node.ask({"vapid": {}})
    browsers = [emulator.subscribe(vapid["publicKey"], each) for each in PERSONALITIES]
    results = await node.ask(*(order(one, vapid, urgency="low", topic="scores") for one in browsers))
    assert [result["status"] for result in results] == [201, 201, 201]
    entries = {entry.token: entry for entry in emulator.journal.entries("web_push")}
    for one, result in zip(browsers, results, strict=True):
        entry = entries[one.endpoint]
        assert (entry.payload.decode(), entry.message_id) == (TEXT, result["headers"]["location"])
        (message,) = emulator.web_push.collect(one.endpoint, emulator.clock.now_us())
        assert (message.plaintext.decode(), message.urgency, message.topic) == (TEXT, "low", "scores")


async def test_web_push_hears_each_refusal(emulator: Emulator, node: Node) -> None:
    vapid, other = await node.ask({"vapid": {}}, {"vapid": {}})
    for each in PERSONALITIES:
        one, dead, busy = (emulator.subscribe(vapid["publicKey"], each) for _ in range(3))
        emulator.set_tokens("web_push", [dead.endpoint], state="unregistered")
        emulator.set_tokens("web_push", [busy.endpoint], state="throttled")
        mismatch, gone, later = await node.ask(order(one, other), order(dead, vapid), order(busy, vapid))
        for result, (status, said) in ((mismatch, OTHER_KEY[each]), (gone, GONE[each])):
            assert result["status"] == status
            assert said in result["body"]
        assert (later["status"], later["headers"]["retry-after"]) == (429, "60")
    assert emulator.journal.counts("web_push").accepted == 0


async def test_keys_that_web_push_made_serve_our_provider(node: Node, tmp_path: Path) -> None:
    (vapid,) = await node.ask({"vapid": {}})
    file = tmp_path / "vapid.key"
    file.write_text(vapid["privateKey"] + "\n")
    assert WebPush(WebPushAccount("shop", str(file), SUBJECT)).provider_app_id == vapid["publicKey"]


# --- PyPI: pywebpush ---------------------------------------------------------------------------------------------


@pytest.fixture
def trusted(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(emulator.ca_file))


async def python_send(one: Subscription, key_file: Path, **options: Any) -> Any:
    given = {"ttl": 60, "timeout": 10.0} | options
    claims: dict[str, str | int] = {"sub": SUBJECT}
    return await asyncio.to_thread(webpush, as_browsers_say(one), TEXT, str(key_file), claims, **given)


@pytest.mark.usefixtures("trusted")
async def test_pywebpush_is_believed_by_every_service(emulator: Emulator, tmp_path: Path) -> None:
    public_key, file = issue_vapid_key(tmp_path)
    for each in PERSONALITIES:
        one = emulator.subscribe(public_key, each)
        response = await python_send(one, file, headers={"urgency": "high", "topic": "scores"})
        (entry,) = emulator.journal.entries("web_push", one.endpoint)
        assert (entry.payload.decode(), entry.message_id) == (TEXT, response.headers["location"])
        (message,) = emulator.web_push.collect(one.endpoint, emulator.clock.now_us())
        assert (message.urgency, message.topic) == ("high", "scores")


@pytest.mark.usefixtures("trusted")
async def test_pywebpush_hears_each_refusal(emulator: Emulator, tmp_path: Path) -> None:
    public_key, file = issue_vapid_key(tmp_path)
    _, other = issue_vapid_key(tmp_path)
    for each in PERSONALITIES:
        one, dead = (emulator.subscribe(public_key, each) for _ in range(2))
        emulator.set_tokens("web_push", [dead.endpoint], state="unregistered")
        for to, key_file, (status, said) in ((one, other, OTHER_KEY[each]), (dead, file, GONE[each])):
            with pytest.raises(WebPushException) as refused:
                await python_send(to, key_file)
            assert refused.value.response.status_code == status
            assert said in refused.value.response.text


# --- what our provider sends -------------------------------------------------------------------------------------


def ours(key_file: Path, p256dh: str, auth: str) -> tuple[str, bytes]:
    """The JSON that our provider means, and the body that it sends."""
    content = Content(
        title="Order shipped",
        body="Größe ✓ " + "x" * 3000,
        data={"order_id": "1234"},
        web_push=WebPushOptions(actions_json='[{"action": "track", "title": "Track it"}]'),
    )
    of = Notification(
        1, "shop", "0193f2a4-5b6c-7d8e-9fa0-b1c2d3e4f506", "", content, Priority.HIGH, "", False, False, 0, 1, {}
    )
    push = WebPush(WebPushAccount("shop", str(key_file), SUBJECT))
    address = Address(p256dh, auth)
    assert push.token_problem(ENDPOINT) is push.address_problem(ENDPOINT, address) is None
    lane = Lane("shop", Provider.WEB_PUSH, push.provider_app_id, Environment.UNSPECIFIED, push.origin(ENDPOINT))
    claimed = Claimed(1, of, lane, 0, ENDPOINT, "", "", 0, 0, address=address.text)
    (row,) = push.prepare(Batch(lane, [claimed]), None, 0).rows
    return push.preview(of, address, 0).payload, row.body or b""


async def test_node_reads_what_we_send(node: Node, tmp_path: Path) -> None:
    _, file = issue_vapid_key(tmp_path)
    (browser,) = await node.ask({"browser": {}})
    meant, body = ours(file, browser["p256dh"], browser["auth"])
    (read,) = await node.ask({"read": {**browser, "body": b64encode(body).decode()}})
    assert read["text"] == meant


def test_python_reads_what_we_send(tmp_path: Path) -> None:
    _, file = issue_vapid_key(tmp_path)
    private, auth = ec.generate_private_key(ec.SECP256R1()), bytes(range(16))
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    meant, body = ours(file, urlsafe_b64encode(point).decode(), urlsafe_b64encode(auth).decode())
    assert http_ece.decrypt(body, private_key=private, auth_secret=auth, version="aes128gcm").decode() == meant
