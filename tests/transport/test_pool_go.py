"""The pool against a server that nobody here wrote: Go's net/http, over TLS on loopback."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pushrpc.exchange import Answer, Endpoint, NotSent, Requests, Response, Row
from pushrpc.transport.pool import Pool
from pushrpc.transport.session import Limits
from tests.tls import Authority, make_authority
from tests.transport.requests import TEMPLATE

GO = shutil.which("go")
pytestmark = pytest.mark.skipif(GO is None, reason="no Go toolchain on this machine")

REDIAL_SOON = Limits(redial_s=0.05, goodbye_s=0.5)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert GO
    built = tmp_path_factory.mktemp("go") / "server"
    subprocess.run([GO, "build", "-o", built, "."], cwd=Path(__file__).parent / "go_server", check=True, timeout=300)
    return built


@asynccontextmanager
async def serving(binary: Path, authority: Authority, *flags: str) -> AsyncIterator[Pool]:
    cert, key = authority.issue(["localhost", "127.0.0.1"])
    process = await asyncio.create_subprocess_exec(
        binary, "-cert", cert, "-key", key, *flags, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin and process.stdout
    port = int(await asyncio.wait_for(process.stdout.readline(), 10))
    pool = Pool(Endpoint("127.0.0.1", port, authority.ca_file), limits=REDIAL_SOON)
    try:
        yield pool
    finally:
        await pool.close()
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 10)


async def send(pool: Pool, rows: list[Row], timeout_s: float = 30) -> list[Answer]:
    found: dict[int, Answer] = {}
    async for page in pool.send(Requests([TEMPLATE], rows), timeout_s):
        for row, answer in page:
            assert row not in found
            found[row] = answer
    return [found[row] for row in range(len(rows))]


def row(n: int, kind: str, body: bytes | None = None) -> Row:
    return Row(0, f"/{kind}/{n}".encode(), [(b"apns-id", b"id-%d" % n)], body, (n,))


def check(answers: list[Answer], rows: list[Row]) -> None:
    """Each row has the status its path asks for, its own id, and its whole body came."""
    for asked, answer in zip(rows, answers, strict=True):
        assert isinstance(answer, Response), answer
        kind = int(asked.path.split(b"/")[1])
        assert answer.status == (200 if kind == 201 else kind)
        assert answer.header(b"apns-id") == asked.headers[0][1]
        assert answer.header(b"x-body-length") == b"%d" % len(TEMPLATE.body if asked.body is None else asked.body)  # type: ignore[arg-type]
        assert bool(answer.body) == (kind != 200)


async def test_thousands_of_requests_with_bodies(binary: Path, authority: Authority) -> None:
    kinds = ["200"] * 6 + ["201", "410", "413", "503"]
    rows = [row(n, kinds[n % 10], None if n % 3 else b"b" * (n % 4_097)) for n in range(6_000)]
    async with serving(binary, authority) as pool:
        first, second = await asyncio.gather(send(pool, rows[:3_000]), send(pool, rows[3_000:]))
        check(first, rows[:3_000])
        check(second, rows[3_000:])
        assert Counter(a.status for a in first if isinstance(a, Response)) == {200: 2_100, 410: 300, 413: 300, 503: 300}


@pytest.mark.parametrize("flags", [("-window", "512"), ("-streams", "1"), ("-table", "0"), ("-table", "200")])
async def test_servers_with_narrow_limits(binary: Path, authority: Authority, flags: tuple[str, ...]) -> None:
    rows = [row(n, "200" if n % 2 else "410", b"b" * (n * 7 % 4_097)) for n in range(400)]
    async with serving(binary, authority, *flags) as pool:
        check(await send(pool, rows), rows)


async def test_a_graceful_shutdown_loses_nothing_silently(binary: Path, authority: Authority) -> None:
    """Every row ends as its answer or as NotSent; rows that find the listener gone are told so."""
    rows = [row(n, "shutdown" if n == 200 else "200") for n in range(2_000)]
    async with serving(binary, authority, "-streams", "100") as pool:
        answers = await send(pool, rows)
        answered = [a for a in answers if isinstance(a, Response)]
        refused = [a for a in answers if isinstance(a, NotSent)]
        assert len(answered) >= 200 and len(answered) + len(refused) == 2_000
        assert refused and all(a.status == 200 for a in answered)
        (late,) = await send(pool, [row(1, "200")])
        assert isinstance(late, NotSent) and late.failed_connect
