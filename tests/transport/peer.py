"""The server's side of a connection by hand: reads our frames, and writes any it likes, illegal ones included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import hpack

from pushrpc.exchange import Answer
from pushrpc.transport import frames as f
from pushrpc.transport.batch import Batch
from pushrpc.transport.http2 import Connection


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


class Peer:
    """Starts with the SETTINGS already exchanged, unless `settings` is None."""

    def __init__(self, settings: Mapping[int, int] | None = MappingProxyType({})) -> None:
        self.connection = Connection(7)
        self._headers = hpack.Decoder()
        hello = self.connection.data_to_send()
        assert hello.startswith(f.PREFACE)
        self.hello = read_frames(hello[len(f.PREFACE) :])
        if settings is not None:
            self.send(f.settings(settings))
            assert self.take(f.SETTINGS) == [Frame(f.SETTINGS, f.ACK, 0, b"")]

    def send(self, *written: bytes) -> None:
        self.connection.receive(b"".join(written))

    def read(self) -> list[Frame]:
        """Our frames since the last call."""
        return read_frames(self.connection.data_to_send())

    def take(self, kind: int) -> list[Frame]:
        """Our frames of one kind since the last call; the others are dropped."""
        return [frame for frame in self.read() if frame.kind == kind]

    def headers(self, frame: Frame) -> list[tuple[bytes, bytes]]:
        """Must be called for every HEADERS frame, in order, as any HPACK reader must."""
        return [(bytes(n), bytes(v)) for n, v in self._headers.decode(frame.payload, raw=True)]

    def start(self, batch: Batch) -> list[int]:
        """Starts rows and reads them; the streams that were opened."""
        self.connection.start(batch)
        return [frame.stream for frame in self.read() if frame.kind == f.HEADERS]

    def respond(self, stream: int, status: int = 200, body: bytes = b"", *headers: tuple[str, str]) -> None:
        self.send(response(stream, status, body, *headers))

    def error(self) -> f.ErrorCode:
        """The code with which we ended the connection."""
        assert self.connection.ended
        (goaway,) = self.take(f.GOAWAY)
        return f.ErrorCode(int.from_bytes(goaway.payload[4:8]))


def block(*headers: tuple[str, str]) -> bytes:
    """A header block as a peer without a dynamic table writes it."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    encoder.encode([])
    return encoder.encode(list(headers))


def response(stream: int, status: int = 200, body: bytes = b"", *headers: tuple[str, str]) -> bytes:
    flags = f.END_HEADERS if body else f.END_HEADERS | f.END_STREAM
    written = f.frame(f.HEADERS, flags, stream, block((":status", str(status)), *headers))
    return written + f.frame(f.DATA, f.END_STREAM, stream, body) if body else written


def reset(stream: int, code: f.ErrorCode) -> bytes:
    return f.frame(f.RST_STREAM, 0, stream, code.to_bytes(4))


def goaway(last: int, code: f.ErrorCode = f.ErrorCode.NO_ERROR, debug: bytes = b"") -> bytes:
    return f.frame(f.GOAWAY, 0, 0, last.to_bytes(4) + code.to_bytes(4) + debug)


def window_update(stream: int, increment: int) -> bytes:
    return f.frame(f.WINDOW_UPDATE, 0, stream, increment.to_bytes(4))


def read_frames(data: bytes) -> list[Frame]:
    found, at = [], 0
    while at < len(data):
        high, low, kind, flags, stream = f.unpack_header(data, at)
        end = at + f.HEADER_BYTES + (high << 16 | low)
        found.append(Frame(kind, flags, stream, data[at + f.HEADER_BYTES : end]))
        at = end
    assert at == len(data)
    return found


def answers(batch: Batch) -> dict[int, Answer]:
    """What the rows came to so far; fails when one was answered twice."""
    found = dict(batch.page)
    assert len(found) == len(batch.page)
    return found


def statuses(page: Sequence[tuple[int, Answer]]) -> dict[int, object]:
    """Row -> status, or the name of the failure."""
    return {row: getattr(answer, "status", type(answer).__name__) for row, answer in page}
