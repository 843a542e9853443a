"""An app named shop and its sends: the material of every ledger test."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pushrpc.content import Content
from pushrpc.ledger import Ledger, LedgerError, open_ledger
from pushrpc.model import (
    NOT_SENT,
    Audience,
    Batch,
    Claimed,
    Found,
    Lane,
    Named,
    Outcome,
    Planned,
    Receipt,
    Registration,
    Rejection,
    Send,
    Settlement,
)
from pushrpc.record import Event, Wanted
from pushrpc.words import Cause, DeliveryState, Environment, OutcomeKind, Priority, Provider, RejectReason
from tests.clocks import ManualClock

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
PATIENCE_S = 10.0  # real time: only a broken ledger ever takes so long

APNS = Lane("shop", Provider.APNS, "com.example.shop", Environment.PRODUCTION)
FCM = Lane("shop", Provider.FCM, "shop-project", Environment.UNSPECIFIED)

ACCEPTED = Outcome(OutcomeKind.ACCEPTED, 200)
UNAVAILABLE = Outcome(OutcomeKind.UNAVAILABLE, 503, "ServiceUnavailable", "try later")
UNREGISTERED = Outcome(OutcomeKind.TOKEN_INVALID, 410, "Unregistered")
REFUSED = Outcome(OutcomeKind.PAYLOAD_REFUSED, 413, "PayloadTooLarge")
CREDENTIAL = Outcome(OutcomeKind.CREDENTIAL_REFUSED, 403, "InvalidProviderToken")
UNKNOWN = Outcome(OutcomeKind.UNKNOWN, detail="no answer")

_numbers = itertools.count()


class Engine:
    """One engine's way to open, close and crash a ledger that keeps its contents."""

    ledger: Ledger

    def __init__(self, directory: Path, clock: ManualClock) -> None:
        self.directory = directory
        self.clock = clock
        self.queue_max = 1_000_000
        self.event_retention_us = 168 * HOUR_US

    async def open(self) -> Ledger:
        raise NotImplementedError

    async def crash(self) -> Ledger:
        """Goes on from what a process that was killed now would leave behind."""
        raise NotImplementedError

    async def close(self) -> None:
        await self.ledger.close()

    async def reopen(self) -> Ledger:
        await self.close()
        return await self.open()


class SqliteEngine(Engine):
    lives = 0

    async def open(self) -> Ledger:
        self.ledger = await open_ledger(
            "sqlite:///ledger.db",
            self.clock,
            base=self.directory,
            event_retention_us=self.event_retention_us,
            request_id_retention_us=72 * HOUR_US,
            queue_max=self.queue_max,
        )
        return self.ledger

    async def crash(self) -> Ledger:
        self.lives += 1
        after = self.directory.with_name(f"{self.directory.name}-{self.lives}")
        shutil.copytree(self.directory, after)
        await self.close()
        self.directory = after
        return await self.open()


def tokens(count: int) -> list[str]:
    return [f"{next(_numbers):064x}" for _ in range(count)]


def send(clock: ManualClock, to: Sequence[str] | int = 1, *, lane: Lane = APNS, **more: Any) -> Send:
    """A send to raw tokens. Found devices fill in their ids, as an audience would."""
    names = tokens(to) if isinstance(to, int) else to

    def resolve(found: Sequence[Found]) -> Audience:
        known = {device.token: device for device in found}
        columns = [(d.device_id, d.user_id) if (d := known.get(token)) else ("", "") for token in names]
        planned = Planned(lane, names, [d for d, _ in columns], [u for _, u in columns])
        return Audience([planned] if names else [], 0, more.get("rejected", ()))

    now_us = clock.now_us()
    return Send(
        app_id=lane.app_id,
        request_id=more.get("request_id", ""),
        fingerprint=more.get("fingerprint", b"print"),
        notification_id=more.get("notification_id") or str(uuid.uuid4()),
        content=more.get("content", Content(title="Hello", data={"k": "v"})),
        priority=more.get("priority", Priority.HIGH),
        collapse_key="",
        at_most_once=more.get("at_most_once", False),
        one_try=False,
        created_us=now_us,
        expire_us=now_us + int(more.get("ttl_s", 86_400) * 1e6),
        labels=more.get("labels", {}),
        named=Named((), (), [(lane, names)]),
        resolve=more.get("resolve", resolve),
    )


async def accepted(ledger: Ledger, *sends: Send) -> list[Receipt]:
    receipts = []
    for result in await soon(ledger.accept(sends)):
        assert isinstance(result, Receipt), result
        receipts.append(result)
    return receipts


async def refused(ledger: Ledger, wanted: Send) -> LedgerError:
    (result,) = await soon(ledger.accept([wanted]))
    assert isinstance(result, LedgerError), result
    return result


async def claimed(ledger: Ledger, lane: Lane = APNS, limit: int = 1_000) -> Batch:
    batch: Batch = await soon(ledger.claim(lane, limit))
    return batch


def verdict(
    clock: ManualClock,
    deliveries: Claimed | Sequence[Claimed],
    outcome: Outcome = ACCEPTED,
    state: DeliveryState = DeliveryState.SENT,
    *,
    cause: Cause = Cause.UNSPECIFIED,
    after_s: float = 0.0,
    spend: bool = True,
    started_us: int = 0,
) -> Settlement:
    """The settlement of one delivery or of many. What is accepted gets a provider's id that tells whose it is."""
    several = [deliveries] if isinstance(deliveries, Claimed) else deliveries
    message_ids = [f"m-{delivery.token}" for delivery in several] if outcome is ACCEPTED else ()
    now_us = clock.now_us()
    due_us = now_us + int(after_s * 1e6)
    return Settlement(several, outcome, message_ids, state, cause, due_us, spend, started_us or now_us - 5_000, now_us)


def retry(
    clock: ManualClock, delivery: Claimed | Sequence[Claimed], after_s: float = 1.0, outcome: Outcome = UNAVAILABLE
) -> Settlement:
    return verdict(clock, delivery, outcome, DeliveryState.QUEUED, after_s=after_s)


def unsent(clock: ManualClock, delivery: Claimed | Sequence[Claimed], after_s: float = 0.0) -> Settlement:
    return verdict(clock, delivery, NOT_SENT, DeliveryState.QUEUED, after_s=after_s, spend=False)


def registration(token: str, lane: Lane = APNS, **more: Any) -> Registration:
    return Registration(lane.app_id, lane.provider, lane.provider_app_id, lane.environment, token, **more)


def rejection(value: str) -> Rejection:
    return Rejection("target.tokens[0].tokens[0]", value, Provider.APNS, RejectReason.TOKEN_MALFORMED, "not hex")


async def events_after(ledger: Ledger, wanted: Wanted, after_seq: int = 0, limit: int = 500) -> list[Event]:
    """Everything there is to tell now."""
    events: list[Event] = []
    while True:
        page = await soon(ledger.follow(wanted, after_seq, limit, 0.0))
        assert len(page.events) <= limit
        assert page.through_seq >= after_seq
        events += page.events
        after_seq = page.through_seq
        if page.caught_up:
            return events


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE_S)
