"""Single calls beside the lanes: sessions shared for a while, bounded, and closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest

from pushrpc.exchange import Answer, Endpoint, NoAnswer, NotSent, Page, Requests, Response
from pushrpc.transport import open_sessions
from pushrpc.transport.calls import Calls
from tests.transport.http1_server import Accepted, RawServer
from tests.transport.loopback import DEADLINE_S, until
from tests.transport.requests import requests

HERE, THERE, YONDER = (Endpoint(host, 443) for host in ("here.test", "there.test", "yonder.test"))
FINE = Response(200, [], b"")


class FakeSessions:
    """Answers when told to."""

    def __init__(self, endpoint: Endpoint, opener: Opener) -> None:
        self.on_room: Callable[[], None] = lambda: None
        self.endpoint = endpoint
        self.open_count = self.room = 1
        self.closed = False
        self._opener = opener

    async def send(
        self, requests: Requests, timeout_s: float, start_within_s: float | None = None
    ) -> AsyncGenerator[Page, None]:
        yield [(0, await asyncio.shield(self._opener.answer))]

    def retire(self, session: int) -> None:
        raise AssertionError

    def retire_all(self) -> None:
        raise AssertionError

    async def close(self) -> None:
        self.closed = True
        if not self._opener.answer.done():
            self._opener.answer.set_result(NoAnswer("closed"))


class Opener:
    def __init__(self) -> None:
        self.opened: list[FakeSessions] = []
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def __call__(self, endpoint: Endpoint) -> FakeSessions:
        self.opened.append(FakeSessions(endpoint, self))
        return self.opened[-1]


async def test_calls_to_one_endpoint_share_sessions_until_a_while_after_the_last() -> None:
    opener = Opener()
    calls = Calls(opener, keep_s=0.05)
    for _ in range(2):
        opener.answer = asyncio.get_running_loop().create_future()
        waiting = [asyncio.create_task(calls(HERE, requests(1), 5)) for _ in range(3)]
        await asyncio.sleep(0.1)
        assert not opener.opened[0].closed, "calls under way keep them"
        opener.answer.set_result(FINE)
        assert await asyncio.gather(*waiting) == [FINE] * 3
    assert len(opener.opened) == 1
    await until(lambda: opener.opened[0].closed)
    assert await calls(HERE, requests(1), 5) == FINE and len(opener.opened) == 2
    await calls.close()
    assert all(sessions.closed for sessions in opener.opened)


async def test_the_endpoint_used_longest_ago_makes_room_for_another() -> None:
    opener = Opener()
    opener.answer.set_result(FINE)
    calls = Calls(opener, endpoints_max=2)
    for endpoint in (HERE, THERE, HERE, YONDER):
        assert await calls(endpoint, requests(1), 5) == FINE
    await until(lambda: [s.endpoint for s in opener.opened if s.closed] == [THERE])
    await calls.close()


async def test_too_many_calls_are_refused_before_they_are_sent() -> None:
    opener = Opener()
    calls = Calls(opener, endpoints_max=2, calls_max=3)
    waiting = [asyncio.create_task(calls(endpoint, requests(1), 5)) for endpoint in (HERE, THERE)]
    await asyncio.sleep(0)
    assert await calls(YONDER, requests(1), 5) == NotSent("calls to 2 endpoints are under way already")
    waiting.append(asyncio.create_task(calls(HERE, requests(1), 5)))
    await asyncio.sleep(0)
    assert await calls(HERE, requests(1), 5) == NotSent("3 calls are under way already")
    opener.answer.set_result(FINE)
    assert await asyncio.gather(*waiting) == [FINE] * 3
    assert await calls(YONDER, requests(1), 5) == FINE
    await calls.close()


async def test_closing_ends_what_is_under_way() -> None:
    opener = Opener()
    calls = Calls(opener)
    waiting = asyncio.create_task(calls(HERE, requests(1), 5))
    await asyncio.sleep(0)
    await calls.close()
    assert await waiting == NoAnswer("closed")
    assert await calls(HERE, requests(1), 5) == NotSent("the server is stopping")
    assert len(opener.opened) == 1


async def test_a_caller_that_leaves_frees_its_place() -> None:
    opener = Opener()
    calls = Calls(opener, endpoints_max=1, calls_max=1)
    waiting = asyncio.create_task(calls(HERE, requests(1), 5))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    opener.answer.set_result(FINE)
    assert await calls(THERE, requests(1), 5) == FINE
    await calls.close()


async def test_over_real_connections() -> None:
    async def script(accepted: Accepted) -> None:
        while True:
            asked = await accepted.request()
            await accepted.say(b"HTTP/1.1 201 Created\r\ncontent-length: %d\r\n\r\n%b" % (len(asked.body), asked.body))

    server = RawServer(script)
    calls = Calls(open_sessions)
    async with server.listening(None):
        endpoint = Endpoint("127.0.0.1", server.port, http2=False, tls=False)
        for _ in range(3):
            answer = await calls(endpoint, requests(1, b"body"), DEADLINE_S)
            assert isinstance(answer, Response) and (answer.status, answer.body) == (201, b"body")
        assert len(server.connections) == 1
        await calls.close()
        await until(lambda: not server.live)
    calls = Calls(open_sessions)
    refused = await calls(endpoint, requests(1), DEADLINE_S)
    await calls.close()
    assert isinstance(refused, NotSent) and refused.failed_connect
