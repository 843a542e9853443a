"""The only rules of retry, backoff, expiry and pausing. Pure: what time it is and how the dice fell are handed in."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from pushrpc.model import NOT_SENT, Address, Claimed, Outcome, Scope
from pushrpc.words import Cause, DeliveryState, OutcomeKind

SECOND_US = 1_000_000
ATTEMPTS_MAX = 50
BACKOFF_BASE_S = 1.0
BACKOFF_MAX_S = 300.0
# Apple asks to come back after 15 minutes in an outage: so long a lane may hold off, never a first retry.
LANE_BACKOFF_MAX_S = 900.0
RETRY_AFTER_MAX_S = 3_600.0  # a provider's absurd Retry-After shall not outlive the message's usefulness
PROBE_EVERY_S = 60.0
FORBIDDEN_LOOKS = 3
FORBIDDEN_LOOKS_S = 10.0  # so many take 7 s at most (`LaneHealth.connect_failed`) and the time to look
# Where it may as well be true that all of them are dead, the living behind them shall not wait for hours.
PROBE_EVERY_IN_DOUBT_S = 1.0
DOUBTS_MAX = 6  # doublings of what such a delivery waits: an hour and four minutes
# How often one delivery follows a token that its provider moves: a chain ends long before, a circle never would.
MOVES_MAX = 3

_ENDS = frozenset({OutcomeKind.ACCEPTED, OutcomeKind.TOKEN_INVALID, OutcomeKind.PAYLOAD_REFUSED})


def ends_always(outcome: Outcome) -> bool:
    """Whether it ends a delivery whatever its history: one decision then holds for all that were told the same."""
    return outcome.kind in _ENDS and not outcome.replaced_origin


class Decision(NamedTuple):
    """What becomes of one delivery. `due_us` is set when the state is QUEUED."""

    state: DeliveryState
    cause: Cause
    due_us: int
    spend: bool


def backoff_s(spent: int, jitter: float) -> float:
    """Full jitter: evenly anywhere up to the cap, so that deliveries which failed together do not return together.

    AWS, "Exponential Backoff and Jitter". `jitter` is in [0, 1).
    """
    # 2**9 s already passes the cap; the bound keeps the power small.
    return jitter * min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2.0 ** min(spent, 9))


def decide(
    delivery: Claimed, outcome: Outcome, now_us: int, jitter: float, attempts_max: int = ATTEMPTS_MAX
) -> Decision:
    """What one attempt's outcome makes of its delivery: final, or queued again and when."""
    kind = outcome.kind
    if kind is OutcomeKind.ACCEPTED:
        return Decision(DeliveryState.SENT, Cause.UNSPECIFIED, 0, True)
    if outcome.replaced_origin:
        return _follow(delivery, now_us)
    if kind is OutcomeKind.TOKEN_INVALID:
        return Decision(DeliveryState.UNREGISTERED, outcome.cause, 0, True)
    if kind is OutcomeKind.PAYLOAD_REFUSED:
        return Decision(DeliveryState.REJECTED, outcome.cause, 0, True)

    notification = delivery.notification
    if kind is OutcomeKind.UNKNOWN and notification.at_most_once:
        return Decision(DeliveryState.FAILED, Cause.ANSWER_UNKNOWN, 0, True)
    spend = kind in (OutcomeKind.UNAVAILABLE, OutcomeKind.UNKNOWN)
    if spend and delivery.spent + 1 >= attempts_max:
        return Decision(DeliveryState.FAILED, Cause.TRIES_USED_UP, 0, True)
    if notification.one_try and kind is not OutcomeKind.UNSPECIFIED:
        return Decision(DeliveryState.EXPIRED, Cause.UNSPECIFIED, 0, spend)

    due_us = now_us  # NotSent goes to another session at once, and so does what a renewed credential may mend
    if kind is OutcomeKind.CREDENTIAL_REFUSED and not outcome.renew:
        # Behind its neighbours: the lane's next probe is one that was not refused yet, so that a few deliveries which
        # alone are refused do not keep the others waiting. What may just be dead goes further behind each time: a lane
        # full of dead tokens still has to get to the living.
        wait_s = PROBE_EVERY_S * (2.0 ** min(delivery.tries, DOUBTS_MAX) if outcome.ambiguous else 1.0)
        due_us = max(now_us, min(now_us + int(wait_s * SECOND_US), notification.expire_us - 1))
    elif kind not in (OutcomeKind.UNSPECIFIED, OutcomeKind.CREDENTIAL_REFUSED):
        asked_s = min(max(outcome.retry_after_s or 0.0, 0.0), RETRY_AFTER_MAX_S)
        due_us += int(max(asked_s, backoff_s(delivery.tries, jitter)) * SECOND_US)
    if due_us >= notification.expire_us:
        cause = Cause.LANE_PAUSED if kind is OutcomeKind.CREDENTIAL_REFUSED else Cause.UNSPECIFIED
        return Decision(DeliveryState.EXPIRED, cause, 0, spend)
    return Decision(DeliveryState.QUEUED, Cause.UNSPECIFIED, due_us, spend)


