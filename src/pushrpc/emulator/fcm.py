"""Firebase Cloud Messaging (HTTP v1), its topics, and Google's OAuth token endpoint, decided without I/O.

Rules are from Firebase's "REST v1 ErrorCode", "FCM error codes" and "FCM Throttling and Quotas", Google's "Using OAuth
2.0 for Server to Server Applications" and AIP-193 for the shape of an error; of topics from "Instance ID server
reference", and the newer `topicSubscriptions` from what Google's own SDKs send. Google does not publish the order of
its checks; here: route, credential, project, permission, JSON, message, token, quota. The topic service has a host of
its own there; here it shares the port.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from pushrpc.emulator import fcm_message
from pushrpc.emulator.fcm_message import Violation
from pushrpc.emulator.fcm_topics import TOKENS_OF_CALL_MAX, TOPIC, Topics
from pushrpc.emulator.quota import Quota
from pushrpc.emulator.service import Call, Entry, Verdict
from pushrpc.emulator.tokens import FCM_TOKEN, Token, TokenBook, TokenState
from pushrpc.exchange import Response

STREAMS_MAX = 100
"""Streams one connection may hold; what Google's front ends announce."""

ACCESS_TOKEN_LIFE_S = 3600
ACCESS_TOKENS_MAX = 10_000
"""Access tokens remembered; the oldest is forgotten first, and is then refused like an expired one."""
ASSERTION_LIFE_MAX_S = 3600
CLOCK_SKEW_S = 300

GOOGLE_TOKEN_URL = "https://oauth2.googleapis.com/token"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPES = frozenset(f"https://www.googleapis.com/auth/{name}" for name in ("firebase.messaging", "cloud-platform"))

PROJECT_PER_MINUTE = 600_000
DEVICE_PER_MINUTE = 240

REACHED_MAX = 1_000
"""Tokens that the journal names of those a message to a topic reached."""

_SEND = re.compile(rb"/v1/projects/([^/]+)/messages:send(?:\?.*)?")
_BATCH = re.compile(rb"/iid/v1:batch(Add|Remove)")
_SUBSCRIPTIONS = re.compile(rb"/v1/projects/([^/]+)/registrations/([^/]+)/topicSubscriptions(?:/([^/?]+))?(?:\?(.*))?")
_JWT_OPTIONS = {"verify_iat": False, "verify_exp": False, "verify_nbf": False, "verify_aud": False, "verify_sub": False}
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_QUOTA_FAILURE = "type.googleapis.com/google.rpc.QuotaFailure"
_JSON = (b"content-type", b"application/json; charset=UTF-8")
_HTML = (b"content-type", b"text/html; charset=UTF-8")
_NOT_FOUND_PAGE = b"<!DOCTYPE html>\n<html lang=en>\n<title>Error 404 (Not Found)!!1</title>\n"


class _Code(NamedTuple):
    """An error: google.rpc status, message, and whether it carries an FcmError with its own name."""

    http: int
    status: str
    message: str
    is_fcm: bool = True


