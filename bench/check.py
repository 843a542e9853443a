"""CI's check: our CPU per push, in units of aioapns' CPU per push, against the ratio that was last agreed on.

An absolute time would say more of the machine than of a change; aioapns, pinned and measured in the same seconds,
is the yardstick. Rounds are added until the answer is clear of their own noise, or enough of them have been seen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.measure import Progress
from bench.sides import Load, Stage

TOLERANCE = 1.10
"""What a change may cost; more must be seen."""

WARM_UP_ROUNDS = 2
ROUNDS_MIN = 8
ROUNDS_BEFORE_FAILING = 16
"""A bad beginning is measured again before it fails anybody."""
ROUNDS_MAX = 32
CLEAR_OF_NOISE = 2.0
"""Standard errors between the median and the limit that make an answer clear."""

# A third of a second or so each: short, so that a disturbance of the machine meets both sides of a round.
OURS = Load("apns", tokens=1000, calls=12, callers=4)
# A hundred at once: with more, its cost swings with what the machine's caches hold for it, and is no yardstick.
AIOAPNS = Load("apns", tokens=100, calls=20, callers=1)
STAGES_OF_A_BASELINE = 5
"""Two starts of the same code differ by a percent or two: a baseline is the median of several."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Our CPU divided by aioapns', and why it is what it is."""

    ratio: float
    reason: str

    @property
    def limit(self) -> float:
        return self.ratio * TOLERANCE

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Baseline:
        return cls(**json.loads(path.read_text()))


@dataclass(frozen=True, slots=True)
class Answer:
    """`passed` is None while more rounds are needed."""

    ratio: float
    standard_error: float
    passed: bool | None


def decide(ratios: Sequence[float], limit: float) -> Answer:
    """Whether the median of these rounds' ratios is within the limit, or whether that is not yet clear."""
    ratio, error = median(ratios), standard_error(ratios)
    if len(ratios) >= ROUNDS_MAX:
        return Answer(ratio, error, ratio <= limit)
    passed = None
    if len(ratios) >= ROUNDS_MIN and ratio + CLEAR_OF_NOISE * error <= limit:
        passed = True
    elif len(ratios) >= ROUNDS_BEFORE_FAILING and ratio - CLEAR_OF_NOISE * error > limit:
        passed = False
    return Answer(ratio, error, passed)


def standard_error(values: Sequence[float]) -> float:
    """Of the median, by the median deviation, so that a few wild rounds do not widen it."""
    middle = median(values)
    # 1.4826 makes a deviation of a normal distribution's median deviation; its median errs 1.2533 times its mean.
    return 1.2533 * 1.4826 * median(abs(value - middle) for value in values) / math.sqrt(len(values))


async def check(stage: Stage, limit: float, say: Progress) -> Answer:
    """Takes rounds until the answer is clear."""
    take = await _rounds(stage)
    ratios = await take(ROUNDS_MIN)
    while (answer := decide(ratios, limit)).passed is None:
        say(f"{len(ratios)} rounds: {answer.ratio:.4f} ± {answer.standard_error:.4f}, limit {limit:.4f}: not clear yet")
        ratios += await take(ROUNDS_MIN)
    say(f"{len(ratios)} rounds: {answer.ratio:.4f} ± {answer.standard_error:.4f}, limit {limit:.4f}")
    return answer


async def typical(stage: Stage, say: Progress) -> float:
    """The ratio of one start, by as many rounds as a doubtful check takes."""
    take = await _rounds(stage)
    ratios = await take(ROUNDS_MAX)
    say(f"{len(ratios)} rounds: {median(ratios):.4f} ± {standard_error(ratios):.4f}")
    return median(ratios)


async def _rounds(stage: Stage) -> Callable[[int], Awaitable[list[float]]]:
    """pushrpc and aioapns side by side and warm; what is returned takes rounds of them."""
    pushrpc, aioapns = await stage.pushrpc(), await stage.aioapns()

    async def take(count: int) -> list[float]:
        return [(await pushrpc.run(OURS)).cpu_us / (await aioapns.run(AIOAPNS)).cpu_us for _ in range(count)]

    await take(WARM_UP_ROUNDS)
    return take
