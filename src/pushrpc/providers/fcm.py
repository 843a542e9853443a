"""Firebase Cloud Messaging, HTTP v1: one token, topic or condition a request; and who is in a topic.

Sources: Firebase, "REST Resource: projects.messages", "FCM error codes", "ErrorCode", "ApnsError", "Throttling and
quotas", "Topic messaging"; Google, "Instance ID server reference".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

from pushrpc.accounts import FcmAccount
from pushrpc.exchange import Endpoint, Requests, Response, Row, Template, new_row
from pushrpc.model import NO_ADDRESS, Address, Batch, Claimed, Lane, Notification, Outcome, Refused, Scope
from pushrpc.providers import AccountError, Call, Classified, Credential, Preview
from pushrpc.providers.answer import by_status, cause_of, clip, json_object, retry_after_s, text, word
from pushrpc.providers.credentials import GoogleToken, check_ca_file, read_service_account
from pushrpc.providers.fcm_message import built, condition_problem, dropped, topic_problem
from pushrpc.providers.origin import Origin
from pushrpc.providers.payload import encoded
from pushrpc.words import AudienceKind, Environment, OutcomeKind, Provider, RejectReason, TokenKind

HOST = "fcm.googleapis.com"
TOPICS_HOST = "iid.googleapis.com"
TOKEN_CHARS_MAX = 4096
TOPIC_TOKENS_MAX = 1_000  # in one call of batchAdd or batchRemove
QUOTA_RETRY_AFTER_S = 60.0  # what a 429 without Retry-After asks for ("Throttling and quotas")
_PROJECT = re.compile(r"[a-z0-9.:-]{1,128}")
_VISIBLE = re.compile(r"[\x21-\x7e]*")
_NO_TOKEN = Refused(
    RejectReason.TOKEN_MALFORMED, f"an FCM token is 1 to {TOKEN_CHARS_MAX} visible ASCII characters without spaces"
)
_NO_ADDRESS = Refused(RejectReason.TOKEN_MALFORMED, "FCM takes a token alone, without keys or a hub_platform")
_NO_AUDIENCE = Refused(RejectReason.FIELD_MISSING, "of provider_audiences Google knows topic and condition only")
_PROBLEMS = {
    Address(audience=AudienceKind.TOPIC): topic_problem,
    Address(audience=AudienceKind.CONDITION): condition_problem,
}


class Fcm:
    """One Firebase project. Every delivery is a request; its body is the notification's with the token put in."""

    provider = Provider.FCM
    topic_tokens_max = TOPIC_TOKENS_MAX
    environment = Environment.UNSPECIFIED

    def __init__(self, account: FcmAccount) -> None:
        """Loads the service account. Raises AccountError."""
        info = read_service_account(account.service_account_file)
        project_id = info.get("project_id")
        if not isinstance(project_id, str) or not _PROJECT.fullmatch(project_id):
            raise AccountError("service_account_file", "names no project_id")
        check_ca_file(account.ca_file)
        endpoint = Origin.of_endpoint(account.endpoint)
        self.provider_app_id = project_id
        self.credential: Credential | None = GoogleToken(info, endpoint, account.ca_file)
        origin = endpoint or Origin(HOST)
        self._authority = origin.authority.encode()
        self._endpoint = Endpoint(origin.host, origin.port, account.ca_file)
        topics = endpoint or Origin(TOPICS_HOST)
        self._topics_authority = topics.authority.encode()
        self._topics_endpoint = Endpoint(topics.host, topics.port, account.ca_file)
        self._path = f"/v1/projects/{project_id}/messages:send".encode()

    def endpoint(self, lane: Lane) -> Endpoint | None:
        return self._endpoint

    def origin(self, token: str) -> str:
        return ""

    def token_problem(self, *tokens: str) -> Refused | None:
        if all(tokens) and max(map(len, tokens), default=0) <= TOKEN_CHARS_MAX and _VISIBLE.fullmatch("".join(tokens)):
            return None
        return _NO_TOKEN

    def address_problem(self, token: str, address: Address) -> Refused | None:
        if address == NO_ADDRESS:
            return None
        if address not in _PROBLEMS:
            return _NO_AUDIENCE if address.audience else _NO_ADDRESS
        problem = _PROBLEMS[address](token)
        return Refused(RejectReason.TOKEN_MALFORMED, problem) if problem else None

    def token_kind(self, notification: Notification) -> TokenKind:
        return TokenKind.STANDARD

    def check_message(self, notification: Notification, address: Address = NO_ADDRESS) -> None:
        encoded(built(notification, address.audience, notification.created_us).message)

    def preview(self, notification: Notification, address: Address, now_us: int) -> Preview:
        made = built(notification, address.audience, now_us)
        return Preview(
            [("content-type", "application/json")],
            encoded({"message": made.message}).decode(),
            made.size_bytes,
            made.limit_bytes,
            ("message.body",) if made.was_cut else (),
            dropped(notification),
        )

    def prepare(self, batch: Batch, authorization: bytes | None, now_us: int) -> Requests:
        known: dict[tuple[str, str], tuple[bytes, bytes]] = {}
        rows: list[Row] = []
        last: Notification | None = None
        last_address = ""
        before = after = b""
        path = self._path
        for position, delivery in enumerate(batch.deliveries):
            notification = delivery.notification
            if notification is not last or delivery.address != last_address:
                last, last_address = notification, delivery.address
                wanted = notification.notification_id, last_address
                if wanted not in known:
                    known[wanted] = _around_target(notification, Address.of(last_address).audience, now_us)
                before, after = known[wanted]
            token = encode_basestring_ascii(delivery.token).encode()
            rows.append(new_row((0, path, (), before + token + after, (position,))))
        return Requests((self._template(authorization),), rows)

    def _template(self, authorization: bytes | None) -> Template:
        headers = [(b"content-type", b"application/json")]
        if authorization is not None:
            headers.insert(0, (b"authorization", authorization))
        return Template(b"POST", self._authority, tuple(headers))

    def check_call(
        self, notification: Notification, token: str, address: Address, authorization: bytes | None, now_us: int
    ) -> Call:
        before, after = _around_target(notification, address.audience, now_us)
        target = encode_basestring_ascii(token).encode()
        body = b'{"validate_only":true,' + before[1:] + target + after
        return Call(self._endpoint, Requests((self._template(authorization),), (Row(0, self._path, (), body, ()),)))

    def classify(self, response: Response, covered: Sequence[Claimed], now_us: int) -> Sequence[Classified]:
        if response.status == 200:
            return [(_ACCEPTED, _message_name(response.body))] * len(covered)
        return [(_refusal(response, now_us), "")] * len(covered)

    def topic_call(self, topic: str, tokens: Sequence[str], join: bool, authorization: bytes | None) -> Call:
        headers = [(b"access_token_auth", b"true"), (b"content-type", b"application/json")]
        if authorization is not None:
            headers.insert(0, (b"authorization", authorization))
        body = encoded({"to": f"/topics/{topic}", "registration_tokens": tokens})
        path = b"/iid/v1:batchAdd" if join else b"/iid/v1:batchRemove"
        template = Template(b"POST", self._topics_authority, tuple(headers), body)
        return Call(self._topics_endpoint, Requests((template,), (Row(0, path, (), None, ()),)))

    def topic_results(self, response: Response, tokens: Sequence[str], now_us: int) -> Sequence[Outcome]:
        """An answer that says nothing of a token leaves it unknown: joining and leaving may be repeated."""
        if response.status != 200:
            return [_refusal(response, now_us)] * len(tokens)
        told = _rows(json_object(response.body).get("results"))
        return [_joined(row) for row in told[: len(tokens)]] + [_UNTOLD] * (len(tokens) - len(told))


