"""Providers: one file each, pure. Bytes and values in, bytes and values out: no clock, no socket, no retry, no log.

A provider object stands for one account. It says whether a token could be real, whether a message fits, writes the
requests of a batch, and reads each answer into exactly one Outcome. Its test is a table of recorded answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

from pushrpc.accounts import Account, ApnsAccount, FcmAccount, HmsAccount, HubAccount, WebPushAccount, WnsAccount
from pushrpc.exchange import Endpoint, Request, Requests, Response
from pushrpc.model import NO_ADDRESS, Address, Batch, Claimed, Device, Lane, Notification, Outcome, Refused
from pushrpc.words import Environment, Provider, RejectReason, TokenKind


class AccountError(Exception):
    """An account's settings or files cannot be used. The message names the setting and what to do about it."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class MessageRefused(Exception):
    """This provider can never carry this message: the reason, and for people the detail with sizes and what to do.

    Where the payload could be built for all that, `size_bytes` is what the provider would have counted against
    `limit_bytes`; both are 0 elsewhere.
    """

    def __init__(self, reason: RejectReason, detail: str, size_bytes: int = 0, limit_bytes: int = 0) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.size_bytes, self.limit_bytes = size_bytes, limit_bytes


class Preview(NamedTuple):
    """What a push would look like. `headers` hold no credential; `payload` is the body as a person can read it.

    `size_bytes` is what the provider counts against `limit_bytes`. `truncated` and `dropped` are paths of the contract,
    such as "message.body": what was cut because the caller asked for it, and everything that is set and that this
    provider cannot carry as it is. "options.ttl" stands for an expiry in either form, and for the default one.
    """

    headers: Sequence[tuple[str, str]]
    payload: str
    size_bytes: int
    limit_bytes: int
    truncated: Sequence[str] = ()
    dropped: Sequence[str] = ()


# The outcome, and the provider's id of the message when it made one.
Classified = tuple[Outcome, str]


class Credential(Protocol):
    """A renewable secret of an account, sans I/O. One object serves every session of every lane of the account."""

    def current(self, now_us: int) -> bytes | None:
        """The value of the `authorization` header, or None when it must be renewed first."""
        ...

    def renew_at_us(self) -> int:
        """When to renew ahead of expiry; 0 when `current` needs no exchange at all."""
        ...

    def renewal(self, now_us: int) -> Request | None:
        """The exchange that renews it; None when none is needed, and what renewing can change is changed then."""
        ...

    def renewed(self, response: Response, now_us: int) -> Outcome | None:
        """Takes the answer of the exchange. None on success, otherwise what went wrong."""
        ...


class ProviderAccount(Protocol):
    """One account at one provider."""

    provider: Provider
    provider_app_id: str
    environment: Environment  # the account's own; UNSPECIFIED for all but APNs
    credential: Credential | None  # None: the TLS certificate is the credential

    def endpoint(self, lane: Lane) -> Endpoint | None:
        """Where the sessions of this account's lane connect. None when its origin is not one (any more) to send to."""
        ...

    def origin(self, token: str) -> str:
        """The https origin that a token leads to, where tokens are addresses; empty for all other providers.

        Only for tokens that `token_problem` has passed.
        """
        ...

    def token_problem(self, *tokens: str) -> Refused | None:
        """None when the provider could have issued every one of the tokens, otherwise what is wrong."""
        ...

    def address_problem(self, token: str, address: Address) -> Refused | None:
        """What is wrong with what comes beside a token, or is missing. Of an audience, `token` is its name."""
        ...

    def token_kind(self, notification: Notification) -> TokenKind:
        """The kind of token that the message needs."""
        ...

    def check_message(self, notification: Notification, address: Address = NO_ADDRESS) -> None:
        """Builds the payload once, before anything is accepted. Raises MessageRefused.

        Of the address only `platform` and `audience` count: providers have other limits and forms for some of them.
        """
        ...

    def preview(self, notification: Notification, address: Address, now_us: int) -> Preview:
        """What would be sent. Raises MessageRefused."""
        ...

    def prepare(self, batch: Batch, authorization: bytes | None, now_us: int) -> Requests:
        """The requests of one batch. What a notification's deliveries share is built once, in a Template.

        Never raises for a message that `check_message` has passed.
        """
        ...

    def classify(self, response: Response, covered: Sequence[Claimed], now_us: int) -> Sequence[Classified]:
        """Reads an answer into one Outcome for each covered delivery, in their order. Total: any bytes get one.

        Every plain acceptance is the same object. `now_us` is only for Retry-After given as a date.
        """
        ...


@runtime_checkable
class SharesRequests(Protocol):
    """A provider whose requests may carry many tokens, all of one notification. Those of all others carry one."""

    tokens_per_request: int  # the most

    def requests_of(self, deliveries: Sequence[Claimed], now_us: int) -> int:
        """How many requests `prepare` makes of them, or somewhat more. Of fewer deliveries it never makes more."""
        ...


