"""What is committed of the Java client's generated code is what proto/ generates."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.runners import ROOT

CLIENT = ROOT / "clients" / "java"
GENERATE_S = 400.0  # a first time fetches Maven's plugins and protoc


@pytest.mark.timeout(GENERATE_S + 20)
def test_generated_code_is_current(tmp_path: Path) -> None:
    if shutil.which("mvn") is None or shutil.which("java") is None:
        pytest.skip("needs Maven and Java 17")
    made = tmp_path / "java"
    told = subprocess.run([CLIENT / "generate.sh", made], capture_output=True, text=True, timeout=GENERATE_S)
    assert told.returncode == 0, told.stdout + told.stderr
    committed, current = contents(CLIENT / "src" / "generated" / "java"), contents(made)
    assert len(current) > 100
    stale = sorted(name for name in committed.keys() | current if committed.get(name) != current.get(name))
    assert not stale, "run 'make generate' and commit the result"


def contents(directory: Path) -> dict[str, str]:
    return {str(each.relative_to(directory)): each.read_text() for each in directory.rglob("*") if each.is_file()}
