"""The demo's last picture: per provider and state how many, what it took, and each sum with its check mark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from pushrpc.cli.screen import console, is_terminal, print_line, state_text
from pushrpc.cli.tally import NAMES, ON_STAGE, Check, Taken, Tally
from pushrpc.words import DeliveryState, Provider

PICTURE_COLUMNS = 80
COLUMNS_A_TABLE = (7, 4, 3, 2, 1)
WHOLE = 1_000  # columns in which every table fits, to measure it


class Run(NamedTuple):
    """A finished demo. `seconds` from the first send to the last final event."""

    tally: Tally
    seconds: float
    taken: Mapping[Provider, Taken]
    checks: Sequence[Check]

    @property
    def adds_up(self) -> bool:
        return all(check.adds_up for check in self.checks)

    def duplicates(self, provider: Provider) -> int:
        """Messages that a provider got twice because its first answer was lost."""
        return self.taken[provider].accepted - self.taken[provider].distinct

    @property
    def pushes_per_s(self) -> int:
        return round(self.tally.finals / self.seconds)


def print_closing(run: Run) -> None:
    if is_terminal():
        console().print(closing(run))
        return
    for cells in _rows(run):
        print_line("\t".join(cells))
    print_line(_speed(run))
    for check in run.checks:
        print_line(f"{'ok' if check.adds_up else 'WRONG'}\t{check.name}\t{_sides(check)}")
    print_line(_verdict(run))


def record_closing(run: Run, file: Path) -> None:
    """Saves the picture as SVG."""
    recorder = Console(record=True, width=PICTURE_COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False)
    recorder.print(closing(run))
    # Without the web font: a picture in a README may load nothing.
    file.write_text(re.sub(r"@font-face \{.*?\}", "", recorder.export_svg(title="pushrpc demo"), flags=re.DOTALL))


def run_as_json(run: Run) -> dict[str, object]:
    tally = run.tally
    return {
        "adds_up": run.adds_up,
        "notifications": tally.notifications,
        "accepted": tally.accepted,
        "rejected": tally.rejected,
        "refused": dict(tally.refused),
        "final": {p.name: {s.name: tally.final[p, s] for s in tally.states() if tally.final[p, s]} for p in ON_STAGE},
        "tries": {p.name: tally.tries[p] for p in ON_STAGE},
        "retries": {p.name: tally.retries[p] for p in ON_STAGE},
        "duplicates": {p.name: run.duplicates(p) for p in ON_STAGE},
        "answers": {p.name: dict(run.taken[p].answers) for p in ON_STAGE},
        "seconds": round(run.seconds, 3),
        "pushes_per_s": run.pushes_per_s,
        "best_second": tally.best_second(),
        "checks": [{"name": c.name, "left": c.left, "right": c.right, "adds_up": c.adds_up} for c in run.checks],
    }


def closing(run: Run) -> RenderableType:
    sums = Table.grid(padding=(0, 1))
    for check in run.checks:
        mark = Text("✔", style="green") if check.adds_up else Text("✘", style="bold red")
        sums.add_row(mark, check.name, Text(_sides(check), style="dim" if check.adds_up else "bold red"))
    verdict = Text(_verdict(run), style="bold green" if run.adds_up else "bold red")
    meaning = Text('"answered" counts requests; one to HMS or a hub may carry many tokens.', style="dim")
    return Group(_Counts(run), meaning, Text(_speed(run)), Text(), sums, Text(), verdict)


class _Counts:
    """Every count by provider, and in all: in one table where it fits, else in as few as are whole."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = (*(NAMES[p] for p in ON_STAGE), "All")
        for size in COLUMNS_A_TABLE:
            slices = [slice(start, start + size) for start in range(0, len(names), size)]
            parts = [self._table(names, which) for which in slices]
            if max(console.measure(part, options=options.update(width=WHOLE)).maximum for part in parts) <= (
                options.max_width
            ):
                break
        for part in parts:
            yield Text()
            yield part
        yield Text()

    def _table(self, names: Sequence[str], which: slice) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        table.add_column("Final states", no_wrap=True)
        for name in names[which]:
            table.add_column(name, justify="right", no_wrap=True)
        for state in self._run.tally.states():
            table.add_row(state_text(state), *_finals(self._run, state)[which])
        for section in (_answers(self._run), _efforts(self._run)):
            table.add_section()
            for label, *cells in section:
                table.add_row(*(Text(cell, style="dim") for cell in (label, *cells[which])))
        return table


def _rows(run: Run) -> Sequence[Sequence[str]]:
    rows: list[Sequence[str]] = [["final states", *(NAMES[p] for p in ON_STAGE), "all"]]
    for state in run.tally.states():
        rows.append([state.name, *_finals(run, state)])
    return [*rows, *_answers(run), *_efforts(run)]


def _finals(run: Run, state: DeliveryState) -> Sequence[str]:
    return _counted(lambda provider: run.tally.final[provider, state])


def _answers(run: Run) -> Sequence[Sequence[str]]:
    """What the providers answered, scripted faults included; broken streams and connections have no status."""
    statuses = sorted({status for taken in run.taken.values() for status in taken.answers})
    return [
        [f"answered {status}", *_counted(lambda p, s=status: run.taken[p].answers.get(s, 0))]  # type: ignore[misc]
        for status in statuses
    ]


def _efforts(run: Run) -> Sequence[Sequence[str]]:
    return [
        ["tries", *_counted(lambda p: run.tally.tries[p])],
        ["retries", *_counted(lambda p: run.tally.retries[p])],
        ["answer lost, resent", *_counted(run.duplicates)],
    ]


def _counted(of: Callable[[Provider], int]) -> Sequence[str]:
    numbers = [of(provider) for provider in ON_STAGE]
    return [f"{number:,}" for number in (*numbers, sum(numbers))]


def _speed(run: Run) -> str:
    return (
        f"{run.tally.finals:,} deliveries of {run.tally.notifications:,} sends in {run.seconds:.1f} s; "
        f"{run.tally.best_second():,} in the best second"
    )


def _sides(check: Check) -> str:
    return f"{check.left:,} {'=' if check.adds_up else '≠'} {check.right:,}"


def _verdict(run: Run) -> str:
    wrong = sum(not check.adds_up for check in run.checks)
    if not wrong:
        return "Every count adds up."
    refused = ", ".join(f"{count} × {reason}" for reason, count in run.tally.refused.items())
    return f"{wrong} of {len(run.checks)} sums do not add up." + (f" Refused sends: {refused}." if refused else "")
