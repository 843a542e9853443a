"""What the tests of every client may rely on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.running import free_port


@pytest.fixture
def address() -> Iterator[str]:
    """Where a server listens that `make up` could have started."""
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "pushrpc", "up", "--listen", address], stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            while address not in (line := process.stdout.readline()):
                assert line, "it ended without saying where it listens"
            yield address
        finally:
            process.send_signal(signal.SIGINT)
