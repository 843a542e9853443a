from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushrpc.content import Content
from pushrpc.model import NOT_SENT, Address, Claimed, Lane, Notification, Outcome, Scope
from pushrpc.policy import (
    ATTEMPTS_MAX,
    BACKOFF_MAX_S,
    FORBIDDEN_LOOKS,
    FORBIDDEN_LOOKS_S,
    LANE_BACKOFF_MAX_S,
    MOVES_MAX,
    PROBE_EVERY_IN_DOUBT_S,
    PROBE_EVERY_S,
    SECOND_US,
    SUSPECT_IN_ROW_MAX,
    WINDOW_ANSWERS_MIN,
    LaneHealth,
    LaneState,
    backoff_s,
    decide,
    ends_always,
    nowhere_to_send,
)
from pushrpc.words import FINAL_STATES, TRANSITIONS, Cause, DeliveryState, Environment, OutcomeKind, Priority, Provider

NOW = 1_800_000_000 * SECOND_US
DAY = 86_400 * SECOND_US
LANE = Lane("shop", Provider.APNS, "dev.pushrpc.shop", Environment.PRODUCTION)


def delivery(
    *, spent: int = 0, tries: int = 0, expire_us: int = NOW + DAY, at_most_once: bool = False, one_try: bool = False
) -> Claimed:
    notification = Notification(
        1, "shop", "n", "r", Content(title="t"), Priority.HIGH, "", at_most_once, one_try, NOW, expire_us, {}
    )
    return Claimed(1, notification, LANE, 0, "token", "", "", tries, spent)


@pytest.mark.parametrize(
    ("kind", "state", "spend"),
    [
        (OutcomeKind.ACCEPTED, DeliveryState.SENT, True),
        (OutcomeKind.TOKEN_INVALID, DeliveryState.UNREGISTERED, True),
        (OutcomeKind.PAYLOAD_REFUSED, DeliveryState.REJECTED, True),
        (OutcomeKind.CREDENTIAL_REFUSED, DeliveryState.QUEUED, False),
        (OutcomeKind.THROTTLED, DeliveryState.QUEUED, False),
        (OutcomeKind.UNSPECIFIED, DeliveryState.QUEUED, False),
        (OutcomeKind.UNAVAILABLE, DeliveryState.QUEUED, True),
        (OutcomeKind.UNKNOWN, DeliveryState.QUEUED, True),
    ],
)
def test_each_outcome_becomes_what_the_table_says(kind: OutcomeKind, state: DeliveryState, spend: bool) -> None:
    decision = decide(delivery(), Outcome(kind), NOW, 0.5)
    assert (decision.state, decision.spend) == (state, spend)


MOVED = Outcome(OutcomeKind.TOKEN_INVALID, 301, replaced_by="https://b/2", replaced_origin="https://b")


def test_a_moved_token_is_followed_at_once_and_costs_no_attempt() -> None:
    for given_once in ({}, {"one_try": True}, {"at_most_once": True}, {"spent": ATTEMPTS_MAX - 1}):
        decision = decide(delivery(**given_once), MOVED, NOW, 0.99)
        assert decision == (DeliveryState.QUEUED, Cause.UNSPECIFIED, NOW, False)
    assert decide(delivery(expire_us=NOW), MOVED, NOW, 0.0).state is DeliveryState.EXPIRED
    assert ends_always(MOVED._replace(replaced_origin="")) and not ends_always(MOVED)
    assert decide(delivery(), MOVED._replace(replaced_origin=""), NOW, 0.0).state is DeliveryState.UNREGISTERED


def test_a_token_that_moves_in_circles_is_not_followed_for_ever() -> None:
    for moves, state in ((MOVES_MAX - 1, DeliveryState.QUEUED), (MOVES_MAX, DeliveryState.FAILED)):
        address = Address("p", "a", moved_to="https://b/1", moves=moves).text
        decision = decide(delivery()._replace(address=address), MOVED, NOW, 0.0)
        assert (decision.state, decision.cause is Cause.TRIES_USED_UP) == (state, state is DeliveryState.FAILED)


