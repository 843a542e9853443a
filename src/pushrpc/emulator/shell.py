"""The only place with sockets: TLS listeners, and HTTP/2 connections that play what a stage decides.

A port speaks what its service speaks: APNs only HTTP/2; Google's HTTP/2 and HTTP/1.1, chosen by ALPN. The HTTP/2 state
machine is the `h2` library's, so that a client is held to the standard by code that was not written with it.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from aiohttp import web
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from pushrpc.emulator.faults import Action, Fault, Point
from pushrpc.emulator.http1 import handler
from pushrpc.emulator.service import Call
from pushrpc.emulator.stage import Cue, Stage
from pushrpc.exchange import Response

STREAMS_HARD_MAX = 2_000
"""Streams a connection may ever hold: a limit is binding only once its SETTINGS are acknowledged (RFC 9113 §6.5.3)."""

BODY_BYTES_MAX = 1024 * 1024
"""Kept of a request's body; anything longer is too large for every service. Huawei takes 1,000 tokens in one."""

READ_BYTES = 16 * 1024
"""Bytes handed to h2 at once. It looks through all open streams for each new one, so few should be open at a time."""

CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
IDLE_S = 3600.0
LINGER_S = 0.5
"""Between GOAWAY and closing: closing with unread input resets TCP, and the peer could lose the GOAWAY itself."""
CLOSE_S = 0.5
HANDSHAKE_S = 10.0
CONNECTIONS_MAX = 1_000

_SETTINGS, _GOAWAY = 4, 7


