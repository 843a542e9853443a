"""python -m bench: the whole, the quick one, or CI's check."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click

from bench.children import BUILD, PROGRAMS, BenchError, build
from bench.measure import Case, Contender, run_case
from bench.report import quick_rows, table
from bench.sides import Stage


def say(line: str) -> None:
    click.echo(f"[{time.monotonic() - _STARTED:5.0f} s] {line}", err=True)


_STARTED = time.monotonic()


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Below build/, so that the ledger lies on a disk and not in memory; removed at the end."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=BUILD) as directory:
        async with Stage(Path(directory)) as running:
            yield running


@click.group()
def main() -> None:
    """The same work through pushrpc and its peers, side by side."""


@main.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=1.0, show_default=True, help="How long each section is meant to last.")
def quick(rounds: int, seconds: float) -> None:
    """The main ratios, in under a minute once everything is built."""
    _run(_quick(rounds, seconds))


async def _quick(rounds: int, seconds: float) -> None:
    for program in PROGRAMS:
        say(f"building {program}")
        await build(program)
    say("starting the sides")
    async with stage() as running:
        pushrpc, aioapns, echo = await running.pushrpc(), await running.aioapns(), await running.echo()
        apns_rest, apns_grpc = await running.gorush("apns")
        fcm_rest, _ = await running.gorush("fcm")
        ours = Contender(pushrpc)
        cases = [
            Case("apns", "fan-out APNs", "apns", 1000, (ours, Contender(aioapns), Contender(apns_rest))),
            Case("fcm", "fan-out FCM", "fcm", 1000, (ours, Contender(fcm_rest))),
            Case("unary", "unary sends", "apns", 1, (ours, Contender(echo))),
            Case("bulk", "bulk stream", "apns", 1, (Contender(pushrpc, "bulk"), Contender(apns_grpc))),
        ]
        rows = []
        for case in cases:
            rows += quick_rows(case.title, await run_case(case, rounds, seconds, say))
    click.echo(table(["case", "side", "CPU us/push", "pushes/s", "our CPU", "our rate"], rows))


def _run(work: object) -> None:
    try:
        asyncio.run(work)  # type: ignore[arg-type]
    except BenchError as error:
        click.echo(f"bench: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
