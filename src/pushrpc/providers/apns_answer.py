"""What Apple's answers mean: every documented reason, and what a status says where there is none.

Sources: Apple, "Handling notification responses from APNs", "Handling error responses from APNs" (of channels).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pushrpc.exchange import Response
from pushrpc.model import Notification, Outcome, Scope
from pushrpc.providers.answer import by_status, cause_of, json_object, retry_after_s, text, word
from pushrpc.words import OutcomeKind

DEATH_MS_MAX = 253_402_300_799_999  # the end of the year 9999; what is later is no time

_PAYLOAD = Outcome(OutcomeKind.PAYLOAD_REFUSED)
_DEAD = Outcome(OutcomeKind.TOKEN_INVALID)
# Either means as often that we hold the wrong environment or bundle as that the token is bad: the breaker counts them.
_NOT_OURS = Outcome(OutcomeKind.TOKEN_INVALID, misdirected=True)
_SETTINGS = Outcome(OutcomeKind.CREDENTIAL_REFUSED)
# A session is bound to its key, team and bundle ids by its first push: after a correction only a new one can work.
_BOUND = Outcome(OutcomeKind.CREDENTIAL_REFUSED, close_session=True)
_REOPEN = Outcome(OutcomeKind.CREDENTIAL_REFUSED, renew=True, close_session=True)
_DOWN = Outcome(OutcomeKind.UNAVAILABLE)
_LEAVING = Outcome(OutcomeKind.UNAVAILABLE, close_session=True)

_REASONS: Mapping[tuple[int, str], Outcome] = {
    (400, "BadCollapseId"): _PAYLOAD,
    (400, "BadExpirationDate"): _PAYLOAD,
    (400, "BadMessageId"): _PAYLOAD,
    (400, "BadPriority"): _PAYLOAD,
    (400, "DuplicateHeaders"): _PAYLOAD,
    (400, "InvalidPushType"): _PAYLOAD,
    (400, "PayloadEmpty"): _PAYLOAD,
    (400, "MissingDeviceToken"): _PAYLOAD,
    (400, "BadDeviceToken"): _NOT_OURS,
    (400, "DeviceTokenNotForTopic"): _NOT_OURS,
    (400, "BadTopic"): _BOUND,
    (400, "MissingTopic"): _SETTINGS,
    (400, "TopicDisallowed"): _BOUND,
    (400, "IdleTimeout"): _LEAVING,
    (403, "BadCertificate"): _BOUND,
    (403, "BadCertificateEnvironment"): _BOUND,
    (403, "Forbidden"): _BOUND,
    (403, "MissingProviderToken"): _BOUND,
    (403, "UnrelatedKeyIdInToken"): _BOUND,
    (403, "BadEnvironmentKeyIdInToken"): _BOUND,
    (403, "BadEnvironmentKeyInToken"): _BOUND,  # as servers have been seen to spell it
    (403, "InvalidProviderToken"): _REOPEN,  # may only mean that the session was bound to another team
    (403, "ExpiredProviderToken"): _REOPEN,  # the session keeps refusing from then on
    (404, "BadPath"): _PAYLOAD,
    (405, "MethodNotAllowed"): _PAYLOAD,
    (410, "Unregistered"): _DEAD,
    (410, "ExpiredToken"): _DEAD,
    (413, "PayloadTooLarge"): _PAYLOAD,
    # The session takes no more for 20 minutes; another with the same token may. A new token would make it worse.
    (429, "TooManyProviderTokenUpdates"): _BOUND,
    (429, "TooManyRequests"): Outcome(OutcomeKind.THROTTLED, scope=Scope.TOKEN),
    (429, ""): Outcome(OutcomeKind.THROTTLED, scope=Scope.TOKEN),
    (500, "InternalServerError"): _DOWN,
    (503, "ServiceUnavailable"): _DOWN,
    (503, "Shutdown"): _LEAVING,
}
# Of broadcasts and their channels, whatever 4xx they come with.
_CHANNEL_REASONS: Mapping[str, Outcome] = {
    "MissingChannelId": _PAYLOAD,
    "BadChannelId": _PAYLOAD,
    "MissingPushType": _PAYLOAD,
    "BadDate": _PAYLOAD,
    "ChannelNotRegistered": _DEAD,
    "CannotCreateChannelConfig": _SETTINGS,
    "FeatureNotEnabled": _SETTINGS,
}
_OF_THE_TOPIC = frozenset({"BadTopic", "TopicDisallowed", "DeviceTokenNotForTopic"})


def refusal(response: Response, now_us: int) -> Outcome:
    """What an answer other than 200 means."""
    told = json_object(response.body)
    reason = word(told.get("reason"))
    known = _REASONS.get((response.status, reason))
    if known is None and 400 <= response.status < 500:
        known = _CHANNEL_REASONS.get(reason)
    known = known or Outcome(by_status(response.status))
    return known._replace(
        provider_status=response.status,
        reason=reason,
        detail="" if reason else text(response.body),
        retry_after_s=retry_after_s(response, now_us),
        dead_since_us=_dead_since_us(told) if known.kind is OutcomeKind.TOKEN_INVALID else 0,
        cause=cause_of(response.status),
    )


def _dead_since_us(told: Mapping[str, Any]) -> int:
    """The 410's `timestamp`, which is in milliseconds; 0 when there is none to believe."""
    timestamp_ms = told.get("timestamp")
    if isinstance(timestamp_ms, bool) or not isinstance(timestamp_ms, int | float):
        return 0
    return int(timestamp_ms * 1000) if 0 < timestamp_ms <= DEATH_MS_MAX else 0


def blamed(outcome: Outcome, notification: Notification) -> Outcome:
    """A topic that the message itself named is the message's mistake: no lane is paused and no device dies of it."""
    if notification.content.apns.topic and outcome.reason in _OF_THE_TOPIC:
        return Outcome(OutcomeKind.PAYLOAD_REFUSED, outcome.provider_status, outcome.reason, outcome.detail)
    return outcome
