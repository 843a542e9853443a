"""Apple's push service, decided without I/O: from a request and its connection to the answer Apple would give.

Rules are from Apple's "Sending notification requests to APNs", "Handling notification responses from APNs" and
"Establishing a token-based connection to APNs"; those of broadcast channels are in `apns_channels`. Apple does not
publish the order of its checks, nor the reason for a body that is not JSON (here PayloadEmpty) or a push type that does
not fit its topic (here TopicDisallowed).
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from pushrpc.emulator.apns_channels import Channels, Route, route_of, started_on
from pushrpc.emulator.authority import ClientCertificate, read_client_certificate
from pushrpc.emulator.quota import Quota
from pushrpc.emulator.service import Call, Entry, Verdict
from pushrpc.emulator.tokens import APNS_TOKEN, Token, TokenBook, TokenState
from pushrpc.exchange import Response

STREAMS_BEFORE_TOKEN = 1
STREAMS_MAX = 1000
"""Apple announces one stream until a request with a valid token was seen, then about a thousand."""

TOKEN_AGE_MAX_S = 3600
TOKEN_FUTURE_MAX_S = 300
"""How far ahead a sender's clock may be. Apple publishes no figure."""
TOKEN_UPDATE_MIN_S = 20 * 60

PAYLOAD_BYTES_MAX = 4096
PAYLOAD_VOIP_BYTES_MAX = 5120
COLLAPSE_ID_BYTES_MAX = 64

PROVIDER_TOKENS_MAX = 1_000
"""Verified provider tokens remembered, so that a signature is checked once and not per request."""

ENVIRONMENTS = frozenset({"production", "sandbox"})

STATUS_OF = {
    **dict.fromkeys(
        (
            "BadCertificate",
            "BadCertificateEnvironment",
            "BadEnvironmentKeyIdInToken",
            "ExpiredProviderToken",
            "Forbidden",
            "InvalidProviderToken",
            "MissingProviderToken",
            "UnrelatedKeyIdInToken",
        ),
        403,
    ),
    "BadPath": 404,
    "MethodNotAllowed": 405,
    "FeatureNotEnabled": 403,
    "ChannelNotRegistered": 410,
    "Unregistered": 410,
    "ExpiredToken": 410,
    "PayloadTooLarge": 413,
    "TooManyProviderTokenUpdates": 429,
    "TooManyRequests": 429,
}
"""Every other reason is a 400."""

_ALL = frozenset({b"10", b"5", b"1"})
# Push type: the topic's suffix, and the priorities Apple takes with it.
_PUSH_TYPES: dict[bytes, tuple[str, frozenset[bytes]]] = {
    b"alert": ("", _ALL),
    b"background": ("", frozenset({b"5"})),
    b"mdm": ("", _ALL),
    b"voip": (".voip", _ALL),
    b"complication": (".complication", _ALL),
    b"fileprovider": (".pushkit.fileprovider", _ALL),
    b"location": (".location-query", frozenset({b"10", b"5"})),
    b"liveactivity": (".push-type.liveactivity", frozenset({b"10", b"5"})),
    b"pushtotalk": (".voip-ptt", _ALL),
    b"controls": (".push-type.controls", _ALL),
    b"widgets": (".push-type.widgets", _ALL),
}
_SUFFIXES = sorted({suffix for suffix, _ in _PUSH_TYPES.values()} - {""}, key=len, reverse=True)
_DEVICE = re.compile(rb"/3/device/(.+)", re.DOTALL)
_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EXPIRATION = re.compile(rb"[0-9]{1,10}")
_JWT_OPTIONS = {"verify_iat": False, "verify_exp": False, "verify_nbf": False, "verify_aud": False, "verify_sub": False}


@dataclass(frozen=True, slots=True)
class Key:
    """A signing key as Apple knows it. No `topics` = every app of the team."""

    key_id: str
    team_id: str
    public_key: EllipticCurvePublicKey
    environments: frozenset[str] = ENVIRONMENTS
    topics: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ProviderToken:
    """A JWT whose signature, key and team are right; its age is another matter."""

    text: bytes
    key: Key
    issued_s: int


