"""Tables: for a terminal of 80 columns, and for the report. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from bench.measure import columns
from bench.stats import Sample, paired_ratios


def quick_rows(title: str, samples: Mapping[str, Sequence[Sample]]) -> list[list[str]]:
    """One row a side: its CPU and rate, then ours against it. The first side is ours."""
    ours_cpu, ours_rate = columns(next(iter(samples.values())))
    rows = []
    for number, (side, its) in enumerate(samples.items()):
        cpu, rate = columns(its)
        row = [title if number == 0 else "", side, f"{median(cpu):.1f}", f"{median(rate):,.0f}"]
        if number:
            row += [f"{median(paired_ratios(ours_cpu, cpu)):.2f} x", f"{median(paired_ratios(ours_rate, rate)):.1f} x"]
        rows.append(row)
    return rows


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 2) -> str:
    """Columns padded with spaces: the first `left` to the left, numbers to the right."""
    lines = [list(header), *(list(row) + [""] * (len(header) - len(row)) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]

    def padded(line: Sequence[str]) -> str:
        cells = (c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        return "  ".join(cells).rstrip()

    return "\n".join([padded(lines[0]), "  ".join("-" * w for w in widths), *map(padded, lines[1:])])