def _around_target(notification: Notification, audience: AudienceKind | None, now_us: int) -> tuple[bytes, bytes]:
    """The body up to the token's value and from there on, so that each row costs one concatenation."""
    message = encoded(built(notification, audience, now_us).message)
    return b'{"message":{"%s":' % (audience or "token").encode(), b"," + message[1:] + b"}"


# --- answers -----------------------------------------------------------------------------------------------------

_ACCEPTED = Outcome(OutcomeKind.ACCEPTED, 200)
# All that a success says. Found so it costs a quarter of reading it as JSON; any other form of it is JSON all the same.
_NAME_ALONE = re.compile(rb'\s*\{\s*"name"\s*:\s*"([\w/.:%-]{1,256})"\s*\}\s*')


def _message_name(body: bytes) -> str:
    alone = _NAME_ALONE.fullmatch(body)
    return alone[1].decode() if alone else word(json_object(body).get("name"), 256)


_CODES: Mapping[str, Outcome] = {
    "UNREGISTERED": Outcome(OutcomeKind.TOKEN_INVALID),
    # The token is another project's: so it may be our settings that are wrong.
    "SENDER_ID_MISMATCH": Outcome(OutcomeKind.TOKEN_INVALID, misdirected=True),
    # The project's key for Apple or for browsers: whoever is reached without it is none the worse.
    "THIRD_PARTY_AUTH_ERROR": Outcome(OutcomeKind.CREDENTIAL_REFUSED, scope=Scope.TOKEN),
    "APNS_AUTH_ERROR": Outcome(OutcomeKind.CREDENTIAL_REFUSED, scope=Scope.TOKEN),
    "QUOTA_EXCEEDED": Outcome(OutcomeKind.THROTTLED),
    "RESOURCE_EXHAUSTED": Outcome(OutcomeKind.THROTTLED),
}
# What Apple said of the token behind an FCM token.
_APNS_REASONS: Mapping[str, Outcome] = {
    "BadDeviceToken": Outcome(OutcomeKind.TOKEN_INVALID, misdirected=True),
    "DeviceTokenNotForTopic": Outcome(OutcomeKind.TOKEN_INVALID, misdirected=True),
    "Unregistered": Outcome(OutcomeKind.TOKEN_INVALID),
    "ExpiredToken": Outcome(OutcomeKind.TOKEN_INVALID),
}


