"""Azure Notification Hubs, decided without I/O, and with it the push services behind a hub.

Rules are from Microsoft's Notification Hubs REST pages and "Service Bus access control with Shared Access Signatures".
What a hub takes it answers with 201 at once. A moment later, by the clock that is handed in, it passes it on to the
emulated push services behind it, and what these believe of the handles is its telemetry. Whose credentials it has for
them is not modelled. A token that is dead costs its installation and is told in the feedback. The order of checks is
nobody's rule: hub, signature, right, path, quota, message.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import random
import re
from base64 import b64encode
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree.ElementTree import Element, SubElement, tostring

from pushrpc.emulator.installations import Installations
from pushrpc.emulator.notification_hubs_feedback import CONNECT, Feedback, Record
from pushrpc.emulator.notification_hubs_message import (
    BY_WORD,
    PLATFORMS,
    TEMPLATE,
    Platform,
    Refusal,
    Send,
    handles_of,
    read_send,
)
from pushrpc.emulator.notification_hubs_tags import TagExpression
from pushrpc.emulator.quota import Quota
from pushrpc.emulator.service import Call, Entry, Verdict
from pushrpc.emulator.tokens import TokenBook, TokenState
from pushrpc.exchange import Headers, Response

STREAMS_MAX = 100
MESSAGES_MAX = 100_000
"""Messages whose telemetry is remembered; the oldest is forgotten first, and is then not found."""
TEST_DEVICES_MAX = 10
# Second-hand, of a direct batch (Azure/azure-notificationhubs-dotnet, issue 200); assumed of what else costs more.
NOT_FOR_FREE = "This operation is not available for your tier."
# From the send: until then Enqueued, Processing, and DetailedStateAvailable, which shows counts before the end.
ENQUEUED_S, PROCESSING_S, DETAILED_S = 0.5, 1.0, 1.5

SEND, LISTEN, MANAGE = "Send", "Listen", "Manage"
ALL_RIGHTS = (SEND, LISTEN, MANAGE)
_PROPERTY = re.compile(r"\$\(([^()]+)\)")
_XML = (b"content-type", b"application/xml; charset=utf-8")
_JSON = (b"content-type", b"application/json; charset=utf-8")
_OUTCOMES = {
    TokenState.LIVE: "Success",
    TokenState.UNREGISTERED: "BadChannel",
    TokenState.EXPIRED: "ExpiredChannel",
    TokenState.THROTTLED: "Throttled",
    TokenState.OFFLINE: "Success",
    TokenState.MUTED: "Dropped",
}
_DEAD = frozenset({"BadChannel", "ExpiredChannel"})
BEHIND: Mapping[str, str] = {"apns": "apns", "fcmv1": "fcm", "wns": "wns", "browser": "web_push"}
"""The emulated push service that a platform's handles are of. What it took is journaled as, say, apns_by_hub."""
BY_HUB = tuple(f"{service}_by_hub" for service in BEHIND.values())


class Rule(NamedTuple):
    """A shared access policy."""

    key: str
    rights: frozenset[str]


@dataclass(slots=True)
class Hub:
    """`host` is its namespace's; a signature may be for it, or for wherever the hub is called. `free`: of that tier."""

    name: str
    host: str = ""
    rules: dict[str, Rule] = field(default_factory=dict)
    free: bool = False
    installations: Installations = field(default_factory=Installations)
    feedback: Feedback = field(init=False)

    def __post_init__(self) -> None:
        self.feedback = Feedback(self.name)


class _Target(NamedTuple):
    platform: Platform
    handle: str
    payload: bytes
    installation_id: str = ""