def nowhere_to_send(delivery: Claimed, why: str, looks: int, now_us: int) -> Outcome:
    """What becomes of a delivery to a host with an inner address, where nothing is ever sent.

    That is certain when `looks` in a row, before this one, found no way there either (name servers slip), and as
    certain as it will be where the delivery cannot wait for them.
    """
    left_us = delivery.notification.expire_us - now_us
    if looks < FORBIDDEN_LOOKS and left_us > FORBIDDEN_LOOKS_S * SECOND_US:
        return NOT_SENT
    return Outcome(OutcomeKind.PAYLOAD_REFUSED, detail=why, cause=Cause.ENDPOINT_FORBIDDEN)


def _follow(delivery: Claimed, now_us: int) -> Decision:
    """At once, since nothing was processed: also what gets only one try, or must not be sent twice."""
    if Address.of(delivery.address).moves >= MOVES_MAX:
        return Decision(DeliveryState.FAILED, Cause.TRIES_USED_UP, 0, True)
    if now_us >= delivery.notification.expire_us:
        return Decision(DeliveryState.EXPIRED, Cause.UNSPECIFIED, 0, False)
    return Decision(DeliveryState.QUEUED, Cause.UNSPECIFIED, now_us, False)


class LaneState(Enum):
    """How a lane may move."""

    PROVING = "proving"  # the credential was not accepted yet: one delivery at a time
    OPEN = "open"
    HOLDING = "holding"  # throttled, or the provider fails: waits, then a few deliveries or one prove it
    RENEWING = "renewing"  # a refused credential is being renewed, once
    PAUSED = "paused"  # our credential or our tokens are refused: one probe a minute, in doubt many a second


# A quota that has refilled takes more than one; a provider that was down is asked with one first.
THROTTLED_PART = 8
WINDOW_US = 10 * SECOND_US
WINDOW_ANSWERS_MIN = 20
# However slowly they came. A registry of which nine in ten are dead brings so many in a row now and then, and the next
# living token ends that pause; one of which six in ten are dead does once in 30,000 answers.
SUSPECT_IN_ROW_MAX = 20


