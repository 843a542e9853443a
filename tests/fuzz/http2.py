"""One fuzz input, played against the HTTP/2 client: what may come of it whatever a server sends, and however split.

An input is a list of steps, each an opcode and its operands, so that mutations of bytes are mutations of frames and
stored inputs need no fuzzer to be replayed. Frames aim at streams that exist; raw bytes may be anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from enum import IntEnum
from types import ModuleType
from typing import Any, Final, NamedTuple
from unittest import mock

from pushrpc.exchange import Answer, NoAnswer, NotSent, Requests, Response, Row
from pushrpc.transport import frames as f
from pushrpc.transport import headers, http2, patience
from pushrpc.transport.batch import Batch
from pushrpc.transport.http2 import Connection
from tests.transport.peer import block, goaway, read_frames, reset, window_update
from tests.transport.requests import TEMPLATE

# Bounds low enough for a short input to reach them; each is read when it is applied.
LOWERED: Final[Sequence[tuple[ModuleType, Mapping[str, Any]]]] = (
    (http2, {"STREAMS_MAX": 12, "BODY_BYTES_MAX": 1_500, "RECEIVE_WINDOW": 70_000}),
    (patience, {"IDLE_FRAMES_MAX": 60, "RESETS_MAX": 8, "HELD_BYTES_MAX": 4_000}),
    (headers, {"RESPONSE_HEADERS_BYTES_MAX": 1_200, "RESPONSE_HEADERS_MAX": 25}),
    (f, {"BLOCK_BYTES_MAX": 1_200, "CONTINUATIONS_MAX": 6, "SETTINGS_MAX": 12}),
)

STEPS_MAX: Final = 400
CHUNK_BYTES_MAX: Final = 40_000  # of one repeated frame

BODIES: Final = (None, b"", b"x", b"y" * 200, b"z" * 20_000)
TEMPLATES: Final = (TEMPLATE, TEMPLATE._replace(headers=[(b"x-other", b"o" * 90), *TEMPLATE.headers], body=None))
NUMBERS: Final = (0, 1, 2, 7, 100, 16_384, 65_535, 2**24 - 1, 2**30, 2**31 - 1, 2**31, 2**32 - 1)
BLOCKS: Final = (
    b"\x88",
    block((":status", "200"), ("apns-id", "a")),
    block((":status", "410"), ("apns-id", "b"), ("retry-after", "5")),
    block((":status", "503")),
    block((":status", "103"), ("link", "l" * 60)),
    block((":status", "101")),
    block(("x-trailer", "t")),
    block(("x", "y"), (":status", "200")),
    block((":status", "200"), (":status", "200")),
    block((":status", "2x0")),
    b"",
    b"\x20\x88",  # a table size of 0, as announced
    b"\x3f\xe1\x1f\x88",  # a table size that nobody allowed
    b"\x88\xff\xff\xff\xff\xff\xff",  # an index without end
    b"\x88\xbe",  # an index of the empty table
    b"\x88\x40\x01a\x01b\xbe",  # the same, after an insertion
    b"\x8d" + b"\xa0" * 20,
    b"\x8d" + b"\xa0" * 200,  # a byte for each header: inflates past the bound
)


class Kind(IntEnum):
    """What happens in a step; the first byte of each, modulo their number."""

    RAW = 0
    FRAME = 1
    HEADERS = 2
    CONTINUATION = 3
    DATA = 4
    SETTINGS = 5
    WINDOW_UPDATE = 6
    RST_STREAM = 7
    GOAWAY = 8
    REPEAT = 9
    START = 10
    TAKE = 11
    CANCEL = 12
    TICK = 13
    PING = 14
    CLOSE = 15


class Step(NamedTuple):
    """RAW bytes for the client, or something its owner does."""

    kind: Kind
    data: bytes = b""
    requests: Requests = Requests([], [])
    number: int = 0


class Source:
    """Reads an input from its start; past its end everything is zero."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def more(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        self._at += size
        return found

    def byte(self) -> int:
        return int.from_bytes(self.take(1))

    def number(self) -> int:
        """One at the edge of some rule, or any of 32 bits."""
        choice = self.byte()
        return NUMBERS[choice] if choice < len(NUMBERS) else int.from_bytes(self.take(4))


