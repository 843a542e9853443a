"""The Web Push provider against the emulated push services, both without a socket: what passes our check, they take."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.accounts import WebPushAccount
from pushrpc.content import WebPushOptions
from pushrpc.emulator.service import Call, Entry
from pushrpc.emulator.tokens import Token, TokenBook, TokenState
from pushrpc.emulator.webpush import Personality, Subscription
from pushrpc.emulator.webpush import WebPush as PushServices
from pushrpc.exchange import Response
from pushrpc.model import Address, Batch, Claimed, Lane, Notification, Outcome, Scope
from pushrpc.providers import MessageRefused
from pushrpc.providers.webpush import WebPush
from pushrpc.words import Environment, OutcomeKind, Provider, Urgency
from tests.providers.conftest import Keys
from tests.providers.samples import NOTIFICATION_ID, NOW_US, claimed, headers_of, notification
from tests.providers.strategies import NOTIFICATIONS

ORIGIN = "https://127.0.0.1:8443"
ALL = list(Personality)


class World:
    """One account, and a browser of each kind that subscribed for its key."""

    def __init__(self, keys: Keys) -> None:
        self.services = PushServices(TokenBook())
        self.account = WebPushAccount("shop", keys.file("apple.p8"), "mailto:push@shop.example", endpoint=ORIGIN)
        self.push = WebPush(self.account)
        self.browsers = [self.services.subscribe(ORIGIN, self.push.provider_app_id, each) for each in ALL]

    def send(
        self, of: Notification, to: Subscription, now_us: int = NOW_US, push: WebPush | None = None
    ) -> tuple[Outcome, str, Entry | None]:
        push = push or self.push
        address = Address(to.p256dh, to.auth)
        assert push.token_problem(to.endpoint) is push.address_problem(to.endpoint, address) is None
        lane = Lane("shop", Provider.WEB_PUSH, "", Environment.UNSPECIFIED, push.origin(to.endpoint))
        delivery: Claimed = claimed(of, to.endpoint, address=address.text)
        requests = push.prepare(Batch(lane, [delivery]), None, NOW_US)
        row = requests.rows[0]
        call = Call(b"POST", row.path, headers_of(requests, row), row.body or b"")
        verdict = self.services.answer(call, now_us)
        ((outcome, message_id),) = push.classify(verdict.response, [delivery], NOW_US)
        return outcome, message_id, verdict.accepted


@pytest.fixture(scope="module")
def world(keys: Keys) -> World:
    return World(keys)


_OPTIONS = st.builds(WebPushOptions, urgency=st.sampled_from(Urgency), topic=st.text(max_size=9))


@given(of=NOTIFICATIONS, options=_OPTIONS, truncate=st.booleans(), which=st.integers(0, 2))
def test_browsers_get_what_passes_the_check(
    world: World, of: Notification, options: WebPushOptions, truncate: bool, which: int
) -> None:
    of.content = replace(of.content, web_push=options, truncate=truncate)
    try:
        world.push.check_message(of)
    except MessageRefused:
        return
    outcome, message_id, entry = world.send(of, world.browsers[which])
    assert outcome == Outcome(OutcomeKind.ACCEPTED, 201)
    assert entry is not None
    assert entry.message_id == message_id
    assert json.loads(entry.payload)["data"]["notification_id"] == NOTIFICATION_ID


@pytest.mark.parametrize("which", range(3), ids=ALL)
@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (TokenState.UNREGISTERED, OutcomeKind.TOKEN_INVALID),
        (TokenState.EXPIRED, OutcomeKind.TOKEN_INVALID),
        (TokenState.THROTTLED, OutcomeKind.THROTTLED),
    ],
)
def test_what_has_become_of_a_subscription_is_understood(
    world: World, which: int, state: TokenState, kind: OutcomeKind
) -> None:
    one = world.services.subscribe(ORIGIN, world.push.provider_app_id, ALL[which])
    world.services.tokens.put([one.endpoint], Token(state))
    outcome, message_id, entry = world.send(notification(), one)
    assert (outcome.kind, outcome.misdirected, message_id, entry) == (kind, False, "", None)
    assert outcome.retry_after_s == (60.0 if state is TokenState.THROTTLED else None)


@pytest.mark.parametrize("which", range(3), ids=ALL)
def test_a_subscription_for_another_key_is_dead_and_looks_like_a_wrong_key(
    world: World, keys: Keys, which: int
) -> None:
    other = WebPush(replace(world.account, vapid_key_file=keys.file("other.pem")))
    outcome, _, entry = world.send(notification(), world.browsers[which], push=other)
    assert (outcome.kind, outcome.misdirected, entry) == (OutcomeKind.TOKEN_INVALID, True, None)


@pytest.mark.parametrize("which", range(3), ids=ALL)
def test_a_clock_that_is_a_day_off_pauses_the_lane_and_nobody_dies(world: World, which: int) -> None:
    for now_us in (NOW_US - 86_400_000_000, NOW_US + 86_400_000_000):
        outcome, _, entry = world.send(notification(), world.browsers[which], now_us)
        assert (outcome.kind, outcome.scope, entry) == (OutcomeKind.CREDENTIAL_REFUSED, Scope.LANE, None)


@pytest.mark.parametrize("which", range(3), ids=ALL)
@pytest.mark.parametrize("status", [500, 502, 503])
def test_outages_pass(world: World, which: int, status: int) -> None:
    path = world.browsers[which].endpoint.removeprefix(ORIGIN).encode()
    answer: Response = world.services.refusal(Call(b"POST", path, (), b""), status, "", NOW_US)
    ((outcome, _),) = world.push.classify(answer, [claimed(notification())], NOW_US)
    assert outcome.kind is OutcomeKind.UNAVAILABLE


def test_a_repeat_of_the_same_topic_replaces_what_waits(world: World) -> None:
    one = world.services.subscribe(ORIGIN, world.push.provider_app_id)
    for number in range(3):
        of = notification(notification_id=f"0193f2a4-5b6c-7d8e-9fa0-00000000000{number}", collapse_key="score: 🏆")
        world.send(of, one)
    (message,) = world.services.collect(one.endpoint, NOW_US)
    assert json.loads(message.plaintext)["data"]["notification_id"].endswith("2")


def test_the_id_of_a_message_takes_it_back(world: World) -> None:
    one = world.services.subscribe(ORIGIN, world.push.provider_app_id)
    _, message_id, _ = world.send(notification(), one)
    path = message_id.removeprefix(ORIGIN).encode()
    assert world.services.answer(Call(b"DELETE", path, (), b""), NOW_US).response.status == 204
    assert world.services.collect(one.endpoint, NOW_US) == []
