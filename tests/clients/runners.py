"""How each language's runner of the scenario is built and started, and when that is possible here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
BUILD_S = 400.0  # a first build fetches and compiles what it depends on


class Runner(NamedTuple):
    """Commands are run from the repository's root. `source` tells whether there is one yet."""

    source: str
    tools: tuple[str, ...]
    build: str
    start: str


def _python(environment: str, options: str = "") -> Runner:
    program = "clients/python/scenario/play.py"
    build = f"{sys.executable} clients/python/install.py {environment}"
    return Runner(program, (), build, f"build/clients/python/{environment}/bin/python {program} {options}")


_JAVA_CLASSES = ":".join(f"build/clients/java/{part}" for part in ("classes", "test-classes", "lib/*"))

RUNNERS = {
    "go": Runner(
        "clients/go/internal/scenario",
        ("go",),
        "go build -C clients/go -buildvcs=false -o ../../build/clients/go/scenario ./internal/scenario",
        "build/clients/go/scenario",
    ),
    "java": Runner(
        "clients/java/src/test/java/dev/pushrpc/scenario",
        ("java", "mvn"),
        "clients/java/build.sh",
        f"java -cp {_JAVA_CLASSES} dev.pushrpc.scenario.Scenario",
    ),
    "typescript": Runner(
        "clients/typescript/scenario",
        ("node", "npm"),
        "clients/typescript/scripts/build.sh",
        "node build/clients/typescript/build/scenario/main.js",
    ),
    "python": _python("newest"),
    "python, asyncio, oldest dependencies": _python("oldest", "--asyncio"),
}


def built(language: str) -> list[str]:
    """The command that starts a language's runner. Skips the test where it cannot be built for want of something."""
    runner = RUNNERS[language]
    if not (ROOT / runner.source).exists():
        pytest.skip(f"there is no runner in {runner.source}")
    for tool in runner.tools:
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}, which is not installed")
    made = subprocess.run(runner.build.split(), cwd=ROOT, capture_output=True, text=True, timeout=BUILD_S)
    assert made.returncode == 0, f"{runner.build} failed:\n{made.stdout[-2000:]}{made.stderr[-4000:]}"
    return runner.start.split()
