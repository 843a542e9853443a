"""The HTTP/2 connection against the h2 library as its server: over any split of bytes nothing is lost or doubled."""

from __future__ import annotations

from typing import Any

import h2.errors
import h2.settings
import pytest
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from pushrpc.exchange import NoAnswer, NotSent, Requests, Response, Row
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


OK, ERROR, REFUSED, RESET, SILENT, TRAILERS = range(6)
FATES = st.lists(st.sampled_from([OK, OK, OK, ERROR, REFUSED, RESET, SILENT, TRAILERS]), min_size=12, max_size=40)


class Scripted(H2Server):
    """Row n ends as `fates[n]`."""

    def __init__(self, fates: list[int], settings: dict[SettingCodes, int]) -> None:
        super().__init__(self._answer, settings)
        self.fates = fates

    def _answer(self, stream: int) -> None:
        match self.fates[int(self.path(stream)[1:])]:
            case 0:
                self.respond(stream, 200, headers=[(b"apns-id", self.path(stream)[1:])])
            case 1:
                self.respond(stream, 410, b'{"reason":"Unregistered"}')
            case 2:
                self.h2.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
            case 3:
                self.h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            case 5:
                self.h2.send_headers(stream, [(b":status", b"103")])
                self.h2.send_headers(stream, [(b":status", b"200")])
                self.h2.send_data(stream, b"{", pad_length=3)
                self.h2.send_data(stream, b"}")
                self.h2.send_headers(stream, [(b"x-trailer", b"1")], end_stream=True)


EXPECTED: dict[int, Any] = {OK: 200, ERROR: 410, REFUSED: NotSent, RESET: NoAnswer, SILENT: NoAnswer, TRAILERS: 200}


@given(
    fates=FATES,
    sizes=st.lists(st.sampled_from([0, 1, 100, 3_000, 18_000]), min_size=40, max_size=40),
    streams=st.sampled_from([1, 2, 7, 100]),
    window=st.sampled_from([1_000, 65_535, 1_000_000]),
    new_window=st.sampled_from([90, 500, 65_535]),
    table=st.sampled_from([0, 150, 4_096]),
    piece=st.sampled_from([7, 100, 1_000, 100_000]),
    split=st.integers(0, 40),
)
@settings(max_examples=100, deadline=None)
def test_every_row_is_answered_once_and_rightly(
    fates: list[int],
    sizes: list[int],
    streams: int,
    window: int,
    new_window: int,
    table: int,
    piece: int,
    split: int,
) -> None:
    server = Scripted(
        fates,
        {
            SettingCodes.MAX_CONCURRENT_STREAMS: streams,
            SettingCodes.INITIAL_WINDOW_SIZE: window,
            SettingCodes.HEADER_TABLE_SIZE: table,
        },
    )
    rows = [Row(0, b"/%d" % n, [(b"n", b"%d" % n)], b"b" * sizes[n], (n,)) for n in range(len(fates))]
    batches = [Batch(Requests([TEMPLATE], part)) for part in (rows[:split], rows[split:])]
    wire = Wire(server, piece)
    wire.run()  # h2 takes an acknowledgement for that of the newest settings, so the first ones must be through
    wire.connection.start(batches[0])
    server.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: new_window})
    while any(batch.taken < len(batch.requests.rows) for batch in batches):
        wire.run(*batches)
        if wire.connection.room == 0:  # every free stream is one that never gets its answer: what a deadline ends
            for batch in batches:
                wire.connection.cancel(batch, "deadline")
    wire.run()
    wire.connection.lost("the end")
    found = answers(batches[0]) | {row + len(rows[:split]): answer for row, answer in answers(batches[1]).items()}
    assert sorted(found) == list(range(len(fates)))
    for row, fate in enumerate(fates):
        answer = found[row]
        assert EXPECTED[fate] == (answer.status if isinstance(answer, Response) else type(answer))
        if fate == OK:
            assert isinstance(answer, Response) and answer.header(b"apns-id") == b"%d" % row
    assert all(server.bodies[s] == b"b" * sizes[int(server.path(s)[1:])] for s in server.whole)


@given(
    count=st.integers(1, 60), served=st.integers(0, 60), last=st.integers(0, 60), piece=st.sampled_from([1, 50, 10_000])
)
@settings(max_examples=60, deadline=None)
def test_goaway_at_any_moment_sorts_every_row(count: int, served: int, last: int, piece: int) -> None:
    """Rows above the last id are NotSent, answered ones have their response, those in between are NoAnswer."""
    served, last = min(served, count), min(last, count)
    served = min(served, last)
    server = H2Server(lambda stream: None)
    wire, batch = Wire(server, piece), Batch(requests(count))
    wire.run(batch)
    for stream in server.whole[:served]:
        server.respond(stream, 200)
    server.h2.close_connection(last_stream_id=2 * last - 1 if last else 0)
    wire.shuttle()
    wire.connection.lost("closed")
    kinds = [type(answer) for _, answer in sorted(answers(batch).items())]
    assert kinds == [Response] * served + [NoAnswer] * (last - served) + [NotSent] * (count - last)
