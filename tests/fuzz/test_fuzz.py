"""The stored inputs, and the fuzzer itself for a fixed number of runs."""

from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path
from types import CodeType, FrameType, ModuleType

import pytest

from pushrpc.exchange import NoAnswer, NotSent, Response
from pushrpc.transport import batch, frames, headers, http2, patience, uploads
from tests.fuzz import answers, stored
from tests.fuzz.http2 import play

ROOT = Path(__file__).parents[2]
RUN_DEADLINE_S = 100

# What no server can bring about: Python's own, and what is asked by the pool.
UNREACHED = {"__getitem__", "__len__"}


@pytest.mark.parametrize("data", stored("http2"), ids=lambda data: data.hex()[:40])
def test_stored_input_of_http2(data: bytes) -> None:
    play(data)


@pytest.mark.parametrize("data", stored("answers"), ids=lambda data: data.hex()[:40])
def test_stored_input_of_answers(data: bytes) -> None:
    answers.play(data)


def functions(module: ModuleType) -> set[CodeType]:
    """Everything defined in a module, with the methods of its classes."""
    found: set[CodeType] = set()
    for owner in [
        module,
        *(c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__),
    ]:
        for member in vars(owner).values():
            function = getattr(member, "fget", None) or getattr(member, "__func__", member)
            if inspect.isfunction(function) and function.__module__ == module.__name__:
                found.add(function.__code__)
    return found


def test_the_stored_inputs_reach_every_function_and_every_end() -> None:
    """Else the fuzzer begins far from what it is to find."""
    reached: set[CodeType] = set()

    def called(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            reached.add(frame.f_code)

    clients = []
    sys.setprofile(called)
    try:
        for data in stored("http2"):
            clients.append(play(data))
    finally:
        sys.setprofile(None)
    wanted = set.union(*(functions(module) for module in (batch, frames, headers, http2, patience, uploads)))
    assert {code.co_name for code in wanted - reached} <= UNREACHED
    kinds = {type(answer) for client in clients for found in client.found for answer in found.values()}
    assert kinds == {Response, NotSent, NoAnswer}
    ends = {client.connection.ended.partition(":")[0] for client in clients}
    assert ends >= {"PROTOCOL_ERROR", "FLOW_CONTROL_ERROR", "FRAME_SIZE_ERROR", "COMPRESSION_ERROR"}
    assert ends >= {"ENHANCE_YOUR_CALM", "closed", "lost", "lost after GOAWAY NO_ERROR dbg!"}


@pytest.mark.parametrize(("target", "runs"), [("http2", 8_000), ("answers", 40_000)])
def test_a_while_of_fuzzing_finds_nothing(target: str, runs: int, tmp_path: Path) -> None:
    """Always from the same seed, so that a change is to blame for what is found; `make fuzz` looks further."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("the fuzzer has no wheel for this platform")
    command = [sys.executable, "-m", "tests.fuzz", target, str(tmp_path / "inputs"), f"-runs={runs}", "-seed=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_DEADLINE_S)
    assert done.returncode == 0, done.stdout + done.stderr[-8_000:]
    assert f"Done {runs} runs" in done.stderr
