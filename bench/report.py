"""Tables: for a terminal of 80 columns, and REPORT.md. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from bench.goals import GRPC, REST, verdicts
from bench.results import NAMES, OURS, PROVIDERS, CaseResult, Results

SIDES = {
    OURS: "pushrpc",
    "aioapns": "aioapns",
    "apns2": "apns2 pool",
    REST: "gorush REST-sync",
    GRPC: "gorush gRPC",
    "echo": "empty grpc.aio echo",
}

_INTRODUCTION = """# Benchmark

Written by `make bench`; every round is in [results.json](results.json). How each side is run, and what makes it fair:
[CONTRIBUTING.md](../CONTRIBUTING.md#benchmarks).

Sides take turns round by round; figures are medians of {rounds} rounds, ratios are medians of each round's own ratio of
ours to theirs. CPU is that of the measured process, all its threads, with the least and the greatest round. *Cores* is
how many of them it kept busy: its callers and the sink, which are not counted, had the rest."""


def quick_table(cases: Iterable[CaseResult]) -> str:
    rows = [row for case in cases for row in _quick_rows(case)]
    return text_table(["case", "side", "CPU us/push", "pushes/s", "our CPU", "our rate"], rows)


def _quick_rows(case: CaseResult) -> list[list[str]]:
    """One row a side: its CPU and rate, then ours against it."""
    rows: list[list[str]] = []
    for side in case.samples:
        row = ["" if rows else case.title, side, f"{median(case.cpu_us(side)):.1f}", f"{median(case.per_s(side)):,.0f}"]
        if side != OURS:
            row += [f"{case.cpu_ratio(side):.2f} x", f"{case.rate_ratio(side):.1f} x"]
        rows.append(row)
    return rows


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 2) -> str:
    """Columns padded with spaces: the first `left` to the left, numbers to the right."""
    lines = [list(header), *(list(row) + [""] * (len(header) - len(row)) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]

    def padded(line: Sequence[str]) -> str:
        cells = (c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        return "  ".join(cells).rstrip()

    return "\n".join([padded(lines[0]), "  ".join("-" * w for w in widths), *map(padded, lines[1:])])


def goals_table(results: Results) -> str:
    rows = [[v.figure, v.goal, v.measured, v.shortfall or "reached"] for v in verdicts(results)]
    return text_table(["figure", "goal", "measured", "verdict"], rows)


def report(results: Results) -> str:
    """The whole of REPORT.md."""
    return "\n\n".join(
        [
            _INTRODUCTION.format(rounds=results.rounds),
            _machine(results),
            "## Goals\n\n" + _goals(results),
            "![CPU per push, pushes per second and growth](report.png)",
            *(_fan_out(results, provider) for provider in PROVIDERS),
            "## Single sends\n\nAPNs; unary sends through FCM are the first rows of its table above.\n\n"
            + _singles(results),
            "## Latency at half load\n\n"
            "Calls come on a schedule, at half of the rate measured above; accept is counted from when a call was due, "
            "event from the sink's answer to the event's arrival at the follower. Milliseconds.\n\n"
            + _latency(results),
            "## Growth\n\nEvery row is a new server on a new ledger; calls of 1,000 tokens.\n\n" + _growth(results),
            "## Cancel\n\nOne run. " + _cancel(results.cases["cancel"]),
        ]
    )


def _machine(results: Results) -> str:
    return "Measured on: " + "; ".join(f"{name} {value}" for name, value in results.machine.items()) + "."


def _goals(results: Results) -> str:
    rows = [
        [v.figure, v.goal, v.measured, "reached" if v.is_reached else f"**missed**: {v.shortfall}"]
        for v in verdicts(results)
    ]
    missed_by: dict[str, list[str]] = {}
    for verdict in verdicts(results):
        if verdict.why:
            missed_by.setdefault(verdict.why, []).append(verdict.figure)
    reasons = [f"- **{'; '.join(figures)}**: {why}" for why, figures in missed_by.items()]
    table = _markdown(["figure", "goal", "measured", "verdict"], rows, left=1)
    if not reasons:
        return table
    heading = (
        "Why goals are missed (what was tried: [0005](../docs/decisions/0005-what-a-push-costs.md), "
        "[0009](../docs/decisions/0009-what-single-sends-can-cost.md), "
        "[0010](../docs/decisions/0010-where-transactions-run.md)):"
    )
    return "\n\n".join([table, heading, "\n".join(reasons)])


def _fan_out(results: Results, provider: str) -> str:
    rows = []
    for key, case in results.cases.items():
        prefix, _, tokens = key.rpartition("-")
        for side in case.samples if prefix == provider else ():
            if side != "echo":
                rows.append([f"{int(tokens):,}", *_side_cells(case, side)])
    header = ["tokens per call", "side", "our CPU", "our rate", "CPU µs/push", "pushes/s", "cores"]
    about = "" if provider == "apns" else "aioapns and apns2 speak to Apple only.\n\n"
    return f"## {NAMES[provider]} fan-out\n\n{about}" + _markdown(header, rows, left=2)


def _singles(results: Results) -> str:
    unary, bulk = results.cases["apns-1"], results.cases["bulk"]
    rows = [["unary, 50 callers", *_side_cells(unary, side)] for side in (OURS, "echo", REST, GRPC)]
    rows += [["ours as a bulk stream", *_side_cells(bulk, side)] for side in bulk.samples]
    return _markdown(["sends", "side", "our CPU", "our rate", "CPU µs/send", "sends/s", "cores"], rows, left=2)


def _side_cells(case: CaseResult, side: str) -> list[str]:
    """The side, our ratios to it, and its figures: CPU with the least and greatest round, rate, cores it kept busy."""
    ratios = ["", ""] if side == OURS else [f"{case.cpu_ratio(side):.2f} ×", f"{case.rate_ratio(side):.1f} ×"]
    cpu, rate = case.cpu_us(side), case.per_s(side)
    cores = median(c * r / 1e6 for c, r in zip(cpu, rate, strict=True))
    figures = [f"{median(cpu):.1f} ({min(cpu):.1f}–{max(cpu):.1f})", f"{median(rate):,.0f}", f"{cores:.2f}"]
    return [SIDES[side], *ratios, *figures]


def _latency(results: Results) -> str:
    quantiles = [f"{what}_ms.{q}" for what in ("accept", "event") for q in ("p50", "p99", "max")]
    rows = [
        [case.title, *(f"{median(case.extra(q)):.1f}" for q in quantiles)]
        for key, case in results.cases.items()
        if key.startswith("paced-")
    ]
    return _markdown(["load", *(q.replace("_ms.", " ") for q in quantiles)], rows, left=1)


def _growth(results: Results) -> str:
    rows = [
        [
            case.title,
            f"{median(case.cpu_us()):.1f} ({min(case.cpu_us()):.1f}–{max(case.cpu_us()):.1f})",
            f"{median(case.per_s()):,.0f}",
            f"{median(case.extra('rss_peak_mib')):.0f}",
        ]
        for key, case in results.cases.items()
        if key.startswith(("tokens-", "apps-"))
    ]
    return _markdown(["run", "CPU µs/push", "pushes/s", "peak memory MiB"], rows, left=1)


def _cancel(case: CaseResult) -> str:
    (sample,) = case.samples[OURS]
    extra = sample.extra
    return (
        f"{sample.pushes:,} tokens accepted under one label while the provider is slow, then cancelled by that label: "
        f"the last provider call began {extra['last_start_ms']:,.0f} ms after that was asked for (negative: before), "
        f"the answer came after {extra['cancel_ms']:,.0f} ms. {extra.get('states.cancelled', 0):,.0f} ended cancelled, "
        f"{extra.get('states.sent', 0):,.0f} sent; peak memory {extra['rss_peak_mib']:.0f} MiB.\n"
    )


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> str:
    rule = ["---" if i < left else "---:" for i in range(len(header))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *rows))
