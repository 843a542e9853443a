"""Foreign clients from npm: installed from their folder's lock file, run with a deadline, read as lines of JSON."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

INSTALL_S = 100.0
RUN_S = 30.0


def install(source: Path, directory: Path) -> Path:
    """The program, with its packages beside it. Skips the test where there is no npm, or they cannot be had."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs Node.js and npm to run the foreign client")
    program = directory / source.name
    shutil.copytree(source, program, ignore=shutil.ignore_patterns("node_modules"))
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        installed = subprocess.run(command, cwd=program, capture_output=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        pytest.skip("the foreign client's packages could not be fetched in time")
    if installed.returncode:
        pytest.skip(f"the foreign client's packages could not be fetched: {installed.stderr.decode()[-200:]}")
    return program / "main.mjs"


async def run(program: Path, standard_input: str, *arguments: object) -> list[dict[str, Any]]:
    """What the program printed, one object a line."""
    process = await asyncio.create_subprocess_exec(
        "node",
        program,
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(RUN_S):
            out, err = await process.communicate(standard_input.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return [json.loads(line) for line in out.splitlines()]
