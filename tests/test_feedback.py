"""What is asked of providers later, and told to them, with a ledger that only pretends and a moved clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from pushrpc.authorization import Authorizations
from pushrpc.calls import ProviderCalls
from pushrpc.exchange import Answer, Endpoint, NoAnswer, NotSent, Requests, Response
from pushrpc.feedback import AGAIN_MAX_S, AGAIN_S, DEAD_IN_ROW_MAX, GIVE_UP_S, AccountOf, ProviderFeedback
from pushrpc.ledger import Ledger
from pushrpc.model import Device, Lane, Outcome
from pushrpc.providers import Call, Feedback
from pushrpc.record import Confirmation, Synced, Unconfirmed, Unsynced
from pushrpc.telemetry import Telemetry
from pushrpc.words import DeviceState, Environment, OutcomeKind, Provider
from tests.clocks import ManualClock

HUB = Lane("shop", Provider.NOTIFICATION_HUBS, "ns/hub", Environment.UNSPECIFIED)
DONE = Outcome(OutcomeKind.ACCEPTED, 200)
DEVICE = Device("shop", "d-1", HUB.provider, HUB.provider_app_id, HUB.environment, "token")
CALL = Call(Endpoint("hub", 443), Requests((), ()))


class PretendLedger:
    def __init__(self) -> None:
        self.messages: list[Unconfirmed] = []
        self.devices: list[Unsynced] = []
        self.confirmed: list[Confirmation] = []
        self.told: list[Synced] = []

    async def unconfirmed(self, now_us: int, limit: int) -> Sequence[Unconfirmed]:
        return self.messages[:limit]

    async def unsynced(self, now_us: int, limit: int) -> Sequence[Unsynced]:
        return self.devices[:limit]

    async def confirm(self, confirmations: Sequence[Confirmation]) -> None:
        self.confirmed += confirmations

    async def synced(self, results: Sequence[Synced]) -> None:
        self.told += results


class Hub:
    """Tells what a test has it tell."""

    credential = None
    feedback_after_s = 3.0
    registry = "ns/hub"
    tags_max = 2

    def __init__(self) -> None:
        self.said = Feedback(DONE)
        self.result = DONE
        self.asked: list[str] = []

    def feedback_call(self, message_id: str, authorization: bytes | None) -> Call:
        self.asked.append(message_id)
        return CALL

    def feedback(self, response: Response, now_us: int) -> Feedback:
        return self.said

    def tag_problem(self, tag: str) -> str:
        return "is bad" if tag.startswith("bad") else ""

    def device_call(self, device: Device, authorization: bytes | None) -> Call:
        self.asked.append(device.device_id)
        return CALL

    def device_result(self, response: Response, now_us: int) -> Outcome:
        return self.result


class Told(Telemetry):
    def __init__(self) -> None:
        super().__init__()
        self.left_out: list[int] = []
        self.doubted: list[tuple[Lane, str]] = []

    def feedback_doubted(self, lane: Lane, reason: str) -> None:
        self.doubted.append((lane, reason))

    def tags_left_out(self, lane: Lane, device_id: str, count: int) -> None:
        assert (lane, device_id) == (HUB, "d-1")
        self.left_out.append(count)


class Scene:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.ledger = PretendLedger()
        self.hub = Hub()
        self.answer: Answer = Response(200, (), b"")
        self.account: object | None = self.hub
        self.telemetry = Told()
        self._feedback: ProviderFeedback | None = None

    async def step(self) -> bool:
        async def carry(endpoint: Endpoint, requests: Requests, timeout_s: float) -> Answer:
            return self.answer

        if self._feedback is None:
            calls = ProviderCalls(carry, Authorizations(cast(Any, None), self.clock))
            account_of = cast(AccountOf, lambda lane: self.account)
            ledger = cast(Ledger, self.ledger)
            self._feedback = ProviderFeedback(ledger, calls, account_of, self.clock, self.telemetry)
        return await self._feedback.step()

    def message(self, age_s: float = 10.0) -> None:
        self.ledger.messages = [Unconfirmed(HUB, "m-1", self.clock.now_us() - int(age_s * 1e6))]

    def again_in_s(self) -> float:
        (confirmation,) = self.ledger.confirmed
        assert confirmation.outcome is None
        return (confirmation.due_us - self.clock.now_us()) / 1e6


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_the_last_word_is_kept(scene: Scene) -> None:
    scene.message()
    await scene.step()
    assert scene.ledger.confirmed == [Confirmation(HUB, "m-1", DONE, 0, scene.clock.now_us())]


async def test_nothing_is_asked_before_there_can_be_an_answer(scene: Scene) -> None:
    scene.message(age_s=1.0)
    await scene.step()
    assert scene.hub.asked == []
    assert scene.again_in_s() == pytest.approx(2.0)


def _still_working(scene: Scene) -> float:
    scene.hub.said = Feedback(Outcome(OutcomeKind.UNKNOWN, 200, reason="Processing"), due_s=7.0)
    return 7.0


def _refused(scene: Scene) -> float:
    scene.answer = Response(403, (), b"")
    scene.hub.said = Feedback(Outcome(OutcomeKind.CREDENTIAL_REFUSED, 403), due_s=9.0)
    return 9.0


def _unreachable(scene: Scene) -> float:
    scene.answer = NotSent("no route", failed_connect=True)
    return AGAIN_S


def _silent(scene: Scene) -> float:
    scene.answer = NoAnswer("too slow")
    return AGAIN_S


def _without_account(scene: Scene) -> float:
    scene.account = None
    return AGAIN_MAX_S


@pytest.mark.parametrize("trouble", [_still_working, _refused, _unreachable, _silent, _without_account])
async def test_without_a_last_word_it_is_asked_again_but_not_for_ever(
    scene: Scene, trouble: Callable[[Scene], float]
) -> None:
    wait_s = trouble(scene)
    scene.message()
    await scene.step()
    assert scene.again_in_s() == pytest.approx(wait_s)
    scene.ledger.confirmed.clear()
    scene.message(age_s=GIVE_UP_S + 1)
    await scene.step()
    (confirmation,) = scene.ledger.confirmed
    assert (confirmation.due_us, confirmation.outcome and confirmation.outcome.kind) == (0, OutcomeKind.UNKNOWN)


async def test_what_was_told_so_far_is_the_last_word_when_no_other_comes(scene: Scene) -> None:
    """A hub may stay at DetailedStateAvailable for good."""
    scene.hub.said = Feedback(DONE, due_s=7.0)
    asked, age_s = 0, 10.0
    while age_s <= GIVE_UP_S:
        scene.message(age_s)
        await scene.step()
        waits_s = scene.again_in_s()
        scene.ledger.confirmed.clear()
        asked, age_s = asked + 1, age_s + waits_s
    scene.message(age_s)
    await scene.step()
    assert [(each.outcome, each.due_us) for each in scene.ledger.confirmed] == [(DONE, 0)]
    assert asked < 40, "ever more rarely"


async def test_no_device_dies_of_a_hub_that_calls_every_handle_bad(scene: Scene) -> None:
    dead = Outcome(OutcomeKind.TOKEN_INVALID, 200, "BadChannel")

    async def told(said: Outcome, times: int) -> list[bool]:
        scene.hub.said = Feedback(said)
        scene.ledger.confirmed.clear()
        for _ in range(times):
            scene.message()
            await scene.step()
            scene.clock.advance(3600.0)
        return [confirmation.outcome is said for confirmation in scene.ledger.confirmed]

    few = DEAD_IN_ROW_MAX - 1
    assert await told(dead, few) == [True] * few
    assert await told(DONE, 1) == [True]
    assert await told(dead, few + 2) == [True] * few + [False] * 2, "one that arrived speaks for the credentials"
    assert {each.outcome for each in scene.ledger.confirmed[few:]} == {dead._replace(misdirected=True)}
    assert scene.telemetry.doubted == [(HUB, "BadChannel")], "told once"


async def test_a_provider_that_tells_nothing_later_is_not_asked_again(scene: Scene) -> None:
    scene.account = object()
    scene.message()
    scene.ledger.devices = [Unsynced(DEVICE, 0)]
    await scene.step()
    assert scene.ledger.confirmed == [Confirmation(HUB, "m-1", None, 0, scene.clock.now_us())]
    assert scene.ledger.told == [Synced(DEVICE)]


@pytest.mark.parametrize(
    ("tags", "left_out"),
    [((), []), (("a", "b"), []), (("a", "bad"), [1]), (("a", "b", "c"), [1]), (("bad", "b", "c", "d"), [2])],
)
async def test_tags_that_are_not_kept_are_told_of(scene: Scene, tags: tuple[str, ...], left_out: list[int]) -> None:
    told = scene.telemetry
    device = replace(DEVICE, tags=tags)
    scene.ledger.devices = [Unsynced(device, 0)]
    await scene.step()
    assert (scene.ledger.told, told.left_out) == ([Synced(device)], left_out)
    scene.ledger.devices = [Unsynced(replace(device, state=DeviceState.REMOVED), 0)]
    await scene.step()
    assert told.left_out == left_out, "who is removed misses nothing"


async def test_a_device_is_told_and_then_done(scene: Scene) -> None:
    scene.ledger.devices = [Unsynced(DEVICE, 0)]
    await scene.step()
    assert (scene.hub.asked, scene.ledger.told) == (["d-1"], [Synced(DEVICE)])


@pytest.mark.parametrize(("tries", "wait_s"), [(0, AGAIN_S), (2, 4 * AGAIN_S), (60_000, AGAIN_MAX_S)])
async def test_a_device_that_could_not_be_told_waits_longer_each_time(scene: Scene, tries: int, wait_s: float) -> None:
    scene.hub.result = Outcome(OutcomeKind.UNAVAILABLE, 503)
    scene.ledger.devices = [Unsynced(DEVICE, tries)]
    await scene.step()
    (told,) = scene.ledger.told
    assert (told.due_us - scene.clock.now_us()) / 1e6 == pytest.approx(wait_s)
