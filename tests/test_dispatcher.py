"""The dispatcher against a scripted provider and a ledger in memory; time is moved, never waited for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from pushrpc.content import Content
from pushrpc.dispatcher import REQUEST_TIMEOUT_S, Dispatcher, LaneRunner
from pushrpc.exchange import Answer, Endpoint, NoAnswer, NotSent, Page, Request, Requests, Response, Row, Template
from pushrpc.ledger import LedgerUnavailable
from pushrpc.model import Batch, Claimed, Lane, Notification, Outcome, Settlement
from pushrpc.policy import SUSPECT_IN_ROW_MAX, LaneHealth, LaneState
from pushrpc.providers import Classified
from pushrpc.transport import ExchangeFailed
from pushrpc.words import Cause, DeliveryState, Environment, OutcomeKind, Priority, Provider
from tests.clocks import ManualClock

LANE = Lane("shop", Provider.APNS, "dev.pushrpc.shop", Environment.PRODUCTION)
SECOND_US = 1_000_000


class FakeLedger:
    """Rows in memory with the ledger's claim and settle rules; `done` is set when every row is final."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.queued: deque[tuple[int, Claimed]] = deque()
        self.settled: list[tuple[Claimed, Settlement]] = []
        self.claims: list[int] = []
        self.open = 0
        self.done = asyncio.Event()
        self.changed = asyncio.Event()
        self.broken = False

    def add(self, count: int, **options: Any) -> None:
        now_us = self.clock.now_us()
        options = {"expire_us": now_us + 3600 * SECOND_US, "at_most_once": False, "one_try": False} | options
        notification = Notification(
            1,
            "shop",
            "n",
            "r",
            Content(title="t"),
            Priority.HIGH,
            "",
            options["at_most_once"],
            options["one_try"],
            now_us,
            options["expire_us"],
            {},
        )
        for i in range(count):
            self.queued.append((now_us, Claimed(i, notification, LANE, i, f"token-{i}", "", "", 0, 0)))
        self.open += count
        self.done.clear()
        self.changed.set()

    async def lanes(self) -> AsyncIterator[Lane]:
        yield LANE
        await asyncio.Event().wait()

    async def claim(self, lane: Lane, limit: int) -> Batch:
        while True:
            now_us = self.clock.now_us()
            due = [row for row in self.queued if row[0] <= now_us][:limit]
            if due:
                for row in due:
                    self.queued.remove(row)
                self.claims.append(len(due))
                return Batch(lane, [claimed for _, claimed in due])
            self.changed.clear()
            later = min((at for at, _ in self.queued), default=None)
            alarm = None if later is None else asyncio.ensure_future(self.clock.sleep((later - now_us) / 1e6))
            news = asyncio.ensure_future(self.changed.wait())
            try:
                await asyncio.wait([t for t in (alarm, news) if t], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (alarm, news):
                    if task:
                        task.cancel()

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        if self.broken:
            raise LedgerUnavailable("broken")
        each = [(claimed, settlement) for settlement in settlements for claimed in settlement.deliveries]
        self.settled.extend(each)
        for claimed, s in each:
            if s.state is DeliveryState.QUEUED:
                told = s.outcome.kind is not OutcomeKind.UNSPECIFIED
                again = claimed._replace(tries=claimed.tries + told, spent=claimed.spent + s.spend)
                self.queued.append((s.due_us, again))
            else:
                self.open -= 1
        self.changed.set()
        if self.open == 0:
            self.done.set()

    def states(self) -> list[DeliveryState]:
        return [s.state for _, s in self.settled if s.state is not DeliveryState.QUEUED]

    def outcomes(self) -> list[OutcomeKind]:
        return [s.outcome.kind for _, s in self.settled]


class FakeAccount:
    """Answers carry their outcome in the body, by name."""

    provider = Provider.APNS
    provider_app_id = "dev.pushrpc.shop"
    environment = Environment.PRODUCTION

    def __init__(self, credential: Any = None) -> None:
        self.credential = credential
        self.broken = False
        self.retry_after_s: float | None = None
        self.misdirected = False
        self.ambiguous = False

    def endpoint(self, environment: Environment) -> Endpoint:
        return Endpoint("localhost", 1)

    def prepare(self, batch: Batch, authorization: bytes | None, now_us: int) -> Requests:
        if self.broken:
            raise RuntimeError("a bug")
        template = Template(b"POST", b"localhost", [(b"authorization", authorization or b"")])
        return Requests([template], [Row(0, d.token.encode(), [], None, (i,)) for i, d in enumerate(batch.deliveries)])

    def classify(self, response: Response, covered: Sequence[Claimed], now_us: int) -> Sequence[Classified]:
        kind = OutcomeKind[response.body.decode()]
        outcome = Outcome(
            kind,
            response.status,
            renew=response.status == 401,
            close_session=response.status == 500,
            retry_after_s=self.retry_after_s,
            misdirected=self.misdirected and kind is OutcomeKind.TOKEN_INVALID,
            ambiguous=self.ambiguous and kind is OutcomeKind.TOKEN_INVALID,
        )
        return [(outcome, "")] * len(covered)


class FakeCredential:
    def __init__(self) -> None:
        self.value: bytes | None = None
        self.answer: Outcome | None = None
        self.renewals = 0

    def current(self, now_us: int) -> bytes | None:
        return self.value

    def renew_at_us(self) -> int:
        return 0

    def renewal(self, now_us: int) -> Request:
        self.renewals += 1
        return Request("POST", "https://localhost/token", [], b"")

    def renewed(self, response: Response, now_us: int) -> Outcome | None:
        if self.answer is None:
            self.value = b"bearer %d" % self.renewals
        return self.answer


class FakeSessions:
    """`answer(path, authorization)` decides; each row is a page of its own."""

    def __init__(self, answer: Callable[[bytes, bytes], Answer]) -> None:
        self.answer = answer
        self.retired: list[int] = []
        self.retired_all = 0
        self.sent = 0
        self.spans: list[tuple[float, float | None]] = []
        self.open_count = 1
        self.room = 1000
        self.closed = False
        self.gate: asyncio.Event | None = None
        self.on_room: Callable[[], None] = lambda: None

    async def send(
        self, requests: Requests, timeout_s: float, start_within_s: float | None = None
    ) -> AsyncGenerator[Page, None]:
        self.spans.append((timeout_s, start_within_s))
        for i, row in enumerate(requests.rows):
            self.sent += 1
            if self.gate is not None:
                await self.gate.wait()
            yield [(i, self.answer(row.path, requests.templates[0].headers[0][1]))]

    def retire(self, session: int) -> None:
        self.retired.append(session)

    def retire_all(self) -> None:
        self.retired_all += 1

    async def close(self) -> None:
        self.closed = True


class Watching:
    def __init__(self) -> None:
        self.states: list[LaneState] = []
        self.failures: list[str] = []
        self.paused = asyncio.Event()

    def lane_opened(self, lane: Lane) -> None: ...
    def settled(self, lane: Lane, settlements: Sequence[Settlement]) -> None: ...
    def credential_renewed(self, lane: Lane) -> None: ...

    def lane_changed(self, lane: Lane, health: LaneHealth) -> None:
        self.states.append(health.state)
        if health.state in (LaneState.PAUSED, LaneState.HOLDING):
            self.paused.set()

    def failed(self, where: str, error: Exception) -> None:
        self.failures.append(where)

    def ledger_failed(self, where: str, problem: str) -> None:
        self.failures.append(where)


def ok(kind: OutcomeKind = OutcomeKind.ACCEPTED, status: int = 200) -> Response:
    return Response(status, [], kind.name.encode(), session=7)


class Stage:
    def __init__(self, answer: Callable[[bytes, bytes], Answer] | None = None, credential: Any = None) -> None:
        self.clock = ManualClock()
        self.ledger = FakeLedger(self.clock)
        self.account = FakeAccount(credential)
        self.sessions = FakeSessions(answer or (lambda path, authorization: ok()))
        self.watching = Watching()
        self.stopping = asyncio.Event()
        self.fetched = 0
        self.fetch_takes_s = 0.0
        self.fetch_fails = 0

    async def fetch(self, request: Request, timeout_s: float) -> Response:
        self.fetched += 1
        await self.clock.sleep(self.fetch_takes_s)
        if self.fetch_fails:
            self.fetch_fails -= 1
            raise ExchangeFailed("no route")
        return Response(200, [], b"")

    async def __aenter__(self) -> Stage:
        self.dispatcher = Dispatcher(
            self.ledger,  # type: ignore[arg-type]  # only the verbs that a dispatcher uses
            lambda lane: self.account,  # type: ignore[arg-type,return-value]
            lambda endpoint: self.sessions,
            self.fetch,
            self.clock,
            self.watching,
            lambda: 0.5,
            in_flight_max=64,
        )
        self.running = asyncio.create_task(self.dispatcher.run(self.stopping, drain_s=5.0))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopping.set()
        await asyncio.wait_for(self.running, 10)
        assert self.sessions.closed

    @property
    def runner(self) -> LaneRunner:
        return self.dispatcher.runners[LANE]

    async def until_done(self) -> None:
        """Moves time on whenever everything waits for it."""
        async with asyncio.timeout(20):
            while not self.ledger.done.is_set():
                await self.clock.run_until_idle()
                if not self.ledger.done.is_set():
                    self.clock.advance(1.0)


async def test_everything_is_sent_within_the_in_flight_bound() -> None:
    async with Stage() as stage:
        stage.ledger.add(500)
        await stage.until_done()
    assert stage.ledger.states() == [DeliveryState.SENT] * 500
    assert stage.ledger.claims[0] == 1, "the credential is proved with one delivery"
    assert max(stage.ledger.claims) <= 64


class NarrowSessions(FakeSessions):
    """Room is what no send has taken."""

    async def send(
        self, requests: Requests, timeout_s: float, start_within_s: float | None = None
    ) -> AsyncGenerator[Page, None]:
        self.room -= len(requests.rows)
        async for page in super().send(requests, timeout_s, start_within_s):
            self.room += len(page)
            self.on_room()
            yield page


async def test_nothing_is_claimed_that_cannot_be_written_now() -> None:
    """What is claimed and waits would be sent though it is cancelled meanwhile, and before what is more urgent."""
    stage = Stage()
    stage.sessions = NarrowSessions(lambda path, authorization: ok())
    stage.sessions.room = 20
    async with stage:
        stage.ledger.add(1)
        await stage.until_done()
        stage.sessions.gate = asyncio.Event()
        stage.ledger.add(60)
        await stage.clock.run_until_idle()
        assert (stage.runner.in_flight, stage.sessions.room) == (20, 0)
        stage.ledger.broken = True  # the wire does not wait for the disk as long as all that is in flight may be
        stage.sessions.gate.set()
        await stage.clock.run_until_idle()
        assert stage.sessions.sent == stage.runner.in_flight + 1 == 61
        stage.ledger.broken = False
        await stage.until_done()


async def test_refused_and_failed_attempts_are_repeated_until_each_is_final() -> None:
    tries: dict[bytes, int] = {}

    def answer(path: bytes, authorization: bytes) -> Answer:
        tries[path] = n = tries.get(path, 0) + 1
        kinds: list[Answer] = [
            NotSent("refused"),
            ok(OutcomeKind.UNAVAILABLE, 503),
            NoAnswer("lost", 7),
            ok(OutcomeKind.THROTTLED, 429),
            ok(),
        ]
        return kinds[n - 1]

    async with Stage(answer) as stage:
        stage.ledger.add(3)
        await stage.until_done()
    assert stage.ledger.states() == [DeliveryState.SENT] * 3
    assert set(tries.values()) == {5}
    final = stage.ledger.settled[-1][0]
    assert (final.tries, final.spent) == (3, 2), "NotSent makes no attempt; a throttled one is not spent"


async def test_expired_deliveries_never_reach_the_provider() -> None:
    async with Stage() as stage:
        stage.ledger.add(5, expire_us=stage.clock.now_us())
        await stage.until_done()
    assert stage.ledger.states() == [DeliveryState.EXPIRED] * 5
    assert stage.sessions.sent == 0


async def test_an_unseen_answer_with_at_most_once_is_not_repeated() -> None:
    async with Stage(lambda path, authorization: NoAnswer("lost", 7)) as stage:
        stage.ledger.add(1, at_most_once=True)
        await stage.until_done()
    assert [(s.state, s.cause) for _, s in stage.ledger.settled] == [(DeliveryState.FAILED, Cause.ANSWER_UNKNOWN)]
    assert stage.sessions.sent == 1


async def test_a_refused_credential_is_renewed_once_for_all() -> None:
    credential = FakeCredential()
    credential.value = b"bearer old"

    def answer(path: bytes, authorization: bytes) -> Answer:
        return ok(OutcomeKind.CREDENTIAL_REFUSED, 401) if authorization == b"bearer old" else ok()

    async with Stage(answer, credential) as stage:
        stage.ledger.add(100)
        await stage.until_done()
    assert stage.ledger.states() == [DeliveryState.SENT] * 100
    assert (credential.renewals, stage.fetched, stage.sessions.retired_all) == (1, 1, 1)
    assert stage.watching.states == [LaneState.RENEWING, LaneState.PROVING, LaneState.OPEN]
    assert sum(s.spend for _, s in stage.ledger.settled) == 100, "the refused attempt was free"


async def test_a_credential_that_stays_refused_pauses_the_lane_and_keeps_every_row() -> None:
    credential = FakeCredential()
    good = False

    def answer(path: bytes, authorization: bytes) -> Answer:
        return ok() if good else ok(OutcomeKind.CREDENTIAL_REFUSED, 401)

    async with Stage(answer, credential) as stage:
        stage.ledger.add(100)
        await asyncio.wait_for(stage.watching.paused.wait(), 5)
        await stage.clock.run_until_idle()
        assert stage.sessions.sent <= 3, "a paused lane is not hammered"
        assert stage.ledger.open == 100
        for _ in range(3):
            stage.clock.advance(60)
            await stage.clock.run_until_idle()
        assert stage.sessions.sent <= 6, "one probe each minute"
        good = True
        stage.clock.advance(60)
        await stage.until_done()
    assert stage.ledger.states() == [DeliveryState.SENT] * 100


async def test_a_few_that_alone_are_refused_do_not_keep_the_others_waiting() -> None:
    poison = {b"token-0", b"token-1"}

    def answer(path: bytes, authorization: bytes) -> Answer:
        return ok(OutcomeKind.CREDENTIAL_REFUSED, 403) if path in poison else ok()

    async with Stage(answer) as stage:
        stage.ledger.add(50)
        for _ in range(200):
            await stage.clock.run_until_idle()
            stage.clock.advance(1.0)
        assert stage.ledger.open == len(poison)
        poison.clear()
        await stage.until_done()
    assert stage.ledger.states() == [DeliveryState.SENT] * 50


async def test_a_token_endpoint_that_refuses_sends_nothing() -> None:
    credential = FakeCredential()
    credential.answer = Outcome(OutcomeKind.CREDENTIAL_REFUSED, 400, "invalid_grant")
    async with Stage(credential=credential) as stage:
        stage.ledger.add(10)
        await asyncio.wait_for(stage.watching.paused.wait(), 5)
        await stage.clock.run_until_idle()
        assert stage.sessions.sent == 0
        credential.answer = None
        stage.clock.advance(61)
        await stage.until_done()
    assert stage.ledger.states() == [DeliveryState.SENT] * 10


async def test_an_unreachable_provider_is_tried_ever_more_rarely_and_costs_no_attempt() -> None:
    reachable = False

    def answer(path: bytes, authorization: bytes) -> Answer:
        return ok() if reachable else NotSent("connection refused", failed_connect=True)

    async with Stage(answer) as stage:
        stage.ledger.add(10)
        for _ in range(120):
            await stage.clock.run_until_idle()
            stage.clock.advance(1.0)
        assert 3 <= stage.sessions.sent <= 12
        reachable = True
        await stage.until_done()
    assert stage.ledger.states() == [DeliveryState.SENT] * 10
    assert {claimed.spent for claimed, _ in stage.ledger.settled} == {0}


INNER = NotSent("push.test:443: the host has a private address", failed_connect=True, forbidden=True)


async def test_deliveries_to_a_host_at_an_inner_address_end_and_say_why() -> None:
    async with Stage(lambda path, authorization: INNER) as stage:
        started_us = stage.clock.now_us()
        stage.ledger.add(100)
        await stage.until_done()
        assert stage.clock.now_us() < started_us + 15 * SECOND_US, "not at their expiry"
    assert stage.ledger.states() == [DeliveryState.REJECTED] * 100
    told = {(s.cause, s.outcome.detail) for _, s in stage.ledger.settled if s.state is DeliveryState.REJECTED}
    assert told == {(Cause.ENDPOINT_FORBIDDEN, INNER.detail)}


async def test_those_that_cannot_wait_end_at_once_and_hold_up_nobody() -> None:
    async with Stage(lambda path, authorization: INNER) as stage:
        expire_us = stage.clock.now_us() + 5 * SECOND_US
        stage.ledger.add(100, expire_us=expire_us)
        await stage.until_done()
        assert stage.clock.now_us() < expire_us
    assert {s.cause for _, s in stage.ledger.settled if s.state is DeliveryState.REJECTED} == {Cause.ENDPOINT_FORBIDDEN}


async def test_a_slip_of_the_name_server_costs_nothing() -> None:
    async with Stage(lambda path, authorization: INNER if stage.sessions.sent <= 3 else ok()) as stage:
        stage.ledger.add(100)
        await stage.until_done()
    assert stage.ledger.states() == [DeliveryState.SENT] * 100


async def test_a_session_of_no_more_use_is_retired() -> None:
    answers = iter([ok(OutcomeKind.UNAVAILABLE, 500), ok()])
    async with Stage(lambda path, authorization: next(answers)) as stage:
        stage.ledger.add(1)
        await stage.until_done()
    assert stage.sessions.retired == [7]


async def test_a_bug_in_a_provider_loses_nothing() -> None:
    async with Stage() as stage:
        stage.account.broken = True
        stage.ledger.add(4)
        await stage.clock.run_until_idle()
        stage.account.broken = False
        await stage.until_done()
    assert stage.ledger.states() == [DeliveryState.SENT] * 4
    assert "dispatcher.move" in stage.watching.failures


async def test_answers_wait_for_a_broken_ledger() -> None:
    async with Stage() as stage:
        stage.ledger.broken = True
        stage.ledger.add(1)
        await stage.clock.run_until_idle()
        assert stage.watching.failures == ["ledger.settle"]
        stage.ledger.broken = False
        await stage.until_done()
    assert stage.sessions.sent == 1, "the answer was kept, not asked for again"


@pytest.mark.parametrize("answered", [True, False])
async def test_stopping_waits_for_what_is_on_the_wire(answered: bool) -> None:
    stage = Stage()
    stage.sessions.gate = asyncio.Event()
    async with stage:
        stage.ledger.add(1)
        await stage.clock.run_until_idle()
        assert stage.sessions.sent == 1
        stage.stopping.set()
        await stage.clock.run_until_idle()
        assert not stage.running.done()
        if answered:
            stage.sessions.gate.set()
        else:
            stage.running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stage.running
            stage.running = asyncio.create_task(asyncio.sleep(0))
            stage.sessions.closed = True
    assert stage.ledger.states() == ([DeliveryState.SENT] if answered else [])


async def test_a_hold_that_ends_between_two_looks_at_the_clock_still_ends() -> None:
    async with Stage() as stage:
        stage.ledger.add(1)
        await stage.until_done()
        hold_us = stage.clock.now_us() + SECOND_US
        stage.runner.health = LaneHealth(LaneState.HOLDING, hold_until_us=hold_us)
        looks = iter([hold_us - 1, hold_us - 1])  # after the claim, and for the lane's room: just before the end
        look = stage.clock.now_us

        def creeping() -> int:
            return next(looks, max(look(), hold_us + 1))

        stage.ledger.add(1)
        stage.clock.now_us = creeping  # type: ignore[method-assign]
        await stage.clock.run_until_idle()
        stage.clock.now_us = look  # type: ignore[method-assign]
        await stage.until_done()
    assert stage.ledger.states() == [DeliveryState.SENT] * 2


async def test_a_claim_that_waited_through_a_throttle_is_given_back() -> None:
    answers = iter([ok(), ok(OutcomeKind.THROTTLED, 429)])

    async with Stage(lambda path, authorization: next(answers, ok())) as stage:
        stage.account.retry_after_s = 60.0
        stage.ledger.add(1)
        await stage.until_done()
        stage.ledger.add(1)
        await stage.clock.run_until_idle()
        assert stage.watching.states[-1] is LaneState.HOLDING
        stage.ledger.add(60)
        await stage.clock.run_until_idle()
        assert stage.sessions.sent == 2, "nothing within Retry-After"
        await stage.until_done()
    assert len(stage.ledger.states()) == 62


async def test_a_refused_credential_is_not_used_again_before_it_is_renewed() -> None:
    credential = FakeCredential()
    credential.value = b"bearer old"
    used: list[bytes] = []

    def answer(path: bytes, authorization: bytes) -> Answer:
        used.append(authorization)
        return ok(OutcomeKind.CREDENTIAL_REFUSED, 401) if authorization == b"bearer old" and len(used) > 1 else ok()

    async with Stage(answer, credential) as stage:
        for _ in range(2):
            stage.ledger.add(1)
            await stage.until_done()
    assert used == [b"bearer old", b"bearer old", b"bearer 1"]


async def test_what_another_lane_has_renewed_meanwhile_is_not_renewed_again() -> None:
    credential = FakeCredential()
    credential.value = b"bearer old"

    def answer(path: bytes, authorization: bytes) -> Answer:
        credential.value = b"bearer another's"
        return ok(OutcomeKind.CREDENTIAL_REFUSED, 401) if authorization == b"bearer old" else ok()

    async with Stage(answer, credential) as stage:
        stage.ledger.add(10)
        await stage.until_done()
    assert (stage.ledger.states(), stage.fetched) == ([DeliveryState.SENT] * 10, 0)


async def test_a_renewal_that_fails_is_tried_again() -> None:
    credential = FakeCredential()
    credential.value = b"bearer old"

    def answer(path: bytes, authorization: bytes) -> Answer:
        return ok(OutcomeKind.CREDENTIAL_REFUSED, 401) if authorization == b"bearer old" else ok()

    async with Stage(answer, credential) as stage:
        stage.fetch_fails = 3
        stage.ledger.add(1)
        await stage.until_done()
        assert stage.sessions.sent == 2, "the refused value is not tried again"
    assert (stage.ledger.states(), stage.fetched) == ([DeliveryState.SENT], 4)


async def test_renewing_ahead_of_time_is_not_hammered() -> None:
    credential = FakeCredential()
    credential.value = b"bearer old"
    credential.renew_at_us = lambda: 1  # type: ignore[method-assign]
    async with Stage(credential=credential) as stage:
        stage.fetch_fails = 1_000
        for _ in range(50):
            stage.ledger.add(1)
            await stage.until_done()
        assert stage.fetched <= 2
        stage.clock.advance(31)
        stage.ledger.add(1)
        await stage.until_done()
    assert stage.fetched <= 4


async def test_no_call_starts_after_expiry_though_renewing_was_slow() -> None:
    async with Stage(credential=FakeCredential()) as stage:
        stage.fetch_takes_s = 8.0
        stage.ledger.add(1, expire_us=stage.clock.now_us() + 5 * SECOND_US)
        await stage.until_done()
    assert stage.ledger.states() == [DeliveryState.EXPIRED]
    assert stage.sessions.sent == 0


async def test_a_short_life_bounds_when_calls_start_and_not_how_long_they_take() -> None:
    async with Stage() as stage:
        stage.ledger.add(1)
        await stage.until_done()
        stage.ledger.add(1, expire_us=stage.clock.now_us() + 50_000)
        stage.ledger.add(3)
        await stage.until_done()
    assert stage.sessions.spans[-1] == (REQUEST_TIMEOUT_S, 0.05)


async def test_wrong_settings_do_not_kill_the_devices() -> None:
    right = False

    def answer(path: bytes, authorization: bytes) -> Answer:
        return ok() if right else ok(OutcomeKind.TOKEN_INVALID, 400)

    async with Stage(answer) as stage:
        stage.account.misdirected = True
        stage.ledger.add(500)
        for _ in range(200):
            await stage.clock.run_until_idle()
            stage.clock.advance(1.0)
        killed = stage.ledger.states().count(DeliveryState.UNREGISTERED)
        assert killed <= 20, "the breaker's count, and no more"
        assert stage.runner.health.state is LaneState.PAUSED
        right = True
        await stage.until_done()
    assert stage.ledger.states().count(DeliveryState.SENT) == 500 - killed


async def test_a_sender_that_is_blocked_without_a_word_keeps_its_devices() -> None:
    """The provider says 410 of every token, as it does of a dead one: nothing but how many tells them apart."""
    blocked = False

    def answer(path: bytes, authorization: bytes) -> Answer:
        return ok(OutcomeKind.TOKEN_INVALID, 410) if blocked else ok()

    async with Stage(answer) as stage:
        stage.account.ambiguous = True
        stage.ledger.add(50)
        await stage.until_done()
        blocked = True
        stage.ledger.add(500)
        for _ in range(200):
            await stage.clock.run_until_idle()
            stage.clock.advance(1.0)
        killed = stage.ledger.states().count(DeliveryState.UNREGISTERED)
        assert killed < SUSPECT_IN_ROW_MAX
        assert stage.runner.health.state is LaneState.PAUSED
        blocked = False
        await stage.until_done()
    assert stage.ledger.states().count(DeliveryState.SENT) == 550 - killed


async def test_the_living_behind_many_dead_are_reached() -> None:
    dead = 200

    def answer(path: bytes, authorization: bytes) -> Answer:
        return ok(OutcomeKind.TOKEN_INVALID, 410) if int(path.rpartition(b"-")[2] or b"0") < dead else ok()

    async with Stage(answer) as stage:
        stage.account.ambiguous = True
        stage.ledger.add(dead + 300)
        started_us = stage.clock.now_us()
        while stage.ledger.states().count(DeliveryState.SENT) < 300:
            await stage.clock.run_until_idle()
            stage.clock.advance(1.0)
            assert stage.clock.now_us() < started_us + 2 * dead * SECOND_US
        assert stage.ledger.states().count(DeliveryState.UNREGISTERED) <= 2 * SUSPECT_IN_ROW_MAX
        assert stage.ledger.queued, "who is still in doubt waits"


async def test_a_bug_in_the_ledger_stops_neither_the_lane_nor_the_others() -> None:
    async with Stage() as stage:
        claim, settle = stage.ledger.claim, stage.ledger.settle
        broken = True

        async def claim_or_break(lane: Lane, limit: int) -> Batch:
            if broken:
                raise ValueError("a row that cannot be read")
            return await claim(lane, limit)

        async def settle_or_break(settlements: Sequence[Settlement]) -> None:
            assert all(d.ordinal != 7 for s in settlements for d in s.deliveries), "a bug that one settlement brings on"
            await settle(settlements)

        stage.ledger.claim = claim_or_break  # type: ignore[method-assign]
        stage.ledger.settle = settle_or_break  # type: ignore[method-assign]
        stage.ledger.add(20)
        await stage.clock.run_until_idle()
        broken = False
        for _ in range(20):
            await stage.clock.run_until_idle()
            stage.clock.advance(1.0)
        assert not stage.running.done()
    assert stage.ledger.states() == [DeliveryState.SENT] * 19
    assert {"dispatcher.claim", "ledger.settle"} <= set(stage.watching.failures)
