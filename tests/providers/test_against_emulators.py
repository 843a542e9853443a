"""The providers against the emulated services, both without a socket: what passes our check, they take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from pushrpc.accounts import ApnsAccount, FcmAccount, WnsAccount
from pushrpc.emulator.apns import Accounts, ApnsConnection, Key
from pushrpc.emulator.apns import Apns as EmulatedApns
from pushrpc.emulator.fcm import Fcm as EmulatedFcm
from pushrpc.emulator.fcm import ServiceAccount
from pushrpc.emulator.quota import Quota
from pushrpc.emulator.service import Call
from pushrpc.emulator.tokens import Token, TokenBook, TokenState
from pushrpc.emulator.wns import Wns as EmulatedWns
from pushrpc.emulator.wns import wns_channels
from pushrpc.model import Notification, Outcome
from pushrpc.providers import MessageRefused, ProviderAccount
from pushrpc.providers.apns import Apns
from pushrpc.providers.credentials import GoogleToken
from pushrpc.providers.fcm import Fcm
from pushrpc.providers.fcm_message import reserved_data_key
from pushrpc.providers.wns import Wns
from pushrpc.words import Cause, OutcomeKind
from tests.providers.conftest import Keys
from tests.providers.samples import NOW_US, batch, body_of, claimed, headers_of, notification
from tests.providers.strategies import NOTIFICATIONS, WINDOWS_NOTIFICATIONS

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
    # What the gRPC edge refuses by itself: labels with foreign letters, Google's keys, patches that make no Message.
    data = {key: value for key, value in of.content.data.items() if not reserved_data_key(key)}
    of = with_content(of, fcm_json="", data=data, fcm=replace(of.content.fcm, analytics_label=""))
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


WNS_ENDPOINT, SID = "https://127.0.0.1:8443", "ms-app://s-1-15-2-7"
(CHANNEL,) = wns_channels(WNS_ENDPOINT, 1)


class Windows:
    """An account and the emulated Microsoft that it has its access token from."""

    def __init__(self, keys: Keys, **account: str) -> None:
        (keys.directory / "wns-against.secret").write_text("secret")
        client_id = account.get("client_id", SID)
        given = {"client_id": client_id, "client_secret_file": keys.file("wns-against.secret")} | account
        self.account = Wns(WnsAccount("shop", endpoint=WNS_ENDPOINT, **given))
        self.service = EmulatedWns(TokenBook())
        self.service.put_app(client_id, "secret", tenant_id=account.get("tenant_id", ""))
        assert self.account.credential is not None
        request = self.account.credential.renewal(NOW_US)
        assert request is not None
        call = Call(b"POST", request.url.removeprefix(WNS_ENDPOINT).encode(), request.headers, request.body)
        assert self.account.credential.renewed(self.service.answer(call, NOW_US).response, NOW_US) is None

    def answered(self, of: Notification) -> Outcome:
        assert self.account.credential is not None
        delivery = claimed(of, CHANNEL)
        one = batch(self.account, [delivery])
        one = one._replace(lane=one.lane._replace(origin=self.account.origin(CHANNEL)))
        requests = self.account.prepare(one, self.account.credential.current(NOW_US), NOW_US)
        row, body = requests.rows[0], body_of(requests, requests.rows[0])
        # What transport adds.
        framing = [(b"host", requests.templates[0].authority), (b"content-length", b"%d" % len(body))]
        call = Call(b"POST", row.path, [*framing, *headers_of(requests, row)], body)
        ((outcome, _),) = self.account.classify(self.service.answer(call, NOW_US).response, [delivery], NOW_US)
        return outcome


@pytest.fixture(scope="module")
def windows(keys: Keys) -> Windows:
    return Windows(keys)


@given(of=WINDOWS_NOTIFICATIONS)
def test_microsoft_takes_what_passes_the_check(windows: Windows, of: Notification) -> None:
    if passes(windows.account, of):
        assert windows.answered(of) == Outcome(OutcomeKind.ACCEPTED, 200)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (TokenState.UNREGISTERED, OutcomeKind.TOKEN_INVALID),
        (TokenState.EXPIRED, OutcomeKind.TOKEN_INVALID),
        (TokenState.THROTTLED, OutcomeKind.THROTTLED),
        (TokenState.MUTED, OutcomeKind.PAYLOAD_REFUSED),
        (TokenState.OFFLINE, OutcomeKind.ACCEPTED),
    ],
)
def test_what_becomes_of_a_channel(keys: Keys, state: TokenState, kind: OutcomeKind) -> None:
    windows = Windows(keys, client_id="6d1b-11ec", tenant_id="contoso.example")
    windows.service.tokens.put([CHANNEL], Token(state))
    outcome = windows.answered(notification())
    assert outcome.kind is kind
    assert (outcome.cause is Cause.PROVIDER_DROPPED) == (state is TokenState.MUTED)


def test_a_blocked_sender_and_another_apps_channel_kill_no_device(keys: Keys) -> None:
    windows = Windows(keys)
    windows.service.tokens.put([CHANNEL], Token(app="another"))
    assert windows.answered(notification()).kind is OutcomeKind.CREDENTIAL_REFUSED
    windows.service.block(SID)
    blocked = windows.answered(notification())
    assert (blocked.kind, blocked.reason) == (OutcomeKind.CREDENTIAL_REFUSED, "Domain Blocked")
    windows.service.revoke_access_tokens()
    assert windows.answered(notification()).renew
