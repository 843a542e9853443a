"""The dispatcher: claim -> prepare -> send -> classify -> decide -> settle, one runner for each lane.

A lane's runner claims only what can be written now, so the backlog stays on disk. Answers are settled a page at a time
and give their room back one by one. Lanes share nothing but the ledger's writer, so a sick one delays no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from itertools import groupby
from operator import attrgetter
from typing import Protocol

from pushrpc.alike import Alike, settlement_of, sort_by_outcome, spared, unanswered
from pushrpc.authorization import Authorization, Authorizations
from pushrpc.clock import Clock
from pushrpc.exchange import Answer, Endpoint, NotSent, Page, Requests, Response
from pushrpc.ledger import Ledger, LedgerError, Limit
from pushrpc.model import NOT_SENT, Batch, Claimed, Lane, Outcome, Settlement
from pushrpc.policy import ATTEMPTS_MAX, Decision, LaneHealth, LaneState, decide, ends_always
from pushrpc.providers import ProviderAccount
from pushrpc.room import LaneRoom
from pushrpc.transport import Fetch, Sessions
from pushrpc.words import Cause, DeliveryState, OutcomeKind

# Sent, or answered but unsettled, per lane: the most that a crash can repeat. With fewer, the wire runs dry while
# answers are being committed (docs/decisions/0006).
IN_FLIGHT_MAX = 768
# So long what is due waits for room in which its request is filled. That is about what a request takes; one that takes
# far longer shall not hold up what is behind it.
WHOLE_WAIT_S = 1.0
REQUEST_TIMEOUT_S = 10.0  # FCM advises at least 10 s before a request is given up; Apple names none
LEDGER_RETRY_S = 1.0  # a failed ledger reopens itself; asking more often would not help it
# Refusals without a single answer in between, after which the provider is treated like one that cannot be reached.
NOT_SENT_ROUNDS_MAX = 3

AccountOf = Callable[[Lane], ProviderAccount | None]
OpenSessions = Callable[[Endpoint], Sessions]


class Watcher(Protocol):
    """Who is told what happens, a batch at a time. Must not raise and not wait."""

    def lane_opened(self, lane: Lane) -> None: ...
    def lane_changed(self, lane: Lane, health: LaneHealth) -> None: ...
    def settled(self, lane: Lane, settlements: Sequence[Settlement]) -> None: ...
    def credential_renewed(self, lane: Lane) -> None: ...
    def ledger_failed(self, where: str, problem: str) -> None: ...
    def failed(self, where: str, error: Exception) -> None: ...


_history = attrgetter("notification", "tries", "spent")


def _answer_id(row: tuple[int, Answer]) -> int:
    return id(row[1])


class LaneRunner:
    """Moves one lane's deliveries."""

    def __init__(
        self,
        lane: Lane,
        account: ProviderAccount,
        authorization: Authorization,
        sessions: Sessions,
        ledger: Ledger,
        clock: Clock,
        watcher: Watcher,
        random: Callable[[], float],
        in_flight_max: int,
        attempts_max: int,
    ) -> None:
        self.lane = lane
        self.health = LaneHealth()
        self.sessions = sessions
        self._account = account
        self._authorization = authorization
        self._ledger = ledger
        self._clock = clock
        self._watcher = watcher
        self._random = random
        self._room = LaneRoom(account, sessions, in_flight_max)
        self._attempts_max = attempts_max
        self._must_renew = False  # the provider refused the credential that we have
        self._used: bytes | None = None  # its value, as the last batch was sent with it
        self._not_sent_rounds = 0
        self._news = asyncio.Event()  # there may be more room, or the lane's health changed
        sessions.on_room = self._news.set
        self._judged: list[Settlement] = []
        self._judged_some = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    @property
    def in_flight(self) -> int:
        """How many are claimed and not settled."""
        return self._room.in_flight

    async def run(self, stopping: asyncio.Event) -> None:
        """Claims and moves until `stopping`, then finishes what is on the wire."""
        async with asyncio.TaskGroup() as tasks:
            settler = tasks.create_task(self._settle_judged())
            claimer = tasks.create_task(self._claim_and_move(tasks))
            await stopping.wait()
            claimer.cancel()
            await self._drained.wait()
            settler.cancel()

    async def _claim_and_move(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            try:
                batch = await self._ledger.claim(self.lane, await self._limit())
            except LedgerError as error:
                self._watcher.ledger_failed("ledger.claim", str(error))
                await self._clock.sleep(LEDGER_RETRY_S)
                continue
            except Exception as error:  # a bug that one lane meets shall not stop the others
                self._watcher.failed("dispatcher.claim", error)
                await self._clock.sleep(LEDGER_RETRY_S)
                continue
            deliveries, room = batch.deliveries, self._room
            if not deliveries:
                await self._wait_for_whole()
                continue
            room.cutting = False
            allowed, requests = room.admit(deliveries, self.health, self._clock.now_us())
            room.in_flight += len(deliveries)
            self._drained.clear()
            self._give_back(deliveries[allowed:])
            if allowed:
                room.unplaced += requests
                tasks.create_task(self._move(deliveries[:allowed], requests))

    async def _limit(self) -> int | Callable[[], Limit]:
        """Waits until the lane may take more, and says how much."""
        while True:
            self._news.clear()
            now_us = self._clock.now_us()
            if self._must_renew and not self.in_flight and now_us >= self.health.hold_until_us:
                await self._renew()
                continue
            free = self._room.free(self.health, now_us)
            if free:
                # A lane of large requests often has nothing else due: by then there may be room for a whole one.
                return free if self._room.shares is None else self._limit_now
            await self._wait_for_news()

    def _limit_now(self) -> Limit:
        return self._room.limit(self.health, self._clock.now_us())

    async def _wait_for_whole(self) -> None:
        """After nothing that is due fitted whole. What does not by the end of the wait is cut."""
        until_us = self._clock.now_us() + int(WHOLE_WAIT_S * 1e6)
        while not self._room.takes_whole(self.health, now_us := self._clock.now_us()):
            if now_us >= until_us:
                self._room.cutting = True
                return
            self._news.clear()
            await self._news_within((until_us - now_us) / 1e6)

    async def _wait_for_news(self) -> None:
        wait_s = (self.health.hold_until_us - self._clock.now_us()) / 1e6
        if wait_s <= 0 and self.in_flight:
            await self._news.wait()
            return
        # With nothing in flight there may be no news ever: the hold can end between two looks at the clock.
        await self._news_within(wait_s)

    async def _news_within(self, most_s: float) -> None:
        alarm = asyncio.ensure_future(self._clock.sleep(max(most_s, 0.001)))
        news = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait((alarm, news), return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()
            news.cancel()

    async def _renew(self) -> None:
        """Tries again when the hold that a failure brings is over: the old value is known to be refused."""
        why_not = await self._authorization.renew(refused=self._used)
        if why_not is not None:
            self._observe(why_not._replace(renew=False))
            return
        self._must_renew = False
        self.sessions.retire_all()
        self._set_health(self.health.credential_changed())
        self._watcher.credential_renewed(self.lane)

    # --- moving one batch

    async def _move(self, deliveries: Sequence[Claimed], requests_count: int) -> None:
        """Sends deliveries and judges every one of them, whatever happens on the way."""
        why_not = await self._ready()
        self._room.unplaced -= requests_count  # from here to the sessions' taking them nothing is waited for
        self._news.set()
        started_us = self._clock.now_us()
        live = self._still_wanted(deliveries, started_us)
        if why_not is not None:
            self._observe(why_not)
            self._give_back(live)
            return
        if not live:
            return
        unanswered = set(range(len(live)))
        if_broken = OutcomeKind.UNAVAILABLE
        try:
            self._used = self._authorization.current()
            requests = self._account.prepare(Batch(self.lane, live), self._used, started_us)
            if_broken = OutcomeKind.UNKNOWN
            first_expiry_us = min(delivery.notification.expire_us for delivery in live)
            start_within_s = (first_expiry_us - started_us) / 1e6
            async with aclosing(self.sessions.send(requests, REQUEST_TIMEOUT_S, start_within_s)) as pages:
                async for page in pages:
                    judged = self._judge_page(page, requests, live, started_us)
                    unanswered.difference_update(judged)
        except Exception as error:
            # A bug, not an answer. Nothing claimed may stay claimed because of it, and a poisonous message that
            # breaks every batch it is in spends its attempts and ends, while backoff parts it from its neighbours.
            self._watcher.failed("dispatcher.move", error)
            broken = Outcome(if_broken, detail=f"internal error: {type(error).__name__}")
            self._judge([Alike(broken, [live[i] for i in sorted(unanswered)], [])], started_us)

    def _still_wanted(self, deliveries: Sequence[Claimed], now_us: int) -> Sequence[Claimed]:
        """Leaves out what expired while it waited: no call to a provider starts after expiry."""
        live = [d for d in deliveries if d.notification.expire_us > now_us]
        if len(live) < len(deliveries):
            late = [d for d in deliveries if d.notification.expire_us <= now_us]
            cause = Cause.LANE_PAUSED if self.health.state is LaneState.PAUSED else Cause.UNSPECIFIED
            expired = Decision(DeliveryState.EXPIRED, cause, 0, False)
            self._hand_over([settlement_of(Alike(NOT_SENT, late, []), expired, now_us, now_us)])
        return live

    async def _ready(self) -> Outcome | None:
        try:
            return await self._authorization.ready()
        except Exception as error:
            self._watcher.failed("dispatcher.authorize", error)
            return Outcome(OutcomeKind.UNAVAILABLE, detail=f"internal error: {type(error).__name__}")

    def _judge_page(self, page: Page, requests: Requests, live: Sequence[Claimed], started_us: int) -> list[int]:
        """Turns one page of answers into settlements; returns the positions it spoke for."""
        now_us = self._clock.now_us()
        rows, classify = requests.rows, self._account.classify
        told: dict[int, Alike] = {}  # by the outcome's identity: providers share one for what is common
        judged: list[int] = []
        answered = False
        for _, neighbours in groupby(page, _answer_id):
            same = list(neighbours)
            answer = same[0][1]
            covers = [position for row, _ in same for position in rows[row].covers]
            judged += covers
            covered = [live[position] for position in covers]
            if isinstance(answer, Response):
                classified = classify(answer, covered, now_us)
                if classified and classified[0][0].close_session:
                    self.sessions.retire(answer.session)
            else:
                classified = unanswered(answer, covered, self.health.failures_in_row, now_us)
            sent = not isinstance(answer, NotSent)
            answered = answered or sent or any(outcome is not NOT_SENT for outcome, _ in classified)
            sort_by_outcome(covered, classified, told)
        self._observe_all(told.values(), now_us)
        self._note_refusals(page, answered, now_us)
        self._judge(told.values(), started_us)
        return judged

    def _judge(self, told: Iterable[Alike], started_us: int) -> None:
        now_us = self._clock.now_us()
        settlements: list[Settlement] = []
        for alike in told:
            if self.health.state is LaneState.PAUSED:
                alike = alike._replace(outcome=spared(alike.outcome))
            outcome = alike.outcome
            if ends_always(outcome):
                decision = decide(alike.deliveries[0], outcome, now_us, 0.0, self._attempts_max)
                settlements.append(settlement_of(alike, decision, started_us, now_us))
                continue
            for deliveries in self._going_together(alike.deliveries):
                decision = decide(deliveries[0], outcome, now_us, self._random(), self._attempts_max)
                settlements.append(settlement_of(Alike(outcome, deliveries, []), decision, started_us, now_us))
        self._hand_over(settlements)

    def _going_together(self, deliveries: list[Claimed]) -> Iterable[list[Claimed]]:
        """Those that go again at the same instant: what shared a request shall share the next one too."""
        if self._room.shares is None:
            return ([delivery] for delivery in deliveries)
        return (list(alike) for _, alike in groupby(deliveries, _history))

    def _give_back(self, deliveries: Sequence[Claimed]) -> None:
        """Returns what was not sent: it keeps its place in the queue."""
        if deliveries:
            self._judge([Alike(NOT_SENT, list(deliveries), [])], self._clock.now_us())

    # --- settling

    def _hand_over(self, settlements: Sequence[Settlement]) -> None:
        self._judged.extend(settlements)
        self._judged_some.set()

    async def _settle_judged(self) -> None:
        """Writes whatever has been judged since the last commit; room comes back only after it is durable."""
        while True:
            await self._judged_some.wait()
            self._judged_some.clear()
            settlements, self._judged = self._judged, []
            await self._settle(settlements)
            self._watcher.settled(self.lane, settlements)
            self._room.in_flight -= sum(len(settlement.deliveries) for settlement in settlements)
            self._news.set()
            if self.in_flight == 0:
                self._drained.set()

    async def _settle(self, settlements: Sequence[Settlement]) -> None:
        while True:
            try:
                await self._ledger.settle(settlements)
                return
            except LedgerError as error:
                # The answers are known and only here: keep them until the ledger takes them again.
                self._watcher.ledger_failed("ledger.settle", str(error))
                await self._clock.sleep(LEDGER_RETRY_S)
            except Exception as error:
                # A bug. Whichever settlement brings it on stays claimed until a restart; its neighbours do not.
                self._watcher.failed("ledger.settle", error)
                if len(settlements) > 1:
                    for settlement in settlements:
                        await self._settle([settlement])
                return

    # --- the lane's health

    def _observe_all(self, told: Collection[Alike], now_us: int) -> None:
        health = self.health
        accepted = sum(len(alike.deliveries) for alike in told if alike.outcome.kind is OutcomeKind.ACCEPTED)
        if accepted:
            health = health.accepted(accepted, now_us)
        for alike in told:
            if alike.outcome.kind is not OutcomeKind.ACCEPTED:
                for _ in alike.deliveries:
                    health = health.observe(alike.outcome, now_us, self._random())
        self._set_health(health)

    def _observe(self, outcome: Outcome) -> None:
        if outcome.kind is OutcomeKind.UNAVAILABLE:
            self._set_health(self.health.connect_failed(self._clock.now_us(), self._random(), outcome.detail))
        else:
            self._set_health(self.health.observe(outcome, self._clock.now_us(), self._random()))

    def _note_refusals(self, page: Page, answered: bool, now_us: int) -> None:
        """Holds the lane when the provider cannot be reached, or keeps refusing requests unprocessed."""
        if answered:
            self._not_sent_rounds = 0
            return
        self._not_sent_rounds += 1
        refusals = [answer for _, answer in page if isinstance(answer, NotSent)]
        unreachable = next((r for r in refusals if r.failed_connect), None)
        if unreachable is not None or self._not_sent_rounds >= NOT_SENT_ROUNDS_MAX:
            detail = (unreachable or refusals[0]).detail
            self._set_health(self.health.connect_failed(now_us, self._random(), detail))

    def _set_health(self, health: LaneHealth) -> None:
        changed = health.state is not self.health.state
        self.health = health
        if health.state is LaneState.RENEWING:
            self._must_renew = True
        if changed:
            self._watcher.lane_changed(self.lane, health)
            self._news.set()


class Dispatcher:
    """Starts a runner for every lane that has something to send."""

    def __init__(
        self,
        ledger: Ledger,
        account_of: AccountOf,
        open_sessions: OpenSessions,
        fetch: Fetch,
        clock: Clock,
        watcher: Watcher,
        random: Callable[[], float],
        *,
        in_flight_max: int = IN_FLIGHT_MAX,
        attempts_max: int = ATTEMPTS_MAX,
    ) -> None:
        self._ledger = ledger
        self._account_of = account_of
        self._open_sessions = open_sessions
        self.authorizations = Authorizations(fetch, clock)
        self._clock = clock
        self._watcher = watcher
        self._random = random
        self._in_flight_max = in_flight_max
        self._attempts_max = attempts_max
        self._runners: dict[Lane, LaneRunner] = {}
        self._without_account: set[Lane] = set()

    @property
    def paused(self) -> Collection[Lane]:
        by_health = (lane for lane, r in self._runners.items() if r.health.state is LaneState.PAUSED)
        return self._without_account.union(by_health)

    @property
    def runners(self) -> Mapping[Lane, LaneRunner]:
        return self._runners

    async def run(self, stopping: asyncio.Event, drain_s: float = 10.0) -> None:
        """Runs until `stopping`, then waits at most `drain_s` for what is on the wire, and closes every session.

        What has no answer by then stays queued in the ledger and is sent again by the next start.
        """
        drained = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            lanes = tasks.create_task(self._serve_lanes(stopping, drained))
            await stopping.wait()
            try:
                async with asyncio.timeout(drain_s):
                    await drained.wait()
            except TimeoutError:
                pass
            lanes.cancel()
        await asyncio.gather(*(runner.sessions.close() for runner in self._runners.values()))
        await self.authorizations.close()

    async def _serve_lanes(self, stopping: asyncio.Event, drained: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            finder = tasks.create_task(self._find_lanes(tasks, stopping))
            await stopping.wait()
            finder.cancel()
        drained.set()

    async def _find_lanes(self, tasks: asyncio.TaskGroup, stopping: asyncio.Event) -> None:
        async for lane in self._ledger.lanes():
            account = self._account_of(lane)
            endpoint = account.endpoint(lane) if account else None
            if account is None or endpoint is None:
                # Its deliveries wait for the account to come back to the configuration, or expire.
                self._without_account.add(lane)
                self._watcher.lane_changed(lane, LaneHealth(LaneState.PAUSED, reason="no such account configured"))
                continue
            runner = LaneRunner(
                lane,
                account,
                self.authorizations.of(account),
                self._open_sessions(endpoint),
                self._ledger,
                self._clock,
                self._watcher,
                self._random,
                self._in_flight_max,
                self._attempts_max,
            )
            self._runners[lane] = runner
            self._watcher.lane_opened(lane)
            tasks.create_task(runner.run(stopping))
