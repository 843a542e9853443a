"""Apple Push Notification service over HTTP/2: one bundle id's account, its requests, and Apple's answers.

Sources: Apple, "Sending notification requests to APNs", "Handling notification responses from APNs", "Establishing a
token-based connection to APNs", "Establishing a certificate-based connection to APNs".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby, repeat
from operator import attrgetter
from typing import Any

from pushrpc.exchange import Endpoint, Headers, Requests, Response, Row, Template
from pushrpc.model import (
    NO_ADDRESS,
    Address,
    ApnsAccount,
    Batch,
    Claimed,
    Lane,
    Notification,
    Outcome,
    Refused,
    Scope,
    own_id_prefix,
)
from pushrpc.providers import AccountError, Classified, Credential, MessageRefused, Preview
from pushrpc.providers.answer import by_status, cause_of, json_object, retry_after_s, text, word
from pushrpc.providers.apns_message import (
    PUSH_KINDS,
    collapse_id,
    expiration,
    limit_bytes,
    payload,
    priority,
    push_type,
    token_kind,
)
from pushrpc.providers.credentials import check_ca_file, check_certificate, open_apns_token
from pushrpc.providers.origin import Origin
from pushrpc.providers.payload import KeptPayloads
from pushrpc.words import ApnsPushType, Environment, OutcomeKind, Provider, RejectReason, TokenKind

HOSTS = {Environment.PRODUCTION: "api.push.apple.com", Environment.SANDBOX: "api.sandbox.push.apple.com"}
DEATH_MS_MAX = 253_402_300_799_999  # the end of the year 9999; what is later is no time
# Apple: never assume a length. Today's tokens have 64 digits, those of Live Activities up to 200.
_TOKEN_CHARS = frozenset(range(2, 201, 2))
_DIGITS = re.compile("[0-9A-Fa-f]*")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,255}")
_DEVICE = b"/3/device/"

_NO_TOKEN = Refused(
    RejectReason.TOKEN_MALFORMED, "an APNs token is an even number of hexadecimal digits, 2 to 200 of them"
)
_NO_ADDRESS = Refused(RejectReason.TOKEN_MALFORMED, "APNs takes a token alone, without keys or a hub_platform")
_notification = attrgetter("notification")
_new_row: Callable[[tuple[Any, ...]], Row] = partial(tuple.__new__, Row)  # half of what its own __new__ costs


def reserved_data_key(key: str) -> bool:
    """Whether Apple takes a top-level key for itself, so that it cannot be an app's data."""
    return key == "aps"


