"""One fuzz input, read as providers' answers: every answer has one outcome, which the ledger and the API can carry."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pushrpc.accounts import ApnsAccount, FcmAccount, HmsAccount, HubAccount, WebPushAccount, WnsAccount
from pushrpc.exchange import Response
from pushrpc.model import NOT_SENT, Outcome
from pushrpc.providers import (
    GivesFeedback,
    KeepsChannels,
    KeepsDevices,
    KeepsTopics,
    ProviderAccount,
    open_account,
)
from pushrpc.providers.answer import DETAIL_BYTES_MAX, REASON_CHARS_MAX, RETRY_AFTER_S_MAX
from pushrpc.providers.credentials import ExchangedToken
from pushrpc.words import OutcomeKind, Provider
from tests.providers.conftest import pem
from tests.providers.samples import NOW_US, claimed, notification

STATUSES: Final = (200, 400, 401, 403, 404, 405, 408, 410, 413, 429, 500, 503, 301, 204, 0, 999)
HEADERS: Final = (b"retry-after", b"location", b"x-wns-status", b"x-wns-msg-id", b"x-wns-error-description")
TOKEN_BYTES_MAX: Final = 4_096
INT64_MAX: Final = 2**63 - 1


class Parsers(NamedTuple):
    accounts: Sequence[ProviderAccount]
    credentials: Sequence[ExchangedToken]


@functools.cache
def parsers() -> Parsers:
    """Every provider, with keys of its own: nothing is signed here, but an account without keys cannot be opened."""
    with tempfile.TemporaryDirectory() as directory:

        def file(name: str, text: bytes | str) -> str:
            path = Path(directory, name)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            return str(path)

        service = {
            "type": "service_account",
            "project_id": "shop-1234",
            "private_key": pem(rsa.generate_private_key(65537, 2048)).decode(),
            "client_email": "push@shop-1234.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
        }
        key, secret = file("key.pem", pem(ec.generate_private_key(ec.SECP256R1()))), file("secret", "s3cret")
        connection = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=Full;SharedAccessKey=a2V5"
        configured = (
            ApnsAccount("shop", "com.example.shop", key_file=key, key_id="ABC123DEFG", team_id="TEAM567890"),
            FcmAccount("shop", file("google.json", json.dumps(service))),
            WnsAccount("shop", "ms-app://s-1-15-2-1", secret),
            WebPushAccount("shop", key, "mailto:push@shop.example"),
            HmsAccount("shop", "101234567", secret),
            HubAccount("shop", file("hub", connection), "hub"),
        )
        accounts = [open_account(account, NOW_US) for account in configured]
    credentials: list[object] = [account.credential for account in accounts]
    exchanged = [each for each in credentials if isinstance(each, ExchangedToken)]
    assert len(exchanged) == 3
    return Parsers(accounts, exchanged)


def play(data: bytes) -> None:
    """The first byte chooses the status; a line is Retry-After, and the rest the body."""
    status = STATUSES[data[0] % len(STATUSES)] if data else 0
    retry_after, _, body = data[1:].partition(b"\n")
    # What one provider reads of headers beside it: any of them may hold anything.
    headers = [(name, retry_after) for name in HEADERS if retry_after]
    response = Response(status, headers, body)
    accounts, credentials = parsers()
    covered = [claimed(notification(), token=f"https://push.example/{i}") for i in range(2)]
    for account in accounts:
        classified = account.classify(response, covered, NOW_US)
        assert len(classified) == len(covered)
        for outcome, message_id in classified:
            if outcome is NOT_SENT and account.provider is Provider.NOTIFICATION_HUBS and status == 403:
                continue  # a hub that takes no batches has looked at none of it
            assert outcome.provider_status == status, account.provider.name
            check(outcome, message_id)
        if isinstance(account, GivesFeedback):
            told = account.feedback(response, NOW_US)
            check(told.outcome)
            assert told.due_s >= 0
        if isinstance(account, KeepsTopics):
            for result in account.topic_results(response, ["a", "b"], NOW_US):
                check(result)
        if isinstance(account, KeepsChannels):
            outcome, channel_ids = account.channel_ids(response, NOW_US)
            check(outcome)
            assert all(isinstance(each, str) for each in channel_ids)
        if isinstance(account, KeepsDevices):
            check(account.device_result(response, NOW_US))
    for credential in credentials:
        if refused := credential.renewed(response, NOW_US):
            check(refused)
            continue
        bearer = credential.current(NOW_US)
        assert bearer is not None and status == 200 and credential.renew_at_us() > NOW_US
        assert bearer.isascii() and not set(bearer) & {0, 10, 13}


def check(outcome: Outcome, message_id: str = "") -> None:
    assert outcome.kind is not OutcomeKind.UNSPECIFIED, "an answer that says nothing was sent"
    assert len(outcome.reason) <= REASON_CHARS_MAX and len(outcome.detail.encode()) <= DETAIL_BYTES_MAX
    for text in (outcome.reason, outcome.detail, message_id, outcome.replaced_by):
        assert len(text.encode()) <= TOKEN_BYTES_MAX and "\0" not in text
    assert outcome.retry_after_s is None or 0 <= outcome.retry_after_s <= RETRY_AFTER_S_MAX
    assert 0 <= outcome.dead_since_us <= INT64_MAX