def server_context(certificate: Path, ca_file: Path | None, *, http1: bool, http2: bool = True) -> ssl.SSLContext:
    """With `ca_file`, clients may show a certificate, and a bad one fails the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate)
    context.set_alpn_protocols([*(["h2"] if http2 else []), *(["http/1.1"] if http1 else [])])
    if ca_file:
        context.load_verify_locations(ca_file)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


class Listener:
    """One port of one service, and every connection on it."""

    def __init__(self, stage: Stage, context: ssl.SSLContext, *, http1: bool, idle_s: float = IDLE_S) -> None:
        self._stage = stage
        self._context = context
        self._idle_s = idle_s
        self._http1 = web.Server(handler(stage), access_log=None, handler_cancellation=True) if http1 else None
        self._doors: set[_Door] = set()
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> int:
        """Listens; 0 = a free port. Returns the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Door(self), host, port, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_S, backlog=512
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Says goodbye on every connection and ends it; one that will not end by itself is cut after CLOSE_S."""
        if self._server is None:
            return
        self._server.close()
        for door in self._doors:
            if isinstance(door.protocol, Http2Connection):
                door.protocol.shut_down()
        if self._http1 is not None:
            await self._http1.shutdown(CLOSE_S)
        await self._wait_until_lost()
        for door in self._doors:
            door.transport.abort()
        await self._wait_until_lost()

    async def _wait_until_lost(self) -> None:
        if self._doors:
            await asyncio.wait([door.lost for door in self._doors], timeout=CLOSE_S)

    def enter(self, door: _Door, spoken: str | None) -> asyncio.Protocol | None:
        """Who talks on a new connection, by the ALPN protocol it settled on; None = nobody."""
        if len(self._doors) >= CONNECTIONS_MAX or (spoken != "h2" and self._http1 is None):
            return None
        self._doors.add(door)
        if spoken != "h2" and self._http1 is not None:
            return self._http1()
        return Http2Connection(self._stage, self._idle_s)

    def leave(self, door: _Door) -> None:
        self._doors.discard(door)


class _Door(asyncio.Protocol):
    """A connection of either protocol: which one is known only when TLS is done. Everything passes on to that one."""

    transport: asyncio.Transport

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.protocol: asyncio.Protocol | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's are of no asyncio class
        self.transport = transport
        spoken = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        self.protocol = self._listener.enter(self, spoken)
        if self.protocol is None:
            transport.abort()
        else:
            self.protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self.protocol is not None:
            self.protocol.data_received(data)

    def eof_received(self) -> bool | None:
        return self.protocol.eof_received() if self.protocol else None

    def pause_writing(self) -> None:
        if self.protocol is not None:
            self.protocol.pause_writing()

    def resume_writing(self) -> None:
        if self.protocol is not None:
            self.protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.protocol is not None:
            self.protocol.connection_lost(exc)
        self._listener.leave(self)
        self.lost.set_result(None)


class _Incoming:
    """A request that is still arriving."""

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.headers = headers
        self.body = bytearray()

    def call(self) -> Call:
        pseudo = dict(header for header in self.headers if header[0].startswith(b":"))
        headers = [header for header in self.headers if not header[0].startswith(b":")]
        return Call(pseudo[b":method"], pseudo[b":path"], headers, bytes(self.body))


class Http2Connection(asyncio.Protocol):
    """One HTTP/2 connection. Everything one read brings about leaves in one write."""

    def __init__(self, stage: Stage, idle_s: float) -> None:
        self._stage = stage
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        config = H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._h2 = H2Connection(config)
        self._out: list[bytes] = []
        self._incoming: dict[int, _Incoming] = {}
        self._open: set[int] = set()
        self._unsent: dict[int, bytes] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._streams_max = STREAMS_HARD_MAX
        self._announced = 0
        self._unacknowledged: deque[int | None] = deque()
        self._window_bytes: int | None = None
        self._last_id: int | None = None
        self._closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        self._service = self._stage.service.connect(certificate)
        # h2 would end the connection over one stream too many, where providers refuse only that stream. So h2 is told
        # no limit, the limit is announced in a SETTINGS frame written here, and refusing is done here too.
        self._h2.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 2**31 - 1
        self._h2.local_settings.acknowledge()
        self._h2.initiate_connection()
        self._h2.data_to_send()
        self._announced = self._service.streams_max
        self._out.append(_settings(self._h2.local_settings, self._announced))
        self._unacknowledged.append(self._announced)
        self._h2.increment_flow_control_window(CONNECTION_WINDOW_BYTES)
        self._heard_s = self._loop.time()
        self._idle = self._loop.call_later(self._idle_s, self._check_idle)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._heard_s = self._loop.time()
        try:
            for at in range(0, len(data), READ_BYTES):
                self._receive(data[at : at + READ_BYTES])
        except ProtocolError:
            self._flush()  # h2 has written the GOAWAY that says what was wrong.
            self._transport.close()
            return
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (*self._timers.values(), self._idle, self._closing):
            if timer:
                timer.cancel()

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def shut_down(self) -> None:
        """Announces the end as Apple does, with a reason, and closes."""
        if not self._transport.is_closing():
            self._go_away(self._h2.highest_inbound_stream_id, ErrorCodes.NO_ERROR, "Shutdown")
            self._flush()
            self._transport.close()

    def _receive(self, data: bytes) -> None:
        events = self._h2.receive_data(data)
        # To h2 a stream that its client reset is closed already, whatever else this read said of it.
        reset = {event.stream_id for event in events if isinstance(event, StreamReset)}
        for stream in reset:
            self._end(stream)
        for event in events:
            if not (isinstance(event, RequestReceived) and event.stream_id in reset):
                self._on(event)

    def _on(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=stream, headers=headers):
                self._begin(stream, [(bytes(name), bytes(value)) for name, value in headers])
            case DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                incoming = self._incoming.get(stream)
                if incoming and len(incoming.body) <= BODY_BYTES_MAX:
                    incoming.body += data
                self._h2.acknowledge_received_data(length, stream)
            case StreamEnded(stream_id=stream):
                if incoming := self._incoming.pop(stream, None):
                    self._answer(stream, incoming.call())
            case WindowUpdated() | RemoteSettingsChanged():
                for stream in list(self._unsent):
                    self._send_body(stream, self._unsent.pop(stream))
            case SettingsAcknowledged():
                limit = self._unacknowledged.popleft() if self._unacknowledged else None
                self._streams_max = self._streams_max if limit is None else limit
                self._change_window()
            case ConnectionTerminated():
                self._transport.close()

    def _begin(self, stream: int, headers: list[tuple[bytes, bytes]]) -> None:
        if self._last_id is not None and stream > self._last_id:
            return  # After GOAWAY, higher streams are not processed (RFC 9113 §6.8).
        if len(self._open) >= min(self._streams_max, STREAMS_HARD_MAX):
            self._h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
            return
        self._open.add(stream)
        self._incoming[stream] = _Incoming(headers)

    def _answer(self, stream: int, call: Call) -> None:
        cue = self._stage.decide(call, self._service)
        if self._service.streams_max > self._announced:
            self._change_settings(self._service.streams_max, None)
        if cue.fault and cue.fault.delay_s:
            self._timers[stream] = self._loop.call_later(cue.fault.delay_s, self._play_late, stream, cue)
        else:
            self._play(stream, cue)

    def _play_late(self, stream: int, cue: Cue) -> None:
        self._timers.pop(stream, None)
        if stream in self._open and not self._transport.is_closing():
            self._play(stream, cue)
            self._flush()

    def _play(self, stream: int, cue: Cue) -> None:
        response, fault = cue
        match fault.action if fault else None:
            case Action.SILENCE:
                return
            case Action.RESET | Action.CLOSE:
                assert fault
                self._break(stream, response, fault)
                return
            case Action.GOAWAY:
                assert fault
                self._go_away(max(0, stream + fault.last_offset), fault.code, fault.reason)
            case Action.SETTINGS:
                assert fault
                self._change_settings(fault.streams_max, fault.window_bytes)
        if stream in self._open:
            self._respond(stream, response)

    def _respond(self, stream: int, response: Response) -> None:
        self._send_headers(stream, response)
        if response.body:
            self._send_body(stream, response.body)
        else:
            self._end(stream)

    def _break(self, stream: int, response: Response, fault: Fault) -> None:
        if fault.at is not Point.BEFORE_HEADERS:
            self._send_headers(stream, response, end=False)
        if fault.at is Point.HALF_BODY and response.body:
            self._h2.send_data(stream, response.body[: len(response.body) // 2])
        if fault.action is Action.RESET:
            self._h2.reset_stream(stream, fault.code)
            self._end(stream)
        else:
            self._flush()
            self._transport.close()

    def _send_headers(self, stream: int, response: Response, *, end: bool = True) -> None:
        headers = [(b":status", str(response.status).encode()), *response.headers]
        if response.body:
            headers.append((b"content-length", str(len(response.body)).encode()))
        self._h2.send_headers(stream, headers, end_stream=end and not response.body)

    def _send_body(self, stream: int, body: bytes) -> None:
        """Sends what the client's windows allow; the rest waits for them to open."""
        while body:
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            if room <= 0:
                self._unsent[stream] = body
                return
            part, body = body[:room], body[room:]
            self._h2.send_data(stream, part, end_stream=not body)
        self._end(stream)

    def _end(self, stream: int) -> None:
        self._open.discard(stream)
        self._incoming.pop(stream, None)
        self._unsent.pop(stream, None)
        if timer := self._timers.pop(stream, None):
            timer.cancel()
        self._close_when_done()

    def _close_when_done(self) -> None:
        if self._last_id is not None and not self._open and not self._closing:
            self._closing = self._loop.call_later(LINGER_S, self._transport.close)

    def _change_settings(self, streams_max: int | None, window_bytes: int | None) -> None:
        if streams_max is not None:
            self._announced = streams_max
            self._unacknowledged.append(streams_max)
            self._write(_settings({}, streams_max))
        if window_bytes is not None:
            self._window_bytes = window_bytes
            self._change_window()

    def _change_window(self) -> None:
        # h2 takes whatever is acknowledged next for this change, so it waits until nothing else is.
        if self._window_bytes is not None and not self._unacknowledged:
            self._unacknowledged.append(None)
            self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: self._window_bytes})
            self._window_bytes = None

    def _go_away(self, last_id: int, code: int, reason: str) -> None:
        # Written here because h2 ends its own state with GOAWAY, while streams up to last_id are still to be answered.
        self._last_id = last_id
        debug = json.dumps({"reason": reason}).encode() if reason else b""
        self._write(_frame(_GOAWAY, struct.pack(">II", last_id, code) + debug))
        for stream in [stream for stream in self._open if stream > last_id]:
            self._end(stream)
        self._close_when_done()

    def _check_idle(self) -> None:
        quiet_s = self._loop.time() - self._heard_s
        if quiet_s < self._idle_s or self._open:
            self._idle = self._loop.call_later(max(self._idle_s - quiet_s, self._idle_s / 10), self._check_idle)
            return
        self._go_away(self._h2.highest_inbound_stream_id, ErrorCodes.NO_ERROR, "IdleTimeout")
        self._flush()

    def _write(self, frame: bytes) -> None:
        self._out += (self._h2.data_to_send(), frame)

    def _flush(self) -> None:
        self._out.append(self._h2.data_to_send())
        data = b"".join(self._out)
        self._out.clear()
        if data and not self._transport.is_closing():
            self._transport.write(data)


def _frame(kind: int, payload: bytes) -> bytes:
    """A frame of stream 0 without flags (RFC 9113 §4.1)."""
    return len(payload).to_bytes(3) + bytes((kind, 0)) + bytes(4) + payload


def _settings(values: Mapping[SettingCodes | int, int], streams_max: int) -> bytes:
    changed = {**values, SettingCodes.MAX_CONCURRENT_STREAMS: streams_max}
    return _frame(_SETTINGS, b"".join(struct.pack(">HI", int(code), value) for code, value in changed.items()))
