"""RST_STREAM with every code, before and after response headers (RFC 9113 §6.4, §7)."""

from __future__ import annotations

from pushrpc.exchange import NoAnswer, NotSent, Response
from pushrpc.transport.frames import RST_STREAM, ErrorCode
from tests.conformance.servers import Step
from tests.conformance.stage import Place, stage

ROWS = 60


async def before_headers(code: ErrorCode, place: Place) -> None:
    """Only REFUSED_STREAM says that nothing was processed (RFC 9113 §8.7)."""
    await _reset(place, code, NotSent if code is ErrorCode.REFUSED_STREAM else NoAnswer)


async def after_headers(code: ErrorCode, place: Place) -> None:
    """A response that began was processed, whatever the code says."""
    await _reset(place, code, NoAnswer, ["headers", 200, False], ["data", 100, False])


async def _reset(place: Place, code: ErrorCode, kind: type[NotSent | NoAnswer], *before: Step) -> None:
    async with stage(place) as there:
        sent = there.send(ROWS)
        await there.whole(sent.tokens)
        ended, answered = sent.tokens[::2], sent.tokens[1::2]
        for token in ended:
            await there.do(*([verb, token, *rest] for verb, *rest in before), ["reset", token, code])
        await there.respond(answered)
        await there.judged(sent)
        assert sorted(sent.of(Response)) == sorted(answered)
        assert sorted(sent.of(kind)) == sorted(ended)
        assert all(code.name in str(sent.answers[token]) for token in ended)
        assert len(there.wire.of(RST_STREAM)) == len(ended)
        await there.usable()
        assert there.listener.connections == 1
