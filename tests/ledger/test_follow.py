"""Following: from any position exactly what came after it, in one order, from memory and from the disk alike."""

from __future__ import annotations

import asyncio
import random

import pytest

from pushrpc.ledger import CursorExpired
from pushrpc.model import DeviceSelector
from pushrpc.record import Event, EventPage, NotificationSelector, Wanted
from pushrpc.words import DeliveryState, EventKind
from tests.clocks import ManualClock
from tests.ledger.shop import (
    APNS,
    UNREGISTERED,
    Engine,
    accepted,
    claimed,
    events_after,
    registration,
    retry,
    send,
    soon,
    verdict,
)


async def busy(engine: Engine, clock: ManualClock) -> tuple[list[str], list[Event]]:
    """Two apps, retries, a death, a cancel, an expiry. Returns notification ids and all events of shop."""
    other = APNS._replace(app_id="other")
    sends = [
        send(clock, 3, labels={"n": "0"}, request_id="r0"),
        send(clock, ["dies"], labels={"n": "1"}),
        send(clock, 2, labels={"n": "2"}, ttl_s=60),
        send(clock, 2, labels={"n": "0", "m": "x"}, request_id="r3"),
    ]
    await engine.ledger.register(registration("dies", device_id="d", user_id="u"), clock.now_us())
    clock.advance(1)
    for wanted in sends:
        await accepted(engine.ledger, wanted, send(clock, 2, lane=other))
        deliveries = (await claimed(engine.ledger)).deliveries
        if wanted is sends[1]:
            await engine.ledger.settle(
                [verdict(clock, d, UNREGISTERED, DeliveryState.UNREGISTERED) for d in deliveries]
            )
        else:
            await engine.ledger.settle([retry(clock, deliveries[0], 5), *(verdict(clock, d) for d in deliveries[1:])])
        await engine.ledger.settle([verdict(clock, d) for d in (await claimed(engine.ledger, other)).deliveries])
    await engine.ledger.cancel("shop", NotificationSelector(sends[3].notification_id), clock.now_us())
    clock.advance(60)
    await engine.ledger.expire(clock.now_us())
    await engine.ledger.settle([verdict(clock, d) for d in (await claimed(engine.ledger)).deliveries])
    return [wanted.notification_id for wanted in sends], await events_after(engine.ledger, Wanted("shop"))


async def test_the_stream_tells_everything_in_one_order(engine: Engine, clock: ManualClock) -> None:
    _, events = await busy(engine, clock)
    seqs = [event.seq for event in events]
    assert seqs == sorted(set(seqs))
    assert len(events) == 3 + 1 + 2 + 1 + 2 + 2 + 1
    assert {event.app_id for event in events} == {"shop"}
    finals = [event.token for event in events if event.final]
    assert len(finals) == len(set(finals)) == 8
    assert await engine.ledger.tail() >= seqs[-1]


async def test_disk_and_memory_tell_the_same(engine: Engine, clock: ManualClock) -> None:
    _, from_memory = await busy(engine, clock)
    await engine.reopen()
    assert await events_after(engine.ledger, Wanted("shop")) == from_memory
    crashed = await engine.crash()
    assert await events_after(crashed, Wanted("shop")) == from_memory


@pytest.mark.parametrize("on_disk", [False, True])
async def test_any_cut_resumes_without_gap_or_repeat(engine: Engine, clock: ManualClock, on_disk: bool) -> None:
    ids, events = await busy(engine, clock)
    if on_disk:
        await engine.reopen()
    for wanted in (
        Wanted("shop"),
        Wanted("shop", tuple(ids[:2])),
        Wanted("shop", (), ("r0", "r3")),
        Wanted("shop", labels={"n": "0"}),
        Wanted("shop", final_only=True),
        Wanted("shop", tuple(ids[:3]), final_only=True),
    ):
        expected = await events_after(engine.ledger, wanted)
        for limit in (1, 2, 3):
            for cut in range(await engine.ledger.tail() + 2):
                after = await events_after(engine.ledger, wanted, cut, limit)
                assert after == [event for event in expected if event.seq > cut]
    assert events


@pytest.mark.parametrize("on_disk", [False, True])
async def test_filters(engine: Engine, clock: ManualClock, on_disk: bool) -> None:
    ids, events = await busy(engine, clock)
    if on_disk:
        await engine.reopen()

    async def told(wanted: Wanted) -> list[Event]:
        return await events_after(engine.ledger, wanted)

    assert await told(Wanted("shop", (ids[0], ids[2]))) == [e for e in events if e.notification_id in (ids[0], ids[2])]
    assert await told(Wanted("shop", (ids[0],), ("r3",))) == [
        e for e in events if e.notification_id in (ids[0], ids[3])
    ]
    assert await told(Wanted("shop", labels={"n": "0", "m": "x"})) == [e for e in events if e.notification_id == ids[3]]
    assert await told(Wanted("shop", final_only=True)) == [e for e in events if e.final]
    sent = frozenset({DeliveryState.SENT, DeliveryState.EXPIRED})
    assert await told(Wanted("shop", states=sent)) == [e for e in events if e.state in sent]
    kinds = frozenset({EventKind.DEVICE, EventKind.ATTEMPT})
    assert await told(Wanted("shop", kinds=kinds)) == [e for e in events if e.kind in kinds]
    assert await told(Wanted("shop", ("unknown",))) == []
    assert await told(Wanted("nobody")) == []
    many = tuple(ids) + tuple(f"unknown-{n}" for n in range(100))
    assert await told(Wanted("shop", many)) == events


