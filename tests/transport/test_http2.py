"""The HTTP/2 connection against hand-made frames: what RFC 9113 asks of a client, rule by rule."""

from __future__ import annotations

import pytest

from pushrpc.exchange import NoAnswer, NotSent, Requests, Response, Row
from pushrpc.transport import frames as f
from pushrpc.transport import http2
from pushrpc.transport.batch import Batch
from pushrpc.transport.frames import ErrorCode
from tests.transport.peer import (
    Frame,
    Peer,
    answers,
    block,
    goaway,
    read_frames,
    reset,
    response,
    statuses,
    window_update,
)
from tests.transport.requests import TEMPLATE, requests

WHOLE = f.END_HEADERS | f.END_STREAM


# --- opening, settings, streams


def test_hello_is_preface_settings_and_a_wider_window() -> None:
    settings, window = Peer(None).hello
    values = dict(f.read_settings(settings.payload))
    assert (settings.kind, settings.flags, settings.stream) == (f.SETTINGS, 0, 0)
    assert values[f.HEADER_TABLE_SIZE] == 0 and values[f.ENABLE_PUSH] == 0
    assert window == Frame(f.WINDOW_UPDATE, 0, 0, (http2.RECEIVE_WINDOW - 65_535).to_bytes(4))


def test_no_request_leaves_before_the_peers_settings() -> None:
    peer, batch = Peer(None), Batch(requests(3))
    assert peer.connection.room == 0 and peer.connection.start(batch) == 0 and not peer.connection.ready
    assert peer.read() == []
    peer.send(f.settings({f.MAX_CONCURRENT_STREAMS: 2}))
    assert peer.connection.ready and peer.connection.room == 2
    assert [frame.kind for frame in peer.read()] == [f.SETTINGS]
    assert peer.start(batch) == [1, 3]


def test_first_frame_must_be_settings() -> None:
    for first in (f.frame(f.PING, 0, 0, bytes(8)), f.frame(f.SETTINGS, f.ACK, 0)):
        peer = Peer(None)
        peer.send(first)
        assert peer.error() is ErrorCode.PROTOCOL_ERROR


def test_requests_are_whole_and_carry_their_content_length() -> None:
    peer, batch = Peer(), Batch(requests(3))
    peer.connection.start(batch)
    sent = peer.read()
    assert [(s.kind, s.flags, s.stream) for s in sent[:2]] == [(f.HEADERS, 4, 1), (f.DATA, 1, 1)]
    for n, frame in enumerate(sent[::2]):
        assert peer.headers(frame) == [
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", b"push.test"),
            (b":path", b"/%d" % n),
            *TEMPLATE.headers,
            (b"apns-id", b"id-%d" % n),
            (b"content-length", b"10"),
        ]
    assert {frame.payload for frame in sent[1::2]} == {TEMPLATE.body}


def test_templates_may_alternate_while_the_table_fills() -> None:
    templates = [TEMPLATE._replace(headers=[(b"x-%d" % n, b"v" * n) for n in range(t, t + 3)]) for t in range(4)]
    order = [0, 0, 0, 1, 1, 0, 1, 2, 0, 2, 2, 1, 0, 3, 3, 3, 0, 1, 2, 3]
    peer = Peer()
    peer.connection.start(Batch(Requests(templates, [Row(t, b"/", (), None, ()) for t in order])))
    sent = [dict(peer.headers(frame)) for frame in peer.take(f.HEADERS)]
    for t, headers in zip(order, sent, strict=True):
        assert {n: v for n, v in headers.items() if n.startswith(b"x-")} == dict(templates[t].headers)


def test_without_a_body_the_headers_end_the_stream() -> None:
    peer, batch = Peer(), Batch(requests(1, template=TEMPLATE._replace(method=b"GET", body=None)))
    peer.connection.start(batch)
    (sent,) = peer.read()
    assert sent.flags == WHOLE and b"content-length" not in dict(peer.headers(sent))


