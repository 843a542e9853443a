"""The push services of browsers, decided without I/O, and the browsers behind them.

A subscription is minted with the keys of a browser of its own, so what is sent to it is read and journaled in plain.
Its URL tells whose service answers: Mozilla's JSON with errno, Apple's JSON with a reason, or Google's plain texts.
Rules are from RFC 8030, RFC 8291 and RFC 8292; Mozilla's "Autopush: Error Codes"; Apple's "Sending web push
notifications in web apps and browsers"; Google documents none of its texts. The order of checks is nobody's rule.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import secrets
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from enum import StrEnum
from http.client import responses
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

from pushrpc.emulator.service import Call, Entry, Verdict
from pushrpc.emulator.tokens import Token, TokenBook, TokenState
from pushrpc.emulator.webpush_crypto import base64url, from_base64url, opened, point_of, sender_of
from pushrpc.exchange import Response

STREAMS_MAX = 100
BODY_BYTES_MAX = 4096  # what a push service must take (RFC 8030 §7.2), and none takes more
TTL_MAX_S = 30 * 24 * 3600  # Mozilla's; a longer one is cut to it
SUBSCRIPTIONS_MAX = 100_000
"""Subscriptions one service mints: about 200 MiB, each with its browser's key."""
WAITING_MAX = 20_000
"""Messages kept for browsers that are away; the oldest is forgotten first."""
THROTTLE_S = 60.0  # what a throttled subscription without an end asks for
URGENCIES = ("very-low", "low", "normal", "high")

_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SECONDS = re.compile(r"[0-9]{1,10}")
_APPLE_CONTACT = re.compile(r"(?!.*[@/]localhost\b)[^\s<>]+")
_JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")


class Flaw(StrEnum):
    """What a push service may hold against a request."""

    UNKNOWN = "unknown subscription"
    GONE = "the subscription has ended"
    NO_TTL = "TTL is missing"
    TTL = "TTL is not a number of seconds"
    URGENCY = "Urgency is not one of the four"
    TOPIC = "Topic is not up to 32 characters of base64url"
    NO_VAPID = "the sender does not say who it is"
    VAPID = "the VAPID token is not valid"
    OTHER_KEY = "VAPID public key mismatch"
    TOO_LARGE = "the body is too large"
    BODY = "the body is not encrypted as it should be"
    THROTTLED = "too many messages"
    MOVED = "the endpoint has moved"


class _Answer(NamedTuple):
    """`word` is the service's own: Mozilla's errno, Apple's reason, Google's text."""

    status: int
    word: str


_MOZILLA = {
    Flaw.UNKNOWN: _Answer(404, "102"),
    Flaw.GONE: _Answer(410, "106"),
    Flaw.NO_TTL: _Answer(400, "111"),
    Flaw.TTL: _Answer(400, "112"),
    Flaw.URGENCY: _Answer(400, "111"),
    Flaw.TOPIC: _Answer(400, "113"),
    Flaw.NO_VAPID: _Answer(401, "109"),
    Flaw.VAPID: _Answer(401, "109"),
    Flaw.OTHER_KEY: _Answer(401, "109"),
    Flaw.TOO_LARGE: _Answer(413, "104"),
    Flaw.BODY: _Answer(400, "110"),
    Flaw.THROTTLED: _Answer(429, "201"),
    Flaw.MOVED: _Answer(301, ""),  # "Moved + Location", of bridged browsers
}
_APPLE = {
    Flaw.UNKNOWN: _Answer(410, "Unregistered"),
    Flaw.GONE: _Answer(410, "Unregistered"),
    Flaw.NO_TTL: _Answer(400, "BadTtl"),
    Flaw.TTL: _Answer(400, "BadTtl"),
    Flaw.URGENCY: _Answer(400, "BadUrgency"),
    Flaw.TOPIC: _Answer(400, "BadWebPushTopic"),
    Flaw.NO_VAPID: _Answer(403, "BadJwtToken"),
    Flaw.VAPID: _Answer(403, "BadJwtToken"),
    Flaw.OTHER_KEY: _Answer(400, "VapidPkHashMismatch"),
    Flaw.TOO_LARGE: _Answer(413, "PayloadTooLarge"),
    Flaw.BODY: _Answer(400, "BadWebPushRequest"),
    Flaw.THROTTLED: _Answer(429, "TooManyRequests"),
}
_GOOGLE = {
    Flaw.UNKNOWN: _Answer(404, "A valid push subscription endpoint should be specified in the URL"),
    Flaw.GONE: _Answer(410, "push subscription has unsubscribed or expired."),
    Flaw.NO_VAPID: _Answer(401, "an authorization header is needed"),
    Flaw.VAPID: _Answer(403, "invalid JWT provided"),
    Flaw.OTHER_KEY: _Answer(
        403,
        "the VAPID credentials in the authorization header do not correspond to the credentials used to create the "
        "subscriptions.",
    ),
    Flaw.TOO_LARGE: _Answer(413, Flaw.TOO_LARGE),
    Flaw.THROTTLED: _Answer(429, Flaw.THROTTLED),
}


