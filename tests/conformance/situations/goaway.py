"""GOAWAY with streams on either side of its last id (RFC 9113 §6.8)."""

from __future__ import annotations

from pushrpc.exchange import NoAnswer, NotSent, Response
from pushrpc.transport.frames import GOAWAY, STREAM_ID_MAX, ErrorCode
from tests.conformance.stage import HOLDS, Place, Stage, stage

ROWS = 100


async def _held(there: Stage) -> list[str]:
    """Requests that the server has and has not answered, in the order of their streams."""
    sent = there.send(ROWS)
    await there.whole(sent.tokens)
    return there.in_order(sent.tokens)


def _id(there: Stage, token: str) -> int:
    return there.listener.began[token].stream


async def between(place: Place) -> None:
    """What is above the last id goes again; what is below is answered on the old session."""
    async with stage(place) as there:
        tokens = await _held(there)
        await there.do(["goaway", 1, _id(there, tokens[59]), ErrorCode.NO_ERROR])
        await there.respond(tokens[:60])
        sent = await there.judged(there.sent[0])
        assert sorted(sent.of(Response)) == sorted(tokens[:60])
        assert sorted(sent.of(NotSent)) == sorted(tokens[60:])
        await there.usable()
        assert there.listener.connections == 2


async def graceful(place: Place) -> None:
    """First the highest id, then the real one: nothing is lost, and new work goes to a new session at once."""
    async with stage(place) as there:
        tokens = await _held(there)
        await there.do(["goaway", 1, STREAM_ID_MAX, ErrorCode.NO_ERROR])
        await there.heard_all()
        during = there.send(ROWS)
        await there.whole(during.tokens)
        assert {there.listener.began[token].connection for token in during.tokens} == {2}
        await there.do(["goaway", 1, _id(there, tokens[-1]), ErrorCode.NO_ERROR])
        await there.respond(tokens + during.tokens)
        await there.all_answered(*there.sent)
        await there.usable()


async def twice_lower(place: Place) -> None:
    """A second GOAWAY may lower the last id, never raise it."""
    async with stage(place) as there:
        tokens = await _held(there)
        await there.do(["goaway", 1, _id(there, tokens[79]), ErrorCode.NO_ERROR])
        await there.respond(tokens[:10])
        await there.do(["goaway", 1, _id(there, tokens[39]), ErrorCode.NO_ERROR])
        await there.respond(tokens[10:40])
        sent = await there.judged(there.sent[0])
        assert sorted(sent.of(Response)) == sorted(tokens[:40])
        assert sorted(sent.of(NotSent)) == sorted(tokens[40:])
        await there.usable()


async def none_processed(place: Place) -> None:
    async with stage(place) as there:
        await there.usable()
        tokens = await _held(there)
        first = _id(there, tokens[0]) - 2  # the last of those that were answered
        await there.do(["goaway", 1, first, ErrorCode.ENHANCE_YOUR_CALM])
        sent = await there.judged(there.sent[-1])
        assert len(sent.of(NotSent)) == ROWS
        assert all("ENHANCE_YOUR_CALM" in str(answer) for answer in sent.answers.values())
        await there.usable()


async def error_and_end(place: Place) -> None:
    """An error takes what is below the last id with it: that was perhaps processed."""
    async with stage(place) as there:
        tokens = await _held(there)
        await there.respond(tokens[:20])
        await there.do(["goaway", 1, _id(there, tokens[59]), ErrorCode.INTERNAL_ERROR], ["cut", 1, False])
        sent = await there.judged(there.sent[0])
        assert sorted(sent.of(Response)) == sorted(tokens[:20])
        assert sorted(sent.of(NoAnswer)) == sorted(tokens[20:60])
        assert sorted(sent.of(NotSent)) == sorted(tokens[60:])
        await there.recovers()


async def shutdown(place: Place) -> None:
    """The server's own way to end a connection in order, with more requests coming than it takes at a time."""
    async with stage(place, HOLDS._replace(settings={3: 50})) as there:
        sent = there.send(200)
        await there.whole(sent.tokens, 50)
        here = [token for token in sent.tokens if token in there.listener.whole]
        await there.do(*(["headers", token, 200, True] for token in here), ["shutdown", 1])
        await there.served(sent)
        await there.judged(sent)
        assert len(sent.of(Response)) >= 50 and not sent.of(NoAnswer)
        assert there.wire.of(GOAWAY)
        await there.recovers()
        assert there.listener.connections > 1
