"""The pool over real TLS sockets on loopback: dials, deadlines, losses, growth, back-pressure, on both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop
from h2.settings import SettingCodes

from pushrpc.exchange import Endpoint, NoAnswer, NotSent, Response
from pushrpc.transport.http2 import OUTBOX_BYTES_MAX
from pushrpc.transport.pool import NEW_SESSION_ROOM, Pool
from pushrpc.transport.session import CROWD, Limits
from tests.tls import Authority, make_authority
from tests.transport.loopback import Loopback, Served, collect, endpoint, listening, server_context, silent, until
from tests.transport.peer import goaway
from tests.transport.requests import requests

QUICK = Limits(redial_s=0.05, redial_max_s=0.2, grow_after_s=0.02, goodbye_s=0.2, tick_s=0.02)


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tls"))


@contextlib.asynccontextmanager
async def connected(
    server: Loopback, authority: Authority, limits: Limits = QUICK, sessions_max: int = 2
) -> AsyncIterator[Pool]:
    """A pool to a listening server; both are gone afterwards."""
    async with listening(server, server_context(authority)):
        pool = Pool(endpoint(server, authority), sessions_max, limits)
        try:
            yield pool
        finally:
            await pool.close()
            await until(lambda: not server.live)
            assert pool.open_count == 0
            assert not any(served.broken for served in server.connections)


def kinds(answers: list[Response | NotSent | NoAnswer]) -> Counter[str]:
    return Counter(type(answer).__name__ for answer in answers)


# --- the ordinary


async def test_rows_are_answered_over_one_session(authority: Authority) -> None:
    async with connected(Loopback(), authority) as pool:
        assert pool.open_count == 0 and pool.room == NEW_SESSION_ROOM
        answers = await collect(pool, 500)
        for row, answer in enumerate(answers):
            assert isinstance(answer, Response)
            assert (answer.status, answer.header(b"apns-id"), answer.session) == (200, b"%d" % row, 1)
        assert pool.open_count == 1 and pool.room == 1_000


async def test_answers_come_in_pages(authority: Authority) -> None:
    server = Loopback(silent)
    async with connected(server, authority) as pool:
        sending = asyncio.create_task(_pages(pool, 200))
        await until(lambda: server.connections and len(server.connections[0].h2.whole) == 200)
        server.connections[0].respond_to_all()
        pages = await sending
        assert sum(pages) == 200 and len(pages) < 20


async def _pages(pool: Pool, count: int) -> list[int]:
    return [len(page) async for page in pool.send(requests(count), 10)]


async def test_a_crowded_session_gathers_answers_and_loses_none_at_its_end(authority: Authority) -> None:
    server = Loopback(silent)
    async with connected(server, authority, QUICK._replace(gather_s=3_600)) as pool:
        collecting = asyncio.create_task(collect(pool, 2 * CROWD))
        await until(lambda: server.connections and len(server.connections[0].h2.whole) == 2 * CROWD)
        for stream in server.connections[0].h2.whole[: CROWD // 2]:
            server.connections[0].respond(stream)
        server.connections[0].transport.close()
        assert kinds(await collecting) == {"Response": CROWD // 2, "NoAnswer": 2 * CROWD - CROWD // 2}


@pytest.mark.parametrize(("rows", "gather_bytes"), [(CROWD - 1, 1 << 20), (2 * CROWD, 1)])
async def test_few_answers_and_many_bytes_are_read_at_once(authority: Authority, rows: int, gather_bytes: int) -> None:
    async with connected(Loopback(), authority, QUICK._replace(gather_s=3_600, gather_bytes=gather_bytes)) as pool:
        assert kinds(await collect(pool, rows)) == {"Response": rows}


async def test_concurrent_sends_share_a_session(authority: Authority) -> None:
    server = Loopback()
    async with connected(server, authority) as pool:
        results = await asyncio.gather(*(collect(pool, 40) for _ in range(20)))
        assert all(kinds(answers) == {"Response": 40} for answers in results)
        assert len(server.connections) == 1


async def test_no_rows_end_at_once_without_a_session(authority: Authority) -> None:
    server = Loopback()
    async with connected(server, authority) as pool:
        assert await collect(pool, 0) == [] and not server.connections


async def test_plaintext_with_prior_knowledge() -> None:
    async with listening(Loopback(), None) as server:
        pool = Pool(Endpoint("127.0.0.1", server.port, tls=False), limits=QUICK)
        answers = await collect(pool, 10)
        await pool.close()
        assert kinds(answers) == {"Response": 10}
        assert dict(server.connections[0].h2.headers[1])[b":scheme"] == b"http"


async def test_a_client_certificate_is_shown(authority: Authority) -> None:
    context = server_context(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca_file)
    async with listening(Loopback(), context) as server:
        without = Pool(endpoint(server, authority), limits=QUICK)
        (refused,) = await collect(without, 1)
        assert isinstance(refused, NotSent) and refused.failed_connect
        await without.close()
        own = Pool(endpoint(server, authority)._replace(certificate=authority.issue(["shop"])), limits=QUICK)
        assert kinds(await collect(own, 3)) == {"Response": 3}
        await own.close()


# --- dials that fail


async def test_a_host_that_is_no_name_is_a_failed_dial(authority: Authority) -> None:
    pool = Pool(Endpoint("push..example", 443, authority.ca_file), sessions_max=1, limits=QUICK)
    for _ in range(2):
        (answer,) = await collect(pool, 1)
        assert isinstance(answer, NotSent) and answer.failed_connect and "push..example:443" in answer.detail
    await pool.close()


async def test_refused_connections_are_told_at_once_and_dialled_again_later(authority: Authority) -> None:
    server = Loopback()
    async with listening(server, server_context(authority)):
        pass  # the port is free again
    pool = Pool(endpoint(server, authority), limits=QUICK._replace(redial_s=0.3))
    answers = await collect(pool, 3)
    for answer in answers:
        assert isinstance(answer, NotSent) and answer.failed_connect
        assert answer.detail.startswith(f"127.0.0.1:{server.port}: ")
    async with listening(server, server_context(authority)):
        assert await collect(pool, 3) == answers, "the same refusal, without a dial, while the hold-off runs"
        assert not server.connections
        async with asyncio.timeout(5):
            while kinds(await collect(pool, 1)) != {"Response": 1}:  # noqa: ASYNC110 (asking is what brings it)
                await asyncio.sleep(0.01)
        await pool.close()


@pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
async def test_a_server_without_http2_is_named(authority: Authority, alpn: tuple[str, ...]) -> None:
    async with listening(Loopback(), server_context(authority, alpn)) as server:
        pool = Pool(endpoint(server, authority), limits=QUICK)
        (answer,) = await collect(pool, 1)
        await pool.close()
        assert isinstance(answer, NotSent) and answer.failed_connect and "does not offer HTTP/2" in answer.detail


async def test_an_untrusted_certificate_is_named(authority: Authority, tmp_path: Path) -> None:
    async with listening(Loopback(), server_context(authority)) as server:
        other = make_authority(tmp_path)
        for target, word in (
            (endpoint(server, other), "not trusted"),
            (endpoint(server, authority)._replace(ca_file="/nowhere/ca.pem"), "ca_file /nowhere/ca.pem"),
            (endpoint(server, authority)._replace(certificate=("/nowhere/c", "/nowhere/k")), "certificate /nowhere/c"),
            (Endpoint("name.invalid", server.port), "does not resolve"),
        ):
            pool = Pool(target, limits=QUICK)
            (answer,) = await collect(pool, 1)
            await pool.close()
            assert isinstance(answer, NotSent) and answer.failed_connect
            assert word in answer.detail and "\n" not in answer.detail


async def test_a_server_that_says_nothing_is_given_up(authority: Authority) -> None:
    async with connected(Loopback(mute=True), authority, QUICK._replace(connect_s=0.1)) as pool:
        started = asyncio.get_running_loop().time()
        (answer,) = await collect(pool, 1)
        assert isinstance(answer, NotSent) and answer.failed_connect and "within 0.1 s" in answer.detail
        assert asyncio.get_running_loop().time() - started < 1, "one dial, then the refusal"


async def test_sessions_that_bring_nothing_are_dialled_ever_more_seldom(authority: Authority) -> None:
    server = Loopback(greet=lambda served: served.transport.abort())
    limits = QUICK._replace(redial_s=0.1, redial_max_s=0.4)
    async with connected(server, authority, limits) as pool:
        loop = asyncio.get_running_loop()
        started, seen = loop.time(), []
        while loop.time() < started + 1.0:
            assert kinds(await collect(pool, 1)) == {"NotSent": 1}
            seen.append(len(server.connections))
            await asyncio.sleep(0.01)
        assert len(seen) > 20 and 2 <= seen[-1] <= 5, "0, 0.1, 0.3, 0.7 s"


# --- deadlines, losses


async def test_no_answer_by_the_deadline(authority: Authority) -> None:
    server = Loopback(silent, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    async with connected(server, authority, sessions_max=1) as pool:
        answers = await collect(pool, 5, timeout_s=0.2)
        assert answers[:2] == [NoAnswer("no answer within 0.2 s", 1)] * 2
        assert answers[2:] == [NotSent("no session had room within 0.2 s")] * 3
        await until(lambda: len(server.connections[0].h2.cancelled) == 2)
        assert pool.room == 2
        server.answer = lambda served, stream: served.respond(stream)
        assert kinds(await collect(pool, 3)) == {"Response": 3}
        assert len(server.connections) == 1


async def test_what_may_not_start_late_is_refused_while_the_wire_goes_on(authority: Authority) -> None:
    server = Loopback(silent, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    async with connected(server, authority, sessions_max=1) as pool:
        pages = pool.send(requests(5), timeout_s=10.0, start_within_s=0.2)
        refused = await asyncio.wait_for(anext(pages), 5)
        assert refused == [(row, NotSent("not started within 0.2 s")) for row in (2, 3, 4)]
        for stream in server.connections[0].h2.whole:
            server.connections[0].respond(stream)
        answered = [row async for page in pages for row, answer in page if isinstance(answer, Response)]
        assert sorted(answered) == [0, 1]


async def test_a_deadline_that_has_passed_sends_nothing(authority: Authority) -> None:
    server = Loopback()
    async with connected(server, authority) as pool:
        assert kinds(await collect(pool, 2, timeout_s=0.0)) == {"NotSent": 2}
        assert not server.connections


async def test_a_server_killed_midway(authority: Authority) -> None:
    """Answered rows keep their answer, open ones are NoAnswer, and what had not left goes out on a new session."""

    def five_then_gone(served: Served, stream: int) -> None:
        if served is not server.connections[0]:
            served.respond(stream)
        elif len(served.h2.whole) == 10:
            for answered in served.h2.whole[:5]:
                served.h2.respond(answered, 200)
            served.flush()
            asyncio.get_running_loop().call_soon(served.transport.close)

    server = Loopback(five_then_gone, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 10})
    async with connected(server, authority, sessions_max=1) as pool:
        answers = await collect(pool, 30)
        sessions = Counter(a.session for a in answers if isinstance(a, Response))
        lost = [a for a in answers if not isinstance(a, Response)]
        assert lost and all(isinstance(a, NoAnswer) and a.session == 1 for a in lost)
        assert sessions[1] >= 5 and sessions[2] >= 15 and len(lost) + sessions.total() == 30


async def test_goaway_moves_new_work_to_another_session(authority: Authority) -> None:
    def refuse_above_third(served: Served, stream: int) -> None:
        if served is not server.connections[0]:
            served.respond(stream)
        elif len(served.h2.whole) == 6:
            served.transport.write(goaway(5, debug=b'{"reason":"Shutdown"}'))

    server = Loopback(refuse_above_third)
    async with connected(server, authority) as pool:
        answers = await collect(pool, 6, timeout_s=0.5)
        assert kinds(answers) == {"NoAnswer": 3, "NotSent": 3}
        assert all(isinstance(a, NotSent) and "Shutdown" in a.detail and not a.failed_connect for a in answers[3:])
        later = await collect(pool, 3)
        assert all(isinstance(a, Response) and a.session > 1 for a in later)
        await until(lambda: server.connections[0].lost)


async def test_a_half_open_connection_is_noticed_by_ping(authority: Authority) -> None:
    server = Loopback(silent)
    limits = QUICK._replace(ping_busy_s=0.1, ping_timeout_s=0.1)
    async with connected(server, authority, limits) as pool:
        sending = asyncio.create_task(collect(pool, 2))
        await until(lambda: server.connections and len(server.connections[0].h2.whole) == 2)
        server.connections[0].transport.pause_reading()
        assert await sending == [NoAnswer("no answer to a PING within 0.1 s", 1)] * 2
        server.connections[0].transport.abort()


async def test_idle_sessions_are_pinged_and_kept(authority: Authority) -> None:
    server = Loopback()
    async with connected(server, authority, QUICK._replace(ping_idle_s=0.05)) as pool:
        await collect(pool, 1)
        await until(lambda: server.connections[0].h2.pings >= 3)
        assert pool.open_count == 1
        assert kinds(await collect(pool, 1)) == {"Response": 1} and len(server.connections) == 1


# --- growth, retirement, leaving


async def test_the_pool_grows_while_rows_wait_and_shrinks_when_idle(authority: Authority) -> None:
    server = Loopback(silent, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    async with connected(server, authority, QUICK._replace(idle_s=0.1)) as pool:
        sending = asyncio.create_task(collect(pool, 10))
        await until(lambda: len(server.connections) == 2 and all(len(s.h2.whole) == 2 for s in server.connections))
        assert pool.open_count == 2 and pool.room == 0
        server.answer = lambda served, stream: served.respond(stream)
        for served in server.connections:
            served.respond_to_all()
        answers = await sending
        assert {a.session for a in answers if isinstance(a, Response)} == {1, 2}
        await until(lambda: pool.open_count == 1 and len(server.live) == 1)


async def test_rows_that_keep_finding_every_session_full_grow_the_pool(authority: Authority) -> None:
    """Though each waits for a moment only; once alone is no reason."""

    def soon(served: Served, stream: int) -> None:
        asyncio.get_running_loop().call_later(0.005, served.respond, stream)

    server = Loopback(soon, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    limits = QUICK._replace(grow_after_s=0.05)
    async with connected(server, authority, limits) as pool:
        await collect(pool, 3)
        await until(lambda: pool._growth is None)
        assert len(server.connections) == 1

        async def keep_sending() -> None:
            while len(server.connections) == 1:
                await collect(pool, 3)

        await asyncio.wait_for(keep_sending(), 5)


async def test_room_that_comes_without_an_answer_is_told(authority: Authority) -> None:
    server = Loopback(silent, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 10})
    async with connected(server, authority) as pool:
        told: list[int] = []
        pool.on_room = lambda: told.append(pool.room)
        sending = asyncio.create_task(collect(pool, 15, timeout_s=5))
        await until(lambda: len(server.connections) == 2 and len(server.connections[1].h2.whole) == 5)
        assert told[-1] == 5, "of the session that was dialled for what had waited"
        server.connections[0].h2.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 30})
        server.connections[0].flush()
        await until(lambda: told[-1] == 25)
        for served in server.connections:
            served.respond_to_all()
        await sending


async def test_room_for_growth_is_offered_when_all_is_full(authority: Authority) -> None:
    server = Loopback(silent, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    async with connected(server, authority) as pool:
        sending = asyncio.create_task(collect(pool, 2, timeout_s=0.3))
        await until(lambda: server.connections and len(server.connections[0].h2.whole) == 2)
        assert pool.room == NEW_SESSION_ROOM
        assert kinds(await sending) == {"NoAnswer": 2}


async def test_a_retired_session_ends_what_is_open_and_takes_nothing_new(authority: Authority) -> None:
    server = Loopback(silent)
    async with connected(server, authority) as pool:
        sending = asyncio.create_task(collect(pool, 3))
        await until(lambda: server.connections and len(server.connections[0].h2.whole) == 3)
        pool.retire(99)
        assert pool.room == 997
        pool.retire(1)
        server.answer = lambda served, stream: served.respond(stream)
        (answer,) = await collect(pool, 1)
        assert isinstance(answer, Response) and answer.session == 2
        assert not server.connections[0].lost
        server.connections[0].respond_to_all()
        assert kinds(await sending) == {"Response": 3}
        await until(lambda: server.connections[0].lost and pool.open_count == 1)


async def test_retire_all_also_drops_a_session_that_is_being_dialled(authority: Authority) -> None:
    server = Loopback()
    async with connected(server, authority) as pool:
        sending = asyncio.create_task(collect(pool, 3))
        await asyncio.sleep(0)
        pool.retire_all()
        answers = await sending
        assert all(isinstance(a, Response) and a.session == 2 for a in answers)
        pool.retire_all()
        await until(lambda: pool.open_count == 0)


async def test_a_retired_dial_that_fails_leaves_nothing(authority: Authority) -> None:
    pool = Pool(Endpoint("name.invalid", 1, authority.ca_file), limits=QUICK)
    sending = asyncio.create_task(collect(pool, 3))
    await asyncio.sleep(0)
    pool.retire_all()
    assert kinds(await sending) == {"NotSent": 3}
    await until(lambda: not pool._leaving and pool._ticker is None)


async def test_leaving_early_resets_what_is_open(authority: Authority) -> None:
    server = Loopback(lambda served, stream: served.respond(stream) if len(served.h2.whole) == 1 else None)
    async with connected(server, authority) as pool:
        async with contextlib.aclosing(pool.send(requests(10), 10)) as pages:
            async for page in pages:
                assert len(page) == 1
                break
        await until(lambda: len(server.connections[0].h2.cancelled) == 9)
        assert pool.room == 1_000 and pool.open_count == 1


async def test_a_cancelled_task_leaves_nothing_behind(authority: Authority) -> None:
    server = Loopback(silent)
    async with connected(server, authority) as pool:
        sending = asyncio.create_task(collect(pool, 10))
        await until(lambda: server.connections and len(server.connections[0].h2.whole) == 10)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await until(lambda: len(server.connections[0].h2.cancelled) == 10)
        assert pool.room == 1_000


async def test_close_answers_everything(authority: Authority) -> None:
    server = Loopback(silent, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    async with connected(server, authority, sessions_max=1) as pool:
        sending = asyncio.create_task(collect(pool, 5))
        await until(lambda: server.connections and len(server.connections[0].h2.whole) == 2)
        await pool.close()
        assert kinds(await sending) == {"NoAnswer": 2, "NotSent": 3}
        assert await collect(pool, 1) == [NotSent("the pool is closed")]
        assert len(server.connections) == 1


async def test_close_during_a_dial(authority: Authority) -> None:
    async with connected(Loopback(mute=True), authority) as pool:
        sending = asyncio.create_task(collect(pool, 2))
        await until(lambda: pool.open_count == 1)
        assert pool.room == NEW_SESSION_ROOM - 2
        await pool.close()
        assert await sending == [NotSent("the pool is closed")] * 2


# --- back-pressure


def wide_windows(served: Served) -> None:
    """Flow control lets everything through, so that only the socket holds us back."""
    served.h2.h2.increment_flow_control_window(2**30)
    served.flush()


async def test_a_peer_that_reads_slowly_bounds_what_is_in_memory(authority: Authority) -> None:
    server = Loopback(greet=wide_windows, settings={SettingCodes.INITIAL_WINDOW_SIZE: 2**20})
    limits = QUICK._replace(write_high_bytes=65_536)
    async with connected(server, authority, limits, sessions_max=1) as pool:
        assert kinds(await collect(pool, 1)) == {"Response": 1}
        server.connections[0].transport.pause_reading()
        sending = asyncio.create_task(collect(pool, 4_000, body=b"x" * 10_000))
        await until(lambda: pool.room == 0)
        (session,) = pool._sessions()
        assert session._transport and session._transport.get_write_buffer_size() < 65_536 + 2 * OUTBOX_BYTES_MAX
        server.connections[0].transport.resume_reading()
        assert kinds(await sending) == {"Response": 4_000}


async def test_writing_goes_on_by_itself_when_the_peer_reads_again(authority: Authority) -> None:
    def one_window_for_all(served: Served) -> None:
        wide_windows(served)
        served.h2.returns_windows = False

    server = Loopback(silent, one_window_for_all, {SettingCodes.INITIAL_WINDOW_SIZE: 2**20})
    async with connected(server, authority, QUICK._replace(write_high_bytes=65_536), sessions_max=1) as pool:
        sending = asyncio.create_task(collect(pool, 900, body=b"x" * 10_000))
        await until(lambda: server.connections and server.connections[0].h2.whole)
        server.connections[0].transport.pause_reading()
        await until(lambda: pool.room == 0)
        server.connections[0].transport.resume_reading()
        await until(lambda: len(server.connections[0].h2.whole) == 900)
        server.connections[0].respond_to_all()
        assert kinds(await sending) == {"Response": 900}


async def test_a_peer_that_never_reads_is_given_up(authority: Authority) -> None:
    server = Loopback(greet=wide_windows, settings={SettingCodes.INITIAL_WINDOW_SIZE: 2**20})
    limits = QUICK._replace(write_high_bytes=65_536, write_max_bytes=65_536)
    async with connected(server, authority, limits, sessions_max=1) as pool:
        assert kinds(await collect(pool, 1)) == {"Response": 1}
        server.connections[0].transport.pause_reading()
        answers = await collect(pool, 1_000, body=b"x" * 20_000, timeout_s=2)
        assert NoAnswer("the peer does not read what we send", 1) in answers
        server.connections[0].transport.abort()
