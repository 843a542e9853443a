"""A client connection, an h2 server, the bytes between them, and a model of what each row must come to.

Whatever the server writes is noted with the place of its last byte. Once the client has read that far, the model knows
what it must have answered, and compares.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import h2.errors
import h2.events
from h2.settings import SettingCodes

from pushrpc.exchange import Answer, NoAnswer, NotSent, Requests, Response, Row
from pushrpc.transport.batch import Batch
from pushrpc.transport.frames import (
    DATA,
    END_STREAM,
    HEADER_BYTES,
    HEADERS,
    PREFACE,
    RST_STREAM,
    STREAM_ID_MAX,
    ErrorCode,
)
from pushrpc.transport.http2 import STREAMS_MAX, Connection
from tests.transport.h2_server import H2Server, Settings
from tests.transport.peer import goaway, read_frames
from tests.transport.requests import TEMPLATE

# Two of one lane and one of another, so that the header table changes between rows.
TEMPLATES = (
    TEMPLATE._replace(body=None),
    TEMPLATE._replace(body=b"{}", headers=[*TEMPLATE.headers, (b"apns-priority", b"5")]),
    TEMPLATE._replace(body=None, headers=[(b"authorization", b"bearer other"), (b"x-long", b"l" * 100)]),
)


class Shape(NamedTuple):
    """A legal response: so many 103 before it, a header of `filler` bytes, DATA as (bytes, padding), trailers."""

    status: int
    interim: int
    filler: int
    pieces: tuple[tuple[int, int | None], ...]
    trailers: bool


class Server(H2Server):
    """Gives windows back only when told to, and keeps count of what the client owes it an acknowledgement for."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(lambda stream: None, settings)
        self.returns_windows = False
        self.owed: dict[int, int] = {0: 0}  # stream -> bytes not given back; 0 is the connection
        self.resets: set[int] = set()
        self.settings_open = 1
        self.pings_open = 0
        self._inbox = b""
        self._greeted = False

    def receive(self, data: bytes) -> None:
        """Frame by frame, because h2 allows larger ones only from the read after their acknowledgement."""
        self._inbox += data
        while len(self._inbox) >= (size := self._next_size()):
            whole, self._inbox, self._greeted = self._inbox[:size], self._inbox[size:], True
            super().receive(whole)

    def _next_size(self) -> int:
        return HEADER_BYTES + int.from_bytes(self._inbox[:3]) if self._greeted else len(PREFACE)

    def on_event(self, event: h2.events.Event) -> None:
        super().on_event(event)
        match event:
            case h2.events.DataReceived():
                for stream in (0, event.stream_id):
                    self.owed[stream] = self.owed.get(stream, 0) + event.flow_controlled_length
            case h2.events.SettingsAcknowledged():
                self.settings_open -= 1
            case h2.events.PingAckReceived():
                self.pings_open -= 1

    def open(self, stream: int) -> bool:
        return stream not in self.cancelled and stream not in self.resets

    def give_back(self, stream: int, size: int) -> None:
        size = min(size, self.owed[stream])
        if size and self.open(stream) and stream not in self.whole:
            self.owed[stream] -= size
            self.h2.increment_flow_control_window(size, stream or None)