@dataclass(slots=True)
class _Message:
    """A send that was taken. What became of it is known when it was passed on: (platform, outcome) to devices."""

    hub: Hub
    message_id: str
    sent_us: int
    format: str
    headers: Headers
    targets: Sequence[_Target]
    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def entry(self, provider: str, target: _Target) -> Entry:
        digest = hashlib.blake2b(target.handle.encode() + b"\n" + target.payload, digest_size=16).digest()
        return Entry(
            provider=provider,
            environment=target.platform.word,
            token=target.handle,
            message_id=self.message_id,
            identity=digest,
            time_us=self.sent_us,
            headers=self.headers,
            payload=target.payload,
        )


class NotificationHubs:
    """Every hub of the emulator, by name: /<hub>/messages, /<hub>/installations and /<hub>/feedbackcontainer.

    `tokens` is what hubs themselves are told to believe of a handle; one that is live to them is judged by the book
    of its own push service, of those in `behind`. `accept` is given what a push service took through a hub.
    """

    name = "notification_hubs"
    client_certificates = False
    http1, http2 = True, False
    streams_max = STREAMS_MAX

    def __init__(
        self,
        tokens: TokenBook,
        *,
        seed: int = 0,
        behind: Mapping[str, TokenBook] = {},
        accept: Callable[[Entry], None] = lambda entry: None,
    ) -> None:
        self.tokens = tokens
        self._behind = behind
        self._accept = accept
        self._pending: deque[_Message] = deque()
        self.per_hub = Quota(0)
        self._hubs: dict[str, Hub] = {}
        self._messages: OrderedDict[str, _Message] = OrderedDict()
        self._random = random.Random(f"notification_hubs/{seed}")

    @property
    def hubs(self) -> Sequence[str]:
        return sorted(self._hubs)

    def put_hub(self, name: str, *, host: str | None = None, free: bool | None = None) -> None:
        """Makes a hub, or leaves it as it is but for what is given: its namespace's host, whether its tier is Free."""
        hub = self._hubs.setdefault(name.lower(), Hub(name))
        hub.host = hub.host if host is None else host.lower()
        hub.free = hub.free if free is None else free

    def put_rule(self, hub: str, name: str, key: str, rights: Iterable[str] = ALL_RIGHTS) -> None:
        """A policy of a hub, which is made when there is none. Raises ValueError for a right that Azure has not."""
        kept = frozenset(rights)
        if not kept <= set(ALL_RIGHTS):
            raise ValueError(f"rights are of {', '.join(ALL_RIGHTS)}")
        self._hubs.setdefault(hub.lower(), Hub(hub)).rules[name] = Rule(key, kept)

    def clear(self) -> None:
        """Forgets messages, feedback, installations and quotas; hubs and their policies stay."""
        self._messages.clear()
        self._pending.clear()
        self.per_hub.clear()
        for hub in self._hubs.values():
            hub.installations.clear()
            hub.feedback.clear()

    def dispatch(self, now_us: int) -> None:
        """Passes on what is no longer Enqueued; done before anything is answered, and for whoever looks behind hubs."""
        due_us = now_us - int(ENQUEUED_S * 1e6)
        while self._pending and (self._pending[0].sent_us <= due_us or len(self._pending) > MESSAGES_MAX):
            self._pass_on(self._pending.popleft(), now_us)

    # --- what the shell asks

    def connect(self, certificate: bytes | None) -> NotificationHubs:
        """HTTP/1.1 remembers nothing between requests, so the service is its own connection."""
        return self

    def subject(self, call: Call) -> tuple[str, str]:
        """Sends by their first handle or tag expression; telemetry and installations by providers of their own."""
        parts = unquote(urlsplit(call.path.decode("latin-1")).path).strip("/").split("/")
        if "installations" in parts:
            return "hub_installations", parts[-1]
        if call.method != b"POST":
            return "hub_telemetry", ""
        tags = call.header(b"servicebusnotification-tags").decode("latin-1")
        return self.name, tags or handles_of(call)[0]

    def refusal(self, call: Call, status: int, reason: str, now_us: int) -> Response:
        return self._refuse(Refusal(status, reason or "The request was refused."), now_us)

    def answer(self, call: Call, now_us: int) -> Verdict:
        self.dispatch(now_us)
        try:
            return self._answer(call, now_us)
        except Refusal as refusal:
            return Verdict(self._refuse(refusal, now_us))

    def _answer(self, call: Call, now_us: int) -> Verdict:
        url = urlsplit(call.path.decode("latin-1"))
        query = parse_qs(url.query, keep_blank_values=True)
        name, _, below = unquote(url.path).strip("/").partition("/")
        for each in self._hubs.values():
            if name == each.feedback.container:
                return Verdict(each.feedback.answer(call.method, below, query, now_us))
        hub = self._hubs.get(name.lower())
        if hub is None:
            raise Refusal(404, "The specified hub does not exist.")
        rights = self._rights(call, hub, url.path, now_us)
        if "api-version" not in query:
            raise Refusal(400, "api-version is missing.")
        kind, _, rest = below.partition("/")
        if kind == "messages" and call.method == b"POST" and rest in ("", "$batch"):
            _require(rights, SEND)
            return self._send(call, hub, query, rest == "$batch", now_us)
        if kind == "messages" and call.method == b"GET" and rest:
            _require(rights, SEND)
            return Verdict(self._telemetry(hub, rest, now_us))
        if (call.method, kind, rest) == (b"GET", "feedbackcontainer", ""):
            if hub.free:
                raise Refusal(403, NOT_FOR_FREE)
            host = call.header(b"host").decode("latin-1")
            return Verdict(
                Response(200, [(b"content-type", b"text/plain")], hub.feedback.address(host, now_us).encode())
            )
        if kind == "installations" and rest:
            _require(rights, LISTEN)
            return Verdict(self._installation(call, hub, rest, now_us))
        raise Refusal(404, "The specified resource does not exist.")

    def _rights(self, call: Call, hub: Hub, path: str, now_us: int) -> frozenset[str]:
        """What the signature gives, computed over `sr` and `se` exactly as they came."""
        scheme, _, rest = call.header(b"authorization").decode("latin-1").partition(" ")
        parts = dict(part.partition("=")[::2] for part in rest.split("&"))
        rule = hub.rules.get(unquote(parts.get("skn", "")))
        if scheme != "SharedAccessSignature" or rule is None:
            raise Refusal(401, "MissingToken: the authorization header holds no signature of a known policy.")
        signed = f"{parts.get('sr', '')}\n{parts.get('se', '')}".encode("latin-1")
        expected = b64encode(hmac.digest(rule.key.encode(), signed, "sha256")).decode()
        if not hmac.compare_digest(unquote(parts.get("sig", "")).encode(), expected.encode()):
            raise Refusal(401, "InvalidSignature: The token has an invalid signature.")
        expires = parts.get("se", "")
        if not (expires.isascii() and expires.isdigit()) or int(expires) * 1_000_000 <= now_us:
            raise Refusal(401, "ExpiredToken: The token is expired.")
        resource = urlsplit(unquote(parts["sr"]).lower())
        called = call.header(b"host").decode("latin-1").lower()
        below = f"{unquote(path).lower().rstrip('/')}/"
        if resource.netloc not in (called, hub.host) or not below.startswith(resource.path.rstrip("/") + "/"):
            raise Refusal(401, "InvalidAudience: the token is for another resource.")
        return rule.rights

    def _refuse(self, refusal: Refusal, now_us: int) -> Response:
        root = Element("Error")
        SubElement(root, "Code").text = str(refusal.status)
        SubElement(root, "Detail").text = f"{refusal.detail} TrackingId:{self._id()},TimeStamp:{_iso(now_us)}"
        return Response(refusal.status, [_XML, *refusal.headers], tostring(root))

    def _id(self) -> str:
        return f"{self._random.randrange(10**18, 10**19)}-{self._random.randrange(10**18, 10**19)}-1"

    # --- sending

    def _send(self, call: Call, hub: Hub, query: Mapping[str, Any], batch: bool, now_us: int) -> Verdict:
        wait_s = self.per_hub.spend(hub.name, now_us)
        if wait_s:
            after = str(max(1, math.ceil(wait_s))).encode()
            raise Refusal(403, "The hub's quota of operations is exceeded.", [(b"retry-after", after)])
        if batch and hub.free:
            raise Refusal(403, NOT_FOR_FREE)
        send = read_send(call, batch, "direct" in query)
        targets = self._targets(call, hub, send)
        message = _Message(hub, self._id(), now_us, send.format, call.headers, targets)
        self._messages[message.message_id] = message
        if len(self._messages) > MESSAGES_MAX:
            self._messages.popitem(last=False)
        taken = [message.entry(self.name, target) for target in targets]
        host = call.header(b"host").decode("latin-1")
        location = f"https://{host}/{hub.name}/messages/{message.message_id}?api-version=2020-06"
        headers = [(b"location", location.encode()), (b"trackingid", self._id().encode())]
        if "test" in query and not send.handles:
            told = self._pass_on(message, now_us)
            return Verdict(Response(201, [_XML, *headers], _tested(told)), accepted_many=taken)
        self._pending.append(message)
        return Verdict(Response(201, headers, b""), accepted_many=taken)

    def _pass_on(self, message: _Message, now_us: int) -> Sequence[tuple[_Target, str]]:
        hub, targets = message.hub, message.targets
        told = [(target, self._outcome(hub, target, now_us)) for target in targets]
        message.counts = Counter((target.platform.counts, outcome) for target, outcome in told)
        message.targets = ()
        for target, outcome in told:
            service = BEHIND.get(target.platform.word)
            if outcome == "Success" and service:
                self._accept(message.entry(f"{service}_by_hub", target))
            elif outcome in _DEAD:
                platform, handle = target.platform.word, target.handle
                hub.feedback.add(Record(now_us, outcome, platform, handle, target.installation_id, message.message_id))
        hub.installations.expire(target.handle for target, outcome in told if outcome in _DEAD)
        return told

    def _targets(self, call: Call, hub: Hub, send: Send) -> Sequence[_Target]:
        """Each handle once, as a hub sends it."""
        if send.handles:
            platform = PLATFORMS[send.format]
            return [_Target(platform, handle, send.payload) for handle in dict.fromkeys(send.handles)]
        tags = call.header(b"servicebusnotification-tags").decode("latin-1")
        try:
            expression = TagExpression(tags) if tags else None
        except ValueError as error:
            raise Refusal(400, f"The tag expression is not valid: {error}.") from None
        found: dict[str, _Target] = {}
        for installation in hub.installations:
            if expression and not expression.matches(installation.tags):
                continue
            platform = BY_WORD[installation.platform]
            for payload in _payloads(send, installation.platform, installation.templates):
                target = _Target(platform, installation.handle, payload, installation.installation_id)
                found.setdefault(installation.handle, target)
        return list(found.values())

    def _outcome(self, hub: Hub, target: _Target, now_us: int) -> str:
        believed = self.tokens.get(target.handle) or self.tokens.unknown
        if believed.app not in ("", hub.name):
            return "WrongChannel"
        word = target.platform.word
        book = self._behind.get(BEHIND.get(word, ""))
        if believed.state is TokenState.LIVE and book is not None:
            handle = target.handle.lower() if word == "apns" else target.handle
            believed = book.get(handle) or book.unknown
        if believed.state is TokenState.THROTTLED and 0 < believed.until_ms * 1000 <= now_us:
            return "Success"
        return _OUTCOMES[believed.state]

    # --- telemetry

    def _telemetry(self, hub: Hub, message_id: str, now_us: int) -> Response:
        if hub.free:
            raise Refusal(403, NOT_FOR_FREE)
        message = self._messages.get(message_id)
        if message is None or message.hub is not hub:
            raise Refusal(404, "The specified notification does not exist.")
        age_s = (now_us - message.sent_us) / 1e6
        state = "Completed" if message.counts else "NoTargetFound"
        if age_s < PROCESSING_S:
            state = "Enqueued" if age_s < ENQUEUED_S else "Processing"
        elif message.counts and age_s < DETAILED_S:
            state = "DetailedStateAvailable"
        root = Element("NotificationDetails", xmlns=CONNECT)
        SubElement(root, "NotificationId").text = message_id
        SubElement(root, "State").text = state
        SubElement(root, "EnqueueTime").text = _iso(message.sent_us)
        if state != "Enqueued":
            SubElement(root, "StartTime").text = _iso(message.sent_us + int(ENQUEUED_S * 1e6))
        if state not in ("Enqueued", "Processing"):
            if state != "DetailedStateAvailable":
                SubElement(root, "EndTime").text = _iso(message.sent_us + int(DETAILED_S * 1e6))
            SubElement(root, "TargetPlatforms").text = message.format
            _count(root, message.counts)
        return Response(200, [_XML], tostring(root))

    # --- installations

    def _installation(self, call: Call, hub: Hub, installation_id: str, now_us: int) -> Response:
        kept = hub.installations
        match call.method:
            case b"PUT" | b"PATCH":
                try:
                    body = json.loads(call.body)
                    change = kept.put if call.method == b"PUT" else kept.patch
                    change(installation_id, body, _iso(now_us))
                except KeyError:
                    raise Refusal(404, "The installation does not exist.") from None
                except (ValueError, RecursionError) as error:
                    raise Refusal(400, f"The installation is not valid: {error}.") from None
                return Response(200, [(b"trackingid", self._id().encode())], b"")
            case b"GET":
                found = kept.get(installation_id)
                if found is None:
                    raise Refusal(404, "The installation does not exist.")
                return Response(200, [_JSON], json.dumps(found).encode())
            case b"DELETE":
                kept.remove(installation_id)
                return Response(204, [], b"")
        raise Refusal(405, "The method is not allowed.")


