"""Google's topics, without sockets: who joins and leaves, and whom a message to a topic or on a condition reaches."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from pushrpc.emulator import fcm_topics
from pushrpc.emulator.fcm_topics import Topics, evaluated
from pushrpc.emulator.service import Call
from pushrpc.emulator.tokens import Token, TokenState, fcm_tokens
from pushrpc.exchange import Response
from tests.emulator.test_fcm import NOW_S, PROJECT, World, error, fcm_code

ANNA, BERT, CARL = fcm_tokens(3, seed=1)


@pytest.fixture
def world() -> World:
    return World()


def batch(world: World, verb: str, topic: str, tokens: list[str], **headers: str) -> Response:
    given = {"authorization": f"Bearer {world.access_token}", "access_token_auth": "true"} | headers
    body = json.dumps({"to": topic, "registration_tokens": tokens}).encode()
    call = Call(b"POST", f"/iid/v1:{verb}".encode(), [(k.encode(), v.encode()) for k, v in given.items()], body)
    verdict = world.fcm.answer(call, world.now_s * 1_000_000)
    assert verdict.accepted is None
    return verdict.response


def rows(response: Response) -> list[str]:
    assert response.status == 200
    return [row.get("error", "") for row in json.loads(response.body)["results"]]


def joined(world: World, topic: str, *tokens: str) -> None:
    assert rows(batch(world, "batchAdd", f"/topics/{topic}", list(tokens))) == [""] * len(tokens)


def reached(world: World, **target: str) -> list[str]:
    response = world.send({"message": {"data": {"a": "b"}} | target})
    assert response.status == 200, response.body
    return list(world.accepted[-1].reached)


def test_a_message_to_a_topic_reaches_its_members_in_one_acceptance(world: World) -> None:
    joined(world, "news", ANNA, BERT)
    joined(world, "sport", CARL)
    assert reached(world, topic="news") == [ANNA, BERT]
    assert world.accepted[-1].token == "/topics/news"
    assert len(world.accepted) == 1
    assert reached(world, topic="empty") == []
    assert rows(batch(world, "batchRemove", "/topics/news", [ANNA])) == [""]
    assert reached(world, topic="news") == [BERT]
    world.fcm.topics.clear()
    assert reached(world, topic="news") == []


@pytest.mark.parametrize(
    ("condition", "who"),
    [
        ("'a' in topics", [ANNA, BERT]),
        ("'a' in topics && 'b' in topics", [BERT]),
        ("'a' in topics || 'c' in topics", [ANNA, BERT, CARL]),
        ("!('a' in topics)", [CARL]),
        ("'a' in topics && !('b' in topics || 'c' in topics)", [ANNA]),
        ("'a' in topics || 'b' in topics && 'c' in topics", [CARL]),  # from left to right
        ("'a' in topics || ('b' in topics && 'c' in topics)", [ANNA, BERT, CARL]),
        ("!!('nobody' in topics)", []),
    ],
)
def test_whom_a_condition_reaches(world: World, condition: str, who: list[str]) -> None:
    joined(world, "a", ANNA, BERT)
    joined(world, "b", BERT, CARL)
    joined(world, "c", CARL)
    assert reached(world, condition=condition) == who


@pytest.mark.parametrize("condition", ["", "a", "'a' in topics ||", "(", ")", "()", "!", "'a' in topics 'b' in topics"])
def test_what_is_no_condition(condition: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        evaluated(condition, lambda topic: frozenset(), frozenset())


def test_the_dead_are_not_reached_and_a_dry_run_reaches_nobody(world: World) -> None:
    joined(world, "news", ANNA, BERT)
    world.tokens.put([ANNA], Token(TokenState.UNREGISTERED))
    assert reached(world, topic="news") == [BERT]
    world.send({"validate_only": True, "message": {"topic": "news"}})
    assert len(world.accepted) == 1


def test_every_token_has_its_row(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcm_topics, "TOPICS_OF_TOKEN_MAX", 1)
    joined(world, "first", CARL)
    world.tokens.put([ANNA], Token(TokenState.UNREGISTERED))
    world.tokens.put([BERT], Token(app="another-project"))
    (dora,) = fcm_tokens(1, seed=2)
    told = batch(world, "batchAdd", "/topics/news", [ANNA, "malformed", BERT, CARL, dora])
    assert rows(told) == ["NOT_FOUND", "INVALID_ARGUMENT", "INVALID_ARGUMENT", "TOO_MANY_TOPICS", ""]
    assert reached(world, topic="news") == [dora]
    joined(world, "first", CARL)  # as it is already there


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({"authorization": "Bearer x"}, (401, "Unauthorized")),
        ({"access_token_auth": "false"}, (401, "Unauthorized")),
        ({"topic": "/topics/a b"}, (400, "InvalidArgument")),
        ({"tokens": []}, (400, "InvalidArgument")),
        ({"tokens": ["t"] * 1001}, (400, "InvalidArgument")),
    ],
)
def test_calls_that_fail_for_everyone(world: World, changed: dict[str, Any], answer: tuple[int, str]) -> None:
    request: dict[str, Any] = {"topic": "/topics/news", "tokens": [ANNA]} | changed
    response = batch(world, "batchAdd", **request)
    assert (response.status, json.loads(response.body)["error"]) == answer


def test_a_scope_that_is_not_for_messages_does_not_help(world: World) -> None:
    granted = world.grant(world.assertion(scope="https://www.googleapis.com/auth/devstorage.read_only"))
    world.access_token = json.loads(granted.body)["access_token"]
    assert batch(world, "batchAdd", "/topics/news", [ANNA]).status == 403


def test_a_scripted_refusal_has_the_topic_services_form(world: World) -> None:
    call = Call(b"POST", b"/iid/v1:batchAdd", [], b"{}")
    refusal = world.fcm.refusal(call, 503, "", NOW_S)
    assert (refusal.status, json.loads(refusal.body)) == (503, {"error": "INTERNAL"})


class TestSubscriptions:
    """The newer way, a token and a topic a call."""

    @staticmethod
    def call(world: World, method: str, rest: str, token: str = ANNA, project: str = PROJECT) -> Response:
        path = f"/v1/projects/{project}/registrations/{quote(token, safe='')}/topicSubscriptions{rest}"
        return world.call(path, b"{}", method)

    def test_joining_and_leaving(self, world: World) -> None:
        assert self.call(world, "POST", "?topic_name=news").status == 200
        assert reached(world, topic="news") == [ANNA]
        again = self.call(world, "POST", "?topic_name=news")
        assert (again.status, error(again)["status"]) == (409, "ALREADY_EXISTS")
        assert self.call(world, "DELETE", "/news").status == 200
        assert reached(world, topic="news") == []
        gone = self.call(world, "DELETE", "/news")
        assert (gone.status, error(gone)["status"]) == (404, "NOT_FOUND")
        assert self.call(world, "DELETE", "/news?allow_missing=true").status == 200

    def test_what_is_refused(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        world.tokens.put([BERT], Token(TokenState.UNREGISTERED))
        assert fcm_code(self.call(world, "POST", "?topic_name=news", BERT)) == "UNREGISTERED"
        assert fcm_code(self.call(world, "POST", "?topic_name=news", "malformed")) == "INVALID_ARGUMENT"
        assert fcm_code(self.call(world, "POST", "?topic_name=a%20b")) == "INVALID_ARGUMENT"
        assert fcm_code(self.call(world, "POST", "")) == "INVALID_ARGUMENT"
        assert fcm_code(self.call(world, "PUT", "/news")) == "INVALID_ARGUMENT"
        assert self.call(world, "POST", "?topic_name=news", project="nobody").status == 404
        monkeypatch.setattr(fcm_topics, "MEMBERSHIPS_MAX", 0)
        assert self.call(world, "POST", "?topic_name=news").status == 429


def test_room_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcm_topics, "MEMBERSHIPS_MAX", 1)
    topics = Topics()
    assert topics.join("p", "a", "t")
    assert not topics.join("p", "b", "t")
    assert topics.leave("p", "a", "t") and not topics.leave("p", "a", "t")
    assert topics.join("p", "b", "t") and topics.has("p", "b", "t")
    topics.clear()
    assert topics.join("p", "a", "t")
