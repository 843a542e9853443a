"""What pushrpc must reach, and whether a run did. Pure: a verdict is computed from the rounds, never written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from bench.results import PROVIDERS, CaseResult, Results
from bench.stats import paired_ratios

REST = "gorush-rest"
GRPC = "gorush-grpc"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One goal and what a run made of it. `shortfall` says what a missed one lacks, `why` what stands in the way."""

    figure: str
    goal: str
    measured: str
    shortfall: str = ""
    why: str = ""

    @property
    def is_reached(self) -> bool:
        return not self.shortfall


@dataclass(frozen=True, slots=True)
class Goal:
    """`value` of a run at most or at least `bound`; `aim` is what would be better still.

    `why` is what is known to stand in the way, told when the goal is missed and only then.
    """

    figure: str
    value: Callable[[Mapping[str, CaseResult]], float]
    bound: float
    unit: str
    is_ceiling: bool = True
    aim: float | None = None
    why: str = ""

    def verdict(self, results: Results) -> Verdict:
        value = self.value(results.cases)
        sign = "≤" if self.is_ceiling else "≥"
        goal = f"{sign} {self._shown(self.bound)}" + (f", aim {self._shown(self.aim)}" if self.aim else "")
        off = (value / self.bound - 1) * (100 if self.is_ceiling else -100)
        shortfall = "" if off <= 0 else f"{off:.0f} % {'over' if self.is_ceiling else 'below'}"
        return Verdict(self.figure, goal, self._shown(value), shortfall, self.why if shortfall else "")

    def _shown(self, value: float) -> str:
        digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
        return f"{value:,.{digits}f} {self.unit}".replace(".00 ", " ").replace(".0 ", " ")


Cases = Mapping[str, CaseResult]


def _worst_paced(quantile: str) -> Callable[[Cases], float]:
    def value(cases: Cases) -> float:
        return max(
            median(case.extra(f"event_ms.{quantile}")) for key, case in cases.items() if key.startswith("paced-")
        )

    return value


def _flatness(prefix: str) -> Callable[[Cases], float]:
    """How far a provider's costliest or cheapest size is from its first, in percent: medians of rounds' own ratios."""

    def value(cases: Cases) -> float:
        away = []
        for provider in PROVIDERS:
            first, *others = [case.cpu_us() for key, case in cases.items() if _is(key, f"{prefix}-{provider}")]
            away += [abs(median(paired_ratios(other, first)) - 1) * 100 for other in others]
        return max(away)

    return value


def _accounted(cases: Cases) -> float:
    """Percent of the cancelled run's and the largest runs' pushes whose one final event arrived."""
    samples = [cases["cancel"].samples["pushrpc"][0], *(s for case in _largest(cases) for s in case.samples["pushrpc"])]
    told = sum(n for sample in samples for name, n in sample.extra.items() if name.startswith("states."))
    return told / sum(sample.pushes for sample in samples) * 100


def _largest(cases: Cases) -> list[CaseResult]:
    return [cases[f"tokens-{provider}-1000000"] for provider in PROVIDERS]


def _is(key: str, prefix: str) -> bool:
    return key.rpartition("-")[0] == prefix


_DURABLE = (
    "8 of our microseconds are the ledger's, and nobody beside us keeps one: a push is a row, its index entries, a run "
    "of events and a share of three synced commits. The rest is flat: no function has a tenth of it."
)
_TWO_CORES = (
    "the two cores are full: the sink takes about 24 µs a push, more than we do, and the callers some; what is left of "
    "them bounds everybody's rate."
)
_EVERY_SEND = (
    "with a ledger that keeps nothing and costs nothing a send still cost 1.35 empty echoes (docs/decisions/0009), so "
    "the goal leaves a durable one a quarter of an echo; its rows and indexes alone, without Python around them, take "
    "about as much. What was gained since and what gained nothing is in docs/decisions/0010; there too, why this ratio "
    "moves by a fifth between runs: the echo's own CPU does."
)
_ONE_LOCK = (
    "with a ledger that keeps nothing and costs nothing the stream made 0.92 × gorush's rate (docs/decisions/0009): "
    "Python runs one thread at a time, and what a send needs beside the ledger is a core's worth at that rate. gorush "
    "keeps nothing, answers before it has pushed, and uses both cores."
)

GOALS = (
    Goal("APNs fan-out of 1,000: CPU per push", lambda c: median(c["apns-1000"].cpu_us()), 20, "µs", why=_DURABLE),
    Goal("the same against gorush REST-sync", lambda c: c["apns-1000"].cpu_ratio(REST), 0.333, "×", why=_DURABLE),
    Goal("FCM fan-out of 1,000: CPU per push", lambda c: median(c["fcm-1000"].cpu_us()), 30, "µs", why=_DURABLE),
    Goal(
        "APNs pushes/s against gorush REST-sync",
        lambda c: c["apns-1000"].rate_ratio(REST),
        2,
        "×",
        False,
        why=_TWO_CORES,
    ),
    Goal(
        "APNs pushes/s against aioapns", lambda c: c["apns-1000"].rate_ratio("aioapns"), 10, "×", False, why=_TWO_CORES
    ),
    Goal(
        "unary single sends: CPU against an empty echo",
        lambda c: c["apns-1"].cpu_ratio("echo"),
        1.6,
        "×",
        aim=1.3,
        why=_EVERY_SEND,
    ),
    Goal(
        "bulk stream: sends/s against gorush gRPC",
        lambda c: c["bulk"].rate_ratio(GRPC),
        1.5,
        "×",
        False,
        aim=3,
        why=_ONE_LOCK,
    ),
    Goal("answer to event at half load, p50", _worst_paced("p50"), 20, "ms"),
    Goal("answer to event at half load, p99", _worst_paced("p99"), 250, "ms"),
    Goal(
        "1,000,000 tokens: peak memory",
        lambda c: max(m for case in _largest(c) for m in case.extra("rss_peak_mib")),
        300,
        "MiB",
    ),
    Goal("1,000,000 tokens, sent and cancelled: accounted for", _accounted, 100, "%", False),
    Goal(
        "last provider call after a cancel was asked for", lambda c: c["cancel"].extra("last_start_ms")[0], 1000, "ms"
    ),
    Goal("10 k to 1 M tokens: CPU per push away from 10 k's", _flatness("tokens"), 20, "%"),
    Goal("1 to 100 apps in turn: CPU per push away from 1 app's", _flatness("apps"), 20, "%"),
)


def verdicts(results: Results) -> list[Verdict]:
    return [goal.verdict(results) for goal in GOALS]