async def test_a_filtered_page_moves_on(engine: Engine, clock: ManualClock) -> None:
    await busy(engine, clock)
    page = await soon(engine.ledger.follow(Wanted("shop", labels={"no": "such"}), 0, 10, 0.0))
    assert (page.events, page.through_seq, page.caught_up) == ([], await engine.ledger.tail(), True)


async def test_a_follower_sleeps_until_something_happens(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock, 1, lane=APNS._replace(app_id="other")), send(clock, 1))
    following = asyncio.ensure_future(engine.ledger.follow(Wanted("shop"), 0, 10, 15.0))
    other = await claimed(engine.ledger, APNS._replace(app_id="other"))
    await engine.ledger.settle([verdict(clock, d) for d in other.deliveries])
    await clock.run_until_idle()
    assert not following.done()
    await engine.ledger.settle([verdict(clock, d) for d in (await claimed(engine.ledger)).deliveries])
    page = await soon(following)
    assert [event.state for event in page.events] == [DeliveryState.SENT]
    quiet = asyncio.ensure_future(engine.ledger.follow(Wanted("shop"), page.through_seq, 10, 15.0))
    await clock.run_until_idle()
    clock.advance(15)
    assert await soon(quiet) == EventPage([], page.through_seq, True, False)


async def test_request_ids_may_precede_the_send(engine: Engine, clock: ManualClock) -> None:
    await accepted(engine.ledger, send(clock, 1))
    wanted = Wanted("shop", (), ("later",))
    following = asyncio.ensure_future(engine.ledger.follow(wanted, 0, 10, 60.0))
    await clock.run_until_idle()
    later = send(clock, 1, request_id="later")
    await accepted(engine.ledger, later)
    deliveries = (await claimed(engine.ledger)).deliveries
    await engine.ledger.settle([verdict(clock, d) for d in deliveries])
    page = await soon(following)
    assert [event.notification_id for event in page.events] == [later.notification_id]
    assert page.complete
    nothing = asyncio.ensure_future(engine.ledger.follow(Wanted("shop", (), ("empty",)), 0, 10, 60.0))
    await clock.run_until_idle()
    await accepted(engine.ledger, send(clock, 0, request_id="empty"))
    assert (await soon(nothing)).complete


@pytest.mark.parametrize("on_disk", [False, True])
async def test_complete_means_all_named_are_final_and_told(engine: Engine, clock: ManualClock, on_disk: bool) -> None:
    first, second = send(clock, 2, request_id="r"), send(clock, 1)
    await accepted(engine.ledger, first, second)
    deliveries = (await claimed(engine.ledger)).deliveries
    both = Wanted("shop", (first.notification_id, second.notification_id))
    await engine.ledger.settle([verdict(clock, d) for d in deliveries[:2]])
    if on_disk:
        held = deliveries[2].key
        await engine.reopen()
        deliveries = [*deliveries[:2], *(await claimed(engine.ledger)).deliveries]
        assert deliveries[2].key == held

    async def page(wanted: Wanted, after: int, limit: int = 10) -> EventPage:
        return await soon(engine.ledger.follow(wanted, after, limit, 0.0))  # type: ignore[no-any-return]

    assert not (await page(both, 0)).complete
    # Named twice, by both of its ids, it is still one.
    assert (await page(Wanted("shop", (first.notification_id,), ("r",)), 0)).complete
    await engine.ledger.settle([verdict(clock, deliveries[2])])
    part = await page(both, 0, 2)
    assert (len(part.events), part.complete) == (2, False)
    rest = await page(both, part.through_seq)
    assert (len(rest.events), rest.complete) == (1, True)
    assert await page(both, rest.through_seq) == EventPage([], rest.through_seq, True, True)
    assert not (await page(Wanted("shop", (first.notification_id, "unknown")), 0)).complete
    assert not (await page(Wanted("shop"), 0)).complete


