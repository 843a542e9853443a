"""Web Push: one VAPID key, every browser's push service, one encrypted request a subscription.

Sources: RFC 8030 (protocol), RFC 8291 and 8292 (in webpush_crypto); Mozilla, "Autopush: Error Codes"; Apple, "Sending
web push notifications in web apps and browsers"; Microsoft, "Push notification service request and response headers".
What Google answers is documented nowhere; its texts are as senders have seen them.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import urljoin

from pushrpc.accounts import WebPushAccount
from pushrpc.exchange import Endpoint, Headers, Requests, Response, Row, Template
from pushrpc.model import NO_ADDRESS, Address, Batch, Claimed, Lane, Notification, Outcome, Refused, Scope
from pushrpc.providers import AccountError, Classified, Credential, Preview
from pushrpc.providers.answer import by_status, cause_of, clip, json_object, retry_after_s, text, word
from pushrpc.providers.credentials import check_ca_file, read_vapid_key
from pushrpc.providers.origin import Origin
from pushrpc.providers.payload import KeptPayloads
from pushrpc.providers.webpush_crypto import (
    PLAINTEXT_BYTES_MAX,
    base64url,
    encrypted,
    public_point,
    subscription_keys,
    vapid,
)
from pushrpc.providers.webpush_message import dropped, payload
from pushrpc.providers.wns import BLOCKED
from pushrpc.words import Cause, Environment, OutcomeKind, Priority, Provider, RejectReason, TokenKind, Urgency

TOKEN_CHARS_MAX = 4096
TOPIC_CHARS = 32  # RFC 8030 §5.4's most; Apple decodes it as base64url, which 32 characters always are
MESSAGE_ID_CHARS_MAX = 1024
# A token lasts until its window ends and 11 hours more: never the 24 hours that are the most (RFC 8292 §2), nor less
# than clocks may differ.
VAPID_WINDOW_S = 12 * 3600
VAPID_GRACE_S = 11 * 3600
VAPIDS_KEPT = 1_024  # push services of one account; Windows alone has dozens of hosts

_ENDPOINT = re.compile(r"(?i:https)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]{1,253})(?::([0-9]{1,5}))?(/[!\"$-~]*)")
_NO_ENDPOINT = Refused(
    RejectReason.TOKEN_MALFORMED,
    f"a Web Push token is the endpoint of a PushSubscription: an https URL of at most {TOKEN_CHARS_MAX} visible "
    "ASCII characters with a path, without a user or a fragment",
)
_NO_KEYS = Refused(
    RejectReason.WEB_PUSH_KEYS_INVALID, "a Web Push subscription comes with its keys p256dh and auth; one is missing"
)
_NOT_ALONE = Refused(
    RejectReason.TOKEN_MALFORMED, "Web Push takes an endpoint with its keys, no audience and no hub_platform"
)
_URGENCIES = {
    Urgency.VERY_LOW: b"very-low",
    Urgency.LOW: b"low",
    Urgency.NORMAL: b"normal",
    Urgency.HIGH: b"high",
}
_BY_PRIORITY = {Priority.HIGH: Urgency.HIGH, Priority.NORMAL: Urgency.NORMAL, Priority.LOW: Urgency.LOW}


# --- hosts -------------------------------------------------------------------------------------------------------

_KNOWN_HOSTS = frozenset({"fcm.googleapis.com", "web.push.apple.com"})
_WINDOWS = ".notify.windows.com"
_KNOWN_BELOW = (".push.services.mozilla.com", ".push.apple.com", _WINDOWS)
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# At least two labels, of which the last is no number: so no IP address in any spelling (WHATWG, "URL Standard" §3.5).
_NAME = re.compile(rf"(?:{_LABEL}\.)+(?=[a-z]){_LABEL}")
# RFC 6761, RFC 6762 and its appendix G, RFC 8375, and ICANN's name for private use.
_PRIVATE = frozenset(
    ("localhost", "test", "invalid", "local", "arpa", "intranet", "internal", "private", "corp", "home", "lan")
)
_SUBJECT = re.compile(r"mailto:[^\s<>@,?]+@([^\s<>@,?/]+)|https://([^\s<>@:/?#]+)(?::[0-9]+)?(?:[/?#][^\s<>]*)?")


def _is_public(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name.rpartition(".")[2] not in _PRIVATE


def endpoint_origin(endpoint: str) -> Origin | None:
    parts = _ENDPOINT.fullmatch(endpoint)
    if parts is None or not 0 < int(parts[2] or 443) < 65536:
        return None
    return Origin(parts[1].strip("[]").lower(), int(parts[2] or 443))


def endpoint_problem(endpoint: str) -> Refused | None:
    """Why a token is no endpoint of a subscription at a public host."""
    origin = endpoint_origin(endpoint) if len(endpoint) <= TOKEN_CHARS_MAX else None
    if origin is None:
        return _NO_ENDPOINT
    return None if _is_public(origin.host) else Refused(RejectReason.ENDPOINT_FORBIDDEN, _not_public(origin.host))


def _not_public(host: str) -> str:
    return f"{host} is no public host name; only the account's own endpoint may be an address or private"


class WebPush:
    """One VAPID key, and the push services that its messages may go to. A token is a subscription's endpoint."""

    provider = Provider.WEB_PUSH
    environment = Environment.UNSPECIFIED
    credential: Credential | None = None  # each push service gets its own, made where its requests are

    def __init__(self, account: WebPushAccount) -> None:
        """Loads the VAPID key. Raises AccountError."""
        self._subject = _checked_subject(account.subject)
        self._hosts = _checked_hosts(account.hosts)
        self._key = read_vapid_key(account.vapid_key_file)
        self._below = tuple(host for host in account.hosts if host.startswith("."))
        check_ca_file(account.ca_file)
        self._ca_file = account.ca_file
        self._origin = Origin.of_endpoint(account.endpoint)
        # What a page passes to PushManager.subscribe() as applicationServerKey.
        self.provider_app_id = base64url(public_point(self._key)).decode()
        self._payloads = KeptPayloads()
        self._vapids: OrderedDict[str, tuple[int, bytes]] = OrderedDict()

    def endpoint(self, lane: Lane) -> Endpoint | None:
        origin = endpoint_origin(f"{lane.origin}/")
        if origin is None or self._forbidden(origin):
            return None
        # With an endpoint of our own, the certificate is that one's; browsers' push services keep the system's roots.
        ca_file = self._ca_file if self._origin in (None, origin) else ""
        speaks_http2 = not origin.host.endswith(_WINDOWS)
        return Endpoint(origin.host, origin.port, ca_file, http2=speaks_http2, public_only=origin != self._origin)

    def origin(self, token: str) -> str:
        origin = endpoint_origin(token)
        return f"https://{origin.authority}" if origin else ""

    def token_problem(self, *tokens: str) -> Refused | None:
        for token in tokens:
            origin = endpoint_origin(token) if len(token) <= TOKEN_CHARS_MAX else None
            if origin is None:
                return _NO_ENDPOINT
            if detail := self._forbidden(origin):
                return Refused(RejectReason.ENDPOINT_FORBIDDEN, detail)
        return None

    def _forbidden(self, origin: Origin) -> str:
        """Why nothing is sent there; empty when it may. Strangers hand in endpoints, which could lead anywhere."""
        if origin == self._origin:
            return ""
        host, port = origin
        if not _is_public(host):
            return _not_public(host)
        if host in self._hosts or "*" in self._hosts or host.endswith(self._below):
            return ""
        if host not in _KNOWN_HOSTS and not host.endswith(_KNOWN_BELOW):
            return f'{host} is no known push service; put "{host}" into the account\'s hosts to send to it'
        return "" if port == 443 else f"port {port} is not {host}'s; put \"{host}\" into the account's hosts to use it"

    def address_problem(self, token: str, address: Address) -> Refused | None:
        if address.audience or address.platform:
            return _NOT_ALONE
        if not (address.p256dh and address.auth):
            return _NO_KEYS
        try:
            subscription_keys(address.p256dh, address.auth)
        except ValueError as error:
            return Refused(RejectReason.WEB_PUSH_KEYS_INVALID, str(error))
        return None

    def token_kind(self, notification: Notification) -> TokenKind:
        return TokenKind.STANDARD

    def check_message(self, notification: Notification, address: Address = NO_ADDRESS) -> None:
        self._payloads.keep(notification, payload(notification)[0])

    def preview(self, notification: Notification, address: Address, now_us: int) -> Preview:
        built, cut = payload(notification)
        return Preview(
            [(name.decode(), value.decode()) for name, value in _headers(notification, now_us)],
            built.decode(),
            len(built),
            PLAINTEXT_BYTES_MAX,
            ("message.body",) if cut else (),
            dropped(notification),
        )

    def prepare(self, batch: Batch, authorization: bytes | None, now_us: int) -> Requests:
        origin = batch.lane.origin
        authority = origin.removeprefix("https://").encode()
        every: Headers = ((b"authorization", self._authorization(origin, now_us)),)
        templates: OrderedDict[Headers, int] = OrderedDict()
        known: dict[str, tuple[int, bytes]] = {}
        rows: list[Row] = []
        for position, delivery in enumerate(batch.deliveries):
            notification = delivery.notification
            name = notification.notification_id
            if name not in known:
                headers = (*every, *_headers(notification, now_us), *_windows_headers(origin, notification, now_us))
                index = templates.setdefault(headers, len(templates))
                known[name] = index, self._payloads.get(notification) or payload(notification)[0]
            index, plaintext = known[name]
            address = Address.of(delivery.address)
            body = encrypted(plaintext, subscription_keys(address.p256dh, address.auth))
            rows.append(Row(index, _path(address.moved_to or delivery.token), (), body, (position,)))
        return Requests([Template(b"POST", authority, headers) for headers in templates], rows)

    def _authorization(self, origin: str, now_us: int) -> bytes:
        """The VAPID header for a push service: the same on every node all through a window, and signed once in it."""
        window = now_us // 1_000_000 // VAPID_WINDOW_S
        kept_window, header = self._vapids.get(origin, (0, b""))
        if kept_window != window:
            expire_s = (window + 1) * VAPID_WINDOW_S + VAPID_GRACE_S
            header = vapid(self._key, origin, self._subject, expire_s)
            self._vapids[origin] = window, header
            if len(self._vapids) > VAPIDS_KEPT:
                self._vapids.popitem(last=False)
        return header

    def classify(self, response: Response, covered: Sequence[Claimed], now_us: int) -> Sequence[Classified]:
        status = response.status
        if 200 <= status < 300 and response.header(b"x-wns-status") not in _WINDOWS_REFUSALS:
            accepted = _ACCEPTED.get(status) or Outcome(OutcomeKind.ACCEPTED, status)
            return [(accepted, _message_id(response))] * len(covered)
        if status == 301:
            return [(self._moved(response, delivery), "") for delivery in covered]
        return [(_refusal(response, now_us), "")] * len(covered)

    def _moved(self, response: Response, delivery: Claimed) -> Outcome:
        """Mozilla moves the endpoints of bridged browsers so, and asks to use the new URL instead from then on.

        One that leads nowhere we may send says nothing of the subscription.
        """
        location = response.header(b"location").decode("latin-1")
        endpoint = delivery.moved_to or delivery.token
        try:
            moved_to = urljoin(endpoint, location)
        except ValueError:
            moved_to = ""
        if not location or moved_to == endpoint or self.token_problem(moved_to):
            return Outcome(OutcomeKind.CREDENTIAL_REFUSED, 301, detail="moved without an endpoint", scope=Scope.TOKEN)
        return Outcome(OutcomeKind.TOKEN_INVALID, 301, replaced_by=moved_to, replaced_origin=self.origin(moved_to))


