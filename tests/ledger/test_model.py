"""The ledger against a model of itself: any mix of verbs, crashes included, keeps what it promises at every step."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pushrpc.ledger import RequestIdReused
from pushrpc.model import NOT_SENT, Claimed, DeviceSelector, Outcome, Receipt
from pushrpc.record import CancelCounts, DeliverySelector, Event, NotificationSelector, Wanted
from pushrpc.words import FINAL_STATES, Cause, DeliveryState, DeviceState, EventKind, OutcomeKind, Priority
from tests.clocks import ManualClock
from tests.ledger.shop import (
    ACCEPTED,
    APNS,
    PATIENCE_S,
    REFUSED,
    UNAVAILABLE,
    UNKNOWN,
    SqliteEngine,
    events_after,
    registration,
    send,
    verdict,
)

T = TypeVar("T")

QUEUED, SENT = DeliveryState.QUEUED, DeliveryState.SENT
TOKENS = [f"token-{n}" for n in range(6)]
REQUEST_IDS = ["", "r1", "r2"]
ENDS: dict[DeliveryState, Outcome] = {
    SENT: ACCEPTED,
    DeliveryState.REJECTED: REFUSED,
    DeliveryState.FAILED: UNKNOWN,
    DeliveryState.EXPIRED: UNAVAILABLE,
    DeliveryState.UNREGISTERED: Outcome(OutcomeKind.TOKEN_INVALID, 410, "Unregistered"),
}


@dataclass
class Row:
    """A delivery as the model believes it to be."""

    number: int
    token: str
    priority: Priority
    due_us: int
    at_most_once: bool
    registered: bool  # its token was a device's when it was accepted
    state: DeliveryState = QUEUED
    tries: int = 0
    held: Claimed | None = None


@dataclass
class Sent:
    notification_id: str
    request_id: str
    fingerprint: bytes
    expire_us: int
    rows: list[Row]
    cancelled: bool = False


@dataclass
class Known:
    """A device as the model believes it to be."""

    registered_us: int
    state: DeviceState = DeviceState.ACTIVE


@dataclass
class Model:
    sends: list[Sent] = field(default_factory=list)
    devices: dict[str, Known] = field(default_factory=dict)
    rows: int = 0

    def every_row(self) -> list[tuple[Sent, Row]]:
        return [(sent, row) for sent in self.sends for row in sent.rows]

    def held(self) -> list[tuple[Sent, Row]]:
        return [(sent, row) for sent, row in self.every_row() if row.held is not None]

    def due(self, now_us: int) -> list[Row]:
        waiting = [
            row
            for sent, row in self.every_row()
            if row.state is QUEUED and row.held is None and row.due_us <= now_us and not sent.cancelled
        ]
        return sorted(waiting, key=lambda row: (row.priority, row.due_us, row.number))


class LedgerMachine(RuleBasedStateMachine):
    engine_type = SqliteEngine

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp())
        (self.root / "ledger").mkdir()
        self.clock = ManualClock()
        self.engine = self.engine_type(self.root / "ledger", self.clock)
        self.run(self.engine.open())
        self.model = Model()
        self.cursor = 0
        self.told: list[Event] = []

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.run(self.engine.close())
            self.loop.close()
            shutil.rmtree(self.root)

    def run(self, awaitable: Awaitable[T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(awaitable, PATIENCE_S))

    # --- what may happen

    @rule(token=st.sampled_from(TOKENS), ago_s=st.integers(0, 3))
    def register(self, token: str, ago_s: int) -> None:
        registered_us = self.clock.now_us() - ago_s * 1_000_000
        device, created, superseded = self.run(
            self.engine.ledger.register(registration(token, registered_us=registered_us), self.clock.now_us())
        )
        assert created is (token not in self.model.devices) and not superseded
        assert device.state is DeviceState.ACTIVE
        self.model.devices[token] = Known(registered_us)

    @rule(
        names=st.lists(st.sampled_from(TOKENS), max_size=4, unique=True),
        request_id=st.sampled_from(REQUEST_IDS),
        fingerprint=st.sampled_from([b"a", b"b"]),
        priority=st.sampled_from([Priority.HIGH, Priority.NORMAL, Priority.LOW]),
        ttl_s=st.sampled_from([5, 60, 86_400]),
        at_most_once=st.booleans(),
    )
    def accept(
        self, names: list[str], request_id: str, fingerprint: bytes, priority: Priority, ttl_s: int, at_most_once: bool
    ) -> None:
        wanted = send(
            self.clock,
            names,
            request_id=request_id,
            fingerprint=fingerprint,
            priority=priority,
            ttl_s=ttl_s,
            at_most_once=at_most_once,
        )
        (result,) = self.run(self.engine.ledger.accept([wanted]))
        earlier = next((s for s in self.model.sends if request_id and s.request_id == request_id), None)
        if earlier is not None and earlier.fingerprint != fingerprint:
            assert isinstance(result, RequestIdReused)
            return
        assert isinstance(result, Receipt)
        if earlier is not None:
            assert (result.notification_id, result.replayed) == (earlier.notification_id, True)
            assert result.target_count == len(earlier.rows)
            return
        assert not result.replayed and result.target_count == len(names)
        rows = []
        for token in names:
            self.model.rows += 1
            registered = token in self.model.devices
            rows.append(Row(self.model.rows, token, priority, self.clock.now_us(), at_most_once, registered))
        self.model.sends.append(Sent(wanted.notification_id, request_id, fingerprint, wanted.expire_us, rows))

    @precondition(lambda self: self.model.due(self.clock.now_us()))
    @rule(limit=st.integers(1, 5))
    def claim(self, limit: int) -> None:
        expected = self.model.due(self.clock.now_us())[:limit]
        batch = self.run(self.engine.ledger.claim(APNS, limit))
        got = [(d.token, d.tries, d.notification.priority) for d in batch.deliveries]
        assert got == [(row.token, row.tries, row.priority) for row in expected]
        for row, delivery in zip(expected, batch.deliveries, strict=True):
            row.held = delivery

    @precondition(lambda self: self.model.held())
    @rule(data=st.data(), state=st.sampled_from([*ENDS, QUEUED]), after_s=st.integers(0, 30), unsent=st.booleans())
    def settle(self, data: st.DataObject, state: DeliveryState, after_s: int, unsent: bool) -> None:
        held = self.model.held()
        count = data.draw(st.integers(1, len(held)))
        outcome = NOT_SENT if unsent and state in (QUEUED, DeliveryState.EXPIRED) else ENDS.get(state, UNAVAILABLE)
        claims = [row.held for _, row in held[:count] if row.held is not None]
        if data.draw(st.booleans()):
            claims.reverse()
        together = [claims] if data.draw(st.booleans()) else [[claimed] for claimed in claims]
        settlements = [
            verdict(self.clock, each, outcome, state, after_s=after_s, started_us=self.clock.now_us())
            for each in together
        ]
        for sent, row in held[:count]:
            self._expect(sent, row, outcome, state, after_s)
        if state is DeliveryState.UNREGISTERED:
            self._expect_deaths({row.token for _, row in held[:count]})
        self.run(self.engine.ledger.settle(settlements))
        if data.draw(st.booleans()):
            self.run(self.engine.ledger.settle(settlements))  # a repeat changes nothing

    def _expect(self, sent: Sent, row: Row, outcome: Outcome, state: DeliveryState, after_s: int) -> None:
        row.held = None
        row.tries += outcome is not NOT_SENT
        if state is QUEUED:
            row.state = DeliveryState.CANCELLED if sent.cancelled else QUEUED
            if outcome is not NOT_SENT or after_s:
                row.due_us = self.clock.now_us() + after_s * 1_000_000
            return
        row.state = state

    def _expect_deaths(self, tokens: set[str]) -> None:
        """A device dies unless it registered since; what waits for it then ends with it."""
        now_us = self.clock.now_us()
        for token, device in self.model.devices.items():
            if token in tokens and device.registered_us < now_us and device.state is DeviceState.ACTIVE:
                device.state = DeviceState.DEAD
                for _, row in self.model.every_row():
                    if row.token == token and row.registered and row.state is QUEUED and row.held is None:
                        row.state = DeliveryState.UNREGISTERED

    @precondition(lambda self: self.model.sends)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        sent = data.draw(st.sampled_from(self.model.sends))
        counts = self.run(
            self.engine.ledger.cancel("shop", NotificationSelector(sent.notification_id), self.clock.now_us())
        )
        final = [row for row in sent.rows if row.state in FINAL_STATES]
        queued = [row for row in sent.rows if row.state is QUEUED and row.held is None]
        assert counts == CancelCounts(1, len(queued), len(sent.rows) - len(queued) - len(final), len(final))
        sent.cancelled = sent.cancelled or len(final) < len(sent.rows)
        for row in queued:
            row.state = DeliveryState.CANCELLED

    @rule()
    def expire(self) -> None:
        now_us = self.clock.now_us()
        waiting = [(sent, row) for sent, row in self.model.every_row() if row.state is QUEUED and row.held is None]
        late = [row for sent, row in waiting if sent.expire_us <= now_us and not sent.cancelled]
        assert self.run(self.engine.ledger.expire(now_us)) == len(late)
        for row in late:
            row.state = DeliveryState.EXPIRED
        for sent, row in waiting:
            if sent.cancelled:  # was claimed when the cancel came, and lost its owner in a restart
                row.state = DeliveryState.CANCELLED

    @rule(seconds=st.sampled_from([0.001, 1, 10, 61]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        self.run(self.engine.crash() if crash else self.engine.reopen())
        for _, row in self.model.held():
            row.held = None
            if row.at_most_once:
                row.state = DeliveryState.FAILED
                row.tries += 1

    # --- what always holds

    @invariant()
    def counts_add_up(self) -> None:
        if not hasattr(self, "model"):
            return
        statuses = self.run(self.engine.ledger.find("shop", [s.notification_id for s in self.model.sends], []))
        by_id = {status.notification_id: status for status in statuses}
        assert len(by_id) == len(self.model.sends)
        for sent in self.model.sends:
            counts = by_id[sent.notification_id].counts._asdict()
            expected = Counter("in_flight" if row.held else row.state.name.lower() for row in sent.rows)
            assert counts.pop("total") == len(sent.rows) == sum(counts.values())
            assert {name: n for name, n in counts.items() if n} == expected
            all_final = all(row.state in FINAL_STATES for row in sent.rows)
            assert (by_id[sent.notification_id].completed_us > 0) is all_final
        is_open = sum(row.state is QUEUED for _, row in self.model.every_row())
        assert self.engine.ledger.queue(self.clock.now_us())[0] == is_open

    @invariant()
    def every_change_is_told_once(self) -> None:
        """A follower that has read on since the start has each delivery's whole story, and one end at most."""
        if not hasattr(self, "model"):
            return
        news = self.run(events_after(self.engine.ledger, Wanted("shop"), self.cursor))
        self.told += news
        self.cursor = max(self.cursor, self.told[-1].seq if self.told else 0)
        seqs = [event.seq for event in self.told]
        assert seqs == sorted(set(seqs))
        stories: dict[tuple[str, str], list[Event]] = {}
        for event in self.told:
            if event.kind is not EventKind.DEVICE:
                stories.setdefault((event.notification_id, event.token), []).append(event)
        for sent, row in self.model.every_row():
            story = stories.pop((sent.notification_id, row.token), [])
            assert [event.final for event in story] == [False] * (len(story) - 1) + [row.state in FINAL_STATES] * bool(
                story
            )
            if row.state in FINAL_STATES:
                assert story[-1].state is row.state
            assert len(story) == row.tries + (bool(story) and story[-1].final and not self._attempted(story))
        assert not stories

    @staticmethod
    def _attempted(story: list[Event]) -> bool:
        """Whether the last event came with a try, and not after the last one."""
        return story[-1].attempt > (story[-2].attempt if len(story) > 1 else 0)

    @invariant()
    def devices_live_and_die_as_told(self) -> None:
        if not hasattr(self, "model"):
            return
        for token, known in self.model.devices.items():
            device = self.run(self.engine.ledger.device("shop", DeviceSelector(provider=APNS.provider, token=token)))
            assert device is not None and device.state is known.state

    @precondition(lambda self: self.model.sends)
    @rule(data=st.data())
    def the_whole_story_is_the_same_for_a_new_reader(self, data: st.DataObject) -> None:
        assert self.run(events_after(self.engine.ledger, Wanted("shop"), 0, 3)) == self.told
        sent = data.draw(st.sampled_from(self.model.sends))
        page = self.run(self.engine.ledger.deliveries("shop", DeliverySelector(sent.notification_id), True, 0, 100))
        assert page is not None
        for row, status in zip(sent.rows, page[0], strict=True):
            assert (status.token, status.attempt, len(status.attempts)) == (row.token, row.tries, row.tries)
            assert status.state is (DeliveryState.IN_FLIGHT if row.held else row.state)
            assert status.cause is Cause.UNSPECIFIED or status.final


TestLedgerModel = LedgerMachine.TestCase
TestLedgerModel.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
