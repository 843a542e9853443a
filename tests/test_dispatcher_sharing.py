"""The dispatcher with requests that carry many tokens of a notification, on the real ledger: full ones, and no more of
them than can be written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path

import pytest

from pushrpc.dispatcher import WHOLE_WAIT_S, Dispatcher
from pushrpc.exchange import Page, Requests, Response, Row, Template
from pushrpc.ledger import Limit
from pushrpc.model import Batch, Claimed, Lane
from pushrpc.policy import LaneState
from pushrpc.record import NotificationSelector
from pushrpc.words import OutcomeKind, Priority
from tests.clocks import ManualClock
from tests.ledger.shop import APNS, SqliteEngine, accepted, send
from tests.test_dispatcher import FakeAccount, FakeSessions, Watching, ok
from tests.test_dispatcher_streams import no_fetch
from tests.transport.loopback import until

WHOLE = 100


class SharingAccount(FakeAccount):
    """100 tokens a request; or one, where they go alone."""

    tokens_per_request = WHOLE
    alone = False

    def _groups(self, deliveries: Sequence[Claimed]) -> list[list[int]]:
        most = 1 if self.alone else WHOLE
        groups: list[list[int]] = []
        for _, of_one in groupby(range(len(deliveries)), lambda place: deliveries[place].notification.key):
            places = list(of_one)
            groups += [places[start : start + most] for start in range(0, len(places), most)]
        return groups

    def prepare(self, batch: Batch, authorization: bytes | None, now_us: int) -> Requests:
        rows = [Row(0, b"/", (), None, places) for places in self._groups(batch.deliveries)]
        return Requests([Template(b"POST", b"localhost", ())], rows)

    def requests_of(self, deliveries: Sequence[Claimed], now_us: int) -> int:
        return len(self._groups(deliveries))


class Wire(FakeSessions):
    """Answers all requests of a send at once, when `answering` is set; holds those of as many tokens as `stuck`."""

    def __init__(self, room: int) -> None:
        super().__init__(lambda path, authorization: ok())
        self.room = room
        self.sizes: list[int] = []
        self.refusals = 0  # how many requests are throttled first
        self.stuck = 0
        self.answering = asyncio.Event()
        self.answering.set()
        self.free = asyncio.Event()

    async def send(
        self, requests: Requests, timeout_s: float, start_within_s: float | None = None
    ) -> AsyncGenerator[Page, None]:
        assert self.room >= len(requests.rows), "claimed though it cannot be written"
        self.room -= len(requests.rows)
        sizes = [len(row.covers) for row in requests.rows]
        if self.refusals:
            self.refusals -= len(sizes)
            answer: Response = ok(OutcomeKind.THROTTLED, 503)
        else:
            self.sizes += sizes
            answer = ok()
        await (self.free if self.stuck in sizes else self.answering).wait()
        self.room += len(requests.rows)
        self.on_room()
        yield [(row, answer) for row in range(len(requests.rows))]


class Stage:
    def __init__(self, engine: SqliteEngine, clock: ManualClock, room: int) -> None:
        self.engine, self.clock = engine, clock
        self.account = SharingAccount()
        self.wire = Wire(room)
        self.watching = Watching()
        self.stopping = asyncio.Event()
        self.dispatcher = Dispatcher(
            engine.ledger,
            lambda lane: self.account,  # type: ignore[arg-type,return-value]  # only what a dispatcher uses
            lambda endpoint: self.wire,
            no_fetch,
            clock,
            self.watching,
            lambda: 0.5,
            in_flight_max=64,
        )
        self.most_in_flight = 0
        self.claims: list[int] = []  # how much each brought
        self._claim = engine.ledger.claim
        engine.ledger.claim = self._noted  # type: ignore[method-assign]

    async def _noted(self, lane: Lane, limit: int | Callable[[], Limit]) -> Batch:
        batch = await self._claim(lane, limit)
        self.claims.append(len(batch.deliveries))
        return batch

    async def accept(self, *counts: int, priority: Priority = Priority.NORMAL) -> list[str]:
        """Notifications of so many tokens each, accepted together."""
        sends = [send(self.clock, count, priority=priority) for count in counts]
        await accepted(self.engine.ledger, *sends)
        return [each.notification_id for each in sends]

    @property
    def in_flight(self) -> int:
        runner = self.dispatcher.runners.get(APNS)
        count = runner.in_flight if runner else 0
        self.most_in_flight = max(count, self.most_in_flight)
        return count

    async def done(self) -> None:
        """Everything has its final answer. Time moves only while the lane holds off."""

        def final() -> bool:
            if self.watching.states and self.watching.states[-1] is LaneState.HOLDING and not self.in_flight:
                self.clock.advance(0.1)
            return not self.in_flight and not self.engine.ledger.queue(self.clock.now_us())[0]

        await until(final)


@asynccontextmanager
async def stage_in(directory: Path, room: int = 50) -> AsyncIterator[Stage]:
    """A lane that has proved its credential and is idle."""
    clock = ManualClock()
    engine = SqliteEngine(directory, clock)
    await engine.open()
    stage = Stage(engine, clock, room)
    running = asyncio.create_task(stage.dispatcher.run(stage.stopping, drain_s=5.0))
    try:
        await stage.accept(1)
        await stage.done()
        stage.wire.sizes.clear()
        yield stage
    finally:
        stage.wire.answering.set()
        stage.wire.free.set()
        stage.stopping.set()
        await asyncio.wait_for(running, 10)
        await engine.close()
    assert not stage.watching.failures
    assert stage.most_in_flight <= WHOLE, "what a crash repeats"


@pytest.mark.parametrize("size", [WHOLE, 80])
@pytest.mark.parametrize("refusals", [0, 3])
@pytest.mark.parametrize("together", [True, False])
async def test_a_notification_that_fits_one_request_makes_one(
    tmp_path: Path, together: bool, refusals: int, size: int
) -> None:
    async with stage_in(tmp_path) as stage:
        stage.wire.refusals = refusals
        if together:
            await stage.accept(*[size] * 6)
        else:
            for _ in range(5):
                await stage.accept(size)
                await stage.done()
            await stage.accept(size)
        await stage.done()
        assert stage.wire.sizes == [size] * 6


async def test_a_claim_that_waited_takes_the_room_that_there_is_by_then(tmp_path: Path) -> None:
    """The lane asks for more as soon as a little is free, and the rest becomes free while nothing is due."""
    async with stage_in(tmp_path) as stage:
        stage.wire.stuck = 70
        await stage.accept(70)
        await until(lambda: stage.in_flight == 70)
        await stage.accept(3)  # goes by the room beside it, so the lane is waiting for more work
        await until(lambda: stage.wire.sizes == [70, 3] and stage.in_flight == 70)
        stage.wire.free.set()
        await stage.done()
        await stage.accept(WHOLE)
        await stage.done()
        assert stage.wire.sizes == [70, 3, WHOLE]


async def test_singles_beside_large_notifications_cut_none(tmp_path: Path) -> None:
    async with stage_in(tmp_path) as stage:
        await stage.accept(*[1, WHOLE, 1, 1, WHOLE, 1] * 3)
        await stage.done()
        assert sorted(stage.wire.sizes) == [1] * 12 + [WHOLE] * 6


async def test_a_slow_answer_holds_up_a_large_notification_for_a_moment_and_no_longer(tmp_path: Path) -> None:
    async with stage_in(tmp_path) as stage:
        stage.wire.stuck = 7
        await stage.accept(7)
        await until(lambda: stage.wire.sizes == [7])
        await stage.accept(WHOLE)
        await until(lambda: stage.claims[-1] == 0)
        assert stage.wire.sizes == [7]
        stage.clock.advance(WHOLE_WAIT_S + 0.001)
        await until(lambda: sum(stage.wire.sizes) == 7 + WHOLE)
        assert stage.wire.sizes == [7, WHOLE - 7, 7], "what fits beside it, and the rest"


async def test_tokens_that_go_alone_are_claimed_as_they_can_be_written(tmp_path: Path) -> None:
    """What is claimed and waits would be sent though it is cancelled meanwhile, and before what is more urgent."""
    async with stage_in(tmp_path, room=8) as stage:
        stage.account.alone = True
        stage.wire.answering.clear()
        (low,) = await stage.accept(90, priority=Priority.LOW)
        await until(lambda: stage.wire.sizes == [1] * 8 and stage.in_flight == 8)
        await stage.accept(2, priority=Priority.HIGH)
        stage.wire.answering.set()
        stage.wire.stuck = 1
        await until(lambda: len(stage.wire.sizes) == 16)
        counts = await stage.engine.ledger.cancel("shop", NotificationSelector(low), stage.clock.now_us())
        assert counts is not None and counts.cancelled_count == 90 - 8 - 6, "the urgent ones were among the next eight"
        stage.wire.free.set()
        await stage.done()
        assert len(stage.wire.sizes) == 16, "no call after the cancel"


async def test_large_notifications_are_whole_again_after_many_that_are_not(tmp_path: Path) -> None:
    async with stage_in(tmp_path, room=8) as stage:
        await stage.accept(*[1] * 60)
        await stage.done()
        await stage.accept(WHOLE)
        await stage.done()
        assert stage.wire.sizes == [1] * 60 + [WHOLE]


async def test_what_shared_a_request_goes_again_together(tmp_path: Path) -> None:
    async with stage_in(tmp_path) as stage:
        stage.dispatcher.runners[APNS]._random = iter(number / 1_000 for number in range(1_000)).__next__
        stage.wire.refusals = 1
        await stage.accept(WHOLE)
        await stage.done()
        assert stage.wire.sizes == [WHOLE]
