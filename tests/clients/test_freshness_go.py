"""What is committed of the Go client's generated code is what proto/ generates."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.runners import ROOT

GENERATE_S = 400.0  # a first time builds the plugins


@pytest.mark.timeout(GENERATE_S + 20)
def test_generated_code_is_current(tmp_path: Path) -> None:
    if shutil.which("go") is None:
        pytest.skip("needs a Go toolchain to build the plugins of protoc")
    made = tmp_path / "v1"
    command = [str(ROOT / "clients" / "go" / "generate.sh"), str(made)]
    environment = os.environ | {"PYTHON": sys.executable}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=GENERATE_S)
    assert told.returncode == 0, told.stderr
    committed, current = contents(ROOT / "clients" / "go" / "pushrpc" / "v1"), contents(made)
    stale = sorted(name for name in committed.keys() | current if committed.get(name) != current.get(name))
    assert not stale, "run 'make generate' and commit the result"


def contents(directory: Path) -> dict[str, str]:
    return {each.name: each.read_text() for each in directory.iterdir()}
