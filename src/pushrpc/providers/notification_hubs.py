"""Azure Notification Hubs: a gateway in front of other push services, with a registry of installations of its own.

A hub answers before it has called anybody, so what it accepts is SENT, and its telemetry tells later what became of it.
Telemetry and handles by the batch are not for hubs of the Free tier: there is no feedback from one, and its handles go
one by one.

Sources: Microsoft, Notification Hubs REST API: "Direct send", "Direct batch send", "Send a native notification",
"Send a template notification", "Create or overwrite an installation", "Get notification message telemetry",
"Common concepts".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from pushrpc.accounts import HubAccount
from pushrpc.exchange import Endpoint, Headers, Requests, Response, Row, Template
from pushrpc.model import NO_ADDRESS, NOT_SENT, Address, Batch, Claimed, Device, Lane, Notification, Outcome, Refused
from pushrpc.providers import (
    AccountError,
    Call,
    Classified,
    Credential,
    Feedback,
    Preview,
    apns,
    apns_message,
    webpush,
    wns,
)
from pushrpc.providers.credentials import check_ca_file
from pushrpc.providers.notification_hubs_answer import feedback_of, message_id_of, outcome_of, refuses_batches
from pushrpc.providers.notification_hubs_message import (
    ADM_BYTES_MAX,
    BODY_BYTES_MAX,
    NO_PLATFORM,
    HubMessage,
    build,
)
from pushrpc.providers.notification_hubs_tags import expression_problem, tag_problem
from pushrpc.providers.origin import Origin
from pushrpc.providers.payload import encoded
from pushrpc.providers.sas import SasToken, read_connection_string
from pushrpc.providers.webpush_crypto import subscription_keys
from pushrpc.words import (
    AudienceKind,
    DeviceState,
    Environment,
    HubPlatform,
    OutcomeKind,
    Provider,
    RejectReason,
    TokenKind,
)

API_VERSION = "2020-06"  # of Microsoft's current clients
HANDLES_MAX = 1_000  # in a batch
MESSAGE_BYTES_MAX = ADM_BYTES_MAX  # no platform that goes in batches has a larger one
ONE_BY_ONE_S = 3600.0  # after a refused batch: so soon a hub that has got a higher tier is noticed
FEEDBACK_AFTER_S = 10.0
TOKEN_CHARS_MAX = 4096
# Microsoft documents batches for neither: they go one by one.
ALONE = frozenset({HubPlatform.FCM_V1, HubPlatform.BROWSER})
# In an installation; a send has words of its own.
PLATFORMS: Mapping[HubPlatform, str] = {
    HubPlatform.APNS: "apns",
    HubPlatform.FCM_V1: "fcmV1",
    HubPlatform.WNS: "wns",
    HubPlatform.BROWSER: "browser",
    HubPlatform.ADM: "adm",
    HubPlatform.BAIDU: "baidu",
    HubPlatform.XIAOMI: "xiaomi",
}
_HUB = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,258}[A-Za-z0-9])?")
_INSTALLATION = re.compile(r"[A-Za-z0-9_@#.:=-]{1,128}")
_VISIBLE = re.compile(r"[\x21-\x7e]*")
_MULTIPART_BYTES = 512  # boundaries and part headers
_NO_TOKEN = Refused(
    RejectReason.TOKEN_MALFORMED, f"a hub's handle is 1 to {TOKEN_CHARS_MAX} visible ASCII characters without spaces"
)
_NO_PLATFORM = Refused(RejectReason.FIELD_MISSING, NO_PLATFORM)
_NO_AUDIENCE = Refused(
    RejectReason.TOKEN_MALFORMED, "a hub spreads by tag_expression or to everyone; it has no topics and no channels"
)
_NO_KEYS = Refused(RejectReason.WEB_PUSH_KEYS_INVALID, "a browser's handle needs its subscription's p256dh and auth")
_KEYS = Refused(RejectReason.TOKEN_MALFORMED, "p256dh and auth are for handles of BROWSER only")


class NotificationHub:
    """One hub. Handles of one notification and one platform share a request where the platform allows it."""

    provider = Provider.NOTIFICATION_HUBS
    tokens_per_request = HANDLES_MAX
    environment = Environment.UNSPECIFIED
    feedback_after_s = FEEDBACK_AFTER_S
    tags_max = 60  # of an installation

    def __init__(self, account: HubAccount) -> None:
        """Reads the connection string. Raises AccountError."""
        if not _HUB.fullmatch(account.hub):
            raise AccountError("hub", "is not a hub's name: letters, digits and ._- inside")
        connection = read_connection_string(account.connection_string_file)
        if connection.entity not in ("", account.hub):
            raise AccountError("hub", f"is {account.hub}, and the connection string is {connection.entity[:64]}'s")
        configured = Origin.of_endpoint(account.endpoint)
        if configured is None:
            connection.check_host()
        check_ca_file(account.ca_file)
        hub = connection.origin
        self.provider_app_id = f"{connection.namespace}/{account.hub}"
        # Signed for the hub itself, wherever `endpoint` leads.
        self.credential: Credential | None = SasToken(
            f"https://{hub.authority}/{account.hub}", connection.key_name, connection.key
        )
        self._origin = configured or hub
        # Push services that are emulated beside an emulated hub have addresses on its host.
        self._emulator = configured.host if configured else ""
        self._authority = self._origin.authority.encode()
        # Neither hosts nor hubs are told apart by case, and an endpoint is another place with hubs of its own.
        self.registry = f"{self._origin.authority}/{self.provider_app_id}".lower()
        self._ca_file = account.ca_file
        self._hub = account.hub
        self._one_by_one_until_us = 0

    def endpoint(self, lane: Lane) -> Endpoint | None:
        return self._endpoint()

    def _endpoint(self) -> Endpoint:
        return Endpoint(self._origin.host, self._origin.port, self._ca_file, http2=False)

    def origin(self, token: str) -> str:
        return ""

    def token_problem(self, *tokens: str) -> Refused | None:
        if all(tokens) and max(map(len, tokens), default=0) <= TOKEN_CHARS_MAX and _VISIBLE.fullmatch("".join(tokens)):
            return None
        return _NO_TOKEN

    def address_problem(self, token: str, address: Address) -> Refused | None:
        if address.audience:
            return _audience_problem(token, address.audience)
        platform = address.platform
        if platform is HubPlatform.UNSPECIFIED:
            return _NO_PLATFORM
        if problem := self._handle_problem(token, platform):
            return problem
        if platform is not HubPlatform.BROWSER:
            return _KEYS if address.p256dh or address.auth else None
        if not (address.p256dh and address.auth):
            return _NO_KEYS
        try:
            subscription_keys(address.p256dh, address.auth)
        except ValueError as error:
            return Refused(RejectReason.WEB_PUSH_KEYS_INVALID, str(error))
        return None

    def _handle_problem(self, token: str, platform: HubPlatform) -> Refused | None:
        """By the rules of the handle's own push service; where they are not known, by those of `token_problem`."""
        match platform:
            case HubPlatform.APNS:
                return apns.token_problem(token)
            case HubPlatform.WNS:
                return wns.channel_problem(token, self._beside(wns.channel_origin(token)))
            case HubPlatform.BROWSER:
                return None if self._beside(webpush.endpoint_origin(token)) else webpush.endpoint_problem(token)
        return None

    def _beside(self, origin: Origin | None) -> Origin | None:
        return origin if origin and origin.host == self._emulator else None

    def token_kind(self, notification: Notification) -> TokenKind:
        """As at Apple, whose handles a hub has too: an alert never reaches a VoIP token."""
        return apns_message.token_kind(notification.content)

    def check_message(self, notification: Notification, address: Address = NO_ADDRESS) -> None:
        build(notification, address, notification.created_us)

    def preview(self, notification: Notification, address: Address, now_us: int) -> Preview:
        message = build(notification, address, now_us)
        lines = [(b"content-type", message.content_type), *message.header_lines]
        return Preview(
            [(name.decode(), value.decode()) for name, value in lines],
            message.body.decode("utf-8", "replace"),
            message.size_bytes,
            message.limit_bytes,
            ("message.body",) if message.cut else (),
            message.dropped,
        )

    # --- sending

    def prepare(self, batch: Batch, authorization: bytes | None, now_us: int) -> Requests:
        alike: dict[tuple[str, Address], list[int]] = {}
        for position, delivery in enumerate(batch.deliveries):
            form = Address.of(delivery.address)._replace(p256dh="", auth="")
            alike.setdefault((delivery.notification.notification_id, form), []).append(position)
        templates: list[Template] = []
        rows: list[Row] = []
        for (_, form), positions in alike.items():
            message = build(batch.deliveries[positions[0]].notification, form, now_us)
            headers = _authorized(authorization, message.header_lines)
            groups: Iterable[Sequence[int]] = [(each,) for each in positions]
            if not self._go_alone(form, now_us):
                groups = _batches(len(message.body), positions, batch.deliveries)
            rows += self._rows(len(templates), message, form, groups, batch.deliveries)
            templates.append(Template(b"POST", self._authority, headers, message.body))
        return Requests(templates, rows)

    def requests_of(self, deliveries: Sequence[Claimed], now_us: int) -> int:
        """As if every message were as large as any can be: none is built only to be counted."""
        alike: dict[tuple[str, str], list[int]] = {}
        for position, delivery in enumerate(deliveries):
            alike.setdefault((delivery.notification.notification_id, delivery.address), []).append(position)
        count = 0
        for (_, address), positions in alike.items():
            if self._go_alone(Address.of(address), now_us):
                count += len(positions)
            else:
                count += sum(1 for _ in _batches(MESSAGE_BYTES_MAX, positions, deliveries))
        return count

    def _go_alone(self, form: Address, now_us: int) -> bool:
        return bool(form.audience) or form.platform in ALONE or now_us < self._one_by_one_until_us

    def _rows(
        self,
        template: int,
        message: HubMessage,
        form: Address,
        groups: Iterable[Sequence[int]],
        deliveries: Sequence[Claimed],
    ) -> Iterator[Row]:
        boundary = sha256(message.body).hexdigest()[:32].encode()  # no payload holds its own digest
        mixed = (b"content-type", b'multipart/mixed; boundary="' + boundary + b'"')
        own = (b"content-type", message.content_type)
        batch_path = self._path("messages/$batch", "direct&")
        path = self._path("messages/", "" if form.audience else "direct&")
        for group in groups:
            if len(group) > 1:
                body = _multipart(message, [deliveries[each].token for each in group], boundary)
                yield Row(template, batch_path, (mixed,), body, group)
            else:
                yield Row(template, path, (own, *_target(deliveries[group[0]], form)), None, group)

    def _path(self, below: str, query: str = "") -> bytes:
        return f"/{self._hub}/{below}?{query}api-version={API_VERSION}".encode()

    def classify(self, response: Response, covered: Sequence[Claimed], now_us: int) -> Sequence[Classified]:
        if len(covered) > 1 and refuses_batches(response):
            # None of them was looked at: all go again at once, each in a request of its own. Were it something else
            # that is forbidden, that request is told so too.
            self._one_by_one_until_us = now_us + int(ONE_BY_ONE_S * 1e6)
            return [(NOT_SENT, "")] * len(covered)
        outcome = outcome_of(response, now_us)
        accepted = outcome.kind is OutcomeKind.ACCEPTED
        return [(outcome, message_id_of(response) if accepted else "")] * len(covered)

    # --- what became of it

    def feedback_call(self, message_id: str, authorization: bytes | None) -> Call:
        return self._call(b"GET", f"messages/{quote(message_id, safe='')}", authorization)

    def feedback(self, response: Response, now_us: int) -> Feedback:
        return feedback_of(response, now_us)

    # --- installations

    def tag_problem(self, tag: str) -> str:
        return tag_problem(tag)

    def device_call(self, device: Device, authorization: bytes | None) -> Call:
        known = _INSTALLATION.fullmatch(device.device_id)
        installation_id = device.device_id if known else sha256(device.device_id.encode("utf-8", "replace")).hexdigest()
        path = f"installations/{quote(installation_id, safe='')}"
        # Whoever sends to tags reaches every installation, and an alert never reaches a VoIP or Live Activity token.
        of_another_kind = device.token_kind is not TokenKind.STANDARD
        if of_another_kind or device.state in (DeviceState.DEAD, DeviceState.REMOVED):
            return self._call(b"DELETE", path, authorization)
        return self._call(b"PUT", path, authorization, encoded(self._installation(device, installation_id)))

    def _installation(self, device: Device, installation_id: str) -> dict[str, Any]:
        """Of a device whose tags the hub cannot keep, which is none that was registered for one, those that it can."""
        channel: object = device.token
        if device.address.platform is HubPlatform.BROWSER:
            channel = {"endpoint": device.token, "p256dh": device.address.p256dh, "auth": device.address.auth}
        written: dict[str, Any] = {
            "installationId": installation_id,
            "platform": PLATFORMS.get(device.address.platform, ""),
            "pushChannel": channel,
            "tags": [tag for tag in device.tags if not tag_problem(tag)][: self.tags_max],
        }
        return written | ({"userId": device.user_id} if device.user_id else {})

    def device_result(self, response: Response, now_us: int) -> Outcome:
        return outcome_of(response, now_us)

    def _call(self, method: bytes, below: str, authorization: bytes | None, body: bytes = b"") -> Call:
        headers = _authorized(authorization, ((b"content-type", b"application/json"),) if body else ())
        template = Template(method, self._authority, headers, body)
        return Call(self._endpoint(), Requests((template,), (Row(0, self._path(below), (), None, ()),)))


