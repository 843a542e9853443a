"""Tables: for a terminal of 80 columns, and for the report. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from bench.results import OURS, CaseResult


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
