"""Responses in every shape that HTTP/2 gives them (RFC 9113 §6, §8.1), and frames that come between."""

from __future__ import annotations

import itertools

from pushrpc.exchange import Response
from pushrpc.transport import frames as f
from pushrpc.transport.http2 import BODY_BYTES_MAX, RECEIVE_WINDOW
from tests.conformance.servers import Listening, Step
from tests.conformance.stage import HOLDS, Place, Sent, Stage, body, stage

ROWS = 100


def _planned(*plan: Step) -> Listening:
    return HOLDS._replace(plan=plan)


def _response(sent: Sent, token: str) -> Response:
    answer = sent.answers[token]
    assert isinstance(answer, Response)
    return answer


async def _brings(there: Stage, *sizes: int, count: int = ROWS) -> Sent:
    """Every response has a body of these `data` steps, of its own token."""
    sent = there.send(count)
    await there.all_answered(sent)
    for token in sent.tokens:
        assert _response(sent, token).body == body(token, *sizes), token
    return sent


async def continuation(place: Place) -> None:
    """Header blocks longer than a frame, between responses that are short."""
    filler = 30_000
    async with stage(place) as there:
        sent = there.send(60)
        await there.whole(sent.tokens)
        for n, token in enumerate(sent.tokens):
            await there.do(["headers", token, 200, n % 6 > 1, 0 if n % 3 else filler])
        await there.do(*(["data", token, 100, True] for n, token in enumerate(sent.tokens) if n % 6 <= 1))
        await there.all_answered(sent)
        for n, token in enumerate(sent.tokens):
            answer = _response(sent, token)
            assert len(answer.header(b"x-filler")) == (0 if n % 3 else filler)
            assert answer.body == (b"" if n % 6 > 1 else body(token, 100))
        assert len(there.wire.of(f.CONTINUATION)) >= 20


async def padding(place: Place) -> None:
    """On HEADERS and DATA; what padding takes from windows comes back."""
    options = _planned(["headers", 200, False], ["data", 500, False], ["data", 300, True])._replace(padded=True)
    async with stage(place, options) as there:
        for _ in range(5):
            await _brings(there, 500, 300)
        assert len(there.wire.of(f.HEADERS, f.PADDED)) == 5 * ROWS
        assert len(there.wire.of(f.DATA, f.PADDED)) >= 10 * ROWS
        assert there.listener.connections == 1


async def trailers(place: Place) -> None:
    async with stage(place, _planned(["headers", 200, False], ["data", 100, False], ["trailers"])) as there:
        sent = await _brings(there, 100)
        assert not any(_response(sent, token).header(b"x-checksum") for token in sent.tokens)
        assert len(there.wire.of(f.HEADERS, f.END_STREAM)) == ROWS and len(there.wire.of(f.HEADERS)) == 2 * ROWS


async def trailers_without_body(place: Place) -> None:
    async with stage(place, _planned(["headers", 410, False], ["trailers"])) as there:
        sent = await _brings(there)
        assert {_response(sent, token).status for token in sent.tokens} == {410}
        assert len(there.wire.of(f.HEADERS, f.END_STREAM)) == ROWS and len(there.wire.of(f.HEADERS)) == 2 * ROWS


async def early_hints_103(place: Place) -> None:
    async with stage(place, _planned(["interim", 103], ["interim", 103], ["headers", 200, True])) as there:
        sent = await _brings(there)
        assert {_response(sent, token).status for token in sent.tokens} == {200}
        assert len(there.wire.of(f.HEADERS)) == 3 * ROWS


async def continue_100(place: Place) -> None:
    plan = _planned(["interim", 100], ["headers", 503, False], ["data", 50, True])
    async with stage(place, plan) as there:
        sent = await _brings(there, 50)
        assert {_response(sent, token).status for token in sent.tokens} == {503}
        assert len(there.wire.of(f.HEADERS)) == 2 * ROWS