class Apns:
    """One bundle id. Every delivery is a request; what a notification's requests share is its Template."""

    provider = Provider.APNS

    def __init__(self, account: ApnsAccount, now_us: int = 0) -> None:
        """Loads the token key or checks the certificate; `now_us` 0 skips its dates. Raises AccountError."""
        if not _TOPIC.fullmatch(account.topic):
            raise AccountError("topic", "is not a bundle id")
        self.provider_app_id = account.topic
        self.environment = account.environment or Environment.PRODUCTION
        self.credential: Credential | None = None
        self._certificate: tuple[str, str] | None = None
        by_token = bool(account.key_file or account.key_id or account.team_id)
        by_certificate = bool(account.cert_file or account.cert_key_file)
        if by_token == by_certificate:
            have = "both a token key and a certificate" if by_token else "neither a token key nor a certificate"
            raise AccountError("key_file", f"there is {have}; set key_file, key_id and team_id, or cert_file")
        if by_token:
            self.credential = open_apns_token(account.key_file, account.key_id, account.team_id)
        else:
            self._certificate = (account.cert_file, account.cert_key_file or account.cert_file)
            check_certificate(*self._certificate, now_us)
        check_ca_file(account.ca_file)
        self._ca_file = account.ca_file
        self._payloads = KeptPayloads()
        self._origin = Origin.of_endpoint(account.endpoint)

    def endpoint(self, lane: Lane) -> Endpoint | None:
        origin = self._origin_in(lane.environment)
        return Endpoint(origin.host, origin.port, self._ca_file, self._certificate)

    def _origin_in(self, environment: Environment) -> Origin:
        return self._origin or Origin(HOSTS[environment or self.environment])

    def origin(self, token: str) -> str:
        return ""

    def token_problem(self, *tokens: str) -> Refused | None:
        if _TOKEN_CHARS.issuperset(map(len, tokens)) and _DIGITS.fullmatch("".join(tokens)):
            return None
        return _NO_TOKEN

    def address_problem(self, token: str, address: Address) -> Refused | None:
        return None if address == NO_ADDRESS else _NO_ADDRESS

    def token_kind(self, notification: Notification) -> TokenKind:
        return token_kind(notification.content)

    def check_message(self, notification: Notification, address: Address = NO_ADDRESS) -> None:
        content = notification.content
        if content.apns.topic and not _TOPIC.fullmatch(content.apns.topic):
            raise MessageRefused(RejectReason.PROVIDER_APP_UNKNOWN, "apns.topic is not a bundle id with a suffix")
        if push_type(content) is ApnsPushType.LOCATION and self._certificate:
            detail = "location pushes need a token key; this account has a certificate"
            raise MessageRefused(RejectReason.PROVIDER_NOT_CONFIGURED, detail)
        self._payloads.keep(notification, payload(notification))

    def preview(self, notification: Notification, address: Address, now_us: int) -> Preview:
        self.check_message(notification, address)
        body = payload(notification)
        headers = _headers(self._header_values(notification, now_us), None)
        shown = [(name.decode(), value.decode()) for name, value in headers]
        return Preview(shown, body.decode(), len(body), limit_bytes(push_type(notification.content)))

    def prepare(self, batch: Batch, authorization: bytes | None, now_us: int) -> Requests:
        authority = self._origin_in(batch.lane.environment).authority.encode()
        templates: list[Template] = []
        rows: list[Row] = []
        known: dict[str, tuple[int, bytes]] = {}
        alike: dict[tuple[str, ...], Headers] = {}
        for notification, of_one in groupby(batch.deliveries, _notification):
            name = notification.notification_id
            if name not in known:
                known[name] = len(templates), own_id_prefix(name).encode()
                values = self._header_values(notification, now_us)
                headers = alike.get(values)
                if headers is None:
                    headers = alike[values] = _headers(values, authorization)
                body = self._payloads.get(notification) or payload(notification)
                templates.append(Template(b"POST", authority, headers, body))
            index, id_prefix = known[name]
            deliveries = list(of_one)
            paths = [_DEVICE + delivery.token.encode() for delivery in deliveries]
            own = [((b"apns-id", id_prefix + b"%08x" % delivery.ordinal),) for delivery in deliveries]
            covers = zip(range(len(rows), len(rows) + len(deliveries)))
            rows += map(_new_row, zip(repeat(index), paths, own, repeat(None), covers))
        return Requests(templates, rows, status_only=True)

    def _header_values(self, notification: Notification, now_us: int) -> tuple[str, ...]:
        """Topic, push type, priority, expiration and collapse id: few notifications of a batch differ in them."""
        content = notification.content
        kind = push_type(content)
        of_kind = PUSH_KINDS[kind]
        return (
            content.apns.topic or self.provider_app_id + of_kind.topic_suffix,
            of_kind.word,
            priority(notification, kind),
            expiration(notification, now_us),
            collapse_id(notification.collapse_key) if notification.collapse_key else "",
        )

    def classify(self, response: Response, covered: Sequence[Claimed], now_us: int) -> Sequence[Classified]:
        if response.status == 200:
            # The id is the one that was sent: reading the echo would only cost time.
            return [_ACCEPTED] * len(covered)
        outcome = _refusal(response, now_us)
        return [(_blame(outcome, delivery.notification), "") for delivery in covered]


def _headers(values: tuple[str, ...], authorization: bytes | None) -> Headers:
    topic, word, priority_word, expires, collapse = (value.encode() for value in values)
    # What a session hardly ever changes comes first, so that its header table keeps it.
    headers = [(b"apns-topic", topic)]
    if authorization is not None:
        headers.append((b"authorization", authorization))
    headers += (
        (b"content-type", b"application/json"),
        (b"apns-push-type", word),
        (b"apns-priority", priority_word),
        (b"apns-expiration", expires),
    )
    if collapse:
        headers.append((b"apns-collapse-id", collapse))
    return tuple(headers)


# --- answers -----------------------------------------------------------------------------------------------------

_ACCEPTED: Classified = (Outcome(OutcomeKind.ACCEPTED, 200, own_id=True), "")
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
# Of broadcast channels; Apple's pages give no status for them.
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


def _refusal(response: Response, now_us: int) -> Outcome:
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


def _blame(outcome: Outcome, notification: Notification) -> Outcome:
    """A topic that the message itself named is the message's mistake: no lane is paused and no device dies of it."""
    if notification.content.apns.topic and outcome.reason in _OF_THE_TOPIC:
        return Outcome(OutcomeKind.PAYLOAD_REFUSED, outcome.provider_status, outcome.reason, outcome.detail)
    return outcome
