"""python -m bench: the whole, the quick one, or CI's check."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import click

from bench import cases
from bench.children import BUILD, PROGRAMS, BenchError, build
from bench.report import quick_table
from bench.results import Results
from bench.sides import Stage

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


def say(line: str) -> None:
    click.echo(f"[{time.monotonic() - _STARTED:5.0f} s] {line}", err=True)


_STARTED = time.monotonic()


@asynccontextmanager
async def prepared(*programs: str) -> AsyncIterator[Stage]:
    """Builds what is needed. The stage lies below build/, so that a ledger is on a disk; it is removed at the end."""
    for program in programs:
        say(f"building {program}")
        await build(program)
    with tempfile.TemporaryDirectory(prefix="run-", dir=BUILD) as directory:
        say("starting the sides")
        async with Stage(Path(directory)) as stage:
            yield stage


@click.group()
def main() -> None:
    """The same work through pushrpc and its peers, side by side."""


rounds_option = click.option("--rounds", default=5, show_default=True, help="Of how many rounds medians are taken.")
seconds_option = click.option("--seconds", default=1.0, show_default=True, help="How long a section of one side lasts.")


@main.command()
@rounds_option
@seconds_option
def run(rounds: int, seconds: float) -> None:
    """Everything, in about twenty minutes; writes results.json, REPORT.md and report.png."""

    async def work() -> Results:
        async with prepared(*PROGRAMS) as stage:
            return await cases.whole(stage, rounds, seconds, say)

    _run(work()).save(RESULTS)


@main.command()
@click.option("--rounds", default=3, show_default=True)
@seconds_option
@click.option("--case", "wanted", type=click.Choice(cases.QUICK), multiple=True, help="Only these; may be repeated.")
def quick(rounds: int, seconds: float, wanted: tuple[str, ...]) -> None:
    """The main ratios, in under a minute once everything is built."""

    async def work() -> str:
        async with prepared(*PROGRAMS) as stage:
            return quick_table(await cases.quick(stage, rounds, seconds, wanted or cases.QUICK, say))

    click.echo(_run(work()))


T = TypeVar("T")


def _run(work: Coroutine[None, None, T]) -> T:
    try:
        return asyncio.run(work)
    except BenchError as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
