"""Loads sized to last, and sides that take turns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from bench.results import CaseResult
from bench.sides import Load, Side
from bench.stats import Sample

# Callers at once by the size of their calls: what is under way is of one order for all sizes, and no side idles.
CALLERS = {1: 50, 10: 16, 100: 8, 1000: 4}
WARM_UP_S = 0.25
WARM_UP_PUSHES_MIN = 200

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison: the same load through us and through peers; `our_op` is what our callers do."""

    key: str
    title: str
    provider: str
    tokens: int
    peers: tuple[Side, ...]
    our_op: str = "send"


async def take_turns(case: Case, ours: Side, rounds: int, seconds: float, say: Progress) -> CaseResult:
    """Each section lasts about `seconds`; a round has one of every side, ours first."""
    contenders = [(ours, case.our_op), *((peer, "send") for peer in case.peers)]
    loads = [await _sized(side, op, case, seconds) for side, op in contenders]
    samples: dict[str, list[Sample]] = {side.name: [] for side, _ in contenders}
    for number in range(1, rounds + 1):
        say(f"{case.title}: round {number} of {rounds}")
        for (side, op), load in zip(contenders, loads, strict=True):
            samples[side.name].append(await side.run(load, op))
    return CaseResult(case.key, case.title, samples)


async def _sized(side: Side, op: str, case: Case, seconds: float) -> Load:
    """A load that takes this side about `seconds`, by the rate of a warm-up."""
    callers = CALLERS[case.tokens]
    calls = max(callers, math.ceil(WARM_UP_PUSHES_MIN / case.tokens))
    load = Load(case.provider, case.tokens, calls, callers)
    for lasting_s in (WARM_UP_S, seconds):  # the first may have to connect; its rate only says how long the second is
        sample = await side.run(load, op)
        load = replace(load, calls=max(callers, round(sample.per_s * lasting_s / case.tokens)))
    return load
