"""The script: whom a fault hits, how often, and that a seed says it all."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable

import pytest

from pushrpc.emulator.faults import Action, Fault, Point, Script
from pushrpc.emulator.tokens import apns_tokens

TOKENS = apns_tokens(1000)


def status(**fields: object) -> Fault:
    return Fault.from_json({"provider": "apns", "action": "status", "status": 503} | fields)


def hit(script: Script, tokens: Iterable[str] = TOKENS, provider: str = "apns") -> list[str]:
    return [token for token in tokens if script.next(provider, token)]


def test_a_fault_hits_its_provider_only() -> None:
    script = Script()
    script.add(status())
    assert len(hit(script)) == 1000
    assert hit(script, provider="fcm") == []


def test_a_fault_of_one_token() -> None:
    script = Script()
    script.add(status(token=TOKENS[7]))
    assert hit(script) == [TOKENS[7]]


def test_count_and_nth() -> None:
    script = Script()
    nth, count = script.add(status(nth=5)), script.add(status(count=3, status=500))
    assert hit(script) == [TOKENS[n] for n in (0, 1, 2, 4)]
    assert (script.fired(nth), script.fired(count)) == (1, 3)


def test_the_first_that_fires_is_the_one() -> None:
    script = Script()
    script.add(status(nth=2, status=500))
    script.add(status(status=503))
    fired = [script.next("apns", token) for token in TOKENS[:3]]
    assert [fault.status for fault in fired if fault] == [503, 500, 503]


def test_a_share_is_drawn_by_seed_and_not_by_order() -> None:
    def chosen(seed: int, tokens: list[str]) -> set[str]:
        script = Script(seed)
        script.add(status(share=0.1))
        return set(hit(script, tokens))

    shuffled = random.Random(1).sample(TOKENS, len(TOKENS))
    assert chosen(1, TOKENS) == chosen(1, shuffled) != chosen(2, TOKENS)
    assert 60 < len(chosen(1, TOKENS)) < 140


def test_a_share_is_drawn_anew_for_every_try() -> None:
    script = Script()
    script.add(status(share=0.5))
    still_failing = TOKENS
    for _ in range(40):
        still_failing = hit(script, still_failing)
    assert still_failing == []


def test_clearing_starts_the_same_play_again() -> None:
    script = Script(9)

    def play() -> list[str]:
        script.add(status(share=0.3, count=50))
        return hit(script)

    first = play()
    script.clear()
    assert hit(script) == []
    script.clear()
    assert play() == first
    assert len(first) == 50


def test_removing_one_leaves_the_others() -> None:
    script = Script()
    number = script.add(status())
    script.add(status(token=TOKENS[0]))
    assert script.remove(number)
    assert not script.remove(number)
    assert hit(script) == [TOKENS[0]]


def test_a_fault_reads_back_as_it_was_written() -> None:
    written = {
        "provider": "fcm",
        "action": "reset",
        "code": 2,
        "at": "half_body",
        "taken": True,
        "share": 0.5,
        "delay_s": 0.1,
    }
    fault = Fault.from_json(json.loads(json.dumps(written)))
    assert (fault.action, fault.at) == (Action.RESET, Point.HALF_BODY)
    assert json.loads(json.dumps(fault.as_json())) == written


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"provider": "apns"},
        {"provider": "nobody", "action": "silence"},
        {"provider": "apns", "action": "explode"},
        {"provider": "apns", "action": "status"},
        {"provider": "apns", "action": "status", "status": 99},
        {"provider": "apns", "action": "silence", "share": 1.5},
        {"provider": "apns", "action": "silence", "share": "half"},
        {"provider": "apns", "action": "silence", "nth": -1},
        {"provider": "apns", "action": "delay", "delay_s": float("inf")},
        {"provider": "apns", "action": "reset", "at": "lunch"},
        {"provider": "apns", "action": "silence", "tokens": ["a"]},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Fault.from_json(wrong)
