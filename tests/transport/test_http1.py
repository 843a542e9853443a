"""Single requests over HTTP/1.1 against an aiohttp server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from pushrpc.exchange import Request
from pushrpc.transport import ExchangeFailed, Fetch
from pushrpc.transport.http1 import BODY_BYTES_MAX, HttpFetch
from tests.tls import make_authority
from tests.transport.loopback import server_context


class TokenServer:
    """Answers by path, and remembers what came."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[tuple[str, str, bytes]] = []
        self.release = asyncio.Event()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append((request.method, request.headers.get("Authorization", ""), await request.read()))
        match request.path:
            case "/redirect":
                raise web.HTTPFound("/token")
            case "/big":
                return web.Response(body=b"x" * (BODY_BYTES_MAX + 1))
            case "/largest":
                return web.Response(body=b"x" * BODY_BYTES_MAX)
            case "/slow":
                await self.release.wait()
        return web.json_response({"access_token": "secret"}, headers={"Retry-After": "7"})

    @asynccontextmanager
    async def serving(self, **options: object) -> AsyncIterator[TokenServer]:
        runner = web.ServerRunner(web.Server(self.answer))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, **options)  # type: ignore[arg-type]
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            self.release.set()
            await runner.cleanup()


@asynccontextmanager
async def fetching() -> AsyncIterator[Fetch]:
    fetch = HttpFetch()
    try:
        yield fetch
    finally:
        await fetch.close()


def request(server: TokenServer, path: str = "/token", scheme: str = "http", ca_file: str = "") -> Request:
    url = f"{scheme}://127.0.0.1:{server.port}{path}"
    return Request("POST", url, [(b"authorization", b"bearer x")], b"grant_type=jwt", ca_file)


async def test_an_answer_comes_back_whole() -> None:
    async with TokenServer().serving() as server, fetching() as fetch:
        answer = await fetch(request(server), 5)
        assert (answer.status, answer.body) == (200, b'{"access_token": "secret"}')
        assert answer.header(b"retry-after") == b"7"
        assert server.seen == [("POST", "bearer x", b"grant_type=jwt")]


async def test_a_redirect_is_an_answer_not_followed() -> None:
    async with TokenServer().serving() as server, fetching() as fetch:
        answer = await fetch(request(server, "/redirect"), 5)
        assert answer.status == 302 and answer.header(b"location") == b"/token" and len(server.seen) == 1


async def test_a_body_past_its_bound_fails() -> None:
    async with TokenServer().serving() as server, fetching() as fetch:
        assert len((await fetch(request(server, "/largest"), 5)).body) == BODY_BYTES_MAX
        with pytest.raises(ExchangeFailed, match="more than 65536 bytes"):
            await fetch(request(server, "/big"), 5)


async def test_no_answer_in_time_fails() -> None:
    async with TokenServer().serving() as server, fetching() as fetch:
        with pytest.raises(ExchangeFailed, match=r"127\.0\.0\.1: no answer within 0\.05 s"):
            await fetch(request(server, "/slow"), 0.05)


async def test_tls_is_verified_against_the_requests_own_authority(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    ours.mkdir()
    other.mkdir()
    authority = make_authority(ours)
    tls = server_context(authority, ())
    async with TokenServer().serving(ssl_context=tls) as server, fetching() as fetch:
        assert (await fetch(request(server, scheme="https", ca_file=authority.ca_file), 5)).status == 200
        for ca_file, word in (
            (make_authority(other).ca_file, "not trusted"),
            ("", "not trusted"),
            (str(tmp_path / "missing.pem"), "missing.pem"),
        ):
            with pytest.raises(ExchangeFailed, match=word) as failed:
                await fetch(request(server, scheme="https", ca_file=ca_file), 5)
            assert "\n" not in str(failed.value)


async def test_plaintext_leaves_the_machine_never() -> None:
    async with fetching() as fetch:
        for url in ("http://push.test/token", "http://10.0.0.1/token", "ftp://127.0.0.1/", "nothing"):
            with pytest.raises(ExchangeFailed, match="only https"):
                await fetch(Request("POST", url, [], b""), 5)


async def test_a_refused_connection_is_one_line_without_what_was_sent() -> None:
    async with TokenServer().serving() as server:
        gone = request(server)
    async with fetching() as fetch:
        with pytest.raises(ExchangeFailed) as failed:
            await fetch(gone, 5)
        assert str(failed.value).startswith("127.0.0.1: ") and "\n" not in str(failed.value)
        assert "bearer" not in str(failed.value) and "jwt" not in str(failed.value)


async def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with TokenServer().serving() as server, fetching() as fetch:
        assert (await fetch(request(server), 5)).status == 200
