"""What the demo shows while it runs: bars on a terminal, a line each second without one."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from pushrpc.cli.screen import console, is_terminal, print_line
from pushrpc.cli.tally import NAMES, ON_STAGE, Tally
from pushrpc.cli.traffic import Plan
from pushrpc.words import Provider

REDRAW_EVERY_S = 0.1
LINE_EVERY_S = 1.0


class Progress(Protocol):
    def __enter__(self) -> Progress: ...
    def __exit__(self, *failure: object) -> None: ...

    def step(self, text: str) -> None:
        """What happens now."""
        ...

    def tick(self) -> None:
        """Shows the tally as it is; called often."""
        ...


class QuietProgress:
    """For --json."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *failure: object) -> None:
        pass

    def step(self, text: str) -> None:
        pass

    def tick(self) -> None:
        pass


class LineProgress(QuietProgress):
    """Plain lines, one a second."""

    def __init__(self, made: Plan, tally: Tally) -> None:
        self._made = made
        self._tally = tally
        self._started_s = self._told_s = time.monotonic()

    def step(self, text: str) -> None:
        print_line(f"{text} ...")

    def tick(self) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s < LINE_EVERY_S:
            return
        self._told_s = now_s
        tally = self._tally
        finals = ", ".join(f"{NAMES[p]} {tally.finals_at(p)}" for p in ON_STAGE)
        print_line(
            f"{now_s - self._started_s:5.1f} s  accepted {tally.accepted}/{self._made.planned}  "
            f"final {tally.finals} ({finals})  retries {tally.retries.total()}"
        )


class LiveProgress(QuietProgress):
    """Bars, and what happens to deliveries below them."""

    def __init__(self, made: Plan, tally: Tally) -> None:
        self._tally = tally
        self._step = Text()
        self._drawn_s = 0.0
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None, complete_style="cyan"),
            TextColumn("{task.completed:,}/{task.total:,}", justify="right"),
            expand=True,
        )
        self._accepted = self._bars.add_task("accepted", total=made.planned)
        self._final: dict[Provider, TaskID] = {
            p: self._bars.add_task(f"{NAMES[p]} final", total=made.counts[p]) for p in ON_STAGE
        }
        self._live = Live(console=console(), auto_refresh=False, transient=True)

    def __enter__(self) -> Progress:
        self._live.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._live.stop()

    def step(self, text: str) -> None:
        self._step = Text(text, style="bold")
        self._draw()

    def tick(self) -> None:
        if time.monotonic() - self._drawn_s >= REDRAW_EVERY_S:
            self._draw()

    def _draw(self) -> None:
        self._drawn_s = time.monotonic()
        self._bars.update(self._accepted, completed=self._tally.accepted)
        for provider in ON_STAGE:
            self._bars.update(self._final[provider], completed=self._tally.finals_at(provider))
        self._live.update(self._frame(), refresh=True)

    def _frame(self) -> RenderableType:
        retries = f"{self._tally.retries.total():,} tries failed and were repeated"
        return Group(self._step, self._bars, Text(retries, style="dim"))


def lines_or_live(made: Plan, tally: Tally) -> Progress:
    return LiveProgress(made, tally) if is_terminal() else LineProgress(made, tally)
