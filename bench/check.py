"""CI's check: our CPU per push, in units of aioapns' CPU per push, against the ratio that was last agreed on.

An absolute time would say more of the machine than of a change; aioapns, pinned and measured in the same seconds, is
the yardstick. A virtual machine's speed swings by a fifth within seconds, and two starts of the same server differ by
some percent, so what is counted is starts: each a new server that takes turns with aioapns for a few short rounds.
Starts are added until the answer is clear of their own spread, or enough of them have been seen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import geometric_mean, mean, stdev

from bench.measure import Progress
from bench.sides import Load, Side, Stage

TOLERANCE = 1.10
"""What a change may cost; more must be seen."""

ROUNDS = 4
STARTS_MIN = 4
STARTS_BEFORE_FAILING = 8
"""A bad beginning is measured again before it fails anybody."""
STARTS_MAX = 12
STARTS_OF_A_BASELINE = 24
"""Two minutes or three: what a baseline errs by, every later check errs by."""
CLEAR_OF_NOISE = 2.5
"""Standard errors between the mean and the limit that make an answer clear; the standard error of so few is rough."""

# A third of a second or so each: short, so that a disturbance of the machine meets both sides of a round.
OURS = Load("apns", tokens=1000, calls=12, callers=4)
# A hundred at once: with more, its cost swings with what the machine's caches hold for it, and is no yardstick.
AIOAPNS = Load("apns", tokens=100, calls=20, callers=1)


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
    """`error` is the standard error as a share of `ratio`; `passed` is None while more starts are needed."""

    ratio: float
    error: float
    passed: bool | None

    def __str__(self) -> str:
        return f"{self.ratio:.4f} ± {self.error * 100:.1f} %"


def decide(ratios: Sequence[float], limit: float) -> Answer:
    """Whether the mean of these starts' ratios is within the limit, or whether that is not yet clear."""
    logs = [math.log(ratio) for ratio in ratios]  # noise multiplies, so it is symmetric in logarithms
    ratio, error = math.exp(mean(logs)), stdev(logs) / math.sqrt(len(logs))
    margin = math.log(limit / ratio)
    if len(ratios) >= STARTS_MAX:
        return Answer(ratio, error, margin >= 0)
    passed = None
    if len(ratios) >= STARTS_MIN and margin >= CLEAR_OF_NOISE * error:
        passed = True
    elif len(ratios) >= STARTS_BEFORE_FAILING and -margin > CLEAR_OF_NOISE * error:
        passed = False
    return Answer(ratio, error, passed)


async def check(stage: Stage, limit: float, say: Progress) -> Answer:
    """Takes starts until the answer is clear."""
    aioapns = await stage.aioapns()
    ratios: list[float] = []
    while True:
        ratios.append(await _start(stage, len(ratios), aioapns))
        if len(ratios) >= STARTS_MIN:
            answer = decide(ratios, limit)
            say(
                f"{len(ratios)} starts: {answer}, limit {limit:.4f}{'' if answer.passed is not None else ': not clear'}"
            )
            if answer.passed is not None:
                return answer


async def typical(stage: Stage, say: Progress) -> Answer:
    """The ratio of this code on this machine, for a baseline."""
    aioapns = await stage.aioapns()
    ratios: list[float] = []
    for number in range(STARTS_OF_A_BASELINE):
        ratios.append(await _start(stage, number, aioapns))
        say(f"start {number + 1} of {STARTS_OF_A_BASELINE}: {ratios[-1]:.4f}")
    return decide(ratios, limit=1)


async def _start(stage: Stage, number: int, aioapns: Side) -> float:
    """A new server's ratio."""
    async with stage.pushrpc(f"start-{number}") as ours:

        async def one() -> float:
            return (await ours.run(OURS)).cpu_us / (await aioapns.run(AIOAPNS)).cpu_us

        await one()  # warms both
        return geometric_mean([await one() for _ in range(ROUNDS)])
