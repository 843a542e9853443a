"""The HMS provider against the emulated Push Kit, both without a socket: what passes our check, it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.accounts import HmsAccount
from pushrpc.content import HmsOptions
from pushrpc.emulator.credentials import issue_hms_app
from pushrpc.emulator.hms import Hms as Huawei
from pushrpc.emulator.service import Call as Asked
from pushrpc.emulator.tokens import Token, TokenBook, TokenState, hms_tokens
from pushrpc.exchange import Requests, Response
from pushrpc.model import Address, Notification
from pushrpc.providers import Call, Classified, MessageRefused
from pushrpc.providers.credentials import ClientToken
from pushrpc.providers.hms import Hms
from pushrpc.words import AudienceKind, OutcomeKind
from tests.providers.conftest import Keys
from tests.providers.samples import NOW_US, batch, body_of, claimed, headers_of, notification
from tests.providers.strategies import NOTIFICATIONS


class World:
    """An account whose access token came from the emulated token endpoint."""

    def __init__(self, keys: Keys) -> None:
        self.huawei = Huawei(TokenBook())
        app_id, secret_file = issue_hms_app(self.huawei, keys.directory)
        self.hms = Hms(HmsAccount("shop", app_id, str(secret_file)))
        assert isinstance(self.hms.credential, ClientToken)
        renewal = self.hms.credential.renewal(NOW_US)
        asked = Asked(b"POST", b"/oauth2/v3/token", renewal.headers, renewal.body)
        assert self.hms.credential.renewed(self.huawei.answer(asked, NOW_US).response, NOW_US) is None
        self.authorization = self.hms.credential.current(NOW_US)

    def answered(self, requests: Requests, position: int = 0) -> Response:
        row = requests.rows[position]
        asked = Asked(b"POST", row.path, headers_of(requests, row), body_of(requests, row))
        return self.huawei.answer(asked, NOW_US).response

    def asked(self, call: Call) -> Response:
        return self.answered(call.requests)

    def sent(self, of: Notification, tokens: Sequence[str], address: str = "") -> list[Classified]:
        deliveries = [claimed(of, token, i, address) for i, token in enumerate(tokens)]
        requests = self.hms.prepare(batch(self.hms, deliveries), self.authorization, NOW_US)
        outcomes: list[Classified] = []
        for position, row in enumerate(requests.rows):
            covered = [deliveries[place] for place in row.covers]
            outcomes += self.hms.classify(self.answered(requests, position), covered, NOW_US)
        return outcomes


@pytest.fixture(scope="module")
def world(keys: Keys) -> World:
    return World(keys)


_HMS = st.builds(HmsOptions, category=st.text(max_size=9), bi_tag=st.text(max_size=9), test_message=st.booleans())


@given(of=NOTIFICATIONS, options=_HMS, truncate=st.booleans(), ask=st.booleans())
def test_huawei_takes_what_passes_the_check(
    world: World, of: Notification, options: HmsOptions, truncate: bool, ask: bool
) -> None:
    # A patch can say anything, and so be refused; what it must not do is tested with the provider.
    of.content = replace(of.content, hms=options, truncate=truncate)
    try:
        world.hms.check_message(of)
    except MessageRefused:
        return
    (token,) = hms_tokens(1)
    if ask:
        call = world.hms.check_call(of, token, Address(), world.authorization, NOW_US)
        outcomes = list(world.hms.classify(world.asked(call), [claimed(of, token)], NOW_US))
    else:
        outcomes = world.sent(of, [token])
    ((outcome, message_id),) = outcomes
    assert outcome.kind is OutcomeKind.ACCEPTED
    assert message_id


@pytest.mark.parametrize("by_cause", [False, True])
def test_every_token_of_two_requests_gets_its_own_outcome(world: World, by_cause: bool) -> None:
    tokens = hms_tokens(1500)
    dead = set(tokens[3::7])
    world.huawei.by_cause = by_cause
    world.huawei.tokens.put(dead, Token(TokenState.UNREGISTERED))
    kinds = [outcome.kind for outcome, _ in world.sent(notification(), tokens)]
    assert kinds == [OutcomeKind.TOKEN_INVALID if t in dead else OutcomeKind.ACCEPTED for t in tokens]


def test_tokens_of_another_app_count_for_the_breaker(world: World) -> None:
    tokens = hms_tokens(2, seed=9)
    world.huawei.tokens.put(tokens, Token(app="another"))
    for outcome, _ in world.sent(notification(), tokens):
        assert (outcome.kind, outcome.misdirected) == (OutcomeKind.TOKEN_INVALID, True)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("news", AudienceKind.TOPIC), ("'a' in topics && ('b' in topics || 'c' in topics)", AudienceKind.CONDITION)],
)
def test_audiences(world: World, name: str, kind: AudienceKind) -> None:
    address = Address(audience=kind)
    assert world.hms.address_problem(name, address) is None
    ((outcome, _),) = world.sent(notification(), [name], address.text)
    assert outcome.kind is OutcomeKind.ACCEPTED


def test_topics_are_joined_and_left(world: World) -> None:
    live, gone = tokens = hms_tokens(2, seed=8)
    world.huawei.tokens.put([gone], Token(TokenState.UNREGISTERED))
    joined = world.asked(world.hms.topic_call("sport", tokens, True, world.authorization))
    outcomes = world.hms.topic_results(joined, tokens, NOW_US)
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.ACCEPTED, OutcomeKind.TOKEN_INVALID]
    assert world.huawei.members(world.hms.provider_app_id, "sport") == [live]
    world.asked(world.hms.topic_call("sport", tokens, False, world.authorization))
    assert world.huawei.members(world.hms.provider_app_id, "sport") == []


def test_an_access_token_of_yesterday_asks_for_renewal(world: World) -> None:
    call = world.hms.check_call(notification(), "t", Address(), b"Bearer old", NOW_US)
    ((outcome, _),) = world.hms.classify(world.asked(call), [claimed(notification())], NOW_US)
    assert (outcome.kind, outcome.renew, outcome.reason) == (OutcomeKind.CREDENTIAL_REFUSED, True, "80200001")