def _authorized(authorization: bytes | None, headers: Headers) -> Headers:
    return tuple(headers) if authorization is None else ((b"authorization", authorization), *headers)


def _audience_problem(name: str, kind: AudienceKind) -> Refused | None:
    if kind is AudienceKind.EVERYONE:
        return None
    if kind is not AudienceKind.TAGS:
        return _NO_AUDIENCE
    problem = expression_problem(name)
    return Refused(RejectReason.TOKEN_MALFORMED, f"the tag expression {problem}") if problem else None


def _target(delivery: Claimed, form: Address) -> Headers:
    token = delivery.token.encode()
    if form.audience is AudienceKind.EVERYONE:
        return ()
    if form.audience:
        return ((b"servicebusnotification-tags", token.strip()),)
    handle = (b"servicebusnotification-devicehandle", token)
    if form.platform is not HubPlatform.BROWSER:
        return (handle,)
    address = Address.of(delivery.address)
    return (handle, (b"p256dh", address.p256dh.encode()), (b"auth", address.auth.encode()))


def _batches(body_bytes: int, positions: Sequence[int], deliveries: Sequence[Claimed]) -> Iterator[Sequence[int]]:
    """The positions of each request.

    Bounded in bytes too: whether the hub's limit is on a message or on a request is not documented, and a 413 would
    refuse everybody in it.
    """
    room = BODY_BYTES_MAX - body_bytes - _MULTIPART_BYTES
    covered: list[int] = []
    used = 0
    for position in positions:
        size = len(deliveries[position].token) + len('"",')
        if covered and (used + size > room or len(covered) == HANDLES_MAX):
            yield tuple(covered)
            covered, used = [], 0
        covered.append(position)
        used += size
    yield tuple(covered)


def _multipart(message: HubMessage, handles: Sequence[str], boundary: bytes) -> bytes:
    """RFC 2046 §5.1."""
    parts = (("notification", message.content_type, message.body), ("devices", b"application/json", encoded(handles)))
    lines = []
    for name, content_type, body in parts:
        disposition = f"Content-Disposition: inline; name={name}".encode()
        lines += [b"--" + boundary, b"Content-Type: " + content_type, disposition, b"", body]
    return b"\r\n".join([*lines, b"--" + boundary + b"--", b""])
