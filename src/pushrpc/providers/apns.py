"""Apple Push Notification service over HTTP/2: one bundle id's account, its requests, and Apple's answers.

Sources: Apple, "Sending notification requests to APNs", "Handling notification responses from APNs", "Establishing a
token-based connection to APNs", "Establishing a certificate-based connection to APNs", "Sending broadcast push
notification requests to APNs", "Sending channel management requests to APNs".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, repeat
from operator import attrgetter

from pushrpc.accounts import ApnsAccount
from pushrpc.content import ApnsOptions, Content
from pushrpc.exchange import Endpoint, Headers, Requests, Response, Row, Template, new_row
from pushrpc.model import NO_ADDRESS, Address, Batch, Claimed, Lane, Notification, Outcome, Refused, own_id_prefix
from pushrpc.providers import AccountError, Call, Classified, Credential, MessageRefused, Preview
from pushrpc.providers.answer import clip, json_object, text, word
from pushrpc.providers.apns_answer import blamed, refusal
from pushrpc.providers.apns_message import (
    PUSH_KINDS,
    TOKEN_KEY_ONLY,
    collapse_id,
    dropped,
    expiration,
    limit_bytes,
    live_event,
    payload,
    priority,
    push_type,
    token_kind,
)
from pushrpc.providers.credentials import check_ca_file, check_certificate, open_apns_token
from pushrpc.providers.origin import Origin
from pushrpc.providers.payload import KeptPayloads
from pushrpc.words import (
    ApnsPushType,
    AudienceKind,
    Environment,
    OutcomeKind,
    Provider,
    RejectReason,
    TokenKind,
)

HOSTS = {Environment.PRODUCTION: "api.push.apple.com", Environment.SANDBOX: "api.sandbox.push.apple.com"}
MANAGING = {
    Environment.PRODUCTION: Origin("api-manage-broadcast.push.apple.com", 2196),
    Environment.SANDBOX: Origin("api-manage-broadcast.sandbox.push.apple.com", 2195),
}
CHANNELS_MAX = 10_000  # of an app in an environment
# Apple: never assume a length. Today's tokens have 64 digits, those of Live Activities up to 200.
_TOKEN_CHARS = frozenset(range(2, 201, 2))
_DIGITS = b"0123456789abcdefABCDEF"
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,255}")
CHANNEL_ID_CHARS_MAX = 256  # Apple: do not assume a size; today's have 24
_CHANNEL = re.compile(r"(?=.{1,256}$)[A-Za-z0-9+/_-]+={0,2}")
_DEVICE = b"/3/device/"

_ACCEPTED: Classified = (Outcome(OutcomeKind.ACCEPTED, 200, own_id=True), "")
_NO_TOKEN = Refused(
    RejectReason.TOKEN_MALFORMED, "an APNs token is an even number of hexadecimal digits, 2 to 200 of them"
)
_NO_ADDRESS = Refused(RejectReason.TOKEN_MALFORMED, "APNs takes a token alone, without keys or a hub_platform")
_NO_AUDIENCE = Refused(RejectReason.FIELD_MISSING, "of provider_audiences Apple knows channel_id only")
_NO_CHANNEL = Refused(RejectReason.TOKEN_MALFORMED, "an APNs channel id is base64, as CreateBroadcastChannel gave it")
_TO_CHANNEL = Address(audience=AudienceKind.CHANNEL)
_NO_OPTIONS: ApnsOptions = Content().apns  # the very object of every content that sets none
_notification = attrgetter("notification")
_address = attrgetter("address")


def reserved_data_key(key: str) -> bool:
    """Whether Apple takes a top-level key for itself, so that it cannot be an app's data."""
    return key == "aps"


def token_problem(*tokens: str) -> Refused | None:
    """Why one of them is no device token of Apple's."""
    if not _TOKEN_CHARS.issuperset(map(len, tokens)):
        return _NO_TOKEN
    # Taking all digits out costs less than half of what a regular expression does.
    if not "".join(tokens).encode("ascii", "replace").translate(None, _DIGITS):
        return None
    return _NO_TOKEN


