"""The HTTP/2 connection against the h2 library as its server: settings, windows and tables that must be obeyed."""

from __future__ import annotations

import pytest
from h2.settings import SettingCodes

from pushrpc.exchange import Response
from pushrpc.transport.batch import Batch
from pushrpc.transport.http2 import Connection
from tests.transport.h2_server import H2Server
from tests.transport.peer import answers
from tests.transport.requests import TEMPLATE, requests


class Wire:
    """A connection and an h2 server with bytes shuttled between them in pieces of any size."""

    def __init__(self, server: H2Server, piece: int = 1 << 20) -> None:
        self.connection = Connection(1)
        self.server = server
        self.piece = piece

    def shuttle(self) -> bool:
        """Moves everything both ways once; false when there was nothing."""
        up, down = self.connection.data_to_send(), self.server.data_to_send()
        for at in range(0, len(up), self.piece):
            self.server.receive(up[at : at + self.piece])
        for at in range(0, len(down), self.piece):
            self.connection.receive(down[at : at + self.piece])
        return bool(up or down)

    def run(self, *batches: Batch) -> None:
        """Until nothing moves any more."""
        while self.shuttle() or any(self.connection.start(batch) for batch in batches):
            pass


def test_a_thousand_rows_and_the_header_table_stays_in_step() -> None:
    server = H2Server(lambda stream: server.respond(stream, 200, headers=[(b"apns-id", server.path(stream)[1:])]))
    wire, batch = Wire(server), Batch(requests(1_000))
    wire.run(batch)
    found = answers(batch)
    assert len(found) == 1_000
    for row, answer in found.items():
        assert isinstance(answer, Response) and answer.status == 200 and answer.header(b"apns-id") == b"%d" % row
    stream = server.whole[-1]
    assert server.headers[stream] == [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"push.test"),
        (b":path", b"/999"),
        *TEMPLATE.headers,
        (b"apns-id", b"id-999"),
        (b"content-length", b"10"),
    ]
    assert server.bodies[stream] == TEMPLATE.body


def test_apples_single_stream_that_becomes_a_thousand() -> None:
    most_open = 0

    def answer(stream: int) -> None:
        nonlocal most_open
        most_open = max(most_open, server.h2.open_inbound_streams)
        server.respond(stream, 200)
        if len(server.whole) == 1:
            server.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1_000})

    server = H2Server(answer, {SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    wire, batch = Wire(server), Batch(requests(300))
    wire.shuttle()
    wire.shuttle()
    assert wire.connection.room == 1
    wire.run(batch)
    assert {type(a) for a in answers(batch).values()} == {Response} and most_open > 1


def test_tiny_windows_move_whole_bodies() -> None:
    server = H2Server(lambda stream: server.respond(stream, 200), {SettingCodes.INITIAL_WINDOW_SIZE: 70})
    wire, batch = Wire(server), Batch(requests(50, b"x" * 4_096))
    wire.run(batch)
    assert len(answers(batch)) == 50
    assert {server.bodies[s] for s in server.whole} == {b"x" * 4_096}


def test_large_bodies_come_whole_and_windows_are_returned() -> None:
    server = H2Server(lambda stream: server.respond(stream, 500, b"y" * 16_000))
    wire, batch = Wire(server), Batch(requests(300))
    wire.run(batch)
    assert {a.body for a in answers(batch).values() if isinstance(a, Response)} == {b"y" * 16_000}


@pytest.mark.parametrize("size", [0, 100, 4_096, 65_536])
def test_a_header_table_of_any_size(size: int) -> None:
    server = H2Server(lambda stream: server.respond(stream, 200), {SettingCodes.HEADER_TABLE_SIZE: size})
    wire, batch = Wire(server), Batch(requests(10))
    wire.run(batch)
    server.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: 50})
    again = Batch(requests(10))
    wire.run(again)
    assert len(answers(batch)) == len(answers(again)) == 10
    assert all(dict(h)[b"authorization"] == b"bearer t" for h in server.headers.values())
