"""Providers: one file each, pure. Bytes and values in, bytes and values out: no clock, no socket, no retry, no log.

A provider object stands for one account. It says whether a token could be real, whether a message fits, writes the
requests of a batch, and reads each answer into exactly one Outcome. Its test is a table of recorded answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

from pushrpc.exchange import Endpoint, Request, Requests, Response
from pushrpc.model import Account, ApnsAccount, Batch, Claimed, FcmAccount, Notification, Outcome
from pushrpc.words import Environment, Provider, RejectReason, TokenKind


class AccountError(Exception):
    """An account's settings or files cannot be used. The message names the setting and what to do about it."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class MessageRefused(Exception):
    """This provider can never carry this message: the reason, and for people the detail with sizes and what to do."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


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
        """The exchange that renews it; None when none is needed (APNs makes its own token)."""
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

    def endpoint(self, environment: Environment) -> Endpoint:
        """Where the sessions of this account's lane connect."""
        ...

    def token_problem(self, *tokens: str) -> str:
        """Empty when the provider could have issued every one of the tokens, otherwise what is wrong."""
        ...

    def token_kind(self, notification: Notification) -> TokenKind:
        """The kind of token that the message needs."""
        ...

    def check_message(self, notification: Notification) -> None:
        """Builds the payload once, before anything is accepted. Raises MessageRefused."""
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


def open_account(account: Account, now_us: int = 0) -> ProviderAccount:
    """Loads the account's key files. Raises AccountError.

    `now_us` tells a certificate that is out of date; 0 leaves that to the TLS handshake.
    """
    from pushrpc.providers.apns import Apns
    from pushrpc.providers.fcm import Fcm

    match account:
        case ApnsAccount():
            return Apns(account, now_us)
        case FcmAccount():
            return Fcm(account)


def file_errors(account: Account, now_us: int) -> Iterator[AccountError]:
    """What is wrong with each file of an account that cannot be opened for another reason."""
    from pushrpc.providers import credentials

    checks: list[Callable[[], object]] = [partial(credentials.check_ca_file, account.ca_file)]
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
    for check in checks:
        try:
            check()
        except AccountError as error:
            yield error
