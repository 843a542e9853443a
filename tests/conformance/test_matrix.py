"""Every cell of the conformance matrix."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Literal

import pytest
import pytest_asyncio
import uvloop

from tests.conformance.matrix import CELLS, PAGE, SITUATIONS, Situation, page
from tests.conformance.servers import KINDS, Kind, Missing, Server, running
from tests.conformance.stage import Place
from tests.tls import Authority, make_authority

WHOLE_LOOP: Literal["module"] = "module"  # the servers stay for all cells, so their pipes belong to one loop


class Servers:
    """Each is started by the first cell that needs it."""

    def __init__(self, stack: AsyncExitStack, tmp_path_factory: pytest.TempPathFactory) -> None:
        self._stack = stack
        self._paths = tmp_path_factory
        self._running: dict[str, Server | Missing] = {}

    async def get(self, kind: Kind) -> Server:
        if kind.name not in self._running:
            try:
                directory = self._paths.mktemp(kind.name)
                self._running[kind.name] = await self._stack.enter_async_context(running(kind, directory))
            except Missing as missing:
                self._running[kind.name] = missing
        found = self._running[kind.name]
        if isinstance(found, Missing):
            pytest.skip(f"{kind.title}: {found}")
        return found


@pytest.fixture(scope="module")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    """The loop that serves in production, where the platform has it."""
    policy: asyncio.AbstractEventLoopPolicy = uvloop.EventLoopPolicy()
    return policy


@pytest_asyncio.fixture(scope="module", loop_scope=WHOLE_LOOP)
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    async with AsyncExitStack() as stack:
        yield Servers(stack, tmp_path_factory)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    return make_authority(tmp_path_factory.mktemp("trusted")), make_authority(tmp_path_factory.mktemp("stranger"))


@pytest.mark.asyncio(loop_scope=WHOLE_LOOP)
@pytest.mark.parametrize(("situation", "kind"), [pytest.param(s, k, id=f"{s.name}[{k.name}]") for s, k in CELLS])
async def test_cell(
    servers: Servers, authorities: tuple[Authority, Authority], situation: Situation, kind: Kind
) -> None:
    server = await servers.get(kind)
    server.added = 0
    await situation.play(Place(server, *authorities))
    assert bool(server.added) == (kind.name in situation.added_by), "the table tells wrongly how this cell is made"


def test_the_table_is_full() -> None:
    """A cell that runs for each situation with each server: there is no mark for one that cannot be made."""
    names = [situation.name for situation in SITUATIONS]
    assert len(set(names)) == len(names)
    assert {kind.name for kind in KINDS} == {"go", "nghttp2", "node", "h2"}
    assert {(s.name, k.name) for s, k in CELLS} == set(itertools.product(names, (kind.name for kind in KINDS)))
    for code, moment in itertools.product(range(0xE), ("before", "after")):
        assert any(f"({code:#x}) {moment} the response headers" in situation.what for situation in SITUATIONS)
    assert all(situation.added_by <= {kind.name for kind in KINDS} for situation in SITUATIONS)


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.conformance.matrix"
