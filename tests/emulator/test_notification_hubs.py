"""Azure's checks, without sockets: signatures, sends of every kind, installations, tag expressions and telemetry."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus
from xml.etree.ElementTree import Element, fromstring

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.emulator import Emulator
from pushrpc.emulator.credentials import issue_hub
from pushrpc.emulator.notification_hubs import NotificationHubs
from pushrpc.emulator.notification_hubs_tags import TagExpression
from pushrpc.emulator.service import Call, Entry
from pushrpc.emulator.tokens import Token, TokenBook, TokenState
from pushrpc.exchange import Response

NOW_S = 1_800_000_000
KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
HOST = "127.0.0.1:8443"
JSON = "application/json;charset=utf-8"
APPLE = {"ServiceBusNotification-Format": "apple", "Content-Type": JSON}
PAYLOAD = b'{"aps":{"alert":"Order shipped"}}'


def signature(sr: str, se: int, key: str = KEY, name: str = "Full") -> str:
    """As "Service Bus access control with Shared Access Signatures" describes it, `sr` already encoded."""
    digest = hmac.new(key.encode(), f"{sr}\n{se}".encode(), hashlib.sha256).digest()
    return f"SharedAccessSignature sr={sr}&sig={quote_plus(b64encode(digest))}&se={se}&skn={name}"


class World:
    """One hub with a policy of every right and one for each right alone."""

    def __init__(self) -> None:
        self.tokens = TokenBook()
        self.behind = {name: TokenBook() for name in ("apns", "fcm", "wns", "web_push")}
        self.passed_on: list[Entry] = []
        self.hubs = NotificationHubs(self.tokens, seed=5, behind=self.behind, accept=self.passed_on.append)
        self.hubs.put_rule("shop-hub", "Full", KEY)
        for right in ("Send", "Listen", "Manage"):
            self.hubs.put_rule("shop-hub", right, KEY, [right])
        self.now_s = float(NOW_S)
        self.accepted: list[Entry] = []

    def call(
        self,
        method: str,
        below: str,
        headers: Mapping[str, str] = {},
        body: bytes = b"",
        authorization: str | None = None,
        version: str = "api-version=2020-06",
    ) -> Response:
        if authorization is None:
            authorization = signature(quote(f"https://{HOST}/shop-hub", safe=""), NOW_S + 3600)
        path = f"/shop-hub/{below}{'&' if '?' in below else '?'}{version}"
        told = {"Host": HOST, "Authorization": authorization, **headers}
        lines = [(name.lower().encode(), value.encode()) for name, value in told.items()]
        verdict = self.hubs.connect(None).answer(Call(method.encode(), path.encode(), lines, body), self.now_us)
        self.accepted += verdict.taken
        return verdict.response

    @property
    def now_us(self) -> int:
        return int(self.now_s * 1e6)

    def send(self, handle: str = "ab", headers: Mapping[str, str] = {}, body: bytes = PAYLOAD, **more: Any) -> Response:
        told = {**APPLE, "ServiceBusNotification-DeviceHandle": handle, **headers}
        return self.call("POST", "messages/?direct", told, body, **more)

    def to_tags(
        self, tags: str, headers: Mapping[str, str] = APPLE, body: bytes = PAYLOAD, query: str = ""
    ) -> Response:
        return self.call("POST", f"messages/{query}", {**headers, "ServiceBusNotification-Tags": tags}, body)

    def install(self, installation_id: str, **more: Any) -> Response:
        usual = {"installationId": installation_id, "platform": "apns", "pushChannel": f"token-{installation_id}"}
        return self.call("PUT", f"installations/{installation_id}", {}, json.dumps(usual | more).encode())

    def telemetry(self, sent: Response, after_s: float = 2.0) -> tuple[str, dict[str, dict[str, int]]]:
        """The state, and the counts by platform."""
        self.now_s += after_s
        response = self.call("GET", f"messages/{message_id(sent)}")
        assert response.status == 200, response.body
        root = fromstring(response.body)
        assert name(root) == "NotificationDetails" and text(root, "NotificationId") == message_id(sent)
        counts = {
            name(platform).removesuffix("OutcomeCounts"): {text(o, "Name"): int(text(o, "Count")) for o in platform}
            for platform in root
            if name(platform).endswith("OutcomeCounts")
        }
        return text(root, "State"), counts


@pytest.fixture
def world() -> World:
    return World()


def name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def text(element: Element, child: str) -> str:
    return next((each.text or "" for each in element if name(each) == child), "")


def message_id(sent: Response) -> str:
    assert sent.status == 201, sent.body
    return sent.header(b"location").decode().partition("/messages/")[2].partition("?")[0]


def error(response: Response) -> tuple[int, str]:
    root = fromstring(response.body)
    assert (name(root), text(root, "Code")) == ("Error", str(response.status))
    assert "TrackingId:" in text(root, "Detail")
    return response.status, text(root, "Detail")


# --- signatures --------------------------------------------------------------------------------------------------

HUB = f"https://{HOST}/shop-hub"


@pytest.mark.parametrize(
    "sr",
    [
        quote(HUB, safe=""),
        quote(HUB, safe="").lower(),  # as .NET encodes
        quote(f"https://{HOST}/", safe=""),  # the whole namespace, as Microsoft's JavaScript client signs
        quote(f"{HUB}/messages", safe=""),
        HUB,
    ],
)
def test_a_signature_is_checked_over_what_was_received(world: World, sr: str) -> None:
    assert world.send(authorization=signature(sr, NOW_S + 60)).status == 201


@pytest.mark.parametrize(
    ("authorization", "told"),
    [
        ("", "MissingToken"),
        ("Bearer x", "MissingToken"),
        (signature(quote(HUB, safe=""), NOW_S + 60, name="Unknown"), "MissingToken"),
        (signature(quote(HUB, safe=""), NOW_S + 60, key="other"), "InvalidSignature"),
        (signature(quote(HUB, safe=""), NOW_S + 60).replace("se=", "se=1"), "InvalidSignature"),
        (signature(quote(HUB, safe=""), NOW_S + 60).replace("sr=https%3A", "sr=https%3a"), "InvalidSignature"),
        (signature(quote(HUB, safe=""), NOW_S), "ExpiredToken"),
        (signature(quote(f"https://{HOST}/other", safe=""), NOW_S + 60), "InvalidAudience"),
        (signature(quote(f"https://{HOST}/shop", safe=""), NOW_S + 60), "InvalidAudience"),
        (signature(quote("https://elsewhere/shop-hub", safe=""), NOW_S + 60), "InvalidAudience"),
        ("SharedAccessSignature sr=%ff&sig=%ff&se=\xff&skn=Full", "InvalidSignature"),
    ],
)
def test_what_is_no_good_signature(world: World, authorization: str, told: str) -> None:
    status, detail = error(world.send(authorization=authorization))
    assert (status, told in detail) == (401, True), detail
    assert world.accepted == []


def test_a_namespaces_own_name_will_do_where_it_is_known(world: World) -> None:
    signed = signature(quote("https://shop-ns.servicebus.windows.net/shop-hub", safe=""), NOW_S + 60)
    assert world.send(authorization=signed).status == 401
    world.hubs.put_hub("shop-hub", host="shop-ns.servicebus.windows.net")
    assert world.send(authorization=signed).status == 201


@pytest.mark.parametrize(
    ("right", "sends", "installs"), [("Send", 201, 403), ("Listen", 403, 200), ("Manage", 201, 200)]
)
def test_rights(world: World, right: str, sends: int, installs: int) -> None:
    signed = signature(quote(HUB, safe=""), NOW_S + 60, name=right)
    response = world.send(authorization=signed)
    assert response.status == sends and response.header(b"retry-after") == b""
    body = json.dumps({"installationId": "i", "platform": "apns", "pushChannel": "t"}).encode()
    assert world.call("PUT", "installations/i", {}, body, authorization=signed).status == installs


def test_rights_are_azures(world: World) -> None:
    with pytest.raises(ValueError, match="rights are of Send, Listen, Manage"):
        world.hubs.put_rule("shop-hub", "x", "k", ["Everything"])


def test_a_hub_that_does_not_exist(world: World) -> None:
    call = Call(b"POST", b"/other/messages/?api-version=2020-06", [], b"")
    assert error(world.hubs.answer(call, 0).response)[0] == 404
    assert error(world.call("POST", "nothing/here"))[0] == 404
    assert error(world.call("POST", "messages/?direct", version=""))[0] == 400


# --- direct sends ------------------------------------------------------------------------------------------------


def test_a_direct_send(world: World) -> None:
    sent = world.send("ab" * 32)
    assert sent.header(b"location").startswith(f"https://{HOST}/shop-hub/messages/".encode())
    assert sent.header(b"trackingid") and sent.body == b""
    (entry,) = world.accepted
    assert (entry.provider, entry.environment, entry.token) == ("notification_hubs", "apns", "ab" * 32)
    assert (entry.message_id, entry.payload) == (message_id(sent), PAYLOAD)


XML_HEADERS = {"ServiceBusNotification-Format": "windows", "Content-Type": "application/xml", "X-WNS-Type": "wns/toast"}
FCM = {"ServiceBusNotification-Format": "fcmV1"}


@pytest.mark.parametrize(
    ("headers", "body", "platform"),
    [
        (FCM, b'{"message": {"data": {"a": "b"}}}', "fcmv1"),
        ({"ServiceBusNotification-Format": "fcmv1"}, b'{"message": {}}', "fcmv1"),
        (XML_HEADERS, b"<toast/>", "wns"),
        (XML_HEADERS | {"X-WNS-Type": "wns/raw", "Content-Type": "application/octet-stream"}, b"\x00\xff", "wns"),
        ({"ServiceBusNotification-Format": "browser", "P256DH": "k", "Auth": "a"}, b"{}", "browser"),
        ({"ServiceBusNotification-Format": "adm"}, b"{}", "adm"),
        ({"ServiceBusNotification-Format": "baidu"}, b"{}", "baidu"),
        ({"ServiceBusNotification-Format": "xiaomi"}, b"{}", "xiaomi"),
    ],
)
def test_every_platform(world: World, headers: dict[str, str], body: bytes, platform: str) -> None:
    assert world.send(headers=headers, body=body).status == 201
    assert [entry.environment for entry in world.accepted] == [platform]


@pytest.mark.parametrize(
    ("headers", "body", "status", "told"),
    [
        ({"ServiceBusNotification-Format": ""}, b"{}", 400, "format"),
        ({"ServiceBusNotification-Format": "windowsphone"}, b"{}", 400, "format"),
        ({"ServiceBusNotification-Format": "template"}, b"{}", 400, "native format"),
        ({"ServiceBusNotification-DeviceHandle": ""}, b"{}", 400, "DeviceHandle"),
        ({"ServiceBusNotification-Format": "browser"}, b"{}", 400, "P256DH"),
        ({"Content-Type": "text/plain"}, b"{}", 400, "is not application/json"),
        ({}, b"{", 400, "not valid JSON"),
        ({}, b"[" * 100_00, 400, "not valid JSON"),
        ({}, b"[]", 400, "not a JSON object"),
        ({}, b'{"a":"' + b"x" * 65_536 + b'"}', 413, "64 KB"),
        (FCM, b"{}", 400, "without a target"),
        (FCM, b'{"message": {"token": "x"}}', 400, "without a target"),
        ({"ServiceBusNotification-Format": "windows"}, b"<toast/>", 400, "X-WNS-Type"),
        (XML_HEADERS | {"Content-Type": JSON}, b"<toast/>", 400, "does not go with"),
        (XML_HEADERS, b"<toast>", 400, "not valid XML"),
        (XML_HEADERS, b"<!DOCTYPE t [<!ENTITY e 'x'>]><t>&e;</t>", 400, "document type"),
    ],
)
def test_sends_that_are_refused(world: World, headers: dict[str, str], body: bytes, status: int, told: str) -> None:
    got, detail = error(world.send(headers=headers, body=body))
    assert (got, told in detail) == (status, True), detail
    assert world.accepted == []


# --- batches -----------------------------------------------------------------------------------------------------


def batch(handles: object, payload: bytes = PAYLOAD, boundary: str = '"b o"') -> tuple[dict[str, str], bytes]:
    mark = boundary.strip('"')
    lines = [
        *(f"--{mark}", f"Content-type: {JSON}", "Content-Disposition: inline; name=notification", ""),
        payload.decode("latin-1"),
        *(f"--{mark}", "Content-type: application/json", "Content-Disposition: inline; name=devices", ""),
        *(json.dumps(handles), f"--{mark}--"),
    ]
    body = "\r\n".join(lines).encode("latin-1")
    headers = {"ServiceBusNotification-Format": "apple", "Content-Type": f"multipart/mixed; boundary = {boundary}"}
    return headers, body


def test_a_batch_reaches_each_handle_once(world: World) -> None:
    handles = [f"{n:064x}" for n in range(1000)]
    sent = world.call("POST", "messages/$batch?direct", *batch([*handles[:500], *handles[:1], *handles[501:]]))
    assert {entry.message_id for entry in world.accepted} == {message_id(sent)}
    assert [entry.token for entry in world.accepted] == [*handles[:500], *handles[501:]]
    assert {entry.payload for entry in world.accepted} == {PAYLOAD}
    assert world.telemetry(sent) == ("Completed", {"Apns": {"Success": 999}})


def test_a_batch_may_be_encoded_in_the_path(world: World) -> None:
    assert world.call("POST", "messages/%24batch?direct=true", *batch(["a"])).status == 201


@pytest.mark.parametrize(
    ("path", "request_", "told"),
    [
        ("messages/$batch", batch(["a"]), "direct batch"),
        ("messages/$batch?direct", batch([]), "1 to 1000 handles"),
        ("messages/$batch?direct", batch([str(n) for n in range(1001)]), "1 to 1000 handles"),
        ("messages/$batch?direct", batch({"a": 1}), "JSON array of handles"),
        ("messages/$batch?direct", batch(["a", 1]), "JSON array of handles"),
        ("messages/$batch?direct", batch(["a"], b"{"), "not valid JSON"),
        ("messages/$batch?direct", (APPLE, PAYLOAD), "two inline parts"),
        ("messages/$batch?direct", (batch(["a"])[0], b"--b o--"), "two inline parts"),
        ("messages/$batch?direct", (batch(["a"])[0] | FCM, batch(["a"])[1]), "cannot be sent in a direct batch"),
    ],
)
def test_batches_that_are_refused(world: World, path: str, request_: tuple[dict[str, str], bytes], told: str) -> None:
    status, detail = error(world.call("POST", path, *request_))
    assert (status, told in detail) == (400, True), detail
    assert world.accepted == []


def test_the_free_tier_has_neither_batches_nor_telemetry(world: World) -> None:
    world.hubs.put_hub("shop-hub", free=True)
    status, detail = error(world.call("POST", "messages/$batch?direct", *batch(["a"])))
    assert (status, "not available for your tier" in detail) == (403, True)
    sent = world.send()
    assert error(world.call("GET", f"messages/{message_id(sent)}"))[0] == 403


# --- telemetry and feedback --------------------------------------------------------------------------------------


def test_a_send_is_enqueued_then_processed_then_completed(world: World) -> None:
    sent = world.send()
    assert world.telemetry(sent, 0.1) == ("Enqueued", {})
    assert world.telemetry(sent, 0.5) == ("Processing", {})
    assert world.telemetry(sent, 0.5) == ("DetailedStateAvailable", {"Apns": {"Success": 1}})
    assert world.telemetry(sent, 0.5) == ("Completed", {"Apns": {"Success": 1}})


def test_what_is_believed_of_tokens_appears_in_telemetry_and_costs_installations(world: World) -> None:
    beliefs = {
        "live": Token(),
        "dead": Token(TokenState.UNREGISTERED),
        "expired": Token(TokenState.EXPIRED),
        "busy": Token(TokenState.THROTTLED),
        "foreign": Token(app="another-hub"),
    }
    for handle, belief in beliefs.items():
        world.tokens.put([handle], belief)
        assert world.install(f"i-{handle}", pushChannel=handle, tags=["all"]).status == 200
    sent = world.to_tags("all")
    told = {"Success": 1, "BadChannel": 1, "ExpiredChannel": 1, "Throttled": 1, "WrongChannel": 1}
    assert world.telemetry(sent) == ("Completed", {"Apns": told})
    kept = {handle: world.call("GET", f"installations/i-{handle}").status for handle in beliefs}
    assert kept == {"live": 200, "dead": 404, "expired": 404, "busy": 200, "foreign": 200}


@pytest.mark.parametrize(
    ("headers", "body", "service", "platform", "handle"),
    [
        ({}, PAYLOAD, "apns", "Apns", "AB" * 32),
        (FCM, b'{"message": {}}', "fcm", "FcmV1", "f:T"),
        (XML_HEADERS, b"<toast/>", "wns", "Wns", "https://a.notify.windows.com/?token=x"),
        ({"ServiceBusNotification-Format": "browser", "P256DH": "k", "Auth": "a"}, b"{}", "web_push", "Browser", "h:"),
    ],
)
def test_the_push_service_behind_a_hub_judges_its_own_tokens(
    world: World, headers: dict[str, str], body: bytes, service: str, platform: str, handle: str
) -> None:
    known = handle.lower() if service == "apns" else handle
    beliefs = {
        "Success": Token(),
        "BadChannel": Token(TokenState.UNREGISTERED),
        "ExpiredChannel": Token(TokenState.EXPIRED),
        "Throttled": Token(TokenState.THROTTLED),
    }
    for outcome, belief in beliefs.items():
        sent = world.send(handle, headers, body)
        world.behind[service].put([known], belief)  # it is asked when the push is dispatched, not before
        assert world.telemetry(sent) == ("Completed", {platform: {outcome: 1}})
    (entry,) = world.passed_on
    assert (entry.provider, entry.token, entry.payload) == (f"{service}_by_hub", handle, body)
    assert len(world.accepted) == 4


def test_nothing_is_passed_on_before_its_time_nor_twice(world: World) -> None:
    world.send()
    world.hubs.dispatch(world.now_us + 499_999)
    assert world.passed_on == []
    for _ in range(2):
        world.hubs.dispatch(world.now_us + 500_000)
    assert len(world.passed_on) == 1


def test_throttling_ends(world: World) -> None:
    world.behind["apns"].put(["ab"], Token(TokenState.THROTTLED, until_ms=NOW_S * 1000))
    assert world.telemetry(world.send()) == ("Completed", {"Apns": {"Success": 1}})


def test_dead_handles_are_told_in_the_feedback(world: World) -> None:
    world.behind["apns"].put(["token-dead"], Token(TokenState.EXPIRED))
    world.install("i-dead", pushChannel="token-dead", tags=["all"])
    world.install("i-live", pushChannel="token-live", tags=["all"])
    sent = world.to_tags("all")
    world.now_s += 2
    address = world.call("GET", "feedbackcontainer")
    host, _, rest = address.body.decode().removeprefix("https://").partition("/")
    container, _, signed = rest.partition("?")

    def read(below: str, query: str) -> Response:
        call = Call(b"GET", f"/{container}{below}?{query}".encode(), [], b"")
        return world.hubs.answer(call, world.now_us).response

    listed = fromstring(read("", f"{signed}&restype=container&comp=list").body)
    assert (address.status, host, listed.get("ContainerName")) == (200, HOST, container)
    (blob,) = (each.text for each in listed.iter("Name"))
    (line,) = read(f"/{blob}", signed).body.splitlines()
    assert {name(each): each.text for each in fromstring(line)} == {
        "FeedbackTime": "2027-01-15T08:00:02.000000Z",
        "NotificationSystemError": "ExpiredChannel",
        "Platform": "apns",
        "PnsHandle": "token-dead",
        "InstallationId": "i-dead",
        "NotificationId": message_id(sent),
    }
    assert [read(f"/{blob}", query).status for query in ("", signed.replace("sig=", "sig=x"))] == [403, 403]
    assert [read("/01012001", signed).status, read("", signed).status] == [404, 404]
    world.now_s += 3600
    assert read(f"/{blob}", signed).status == 403
    world.hubs.put_hub("shop-hub", free=True)
    signed = signature(quote(HUB, safe=""), int(world.now_s) + 60)
    assert error(world.call("GET", "feedbackcontainer", authorization=signed))[0] == 403


async def test_what_was_passed_on_is_judged_by_what_was_believed_then(emulator: Emulator) -> None:
    hubs = emulator.notification_hubs
    hubs.put_rule("shop-hub", "Full", KEY)
    seconds = emulator.clock.now_us() // 1_000_000
    signed = signature(quote(HUB, safe=""), seconds + 3600)
    told = {"host": HOST, "authorization": signed, **APPLE, "ServiceBusNotification-DeviceHandle": "ab"}
    headers = [(name.lower().encode(), value.encode()) for name, value in told.items()]
    call = Call(b"POST", b"/shop-hub/messages/?direct&api-version=2020-06", headers, PAYLOAD)
    assert hubs.answer(call, emulator.clock.now_us()).response.status == 201
    emulator.clock.advance(1)
    emulator.set_tokens("apns", ["ab"], state="unregistered")
    assert hubs.answer(call, emulator.clock.now_us()).response.status == 201
    emulator.clock.advance(1)
    async with aiohttp.ClientSession() as session, session.get(f"{emulator.control_url}/counts") as answer:
        counts = await answer.json()
    assert (counts["apns_by_hub"]["accepted"], counts["apns"]["accepted"]) == (1, 0)


def test_nobody_is_found(world: World) -> None:
    assert world.telemetry(world.to_tags("nobody")) == ("NoTargetFound", {})


def test_a_message_that_nobody_sent(world: World) -> None:
    assert error(world.call("GET", "messages/1-2-3"))[0] == 404


def test_a_quota_is_a_403_that_says_when_to_come_back(world: World) -> None:
    world.hubs.per_hub.per_minute = 2
    assert [world.send().status for _ in range(3)] == [201, 201, 403]
    response = world.send()
    assert int(response.header(b"retry-after")) == 30
    assert "quota" in error(response)[1]
    world.now_s += 31
    assert world.send(authorization=signature(quote(HUB, safe=""), NOW_S + 60)).status == 201


# --- audiences ---------------------------------------------------------------------------------------------------


@pytest.fixture
def audience(world: World) -> World:
    world.install("one", tags=["red", "news"], userId="bob@contoso.com")
    world.install("two", tags=["blue", "news"])
    world.install("three", platform="fcmV1", tags=["red"])
    world.install("same", pushChannel="token-two", tags=["news"])
    return world


@pytest.mark.parametrize(
    ("tags", "reached"),
    [
        ("", ["token-one", "token-two"]),
        ("news", ["token-one", "token-two"]),
        ("red", ["token-one"]),
        ("news && !red", ["token-two"]),
        ("red || blue && news", ["token-one", "token-two"]),
        ("(red || blue) && !blue", ["token-one"]),
        ("$InstallationId:{two}", ["token-two"]),
        ("$UserId:{bob@contoso.com}", ["token-one"]),
        ("$InstallationId:{one} || $InstallationId:{two}", ["token-one", "token-two"]),
        ("nobody", []),
    ],
)
def test_tags_choose_installations_of_the_format(audience: World, tags: str, reached: list[str]) -> None:
    assert audience.to_tags(tags).status == 201
    assert [entry.token for entry in audience.accepted] == reached


def test_templates_are_filled_in_on_every_platform(audience: World) -> None:
    body = '{"aps":{"alert":"$(greeting), $(name)"}}'
    audience.install("t1", templates={"hello": {"body": body}}, tags=["t"])
    audience.install("t2", platform="adm", templates={"hello": {"body": '{"data":{"m":"$(greeting)"}}'}}, tags=["t"])
    headers = APPLE | {"ServiceBusNotification-Format": "template"}
    sent = audience.to_tags("t || red", headers, b'{"greeting": "Ahoi", "name": "Bo"}')
    told = [(entry.environment, entry.payload) for entry in audience.accepted]
    assert told == [("apns", b'{"aps":{"alert":"Ahoi, Bo"}}'), ("adm", b'{"data":{"m":"Ahoi"}}')]
    assert audience.telemetry(sent) == ("Completed", {"Apns": {"Success": 1}, "Adm": {"Success": 1}})
    assert error(audience.to_tags("t", headers, b'{"count": 1}'))[0] == 400


@pytest.mark.parametrize(
    "tags",
    [
        "a &&",
        "a b",
        "(a",
        "a)",
        "ü",
        "!",
        "a & b",
        "||".join(f"t{n}" for n in range(21)),
        "&&".join("abcdefg"),
        "x" * 121,
    ],
)
def test_expressions_that_are_refused(world: World, tags: str) -> None:
    status, detail = error(world.to_tags(tags))
    assert (status, "tag expression" in detail) == (400, True)


def test_a_test_send_tells_at_once(audience: World) -> None:
    audience.tokens.put(["token-two"], Token(TokenState.EXPIRED))
    for n in range(12):
        audience.install(f"more-{n:02}", tags=["news"])
    response = audience.to_tags("news", query="?test")
    root = fromstring(response.body)
    assert (name(root), text(root, "Success"), text(root, "Failure")) == ("NotificationOutcome", "13", "1")
    results = next(each for each in root if name(each) == "Results")
    assert len(results) == 10
    first, second = ({name(part): part.text for part in result} for result in list(results)[:2])
    assert first == {
        "ApplicationPlatform": "apns",
        "PnsHandle": "token-one",
        "RegistrationId": "one",
        "Outcome": "Success",
    }
    assert second["Outcome"] == "ExpiredChannel"


# --- tag expressions ---------------------------------------------------------------------------------------------

TAGS = st.sampled_from(["a", "b", "c"])
TREES = st.recursive(
    TAGS,
    lambda inner: st.tuples(st.just("not"), inner) | st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    max_leaves=5,
)


def written(tree: Any) -> str:
    """With a parenthesis around everything, and so in need of no precedence."""
    match tree:
        case str():
            return tree
        case ("not", inner):
            return f"!({written(inner)})"
        case (word, left, right):
            return f"({written(left)}) {'&&' if word == 'and' else '||'} ({written(right)})"
    raise AssertionError(tree)


def value(tree: Any, tags: Sequence[str]) -> bool:
    match tree:
        case str():
            return tree in tags
        case ("not", inner):
            return not value(inner, tags)
        case (word, left, right):
            told = value(left, tags), value(right, tags)
            return all(told) if word == "and" else any(told)
    raise AssertionError(tree)


@given(tree=TREES, tags=st.sets(TAGS))
def test_expressions_mean_what_they_say(tree: Any, tags: set[str]) -> None:
    assert TagExpression(written(tree)).matches(tags) is value(tree, sorted(tags))


@given(st.text(alphabet="ab&|!() ", max_size=30), st.sets(TAGS))
def test_any_text_is_an_expression_or_a_value_error(expression: str, tags: set[str]) -> None:
    try:
        parsed = TagExpression(expression)
    except ValueError:
        return
    # Python's words bind in the same order. Tags of several letters are none that an installation has.
    python = expression.replace("&&", " and ").replace("||", " or ").replace("!", " not ").strip()
    words = {word: word in tags for word in re.findall("[ab]+", expression)}
    assert parsed.matches(tags) is eval(python, words)


def test_depth_costs_no_recursion() -> None:
    assert TagExpression("(" * 50_000 + "a" + ")" * 50_000).matches({"a"})


# --- installations -----------------------------------------------------------------------------------------------


def test_an_installation_is_written_read_changed_and_removed(world: World) -> None:
    assert world.install("i-1", tags=["a"], userId="u").status == 200
    read = json.loads(world.call("GET", "installations/i-1").body)
    assert (read["platform"], read["pushChannel"], read["tags"], read["userId"]) == ("apns", "token-i-1", ["a"], "u")
    assert read["pushChannelExpired"] is False and read["lastUpdate"].endswith("Z")
    changes = [
        {"op": "add", "path": "/tags", "value": "b"},
        {"op": "remove", "path": "/tags/a"},
        {"op": "replace", "path": "/pushChannel", "value": "other"},
        {"op": "add", "path": "/templates/t", "value": {"body": "{}"}},
        {"op": "remove", "path": "/userId"},
    ]
    assert world.call("PATCH", "installations/i-1", {}, json.dumps(changes).encode()).status == 200
    read = json.loads(world.call("GET", "installations/i-1").body)
    assert (read["tags"], read["pushChannel"], read["templates"]) == (["b"], "other", {"t": {"body": "{}"}})
    assert "userId" not in read
    assert world.install("i-1").status == 200
    assert "tags" not in json.loads(world.call("GET", "installations/i-1").body)
    assert [world.call("DELETE", "installations/i-1").status for _ in range(2)] == [204, 204]
    assert world.call("GET", "installations/i-1").status == 404
    assert world.call("PATCH", "installations/i-1", {}, json.dumps(changes).encode()).status == 404


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"installationId": "other"}, "installationId"),
        ({"platform": "mpns"}, "platform"),
        ({"platform": None}, "platform"),
        ({"pushChannel": ""}, "pushChannel"),
        ({"pushChannel": {"endpoint": "x"}}, "pushChannel"),
        ({"platform": "browser"}, "endpoint, p256dh and auth"),
        ({"platform": "browser", "pushChannel": {"endpoint": "x", "p256dh": "y"}}, "endpoint, p256dh and auth"),
        ({"tags": ["a b"]}, "tags"),
        ({"tags": [f"t{n}" for n in range(61)]}, "tags"),
        ({"tags": "a"}, "tags"),
        ({"templates": {"t": {}}}, "a template has a body"),
        ({"unheard": 1}, "unknown property unheard"),
    ],
)
def test_installations_that_are_refused(world: World, more: dict[str, Any], told: str) -> None:
    status, detail = error(world.install("i-1", **more))
    assert (status, told in detail) == (400, True), detail


@pytest.mark.parametrize(
    "changes",
    [{}, [], [{}], [{"op": "move", "path": "/tags"}], [{"op": "add", "path": "/installationId", "value": "x"}],
     [{"op": "add", "path": "/templates/a/b", "value": 1}], [{"op": "remove", "path": "/pushChannel"}]],
)  # fmt: skip
def test_patches_that_are_refused(world: World, changes: object) -> None:
    world.install("i-1")
    assert error(world.call("PATCH", "installations/i-1", {}, json.dumps(changes).encode()))[0] == 400
    assert json.loads(world.call("GET", "installations/i-1").body)["pushChannel"] == "token-i-1"


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]),
    below=st.sampled_from(["messages/", "messages/?direct", "messages/$batch?direct", "installations/i", "x"]),
    headers=st.dictionaries(
        st.sampled_from(["Content-Type", "ServiceBusNotification-Format", "ServiceBusNotification-Tags", "X-WNS-Type"]),
        st.sampled_from(
            ["apple", "windows", "template", JSON, "multipart/mixed; boundary=b", "wns/raw", "a&&b", "\xff"]
        ),
    ),
    body=st.binary(max_size=60) | st.sampled_from([PAYLOAD, b"--b\r\n\r\n--b--", b"[]", b"null", b"[[]]"]),
)
def test_any_request_gets_an_answer(method: str, below: str, headers: dict[str, str], body: bytes) -> None:
    world = World()
    response = world.call(method, below, headers, body)
    assert response.status in (200, 201, 204) or error(response)[0] >= 400
    assert world.hubs.subject(Call(method.encode(), f"/shop-hub/{below}".encode(), [], body))[0]


# --- keeping -----------------------------------------------------------------------------------------------------


def test_clear_leaves_hubs_and_policies(world: World) -> None:
    world.install("i-1")
    sent = world.send()
    world.hubs.clear()
    assert world.hubs.hubs == ["shop-hub"]
    assert world.call("GET", "installations/i-1").status == 404
    assert world.call("GET", f"messages/{message_id(sent)}").status == 404


def test_a_connection_string_is_issued(world: World, tmp_path: Path) -> None:
    path = issue_hub(world.hubs, tmp_path, f"https://{HOST}", hub="shop-hub")
    endpoint, rule, key = path.read_text().strip().split(";")
    assert endpoint == f"Endpoint=sb://{HOST}/" and path.stat().st_mode & 0o77 == 0
    signed = signature(quote(HUB, safe=""), NOW_S + 60, key.partition("=")[2], rule.partition("=")[2])
    assert world.send(authorization=signed).status == 201
