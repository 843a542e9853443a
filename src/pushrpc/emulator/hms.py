"""Huawei's Push Kit (HMS Core, REST API v1) and its OAuth token endpoint, decided without I/O.

Rules are from Huawei's "Sending Downlink Messages", "Client Credentials", "Subscribing to a Topic" and "Response
Parameters". What is wrong with a request is a code in an answer of HTTP 200; only flow control (503) and addresses that
do not exist (404) have a status of their own. Huawei does not publish the order of its checks; here: route, access
token, permission, flow control, JSON, size, structure, number of tokens, tokens.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from pushrpc.emulator import hms_message
from pushrpc.emulator.quota import Quota
from pushrpc.emulator.service import Call, Entry, Verdict
from pushrpc.emulator.tokens import HMS_TOKEN, TokenBook, TokenState
from pushrpc.exchange import Response

STREAMS_MAX = 100
TOKENS_MAX = 1000
ACCESS_TOKEN_LIFE_S = 3600
ACCESS_TOKENS_MAX = 10_000
"""Access tokens remembered; the oldest is forgotten first, and is then refused like one that never was."""
SUBSCRIPTIONS_MAX = 1_000_000
"""Memberships of tokens in topics; past that, joining fails as Huawei's limits do."""

TOKEN_PATH = b"/oauth2/v3/token"
_ROUTE = re.compile(rb"/v1/([^/]+)/(messages:send|topic:(?:subscribe|unsubscribe|list))")
_TOPIC = re.compile(r"[\w.~%-]{1,900}")
_JSON = (b"content-type", b"application/json")

SUCCESS, PARTIAL = "80000000", "80100000"
_MESSAGES = {
    SUCCESS: "Success",
    "80100001": "Check Parameter Error",
    "80100003": "Illegal payload",
    "80100016": "The message contains sensitive information",
    "80200001": "Oauth authentication error",
    "80200003": "Oauth token expired",
    "80300002": "The app does not have permission to send messages to the specified tokens",
    "80300007": "All the tokens are invalid",
    "80300008": "The message body size exceeds the default value",
    "80300010": "The number of tokens in the message body exceeds the default value",
    "80600003": "Failed to request the OAuth service",
    "81000001": "System inner error",
}


class App(NamedTuple):
    """An app as Huawei knows it. `may_send` is the Push Kit permission in AppGallery Connect."""

    secret: str
    may_send: bool = True


class _Grant(NamedTuple):
    app_id: str
    expire_us: int


