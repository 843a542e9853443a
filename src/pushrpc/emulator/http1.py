"""HTTP/1.1 for Google's services, which answer it on the same port as HTTP/2: many clients know nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from pushrpc.emulator.faults import Action, Fault, Point
from pushrpc.emulator.service import Call
from pushrpc.emulator.stage import Stage
from pushrpc.exchange import Response

READ_S = 60.0
SILENCE_S = 3600.0
"""How long an unanswered request is held; its client gives up long before, which ends it."""

_BROKEN = frozenset({Action.RESET, Action.CLOSE, Action.SILENCE})


def handler(stage: Stage) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Answers as `stage` decides. What resets a stream here ends the connection; a GOAWAY is `Connection: close`."""
    connection = stage.service.connect(None)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        async with asyncio.timeout(READ_S):
            body = await request.read()
        headers = [(name.lower(), value) for name, value in request.raw_headers]
        call = Call(request.method.encode(), request.raw_path.encode(), headers, body)
        response, fault = stage.decide(call, connection)
        if fault and fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        unanswered = fault and fault.action is Action.GOAWAY and fault.last_offset < 0
        if fault and (fault.action in _BROKEN or unanswered):
            await _break(request, response, fault)
        reply = web.Response(status=response.status, headers=_text(response), body=response.body)
        if fault and fault.action is Action.GOAWAY:
            reply.force_close()
        return reply

    return handle


async def _break(request: web.BaseRequest, response: Response, fault: Fault) -> None:
    """Ends the connection where the fault says, or never speaks. Does not return: the lost connection cancels it."""
    if fault.action is not Action.SILENCE:
        if fault.at is not Point.BEFORE_HEADERS and fault.action is not Action.GOAWAY:
            partial = web.StreamResponse(status=response.status, headers=_text(response))
            partial.content_length = len(response.body)
            await partial.prepare(request)
            if fault.at is Point.HALF_BODY:
                await partial.write(response.body[: len(response.body) // 2])
        if request.transport:
            request.transport.close()
    await asyncio.sleep(SILENCE_S)


def _text(response: Response) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