class Personality(StrEnum):
    """Whose push service a subscription is of."""

    MOZILLA = "mozilla"
    APPLE = "apple"
    FCM = "fcm"


_ANSWERS: Mapping[Personality, Mapping[Flaw, _Answer]] = {
    Personality.MOZILLA: _MOZILLA,
    Personality.APPLE: _APPLE,
    Personality.FCM: _GOOGLE,
}
_PATHS = {Personality.MOZILLA: "/wpush/v2/", Personality.APPLE: "/", Personality.FCM: "/fcm/send/"}


class Subscription(NamedTuple):
    """As PushSubscription.toJSON() gives it to a web app's backend."""

    endpoint: str
    p256dh: str
    auth: str


class Message(NamedTuple):
    """A push that waits for its browser. `message_id` is its URL."""

    endpoint: str
    message_id: str
    topic: str
    urgency: str
    expire_us: int
    plaintext: bytes


class _Subscribed(NamedTuple):
    """What the service and the browser behind it know of a subscription."""

    endpoint: str
    origin: str
    vapid_public_key: str
    personality: Personality
    private: ec.EllipticCurvePrivateKey
    auth: bytes


class _Refused(Exception):
    def __init__(self, flaw: Flaw, detail: str = "", retry_s: float = 0.0, location: str = "") -> None:
        super().__init__(detail or flaw.value)
        self.flaw = flaw
        self.retry_s = retry_s
        self.location = location


