"""Tokens: verified by PyJWT, which nothing here signs with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest

from pushrpc.exchange import Request, Response
from pushrpc.model import Outcome, Scope
from pushrpc.providers import AccountError
from pushrpc.providers.credentials import (
    FCM_SCOPE,
    JWT_BEARER,
    GoogleToken,
    check_ca_file,
    check_certificate,
    open_apns_token,
    read_service_account,
)
from pushrpc.providers.origin import Origin
from pushrpc.words import OutcomeKind
from tests.providers.conftest import Keys
from tests.providers.samples import NOW_US

MINUTE_US = 60_000_000
KEY_ID, TEAM_ID = "ABC123DEFG", "TEAM567890"

# --- Apple -------------------------------------------------------------------------------------------------------


def test_apples_token_verifies_and_says_just_what_apple_asks_for(keys: Keys) -> None:
    value = open_apns_token(keys.file("apple.p8"), KEY_ID, TEAM_ID).current(NOW_US + 17 * MINUTE_US)
    scheme, _, token = value.decode().partition(" ")
    assert scheme == "bearer"
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": KEY_ID, "typ": "JWT"}
    claims = jwt.decode(token, keys.apple.public_key(), algorithms=["ES256"], options={"verify_iat": False})
    assert claims == {"iss": TEAM_ID, "iat": NOW_US // 1_000_000}


def test_apples_token_changes_only_with_the_half_hour(keys: Keys) -> None:
    credential = open_apns_token(keys.file("apple.p8"), KEY_ID, TEAM_ID)
    window = {credential.current(NOW_US + offset) for offset in (0, 1, 29 * MINUTE_US, 30 * MINUTE_US - 1)}
    assert len(window) == 1
    assert credential.current(NOW_US + 30 * MINUTE_US) not in window
    assert credential.current(NOW_US + MINUTE_US) in window, "a clock set back made another token"


def test_renewing_cannot_change_apples_token_inside_a_window(keys: Keys) -> None:
    credential = open_apns_token(keys.file("apple.p8"), KEY_ID, TEAM_ID)
    before = credential.current(NOW_US)
    assert credential.renew_at_us() == 0
    assert credential.renewal(NOW_US) is None
    assert credential.renewed(Response(200, (), b""), NOW_US) is None
    assert credential.current(NOW_US) == before


def test_another_process_makes_the_same_token(keys: Keys) -> None:
    code = (
        "import sys; from pushrpc.providers.credentials import open_apns_token as o;"
        "sys.stdout.write(o(*sys.argv[1:4]).current(int(sys.argv[4])).decode())"
    )
    args = [keys.file("apple.p8"), KEY_ID, TEAM_ID, str(NOW_US + 5 * MINUTE_US)]
    ran = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.encode() == open_apns_token(keys.file("apple.p8"), KEY_ID, TEAM_ID).current(NOW_US)


def test_accounts_with_one_key_share_one_token_object(keys: Keys) -> None:
    one = open_apns_token(keys.file("apple.p8"), KEY_ID, TEAM_ID)
    assert open_apns_token(keys.file("apple.p8"), KEY_ID, TEAM_ID) is one
    assert open_apns_token(keys.file("apple.p8"), "ZZZ123DEFG", TEAM_ID) is not one


def test_aioapns_can_use_the_same_token(keys: Keys) -> None:
    credential = open_apns_token(keys.file("apple.p8"), KEY_ID, TEAM_ID)
    current = credential.current(NOW_US)
    assert credential.get_header().encode() == current


@pytest.mark.parametrize(
    ("file", "key_id", "team_id", "setting", "problem"),
    [
        ("missing.p8", KEY_ID, TEAM_ID, "key_file", "cannot be read"),
        ("text.txt", KEY_ID, TEAM_ID, "key_file", "not a private key in PEM form"),
        ("cert.pem", KEY_ID, TEAM_ID, "key_file", "not a private key in PEM form"),
        ("p384.p8", KEY_ID, TEAM_ID, "key_file", "not an EC P-256 key"),
        ("rsa.pem", KEY_ID, TEAM_ID, "key_file", "not an EC P-256 key"),
        ("sealed.p8", KEY_ID, TEAM_ID, "key_file", "protected by a password"),
        ("apple.p8", "SHORT", TEAM_ID, "key_id", "not 10 letters and digits"),
        ("apple.p8", KEY_ID, "TEAM_67890", "team_id", "not 10 letters and digits"),
        ("apple.p8", KEY_ID, "", "team_id", "not 10 letters and digits"),
    ],
)
def test_an_apple_key_that_cannot_be_used_is_named(
    keys: Keys, file: str, key_id: str, team_id: str, setting: str, problem: str
) -> None:
    with pytest.raises(AccountError, match=problem) as refused:
        open_apns_token(keys.file(file), key_id, team_id)
    assert refused.value.setting == setting


def test_a_path_that_is_none_is_an_account_error() -> None:
    with pytest.raises(AccountError, match="cannot be read"):
        open_apns_token("a\0b", KEY_ID, TEAM_ID)


# --- certificates ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cert", "key", "setting", "problem"),
    [
        ("missing.pem", "apple.p8", "cert_file", "cannot be read"),
        ("text.txt", "apple.p8", "cert_file", "not a PEM certificate"),
        ("apple.p8", "apple.p8", "cert_file", "not a PEM certificate"),
        ("cert.pem", "missing.pem", "cert_key_file", "cannot be read"),
        ("cert.pem", "text.txt", "cert_key_file", "not a private key"),
        ("cert.pem", "other.pem", "cert_key_file", "not the key of cert_file"),
        ("old.pem", "apple.p8", "cert_file", "expired on 2026-11-22"),
        ("early.pem", "apple.p8", "cert_file", "not valid before 2026-11-24"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_named(
    keys: Keys, cert: str, key: str, setting: str, problem: str
) -> None:
    with pytest.raises(AccountError, match=problem) as refused:
        check_certificate(keys.file(cert), keys.file(key), NOW_US)
    assert refused.value.setting == setting


def test_a_good_certificate_passes_and_dates_need_a_clock(keys: Keys) -> None:
    check_certificate(keys.file("cert.pem"), keys.file("apple.p8"), NOW_US)
    check_certificate(keys.file("both.pem"), keys.file("both.pem"), NOW_US)
    check_certificate(keys.file("old.pem"), keys.file("apple.p8"), 0)


def test_a_ca_file_must_hold_certificates(keys: Keys) -> None:
    check_ca_file("")
    check_ca_file(keys.file("cert.pem"))
    for name in ("text.txt", "missing.pem"):
        with pytest.raises(AccountError, match="ca_file"):
            check_ca_file(keys.file(name))


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["cert.pem"], ""),
        (["old.pem", "cert.pem"], ""),
        (["early.pem", "cert.pem"], ""),
        (["old.pem"], "expired on 2026-11-22; name"),
        (["early.pem"], "not valid before 2026-11-24 [0-9:]+ UTC, and this machine's clock says 2026-11-23 [0-9:]+; "),
        (["old.pem", "early.pem"], "not valid before 2026-11-24"),
    ],
)
def test_a_ca_file_must_hold_one_that_is_valid_now(
    keys: Keys, tmp_path: Path, names: Sequence[str], problem: str
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(b"".join(Path(keys.file(name)).read_bytes() for name in names))
    check_ca_file(str(bundle))
    with pytest.raises(AccountError, match=problem) if problem else nullcontext():
        check_ca_file(str(bundle), NOW_US)


# --- Google ------------------------------------------------------------------------------------------------------


def google(keys: Keys, endpoint: str = "", **changed: Any) -> GoogleToken:
    return GoogleToken(keys.service_account(**changed), Origin.of_endpoint(endpoint), keys.file("cert.pem"))


def assertion_of(request: Request) -> str:
    form = parse_qs(request.body.decode(), strict_parsing=True)
    assert form["grant_type"] == [JWT_BEARER]
    assert form.keys() == {"grant_type", "assertion"}
    return form["assertion"][0]


def granted(token: str = "ya29.token", **more: Any) -> Response:
    return Response(200, (), json.dumps({"access_token": token, "token_type": "Bearer"} | more).encode())


def test_googles_renewal_is_a_signed_assertion_at_the_time_handed_in(keys: Keys) -> None:
    request = google(keys).renewal(NOW_US + 999_999)
    assert request.method == "POST"
    assert request.url == "https://oauth2.googleapis.com/token"
    assert request.headers == ((b"content-type", b"application/x-www-form-urlencoded"),)
    assert request.ca_file == keys.file("cert.pem")
    assertion = assertion_of(request)
    assert jwt.get_unverified_header(assertion) == {"alg": "RS256", "kid": "0f1e2d3c", "typ": "JWT"}
    claims = jwt.decode(
        assertion,
        keys.google.public_key(),
        algorithms=["RS256"],
        audience="https://oauth2.googleapis.com/token",
        options={"verify_iat": False, "verify_exp": False},
    )
    assert claims == {
        "iss": "push@shop-1234.iam.gserviceaccount.com",
        "scope": FCM_SCOPE,
        "aud": "https://oauth2.googleapis.com/token",
        "iat": NOW_US // 1_000_000,
        "exp": NOW_US // 1_000_000 + 3600,
    }


@pytest.mark.parametrize(
    ("token_uri", "endpoint", "url"),
    [
        ("https://oauth2.googleapis.com/token", "https://127.0.0.1:8443", "https://127.0.0.1:8443/token"),
        ("https://accounts.google.com/o/oauth2/token", "https://sink.example", "https://sink.example/token"),
        ("https://www.googleapis.com/oauth2/v4/token", "https://[::1]:99", "https://[::1]:99/token"),
        ("https://127.0.0.1:7000/oauth", "https://127.0.0.1:8443", "https://127.0.0.1:7000/oauth"),
        ("https://googleapis.com.evil.example/token", "https://h:1", "https://googleapis.com.evil.example/token"),
        ("https://127.0.0.1:7000/oauth", "", "https://127.0.0.1:7000/oauth"),
    ],
)
def test_an_endpoint_takes_the_place_of_googles_own_token_host(
    keys: Keys, token_uri: str, endpoint: str, url: str
) -> None:
    request = google(keys, endpoint, token_uri=token_uri).renewal(NOW_US)
    assert request.url == url
    told = jwt.decode(assertion_of(request), options={"verify_signature": False})
    assert told["aud"] == token_uri


def test_googles_token_is_served_until_it_expires_and_renewed_five_minutes_before(keys: Keys) -> None:
    credential = google(keys)
    assert credential.current(NOW_US) is None
    assert 0 < credential.renew_at_us() <= NOW_US
    assert credential.renewed(granted(expires_in=3599), NOW_US) is None
    assert credential.current(NOW_US) == b"Bearer ya29.token"
    assert credential.renew_at_us() == NOW_US + (3599 - 300) * 1_000_000
    assert credential.current(NOW_US + 3599 * 1_000_000 - 1) == b"Bearer ya29.token"
    assert credential.current(NOW_US + 3599 * 1_000_000) is None
    assert credential.renewed(granted("ya29.next"), NOW_US) is None
    assert credential.current(NOW_US) == b"Bearer ya29.next"


@pytest.mark.parametrize(
    ("expires_in", "renew_s"),
    [(60, 30), (599, 299.5), (600, 300), (0, 3300), ("9", 4.5), ("x", 3300), (10**9, 3300), (True, 3300)],
)
def test_a_short_or_absurd_lifetime_never_makes_a_renewal_loop(keys: Keys, expires_in: object, renew_s: float) -> None:
    credential = google(keys)
    assert credential.renewed(granted(expires_in=expires_in), NOW_US) is None
    assert credential.renew_at_us() == NOW_US + int(renew_s * 1_000_000)


REFUSED, UNAVAILABLE = OutcomeKind.CREDENTIAL_REFUSED, OutcomeKind.UNAVAILABLE
GRANT = b'{"error":"invalid_grant","error_description":"Invalid JWT Signature."}'


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (Response(400, (), GRANT), Outcome(REFUSED, 400, "invalid_grant", "Invalid JWT Signature.", scope=Scope.LANE)),
        (
            Response(401, (), b'{"error":"invalid_client"}'),
            Outcome(REFUSED, 401, "invalid_client", scope=Scope.LANE),
        ),
        (Response(403, (), b"<html>\n no"), Outcome(REFUSED, 403, detail="<html> no", scope=Scope.LANE)),
        (Response(404, (), b""), Outcome(REFUSED, 404, scope=Scope.LANE)),
        (Response(302, (), b""), Outcome(REFUSED, 302, scope=Scope.LANE)),
        (Response(500, (), b""), Outcome(UNAVAILABLE, 500, scope=Scope.LANE)),
        (
            Response(503, ((b"retry-after", b"30"),), b""),
            Outcome(UNAVAILABLE, 503, retry_after_s=30.0, scope=Scope.LANE),
        ),
        (
            Response(429, ((b"retry-after", b"9"),), b""),
            Outcome(OutcomeKind.THROTTLED, 429, retry_after_s=9.0, scope=Scope.LANE),
        ),
    ],
)
def test_a_refused_renewal_says_why_and_leaves_the_old_token(keys: Keys, response: Response, outcome: Outcome) -> None:
    credential = google(keys)
    credential.renewed(granted(), NOW_US)
    assert credential.renewed(response, NOW_US) == outcome
    assert credential.current(NOW_US) == b"Bearer ya29.token"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"access_token": 7}', b'{"access_token": "a\\nb: c"}'])
def test_a_grant_without_a_usable_token_is_an_outage(keys: Keys, body: bytes) -> None:
    credential = google(keys)
    outcome = credential.renewed(Response(200, (), body), NOW_US)
    assert outcome is not None and outcome.kind is UNAVAILABLE
    assert credential.current(NOW_US) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"private_key": "no key"},
        {"private_key": None},
        {"client_email": None},
        {"token_uri": None},
        {"token_uri": "http://oauth2.googleapis.com/token"},
        {"token_uri": "https://[::1"},
        {"token_uri": 7},
        {"private_key": 7},
    ],
)
def test_a_service_account_that_cannot_sign_is_refused(keys: Keys, changed: dict[str, Any]) -> None:
    with pytest.raises(AccountError, match="service_account_file"):
        google(keys, **changed)


def test_a_service_account_file_must_be_one(keys: Keys) -> None:
    assert read_service_account(keys.file("google.json"))["project_id"] == "shop-1234"
    (keys.directory / "user.json").write_text('{"type": "authorized_user"}')
    for name in ("text.txt", "user.json", "missing.json"):
        with pytest.raises(AccountError, match="service_account_file"):
            read_service_account(keys.file(name))


@pytest.mark.parametrize(
    "endpoint", ["http://h:1", "h:1", "https://", "https://u@h", "https://h/x", "https://h?x=1", "https://h:99999"]
)
def test_an_endpoint_must_be_an_https_origin(endpoint: str) -> None:
    with pytest.raises(AccountError, match="endpoint"):
        Origin.of_endpoint(endpoint)