class Client:
    """A connection with its owner, who takes away what is answered as the pool does. Fails at the first untruth."""

    def __init__(self) -> None:
        self.connection = Connection(1)
        self.batches: list[Batch] = []
        self.found: list[dict[int, Answer]] = []  # by batch
        self.sent = b""
        self.received = b""
        self.timed = False  # from here on, what is sent and started depends on when bytes came
        self.incomparable = False
        self._streams: dict[int, tuple[int, int]] = {}
        self._asked_bytes = 0

    def play(self, step: Step, pieces: Iterator[int] | None = None) -> None:
        connection = self.connection
        match step.kind:
            case Kind.RAW:
                self._receive(step.data, pieces)
            case Kind.START:
                self._start(step.requests)
            case Kind.TAKE:
                self._take()
            case Kind.CANCEL if self.batches:
                at = step.number % len(self.batches)
                connection.cancel(self.batches[at], "cancelled")
                self._collect(self.batches[at])
            case Kind.TICK:
                connection.tick()
            case Kind.PING:
                connection.ping()
                self._asked_bytes += 17
            case Kind.CLOSE:
                self._woken(connection.close("closed") if step.number % 2 else connection.lost("lost"))
        self._check()

    def _receive(self, data: bytes, pieces: Iterator[int] | None) -> None:
        self.timed = self.timed or bool(self.connection._uploads.waiting)
        self.received += data
        at, scale = 0, 1 + len(data) // 1_000
        while at < len(data):
            size = next(pieces) * scale if pieces else len(data)
            self._woken(self.connection.receive(data[at : at + size]))
            at += size

    def _start(self, requests: Requests) -> None:
        batch, connection = Batch(requests), self.connection
        self.batches.append(batch)
        self.found.append({})
        first, room = connection._next_stream, connection.room
        started = connection.start(batch)
        assert started == batch.taken <= min(room, len(requests.rows))
        self.incomparable = self.incomparable or (self.timed and started > 0)
        for row in range(started):
            self._streams[first + 2 * row] = len(self.batches) - 1, row
            body = requests.rows[row].body or requests.templates[requests.rows[row].template].body or b""
            self._asked_bytes += 1_000 + len(requests.rows[row].path) + 10 * len(body)

    def _take(self) -> None:
        sent = self.connection.data_to_send()
        read_frames(sent.removeprefix(f.PREFACE))  # whole frames only
        assert self.connection.data_to_send() == b""
        self.sent += sent

    def _woken(self, batches: object) -> None:
        """Whoever is not told would wait for ever."""
        assert isinstance(batches, list | tuple)
        for batch in batches:
            assert batch.page, "woken for nothing"
            self._collect(batch)
        assert not any(batch.page for batch in self.batches), "answers that nobody is told of"

    def _collect(self, batch: Batch) -> None:
        found = self.found[self.batches.index(batch)]
        for row, answer in batch.page:
            assert row not in found, "a row answered twice"
            assert 0 <= row < batch.taken
            found[row] = answer
            if isinstance(answer, Response):
                assert answer.status >= 200 and len(answer.body) <= http2.BODY_BYTES_MAX and answer.session == 1
                assert sum(len(n) + len(v) + 32 for n, v in answer.headers) <= headers.RESPONSE_HEADERS_BYTES_MAX
        batch.page = []

    def _check(self) -> None:
        connection, uploads = self.connection, self.connection._uploads
        answered = sum(len(found) for found in self.found)
        assert answered + connection.open_count == sum(batch.taken for batch in self.batches), "a row is lost"
        assert not (connection.ended and connection.open_count), "open after the end"
        assert connection.open_count <= http2.STREAMS_MAX and uploads.waiting.keys() <= self._open()
        assert not connection._open.keys() & connection._partial.keys()
        assert uploads.window >= 0 and (connection.ended or uploads.window <= f.WINDOW_MAX)
        assert all(upload.window <= f.WINDOW_MAX for upload in uploads.waiting.values())
        assert len(connection._inbox) < f.HEADER_BYTES + f.FRAME_SIZE_DEFAULT
        assert len(connection._pieces._block) <= f.BLOCK_BYTES_MAX + f.FRAME_SIZE_DEFAULT
        held = sum(partial.held for partial in connection._partial.values())
        assert sum(len(partial.body) for partial in connection._partial.values()) <= held
        assert held == connection._patience.held_bytes <= patience.HELD_BYTES_MAX
        assert len(connection._outbox) <= 1_000 + self._asked_bytes + 2 * len(self.received)
        assert connection.ended or connection._patience.idle_frames <= patience.IDLE_FRAMES_MAX
        assert connection.ended or connection._patience.resets <= patience.RESETS_MAX

    def _open(self) -> set[int]:
        return {*self.connection._open, *self.connection._partial}

    def check_end(self) -> None:
        """After its end every row has one answer, and NotSent is said only of what was surely not processed."""
        assert self.connection.ended and self.connection.open_count == 0 and not self.connection._uploads.waiting
        left = {frame.stream for frame in read_frames(self.sent.removeprefix(f.PREFACE)) if frame.kind == f.HEADERS}
        refused, last = _told(self.received)
        for stream, (at, row) in self._streams.items():
            answer = self.found[at][row]
            if isinstance(answer, NotSent):
                assert stream not in left or stream in refused or stream > last, "sent, and said not to be"

    def result(self) -> list[object]:
        """What must not depend on how the bytes were split."""
        connection = self.connection
        answers = [[(row, _plain(answer)) for row, answer in found.items()] for found in self.found]
        state = connection.ended, connection.draining, connection.ready, connection.ping_open, connection.worked
        return [answers, state, b"" if self.timed else self.sent]

    def overflowed(self) -> bool:
        """A window past its end: whether bytes left in between is a matter of time."""
        return any(
            "2^31-1" in text
            for text in (
                self.connection.ended,
                *(a.detail for found in self.found for a in found.values() if isinstance(a, NoAnswer)),
            )
        )


