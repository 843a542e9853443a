"""Who does what in which round: loads sized to last, and sides that take turns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.sides import Load, Side
from bench.stats import Sample

# Callers at once by the size of their calls: what is under way is of one order for all sizes, and no side idles.
CALLERS = {1: 50, 10: 16, 100: 8, 1000: 4}
WARM_UP_S = 0.25
WARM_UP_PUSHES_MIN = 200

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Contender:
    """A side in a case; `op` is what its callers do."""

    side: Side
    op: str = "send"
    name: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison: the same load through several sides. The first contender is ours."""

    key: str
    title: str
    provider: str
    tokens: int
    contenders: tuple[Contender, ...]


async def run_case(case: Case, rounds: int, seconds: float, say: Progress) -> dict[str, list[Sample]]:
    """Samples by contender, a round's at the same place of each list. Each section lasts about `seconds`."""
    loads = [await _sized(contender, case, seconds) for contender in case.contenders]
    samples: dict[str, list[Sample]] = {_name(c): [] for c in case.contenders}
    for number in range(1, rounds + 1):
        say(f"{case.title}: round {number} of {rounds}")
        for contender, load in zip(case.contenders, loads, strict=True):
            name = _name(contender)
            samples[name].append(replace(await contender.side.run(load, contender.op), side=name))
    return samples


def _name(contender: Contender) -> str:
    return contender.name or contender.side.name


async def _sized(contender: Contender, case: Case, seconds: float) -> Load:
    """A load that takes this side about `seconds`, by the rate of a warm-up."""
    callers = CALLERS[case.tokens]
    calls = max(callers, math.ceil(WARM_UP_PUSHES_MIN / case.tokens))
    load = Load(case.provider, case.tokens, calls, callers)
    for _ in range(2):  # the first may have to connect; its rate says how long the second has to be
        sample = await contender.side.run(load, contender.op)
        load = replace(load, calls=_calls(sample.per_s, WARM_UP_S, load))
    return replace(load, calls=_calls(sample.per_s, seconds, load))


def _calls(per_s: float, seconds: float, load: Load) -> int:
    return max(load.callers, round(per_s * seconds / load.tokens))


def columns(samples: Sequence[Sample]) -> tuple[list[float], list[float]]:
    """CPU µs per push and pushes per second of each round."""
    return [s.cpu_us for s in samples], [s.per_s for s in samples]
