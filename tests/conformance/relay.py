"""A wire that can be cut: TCP from the client to a server, until the peer vanishes behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

PIECE_BYTES: Final = 65_536


@dataclass(eq=False)
class _Wire:
    carries: bool = True
    writers: list[asyncio.StreamWriter] = field(default_factory=list)


@dataclass
class Relay:
    """`target` is the port that new connections are led to."""

    port: int = 0
    target: int = 0
    wires: list[_Wire] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def vanish(self) -> None:
        """Connections stay open, and nothing arrives on either side any more; new ones work."""
        for wire in self.wires:
            wire.carries = False

    async def lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
        wire = _Wire(writers=[writer, there_writer])
        self.wires.append(wire)
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            self.tasks.add(asyncio.create_task(_carry(wire, source, sink)))


async def _carry(wire: _Wire, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(PIECE_BYTES):
            if wire.carries:
                sink.write(piece)
                await sink.drain()
        if wire.carries:
            sink.close()
    except OSError:
        sink.transport.abort()


@asynccontextmanager
async def relaying() -> AsyncIterator[Relay]:
    relay = Relay()
    listener = await asyncio.start_server(relay.lead, "127.0.0.1", 0)
    relay.port = listener.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        listener.close()
        for task in relay.tasks:
            task.cancel()
        for writer in (writer for wire in relay.wires for writer in wire.writers):
            writer.transport.abort()
        await asyncio.gather(*relay.tasks, return_exceptions=True)
