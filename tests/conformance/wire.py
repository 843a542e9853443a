"""What the client has read and written, so that a cell proves that it made what its row says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from unittest import mock

from pushrpc.transport import frames as f
from pushrpc.transport.batch import Batch
from pushrpc.transport.http2 import Connection


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    length: int


class Written(NamedTuple):
    """`first` is the payload's first octet, 0 when it has none."""

    kind: int
    flags: int
    length: int
    first: int


class Wire(list[Frame]):
    """Frames of all connections, in the order they were read; `written` are ours."""

    def __init__(self) -> None:
        self.written: list[Written] = []

    def after_our_ack(self) -> list[Written]:
        """What was written since the last SETTINGS of a server were acknowledged: the new values bind all of it."""
        acks = [place for place, (kind, flags, *_) in enumerate(self.written) if kind == f.SETTINGS and flags & f.ACK]
        return self.written[acks[-1] + 1 :]

    def of(self, kind: int, flags: int = 0) -> list[Frame]:
        """Those that have these flags, at least."""
        return [frame for frame in self if frame.kind == kind and frame.flags & flags == flags]


@contextmanager
def tapped() -> Iterator[Wire]:
    """Every connection of ours is listened to."""
    wire, rests = Wire(), dict[Connection, bytes]()
    receive, data_to_send = Connection.receive, Connection.data_to_send

    def look(connection: Connection) -> bytes:
        data = data_to_send(connection)
        at = len(f.PREFACE) if data.startswith(f.PREFACE) else 0
        while at < len(data):  # we write whole frames
            high, low, kind, flags, _ = f.unpack_header(data, at)
            length = high << 16 | low
            at += f.HEADER_BYTES + length
            wire.written.append(Written(kind, flags, length, data[at - length] if length else 0))
        return data

    def listen(connection: Connection, data: bytes) -> Sequence[Batch]:
        rest, at = rests.get(connection, b"") + data, 0
        while at + f.HEADER_BYTES <= len(rest):
            high, low, kind, flags, stream = f.unpack_header(rest, at)
            length = high << 16 | low
            if at + f.HEADER_BYTES + length > len(rest):
                break
            wire.append(Frame(kind, flags, stream, length))
            at += f.HEADER_BYTES + length
        rests[connection] = rest[at:]
        return receive(connection, data)

    with mock.patch.multiple(Connection, receive=listen, data_to_send=look):
        yield wire