def _checked_subject(subject: str) -> str:
    parts = _SUBJECT.fullmatch(subject)
    if parts is None or not _is_public((parts[1] or parts[2]).lower()):
        raise AccountError(
            "subject", "is not mailto:somebody@your.domain or an https URL of yours; push services write there"
        )
    return subject


def _checked_hosts(hosts: Sequence[str]) -> frozenset[str]:
    for host in hosts:
        if host != "*" and not _is_public(host.removeprefix(".")):
            problem = f'{host!r} is not a public host name in lower case, ".domain" for all below it, or "*"'
            raise AccountError("hosts", problem)
    return frozenset(host for host in hosts if not host.startswith("."))


# --- requests ----------------------------------------------------------------------------------------------------


def _path(token: str) -> bytes:
    return token[token.index("/", len("https://")) :].encode()


def _headers(notification: Notification, now_us: int) -> Headers:
    headers = [
        (b"content-encoding", b"aes128gcm"),
        (b"content-type", b"application/octet-stream"),
        (b"ttl", b"%d" % notification.left_s(now_us)),
        (b"urgency", _URGENCIES[_urgency(notification)]),
    ]
    if key := notification.content.web_push.topic or notification.collapse_key:
        digest = sha256(key.encode("utf-8", "replace")).digest()
        headers.append((b"topic", urlsafe_b64encode(digest)[:TOPIC_CHARS]))
    return tuple(headers)


