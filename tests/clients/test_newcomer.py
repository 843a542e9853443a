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
MAVENS = Path.home() / ".m2" / "repository"
# Beside what the user's own settings say: what was fetched before need not come from afar again.
MAVEN_SETTINGS = """<settings><profiles><profile><id>fetched</id>
  <repositories><repository><id>fetched</id><url>{url}</url></repository></repositories>
  <pluginRepositories><pluginRepository><id>fetched</id><url>{url}</url></pluginRepository></pluginRepositories>
</profile></profiles><activeProfiles><activeProfile>fetched</activeProfile></activeProfiles></settings>
"""


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
def test_a_newcomer_sees_events(
    language: str, address: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    readme = READMES[language]
    for tool in readme.tools:
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}, which is not installed")
    assert ROOT not in tmp_path.parents
    text = (ROOT / "clients" / language / "README.md").read_text().partition("\n## ")[0]
    assert re.search(r"not\s+published\s+yet", text)
    assert CLONE in text
    shown = ""
    mavens = installed_for_the_user()
    with own_maven(tmp_path_factory.mktemp("maven")) as path:
        for kind, body in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S):
            if kind == COMMANDS:
                shown = typed(body.replace(CLONE, str(ROOT)), tmp_path, path)
                continue
            name = readme.files[kind]
            assert f"`{name}`" in text, f"the README does not say where this {kind} goes"
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(body.replace(PRINTED, address))
    assert installed_for_the_user() == mavens
    program = (tmp_path / [*readme.files.values()][-1]).read_text()
    assert address in program, "the README's program does not connect to where `make up` listens"
    assert readme.shows in shown, shown


def typed(script: str, directory: Path, path: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    quiet = {"GOFLAGS": "-buildvcs=false", "npm_config_prefer_offline": "true", "npm_config_audit": "false"}
    told = subprocess.run(
        ["bash", "-euc", script], cwd=directory, env=kept | quiet | {"PATH": path}, capture_output=True, text=True,
        timeout=STEP_S,
    )  # fmt: skip
    assert told.returncode == 0, f"{script}\n{told.stdout[-4000:]}{told.stderr[-4000:]}"
    return told.stdout


def installed_for_the_user() -> dict[Path, float]:
    return {each: each.stat().st_mtime for each in (MAVENS / "dev" / "pushrpc").rglob("*")}


@contextmanager
def own_maven(directory: Path) -> Iterator[str]:
    """A PATH whose `mvn` installs into a repository of its own: Java's README would change the user's."""
    path, mvn = os.environ["PATH"], shutil.which("mvn")
    if mvn is None:
        yield path
        return
    repository, settings, own = directory / "repository", directory / "settings.xml", directory / "bin" / "mvn"
    for index in [*MAVENS.rglob("maven-metadata-*.xml"), *MAVENS.rglob("resolver-status.properties")]:
        copy = repository / index.relative_to(MAVENS)
        if "pushrpc" not in copy.parts:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(index, copy)
    settings.write_text(MAVEN_SETTINGS.format(url=MAVENS.as_uri()))
    own.parent.mkdir()
    own.write_text(f'#!/bin/sh\nexec "{mvn}" -gs "{settings}" "-Dmaven.repo.local={repository}" "$@"\n')
    own.chmod(0o755)
    yield f"{own.parent}{os.pathsep}{path}"
    shutil.rmtree(directory)