def test_not_sent_and_what_a_renewal_may_mend_do_not_delay_the_delivery() -> None:
    for outcome in (Outcome(OutcomeKind.UNSPECIFIED), Outcome(OutcomeKind.CREDENTIAL_REFUSED, renew=True)):
        assert decide(delivery(tries=7), outcome, NOW, 0.99).due_us == NOW


def test_a_refused_delivery_lets_its_neighbours_go_first() -> None:
    refused = decide(delivery(), Outcome(OutcomeKind.CREDENTIAL_REFUSED), NOW, 0.0)
    assert (refused.due_us, refused.spend) == (NOW + int(PROBE_EVERY_S * SECOND_US), False)


def test_retry_after_outlasts_the_dice_but_not_reason() -> None:
    asked = Outcome(OutcomeKind.THROTTLED, retry_after_s=60.0)
    assert decide(delivery(), asked, NOW, 0.99).due_us == NOW + 60 * SECOND_US
    for absurd, expected_s in ((1e9, 3600.0), (-5.0, 0.0)):
        due_us = decide(delivery(), Outcome(OutcomeKind.THROTTLED, retry_after_s=absurd), NOW, 0.0).due_us
        assert due_us == NOW + int(expected_s * SECOND_US)


def test_tries_are_used_up_by_failures_only() -> None:
    last = delivery(spent=ATTEMPTS_MAX - 1)
    failed = decide(last, Outcome(OutcomeKind.UNAVAILABLE), NOW, 0.0)
    assert (failed.state, failed.cause) == (DeliveryState.FAILED, Cause.TRIES_USED_UP)
    assert decide(last, Outcome(OutcomeKind.THROTTLED), NOW, 0.0).state is DeliveryState.QUEUED


def test_at_most_once_never_repeats_an_unseen_answer() -> None:
    unseen = decide(delivery(at_most_once=True), Outcome(OutcomeKind.UNKNOWN), NOW, 0.0)
    assert (unseen.state, unseen.cause) == (DeliveryState.FAILED, Cause.ANSWER_UNKNOWN)
    # Surely not processed, or surely refused: repeating is safe.
    for kind in (OutcomeKind.UNSPECIFIED, OutcomeKind.UNAVAILABLE):
        assert decide(delivery(at_most_once=True), Outcome(kind), NOW, 0.0).state is DeliveryState.QUEUED


def test_one_try_ends_after_one_try_but_not_before() -> None:
    assert decide(delivery(one_try=True), Outcome(OutcomeKind.UNAVAILABLE), NOW, 0.0).state is DeliveryState.EXPIRED
    assert decide(delivery(one_try=True), Outcome(OutcomeKind.UNSPECIFIED), NOW, 0.0).state is DeliveryState.QUEUED


def test_a_try_that_would_pass_expiry_ends_now() -> None:
    soon = delivery(expire_us=NOW + 10 * SECOND_US)
    assert decide(soon, Outcome(OutcomeKind.THROTTLED, retry_after_s=10.0), NOW, 0.0).state is DeliveryState.EXPIRED
    assert decide(soon, Outcome(OutcomeKind.THROTTLED, retry_after_s=9.0), NOW, 0.0).state is DeliveryState.QUEUED


def test_a_host_at_an_inner_address_is_final_when_that_is_certain() -> None:
    waits, short = delivery(), delivery(expire_us=NOW + int(FORBIDDEN_LOOKS_S * SECOND_US))
    assert nowhere_to_send(waits, "inner", FORBIDDEN_LOOKS - 1, NOW) is NOT_SENT
    for of, looks in ((waits, FORBIDDEN_LOOKS), (short, 0)):
        outcome = nowhere_to_send(of, "inner", looks, NOW)
        decision = decide(of, outcome, NOW, 0.5)
        assert (decision.state, decision.cause) == (DeliveryState.REJECTED, Cause.ENDPOINT_FORBIDDEN)
        assert outcome.detail == "inner"
        held = LaneHealth().connect_failed(NOW, 0.5, "inner")
        assert held.observe(outcome, held.hold_until_us, 0.5) is held, "nobody answered"


