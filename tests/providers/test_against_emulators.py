"""The providers against the emulated services, both without a socket: what passes our check, they take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from pushrpc.emulator.apns import Accounts, ApnsConnection, Key
from pushrpc.emulator.apns import Apns as EmulatedApns
from pushrpc.emulator.fcm import Fcm as EmulatedFcm
from pushrpc.emulator.fcm import ServiceAccount
from pushrpc.emulator.quota import Quota
from pushrpc.emulator.service import Call
from pushrpc.emulator.tokens import Token, TokenBook, TokenState
from pushrpc.model import ApnsAccount, FcmAccount, Notification, Outcome
from pushrpc.providers import MessageRefused, ProviderAccount
from pushrpc.providers.apns import Apns
from pushrpc.providers.credentials import GoogleToken
from pushrpc.providers.fcm import Fcm
from pushrpc.words import OutcomeKind
from tests.providers.conftest import Keys
from tests.providers.samples import NOW_US, batch, body_of, claimed, headers_of, notification
from tests.providers.strategies import NOTIFICATIONS

NO_LIMIT = Quota(0)
TOPIC, KEY_ID, TEAM_ID = "com.example.shop", "ABC123DEFG", "TEAM567890"
APNS_TOKEN, FCM_TOKEN = "ab" * 32, "dGhpcyBpcyBub3QgcmVhbA:APA91b" + "x" * 130


@pytest.fixture(scope="module")
def apple(keys: Keys) -> EmulatedApns:
    accounts = Accounts()
    accounts.put_app(TOPIC, TEAM_ID)
    accounts.put_key(Key(KEY_ID, TEAM_ID, keys.apple.public_key()))
    return EmulatedApns("production", accounts, TokenBook(), NO_LIMIT)


@pytest.fixture(scope="module")
def google(keys: Keys) -> EmulatedFcm:
    service = EmulatedFcm(TokenBook())
    service.per_project = service.per_device = NO_LIMIT
    email = keys.service_account()["client_email"]
    service.put_service_account(ServiceAccount(email, "0f1e2d3c", keys.google.public_key(), "shop-1234"))
    return service


@pytest.fixture(scope="module")
def apns(keys: Keys) -> Apns:
    return Apns(ApnsAccount("shop", TOPIC, key_file=keys.file("apple.p8"), key_id=KEY_ID, team_id=TEAM_ID))


@pytest.fixture(scope="module")
def fcm(keys: Keys, google: EmulatedFcm) -> Fcm:
    """Its access token comes from the emulated token endpoint."""
    account = Fcm(FcmAccount("shop", keys.file("google.json")))
    assert isinstance(account.credential, GoogleToken)
    request = account.credential.renewal(NOW_US)
    answer = google.answer(Call(b"POST", b"/token", request.headers, request.body), NOW_US).response
    assert account.credential.renewed(answer, NOW_US) is None
    return account


def answered(account: ProviderAccount, service: ApnsConnection | EmulatedFcm, of: Notification, token: str) -> Outcome:
    assert account.credential is not None
    delivery = claimed(of, token)
    requests = account.prepare(batch(account, [delivery]), account.credential.current(NOW_US), NOW_US)
    row = requests.rows[0]
    call = Call(b"POST", row.path, headers_of(requests, row), body_of(requests, row))
    answer = service.answer(call, NOW_US).response
    ((outcome, _),) = account.classify(answer, [delivery], NOW_US)
    return outcome


def passes(account: ProviderAccount, of: Notification) -> bool:
    try:
        account.check_message(of)
    except MessageRefused:
        return False
    return True


def with_content(of: Notification, **changed: Any) -> Notification:
    changes = {"priority": of.priority, "collapse_key": of.collapse_key, "one_try": of.one_try}
    return notification(replace(of.content, **changed), expire_us=of.expire_us, **changes)


@given(of=NOTIFICATIONS)
def test_apple_takes_what_passes_the_check(apns: Apns, apple: EmulatedApns, of: Notification) -> None:
    # A topic of the message's own need not be one of the team's.
    of = with_content(of, apns=replace(of.content.apns, topic=""))
    if passes(apns, of):
        assert answered(apns, apple.connect(None), of, APNS_TOKEN).kind is OutcomeKind.ACCEPTED


@given(of=NOTIFICATIONS)
def test_google_takes_what_passes_the_check(fcm: Fcm, google: EmulatedFcm, of: Notification) -> None:
    # What the gRPC edge refuses by itself: labels with foreign letters, and patches that make no Message.
    of = with_content(of, fcm_json="", fcm=replace(of.content.fcm, analytics_label=""))
    if passes(fcm, of):
        assert answered(fcm, google, of, FCM_TOKEN).kind is OutcomeKind.ACCEPTED


def test_dead_tokens_are_told_with_the_time_of_death_where_there_is_one(
    apns: Apns, apple: EmulatedApns, fcm: Fcm, google: EmulatedFcm
) -> None:
    died_ms = NOW_US // 1000 - 60_000
    apple.tokens.put(["dd" * 32], Token(TokenState.UNREGISTERED, since_ms=died_ms))
    outcome = answered(apns, apple.connect(None), notification(), "dd" * 32)
    assert outcome == Outcome(OutcomeKind.TOKEN_INVALID, 410, "Unregistered", dead_since_us=died_ms * 1000)
    google.tokens.put([FCM_TOKEN + "d"], Token(TokenState.UNREGISTERED))
    outcome = answered(fcm, google, notification(), FCM_TOKEN + "d")
    assert (outcome.kind, outcome.reason, outcome.dead_since_us) == (OutcomeKind.TOKEN_INVALID, "UNREGISTERED", 0)


def test_an_unknown_access_token_asks_for_renewal(fcm: Fcm, google: EmulatedFcm) -> None:
    requests = fcm.prepare(batch(fcm, [claimed(notification(), FCM_TOKEN)]), b"Bearer ya29.other", NOW_US)
    row = requests.rows[0]
    answer = google.answer(Call(b"POST", row.path, headers_of(requests, row), row.body or b""), NOW_US).response
    ((outcome, _),) = fcm.classify(answer, [claimed(notification())], NOW_US)
    assert (outcome.kind, outcome.renew) == (OutcomeKind.CREDENTIAL_REFUSED, True)


def test_yesterdays_apple_token_asks_for_a_new_session(apns: Apns, apple: EmulatedApns) -> None:
    assert apns.credential is not None
    delivery = claimed(notification(), APNS_TOKEN)
    requests = apns.prepare(batch(apns, [delivery]), apns.credential.current(NOW_US - 86_400_000_000), NOW_US)
    row = requests.rows[0]
    call = Call(b"POST", row.path, headers_of(requests, row), body_of(requests, row))
    answer = apple.connect(None).answer(call, NOW_US).response
    ((outcome, _),) = apns.classify(answer, [delivery], NOW_US)
    assert outcome == Outcome(
        OutcomeKind.CREDENTIAL_REFUSED, 403, "ExpiredProviderToken", renew=True, close_session=True
    )
