"""Windows Push Notification Services and the two token endpoints in front of it, decided without I/O.

Rules are from Microsoft's "Push notification service request and response headers", "Raw notification overview" and
"Quickstart: Push notifications in the Windows App SDK". Microsoft does not publish the order of its checks; here:
method, access token, sender, channel, headers, body, rates, device. What became of the notification, and how the device
is connected, is told to those who ask for it with X-WNS-RequestForStatus.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qs
from xml.parsers import expat

from pushrpc.emulator.quota import Quota
from pushrpc.emulator.service import Call, Entry, Verdict
from pushrpc.emulator.tokens import Token, TokenBook, TokenState
from pushrpc.exchange import Headers, Response

PAYLOAD_BYTES_MAX = 5000
ACCESS_TOKEN_LIFE_S = 86_400
ACCESS_TOKENS_MAX = 10_000
"""Access tokens remembered; the oldest is forgotten first, and is then refused like an expired one."""
KEPT_CHANNELS_MAX = 10_000
"""Channels of offline devices with something kept for them; the first is forgotten first."""

CLASSIC_PATH = b"/accesstoken.srf"
_ENTRA_PATH = re.compile(rb"/([A-Za-z0-9.-]+)/oauth2/v2\.0/token")
_CLASSIC_SCOPES = frozenset({"notify.windows.com"})
_ENTRA_SCOPES = frozenset({"https://wns.windows.com/.default", "https://wns.windows.com/.default/"})
_CHANNEL = re.compile(rb"/\?token=[!-~]+")
_NAME = re.compile(rb"[A-Za-z0-9]{1,16}")
_TYPES = {b"wns/toast": b"text/xml", b"wns/tile": b"text/xml", b"wns/badge": b"text/xml", b"wns/raw": None}
_OPTIONAL = {
    b"x-wns-cache-policy": re.compile(rb"cache|no-cache"),
    b"x-wns-requestforstatus": re.compile(rb"true|false"),
    b"x-wns-ttl": re.compile(rb"\d{1,10}"),
    b"x-wns-priority": re.compile(rb"[1-4]"),
    b"x-wns-tag": _NAME,
    b"x-wns-group": _NAME,
}
_OF_PHONES = (b"x-wns-suppresspopup", b"x-wns-match")
_JSON = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


@dataclass(frozen=True, slots=True)
class App:
    """A sender. With `tenant_id` it is Microsoft Entra's, without it Partner Center's and named by its package SID."""

    client_id: str
    client_secret: str
    tenant_id: str = ""


class _Grant(NamedTuple):
    client_id: str
    expire_us: int


class _Answers(NamedTuple):
    """What every answer to one request carries."""

    message_id: str
    headers: Headers

    def refused(self, status: int, description: str, *more: tuple[bytes, bytes]) -> Verdict:
        said = (b"x-wns-error-description", description.encode())
        return Verdict(Response(status, [*self.headers, said, *more], b""))


class Wns:
    """`as_recorded`: every answer of 200 says X-WNS-NotificationStatus, as some pages and older clients call
    X-WNS-Status, asked or not: so answers that others recorded of the real service have it.

    What is believed of a channel: `app` is the client id of the sender that it belongs to; unregistered is a 404,
    expired a 410, throttled a `channelthrottled`, muted a `dropped`; for an offline device one notification of each
    type is kept.
    """

    name = "wns"
    client_certificates = False
    http1, http2 = True, False
    streams_max = 1

    def __init__(self, tokens: TokenBook, *, seed: int = 0) -> None:
        self.tokens = tokens
        self.as_recorded = False
        self.per_app = Quota(0)
        self.per_channel = Quota(0)
        self._apps: dict[str, App] = {}
        self._blocked: set[str] = set()
        self._grants: dict[str, _Grant] = {}
        self._kept: dict[str, dict[bytes, Entry]] = {}
        self._random = random.Random(f"wns/{seed}")

    def put_app(self, client_id: str, client_secret: str, *, tenant_id: str = "") -> None:
        self._apps[client_id] = App(client_id, client_secret, tenant_id)

    @property
    def apps(self) -> list[App]:
        return list(self._apps.values())

    def block(self, client_id: str) -> None:
        """Refuses everything of this sender for abuse: 410, "Domain Blocked"."""
        self._blocked.add(client_id)

    def revoke_access_tokens(self) -> None:
        """Refuses every access token issued so far."""
        self._grants.clear()

    def clear(self) -> None:
        """Forgets rates, blocks and what is kept for offline devices; apps and access tokens stay."""
        for quota in (self.per_app, self.per_channel):
            quota.clear()
        self._blocked.clear()
        self._kept.clear()

    def collect(self, channel: str, now_us: int) -> list[Entry]:
        """What a device gets when it is back, oldest first; what its X-WNS-TTL has ended is gone."""
        return [entry for entry in self._kept.pop(channel, {}).values() if now_us < _expire_us(entry)]

    def connect(self, certificate: bytes | None) -> Wns:
        """HTTP remembers nothing between requests, so the service is its own connection."""
        return self

    def subject(self, call: Call) -> tuple[str, str]:
        return ("wns_oauth", "") if _tenant(call) is not None else (self.name, _channel(call))

    def refusal(self, call: Call, status: int, reason: str, now_us: int) -> Response:
        """`reason` is the error's description; of a status of 200 it is what became of the notification."""
        if _tenant(call) is not None:
            return _oauth_error(status, reason or "temporarily_unavailable", "")
        answers = self._answers(call)
        if status == 200:
            return self._status(call, answers, reason or "received", connected=True)
        return answers.refused(status, reason or "Scripted").response

    def answer(self, call: Call, now_us: int) -> Verdict:
        tenant = _tenant(call)
        if tenant is not None:
            return Verdict(self._grant(call, tenant, now_us))
        answers = self._answers(call)
        if call.method != b"POST":
            return answers.refused(405, "Only POST is allowed.", (b"allow", b"POST"))
        sender = self._sender(call, now_us)
        if sender is None:
            return answers.refused(401, "The access token is not valid.", (b"www-authenticate", b"Bearer"))
        if sender in self._blocked:
            return answers.refused(410, "Domain Blocked")
        channel = _channel(call)
        believed = self.tokens.get(channel) or self.tokens.unknown
        if not _CHANNEL.fullmatch(call.path) or believed.state is TokenState.UNREGISTERED:
            return answers.refused(404, "The channel URI is not known.")
        if believed.app not in ("", sender):
            return answers.refused(403, "The channel belongs to another app.")
        if believed.state is TokenState.EXPIRED:
            return answers.refused(410, "The channel has expired.")
        flaw = _flaw(call)
        if flaw:
            return answers.refused(400, flaw)
        if len(call.body) > PAYLOAD_BYTES_MAX:
            return answers.refused(413, f"The payload is larger than {PAYLOAD_BYTES_MAX} bytes.")
        wait_s = self.per_app.spend(sender, now_us)
        if wait_s:
            after = str(max(1, math.ceil(wait_s))).encode()
            return answers.refused(406, "The throttle limit is exceeded.", (b"retry-after", after))
        return self._deliver(call, answers, channel, believed, now_us)

    def _deliver(self, call: Call, answers: _Answers, channel: str, believed: Token, now_us: int) -> Verdict:
        connected = believed.state is not TokenState.OFFLINE
        throttled = believed.state is TokenState.THROTTLED and now_us < (believed.until_ms * 1000 or math.inf)
        if throttled or self.per_channel.spend(channel, now_us):
            return Verdict(self._status(call, answers, "channelthrottled", connected=connected))
        kind = call.header(b"x-wns-type")
        if believed.state is TokenState.MUTED or not _is_understood(kind, call.body):
            return Verdict(self._status(call, answers, "dropped", connected=connected))
        entry = Entry(
            provider=self.name,
            environment="",
            token=channel,
            message_id=answers.message_id,
            identity=_identity(channel, kind, call.body),
            time_us=now_us,
            headers=call.headers,
            payload=call.body,
        )
        if not connected:
            policy = call.header(b"x-wns-cache-policy") or (b"no-cache" if kind == b"wns/raw" else b"cache")
            if policy == b"no-cache":
                return Verdict(self._status(call, answers, "dropped", connected=False))
            self._keep(channel, kind, entry)
        return Verdict(self._status(call, answers, "received", connected=connected), entry)

    def _keep(self, channel: str, kind: bytes, entry: Entry) -> None:
        if channel not in self._kept and len(self._kept) >= KEPT_CHANNELS_MAX:
            del self._kept[next(iter(self._kept))]
        slots = self._kept.setdefault(channel, {})
        slots.pop(kind, None)  # so that the order is that of arrival
        slots[kind] = entry

    def _answers(self, call: Call) -> _Answers:
        message_id = self._random.randbytes(8).hex().upper()
        vector = call.header(b"ms-cv") or base64.b64encode(self._random.randbytes(12)) + b".0"
        trace = b"EMULATOR0000001"
        told = [(b"x-wns-msg-id", message_id.encode()), (b"x-wns-debug-trace", trace), (b"ms-cv", vector)]
        return _Answers(message_id, told)

    def _status(self, call: Call, answers: _Answers, word: str, *, connected: bool) -> Response:
        asked = call.header(b"x-wns-requestforstatus") == b"true"
        headers = list(answers.headers)
        if asked or self.as_recorded:
            name = b"x-wns-notificationstatus" if self.as_recorded else b"x-wns-status"
            headers.append((name, word.encode()))
        if asked:
            headers.append((b"x-wns-deviceconnectionstatus", b"connected" if connected else b"disconnected"))
        return Response(200, headers, b"")

    def _sender(self, call: Call, now_us: int) -> str | None:
        """The client id that an access token stands for."""
        scheme, _, token = call.header(b"authorization").decode("latin-1").partition(" ")
        grant = self._grants.get(token)
        return grant.client_id if scheme.lower() == "bearer" and grant and now_us < grant.expire_us else None

    def _grant(self, call: Call, tenant: str, now_us: int) -> Response:
        """RFC 6749 §4.4: a client's id and secret become an access token of this one app."""
        form = {name: values[0] for name, values in parse_qs(call.body.decode("latin-1")).items()}
        refused = _refused_grant(call, form, tenant, self._apps.get(form.get("client_id", "")))
        if refused:
            return refused
        token = base64.b64encode(self._random.randbytes(60)).decode()
        if len(self._grants) >= ACCESS_TOKENS_MAX:
            del self._grants[next(iter(self._grants))]
        self._grants[token] = _Grant(form["client_id"], now_us + ACCESS_TOKEN_LIFE_S * 1_000_000)
        told: dict[str, object] = {"token_type": "bearer", "expires_in": ACCESS_TOKEN_LIFE_S}
        if tenant:  # Entra's sample gives the time as a text.
            told = {"token_type": "Bearer", "expires_in": str(ACCESS_TOKEN_LIFE_S - 1)}
        told["access_token"] = token
        return Response(200, _JSON, json.dumps(told).encode())