def test_so_many_looks_fit_into_the_time_that_is_kept_for_them() -> None:
    health, now_us = LaneHealth(), NOW
    for _ in range(FORBIDDEN_LOOKS):
        health = health.connect_failed(now_us, 0.999, "inner")
        now_us = health.hold_until_us
    assert health.failures_in_row == FORBIDDEN_LOOKS
    assert now_us - NOW < FORBIDDEN_LOOKS_S * SECOND_US


@given(
    kind=st.sampled_from(OutcomeKind),
    retry_after_s=st.none() | st.floats(-1e12, 1e12),
    spent=st.integers(0, ATTEMPTS_MAX),
    jitter=st.floats(0, 1, exclude_max=True),
    left_us=st.integers(-SECOND_US, 3 * DAY),
    at_most_once=st.booleans(),
    one_try=st.booleans(),
)
def test_every_decision_is_a_legal_transition_before_expiry(
    kind: OutcomeKind,
    retry_after_s: float | None,
    spent: int,
    jitter: float,
    left_us: int,
    at_most_once: bool,
    one_try: bool,
) -> None:
    claimed = delivery(spent=spent, expire_us=NOW + left_us, at_most_once=at_most_once, one_try=one_try)
    decision = decide(claimed, Outcome(kind, retry_after_s=retry_after_s), NOW, jitter)
    assert decision.state in TRANSITIONS[DeliveryState.IN_FLIGHT]
    if decision.state is DeliveryState.QUEUED:
        assert NOW <= decision.due_us < claimed.notification.expire_us
    else:
        assert decision.state in FINAL_STATES


