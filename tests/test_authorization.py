"""One exchange for each expiry, whoever asks, with a credential and a token endpoint that only pretend."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from pushrpc.authorization import RENEWAL_AGAIN_S, Authorization, Authorizations
from pushrpc.calls import ProviderCalls
from pushrpc.exchange import Answer, Endpoint, Request, Requests, Response, Row, Template
from pushrpc.model import Outcome
from pushrpc.providers import Call, ProviderAccount
from pushrpc.transport import ExchangeFailed
from pushrpc.words import OutcomeKind
from tests.clocks import ManualClock

REFUSED = Outcome(OutcomeKind.CREDENTIAL_REFUSED, 400, "invalid_grant")
DONE = Outcome(OutcomeKind.ACCEPTED, 200)


class Credential:
    def __init__(self) -> None:
        self.value: bytes | None = b"old"
        self.refusal: Outcome | None = None
        self.exchanges = 0

    def current(self, now_us: int) -> bytes | None:
        return self.value

    def renew_at_us(self) -> int:
        return 0

    def renewal(self, now_us: int) -> Request:
        self.exchanges += 1
        return Request("POST", "https://localhost/token", [], b"")

    def renewed(self, response: Response, now_us: int) -> Outcome | None:
        if self.refusal is None:
            self.value = b"new %d" % self.exchanges
        return self.refusal


class Scene:
    """A provider that takes only values that begin with `good`, and a token endpoint that answers when it is let."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.credential = Credential()
        self.good = b"new"
        self.failing = False
        self.endpoint_open = asyncio.Event()
        self.endpoint_open.set()
        self.used: list[bytes] = []
        authorizations = Authorizations(self.fetch, self.clock)
        self.account = cast(ProviderAccount, self)
        self.authorization: Authorization = authorizations.of(self.account)
        self.calls = ProviderCalls(self.carry, authorizations)

    async def fetch(self, request: Request, timeout_s: float) -> Response:
        await self.endpoint_open.wait()
        if self.failing:
            raise ExchangeFailed("no route")
        return Response(200, [], b"")

    async def carry(self, endpoint: Endpoint, requests: Requests, timeout_s: float) -> Answer:
        value = requests.templates[0].headers[0][1]
        self.used.append(value)
        await asyncio.sleep(0)
        return Response(200 if value.startswith(self.good) else 401, (), b"")

    async def call(self) -> OutcomeKind:
        def make(authorization: bytes | None) -> Call:
            template = Template(b"GET", b"localhost", [(b"authorization", authorization or b"")])
            return Call(Endpoint("localhost", 1), Requests([template], [Row(0, b"/", [], None, ())]))

        def read(response: Response) -> Outcome:
            return DONE if response.status == 200 else Outcome(OutcomeKind.CREDENTIAL_REFUSED, 401, renew=True)

        answer = await self.calls.ask(self.account, make, read)
        return (read(answer) if isinstance(answer, Response) else answer).kind


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_calls_that_are_refused_together_share_one_exchange(scene: Scene) -> None:
    assert await asyncio.gather(*(scene.call() for _ in range(30))) == [OutcomeKind.ACCEPTED] * 30
    assert (scene.credential.exchanges, scene.used.count(b"old")) == (1, 30)


async def test_a_late_refusal_of_an_old_value_exchanges_nothing(scene: Scene) -> None:
    assert await scene.call() is OutcomeKind.ACCEPTED
    assert await scene.authorization.renew(refused=b"old") is None
    assert (scene.credential.exchanges, scene.credential.value) == (1, b"new 1")
    assert await scene.authorization.renew(refused=b"new 1") is None
    assert (scene.credential.exchanges, scene.credential.value) == (2, b"new 2")


@pytest.mark.parametrize("value", [b"old", None])
async def test_a_refused_renewal_is_not_repeated_by_every_call(scene: Scene, value: bytes | None) -> None:
    scene.credential.value, scene.credential.refusal = value, REFUSED
    for _ in range(30):
        assert await scene.call() is OutcomeKind.CREDENTIAL_REFUSED
    assert scene.credential.exchanges == 1
    assert await scene.authorization.renew() is REFUSED, "whoever asks is told why"
    scene.clock.advance(RENEWAL_AGAIN_S)
    scene.credential.refusal = None
    assert await scene.call() is OutcomeKind.ACCEPTED
    assert scene.credential.exchanges == 2


async def test_a_token_endpoint_that_cannot_be_reached_is_tried_again_soon_and_then_more_rarely(scene: Scene) -> None:
    scene.credential.value, scene.failing = None, True
    exchanged = []
    for second in range(100):
        before = scene.credential.exchanges
        for _ in range(3):
            assert await scene.call() is OutcomeKind.UNAVAILABLE
        if scene.credential.exchanges > before:
            exchanged.append(second)
        scene.clock.advance(1.0)
    assert exchanged == [0, 1, 3, 7, 15, 31, 61, 91]
    scene.failing = False
    scene.clock.advance(RENEWAL_AGAIN_S)
    assert await scene.call() is OutcomeKind.ACCEPTED


@pytest.mark.parametrize(("asked_s", "waits_s"), [(90.0, 90.0), (86_400.0, 3_600.0)])
async def test_a_token_endpoints_retry_after_is_heeded_within_reason(
    scene: Scene, asked_s: float, waits_s: float
) -> None:
    scene.credential.refusal = Outcome(OutcomeKind.THROTTLED, 429, retry_after_s=asked_s)
    await scene.authorization.renew()
    scene.clock.advance(waits_s - 1)
    await scene.authorization.renew()
    assert scene.credential.exchanges == 1
    scene.clock.advance(1)
    await scene.authorization.renew()
    assert scene.credential.exchanges == 2


async def test_a_clock_that_is_set_back_does_not_keep_the_credential_from_being_renewed(scene: Scene) -> None:
    scene.credential.refusal = REFUSED
    await scene.authorization.renew()
    scene.clock.advance(-3600.0)
    scene.credential.refusal = None
    assert await scene.authorization.renew() is None


async def test_whoever_comes_during_an_exchange_waits_for_it_also_after_a_failed_one(scene: Scene) -> None:
    scene.credential.refusal = REFUSED
    await scene.authorization.renew()
    scene.clock.advance(RENEWAL_AGAIN_S)
    scene.credential.refusal = None
    scene.endpoint_open.clear()
    together = [asyncio.create_task(scene.authorization.renew(refused=b"old")) for _ in range(5)]
    await scene.clock.run_until_idle()
    assert not any(each.done() for each in together)
    scene.endpoint_open.set()
    assert await asyncio.gather(*together) == [None] * 5
    assert scene.credential.exchanges == 2
