"""CI's check: noise does not fail it, a change that costs more than a tenth does."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench.check import ROUNDS_BEFORE_FAILING, ROUNDS_MAX, ROUNDS_MIN, Answer, Baseline, decide

BASELINE = Baseline(0.2, "as measured")
TRIALS = 300


def noisy(ratio: float, deviation: float, seed: int) -> Answer:
    """A whole check of a change whose true cost is `ratio` of the baseline, on a machine with this much noise."""
    source = random.Random(seed)
    ratios: list[float] = []
    while True:
        ratios += [BASELINE.ratio * ratio * source.lognormvariate(0, deviation) for _ in range(ROUNDS_MIN)]
        answer = decide(ratios, BASELINE.limit)
        if answer.passed is not None:
            return answer


def failures(ratio: float, deviation: float) -> int:
    return sum(not noisy(ratio, deviation, seed).passed for seed in range(TRIALS))


@pytest.mark.parametrize("deviation", [0.02, 0.05, 0.10])
def test_noise_alone_does_not_fail(deviation: float) -> None:
    assert failures(1.0, deviation) == 0


@pytest.mark.parametrize(("ratio", "deviation"), [(1.12, 0.02), (1.13, 0.05), (1.20, 0.10)])
def test_what_costs_more_than_a_tenth_fails(ratio: float, deviation: float) -> None:
    assert failures(ratio, deviation) > 0.95 * TRIALS


def test_a_bad_beginning_is_measured_again() -> None:
    bad, good = [0.3] * ROUNDS_MIN, [0.2] * ROUNDS_MIN
    assert decide(bad, BASELINE.limit).passed is None
    assert decide([*bad, *good, *good], BASELINE.limit).passed


def test_a_clear_failure_needs_no_more_rounds() -> None:
    assert decide([0.3, 0.301] * (ROUNDS_BEFORE_FAILING // 2), BASELINE.limit).passed is False


def test_it_ends() -> None:
    on_the_limit = [BASELINE.limit * (0.9 if i % 2 else 1.1) for i in range(ROUNDS_MAX)]
    assert decide(on_the_limit, BASELINE.limit).passed is not None


def test_a_baseline_is_read_back_with_its_reason(tmp_path: Path) -> None:
    BASELINE.save(tmp_path / "baseline.json")
    assert Baseline.load(tmp_path / "baseline.json") == BASELINE
    assert BASELINE.limit == pytest.approx(0.22)
