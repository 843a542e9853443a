"""What is asked of providers later, and told to them, with a ledger that only pretends and a moved clock."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from pushrpc.authorization import Authorizations
from pushrpc.calls import ProviderCalls
from pushrpc.exchange import Answer, Endpoint, NoAnswer, NotSent, Requests, Response
from pushrpc.feedback import (
    AGAIN_MAX_S,
    AGAIN_S,
    AT_ONCE,
    DEAD_IN_ROW_MAX,
    GIVE_UP_S,
    LOOK_EVERY_S,
    SLICE,
    AccountOf,
    ProviderFeedback,
)
from pushrpc.ledger import Ledger, LedgerUnavailable
from pushrpc.model import Device, Lane, Outcome
from pushrpc.providers import Call, Feedback
from pushrpc.record import Confirmation, Synced, Unconfirmed, Unsynced
from pushrpc.telemetry import Telemetry
from pushrpc.words import DeviceState, Environment, OutcomeKind, Provider
from tests.clocks import ManualClock

HUB = Lane("shop", Provider.NOTIFICATION_HUBS, "ns/hub", Environment.UNSPECIFIED)
DONE = Outcome(OutcomeKind.ACCEPTED, 200)
DEVICE = Device("shop", "d-1", HUB.provider, HUB.provider_app_id, HUB.environment, "token")


class PretendLedger:
    def __init__(self) -> None:
        self.messages: list[Unconfirmed] = []
        self.devices: list[Unsynced] = []
        self.confirmed: list[Confirmation] = []
        self.told: list[Synced] = []
        self.broken = False

    async def unconfirmed_lanes(self, now_us: int) -> Sequence[Lane]:
        if self.broken:
            raise LedgerUnavailable("the disk")
        return list(dict.fromkeys(message.lane for message in self.messages))

    async def unconfirmed(self, lane: Lane, now_us: int, limit: int) -> Sequence[Unconfirmed]:
        return [message for message in self.messages if message.lane == lane][:limit]

    async def unsynced_lanes(self, now_us: int) -> Sequence[Lane]:
        return list(dict.fromkeys(_lane_of(device) for device, _ in self.devices))

    async def unsynced(self, lane: Lane, now_us: int, limit: int) -> Sequence[Unsynced]:
        return [unsynced for unsynced in self.devices if _lane_of(unsynced.device) == lane][:limit]

    async def confirm(self, confirmations: Sequence[Confirmation]) -> None:
        done = {(confirmation.lane, confirmation.message_id) for confirmation in confirmations}
        self.messages = [message for message in self.messages if (message.lane, message.message_id) not in done]
        self.confirmed += confirmations

    async def synced(self, results: Sequence[Synced]) -> None:
        done = {(device.app_id, device.device_id) for device, _ in results}
        self.devices = [each for each in self.devices if (each.device.app_id, each.device.device_id) not in done]
        self.told += results


def _lane_of(device: Device) -> Lane:
    return HUB._replace(app_id=device.app_id, provider_app_id=device.provider_app_id)


class Hub:
    """Tells what a test has it tell, unless it is `slow`."""

    credential = None
    feedback_after_s = 3.0
    registry = "ns/hub"
    tags_max = 2

    def __init__(self, host: str = "hub") -> None:
        self.said = Feedback(DONE)
        self.result = DONE
        self.asked: list[str] = []
        self.call = Call(Endpoint(host, 443), Requests((), ()))
        self.call_of: Callable[[str], Call] = lambda name: self.call

    def feedback_call(self, message_id: str, authorization: bytes | None) -> Call:
        self.asked.append(message_id)
        return self.call_of(message_id)

    def feedback(self, response: Response, now_us: int) -> Feedback:
        return self.said

    def tag_problem(self, tag: str) -> str:
        return "is bad" if tag.startswith("bad") else ""

    def device_call(self, device: Device, authorization: bytes | None) -> Call:
        self.asked.append(device.device_id)
        return self.call_of(device.device_id)

    def device_result(self, response: Response, now_us: int) -> Outcome:
        return self.result


class Told(Telemetry):
    def __init__(self) -> None:
        super().__init__()
        self.left_out: list[int] = []
        self.doubted: list[tuple[Lane, str]] = []
        self.failures: list[str] = []

    def failed(self, where: str, error: BaseException) -> None:
        self.failures.append(where)

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
        self.hubs: dict[str, Hub] = {}  # of other apps
        self.answer: Answer = Response(200, (), b"")
        self.silent = asyncio.Event()  # while it is not set, hubs named `slow` do not answer
        self.on_the_wire: Counter[str] = Counter()
        self.most_on_the_wire: Counter[str] = Counter()
        self.account: object | None = self.hub
        self.telemetry = Told()
        calls = ProviderCalls(self._carry, Authorizations(cast(Any, None), self.clock))
        account_of = cast(AccountOf, lambda lane: self.hubs.get(lane.app_id, self.account))
        ledger = cast(Ledger, self.ledger)
        self._feedback = ProviderFeedback(ledger, calls, account_of, self.clock, self.telemetry)
        self._running: asyncio.Task[None] | None = None

    async def _carry(self, endpoint: Endpoint, requests: Requests, timeout_s: float) -> Answer:
        host = endpoint.host
        self.on_the_wire[host] += 1
        self.most_on_the_wire[host] = max(self.most_on_the_wire[host], self.on_the_wire[host])
        try:
            if host == "slow":
                await self.silent.wait()
                return NoAnswer("too slow")
            await asyncio.sleep(0)
            return self.answer
        finally:
            self.on_the_wire[host] -= 1

    async def step(self) -> None:
        """A look, and whatever can be done after it."""
        if self._running is None:
            self._running = asyncio.create_task(self._feedback.run())
        else:
            self.clock.advance(LOOK_EVERY_S)
        await self.clock.run_until_idle()

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def message(self, age_s: float = 10.0) -> None:
        self.ledger.messages = [Unconfirmed(HUB, "m-1", self.clock.now_us() - int(age_s * 1e6))]

    def again_in_s(self) -> float:
        (confirmation,) = self.ledger.confirmed
        assert confirmation.outcome is None
        return (confirmation.due_us - self.clock.now_us()) / 1e6


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    await scene.stop()


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


# --- one sick provider hurts nobody else


def many(count: int, app_id: str = "shop") -> list[Unsynced]:
    return [Unsynced(replace(DEVICE, app_id=app_id, device_id=f"{app_id}-{i}"), 0) for i in range(count)]


async def test_a_hub_that_does_not_answer_delays_no_other(scene: Scene) -> None:
    slow = scene.hubs["game"] = Hub("slow")
    scene.ledger.devices = many(2 * SLICE, "game")
    for i in range(2 * SLICE):
        scene.ledger.messages.append(Unconfirmed(HUB._replace(app_id="game"), f"g-{i}", scene.clock.now_us() - 10**7))
    await scene.step()
    assert slow.asked, "they are all waiting by now"
    scene.ledger.devices += many(3)
    scene.ledger.messages.append(Unconfirmed(HUB, "m-1", scene.clock.now_us() - 10**7))
    await scene.step()
    assert {each.device.device_id for each in scene.ledger.told} == {"shop-0", "shop-1", "shop-2"}
    assert [each.message_id for each in scene.ledger.confirmed] == ["m-1"]


async def test_a_hub_that_does_not_answer_is_asked_one_thing_a_look(scene: Scene) -> None:
    slow = scene.hubs["game"] = Hub("slow")
    scene.silent.set()  # it answers with nothing at once
    scene.ledger.devices = many(2 * SLICE, "game")
    for _ in range(5):
        await scene.step()
    assert (len(slow.asked), scene.most_on_the_wire["slow"]) == (5, 1)
    assert [(each.due_us - scene.clock.now_us()) / 1e6 for each in scene.ledger.told[-1:]] == [AGAIN_S]
    slow.call = scene.hub.call  # it is back
    await scene.step()
    assert not scene.ledger.devices


async def test_whatever_is_due_of_one_hub_is_told_a_bounded_number_at_once(scene: Scene) -> None:
    scene.ledger.devices = many(2 * SLICE + 1)
    await scene.step()
    await scene.clock.run_until_idle(10_000)
    assert sorted(scene.hub.asked) == sorted(each.device.device_id for each in scene.ledger.told)
    assert len(scene.ledger.told) == 2 * SLICE + 1, "each once"
    assert 1 < scene.most_on_the_wire["hub"] <= AT_ONCE


async def test_results_are_kept_as_they_come(scene: Scene) -> None:
    """One answer that does not come holds nothing back that has come, nor what is due besides."""
    scene.ledger.devices = many(1)
    await scene.step()
    scene.ledger.devices = many(2 * SLICE)[1:]
    hanging = Hub("slow").call
    usual, scene.hub.call_of = scene.hub.call, lambda name: hanging if name == "shop-7" else usual
    await scene.step()
    await scene.clock.run_until_idle(10_000)
    assert [each.device.device_id for each in scene.ledger.devices] == ["shop-7"]


async def test_what_is_old_is_not_asked_of_a_hub_that_does_not_answer(scene: Scene) -> None:
    """A second each would be less than what comes in."""
    scene.answer = NotSent("no route", failed_connect=True)
    scene.message()
    await scene.step()
    old_us = scene.clock.now_us() - int((GIVE_UP_S + 100) * 1e6)
    scene.ledger.messages = [Unconfirmed(HUB, f"old-{i}", old_us) for i in range(100)]
    await scene.step()
    await scene.clock.run_until_idle(1_000)
    assert (scene.hub.asked, scene.ledger.messages) == (["m-1"], [])
    assert {each.outcome and each.outcome.kind for each in scene.ledger.confirmed[1:]} == {OutcomeKind.UNKNOWN}


async def test_a_bug_that_one_device_meets_does_not_stop_the_others(scene: Scene) -> None:
    def broken(name: str) -> Call:
        if name in ("shop-1", "m-1"):
            raise RuntimeError("a bug")
        return scene.hub.call

    scene.hub.call_of = broken
    scene.ledger.devices = many(3)
    scene.message()
    await scene.step()
    assert {each.device.device_id: bool(each.due_us) for each in scene.ledger.told} == {
        "shop-0": False,
        "shop-1": True,
        "shop-2": False,
    }
    assert scene.again_in_s() == AGAIN_MAX_S
    assert scene.telemetry.failures == ["feedback.ask", "feedback.tell"]


async def test_a_ledger_that_fails_is_looked_at_again(scene: Scene) -> None:
    scene.ledger.broken = True
    scene.message()
    await scene.step()
    scene.ledger.broken = False
    await scene.step()
    assert len(scene.ledger.confirmed) == 1
