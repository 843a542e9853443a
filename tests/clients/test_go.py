"""The Go client: its own tests, its vet and format, and its README's program in an empty project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.clients.runners import ROOT

CLIENT = ROOT / "clients" / "go"
MODULE = "github.com/pushrpc/pushrpc/clients/go"
PRINTED = "127.0.0.1:50051"
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


def test_the_readme_in_an_empty_project(address: str, tmp_path: Path) -> None:
    (program,) = re.findall(r"^```go\n(package main\n.*?)^```$", (CLIENT / "README.md").read_text(), re.M | re.S)
    assert PRINTED in program
    (tmp_path / "main.go").write_text(program.replace(PRINTED, address))
    for step in (
        ("mod", "init", "example.com/newcomer"),
        # In the place of `go get`: what is here, not what was last published.
        ("mod", "edit", f"-require={MODULE}@v0.0.0", f"-replace={MODULE}={CLIENT}"),
        ("mod", "tidy"),
    ):
        told = go(*step, directory=tmp_path)
        assert told.returncode == 0, told.stderr
    told = go("run", ".", directory=tmp_path)
    assert told.returncode == 0, told.stderr
    event, counts = told.stdout.splitlines()
    assert event.split() == ["00fc13adff785122", "DELIVERY_STATE_SENT"]
    assert set(counts.split()) == {"total:1", "sent:1"}
