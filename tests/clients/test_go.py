"""The Go client: its own tests, its vet and format."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.clients.runners import ROOT

CLIENT = ROOT / "clients" / "go"
GO_S = 400.0  # a first time fetches modules and compiles them

pytestmark = [
    pytest.mark.skipif(shutil.which("go") is None, reason="needs a Go toolchain"),
    pytest.mark.timeout(GO_S + 20),
]


def go(*arguments: str, directory: Path = CLIENT) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"GOFLAGS": "-buildvcs=false"}
    return subprocess.run(
        ["go", *arguments], cwd=directory, env=environment, capture_output=True, text=True, timeout=GO_S
    )


def test_its_own_tests(capsys: pytest.CaptureFixture[str]) -> None:
    told = go("test", "-count=1", "-json", "./...")
    lines = [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]
    ended = Counter(each["Action"] for each in lines if "Test" in each)
    with capsys.disabled():
        print(f"\ngo test: {ended['pass']} passed, {ended['fail']} failed, {ended['skip']} skipped", end=" ")
    assert told.returncode == 0, "".join(each.get("Output", "") for each in lines) + told.stderr
    assert ended["pass"] > 50
    assert not ended["skip"]


def test_vet_and_format() -> None:
    vetted = go("vet", "./...")
    assert vetted.returncode == 0, vetted.stderr
    unformatted = subprocess.run(["gofmt", "-l", "."], cwd=CLIENT, capture_output=True, text=True, timeout=GO_S)
    assert (unformatted.stdout, unformatted.stderr) == ("", "")
