"""Verdicts follow from the rounds."""

from __future__ import annotations

import pytest

from bench.goals import GOALS, Goal, verdicts
from bench.results import Results
from tests.bench.runs import case, results


def test_every_goal_is_reached_by_a_run_that_reaches_them() -> None:
    assert [v.figure for v in verdicts(results()) if not v.is_reached] == []


def test_a_slow_run_misses_what_depends_on_speed() -> None:
    missed = {v.figure for v in verdicts(results(pushrpc_us=500.0)) if not v.is_reached}
    assert len(missed) == 7, missed


@pytest.mark.parametrize(
    ("value", "is_ceiling", "shortfall"),
    [(20.0, True, ""), (25.0, True, "25 % over"), (20.0, False, ""), (15.0, False, "25 % below"), (19.0, True, "")],
)
def test_a_bound_itself_is_reached(value: float, is_ceiling: bool, shortfall: str) -> None:
    verdict = Goal("figure", lambda _: value, 20, "µs", is_ceiling).verdict(results())
    assert verdict.shortfall == shortfall
    assert verdict.is_reached == (not shortfall)


def test_figures_are_shown_with_what_matters_of_them() -> None:
    goal = Goal("figure", lambda _: 1234.5, 1.6, "×", aim=1.3)
    assert (goal.verdict(results()).goal, goal.verdict(results()).measured) == ("≤ 1.60 ×, aim 1.30 ×", "1,234 ×")


def measured(figure: str, run: Results) -> str:
    return next(v.measured for v in verdicts(run) if v.figure.startswith(figure))


def test_growth_is_how_far_any_size_is_from_the_first() -> None:
    run = results()
    run.add(case("tokens-fcm-100000", extra={"rss_peak_mib": 1.0}, pushrpc=[7.0, 7.0]))
    assert measured("10 k to 1 M tokens", run) == "30.7 %"


def test_a_push_without_its_final_event_is_missed() -> None:
    run = results()
    run.add(case("tokens-apns-1000000", extra={"rss_peak_mib": 1.0, "states.sent": 999}, pushrpc=[10.0, 10.0]))
    figure = "1,000,000 tokens, sent and cancelled"
    assert [v.is_reached for v in verdicts(run) if v.figure.startswith(figure)] == [False]


def test_latency_is_that_of_the_worst_load() -> None:
    run = results()
    slow = {"event_ms.p50": 21.0, "event_ms.p99": 251.0}
    run.add(case("paced-fcm-1", extra=slow, pushrpc=[10.0, 10.0]))
    assert (measured("answer to event at half load, p50", run), len(GOALS)) == ("21 ms", 14)
    assert measured("answer to event at half load, p99", run) == "251 ms"