def _plain(answer: Answer) -> object:
    return (answer.status, list(answer.headers), answer.body) if isinstance(answer, Response) else answer


def _told(received: bytes) -> tuple[set[int], int]:
    """The streams that the server refused before it answered, and the least last id of its GOAWAYs."""
    refused, begun, last, at = set(), set(), f.STREAM_ID_MAX, 0
    while at + f.HEADER_BYTES <= len(received):
        high, low, kind, flags, stream = f.unpack_header(received, at)
        at += f.HEADER_BYTES
        payload = received[at : at + (high << 16 | low)]
        at += high << 16 | low
        stream &= f.STREAM_ID_MAX
        if kind == f.HEADERS and flags == f.END_HEADERS and payload[:1] == b"\x88":
            begun.add(stream)
        elif kind == f.RST_STREAM and payload == f.ErrorCode.REFUSED_STREAM.to_bytes(4):
            refused |= {stream} - begun
        elif kind == f.GOAWAY and len(payload) >= 8:
            last = min(last, int.from_bytes(payload[:4]) & f.STREAM_ID_MAX)
    return refused, last


def _stream(source: Source, client: Client) -> int:
    """Mostly one that was opened; else the connection, an even one, one never opened, or the highest."""
    choice, opened = source.byte(), client.connection._next_stream // 2
    if choice >= 0xF0:
        return (0, 2, client.connection._next_stream, f.STREAM_ID_MAX)[choice % 4]
    return 2 * (choice % opened) + 1 if opened else 1


