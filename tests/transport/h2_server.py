"""A server made of the h2 library, without sockets: what it answers is asked of a function."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

Headers = list[tuple[bytes, bytes]]
Settings = Mapping[Any, int]  # by SettingCodes, or numbers that h2 does not know


class H2Server:
    """Collects requests and calls `on_request(stream)` when one is whole. Acknowledges bodies as they come."""

    def __init__(
        self,
        on_request: Callable[[int], None],
        settings: Settings | None = None,
    ) -> None:
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self.h2.local_settings = h2.settings.Settings(
            client=False, initial_values={h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 65_536, **(settings or {})}
        )
        self.h2.max_inbound_frame_size = self.h2.local_settings.max_frame_size
        self.headers: dict[int, Headers] = {}
        self.bodies: dict[int, bytes] = {}
        self.whole: list[int] = []  # streams in the order their requests ended
        self.cancelled: set[int] = set()
        self.pings = 0
        self.returns_windows = True
        self._on_request = on_request
        self._unsent: dict[int, bytes] = {}
        self.h2.initiate_connection()

    def path(self, stream: int) -> bytes:
        return dict(self.headers[stream])[b":path"]

    def receive(self, data: bytes) -> None:
        """Raises h2's ProtocolError when the client breaks a rule."""
        for event in self.h2.receive_data(data):
            self.on_event(event)

    def on_event(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                self.headers[event.stream_id] = [(bytes(n), bytes(v)) for n, v in event.headers]
                self.bodies[event.stream_id] = b""
            case h2.events.DataReceived():
                self.bodies[event.stream_id] += event.data
                self._give_back(event)
            case h2.events.StreamEnded():
                self.whole.append(event.stream_id)
                self._on_request(event.stream_id)
            case h2.events.StreamReset():
                self.cancelled.add(event.stream_id)
            case h2.events.PingReceived():
                self.pings += 1
            case h2.events.WindowUpdated():
                for stream in list(self._unsent):
                    self._send(stream)

    def _give_back(self, event: h2.events.DataReceived) -> None:
        """Returns the window at once: h2's own economy waits for more data, and after a lower INITIAL_WINDOW_SIZE
        none may be allowed to come."""
        if self.returns_windows and event.flow_controlled_length:
            self.h2.increment_flow_control_window(event.flow_controlled_length)
            if not event.stream_ended:
                with contextlib.suppress(h2.exceptions.StreamClosedError):  # reset in the same read
                    self.h2.increment_flow_control_window(event.flow_controlled_length, event.stream_id)

    def respond(self, stream: int, status: int, body: bytes = b"", headers: Headers | None = None) -> None:
        """A whole response; its body goes out as the client's windows allow."""
        self.h2.send_headers(stream, [(b":status", b"%d" % status), *(headers or [])], end_stream=not body)
        if body:
            self._unsent[stream] = body
            self._send(stream)

    def _send(self, stream: int) -> None:
        while body := self._unsent[stream]:
            size = min(len(body), self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if size == 0:
                return
            self._unsent[stream] = body[size:]
            self.h2.send_data(stream, body[:size], end_stream=size == len(body))
        del self._unsent[stream]

    def data_to_send(self) -> bytes:
        return self.h2.data_to_send()