@given(spent=st.integers(0, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_backoff_is_full_jitter_under_a_cap(spent: int, jitter: float) -> None:
    assert 0 <= backoff_s(spent, jitter) < min(BACKOFF_MAX_S, 2.0 ** min(spent, 9)) + 1e-9
    assert backoff_s(spent, 0.5) == pytest.approx(min(BACKOFF_MAX_S, 2.0 ** min(spent, 9)) / 2)


# --- the lane


def test_a_lane_proves_its_credential_with_one_delivery() -> None:
    health = LaneHealth()
    assert health.limit(NOW, 512) == 1
    assert health.accepted(1, NOW).limit(NOW, 512) == 512


@pytest.mark.parametrize("kind", [OutcomeKind.TOKEN_INVALID, OutcomeKind.PAYLOAD_REFUSED, OutcomeKind.THROTTLED])
def test_any_answer_about_the_message_proves_the_credential(kind: OutcomeKind) -> None:
    assert LaneHealth().observe(Outcome(kind, scope=Scope.TOKEN), NOW, 0.5).state is LaneState.OPEN


def test_a_refused_credential_is_renewed_once_and_then_pauses_the_lane() -> None:
    refused = Outcome(OutcomeKind.CREDENTIAL_REFUSED, provider_status=401, renew=True)
    renewing = LaneHealth(LaneState.OPEN).observe(refused, NOW, 0.5)
    assert (renewing.state, renewing.limit(NOW, 512)) == (LaneState.RENEWING, 0)
    proving = renewing.credential_changed()
    assert proving.limit(NOW, 512) == 1
    paused = proving.observe(refused, NOW, 0.5)
    assert paused.state is LaneState.PAUSED
    probe_at = NOW + int(PROBE_EVERY_S * SECOND_US)
    assert [paused.limit(t, 512) for t in (NOW, probe_at - 1, probe_at)] == [0, 0, 1]
    assert paused.accepted(1, probe_at).state is LaneState.OPEN


def test_a_credential_that_cannot_be_renewed_pauses_at_once() -> None:
    refused = Outcome(OutcomeKind.CREDENTIAL_REFUSED, reason="BadTopic")
    paused = LaneHealth(LaneState.OPEN).observe(refused, NOW, 0.5)
    assert (paused.state, paused.reason) == (LaneState.PAUSED, "BadTopic")


def test_a_credential_that_only_some_tokens_need_pauses_nobody_else() -> None:
    refused = Outcome(OutcomeKind.CREDENTIAL_REFUSED, reason="THIRD_PARTY_AUTH_ERROR", scope=Scope.TOKEN)
    health = LaneHealth(LaneState.OPEN)
    for _ in range(100):
        health = health.observe(refused, NOW, 0.5)
    assert health.state is LaneState.OPEN


def test_a_throttled_lane_waits_as_asked_and_late_answers_do_not_reopen_it() -> None:
    throttled = Outcome(OutcomeKind.THROTTLED, retry_after_s=30.0, scope=Scope.LANE)
    held = LaneHealth(LaneState.OPEN).observe(throttled, NOW, 0.5).accepted(100, NOW + SECOND_US)
    assert [held.limit(NOW + s * SECOND_US, 512) for s in (1, 29, 30)] == [0, 0, 64], "a refilled quota takes a few"
    assert held.accepted(1, NOW + 30 * SECOND_US).state is LaneState.OPEN


def test_a_throttled_token_holds_nobody_else() -> None:
    throttled = Outcome(OutcomeKind.THROTTLED, retry_after_s=30.0, scope=Scope.TOKEN)
    assert LaneHealth(LaneState.OPEN).observe(throttled, NOW, 0.5).state is LaneState.OPEN


def test_the_breaker_opens_at_half_of_twenty_failures_and_not_before() -> None:
    down = Outcome(OutcomeKind.UNAVAILABLE, provider_status=503)
    health = LaneHealth(LaneState.OPEN).accepted(WINDOW_ANSWERS_MIN, NOW)
    for _ in range(WINDOW_ANSWERS_MIN - 1):
        health = health.observe(down, NOW, 0.5)
        assert health.state is LaneState.OPEN
    assert health.observe(down, NOW, 0.5).state is LaneState.HOLDING
    few = LaneHealth(LaneState.OPEN).accepted(1000, NOW)
    for _ in range(100):
        few = few.observe(down, NOW, 0.5)
    assert few.state is LaneState.OPEN


def test_a_sustained_outage_is_probed_ever_more_rarely_up_to_a_quarter_of_an_hour() -> None:
    health, now_us, waits = LaneHealth(LaneState.OPEN), NOW, []
    for _ in range(20):
        health = health.connect_failed(now_us, 0.999, "refused")
        waits.append(health.hold_until_us - now_us)
        now_us = health.hold_until_us
    assert waits == sorted(waits)
    assert waits[0] <= SECOND_US
    assert LANE_BACKOFF_MAX_S * 0.99 * SECOND_US <= waits[-1] <= LANE_BACKOFF_MAX_S * SECOND_US


def test_late_failures_do_not_lengthen_a_hold() -> None:
    """Whatever was on the wire when the lane was held says nothing new about the provider."""
    throttled = Outcome(OutcomeKind.THROTTLED, retry_after_s=2.0, scope=Scope.LANE)
    down = Outcome(OutcomeKind.UNAVAILABLE, provider_status=503)
    health = LaneHealth(LaneState.OPEN).observe(throttled, NOW, 0.5)
    for _ in range(500):
        health = health.observe(down, NOW + SECOND_US, 0.999).connect_failed(NOW + SECOND_US, 0.999, "refused")
    assert health.hold_until_us == NOW + 2 * SECOND_US
    once = health.observe(down, NOW + 2 * SECOND_US, 0.999)
    assert once.hold_until_us <= NOW + 3 * SECOND_US, "the first failure of a probe is the first of its row"


def test_many_misdirected_tokens_pause_the_lane_but_dead_ones_never_do() -> None:
    wrong = Outcome(OutcomeKind.TOKEN_INVALID, reason="BadDeviceToken", misdirected=True)
    gone = Outcome(OutcomeKind.TOKEN_INVALID, reason="Unregistered")
    health = dead = LaneHealth(LaneState.OPEN)
    for _ in range(WINDOW_ANSWERS_MIN):
        health = health.observe(wrong, NOW, 0.5)
        dead = dead.observe(gone, NOW, 0.5)
    assert (health.state, dead.state) == (LaneState.PAUSED, LaneState.OPEN)
    probe_at = health.hold_until_us
    assert health.observe(wrong, probe_at, 0.5).state is LaneState.PAUSED
    assert health.observe(gone, probe_at, 0.5).state is LaneState.OPEN


WRONG = Outcome(OutcomeKind.TOKEN_INVALID, reason="BadDeviceToken", misdirected=True)
DOUBTFUL = Outcome(OutcomeKind.TOKEN_INVALID, provider_status=410, ambiguous=True)


@pytest.mark.parametrize("suspect", [WRONG, DOUBTFUL])
@pytest.mark.parametrize("every_s", [0, 3600])
def test_refusals_in_a_row_pause_the_lane_however_slowly_they_come(suspect: Outcome, every_s: int) -> None:
    health, now_us = LaneHealth(LaneState.OPEN), NOW
    for _ in range(SUSPECT_IN_ROW_MAX - 1):
        health = health.observe(suspect, now_us, 0.5)
        now_us += every_s * SECOND_US
        assert health.state is LaneState.OPEN
    health = health.observe(suspect, now_us, 0.5)
    assert health.state is LaneState.PAUSED
    assert health.observe(suspect, health.hold_until_us, 0.5).state is LaneState.PAUSED
    assert health.accepted(1, health.hold_until_us).state is LaneState.OPEN


def test_in_doubt_many_are_tried_at_once_and_where_the_settings_are_wrong_only_one() -> None:
    for suspect, tried in ((DOUBTFUL, 96), (WRONG, 1)):
        health = LaneHealth(LaneState.OPEN)
        for _ in range(SUSPECT_IN_ROW_MAX):
            health = health.observe(suspect, NOW, 0.5)
        assert (health.limit(NOW, 768), health.limit(health.hold_until_us, 768)) == (0, tried)


def test_one_acceptance_speaks_for_the_lane_and_other_answers_say_nothing() -> None:
    almost = LaneHealth(LaneState.OPEN)
    for _ in range(SUSPECT_IN_ROW_MAX - 1):
        almost = almost.observe(DOUBTFUL, NOW, 0.5).observe(Outcome(OutcomeKind.PAYLOAD_REFUSED), NOW, 0.5)
    assert almost.accepted(1, NOW).observe(DOUBTFUL, NOW, 0.5).state is LaneState.OPEN
    assert almost.observe(DOUBTFUL, NOW, 0.5).state is LaneState.PAUSED


def test_what_is_ambiguous_never_pauses_by_its_share_alone() -> None:
    health = LaneHealth(LaneState.OPEN)
    for _ in range(50):  # nine in ten are dead
        for _ in range(9):
            health = health.observe(DOUBTFUL, NOW, 0.5)
        health = health.accepted(1, NOW)
    assert health.state is LaneState.OPEN


def test_a_lane_in_doubt_is_probed_faster_and_each_delivery_ever_more_rarely() -> None:
    health = LaneHealth(LaneState.OPEN, suspect_in_row=SUSPECT_IN_ROW_MAX)
    assert health.observe(DOUBTFUL, NOW, 0.5).hold_until_us == NOW + int(PROBE_EVERY_IN_DOUBT_S * SECOND_US)
    assert health.observe(WRONG, NOW, 0.5).hold_until_us == NOW + int(PROBE_EVERY_S * SECOND_US)
    paused = health.observe(WRONG, NOW, 0.5).observe(DOUBTFUL, NOW, 0.5)
    assert paused.hold_until_us == NOW + int(PROBE_EVERY_S * SECOND_US), "what is on the wire shortens no pause"
    spared = DOUBTFUL._replace(kind=OutcomeKind.CREDENTIAL_REFUSED)
    waits = [decide(delivery(tries=tries), spared, NOW, 0.0).due_us - NOW for tries in (0, 1, 2, 60)]
    assert waits == [int(PROBE_EVERY_S * SECOND_US) * times for times in (1, 2, 4, 64)]


def test_failures_long_ago_are_forgotten() -> None:
    down = Outcome(OutcomeKind.UNAVAILABLE)
    health = LaneHealth(LaneState.OPEN)
    for i in range(100):
        health = health.observe(down, NOW + i * SECOND_US, 0.5)
        assert health.state is LaneState.OPEN
