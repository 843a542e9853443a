"""Real sockets on loopback around the h2 server, with TLS from a test authority."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from pushrpc.exchange import Answer, Endpoint
from pushrpc.transport import Sessions
from tests.tls import Authority
from tests.transport.h2_server import H2Server
from tests.transport.requests import requests

DEADLINE_S = 10.0


class Served(asyncio.Protocol):
    """One accepted connection. Answers are written by the test, or by `Loopback.answer`."""

    transport: asyncio.Transport

    def __init__(self, server: Loopback) -> None:
        self.server = server
        self.h2 = H2Server(lambda stream: server.answer(self, stream), server.settings)
        self.lost = False
        self.broken: ProtocolError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.server.connections.append(self)
        self.server.greet(self)

    def data_received(self, data: bytes) -> None:
        try:
            self.h2.receive(data)
        except ProtocolError as error:
            self.broken = error
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def flush(self) -> None:
        if not self.server.mute and not self.transport.is_closing():
            self.transport.write(self.h2.data_to_send())

    def respond(self, stream: int, status: int = 200, body: bytes = b"") -> None:
        self.h2.respond(stream, status, body, [(b"apns-id", self.h2.path(stream)[1:])])
        self.flush()

    def respond_to_all(self) -> None:
        for stream in self.h2.whole:
            if stream not in self.h2.cancelled:
                self.h2.respond(stream, 200)
        self.h2.whole.clear()
        self.flush()


@dataclass
class Loopback:
    """A listening server. Without `answer` it answers 200 to everything; `silent` for `answer` never answers."""

    answer: Callable[[Served, int], None] = lambda served, stream: served.respond(stream)
    greet: Callable[[Served], None] = lambda served: served.flush()
    settings: Mapping[SettingCodes, int] = field(default_factory=dict)
    port: int = 0
    mute: bool = False  # accepts, and then says nothing at all
    connections: list[Served] = field(default_factory=list)

    @property
    def live(self) -> list[Served]:
        return [served for served in self.connections if not served.lost]


def silent(served: Served, stream: int) -> None:
    """An answer that never comes."""


@asynccontextmanager
async def listening(
    server: Loopback, context: ssl.SSLContext | None, accept: Callable[[], Served] | None = None
) -> AsyncIterator[Loopback]:
    listener = await asyncio.get_running_loop().create_server(
        accept or (lambda: Served(server)), "127.0.0.1", server.port, ssl=context
    )
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for served in server.live:
            served.transport.abort()
        await until(lambda: not server.live)
        await listener.wait_closed()


def server_context(authority: Authority, alpn: tuple[str, ...] = ("h2",)) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue(["localhost", "127.0.0.1"]))
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def endpoint(server: Loopback, authority: Authority) -> Endpoint:
    return Endpoint("127.0.0.1", server.port, authority.ca_file)


async def until(condition: Callable[[], object]) -> None:
    """Waits for a state that other callbacks bring about; fails after a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 (the state has no event of its own)
            await asyncio.sleep(0.002)


async def collect(pool: Sessions, count: int, timeout_s: float = DEADLINE_S, body: bytes | None = None) -> list[Answer]:
    """Sends rows /0, /1, … and returns their answers by row; fails unless each has exactly one."""
    found: dict[int, Answer] = {}
    async with asyncio.timeout(DEADLINE_S + 1):
        async for page in pool.send(requests(count, body), timeout_s):
            assert page
            for row, answer in page:
                assert row not in found
                found[row] = answer
    assert sorted(found) == list(range(count))
    return [found[row] for row in range(count)]