async def test_every_follower_sees_the_same_while_events_are_written(engine: Engine, clock: ManualClock) -> None:
    """Readers of different speed, filters and page sizes, some leaving and coming back, against a busy writer."""
    rounds, size = 12, 40
    sends = [send(clock, size, request_id=f"r{n}", labels={"odd": str(n % 2)}) for n in range(rounds)]
    total = rounds * size * 2  # a retry and an end for each
    dice = random.Random(7)

    async def read(wanted: Wanted, count: int) -> list[Event]:
        events: list[Event] = []
        after = 0
        while len(events) < count:
            page = await engine.ledger.follow(wanted, after, dice.randint(1, 90), 3600.0)
            events += page.events
            after = page.through_seq
            if dice.random() < 0.3:
                await asyncio.sleep(0.002)
        return events

    readers = [asyncio.ensure_future(read(Wanted("shop"), total)) for _ in range(4)]
    odd = asyncio.ensure_future(read(Wanted("shop", labels={"odd": "1"}), total // 2))
    named = asyncio.ensure_future(read(Wanted("shop", (), tuple(f"r{n}" for n in range(3))), size * 2 * 3))

    async def move() -> None:
        for wanted in sends:
            await accepted(engine.ledger, wanted)
            deliveries = (await claimed(engine.ledger, limit=size)).deliveries
            await engine.ledger.settle([retry(clock, d, 0) for d in deliveries])
            deliveries = (await claimed(engine.ledger, limit=size)).deliveries
            await asyncio.gather(*(engine.ledger.settle([verdict(clock, d)]) for d in deliveries))

    await soon(move())
    told = await soon(asyncio.gather(*readers))
    assert all(events == told[0] for events in told)
    assert await soon(odd) == [event for event in told[0] if event.labels["odd"] == "1"]
    assert {event.request_id for event in await soon(named)} == {"r0", "r1", "r2"}


async def test_long_logs_are_read_in_parts(engine: Engine, clock: ManualClock) -> None:
    for _ in range(4):
        await accepted(engine.ledger, send(clock, 9_000))
        while engine.ledger.queue(clock.now_us())[0]:
            await engine.ledger.settle([verdict(clock, d) for d in (await claimed(engine.ledger)).deliveries])
    last = send(clock, 1)
    await accepted(engine.ledger, last)
    await engine.ledger.settle([verdict(clock, d) for d in (await claimed(engine.ledger)).deliveries])
    assert len(await events_after(engine.ledger, Wanted("shop"))) == 36_001  # more than memory keeps
    await engine.reopen()
    rare = Wanted("shop", states=frozenset({DeliveryState.FAILED}))
    page = await soon(engine.ledger.follow(rare, 0, 10, 0.0))
    assert not page.events and 0 < page.through_seq < 36_001 and not page.caught_up
    by_id = await soon(engine.ledger.follow(Wanted("shop", (last.notification_id,)), 0, 10, 0.0))
    assert len(by_id.events) == 1 and by_id.complete


async def test_positions_older_than_what_was_pruned_expire(engine: Engine, clock: ManualClock) -> None:
    ids, events = await busy(engine, clock)
    assert await engine.ledger.oldest() == 0
    clock.advance(167 * 3600)
    kept = send(clock, 2)
    await accepted(engine.ledger, kept)
    await engine.ledger.settle([verdict(clock, d) for d in (await claimed(engine.ledger)).deliveries])
    assert await engine.ledger.prune(clock.now_us()) == 0
    clock.advance(2 * 3600)
    while await engine.ledger.prune(clock.now_us()):
        pass
    oldest = await engine.ledger.oldest()
    assert oldest >= events[-1].seq
    for after in (0, oldest - 1):
        with pytest.raises(CursorExpired) as expired:
            await engine.ledger.follow(Wanted("shop"), after, 10, 0.0)
        assert expired.value.oldest_seq == oldest
    assert len(await events_after(engine.ledger, Wanted("shop"), oldest)) == 2
    by_id = await soon(engine.ledger.follow(Wanted("shop", (kept.notification_id,)), 0, 10, 0.0))
    assert len(by_id.events) == 2 and by_id.complete
    assert not await engine.ledger.find("shop", ids, ["r0"])
    await engine.reopen()
    with pytest.raises(CursorExpired):
        await engine.ledger.follow(Wanted("shop"), 0, 10, 0.0)
    assert await engine.ledger.tail() > oldest


async def test_a_death_is_told_to_followers_of_the_notification(engine: Engine, clock: ManualClock) -> None:
    ids, events = await busy(engine, clock)
    told = await events_after(engine.ledger, Wanted("shop", (ids[1],)))
    assert [event.kind for event in told] == [EventKind.STATE, EventKind.DEVICE]
    device = await engine.ledger.device("shop", DeviceSelector(device_id="d"))
    assert device is not None and device.dead_us == told[1].time_us
    assert told[1] in events


async def test_a_wait_ends_though_the_clock_is_set_back(engine: Engine, clock: ManualClock) -> None:
    following = asyncio.ensure_future(engine.ledger.follow(Wanted("shop"), 0, 10, 0.1))
    await asyncio.sleep(0)
    clock.advance(-3600)
    assert (await soon(following)).events == []
