"""What a hub answers: every documented row, what its telemetry tells, and anything else that could come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.accounts import HubAccount
from pushrpc.exchange import Headers, Response
from pushrpc.model import Outcome, Scope
from pushrpc.providers.notification_hubs import NotificationHub
from pushrpc.words import Cause, OutcomeKind
from tests.providers.samples import NOW_US, claimed, notification


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> NotificationHub:
    path = tmp_path_factory.mktemp("hub") / "connection.txt"
    path.write_text("Endpoint=sb://shop-ns.servicebus.windows.net/;SharedAccessKeyName=Send;SharedAccessKey=c2VjcmV0")
    return NotificationHub(HubAccount("shop", str(path), "shop-hub"))


SETTINGS, PAYLOAD = OutcomeKind.CREDENTIAL_REFUSED, OutcomeKind.PAYLOAD_REFUSED
THROTTLED, DOWN = OutcomeKind.THROTTLED, OutcomeKind.UNAVAILABLE
AFTER_9 = ((b"retry-after", b"9"),)


def error(code: int, detail: str = "Something.TrackingId:1") -> bytes:
    return f"<Error><Code>{code}</Code><Detail>{detail}</Detail></Error>".encode()


TOLD: dict[str, Any] = {"detail": "Something.TrackingId:1"}
ANSWERS: Sequence[tuple[int, Headers, bytes, Outcome]] = [
    (201, (), b"", Outcome(OutcomeKind.ACCEPTED, 201)),
    (200, (), b"", Outcome(OutcomeKind.ACCEPTED, 200)),
    (400, (), error(400), Outcome(PAYLOAD, 400, "400", **TOLD)),
    (401, (), error(401), Outcome(SETTINGS, 401, "401", renew=True, **TOLD)),
    (403, AFTER_9, error(403), Outcome(THROTTLED, 403, "403", retry_after_s=9.0, **TOLD)),
    (403, ((b"retry-after", b"soon"),), error(403), Outcome(THROTTLED, 403, "403", **TOLD)),
    (404, (), error(404), Outcome(SETTINGS, 404, "404", **TOLD)),
    (409, (), error(409), Outcome(DOWN, 409, "409", **TOLD)),
    (410, (), error(410), Outcome(SETTINGS, 410, "410", **TOLD)),
    (412, (), error(412), Outcome(DOWN, 412, "412", **TOLD)),
    (413, (), error(413), Outcome(PAYLOAD, 413, "413", cause=Cause.PAYLOAD_TOO_LARGE, **TOLD)),
    (429, AFTER_9, error(429), Outcome(THROTTLED, 429, "429", retry_after_s=9.0, **TOLD)),
    (429, (), error(429), Outcome(THROTTLED, 429, "429", **TOLD)),
    (408, (), error(408), Outcome(DOWN, 408, "408", **TOLD)),
    (500, (), error(500), Outcome(DOWN, 500, "500", **TOLD)),
    (503, AFTER_9, error(503), Outcome(DOWN, 503, "503", retry_after_s=9.0, **TOLD)),
    (504, (), error(504), Outcome(DOWN, 504, "504", **TOLD)),
    (301, (), b"", Outcome(SETTINGS, 301)),
    (400, (), b"not XML", Outcome(PAYLOAD, 400, detail="not XML")),
    (400, (), b'<!DOCTYPE a [<!ENTITY e "x">]><Error><Code>&e;</Code></Error>', Outcome(PAYLOAD, 400)),
]


@pytest.mark.parametrize(("status", "headers", "body", "expected"), ANSWERS, ids=lambda v: str(v)[:24])
def test_every_documented_answer(
    hub: NotificationHub, status: int, headers: Headers, body: bytes, expected: Outcome
) -> None:
    covered = [claimed(notification(), "a", 0), claimed(notification(), "b", 1)]
    told = hub.classify(Response(status, headers, body), covered, NOW_US)
    if b"DOCTYPE" in body:
        told = [(outcome._replace(detail=""), message_id) for outcome, message_id in told]
    assert list(told) == [(expected, "")] * 2
    assert expected.scope is Scope.LANE


@pytest.mark.parametrize(
    ("location", "message_id"),
    [
        (b"https://shop-ns.servicebus.windows.net/shop-hub/messages/NH-1-x?api-version=2020-06", "NH-1-x"),
        (b"sb://shop-ns.servicebus.windows.net/shop-hub/messages/12345-abc", "12345-abc"),
        (b"/shop-hub/messages/a%20b/", "a b"),
        (b"", ""),
        (b"https://[", ""),
        (b"\xff\x00", "ÿ "),
    ],
)
def test_the_message_id_is_the_last_segment_of_location(hub: NotificationHub, location: bytes, message_id: str) -> None:
    covered = [claimed(notification(), str(n), n) for n in range(3)]
    told = hub.classify(Response(201, ((b"location", location),), b""), covered, NOW_US)
    assert [each[1] for each in told] == [message_id] * 3
    assert told[0][0] is hub.classify(Response(201, (), b""), covered, NOW_US)[0][0]


def test_a_hub_never_answers_for_a_token(hub: NotificationHub) -> None:
    for status in range(100, 600):
        ((outcome, _),) = hub.classify(Response(status, (), b""), [claimed(notification())], NOW_US)
        assert outcome.kind is not OutcomeKind.TOKEN_INVALID


XML = st.recursive(
    st.text(alphabet="abc 0123&;<", max_size=5),
    lambda inner: st.builds(
        lambda name, children: f"<{name}>{''.join(children)}</{name}>",
        st.sampled_from(
            ["NotificationDetails", "State", "Error", "Code", "ApnsOutcomeCounts", "Outcome", "Name", "Count"]
        ),
        st.lists(inner, max_size=3),
    ),
    max_leaves=12,
).map(str.encode)
HEADERS = st.lists(
    st.tuples(st.sampled_from([b"location", b"retry-after", b"content-type"]), st.binary(max_size=30)), max_size=3
)


@given(status=st.integers(0, 999), headers=HEADERS, body=st.binary(max_size=200) | XML)
def test_any_answer_gets_an_outcome_for_each_and_feedback(
    hub: NotificationHub, status: int, headers: Headers, body: bytes
) -> None:
    response = Response(status, headers, body)
    covered = [claimed(notification(), str(n), n) for n in range(3)]
    told = hub.classify(response, covered, NOW_US)
    assert len(told) == 3
    for outcome, message_id in told:
        assert (outcome.reason + message_id).isprintable() and len(outcome.detail.encode()) <= 1024
    feedback = hub.feedback(response, NOW_US)
    assert feedback.due_s >= 0 and feedback.outcome.reason.isprintable()
    assert hub.device_result(response, NOW_US).kind in OutcomeKind


# --- telemetry ---------------------------------------------------------------------------------------------------

NAMESPACE = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"


def details(state: str, **platforms: dict[str, int]) -> Response:
    """NotificationDetails as "Get notification message telemetry" shows it."""
    counts = "".join(
        f"<{platform}OutcomeCounts>"
        + "".join(f"<Outcome><Name>{name}</Name><Count>{count}</Count></Outcome>" for name, count in told.items())
        + f"</{platform}OutcomeCounts>"
        for platform, told in platforms.items()
    )
    body = f'<NotificationDetails xmlns="{NAMESPACE}"><NotificationId>1</NotificationId><State>{state}</State>{counts}'
    return Response(200, (), f"{body}</NotificationDetails>".encode())


def counts(**told: int) -> dict[str, int]:
    return told


ACCEPTED, DEAD, UNKNOWN = OutcomeKind.ACCEPTED, OutcomeKind.TOKEN_INVALID, OutcomeKind.UNKNOWN
TELEMETRY: Sequence[tuple[str, str, dict[str, int], OutcomeKind, str]] = [
    ("Completed", "Apns", counts(Success=1), ACCEPTED, "Success"),
    ("Completed", "Apns", counts(Success=5, Skipped=2), ACCEPTED, "Success"),
    ("Completed", "Gcm", counts(Success=1), ACCEPTED, "Success"),
    ("Completed", "Apns", counts(BadChannel=1), DEAD, "BadChannel"),
    ("Completed", "Apns", counts(ExpiredChannel=1), DEAD, "ExpiredChannel"),
    ("Completed", "FcmV1", counts(InvalidToken=1), DEAD, "InvalidToken"),
    ("Completed", "FcmV1", counts(WrongChannel=1), DEAD, "WrongChannel"),
    ("Completed", "Apns", counts(BadChannel=1, ExpiredChannel=2), DEAD, "ExpiredChannel"),
    ("Completed", "Wns", counts(InvalidToken=1), SETTINGS, "InvalidToken"),
    ("Completed", "Wns", counts(WrongToken=1), SETTINGS, "WrongToken"),
    ("Completed", "Apns", counts(InvalidCredentials=1), SETTINGS, "InvalidCredentials"),
    ("Completed", "Gcm", counts(AuthenticationError=1), SETTINGS, "AuthenticationError"),
    ("Completed", "FcmV1", counts(InvalidNotificationFormat=1), PAYLOAD, "InvalidNotificationFormat"),
    ("Completed", "Apns", counts(InvalidNotificationSize=1), PAYLOAD, "InvalidNotificationSize"),
    ("Completed", "Wns", counts(Dropped=1), PAYLOAD, "Dropped"),
    ("Completed", "FcmV1", counts(Throttled=1), THROTTLED, "Throttled"),
    ("Completed", "Wns", counts(ChannelThrottled=1), THROTTLED, "ChannelThrottled"),
    ("Completed", "Wns", counts(ChannelDisconnected=1), DOWN, "ChannelDisconnected"),
    ("Completed", "Apns", counts(PnsError=1), DOWN, "PnsError"),
    ("Completed", "Apns", counts(PnsUnreachable=1), DOWN, "PnsUnreachable"),
    ("Completed", "Wns", counts(TokenProviderUnreachable=1), DOWN, "TokenProviderUnreachable"),
    ("Completed", "Browser", counts(SomethingNew=1), UNKNOWN, "SomethingNew"),
    ("Completed", "Apns", counts(Success=998, BadChannel=2), UNKNOWN, "BadChannel"),
    ("Completed", "Apns", counts(BadChannel=1, Throttled=1), UNKNOWN, "BadChannel"),
    ("Completed", "Apns", counts(Success=0, BadChannel=1), DEAD, "BadChannel"),
    ("Completed", "Apns", counts(Skipped=1), UNKNOWN, "Completed"),
    ("Completed", "Apns", {}, UNKNOWN, "Completed"),
    ("Abandoned", "Apns", {}, DOWN, "Abandoned"),
    ("NoTargetFound", "Apns", {}, UNKNOWN, "NoTargetFound"),
    ("Cancelled", "Apns", {}, UNKNOWN, "Cancelled"),
]


@pytest.mark.parametrize(("state", "platform", "told", "kind", "reason"), TELEMETRY, ids=lambda v: str(v)[:40])
def test_what_telemetry_means(
    hub: NotificationHub, state: str, platform: str, told: dict[str, int], kind: OutcomeKind, reason: str
) -> None:
    outcome, due_s = hub.feedback(details(state, **{platform: told}), NOW_US)
    assert (outcome.kind, outcome.reason, due_s) == (kind, reason, 0.0)
    assert all(f"{name} {count}" in outcome.detail for name, count in told.items() if count and name != "Skipped")


def test_platforms_are_summed(hub: NotificationHub) -> None:
    outcome, due_s = hub.feedback(details("Completed", Apns=counts(Success=2), FcmV1=counts(Success=3)), NOW_US)
    assert (outcome.kind, outcome.detail, due_s) == (ACCEPTED, "Success 3, Success 2", 0.0)


@pytest.mark.parametrize(
    ("response", "kind", "due_s"),
    [
        (details("Enqueued"), UNKNOWN, 10.0),
        (details("Processing"), UNKNOWN, 10.0),
        (details("Scheduled"), UNKNOWN, 10.0),
        (details("Unknown"), UNKNOWN, 10.0),
        (details("SomethingNew", Apns=counts(BadChannel=1)), DEAD, 10.0),
        (details("DetailedStateAvailable"), UNKNOWN, 10.0),
        (details("DetailedStateAvailable", Apns=counts(Success=1)), ACCEPTED, 10.0),
        (details("DetailedStateAvailable", Apns=counts(Success=1, BadChannel=1)), UNKNOWN, 10.0),
        (details(""), UNKNOWN, 10.0),
        (Response(200, (), b""), UNKNOWN, 10.0),
        (Response(200, (), b"<Other><State>Completed</State></Other>"), UNKNOWN, 10.0),
        (
            Response(200, (), b"<!DOCTYPE x><NotificationDetails><State>Completed</State></NotificationDetails>"),
            UNKNOWN,
            10.0,
        ),
        (Response(404, (), error(404)), SETTINGS, 10.0),
        (Response(403, AFTER_9, error(403)), THROTTLED, 10.0),
        (Response(429, ((b"retry-after", b"90"),), b""), THROTTLED, 90.0),
        (Response(403, (), error(403)), SETTINGS, 3600.0),
        (Response(401, (), error(401)), SETTINGS, 300.0),
        (Response(503, (), b""), DOWN, 10.0),
    ],
    ids=lambda v: str(v)[:40],
)
def test_what_is_not_known_yet_is_asked_again(
    hub: NotificationHub, response: Response, kind: OutcomeKind, due_s: float
) -> None:
    feedback = hub.feedback(response, NOW_US)
    assert (feedback.outcome.kind, feedback.due_s) == (kind, due_s)
