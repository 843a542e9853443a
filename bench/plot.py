"""report.png: what the report's tables say, at a glance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from bench.report import SIDES
from bench.results import NAMES, OURS, PROVIDERS, CaseResult, Results
from bench.stats import Spread, spread

# Okabe and Ito's colours: told apart by nearly every eye. Ours is the strong one.
_COLOURS = {
    OURS: "#D55E00",
    "gorush-rest": "#0072B2",
    "gorush-grpc": "#56B4E9",
    "apns2": "#009E73",
    "aioapns": "#CC79A7",
    "echo": "#666666",
}
_DPI = 110


def draw(results: Results, path: Path) -> None:
    figure, axes = plt.subplots(2, 3, figsize=(15, 8.5), layout="constrained")
    figure.suptitle(f"pushrpc and its peers against one sink: {results.machine['CPU']}; medians of {results.rounds}")
    for row, provider in enumerate(PROVIDERS):
        name = NAMES[provider]
        _lines(axes[row][0], results, provider, f"{name}: CPU per push", "µs", lambda case, side: case.cpu_us(side))
        _lines(axes[row][1], results, provider, f"{name}: pushes per second", "", lambda case, side: case.per_s(side))
    axes[0][0].legend(fontsize=9)
    _single_sends(axes[0][2], results)
    _growth(axes[1][2], results)
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


Figure = Callable[[CaseResult, str], list[float]]


def _lines(axes: Axes, results: Results, provider: str, title: str, unit: str, figure: Figure) -> None:
    by_side: dict[str, list[tuple[int, Spread]]] = {}
    for key, case in results.cases.items():
        name, _, tokens = key.rpartition("-")
        for side in case.samples if name == provider else ():
            if side != "echo":
                by_side.setdefault(side, []).append((int(tokens), spread(figure(case, side))))
    for side, points in by_side.items():
        _line(axes, points, side)
    axes.set(title=title, xlabel="tokens per call", ylabel=unit, xscale="log", yscale="log")
    _plain_ticks(axes)


def _line(axes: Axes, points: list[tuple[int, Spread]], side: str) -> None:
    """The median, with the least and the greatest round as its whiskers."""
    middle = [s.median for _, s in points]
    whiskers = [[s.median - s.least for _, s in points], [s.greatest - s.median for _, s in points]]
    numbers = [number for number, _ in points]
    width = 2.5 if side == OURS else 1.5
    axes.errorbar(numbers, middle, whiskers, None, "o-", color=_COLOURS[side], label=SIDES[side], lw=width, capsize=3)


def _plain_ticks(axes: Axes) -> None:
    axes.grid(True, which="both", alpha=0.25)
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if axis is axes.yaxis else (1,)))
            axis.set_minor_formatter(NullFormatter())
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _single_sends(axes: Axes, results: Results) -> None:
    """CPU of one send, by how it came: bars, because they are kinds and not sizes."""
    unary, bulk = results.cases["apns-1"], results.cases["bulk"]
    bars = [("empty\necho", unary, "echo"), ("pushrpc\nunary", unary, OURS), ("pushrpc\nbulk", bulk, OURS)]
    bars += [("gorush\ngRPC", bulk, "gorush-grpc"), ("gorush\nREST-sync", bulk, "gorush-rest")]
    figures = [median(case.cpu_us(side)) for _, case, side in bars]
    drawn = axes.bar([name for name, _, _ in bars], figures, color=[_COLOURS[side] for _, _, side in bars])
    axes.bar_label(drawn, fmt="%.0f")
    axes.set(title="One single-token send: CPU", ylabel="µs")


def _growth(axes: Axes, results: Results) -> None:
    memory = axes.twinx()
    for provider, marker, line in zip(PROVIDERS, "os", ("-", "--"), strict=True):
        cpu = results.series(f"tokens-{provider}", lambda case: case.cpu_us())
        peaks = results.series(f"tokens-{provider}", lambda case: case.extra("rss_peak_mib"))
        for where, points, colour, what in ((axes, cpu, _COLOURS[OURS], "CPU"), (memory, peaks, "#444444", "memory")):
            numbers, middle = [n for n, _ in points], [s.median for _, s in points]
            where.plot(numbers, middle, marker + line, color=colour, label=f"{NAMES[provider]}, {what}")
    axes.set(title="Growth: CPU per push and peak memory", xlabel="tokens", ylabel="µs", xscale="log", ylim=(0, None))
    _plain_ticks(axes)
    memory.set(ylabel="MiB", ylim=(0, None))
    axes.legend(fontsize=9, loc="lower left")
    memory.legend(fontsize=9, loc="lower right")