class Accounts:
    """Teams, their apps, keys and broadcast channels, shared by both environments."""

    def __init__(self) -> None:
        self.channels = Channels()
        self.apps: dict[str, str] = {}
        self._keys: dict[str, Key] = {}
        self._verified: dict[bytes, ProviderToken] = {}

    @property
    def keys(self) -> list[Key]:
        return list(self._keys.values())

    def put_app(self, bundle_id: str, team_id: str) -> None:
        self.apps[bundle_id] = team_id

    def put_key(self, key: Key) -> None:
        self._verified.clear()
        self._keys[key.key_id] = key

    def revoke_key(self, key_id: str) -> bool:
        self._verified.clear()
        return self._keys.pop(key_id, None) is not None

    def verify(self, text: bytes) -> ProviderToken | None:
        """None when algorithm, key, signature or team is wrong; says nothing about age."""
        if text not in self._verified:
            verified = self._verify(text)
            if verified is None:
                return None
            if len(self._verified) >= PROVIDER_TOKENS_MAX:
                del self._verified[next(iter(self._verified))]
            self._verified[text] = verified
        return self._verified[text]

    def _verify(self, text: bytes) -> ProviderToken | None:
        try:
            key = self._keys.get(str(jwt.get_unverified_header(text).get("kid")))
            if key is None:
                return None
            claims = jwt.decode(text, key.public_key, algorithms=["ES256"], options=_JWT_OPTIONS)  # type: ignore[arg-type]
        except (jwt.InvalidTokenError, UnicodeDecodeError):
            return None
        issued = claims.get("iat")
        if claims.get("iss") != key.team_id or not isinstance(issued, int):
            return None
        return ProviderToken(text, key, issued)


class Apns:
    """One of Apple's two worlds. Both share `accounts` and `tokens`; a token may belong to one of them."""

    name = "apns"
    client_certificates = True
    http1, http2 = False, True

    def __init__(self, environment: str, accounts: Accounts, tokens: TokenBook, per_token: Quota) -> None:
        self.environment = environment
        self.accounts = accounts
        self.tokens = tokens
        self.per_token = per_token

    def connect(self, certificate: bytes | None) -> ApnsConnection:
        return ApnsConnection(self, read_client_certificate(certificate) if certificate else None)

    def subject(self, call: Call) -> tuple[str, str]:
        return self.name, _device_token(call) or call.header(b"apns-channel-id").decode("latin-1")

    def refusal(self, call: Call, status: int, reason: str, now_us: int) -> Response:
        """`now_us` becomes the timestamp of a 410, in milliseconds."""
        body: dict[str, object] = {"reason": reason}
        if status == 410:
            body["timestamp"] = now_us // 1000
        headers = [(_id_header(call), _message_id(call)), (b"content-type", b"application/json")]
        return Response(status, headers, json.dumps(body).encode())


