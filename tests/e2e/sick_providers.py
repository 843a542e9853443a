"""Providers that are not well: each takes connections as sick ones do, and counts them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from h2.settings import SettingCodes

from tests.tls import Authority
from tests.transport.h2_server import H2Server


class Sick:
    """`endpoint` is what an account points at; `connections` are all that were ever made."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.connections: list[asyncio.Transport] = []


@asynccontextmanager
async def refusing() -> AsyncIterator[Sick]:
    """Nobody listens. The port is kept from others meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield Sick(f"https://127.0.0.1:{held.getsockname()[1]}")


@asynccontextmanager
async def silent() -> AsyncIterator[Sick]:
    """Accepts TCP, and never says a word of TLS."""
    async with _listening(_Counting) as sick:
        yield sick


@asynccontextmanager
async def resetting() -> AsyncIterator[Sick]:
    """Accepts TCP and resets it at once."""
    async with _listening(_Resetting) as sick:
        yield sick


@asynccontextmanager
async def windowless(authority: Authority) -> AsyncIterator[Sick]:
    """Speaks HTTP/2, but takes not one byte of any body."""
    async with _listening(_Windowless, authority) as sick:
        yield sick


@asynccontextmanager
async def deaf(authority: Authority) -> AsyncIterator[Sick]:
    """Says its SETTINGS, and then reads nothing more."""
    async with _listening(_Deaf, authority) as sick:
        yield sick


@asynccontextmanager
async def _listening(
    protocol: Callable[[Sick], asyncio.Protocol], authority: Authority | None = None
) -> AsyncIterator[Sick]:
    context = None
    if authority is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue(["127.0.0.1"]))
        context.set_alpn_protocols(["h2"])
    sick = Sick("")
    server = await asyncio.get_running_loop().create_server(lambda: protocol(sick), "127.0.0.1", 0, ssl=context)
    sick.endpoint = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield sick
    finally:
        server.close()
        for connection in sick.connections:
            connection.abort()
        await asyncio.sleep(0)  # asyncio closes the sockets in its next turn


class _Counting(asyncio.Protocol):
    def __init__(self, sick: Sick) -> None:
        self._sick = sick

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._sick.connections.append(transport)
        self.transport = transport


class _Resetting(_Counting):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        at_once = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: RST instead of FIN (socket(7))
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self.transport.abort()


class _Windowless(_Counting):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server = H2Server(lambda stream: None, {SettingCodes.INITIAL_WINDOW_SIZE: 0})
        self.transport.write(self._server.data_to_send())

    def data_received(self, data: bytes) -> None:
        self._server.receive(data)
        self.transport.write(self._server.data_to_send())


class _Deaf(_Windowless):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.pause_reading()
