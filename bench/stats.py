"""Rounds, and what is made of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed section of one side. `cpu_us` is the measured process's CPU per push, `extra` what else was seen."""

    cpu_us: float
    per_s: float
    pushes: int
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the least and the greatest of its rounds."""

    median: float
    least: float
    greatest: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def paired_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Each round's own ratio: what the machine did in a round meets both sides of it."""
    if len(ours) != len(theirs):
        raise ValueError("sides that take turns have as many rounds each")
    return [a / b for a, b in zip(ours, theirs, strict=True)]
