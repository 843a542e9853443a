"""hyper-h2's engine. Its frames come from h2.settings import SettingCodes
from hyperframe, with which two are written directly."""

from __future__ import annotations

import contextlib
from collections import defaultdict, deque
from collections.abc import Mapping

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from h2.settings import SettingCodes
from hyperframe.frame import ExtensionFrame, Frame, GoAwayFrame, HeadersFrame

from tests.conformance.python_server.engine import (
    PADDING_BYTES,
    UNKNOWN_FRAME,
    WINDOW_DEFAULT,
    Broken,
    Engine,
    Options,
    Tell,
)


class _Padding(h2.connection.H2Connection):
    """h2 pads DATA only; here its HEADERS are padded as well, by hyperframe."""

    padded = 0

    def _prepare_for_sending(self, frames: list[Frame]) -> None:
        for frame in frames:
            if isinstance(frame, HeadersFrame):
                frame.flags.add("PADDED")
                frame.pad_length = PADDING_BYTES
                self.padded += 1
        super()._prepare_for_sending(frames)


class HyperH2(Engine):
    def __init__(self, options: Options, tell: Tell) -> None:
        super().__init__(options, tell)
        connection = _Padding if options.padded else h2.connection.H2Connection
        self._h2 = connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        values = {SettingCodes(key): value for key, value in options.settings.items()}
        self._h2.local_settings = h2.settings.Settings(client=False, initial_values=values)
        self._h2.max_inbound_frame_size = self._h2.local_settings.max_frame_size
        self._unsent: dict[int, deque[tuple[bytes, bool]]] = defaultdict(deque)
        self._unread: dict[int, int] = defaultdict(int)
        self._closed = False
        self._written = 0
        self._h2.initiate_connection()
        if options.connection_window > WINDOW_DEFAULT:
            self._h2.increment_flow_control_window(options.connection_window - WINDOW_DEFAULT)

    def receive(self, data: bytes) -> None:
        if self._closed:
            return
        try:
            for event in self._h2.receive_data(data):
                self._on(event)
        except h2.exceptions.ProtocolError as error:
            raise Broken(f"{type(error).__name__}: {error}") from error

    @property
    def added(self) -> int:
        return self._written + (self._h2.padded if isinstance(self._h2, _Padding) else 0)

    def data_to_send(self) -> bytes:
        return self._h2.data_to_send()

    def _on(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                self.began(event.stream_id, {str(name): str(value) for name, value in event.headers})
            case h2.events.DataReceived():
                self.lengths[event.stream_id] += len(event.data)
                self._unread[event.stream_id] += event.flow_controlled_length
                if self.reads:
                    self._give_back(event.stream_id)
            case h2.events.StreamEnded():
                self.ended(event.stream_id)
            case h2.events.StreamReset():
                self.tell("cancelled", token=self.tokens[event.stream_id])
            case h2.events.SettingsAcknowledged():
                self.tell("acknowledged")
            case h2.events.PingAckReceived():
                self.tell("pong")
            case h2.events.WindowUpdated():
                for stream in list(self._unsent):
                    self._send(stream)

    def _give_back(self, stream: int) -> None:
        """At once: h2's own economy waits for more data, and after a lower INITIAL_WINDOW_SIZE none may come."""
        if size := self._unread.pop(stream, 0):
            self._h2.increment_flow_control_window(size)
            with contextlib.suppress(h2.exceptions.StreamClosedError):  # ended or reset meanwhile
                self._h2.increment_flow_control_window(size, stream)

    def _send(self, stream: int) -> None:
        queue = self._unsent[stream]
        while queue:
            data, end = queue[0]
            padding = PADDING_BYTES + 1 if self.options.padded else 0
            window = self._h2.local_flow_control_window(stream)
            size = min(len(data), window - padding, self._h2.max_outbound_frame_size - padding)
            if size <= 0 < len(data) or window < padding:
                return
            last = size == len(data)
            self._h2.send_data(
                stream, data[:size], end_stream=end and last, pad_length=padding - 1 if padding else None
            )
            queue[0] = data[size:], end
            if last:
                queue.popleft()
        del self._unsent[stream]

    def _write(self, frame: Frame) -> None:
        self._h2._data_to_send += frame.serialize()
        self._written += 1

    def interim(self, stream: int, status: int) -> None:
        self._h2.send_headers(stream, self.response_headers(stream, status, 0))

    def headers(self, stream: int, status: int, end: bool, filler: int = 0) -> None:
        self._h2.send_headers(stream, self.response_headers(stream, status, filler), end_stream=end)

    def data(self, stream: int, size: int, end: bool) -> None:
        self._unsent[stream].append((self.body(stream, size), end))
        self._send(stream)

    def trailers(self, stream: int) -> None:
        self._h2.send_headers(stream, [(b"x-checksum", b"7")], end_stream=True)

    def reset(self, stream: int, code: int) -> None:
        with contextlib.suppress(h2.exceptions.StreamClosedError):  # both sides have ended it
            self._h2.reset_stream(stream, code)

    def goaway(self, last: int, code: int) -> None:
        # After its own close_connection h2 sends nothing more, and streams up to the last id may go on.
        self._write(GoAwayFrame(0, last_stream_id=last, error_code=code))

    def shutdown(self) -> None:
        self._h2.close_connection()
        self._closed = True  # after this it takes and gives nothing more

    def settings(self, values: Mapping[str, int]) -> None:
        self._h2.update_settings({int(key): value for key, value in values.items()})

    def ping(self) -> None:
        self._h2.ping(b"conforms")

    def unknown(self) -> None:
        frame = ExtensionFrame(UNKNOWN_FRAME, 0, body=b"anything")
        frame.body_len = len(frame.body)  # which it writes, and sets only when it reads
        self._write(frame)

    def release(self) -> None:
        self.reads = True
        for stream in list(self._unread):
            self._give_back(stream)
