"""sideshow/apns2, a Go client nobody here wrote, takes the emulator for Apple."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pushrpc.emulator import Credentials, Emulator, apns_tokens
from tests.foreign import go_program

SOURCE = Path(__file__).parent / "go_apns"
DIED_MS = 1_700_000_000_000


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go_program.build(SOURCE, tmp_path_factory.mktemp("go"))


async def send(program: Path, emulator: Emulator, tokens: Sequence[str], *arguments: object) -> list[dict[str, Any]]:
    return await go_program.run(program, "\n".join(tokens), "-ca", emulator.ca_file, *arguments)


def key(files: Credentials) -> tuple[object, ...]:
    return ("-key", files.apns_key_file, "-key-id", files.key_id, "-team-id", files.team_id, "-topic", files.bundle_id)


@pytest.mark.parametrize("certificate", [False, True], ids=["token", "certificate"])
async def test_answers_of_all_kinds(program: Path, emulator: Emulator, files: Credentials, certificate: bool) -> None:
    live, dead, expired, elsewhere, other_app, busy = tokens = apns_tokens(6)
    emulator.set_tokens("apns", [dead], state="unregistered", since_ms=DIED_MS)
    emulator.set_tokens("apns", [expired], state="expired", since_ms=DIED_MS)
    emulator.set_tokens("apns", [elsewhere], environment="production")
    emulator.set_tokens("apns", [other_app], app="com.example.other")
    emulator.set_tokens("apns", [busy], state="throttled")
    credential = ("-cert", files.apns_certificate_file, "-topic", files.bundle_id) if certificate else key(files)
    results = await send(program, emulator, tokens, "-endpoint", emulator.apns_sandbox_endpoint, *credential)
    assert [(r["status"], r["reason"], r["timestamp"], r["error"]) for r in results] == [
        (200, "", 0, ""),
        (410, "Unregistered", DIED_MS, ""),
        (410, "ExpiredToken", DIED_MS, ""),
        (400, "BadDeviceToken", 0, ""),
        (400, "DeviceTokenNotForTopic", 0, ""),
        (429, "TooManyRequests", 0, ""),
    ]
    assert results[0]["unique_id"]
    (entry,) = emulator.journal.entries("apns")
    assert (entry.token, entry.message_id) == (live, results[0]["apns_id"])


async def test_a_thousand_tokens_are_each_sent_once(program: Path, emulator: Emulator, files: Credentials) -> None:
    tokens = apns_tokens(1000)
    results = await send(program, emulator, tokens, "-endpoint", emulator.apns_endpoint, *key(files))
    assert {r["status"] for r in results} == {200}
    assert emulator.journal.accepted_by_token("apns") == dict.fromkeys(tokens, 1)


async def test_a_refused_stream_is_sent_again_and_a_reset_one_is_not(
    program: Path, emulator: Emulator, files: Credentials
) -> None:
    live, refused, reset = apns_tokens(3)
    emulator.add_fault(provider="apns", action="reset", code=7, token=refused, count=1)
    emulator.add_fault(provider="apns", action="reset", code=2, token=reset)
    tokens = [live, refused, reset]
    results = await send(program, emulator, tokens, "-endpoint", emulator.apns_endpoint, *key(files))
    # Go resends after REFUSED_STREAM, which promises that nothing was processed (RFC 9113 §8.7).
    assert [r["status"] for r in results] == [200, 200, 0]
    assert "INTERNAL_ERROR" in results[2]["error"]
    assert emulator.journal.accepted_by_token("apns") == {live: 1, refused: 1}


async def test_what_a_goaway_leaves_out_is_sent_again(program: Path, emulator: Emulator, files: Credentials) -> None:
    tokens = apns_tokens(300)
    number = emulator.add_fault(provider="apns", action="goaway", last_offset=-2, reason="Shutdown", nth=150)
    results = await send(program, emulator, tokens, "-endpoint", emulator.apns_endpoint, *key(files))
    assert emulator.faults.fired(number) == 1
    assert {(r["status"], r["error"]) for r in results} == {(200, "")}
    assert emulator.journal.accepted_by_token("apns") == dict.fromkeys(tokens, 1)


async def test_a_key_that_apple_does_not_know(program: Path, emulator: Emulator, files: Credentials) -> None:
    emulator.accounts.revoke_key(files.key_id)
    (result,) = await send(program, emulator, apns_tokens(1), "-endpoint", emulator.apns_endpoint, *key(files))
    assert (result["status"], result["reason"]) == (403, "InvalidProviderToken")
