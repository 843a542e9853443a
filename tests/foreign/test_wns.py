"""npm's wns, a client nobody here wrote and recorded against the real service, takes the emulator for Microsoft."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest

from pushrpc.emulator import Emulator, wns_channels
from pushrpc.emulator.credentials import issue_wns_app
from tests.foreign import npm_program

SOURCE = Path(__file__).parent / "node_wns"


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return npm_program.install(SOURCE, tmp_path_factory.mktemp("npm"))


class Client:
    def __init__(self, program: Path, emulator: Emulator, client_id: str, secret: str) -> None:
        self._program, self._emulator = program, emulator
        self.credentials = {"client_id": client_id, "client_secret": secret}

    async def call(self, *calls: tuple[Any, ...], **options: Any) -> list[dict[str, Any]]:
        """Each call is the function's name and its arguments, but for the options, which all have in common."""
        given = self.credentials | options
        lines = [json.dumps({"call": name, "arguments": [*values, given]}) for name, *values in calls]
        return await npm_program.run(
            self._program, "\n".join(lines), self._emulator.endpoints["wns"], self._emulator.ca_file
        )


@pytest.fixture
def client(program: Path, emulator: Emulator, tmp_path: Path) -> Client:
    client_id, secret_file = issue_wns_app(emulator.wns, tmp_path)
    # The package was written when the status had its older name, and takes an answer without it for a failure.
    emulator.wns.as_recorded = True
    return Client(program, emulator, client_id, secret_file.read_text().strip())


async def test_every_type_arrives_as_it_was_built(emulator: Emulator, client: Client) -> None:
    toast, tile, badge, raw = channels = wns_channels(emulator.endpoints["wns"], 4)
    results = await client.call(
        ("sendToastText02", toast, 'Order <1> & "more"', "It is on its way"),
        ("sendTileSquareText01", tile, "a", "b", "c", "d"),
        ("sendBadge", badge, 7),
        ("sendRaw", raw, json.dumps({"order_id": "1234", "ü": "ä"})),
    )
    assert [(r["status"], r["error"], r["headers"]["x-wns-notificationstatus"]) for r in results] == [
        (200, "", "received")
    ] * 4
    entries = {entry.token: entry for entry in emulator.journal.entries("wns")}
    assert entries.keys() == set(channels)
    for channel, result in zip(channels, results, strict=True):
        assert entries[channel].message_id == result["headers"]["x-wns-msg-id"]
    texts = [text.text for text in fromstring(entries[toast].payload).iter("text")]
    assert texts == ['Order <1> & "more"', "It is on its way"]
    assert entries[badge].payload == b'<badge value="7" version="1"/>'
    assert json.loads(entries[raw].payload) == {"order_id": "1234", "ü": "ä"}
    assert emulator.journal.answers["wns_oauth", 200] == 1  # one token for all four


async def test_headers_of_its_callers(emulator: Emulator, client: Client) -> None:
    (channel,) = wns_channels(emulator.endpoints["wns"], 1)
    headers = {"X-WNS-TTL": "60", "X-WNS-RequestForStatus": "true", "X-WNS-Tag": "order1234", "MS-CV": "abc.0"}
    (result,) = await client.call(("sendTileSquareText04", channel, "text"), headers=headers)
    assert (result["status"], result["error"]) == (200, "")
    assert result["headers"]["x-wns-deviceconnectionstatus"] == "connected"
    assert result["headers"]["ms-cv"] == "abc.0"
    (entry,) = emulator.journal.entries("wns")
    assert dict(entry.headers)[b"x-wns-tag"] == b"order1234"


async def test_refusals_are_understood(emulator: Emulator, client: Client) -> None:
    gone, expired, foreign, muted, busy, down = channels = wns_channels(emulator.endpoints["wns"], 6)
    emulator.set_tokens("wns", [gone], state="unregistered")
    emulator.set_tokens("wns", [expired], state="expired")
    emulator.set_tokens("wns", [foreign], app="ms-app://s-1-15-2-another")
    emulator.set_tokens("wns", [muted], state="muted")
    emulator.set_tokens("wns", [busy], state="throttled")
    emulator.add_fault(provider="wns", action="status", status=503, token=down)
    results = await client.call(*(("sendToastText01", channel, "text") for channel in channels))
    assert [(r["status"], r["headers"].get("x-wns-notificationstatus", "")) for r in results] == [
        (404, ""),
        (410, ""),
        (403, ""),
        (200, "dropped"),
        (200, "channelthrottled"),
        (503, ""),
    ]
    assert [r["error"][:30] for r in results[:2]] == ["The channel URI is not valid o", "The channel expired."]
    assert all(r["error"] for r in results)
    assert emulator.journal.counts("wns").accepted == 0


async def test_a_payload_above_the_limit(emulator: Emulator, client: Client) -> None:
    fits, too_large = wns_channels(emulator.endpoints["wns"], 2)
    results = await client.call(("sendRaw", fits, "x" * 5000), ("sendRaw", too_large, "x" * 5001))
    assert [r["status"] for r in results] == [200, 413]
    assert results[1]["error"] == "The notification payload exceeds the 5000 byte size limit."


async def test_an_access_token_that_is_no_longer_valid_is_renewed_once(emulator: Emulator, client: Client) -> None:
    first, second = wns_channels(emulator.endpoints["wns"], 2)
    (result,) = await client.call(("sendToastText01", first, "text"))
    token = result["access_token"]
    (again,) = await client.call(("sendToastText01", second, "text"), accessToken=token)
    assert (again["status"], again["access_token"]) == (200, "")  # the token served
    emulator.wns.revoke_access_tokens()
    (renewed,) = await client.call(("sendToastText01", second, "text"), accessToken=token)
    assert renewed["status"] == 200
    assert renewed["access_token"] not in ("", token)
    assert emulator.journal.answers["wns", 401] == 1


async def test_a_wrong_secret(emulator: Emulator, client: Client) -> None:
    client.credentials["client_secret"] = "wrong"
    (result,) = await client.call(("sendToastText01", wns_channels(emulator.endpoints["wns"], 1)[0], "text"))
    assert (result["status"], json.loads(result["inner"])["error"]) == (400, "invalid_client")
