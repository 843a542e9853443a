"""Connections that end before their work does, and streams that run out."""

from __future__ import annotations

from pushrpc.exchange import NoAnswer, Response
from pushrpc.transport.frames import STREAM_ID_MAX
from tests.conformance.relay import relaying
from tests.conformance.stage import ANSWERS, QUICK, Place, stage

ROWS = 100


async def closed_before_answers(place: Place) -> None:
    async with stage(place) as there:
        sent = there.send(ROWS)
        await there.whole(sent.tokens)
        await there.respond(sent.tokens[:30])
        await there.do(["cut", 1, False])
        await there.judged(sent)
        assert sent.of(Response) == sent.tokens[:30] and sent.of(NoAnswer) == sent.tokens[30:]
        await there.recovers()


async def closed_amid_responses(place: Place) -> None:
    """Half a response is none."""
    async with stage(place) as there:
        sent = there.send(ROWS)
        await there.whole(sent.tokens)
        begun, answered = sent.tokens[:60], sent.tokens[60:]
        await there.do(*(["headers", token, 200, False] for token in begun))
        await there.do(*(["data", token, 200, False] for token in begun))
        await there.respond(answered)
        await there.do(["cut", 1, False])
        await there.judged(sent)
        assert sent.of(NoAnswer) == begun and sent.of(Response) == answered
        await there.recovers()


async def reset_by_tcp(place: Place) -> None:
    """A reset may overtake answers, so those may be missing; none is invented."""
    async with stage(place) as there:
        there.lossy = True
        sent = there.send(ROWS)
        await there.whole(sent.tokens)
        await there.respond(sent.tokens[:30])
        await there.do(["cut", 1, True])
        await there.judged(sent)
        assert set(sent.of(Response)) <= set(sent.tokens[:30])
        assert len(sent.of(Response)) + len(sent.of(NoAnswer)) == ROWS
        await there.recovers()


async def peer_vanishes(place: Place) -> None:
    """Half-open TCP: nothing is refused and nothing comes, until PING says so."""
    async with relaying() as relay, stage(place, limits=QUICK, relay=relay) as there:
        sent = there.send(ROWS)
        await there.whole(sent.tokens)
        await there.respond(sent.tokens[:30])
        await there.seen(lambda: len(sent.answers) == 30)
        relay.vanish()
        await there.judged(sent)
        assert sent.of(Response) == sent.tokens[:30] and sent.of(NoAnswer) == sent.tokens[30:]
        assert all("PING" in str(sent.answers[token]) for token in sent.tokens[30:])
        await there.recovers()


async def never_answered(place: Place) -> None:
    """Deadlines end requests, not the session; the server is told."""
    async with stage(place) as there:
        sent = there.send(ROWS, timeout_s=1.0)
        await there.whole(sent.tokens)
        await there.respond(sent.tokens[:30])
        await there.judged(sent)
        assert sent.of(Response) == sent.tokens[:30] and sent.of(NoAnswer) == sent.tokens[30:]
        await there.listener.until(lambda: there.listener.cancelled >= set(sent.tokens[30:]))
        await there.usable()
        assert there.listener.connections == 1


async def stream_ids_run_out(place: Place) -> None:
    """The last id is used, and the rest goes to another session."""
    left = 30
    async with stage(place, ANSWERS, sessions_max=1) as there:
        await there.usable()
        there.sessions[0].connection._next_stream = STREAM_ID_MAX - 2 * (left - 1)
        sent = there.send(ROWS)
        await there.all_answered(sent)
        last = [there.listener.began[token] for token in sent.tokens if there.listener.began[token].connection == 1]
        assert len(last) == left and max(heard.stream for heard in last) == STREAM_ID_MAX
        assert there.listener.connections == 2
        await there.usable()
