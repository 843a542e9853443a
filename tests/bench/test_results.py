"""Rounds become medians and ratios, and are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.results import Results
from bench.stats import Spread, paired_ratios, spread
from tests.bench.runs import case, results


def test_a_spread_tells_the_middle_and_both_ends() -> None:
    assert spread([3.0, 1.0, 9.0]) == Spread(3.0, 1.0, 9.0)


def test_ratios_compare_sections_of_the_same_round() -> None:
    # The machine was twice as slow in the second round: both sides of it were, and the ratio does not know.
    assert paired_ratios([10.0, 20.0], [40.0, 80.0]) == [0.25, 0.25]
    with pytest.raises(ValueError, match="as many rounds"):
        paired_ratios([1.0], [1.0, 2.0])


def test_a_case_compares_cpu_and_rate_by_the_median_round() -> None:
    found = case("apns-1000", pushrpc=[10.0, 30.0, 11.0], aioapns=[100.0, 100.0, 100.0])
    assert found.cpu_ratio("aioapns") == pytest.approx(0.11)
    assert found.rate_ratio("aioapns") == pytest.approx(100 / 11)


def test_a_series_is_ordered_as_it_ran_and_named_by_its_number() -> None:
    assert [number for number, _ in results().series("tokens-fcm", lambda c: c.cpu_us())] == [
        10_000,
        100_000,
        1_000_000,
    ]


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    run = results()
    run.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == run
