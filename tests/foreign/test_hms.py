"""appleboy/go-hms-push, a Go client nobody here wrote, takes the emulator for Huawei."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pushrpc.emulator import Emulator, hms_tokens, issue_hms_app
from tests.foreign import go_program

SOURCE = Path(__file__).parent / "go_hms"


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go_program.build(SOURCE, tmp_path_factory.mktemp("go"))


class Sender(NamedTuple):
    program: Path
    emulator: Emulator
    app_id: str
    secret: Path

    async def send(self, tokens: Sequence[str], *arguments: object) -> dict[str, Any]:
        (told,) = await go_program.run(
            self.program,
            " ".join(tokens),
            *("-endpoint", self.emulator.endpoints["hms"], "-ca", self.emulator.ca_file),
            *("-app", self.app_id, "-secret", self.secret),
            *arguments,
        )
        return told


@pytest.fixture
def sender(program: Path, emulator: Emulator, tmp_path: Path) -> Sender:
    return Sender(program, emulator, *issue_hms_app(emulator.hms, tmp_path))


@pytest.mark.parametrize(("http", "protocol"), [(1, "HTTP/1.1"), (2, "HTTP/2.0")])
async def test_a_thousand_tokens_in_one_request(sender: Sender, http: int, protocol: str) -> None:
    tokens = hms_tokens(1000)
    told = await sender.send(tokens, "-http", http)
    assert (told["code"], told["msg"], told["error"], told["protocol"]) == ("80000000", "Success", "", protocol)
    assert sender.emulator.journal.accepted_by_token("hms") == dict.fromkeys(tokens, 1)
    assert {entry.message_id for entry in sender.emulator.journal.entries("hms")} == {told["request_id"]}
    assert sender.emulator.journal.answers == {("hms_oauth", 200): 1, ("hms", 200): 1}


async def test_dead_tokens_are_told_beside_live_ones(sender: Sender) -> None:
    live, dead, elsewhere = tokens = hms_tokens(3)
    sender.emulator.set_tokens("hms", [dead], state="unregistered")
    sender.emulator.set_tokens("hms", [elsewhere], app="999")
    told = await sender.send(tokens)
    assert told["code"] == "80100000"
    assert json.loads(told["msg"]) == {"success": 1, "failure": 2, "illegal_tokens": [dead, elsewhere]}
    assert sender.emulator.journal.accepted_by_token("hms") == {live: 1}


async def test_nobody_left(sender: Sender) -> None:
    sender.emulator.set_unknown("hms", state="unregistered")
    assert (await sender.send(hms_tokens(2)))["code"] == "80300007"


async def test_too_many_tokens_and_a_badge_out_of_range(sender: Sender) -> None:
    assert (await sender.send(hms_tokens(1001)))["code"] == "80300010"
    told = await sender.send(hms_tokens(1), "-bad")
    assert (told["code"], told["msg"]) == ("80100003", "Illegal payload, badge addNum value ranges from 1 to 99")


async def test_a_topic(sender: Sender) -> None:
    assert (await sender.send([], "-topic", "news"))["code"] == "80000000"
    (entry,) = sender.emulator.journal.entries("hms")
    assert entry.token == "/topics/news"


async def test_the_client_renews_a_refused_access_token_once(sender: Sender) -> None:
    # Its answer to 80200003 is what ours is too: a new access token, and the same message again.
    sender.emulator.add_fault(provider="hms", action="status", status=200, reason="80200003", count=1)
    assert (await sender.send(hms_tokens(1)))["code"] == "80000000"
    assert sender.emulator.journal.answers == {("hms_oauth", 200): 2, ("hms", 200): 2}
    assert sender.emulator.journal.counts("hms").accepted == 1


async def test_an_app_that_huawei_does_not_know(sender: Sender) -> None:
    stranger = sender._replace(app_id="1")
    # The library goes on without an access token.
    assert (await stranger.send(hms_tokens(1)))["code"] == "80200001"
    assert sender.emulator.journal.answers["hms_oauth", 400] == 2
