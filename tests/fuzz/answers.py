"""One fuzz input, read as providers' answers: every answer has one outcome, which the ledger and the API can carry."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pushrpc.accounts import ApnsAccount, FcmAccount
from pushrpc.exchange import Response
from pushrpc.model import Outcome
from pushrpc.providers import open_account
from pushrpc.providers.answer import DETAIL_BYTES_MAX, REASON_CHARS_MAX, RETRY_AFTER_S_MAX
from pushrpc.providers.apns import Apns
from pushrpc.providers.credentials import GoogleToken
from pushrpc.providers.fcm import Fcm
from pushrpc.words import OutcomeKind
from tests.providers.conftest import pem
from tests.providers.samples import NOW_US, claimed, notification

STATUSES: Final = (200, 400, 401, 403, 404, 405, 408, 410, 413, 429, 500, 503, 301, 204, 0, 999)
TOKEN_BYTES_MAX: Final = 4_096
INT64_MAX: Final = 2**63 - 1


class Parsers(NamedTuple):
    apns: Apns
    fcm: Fcm
    google: GoogleToken


@functools.cache
def parsers() -> Parsers:
    """With keys of their own: nothing is signed here, but an account without keys cannot be opened."""
    with tempfile.TemporaryDirectory() as directory:
        apple, google = Path(directory, "apple.p8"), Path(directory, "google.json")
        apple.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
        account = {
            "type": "service_account",
            "project_id": "shop-1234",
            "private_key": pem(rsa.generate_private_key(65537, 2048)).decode(),
            "client_email": "push@shop-1234.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
        }
        google.write_text(json.dumps(account))
        apns = open_account(
            ApnsAccount("shop", "com.example.shop", key_file=str(apple), key_id="ABC123DEFG", team_id="TEAM567890"),
            NOW_US,
        )
        fcm = open_account(FcmAccount("shop", str(google)), NOW_US)
    assert isinstance(apns, Apns) and isinstance(fcm, Fcm)
    return Parsers(apns, fcm, GoogleToken(account, None, ""))


def play(data: bytes) -> None:
    """The first byte chooses the status; a line is Retry-After, and the rest the body."""
    status = STATUSES[data[0] % len(STATUSES)] if data else 0
    retry_after, _, body = data[1:].partition(b"\n")
    response = Response(status, [(b"retry-after", retry_after)] if retry_after else [], body)
    apns, fcm, google = parsers()
    covered = [claimed(notification())]
    for account in (apns, fcm):
        ((outcome, message_id),) = account.classify(response, covered, NOW_US)
        assert outcome.provider_status == status
        check(outcome, message_id)
    if refused := google.renewed(response, NOW_US):
        check(refused)
    else:
        bearer = google.current(NOW_US)
        assert bearer is not None and status == 200 and google.renew_at_us() > NOW_US
        assert bearer.isascii() and not set(bearer) & {0, 10, 13}


def check(outcome: Outcome, message_id: str = "") -> None:
    assert outcome.kind is not OutcomeKind.UNSPECIFIED, "an answer that says nothing was sent"
    assert len(outcome.reason) <= REASON_CHARS_MAX and len(outcome.detail.encode()) <= DETAIL_BYTES_MAX
    for text in (outcome.reason, outcome.detail, message_id, outcome.replaced_by):
        assert len(text.encode()) <= TOKEN_BYTES_MAX and "\0" not in text
    assert outcome.retry_after_s is None or 0 <= outcome.retry_after_s <= RETRY_AFTER_S_MAX
    assert 0 <= outcome.dead_since_us <= INT64_MAX
