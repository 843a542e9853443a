"""Made-up runs of a benchmark, for what is computed from them."""

from __future__ import annotations

from itertools import product

from bench.cases import FAN_OUT, GROWTH_APPS, GROWTH_TOKENS
from bench.results import PROVIDERS, CaseResult, Results
from bench.stats import Sample

EVENT = {"event_ms.p50": 5.0, "event_ms.p99": 50.0, "event_ms.max": 60.0}
ACCEPT = {"accept_ms.p50": 3.0, "accept_ms.p99": 9.0, "accept_ms.max": 11.0}


def case(key: str, title: str = "a case", extra: dict[str, float] | None = None, **sides: list[float]) -> CaseResult:
    """Sides by their CPU µs per push, round by round; a side that needs less is as much faster."""
    names = {name.replace("_", "-"): rounds for name, rounds in sides.items()}
    samples = {
        name: [Sample(cpu, 1e6 / cpu, 1000, dict(extra or {"states.sent": 1000})) for cpu in rounds]
        for name, rounds in names.items()
    }
    return CaseResult(key, title, samples)


def results(pushrpc_us: float = 10.0) -> Results:
    """A run of two rounds in which every goal is reached while a push costs pushrpc 10 µs."""
    run = Results({"CPU": "a made-up one", "Python": "3.11"}, rounds=2)
    ours = [pushrpc_us, pushrpc_us * 1.02]
    for tokens in FAN_OUT:
        echo = {"echo": [9.0, 9.0]} if tokens == 1 else {}
        peers = {"aioapns": [200.0, 210.0], "apns2": [40.0, 41.0], "gorush_rest": [60.0, 61.0]}
        run.add(case(f"apns-{tokens}", "a case", None, pushrpc=ours, **peers, gorush_grpc=[55.0, 56.0], **echo))
    for tokens in FAN_OUT:
        run.add(case(f"fcm-{tokens}", pushrpc=ours, gorush_rest=[70.0, 71.0], gorush_grpc=[75.0, 76.0]))
    run.add(case("bulk", pushrpc=ours, gorush_rest=[120.0, 130.0], gorush_grpc=[90.0, 95.0]))
    for provider, tokens in product(PROVIDERS, (1, 1000)):
        run.add(case(f"paced-{provider}-{tokens}", extra={**EVENT, **ACCEPT}, pushrpc=ours))
    memory = {"rss_peak_mib": 150.0, "states.sent": 1000}
    for provider in PROVIDERS:
        for tokens in GROWTH_TOKENS:
            run.add(case(f"tokens-{provider}-{tokens}", extra=memory, pushrpc=ours))
        for apps in GROWTH_APPS:
            run.add(case(f"apps-{provider}-{apps}", extra=memory, pushrpc=ours))
    ended = {"states.sent": 100, "states.cancelled": 900, "cancel_ms": 300.0, "last_start_ms": -200.0}
    run.add(case("cancel", extra={**memory, **ended}, pushrpc=ours[:1]))
    return run
