"""docs/grpcurl.md, command by command, as it stands."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from tests.e2e.test_readme import PRINTED, target

__all__ = ["target"]

ROOT = Path(__file__).parent.parent.parent
BLOCKS = re.findall(r"^```\n(.*?)^```$", (ROOT / "docs" / "grpcurl.md").read_text(), re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
REFUSED = COMMANDS[-1]


@pytest.mark.timeout(500)
async def test_every_command_does_what_the_page_says(target: str, grpcurl: Path) -> None:
    contract = await asyncio.create_subprocess_exec(ROOT / "scripts" / "contract.sh", stdout=asyncio.subprocess.DEVNULL)
    assert await asyncio.wait_for(contract.wait(), 60) == 0
    assert len(COMMANDS) > 15
    told: dict[str, str] = {}
    for command in COMMANDS:
        assert command.startswith("grpcurl "), f"not a command: {command}"
        process = await asyncio.create_subprocess_shell(
            command.replace(PRINTED, target).replace("grpcurl", str(grpcurl), 1),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=ROOT,
            env=os.environ,
        )
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        told[command] = said.decode()
        assert (process.returncode != 0) == (command == REFUSED), f"{command}\n{told[command]}"
    assert "FIELD_REQUIRED" in told[REFUSED] and "message" in told[REFUSED]
    (sent,) = [said for command, said in told.items() if '"wait"' in command]
    assert sent.count("DELIVERY_STATE_SENT") == 2 and '"complete": true' in sent
    (listed,) = [said for command, said in told.items() if "with_attempts" in command]
    assert '"attempts"' in listed
    (streamed,) = [said for command, said in told.items() if "request_ids" in command]
    assert '"end"' in streamed