def _written(kind: Kind, source: Source, client: Client) -> bytes:
    """A server's next bytes."""
    match kind:
        case Kind.FRAME:
            frame_kind, flags, stream = source.byte(), source.byte(), _stream(source, client)
            return f.frame(frame_kind, flags, stream, source.take(source.byte()))
        case Kind.HEADERS | Kind.CONTINUATION:
            flags, stream, choice = source.byte(), _stream(source, client), source.byte()
            payload = BLOCKS[choice] if choice < len(BLOCKS) else source.take(source.byte())
            if choice % 2 and choice < len(BLOCKS):
                flags &= ~(f.PADDED | f.HAS_PRIORITY)
            return f.frame(f.HEADERS if kind is Kind.HEADERS else f.CONTINUATION, flags, stream, payload)
        case Kind.DATA:
            return f.frame(f.DATA, source.byte(), _stream(source, client), bytes([source.byte()]) * (8 * source.byte()))
        case Kind.SETTINGS:
            pairs = [(source.byte() % 8, source.number()) for _ in range(source.byte() % 40)]
            return f.frame(f.SETTINGS, 0, 0, b"".join(key.to_bytes(2) + value.to_bytes(4) for key, value in pairs))
        case Kind.WINDOW_UPDATE:
            return window_update(_stream(source, client), source.number())
        case Kind.RST_STREAM:
            return reset(_stream(source, client), f.ErrorCode(source.byte() % len(f.ErrorCode)))
        case Kind.GOAWAY:
            return goaway(_stream(source, client), f.ErrorCode(source.byte() % len(f.ErrorCode)), source.take(4))
        case _:
            return source.take(source.byte())


def _steps(source: Source, client: Client) -> Iterator[Step]:
    """The steps of an input, each told after the one before has been played, because frames aim at open streams."""
    last = b""
    if source.byte() % 8:
        yield Step(Kind.RAW, f.settings({}))
    while source.more:
        match kind := Kind(source.byte() % len(Kind)):
            case Kind.START:
                choice, count = source.byte(), source.byte() % 16
                body, path = BODIES[choice % len(BODIES)], b"/%d" + b"p" * (20_000 if choice >= 0xF0 else 0)
                rows = [Row(n % len(TEMPLATES), path % n, [(b"n", b"%d" % n)], body, (n,)) for n in range(count)]
                yield Step(kind, requests=Requests(TEMPLATES, rows))
            case Kind.TAKE | Kind.TICK | Kind.PING:
                yield Step(kind)
            case Kind.CANCEL | Kind.CLOSE:
                yield Step(kind, number=source.byte())
            case Kind.REPEAT:
                yield Step(Kind.RAW, (last * source.byte())[:CHUNK_BYTES_MAX])
            case _:
                last = _written(kind, source, client)
                yield Step(Kind.RAW, last)


@contextmanager
def lowered_bounds() -> Iterator[None]:
    with ExitStack() as stack:
        for module, bounds in LOWERED:
            stack.enter_context(mock.patch.multiple(module, **bounds))
        yield


def _cycle(sizes: bytes) -> Iterator[int]:
    while True:
        for size in sizes:
            yield size % 40 + 1


def play(data: bytes) -> Client:
    """Plays an input twice: with its chunks whole, and cut at the places that its first bytes say."""
    source = Source(data)
    pieces = _cycle(source.take(3) or b"\x00")
    with lowered_bounds():
        whole, split, script = Client(), Client(), []
        for step, _ in zip(_steps(source, whole), range(STEPS_MAX), strict=False):
            whole.play(step)
            script.append(step)
        end = [Step(Kind.TAKE), Step(Kind.CLOSE), Step(Kind.TAKE)]
        for step in end:
            whole.play(step)
        whole.check_end()
        for step in script + end:
            split.play(step, pieces)
        split.check_end()
        if not (whole.incomparable or whole.overflowed() or split.overflowed()):
            assert whole.result() == split.result(), "answers depend on how the bytes were split"
    return whole