def _windows_headers(origin: str, notification: Notification, now_us: int) -> Headers:
    """Windows refuses a TTL that its cache policy, which is "cache" when absent, contradicts."""
    if not origin.endswith(_WINDOWS):
        return ()
    return ((b"x-wns-cache-policy", b"cache" if notification.left_s(now_us) else b"no-cache"),)


def _urgency(notification: Notification) -> Urgency:
    return notification.content.web_push.urgency or _BY_PRIORITY[notification.urgency]


# --- answers -----------------------------------------------------------------------------------------------------

# RFC 8030 §5: 201, or 202 for a message whose receipt is told later. Some services say 200.
_ACCEPTED = {status: Outcome(OutcomeKind.ACCEPTED, status) for status in (200, 201, 202)}
_WINDOWS_REFUSALS = frozenset({b"dropped", b"channelthrottled"})
# The subscription was made for another key: with ours it is dead. If all of them are, the key in our settings is wrong.
_OTHER_KEY = Outcome(OutcomeKind.TOKEN_INVALID, misdirected=True)
_OTHER_KEY_TOLD = re.compile(
    "VapidPkHashMismatch"  # Apple
    "|VAPID public key mismatch"  # Mozilla
    "|do(es)? not correspond to the (credentials used to create|sender ID)",  # Google
    re.IGNORECASE,
)
_BAD_VAPID = frozenset({"BadJwtToken", "BadVapidPublicKey"})  # Apple
# What one subscription gets is limited: by Apple, by whom Mozilla hands the message on to, by Windows.
_OF_THE_SUBSCRIPTION = frozenset({"TooManyRequests", "errno 201", "channelthrottled"})
_MOZILLA_AT_ONCE = "errno 202"  # its Retry-After is on every 503 and not meant then