class Call(NamedTuple):
    """One request beside a lane's batches: `requests` has a single row, which covers nothing."""

    endpoint: Endpoint
    requests: Requests


@runtime_checkable
class KeepsTopics(Protocol):
    """A provider whose topics are joined and left by tokens, up to `topic_tokens_max` in a call."""

    topic_tokens_max: int

    def topic_call(self, topic: str, tokens: Sequence[str], join: bool, authorization: bytes | None) -> Call: ...

    def topic_results(self, response: Response, tokens: Sequence[str], now_us: int) -> Sequence[Outcome]:
        """One Outcome for each token, in their order. Total."""
        ...


@runtime_checkable
class KeepsChannels(Protocol):
    """A provider with broadcast channels: Apple."""

    def create_channel_call(
        self, environment: Environment, stores_latest: bool, authorization: bytes | None
    ) -> Call: ...

    def list_channels_call(self, environment: Environment, authorization: bytes | None) -> Call: ...

    def delete_channel_call(self, environment: Environment, channel_id: str, authorization: bytes | None) -> Call: ...

    def channel_ids(self, response: Response, now_us: int) -> tuple[Outcome, Sequence[str]]:
        """What became of any of these calls, and the channels its answer names."""
        ...


@runtime_checkable
class ChecksMessages(Protocol):
    """A provider that can validate a message without delivering it (validate_only). `classify` reads the answer."""

    def check_call(
        self, notification: Notification, token: str, address: Address, authorization: bytes | None, now_us: int
    ) -> Call: ...


class Feedback(NamedTuple):
    """What a provider tells of a push after it accepted it. `due_s`: ask again after so long; 0 is the last word."""

    outcome: Outcome
    due_s: float = 0.0


@runtime_checkable
class GivesFeedback(Protocol):
    """A provider whose acceptance is not the last word: a hub, which answers before it has called anybody."""

    feedback_after_s: float  # how long after the acceptance the first question makes sense

    def feedback_call(self, message_id: str, authorization: bytes | None) -> Call: ...

    def feedback(self, response: Response, now_us: int) -> Feedback:
        """Total: what cannot be read is asked again."""
        ...


@runtime_checkable
class KeepsDevices(Protocol):
    """A provider with a registry of its own that is kept in step with ours: a hub's installations.

    Ours takes more than such a registry may: `tags_max` and `tag_problem` say what it keeps of a device. It knows no
    apps, so two of them may never share one; `registry` tells it from all others.
    """

    registry: str
    tags_max: int

    def tag_problem(self, tag: str) -> str:
        """Why it cannot keep a tag, for people; empty when it can."""
        ...

    def device_call(self, device: Device, authorization: bytes | None) -> Call:
        """Writes the device as it stands, or removes it when its state says so. The same call again changes nothing."""
        ...

    def device_result(self, response: Response, now_us: int) -> Outcome: ...


def open_account(account: Account, now_us: int = 0) -> ProviderAccount:
    """Loads the account's key files. Raises AccountError.

    `now_us` tells a certificate that is out of date; 0 leaves that to the TLS handshake.
    """
    from pushrpc.providers.credentials import check_ca_file

    check_ca_file(account.ca_file, now_us)
    match account:
        case ApnsAccount():
            from pushrpc.providers.apns import Apns

            return Apns(account, now_us)
        case FcmAccount():
            from pushrpc.providers.fcm import Fcm

            return Fcm(account)
        case WnsAccount():
            from pushrpc.providers.wns import Wns

            return Wns(account)
        case WebPushAccount():
            from pushrpc.providers.webpush import WebPush

            return WebPush(account)
        case HmsAccount():
            from pushrpc.providers.hms import Hms

            return Hms(account)
        case HubAccount():
            from pushrpc.providers.notification_hubs import NotificationHub

            return NotificationHub(account)


def file_errors(account: Account, now_us: int) -> Iterator[AccountError]:
    """What is wrong with each file of an account that cannot be opened for another reason."""
    from pushrpc.providers import credentials

    checks: list[Callable[[], object]] = [partial(credentials.check_ca_file, account.ca_file, now_us)]
    match account:
        case ApnsAccount():
            if account.key_file:
                checks.append(partial(credentials.check_apns_key, account.key_file))
            if account.cert_file and account.cert_key_file:
                pair = (account.cert_file, account.cert_key_file)
                checks.append(partial(credentials.check_certificate, *pair, now_us))
        case FcmAccount():
            if account.service_account_file:
                checks.append(partial(credentials.read_service_account, account.service_account_file))
        case WnsAccount() | HmsAccount():
            if account.client_secret_file:
                checks.append(partial(credentials.read_secret, "client_secret_file", account.client_secret_file))
        case WebPushAccount():
            if account.vapid_key_file:
                checks.append(partial(credentials.read_vapid_key, account.vapid_key_file))
        case HubAccount():
            if account.connection_string_file:
                checks.append(
                    partial(credentials.read_secret, "connection_string_file", account.connection_string_file)
                )
    for check in checks:
        try:
            check()
        except AccountError as error:
            yield error
