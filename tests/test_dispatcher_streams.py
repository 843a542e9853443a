"""The dispatcher on the real pool: a provider that allows few streams, and some answers that do not come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from h2.settings import SettingCodes

from pushrpc.clock import SystemClock
from pushrpc.dispatcher import Dispatcher
from pushrpc.exchange import Request, Response
from pushrpc.model import Claimed, Outcome
from pushrpc.providers import Classified
from pushrpc.transport.pool import Pool
from pushrpc.words import OutcomeKind
from tests.test_dispatcher import FakeAccount, FakeLedger, Watching
from tests.tls import make_authority
from tests.transport.loopback import Loopback, Served, endpoint, listening, server_context, until

DUE = 3_000


class Accepting(FakeAccount):
    def classify(self, response: Response, covered: Sequence[Claimed], now_us: int) -> Sequence[Classified]:
        return [(Outcome(OutcomeKind.ACCEPTED, response.status), "")] * len(covered)


async def no_fetch(request: Request, timeout_s: float) -> Response:
    raise AssertionError(f"nothing needs renewing: {request.url}")


@pytest.mark.parametrize(("streams", "slow"), [(40, 1), (100, 5), (100, 40), (1_000, 5)])
async def test_slow_answers_hold_up_nobody_else(tmp_path: Path, streams: int, slow: int) -> None:
    """Those that do not answer keep their streams until their deadline, long after this test's; the others go on."""
    unanswered = {b"token-%d" % number for number in range(300, 300 + slow)}
    answered = 0

    def answer(served: Served, stream: int) -> None:
        nonlocal answered
        if served.h2.path(stream).strip(b"/") not in unanswered:
            answered += 1
            served.respond(stream)

    authority = make_authority(tmp_path)
    server = Loopback(answer, settings={SettingCodes.MAX_CONCURRENT_STREAMS: streams})
    clock, stopping = SystemClock(), asyncio.Event()
    ledger = FakeLedger(clock)  # type: ignore[arg-type]  # it only asks for the time
    async with listening(server, server_context(authority)):
        dispatcher = Dispatcher(
            ledger,  # type: ignore[arg-type]  # only the verbs that a dispatcher uses
            lambda lane: Accepting(),  # type: ignore[arg-type,return-value]
            lambda _: Pool(endpoint(server, authority)),
            no_fetch,
            clock,
            Watching(),
            lambda: 0.5,
        )
        running = asyncio.create_task(dispatcher.run(stopping, drain_s=0.1))
        ledger.add(DUE)
        async with asyncio.timeout(5):  # half of what a request may take
            await until(lambda: answered == DUE - slow)
        stopping.set()
        await running
