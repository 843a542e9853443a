"""A server that does what it is told, line by line, with the engine named by its only argument.

The other servers of this folder speak the same language; `tests/conformance/servers.py` says what it is.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import sys
from typing import Any, cast

from tests.conformance.python_server.engine import Broken, Engine, Options

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Served(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport
        self.engine: Engine

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        number = self._listener.add(self)
        self.engine = self._listener.server.engine(
            self._listener.options,
            lambda event, **fields: self._listener.tell(event, connection=number, **fields),
        )
        self.engine.tell("opened")
        self.flush()

    def data_received(self, data: bytes) -> None:
        try:
            self.engine.receive(data)
        except Broken as error:
            self.engine.tell("broken", detail=str(error))
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.engine.tell("closed")

    def flush(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self.engine.data_to_send())

    def cut(self, reset: bool) -> None:
        """Ends the TCP connection under TLS: with a FIN after everything written, or with a reset."""
        plain: socket.socket = self._transport.get_extra_info("socket")
        if reset:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()
        else:
            plain.shutdown(socket.SHUT_WR)


class Listener:
    def __init__(self, server: Server, number: int, options: Options) -> None:
        self.server = server
        self.options = options
        self._number = number
        self._connections: list[Served] = []
        self._listening: asyncio.Server
        self._stalled: list[asyncio.StreamWriter] = []

    async def open(self, order: dict[str, Any]) -> int:
        if order["stalls"]:
            self._listening = await asyncio.start_server(lambda _, w: self._stalled.append(w), "127.0.0.1", 0)
        else:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(order["cert"], order["key"])
            if order["alpn"]:
                context.set_alpn_protocols(order["alpn"])
            loop = asyncio.get_running_loop()
            self._listening = await loop.create_server(lambda: Served(self), "127.0.0.1", 0, ssl=context)
        return int(self._listening.sockets[0].getsockname()[1])

    def add(self, served: Served) -> int:
        self._connections.append(served)
        return len(self._connections)

    def tell(self, event: str, **fields: object) -> None:
        say({"listener": self._number, "event": event, **fields})

    def step(self, verb: str, target: str | int, *arguments: Any) -> None:
        served = self._served(target)
        if verb == "cut":
            served.cut(*arguments)
        else:
            served.engine.step(verb, target, *arguments)
            served.flush()

    def _served(self, target: str | int) -> Served:
        if isinstance(target, int):
            return self._connections[target - 1]
        return next(served for served in self._connections if target in served.engine.streams)

    def close(self) -> int:
        """How many frames were written past the engine."""
        self._listening.close()
        for served in self._connections:
            served._transport.abort()
        for writer in self._stalled:
            writer.close()
        return sum(served.engine.added for served in self._connections)


class Server:
    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self._listeners: dict[int, Listener] = {}

    async def obey(self, order: dict[str, Any]) -> dict[str, object]:
        match order["do"]:
            case "listen":
                settings = {int(key): value for key, value in order["settings"].items()}
                options = Options(settings, order["plan"], order["reads"], order["padded"], order["connection_window"])
                number = order["listener"]
                self._listeners[number] = Listener(self, number, options)
                return {"port": await self._listeners[number].open(order)}
            case "steps":
                for step in order["steps"]:
                    self._listeners[order["listener"]].step(*step)
                return {}
            case "close":
                return {"added": self._listeners.pop(order["listener"]).close()}
        raise ValueError(order["do"])


def say(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def engine_of(name: str) -> Any:
    if name == "nghttp2":
        from tests.conformance.python_server.nghttp2 import Nghttp2

        return Nghttp2
    from tests.conformance.python_server.hyper_h2 import HyperH2

    return HyperH2


async def main() -> None:
    server, reader = Server(engine_of(sys.argv[1])), asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():  # ends with standard input
        order = json.loads(line)
        try:
            answer = await server.obey(order)
        except Exception as error:  # told to the test, which fails with it
            answer = {"error": f"{type(error).__name__}: {error}"}
        say({"id": order["id"], **answer})


asyncio.run(main())
