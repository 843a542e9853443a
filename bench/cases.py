"""The cases: what is compared with what, and how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from statistics import median

from bench.machine import description
from bench.measure import CALLERS, Case, Progress, take_turns
from bench.results import NAMES, OURS, PROVIDERS, CaseResult, Results
from bench.sides import Load, Side, Stage
from bench.stats import Sample

FAN_OUT = (1, 10, 100, 1000)
GROWTH_TOKENS = (10_000, 100_000, 1_000_000)
GROWTH_APPS = (1, 10, 100)
TOKENS_OF_APPS = 100_000
PACED_S = 3.0
CANCELLED_TOKENS = 1_000_000
# A provider slow enough that a million pushes are still to be made when the cancel comes.
CANCEL_LATENCY_MS = 100.0
QUICK = ("apns", "fcm", "unary", "bulk")


async def quick(stage: Stage, rounds: int, seconds: float, wanted: Sequence[str], say: Progress) -> list[CaseResult]:
    """The main ratios: the largest fan-outs, unary sends against the empty echo, the bulk stream."""
    cases: list[Case] = []
    if {"apns", "bulk"} & set(wanted):
        aioapns, (rest, grpc) = await stage.aioapns(), await stage.gorush("apns")
        cases.append(Case("apns", "fan-out APNs", "apns", 1000, (aioapns, rest)))
        cases.append(Case("bulk", "bulk stream", "apns", 1, (grpc,), "bulk"))
    if "fcm" in wanted:
        rest, _ = await stage.gorush("fcm")
        cases.append(Case("fcm", "fan-out FCM", "fcm", 1000, (rest,)))
    if "unary" in wanted:
        cases.append(Case("unary", "unary sends", "apns", 1, (await stage.echo(),)))
    return [await _compared(stage, case, rounds, seconds, say) for case in cases if case.key in wanted]


async def whole(stage: Stage, rounds: int, seconds: float, say: Progress) -> Results:
    """Everything the report tells."""
    results = Results(description(stage.directory), rounds)
    for case in await _comparisons(stage):
        results.add(await _compared(stage, case, rounds, seconds, say))
    for provider, tokens in product(PROVIDERS, (1, 1000)):
        max_per_s = median(results.cases[f"{provider}-{tokens}"].per_s())
        results.add(await _paced(stage, provider, tokens, max_per_s / 2, rounds, say))
    for provider in PROVIDERS:
        for case_result in await _growth(stage, provider, rounds, say):
            results.add(case_result)
    results.add(await _cancel(stage, say))
    return results


async def _comparisons(stage: Stage) -> list[Case]:
    aioapns, apns2, echo = await stage.aioapns(), await stage.apns2(), await stage.echo()
    gorush = {provider: await stage.gorush(provider) for provider in ("apns", "fcm")}
    cases = []
    for provider, libraries in (("apns", (aioapns, apns2)), ("fcm", ())):
        for tokens in FAN_OUT:
            peers = (*libraries, *gorush[provider], *((echo,) if (provider, tokens) == ("apns", 1) else ()))
            title = f"{provider} fan-out, {tokens:,} tokens a call"
            cases.append(Case(f"{provider}-{tokens}", title, provider, tokens, peers))
    return [*cases, Case("bulk", "single-token sends, ours as a bulk stream", "apns", 1, gorush["apns"], "bulk")]


async def _compared(stage: Stage, case: Case, rounds: int, seconds: float, say: Progress) -> CaseResult:
    """On a new server, so that no case feels what an earlier one left in the ledger."""
    async with stage.pushrpc(case.key, providers=(case.provider,)) as ours:
        return await take_turns(case, ours, rounds, seconds, say)


async def _paced(stage: Stage, provider: str, tokens: int, per_s: float, rounds: int, say: Progress) -> CaseResult:
    calls_per_s = per_s / tokens
    key, title = f"paced-{provider}-{tokens}", f"{NAMES[provider]}, {tokens:,} tokens a call, {per_s:,.0f} pushes/s"
    load = Load(provider, tokens, max(1, round(PACED_S * calls_per_s)), CALLERS[tokens])
    samples = []
    async with stage.pushrpc(key, providers=(provider,)) as ours:
        for number in range(1, rounds + 1):
            say(f"half load, {title}: round {number} of {rounds}")
            samples.append(await ours.run(load, "pace", per_s=calls_per_s))
    return CaseResult(key, title, {OURS: samples})


async def _growth(stage: Stage, provider: str, rounds: int, say: Progress) -> list[CaseResult]:
    """Every section has a server and a ledger of its own, so that its peak of memory is its own."""
    name = NAMES[provider]
    sizes = [(f"tokens-{provider}-{tokens}", f"{name}, {tokens:,} tokens", tokens, 1) for tokens in GROWTH_TOKENS]
    sizes += [(f"apps-{provider}-{apps}", f"{name}, {apps} apps in turn", TOKENS_OF_APPS, apps) for apps in GROWTH_APPS]
    found: dict[str, CaseResult] = {key: CaseResult(key, title, {OURS: []}) for key, title, _, _ in sizes}
    for number in range(1, rounds + 1):
        for key, title, tokens, apps in sizes:
            say(f"growth, {title}: round {number} of {rounds}")
            names = [f"app-{i}" for i in range(apps)]
            async with stage.pushrpc(f"{key}-{number}", names, (provider,)) as side:
                sample = await side.run(Load(provider, 1000, tokens // 1000, CALLERS[1000]))
                found[key].samples[OURS].append(_with_memory(sample, side))
    return list(found.values())


def _with_memory(sample: Sample, side: Side) -> Sample:
    return replace(sample, extra={**sample.extra, "rss_peak_mib": side.rss_peak_mib})


async def _cancel(stage: Stage, say: Progress) -> CaseResult:
    say(f"cancelling {CANCELLED_TOKENS:,} tokens under way")
    async with stage.pushrpc("cancel") as side:
        await stage.slow_sink(CANCEL_LATENCY_MS)
        sample = await side.run(Load("apns", 1000, CANCELLED_TOKENS // 1000, CALLERS[1000]), "cancel")
        await stage.slow_sink(0)
        return CaseResult("cancel", "cancel", {OURS: [_with_memory(sample, side)]})