class LaneHealth(NamedTuple):
    """What recent answers say about a whole lane. Immutable: every observation returns the next one.

    The failure breaker opens when at least half of 20 or more answers within 10 s were Unavailable or missing. The
    mass-dead breaker pauses the lane when at least half of 20 or more said that the token is not for us
    (`Outcome.misdirected`): then our settings are wrong, not everybody's token. It also pauses after
    SUSPECT_IN_ROW_MAX of these, or of those that are `Outcome.ambiguous`, without an acceptance between, however long
    that takes: a lane of few messages has no 20 in 10 s, and of an ambiguous answer half would be nothing unusual.
    """

    state: LaneState = LaneState.PROVING
    hold_until_us: int = 0
    reason: str = ""
    throttled: bool = False  # it held for being too fast, or is in doubt: many may prove it at once, not one
    renewed: bool = False  # a fresh credential has been tried since one was last accepted
    failures_in_row: int = 0
    window_from_us: int = 0
    answers: int = 0
    failures: int = 0
    misdirected: int = 0
    suspect_in_row: int = 0  # misdirected or ambiguous, since the last acceptance

    def limit(self, now_us: int, in_flight_max: int) -> int:
        """How many deliveries may be in flight now; 0 while it has to wait."""
        if self.state is LaneState.OPEN:
            return in_flight_max
        if self.state is LaneState.RENEWING or now_us < self.hold_until_us:
            return 0
        return max(1, in_flight_max // THROTTLED_PART) if self.throttled else 1

    def accepted(self, count: int, now_us: int) -> LaneHealth:
        """Takes acceptances into account: the credential is good and the provider is there."""
        nxt = self._window(now_us)
        return nxt._opened(now_us)._replace(answers=nxt.answers + count, suspect_in_row=0)

    def observe(self, outcome: Outcome, now_us: int, jitter: float) -> LaneHealth:
        """Takes any other answer of the lane into account."""
        kind = outcome.kind
        if kind is OutcomeKind.UNSPECIFIED or outcome.cause is Cause.ENDPOINT_FORBIDDEN:
            return self  # nobody answered
        if kind is OutcomeKind.CREDENTIAL_REFUSED and outcome.scope is Scope.LANE:
            if outcome.renew and not self.renewed:
                return self._replace(state=LaneState.RENEWING, reason=_word(outcome))
            return self._paused(now_us, _word(outcome))
        if kind is OutcomeKind.THROTTLED and outcome.scope is Scope.LANE:
            asked_s = min(max(outcome.retry_after_s or 1.0, 0.0), RETRY_AFTER_MAX_S)
            until_us = max(self.hold_until_us, now_us + int(asked_s * SECOND_US))
            return self._replace(state=LaneState.HOLDING, throttled=True, hold_until_us=until_us, reason=_word(outcome))

        failed = kind in (OutcomeKind.UNAVAILABLE, OutcomeKind.UNKNOWN)
        nxt = self._window(now_us)
        nxt = nxt._replace(
            answers=nxt.answers + 1,
            failures=nxt.failures + failed,
            misdirected=nxt.misdirected + outcome.misdirected,
            suspect_in_row=nxt.suspect_in_row + (outcome.misdirected or outcome.ambiguous),
        )
        if failed:
            tripped = nxt.failures >= WINDOW_ANSWERS_MIN and nxt.failures * 2 >= nxt.answers
            return nxt._hold(now_us, jitter, _word(outcome)) if tripped or nxt.state is not LaneState.OPEN else nxt
        return nxt._suspect(outcome, now_us) if outcome.misdirected or outcome.ambiguous else nxt._opened(now_us)

    def connect_failed(self, now_us: int, jitter: float, detail: str) -> LaneHealth:
        """No session would take a request: hammering the provider's door helps nobody."""
        return self._hold(now_us, jitter, detail)

    def credential_changed(self) -> LaneHealth:
        """A renewed or replaced credential: prove it at once with one delivery."""
        return self._replace(state=LaneState.PROVING, hold_until_us=0, renewed=True)

    def _window(self, now_us: int) -> LaneHealth:
        if now_us - self.window_from_us <= WINDOW_US:
            return self
        return self._replace(window_from_us=now_us, answers=0, failures=0, misdirected=0)

    def _opened(self, now_us: int) -> LaneHealth:
        # Answers to requests that left before the lane was stopped do not start it again.
        if self.state in (LaneState.OPEN, LaneState.RENEWING) or now_us < self.hold_until_us:
            return self
        return self._replace(
            state=LaneState.OPEN,
            hold_until_us=0,
            reason="",
            throttled=False,
            failures_in_row=0,
            renewed=False,
        )

    def _suspect(self, outcome: Outcome, now_us: int) -> LaneHealth:
        """After a refusal of one token that, were it one of many, would say that it is us who are refused."""
        if self.suspect_in_row >= SUSPECT_IN_ROW_MAX:
            reason = f"{self.suspect_in_row} tokens in a row: {_word(outcome)}"
            if outcome.misdirected:
                return self._paused(now_us, reason)
            # It may as well be true of each of them, so many are tried at once: one living among them ends the pause.
            return self._paused(now_us, reason, PROBE_EVERY_IN_DOUBT_S)._replace(throttled=True)
        if not outcome.misdirected:
            return self._opened(now_us)
        tripped = self.misdirected >= WINDOW_ANSWERS_MIN and self.misdirected * 2 >= self.answers
        if tripped or self.state is LaneState.PAUSED:
            return self._paused(now_us, f"{self.misdirected} of {self.answers} tokens: {_word(outcome)}")
        # Wrong settings look like this too: until one is accepted, go on with one at a time.
        return self if self.state is LaneState.PROVING else self._opened(now_us)

    def _paused(self, now_us: int, reason: str, probe_every_s: float = PROBE_EVERY_S) -> LaneHealth:
        until_us = max(self.hold_until_us, now_us + int(probe_every_s * SECOND_US))
        return self._replace(
            state=LaneState.PAUSED,
            throttled=False,
            hold_until_us=until_us,
            reason=reason,
            window_from_us=now_us,
            answers=0,
            failures=0,
            misdirected=0,
        )

    def _hold(self, now_us: int, jitter: float, reason: str) -> LaneHealth:
        # Answers to requests that left before the hold began are no further failure of the provider.
        if now_us < self.hold_until_us:
            return self
        failures_in_row = self.failures_in_row + 1
        cap_s = min(LANE_BACKOFF_MAX_S, 2.0 ** min(failures_in_row - 1, 10))
        # Half fixed, half jitter: a held lane must not come back at once, nor in step with others.
        until_us = now_us + int(cap_s * (0.5 + jitter / 2) * SECOND_US)
        return self._replace(
            state=LaneState.PAUSED if self.state is LaneState.PAUSED else LaneState.HOLDING,
            throttled=False,
            hold_until_us=until_us,
            reason=reason,
            failures_in_row=failures_in_row,
            answers=0,
            failures=0,
        )


def _word(outcome: Outcome) -> str:
    return outcome.reason or outcome.detail or f"status {outcome.provider_status}"
