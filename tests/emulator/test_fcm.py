"""Google's checks, without sockets: the token endpoint, the message's schema, and what is believed of tokens."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from pushrpc.emulator.fcm import GOOGLE_TOKEN_URL, GRANT_TYPE, Fcm, ServiceAccount
from pushrpc.emulator.fcm_message import flaws
from pushrpc.emulator.service import Call, Entry
from pushrpc.emulator.tokens import Token, TokenBook, TokenState, fcm_tokens
from pushrpc.exchange import Response

NOW_S = 1_800_000_000
PROJECT = "shop-example"
EMAIL = f"pushrpc@{PROJECT}.iam.gserviceaccount.com"
TOKEN, OTHER = fcm_tokens(2)
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class World:
    """Google with one project and its service account."""

    def __init__(self) -> None:
        self.tokens = TokenBook()
        self.fcm = Fcm(self.tokens, seed=5)
        self.fcm.put_service_account(ServiceAccount(EMAIL, "kid-1", PRIVATE.public_key(), PROJECT))
        self.now_s = NOW_S
        self.accepted: list[Entry] = []
        self.access_token = json.loads(self.grant().body)["access_token"]

    def assertion(self, key: rsa.RSAPrivateKey = PRIVATE, kid: str = "kid-1", **claims: Any) -> str:
        usual = {"iss": EMAIL, "scope": SCOPE, "aud": GOOGLE_TOKEN_URL, "iat": self.now_s, "exp": self.now_s + 3600}
        return jwt.encode(usual | claims, key, "RS256", headers={"kid": kid})

    def grant(self, assertion: str | None = None, grant_type: str = GRANT_TYPE) -> Response:
        form = {"grant_type": grant_type, "assertion": assertion or self.assertion()}
        return self.call("/token", urlencode(form).encode())

    def send(self, body: Any, project: str = PROJECT, **request: Any) -> Response:
        return self.call(f"/v1/projects/{project}/messages:send", json.dumps(body).encode(), **request)

    def message(self, **fields: Any) -> Response:
        return self.send({"message": {"token": TOKEN, "notification": {"title": "Order shipped"}} | fields})

    def call(self, path: str, body: bytes, method: str = "POST", authorization: str | None = None) -> Response:
        if authorization is None and path != "/token":
            authorization = f"Bearer {self.access_token}"
        headers = [(b"authorization", (authorization or "").encode())]
        call = Call(method.encode(), path.encode(), headers, body)
        verdict = self.fcm.connect(None).answer(call, self.now_s * 1_000_000)
        if verdict.accepted:
            self.accepted.append(verdict.accepted)
        return verdict.response


@pytest.fixture
def world() -> World:
    return World()


def error(response: Response) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(response.body)["error"]
    assert value["code"] == response.status
    return value


def fcm_code(response: Response) -> str:
    """The FcmError's code, empty when the error has none."""
    details = error(response).get("details", [])
    return next((detail["errorCode"] for detail in details if detail["@type"] == FCM_ERROR), "")


def violations(response: Response) -> list[dict[str, str]]:
    details = error(response)["details"]
    found: list[dict[str, str]] = next(d["fieldViolations"] for d in details if d["@type"] == BAD_REQUEST)
    return found