async def interleaved_data(place: Place) -> None:
    async with stage(place) as there:
        sent = there.send(ROWS)
        await there.whole(sent.tokens)
        await there.do(*(["headers", token, 200, False] for token in sent.tokens))
        for _ in range(3):
            await there.do(*(["data", token, 150, False] for token in sent.tokens))
        await there.do(*(["data", token, 70, True] for token in reversed(sent.tokens)))
        await there.all_answered(sent)
        for token in sent.tokens:
            assert _response(sent, token).body == body(token, 150, 150, 150, 70)
        turns = [frame.stream for frame in there.wire.of(f.DATA)]
        assert sum(one != other for one, other in itertools.pairwise(turns)) > 3 * ROWS


async def empty_data(place: Place) -> None:
    empty: Step = ["data", 0, False]
    plan = _planned(["headers", 200, False], empty, ["data", 90, False], empty, empty, ["data", 0, True])
    async with stage(place, plan) as there:
        await _brings(there, 90)
        assert sum(frame.length == 0 for frame in there.wire.of(f.DATA)) >= ROWS


async def large_bodies(place: Place) -> None:
    """More than our connection window holds, so that it has to be given back meanwhile."""
    async with stage(place, _planned(["headers", 200, False], ["data", 60_000, True])) as there:
        await _brings(there, 60_000, count=60)
        assert sum(frame.length for frame in there.wire.of(f.DATA)) > 3 * RECEIVE_WINDOW


async def body_past_its_bound(place: Place) -> None:
    """Cut at 64 KiB, with the stream reset and the rest of the session whole."""
    plan = _planned(["headers", 200, False], ["data", 100_000, True])
    async with stage(place, plan) as there:
        sent = there.send(50)
        await there.all_answered(sent)
        for token in sent.tokens:
            assert _response(sent, token).body == body(token, 100_000)[:BODY_BYTES_MAX]
        await there.listener.until(lambda: there.listener.cancelled >= set(sent.tokens))
        assert there.listener.connections == 1


async def unknown_frames(place: Place) -> None:
    async with stage(place) as there:
        sent = there.send(ROWS)
        await there.whole(sent.tokens)
        for at in range(0, ROWS, 10):
            await there.do(["unknown", 1])
            await there.respond(sent.tokens[at : at + 10])
        await there.all_answered(sent)
        assert sum(frame.kind > f.CONTINUATION for frame in there.wire) >= ROWS // 10
        await there.usable()
        assert there.listener.connections == 1


async def pings(place: Place) -> None:
    async with stage(place) as there:
        sent = there.send(ROWS)
        await there.whole(sent.tokens)
        for at in range(0, ROWS, 10):
            await there.do(["ping", 1])
            await there.respond(sent.tokens[at : at + 10])
        await there.all_answered(sent)
        await there.listener.until(lambda: there.listener.counts["pong", 1] == 10)
        await there.usable()


async def before_the_request_ends(place: Place) -> None:
    """An answer to half a body is an answer, and the other half stays here."""
    options = HOLDS._replace(reads=False, connection_window=1 << 25)
    async with stage(place, options) as there:
        sent = there.send(ROWS, b"b" * 100_000)
        await there.began(sent.tokens)
        await there.heard_all()
        await there.respond(sent.tokens, 413)
        await there.all_answered(sent)
        assert {_response(sent, token).status for token in sent.tokens} == {413}
        await there.heard_all()
        assert not there.listener.whole
        await there.do(["release", 1])
        await there.usable()
        assert there.listener.connections == 1


async def reset_after_the_answer(place: Place) -> None:
    """RST_STREAM NO_ERROR behind a whole answer asks for no more of the body, and takes nothing back (§8.1)."""
    options = HOLDS._replace(reads=False, connection_window=1 << 25)
    async with stage(place, options) as there:
        sent = there.send(ROWS, b"b" * 100_000)
        await there.began(sent.tokens)
        await there.heard_all()
        for token in sent.tokens:
            await there.do(["headers", token, 413, True], ["reset", token, 0])
        await there.all_answered(sent)
        await there.seen(lambda: len(there.wire.of(f.RST_STREAM)) == ROWS)
        await there.do(["release", 1])
        await there.usable()
        assert there.listener.connections == 1
