"""Topics and conditions at Google: what is sent to them, who is in them, and messages that are only checked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.accounts import FcmAccount
from pushrpc.content import Content
from pushrpc.exchange import Endpoint, Response
from pushrpc.model import NO_ADDRESS, Address, Outcome, Scope
from pushrpc.providers import Call, ChecksMessages, KeepsTopics, MessageRefused
from pushrpc.providers.fcm import Fcm
from pushrpc.words import AudienceKind, HubPlatform, OutcomeKind, RejectReason
from tests.providers.conftest import Keys
from tests.providers.samples import NOTIFICATION_ID, NOW_US, batch, claimed, headers_of, json_of, notification, refused

TO_TOPIC = Address(audience=AudienceKind.TOPIC)
TO_CONDITION = Address(audience=AudienceKind.CONDITION)
BOTH = "'news' in topics && ('sport' in topics || !('quiet' in topics))"


@pytest.fixture(scope="session")
def account(keys: Keys) -> FcmAccount:
    return FcmAccount("shop", keys.file("google.json"))


@pytest.fixture(scope="session")
def fcm(account: FcmAccount) -> Fcm:
    return Fcm(account)


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["news", "a", "x" * 900, "News-2024_v1.0~%"])
def test_topics(fcm: Fcm, topic: str) -> None:
    assert fcm.address_problem(topic, TO_TOPIC) is None


@pytest.mark.parametrize("topic", ["", "/topics/news", "a b", "ä", "x" * 901, "a\n", "a'b", "a&b"])
def test_what_is_no_topic(fcm: Fcm, topic: str) -> None:
    assert "900 of" in refused(fcm.address_problem(topic, TO_TOPIC))


@pytest.mark.parametrize(
    "condition",
    [
        "'a' in topics",
        BOTH,
        " ( 'a' in topics ) ",
        "'a' in topics&&'b' in topics",
        "!!('a' in topics)",
        "((('a' in topics)))",
        " || ".join(f"'{n}' in topics" for n in range(5)),
    ],
)
def test_conditions(fcm: Fcm, condition: str) -> None:
    assert fcm.address_problem(condition, TO_CONDITION) is None


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("", "made of"),
        ("news", "made of"),
        ("'a' in topics &&", "made of"),
        ("&& 'a' in topics", "made of"),
        ("'a' in topics 'b' in topics", "made of"),
        ("('a' in topics", "made of"),
        ("'a' in topics)", "made of"),
        (")'a' in topics(", "made of"),
        ("()", "made of"),
        ("'a' in topics !", "made of"),
        ("'a' in topics !('b' in topics)", "made of"),
        ("'a' in topics & 'b' in topics", "made of"),
        ("'a' in topic", "made of"),
        ("'a b' in topics", "a topic is"),
        (" || ".join(f"'{n}' in topics" for n in range(6)), "at most 5"),
    ],
)
def test_what_is_no_condition(fcm: Fcm, condition: str, words: str) -> None:
    assert words in refused(fcm.address_problem(condition, TO_CONDITION))


WORDS = st.lists(st.sampled_from(["'a' in topics", " && ", " || ", "!", "(", ")", " "]), min_size=1).map("".join)
WELL_FORMED = st.recursive(
    st.just("'a' in topics"),
    lambda inner: (
        inner.map("!{}".format)
        | inner.map("({})".format)
        | st.tuples(inner, st.sampled_from([" && ", "||"]), inner).map("".join)
    ),
    max_leaves=5,
)


@given(WORDS)
def test_what_passes_is_an_expression(fcm: Fcm, condition: str) -> None:
    if fcm.address_problem(condition, TO_CONDITION) is None:
        python = condition.replace("'a' in topics", "True").replace("&&", " and ").replace("||", " or ")
        compile(python.replace("!", " not ").strip(), "", "eval")


@given(WELL_FORMED)
def test_every_expression_of_five_topics_passes(fcm: Fcm, condition: str) -> None:
    assert fcm.address_problem(condition, TO_CONDITION) is None


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (Address(audience=AudienceKind.CHANNEL), "topic and condition only"),
        (Address(audience=AudienceKind.EVERYONE), "topic and condition only"),
        (Address("key", "auth"), "a token alone"),
        (Address(platform=HubPlatform.FCM_V1), "a token alone"),
    ],
)
def test_other_addresses_are_refused(fcm: Fcm, address: Address, words: str) -> None:
    assert words in refused(fcm.address_problem("news", address))
    assert fcm.address_problem("t", NO_ADDRESS) is None


# --- messages ----------------------------------------------------------------------------------------------------


def test_one_notification_to_tokens_topics_and_a_condition(fcm: Fcm) -> None:
    of = notification()
    targets = [("t0", NO_ADDRESS), ("news", TO_TOPIC), ("t2", NO_ADDRESS), (BOTH, TO_CONDITION), ("t4", NO_ADDRESS)]
    deliveries = [claimed(of, token, place, address.text) for place, (token, address) in enumerate(targets)]
    requests = fcm.prepare(batch(fcm, deliveries), b"Bearer t", NOW_US)
    messages = [json_of(requests, place)["message"] for place in range(5)]
    told = [
        {key: message.pop(key) for key in ("token", "topic", "condition") if key in message} for message in messages
    ]
    assert told == [{"token": "t0"}, {"topic": "news"}, {"token": "t2"}, {"condition": BOTH}, {"token": "t4"}]
    assert all(message == messages[0] for message in messages)
    assert [row.covers for row in requests.rows] == [(0,), (1,), (2,), (3,), (4,)]


def test_an_audience_gets_half_of_what_a_token_may(fcm: Fcm) -> None:
    of = notification(Content(title="t", data={"k": "x" * 2000}))
    fcm.check_message(of)
    for address in (TO_TOPIC, TO_CONDITION):
        with pytest.raises(MessageRefused, match="than the 2048 allowed") as told:
            fcm.check_message(of, address)
        assert told.value.reason is RejectReason.PAYLOAD_TOO_LARGE


def test_a_preview_counts_as_google_does(fcm: Fcm) -> None:
    of = notification(Content(title="tü", data={"k": "v"}))
    preview = fcm.preview(of, NO_ADDRESS, NOW_US)
    ids = len("tag") + len("notification_id") + 2 * len(NOTIFICATION_ID)
    assert preview.size_bytes == len("title") + len("tü".encode()) + len("k") + len("v") + ids
    assert (preview.limit_bytes, preview.truncated, preview.dropped) == (4096, (), ())
    assert list(preview.headers) == [("content-type", "application/json")]
    message = json_of(fcm.prepare(batch(fcm, [claimed(of, "t")]), None, NOW_US))["message"]
    assert json.loads(preview.payload)["message"] == {k: v for k, v in message.items() if k != "token"}
    assert fcm.preview(of, TO_TOPIC, NOW_US).limit_bytes == 2048


@pytest.mark.parametrize(
    ("changed", "lost"),
    [
        ({}, ""),
        ({"fcm": replace(Content().fcm, data_only=True)}, "android_channel_id subtitle badge sound category thread_id"),
        (
            {"silent": True},
            "android_channel_id subtitle badge sound category thread_id title body image_url title_loc_key",
        ),
    ],
)
def test_what_reaches_nobody_is_told(fcm: Fcm, changed: dict[str, Any], lost: str) -> None:
    full = Content(
        title="t", body="b", subtitle="s", badge=0, sound="x", category="c", thread_id="i", link="shop://1",
        image_url="https://i", data={"a": "b"}, android_channel_id="a", title_loc_key="T",
    )  # fmt: skip
    told = fcm.preview(notification(replace(full, **changed)), NO_ADDRESS, NOW_US).dropped
    assert sorted(told) == sorted(f"message.{name}" for name in lost.split())


@pytest.mark.parametrize("address", [NO_ADDRESS, TO_TOPIC])
@pytest.mark.parametrize("letter", ["x", "é", '"', "👨‍👩‍👧"])
@pytest.mark.parametrize("data_only", [False, True])
def test_a_long_body_is_cut_by_googles_count(fcm: Fcm, address: Address, letter: str, data_only: bool) -> None:
    limit = 4096 if address is NO_ADDRESS else 2048
    options = replace(Content().fcm, data_only=data_only)
    long = Content(title="t", body=letter * (5000 // len(letter)), fcm=options)
    with pytest.raises(MessageRefused, match="allowed"):
        fcm.check_message(notification(long), address)
    of = notification(replace(long, truncate=True))
    fcm.check_message(of, address)
    preview = fcm.preview(of, address, NOW_US)
    assert preview.truncated == ("message.body",)
    assert limit - len(letter.encode()) < preview.size_bytes <= limit
    delivery = claimed(of, "news", 0, address.text)
    message = json_of(fcm.prepare(batch(fcm, [delivery]), None, NOW_US + 1_000_000))["message"]
    body = message["data" if data_only else "notification"]["body"]
    assert body.endswith("…") and long.body.startswith(body[:-1])
    assert len(body[:-1]) % len(letter) == 0, "a letter was torn apart"


def test_a_body_that_apple_gets_in_json_is_cut_by_apples_count(fcm: Fcm) -> None:
    of = notification(Content(title="t", subtitle="s", body='"' * 3000, truncate=True))
    message = json_of(fcm.prepare(batch(fcm, [claimed(of, "t")]), None, NOW_US))["message"]
    alert = json.dumps(message["apns"]["payload"], separators=(",", ":"), ensure_ascii=False)
    assert 4094 <= len(alert.encode()) <= 4096
    assert message["apns"]["payload"]["aps"]["alert"]["body"] == message["notification"]["body"]


# --- validate_only -----------------------------------------------------------------------------------------------


def request(call: Call) -> tuple[bytes, bytes, dict[bytes, bytes], Any]:
    (row,) = call.requests.rows
    assert row.covers == ()
    return call.requests.templates[0].authority, row.path, dict(headers_of(call.requests, row)), json_of(call.requests)


@pytest.mark.parametrize(("name", "address"), [("token", NO_ADDRESS), ("topic", TO_TOPIC), ("condition", TO_CONDITION)])
def test_a_message_that_is_only_checked(fcm: Fcm, name: str, address: Address) -> None:
    assert isinstance(fcm, ChecksMessages)
    of = notification()
    call = fcm.check_call(of, 'x"y', address, b"Bearer t", NOW_US)
    assert call.endpoint == Endpoint("fcm.googleapis.com", 443)
    authority, path, headers, body = request(call)
    assert (authority, path) == (b"fcm.googleapis.com", b"/v1/projects/shop-1234/messages:send")
    assert headers == {b"authorization": b"Bearer t", b"content-type": b"application/json"}
    sent = json_of(fcm.prepare(batch(fcm, [claimed(of, 'x"y', 0, address.text)]), None, NOW_US))
    assert body == {"validate_only": True} | sent
    assert body["message"][name] == 'x"y'


# --- who is in a topic -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("join", "path"), [(True, b"/iid/v1:batchAdd"), (False, b"/iid/v1:batchRemove")])
def test_joining_and_leaving(fcm: Fcm, join: bool, path: bytes) -> None:
    assert isinstance(fcm, KeepsTopics)
    assert fcm.topic_tokens_max == 1000
    call = fcm.topic_call("news", ["a", "b"], join, b"Bearer t")
    assert call.endpoint == Endpoint("iid.googleapis.com", 443)
    assert request(call) == (
        b"iid.googleapis.com",
        path,
        {b"authorization": b"Bearer t", b"access_token_auth": b"true", b"content-type": b"application/json"},
        {"to": "/topics/news", "registration_tokens": ["a", "b"]},
    )


def test_an_endpoint_stands_in_for_topics_too(account: FcmAccount, keys: Keys) -> None:
    pointed = Fcm(replace(account, endpoint="https://[::1]:1234", ca_file=keys.file("cert.pem")))
    call = pointed.topic_call("news", ["a"], True, None)
    assert call.endpoint == Endpoint("::1", 1234, keys.file("cert.pem"))
    authority, _, headers, _ = request(call)
    assert authority == b"[::1]:1234"
    assert b"authorization" not in headers


INVALID, REFUSED, SETTINGS = OutcomeKind.TOKEN_INVALID, OutcomeKind.PAYLOAD_REFUSED, OutcomeKind.CREDENTIAL_REFUSED
ROWS: list[tuple[Any, Outcome]] = [
    ({}, Outcome(OutcomeKind.ACCEPTED, 200)),
    ({"error": "NOT_FOUND"}, Outcome(INVALID, 200, "NOT_FOUND", scope=Scope.TOKEN)),
    ({"error": "INVALID_ARGUMENT"}, Outcome(INVALID, 200, "INVALID_ARGUMENT", scope=Scope.TOKEN)),
    ({"error": "TOO_MANY_TOPICS"}, Outcome(REFUSED, 200, "TOO_MANY_TOPICS", scope=Scope.TOKEN)),
    ({"error": "INTERNAL"}, Outcome(OutcomeKind.UNAVAILABLE, 200, "INTERNAL", scope=Scope.TOKEN)),
    ({"error": "UNAVAILABLE"}, Outcome(OutcomeKind.UNAVAILABLE, 200, "UNAVAILABLE", scope=Scope.TOKEN)),
    ({"error": "RESOURCE_EXHAUSTED"}, Outcome(OutcomeKind.THROTTLED, 200, "RESOURCE_EXHAUSTED", scope=Scope.TOKEN)),
    ({"error": "PERMISSION_DENIED"}, Outcome(SETTINGS, 200, "PERMISSION_DENIED", scope=Scope.TOKEN)),
    ({"error": "NEW_WORD"}, Outcome(REFUSED, 200, "NEW_WORD", scope=Scope.TOKEN)),
    ({"error": 7}, Outcome(REFUSED, 200, scope=Scope.TOKEN)),
    ("no object", Outcome(REFUSED, 200, scope=Scope.TOKEN)),
]


@pytest.mark.parametrize(("row", "outcome"), ROWS)
def test_every_row(fcm: Fcm, row: Any, outcome: Outcome) -> None:
    body = json.dumps({"results": [{}, row]}).encode()
    assert fcm.topic_results(Response(200, (), body), ["a", "b"], NOW_US) == [
        Outcome(OutcomeKind.ACCEPTED, 200),
        outcome,
    ]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"results": 7}', b'{"results": []}'])
def test_a_token_without_a_row_is_unknown(fcm: Fcm, body: bytes) -> None:
    kinds = [outcome.kind for outcome in fcm.topic_results(Response(200, (), body), ["a", "b"], NOW_US)]
    assert kinds == [OutcomeKind.UNKNOWN] * 2


def test_rows_past_the_tokens_are_nobodys(fcm: Fcm) -> None:
    response = Response(200, (), b'{"results": [{}, {"error": "NOT_FOUND"}, {}]}')
    assert [outcome.kind for outcome in fcm.topic_results(response, ["a"], NOW_US)] == [OutcomeKind.ACCEPTED]


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (400, b'{"error": "InvalidTopic"}', Outcome(REFUSED, 400, "InvalidTopic")),
        (401, b'{"error": "Unauthorized"}', Outcome(SETTINGS, 401, "Unauthorized", renew=True)),
        (403, b'{"error": "PERMISSION_DENIED"}', Outcome(SETTINGS, 403, "PERMISSION_DENIED")),
        (404, b"<html>", Outcome(SETTINGS, 404, detail="<html>")),
        (429, b"", Outcome(OutcomeKind.THROTTLED, 429, retry_after_s=60.0)),
        (503, b'{"error": "SERVICE_UNAVAILABLE"}', Outcome(OutcomeKind.UNAVAILABLE, 503, "SERVICE_UNAVAILABLE")),
    ],
)
def test_a_call_that_fails_fails_for_every_token(fcm: Fcm, status: int, body: bytes, outcome: Outcome) -> None:
    assert fcm.topic_results(Response(status, (), body), ["a", "b"], NOW_US) == [outcome] * 2


@given(status=st.integers(), body=st.binary(max_size=100), count=st.integers(0, 5))
def test_any_answer_gets_one_outcome_for_each_token(fcm: Fcm, status: int, body: bytes, count: int) -> None:
    assert len(fcm.topic_results(Response(status, (), body), ["t"] * count, NOW_US)) == count
