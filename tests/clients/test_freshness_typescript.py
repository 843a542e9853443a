"""What is committed of the TypeScript client's generated code is what proto/ generates."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.runners import ROOT
from tests.clients.test_typescript import CLIENT, NPM_S, install


@pytest.mark.timeout(2 * NPM_S)
def test_generated_code_is_current(tmp_path: Path) -> None:
    install()
    made = tmp_path / "generated"
    told = subprocess.run(
        [CLIENT / "scripts" / "generate.sh", made],
        env=os.environ | {"PYTHON": sys.executable},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=NPM_S,
    )
    assert told.returncode == 0, told.stderr
    committed, current = contents(CLIENT / "src" / "generated"), contents(made)
    stale = sorted(name for name in committed.keys() | current if committed.get(name) != current.get(name))
    assert not stale, "run 'make generate' and commit the result"


def contents(directory: Path) -> dict[str, str]:
    return {str(each.relative_to(directory)): each.read_text() for each in directory.rglob("*.ts")}
