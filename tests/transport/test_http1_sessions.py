"""HTTP/1.1 sessions over real TLS sockets on loopback: what servers do to a request, and what is told of it."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from aiohttp import web

from pushrpc.exchange import Answer, Endpoint, NoAnswer, NotSent, Requests, Response, Row, Template
from pushrpc.transport import dial, http1_sessions, open_sessions
from pushrpc.transport.http1_sessions import CONNECTIONS_MAX, HttpSessions, Limits
from pushrpc.transport.http1_wire import BODY_BYTES_MAX, Wire
from pushrpc.transport.pool import Pool
from tests.tls import Authority, make_authority
from tests.transport.http1_server import OK, Accepted, RawServer, Script, answer_all
from tests.transport.loopback import DEADLINE_S, collect, server_context, until
from tests.transport.requests import TEMPLATE, requests

QUICK = Limits(redial_s=0.1, redial_max_s=0.4, goodbye_s=0.2)


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def connected(
    server: RawServer, authority: Authority, limits: Limits = QUICK, connections_max: int = CONNECTIONS_MAX
) -> AsyncIterator[HttpSessions]:
    """Sessions to a listening server; both are gone afterwards."""
    async with server.listening(server_context(authority, ())):
        sessions = HttpSessions(endpoint(server, authority), connections_max, limits)
        try:
            yield sessions
        finally:
            await sessions.close()
            assert sessions.open_count == 0


def endpoint(server: RawServer, authority: Authority) -> Endpoint:
    return Endpoint("127.0.0.1", server.port, authority.ca_file, http2=False)


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def kinds(answers: Sequence[Answer]) -> Counter[str]:
    return Counter(type(answer).__name__ for answer in answers)


def one(method: bytes = b"POST", body: bytes | None = b"{}", path: bytes = b"/x") -> Requests:
    return Requests([TEMPLATE._replace(method=method, body=body)], [Row(0, path, [], None, ())])


async def ask(sessions: HttpSessions, asked: Requests, timeout_s: float = DEADLINE_S) -> Answer:
    async for ((row, answer),) in sessions.send(asked, timeout_s):
        assert row == 0
        return answer
    raise AssertionError("no page")


def saying(*answers: bytes) -> Script:
    """Answers the requests of each connection with these bytes in turn, then closes it."""

    async def script(accepted: Accepted) -> None:
        for answer in answers:
            await accepted.request()
            await accepted.say(answer)

    return script


async def silent(accepted: Accepted) -> None:
    await accepted.request()
    await accepted.gone()


# --- the ordinary


async def test_every_row_is_answered_on_a_kept_connection(authority: Authority) -> None:
    server = RawServer()
    async with connected(server, authority, connections_max=8) as sessions:
        assert sessions.open_count == 0 and sessions.room == 8
        answers = await collect(sessions, 300)
        assert kinds(answers) == {"Response": 300}
        assert all(isinstance(a, Response) and (a.status, a.body) == (200, b"ok") for a in answers)
        assert sorted(asked.path for asked in server.asked) == sorted(b"/%d" % n for n in range(300))
        assert len(server.connections) == sessions.open_count == 8 and sessions.room == 8
        again = await collect(sessions, 1)
        assert isinstance(again[0], Response) and 1 <= again[0].session <= 8 and len(server.connections) == 8


async def test_an_aiohttp_server_gets_what_was_asked_byte_for_byte(authority: Authority) -> None:
    seen: list[tuple[str, str, dict[str, str], bytes]] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        seen.append((request.method, request.raw_path, _lowered(request.headers), await request.read()))
        return web.Response(status=201, text="made", headers=[("X-Two", "1"), ("X-Two", "2")])

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(authority, ())).start()
    sessions = HttpSessions(Endpoint("127.0.0.1", runner.addresses[0][1], authority.ca_file, http2=False))
    path = b"/?token=AwYAAAD%2bx%2F..//a;b=%7e&c=%C3%A4+'\"|"
    templates = [
        Template(b"POST", b"db5.notify.test:443", [(b"x-wns-type", b"wns/toast")], b"<toast/>"),
        Template(b"GET", b"hub.test", []),
        Template(b"DELETE", b"hub.test", []),
        Template(b"PUT", b"hub.test", []),
    ]
    rows = [Row(n, path, [(b"x-row", b"%d" % n)], None, ()) for n in range(4)] + [Row(0, b"/own", [], b"<tile/>", ())]
    found: dict[int, Answer] = {}
    async for page in sessions.send(Requests(templates, rows), DEADLINE_S):
        found.update(page)
    await sessions.close()
    await runner.cleanup()
    assert sorted(found) == [0, 1, 2, 3, 4]
    for answered in found.values():
        assert isinstance(answered, Response) and (answered.status, answered.body) == (201, b"made")
        assert [value for name, value in answered.headers if name == b"x-two"] == [b"1", b"2"]
    always = {"accept-encoding": "identity"}
    hub = always | {"host": "hub.test"}
    wns = always | {"host": "db5.notify.test:443", "x-wns-type": "wns/toast"}
    assert sorted(seen, key=repr) == sorted(
        [
            ("POST", path.decode(), wns | {"x-row": "0", "content-length": "8"}, b"<toast/>"),
            ("GET", path.decode(), hub | {"x-row": "1"}, b""),
            ("DELETE", path.decode(), hub | {"x-row": "2"}, b""),
            ("PUT", path.decode(), hub | {"x-row": "3", "content-length": "0"}, b""),
            ("POST", "/own", wns | {"content-length": "7"}, b"<tile/>"),
        ],
        key=repr,
    )


async def test_nothing_is_pipelined(authority: Authority) -> None:
    async def script(accepted: Accepted) -> None:
        while True:
            await accepted.request()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(accepted.reader.read(1), 0.05)
            await accepted.say(OK)

    server = RawServer(script)
    async with connected(server, authority, connections_max=1) as sessions:
        assert kinds(await collect(sessions, 4)) == {"Response": 4}
        assert [asked.path for asked in server.asked] == [b"/0", b"/1", b"/2", b"/3"]


async def test_rows_of_concurrent_sends_go_out_in_the_order_of_their_sends(authority: Authority) -> None:
    server = RawServer()
    async with connected(server, authority, connections_max=1) as sessions:
        results = await asyncio.gather(*(collect(sessions, 10) for _ in range(5)))
        assert all(kinds(answers) == {"Response": 10} for answers in results)
        assert [asked.path for asked in server.asked] == [b"/%d" % n for _ in range(5) for n in range(10)]


async def test_no_rows_end_at_once_without_a_connection(authority: Authority) -> None:
    server = RawServer()
    async with connected(server, authority) as sessions:
        assert await collect(sessions, 0) == [] and not server.connections


async def test_plaintext() -> None:
    server = RawServer()
    async with server.listening(None):
        sessions = HttpSessions(Endpoint("127.0.0.1", server.port, http2=False, tls=False))
        assert kinds(await collect(sessions, 3)) == {"Response": 3}
        await sessions.close()


async def test_the_endpoint_says_what_is_spoken() -> None:
    for http2, kind in ((True, Pool), (False, HttpSessions)):
        sessions = open_sessions(Endpoint("127.0.0.1", 1, http2=http2))
        assert isinstance(sessions, kind)
        await sessions.close()


# --- answers


@pytest.mark.parametrize("method", [b"POST", b"GET", b"HEAD"])
@pytest.mark.parametrize(
    ("said", "status", "body", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", True),
        (b"HTTP/1.1 201 \r\nContent-Length: 0\r\n\r\n", 201, b"", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 410 Gone\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbye", 410, b"bye", False),
        (b"HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n", 302, b"", True),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, b"ok", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"ok", True),
        (b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK, 200, b"ok", True),
        (OK + b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b"ok", False),  # an answer to nothing
        (OK[:-2] + b"ok\r\n", 200, b"ok", True),
    ],
)
async def test_answers_of_every_shape(
    authority: Authority, method: bytes, said: bytes, status: int, body: bytes, kept: bool
) -> None:
    if method == b"HEAD":
        said, body = said.replace(b"hello", b"").replace(b"bye", b"").replace(b"\r\n\r\nok", b"\r\n\r\n"), b""

    async def script(accepted: Accepted) -> None:
        await accepted.request()
        await accepted.say(said)
        await accepted.gone()

    async with connected(RawServer(script), authority) as sessions:
        answer = await ask(sessions, one(method))
        assert isinstance(answer, Response) and (answer.status, answer.body) == (status, body)
        if kept:
            assert sessions.open_count == 1
        else:
            await until(lambda: sessions.open_count == 0)


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (CHUNKED + b"5\r\nhello\r\n1;ext=1\r\n!\r\n0\r\n\r\n", b"hello!"),
        (CHUNKED + b"0\r\nx-trailer: 1\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nraw", b"raw"),  # left as it is
    ],
)
@pytest.mark.parametrize("dripped", [False, True])
async def test_bodies_of_every_shape_however_they_come(
    authority: Authority, said: bytes, body: bytes, dripped: bool
) -> None:
    async def script(accepted: Accepted) -> None:
        await accepted.request()
        for at in range(len(said)) if dripped else ():
            await accepted.say(said[at : at + 1])
            await asyncio.sleep(0)
        await accepted.say(b"" if dripped else said)

    async with connected(RawServer(script), authority) as sessions:
        answer = await ask(sessions, one())
        assert isinstance(answer, Response) and answer.body == body


async def test_of_a_huge_answer_the_first_part_is_read_and_the_connection_left(authority: Authority) -> None:
    async def script(accepted: Accepted) -> None:
        await accepted.request()
        await accepted.say(b"HTTP/1.1 400 Bad\r\ncontent-length: 100000000\r\n\r\n")
        while True:
            await accepted.say(b"x" * 65_536)

    async with connected(RawServer(script), authority) as sessions:
        answer = await ask(sessions, one())
        assert isinstance(answer, Response) and (answer.status, answer.body) == (400, b"x" * BODY_BYTES_MAX)
        await until(lambda: sessions.open_count == 0)


async def test_an_answer_that_overtakes_its_request_counts(authority: Authority) -> None:
    async def script(accepted: Accepted) -> None:
        await accepted.head()
        await accepted.say(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        await accepted.gone()

    async with connected(RawServer(script), authority) as sessions:
        answer = await ask(sessions, one(body=b"x" * 10_000_000))
        assert isinstance(answer, Response) and answer.status == 413
        await until(lambda: sessions.open_count == 0)


# --- no answer


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (b"", "the server closed the connection before its answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "the server closed the connection before its answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "the server closed the connection before its answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", "the connection ended within the answer"),
        (CHUNKED + b"5\r\nhel", "the connection ended within the answer"),
        (CHUNKED + b"5\r\nhello\r\n", "the connection ended within the answer"),
        (CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n", "the answer is not HTTP/1.1"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "the answer is not HTTP/1.1"),
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000 + b"\r\n", "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", "another protocol"),
        (b"HTTP/1.1 102 Processing\r\n\r\n" * 100, "the server sends 1xx and no answer"),
    ],
)
async def test_an_answer_that_cannot_be_read_is_no_answer(authority: Authority, said: bytes, detail: str) -> None:
    server = RawServer(saying(said))
    async with connected(server, authority) as sessions:
        answer = await ask(sessions, one(b"GET", None))
        assert isinstance(answer, NoAnswer) and detail in answer.detail and answer.session == 1
        await until(lambda: sessions.open_count == 0)
        assert len(server.asked) == 1, "never repeated"


async def test_a_body_that_turns_to_rubbish_is_no_answer(authority: Authority) -> None:
    async def script(accepted: Accepted) -> None:
        await accepted.request()
        await accepted.say(CHUNKED + b"5\r\nhello\r\n")
        await asyncio.sleep(0.02)
        await accepted.say(b"rubbish\r\n")
        await accepted.gone()

    async with connected(RawServer(script), authority) as sessions:
        assert await ask(sessions, one()) == NoAnswer("the connection ended within the answer", 1)


async def test_a_reset_is_no_answer(authority: Authority) -> None:
    async def script(accepted: Accepted) -> None:
        await accepted.request()
        accepted.reset()

    server = RawServer(script)
    async with connected(server, authority) as sessions:
        answer = await ask(sessions, one())
        assert isinstance(answer, NoAnswer) and answer.session == 1 and len(server.asked) == 1


async def test_a_server_that_closes_after_the_headers_may_have_acted_on_them(authority: Authority) -> None:
    async def script(accepted: Accepted) -> None:
        await accepted.head()

    async with connected(RawServer(script), authority) as sessions:
        assert isinstance(await ask(sessions, one(body=b"x" * 1_000_000)), NoAnswer)


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"POST"])
async def test_a_kept_connection_that_ends_under_a_request_is_no_answer_and_no_repeat(
    authority: Authority, method: bytes
) -> None:
    async def script(accepted: Accepted) -> None:
        await accepted.request()
        await accepted.say(OK)
        await accepted.request()

    server = RawServer(script)
    async with connected(server, authority) as sessions:
        assert isinstance(await ask(sessions, one(method)), Response)
        lost = await ask(sessions, one(method))
        assert lost == NoAnswer("the server closed the connection before its answer", 1)
        assert len(server.asked) == 2
        answer = await ask(sessions, one(method))
        assert isinstance(answer, Response) and answer.session == 2, "one that has worked is no reason to wait"


async def test_a_kept_connection_that_has_ended_is_not_used(authority: Authority) -> None:
    server = RawServer(saying(OK))
    async with connected(server, authority) as sessions:
        for number in range(1, 5):
            answer = await ask(sessions, one())
            assert isinstance(answer, Response) and answer.session == number
            await until(lambda: sessions.open_count == 0)


async def test_what_a_server_says_unasked_answers_nothing(authority: Authority) -> None:
    async def script(accepted: Accepted) -> None:
        await accepted.request()
        await accepted.say(OK)
        await asyncio.sleep(0.02)
        await accepted.say(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        await accepted.gone()

    async with connected(RawServer(script), authority) as sessions:
        for number in (1, 2):
            answer = await ask(sessions, one())
            assert isinstance(answer, Response) and (answer.status, answer.session) == (200, number)
            await until(lambda: sessions.open_count == 0)


async def test_of_rows_that_meet_a_server_at_its_worst_each_is_told_the_truth(authority: Authority) -> None:
    """Answered rows were seen once, NoAnswer at most once, NotSent never."""
    chance = random.Random(5)

    async def script(accepted: Accepted) -> None:
        while True:
            if chance.random() < 0.1:
                return None  # perhaps under a request that is on its way
            await accepted.request()
            match chance.randrange(8):
                case 0:
                    return None
                case 1:
                    return accepted.reset()
                case 2:
                    return await accepted.say(OK[:-1])
                case 3:
                    return await accepted.say(OK.replace(b"content-length", b"connection: close\r\ncontent-length"))
                case _:
                    await accepted.say(OK)

    server = RawServer(script)
    limits = QUICK._replace(redial_s=0.001, redial_max_s=0.002)
    async with connected(server, authority, limits, connections_max=8) as sessions:
        found: dict[bytes, Answer] = {}
        counts = kinds([])
        turn = 0
        # As many as it takes: on a busy machine most rows find no connection in the short time that they have here.
        while turn < 60 or not (counts["Response"] > 100 and counts["NoAnswer"] > 20):
            turn += 1
            paths = [b"/%d/%d" % (turn, n) for n in range(10)]
            async for page in sessions.send(requests(10, paths=paths), DEADLINE_S):
                assert not found.keys() & {paths[row] for row, _ in page}
                found.update((paths[row], answer) for row, answer in page)
            counts = kinds(list(found.values()))
        seen = Counter(asked.path for asked in server.asked)
        for path, answer in found.items():
            assert seen[path] in {Response: (1,), NoAnswer: (0, 1), NotSent: (0,)}[type(answer)]
        assert counts.total() == turn * 10


# --- deadlines


async def test_no_answer_by_the_deadline_takes_the_connection_along(authority: Authority) -> None:
    server = RawServer(silent)
    async with connected(server, authority, connections_max=2) as sessions:
        answers = await collect(sessions, 5, timeout_s=0.3)
        assert sorted(map(str, answers[:2])) == [str(NoAnswer("no answer within 0.3 s", n)) for n in (1, 2)]
        assert answers[2:] == [NotSent("no session had room within 0.3 s")] * 3
        await until(lambda: not server.live and sessions.open_count == 0)
        assert sessions.room == 2
        server.script = answer_all
        assert kinds(await collect(sessions, 3)) == {"Response": 3}


async def test_an_answer_that_drips_ends_with_the_deadline(authority: Authority) -> None:
    async def script(accepted: Accepted) -> None:
        await accepted.request()
        await accepted.say(CHUNKED)
        while True:
            await accepted.say(b"1\r\nx\r\n")
            await asyncio.sleep(0.01)

    async with connected(RawServer(script), authority) as sessions:
        assert await ask(sessions, one(), 0.2) == NoAnswer("no answer within 0.2 s", 1)


async def test_a_server_that_does_not_read_is_no_answer_by_the_deadline(authority: Authority) -> None:
    async def script(accepted: Accepted) -> None:
        accepted.stop_reading()
        await accepted.writer.wait_closed()

    async with connected(RawServer(script), authority) as sessions:
        assert await ask(sessions, one(body=b"x" * 50_000_000), 0.5) == NoAnswer("no answer within 0.5 s", 1)
        await until(lambda: sessions.open_count == 0)


async def test_what_may_not_start_late_is_refused_while_the_wire_goes_on(authority: Authority) -> None:
    go_on = asyncio.Event()

    async def script(accepted: Accepted) -> None:
        await accepted.request()
        await go_on.wait()
        await accepted.say(OK)

    async with connected(RawServer(script), authority, connections_max=2) as sessions:
        pages = sessions.send(requests(5), timeout_s=DEADLINE_S, start_within_s=0.3)
        refused = await asyncio.wait_for(anext(pages), 5)
        assert refused == [(row, NotSent("not started within 0.3 s")) for row in (2, 3, 4)]
        go_on.set()
        answered = [row async for page in pages for row, answer in page if isinstance(answer, Response)]
        assert sorted(answered) == [0, 1]


async def test_a_deadline_that_has_passed_sends_nothing(authority: Authority) -> None:
    server = RawServer()
    async with connected(server, authority) as sessions:
        assert kinds(await collect(sessions, 2, timeout_s=0.0)) == {"NotSent": 2}
        assert not server.asked


async def test_a_caller_that_leaves_takes_its_rows_off_the_wire(authority: Authority) -> None:
    async def script(accepted: Accepted) -> None:
        if (await accepted.request()).path == b"/0":
            await accepted.say(OK)
        await accepted.gone()

    server = RawServer(script)
    async with connected(server, authority, connections_max=3) as sessions:
        pages = sessions.send(requests(10), DEADLINE_S)
        assert [row for row, _ in await anext(pages)] == [0]
        await until(lambda: len(server.asked) >= 3)
        await pages.aclose()
        asked = len(server.asked)
        assert sessions.room == 3
        await until(lambda: sessions.open_count <= 1)
        server.script = answer_all
        assert kinds(await collect(sessions, 2)) == {"Response": 2}
        assert len(server.asked) == asked + 2, "rows that had not started never do"


# --- dials that fail


async def test_refused_connections_are_told_at_once_and_dialled_again_later(authority: Authority) -> None:
    server = RawServer()
    async with server.listening(server_context(authority, ())):
        pass  # the port is free again
    sessions = HttpSessions(endpoint(server, authority), limits=QUICK._replace(redial_s=0.3))
    answers = await collect(sessions, 3)
    for answer in answers:
        assert isinstance(answer, NotSent) and answer.failed_connect
        assert answer.detail.startswith(f"127.0.0.1:{server.port}: ")
    async with server.listening(server_context(authority, ())):
        assert await collect(sessions, 3) == answers, "the same refusal, without a dial, while the hold-off runs"
        assert not server.connections
        async with asyncio.timeout(5):
            while kinds(await collect(sessions, 1)) != {"Response": 1}:  # noqa: ASYNC110 (asking is what brings it)
                await asyncio.sleep(0.01)
        await sessions.close()


async def test_what_is_wrong_with_a_dial_is_named(authority: Authority, tmp_path: Path) -> None:
    server = RawServer()
    async with server.listening(server_context(authority, ())):
        good = endpoint(server, authority)
        for target, word in (
            (good._replace(ca_file=make_authority(tmp_path).ca_file), "not trusted"),
            (good._replace(ca_file="/nowhere/ca.pem"), "ca_file /nowhere/ca.pem"),
            (good._replace(certificate=("/nowhere/c", "/nowhere/k")), "certificate /nowhere/c"),
            (good._replace(host="name.invalid"), "does not resolve"),
            (good._replace(host="push..example"), "push..example"),
        ):
            sessions = HttpSessions(target, limits=QUICK)
            (answer,) = await collect(sessions, 1)
            await sessions.close()
            assert isinstance(answer, NotSent) and answer.failed_connect
            assert word in answer.detail and "\n" not in answer.detail
    assert not server.asked


async def test_a_server_that_says_nothing_in_the_handshake_is_given_up(authority: Authority) -> None:
    server = RawServer(Accepted.gone)
    async with server.listening(None):  # it waits for a request, we for its hello
        sessions = HttpSessions(endpoint(server, authority), limits=QUICK._replace(connect_s=0.2))
        (answer,) = await collect(sessions, 1)
        await sessions.close()
        assert isinstance(answer, NotSent) and answer.failed_connect and "no connection within 0.2 s" in answer.detail


async def test_a_client_certificate_is_shown(authority: Authority) -> None:
    context = server_context(authority, ())
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca_file)
    server = RawServer()
    async with server.listening(context):
        own = HttpSessions(endpoint(server, authority)._replace(certificate=authority.issue(["shop"])))
        assert kinds(await collect(own, 3)) == {"Response": 3}
        await own.close()


async def test_until_one_dial_succeeds_only_one_is_tried(authority: Authority) -> None:
    server = RawServer(Accepted.gone)
    async with server.listening(None):
        sessions = HttpSessions(endpoint(server, authority), limits=QUICK._replace(connect_s=0.2))
        answers = await collect(sessions, 50)
        await sessions.close()
        assert kinds(answers) == {"NotSent": 50} and len(server.connections) == 1


async def test_connections_that_bring_nothing_are_dialled_ever_more_seldom(authority: Authority) -> None:
    async def script(accepted: Accepted) -> None:
        await accepted.request()

    server = RawServer(script)
    async with connected(server, authority) as sessions:
        loop = asyncio.get_running_loop()
        started, seen = loop.time(), Counter[str]()
        while loop.time() < started + 1.0:
            seen += kinds(await collect(sessions, 1))
            await asyncio.sleep(0.01)
        assert 4 <= len(server.connections) == seen["NoAnswer"] <= 7, "three, and then after 0.1, 0.3, 0.7 s"
        assert seen["NotSent"] > 20


async def test_dials_that_fail_together_count_once(authority: Authority) -> None:
    server = RawServer(saying(OK))
    async with server.listening(server_context(authority, ())):
        sessions = HttpSessions(endpoint(server, authority), limits=QUICK._replace(redial_max_s=60))
        assert kinds(await collect(sessions, 1)) == {"Response": 1}
        await until(lambda: sessions.open_count == 0)
    assert kinds(await collect(sessions, 10)) == {"NotSent": 10}, "ten dials at once"
    async with server.listening(server_context(authority, ())), asyncio.timeout(1):
        while kinds(await collect(sessions, 1)) != {"Response": 1}:  # noqa: ASYNC110 (asking is what brings it)
            await asyncio.sleep(0.01)
        await sessions.close()


async def test_a_connection_that_is_gone_before_its_first_request_is_a_failed_dial(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect_and_lose(target: Endpoint, wire: Wire, connect_s: float, goodbye_s: float) -> None:
        await dial.connect(target, wire, connect_s, goodbye_s)
        wire.data_received(b"220 mail.test ESMTP\r\n")  # somebody else's port

    monkeypatch.setattr(http1_sessions, "connect", connect_and_lose)
    server = RawServer()
    async with connected(server, authority) as sessions:
        (answer,) = await collect(sessions, 1)
        assert answer == NotSent(f"127.0.0.1:{server.port}: the server closed the connection at once", True)
        assert sessions.open_count == 0


# --- retiring, closing, room


async def test_a_retired_connection_takes_nothing_new(authority: Authority) -> None:
    server = RawServer()
    async with connected(server, authority) as sessions:
        first = await ask(sessions, one())
        assert isinstance(first, Response)
        sessions.retire(first.session)
        sessions.retire(99)
        second = await ask(sessions, one())
        assert isinstance(second, Response) and second.session != first.session
        await until(lambda: sessions.open_count == 1)


async def test_after_a_credential_change_what_is_open_ends_and_new_work_goes_to_new_connections(
    authority: Authority,
) -> None:
    go_on = asyncio.Event()

    async def script(accepted: Accepted) -> None:
        while True:
            await accepted.request()
            await go_on.wait()
            await accepted.say(OK)

    server = RawServer(script)
    async with connected(server, authority, connections_max=2) as sessions:
        early = asyncio.create_task(collect(sessions, 1))
        await until(lambda: server.asked)
        sessions.retire_all()
        late = asyncio.create_task(collect(sessions, 1))
        await until(lambda: len(server.asked) == 2)
        sessions.retire_all()
        third = asyncio.create_task(collect(sessions, 1))  # waits: two are busy
        go_on.set()
        answers = [answer for task in (early, late, third) for answer in await task]
        assert [a.session for a in answers if isinstance(a, Response)] == [1, 2, 3]
        await until(lambda: sessions.open_count == 1)


async def test_a_dial_that_was_under_way_at_a_credential_change_is_not_used(authority: Authority) -> None:
    server = RawServer()
    async with connected(server, authority) as sessions:
        collecting = asyncio.create_task(collect(sessions, 1))
        await asyncio.sleep(0)
        sessions.retire_all()
        (answer,) = await collecting
        assert isinstance(answer, Response) and answer.session == 2


async def test_closing_ends_what_is_on_the_wire_and_what_waits(authority: Authority) -> None:
    server = RawServer(silent)
    async with connected(server, authority, connections_max=2) as sessions:
        collecting = asyncio.create_task(collect(sessions, 4))
        await until(lambda: len(server.asked) == 2)
        await sessions.close()
        assert kinds(await collecting) == {"NoAnswer": 2, "NotSent": 2}
        assert await collect(sessions, 1) == [NotSent("the sessions are closed")]
        await until(lambda: not server.live)


async def test_closing_ends_a_dial(authority: Authority) -> None:
    server = RawServer(Accepted.gone)
    async with server.listening(None):
        sessions = HttpSessions(endpoint(server, authority))
        collecting = asyncio.create_task(collect(sessions, 1))
        await until(lambda: server.connections)
        await sessions.close()
        assert await collecting == [NotSent("the sessions are closed")]
        await until(lambda: not server.live)


async def test_room_is_what_is_free_and_comes_back_with_every_answer(authority: Authority) -> None:
    go_on = asyncio.Event()

    async def script(accepted: Accepted) -> None:
        while True:
            await accepted.request()
            await go_on.wait()
            await accepted.say(OK)

    server = RawServer(script)
    async with connected(server, authority, connections_max=4) as sessions:
        told: list[int] = []
        sessions.on_room = lambda: told.append(sessions.room)
        collecting = asyncio.create_task(collect(sessions, 3))
        await until(lambda: len(server.asked) == 3)
        assert sessions.room == 1
        extra = asyncio.create_task(collect(sessions, 9))
        await until(lambda: len(server.asked) == 4)
        assert sessions.room == 0
        told.clear()
        go_on.set()
        await asyncio.gather(collecting, extra)
        assert sessions.room == 4 and told == sorted(told) and told[-1] == 4


async def test_idle_connections_are_closed(authority: Authority) -> None:
    server = RawServer()
    async with connected(server, authority, QUICK._replace(idle_s=0.1)) as sessions:
        assert kinds(await collect(sessions, 5)) == {"Response": 5}
        await until(lambda: sessions.open_count == 0 and not server.live)


@pytest.mark.parametrize(
    ("timeout", "kept"), [(b"timeout=1", False), (b"max=5, timeout=5", True), (b"timeout=x", True)]
)
async def test_a_connection_is_left_before_the_server_leaves_it(
    authority: Authority, timeout: bytes, kept: bool
) -> None:
    said = b"HTTP/1.1 200 OK\r\nkeep-alive: " + timeout + b"\r\ncontent-length: 0\r\n\r\n"
    async with connected(RawServer(saying(said, said)), authority) as sessions:
        for _ in range(2):
            assert isinstance(await ask(sessions, one()), Response)
        last = await ask(sessions, one())
        assert isinstance(last, Response) and last.session == (2 if kept else 3)


@pytest.mark.parametrize(
    "asked",
    [
        one(path=b"/a b"),
        one(path=b"/a\r\nx: y"),
        one(path=b"/a\n"),
        one(path=b"/\0"),
        Requests([TEMPLATE._replace(authority=b"a\r\nb: c")], [Row(0, b"/", [], None, ())]),
        Requests([TEMPLATE], [Row(0, b"/", [(b"x", b"y\r\n\r\nGET / HTTP/1.1")], None, ())]),
        Requests([TEMPLATE], [Row(0, b"/", [], None, ()), Row(0, b"/", [(b"x\r", b"y")], None, ())]),
    ],
)
async def test_one_request_never_becomes_two(authority: Authority, asked: Requests) -> None:
    server = RawServer()
    async with connected(server, authority) as sessions:
        with pytest.raises(ValueError, match="cannot carry"):
            await ask(sessions, asked)
        assert sessions.room == CONNECTIONS_MAX and not server.asked
