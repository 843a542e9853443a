"""The source's own shape: who may import whom, how long a file may be, where sockets, grpc and databases may live."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "pushrpc"
LINES_MAX = 500

VALUES = {"words", "content", "model", "record", "exchange", "clock"}
ARROWS: dict[str, set[str]] = {
    "words": set(),
    "content": {"words"},
    "accounts": {"words"},
    "model": {"words", "content"},
    "record": {"words", "model"},
    "exchange": set(),
    "clock": set(),
    "policy": {"words", "model"},
    "tables": set(),
    "config": {"words", "accounts", "tables"},
    "audience": {"words", "model"},
    "telemetry": {"words", "model", "record", "policy"},
    "providers": {"words", "content", "accounts", "model", "exchange"},
    "transport": {"exchange"},
    "ledger": {"words", "content", "model", "record", "clock"},
    "emulator": {"exchange"},
    "authorization": VALUES | {"providers", "transport"},
    "room": {"model", "policy", "providers", "transport", "ledger"},
    "alike": VALUES | {"policy", "providers"},
    "dispatcher": VALUES
    | {"alike", "room", "policy", "authorization", "providers", "transport", "ledger", "telemetry"},
    "calls": VALUES | {"authorization", "providers"},
    "feedback": VALUES | {"calls", "providers", "ledger", "telemetry"},
    "rpc": VALUES | {"audience", "calls", "providers", "ledger", "v1", "telemetry"},
}
# Rooms without a line above may import everything, with these exceptions.
FORBIDDEN: dict[str, set[str]] = {"cli": {"rpc"}}

# Third-party and system modules that only some rooms may touch.
KEPT_IN: dict[str, set[str]] = {
    "grpc": {"rpc", "server", "cli", "v1"},
    "ssl": {"transport", "emulator", "cli"},
    "socket": {"transport", "emulator", "cli"},
    "sqlite3": {"ledger", "cli"},
    "aiosqlite": {"ledger"},
    "aiohttp": {"transport", "emulator"},
    "google.auth": {"providers"},
    "orjson": {"content", "providers"},
    "structlog": {"telemetry"},
    "prometheus_client": {"telemetry"},
}
STANDARD_LIBRARY_ONLY = {"words", "content", "accounts", "model", "tables", "record", "exchange", "clock", "policy"}
# Content is written as JSON for every send, and the standard library's json costs several times as much.
BUT_FOR = {"content": {"orjson"}}


def sources() -> list[Path]:
    return sorted(p for p in ROOT.rglob("*.py") if "v1" not in p.relative_to(ROOT).parts)


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole path"
            module = node.module or ""
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def rooms_imported(path: Path) -> set[str]:
    parts = [name.split(".") for name in imports(path)]
    known = {p.name.removesuffix(".py") for p in ROOT.iterdir()}
    return {p[1] for p in parts if p[0] == "pushrpc" and len(p) > 1 and p[1] in known}


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    own = room(path)
    reached = rooms_imported(path) - {own}
    if own in ARROWS:
        assert reached <= ARROWS[own], f"{own} may not import {reached - ARROWS[own]}"
    assert not reached & FORBIDDEN.get(own, set())


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_outside_modules_stay_in_their_rooms(path: Path) -> None:
    own = room(path)
    for name in imports(path):
        for module, rooms in KEPT_IN.items():
            if name == module or name.startswith(module + "."):
                assert own in rooms, f"{own} imports {name}; only {sorted(rooms)} may"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_values_and_policy_need_the_standard_library_only(path: Path) -> None:
    if room(path) in STANDARD_LIBRARY_ONLY:
        import sys

        roots = {name.split(".")[0] for name in imports(path)}
        assert roots <= set(sys.stdlib_module_names) | {"pushrpc", "__future__"} | BUT_FOR.get(room(path), set())


def test_providers_never_wait() -> None:
    for path in (ROOT / "providers").glob("*.py"):
        tree = ast.parse(path.read_text())
        waits = [n for n in ast.walk(tree) if isinstance(n, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor)]
        assert not waits, f"{path.name} waits"
        assert "asyncio" not in set(imports(path))


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short_enough_to_be_one_idea(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES_MAX


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_functions_fit_a_screen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 70, f"{path.name}: {node.name} has {length} lines"


def test_no_file_is_named_after_nothing() -> None:
    empty_names = {"utils", "util", "helpers", "common", "misc", "base", "manager"}
    assert not {p.stem for p in sources()} & empty_names
