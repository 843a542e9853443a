"""What the client has read from the wire, so that a cell proves that it made what its row says."""

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


class Wire(list[Frame]):
    """Frames of all connections, in the order they were read."""

    def of(self, kind: int, flags: int = 0) -> list[Frame]:
        """Those that have these flags, at least."""
        return [frame for frame in self if frame.kind == kind and frame.flags & flags == flags]


@contextmanager
def tapped() -> Iterator[Wire]:
    """Every connection of ours is listened to."""
    wire, rests = Wire(), dict[Connection, bytes]()
    receive = Connection.receive

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

    with mock.patch.object(Connection, "receive", listen):
        yield wire