_JOINED = Outcome(OutcomeKind.ACCEPTED, 200)
_UNTOLD = Outcome(OutcomeKind.UNKNOWN, 200, detail="the answer has no row for this token")
# What a row of batchAdd and batchRemove says ("Instance ID server reference").
_TOPIC_ERRORS: Mapping[str, OutcomeKind] = {
    "NOT_FOUND": OutcomeKind.TOKEN_INVALID,
    "INVALID_ARGUMENT": OutcomeKind.TOKEN_INVALID,
    "TOO_MANY_TOPICS": OutcomeKind.PAYLOAD_REFUSED,
    "INTERNAL": OutcomeKind.UNAVAILABLE,
    "UNAVAILABLE": OutcomeKind.UNAVAILABLE,
    "RESOURCE_EXHAUSTED": OutcomeKind.THROTTLED,
    "PERMISSION_DENIED": OutcomeKind.CREDENTIAL_REFUSED,
}


def _joined(row: Mapping[str, Any]) -> Outcome:
    if "error" not in row:
        return _JOINED
    reason = word(row["error"])
    return Outcome(_TOPIC_ERRORS.get(reason, OutcomeKind.PAYLOAD_REFUSED), 200, reason, scope=Scope.TOKEN)


def _rows(value: object) -> list[Mapping[str, Any]]:
    """A list of objects as it stands: what is none keeps its place, as an error without a word."""
    return [row if isinstance(row, dict) else {"error": ""} for row in value] if isinstance(value, list) else []


class _Told(NamedTuple):
    """A google.rpc.Status as FCM fills it; parts that are absent are empty."""

    status: str = ""
    message: str = ""
    code: str = ""
    apns_reason: str = ""
    fields: tuple[str, ...] = ()
    quotas: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _refusal(response: Response, now_us: int) -> Outcome:
    told = _read_error(json_object(response.body))
    outcome = _judged(response.status, told)
    retry_s = retry_after_s(response, now_us)
    if outcome.kind is OutcomeKind.THROTTLED:
        device = any("device" in quota.lower() for quota in told.quotas)
        outcome = outcome._replace(scope=Scope.TOKEN if device else Scope.LANE)
        retry_s = QUOTA_RETRY_AFTER_S if retry_s is None else retry_s
    reason = told.code or told.status
    said = "; ".join(part for part in (told.message, told.apns_reason, *told.notes, *told.quotas) if part)
    return outcome._replace(
        provider_status=response.status,
        reason=reason,
        detail=clip(said) if said or reason else text(response.body),
        retry_after_s=retry_s,
        cause=cause_of(response.status),
    )


def _judged(status: int, told: _Told) -> Outcome:
    if 400 <= status < 500 and told.code in _CODES:
        return _CODES[told.code]
    if status == 400:
        return _judged_bad_request(told)
    if status == 401:
        return Outcome(OutcomeKind.CREDENTIAL_REFUSED, renew=True)
    if status == 404:
        # Not the token but the address was not found: a wrong project or endpoint. No device may die of it.
        return Outcome(OutcomeKind.CREDENTIAL_REFUSED)
    return Outcome(by_status(status))


def _judged_bad_request(told: _Told) -> Outcome:
    """400 is about the token only when it says so; that our payload is small enough was checked before."""
    if told.apns_reason in _APNS_REASONS:
        return _APNS_REASONS[told.apns_reason]
    if told.fields:
        of_token = all(field in ("message.token", "token") for field in told.fields)
    else:
        of_token = told.code == "INVALID_ARGUMENT" and "registration token" in told.message.lower()
    return Outcome(OutcomeKind.TOKEN_INVALID if of_token else OutcomeKind.PAYLOAD_REFUSED)


def _read_error(body: Mapping[str, Any]) -> _Told:
    error = body.get("error")
    if not isinstance(error, dict):
        return _Told(status=word(error))  # as the topic service says it
    told = _Told(status=word(error.get("status")), message=word(error.get("message"), 1024))
    for detail in _objects(error.get("details")):
        kind = str(detail.get("@type", "")).rpartition("/")[2]
        if kind.endswith("fcm.v1.FcmError"):
            told = told._replace(code=word(detail.get("errorCode")))
        elif kind.endswith("fcm.v1.ApnsError"):
            told = told._replace(apns_reason=word(detail.get("reason")))
        elif kind == "google.rpc.BadRequest":
            violations = _objects(detail.get("fieldViolations"))
            told = told._replace(
                fields=tuple(word(v.get("field")) for v in violations),
                notes=tuple(f"{word(v.get('field'))}: {word(v.get('description'), 256)}" for v in violations),
            )
        elif kind == "google.rpc.QuotaFailure":
            violations = _objects(detail.get("violations"))
            told = told._replace(
                quotas=tuple(f"{word(v.get('subject'))}: {word(v.get('description'), 256)}" for v in violations)
            )
    return told


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