class TestTokenEndpoint:
    def test_a_signed_assertion_becomes_an_opaque_token_for_an_hour(self, world: World) -> None:
        response = world.grant()
        body = json.loads(response.body)
        assert response.status == 200
        assert (body["expires_in"], body["token_type"]) == (3599, "Bearer")
        world.access_token = body["access_token"]
        world.now_s += 3599
        assert world.message().status == 200
        world.now_s += 1
        refused = world.message()
        assert (refused.status, error(refused)["status"], fcm_code(refused)) == (401, "UNAUTHENTICATED", "")
        assert b"invalid_token" in refused.header(b"www-authenticate")

    def test_no_two_are_alike_and_the_audience_may_be_the_emulator(self, world: World) -> None:
        world.fcm.token_urls.add("https://127.0.0.1:1/token")
        granted = json.loads(world.grant(world.assertion(aud="https://127.0.0.1:1/token")).body)
        assert granted["access_token"] not in ("", world.access_token)

    @pytest.mark.parametrize(
        ("claims", "name"),
        [
            ({"iss": "stranger@example.com"}, "invalid_grant"),
            ({"aud": "https://example.com/token"}, "invalid_grant"),
            ({"exp": NOW_S - 301, "iat": NOW_S - 900}, "invalid_grant"),
            ({"iat": NOW_S + 301, "exp": NOW_S + 900}, "invalid_grant"),
            ({"exp": NOW_S + 3601}, "invalid_grant"),
            ({"exp": "soon"}, "invalid_grant"),
            ({"iat": None}, "invalid_grant"),
            ({"scope": ""}, "invalid_scope"),
        ],
    )
    def test_wrong_claims(self, world: World, claims: dict[str, Any], name: str) -> None:
        response = world.grant(world.assertion(**claims))
        assert (response.status, json.loads(response.body)["error"]) == (400, name)

    def test_forgeries(self, world: World) -> None:
        stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        for forged in (
            world.assertion(stranger),
            world.assertion(kid="another"),
            jwt.encode({"iss": EMAIL}, "s" * 32, "HS256"),
            "a.b.c",
            "\xff",
        ):
            response = world.grant(forged)
            assert (response.status, json.loads(response.body)["error"]) == (400, "invalid_grant")
        response = world.grant(grant_type="password")
        assert (response.status, json.loads(response.body)["error"]) == (400, "unsupported_grant_type")

    def test_a_token_of_another_scope_is_issued_and_does_not_help(self, world: World) -> None:
        granted = world.grant(world.assertion(scope="https://www.googleapis.com/auth/devstorage.read_only"))
        world.access_token = json.loads(granted.body)["access_token"]
        refused = world.message()
        assert (refused.status, error(refused)["status"], fcm_code(refused)) == (403, "PERMISSION_DENIED", "")

    def test_revoked_tokens_are_refused(self, world: World) -> None:
        world.fcm.revoke_access_tokens()
        assert world.message().status == 401


def test_a_good_message_is_accepted(world: World) -> None:
    response = world.message(data={"order_id": "1"})
    name = json.loads(response.body)["name"]
    (entry,) = world.accepted
    assert response.status == 200
    assert name.startswith(f"projects/{PROJECT}/messages/0:{NOW_S}")
    assert (entry.token, entry.message_id) == (TOKEN, name)


