"""Single requests over HTTP/1.1: credential renewals, and providers that speak nothing newer."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from pushrpc.exchange import Request, Response
from pushrpc.transport import ExchangeFailed
from pushrpc.transport.dial import DialFailed, problem, tls_context

BODY_BYTES_MAX: Final = 65_536  # token endpoints answer with a few KiB
CONNECT_TIMEOUT_S: Final = 5.0
CONNECTIONS_MAX: Final = 16  # renewals are rare; one server never needs more at once
KEEPALIVE_S: Final = 15.0


class HttpFetch:
    """Sends one request and returns its answer whatever its status: no redirects, no proxy, no cookies, no repeat.

    Plain `http` is for loopback hosts only. Bodies above 64 KiB fail. Raises ExchangeFailed with one line for a
    person, which names the host and never what was sent. Belongs to one event loop; `close` ends its connections.
    """

    def __init__(self) -> None:
        self._clients: dict[str, aiohttp.ClientSession] = {}  # by ca_file, of which configuration names a few

    async def __call__(self, request: Request, timeout_s: float) -> Response:
        """The answer within `timeout_s`, connecting and reading included."""
        url = urlsplit(request.url)
        host = url.hostname or ""
        if url.scheme != "https" and not (url.scheme == "http" and _is_loopback(host)):
            raise ExchangeFailed(f"{host}: only https, or http to a loopback host, is allowed")
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(request)
        except TimeoutError as error:
            raise ExchangeFailed(f"{host}: no answer within {timeout_s:g} s") from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise ExchangeFailed(f"{host}: {problem(error.certificate_error)}") from error
        except aiohttp.ClientOSError as error:
            raise ExchangeFailed(f"{host}: {problem(getattr(error, 'os_error', error))}") from error
        except (aiohttp.ClientError, DialFailed, OSError, ValueError) as error:
            raise ExchangeFailed(f"{host}: {problem(error)}") from error

    async def close(self) -> None:
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()

    async def _exchange(self, request: Request) -> Response:
        client = await self._client(request.ca_file)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
        async with client.request(
            request.method, request.url, data=request.body or None, headers=headers, allow_redirects=False
        ) as answer:
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise ExchangeFailed(f"{answer.url.host}: an answer of more than {BODY_BYTES_MAX} bytes")
            raw = [(name.lower(), value) for name, value in answer.raw_headers]
            return Response(answer.status, raw, bytes(body))

    async def _client(self, ca_file: str) -> aiohttp.ClientSession:
        client = self._clients.get(ca_file)
        if client is None:
            context = await asyncio.to_thread(tls_context, ca_file, None)
            client = self._clients.get(ca_file)  # another request may have made it meanwhile
        if client is None:
            client = self._clients[ca_file] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=CONNECTIONS_MAX, keepalive_timeout=KEEPALIVE_S),
                timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S),
                # Answers are small, and an uncompressed one cannot grow while it is read.
                headers={"Accept-Encoding": "identity", "User-Agent": "pushrpc"},
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return client


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
