"""Hostile servers (RFC 9113 §10.5): each flood ends the session or is borne, with little memory and little time.

The client reads 64 KiB at a time, its owner writes nothing, and no second passes: the worst case for every buffer.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Final

import pytest

from pushrpc.exchange import Response
from pushrpc.transport import frames as f
from pushrpc.transport import http2, patience
from pushrpc.transport.batch import Batch
from pushrpc.transport.frames import ErrorCode
from pushrpc.transport.headers import RESPONSE_HEADERS_MAX
from tests.transport.peer import Peer, answers, block, goaway, reset, response, statuses, window_update
from tests.transport.requests import TEMPLATE, requests

OPEN = f.END_HEADERS
WHOLE = f.END_HEADERS | f.END_STREAM

# What a flood of any kind may cost us: the responses that are held, one read, and what Python adds to both.
MEMORY_BYTES_MAX: Final = 12_000_000
CPU_S_MAX: Final = 10.0  # most need a hundredth of it; tracing memory makes it four times slower than it is

FLOOD_BYTES: Final = 256_000_000
READ_BYTES: Final = 65_536

ROWS = http2.STREAMS_MAX


def opened(count: int = 4, body: bytes | None = None) -> tuple[Peer, Batch]:
    """Streams 1, 3, … are open; 3 has been answered, so it is closed."""
    peer, batch = Peer(), Batch(requests(count, body, TEMPLATE._replace(body=None)))
    while peer.start(batch):
        pass
    assert batch.taken == count
    peer.send(response(3))
    return peer, batch


def attack(peer: Peer, unit: bytes) -> int:
    """Sends the unit again and again until the session has ended or 256 MB have been borne; says how many bytes."""
    flood = unit * max(1, READ_BYTES // len(unit))
    sent, began = 0, time.process_time()
    tracemalloc.start()
    try:
        while not peer.connection.ended and sent < FLOOD_BYTES:
            for at in range(0, len(flood), READ_BYTES):
                peer.connection.receive(flood[at : at + READ_BYTES])
            sent += len(flood)
            assert time.process_time() - began < CPU_S_MAX
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES_MAX
    finally:
        tracemalloc.stop()
    return sent


def on_every_stream(written: Callable[[int], bytes]) -> bytes:
    return b"".join(written(stream) for stream in range(5, 2 * ROWS, 2))


PING = f.frame(f.PING, 0, 0, bytes(8))
CALM = ErrorCode.ENHANCE_YOUR_CALM
UNFINISHED = f.frame(f.HEADERS, 0, 1, b"\x88")


@pytest.mark.parametrize(
    ("unit", "code"),
    [
        pytest.param(PING, CALM, id="PING"),
        pytest.param(f.frame(f.PING, f.ACK, 0, bytes(8)), CALM, id="PING ACK"),
        pytest.param(f.settings({}), CALM, id="SETTINGS"),
        pytest.param(f.frame(f.SETTINGS, f.ACK, 0), CALM, id="SETTINGS ACK"),
        pytest.param(f.settings({0: 1}) * 2, CALM, id="SETTINGS unknown"),
        pytest.param(f.settings(dict.fromkeys(range(100, 133), 1)), CALM, id="SETTINGS of many"),
        pytest.param(f.settings({f.HEADER_TABLE_SIZE: 0}) + f.settings({f.HEADER_TABLE_SIZE: 4_096}), CALM, id="table"),
        pytest.param(f.frame(f.HEADERS, OPEN, 1, b"\x88") + f.frame(f.DATA, 0, 1) * 999, CALM, id="HEADERS again"),
        pytest.param(f.frame(f.PRIORITY, 0, 1, bytes(5)), CALM, id="PRIORITY"),
        pytest.param(f.frame(0x77, 0, 0, b"?"), CALM, id="unknown type"),
        pytest.param(f.frame(0x77, 0xFF, 9_999, bytes(16_384)), CALM, id="unknown type, large"),
        pytest.param(reset(3, ErrorCode.CANCEL), CALM, id="RST_STREAM of a closed stream"),
        pytest.param(f.frame(f.DATA, 0, 3), CALM, id="DATA for a closed stream"),
        pytest.param(f.frame(f.HEADERS, WHOLE, 3, b"\x88"), CALM, id="HEADERS for a closed stream"),
        pytest.param(goaway(2**31 - 1, debug=b"d" * 16_000), CALM, id="GOAWAY"),
        pytest.param(window_update(0, 1), CALM, id="WINDOW_UPDATE of the connection"),
        pytest.param(window_update(1, 1), CALM, id="WINDOW_UPDATE of a stream"),
        pytest.param(window_update(0, 2**30), ErrorCode.FLOW_CONTROL_ERROR, id="WINDOW_UPDATE past the end"),
        pytest.param(f.frame(f.HEADERS, OPEN, 1, block((":status", "103"))), CALM, id="1xx"),
        pytest.param(f.frame(f.HEADERS, OPEN, 1, b"\x08\x03103" + b"\xa0" * 120), CALM, id="1xx, many headers"),
        pytest.param(
            f.frame(f.HEADERS, OPEN, 1, block((":status", "103"), ("a", "b" * 16_000))), CALM, id="1xx, large"
        ),
        pytest.param(f.frame(f.PUSH_PROMISE, 4, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR, id="PUSH_PROMISE"),
        pytest.param(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", ErrorCode.FRAME_SIZE_ERROR, id="frame of 16 MB"),
        pytest.param(b"\x00" * 9, ErrorCode.PROTOCOL_ERROR, id="zeros"),
    ],
)
def test_a_flood_of_one_frame_ends_the_session(unit: bytes, code: ErrorCode) -> None:
    peer, batch = opened()
    attack(peer, unit)
    assert len(peer.connection._outbox) < 1_100, "nothing but the GOAWAY is left to write"
    assert peer.error() is code
    assert len(answers(batch)) == 4


@pytest.mark.parametrize(
    "flood",
    [
        PING,
        f.settings({}),
        f.frame(f.DATA, 0, 1),
        f.frame(f.DATA, f.PADDED, 1, b"\x07" + bytes(7)),
        goaway(2**31 - 1),
        window_update(0, 1),
    ],
)
def test_what_a_lively_server_does_in_a_second_is_borne_every_second(flood: bytes) -> None:
    peer, _ = opened()
    peer.send(f.frame(f.HEADERS, OPEN, 1, b"\x88"))
    peer.connection.tick()
    for _ in range(3):
        peer.send(flood * patience.IDLE_FRAMES_MAX)
        assert not peer.connection.ended
        assert len(peer.connection._outbox) <= 17 * patience.IDLE_FRAMES_MAX
        peer.read()
        peer.connection.tick()
    peer.send(flood * (patience.IDLE_FRAMES_MAX + 1))
    assert peer.error() is CALM


def test_window_updates_that_give_back_what_was_sent_are_no_flood() -> None:
    peer, total = Peer(), 0
    for _ in range(20):
        batch = Batch(requests(1_000, b"x"))
        while streams := peer.start(batch):
            total += len(streams)
            for stream in streams:
                peer.send(window_update(stream, 1), window_update(0, 1), response(stream))
    assert total == 20_000 and not peer.connection.ended


def test_late_answers_to_cancelled_streams_are_no_flood() -> None:
    peer, batch = Peer(), Batch(requests(ROWS, template=TEMPLATE._replace(body=None)))
    streams: list[int] = []
    while started := peer.start(batch):
        streams += started
    peer.connection.cancel(batch, "deadline")
    for stream in streams:
        peer.respond(stream, 200, b"{}")
    assert not peer.connection.ended and len(answers(batch)) == ROWS


def test_resets_without_any_response_are_a_flood() -> None:
    peer, count = Peer(), patience.RESETS_MAX + 1
    batch = Batch(requests(count, template=TEMPLATE._replace(body=None)))
    while not peer.connection.ended:
        streams = peer.start(batch)
        assert streams
        peer.send(*(reset(stream, ErrorCode.REFUSED_STREAM) for stream in streams))
    assert peer.error() is CALM
    assert len(answers(batch)) == count


# --- header blocks


@pytest.mark.parametrize("piece", [b"", b"x", b"x" * 16_384])
def test_a_header_block_without_end(piece: bytes) -> None:
    peer, _ = opened()
    peer.send(UNFINISHED)
    sent = attack(peer, f.frame(f.CONTINUATION, 0, 1, piece))
    assert peer.error() is CALM and sent <= 2 * READ_BYTES


def test_a_block_of_many_tiny_headers() -> None:
    """A byte on the wire is a header, so that 16 KiB would be ten thousand of them, each read slowly."""
    peer, batch = opened()
    attack(peer, f.frame(f.HEADERS, WHOLE, 1, b"\x8d" + b"\xa0" * (RESPONSE_HEADERS_MAX - 1)))
    assert statuses(batch.page)[0] == 404
    peer, batch = opened()
    attack(peer, f.frame(f.HEADERS, WHOLE, 1, b"\x8d" + b"\xa0" * RESPONSE_HEADERS_MAX))
    assert peer.error() is ErrorCode.COMPRESSION_ERROR


def test_the_same_in_a_200_is_read_late_and_has_no_headers() -> None:
    peer, batch = opened()
    peer.send(f.frame(f.HEADERS, WHOLE, 1, b"\x88" + b"\xa0" * 16_000))
    answer = answers(batch)[0]
    assert isinstance(answer, Response) and answer.status == 200 and list(answer.headers) == []


def test_a_bomb_needs_a_table_and_has_none() -> None:
    """One large header entered into the table, then named a thousand times by a byte each (CVE-2016-6581)."""
    peer, _ = opened()
    entered = b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4_000
    attack(peer, f.frame(f.HEADERS, WHOLE, 1, b"\x8d" + entered + b"\xbe" * 1_000))
    assert peer.error() is ErrorCode.COMPRESSION_ERROR


# --- unfinished responses


@pytest.mark.parametrize(
    "first",
    [b"\x88", b"\x88" + b"\xa0" * 16_000, b"\x8d" + b"\xa0" * 100, b"\x8d\x00\x01a\x7f\x81\x7c" + b"b" * 16_000],
    ids=["small", "200 with a bomb", "many headers", "large"],
)
def test_responses_that_never_end_on_every_stream(first: bytes) -> None:
    peer, batch = opened(ROWS)
    attack(peer, on_every_stream(lambda stream: f.frame(f.HEADERS, OPEN, stream, first)))
    attack(peer, on_every_stream(lambda stream: f.frame(f.DATA, 0, stream, b"x" * 1_000)))
    assert peer.error() in (CALM, ErrorCode.COMPRESSION_ERROR)
    assert len(answers(batch)) == ROWS


def test_what_is_held_of_unfinished_responses_has_one_bound() -> None:
    peer, batch = opened(ROWS)
    for stream in range(5, 2 * ROWS, 2):
        peer.send(f.frame(f.HEADERS, OPEN, stream, b"\x8d"))
    each = patience.HELD_BYTES_MAX // ROWS - 1
    peer.send(on_every_stream(lambda stream: f.frame(f.DATA, 0, stream, b"x" * each)))
    assert not peer.connection.ended and peer.connection._patience.held_bytes > 4_000_000
    for stream in range(5, ROWS, 2):
        peer.send(f.frame(f.DATA, f.END_STREAM, stream))
    assert peer.connection._patience.held_bytes < 2_200_000, "what has ended is no longer held"
    assert not peer.connection.ended and len(answers(batch)) == 499


def test_a_body_without_end_is_cut() -> None:
    peer, batch = opened()
    peer.send(f.frame(f.HEADERS, OPEN, 1, b"\x8d"))
    attack(peer, f.frame(f.DATA, 0, 1, b"x" * 16_384))
    answer = answers(batch)[0]
    assert isinstance(answer, Response) and (answer.status, len(answer.body)) == (404, http2.BODY_BYTES_MAX)
    assert peer.connection._patience.held_bytes == 0


def test_a_body_of_padding_is_a_flood() -> None:
    peer, _ = opened()
    peer.send(f.frame(f.HEADERS, OPEN, 1, b"\x8d"))
    attack(peer, f.frame(f.DATA, f.PADDED, 1, b"\xff" + bytes(255)))
    assert peer.error() is CALM


# --- our bodies


def test_windows_that_open_by_a_byte() -> None:
    """Each byte would cost a frame of its own (CVE-2019-9511)."""
    peer, batch = Peer({f.INITIAL_WINDOW_SIZE: 0}), Batch(requests(1, b"x" * 60_000))
    peer.start(batch)
    attack(peer, window_update(1, 1))
    assert peer.error() is CALM


def test_initial_windows_that_change_while_a_thousand_bodies_wait() -> None:
    peer, batch = Peer({f.INITIAL_WINDOW_SIZE: 0}), Batch(requests(ROWS, b"x" * 4_096))
    while peer.start(batch):
        pass
    began = time.process_time()
    one = f.settings({f.INITIAL_WINDOW_SIZE: 0})
    attack(peer, one)
    assert peer.error() is CALM and time.process_time() - began < 1
    peer, batch = Peer({f.INITIAL_WINDOW_SIZE: 0}), Batch(requests(ROWS, b"x" * 4_096))
    while peer.start(batch):
        pass
    attack(peer, f.frame(f.SETTINGS, 0, 0, one[f.HEADER_BYTES :] * f.SETTINGS_MAX))
    assert peer.error() is CALM and time.process_time() - began < 2


def test_a_connection_window_that_opens_by_a_byte_while_streams_are_shut() -> None:
    """A read for every byte, and each looks for a body that may go on."""
    peer, batch = Peer({f.INITIAL_WINDOW_SIZE: 0}), Batch(requests(ROWS, b"x" * 4_096))
    while peer.start(batch):
        pass
    began = time.process_time()
    while not peer.connection.ended:
        peer.send(window_update(0, 1))
    assert peer.error() is CALM and time.process_time() - began < 1


def test_goaways_while_a_thousand_requests_are_open() -> None:
    peer, _ = opened(ROWS)
    began = time.process_time()
    attack(peer, goaway(2**31 - 1))
    assert peer.error() is CALM and time.process_time() - began < 1