class World:
    """Moves bytes only when told to, and as few as told. Fails at the first difference from the model."""

    def __init__(self, settings: Settings) -> None:
        self.connection = Connection(1)
        self.server = Server(settings)
        self.up = b""
        self.down = b""
        self.batches: list[Batch] = []
        self.streams: dict[int, tuple[int, int]] = {}  # stream -> batch and row
        self.found: list[dict[int, Answer]] = []
        self.limit = STREAMS_MAX  # of streams, as the client has read it
        self.last = STREAM_ID_MAX  # of the server's GOAWAYs
        self._expected: list[dict[int, Answer]] = []
        self._read = 0
        self._written = 0
        self._news: deque[tuple[int, Callable[[], None]]] = deque()
        self._seen: dict[int, Response] = {}  # what the client has read of a response
        self._steps: dict[int, deque[tuple[Callable[[], None], Callable[[], None]]]] = {}
        self._ended: set[int] = set()  # streams on which the client sends no more
        self._left = 0  # streams below it have left the client
        self._lost = "lost"
        self._serve(functools.partial(self._limited, settings))

    # --- the client

    def submit(self, templates: Sequence[int], body: bytes | None) -> None:
        number = len(self.batches)
        rows = [Row(t, b"/%d/%d" % (number, n), [(b"n", b"%d" % n)], body, (n,)) for n, t in enumerate(templates)]
        self.batches.append(Batch(Requests(TEMPLATES, rows)))
        self.found.append({})
        self._expected.append({})

    def start(self) -> None:
        """Offers the client every row, in their order."""
        for number, batch in enumerate(self.batches):
            while started := self.connection.start(batch):
                for row in range(batch.taken - started, batch.taken):
                    self.streams[2 * len(self.streams) + 1] = number, row
                assert len(self.unanswered()) <= self.limit, "more streams than the server allows"

    def flush(self) -> None:
        written = self.connection.data_to_send()
        self.up += written
        self._left = 2 * len(self.streams) + 1
        for frame in read_frames(written.removeprefix(PREFACE)):
            if frame.kind in (DATA, HEADERS):
                assert frame.stream not in self._ended, "sent after its end"
            if frame.kind == RST_STREAM or (frame.kind in (DATA, HEADERS) and frame.flags & END_STREAM):
                self._ended.add(frame.stream)

    def cancel(self, number: int) -> None:
        for stream in self.unanswered():
            if self.streams[stream][0] == number:
                self._expect(stream, NoAnswer("cancelled", 1))
        self.connection.cancel(self.batches[number], "cancelled")
        self._collect(self.batches[number])
        self.check()

    def lose(self) -> None:
        for stream in self.unanswered():
            self._expect(stream, NoAnswer(self._lost, 1) if stream < self._left else NotSent(self._lost))
        for batch in self.connection.lost("lost"):
            self._collect(batch)
        self.check()
        assert self.connection.ended and self.connection.data_to_send() == b""

    # --- the bytes

    def carry_up(self, size: int) -> None:
        """h2 raises when the client breaks a rule: flow control, stream limit, header table, frame sizes."""
        data, self.up = self.up[:size], self.up[size:]
        self.server.receive(data)
        self._serve()

    def carry_down(self, size: int) -> None:
        data, self.down = self.down[:size], self.down[size:]
        self._read += len(data)
        while self._news and self._news[0][0] <= self._read:
            self._news.popleft()[1]()
        for batch in self.connection.receive(data):
            self._collect(batch)
        self.check()
        assert not self.connection.ended, "the server broke no rule"

    def _serve(self, read: Callable[[], None] | None = None) -> None:
        """Takes what the server has to send; `read` is run before the client reads the last byte of it."""
        written = self.server.data_to_send()
        self.down += written
        self._written += len(written)
        if read:
            self._news.append((self._written, read))

    # --- the server

    def change_settings(self, settings: Settings) -> None:
        """One change at a time: h2 takes any acknowledgement for that of the newest."""
        if not self.server.settings_open:
            self.server.settings_open += 1
            self.server.h2.update_settings(dict(settings))
            self._serve(functools.partial(self._limited, settings))

    def _limited(self, settings: Settings) -> None:
        self.limit = min(settings.get(SettingCodes.MAX_CONCURRENT_STREAMS, self.limit), STREAMS_MAX)

    def give_back(self, stream: int, size: int) -> None:
        self.server.give_back(stream, size)
        self._serve()

    def ping(self) -> None:
        self.server.pings_open += 1
        self.server.h2.ping(b"pingping")
        self._serve()

    def insert(self, frame: bytes) -> None:
        """A frame that h2 would not write."""
        self._serve()
        self.down += frame
        self._written += len(frame)

    def answerable(self) -> list[int]:
        """Streams whose answer the server may begin, though their request may not be whole."""
        server = self.server
        return [s for s in server.headers if s <= self.last and s not in self._steps and server.open(s)]

    def respond(self, stream: int, shape: Shape) -> None:
        """Prepares a response that `write` sends frame by frame."""
        h2 = self.server.h2
        status = [(b":status", b"%d" % shape.status)]
        headers = [(b"path", self.server.path(stream)), (b"filler", b"X" * shape.filler)]
        frames = len(shape.pieces) + shape.trailers
        steps = self._steps[stream] = deque()
        hint = [(b":status", b"103"), (b"link", b"</x>")]
        for _ in range(shape.interim):
            steps.append((functools.partial(h2.send_headers, stream, hint), lambda: None))
        send = functools.partial(h2.send_headers, stream, status + headers, end_stream=not frames)
        whole = Response(shape.status, headers, b"", 1)
        steps.append((send, functools.partial(self._see, stream, whole, ends=not frames)))
        for number, (size, padding) in enumerate(shape.pieces, 1):
            data = b"%d" % (number % 10) * size
            whole = whole._replace(body=whole.body + data)
            ends = number == frames
            send = functools.partial(h2.send_data, stream, data, end_stream=ends, pad_length=padding)
            steps.append((send, functools.partial(self._see, stream, whole, ends=ends)))
        if shape.trailers:
            send = functools.partial(h2.send_headers, stream, [(b"x-trailer", b"1")], end_stream=True)
            steps.append((send, functools.partial(self._see, stream, whole, ends=True)))

    def begun(self, stream: int) -> bool:
        return stream in self._steps

    def writable(self) -> list[int]:
        """Streams whose response goes on, where the client's window lets it."""
        going = [stream for stream, steps in self._steps.items() if steps and self.server.open(stream)]
        return [s for s in going if self.server.h2.local_flow_control_window(s) >= 10_000]

    def write(self, stream: int) -> None:
        send, read = self._steps[stream].popleft()
        send()
        self._serve(read)

    def _see(self, stream: int, response: Response, *, ends: bool) -> None:
        self._seen[stream] = response
        if ends and stream in self.unanswered():
            self._expect(stream, response)

    def reset(self, stream: int, code: h2.errors.ErrorCodes) -> None:
        self.server.h2.reset_stream(stream, code)
        self.server.resets.add(stream)
        self._serve(functools.partial(self._see_reset, stream, code))

    def _see_reset(self, stream: int, code: h2.errors.ErrorCodes) -> None:
        text = f"RST_STREAM {ErrorCode(code).name}"
        if stream in self.unanswered():
            refused = code is h2.errors.ErrorCodes.REFUSED_STREAM and stream not in self._seen
            self._expect(stream, NotSent(text) if refused else NoAnswer(text, 1))

    def leave(self, last: int) -> None:
        """GOAWAY: nothing above `last` was or will be answered. By hand, because h2 would say nothing more."""
        self.last = last
        self.insert(goaway(last))
        self._news.append((self._written, functools.partial(self._see_goaway, last)))

    def _see_goaway(self, last: int) -> None:
        self._lost = "lost after GOAWAY NO_ERROR"
        for stream in self.unanswered():
            if stream > last:
                self._expect(stream, NotSent("GOAWAY NO_ERROR"))

    # --- the model

    def unanswered(self) -> list[int]:
        return [stream for stream, (batch, row) in self.streams.items() if row not in self._expected[batch]]

    def _expect(self, stream: int, answer: Answer) -> None:
        batch, row = self.streams[stream]
        self._expected[batch][row] = answer

    def _collect(self, batch: Batch) -> None:
        found = self.found[self.batches.index(batch)]
        for row, answer in batch.page:
            assert row not in found, "a row answered twice"
            found[row] = answer._replace(headers=list(answer.headers)) if isinstance(answer, Response) else answer
        batch.page = []

    def check(self) -> None:
        assert self.found == self._expected
        assert self.connection.open_count == len(self.unanswered())

    def check_requests(self) -> None:
        """What the server has of each request is what was asked."""
        for stream, headers in self.server.headers.items():
            number, row = self.streams[stream]
            asked = self.batches[number].requests.rows[row]
            template = TEMPLATES[asked.template]
            whole = template.body or b"" if asked.body is None else asked.body
            assert headers == [
                (b":method", template.method),
                (b":scheme", b"https"),
                (b":authority", template.authority),
                (b":path", asked.path),
                *template.headers,
                *asked.headers,
                *([(b"content-length", b"%d" % len(whole))] if whole else []),
            ]
            assert whole.startswith(self.server.bodies[stream])
            assert stream not in self.server.whole or self.server.bodies[stream] == whole