def test_the_checks_come_in_order(world: World) -> None:
    """Each step mends what the step before was refused for."""
    world.fcm.projects.add("other-project")
    world.fcm.per_device.per_minute = 1
    world.fcm.per_device.spend(TOKEN, NOW_S * 1_000_000)
    path, token = f"/v1/projects/{PROJECT}/messages:send", f"Bearer {world.access_token}"
    html = world.call("/v1/projects/x/messages", b"", authorization="Bearer x")
    assert (html.status, html.body[:15]) == (404, b"<!DOCTYPE html>")
    assert world.call("/v1/projects/nobody/messages:send", b"", authorization="Bearer x").status == 401
    unknown = world.call("/v1/projects/nobody/messages:send", b"", authorization=token)
    assert (unknown.status, unknown.body[:15]) == (404, b"<!DOCTYPE html>")
    forbidden = world.call("/v1/projects/other-project/messages:send", b"", authorization=token)
    assert (forbidden.status, error(forbidden)["status"]) == (403, "PERMISSION_DENIED")
    unread = world.call(path, b"{", authorization=token)
    assert (unread.status, fcm_code(unread)) == (400, "")
    unknown_name = world.send({"message": {"token": "?", "to": "x", "topic": "news"}})
    assert violations(unknown_name)[0]["field"] == "message"
    assert fcm_code(unknown_name) == ""
    two_targets = world.send({"message": {"token": "?", "topic": "news"}})
    assert fcm_code(two_targets) == "INVALID_ARGUMENT"
    malformed = world.send({"message": {"token": "?"}})
    assert violations(malformed) == [{"field": "message.token", "description": "Invalid registration token"}]
    assert error(malformed)["message"] == "The registration token is not a valid FCM registration token"
    world.tokens.put([TOKEN], Token(TokenState.UNREGISTERED, app="other-project"))
    assert (world.message().status, fcm_code(world.message())) == (403, "SENDER_ID_MISMATCH")
    world.tokens.put([TOKEN], Token(TokenState.UNREGISTERED, app=PROJECT))
    assert (world.message().status, fcm_code(world.message())) == (404, "UNREGISTERED")
    world.tokens.put([TOKEN], Token())
    assert (world.message().status, fcm_code(world.message())) == (429, "QUOTA_EXCEEDED")
    assert not world.accepted


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"data": {"n": 5}}, "message.data[0].value"),
        ({"data": []}, "message.data"),
        ({"notification": "hello"}, "message.notification"),
        ({"notification": {"title": 1}}, "message.notification.title"),
        ({"android": {"ttl": 60}}, "message.android.ttl"),
        ({"android": {"ttl": "60"}}, "message.android.ttl"),
        ({"android": {"ttl": "-1s"}}, "message.android.ttl"),
        ({"android": {"priority": "URGENT"}}, "message.android.priority"),
        ({"android": {"direct_boot_ok": "yes"}}, "message.android.direct_boot_ok"),
        ({"android": {"notification": {"colour": "#fff"}}}, "message.android.notification"),
        ({"android": {"notification": {"body_loc_args": [1]}}}, "message.android.notification.body_loc_args[0]"),
        (
            {"android": {"notification": {"notification_count": True}}},
            "message.android.notification.notification_count",
        ),
        ({"apns": {"payload": "{}"}}, "message.apns.payload"),
        ({"apns": {"headers": {"apns-priority": 10}}}, "message.apns.headers[0].value"),
        ({"fcm_options": {"analytics_label": 1}}, "message.fcm_options.analytics_label"),
    ],
)
def test_what_the_json_reader_refuses(world: World, message: dict[str, Any], field: str) -> None:
    response = world.message(**message)
    assert [violation["field"] for violation in violations(response)] == [field]
    assert (response.status, fcm_code(response)) == (400, "")


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"token": ""}, "message"),
        ({"topic": "news"}, "message"),
        ({"token": "", "topic": "/topics/news"}, "message.topic"),
        ({"token": "", "condition": "'a' in topics &&"}, "message.condition"),
        ({"token": "", "condition": " || ".join(f"'{n}' in topics" for n in range(6))}, "message.condition"),
        ({"data": {"from": "me"}}, "message.data"),
        ({"data": {"google.message_id": "1"}}, "message.data"),
        ({"data": {"gcm.x": "1"}}, "message.data"),
        ({"android": {"data": {"message_type": "1"}}}, "message.android.data"),
        ({"android": {"ttl": "2419200.1s"}}, "message.android.ttl"),
        ({"android": {"fcm_options": {"analytics_label": "a b"}}}, "message.android.fcm_options"),
        ({"data": {"k": "é" * 2048}}, "message"),
        ({"apns": {"payload": {"aps": {}, "k": "v" * 4090}}}, "message"),
        ({"token": "", "topic": "news", "data": {"k": "v" * 2040}}, "message"),
    ],
)
def test_what_fcm_refuses(world: World, message: dict[str, Any], field: str) -> None:
    response = world.message(**message)
    assert [violation["field"] for violation in violations(response)] == [field]
    assert (response.status, fcm_code(response)) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    "message",
    [
        {"data": {"k": "v" * 4000}},
        {"android": {"ttl": "0s", "priority": "high", "collapseKey": "a"}},
        {"android": {"ttl": "2419200s", "notification": {"clickAction": "OPEN", "notification_count": 3}}},
        {"apns": {"payload": {"aps": {"alert": "x"}}, "headers": {"apns-priority": "5"}}},
        {"token": None, "topic": "news-2024_v1.0~%"},
        {"token": None, "condition": "'a' in topics && ('b' in topics || !('c' in topics))"},
        {"webpush": {"headers": {"TTL": "60"}, "notification": {"title": "x"}, "fcm_options": {"link": "https://x"}}},
        {"fcmOptions": {"analyticsLabel": "orders"}},
    ],
)
def test_what_is_accepted(world: World, message: dict[str, Any]) -> None:
    response = world.message(**message)
    assert response.status == 200, response.body


