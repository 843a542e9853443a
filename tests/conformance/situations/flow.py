"""Windows that stay shut, and servers that do not read (RFC 9113 §5.2)."""

from __future__ import annotations

from pushrpc.exchange import NoAnswer, Response
from tests.conformance.stage import HOLDS, QUICK, Place, Stage, stage

ROWS = 50
BULK_ROWS = 200  # with BULK, more than the kernel takes for a process that does not read
BULK = b"b" * 60_000
WIDE = HOLDS._replace(connection_window=1 << 25)


async def stream_windows_exhausted(place: Place) -> None:
    async with stage(place, WIDE._replace(reads=False)) as there:
        sent = there.send(ROWS, b"b" * 100_000)
        await there.began(sent.tokens)
        await there.heard_all()
        assert not there.listener.whole
        await there.do(["release", 1])
        await there.served(sent)
        await there.all_answered(sent)
        assert {there.listener.whole[token] for token in sent.tokens} == {100_000}


async def connection_window_exhausted(place: Place) -> None:
    """Nothing starts that could not be sent."""
    async with stage(place, HOLDS._replace(reads=False), sessions_max=1) as there:
        sent = there.send(ROWS, b"b" * 4_000)
        await there.began(sent.tokens, 10)
        await there.heard_all()
        assert len(there.listener.began) < ROWS
        await there.do(["release", 1])
        await there.served(sent)
        await there.all_answered(sent)
        assert {there.listener.whole[token] for token in sent.tokens} == {4_000}


async def _blocked(there: Stage) -> None:
    """The server stops reading, and the client has written until it may no more."""
    await there.usable()
    there.listener.server.stop()
    there.send(BULK_ROWS, BULK)
    await there.seen(lambda: there.sessions[0].room == 0 and not there.sessions[0].connection.draining)


async def reading_stops_and_goes_on(place: Place) -> None:
    async with stage(place, WIDE, sessions_max=1) as there:
        try:
            await _blocked(there)
        finally:
            place.server.go_on()
        await there.served(there.sent[-1])
        await there.all_answered(there.sent[-1])
        assert there.listener.connections == 1


async def reading_stops_for_good(place: Place) -> None:
    """The session is given up by PING; what may have left is NoAnswer, the rest NotSent."""
    async with stage(place, WIDE, QUICK, sessions_max=1) as there:
        try:
            await _blocked(there)
            sent = await there.judged(there.sent[-1])
            assert not sent.of(Response) and sent.of(NoAnswer)
        finally:
            place.server.go_on()
        await there.listener.until(lambda: there.listener.counts["closed", 1])
        await there.judged(there.sent[-1])  # with what the server has read since
        await there.recovers()