def _tenant(call: Call) -> str | None:
    """The Entra tenant whose token endpoint is called, empty for Partner Center's; None: it is none of the two."""
    if call.path == CLASSIC_PATH:
        return ""
    entra = _ENTRA_PATH.fullmatch(call.path)
    return entra[1].decode() if entra else None


def _channel(call: Call) -> str:
    """The channel URI, as its sender knows it."""
    return f"https://{call.header(b'host').decode('latin-1')}{call.path.decode('latin-1')}"


def _refused_grant(call: Call, form: dict[str, str], tenant: str, app: App | None) -> Response | None:
    if call.method != b"POST" or form.get("grant_type") != "client_credentials":
        return _oauth_error(400, "unsupported_grant_type", "The grant type must be client_credentials")
    if app is None or app.tenant_id != tenant:
        return _oauth_error(400, "unauthorized_client" if tenant else "invalid_client", "Invalid client id")
    if form.get("client_secret") != app.client_secret:
        return _oauth_error(401 if tenant else 400, "invalid_client", "Invalid client secret")
    if form.get("scope") not in (_ENTRA_SCOPES if tenant else _CLASSIC_SCOPES):
        return _oauth_error(400, "invalid_scope", "The scope is not that of WNS")
    return None


def _oauth_error(status: int, error: str, description: str) -> Response:
    body = {"error": error, "error_description": description or error}
    return Response(status, _JSON, json.dumps(body).encode())


