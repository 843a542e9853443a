"""Real processes on a small stage: what is counted, and what would be noticed."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from bench.children import BenchError
from bench.machine import cpu_s, description, rss_peak_mib
from bench.measure import Case, take_turns
from bench.sides import Load, Stage


def test_cpu_is_counted_in_this_process_as_it_counts_itself() -> None:
    started, own = cpu_s(os.getpid()), time.process_time()
    sum(range(1_000_000))
    assert cpu_s(os.getpid()) - started == pytest.approx(time.process_time() - own, rel=0.2)
    assert rss_peak_mib(os.getpid()) > 10


@pytest.fixture
def go() -> None:
    if shutil.which("go") is None:
        pytest.skip("needs a Go toolchain to build the sink and the callers")


def test_a_description_names_no_host_and_no_path(go: None, tmp_path: Path) -> None:
    told = description(tmp_path)
    assert {"CPU", "Python", "grpcio", "uvloop", "Go"} <= told.keys()
    assert os.uname().nodename not in " ".join(told.values())
    assert "/" not in "".join(told[key] for key in ("Python", "grpcio", "Go", "ledger's file system"))


@pytest.mark.timeout(300)  # the first build of the rig fetches grpc-go
async def test_sides_take_turns_and_lose_nothing(go: None, tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage, stage.pushrpc("ours", providers=("apns", "fcm")) as ours:
        aioapns, echo = await stage.aioapns(), await stage.echo()
        case = Case("apns-10", "ten", "apns", 10, (aioapns, echo))
        found = await take_turns(case, ours, 2, 0.05, lambda _: None)
        assert {side: len(rounds) for side, rounds in found.samples.items()} == {"pushrpc": 2, "aioapns": 2, "echo": 2}
        for samples in found.samples.values():
            assert all(sample.cpu_us > 0 and sample.per_s > 0 for sample in samples)
        for sample in found.samples["pushrpc"]:
            assert sample.extra["states.sent"] == sample.pushes

        bulk = await ours.run(Load("fcm", 1, 700, 1), "bulk")
        assert bulk.extra["states.sent"] == 700

        paced = await ours.run(Load("fcm", 5, 20, 1), "pace", per_s=200)
        assert 0 < paced.extra["event_ms.p50"] <= paced.extra["event_ms.p99"] <= paced.extra["event_ms.max"]
        assert paced.extra["accept_ms.p50"] > 0

        await stage.slow_sink(200)
        cancelled = await ours.run(Load("apns", 1000, 5, 2), "cancel")
        assert cancelled.extra["states.cancelled"] > 0
        assert cancelled.extra["states.cancelled"] + cancelled.extra.get("states.sent", 0) == 5000

        await stage.slow_sink(0)
        with pytest.raises(BenchError, match="2000 pushes reached the sink instead of 1000"):
            await aioapns.run(Load("apns", 10, 100, 4), calls=200)
