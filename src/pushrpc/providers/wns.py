"""Windows Push Notification Services: one app's channels, the requests to them, and what WNS answers.

Sources: Microsoft, "Push notification service request and response headers", "Windows Push Notification Services
overview", "Quickstart: Push notifications in the Windows App SDK" (credentials of Microsoft Entra).

A channel URI is the token and the address in one, and whoever registers it could name any host: the access token goes
to hosts of WNS only, or to the configured endpoint, which then stands for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pushrpc.accounts import WnsAccount
from pushrpc.exchange import Endpoint, Headers, Requests, Response, Row, Template
from pushrpc.model import NO_ADDRESS, Address, Batch, Claimed, Lane, Notification, Outcome, Refused, Scope
from pushrpc.providers import AccountError, Classified, Credential, Preview, wns_message
from pushrpc.providers.answer import by_status, cause_of, clip, retry_after_s, text, word
from pushrpc.providers.credentials import ClientToken, check_ca_file, read_secret
from pushrpc.providers.origin import Origin
from pushrpc.providers.payload import KeptPayloads
from pushrpc.words import Cause, Environment, OutcomeKind, Provider, RejectReason, TokenKind

TOKEN_CHARS_MAX = 4096
ACCESS_TOKEN_S = 86_400.0
CHANNEL_RETRY_S = 600.0  # a channel that got too much too fast; WNS says no time
UNREACHABLE_RETRY_S = 3600.0  # 412, which today's pages no longer know

_PACKAGE_SID = "ms-app://"
_TENANT = re.compile(r"[A-Za-z0-9.-]{1,255}")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#\s]*)([!-\"$-~]*)")
_AUTHORITY = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]{1,5}))?|([A-Za-z0-9.-]+)(?::([0-9]{1,5}))?")
_WNS_HOST = re.compile(r"(?:[a-z0-9-]+\.)+notify\.windows\.com")
_MPNS_HOST = re.compile(r"(?:.*\.)?notify\.live\.net")

_NO_CHANNEL = Refused(
    RejectReason.TOKEN_MALFORMED, "a WNS token is a channel URI: https://<name>.notify.windows.com/?token=…"
)
_RETIRED = Refused(
    RejectReason.PROVIDER_RETIRED,
    "this is a channel of MPNS, which Microsoft has shut down; its successor is WNS: have the app ask Windows for a new"
    " channel and register that one",
)
_PLAIN = Refused(RejectReason.ENDPOINT_FORBIDDEN, "a WNS channel URI is https: the access token never travels plainly")
_FOREIGN = Refused(
    RejectReason.ENDPOINT_FORBIDDEN,
    "the channel's host is not under notify.windows.com, and the access token goes nowhere else",
)
_NO_ADDRESS = Refused(RejectReason.TOKEN_MALFORMED, "WNS takes a channel URI alone, without keys or a hub_platform")


class Wns:
    """One Windows app. Every delivery is a request to its channel; what a notification's share is its Template."""

    provider = Provider.WNS
    environment = Environment.UNSPECIFIED

    def __init__(self, account: WnsAccount) -> None:
        """Loads the client secret. Raises AccountError."""
        self._endpoint = Origin.of_endpoint(account.endpoint)
        check_ca_file(account.ca_file)
        self.provider_app_id = account.client_id
        self.credential: Credential | None = _access_token(account, self._endpoint)
        self._ca_file = account.ca_file
        self._payloads = KeptPayloads()

    def endpoint(self, lane: Lane) -> Endpoint | None:
        origin = channel_origin(lane.origin)
        if origin is None or not self._is_allowed(origin):
            return None
        at = self._endpoint or origin
        return Endpoint(at.host, at.port, self._ca_file, http2=False)

    def origin(self, token: str) -> str:
        origin = channel_origin(token)
        return f"https://{origin.authority}" if origin else ""

    def token_problem(self, *tokens: str) -> Refused | None:
        problems = (channel_problem(token, self._endpoint) for token in tokens)
        return next((problem for problem in problems if problem), None)

    def _is_allowed(self, origin: Origin) -> bool:
        return _is_allowed(origin, self._endpoint)

    def address_problem(self, token: str, address: Address) -> Refused | None:
        return None if address == NO_ADDRESS else _NO_ADDRESS

    def token_kind(self, notification: Notification) -> TokenKind:
        return TokenKind.STANDARD

    def check_message(self, notification: Notification, address: Address = NO_ADDRESS) -> None:
        self._payloads.keep(notification, wns_message.built(notification).body)

    def preview(self, notification: Notification, address: Address, now_us: int) -> Preview:
        kind, body, cut = wns_message.built(notification)
        headers = wns_message.headers(notification, kind, now_us)
        return Preview(
            [(name.decode(), value.decode()) for name, value in headers],
            body.decode("utf-8", "replace"),
            len(body),
            wns_message.PAYLOAD_BYTES_MAX,
            ("message.body",) if cut else (),
            wns_message.dropped(notification, kind),
        )

    def prepare(self, batch: Batch, authorization: bytes | None, now_us: int) -> Requests:
        authority = batch.lane.origin.removeprefix("https://").encode()
        credential: Headers = () if authorization is None else ((b"authorization", authorization),)
        templates: list[Template] = []
        rows: list[Row] = []
        known: dict[str, int] = {}
        for position, delivery in enumerate(batch.deliveries):
            notification = delivery.notification
            index = known.get(notification.notification_id)
            if index is None:
                index = known[notification.notification_id] = len(templates)
                kind = wns_message.kind_of(notification.content)
                headers = (*credential, *wns_message.headers(notification, kind, now_us))
                body = self._payloads.get(notification) or wns_message.built(notification).body
                templates.append(Template(b"POST", authority, headers, body))
            rows.append(Row(index, _path(delivery.token), (), None, (position,)))
        return Requests(templates, rows)

    def classify(self, response: Response, covered: Sequence[Claimed], now_us: int) -> Sequence[Classified]:
        message_id = _header(response, b"x-wns-msg-id")
        status = _header(response, b"x-wns-status") or _header(response, b"x-wns-notificationstatus")
        if response.status == 200 and status.lower() not in _TAKEN_BACK:
            return [(_ACCEPTED, message_id)] * len(covered)
        return [(_refusal(response, status, now_us), message_id)] * len(covered)