def _require(rights: frozenset[str], right: str) -> None:
    if not rights & {right, MANAGE}:
        raise Refusal(403, f"The policy has no {right} right.")


def _payloads(send: Send, word: str, templates: Mapping[str, str]) -> Sequence[bytes]:
    """What an installation gets: the native payload of its platform, or each of its templates filled in."""
    if send.format != TEMPLATE:
        return [send.payload] if PLATFORMS[send.format].word == word else []
    properties = json.loads(send.payload)
    return [_PROPERTY.sub(lambda m: properties.get(m[1], ""), body).encode() for body in templates.values()]


def _count(root: Element, counts: Mapping[tuple[str, str], int]) -> None:
    for platform in dict.fromkeys(platform for platform, _ in counts):
        of_platform = SubElement(root, f"{platform}OutcomeCounts")
        for (of, name), devices in counts.items():
            if of == platform:
                outcome = SubElement(of_platform, "Outcome")
                SubElement(outcome, "Name").text = name
                SubElement(outcome, "Count").text = str(devices)


def _tested(told: Sequence[tuple[_Target, str]]) -> bytes:
    """A NotificationOutcome: what a test send says at once, of ten devices at most."""
    root = Element("NotificationOutcome", xmlns=CONNECT)
    succeeded = sum(outcome == "Success" for _, outcome in told)
    SubElement(root, "Success").text = str(succeeded)
    SubElement(root, "Failure").text = str(len(told) - succeeded)
    results = SubElement(root, "Results")
    for target, outcome in told[:TEST_DEVICES_MAX]:
        result = SubElement(results, "RegistrationResult")
        SubElement(result, "ApplicationPlatform").text = target.platform.word
        SubElement(result, "PnsHandle").text = target.handle
        SubElement(result, "RegistrationId").text = target.installation_id
        SubElement(result, "Outcome").text = outcome
    return tostring(root)


def _iso(time_us: int) -> str:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
