"""What every test may rely on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one: everything that a test can need is there, or the run is worth nothing."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def grpcurl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program itself: installed, or built from its Go module."""
    found = shutil.which("grpcurl")
    if found:
        return Path(found)
    if not shutil.which("go"):
        pytest.skip("neither grpcurl nor the Go toolchain is installed")
    directory = tmp_path_factory.mktemp("gobin")
    environment = {**os.environ, "GOBIN": str(directory), "GOFLAGS": "-mod=mod"}
    try:
        subprocess.run(["go", "install", GRPCURL], env=environment, check=True, capture_output=True, timeout=400)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("grpcurl cannot be built here: no Go module proxy within reach")
    return directory / "grpcurl"