class ApnsConnection:
    """What Apple remembers about one connection: its team, its token, and whether it is spoilt."""

    def __init__(self, apns: Apns, certificate: ClientCertificate | None) -> None:
        self.streams_max = STREAMS_MAX if certificate else STREAMS_BEFORE_TOKEN
        self._apns = apns
        self._certificate = certificate
        self._token: ProviderToken | None = None
        self._expired = False

    def answer(self, call: Call, now_us: int) -> Verdict:
        route = route_of(call.path)
        if route:
            return self._answer_of_channels(call, route, now_us)
        token = _device_token(call)
        believed = self._apns.tokens.get(token)
        reason = (
            _bad_route(call)
            or _bad_headers(call)
            or self._bad_credential(call, now_us)
            or self._bad_topic(call)
            or _bad_options(call)
            or self._bad_token(call, token, believed)
            or _bad_payload(call)
            or self._throttled(token, believed, now_us)
        )
        if reason:
            return self._refused(call, reason, (believed.since_ms if believed else 0) * 1000 or now_us)
        if channel := started_on(call):
            self._apns.accounts.channels.listen(self._apns.environment, self._bundle_id(call), channel, token)
        return self._taken(call, token, now_us)

    def _answer_of_channels(self, call: Call, route: Route, now_us: int) -> Verdict:
        channels, environment = self._apns.accounts.channels, self._apns.environment
        reason = _bad_headers(call) or self._bad_credential(call, now_us) or self._bad_bundle(route.bundle_id)
        if route.what == "broadcast":
            reason = reason or channels.bad_broadcast(call, environment, route) or _bad_json(call)
            name = call.header(b"apns-channel-id").decode("latin-1")
            channel = channels.get(environment, route.bundle_id, name)
            if reason or channel is None:
                return self._refused(call, reason, now_us)
            return self._taken(call, name, now_us, tuple(channel.listeners))
        status, told, body = (0, reason, b"") if reason else channels.manage(call, environment, route)
        if not status:
            return self._refused(call, told, now_us)
        headers = [(_id_header(call), _message_id(call))]
        if told:
            headers.append((b"apns-channel-id", told.encode()))
        return Verdict(Response(status, headers, body))

    def _refused(self, call: Call, reason: str, since_us: int) -> Verdict:
        return Verdict(self._apns.refusal(call, STATUS_OF.get(reason, 400), reason, since_us))

    def _taken(self, call: Call, target: str, now_us: int, reached: Sequence[str] = ()) -> Verdict:
        message_id = _message_id(call)
        headers = [(_id_header(call), message_id)]
        if self._apns.environment == "sandbox":
            headers.append((b"apns-unique-id", str(uuid.uuid4()).encode()))
        entry = Entry(
            provider="apns",
            environment=self._apns.environment,
            token=target,
            message_id=message_id.decode(),
            identity=message_id,
            time_us=now_us,
            headers=call.headers,
            payload=call.body,
            reached=reached,
        )
        return Verdict(Response(200, headers, b""), entry)

    def _bad_credential(self, call: Call, now_us: int) -> str:
        if self._certificate:
            return self._bad_certificate(self._certificate, now_us)
        if self._expired:
            return "ExpiredProviderToken"
        scheme, _, text = call.header(b"authorization").partition(b" ")
        if scheme.lower() != b"bearer" or not text:
            return "MissingProviderToken"
        token = self._apns.accounts.verify(text)
        if token is None:
            return "InvalidProviderToken"
        if not -TOKEN_FUTURE_MAX_S <= now_us // 1_000_000 - token.issued_s <= TOKEN_AGE_MAX_S:
            # Apple goes on refusing on a connection that once showed an expired token, whatever it shows next.
            self._expired = True
            return "ExpiredProviderToken"
        reason = self._bad_succession(token)
        if not reason:
            self._token = token
            self.streams_max = STREAMS_MAX
        return reason

    def _bad_certificate(self, certificate: ClientCertificate, now_us: int) -> str:
        if not certificate.topic or now_us >= certificate.expire_us:
            return "BadCertificate"
        return "" if self._apns.environment in certificate.environments else "BadCertificateEnvironment"

    def _bad_succession(self, token: ProviderToken) -> str:
        """Whether this token may follow the connection's last one: same team, related key, not too soon.

        Too soon is measured between the times of issue, so it does not depend on when a connection was opened.
        """
        before = self._token
        if before is not None and before.text != token.text:
            if before.key.team_id != token.key.team_id:
                return "InvalidProviderToken"
            if bool(before.key.topics) != bool(token.key.topics):
                return "UnrelatedKeyIdInToken"
            if abs(token.issued_s - before.issued_s) < TOKEN_UPDATE_MIN_S:
                return "TooManyProviderTokenUpdates"
        return "" if self._apns.environment in token.key.environments else "BadEnvironmentKeyIdInToken"

    def _bad_topic(self, call: Call) -> str:
        topic = call.header(b"apns-topic").decode("latin-1")
        if self._certificate:
            allowed = self._certificate.topics
            implied = {self._certificate.topic + suffix for suffix in (".voip", ".complication")}
            if not topic:
                return "MissingTopic" if len(allowed) > 1 else ""
            return "" if topic in allowed | implied else "TopicDisallowed"
        if not topic:
            return "MissingTopic"
        return self._bad_bundle(self._bundle_id(call))

    def _bad_bundle(self, bundle_id: str) -> str:
        if self._certificate:
            return "" if bundle_id in self._certificate.topics else "TopicDisallowed"
        key = self._token.key if self._token else None
        if key is None or self._apns.accounts.apps.get(bundle_id) != key.team_id:
            return "TopicDisallowed"
        return "" if not key.topics or bundle_id in key.topics else "TopicDisallowed"

    def _bad_token(self, call: Call, token: str, believed: Token | None) -> str:
        if believed is None:
            if not APNS_TOKEN.fullmatch(token):
                return "BadDeviceToken"
            believed = self._apns.tokens.unknown
        if believed.environment not in ("", self._apns.environment):
            return "BadDeviceToken"
        if believed.app not in ("", self._bundle_id(call)):
            return "DeviceTokenNotForTopic"
        if believed.state is TokenState.EXPIRED:
            return "ExpiredToken"
        return "Unregistered" if believed.state is TokenState.UNREGISTERED else ""

    def _throttled(self, token: str, believed: Token | None, now_us: int) -> str:
        believed = believed or self._apns.tokens.unknown
        if believed.state is TokenState.THROTTLED and (not believed.until_ms or now_us < believed.until_ms * 1000):
            return "TooManyRequests"
        return "TooManyRequests" if self._apns.per_token.spend(token, now_us) else ""

    def _bundle_id(self, call: Call) -> str:
        topic = call.header(b"apns-topic").decode("latin-1")
        if not topic and self._certificate:
            return self._certificate.topic
        if topic in self._apns.accounts.apps:
            return topic
        return next((topic.removesuffix(suffix) for suffix in _SUFFIXES if topic.endswith(suffix)), topic)