class Apns:
    """One bundle id. Every delivery is a request; what a notification's requests share is its Template."""

    provider = Provider.APNS

    def __init__(self, account: ApnsAccount, now_us: int = 0) -> None:
        """Loads the token key or checks the certificate; `now_us` 0 skips its dates. Raises AccountError."""
        if not _TOPIC.fullmatch(account.topic):
            raise AccountError("topic", "is not a bundle id")
        self.provider_app_id = account.topic
        self.environment = account.environment or Environment.PRODUCTION
        self.credential: Credential | None = None
        self._certificate: tuple[str, str] | None = None
        by_token = bool(account.key_file or account.key_id or account.team_id)
        by_certificate = bool(account.cert_file or account.cert_key_file)
        if by_token == by_certificate:
            have = "both a token key and a certificate" if by_token else "neither a token key nor a certificate"
            raise AccountError("key_file", f"there is {have}; set key_file, key_id and team_id, or cert_file")
        if by_token:
            self.credential = open_apns_token(account.key_file, account.key_id, account.team_id)
        else:
            self._certificate = (account.cert_file, account.cert_key_file or account.cert_file)
            check_certificate(*self._certificate, now_us)
        check_ca_file(account.ca_file)
        self._ca_file = account.ca_file
        self._payloads = KeptPayloads()
        self._origin = Origin.of_endpoint(account.endpoint)
        self._broadcasts = f"/4/broadcasts/apps/{account.topic}".encode()

    def endpoint(self, lane: Lane) -> Endpoint | None:
        return self._endpoint(self._origin_in(lane.environment))

    def _endpoint(self, origin: Origin) -> Endpoint:
        return Endpoint(origin.host, origin.port, self._ca_file, self._certificate)

    def _origin_in(self, environment: Environment) -> Origin:
        return self._origin or Origin(HOSTS[environment or self.environment])

    def origin(self, token: str) -> str:
        return ""

    def token_problem(self, *tokens: str) -> Refused | None:
        return token_problem(*tokens)

    def address_problem(self, token: str, address: Address) -> Refused | None:
        if address == NO_ADDRESS:
            return None
        if address == _TO_CHANNEL:
            return None if _CHANNEL.fullmatch(token) else _NO_CHANNEL
        return _NO_AUDIENCE if address.audience else _NO_ADDRESS

    def token_kind(self, notification: Notification) -> TokenKind:
        return token_kind(notification.content)

    def check_message(self, notification: Notification, address: Address = NO_ADDRESS) -> None:
        body, _ = self._checked(notification, address)
        if address.audience is None:  # a broadcast may be longer
            self._payloads.keep(notification, body)

    def _checked(self, notification: Notification, address: Address) -> tuple[bytes, bool]:
        content, broadcast = notification.content, bool(address.audience)
        kind = push_type(content)
        if broadcast and (kind is not ApnsPushType.LIVE_ACTIVITY or live_event(content) == "start"):
            detail = "a broadcast channel takes updates and ends of Live Activities only; set apns.live_activity"
            raise MessageRefused(RejectReason.FIELD_MISSING, detail)
        body, was_cut = payload(notification, broadcast)
        sizes = len(body), limit_bytes(content, broadcast)
        if content.apns.topic and not _TOPIC.fullmatch(content.apns.topic):
            detail = "apns.topic is not a bundle id with a suffix"
            raise MessageRefused(RejectReason.PROVIDER_APP_UNKNOWN, detail, *sizes)
        if self._certificate and kind in TOKEN_KEY_ONLY:
            detail = f"{PUSH_KINDS[kind].word} pushes need a token key; this account has a certificate"
            raise MessageRefused(RejectReason.PROVIDER_NOT_CONFIGURED, detail, *sizes)
        return body, was_cut

    def preview(self, notification: Notification, address: Address, now_us: int) -> Preview:
        body, was_cut = self._checked(notification, address)
        broadcast = bool(address.audience)
        headers = _headers(self._header_values(notification, now_us, broadcast), None)
        return Preview(
            [(name.decode(), value.decode()) for name, value in headers],
            body.decode(),
            len(body),
            limit_bytes(notification.content, broadcast),
            ("message.body",) if was_cut else (),
            dropped(notification, broadcast),
        )

    def prepare(self, batch: Batch, authorization: bytes | None, now_us: int) -> Requests:
        authority = self._origin_in(batch.lane.environment).authority.encode()
        templates: list[Template] = []
        rows: list[Row] = []
        known: dict[str, tuple[int, bytes]] = {}
        alike: dict[tuple[str, ...], Headers] = {}

        def template(notification: Notification, broadcast: bool) -> int:
            values = self._header_values(notification, now_us, broadcast)
            headers = alike.get(values)
            if headers is None:
                headers = alike[values] = _headers(values, authorization)
            kept = None if broadcast else self._payloads.get(notification)
            templates.append(Template(b"POST", authority, headers, kept or payload(notification, broadcast)[0]))
            return len(templates) - 1

        for notification, of_one in groupby(batch.deliveries, _notification):
            deliveries = list(of_one)
            if notification.content.apns is not _NO_OPTIONS and any(map(_address, deliveries)):
                rows += self._rows_with_channels(deliveries, len(rows), template)
                continue
            name = notification.notification_id
            if name not in known:
                known[name] = template(notification, False), own_id_prefix(name).encode()
            index, id_prefix = known[name]
            paths = [_DEVICE + delivery.token.encode() for delivery in deliveries]
            own = [((b"apns-id", id_prefix + b"%08x" % delivery.ordinal),) for delivery in deliveries]
            covers = zip(range(len(rows), len(rows) + len(deliveries)))
            rows += map(new_row, zip(repeat(index), paths, own, repeat(None), covers))
        return Requests(templates, rows, status_only=True)

    def _rows_with_channels(
        self, deliveries: Sequence[Claimed], first: int, template: Callable[[Notification, bool], int]
    ) -> Iterator[Row]:
        """Rows of a Live Activity that broadcasts too: those have a path, headers and a limit of their own."""
        made: dict[bool, int] = {}
        for place, delivery in enumerate(deliveries, first):
            broadcast = bool(delivery.address)
            if broadcast not in made:
                made[broadcast] = template(delivery.notification, broadcast)
            token, own_id = delivery.token.encode(), delivery.own_id.encode()
            if broadcast:
                own = ((b"apns-channel-id", token), (b"apns-request-id", own_id))
                yield Row(made[broadcast], self._broadcasts, own, None, (place,))
            else:
                yield Row(made[broadcast], _DEVICE + token, ((b"apns-id", own_id),), None, (place,))

    def _header_values(self, notification: Notification, now_us: int, broadcast: bool) -> tuple[str, ...]:
        """Topic, push type, priority, expiration and collapse id: few notifications of a batch differ in them.

        A broadcast has neither topic nor collapse id. Apple refuses one that may wait (expiration not 0) where the
        channel stores nothing.
        """
        content = notification.content
        kind = push_type(content)
        of_kind = PUSH_KINDS[kind]
        expires = expiration(notification, now_us) if of_kind.stored else "0"
        if broadcast:
            return "", of_kind.word, priority(notification, kind), expires, ""
        return (
            content.apns.topic or self.provider_app_id + of_kind.topic_suffix,
            of_kind.word,
            priority(notification, kind),
            expires,
            collapse_id(notification.collapse_key) if notification.collapse_key else "",
        )

    def classify(self, response: Response, covered: Sequence[Claimed], now_us: int) -> Sequence[Classified]:
        if response.status == 200:
            # The id is the one that was sent: reading the echo would only cost time.
            return [_ACCEPTED] * len(covered)
        outcome = refusal(response, now_us)
        return [(blamed(outcome, delivery.notification), "") for delivery in covered]

    # Broadcast channels. Management has hosts of its own; an `endpoint` stands in for those too.

    def create_channel_call(self, environment: Environment, stores_latest: bool, authorization: bytes | None) -> Call:
        wanted = {"message-storage-policy": int(stores_latest), "push-type": "LiveActivity"}
        body = json.dumps(wanted).encode()
        return self._channel_call(environment, b"POST", "channels", authorization, body=body)

    def list_channels_call(self, environment: Environment, authorization: bytes | None) -> Call:
        return self._channel_call(environment, b"GET", "all-channels", authorization)

    def delete_channel_call(self, environment: Environment, channel_id: str, authorization: bytes | None) -> Call:
        named = (b"apns-channel-id", channel_id.encode())
        return self._channel_call(environment, b"DELETE", "channels", authorization, named)

    def _channel_call(
        self,
        environment: Environment,
        method: bytes,
        what: str,
        authorization: bytes | None,
        *own: tuple[bytes, bytes],
        body: bytes | None = None,
    ) -> Call:
        origin = self._origin or MANAGING[environment or self.environment]
        headers = [(b"authorization", authorization)] if authorization is not None else []
        headers += own
        if body is not None:
            headers.append((b"content-type", b"application/json"))
        template = Template(method, origin.authority.encode(), headers, body)
        row = Row(0, f"/1/apps/{self.provider_app_id}/{what}".encode(), (), None, ())
        return Call(self._endpoint(origin), Requests((template,), (row,)))

    def channel_ids(self, response: Response, now_us: int) -> tuple[Outcome, Sequence[str]]:
        """201 of a creation names the channel in a header, 200 of a list all of them, 204 of a deletion none."""
        if not 200 <= response.status < 300:
            return refusal(response, now_us), ()
        created = response.header(b"apns-channel-id").decode("latin-1")
        listed = json_object(response.body).get("channels")
        named = [created] if created else listed if isinstance(listed, list) else []
        if not named and response.status != 204 and listed != []:
            detail = clip("the answer names no channel: " + text(response.body))
            return Outcome(OutcomeKind.UNAVAILABLE, response.status, detail=detail), ()
        ids = (word(each, CHANNEL_ID_CHARS_MAX) for each in named[:CHANNELS_MAX])
        return Outcome(OutcomeKind.ACCEPTED, response.status), [each for each in ids if each]


def _headers(values: tuple[str, ...], authorization: bytes | None) -> Headers:
    topic, word, priority_word, expires, collapse = (value.encode() for value in values)
    # What a session hardly ever changes comes first, so that its header table keeps it.
    headers = [(b"apns-topic", topic)] if topic else []
    if authorization is not None:
        headers.append((b"authorization", authorization))
    headers += (
        (b"content-type", b"application/json"),
        (b"apns-push-type", word),
        (b"apns-priority", priority_word),
        (b"apns-expiration", expires),
    )
    if collapse:
        headers.append((b"apns-collapse-id", collapse))
    return tuple(headers)