class Hms:
    """`by_cause` tells refused tokens by cause, as newer versions of the API do; otherwise as one list.

    `per_app` are requests a minute; what is more gets 503.
    """

    name = "hms"
    client_certificates = False
    http1, http2 = True, True
    streams_max = STREAMS_MAX

    def __init__(self, tokens: TokenBook, *, seed: int = 0) -> None:
        self.tokens = tokens
        self.per_app = Quota(0)
        self.by_cause = False
        self._apps: dict[str, App] = {}
        self._grants: dict[str, _Grant] = {}
        self._joined: dict[tuple[str, str, str], datetime] = {}  # app, token, topic
        self._random = random.Random(f"hms/{seed}")

    @property
    def app_ids(self) -> list[str]:
        return list(self._apps)

    def put_app(self, app_id: str, secret: str, *, may_send: bool = True) -> None:
        self._apps[app_id] = App(secret, may_send)

    def revoke_access_tokens(self) -> None:
        """Refuses every access token issued so far."""
        self._grants.clear()

    def clear(self) -> None:
        """Forgets memberships and quota; apps and access tokens stay."""
        self.per_app.clear()
        self._joined.clear()

    def members(self, app_id: str, topic: str) -> list[str]:
        """The tokens that have joined a topic, in order."""
        return [token for app, token, joined in self._joined if (app, joined) == (app_id, topic)]

    def connect(self, certificate: bytes | None) -> Hms:
        """Nothing is remembered between requests, so the service is its own connection."""
        return self

    def subject(self, call: Call) -> tuple[str, str]:
        """Of many tokens the first."""
        if call.path == TOKEN_PATH:
            return "hms_oauth", ""
        try:
            return self.name, str(json.loads(call.body)["message"]["token"][0])
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            return self.name, ""

    def refusal(self, call: Call, status: int, reason: str, now_us: int) -> Response:
        if call.path == TOKEN_PATH:
            return _oauth_error(status, reason or "system internal error")
        return self._said(reason, status=status, now_us=now_us) if reason else Response(status, [], b"")

    def answer(self, call: Call, now_us: int) -> Verdict:
        if call.method == b"POST" and call.path == TOKEN_PATH:
            return Verdict(self._grant(call, now_us))
        route = _ROUTE.fullmatch(call.path)
        if call.method != b"POST" or route is None:
            return Verdict(Response(404, [], b""))
        app_id = route[1].decode("latin-1")
        refused = self._bad_caller(call, app_id, now_us)
        if refused is not None:
            return Verdict(refused)
        try:
            request = json.loads(call.body)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            return Verdict(self._said("80100003", now_us=now_us))
        if route[2] == b"messages:send":
            return self._send(call, app_id, request, now_us)
        if route[2] == b"topic:list":
            return Verdict(self._topics(app_id, request, now_us))
        return Verdict(self._join(app_id, request, route[2] == b"topic:subscribe", now_us))

    # --- who sends

    def _grant(self, call: Call, now_us: int) -> Response:
        """Client credentials (RFC 6749 §4.4) become an opaque token, its slashes escaped as Huawei's JSON does."""
        form = parse_qs(call.body.decode("latin-1"))
        app = self._apps.get(form.get("client_id", [""])[0])
        if form.get("grant_type") != ["client_credentials"]:
            return _oauth_error(400, "not support this grant type")
        if app is None:
            return _oauth_error(400, "client_id is invalid")
        if form.get("client_secret") != [app.secret]:
            return _oauth_error(400, "invalid client_secret")
        token = base64.b64encode(b"\xff\xff" + self._random.randbytes(62)).decode()
        if len(self._grants) >= ACCESS_TOKENS_MAX:
            del self._grants[next(iter(self._grants))]
        self._grants[token] = _Grant(form["client_id"][0], now_us + ACCESS_TOKEN_LIFE_S * 1_000_000)
        told = {"access_token": token, "expires_in": ACCESS_TOKEN_LIFE_S, "token_type": "Bearer"}
        return Response(200, [_JSON], json.dumps(told).replace("/", r"\/").encode())

    def _bad_caller(self, call: Call, app_id: str, now_us: int) -> Response | None:
        scheme, _, token = call.header(b"authorization").decode("latin-1").partition(" ")
        grant = self._grants.get(token)
        if scheme.lower() != "bearer" or grant is None or grant.app_id != app_id:
            return self._said("80200001", now_us=now_us)
        if now_us >= grant.expire_us:
            return self._said("80200003", now_us=now_us)
        if not self._apps[app_id].may_send:
            return self._said("80300002", now_us=now_us)
        return Response(503, [], b"") if self.per_app.spend(app_id, now_us) else None

    # --- messages

    def _send(self, call: Call, app_id: str, request: dict[str, Any], now_us: int) -> Verdict:
        message = request.get("message")
        if not isinstance(message, dict):
            return Verdict(self._said("80300010", now_us=now_us))
        if hms_message.counted_bytes(request) > hms_message.BODY_BYTES_MAX:
            return Verdict(self._said("80300008", now_us=now_us))
        flaw = next(hms_message.flaws(message), None)
        if flaw is not None:
            return Verdict(self._said(flaw.code, flaw.msg, now_us=now_us))
        audience = message.get("topic") or message.get("condition")
        reached: Sequence[str] = [f"/topics/{audience}"]
        answer = self._said(SUCCESS, now_us=now_us)
        if not audience:
            tokens = message.get("token")
            if not isinstance(tokens, list) or not 1 <= len(tokens) <= TOKENS_MAX:
                return Verdict(self._said("80300010", now_us=now_us))
            illegal = {str(token): cause for token in tokens if (cause := self._illegal(token, app_id))}
            reached = [token for token in tokens if str(token) not in illegal]
            if any(self._is_throttled(token, now_us) for token in reached):
                return Verdict(Response(503, [], b""))
            if not reached:
                return Verdict(self._said("80300007", now_us=now_us))
            if illegal:
                answer = self._said(PARTIAL, self._summary(len(reached), illegal), now_us=now_us)
        if request.get("validate_only") is True:
            return Verdict(answer)
        return Verdict(answer, accepted_many=self._entries(call, message, reached, answer, now_us))

    def _entries(
        self, call: Call, message: dict[str, Any], reached: Sequence[str], answer: Response, now_us: int
    ) -> Sequence[Entry]:
        message_id = json.loads(answer.body)["requestId"]
        shown = _shown(message)
        return [
            Entry(
                provider=self.name,
                environment="",
                token=token,
                message_id=message_id,
                identity=hashlib.blake2b(f"{token}\n{shown}".encode(), digest_size=16).digest(),
                time_us=now_us,
                headers=call.headers,
                payload=call.body,
            )
            for token in reached
        ]

    def _illegal(self, token: object, app_id: str) -> str:
        """The cause why a token is refused, empty for one that is not."""
        if not isinstance(token, str):
            return "tokenFormatError"
        believed = self.tokens.get(token)
        if believed is None:
            if not HMS_TOKEN.fullmatch(token):
                return "tokenFormatError"
            believed = self.tokens.unknown
        if believed.app not in ("", app_id):
            return "noRight"
        dead = believed.state in (TokenState.UNREGISTERED, TokenState.EXPIRED)
        return "tokenFormatError" if dead else ""

    def _is_throttled(self, token: str, now_us: int) -> bool:
        believed = self.tokens.get(token) or self.tokens.unknown
        return believed.state is TokenState.THROTTLED and now_us < (believed.until_ms * 1000 or math.inf)

    def _summary(self, success: int, illegal: dict[str, str]) -> str:
        """What a partial success says: JSON, which then stands in a string."""
        told: dict[str, Any] = {"success": success, "failure": len(illegal)}
        if not self.by_cause:
            return json.dumps(told | {"illegal_tokens": list(illegal)})
        causes: dict[str, list[str]] = {}
        for token, cause in illegal.items():
            causes.setdefault(cause, []).append(token)
        return json.dumps({"illegalTokens": causes} | told)

    # --- topics

    def _join(self, app_id: str, request: dict[str, Any], join: bool, now_us: int) -> Response:
        topic, tokens = request.get("topic"), request.get("tokenArray")
        if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
            return self._said("80100001", "Illegal topic", now_us=now_us)
        if not isinstance(tokens, list) or not 1 <= len(tokens) <= TOKENS_MAX:
            return self._said("80300010", now_us=now_us)
        errors: list[dict[str, object]] = []
        for index, token in enumerate(tokens):
            if self._illegal(token, app_id):
                errors.append({"index": index, "reason": "INVALID_TOKEN"})
            elif not join:
                self._joined.pop((app_id, token, topic), None)
            elif len(self._joined) >= SUBSCRIPTIONS_MAX:
                errors.append({"index": index, "reason": "LIMIT_EXCEEDED"})
            else:
                self._joined.setdefault((app_id, token, topic), datetime.fromtimestamp(now_us / 1e6, UTC))
        told = {"successCount": len(tokens) - len(errors), "failureCount": len(errors), "errors": errors}
        return self._said(SUCCESS, now_us=now_us, more=told)

    def _topics(self, app_id: str, request: dict[str, Any], now_us: int) -> Response:
        token = request.get("token")
        if self._illegal(token, app_id):
            return self._said("80300007", now_us=now_us)
        topics = [
            {"name": topic, "addDate": f"{since:%Y-%m-%d}"}
            for (app, member, topic), since in self._joined.items()
            if (app, member) == (app_id, token)
        ]
        return self._said(SUCCESS, now_us=now_us, more={"topics": topics})

    def _said(
        self, code: str, msg: str = "", *, now_us: int, status: int = 200, more: Mapping[str, object] | None = None
    ) -> Response:
        request_id = f"{now_us // 1000}{self._random.randrange(10**11):011d}"
        told = {"code": code, "msg": msg or _MESSAGES.get(code, code), "requestId": request_id, **(more or {})}
        return Response(status, [_JSON], json.dumps(told).encode())


def _shown(message: dict[str, Any]) -> str:
    """What makes a message the same one: what the person sees and the app gets, not how long it may wait."""
    android = message.get("android", {})
    parts = [message.get("data"), message.get("notification"), android.get("data"), android.get("notification")]
    return json.dumps(parts, sort_keys=True)


def _oauth_error(status: int, description: str) -> Response:
    return Response(status, [_JSON], json.dumps({"error": 1101, "error_description": description}).encode())
