"""nghttpd, the program as it is shipped, by what its command line can be asked for."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pushrpc.exchange import Answer, Endpoint, Requests, Response, Row
from pushrpc.transport.pool import Pool
from tests.tls import Authority, make_authority
from tests.transport.loopback import DEADLINE_S
from tests.transport.requests import TEMPLATE

NGHTTPD = shutil.which("nghttpd")
pytestmark = pytest.mark.skipif(NGHTTPD is None, reason="no nghttpd on this machine (Debian: nghttp2-server)")

ROWS = 300


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def serving(authority: Authority, directory: Path, *flags: str) -> AsyncIterator[Pool]:
    assert NGHTTPD
    cert, key = authority.issue(["localhost", "127.0.0.1"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]  # nghttpd does not say which port it took
    process = await asyncio.create_subprocess_exec(
        NGHTTPD, "-a", "127.0.0.1", "-d", directory, *flags, str(port), key, cert
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            await _listens(port)
        pool = Pool(Endpoint("127.0.0.1", port, authority.ca_file))
        try:
            yield pool
        finally:
            await pool.close()
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), DEADLINE_S)


async def _listens(port: int) -> None:
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            return writer.close()
        await asyncio.sleep(0.01)


async def send(pool: Pool, rows: list[Row]) -> list[Answer]:
    found: dict[int, Answer] = {}
    async for page in pool.send(Requests([TEMPLATE], rows), DEADLINE_S):
        assert not found.keys() & dict(page).keys()
        found.update(page)
    return [found[row] for row in range(len(rows))]


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--padding=255",),
        ("--trailer=x-checksum: 7",),
        ("--no-content-length",),
        ("--max-concurrent-streams=1",),
        ("--header-table-size=0",),
        ("--header-table-size=200",),
        ("--window-bits=10", "--connection-window-bits=16"),
        ("--padding=255", "--trailer=x-checksum: 7", "--window-bits=10", "--header-table-size=0"),
    ],
    ids=" ".join,
)
async def test_each_body_comes_back_to_its_own_row(
    authority: Authority, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    rows = [Row(0, b"/echo", [], b"token-%d " % n * (1 + n % 400), (n,)) for n in range(ROWS)]
    async with serving(authority, tmp_path, "--echo-upload", *flags) as pool:
        for row, answer in zip(rows, await send(pool, rows), strict=True):
            assert isinstance(answer, Response) and (answer.status, answer.body) == (200, row.body)


async def test_answers_may_come_before_the_request_has_ended(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("a file")
    rows = [Row(0, b"/here" if n % 2 else b"/gone", [], b"b" * 4_000, (n,)) for n in range(ROWS)]
    async with serving(authority, tmp_path, "--early-response") as pool:
        for n, answer in enumerate(await send(pool, rows)):
            assert isinstance(answer, Response) and answer.status == (200 if n % 2 else 404)
            assert (answer.body == b"a file") == bool(n % 2)