def _access_token(account: WnsAccount, endpoint: Origin | None) -> ClientToken:
    """Partner Center's credentials name the app by its package SID, Entra's by a client id within a tenant."""
    by_sid = account.client_id.startswith(_PACKAGE_SID)
    if account.tenant_id:
        if by_sid:
            raise AccountError("tenant_id", "is set beside Partner Center's ms-app:// client_id; unset one of them")
        if not _TENANT.fullmatch(account.tenant_id):
            raise AccountError("tenant_id", "is not the id of a Microsoft Entra tenant")
        host, path = "login.microsoftonline.com", f"/{account.tenant_id}/oauth2/v2.0/token"
        scope = "https://wns.windows.com/.default"
    else:
        if not by_sid:
            raise AccountError(
                "client_id", "is not a package SID (ms-app://S-1-15-2-…); for an app of Microsoft Entra set tenant_id"
            )
        host, path, scope = "login.live.com", "/accesstoken.srf", "notify.windows.com"
    form = {
        "grant_type": "client_credentials",
        "client_id": account.client_id,
        "client_secret": read_secret("client_secret_file", account.client_secret_file),
        "scope": scope,
    }
    url = f"https://{endpoint.authority if endpoint else host}{path}"
    return ClientToken(url, form, account.ca_file, ACCESS_TOKEN_S)


def channel_problem(token: str, endpoint: Origin | None = None) -> Refused | None:
    """Why a token is no channel of WNS, nor one at `endpoint`."""
    uri = _URI.fullmatch(token)
    if uri is None or len(token) > TOKEN_CHARS_MAX or uri[3] in ("", "/"):
        return _NO_CHANNEL
    origin = channel_origin(token)
    if origin is not None and _MPNS_HOST.fullmatch(origin.host):
        return _RETIRED
    if uri[1].lower() != "https":
        return _PLAIN
    return None if origin is not None and _is_allowed(origin, endpoint) else _FOREIGN