class WebPush:
    """Every browser's push service at one origin. What is sent to a subscription waits until it is collected."""

    name = "web_push"
    client_certificates = False
    http1, http2 = True, True
    streams_max = STREAMS_MAX

    def __init__(self, tokens: TokenBook, *, seed: int = 0) -> None:
        """`tokens` are endpoints: unregistered ones answer as gone, expired ones as unknown, moved ones 301."""
        self.tokens = tokens
        self._random = random.Random(f"web_push/{seed}")
        self._subscriptions: dict[bytes, _Subscribed] = {}  # by path
        self._waiting: OrderedDict[bytes, Message] = OrderedDict()  # by the path of the message, oldest first
        self._topics: dict[tuple[str, str], bytes] = {}  # of what waits: endpoint and topic to its path

    def subscribe(self, endpoint: str, vapid_public_key: str, personality: str = Personality.MOZILLA) -> Subscription:
        """What PushManager.subscribe() does in a browser: `endpoint` is where this service listens.

        Only the holder of `vapid_public_key` (base64url of its point) may send to it. Raises ValueError.
        """
        if len(self._subscriptions) >= SUBSCRIPTIONS_MAX:
            raise ValueError(f"no more than {SUBSCRIPTIONS_MAX} subscriptions")
        point = from_base64url(vapid_public_key)
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        owner = Personality(personality)
        path = _PATHS[owner] + base64url(self._random.randbytes(48))
        private, auth = ec.generate_private_key(ec.SECP256R1()), secrets.token_bytes(16)
        origin = endpoint.rstrip("/")
        subscribed = _Subscribed(origin + path, origin, base64url(point), owner, private, auth)
        self._subscriptions[path.encode()] = subscribed
        return Subscription(subscribed.endpoint, base64url(point_of(private.public_key())), base64url(auth))

    def move(self, endpoint: str) -> Subscription:
        """Gives a browser that subscribed at Mozilla another endpoint; the old one answers 301. Raises ValueError."""
        old = self._subscriptions.get(urlsplit(endpoint).path.encode())
        if old is None or old.personality is not Personality.MOZILLA:
            raise ValueError("Mozilla moves endpoints, and this is none of its")
        if len(self._subscriptions) >= SUBSCRIPTIONS_MAX:
            raise ValueError(f"no more than {SUBSCRIPTIONS_MAX} subscriptions")
        path = _PATHS[old.personality] + base64url(self._random.randbytes(48))
        moved = old._replace(endpoint=old.origin + path)
        self._subscriptions[path.encode()] = moved
        self.tokens.put([endpoint], Token(TokenState.MOVED, moved_to=moved.endpoint))
        return Subscription(moved.endpoint, base64url(point_of(old.private.public_key())), base64url(old.auth))

    def collect(self, endpoint: str, now_us: int, least: str = "very-low") -> list[Message]:
        """What a browser gets that comes online: its messages of at least that urgency, oldest first, each once."""
        wanted = URGENCIES[URGENCIES.index(least) :]
        paths = [path for path, m in self._waiting.items() if m.endpoint == endpoint and m.urgency in wanted]
        taken = [self._take(path) for path in paths]
        return [message for message in taken if message and message.expire_us > now_us]

    def clear(self) -> None:
        """Forgets what waits; subscriptions stay."""
        self._waiting.clear()
        self._topics.clear()

    # --- the service

    def connect(self, certificate: bytes | None) -> WebPush:
        """HTTP remembers nothing between requests, so the service is its own connection."""
        return self

    def subject(self, call: Call) -> tuple[str, str]:
        subscribed = self._subscriptions.get(call.path)
        return self.name, subscribed.endpoint if subscribed else call.path.decode("latin-1")

    def refusal(self, call: Call, status: int, reason: str, now_us: int) -> Response:
        personality = _personality(call.path)
        if personality is Personality.MOZILLA and not reason:
            reason = "201" if status in (429, 503) else "999"
        return _rendered(personality, _Answer(status, reason), responses.get(status, ""))

    def answer(self, call: Call, now_us: int) -> Verdict:
        if call.method == b"DELETE":
            message = self._take(call.path)
            found = message is not None and message.expire_us > now_us
            return Verdict(Response(204, [], b"") if found else Response(404, [], b""))
        if call.method != b"POST":
            return Verdict(Response(405, [(b"allow", b"POST")], b""))
        try:
            return self._taken(call, now_us)
        except _Refused as refused:
            return Verdict(_refusal_of(_personality(call.path), refused))

    def _taken(self, call: Call, now_us: int) -> Verdict:
        subscribed = self._believed(call, now_us)
        ttl_s, urgency, topic = _delivery_of(call, subscribed.personality)
        _check_sender(call, subscribed, now_us)
        plaintext = _plaintext(call, subscribed)
        path = f"/m/{base64url(self._random.randbytes(24))}"
        message = Message(
            subscribed.endpoint, subscribed.origin + path, topic, urgency, now_us + ttl_s * 1_000_000, plaintext
        )
        if ttl_s:
            self._keep(path.encode(), message)
        entry = Entry(
            provider=self.name,
            environment="",
            token=subscribed.endpoint,
            message_id=message.message_id,
            identity=hashlib.blake2b(subscribed.endpoint.encode() + b"\x00" + plaintext, digest_size=16).digest(),
            time_us=now_us,
            headers=call.headers,
            payload=plaintext,
        )
        headers = [(b"location", message.message_id.encode()), (b"ttl", b"%d" % ttl_s)]
        return Verdict(Response(201, headers + _own_headers(subscribed.personality), b""), entry)

    def _believed(self, call: Call, now_us: int) -> _Subscribed:
        subscribed = self._subscriptions.get(call.path)
        if subscribed is None:
            raise _Refused(Flaw.UNKNOWN)
        believed = self.tokens.get(subscribed.endpoint) or Token()
        if believed.state is TokenState.UNREGISTERED:
            raise _Refused(Flaw.GONE)
        if believed.state is TokenState.EXPIRED:
            raise _Refused(Flaw.UNKNOWN)
        if believed.state is TokenState.MOVED:
            raise _Refused(Flaw.MOVED, location=believed.moved_to)
        until_us = believed.until_ms * 1000
        if believed.state is TokenState.THROTTLED and now_us < (until_us or math.inf):
            raise _Refused(Flaw.THROTTLED, retry_s=(until_us - now_us) / 1e6 if until_us else THROTTLE_S)
        return subscribed

    def _keep(self, path: bytes, message: Message) -> None:
        """A message of a topic takes the place of the one that waits (RFC 8030 §5.4)."""
        if message.topic:
            replaced = self._topics.get((message.endpoint, message.topic), b"")
            self._waiting.pop(replaced, None)
            self._topics[message.endpoint, message.topic] = path
        self._waiting[path] = message
        if len(self._waiting) > WAITING_MAX:
            self._take(next(iter(self._waiting)))

    def _take(self, path: bytes) -> Message | None:
        message = self._waiting.pop(path, None)
        if message is not None:
            self._topics.pop((message.endpoint, message.topic), None)
        return message