def test_stream_limit_may_fall_and_rise_midway() -> None:
    peer, batch = Peer({f.MAX_CONCURRENT_STREAMS: 1_000}), Batch(requests(1_500))
    streams: list[int] = []
    while started := peer.start(batch):
        streams += started
    assert len(streams) == 1_000 and peer.connection.room == 0
    peer.send(f.settings({f.MAX_CONCURRENT_STREAMS: 1}))
    for stream in streams[:999]:
        peer.respond(stream)
    assert peer.connection.room == 0
    peer.respond(streams[999])
    assert peer.connection.room == 1 and len(peer.start(batch)) == 1
    peer.send(f.settings({f.MAX_CONCURRENT_STREAMS: 1_000}))
    assert peer.connection.room == 999
    while peer.start(batch):
        pass
    assert batch.taken == 1_500


def test_a_stream_limit_of_zero_stops_new_requests_only() -> None:
    peer, batch = Peer(), Batch(requests(2))
    peer.connection.start(Batch(requests(1)))
    peer.send(f.settings({f.MAX_CONCURRENT_STREAMS: 0}))
    assert peer.connection.start(batch) == 0 and peer.connection.open_count == 1


def test_the_outbox_bounds_one_start() -> None:
    peer, batch = Peer(), Batch(requests(0, template=TEMPLATE._replace(body=None), paths=[b"/" + b"x" * 1_000] * 900))
    peer.connection.start(batch)
    assert http2.OUTBOX_BYTES_MAX <= len(peer.connection.data_to_send()) < http2.OUTBOX_BYTES_MAX + 2_000
    assert 0 < batch.taken < 900 and peer.connection.room > 0


def test_used_up_ids_retire_the_connection() -> None:
    peer, batch = Peer(), Batch(requests(5))
    peer.connection._next_stream = f.STREAM_ID_MAX - 2
    assert peer.start(batch) == [f.STREAM_ID_MAX - 2, f.STREAM_ID_MAX]
    assert peer.connection.draining and peer.connection.room == 0
    peer.respond(f.STREAM_ID_MAX)
    assert statuses(batch.page) == {1: 200}


def test_settings_are_acknowledged_each_time() -> None:
    peer = Peer()
    peer.send(f.settings({}), f.settings({0x77: 1}))
    assert peer.take(f.SETTINGS) == [Frame(f.SETTINGS, f.ACK, 0, b"")] * 2