class _Told(NamedTuple):
    reason: str
    detail: str
    of_windows: bool = False


def _message_id(response: Response) -> str:
    """The message's own URL; DELETE on it takes the message back (RFC 8030 §5)."""
    location = response.header(b"location").decode("latin-1")
    return word(location, MESSAGE_ID_CHARS_MAX) if len(location) <= MESSAGE_ID_CHARS_MAX else ""


def _refusal(response: Response, now_us: int) -> Outcome:
    told = _told(response)
    outcome = _judged(response.status, told)
    return outcome._replace(
        provider_status=response.status,
        reason=told.reason,
        detail=told.detail,
        retry_after_s=0.0 if told.reason == _MOZILLA_AT_ONCE else retry_after_s(response, now_us),
        cause=outcome.cause or cause_of(response.status),
    )


def _told(response: Response) -> _Told:
    """Mozilla's errno and message, Apple's reason, Windows' headers, or a text for people."""
    told = json_object(response.body)
    errno = told.get("errno")
    if isinstance(errno, int) and not isinstance(errno, bool):
        return _Told(word(f"errno {errno}"), clip(word(told.get("message"), 1024)))
    windows_status = response.header(b"x-wns-status").decode("latin-1")
    reason = word(told.get("reason")) or word(windows_status)
    detail = word(response.header(b"x-wns-error-description").decode("latin-1"), 1024) or word(
        told.get("message"), 1024
    )
    of_windows = any(name.startswith(b"x-wns-") for name, _ in response.headers)
    return _Told(reason, clip(detail) or ("" if reason else text(response.body)), of_windows)


def _judged(status: int, told: _Told) -> Outcome:
    if status == 410 and told.of_windows and BLOCKED.search(told.detail):
        return Outcome(OutcomeKind.CREDENTIAL_REFUSED, misdirected=True)  # it is us whom Windows refuses
    if 400 <= status < 500 and any(map(_OTHER_KEY_TOLD.search, told[:2])):
        return _OTHER_KEY
    if 400 <= status < 500 and told.reason in _BAD_VAPID:
        return Outcome(OutcomeKind.CREDENTIAL_REFUSED)
    if status in (404, 410):
        # RFC 8030 §7.3: so answers what has expired; Windows' 410 may be about us all the same.
        return Outcome(OutcomeKind.TOKEN_INVALID, ambiguous=status == 410 and told.of_windows)
    if status < 300 and told.reason == "dropped":
        return Outcome(OutcomeKind.PAYLOAD_REFUSED, cause=Cause.PROVIDER_DROPPED)
    # Windows says 406 where others say 429; we ask for no kind of content, so it can mean nothing else.
    if status in (406, 429) or (status < 300 and told.reason == "channelthrottled"):
        own = told.reason in _OF_THE_SUBSCRIPTION
        return Outcome(OutcomeKind.THROTTLED, scope=Scope.TOKEN if own else Scope.LANE)
    if status == 401:
        return Outcome(OutcomeKind.CREDENTIAL_REFUSED, renew=True)
    return Outcome(by_status(status))