# --- what a request must be --------------------------------------------------------------------------------------


def _delivery_of(call: Call, personality: Personality) -> tuple[int, str, str]:
    """TTL in seconds, Urgency and Topic, in their bounds. Raises _Refused."""
    ttl = call.header(b"ttl").decode("latin-1")
    if not ttl:
        raise _Refused(Flaw.NO_TTL)
    if not _SECONDS.fullmatch(ttl):
        raise _Refused(Flaw.TTL)
    urgency = call.header(b"urgency").decode("latin-1") or "normal"
    if urgency not in URGENCIES:
        raise _Refused(Flaw.URGENCY)
    topic = call.header(b"topic").decode("latin-1")
    # Apple decodes it, and no base64 has a length of 1 more than a multiple of 4.
    decodable = personality is not Personality.APPLE or len(topic) % 4 != 1
    if topic and not (_TOPIC.fullmatch(topic) and decodable):
        raise _Refused(Flaw.TOPIC)
    return min(int(ttl), TTL_MAX_S), urgency, topic


def _check_sender(call: Call, subscribed: _Subscribed, now_us: int) -> None:
    authorization = call.header(b"authorization").decode("latin-1")
    if not authorization:
        raise _Refused(Flaw.NO_VAPID)
    try:
        key, contact = sender_of(authorization, subscribed.origin, now_us // 1_000_000)
    except ValueError as error:
        raise _Refused(Flaw.VAPID, str(error)) from None
    if subscribed.personality is not Personality.FCM and not contact:
        raise _Refused(Flaw.VAPID, "sub is missing")
    if subscribed.personality is Personality.APPLE and not _APPLE_CONTACT.fullmatch(contact):
        raise _Refused(Flaw.VAPID, "sub is no address that Apple takes")
    if key != subscribed.vapid_public_key:
        raise _Refused(Flaw.OTHER_KEY)


def _plaintext(call: Call, subscribed: _Subscribed) -> bytes:
    """What the browser reads. A push service itself could not tell whether it can be read."""
    if len(call.body) > BODY_BYTES_MAX:
        raise _Refused(Flaw.TOO_LARGE)
    if not call.body:
        return b""  # a push without a message only wakes the app (RFC 8030 §5)
    if call.header(b"content-encoding") != b"aes128gcm":
        raise _Refused(Flaw.BODY, "the content encoding is not aes128gcm")
    try:
        return opened(call.body, subscribed.private, subscribed.auth)
    except ValueError as error:
        raise _Refused(Flaw.BODY, str(error)) from None


# --- answers in each service's own form --------------------------------------------------------------------------


def _personality(path: bytes) -> Personality:
    if path.startswith((b"/wpush/", b"/m/")):
        return Personality.MOZILLA
    return Personality.FCM if path.startswith((b"/fcm/", b"/wp/")) else Personality.APPLE


def _refusal_of(personality: Personality, refused: _Refused) -> Response:
    answer = _ANSWERS[personality].get(refused.flaw) or _Answer(400, refused.flaw)
    response = _rendered(personality, answer, str(refused))
    if refused.location:
        return response._replace(headers=[*response.headers, (b"location", refused.location.encode())])
    if not refused.retry_s:
        return response
    after = str(max(1, math.ceil(refused.retry_s))).encode()
    return response._replace(headers=[*response.headers, (b"retry-after", after)])


def _rendered(personality: Personality, answer: _Answer, message: str) -> Response:
    status, word = answer
    if personality is Personality.FCM:
        return Response(status, [_TEXT], f"{word or message}\n".encode())
    if personality is Personality.APPLE:
        return Response(status, [_JSON, *_own_headers(personality)], json.dumps({"reason": word or message}).encode())
    error = {
        "code": status,
        "errno": int(word) if word.isdigit() else None,
        "error": responses.get(status, ""),
        "message": message if word.isdigit() else word,
        "more_info": "",
    }
    headers = [_JSON]
    if status == 410:
        headers.append((b"cache-control", b"max-age=86400"))
    return Response(status, headers, json.dumps(error).encode())


def _own_headers(personality: Personality) -> list[tuple[bytes, bytes]]:
    return [(b"apns-id", str(uuid.uuid4()).upper().encode())] if personality is Personality.APPLE else []
