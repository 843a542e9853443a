"""What is committed of the Python client's generated code is what proto/ generates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.clients.runners import ROOT

GENERATE_S = 60.0


def test_generated_code_is_current(tmp_path: Path) -> None:
    made, client = tmp_path / "v1", ROOT / "clients" / "python"
    command = [sys.executable, str(client / "generate.py"), str(ROOT / "proto"), str(made)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=GENERATE_S)
    assert told.returncode == 0, told.stderr
    committed, current = contents(client / "pushrpc_client" / "v1"), contents(made)
    stale = sorted(name for name in committed.keys() | current if committed.get(name) != current.get(name))
    assert not stale, "run 'make generate' and commit the result"


def contents(directory: Path) -> dict[str, str]:
    return {each.name: each.read_text() for each in directory.iterdir() if each.is_file()}
