"""Huawei's Push Kit (HMS Core, REST API v1), up to 1,000 tokens a request.

Sources: Huawei, "Sending Downlink Messages", "Client Credentials", "Subscribing to a Topic" and "Response Parameters".

An answer is nearly always HTTP 200, and what it means is the `code` in its body. "80100000" is a partial success: its
`msg` is JSON in a string, which lists the refused tokens, in newer answers by cause.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any

from pushrpc.accounts import HmsAccount
from pushrpc.exchange import Endpoint, Requests, Response, Row, Template
from pushrpc.model import NO_ADDRESS, Address, Batch, Claimed, Lane, Notification, Outcome, Refused, Scope
from pushrpc.providers import AccountError, Call, Classified, Credential, Preview, hms_message
from pushrpc.providers.answer import by_status, cause_of, clip, json_object, retry_after_s, text, word
from pushrpc.providers.credentials import ClientToken, check_ca_file, read_secret
from pushrpc.providers.fcm_message import condition_problem
from pushrpc.providers.origin import Origin
from pushrpc.providers.payload import encoded
from pushrpc.words import AudienceKind, Cause, Environment, OutcomeKind, Provider, RejectReason, TokenKind

HOST = "push-api.cloud.huawei.com"
TOKEN_HOST = "oauth-login.cloud.huawei.com"
TOKEN_PATH = "/oauth2/v3/token"
TOKEN_LIFETIME_S = 3600.0
TOKENS_MAX = 1000  # of one request
TOKEN_CHARS_MAX = 4096
CONDITION_TOPICS_MAX = 5

_APP_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_TOPIC_NAME = r"[\w.~%-]{1,900}"
_TOPIC = re.compile(_TOPIC_NAME)
_NO_TOKEN = Refused(
    RejectReason.TOKEN_MALFORMED, f"an HMS token is 1 to {TOKEN_CHARS_MAX} visible ASCII characters without spaces"
)
_NO_ADDRESS = Refused(RejectReason.TOKEN_MALFORMED, "HMS takes a token alone, without keys or a hub_platform")
_NO_AUDIENCE = Refused(RejectReason.TOKEN_MALFORMED, "HMS spreads a push to a topic or a condition only")
_NO_TOPIC = Refused(
    RejectReason.TOKEN_MALFORMED, "an HMS topic is 1 to 900 letters, digits and _ - . ~ %, without /topics/ before it"
)
_NO_CONDITION = Refused(
    RejectReason.TOKEN_MALFORMED,
    f"an HMS condition joins up to {CONDITION_TOPICS_MAX} topics: 'a' in topics && ('b' in topics || 'c' in topics)",
)
_CONTENT_TYPE = (b"content-type", b"application/json; charset=UTF-8")


class Hms:
    """One app of Huawei's. The tokens of a notification share requests, as many as fit into one."""

    provider = Provider.HMS
    tokens_per_request = TOKENS_MAX
    environment = Environment.UNSPECIFIED
    topic_tokens_max = TOKENS_MAX

    def __init__(self, account: HmsAccount) -> None:
        """Loads the app's secret. Raises AccountError."""
        app_id = account.hms_app_id
        if not _APP_ID.fullmatch(app_id):
            raise AccountError("app_id", "is not the app's id (its OAuth 2.0 client id) as AppGallery Connect shows it")
        secret = read_secret("client_secret_file", account.client_secret_file)
        check_ca_file(account.ca_file)
        endpoint = Origin.of_endpoint(account.endpoint)
        form = {"grant_type": "client_credentials", "client_id": app_id, "client_secret": secret}
        token_url = f"https://{(endpoint or Origin(TOKEN_HOST)).authority}{TOKEN_PATH}"
        self.provider_app_id = app_id
        self.credential: Credential | None = ClientToken(token_url, form, account.ca_file, TOKEN_LIFETIME_S)
        self._origin = endpoint or Origin(HOST)
        # Huawei documents HTTPS and no HTTP/2; at 1,000 tokens a request, one at a time a connection is plenty.
        self._endpoint = Endpoint(self._origin.host, self._origin.port, account.ca_file, http2=False)

    def endpoint(self, lane: Lane) -> Endpoint | None:
        return self._endpoint

    def origin(self, token: str) -> str:
        return ""

    def token_problem(self, *tokens: str) -> Refused | None:
        fine = all(len(token) <= TOKEN_CHARS_MAX and _TOKEN.fullmatch(token) for token in tokens)
        return None if fine else _NO_TOKEN

    def address_problem(self, token: str, address: Address) -> Refused | None:
        if address.audience is None:
            return None if address == NO_ADDRESS else _NO_ADDRESS
        if address.audience is AudienceKind.TOPIC:
            return None if _TOPIC.fullmatch(token) else _NO_TOPIC
        if address.audience is AudienceKind.CONDITION:
            return None if not condition_problem(token) else _NO_CONDITION
        return _NO_AUDIENCE

    def token_kind(self, notification: Notification) -> TokenKind:
        return TokenKind.STANDARD

    def check_message(self, notification: Notification, address: Address = NO_ADDRESS) -> None:
        hms_message.build(notification, notification.created_us, address.audience is not None)

    def preview(self, notification: Notification, address: Address, now_us: int) -> Preview:
        of_audience = address.audience is not None
        built = hms_message.build(notification, now_us, of_audience)
        return Preview(
            [(_CONTENT_TYPE[0].decode(), _CONTENT_TYPE[1].decode())],
            (b'{"validate_only":false,"message":' + built.message + b"}").decode(),
            built.size_bytes,
            hms_message.BODY_BYTES_MAX - (hms_message.AUDIENCE_BYTES if of_audience else 0),
            ("message.body",) if built.cut else (),
            hms_message.dropped(notification, now_us),
        )

    def prepare(self, batch: Batch, authorization: bytes | None, now_us: int) -> Requests:
        deliveries = batch.deliveries
        together: dict[tuple[str, str, str], list[int]] = {}
        for position, delivery in enumerate(deliveries):
            together.setdefault(_shared(delivery), []).append(position)
        path = self._path("messages:send")
        rows: list[Row] = []
        for positions in together.values():
            first = deliveries[positions[0]]
            address = Address.of(first.address)
            message = hms_message.build(first.notification, now_us, address.audience is not None).message
            for start in range(0, len(positions), TOKENS_MAX):
                covers = positions[start : start + TOKENS_MAX]
                target = _target([deliveries[position].token for position in covers], address)
                rows.append(Row(0, path, (), _body(target, message), covers))
        return Requests((self._template(authorization),), rows)

    def requests_of(self, deliveries: Sequence[Claimed], now_us: int) -> int:
        return sum(-(-count // TOKENS_MAX) for count in Counter(map(_shared, deliveries)).values())

    def classify(self, response: Response, covered: Sequence[Claimed], now_us: int) -> Sequence[Classified]:
        told = json_object(response.body)
        if _is_2xx(response):
            request_id = word(told.get("requestId"))
            if _code(told) == _SUCCESS:
                return [(_ACCEPTED, request_id)] * len(covered)
            if _code(told) == _PARTIAL:
                return _partial(response.status, told, request_id, covered)
        return [(_refusal(response, told, now_us), "")] * len(covered)

    def check_call(
        self, notification: Notification, token: str, address: Address, authorization: bytes | None, now_us: int
    ) -> Call:
        message = hms_message.build(notification, now_us).message
        return self._call("messages:send", _body(_target([token], address), message, b"true"), authorization)

    def topic_call(self, topic: str, tokens: Sequence[str], join: bool, authorization: bytes | None) -> Call:
        body = encoded({"topic": topic, "tokenArray": tokens})
        return self._call("topic:subscribe" if join else "topic:unsubscribe", body, authorization)

    def topic_results(self, response: Response, tokens: Sequence[str], now_us: int) -> Sequence[Outcome]:
        """`errors` names the tokens that failed by their place in the call."""
        told = json_object(response.body)
        if not _is_2xx(response) or _code(told) not in (_SUCCESS, _PARTIAL):
            return [_refusal(response, told, now_us)] * len(tokens)
        outcomes = [_ACCEPTED] * len(tokens)
        errors = told.get("errors")
        for error in errors if isinstance(errors, list) else ():
            place = error.get("index") if isinstance(error, dict) else None
            if isinstance(place, int) and 0 <= place < len(tokens):
                reason = word(error.get("reason"))
                kind = OutcomeKind.TOKEN_INVALID if "token" in reason.lower() else OutcomeKind.PAYLOAD_REFUSED
                outcomes[place] = Outcome(kind, response.status, reason)
        return outcomes

    def _call(self, verb: str, body: bytes, authorization: bytes | None) -> Call:
        row = Row(0, self._path(verb), (), body, ())
        return Call(self._endpoint, Requests((self._template(authorization),), (row,)))

    def _path(self, verb: str) -> bytes:
        return f"/v1/{self.provider_app_id}/{verb}".encode()

    def _template(self, authorization: bytes | None) -> Template:
        headers = (_CONTENT_TYPE,) if authorization is None else ((b"authorization", authorization), _CONTENT_TYPE)
        return Template(b"POST", self._origin.authority.encode(), headers)


def _shared(delivery: Claimed) -> tuple[str, str, str]:
    """What those in one request have alike. Tokens go together; an audience is the whole target of its request."""
    return delivery.notification.notification_id, delivery.address, delivery.token if delivery.address else ""


def _target(tokens: Sequence[str], address: Address) -> bytes:
    """The member of the message object that says who gets it."""
    if address.audience is not None:
        return f'"{address.audience}":{encode_basestring_ascii(tokens[0])}'.encode()
    return f'"token":[{",".join(map(encode_basestring_ascii, tokens))}]'.encode()


def _body(target: bytes, message: bytes, validate_only: bytes = b"false") -> bytes:
    return b'{"validate_only":%b,"message":{%b,%b}' % (validate_only, target, message[1:])


# --- answers -----------------------------------------------------------------------------------------------------

_SUCCESS, _PARTIAL = "80000000", "80100000"
_ACCEPTED = Outcome(OutcomeKind.ACCEPTED, 200)
_REFUSED = Outcome(OutcomeKind.PAYLOAD_REFUSED)
_RENEW = Outcome(OutcomeKind.CREDENTIAL_REFUSED, renew=True)
_SETTINGS = Outcome(OutcomeKind.CREDENTIAL_REFUSED)
_DOWN = Outcome(OutcomeKind.UNAVAILABLE)
_GONE = Outcome(OutcomeKind.TOKEN_INVALID)
# Tokens of another app: so it may be our settings that are wrong.
_NOT_OURS = Outcome(OutcomeKind.TOKEN_INVALID, misdirected=True)
# The app may not send this, or not there: the tokens are none the worse, and those beside them were served.
_NOT_ALLOWED = Outcome(OutcomeKind.CREDENTIAL_REFUSED, scope=Scope.TOKEN)

_CODES: Mapping[str, Outcome] = {
    "80100001": _REFUSED,  # a parameter
    "80100003": _REFUSED,  # the message's structure
    "80100004": _REFUSED,  # expires in the past
    "80100013": _REFUSED,  # collapse_key
    "80100016": _REFUSED,  # sensitive words
    "80200001": _RENEW,  # the access token is wrong, or another app's
    "80200003": _RENEW,  # the access token has expired
    "80200005": _RENEW,  # the JWT has expired
    "80300002": _SETTINGS,  # no permission to send
    "80300007": _NOT_OURS,  # every token is invalid, or another app's
    "80300008": _REFUSED._replace(cause=Cause.PAYLOAD_TOO_LARGE),
    "80300010": _REFUSED,  # not 1 to 1,000 tokens
    "80600003": _DOWN,  # the OAuth service fails
    "81000001": _DOWN,  # internal
}
# What a code that is not known means, by its first digits: 801 is about the request, 802 about who sends it, and so on.
_FAMILIES: Mapping[str, Outcome] = {"801": _REFUSED, "802": _RENEW, "803": _REFUSED, "806": _DOWN, "810": _DOWN}
# Why a token was refused alone ("Response Parameters", 80100000).
_CAUSES: Mapping[str, Outcome] = {
    "tokenFormatError": _GONE,
    "tokenPlatformNotSupport": _GONE,
    "noRight": _NOT_OURS,
    "countryNotSupport": _REFUSED,
    "atomicUnableSendUnsubscribedMsg": _REFUSED,
    "differentImgVerifyPolicy": _REFUSED,
    "noPushTypeRight": _NOT_ALLOWED,
    "noRightToSendThisLiveNotificationEvent": _NOT_ALLOWED,
    "appinfoError": _NOT_ALLOWED,
}


def _is_2xx(response: Response) -> bool:
    return 200 <= response.status < 300


def _code(told: Mapping[str, Any]) -> str:
    code = told.get("code")
    return word(str(code) if isinstance(code, int) else code)


def _partial(status: int, told: Mapping[str, Any], request_id: str, covered: Sequence[Claimed]) -> Sequence[Classified]:
    """Whoever is not listed was served."""
    summary = json_object(told["msg"].encode("utf-8", "replace")) if isinstance(told.get("msg"), str) else {}
    listed = summary.get("illegalTokens", summary.get("illegal_tokens"))
    if not isinstance(listed, list | dict):
        detail = "the answer does not say which tokens were refused"
        return [(Outcome(OutcomeKind.UNKNOWN, status, _PARTIAL, detail), "")] * len(covered)
    refused: dict[str, Outcome] = {}
    for cause, tokens in listed.items() if isinstance(listed, dict) else [("", listed)]:
        outcome = _judged_cause(cause)._replace(provider_status=status, reason=word(cause) or _PARTIAL)
        refused |= dict.fromkeys(_texts(tokens), outcome)
    accepted = (_ACCEPTED, request_id)
    return [(refused[each.token], "") if each.token in refused else accepted for each in covered]


def _judged_cause(cause: str) -> Outcome:
    """An unnamed list is of dead tokens; for a cause that nobody knows yet no device shall die."""
    if not cause:
        return _GONE
    return _CAUSES.get(cause, _NOT_ALLOWED if cause.startswith("disable") else _REFUSED)


def _texts(value: object) -> Iterator[str]:
    """The texts of a list, or of one text alone."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (each for each in value if isinstance(each, str))


def _refusal(response: Response, told: Mapping[str, Any], now_us: int) -> Outcome:
    code = _code(told)
    outcome = _judged(response.status, code)
    # An answer that cannot be read may be half of one that lists tokens.
    unread = "the answer has no code that is known" if _is_2xx(response) else text(response.body)
    return outcome._replace(
        provider_status=response.status,
        reason=code,
        detail=(clip(word(told.get("msg"), 1024)) if code else "") or ("" if code else unread),
        retry_after_s=retry_after_s(response, now_us),
        cause=outcome.cause or cause_of(response.status),
    )


def _judged(status: int, code: str) -> Outcome:
    if 200 <= status < 300 or status in (400, 401, 403):
        known = _CODES.get(code) or _FAMILIES.get(code[:3])
        if known is not None and code not in (_SUCCESS, _PARTIAL):
            return known
    if 200 <= status < 300:
        # Not the word for success and none that we know: it may have been sent.
        return Outcome(OutcomeKind.UNKNOWN)
    if status == 401:
        return _RENEW
    if status in (404, 410):
        # Not the tokens but the address was not found: a wrong app id or endpoint. No device may die of it.
        return _SETTINGS
    if status == 503:
        return Outcome(OutcomeKind.THROTTLED)  # Huawei's word for flow control
    return Outcome(by_status(status))
