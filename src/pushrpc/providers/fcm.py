"""Firebase Cloud Messaging, HTTP v1, one token a request.

Sources: Firebase, "REST Resource: projects.messages", "FCM error codes", "ErrorCode", "ApnsError", "Set the lifespan of
a message", "Throttling and quotas".

`data` carries the caller's entries and `notification_id`, and `link` when it is set; with data_only also `title`,
`body`, `image_url` and the loc keys (`*_loc_args` as a JSON list). An entry of the caller's own wins over these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

from pushrpc.content import Content
from pushrpc.exchange import Endpoint, Requests, Response, Row, Template
from pushrpc.model import NO_ADDRESS, Address, Batch, Claimed, FcmAccount, Lane, Notification, Outcome, Refused, Scope
from pushrpc.providers import AccountError, Classified, Credential, MessageRefused, Preview, apns_message
from pushrpc.providers.answer import by_status, cause_of, clip, json_object, retry_after_s, text, word
from pushrpc.providers.credentials import GoogleToken, check_ca_file, read_service_account
from pushrpc.providers.origin import Origin
from pushrpc.providers.payload import encoded, patched
from pushrpc.words import ApnsPushType, Environment, OutcomeKind, Priority, Provider, RejectReason, TokenKind

HOST = "fcm.googleapis.com"
PAYLOAD_BYTES_MAX = 4096  # of what one platform gets
TOKEN_CHARS_MAX = 4096
TTL_S_MAX = 2_419_200  # 28 days
QUOTA_RETRY_AFTER_S = 60.0  # what a 429 without Retry-After asks for ("Throttling and quotas")
# The target decides who gets it; a patch may not.
TARGET_KEYS = frozenset({"token", "topic", "condition"})
_PROJECT = re.compile(r"[a-z0-9.:-]{1,128}")
_VISIBLE = re.compile(r"[\x21-\x7e]*")
_NO_TOKEN = Refused(
    RejectReason.TOKEN_MALFORMED, f"an FCM token is 1 to {TOKEN_CHARS_MAX} visible ASCII characters without spaces"
)
_NO_ADDRESS = Refused(RejectReason.TOKEN_MALFORMED, "FCM takes a token alone, without keys or a hub_platform")
_RESERVED = frozenset({"from", "gcm", "message_type", "collapse_key"})
_URGENCIES = {Priority.HIGH: "high", Priority.NORMAL: "normal", Priority.LOW: "low"}


def reserved_data_key(key: str) -> bool:
    """Whether Google takes a key for itself: it refuses some with 400 and silently replaces others."""
    return key in _RESERVED or key.startswith(("google", "gcm."))


# --- message -----------------------------------------------------------------------------------------------------


def _given(**parts: Any) -> dict[str, Any]:
    return {key: value for key, value in parts.items() if value}


def _message(notification: Notification, now_us: int) -> dict[str, Any]:
    """The `message` object without its token. Raises MessageRefused."""
    content = notification.content
    shown = _given(title=content.title, body=content.body, image=content.image_url)
    message = _given(
        notification=shown if _shows_text(content) else {},
        data=_data(notification),
        android=_android(notification, now_us),
        apns=_apns(notification, now_us),
        webpush=_webpush(notification, now_us),
        fcm_options=_given(analytics_label=content.fcm.analytics_label),
    )
    message = patched(message, content.fcm_json, "fcm_json", TARGET_KEYS)
    data = message.get("data", {})
    if not isinstance(data, dict):
        raise MessageRefused(RejectReason.FIELD_MISSING, "fcm_json: data is not an object")
    message["data"] = data | {"notification_id": notification.notification_id}  # whatever a patch says
    size, limit = _payload_bytes(message), PAYLOAD_BYTES_MAX
    if size > limit:
        detail = f"the payload for Google has {size} bytes, {size - limit} more than the {limit} allowed"
        raise MessageRefused(RejectReason.PAYLOAD_TOO_LARGE, detail)
    return message


def _is_data(content: Content) -> bool:
    return content.silent or content.fcm.data_only


def _shows_text(content: Content) -> bool:
    texts = (content.title, content.body, content.image_url, content.title_loc_key, content.body_loc_key)
    return any(texts) and not _is_data(content)


def _data(notification: Notification) -> dict[str, str]:
    content = notification.content
    own = _given(link=content.link)
    if content.fcm.data_only:
        own |= _given(
            title=content.title,
            body=content.body,
            image_url=content.image_url,
            title_loc_key=content.title_loc_key,
            title_loc_args=_list_text(content.title_loc_args),
            body_loc_key=content.body_loc_key,
            body_loc_args=_list_text(content.body_loc_args),
        )
    return own | dict(content.data)


def _list_text(values: Sequence[str]) -> str:
    return encoded(values).decode() if values else ""


def _android(notification: Notification, now_us: int) -> dict[str, Any]:
    content = notification.content
    shown = _given(
        channel_id=content.android_channel_id,
        sound=content.sound,
        title_loc_key=content.title_loc_key,
        title_loc_args=content.title_loc_args,
        body_loc_key=content.body_loc_key,
        body_loc_args=content.body_loc_args,
        notification_count=content.badge,
        # FCM knows no duplicates; with a tag a repeat replaces what is shown instead of standing beside it.
        tag=notification.collapse_key or notification.notification_id,
    )
    return _given(
        priority="HIGH" if _priority(notification) is Priority.HIGH else "NORMAL",
        ttl=f"{_ttl_s(notification, now_us)}s",
        collapse_key=notification.collapse_key,
        direct_boot_ok=content.fcm.direct_boot_ok,
        notification=shown if _shows_text(content) else {},
    )


def _apns(notification: Notification, now_us: int) -> dict[str, Any]:
    """What FCM hands on to Apple for iOS apps; it adds the alert from `notification` by itself."""
    content = notification.content
    noticed = _shows_text(content) or (not _is_data(content) and (content.badge is not None or bool(content.sound)))
    kind = ApnsPushType.ALERT if noticed else ApnsPushType.BACKGROUND
    aps = apns_message.aps(notification, kind)
    if aps.get("alert", {}).keys() <= {"title", "body"}:
        aps.pop("alert", None)
    headers = {
        "apns-push-type": apns_message.PUSH_KINDS[kind].word,
        "apns-priority": apns_message.priority(notification, kind),
        "apns-expiration": apns_message.expiration(notification, now_us),
    }
    if notification.collapse_key:
        headers["apns-collapse-id"] = apns_message.collapse_id(notification.collapse_key)
    return _given(headers=headers, payload=_given(aps=aps))


def _webpush(notification: Notification, now_us: int) -> dict[str, Any]:
    headers = {"TTL": str(_ttl_s(notification, now_us)), "Urgency": _URGENCIES[_priority(notification)]}
    link = notification.content.link
    # Browsers open https only; another link stays in `data` for the app.
    return _given(headers=headers, fcm_options=_given(link=link if link.startswith("https://") else ""))


def _priority(notification: Notification) -> Priority:
    return notification.priority or (Priority.NORMAL if notification.content.silent else Priority.HIGH)


def _ttl_s(notification: Notification, now_us: int) -> int:
    """Whole seconds that remain; 0 is now or never."""
    if notification.one_try:
        return 0
    return min(max((notification.expire_us - now_us) // 1_000_000, 0), TTL_S_MAX)


def _payload_bytes(message: Mapping[str, Any]) -> int:
    """The larger of what Android gets, counted in keys and values, and of what is written out for Apple."""
    android, apple = _object(message.get("android")), _object(message.get("apns")).get("payload")
    shown = {**_object(message.get("notification")), **_object(android.get("notification"))}
    size = _bytes_of(shown) + _bytes_of(android.get("data") or message.get("data"))
    return max(size, len(encoded(apple)) if apple else 0)


def _bytes_of(value: object) -> int:
    if isinstance(value, Mapping):
        return sum(len(key.encode("utf-8", "replace")) + _bytes_of(child) for key, child in value.items())
    if isinstance(value, list | tuple):
        return sum(_bytes_of(child) for child in value)
    if value is None:
        return 0
    return len(value.encode("utf-8", "replace")) if isinstance(value, str) else len(encoded(value))


class Fcm:
    """One Firebase project. Every delivery is a request; its body is the notification's with the token put in."""

    provider = Provider.FCM
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
        self._origin = endpoint or Origin(HOST)
        self._authority = self._origin.authority.encode()
        self._ca_file = account.ca_file
        self._path = f"/v1/projects/{project_id}/messages:send".encode()

    def endpoint(self, lane: Lane) -> Endpoint | None:
        return Endpoint(self._origin.host, self._origin.port, self._ca_file)

    def origin(self, token: str) -> str:
        return ""

    def token_problem(self, *tokens: str) -> Refused | None:
        if all(tokens) and max(map(len, tokens), default=0) <= TOKEN_CHARS_MAX and _VISIBLE.fullmatch("".join(tokens)):
            return None
        return _NO_TOKEN

    def address_problem(self, token: str, address: Address) -> Refused | None:
        return None if address == NO_ADDRESS else _NO_ADDRESS

    def token_kind(self, notification: Notification) -> TokenKind:
        return TokenKind.STANDARD

    def check_message(self, notification: Notification, address: Address = NO_ADDRESS) -> None:
        encoded(_message(notification, notification.created_us))

    def preview(self, notification: Notification, address: Address, now_us: int) -> Preview:
        message = _message(notification, now_us)
        headers = [("content-type", "application/json")]
        return Preview(headers, encoded({"message": message}).decode(), _payload_bytes(message), PAYLOAD_BYTES_MAX)

    def prepare(self, batch: Batch, authorization: bytes | None, now_us: int) -> Requests:
        headers = [(b"content-type", b"application/json")]
        if authorization is not None:
            headers.insert(0, (b"authorization", authorization))
        template = Template(b"POST", self._authority, tuple(headers))
        known: dict[str, tuple[bytes, bytes]] = {}
        rows: list[Row] = []
        last: Notification | None = None
        before = after = b""
        path = self._path
        for position, delivery in enumerate(batch.deliveries):
            notification = delivery.notification
            if notification is not last:
                last = notification
                if notification.notification_id not in known:
                    known[notification.notification_id] = _around_token(notification, now_us)
                before, after = known[notification.notification_id]
            token = encode_basestring_ascii(delivery.token).encode()
            rows.append(Row(0, path, (), before + token + after, (position,)))
        return Requests((template,), rows)

    def classify(self, response: Response, covered: Sequence[Claimed], now_us: int) -> Sequence[Classified]:
        if response.status == 200:
            return [(_ACCEPTED, _message_name(response.body))] * len(covered)
        return [(_refusal(response, now_us), "")] * len(covered)


def _around_token(notification: Notification, now_us: int) -> tuple[bytes, bytes]:
    """The body up to the token and from there on, so that each row costs one concatenation."""
    message = encoded(_message(notification, now_us))
    return b'{"message":{"token":', b"," + message[1:] + b"}"


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
    error = _object(body.get("error"))
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


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
