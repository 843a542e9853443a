"""Each README as a newcomer reads it: its own commands and its own program, in an empty directory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.clients.runners import ROOT

CLONE = "/path/to/pushrpc"
PRINTED = "127.0.0.1:50051"
COMMANDS = "sh"
STEP_S = 400.0  # a first time fetches what the client is made of
MAVENS = Path.home() / ".m2" / "repository" / "dev" / "pushrpc" / "pushrpc-client"


class Readme(NamedTuple):
    """`files` are what its blocks are written to, by the language that they are marked with."""

    tools: tuple[str, ...]
    files: dict[str, str]
    shows: str


READMES = {
    "go": Readme(("go",), {"go": "main.go"}, "00fc13adff785122 DELIVERY_STATE_SENT"),
    "java": Readme(
        ("java", "mvn"),
        {"xml": "pom.xml", "java": "src/main/java/Main.java"},
        "00fc13adff785122 DELIVERY_STATE_SENT",
    ),
    "python": Readme((), {"python": "hello.py"}, "00fc13adff785122 DELIVERY_STATE_SENT"),
    "typescript": Readme(("node", "npm"), {"js": "main.js"}, "00fc13adff785122 SENT"),
}


@pytest.mark.timeout(3 * STEP_S)
@pytest.mark.parametrize("language", READMES)
def test_a_newcomer_sees_events(language: str, address: str, tmp_path: Path) -> None:
    readme = READMES[language]
    for tool in readme.tools:
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}, which is not installed")
    assert ROOT not in tmp_path.parents
    text = (ROOT / "clients" / language / "README.md").read_text().partition("\n## ")[0]
    assert re.search(r"not\s+published\s+yet", text)
    assert CLONE in text
    shown = ""
    with maven_as_it_was():
        for kind, body in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S):
            if kind == COMMANDS:
                shown = typed(body.replace(CLONE, str(ROOT)), tmp_path)
                continue
            name = readme.files[kind]
            assert f"`{name}`" in text, f"the README does not say where this {kind} goes"
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(body.replace(PRINTED, address))
    program = (tmp_path / [*readme.files.values()][-1]).read_text()
    assert address in program, "the README's program does not connect to where `make up` listens"
    assert readme.shows in shown, shown


def typed(script: str, directory: Path) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    quiet = {"GOFLAGS": "-buildvcs=false", "npm_config_prefer_offline": "true", "npm_config_audit": "false"}
    told = subprocess.run(
        ["bash", "-euc", script], cwd=directory, env=kept | quiet, capture_output=True, text=True, timeout=STEP_S
    )
    assert told.returncode == 0, f"{script}\n{told.stdout[-4000:]}{told.stderr[-4000:]}"
    return told.stdout


@contextmanager
def maven_as_it_was() -> Iterator[None]:
    """Java's README installs into the user's repository; what was not there before is taken out again."""
    was_there = MAVENS.exists()
    try:
        yield
    finally:
        if not was_there:
            shutil.rmtree(MAVENS, ignore_errors=True)