_CODES = {
    "INVALID_ARGUMENT": _Code(400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "THIRD_PARTY_AUTH_ERROR": _Code(401, "UNAUTHENTICATED", "Auth error from APNS or Web Push Service"),
    "UNAUTHENTICATED": _Code(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.", is_fcm=False),
    "SENDER_ID_MISMATCH": _Code(403, "PERMISSION_DENIED", "SenderId mismatch"),
    "PERMISSION_DENIED": _Code(403, "PERMISSION_DENIED", "The caller does not have permission", is_fcm=False),
    "NOT_FOUND": _Code(404, "NOT_FOUND", "Requested entity was not found.", is_fcm=False),
    "ALREADY_EXISTS": _Code(409, "ALREADY_EXISTS", "Requested entity already exists", is_fcm=False),
    "UNREGISTERED": _Code(404, "NOT_FOUND", "Requested entity was not found."),
    "QUOTA_EXCEEDED": _Code(429, "RESOURCE_EXHAUSTED", "Quota exceeded."),
    "INTERNAL": _Code(500, "INTERNAL", "Internal error encountered."),
    "UNAVAILABLE": _Code(503, "UNAVAILABLE", "The service is currently unavailable."),
}
_BY_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "QUOTA_EXCEEDED"}


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A sender as Google knows it; it may send for `project_id` only."""

    client_email: str
    key_id: str
    public_key: RSAPublicKey
    project_id: str


class _Grant(NamedTuple):
    project_id: str
    scopes: frozenset[str]
    expire_us: int


class Fcm:
    """`token_urls`: what an assertion's audience may be, beside Google's own. The token endpoint is POST /token."""

    name = "fcm"
    client_certificates = False
    http1, http2 = True, True
    streams_max = STREAMS_MAX

    def __init__(self, tokens: TokenBook, *, seed: int = 0) -> None:
        self.tokens = tokens
        self.projects: set[str] = set()
        self.topics = Topics()
        self.token_urls = {GOOGLE_TOKEN_URL}
        self.per_project = Quota(PROJECT_PER_MINUTE)
        self.per_device = Quota(DEVICE_PER_MINUTE)
        self._accounts: dict[str, ServiceAccount] = {}
        self._grants: dict[str, _Grant] = {}
        self._random = random.Random(f"fcm/{seed}")

    @property
    def service_accounts(self) -> list[ServiceAccount]:
        return list(self._accounts.values())

    def put_service_account(self, account: ServiceAccount) -> None:
        self._accounts[account.client_email] = account
        self.projects.add(account.project_id)

    def revoke_access_tokens(self) -> None:
        """Refuses every access token issued so far."""
        self._grants.clear()

    def connect(self, certificate: bytes | None) -> Fcm:
        """HTTP remembers nothing between Google's requests, so the service is its own connection."""
        return self

    def subject(self, call: Call) -> tuple[str, str]:
        if call.path == b"/token":
            return "oauth", ""
        try:
            message = json.loads(call.body)["message"]
            return self.name, str(message.get("token", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            return self.name, ""

    def refusal(self, call: Call, status: int, reason: str, now_us: int) -> Response:
        if call.path == b"/token":
            return _oauth_error(status, reason or "internal_failure", "")
        if _BATCH.fullmatch(call.path):
            return _iid_error(status, reason or _BY_STATUS.get(status, "INTERNAL"))
        if not reason and status == 404:
            return Response(404, [_HTML], _NOT_FOUND_PAGE)
        name = reason or _BY_STATUS.get(status, "UNAVAILABLE" if status == 503 else "INTERNAL")
        code = _CODES.get(name, _Code(status, name, name))
        return _error(name, code._replace(http=status))

    def answer(self, call: Call, now_us: int) -> Verdict:
        if call.method == b"POST" and call.path == b"/token":
            return Verdict(self._grant(call, now_us))
        if call.method == b"POST" and (batch := _BATCH.fullmatch(call.path)):
            return Verdict(self._batch(call, batch[1] == b"Add", now_us))
        if subscriptions := _SUBSCRIPTIONS.fullmatch(call.path):
            project, token, topic, query = (unquote((part or b"").decode("latin-1")) for part in subscriptions.groups())
            return Verdict(self._subscription(call, project, token, topic, query, now_us))
        route = _SEND.fullmatch(call.path)
        if call.method != b"POST" or route is None:
            return Verdict(Response(404, [_HTML], _NOT_FOUND_PAGE))
        return self._send(call, route[1].decode("latin-1"), now_us)

    def _grant(self, call: Call, now_us: int) -> Response:
        """RFC 7523: an assertion signed by a service account becomes an opaque access token."""
        form = parse_qs(call.body.decode("latin-1"))
        if form.get("grant_type") != [GRANT_TYPE]:
            return _oauth_error(400, "unsupported_grant_type", "Invalid grant_type")
        assertion = form.get("assertion", [""])[0]
        try:
            account, claims = self._verify(assertion)
        except (jwt.InvalidTokenError, UnicodeError, LookupError):
            return _oauth_error(400, "invalid_grant", "Invalid JWT Signature.")
        issued, expires, now_s = claims.get("iat"), claims.get("exp"), now_us // 1_000_000
        if not isinstance(issued, int) or not isinstance(expires, int):
            return _oauth_error(400, "invalid_grant", "Invalid JWT: iat and exp must be numbers.")
        in_time = issued - CLOCK_SKEW_S <= now_s < expires + CLOCK_SKEW_S
        if not in_time or expires - issued > ASSERTION_LIFE_MAX_S:
            return _oauth_error(400, "invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes).")
        if claims.get("aud") not in self.token_urls:
            return _oauth_error(400, "invalid_grant", "Invalid JWT: Failed audience check.")
        scopes = frozenset(str(claims.get("scope", "")).split())
        if not scopes:
            return _oauth_error(400, "invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        token = self._issue(_Grant(account.project_id, scopes, now_us + ACCESS_TOKEN_LIFE_S * 1_000_000))
        body = {"access_token": token, "expires_in": ACCESS_TOKEN_LIFE_S - 1, "token_type": "Bearer"}
        return Response(200, [_JSON], json.dumps(body).encode())

    def _verify(self, assertion: str) -> tuple[ServiceAccount, dict[str, Any]]:
        header = jwt.get_unverified_header(assertion)
        unverified = jwt.decode(assertion, options={"verify_signature": False})
        account = self._accounts[str(unverified.get("iss"))]
        # The kid is optional in RFC 7515, and Google then tries all keys of the account; here it has but one.
        if header.get("kid", account.key_id) != account.key_id:
            raise LookupError("another key")
        claims = jwt.decode(assertion, account.public_key, algorithms=["RS256"], options=_JWT_OPTIONS)  # type: ignore[arg-type]
        return account, claims

    def _issue(self, grant: _Grant) -> str:
        token = "ya29." + self._random.randbytes(48).hex()
        if len(self._grants) >= ACCESS_TOKENS_MAX:
            del self._grants[next(iter(self._grants))]
        self._grants[token] = grant
        return token

    def _send(self, call: Call, project: str, now_us: int) -> Verdict:
        refused = self._bad_caller(call, project, now_us)
        if refused:
            return Verdict(refused)
        try:
            request, violations = fcm_message.read(call.body)
        except (ValueError, RecursionError):
            violations, request = [Violation("", "Invalid JSON payload received.")], {}
        if violations:
            return Verdict(_invalid(violations, is_fcm=False))
        message = request.get("message", {})
        flaws = list(fcm_message.flaws(message))
        if flaws:
            return Verdict(_invalid(flaws))
        refused = self._bad_token(message.get("token"), project, now_us)
        if refused:
            return Verdict(refused)
        if request.get("validate_only"):
            return Verdict(_named(f"projects/{project}/messages/fake_message_id"))
        reached: list[str] = []
        if not message.get("token"):
            members = self.topics.reached(project, message.get("topic", ""), message.get("condition", ""))
            reached = [token for token in members if not self._dead(token, project)]
        target = message.get("token") or "/topics/" + (message.get("topic") or message["condition"])
        name = f"projects/{project}/messages/0:{now_us}%{self._random.randbytes(8).hex()}"
        entry = Entry(
            provider=self.name,
            environment="",
            token=target,
            message_id=name,
            identity=_identity(target, message),
            time_us=now_us,
            headers=call.headers,
            payload=call.body,
            reached=reached[:REACHED_MAX],
        )
        return Verdict(_named(name), entry)

    def _batch(self, call: Call, join: bool, now_us: int) -> Response:
        """The Instance ID service's own form: a word in `error`, or a row for each token."""
        grant = self._granted(call, now_us)
        if grant is None or call.header(b"access_token_auth") != b"true":
            return _iid_error(401, "Unauthorized")
        if not grant.scopes & SCOPES:
            return _iid_error(403, "PERMISSION_DENIED")
        try:
            asked = json.loads(call.body)
            topic, tokens = str(asked["to"]), [str(token) for token in asked["registration_tokens"]]
        except (ValueError, KeyError, TypeError):
            return _iid_error(400, "InvalidArgument")
        if not 1 <= len(tokens) <= TOKENS_OF_CALL_MAX or not TOPIC.fullmatch(topic.removeprefix("/topics/")):
            return _iid_error(400, "InvalidArgument")
        topic = topic.removeprefix("/topics/")
        results = [{"error": error} if error else {} for error in self._moved(grant.project_id, topic, tokens, join)]
        return Response(200, [_JSON], json.dumps({"results": results}).encode())

    def _moved(self, project: str, topic: str, tokens: Sequence[str], join: bool) -> Iterator[str]:
        """Joins or leaves; for each token the error's name, or nothing."""
        for token in tokens:
            if error := self._dead(token, project):
                yield error
            elif join:
                yield "" if self.topics.join(project, topic, token) else "TOO_MANY_TOPICS"
            else:
                self.topics.leave(project, topic, token)
                yield ""

    def _dead(self, token: str, project: str) -> str:
        """What the topic service calls what is wrong with a token; empty for one that a message would reach."""
        believed = self.tokens.get(token)
        if believed is None:
            if not FCM_TOKEN.fullmatch(token):
                return "INVALID_ARGUMENT"
            believed = self.tokens.unknown
        if believed.app not in ("", project):
            return "INVALID_ARGUMENT"
        return "NOT_FOUND" if believed.state in (TokenState.UNREGISTERED, TokenState.EXPIRED) else ""

    def _subscription(self, call: Call, project: str, token: str, topic: str, query: str, now_us: int) -> Response:
        """One token's subscription to one topic, made (POST) or ended (DELETE)."""
        refused = self._bad_caller(call, project, now_us)
        if refused:
            return refused
        options = parse_qs(query)
        joins = call.method == b"POST" and not topic
        topic = topic or options.get("topic_name", [""])[0]
        if not TOPIC.fullmatch(topic) or not (joins or call.method == b"DELETE"):
            return _error("INVALID_ARGUMENT")
        if dead := self._dead(token, project):
            return _error("UNREGISTERED" if dead == "NOT_FOUND" else "INVALID_ARGUMENT")
        if joins and self.topics.has(project, topic, token):
            return _error("ALREADY_EXISTS")
        if joins and not self.topics.join(project, topic, token):
            return _error("QUOTA_EXCEEDED")
        if not joins and not self.topics.leave(project, topic, token) and options.get("allow_missing") != ["true"]:
            return _error("NOT_FOUND")
        name = f"projects/{project}/registrations/{token}/topicSubscriptions/{topic}"
        return _named(name) if joins else Response(200, [_JSON], b"{}")

    def _granted(self, call: Call, now_us: int) -> _Grant | None:
        scheme, _, token = call.header(b"authorization").decode("latin-1").partition(" ")
        grant = self._grants.get(token)
        return grant if grant and scheme.lower() == "bearer" and now_us < grant.expire_us else None

    def _bad_caller(self, call: Call, project: str, now_us: int) -> Response | None:
        grant = self._granted(call, now_us)
        if grant is None:
            challenge = b'Bearer realm="https://accounts.google.com/", error="invalid_token"'
            return _error("UNAUTHENTICATED", headers=[(b"www-authenticate", challenge)])
        if project not in self.projects:
            return Response(404, [_HTML], _NOT_FOUND_PAGE)
        if grant.project_id != project or not grant.scopes & SCOPES:
            return _error("PERMISSION_DENIED")
        return None

    def _bad_token(self, token: str | None, project: str, now_us: int) -> Response | None:
        believed: Token | None = None
        if token is not None:
            believed = self.tokens.get(token)
            if believed is None:
                if not FCM_TOKEN.fullmatch(token):
                    violation = Violation("message.token", "Invalid registration token")
                    text = "The registration token is not a valid FCM registration token"
                    return _invalid([violation], message=text)
                believed = self.tokens.unknown
            if believed.app not in ("", project):
                return _error("SENDER_ID_MISMATCH")
            if believed.state in (TokenState.UNREGISTERED, TokenState.EXPIRED):
                return _error("UNREGISTERED")
        return self._over_quota(token, believed, project, now_us)

    def _over_quota(self, token: str | None, believed: Token | None, project: str, now_us: int) -> Response | None:
        if believed and believed.state is TokenState.THROTTLED and now_us < (believed.until_ms * 1000 or math.inf):
            until_us = believed.until_ms * 1000
            return _quota_error("device", (until_us - now_us) / 1e6 if until_us else 60.0)
        wait_s = self.per_project.spend(project, now_us)
        if wait_s:
            return _quota_error(f"project:{project}", wait_s)
        wait_s = self.per_device.spend(token, now_us) if token else 0.0
        return _quota_error("device", wait_s) if wait_s else None


def _identity(target: str, message: dict[str, Any]) -> bytes:
    """What makes a message the same one: its target and what the person sees, not how long it may wait."""
    shown = {name: message.get(name) for name in ("data", "notification")}
    apns = message.get("apns", {}).get("payload")
    android = {name: message.get("android", {}).get(name) for name in ("data", "notification")}
    text = json.dumps([target, shown, apns, android], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _named(name: str) -> Response:
    return Response(200, [_JSON], json.dumps({"name": name}).encode())


def _error(
    name: str,
    code: _Code | None = None,
    *,
    details: Sequence[dict[str, object]] = (),
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> Response:
    code = code or _CODES[name]
    error: dict[str, object] = {"code": code.http, "message": code.message, "status": code.status}
    every = [*details, {"@type": _FCM_ERROR, "errorCode": name}] if code.is_fcm else list(details)
    if every:
        error["details"] = every
    return Response(code.http, [_JSON, *headers], json.dumps({"error": error}, indent=2).encode())


def _invalid(violations: Sequence[Violation], *, is_fcm: bool = True, message: str = "") -> Response:
    text = message or "; ".join(violation.description for violation in violations)
    code = _CODES["INVALID_ARGUMENT"]._replace(message=text, is_fcm=is_fcm)
    fields = [{"field": v.field, "description": v.description} for v in violations]
    return _error("INVALID_ARGUMENT", code, details=[{"@type": _BAD_REQUEST, "fieldViolations": fields}])


def _quota_error(subject: str, wait_s: float) -> Response:
    violation = {"subject": subject, "description": "Message rate exceeded."}
    details: list[dict[str, object]] = [{"@type": _QUOTA_FAILURE, "violations": [violation]}]
    after = str(max(1, math.ceil(wait_s))).encode()
    return _error("QUOTA_EXCEEDED", details=details, headers=[(b"retry-after", after)])


def _iid_error(status: int, error: str) -> Response:
    return Response(status, [_JSON], json.dumps({"error": error}).encode())


def _oauth_error(status: int, error: str, description: str) -> Response:
    body = {"error": error, "error_description": description or error}
    return Response(status, [_JSON], json.dumps(body).encode())