def _flaw(call: Call) -> str:
    """What is wrong with the headers, or with their relation to the body; empty when nothing is."""
    kind = call.header(b"x-wns-type")
    if kind not in _TYPES:
        return "X-WNS-Type is missing or not a type."
    media = call.header(b"content-type").partition(b";")[0].strip().lower()
    if media != (_TYPES[kind] or b"application/octet-stream"):
        return "Content-Type does not go with X-WNS-Type."
    if call.values(b"transfer-encoding"):
        return "Chunked bodies are not supported."
    if not call.header(b"content-length").isdigit():
        return "Content-Length is missing."
    if not call.body:
        return "The payload is empty."
    for name in _OF_PHONES:
        if call.values(name):
            return f"{name.decode()} is for phones only."
    for name, form in _OPTIONAL.items():
        if any(not form.fullmatch(value) for value in call.values(name)):
            return f"{name.decode()} is not specified correctly."
    return ""


def _is_understood(kind: bytes, body: bytes) -> bool:
    """Windows checks the XML against the type only on the device, and drops what it cannot show."""
    if kind == b"wns/raw":
        return True
    names: list[str] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, attributes: names.append(name)
    try:
        parser.Parse(body, True)
    except expat.ExpatError:
        return False
    return names[0].encode() == kind.removeprefix(b"wns/")


def _identity(channel: str, kind: bytes, body: bytes) -> bytes:
    """WNS knows no id of the sender's: the same body of the same type to the same channel is the same message."""
    return hashlib.blake2b(b"\n".join((channel.encode(), kind, body)), digest_size=16).digest()


def _expire_us(entry: Entry) -> float:
    ttl_s = next((value for name, value in entry.headers if name == b"x-wns-ttl"), b"")
    return entry.time_us + int(ttl_s) * 1_000_000 if ttl_s else math.inf


def wns_channels(endpoint: str, count: int, *, seed: int = 0) -> list[str]:
    """`count` different channel URIs at an emulator's endpoint; the same of one seed.

    Their tokens are Base64, escaped in lower case as real ones are: no client may write them anew.
    """
    source = random.Random(f"wns/{seed}")
    escapes: Sequence[tuple[str, str]] = (("+", "%2b"), ("/", "%2f"), ("=", "%3d"))

    def token() -> str:
        text = base64.b64encode(b"\x02\x06\x00\x00\x00" + source.randbytes(75)).decode()
        for letter, escape in escapes:
            text = text.replace(letter, escape)
        return text

    return [f"{endpoint}/?token={token()}" for _ in range(count)]