def _device_token(call: Call) -> str:
    found = _DEVICE.fullmatch(call.path)
    return found[1].decode("latin-1").lower() if found else ""


def _id_header(call: Call) -> bytes:
    """What a request is called by its sender, and in the answer: channels have a header of their own for it."""
    return b"apns-request-id" if route_of(call.path) else b"apns-id"


def _message_id(call: Call) -> bytes:
    given = call.header(_id_header(call))
    return given if _UUID.fullmatch(given) else str(uuid.uuid4()).encode()


def _bad_route(call: Call) -> str:
    if call.method != b"POST":
        return "MethodNotAllowed"
    if _DEVICE.fullmatch(call.path):
        return ""
    return "MissingDeviceToken" if call.path in (b"/3/device", b"/3/device/") else "BadPath"


def _bad_headers(call: Call) -> str:
    names = [name for name, _ in call.headers]
    if len(names) != len(set(names)):
        return "DuplicateHeaders"
    given = call.header(_id_header(call))
    return "BadMessageId" if given and not _UUID.fullmatch(given) else ""


def _bad_options(call: Call) -> str:
    given = dict(call.headers)
    push_type = given.get(b"apns-push-type", b"")
    if push_type and push_type not in _PUSH_TYPES:
        return "InvalidPushType"
    suffix, priorities = _PUSH_TYPES[push_type or b"alert"]
    topic = given.get(b"apns-topic", b"").decode("latin-1")
    if push_type and topic and not _fits(topic, suffix):
        return "TopicDisallowed"
    if not _EXPIRATION.fullmatch(given.get(b"apns-expiration", b"0")):
        return "BadExpirationDate"
    if b"apns-priority" in given and given[b"apns-priority"] not in priorities:
        return "BadPriority"
    if len(given.get(b"apns-collapse-id", b"")) > COLLAPSE_ID_BYTES_MAX:
        return "BadCollapseId"
    return ""


def _fits(topic: str, suffix: str) -> bool:
    found = next((known for known in _SUFFIXES if topic.endswith(known)), "")
    return found == suffix


def _bad_payload(call: Call) -> str:
    limit = PAYLOAD_VOIP_BYTES_MAX if call.header(b"apns-push-type") == b"voip" else PAYLOAD_BYTES_MAX
    if len(call.body) > limit:
        return "PayloadTooLarge"
    return _bad_json(call)


def _bad_json(call: Call) -> str:
    try:
        payload = json.loads(call.body)
    except ValueError:
        return "PayloadEmpty"
    return "" if isinstance(payload, dict) and payload else "PayloadEmpty"
