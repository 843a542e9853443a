"""Foreign clients in Go: built from their folder with pinned modules, run with a deadline, read as lines of JSON."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

DOWNLOAD_S = 60.0
BUILD_S = 100.0
RUN_S = 30.0


def build(source: Path, directory: Path) -> Path:
    """The program's binary. Skips the test where there is no Go, or its modules cannot be had."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("needs a Go toolchain to build the foreign client")
    try:
        modules = subprocess.run([go, "mod", "download"], cwd=source, capture_output=True, timeout=DOWNLOAD_S)
    except subprocess.TimeoutExpired:
        pytest.skip("the foreign client's Go modules could not be fetched in time")
    if modules.returncode:
        pytest.skip(f"the foreign client's Go modules could not be fetched: {modules.stderr.decode()[-200:]}")
    binary = directory / source.name
    subprocess.run(
        [go, "build", "-mod=readonly", "-buildvcs=false", "-o", binary, "."], cwd=source, check=True, timeout=BUILD_S
    )
    return binary


async def run(program: Path, standard_input: str, *arguments: object) -> list[dict[str, Any]]:
    """What the program printed, one object a line."""
    process = await asyncio.create_subprocess_exec(
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
