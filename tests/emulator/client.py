"""A small HTTP/2 client that shows everything an ordinary one hides: resets, GOAWAY, SETTINGS, half a body."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes

DEADLINE_S = 10.0
FRAME_BYTES = 16 * 1024
GOAWAY = 7


@dataclass
class Stream:
    """What was heard on a stream. `reset` is the code of RST_STREAM."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None


class GoAway(NamedTuple):
    last_stream_id: int
    error_code: int
    debug_data: bytes


class Client(asyncio.Protocol):
    def __init__(self) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._unsent: dict[int, bytes] = {}
        self.streams: dict[int, Stream] = {}
        self.goaway: GoAway | None = None
        self.closed = False
        self._unread = b""
        self._changed = asyncio.Event()

    @property
    def streams_max(self) -> int:
        return self.h2.remote_settings.max_concurrent_streams

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while len(self._unread) >= 9 and len(self._unread) >= (size := 9 + int.from_bytes(self._unread[:3])):
            frame, self._unread = self._unread[:size], self._unread[size:]
            self._read(frame)
        self._send_bodies()
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._changed.set()

    def write(self, data: bytes) -> None:
        """Writes bytes past the state machine."""
        self._transport.write(data)

    def flush(self) -> None:
        self._transport.write(self.h2.data_to_send())

    def send(self, path: str, headers: Mapping[str, str], body: bytes) -> int:
        """Writes a request and returns its stream; beyond the server's stream limit too, unlike h2 by itself."""
        stream = self.h2.get_next_available_stream_id()
        self.streams[stream] = Stream()
        pseudo = {":method": "POST", ":scheme": "https", ":authority": "127.0.0.1", ":path": path}
        self.h2.send_headers(stream, list({**pseudo, **headers}.items()), end_stream=not body)
        self._unsent[stream] = body
        self._send_bodies()
        return stream

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def finish(self, number: int) -> Stream:
        """The stream once it ended, was reset or lost its connection."""
        stream = self.streams[number]
        await self.until(lambda: stream.ended or stream.reset is not None or self.closed)
        return stream

    async def request(self, path: str, headers: Mapping[str, str], body: bytes) -> Stream:
        return await self.finish(self.send(path, headers, body))

    def close(self) -> None:
        self._transport.close()

    def _send_bodies(self) -> None:
        for number in [number for number, body in self._unsent.items() if body and not self.goaway]:
            body = self._unsent[number]
            while body and (room := self.h2.local_flow_control_window(number)) > 0:
                part, body = body[: min(room, FRAME_BYTES)], body[min(room, FRAME_BYTES) :]
                self.h2.send_data(number, part, end_stream=not body)
            self._unsent[number] = body
        self.flush()

    def _read(self, frame: bytes) -> None:
        # h2 reads nothing after GOAWAY, while answers on lower streams are still to come (RFC 9113 §6.8).
        if frame[3] == GOAWAY:
            self.goaway = GoAway(int.from_bytes(frame[9:13]), int.from_bytes(frame[13:17]), frame[17:])
            return
        for event in self.h2.receive_data(frame):
            self._on(event)

    def _on(self, event: Event) -> None:
        match event:
            case ResponseReceived(stream_id=number, headers=headers):
                told = {str(name): str(value) for name, value in headers}
                self.streams[number].status = int(told.pop(":status"))
                self.streams[number].headers = told
            case DataReceived(stream_id=number, data=data, flow_controlled_length=length):
                self.streams[number].body += data
                self.h2.acknowledge_received_data(length, number)
            case StreamEnded(stream_id=number):
                self.streams[number].ended = True
            case StreamReset(stream_id=number, error_code=code):
                self.streams[number].reset = int(code)


@asynccontextmanager
async def connect(endpoint: str, ca_file: Path, certificate: Path | None = None) -> AsyncIterator[Client]:
    """A connection that has seen the server's first SETTINGS. Raises ConnectionError when there are none."""
    context = ssl.create_default_context(cafile=str(ca_file))
    context.set_alpn_protocols(["h2"])
    if certificate:
        context.load_cert_chain(certificate)
    url = urlsplit(endpoint)
    assert url.hostname and url.port
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE_S):
        _, client = await loop.create_connection(Client, url.hostname, url.port, ssl=context)
    try:
        await client.until(lambda: client.closed or SettingCodes.MAX_CONCURRENT_STREAMS in client.h2.remote_settings)
        if client.closed:
            raise ConnectionResetError("the server ended the connection before its SETTINGS")
        yield client
    finally:
        client.close()
        await client.until(lambda: client.closed)
