"""HTTP/1.1 sessions against servers that nobody here wrote: Go's net/http and Node.js's https, over TLS on loopback."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pushrpc.exchange import Answer, Endpoint, NoAnswer, Requests, Response, Row, Template
from pushrpc.transport.http1_sessions import HttpSessions
from tests.tls import Authority, make_authority

HERE = Path(__file__).parent
BUILD_S = 100.0
WAIT_S = 20.0
TEMPLATE = Template(b"POST", b"push.test", [(b"authorization", b"bearer t")], b"<toast>")
VERBS = (b"length", b"chunked", b"empty", b"close", b"hints", b"406", b"503")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module", params=["go", "node"])
def command(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sequence[str | Path]:
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"no {request.param} on this machine")
    if request.param == "node":
        return [program, HERE / "http1_node_server" / "main.mjs"]
    built = tmp_path_factory.mktemp("go") / "server"
    subprocess.run([program, "build", "-o", built, "."], cwd=HERE / "http1_go_server", check=True, timeout=BUILD_S)
    return [built]


@asynccontextmanager
async def serving(
    command: Sequence[str | Path], authority: Authority, connections_max: int
) -> AsyncIterator[HttpSessions]:
    cert, key = authority.issue(["localhost", "127.0.0.1"])
    process = await asyncio.create_subprocess_exec(
        *command, "--cert", cert, "--key", key, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin and process.stdout
    port = int(await asyncio.wait_for(process.stdout.readline(), WAIT_S))
    sessions = HttpSessions(Endpoint("127.0.0.1", port, authority.ca_file, http2=False), connections_max)
    try:
        yield sessions
    finally:
        await sessions.close()
        process.stdin.close()
        await asyncio.wait_for(process.wait(), WAIT_S)


async def send(sessions: HttpSessions, paths: Sequence[bytes]) -> list[Answer]:
    found: dict[int, Answer] = {}
    rows = [Row(0, path, [], b"<toast>%d</toast>" % n, ()) for n, path in enumerate(paths)]
    async for page in sessions.send(Requests([TEMPLATE], rows), WAIT_S):
        assert not found.keys() & dict(page).keys()
        found.update(page)
    return [found[row] for row in range(len(rows))]


async def test_answers_of_every_kind(command: Sequence[str | Path], authority: Authority) -> None:
    async with serving(command, authority, connections_max=8) as sessions:
        paths = [b"/%b/%d" % (VERBS[n % len(VERBS)], n) for n in range(700)]
        for n, answer in enumerate(await send(sessions, paths)):
            verb = VERBS[n % len(VERBS)]
            status = {b"empty": 204, b"406": 406, b"503": 503}.get(verb, 200)
            body = b"" if status == 204 else b"<toast>%d</toast>" % n
            assert isinstance(answer, Response) and (answer.status, answer.body) == (status, body)
        (seen,) = await send(sessions, [b"/seen"])
        assert isinstance(seen, Response) and seen.body == b"700"


async def test_what_the_server_breaks_off_is_told_and_not_repeated(
    command: Sequence[str | Path], authority: Authority
) -> None:
    async with serving(command, authority, connections_max=4) as sessions:
        await send(sessions, [b"/length/x"] * 4)
        answers = await send(sessions, [b"/abort/x" if n % 5 == 4 else b"/length/x" for n in range(100)])
        for n, answer in enumerate(answers):
            if n % 5 == 4:
                assert isinstance(answer, NoAnswer)
            else:
                assert isinstance(answer, Response) and answer.status == 200
        (seen,) = await send(sessions, [b"/seen"])
        assert isinstance(seen, Response) and seen.body == b"104"


async def test_a_large_body_goes_out_whole(command: Sequence[str | Path], authority: Authority) -> None:
    async with serving(command, authority, connections_max=1) as sessions:
        asked = Requests([TEMPLATE], [Row(0, b"/empty/x", [], b"x" * 5_000_000, ())])
        async for ((_, answer),) in sessions.send(asked, WAIT_S):
            assert isinstance(answer, Response) and answer.status == 204