@pytest.mark.parametrize(
    ("written", "code"),
    [
        (f.settings({f.ENABLE_PUSH: 1}), ErrorCode.PROTOCOL_ERROR),
        (f.settings({f.INITIAL_WINDOW_SIZE: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
        (f.settings({f.MAX_FRAME_SIZE: 16_383}), ErrorCode.PROTOCOL_ERROR),
        (f.settings({f.MAX_FRAME_SIZE: 2**24}), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
        (f.frame(f.SETTINGS, f.ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
        (f.frame(f.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
        (f.frame(f.PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
        (f.frame(f.GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.PUSH_PROMISE, 4, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.RST_STREAM, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.RST_STREAM, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
        (f.frame(f.RST_STREAM, 0, 99, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.WINDOW_UPDATE, 0, 0, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
        (window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
        (window_update(2, 1), ErrorCode.PROTOCOL_ERROR),
        (window_update(99, 1), ErrorCode.PROTOCOL_ERROR),
        (window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
        (f.frame(f.DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.DATA, 0, 99, b"x"), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.DATA, f.PADDED, 1, b"\x02x"), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.DATA, f.PADDED, 1), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.HEADERS, WHOLE, 0, b"\x88"), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.HEADERS, WHOLE, 2, b"\x88"), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.HEADERS, WHOLE, 99, b"\x88"), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.HEADERS, WHOLE | f.HAS_PRIORITY, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
        (f.frame(f.HEADERS, WHOLE, 1, b"\xff\xff"), ErrorCode.COMPRESSION_ERROR),
        (f.frame(f.CONTINUATION, 4, 1, b"\x88"), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.HEADERS, f.END_STREAM, 1, b"\x88") + f.frame(f.PING, 0, 0, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.HEADERS, f.END_STREAM, 1, b"\x88") + response(3), ErrorCode.PROTOCOL_ERROR),
        (f.frame(f.HEADERS, f.END_STREAM, 1) + f.frame(f.CONTINUATION, 4, 3, b"\x88"), ErrorCode.PROTOCOL_ERROR),
        (f.pack_header(0, 16_385, f.DATA, 0, 1), ErrorCode.FRAME_SIZE_ERROR),
    ],
)
def test_what_is_illegal_ends_the_connection(written: bytes, code: ErrorCode) -> None:
    peer, batch = Peer(), Batch(requests(2))
    peer.start(batch)
    peer.send(written)
    assert peer.error() is code
    assert {type(answer) for answer in answers(batch).values()} == {NoAnswer}
    assert peer.connection.room == 0 and peer.connection.receive(response(1)) == ()


def test_at_an_error_what_was_not_written_is_not_sent_and_never_leaves() -> None:
    peer, written, unwritten = Peer(), Batch(requests(1)), Batch(requests(2))
    peer.start(written)
    peer.connection.start(unwritten)
    peer.send(f.frame(f.DATA, 0, 0))
    assert isinstance(answers(written)[0], NoAnswer)
    assert [type(a) for a in answers(unwritten).values()] == [NotSent, NotSent]
    assert [frame.kind for frame in peer.read()] == [f.GOAWAY]


# --- responses


def test_a_response_has_status_headers_body_and_session() -> None:
    peer, batch = Peer(), Batch(requests(3))
    one, two, three = peer.start(batch)
    peer.respond(two, 410, b'{"reason":"Unregistered"}', ("apns-id", "b"))
    peer.respond(one, 200, b"", ("apns-id", "a"))
    peer.respond(three, 200, b"{}", ("apns-id", "c"))
    found = answers(batch)
    assert [row for row, _ in batch.page] == [1, 0, 2]
    assert found[1] == Response(410, [(b"apns-id", b"b")], b'{"reason":"Unregistered"}', 7)
    for row, body, apns_id in ((0, b"", b"a"), (2, b"{}", b"c")):
        answer = found[row]
        assert isinstance(answer, Response)
        assert (answer.status, answer.body, answer.session) == (200, body, 7)
        assert answer.header(b"apns-id") == apns_id and list(answer.headers) == [(b"apns-id", apns_id)]
    assert peer.connection.open_count == 0


def test_any_split_of_the_bytes_gives_the_same_answers() -> None:
    peer, batch = Peer(), Batch(requests(3))
    one, two, three = peer.start(batch)
    for byte in response(one) + response(two, 503, b"busy", ("retry-after", "5")) + response(three, 200, b"{}"):
        peer.send(bytes([byte]))
    assert statuses(batch.page) == {0: 200, 1: 503, 2: 200}


def test_receive_names_each_batch_once_until_its_page_is_taken() -> None:
    peer, one, two = Peer(), Batch(requests(2)), Batch(requests(1))
    first, second = peer.start(one)
    (third,) = peer.start(two)
    assert peer.connection.receive(response(first) + response(third)) == [one, two]
    assert peer.connection.receive(response(second)) == []
    assert len(one.page) == 2


def test_header_blocks_come_in_pieces_padded_and_with_priority() -> None:
    peer, batch = Peer(), Batch(requests(3))
    one, two, three = peer.start(batch)
    whole = block((":status", "404"), ("x", "y" * 50))
    padding = b"\x03" + whole + bytes(3)
    peer.send(
        f.frame(f.HEADERS, f.END_STREAM, one, whole[:1]),
        f.frame(f.CONTINUATION, 0, one, whole[1:20]),
        f.frame(f.CONTINUATION, f.END_HEADERS, one, whole[20:]),
        f.frame(f.HEADERS, WHOLE | f.PADDED, two, padding),
        f.frame(f.HEADERS, WHOLE | f.PADDED | f.HAS_PRIORITY, three, b"\x01" + bytes(5) + whole + bytes(1)),
    )
    assert statuses(batch.page) == {0: 404, 1: 404, 2: 404}
    assert all(isinstance(a, Response) and a.header(b"x") == b"y" * 50 for a in answers(batch).values())


def test_informational_responses_and_trailers_are_passed_over() -> None:
    peer, batch = Peer(), Batch(requests(1))
    (stream,) = peer.start(batch)
    peer.send(
        f.frame(f.HEADERS, f.END_HEADERS, stream, block((":status", "103"), ("link", "x"))),
        f.frame(f.HEADERS, f.END_HEADERS, stream, block((":status", "200"))),
        f.frame(f.DATA, 0, stream, b"bo"),
        f.frame(f.DATA, 0, stream, b"d"),
        f.frame(f.DATA, 0, stream, b"y"),
    )
    assert batch.page == []
    peer.send(f.frame(f.HEADERS, WHOLE, stream, block(("grpc-status", "0"))))
    answer = answers(batch)[0]
    assert isinstance(answer, Response) and (answer.status, answer.body) == (200, b"body")


def test_bodies_of_several_streams_may_interleave() -> None:
    peer, batch = Peer(), Batch(requests(2))
    streams = peer.start(batch)
    for stream in streams:
        peer.send(f.frame(f.HEADERS, f.END_HEADERS, stream, b"\x88"))
    for part in range(3):
        for stream in streams:
            last = f.END_STREAM if part == 2 else 0
            peer.send(f.frame(f.DATA, last, stream, b"%d-%d " % (stream, part)))
    bodies = [getattr(a, "body", b"") for a in answers(batch).values()]
    assert bodies == [b"1-0 1-1 1-2 ", b"3-0 3-1 3-2 "]


@pytest.mark.parametrize(
    "written",
    [
        f.frame(f.HEADERS, WHOLE, 1, block(("x", "y"))),
        f.frame(f.HEADERS, WHOLE, 1, block(("x", "y"), (":status", "200"))),
        f.frame(f.HEADERS, WHOLE, 1, block((":status", "404"), (":status", "404"))),
        f.frame(f.HEADERS, WHOLE, 1, block((":status", "4x4"))),
        f.frame(f.HEADERS, WHOLE, 1, block((":status", "100"))),
        f.frame(f.HEADERS, f.END_HEADERS, 1, block((":status", "101"))),
        f.frame(f.DATA, f.END_STREAM, 1, b"no headers yet"),
        f.frame(f.HEADERS, f.END_HEADERS, 1, b"\x88") * 2,
        f.frame(f.HEADERS, f.END_HEADERS, 1, b"\x88") + f.frame(f.HEADERS, WHOLE, 1, block((":status", "200"))),
        window_update(1, 0),
    ],
)
def test_a_malformed_response_ends_its_stream_only(written: bytes) -> None:
    peer, batch = Peer(), Batch(requests(2))
    one, two = peer.start(batch)
    peer.send(written)
    assert read_frames(peer.connection.data_to_send()) == [Frame(f.RST_STREAM, 0, one, bytes([0, 0, 0, 1]))]
    peer.respond(two)
    assert statuses(batch.page) == {0: "NoAnswer", 1: 200}


def test_a_body_past_its_bound_is_cut_and_its_stream_reset() -> None:
    peer, batch = Peer(), Batch(requests(2))
    one, two = peer.start(batch)
    peer.send(f.frame(f.HEADERS, f.END_HEADERS, one, block((":status", "500"))))
    for _ in range(http2.BODY_BYTES_MAX // 16_384):
        peer.send(f.frame(f.DATA, 0, one, b"x" * 16_384))
    answer = answers(batch)[0]
    assert isinstance(answer, Response) and answer.status == 500 and len(answer.body) == http2.BODY_BYTES_MAX
    assert peer.take(f.RST_STREAM) == [reset_frame(one, ErrorCode.CANCEL)]
    peer.send(f.frame(f.DATA, f.END_STREAM, one, b"late"))
    peer.respond(two)
    assert statuses(batch.page) == {0: 500, 1: 200}


@pytest.mark.parametrize("status", [200, 413])
def test_an_answer_before_the_body_has_left_stops_the_body(status: int) -> None:
    peer, batch = Peer({f.INITIAL_WINDOW_SIZE: 4}), Batch(requests(2))
    one, two = peer.start(batch)
    peer.respond(one, status)
    assert peer.take(f.RST_STREAM) == [reset_frame(one, ErrorCode.CANCEL)]
    peer.send(window_update(one, 100), window_update(two, 100))
    assert [(s.stream, s.flags) for s in peer.take(f.DATA)] == [(two, f.END_STREAM)]
    assert statuses(batch.page) == {0: status}


def reset_frame(stream: int, code: ErrorCode) -> Frame:
    return Frame(f.RST_STREAM, 0, stream, code.to_bytes(4))


# --- ends of streams and of the connection


def test_only_a_refused_stream_surely_was_not_processed() -> None:
    codes = list(ErrorCode)
    peer, batch = Peer(), Batch(requests(len(codes) + 1))
    *streams, unknown = peer.start(batch)
    for stream, code in zip(streams, codes, strict=True):
        peer.send(reset(stream, code))
    peer.send(f.frame(f.RST_STREAM, 0, unknown, (0x1234).to_bytes(4)))
    found = answers(batch)
    for row, code in enumerate(codes):
        expected = NotSent if code is ErrorCode.REFUSED_STREAM else NoAnswer
        assert isinstance(found[row], expected) and code.name in str(found[row])
    assert found[len(codes)] == NoAnswer("RST_STREAM error 0x1234", 7)


def test_refused_after_response_headers_is_no_answer() -> None:
    peer, batch = Peer(), Batch(requests(1))
    (stream,) = peer.start(batch)
    peer.send(f.frame(f.HEADERS, f.END_HEADERS, stream, b"\x88"), reset(stream, ErrorCode.REFUSED_STREAM))
    assert isinstance(answers(batch)[0], NoAnswer)


def test_reset_without_error_after_a_whole_response_changes_nothing() -> None:
    peer, batch = Peer(), Batch(requests(1))
    (stream,) = peer.start(batch)
    peer.send(response(stream, 413), reset(stream, ErrorCode.NO_ERROR))
    assert statuses(batch.page) == {0: 413} and not peer.connection.ended


def test_goaway_frees_what_is_above_its_last_id_and_lets_the_rest_end() -> None:
    peer, batch = Peer(), Batch(requests(6))
    streams = peer.start(batch)
    peer.send(goaway(streams[2], ErrorCode.NO_ERROR, b'{"reason":"Shutdown"}' + b"x" * 2_000))
    found = answers(batch)
    assert sorted(found) == [3, 4, 5]
    for answer in found.values():
        assert isinstance(answer, NotSent) and answer.detail.startswith('GOAWAY NO_ERROR {"reason":"Shutdown"}')
        assert len(answer.detail) < 1_100
    assert peer.connection.draining and peer.connection.room == 0 and peer.connection.start(Batch(requests(1))) == 0
    peer.respond(streams[0])
    peer.send(goaway(streams[1]))
    peer.connection.lost("gone")
    assert statuses(batch.page) == {0: 200, 1: "NoAnswer", **dict.fromkeys([2, 3, 4, 5], "NotSent")}
    assert answers(batch)[1] == NoAnswer("gone after GOAWAY NO_ERROR", 7)


def test_graceful_goaway_with_the_highest_id_frees_nothing() -> None:
    peer, batch = Peer(), Batch(requests(2))
    one, two = peer.start(batch)
    peer.send(goaway(2**31 - 1))
    assert batch.page == [] and peer.connection.draining
    peer.respond(two)
    peer.respond(one)
    assert statuses(batch.page) == {1: 200, 0: 200}


def test_a_lost_connection_tells_written_from_unwritten() -> None:
    peer, written, unwritten = Peer(), Batch(requests(2)), Batch(requests(2))
    peer.start(written)
    peer.connection.start(unwritten)
    assert peer.connection.lost("connection reset") == [written, unwritten]
    assert set(answers(written).values()) == {NoAnswer("connection reset", 7)}
    assert set(answers(unwritten).values()) == {NotSent("connection reset")}
    assert peer.connection.ended == "connection reset" and peer.connection.lost("again") == []
    assert peer.connection.data_to_send() == b""


def test_close_says_goodbye() -> None:
    peer, batch = Peer(), Batch(requests(1))
    peer.start(batch)
    assert peer.connection.close("retired") == [batch]
    assert peer.error() is ErrorCode.NO_ERROR and answers(batch)[0] == NoAnswer("retired", 7)


def test_cancel_resets_one_batch_and_leaves_the_others() -> None:
    peer, late, other = Peer(), Batch(requests(3)), Batch(requests(1))
    one, two, three = peer.start(late)
    (four,) = peer.start(other)
    peer.respond(one)
    peer.send(f.frame(f.HEADERS, f.END_HEADERS, two, b"\x88"))
    peer.connection.cancel(late, "no answer in time")
    assert peer.take(f.RST_STREAM) == [reset_frame(s, ErrorCode.CANCEL) for s in (three, two)]
    assert statuses(late.page) == {0: 200, 1: "NoAnswer", 2: "NoAnswer"}
    peer.send(f.frame(f.DATA, f.END_STREAM, two, b"late"), response(three))
    peer.respond(four)
    assert len(late.page) == 3 and statuses(other.page) == {0: 200} and peer.connection.open_count == 0


def test_pings_are_answered_and_ours_are_noticed() -> None:
    peer = Peer()
    peer.send(f.frame(f.PING, 0, 0, b"12345678"))
    assert peer.read() == [Frame(f.PING, f.ACK, 0, b"12345678")]
    peer.connection.ping()
    (ours,) = peer.read()
    assert ours.kind == f.PING and not ours.flags and peer.connection.ping_open
    peer.send(f.frame(f.PING, f.ACK, 0, ours.payload))
    assert not peer.connection.ping_open


# --- flow control


def test_bodies_wait_for_the_streams_window() -> None:
    peer, batch = Peer({f.INITIAL_WINDOW_SIZE: 4}), Batch(requests(2, b"0123456789"))
    peer.connection.start(batch)
    sent = peer.read()
    assert [(s.kind, s.flags, s.payload) for s in sent if s.kind == f.DATA] == [(f.DATA, 0, b"0123")] * 2
    peer.send(window_update(3, 2))
    assert peer.read() == [Frame(f.DATA, 0, 3, b"45")]
    peer.send(f.settings({f.INITIAL_WINDOW_SIZE: 6}))
    assert peer.take(f.DATA) == [Frame(f.DATA, 0, 1, b"45"), Frame(f.DATA, 0, 3, b"67")]
    peer.send(f.settings({f.INITIAL_WINDOW_SIZE: 1}), window_update(1, 5))  # 5 below 0, then 0
    assert peer.take(f.DATA) == []
    peer.send(window_update(1, 1), f.settings({f.INITIAL_WINDOW_SIZE: 100}))
    assert peer.take(f.DATA) == [
        Frame(f.DATA, 0, 1, b"6"),
        Frame(f.DATA, f.END_STREAM, 1, b"789"),
        Frame(f.DATA, f.END_STREAM, 3, b"89"),
    ]


def test_the_connections_window_stops_new_requests_too() -> None:
    peer, batch = Peer({f.INITIAL_WINDOW_SIZE: 2**20}), Batch(requests(20, b"x" * 10_000))
    assert len(peer.start(batch)) == 7  # the seventh has left in part
    assert peer.connection.room == 0
    peer.send(window_update(0, 4_464))
    assert [len(s.payload) for s in peer.take(f.DATA)] == [4_464]
    peer.send(window_update(0, 20_001))
    assert sum(len(s.payload) for s in peer.take(f.DATA)) == 1
    assert len(peer.start(batch)) == 2 and peer.connection.room == 0


def test_data_is_split_by_the_peers_frame_size() -> None:
    peer, batch = Peer(), Batch(requests(1, b"x" * 40_000))
    peer.connection.start(batch)
    assert [(len(s.payload), s.flags) for s in peer.take(f.DATA)] == [(16_384, 0), (16_384, 0), (7_232, 1)]
    peer = Peer({f.MAX_FRAME_SIZE: 30_000})
    peer.connection.start(Batch(requests(1, b"x" * 40_000)))
    assert [(len(s.payload), s.flags) for s in peer.take(f.DATA)] == [(30_000, 0), (10_000, 1)]


def test_a_header_block_larger_than_a_frame_continues() -> None:
    peer, batch = Peer(), Batch(requests(0, paths=[b"/" + b"x" * 40_000]))
    peer.connection.start(batch)
    sent = peer.read()
    assert [s.kind for s in sent] == [f.HEADERS, f.CONTINUATION, f.CONTINUATION, f.DATA]
    assert [s.flags for s in sent] == [0, 0, f.END_HEADERS, f.END_STREAM]
    joined = Frame(f.HEADERS, 0, 1, b"".join(s.payload for s in sent[:3]))
    assert dict(peer.headers(joined))[b":path"] == b"/" + b"x" * 40_000


def test_a_stream_window_that_overflows_ends_the_stream() -> None:
    peer, batch = Peer({f.INITIAL_WINDOW_SIZE: 4}), Batch(requests(1))
    (stream,) = peer.start(batch)
    peer.send(window_update(stream, 2**31 - 1), window_update(stream, 2**31 - 1))
    assert not peer.connection.ended  # the first one let the whole body out, so the window is of no interest
    peer, batch = Peer({f.INITIAL_WINDOW_SIZE: 0}), Batch(requests(7, b"x" * 10_000))
    streams = peer.start(batch)
    peer.send(*(window_update(s, 10_000) for s in streams[:6]), window_update(streams[6], 2**31 - 1))
    peer.send(window_update(streams[6], 2**31 - 1))
    assert peer.take(f.RST_STREAM) == [reset_frame(streams[6], ErrorCode.FLOW_CONTROL_ERROR)]
    assert statuses(batch.page) == {6: "NoAnswer"}


def test_an_initial_window_that_overflows_ends_the_connection() -> None:
    peer, batch = Peer({f.INITIAL_WINDOW_SIZE: 0}), Batch(requests(7, b"x" * 10_000))
    streams = peer.start(batch)
    peer.send(*(window_update(s, 20_000) for s in streams), f.settings({f.INITIAL_WINDOW_SIZE: 2**31 - 1}))
    assert peer.error() is ErrorCode.FLOW_CONTROL_ERROR


def test_received_data_is_given_back_to_the_connection() -> None:
    peer, batch = Peer(), Batch(requests(40))
    streams = peer.start(batch)
    returned = 0
    for stream in streams:
        peer.respond(stream, 500, b"x" * 15_000)
        returned += sum(int.from_bytes(s.payload) for s in peer.take(f.WINDOW_UPDATE))
    assert 40 * 15_000 - http2.RECEIVE_WINDOW // 2 < returned <= 40 * 15_000 and returned > 0


def test_padding_is_given_back_to_its_stream() -> None:
    peer, batch = Peer(), Batch(requests(1))
    (stream,) = peer.start(batch)
    peer.send(f.frame(f.HEADERS, f.END_HEADERS, stream, b"\x88"))
    peer.send(f.frame(f.DATA, f.PADDED, stream, b"\x09ab" + bytes(9)))
    assert peer.read() == [Frame(f.WINDOW_UPDATE, 0, stream, (10).to_bytes(4))]
    peer.send(f.frame(f.DATA, f.PADDED | f.END_STREAM, stream, b"\x01cd" + bytes(1)))
    answer = answers(batch)[0]
    assert isinstance(answer, Response) and answer.body == b"abcd" and peer.read() == []


def test_data_beyond_the_connections_window_is_illegal() -> None:
    peer, batch = Peer(), Batch(requests(1))
    peer.start(batch)
    peer.connection._receive_window = 10
    peer.send(f.frame(f.HEADERS, f.END_HEADERS, 1, b"\x88"), f.frame(f.DATA, 0, 1, b"x" * 11))
    assert peer.error() is ErrorCode.FLOW_CONTROL_ERROR
