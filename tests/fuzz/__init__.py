"""Fuzzing of what reads bytes from providers. `make fuzz` runs it for long, the tests for a fixed while."""

from __future__ import annotations

from pathlib import Path


def stored(target: str) -> list[bytes]:
    """The inputs that are kept: seeds for the fuzzer, and what once failed."""
    text = Path(__file__).with_name("inputs").joinpath(f"{target}.txt").read_text()
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [bytes.fromhex(line) for line in lines if line]
