"""docs/errors.md says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from pushrpc.rpc.errors import Reason
from pushrpc.words import RejectReason

PAGE = (Path(__file__).parent.parent.parent / "docs" / "errors.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_reason_stands_there_with_its_code_and_what_to_do() -> None:
    told = {row[0].strip("`"): row[1:] for row in rows("Errors of a call")}
    assert told == {
        reason.name: [
            reason.code.name,
            reason.advice,
            "" if reason.retry_after_s is None else f"{reason.retry_after_s:g} s",
        ]
        for reason in Reason
    }


def test_every_reject_reason_stands_there() -> None:
    told = [row[0].strip("`") for row in rows("Targets that make no delivery")]
    assert told == [reason.name for reason in RejectReason if reason]
    assert not re.search(r"\|\s*\|$", PAGE.split("## Targets that make no delivery")[1].split("\n## ")[0], re.MULTILINE)
