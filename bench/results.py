"""What a run found: every round of every case, as results.json keeps it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from bench.stats import Sample, Spread, paired_ratios, spread

OURS = "pushrpc"
PROVIDERS = ("apns", "fcm")
NAMES = {"apns": "APNs", "fcm": "FCM"}


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The rounds of one case by side; a round of all sides is at the same place of each list."""

    key: str
    title: str
    samples: dict[str, list[Sample]]

    def cpu_us(self, side: str = OURS) -> list[float]:
        return [sample.cpu_us for sample in self.samples[side]]

    def per_s(self, side: str = OURS) -> list[float]:
        return [sample.per_s for sample in self.samples[side]]

    def extra(self, name: str, side: str = OURS) -> list[float]:
        return [sample.extra[name] for sample in self.samples[side]]

    def cpu_ratio(self, side: str) -> float:
        """Our CPU per push divided by theirs: the median of the rounds' own ratios."""
        return median(paired_ratios(self.cpu_us(), self.cpu_us(side)))

    def rate_ratio(self, side: str) -> float:
        """Our pushes/s divided by theirs: the median of the rounds' own ratios."""
        return median(paired_ratios(self.per_s(), self.per_s(side)))


@dataclass(slots=True)
class Results:
    """`machine` describes where; cases by their keys, in the order they ran."""

    machine: dict[str, str]
    rounds: int
    cases: dict[str, CaseResult] = field(default_factory=dict)

    def add(self, case: CaseResult) -> None:
        self.cases[case.key] = case

    def series(self, prefix: str, figure: Callable[[CaseResult], Sequence[float]]) -> list[tuple[int, Spread]]:
        """A figure of every case called PREFIX-NUMBER, by its number."""
        found = ((key.rpartition("-"), case) for key, case in self.cases.items())
        return [(int(number), spread(figure(case))) for (name, _, number), case in found if name == prefix]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        raw = json.loads(path.read_text())
        results = cls(raw["machine"], raw["rounds"])
        for case in raw["cases"].values():
            samples = {side: [Sample(**sample) for sample in rounds] for side, rounds in case["samples"].items()}
            results.add(CaseResult(case["key"], case["title"], samples))
        return results
