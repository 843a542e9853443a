"""An HTTP/1.1 server by hand: every connection is a script that reads requests and writes any bytes it likes."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET
from typing import NamedTuple, cast

from tests.transport.loopback import DEADLINE_S

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
HEAD_BYTES_MAX = 65_536


class Asked(NamedTuple):
    """A request as it came."""

    line: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    @property
    def path(self) -> bytes:
        return self.line.split(b" ")[1]


@dataclass
class Accepted:
    """One accepted connection. `asked` are its whole requests."""

    server: RawServer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    asked: list[Asked] = field(default_factory=list)
    lost: bool = False

    async def head(self) -> bytes:
        """A request up to its body. Raises IncompleteReadError when the client has left."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> Asked:
        line, *lines = (await self.head()).removesuffix(b"\r\n\r\n").split(b"\r\n")
        headers = [(name, value) for name, _, value in (text.partition(b": ") for text in lines)]
        length = int(dict(headers).get(b"content-length", b"0"))
        asked = Asked(line, headers, await self.reader.readexactly(length))
        self.asked.append(asked)
        self.server.asked.append(asked)
        return asked

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Waits until the client has closed its side."""
        while await self.reader.read(HEAD_BYTES_MAX):
            pass

    def stop_reading(self) -> None:
        cast(asyncio.Transport, self.writer.transport).pause_reading()

    def reset(self) -> None:
        """Closes with RST instead of FIN."""
        self.writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Accepted], Awaitable[None]]


async def answer_all(accepted: Accepted) -> None:
    while True:
        await accepted.request()
        await accepted.say(OK)


@dataclass
class RawServer:
    """`script` is run for each connection, which ends with it."""

    script: Script = answer_all
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: list[Accepted] = field(default_factory=list)

    @property
    def live(self) -> list[Accepted]:
        return [accepted for accepted in self.connections if not accepted.lost]

    @asynccontextmanager
    async def listening(self, context: ssl.SSLContext | None) -> AsyncIterator[RawServer]:
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.create_task(self._serve(reader, writer)))

        listener = await asyncio.start_server(accept, "127.0.0.1", self.port, ssl=context, limit=HEAD_BYTES_MAX)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), DEADLINE_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = Accepted(self, reader, writer)
        self.connections.append(accepted)
        try:
            # The client may leave at any time: that ends its script.
            with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
                await self.script(accepted)
        finally:
            accepted.lost = True
            writer.close()
        with suppress(ConnectionError, ssl.SSLError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 1)
