"""What goes to many at once, from our providers to the emulated services, both without a socket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.content import ApnsOptions, Content, FcmOptions, LiveActivity
from pushrpc.emulator.apns import Apns as EmulatedApns
from pushrpc.emulator.apns import ApnsConnection
from pushrpc.emulator.fcm import Fcm as EmulatedFcm
from pushrpc.emulator.service import Call as Asked
from pushrpc.emulator.service import Verdict
from pushrpc.emulator.tokens import Token, TokenState, fcm_tokens
from pushrpc.model import Address, Notification, Outcome
from pushrpc.providers import Call, MessageRefused
from pushrpc.providers.apns import Apns
from pushrpc.providers.fcm import Fcm
from pushrpc.providers.fcm_message import reserved_data_key
from pushrpc.words import AudienceKind, Environment, LiveActivityEvent, OutcomeKind
from tests.providers.samples import NOW_US, batch, body_of, claimed, headers_of, notification
from tests.providers.strategies import LIVE_ACTIVITIES, NOTIFICATIONS
from tests.providers.test_against_emulators import apns, apple, fcm, google, with_content

__all__ = ["apns", "apple", "fcm", "google"]  # fixtures

TO_CHANNEL = Address(audience=AudienceKind.CHANNEL)
TO_TOPIC = Address(audience=AudienceKind.TOPIC)
TO_CONDITION = Address(audience=AudienceKind.CONDITION)
ANNA, BERT, CARL = fcm_tokens(3)
UPDATE = Content(apns=ApnsOptions(live_activity=LiveActivity(LiveActivityEvent.UPDATE, "{}")))


def of_call(service: ApnsConnection | EmulatedFcm, call: Call) -> Verdict:
    (row,) = call.requests.rows
    method = call.requests.templates[0].method
    asked = Asked(method, row.path, headers_of(call.requests, row), body_of(call.requests, row))
    return service.answer(asked, NOW_US)


def sent(
    account: Apns | Fcm, service: ApnsConnection | EmulatedFcm, of: Notification, targets: Sequence[tuple[str, Address]]
) -> list[tuple[Outcome, Verdict]]:
    assert account.credential is not None
    deliveries = [claimed(of, token, place, address.text) for place, (token, address) in enumerate(targets)]
    requests = account.prepare(batch(account, deliveries), account.credential.current(NOW_US), NOW_US)
    told = []
    for row in requests.rows:
        asked = Asked(b"POST", row.path, headers_of(requests, row), body_of(requests, row))
        verdict = service.answer(asked, NOW_US)
        ((outcome, _),) = account.classify(verdict.response, [deliveries[place] for place in row.covers], NOW_US)
        told.append((outcome, verdict))
    return told


def opened(apns: Apns, connection: ApnsConnection, stores_latest: bool = True) -> str:
    assert apns.credential is not None
    call = apns.create_channel_call(Environment.PRODUCTION, stores_latest, apns.credential.current(NOW_US))
    outcome, (channel,) = apns.channel_ids(of_call(connection, call).response, NOW_US)
    assert outcome == Outcome(OutcomeKind.ACCEPTED, 201)
    assert apns.address_problem(channel, TO_CHANNEL) is None
    return channel


def test_apple_keeps_channels_as_we_ask(apns: Apns, apple: EmulatedApns) -> None:
    assert apns.credential is not None
    connection, bearer = apple.connect(None), apns.credential.current(NOW_US)
    channel = opened(apns, connection)
    listing = apns.list_channels_call(Environment.PRODUCTION, bearer)
    _, channels = apns.channel_ids(of_call(connection, listing).response, NOW_US)
    assert channel in channels
    closing = apns.delete_channel_call(Environment.PRODUCTION, channel, bearer)
    assert apns.channel_ids(of_call(connection, closing).response, NOW_US) == (Outcome(OutcomeKind.ACCEPTED, 204), [])
    outcome, _ = apns.channel_ids(of_call(connection, closing).response, NOW_US)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.TOKEN_INVALID, "ChannelNotRegistered")


def test_a_started_activity_hears_the_broadcast(apns: Apns, apple: EmulatedApns) -> None:
    connection = apple.connect(None)
    channel = opened(apns, connection)
    ride = LiveActivity(LiveActivityEvent.START, "{}", "Ride", "{}", channel_id=channel)
    ((outcome, _),) = sent(
        apns, connection, notification(Content(apns=ApnsOptions(live_activity=ride))), [("ab", Address())]
    )
    assert outcome.kind is OutcomeKind.ACCEPTED
    of = notification(UPDATE)
    (to_device, to_channel) = sent(apns, connection, of, [("cd", Address()), (channel, TO_CHANNEL)])
    assert to_device[0] == to_channel[0] == Outcome(OutcomeKind.ACCEPTED, 200, own_id=True)
    entry = to_channel[1].accepted
    assert entry and (entry.token, list(entry.reached)) == (channel, ["ab"])
    assert entry.message_id == claimed(of, ordinal=1).own_id


def test_what_waits_for_a_channel_that_stores_nothing_is_refused(apns: Apns, apple: EmulatedApns) -> None:
    connection = apple.connect(None)
    channel = opened(apns, connection, stores_latest=False)
    ((outcome, _),) = sent(apns, connection, notification(UPDATE), [(channel, TO_CHANNEL)])
    assert (outcome.kind, outcome.reason) == (OutcomeKind.PAYLOAD_REFUSED, "BadExpirationDate")
    ((outcome, _),) = sent(apns, connection, notification(UPDATE, one_try=True), [(channel, TO_CHANNEL)])
    assert outcome.kind is OutcomeKind.ACCEPTED


@pytest.fixture(scope="module")
def channel(apns: Apns, apple: EmulatedApns) -> str:
    return opened(apns, apple.connect(None))


@given(of=NOTIFICATIONS, activity=LIVE_ACTIVITIES)
def test_apple_takes_the_broadcasts_that_pass_the_check(
    apns: Apns, apple: EmulatedApns, channel: str, of: Notification, activity: LiveActivity
) -> None:
    of = with_content(of, apns=ApnsOptions(live_activity=activity), apns_json="")
    try:
        apns.check_message(of, TO_CHANNEL)
    except MessageRefused:
        return
    ((outcome, _),) = sent(apns, apple.connect(None), of, [(channel, TO_CHANNEL)])
    assert outcome.kind is OutcomeKind.ACCEPTED


def test_topics_at_google(fcm: Fcm, google: EmulatedFcm) -> None:
    assert fcm.credential is not None
    bearer = fcm.credential.current(NOW_US)
    google.tokens.put([CARL], Token(TokenState.UNREGISTERED))
    tokens = [ANNA, BERT, CARL, "malformed"]

    def moved(tokens: list[str], join: bool) -> list[tuple[OutcomeKind, str]]:
        response = of_call(google, fcm.topic_call("news", tokens, join, bearer)).response
        return [(outcome.kind, outcome.reason) for outcome in fcm.topic_results(response, tokens, NOW_US)]

    accepted, invalid = (OutcomeKind.ACCEPTED, ""), OutcomeKind.TOKEN_INVALID
    assert moved(tokens, True) == [accepted, accepted, (invalid, "NOT_FOUND"), (invalid, "INVALID_ARGUMENT")]
    told = sent(
        fcm, google, notification(), [("news", TO_TOPIC), ("'news' in topics", TO_CONDITION), (ANNA, Address())]
    )
    assert [outcome.kind for outcome, _ in told] == [OutcomeKind.ACCEPTED] * 3
    entries = [verdict.accepted for _, verdict in told]
    assert [list(entry.reached) for entry in entries if entry] == [[ANNA, BERT], [ANNA, BERT], []]
    assert moved([ANNA], False) == [accepted]
    ((_, verdict),) = sent(fcm, google, notification(), [("news", TO_TOPIC)])
    assert verdict.accepted and list(verdict.accepted.reached) == [BERT]
    renew = of_call(google, fcm.topic_call("news", tokens, True, b"Bearer stale")).response
    assert {outcome.renew for outcome in fcm.topic_results(renew, tokens, NOW_US)} == {True}


@pytest.mark.parametrize(
    ("target", "address"), [(ANNA, Address()), ("news", TO_TOPIC), ("'a' in topics", TO_CONDITION)]
)
def test_a_message_that_is_only_checked_reaches_nobody(
    fcm: Fcm, google: EmulatedFcm, target: str, address: Address
) -> None:
    assert fcm.credential is not None
    call = fcm.check_call(notification(), target, address, fcm.credential.current(NOW_US), NOW_US)
    verdict = of_call(google, call)
    assert verdict.accepted is None
    ((outcome, _),) = fcm.classify(verdict.response, [claimed(notification())], NOW_US)
    assert outcome.kind is OutcomeKind.ACCEPTED


@given(of=NOTIFICATIONS, where=st.sampled_from([("news", TO_TOPIC), ("'a' in topics || 'b' in topics", TO_CONDITION)]))
def test_google_takes_what_passes_the_check_for_an_audience(
    fcm: Fcm, google: EmulatedFcm, of: Notification, where: tuple[str, Address]
) -> None:
    data = {key: value for key, value in of.content.data.items() if not reserved_data_key(key)}
    of = with_content(of, fcm_json="", data=data, fcm=replace(FcmOptions(), data_only=of.content.fcm.data_only))
    try:
        fcm.check_message(of, where[1])
    except MessageRefused:
        return
    ((outcome, _),) = sent(fcm, google, of, [where])
    assert outcome.kind is OutcomeKind.ACCEPTED
