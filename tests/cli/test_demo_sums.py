"""The demo's plan, book-keeping and closing picture, without any process."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pushrpc.cli.closing import Run, closing, record_closing, run_as_json
from pushrpc.cli.tally import ON_STAGE, Check, Taken, Tally
from pushrpc.cli.traffic import BULK_SENDS_MAX, CALL_TARGETS_MAX, MALFORMED, Plan, Reach, faults, plan
from pushrpc.emulator.faults import Fault
from pushrpc.v1 import following_pb2, sending_pb2
from pushrpc.v1.enums_pb2 import (
    DELIVERY_STATE_QUEUED,
    DELIVERY_STATE_SENT,
    DELIVERY_STATE_UNREGISTERED,
    EVENT_KIND_ATTEMPT,
    EVENT_KIND_STATE,
    PROVIDER_APNS,
    PROVIDER_FCM,
)
from pushrpc.words import DeliveryState, Provider


def reaches(made: Plan) -> dict[Provider, list[Reach]]:
    """Tokens such as emulators would issue."""
    return {
        provider: [
            Reach(f"{provider.name}-{i}", *(("p", "a") if provider is Provider.WEB_PUSH else ())) for i in range(n)
        ]
        for provider, n in made.counts.items()
    }


@pytest.mark.parametrize("count", [100, 301, 5_000])
def test_every_token_is_sent_to_exactly_once(count: int) -> None:
    made = plan(count, seed=1)
    assert made.planned == count
    traffic = made.traffic(reaches(made))
    sends = [*traffic.calls(), *(send for request in traffic.bulk() for send in request.sends)]
    token_of_user: dict[str, list[str]] = {}
    for registration in traffic.registrations():
        token_of_user.setdefault(registration.user_id, []).append(registration.token)
    reached: Counter[str] = Counter()
    for send in sends:
        for target in send.target.tokens:
            reached.update(target.tokens)
            reached.update(each.endpoint for each in target.subscriptions)
        for user_id in send.target.user_ids:
            reached.update(token_of_user[user_id])
    assert reached == Counter([*(reach.token for of in traffic.reaches.values() for reach in of), *MALFORMED])
    assert len({send.request_id for send in sends}) == len(sends)
    assert all(sum(len(t.tokens) + len(t.subscriptions) for t in s.target.tokens) <= CALL_TARGETS_MAX for s in sends)
    assert all(len(request.sends) <= BULK_SENDS_MAX for request in traffic.bulk())
    for provider, dead in traffic.dead.items():
        assert set(dead) < {reach.token for reach in traffic.reaches[provider]}
        assert len(dead) == made.dead(provider)


def test_one_call_reaches_all_six() -> None:
    made = plan(100, seed=1)
    first = next(made.traffic(reaches(made)).calls())
    assert {target.provider for target in first.target.tokens} == {int(provider) for provider in ON_STAGE}


def test_a_seed_repeats_the_plan() -> None:
    assert plan(300, seed=5) == plan(300, seed=5) != plan(300, seed=6)


def test_the_emulators_understand_every_fault() -> None:
    made = plan(300, seed=1)
    assert {Fault.from_json(fault).provider for fault in faults(made)} == {
        "oauth",
        *(provider.name.lower() for provider in ON_STAGE),
    }


def event(provider: int, token: str, state: int, attempt: int) -> following_pb2.DeliveryEvent:
    final = state != DELIVERY_STATE_QUEUED
    made = following_pb2.DeliveryEvent(
        notification_id="n",
        token=token,
        attempt=attempt,
        final=final,
        kind=EVENT_KIND_STATE if final else EVENT_KIND_ATTEMPT,
    )
    made.provider, made.state = provider, state  # type: ignore[assignment]
    return made


def tally_of(*events: following_pb2.DeliveryEvent, accepted: int = 3, rejected: int = 1) -> Tally:
    tally = Tally()
    rejections = [sending_pb2.Rejection()] * rejected
    tally.receipt(sending_pb2.SendNotificationResponse(target_count=accepted, rejected=rejections))
    tally.page(following_pb2.StreamDeliveryStatusResponse(events=events))
    return tally


EVENTS = (
    event(PROVIDER_APNS, "a", DELIVERY_STATE_QUEUED, 1),
    event(PROVIDER_APNS, "a", DELIVERY_STATE_SENT, 2),
    event(PROVIDER_APNS, "b", DELIVERY_STATE_UNREGISTERED, 1),
    event(PROVIDER_FCM, "c", DELIVERY_STATE_SENT, 1),
)
COUNTS = following_pb2.DeliveryCounts(total=3, sent=2, unregistered=1)
NOTHING = dict.fromkeys(ON_STAGE, Taken(0, 0, {}))
TAKEN = {**NOTHING, Provider.APNS: Taken(2, 1, {200: 1, 503: 1}), Provider.FCM: Taken(1, 1, {200: 1})}
REPLAY = sending_pb2.SendNotificationResponse(replayed=True, target_count=3)


def wrong(
    tally: Tally,
    planned: int = 3,
    dead: int = 1,
    taken: dict[Provider, Taken] = TAKEN,
    counts: following_pb2.DeliveryCounts = COUNTS,
    replay: sending_pb2.SendNotificationResponse = REPLAY,
) -> list[str]:
    """The names of the sums that do not add up."""
    return [c.name for c in tally.checks(planned, dead, 1, taken, counts, replay) if not c.adds_up]


def test_a_good_run_adds_up() -> None:
    tally = tally_of(*EVENTS)
    assert wrong(tally) == []
    assert tally.retries[Provider.APNS] == 1 and tally.tries[Provider.APNS] == 3
    assert tally.states() == [DeliveryState.SENT, DeliveryState.UNREGISTERED]


def test_each_kind_of_loss_and_repeat_is_noticed() -> None:
    assert wrong(tally_of(*EVENTS[:-1])) == [
        "final events = accepted",
        "deliveries with one final event = accepted",
        "ledger SENT = streamed SENT",
        "FCM took, distinct = SENT",
    ]
    twice = wrong(tally_of(*EVENTS, EVENTS[-1]))
    assert "final events = accepted" in twice and "deliveries with one final event = accepted" in twice
    tally = tally_of(*EVENTS)
    assert wrong(tally, planned=4) == ["targets accepted = targets sent out"]
    assert wrong(tally, dead=0) == ["UNREGISTERED = dead tokens"]
    assert wrong(tally, taken={**TAKEN, Provider.APNS: Taken(0, 0, {})}) == ["APNs took, distinct = SENT"]
    queued = following_pb2.DeliveryCounts(total=3, sent=2, queued=1)
    assert wrong(tally, counts=queued) == ["final rows in the ledger = accepted"]
    assert wrong(tally, replay=sending_pb2.SendNotificationResponse(target_count=3)) == [
        "new deliveries made by a replay = 0"
    ]
    assert wrong(tally_of(*EVENTS, rejected=0)) == ["malformed tokens rejected, typed"]


def run_of(*checks: Check) -> Run:
    return Run(tally_of(*EVENTS), 2.0, TAKEN, checks)


@pytest.mark.parametrize(("columns", "tables"), [(40, 4), (50, 3), (80, 2), (120, 1)])
def test_the_picture_fits_narrow_terminals_whole(columns: int, tables: int) -> None:
    run = run_of(Check("a rather long name of a sum = another one", 5_000, 5_000), Check("b = c", 1, 2))
    for number, provider in enumerate(ON_STAGE, 1):
        run.tally.final[provider, DeliveryState.SENT] = 100_000 + number
    output = io.StringIO()
    Console(file=output, width=columns, force_terminal=True, color_system=None).print(closing(run))
    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    text = " ".join(output.getvalue().split())
    assert "…" not in text
    assert all(f"{100_000 + number:,}" in text for number in range(1, 7)) and text.count("600,021") == 1
    assert text.count("Final states") == tables
    assert '"answered" counts requests' in text
    assert "✔" in text and "✘ b = c 1 ≠ 2" in text and "1 of 2 sums do not add up." in text


def test_the_verdict_is_good_only_if_all_sums_are() -> None:
    assert run_of(Check("x", 1, 1)).adds_up
    assert not run_of(Check("x", 1, 1), Check("y", 1, 2)).adds_up


def test_the_picture_is_saved_as_svg(tmp_path: Path) -> None:
    file = tmp_path / "demo.svg"
    record_closing(run_of(Check("x", 1, 1)), file)
    text = file.read_text()
    assert text.startswith("<svg") and "UNREGISTERED" in text
    assert "url(http" not in text and "@font-face" not in text


def test_the_json_has_every_figure() -> None:
    figures: dict[str, Any] = run_as_json(run_of(Check("x", 1, 1)))
    assert {name: of for name, of in figures["final"].items() if of} == {
        "APNS": {"SENT": 1, "UNREGISTERED": 1},
        "FCM": {"SENT": 1},
    }
    assert {name: count for name, count in figures["duplicates"].items() if count} == {"APNS": 1} and figures[
        "adds_up"
    ] is True
    assert figures["checks"] == [{"name": "x", "left": 1, "right": 1, "adds_up": True}]
