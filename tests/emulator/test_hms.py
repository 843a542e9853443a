"""Huawei's checks, without sockets: access tokens, the message, and tokens told apart inside one answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from pushrpc.emulator.credentials import issue_hms_app
from pushrpc.emulator.hms import PARTIAL, SUCCESS, Hms
from pushrpc.emulator.hms_message import flaws
from pushrpc.emulator.service import Call, Entry
from pushrpc.emulator.tokens import HMS_TOKEN, Token, TokenBook, TokenState, hms_tokens
from pushrpc.exchange import Response

NOW_S = 1_800_000_000
APP, SECRET = "101234567", "s3cret+/="
LIVE, DEAD, OTHER = hms_tokens(3)


class World:
    """Huawei with one app, a live token, a dead one and one of another app."""

    def __init__(self) -> None:
        self.hms = Hms(TokenBook(), seed=5)
        self.hms.put_app(APP, SECRET)
        self.hms.tokens.put([DEAD], Token(TokenState.UNREGISTERED))
        self.hms.tokens.put([OTHER], Token(app="another"))
        self.now_s = NOW_S
        self.accepted: list[Entry] = []
        self.access_token: str = json.loads(self.grant().body)["access_token"]

    def grant(self, **form: str) -> Response:
        usual = {"grant_type": "client_credentials", "client_id": APP, "client_secret": SECRET}
        return self.call("/oauth2/v3/token", urlencode(usual | form).encode(), authorization="")

    def send(self, body: Any, app: str = APP, verb: str = "messages:send", **request: Any) -> dict[str, Any]:
        """The answer of HTTP 200."""
        response = self.call(f"/v1/{app}/{verb}", json.dumps(body).encode(), **request)
        assert response.status == 200
        told: dict[str, Any] = json.loads(response.body)
        return told

    def message(self, *tokens: str, **fields: Any) -> dict[str, Any]:
        usual = {"token": list(tokens or (LIVE,)), "notification": {"title": "Order shipped", "body": "On its way"}}
        return self.send({"validate_only": False, "message": usual | fields})

    def call(self, path: str, body: bytes, method: str = "POST", authorization: str | None = None) -> Response:
        value = f"Bearer {self.access_token}" if authorization is None else authorization
        call = Call(method.encode(), path.encode(), [(b"authorization", value.encode())], body)
        verdict = self.hms.connect(None).answer(call, self.now_s * 1_000_000)
        self.accepted += verdict.taken
        return verdict.response


@pytest.fixture
def world() -> World:
    return World()


class TestAccessTokens:
    def test_id_and_secret_become_an_opaque_token_for_an_hour(self, world: World) -> None:
        response = world.grant()
        told = json.loads(response.body)
        assert (told["expires_in"], told["token_type"]) == (3600, "Bearer")
        assert told["access_token"] not in ("", world.access_token)
        assert rb"\/" in response.body and "/" in told["access_token"]
        world.now_s += 3599
        assert world.message()["code"] == SUCCESS
        world.now_s += 1
        assert world.message()["code"] == "80200003"

    @pytest.mark.parametrize(
        ("form", "description"),
        [
            ({"grant_type": "password"}, "not support this grant type"),
            ({"client_id": "1"}, "client_id is invalid"),
            ({"client_secret": "x"}, "invalid client_secret"),
        ],
    )
    def test_refusals(self, world: World, form: dict[str, str], description: str) -> None:
        response = world.grant(**form)
        assert response.status == 400
        assert json.loads(response.body) == {"error": 1101, "error_description": description}

    @pytest.mark.parametrize("authorization", ["", "Bearer ", "Bearer other", "Basic x"])
    def test_a_token_that_was_never_issued(self, world: World, authorization: str) -> None:
        assert world.send({}, authorization=authorization)["code"] == "80200001"

    def test_a_token_is_for_the_app_in_the_path_alone(self, world: World) -> None:
        world.hms.put_app("2", SECRET)
        assert world.send({}, app="2")["code"] == "80200001"
        world.access_token = json.loads(world.grant(client_id="2").body)["access_token"]
        assert world.send({}, app="2")["code"] == "80300010"

    def test_revoked_tokens_are_refused(self, world: World) -> None:
        world.hms.revoke_access_tokens()
        assert world.message()["code"] == "80200001"

    def test_issued_files_hold_the_secret(self, world: World, tmp_path: Path) -> None:
        app_id, path = issue_hms_app(world.hms, tmp_path)
        assert path.stat().st_mode & 0o077 == 0
        granted = world.grant(client_id=app_id, client_secret=path.read_text().strip())
        assert granted.status == 200


def test_a_good_message_is_taken_for_each_token(world: World) -> None:
    tokens = hms_tokens(1000, seed=1)
    told = world.message(*tokens)
    assert (told["code"], told["msg"]) == (SUCCESS, "Success")
    assert [entry.token for entry in world.accepted] == tokens
    assert {entry.message_id for entry in world.accepted} == {told["requestId"]}
    assert len({entry.identity for entry in world.accepted}) == 1000


def test_the_checks_come_in_order(world: World) -> None:
    """Each step mends what the step before was refused for."""
    for path, method in (("/v2/1/messages:send", "POST"), (f"/v1/{APP}/messages:send", "GET"), ("/", "POST")):
        assert world.call(path, b"", method).status == 404
    path = f"/v1/{APP}/messages:send"
    world.hms.put_app(APP, SECRET, may_send=False)
    world.hms.per_app.per_minute = 1
    world.hms.per_app.spend(APP, NOW_S * 1_000_000)
    assert json.loads(world.call(path, b"{").body)["code"] == "80300002"
    world.hms.put_app(APP, SECRET)
    assert world.call(path, b"{").status == 503
    world.hms.per_app.per_minute = 0
    assert json.loads(world.call(path, b"{").body)["code"] == "80100003"
    assert world.send([])["code"] == "80100003"
    assert world.send({"messager": {"token": [LIVE]}})["code"] == "80300010"
    assert world.message("?", data="x" * 4096, android=7)["code"] == "80300008"
    assert world.message("?", android=7)["code"] == "80100003"
    assert world.message("?", token=[])["code"] == "80300010"
    assert world.message(*(f"?{n}" for n in range(1001)))["code"] == "80300010"
    assert world.message("?")["code"] == "80300007"
    world.hms.tokens.put([LIVE], Token(TokenState.THROTTLED))
    assert world.call(path, json.dumps({"message": {"token": [LIVE]}}).encode()).status == 503
    assert not world.accepted


def test_what_is_counted_leaves_the_tokens_out(world: World) -> None:
    assert world.message(*hms_tokens(1000, seed=2), data="x" * 3900)["code"] == SUCCESS
    size = len('{"validate_only":false,"message":{"notification":{"title":"t"},"data":""}}')
    for over, code in ((0, SUCCESS), (1, "80300008")):
        assert world.message(notification={"title": "t"}, data="x" * (4096 - size + over))["code"] == code


def test_a_partial_success_is_json_in_a_string(world: World) -> None:
    told = world.message(LIVE, DEAD, OTHER, "no token")
    assert told["code"] == PARTIAL
    assert json.loads(told["msg"]) == {"success": 1, "failure": 3, "illegal_tokens": [DEAD, OTHER, "no token"]}
    assert [entry.token for entry in world.accepted] == [LIVE]


def test_newer_answers_tell_the_causes(world: World) -> None:
    world.hms.by_cause = True
    assert json.loads(world.message(LIVE, DEAD, OTHER)["msg"]) == {
        "success": 1,
        "failure": 2,
        "illegalTokens": {"tokenFormatError": [DEAD], "noRight": [OTHER]},
    }


def test_no_valid_token_at_all(world: World) -> None:
    assert world.message(DEAD, OTHER)["code"] == "80300007"
    assert world.message(token=[7, {}, None])["code"] == "80300007"
    assert not world.accepted


def test_a_dry_run_is_checked_and_not_taken(world: World) -> None:
    assert world.send({"validate_only": True, "message": {"token": [LIVE]}})["code"] == SUCCESS
    assert world.send({"validate_only": True, "message": {"token": [DEAD]}})["code"] == "80300007"
    assert not world.accepted


def test_a_repeat_has_the_same_identity_whatever_time_it_has_left(world: World) -> None:
    for ttl, title, token in (("60s", "a", LIVE), ("50s", "a", LIVE), ("60s", "b", LIVE), ("60s", "a", "x" * 40)):
        world.message(token, android={"ttl": ttl}, notification={"title": title})
    first, repeat, other_text, other_token = (entry.identity for entry in world.accepted)
    assert first == repeat
    assert len({first, other_text, other_token}) == 3


CLICK = {"click_action": {"type": 3}}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"topic": "news"}, "80100001"),
        ({"token": None, "topic": "/topics/news"}, "80100001"),
        ({"token": None, "topic": 7}, "80100001"),
        ({"token": None, "condition": "'a' in topics &&"}, "80100001"),
        ({"token": None, "condition": " || ".join(f"'{n}' in topics" for n in range(6))}, "80100001"),
        ({"data": {"k": "v"}}, "80100003"),
        ({"notification": "hello"}, "80100003"),
        ({"notification": {"title": 1}}, "80100003"),
        ({"android": {"collapse_key": 101}}, "80100013"),
        ({"android": {"collapse_key": "1"}}, "80100013"),
        ({"android": {"ttl": 60}}, "80100001"),
        ({"android": {"ttl": "0s"}}, "80100001"),
        ({"android": {"ttl": "1296001s"}}, "80100001"),
        ({"android": {"urgency": "LOW"}}, "80100003"),
        ({"android": {"bi_tag": "x" * 65}}, "80100003"),
        ({"android": {"target_user_type": 4}}, "80100003"),
        ({"android": {"notification": []}}, "80100003"),
        ({"android": {"notification": {}}}, "80100003"),
        ({"android": {"notification": {"click_action": {"type": 5}}}}, "80100003"),
        ({"android": {"notification": {"click_action": {"type": 2}}}}, "80100003"),
        ({"android": {"notification": {"click_action": {"type": 1, "intent": ""}}}}, "80100003"),
        ({"android": {"notification": CLICK | {"badge": {"add_num": 0}}}}, "80100003"),
        ({"android": {"notification": CLICK | {"badge": {"set_num": 100}}}}, "80100003"),
        ({"android": {"notification": CLICK | {"badge": 3}}}, "80100003"),
        ({"android": {"notification": CLICK | {"body_loc_args": [1]}}}, "80100003"),
        ({"android": {"notification": CLICK | {"color": "red"}}}, "80100003"),
    ],
)
def test_what_huawei_refuses(world: World, message: dict[str, Any], code: str) -> None:
    assert world.message(**message)["code"] == code
    assert not world.accepted


@pytest.mark.parametrize(
    "message",
    [
        {"data": '{"k":"v"}', "notification": {}},
        {
            "android": {
                "collapse_key": -1,
                "ttl": "86400s",
                "urgency": "NORMAL",
                "category": "IM",
                "target_user_type": 1,
            }
        },
        {"android": {"ttl": "1.5", "notification": CLICK | {"badge": {"set_num": 0, "add_num": 99}}}},
        {"android": {"notification": {"click_action": {"type": 1, "action": "a.b.C"}, "importance": "LOW"}}},
        {"token": None, "topic": "news_天气"},
        {"token": None, "condition": "'a' in topics && ('b' in topics || !('c' in topics))"},
        {"webpush": {"headers": {"ttl": "990"}}, "unheard_of": 1},
    ],
)
def test_what_is_taken(world: World, message: dict[str, Any]) -> None:
    assert world.message(**message) | {"requestId": ""} == {"code": SUCCESS, "msg": "Success", "requestId": ""}
    assert len(world.accepted) == 1


def test_flaws_are_all_found() -> None:
    found = [flaw.code for flaw in flaws({"data": 1, "android": {"collapse_key": 101, "notification": {"badge": 1}}})]
    assert found == ["80100003", "80100013", "80100003", "80100003"]


class TestTopics:
    def change(self, world: World, verb: str, *tokens: Any, topic: str = "news") -> dict[str, Any]:
        return world.send({"topic": topic, "tokenArray": list(tokens)}, verb=f"topic:{verb}")

    def test_tokens_join_and_leave(self, world: World) -> None:
        told = self.change(world, "subscribe", LIVE, DEAD, "x" * 40)
        assert (told["code"], told["successCount"], told["failureCount"]) == (SUCCESS, 2, 1)
        assert told["errors"] == [{"index": 1, "reason": "INVALID_TOKEN"}]
        assert world.hms.members(APP, "news") == [LIVE, "x" * 40]
        assert self.change(world, "unsubscribe", LIVE, LIVE)["failureCount"] == 0
        assert world.hms.members(APP, "news") == ["x" * 40]
        world.hms.clear()
        assert world.hms.members(APP, "news") == []

    def test_a_token_can_be_asked_for_its_topics(self, world: World) -> None:
        self.change(world, "subscribe", LIVE)
        listed = world.send({"token": LIVE}, verb="topic:list")
        assert listed["topics"] == [{"name": "news", "addDate": "2027-01-15"}]
        assert world.send({"token": DEAD}, verb="topic:list")["code"] == "80300007"

    @pytest.mark.parametrize(
        ("tokens", "topic", "code"),
        [((), "news", "80300010"), ((LIVE,) * 1001, "news", "80300010"), ((LIVE,), "a b", "80100001")],
    )
    def test_calls_that_cannot_be(self, world: World, tokens: tuple[str, ...], topic: str, code: str) -> None:
        assert self.change(world, "subscribe", *tokens, topic=topic)["code"] == code

    def test_a_message_to_a_topic_is_one_message(self, world: World) -> None:
        assert world.message(token=None, topic="news")["code"] == SUCCESS
        assert [entry.token for entry in world.accepted] == ["/topics/news"]


def test_faults_know_a_request_by_its_first_token(world: World) -> None:
    def subject(path: bytes, body: object) -> tuple[str, str]:
        return world.hms.subject(Call(b"POST", path, [], json.dumps(body).encode()))

    assert subject(b"/v1/1/messages:send", {"message": {"token": [LIVE, DEAD]}}) == ("hms", LIVE)
    bodies: list[object] = [{"message": {"token": []}}, {"message": {"topic": "x"}}, {}, [], None]
    for body in bodies:
        assert subject(b"/v1/1/messages:send", body) == ("hms", "")
    assert subject(b"/oauth2/v3/token", "") == ("hms_oauth", "")


def test_scripted_refusals_look_real(world: World) -> None:
    call = Call(b"POST", f"/v1/{APP}/messages:send".encode(), [], b"")
    sensitive = world.hms.refusal(call, 200, "80100016", NOW_S)
    assert (sensitive.status, json.loads(sensitive.body)["code"]) == (200, "80100016")
    assert world.hms.refusal(call, 503, "", NOW_S) == Response(503, [], b"")
    oauth = world.hms.refusal(Call(b"POST", b"/oauth2/v3/token", [], b""), 500, "", NOW_S)
    assert (oauth.status, json.loads(oauth.body)["error"]) == (500, 1101)


def test_made_tokens_are_different_and_well_formed() -> None:
    tokens = hms_tokens(500)
    assert len(set(tokens)) == 500
    assert all(HMS_TOKEN.fullmatch(token) and len(token) == 130 for token in tokens)
    assert hms_tokens(3) == tokens[:3] != hms_tokens(3, seed=1)