def test_a_dry_run_is_checked_and_not_accepted(world: World) -> None:
    response = world.send({"validateOnly": True, "message": {"token": TOKEN}})
    assert json.loads(response.body) == {"name": f"projects/{PROJECT}/messages/fake_message_id"}
    assert not world.accepted
    world.tokens.put([TOKEN], Token(TokenState.UNREGISTERED))
    assert world.send({"validate_only": True, "message": {"token": TOKEN}}).status == 404


class TestQuota:
    def test_a_project_has_so_many_a_minute_and_dry_runs_count(self, world: World) -> None:
        world.fcm.per_project.per_minute = 2
        assert [world.message().status for _ in range(3)] == [200, 200, 429]
        refused = world.message()
        assert refused.header(b"retry-after") == b"30"
        assert [d["@type"].rpartition(".")[2] for d in error(refused)["details"]] == ["QuotaFailure", "FcmError"]
        world.now_s += 30
        assert [world.message().status for _ in range(2)] == [200, 429]

    def test_so_has_a_device(self, world: World) -> None:
        statuses = [world.message().status for _ in range(241)]
        assert statuses == [200] * 240 + [429]
        assert world.message(token=OTHER).status == 200

    def test_a_throttled_token_says_how_long(self, world: World) -> None:
        world.tokens.put([TOKEN], Token(TokenState.THROTTLED, until_ms=(NOW_S + 7) * 1000))
        assert (world.message().status, world.message().header(b"retry-after")) == (429, b"7")
        world.now_s += 7
        assert world.message().status == 200


def test_a_repeat_has_the_same_identity_whatever_time_it_has_left(world: World) -> None:
    for ttl, title, token in (("60s", "a", TOKEN), ("50.5s", "a", TOKEN), ("60s", "b", TOKEN), ("60s", "a", OTHER)):
        world.message(token=token, android={"ttl": ttl}, notification={"title": title})
    first, repeat, other_text, other_token = (entry.identity for entry in world.accepted)
    assert first == repeat
    assert len({first, other_text, other_token}) == 3


def test_flaws_are_all_told_together() -> None:
    found = {violation.field for violation in flaws({"data": {"from": "x"}, "android": {"ttl": "9999999s"}})}
    assert found == {"message", "message.data", "message.android.ttl"}


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (503, "", ("UNAVAILABLE", "UNAVAILABLE")),
        (500, "INTERNAL", ("INTERNAL", "INTERNAL")),
        (429, "", ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")),
        (401, "THIRD_PARTY_AUTH_ERROR", ("UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR")),
        (401, "", ("UNAUTHENTICATED", "")),
        (403, "SENDER_ID_MISMATCH", ("PERMISSION_DENIED", "SENDER_ID_MISMATCH")),
        (404, "UNREGISTERED", ("NOT_FOUND", "UNREGISTERED")),
        (418, "TEAPOT", ("TEAPOT", "TEAPOT")),
    ],
)
def test_scripted_refusals_look_real(world: World, status: int, reason: str, expected: tuple[str, str]) -> None:
    response = world.fcm.refusal(Call(b"POST", b"/", [], b""), status, reason, 0)
    assert response.status == status
    assert (error(response)["status"], fcm_code(response)) == expected


def test_scripted_refusals_of_the_token_endpoint_are_its_own(world: World) -> None:
    call = Call(b"POST", b"/token", [], b"")
    assert world.fcm.subject(call) == ("oauth", "")
    assert json.loads(world.fcm.refusal(call, 503, "", 0).body)["error"] == "internal_failure"