def _is_allowed(origin: Origin, endpoint: Origin | None) -> bool:
    return origin == endpoint or (origin.port == 443 and _WNS_HOST.fullmatch(origin.host) is not None)


def channel_origin(uri: str) -> Origin | None:
    """Where a URI leads, whatever its scheme; None when its authority is not just a host, or a host and a port."""
    parts = _URI.fullmatch(uri)
    authority = _AUTHORITY.fullmatch(parts[2]) if parts else None
    if authority is None:
        return None
    return Origin((authority[1] or authority[3]).lower(), int(authority[2] or authority[4] or 443))


def _path(token: str) -> bytes:
    """The channel's path and query, byte for byte; an empty path is / on the wire (RFC 9112 §3.2.1)."""
    uri = _URI.fullmatch(token)
    path = uri[3].encode() if uri else b""
    return path if path.startswith(b"/") else b"/" + path


# --- answers -----------------------------------------------------------------------------------------------------

_ACCEPTED = Outcome(OutcomeKind.ACCEPTED, 200)
# What X-WNS-Status, on older pages X-WNS-NotificationStatus, can make of a 200.
_TAKEN_BACK: Mapping[str, Outcome] = {
    "dropped": Outcome(OutcomeKind.PAYLOAD_REFUSED, cause=Cause.PROVIDER_DROPPED),
    "channelthrottled": Outcome(OutcomeKind.THROTTLED, retry_after_s=CHANNEL_RETRY_S, scope=Scope.TOKEN),
}
_STATUSES: Mapping[int, Outcome] = {
    401: Outcome(OutcomeKind.CREDENTIAL_REFUSED, renew=True),
    # The channel belongs to another app. One such channel shall not stop the others, but when most of them do, it is
    # our settings that are another app's, and no device may die of that.
    403: Outcome(OutcomeKind.CREDENTIAL_REFUSED, scope=Scope.TOKEN, misdirected=True),
    404: Outcome(OutcomeKind.TOKEN_INVALID),
    406: Outcome(OutcomeKind.THROTTLED),
    # Expired; but so begins what a blocked sender is told too, and in which words, Microsoft leaves open.
    410: Outcome(OutcomeKind.TOKEN_INVALID, ambiguous=True),
    412: Outcome(OutcomeKind.UNAVAILABLE, retry_after_s=UNREACHABLE_RETRY_S),
}
# 410 too, but it is us whom WNS refuses, for abuse. Where the words say so it stops the lane at once; where they do
# not, the breaker does that counts refusals in a row.
_DOMAIN_BLOCKED = Outcome(OutcomeKind.CREDENTIAL_REFUSED, reason="Domain Blocked", misdirected=True)
BLOCKED = re.compile(r"(?i)\bblocked\b|\babus")  # Microsoft's pages give the words, but not that there are no others


def _refusal(response: Response, status: str, now_us: int) -> Outcome:
    said = _header(response, b"x-wns-error-description") or text(response.body)
    if 200 <= response.status < 300 and status.lower() in _TAKEN_BACK:
        known = _TAKEN_BACK[status.lower()]
    elif response.status == 410 and BLOCKED.search(said):
        known = _DOMAIN_BLOCKED
    else:
        known = _STATUSES.get(response.status) or Outcome(by_status(response.status))
    after_s = retry_after_s(response, now_us)
    return known._replace(
        provider_status=response.status,
        reason=known.reason or word(status),
        detail=clip("; ".join(part for part in (said, *_traces(response)) if part)),
        retry_after_s=known.retry_after_s if after_s is None else after_s,
        cause=known.cause or cause_of(response.status),
    )


def _traces(response: Response) -> list[str]:
    """What Microsoft asks for when a problem is reported, and whether the device was there."""
    names = ("X-WNS-DeviceConnectionStatus", "X-WNS-Debug-Trace", "MS-CV")
    told = {name: _header(response, name.lower().encode()) for name in names}
    return [f"{name}: {value}" for name, value in told.items() if value]


def _header(response: Response, name: bytes) -> str:
    return word(response.header(name).decode("latin-1"), 256)
